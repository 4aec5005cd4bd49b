/* The JSON body of a client's request: its bytes are collected, parsed into a tree on a turn of the
 * loop of their own, and bytes and tree are freed as soon as nothing needs them. All bodies of a
 * worker share one memory budget; a request that does not fit is answered 503 with Retry-After. */
#pragma once

#include "request/relay.h"

#define COLLECT_MAX_VALUES 2048 /* of a request's JSON: a create with 16 pairs has about 25 */
/* Bytes of a body where there is nothing to say but a provider or a model: all but POST */
#define COLLECT_MAX_OTHER  4096
/* Bytes of a body that is read on the turn on which it ends: 20 us at most */
#define COLLECT_AT_ONCE    512
/* Bytes of a body for which the last quarter of the budget is kept: one client's large ones leave
 * room for creates as SDKs send them */
#define COLLECT_SMALL      16384

typedef void (*collect_cb)(struct relay *relay);

/** Collect the JSON body (if there is one) into relay->request, then call `next`. Answers itself
 * when that fails: 400 (with line and column), 413, 408, or 503 with a wait where the worker's
 * budget is used up. At most one body of more than COLLECT_AT_ONCE bytes is read in a turn of the
 * loop. May call `next` before it returns when there is no body. */
void collect_json(struct relay *relay, collect_cb next);

typedef void (*collect_text_cb)(struct relay *relay, const char *text, size_t len);

/** Collect the body as it is, for somebody else to read, within the same bounds and budget, then
 * call `next` with it: the bytes are gone after that. As collect_json() for the rest; no body is
 * an empty text. */
void collect_text(struct relay *relay, collect_text_cb next);

/** Free the request's tree, if there is one: nothing more is asked of it. An answer does so, too.
 */
void collect_forget(struct relay *relay);
