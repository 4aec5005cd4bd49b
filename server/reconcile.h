/* Find out whether a create whose answer was lost has happened: look for its marker among the
 * newest batches of the account. Bounded: a few looks, then "not known". */
#pragma once

#include "common/json.h"
#include "common/marker.h"
#include "server/worker.h"

struct reconcile;

/** `batch` (in `doc`, both valid during the call): the batch as the provider lists it; NULL: not
 * found, so nothing is known. Once, never from inside reconcile_start(). */
typedef void (*reconcile_done_cb)(void *arg, struct json_doc *doc, struct json *batch);

/** Start looking on the account of `deployment`. @return NULL: out of memory, on_done will not run
 */
struct reconcile *reconcile_start(struct worker *worker, uint32_t deployment,
                                  const char nonce[MARKER_NONCE + 1], reconcile_done_cb on_done,
                                  void *arg);

/** Forget it; no callback. */
void reconcile_cancel(struct reconcile *reconcile);
