/* One create at one deployment, to an end that is known or honestly unknown: the POST, an input
 * file that its provider still processes, a lost answer that is searched for, a refusal that may
 * not be the provider's own. Nothing is sent twice except after a refusal that proves that nothing
 * happened. It knows no client: the caller decides what a client's leaving means. */
#pragma once

#include "json/json.h"
#include "calls/attempt.h"
#include "once/wanted.h"

struct create;

enum create_end {
    CREATE_MADE,    /* the batch exists */
    CREATE_REFUSED, /* it does not */
    CREATE_UNKNOWN  /* nobody knows */
};

struct create_result {
    enum create_end end;
    int status; /* MADE: of the provider's answer; 0: it was found in a list */
    struct json_doc *doc;
    struct json *batch; /* MADE: as the provider sent it; both valid during the call */
    int64_t enqueued_tokens, max_enqueued_tokens; /* of the answer's headers; -1: not told */
    struct failure failure;                       /* REFUSED, UNKNOWN: how it ended */
    struct retry_question question; /* REFUSED: for retry_decide(); op, what was sent, what came */
};

struct create_spec {
    uint32_t deployment;
    const char *file; /* native id of the input file there; "": none (a blob) */
    const char *body; /* complete, the marker in it; copied */
    size_t body_len;
    const struct wanted *wanted; /* how to know the batch again; copied */
    const char *request_id;      /* for log lines */
};

struct create_ops {
    /* From now on something may have happened: the first byte is about to go, for the first time or
     * again after on_refused. From inside curl: note it, and start or cancel nothing. Return false
     * to send nothing, which ends as REFUSED. */
    bool (*on_begin)(void *arg);
    /* It is known that nothing has happened so far; the same will be asked again, after a while. */
    void (*on_refused)(void *arg);
    /* The end; once unless cancelled, never from inside create_start(). */
    void (*on_done)(void *arg, const struct create_result *result);
};

/** @param ops  static
 *  @return NULL: out of memory; nothing was sent, on_done will not run */
struct create *create_start(struct runtime *rt, const struct create_spec *spec,
                            const struct create_ops *ops, void *arg);

/** The client has left. @return true: nothing is under way, and it was cancelled; false: it goes on
 * to its end, and waits for nothing any more */
bool create_abandon(struct create *create);

/** Forget it, whatever is under way: no callback any more. */
void create_cancel(struct create *create);
