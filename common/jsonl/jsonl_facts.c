/* The words that both readers of a batch line share: which keys matter and what is kept of their
 * values. */
#include "jsonl/jsonl_facts.h"

#include <ctype.h>
#include <string.h>

#include "base64_runs.h"

#define DATA_URL_HEAD 128 /* longest head of a `data:` string, up to its comma */

struct word {
    const char *text;
    size_t len;
    enum jsonl_field field;
};

#define WORD(text, field)                                                                          \
    {                                                                                              \
        text, sizeof(text) - 1, field                                                              \
    }

static const struct word top_words[] = {
    WORD("custom_id", FIELD_CUSTOM_ID),
    WORD("method", FIELD_METHOD),
    WORD("url", FIELD_URL),
    WORD("body", FIELD_BODY),
};

/* Text: chat completions, responses, completions, embeddings, moderations, images. JSON: tools, old
 * and new, and the schema of the answer (chat completions, responses). Bounds: chat completions
 * (old and new spelling) and responses; `n` answers: chat completions and completions. */
static const struct word body_words[] = {
    WORD("model", FIELD_MODEL),
    WORD("messages", FIELD_TEXT),
    WORD("input", FIELD_IDS),
    WORD("prompt", FIELD_IDS),
    WORD("instructions", FIELD_TEXT),
    WORD("prediction", FIELD_TEXT),
    WORD("tools", FIELD_SHAPE),
    WORD("functions", FIELD_SHAPE),
    WORD("response_format", FIELD_SHAPE),
    WORD("text", FIELD_SHAPE),
    WORD("max_tokens", FIELD_TOKENS),
    WORD("max_completion_tokens", FIELD_TOKENS),
    WORD("max_output_tokens", FIELD_TOKENS),
    WORD("n", FIELD_CHOICES),
};

static enum jsonl_field look_up(const struct word *words, size_t count, const char *key, size_t len)
{
    size_t i;

    for (i = 0; i < count; i++)
        if (words[i].len == len && memcmp(words[i].text, key, len) == 0)
            return words[i].field;
    return FIELD_OTHER;
}

enum jsonl_field jsonl_top_field(const char *key, size_t len)
{
    return look_up(top_words, sizeof(top_words) / sizeof(top_words[0]), key, len);
}

enum jsonl_field jsonl_body_field(const char *key, size_t len)
{
    return look_up(body_words, sizeof(body_words) / sizeof(body_words[0]), key, len);
}

void jsonl_note(struct jsonl_facts *facts, enum jsonl_field field, const struct jsonl_value *value,
                size_t key_at)
{
    struct jsonl_value *slot = &facts->fields[field];

    if (!slot->present) {
        *slot = *value;
        slot->present = true;
    } else if (!slot->repeated) {
        slot->repeated = true;
        slot->repeat_at = key_at;
    }
}

/* @return false: not digits alone */
static bool read_number(const char *digits, size_t len, uint64_t most, uint64_t *out)
{
    uint64_t number = 0;

    for (size_t i = 0; i < len; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(digits[i] - '0');
        if (number > most)
            number = most;
    }
    *out = number;
    return true;
}

void jsonl_note_bound(struct jsonl_facts *facts, enum jsonl_field field, const char *digits,
                      size_t len)
{
    bool tokens = field == FIELD_TOKENS;
    uint64_t *out = tokens ? &facts->output_tokens : &facts->choices, number;

    if (jsonl_is_bound(field) &&
        read_number(digits, len, tokens ? JSONL_MAX_TOKENS : JSONL_MAX_CHOICES, &number) &&
        number > *out)
        *out = number;
}

uint64_t jsonl_all_output(const struct jsonl_facts *facts)
{
    return facts->output_tokens * (facts->choices != 0 ? facts->choices : 1);
}

void jsonl_enter_prompt(struct jsonl_place *place, enum jsonl_field field, bool object, size_t at)
{
    place->in = field == FIELD_IDS && object ? FIELD_TEXT : field;
    place->shape_at = at;
    place->shape_strings = 0;
}

void jsonl_leave_prompt(struct jsonl_place *place, struct jsonl_facts *facts, size_t end)
{
    if (place->in == FIELD_SHAPE)
        facts->prompt.units[FEATURE_TEXT] += end - place->shape_at - place->shape_strings;
    place->in = FIELD_OTHER;
}

static bool is_text(const char *text, size_t len, const char *wanted)
{
    return len == strlen(wanted) && memcmp(text, wanted, len) == 0;
}

static bool is_key(const struct jsonl_place *place, const char *key)
{
    return place->key != NULL && is_text(place->key, place->key_len, key);
}

/* What base64 under this key is, where it does not say so itself. */
static enum feature kind_by_key(const struct jsonl_place *place)
{
    static const char *const images[] = {"url", "image_url", "b64_json", "result"};

    for (size_t i = 0; i < sizeof(images) / sizeof(images[0]); i++)
        if (is_key(place, images[i]))
            return FEATURE_IMAGES;
    return is_key(place, "data") ? FEATURE_AUDIO : FEATURE_FILES; /* input_audio.data */
}

