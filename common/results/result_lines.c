/* See result_lines.h. One byte moves the machine one step; in a string, which is what most of a file
 * is, a loop of its own looks for the end.
 *
 * `path` counts the objects from the root on that all matter, `depth` whatever is open; while both
 * are the same a key can matter. What opens below a member that does not matter raises `depth`
 * alone, until it closes. */
#include "results/result_lines.h"

#include <assert.h>
#include <string.h>

enum state {
    LINE_BEGINS,
    KEY_OR_END, /* behind { */
    KEY,        /* behind a comma in an object */
    COLON,
    VALUE_OR_END, /* behind [ */
    VALUE,
    IN_KEY,
    IN_KEY_ESCAPE,
    IN_KEY_HEX, /* of a key's \uXXXX, where it can matter */
    IN_STRING,
    IN_STRING_ESCAPE,
    IN_STRING_HEX, /* of a custom_id's \uXXXX */
    IN_WORD,       /* a number, true, false, null */
    DEEP,          /* below RESULT_LINES_DEPTH levels, and in no string */
    BEHIND_VALUE,
    LINE_ENDS, /* behind the root */
    BROKEN     /* until the line ends */
};

enum place { OF_LINE, OF_RESPONSE, OF_ERROR };

enum name { NO_NAME, CUSTOM_ID, RESPONSE, ERROR_MEMBER, STATUS, CODE };

static const struct member {
    const char *key;
    enum place of;
    enum name name;
} members[] = {
    {"custom_id", OF_LINE, CUSTOM_ID}, {"response", OF_LINE, RESPONSE},
    {"error", OF_LINE, ERROR_MEMBER},  {"status_code", OF_RESPONSE, STATUS},
    {"code", OF_ERROR, CODE},
};

/* --- the hash of custom_id --- */

static void id_begin(struct result_lines *l)
{
    siphash_begin(&l->id.hash, l->key);
    l->id.rest = l->id.len = 0;
    l->id.high = 0;
}

static void id_byte(struct result_lines *l, unsigned char c)
{
    unsigned at = l->id.len % 8;

    l->id.rest |= (uint64_t)c << 8 * at;
    l->id.len++;
    if (at == 7) {
        siphash_word(&l->id.hash, l->id.rest);
        l->id.rest = 0;
    }
}

static void id_point(struct result_lines *l, uint32_t point)
{
    if (point < 0x80) {
        id_byte(l, (unsigned char)point);
        return;
    }
    if (point < 0x800) {
        id_byte(l, (unsigned char)(0xc0 | point >> 6));
    } else if (point < 0x10000) {
        id_byte(l, (unsigned char)(0xe0 | point >> 12));
        id_byte(l, (unsigned char)(0x80 | (point >> 6 & 0x3f)));
    } else {
        id_byte(l, (unsigned char)(0xf0 | point >> 18));
        id_byte(l, (unsigned char)(0x80 | (point >> 12 & 0x3f)));
        id_byte(l, (unsigned char)(0x80 | (point >> 6 & 0x3f)));
    }
    id_byte(l, (unsigned char)(0x80 | (point & 0x3f)));
}

/* A first half of a pair that no second one follows counts as it is. */
static void id_flush(struct result_lines *l)
{
    uint32_t high = l->id.high;

    l->id.high = 0;
    if (high != 0)
        id_point(l, high);
}

/* Four digits of an escape are there. */
static void id_unit(struct result_lines *l, uint32_t unit)
{
    if (l->id.high != 0 && unit >= 0xdc00 && unit < 0xe000) {
        unit = 0x10000 + ((l->id.high - 0xd800) << 10) + (unit - 0xdc00);
        l->id.high = 0;
    }
    id_flush(l);
    if (unit >= 0xd800 && unit < 0xdc00)
        l->id.high = unit;
    else
        id_point(l, unit);
}

static void id_text(struct result_lines *l, const char *bytes, size_t len)
{
    if (len > 0)
        id_flush(l);
    for (size_t i = 0; i < len; i++)
        id_byte(l, (unsigned char)bytes[i]);
}

static void id_end(struct result_lines *l)
{
    id_flush(l);
    siphash_finish(&l->id.hash, l->id.rest, l->id.len, l->next.hash);
    l->next.has_id = true;
}

