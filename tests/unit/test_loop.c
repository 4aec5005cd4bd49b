/* loop_h2o over a real evloop. Nothing waits for wall time but for timers of a few milliseconds:
 * what is tested is their order, and what callbacks may do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/clock.h"
#include "core/loop_h2o.h"

struct fixture {
    h2o_evloop_t *evloop;
    struct loop *loop;
    int order[2048]; /* what fired, in order */
    size_t fired;
    unsigned turns;
};

struct probe {
    struct loop_timer timer;
    struct fixture *f;
    int id;
    struct probe *victim; /* stopped by the callback; NULL: nobody */
    unsigned restarts;    /* how often the callback starts its own timer again */
    uint64_t restart_ms;
    unsigned turn_fired;
};

static void on_probe(struct loop_timer *timer)
{
    struct probe *p = timer->arg;

    p->f->order[p->f->fired++] = p->id;
    p->turn_fired = p->f->turns;
    if (p->victim != NULL)
        loop_timer_stop(p->f->loop, &p->victim->timer);
    if (p->restarts > 0) {
        p->restarts--;
        assert_int_equal(loop_timer_start(p->f->loop, timer, p->restart_ms), 0);
    }
}

static void probe_init(struct probe *p, struct fixture *f, int id)
{
    *p = (struct probe){.timer = {.cb = on_probe, .arg = p}, .f = f, .id = id};
}

static void turn(struct fixture *f, int32_t max_wait_ms)
{
    f->turns++;
    assert_int_equal(h2o_evloop_run(f->evloop, max_wait_ms), 0);
}

/* Until so many have fired; the deadline only fails. */
static void run_until(struct fixture *f, size_t fired)
{
    uint64_t deadline_ms = clock_now_ms() + 20000;

    while (f->fired < fired) {
        assert_true(clock_now_ms() < deadline_ms);
        turn(f, 1000);
    }
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->evloop = h2o_evloop_create();
    f->loop = loop_h2o_new(f->evloop);
    assert_non_null(f->loop);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    loop_h2o_free(f->loop);
    h2o_evloop_destroy(f->evloop);
    free(f);
    return 0;
}

static void timers_fire_in_the_order_of_their_times(void **state)
{
    struct fixture *f = *state;
    static const uint64_t delays[] = {9, 3, 6, 0, 12};
    static const int expected[] = {3, 1, 2, 0, 4};
    struct probe p[5];

    for (int i = 0; i < 5; i++) {
        probe_init(&p[i], f, i);
        assert_int_equal(loop_timer_start(f->loop, &p[i].timer, delays[i]), 0);
    }
    run_until(f, 5);
    assert_memory_equal(f->order, expected, sizeof(expected));
}

