/* Faults that tests plant in the gateway, to see that the judge of histories finds them
 * (tests/history). They are compiled in by the CMake option TRANCHE_SEED_FAULTS alone, which a
 * release never has; elsewhere every question is the constant `false`, and no variable is read.
 *
 * TRANCHE_SEEDED_FAULT names one of them, as it was when the program began. */
#pragma once

#include <stdbool.h>

enum seeded_fault {
    SEEDED_RETRIED_CREATE,    /* "retried_create": one of unknown outcome counts as not made */
    SEEDED_FREED_RESERVATION, /* "freed_reservation": one is free as soon as its batch is seen */
    SEEDED_FORGOTTEN_KEY,     /* "forgotten_key": no Idempotency-Key is seen */
    SEEDED_DROPPED_FENCE, /* "dropped_fence": a node's next life has the epoch of the last one */
    SEEDED_IGNORED_LEASE, /* "ignored_lease": what others may grant alone is granted, too */
    SEEDED_FAULTS
};

#ifdef TRANCHE_SEED_FAULTS
/** Whether this one is planted. */
bool seeded_fault(enum seeded_fault fault);
#else
static inline bool seeded_fault(enum seeded_fault fault)
{
    (void)fault;
    return false;
}
#endif
