/* One worker: what its handlers share. Everything here lives from worker_run() to the end of the
 * process. */
#pragma once

#include <h2o.h>
#include <stdbool.h>
#include <stdint.h>

#include "balancer/fallback.h"
#include "balancer/pick.h"
#include "common/loop.h"
#include "common/upstream/client.h"
#include "server/front.h"
#include "server/inherit.h"

struct worker {
    const struct inherit *inherit;
    const struct config *config; /* = inherit->config */
    const struct table *table;   /* = inherit->table */
    uint32_t slot;
    struct loop *loop;
    struct upstream *upstream;
    struct front *front;
    const struct pick_policy *policy; /* NULL: not configured, each group has its default */
    h2o_globalconf_t globalconf;
    h2o_context_t ctx;
    uint32_t *account_first;       /* per account: its first deployment, which stands for it */
    uint32_t *account_fingerprint; /* per account: what its tagged ids carry */
    uint32_t *account_twin; /* per account: the first one of the same Azure resource (two keys, one
                               set of objects), else itself */
    struct fallback_rule *fallbacks; /* owned [config->num_fallbacks]; groups as indexes */
    bool *account_balanced; /* per account: the balancer places work on it, so its ids are tagged */
    struct loop_timer beat;
    struct loop_timer grace;
    bool draining;
    uint64_t operations; /* that go on although their client may have left */
    uint64_t random_state[4];
};

/** Uniform in [0,1); for choices, not for secrets. */
double worker_random(struct worker *w);

/** The account whose tagged ids carry this fingerprint; MODEL_NO_INDEX: none. */
uint32_t worker_find_account(const struct worker *w, uint32_t fingerprint);

static inline const struct model_account *worker_account(const struct worker *w,
                                                         uint32_t deployment)
{
    return &w->config->models.accounts[table_deployment(w->table, deployment)->account];
}
