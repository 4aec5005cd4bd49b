/* Answers that a client may hold against the one that it has: an ETag, and 304 in place of what it
 * has already (RFC 9110 sections 8.8.3 and 13.1.2). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "request/relay.h"

#define VALIDATOR_ETAG 35 /* bytes of an entity-tag, with the NUL */

/** The entity-tag of a representation. It is a hash of its bytes, so it is a strong one: equal tags
 * mean equal bytes (RFC 9110 section 8.8.1). */
void validator_etag(const char *bytes, size_t len, char out[VALIDATOR_ETAG]);

/** Whether a field value of If-None-Match names a tag: `*` does, and W/"x" is "x" here, by the weak
 * comparison of RFC 9110 section 8.8.3.2. What cannot be read names none. */
bool validator_names(const char *field, size_t len, const char *etag);

/** Whether the client has named tags, and none of them is that of `value`: what it has is another
 * representation. */
bool validator_differs(const struct relay *relay, const struct json *value);

/** Whether the client wants no answer from memory: `Cache-Control: no-cache` (RFC 9111 section
 * 5.2.1.4), or `max-age=0`, which a browser's reload sends (5.2.1.1). */
bool validator_wants_fresh(const struct relay *relay);

/** Answer a GET or HEAD of one object with 200, an ETag and the object, or with 304 when the client
 * has just that. Caches have to ask each time, and none keeps it for others. */
void validator_answer(struct relay *relay, const struct json *value);
