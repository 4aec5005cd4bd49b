/* See polls.h. */
#include "objects/polls.h"

#include <string.h>

#include "common/strbuf.h"
#include "objects/ledger.h"

/* An ended one may still get its usage, or an output file, a bit later */
#define REFRESH_MS 60000

/* Of the object's own id. @return 0: it has none */
static uint64_t key_of(uint32_t account, const struct json *batch)
{
    size_t len;
    const char *id = json_str(json_get(batch, "id"), &len);

    return id != NULL && len > 0 ? poll_cache_key(account, id, len) : 0;
}

static void keep(const struct inherited *inherited, uint64_t key, bool ended,
                 const struct json *batch, uint64_t now_ms, uint64_t moment)
{
    struct strbuf text = STRBUF_INIT;

    json_write(batch, &text);
    if (!strbuf_failed(&text))
        poll_cache_put(inherited->poll_cache, key, ended, text.data, text.len, now_ms, moment);
    strbuf_deinit(&text);
}

/* What is kept, as long as it is about this batch. */
static struct json *parse_seen(const struct poll_seen *seen, const char *native,
                               struct json_doc *doc)
{
    struct json_error error;
    struct json *batch = json_parse(doc, seen->text, seen->len, &error);
    const char *id = json_get_str(batch, "id");

    return id != NULL && strcmp(id, native) == 0 ? batch : NULL;
}

static bool is_ended(const struct json *batch)
{
    return ledger_phase_of(batch) != LEDGER_RUNNING;
}

/* A list shows it where its provider lists another one: what was shown last is to be known. */
static bool is_followed(const struct inherited *inherited, uint32_t account,
                        const struct json *batch)
{
    struct followed_row row;

    return followed_find_at(inherited->followed, account, json_get_str(batch, "id"), &row);
}

/* The one that had ended; NULL: none is known. */
static struct json *ended_before(const struct inherited *inherited, uint64_t key,
                                 const struct json *batch, struct json_doc *doc, uint64_t now_ms)
{
    struct poll_seen seen;

    if (!poll_cache_get(inherited->poll_cache, key, now_ms, &seen) || !seen.ended)
        return NULL;
    return parse_seen(&seen, json_get_str(batch, "id"), doc);
}

struct json *polls_believe(const struct inherited *inherited, uint32_t account,
                           struct json_doc *doc, struct json *batch, uint64_t now_ms,
                           uint64_t moment)
{
    uint64_t key = key_of(account, batch), age_ms;
    bool ended = is_ended(batch), had_ended, known;
    struct json *before = NULL;

    if (key == 0)
        return batch;
    known = poll_cache_peek(inherited->poll_cache, key, now_ms, &had_ended, &age_ms);
    if (known && had_ended && !ended)
        before = ended_before(inherited, key, batch, doc, now_ms);
    if (before != NULL)
        return before;
    if (inherited->config->poll_cache_ms > 0 || is_followed(inherited, account, batch) ||
        (ended && (!known || !had_ended || age_ms > REFRESH_MS)))
        keep(inherited, key, ended, batch, now_ms, moment);
    return batch;
}

uint64_t polls_moment(const struct inherited *inherited)
{
    return poll_cache_moment(inherited->poll_cache);
}

void polls_changed(const struct inherited *inherited, uint32_t account, const char *native)
{
    poll_cache_change(inherited->poll_cache, poll_cache_key(account, native, strlen(native)));
}

bool polls_is_outdated(const struct inherited *inherited, uint32_t account,
                       const struct json *batch, uint64_t now_ms)
{
    uint64_t key = key_of(account, batch);
    struct poll_seen seen;

    return key != 0 && !is_ended(batch) &&
           poll_cache_get(inherited->poll_cache, key, now_ms, &seen) && seen.ended;
}

struct json *polls_last(const struct inherited *inherited, uint32_t account, const char *native,
                        struct json_doc *doc, uint64_t now_ms)
{
    struct poll_seen seen;

    return poll_cache_get(inherited->poll_cache, poll_cache_key(account, native, strlen(native)),
                          now_ms, &seen)
               ? parse_seen(&seen, native, doc)
               : NULL;
}

struct json *polls_recall(const struct inherited *inherited, uint32_t account, const char *native,
                          struct json_doc *doc, uint64_t now_ms)
{
    uint32_t max_age_ms = inherited->config->poll_cache_ms;
    struct poll_seen seen;

    if (max_age_ms == 0 ||
        !poll_cache_get(inherited->poll_cache, poll_cache_key(account, native, strlen(native)),
                        now_ms, &seen) ||
        seen.age_ms >= max_age_ms)
        return NULL;
    return parse_seen(&seen, native, doc);
}
