/* The tables that processes share, at full speed: threads stand in for workers, which die and are
 * buried by the one that stands in for the master. Meant for ThreadSanitizer above all, which sees
 * threads but not processes (scripts/test --long). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "balancer/breaker.h"
#include "balancer/idem.h"
#include "balancer/memo.h"
#include "balancer/quota.h"
#include "balancer/slots.h"
#include "balancer/state.h"

#define WORKERS       3
#define MASTER_HOLDER WORKERS
#define LIVES         3000
#define DEATH_EVERY   61 /* lives */
#define KEYS          5
#define NOW           UINT64_C(1000000000)
#define KEEP          50 /* lives: now_ms goes up by one with each */

static struct state *state_region;
static struct quota *quota;
static struct slots *slots;
static struct memo *memo;
static struct idem *idem;

static _Atomic bool over;
static _Atomic bool dead[WORKERS];   /* its process has ended and waits to be buried */
static _Atomic int holders_of[KEYS]; /* who hold an idem key now */
static _Atomic uint64_t created, lost_by_death, taken_over;

struct worker {
    uint32_t holder; /* its row */
    uint32_t x;
    uint64_t now_ms;
    pthread_t thread;
};

/* cmocka's own belong to the thread that runs the test. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static uint32_t draw(struct worker *w, uint32_t below)
{
    w->x = w->x * 1664525u + 1013904223u;
    return (w->x >> 16) % below;
}

static void live_with_quota(struct worker *w, bool die)
{
    uint32_t column = draw(w, 2);
    struct quota_claim claim;
    char id[32];
    size_t len = (size_t)snprintf(id, sizeof(id), "batch_%u_%u", w->holder, w->x);

    if (quota_reserve(quota, w->holder, column, 1 + draw(w, 40), w->x | 1, w->now_ms, &claim) != 0)
        return;
    if (draw(w, 2) == 0)
        MUST(quota_sent(quota, &claim));
    if (die)
        return; /* as an orphan, or as if it had never been */
    if (draw(w, 4) == 0) {
        quota_cancel(quota, w->holder, &claim, w->now_ms);
        return;
    }
    MUST(quota_commit(quota, &claim, id, len) == 0);
    quota_learn_enqueued(quota, column, 50, w->now_ms);
    quota_learn_rate(quota, 7, &(struct features){{[FEATURE_TEXT] = 1000}}, 300);
    quota_add_expected(quota, column, 30, w->now_ms);
    MUST(quota_progress(quota, column, id, len, 1, 2, w->now_ms));
    if (draw(w, 8) == 0)
        quota_full(quota, column, 90, w->now_ms);
    MUST(quota_release(quota, w->holder, column, id, len, QUOTA_FINISHED, w->now_ms));
}

static void live_with_state(struct worker *w, bool die)
{
    static const struct breaker_policy policy = {
        .per_minute = true, .rate_percent = 60, .rate_min = 5, .cooldown_ms = 2, .max_ms = 9};
    _Atomic uint64_t *word = state_health(state_region, draw(w, 2), OP_CREATE);
    enum outcome outcome = draw(w, 3) == 0 ? OUTCOME_TIMEOUT : OUTCOME_OK;
    struct breaker_view before, after;

    if (!breaker_enter(word, w->now_ms))
        return;
    state_begin_at(state_region, w->holder, 0, OP_CREATE, w->now_ms);
    if (die)
        return;
    state_end_at(state_region, w->holder, 0, OP_CREATE, outcome, 200, 5, 6, 7, w->now_ms);
    (void)breaker_record(word, &policy, outcome, -1, w->holder, w->now_ms, &before, &after);
}