static void timers_of_one_millisecond_fire_in_the_order_of_their_starts(void **state)
{
    struct fixture *f = *state;
    struct probe p[100];

    for (int i = 0; i < 100; i++) {
        probe_init(&p[i], f, i);
        assert_int_equal(loop_timer_start(f->loop, &p[i].timer, 0), 0);
    }
    run_until(f, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(f->order[i], i);
}

static void a_timer_never_fires_before_its_time(void **state)
{
    struct fixture *f = *state;
    uint64_t start_ms;
    struct probe p;

    probe_init(&p, f, 1);
    loop_h2o_turn(f->loop);
    start_ms = loop_now_ms(f->loop);
    assert_int_equal(loop_timer_start(f->loop, &p.timer, 20), 0);
    assert_int_equal(f->fired, 0);
    run_until(f, 1);
    assert_true(clock_now_ms() >= start_ms + 20);
    assert_true(p.timer.due_ms == start_ms + 20);
}

static void a_stopped_timer_stays_silent(void **state)
{
    struct fixture *f = *state;
    struct probe a, b;

    probe_init(&a, f, 1);
    probe_init(&b, f, 2);
    loop_timer_stop(f->loop, &a.timer); /* never started: fine */
    assert_int_equal(loop_timer_start(f->loop, &a.timer, 1), 0);
    assert_int_equal(loop_timer_start(f->loop, &b.timer, 5), 0);
    loop_timer_stop(f->loop, &a.timer);
    loop_timer_stop(f->loop, &a.timer);
    run_until(f, 1);
    assert_int_equal(f->order[0], 2);
    assert_int_equal(a.timer.slot, 0);
}

static void a_callback_may_stop_a_timer_of_its_own_batch(void **state)
{
    struct fixture *f = *state;
    struct probe p[3];

    for (int i = 0; i < 3; i++) {
        probe_init(&p[i], f, i);
        assert_int_equal(loop_timer_start(f->loop, &p[i].timer, 0), 0);
    }
    p[0].victim = &p[1];
    run_until(f, 2);
    turn(f, 0);
    assert_int_equal(f->fired, 2);
    assert_int_equal(f->order[1], 2);
}

static void a_callback_that_starts_its_own_timer_at_once_runs_on_another_turn(void **state)
{
    struct fixture *f = *state;
    struct probe p;
    unsigned first;

    probe_init(&p, f, 7);
    p.restarts = 1;
    assert_int_equal(loop_timer_start(f->loop, &p.timer, 0), 0);
    run_until(f, 1);
    first = p.turn_fired;
    assert_int_equal(f->fired, 1);
    run_until(f, 2);
    assert_true(p.turn_fired > first);
}

static void a_batch_may_start_timers_for_now_and_for_later(void **state)
{
    struct fixture *f = *state;
    struct probe now, later, between;

    probe_init(&now, f, 1);
    probe_init(&later, f, 2);
    probe_init(&between, f, 3);
    now.restarts = 50;
    later.restarts = 3;
    later.restart_ms = 2;
    assert_int_equal(loop_timer_start(f->loop, &between.timer, 1), 0);
    assert_int_equal(loop_timer_start(f->loop, &now.timer, 0), 0);
    assert_int_equal(loop_timer_start(f->loop, &later.timer, 0), 0);
    run_until(f, 51 + 4 + 1);
    turn(f, 0);
    assert_int_equal(f->fired, 51 + 4 + 1);
}

static void a_timer_started_again_from_its_batch_fires_once(void **state)
{
    struct fixture *f = *state;
    struct probe first, second;

    /* `first` moves `second`, which is due in the same batch, to later. */
    probe_init(&first, f, 1);
    probe_init(&second, f, 2);
    first.victim = &second;
    assert_int_equal(loop_timer_start(f->loop, &first.timer, 0), 0);
    assert_int_equal(loop_timer_start(f->loop, &second.timer, 0), 0);
    run_until(f, 1);
    assert_int_equal(loop_timer_start(f->loop, &second.timer, 2), 0);
    assert_int_equal(loop_timer_start(f->loop, &second.timer, 4), 0);
    run_until(f, 2);
    turn(f, 10);
    assert_int_equal(f->fired, 2);
}

static void an_earlier_timer_overtakes_one_that_is_armed(void **state)
{
    struct fixture *f = *state;
    struct probe late, early;

    probe_init(&late, f, 1);
    probe_init(&early, f, 2);
    assert_int_equal(loop_timer_start(f->loop, &late.timer, 3600000), 0);
    assert_int_equal(loop_timer_start(f->loop, &early.timer, 2), 0);
    run_until(f, 1);
    assert_int_equal(f->order[0], 2);
    assert_int_not_equal(late.timer.slot, 0);
}

static void many_timers_fire_in_order_while_others_are_stopped(void **state)
{
    struct fixture *f = *state;
    enum { MANY = 2000 };
    struct probe *p = calloc(MANY, sizeof(*p));
    uint32_t random = 1;
    size_t stopped = 0;

    assert_non_null(p);
    for (int i = 0; i < MANY; i++) {
        random = random * 1664525u + 1013904223u;
        probe_init(&p[i], f, i);
        assert_int_equal(loop_timer_start(f->loop, &p[i].timer, (random >> 16) % 40), 0);
    }
    for (int i = 0; i < MANY; i += 3, stopped++)
        loop_timer_stop(f->loop, &p[i].timer);
    run_until(f, MANY - stopped);
    turn(f, 0);
    assert_int_equal(f->fired, MANY - stopped);
    for (size_t i = 0; i < f->fired; i++) {
        const struct probe *now = &p[f->order[i]];

        assert_int_not_equal(now->id % 3, 0);
        if (i > 0)
            assert_true(p[f->order[i - 1]].timer.due_ms <= now->timer.due_ms);
    }
    free(p);
}

static void the_clock_moves_with_the_turns_and_stands_still_within_one(void **state)
{
    struct fixture *f = *state;
    uint64_t before_ms = loop_now_ms(f->loop), deadline_ms = before_ms + 20000;

    while (clock_now_ms() < before_ms + 3)
        assert_true(clock_now_ms() < deadline_ms);
    assert_true(loop_now_ms(f->loop) == before_ms);
    turn(f, 0);
    assert_true(loop_now_ms(f->loop) >= before_ms + 3);
}

struct reader {
    int fd;
    unsigned calls;
    char last;
};

static void on_readable(void *arg)
{
    struct reader *r = arg;

    r->calls++;
    assert_int_equal(read(r->fd, &r->last, 1), 1);
}

static void a_watched_descriptor_is_reported_as_long_as_it_is_readable(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    struct reader r = {0};

    assert_int_equal(pipe(fds), 0);
    r.fd = fds[0];
    assert_int_equal(loop_watch(f->loop, fds[0], on_readable, &r), 0);
    turn(f, 0);
    assert_int_equal(r.calls, 0);
    assert_int_equal(write(fds[1], "ab", 2), 2);
    turn(f, 1000);
    turn(f, 1000);
    turn(f, 0);
    assert_int_equal(r.calls, 2);
    assert_int_equal(r.last, 'b');
    close(fds[1]); /* its other end is the loop's */
}

static void a_timer_that_always_starts_again_at_once_does_not_starve_a_descriptor(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    struct reader r = {0};
    struct probe p;

    assert_int_equal(pipe(fds), 0);
    r.fd = fds[0];
    assert_int_equal(loop_watch(f->loop, fds[0], on_readable, &r), 0);
    assert_int_equal(write(fds[1], "abc", 3), 3);
    probe_init(&p, f, 1);
    p.restarts = 2000;
    assert_int_equal(loop_timer_start(f->loop, &p.timer, 0), 0);
    for (int i = 0; i < 3; i++)
        turn(f, 1000);
    assert_int_equal(r.calls, 3);
    assert_true(f->fired >= 2 && f->fired <= 3); /* one batch a turn */
    close(fds[1]);
}

/* The first one arms the second one in each turn, before that has run. */
static struct probe *armed;

static void on_arm(struct loop_timer *timer)
{
    struct probe *p = timer->arg;

    assert_int_equal(loop_timer_soon(p->f->loop, &armed->timer), 0);
    on_probe(timer);
}

static void a_timer_that_is_armed_soon_again_and_again_runs_all_the_same(void **state)
{
    struct fixture *f = *state;
    struct probe first, second;

    probe_init(&first, f, 1);
    probe_init(&second, f, 2);
    first.timer.cb = on_arm;
    first.restarts = 5;
    armed = &second;
    assert_int_equal(loop_timer_start(f->loop, &first.timer, 0), 0);
    assert_int_equal(loop_timer_soon(f->loop, &second.timer), 0);
    run_until(f, 4);
    assert_int_equal(f->order[0], 1);
    assert_int_equal(f->order[1], 2);
    loop_timer_stop(f->loop, &first.timer);
    loop_timer_stop(f->loop, &second.timer);
}

static void a_timer_of_a_later_time_that_is_armed_soon_comes_at_once(void **state)
{
    struct fixture *f = *state;
    struct probe p;

    probe_init(&p, f, 1);
    assert_int_equal(loop_timer_start(f->loop, &p.timer, 100000), 0);
    assert_int_equal(loop_timer_soon(f->loop, &p.timer), 0);
    run_until(f, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(timers_fire_in_the_order_of_their_times),
        T(timers_of_one_millisecond_fire_in_the_order_of_their_starts),
        T(a_timer_never_fires_before_its_time),
        T(a_stopped_timer_stays_silent),
        T(a_callback_may_stop_a_timer_of_its_own_batch),
        T(a_callback_that_starts_its_own_timer_at_once_runs_on_another_turn),
        T(a_batch_may_start_timers_for_now_and_for_later),
        T(a_timer_that_always_starts_again_at_once_does_not_starve_a_descriptor),
        T(a_timer_started_again_from_its_batch_fires_once),
        T(an_earlier_timer_overtakes_one_that_is_armed),
        T(many_timers_fire_in_order_while_others_are_stopped),
        T(the_clock_moves_with_the_turns_and_stands_still_within_one),
        T(a_timer_that_is_armed_soon_again_and_again_runs_all_the_same),
        T(a_timer_of_a_later_time_that_is_armed_soon_comes_at_once),
        T(a_watched_descriptor_is_reported_as_long_as_it_is_readable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
