/* One call to a provider, at the account of one deployment: how it is built, where it is counted,
 * and what the breaker learns from it. Nobody calls a provider in another way: clients' requests,
 * upkeep and probes all start attempts. */
#pragma once

#include "balancer/retry.h"
#include "balancer/state.h"
#include "upstream/failure.h"
#include "upstream/provider.h"
#include "calls/outcome.h"
#include "core/runtime.h"

/* Bytes of a list that is collected or read in slices; 10,000 files are about 4 MB */
#define ATTEMPT_MAX_LIST (32u << 20)

struct attempt;

struct attempt_result {
    const struct upstream_result *upstream;
    enum outcome outcome;
    struct failure failure; /* filled when not `ok` */
    bool ok;                /* a complete 2xx answer, in which `judge` found no fault */
};

typedef void (*attempt_done_cb)(void *arg, const struct attempt_result *result);

/** Go back to the begin of the source, from which nothing is read meanwhile. A request that was
 * refused for its token is sent once more. @return 0; or a negative code: it cannot be */
typedef int (*attempt_rewind_cb)(void *arg);

/** Looks at a complete 2xx answer. @return what is wrong with it, constant text: then it counts as
 * OUTCOME_BAD_ANSWER; NULL: nothing */
typedef const char *(*attempt_judge_cb)(const struct upstream_result *result);

struct attempt_spec {
    uint32_t deployment;
    enum provider_call call;
    const char *id;           /* native; NULL for collections */
    const char *query;        /* encoded; NULL: none */
    const char *content_type; /* of the request body; NULL: none */
    const char *body;         /* small body, copied; NULL: none */
    size_t body_len;
    upstream_source_cb source; /* or a source of exactly source_length bytes */
    uint64_t source_length;
    /* Of the source; NULL: it cannot go back, and then a 401 that another token would cure stands */
    attempt_rewind_cb rewind;
    uint64_t owner;    /* the tenant whose work it is, with whom others take turns; 0: none */
    uint32_t total_ms; /* 0: the class's default */
    size_t max_body;   /* of a collected answer; 0: the class's default */
    /* No client waits for it: it is counted, but no breaker learns from it, and it logs nothing */
    bool background;
    const char *agent;      /* constant text, as User-Agent; NULL: the gateway's own */
    attempt_judge_cb judge; /* or NULL */
    const char *request_id; /* of the client's request, for the log; copied; NULL: none */
    const char *range;      /* a Range header to pass on; NULL: none */
    const char *if_range;   /* an If-Range header; NULL: none */
    /* Or NULL; just before the first byte, from inside curl. Once: not again when the same request is
     * sent once more with another token */
    upstream_begin_cb on_begin;
    upstream_head_cb on_head; /* for streamed answers */
    upstream_data_cb on_data;
    attempt_done_cb on_done; /* once unless cancelled; never from inside attempt_start() */
    void *arg;
};

/** What retry_decide() has to know of an ended call; the caller adds what only it knows (pinned,
 * tries, untried...). Pure. */
struct retry_question attempt_question(enum op_class op, const struct attempt_result *result);

/** Fill in what the operator says about the next try: how many there may be in all after one at
 * `deployment` ended with question->outcome, and how long to wait at least.
 *  @param default_tries  when he says nothing */
void attempt_limits(const struct runtime *rt, uint32_t deployment, uint32_t default_tries,
                    struct retry_question *question);

/** retry_decide(), with a line in the debug log when the same deployment is asked again: who
 * wonders what a slow answer waits for finds it there. */
struct retry_answer attempt_decide(struct runtime *rt, uint32_t deployment,
                                   const struct retry_question *question);

/** Start. At an account by Entra ID it may first wait for a token, 10 s at most; and when the token is
 * refused it is replaced and the request sent once more, of which nobody hears but who reads the
 * source (entra statements 13 and 16). When there is no token it ends as OUTCOME_AUTH with nothing
 * sent, and the failure is a 503 `upstream_auth_unavailable`.
 *  @return NULL: out of memory, on_done will not run */
struct attempt *attempt_start(struct runtime *rt, const struct attempt_spec *spec);

/** Forget it: no callback any more, the connection is closed. Counted as cancelled. */
void attempt_cancel(struct attempt *attempt);

/** After on_data returned false. */
void attempt_resume(struct attempt *attempt);
