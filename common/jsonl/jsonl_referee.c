/* The slow reader of batch lines: yajl decides what is JSON and says why not. What yajl lets pass
 * although the RFCs do not (overlong UTF-8, surrogates, half surrogate pairs, form feeds) is looked
 * for first.
 *
 * All of it is done in slices. yajl is fed pieces that end where a token ends, because what it says
 * of places counts from the begin of a piece. A long string it decodes at once, which takes 5 ms a
 * MiB of escapes: where nothing is wrong with one, yajl gets an empty string in its place. */
#include "jsonl/jsonl_referee.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_parse.h>

#include "json/json_text.h"

enum {
    PIECE_BYTES = 16384, /* fed at once, unless a token is longer */
    LONG_STRING = 4096   /* bytes between its quotes */
};

enum stage { STAGE_UTF8, STAGE_CONTROLS, STAGE_SURROGATES, STAGE_PARSE };

struct jsonl_referee {
    const char *line; /* borrowed */
    size_t len;
    enum stage stage;
    size_t at;                     /* how far the stage is */
    yajl_handle yajl;              /* owned; NULL before it is needed */
    struct jsonl_facts *facts;     /* borrowed */
    struct jsonl_refusal *refusal; /* borrowed */
    unsigned depth, max_depth;
    bool in_body, rooted;              /* as in jsonl_scan.c; the root has been seen */
    bool is_array[JSONL_ID_DEPTH + 1]; /* the levels that token ids may stand in */
    struct jsonl_place place;
    enum jsonl_field field; /* what the key before stands for */
    size_t key_at;
    size_t root_end; /* offset behind the root */
    size_t piece_at; /* offset of what yajl was fed last */
    /* The long string that yajl has got an empty one for; 0: it gets what is there. */
    size_t long_len, long_saved;
    /* The string that is being looked at, as far as that went. */
    size_t string_at, string_to, string_saved;
    /* A number at the very end is only handed out when yajl is told that it is one */
    size_t flushed_at;
    bool too_deep;
};

/* yajl has just handed out a token; where it ends. */
static size_t token_end(const struct jsonl_referee *r)
{
    if (r->flushed_at != 0)
        return r->flushed_at;
    if (r->long_len != 0)
        return r->piece_at + r->long_len + 2;
    return r->piece_at + yajl_get_bytes_consumed(r->yajl);
}

/* The opening quote of the string that ends before `end`: quotes inside are behind an odd number of
 * backslashes. */
static size_t string_start(const struct jsonl_referee *r, size_t end)
{
    const char *line = r->line;
    size_t at = end - 1, slashes;

    if (r->long_len != 0)
        return r->piece_at;
    do {
        while (line[--at] != '"')
            ;
        for (slashes = 0; slashes < at && line[at - 1 - slashes] == '\\'; slashes++)
            ;
    } while (slashes % 2 != 0);
    return at;
}

static enum jsonl_field take_field(struct jsonl_referee *r)
{
    enum jsonl_field field = r->field;

    r->field = FIELD_OTHER;
    return field;
}

static void note(struct jsonl_referee *r, enum jsonl_field field, const struct jsonl_value *value)
{
    if (!r->rooted) {
        r->rooted = true;
        r->facts->root = value->type;
        r->facts->root_at = value->at;
        r->root_end = token_end(r);
    }
    if (field < NUM_FIELDS)
        jsonl_note(r->facts, field, value, r->key_at);
}

static int note_word(struct jsonl_referee *r, enum json_type type, size_t len)
{
    struct jsonl_value value = {.type = type, .at = token_end(r) - len};

    note(r, take_field(r), &value);
    return 1;
}

static int on_null(void *arg)
{
    return note_word(arg, JSON_NULL, 4);
}

static int on_boolean(void *arg, int truth)
{
    return note_word(arg, JSON_BOOL, truth ? 4 : 5);
}

static int on_number(void *arg, const char *text, size_t len)
{
    struct jsonl_referee *r = arg;

    if (jsonl_is_bound(r->field))
        jsonl_note_bound(r->facts, r->field, text, len);
    else if (r->place.in == FIELD_IDS && r->depth <= JSONL_ID_DEPTH && r->is_array[r->depth])
        jsonl_note_id(r->facts, text, len);
    return note_word(r, JSON_NUMBER, len);
}

