/* What a worker's handlers share. It is made after the fork and lives as long as the process. A
 * test fills the few fields that its handler looks at. */
#pragma once

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/fallback.h"
#include "balancer/pick.h"
#include "crypto/account_map.h"
#include "common/loop.h"
#include "upstream/client.h"
#include "core/inherited.h"
#include "core/live.h"
#include "core/misses.h"
#include "core/share.h"
#include "core/slices.h"

#define RUNTIME_FLIGHT_BUCKETS 256

struct flight;

LIST_HEAD(flight_bucket, flight);

/* Batches that clients wait for: read/long_poll.c. */
#define RUNTIME_LONG_POLL_BUCKETS 256

LIST_HEAD(long_poll_bucket, long_poll_batch);

struct runtime {
    const struct inherited *inherited;
    const struct config *config; /* = inherited->config */
    const struct table *table;   /* = inherited->table */
    uint32_t slot;
    struct loop *loop;
    struct upstream *upstream;
    struct live live;                                     /* clients' requests in flight */
    struct flight_bucket flights[RUNTIME_FLIGHT_BUCKETS]; /* calls that are shared: flight.c's */
    struct misses misses;    /* of keys that nobody knows, by address */
    struct ask *ask;         /* owned; to the keeper: tenants/ask.h; NULL: there is none */
    struct journal *journal; /* owned; journal/journal.h; NULL: no journal is kept */
    struct pick_policy configured_policy;
    /* That one; NULL: not configured, each group has its default */
    const struct pick_policy *policy;
    struct account_map account_map;
    const uint32_t *account_first, *account_fingerprint, *account_same_resource; /* = its arrays */
    const bool *account_grouped, *account_balanced;
    struct ui *ui;                     /* owned; the page's (ui/); NULL until it is asked for */
    struct choose_cache *choose_cache; /* owned; choose.c's; NULL until it needs one */
    struct fallback_rule *fallbacks;   /* owned [config->num_fallbacks]; groups as indexes */
    struct batch_reader *
        *readers; /* owned [accounts], at the first account of a resource; batch_reader.c's */
    struct runtime_credential *credentials; /* owned; by credential: core/account_token.h */
    struct tokens *tokens;                  /* owned; tenants/tokens.h; NULL: tokens are no keys */
    struct slices slices;                   /* of what is too long for one turn */
    struct shares shares;                   /* what each tenant holds of the budgets below */
    uint32_t turns;                         /* requests that wait for their begin: admit.c */
    uint32_t receiving;                     /* uploads whose bodies are being read */
    uint64_t upload_bytes;                  /* of memory held now by uploads: upload_memory.c */
    uint64_t json_bytes; /* held now by clients' JSON bodies and their trees: collect.c */
    bool draining;
    uint32_t calls_waiting; /* calls to providers that wait for a token; attempt_token.c's */
    uint32_t calls_shared;  /* requests that wait for the call of another one; flight.c's */
    uint32_t gathers;       /* batches whose files are put together: read/gather.c's */
    uint32_t downloads;     /* in flight; admit.c's, as what follows */
    TAILQ_HEAD(, admit_place) downloads_waiting;
    uint32_t num_waiting;
    struct long_poll_bucket long_polls[RUNTIME_LONG_POLL_BUCKETS];
    uint32_t num_long_polls; /* held, all together */
    uint64_t operations;     /* that go on although their client may have left */
    uint64_t random_state[4];
};

/** Index the accounts and the fallbacks of a worker whose `inherited`, `config` and `table` are
 * set, and seed its random numbers. @return 0, ERR_NOMEM, ERR_IO */
MUST_USE int runtime_prepare(struct runtime *rt);

/** Uniform in [0,1); for choices, not for secrets. */
double runtime_random(struct runtime *rt);

/** The account whose tagged ids carry this fingerprint; MODEL_NO_INDEX: none. */
uint32_t runtime_find_account(const struct runtime *rt, uint32_t fingerprint);

/** Whose rules for files and batches hold at a deployment: provider_rules() of its account. */
enum provider runtime_rules(const struct runtime *rt, uint32_t deployment);

/* What the tagged ids of a deployment's account carry. */
static inline uint32_t runtime_fingerprint(const struct runtime *rt, uint32_t deployment)
{
    return rt->account_fingerprint[table_deployment(rt->table, deployment)->account];
}

/* What no other place has; of one Azure resource or one OpenAI project all have the same. */
static inline uint32_t runtime_account_key(const struct runtime *rt, uint32_t deployment)
{
    return rt->account_map
        .key[rt->account_same_resource[table_deployment(rt->table, deployment)->account]];
}

/* The account of a deployment; borrowed from the configuration. */
static inline const struct model_account *runtime_account(const struct runtime *rt,
                                                          uint32_t deployment)
{
    return &rt->config->models.accounts[table_deployment(rt->table, deployment)->account];
}
