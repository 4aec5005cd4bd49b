/* See repeat.h. */
#include "once/repeat.h"

#include <netdb.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/seeded_fault.h"
#include "routing/candidates.h"
#include "request/errors.h"
#include "request/resolve.h"

#define KEY_HEADER        "idempotency-key"
#define RETRY_HEADER      "x-stainless-retry-count"
#define SDK_TIMEOUT_S     600 /* openai-python and openai-node, where nothing else is configured */
#define SDK_WAIT_S        60  /* the longest Retry-After that they honour */
#define LOOK_MS           50 /* between two looks at a request that is under way in another worker */
#define LOOK_ELSEWHERE_MS 250  /* ... at another node */
#define AWAY_MS           5000 /* after which a request is worth another try */
#define MAX_SEARCHED      64 /* accounts that are searched; a search of fewer than all proves nothing */
#define MAX_WAIT_MS       60000 /* SDKs take no longer one from a Retry-After */
#define YOUNG_MS          10000 /* a gateway that has just been started again */
#define REFUSED_MS        90000 /* a retry comes within the minute that SDKs wait at most, and some */
#define CLOCK_SLACK_S     300 /* beyond which an answer that the key still names would be too old */

static void look(struct repeat *r);

/* --- the headers --- */

/* A header's value; borrowed. */
struct text {
    const char *base;
    size_t len;
};

static bool find_header(const struct relay *relay, const char *name, struct text *value)
{
    return relay_request_header(relay, name, &value->base, &value->len);
}

bool repeat_is_keyed(const struct relay *relay)
{
    struct text value;

    return find_header(relay, KEY_HEADER, &value);
}

int repeat_nonce(const struct relay *relay, char nonce[MARKER_NONCE + 1])
{
    struct text value;

    if (!find_header(relay, KEY_HEADER, &value))
        return marker_new_nonce(nonce);
    marker_nonce_of(relay->owner, value.base, value.len, nonce);
    return 0;
}

/* Visible characters (RFC 9110 section 5.5), as many as the table's contract says. */
static bool is_good_key(struct text value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.base[i] < 0x20 || (unsigned char)value.base[i] > 0x7e)
            return false;
    return value.len > 0 && value.len <= IDEM_KEY_MAX;
}

/* A header's number, a fraction cut off; 0: it is none, or has more than five digits. */
static uint32_t number_in(const struct relay *relay, const char *name)
{
    struct text value;
    uint32_t n = 0;

    if (!find_header(relay, name, &value) || value.len == 0)
        return 0;
    for (size_t i = 0; i < value.len && value.base[i] != '.'; i++) {
        if (value.base[i] < '0' || value.base[i] > '9' || i == 5)
            return 0;
        n = n * 10 + (uint32_t)(value.base[i] - '0');
    }
    return n;
}

/* openai-python says it by the first name, openai-node by the second one. */
static uint32_t timeout_of(const struct relay *relay)
{
    uint32_t timeout_s = number_in(relay, "x-stainless-read-timeout");

    return timeout_s != 0 ? timeout_s : number_in(relay, "x-stainless-timeout");
}

uint32_t repeat_age_s(bool keyed, uint32_t tries, uint32_t timeout_s)
{
    uint64_t day_s = IDEM_KEEP_MS / 1000;
    uint64_t age_s =
        (uint64_t)tries * ((timeout_s > SDK_TIMEOUT_S ? timeout_s : SDK_TIMEOUT_S) + SDK_WAIT_S);

    return (uint32_t)(keyed || age_s > day_s ? day_s : age_s);
}

/* --- ends --- */

/* It is known that nothing of this request has happened so far. */
static void go_on(struct repeat *r)
{
    r->clear = true;
    r->ops->on_new(r->arg);
}

static void fail(struct repeat *r, struct failure *failure, bool final)
{
    failure->should_not_retry = final;
    if (!final && failure->status != 400)
        failure->retry_after_ms = 1000;
    r->ops->on_failed(r->arg, failure);
}

#define FAIL(r, name, final)                                                                       \
    do {                                                                                           \
        struct failure failure_;                                                                   \
        error_fill(&failure_, name, "");                                                           \
        fail((r), &failure_, (final));                                                             \
    } while (0)

static void fail_unknown(struct repeat *r)
{
    FAIL(r, CREATE_LOST, true);
}

/* --- looking upstream --- */

static void fail_reused(struct repeat *r)
{
    FAIL(r, KEY_REUSED, true);
}

