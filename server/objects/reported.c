/* See reported.h. The memo, which all workers share, has what was told of a batch last: a lossy one,
 * so that now and then something is told twice, which changes nothing. */
#include "objects/reported.h"

#include <string.h>
#include <strings.h>

#include "core/provider_clock.h"
#include "journal/journal.h"
#include "journal/seen.h"
#include "usage/batch_usage.h"

#define HAS_OUTPUT 0x100

/* What of a batch is worth a word: its status, and that its output can be read. */
static uint64_t state_of(const struct wire_seen *seen)
{
    uint64_t hash = memo_key('s', 0, seen->status, strlen(seen->status));

    return seen->output[0] != '\0' ? hash ^ HAS_OUTPUT : hash;
}

static bool is_news(const struct runtime *rt, const struct wire_seen *seen)
{
    uint64_t value[MEMO_WORDS] = {0}, now_ms = loop_now_ms(rt->loop), state = state_of(seen);
    uint64_t key = memo_key('r', seen->account, seen->native, strlen(seen->native));

    if (memo_get(rt->inherited->memo, key, 0, now_ms, value) && value[0] == state)
        return false;
    value[0] = state;
    memo_put(rt->inherited->memo, key, value, now_ms);
    return true;
}

static bool is_late(const struct runtime *rt, uint32_t deployment, const struct wire_seen *seen)
{
    return seen->finished_s != 0 && (int64_t)seen->finished_s + REPORTED_LATE_S <
                                        provider_clock_now_s(rt->inherited, deployment);
}

static void tell(struct runtime *rt, const struct marker *marker, const struct json *batch,
                 struct wire_seen *seen)
{
    const struct price_book *prices = &rt->config->prices;
    struct usage_counts counts;
    bool tiered = price_book_is_tiered(prices, marker->deployment, json_get_str(batch, "model"));

    if (seen_is_ended(seen) && batch_usage_read(batch, tiered, &counts))
        seen_use(&counts, seen);
    else if (seen_used_nothing(seen))
        seen->source = WIRE_USAGE_NONE;
    (void)journal_seen(rt->journal, seen);
}

void reported_batch(struct runtime *rt, uint32_t deployment, const struct marker *marker,
                    const struct json *batch)
{
    static struct wire_seen seen; /* one process, one call at a time */
    struct strbuf errors = STRBUF_INIT;

    if (rt->journal == NULL || marker == NULL)
        return;
    if (seen_read(batch, &seen, &errors)) {
        seen.by = WIRE_BY_POLL;
        seen.account = runtime_fingerprint(rt, deployment);
        seen.deployment = marker->deployment;
        seen_mark(marker, &seen);
        if (!is_late(rt, deployment, &seen) && is_news(rt, &seen))
            tell(rt, marker, batch, &seen);
    }
    strbuf_deinit(&errors);
}
