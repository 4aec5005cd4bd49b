/* See iso8601.h. */
#include "common/iso8601.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define MAX_YEAR 9999

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* `digits` of them, from min to max; *at goes behind them. */
static bool read_number(const char **at, int digits, int min, int max, int *out)
{
    int value = 0;

    for (int i = 0; i < digits; i++, (*at)++) {
        if (!is_digit(**at))
            return false;
        value = value * 10 + (**at - '0');
    }
    *out = value;
    return value >= min && value <= max;
}

static bool skip(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month == 2 && leap ? 29 : days[month - 1];
}

static bool read_date(const char **at, struct tm *tm)
{
    int year, month;

    if (!read_number(at, 4, 1970, MAX_YEAR, &year) || !skip(at, '-') ||
        !read_number(at, 2, 1, 12, &month) || !skip(at, '-') ||
        !read_number(at, 2, 1, days_of(year, month), &tm->tm_mday))
        return false;
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    return true;
}

static bool read_fraction(const char **at, int *ms)
{
    int unit = 100;

    *ms = 0;
    if (!skip(at, '.') && !skip(at, ','))
        return true;
    if (!is_digit(**at))
        return false;
    for (; is_digit(**at); (*at)++, unit /= 10)
        *ms += (**at - '0') * unit;
    return true;
}

static bool read_time(const char **at, struct tm *tm, int *ms)
{
    *ms = 0;
    if (!read_number(at, 2, 0, 23, &tm->tm_hour) || !skip(at, ':') ||
        !read_number(at, 2, 0, 59, &tm->tm_min))
        return false;
    return !skip(at, ':') || (read_number(at, 2, 0, 59, &tm->tm_sec) && read_fraction(at, ms));
}

/* How far the zone is ahead of UTC. */
static bool read_zone(const char **at, int *seconds)
{
    int sign, hours, minutes = 0;

    (void)skip(at, ' ');
    *seconds = 0;
    if (skip(at, 'Z') || skip(at, 'z'))
        return true;
    sign = skip(at, '-') ? -1 : skip(at, '+') ? 1 : 0;
    if (sign == 0 || !read_number(at, 2, 0, 23, &hours))
        return false;
    (void)skip(at, ':');
    if (is_digit(**at) && !read_number(at, 2, 0, 59, &minutes))
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return (*at)[-1] != ':';
}

bool iso8601_read(const char *text, int64_t *unix_ms)
{
    struct tm tm = {0};
    int ms = 0, ahead = 0;
    int64_t unix_s;

    if (!read_date(&text, &tm))
        return false;
    if (*text != '\0') {
        if (!skip(&text, 'T') && !skip(&text, 't') && !skip(&text, ' '))
            return false;
        if (!read_time(&text, &tm, &ms) || !read_zone(&text, &ahead) || *text != '\0')
            return false;
    }
    unix_s = (int64_t)timegm(&tm) - ahead;
    if (unix_s < 0)
        return false;
    *unix_ms = unix_s * 1000 + ms;
    return true;
}

void iso8601_print(int64_t unix_ms, char out[ISO8601_SIZE])
{
    time_t unix_s = (time_t)(unix_ms / 1000);
    struct tm tm;

    if (gmtime_r(&unix_s, &tm) == NULL ||
        strftime(out, ISO8601_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        out[0] = '\0';
}
