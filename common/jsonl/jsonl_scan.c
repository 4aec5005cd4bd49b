/* The fast reader of batch lines: one pass, strict RFC 8259 and RFC 3629, no allocation. It never
 * says why: whatever it does not like, and the few legal things it does not do (escaped keys where
 * keys matter, very deep nesting), is the referee's. Nearly all bytes of a batch file are inside
 * strings; only skip_plain() must be fast. */
#include "jsonl/jsonl_scan.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

struct string {
    const char *start; /* behind the opening quote */
    size_t len;        /* up to the closing one */
    size_t saved;      /* bytes that decoding takes away */
};

static bool is_plain(char c, bool utf8)
{
    return (unsigned char)c >= 0x20 && (utf8 || (unsigned char)c < 0x80) && c != '"' && c != '\\';
}

#if defined(__x86_64__)
/* A bit for each of 64 bytes. */
struct block {
    uint64_t quotes, slashes;
    uint64_t odd; /* controls and, unless they are known to be right, bytes from 0x80 */
};

static inline __attribute__((target("avx2"))) uint64_t bits_of(__m256i low, __m256i high)
{
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)_mm256_movemask_epi8(high) << 32;
}

/* What may follow a backslash alone: the bytes of "\/bfnrt, found by their half bytes. */
static inline __attribute__((target("avx2"))) __m256i letters_of(const char *p)
{
    const __m256i high = _mm256_setr_epi8(0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, /* */
                                          0, 0, 1, 0, 0, 2, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i low = _mm256_setr_epi8(0, 0, 13, 0, 8, 0, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1, /* */
                                         0, 0, 13, 0, 8, 0, 4, 0, 0, 0, 0, 0, 2, 0, 4, 1);
    const __m256i half = _mm256_set1_epi8(0x0f);
    __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i by_high =
        _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half));
    __m256i by_low = _mm256_shuffle_epi8(low, bytes); /* none for bytes from 0x80 */

    return _mm256_cmpgt_epi8(_mm256_and_si256(by_high, by_low), _mm256_setzero_si256());
}

static inline __attribute__((target("avx2"))) struct block read_block(const char *p, bool utf8)
{
    const __m256i quote = _mm256_set1_epi8('"'), slash = _mm256_set1_epi8('\\');
    const __m256i control = _mm256_set1_epi8(0x1f);
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)p);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));

    return (struct block){
        .quotes = bits_of(_mm256_cmpeq_epi8(a, quote), _mm256_cmpeq_epi8(b, quote)),
        .slashes = bits_of(_mm256_cmpeq_epi8(a, slash), _mm256_cmpeq_epi8(b, slash)),
        .odd = bits_of(_mm256_cmpeq_epi8(_mm256_min_epu8(a, control), a),
                       _mm256_cmpeq_epi8(_mm256_min_epu8(b, control), b)) |
               (utf8 ? 0 : bits_of(a, b)),
    };
}

/* The backslashes that begin an escape. In a row of them these are every other one: adding at the
 * begin of each row carries to its end, and where that lies tells the rows apart that begin at odd
 * places. Langdale and Lemire, "Parsing gigabytes of JSON per second", 2019, 3.1.1. */
static inline uint64_t begins_of_escapes(uint64_t slashes)
{
    const uint64_t odd_places = UINT64_C(0xaaaaaaaaaaaaaaaa);

    return ((((slashes << 1) | odd_places) - slashes) ^ odd_places) & slashes;
}

/* Blocks of a string without a branch for each escape: on to the closing quote, an escape that is
 * longer than two bytes or none, an odd byte, or less than 64 bytes before the end. What stands
 * there is for others. */
static __attribute__((target("avx2,popcnt"))) const char *
skip_blocks(const char *p, const char *end, bool utf8, size_t *saved)
{
    while (end - p >= 64) {
        struct block b = read_block(p, utf8);
        uint64_t begins = begins_of_escapes(b.slashes), escaped = begins << 1;
        uint64_t letters = bits_of(letters_of(p), letters_of(p + 32));
        uint64_t stops = (b.quotes & ~escaped) | b.odd | ((escaped & ~letters) >> 1);

        if (stops != 0) {
            unsigned at = (unsigned)__builtin_ctzll(stops);

            *saved += (size_t)__builtin_popcountll(begins & ((UINT64_C(1) << at) - 1));
            return p + at;
        }
        *saved += (size_t)__builtin_popcountll(begins << 1);
        p += begins >> 63 != 0 ? 63 : 64; /* an escape that is cut is for the next block */
    }
    return p;
}
#endif

