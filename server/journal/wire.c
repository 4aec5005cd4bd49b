/* See wire.h. Each message is a table of its fields, in the order of its bytes: numbers as they are
 * in memory (writer and reader are one program), a text as its length, its bytes and a NUL, a list
 * as its items, whose number stands in a field before it. In front is the message's own number, so
 * that one that was meant for another kind is none. */
#include "journal/wire.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum type { U32, U64, TEXT, LIST };

struct field {
    enum type type;
    uint32_t max; /* TEXT: bytes; LIST: items */
    size_t offset;
    /* LIST: */
    const struct field *items; /* of one item, up to `num_items` */
    size_t num_items, item_size;
    size_t count; /* offset of the number of items: a U32 that was read before */
};

struct form {
    uint32_t number;
    const struct field *fields;
    size_t num;
    size_t size; /* of the struct */
};

#define NUM(array) (sizeof(array) / sizeof((array)[0]))
#define N32(type, member)                                                                          \
    {                                                                                              \
        U32, 0, offsetof(struct type, member), NULL, 0, 0, 0                                       \
    }
#define N64(type, member)                                                                          \
    {                                                                                              \
        U64, 0, offsetof(struct type, member), NULL, 0, 0, 0                                       \
    }
#define STR(type, member, max)                                                                     \
    {                                                                                              \
        TEXT, max, offsetof(struct type, member), NULL, 0, 0, 0                                    \
    }

#define SCOPE(type, i)                                                                             \
    N64(type, scopes[i].name), N64(type, scopes[i].tokens), N64(type, scopes[i].batches),          \
        N64(type, scopes[i].nano), N64(type, scopes[i].period_s)
#define SCOPES(type) SCOPE(type, WIRE_DEPLOYMENT), SCOPE(type, WIRE_KEY), SCOPE(type, WIRE_TEAM)

#define WHO(type)                                                                                  \
    N64(type, who.owner), N64(type, who.key), N64(type, who.team), N64(type, who.lines),           \
        STR(type, who.key_hash, 64), STR(type, who.key_alias, WIRE_MAX_NAME),                      \
        STR(type, who.team_id, WIRE_MAX_NAME), STR(type, who.user_id, WIRE_MAX_NAME),              \
        STR(type, who.tags, WIRE_MAX_TAGS), STR(type, who.group, WIRE_MAX_NAME),                   \
        STR(type, who.endpoint, WIRE_MAX_NAME), STR(type, who.file, WIRE_MAX_ID),                  \
        STR(type, who.original, WIRE_MAX_ID), N32(type, who.home), N32(type, who.delete_after_s)

#define ANSWER(type)                                                                               \
    N32(type, answer.status), N32(type, answer.deployment), STR(type, answer.id, WIRE_MAX_ID),     \
        STR(type, answer.nonce, WIRE_ID), STR(type, answer.body, WIRE_MAX_ANSWER),                 \
        N64(type, answer.age_ms)

#define NAMES(type) STR(type, id, WIRE_ID), STR(type, claim, WIRE_ID), STR(type, nonce, WIRE_ID)

static const struct field intent[] = {
    N32(wire_intent, kind),
    N32(wire_intent, anyway),
    NAMES(wire_intent),
    STR(wire_intent, name, 2 * WIRE_ID),
    N64(wire_intent, request),
    N64(wire_intent, ledger),
    N32(wire_intent, deployment),
    N32(wire_intent, account),
    N64(wire_intent, tokens),
    N64(wire_intent, input),
    N64(wire_intent, output),
    N64(wire_intent, nano),
    SCOPES(wire_intent),
    WHO(wire_intent),
    N32(wire_intent, hook_types),
    STR(wire_intent, hook_url, WIRE_MAX_URL),
    STR(wire_intent, hook_secret, WIRE_MAX_SECRET),
};

static const struct field verdict[] = {
    N32(wire_verdict, end),   N32(wire_verdict, local),   N64(wire_verdict, epoch),
    N32(wire_verdict, scope), N32(wire_verdict, by),      N64(wire_verdict, used),
    N64(wire_verdict, limit), N64(wire_verdict, wait_ms), ANSWER(wire_verdict),
};

