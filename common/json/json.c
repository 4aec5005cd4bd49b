/* JSON trees over yajl. yajl decides what is JSON; what it is too lenient for (overlong UTF-8, lone
 * surrogates, form feeds, endless nesting) is refused here. All of a tree lives in the arena of its
 * document: nothing is freed one by one, and an object or array that grows leaves its old vector
 * behind, which is cheap for the small documents this is for. */
#include "json/json.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_parse.h>

#include "common/secret.h"
#include "json/json_text.h"

enum {
    MAX_DEPTH = 128,
    CHUNK_BYTES = 4096 - 64, /* first chunk of an arena; later ones double up to the maximum */
    MAX_CHUNK_BYTES = 32 * CHUNK_BYTES,
    FEW_MEMBERS = 24 /* up to here duplicate keys are found by comparing all pairs */
};

static_assert(sizeof(size_t) == 8, "no text in memory is so long that three times it were no size");

struct member {
    const char *key; /* NULL in arrays */
    size_t key_len;
    struct json *value;
};

struct json {
    enum json_type type;
    bool truth;             /* JSON_BOOL */
    const char *text;       /* JSON_STRING decoded, JSON_NUMBER as spelt; NUL-terminated, arena */
    size_t len;             /* bytes of text */
    struct member *members; /* JSON_OBJECT and JSON_ARRAY; arena */
    size_t count, room;     /* members in use, members allocated */
};

struct chunk {
    struct chunk *next; /* owned */
    size_t used, size;  /* bytes of the payload that follows */
    _Alignas(max_align_t) char payload[];
};

struct json_doc {
    struct chunk *chunks; /* owned; the newest first */
    size_t next_size;     /* payload bytes of the next chunk */
    size_t bytes;         /* of all chunks */
    bool repeats;         /* an object named a member twice */
    bool failed;
};

/* One run of yajl. */
struct parse {
    struct json_doc *doc; /* borrowed */
    struct json *open[MAX_DEPTH];
    unsigned depth; /* members of `open` in use */
    struct json *root;
    const char *key; /* waiting for its value; arena */
    size_t key_len;
    size_t values, max_values;
    bool over_limit;
    const char *refusal; /* constant, or `text`; why a callback stopped yajl */
    char text[64];
    yajl_handle yajl;
    size_t root_end; /* offset behind the root */
};

/* --- arena --- */

struct json_doc *json_doc_new(void)
{
    struct json_doc *doc = calloc(1, sizeof(*doc));

    if (doc != NULL)
        doc->next_size = CHUNK_BYTES;
    return doc;
}