/* To a word of eight bytes that are not all plain and ASCII, or to the last bytes. */
static inline const char *skip_words(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
    uint64_t w, quotes, slashes;

    while (end - p >= 8) {
        memcpy(&w, p, sizeof(w));
        quotes = w ^ (ones * '"');
        slashes = w ^ (ones * '\\');
        /* the high bit of a byte that is 0 after the exclusive or, below 0x20, or not ASCII */
        if ((((quotes - ones) | (slashes - ones) | (w - ones * 0x20) | w) & highs) != 0)
            break;
        p += 8;
    }
    return p;
}

/* To the next quote, backslash, control byte or, unless `utf8`, byte from 0x80; where many bytes
 * are plain, over short escapes too. */
static inline const char *skip_plain(const char *p, const char *end, bool utf8, size_t *saved)
{
#if defined(__x86_64__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i blank = _mm_set1_epi8(' '), control = _mm_set1_epi8(0x1f);

    const char *begin = p;

    while (end - p >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i special = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, slash));
        /* the second one is signed, so that bytes from 0x80 are below the blank as well */
        __m128i low = utf8 ? _mm_cmpeq_epi8(_mm_min_epu8(bytes, control), bytes)
                           : _mm_cmplt_epi8(bytes, blank);
        int mask = _mm_movemask_epi8(_mm_or_si128(special, low));

        if (mask != 0)
            return p + __builtin_ctz((unsigned)mask);
        p += 16;
        if (p == begin + 16 && end - p >= 64 && __builtin_cpu_supports("avx2"))
            p = skip_blocks(p, end, utf8, saved);
    }
#else
    (void)saved;
#endif
    p = skip_words(p, end);
    while (p < end && is_plain(*p, utf8))
        p++;
    return p;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -0x10000;
}

/* The code unit of `\uXXXX` at `p`; negative when that is not what stands there. */
static inline int code_unit(const char *p, const char *end)
{
    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    return hex_digit(p[2]) * 4096 + hex_digit(p[3]) * 256 + hex_digit(p[4]) * 16 + hex_digit(p[5]);
}

/* One `\u` escape, or a pair of them. Returns the bytes it takes, 0 when invalid. */
static size_t unicode_escape(const char *p, const char *end, size_t *saved)
{
    int unit = code_unit(p, end), low;

    if (unit < 0)
        return 0;
    if (unit < 0xd800 || unit > 0xdfff) {
        *saved += unit < 0x80 ? 5 : unit < 0x800 ? 4 : 3;
        return 6;
    }
    low = unit <= 0xdbff ? code_unit(p + 6, end) : -1;
    if (low < 0xdc00 || low > 0xdfff)
        return 0;
    *saved += 8;
    return 12;
}

/* All escapes that follow each other, as far as there is work left; NULL when one is invalid. */
static const char *skip_escapes(const char *p, const char *end, size_t *saved, size_t *work)
{
    size_t n;

    for (; end - p >= 2 && *p == '\\' && *work > 0; --*work) {
        switch (p[1]) {
        case '"':
        case '\\':
        case '/':
        case 'b':
        case 'f':
        case 'n':
        case 'r':
        case 't':
            *saved += 1;
            p += 2;
            break;
        case 'u':
            n = unicode_escape(p, end, saved);
            if (n == 0)
                return NULL;
            p += n;
            break;
        default:
            return NULL;
        }
    }
    return p;
}

/* For want of work: the member is begun again, and its string gone on with. */
static bool stop_here(struct jsonl_scan *s, struct jsonl_scan_string *so_far, const char *start,
                      const char *p, size_t saved)
{
    *so_far = (struct jsonl_scan_string){start, p, saved};
    s->paused = true;
    return false;
}

/* A string; `p` is at its opening quote and moves behind the closing one. */
static bool take_string(struct jsonl_scan *s, struct jsonl_scan_string *so_far, struct string *out)
{
    const char *p = s->p + 1, *end = s->end, *start = p;
    size_t saved = 0;

    if (so_far->start == start) {
        p = so_far->p;
        saved = so_far->saved;
    }
    for (;;) {
        p = s->utf8 ? skip_plain(p, end, true, &saved) : skip_plain(p, end, false, &saved);
        if (p == end)
            return false;
        if (*p == '"')
            break;
        if (s->work == 0)
            return stop_here(s, so_far, start, p, saved);
        s->work--;
        if (*p == '\\') {
            const char *escape = p;

            s->work++; /* counts its escapes itself */
            p = skip_escapes(p, end, &saved, &s->work);
            if (p == NULL || p == escape)
                return false;
        } else if ((unsigned char)*p >= 0x80) {
            s->utf8 = utf8_is_valid(p, (size_t)(end - p)); /* all of the line, at once */
            if (!s->utf8)
                return false;
        } else {
            return false;
        }
    }
    *out = (struct string){start, (size_t)(p - start), saved};
    s->p = p + 1;
    return true;
}

