/* See run_job.h: the steps up to a batch's id. Nothing here is sent a second time unless the first one
 * is known to have come to nothing, or the server knows it by its Idempotency-Key. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "json/json.h"
#include "run_job.h"
#include "shown.h"

#define MAX_TRIES 8  /* that come to nothing, and the command ends */
#define FRESH_S   60 /* so long a file may be unknown to its own server */
#define PAGE      "100"
#define MAX_PAGES 1000
#define SLACK_S   86400 /* between the clock here and the server's */
#define MARK      (RUN_NONCE + 16)

/* What differs between an upload and a create. */
struct kind {
    const char *what, *list, *purpose; /* path of the list, and a parameter of it */
    enum run_step send, find, then;
};

static const struct kind upload = {"upload",        "/v1/files",        "batch",
                                   RUN_STEP_UPLOAD, RUN_STEP_FIND_FILE, RUN_STEP_CREATE};
static const struct kind create = {"create",        "/v1/batches",       NULL,
                                   RUN_STEP_CREATE, RUN_STEP_FIND_BATCH, RUN_STEP_POLL};

static struct run_send *send_of(struct run_job *job, const struct kind *kind)
{
    return kind == &upload ? &job->state.upload : &job->state.create;
}

static void write_key(const struct run_job *job, const struct kind *kind, char *out, size_t size)
{
    int len = snprintf(out, size, "tranche-run-%s-%s", job->state.nonce, kind->what);

    assert(len > 0 && (size_t)len < size);
    if (kind == &create && job->state.remade > 0)
        snprintf(out + len, size - (size_t)len, "-%u", job->state.remade);
}

/* By what a batch is known in a list: the nonce, with a number if it was made again. */
static void write_mark(const struct run_job *job, char out[MARK])
{
    int len = snprintf(out, MARK, "%s", job->state.nonce);

    if (job->state.remade > 0)
        snprintf(out + len, MARK - (size_t)len, ".%u", job->state.remade);
}

/* --- ends of a step --- */

static void found(struct run_job *job, const struct kind *kind, const char *id)
{
    struct run_send *send = send_of(job, kind);

    assert(id[0] != '\0' && strlen(id) <= IDS_MAX);
    snprintf(send->id, sizeof(send->id), "%s", id);
    if (!run_job_save(job))
        return;
    if (kind == &upload)
        input_close(&job->again);
    run_job_go(job, kind->then);
}

/* After a pause, unless it was tried often enough. */
static void again(struct run_job *job, enum run_step step, int64_t now_ms,
                  const struct client_answer *answer)
{
    if (!job->reached && answer->nothing_sent)
        run_job_end(job, CLIENT_AWAY,
                    "%s: %s. Is the server there? Give --base-url, or set TRANCHE_BASE_URL.",
                    client_base(job->options->client), answer->said);
    else if (++job->tries > MAX_TRIES)
        run_job_end(job, CLIENT_AWAY, "%s: %s. Run the same command later to go on.",
                    client_base(job->options->client), answer->said);
    else
        run_job_wait(job, step, now_ms + run_pause_ms(job->tries, answer->wait_s), answer->said);
}

/* Whether somebody is there, and knows an Idempotency-Key. */
static void note_server(struct run_job *job, const struct client_answer *answer)
{
    if (answer->status == 0)
        return;
    job->reached = true;
    job->state.gateway = answer->gateway;
}

static void refused(struct run_job *job, const struct kind *kind, enum client_exit code,
                    const struct client_answer *answer)
{
    run_job_end(job, code == CLIENT_AWAY ? CLIENT_REFUSED : code, "the %s was refused: %s",
                kind->what, answer->said);
}

/* The id of what was made. @return whether there is one that can be one */
static bool take_id(const struct client_answer *answer, char out[IDS_MAX + 1])
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    const char *id =
        doc == NULL
            ? NULL
            : json_get_str(json_parse(doc, strbuf_str(&answer->body), answer->body.len, &error),
                           "id");
    bool good = id != NULL && id[0] != '\0' && strlen(id) <= IDS_MAX;

    if (good)
        memcpy(out, id, strlen(id) + 1);
    json_doc_free(doc);
    return good;
}

/* --- sending --- */

/* It is in the state before a byte of it goes out. */
static bool note_sending(struct run_job *job, const struct kind *kind)
{
    struct run_send *send = send_of(job, kind);

    job->first_send = send->first_s == 0;
    send->last_s = clock_unix_s();
    if (job->first_send)
        send->first_s = send->last_s;
    return run_job_save(job);
}

/* It is known that nothing came of it: whoever goes on need not look for it. What was sent before it
 * stays in doubt. @return false: the job has ended */
static bool forget_sending(struct run_job *job, const struct kind *kind,
                           const struct client_answer *answer)
{
    if (!job->first_send || (answer->status == 0 && !answer->nothing_sent))
        return true;
    *send_of(job, kind) = (struct run_send){.first_s = 0};
    return run_job_save(job);
}

