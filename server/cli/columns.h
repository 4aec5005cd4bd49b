/* Rows for people: columns as wide as their widest cell, in colours where a terminal shows them. What
 * a cell is made of comes from others, so nothing in it can move a cursor. Pure but for
 * columns_may_colour(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/strbuf.h"

enum colour { COLOUR_NONE, COLOUR_GOOD, COLOUR_BUSY, COLOUR_BAD, COLOUR_DIM };

struct columns {
    const char *const *heads; /* borrowed */
    size_t num;               /* columns */
    char **cells;             /* owned, each; [rows * num] */
    unsigned char *colours;   /* owned; of cells */
    size_t used, room;        /* cells */
    bool failed;              /* out of memory: the rows are not whole */
};

/** @param heads  borrowed; what stands above each column */
void columns_init(struct columns *columns, const char *const *heads, size_t num);
void columns_deinit(struct columns *columns);

/** The next cell, from left to right, row by row.
 *  @param text  copied, as one line: bytes below a space become spaces, what is no UTF-8 "?"; NULL or
 *               empty: "-" */
void columns_add(struct columns *columns, const char *text, enum colour colour);
void columns_addf(struct columns *columns, enum colour colour, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/** Print heads and rows; the last row has to be full.
 *  @return 0, ERR_NOMEM */
MUST_USE int columns_print(const struct columns *columns, bool colours, struct strbuf *out);

/** Append a text as a cell would show it, in a colour or none. */
void columns_add_text(struct strbuf *out, const char *text, enum colour colour, bool colours);

/** Whether standard output takes colours: a terminal, TERM not "dumb", and NO_COLOR (no-color.org)
 *  not set. */
bool columns_may_colour(void);
