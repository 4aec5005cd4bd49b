/* See seen.h. */
#include "journal/seen.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "upstream/normal.h"

static const char *text_of(const struct json *batch, const char *name, size_t most)
{
    const char *text = json_get_str(batch, name);

    return text != NULL && strlen(text) <= most ? text : "";
}

static uint64_t count_of(const struct json *counts, const char *name)
{
    int64_t number;

    return json_int64(json_get(counts, name), &number) && number > 0 ? (uint64_t)number : 0;
}

static uint64_t time_of(const struct json *batch, const char *name)
{
    int64_t unix_s;

    return normal_time(json_get(batch, name), &unix_s) && unix_s > 0 ? (uint64_t)unix_s : 0;
}

/* By status: when it ended. */
static const struct end {
    const char *status, *time;
} ends[] = {{"completed", "completed_at"},
            {"failed", "failed_at"},
            {"expired", "expired_at"},
            {"cancelled", "cancelled_at"}};

static const struct end *end_of(const char *status)
{
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (strcasecmp(status, ends[i].status) == 0)
            return &ends[i];
    return NULL;
}

bool seen_is_ended(const struct wire_seen *seen)
{
    return end_of(seen->status) != NULL;
}

bool seen_used_nothing(const struct wire_seen *seen)
{
    return seen_is_ended(seen) && seen->completed == 0 && seen->output[0] == '\0';
}

/* What is too long to be told is left out as a whole: half of it would be no JSON. */
static const char *write_errors(const struct json *batch, struct strbuf *errors)
{
    const struct json *value = json_get(batch, "errors");

    if (!json_is(value, JSON_OBJECT))
        return "";
    json_write(value, errors);
    return strbuf_failed(errors) || errors->len > WIRE_MAX_ERRORS ? "" : strbuf_str(errors);
}

bool seen_read(const struct json *batch, struct wire_seen *out, struct strbuf *errors)
{
    const struct json *counts = json_get(batch, "request_counts");
    const struct end *end;

    assert(errors->len == 0);
    memset(out, 0, sizeof(*out));
    out->native = text_of(batch, "id", WIRE_MAX_ID);
    out->status = text_of(batch, "status", WIRE_MAX_NAME);
    if (*out->native == '\0' || *out->status == '\0')
        return false;
    out->total = count_of(counts, "total");
    out->completed = count_of(counts, "completed");
    out->failed = count_of(counts, "failed");
    out->created_s = time_of(batch, "created_at");
    out->in_progress_s = time_of(batch, "in_progress_at");
    out->finalizing_s = time_of(batch, "finalizing_at");
    out->cancelling_s = time_of(batch, "cancelling_at");
    out->expires_s = time_of(batch, "expires_at");
    end = end_of(out->status);
    out->finished_s = end != NULL ? time_of(batch, end->time) : 0;
    out->endpoint = text_of(batch, "endpoint", WIRE_MAX_NAME);
    out->input = text_of(batch, "input_file_id", WIRE_MAX_ID);
    out->output = text_of(batch, "output_file_id", WIRE_MAX_ID);
    out->error = text_of(batch, "error_file_id", WIRE_MAX_ID);
    out->errors = write_errors(batch, errors);
    out->nonce = out->file = "";
    return true;
}

void seen_mark(const struct marker *marker, struct wire_seen *out)
{
    out->nonce = marker->nonce;
    out->file = marker->file;
    out->owner = marker->owner;
    out->key = marker->key;
    out->request = marker->request;
    out->tokens = marker->tokens;
    out->placed = marker->deployment;
}

static_assert(USAGE_MODELS <= WIRE_MAX_MODELS, "a message has room for all models");

void seen_use(const struct usage_counts *counts, struct wire_seen *out)
{
    out->source = counts->source == USAGE_OF_BATCH    ? WIRE_USAGE_BATCH
                  : counts->source == USAGE_OF_OUTPUT ? WIRE_USAGE_OUTPUT
                                                      : WIRE_USAGE_NONE;
    out->num_usage = counts->num;
    for (uint32_t i = 0; i < counts->num; i++) {
        const struct usage_count *c = &counts->of[i];

        out->usage[i] = (struct wire_usage){.model = c->model,
                                            .ok = c->ok,
                                            .bad = c->bad,
                                            .in = c->tokens.in,
                                            .cached = c->tokens.cached,
                                            .out = c->tokens.out,
                                            .reasoning = c->reasoning,
                                            .long_in = c->tokens.long_in,
                                            .long_cached = c->tokens.long_cached,
                                            .long_out = c->tokens.long_out,
                                            .unmeasured = c->unmeasured};
    }
}
