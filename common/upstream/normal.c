/* The one normaliser. Sources: providers 1.1, 1.3, 2.4, 2.5 and providers statements 88 to 97. It
 * is lenient in what it reads and leaves alone what it does not understand.
 */
#include "upstream/normal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "json/json_mask.h"
#include "upstream/provider.h"

#define METADATA_OWN "tranche" /* the pair that we add to a batch upstream */
#define MAX_REORDER  256       /* members of an object that are looked at */
#define MAX_STATUS   64

/* --- values --- */

/* Exactly `digits` decimal digits at *text. */
static bool take_number(const char **text, int digits, int *out)
{
    int i;

    for (*out = 0, i = 0; i < digits; i++, (*text)++) {
        if (!isdigit((unsigned char)**text))
            return false;
        *out = *out * 10 + (**text - '0');
    }
    return true;
}

static bool take_byte(const char **text, const char *set)
{
    if (**text == '\0' || strchr(set, **text) == NULL)
        return false;
    (*text)++;
    return true;
}

/* "Z", "+hh:mm", "-hhmm" or nothing (then UTC). */
static bool take_offset(const char *text, int *seconds)
{
    int hours, minutes, sign;

    *seconds = 0;
    if (*text == '\0' || strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
        return true;
    sign = *text == '-' ? -1 : 1;
    if (!take_byte(&text, "+-") || !take_number(&text, 2, &hours))
        return false;
    take_byte(&text, ":");
    if (!take_number(&text, 2, &minutes) || *text != '\0' || hours > 23 || minutes > 59)
        return false;
    *seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return days[month - 1] + (month == 2 && leap);
}

/* ISO 8601 as Azure writes it: seven digits of a fraction are common. */
static bool parse_iso(const char *text, int64_t *out)
{
    struct tm tm = {0};
    int year, month, offset;

    if (!take_number(&text, 4, &year) || !take_byte(&text, "-") || !take_number(&text, 2, &month) ||
        !take_byte(&text, "-") || !take_number(&text, 2, &tm.tm_mday) || !take_byte(&text, "Tt ") ||
        !take_number(&text, 2, &tm.tm_hour) || !take_byte(&text, ":") ||
        !take_number(&text, 2, &tm.tm_min) || !take_byte(&text, ":") ||
        !take_number(&text, 2, &tm.tm_sec))
        return false;
    if (take_byte(&text, ".,"))
        text += strspn(text, "0123456789");
    if (!take_offset(text, &offset) || year < 1970 || month < 1 || month > 12 || tm.tm_mday < 1 ||
        tm.tm_mday > days_in(year, month) || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    *out = (int64_t)timegm(&tm) - offset;
    return true;
}

static bool parse_digits(const char *text, int64_t *out)
{
    size_t len = strspn(text, "0123456789"), i;

    if (len == 0 || len > 18 || text[len] != '\0')
        return false;
    for (*out = 0, i = 0; i < len; i++)
        *out = *out * 10 + (text[i] - '0');
    return true;
}

/* "17" and 17.0 and 1.7e1 mean 17. */
static bool integer_of(const struct json *v, int64_t *out)
{
    double number;

    if (json_int64(v, out))
        return true;
    if (json_is(v, JSON_STRING))
        return parse_digits(json_str(v, NULL), out);
    if (!json_double(v, &number) || !(number > -9e15 && number < 9e15))
        return false;
    *out = (int64_t)number;
    return true;
}

static bool is_empty_string(const struct json *v)
{
    size_t len = 1;

    return json_str(v, &len) != NULL && len == 0;
}

static bool is_unset(const struct json *v)
{
    return v == NULL || json_is(v, JSON_NULL);
}

/* --- members --- */

static void set_null(struct json_doc *doc, struct json *obj, const char *key)
{
    json_set(doc, obj, key, json_new_null(doc));
}

static void empty_to_null(struct json_doc *doc, struct json *obj, const char *key)
{
    if (is_empty_string(json_get(obj, key)))
        set_null(doc, obj, key);
}

static void fill_str(struct json_doc *doc, struct json *obj, const char *key, const char *text)
{
    const struct json *v = json_get(obj, key);

    if (is_unset(v) || is_empty_string(v))
        json_set_str(doc, obj, key, text);
}

static void fill_null(struct json_doc *doc, struct json *obj, const char *key)
{
    if (json_get(obj, key) == NULL)
        set_null(doc, obj, key);
}

bool normal_time(const struct json *value, int64_t *unix_s)
{
    return integer_of(value, unix_s) ||
           (json_is(value, JSON_STRING) && parse_iso(json_str(value, NULL), unix_s));
}

/* Integers stay as they are spelt; what cannot be read as a time stays too. */
static void fix_time(struct json_doc *doc, struct json *obj, const char *key)
{
    const struct json *v = json_get(obj, key);
    int64_t when;

    if (is_unset(v) || json_int64(v, &when))
        return;
    if (is_empty_string(v))
        set_null(doc, obj, key);
    else if (normal_time(v, &when))
        json_set_int(doc, obj, key, when);
}

static void fix_count(struct json_doc *doc, struct json *obj, const char *key, int64_t otherwise)
{
    const struct json *v = json_get(obj, key);
    int64_t n;

    if (json_int64(v, &n))
        return;
    if (integer_of(v, &n))
        json_set_int(doc, obj, key, n);
    else if (is_unset(v) || is_empty_string(v))
        json_set_int(doc, obj, key, otherwise);
}

/* "Validating" and "InProgress" as "validating" and "in_progress". */
static void fix_status(struct json_doc *doc, struct json *obj)
{
    size_t len = 0, i, n = 0;
    const char *text = json_str(json_get(obj, "status"), &len);
    char out[2 * MAX_STATUS + 1];

    if (text == NULL || len > MAX_STATUS)
        return;
    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x80 && isupper(c) && i > 0 && islower((unsigned char)text[i - 1]))
            out[n++] = '_';
        out[n++] = c < 0x80 ? (char)tolower(c) : (char)c;
    }
    if (n != len || memcmp(out, text, n) != 0)
        json_set(doc, obj, "status", json_new_string(doc, out, n));
}

