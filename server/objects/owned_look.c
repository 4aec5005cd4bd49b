/* A file of a tenant of which a batch told the id alone is asked for once: its lists show it with
 * its size and its name. No client waits for the answer, and no breaker learns from it. */
#include "objects/owned.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/memo.h"
#include "calls/attempt.h"
#include "upstream/normal.h"

#define MAX_AT_WORK 32 /* operations of a worker; beyond, the next look at the batch does it */
#define AGAIN_MS    (60 * 1000) /* an answer that did not come is asked for again */

struct look {
    struct runtime *rt; /* borrowed; `operations` counts us */
    uint32_t account;   /* fingerprint */
    uint64_t owner;
    char native[IDS_MAX + 1];
};

static void end(struct look *look)
{
    assert(look->rt->operations > 0);
    look->rt->operations--;
    free(look);
}

static void take(const struct look *look, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *file =
        doc != NULL && res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    const char *id = json_get_str(file, "id");

    if (id != NULL && strcmp(id, look->native) == 0) {
        normal_file(doc, file, -1);
        owned_keep_file(look->rt->inherited, look->account, look->owner, file);
    }
    json_doc_free(doc);
}

static void on_answer(void *arg, const struct attempt_result *result)
{
    struct look *look = arg;

    if (result->ok)
        take(look, result->upstream);
    else if (result->upstream->head.status == 404)
        owned_missing(look->rt->inherited, look->account, ID_FILE, look->native);
    end(look);
}

/* Whether it is this worker's turn: it was not asked for a moment ago. */
static bool is_due(const struct runtime *rt, uint32_t account, const char *native)
{
    uint64_t value[MEMO_WORDS] = {1}, now_ms = loop_now_ms(rt->loop);
    uint64_t key = memo_key('k', account, native, strlen(native));

    if (memo_get(rt->inherited->memo, key, AGAIN_MS, now_ms, value))
        return false;
    memo_put(rt->inherited->memo, key, value, now_ms);
    return true;
}

void owned_look(struct runtime *rt, uint32_t account, uint64_t owner, const char *native)
{
    struct attempt_spec spec = {.call = CALL_FILE_GET, .background = true, .on_done = on_answer};
    uint32_t at = account_map_pinned(&rt->account_map, account);
    struct look *look;

    assert(owner != 0); /* the master's files are nobody's to remember */
    if (at == MODEL_NO_INDEX || rt->account_first[at] == MODEL_NO_INDEX ||
        strlen(native) > IDS_MAX || !ids_is_usable(native) || rt->operations >= MAX_AT_WORK ||
        !is_due(rt, account, native) || (look = calloc(1, sizeof(*look))) == NULL)
        return;
    look->rt = rt;
    look->account = account;
    look->owner = owner;
    snprintf(look->native, sizeof(look->native), "%s", native);
    spec.deployment = rt->account_first[at];
    spec.id = look->native;
    spec.arg = look;
    rt->operations++;
    if (attempt_start(rt, &spec) == NULL)
        end(look);
}
