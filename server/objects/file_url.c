/* See file_url.h. */
#include "objects/file_url.h"

#include <string.h>

#include "core/endpoints.h"

#define MEMO_URL 'u' /* its keys of the memo */

static uint64_t key_of(const struct runtime *rt, uint32_t deployment, const char *native)
{
    uint32_t account = table_deployment(rt->table, deployment)->account;

    return memo_key(MEMO_URL, rt->account_fingerprint[account], native, strlen(native));
}

void file_url_remember(const struct runtime *rt, uint32_t deployment, const char *native,
                       const char *url)
{
    uint64_t value[MEMO_WORDS] = {endpoints_number(url)};

    if (value[0] != 0)
        memo_put(rt->inherited->memo, key_of(rt, deployment, native), value, loop_now_ms(rt->loop));
}

const char *file_url_recall(const struct runtime *rt, uint32_t deployment, const char *native)
{
    uint64_t value[MEMO_WORDS];

    if (!memo_get(rt->inherited->memo, key_of(rt, deployment, native), 0, loop_now_ms(rt->loop),
                  value))
        return NULL;
    return endpoints_of_number((unsigned)value[0]);
}