static void skip_blanks(struct jsonl_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

static bool take_digits(struct jsonl_scan *s)
{
    const char *start = s->p;

    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return s->p > start;
}

static bool take_number(struct jsonl_scan *s)
{
    if (*s->p == '-')
        s->p++;
    if (s->p < s->end && *s->p == '0')
        s->p++;
    else if (!take_digits(s))
        return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!take_digits(s))
            return false;
    }
    if (s->p < s->end && (*s->p | 0x20) == 'e') {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        return take_digits(s);
    }
    return true;
}

static bool take_word(struct jsonl_scan *s, const char *word, size_t len)
{
    if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0)
        return false;
    s->p += len;
    return true;
}

static bool push(struct jsonl_scan *s, bool object)
{
    uint64_t bit = UINT64_C(1) << (s->depth % 64);

    if (s->depth >= s->max_depth || s->depth >= JSONL_SCAN_DEPTH)
        return false;
    if (object)
        s->objects[s->depth / 64] |= bit;
    else
        s->objects[s->depth / 64] &= ~bit;
    s->depth++;
    s->is_object = object;
    s->fresh = true;
    s->p++;
    return true;
}

static void pop(struct jsonl_scan *s)
{
    s->p++;
    s->depth--;
    s->fresh = false;
    if (s->depth == 0)
        return;
    s->is_object = (s->objects[(s->depth - 1) / 64] >> ((s->depth - 1) % 64) & 1) != 0;
    if (s->depth <= 2 && s->place.in != FIELD_OTHER)
        jsonl_leave_prompt(&s->place, s->facts, (size_t)(s->p - s->line));
    if (s->depth == 1)
        s->in_body = false;
}

static bool take_string_value(struct jsonl_scan *s, enum jsonl_field field,
                              struct jsonl_value *value)
{
    struct string text;

    if (!take_string(s, &s->value, &text)) {
        if (s->paused && s->is_object) /* its key need not be read again */
            s->key = (struct jsonl_scan_string){s->place.key, s->place.key + s->place.key_len, 0};
        return false;
    }
    value->len = text.len + 2;
    value->escaped = text.saved != 0;
    if (s->place.in != FIELD_OTHER || jsonl_is_prompt(field))
        jsonl_note_text(s->facts, &s->place, text.start, text.len, text.len - text.saved);
    return true;
}

static bool take_container(struct jsonl_scan *s, enum jsonl_field field, bool object)
{
    size_t at = (size_t)(s->p - s->line);

    if (!push(s, object))
        return false;
    if (field == FIELD_BODY)
        s->in_body = object;
    else if (jsonl_is_prompt(field))
        jsonl_enter_prompt(&s->place, field, object, at);
    return true;
}

static bool take_number_value(struct jsonl_scan *s, enum jsonl_field field)
{
    const char *start = s->p;

    if (!take_number(s))
        return false;
    if (jsonl_is_bound(field))
        jsonl_note_bound(s->facts, field, start, (size_t)(s->p - start));
    else if (s->place.in == FIELD_IDS && !s->is_object && s->depth <= JSONL_ID_DEPTH)
        jsonl_note_id(s->facts, start, (size_t)(s->p - start));
    return true;
}

/* One value; of an object or array, its beginning. */
static bool take_value(struct jsonl_scan *s, enum jsonl_field field, size_t key_at)
{
    struct jsonl_value value = {.at = (size_t)(s->p - s->line)};
    bool good;

    if (s->p == s->end)
        return false;
    switch (*s->p) {
    case '"':
        value.type = JSON_STRING;
        good = take_string_value(s, field, &value);
        break;
    case '{':
        value.type = JSON_OBJECT;
        good = take_container(s, field, true);
        break;
    case '[':
        value.type = JSON_ARRAY;
        good = take_container(s, field, false);
        break;
    case 't':
        value.type = JSON_BOOL;
        good = take_word(s, "true", 4);
        break;
    case 'f':
        value.type = JSON_BOOL;
        good = take_word(s, "false", 5);
        break;
    case 'n':
        value.type = JSON_NULL;
        good = take_word(s, "null", 4);
        break;
    default:
        value.type = JSON_NUMBER;
        good = take_number_value(s, field);
        break;
    }
    if (good && field < NUM_FIELDS)
        jsonl_note(s->facts, field, &value, key_at);
    return good;
}

