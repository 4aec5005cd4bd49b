/* See create_intent.h. */
#include "create_job.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/hex.h"
#include "common/log.h"
#include "objects/ledger.h"
#include "request/errors.h"

#define AWAY_MS 5000 /* after which a create is worth another try, where nothing else says it */

/* --- what is asked --- */

void intent_take_who(struct intent_who *who, const struct tenant *tenant)
{
    static const unsigned char none[RIGHTS_HASH_BYTES] = {0};
    const struct rights *rights = &tenant->rights;

    *who = (struct intent_who){0};
    if (!tenant_is_bound(tenant) && tenant->kind != TENANT_ADMIN)
        return;
    who->key = rights->key;
    who->team = rights->team;
    snprintf(who->team_name, sizeof(who->team_name), "%s", rights->team_name);
    snprintf(tenant->by_token ? who->user : who->alias, TENANT_NAME, "%s", rights->alias);
    if (tenant->by_token || memcmp(rights->hash, none, sizeof(none)) == 0)
        return;
    hex_write(rights->hash, RIGHTS_HASH_BYTES, who->key_hash);
}

/* Names and values are texts: create_check has looked at them. */
void intent_take_tags(struct intent_who *who, const struct config *config,
                      const struct json *request)
{
    const struct json *metadata = json_get(request, "metadata");
    struct strbuf tags = STRBUF_INIT, tag = STRBUF_INIT;

    for (size_t i = 0; i < config->num_usage_tags; i++) {
        const char *value = json_get_str(metadata, config->usage_tags[i]);

        if (value == NULL)
            continue;
        strbuf_reset(&tag);
        strbuf_addf(&tag, "%s:%s", config->usage_tags[i], value);
        strbuf_addc(&tags, tags.len == 0 ? '[' : ',');
        json_write_string(&tags, strbuf_str(&tag), tag.len);
    }
    strbuf_deinit(&tag);
    if (tags.len > 0)
        strbuf_addc(&tags, ']');
    if (tags.len > 0 && tags.len <= WIRE_MAX_TAGS)
        who->tags = strbuf_take(&tags);
    strbuf_deinit(&tags);
}

static uint32_t account_of(const struct create_job *job, uint32_t deployment)
{
    return runtime_fingerprint(job->op.rt, deployment);
}

static struct wire_who who_of(const struct create_job *job, uint32_t deployment)
{
    const struct intent_who *who = &job->intent.who;
    const struct table *table = job->op.rt->table;
    bool known = job->have_facts && job->facts.deployment != MODEL_NO_INDEX;
    uint32_t group = table_deployment(table, known ? job->facts.deployment : deployment)->group;

    return (struct wire_who){
        .owner = job->owner,
        .key = who->key,
        .team = who->team,
        .key_hash = who->key_hash,
        .key_alias = who->alias,
        .team_id = who->team_name,
        .user_id = who->user,
        .tags = who->tags,
        .group = group != MODEL_NO_INDEX ? table_group_name(table, group) : "",
        .endpoint = job->endpoint,
        .file = job->file_id,
        .original = job->target.native,
        .home = job->target.native[0] != '\0' ? account_of(job, create_home(job)) : 0,
        .delete_after_s = who->delete_after_s,
        .lines = job->have_facts ? job->facts.lines : 0};
}

static struct wire_scope deployment_scope(const struct create_job *job)
{
    const struct runtime *rt = job->op.rt;
    uint32_t deployment = job->op.deployment;

    static_assert(WIRE_UNLIMITED == UINT64_MAX, "as ledger_shared_limit() says it");
    return (struct wire_scope){
        .name = table_deployment(rt->table, deployment)->real,
        .tokens = ledger_shared_limit(rt->inherited, deployment, loop_now_ms(rt->loop)),
        .batches = WIRE_UNLIMITED,
        .nano = WIRE_UNLIMITED};
}

static struct wire_scope tenant_scope(const struct scopes *scopes, unsigned kind)
{
    const struct quota_scope *scope = &scopes->of[kind];

    static_assert(WIRE_UNLIMITED == RIGHTS_UNLIMITED, "budgets go as they are");
    return (struct wire_scope){.name = scope->name,
                               .tokens = scope->tokens,
                               .batches = scope->batches,
                               .nano = scopes->budgets[kind],
                               .period_s = scopes->periods_s[kind]};
}

