/* A batch's own endpoint of webhooks: the member `webhook` of a create's body, which is ours and goes
 * to no provider (webhook statement D26): {"url": ..., "secret": ..., "events": [...]}. Where there
 * is no journal it means nothing to us, and the body stays as it is. */
#pragma once

#include <stdbool.h>

#include "request/relay.h"

struct create_hook {
    const char *url, *secret; /* of the request's document; NULL: there is none */
    unsigned types;           /* a bit for each enum hook_type */
};

/** Check relay->request. */
enum answered create_hook_check(struct relay *relay);

/** Read it from a request that was checked, and take its secret out, before the fingerprint of the
 * request is taken: that goes to the provider in the batch's marker, without a key, and a secret that
 * can be guessed could be tried on it. So a repeat with another secret is the same request, and keeps
 * the secret of the first; with another URL or other events it is another request. */
void create_hook_take(struct relay *relay, struct create_hook *out);

/** Take the rest of it out, after the fingerprint was taken. */
void create_hook_hide(struct relay *relay);
