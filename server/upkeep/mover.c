/* See mover.h. */
#include "mover.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls/attempt.h"
#include "common/log.h"
#include "common/seeded_fault.h"
#include "core/provider_clock.h"
#include "crypto/marker.h"
#include "journal/moves.h"
#include "objects/discard.h"
#include "objects/facts.h"
#include "objects/ledger.h"
#include "objects/move.h"
#include "objects/moved.h"
#include "objects/owned.h"
#include "objects/polls.h"
#include "objects/refusals.h"
#include "pages.h"
#include "routing/choose.h"
#include "upstream/normal.h"

#define MOST_PLACES  4 /* deployments that one task goes through */
#define PENDING_MS   1000
#define PENDING_MOST 120 /* questions for a file that its provider still processes */
#define EXPIRES_S    (24 * 3600)
#define LIST_QUERY   "limit=100"
#define DOUBT_MS     1000

struct mover {
    struct due_task *task; /* borrowed; it ends with this */
    struct runtime *rt;    /* borrowed */
    struct journal *journal;
    uint32_t from, to; /* deployments; to: MODEL_NO_INDEX: none is chosen */
    /* What it is */
    struct json_doc *doc; /* owned; of `batch` */
    struct json *batch;
    struct marker marker;
    uint64_t job; /* facts_job(); 0: not known */
    char input[IDS_MAX + 1];
    uint64_t moment; /* polls_moment() from before it was asked for */
    /* Where it goes */
    struct candidates candidates; /* owned */
    bool *barred;                 /* owned */
    uint32_t places;
    bool permit; /* choose's; until the create is sent */
    struct quota_claim claim;
    struct move *copy;      /* owned */
    char file[IDS_MAX + 1]; /* the copy; "": there is none */
    uint32_t pending;
    struct loop_timer timer;
    /* The create */
    char nonce[MARKER_NONCE + 1], id[WIRE_ID + 1];
    bool begun, stands; /* its nonce may be in the database; the same of its reservation */
    struct strbuf body;
    uint64_t asked_ms;
    struct journal_call *call; /* owned */
    struct attempt *attempt;   /* owned */
    /* LOOK */
    bool found;
    uint64_t page_age_ms;
};

static void place(struct mover *m);

static uint64_t now_of(const struct mover *m)
{
    return loop_now_ms(m->rt->loop);
}

static uint32_t watch_ms(const struct mover *m)
{
    uint32_t ms = m->rt->config->timeouts.watch_ms;

    return ms != 0 ? ms : QUOTA_ASK_MS;
}

/* --- its end --- */

static void give_back_room(struct mover *m)
{
    quota_cancel(m->rt->inherited->quota, m->rt->slot, &m->claim, now_of(m));
    m->claim = (struct quota_claim){0};
    if (m->permit)
        choose_give_back(m->rt, OP_CREATE, m->to);
    m->permit = false;
}

static void drop_copy(struct mover *m)
{
    if (m->file[0] != '\0')
        discard_file(m->rt, m->to, m->file);
    m->file[0] = '\0';
}

static void mover_end(struct mover *m)
{
    struct due *due = m->task->due;
    struct due_task *task = m->task;

    assert(m->attempt == NULL && m->call == NULL && due->moving > 0);
    loop_timer_stop(m->rt->loop, &m->timer);
    move_free(m->copy);
    candidates_deinit(&m->candidates);
    json_doc_free(m->doc);
    strbuf_deinit(&m->body);
    free(m->barred);
    free(m);
    due->moving--;
    due_task_end(task);
    for (size_t i = 0; i < WIRE_MAX_DUE && due->moving < MOVER_AT_ONCE; i++)
        if (due->tasks[i].due != NULL && due->tasks[i].waits_to_move) {
            due->tasks[i].waits_to_move = false;
            mover_start(&due->tasks[i]);
        }
}

static struct wire_move step_of(const struct due_task *task, enum wire_move_step step)
{
    return (struct wire_move){.step = step,
                              .account = task->wire.account,
                              .native = task->native,
                              .nonce = "",
                              .why = "",
                              .to_native = "",
                              .status = "",
                              .id = "",
                              .text = ""};
}

static void tell(struct mover *m, struct wire_move *w)
{
    int ret = journal_moved(m->journal, w);

    if (ret != 0) /* its claim runs out, and it is moved then */
        log_debug("batch %s: its move cannot be told: %s", m->task->native, err_str(ret));
    mover_end(m);
}

