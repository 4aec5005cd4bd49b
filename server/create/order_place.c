/* Where an order's batch is made: where its file is, or, when there is no room or the provider
 * refuses, at another deployment of its group (or of those that the group falls back to), which
 * gets a copy of the file. */
#include "order.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "routing/choose.h"
#include "core/endpoints.h"
#include "objects/file_slots.h"
#include "objects/file_url.h"
#include "objects/ledger.h"
#include "objects/refusals.h"

/* What the job takes of a deployment. */
static uint64_t tokens_at(const struct order *o, uint32_t column)
{
    uint64_t limit = quota_limit(o->rt->inherited->quota, column, loop_now_ms(o->rt->loop));
    struct pick_candidate c = {.limit = limit,
                               .unsure = o->unsure_from != 0 && limit >= o->unsure_from};

    return pick_tokens(&c, o->tokens);
}

/* Count its tokens there. @return 0; ERR_LIMIT: no room */
static int reserve(struct order *o, uint32_t deployment)
{
    struct runtime *rt = o->rt;
    uint32_t column = rt->inherited->columns[deployment];
    uint64_t token = o->nonce[0] != '\0'
                         ? quota_token(rt->inherited->quota, column, o->nonce, strlen(o->nonce))
                         : 0;
    int rc = quota_reserve(rt->inherited->quota, rt->slot, column, tokens_at(o, column), token,
                           loop_now_ms(rt->loop), &o->claim);

    if (rc == ERR_FULL)
        log_warn("quota: the ledger is full; a batch is created without a reservation");
    return rc == ERR_LIMIT ? ERR_LIMIT : 0;
}

/* @param any_key  also its rows with another key, or of another API version */
static void set_tried(struct order *o, uint32_t deployment, bool any_key)
{
    const struct table *table = o->rt->table;
    uint32_t account = table_deployment(table, deployment)->account;

    for (uint32_t i = 0; i < o->places.num; i++) {
        uint32_t place = o->places.deployments[i];

        if (table_same_deployment(table, place, deployment) &&
            (any_key || table_deployment(table, place)->account == account))
            o->tried[i] = true;
    }
}

void order_rule_out(struct order *o)
{
    set_tried(o, o->deployment, true);
}

/* The ledger sees no reason, but the provider did: it learns nothing of what a wildcard stands for.
 * Its own words, as a refusal for now unless they name a limit that the job exceeds. */
static void repeat_refusal(const struct order *o, struct failure *why)
{
    uint64_t limit = ledger_limit_in(o->worst.message);

    *why = o->worst;
    if (limit != 0 && o->least > limit)
        return;
    why->status = 429;
    snprintf(why->type, sizeof(why->type), "rate_limit_error");
    if (why->retry_after_ms < 0)
        why->retry_after_ms = QUOTA_FULL_MS;
}

/* What is known of a refusal of this job at a place. */
static struct refusal refusal_at(const struct order *o, uint32_t deployment)
{
    struct runtime *rt = o->rt;
    struct refusal refusal;

    (void)refusals_find(rt->inherited->memo, o->job, table_deployment(rt->table, deployment)->real,
                        loop_now_ms(rt->loop), &refusal);
    return refusal;
}

static bool any_refusal(const struct order *o)
{
    return o->job != 0 && refusals_any(o->rt->inherited->memo, o->job, loop_now_ms(o->rt->loop));
}

/* Who refused the job, and promises nothing. */
struct refusers {
    uint32_t num;
    uint64_t wait_ms; /* until the first of them is asked again */
    bool all_hopeless;
    char names[512]; /* cut to size */
};

static void add_refuser(struct refusers *r, const char *name, const struct refusal *refusal)
{
    uint64_t wait_ms = refusal->for_ms > 1000 ? refusal->for_ms : 1000;
    size_t len = strlen(r->names);

    snprintf(r->names + len, sizeof(r->names) - len, "%s%s", r->num > 0 ? ", " : "", name);
    r->wait_ms = r->num == 0 || wait_ms < r->wait_ms ? wait_ms : r->wait_ms;
    r->all_hopeless = refusal->hopeless && (r->num == 0 || r->all_hopeless);
    r->num++;
}

/* The places that did not refuse it are moved to the front: the order is about to end. @return how
 * many */
