/* See hosts.h. */
#include "hosts.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#define HOST_BYTES 256

size_t hosts_find(const char *base, const char **host)
{
    const char *at = strstr(base, "://"), *user;
    size_t len;

    at = at == NULL ? base : at + 3;
    len = strcspn(at, "/?#");
    while ((user = memchr(at, '@', len)) != NULL) {
        len -= (size_t)(user + 1 - at);
        at = user + 1;
    }
    *host = at;
    if (*at == '[')
        return memchr(at, ']', len) == NULL ? len : strcspn(at, "]") + 1;
    return strcspn(at, ":") < len ? strcspn(at, ":") : len;
}

bool hosts_is_loopback(const char *base)
{
    const char *host;
    size_t len = hosts_find(base, &host);

    if (len == 5 && strncmp(host, "[::1]", 5) == 0)
        return true;
    if (len == 9 && strncasecmp(host, "localhost", 9) == 0)
        return true;
    if (len == 7 && strncmp(host, "0.0.0.0", 7) == 0)
        return true;
    return strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == len;
}

static bool is_link_local_v4(uint32_t address)
{
    return address >> 16 == 0xa9fe;
}

bool hosts_is_of_platform(const char *base)
{
    char text[HOST_BYTES];
    struct in_addr v4;
    const char *host;
    uint32_t address;
    size_t len = hosts_find(base, &host);

    if (len == 0 || len >= sizeof(text))
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    if (inet_pton(AF_INET, text, &v4) != 1)
        return false;
    address = ntohl(v4.s_addr);
    return is_link_local_v4(address) || address >> 24 == 10 || address >> 20 == 0xac1 ||
           address >> 16 == 0xc0a8;
}

static bool is_link_local_v6(const char *text)
{
    struct in6_addr address;
    uint32_t last;

    if (inet_pton(AF_INET6, text, &address) != 1)
        return false;
    if (IN6_IS_ADDR_LINKLOCAL(&address))
        return true;
    memcpy(&last, &address.s6_addr[12], sizeof(last));
    return (IN6_IS_ADDR_V4MAPPED(&address) || IN6_IS_ADDR_V4COMPAT(&address)) &&
           is_link_local_v4(ntohl(last));
}

bool hosts_is_link_local(const char *base)
{
    char text[HOST_BYTES];
    struct in_addr v4;
    const char *host;
    size_t len = hosts_find(base, &host);

    if (len == 0 || len >= sizeof(text))
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    if (*text == '[') {
        text[strcspn(text, "%]")] = '\0';
        return is_link_local_v6(text + 1);
    }
    if (text[len - 1] == '.')
        text[len - 1] = '\0';
    /* 0xa9fea9fe and 2852039166 are spellings of it. */
    return inet_aton(text, &v4) == 1 && is_link_local_v4(ntohl(v4.s_addr));
}
