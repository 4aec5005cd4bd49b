/* See fetch.h. A tag names the account to ask. Without one (master key only) the account is
 * searched first, and a get is answered with what the search found. A batch that is asked for with
 * its story (expand.h) waits for that at the end. */
#include "read/fetch.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "upstream/normal.h"
#include "core/counters.h"
#include "calls/attempt.h"
#include "calls/flight.h"
#include "expand.h"
#include "journal/journal.h"
#include "objects/batch_view.h"
#include "objects/client_ids.h"
#include "objects/facts.h"
#include "objects/file_slots.h"
#include "objects/ledger.h"
#include "objects/locate.h"
#include "objects/moved.h"
#include "objects/owned.h"
#include "objects/polls.h"
#include "read/long_poll.h"
#include "request/admit.h"
#include "request/errors.h"
#include "request/operation.h"
#include "request/prefer.h"
#include "request/resolve.h"
#include "request/validator.h"

#define MAX_READ_TRIES 3 /* unless the operator says otherwise */

struct fetch {
    struct operation op; /* a cancel or delete that is under way goes on without its client */
    enum provider_call call;
    enum id_kind kind;
    struct target target; /* owned */
    const char *from;     /* whence the answer is: constant text of x-tranche-cache */
    uint64_t moment;      /* polls_moment() from before it was asked for, or changed it */
    uint64_t wait_ms;     /* that a poll would wait for news; 0: not, or no longer */
    uint64_t until_ms;    /* its end, of the loop's clock */
    bool was_moved;       /* while it waited: its client knows it as `validating` */
    struct long_poll poll;
    /* It was sent here before, by us or by libcurl, and with what outcome is unknown */
    bool maybe_done;
    /* Owned; of a cancel that may have been done before: the batch is asked for now; NULL: none */
    struct failure *refusal;
    /* An answer that waits for its story; NULL: none does */
    struct json_doc *doc; /* owned */
    struct json *object;
    struct journal_call *story; /* owned; NULL: it is not asked for */
    /* A cancel of one that moves to another deployment: it is read, and the keeper is asked */
    bool cancels_move;
    struct journal_call *move; /* owned; NULL: it is not asked */
};

static void ask(struct fetch *f);

static struct fetch *fetch_of(struct operation *op)
{
    return (struct fetch *)op;
}

static void fetch_free(struct operation *op)
{
    struct fetch *f = fetch_of(op);

    journal_cancel(&f->story);
    long_poll_end(op->rt, &f->poll);
    journal_cancel(&f->move);
    json_doc_free(f->doc);
    target_deinit(&f->target);
    free(f->refusal);
    free(f);
}

static bool changes_something(const struct fetch *f)
{
    return f->call == CALL_FILE_DELETE || f->call == CALL_BATCH_CANCEL;
}

/* What was asked for is done, and nobody is told; a worker that drains waits for it. */
static bool goes_on(struct operation *op)
{
    if (!changes_something(fetch_of(op)) || op->attempt == NULL)
        return false;
    operation_hold(op);
    return true;
}

static const struct operation_ops fetch_ops = {.free = fetch_free, .goes_on = goes_on};

/* Who asked, for the ids of the object that was found. */
static struct viewer viewer_of(const struct fetch *f)
{
    struct viewer viewer = relay_viewer(f->op.relay);

    viewer.owner = f->target.owner != 0 ? f->target.owner : viewer.owner;
    viewer.echoes = !f->target.litellm;
    viewer.moment = f->moment;
    return viewer;
}

/* A deleted file's id, as the client is shown it everywhere else. */
static struct json *deletion(struct fetch *f, struct json_doc *doc, struct json *object)
{
    struct strbuf id = STRBUF_INIT;
    struct viewer viewer = viewer_of(f);
    struct json *answer;

    client_ids_text(&viewer, f->op.deployment, ID_FILE,
                    resolve_shows_tag(f->op.relay, &f->target, f->op.deployment), f->target.native,
                    &id);
    answer = normal_deletion(doc, object, strbuf_str(&id));
    strbuf_deinit(&id);
    return answer;
}

/* The files that an untagged batch names are in the batch's account: remember that. */
static void remember_files(const struct fetch *f, const struct json *batch)
{
    static const char *const fields[] = {"output_file_id", "error_file_id"};

    for (size_t i = 0; f->target.unsure && i < sizeof(fields) / sizeof(fields[0]); i++) {
        const char *id = json_get_str(batch, fields[i]);

        if (id != NULL && id[0] != '\0')
            locate_remember(f->op.rt, ID_FILE, id, f->op.deployment);
    }
}

