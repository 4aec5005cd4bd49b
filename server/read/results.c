/* See results.h. First everything is gathered; then lines are merged in slices, a buffer at a time,
 * as the client takes them. No provider waits for a client that reads slowly. */
#include "read/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "query.h"
#include "read/gather.h"
#include "request/auth.h"
#include "request/errors.h"

#define BUFFER 65536 /* bytes that go out at a time */
#define MAX_ID 4096  /* of ?custom_id= */

struct results {
    struct gather gather;
    enum results_form form;
    unsigned kinds;
    uint64_t after, limit;
    char custom_id[MAX_ID]; /* "": not given */
    bool one;
    uint64_t hash[1][2];         /* of it */
    struct results_merge *merge; /* owned */
    struct slice slice;
    struct strbuf out;
};

static struct results *results_of(struct operation *op)
{
    return (struct results *)op;
}

static void results_free(struct operation *op)
{
    struct results *r = results_of(op);

    slices_remove(&op->rt->slices, &r->slice);
    results_merge_free(r->merge);
    gather_deinit(&r->gather);
    strbuf_deinit(&r->out);
    free(r);
}

static const struct operation_ops results_ops = {.free = results_free};

/* --- towards the client --- */

static void break_off(struct results *r, const char *why)
{
    log_error("request %s: the results of a batch are broken off: %s",
              r->gather.op.relay->request_id, why);
    relay_send(r->gather.op.relay, NULL, 0, RELAY_BROKEN);
}

static void write_soon(struct results *r)
{
    if (slices_add(&r->gather.op.rt->slices, r->gather.op.rt->loop, &r->slice) != 0)
        break_off(r, err_str(ERR_NOMEM));
}

/* Merges for one turn; goes out when the buffer is full, or that was all. */
static void on_slice(struct slice *slice)
{
    struct results *r = slice->arg;
    enum results_step step = results_merge_next(r->merge, &r->out, BUFFER - r->out.len);

    if (step == RESULTS_BROKEN || strbuf_failed(&r->out))
        break_off(r, step == RESULTS_BROKEN ? "the spool cannot be read" : err_str(ERR_NOMEM));
    else if (step == RESULTS_DONE)
        relay_send(r->gather.op.relay, r->out.data, r->out.len, RELAY_LAST);
    else if (r->out.len >= BUFFER / 2)
        relay_send(r->gather.op.relay, r->out.data, r->out.len, RELAY_MORE);
    else
        write_soon(r);
}

static void on_proceed(void *arg)
{
    struct results *r = arg;

    strbuf_reset(&r->out);
    write_soon(r);
}

static void set_headers(struct results *r)
{
    struct relay *relay = r->gather.op.relay;
    struct results_counts counts = results_index_counts(r->gather.index);
    char text[32];

    relay_header(relay, "content-type", "application/x-ndjson");
    relay_header(relay, "x-content-type-options", "nosniff");
    if (!r->gather.ended)
        relay_header(relay, "x-tranche-incomplete", "true");
    if (counts.bad > 0) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)counts.bad);
        relay_header(relay, "x-tranche-unreadable-lines", text);
    }
}

/* Two answers to one line: somebody ran it twice, and paid for it. */
static void count_duplicates(const struct results *r)
{
    const struct runtime *rt = r->gather.op.rt;
    uint64_t num = results_index_counts(r->gather.index).duplicates;

    if (num == 0)
        return;
    atomic_fetch_add_explicit(&rt->inherited->shared->slots[rt->slot].result_duplicates, num,
                              memory_order_relaxed);
    log_warn("batch %s: %llu lines of its output and error files answer what another one answers, "
             "too",
             r->gather.target.native, (unsigned long long)num);
}

static void on_ready(struct gather *gather)
{
    struct results *r = results_of(&gather->op);
    struct results_spec spec = gather_spec(gather);

    spec.form = r->form;
    spec.kinds = r->kinds;
    spec.after = r->after;
    spec.limit = r->limit;
    if (r->one) {
        result_lines_hash(results_index_key(gather->index), r->custom_id, strlen(r->custom_id),
                          r->hash[0]);
        spec.ids = (struct results_ids){(const uint64_t(*)[2])r->hash, 1};
    }
    r->merge = results_merge_new(&spec);
    if (r->merge == NULL || strbuf_reserve(&r->out, BUFFER) != 0) {
        operation_fail_memory(&r->gather.op);
        return;
    }
    count_duplicates(r);
    r->gather.op.relay->deployment = r->gather.op.deployment;
    relay_begin_answer(r->gather.op.relay);
    set_headers(r);
    relay_start(r->gather.op.relay, 200, -1, on_proceed, r);
    write_soon(r);
}

/* --- what is asked --- */

static enum answered parse_status(struct relay *relay, unsigned *kinds)
{
    char text[16];

    *kinds = RESULTS_ALL;
    if (query_text(relay, "status", NULL, text, sizeof(text)) == ANSWERED)
        return ANSWERED;
    if (text[0] == '\0')
        return GO_ON;
    if (strcmp(text, "ok") == 0)
        *kinds = RESULTS_OK;
    else if (strcmp(text, "error") == 0)
        *kinds = RESULTS_ERROR;
    else if (strcmp(text, "missing") == 0)
        *kinds = RESULTS_MISSING;
    else {
        relay_error(relay, RESULT_STATUS, "status");
        return ANSWERED;
    }
    return GO_ON;
}

static enum answered parse(struct results *r, struct relay *relay, bool *partial)
{
    bool input;

    r->limit = UINT64_MAX;
    if (parse_status(relay, &r->kinds) == ANSWERED ||
        query_choice(relay, "input", "false", "true", &input) == ANSWERED ||
        query_choice(relay, "partial", "false", "true", partial) == ANSWERED ||
        query_text(relay, "custom_id", NULL, r->custom_id, sizeof(r->custom_id)) == ANSWERED ||
        query_count(relay, "after", &r->after) == ANSWERED ||
        query_count(relay, "limit", &r->limit) == ANSWERED ||
        (input && auth_check_content(relay) == ANSWERED))
        return ANSWERED;
    r->form = input ? RESULTS_BOTH : RESULTS_ANSWERS;
    r->one = route_query_has(relay->query, relay->query_len, "custom_id");
    return GO_ON;
}

void results_start(struct relay *relay)
{
    struct results *r = operation_new(sizeof(*r), relay, &results_ops);
    bool partial;

    if (r == NULL)
        return; /* answered */
    r->slice.cb = on_slice;
    r->slice.arg = r;
    r->slice.flow = share_flow(r->gather.op.share);
    if (parse(r, relay, &partial) == ANSWERED)
        operation_answered(&r->gather.op);
    else
        gather_start(&r->gather, partial, on_ready);
}
