/* What to do after a failed try: a pure function of (operation, what was sent, what came back).
 * Money safety lives here: a create or an upload goes out again only when it is known that nothing
 * happened upstream. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/state.h"

enum retry_action {
    RETRY_GIVE_UP,  /* answer what came back */
    RETRY_SAME,     /* the same deployment once more (reads only) */
    RETRY_NEXT,     /* another deployment of the group */
    RETRY_RECONCILE /* the outcome is unknown: find out before saying anything */
};

struct retry_question {
    enum op_class op;
    bool pinned; /* an id names the deployment: there is no next one */
    /* GET, DELETE, HEAD, cancel; counts for OP_READ only. Who repeats a DELETE must take a 404 then
     * for a success */
    bool idempotent;
    bool nothing_sent; /* known: no byte of the request left us, or the connection was refused */
    bool answered;     /* a complete HTTP answer came back, body included */
    /* That answer is a proxy's, which says that it lost its connection to the server:
     * retry_is_lost_behind() */
    bool lost_behind;
    /* That answer is a refusal in other words than its provider's: something in front of it may
     * have passed the request on */
    bool foreign;
    enum outcome outcome;
    int status;              /* HTTP status or 0 */
    uint32_t tries;          /* made so far, this one included */
    uint32_t max_tries;      /* over all deployments */
    uint32_t untried;        /* deployments left in the group */
    int64_t retry_after_ms;  /* asked for; -1: none */
    uint32_t least_delay_ms; /* the operator's `retry_after`: before RETRY_SAME at least; 0: none */
};

struct retry_answer {
    enum retry_action action;
    /* Before RETRY_SAME; jittered by the caller's random number; at most 2,000, or least_delay_ms
     * when that is more */
    uint32_t delay_ms;
};

#define RETRY_NOT_GIVEN UINT32_MAX

/* What the operator says about further tries; LiteLLM's meanings. Zeroed, it allows none. */
struct retry_policy {
    uint32_t num_retries;               /* RETRY_NOT_GIVEN: the caller's default */
    uint32_t retries_of[OUTCOME_COUNT]; /* `retry_policy`; RETRY_NOT_GIVEN: num_retries */
    uint32_t least_delay_ms;            /* `retry_after`, for retry_question */
};

/** How many tries there are in all when the last one ended with `outcome`: one more than the
 * retries that the operator allows. His word about this kind of failure goes before that about the
 * deployment, this one before that about all; LiteLLM decides in the same order. Pure.
 *  @param deployment_retries  `max_retries` of the deployment; RETRY_NOT_GIVEN: none of its own
 *  @param default_tries       when nobody says anything */
uint32_t retry_max_tries(const struct retry_policy *policy, uint32_t deployment_retries,
                         enum outcome outcome, uint32_t default_tries);

/** Whether an error body is Envoy's (it stands before OpenAI's servers and in many Azure networks)
 * saying that the server behind it had the request, or part of it, and then went away: its 503 does
 * not prove that nothing happened. */
bool retry_is_lost_behind(const char *body, size_t len);

/** Whether an answer that reads as a refusal of a create proves nothing, because it may come from
 * something that passed the create on. Then RETRY_RECONCILE: the batch is looked for before
 * anything is made elsewhere. Pure. */
bool retry_is_doubtful(const struct retry_question *q);

/** Decide. Pure. `random` is uniform in [0,1).
 *
 *  Nothing but these is ever repeated: idempotent reads, and what is known to have done nothing
 * upstream (nothing sent, or answered by a refusal; the list of those is in retry.c). A create
 * whose outcome is unknown, also a cancelled one, is RETRY_RECONCILE; an upload is RETRY_GIVE_UP:
 * what it may have left is an orphaned file. Of what may be repeated, RETRY_NEXT goes before
 * RETRY_SAME, and creates and uploads never get RETRY_SAME. A pinned create that was refused is
 * RETRY_GIVE_UP: the caller may copy the file elsewhere. */
struct retry_answer retry_decide(const struct retry_question *q, double random);
