/* Output and error files: both providers' line shapes (providers 1.6 and 2.5). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "engine.h"

#define FLUSH_AT (256 * 1024)

struct sheet {
    struct strbuf text;
    struct blob blob;
    uint64_t lines;
};

static void flush(struct sheet *s, bool all)
{
    if (s->text.len == 0 || (!all && s->text.len < FLUSH_AT))
        return;
    if (blob_append(&s->blob, s->text.data, s->text.len) != 0)
        fprintf(stderr, "tranche-sim: the data directory is full\n");
    strbuf_reset(&s->text);
}

static void add_content(struct strbuf *out, const struct account *acc)
{
    strbuf_adds(out, "\"Hello from the simulator.");
    for (int64_t i = 0; i < acc->sw.output_pad_bytes; i++)
        strbuf_addc(out, (char)('a' + i % 26));
    strbuf_addc(out, '"');
}

static void add_usage(struct strbuf *out, const struct line *l, bool responses)
{
    const char *in = responses ? "input_tokens" : "prompt_tokens";
    const char *from = responses ? "output_tokens" : "completion_tokens";

    strbuf_addf(out, "\"usage\": {\"%s\": %u, \"%s\": 8, \"total_tokens\": %u}", in, l->tokens,
                from, l->tokens + 8);
}

static void add_filters(struct strbuf *out, bool prompt)
{
    static const char levels[] = "{\"hate\": {\"filtered\": false, \"severity\": \"safe\"}, "
                                 "\"violence\": {\"filtered\": false, \"severity\": \"safe\"}}";

    if (prompt)
        strbuf_addf(
            out,
            ", \"prompt_filter_results\": [{\"prompt_index\": 0, \"content_filter_results\": %s}]",
            levels);
    else
        strbuf_addf(out, ", \"content_filter_results\": %s", levels);
}

static void add_model(struct strbuf *out, const struct batch *b)
{
    const char *model = b->deployment != NULL ? b->deployment->model : b->model;

    strbuf_adds(out, "\"model\": ");
    json_write_string(out, model, strlen(model));
}

static void add_chat(struct strbuf *out, const struct account *acc, const struct batch *b,
                     const struct line *l, const char *hex)
{
    strbuf_addf(out,
                "{\"id\": \"chatcmpl-%.20s\", \"object\": \"chat.completion\", \"created\": %lld, ",
                hex, (long long)(b->at_ms[STATUS_IN_PROGRESS] / 1000));
    add_model(out, b);
    strbuf_adds(
        out, ", \"choices\": [{\"index\": 0, \"message\": {\"role\": \"assistant\", \"content\": ");
    add_content(out, acc);
    strbuf_adds(out, ", \"refusal\": null}, \"logprobs\": null, \"finish_reason\": \"stop\"");
    if (acc->kind == KIND_AZURE)
        add_filters(out, false);
    strbuf_adds(out, "}]");
    if (acc->kind == KIND_AZURE)
        add_filters(out, true);
    strbuf_adds(out, ", ");
    add_usage(out, l, false);
    strbuf_adds(out, ", \"system_fingerprint\": null}");
}

static void add_embedding(struct strbuf *out, const struct batch *b, const struct line *l)
{
    strbuf_adds(out, "{\"object\": \"list\", \"data\": [{\"object\": \"embedding\", \"index\": 0, "
                     "\"embedding\": [0.0023, -0.0093, 0.0154]}], ");
    add_model(out, b);
    strbuf_addf(out, ", \"usage\": {\"prompt_tokens\": %u, \"total_tokens\": %u}}", l->tokens,
                l->tokens);
}

static void add_response(struct strbuf *out, const struct account *acc, const struct batch *b,
                         const struct line *l, const char *hex)
{
    strbuf_addf(out,
                "{\"id\": \"resp_%.20s\", \"object\": \"response\", \"created_at\": %lld, "
                "\"status\": \"completed\", ",
                hex, (long long)(b->at_ms[STATUS_IN_PROGRESS] / 1000));
    add_model(out, b);
    strbuf_adds(out, ", \"output\": [{\"type\": \"message\", \"role\": \"assistant\", \"content\": "
                     "[{\"type\": \"output_text\", \"text\": ");
    add_content(out, acc);
    strbuf_adds(out, ", \"annotations\": []}]}], ");
    if (acc->kind == KIND_AZURE) {
        strbuf_adds(out, "\"content_filters\": []");
        add_filters(out, false);
        strbuf_adds(out, ", ");
    }
    add_usage(out, l, true);
    strbuf_addc(out, '}');
}

static void add_body(struct strbuf *out, const struct account *acc, const struct batch *b,
                     const struct line *l, const char *hex)
{
    if (strstr(b->endpoint, "embeddings") != NULL)
        add_embedding(out, b, l);
    else if (strstr(b->endpoint, "responses") != NULL)
        add_response(out, acc, b, l, hex);
    else
        add_chat(out, acc, b, l, hex);
}

static void add_failure(struct strbuf *out, const struct line *l)
{
    bool throttled = l->status == 429;

    strbuf_addf(
        out,
        "{\"error\": {\"message\": \"%s\", \"type\": \"%s\", \"param\": %s, \"code\": \"%s\"}}",
        throttled ? "Rate limit reached for requests"
                  : "This model's maximum context length is 128000 tokens.",
        throttled ? "requests" : "invalid_request_error", throttled ? "null" : "\"messages\"",
        throttled ? "rate_limit_exceeded" : "context_length_exceeded");
}

static void add_head(struct strbuf *out, struct account *acc, const struct batch *b,
                     const struct line *l, const char *hex)
{
    strbuf_addc(out, '{');
    if (acc->kind != KIND_AZURE)
        strbuf_addf(out, "\"id\": \"batch_req_%s\", ", hex);
    strbuf_adds(out, "\"custom_id\": ");
    strbuf_add(out, b->ids.data + l->id_off, l->id_len);
}

static void add_line(struct sheet *s, struct account *acc, const struct batch *b,
                     const struct line *l)
{
    struct strbuf *out = &s->text;
    char hex[40];

    sim_hex(&acc->rng, hex, 32);
    add_head(out, acc, b, l, hex);
    if (acc->kind == KIND_AZURE) {
        strbuf_adds(out, ", \"response\": {\"body\": ");
        l->status == 200 ? add_body(out, acc, b, l, hex) : add_failure(out, l);
        strbuf_addf(out, ", \"request_id\": \"%.16s\", \"status_code\": %u}, \"error\": null}\n",
                    hex, l->status);
    } else {
        strbuf_addf(out,
                    ", \"response\": {\"status_code\": %u, \"request_id\": \"%.16s\", \"body\": ",
                    l->status, hex);
        l->status == 200 ? add_body(out, acc, b, l, hex) : add_failure(out, l);
        strbuf_adds(out, "}, \"error\": null}\n");
    }
    s->lines++;
    flush(s, false);
}

/* A request that never ran. */
static void add_cut_line(struct sheet *s, struct account *acc, const struct batch *b,
                         const struct line *l, const char *code)
{
    char hex[40];

    sim_hex(&acc->rng, hex, 32);
    add_head(&s->text, acc, b, l, hex);
    strbuf_addf(
        &s->text,
        ", \"response\": null, \"error\": {\"code\": \"%s\", \"message\": \"This request was "
        "not executed before the batch ended.\"}}\n",
        code);
    s->lines++;
    flush(s, false);
}

