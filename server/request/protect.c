/* See protect.h. */
#include "request/protect.h"

#include <h2o.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "request/errors.h"
#include "request/cors.h"
#include "front/front.h"
#include "front/guard_peers.h"

#define MAX_HOST 256

/* --- judging --- */

enum protect_verdict protect_judge(const struct config *config, const struct protect_facts *facts)
{
    if (config->weak_master_key && !config->permit_weak_master_key && !facts->neighbour)
        return PROTECT_STRANGER;
    if (secret_is_set(&config->master_key))
        return PROTECT_SERVE;
    if (facts->foreign_host)
        return PROTECT_FOREIGN_HOST;
    if (facts->foreign_origin)
        return PROTECT_FOREIGN_ORIGIN;
    return facts->form ? PROTECT_FORM : PROTECT_SERVE;
}

bool protect_is_forwarding(const char *name, size_t len)
{
    static const char *const names[] = {"forwarded",        "via",
                                        "x-real-ip",        "x-client-ip",
                                        "true-client-ip",   "cf-connecting-ip",
                                        "fastly-client-ip", "x-cluster-client-ip",
                                        "x-original-host",  "x-envoy-external-address"};

    if (len > 11 && memcmp(name, "x-forwarded", 11) == 0)
        return true;
    if (len == 24 && memcmp(name, "x-original-forwarded-for", 24) == 0)
        return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && memcmp(name, names[i], len) == 0)
            return true;
    return false;
}

/* --- hosts --- */

/* The host of host[:port] or [address][:port], without a last dot. @return false: it is none */
static bool host_of(const char *authority, size_t len, char out[MAX_HOST])
{
    const char *end = authority + len, *colon;

    if (len > 0 && authority[0] == '[') {
        end = memchr(authority, ']', len);
        if (end == NULL)
            return false;
        authority++;
    } else if ((colon = memchr(authority, ':', len)) != NULL) {
        end = colon;
    }
    len = (size_t)(end - authority);
    if (len > 0 && authority[len - 1] == '.')
        len--;
    if (len >= MAX_HOST || memchr(authority, '\0', len) != NULL)
        return false;
    memcpy(out, authority, len);
    out[len] = '\0';
    return true;
}

/* @param loopback  whether it is one of the loopback, or the unspecified one, which leads there */
static bool is_address(const char *host, bool *loopback)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        *loopback = v4.sin_addr.s_addr == 0 ||
                    guard_peers_is_loopback((const struct sockaddr *)(void *)&v4);
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) != 1)
        return false;
    *loopback = IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr) ||
                guard_peers_is_loopback((const struct sockaddr *)(void *)&v6);
    return true;
}

static bool is_local_name(const char *host)
{
    size_t len = strlen(host);

    return strcasecmp(host, "localhost") == 0 || strcasecmp(host, "ip6-localhost") == 0 ||
           strcasecmp(host, "ip6-loopback") == 0 ||
           (len > 10 && strcasecmp(host + len - 10, ".localhost") == 0);
}

static bool is_configured(const struct config *config, const char *host)
{
    if (config->host != NULL && strcasecmp(host, config->host) == 0)
        return true;
    for (size_t i = 0; i < config->num_allowed_hosts; i++)
        if (strcasecmp(host, config->allowed_hosts[i]) == 0)
            return true;
    return false;
}

bool protect_is_our_host(const struct config *config, const char *machine, const char *authority,
                         size_t len)
{
    char host[MAX_HOST];
    bool loopback;

    if (len == 0)
        return true; /* HTTP/1.0: no browser */
    if (!host_of(authority, len, host))
        return false;
    if (is_address(host, &loopback))
        return loopback || config->permit_weak_master_key || is_configured(config, host);
    return is_local_name(host) || is_configured(config, host) ||
           (machine != NULL && machine[0] != '\0' && strcasecmp(host, machine) == 0);
}

bool protect_is_our_origin(const struct config *config, const char *machine, const char *origin,
                           size_t len, const char *authority, size_t authority_len)
{
    static const char *const schemes[] = {"http://", "https://"};

    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);

        if (len <= n || strncasecmp(origin, schemes[i], n) != 0)
            continue;
        origin += n;
        len -= n;
        return (len == authority_len && strncasecmp(origin, authority, len) == 0) ||
               protect_is_our_host(config, machine, origin, len);
    }
    return false; /* "null", an extension's, ... */
}

