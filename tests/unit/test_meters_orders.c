/* meters, by several processes in every order of their steps, and with a death at each of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/interleave.h"

#define SHM_STEP() interleave_step()
#include "balancer/meters.c"

#define NOW   UINT64_C(1000000000)
#define LATE  (NOW + 2 * METERS_IDLE_MS)
#define LIMIT 2
#define SCOPE UINT64_C(0x5555666677778888)

static struct meters *m;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(meters_new(8, 16, &m), 0);
    world.region = m;
    world.size = m->region.size;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    meters_free(m);
    return 0;
}

/* All that is held at places of a scope; no steps, the scheduler asks. */
static uint64_t total(uint64_t scope, enum meters_gauge gauge)
{
    uint64_t sum = 0;

    for (uint32_t place = 0; place < m->places; place++)
        if (load_relaxed(word_of(m, place)) >> STAMP_BITS == scope >> STAMP_BITS)
            sum += held_at(m, place, gauge);
    return sum;
}

static void nothing(void)
{
}

/* --- gauges --- */

/* The flag: it has the place that it wanted. */
static void do_hold(struct process *self)
{
    uint32_t place = meters_find(m, SCOPE, NOW);

    assert_true(place != METERS_NO_PLACE);
    self->flag = meters_hold(m, holder_of_process(self), place, METERS_REQUESTS, 1, LIMIT);
}

static void do_hold_and_release(struct process *self)
{
    uint32_t place = meters_find(m, SCOPE, NOW);

    if (!meters_hold(m, holder_of_process(self), place, METERS_REQUESTS, 1, LIMIT))
        return;
    self->result = 1;
    meters_release(m, holder_of_process(self), place, METERS_REQUESTS, 1);
}

static void holders_add_up(int num)
{
    assert_true(num_flags(num) <= LIMIT);
    for (int i = 0; i < num; i++)
        if (processes[i].kill_after >= 0)
            meters_clear_holder(m, holder_of_process(&processes[i]));
    for (int i = 0; i < num; i++)
        if (processes[i].flag && processes[i].kill_after >= 0)
            processes[i].flag = false;
    assert_int_equal(total(SCOPE, METERS_REQUESTS), num_flags(num));
}

static void no_order_of_three_passes_a_limit_of_two(void **state)
{
    (void)state;
    world.always = nothing;
    for (int i = 0; i < 3; i++)
        crew(i, do_hold, -1);
    assert_true(in_every_order(3, 3, holders_add_up) > 100);
}

static void whoever_dies_at_any_step_leaves_nothing(void **state)
{
    (void)state;
    world.always = nothing;
    for (int step = 0; step < 24; step++) {
        crew(0, do_hold, step);
        crew(1, do_hold_and_release, -1);
        assert_true(in_every_order(2, 3, holders_add_up) > 1);
        crew(0, do_hold_and_release, step);
        crew(1, do_hold, -1);
        assert_true(in_every_order(2, 3, holders_add_up) > 1);
    }
}

/* --- places --- */

#define OTHERS 8

static uint64_t other(uint64_t nth)
{
    return (nth + 1) << 32;
}

static void do_find(struct process *self)
{
    self->result = (int)meters_find(m, SCOPE, LATE);
}

static void do_find_first_other(struct process *self)
{
    uint32_t place = meters_find(m, other(0), LATE);

    self->result = (int)place;
    if (place != METERS_NO_PLACE)
        self->flag = meters_hold(m, holder_of_process(self), place, METERS_UPLOADS, 1, LIMIT);
}

/* What is held is held for the scope that has the place. */
static void the_place_is_its_own(int num)
{
    for (int i = 0; i < num; i++) {
        if (processes[i].body != do_find_first_other || !processes[i].flag)
            continue;
        assert_int_equal(load_relaxed(word_of(m, (uint32_t)processes[i].result)) >> STAMP_BITS,
                         other(0) >> STAMP_BITS);
        assert_int_equal(total(other(0), METERS_UPLOADS), 1);
    }
    assert_int_equal(total(SCOPE, METERS_UPLOADS), 0);
}

static void two_that_bring_one_scope_find_one_place(int num)
{
    assert_int_equal(processes[0].result, processes[1].result);
    (void)num;
}

static void two_that_bring_a_new_scope_at_once_have_one_place(void **state)
{
    (void)state;
    world.always = nothing;
    crew(0, do_find, -1);
    crew(1, do_find, -1);
    assert_true(in_every_order(2, 8, two_that_bring_one_scope_find_one_place) > 10);
}

static void a_place_does_not_change_hands_under_who_comes_back(void **state)
{
    (void)state;
    world.always = nothing;
    for (uint64_t i = 0; i < OTHERS; i++) /* the bucket is full, all of them idle */
        assert_true(meters_find(m, other(i), NOW) != METERS_NO_PLACE);
    crew(0, do_find_first_other, -1);
    crew(1, do_find, -1);
    assert_true(in_every_order(2, 3, the_place_is_its_own) > 10);
}

/* --- rates --- */

static void do_pass(struct process *self)
{
    uint64_t wait_ms;

    self->flag = meters_pass(m, meters_find(m, SCOPE, NOW), METERS_PER_MINUTE, LIMIT, UINT64_MAX,
                             NOW, &wait_ms);
}

static void do_pass_and_unpass(struct process *self)
{
    uint32_t place = meters_find(m, SCOPE, NOW);
    uint64_t wait_ms;

    self->result = meters_pass(m, place, METERS_PER_MINUTE, LIMIT, UINT64_MAX, NOW, &wait_ms);
    if (self->result != 0)
        meters_unpass(m, place, METERS_PER_MINUTE, LIMIT);
}

static uint32_t room(void)
{
    uint32_t place = meters_find(m, SCOPE, NOW), n = 0;
    uint64_t wait_ms;

    while (meters_pass(m, place, METERS_PER_MINUTE, LIMIT, UINT64_MAX, NOW, &wait_ms))
        n++;
    return n;
}

static void just_two_of_three_pass(int num)
{
    assert_int_equal(num_flags(num), LIMIT);
    assert_int_equal(room(), 0);
}

static void just_the_two_that_stay_are_counted(int num)
{
    assert_true(num_flags(num) <= LIMIT);
    assert_int_equal(room(), LIMIT - num_flags(num));
}

static void a_rate_is_exact_whoever_comes_between(void **state)
{
    (void)state;
    world.always = nothing;
    for (int i = 0; i < 3; i++)
        crew(i, do_pass, -1);
    assert_true(in_every_order(3, 3, just_two_of_three_pass) > 100);
    crew(2, do_pass_and_unpass, -1);
    assert_true(in_every_order(3, 3, just_the_two_that_stay_are_counted) > 100);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(no_order_of_three_passes_a_limit_of_two),
        T(whoever_dies_at_any_step_leaves_nothing),
        T(two_that_bring_a_new_scope_at_once_have_one_place),
        T(a_place_does_not_change_hands_under_who_comes_back),
        T(a_rate_is_exact_whoever_comes_between),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