void result_lines_hash(const uint64_t key[2], const char *id, size_t len, uint64_t out[2])
{
    struct result_lines l = {.key = {key[0], key[1]}};

    id_begin(&l);
    id_text(&l, id, len);
    id_end(&l);
    memcpy(out, l.next.hash, sizeof(l.next.hash));
}

/* --- lines --- */

static void begin_line(struct result_lines *l)
{
    memset(&l->next, 0, sizeof(l->next));
    l->next.begin = l->next.end = l->at;
    l->has_text = false;
    l->state = LINE_BEGINS;
    l->depth = l->path = 0;
    l->place = OF_LINE;
    l->name = NO_NAME;
}

void result_lines_init(struct result_lines *lines, const uint64_t key[2], uint64_t base)
{
    memset(lines, 0, sizeof(*lines));
    lines->key[0] = key[0];
    lines->key[1] = key[1];
    lines->at = base;
    begin_line(lines);
}

enum result_end result_lines_finish(struct result_lines *lines)
{
    enum result_end end = RESULT_NOT_YET;

    if (lines->has_text) {
        end = lines->state == LINE_ENDS ? RESULT_LINE : RESULT_BAD_LINE;
        if (end == RESULT_BAD_LINE)
            lines->next.end = lines->at;
        lines->line = lines->next;
    }
    begin_line(lines);
    return end;
}

/* --- what stands where --- */

static bool matters(const struct result_lines *l)
{
    return l->depth == l->path;
}

static bool is_object(const struct result_lines *l)
{
    uint64_t level = l->depth - 1;

    return (l->objects[level / 64] >> level % 64 & 1) != 0;
}

/* A member that stands there twice begins anew. */
static void begin_member(struct result_lines *l)
{
    if (l->name == CUSTOM_ID)
        l->next.has_id = false;
    if (l->name == RESPONSE || l->name == STATUS)
        l->next.status = 0;
    if (l->name == ERROR_MEMBER || l->name == CODE)
        l->next.error = RESULT_FAULT;
}

static void open_level(struct result_lines *l, bool object)
{
    bool enters = object && (l->depth == 0 ||
                             (matters(l) && (l->name == RESPONSE || l->name == ERROR_MEMBER)));
    uint64_t bit = UINT64_C(1) << l->depth % 64;

    if (l->depth == RESULT_LINES_DEPTH) {
        l->depth++;
        l->state = DEEP;
        return;
    }
    if (object)
        l->objects[l->depth / 64] |= bit;
    else
        l->objects[l->depth / 64] &= ~bit;
    l->depth++;
    if (enters) {
        l->path = l->depth;
        l->place = l->depth == 1 ? OF_LINE : l->name == RESPONSE ? OF_RESPONSE : OF_ERROR;
    }
    l->name = NO_NAME;
    l->state = object ? KEY_OR_END : VALUE_OR_END;
}

static void close_level(struct result_lines *l, bool object)
{
    assert(l->depth > 0 && l->path <= l->depth);
    if (is_object(l) != object) {
        l->state = BROKEN;
        return;
    }
    if (matters(l)) {
        l->path--;
        l->place = OF_LINE;
    }
    l->depth--;
    l->name = NO_NAME;
    l->state = l->depth == 0 ? LINE_ENDS : BEHIND_VALUE;
}

static bool word_is(const struct result_lines *l, const char *text)
{
    return l->word_fits && l->word_len == strlen(text) && memcmp(l->word, text, l->word_len) == 0;
}

static void take_key(struct result_lines *l)
{
    l->name = NO_NAME;
    for (size_t i = 0; matters(l) && i < sizeof(members) / sizeof(members[0]); i++)
        if (members[i].of == (enum place)l->place && word_is(l, members[i].key))
            l->name = (uint8_t)members[i].name;
    begin_member(l);
    l->state = COLON;
}

/* --- values --- */

static void end_value(struct result_lines *l)
{
    l->name = NO_NAME;
    l->state = l->depth > RESULT_LINES_DEPTH ? DEEP : BEHIND_VALUE;
}

static void take_code(struct result_lines *l)
{
    if (word_is(l, "batch_expired"))
        l->next.error = RESULT_EXPIRED;
    else if (word_is(l, "batch_cancelled"))
        l->next.error = RESULT_CANCELLED;
}

