/* See upload_memory.h. */
#include "upload_memory.h"

static uint64_t budget_of(const struct worker *w)
{
    const struct config_limits *limits = &w->config->limits;
    uint64_t least = limits->max_line_bytes * 8;

    return limits->upload_memory_bytes > least ? limits->upload_memory_bytes : least;
}

static void set(struct upload *up, uint64_t bytes)
{
    up->worker->upload_bytes += bytes;
    up->worker->upload_bytes -= up->counted;
    up->counted = bytes;
}

void upload_memory_count(struct upload *up, size_t extra)
{
    uint64_t bytes = UPLOAD_MEMORY_BASE + extra;

    if (up->spool.memory != NULL)
        bytes += SPOOL_MEMORY;
    if (up->lines != NULL)
        bytes += jsonl_memory(up->lines);
    set(up, bytes);
}

bool upload_memory_has_room(const struct upload *up, size_t more)
{
    uint64_t budget = budget_of(up->worker);

    if (up->counted + more > UPLOAD_MEMORY_SMALL)
        budget -= budget / 4;
    return up->worker->upload_bytes + more <= budget;
}

void upload_memory_forget(struct upload *up)
{
    set(up, 0);
}