static uint32_t part_places(struct order *o, struct refusers *r)
{
    struct candidates *p = &o->places;
    uint32_t num = 0;

    *r = (struct refusers){0};
    if (!any_refusal(o))
        return p->num;
    for (uint32_t i = 0; i < p->num; i++) {
        uint32_t place = p->deployments[i];
        const struct table_deployment *d = table_deployment(o->rt->table, place);
        struct refusal refusal = refusal_at(o, place);

        if (refusal.for_ms > 0 || refusal.hopeless) {
            add_refuser(r, table_str(o->rt->table, d->id), &refusal);
            continue;
        }
        p->deployments[i] = p->deployments[num];
        p->deployments[num++] = place;
    }
    return num;
}

/* What refused it with next to nothing enqueued will not have more room later: nothing is promised. */
static void explain_refusal(const struct order *o, const struct refusers *r, struct failure *why)
{
    *why = (struct failure){.status = 429,
                            .type = "rate_limit_error",
                            .code = "token_limit_exceeded",
                            .retry_after_ms = (int64_t)r->wait_ms,
                            .should_not_retry = r->all_hopeless};
    snprintf(
        why->message, sizeof(why->message),
        r->all_hopeless
            ? "This batch is taken for about %llu enqueued tokens, but was refused where there "
              "is ample room for that: %s. It probably counts for more, or others use that "
              "deployment too. No room can be promised; split its input file. It is not sent "
              "there again for %llu s."
            : "This batch is about %llu enqueued tokens, which was refused as more than there "
              "is room for: %s. It is not sent there again for %llu s.",
        (unsigned long long)o->tokens, r->names, (unsigned long long)(r->wait_ms + 999) / 1000);
}

/* What the ledger says: of all places when it is for ever, else of those that did not refuse this
 * very job. */
static void explain(struct order *o, struct failure *why)
{
    struct refusers refusers;
    struct choose_question q = {.op = OP_CREATE,
                                .candidates = o->places.deployments,
                                .num = o->places.num,
                                .tokens = o->tokens};

    q.unsure_from = o->unsure_from =
        choose_unsure_from(o->rt, q.candidates, q.num, o->tokens, o->least);
    choose_nowhere(o->rt, &q, why);
    q.num = part_places(o, &refusers);
    if (why->status == 400 || refusers.num == 0)
        return;
    if (q.num > 0)
        choose_nowhere(o->rt, &q, why);
    if (q.num == 0 || why->status == 400)
        explain_refusal(o, &refusers, why);
}

void order_nowhere(struct order *o)
{
    struct failure why;

    explain(o, &why);
    /* What a provider said for other reasons than room is more telling. */
    if (o->worst.status != 0 && !failure_is_token_limit(&o->worst) &&
        (why.status == 503 || o->worst.status >= 500))
        why = o->worst;
    else if (why.status == 503 && failure_is_token_limit(&o->worst))
        repeat_refusal(o, &why);
    order_fail(o, &why);
}

static void on_moved(void *arg, enum move_end end, const char *copy, const struct failure *why)
{
    struct order *o = arg;

    if (end == MOVE_DONE) {
        snprintf(o->file, sizeof(o->file), "%s", copy);
        order_send(o);
        return;
    }
    order_leave_place(o);
    if (why->status != 401 && why->status != 403)
        order_rule_out(o);
    if (o->worst.status == 0 || failure_is_token_limit(&o->worst))
        o->worst = *why;
    if (end == MOVE_NOT_THERE && ++o->tries < ORDER_MAX_TRIES)
        order_place_elsewhere(o);
    else
        order_fail(o, &o->worst);
}

/* First among those that have a slot for the copy. When none has, among all: the count may be old,
 * and a provider that refuses tells more than we know. */
static uint32_t choose(struct order *o)
{
    uint32_t tier = o->tier, chosen;

    for (uint32_t i = 0; i < o->places.num; i++) {
        uint32_t place = o->places.deployments[i];

        o->barred[i] =
            o->tried[i] || !file_slots_open(o->rt, place, move_slot_kind(o->rt, &o->facts, place));
    }
    chosen =
        choose_in_tiers(o->rt, OP_CREATE, &o->places, o->barred, &tier, o->tokens, o->unsure_from);
    if (chosen == MODEL_NO_INDEX)
        chosen = choose_in_tiers(o->rt, OP_CREATE, &o->places, o->tried, &o->tier, o->tokens,
                                 o->unsure_from);
    return chosen;
}

