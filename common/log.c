/* One line, one write(2), so that lines of several processes never mix; log_out.h says what happens
 * when nobody reads them. */
#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log_out.h"
#include "common/log_recent.h"
#include "common/mask.h"

static enum log_level max_level = LOG_LEVEL_INFO;
static char process_name[32] = "tranche";

void log_set_level(enum log_level level)
{
    max_level = level;
}

void log_set_process(const char *name)
{
    snprintf(process_name, sizeof(process_name), "%s", name);
}

/* A line break or an escape sequence that came from outside must not start a line of its own. */
static void mask_control_bytes(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
}

static size_t add_head(char *line, size_t size, enum log_level level)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    static const int priorities[] = {3, 4, 6, 7}; /* syslog(3) */
    struct timespec ts;
    struct tm tm;
    size_t len;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    len = 0;
    if (log_out_has_priority(LOG_STREAM_ERROR))
        len = (size_t)snprintf(line, size, "<%d>", priorities[level]);
    len += strftime(line + len, size - len, "%Y-%m-%dT%H:%M:%S", &tm);
    len += (size_t)snprintf(line + len, size - len, ".%03ldZ %s %s[%d]: ", ts.tv_nsec / 1000000,
                            names[level], process_name, (int)getpid());
    return len;
}

void log_tell_lost(void)
{
    uint64_t lost = log_out_take_untold(LOG_STREAM_ERROR);
    char line[256];
    size_t len;

    if (lost == 0)
        return;
    len = add_head(line, sizeof(line), LOG_LEVEL_WARN);
    len += (size_t)snprintf(line + len, sizeof(line) - len,
                            "%llu lines of this log were lost: its reader had stopped, or there "
                            "was no room\n",
                            (unsigned long long)lost);
    if (!log_out_put(LOG_STREAM_ERROR, line, len))
        log_out_give_back(LOG_STREAM_ERROR, lost);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    char line[2048];
    va_list args;
    size_t head;
    int len;

    if ((int)level > (log_out_level() < 0 ? (int)max_level : log_out_level()))
        return;
    head = add_head(line, sizeof(line), level);
    va_start(args, fmt);
    len = vsnprintf(line + head, sizeof(line) - head - 1, fmt, args);
    va_end(args);
    if (len < 0)
        return;
    if (len > (int)(sizeof(line) - head) - 2)
        len = (int)(sizeof(line) - head) - 2;
    len = (int)mask_hide(mask_installed(), line + head, (size_t)len, (size_t)len);
    mask_control_bytes(line + head, (size_t)len);
    if (level <= LOG_LEVEL_INFO)
        log_recent_put(level, process_name, line + head, (size_t)len);
    line[head + (size_t)len] = '\n';
    log_tell_lost();
    if (!log_out_put(LOG_STREAM_ERROR, line, head + (size_t)len + 1))
        log_out_lose(LOG_STREAM_ERROR);
}
