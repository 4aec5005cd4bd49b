/* See entra_expiry.h. */
#include "entra_expiry.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/iso8601.h"
#include "entra/entra_answer.h"

#define MAX_TEXT 48 /* bytes of a moment; the longest form has 29 */

/* --- numbers --- */

/* "3599", "3599.5", "-1": what no answer needs besides, exponents and hex, is none. */
static bool is_number(const char *text)
{
    size_t sign = *text == '-';

    return text[sign] >= '0' && text[sign] <= '9' &&
           strspn(text + sign, "0123456789.") == strlen(text + sign) && strlen(text) < MAX_TEXT;
}

static bool seconds_of_text(const char *text, double *out)
{
    char *end;

    if (!is_number(text))
        return false;
    *out = strtod(text, &end);
    return *end == '\0';
}

/* A member that is a number or a string of one. */
static bool read_seconds(const struct json *v, double *out)
{
    const char *text = json_str(v, NULL);

    if (json_is(v, JSON_NUMBER))
        return json_double(v, out) && isfinite(*out);
    return text != NULL && seconds_of_text(text, out);
}

/* --- moments --- */

/* A time of a 12-hour clock. @return false: it is none */
static bool to_24_hours(unsigned *hour, const char **rest)
{
    bool afternoon = strncmp(*rest, "PM", 2) == 0;

    if (!afternoon && strncmp(*rest, "AM", 2) != 0)
        return true;
    if (*hour < 1 || *hour > 12)
        return false;
    *hour = *hour % 12 + (afternoon ? 12 : 0);
    *rest += 2;
    *rest += strspn(*rest, " ");
    return true;
}

/* "12/31/2026 11:59:59 PM +00:00": written anew as ISO 8601, whose reader knows the calendar. */
static bool american(const char *text, int64_t *unix_ms)
{
    unsigned month, day, year, hour, minute, second;
    char iso[96];
    const char *rest;
    int end = 0;

    if (sscanf(text, "%2u/%2u/%4u %2u:%2u:%2u%n", &month, &day, &year, &hour, &minute, &second,
               &end) != 6)
        return false;
    rest = text + end;
    rest += strspn(rest, " ");
    if (!to_24_hours(&hour, &rest))
        return false;
    snprintf(iso, sizeof(iso), "%04u-%02u-%02uT%02u:%02u:%02u%s", year, month, day, hour, minute,
             second, *rest != '\0' ? rest : "Z");
    return iso8601_read(iso, unix_ms);
}

/* A day alone is no moment. */
static bool international(const char *text, int64_t *unix_ms)
{
    char iso[MAX_TEXT + 2];

    if (strchr(text, ':') == NULL)
        return false;
    if (iso8601_read(text, unix_ms))
        return true;
    snprintf(iso, sizeof(iso), "%sZ", text);
    return iso8601_read(iso, unix_ms);
}

bool entra_expiry_moment(const char *text, int64_t *unix_s)
{
    int64_t unix_ms = 0;
    double seconds;

    if (seconds_of_text(text, &seconds) && seconds > 0 && seconds < 1e12) {
        *unix_s = (int64_t)seconds;
        return true;
    }
    if (strlen(text) >= MAX_TEXT || (!american(text, &unix_ms) && !international(text, &unix_ms)))
        return false;
    *unix_s = unix_ms / 1000;
    return true;
}

/* --- lives --- */

static bool is_life(double seconds)
{
    return seconds >= 1 && seconds <= ENTRA_MAX_LIFE_S;
}

/* @return seconds; 0: not said, or nonsense */
static uint32_t by_expires_in(const struct json *answer)
{
    double seconds;

    return read_seconds(json_get(answer, "expires_in"), &seconds) && is_life(seconds)
               ? (uint32_t)seconds
               : 0;
}

static uint32_t by_expires_on(const struct json *answer, int64_t now_unix_s)
{
    const struct json *v = json_get(answer, "expires_on");
    const char *text = json_is(v, JSON_NUMBER) ? json_number_text(v) : json_str(v, NULL);
    double seconds;
    int64_t moment;

    if (text == NULL || !entra_expiry_moment(text, &moment))
        return 0;
    seconds = (double)moment - (double)now_unix_s;
    return is_life(seconds) ? (uint32_t)seconds : 0;
}

struct entra_life entra_expiry_of(const struct json *answer, int64_t now_unix_s)
{
    uint32_t in = by_expires_in(answer), on = by_expires_on(answer, now_unix_s);
    struct entra_life life = {.lives_s = in == 0 || (on > 0 && on < in) ? on : in};
    double refresh;

    if (life.lives_s == 0) {
        life.lives_s = ENTRA_GUESSED_S;
        life.guessed = true;
    }
    if (read_seconds(json_get(answer, "refresh_in"), &refresh) && refresh >= 1 &&
        refresh < life.lives_s)
        life.refresh_s = (uint32_t)refresh;
    return life;
}
