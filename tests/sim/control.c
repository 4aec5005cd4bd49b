/* The control port: faults, ledger, requests, clock, switches, waiting. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "config.h"
#include "engine.h"
#include "journal.h"

/* A test that waits for requests to be seen. */
struct waiter {
    struct waiter *next;
    struct conn *conn;   /* borrowed; parked */
    struct account *acc; /* borrowed; NULL: all */
    char *method;        /* owned; NULL: any */
    char *path;          /* owned; NULL: any */
    uint64_t count;
    bool answered;
    int64_t deadline_ms; /* monotonic */
};

static struct waiter *waiters;

static void waiter_free(struct waiter *w)
{
    free(w->method);
    free(w->path);
    free(w);
}

static uint64_t seen(const struct sim *sim, const struct waiter *w)
{
    uint64_t n = 0;

    for (size_t i = 0; i < sim->n_accounts; i++) {
        if (w->acc == NULL || w->acc == sim->accounts[i])
            n += journal_count(sim->accounts[i]->journal, w->method, w->path, w->answered);
    }
    return n;
}

static void write_seen(struct reply *rep, uint64_t n, bool enough)
{
    strbuf_reset(&rep->body);
    strbuf_addf(&rep->body, "{\"seen\":%llu}", (unsigned long long)n);
    rep->status = enough ? 200 : 408;
}

/* Answer those that have waited long enough, one way or the other. */
static void look_at_waiters(struct sim *sim)
{
    struct waiter **link = &waiters;

    while (*link != NULL) {
        struct waiter *w = *link;
        uint64_t n = seen(sim, w);
        if (n < w->count && sim->mono_ms < w->deadline_ms) {
            link = &w->next;
            continue;
        }
        struct reply rep = {0};
        *link = w->next;
        write_seen(&rep, n, n >= w->count);
        http_resume(w->conn, &rep);
        strbuf_deinit(&rep.body);
        waiter_free(w);
    }
}

void control_notify(struct sim *sim)
{
    if (waiters != NULL)
        look_at_waiters(sim);
}

int64_t control_deadline(struct sim *sim)
{
    int64_t left = -1;

    if (waiters == NULL)
        return -1;
    look_at_waiters(sim);
    for (const struct waiter *w = waiters; w != NULL; w = w->next) {
        int64_t ms = w->deadline_ms - sim->mono_ms;
        left = left == -1 || ms < left ? ms : left;
    }
    return left < 0 && waiters != NULL ? 0 : left;
}

void control_gone(struct conn *c)
{
    for (struct waiter **link = &waiters; *link != NULL; link = &(*link)->next) {
        struct waiter *w = *link;
        if (w->conn == c) {
            *link = w->next;
            waiter_free(w);
            return;
        }
    }
}

static void problem(struct reply *rep, int status, const char *text)
{
    rep->status = status;
    strbuf_reset(&rep->body);
    strbuf_addc(&rep->body, '{');
    put_str(&rep->body, "error", text);
    strbuf_addc(&rep->body, '}');
}

static struct account *account_named(const struct sim *sim, const char *name)
{
    for (size_t i = 0; name != NULL && i < sim->n_accounts; i++) {
        if (strcmp(sim->accounts[i]->name, name) == 0)
            return sim->accounts[i];
    }
    return NULL;
}

/* The account a query names: false when it names one that does not exist. */
static bool query_account(const struct sim *sim, const struct request *req, struct account **acc)
{
    char *name = request_query(req, "account");

    *acc = account_named(sim, name);
    bool ok = name == NULL || *acc != NULL;
    free(name);
    return ok;
}

static int64_t query_int(const struct request *req, const char *key, int64_t dflt)
{
    char *text = request_query(req, key);
    int64_t n = text == NULL ? dflt : strtoll(text, NULL, 10);

    free(text);
    return n;
}