/* Batches of blobs, and those whose metadata a provider does not keep, look all the same. */
static void fail_unsure(struct repeat *r)
{
    FAIL(r, CREATE_UNSURE, true);
}

static void fail_unread(struct repeat *r)
{
    FAIL(r, REPEAT_UNREAD, false);
}

/* A gateway before this one may have sent it: the provider carries out what it has, although nobody
 * waits for it. */
static void fail_under_way(struct repeat *r, uint64_t wait_ms)
{
    struct failure failure;

    error_fill(&failure, REPEAT_UNDER_WAY, "", (unsigned)((wait_ms + 999) / 1000));
    failure.retry_after_ms = wait_ms < MAX_WAIT_MS ? (int64_t)wait_ms : MAX_WAIT_MS;
    r->ops->on_failed(r->arg, &failure);
}

/* Another node had begun it and ended without a word. After a while what it had sent has come to
 * something, and would be listed. */
static void on_not_there_after(struct repeat *r)
{
    uint64_t age_ms = r->fleet.age_ms + loop_now_ms(r->rt->loop) - r->fleet.looked_ms;

    if (r->too_many) {
        fail_unread(r);
    } else if (age_ms < QUOTA_ORPHAN_KEEP_MS) {
        fail_under_way(r, QUOTA_ORPHAN_KEEP_MS - age_ms);
    } else {
        r->fleet.lost = false;
        go_on(r);
    }
}

/* All lists were read in which it could have been found. */
static void on_not_there(struct repeat *r)
{
    uint64_t until_ms = idem_unsure_until_ms(r->rt->inherited->idem);
    uint64_t now_ms = loop_now_ms(r->rt->loop);

    if (r->too_many)
        fail_unread(r);
    else if (until_ms > now_ms)
        fail_under_way(r, until_ms - now_ms);
    else
        go_on(r);
}

static void on_found(struct repeat *r, const struct reconcile_result *result)
{
    if (r->lost)
        (void)idem_take_lost(r->rt->inherited->idem, r->rt->slot, &r->key, &r->claim);
    r->ops->on_found(r->arg, result->deployment, result->doc, result->batch);
}

static void on_searched(void *arg, const struct reconcile_result *result)
{
    struct repeat *r = arg;

    assert(r->search != NULL);
    r->search = NULL;
    if (result->end == RECONCILE_FOUND)
        on_found(r, result);
    else if (r->lost)
        fail_unknown(r);
    else if (result->end == RECONCILE_CONFLICT)
        fail_reused(r);
    else if (result->end == RECONCILE_UNSURE)
        fail_unsure(r);
    else if (result->end == RECONCILE_UNREAD)
        fail_unread(r);
    else if (r->fleet.lost)
        on_not_there_after(r);
    else
        on_not_there(r);
}

/* What was sent a moment ago may not be listed yet: by the gateway that was killed and is here
 * again, or by another node that the client asked before this one. */
static bool may_be_on_its_way(const struct repeat *r)
{
    return r->announced ||
           loop_now_ms(r->rt->loop) < idem_since_ms(r->rt->inherited->idem) + YOUNG_MS;
}

uint64_t repeat_known_since_ms(uint64_t since_ms, uint64_t unsure_until_ms)
{
    return since_ms + YOUNG_MS > unsure_until_ms ? since_ms + YOUNG_MS : unsure_until_ms;
}

/* Since when the table knows all that was asked for here, and that none of it is the one that is
 * looked for; 0: it does not. */
static uint64_t known_since_ms(const struct repeat *r)
{
    const struct idem *idem = r->rt->inherited->idem;

    if (r->lost || r->fleet.lost || r->announced ||
        loop_now_ms(r->rt->loop) < idem_blind_until_ms(idem))
        return 0;
    return repeat_known_since_ms(idem_since_ms(idem), idem_unsure_until_ms(idem));
}

/* @param nonce  "" for whatever has the same owner and request */
static void search(struct repeat *r, const char *nonce)
{
    struct wanted wanted = r->wanted;
    uint32_t age_s = repeat_age_s(r->keyed, r->attempt, r->timeout_s) + CLOCK_SLACK_S;
    struct reconcile_spec spec = {.deployments = r->searched,
                                  .num = r->num_searched,
                                  .wanted = &wanted,
                                  .age_s = age_s,
                                  .known_since_ms = known_since_ms(r),
                                  .patient = r->lost || r->fleet.lost || may_be_on_its_way(r)};

    assert(r->search == NULL && r->num_searched <= MAX_SEARCHED);
    snprintf(wanted.nonce, sizeof(wanted.nonce), "%s", nonce);
    r->search = reconcile_start(r->rt, &spec, on_searched, r);
    if (r->search == NULL)
        FAIL(r, OUT_OF_MEMORY, false);
}