/* HTTP's statuses have three digits (RFC 9110 section 15). */
static void take_word(struct result_lines *l)
{
    if (l->name == ERROR_MEMBER && word_is(l, "null"))
        l->next.error = RESULT_NO_ERROR;
    if (l->name != STATUS || !l->word_fits || l->word_len != 3)
        return;
    for (unsigned i = 0; i < 3; i++)
        if (l->word[i] < '0' || l->word[i] > '9')
            return;
    l->next.status =
        (uint16_t)((l->word[0] - '0') * 100 + (l->word[1] - '0') * 10 + (l->word[2] - '0'));
}

static void begin_word(struct result_lines *l, enum state state)
{
    l->state = (uint8_t)state;
    l->word_len = 0;
    l->word_fits = true;
}

static void add_word(struct result_lines *l, const char *bytes, size_t len)
{
    if (len > sizeof(l->word) - l->word_len)
        l->word_fits = false;
    if (!l->word_fits)
        return;
    memcpy(l->word + l->word_len, bytes, len);
    l->word_len = (uint8_t)(l->word_len + len);
}

static void begin_string(struct result_lines *l)
{
    begin_word(l, IN_STRING);
    if (l->name != CUSTOM_ID)
        return;
    id_begin(l);
    l->next.id_begin = l->at;
}

static void end_string(struct result_lines *l)
{
    if (l->state == IN_KEY) {
        take_key(l);
        return;
    }
    if (l->name == CUSTOM_ID) {
        id_end(l);
        l->next.id_end = l->at + 1;
    } else if (l->name == CODE) {
        take_code(l);
    }
    end_value(l);
}

/* --- the machine --- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void step_value(struct result_lines *l, char c)
{
    if (c == '{' || c == '[') {
        open_level(l, c == '{');
    } else if (c == '"') {
        begin_string(l);
    } else if ((c >= '0' && c <= '9') || c == '-' || (c >= 'a' && c <= 'z')) {
        begin_word(l, IN_WORD);
        add_word(l, &c, 1);
    } else {
        l->state = BROKEN;
    }
}

static void step_key(struct result_lines *l, char c)
{
    if (c == '"')
        begin_word(l, IN_KEY);
    else if (c == '}' && l->state == KEY_OR_END)
        close_level(l, true);
    else
        l->state = BROKEN;
}

static void step_behind_value(struct result_lines *l, char c)
{
    if (c == ',')
        l->state = is_object(l) ? KEY : VALUE;
    else if (c == '}' || c == ']')
        close_level(l, c == '}');
    else
        l->state = BROKEN;
}

static void step_deep(struct result_lines *l, char c)
{
    if (c == '"') {
        begin_string(l);
    } else if (c == '{' || c == '[') {
        l->depth++;
    } else if (c == '}' || c == ']') {
        l->depth--;
        end_value(l);
    }
}

/* A byte that is no white space, outside of strings and words. */
static void step(struct result_lines *l, char c)
{
    switch (l->state) {
    case LINE_BEGINS:
        l->state = BROKEN;
        if (c == '{')
            open_level(l, true);
        break;
    case KEY_OR_END:
    case KEY:
        step_key(l, c);
        break;
    case COLON:
        l->state = c == ':' ? VALUE : BROKEN;
        break;
    case VALUE_OR_END:
    case VALUE:
        if (c == ']' && l->state == VALUE_OR_END)
            close_level(l, false);
        else
            step_value(l, c);
        break;
    case BEHIND_VALUE:
        step_behind_value(l, c);
        break;
    case DEEP:
        step_deep(l, c);
        break;
    default:
        l->state = BROKEN;
    }
}

/* @return how many bytes of a string were read: up to a line's end, which no string has */
static size_t read_string(struct result_lines *l, const char *bytes, size_t len)
{
    bool is_id = l->state == IN_STRING && l->name == CUSTOM_ID;
    size_t i = 0;

    while (i < len && bytes[i] != '"' && bytes[i] != '\\' && bytes[i] != '\n')
        i++;
    if (is_id)
        id_text(l, bytes, i);
    else if (l->state == IN_KEY || l->name == CODE)
        add_word(l, bytes, i);
    l->at += i;
    if (i == len || bytes[i] == '\n')
        return i;
    if (bytes[i] == '"') {
        end_string(l);
    } else if (l->state == IN_KEY) {
        l->state = IN_KEY_ESCAPE;
    } else {
        l->word_fits = false;
        l->state = IN_STRING_ESCAPE;
    }
    l->at++;
    return i + 1;
}

