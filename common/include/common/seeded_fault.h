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
    SEEDED_DROPPED_FENCE,   /* "dropped_fence": a node's next life has the epoch of the last one */
    SEEDED_IGNORED_LEASE,   /* "ignored_lease": what others may grant alone is granted, too */
    SEEDED_SHOWN_FAILURE,   /* "shown_failure": one that is moved is shown as failed meanwhile */
    SEEDED_SHOWN_MOVE,      /* "shown_move": where it runs it is a batch of its own in lists */
    SEEDED_RETRIED_MOVE,    /* "retried_move": the first try of a move counts as not made */
    SEEDED_RETRIED_ANSWER,  /* "retried_answer": lines that have an answer are tried again, too */
    SEEDED_EARLY_DELETION,  /* "early_deletion": an input goes although another batch runs on it */
    SEEDED_SHARED_DELETION, /* "shared_deletion": what one owner wants deleted, all do */
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
