/* The two streams that a gateway writes lines to: the access log on standard output, the error log
 * on standard error. No process of it ever waits for who reads them: a reader that stops (a paused
 * `docker logs`, `2>&1 | logger` on a full disk, a terminal after Ctrl-S) costs lines, which are
 * counted, and nothing else. A line is written whole or not at all.
 *
 * O_NONBLOCK belongs to the open file description, which others may share (the shell's terminal,
 * the other end of `a & b`), so it is never set on what we were given: a pipe, a FIFO or a terminal
 * is opened anew, for us alone, and takes the place of the descriptor. So what libraries,
 * assertions and sanitizers write to standard error does not wait either. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* With its line break, and one in front of it after a torn line. A pipe takes PIPE_BUF bytes whole
 * or not at all (pipe(7)). */
#define LOG_OUT_LINE_MAX (PIPE_BUF - 1)

enum log_stream { LOG_STREAM_ACCESS, LOG_STREAM_ERROR, LOG_STREAMS };

/** Take both streams over; before the first fork, so that all processes count in one place. A
 * standard descriptor that is closed becomes /dev/null (or the next socket would get the log), and
 * SIGXFSZ is ignored. Without it, lines are written as to any file.
 *  @return 0, ERR_NOMEM, ERR_IO (errno) */
MUST_USE int log_out_init(void);

/** Write one line with its line break; never waits.
 *  @param len  up to LOG_OUT_LINE_MAX, else the line is refused
 *  @return false: it was not written, and is not counted either */
bool log_out_put(enum log_stream stream, const char *line, size_t len);

/** Count a line that was lost. */
void log_out_lose(enum log_stream stream);

/** Lines lost by all processes that nobody told of yet; from now on they count as told. */
uint64_t log_out_take_untold(enum log_stream stream);

/** They were not told after all. */
void log_out_give_back(enum log_stream stream, uint64_t lines);

/** Lines lost by all processes since log_out_init(). */
uint64_t log_out_lost(enum log_stream stream);

/** Write a text of many lines to the error stream, of a program that has nothing else to do any
 * more: waits for its reader, up to `wait_ms` in all, then gives up. */
void log_out_text(const char *text, size_t len, unsigned wait_ms);