/* What is escaped is a part of a custom_id, of a key that can matter, or of no interest. */
static void read_escape(struct result_lines *l, char c)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    const char *at = memchr(from, c, sizeof(from) - 1);
    bool is_key = l->state == IN_KEY_ESCAPE;

    l->state = is_key ? IN_KEY : IN_STRING;
    if (is_key ? !matters(l) : l->name != CUSTOM_ID)
        return;
    if (c == 'u') {
        l->id.escape = 1; /* a bit that four digits push up to 1 << 16 */
        l->state = is_key ? IN_KEY_HEX : IN_STRING_HEX;
        return;
    }
    if (at != NULL)
        c = to[at - from];
    if (is_key)
        add_word(l, &c, 1);
    else
        id_text(l, &c, 1);
}

/* No name that is looked for has others than ASCII's. */
static void add_unit(struct result_lines *l, uint32_t unit)
{
    char c = (char)(unit & 0x7f);

    if (unit < 0x80)
        add_word(l, &c, 1);
    else
        l->word_fits = false;
}

static void read_hex(struct result_lines *l, char c)
{
    uint32_t digit;

    if (c >= '0' && c <= '9') {
        digit = (uint32_t)(c - '0');
    } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
        digit = (uint32_t)((c | 0x20) - 'a') + 10;
    } else {
        l->state = BROKEN;
        return;
    }
    l->id.escape = l->id.escape << 4 | digit;
    if (l->id.escape < 1u << 16)
        return;
    if (l->state == IN_KEY_HEX)
        add_unit(l, l->id.escape & 0xffff);
    else
        id_unit(l, l->id.escape & 0xffff);
    l->state = l->state == IN_KEY_HEX ? IN_KEY : IN_STRING;
}

static bool is_of_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '+' || c == '-' || c == '.' ||
           c == 'E';
}

static size_t read_word(struct result_lines *l, const char *bytes, size_t len)
{
    size_t i = 0;

    while (i < len && is_of_word(bytes[i]))
        i++;
    add_word(l, bytes, i);
    l->at += i;
    if (i == len)
        return i;
    take_word(l);
    end_value(l);
    return i;
}

static size_t skip_broken(struct result_lines *l, const char *bytes, size_t len)
{
    const char *end = memchr(bytes, '\n', len);
    size_t n = end == NULL ? len : (size_t)(end - bytes);

    l->at += n;
    return n;
}

/* One byte, that is no line's end. */
static void read_byte(struct result_lines *l, char c)
{
    switch (l->state) {
    case IN_KEY_ESCAPE:
    case IN_STRING_ESCAPE:
        read_escape(l, c);
        break;
    case IN_KEY_HEX:
    case IN_STRING_HEX:
        read_hex(l, c);
        break;
    default:
        if (is_space(c))
            break;
        if (!l->has_text)
            l->next.begin = l->at;
        l->has_text = true;
        step(l, c);
        l->next.end = l->at + 1;
    }
    l->at++;
}

static size_t read_some(struct result_lines *l, const char *bytes, size_t len)
{
    switch (l->state) {
    case IN_KEY:
    case IN_STRING:
        return read_string(l, bytes, len);
    case IN_WORD:
        return read_word(l, bytes, len);
    case BROKEN:
        return skip_broken(l, bytes, len);
    default:
        read_byte(l, *bytes);
        return 1;
    }
}

size_t result_lines_take(struct result_lines *lines, const char *bytes, size_t len,
                         enum result_end *end)
{
    size_t at = 0;

    *end = RESULT_NOT_YET;
    while (at < len && *end == RESULT_NOT_YET) {
        if (bytes[at] == '\n') {
            *end = result_lines_finish(lines);
            lines->at++;
            lines->next.begin = lines->next.end = lines->at;
            at++;
        } else {
            at += read_some(lines, bytes + at, len - at);
        }
    }
    assert(at <= len && (at == len || *end != RESULT_NOT_YET));
    return at;
}
