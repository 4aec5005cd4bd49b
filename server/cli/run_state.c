/* See run_state.h. */
#include "run_state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "json/json.h"
#include "save.h"

#define VERSION   1
#define MAX_STATE 65536

static const char *const phases[RUN_PHASES] = {
    [RUN_BEGUN] = "begun", [RUN_FAILED] = "failed", [RUN_FINISHED] = "finished"};

uint64_t run_state_unread(const struct run_state *state)
{
    uint64_t lines = 0;

    for (size_t i = 0; i < RUN_FILES; i++)
        lines += state->unread[i].lines;
    return lines;
}

/* --- the text --- */

/* @return whether it is a string that fits; an absent one does not */
static bool take_text(const struct json *obj, const char *name, char *out, size_t size)
{
    size_t len = 0;
    const char *text = json_str(json_get(obj, name), &len);

    if (text == NULL || len >= size || strlen(text) != len)
        return false;
    memcpy(out, text, len + 1);
    return true;
}

static bool take_number(const struct json *obj, const char *name, int64_t max, int64_t *out)
{
    return json_int64(json_get(obj, name), out) && *out >= 0 && *out <= max;
}

static bool is_hex(const char *text, size_t len)
{
    return strlen(text) == len && strspn(text, "0123456789abcdef") == len;
}

static bool take_send(const struct json *obj, const char *name, struct run_send *out)
{
    const struct json *in = json_get(obj, name);

    return take_text(in, "id", out->id, sizeof(out->id)) &&
           take_number(in, "first_sent_at", INT64_MAX, &out->first_s) &&
           take_number(in, "last_sent_at", INT64_MAX, &out->last_s);
}

static bool take_phase(const struct json *obj, enum run_phase *out)
{
    const char *text = json_get_str(obj, "phase");

    for (int i = 0; text != NULL && i < RUN_PHASES; i++)
        if (strcmp(text, phases[i]) == 0) {
            *out = (enum run_phase)i;
            return true;
        }
    return false;
}

/* An older state has no such member. @return false: it is there, and wrong */
static bool take_unread(const struct json *root, struct run_state *out)
{
    const struct json *list = json_get(root, "unreadable");
    int64_t lines;

    out->counted = list != NULL;
    if (list == NULL)
        return true;
    if (!json_is(list, JSON_ARRAY) || json_size(list) > RUN_FILES)
        return false;
    for (size_t i = 0; i < json_size(list); i++) {
        struct run_unread *unread = &out->unread[i];

        if (!take_text(json_at(list, i), "file", unread->file, sizeof(unread->file)) ||
            !take_number(json_at(list, i), "lines", INT64_MAX, &lines))
            return false;
        unread->lines = (uint64_t)lines;
    }
    return true;
}

/* Only of a batch that was made again. @return false: it is there, and wrong */
static bool take_remade(const struct json *root, struct run_state *out)
{
    int64_t remade = 0;

    if (json_get(root, "remade") != NULL && !take_number(root, "remade", 1000, &remade))
        return false;
    out->remade = (unsigned)remade;
    return true;
}

static bool take_all(const struct json *root, struct run_state *out)
{
    int64_t version, bytes, round;

    if (!take_number(root, "tranche_run", VERSION, &version) || version != VERSION ||
        !take_number(root, "bytes", INT64_MAX, &bytes) ||
        !take_number(root, "round", 1000000, &round))
        return false;
    out->bytes = (uint64_t)bytes;
    out->round = (unsigned)round;
    return take_text(root, "base_url", out->base_url, sizeof(out->base_url)) &&
           take_text(root, "sha256", out->digest, sizeof(out->digest)) &&
           take_text(root, "model", out->model, sizeof(out->model)) &&
           take_text(root, "endpoint", out->endpoint, sizeof(out->endpoint)) &&
           json_bool(json_get(root, "idempotency"), &out->gateway) &&
           take_text(root, "nonce", out->nonce, sizeof(out->nonce)) &&
           take_text(root, "round_sha256", out->round_digest, sizeof(out->round_digest)) &&
           take_send(root, "upload", &out->upload) && take_send(root, "create", &out->create) &&
           take_phase(root, &out->phase) && take_unread(root, out) && take_remade(root, out) &&
           is_hex(out->nonce, RUN_NONCE) && is_hex(out->digest, RUN_DIGEST) &&
           is_hex(out->round_digest, RUN_DIGEST);
}

