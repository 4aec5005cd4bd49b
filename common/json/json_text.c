/* JSON as text: UTF-8, places, strings decoded, measured and printed, what yajl overlooks and where
 * it stumbled. */
#include "json/json_text.h"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <tmmintrin.h>
#endif

#include "json/json.h"

/* --- UTF-8 and places --- */

/* RFC 3629, section 4. */
size_t utf8_sequence(const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned char low = 0x80, high = 0xbf;
    size_t need, i;

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        need = 2;
    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        need = 3;
        low = p[0] == 0xe0 ? 0xa0 : 0x80;
        high = p[0] == 0xed ? 0x9f : 0xbf;
    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        need = 4;
        low = p[0] == 0xf0 ? 0x90 : 0x80;
        high = p[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (len < need || p[1] < low || p[1] > high)
        return 0;
    for (i = 2; i < need; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return need;
}

/* Words of nothing but ASCII at `p`, in bytes. */
static size_t skip_ascii(const char *p, size_t len)
{
    uint64_t word;
    size_t at;

    for (at = 0; len - at >= sizeof(word); at += sizeof(word)) {
        memcpy(&word, p + at, sizeof(word));
        if ((word & UINT64_C(0x8080808080808080)) != 0)
            break;
    }
    return at;
}

size_t utf8_valid_prefix(const char *text, size_t len)
{
    size_t at, step;

    for (at = skip_ascii(text, len); at < len; at += skip_ascii(text + at, len - at)) {
        step = utf8_sequence(text + at, len - at);
        if (step == 0)
            break;
        at += step;
    }
    return at;
}

#if defined(__x86_64__)
/* What can be wrong with two bytes that follow each other, a bit each; the tables give for each
 * half byte which of it is possible, and what all three find possible is wrong. Keiser and Lemire,
 * "Validating UTF-8 in less than one instruction per byte", 2020. */
enum {
    TOO_SHORT = 1 << 0,               /* a lead byte, then no continuation */
    TOO_LONG = 1 << 1,                /* ASCII, then a continuation */
    OVERLONG_3 = 1 << 2,              /* e0 80..9f */
    TOO_LARGE = 1 << 3,               /* f4 90.., f5.. */
    SURROGATE = 1 << 4,               /* ed a0..bf */
    OVERLONG_2 = 1 << 5,              /* c0, c1 */
    TOO_LARGE_OR_OVERLONG_4 = 1 << 6, /* f5.. 80..8f; f0 80..8f */
    TWO_TAILS = 1 << 7, /* two continuations: right in the third and fourth byte of a sequence */
    ANY_LOW = TOO_SHORT | TOO_LONG | TWO_TAILS,
    ANY_TAIL = TOO_LONG | OVERLONG_2 | TWO_TAILS
};

struct utf8_block {
    __m128i previous, error;
};

static __attribute__((target("ssse3"))) void take_block(struct utf8_block *b, __m128i bytes)
{
    const __m128i first_high =
        _mm_setr_epi8(TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG, TOO_LONG,
                      TOO_LONG, (char)TWO_TAILS, (char)TWO_TAILS, (char)TWO_TAILS, (char)TWO_TAILS,
                      TOO_SHORT | OVERLONG_2, TOO_SHORT, TOO_SHORT | OVERLONG_3 | SURROGATE,
                      TOO_SHORT | TOO_LARGE | TOO_LARGE_OR_OVERLONG_4);
    const char large = (char)(ANY_LOW | TOO_LARGE | TOO_LARGE_OR_OVERLONG_4);
    const __m128i first_low =
        _mm_setr_epi8((char)(ANY_LOW | OVERLONG_3 | OVERLONG_2 | TOO_LARGE_OR_OVERLONG_4),
                      (char)(ANY_LOW | OVERLONG_2), (char)ANY_LOW, (char)ANY_LOW,
                      (char)(ANY_LOW | TOO_LARGE), large, large, large, large, large, large, large,
                      large, (char)(large | SURROGATE), large, large);
    const char second_8 = (char)(ANY_TAIL | OVERLONG_3 | TOO_LARGE_OR_OVERLONG_4);
    const char second_9 = (char)(ANY_TAIL | OVERLONG_3 | TOO_LARGE);
    const char second_a = (char)(ANY_TAIL | SURROGATE | TOO_LARGE);
    const __m128i second_high = _mm_setr_epi8(
        TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT,
        second_8, second_9, second_a, second_a, TOO_SHORT, TOO_SHORT, TOO_SHORT, TOO_SHORT);
    const __m128i half = _mm_set1_epi8(0x0f);
    __m128i back1 = _mm_alignr_epi8(bytes, b->previous, 15);
    __m128i back2 = _mm_alignr_epi8(bytes, b->previous, 14);
    __m128i back3 = _mm_alignr_epi8(bytes, b->previous, 13);
    __m128i wrong, third, fourth, tails;

    wrong = _mm_shuffle_epi8(first_high, _mm_and_si128(_mm_srli_epi16(back1, 4), half));
    wrong = _mm_and_si128(wrong, _mm_shuffle_epi8(first_low, _mm_and_si128(back1, half)));
    wrong = _mm_and_si128(
        wrong, _mm_shuffle_epi8(second_high, _mm_and_si128(_mm_srli_epi16(bytes, 4), half)));
    /* the high bit of each byte that must be a third or fourth one, where two continuations are
     * right */
    third = _mm_subs_epu8(back2, _mm_set1_epi8((char)(0xe0 - 0x80)));
    fourth = _mm_subs_epu8(back3, _mm_set1_epi8((char)(0xf0 - 0x80)));
    tails = _mm_and_si128(_mm_or_si128(third, fourth), _mm_set1_epi8((char)0x80));
    b->error = _mm_or_si128(b->error, _mm_xor_si128(tails, wrong));
    b->previous = bytes;
}

static __attribute__((target("ssse3"))) bool valid_by_blocks(const char *text, size_t len)
{
    struct utf8_block b = {_mm_setzero_si128(), _mm_setzero_si128()};
    char last[16] = {0}; /* the zeros end a sequence that is cut off */
    __m128i bytes;
    size_t at;

    for (at = 0; len - at >= 16; at += 16) {
        bytes = _mm_loadu_si128((const __m128i *)(const void *)(text + at));
        if (_mm_movemask_epi8(_mm_or_si128(bytes, b.previous)) != 0)
            take_block(&b, bytes);
    }
    memcpy(last, text + at, len - at);
    take_block(&b, _mm_loadu_si128((const __m128i *)(const void *)last));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(b.error, _mm_setzero_si128())) == 0xffff;
}
#endif

bool utf8_is_valid(const char *text, size_t len)
{
#if defined(__x86_64__)
    if (len >= 32 && __builtin_cpu_supports("ssse3"))
        return valid_by_blocks(text, len);
#endif
    return utf8_valid_prefix(text, len) == len;
}

void json_place(const char *text, size_t offset, size_t *line, size_t *column)
{
    const char *start = text, *end = text + offset, *newline;

    *line = 1;
    while ((newline = memchr(start, '\n', (size_t)(end - start))) != NULL) {
        (*line)++;
        start = newline + 1;
    }
    *column = (size_t)(end - start) + 1;
}

/* The code unit of `\uXXXX` at `p`, -1 when that is not what stands there. */
static int32_t code_unit(const char *p, size_t len)
{
    int32_t unit = 0;
    size_t i;

    if (len < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (i = 2; i < 6; i++) {
        char c = p[i];

        if (c >= '0' && c <= '9')
            unit = unit * 16 + (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            unit = unit * 16 + ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return unit;
}

bool json_surrogates_some(const char *text, size_t len, size_t *at, size_t work)
{
    const char *slash;
    int32_t unit, low;

    for (; work > 0; work--) {
        if (*at > len || (slash = memchr(text + *at, '\\', len - *at)) == NULL) {
            *at = len;
            return true;
        }
        *at = (size_t)(slash - text);
        unit = code_unit(slash, len - *at);
        if (unit < 0xd800 || unit > 0xdfff) {
            *at += 2; /* the escaped byte may be a backslash itself */
            continue;
        }
        low = unit <= 0xdbff ? code_unit(slash + 6, len - *at - 6) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return true;
        *at += 12;
    }
    return false;
}

size_t json_find_lone_surrogate(const char *text, size_t len)
{
    size_t at = 0;

    (void)json_surrogates_some(text, len, &at, SIZE_MAX);
    return at;
}

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '.' ||
           c == '+' || c == '-';
}

/* yajl's offset is behind the token it objects to, mostly; people look for its beginning. */
static size_t token_start(const char *text, size_t end)
{
    size_t at = end, slashes;

    if (at == 0)
        return 0;
    at--;
    if (text[at] == '"') {
        while (at > 0) {
            for (at--; at > 0 && text[at] != '"'; at--)
                ;
            for (slashes = 0; slashes < at && text[at - 1 - slashes] == '\\'; slashes++)
                ;
            if (slashes % 2 == 0)
                break;
        }
        return at;
    }
    while (at > 0 && is_word(text[at]) && is_word(text[at - 1]))
        at--;
    return at;
}

/* Whether the quote at `at` begins a string rather than ends one. */
static bool opens_string(const char *text, size_t at)
{
    bool inside = false;
    size_t i;

    for (i = 0; i < at; i++) {
        if (text[i] == '"')
            inside = !inside;
        else if (text[i] == '\\' && inside)
            i++;
    }
    return !inside;
}

size_t json_offending_offset(const char *text, size_t len, size_t consumed, const char *message)
{
    size_t end = consumed < len ? consumed : len;

    if (strstr(message, "inside map, I expect") != NULL) {
        /* here yajl steps back by the token's length, but forgets the quotes */
        if (end >= 2 && text[end - 2] == '"' && opens_string(text, end - 2))
            return end - 2;
        return end;
    }
    if (strncmp(message, "parse error", 11) == 0)
        return token_start(text, end);
    if (strncmp(message, "lexical error: invalid char in json text", 40) == 0 && end > 0)
        return end - 1;
    return end;
}

size_t json_skip_blanks(const char *text, size_t len, size_t at)
{
    while (at < len &&
           (text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n'))
        at++;
    return at;
}

/* --- strings --- */

static uint32_t hex4(const char *p)
{
    uint32_t value = 0;
    int i;

    for (i = 0; i < 4; i++) {
        char c = p[i];

        value = value * 16 + (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10) % 16;
    }
    return value;
}

static void add_utf8(struct strbuf *out, uint32_t c)
{
    if (c < 0x80) {
        strbuf_addc(out, (char)c);
        return;
    }
    if (c < 0x800) {
        strbuf_addc(out, (char)(0xc0 | (c >> 6)));
    } else {
        if (c < 0x10000) {
            strbuf_addc(out, (char)(0xe0 | (c >> 12)));
        } else {
            strbuf_addc(out, (char)(0xf0 | (c >> 18)));
            strbuf_addc(out, (char)(0x80 | (c >> 12 & 0x3f)));
        }
        strbuf_addc(out, (char)(0x80 | (c >> 6 & 0x3f)));
    }
    strbuf_addc(out, (char)(0x80 | (c & 0x3f)));
}

/* `p` is behind `\u`. Returns the bytes taken. */
static size_t decode_unit(const char *p, size_t len, struct strbuf *out)
{
    uint32_t high, low;

    if (len < 4)
        return len;
    high = hex4(p);
    if (high < 0xd800 || high > 0xdbff || len < 10) {
        add_utf8(out, high);
        return 4;
    }
    low = hex4(p + 6);
    add_utf8(out, 0x10000 + ((high & 0x3ff) << 10 | (low & 0x3ff)));
    return 10;
}

static char unescape(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default: /* quote, backslash, slash */
        return c;
    }
}

void json_decode_string(const char *raw, size_t len, struct strbuf *out)
{
    size_t at = 0, run;
    const char *slash;

    for (;;) {
        slash = memchr(raw + at, '\\', len - at);
        run = slash != NULL ? (size_t)(slash - raw) - at : len - at;
        strbuf_add(out, raw + at, run);
        at += run;
        if (at + 1 >= len)
            return;
        at += 2;
        if (raw[at - 1] == 'u')
            at += decode_unit(raw + at, len - at, out);
        else
            strbuf_addc(out, unescape(raw[at - 1]));
    }
}

/* Of what json_write_string() makes of a valid run. */
static size_t escaped_size(const char *text, size_t len)
{
    size_t size = 0, i;

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\' || (c >= 0x08 && c <= 0x0d && c != 0x0b))
            size += 2;
        else if (c < 0x20 || c == 0x7f)
            size += 6;
        else
            size++;
    }
    return size;
}

size_t json_string_size(const char *text, size_t len)
{
    size_t size = 2, at = 0, valid;

    while (at < len) {
        valid = utf8_valid_prefix(text + at, len - at);
        size += escaped_size(text + at, valid);
        at += valid;
        if (at < len) { /* one invalid byte becomes U+FFFD */
            size += 3;
            at++;
        }
    }
    return size;
}

static void write_escape(struct strbuf *out, unsigned char c)
{
    static const char letters[] = "btn?fr"; /* of 0x08 to 0x0d; there is none for 0x0b */
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\', (char)c, '0', '0'};
    bool is_short = c == '"' || c == '\\';

    if (c >= 0x08 && c <= 0x0d && c != 0x0b) {
        text[1] = letters[c - 0x08];
        is_short = true;
    } else if (!is_short) {
        text[1] = 'u';
        text[4] = digits[c >> 4];
        text[5] = digits[c & 15];
    }
    strbuf_add(out, text, is_short ? 2 : 6);
}

void json_write_string(struct strbuf *out, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t at = 0, plain = 0, step; /* bytes from `plain` to `at` go out as they are */

    strbuf_addc(out, '"');
    while (at < len) {
        step = utf8_sequence(text + at, len - at);
        if (step != 0 && p[at] >= 0x20 && p[at] != '"' && p[at] != '\\' && p[at] != 0x7f) {
            at += step;
            continue;
        }
        strbuf_add(out, text + plain, at - plain);
        if (step == 0)
            strbuf_adds(out, "\xef\xbf\xbd");
        else
            write_escape(out, p[at]);
        plain = ++at;
    }
    strbuf_add(out, text + plain, at - plain);
    strbuf_addc(out, '"');
}

static void write_key(struct strbuf *out, const char *key)
{
    if (out->len > 0 && out->data[out->len - 1] != '{')
        strbuf_addc(out, ',');
    strbuf_addc(out, '"');
    strbuf_adds(out, key);
    strbuf_adds(out, "\":");
}

void json_write_member_string(struct strbuf *out, const char *key, const char *value)
{
    write_key(out, key);
    if (value != NULL)
        json_write_string(out, value, strlen(value));
    else
        strbuf_adds(out, "null");
}

void json_write_member_int(struct strbuf *out, const char *key, int64_t value)
{
    write_key(out, key);
    strbuf_addf(out, "%lld", (long long)value);
}
