/* See read_log.h. */
#include "server/read_log.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 256
#define MAX_SIZE   (2 * READ_LOG_MAX)

/* Half of the nonce is enough to tell "not here". Only the gateway makes sealed ones, so that
 * nobody chooses where they fall. */
static uint64_t word_of(const char *nonce)
{
    char half[17] = "";
    uint64_t word;

    memcpy(half, nonce, strnlen(nonce, 16));
    word = strtoull(half, NULL, 16);
    return word != 0 ? word : 1;
}

/* The place of this word, or the empty one where it would be; there is always an empty one. */
static uint32_t find(const struct read_log *log, uint64_t word)
{
    uint32_t at = (uint32_t)(word & (log->size - 1));

    while (log->nonces[at] != 0 && log->nonces[at] != word)
        at = (at + 1) & (log->size - 1);
    return at;
}

static void forget(struct read_log *log)
{
    uint32_t forgotten = log->forgotten + 1;

    free(log->nonces);
    *log = (struct read_log){.forgotten = forgotten};
}

void read_log_deinit(struct read_log *log)
{
    forget(log);
}

static bool grow(struct read_log *log)
{
    struct read_log larger = *log;

    larger.size = log->size != 0 ? 2 * log->size : FIRST_SIZE;
    larger.nonces = larger.size <= MAX_SIZE ? calloc(larger.size, sizeof(*larger.nonces)) : NULL;
    if (larger.nonces == NULL)
        return false;
    for (uint32_t i = 0; i < log->size; i++)
        if (log->nonces[i] != 0)
            larger.nonces[find(&larger, log->nonces[i])] = log->nonces[i];
    free(log->nonces);
    *log = larger;
    return true;
}

void read_log_add(struct read_log *log, const char *nonce)
{
    uint64_t word = word_of(nonce);
    uint32_t at;

    if (2 * log->num >= log->size && !grow(log)) {
        forget(log);
        return;
    }
    at = find(log, word);
    log->num += log->nonces[at] == 0;
    log->nonces[at] = word;
}

void read_log_note(struct read_log *log, uint32_t forgotten, int64_t from_ms, int64_t to_ms)
{
    if (forgotten != log->forgotten)
        return;
    if (!log->known) {
        log->known = true;
        log->from_ms = from_ms;
        log->to_ms = to_ms;
        return;
    }
    if (from_ms > log->to_ms - READ_LOG_SLACK_S * 1000 || to_ms < log->to_ms)
        return; /* there may be some in between; or it began before the last one did */
    log->to_ms = to_ms;
    if (from_ms < log->from_ms)
        log->from_ms = from_ms;
}

bool read_log_excludes(const struct read_log *log, const char *nonce, int64_t from_ms)
{
    if (!log->known || log->from_ms > from_ms)
        return false;
    return log->num == 0 || log->nonces[find(log, word_of(nonce))] == 0;
}