static void wait_call(struct conn *c, struct sim *sim, struct request *req, struct reply *rep)
{
    struct waiter *w = sim_alloc(sizeof(*w));
    char *phase = request_query(req, "phase");

    w->conn = c;
    w->method = request_query(req, "method");
    w->path = request_query(req, "path");
    w->count = (uint64_t)query_int(req, "count", 1);
    w->answered = phase != NULL && strcmp(phase, "answered") == 0;
    w->deadline_ms = sim->mono_ms + query_int(req, "timeout_ms", 5000);
    bool phase_ok = phase == NULL || w->answered || strcmp(phase, "received") == 0;
    free(phase);
    if (!query_account(sim, req, &w->acc) || !phase_ok) {
        problem(rep, 400, "no such account or phase");
        waiter_free(w);
        return;
    }
    uint64_t n = seen(sim, w);
    if (n >= w->count) {
        write_seen(rep, n, true);
        waiter_free(w);
        return;
    }
    w->next = waiters;
    waiters = w;
    rep->park = true;
}

/* Ledger. */

static void write_ledger_file(struct sim *sim, struct file *f, struct strbuf *out)
{
    strbuf_addc(out, '{');
    put_str(out, "id", f->id);
    put_str(out, "filename", f->filename);
    put_str(out, "purpose", f->purpose);
    put_int(out, "bytes", f->bytes);
    put_str(out, "sha256", files_sha256(f));
    put_raw(out, "deleted", f->deleted ? "true" : "false");
    put_int(out, "deleted_ms", f->deleted_ms);
    put_raw(out, "expired", !f->deleted && files_is_gone(f, sim->now_ms) ? "true" : "false");
    put_raw(out, "output", f->output ? "true" : "false");
    put_int(out, "created_at", f->created_ms / 1000);
    put_int(out, "expires_at", f->expires_at);
    strbuf_addc(out, '}');
}

/* When each status was entered, for who compares what was there at one time. */
static void write_entered(const struct batch *b, struct strbuf *out)
{
    put_raw(out, "entered_ms", "{");
    for (size_t i = 0; i < sizeof(b->at_ms) / sizeof(b->at_ms[0]); i++) {
        if (b->at_ms[i] != 0)
            put_int(out, status_name((enum status)i), b->at_ms[i]);
    }
    strbuf_addc(out, '}');
}

static void write_ledger_batch(const struct batch *b, struct strbuf *out)
{
    strbuf_addc(out, '{');
    put_str(out, "id", b->id);
    put_str(out, "input_file_id", b->input_id[0] != '\0' ? b->input_id : NULL);
    put_str(out, "endpoint", b->endpoint);
    put_str(out, "model", b->model);
    put_str(out, "deployment", b->deployment != NULL ? b->deployment->name : NULL);
    put_str(out, "status", status_name(b->status));
    put_str(out, "code", b->n_errors > 0 ? b->errors[0].code : NULL);
    put_int(out, "lines", (int64_t)b->n_lines);
    put_int(out, "tokens", b->tokens);
    put_raw(out, "metadata", b->metadata != NULL ? b->metadata : "null");
    put_int(out, "output_expires_after", b->output_expires_s);
    put_str(out, "output_file_id", b->output_id[0] != '\0' ? b->output_id : NULL);
    put_str(out, "error_file_id", b->error_id[0] != '\0' ? b->error_id : NULL);
    put_int(out, "created_at", b->at_ms[STATUS_VALIDATING] / 1000);
    put_int(out, "input_tokens", b->in_tokens);
    put_int(out, "output_tokens", batch_output_tokens(b));
    write_entered(b, out);
    strbuf_addc(out, '}');
}