static uint32_t account_of(const struct repeat *r, uint32_t deployment)
{
    const struct runtime *rt = r->rt;

    return rt->account_same_resource[table_deployment(rt->table, deployment)->account];
}

static void append_account(struct repeat *r, uint32_t account)
{
    if (r->num_searched < MAX_SEARCHED)
        r->searched[r->num_searched++] = r->rt->account_first[account];
    else
        r->too_many = true;
}

static void add_deployment(struct repeat *r, uint32_t deployment)
{
    uint32_t account = account_of(r, deployment);

    for (uint32_t i = 0; i < r->num_searched; i++)
        if (account_of(r, r->searched[i]) == account)
            return;
    append_account(r, account);
}

/* Where the batch may be: where its file is, and, should it have been moved, wherever a group of
 * that account's goes. Without a marker none is moved. */
static void list_deployments(struct repeat *r)
{
    const struct runtime *rt = r->rt;
    struct candidates candidates = {0};
    bool *listed;

    if (r->wanted.unmarked)
        return;
    listed = calloc(rt->config->models.num_accounts + 1, sizeof(*listed));
    for (uint32_t i = 0; listed != NULL && i < r->num_searched; i++)
        listed[account_of(r, r->searched[i])] = true;
    if (listed == NULL || candidates_around(rt, listed, &candidates) != 0)
        r->too_many = true; /* for want of memory: not all are searched */
    for (uint32_t i = 0; i < candidates.num && !r->too_many; i++) {
        uint32_t account = account_of(r, candidates.deployments[i]);

        if (!listed[account])
            append_account(r, account);
        listed[account] = true;
    }
    candidates_deinit(&candidates);
    free(listed);
}

/* A LOST one says where it was sent. */
static void look_at_home_first(struct repeat *r, uint32_t fingerprint)
{
    uint32_t deployment = table_find_fingerprint(r->rt->table, fingerprint);

    if (deployment == MODEL_NO_INDEX)
        return;
    r->num_searched = 0;
    add_deployment(r, deployment);
}

/* --- looking here --- */

bool repeat_must_look(bool keyed, bool announced, uint64_t now_ms, uint64_t since_ms,
                      uint64_t blind_until_ms)
{
    if (announced)
        return true;
    return keyed && (now_ms < since_ms + IDEM_KEEP_MS || now_ms < blind_until_ms);
}

/* Most SDK retries follow a 429 of our own: then the previous attempt is known to have created
 * nothing, and the search for the attempts before it was made then. So a client that waits for room
 * costs no list calls. The entry is keyed by the whole request, the attempt's number and the
 * client, so that two clients with equal requests are not mixed up; it is used once and expires
 * soon, since a client that gives up may begin anew at another node. */
static void note_refused(const struct repeat *r)
{
    uint64_t value[MEMO_WORDS] = {r->client.hash[1], r->attempt};

    memo_put(r->rt->inherited->memo, r->client.hash[0], value, loop_now_ms(r->rt->loop));
}

static bool was_refused_here(const struct repeat *r)
{
    struct memo *memo = r->rt->inherited->memo;
    uint64_t value[MEMO_WORDS];

    if (r->client.hash[0] == 0 ||
        !memo_get(memo, r->client.hash[0], REFUSED_MS, loop_now_ms(r->rt->loop), value) ||
        value[0] != r->client.hash[1] || value[1] + 1 != r->attempt)
        return false;
    memo_drop(memo, r->client.hash[0]);
    return true;
}

/* Neither this node's table nor the journal knows it. */
static void on_unknown(struct repeat *r)
{
    const struct idem *idem = r->rt->inherited->idem;

    if (r->kind == REPEAT_CREATE && !was_refused_here(r) &&
        repeat_must_look(r->keyed, r->announced, loop_now_ms(r->rt->loop), idem_since_ms(idem),
                         idem_blind_until_ms(idem))) {
        list_deployments(r);
        search(r, r->keyed ? r->wanted.nonce : "");
    } else {
        go_on(r);
    }
}

