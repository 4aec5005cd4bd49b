/* See create_check.h. */
#include "create_check.h"

#include <stdio.h>
#include <string.h>

#include "create_hook.h"
#include "crypto/marker.h"
#include "request/errors.h"
#include "request/resolve.h"

/* A member's name with a line end or a NUL is one name to us, and another one to a provider whose
 * parser stops there. */
static enum answered check_names(struct relay *relay)
{
    for (size_t i = 0; i < json_size(relay->request); i++) {
        size_t len;
        const char *key = json_key_at(relay->request, i, &len);

        if (strcspn(key, "\r\n") == len)
            continue;
        relay_error(relay, ODD_MEMBER, "");
        return ANSWERED;
    }
    return GO_ON;
}

static enum answered require_string(struct relay *relay, const char *name)
{
    const struct json *value = json_get(relay->request, name);

    if (json_is(value, JSON_STRING) && json_str(value, NULL)[0] != '\0')
        return GO_ON;
    if (value == NULL || json_is(value, JSON_NULL) || json_is(value, JSON_STRING))
        relay_error(relay, MISSING_PARAMETER, name, name);
    else
        relay_error(relay, INVALID_TYPE, name, name);
    return ANSWERED;
}

#define MAX_PAIRS     16 /* of metadata, and how long they may be in characters (providers 1.3) */
#define MAX_KEY       64
#define MAX_VALUE     512
#define MAX_PARAM_KEY 40 /* bytes of a key that an error's `param` shows */

static size_t characters(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80; /* the first byte of each */
    return n;
}

static void refuse_pair(struct relay *relay, const char *key, size_t key_len, const char *code,
                        const char *why)
{
    char param[64] = "metadata";

    if (key_len <= MAX_PARAM_KEY)
        snprintf(param, sizeof(param), "metadata.%s", key);
    relay_problem(relay, 400, "invalid_request_error", code, param, "Invalid '%s': %s.", param,
                  why);
}

static enum answered check_pair(struct relay *relay, const char *key, size_t key_len,
                                const struct json *value)
{
    size_t len;
    const char *text = json_str(value, &len);

    if (text == NULL)
        refuse_pair(relay, key, key_len, "invalid_type", "expected a string");
    else if (characters(key, key_len) > MAX_KEY)
        refuse_pair(relay, key, key_len, "string_above_max_length",
                    "keys may have at most 64 characters");
    else if (characters(text, len) > MAX_VALUE)
        refuse_pair(relay, key, key_len, "string_above_max_length",
                    "values may have at most 512 characters");
    else if (strcmp(key, MARKER_KEY) == 0)
        refuse_pair(relay, key, key_len, "invalid_value", "this key is reserved for the gateway");
    else
        return GO_ON;
    return ANSWERED;
}

/* These bounds are the same at all providers, so the error is, whichever would get the batch. */
static enum answered check_metadata(struct relay *relay)
{
    const struct json *metadata = json_get(relay->request, "metadata");
    size_t num = json_size(metadata);

    if (metadata == NULL || json_is(metadata, JSON_NULL))
        return GO_ON;
    if (!json_is(metadata, JSON_OBJECT)) {
        relay_error(relay, METADATA_TYPE, "metadata");
        return ANSWERED;
    }
    if (num > MAX_PAIRS) {
        relay_error(relay, METADATA_PAIRS, "metadata", MAX_PAIRS, num);
        return ANSWERED;
    }
    for (size_t i = 0; i < num; i++) {
        size_t len;
        const char *key = json_key_at(metadata, i, &len);

        if (check_pair(relay, key, len, json_at(metadata, i)) == ANSWERED)
            return ANSWERED;
    }
    return GO_ON;
}

/* Azure takes a batch from blob storage instead of a file (providers 2.5). */
static bool has_blob(const struct relay *relay)
{
    return json_is(json_get(relay->request, "input_blob"), JSON_STRING);
}

/* Azure reads and writes blobs as the resource that serves: a tenant would see what is another
 * one's there, and nobody looks into the lines. */
static enum answered check_blobs(struct relay *relay)
{
    static const char *const names[] = {"input_blob", "output_folder"};

    for (size_t i = 0; tenant_is_bound(relay->tenant) && i < 2; i++) {
        const struct json *value = json_get(relay->request, names[i]);

        if (value == NULL || json_is(value, JSON_NULL))
            continue;
        relay_error(relay, BLOB_NOT_OF_KEY, names[i], names[i]);
        return ANSWERED;
    }
    return GO_ON;
}

enum answered create_check(struct relay *relay)
{
    if (check_names(relay) == ANSWERED || check_blobs(relay) == ANSWERED ||
        (!has_blob(relay) && require_string(relay, "input_file_id") == ANSWERED) ||
        require_string(relay, "endpoint") == ANSWERED ||
        require_string(relay, "completion_window") == ANSWERED ||
        check_metadata(relay) == ANSWERED || create_hook_check(relay) == ANSWERED)
        return ANSWERED;
    return resolve_check_model(relay);
}
