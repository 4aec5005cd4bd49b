/* Calls of the prober's process for the quota ledger: small GETs, and DELETEs of copies, that no
 * client waits for, so they yield to everything else. At most two are in flight at one account and
 * eight in all. An account that answers with Retry-After, or fails, gets no call for that long;
 * calls that are started meanwhile wait in a queue.
 *
 * They carry a User-Agent of their own, so that operators can tell them from clients' calls in the
 * provider's log. Like health checks they are counted in the prober's row and never touch a
 * breaker. */
#pragma once

#include "common/loop.h"
#include "calls/attempt.h"
#include "core/runtime.h"

#define ERRAND_AGENT "tranche/" TRANCHE_VERSION " (upkeep)"

struct errand;

/* One account and its pace. */
struct errand_account {
    struct errands *errands;
    uint32_t account; /* index in the model list */
    /* The first one of the account: calls are counted there; MODEL_NO_INDEX: no deployment uses
     * it */
    uint32_t deployment;
    uint32_t fingerprint;   /* what its tagged ids carry */
    uint32_t same_resource; /* the first account of the same Azure resource, else itself */
    bool balanced;          /* the balancer places work on it */
    unsigned in_flight;
    unsigned failures; /* in a row */
    uint64_t quiet_until_ms;
};

/* Everything here lives as long as the prober. */
struct errands {
    struct runtime rt;               /* the ground of all calls, as a worker's handlers have one */
    struct errand_account *accounts; /* owned; as in the model list */
    size_t num_accounts;
    /* Owned [num_columns]: column to deployment of this table, or MODEL_NO_INDEX */
    uint32_t *deployment_of;
    uint32_t num_columns;
    struct errand *waiting, **waiting_end; /* owned; queue */
    unsigned in_flight;
    struct loop_timer wake; /* when the first quiet account may be called again */
    /* Owned; what watch.c, rebuild.c, census.c and endings.c keep. */
    struct watch *watch;
    struct rebuild *rebuild;
    struct census *census;
    struct endings *endings;
};

/** Fill `errands`, of whose runtime `inherited`, `slot`, `loop` and `upstream` are set. It stays where
 * it is. @return 0, ERR_NOMEM, ERR_IO */
MUST_USE int errands_init(struct errands *errands);

/** Queue a call; it starts on a coming turn, when it may. Never calls back before it returns.
 *  @param id, query  as provider_url(); copied
 *  @return 0, or an error: `on_done` will not run */
MUST_USE int errand_start(struct errand_account *account, enum provider_call call, const char *id,
                          const char *query, attempt_done_cb on_done, void *arg);

/** The account of that name in logs. */
const char *errand_account_name(const struct errand_account *account);

/** Whether calls to it would have to wait. */
bool errand_account_is_quiet(const struct errand_account *account);

/** Uniform in [0, bound), good enough to keep calls apart; 0 for 0. */
uint32_t errand_random_below(struct errands *errands, uint32_t bound);

/** How long a call may take in all: what the operator says of small calls, but at most `most_ms`. */
uint32_t errand_total_ms(const struct config *config, uint32_t most_ms);

/**
 * How long an account is left alone after a call. Pure.
 *
 * @param outcome         of the call
 * @param retry_after_ms  what the provider asked for; -1: nothing
 * @param failures        in a row, this one included
 * @param random          uniform in [0, 1000)
 *  @return 0 after a good one; else what the provider asked for and up to a tenth more, or a
 *         second, two, four ... 64 of them, give or take a quarter
 */
uint64_t errand_rest_ms(enum outcome outcome, int64_t retry_after_ms, unsigned failures,
                        uint32_t random);