static int on_string(void *arg, const unsigned char *text, size_t len)
{
    struct jsonl_referee *r = arg;
    enum jsonl_field field = take_field(r);
    size_t end = token_end(r);
    size_t start = string_start(r, end);
    size_t size = r->long_len != 0 ? r->long_len - r->long_saved : len; /* decoded */
    struct jsonl_value value = {
        .type = JSON_STRING, .at = start, .len = end - start, .escaped = end - start != size + 2};

    (void)text;
    note(r, field, &value);
    if (r->place.in != FIELD_OTHER || jsonl_is_prompt(field))
        jsonl_note_text(r->facts, &r->place, r->line + start + 1, value.len - 2, size);
    return 1;
}

static int on_key(void *arg, const unsigned char *text, size_t len)
{
    struct jsonl_referee *r = arg;
    size_t end = token_end(r), start = string_start(r, end);

    r->place.key = r->line + start + 1;
    r->place.key_len = end - start - 2;
    r->field = FIELD_OTHER;
    if (r->depth == 1)
        r->field = jsonl_top_field((const char *)text, len);
    else if (r->depth == 2 && r->in_body)
        r->field = jsonl_body_field((const char *)text, len);
    r->key_at = start;
    return 1;
}

static int on_start(struct jsonl_referee *r, enum json_type type)
{
    enum jsonl_field field = take_field(r);
    struct jsonl_value value = {.type = type, .at = token_end(r) - 1};

    if (r->depth >= r->max_depth) {
        r->too_deep = true;
        return 0;
    }
    r->depth++;
    if (r->depth <= JSONL_ID_DEPTH)
        r->is_array[r->depth] = type == JSON_ARRAY;
    note(r, field, &value);
    if (field == FIELD_BODY)
        r->in_body = type == JSON_OBJECT;
    else if (jsonl_is_prompt(field))
        jsonl_enter_prompt(&r->place, field, type == JSON_OBJECT, value.at);
    return 1;
}

static int on_start_map(void *arg)
{
    return on_start(arg, JSON_OBJECT);
}

static int on_start_array(void *arg)
{
    return on_start(arg, JSON_ARRAY);
}

static int on_end(void *arg)
{
    struct jsonl_referee *r = arg;

    r->depth--;
    r->root_end = token_end(r);
    if (r->depth <= 2 && r->place.in != FIELD_OTHER)
        jsonl_leave_prompt(&r->place, r->facts, r->root_end);
    if (r->depth <= 1)
        r->in_body = false;
    return 1;
}

static const yajl_callbacks callbacks = {
    .yajl_null = on_null,
    .yajl_boolean = on_boolean,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_start_map = on_start_map,
    .yajl_map_key = on_key,
    .yajl_end_map = on_end,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end,
};

static int refuse(struct jsonl_refusal *refusal, size_t at, const char *code, const char *message)
{
    refusal->at = at;
    refusal->code = code;
    snprintf(refusal->message, sizeof(refusal->message), "%s", message);
    return ERR_SYNTAX;
}

static int refuse_json(struct jsonl_refusal *refusal, size_t at, const char *message)
{
    const char *text = message;

    if (strncmp(text, "lexical error: ", 15) == 0)
        text += 15;
    else if (strncmp(text, "parse error: ", 13) == 0)
        text += 13;
    refusal->at = at;
    refusal->code = "invalid_json_line";
    snprintf(refusal->message, sizeof(refusal->message), "This line is not valid JSON: %.*s",
             (int)strcspn(text, ".\r\n"), text);
    return ERR_SYNTAX;
}

/* The place that yajl means, from what it has got last: a piece begins where a token does. */
static size_t offending_offset(const struct jsonl_referee *r, const char *message)
{
    if (r->long_len != 0)
        return r->piece_at;
    return r->piece_at + json_offending_offset(r->line + r->piece_at, r->at - r->piece_at,
                                               yajl_get_bytes_consumed(r->yajl), message);
}

static int refuse_from_yajl(const struct jsonl_referee *r)
{
    unsigned char *owned;
    int err;

    if (r->too_deep) {
        refuse(r->refusal, token_end(r) - 1, "nesting_too_deep", "");
        snprintf(r->refusal->message, sizeof(r->refusal->message),
                 "Objects and arrays are nested deeper than the %u levels that are allowed",
                 r->max_depth);
        return ERR_SYNTAX;
    }
    owned = yajl_get_error(r->yajl, 0, (const unsigned char *)r->line, r->len);
    if (owned == NULL)
        return ERR_NOMEM;
    err = refuse_json(r->refusal, offending_offset(r, (const char *)owned), (const char *)owned);
    yajl_free_error(r->yajl, owned);
    return err;
}

