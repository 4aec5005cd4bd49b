/* Decoding and measuring JSON strings in place. */
#include "common/json_text.h"

#include <stdint.h>
#include <string.h>

#include "common/json.h"

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

    while (at < len) {
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
