/* breaker: when a deployment rests, for how long, and who may probe it. The compare-and-swap loops
 * run here in every order that several processes could run them in: breaker.c is compiled into this
 * file with its two atomic operations as points at which a scheduler decides who goes on, or dies.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include <cmocka.h>

#include "balancer/breaker.h"

/* --- the scheduler --- */

#define PROCESSES 3
#define MAX_STEPS 64

struct process {
    void (*body)(struct process *self);
    pthread_t thread;
    sem_t go, stopped;
    bool done, killed;
    int kill_after; /* steps; -1: never */
    int steps;
    bool result;
    enum outcome outcome;
    struct breaker_view before, after;
};

static _Thread_local struct process
    *self_process; /* NULL outside of a schedule: everything runs straight on */
static _Atomic uint64_t health;
static struct process processes[PROCESSES];

/* Stand before an atomic operation until the scheduler says go. */
static void step(void)
{
    struct process *p = self_process;

    if (p == NULL)
        return;
    sem_post(&p->stopped);
    while (sem_wait(&p->go) == -1)
        ;
    if (p->killed) {
        p->done = true;
        sem_post(&p->stopped);
        pthread_exit(NULL);
    }
}

static uint64_t step_load(const _Atomic uint64_t *w)
{
    step();
    return atomic_load(w);
}

static bool step_exchange(_Atomic uint64_t *w, uint64_t *old, uint64_t new)
{
    step();
    return atomic_compare_exchange_strong(w, old, new);
}

#undef atomic_load_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_load_explicit(w, order) step_load(w)
#define atomic_compare_exchange_weak_explicit(w, old, new, order1, order2)                         \
    step_exchange(w, old, new)
#include "balancer/breaker.c"

static void *run_process(void *arg)
{
    self_process = arg;
    self_process->body(self_process);
    self_process->done = true;
    sem_post(&self_process->stopped);
    return NULL;
}

/* Let process `p` do its next atomic operation, and run to the one after that. */
static void go_on(struct process *p)
{
    if (p->kill_after >= 0 && p->steps >= p->kill_after)
        p->killed = true;
    p->steps++;
    sem_post(&p->go);
    while (sem_wait(&p->stopped) == -1)
        ;
}

/* Run once: at step i the choices[i]-th of the processes that are still alive goes on. Where
 * choices end, the first one does; how many there were to choose from goes to `alive`. Returns the
 * number of steps. */
static int run_schedule(int num, int *choices, int *alive)
{
    int steps = 0;

    for (int i = 0; i < num; i++) {
        struct process *p = &processes[i];

        p->done = p->killed = p->result = false;
        p->steps = 0;
        sem_init(&p->go, 0, 0);
        sem_init(&p->stopped, 0, 0);
        assert_int_equal(pthread_create(&p->thread, NULL, run_process, p), 0);
        while (sem_wait(&p->stopped) == -1)
            ;
    }
    for (;; steps++) {
        int nth = choices[steps];

        alive[steps] = 0;
        for (int i = 0; i < num; i++)
            alive[steps] += !processes[i].done;
        if (alive[steps] == 0)
            break;
        assert_true(steps + 1 < MAX_STEPS);
        for (int i = 0; i < num; i++) {
            if (!processes[i].done && nth-- == 0) {
                go_on(&processes[i]);
                break;
            }
        }
    }
    for (int i = 0; i < num; i++) {
        pthread_join(processes[i].thread, NULL);
        sem_destroy(&processes[i].go);
        sem_destroy(&processes[i].stopped);
    }
    return steps;
}

/* Run `num` processes from `start` in every order; `check` looks at each end. Returns how many
 * orders there were. */
static int in_every_order(int num, uint64_t start, void (*check)(int num))
{
    int choices[MAX_STEPS] = {0}, alive[MAX_STEPS], runs = 0;

    for (;;) {
        int steps;

        atomic_store(&health, start);
        steps = run_schedule(num, choices, alive);
        check(num);
        runs++;
        /* The next order: the last choice that can still be raised is, and what follows starts
         * anew. */
        while (steps > 0 && choices[steps - 1] + 1 >= alive[steps - 1])
            choices[--steps] = 0;
        if (steps == 0)
            return runs;
        choices[steps - 1]++;
    }
}

/* --- one after the other --- */

#define NOW 1000000u

static struct breaker_policy policy; /* 3 in a row, 5 s */

static struct breaker_view view_of(uint64_t w)
{
    struct breaker_view v;

    breaker_unpack(w, &v);
    return v;
}

static uint64_t next(uint64_t w, enum outcome outcome, uint64_t now_ms)
{
    return breaker_next(w, &policy, outcome, -1, 7, now_ms);
}

/* The word of a deployment that has begun its first rest at NOW. */
static uint64_t cooling_word(void)
{
    uint64_t w = 0;

    for (int i = 0; i < 4; i++)
        w = next(w, OUTCOME_SERVER_ERROR, NOW);
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    return w;
}

static void a_fresh_word_is_up_and_admits(void **state)
{
    struct breaker_view v = view_of(0);

    (void)state;
    assert_int_equal(v.state, BREAKER_CLOSED);
    assert_int_equal(v.reason, OUTCOME_OK);
    assert_true(breaker_admits(0, 0));
}

