/* All that a child inherits over fork(): the one struct that master and worker share. Everything is
 * made before the fork and read-only afterwards, but the state region and the slots. */
#pragma once

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <openssl/ssl.h>

#include "balancer/breaker.h"
#include "balancer/entra_tokens.h"
#include "balancer/followed.h"
#include "balancer/idem.h"
#include "balancer/issuer_keys.h"
#include "balancer/memo.h"
#include "balancer/meters.h"
#include "balancer/poll_cache.h"
#include "balancer/quota.h"
#include "balancer/registry.h"
#include "balancer/slots.h"
#include "balancer/retry.h"
#include "balancer/rights.h"
#include "balancer/series.h"
#include "balancer/state.h"
#include "balancer/table.h"
#include "common/shm.h"
#include "crypto/ids.h"
#include "config/config.h"
#include "core/database_words.h"
#include "core/minutes.h"
#include "core/problem.h"
#include "core/ui_words.h"
#include "core/reading.h"
#include "core/unsent.h"

/* Rows of one program: during a reload two generations, each with its workers, a prober and a
 * keeper. */
#define CHILD_ROWS       (2 * (MAX_WORKERS + 2))
#define SIDES            2 /* programs that may share the regions during an upgrade: handover.h */
#define WORKER_ROWS      (SIDES * CHILD_ROWS) /* of both; a row is known by its number among these */
#define MASTER_ROW(side) (WORKER_ROWS + (side)) /* a master, where it is a holder like them */

/* One child writes its slot, anyone reads it. */
struct worker_slot {
    /* Client requests answered, by all processes that had this slot */
    alignas(CACHE_LINE) _Atomic uint64_t requests;
    /* Monotonic ms of the last turn of its loop (once a second at least) */
    _Atomic uint64_t beat_ms;
    _Atomic uint64_t spool_bytes; /* on disk now */
    /* Of uploads whose bodies were found good, as above */
    _Atomic uint64_t files, file_bytes, lines;
    _Atomic uint64_t result_duplicates; /* lines of outputs whose request had an answer already */
    _Atomic uint32_t connections;       /* client connections open */
    _Atomic uint32_t generation;        /* of the table that it serves */
    _Atomic int32_t pid;                /* 0: free; set by the master */
    _Atomic uint32_t draining;          /* 1: finishing what it has */
    _Atomic uint32_t is_worker;         /* 0: the prober, the keeper */
    _Atomic int64_t started_unix_s;     /* set by the master */
    _Atomic uint32_t
        relieve; /* 1: an operator wants it replaced; any worker's, then the master's */
    _Atomic uint32_t long_polls; /* held, as of the last beat */
    _Atomic uint64_t role;       /* its name as it is in memory: up to 7 letters and a NUL */
};

/* What the prober found; one writer (the prober), read by /health and /health/readiness. Two copies
 * and an index word would be needed for wider records; these are single words. */
struct probe_word {
    _Atomic uint64_t checked_unix_s; /* 0: not yet */
    _Atomic uint32_t healthy;        /* 1/0 */
    _Atomic int32_t status;          /* HTTP status or 0 */
    _Atomic uint32_t outcome;        /* enum outcome */
    _Atomic uint64_t ends_unix_s;    /* when its model ends: core/model_end.h; 0: not known */
    /* Of the first row of an account: 1: a worker wants it asked now, until the prober begins; and
     * how often it was asked */
    _Atomic uint32_t wanted, rounds;
};

/* Why the last configuration was refused; the master's. */
struct reload_fault {
    struct problem file, text; /* file: none when no file is to blame */
    _Atomic uint32_t line;     /* of the file; 0: none */
    _Atomic int64_t at_unix_s; /* of the last reload, also of one that was taken; 0: none yet */
};

struct shared {
    _Atomic uint32_t reload_failed; /* 1: the last SIGHUP was refused; old generation serves */
    struct reload_fault reload;     /* of that one */
    _Atomic uint32_t ends_now; /* 1: the next signal to a worker says: write your last lines, end */
    _Atomic uint64_t restarts; /* children replaced after an unplanned end */
    struct problem keys_problem; /* why the keys file is not what is in force; the keeper's */
    /* Of idem_since_ms(), made once: two readings of two clocks differ by a second now and then */
    int64_t creates_known_unix_s;
    /* Of the spool, reserved by open uploads: what the last look at their folder found
     * (parts/parts.h) */
    _Atomic uint64_t parts_bytes;
    struct database_words database;          /* the keeper's */
    struct ui_words ui;                      /* any worker's */
    struct worker_slot slots[WORKER_ROWS];   /* those of our side; the other program has its own */
    struct unsent_row unsent[WORKER_ROWS];   /* as the slots; where there is a journal */
    struct reading_row reading[WORKER_ROWS]; /* as the slots */
};

struct keeper_door;
struct mask;

struct inherited {
    const struct config *config;
    const struct table *table;
    struct state *state;
    struct quota *quota;           /* same columns */
    struct slots *slots;           /* same columns */
    struct memo *memo;             /* shared by all generations */
    struct memo *list_places;      /* how far lists were read (listing_places.h); shared by all */
    struct idem *idem;             /* shared by all generations */
    struct poll_cache *poll_cache; /* shared by all generations */
    /* What keys and teams ask of this node; shared by all generations. NULL: nobody is measured */
    struct meters *meters;
    /* Batches that wait or were moved; shared by all generations. NULL: there is no journal */
    struct followed *followed;
    /* Counters with labels of what batches were made, used and cost; shared by all generations.
     * NULL: there is no journal */
    struct series *series;
    /* Of the tokens' issuer; the generation's own; NULL: tokens are not taken */
    struct issuer_keys *issuer_keys;
    struct registry *registry; /* what tenants own; shared by all generations */
    /* Tokens for `config`'s credentials of Entra ID, a cell for each; shared by all generations.
     * NULL: there are no such credentials */
    struct entra_tokens *entra_tokens;
    const uint32_t *columns;   /* [table_num_deployments()]: state_bind() */
    struct probe_word *probes; /* [table_num_deployments()], shared memory */
    /* Tenants' keys, shared by all generations; NULL: none are configured */
    struct rights_table *rights;
    const struct keeper_door *door; /* to the keeper; NULL: there is none */
    struct shared *shared;
    struct minutes_row *minutes; /* [WORKER_ROWS], beside the slots; NULL: not counted (tests) */
    const struct ids_seals *seals;
    const struct mask *mask;       /* all secrets of `config`; NULL: none (tests) */
    const struct mask *host_names; /* what tenants do not hear; NULL: none (tests) */
    struct breaker_policy breaker;
    struct retry_policy retry;
    /* [table_num_groups()]: for rows of groups; NULL: all have `retry` */
    const struct retry_policy *group_retry;
    uint32_t generation;
    uint64_t started_ms; /* monotonic, of the master */
    int listen_fd;       /* shared, non-blocking; bound by the master */
    int health_fd;       /* likewise, of health_port; -1: none */
    SSL_CTX *tls;        /* NULL: clear text */
    /* Read end of a pipe whose other end only the master holds: EOF = the master is dead */
    int master_fd;
};
