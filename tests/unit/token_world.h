/* A process that calls two accounts by Entra ID with one credential, on a clock that moves when told;
 * the token service is the test. There is a second credential, which no account has unless a test says
 * so. Include behind noted_calls.h. */
#pragma once

#include "calls/attempt.h"
#include "common/log.h"
#include "core/account_token.h"

#define NOW        1000000u
#define FINGER     77u
#define OTHER      (FINGER + 64u)
#define MAX_TIMERS 8

static uint64_t now_ms;
static struct loop_timer *timers[MAX_TIMERS];
static bool timers_are_refused; /* out of memory */

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return now_ms;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *t)
{
    (void)loop;
    for (size_t i = 0; i < MAX_TIMERS; i++)
        if (timers[i] == t)
            timers[i] = NULL;
}

static int do_timer_start(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
    size_t i = 0;

    do_timer_stop(loop, t);
    while (i < MAX_TIMERS && timers[i] != NULL)
        i++;
    if (i == MAX_TIMERS || timers_are_refused)
        return ERR_NOMEM;
    t->due_ms = now_ms + delay_ms;
    timers[i] = t;
    return 0;
}

static struct loop_timer *next_timer(void)
{
    struct loop_timer *next = NULL;

    for (size_t i = 0; i < MAX_TIMERS; i++)
        if (timers[i] != NULL && (next == NULL || timers[i]->due_ms < next->due_ms))
            next = timers[i];
    return next;
}

static bool run_timer(void)
{
    struct loop_timer *t = next_timer();

    if (t == NULL)
        return false;
    now_ms = t->due_ms > now_ms ? t->due_ms : now_ms;
    do_timer_stop(NULL, t);
    t->cb(t);
    return true;
}

static const struct loop_ops ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};
static struct loop loop = {.ops = &ops};
static struct model_account accounts[ACCOUNTS];
static struct model_deployment rows[ACCOUNTS];
static struct entra_credential credentials[2];
static struct config config;
static uint32_t columns[ACCOUNTS];
static struct inherited inherited;
static struct runtime process;
static struct entra_tokens_cell *cell; /* of the credential whose tokens the test gives */

static void describe(void)
{
    static const char *const bases[] = {"https://a0.example", "https://a1.example"};

    credentials[0] =
        (struct entra_credential){.name = (char *)(uintptr_t) "client c", .fingerprint = FINGER};
    credentials[1] =
        (struct entra_credential){.name = (char *)(uintptr_t) "client d", .fingerprint = OTHER};
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        accounts[i] = (struct model_account){.provider = PROVIDER_AZURE,
                                             .auth = ACCOUNT_AUTH_ENTRA,
                                             .base = (char *)(uintptr_t)bases[i],
                                             .name = (char *)(uintptr_t)(bases[i] + 8)};
        rows[i] = (struct model_deployment){.group = (char *)(uintptr_t) "g",
                                            .id = accounts[i].name,
                                            .upstream_model = (char *)(uintptr_t) "m",
                                            .account = i,
                                            .cooldown_ms = UINT32_MAX,
                                            .fingerprint = 100 + i};
    }
    config = (struct config){.models = {.accounts = accounts,
                                        .num_accounts = ACCOUNTS,
                                        .credentials = credentials,
                                        .num_credentials = 2,
                                        .deployments = rows,
                                        .num_deployments = ACCOUNTS},
                             .timeouts.json_total_ms = 60000,
                             .limits.spool_bytes = 1 << 20};
}

static int world_set_up(void **state)
{
    struct table *table;

    (void)state;
    now_ms = NOW;
    num_calls = 0;
    calls_are_refused = timers_are_refused = false;
    log_set_level(LOG_LEVEL_ERROR);
    describe();
    inherited = (struct inherited){.config = &config, .columns = columns};
    inherited.breaker = breaker_policy(0, 5000);
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    inherited.table = table;
    assert_int_equal(state_new(2, ACCOUNTS, &inherited.state), 0);
    assert_int_equal(state_bind(inherited.state, table, columns), 0);
    assert_int_equal(entra_tokens_new(&inherited.entra_tokens), 0);
    /* In another order than in the list: whose cell it is, its key says */
    assert_int_equal(entra_tokens_bind(inherited.entra_tokens, OTHER, 0), 0);
    assert_int_equal(entra_tokens_bind(inherited.entra_tokens, FINGER, 0), 0);
    process =
        (struct runtime){.inherited = &inherited, .config = &config, .table = table, .loop = &loop};
    assert_int_equal(account_token_prepare(&process), 0);
    cell = account_token_cell(&process, 0);
    assert_non_null(cell);
    return 0;
}

static int world_tear_down(void **state)
{
    (void)state;
    assert_null(next_timer());
    assert_int_equal(process.calls_waiting, 0);
    for (unsigned i = 0; i < num_calls; i++)
        free(calls[i]);
    num_calls = 0;
    free(process.credentials);
    entra_tokens_free(inherited.entra_tokens);
    state_free(inherited.state);
    table_free((struct table *)(uintptr_t)inherited.table);
    return 0;
}

/* The token service gave this one, so long ago. */
static void give_token(const char *text, uint64_t age_ms)
{
    struct entra_state state = {.obtained_ms = now_ms - age_ms,
                                .renew_ms = now_ms + 1800000,
                                .fresh_until_ms = now_ms + 3300000,
                                .ends_ms = now_ms + 3600000};
    uint64_t rung = entra_tokens_rung(cell);

    assert_true(entra_tokens_lease(cell, 1, now_ms, 1000));
    assert_true(entra_tokens_publish(cell, text, strlen(text), &state) > 0);
    entra_tokens_release(cell, 1);
    entra_tokens_hear(cell, rung);
}

/* It gave none, and is asked again after so long. */
static void give_none(uint64_t wait_ms)
{
    struct entra_state state = {.wait_ms = now_ms + wait_ms, .failures = 1, .last = ENTRA_PASSING};
    struct entra_tokens_error error = {.outcome = ENTRA_PASSING, .status = 503};
    uint64_t rung = entra_tokens_rung(cell);

    assert_true(entra_tokens_lease(cell, 1, now_ms, 1000));
    entra_tokens_fail(cell, &state, &error);
    entra_tokens_release(cell, 1);
    entra_tokens_hear(cell, rung);
}

static inline bool carries(const char *token)
{
    char line[128];

    snprintf(line, sizeof(line), "Authorization: Bearer %s\n", token);
    return strstr(noted_headers, line) != NULL;
}

static inline bool is_refused(void)
{
    struct entra_tokens_view token;

    return entra_tokens_read(cell, now_ms, NULL, &token) && token.refused;
}
