/* See shown.h. */
#include "shown.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_LINES (INT64_C(1) << 53) /* a double has them all */

const char *shown_text(const struct json *row, const char *name)
{
    const char *text = json_get_str(row, name);

    return text == NULL ? "" : text;
}

int64_t shown_number(const struct json *row, const char *name)
{
    int64_t value = 0;

    return json_int64(json_get(row, name), &value) ? value : 0;
}

bool shown_has_ended(const char *status)
{
    return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 ||
           strcmp(status, "expired") == 0 || strcmp(status, "cancelled") == 0;
}

enum colour shown_colour(const char *status)
{
    if (strcmp(status, "completed") == 0)
        return COLOUR_GOOD;
    if (strcmp(status, "failed") == 0 || strcmp(status, "expired") == 0)
        return COLOUR_BAD;
    return strcmp(status, "cancelled") == 0 ? COLOUR_DIM : COLOUR_BUSY;
}

void shown_span(int64_t s, char *out, size_t size)
{
    if (s >= 86400)
        snprintf(out, size, "%" PRId64 "d %" PRId64 "h", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        snprintf(out, size, "%" PRId64 "h %" PRId64 "min", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(out, size, "%" PRId64 "min", s / 60);
    else
        snprintf(out, size, "%" PRId64 "s", s > 0 ? s : 0);
}

void shown_time(int64_t unix_s, char out[ISO8601_SIZE])
{
    snprintf(out, ISO8601_SIZE, "-");
    if (unix_s > 0 && unix_s < INT64_C(253402300800)) /* the year 10000 */
        iso8601_print(unix_s * 1000, out);
}

const char *shown_bytes(uint64_t bytes, char out[SHOWN_BYTES])
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 999.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        value /= 1000;
        unit++;
    }
    assert(unit > 0 || bytes < 1000);
    snprintf(out, SHOWN_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

bool shown_counts(const struct json *batch, struct shown_counts *out)
{
    const struct json *counts = json_get(batch, "request_counts");
    int64_t total = shown_number(counts, "total"), failed = shown_number(counts, "failed");
    int64_t completed = shown_number(counts, "completed");

    *out = (struct shown_counts){.total = 0};
    if (total <= 0 || total > MAX_LINES || failed < 0 || failed > total || completed < 0 ||
        completed > total - failed)
        return false;
    *out = (struct shown_counts){.done = completed + failed, .failed = failed, .total = total};
    return true;
}

void shown_progress(const struct json *batch, char *out, size_t size)
{
    struct shown_counts counts;
    int len;

    if (!shown_counts(batch, &counts)) {
        snprintf(out, size, "-");
        return;
    }
    len = snprintf(out, size, "%" PRId64 "/%" PRId64 " %d%%", counts.done, counts.total,
                   (int)((double)counts.done * 100 / (double)counts.total));
    if (counts.failed > 0 && len > 0 && (size_t)len < size)
        snprintf(out + len, size - (size_t)len, ", %" PRId64 " failed", counts.failed);
}
