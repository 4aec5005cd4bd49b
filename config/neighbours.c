/* See neighbours.h. */
#include "neighbours.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "headers.h"

/* An IPv4 or IPv6 address, the former as a mapped one. */
static bool read_address(const char *text, struct sockaddr_in6 *out)
{
    char mapped[INET6_ADDRSTRLEN + 8];

    memset(out, 0, sizeof(*out));
    out->sin6_family = AF_INET6;
    if (inet_pton(AF_INET6, text, &out->sin6_addr) == 1)
        return true;
    return snprintf(mapped, sizeof(mapped), "::ffff:%s", text) < (int)sizeof(mapped) &&
           strchr(text, ':') == NULL && inet_pton(AF_INET6, mapped, &out->sin6_addr) == 1;
}

int neighbours_take_proxies(const struct settings_input *in, struct config *config)
{
    const struct node *list = node_find(in->root, "tranche_settings.proxies");
    struct config_limits *limits = &config->limits;
    uint32_t n = in->raw->tranche.proxies_count;

    if (n == 0)
        return 0;
    limits->proxies = calloc(n, sizeof(*limits->proxies));
    if (limits->proxies == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        if (list->items[i]->skipped)
            continue;
        if (read_address(in->raw->tranche.proxies[i], &limits->proxies[limits->num_proxies]))
            limits->num_proxies++;
        else
            report_wanted(in->reporter, list->items[i], "an IPv4 or IPv6 address");
    }
    report_at(in->reporter, CONFIG_HONOURED, list, "= %zu addresses", limits->num_proxies);
    return 0;
}

int neighbours_take_hosts(const struct settings_input *in, struct config *config)
{
    const struct node *list = node_find(in->root, "tranche_settings.allowed_hosts");
    uint32_t n = in->raw->tranche.allowed_hosts_count;

    if (n == 0)
        return 0;
    config->allowed_hosts = calloc(n, sizeof(*config->allowed_hosts));
    if (config->allowed_hosts == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        const char *host = in->raw->tranche.allowed_hosts[i];

        if (list->items[i]->skipped)
            continue;
        if (*host == '\0' || !headers_is_visible(host) || strpbrk(host, "/:*") != NULL) {
            report_wanted(in->reporter, list->items[i],
                          "a host name without a scheme, a port or a wildcard");
            continue;
        }
        config->allowed_hosts[config->num_allowed_hosts] = strdup(host);
        if (config->allowed_hosts[config->num_allowed_hosts++] == NULL)
            return ERR_NOMEM;
    }
    report_at(in->reporter, CONFIG_HONOURED, list, "= %zu names", config->num_allowed_hosts);
    return 0;
}