/* memcmp() would look at the padding. */
static void assert_same(const struct breaker_view *a, const struct breaker_view *b)
{
    assert_int_equal(a->state, b->state);
    assert_int_equal(a->reason, b->reason);
    assert_int_equal(a->failures, b->failures);
    assert_int_equal(a->rounds, b->rounds);
    assert_int_equal(a->firm, b->firm);
    assert_int_equal(a->until_ms, b->until_ms);
    assert_int_equal(a->minute, b->minute);
    assert_int_equal(a->minute_tries, b->minute_tries);
    assert_int_equal(a->minute_failures, b->minute_failures);
}

static void what_is_packed_is_unpacked_and_what_is_too_great_is_cut(void **state)
{
    const struct breaker_view in = {.state = BREAKER_HALF_OPEN,
                                    .reason = OUTCOME_CANCELLED,
                                    .failures = 255,
                                    .rounds = 63,
                                    .firm = true,
                                    .until_ms = UINT64_C(0x7ffffffffff)};
    const struct breaker_view up = {.reason = OUTCOME_TIMEOUT,
                                    .failures = 255,
                                    .rounds = 63,
                                    .minute = 0x7fff,
                                    .minute_tries = 16383,
                                    .minute_failures = 16382};
    const struct breaker_view great = {.state = BREAKER_OPEN,
                                       .reason = OUTCOME_TIMEOUT,
                                       .failures = 1000,
                                       .rounds = 1000,
                                       .until_ms = UINT64_MAX};
    const struct breaker_view great_up = {
        .minute = 0x18001, .minute_tries = 20000, .minute_failures = 20000};
    struct breaker_view out;

    (void)state;
    out = view_of(breaker_pack(&in));
    assert_same(&in, &out);
    out = view_of(breaker_pack(&up));
    assert_same(&up, &out);
    out = view_of(breaker_pack(&great_up));
    assert_int_equal(out.state, BREAKER_CLOSED);
    assert_int_equal(out.failures, 0);
    assert_int_equal(out.minute, 1);
    assert_int_equal(out.minute_tries, 16383);
    assert_int_equal(out.minute_failures, 16383);
    out = view_of(breaker_pack(&great));
    assert_int_equal(out.state, BREAKER_OPEN);
    assert_int_equal(out.reason, OUTCOME_TIMEOUT);
    assert_int_equal(out.failures, 255);
    assert_int_equal(out.rounds, 63);
    assert_true(out.until_ms == (UINT64_C(1) << 43) - 1);
}

static void three_failures_in_a_row_are_forgiven_and_the_fourth_begins_a_rest(void **state)
{
    static const enum outcome bad[] = {OUTCOME_AUTH,      OUTCOME_RATE_LIMIT, OUTCOME_TIMEOUT,
                                       OUTCOME_CONNECT,   OUTCOME_BROKEN,     OUTCOME_SERVER_ERROR,
                                       OUTCOME_BAD_ANSWER};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t w = 0;

        for (int n = 0; n < 3; n++) {
            w = next(w, bad[i], NOW);
            assert_int_equal(view_of(w).state, BREAKER_CLOSED);
            assert_true(breaker_admits(w, NOW));
        }
        w = next(w, bad[i], NOW);
        assert_int_equal(view_of(w).state, BREAKER_OPEN);
        assert_int_equal(view_of(w).reason, bad[i]);
        assert_int_equal(view_of(w).failures, 4);
        assert_false(breaker_admits(w, NOW));
    }
}

static void a_success_between_failures_starts_the_count_anew(void **state)
{
    uint64_t w = 0;

    (void)state;
    for (int n = 0; n < 3; n++)
        w = next(w, OUTCOME_TIMEOUT, NOW);
    w = next(w, OUTCOME_OK, NOW);
    assert_int_equal(view_of(w).failures, 0);
    for (int n = 0; n < 3; n++)
        w = next(w, OUTCOME_TIMEOUT, NOW);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
}

static void a_cancelled_try_counts_neither_way(void **state)
{
    uint64_t w = next(0, OUTCOME_TIMEOUT, NOW), cooling = cooling_word();

    (void)state;
    assert_true(next(w, OUTCOME_CANCELLED, NOW) == w);
    assert_true(next(cooling, OUTCOME_CANCELLED, NOW) == cooling);
    assert_true(next(0, OUTCOME_CANCELLED, NOW) == 0);
}

static void without_allowed_fails_the_first_failure_begins_a_rest(void **state)
{
    const struct breaker_policy strict = breaker_policy(0, 5000);

    (void)state;
    assert_int_equal(view_of(breaker_next(0, &strict, OUTCOME_CONNECT, -1, 1, NOW)).state,
                     BREAKER_OPEN);
}