/* The next deployment that has room, with its tokens reserved; MODEL_NO_INDEX: none. */
static uint32_t choose_with_room(struct order *o)
{
    uint32_t chosen, tier = o->tier;

    while (o->places.num > 0 && (chosen = choose(o)) != MODEL_NO_INDEX) {
        set_tried(o, chosen, false);
        if (reserve(o, chosen) == 0) {
            o->entered = true;
            o->tries_here = o->tier == tier ? o->tries_here : 0;
            return chosen;
        }
        choose_give_back(o->rt, OP_CREATE, chosen); /* somebody was faster */
    }
    return MODEL_NO_INDEX;
}

void order_place_elsewhere(struct order *o)
{
    uint32_t chosen = choose_with_room(o);

    if (chosen == MODEL_NO_INDEX) {
        order_nowhere(o);
        return;
    }
    o->deployment = chosen;
    if (o->move == NULL)
        o->move = move_new(o->rt, o->facts.deployment, o->target.native, on_moved, o);
    if (o->move == NULL || move_to(o->move, chosen) != 0)
        order_fail_memory(o);
}

/* Providers statement 103: the output's expiry is refused here when this provider would. */
static bool expiry_is_in_range(const struct order *o, enum provider provider,
                               struct failure *failure)
{
    const struct json *seconds =
        json_get(json_get(o->relay->request, "output_expires_after"), "seconds");
    int64_t min_s, max_s, value;

    if (!json_int64(seconds, &value))
        return true; /* absent, or for the provider to refuse */
    provider_expiry_range(provider, &min_s, &max_s);
    if (provider == PROVIDER_AZURE) /* its floor is its own to say: upload_fit.c */
        min_s = o->rt->config->azure_min_expiry_ms / 1000;
    *failure = (struct failure){.status = 400,
                                .type = "invalid_request_error",
                                .code = "invalid_value",
                                .param = "output_expires_after.seconds",
                                .retry_after_ms = -1};
    snprintf(failure->message, sizeof(failure->message),
             "Invalid 'output_expires_after.seconds': expected %lld to %lld for %s, but got %lld "
             "instead.",
             (long long)min_s, (long long)max_s, provider_name(provider), (long long)value);
    return value >= min_s && value <= max_s;
}

/* OpenAI refuses it as well, once the batch is made: hours later. Azure is lenient. Nobody guesses
 * what a file says that was not seen. */
static bool endpoint_is_that_of_lines(const struct order *o, enum provider provider,
                                      struct failure *failure)
{
    if (provider != PROVIDER_OPENAI || o->file_url == NULL ||
        endpoints_are_same(o->endpoint, o->file_url))
        return true;
    relay_fill(failure, 400, "invalid_request_error", "url_mismatch", "endpoint",
               "Invalid 'endpoint': the batch is for '%.64s', but the lines of its input file are "
               "for '%.64s'.",
               o->endpoint, o->file_url);
    return false;
}

/* What one provider accepts the other refuses, OpenAI hours later: its lines' urls begin with /v1,
 * and they are what `endpoint` says (providers 1.3 and 2.5). */
static bool could_take(const struct order *o, enum provider provider)
{
    struct failure why;

    return expiry_is_in_range(o, provider, &why) && endpoint_is_that_of_lines(o, provider, &why) &&
           (provider != PROVIDER_OPENAI || strncmp(o->endpoint, "/v1/", 4) == 0);
}

/* Without a marker nobody could tell later that a batch runs on a copy: its answers would show the
 * copy's id, and the copy would stay for ever. */
static bool can_carry_marker(const struct order *o)
{
    struct strbuf text = STRBUF_INIT;
    bool can = o->nonce[0] != '\0' && order_marker(o, &text) == 0;

    strbuf_deinit(&text);
    return can;
}

static bool may_go(const struct order *o, bool movable, uint32_t deployment)
{
    return movable && facts_may_go(o->rt->table, &o->facts, deployment) &&
           could_take(o, runtime_rules(o->rt, deployment));
}

/* Rows that cannot take this work are no places: their room is of no use to it. */
static void drop_unfit(struct order *o)
{
    struct candidates *p = &o->places;
    uint32_t num = p->num;
    bool movable = can_carry_marker(o);

    p->num = 0;
    for (uint32_t i = 0; i < num; i++) {
        uint32_t deployment = p->deployments[i];

        if (deployment != o->facts.deployment && !may_go(o, movable, deployment))
            continue;
        p->deployments[p->num] = deployment;
        p->tiers[p->num++] = p->tiers[i];
    }
}