/* The answer in OpenAI's shape; NULL: it is none (providers statement 111). */
static struct json *normalised(struct fetch *f, struct json_doc *doc,
                               const struct upstream_result *res)
{
    bool tagged = resolve_shows_tag(f->op.relay, &f->target, f->op.deployment);
    struct viewer viewer = viewer_of(f);
    struct json_error error;
    struct json *object =
        res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;

    if (f->call == CALL_FILE_DELETE && (res->head.status == 404 || res->body_len == 0))
        return deletion(f, doc, NULL);
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    if (f->call == CALL_FILE_DELETE)
        return deletion(f, doc, object);
    if (json_get_str(object, "id") == NULL)
        return NULL;
    if (f->call == CALL_FILE_GET) {
        normal_file(doc, object, -1);
        owned_keep_file(f->op.rt->inherited, runtime_fingerprint(f->op.rt, f->op.deployment),
                        viewer.owner, object);
        client_ids_show_file(&viewer, f->op.deployment, tagged, doc, object);
    } else {
        remember_files(f, object);
        object = batch_view(&viewer, f->op.deployment, tagged, doc, object);
        resolve_show_first(f->op.relay, &f->target, &viewer, doc, object);
    }
    return object;
}

/* The request reads one object, and changes nothing. */
static bool is_read(const struct fetch *f)
{
    return f->op.relay->route.kind != ROUTE_BATCH_CANCEL &&
           (f->call == CALL_FILE_GET || f->call == CALL_BATCH_GET);
}

static void show_moves(struct relay *relay, uint32_t moves)
{
    char text[16];

    snprintf(text, sizeof(text), "%" PRIu32, moves);
    relay_header(relay, "x-tranche-moves", text);
}

/* @param doc  owns `object`, and goes */
static void send_object(struct fetch *f, struct json_doc *doc, const struct json *object)
{
    bool read = is_read(f);
    const char *from = f->from;
    uint32_t moves = f->target.moves;
    struct relay *relay = operation_end(&f->op);

    if (object != NULL && moves > 0)
        show_moves(relay, moves);
    if (object == NULL) {
        relay_error(relay, ANSWER_NO_JSON, "");
    } else if (read) {
        relay_header(relay, "x-tranche-cache",
                     from); /* not of a refusal: it would tell ids apart */
        validator_answer(relay, object);
    } else {
        relay_json(relay, 200, object);
    }
    json_doc_free(doc);
}

/* --- its story --- */

/* @param reason  of expand_reason() */
static void send_without_story(struct fetch *f, const char *reason)
{
    struct json_doc *doc = f->doc;
    struct failure why;

    if (expand_is_strict(f->op.relay)) {
        error_fill(&why, EVENTS_AWAY, "", reason);
        operation_fail(&f->op, &why);
        return;
    }
    expand_lack(f->op.relay, doc, f->object, reason);
    f->doc = NULL;
    send_object(f, doc, f->object);
}

static void on_story(void *arg, enum wire_story_end end, const char *text, size_t len)
{
    struct fetch *f = arg;
    struct json_doc *doc = f->doc;

    f->story = NULL;
    if (end != WIRE_STORY || !expand_set(doc, f->object, text, len)) {
        send_without_story(f, expand_reason(true, end));
        return;
    }
    f->doc = NULL;
    send_object(f, doc, f->object);
}

static void ask_for_story(struct fetch *f)
{
    const struct runtime *rt = f->op.rt;
    struct wire_story question =
        expand_question(f->op.relay, f->target.native, runtime_fingerprint(rt, f->op.deployment));

    assert(f->doc != NULL && f->story == NULL);
    if (rt->journal == NULL)
        send_without_story(f, expand_reason(false, WIRE_NO_STORY));
    else if (journal_story(rt->journal, &question, on_story, f, &f->story) != 0)
        send_without_story(f, expand_reason(true, WIRE_STORY_LATER));
}

/* @param doc  owns `object`, and goes */
static void respond(struct fetch *f, struct json_doc *doc, struct json *object)
{
    if (object == NULL || !expand_wants_events(f->op.relay)) {
        send_object(f, doc, object);
        return;
    }
    f->doc = doc;
    f->object = object;
    ask_for_story(f);
}

static bool is_cancelled(const struct json *batch)
{
    const char *status = json_get_str(batch, "status");

    return status != NULL &&
           (strcmp(status, "cancelling") == 0 || strcmp(status, "cancelled") == 0);
}

