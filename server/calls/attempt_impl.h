/* One attempt, seen from inside: what its files share. Nobody else includes this.
 *
 *   attempt.c        what callers see: its begin, its end in the counters, what the end means
 *   attempt_token.c  accounts by Entra ID: the wait for a token, and a 401
 *   token_rules.c    the decisions of those; pure
 *
 *                 ┌─────────────── WAITING ◄──────────── 401, cured by another token (once)
 *   start ────────┤                 │  ▲ no better one      │
 *                 └─► SENT ◄── token┘  └ yet: 20 ms         │
 *                      │                                    │
 *                      ├────────────────────────────────────┘
 *                      └─► the end: on_done                 no token comes: the end, nothing was done
 *
 * SENT has a call, WAITING has none; of an account with a key there is SENT alone. */
#pragma once

#include "calls/attempt.h"

/* What a call needs to be sent later, or again: a copy of its spec, only of accounts by Entra ID. */
struct kept_spec {
    struct attempt_spec spec; /* its texts lie in `text` */
    char text[];
};

struct attempt {
    struct runtime *rt;         /* borrowed */
    struct upstream_call *call; /* owned; NULL: it waits for a token */
    uint32_t deployment;
    enum op_class op;
    bool background;
    attempt_judge_cb judge;
    attempt_done_cb on_done;
    upstream_begin_cb on_begin;
    upstream_head_cb on_head;
    upstream_data_cb on_data;
    void *arg;           /* borrowed; of the callbacks */
    char request_id[37]; /* of the client's request, for the log; "": none */
    upstream_source_cb source;
    attempt_rewind_cb rewind;

    uint32_t total_ms; /* for all of it; 0: no limit */
    uint64_t begun_ms; /* loop time */
    bool has_begun;    /* on_begin let it go: it is not asked again */

    /* Of an account by Entra ID. */
    struct kept_spec *kept;  /* owned; NULL: the account has a key */
    struct loop_timer timer; /* looks for a token */
    bool waits;              /* ... and runtime.calls_waiting has it */
    uint64_t waits_since_ms; /* loop time */
    uint64_t rung;           /* entra_tokens_is_heard(); 0: it did not ask for one */
    uint64_t token;          /* number of the one that was sent */
    uint64_t token_ms;       /* ... and when it was obtained */
    uint64_t refused;        /* number of one that was refused to this call; 0: none */
    uint64_t sent, received; /* bytes of bodies, of what was answered with that 401 */
};

/* --- attempt.c --- */

/** What a wait for a token has left of the time for all of it; UINT64_MAX: it has no limit. */
uint64_t attempt_left_ms(const struct attempt *at);

/** Send it. @param token  of an account by Entra ID, else NULL
 *  @return 0, ERR_NOMEM, ERR_INVALID ... : it was not sent */
MUST_USE int attempt_send(struct attempt *at, const struct attempt_spec *spec, const char *token);

/** It ends, with a call that ended so. The attempt is gone when this returns. */
void attempt_end(struct attempt *at, const struct upstream_result *upstream);

/** It ends without a token: nothing was sent, or what was sent was refused with a 401. The same.
 *  @param retry_after_ms  when the next token call is due */
void attempt_end_without_token(struct attempt *at, int64_t retry_after_ms);

/* --- attempt_token.c --- */

/** Begin at an account by Entra ID: send it with the token of now, or have the loop look for one. No
 * callback runs before this returns. @return 0, or as attempt_send() */
MUST_USE int attempt_token_start(struct attempt *at, const struct attempt_spec *spec);

/** A call was answered. @return whether it goes on: it was a 401, and it is sent again, at once or
 * when there is a token; false: the answer stands */
bool attempt_token_goes_on(struct attempt *at, const struct upstream_result *upstream);

/** Nothing of this file runs any more for it. */
void attempt_token_deinit(struct attempt *at);
