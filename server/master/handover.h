/* What goes from one program to the next at a binary upgrade (SIGUSR2), besides the listening
 * socket: the regions that outlive generations, as memfds, the lock on the place (place.h), and the
 * random seal of ids, if there is one. The two programs share the regions while both live; nothing is copied.
 *
 * **Who writes where.** Each program has a side, 0 or 1, and the rows of that side: as a holder of
 * places and as a writer of rows a process is known by its row, so that the workers and masters of
 * two programs never meet. There are never three: a program starts none as long as another one has
 * anybody alive.
 *
 * **Who clears up.** Each master undoes what its own workers leave. What is left of a program whose
 * master died as well is undone by the other one, once nobody of it is alive: all its processes
 * hold the write end of one pipe (its life), of which the other program has the read end, and EOF
 * says that the last one is gone. No pid can be taken for another one, and nothing is undone twice,
 * because a side belongs to its own master until then. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/secret.h"

enum handover_region {
    HANDOVER_IDEM,
    HANDOVER_MEMO,
    HANDOVER_LIST_PLACES,
    HANDOVER_POLL_CACHE,
    HANDOVER_SEAL_CACHE,
    HANDOVER_METERS,
    HANDOVER_REGISTRY,
    HANDOVER_FOLLOWED,
    HANDOVER_ENTRA_TOKENS,
    HANDOVER_STATE, /* this and the next two have one number of columns */
    HANDOVER_QUOTA,
    HANDOVER_SLOTS,
    HANDOVER_REGIONS
};

/* The life of a program. */
struct life {
    int held;    /* write end: this program and all its children have it */
    int watched; /* read end, for the next program; -1: none */
};

#define LIFE_NONE                                                                                  \
    {                                                                                              \
        -1, -1                                                                                     \
    }

/** @return 0 or ERR_IO (errno) */
MUST_USE int life_new(struct life *life);
void life_close(struct life *life);

/* --- the program that goes --- */

struct handover_offer {
    uint32_t side;                 /* of the next program */
    int regions[HANDOVER_REGIONS]; /* descriptors; -1: not to be had */
    uint32_t columns;              /* of STATE, QUOTA and SLOTS */
    const struct secret *seal;     /* may be unset */
    int place;                     /* the lock on the place (place.h); -1: none */
    int own_life;                  /* read end of this program's; -1: none */
    struct life life;              /* of the next program */
};

/**
 * In the child that is to become the next program, right before execv(2): let the descriptors pass
 * and name them in the environment.
 *
 * @param from  pid of this program's master
 * @return false: not even that (errno)
 */
MUST_USE bool handover_export(const struct handover_offer *offer, pid_t from);

/* --- the program that comes --- */

/**
 * Read what the environment says, and take it out of there.
 *
 * @param from  pid of the program that started us for an upgrade; another one's offer is not
 *              believed: an older program in between passes on what it does not know. 0: none
 */
void handover_init(pid_t from);

/** Whether there is an offer, or was one. */
bool handover_is_given(void);

/** Rows of this side are ours. 0 where nothing is handed over. */
uint32_t handover_side(void);

/** A region's descriptor, the caller's from here on; -1: not offered, or taken. */
int handover_take(enum handover_region region);

/** Tell the log unless `ret` is 0 or the region was not offered. @return whether it is 0 */
bool handover_took(enum handover_region region, int ret);

/** Columns of STATE, QUOTA and SLOTS. */
uint32_t handover_columns(void);

/** The random seal of the program before, if it had one. @param seal  empty before */
void handover_take_seal(struct secret *seal);

/** The lock that the program before has on its place, the caller's from here on; -1: not given */
int handover_take_place(void);

/** Our own life, given by the program before; and the read end of that program's. -1: not given */
void handover_take_lives(struct life *own, int *other);

/** Close what nobody took. */
void handover_end(void);
