/* See health.h. The prober's last round says what is healthy; a deployment not probed yet counts as
 * healthy. */
#include "admin/health.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "json/json.h"
#include "config/entrance.h"
#include "request/errors.h"
#include "request/auth.h"
#include "request/long_answer.h"
#include "core/provider_clock.h"

static bool is_healthy(const struct probe_word *p)
{
    return atomic_load_explicit(&p->checked_unix_s, memory_order_acquire) == 0 ||
           atomic_load_explicit(&p->healthy, memory_order_relaxed) != 0;
}

static bool all_admitted(const struct runtime *rt, uint32_t deployment)
{
    uint64_t now_ms = loop_now_ms(rt->loop);

    for (int op = 0; op < OP_CLASS_COUNT; op++)
        if (!breaker_admits(atomic_load_explicit(state_health(rt->inherited->state,
                                                              rt->inherited->columns[deployment],
                                                              (enum op_class)op),
                                                 memory_order_relaxed),
                            now_ms))
            return false;
    return true;
}

/* What was known of one row when its turn came: it is looked at once, so that one that recovers
 * while the answer is written is in one of the lists, and in one only. */
struct finding {
    int64_t checked_unix_s;
    int32_t status;
    uint32_t outcome;
    uint8_t list; /* LIST_... */
};

enum { LIST_HEALTHY, LIST_UNHEALTHY, LIST_NONE };

/* The answer being written: the healthy rows, then the others. */
struct report {
    const struct runtime *rt; /* borrowed */
    uint32_t num, next;       /* rows */
    int list;                 /* being written */
    uint32_t counts[2];
    bool *named;               /* behind the findings; per account: model_list names it */
    struct finding findings[]; /* [num] */
};

static void write_row(const struct report *r, uint32_t i, struct strbuf *out)
{
    const struct runtime *rt = r->rt;
    const struct table_deployment *d = table_deployment(rt->table, i);
    const struct model_account *account = &rt->config->models.accounts[d->account];
    const struct finding *found = &r->findings[i];
    int64_t skew_s = provider_clock_skew_s(rt->inherited, i);
    char text[96];

    strbuf_addc(out, '{');
    json_write_member_string(out, "model", table_str(rt->table, d->litellm_model));
    json_write_member_string(out, "api_base", account->base);
    if (account->api_version != NULL)
        json_write_member_string(out, "api_version", account->api_version);
    json_write_member_string(out, "model_id", table_str(rt->table, d->id));
    if (d->batch)
        json_write_member_string(out, "mode", "batch");
    if (found->list == LIST_UNHEALTHY) {
        snprintf(text, sizeof(text), "list batches failed: %s, status %d",
                 outcome_name((enum outcome)found->outcome), (int)found->status);
        json_write_member_string(out, "error", text);
    }
    if (llabs(skew_s) > SKEW_WARN_S)
        json_write_member_int(out, "clock_skew_s", skew_s);
    json_write_member_int(out, "checked_at", found->checked_unix_s);
    strbuf_addc(out, '}');
}

/* Since when this gateway knows what it was asked to create, which outlives SIGUSR2; and for how
 * long it does not know what the gateway before it had under way. */
static void write_memory(const struct runtime *rt, struct strbuf *out)
{
    const struct idem *idem = rt->inherited->idem;
    uint64_t now_ms = loop_now_ms(rt->loop), until_ms = idem_unsure_until_ms(idem);

    json_write_member_int(out, "creates_known_since", rt->inherited->shared->creates_known_unix_s);
    json_write_member_int(out, "repeats_unknown_for_s",
                          until_ms > now_ms ? (int64_t)((until_ms - now_ms + 999) / 1000) : 0);
}

/* How many keys of tenants there are, and what keeps newer ones of their file from being used. */
static void write_keys(const struct runtime *rt, struct strbuf *out)
{
    const struct rights_table *rights = rt->inherited->rights;
    char problem[PROBLEM_BYTES];
    bool failed = problem_get(&rt->inherited->shared->keys_problem, problem);

    if (rights == NULL)
        return;
    strbuf_addf(out, ",\"keys\":{\"count\":%u,\"failed\":%s", rights_num_keys(rights),
                failed ? "true" : "false");
    if (failed)
        json_write_member_string(out, "problem", problem);
    strbuf_addc(out, '}');
}

