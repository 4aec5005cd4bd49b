/* The slow reader of batch lines: yajl decides what is JSON and says why not. What yajl lets pass
 * although the RFCs do not (overlong UTF-8, surrogates, half surrogate pairs, form feeds) is looked
 * for first. */
#include "jsonl_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_parse.h>

#include "json/json_text.h"

struct reading {
    const char *line; /* borrowed */
    yajl_handle yajl; /* borrowed */
    struct jsonl_facts *facts;
    unsigned depth, max_depth;
    bool in_body, rooted;              /* as in jsonl_scan.c; the root has been seen */
    bool is_array[JSONL_ID_DEPTH + 1]; /* the levels that token ids may stand in */
    struct jsonl_place place;
    enum jsonl_field field; /* what the key before stands for */
    size_t key_at;
    size_t root_end;   /* offset behind the root */
    size_t flushed_at; /* a number at the very end is only handed out when yajl is told that it is
                          one */
    bool too_deep;
};

/* yajl has just handed out a token; where it ends. */
static size_t token_end(const struct reading *r)
{
    return r->flushed_at != 0 ? r->flushed_at : yajl_get_bytes_consumed(r->yajl);
}

/* The opening quote of the string that ends before `end`: quotes inside are behind an odd number of
 * backslashes. */
static size_t string_start(const char *line, size_t end)
{
    size_t at = end - 1, slashes;

    while (at > 0) {
        at--;
        if (line[at] != '"')
            continue;
        for (slashes = 0; slashes < at && line[at - 1 - slashes] == '\\'; slashes++)
            ;
        if (slashes % 2 == 0)
            break;
    }
    return at;
}

static enum jsonl_field take_field(struct reading *r)
{
    enum jsonl_field field = r->field;

    r->field = FIELD_OTHER;
    return field;
}

static void note(struct reading *r, enum jsonl_field field, const struct jsonl_value *value)
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

static int note_word(struct reading *r, enum json_type type, size_t len)
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
    struct reading *r = arg;

    if (r->field == FIELD_TOKENS)
        jsonl_note_tokens(r->facts, text, len);
    else if (r->place.in == FIELD_IDS && r->depth <= JSONL_ID_DEPTH && r->is_array[r->depth])
        jsonl_note_id(r->facts, text, len);
    return note_word(r, JSON_NUMBER, len);
}

static int on_string(void *arg, const unsigned char *text, size_t len)
{
    struct reading *r = arg;
    enum jsonl_field field = take_field(r);
    size_t end = token_end(r);
    size_t start = string_start(r->line, end);
    struct jsonl_value value = {
        .type = JSON_STRING, .at = start, .len = end - start, .escaped = end - start != len + 2};

    (void)text;
    note(r, field, &value);
    if (r->place.in != FIELD_OTHER || jsonl_is_prompt(field))
        jsonl_note_text(r->facts, &r->place, r->line + start + 1, value.len - 2, len);
    return 1;
}

static int on_key(void *arg, const unsigned char *text, size_t len)
{
    struct reading *r = arg;
    size_t end = token_end(r), start = string_start(r->line, end);

    r->place.key = r->line + start + 1;
    r->place.key_len = end - start - 2;
    r->field = FIELD_OTHER;
    if (r->depth == 1)
        r->field = jsonl_top_field((const char *)text, len);
    else if (r->depth == 2 && r->in_body)
        r->field = jsonl_body_field((const char *)text, len);
    if (r->field < NUM_FIELDS)
        r->key_at = start;
    return 1;
}

static int on_start(struct reading *r, enum json_type type)
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
    struct reading *r = arg;

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

static int refuse_from_yajl(const struct reading *r, size_t len, struct jsonl_refusal *refusal)
{
    size_t consumed = token_end(r);
    unsigned char *owned;
    int err;

    if (r->too_deep) {
        refuse(refusal, consumed - 1, "nesting_too_deep", "");
        snprintf(refusal->message, sizeof(refusal->message),
                 "Objects and arrays are nested deeper than the %u levels that are allowed",
                 r->max_depth);
        return ERR_SYNTAX;
    }
    owned = yajl_get_error(r->yajl, 0, (const unsigned char *)r->line, len);
    if (owned == NULL)
        return ERR_NOMEM;
    err = refuse_json(refusal, json_offending_offset(r->line, len, consumed, (const char *)owned),
                      (const char *)owned);
    yajl_free_error(r->yajl, owned);
    return err;
}

/* What yajl lets pass. */
static int check_text(const char *line, size_t len, struct jsonl_refusal *refusal)
{
    size_t at = utf8_valid_prefix(line, len);

    if (at < len)
        return refuse(refusal, at, "invalid_json_line", "This line is not valid UTF-8");
    for (at = 0; at < len; at++)
        if (line[at] == '\v' || line[at] == '\f')
            return refuse(refusal, at, "invalid_json_line",
                          "This line is not valid JSON: control byte");
    at = json_find_lone_surrogate(line, len);
    if (at < len)
        return refuse(refusal, at, "invalid_json_line",
                      "This line is not valid JSON: \\u escape of half a surrogate pair");
    return 0;
}

/* With yajl at hand. */
static int run(struct reading *r, size_t len, struct jsonl_refusal *refusal)
{
    size_t garbage;

    if (yajl_parse(r->yajl, (const unsigned char *)r->line, len) != yajl_status_ok)
        return refuse_from_yajl(r, len, refusal);
    if (!r->rooted || r->depth > 0) {
        r->flushed_at = len;
        if (yajl_complete_parse(r->yajl) != yajl_status_ok)
            return refuse_json(refusal, len, "it ends too early");
        return 0;
    }
    garbage = json_skip_blanks(r->line, len, r->root_end);
    if (garbage < len)
        return refuse_json(refusal, garbage, "trailing garbage");
    return 0;
}

int jsonl_referee(const char *line, size_t len, unsigned max_depth, struct jsonl_facts *facts,
                  struct jsonl_refusal *refusal)
{
    struct reading r = {.line = line,
                        .facts = facts,
                        .max_depth = max_depth,
                        .field = FIELD_OTHER,
                        .place = {.in = FIELD_OTHER}};
    int err = check_text(line, len, refusal);

    memset(facts, 0, sizeof(*facts));
    if (err != 0)
        return err;
    r.yajl = yajl_alloc(&callbacks, NULL, &r);
    if (r.yajl == NULL)
        return ERR_NOMEM;
    yajl_config(r.yajl, yajl_dont_validate_strings, 1); /* done */
    err = run(&r, len, refusal);
    jsonl_note_end(facts);
    yajl_free(r.yajl);
    return err;
}