/* --- looking in the journal --- */

static void ask_journal(struct repeat *r);

static void on_timer(struct loop_timer *timer)
{
    struct repeat *r = timer->arg;

    if (r->claim.entry != 0) /* nobody is at it here: it is at another node */
        ask_journal(r);
    else
        look(r);
}

static bool may_wait(struct repeat *r, uint64_t delay_ms)
{
    uint64_t now_ms = loop_now_ms(r->rt->loop);

    if (r->give_up_ms == 0)
        r->give_up_ms = now_ms + r->rt->config->timeouts.json_total_ms;
    return now_ms < r->give_up_ms && loop_timer_start(r->rt->loop, &r->timer, delay_ms) == 0;
}

/* As if this node had answered it: the next repeat finds it here. */
static void on_done_elsewhere(struct repeat *r, const struct wire_answer *was)
{
    struct idem_answer answer = {.status = (int)was->status, .deployment = was->deployment};
    size_t len = strlen(was->body);

    r->fleet.ours = false;
    if (strlen(was->id) < sizeof(answer.id))
        snprintf(answer.id, sizeof(answer.id), "%s", was->id);
    snprintf(answer.nonce, sizeof(answer.nonce), "%s", was->nonce);
    if (len <= sizeof(answer.body)) {
        memcpy(answer.body, was->body, len);
        answer.len = len;
    }
    idem_answer(r->rt->inherited->idem, &r->claim, &answer);
    r->ops->on_replay(r->arg, &answer);
}

/* The key is ours now: what came of its create has to be found before it may be made again. */
static void on_lost_elsewhere(struct repeat *r, const struct wire_answer *was)
{
    char nonce[MARKER_NONCE + 1];

    r->fleet.lost = true;
    r->fleet.age_ms = was->age_ms;
    r->fleet.looked_ms = loop_now_ms(r->rt->loop);
    snprintf(nonce, sizeof(nonce), "%s", was->nonce);
    if (r->kind == REPEAT_UPLOAD) { /* as in on_lost() */
        r->fleet.lost = false;
        go_on(r);
    } else if (nonce[0] == '\0') {
        fail_unknown(r); /* it carried no marker */
    } else {
        if (table_find_fingerprint(r->rt->table, was->deployment) != MODEL_NO_INDEX)
            add_deployment(r, table_find_fingerprint(r->rt->table, was->deployment));
        list_deployments(r);
        search(r, nonce);
    }
}

/* The database is away (journal statement C28): this node does what it did without one. Not so a
 * worker that is ending: the keeper may have left before it while the database is there for the other
 * nodes, which would make it again, and nobody here would remember it. */
static void on_away(struct repeat *r)
{
    struct failure failure;

    if (r->rt->config->idempotency_strict || r->rt->draining) {
        error_fill(&failure, IDEMPOTENCY_AWAY, "");
        failure.retry_after_ms = AWAY_MS;
        r->ops->on_failed(r->arg, &failure);
        return;
    }
    r->fleet.local = true;
    relay_header(r->fleet.relay, "idempotency", "local");
    on_unknown(r);
}

static void on_granted(struct repeat *r, bool local)
{
    r->fleet.ours = true;
    if (local) {
        on_away(r);
        return;
    }
    r->fleet.granted_ms = r->fleet.asked_ms;
    on_unknown(r);
}

static void on_verdict(void *arg, const struct wire_verdict *verdict, bool asked)
{
    struct repeat *r = arg;

    r->fleet.call = NULL;
    switch ((enum wire_end)verdict->end) {
    case WIRE_GRANTED:
        on_granted(r, verdict->local != 0);
        return;
    case WIRE_DONE:
        on_done_elsewhere(r, &verdict->answer);
        return;
    case WIRE_RUNNING:
        if (!may_wait(r, verdict->wait_ms != 0 ? verdict->wait_ms : LOOK_ELSEWHERE_MS))
            FAIL(r, REPEAT_IN_PROGRESS, false);
        return;
    case WIRE_OTHER:
        fail_reused(r);
        return;
    case WIRE_LOST:
        r->fleet.ours = true;
        r->fleet.granted_ms = r->fleet.asked_ms;
        on_lost_elsewhere(r, &verdict->answer);
        return;
    case WIRE_FULL: /* nothing was to be counted */
    case WIRE_DOWN:
        break;
    }
    r->fleet.ours = asked;
    on_away(r);
}