/* --- what yajl lets pass --- */

static int next_stage(struct jsonl_referee *r, enum stage stage)
{
    r->stage = stage;
    r->at = 0;
    return JSONL_REFEREE_MORE;
}

static int check_utf8(struct jsonl_referee *r)
{
    size_t n;

    if (r->at == 0 && utf8_is_valid(r->line, r->len)) /* fast, but does not say where */
        return next_stage(r, STAGE_CONTROLS);
    n = r->len - r->at < PIECE_BYTES ? r->len - r->at : PIECE_BYTES;
    n = utf8_valid_prefix(r->line + r->at, n);
    if (n == 0)
        return refuse(r->refusal, r->at, "invalid_json_line", "This line is not valid UTF-8");
    r->at += n;
    return JSONL_REFEREE_MORE;
}

static int check_controls(struct jsonl_referee *r)
{
    const char *vertical = memchr(r->line, '\v', r->len);
    size_t upto = vertical != NULL ? (size_t)(vertical - r->line) : r->len;
    const char *feed = memchr(r->line, '\f', upto);

    if (feed != NULL)
        upto = (size_t)(feed - r->line);
    if (upto < r->len)
        return refuse(r->refusal, upto, "invalid_json_line",
                      "This line is not valid JSON: control byte");
    return next_stage(r, STAGE_SURROGATES);
}

static int check_surrogates(struct jsonl_referee *r)
{
    if (!json_surrogates_some(r->line, r->len, &r->at, PIECE_BYTES / 2))
        return JSONL_REFEREE_MORE;
    if (r->at < r->len)
        return refuse(r->refusal, r->at, "invalid_json_line",
                      "This line is not valid JSON: \\u escape of half a surrogate pair");
    return next_stage(r, STAGE_PARSE);
}

/* --- pieces --- */

/* Bytes of an escape that nothing is wrong with, and how many less it is decoded; 0: something is,
 * or it is cut off. Halves of pairs have gone. */
static size_t escape_size(const char *p, size_t left, size_t *saved)
{
    size_t unit = 0;

    if (left < 2)
        return 0;
    if (p[1] != 'u') {
        *saved += 1;
        return p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) != NULL ? 2 : 0;
    }
    if (left < 6)
        return 0;
    for (int i = 2; i < 6; i++) {
        if (!isxdigit((unsigned char)p[i]))
            return 0;
        unit = unit * 16 + (size_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
    }
    *saved += unit < 0x80 ? 5 : unit < 0x800 ? 4 : unit < 0xd800 || unit > 0xdfff ? 3 : 4;
    return 6;
}

/* string_to is at: no end yet; its closing quote; something wrong, or the end of the line. */
enum string_end { STRING_MORE, STRING_CLOSED, STRING_ODD };

/* Go on in the string at string_at. */
static enum string_end find_string_end(struct jsonl_referee *r)
{
    size_t until = r->string_to + PIECE_BYTES, n;

    for (; r->string_to < r->len && r->string_to < until; r->string_to += n) {
        const char *p = r->line + r->string_to;

        n = (unsigned char)*p >= 0x20;
        if (*p == '"')
            return STRING_CLOSED;
        if (*p == '\\')
            n = escape_size(p, r->len - r->string_to, &r->string_saved);
        if (n == 0)
            return STRING_ODD;
    }
    return r->string_to == r->len ? STRING_ODD : STRING_MORE;
}

/* Bytes that stand, or might, at offset `at`. */
static int feed(struct jsonl_referee *r, const char *text, size_t len, size_t at)
{
    r->piece_at = at;
    if (yajl_parse(r->yajl, (const unsigned char *)text, len) != yajl_status_ok)
        return refuse_from_yajl(r);
    return JSONL_REFEREE_MORE;
}

/* Where a piece that begins at r->at ends: behind a comma or a string, before a long string. */
static size_t piece_end(struct jsonl_referee *r)
{
    size_t at = r->at, full = at + PIECE_BYTES;

    while (at < r->len) {
        char c = r->line[at];

        if (c != '"') {
            at++;
            if (at >= full && (c == ',' || c == '[' || c == '{' || c == ' ' || c == '\t'))
                break;
            continue;
        }
        r->string_at = at;
        r->string_to = at + 1;
        r->string_saved = 0;
        if (find_string_end(r) != STRING_CLOSED || r->string_to - at - 1 > LONG_STRING)
            break;
        at = r->string_to + 1;
        if (at >= full)
            break;
    }
    return at;
}

