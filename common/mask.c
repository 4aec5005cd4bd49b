/* See mask.h. The search is one pass over folded bytes (lower case, both base64 alphabets as one).
 * Each secret gives up to five patterns (itself, hex, three alignments of base64), and each pattern
 * its 4-byte words. A piece that matters has at least 12 bytes, so it holds nine words: it is
 * enough to know all words of the patterns and to look at every ninth place of a text, or to know
 * every ninth word and to look at every place. The former is faster, the latter takes a ninth of
 * the memory, so it is for thousands of keys. A bitmap says for nearly every place that no such
 * word begins there; where one does, the match is followed to both sides.
 *
 * Where every ninth word is known, they are those at the end of their stride: a thousand keys that
 * all begin with "sk-proj-" would share the first ones.
 *
 * Escapes are undone before the search, on a copy that remembers where each byte came from. What
 * looks like an escape may be none: behind a lone '%' the digits that begin a key are its own. So
 * the text is also searched as it stands, and with fewer of its layers of escapes undone; and where
 * the piece has encoded bytes itself, from the digits of each escape on with those of the escapes
 * behind it undone. */
#include "common/mask.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

#define WORD         4  /* bytes of a word */
#define WHOLE_BYTES  20 /* a secret without a digit that is shorter is taken as a whole */
#define LEAST_CODED  8  /* a shorter secret is not looked for in base64 and hex */
#define LEAST        4
#define LEAST_KINDS  4  /* different bytes in what is found: "000000000000" says nothing */
#define PASSES       3  /* escapes within escapes */
#define AHEAD        32 /* bytes behind the beginning of an escape; a piece in hex has 24 */
#define BITS_A_WORD  32
#define SLOTS_A_WORD 2
#define FEW_BYTES    (128 * 1024) /* of patterns: all of their words are known */

struct pattern {
    uint32_t at, len; /* in `text` */
    uint32_t least;   /* bytes in a row that count; `len`: only the whole */
    bool apart;       /* only where no letter or digit joins it */
};

struct slot {
    uint32_t word;
    uint32_t pattern; /* + 1; 0: free */
    uint32_t at;      /* of the word, in the pattern */
};

struct mask {
    size_t bytes; /* of the whole, which is one mapping */
    uint32_t num_patterns;
    uint32_t shortest; /* bytes of the shortest text that can hold something */
    uint32_t stride;   /* of the places of a text that are looked at */
    uint32_t slot_mask, bit_mask;
    const struct pattern *patterns;
    const char *text; /* folded */
    const struct slot *slots;
    const uint64_t *bits;
};

static const struct mask *installed;

/* --- folding --- */

static unsigned char fold(unsigned char c)
{
    unsigned char lower = (unsigned char)((unsigned)(c - 'A') < 26 ? c | 0x20 : c);

    return lower == '+' ? '-' : lower == '/' ? '_' : lower;
}

static uint32_t word_at(const unsigned char *folded)
{
    uint32_t word;

    memcpy(&word, folded, WORD);
    return word;
}

static uint32_t hash_of(uint32_t word)
{
    word *= 0x9e3779b1u;
    return word ^ word >> 15;
}

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* --- patterns --- */

static bool says_something(const unsigned char *bytes, size_t len)
{
    uint64_t seen[4] = {0};
    unsigned kinds = 0;

    for (size_t i = 0; i < len && kinds < LEAST_KINDS; i++) {
        unsigned char c = fold(bytes[i]);
        uint64_t bit = UINT64_C(1) << (c & 63);

        kinds += (seen[c / 64] & bit) == 0;
        seen[c / 64] |= bit;
    }
    return kinds >= LEAST_KINDS;
}

enum rank { RANK_NONE, RANK_WORD, RANK_CODED_WORD, RANK_PIECES };

static enum rank rank_of(const char *text, size_t len)
{
    bool digit = false, letter = false;