static void count_in(struct create_job *job)
{
    struct intent *intent = &job->intent;

    memset(intent->scopes, 0, sizeof(intent->scopes));
    intent->tokens = job->have_facts ? job->counted : 0;
    if (job->have_facts)
        intent->scopes[WIRE_DEPLOYMENT] = deployment_scope(job);
    if (job->scopes.of[QUOTA_KEY].name != 0)
        intent->scopes[WIRE_KEY] = tenant_scope(&job->scopes, QUOTA_KEY);
    if (job->scopes.of[QUOTA_TEAM].name != 0)
        intent->scopes[WIRE_TEAM] = tenant_scope(&job->scopes, QUOTA_TEAM);
}

/* Tokens of the input, as they were counted without the output. */
static uint64_t input_of(const struct create_job *job)
{
    const struct runtime *rt = job->op.rt;
    uint32_t account = table_deployment(rt->table, job->op.deployment)->account;
    enum provider provider = rt->config->models.accounts[account].provider;
    uint64_t output = rt->config->count_output_tokens[provider] ? job->facts.output_tokens : 0;

    return job->have_facts && job->tokens > output ? job->tokens - output : 0;
}

/* --- what is answered --- */

static enum create_step fail_away(struct create_job *job, struct failure *why, uint64_t wait_ms)
{
    why->retry_after_ms = wait_ms != 0 ? (int64_t)wait_ms : AWAY_MS;
    relay_header(job->op.relay, "x-should-retry", "true");
    create_drop_copy(job);
    return create_fail(job, why);
}

/* Nobody has counted it for all nodes, and it may go all the same, unless its key could be another
 * node's by now. */
static enum create_step send_uncounted(struct create_job *job, uint64_t wait_ms)
{
    struct failure why;

    job->intent.good_until_ms = repeat_may_go_until_ms(&job->repeat);
    if (create_may_be_sent(job))
        return STEP_SEND;
    error_fill(&why, IDEMPOTENCY_AWAY, "");
    return fail_away(job, &why, wait_ms);
}

/* Whether it is refused where nobody says that it may go (journal statement C28). */
static bool needs_an_answer(const struct create_job *job)
{
    return job->hook.url != NULL ||
           (scopes_are_limited(&job->scopes) && !job->op.rt->config->limits_open_when_down);
}

/* The database is away, and this node has no share left (journal statement C28). */
static enum create_step on_away(struct create_job *job, uint64_t wait_ms)
{
    struct failure why;

    if (!needs_an_answer(job))
        return send_uncounted(job, wait_ms);
    if (job->hook.url != NULL) /* nobody would be told */
        error_fill(&why, WEBHOOK_AWAY, "");
    else
        error_fill(&why, LIMITS_AWAY, "");
    return fail_away(job, &why, wait_ms);
}

/* (tenants statement A27) */
static enum create_step refuse_price(struct create_job *job, const struct wire_verdict *verdict)
{
    struct failure why;

    scopes_explain_budget(&job->scopes, verdict->scope == WIRE_TEAM ? QUOTA_TEAM : QUOTA_KEY,
                          verdict->used, verdict->limit, job->op.rt->config->budget_exceeded_status,
                          &why);
    create_drop_copy(job);
    return create_fail(job, &why);
}

static enum create_step refuse_tenant(struct create_job *job, const struct wire_verdict *verdict)
{
    if (verdict->by == WIRE_BY_NANO)
        return refuse_price(job, verdict);
    job->refusal = (struct quota_refusal){
        .by = verdict->by == WIRE_BY_BATCHES ? QUOTA_BY_BATCHES : QUOTA_BY_TOKENS,
        .scope = verdict->scope == WIRE_TEAM ? QUOTA_TEAM : QUOTA_KEY,
        .used = verdict->used,
        .limit = verdict->limit};
    job->over_limit = true;
    create_drop_copy(job);
    return create_refuse_tenant(job);
}

/* Other nodes were faster there: as a deployment that refuses for want of room, but nobody was
 * asked. */
