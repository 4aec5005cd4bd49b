/* The error log: one event, one line on standard error, `time level component: text`. Info tells
 * changes of state only. Never a body, never a key: secrets are masked by value whoever quotes them
 * (common/mask.h), and control bytes are escaped so that a peer cannot forge a line. */
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/** Lines above `level` are dropped (default LOG_LEVEL_INFO), unless all processes were told another
 * one while they run: log_out_set_level(). */
void log_set_level(enum log_level level);

/** The name of this process in each line ("master", "worker 2"); copied, 31 bytes at most. */
void log_set_process(const char *name);

/** Say how many lines were lost since the last time, if any were and there is room now. Each line
 * does so itself before it is written: this is for somebody who looks in regularly. */
void log_tell_lost(void);

/** Write one line with a single write(2); it never waits for a reader (log_out.h). errno may
 * change. */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
