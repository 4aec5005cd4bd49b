/* See gather.h. */
#include "read/gather.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls/attempt.h"
#include "objects/batch_view.h"
#include "objects/ledger.h"
#include "objects/locate.h"
#include "objects/polls.h"
#include "request/errors.h"
#include "upstream/normal.h"

#define MAX_READ_TRIES 3    /* unless the operator says otherwise */
#define WAIT_MS        2000 /* for those that find no place */

static const char *const members[GATHER_FILES] = {"output_file_id", "error_file_id",
                                                  "input_file_id"};

static void next_file(struct gather *g);
static void ask_for_batch(struct gather *g);
static void ask_for_file(struct gather *g);

static struct gather *gather_of(struct operation *op)
{
    return (struct gather *)op;
}

void gather_deinit(struct gather *g)
{
    struct runtime *rt = g->op.rt;

    admit_cancel(&g->place);
    share_sub(g->op.share, SHARE_SPOOL, g->spool.size);
    if (g->counted) {
        assert(rt->gathers > 0);
        rt->gathers--;
        share_sub(g->op.share, SHARE_GATHERS, 1);
    }
    reading_end(&g->reading);
    spool_deinit(&g->spool);
    results_index_free(g->index);
    target_deinit(&g->target);
}

#define FAIL(g, name, param, ...)                                                                  \
    do {                                                                                           \
        struct failure why_;                                                                       \
        error_fill(&why_, name, (param)__VA_OPT__(, ) __VA_ARGS__);                                \
        operation_fail(&(g)->op, &why_);                                                           \
    } while (0)

/* --- files --- */

static void show_id(const struct gather *g, enum gather_file file, struct strbuf *out)
{
    const struct operation *op = &g->op;
    struct viewer viewer = relay_viewer(op->relay);
    uint32_t deployment = file == GATHER_INPUT ? g->input_deployment : g->deployment;

    viewer.owner = g->target.owner != 0 ? g->target.owner : viewer.owner;
    client_ids_text(&viewer, deployment, ID_FILE,
                    resolve_shows_tag(op->relay, &g->target, deployment), g->files[file], out);
}

static void fail_gone(struct gather *g)
{
    struct strbuf id = STRBUF_INIT;
    struct failure why;

    show_id(g, g->at, &id);
    error_fill(&why, BATCH_FILE_GONE, members[g->at], members[g->at], strbuf_str(&id));
    strbuf_deinit(&id);
    operation_fail(&g->op, &why);
}

static void fail_spool(struct gather *g, int err)
{
    if (err == ERR_FULL)
        FAIL(g, BATCH_SPOOL_FULL, "");
    else if (err == ERR_LIMIT)
        FAIL(g, ANSWERS_TOO_MANY, "");
    else if (err == ERR_NOMEM)
        FAIL(g, OUT_OF_MEMORY, "");
    else
        FAIL(g, BATCH_SPOOL_BROKEN, "");
}

/* What of the file is in the spool. */
static uint64_t stored(const struct gather *g)
{
    return g->spool.size - g->begin;
}

static bool on_head(void *arg, const struct upstream_head *head)
{
    struct gather *g = gather_of(arg);

    if (head->status != 200 && (head->status != 206 || stored(g) == 0))
        return false;
    g->skip = 0;
    if (g->streams && stored(g) > 0) {
        switch (resume_judge(&g->mark, head, stored(g))) {
        case RESUME_REST:
            break;
        case RESUME_WHOLE:
            g->skip = stored(g);
            break;
        case RESUME_OTHER:
            FAIL(g, BATCH_FILE_CHANGED, members[g->at], members[g->at]);
            return true;
        }
        return true;
    }
    resume_note(&g->mark, head);
    g->streams = true;
    return true;
}

/* A spool is for all: what a tenant's results take leaves room for others' uploads. */
static bool is_fair(const struct gather *g, size_t len)
{
    const struct runtime *rt = g->op.rt;

    return share_may(g->op.share, SHARE_SPOOL, len, spool_total(rt->inherited),
                     rt->config->limits.spool_bytes);
}

static int store(struct gather *g, const char *bytes, size_t len)
{
    int err = is_fair(g, len) ? spool_write(&g->spool, bytes, len) : ERR_FULL;

    if (err != 0)
        return err;
    share_add(g->op.share, SHARE_SPOOL, len);
    return g->at != GATHER_INPUT ? results_index_feed(g->index, bytes, len) : 0;
}

static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct gather *g = gather_of(arg);
    size_t skip = g->skip < len ? (size_t)g->skip : len;
    int err;

    g->skip -= skip;
    if (skip == len)
        return true;
    err = store(g, bytes + skip, len - skip);
    if (err != 0)
        fail_spool(g, err);
    return true;
}

