/* The words that both readers of a batch line share: which keys matter and what is kept of their
 * values. */
#include "common/jsonl_facts.h"

#include <ctype.h>
#include <string.h>

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

/* Text: chat completions, responses, completions, embeddings, moderations, images. Bounds: chat
 * completions (old and new spelling) and responses. */
static const struct word body_words[] = {
    WORD("model", FIELD_MODEL),
    WORD("messages", FIELD_TEXT),
    WORD("input", FIELD_TEXT),
    WORD("prompt", FIELD_TEXT),
    WORD("instructions", FIELD_TEXT),
    WORD("tools", FIELD_TEXT),
    WORD("max_tokens", FIELD_TOKENS),
    WORD("max_completion_tokens", FIELD_TOKENS),
    WORD("max_output_tokens", FIELD_TOKENS),
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

void jsonl_note_tokens(struct jsonl_facts *facts, const char *digits, size_t len)
{
    uint64_t tokens = 0;
    size_t i;

    for (i = 0; i < len; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return;
        tokens = tokens * 10 + (uint64_t)(digits[i] - '0');
        if (tokens > JSONL_MAX_TOKENS)
            tokens = JSONL_MAX_TOKENS;
    }
    if (tokens > facts->output_tokens)
        facts->output_tokens = tokens;
}

static int hex_value(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, tolower((unsigned char)c)) : NULL;

    return at != NULL ? (int)(at - digits) : -1;
}

/* The byte that a string's next characters stand for; -1: none of ASCII, or the string is over. */
static int next_byte(const char **raw, const char *end)
{
    int code = 0;

    if (*raw == end)
        return -1;
    if (**raw != '\\')
        return (unsigned char)*(*raw)++;
    if (end - *raw < 6 || (*raw)[1] != 'u')
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

/* In any case (RFC 3986, 3.1) and spelling: `\u0064ata:` is the same string to a provider. */
static bool is_data_url(const char *raw, size_t len)
{
    const char *end = raw + len;

    for (const char *at = "data:"; *at != '\0'; at++) {
        int byte = next_byte(&raw, end);

        if (byte < 0 || tolower(byte) != *at)
            return false;
    }
    return true;
}

void jsonl_note_text(struct jsonl_facts *facts, const char *raw, size_t raw_len, size_t decoded_len)
{
    if (decoded_len > JSONL_DATA_URL_BYTES && is_data_url(raw, raw_len))
        decoded_len = JSONL_DATA_URL_BYTES;
    facts->prompt_bytes += decoded_len;
}