static const struct field live[] = {
    N32(wire_live, kind),
    N32(wire_live, local),
    NAMES(wire_live),
    STR(wire_live, name, 2 * WIRE_ID),
    N64(wire_live, request),
    N64(wire_live, owner),
    ANSWER(wire_live),
    STR(wire_live, native, WIRE_MAX_ID),
    STR(wire_live, native_file, WIRE_MAX_ID),
    STR(wire_live, status, WIRE_MAX_NAME),
    N32(wire_live, deployment),
    N32(wire_live, account),
    N64(wire_live, created_s),
    N64(wire_live, expires_s),
    N64(wire_live, tokens),
    N64(wire_live, nano),
    SCOPES(wire_live),
    WHO(wire_live),
};

static const struct field drop[] = {
    N32(wire_drop, why),
    NAMES(wire_drop),
    N64(wire_drop, ledger),
    N32(wire_drop, deployment),
};

static const struct field usage[] = {
    STR(wire_usage, model, WIRE_MAX_NAME),
    N64(wire_usage, ok),
    N64(wire_usage, bad),
    N64(wire_usage, in),
    N64(wire_usage, cached),
    N64(wire_usage, out),
    N64(wire_usage, reasoning),
    N64(wire_usage, long_in),
    N64(wire_usage, long_cached),
    N64(wire_usage, long_out),
    N64(wire_usage, unmeasured),
};

static const struct field seen[] = {
    N32(wire_seen, by),
    N32(wire_seen, gone),
    STR(wire_seen, native, WIRE_MAX_ID),
    N32(wire_seen, deployment),
    N32(wire_seen, account),
    STR(wire_seen, status, WIRE_MAX_NAME),
    N64(wire_seen, total),
    N64(wire_seen, completed),
    N64(wire_seen, failed),
    N64(wire_seen, created_s),
    N64(wire_seen, in_progress_s),
    N64(wire_seen, finalizing_s),
    N64(wire_seen, cancelling_s),
    N64(wire_seen, finished_s),
    N64(wire_seen, expires_s),
    STR(wire_seen, endpoint, WIRE_MAX_NAME),
    STR(wire_seen, input, WIRE_MAX_ID),
    STR(wire_seen, output, WIRE_MAX_ID),
    STR(wire_seen, error, WIRE_MAX_ID),
    STR(wire_seen, errors, WIRE_MAX_ERRORS),
    STR(wire_seen, nonce, WIRE_ID),
    STR(wire_seen, file, WIRE_MAX_ID),
    N64(wire_seen, owner),
    N64(wire_seen, key),
    N64(wire_seen, request),
    N64(wire_seen, tokens),
    N32(wire_seen, placed),
    N32(wire_seen, source),
    N32(wire_seen, num_usage),
    {LIST, WIRE_MAX_MODELS, offsetof(struct wire_seen, usage), usage, NUM(usage),
     sizeof(struct wire_usage), offsetof(struct wire_seen, num_usage)},
};

static const struct field held[] = {
    N32(wire_held, account),
    STR(wire_held, native, WIRE_MAX_ID),
};

static const struct field due_ask[] = {
    N32(wire_due_ask, max),
    N32(wire_due_ask, fresh),
    N32(wire_due_ask, rebuilt),
    N32(wire_due_ask, unread),
    N32(wire_due_ask, num_held),
    {LIST, WIRE_MAX_DUE, offsetof(struct wire_due_ask, held), held, NUM(held),
     sizeof(struct wire_held), offsetof(struct wire_due_ask, num_held)},
};

static const struct field due[] = {
    N32(wire_due, task),
    N32(wire_due, deployment),
    N32(wire_due, account),
    N32(wire_due, tries),
    NAMES(wire_due),
    STR(wire_due, native, WIRE_MAX_ID),
    STR(wire_due, status, WIRE_MAX_NAME),
    STR(wire_due, output, WIRE_MAX_ID),
    STR(wire_due, error, WIRE_MAX_ID),
    N64(wire_due, tokens),
    N32(wire_due, placed),
    N32(wire_due, cancels),
    N64(wire_due, owner),
    N64(wire_due, created_s),
    N64(wire_due, expires_s),
    N64(wire_due, finished_s),
    N64(wire_due, now_s),
};

