/* See upload_memory.h. */
#include "upload_memory.h"

#include <assert.h>

static uint64_t budget_of(const struct runtime *rt)
{
    const struct config_limits *limits = &rt->config->limits;
    uint64_t least = limits->max_line_bytes * 2; /* a quarter is not for long lines */

    return limits->upload_memory_bytes > least ? limits->upload_memory_bytes : least;
}

static void set(struct upload *up, uint64_t bytes)
{
    assert(up->op.rt->upload_bytes >= up->counted); /* the worker's are the sum of all uploads' */
    up->op.rt->upload_bytes += bytes;
    up->op.rt->upload_bytes -= up->counted;
    share_add(up->op.share, SHARE_UPLOADS, bytes);
    share_sub(up->op.share, SHARE_UPLOADS, up->counted);
    up->counted = bytes;
}

void upload_memory_count(struct upload *up)
{
    uint64_t bytes = UPLOAD_MEMORY_BASE;

    if (up->spool.memory != NULL)
        bytes += SPOOL_MEMORY;
    if (up->lines != NULL)
        bytes += jsonl_memory(up->lines);
    set(up, bytes);
}

bool upload_memory_has_room(const struct upload *up, size_t more)
{
    uint64_t budget = budget_of(up->op.rt);

    if (!share_may(up->op.share, SHARE_UPLOADS, more, up->op.rt->upload_bytes, budget))
        return false;
    if (up->counted + more > UPLOAD_MEMORY_SMALL)
        budget -= budget / 4;
    return up->op.rt->upload_bytes + more <= budget;
}

void upload_memory_forget(struct upload *up)
{
    set(up, 0);
}