/* A key and its colon. */
static bool take_key(struct jsonl_scan *s, enum jsonl_field *field)
{
    bool top = s->depth == 1, body = s->depth == 2 && s->in_body;
    struct string key;

    if (s->p == s->end || *s->p != '"' || !take_string(s, &s->key, &key))
        return false;
    if (top || body) {
        if (key.saved != 0)
            return false;
        *field = top ? jsonl_top_field(key.start, key.len) : jsonl_body_field(key.start, key.len);
    }
    s->place.key = key.start;
    s->place.key_len = key.len;
    skip_blanks(s);
    if (s->p == s->end || *s->p != ':')
        return false;
    s->p++;
    skip_blanks(s);
    return true;
}

/* The next member of the innermost object or array, or its end. */
static bool take_member(struct jsonl_scan *s)
{
    enum jsonl_field field = FIELD_OTHER;
    size_t key_at;

    skip_blanks(s);
    if (s->p == s->end)
        return false;
    if (*s->p == (s->is_object ? '}' : ']')) {
        pop(s);
        return true;
    }
    if (!s->fresh) {
        if (*s->p != ',')
            return false;
        s->p++;
        skip_blanks(s);
    }
    s->fresh = false;
    key_at = (size_t)(s->p - s->line);
    if (s->is_object && !take_key(s, &field))
        return false;
    return take_value(s, field, key_at);
}

#if __has_attribute(noclone)
#define OPAQUE __attribute__((noinline, noclone))
#else
#define OPAQUE __attribute__((noinline))
#endif

/* The library's memset: of a size that it knows the compiler makes `rep stos`, which takes 30 ns to
 * begin. */
static OPAQUE void clear(struct jsonl_facts *facts, size_t size)
{
    memset(facts, 0, size);
}

void jsonl_scan_begin(struct jsonl_scan *s, const char *line, size_t len, unsigned max_depth,
                      struct jsonl_facts *facts)
{
    /* One by one: to clear all of it, levels too, takes as long as to read a short one. */
    s->line = s->p = line;
    s->end = line + len;
    s->facts = facts;
    s->depth = 0;
    s->max_depth = max_depth;
    s->is_object = s->fresh = s->in_body = s->utf8 = s->paused = false;
    for (size_t i = 0; i < sizeof(s->objects) / sizeof(s->objects[0]); i++)
        s->objects[i] = 0;
    s->key.start = s->value.start = NULL;
    s->place.in = FIELD_OTHER;
    s->place.key = NULL;
    s->place.key_len = s->place.shape_at = s->place.shape_strings = 0;
    clear(facts, sizeof(*facts));
}

/* @return false: there is none */
static bool take_root(struct jsonl_scan *s)
{
    skip_blanks(s);
    if (s->p == s->end || *s->p != '{')
        return false;
    s->facts->root = JSON_OBJECT;
    s->facts->root_at = (size_t)(s->p - s->line);
    return push(s, true);
}

/* The members, as far as there is work. @return whether all is well, and s->depth 0 at the end */
static bool take_members(struct jsonl_scan *s)
{
    const char *begin;
    bool fresh;

    s->paused = false;
    while (s->depth > 0 && s->work > 0) {
        s->work--;
        begin = s->p;
        fresh = s->fresh;
        if (take_member(s))
            continue;
        if (!s->paused)
            return false;
        s->p = begin;
        s->fresh = fresh;
        return true;
    }
    return true;
}

enum jsonl_scan_state jsonl_scan_some(struct jsonl_scan *s, size_t work)
{
    s->work = work;
    if (s->p == s->line && !take_root(s))
        return JSONL_SCAN_DOUBT;
    if (!take_members(s))
        return JSONL_SCAN_DOUBT;
    if (s->depth > 0)
        return JSONL_SCAN_MORE;
    jsonl_note_end(s->facts);
    skip_blanks(s);
    return s->p == s->end ? JSONL_SCAN_GOOD : JSONL_SCAN_DOUBT;
}

bool jsonl_scan(const char *line, size_t len, unsigned max_depth, struct jsonl_facts *facts)
{
    struct jsonl_scan s;

    jsonl_scan_begin(&s, line, len, max_depth, facts);
    return jsonl_scan_some(&s, SIZE_MAX) == JSONL_SCAN_GOOD;
}