static const struct field due_list[] = {
    N32(wire_due_list, num),
    N32(wire_due_list, wait_ms),
    N32(wire_due_list, rebuild),
    {LIST, WIRE_MAX_DUE, offsetof(struct wire_due_list, due), due, NUM(due),
     sizeof(struct wire_due), offsetof(struct wire_due_list, num)},
};

static const struct field story[] = {
    STR(wire_story, native, WIRE_MAX_ID),
    N32(wire_story, account),
    N32(wire_story, all),
    N64(wire_story, owner),
};

static const struct field move[] = {
    N32(wire_move, step),
    N32(wire_move, account),
    STR(wire_move, native, WIRE_MAX_ID),
    STR(wire_move, nonce, WIRE_ID),
    N32(wire_move, to),
    N32(wire_move, wait_ms),
    STR(wire_move, why, WIRE_MAX_NAME),
    N32(wire_move, to_account),
    STR(wire_move, to_native, WIRE_MAX_ID),
    STR(wire_move, status, WIRE_MAX_NAME),
    STR(wire_move, id, WIRE_ID),
    N64(wire_move, tokens),
    N64(wire_move, expires_s),
    STR(wire_move, text, WIRE_MAX_ANSWER),
};

static const struct field deletion[] = {
    N32(wire_deletion, end),
    N32(wire_deletion, account),
    STR(wire_deletion, native, WIRE_MAX_ID),
    STR(wire_deletion, input, WIRE_MAX_ID),
    STR(wire_deletion, output, WIRE_MAX_ID),
    STR(wire_deletion, error, WIRE_MAX_ID),
    STR(wire_deletion, why, WIRE_MAX_WHY),
};

/* --- writing --- */

static uint32_t count_in(const void *message, const struct field *list)
{
    uint32_t count;

    memcpy(&count, (const char *)message + list->count, sizeof(count));
    return count;
}

static const char *text_in(const char *place)
{
    const char *text;

    memcpy(&text, place, sizeof(text));
    return text != NULL ? text : "";
}

static void write_text(const char *text, struct strbuf *out)
{
    uint32_t len = (uint32_t)strlen(text);

    strbuf_add(out, (const char *)&len, sizeof(len));
    strbuf_add(out, text, len + 1);
}

static bool write_fields(const struct field *fields, size_t num, const void *message,
                         struct strbuf *out);

static bool write_list(const struct field *f, const void *message, struct strbuf *out)
{
    uint32_t count = count_in(message, f);

    for (uint32_t i = 0; i < count && count <= f->max; i++)
        if (!write_fields(f->items, f->num_items,
                          (const char *)message + f->offset + i * f->item_size, out))
            return false;
    return count <= f->max;
}

static bool write_field(const struct field *f, const void *message, struct strbuf *out)
{
    const char *place = (const char *)message + f->offset;

    switch (f->type) {
    case U32:
        strbuf_add(out, place, sizeof(uint32_t));
        return true;
    case U64:
        strbuf_add(out, place, sizeof(uint64_t));
        return true;
    case TEXT:
        if (strlen(text_in(place)) > f->max)
            return false;
        write_text(text_in(place), out);
        return true;
    case LIST:
        break;
    }
    return write_list(f, message, out);
}

/* @return false: something is beyond its bound */
/* NOLINTNEXTLINE(misc-no-recursion): a list's items have no lists */
static bool write_fields(const struct field *fields, size_t num, const void *message,
                         struct strbuf *out)
{
    for (size_t i = 0; i < num; i++)
        if (!write_field(&fields[i], message, out))
            return false;
    return true;
}

static int write_form(const struct form *form, const void *message, struct strbuf *out)
{
    size_t before = out->len;

    assert(!strbuf_failed(out));
    strbuf_add(out, (const char *)&form->number, sizeof(form->number));
    if (!write_fields(form->fields, form->num, message, out)) {
        out->len = before;
        if (out->data != NULL)
            out->data[before] = '\0';
        return ERR_LIMIT;
    }
    return strbuf_failed(out) ? ERR_NOMEM : 0;
}