void json_doc_free(struct json_doc *doc)
{
    struct chunk *chunk, *next;

    if (doc == NULL)
        return;
    for (chunk = doc->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    free(doc);
}

void json_doc_wipe(struct json_doc *doc)
{
    if (doc == NULL)
        return;
    for (struct chunk *chunk = doc->chunks; chunk != NULL; chunk = chunk->next)
        secret_wipe(chunk->payload, chunk->size);
    json_doc_free(doc);
}

bool json_doc_failed(const struct json_doc *doc)
{
    return doc->failed;
}

bool json_doc_repeats(const struct json_doc *doc)
{
    return doc->repeats;
}

size_t json_doc_bytes(const struct json_doc *doc)
{
    return doc->bytes;
}

static struct chunk *add_chunk(struct json_doc *doc, size_t at_least)
{
    size_t size = doc->next_size > at_least ? doc->next_size : at_least;
    struct chunk *chunk = malloc(sizeof(*chunk) + size);

    if (chunk == NULL) {
        doc->failed = true;
        return NULL;
    }
    chunk->used = 0;
    chunk->size = size;
    chunk->next = doc->chunks;
    doc->chunks = chunk;
    doc->bytes += sizeof(*chunk) + size;
    if (doc->next_size < MAX_CHUNK_BYTES)
        doc->next_size *= 2;
    return chunk;
}

static void *take(struct json_doc *doc, size_t bytes, size_t align)
{
    struct chunk *chunk = doc->chunks;
    size_t start = 0;

    if (chunk != NULL)
        start = (chunk->used + align - 1) & ~(align - 1);
    if (chunk == NULL || start > chunk->size || bytes > chunk->size - start) {
        chunk = add_chunk(doc, bytes);
        start = 0;
    }
    if (chunk == NULL)
        return NULL;
    chunk->used = start + bytes;
    return chunk->payload + start;
}

static char *copy_text(struct json_doc *doc, const char *text, size_t len)
{
    char *copy = take(doc, len + 1, 1);

    if (copy != NULL) {
        if (len > 0)
            memcpy(copy, text, len);
        copy[len] = '\0';
    }
    return copy;
}

static struct json *new_value(struct json_doc *doc, enum json_type type)
{
    struct json *v = take(doc, sizeof(*v), _Alignof(struct json));

    if (v != NULL) {
        memset(v, 0, sizeof(*v));
        v->type = type;
    }
    return v;
}

static struct json *new_text_value(struct json_doc *doc, enum json_type type, const char *text,
                                   size_t len)
{
    struct json *v = new_value(doc, type);

    if (v == NULL)
        return NULL;
    v->text = copy_text(doc, text, len);
    v->len = len;
    return v->text != NULL ? v : NULL;
}

static bool add_member(struct json_doc *doc, struct json *v, const char *key, size_t key_len,
                       struct json *value)
{
    if (v->count == v->room) {
        size_t room = v->room != 0 ? v->room * 2 : 4;
        struct member *members = take(doc, room * sizeof(*members), _Alignof(struct member));

        if (members == NULL)
            return false;
        if (v->count > 0)
            memcpy(members, v->members, v->count * sizeof(*members));
        v->members = members;
        v->room = room;
    }
    v->members[v->count++] = (struct member){.key = key, .key_len = key_len, .value = value};
    return true;
}

/* --- parsing --- */

static bool has_key(const struct member *m, const char *key, size_t len)
{
    return m->key_len == len && memcmp(m->key, key, len) == 0;
}

/* An object's keys become unique: the first one keeps its place, the last one's value counts. */
static void merge_few(struct json *obj)
{
    size_t i, j, kept = 0;

    assert(obj->count <= FEW_MEMBERS); /* all pairs may be compared */
    for (i = 0; i < obj->count; i++) {
        const struct member *m = &obj->members[i];

        for (j = 0; !has_key(&obj->members[j], m->key, m->key_len);)
            j++; /* at the latest it finds itself */
        if (j < kept)
            obj->members[j].value = m->value;
        else
            obj->members[kept++] = *m;
    }
    obj->count = kept;
}

static int by_key_then_place(const void *a, const void *b)
{
    const struct member *x = *(const struct member *const *)a;
    const struct member *y = *(const struct member *const *)b;
    int order = (x->key_len > y->key_len) - (x->key_len < y->key_len);

    if (order == 0)
        order = memcmp(x->key, y->key, x->key_len);
    return order != 0 ? order : x < y ? -1 : 1;
}

/* The same by sorting, so that a hostile object of many keys costs no quadratic time. */
static bool merge_many(struct json *obj)
{
    struct member **sorted = malloc(obj->count * sizeof(*sorted));
    size_t i, first = 0, kept = 0;

    if (sorted == NULL)
        return false;
    for (i = 0; i < obj->count; i++)
        sorted[i] = &obj->members[i];
    qsort(sorted, obj->count, sizeof(*sorted), by_key_then_place);
    for (i = 1; i < obj->count; i++) {
        if (!has_key(sorted[i], sorted[first]->key, sorted[first]->key_len)) {
            first = i;
            continue;
        }
        sorted[first]->value = sorted[i]->value;
        sorted[i]->value = NULL; /* goes in the next loop */
    }
    free(sorted);
    for (i = 0; i < obj->count; i++)
        if (obj->members[i].value != NULL)
            obj->members[kept++] = obj->members[i];
    obj->count = kept;
    return true;
}

static int refuse(struct parse *p, const char *why)
{
    p->refusal = why;
    return 0;
}

static int place_value(struct parse *p, struct json *v)
{
    struct json *parent = p->depth > 0 ? p->open[p->depth - 1] : NULL;

    if (v == NULL)
        return refuse(p, "out of memory");
    if (parent == NULL) {
        p->root = v;
        p->root_end = yajl_get_bytes_consumed(p->yajl);
        return 1;
    }
    if (!add_member(p->doc, parent, p->key, p->key_len, v))
        return refuse(p, "out of memory");
    p->key = NULL;
    p->key_len = 0;
    return 1;
}

/* A value begins: is it one too many? Asked before anything is made for it. */
static bool count_value(struct parse *p)
{
    if (p->values++ < p->max_values)
        return true;
    snprintf(p->text, sizeof(p->text), "more than %zu values", p->max_values);
    p->over_limit = true;
    refuse(p, p->text);
    return false;
}

static int open_container(struct parse *p, enum json_type type)
{
    struct json *v;

    if (p->depth == MAX_DEPTH)
        return refuse(p, "nested deeper than 128 levels");
    if (!count_value(p))
        return 0;
    v = new_value(p->doc, type);
    if (place_value(p, v) == 0)
        return 0;
    p->open[p->depth++] = v;
    return 1;
}

static int on_null(void *arg)
{
    struct parse *p = arg;

    return count_value(p) ? place_value(p, new_value(p->doc, JSON_NULL)) : 0;
}

static int on_boolean(void *arg, int truth)
{
    struct parse *p = arg;

    return count_value(p) ? place_value(p, json_new_bool(p->doc, truth != 0)) : 0;
}

static int on_number(void *arg, const char *text, size_t len)
{
    struct parse *p = arg;

    return count_value(p) ? place_value(p, new_text_value(p->doc, JSON_NUMBER, text, len)) : 0;
}

static int on_string(void *arg, const unsigned char *text, size_t len)
{
    struct parse *p = arg;

    return count_value(p)
               ? place_value(p, new_text_value(p->doc, JSON_STRING, (const char *)text, len))
               : 0;
}

static int on_key(void *arg, const unsigned char *text, size_t len)
{
    struct parse *p = arg;

    p->key = copy_text(p->doc, (const char *)text, len);
    p->key_len = len;
    return p->key != NULL ? 1 : refuse(p, "out of memory");
}

static int on_start_map(void *arg)
{
    return open_container(arg, JSON_OBJECT);
}

static int on_start_array(void *arg)
{
    return open_container(arg, JSON_ARRAY);
}

static int on_end_map(void *arg)
{
    struct parse *p = arg;
    struct json *obj = p->open[--p->depth];
    size_t told = obj->count;

    p->root_end = yajl_get_bytes_consumed(p->yajl);
    if (obj->count <= FEW_MEMBERS)
        merge_few(obj);
    else if (!merge_many(obj))
        return refuse(p, "out of memory");
    if (obj->count < told)
        p->doc->repeats = true;
    return 1;
}

static int on_end_array(void *arg)
{
    struct parse *p = arg;

    p->depth--;
    p->root_end = yajl_get_bytes_consumed(p->yajl);
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end_map,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end_array,
};

static struct json *fail_at(struct json_error *error, const char *text, size_t offset,
                            const char *message)
{
    size_t len = strcspn(message, "\r\n");

    if (error == NULL)
        return NULL;
    if (message[len - 1] == '.') /* none is empty */
        len--; /* some of yajl's messages are sentences, and all of them end up in one */
    json_place(text, offset, &error->line, &error->column);
    error->over_limit = false;
    snprintf(error->message, sizeof(error->message), "%.*s", (int)len, message);
    return NULL;
}

/* What yajl would let pass. Returns the offset of the first offence, `len` when there is none. */
static size_t find_leniency(const char *text, size_t len, const char **why)
{
    size_t at = utf8_valid_prefix(text, len);
    const char *vertical, *feed;

    if (at < len) {
        *why = "invalid UTF-8";
        return at;
    }
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        *why = "byte order mark; JSON starts without one";
        return 0;
    }
    vertical = memchr(text, '\v', len);
    feed = memchr(text, '\f', vertical != NULL ? (size_t)(vertical - text) : len);
    if (vertical != NULL || feed != NULL) {
        *why = "control byte";
        return (size_t)((feed != NULL ? feed : vertical) - text);
    }
    *why = "\\u escape of half a surrogate pair";
    return json_find_lone_surrogate(text, len);
}

