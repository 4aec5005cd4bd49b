/* See batches.h: the decisions, which are pure. */
#include "batches.h"

#include <string.h>
#include <strings.h>

#define FEW    5  /* times `watch_ms`: the most between two looks ... */
#define SELDOM 10 /* ... and in the last hours */

uint32_t batches_first_ms(uint32_t watch_ms)
{
    return watch_ms / 2;
}

uint32_t batches_next_ms(const struct batches_pace *pace, uint32_t watch_ms)
{
    bool seldom = pace->ended || (pace->left_ms >= 0 && pace->left_ms < BATCHES_LAST_MS);
    uint64_t most_ms = (uint64_t)watch_ms * (seldom ? SELDOM : FEW);
    uint64_t next_ms = (uint64_t)pace->poll_ms + pace->poll_ms / 2;

    if (next_ms < batches_first_ms(watch_ms))
        next_ms = batches_first_ms(watch_ms);
    if (seldom && !pace->ended && next_ms > (uint64_t)watch_ms * FEW)
        next_ms = most_ms;
    return (uint32_t)(next_ms < most_ms ? next_ms : most_ms);
}

const char *batches_status(const char *text)
{
    static const char *const names[] = {"validating", "failed",  "in_progress", "finalizing",
                                        "completed",  "expired", "cancelling",  "cancelled"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcasecmp(text, names[i]) == 0)
            return names[i];
    return "in_progress";
}

bool batches_may_tell(const struct wire_seen *seen, int64_t unix_ms)
{
    return strcasecmp(seen->status, "completed") != 0 || seen->output[0] != '\0' ||
           seen->completed == 0 || seen->finished_s == 0 ||
           (int64_t)seen->finished_s * 1000 + BATCHES_OUTPUT_MS < unix_ms;
}

bool batches_is_end(const char *status)
{
    return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
           strcmp(status, "expired") == 0 || strcmp(status, "cancelled") == 0;
}

int64_t batches_ms_of(uint64_t unix_s)
{
    return unix_s < INT64_MAX / 1000 ? (int64_t)unix_s * 1000 : 0;
}

bool batches_goes_again(int rc)
{
    return rc == ERR_IO || rc == ERR_FULL || rc == ERR_BAD_STATE || rc == ERR_NOMEM ||
           rc == ERR_NOT_FOUND;
}