static bool is_validating(const struct json *batch)
{
    const char *status = json_get_str(batch, "status");

    return status != NULL && strcmp(status, "validating") == 0;
}

/* --- a client that would wait --- */

static bool answer_over(struct fetch *f);
static void answer(struct fetch *f, const struct upstream_result *res);

/* What was seen of the batch, as if its provider had just answered it. */
static void answer_seen(struct fetch *f, const struct long_poll_view *view)
{
    struct upstream_result seen = {
        .head = {.status = 200}, .body = view->text, .body_len = view->len};

    f->from = "shared";
    f->moment = view->moment;
    answer(f, &seen);
}

/* It waited without a place among those who may ask. */
static void ask_after_all(struct fetch *f)
{
    if (admit_call(f->op.relay) == ANSWERED)
        operation_answered(&f->op);
    else
        ask(f);
}

/* Whether the batch is elsewhere than where it was asked for, or over. */
static bool follow_again(struct fetch *f)
{
    if (f->kind != ID_BATCH || !moved_is_any(f->op.rt) ||
        !resolve_follow_again(f->op.relay, &f->target, f->op.deployment))
        return false;
    f->op.deployment = f->target.deployments[0];
    return true;
}

/* Where it was moved meanwhile the rest of the time is waited there. */
static void wait_there(struct fetch *f)
{
    uint64_t now_ms = loop_now_ms(f->op.rt->loop);

    f->wait_ms = now_ms < f->until_ms ? f->until_ms - now_ms : 0;
    f->was_moved = true;
    if (!f->target.is_over || !answer_over(f))
        ask_after_all(f);
}

static void on_wait_over(void *arg, const struct long_poll_view *view)
{
    struct fetch *f = arg;

    f->wait_ms = 0;
    if (follow_again(f))
        wait_there(f);
    else if (view != NULL)
        answer_seen(f, view);
    else
        ask_after_all(f);
}

/* The client gets this only when there is nothing better to wait for: the batch runs, and is as the
 * client knows it.
 * @param object  what it would get of `res`
 * @return whether it waits */
static bool waits(struct fetch *f, const struct json *object, const struct upstream_result *res)
{
    struct long_poll_view view = {res->body, res->body_len, f->moment};

    if (f->wait_ms == 0 || object == NULL || ledger_phase_of(object) != LEDGER_RUNNING ||
        (f->was_moved && !is_validating(object)) || validator_differs(f->op.relay, object))
        return false;
    f->poll.on_over = on_wait_over;
    f->poll.arg = f;
    f->poll.share = f->op.share;
    if (long_poll_begin(f->op.rt, f->op.deployment, f->target.native, &view, f->wait_ms,
                        &f->poll) != 0)
        return false;
    relay_header(f->op.relay, "preference-applied", "wait");
    admit_release(f->op.relay);
    return true;
}

/* Others wait for the same batch, so it is known. @return whether it was answered, or waits */
static bool join(struct fetch *f)
{
    struct long_poll_view view;

    if (f->wait_ms == 0 || f->target.unsure ||
        !long_poll_seen(f->op.rt, f->op.deployment, f->target.native, &view))
        return false;
    answer_seen(f, &view);
    return true;
}

/* --- a batch that moves, and is cancelled meanwhile --- */

/* An object of ours, as a provider would send it. @param doc  owns `object`, and goes */
static void respond_ours(struct fetch *f, struct json_doc *doc, struct json *object)
{
    struct viewer viewer = viewer_of(f);

    batch_view_again(&viewer, f->op.deployment,
                     resolve_shows_tag(f->op.relay, &f->target, f->op.deployment), doc, object);
    resolve_show_first(f->op.relay, &f->target, &viewer, doc, object);
    respond(f, doc, object);
}

/* Its move was over before the keeper heard of the cancel. @return false: its provider has refused
 * that, and it is still there: it has failed */
static bool cancel_where_it_is(struct fetch *f)
{
    if (!follow_again(f) && f->refusal != NULL)
        return false;
    json_doc_free(f->doc);
    free(f->refusal);
    f->doc = NULL;
    f->object = NULL;
    f->refusal = NULL;
    f->cancels_move = false;
    f->call = CALL_BATCH_CANCEL;
    if (!f->target.is_over || !answer_over(f))
        ask(f);
    return true;
}

