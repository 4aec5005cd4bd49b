/* How many connections each client address has. An IPv6 client counts by its /64, which is what one
 * subscriber gets. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "common/err.h"

struct guard_peers {
    struct guard_peer *slots; /* owned; open addressing, linear */
    size_t mask;
};

/** @param max  most connections at a time, all addresses together. @return 0 or ERR_NOMEM */
MUST_USE int guard_peers_init(struct guard_peers *peers, size_t max);
void guard_peers_deinit(struct guard_peers *peers);

/** What an address counts under. 0 only for families other than IP, which are not counted. */
uint64_t guard_peers_key(const struct sockaddr *address);

/** Print it for people: an IPv4 address as such also where it came as IPv6; "" for other families. */
void guard_peers_name(const struct sockaddr *address, char out[INET6_ADDRSTRLEN]);

/** Whether the address is this machine's own loopback. */
bool guard_peers_is_loopback(const struct sockaddr *address);

/** One connection more. @return how many it has now; 0 for key 0 */
uint32_t guard_peers_add(struct guard_peers *peers, uint64_t key);

/** One less. */
void guard_peers_remove(struct guard_peers *peers, uint64_t key);