/* Nothing came of it for certain: what was held is given back. */
static void undo(struct mover *m)
{
    struct wire_drop drop = {.why = WIRE_NOT_MADE, .id = m->id, .claim = "", .nonce = ""};

    if (m->stands)
        (void)journal_drop(m->journal, &drop);
    m->stands = false;
    give_back_room(m);
    drop_copy(m);
}

/* It is tried again later. @param why  for people */
static void wait_for_room(struct mover *m, const char *why, uint32_t wait_ms)
{
    struct wire_move w = step_of(m->task, WIRE_MOVE_WAIT);

    log_debug("batch %s failed late, and is moved later: %s", m->task->native, why);
    undo(m);
    w.wait_ms = wait_ms;
    w.nonce = m->begun ? m->nonce : "";
    tell(m, &w);
}

static void wait_longer(struct mover *m, const char *why)
{
    wait_for_room(m, why, moves_wait_ms(m->task->wire.tries, watch_ms(m)));
}

/* What cannot be known now. */
static void leave_in_doubt(struct mover *m, uint32_t wait_ms)
{
    struct wire_move w = step_of(m->task, WIRE_MOVE_DOUBT);

    w.wait_ms = wait_ms;
    tell(m, &w);
}

static void give_up(struct mover *m, const char *why)
{
    struct wire_move w = step_of(m->task, WIRE_MOVE_OVER);
    char text[WIRE_MAX_NAME + 1];

    snprintf(text, sizeof(text), "%s", why);
    undo(m);
    w.why = text;
    w.nonce = m->begun ? m->nonce : "";
    tell(m, &w);
}

/* The batch that failed ran on a copy of ours: nobody needs that any more. */
static void drop_last_copy(const struct mover *m)
{
    if (m->marker.origin != 0 &&
        ledger_takes_copy(m->rt->inherited, runtime_fingerprint(m->rt, m->from), m->input,
                          now_of(m)))
        discard_file(m->rt, m->from, m->input);
}

/* --- LOOK: what came of a create in doubt --- */

static void tell_found(struct mover *m, const struct observation *s, const struct json *batch)
{
    struct wire_move w = step_of(m->task, WIRE_MOVE_MADE);
    const char *status = json_get_str(batch, "status");

    w.nonce = m->task->nonce;
    w.to = m->task->wire.placed;
    w.to_account = runtime_fingerprint(m->rt, m->to);
    w.to_native = s->id;
    w.status = status != NULL ? status : "";
    w.tokens = s->marker.tokens;
    if (journal_moved(m->journal, &w) != 0)
        log_debug("batch %s: its move cannot be told", m->task->native);
}

static void on_listed(void *arg, struct json_doc *doc, struct json *object)
{
    struct mover *m = arg;
    struct observation s;
    uint64_t age_ms;

    if (!observation_read(doc, object, m->rt->inherited->seals, &s))
        return;
    age_ms = observation_age_ms(&s, provider_clock_now_s(m->rt->inherited, m->to));
    if (age_ms > m->page_age_ms)
        m->page_age_ms = age_ms;
    if (m->found || !s.marked || strcmp(s.marker.nonce, m->task->nonce) != 0)
        return;
    m->found = true;
    tell_found(m, &s, object);
}

static bool on_more(void *arg)
{
    const struct mover *m = arg;

    return !m->found && m->page_age_ms <= MOVES_LATE_S * UINT64_C(1000);
}

/* That a list does not show it proves nothing yet: the search for creates that nobody settles does,
 * by the reservation (due_find.c). */
static void on_looked(void *arg, enum pages_end end, const char *why)
{
    struct mover *m = arg;
    struct wire_drop drop = {.why = WIRE_WAS_LOST, .id = "", .claim = "", .nonce = m->task->nonce};

    if (m->found) {
        mover_end(m);
        return;
    }
    if (end == PAGES_FAILED)
        log_debug("batch %s: where it may have been moved to cannot be looked at: %s",
                  m->task->native, why);
    (void)journal_drop(m->journal, &drop);
    leave_in_doubt(m, watch_ms(m));
}

