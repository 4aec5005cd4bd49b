/* Files of which a client of this node is getting the content now: by a number made of their ids, in
 * a row of each worker. Who is about to delete a file because its time is over looks here first. A
 * worker writes its own row, the master clears that of a dead one. What finds no place is counted, and
 * then every file may be among them. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define READING_A_ROW 64 /* files that one worker can name */

struct reading_row {
    _Atomic uint64_t files[READING_A_ROW]; /* 0: free */
    _Atomic uint64_t unnamed;              /* those without a place */
};

/* One that is being read; zeroes: none. */
struct reading {
    struct reading_row *row; /* borrowed */
    size_t at;               /* READING_A_ROW: among the unnamed */
};

/** Its worker: it begins. Nothing when it has begun already. @param native  its provider's id */
void reading_begin(struct reading *reading, struct reading_row *row, const char *native);

/** Its worker: it is over. Nothing when it has not begun. */
void reading_end(struct reading *reading);

/** Master: the row's worker is dead (reaped). */
void reading_clear(struct reading_row *row);

/** Whether the file is, or may be, read by a worker of these rows. */
bool reading_is_read(const struct reading_row *rows, size_t num, const char *native);