/* --- reading --- */

struct reader {
    const char *at, *end;
};

static bool take(struct reader *r, void *to, size_t bytes)
{
    if ((size_t)(r->end - r->at) < bytes)
        return false;
    memcpy(to, r->at, bytes);
    r->at += bytes;
    return true;
}

/* Its bytes have to be one C string: a NUL behind them, and none among them. */
static bool take_text(struct reader *r, uint32_t max, const char **to)
{
    uint32_t len;

    if (!take(r, &len, sizeof(len)) || len > max || (size_t)(r->end - r->at) <= len ||
        memchr(r->at, '\0', len) != NULL || r->at[len] != '\0')
        return false;
    *to = r->at;
    r->at += len + 1;
    return true;
}

static bool read_fields(const struct field *fields, size_t num, struct reader *r, void *message);

static bool read_list(const struct field *f, struct reader *r, void *message)
{
    uint32_t count = count_in(message, f);

    if (count > f->max)
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!read_fields(f->items, f->num_items, r, (char *)message + f->offset + i * f->item_size))
            return false;
    return true;
}

static bool read_field(const struct field *f, struct reader *r, void *message)
{
    char *place = (char *)message + f->offset;
    const char *text;

    switch (f->type) {
    case U32:
        return take(r, place, sizeof(uint32_t));
    case U64:
        return take(r, place, sizeof(uint64_t));
    case TEXT:
        if (!take_text(r, f->max, &text))
            return false;
        memcpy(place, &text, sizeof(text));
        return true;
    case LIST:
        break;
    }
    return read_list(f, r, message);
}

/* NOLINTNEXTLINE(misc-no-recursion): as in write_fields() */
static bool read_fields(const struct field *fields, size_t num, struct reader *r, void *message)
{
    for (size_t i = 0; i < num; i++)
        if (!read_field(&fields[i], r, message))
            return false;
    return true;
}

static int read_form(const struct form *form, const char *bytes, size_t len, void *message)
{
    struct reader r = {bytes, bytes + len};
    uint32_t number;

    memset(message, 0, form->size);
    if (!take(&r, &number, sizeof(number)) || number != form->number ||
        !read_fields(form->fields, form->num, &r, message) || r.at != r.end)
        return ERR_SYNTAX;
    return 0;
}

/* --- each message --- */

#define PAIR(name, number_)                                                                        \
    static const struct form name##_form = {number_, name, NUM(name), sizeof(struct wire_##name)}; \
                                                                                                   \
    int wire_##name##_write(const struct wire_##name *message, struct strbuf *out)                 \
    {                                                                                              \
        return write_form(&name##_form, message, out);                                             \
    }                                                                                              \
                                                                                                   \
    int wire_##name##_read(const char *bytes, size_t len, struct wire_##name *message)             \
    {                                                                                              \
        return read_form(&name##_form, bytes, len, message);                                       \
    }

PAIR(intent, 0x4a4f0001)
PAIR(verdict, 0x4a4f0002)
PAIR(live, 0x4a4f0003)
PAIR(drop, 0x4a4f0004)
PAIR(seen, 0x4a4f0005)
PAIR(due_ask, 0x4a4f0006)
PAIR(due_list, 0x4a4f0007)
PAIR(story, 0x4a4f0008)
PAIR(move, 0x4a4f0009)
PAIR(deletion, 0x4a4f000a)

/* --- names --- */

void wire_scope_text(enum wire_scope_kind kind, uint64_t name, char out[WIRE_SCOPE_TEXT])
{
    assert(kind < WIRE_SCOPES && name != 0);
    if (kind == WIRE_DEPLOYMENT)
        snprintf(out, WIRE_SCOPE_TEXT, "d:%08" PRIx64, name);
    else
        snprintf(out, WIRE_SCOPE_TEXT, "%c:%016" PRIx64, kind == WIRE_KEY ? 'k' : 't', name);
}
