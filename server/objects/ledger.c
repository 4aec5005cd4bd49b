/* See ledger.h. The arithmetic is balancer/quota.c's. */
#include "objects/ledger.h"

#include <string.h>
#include <strings.h>

#include "objects/refusals.h"

enum ledger_phase ledger_phase_of(const struct json *batch)
{
    static const char *const dropped[] = {"failed", "expired", "cancelled", "canceled"};
    const char *status = json_get_str(batch, "status");

    /* Most that are asked about are in_progress or validating: they end here. */
    if (status == NULL || strchr("cCfFeE", status[0]) == NULL)
        return LEDGER_RUNNING;
    if (strcasecmp(status, "completed") == 0)
        return LEDGER_FINISHED;
    for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++)
        if (strcasecmp(status, dropped[i]) == 0)
            return LEDGER_DROPPED;
    return LEDGER_RUNNING;
}

bool ledger_is_cancelling(const struct json *batch)
{
    const char *status = json_get_str(batch, "status");

    return status != NULL &&
           (strcasecmp(status, "cancelling") == 0 || strcasecmp(status, "canceling") == 0);
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

uint64_t ledger_shared_limit(const struct inherited *inherited, uint32_t deployment,
                             uint64_t now_ms)
{
    struct quota_sum sum;

    quota_read(inherited->quota, inherited->columns[deployment], now_ms, &sum);
    if (sum.limit == 0)
        return UINT64_MAX;
    return sum.limit > sum.foreign ? sum.limit - sum.foreign : 0;
}

const char *ledger_marker_text(const struct json *batch)
{
    return json_get_str(json_get(batch, "metadata"), MARKER_KEY);
}

bool ledger_marker(const struct ids_seals *seals, const struct json *batch, struct marker *out)
{
    const char *text = ledger_marker_text(batch);

    return text != NULL && marker_read(seals, text, out) == 0;
}

uint32_t ledger_deployment(const struct inherited *inherited, const struct marker *marker)
{
    return marker->deployment != 0 ? table_find_fingerprint(inherited->table, marker->deployment)
                                   : MODEL_NO_INDEX;
}

bool ledger_takes_copy(const struct inherited *inherited, uint32_t fingerprint, const char *copy,
                       uint64_t now_ms)
{
    uint64_t value[MEMO_WORDS] = {0}, key;

    if (!inherited->config->delete_moved_copies || copy == NULL || copy[0] == '\0' ||
        strlen(copy) > IDS_MAX)
        return false;
    key = memo_key('d', fingerprint, copy, strlen(copy));
    if (memo_get(inherited->memo, key, 0, now_ms, value))
        return false;
    memo_put(inherited->memo, key, value, now_ms);
    return true;
}

/* Nothing is enqueued, or so little that it would leave room at several times what it is counted
 * for. */
static bool has_ample_room(const struct quota *quota, uint32_t column, uint64_t tokens,
                           uint64_t now_ms)
{
    struct quota_sum sum;
    uint64_t most;

    quota_read(quota, column, now_ms, &sum);
    most = QUOTA_OFF_BY * sum.reserved + sum.foreign;
    return most == 0 || (tokens <= sum.limit && most <= sum.limit - tokens);
}

void ledger_note_refused(const struct inherited *inherited, uint32_t deployment, uint64_t job,
                         uint64_t tokens, uint64_t now_ms)
{
    const struct table_deployment *d = table_deployment(inherited->table, deployment);
    uint32_t column = inherited->columns[deployment];

    if (d->many != 0)
        return;
    if (job == 0 || refusals_note(inherited->memo, job, d->real,
                                  has_ample_room(inherited->quota, column, tokens, now_ms), now_ms))
        (void)quota_full(inherited->quota, column, tokens, now_ms);
}
