/* See guard_h1.h. Characters are classed by one table; field values are looked at eight bytes at a
 * time, because this runs for every small request. */
#include "guard_h1.h"

#include <string.h>
#include <strings.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define TOKEN     1 /* RFC 9110, 5.6.2 */
#define VISIBLE   2 /* 0x21-0x7e */
#define METHOD    4
#define AUTHORITY 8

#define MAX_METHOD       32
#define MAX_DIGITS       18 /* of a Content-Length: always fits 63 bits, and libh2o's own parser */
/* "X /target HTTP/1.1\r\n" */
#define MAX_REQUEST_LINE (MAX_METHOD + 1 + GUARD_H1_MAX_TARGET + 11)

#define L (TOKEN | VISIBLE | AUTHORITY)          /* letters, digits and the marks of both */
#define U (TOKEN | VISIBLE | AUTHORITY | METHOD) /* capital letters and the hyphen */
#define T (TOKEN | VISIBLE)
#define A (VISIBLE | AUTHORITY)
#define V VISIBLE
static const unsigned char classes[256] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                           0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                           /* SP ! " # $ % & ' ( ) * + , - . / */
                                           0, L, V, T, L, L, L, L, A, A, L, L, A, U, L, V,
                                           /* 0-9 : ; < = > ? */
                                           L, L, L, L, L, L, L, L, L, L, A, A, V, A, V, V,
                                           /* @ A-O */
                                           V, U, U, U, U, U, U, U, U, U, U, U, U, U, U, U,
                                           /* P-Z [ \ ] ^ _ */
                                           U, U, U, U, U, U, U, U, U, U, U, A, V, A, T, L,
                                           /* ` a-o */
                                           T, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L,
                                           /* p-z { | } ~ DEL */
                                           L, L, L, L, L, L, L, L, L, L, L, V, T, V, L, 0};
#undef L
#undef U
#undef T
#undef A
#undef V

static bool all(const char *s, size_t len, unsigned char wanted)
{
    for (size_t i = 0; i < len; i++)
        if ((classes[(unsigned char)s[i]] & wanted) == 0)
            return false;
    return true;
}

#ifdef __SSE2__
static int mask_of(__m128i bytes)
{
    return _mm_movemask_epi8(bytes);
}

/* 0x21-0x7e; others are negative, or too small, or DEL. */
static bool are_visible(__m128i bytes)
{
    return mask_of(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f)),
                                    _mm_cmpgt_epi8(bytes, _mm_set1_epi8(0x20)))) == 0xffff;
}

static __m128i from_to(__m128i bytes, char first, char last)
{
    __m128i above = _mm_sub_epi8(bytes, _mm_set1_epi8(first));

    return _mm_cmpeq_epi8(_mm_min_epu8(above, _mm_set1_epi8((char)(last - first))), above);
}

/* Letters, digits, colon, hyphen and dot: nearly every authority. */
static bool are_plain_host(__m128i bytes)
{
    __m128i letters = from_to(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), 'a', 'z');

    return mask_of(_mm_or_si128(_mm_or_si128(letters, from_to(bytes, '0', ':')),
                                from_to(bytes, '-', '.'))) == 0xffff;
}

/* Whether all blocks of 16 pass, the last one together with bytes of the one before. */
static inline bool blocks_pass(const char *s, size_t len, bool (*pass)(__m128i))
{
    if (len < 16)
        return false;
    for (size_t at = 0; at + 16 < len; at += 16)
        if (!pass(_mm_loadu_si128((const __m128i *)(const void *)(s + at))))
            return false;
    return pass(_mm_loadu_si128((const __m128i *)(const void *)(s + len - 16)));
}

static bool is_surely_visible(const char *s, size_t len)
{
    return blocks_pass(s, len, are_visible);
}

static bool is_surely_authority(const char *s, size_t len)
{
    return blocks_pass(s, len, are_plain_host);
}
#else
static bool is_surely_visible(const char *s, size_t len)
{
    (void)s;
    (void)len;
    return false;
}

static bool is_surely_authority(const char *s, size_t len)
{
    return is_surely_visible(s, len);
}
#endif

bool guard_h1_is_target(const char *target, size_t len)
{
    return len > 0 && target[0] == '/' &&
           (is_surely_visible(target, len) || all(target, len, VISIBLE));
}

bool guard_h1_is_method(const char *method, size_t len)
{
    return len > 0 && len <= MAX_METHOD && all(method, len, METHOD);
}

bool guard_h1_is_authority(const char *authority, size_t len)
{
    return len <= 1024 && (is_surely_authority(authority, len) || all(authority, len, AUTHORITY));
}

