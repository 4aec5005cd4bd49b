/* See date.h. */
#include "upstream/date.h"

#include <ctype.h>
#include <string.h>

#include <curl/curl.h>

#define MAX_DATE 64 /* bytes; the longest form has 33 */

bool date_read(const char *text, int64_t *unix_s)
{
    time_t when;

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