    for (size_t i = 0; i < len; i++) {
        digit |= is_digit((unsigned char)text[i]);
        letter |= is_letter((unsigned char)text[i]);
    }
    if (!says_something((const unsigned char *)text, len))
        return RANK_NONE;
    if (len >= MASK_PIECE)
        return digit || len >= WHOLE_BYTES ? RANK_PIECES : RANK_WORD;
    if (len < LEAST || !digit || !letter)
        return RANK_NONE;
    return len >= LEAST_CODED ? RANK_CODED_WORD : RANK_WORD;
}

/* A piece that counts holds so many words. */
static uint32_t words_in_piece(const struct pattern *p)
{
    return p->least - WORD + 1;
}

/* The places in a pattern whose words are known: stride - 1, 2 * stride - 1, ... */
static uint32_t num_words(const struct pattern *p, bool few)
{
    return p->len < p->least ? 0 : (p->len - WORD + 1) / (few ? 1 : words_in_piece(p));
}

/* A set under construction. */
struct build {
    struct pattern *patterns; /* owned, while building */
    size_t num, room;
    char *text; /* owned, while building */
    size_t len, text_room;
    bool failed;
};

static bool make_room(void **list, size_t *room, size_t wanted, size_t each)
{
    size_t more = *room == 0 ? 64 : *room;
    void *grown;

    while (more < wanted)
        more *= 2;
    if (more == *room)
        return true;
    grown = calloc(more, each);
    if (grown == NULL)
        return false;
    if (*list != NULL) {
        memcpy(grown, *list, *room * each);
        secret_wipe(*list, *room * each);
        free(*list);
    }
    *list = grown;
    *room = more;
    return true;
}

/* Room for a pattern of `len` bytes, which the caller fills. */
static char *add_pattern(struct build *b, size_t len, size_t least, bool apart)
{
    struct pattern *p;

    if (len > UINT32_MAX / 8 || b->len > UINT32_MAX / 2 ||
        !make_room((void **)&b->patterns, &b->room, b->num + 1, sizeof(*b->patterns)) ||
        !make_room((void **)&b->text, &b->text_room, b->len + len, 1)) {
        b->failed = true;
        return NULL;
    }
    p = &b->patterns[b->num++];
    *p = (struct pattern){(uint32_t)b->len, (uint32_t)len, (uint32_t)least, apart};
    b->len += len;
    return b->text + b->len - len;
}

static void add_plain(struct build *b, const char *text, size_t len, size_t least, bool apart)
{
    char *out = add_pattern(b, len, least, apart);

    for (size_t i = 0; out != NULL && i < len; i++)
        out[i] = (char)fold((unsigned char)text[i]);
}

static void add_hex(struct build *b, const char *text, size_t len, size_t least)
{
    static const char digits[] = "0123456789abcdef";
    char *out = add_pattern(b, 2 * len, 2 * least, false);

    for (size_t i = 0; out != NULL && i < len; i++) {
        out[2 * i] = digits[(unsigned char)text[i] >> 4];
        out[2 * i + 1] = digits[(unsigned char)text[i] & 15];
    }
}

/* Six bits of the text, `bit` bits behind its begin. */
static unsigned sextet(const char *text, size_t bit)
{
    const unsigned char *at = (const unsigned char *)text + bit / 8;
    unsigned two = (unsigned)at[0] << 8;

    if (bit % 8 > 2)
        two |= at[1];
    return two >> (10 - bit % 8) & 63;
}

/* The characters that `len` bytes alone decide, when `before` other bytes stand in front of them in
 * their group. */
static size_t whole_sextets(size_t len, unsigned before)
{
    unsigned skipped = before == 0 ? 0 : before == 1 ? 4 : 2;

    return (8 * len - skipped) / 6;
}

static void add_base64(struct build *b, const char *text, size_t len, size_t least, unsigned before)
{
    static const char alphabet[] =
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789-_"; /* folded */
    unsigned skipped = before == 0 ? 0 : before == 1 ? 4 : 2;
    size_t num = whole_sextets(len, before);
    size_t few = least == len ? num : (8 * least - 5) / 6; /* wherever the piece begins */
    char *out = add_pattern(b, num, few, false);

    for (size_t i = 0; out != NULL && i < num; i++)
        out[i] = alphabet[sextet(text, skipped + 6 * i)];
}