static void look(struct mover *m)
{
    struct upkeep *upkeep = m->task->due->upkeep;
    struct pages_spec spec = {.call = CALL_BATCH_LIST,
                              .query = LIST_QUERY,
                              .paged = true,
                              .max_pages = DUE_FIND_PAGES,
                              .on_object = on_listed,
                              .on_more = on_more,
                              .on_done = on_looked,
                              .arg = m};

    m->to = table_find_fingerprint(m->rt->table, m->task->wire.placed);
    if (m->to != MODEL_NO_INDEX)
        spec.account = &upkeep->accounts[table_deployment(m->rt->table, m->to)->account];
    if (spec.account == NULL || spec.account->deployment == MODEL_NO_INDEX ||
        upkeep_account_is_quiet(spec.account) || pages_start(&spec) != 0)
        leave_in_doubt(m, watch_ms(m));
}

/* --- SEND --- */

static void tell_made(struct mover *m, const struct json *made)
{
    struct wire_move w = step_of(m->task, WIRE_MOVE_MADE);
    const char *status = json_get_str(made, "status");
    int64_t expires_s;

    w.nonce = m->nonce;
    w.id = m->id;
    w.to = table_deployment(m->rt->table, m->to)->fingerprint;
    w.to_account = runtime_fingerprint(m->rt, m->to);
    w.to_native = json_get_str(made, "id");
    w.status = status != NULL ? status : "";
    w.tokens = m->claim.tokens != 0 ? m->claim.tokens : m->marker.tokens;
    w.expires_s = json_int64(json_get(made, "expires_at"), &expires_s) && expires_s > 0
                      ? (uint64_t)expires_s
                      : 0;
    m->file[0] = '\0'; /* it is the batch's */
    drop_last_copy(m);
    tell(m, &w);
}

static void on_lost(struct mover *m, const char *why)
{
    struct wire_drop drop = {.why = WIRE_WAS_LOST,
                             .id = m->id,
                             .claim = "",
                             .nonce = m->nonce,
                             .deployment = table_deployment(m->rt->table, m->to)->fingerprint};

    log_warn("batch %s: the answer to its move to %s was lost: %s", m->task->native,
             runtime_account(m->rt, m->to)->name, why);
    quota_abandon(m->rt->inherited->quota, &m->claim, now_of(m));
    m->claim = (struct quota_claim){0};
    (void)journal_drop(m->journal, &drop);
    leave_in_doubt(m, DOUBT_MS);
}

static void on_made(struct mover *m, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    const struct json *made =
        doc != NULL && res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    const char *id = json_get_str(made, "id");

    if (id == NULL || id[0] == '\0' || strlen(id) > WIRE_MAX_ID) {
        json_doc_free(doc);
        on_lost(m, "it was no batch");
        return;
    }
    if (m->claim.entry != 0 &&
        quota_commit(m->rt->inherited->quota, &m->claim, id, strlen(id)) != 0)
        log_debug("batch %s: its reservation expired before its move was answered",
                  m->task->native);
    if (m->job != 0)
        refusals_forget(m->rt->inherited->memo, m->job,
                        table_deployment(m->rt->table, m->to)->real);
    tell_made(m, made); /* ends it: `made` is read before */
    json_doc_free(doc);
}

/* A request that this provider would refuse again. */
static bool is_final(const struct failure *why)
{
    return why->status >= 400 && why->status < 500 && why->status != 401 && why->status != 403 &&
           why->status != 404 && why->status != 408 && why->status != 409 && why->status != 429;
}

static void on_refused(struct mover *m, const struct failure *why)
{
    const struct inherited *inherited = m->rt->inherited;
    bool for_room = failure_is_token_limit(why);
    uint32_t to = m->to;

    undo(m);
    if (for_room) {
        quota_learn_refused(inherited->quota, inherited->columns[to], ledger_limit_in(why->message),
                            now_of(m));
        ledger_note_refused(inherited, to, m->job, m->marker.tokens, now_of(m));
        wait_for_room(m, why->message, 0); /* the next one is asked at once */
    } else if (is_final(why) && m->task->wire.tries >= MOVES_MAX) {
        give_up(m, why->message);
    } else {
        wait_longer(m, why->message);
    }
}

static void on_created(void *arg, const struct attempt_result *result)
{
    struct mover *m = arg;
    struct retry_question question = attempt_question(OP_CREATE, result);

    m->attempt = NULL;
    question.pinned = true;
    question.tries = question.max_tries = 1;
    if (result->ok && m->task->wire.tries == 0 && seeded_fault(SEEDED_RETRIED_MOVE))
        wait_longer(m, "its move is lost");
    else if (result->ok)
        on_made(m, result->upstream);
    else if (retry_is_doubtful(&question) || retry_decide(&question, 0).action == RETRY_RECONCILE)
        on_lost(m, result->failure.message);
    else
        on_refused(m, &result->failure);
}