static void write_account(struct sim *sim, struct account *acc, struct strbuf *out)
{
    engine_advance_all(acc);
    strbuf_adds(out, "{\"files\":[");
    for (size_t i = 0; i < acc->n_files; i++) {
        if (i > 0)
            strbuf_addc(out, ',');
        write_ledger_file(sim, acc->files[i], out);
    }
    strbuf_adds(out, "],\"batches\":[");
    for (size_t i = 0; i < acc->n_batches; i++) {
        if (i > 0)
            strbuf_addc(out, ',');
        write_ledger_batch(acc->batches[i], out);
    }
    strbuf_addf(out,
                "],\"creates\":{\"files\":%llu,\"batches\":%llu},\"connections\":%llu,\"calls\":",
                (unsigned long long)acc->uploads, (unsigned long long)acc->creates,
                (unsigned long long)acc->connections);
    journal_write_calls(acc->journal, out);
    strbuf_adds(out, ",\"enqueued_tokens\":{");
    for (size_t i = 0; i < acc->n_deployments; i++)
        put_int(out, acc->deployments[i]->name, engine_enqueued(acc, acc->deployments[i], NULL));
    strbuf_adds(out, "}}");
}

static void ledger(struct sim *sim, struct reply *rep)
{
    strbuf_adds(&rep->body, "{\"accounts\":{");
    for (size_t i = 0; i < sim->n_accounts; i++) {
        if (i > 0)
            strbuf_addc(&rep->body, ',');
        json_write_string(&rep->body, sim->accounts[i]->name, strlen(sim->accounts[i]->name));
        strbuf_addc(&rep->body, ':');
        write_account(sim, sim->accounts[i], &rep->body);
    }
    strbuf_addf(&rep->body, "},\"now\":%lld}", (long long)(sim->now_ms / 1000));
}

/* The journals of one or all accounts, merged by order of arrival. */
static void requests(struct sim *sim, const struct request *req, struct reply *rep)
{
    struct account *only = NULL;
    size_t *next = NULL;
    bool first = true;

    if (!query_account(sim, req, &only)) {
        problem(rep, 404, "no such account");
        return;
    }
    next = sim_alloc((sim->n_accounts + 1) * sizeof(*next));
    strbuf_addc(&rep->body, '[');
    for (;;) {
        const struct account *best = NULL;
        size_t at = 0;
        for (size_t i = 0; i < sim->n_accounts; i++) {
            const struct account *acc = sim->accounts[i];
            if ((only != NULL && only != acc) || next[i] >= journal_size(acc->journal))
                continue;
            if (best == NULL || journal_order_at(acc->journal, next[i]) <
                                    journal_order_at(best->journal, next[at])) {
                best = acc;
                at = i;
            }
        }
        if (best == NULL)
            break;
        if (!first)
            strbuf_addc(&rep->body, ',');
        first = false;
        journal_write_at(best->journal, next[at]++, best->name, &rep->body);
    }
    strbuf_addc(&rep->body, ']');
    free(next);
}

static void add_fault(struct conn *c, struct sim *sim, const struct json *body, struct reply *rep)
{
    struct strbuf why = STRBUF_INIT;
    const char *name = json_get_str(body, "account");
    const struct fault *f = NULL;

    if (name != NULL && account_named(sim, name) == NULL)
        strbuf_addf(&why, "no account '%s'", name);
    else
        f = faults_add(sim, body, &why);
    if (f == NULL)
        problem(rep, 400, strbuf_str(&why));
    else
        strbuf_addf(&rep->body, "{\"id\":\"%s\"}", f->id);
    if (f != NULL && faults_on_accept(f))
        http_close_idle(c, account_named(sim, name)); /* so that there is something to accept */
    strbuf_deinit(&why);
}

static void move_time(struct sim *sim, const struct json *body, struct reply *rep)
{
    int64_t ms = 0;

    if (!json_int64(json_get(body, "advance_ms"), &ms) || ms < 0) {
        problem(rep, 400, "advance_ms: want a number of at least 0");
        return;
    }
    sim->skew_ms += ms;
    sim_tick(sim);
    engine_settle(sim);
    strbuf_addf(&rep->body, "{\"now\":%lld}", (long long)(sim->now_ms / 1000));
}