/* Before the keeper can hear of it. A create that is lost elsewhere has to stay so whoever dies here,
 * and has a reservation by which it is noted (create_intent.c); of an upload there is nothing to find. */
static void note_unsent(struct repeat *r)
{
    struct runtime *rt = r->rt;

    static_assert(WIRE_ID == UNSENT_ID, "an id as it is");
    if (r->kind == REPEAT_UPLOAD && r->fleet.unsent == NULL)
        r->fleet.unsent =
            unsent_note(&rt->inherited->shared->unsent[rt->slot], UNSENT_KEY, r->fleet.claim);
}

static void ask_journal(struct repeat *r)
{
    const struct runtime *rt = r->rt;
    uint32_t deployment = r->fleet.deployment;
    struct wire_intent intent = {.kind = r->kind == REPEAT_CREATE ? WIRE_CREATE : WIRE_UPLOAD,
                                 .claim = r->fleet.claim,
                                 .name = r->fleet.name,
                                 .request = r->asked,
                                 .nonce = r->wanted.nonce,
                                 .deployment = table_deployment(rt->table, deployment)->fingerprint,
                                 .account = runtime_fingerprint(rt, deployment),
                                 .who = {.owner = r->wanted.owner}};

    assert(r->fleet.call == NULL);
    note_unsent(r);
    r->fleet.asked_ms = loop_now_ms(rt->loop);
    if (journal_intent(rt->journal, &intent, rt->config->idempotency_strict, on_verdict, r,
                       &r->fleet.call) != 0)
        on_away(r);
}

/* The table does not know it. */
static void on_unknown_here(struct repeat *r)
{
    if (r->fleet.name[0] != '\0')
        ask_journal(r);
    else
        on_unknown(r);
}

/* --- what the table says --- */

static void wait_for_first(struct repeat *r)
{
    if (!may_wait(r, LOOK_MS))
        FAIL(r, REPEAT_IN_PROGRESS, false);
}

static void on_lost(struct repeat *r, const struct idem_answer *answer)
{
    char nonce[MARKER_NONCE + 1];

    r->lost = true;
    memcpy(nonce, answer->nonce, sizeof(nonce));
    look_at_home_first(r, answer->deployment);
    if (r->kind == REPEAT_UPLOAD) {
        /* Its worker died: at worst an orphaned file, which costs no money. */
        (void)idem_take_lost(r->rt->inherited->idem, r->rt->slot, &r->key, &r->claim);
        go_on(r);
    } else if (nonce[0] != '\0') {
        search(r, nonce);
    } else {
        fail_unknown(r); /* it carried no marker */
    }
}

static void on_full(struct repeat *r)
{
    if (r->keyed || r->again) /* two of them at once would not see each other */
        FAIL(r, REPEATS_FULL, false);
    else
        on_unknown_here(r);
}

static void look(struct repeat *r)
{
    struct idem *idem = r->rt->inherited->idem;
    uint64_t now_ms = loop_now_ms(r->rt->loop);
    uint64_t keep_ms = (repeat_age_s(r->keyed, 1, r->timeout_s) + CLOCK_SLACK_S) * UINT64_C(1000);
    struct idem_answer answer;
    enum idem_found found;

    if (r->keyed || r->again)
        found = idem_begin(idem, r->rt->slot, &r->key, r->asked, r->wanted.nonce, keep_ms, now_ms,
                           &r->claim, &answer);
    else /* the same once more, on purpose: the newer one is what a repeat would mean */
        found = idem_begin_anew(idem, r->rt->slot, &r->key, r->asked, r->wanted.nonce, keep_ms,
                                now_ms, &r->claim);
    switch (found) {
    case IDEM_NEW:
        on_unknown_here(r);
        break;
    case IDEM_RUNNING:
        if (r->keyed || r->again)
            wait_for_first(r);
        else
            go_on(r); /* two at once: the first one is what is kept */
        break;
    case IDEM_DONE:
        r->ops->on_replay(r->arg, &answer);
        break;
    case IDEM_LOST:
        if (r->keyed || r->again)
            on_lost(r, &answer);
        else
            go_on(r);
        break;
    case IDEM_MISMATCH:
        fail_reused(r);
        break;
    case IDEM_FULL:
        on_full(r);
        break;
    }
}

/* --- life --- */

static struct idem_key key_of(const struct repeat *r, struct text text)
{
    char request[17];

