/* See log_recent.h. An entry is written under its `number`, which is 0 meanwhile. */
#include "common/log_recent.h"

#include <string.h>

#include "common/clock.h"
#include "common/shm.h"
#include "common/shm_words.h"

#define LINE_WORDS (sizeof(struct log_recent) / sizeof(uint64_t))

static_assert(sizeof(struct log_recent) % sizeof(uint64_t) == 0, "a line is whole words");

struct entry {
    _Atomic uint64_t number; /* of its line, from 1; 0: none, or it is being written */
    _Atomic uint64_t words[LINE_WORDS];
};

struct ring {
    _Atomic uint64_t next; /* lines so far */
    struct entry entries[LOG_RECENT_LINES];
};

static struct ring own;
static struct ring *ring = &own;

int log_recent_init(void)
{
    struct ring *shared = shm_new(sizeof(*shared));

    if (shared == NULL)
        return ERR_NOMEM;
    ring = shared;
    return 0;
}

void log_recent_put(enum log_level level, const char *who, const char *text, size_t len)
{
    struct log_recent line = {.at_unix_ms = clock_unix_ms(), .level = level};
    uint64_t number = atomic_fetch_add_explicit(&ring->next, 1, memory_order_relaxed);
    struct entry *e = &ring->entries[number % LOG_RECENT_LINES];
    uint64_t words[LINE_WORDS];

    memccpy(line.who, who, '\0', sizeof(line.who) - 1);
    memcpy(line.text, text, len < sizeof(line.text) ? len : sizeof(line.text) - 1);
    memcpy(words, &line, sizeof(line));
    store_release(&e->number, 0);
    for (size_t i = 0; i < LINE_WORDS; i++)
        store_release_part(&e->words[i], words[i]);
    store_release(&e->number, number + 1);
}

uint64_t log_recent_count(void)
{
    return load_acquire(&ring->next);
}

bool log_recent_get(uint64_t number, struct log_recent *out)
{
    const struct entry *e = &ring->entries[number % LOG_RECENT_LINES];
    uint64_t words[LINE_WORDS];

    if (load_acquire(&e->number) != number + 1)
        return false;
    for (size_t i = 0; i < LINE_WORDS; i++)
        words[i] = load_acquire_part(&e->words[i]);
    memcpy(out, words, sizeof(*out));
    out->who[sizeof(out->who) - 1] = '\0';
    out->text[sizeof(out->text) - 1] = '\0';
    return load_acquire(&e->number) == number + 1;
}
