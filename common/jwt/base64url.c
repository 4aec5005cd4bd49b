/* See base64url.h. */
#include "jwt/base64url.h"

#include <stdint.h>

/* @return the six bits of a character; 64: it has none */
static unsigned bits_of(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26u;
    if (c >= '0' && c <= '9')
        return c - '0' + 52u;
    return c == '-' ? 62 : c == '_' ? 63 : 64;
}

int base64url_read(const char *text, size_t len, unsigned char *out)
{
    uint32_t bits = 0;
    unsigned num = 0;

    if (len % 4 == 1)
        return ERR_SYNTAX;
    for (size_t i = 0; i < len; i++) {
        unsigned six = bits_of((unsigned char)text[i]);

        if (six == 64)
            return ERR_SYNTAX;
        bits = (bits << 6 | six) & 0xffff;
        num += 6;
        if (num < 8)
            continue;
        num -= 8;
        *out++ = (unsigned char)(bits >> num);
    }
    return (bits & ((1u << num) - 1)) == 0 ? 0 : ERR_SYNTAX;
}

void base64url_write(const unsigned char *bytes, size_t len, char *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned num = 0;

    for (size_t i = 0; i < len; i++) {
        bits = (bits << 8 | bytes[i]) & 0xffff;
        for (num += 8; num >= 6; num -= 6)
            *out++ = alphabet[bits >> (num - 6) & 63];
    }
    if (num > 0)
        *out = alphabet[bits << (6 - num) & 63];
}