/* From inside curl, right before the first byte. */
static bool on_send(void *arg)
{
    struct mover *m = arg;

    return now_of(m) < m->asked_ms + JOURNAL_GRANT_MS &&
           (m->claim.entry == 0 || quota_sent(m->rt->inherited->quota, &m->claim));
}

static void send_create(struct mover *m)
{
    struct attempt_spec spec = {.deployment = m->to,
                                .call = CALL_BATCH_CREATE,
                                .content_type = "application/json",
                                .body = strbuf_str(&m->body),
                                .body_len = m->body.len,
                                .agent = UPKEEP_AGENT,
                                .on_begin = on_send,
                                .on_done = on_created,
                                .arg = m};

    m->attempt = attempt_start(m->rt, &spec);
    if (m->attempt == NULL)
        wait_longer(m, "the gateway is out of memory");
    else
        m->permit = false; /* it is the attempt's */
}

/* --- INTENT and BEGIN --- */

static void on_begun(void *arg, enum wire_move_end end, bool asked)
{
    struct mover *m = arg;

    m->call = NULL;
    m->begun = asked;
    if (end == WIRE_MOVE_DONE) {
        send_create(m);
    } else if (end == WIRE_MOVE_STALE) { /* it was cancelled, or somebody else is at it */
        m->begun = false;
        undo(m);
        leave_in_doubt(m, watch_ms(m));
    } else {
        wait_longer(m, "the database does not answer");
    }
}

static void begin(struct mover *m)
{
    struct wire_move w = step_of(m->task, WIRE_MOVE_BEGIN);

    w.nonce = m->nonce;
    w.to = table_deployment(m->rt->table, m->to)->fingerprint;
    if (journal_move(m->journal, &w, on_begun, m, &m->call) != 0)
        wait_longer(m, "the gateway is out of memory");
}

static void on_intent(void *arg, const struct wire_verdict *verdict, bool asked)
{
    struct mover *m = arg;

    m->call = NULL;
    m->stands = asked;
    if (verdict->end == WIRE_GRANTED && verdict->local == 0)
        begin(m);
    else
        wait_longer(m, verdict->end == WIRE_FULL ? "other nodes have the room there"
                                                 : "the database does not answer");
}

static struct wire_scope scope_of(uint64_t name)
{
    return (struct wire_scope){
        .name = name, .tokens = WIRE_UNLIMITED, .batches = WIRE_UNLIMITED, .nano = WIRE_UNLIMITED};
}

static struct wire_scope scope_of_place(const struct mover *m)
{
    struct wire_scope scope = scope_of(table_deployment(m->rt->table, m->to)->real);

    scope.tokens = ledger_shared_limit(m->rt->inherited, m->to, now_of(m));
    return scope;
}

/* Its key and its team have been asked when it was made: it counts for them, whatever their limits
 * are. */
static void ask_intent(struct mover *m)
{
    const char *endpoint = json_get_str(m->batch, "endpoint");
    const struct table_deployment *d = table_deployment(m->rt->table, m->to);
    struct wire_intent asked = {
        .kind = WIRE_CREATE,
        .id = m->id,
        .claim = "",
        .name = "",
        .request = m->marker.request,
        .nonce = m->nonce,
        .deployment = d->fingerprint,
        .account = runtime_fingerprint(m->rt, m->to),
        .tokens = m->claim.tokens,
        .input = m->marker.tokens,
        .scopes = {[WIRE_DEPLOYMENT] = scope_of_place(m),
                   [WIRE_KEY] = scope_of(marker_key(&m->marker)),
                   [WIRE_TEAM] = scope_of(marker_team(&m->marker))},
        .who = {.owner = m->marker.owner,
                .group = table_group_name(m->rt->table, d->group),
                .endpoint = endpoint != NULL ? endpoint : "",
                .file = m->marker.file},
    };

    m->stands = true; /* it may be written from here on */
    m->asked_ms = now_of(m);
    if (journal_intent(m->journal, &asked, true, on_intent, m, &m->call) != 0) {
        m->stands = false;
        wait_longer(m, "the gateway is out of memory");
    }
}