int run_state_parse(const char *text, size_t len, struct run_state *out)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    int err = ERR_NOMEM;

    *out = (struct run_state){.bytes = 0};
    if (doc != NULL)
        err = take_all(json_parse(doc, text, len, &error), out) ? 0 : ERR_SYNTAX;
    json_doc_free(doc);
    return err;
}

static void print_send(const char *name, const struct run_send *send, struct strbuf *out)
{
    strbuf_addf(out, ",\n \"%s\":{", name);
    json_write_member_string(out, "id", send->id);
    json_write_member_int(out, "first_sent_at", send->first_s);
    json_write_member_int(out, "last_sent_at", send->last_s);
    strbuf_addc(out, '}');
}

static void print_unread(const struct run_state *state, struct strbuf *out)
{
    const char *comma = "";

    if (!state->counted && run_state_unread(state) == 0)
        return;
    strbuf_adds(out, ",\n \"unreadable\":[");
    for (size_t i = 0; i < RUN_FILES; i++) {
        if (state->unread[i].lines == 0)
            continue;
        strbuf_addf(out, "%s{", comma);
        json_write_member_string(out, "file", state->unread[i].file);
        json_write_member_int(out, "lines", (int64_t)state->unread[i].lines);
        strbuf_addc(out, '}');
        comma = ",";
    }
    strbuf_addc(out, ']');
}

void run_state_print(const struct run_state *state, struct strbuf *out)
{
    assert(is_hex(state->nonce, RUN_NONCE) && is_hex(state->digest, RUN_DIGEST));
    strbuf_addf(out, "{\"tranche_run\":%d", VERSION);
    json_write_member_string(out, "base_url", state->base_url);
    json_write_member_string(out, "sha256", state->digest);
    json_write_member_int(out, "bytes", (int64_t)state->bytes);
    json_write_member_string(out, "model", state->model);
    json_write_member_string(out, "endpoint", state->endpoint);
    strbuf_addf(out, ",\"idempotency\":%s", state->gateway ? "true" : "false");
    json_write_member_int(out, "round", state->round);
    json_write_member_string(out, "nonce", state->nonce);
    json_write_member_string(out, "round_sha256", state->round_digest);
    print_send("upload", &state->upload, out);
    print_send("create", &state->create, out);
    if (state->remade > 0)
        json_write_member_int(out, "remade", state->remade);
    print_unread(state, out);
    strbuf_addf(out, ",\n \"phase\":\"%s\"}\n", phases[state->phase]);
}

/* --- the file --- */

int run_state_load(const char *path, struct run_state *out, int *error)
{
    char text[MAX_STATE];
    size_t len = 0;
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    *error = 0;
    if (fd == -1) {
        *error = errno;
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    }
    while (len < sizeof(text) &&
           ((n = read(fd, text + len, sizeof(text) - len)) > 0 || (n == -1 && errno == EINTR)))
        len += n > 0 ? (size_t)n : 0;
    *error = len < sizeof(text) && n == -1 ? errno : 0;
    close(fd);
    return *error != 0 ? ERR_IO : run_state_parse(text, len, out);
}

int run_state_save(const char *path, const struct run_state *state, int *error)
{
    struct strbuf text = STRBUF_INIT;
    int err;

    run_state_print(state, &text);
    *error = ENOMEM;
    err = strbuf_failed(&text) ? ERR_NOMEM : save_text(path, text.data, text.len, error);
    strbuf_deinit(&text);
    return err;
}

int run_state_begin(struct run_state *state, unsigned round, const char *digest)
{
    unsigned char bits[RUN_NONCE / 2];

    assert(strlen(digest) == RUN_DIGEST);
    if (getrandom(bits, sizeof(bits), 0) != (ssize_t)sizeof(bits))
        return ERR_IO;
    for (size_t i = 0; i < sizeof(bits); i++)
        snprintf(state->nonce + i * 2, 3, "%02x", bits[i]);
    state->round = round;
    state->phase = RUN_BEGUN;
    state->remade = 0;
    state->upload = state->create = (struct run_send){.first_s = 0};
    memcpy(state->round_digest, digest, RUN_DIGEST + 1);
    return 0;
}