static struct json *fail_from_yajl(struct json_error *error, const char *text, size_t len,
                                   const struct parse *p)
{
    size_t consumed = yajl_get_bytes_consumed(p->yajl);
    unsigned char *owned;
    const char *message = "not valid JSON";

    if (p->refusal != NULL) {
        fail_at(error, text, consumed - 1, p->refusal); /* a token was */
        if (error != NULL)
            error->over_limit = p->over_limit;
        return NULL;
    }
    owned = yajl_get_error(p->yajl, 0, (const unsigned char *)text, len);
    if (owned != NULL)
        message = (const char *)owned;
    fail_at(error, text, json_offending_offset(text, len, consumed, message), message);
    if (owned != NULL)
        yajl_free_error(p->yajl, owned);
    return NULL;
}

/* With yajl at hand. */
static struct json *run(struct parse *p, const char *text, size_t len, struct json_error *error)
{
    size_t garbage;

    yajl_config(p->yajl, yajl_dont_validate_strings, 1); /* done, and more strictly */
    if (yajl_parse(p->yajl, (const unsigned char *)text, len) != yajl_status_ok)
        return fail_from_yajl(error, text, len, p);
    if (p->root == NULL || p->depth > 0) { /* a number at the very end is only handed out now */
        if (yajl_complete_parse(p->yajl) != yajl_status_ok)
            return fail_at(error, text, len,
                           p->refusal != NULL ? p->refusal : "unexpected end of text");
        return p->root;
    }
    garbage = json_skip_blanks(text, len, p->root_end);
    if (garbage < len)
        return fail_at(error, text, garbage, "trailing garbage");
    return p->root;
}

