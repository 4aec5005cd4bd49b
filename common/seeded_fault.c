/* See seeded_fault.h. */
#include "common/seeded_fault.h"

#ifdef TRANCHE_SEED_FAULTS

#include <stdlib.h>
#include <string.h>

static enum seeded_fault planted = SEEDED_FAULTS; /* none */

/* Before main(), which hides the environment. */
__attribute__((constructor)) static void plant(void)
{
    static const char *const names[SEEDED_FAULTS] = {
        [SEEDED_RETRIED_CREATE] = "retried_create",
        [SEEDED_FREED_RESERVATION] = "freed_reservation",
        [SEEDED_FORGOTTEN_KEY] = "forgotten_key",
        [SEEDED_DROPPED_FENCE] = "dropped_fence",
        [SEEDED_IGNORED_LEASE] = "ignored_lease",
        [SEEDED_SHOWN_FAILURE] = "shown_failure",
        [SEEDED_SHOWN_MOVE] = "shown_move",
        [SEEDED_RETRIED_MOVE] = "retried_move",
        [SEEDED_RETRIED_ANSWER] = "retried_answer",
        [SEEDED_EARLY_DELETION] = "early_deletion",
        [SEEDED_SHARED_DELETION] = "shared_deletion",
    };
    const char *name = getenv("TRANCHE_SEEDED_FAULT");

    for (unsigned i = 0; name != NULL && i < SEEDED_FAULTS; i++)
        if (strcmp(names[i], name) == 0)
            planted = (enum seeded_fault)i;
}

bool seeded_fault(enum seeded_fault fault)
{
    return planted == fault;
}

#else
typedef int seeded_fault_is_empty; /* ISO C wants one declaration */
#endif