/* Where this very job was refused a moment ago. */
static void skip_refusers(struct order *o)
{
    for (uint32_t i = 0; any_refusal(o) && i < o->places.num; i++)
        o->tried[i] |= refusal_at(o, o->places.deployments[i]).for_ms > 0;
}

/* The rows that could take this work instead. */
static int find_places(struct order *o)
{
    const struct runtime *rt = o->rt;

    if (candidates_of_group(rt, table_deployment(rt->table, o->facts.deployment)->group,
                            &o->places) != 0 ||
        (o->tried = calloc(o->places.num + 1, sizeof(bool))) == NULL ||
        (o->barred = calloc(o->places.num + 1, sizeof(bool))) == NULL)
        return ERR_NOMEM;
    drop_unfit(o);
    set_tried(o, o->facts.deployment, false);
    skip_refusers(o);
    o->unsure_from =
        choose_unsure_from(o->rt, o->places.deployments, o->places.num, o->tokens, o->least);
    return 0;
}

/* Where the file is known to be. */
static void place(struct order *o)
{
    uint32_t home = o->target.deployments[o->at];
    enum provider provider = runtime_account(o->rt, home)->provider,
                  rules = runtime_rules(o->rt, home);
    struct failure why;

    if (o->target.native[0] != '\0')
        o->file_url = file_url_recall(o->rt, home, o->target.native);
    o->deployment = o->have_facts ? o->facts.deployment : o->target.deployments[o->at];
    snprintf(o->file, sizeof(o->file), "%s", o->target.native);
    if (!expiry_is_in_range(o, rules, &why) || !endpoint_is_that_of_lines(o, rules, &why)) {
        order_fail(o, &why);
        return;
    }
    if (o->have_facts) {
        o->tokens = facts_tokens(o->rt, &o->facts, provider);
        o->least = facts_least(o->rt, &o->facts, provider);
        o->job = facts_job(&o->facts);
        if (find_places(o) != 0) {
            order_fail_memory(o);
            return;
        }
        facts_take_expected(o->rt, o->target.deployments[o->at], o->target.native, &o->facts);
        if (refusal_at(o, o->deployment).for_ms > 0 || reserve(o, o->deployment) == ERR_LIMIT) {
            o->file[0] = '\0';
            order_place_elsewhere(o);
            return;
        }
    }
    order_send(o);
}

/* --- what is known about the file --- */

static void on_looked(void *arg, const struct facts *facts)
{
    struct order *o = arg;

    o->look = NULL;
    o->have_facts = facts != NULL;
    if (facts != NULL)
        o->facts = *facts;
    place(o);
}

/* Only what the balancer places has a row of its own, and others to go to. */
static void find_facts(struct order *o)
{
    struct runtime *rt = o->rt;
    uint32_t home = o->target.deployments[o->at];

    if (o->target.native[0] == '\0' ||
        !rt->account_balanced[table_deployment(rt->table, home)->account]) {
        place(o);
        return;
    }
    o->have_facts = facts_recall(rt, home, o->target.native, &o->facts);
    if (!o->have_facts)
        o->look = facts_look_start(rt, home, o->target.native, on_looked, o);
    if (o->look == NULL)
        place(o);
}

/* --- finding the account of an untagged file --- */

static void on_located(void *arg, const struct locate_result *result)
{
    struct order *o = arg;
    struct relay *relay;

    o->locate = NULL;
    if (result->found) {
        while (o->target.deployments[o->at] != result->deployment)
            o->at++;
        find_facts(o);
    } else if (result->failure.status == 404) {
        relay = order_detach(o);
        relay->deployment = MODEL_NO_INDEX;
        resolve_not_found(relay, ID_FILE, o->file_id);
        order_free(o);
    } else {
        order_fail(o, &result->failure);
    }
}

static void locate(struct order *o)
{
    o->locate = locate_start(o->rt, ID_FILE, o->target.native, o->target.deployments, o->target.num,
                             on_located, o);
    if (o->locate == NULL)
        order_fail_memory(o);
}

void order_place(struct order *o)
{
    if (o->target.unsure && o->target.native[0] != '\0')
        locate(o);
    else
        find_facts(o);
}
