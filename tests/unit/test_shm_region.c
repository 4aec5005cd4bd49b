/* shm_region: how a table in shared memory begins, and what the next program may map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/shm_region.h"

#define MAGIC 0x54534554u /* "TEST" */

/* A table that begins with its dimension; what it learns is behind. */
struct table {
    struct shm_head region;
    uint64_t entries;
    uint64_t learned;
};

#define HEAD_LEN offsetof(struct table, learned)

static struct table head_of(uint32_t layout, uint64_t entries)
{
    return (struct table){.region = {.magic = MAGIC, .layout = layout, .size = 4096},
                          .entries = entries};
}

static struct table *new_table(void)
{
    struct table head = head_of(1, 7);
    void *region = NULL;

    head.learned = 99;
    assert_int_equal(shm_region_open("tranche-test", SHM_NEW, &head, HEAD_LEN, &region), 0);
    return region;
}

static void a_new_region_begins_with_its_head_and_is_zeroes_behind_it(void **state)
{
    struct table *t = new_table(), head = head_of(1, 7);

    (void)state;
    assert_memory_equal(t, &head, HEAD_LEN);
    assert_int_equal(t->learned, 0);
    assert_true(shm_fd(t) != -1);
    shm_region_free(t);
    assert_int_equal(shm_fd(t), -1);
    shm_region_free(NULL);
}

static void what_was_learned_is_there_for_the_next_program(void **state)
{
    struct table *t = new_table(), head = head_of(1, 7), *next;
    void *region = NULL;

    (void)state;
    t->learned = 42;
    assert_int_equal(shm_region_open("tranche-test", dup(shm_fd(t)), &head, HEAD_LEN, &region), 0);
    next = region;
    assert_int_equal(next->learned, 42);
    next->learned = 43;
    assert_int_equal(t->learned, 43); /* the same memory */
    shm_region_free(next);
    shm_region_free(t);
}

static void a_region_of_another_layout_or_dimension_is_not_mapped(void **state)
{
    struct table *t = new_table(), layout = head_of(2, 7), entries = head_of(1, 8);
    void *region = NULL;

    (void)state;
    assert_int_equal(shm_region_open("tranche-test", dup(shm_fd(t)), &layout, HEAD_LEN, &region),
                     ERR_INVALID);
    assert_int_equal(shm_region_open("tranche-test", dup(shm_fd(t)), &entries, HEAD_LEN, &region),
                     ERR_INVALID);
    assert_int_equal(shm_region_open("tranche-test", -1, &layout, HEAD_LEN, &region),
                     ERR_NOT_FOUND);
    assert_null(region);
    shm_region_free(t);
}

static void sizes_are_rounded_up_and_buckets_hold_what_they_should(void **state)
{
    (void)state;
    assert_int_equal(shm_round_up(0, 64), 0);
    assert_int_equal(shm_round_up(1, 64), 64);
    assert_int_equal(shm_round_up(64, 64), 64);
    assert_int_equal(shm_round_up(65, 64), 128);
    assert_int_equal(shm_buckets(0, 4), 1);
    assert_int_equal(shm_buckets(4, 4), 1);
    assert_int_equal(shm_buckets(5, 4), 2);
    assert_int_equal(shm_buckets(16, 4), 4);
    assert_int_equal(shm_buckets(17, 4), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_region_begins_with_its_head_and_is_zeroes_behind_it),
        cmocka_unit_test(what_was_learned_is_there_for_the_next_program),
        cmocka_unit_test(a_region_of_another_layout_or_dimension_is_not_mapped),
        cmocka_unit_test(sizes_are_rounded_up_and_buckets_hold_what_they_should),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