static void on_move_cancelled(void *arg, enum wire_move_end end, bool asked)
{
    struct fetch *f = arg;
    struct json_doc *doc = f->doc;
    struct failure why;

    (void)asked;
    f->move = NULL;
    if (end == WIRE_MOVE_DONE || end == WIRE_MOVE_SENT) {
        if (end == WIRE_MOVE_SENT)
            moved_make_cancelled(doc, f->object, false, clock_unix_s());
        f->doc = NULL;
        respond_ours(f, doc, f->object);
        return;
    }
    if (end != WIRE_MOVE_STALE) {
        error_fill(&why, MOVE_AWAY, "");
        operation_fail(&f->op, &why);
    } else if (!cancel_where_it_is(f)) {
        operation_fail(&f->op, f->refusal);
    }
}

/* What is too long to be kept goes without what its client wrote beside it. */
static void write_kept(struct json_doc *doc, struct json *object, struct strbuf *text)
{
    const char *marker = ledger_marker_text(object);
    struct json *metadata;

    json_write(object, text);
    if (text->len < FOLLOWED_TEXT || marker == NULL)
        return;
    metadata = json_new_object(doc);
    json_set_str(doc, metadata, MARKER_KEY, marker);
    json_set(doc, object, "metadata", metadata);
    strbuf_reset(text);
    json_write(object, text);
}

/* @param doc  owns `object`, and goes; it is as its provider sent it */
static void cancel_move(struct fetch *f, struct json_doc *doc, struct json *object)
{
    struct runtime *rt = f->op.rt;
    struct strbuf text = STRBUF_INIT;
    struct wire_move step = {.step = WIRE_MOVE_CANCEL,
                             .account = runtime_fingerprint(rt, f->op.deployment),
                             .native = f->target.native};
    int rc;

    f->doc = doc;
    f->object = object;
    moved_make_cancelled(doc, object, true, clock_unix_s());
    write_kept(doc, object, &text);
    step.text = strbuf_str(&text);
    rc = strbuf_failed(&text) || json_doc_failed(doc)
             ? ERR_NOMEM
             : journal_move(rt->journal, &step, on_move_cancelled, f, &f->move);
    strbuf_deinit(&text);
    if (rc != 0)
        on_move_cancelled(f, WIRE_MOVE_LATER, false);
}

/* A batch that was read to be cancelled, or since its cancel was refused: perhaps it moves. @return
 * whether that was seen to; `f` may be gone then */
static bool answer_moving(struct fetch *f, const struct upstream_result *res)
{
    struct runtime *rt = f->op.rt;
    struct json_doc *doc;
    struct json_error error;
    struct json *object;
    struct marker marker;

    if (rt->journal == NULL || f->kind != ID_BATCH || (!f->cancels_move && f->refusal == NULL))
        return false;
    doc = json_doc_new();
    object =
        doc != NULL && res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    if (object != NULL && ledger_marker(rt->inherited->seals, object, &marker) &&
        moved_hide_failure(rt, f->op.deployment, &marker, doc, object)) {
        cancel_move(f, doc, object);
        return true;
    }
    json_doc_free(doc);
    return false;
}

/* How it ended stands in the table alone. @return as above */
static bool answer_over(struct fetch *f)
{
    struct runtime *rt = f->op.rt;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    char text[FOLLOWED_TEXT];
    size_t len = followed_text(rt->inherited->followed, runtime_fingerprint(rt, f->op.deployment),
                               f->target.first, text);
    struct json *object = doc != NULL && len > 0 ? json_parse(doc, text, len, &error) : NULL;

    if (object == NULL) {
        json_doc_free(doc);
        return false;
    }
    f->from = "hit";
    respond_ours(f, doc, object);
    return true;
}

/* It has come there, or is over, since it was asked for: what its provider before says is old.
 * @return as above */
static bool answer_elsewhere(struct fetch *f)
{
    if (!is_read(f) || !follow_again(f))
        return false;
    if (!f->target.is_over || !answer_over(f))
        ask(f);
    return true;
}

static void answer(struct fetch *f, const struct upstream_result *res)
{
    struct json_doc *doc;
    struct json *object;

    if (answer_moving(f, res) || answer_elsewhere(f))
        return;
    doc = json_doc_new();
    object = doc != NULL ? normalised(f, doc, res) : NULL;
    if (waits(f, object, res)) {
        json_doc_free(doc);
        return;
    }
    if (f->refusal == NULL || (f->maybe_done && is_cancelled(object))) {
        respond(f, doc, object);
        return;
    }
    json_doc_free(doc);
    operation_fail(&f->op, f->refusal); /* it had ended before */
}