static void live_with_memo(struct worker *w)
{
    uint64_t key = memo_key(1, 2, (const char *)&(uint32_t){draw(w, 24)}, sizeof(uint32_t));
    uint64_t value[MEMO_WORDS] = {w->x, w->x + 1, w->x + 2, w->x + 3, w->x + 4};

    if (draw(w, 3) == 0)
        memo_put(memo, key, value, w->now_ms);
    else if (draw(w, 8) == 0)
        memo_drop(memo, key);
    else if (memo_get(memo, key, 0, w->now_ms, value))
        for (unsigned i = 1; i < MEMO_WORDS; i++)
            MUST(value[i] == value[0] + i);
}

static void live_with_slots(struct worker *w)
{
    slots_add(slots, 0, SLOTS_LASTING, 1);
    (void)slots_open(slots, 0, SLOTS_LASTING, 500, w->now_ms);
    if (draw(w, 16) == 0)
        slots_refused(slots, 0, SLOTS_EXPIRING, w->now_ms);
    slots_add(slots, 0, SLOTS_LASTING, -1);
}

static void check_whole(const struct idem_answer *a)
{
    MUST(a->len >= 100 && a->len < 100 + WORKERS);
    for (size_t i = 0; i < a->len; i++)
        MUST(a->body[i] == (char)a->status);
    MUST(strcmp(a->nonce, "nonce") == 0);
}

static void finish_request(struct worker *w, uint32_t nth, struct idem_claim *claim)
{
    struct idem_answer a;

    memset(&a, 0, sizeof(a));
    a.status = (int)('a' + w->holder);
    a.len = 100 + w->holder;
    memset(a.body, a.status, a.len);
    atomic_fetch_sub(&holders_of[nth], 1);
    switch (draw(w, 3)) {
    case 0:
        idem_forget(idem, claim);
        break;
    case 1:
        idem_lose(idem, claim);
        break;
    default:
        idem_answer(idem, claim, &a);
    }
}

/* Each of few keys is asked for again and again; at any time one at most has it. */
static void live_with_idem(struct worker *w, bool die)
{
    uint32_t nth = draw(w, KEYS);
    struct idem_key key = {.hash = {nth + 1, nth + 7}};
    struct idem_answer answer;
    struct idem_claim claim;
    enum idem_found found =
        idem_begin(idem, w->holder, &key, 1, "nonce", KEEP, w->now_ms, &claim, &answer);

    if (found == IDEM_DONE)
        check_whole(&answer);
    if (found == IDEM_LOST && idem_take_lost(idem, w->holder, &key, &claim))
        atomic_fetch_add(&taken_over, 1);
    if (claim.entry == 0)
        return;
    MUST(atomic_fetch_add(&holders_of[nth], 1) == 0);
    if (found == IDEM_NEW && draw(w, 4) != 0)
        MUST(idem_sent(idem, &claim, 7));
    atomic_fetch_add(&created, 1);
    if (die)
        atomic_fetch_sub(&holders_of[nth], 1);
    else
        finish_request(w, nth, &claim);
}

static void *run_worker(void *arg)
{
    struct worker *w = arg;

    for (unsigned i = 1; i <= LIVES; i++) {
        bool die = i % DEATH_EVERY == 0;

        w->now_ms = NOW + i;
        live_with_memo(w);
        live_with_slots(w);
        live_with_quota(w, die);
        live_with_state(w, die);
        live_with_idem(w, die);
        if (!die)
            continue;
        atomic_store(&dead[w->holder], true);
        while (atomic_load(&dead[w->holder]))
            sched_yield();
    }
    return NULL;
}

static void bury(uint32_t holder)
{
    (void)state_clear_worker(state_region, holder);
    (void)quota_undo_holder(quota, holder, NOW);
    atomic_fetch_add(&lost_by_death, idem_undo_holder(idem, holder));
    (void)quota_repair(quota, NULL);
    atomic_store(&dead[holder], false);
}