struct json *json_parse(struct json_doc *doc, const char *text, size_t len,
                        struct json_error *error)
{
    return json_parse_most(doc, text, len, JSON_MAX_VALUES, error);
}

struct json *json_parse_most(struct json_doc *doc, const char *text, size_t len, size_t max_values,
                             struct json_error *error)
{
    struct parse p = {.doc = doc, .max_values = max_values};
    const char *why = NULL;
    struct json *root;
    size_t offence;

    if (text == NULL || len == 0)
        return fail_at(error, "", 0, "empty, expected a JSON value");
    offence = find_leniency(text, len, &why);
    if (offence < len)
        return fail_at(error, text, offence, why);
    p.yajl = yajl_alloc(&callbacks, NULL, &p);
    if (p.yajl == NULL) {
        doc->failed = true;
        return fail_at(error, text, 0, "out of memory");
    }
    root = run(&p, text, len, error);
    yajl_free(p.yajl);
    return root;
}

/* --- reading --- */

enum json_type json_type(const struct json *v)
{
    return v != NULL ? v->type : JSON_NULL;
}

bool json_is(const struct json *v, enum json_type type)
{
    return v != NULL && v->type == type;
}

static struct member *find(const struct json *obj, const char *key)
{
    size_t len = strlen(key), i;

    if (!json_is(obj, JSON_OBJECT))
        return NULL;
    for (i = 0; i < obj->count; i++)
        if (has_key(&obj->members[i], key, len))
            return &obj->members[i];
    return NULL;
}

struct json *json_get(const struct json *obj, const char *key)
{
    const struct member *m = find(obj, key);

    return m != NULL ? m->value : NULL;
}

const char *json_str(const struct json *v, size_t *len)
{
    bool is_string = json_is(v, JSON_STRING);

    if (len != NULL)
        *len = is_string ? v->len : 0;
    return is_string ? v->text : NULL;
}

const char *json_get_str(const struct json *obj, const char *key)
{
    return json_str(json_get(obj, key), NULL);
}

