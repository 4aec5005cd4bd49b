/* Lower-case hex digits. They are read eight at once, for what is read on every poll: a marker has
 * nearly a hundred of them. */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HEX_EACH(byte) ((byte)*UINT64_C(0x0101010101010101))

/** The number that eight digits write, the first of which counts most. In each byte an addition
 * carries into the top bit when the byte is out of a range, and never beyond, since no byte has
 * that bit itself.
 *  @return whether they are all digits; `out` is untouched otherwise */
static inline bool hex_read_eight(const char *text, uint64_t *out)
{
    uint64_t v, number, letter, is_number, is_letter;

    memcpy(&v, text, sizeof(v));
    if ((v & HEX_EACH(0x80)) != 0)
        return false;
    number = v ^ HEX_EACH('0');  /* 0 to 9 when it is one */
    letter = v ^ HEX_EACH(0x60); /* 1 to 6 */
    is_number = ~(number + HEX_EACH(0x76));
    is_letter = ~(letter + HEX_EACH(0x79)) & (letter + HEX_EACH(0x7f));
    if (((is_number | is_letter) & HEX_EACH(0x80)) != HEX_EACH(0x80))
        return false;
    v = (v & HEX_EACH(15)) + (v >> 6 & HEX_EACH(1)) * 9;
    v = be64toh(v);
    v = (v | v >> 4) & UINT64_C(0x00ff00ff00ff00ff);
    v = (v | v >> 8) & UINT64_C(0x0000ffff0000ffff);
    *out = (v | v >> 16) & UINT64_C(0x00000000ffffffff);
    return true;
}

/** Write each byte as two digits, the first of which counts more, and a NUL behind the last.
 *  @param out  [2 * len + 1] */
static inline void hex_write(const void *bytes, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *at = (const unsigned char *)bytes;

    for (size_t i = 0; i < len; i++) {
        *out++ = digits[at[i] >> 4];
        *out++ = digits[at[i] & 15];
    }
    *out = '\0';
}