static void *run_master(void *arg)
{
    struct quota_view view = {0};
    struct state_sum sum;
    struct quota_sum quota_sum;
    struct quota_tally tallies[2] = {0};
    uint32_t cursor = 0;

    while (!atomic_load(&over)) {
        for (uint32_t i = 0; i < WORKERS; i++)
            if (atomic_load(&dead[i]))
                bury(i);
        (void)quota_repair(quota, NULL);
        if (quota_watch(quota, &cursor, NOW + 2 * QUOTA_ASK_MS, &view) && view.orphan)
            (void)quota_release_token(quota, MASTER_HOLDER, view.token, NOW);
        for (uint32_t place = 0; quota_count(quota, &place, 100, tallies);)
            ;
        quota_read(quota, 0, NOW, &quota_sum);
        state_read(state_region, 0, NOW, &sum);
        MUST(sum.in_flight[OP_CREATE] <= WORKERS);
        slots_set(slots, 1, SLOTS_EXPIRING, sum.requests[OP_CREATE]);
    }
    return arg;
}

static void bind_state(void)
{
    static struct model_account account;
    struct model_deployment rows[] = {{.group = (char *)(uintptr_t) "g", .fingerprint = 5},
                                      {.group = (char *)(uintptr_t) "g", .fingerprint = 6}};
    struct model_list list = {
        .accounts = &account, .num_accounts = 1, .deployments = rows, .num_deployments = 2};
    struct table *table;
    uint32_t columns[2];

    assert_int_equal(table_build(&list, 1, &table), 0);
    assert_int_equal(state_bind(state_region, table, columns), 0);
    table_free(table);
}

static void make_tables(void)
{
    assert_int_equal(state_new(WORKERS + 1, 2, &state_region), 0);
    bind_state();
    assert_int_equal(quota_new(2, 64, &quota), 0);
    assert_int_equal(slots_new(2, &slots), 0);
    assert_int_equal(memo_new(16, &memo), 0);
    assert_int_equal(idem_new(16, &idem), 0);
    for (uint32_t c = 0; c < 2; c++) {
        quota_bind(quota, c, &(struct quota_terms){.fingerprint = 5 + c, .limit = 100});
        slots_bind(slots, c, 5 + c);
    }
    slots_set(slots, 0, SLOTS_LASTING, 40);
}

static void free_tables(void)
{
    state_free(state_region);
    quota_free(quota);
    slots_free(slots);
    memo_free(memo);
    idem_free(idem);
}

/* Nothing is left but what may be: after the leases no token is reserved, and every place of idem
 * is to be had. */
static void check_nothing_is_lost(void)
{
    struct quota_sum sum;

    for (uint32_t i = 0; i < WORKERS; i++)
        bury(i);
    assert_true(quota_repair(quota, NULL));
    (void)quota_expire(quota, MASTER_HOLDER, NOW + 2 * QUOTA_LEASE_MS);
    for (uint32_t c = 0; c < 2; c++) {
        quota_read(quota, c, NOW, &sum);
        assert_int_equal(sum.reserved, 0);
    }
    assert_int_equal(slots_held(slots, 0, SLOTS_LASTING), 40);
    for (uint64_t i = 0; i < 16; i++) {
        struct idem_key key = {.hash = {1000 + i, 1}};
        struct idem_answer answer;
        struct idem_claim claim;

        assert_int_equal(
            idem_begin(idem, 0, &key, 1, "", KEEP, NOW + LIVES + KEEP, &claim, &answer), IDEM_NEW);
    }
}

static void workers_that_die_and_a_master_that_buries_them_keep_all_tables_right(void **state)
{
    struct worker workers[WORKERS];
    pthread_t master;

    (void)state;
    make_tables();
    assert_int_equal(pthread_create(&master, NULL, run_master, NULL), 0);
    for (uint32_t i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.holder = i, .x = i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]), 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    atomic_store(&over, true);
    pthread_join(master, NULL);
    assert_true(created > LIVES / 100);
    assert_true(lost_by_death > 0 && taken_over > 0);
    check_nothing_is_lost();
    free_tables();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_that_die_and_a_master_that_buries_them_keep_all_tables_right),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