/* Lists are by time of creation, and a batch's results are as old as its end, however late somebody
 * looked. */
static void sort_in(struct account *acc)
{
    for (size_t i = acc->n_files - 1; i > 0; i--) {
        struct file *f = acc->files[i];
        if (acc->files[i - 1]->created_ms <= f->created_ms)
            return;
        acc->files[i] = acc->files[i - 1];
        acc->files[i - 1] = f;
    }
}

static void file_sheet(struct account *acc, const struct batch *b, struct sheet *s,
                       const char *what, int64_t at_ms, char *id)
{
    char name[128];

    flush(s, true);
    snprintf(name, sizeof(name), "%s_%s.jsonl", b->id, what);
    struct file *f = files_add(acc, "batch_output", name, true, &s->blob);
    f->created_ms = f->ready_ms = at_ms;
    sort_in(acc);
    int64_t expires_s = b->output_expires_s != 0 ? b->output_expires_s : acc->sw.default_expiry_s;
    f->expires_at = expires_s == 0 ? 0 : at_ms / 1000 + expires_s;
    snprintf(id, ID_MAX, "%s", f->id);
}

static bool is_nth(size_t i, int64_t every)
{
    return every > 0 && (i + 1) % (size_t)every == 0;
}

void output_write(struct account *acc, struct batch *b, int64_t at_ms, const char *cut_code)
{
    struct sheet out = {.blob = BLOB_INIT};
    struct sheet err = {.blob = BLOB_INIT};

    for (size_t i = 0; i < b->done; i++) {
        const struct line *l = &b->lines[b->order[i]];
        struct sheet *sheet = l->status == 200 ? &out : &err;
        if (is_nth(i, acc->sw.lose_every))
            continue;
        add_line(sheet, acc, b, l);
        if (is_nth(i, acc->sw.repeat_every))
            add_line(sheet, acc, b, l);
    }
    for (size_t i = b->done; i < b->n_lines && cut_code != NULL && acc->sw.unexecuted_lines; i++)
        add_cut_line(&err, acc, b, &b->lines[b->order[i]], cut_code);
    if (out.lines > 0)
        file_sheet(acc, b, &out, "output", at_ms, b->output_id);
    if (err.lines > 0 || acc->sw.empty_error_file)
        file_sheet(acc, b, &err, "error", at_ms, b->error_id);
    strbuf_deinit(&out.text);
    strbuf_deinit(&err.text);
    blob_free(&out.blob);
    blob_free(&err.blob);
}