/* A client that would wait is not told again what it may have been told a moment ago. */
static bool is_enough(const struct fetch *f, const struct json *batch)
{
    return batch != NULL && (f->wait_ms == 0 || ledger_phase_of(batch) != LEDGER_RUNNING);
}

/* A poll that needs not be asked upstream. @return whether it was answered; `f` is gone then */
static bool answer_again(struct fetch *f)
{
    struct runtime *rt = f->op.rt;
    struct json_doc *doc;
    struct viewer viewer;
    struct json *batch;

    if (f->target.unsure || f->call != CALL_BATCH_GET || rt->config->poll_cache_ms == 0 ||
        validator_wants_fresh(f->op.relay))
        return false;
    doc = json_doc_new();
    batch = doc != NULL ? polls_recall(rt->inherited, runtime_fingerprint(rt, f->op.deployment),
                                       f->target.native, doc, loop_now_ms(rt->loop))
                        : NULL;
    if (!is_enough(f, batch)) {
        json_doc_free(doc);
        return false;
    }
    f->from = "hit";
    viewer = viewer_of(f);
    batch_view_again(&viewer, f->op.deployment,
                     resolve_shows_tag(f->op.relay, &f->target, f->op.deployment), doc, batch);
    resolve_show_first(f->op.relay, &f->target, &viewer, doc, batch);
    respond(f, doc, batch);
    return true;
}

static void ask_again(struct operation *op)
{
    ask(fetch_of(op));
}

/* Whether the provider may have done what it was asked. */
static bool is_outcome_unknown(const struct retry_question *q)
{
    return q->answered ? q->status == 408 || (q->status >= 500 && q->status != 503)
                       : !q->nothing_sent;
}

/* What was asked for is done. A delete that is asked again and finds nothing: the one before, whose
 * answer was lost, did it. */
static bool is_done(const struct fetch *f, const struct attempt_result *result)
{
    return result->ok ||
           (f->call == CALL_FILE_DELETE && f->maybe_done && result->upstream->head.status == 404);
}

/* A cancel that is asked again and conflicts with what the batch is: perhaps because the one before
 * did it. Azure's status is not known (providers 2.5). */
static bool may_be_cancelled(const struct fetch *f, const struct attempt_result *result)
{
    int status = result->upstream->head.status;

    return f->call == CALL_BATCH_CANCEL && (f->maybe_done || f->op.rt->journal != NULL) &&
           (status == 409 || status == 400);
}

static void ask_for_batch(struct fetch *f, const struct failure *refusal)
{
    assert(f->call == CALL_BATCH_CANCEL && f->refusal == NULL); /* asked for once */
    f->refusal = malloc(sizeof(*f->refusal));
    if (f->refusal == NULL) {
        operation_fail_memory(&f->op);
        return;
    }
    *f->refusal = *refusal;
    f->call = CALL_BATCH_GET;
    ask(f);
}

/* The file is gone from its account, whoever did it. */
static bool is_gone(const struct fetch *f, const struct attempt_result *result)
{
    return f->kind == ID_FILE &&
           (result->upstream->head.status == 404 || (f->call == CALL_FILE_DELETE && result->ok));
}

static void forget(const struct fetch *f)
{
    struct runtime *rt = f->op.rt;
    uint32_t account = runtime_fingerprint(rt, f->op.deployment);

    if (f->call == CALL_FILE_GET) {
        owned_missing(rt->inherited, account, ID_FILE, f->target.native);
        return;
    }
    owned_forget(rt->inherited, account, ID_FILE, f->target.native);
    file_slots_deleted(rt, f->op.deployment, f->target.native);
    if (f->call == CALL_FILE_DELETE)
        counters_deleted(rt->inherited, true);
}

/* Nothing came of it so far. */
static void on_not_done(struct fetch *f, const struct attempt_result *result)
{
    struct retry_question question = attempt_question(OP_READ, result);

    if (f->refusal != NULL) {
        operation_fail(&f->op, f->refusal);
        return;
    }
    if (may_be_cancelled(f, result)) {
        ask_for_batch(f, &result->failure);
        return;
    }
    f->maybe_done |= is_outcome_unknown(&question);
    if (operation_try_again(&f->op, result, MAX_READ_TRIES, ask_again))
        return;
    if (f->call == CALL_FILE_DELETE)
        counters_deleted(f->op.rt->inherited, false);
    operation_fail_object(&f->op, f->kind, &result->failure);
}

