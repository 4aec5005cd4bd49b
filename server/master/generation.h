/* A generation: one configuration and all that is made of it before workers are forked. It lives
 * until the last child that inherited it has ended; its number is that of its table. A reload makes
 * the next one, and what must survive goes over: the listening socket, the state region, and what
 * the prober has found. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "handover.h"
#include "core/inherited.h"

struct tickets;
struct keys_region;
struct keeper_door;
struct place;
struct state_region; /* the balancer's state with the number of generations that use it */

struct generation {
    struct generation *next; /* the master's list */
    /* What children inherited. Owned, except the members copied from generation_base */
    struct inherited inherited;
    struct config *config;            /* owned; = inherited.config */
    struct table *table;              /* owned; = inherited.table */
    uint32_t *columns;                /* owned; = inherited.columns */
    struct retry_policy *group_retry; /* owned; = inherited.group_retry; may be NULL */
    struct ids_seals *seals;          /* owned; = inherited.seals */
    struct mask *mask;                /* owned; = inherited.mask */
    struct mask *host_names;          /* owned; = inherited.host_names */
    struct state_region *region;      /* counted */
    struct keys_region *keys;         /* counted; NULL: no keys of tenants are configured */
    struct place *place;              /* counted; NULL: there is none, or it cannot be locked */
    size_t num_probes;
    unsigned num_rows; /* that belong to it, running or waiting */
};

/* What a generation is made with, the same for all of a master's life. */
struct generation_base {
    struct shared *shared;
    struct minutes_row *minutes; /* as in struct inherited */
    struct memo *memo; /* not of a region: what they know goes on, whatever the deployments are */
    struct memo *list_places; /* as in struct inherited */
    struct idem *idem;
    struct poll_cache *poll_cache;
    struct meters *meters;
    struct registry *registry;
    struct followed *followed;         /* NULL: no generation had a journal yet */
    struct series *series;             /* NULL: no generation had a journal yet */
    struct entra_tokens *entra_tokens; /* NULL: no generation has needed it */
    struct tickets *tickets;           /* of TLS sessions */
    struct seal_cache *seal_cache;     /* a generation with other seal keys finds nothing in it */
    struct keeper_door *door;          /* owned; NULL: no generation has needed it */
    int master_fd;
    uint64_t started_ms;
    /* Set by the first generation that has neither seal keys nor a master key */
    struct secret fallback_seal;
};

/**
 * Make it, with the listening socket open and nobody accepting. From then on this process masks
 * the secrets of its configuration in what it logs.
 *
 * @param config    taken over, also on failure (then freed and NULL)
 * @param previous  the generation to follow; NULL: the first one
 * @param error     on failure one line for the log
 * @return 0, ERR_INVALID (TLS files, host, ...), ERR_IO, ERR_NOMEM, ERR_DUPLICATE (a deployment, or
 *         another gateway has the place)
 */
MUST_USE int generation_new(struct generation_base *base, struct config **config,
                            const struct generation *previous, uint32_t number,
                            struct generation **out, char *error, size_t error_size);

/** posture_become() with the first generation's settings, before its children are made: the door to
 * the keeper and the spool are the new user's from then on, or the start is refused.
 *  The place is taken by that user, too.
 *  @return 0, ERR_NOT_FOUND (no such user), ERR_IO (the change, the door), ERR_INVALID (the spool),
 *          ERR_DUPLICATE (another gateway has the place), ERR_NOMEM;
 *          `error` is one line for the log */
MUST_USE int generation_become_user(struct generation *gen, char *error, size_t error_size);

/** Name the descriptors of its state region, and of its place, to the next program. */
void generation_offer(const struct generation *gen, struct handover_offer *offer);

/** After another program has bound columns of the regions that it shared: this generation's are
 * its own again. */
void generation_rebind(struct generation *gen);

/** Tell the log where it listens, unless that is where `serving` does. @param serving  may be NULL */
void generation_tell_listening(const struct generation *gen, const struct generation *serving);

/** Nobody uses it any more. NULL is fine. */
void generation_free(struct generation *gen);

/** Close the master's copies of the listening sockets: their ports are free once the last worker
 * has closed its own. */
void generation_close_listener(struct generation *gen);
