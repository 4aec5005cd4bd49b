/* See unsent.h. */
#include "core/unsent.h"

#include <assert.h>
#include <string.h>

#include "common/shm_words.h"

enum { FREE, NOTED, DEAD };

#define WORDS (UNSENT_ID / sizeof(uint64_t))

struct unsent_entry *unsent_note(struct unsent_row *row, enum unsent_kind kind, const char *id)
{
    uint64_t words[WORDS];

    assert(strlen(id) == UNSENT_ID);
    memcpy(words, id, UNSENT_ID);
    for (size_t i = 0; i < UNSENT_A_ROW; i++) {
        struct unsent_entry *entry = &row->entries[i];

        if (load_acquire(&entry->state) != FREE)
            continue;
        store_relaxed(&entry->kind, kind);
        for (size_t w = 0; w < WORDS; w++)
            store_relaxed(&entry->id[w], words[w]);
        store_release(&entry->state, NOTED); /* whoever dies before this has noted nothing */
        return entry;
    }
    return NULL;
}

void unsent_clear(struct unsent_entry **entry)
{
    if (*entry != NULL)
        store_release(&(*entry)->state, FREE);
    *entry = NULL;
}

uint32_t unsent_bury(struct unsent_row *row)
{
    uint32_t num = 0;

    for (size_t i = 0; i < UNSENT_A_ROW; i++) {
        if (load_acquire(&row->entries[i].state) != NOTED)
            continue;
        store_release(&row->entries[i].state, DEAD);
        num++;
    }
    return num;
}

struct unsent_entry *unsent_first_dead(struct unsent_row *row, enum unsent_kind *kind,
                                       char id[UNSENT_ID + 1])
{
    for (size_t i = 0; i < UNSENT_A_ROW; i++) {
        struct unsent_entry *entry = &row->entries[i];
        uint64_t words[WORDS];

        if (load_acquire(&entry->state) != DEAD)
            continue;
        *kind = (enum unsent_kind)load_relaxed(&entry->kind);
        for (size_t w = 0; w < WORDS; w++)
            words[w] = load_relaxed(&entry->id[w]);
        memcpy(id, words, UNSENT_ID);
        id[UNSENT_ID] = '\0';
        return entry;
    }
    return NULL;
}

void unsent_forget(struct unsent_entry *entry)
{
    uint64_t dead = DEAD; /* two keepers may do the same during a reload */

    (void)cas_acq_rel(&entry->state, &dead, FREE);
}