/* A cancel or delete has ended: what was asked for before may be of the time before it, whatever its
 * end; what it says itself is not. */
static void note_change(struct fetch *f)
{
    struct runtime *rt = f->op.rt;

    if (!changes_something(f))
        return;
    polls_changed(rt->inherited, runtime_fingerprint(rt, f->op.deployment), f->target.native);
    f->moment = polls_moment(rt->inherited);
}

static void on_asked(struct operation *op, const struct attempt_result *result)
{
    struct fetch *f = fetch_of(op);

    note_change(f);
    f->maybe_done |= result->upstream->repeated;
    if (is_gone(f, result))
        forget(f);
    if (op->relay == NULL)
        operation_free(op);
    else if (is_done(f, result))
        answer(f, result->upstream);
    else
        on_not_done(f, result);
}

/* A plain poll: who asks for the same now may be told the same. */
static bool may_share(const struct fetch *f)
{
    return is_read(f) && !expand_wants_events(f->op.relay);
}

static int ask_alone(struct fetch *f, struct attempt_spec *spec)
{
    f->from = "miss";
    f->moment = polls_moment(f->op.rt->inherited);
    return operation_ask(&f->op, spec, on_asked);
}

static int ask_with_others(struct fetch *f, struct attempt_spec *spec)
{
    struct flight_entered entered = {0};
    int ret = operation_ask_shared(&f->op, spec, on_asked, &entered);

    f->from = entered.joined ? "shared" : "miss";
    f->moment = entered.moment;
    return ret;
}

static void ask(struct fetch *f)
{
    struct attempt_spec spec = {.call = f->call, .id = f->target.native};

    if ((may_share(f) ? ask_with_others(f, &spec) : ask_alone(f, &spec)) != 0)
        operation_fail_memory(&f->op);
}

static void on_located(struct operation *op, const struct locate_result *result)
{
    struct fetch *f = fetch_of(op);

    if (!result->found)
        operation_fail_object(&f->op, f->kind, &result->failure);
    else if (changes_something(f))
        ask(f); /* this one account only */
    else
        answer(f, result->answer);
}

static enum provider_call call_of(const struct relay *relay)
{
    if (relay->route.kind == ROUTE_FILE)
        return relay->method == METHOD_DELETE ? CALL_FILE_DELETE : CALL_FILE_GET;
    return relay->route.kind == ROUTE_BATCH_CANCEL ? CALL_BATCH_CANCEL : CALL_BATCH_GET;
}

/* It failed late, and another deployment will have it. */
static bool is_moving(const struct fetch *f)
{
    const struct runtime *rt = f->op.rt;
    uint32_t account = runtime_fingerprint(rt, f->op.deployment);
    struct followed_row row;

    return rt->journal != NULL &&
           (followed_find(rt->inherited->followed, account, f->target.native, &row) ||
            followed_find_at(rt->inherited->followed, account, f->target.native, &row)) &&
           row.state == FOLLOWED_MOVES;
}

/* A poll that waits for news joins those who do. @return as join() */
static bool starts_to_wait(struct fetch *f)
{
    f->wait_ms = f->call == CALL_BATCH_GET ? 1000 * (uint64_t)prefer_wait_of(f->op.relay) : 0;
    f->until_ms = loop_now_ms(f->op.rt->loop) + f->wait_ms;
    return join(f);
}

void fetch_start(struct relay *relay)
{
    struct fetch *f = operation_new(sizeof(*f), relay, &fetch_ops);

    if (f == NULL)
        return; /* answered */
    f->call = call_of(relay);
    f->from = "miss";
    f->moment = relay->moment;
    f->kind = relay->route.kind == ROUTE_FILE ? ID_FILE : ID_BATCH;
    if (resolve_id(relay, f->kind, relay->route.id, relay->route.id_len, &f->target) == ANSWERED) {
        operation_answered(&f->op);
        return;
    }
    if (f->kind == ID_BATCH)
        resolve_follow(relay, &f->target);
    f->op.deployment = f->target.deployments[0];
    if (f->target.is_over && answer_over(f))
        return;
    if (f->call == CALL_BATCH_CANCEL && is_moving(f)) {
        f->cancels_move = true;
        f->call = CALL_BATCH_GET;
    } else if (starts_to_wait(f) || answer_again(f))
        return;
    if (f->target.unsure)
        operation_locate(&f->op, f->kind, f->target.native, f->target.deployments, f->target.num,
                         on_located);
    else
        ask(f);
}
