/* registry in many orders of steps, with a death at every step: what is read is whole and its
 * owner's, of one key there is one row in the end, and whoever comes after a dead writer can put
 * and find the row. The table is compiled into this file with its atomic steps as interleave.h
 * wants them, and with so few rows that they collide. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/interleave.h"

#define REGISTRY_WAYS 1u
#define REGISTRY_LOG  128u
#define READ_ROUNDS   2
#define SHM_STEP()    interleave_step()
#include "balancer/registry.c"

#define NOW   1800000000
#define ALICE 11u
#define BOB   22u

static struct registry *r;

static struct registry_row file_of(uint64_t owner, const char *native, int64_t bytes)
{
    struct registry_row row = {.kind = ID_FILE,
                               .described = true,
                               .account = 7,
                               .owner = owner,
                               .created_s = NOW,
                               .bytes = bytes,
                               .purpose = "batch"};

    snprintf(row.native, sizeof(row.native), "%s", native);
    memset(row.filename, (int)('a' + bytes), 20);
    return row;
}

static void check_always(void)
{
}

static void start(uint32_t rows)
{
    registry_free(r);
    assert_int_equal(registry_new(rows, NOW, &r), 0);
    world = (struct world){.region = r, .size = r->region.size, .always = check_always};
}

static int teardown(void **state)
{
    (void)state;
    registry_free(r);
    r = NULL;
    return 0;
}

/* --- bodies --- */

static void do_put(struct process *self)
{
    struct registry_row row = file_of(ALICE, "file-1", self - processes);

    self->result = registry_put(r, &row, NOW);
    self->flag = true;
    assert_true(holder_of_process(self) >= 10);
}

static void do_put_of_bob(struct process *self)
{
    struct registry_row row = file_of(BOB, "file-2", 5);

    self->result = registry_put(r, &row, NOW);
    self->flag = true;
}

static void do_remove(struct process *self)
{
    (void)self;
    registry_remove(r, ID_FILE, 7, "file-1");
}

/* All that is read fits together. */
static void check_row(const struct registry_row *row)
{
    struct registry_row expected = file_of(row->owner, row->native, row->bytes);

    assert_true(row->owner == (strcmp(row->native, "file-1") == 0 ? ALICE : BOB));
    assert_memory_equal(&expected, row, sizeof(expected));
}

static void do_look(struct process *self)
{
    struct registry_page page = {.owner = ALICE, .kind = ID_FILE, .purpose = "", .max = 4};
    struct registry_row row;

    (void)self;
    if (registry_find(r, ID_FILE, 7, "file-1", &row))
        check_row(&row);
    assert_int_equal(registry_gather(r, &page, UINT32_MAX), 0);
    for (size_t i = 0; i < page.num; i++)
        if (registry_at(r, &page, &page.places[i], &row))
            check_row(&row);
    registry_page_deinit(&page);
}

/* --- in the end --- */

/* Whole ones: what a dead writer left is none. */
static unsigned rows_of(const char *native)
{
    struct registry_row row;
    unsigned n = 0;

    for (uint32_t i = 0; i < registry_num_rows(r); i++)
        n += registry_row_at(r, i, &row) && strcmp(row.native, native) == 0;
    return n;
}

static bool knows(const char *native)
{
    struct registry_row row;

    if (!registry_find(r, ID_FILE, 7, native, &row))
        return false;
    check_row(&row);
    return true;
}

static void check_one_row(int num)
{
    (void)num;
    assert_int_equal(rows_of("file-1"), 1);
    assert_true(knows("file-1"));
    assert_false(registry_gaps(r, ALICE).cut);
}

static void two_that_put_one_file_at_once_leave_one_row(void **state)
{
    (void)state;
    start(4);
    crew(0, do_put, -1);
    crew(1, do_put, -1);
    assert_true(in_every_order(2, 3, check_one_row) > 100);
}

static void check_nothing(int num)
{
    (void)num;
    assert_true(rows_of("file-1") <= 1);
    (void)knows("file-1");
}

static void who_reads_meanwhile_reads_whole_rows(void **state)
{
    struct registry_row row = file_of(ALICE, "file-1", 3);

    (void)state;
    start(4);
    assert_int_equal(registry_put(r, &row, NOW), 0);
    crew(0, do_put, -1);
    crew(1, do_look, -1);
    assert_true(in_every_order(2, 3, check_one_row) > 100);
    crew(1, do_remove, -1);
    crew(2, do_look, -1);
    assert_true(in_every_order(3, 2, check_nothing) > 100);
}

/* One of the two gets the one place; nobody gets a mixture. */
static void check_place(int num)
{
    assert_true(num_flags(num) >= 2);
    assert_true(rows_of("file-1") + rows_of("file-2") >= 1);
    if (!knows("file-1"))
        assert_true(registry_gaps(r, ALICE).cut);
    if (!knows("file-2"))
        assert_true(registry_gaps(r, BOB).cut);
}

static void two_that_need_one_place_leave_a_whole_row_and_say_whose_is_gone(void **state)
{
    (void)state;
    start(1);
    crew(0, do_put, -1);
    crew(1, do_put_of_bob, -1);
    crew(2, do_look, -1);
    assert_true(in_every_order(2, 3, check_place) > 100);
    assert_true(in_every_order(3, 2, check_place) > 100);
}

/* How many rows a list shows. */
static unsigned shown(void)
{
    struct registry_page page = {.owner = ALICE, .kind = ID_FILE, .purpose = "", .max = 4};
    struct registry_row row;
    unsigned n = 0;

    assert_int_equal(registry_gather(r, &page, UINT32_MAX), 0);
    for (size_t i = 0; i < page.num; i++)
        n += registry_at(r, &page, &page.places[i], &row);
    registry_page_deinit(&page);
    return n;
}

static void check_put_again(int num)
{
    struct registry_row row = file_of(ALICE, "file-1", 1);

    (void)num;
    (void)knows("file-1");
    assert_int_equal(registry_put(r, &row, NOW), 0);
    assert_true(knows("file-1"));
    assert_int_equal(shown(), 1);
    registry_remove(r, ID_FILE, 7, "file-1");
    assert_false(knows("file-1"));
    assert_int_equal(shown(), 0);
}

static void after_a_death_at_any_step_the_row_can_be_put_and_found(void **state)
{
    (void)state;
    start(4);
    for (int kill_after = 0; kill_after < 40; kill_after++) {
        crew(0, do_put, kill_after);
        crew(1, do_put, -1);
        in_every_order(2, 2, check_put_again);
        crew(1, do_remove, -1);
        in_every_order(2, 2, check_put_again);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(two_that_put_one_file_at_once_leave_one_row, teardown),
        cmocka_unit_test_teardown(who_reads_meanwhile_reads_whole_rows, teardown),
        cmocka_unit_test_teardown(two_that_need_one_place_leave_a_whole_row_and_say_whose_is_gone,
                                  teardown),
        cmocka_unit_test_teardown(after_a_death_at_any_step_the_row_can_be_put_and_found, teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
