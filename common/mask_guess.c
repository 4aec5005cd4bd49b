/* See mask.h. What looks like a key, also one that is not of our configuration. */
#include "common/mask.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MIN_KEY   32 /* letters and digits in a row */
#define KEY_REACH 64 /* bytes between the word "key" and a key */

/* Not isalnum(): a provider's text has many bytes, and the locale has no say here. */
static bool is_base62(char c)
{
    unsigned digit = (unsigned)(unsigned char)c - '0';
    unsigned letter = ((unsigned)(unsigned char)c | 0x20u) - 'a';

    return digit < 10 || letter < 26;
}

static bool is_key_byte(char c)
{
    return is_base62(c) || c == '-' || c == '_' || c == '*' || c == '.';
}

static size_t run_of(const char *text, size_t len, bool (*in)(char))
{
    size_t n = 0;

    while (n < len && in(text[n]))
        n++;
    while (n > 0 && text[n - 1] == '.') /* the end of a sentence */
        n--;
    return n;
}

/* Whether the word "key" stands shortly before `at`. */
static bool follows_key(const char *text, size_t at)
{
    size_t from = at > KEY_REACH ? at - KEY_REACH : 0, i;

    for (i = from; i + 3 <= at; i++)
        if ((text[i] | 0x20) == 'k' && strncasecmp(text + i, "key", 3) == 0)
            return true;
    return false;
}

/* How many bytes at text[at] are a key; 0: none. Called where a word begins only. */
static size_t key_length(const char *text, size_t len, size_t at)
{
    const char *here = text + at;
    size_t left = len - at, n;

    if (left >= 3 && here[2] == '-' && strncasecmp(here, "sk-", 3) == 0) {
        n = run_of(here, left, is_key_byte);
        return n >= 8 ? n : 0;
    }
    if (left >= 3 && strncmp(here, "eyJ", 3) == 0) {
        n = run_of(here, left, is_key_byte);
        return n >= 16 ? n : 0;
    }
    if (at >= 7 && here[-1] == ' ' && strncasecmp(here - 7, "bearer ", 7) == 0) {
        n = run_of(here, left, is_key_byte);
        return n >= 16 ? n : 0;
    }
    n = run_of(here, left, is_base62);
    return n >= MIN_KEY && follows_key(text, at) ? n : 0;
}

static bool begins_word(const char *text, size_t at)
{
    return at == 0 || (!is_base62(text[at - 1]) && text[at - 1] != '-' && text[at - 1] != '_');
}

/* The first key at or behind `at`. @return its length, 0: there is none */
static size_t find_key(const char *text, size_t len, size_t *at)
{
    for (; *at < len; (*at)++) {
        size_t n = begins_word(text, *at) ? key_length(text, len, *at) : 0;

        if (n != 0)
            return n;
    }
    return 0;
}

static size_t put(char *out, size_t used, const char *bytes, size_t len)
{
    memmove(out + used, bytes, len);
    return used + len;
}

size_t mask_guess(char *text, size_t len, size_t size)
{
    size_t at = 0, from = 0, used = 0, n = find_key(text, len, &at);
    char *copy;

    if (n == 0)
        return len;
    copy = malloc(len); /* what stands before a key says whether it is one: it must not move */
    if (copy != NULL)
        memcpy(copy, text, len);
    for (; copy != NULL && n != 0; n = find_key(copy, len, &at)) {
        used = put(text, used, copy + from, at - from);
        used = put(text, used, SECRET_MASK, strlen(SECRET_MASK));
        from = at += n;
    }
    if (copy != NULL)
        used = put(text, used, copy + from, len - from);
    else
        used = put(text, 0, SECRET_MASK, strlen(SECRET_MASK));
    free(copy);
    if (used < size)
        text[used] = '\0';
    return used;
}