bool protect_is_form(const char *type, size_t len)
{
    static const char *const types[] = {"text/plain", "application/x-www-form-urlencoded",
                                        "multipart/form-data"};
    const char *semicolon = memchr(type, ';', len);

    if (semicolon != NULL)
        len = (size_t)(semicolon - type);
    while (len > 0 && (type[len - 1] == ' ' || type[len - 1] == '\t'))
        len--;
    while (len > 0 && (*type == ' ' || *type == '\t')) {
        type++;
        len--;
    }
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (strlen(types[i]) == len && strncasecmp(type, types[i], len) == 0)
            return true;
    return false;
}

/* --- a request --- */

static const char *machine_name(void)
{
    static char name[MAX_HOST];

    if (name[0] == '\0' && gethostname(name, sizeof(name) - 1) != 0)
        name[0] = '\0';
    return name;
}

static void note_header(const struct relay *relay, const h2o_header_t *h, struct protect_facts *f)
{
    const struct config *config = relay->rt->config;
    const h2o_iovec_t *authority = &relay->req->input.authority, *name = h->name,
                      *value = &h->value;

    if (h2o_memis(name->base, name->len, H2O_STRLIT("origin")))
        f->foreign_origin |= !protect_is_our_origin(config, machine_name(), value->base, value->len,
                                                    authority->base, authority->len);
    else if (h2o_memis(name->base, name->len, H2O_STRLIT("sec-fetch-site")))
        f->foreign_origin |= h2o_lcstris(value->base, value->len, H2O_STRLIT("cross-site"));
    else if (h2o_memis(name->base, name->len, H2O_STRLIT("host")))
        f->foreign_host |= !protect_is_our_host(config, machine_name(), value->base, value->len);
    else if (h2o_memis(name->base, name->len, H2O_STRLIT("content-type")))
        f->form |= protect_is_form(value->base, value->len);
    else if (protect_is_forwarding(name->base, name->len))
        f->neighbour = false;
}

static void collect_facts(const struct relay *relay, struct protect_facts *f)
{
    h2o_req_t *req = relay->req;
    bool upload = relay->route.kind == ROUTE_FILES || relay->route.kind == ROUTE_FILE_VALIDATE ||
                  relay->route.kind == ROUTE_UPLOAD_PARTS;

    *f = (struct protect_facts){.neighbour = front_is_loopback(req)};
    f->foreign_host = !protect_is_our_host(relay->rt->config, machine_name(),
                                           req->input.authority.base, req->input.authority.len);
    for (size_t i = 0; i < req->headers.size; i++)
        note_header(relay, &req->headers.entries[i], f);
    if (f->foreign_origin && cors_names(relay))
        f->foreign_origin = false;
    if ((upload && relay->method == METHOD_POST) || !front_has_body(req))
        f->form = false;
}

static void answer(struct relay *relay, enum protect_verdict verdict)
{
    switch (verdict) {
    case PROTECT_SERVE:
        break;
    case PROTECT_STRANGER:
        relay_header(relay, "www-authenticate", "Bearer");
        relay_error(relay, PROTECTED_MODE, "");
        break;
    case PROTECT_FOREIGN_HOST:
        relay_error(relay, FOREIGN_HOST, "");
        break;
    case PROTECT_FOREIGN_ORIGIN:
        relay_error(relay, FOREIGN_ORIGIN, "");
        break;
    case PROTECT_FORM:
        relay_error(relay, JSON_AS_FORM, "");
        break;
    }
}

enum answered protect_check(struct relay *relay)
{
    const struct config *config = relay->rt->config;
    struct protect_facts facts;
    enum protect_verdict verdict;

    if (!config->weak_master_key || route_is_for_all(relay->route.kind))
        return GO_ON;
    collect_facts(relay, &facts);
    verdict = protect_judge(config, &facts);
    answer(relay, verdict);
    return verdict == PROTECT_SERVE ? GO_ON : ANSWERED;
}
