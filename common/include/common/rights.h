/* What a key or a team may do, as a source tells it: the keys of the configuration and of its file, a
 * database, another gateway's tables. Plain records, which balancer/rights.h compiles into shared
 * memory. Names are LiteLLM's where it has them (tenants statements A3, A57).
 *
 * A key is known by the SHA-256 of its whole text ("sk-..."), as LiteLLM stores it (tenants
 * statement A12), so that tables and files are interchangeable. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define RIGHTS_HASH_BYTES 32
#define RIGHTS_UNLIMITED  UINT64_MAX
#define RIGHTS_NAME_MAX   255 /* characters of an alias, a team's or a user's id, a model's name */
#define RIGHTS_TAIL       4   /* last characters of a key, which may be shown */

/* What a key may call, as bits of `routes`. */
enum rights_route {
    RIGHTS_FILES = 1 << 0,
    RIGHTS_BATCHES = 1 << 1,
    RIGHTS_PLACEMENT = 1 << 2,
    RIGHTS_MODELS = 1 << 3,     /* /v1/models */
    RIGHTS_MODEL_INFO = 1 << 4, /* /model/info, /model_group/info */
    RIGHTS_OWN_KEY = 1 << 5,    /* GET /key/info of the calling key: always allowed */
    RIGHTS_MANAGEMENT = 1 << 6, /* /key/..., /team/...: for admin keys only */
    RIGHTS_OPERATOR = 1 << 7    /* /health, /metrics: for admin keys only */
};

#define RIGHTS_LLM_ROUTES (RIGHTS_FILES | RIGHTS_BATCHES | RIGHTS_PLACEMENT | RIGHTS_MODELS)
#define RIGHTS_ALL_ROUTES (RIGHTS_LLM_ROUTES | RIGHTS_MODEL_INFO | RIGHTS_OWN_KEY)

/* RIGHTS_UNLIMITED: not limited. What counts something at the provider holds for all nodes and lives
 * in the ledger (quota.h); what protects the gateway holds for this node. */
struct rights_limits {
    uint64_t enqueued_tokens;     /* batch_enqueued_token_limit: of unfinished batches */
    uint64_t open_batches;        /* max_open_batches: unfinished ones */
    uint64_t requests_per_minute; /* rpm_limit: requests to this node, not lines of files */
    uint64_t requests_per_second; /* max_requests_per_second */
    uint64_t request_burst;       /* beyond the rate at once; UNLIMITED: as many as a second has */
    uint64_t parallel_requests;   /* max_parallel_requests */
    uint64_t uploads;             /* max_concurrent_uploads */
    uint64_t spool_bytes;         /* max_spool_bytes: of uploads in flight */
    uint64_t file_bytes;          /* max_batch_file_size_mb, in bytes */
    uint64_t budget_nano;         /* max_budget, in nano-dollars: of what is spent and held */
    uint32_t budget_period_s;     /* budget_duration, after which it begins anew; 0: never */
    uint32_t file_expiry_s;       /* enforced_file_expires_after; 0: none */
    uint32_t output_expiry_s;     /* enforced_batch_output_expires_after; 0: none */
    uint32_t delete_after_s;      /* delete_after (retention.h); RETENTION_UNSET: not said */
};

/* A name that stands for a group, before models are checked. */
struct rights_alias {
    char *name, *target; /* owned */
};

/* Which models. An empty list without `all` allows none. */
struct rights_models {
    bool all;
    bool of_team; /* "all-team-models": what the team may */
    char **names; /* owned, and each one; groups; may end in "*" */
    size_t num_names;
    struct rights_alias *aliases; /* owned */
    size_t num_aliases;
};

enum rights_source { RIGHTS_OF_CONFIG, RIGHTS_OF_FILE, RIGHTS_OF_DATABASE, RIGHTS_OF_LITELLM };

struct rights_key {
    unsigned char hash[RIGHTS_HASH_BYTES];
    /* Owned; what stays the same when the key is regenerated: hex of its first hash, or what the
     * operator wrote. With "key:" before it, the owner of what it makes where it has no team */
    char *id;
    char *alias;                /* owned; NULL: none */
    char *team_id;              /* owned; NULL: none */
    char *user_id;              /* owned; NULL: none */
    char tail[RIGHTS_TAIL + 1]; /* "": not known */
    struct rights_models models;
    struct rights_limits limits;
    uint32_t routes; /* enum rights_route */
    bool admin;      /* sees and may all, as the master key */
    bool blocked;
    int64_t expires_unix_ms; /* 0: never */
    enum rights_source source;
    unsigned line; /* in its file; 0: none */
};

struct rights_team {
    char *id;    /* owned */
    char *alias; /* owned; NULL: none */
    struct rights_models models;
    struct rights_limits limits;
    bool blocked;
    enum rights_source source;
};

/* All that one source tells. */
struct rights_list {
    struct rights_key *keys; /* owned */
    size_t num_keys;
    struct rights_team *teams; /* owned */
    size_t num_teams;
};

/** All limits RIGHTS_UNLIMITED, no expiry enforced. */
void rights_limits_init(struct rights_limits *limits);

/** Free what a key, a team, a list holds, and empty it. */
void rights_key_deinit(struct rights_key *key);
void rights_team_deinit(struct rights_team *team);
void rights_list_deinit(struct rights_list *list);