static void set_switches(struct sim *sim, const struct json *body, struct reply *rep)
{
    struct strbuf why = STRBUF_INIT;
    const char *name = json_get_str(body, "account");
    bool hit = false, bad = false;

    for (size_t i = 0; i < sim->n_accounts && !bad; i++) {
        struct account *acc = sim->accounts[i];
        if (name != NULL && strcmp(acc->name, name) != 0)
            continue;
        hit = true;
        config_pace(json_get(body, "time"), &acc->pace);
        bad = switches_apply(&acc->sw, json_get(body, "set"), &why) != 0;
    }
    if (!hit)
        strbuf_addf(&why, "no account '%s'", name != NULL ? name : "");
    if (why.len > 0)
        problem(rep, 400, strbuf_str(&why));
    else
        strbuf_adds(&rep->body, "{\"ok\":true}");
    strbuf_deinit(&why);
}

/* Token services. */

static void token_ledger(struct sim *sim, const struct request *req, struct reply *rep)
{
    struct account *only = NULL;

    if (query_account(sim, req, &only))
        entra_write_ledger(sim, only, &rep->body);
    else
        problem(rep, 404, "no such account");
}

static void change_entra(struct sim *sim, const struct json *body, struct reply *rep, bool revoke)
{
    struct strbuf why = STRBUF_INIT;
    const char *name = json_get_str(body, "account");
    int rc =
        revoke ? entra_revoke(sim, body, &why) : entra_change(account_named(sim, name), body, &why);

    if (rc < 0)
        problem(rep, 400, strbuf_str(&why));
    else
        strbuf_addf(&rep->body, "{\"%s\":%d}", revoke ? "revoked" : "ok", revoke ? rc : 1);
    strbuf_deinit(&why);
}

static bool path_is(const struct request *req, const char *path)
{
    return strlen(path) == req->path_len && memcmp(path, req->target, req->path_len) == 0;
}

static void post(struct conn *c, struct sim *sim, struct request *req, struct reply *rep)
{
    struct json_error error = {0};
    struct json_doc *doc = json_doc_new();
    size_t len = 0;
    char *text = request_text(req, &len);
    const struct json *body = NULL;

    if (path_is(req, "/control/reset")) {
        http_drop_held(c);
        sim_reset(sim);
        strbuf_adds(&rep->body, "{\"ok\":true}");
    } else if (path_is(req, "/control/release")) {
        strbuf_addf(&rep->body, "{\"released\":%u}",
                    http_release(c, query_int(req, "after_ms", 0)));
    } else if (text == NULL || doc == NULL ||
               (body = json_parse_most(doc, text, len, SIZE_MAX, &error)) == NULL) {
        problem(rep, 400, "the body is not JSON");
    } else if (path_is(req, "/control/faults")) {
        add_fault(c, sim, body, rep);
    } else if (path_is(req, "/control/time")) {
        move_time(sim, body, rep);
    } else if (path_is(req, "/control/switches")) {
        set_switches(sim, body, rep);
    } else if (path_is(req, "/control/entra") || path_is(req, "/control/revoke")) {
        change_entra(sim, body, rep, path_is(req, "/control/revoke"));
    } else {
        problem(rep, 404, "no such control");
    }
    free(text);
    json_doc_free(doc);
}

void control_call(struct conn *c, struct sim *sim, struct request *req, struct reply *rep)
{
    bool get = request_is(req, "GET");

    if (request_is(req, "POST")) {
        post(c, sim, req, rep);
    } else if (get && path_is(req, "/control/ledger")) {
        ledger(sim, rep);
    } else if (get && path_is(req, "/control/requests")) {
        requests(sim, req, rep);
    } else if (get && path_is(req, "/control/tokens")) {
        token_ledger(sim, req, rep);
    } else if (get && path_is(req, "/control/wait")) {
        wait_call(c, sim, req, rep);
    } else if (get && path_is(req, "/control/faults")) {
        faults_write(sim, &rep->body);
    } else if (request_is(req, "DELETE") && path_is(req, "/control/faults")) {
        faults_clear(sim);
        strbuf_adds(&rep->body, "{\"ok\":true}");
    } else {
        problem(rep, 404, "no such control");
    }
}
