/* See ledger.h. The arithmetic is balancer/quota.c's. */
#include "server/ledger.h"

#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "common/log.h"

enum ledger_phase ledger_phase_of(const struct json *batch)
{
    static const char *const dropped[] = {"failed", "expired", "cancelled", "canceled"};
    const char *status = json_get_str(batch, "status");

    if (status == NULL)
        return LEDGER_RUNNING;
    if (strcasecmp(status, "completed") == 0)
        return LEDGER_FINISHED;
    for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
        if (strcasecmp(status, dropped[i]) == 0)
            return LEDGER_DROPPED;
    return LEDGER_RUNNING;
}

bool ledger_was_full(const struct json *batch)
{
    const struct json *data = json_get(json_get(batch, "errors"), "data");

    for (size_t i = 0; i < json_size(data); i++) {
        const char *code = json_get_str(json_at(data, i), "code");

        if (code != NULL && strcmp(code, "token_limit_exceeded") == 0)
            return true;
    }
    return false;
}

/* "200M", "30K", "1,000,000". */
static uint64_t read_amount(const char *text)
{
    uint64_t n = 0;
    int digits = 0;

    for (; (*text >= '0' && *text <= '9') || (*text == ',' && digits > 0); text++)
        if (*text != ',' && digits++ < 15)
            n = n * 10 + (uint64_t)(*text - '0');
    switch (*text) {
    case 'K':
    case 'k':
        return n * 1000;
    case 'M':
        return n * 1000000;
    case 'B':
        return n * 1000000000;
    default:
        return n;
    }
}

uint64_t ledger_limit_in(const char *message)
{
    static const char *const before[] = {"Limit: ", "configured limit of "};

    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        const char *at = strstr(message, before[i]);
        uint64_t limit = at != NULL ? read_amount(at + strlen(before[i])) : 0;

        if (limit != 0)
            return limit;
    }
    return 0;
}

bool ledger_marker(const struct ids_seals *seals, const struct json *batch, struct marker *out)
{
    const char *text = json_get_str(json_get(batch, "metadata"), MARKER_KEY);

    return text != NULL && marker_read(seals, text, out) == 0;
}

uint32_t ledger_deployment(const struct inherit *inherit, const struct marker *marker)
{
    return marker->deployment != 0 ? table_find_fingerprint(inherit->table, marker->deployment)
                                   : MODEL_NO_INDEX;
}

static uint64_t count_of(const struct json *counts, const char *name)
{
    int64_t n;

    return json_int64(json_get(counts, name), &n) && n > 0 ? (uint64_t)n : 0;
}

bool ledger_takes_copy(const struct inherit *inherit, uint32_t fingerprint, const char *copy,
                       uint64_t now_ms)
{
    uint64_t value[MEMO_WORDS] = {0}, key = memo_key('d', fingerprint, copy, strlen(copy));

    if (memo_get(inherit->memo, key, 0, now_ms, value))
        return false;
    memo_put(inherit->memo, key, value, now_ms);
    return true;
}

/* It runs, and the ledger does not know it by its id: another node made it, or this one before it
 * was restarted, or a worker that died. */
static void adopt(const struct inherit *inherit, uint32_t slot, uint32_t column,
                  const struct json *batch, const struct marker *marker, uint64_t now_ms)
{
    uint64_t token = quota_token(inherit->quota, column, marker->nonce, strlen(marker->nonce)),
             age_ms = 0;
    int64_t created_s, now_s = clock_unix_s();
    size_t len;
    const char *id = json_str(json_get(batch, "id"), &len);

    if (marker->tokens == 0)
        return;
    if (json_int64(json_get(batch, "created_at"), &created_s) && created_s < now_s)
        age_ms = (uint64_t)(now_s - created_s) * 1000;
    if (quota_adopt(inherit->quota, slot, column, token, id, len, marker->tokens, age_ms, now_ms) !=
        0)
        log_warn("quota: the ledger has no place left; batch %.128s is not counted", id);
}

bool ledger_observe(const struct inherit *inherit, uint32_t slot, const struct json *batch,
                    const struct marker *marker, uint64_t now_ms)
{
    uint32_t deployment = marker != NULL ? ledger_deployment(inherit, marker) : MODEL_NO_INDEX;
    const struct json *counts = json_get(batch, "request_counts");
    enum ledger_phase phase = ledger_phase_of(batch);
    uint32_t column;
    size_t len;
    const char *id = json_str(json_get(batch, "id"), &len);
    bool released;

    if (deployment == MODEL_NO_INDEX || id == NULL)
        return false;
    column = inherit->columns[deployment];
    if (phase == LEDGER_RUNNING) {
        if (!quota_progress(inherit->quota, column, id, len,
                            count_of(counts, "completed") + count_of(counts, "failed"),
                            count_of(counts, "total"), now_ms))
            adopt(inherit, slot, column, batch, marker, now_ms);
        return false;
    }
    released = quota_release(inherit->quota, slot, column, id, len,
                             phase == LEDGER_FINISHED ? QUOTA_FINISHED : QUOTA_DROPPED, now_ms);
    if (released && phase == LEDGER_DROPPED && ledger_was_full(batch))
        quota_full(inherit->quota, column, marker->tokens, now_ms);
    return released;
}
