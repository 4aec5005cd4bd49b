/* breaker: its compare-and-swap loops run here in every order that several processes could run
 * them in. breaker.c is compiled into this file with its two atomic operations as points at which a
 * scheduler decides who goes on, or dies. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/breaker.h"
#include "common/shm_words.h"

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

#define load_relaxed(w)               step_load(w)
#define cas_weak_relaxed(w, old, new) step_exchange(w, old, new)
#include "balancer/breaker.c"

#include "breaker_world.h"

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

/* A probe that failed at once: the others, whenever they look, find it half-open or open again. */
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
