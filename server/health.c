/* See health.h. The prober's last round says what is healthy; a deployment not probed yet counts as
 * healthy. */
#include "server/health.h"

#include <stdio.h>
#include <stdlib.h>

static bool is_healthy(const struct probe_word *p)
{
    return atomic_load_explicit(&p->checked_unix_s, memory_order_acquire) == 0 ||
           atomic_load_explicit(&p->healthy, memory_order_relaxed) != 0;
}

static bool all_admitted(const struct worker *w, uint32_t deployment)
{
    uint64_t now_ms = loop_now_ms(w->loop);

    for (int op = 0; op < OP_CLASS_COUNT; op++)
        if (!breaker_admits(atomic_load_explicit(state_health(w->inherit->state,
                                                              w->inherit->columns[deployment],
                                                              (enum op_class)op),
                                                 memory_order_relaxed),
                            now_ms))
            return false;
    return true;
}

static struct json *endpoint(const struct worker *w, struct json_doc *doc, uint32_t i)
{
    const struct table_deployment *d = table_deployment(w->table, i);
    const struct model_account *account = &w->config->models.accounts[d->account];
    const struct probe_word *p = &w->inherit->probes[i];
    struct json *e = json_new_object(doc);
    char text[96];

    json_set_str(doc, e, "model", table_str(w->table, d->litellm_model));
    json_set_str(doc, e, "api_base", account->base);
    if (account->api_version != NULL)
        json_set_str(doc, e, "api_version", account->api_version);
    json_set_str(doc, e, "model_id", table_str(w->table, d->id));
    if (d->batch)
        json_set_str(doc, e, "mode", "batch");
    if (!is_healthy(p)) {
        snprintf(
            text, sizeof(text), "list batches failed: %s, status %d",
            outcome_name((enum outcome)atomic_load_explicit(&p->outcome, memory_order_relaxed)),
            (int)atomic_load_explicit(&p->status, memory_order_relaxed));
        json_set_str(doc, e, "error", text);
    }
    json_set_int(doc, e, "checked_at",
                 (int64_t)atomic_load_explicit(&p->checked_unix_s, memory_order_relaxed));
    return e;
}

/* A row for calls that name no model says nothing new about an account that model_list names too.
 * @return per account: model_list names it; owned by the caller */
static bool *named_accounts(const struct worker *w)
{
    bool *named = calloc(w->config->models.num_accounts + 1, sizeof(*named));

    for (uint32_t i = 0; named != NULL && i < table_num_deployments(w->table); i++)
        named[table_deployment(w->table, i)->account] |=
            table_deployment(w->table, i)->group != MODEL_NO_INDEX;
    return named;
}

static bool is_listed(const struct table_deployment *d, const bool *named)
{
    return d->group != MODEL_NO_INDEX || !named[d->account];
}

void health_full(struct relay *relay)
{
    const struct worker *w = relay->worker;
    struct json_doc *doc = json_doc_new();
    bool *named = named_accounts(w);
    struct json *root, *healthy, *unhealthy;

    if (doc == NULL || named == NULL) {
        json_doc_free(doc);
        free(named);
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
        return;
    }
    root = json_new_object(doc);
    healthy = json_new_array(doc);
    unhealthy = json_new_array(doc);
    for (uint32_t i = 0; i < table_num_deployments(w->table); i++)
        if (is_listed(table_deployment(w->table, i), named))
            json_append(doc, is_healthy(&w->inherit->probes[i]) ? healthy : unhealthy,
                        endpoint(w, doc, i));
    json_set(doc, root, "healthy_endpoints", healthy);
    json_set(doc, root, "unhealthy_endpoints", unhealthy);
    json_set_int(doc, root, "healthy_count", (int64_t)json_size(healthy));
    json_set_int(doc, root, "unhealthy_count", (int64_t)json_size(unhealthy));
    json_set(doc, root, "reload_failed",
             json_new_bool(doc, atomic_load_explicit(&w->inherit->shared->reload_failed,
                                                     memory_order_relaxed) != 0));
    relay_json(relay, 200, root);
    free(named);
    json_doc_free(doc);
}

void health_liveness(struct relay *relay)
{
    relay_bytes(relay, 200, "application/json", "\"I'm alive!\"", 12);
}

/* Ready when at least one deployment is healthy and admitted by its breakers, and we are not on our
 * way out. */
void health_readiness(struct relay *relay)
{
    const struct worker *w = relay->worker;
    bool ready = false;

    for (uint32_t i = 0; !w->draining && !ready && i < table_num_deployments(w->table); i++)
        ready = is_healthy(&w->inherit->probes[i]) && all_admitted(w, i);
    if (ready) {
        static const char text[] = "{\"status\":\"healthy\",\"db\":\"Not "
                                   "connected\",\"tranche_version\":\"" TRANCHE_VERSION "\"}";

        relay_bytes(relay, 200, "application/json", text, sizeof(text) - 1);
    } else {
        relay_problem(relay, 503, "server_error", "not_ready", "", "%s",
                      w->draining ? "The gateway is shutting down."
                                  : "No deployment can serve now; see /health.");
    }
}