    if (r->keyed)
        return idem_key(r->kind == REPEAT_CREATE ? 'c' : 'u', r->wanted.owner, text.base, text.len);
    snprintf(request, sizeof(request), "%016llx", (unsigned long long)r->asked);
    return idem_key('r', r->wanted.owner, request, 16);
}

/* The body is not all that decides: a provider and a model may stand in path, query and headers.
 * Without them it is the body's fingerprint, which is also what markers carry. */
static uint64_t asked_for(const struct relay *relay, uint64_t request)
{
    const struct route_hints *hints = &relay->hints;
    struct strbuf text = STRBUF_INIT;
    uint64_t asked = request;

    if (!hints->has_provider && hints->model[0] == '\0' && hints->deployment[0] == '\0')
        return request;
    strbuf_addf(&text, "%016llx %s\n%s\n%s", (unsigned long long)request,
                hints->has_provider ? provider_name(hints->provider) : "", hints->model,
                hints->deployment);
    if (!strbuf_failed(&text))
        asked = marker_fingerprint(strbuf_str(&text), text.len);
    strbuf_deinit(&text);
    return asked;
}

/* By what all nodes know the key, and this request by itself. */
static int name_for_journal(struct repeat *r, struct relay *relay, uint32_t deployment)
{
    if (r->rt->journal == NULL || !r->keyed)
        return 0;
    snprintf(r->fleet.name, sizeof(r->fleet.name), "%016llx%016llx",
             (unsigned long long)r->key.hash[0], (unsigned long long)r->key.hash[1]);
    r->fleet.relay = relay;
    r->fleet.deployment = deployment;
    return journal_new_id(r->fleet.claim);
}

/* Who asks for what. What a proxy says of its client is not believed, but told apart by. */
static struct idem_key client_of(const struct repeat *r, const struct relay *relay)
{
    static const char *const names[] = {"x-forwarded-for", "forwarded", "x-real-ip", "user-agent"};
    struct strbuf text = STRBUF_INIT;
    struct idem_key key = {{0, 0}};
    struct text value;

    strbuf_add(&text, (const char *)r->key.hash, sizeof(r->key.hash));
    strbuf_add(&text, (const char *)&r->asked, sizeof(r->asked));
    relay_peer(relay, &text);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        strbuf_adds(&text, "\n");
        if (find_header(relay, names[i], &value))
            strbuf_add(&text, value.base, value.len);
    }
    if (!strbuf_failed(&text))
        key = idem_key('n', r->wanted.owner, strbuf_str(&text), text.len);
    strbuf_deinit(&text);
    return key;
}

void repeat_begin(struct repeat *r, enum repeat_kind kind, struct relay *relay,
                  const struct wanted *wanted, const uint32_t *homes, uint32_t num_homes,
                  const struct repeat_ops *ops, void *arg)
{
    struct text text = {NULL, 0};

    r->rt = relay->rt;
    r->kind = kind;
    r->keyed = find_header(relay, KEY_HEADER, &text) && !seeded_fault(SEEDED_FORGOTTEN_KEY);
    r->attempt = number_in(relay, RETRY_HEADER);
    r->timeout_s = timeout_of(relay);
    r->announced = r->attempt > 0;
    r->again = r->announced && !r->keyed;
    r->wanted = *wanted;
    r->asked = kind == REPEAT_CREATE ? asked_for(relay, wanted->request) : wanted->request;
    r->timer.cb = on_timer;
    r->timer.arg = r;
    r->ops = ops;
    r->arg = arg;
    if (r->keyed && !is_good_key(text)) {
        FAIL(r, IDEMPOTENCY_KEY, false);
        return;
    }
    if (!r->keyed && kind == REPEAT_UPLOAD) {
        ops->on_new(arg); /* an upload that is repeated costs a file slot and no money */
        return;
    }
    r->key = key_of(r, text);
    r->client = client_of(r, relay);
    r->searched = calloc(MAX_SEARCHED, sizeof(*r->searched));
    if (r->searched == NULL || name_for_journal(r, relay, num_homes > 0 ? homes[0] : 0) != 0) {
        FAIL(r, OUT_OF_MEMORY, false);
        return;
    }
    for (uint32_t i = 0; i < num_homes && !r->too_many; i++)
        add_deployment(r, homes[i]);
    look(r);
}

bool repeat_sent(struct repeat *r, uint32_t deployment)
{
    return r->claim.entry == 0 || idem_sent(r->rt->inherited->idem, &r->claim, deployment);
}