int guard_h1_find_end(const char *bytes, size_t len, size_t *scanned)
{
    const char *newline;
    size_t limit = len < GUARD_H1_MAX_HEAD ? len : GUARD_H1_MAX_HEAD;

    if (len > 0 && (classes[(unsigned char)bytes[0]] & METHOD) == 0)
        return -400; /* not the start of any request: a TLS hello on a clear port, a folded line */
    while (*scanned < limit &&
           (newline = memchr(bytes + *scanned, '\n', limit - *scanned)) != NULL) {
        size_t at = (size_t)(newline - bytes);

        if (at == 0 || bytes[at - 1] != '\r')
            return -400;
        *scanned = at + 1;
        if (at >= 3 && bytes[at - 2] == '\n')
            return (int)(at + 1);
        if (at >= MAX_REQUEST_LINE && memchr(bytes, '\n', at) == NULL)
            return -414;
    }
    *scanned = limit;
    if (limit > MAX_REQUEST_LINE && memchr(bytes, '\n', limit) == NULL)
        return -414;
    return len >= GUARD_H1_MAX_HEAD ? -431 : 0;
}

bool guard_h1_may_be_whole(const char *bytes, size_t len)
{
    return len >= 4 && len <= GUARD_H1_MAX_HEAD && memcmp(bytes + len - 4, "\r\n\r\n", 4) == 0;
}

/* The cursor over a head: `end` is behind its last CRLF, so every line of it has one. */
struct cursor {
    const char *at, *end;
};

static int check_version(const char *version, size_t len, struct guard_head *out)
{
    if (len != 8 || memcmp(version, "HTTP/", 5) != 0 || version[6] != '.')
        return 400;
    if (memcmp(version + 5, "1.1", 3) == 0)
        return 0;
    out->http10 = memcmp(version + 5, "1.0", 3) == 0;
    if (out->http10)
        return 0;
    return version[5] >= '0' && version[5] <= '9' && version[7] >= '0' && version[7] <= '9' ? 505
                                                                                            : 400;
}

static int check_request_line(struct cursor *c, struct guard_head *out)
{
    const char *method = c->at, *target, *version, *line_end;
    size_t target_len;

    line_end = memchr(method, '\r', (size_t)(c->end - method));
    if (line_end == NULL || line_end[1] != '\n')
        return 400;
    target = memchr(method, ' ', (size_t)(line_end - method));
    if (target == NULL || !guard_h1_is_method(method, (size_t)(target - method)))
        return 400;
    target++;
    version = memchr(target, ' ', (size_t)(line_end - target));
    if (version == NULL)
        return 400;
    target_len = (size_t)(version++ - target);
    if (target_len > GUARD_H1_MAX_TARGET)
        return 414;
    if (!guard_h1_is_target(target, target_len))
        return *target == '/' || memmem(method, (size_t)(line_end - method), "HTTP/", 5) != NULL
                   ? 400
                   : GUARD_H1_FOREIGN;
    c->at = line_end + 2;
    return check_version(version, (size_t)(line_end - version), out);
}

static bool same(const char *a, size_t len, const char *lower, size_t lower_len)
{
    return len == lower_len && (a[0] | 0x20) == (lower[0] | 0x20) &&
           strncasecmp(a, lower, len) == 0;
}

#ifdef __SSE2__
/* Both step over 16 bytes as long as all are of the usual kind; the plain loops behind them decide.
 */
static const char *skip_usual_text(const char *p, const char *end)
{
    const __m128i space = _mm_set1_epi8(0x20), del = _mm_set1_epi8(0x7f);

    for (; end - p >= 16; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i fine = _mm_cmpeq_epi8(_mm_max_epu8(bytes, space), bytes);
        int odd = _mm_movemask_epi8(
            _mm_or_si128(_mm_cmpeq_epi8(bytes, del), _mm_xor_si128(fine, _mm_set1_epi8(-1))));

        if (odd != 0)
            return p + __builtin_ctz((unsigned)odd);
    }
    return p;
}

static const char *skip_usual_name(const char *p, const char *end)
{
    while (end - p >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i letter = _mm_sub_epi8(_mm_or_si128(bytes, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
        __m128i fine = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8(25)), letter),
                                    _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-')));
        int odd = _mm_movemask_epi8(fine) ^ 0xffff;

        if (odd != 0)
            return p + __builtin_ctz((unsigned)odd);
        p += 16;
    }
    return p;
}
#else
static const char *skip_usual_text(const char *p, const char *end)
{
    (void)end;
    return p;
}

static const char *skip_usual_name(const char *p, const char *end)
{
    (void)end;
    return p;
}
#endif

/* The first byte of a field value that may not be in one: a control other than tab, or DEL. */
static const char *skip_value(const char *p, const char *end)
{
    for (;;) {
        p = skip_usual_text(p, end);
        while (p < end && (unsigned char)*p >= 0x20 && *p != 0x7f)
            p++;
        if (p == end || *p != '\t')
            return p;
        p++;
    }
}

/* What the head says about the things that matter here. */
struct seen {
    unsigned hosts, lengths, encodings, expects, fields;
};

static int on_length(const char *value, size_t len, struct guard_head *out)
{
    if (len == 0 || len > MAX_DIGITS)
        return 400;
    out->length = 0;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return 400;
        out->length = out->length * 10 + (uint64_t)(value[i] - '0');
    }
    return 0;
}

