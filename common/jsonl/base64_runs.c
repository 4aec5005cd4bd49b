/* See base64_runs.h. Every string of a batch file goes through here, and text is scanned at some
 * gigabytes a second: so one word in a thousand bytes is looked at, and only where that has no
 * blank in it (nearly all text has) is there a second look. */
#include "base64_runs.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

enum {
    STRIDE = 1024,        /* between two first looks: half of RUN_BYTES, so that no run is missed */
    STRIDE_MAX = 8192,    /* ... in what has no blanks, but is no base64 */
    RUN_BYTES = 2048,     /* the shortest run that is surely found */
    HEAD_BYTES = 256,     /* ... at the beginning of a string */
    SAMPLE_BYTES = 128,   /* of a second look; real base64 has all kinds of characters in so many */
    ESCAPES_MAX = 8,      /* ... and so many line ends and escaped slashes at most */
    WORD_BYTES = 16,      /* of a first look */
    STEP = 4 * WORD_BYTES /* between looks inside a run */
};

static bool is_letter(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' ||
           c == '/' || c == '-' || c == '_' || c == '=' || c == '\\';
}

/* Whether these WORD_BYTES have no byte below '+', which blanks and quotes are, and are ASCII. */
static inline bool has_no_blank(const char *p)
{
#if defined(__x86_64__)
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);

    return _mm_movemask_epi8(_mm_cmplt_epi8(bytes, _mm_set1_epi8('+'))) == 0;
#else
    for (int i = 0; i < WORD_BYTES; i++)
        if ((signed char)p[i] < '+')
            return false;
    return true;
#endif
}

/* SAMPLE_BYTES that only base64 looks like. */
static bool is_base64(const char *p)
{
    unsigned upper = 0, lower = 0, digits = 0, escapes = 0;

    for (int i = 0; i < SAMPLE_BYTES; i++) {
        unsigned char c = (unsigned char)p[i];

        if (!is_letter(c))
            return false;
        if (c == '\\') {
            if (i + 1 < SAMPLE_BYTES && strchr("/nr", p[i + 1]) == NULL)
                return false;
            escapes++;
            i++;
        }
        upper += c >= 'A' && c <= 'Z';
        lower += c >= 'a' && c <= 'z';
        digits += c >= '0' && c <= '9';
    }
    return upper > 0 && lower > 0 && digits > 0 && escapes <= ESCAPES_MAX;
}

static size_t begin_of(const char *text, size_t from, size_t at)
{
    while (at > from && is_letter((unsigned char)text[at - 1]))
        at--;
    return at;
}

static size_t end_of(const char *text, size_t len, size_t at)
{
    while (len - at >= STEP + WORD_BYTES && has_no_blank(text + at + STEP))
        at += STEP;
    while (at < len && is_letter((unsigned char)text[at]))
        at++;
    return at;
}

size_t base64_run_find(const char *text, size_t len, size_t from, size_t *at)
{
    size_t stride = STRIDE;

    for (size_t p = from; len - from >= HEAD_BYTES && p + SAMPLE_BYTES <= len; p += stride) {
        size_t end;

        if (!has_no_blank(text + p)) {
            stride = STRIDE;
            continue;
        }
        if (!is_base64(text + p)) {
            stride = stride < STRIDE_MAX ? stride * 2 : stride;
            continue;
        }
        *at = begin_of(text, from, p);
        end = end_of(text, len, p);
        if (end - *at >= (*at == 0 ? HEAD_BYTES : RUN_BYTES / 2))
            return end - *at;
        p = end;
    }
    return 0;
}