void repeat_begins_to_be_sent(struct repeat *r)
{
    unsent_clear(&r->fleet.unsent);
}

void repeat_refused(struct repeat *r)
{
    if (r->claim.entry != 0)
        idem_refused(r->rt->inherited->idem, &r->claim);
}

void repeat_doubt(struct repeat *r)
{
    r->clear = false;
}

/* A create tells more of itself: create_tell_made(). */
static void tell_answer(struct repeat *r, uint32_t deployment, const char *id, int status,
                        const char *body, size_t len)
{
    struct wire_live live = {.kind = WIRE_UPLOAD,
                             .claim = r->fleet.claim,
                             .name = r->fleet.name,
                             .request = r->asked,
                             .owner = r->wanted.owner,
                             .local = r->fleet.local,
                             .deployment = deployment,
                             .answer = {.status = (uint32_t)status,
                                        .deployment = deployment,
                                        .id = id,
                                        .body = len <= WIRE_MAX_ANSWER ? body : ""}};

    unsent_clear(&r->fleet.unsent);
    if (r->fleet.name[0] != '\0' && r->kind == REPEAT_UPLOAD)
        (void)journal_live(r->rt->journal, &live);
    r->fleet.ours = false;
}

void repeat_answered(struct repeat *r, uint32_t deployment, const char *id, int status,
                     const char *body, size_t len)
{
    struct idem_answer answer = {.status = status, .deployment = deployment};

    tell_answer(r, deployment, id, status, body, len);
    if (r->claim.entry == 0)
        return;
    if (id != NULL && strlen(id) < sizeof(answer.id))
        snprintf(answer.id, sizeof(answer.id), "%s", id);
    snprintf(answer.nonce, sizeof(answer.nonce), "%s", r->wanted.nonce);
    if (len <= sizeof(answer.body)) {
        memcpy(answer.body, body, len);
        answer.len = len;
    }
    idem_answer(r->rt->inherited->idem, &r->claim, &answer);
}

/* What becomes of the key. By its claim alone: the marker's nonce may be that of another create with
 * this key, which was lost. */
static void tell_drop(struct repeat *r, enum wire_why why)
{
    struct wire_drop drop = {.why = why, .claim = r->fleet.claim};

    if (r->fleet.ours)
        (void)journal_drop(r->rt->journal, &drop); /* else it shows in the end: nobody has it */
    r->fleet.ours = false;
}

struct repeat_name repeat_name(const struct repeat *r)
{
    return (struct repeat_name){r->fleet.claim, r->fleet.name, r->asked};
}

uint64_t repeat_may_go_until_ms(const struct repeat *r)
{
    if (r->fleet.name[0] == '\0' || r->fleet.local)
        return UINT64_MAX;
    return r->fleet.granted_ms != 0 ? r->fleet.granted_ms + JOURNAL_GRANT_MS : 0;
}

void repeat_overtaken(struct repeat *r)
{
    r->fleet.ours = false;
}

void repeat_lost(struct repeat *r)
{
    if (r->claim.entry != 0)
        idem_lose(r->rt->inherited->idem, &r->claim);
    tell_drop(r, WIRE_WAS_LOST);
}

void repeat_move(struct repeat *to, struct repeat *from, const struct repeat_ops *ops, void *arg)
{
    assert(to->rt == NULL && from->rt != NULL);
    assert(from->search == NULL && from->fleet.call == NULL && from->timer.slot == 0);
    *to = *from;
    to->ops = ops;
    to->arg = arg;
    memset(from, 0, sizeof(*from));
}

void repeat_end(struct repeat *r)
{
    if (r->rt == NULL)
        return;
    if (r->search != NULL)
        reconcile_cancel(r->search);
    r->search = NULL;
    if (r->fleet.call != NULL) {
        journal_cancel(&r->fleet.call);
        r->fleet.ours = true; /* it may be by now */
    }
    unsent_clear(&r->fleet.unsent);
    tell_drop(r, r->fleet.lost ? WIRE_WAS_LOST : WIRE_NOT_MADE);
    loop_timer_stop(r->rt->loop, &r->timer);
    if (r->claim.entry != 0) {
        idem_forget(r->rt->inherited->idem, &r->claim);
        if (r->kind == REPEAT_CREATE && r->clear && r->client.hash[0] != 0)
            note_refused(r);
    }
    free(r->searched);
    r->searched = NULL;
}