/* --- its body --- */

static int write_marker(const struct mover *m, struct strbuf *text)
{
    struct marker marker = m->marker;

    marker.deployment = table_deployment(m->rt->table, m->to)->fingerprint;
    marker.tokens = m->claim.tokens != 0 ? m->claim.tokens : m->marker.tokens;
    if (marker.origin == 0) /* of a copy that failed it stays what it was */
        marker.origin = runtime_fingerprint(m->rt, m->from);
    snprintf(marker.nonce, sizeof(marker.nonce), "%s", m->nonce);
    return marker_write(m->rt->inherited->seals, &marker, text);
}

/* The client's pairs, and our marker. */
static struct json *metadata_of(const struct mover *m, const char *marker)
{
    const struct json *pairs = json_get(m->batch, "metadata");
    struct json *out = json_new_object(m->doc);
    size_t len;

    for (size_t i = 0; json_is(pairs, JSON_OBJECT) && i < json_size(pairs); i++) {
        const char *key = json_key_at(pairs, i, &len), *text = json_str(json_at(pairs, i), NULL);

        if (key != NULL && text != NULL && strcmp(key, MARKER_KEY) != 0)
            json_set_str(m->doc, out, key, text);
    }
    json_set_str(m->doc, out, MARKER_KEY, marker);
    return out;
}

static int make_body(struct mover *m)
{
    struct json *request = json_new_object(m->doc);
    const char *window = json_get_str(m->batch, "completion_window");
    struct strbuf text = STRBUF_INIT;
    int rc = write_marker(m, &text);

    if (rc == 0) {
        json_set_str(m->doc, request, "input_file_id", m->file);
        json_set_str(m->doc, request, "endpoint", json_get_str(m->batch, "endpoint"));
        json_set_str(m->doc, request, "completion_window", window != NULL ? window : "24h");
        json_set(m->doc, request, "metadata", metadata_of(m, strbuf_str(&text)));
        strbuf_deinit(&m->body);
        rc = provider_batch_body(runtime_account(m->rt, m->to), m->doc, request, m->file, &m->body);
    }
    strbuf_deinit(&text);
    return rc == 0 && (json_doc_failed(m->doc) || strbuf_failed(&m->body)) ? ERR_NOMEM : rc;
}

static void write_create(struct mover *m)
{
    int rc = journal_new_id(m->id);

    if (rc == 0)
        rc = make_body(m);
    if (rc == 0)
        ask_intent(m);
    else if (rc == ERR_NOMEM || rc == ERR_IO)
        wait_longer(m, err_str(rc));
    else
        give_up(m, "its marker cannot be written");
}

/* --- PENDING: the copy, while its provider processes it (providers statement 104) --- */

static void ask_file(struct mover *m);

static bool is_pending(const struct attempt_result *result)
{
    struct json_doc *doc = result->ok ? json_doc_new() : NULL;
    struct json_error error;
    bool pending;

    if (doc == NULL || result->upstream->body_len == 0) {
        json_doc_free(doc);
        return false;
    }
    pending = provider_file_is_pending(json_get_str(
        json_parse(doc, result->upstream->body, result->upstream->body_len, &error), "status"));
    json_doc_free(doc);
    return pending;
}

static void on_timer(struct loop_timer *timer)
{
    ask_file(timer->arg);
}

static void on_file(void *arg, const struct attempt_result *result)
{
    struct mover *m = arg;

    m->timer = (struct loop_timer){.cb = on_timer, .arg = m};
    if (!is_pending(result) || m->pending++ >= PENDING_MOST ||
        loop_timer_start(m->rt->loop, &m->timer, PENDING_MS) != 0)
        write_create(m);
}

static void ask_file(struct mover *m)
{
    struct upkeep *upkeep = m->task->due->upkeep;
    struct upkeep_account *account =
        &upkeep->accounts[table_deployment(m->rt->table, m->to)->account];

    if (runtime_rules(m->rt, m->to) != PROVIDER_AZURE ||
        upkeep_call_start(account, CALL_FILE_GET, m->file, NULL, on_file, m) != 0)
        write_create(m);
}

/* --- COPY --- */

