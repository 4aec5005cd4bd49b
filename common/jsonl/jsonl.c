/* The line checker: cuts the bytes into lines, has each read (jsonl_reader) and
 * applies the rules of batch files to what was found. Whatever is decided depends on bytes and
 * their offsets, never on how they came in pieces. */
#include "jsonl/jsonl.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json/json_text.h"
#include "jsonl/jsonl_facts.h"
#include "jsonl_impl.h"
#include "jsonl_inputs.h"

enum {
    DEFAULT_LINE_BYTES = 64 * 1024 * 1024,
    DEFAULT_LINES = 100 * 1000,
    DEFAULT_DEPTH = 1000,
    MAX_ERRORS = 50,
    EXCERPT_BYTES = 60,
    SPELLING_BYTES = 13, /* of one character, with a NUL */
    SLICED_BYTES = 65536 /* a line so long is read in slices, where slices are wanted */
};

static const char *const field_names[NUM_FIELDS] = {"custom_id", "method", "url", "body",
                                                    "body.model"};

/* --- problems --- */

static void stop(struct jsonl *j, int code)
{
    if (j->result == 0)
        j->result = code;
}

/* `at` is an offset in the line, behind a byte order mark. */
static void __attribute__((format(printf, 5, 6)))
add_problem(struct jsonl *j, size_t at, const char *field, const char *code, const char *fmt, ...)
{
    struct jsonl_problem *p;
    va_list args;

    if (j->result != 0)
        return;
    p = &j->problems[j->num_problems++];
    p->line = j->line;
    p->column = j->base + at + 1;
    snprintf(p->field, sizeof(p->field), "%s", field);
    snprintf(p->code, sizeof(p->code), "%s", code);
    va_start(args, fmt);
    vsnprintf(p->message, sizeof(p->message), fmt, args);
    va_end(args);
    if (j->num_problems == j->rules.max_errors)
        stop(j, ERR_SYNTAX);
}

/* The beginning of a text from the file (valid UTF-8), fit for a message: what does not show as
 * itself, or looks like something else (a hyphen that is none, a blank without width), is spelled
 * out. */
struct excerpt {
    char text[EXCERPT_BYTES + 4];
};

/* One character. @return its bytes in `text`; *size: those of its spelling in `out` */
static size_t spell(const char *text, char out[SPELLING_BYTES], int *size)
{
    unsigned char c = (unsigned char)text[0];
    uint32_t code;
    size_t len = 1;

    if (c == '"' || c == '\\')
        *size = snprintf(out, SPELLING_BYTES, "\\%c", c);
    else if (c >= 0x20 && c < 0x7f)
        *size = snprintf(out, SPELLING_BYTES, "%c", c);
    else if (c < 0x80)
        *size = snprintf(out, SPELLING_BYTES, "\\x%02x", c);
    if (c < 0x80)
        return 1;
    len = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    code = c & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        code = code << 6 | ((unsigned char)text[i] & 0x3f);
    if (code < 0x10000)
        *size = snprintf(out, SPELLING_BYTES, "\\u%04x", code);
    else /* as in JSON */
        *size = snprintf(out, SPELLING_BYTES, "\\u%04x\\u%04x", 0xd7c0 + (code >> 10),
                         0xdc00 + (code & 0x3ff));
    return len;
}

static struct excerpt excerpt(const char *text, size_t len)
{
    struct excerpt e;
    char spelling[SPELLING_BYTES];
    size_t used = 0, at = 0;
    int size;

    while (at < len) {
        size_t n = spell(text + at, spelling, &size);

        if (used + (size_t)size > EXCERPT_BYTES)
            break;
        memcpy(e.text + used, spelling, (size_t)size);
        used += (size_t)size;
        at += n;
    }
    memcpy(e.text + used, at < len ? "..." : "", at < len ? 4 : 1);
    return e;
}

static const char *type_name(enum json_type type)
{
    switch (type) {
    case JSON_NULL:
        return "null";
    case JSON_BOOL:
        return "a boolean";
    case JSON_NUMBER:
        return "a number";
    case JSON_STRING:
        return "a string";
    case JSON_ARRAY:
        return "an array";
    case JSON_OBJECT:
        return "an object";
    }
    return "something else";
}

/* --- the rules of one request --- */