static void each_kind_of_failure_has_a_number_of_its_own(void **state)
{
    struct breaker_policy own = policy;
    uint64_t w = 0;

    (void)state;
    own.allowed[OUTCOME_AUTH] = 0;
    own.allowed[OUTCOME_RATE_LIMIT] = 1000000;
    for (int i = 0; i < 300; i++)
        w = breaker_next(w, &own, OUTCOME_RATE_LIMIT, -1, 7, NOW);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    /* They are counted together, and measured by the last one. */
    assert_int_equal(view_of(breaker_next(w, &own, OUTCOME_CONNECT, -1, 7, NOW)).state,
                     BREAKER_OPEN);
    assert_int_equal(view_of(breaker_next(0, &own, OUTCOME_AUTH, -1, 7, NOW)).state, BREAKER_OPEN);
    assert_int_equal(view_of(breaker_next(0, &own, OUTCOME_CONNECT, -1, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void where_the_operator_says_nothing_a_refused_key_alone_begins_a_rest(void **state)
{
    struct breaker_policy none = breaker_policy_default(5000);
    uint64_t w = breaker_next(0, &none, OUTCOME_AUTH, -1, 7, NOW);

    (void)state;
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    assert_int_equal(view_of(w).failures, 1);
    assert_in_range(view_of(w).until_ms, NOW + 4000, NOW + 6000);
    for (int outcome = OUTCOME_RATE_LIMIT; outcome <= OUTCOME_BAD_ANSWER; outcome++) {
        w = 0;
        for (int i = 0; i < 3; i++)
            w = breaker_next(w, &none, (enum outcome)outcome, -1, 7, NOW);
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
        w = breaker_next(w, &none, (enum outcome)outcome, -1, 7, NOW);
        assert_int_equal(view_of(w).state, BREAKER_OPEN);
    }
}

static void where_the_operator_says_nothing_more_than_half_of_five_tries_begins_a_rest(void **state)
{
    static const enum outcome outcomes[] = {OUTCOME_TIMEOUT, OUTCOME_OK, OUTCOME_TIMEOUT,
                                            OUTCOME_OK, OUTCOME_TIMEOUT};
    struct breaker_policy none = breaker_policy_default(5000);
    uint64_t w = 0;

    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
        w = breaker_next(w, &none, outcomes[i], -1, 7, NOW);
    }
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
}

static void where_rests_are_disabled_nothing_begins_one(void **state)
{
    struct breaker_policy none = breaker_policy(0, 5000);
    uint64_t w = 0;

    (void)state;
    none.never_rests = none.per_minute = true;
    for (int i = 0; i < 300; i++) {
        enum outcome outcome = (enum outcome)(OUTCOME_AUTH + i % (OUTCOME_BAD_ANSWER));

        w = breaker_next(w, &none, outcome, i % 2 == 0 ? 9000 : -1, 7, NOW);
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
        assert_int_equal(view_of(w).reason, outcome);
    }
    assert_int_equal(view_of(w).failures, 255);
    assert_int_equal(view_of(breaker_next(w, &none, OUTCOME_OK, -1, 7, NOW)).failures, 0);
}

static void where_rests_are_disabled_a_rest_from_before_ends_with_the_next_try(void **state)
{
    struct breaker_policy none = policy;
    uint64_t throttled = breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 60000, 7, NOW);

    (void)state;
    none.never_rests = true;
    assert_int_equal(view_of(throttled).state, BREAKER_OPEN);
    assert_int_equal(view_of(breaker_next(throttled, &none, OUTCOME_OK, -1, 7, NOW)).state,
                     BREAKER_CLOSED);
    assert_int_equal(view_of(breaker_next(throttled, &none, OUTCOME_AUTH, -1, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void a_row_with_a_time_of_its_own_rests_for_that_whatever_its_provider_asks_for(void **state)
{
    struct breaker_policy own = breaker_policy(3, 20000);
    uint64_t w = breaker_next(0, &own, OUTCOME_RATE_LIMIT, 120000, 7, NOW);

    (void)state;
    assert_int_equal(view_of(w).until_ms, NOW + 120000);
    own.own_time = true;
    w = breaker_next(0, &own, OUTCOME_RATE_LIMIT, 120000, 7, NOW);
    assert_int_equal(view_of(w).state, BREAKER_OPEN); /* at once all the same */
    assert_true(view_of(w).firm);
    assert_in_range(view_of(w).until_ms, NOW + 16000, NOW + 24000);
    assert_true(breaker_next(w, &own, OUTCOME_RATE_LIMIT, 120000, 7, NOW + 1) ==
                breaker_next(w, &own, OUTCOME_RATE_LIMIT, -1, 7, NOW + 1));
    w = breaker_next(0, &own, OUTCOME_SERVER_ERROR, 1, 7, NOW);
    assert_in_range(view_of(w).until_ms, NOW + 16000, NOW + 24000);
    own.cooldown_ms = 0;
    assert_int_equal(view_of(breaker_next(0, &own, OUTCOME_RATE_LIMIT, 120000, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void with_a_number_per_minute_successes_between_do_not_help(void **state)
{
    struct breaker_policy per_minute = policy;
    uint64_t w = 0;

    (void)state;
    per_minute.per_minute = true;
    for (int i = 0; i < 3; i++) {
        w = breaker_next(w, &per_minute, OUTCOME_TIMEOUT, -1, 7, NOW + i);
        w = breaker_next(w, &per_minute, OUTCOME_OK, -1, 7, NOW + i);
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    }
    assert_int_equal(
        view_of(breaker_next(w, &per_minute, OUTCOME_TIMEOUT, -1, 7, NOW + 60000)).state,
        BREAKER_CLOSED); /* of another minute */
    w = breaker_next(w, &per_minute, OUTCOME_TIMEOUT, -1, 7, NOW + 3);
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    assert_int_equal(view_of(w).failures, 1);
    assert_int_equal(view_of(next(w, OUTCOME_OK, NOW + 4)).state, BREAKER_CLOSED);
}

/* Ninety percent of the polls of a minute go through: that is no reason to rest. */
static void a_share_of_failures_begins_a_rest_only_above_half_and_from_five_tries_on(void **state)
{
    static const struct {
        const char *tries; /* in time: + a success, - a failure */
        enum breaker_state end;
    } cases[] = {{"-+-", BREAKER_CLOSED},       {"-+--", BREAKER_CLOSED},
                 {"-+-+-", BREAKER_OPEN},       {"+++---", BREAKER_CLOSED},
                 {"+++--+-+-", BREAKER_CLOSED}, {"+--+--", BREAKER_OPEN},
                 {"++++++++-", BREAKER_CLOSED}, {"-++-++-++-++-", BREAKER_CLOSED},
                 {"+-+--+--", BREAKER_OPEN},    {"-+--+-+", BREAKER_OPEN}};
    struct breaker_policy rate = policy;

    (void)state;
    rate.rate_percent = 50;
    rate.rate_min = 5;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t w = 0;

        for (const char *c = cases[i].tries; *c != '\0'; c++)
            w = breaker_next(w, &rate, *c == '+' ? OUTCOME_OK : OUTCOME_SERVER_ERROR, -1, 7, NOW);
        if (view_of(w).state != cases[i].end)
            fail_msg("%s: %s", cases[i].tries, breaker_state_name(view_of(w).state));
    }
}

static void a_share_is_of_one_minute_and_a_rest_for_it_is_sat_out(void **state)
{
    struct breaker_policy rate = policy;
    uint64_t w = 0, until;

    (void)state;
    rate.rate_percent = 50;
    rate.rate_min = 5;
    for (int i = 0; i < 4; i++)
        w = breaker_next(w, &rate, i % 2 == 0 ? OUTCOME_TIMEOUT : OUTCOME_OK, -1, 7, NOW);
    assert_int_equal(view_of(w).minute_tries, 4);
    assert_int_equal(view_of(w).minute_failures, 2);
    assert_int_equal(view_of(breaker_next(w, &rate, OUTCOME_TIMEOUT, -1, 7, NOW + 60000)).state,
                     BREAKER_CLOSED);
    w = breaker_next(w, &rate, OUTCOME_TIMEOUT, -1, 7, NOW);
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    until = view_of(w).until_ms;
    assert_true(breaker_next(w, &rate, OUTCOME_OK, -1, 7, until - 1) == w);
    w = breaker_next(w, &rate, OUTCOME_OK, -1, 7, until);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    assert_int_equal(view_of(w).minute_tries, 1);
    assert_int_equal(view_of(w).minute_failures, 0);
}

static void a_minute_of_very_many_tries_keeps_its_share(void **state)
{
    struct breaker_policy rate = policy;
    uint64_t w = 0;

    (void)state;
    rate.rate_percent = 50;
    rate.rate_min = 5;
    for (int i = 0; i < 100000; i++) {
        w = breaker_next(w, &rate, i % 3 == 0 ? OUTCOME_TIMEOUT : OUTCOME_OK, -1, 7, NOW);
        assert_int_equal(view_of(w).state, BREAKER_CLOSED);
        assert_true(view_of(w).minute_failures <= view_of(w).minute_tries);
    }
    assert_in_range(view_of(w).minute_failures * 100 / view_of(w).minute_tries, 30, 35);
}

static void where_nobody_asks_for_a_share_successes_are_not_written_down(void **state)
{
    (void)state;
    assert_true(next(0, OUTCOME_OK, NOW) == 0);
}

static void a_cooldown_time_of_none_means_no_rests_but_those_asked_for(void **state)
{
    const struct breaker_policy none = breaker_policy(0, 0);
    uint64_t w = 0;

    (void)state;
    for (int i = 0; i < 10; i++)
        w = breaker_next(w, &none, OUTCOME_SERVER_ERROR, -1, 7, NOW);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    w = breaker_next(w, &none, OUTCOME_RATE_LIMIT, 4000, 7, NOW);
    assert_int_equal(view_of(w).until_ms, NOW + 4000);
    w = breaker_next(w, &none, OUTCOME_SERVER_ERROR, -1, 7, NOW + 4000);
    assert_int_equal(view_of(w).state, BREAKER_CLOSED);
    assert_int_equal(view_of(w).rounds, 0);
}

static void a_cooldown_time_above_five_minutes_is_kept_but_not_grown(void **state)
{
    const struct breaker_policy slow = breaker_policy(0, 600000);
    uint64_t w = breaker_next(0, &slow, OUTCOME_CONNECT, -1, 7, NOW), until = view_of(w).until_ms;

    (void)state;
    assert_in_range(until - NOW, 480000, 600000);
    w = breaker_next(w, &slow, OUTCOME_CONNECT, -1, 7, until);
    assert_in_range(view_of(w).until_ms - until, 480000, 600000);
    w = breaker_next(0, &slow, OUTCOME_RATE_LIMIT, 600000, 7, NOW);
    assert_int_equal(view_of(w).until_ms, NOW + 300000);
}

static void a_throttled_deployment_rests_for_as_long_as_retry_after_says(void **state)
{
    uint64_t w = breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 42000, 7, NOW);

    (void)state;
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    assert_int_equal(view_of(w).until_ms, NOW + 42000);
    assert_false(breaker_admits(w, NOW + 41999));
    assert_true(breaker_admits(w, NOW + 42000));
    w = breaker_next(0, &policy, OUTCOME_SERVER_ERROR, 1500, 7, NOW);
    assert_int_equal(view_of(w).until_ms, NOW + 1500);
}

static void a_retry_after_of_days_is_cut_to_five_minutes_and_one_of_zero_is_none(void **state)
{
    (void)state;
    assert_int_equal(
        view_of(breaker_next(0, &policy, OUTCOME_RATE_LIMIT, INT64_MAX, 7, NOW)).until_ms,
        NOW + 300000);
    assert_int_equal(view_of(breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 0, 7, NOW)).state,
                     BREAKER_CLOSED);
    assert_int_equal(view_of(breaker_next(0, &policy, OUTCOME_RATE_LIMIT, INT64_MIN, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void a_retry_after_of_another_failure_is_not_believed(void **state)
{
    (void)state;
    assert_int_equal(view_of(breaker_next(0, &policy, OUTCOME_AUTH, 42000, 7, NOW)).state,
                     BREAKER_CLOSED);
}

static void a_success_from_before_does_not_end_a_rest_that_a_429_began(void **state)
{
    uint64_t w = breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 42000, 7, NOW);

    (void)state;
    assert_true(next(w, OUTCOME_OK, NOW + 100) == w);
    assert_int_equal(view_of(next(w, OUTCOME_OK, NOW + 42000)).state, BREAKER_CLOSED);
}

static void a_success_ends_any_other_rest(void **state)
{
    (void)state;
    assert_int_equal(view_of(next(cooling_word(), OUTCOME_OK, NOW + 1)).state, BREAKER_CLOSED);
}

/* Ten uploads were under way when it went down: that is one outage, not ten. */
static void late_failures_of_one_outage_do_not_prolong_the_rest(void **state)
{
    uint64_t w = cooling_word(), until = view_of(w).until_ms;

    (void)state;
    for (int i = 0; i < 6; i++)
        w = next(w, OUTCOME_BROKEN, NOW + 1000);
    assert_int_equal(view_of(w).until_ms, until);
    assert_int_equal(view_of(w).rounds, 1);
    assert_int_equal(view_of(w).reason, OUTCOME_SERVER_ERROR);
    assert_int_equal(view_of(w).failures, 10);
}

static void a_later_end_named_during_a_rest_prolongs_it_and_an_earlier_one_does_not(void **state)
{
    uint64_t w = breaker_next(0, &policy, OUTCOME_RATE_LIMIT, 20000, 7, NOW);

    (void)state;
    w = breaker_next(w, &policy, OUTCOME_RATE_LIMIT, 5000, 7, NOW + 1000);
    assert_int_equal(view_of(w).until_ms, NOW + 20000);
    w = breaker_next(w, &policy, OUTCOME_RATE_LIMIT, 30000, 7, NOW + 1000);
    assert_int_equal(view_of(w).until_ms, NOW + 31000);
    assert_int_equal(view_of(w).rounds, 1);
}

static void each_rest_in_a_row_is_about_twice_as_long_up_to_five_minutes(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 200; seed++) {
        uint64_t now = NOW, w = 0, expected = 5000;

        for (int i = 0; i < 3; i++)
            w = breaker_next(w, &policy, OUTCOME_CONNECT, -1, seed, now);
        for (uint32_t round = 1; round <= 100; round++) {
            uint64_t rest;

            w = breaker_next(w, &policy, OUTCOME_CONNECT, -1, seed, now);
            rest = view_of(w).until_ms - now;
            assert_int_equal(view_of(w).state, BREAKER_OPEN);
            assert_int_equal(view_of(w).rounds, round < 63 ? round : 63);
            assert_in_range(rest, expected * 8 / 10,
                            expected * 12 / 10 < 300000 ? expected * 12 / 10 : 300000);
            expected = expected * 2 < 300000 ? expected * 2 : 300000;
            now = view_of(w).until_ms;
        }
    }
}

static void deployments_that_failed_together_do_not_come_back_together(void **state)
{
    uint64_t least = UINT64_MAX, most = 0;

    (void)state;
    for (uint32_t seed = 0; seed < 32; seed++) {
        uint64_t w = 0, until;

        for (int i = 0; i < 4; i++)
            w = breaker_next(w, &policy, OUTCOME_CONNECT, -1, seed, NOW);
        until = view_of(w).until_ms;
        least = until < least ? until : least;
        most = until > most ? until : most;
    }
    assert_true(most - least > 1000);
}

static void a_rest_over_admits_one_probe_that_closes_or_rests_again(void **state)
{
    uint64_t later = view_of(cooling_word()).until_ms;

    (void)state;
    atomic_store(&health, cooling_word());
    assert_false(breaker_enter(&health, later - 1));
    assert_true(breaker_enter(&health, later));
    assert_int_equal(view_of(health).state, BREAKER_HALF_OPEN);
    assert_false(breaker_admits(health, later));
    assert_false(breaker_enter(&health, later));
    assert_int_equal(view_of(next(health, OUTCOME_OK, later + 9)).state, BREAKER_CLOSED);
    assert_int_equal(view_of(next(health, OUTCOME_OK, later + 9)).rounds, 0);
    assert_int_equal(view_of(next(health, OUTCOME_TIMEOUT, later + 9)).state, BREAKER_OPEN);
    assert_int_equal(view_of(next(health, OUTCOME_TIMEOUT, later + 9)).rounds, 2);
}

static void a_probe_given_back_is_free_at_once(void **state)
{
    uint64_t later = NOW + 1000000;

    (void)state;
    atomic_store(&health, cooling_word());
    assert_true(breaker_enter(&health, later));
    atomic_store(&health, next(health, OUTCOME_CANCELLED, later + 5));
    assert_int_equal(view_of(health).state, BREAKER_OPEN);
    assert_true(breaker_enter(&health, later + 5));
    assert_false(breaker_enter(&health, later + 5));
}

static void a_prober_that_never_comes_back_is_replaced_after_a_minute(void **state)
{
    uint64_t later = NOW + 1000000;

    (void)state;
    atomic_store(&health, cooling_word());
    assert_true(breaker_enter(&health, later));
    assert_false(breaker_enter(&health, later + 59999));
    assert_true(breaker_enter(&health, later + 60000));
    assert_false(breaker_enter(&health, later + 60000));
}

static void a_change_of_state_is_told_once_with_both_sides(void **state)
{
    struct breaker_view before, after;

    (void)state;
    atomic_store(&health, 0);
    for (int i = 0; i < 3; i++)
        assert_false(
            breaker_record(&health, &policy, OUTCOME_CONNECT, -1, 7, NOW, &before, &after));
    assert_true(breaker_record(&health, &policy, OUTCOME_CONNECT, -1, 7, NOW, &before, &after));
    assert_int_equal(before.state, BREAKER_CLOSED);
    assert_int_equal(before.failures, 3);
    assert_int_equal(after.state, BREAKER_OPEN);
    assert_int_equal(after.failures, 4);
    assert_false(breaker_record(&health, &policy, OUTCOME_CONNECT, -1, 7, NOW, &before, &after));
    assert_true(breaker_record(&health, &policy, OUTCOME_OK, -1, 7, NOW, &before, &after));
    assert_int_equal(after.state, BREAKER_CLOSED);
    assert_false(breaker_record(&health, &policy, OUTCOME_OK, -1, 7, NOW, &before, &after));
}

/* From any word that can be reached, each outcome at each time leads to a word in which everything
 * holds. */
static void check_any_sequence(const struct breaker_policy *p)
{
    static const int64_t waits[] = {-1, 0, 1, 300001};
    uint64_t now = NOW, w = 0;
    uint32_t x = 1;

    for (int i = 0; i < 200000; i++) {
        struct breaker_view v;

        x = x * 1664525u + 1013904223u;
        now += x >> 29 == 0 ? 400000 : x >> 16 & 0xfff;
        atomic_store(&health, w);
        if (x >> 8 & 1)
            breaker_enter(&health, now);
        w = breaker_next(health, p, (enum outcome)((x >> 9) % OUTCOME_COUNT), waits[x >> 20 & 3], x,
                         now);
        v = view_of(w);
        assert_true(breaker_admits(w, now + 300000));
        assert_true(v.until_ms <= now + 300000);
        assert_true((v.state == BREAKER_CLOSED) == (v.rounds == 0));
        assert_true(v.state != BREAKER_CLOSED || (v.failures <= 3 && v.until_ms == 0 && !v.firm));
        assert_true(v.minute_failures <= v.minute_tries);
        assert_true(!p->per_minute || v.minute_failures <= 3);
        assert_true(v.state == BREAKER_CLOSED || v.minute_tries == 0);
    }
}

static void no_sequence_of_outcomes_leaves_a_deployment_out_for_ever(void **state)
{
    struct breaker_policy p = policy;

    (void)state;
    check_any_sequence(&p);
    p.rate_percent = 50;
    p.rate_min = 5;
    check_any_sequence(&p);
    p.per_minute = true;
    check_any_sequence(&p);
    p.rate_percent = 0;
    check_any_sequence(&p);
}

static void every_state_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(breaker_state_name(BREAKER_CLOSED), "closed");
    assert_string_equal(breaker_state_name(BREAKER_OPEN), "open");
    assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "half-open");
    assert_string_equal(breaker_state_name((enum breaker_state)3), "unknown");
}

/* --- at the same time --- */

#define LATER (NOW + 1000000u)

static void do_enter(struct process *self)
{
    self->result = breaker_enter(&health, LATER);
}

static void do_record(struct process *self)
{
    self->result =
        breaker_record(&health, &policy, self->outcome, -1, 7, LATER, &self->before, &self->after);
}

static void do_enter_and_record(struct process *self)
{
    self->result = breaker_enter(&health, LATER);
    if (self->result)
        breaker_record(&health, &policy, self->outcome, -1, 7, LATER, &self->before, &self->after);
}

static void crew(int nth, void (*body)(struct process *), enum outcome outcome, int kill_after)
{
    processes[nth].body = body;
    processes[nth].outcome = outcome;
    processes[nth].kill_after = kill_after;
}

static int num_true(int num)
{
    int n = 0;

    for (int i = 0; i < num; i++)
        n += processes[i].result;
    return n;
}

static void check_one_prober(int num)
{
    assert_int_equal(num_true(num), 1);
    assert_int_equal(view_of(health).state, BREAKER_HALF_OPEN);
}

static void of_all_that_find_a_rest_over_exactly_one_becomes_the_prober(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_enter, OUTCOME_OK, -1);
    assert_int_equal(in_every_order(2, cooling_word(), check_one_prober), 6);
    assert_int_equal(in_every_order(3, cooling_word(), check_one_prober), 66);
}

static void check_all_enter(int num)
{
    assert_int_equal(num_true(num), num);
    assert_true(health == 0);
}

static void a_deployment_that_is_up_admits_all_and_is_not_written_to(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_enter, OUTCOME_OK, -1);
    in_every_order(3, 0, check_all_enter);
}

static void check_three_counted(int num)
{
    int told = 0;

    assert_int_equal(view_of(health).failures, 5);
    assert_int_equal(view_of(health).state, BREAKER_OPEN);
    assert_int_equal(view_of(health).rounds, 1);
    for (int i = 0; i < num; i++)
        told += processes[i].result;
    assert_int_equal(told, 1);
}

static void no_failure_of_many_at_once_is_lost_and_one_alone_tells_the_rest(void **state)
{
    uint64_t two = next(next(0, OUTCOME_CONNECT, LATER), OUTCOME_CONNECT, LATER);

    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_record, OUTCOME_CONNECT, -1);
    assert_in_range(in_every_order(3, two, check_three_counted), 90, 10000);
}

static void check_all_counted(int num)
{
    assert_int_equal(view_of(health).state, BREAKER_CLOSED);
    assert_int_equal(view_of(health).minute_tries, 4 + num);
    assert_int_equal(view_of(health).minute_failures, 2);
}

/* What fails and what succeeds at the same time comes into the same minute. */
static void no_try_of_many_at_once_is_missing_in_the_minute(void **state)
{
    const struct breaker_policy before = policy;
    uint64_t w = 0;

    (void)state;
    policy.rate_percent = 50;
    policy.rate_min = 5;
    for (int i = 0; i < 4; i++)
        w = next(w, i == 0 ? OUTCOME_TIMEOUT : OUTCOME_OK, LATER);
    crew(0, do_record, OUTCOME_OK, -1);
    crew(1, do_record, OUTCOME_CONNECT, -1);
    crew(2, do_record, OUTCOME_OK, -1);
    in_every_order(3, w, check_all_counted);
    policy = before;
}

static void check_minute_after_death(int num)
{
    (void)num;
    assert_int_equal(view_of(health).state, BREAKER_CLOSED);
    assert_in_range(view_of(health).minute_tries, 2, 3);
    assert_int_equal(view_of(health).minute_failures, view_of(health).minute_tries - 1);
}

/* One of them dies: its try is in the minute, or it is not; nothing else is lost. */
static void a_process_that_dies_leaves_the_minute_whole(void **state)
{
    const struct breaker_policy before = policy;

    (void)state;
    policy.rate_percent = 50;
    policy.rate_min = 5;
    for (int kill_after = 0; kill_after < 4; kill_after++) {
        crew(0, do_record, OUTCOME_CONNECT, kill_after);
        crew(1, do_record, OUTCOME_CONNECT, -1);
        in_every_order(2, next(0, OUTCOME_OK, LATER), check_minute_after_death);
    }
    policy = before;
}

/* A probe that failed at once: the others, whenever they look, find it probing or cooling_down again. */
static void check_failed_probe(int num)
{
    assert_int_equal(num_true(num), 1);
    assert_int_equal(view_of(health).state, BREAKER_OPEN);
    assert_int_equal(view_of(health).rounds, 2);
}

static void a_failed_probe_keeps_the_others_out(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_enter_and_record, OUTCOME_CONNECT, -1);
    in_every_order(3, cooling_word(), check_failed_probe);
}

static void check_good_probe(int num)
{
    assert_true(num_true(num) >= 1);
    assert_int_equal(view_of(health).state, BREAKER_CLOSED);
    assert_int_equal(view_of(health).failures, 0);
}

static void a_good_probe_lets_everybody_in_again(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_enter_and_record, OUTCOME_OK, -1);
    in_every_order(3, cooling_word(), check_good_probe);
}

/* One of them dies; the word is whole, and a minute later it is free for exactly one again. */
static void check_death(int num)
{
    assert_true(num_true(num) <= 1);
    assert_true(view_of(health).state == BREAKER_HALF_OPEN ||
                view_of(health).state == BREAKER_OPEN);
    assert_true(breaker_enter(&health, LATER + 60000));
    assert_false(breaker_enter(&health, LATER + 60000));
}

static void a_process_that_dies_at_any_step_blocks_nobody_for_long(void **state)
{
    (void)state;
    for (int kill_after = 0; kill_after < 5; kill_after++) {
        crew(0, do_enter_and_record, OUTCOME_CONNECT, kill_after);
        crew(1, do_enter_and_record, OUTCOME_CONNECT, -1);
        crew(2, do_enter, OUTCOME_OK, -1);
        in_every_order(3, cooling_word(), check_death);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_word_is_up_and_admits),
        cmocka_unit_test(what_is_packed_is_unpacked_and_what_is_too_great_is_cut),
        cmocka_unit_test(three_failures_in_a_row_are_forgiven_and_the_fourth_begins_a_rest),
        cmocka_unit_test(a_success_between_failures_starts_the_count_anew),
        cmocka_unit_test(a_cancelled_try_counts_neither_way),
        cmocka_unit_test(without_allowed_fails_the_first_failure_begins_a_rest),
        cmocka_unit_test(each_kind_of_failure_has_a_number_of_its_own),
        cmocka_unit_test(where_the_operator_says_nothing_a_refused_key_alone_begins_a_rest),
        cmocka_unit_test(
            where_the_operator_says_nothing_more_than_half_of_five_tries_begins_a_rest),
        cmocka_unit_test(where_rests_are_disabled_nothing_begins_one),
        cmocka_unit_test(where_rests_are_disabled_a_rest_from_before_ends_with_the_next_try),
        cmocka_unit_test(
            a_row_with_a_time_of_its_own_rests_for_that_whatever_its_provider_asks_for),
        cmocka_unit_test(with_a_number_per_minute_successes_between_do_not_help),
        cmocka_unit_test(a_share_of_failures_begins_a_rest_only_above_half_and_from_five_tries_on),
        cmocka_unit_test(a_share_is_of_one_minute_and_a_rest_for_it_is_sat_out),
        cmocka_unit_test(a_minute_of_very_many_tries_keeps_its_share),
        cmocka_unit_test(where_nobody_asks_for_a_share_successes_are_not_written_down),
        cmocka_unit_test(a_cooldown_time_of_none_means_no_rests_but_those_asked_for),
        cmocka_unit_test(a_cooldown_time_above_five_minutes_is_kept_but_not_grown),
        cmocka_unit_test(a_throttled_deployment_rests_for_as_long_as_retry_after_says),
        cmocka_unit_test(a_retry_after_of_days_is_cut_to_five_minutes_and_one_of_zero_is_none),
        cmocka_unit_test(a_retry_after_of_another_failure_is_not_believed),
        cmocka_unit_test(a_success_from_before_does_not_end_a_rest_that_a_429_began),
        cmocka_unit_test(a_success_ends_any_other_rest),
        cmocka_unit_test(late_failures_of_one_outage_do_not_prolong_the_rest),
        cmocka_unit_test(a_later_end_named_during_a_rest_prolongs_it_and_an_earlier_one_does_not),
        cmocka_unit_test(each_rest_in_a_row_is_about_twice_as_long_up_to_five_minutes),
        cmocka_unit_test(deployments_that_failed_together_do_not_come_back_together),
        cmocka_unit_test(a_rest_over_admits_one_probe_that_closes_or_rests_again),
        cmocka_unit_test(a_probe_given_back_is_free_at_once),
        cmocka_unit_test(a_prober_that_never_comes_back_is_replaced_after_a_minute),
        cmocka_unit_test(a_change_of_state_is_told_once_with_both_sides),
        cmocka_unit_test(no_sequence_of_outcomes_leaves_a_deployment_out_for_ever),
        cmocka_unit_test(every_state_has_a_name),
        cmocka_unit_test(of_all_that_find_a_rest_over_exactly_one_becomes_the_prober),
        cmocka_unit_test(a_deployment_that_is_up_admits_all_and_is_not_written_to),
        cmocka_unit_test(no_failure_of_many_at_once_is_lost_and_one_alone_tells_the_rest),
        cmocka_unit_test(no_try_of_many_at_once_is_missing_in_the_minute),
        cmocka_unit_test(a_process_that_dies_leaves_the_minute_whole),
        cmocka_unit_test(a_failed_probe_keeps_the_others_out),
        cmocka_unit_test(a_good_probe_lets_everybody_in_again),
        cmocka_unit_test(a_process_that_dies_at_any_step_blocks_nobody_for_long),
    };

    policy = breaker_policy(3, 5000);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