/* What is wrong in a string, without all that is right before it. yajl stops there. */
static int feed_odd(struct jsonl_referee *r)
{
    r->at = r->len;
    return feed(r, r->line + r->string_to, r->len - r->string_to, r->string_to);
}

/* Nothing is wrong in a long string: no byte of it is needed. */
static int feed_long(struct jsonl_referee *r)
{
    int err;

    r->at = r->string_to + 1;
    r->long_len = r->string_to - r->string_at - 1;
    r->long_saved = r->string_saved;
    err = feed(r, "\"", 1, r->string_at);
    r->long_len = 0;
    return err;
}

/* The string at r->at, which is long or odd. Its quote ends a number that stands before it. */
static int take_string(struct jsonl_referee *r)
{
    enum string_end end = find_string_end(r);
    int err;

    if (end == STRING_MORE)
        return JSONL_REFEREE_MORE;
    err = feed(r, "\"", 1, r->string_at);
    if (err != JSONL_REFEREE_MORE)
        return err;
    return end == STRING_ODD ? feed_odd(r) : feed_long(r);
}

static int finish(struct jsonl_referee *r)
{
    size_t garbage;

    if (!r->rooted || r->depth > 0) {
        r->flushed_at = r->len;
        if (yajl_complete_parse(r->yajl) != yajl_status_ok)
            return refuse_json(r->refusal, r->len, "it ends too early");
        return 0;
    }
    garbage = json_skip_blanks(r->line, r->len, r->root_end);
    if (garbage < r->len)
        return refuse_json(r->refusal, garbage, "trailing garbage");
    return 0;
}

static int parse(struct jsonl_referee *r)
{
    size_t begin;

    if (r->at == r->len)
        return finish(r);
    if (r->string_at == r->at)
        return take_string(r);
    begin = r->at;
    r->at = piece_end(r);
    return feed(r, r->line + begin, r->at - begin, begin);
}

struct jsonl_referee *jsonl_referee_new(const char *line, size_t len, unsigned max_depth,
                                        struct jsonl_facts *facts, struct jsonl_refusal *refusal)
{
    struct jsonl_referee *r = calloc(1, sizeof(*r));

    memset(facts, 0, sizeof(*facts));
    if (r == NULL)
        return NULL;
    *r = (struct jsonl_referee){.line = line,
                                .len = len,
                                .facts = facts,
                                .refusal = refusal,
                                .max_depth = max_depth,
                                .field = FIELD_OTHER,
                                .string_at = SIZE_MAX,
                                .place = {.in = FIELD_OTHER}};
    r->yajl = yajl_alloc(&callbacks, NULL, r);
    if (r->yajl == NULL) {
        free(r);
        return NULL;
    }
    yajl_config(r->yajl, yajl_dont_validate_strings, 1); /* done */
    return r;
}

void jsonl_referee_free(struct jsonl_referee *r)
{
    if (r == NULL)
        return;
    yajl_free(r->yajl);
    free(r);
}

static int step(struct jsonl_referee *r)
{
    switch (r->stage) {
    case STAGE_UTF8:
        return check_utf8(r);
    case STAGE_CONTROLS:
        return check_controls(r);
    case STAGE_SURROGATES:
        return check_surrogates(r);
    case STAGE_PARSE:
        return parse(r);
    }
    return ERR_BAD_STATE;
}

int jsonl_referee_some(struct jsonl_referee *r)
{
    int err = step(r);

    if (err == 0)
        jsonl_note_end(r->facts);
    return err;
}

int jsonl_referee(const char *line, size_t len, unsigned max_depth, struct jsonl_facts *facts,
                  struct jsonl_refusal *refusal)
{
    struct jsonl_referee *r = jsonl_referee_new(line, len, max_depth, facts, refusal);
    int err = JSONL_REFEREE_MORE;

    if (r == NULL)
        return ERR_NOMEM;
    while (err == JSONL_REFEREE_MORE)
        err = jsonl_referee_some(r);
    jsonl_referee_free(r);
    return err;
}