static bool check_once(struct jsonl *j, const struct jsonl_reader *line, enum jsonl_field field)
{
    const struct jsonl_value *v = &line->facts.fields[field];

    if (!v->repeated)
        return true;
    add_problem(j, v->repeat_at, field_names[field], "duplicate_key",
                "`%s` stands twice in this line; expected once", field_names[field]);
    return false;
}

/* There, once, and of the type wanted. */
static bool check_field(struct jsonl *j, const struct jsonl_reader *line, enum jsonl_field field,
                        enum json_type type, const char *expected)
{
    const struct jsonl_value *v = &line->facts.fields[field];
    size_t parent_at =
        field == FIELD_MODEL ? line->facts.fields[FIELD_BODY].at : line->facts.root_at;

    if (!v->present) {
        add_problem(j, parent_at, field_names[field], "missing_required_parameter",
                    "`%s` is missing; expected %s", field_names[field], expected);
        return false;
    }
    if (!check_once(j, line, field))
        return false;
    if (v->type != type) {
        add_problem(j, v->at, field_names[field], "invalid_type", "`%s` is %s; expected %s",
                    field_names[field], type_name(v->type), expected);
        return false;
    }
    if (v->len > JSONL_MAX_VALUE) {
        add_problem(j, v->at, field_names[field], "invalid_value",
                    "`%s` takes %zu bytes; expected %d at most", field_names[field], v->len,
                    JSONL_MAX_VALUE);
        return false;
    }
    return true;
}

/* The decoded text of a string value. Valid until the next call; NULL when out of memory. */
static const char *decoded(struct jsonl *j, const struct jsonl_reader *line, enum jsonl_field field,
                           size_t *len)
{
    const struct jsonl_value *v = &line->facts.fields[field];
    const char *raw = line->text + v->at + 1;

    *len = v->len - 2;
    if (!v->escaped)
        return raw;
    strbuf_reset(&j->scratch);
    json_decode_string(raw, *len, &j->scratch);
    if (strbuf_failed(&j->scratch)) {
        stop(j, ERR_NOMEM);
        return NULL;
    }
    *len = j->scratch.len;
    return strbuf_str(&j->scratch);
}

static bool text_is(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(text, word, len) == 0;
}

static bool has_control(const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return true;
    return false;
}

static void keep(struct jsonl *j, struct strbuf *out, const char *text, size_t len)
{
    strbuf_add(out, text, len);
    if (strbuf_failed(out))
        stop(j, ERR_NOMEM);
}

static void check_custom_id(struct jsonl *j, const struct jsonl_reader *line)
{
    size_t at = line->facts.fields[FIELD_CUSTOM_ID].at, len;
    uint32_t first = 0;
    const char *id;
    int err;

    if (!check_field(j, line, FIELD_CUSTOM_ID, JSON_STRING, "a string that is unique in the file"))
        return;
    id = decoded(j, line, FIELD_CUSTOM_ID, &len);
    if (id == NULL)
        return;
    if (len == 0) {
        add_problem(j, at, "custom_id", "invalid_value",
                    "`custom_id` is empty; expected a string that is unique in the file");
        return;
    }
    err = idset_add(&j->ids, id, len, j->line, &first);
    if (err == ERR_DUPLICATE)
        add_problem(j, at, "custom_id", "duplicate_custom_id",
                    "`custom_id` \"%s\" was used in line %u already; expected a unique one",
                    excerpt(id, len).text, first);
    else if (err != 0)
        stop(j, err);
}

static void check_method(struct jsonl *j, const struct jsonl_reader *line)
{
    size_t at = line->facts.fields[FIELD_METHOD].at, len;
    const char *method;

    if (!check_field(j, line, FIELD_METHOD, JSON_STRING, "\"POST\""))
        return;
    method = decoded(j, line, FIELD_METHOD, &len);
    if (method != NULL && !text_is(method, len, "POST"))
        add_problem(j, at, "method", "invalid_method", "`method` is \"%s\"; expected \"POST\"",
                    excerpt(method, len).text);
}

static bool url_is_allowed(const struct jsonl *j, const char *url, size_t len)
{
    const char *const *endpoint = j->rules.endpoints;

    if (has_control(url, len))
        return false;
    if (endpoint == NULL)
        return url[0] == '/'; /* in an empty one it is the closing quote */
    for (; *endpoint != NULL; endpoint++)
        if (text_is(url, len, *endpoint))
            return true;
    return false;
}