static void ask_for_file_again(struct operation *op)
{
    ask_for_file(gather_of(op));
}

/* All of the file has come. */
static void end_file(struct gather *g)
{
    int err = g->at != GATHER_INPUT ? results_index_end_of_file(g->index) : 0;

    if (err != 0) {
        fail_spool(g, err);
        return;
    }
    g->ends[g->at] = g->spool.size;
    g->at++;
    next_file(g);
}

static void on_file(struct operation *op, const struct attempt_result *result)
{
    struct gather *g = gather_of(op);
    int status = result->upstream->head.status;

    if (result->ok && result->upstream->end == UPSTREAM_ANSWERED && g->skip == 0 &&
        (g->streams || status == 204)) /* a provider's way to send an empty one */
        end_file(g);
    else if (status == 404 || status == 410)
        fail_gone(g);
    else if (result->ok)
        FAIL(g, ANSWER_STATUS, "", status);
    else if (!operation_try_again(op, result, MAX_READ_TRIES, ask_for_file_again))
        operation_fail(op, &result->failure);
}

static void ask_for_file(struct gather *g)
{
    char range[64];
    struct attempt_spec spec = {
        .call = CALL_FILE_CONTENT, .id = g->files[g->at], .on_head = on_head, .on_data = on_data};

    if (stored(g) > 0) {
        resume_range(stored(g), UINT64_MAX, range, sizeof(range));
        spec.range = range;
        spec.if_range = resume_validator(&g->mark);
    }
    g->op.deployment = g->at == GATHER_INPUT ? g->input_deployment : g->deployment;
    if (operation_ask(&g->op, &spec, on_file) != 0)
        operation_fail_memory(&g->op);
}

/* `at` is the next one; those that the batch does not have are empty. */
static void next_file(struct gather *g)
{
    for (; g->at < GATHER_FILES && g->files[g->at][0] == '\0'; g->at++)
        g->ends[g->at] = g->spool.size;
    g->op.tries = 0;
    if (g->at == GATHER_FILES) {
        g->op.deployment = g->deployment;
        g->on_ready(g);
        return;
    }
    g->begin = g->spool.size;
    g->streams = false;
    g->skip = 0;
    reading_end(&g->reading);
    reading_begin(&g->reading, &g->op.rt->inherited->shared->reading[g->op.rt->slot],
                  g->files[g->at]);
    ask_for_file(g);
}

/* --- the batch --- */

static void copy_id(const struct json *batch, enum gather_file file, char out[IDS_MAX + 1])
{
    const char *id = json_get_str(batch, members[file]);

    if (id != NULL && strlen(id) <= IDS_MAX)
        memcpy(out, id, strlen(id) + 1);
}

/* A batch that was moved runs on a copy, which goes when it has ended; its marker names the file that
 * its client knows. */
static void find_input(struct gather *g, const struct json *batch)
{
    struct runtime *rt = g->op.rt;
    struct marker marker;
    uint32_t account;

    copy_id(batch, GATHER_INPUT, g->files[GATHER_INPUT]);
    g->input_deployment = g->deployment;
    if (!ledger_marker(rt->inherited->seals, batch, &marker) || marker.origin == 0 ||
        marker.file[0] == '\0')
        return;
    account = runtime_find_account(rt, marker.origin);
    if (account == MODEL_NO_INDEX)
        return;
    g->input_deployment = rt->account_first[account];
    snprintf(g->files[GATHER_INPUT], sizeof(g->files[GATHER_INPUT]), "%s", marker.file);
}

static uint64_t count_of(const struct json *batch, const char *name)
{
    int64_t n;

    return json_int64(json_get(json_get(batch, "request_counts"), name), &n) && n > 0 ? (uint64_t)n
                                                                                      : 0;
}

/* @return false: it is no batch */
static bool read_batch(struct gather *g, struct json_doc *doc, struct json *batch)
{
    struct runtime *rt = g->op.rt;
    struct viewer viewer = relay_viewer(g->op.relay);
    const char *text;

    if (!json_is(batch, JSON_OBJECT) || json_get_str(batch, "id") == NULL)
        return false;
    batch = polls_believe(rt->inherited, runtime_fingerprint(rt, g->deployment), doc, batch,
                          loop_now_ms(rt->loop), viewer.moment);
    copy_id(batch, GATHER_OUTPUT, g->files[GATHER_OUTPUT]);
    copy_id(batch, GATHER_ERRORS, g->files[GATHER_ERRORS]);
    find_input(g, batch);
    viewer.owner = g->target.owner != 0 ? g->target.owner : viewer.owner;
    batch = batch_view(&viewer, g->deployment, true, doc, batch);
    g->ended = ledger_phase_of(batch) != LEDGER_RUNNING;
    text = json_get_str(batch, "status");
    snprintf(g->status, sizeof(g->status), "%s", text != NULL ? text : "");
    text = json_get_str(batch, "endpoint");
    snprintf(g->endpoint, sizeof(g->endpoint), "%s", text != NULL ? text : "");
    g->done = count_of(batch, "completed");
    return true;
}