static void add_secret(struct build *b, const struct secret *s)
{
    enum rank rank = rank_of(s->data, s->len);
    size_t least = rank == RANK_PIECES ? MASK_PIECE : s->len;

    if (rank == RANK_NONE)
        return;
    add_plain(b, s->data, s->len, least, rank != RANK_PIECES);
    if (rank == RANK_WORD)
        return;
    add_hex(b, s->data, s->len, least);
    for (unsigned before = 0; before < 3; before++)
        add_base64(b, s->data, s->len, least, before);
}

/* --- the set --- */

/* Keys that begin alike share words: from a word's own slot to its tail all are taken.
 * @param tails  [slots]; slot + 1 behind the last one of each first slot; NULL: not known */
static void add_word(struct mask *m, struct slot *slots, uint32_t *tails, uint32_t hash,
                     struct slot word)
{
    uint32_t first = hash & m->slot_mask, i = first;

    if (tails != NULL && tails[first] != 0)
        i = tails[first] - 1;
    while (slots[i].pattern != 0)
        i = (i + 1) & m->slot_mask;
    slots[i] = word;
    if (tails != NULL)
        tails[first] = ((i + 1) & m->slot_mask) + 1;
}

static void index_words(struct mask *m, bool few, struct slot *slots, uint64_t *bits)
{
    uint32_t *tails = calloc((size_t)m->slot_mask + 1, sizeof(*tails)); /* or it takes longer */

    for (uint32_t i = 0; i < m->num_patterns; i++) {
        const struct pattern *p = &m->patterns[i];
        uint32_t stride = few ? 1 : words_in_piece(p), n = num_words(p, few);

        for (uint32_t k = 0; k < n; k++) {
            uint32_t at = k * stride + stride - 1;
            uint32_t word = word_at((const unsigned char *)m->text + p->at + at),
                     hash = hash_of(word);

            add_word(m, slots, tails, hash, (struct slot){word, i + 1, at});
            bits[(hash & m->bit_mask) / 64] |= UINT64_C(1) << (hash & 63);
        }
    }
    free(tails);
}

/* Every place that is looked at has to be in each piece, the shortest included. */
static void set_strides(struct mask *m, bool few)
{
    m->shortest = m->num_patterns > 0 ? UINT32_MAX : 0;
    for (uint32_t i = 0; i < m->num_patterns; i++)
        if (m->patterns[i].least < m->shortest)
            m->shortest = m->patterns[i].least;
    m->stride = few && m->num_patterns > 0 ? m->shortest - WORD + 1 : 1;
}

static size_t power_above(size_t n)
{
    size_t p = 64;

    while (p < n)
        p *= 2;
    return p;
}

static size_t count_words(const struct build *b, bool few)
{
    size_t words = 0;

    for (size_t i = 0; i < b->num; i++)
        words += num_words(&b->patterns[i], few);
    return words;
}

/* One mapping: the head, the bitmap, the slots, the patterns, their text. */
static struct mask *assemble(const struct build *b)
{
    bool few = b->len <= FEW_BYTES;
    size_t words = count_words(b, few);
    size_t num_bits = power_above(words * BITS_A_WORD);
    size_t num_slots = power_above(words * SLOTS_A_WORD);
    size_t bytes = sizeof(struct mask) + num_bits / 8 + num_slots * sizeof(struct slot) +
                   b->num * sizeof(struct pattern) + b->len + WORD;
    struct mask *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t *bits;
    struct slot *slots;
    struct pattern *patterns;

    if (m == MAP_FAILED)
        return NULL;
    (void)madvise(m, bytes, MADV_DONTDUMP);
    bits = (uint64_t *)(m + 1);
    slots = (struct slot *)(bits + num_bits / 64);
    patterns = (struct pattern *)(slots + num_slots);
    if (b->num > 0) {
        memcpy(patterns, b->patterns, b->num * sizeof(*patterns));
        memcpy(patterns + b->num, b->text, b->len);
    }
    *m = (struct mask){.bytes = bytes,
                       .num_patterns = (uint32_t)b->num,
                       .slot_mask = (uint32_t)num_slots - 1,
                       .bit_mask = (uint32_t)num_bits - 1,
                       .patterns = patterns,
                       .text = (const char *)(patterns + b->num),
                       .slots = slots,
                       .bits = bits};
    set_strides(m, few);
    index_words(m, few, slots, bits);
    return m;
}

