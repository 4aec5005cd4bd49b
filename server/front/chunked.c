/* See chunked.h. */
#include "chunked.h"

#include <stdbool.h>
#include <string.h>

#define MAX_DIGITS 15 /* 60 bits */

enum {
    SIZE_FIRST, /* at least one digit */
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF
};

static int hex(unsigned char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static bool is_text(unsigned char ch)
{
    return ch == '\t' || (ch >= 0x20 && ch != 0x7f);
}

static bool is_token(unsigned char ch)
{
    return ch > 0x20 && ch < 0x7f && strchr("\"(),/:;<=>?@[\\]{}", ch) == NULL;
}

static bool on_size(struct chunked *c, unsigned char ch)
{
    int digit = hex(ch);

    if (digit >= 0) {
        c->left = c->left << 4 | (unsigned)digit;
        c->state = SIZE;
        return ++c->digits <= MAX_DIGITS;
    }
    if (c->state == SIZE_FIRST)
        return false;
    c->extra = 0;
    c->state = ch == ';' ? EXTENSION : SIZE_LF;
    return ch == ';' || ch == '\r';
}

static bool on_trailer(struct chunked *c, unsigned char ch)
{
    if (++c->extra > CHUNKED_MAX_TRAILERS)
        return false;
    switch (c->state) {
    case TRAILER_START:
        c->state = ch == '\r' ? LAST_LF : TRAILER_NAME;
        return ch == '\r' || is_token(ch);
    case TRAILER_NAME:
        if (ch == ':')
            c->state = TRAILER_VALUE;
        return ch == ':' || is_token(ch);
    case TRAILER_VALUE:
        if (ch == '\r')
            c->state = TRAILER_LF;
        return ch == '\r' || is_text(ch);
    default: /* TRAILER_LF */
        c->state = TRAILER_START;
        return ch == '\n';
    }
}

/* One byte that is not payload. @return false: it breaks the syntax */
static bool on_byte(struct chunked *c, unsigned char ch)
{
    switch (c->state) {
    case SIZE_FIRST:
    case SIZE:
        return on_size(c, ch);
    case EXTENSION:
        if (ch == '\r')
            c->state = SIZE_LF;
        return ch == '\r' || (is_text(ch) && ++c->extra <= CHUNKED_MAX_EXTENSION);
    case SIZE_LF:
        c->state = c->left != 0 ? DATA : TRAILER_START;
        c->extra = 0;
        return ch == '\n';
    case DATA_CR:
        c->state = DATA_LF;
        return ch == '\r';
    case DATA_LF:
        c->state = SIZE_FIRST;
        c->digits = 0;
        return ch == '\n';
    default:
        return on_trailer(c, ch);
    }
}

enum chunked_result chunked_decode(struct chunked *c, char *bytes, size_t len, size_t *used,
                                   size_t *out)
{
    size_t at = 0;

    *out = 0;
    while (at < len) {
        if (c->state == DATA) {
            size_t n = len - at < c->left ? len - at : (size_t)c->left;

            memmove(bytes + *out, bytes + at, n);
            *out += n;
            at += n;
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
            continue;
        }
        if (c->state == LAST_LF) {
            *used = at + 1;
            return bytes[at] == '\n' ? CHUNKED_END : CHUNKED_BAD;
        }
        if (!on_byte(c, (unsigned char)bytes[at++])) {
            *used = at;
            return CHUNKED_BAD;
        }
    }
    *used = at;
    return CHUNKED_MORE;
}