static void add_url_problem(struct jsonl *j, size_t at, const char *url, size_t len)
{
    const char *const *endpoint = j->rules.endpoints;
    char expected[160] = "a path that starts with /";
    size_t used = 0;

    if (has_control(url, len))
        snprintf(expected, sizeof(expected), "a path without control characters");
    if (endpoint != NULL)
        snprintf(expected, sizeof(expected), "an endpoint");
    for (; endpoint != NULL && *endpoint != NULL; endpoint++) {
        if (used + strlen(*endpoint) + 8 > sizeof(expected)) {
            if (used > 0)
                snprintf(expected + used, sizeof(expected) - used, ", ...");
            break;
        }
        used += (size_t)snprintf(expected + used, sizeof(expected) - used, "%s%s",
                                 used > 0 ? ", " : "", *endpoint);
    }
    add_problem(j, at, "url", "invalid_url", "`url` is \"%s\"; expected %s%s",
                excerpt(url, len).text, j->rules.endpoints != NULL && used > 0 ? "one of " : "",
                expected);
}

static void check_url(struct jsonl *j, const struct jsonl_reader *line)
{
    size_t at = line->facts.fields[FIELD_URL].at, len;
    const char *url;

    if (!check_field(j, line, FIELD_URL, JSON_STRING, "the path of an endpoint"))
        return;
    url = decoded(j, line, FIELD_URL, &len);
    if (url == NULL)
        return;
    if (!url_is_allowed(j, url, len)) {
        add_url_problem(j, at, url, len);
    } else if (j->url_line == 0) {
        keep(j, &j->url, url, len);
        j->url_line = j->line;
    } else if (!text_is(url, len, strbuf_str(&j->url))) {
        add_problem(
            j, at, "url", "url_mismatch",
            "`url` is \"%s\"; expected \"%s\" as in line %llu: one file goes to one endpoint",
            excerpt(url, len).text, excerpt(j->url.data, j->url.len).text,
            (unsigned long long)j->url_line);
    }
}

static void add_varint(struct strbuf *out, uint64_t value)
{
    while (value >= 0x80) {
        strbuf_addc(out, (char)(value | 0x80));
        value >>= 7;
    }
    strbuf_addc(out, (char)value);
}

static void keep_span(struct jsonl *j, const struct jsonl_value *v)
{
    uint64_t at = j->line_at + j->base + v->at;
    bool other_len = v->len != j->last_span_len;

    add_varint(&j->spans, (at - j->last_span_end) << 1 | other_len);
    if (other_len)
        add_varint(&j->spans, v->len);
    j->last_span_end = at + v->len;
    j->last_span_len = v->len;
    j->span_bytes += v->len;
    j->num_spans++;
    if (strbuf_failed(&j->spans))
        stop(j, ERR_NOMEM);
}

/* No model in this line. */
static void check_no_model(struct jsonl *j, const struct jsonl_reader *line)
{
    if (j->model_state == MODEL_NAMED) {
        add_problem(j, line->facts.fields[FIELD_BODY].at, "body.model",
                    "missing_required_parameter",
                    "`body.model` is missing; expected \"%s\" as in line %llu",
                    excerpt(j->model.data, j->model.len).text, (unsigned long long)j->model_line);
    } else if (j->rules.model_required) {
        add_problem(j, line->facts.fields[FIELD_BODY].at, "body.model",
                    "missing_required_parameter",
                    "`body.model` is missing; expected the name of a model, the same in all lines");
    } else if (j->model_state == MODEL_UNKNOWN) {
        j->model_state = MODEL_ABSENT;
        j->model_line = j->line;
    }
}

