/* The queue of what is too long for one turn: one slice a turn, first come, first served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "core/slices.h"

static struct loop_timer *timer; /* the one that runs */
static uint64_t rest_ms;         /* its delay */

static int do_timer_start(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
    (void)loop;
    rest_ms = delay_ms;
    timer = t;
    return 0;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *t)
{
    (void)loop;
    if (timer == t)
        timer = NULL;
}

static const struct loop_ops ops = {.timer_start = do_timer_start, .timer_stop = do_timer_stop};
static struct loop loop = {.ops = &ops};
static struct slices slices;
static char order[32]; /* names of those that ran */

struct job {
    struct slice slice;
    char name;
    unsigned more;      /* slices after the next one */
    struct job *victim; /* whom it removes; NULL: nobody */
    uint64_t work_us;   /* how long it takes */
};

static void on_slice(struct slice *slice)
{
    struct job *job = slice->arg;
    uint64_t until_us = clock_now_us() + job->work_us;

    while (clock_now_us() < until_us)
        ;
    order[strlen(order)] = job->name;
    if (job->victim != NULL)
        slices_remove(&slices, &job->victim->slice);
    if (job->more > 0) {
        job->more--;
        assert_int_equal(slices_add(&slices, &loop, slice), 0);
    }
}

static void add(struct job *job, char name, unsigned more)
{
    *job = (struct job){
        .slice = {.cb = on_slice, .arg = job}, .name = name, .more = more, .victim = job->victim};
    assert_int_equal(slices_add(&slices, &loop, &job->slice), 0);
}

static void run(void)
{
    while (timer != NULL) {
        struct loop_timer *t = timer;
        size_t before = strlen(order);

        timer = NULL;
        t->cb(t);
        assert_int_equal(strlen(order), before + 1);
    }
}

static int set_up(void **state)
{
    (void)state;
    memset(order, 0, sizeof(order));
    return 0;
}

static void each_turn_runs_one_slice_and_all_go_round(void **state)
{
    struct job a = {0}, b = {0}, c = {0};

    (void)state;
    add(&a, 'a', 2);
    add(&b, 'b', 0);
    add(&c, 'c', 1);
    run();
    assert_string_equal(order, "abcaca");
}

static void one_that_waits_keeps_its_place(void **state)
{
    struct job a = {0}, b = {0};

    (void)state;
    add(&a, 'a', 0);
    add(&b, 'b', 0);
    assert_int_equal(slices_add(&slices, &loop, &a.slice), 0);
    run();
    assert_string_equal(order, "ab");
}

static void one_that_was_removed_does_not_run(void **state)
{
    struct job a = {0}, b = {0}, c = {0};

    (void)state;
    a.victim = &b;
    add(&a, 'a', 0);
    add(&b, 'b', 0);
    add(&c, 'c', 0);
    slices_remove(&slices, &c.slice);
    slices_remove(&slices, &c.slice);
    run();
    assert_string_equal(order, "a");
    add(&c, 'c', 0);
    run();
    assert_string_equal(order, "ac");
}

static void an_empty_queue_costs_no_turn(void **state)
{
    struct job a = {0};

    (void)state;
    add(&a, 'a', 0);
    assert_non_null(timer);
    slices_remove(&slices, &a.slice);
    assert_null(timer);
}

/* An answer to somebody else takes several turns: it came between two long slices at most. */
static void a_slice_that_took_long_is_followed_by_as_long_a_rest(void **state)
{
    struct job a = {.victim = NULL}, b = {.victim = NULL};

    (void)state;
    add(&a, 'a', 0);
    add(&b, 'b', 0);
    a.work_us = 10000;
    timer->cb(timer);
    assert_string_equal(order, "a");
    assert_in_range(rest_ms, 10, SLICES_REST_MS);
    run();
    assert_string_equal(order, "ab");
}

static void add_to(struct slice_flow *flow, struct job *job, char name, unsigned more)
{
    *job = (struct job){.slice = {.cb = on_slice, .arg = job, .flow = flow},
                        .name = name,
                        .more = more,
                        .victim = job->victim};
    assert_int_equal(slices_add(&slices, &loop, &job->slice), 0);
}

static void tenants_take_turns_however_many_slices_one_has(void **state)
{
    struct slice_flow ann = {0}, ben = {0};
    struct job a[5] = {{.more = 0}}, b = {0}, c = {0};

    (void)state;
    for (int i = 0; i < 5; i++)
        add_to(&ann, &a[i], (char)('1' + i), i == 0 ? 1 : 0);
    add_to(&ben, &b, 'b', 2);
    add(&c, 'c', 0); /* of nobody */
    assert_true(slices_wait(&slices, &ann) && slices_wait(&slices, &ben));
    assert_true(slices_wait(&slices, NULL));
    run();
    assert_string_equal(order, "1bc2b3b451");
    assert_false(slices_wait(&slices, &ann) || slices_wait(&slices, NULL));
    assert_null(slices.first);
}

static void a_flow_of_which_all_were_removed_takes_no_turn(void **state)
{
    struct slice_flow ann = {0}, ben = {0};
    struct job a = {0}, b = {0}, c = {0};

    (void)state;
    add_to(&ann, &a, 'a', 0);
    add_to(&ben, &b, 'b', 0);
    a.victim = &b; /* in the midst of its turn */
    add(&c, 'c', 0);
    run();
    assert_string_equal(order, "ac");
    assert_false(slices_wait(&slices, &ben));
    add_to(&ben, &b, 'b', 0);
    slices_remove(&slices, &b.slice);
    assert_null(slices.first);
    assert_null(timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_turn_runs_one_slice_and_all_go_round, set_up),
        cmocka_unit_test_setup(one_that_waits_keeps_its_place, set_up),
        cmocka_unit_test_setup(one_that_was_removed_does_not_run, set_up),
        cmocka_unit_test_setup(an_empty_queue_costs_no_turn, set_up),
        cmocka_unit_test_setup(tenants_take_turns_however_many_slices_one_has, set_up),
        cmocka_unit_test_setup(a_flow_of_which_all_were_removed_takes_no_turn, set_up),
        cmocka_unit_test_setup(a_slice_that_took_long_is_followed_by_as_long_a_rest, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