static void on_copied(void *arg, enum move_end end, const char *copy, const struct failure *why)
{
    struct mover *m = arg;

    if (end == MOVE_DONE && strlen(copy) <= IDS_MAX) {
        snprintf(m->file, sizeof(m->file), "%s", copy);
        m->pending = 0;
        ask_file(m);
        return;
    }
    give_back_room(m);
    if (end == MOVE_NOT_THERE)
        place(m);
    else if (why != NULL && (why->status == 404 || why->status == 410))
        give_up(m, "its input file is gone");
    else
        wait_longer(m, why != NULL ? why->message : "its input file cannot be copied");
}

static void copy(struct mover *m)
{
    if (m->copy == NULL)
        m->copy = move_new(m->rt, NULL, m->from, m->input, on_copied, m);
    if (m->copy == NULL || move_to(m->copy, m->to) != 0)
        wait_longer(m, "the gateway is out of memory");
}

/* --- PLACE --- */

/* As create_place.c: what one provider takes the other may not. */
static bool could_take(const struct mover *m, uint32_t row)
{
    const char *endpoint = json_get_str(m->batch, "endpoint");
    struct refusal refusal;

    if (table_same_deployment(m->rt->table, row, m->from))
        return false;
    if (runtime_rules(m->rt, row) == PROVIDER_OPENAI && endpoint != NULL &&
        provider_endpoint_v1(endpoint) == NULL && strncmp(endpoint, "/v1/", 4) != 0)
        return false;
    return m->job == 0 ||
           !refusals_find(m->rt->inherited->memo, m->job, table_deployment(m->rt->table, row)->real,
                          now_of(m), &refusal) ||
           refusal.for_ms == 0;
}

/* Those of its own group: whose fallbacks its key may use nobody knows any more. */
static int find_candidates(struct mover *m)
{
    uint32_t group = table_deployment(m->rt->table, m->from)->group;

    if (group == MODEL_NO_INDEX || candidates_of_group(m->rt, group, &m->candidates) != 0 ||
        (m->barred = calloc(m->candidates.num + 1, sizeof(bool))) == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < m->candidates.num; i++)
        m->barred[i] = m->candidates.tiers[i] != 0 || !could_take(m, m->candidates.deployments[i]);
    return 0;
}

static void bar(struct mover *m, uint32_t row)
{
    for (uint32_t i = 0; i < m->candidates.num; i++)
        m->barred[i] |= m->candidates.deployments[i] == row;
}

/* @return whether its tokens are counted there, or there is nothing to count */
static bool reserve(struct mover *m, uint32_t row)
{
    struct quota *quota = m->rt->inherited->quota;
    uint32_t column = m->rt->inherited->columns[row];
    struct quota_job job = {
        .tokens = m->marker.tokens,
        .token = quota_token(quota, column, m->nonce, strlen(m->nonce)),
        .scopes = {[QUOTA_KEY] = {marker_key(&m->marker), RIGHTS_UNLIMITED, RIGHTS_UNLIMITED},
                   [QUOTA_TEAM] = {marker_team(&m->marker), RIGHTS_UNLIMITED, RIGHTS_UNLIMITED}}};
    struct quota_refusal refusal;
    int rc;

    if (m->marker.tokens == 0)
        return true;
    rc = quota_reserve_job(quota, m->rt->slot, column, &job, now_of(m), &m->claim, &refusal);
    return rc == 0 || rc == ERR_FULL;
}

static int new_nonce(struct mover *m)
{
    int rc = marker_new_nonce(m->nonce);

    memcpy(m->nonce, MOVED_NONCE, strlen(MOVED_NONCE));
    return rc;
}

static void place(struct mover *m)
{
    uint32_t tier = 0, chosen = MODEL_NO_INDEX;

    m->to = MODEL_NO_INDEX;
    while (m->places++ < MOST_PLACES &&
           (chosen = choose_in_tiers(m->rt, OP_CREATE, &m->candidates, m->barred, &tier,
                                     m->marker.tokens, 0)) != MODEL_NO_INDEX) {
        bar(m, chosen);
        if (new_nonce(m) == 0 && reserve(m, chosen))
            break;
        choose_give_back(m->rt, OP_CREATE, chosen); /* somebody was faster */
        chosen = MODEL_NO_INDEX;
    }
    if (chosen == MODEL_NO_INDEX) {
        wait_longer(m, "no other deployment has room");
        return;
    }
    m->to = chosen;
    m->permit = true;
    copy(m);
}

/* --- READ --- */