static void check_model_name(struct jsonl *j, const struct jsonl_value *v, const char *name,
                             size_t len)
{
    if (len == 0 || has_control(name, len)) {
        add_problem(j, v->at, "body.model", "invalid_value",
                    "`body.model` is %s; expected the name of a model",
                    len == 0 ? "empty" : "not printable");
    } else if (j->model_state == MODEL_ABSENT) {
        add_problem(
            j, v->at, "body.model", "model_mismatch",
            "`body.model` is \"%s\"; expected none, as in line %llu: in all lines or in none",
            excerpt(name, len).text, (unsigned long long)j->model_line);
    } else if (j->model_state == MODEL_UNKNOWN) {
        keep(j, &j->model, name, len);
        j->model_state = MODEL_NAMED;
        j->model_line = j->line;
        keep_span(j, v);
    } else if (!text_is(name, len, strbuf_str(&j->model))) {
        add_problem(j, v->at, "body.model", "model_mismatch",
                    "`body.model` is \"%s\"; expected \"%s\" as in line %llu: one file, one model",
                    excerpt(name, len).text, excerpt(j->model.data, j->model.len).text,
                    (unsigned long long)j->model_line);
    } else {
        keep_span(j, v);
    }
}

/* The url of the file is one for embeddings. */
static bool is_for_embeddings(const struct jsonl *j)
{
    static const char path[] = "/embeddings";
    size_t len = strlen(path);

    return j->url.len >= len && memcmp(j->url.data + j->url.len - len, path, len) == 0;
}

static void check_body(struct jsonl *j, const struct jsonl_reader *line)
{
    const struct jsonl_value *model = &line->facts.fields[FIELD_MODEL];
    const char *name;
    size_t len;

    if (!check_field(j, line, FIELD_BODY, JSON_OBJECT, "the object to be posted"))
        return;
    if (is_for_embeddings(j))
        j->inputs += jsonl_inputs(line->text, line->len, line->facts.fields[FIELD_BODY].at);
    if (!model->present) {
        check_no_model(j, line);
        return;
    }
    if (!check_field(j, line, FIELD_MODEL, JSON_STRING, "the name of a model"))
        return;
    name = decoded(j, line, FIELD_MODEL, &len);
    if (name != NULL)
        check_model_name(j, model, name, len);
}

/* --- lines --- */

/* A request begins in this line. Returns whether it is to be looked at. */
static bool begin_request(struct jsonl *j)
{
    uint64_t line = j->line;

    if (j->blank_line != 0) {
        j->line = j->blank_line;
        add_problem(
            j, 0, "", "invalid_json_line",
            "This line is blank; expected a JSON object (only the end of a file may be blank)");
        j->line = line;
        j->blank_line = 0;
    }
    if (j->result == 0 && j->lines == j->rules.max_lines) {
        add_problem(j, 0, "", "too_many_tasks",
                    "The file has more than the %zu lines that are allowed", j->rules.max_lines);
        stop(j, ERR_SYNTAX);
    }
    if (j->result != 0)
        return false;
    j->lines++;
    return true;
}

static void refuse_long_line(struct jsonl *j)
{
    if (begin_request(j))
        add_problem(j, j->rules.max_line_bytes, "", "line_too_long",
                    "This line is longer than the %zu bytes that are allowed",
                    j->rules.max_line_bytes);
}

/* What was read, against the rules. */
static void judge(struct jsonl *j, const struct jsonl_reader *line, int err)
{
    if (err == ERR_SYNTAX) {
        add_problem(j, line->refusal.at, "", line->refusal.code, "%s", line->refusal.message);
        return;
    }
    if (err != 0) {
        stop(j, err);
        return;
    }
    if (line->facts.root != JSON_OBJECT) {
        add_problem(j, line->facts.root_at, "", "invalid_json_line",
                    "This line is %s; expected one JSON object a line",
                    type_name(line->facts.root));
        return;
    }
    check_custom_id(j, line);
    check_method(j, line);
    check_url(j, line);
    check_body(j, line);
    features_add(&j->prompt, &line->facts.prompt);
    j->output_tokens += jsonl_all_output(&line->facts);
}

/* Go on with the line that is being read. @return whether it was judged */
static bool read_some(struct jsonl *j)
{
    int err = jsonl_reader_some(&j->reader);

    if (err == JSONL_READER_MORE)
        return false;
    judge(j, &j->reader, err);
    jsonl_reader_end(&j->reader);
    j->base = 0;
    return true;
}

/* Bytes of a byte order mark at the start of the file; what is behind it is checked as well. A
 * shorter line has its LF or a NUL behind it, which is in none. */
static size_t check_mark(struct jsonl *j, const char *text)
{
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) {
        add_problem(j, 0, "", "byte_order_mark",
                    "The file starts with a byte order mark; save it as UTF-8 without one");
        return 3;
    }
    if (strncmp(text, "\xff\xfe", 2) == 0 || strncmp(text, "\xfe\xff", 2) == 0) {
        add_problem(j, 0, "", "byte_order_mark",
                    "The file is UTF-16 by its byte order mark; save it as UTF-8 without one");
        stop(j, ERR_SYNTAX);
    }
    return 0;
}

