/* Find a batch that was perhaps created, among the newest of some accounts: whether a create whose
 * answer was lost has happened, and whether what an SDK repeats was made before. Bounded: a few
 * looks, back to the time that counts, at several accounts at once; then "not found". */
#pragma once

#include "json/json.h"
#include "once/wanted.h"
#include "core/runtime.h"

struct reconcile;

struct reconcile_spec {
    /* One of each account to look at, in this order, some at once; copied */
    const uint32_t *deployments;
    uint32_t num;
    const struct wanted *wanted; /* copied */
    /* How old it may be by its provider's clock: older batches are of no interest, whatever they
     * carry */
    uint32_t age_s;
    /* Monotonic; the caller knows every create since then, so an account that was read later needs
     * no new search. 0: it knows nothing */
    uint64_t known_since_ms;
    bool patient; /* its create may still be on the way: look again, up to three times in 2.5 s */
};

enum reconcile_end {
    RECONCILE_FOUND,
    RECONCILE_CONFLICT, /* the nonce is that of a batch that was made for another request */
    RECONCILE_UNSURE,   /* a batch is there that may be the one; nothing tells it from others */
    RECONCILE_UNREAD,   /* not found, and not all accounts were read */
    RECONCILE_NOTHING   /* all accounts were read, `age_s` back: it does not exist */
};

struct reconcile_result {
    enum reconcile_end end;
    uint32_t deployment;  /* FOUND: as in the spec: whose account has it */
    struct json_doc *doc; /* FOUND: this and the next are valid during the call */
    struct json *batch;   /* ... as the provider lists it; else NULL */
};

/** Once, never from inside reconcile_start(). */
typedef void (*reconcile_done_cb)(void *arg, const struct reconcile_result *result);

/** @return NULL: out of memory, on_done will not run */
struct reconcile *reconcile_start(struct runtime *rt, const struct reconcile_spec *spec,
                                  reconcile_done_cb on_done, void *arg);

/** Forget it; no callback. */
void reconcile_cancel(struct reconcile *reconcile);
