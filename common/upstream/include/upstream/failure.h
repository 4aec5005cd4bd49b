/* The one error translator: every upstream body shape (providers 1.7 and 2.8, empty, HTML) -> the
 * four-key envelope. Secrets in a provider's text, and what looks like one, are masked
 * (common/mask.h, with mask_installed()). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "upstream/client.h"

struct failure {
    /* What the client gets: upstream's, but 502 for 3xx, 1xx, unexpected 2xx, unusable answers, 504
     * for our time-outs */
    int status;
    /* "invalid_request_error", "rate_limit_error", "server_error", ... never empty */
    char type[48];
    char code[64]; /* "" prints as null; digits alone only where the provider has a number there */
    bool code_is_number; /* ... which prints as one */
    char param[64];      /* "" prints as null */
    char message[1024];  /* upstream's text, UTF-8 made valid, cut; never empty */
    /* retry-after-ms, then retry-after (seconds or date); -1: none; capped at 300,000 */
    int64_t retry_after_ms;
    bool should_not_retry; /* answer x-should-retry: false */
    bool said;             /* in the provider's words, which may name what is the host's */
    char allow[64];        /* of a 405: the methods that the provider names; "": none */
    char rate_limit[32];   /* of a limit of a key or team: LiteLLM's word for it; "": none */
};

/** Translate an answer with status >= 300, or a call that did not end in an answer. A 401/403 from
 * the provider, and a 400 or 422 that says that the key is wrong, is answered as 502 with code
 * `upstream_auth`: the gateway's credential is wrong, not
 * the client's, and SDK users must not think that theirs is. Codes of our own: upstream_auth,
 * upstream_unreachable, upstream_timeout (504), upstream_broken, upstream_too_large,
 * upstream_invalid_answer (also for a 2xx that the caller could not use),
 * upstream_unexpected_status, upstream_refused (502 but for the one), upload_unreadable (500).
 *  @param now_unix_s  for HTTP dates in Retry-After, where the answer has no `Date` to judge them
 *         by */
void failure_from_result(const struct upstream_result *result, int64_t now_unix_s,
                         struct failure *out);

/** Whether an error answer has the provider's own shape: an object `error` with a code or a message
 * in it, or its words for a full deployment. Whatever stands in front of a provider (a proxy, a
 * gateway, a load balancer) answers otherwise. Pure. */
bool failure_is_from_provider(const struct upstream_result *result);

/** Whether a 400/429 says that the deployment's enqueued-token quota is full (code or text
 * token_limit_exceeded). */
bool failure_is_token_limit(const struct failure *failure);

/** Whether the provider refused the gateway's own credential (code upstream_auth). */
bool failure_is_refused_key(const struct failure *failure);

/** Whether a 401 or 403 says that the token is good, but that whose it is lacks a right: no other
 * token helps, only an operator who gives the role. Azure says it by a code or in words, in more
 * than one shape of body (entra statement 18). Pure.
 *  @param said  what the provider says, which names principal and action, without secrets; for the
 *               log, not for clients */
bool failure_is_permission_denied(const struct upstream_result *result, struct failure *said);

/** What a client gets whose call was not begun because there is no token for its account: 503
 * `upstream_auth_unavailable` (entra statement 13).
 *  @param retry_after_ms  when the next try to get one is due; -1: not known */
void failure_no_token(int64_t retry_after_ms, struct failure *out);

/** How long an answer asks to wait (RFC 9110 section 10.2.3), in ms. @return -1: it does not say */
int64_t failure_retry_after(const struct upstream_result *result, int64_t now_unix_s);

/** Print the envelope {"error":{"message","type","param","code"}}. */
void failure_write(const struct failure *failure, struct strbuf *out);