/* Plain digits, as nearly all numbers are: no library call for those. */
static bool short_digits(const char *text, size_t len, int64_t *out)
{
    int64_t n = 0;

    if (len > 18)
        return false;
    for (; *text >= '0' && *text <= '9'; text++)
        n = n * 10 + (*text - '0');
    if (*text != '\0')
        return false;
    *out = n;
    return true;
}

bool json_int64(const struct json *v, int64_t *out)
{
    long long value;

    if (!json_is(v, JSON_NUMBER))
        return false;
    if (short_digits(v->text, v->len, out))
        return true;
    if (strpbrk(v->text, ".eE") != NULL)
        return false;
    errno = 0;
    value = strtoll(v->text, NULL, 10);
    if (errno != 0)
        return false;
    *out = value;
    return true;
}

bool json_double(const struct json *v, double *out)
{
    double value;

    if (!json_is(v, JSON_NUMBER))
        return false;
    value = strtod(v->text, NULL);
    if (!isfinite(value))
        return false;
    *out = value;
    return true;
}

bool json_bool(const struct json *v, bool *out)
{
    if (!json_is(v, JSON_BOOL))
        return false;
    *out = v->truth;
    return true;
}

const char *json_number_text(const struct json *v)
{
    return json_is(v, JSON_NUMBER) ? v->text : NULL;
}

size_t json_size(const struct json *v)
{
    return v != NULL ? v->count : 0;
}

struct json *json_at(const struct json *v, size_t i)
{
    return i < json_size(v) ? v->members[i].value : NULL;
}

const char *json_key_at(const struct json *obj, size_t i, size_t *len)
{
    bool there = json_is(obj, JSON_OBJECT) && i < obj->count;

    if (len != NULL)
        *len = there ? obj->members[i].key_len : 0;
    return there ? obj->members[i].key : NULL;
}

/* --- making and editing --- */

/* A copy of text from outside that is valid UTF-8 in any case. */
static const char *copy_clean(struct json_doc *doc, const char *text, size_t *len)
{
    size_t from = 0, to = 0, run;
    char *copy;

    if (utf8_is_valid(text, *len))
        return copy_text(doc, text, *len);
    copy = take(doc, *len * 3 + 1, 1);
    if (copy == NULL)
        return NULL;
    while (from < *len) {
        run = utf8_valid_prefix(text + from, *len - from);
        memcpy(copy + to, text + from, run);
        to += run;
        from += run;
        if (from < *len) {
            memcpy(copy + to, "\xef\xbf\xbd", 3);
            to += 3;
            from++;
        }
    }
    copy[to] = '\0';
    *len = to;
    return copy;
}

struct json *json_new_object(struct json_doc *doc)
{
    return new_value(doc, JSON_OBJECT);
}

struct json *json_new_array(struct json_doc *doc)
{
    return new_value(doc, JSON_ARRAY);
}

struct json *json_new_string(struct json_doc *doc, const char *text, size_t len)
{
    struct json *v = new_value(doc, JSON_STRING);

    if (v == NULL)
        return NULL;
    v->text = copy_clean(doc, text, &len);
    v->len = len;
    return v->text != NULL ? v : NULL;
}

struct json *json_new_cstring(struct json_doc *doc, const char *text)
{
    return text != NULL ? json_new_string(doc, text, strlen(text)) : json_new_null(doc);
}

struct json *json_new_int(struct json_doc *doc, int64_t value)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%lld", (long long)value);

    return new_text_value(doc, JSON_NUMBER, text, (size_t)len);
}

/* The shortest of 15 to 17 digits that reads back as the same number; no JSON spelling exists for
 * infinities. */
struct json *json_new_double(struct json_doc *doc, double value)
{
    char text[40];
    int digits = 15, len;

    if (!isfinite(value))
        return json_new_null(doc);
    do
        len = snprintf(text, sizeof(text), "%.*g", digits++, value);
    while (strtod(text, NULL) != value); /* 17 are always enough */
    return new_text_value(doc, JSON_NUMBER, text, (size_t)len);
}

struct json *json_new_bool(struct json_doc *doc, bool value)
{
    struct json *v = new_value(doc, JSON_BOOL);

    if (v != NULL)
        v->truth = value;
    return v;
}