static bool status_is(const struct json *obj, const char *text)
{
    const char *status = json_get_str(obj, "status");

    return status != NULL && strcmp(status, text) == 0;
}

/* What a provider says may quote the key that it was sent (common/mask.h). Texts for people may
 * quote other keys, too. */
static void hide_secrets(struct json_doc *doc, struct json *obj)
{
    static const char *const texts[] = {"errors", "error", "status_details", "incomplete_details"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        json_mask(doc, json_get(obj, texts[i]), mask_installed(), true);
    json_mask(doc, obj, mask_installed(), false);
}

/* --- files --- */

void normal_file(struct json_doc *doc, struct json *file, int64_t bytes_hint)
{
    if (!json_is(file, JSON_OBJECT))
        return;
    hide_secrets(doc, file);
    fill_str(doc, file, "object", "file");
    fix_status(doc, file);
    if (status_is(file, "pending") || status_is(file, "running"))
        json_set_str(doc, file, "status", "uploaded");
    /* A provider without a status has no such stage; anything else would hold wait helpers up for
     * half an hour. */
    fill_str(doc, file, "status", "processed");
    fix_count(doc, file, "bytes", bytes_hint > 0 ? bytes_hint : 0);
    fix_time(doc, file, "created_at");
    fix_time(doc, file, "expires_at");
    fill_null(doc, file, "status_details");
    empty_to_null(doc, file, "status_details");
}

struct json *normal_deletion(struct json_doc *doc, struct json *answer, const char *id)
{
    struct json *out = json_new_object(doc);
    bool deleted = true;
    size_t i, len;

    if (out == NULL)
        return NULL;
    if (json_is(answer, JSON_OBJECT))
        hide_secrets(doc, answer);
    json_bool(json_get(answer, "deleted"), &deleted);
    json_set_str(doc, out, "id", id);
    json_set_str(doc, out, "object", "file");
    json_set(doc, out, "deleted", json_new_bool(doc, deleted));
    if (!json_is(answer, JSON_OBJECT) || json_size(answer) > MAX_REORDER)
        return out;
    for (i = 0; i < json_size(answer); i++) {
        const char *key = json_key_at(answer, i, &len);
        if (strlen(key) == len && json_get(out, key) == NULL)
            json_set(doc, out, key, json_at(answer, i));
    }
    return out;
}

/* --- batches --- */

/* Providers 1.3, in the order of real answers. */
static const char *const batch_keys[] = {
    "id",
    "object",
    "endpoint",
    "model",
    "errors",
    "input_file_id",
    "completion_window",
    "status",
    "output_file_id",
    "error_file_id",
    "created_at",
    "in_progress_at",
    "expires_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
    "request_counts",
    "usage",
    "metadata",
};
#define NUM_BATCH_KEYS (sizeof(batch_keys) / sizeof(batch_keys[0]))

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static void fix_error(struct json_doc *doc, struct json *error)
{
    const struct json *line = json_get(error, "line");
    int64_t n;

    if (!json_is(error, JSON_OBJECT))
        return;
    fill_null(doc, error, "param");
    fill_null(doc, error, "line");
    if (json_int64(line, &n))
        return;
    if (integer_of(line, &n))
        json_set_int(doc, error, "line", n);
    else
        empty_to_null(doc, error, "line");
}

static void fix_errors(struct json_doc *doc, struct json *batch)
{
    struct json *errors = json_get(batch, "errors"), *data = errors;
    size_t i;

    if (is_empty_string(errors))
        set_null(doc, batch, "errors");
    if (json_is(errors, JSON_ARRAY)) { /* a bare array becomes a list */
        errors = json_new_object(doc);
        if (errors == NULL)
            return;
        json_set_str(doc, errors, "object", "list");
        json_set(doc, errors, "data", data);
        json_set(doc, batch, "errors", errors);
    }
    if (!json_is(errors, JSON_OBJECT))
        return;
    fill_str(doc, errors, "object", "list");
    if (is_unset(json_get(errors, "data")))
        json_set(doc, errors, "data", json_new_array(doc));
    data = json_get(errors, "data");
    for (i = 0; json_is(data, JSON_ARRAY) && i < json_size(data); i++)
        fix_error(doc, json_at(data, i));
}

/* Whether requests of it were sent to a model, as far as is told: then what was not counted is not
 * known to be 0. */
static bool has_run(const struct json *batch)
{
    static const char *const running[] = {"in_progress", "finalizing", "completed",
                                          "expired",     "cancelling", "cancelled"};
    size_t i;

    for (i = 0; i < sizeof(running) / sizeof(running[0]); i++)
        if (status_is(batch, running[i]))
            return true;
    return !is_unset(json_get(batch, "in_progress_at"));
}

static void fix_counts(struct json_doc *doc, struct json *batch)
{
    static const char *const names[] = {"total", "completed", "failed"};
    struct json *counts = json_get(batch, "request_counts");
    size_t i;

    if (is_unset(counts) && has_run(batch))
        return; /* json_order() makes it null */
    if (is_unset(counts)) {
        counts = json_new_object(doc);
        if (counts == NULL)
            return;
        json_set(doc, batch, "request_counts", counts);
    }
    for (i = 0; json_is(counts, JSON_OBJECT) && i < sizeof(names) / sizeof(names[0]); i++)
        fix_count(doc, counts, names[i], 0);
}

static void fix_metadata(struct json_doc *doc, struct json *batch)
{
    struct json *metadata = json_get(batch, "metadata");

    if (json_get(metadata, METADATA_OWN) == NULL)
        return;
    json_remove(metadata, METADATA_OWN);
    if (json_size(metadata) == 0)
        set_null(doc, batch, "metadata");
}

static void fix_endpoint(struct json_doc *doc, struct json *batch, const char *client_endpoint)
{
    if (client_endpoint == NULL)
        client_endpoint = provider_endpoint_v1(json_get_str(batch, "endpoint"));
    if (client_endpoint != NULL)
        json_set_str(doc, batch, "endpoint", client_endpoint);
}

void normal_batch(struct json_doc *doc, struct json *batch, const char *client_endpoint)
{
    size_t i, len;

    if (!json_is(batch, JSON_OBJECT))
        return;
    fix_metadata(doc, batch); /* our marker need not be looked through */
    hide_secrets(doc, batch);
    fill_str(doc, batch, "object", "batch");
    fix_endpoint(doc, batch, client_endpoint);
    fix_status(doc, batch);
    fix_errors(doc, batch);
    for (i = 0; i < NUM_BATCH_KEYS; i++)
        if (ends_with(batch_keys[i], "_at"))
            fix_time(doc, batch, batch_keys[i]);
    fix_counts(doc, batch); /* behind the times, one of which says whether it ran */
    for (i = 0; i < json_size(batch) && i < MAX_REORDER; i++) {
        const char *key = json_key_at(batch, i, &len);
        if (ends_with(key, "_file_id") || ends_with(key, "_blob"))
            empty_to_null(doc, batch, key);
    }
    json_order(doc, batch, batch_keys, NUM_BATCH_KEYS);
}

/* --- lists --- */

struct json *normal_list_data(struct json *answer)
{
    struct json *data = json_get(answer, "data");

    if (json_is(data, JSON_ARRAY))
        return data;
    data = json_get(answer, "value");
    return json_is(data, JSON_ARRAY) ? data : NULL;
}
