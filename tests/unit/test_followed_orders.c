/* followed in many orders of steps, with the keeper's death at every step: what is read is one state
 * of the row, whole, never a mixture and never nothing of a batch that is followed before and after;
 * and the next keeper finds nothing left half done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/interleave.h"

#define TEXTS      2u
#define SHM_STEP() interleave_step()
#include "balancer/followed.c"

static struct followed *f;
static uint32_t turn;

/* All members say the same number. */
static struct followed_row row_of(uint32_t number)
{
    struct followed_row row = {.account = FOLLOWED_JOURNAL,
                               .native = "batch_q",
                               .owner = 7,
                               .state = number % 2 == 0 ? FOLLOWED_WAITS : FOLLOWED_RUNS,
                               .at = {.account = number, .deployment = number},
                               .created_s = number,
                               .position = number,
                               .finished_s = number};

    snprintf(row.at.native, sizeof(row.at.native), "batch_at_%u", number);
    snprintf(row.output_file, sizeof(row.output_file), "file-%u", number);
    return row;
}

static void check_row(const struct followed_row *row)
{
    struct followed_row expected = row_of(row->position);

    assert_int_equal(row->created_s, expected.created_s);
    assert_int_equal(row->finished_s, expected.finished_s);
    assert_int_equal(row->state, expected.state);
    assert_string_equal(row->at.native, expected.at.native);
    assert_string_equal(row->output_file, expected.output_file);
}

static void check_always(void)
{
}

static void put_number(uint32_t number)
{
    struct followed_row row = row_of(number);
    char text[32];

    snprintf(text, sizeof(text), "{\"n\":%u}", number);
    assert_int_equal(followed_put(f, turn, &row, text, strlen(text)), 0);
}

static void start(void)
{
    followed_free(f);
    assert_int_equal(followed_new(2, &f), 0);
    turn = followed_claim(f);
    put_number(4);
    world = (struct world){.region = f, .size = f->region.size, .always = check_always};
}

static int teardown(void **state)
{
    (void)state;
    followed_free(f);
    f = NULL;
    return 0;
}

static void do_put(struct process *self)
{
    put_number(5);
    self->flag = true;
}

static void do_put_twice(struct process *self)
{
    put_number(5);
    put_number(6);
    self->flag = true;
}

static void do_remove(struct process *self)
{
    followed_remove(f, turn, FOLLOWED_JOURNAL, "batch_q");
    self->flag = true;
}

static void do_find(struct process *self)
{
    struct followed_row row;

    assert_true(followed_find(f, FOLLOWED_JOURNAL, "batch_q", &row));
    check_row(&row);
    self->flag = true;
}

static void do_find_or_not(struct process *self)
{
    struct followed_row row;
    char text[FOLLOWED_TEXT];

    if (followed_find(f, FOLLOWED_JOURNAL, "batch_q", &row))
        check_row(&row);
    if (followed_find_at(f, 4, "batch_at_4", &row))
        check_row(&row);
    if (followed_text(f, FOLLOWED_JOURNAL, "batch_q", text) > 0)
        assert_memory_equal(text, "{\"n\":", 5);
    self->flag = true;
}

static void check_later_one(int num)
{
    struct followed_row row;

    assert_int_equal(num_flags(num), num);
    assert_true(followed_find(f, FOLLOWED_JOURNAL, "batch_q", &row));
    assert_true(row.position >= 5);
}

static void who_reads_while_the_keeper_writes_reads_one_state(void **state)
{
    (void)state;
    start();
    crew(0, do_put, -1);
    crew(1, do_find, -1);
    assert_true(in_every_order(2, 3, check_later_one) > 50);
    crew(0, do_put_twice, -1);
    crew(1, do_find, -1);
    assert_true(in_every_order(2, 3, check_later_one) > 50);
}

static void check_gone(int num)
{
    struct followed_row row;

    assert_int_equal(num_flags(num), num);
    assert_false(followed_find(f, FOLLOWED_JOURNAL, "batch_q", &row));
    assert_int_equal(followed_counts(f).texts, 0);
}

static void a_row_that_goes_is_there_whole_or_not_at_all(void **state)
{
    (void)state;
    start();
    crew(0, do_remove, -1);
    crew(1, do_find_or_not, -1);
    assert_true(in_every_order(2, 3, check_gone) > 50);
}

/* The next keeper puts all that the database has, as one that is started again does. */
static void check_next_keeper(int num)
{
    struct followed_row row;
    char text[FOLLOWED_TEXT];

    (void)num;
    turn = followed_claim(f);
    assert_int_equal(followed_counts(f).rows, followed_find(f, FOLLOWED_JOURNAL, "batch_q", &row));
    put_number(8);
    followed_sweep(f, turn);
    assert_true(followed_find(f, FOLLOWED_JOURNAL, "batch_q", &row));
    check_row(&row);
    assert_true(followed_find_at(f, 8, "batch_at_8", &row));
    assert_false(followed_find_at(f, 4, "batch_at_4", &row));
    assert_false(followed_find_at(f, 5, "batch_at_5", &row));
    assert_int_equal(followed_text(f, FOLLOWED_JOURNAL, "batch_q", text), 7);
    assert_int_equal(followed_counts(f).rows, 1);
    assert_int_equal(followed_counts(f).texts, 1);
    followed_remove(f, turn, FOLLOWED_JOURNAL, "batch_q");
    assert_int_equal(followed_counts(f).rows, 0);
    assert_int_equal(followed_counts(f).texts, 0);
    turn--; /* the region is put back to what it was */
}

static void after_a_death_at_any_step_the_next_keeper_mends_all(void **state)
{
    (void)state;
    start();
    for (int kill_after = 0; kill_after < 40; kill_after++) {
        crew(0, do_put, kill_after);
        crew(1, do_find, -1);
        in_every_order(2, 1, check_next_keeper);
        crew(0, do_remove, kill_after);
        crew(1, do_find_or_not, -1);
        in_every_order(2, 1, check_next_keeper);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(who_reads_while_the_keeper_writes_reads_one_state, teardown),
        cmocka_unit_test_teardown(a_row_that_goes_is_there_whole_or_not_at_all, teardown),
        cmocka_unit_test_teardown(after_a_death_at_any_step_the_next_keeper_mends_all, teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