static void write_end(const struct report *r, struct strbuf *out)
{
    const char *warning = entrance_warning(r->rt->config);
    bool failed =
        atomic_load_explicit(&r->rt->inherited->shared->reload_failed, memory_order_relaxed) != 0;

    strbuf_addf(out, "],\"healthy_count\":%u,\"unhealthy_count\":%u,\"reload_failed\":%s",
                r->counts[LIST_HEALTHY], r->counts[LIST_UNHEALTHY], failed ? "true" : "false");
    write_memory(r->rt, out);
    write_keys(r->rt, out);
    if (warning[0] != '\0') {
        strbuf_adds(out, ",\"warnings\":[");
        json_write_string(out, warning, strlen(warning));
        strbuf_addc(out, ']');
    }
    strbuf_addc(out, '}');
}

/* A row for calls that name no model says nothing new about an account that model_list names too.
 */
static bool is_listed(const struct report *r, uint32_t i)
{
    const struct table_deployment *d = table_deployment(r->rt->table, i);

    return d->group != MODEL_NO_INDEX || !r->named[d->account];
}

static void look_at(struct report *r, uint32_t i)
{
    const struct probe_word *p = &r->rt->inherited->probes[i];
    struct finding *found = &r->findings[i];

    found->list = LIST_NONE;
    if (!is_listed(r, i))
        return;
    found->list = is_healthy(p) ? LIST_HEALTHY : LIST_UNHEALTHY;
    found->outcome = atomic_load_explicit(&p->outcome, memory_order_relaxed);
    found->status = atomic_load_explicit(&p->status, memory_order_relaxed);
    found->checked_unix_s = (int64_t)atomic_load_explicit(&p->checked_unix_s, memory_order_relaxed);
}

static enum long_answer_step write_next(void *arg, struct strbuf *out)
{
    struct report *r = arg;
    uint32_t i = r->next;

    if (i < r->num) {
        r->next++;
        if (r->list == LIST_HEALTHY)
            look_at(r, i);
        if (r->findings[i].list != r->list)
            return LONG_ANSWER_MORE;
        if (r->counts[r->list]++ > 0)
            strbuf_addc(out, ',');
        write_row(r, i, out);
        return LONG_ANSWER_MORE;
    }
    if (r->list == LIST_UNHEALTHY) {
        write_end(r, out);
        return LONG_ANSWER_DONE;
    }
    strbuf_adds(out, "],\"unhealthy_endpoints\":[");
    r->list = LIST_UNHEALTHY;
    r->next = 0;
    return LONG_ANSWER_MORE;
}

static void note_named(struct report *r)
{
    const struct table *table = r->rt->table;

    for (uint32_t i = 0; i < r->num; i++)
        r->named[table_deployment(table, i)->account] |=
            table_deployment(table, i)->group != MODEL_NO_INDEX;
}

static struct report *report_new(const struct runtime *rt)
{
    uint32_t num = table_num_deployments(rt->table);
    struct report *r = calloc(1, sizeof(*r) + num * sizeof(r->findings[0]) +
                                     rt->config->models.num_accounts * sizeof(*r->named));

    if (r == NULL)
        return NULL;
    r->rt = rt;
    r->num = num;
    r->named = (bool *)(r->findings + num);
    note_named(r);
    return r;
}

void health_full(struct relay *relay)
{
    long_answer_write(relay, "{\"healthy_endpoints\":[", write_next, report_new(relay->rt));
}

void health_liveness(struct relay *relay)
{
    relay_bytes(relay, 200, "application/json", "\"I'm alive!\"", 12);
}

/* Ready when at least one deployment is healthy and admitted by its breakers, and we are not on our
 * way out. */
void health_readiness(struct relay *relay)
{
    const struct runtime *rt = relay->rt;
    bool ready = false;

    for (uint32_t i = 0; !rt->draining && !ready && i < table_num_deployments(rt->table); i++)
        ready = is_healthy(&rt->inherited->probes[i]) && all_admitted(rt, i);
    if (ready) {
        static const char text[] = "{\"status\":\"healthy\",\"db\":\"Not connected\"}";
        static const char more[] = "{\"status\":\"healthy\",\"db\":\"Not "
                                   "connected\",\"tranche_version\":\"" TRANCHE_VERSION "\"}";

        if (auth_has_key(relay))
            relay_bytes(relay, 200, "application/json", more, sizeof(more) - 1);
        else
            relay_bytes(relay, 200, "application/json", text, sizeof(text) - 1);
    } else if (rt->draining) {
        relay_error(relay, DRAINING, "");
    } else {
        relay_error(relay, NOBODY_SERVES, "");
    }
}
