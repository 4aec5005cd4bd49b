/* See health.h. The prober's last round says what is healthy; a deployment not probed yet counts as
 * healthy. */
#include "admin/health.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "credentials.h"
#include "admin/health_database.h"
#include "health_fresh.h"
#include "health_tranche.h"
#include "json/json.h"
#include "config/entrance.h"
#include "request/errors.h"
#include "request/auth.h"
#include "request/long_answer.h"
#include "core/provider_clock.h"

bool health_is_good(const struct runtime *rt, uint32_t deployment)
{
    return health_is_healthy(rt, deployment);
}

/* What its account's credential lacks says more than what the probe saw. */
static void explain(const struct runtime *rt, uint32_t deployment, enum outcome outcome, int status,
                    char *text, size_t size)
{
    if (!credentials_explain(rt, table_deployment(rt->table, deployment)->account, text, size))
        snprintf(text, size, "list batches failed: %s, status %d", outcome_name(outcome), status);
}

bool health_problem(const struct runtime *rt, uint32_t deployment, char *text, size_t size)
{
    const struct probe_word *p = &rt->inherited->probes[deployment];

    if (health_is_healthy(rt, deployment))
        return false;
    explain(rt, deployment, (enum outcome)atomic_load_explicit(&p->outcome, memory_order_relaxed),
            atomic_load_explicit(&p->status, memory_order_relaxed), text, size);
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

enum part { PART_HEALTHY, PART_UNHEALTHY, PART_CREDENTIALS, PART_TRANCHE };

/* The answer being written: the healthy rows, then the others, and all of them in `tranche`. */
struct report {
    const struct runtime *rt; /* borrowed */
    enum part part;           /* being written */
    uint32_t num, next;       /* rows */
    size_t credential;        /* the next one */
    uint32_t counts[2], detailed;
    struct health_filter filter;
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
    char text[640];

    strbuf_addc(out, '{');
    json_write_member_string(out, "model", table_str(rt->table, d->litellm_model));
    json_write_member_string(out, "api_base", account->base);
    if (account->api_version != NULL)
        json_write_member_string(out, "api_version", account->api_version);
    json_write_member_string(out, "model_id", table_str(rt->table, d->id));
    if (d->batch)
        json_write_member_string(out, "mode", "batch");
    if (found->list == LIST_UNHEALTHY) {
        explain(rt, i, (enum outcome)found->outcome, (int)found->status, text, sizeof(text));
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
    if (secret_is_set(&r->rt->config->database))
        health_database_write(&r->rt->inherited->shared->database, loop_now_ms(r->rt->loop), out);
    if (warning[0] != '\0') {
        strbuf_adds(out, ",\"warnings\":[");
        json_write_string(out, warning, strlen(warning));
        strbuf_addc(out, ']');
    }
    strbuf_adds(out, ",\"tranche\":{");
    health_tranche_node(r->rt, out);
    strbuf_adds(out, ",\"deployments\":[");
}

static void write_credential(struct report *r, struct strbuf *out)
{
    struct credential_report report;

    credentials_read(r->rt, r->credential, &report);
    strbuf_adds(out, r->credential++ == 0 ? "],\"credentials\":[" : ",");
    credentials_write(&report, out);
}

/* A row for calls that name no model says nothing new about an account that model_list names too.
 */
static bool is_listed(const struct report *r, uint32_t i)
{
    const struct table_deployment *d = table_deployment(r->rt->table, i);

    return health_filter_takes(&r->filter, r->rt, i) &&
           (d->group != MODEL_NO_INDEX || !r->named[d->account]);
}

static void look_at(struct report *r, uint32_t i)
{
    const struct probe_word *p = &r->rt->inherited->probes[i];
    struct finding *found = &r->findings[i];

    found->list = LIST_NONE;
    if (!is_listed(r, i))
        return;
    found->list = health_is_healthy(r->rt, i) ? LIST_HEALTHY : LIST_UNHEALTHY;
    found->outcome = atomic_load_explicit(&p->outcome, memory_order_relaxed);
    found->status = atomic_load_explicit(&p->status, memory_order_relaxed);
    found->checked_unix_s = (int64_t)atomic_load_explicit(&p->checked_unix_s, memory_order_relaxed);
}

/* A row of one of the two lists. */
static void write_listed(struct report *r, uint32_t i, int list, struct strbuf *out)
{
    if (list == LIST_HEALTHY)
        look_at(r, i);
    if (r->findings[i].list != list)
        return;
    if (r->counts[list]++ > 0)
        strbuf_addc(out, ',');
    write_row(r, i, out);
}

static void write_one(struct report *r, uint32_t i, struct strbuf *out)
{
    if (r->part != PART_TRANCHE) {
        write_listed(r, i, r->part == PART_HEALTHY ? LIST_HEALTHY : LIST_UNHEALTHY, out);
    } else if (r->findings[i].list != LIST_NONE) {
        if (r->detailed++ > 0)
            strbuf_addc(out, ',');
        health_tranche_deployment(r->rt, i, out);
    }
}

/* What stands between two parts. */
static enum long_answer_step end_part(struct report *r, struct strbuf *out)
{
    r->next = 0;
    switch (r->part) {
    case PART_HEALTHY:
        strbuf_adds(out, "],\"unhealthy_endpoints\":[");
        r->part = PART_UNHEALTHY;
        break;
    case PART_UNHEALTHY:
        r->part = PART_CREDENTIALS;
        break;
    case PART_CREDENTIALS:
        write_end(r, out);
        r->part = PART_TRANCHE;
        break;
    case PART_TRANCHE:
        strbuf_adds(out, "]}}");
        return LONG_ANSWER_DONE;
    }
    return LONG_ANSWER_MORE;
}

static enum long_answer_step write_next(void *arg, struct strbuf *out)
{
    struct report *r = arg;

    assert(r->counts[LIST_HEALTHY] + r->counts[LIST_UNHEALTHY] <= r->num); /* each row once */
    if (r->part == PART_CREDENTIALS && r->credential < r->rt->config->models.num_credentials)
        write_credential(r, out);
    else if (r->part != PART_CREDENTIALS && r->next < r->num)
        write_one(r, r->next++, out);
    else
        return end_part(r, out);
    return LONG_ANSWER_MORE;
}

static void note_named(struct report *r)
{
    const struct table *table = r->rt->table;

    for (uint32_t i = 0; i < r->num; i++)
        r->named[table_deployment(table, i)->account] |=
            table_deployment(table, i)->group != MODEL_NO_INDEX;
}

static struct report *report_new(const struct runtime *rt, const struct health_filter *filter)
{
    uint32_t num = table_num_deployments(rt->table);
    struct report *r = calloc(1, sizeof(*r) + num * sizeof(r->findings[0]) +
                                     rt->config->models.num_accounts * sizeof(*r->named));

    if (r == NULL)
        return NULL;
    r->rt = rt;
    r->num = num;
    r->filter = *filter;
    r->named = (bool *)(r->findings + num);
    note_named(r);
    return r;
}

static void answer_report(struct relay *relay, const struct health_filter *filter)
{
    long_answer_write(relay, "{\"healthy_endpoints\":[", write_next, report_new(relay->rt, filter));
}

void health_full(struct relay *relay)
{
    struct health_filter filter;

    if (health_filter_read(relay, &filter) == ANSWERED)
        return;
    if (filter.fresh)
        health_fresh_start(relay, &filter, answer_report);
    else
        answer_report(relay, &filter);
}

void health_liveness(struct relay *relay)
{
    relay_bytes(relay, 200, "application/json", "\"I'm alive!\"", 12);
}

/* The words are LiteLLM's, whose probes may look for them. */
static void answer_ready(struct relay *relay)
{
    const struct database_words *words = &relay->rt->inherited->shared->database;
    struct strbuf out = STRBUF_INIT;

    strbuf_addf(&out, "{\"status\":\"healthy\",\"db\":\"%s\"",
                load_relaxed_32(&words->up) != 0 ? "connected" : "Not connected");
    if (auth_has_key(relay))
        strbuf_adds(&out, ",\"tranche_version\":\"" TRANCHE_VERSION "\"");
    strbuf_addc(&out, '}');
    if (strbuf_failed(&out))
        relay_error(relay, OUT_OF_MEMORY, "");
    else
        relay_bytes(relay, 200, "application/json", strbuf_str(&out), out.len);
    strbuf_deinit(&out);
}

void health_readiness(struct relay *relay)
{
    const struct runtime *rt = relay->rt;

    if (health_is_ready(rt))
        answer_ready(relay);
    else if (rt->draining)
        relay_error(relay, DRAINING, "");
    else
        relay_error(relay, NOBODY_SERVES, "");
}
