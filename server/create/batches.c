/* POST /batches: what the client asks for is checked, known repeats get the answer of the first,
 * and the order is carried to a deployment that has room: the one whose lines the file holds, or,
 * when that one is full, another one that gets a copy.
 *
 *   resolve the file ─► known repeat? ─► where is it? ─► how many tokens? ─► reserve ─► create
 *                                                                             ▲  │ no     │ refused
 *                                                                             │  ▼        ▼
 *                                                                             copy ◄─ another one
 */
#include "create/batches.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "order.h"
#include "read/replay.h"

/* It is new: nobody has answered it, and nobody is at it. */
static void on_new(void *arg)
{
    order_place(arg);
}

/* It was made before, and is found among the batches of an account. */
static void on_found(void *arg, uint32_t deployment, struct json_doc *doc, struct json *batch)
{
    struct order *o = arg;

    relay_header(o->relay, "idempotent-replayed", "true");
    order_answer(o, deployment, doc, batch);
}

/* It was answered before. */
static void on_replay(void *arg, const struct idem_answer *answer)
{
    struct order *o = arg;
    struct relay *relay = order_detach(o);

    relay->deployment = table_find_fingerprint(o->rt->table, answer->deployment);
    order_free(o);
    replay_answer(relay, ROUTE_BATCH, answer);
}

static void on_repeat_failed(void *arg, const struct failure *failure)
{
    order_fail(arg, failure);
}

static const struct repeat_ops repeat_ops = {on_new, on_found, on_replay, on_repeat_failed};

static bool require_string(struct relay *relay, const char *name)
{
    const struct json *value = json_get(relay->request, name);

    if (json_is(value, JSON_STRING) && json_str(value, NULL)[0] != '\0')
        return true;
    if (value == NULL || json_is(value, JSON_NULL) || json_is(value, JSON_STRING))
        relay_problem(relay, 400, "invalid_request_error", "missing_required_parameter", name,
                      "Missing required parameter: '%s'.", name);
    else
        relay_problem(relay, 400, "invalid_request_error", "invalid_type", name,
                      "Invalid type for '%s': expected a string.", name);
    return false;
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

static bool pair_is_fine(struct relay *relay, const char *key, size_t key_len,
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
        return true;
    return false;
}

/* What all providers take, told the same way whichever would get it. */
static bool metadata_is_fine(struct relay *relay)
{
    const struct json *metadata = json_get(relay->request, "metadata");
    size_t num = json_size(metadata);

    if (metadata == NULL || json_is(metadata, JSON_NULL))
        return true;
    if (!json_is(metadata, JSON_OBJECT)) {
        relay_problem(relay, 400, "invalid_request_error", "invalid_type", "metadata",
                      "Invalid type for 'metadata': expected an object.");
        return false;
    }
    if (num > MAX_PAIRS) {
        relay_problem(relay, 400, "invalid_request_error", "object_above_max_properties",
                      "metadata",
                      "Invalid 'metadata': too many properties. Expected an object with at most "
                      "%d properties, but got one with %zu.",
                      MAX_PAIRS, num);
        return false;
    }
    for (size_t i = 0; i < num; i++) {
        size_t len;
        const char *key = json_key_at(metadata, i, &len);

        if (!pair_is_fine(relay, key, len, json_at(metadata, i)))
            return false;
    }
    return true;
}

/* Azure takes a batch from blob storage instead of a file (providers 2.5). */
static bool has_blob(const struct relay *relay)
{
    return json_is(json_get(relay->request, "input_blob"), JSON_STRING);
}

static bool find_target(struct relay *relay, struct target *target)
{
    size_t len;
    const char *id = json_str(json_get(relay->request, "input_file_id"), &len);

    if (id != NULL)
        return resolve_id(relay, ID_FILE, id, len, target) == GO_ON;
    memset(target, 0, sizeof(*target));
    return resolve_list(relay, &target->deployments, &target->num) == GO_ON;
}

/* Of what the client asked, before anything of ours is in it. */
static uint64_t fingerprint_of(const struct relay *relay)
{
    struct strbuf text = STRBUF_INIT;
    uint64_t fingerprint;

    json_write(relay->request, &text);
    fingerprint = marker_fingerprint(strbuf_str(&text), text.len);
    strbuf_deinit(&text);
    return fingerprint;
}

static struct order *order_new(struct relay *relay)
{
    struct order *o = calloc(1, sizeof(*o));
    const char *file_id = json_get_str(relay->request, "input_file_id");

    if (o == NULL)
        return NULL;
    o->relay = relay;
    o->rt = relay->rt;
    o->owner = relay->owner;
    o->request = fingerprint_of(relay);
    o->deployment = MODEL_NO_INDEX;
    memcpy(o->request_id, relay->request_id, sizeof(o->request_id));
    snprintf(o->endpoint, sizeof(o->endpoint), "%s", json_get_str(relay->request, "endpoint"));
    if (file_id != NULL && (o->file_id = strdup(file_id)) == NULL) {
        free(o);
        return NULL;
    }
    return o;
}

/* By what its batch will be known; and the client is told when that is not a marker. */
static void describe(struct order *o)
{
    const struct json *request = o->relay->request;
    bool full = json_size(json_get(request, "metadata")) >= MARKER_PAIRS;

    wanted_describe(&o->wanted, o->target.native, request);
    o->wanted.owner = o->owner;
    o->wanted.request = o->request;
    o->wanted.unmarked = o->nonce[0] == '\0';
    memcpy(o->wanted.nonce, o->nonce, sizeof(o->wanted.nonce));
    if (o->wanted.unmarked && o->target.native[0] != '\0')
        relay_header(o->relay, "x-tranche-unmarked", full ? "metadata-full" : "file-id");
}

/* Such a name is one member to us and another one to a provider whose parser stops there. */
static bool names_are_fine(struct relay *relay)
{
    for (size_t i = 0; i < json_size(relay->request); i++) {
        size_t len;
        const char *key = json_key_at(relay->request, i, &len);

        if (strcspn(key, "\r\n") == len)
            continue;
        relay_problem(relay, 400, "invalid_request_error", "invalid_value", "",
                      "The name of a member has a line end or a NUL in it.");
        return false;
    }
    return true;
}

void batches_create(struct relay *relay)
{
    struct order *o;

    if (!names_are_fine(relay))
        return;
    if ((!has_blob(relay) && !require_string(relay, "input_file_id")) ||
        !require_string(relay, "endpoint") || !require_string(relay, "completion_window") ||
        !metadata_is_fine(relay) || resolve_check_model(relay) == ANSWERED)
        return;
    o = order_new(relay);
    if (o == NULL) {
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
        return;
    }
    if (!find_target(relay, &o->target)) {
        free(o->file_id);
        free(o);
        return;
    }
    o->tagged = o->target.tagged;
    relay_attach(relay, o, order_client_gone);
    if (order_takes_marker(o) && repeat_nonce(relay, o->nonce) != 0) {
        order_fail_memory(o);
        return;
    }
    describe(o);
    repeat_begin(&o->repeat, REPEAT_CREATE, relay, &o->wanted, o->target.deployments, o->target.num,
                 &repeat_ops, o);
}
