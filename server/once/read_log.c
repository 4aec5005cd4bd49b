/* See read_log.h. */
#include "read_log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/sha256.h"

#define FIRST_SIZE 256
#define MAX_SIZE   (2 * READ_LOG_MAX)

/* A part of the hash is enough to tell "not here". The texts are what anybody with a key of the
 * account may have written: hashed, so that nobody chooses where they fall. */
static uint64_t word_of(enum read_log_kind kind, const char *name)
{
    char tag = (char)kind;
    const struct sha256_piece pieces[] = {{&tag, 1}, {name, strlen(name)}};
    unsigned char hash[SHA256_BYTES];
    uint64_t word;

    sha256_of(pieces, 2, hash);
    memcpy(&word, hash, sizeof(word));
    return word != 0 ? word : 1;
}

/* The entry of this word, or the empty one where it would be; there is always an empty one. */
static uint32_t find(const struct read_log *log, uint64_t word)
{
    uint32_t at = (uint32_t)(word & (log->size - 1));

    assert(word != 0 && log->num < log->size && (log->size & (log->size - 1)) == 0);
    while (log->names[at] != 0 && log->names[at] != word)
        at = (at + 1) & (log->size - 1);
    return at;
}

static void forget(struct read_log *log)
{
    uint32_t forgotten = log->forgotten + 1;

    free(log->names);
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
    larger.names = larger.size <= MAX_SIZE ? calloc(larger.size, sizeof(*larger.names)) : NULL;
    if (larger.names == NULL)
        return false;
    for (uint32_t i = 0; i < log->size; i++)
        if (log->names[i] != 0)
            larger.names[find(&larger, log->names[i])] = log->names[i];
    free(log->names);
    *log = larger;
    return true;
}

void read_log_add(struct read_log *log, enum read_log_kind kind, const char *name)
{
    uint64_t word = word_of(kind, name);
    uint32_t at;

    if (2 * log->num >= log->size && !grow(log)) {
        forget(log);
        return;
    }
    assert(log->names != NULL);
    at = find(log, word);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): grow() has replaced what it freed */
    log->num += log->names[at] == 0;
    log->names[at] = word;
}

void read_log_note(struct read_log *log, uint32_t forgotten, int64_t from_ms, int64_t to_ms)
{
    if (forgotten != log->forgotten)
        return;
    assert(from_ms <= to_ms);
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

bool read_log_excludes(const struct read_log *log, enum read_log_kind kind, const char *name,
                       int64_t from_ms)
{
    if (!log->known || log->from_ms > from_ms)
        return false;
    return log->num == 0 || log->names[find(log, word_of(kind, name))] == 0;
}
