/* Whom a gateway serves that has no master key, or one that everybody can guess. It is in protected
 * mode then: programs on this machine are served, others are told what to set. And where there is
 * no key at all, being on this machine is what counts for one, which any web page could borrow from
 * the operator's browser: so what a browser sends on behalf of a foreign page is refused, too.
 *
 * A proxy on this machine makes strangers look like neighbours: a request with a header that
 * proxies add is not from here. Pure but for protect_request().
 *
 * Sources: RFC 9110 sections 7.4 (421) and 15.5.16; Fetch (Origin, Sec-Fetch-Site; types of forms);
 * RFC 6761 section 6.3 (localhost). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "config/config.h"
#include "request/relay.h"

/* What is known of a request. */
struct protect_facts {
    bool neighbour;      /* its peer is a loopback address and no proxy had it before */
    bool foreign_host;   /* it is for another host than this one: DNS rebinding */
    bool foreign_origin; /* a foreign page sent it */
    bool form; /* a body under a type that a page may send to anybody, where JSON belongs */
};

enum protect_verdict {
    PROTECT_SERVE,
    PROTECT_STRANGER,       /* 401 */
    PROTECT_FOREIGN_HOST,   /* 421 */
    PROTECT_FOREIGN_ORIGIN, /* 403 */
    PROTECT_FORM            /* 415 */
};

/** @param config  its master key, weak_master_key and permit_weak_master_key count */
enum protect_verdict protect_judge(const struct config *config, const struct protect_facts *facts);

/** Whether a header with this name (lower case) says that a proxy had the request before. */
bool protect_is_forwarding(const char *name, size_t len);

/** Whether `authority` ("localhost:4000", "[::1]", "127.0.0.1") names this gateway: a name or an
 * address of the loopback or none at all, config->host, one of config->allowed_hosts, `machine`;
 * and any address where config->permit_weak_master_key lets others in. The port makes no
 * difference.
 *  @param machine  this machine's name; NULL: unknown */
bool protect_is_our_host(const struct config *config, const char *machine, const char *authority,
                         size_t len);

/** Whether the page that sent a request is one of ours: `origin` ("http://localhost:3000") has a
 * host of the kind above, or the request's own `authority`. */
bool protect_is_our_origin(const struct config *config, const char *machine, const char *origin,
                           size_t len, const char *authority, size_t authority_len);

/** Whether a content type is one that a form has: text/plain, application/x-www-form-urlencoded,
 * multipart/form-data; parameters and case make no difference. */
bool protect_is_form(const char *type, size_t len);

/** Judge a request. Answers what protect_judge() does not let through. */
MUST_USE enum answered protect_check(struct relay *relay);
