/* The last lines of the error log, of all processes, for who looks at the gateway through a page: a
 * ring in shared memory. What is in it went through log_line(): it is masked, and has no control
 * bytes. A line that its writer left half written, or that two writers wrote at once, is left out
 * or odd; nothing else depends on it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/log.h"

#define LOG_RECENT_LINES 64
#define LOG_RECENT_TEXT  208 /* bytes that are kept of a line, with the NUL */
#define LOG_RECENT_WHO   32  /* bytes of a process' name, with the NUL */

struct log_recent {
    int64_t at_unix_ms;
    enum log_level level;
    char who[LOG_RECENT_WHO]; /* the process: "master", "worker 2" */
    char text[LOG_RECENT_TEXT];
};

/** Make it, before the first fork; until then each process has its own. @return 0, ERR_NOMEM */
MUST_USE int log_recent_init(void);

/** Keep a line; for log_line(). Never waits.
 *  @param text  without its head and its line break; need not end with a NUL */
void log_recent_put(enum log_level level, const char *who, const char *text, size_t len);

/** How many lines were kept so far, in all: the last one has the number before. */
uint64_t log_recent_count(void);

/** A line by its number. @return false: it is not there any more, or it is being written */
bool log_recent_get(uint64_t number, struct log_recent *out);
