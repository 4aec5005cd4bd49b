/* How far something is, on standard error: a bar that is drawn again and again on a terminal, now and
 * then a plain line elsewhere. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct bar {
    const char *what; /* borrowed: "uploading" */
    uint64_t total;   /* bytes; 0: unknown */
    uint64_t done;
    bool terminal;
    uint64_t began_ms, told_ms; /* monotonic; told_ms 0: nothing was drawn yet */
};

/** @param what   borrowed until bar_end()
 *  @param total  bytes; 0: not known */
void bar_begin(struct bar *bar, const char *what, uint64_t total);
/** So many bytes more. Draws, but at most ten times a second, and a line each half minute where
 * there is no terminal. */
void bar_add(struct bar *bar, uint64_t bytes);
/** Take the bar away. */
void bar_end(struct bar *bar);

/** Whether standard error is a terminal that can be drawn on. */
bool bar_terminal(void);
