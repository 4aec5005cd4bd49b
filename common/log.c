/* One line, one write(2), so that lines of several processes never mix. */
#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

void log_line(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char line[2048];
    struct timespec ts;
    struct tm tm;
    va_list args;
    int head, len;

    if (level > max_level)
        return;
    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    head = (int)strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    head += snprintf(line + head, sizeof(line) - (size_t)head,
                     ".%03ldZ %s %s[%d]: ", ts.tv_nsec / 1000000, names[level], process_name,
                     (int)getpid());
    va_start(args, fmt);
    len = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, fmt, args);
    va_end(args);
    if (len < 0)
        return;
    if (len > (int)sizeof(line) - head - 2)
        len = (int)sizeof(line) - head - 2;
    mask_control_bytes(line + head, (size_t)len);
    line[head + len] = '\n';
    if (write(STDERR_FILENO, line, (size_t)(head + len + 1)) < 0)
        return; /* nowhere left to complain */
}
