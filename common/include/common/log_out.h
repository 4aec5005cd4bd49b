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
#include <sys/types.h>

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

/** Write to a file from here on, in place of what the stream was given; log_out_reopen() opens it
 * again. Before the first fork.
 *  @param path  copied; NULL: stay with what there is
 *  @return 0, ERR_NOMEM, ERR_IO (errno): nothing changed */
MUST_USE int log_out_use_file(enum log_stream stream, const char *path);

/** The files that were opened belong to that user from here on, who shall open them again: regular
 * ones of root's or that user's with one name. As root no symbolic link is followed to them. */
void log_out_give_files(uid_t user, gid_t group);

/** All processes shall open their files again, each at its next line, or when it calls
 * log_out_look(). One that cannot goes on with the file that it has. */
void log_out_reopen(void);

/** Open files again, if somebody wanted that: for processes that may not write for long. @return 0,
 * ERR_IO (errno): one could not be opened; told once for each time that was wanted */
int log_out_look(void);

enum log_priority { LOG_PRIORITY_AUTO, LOG_PRIORITY_ALWAYS, LOG_PRIORITY_NEVER };

/** Whether lines begin with a priority as sd-daemon(3) has it, `<4>`. AUTO: where the stream is the
 * journal's socket, as JOURNAL_STREAM says. Before the first fork. */
void log_out_set_priority(enum log_priority priority);

/** @return whether lines of the stream begin with one */
bool log_out_has_priority(enum log_stream stream);

/** The level that all processes were told while they run; -1: none. Of all processes. */
void log_out_set_level(int level);
int log_out_level(void);

/** Write a line at the end of this turn, together with others, or at once when there is no room for
 * it any more. What cannot be written then is counted as lost.
 *  @param len   as of log_out_put(), else it is counted as lost
 *  @param told  lost lines that this one tells of, from log_out_take_untold() */
void log_out_add(enum log_stream stream, const char *line, size_t len, uint64_t told);

/** Write what was added: at the end of each turn of the loop, and before the process ends. One write
 * to a file; to all else, where a write of more than PIPE_BUF bytes may mix with another process's,
 * at most one for each 4 KiB. */
void log_out_flush(void);

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
