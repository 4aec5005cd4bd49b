/* See date.h. */
#include "upstream/date.h"

#include <ctype.h>
#include <string.h>

#include <curl/curl.h>

#define MAX_DATE 64 /* bytes; the longest form has 33 */

/* Two digits, which they are. */
static int number_at(const char *text)
{
    return (text[0] - '0') * 10 + (text[1] - '0');
}

/* 0 to 11; -1: it is none. */
static int month_at(const char *text)
{
    static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

    for (int i = 0; i < 12; i++)
        if (memcmp(text, names + 3 * i, 3) == 0)
            return i;
    return -1;
}

/* Days from 1970 to a month's first, in the calendar's own way (the year begins in March). */
static int64_t days_before(int year, int month)
{
    int y = month < 2 ? year - 1 : year, m = (month + 10) % 12;
    int era = y / 400, of_era = y % 400;

    return (int64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * m + 2) / 5 -
           719468;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month] + (month == 1 && leap);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", which nearly everybody sends (RFC 9110 section 5.6.7). The day's
 * name is not compared.
 * @return false: it is not of this form, or no day and time that are */
static bool read_fixed(const char *text, int64_t *unix_s)
{
    static const char form[] = "aaa, dd aaa dddd dd:dd:dd GMT";
    int day, month, year, hour, minute, second;

    if (strlen(text) != sizeof(form) - 1 || strcmp(text + 25, " GMT") != 0)
        return false;
    for (size_t i = 0; i < 25; i++)
        if (form[i] == 'a'   ? !isalpha((unsigned char)text[i])
            : form[i] == 'd' ? !isdigit((unsigned char)text[i])
                             : form[i] != text[i])
            return false;
    day = number_at(text + 5);
    month = month_at(text + 8);
    year = number_at(text + 12) * 100 + number_at(text + 14);
    hour = number_at(text + 17);
    minute = number_at(text + 20);
    second = number_at(text + 23);
    if (month < 0 || year < 1970 || day < 1 || day > days_in(year, month) || hour > 23 ||
        minute > 59 || second > 59)
        return false;
    *unix_s = (days_before(year, month) + day - 1) * 86400 + hour * 3600 + minute * 60 + second;
    return true;
}

bool date_read(const char *text, int64_t *unix_s)
{
    time_t when;

    if (read_fixed(text, unix_s))
        return true;
    /* curl_getdate() takes much more than that for a date, a bare number too. */
    if (strlen(text) > MAX_DATE || strchr(text, ':') == NULL || !isalpha((unsigned char)*text))
        return false;
    when = curl_getdate(text, NULL);
    if (when == -1)
        return false;
    *unix_s = (int64_t)when;
    return true;
}

bool date_of(const struct upstream_head *head, int64_t *unix_s)
{
    const char *age = upstream_header_find(head, "age");
    const char *date = upstream_header_find(head, "date");

    return date != NULL && (age == NULL || strcmp(age, "0") == 0) && date_read(date, unix_s);
}
