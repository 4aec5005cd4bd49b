/* The ground of the prober's process: its runtime, its accounts, and upkeep calls. An upkeep call
 * is a small GET, or the DELETE of a copy, that no client waits for, so it yields to everything
 * else: at most two are in flight at one account and eight in all. The content of a file, which takes
 * as long as it is long, has places beside these. An account that answers with Retry-After, or
 * fails, gets no call for that long; its calls wait in a queue meanwhile.
 *
 * Upkeep calls are background attempts with a User-Agent of their own, by which operators tell them
 * from clients' calls in the provider's log. The prober's row counts them, and no breaker learns
 * from them. */
#pragma once

#include "common/loop.h"
#include "calls/attempt.h"
#include "core/runtime.h"

#define UPKEEP_AGENT "tranche/" TRANCHE_VERSION " (upkeep)"

struct upkeep_call;

/* One account and its pace. */
struct upkeep_account {
    struct upkeep *upkeep;
    uint32_t account; /* index in the model list */
    /* The first one of the account: calls are counted there; MODEL_NO_INDEX: no deployment uses
     * it */
    uint32_t deployment;
    uint32_t fingerprint;         /* what its tagged ids carry */
    uint32_t same_resource;       /* the first account of the same Azure resource, else itself */
    bool balanced;                /* the balancer places work on it */
    unsigned in_flight, contents; /* small calls; files' contents */
    unsigned failures;            /* in a row */
    uint64_t quiet_until_ms;      /* it gets no upkeep call before */
};

/* Everything here lives as long as the prober. */
struct upkeep {
    struct runtime rt;               /* all calls stand on it, as those of a worker do on its own */
    struct upkeep_account *accounts; /* owned; as in the model list */
    size_t num_accounts;
    /* Owned [num_columns]: column to deployment of this table, or MODEL_NO_INDEX */
    uint32_t *deployment_of;
    uint32_t num_columns;
    struct upkeep_call *waiting, **waiting_end; /* owned; queue */
    unsigned in_flight, contents;
    struct loop_timer wake; /* when the first quiet account may be called again */
    /* Owned; what probes.c, watch.c, recovery.c, file_count.c and endings.c keep for each account,
     * and gaps.c and due.c for all. */
    struct probes *probes;
    struct watch *watch;
    struct recovery *recovery;
    struct file_count *file_count;
    struct endings *endings;
    struct gaps *gaps;
    struct due *due; /* NULL: no journal is kept */
};

/** Fill `upkeep`, of whose runtime `inherited`, `slot`, `loop` and `upstream` are set. It stays
 * where it is. @return 0, ERR_NOMEM, ERR_IO */
MUST_USE int upkeep_init(struct upkeep *upkeep);

/** Queue an upkeep call: it starts on a coming turn, when its account may be called. Never calls
 * back before it returns.
 *  @param account    one that a deployment uses
 *  @param what       which call
 *  @param id, query  as provider_url(); copied
 *  @return 0, or an error: `on_done` will not run */
MUST_USE int upkeep_call_start(struct upkeep_account *account, enum provider_call what,
                               const char *id, const char *query, attempt_done_cb on_done,
                               void *arg);

#define UPKEEP_SLICE               65536 /* bytes of a file's content in a turn of the loop */
#define UPKEEP_CONTENTS            4     /* that are read at a time ... */
#define UPKEEP_CONTENTS_OF_ACCOUNT 2     /* ... and of one account */

/** The same for the content of a file, which passes piece by piece and is not kept. It may take any
 *  time in which bytes move.
 *  @param on_piece  what it returns says nothing; not from inside of it another call is started
 *  @param call      set: for upkeep_content_cancel(), until `on_done` runs */
MUST_USE int upkeep_content_start(struct upkeep_account *account, const char *id,
                                  upstream_data_cb on_piece, attempt_done_cb on_done, void *arg,
                                  struct upkeep_call **call);

/** Give it up, whether it has begun or not: no callback any more, and its place is free. Not from
 * inside of its callbacks. */
void upkeep_content_cancel(struct upkeep_call *call);

/** The name of the account in logs. */
const char *upkeep_account_name(const struct upkeep_account *account);

/** Whether an upkeep call to the account would have to wait. */
bool upkeep_account_is_quiet(const struct upkeep_account *account);

/** Uniform in [0, bound), good enough to keep calls apart; 0 for 0. */
uint32_t upkeep_random_below(struct upkeep *upkeep, uint32_t bound);

/** How long a call may take in all: what the operator says of small calls, but at most `most_ms`. */
uint32_t upkeep_total_ms(const struct config *config, uint32_t most_ms);

/** When work on account `i` of `num` begins after the start: accounts begin 25 ms apart, and all of
 * them within 5 s. Pure. */
uint64_t upkeep_stagger_ms(size_t i, size_t num);

/**
 * How long an account gets no upkeep call after one. Pure.
 *
 * @param outcome         of the call
 * @param retry_after_ms  what the provider asked for; -1: nothing
 * @param failures        in a row, this one included
 * @param random          uniform in [0, 1000)
 *  @return 0 after a good one; else what the provider asked for and up to a tenth more, or a
 *         second, two, four ... 64 of them, give or take a quarter
 */
uint64_t upkeep_backoff_ms(enum outcome outcome, int64_t retry_after_ms, unsigned failures,
                           uint32_t random);