static enum create_step leave_deployment(struct create_job *job)
{
    create_give_back(job);
    create_rule_out(job);
    create_drop_copy(job);
    error_fill(&job->worst, FLEET_HAS_NO_ROOM, "");
    return STEP_ELSEWHERE;
}

static enum create_step on_full(struct create_job *job, const struct wire_verdict *verdict)
{
    job->intent.stands = false; /* nothing was written */
    unsent_clear(&job->intent.unsent);
    log_debug("request %s: create: scope %u is full for all nodes: %llu of %llu", job->request_id,
              (unsigned)verdict->scope, (unsigned long long)verdict->used,
              (unsigned long long)verdict->limit);
    return verdict->scope == WIRE_DEPLOYMENT ? leave_deployment(job) : refuse_tenant(job, verdict);
}

/* Its key is another request's by now, of this node or of another one: it took too long. */
static enum create_step on_overtaken(struct create_job *job, bool lost, uint64_t wait_ms)
{
    struct failure why;

    job->intent.stands = false;
    if (lost) /* it is this one's again, but what became of that one is not known */
        repeat_lost(&job->repeat);
    else
        repeat_overtaken(&job->repeat);
    error_fill(&why, REPEAT_IN_PROGRESS, "");
    why.retry_after_ms = wait_ms != 0 ? (int64_t)wait_ms : 1000;
    create_drop_copy(job);
    return create_fail(job, &why);
}

static enum create_step judge(struct create_job *job, const struct wire_verdict *verdict)
{
    switch ((enum wire_end)verdict->end) {
    case WIRE_GRANTED:
        if (verdict->local != 0) /* out of this node's share */
            return send_uncounted(job, verdict->wait_ms);
        job->intent.granted = true;
        job->intent.good_until_ms = job->intent.asked_ms + JOURNAL_GRANT_MS;
        return STEP_SEND;
    case WIRE_FULL:
        return on_full(job, verdict);
    case WIRE_DONE:
    case WIRE_RUNNING:
    case WIRE_OTHER:
    case WIRE_LOST:
        return on_overtaken(job, verdict->end == WIRE_LOST, verdict->wait_ms);
    case WIRE_DOWN:
        break;
    }
    return on_away(job, verdict->wait_ms);
}

static void on_intent(void *arg, const struct wire_verdict *verdict, bool asked)
{
    struct create_job *job = arg;

    job->intent.call = NULL;
    create_ended(job, STEP_INTENT);
    job->intent.stands = asked;
    create_go(job, judge(job, verdict));
}

/* Before the keeper can hear of it: what it grants a worker that has died meanwhile is given back. */
static int name_intent(struct create_job *job)
{
    struct runtime *rt = job->op.rt;
    struct intent *intent = &job->intent;
    int rc = journal_new_id(intent->id);

    static_assert(WIRE_ID == UNSENT_ID, "an id as it is");
    unsent_clear(&intent->unsent); /* of a try that was not sent */
    if (rc == 0)
        intent->unsent =
            unsent_note(&rt->inherited->shared->unsent[rt->slot], UNSENT_CREATE, intent->id);
    return rc;
}

enum create_step create_intend(struct create_job *job)
{
    struct runtime *rt = job->op.rt;
    struct intent *intent = &job->intent;
    struct repeat_name name = repeat_name(&job->repeat);
    struct wire_intent asked = {.kind = WIRE_CREATE,
                                .anyway = job->unbalanced,
                                .id = intent->id,
                                .claim = name.claim,
                                .name = name.name,
                                .request = name.request,
                                .nonce = job->nonce,
                                .deployment =
                                    table_deployment(rt->table, job->op.deployment)->fingerprint,
                                .account = account_of(job, job->op.deployment),
                                .input = input_of(job),
                                .output = job->have_facts ? job->facts.output_tokens : 0,
                                .who = who_of(job, job->op.deployment),
                                .hook_url = job->hook.url,
                                .hook_secret = job->hook.secret,
                                .hook_types = job->hook.types};