static int on_field(const char *head, const char *name, size_t name_len, const char *value,
                    size_t len, struct seen *seen, struct guard_head *out)
{
    switch (name_len) {
    case 4:
        if (!same(name, 4, "host", 4))
            return 0;
        seen->hosts++;
        return guard_h1_is_authority(value, len) ? 0 : 400;
    case 6:
        if (!same(name, 6, "expect", 6))
            return 0;
        seen->expects++;
        out->expect_at = (size_t)(name - head);
        return same(value, len, "100-continue", 12) ? 0 : 417;
    case 14:
        if (!same(name, 14, "content-length", 14))
            return 0;
        seen->lengths++;
        out->framing = FRAMING_LENGTH;
        break;
    case 17:
        if (!same(name, 17, "transfer-encoding", 17))
            return 0;
        seen->encodings++;
        out->framing = FRAMING_CHUNKED;
        if (!same(value, len, "chunked", 7))
            return 400;
        break;
    default:
        return 0;
    }
    out->framing_at = (size_t)(name - head);
    out->framing_value_at = (size_t)(value - head);
    out->framing_value_len = len;
    return out->framing == FRAMING_LENGTH ? on_length(value, len, out) : 0;
}

static int check_field(struct cursor *c, const char *head, struct seen *seen,
                       struct guard_head *out)
{
    const char *name = c->at, *colon = skip_usual_name(name, c->end), *value, *value_end;
    int status;

    while ((classes[(unsigned char)*colon] & TOKEN) != 0)
        colon++; /* ends at the line's CR at the latest */
    if (colon == name || *colon != ':')
        return 400; /* folded line, empty name, space before the colon, no colon */
    for (value = colon + 1; *value == ' ' || *value == '\t'; value++)
        ;
    value_end = skip_value(value, c->end);
    if (c->end - value_end < 2 || value_end[0] != '\r' || value_end[1] != '\n')
        return 400;
    c->at = value_end + 2;
    while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t')) {
        value_end--;
        out->padded = true;
    }
    if (++seen->fields > GUARD_H1_MAX_FIELDS)
        return 431;
    status =
        on_field(head, name, (size_t)(colon - name), value, (size_t)(value_end - value), seen, out);
    return status;
}

/* What only the whole head can tell. */
static int check_together(const struct seen *seen, struct guard_head *out)
{
    if (seen->hosts > 1 || (seen->hosts == 0 && !out->http10))
        return 400; /* RFC 9112, 3.2 */
    if (seen->lengths + seen->encodings > 1)
        return 400; /* both, or one twice: also when equal */
    if (seen->encodings != 0 && out->http10)
        return 400; /* RFC 9112, 6.1 */
    if (seen->expects > 1)
        return 417;
    out->continue_expected = seen->expects == 1 && !out->http10;
    return 0;
}

int guard_h1_check(const char *head, size_t len, struct guard_head *out)
{
    struct cursor c = {head, head + len};
    struct seen seen = {0};
    int status;

    memset(out, 0, sizeof(*out));
    out->len = len;
    if (len < 4 || memcmp(head + len - 4, "\r\n\r\n", 4) != 0)
        return 400;
    if ((status = check_request_line(&c, out)) != 0)
        return status;
    while (*c.at != '\r') {
        if ((status = check_field(&c, head, &seen, out)) != 0)
            return status;
    }
    if (c.at[1] != '\n')
        return 400; /* a lone CR */
    if (c.end - c.at != 2)
        return GUARD_H1_MORE;
    return check_together(&seen, out);
}

/* RFC 9110, 5.5: white space around a value is no part of it. */
static void move_padding(char *head, size_t len)
{
    char *end = head + len - 2, *line_end;

    for (char *line = (char *)memchr(head, '\n', len) + 1; line < end; line = line_end + 2) {
        char *colon = memchr(line, ':', (size_t)(end - line));
        size_t padding = 0;

        line_end = memchr(line, '\r', (size_t)(end - line));
        while (line_end - padding > colon + 1 && (line_end[-1 - (ptrdiff_t)padding] == ' ' ||
                                                  line_end[-1 - (ptrdiff_t)padding] == '\t'))
            padding++;
        memmove(colon + 1 + padding, colon + 1, (size_t)(line_end - colon) - 1 - padding);
        memset(colon + 1, ' ', padding);
    }
}

void guard_h1_hide(char *head, const struct guard_head *info)
{
    static const char length[] = "Content-Length:";
    char *value = head + info->framing_value_at;

    if (info->expect_at != 0)
        memcpy(head + info->expect_at, "X-Wait", 6);
    if (info->framing == FRAMING_LENGTH) {
        memset(value, '0', info->framing_value_len);
    } else if (info->framing == FRAMING_CHUNKED) {
        char *line = head + info->framing_at, *line_end = value + info->framing_value_len;

        memset(line, ' ', (size_t)(line_end - line));
        memcpy(line, length, sizeof(length) - 1);
        line_end[-1] = '0';
    }
    if (info->padded)
        move_padding(head, info->len);
}
