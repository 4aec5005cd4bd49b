/* See batch_usage.h. */
#include "usage/batch_usage.h"

#include <string.h>

static bool read_count(const struct json *object, const char *name, uint64_t *out)
{
    int64_t number = 0;
    bool good = json_int64(json_get(object, name), &number) && number >= 0;

    *out = good ? (uint64_t)number : 0;
    return good;
}

static void take_model(const struct json *batch, char out[USAGE_MODEL_BYTES])
{
    const char *model = json_get_str(batch, "model");
    size_t len = model == NULL ? 0 : strlen(model);
    bool good = len < USAGE_MODEL_BYTES;

    for (size_t i = 0; good && i < len; i++)
        good = model[i] > ' ' && model[i] < 0x7f;
    if (good && len > 0)
        memcpy(out, model, len + 1);
}

static bool read_tokens(const struct json *usage, struct usage_count *count)
{
    const struct json *out_details = json_get(usage, "output_tokens_details");

    (void)read_count(out_details, "reasoning_tokens", &count->reasoning);
    return read_count(usage, "input_tokens", &count->tokens.in) &&
           read_count(usage, "output_tokens", &count->tokens.out) &&
           read_count(json_get(usage, "input_tokens_details"), "cached_tokens",
                      &count->tokens.cached);
}

bool batch_usage_read(const struct json *batch, bool tiered, struct usage_counts *out)
{
    const struct json *counts = json_get(batch, "request_counts");
    struct usage_counts found = {.source = USAGE_OF_BATCH, .num = 1};
    struct usage_count *count = &found.of[0];

    if (!read_tokens(json_get(batch, "usage"), count))
        return false;
    (void)read_count(counts, "completed", &count->ok);
    (void)read_count(counts, "failed", &count->bad);
    if (count->ok > 0 && count->tokens.in == 0 && count->tokens.out == 0)
        return false;
    if (tiered && count->tokens.in > PRICE_LONG_TOKENS)
        return false;
    take_model(batch, count->model);
    *out = found;
    return true;
}