    assert(rt->journal != NULL && intent->call == NULL && !intent->stands);
    count_in(job);
    asked.tokens = intent->tokens;
    memcpy(asked.scopes, intent->scopes, sizeof(asked.scopes));
    if (job->nonce[0] != '\0')
        asked.ledger = quota_token(rt->inherited->quota, rt->inherited->columns[job->op.deployment],
                                   job->nonce, strlen(job->nonce));
    intent->granted = false;
    intent->asked_ms = loop_now_ms(rt->loop);
    if (name_intent(job) != 0 || journal_intent(rt->journal, &asked, needs_an_answer(job),
                                                on_intent, job, &intent->call) != 0)
        return on_away(job, 0);
    return STEP_WAITS;
}

bool create_may_be_sent(const struct create_job *job)
{
    return job->op.rt->journal == NULL || loop_now_ms(job->op.rt->loop) < job->intent.good_until_ms;
}

void create_begins_to_be_sent(struct create_job *job)
{
    unsent_clear(&job->intent.unsent);
}

/* --- what is told --- */

static void tell_drop(struct create_job *job, enum wire_why why)
{
    struct runtime *rt = job->op.rt;
    struct wire_drop drop = {
        .why = why, .id = job->intent.id, .claim = repeat_name(&job->repeat).claim};

    if (!job->intent.stands)
        return;
    assert(rt->journal != NULL && job->op.deployment < table_num_deployments(rt->table));
    drop.deployment = table_deployment(rt->table, job->op.deployment)->fingerprint;
    job->intent.stands = job->intent.granted = false;
    (void)journal_drop(rt->journal, &drop); /* what is not told is found by its marker */
}

void create_tell_refused(struct create_job *job)
{
    tell_drop(job, WIRE_WAS_REFUSED);
}

void create_tell_lost(struct create_job *job)
{
    tell_drop(job, WIRE_WAS_LOST);
}

void create_tell_end(struct create_job *job)
{
    if (job->intent.call != NULL) {
        journal_cancel(&job->intent.call);
        job->intent.stands = true; /* it may be written all the same */
    }
    unsent_clear(&job->intent.unsent);
    tell_drop(job, WIRE_NOT_MADE);
}

static uint64_t seconds_in(const struct json *batch, const char *name)
{
    int64_t seconds;

    return json_int64(json_get(batch, name), &seconds) && seconds > 0 ? (uint64_t)seconds : 0;
}

static const char *text_in(const struct json *batch, const char *name)
{
    const char *text = json_get_str(batch, name);

    return text != NULL ? text : "";
}

static struct wire_live live_of(struct create_job *job, uint32_t deployment, int status,
                                const struct json *batch, const struct strbuf *text)
{
    struct intent *intent = &job->intent;
    struct repeat_name name = repeat_name(&job->repeat);
    uint32_t fingerprint = table_deployment(job->op.rt->table, deployment)->fingerprint;
    bool kept = !strbuf_failed(text) && text->len <= WIRE_MAX_ANSWER;
    struct wire_live live = {.kind = WIRE_CREATE,
                             .local = !intent->granted,
                             .id = intent->stands ? intent->id : "",
                             .claim = name.claim,
                             .name = name.name,
                             .request = name.request,
                             .owner = job->owner,
                             .answer = {.status = (uint32_t)status,
                                        .deployment = fingerprint,
                                        .id = text_in(batch, "id"),
                                        .nonce = job->nonce,
                                        .body = kept ? strbuf_str(text) : ""},
                             .native_file = job->file,
                             .nonce = job->nonce,
                             .status = text_in(batch, "status"),
                             .deployment = fingerprint,
                             .account = account_of(job, deployment),
                             .created_s = seconds_in(batch, "created_at"),
                             .expires_s = seconds_in(batch, "expires_at"),
                             .tokens = intent->tokens,
                             .who = who_of(job, deployment)};

    memcpy(live.scopes, intent->scopes, sizeof(live.scopes));
    return live;
}

void create_tell_made(struct create_job *job, uint32_t deployment, int status, const char *native,
                      const struct json *batch, const struct strbuf *text)
{
    struct wire_live live;

    if (job->op.rt->journal == NULL)
        return;
    live = live_of(job, deployment, status, batch, text);
    live.native = native;
    job->intent.stands = false;
    (void)journal_live(job->op.rt->journal, &live); /* as in tell_drop() */
}