/* @return NULL: it may be moved; else why not */
static const char *read_batch(struct mover *m, const struct attempt_result *result)
{
    static struct wire_seen seen; /* one process, one call at a time */
    struct strbuf errors = STRBUF_INIT;
    struct json_error error;
    const char *input;
    bool refused;

    m->doc = json_doc_new();
    if (m->doc == NULL)
        return "the gateway is out of memory";
    m->batch = json_parse(m->doc, result->upstream->body, result->upstream->body_len, &error);
    if (m->batch != NULL)
        m->batch = polls_believe(m->rt->inherited, m->task->wire.account, m->doc, m->batch,
                                 now_of(m), m->moment);
    if (m->batch == NULL || !ledger_marker(m->rt->inherited->seals, m->batch, &m->marker))
        return "it carries no marker of ours";
    normal_batch(m->doc, m->batch, NULL);
    refused = seen_read(m->batch, &seen, &errors) && moves_is_refusal(&seen);
    strbuf_deinit(&errors);
    if (!refused)
        return "it did not fail for want of room";
    input = json_get_str(m->batch, "input_file_id");
    if (input == NULL || input[0] == '\0' || strlen(input) > IDS_MAX ||
        json_get_str(m->batch, "endpoint") == NULL)
        return "its input is no file";
    snprintf(m->input, sizeof(m->input), "%s", input);
    return NULL;
}

static bool has_expired(const struct due_task *task)
{
    const struct wire_due *w = &task->wire;
    uint64_t until_s = w->expires_s != 0 ? w->expires_s : w->created_s + EXPIRES_S;

    return w->now_s >= until_s;
}

static void on_read(void *arg, const struct attempt_result *result)
{
    struct mover *m = arg;
    uint32_t home;
    const char *why;

    if (outcome_is_gone(result->upstream)) {
        give_up(m, "its provider knows it no longer");
        return;
    }
    if (!result->ok) {
        leave_in_doubt(m, watch_ms(m));
        return;
    }
    why = read_batch(m, result);
    if (why == NULL && has_expired(m->task))
        why = "it has expired while no deployment had room";
    if (why != NULL) {
        give_up(m, why);
        return;
    }
    home = m->marker.origin != 0 ? m->marker.origin : m->task->wire.account;
    m->job = facts_job_of(m->rt->inherited->memo, home, m->marker.file, m->marker.owner, now_of(m));
    if (find_candidates(m) != 0)
        wait_longer(m, "the gateway is out of memory");
    else
        place(m);
}

static void start(struct mover *m)
{
    m->from = table_find_fingerprint(m->rt->table, m->task->wire.deployment);
    m->moment = polls_moment(m->rt->inherited);
    if (m->task->nonce[0] != '\0')
        look(m);
    else if (m->from == MODEL_NO_INDEX || m->task->account == NULL ||
             m->task->account->deployment == MODEL_NO_INDEX)
        give_up(m, "its deployment is not configured any more");
    else if (upkeep_account_is_quiet(m->task->account) ||
             upkeep_call_start(m->task->account, CALL_BATCH_GET, m->task->native, NULL, on_read,
                               m) != 0)
        leave_in_doubt(m, watch_ms(m));
}

static unsigned num_waiting(const struct due *due)
{
    unsigned num = 0;

    for (size_t i = 0; i < WIRE_MAX_DUE; i++)
        num += due->tasks[i].due != NULL && due->tasks[i].waits_to_move;
    return num;
}

/* A place for moves is free some time: others have it meanwhile. */
static void give_back(struct due_task *task)
{
    struct wire_move w = step_of(task, WIRE_MOVE_DOUBT);

    w.wait_ms = DOUBT_MS;
    (void)journal_moved(task->due->journal, &w);
    due_task_end(task);
}

void mover_start(struct due_task *task)
{
    struct due *due = task->due;
    struct mover *m;

    if (due->moving >= MOVER_AT_ONCE && num_waiting(due) < MOVER_WAITING) {
        task->waits_to_move = true;
        return;
    }
    m = due->moving < MOVER_AT_ONCE ? calloc(1, sizeof(*m)) : NULL;
    if (m == NULL) {
        give_back(task);
        return;
    }
    m->task = task;
    m->rt = &due->upkeep->rt;
    m->journal = due->journal;
    m->to = MODEL_NO_INDEX;
    due->moving++;
    start(m);
}
