/* See hook_address.h. The tables are IANA's registries of special-purpose addresses (RFC 6890), and
 * what clouds answer their own machines at. Of IPv6 only 2000::/3 is handed out for public use, so
 * all else is refused without a list. */
#include "webhook/hook_address.h"

#include <assert.h>
#include <arpa/inet.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define V4_BITS 96 /* in front of a mapped address */

static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static const struct v4_range {
    uint32_t from;
    unsigned bits;
    const char *what;
} v4_ranges[] = {
    {0x00000000, 8, "this network"},       {0x0a000000, 8, "private"},
    {0x64400000, 10, "carrier-grade NAT"}, {0x7f000000, 8, "loopback"},
    {0xa9fea9fe, 32, "metadata"},          {0xa9fe0000, 16, "link-local"},
    {0xac100000, 12, "private"},           {0xc0000000, 24, "protocol assignments"},
    {0xc0000200, 24, "documentation"},     {0xc0586300, 24, "6to4 relays"},
    {0xc0a80000, 16, "private"},           {0xc6120000, 15, "benchmarks"},
    {0xc6336400, 24, "documentation"},     {0xcb007100, 24, "documentation"},
    {0xa83f8110, 32, "metadata"}, /* Azure's 168.63.129.16 */
    {0xe0000000, 4, "multicast"},          {0xf0000000, 4, "reserved"},
};

/* Inside 2000::/3, and what is worth a name of its own outside. */
static const struct v6_range {
    unsigned char from[HOOK_ADDRESS_BYTES];
    unsigned bits;
    const char *what;
} v6_ranges[] = {
    {{[15] = 1}, 128, "loopback"},
    {{0}, 128, "unspecified"},
    {{0xfc}, 7, "unique-local"},
    {{0xfe, 0x80}, 10, "link-local"},
    {{0xfe, 0xc0}, 10, "site-local"},
    {{0xff}, 8, "multicast"},
    {{0x20, 0x01, 0x0d, 0xb8}, 32, "documentation"},
    {{0x3f, 0xff}, 20, "documentation"},
    {{0x20, 0x01}, 23, "protocol assignments"}, /* Teredo and ORCHID, too */
};

static const struct v6_range public_v6 = {{0x20}, 3, NULL};

static bool has_prefix(const unsigned char *address, const unsigned char *prefix, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(address, prefix, whole) != 0)
        return false;
    return rest == 0 || ((address[whole] ^ prefix[whole]) >> (8 - rest)) == 0;
}

static uint32_t read_v4(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Where the IPv4 address stands in one that is sent on to it; NULL: it stands for itself. */
static const unsigned char *find_v4(const unsigned char *address)
{
    static const unsigned char zero[12], nat64[12] = {0, 0x64, 0xff, 0x9b}, to4[2] = {0x20, 0x02};

    if (memcmp(address, mapped, sizeof(mapped)) == 0 || memcmp(address, nat64, sizeof(nat64)) == 0)
        return address + 12;
    if (memcmp(address, zero, sizeof(zero)) == 0 && read_v4(address + 12) > 1)
        return address + 12;
    return memcmp(address, to4, sizeof(to4)) == 0 ? address + 2 : NULL;
}

static const char *v4_fault(uint32_t address)
{
    for (size_t i = 0; i < sizeof(v4_ranges) / sizeof(v4_ranges[0]); i++) {
        const struct v4_range *range = &v4_ranges[i];

        assert(range->bits > 0 && range->bits <= 32);
        if (((address ^ range->from) >> (32 - range->bits)) == 0)
            return range->what;
    }
    return NULL;
}

const char *hook_address_fault(const unsigned char address[HOOK_ADDRESS_BYTES])
{
    const unsigned char *v4 = find_v4(address);

    if (v4 != NULL)
        return v4_fault(read_v4(v4));
    for (size_t i = 0; i < sizeof(v6_ranges) / sizeof(v6_ranges[0]); i++)
        if (has_prefix(address, v6_ranges[i].from, v6_ranges[i].bits))
            return v6_ranges[i].what;
    return has_prefix(address, public_v6.from, public_v6.bits) ? NULL : "not global";
}

bool hook_address_may(const unsigned char address[HOOK_ADDRESS_BYTES],
                      const struct hook_range *ranges, size_t num_ranges)
{
    const unsigned char *v4 = find_v4(address);
    unsigned char plain[HOOK_ADDRESS_BYTES];

    if (hook_address_fault(address) == NULL)
        return true;
    memcpy(plain, mapped, sizeof(mapped));
    if (v4 != NULL)
        memcpy(plain + sizeof(mapped), v4, 4);
    for (size_t i = 0; i < num_ranges; i++)
        if (has_prefix(address, ranges[i].bytes, ranges[i].bits) ||
            (v4 != NULL && has_prefix(plain, ranges[i].bytes, ranges[i].bits)))
            return true;
    return false;
}

bool hook_address_of(const struct sockaddr *address, socklen_t len,
                     unsigned char out[HOOK_ADDRESS_BYTES])
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (len >= (socklen_t)sizeof(v4) && address->sa_family == AF_INET) {
        memcpy(&v4, address, sizeof(v4));
        memcpy(out, mapped, sizeof(mapped));
        memcpy(out + sizeof(mapped), &v4.sin_addr, 4);
        return true;
    }
    if (len >= (socklen_t)sizeof(v6) && address->sa_family == AF_INET6) {
        memcpy(&v6, address, sizeof(v6));
        memcpy(out, &v6.sin6_addr, HOOK_ADDRESS_BYTES);
        return true;
    }
    return false;
}

/* ---- ranges ---- */

/* @param bits  written: those in front of what the text says */
static bool read_address(const char *text, unsigned char out[HOOK_ADDRESS_BYTES], unsigned *bits)
{
    *bits = 0;
    if (inet_pton(AF_INET6, text, out) == 1)
        return true;
    memcpy(out, mapped, sizeof(mapped));
    *bits = V4_BITS;
    return inet_pton(AF_INET, text, out + sizeof(mapped)) == 1;
}

static bool has_rest(const struct hook_range *range)
{
    for (unsigned bit = range->bits; bit < 8 * HOOK_ADDRESS_BYTES; bit++)
        if ((range->bytes[bit / 8] & (0x80 >> bit % 8)) != 0)
            return true;
    return false;
}

int hook_range_read(const char *text, struct hook_range *out)
{
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    char address[INET6_ADDRSTRLEN];
    unsigned before;
    char *end;
    unsigned long bits;

    if (len == 0 || len >= sizeof(address))
        return ERR_INVALID;
    memcpy(address, text, len);
    address[len] = '\0';
    if (!read_address(address, out->bytes, &before))
        return ERR_INVALID;
    out->bits = 8 * HOOK_ADDRESS_BYTES;
    if (slash == NULL)
        return 0;
    bits = slash[1] >= '0' && slash[1] <= '9' ? strtoul(slash + 1, &end, 10) : ULONG_MAX;
    if (bits > 8 * HOOK_ADDRESS_BYTES - before || *end != '\0')
        return ERR_INVALID;
    out->bits = before + (unsigned)bits;
    return has_rest(out) ? ERR_INVALID : 0;
}