struct json *json_new_null(struct json_doc *doc)
{
    return new_value(doc, JSON_NULL);
}

void json_set(struct json_doc *doc, struct json *obj, const char *key, struct json *value)
{
    struct member *m;
    const char *copy;
    size_t len = strlen(key);

    if (value == NULL || !json_is(obj, JSON_OBJECT))
        return;
    m = find(obj, key);
    if (m != NULL) {
        m->value = value;
        return;
    }
    copy = copy_clean(doc, key, &len);
    if (copy != NULL)
        add_member(doc, obj, copy, len, value);
}

void json_set_str(struct json_doc *doc, struct json *obj, const char *key, const char *text)
{
    json_set(doc, obj, key, json_new_cstring(doc, text));
}

void json_set_int(struct json_doc *doc, struct json *obj, const char *key, int64_t value)
{
    json_set(doc, obj, key, json_new_int(doc, value));
}

void json_remove(struct json *obj, const char *key)
{
    struct member *m = find(obj, key);

    if (m == NULL)
        return;
    obj->count--;
    memmove(m, m + 1, (size_t)(obj->members + obj->count - m) * sizeof(*m));
}

/* Which of the names a member has; `num`: none of them. They mostly come in the order that is wanted,
 * so the look begins behind the one before. */
static size_t rank_of(const struct member *m, const char *const *keys, size_t num, size_t first)
{
    for (size_t n = 0, i = first; n < num; n++, i++) {
        if (i >= num)
            i = 0;
        if (has_key(m, keys[i], strlen(keys[i])))
            return i;
    }
    return num;
}

void json_order(struct json_doc *doc, struct json *obj, const char *const *keys, size_t num)
{
    struct member *ordered;
    size_t room = num + json_size(obj), behind = num, next = 0, rank;

    if (!json_is(obj, JSON_OBJECT))
        return;
    ordered = take(doc, room * sizeof(*ordered), _Alignof(struct member));
    if (ordered == NULL)
        return;
    memset(ordered, 0, num * sizeof(*ordered));
    for (size_t i = 0; i < obj->count; i++) {
        rank = rank_of(&obj->members[i], keys, num, next);
        ordered[rank < num ? rank : behind++] = obj->members[i];
        next = rank < num ? rank + 1 : next;
    }
    for (size_t i = 0; i < num; i++) {
        if (ordered[i].value != NULL)
            continue;
        ordered[i] = (struct member){keys[i], strlen(keys[i]), json_new_null(doc)};
        if (ordered[i].value == NULL)
            return;
    }
    obj->members = ordered;
    obj->count = behind;
    obj->room = room;
}

void json_assign(struct json *v, const struct json *from)
{
    if (v != NULL && from != NULL)
        *v = *from;
}

void json_append(struct json_doc *doc, struct json *array, struct json *value)
{
    if (value != NULL && json_is(array, JSON_ARRAY))
        add_member(doc, array, NULL, 0, value);
}

/* --- printing --- */

static void write_members(const struct json *v, struct strbuf *out)
{
    size_t i;

    for (i = 0; i < v->count; i++) {
        if (i > 0)
            strbuf_addc(out, ',');
        if (v->members[i].key != NULL) {
            json_write_string(out, v->members[i].key, v->members[i].key_len);
            strbuf_addc(out, ':');
        }
        json_write(v->members[i].value, out);
    }
}

void json_write(const struct json *v, struct strbuf *out)
{
    switch (json_type(v)) {
    case JSON_NULL:
        strbuf_adds(out, "null");
        return;
    case JSON_BOOL:
        strbuf_adds(out, v->truth ? "true" : "false");
        return;
    case JSON_NUMBER:
        strbuf_add(out, v->text, v->len);
        return;
    case JSON_STRING:
        json_write_string(out, v->text, v->len);
        return;
    case JSON_ARRAY:
        strbuf_addc(out, '[');
        write_members(v, out);
        strbuf_addc(out, ']');
        return;
    case JSON_OBJECT:
        strbuf_addc(out, '{');
        write_members(v, out);
        strbuf_addc(out, '}');
        return;
    }
}