static int by_value(const void *a, const void *b)
{
    const struct secret *x = *(const struct secret *const *)a,
                        *y = *(const struct secret *const *)b;

    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return memcmp(x->data, y->data, x->len);
}

static void build_free(struct build *b)
{
    if (b->text != NULL)
        secret_wipe(b->text, b->text_room);
    free(b->text);
    free(b->patterns);
}

struct mask *mask_new(const struct secret *const *secrets, size_t num)
{
    const struct secret **sorted = calloc(num + 1, sizeof(const struct secret *));
    struct build b = {0};
    struct mask *m = NULL;
    size_t n = 0;

    if (sorted == NULL)
        return NULL;
    for (size_t i = 0; i < num; i++)
        if (secret_is_set(secrets[i]))
            sorted[n++] = secrets[i];
    qsort(sorted, n, sizeof(const struct secret *), by_value);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || by_value(&sorted[i - 1], &sorted[i]) != 0)
            add_secret(&b, sorted[i]);
    if (!b.failed)
        m = assemble(&b);
    build_free(&b);
    free(sorted);
    return m;
}

static int by_text(const void *a, const void *b)
{
    return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

struct mask *mask_new_words(const char *const *words, size_t num)
{
    const char **sorted = calloc(num + 1, sizeof(*sorted));
    struct build b = {0};
    struct mask *m = NULL;

    if (sorted == NULL)
        return NULL;
    if (num > 0)
        memcpy(sorted, words, num * sizeof(*sorted));
    qsort(sorted, num, sizeof(*sorted), by_text);
    for (size_t i = 0; i < num; i++) {
        size_t len = strlen(sorted[i]);

        if ((i == 0 || by_text(&sorted[i - 1], &sorted[i]) != 0) && len >= LEAST &&
            says_something((const unsigned char *)sorted[i], len))
            add_plain(&b, sorted[i], len, len, true);
    }
    if (!b.failed)
        m = assemble(&b);
    build_free(&b);
    free(sorted);
    return m;
}

void mask_free(struct mask *m)
{
    size_t bytes;

    if (m == NULL)
        return;
    if (installed == m)
        installed = NULL;
    bytes = m->bytes;
    secret_wipe(m, bytes);
    munmap(m, bytes);
}

/* --- what is searched --- */

/* A text with its escapes undone. */
struct view {
    const unsigned char *bytes;
    size_t len;
    int passes;           /* so many times; it had no more, or no more were wanted */
    const uint32_t *from; /* where each byte begins in the text; [len]: its end; NULL: the same */
    unsigned char *own_bytes; /* owned */
    uint32_t *own_from;       /* owned */
};

static int hex_value(unsigned char c)
{
    if (is_digit(c))
        return c - '0';
    c = fold(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* `digits` hex digits that stand for one byte. @return the byte, -1: none */
static int hex_byte(const unsigned char *at, size_t left, size_t digits)
{
    int value = 0;

    if (left < digits)
        return -1;
    for (size_t i = 0; i < digits; i++) {
        int digit = hex_value(at[i]);

        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value < 256 ? value : -1;
}

/* "&#45;" and "&#x2d;", the first two bytes seen. @return bytes taken, 0: none */
static size_t entity(const unsigned char *at, size_t left, int *value)
{
    bool hex = left > 3 && fold(at[2]) == 'x';
    size_t n = hex ? 3 : 2, first = n;

    for (*value = 0; n < left && n - first < 6; n++) {
        int digit = hex ? hex_value(at[n]) : is_digit(at[n]) ? at[n] - '0' : -1;

        if (digit < 0)
            break;
        *value = *value * (hex ? 16 : 10) + digit;
    }
    return n > first && n < left && at[n] == ';' && *value < 256 ? n + 1 : 0;
}

static size_t backslash(const unsigned char *at, size_t left, int *value)
{
    if (left < 2)
        return 0;
    switch (at[1]) {
    case 'u':
        *value = hex_byte(at + 2, left - 2, 4);
        return *value < 0 ? 0 : 6;
    case 'x':
        *value = hex_byte(at + 2, left - 2, 2);
        return *value < 0 ? 0 : 4;
    case '/':
    case '"':
    case '\\':
        *value = at[1];
        return 2;
    default:
        return 0;
    }
}

/* What one escape stands for. @return bytes taken, 0: there is none here */
static size_t escape(const unsigned char *at, size_t left, int *value)
{
    switch (*at) {
    case '%':
        *value = hex_byte(at + 1, left - 1, 2);
        return *value < 0 ? 0 : 3;
    case '\\':
        return backslash(at, left, value);
    case '&':
        return left > 2 && at[1] == '#' ? entity(at, left, value) : 0;
    default:
        return 0;
    }
}

/* @return whether anything changed */
static bool unescape_once(struct view *v)
{
    size_t in = 0, out = 0, len = v->len;

    while (in < len) {
        int value = 0;
        size_t n = escape(v->own_bytes + in, len - in, &value);

        v->own_from[out] = v->own_from[in];
        v->own_bytes[out++] = n > 0 ? (unsigned char)value : v->own_bytes[in];
        in += n > 0 ? n : 1;
    }
    v->own_from[out] = v->own_from[len];
    v->len = out;
    return out != len;
}

static bool has_escapes(const char *text, size_t len)
{
    return memchr(text, '%', len) != NULL || memchr(text, '\\', len) != NULL ||
           memchr(text, '&', len) != NULL;
}

/* @param passes  how many times escapes are undone at most */
static int view_init(struct view *v, const char *text, size_t len, int passes)
{
    *v = (struct view){.bytes = (const unsigned char *)text, .len = len};
    if (passes == 0 || len < LEAST || !has_escapes(text, len))
        return 0;
    v->own_bytes = malloc(len);
    v->own_from = malloc((len + 1) * sizeof(*v->own_from));
    if (v->own_bytes == NULL || v->own_from == NULL || len >= UINT32_MAX)
        return ERR_NOMEM;
    memcpy(v->own_bytes, text, len);
    for (size_t i = 0; i <= len; i++)
        v->own_from[i] = (uint32_t)i;
    while (v->passes < passes && unescape_once(v))
        v->passes++;
    v->bytes = v->own_bytes;
    v->from = v->own_from;
    return 0;
}

static void view_deinit(struct view *v)
{
    free(v->own_bytes);
    free(v->own_from);
}

/* --- the search --- */

struct span {
    size_t begin, end; /* in the view */
};

static bool joins(const struct view *v, size_t at)
{
    unsigned char c = v->bytes[at];

    return is_letter(c) || is_digit(c) || c == '-' || c == '_' || c >= 0x80;
}

/* Follow a word that both have to both sides. */
static struct span follow(const struct mask *m, const struct view *v, const struct slot *slot,
                          size_t at)
{
    const struct pattern *p = &m->patterns[slot->pattern - 1];
    const unsigned char *text = (const unsigned char *)m->text + p->at;
    size_t back = 0, on = WORD;

    while (back < slot->at && back < at &&
           fold(v->bytes[at - back - 1]) == text[slot->at - back - 1])
        back++;
    while (slot->at + on < p->len && at + on < v->len &&
           fold(v->bytes[at + on]) == text[slot->at + on])
        on++;
    return (struct span){at - back, at + on};
}

static bool counts(const struct view *v, const struct pattern *p, struct span s)
{
    if (s.end - s.begin < p->least || !says_something(v->bytes + s.begin, s.end - s.begin))
        return false;
    return !p->apart ||
           ((s.begin == 0 || !joins(v, s.begin - 1)) && (s.end == v->len || !joins(v, s.end)));
}

/* The longest that counts of all secrets that have this word. */
static bool match(const struct mask *m, const struct view *v, uint32_t word, uint32_t hash,
                  size_t at, struct span *out)
{
    bool found = false;

    for (uint32_t i = hash & m->slot_mask; m->slots[i].pattern != 0; i = (i + 1) & m->slot_mask) {
        const struct slot *slot = &m->slots[i];
        struct span s;

        if (slot->word != word)
            continue;
        s = follow(m, v, slot, at);
        if (!counts(v, &m->patterns[slot->pattern - 1], s))
            continue;
        if (!found || s.begin < out->begin)
            out->begin = s.begin;
        if (!found || s.end > out->end)
            out->end = s.end;
        found = true;
    }
    return found;
}

static uint32_t folded_word(const unsigned char *at)
{
    unsigned char folded[WORD] = {fold(at[0]), fold(at[1]), fold(at[2]), fold(at[3])};

    return word_at(folded);
}

/* The next place at or behind *at; moves *at behind it. */
static bool next(const struct mask *m, const struct view *v, size_t *at, struct span *out)
{
    for (size_t i = *at; i + WORD <= v->len; i += m->stride) {
        uint32_t word = folded_word(v->bytes + i), hash = hash_of(word);

        if ((m->bits[(hash & m->bit_mask) / 64] >> (hash & 63) & 1) != 0 &&
            match(m, v, word, hash, i, out)) {
            *at = out->end;
            return true;
        }
    }
    return false;
}

/* --- behind the beginning of an escape --- */

/* What stands there if the digits of an escape are its own, and what follows is encoded as ever. */
struct ahead {
    unsigned char bytes[AHEAD];
    size_t from[AHEAD + 1]; /* in the view */
    size_t len;
};

/* The digits of an escape that may be a key's own, at its end; those of an entity are not: it has
 * a ';' behind them. */
static size_t own_digits(const unsigned char *at, size_t n)
{
    return n == 0 || *at == '&' ? 0 : *at == '%' ? n - 1 : n - 2;
}

static void look_ahead(const struct view *v, size_t begin, size_t digits, size_t wanted,
                       struct ahead *a)
{
    size_t in = a->len > 0 ? a->from[a->len] : begin;

    while (a->len < wanted && in < v->len) {
        int value = v->bytes[in];
        size_t n = in < begin + digits ? 0 : escape(v->bytes + in, v->len - in, &value);

        a->from[a->len] = in;
        a->bytes[a->len++] = (unsigned char)(n > 0 ? value : v->bytes[in]);
        in += n > 0 ? n : 1;
    }
    a->from[a->len] = in;
}

/* Whether a word is known at one of the first places: where all of them are, that is one of the
 * digits. */
static bool may_begin(const struct mask *m, const struct ahead *a, size_t places)
{
    for (size_t i = 0; i < places && i + WORD <= a->len; i++) {
        uint32_t hash = hash_of(folded_word(a->bytes + i));

        if ((m->bits[(hash & m->bit_mask) / 64] >> (hash & 63) & 1) != 0)
            return true;
    }
    return false;
}

static bool begins_with_digits(const struct mask *m, const struct view *v, size_t begin,
                               size_t digits, struct span *out)
{
    size_t places = digits + (m->stride > 1 ? 0 : AHEAD / 2), at = 0;
    struct ahead a;
    struct view alone;
    struct span s;

    a.len = 0;
    look_ahead(v, begin, digits, places + WORD - 1, &a);
    if (!may_begin(m, &a, places))
        return false;
    look_ahead(v, begin, digits, AHEAD, &a);
    alone = (struct view){.bytes = a.bytes, .len = a.len};
    for (; at < places && at + WORD <= a.len; at++) {
        uint32_t word = folded_word(a.bytes + at);

        if (!match(m, &alone, word, hash_of(word), at, &s) || s.begin >= digits)
            continue;
        *out = (struct span){a.from[s.begin], a.from[s.end]};
        return true;
    }
    return false;
}

/* As next(), of what begins with the digits of an escape and has encoded bytes itself. */
static bool next_behind(const struct mask *m, const struct view *v, size_t *at, struct span *out)
{
    if (memchr(v->bytes, '%', v->len) == NULL && memchr(v->bytes, '\\', v->len) == NULL)
        return false;
    for (size_t i = *at, n; i<v->len; i += n> 0 ? n : 1) {
        int value = 0;
        size_t digits;

        n = escape(v->bytes + i, v->len - i, &value);
        digits = own_digits(v->bytes + i, n);
        if (digits > 0 && begins_with_digits(m, v, i + n - digits, digits, out)) {
            *at = out->end;
            return true;
        }
    }
    return false;
}

typedef bool (*next_cb)(const struct mask *m, const struct view *v, size_t *at, struct span *out);

/* @param passes  see view_init(); written: how many there were */
static bool finds(const struct mask *m, const char *text, size_t len, int *passes)
{
    struct view v;
    struct span s;
    size_t at = 0, behind = 0;
    bool found = view_init(&v, text, len, *passes) != 0 || next(m, &v, &at, &s) ||
                 next_behind(m, &v, &behind, &s);

    *passes = v.passes;
    view_deinit(&v);
    return found;
}

bool mask_finds(const struct mask *m, const char *text, size_t len)
{
    int all = PASSES;

    if (m == NULL || m->num_patterns == 0 || len < m->shortest)
        return false;
    if (finds(m, text, len, &all))
        return true;
    for (int passes = 0; passes < all; passes++) {
        int fewer = passes;

        if (finds(m, text, len, &fewer))
            return true;
    }
    return false;
}

static void end_text(char *text, size_t len, size_t size)
{
    if (len < size)
        text[len] = '\0';
}

static size_t put_mask(char *text, size_t used, size_t until)
{
    size_t n = sizeof(SECRET_MASK) - 1;

    if (n > until - used)
        n = until - used;
    memcpy(text + used, SECRET_MASK, n);
    return used + n;
}

static size_t place_of(const struct view *v, size_t at)
{
    return v->from != NULL ? v->from[at] : at;
}

/* What is found is longer than the mask, so the text moves to the front only, and the search, which
 * is always ahead of it, sees what was there. */
static size_t hide(const struct mask *m, const struct view *v, next_cb next_one, char *text,
                   size_t len)
{
    size_t at = 0, taken = 0, used = 0;
    struct span s;

    while (next_one(m, v, &at, &s)) {
        size_t begin = place_of(v, s.begin), end = place_of(v, s.end);

        if (begin >= taken) { /* else it overlaps the one before */
            memmove(text + used, text + taken, begin - taken);
            used = put_mask(text, used + begin - taken, end);
        }
        taken = end;
    }
    memmove(text + used, text + taken, len - taken);
    return used + len - taken;
}

/* @param passes  as of finds() */
static size_t hide_in_view(const struct mask *m, next_cb next_one, char *text, size_t len,
                           int *passes)
{
    struct view v;

    if (view_init(&v, text, len, *passes) == 0)
        len = hide(m, &v, next_one, text, len);
    else
        len = put_mask(text, 0, len);
    *passes = v.passes;
    view_deinit(&v);
    return len;
}

/* First with all escapes undone: a piece that only some of them cut is found longest there. */
static size_t hide_once(const struct mask *m, char *text, size_t len)
{
    int all = PASSES;

    len = hide_in_view(m, next, text, len, &all);
    for (int passes = 0; passes < all; passes++) {
        int fewer = passes;

        len = hide_in_view(m, next, text, len, &fewer);
    }
    for (int passes = 0; passes <= all; passes++) {
        int fewer = passes;

        len = hide_in_view(m, next_behind, text, len, &fewer);
    }
    return len;
}

size_t mask_hide(const struct mask *m, char *text, size_t len, size_t size)
{
    size_t before;

    if (m == NULL || m->num_patterns == 0 || len < m->shortest)
        return len;
    do { /* a short one that what was hidden had joined now stands alone */
        before = len;
        len = hide_once(m, text, len);
    } while (len < before);
    end_text(text, len, size);
    return len;
}

void mask_install(const struct mask *m)
{
    installed = m;
}

const struct mask *mask_installed(void)
{
    return installed;
}
