/* Which addresses may be connected to: those of the public internet, and those that an operator
 * allowed (webhook statement D27). Asked for the address of each connection, right before it is
 * made: what a name said before, or says to somebody else, counts for nothing. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/err.h"

#define HOOK_ADDRESS_BYTES 16 /* of IPv6; IPv4 as a mapped one (RFC 4291 section 2.5.5.2) */

/* A range, as "10.0.0.0/8" or "fd00::/8" writes it. */
struct hook_range {
    unsigned char bytes[HOOK_ADDRESS_BYTES];
    unsigned bits; /* of the 128 that count */
};

/** Read a range; an address without "/" is one of itself alone.
 *  @return 0; ERR_INVALID: it is none, or has bits behind those that count */
MUST_USE int hook_range_read(const char *text, struct hook_range *out);

/** What a socket's address is, as 16 bytes. @return false: neither IPv4 nor IPv6 */
bool hook_address_of(const struct sockaddr *address, socklen_t len,
                     unsigned char out[HOOK_ADDRESS_BYTES]);

/** Why an address is none of the public internet: "loopback", "private", ... An IPv6 address that
 * stands for an IPv4 one (mapped, compatible, NAT64 of RFC 6052, 6to4) is what that one is.
 *  @return NULL: it is public */
const char *hook_address_fault(const unsigned char address[HOOK_ADDRESS_BYTES]);

/** Whether it may be connected to.
 *  @param ranges  that are allowed whatever they are; of an IPv6 address that stands for an IPv4 one
 *                 either may be in them */
bool hook_address_may(const unsigned char address[HOOK_ADDRESS_BYTES],
                      const struct hook_range *ranges, size_t num_ranges);