static bool is_blank(const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r')
            return false;
    return true;
}

/* @return whether there is a request in it, and its reading begins */
static bool begin_line(struct jsonl *j, const char *text, size_t len)
{
    if (j->line == 1)
        j->base = check_mark(j, text);
    if (is_blank(text + j->base, len - j->base)) {
        if (j->blank_line == 0)
            j->blank_line = j->line;
    } else if (begin_request(j)) {
        jsonl_reader_begin(&j->reader, text + j->base, len - j->base, j->rules.max_depth);
        return true;
    }
    j->base = 0;
    return false;
}

/* A whole line, or what `skipping` left of it. @return whether it is being read */
static bool end_line(struct jsonl *j, const char *text, size_t len)
{
    if (j->skipping)
        j->skipping = false;
    else if (len > j->rules.max_line_bytes)
        refuse_long_line(j);
    else if (begin_line(j, text, len)) {
        if (j->rules.in_slices && text == j->carry.data && len >= SLICED_BYTES)
            return true;
        while (!read_some(j))
            ;
    }
    return false;
}

/* A piece of a line whose end is not there yet. */
static void add_carry(struct jsonl *j, const char *piece, size_t len)
{
    if (j->skipping)
        return;
    if (len > j->rules.max_line_bytes - j->carry.len) {
        refuse_long_line(j);
        strbuf_reset(&j->carry);
        j->skipping = true;
        return;
    }
    strbuf_add(&j->carry, piece, len);
    if (strbuf_failed(&j->carry))
        stop(j, ERR_NOMEM);
}

static void keep_rest(struct jsonl *j, const char *bytes, size_t len, uint64_t offset)
{
    if (j->rest.len == 0)
        j->rest_at = offset;
    strbuf_add(&j->rest, bytes, len);
    if (strbuf_failed(&j->rest))
        stop(j, ERR_NOMEM);
}

/* The line in `carry`, with the bytes before its newline. @return whether it is being read */
static bool end_carried_line(struct jsonl *j, const char *bytes, size_t len)
{
    add_carry(j, bytes, len);
    if (j->result != 0)
        return false;
    if (end_line(j, strbuf_str(&j->carry), j->carry.len))
        return true;
    strbuf_reset(&j->carry);
    return false;
}

static void take(struct jsonl *j, const char *bytes, size_t len, uint64_t offset)
{
    const char *p = bytes, *end = bytes + len, *newline;

    while (j->result == 0) {
        newline = memchr(p, '\n', (size_t)(end - p));
        if (newline == NULL) {
            add_carry(j, p, (size_t)(end - p));
            return;
        }
        if (j->carry.len == 0) {
            (void)end_line(j, p, (size_t)(newline - p));
        } else if (end_carried_line(j, p, (size_t)(newline - p))) {
            keep_rest(j, newline + 1, (size_t)(end - newline) - 1,
                      offset + (uint64_t)(newline + 1 - bytes));
            return;
        }
        p = newline + 1;
        j->line++;
        j->line_at = offset + (uint64_t)(p - bytes);
    }
}

static void refuse_large_file(struct jsonl *j)
{
    add_problem(j, (size_t)(j->rules.max_bytes - j->line_at), "", "file_too_large",
                "The file is larger than the %llu bytes that are allowed",
                (unsigned long long)j->rules.max_bytes);
    stop(j, ERR_SYNTAX);
}

int jsonl_feed(struct jsonl *j, const char *bytes, size_t len)
{
    uint64_t offset = j->bytes, room = j->rules.max_bytes - offset;
    size_t good = len;

    if (j->finished)
        return ERR_BAD_STATE;
    j->bytes += len;
    if (j->result != 0 || j->too_large)
        return j->result;
    if (j->rules.max_bytes != 0 && len > room) {
        good = (size_t)room;
        j->too_large = true;
    }
    if (jsonl_pending(j))
        keep_rest(j, bytes, good, offset);
    else
        take(j, bytes, good, offset);
    if (j->result == 0 && j->too_large && !jsonl_pending(j))
        refuse_large_file(j);
    return j->result;
}