/* Providers show the file with the answers late, or never. */
static bool is_late(const struct gather *g)
{
    return g->done > 0 && g->files[GATHER_OUTPUT][0] == '\0';
}

/* @return whether an error was answered */
static bool fail_batch(struct gather *g)
{
    if (!g->ended && !g->partial)
        FAIL(g, BATCH_NOT_FINISHED, "", g->status);
    else if (g->ended && !g->partial && is_late(g))
        FAIL(g, BATCH_FILES_LATE, "", g->status);
    else if (g->files[GATHER_INPUT][0] == '\0')
        FAIL(g, BATCH_WITHOUT_INPUT, "");
    else
        return false;
    return true;
}

static void take_batch(struct gather *g, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    bool good = doc != NULL && res->body_len > 0 &&
                read_batch(g, doc, json_parse(doc, res->body, res->body_len, &error));

    json_doc_free(doc);
    if (!good) {
        FAIL(g, ANSWER_NO_JSON, "");
        return;
    }
    if (fail_batch(g))
        return;
    g->ended = g->ended && !is_late(g);
    g->index = results_index_new();
    if (g->index == NULL) {
        operation_fail_memory(&g->op);
        return;
    }
    next_file(g);
}

static void ask_for_batch_again(struct operation *op)
{
    ask_for_batch(gather_of(op));
}

static void on_batch(struct operation *op, const struct attempt_result *result)
{
    struct gather *g = gather_of(op);

    if (result->ok)
        take_batch(g, result->upstream);
    else if (!operation_try_again(op, result, MAX_READ_TRIES, ask_for_batch_again))
        operation_fail_object(op, ID_BATCH, &result->failure);
}

static void ask_for_batch(struct gather *g)
{
    struct attempt_spec spec = {.call = CALL_BATCH_GET, .id = g->target.native};

    if (operation_ask(&g->op, &spec, on_batch) != 0)
        operation_fail_memory(&g->op);
}

static void on_located(struct operation *op, const struct locate_result *result)
{
    struct gather *g = gather_of(op);

    g->deployment = op->deployment;
    if (result->found)
        take_batch(g, result->answer);
    else
        operation_fail_object(op, ID_BATCH, &result->failure);
}

static void begin(struct gather *g)
{
    if (g->target.unsure)
        operation_locate(&g->op, ID_BATCH, g->target.native, g->target.deployments, g->target.num,
                         on_located);
    else
        ask_for_batch(g);
}

/* --- places --- */

static void on_place(void *arg, bool granted)
{
    struct gather *g = arg;

    if (granted) {
        begin(g);
        return;
    }
    g->op.deployment = MODEL_NO_INDEX;
    admit_refuse(operation_end(&g->op));
}

static bool take_place(struct gather *g)
{
    struct runtime *rt = g->op.rt;
    struct failure why;

    if (rt->gathers < GATHER_MAX &&
        share_may(g->op.share, SHARE_GATHERS, 1, rt->gathers, GATHER_MAX)) {
        rt->gathers++;
        share_add(g->op.share, SHARE_GATHERS, 1);
        g->counted = true;
        return true;
    }
    error_fill(&why, GATHERS_OF_WORKER, "");
    why.retry_after_ms = WAIT_MS;
    operation_fail(&g->op, &why);
    return false;
}

void gather_start(struct gather *g, bool partial, gather_cb on_ready)
{
    struct relay *relay = g->op.relay;

    assert(relay != NULL && g->on_ready == NULL);
    g->on_ready = on_ready;
    g->partial = partial;
    spool_init(&g->spool, g->op.rt->inherited, g->op.rt->slot, g->op.rt->loop);
    if (resolve_id(relay, ID_BATCH, relay->route.id, relay->route.id_len, &g->target) == ANSWERED) {
        operation_answered(&g->op);
        return;
    }
    resolve_follow(relay, &g->target);
    g->deployment = g->op.deployment = g->target.deployments[0];
    if (take_place(g) && admit_download(relay, &g->place, on_place, g))
        begin(g);
}

struct results_spec gather_spec(struct gather *g)
{
    struct results_spec spec = {.index = g->index,
                                .read = spool_read,
                                .read_arg = &g->spool,
                                .read_input = spool_read,
                                .read_input_arg = &g->spool,
                                .input_begin = g->ends[GATHER_ERRORS],
                                .input_end = g->ends[GATHER_INPUT],
                                .kinds = RESULTS_ALL,
                                .limit = UINT64_MAX};

    results_missing(&spec, g->status);
    return spec;
}
