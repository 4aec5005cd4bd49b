/* What to do after a failed try: a pure function of (operation, what was sent, what came back). Money safety lives here: a create or an
 * upload goes out again only when it is known that nothing happened upstream. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/state.h"

enum retry_action {
    RETRY_GIVE_UP,   /* answer what came back */
    RETRY_SAME,      /* the same deployment once more (reads only) */
    RETRY_NEXT,      /* another deployment of the group */
    RETRY_RECONCILE  /* the outcome is unknown: find out before saying anything */
};

struct retry_question {
    enum op_class op;
    bool pinned;            /* an id names the deployment: there is no next one */
    bool idempotent;        /* GET, DELETE, HEAD, cancel */
    bool nothing_sent;      /* known: no byte of the request left us, or the connection was refused */
    bool answered;          /* a complete HTTP answer came back: then nothing beyond what it says happened */
    enum outcome outcome;
    int status;             /* HTTP status or 0 */
    uint32_t tries;         /* made so far, this one included */
    uint32_t max_tries;     /* over all deployments */
    uint32_t untried;       /* deployments left in the group */
    int64_t retry_after_ms; /* asked for; -1: none */
};

struct retry_answer {
    enum retry_action action;
    uint32_t delay_ms; /* before RETRY_SAME; jittered by the caller's random number; at most 2,000 */
};

/** Decide. Pure. `random` is uniform in [0,1). */
struct retry_answer retry_decide(const struct retry_question *q, double random);
