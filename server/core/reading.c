/* See reading.h. */
#include "core/reading.h"

#include <assert.h>

#include "common/shm_words.h"

/* FNV-1a. Two files of one number wait for each other, and that is all. */
static uint64_t number_of(const char *native)
{
    uint64_t number = UINT64_C(14695981039346656037);

    for (const char *p = native; *p != '\0'; p++)
        number = (number ^ (unsigned char)*p) * UINT64_C(1099511628211);
    return number != 0 ? number : 1;
}

void reading_begin(struct reading *reading, struct reading_row *row, const char *native)
{
    if (reading->row != NULL)
        return;
    reading->row = row;
    for (reading->at = 0; reading->at < READING_A_ROW; reading->at++)
        if (load_relaxed(&row->files[reading->at]) == 0) {
            store_release(&row->files[reading->at], number_of(native));
            return;
        }
    add_relaxed(&row->unnamed, 1);
}

void reading_end(struct reading *reading)
{
    if (reading->row == NULL)
        return;
    if (reading->at < READING_A_ROW)
        store_release(&reading->row->files[reading->at], 0);
    else
        add_relaxed(&reading->row->unnamed, UINT64_MAX); /* one less */
    *reading = (struct reading){0};
}

void reading_clear(struct reading_row *row)
{
    for (size_t i = 0; i < READING_A_ROW; i++)
        store_release(&row->files[i], 0);
    store_relaxed(&row->unnamed, 0);
}

bool reading_is_read(const struct reading_row *rows, size_t num, const char *native)
{
    uint64_t number = number_of(native);

    for (size_t r = 0; r < num; r++) {
        if (load_relaxed(&rows[r].unnamed) != 0)
            return true;
        for (size_t i = 0; i < READING_A_ROW; i++)
            if (load_acquire(&rows[r].files[i]) == number)
                return true;
    }
    return false;
}
