/* What a GET /health asks for beyond all that is known: rows of one model, and what is found now.
 *
 * `?fresh=true` waits until the prober has asked the accounts of these rows once more. Workers never
 * ask: each sets a word beside the account's last finding (struct probe_word), the prober makes one
 * call for all that have asked by the time it ends, and none sooner than a second after the last. */
#pragma once

#include "request/relay.h"

struct health_filter {
    char model[ROUTE_NAME_MAX];    /* a model_name, or a row's own model; "": all */
    char model_id[ROUTE_NAME_MAX]; /* "": all */
    bool fresh;
};

/** Read the query. @return ANSWERED: a value is wrong, or no row has that name */
enum answered health_filter_read(struct relay *relay, struct health_filter *filter);

/** Whether it asks for this row. */
bool health_filter_takes(const struct health_filter *filter, const struct runtime *rt,
                         uint32_t deployment);

/** Answer when the accounts of its rows were asked; after HEALTH_FRESH_MS, or once the worker
 * drains, with what is known then.
 *  @param answer  called once, unless the client leaves, perhaps before this returns */
void health_fresh_start(struct relay *relay, const struct health_filter *filter,
                        void (*answer)(struct relay *relay, const struct health_filter *filter));

#define HEALTH_FRESH_MS 20000 /* a call of the prober takes 15 s at most */