static void note_base64(struct jsonl_facts *facts, enum feature kind, size_t len)
{
    if (kind == FEATURE_IMAGES)
        facts->image_data++;
    else
        facts->prompt.units[kind] += (len + FEATURES_BASE64_UNIT - 1) / FEATURES_BASE64_UNIT;
}

static int hex_value(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, tolower((unsigned char)c)) : NULL;

    return at != NULL ? (int)(at - digits) : -1;
}

/* The byte that a string's next characters stand for; -1: none of ASCII, or the string is over. A
 * reader has let its escapes pass: none is cut off. */
static int next_byte(const char **raw, const char *end)
{
    int code = 0;

    if (*raw == end)
        return -1;
    if (**raw != '\\')
        return (unsigned char)*(*raw)++;
    if ((*raw)[1] == '/') {
        *raw += 2;
        return '/';
    }
    if ((*raw)[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        int digit = hex_value((*raw)[i]);

        if (digit < 0)
            return -1;
        code = code * 16 + digit;
    }
    *raw += 6;
    return code < 0x80 ? code : -1;
}

/* "data:image/png;base64,": in any case (RFC 3986, 3.1) and spelling, since `\u0064ata:` is the
 * same string to a provider. Text may begin like that, too: a type and no blank are wanted before
 * the comma. Returns whether it is such a string. */
static bool note_data_url(struct jsonl_facts *facts, const char *raw, size_t len)
{
    char head[DATA_URL_HEAD + 1];
    enum feature kind = FEATURE_FILES;
    const char *p = raw;
    size_t n = 0;
    int byte;

    while (n < DATA_URL_HEAD && (byte = next_byte(&p, raw + len)) > ' ' && byte != ',')
        head[n++] = (char)tolower(byte);
    head[n] = '\0';
    if (n == DATA_URL_HEAD || byte != ',' || strncmp(head, "data:", 5) != 0 ||
        (strchr(head, '/') == NULL && strstr(head, ";base64") == NULL))
        return false;
    if (strncmp(head + 5, "image/", 6) == 0)
        kind = FEATURE_IMAGES;
    else if (strncmp(head + 5, "audio/", 6) == 0)
        kind = FEATURE_AUDIO;
    note_base64(facts, kind, len);
    return true;
}

/* Bytes of base64 once its line ends and slashes are no escapes any more. Behind it is a quote, or
 * more of its string. */
static size_t decoded_size(const char *base64, size_t len)
{
    const char *p = base64, *end = base64 + len;
    size_t size = len;

    while ((p = memchr(p, '\\', (size_t)(end - p))) != NULL) {
        size--;
        p += p[1] == '\\' ? 2 : 1;
    }
    return size;
}

static void note_runs(struct jsonl_facts *facts, const struct jsonl_place *place, const char *raw,
                      size_t raw_len, size_t decoded_len)
{
    size_t at, len, all = 0;

    for (size_t from = 0; (len = base64_run_find(raw, raw_len, from, &at)) > 0; from = at + len) {
        note_base64(facts, kind_by_key(place), len);
        all += decoded_size(raw + at, len);
    }
    facts->prompt.units[FEATURE_TEXT] += decoded_len > all ? decoded_len - all : 0;
}

/* A quick look: nearly no string is one. An empty one has its quote there. */
static bool may_be_data_url(const char *raw)
{
    return (raw[0] | 0x20) == 'd' || (raw[0] == '\\' && raw[1] == 'u');
}

/* A part of a message says what it is in one of these. */
static void note_short(struct jsonl_facts *facts, const struct jsonl_place *place, const char *raw,
                       size_t len)
{
    if (is_text(raw, len, "low"))
        facts->low_details += is_key(place, "detail");
    else if (is_text(raw, len, "image_url") || is_text(raw, len, "input_image"))
        facts->image_types += is_key(place, "type");
}

void jsonl_note_text(struct jsonl_facts *facts, struct jsonl_place *place, const char *raw,
                     size_t raw_len, size_t decoded_len)
{
    place->shape_strings += raw_len;
    if (may_be_data_url(raw) && note_data_url(facts, raw, raw_len))
        return;
    if (raw_len >= JSONL_LONG_TEXT) {
        note_runs(facts, place, raw, raw_len, decoded_len);
        return;
    }
    facts->prompt.units[FEATURE_TEXT] += decoded_len;
    if (raw_len == 3 || raw_len == 9 || raw_len == 11)
        note_short(facts, place, raw, raw_len);
}

void jsonl_note_id(struct jsonl_facts *facts, const char *number, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (number[i] < '0' || number[i] > '9')
            return;
    facts->prompt.units[FEATURE_IDS]++;
}

void jsonl_note_end(struct jsonl_facts *facts)
{
    uint64_t images =
        facts->image_types > facts->image_data ? facts->image_types : facts->image_data;
    uint64_t low = facts->low_details < images ? facts->low_details : images;

    facts->prompt.units[FEATURE_IMAGES] = low + (images - low) * FEATURES_IMAGE;
}