static void take_answer(struct run_job *job, const struct kind *kind, int64_t now_ms,
                        enum client_exit code, struct client_answer *answer)
{
    bool fresh = kind == &create && clock_unix_s() - job->state.upload.last_s < FRESH_S;
    char id[IDS_MAX + 1];

    note_server(job, answer);
    if (code == CLIENT_STOPPED) {
        run_job_end(job, code, NULL);
        return;
    }
    if (code == CLIENT_OK && take_id(answer, id)) {
        found(job, kind, id);
        return;
    }
    if (code == CLIENT_OK)
        snprintf(answer->said, sizeof(answer->said), "the answer to the %s has no id", kind->what);
    switch (run_after_send(code, answer, fresh)) {
    case RUN_SEND:
        if (forget_sending(job, kind, answer))
            again(job, kind->send, now_ms, answer);
        break;
    case RUN_LOOK:
        again(job, kind->find, now_ms, answer);
        break;
    case RUN_STOP:
        if (forget_sending(job, kind, answer))
            refused(job, kind, code, answer);
        break;
    }
}

/* A later round that an older tranche has begun: it did not look whether it may. */
static bool may_send(struct run_job *job)
{
    enum run_retry may = job->state.round == 0 ? RUN_RETRY : run_may_retry(&job->state);

    if (may == RUN_RETRY)
        return true;
    run_job_refuse_retry(job, may);
    return false;
}

static void send_upload(struct run_job *job, int64_t now_ms)
{
    struct input *input = job->state.round == 0 ? &job->input : &job->again;
    char name[INPUT_NAME], key[128];
    struct bar bar;
    struct input_body body;
    struct client_answer answer = {.status = 0};
    struct client_request request = {.method = "POST",
                                     .path = "/v1/files",
                                     .source = input_body_read,
                                     .arg = &body,
                                     .once = true,
                                     .idempotency_key = key,
                                     .stop = job->options->stop};
    enum client_exit code;

    input_name(job->path, job->state.nonce, name);
    write_key(job, &upload, key, sizeof(key));
    if (input_body_init(&body, input, name, job->state.nonce, job->state.model, &bar) != 0) {
        run_job_end(job, CLIENT_USAGE, "out of memory");
    } else if (note_sending(job, &upload)) {
        request.content_type = strbuf_str(&body.type);
        request.length = body.length;
        bar_begin(&bar, "uploading", body.length);
        code = client_ask(job->options->client, &request, &answer);
        bar_end(&bar);
        take_answer(job, &upload, now_ms, code, &answer);
    }
    client_answer_deinit(&answer);
    input_body_deinit(&body);
}

static void write_create(const struct run_job *job, struct strbuf *out)
{
    char mark[MARK];

    write_mark(job, mark);
    strbuf_addc(out, '{');
    json_write_member_string(out, "input_file_id", job->state.upload.id);
    json_write_member_string(out, "endpoint", job->state.endpoint);
    json_write_member_string(out, "completion_window", "24h");
    strbuf_addf(out, ",\"metadata\":{\"tranche_run\":\"%s\"}}", mark);
}

/* A create is not given up at the first Ctrl-C: it is short, and its answer is worth having. */
static void send_create(struct run_job *job, int64_t now_ms)
{
    struct strbuf body = STRBUF_INIT;
    char key[128];
    struct client_answer answer = {.status = 0};
    struct client_request request = {.method = "POST",
                                     .path = "/v1/batches",
                                     .content_type = "application/json",
                                     .once = true,
                                     .idempotency_key = key,
                                     .repeat = job->state.create.first_s != 0,
                                     .stop = job->options->now};
    enum client_exit code;

    write_key(job, &create, key, sizeof(key));
    write_create(job, &body);
    request.body = strbuf_str(&body);
    if (strbuf_failed(&body)) {
        run_job_end(job, CLIENT_USAGE, "out of memory");
    } else if (note_sending(job, &create)) {
        code = client_ask(job->options->client, &request, &answer);
        take_answer(job, &create, now_ms, code, &answer);
    }
    client_answer_deinit(&answer);
    strbuf_deinit(&body);
}

/* --- finding --- */

struct search {
    const struct run_job *job;
    const struct kind *kind;
    char name[INPUT_NAME], mark[MARK];
    char last[IDS_MAX + 1], found[IDS_MAX + 1];
    bool more;
};

/* The file by its name, which nobody else's has; the batch by its metadata, or by that file where a
 * server keeps no metadata. Of one that was made again those before it are not meant, which failed. */
static bool is_ours(const struct search *s, const struct json *row)
{
    const char *id = s->job->state.upload.id, *mark;

    if (s->kind == &upload)
        return strcmp(shown_text(row, "filename"), s->name) == 0;
    mark = shown_text(json_get(row, "metadata"), "tranche_run");
    if (strcmp(mark, s->mark) == 0)
        return true;
    if (s->job->state.remade > 0 && (mark[0] != '\0' || run_found_no_room(row)))
        return false;
    return id[0] != '\0' && strcmp(shown_text(row, "input_file_id"), id) == 0;
}