bool jsonl_pending(const struct jsonl *j)
{
    return j->reader.text != NULL;
}

/* The line was read, and what is behind it comes next. */
static void take_rest(struct jsonl *j)
{
    struct strbuf rest = j->rest;
    uint64_t at = j->rest_at;

    strbuf_reset(&j->carry);
    j->rest = (struct strbuf)STRBUF_INIT;
    j->line++;
    j->line_at = at;
    take(j, strbuf_str(&rest), rest.len, at);
    strbuf_deinit(&rest);
    if (j->result == 0 && j->too_large && !jsonl_pending(j))
        refuse_large_file(j);
}

int jsonl_continue(struct jsonl *j)
{
    if (jsonl_pending(j) && read_some(j))
        take_rest(j);
    return j->result;
}

static void read_pending(struct jsonl *j)
{
    while (jsonl_pending(j))
        if (read_some(j))
            take_rest(j);
}

void jsonl_end_of_file(struct jsonl *j)
{
    if (j->result != 0 || jsonl_pending(j) || j->carry.len == 0)
        return;
    if (end_line(j, strbuf_str(&j->carry), j->carry.len))
        j->rest_at = j->bytes;
    else
        strbuf_reset(&j->carry);
}

int jsonl_finish(struct jsonl *j)
{
    if (j->finished)
        return j->result;
    j->finished = true;
    read_pending(j);
    jsonl_end_of_file(j);
    read_pending(j);
    strbuf_deinit(&j->carry); /* neither is needed while the file is sent, which may take long */
    idset_deinit(&j->ids);
    if (j->result == 0 && j->lines == 0 && j->num_problems == 0) {
        j->line = 1;
        add_problem(j, 0, "", "empty_file",
                    "The file holds no request; expected one JSON object a line");
    }
    if (j->num_problems > 0)
        stop(j, ERR_SYNTAX);
    return j->result;
}

size_t jsonl_memory(const struct jsonl *j)
{
    return sizeof(*j) + j->rules.max_errors * sizeof(*j->problems) + idset_bytes(&j->ids) +
           j->carry.cap + j->rest.cap + j->scratch.cap + j->spans.cap + j->model.cap + j->url.cap;
}

void jsonl_report(const struct jsonl *j, struct jsonl_report *report)
{
    *report = (struct jsonl_report){
        .lines = j->lines,
        .bytes = j->bytes,
        .inputs = j->inputs,
        .model = j->model_state == MODEL_NAMED ? strbuf_str(&j->model) : NULL,
        .url = j->url_line != 0 ? strbuf_str(&j->url) : NULL,
        .prompt = j->prompt,
        .output_tokens = j->output_tokens,
        .num_problems = j->num_problems,
        .problems = j->problems,
    };
}

static void set_rules(struct jsonl_rules *out, const struct jsonl_rules *rules)
{
    *out = *rules;
    if (out->max_line_bytes == 0)
        out->max_line_bytes = DEFAULT_LINE_BYTES;
    if (out->max_lines == 0)
        out->max_lines = DEFAULT_LINES;
    if (out->max_depth == 0)
        out->max_depth = DEFAULT_DEPTH;
    if (out->max_errors == 0)
        out->max_errors = 1;
    if (out->max_errors > MAX_ERRORS)
        out->max_errors = MAX_ERRORS;
}

struct jsonl *jsonl_new(const struct jsonl_rules *rules)
{
    struct jsonl *j = calloc(1, sizeof(*j));

    if (j == NULL)
        return NULL;
    set_rules(&j->rules, rules);
    j->line = 1;
    j->problems = calloc(j->rules.max_errors, sizeof(*j->problems));
    if (j->problems == NULL || idset_init(&j->ids, j->rules.max_lines) != 0) {
        jsonl_free(j);
        return NULL;
    }
    return j;
}

void jsonl_free(struct jsonl *j)
{
    if (j == NULL)
        return;
    idset_deinit(&j->ids);
    jsonl_reader_end(&j->reader);
    strbuf_deinit(&j->carry);
    strbuf_deinit(&j->rest);
    strbuf_deinit(&j->scratch);
    strbuf_deinit(&j->model);
    strbuf_deinit(&j->url);
    strbuf_deinit(&j->spans);
    free(j->problems);
    free(j);
}
