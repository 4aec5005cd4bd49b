/* See guard_peers.h. The table is twice as large as there can be connections, so it is never full.
 */
#include "front/guard_peers.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct guard_peer {
    uint64_t key; /* 0: free */
    uint32_t count;
};

int guard_peers_init(struct guard_peers *peers, size_t max)
{
    size_t size = 16;

    while (size < max * 2)
        size *= 2;
    peers->slots = calloc(size, sizeof(*peers->slots));
    peers->mask = size - 1;
    return peers->slots != NULL ? 0 : ERR_NOMEM;
}

void guard_peers_deinit(struct guard_peers *peers)
{
    free(peers->slots);
    peers->slots = NULL;
}

uint64_t guard_peers_key(const struct sockaddr *address)
{
    uint64_t key = 0;
    uint32_t v4;

    if (address->sa_family == AF_INET) {
        v4 = ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr;
        return (uint64_t)v4 << 16 | 4; /* no /64 in use looks like this: 2000::/3 begins higher */
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *v6 =
            &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;

        if (IN6_IS_ADDR_V4MAPPED(v6)) {
            memcpy(&v4, v6->s6_addr + 12, sizeof(v4));
            return (uint64_t)v4 << 16 | 4;
        }
        memcpy(&key, v6->s6_addr, sizeof(key));
        return key != 0 ? key : 6; /* ::1 */
    }
    return 0;
}

void guard_peers_name(const struct sockaddr *address, char out[INET6_ADDRSTRLEN])
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)address;
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;

    out[0] = '\0';
    if (address->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &v4->sin_addr, out, INET6_ADDRSTRLEN);
    else if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6))
        (void)inet_ntop(AF_INET, v6->s6_addr + 12, out, INET6_ADDRSTRLEN);
    else if (address->sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, v6, out, INET6_ADDRSTRLEN);
}

bool guard_peers_is_loopback(const struct sockaddr *address)
{
    const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    uint32_t v4;

    if (address->sa_family == AF_INET)
        v4 = ((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr;
    else if (address->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6))
        memcpy(&v4, v6->s6_addr + 12, sizeof(v4));
    else
        return address->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(v6);
    return (ntohl(v4) >> 24) == 127;
}

static size_t home_of(const struct guard_peers *peers, uint64_t key)
{
    return (size_t)(key * 0x9e3779b97f4a7c15 >> 32) & peers->mask;
}

static size_t find(const struct guard_peers *peers, uint64_t key)
{
    size_t i = home_of(peers, key);

    while (peers->slots[i].key != 0 && peers->slots[i].key != key)
        i = (i + 1) & peers->mask;
    return i;
}

uint32_t guard_peers_add(struct guard_peers *peers, uint64_t key)
{
    struct guard_peer *slot;

    if (key == 0)
        return 0;
    slot = &peers->slots[find(peers, key)];
    assert((slot->key == 0) == (slot->count == 0));
    slot->key = key;
    return ++slot->count;
}

/* Close the gap, so that no search stops too early. */
static void close_gap(struct guard_peers *peers, size_t gap)
{
    assert(peers->slots[gap].count == 0);
    for (size_t i = (gap + 1) & peers->mask; peers->slots[i].key != 0; i = (i + 1) & peers->mask) {
        size_t home = home_of(peers, peers->slots[i].key);

        if (((i - home) & peers->mask) < ((i - gap) & peers->mask))
            continue; /* it would move before its home */
        peers->slots[gap] = peers->slots[i];
        gap = i;
    }
    peers->slots[gap] = (struct guard_peer){0};
}

void guard_peers_remove(struct guard_peers *peers, uint64_t key)
{
    size_t i;

    if (key == 0)
        return;
    i = find(peers, key);
    assert(peers->slots[i].key == 0 || peers->slots[i].count > 0);
    if (peers->slots[i].key == key && --peers->slots[i].count == 0)
        close_gap(peers, i);
}