/* A time that is a text, as some write it, is none: then the whole list is read. */
static void take_page(struct search *s, const struct json *root, int64_t since_s)
{
    const struct json *data = json_get(root, "data");

    s->more = false;
    (void)json_bool(json_get(root, "has_more"), &s->more);
    s->last[0] = '\0';
    for (size_t i = 0; i < json_size(data) && s->found[0] == '\0'; i++) {
        const struct json *row = json_at(data, i);
        const char *id = shown_text(row, "id");
        int64_t created_s = shown_number(row, "created_at");

        if (strlen(id) > IDS_MAX)
            continue;
        snprintf(is_ours(s, row) ? s->found : s->last, sizeof(s->last), "%s", id);
        if (created_s > 0 && created_s < since_s)
            s->more = false;
    }
    s->more = s->more && s->last[0] != '\0' && s->found[0] == '\0';
}

static enum client_exit read_page(struct search *s, int64_t since_s, struct client_answer *answer)
{
    const struct run_options *options = s->job->options;
    struct strbuf path = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *root = NULL;
    struct client_request request = {.method = "GET", .stop = options->stop};
    enum client_exit code = CLIENT_USAGE;

    strbuf_adds(&path, s->kind->list);
    client_add_parameter(&path, "limit", PAGE);
    client_add_parameter(&path, "purpose", s->kind->purpose);
    client_add_parameter(&path, "order", s->kind->purpose != NULL ? "desc" : NULL);
    client_add_parameter(&path, "after", s->last[0] != '\0' ? s->last : NULL);
    request.path = strbuf_str(&path);
    if (doc != NULL && !strbuf_failed(&path))
        code = client_ask(options->client, &request, answer);
    if (code == CLIENT_OK) {
        root = json_parse_most(doc, strbuf_str(&answer->body), answer->body.len, 1000000, &error);
        if (json_is(json_get(root, "data"), JSON_ARRAY))
            take_page(s, root, since_s);
        else
            code = CLIENT_AWAY;
    }
    if (code == CLIENT_AWAY && answer->said[0] == '\0')
        snprintf(answer->said, sizeof(answer->said), "what came is no list");
    json_doc_free(doc);
    strbuf_deinit(&path);
    return code;
}

static enum client_exit walk(struct search *s, int64_t since_s, struct client_answer *answer)
{
    enum client_exit code = CLIENT_OK;

    s->more = true;
    for (unsigned page = 0; code == CLIENT_OK && s->more; page++) {
        if (page == MAX_PAGES) {
            snprintf(answer->said, sizeof(answer->said), "its list has no end");
            return CLIENT_REFUSED;
        }
        client_answer_deinit(answer);
        code = read_page(s, since_s, answer);
    }
    return code;
}

static void not_there(struct run_job *job, const struct kind *kind, int64_t now_ms)
{
    int64_t wait_s;
    char why[128];

    if (run_after_look(send_of(job, kind), job->state.gateway, clock_unix_s(),
                       job->options->settle_s, &wait_s) == RUN_SEND) {
        run_job_wait(job, kind->send, now_ms, ""); /* what was tried counts on */
        return;
    }
    snprintf(why, sizeof(why),
             "the answer to the %s was lost: looking for it until it cannot come "
             "to be any more",
             kind->what);
    run_job_wait(job, kind->find, now_ms + wait_s * 1000, why);
}

static void find(struct run_job *job, const struct kind *kind, int64_t now_ms)
{
    struct search search = {.job = job, .kind = kind};
    struct client_answer answer = {.status = 0};
    enum client_exit code;

    input_name(job->path, job->state.nonce, search.name);
    write_mark(job, search.mark);
    code = walk(&search, send_of(job, kind)->first_s - SLACK_S, &answer);
    note_server(job, &answer);
    if (code == CLIENT_OK && search.found[0] != '\0')
        found(job, kind, search.found);
    else if (code == CLIENT_OK)
        not_there(job, kind, now_ms);
    else if (code == CLIENT_STOPPED)
        run_job_end(job, code, NULL);
    else if (code == CLIENT_AWAY)
        again(job, kind->find, now_ms, &answer);
    else
        run_job_end(job, code,
                    "it is not known whether the %s has happened, and the server does "
                    "not list what it has: %s",
                    kind->what, answer.said);
    client_answer_deinit(&answer);
}

void run_send_step(struct run_job *job, int64_t now_ms)
{
    switch (job->step) {
    case RUN_STEP_UPLOAD:
        if (may_send(job))
            send_upload(job, now_ms);
        break;
    case RUN_STEP_FIND_FILE:
        find(job, &upload, now_ms);
        break;
    case RUN_STEP_CREATE:
        if (may_send(job))
            send_create(job, now_ms);
        break;
    default:
        assert(job->step == RUN_STEP_FIND_BATCH);
        find(job, &create, now_ms);
        break;
    }
}
