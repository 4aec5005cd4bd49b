/* followed: a batch that is not where its id says is found by its id and by where it is, its object
 * comes back as it was kept, and what ended longest ago makes room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "balancer/followed.h"
#include "common/shm.h"

#define ROWS 8u
#define NOW  1000000u

static struct followed *f;
static uint32_t turn;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(followed_new(ROWS, &f), 0);
    turn = followed_claim(f);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    followed_free(f);
    return 0;
}

static struct followed_row waiting(const char *native, uint64_t owner)
{
    struct followed_row row = {.account = FOLLOWED_JOURNAL,
                               .owner = owner,
                               .state = FOLLOWED_WAITS,
                               .created_s = 1800000000,
                               .position = 3,
                               .status = "validating",
                               .total = 20};

    snprintf(row.native, sizeof(row.native), "%s", native);
    return row;
}

static struct followed_row moved(const char *native, const char *to)
{
    struct followed_row row = waiting(native, 7);

    row.account = 1;
    row.state = FOLLOWED_RUNS;
    row.at.account = 2;
    row.at.deployment = 22;
    snprintf(row.at.native, sizeof(row.at.native), "%s", to);
    row.moves = 1;
    return row;
}

static void put(const struct followed_row *row, const char *text)
{
    assert_int_equal(followed_put(f, turn, row, text, text != NULL ? strlen(text) : 0), 0);
}

static bool knows(uint32_t account, const char *native)
{
    struct followed_row row;

    return followed_find(f, account, native, &row) && strcmp(row.native, native) == 0;
}

static void without_a_table_nothing_is_followed(void **state)
{
    struct followed_row row;
    uint32_t place = 0;

    (void)state;
    assert_false(followed_find(NULL, 1, "batch_1", &row));
    assert_false(followed_find_at(NULL, 1, "batch_1", &row));
    assert_false(followed_next(NULL, true, 0, &place, &row));
    assert_int_equal(place, FOLLOWED_END);
    assert_false(followed_is_fresh(NULL, NOW));
    assert_int_equal(followed_counts(NULL).rows, 0);
}

static void a_moved_batch_is_found_by_its_id_and_by_where_it_is(void **state)
{
    struct followed_row row = moved("batch_1", "batch_9"), found;

    (void)state;
    put(&row, NULL);
    assert_true(followed_find(f, 1, "batch_1", &found));
    assert_int_equal(found.at.account, 2);
    assert_int_equal(found.at.deployment, 22);
    assert_string_equal(found.at.native, "batch_9");
    assert_int_equal(found.moves, 1);
    assert_int_equal(found.created_s, 1800000000);
    assert_true(followed_find_at(f, 2, "batch_9", &found));
    assert_string_equal(found.native, "batch_1");
    assert_false(knows(2, "batch_1"));
    assert_false(followed_find_at(f, 1, "batch_9", &found));
}

static void a_batch_that_moves_again_is_no_longer_found_where_it_was(void **state)
{
    struct followed_row row = moved("batch_1", "batch_9"), found;

    (void)state;
    put(&row, NULL);
    row.at.account = 3;
    strcpy(row.at.native, "batch_10");
    put(&row, NULL);
    assert_false(followed_find_at(f, 2, "batch_9", &found));
    assert_true(followed_find_at(f, 3, "batch_10", &found));
    assert_string_equal(found.native, "batch_1");
    assert_int_equal(followed_counts(f).rows, 1);
}

static void what_waits_has_its_object_until_it_goes(void **state)
{
    struct followed_row row = waiting("batch_q", 7), found;
    char text[FOLLOWED_TEXT];

    (void)state;
    put(&row, "{\"id\":1}");
    row.position = 2;
    put(&row, NULL); /* the text stays */
    assert_int_equal(followed_text(f, FOLLOWED_JOURNAL, "batch_q", text), 8);
    assert_memory_equal(text, "{\"id\":1}", 8);
    put(&row, "{}");
    assert_int_equal(followed_text(f, FOLLOWED_JOURNAL, "batch_q", text), 2);
    assert_true(followed_find(f, FOLLOWED_JOURNAL, "batch_q", &found));
    assert_true(found.has_text);
    assert_int_equal(found.position, 2);
    assert_int_equal(followed_counts(f).texts, 1);
    assert_int_equal(followed_counts(f).waiting, 1);
    followed_remove(f, turn, FOLLOWED_JOURNAL, "batch_q");
    assert_int_equal(followed_text(f, FOLLOWED_JOURNAL, "batch_q", text), 0);
    assert_int_equal(followed_counts(f).texts, 0);
    assert_int_equal(followed_counts(f).rows, 0);
}

static void what_is_too_long_is_not_followed(void **state)
{
    struct followed_row row = waiting("batch_q", 7);
    static char text[FOLLOWED_TEXT + 1];

    (void)state;
    memset(text, 'x', sizeof(text));
    assert_int_equal(followed_put(f, turn, &row, text, sizeof(text)), ERR_INVALID);
    assert_int_equal(followed_put(f, turn, &row, text, FOLLOWED_TEXT), 0);
    memset(row.native, 'y', sizeof(row.native));
    assert_int_equal(followed_put(f, turn, &row, NULL, 0), ERR_INVALID);
    row.native[0] = '\0';
    assert_int_equal(followed_put(f, turn, &row, NULL, 0), ERR_INVALID);
}

static void an_owner_sees_his_own_rows_and_the_master_all(void **state)
{
    struct followed_row row, out;
    unsigned own = 0, all = 0;

    (void)state;
    for (unsigned i = 0; i < ROWS; i++) {
        char native[16];

        snprintf(native, sizeof(native), "batch_%u", i);
        row = waiting(native, i % 2 == 0 ? 7 : 8);
        put(&row, NULL);
    }
    for (uint32_t place = 0; place != FOLLOWED_END;)
        if (followed_next(f, false, 7, &place, &out)) {
            assert_int_equal(out.owner, 7);
            own++;
        }
    for (uint32_t place = 0; place != FOLLOWED_END;)
        all += followed_next(f, true, 0, &place, &out);
    assert_int_equal(own, ROWS / 2);
    assert_int_equal(all, ROWS);
}

static void a_full_table_takes_nothing_until_one_has_ended(void **state)
{
    struct followed_row row;
    char native[16];

    (void)state;
    for (unsigned i = 0; i < ROWS; i++) {
        snprintf(native, sizeof(native), "batch_%u", i);
        row = waiting(native, 7);
        put(&row, NULL);
    }
    row = waiting("batch_more", 7);
    assert_int_equal(followed_put(f, turn, &row, NULL, 0), ERR_FULL);
    assert_false(knows(FOLLOWED_JOURNAL, "batch_more"));
    row = waiting("batch_5", 7);
    row.state = FOLLOWED_OVER;
    put(&row, NULL);
    row = waiting("batch_2", 7);
    row.state = FOLLOWED_OVER;
    put(&row, NULL);
    row = waiting("batch_more", 7);
    put(&row, NULL);
    assert_true(knows(FOLLOWED_JOURNAL, "batch_more"));
    assert_false(knows(FOLLOWED_JOURNAL, "batch_5")); /* it ended first */
    assert_true(knows(FOLLOWED_JOURNAL, "batch_2"));
    assert_int_equal(followed_counts(f).dropped, 1);
}

static void only_the_keeper_that_came_last_writes(void **state)
{
    struct followed_row row = waiting("batch_q", 7);
    uint32_t next;

    (void)state;
    put(&row, NULL);
    next = followed_claim(f);
    assert_true(followed_is_mine(f, next));
    assert_false(followed_is_mine(f, turn));
    row.position = 9;
    assert_int_equal(followed_put(f, turn, &row, NULL, 0), ERR_BAD_STATE);
    followed_remove(f, turn, FOLLOWED_JOURNAL, "batch_q");
    followed_heard(f, turn, NOW);
    assert_true(knows(FOLLOWED_JOURNAL, "batch_q"));
    assert_false(followed_is_fresh(f, NOW));
    followed_heard(f, next, NOW);
    assert_true(followed_is_fresh(f, NOW + FOLLOWED_FRESH_MS - 1));
    assert_false(followed_is_fresh(f, NOW + FOLLOWED_FRESH_MS));
}

static void what_the_database_no_longer_has_goes_when_all_was_read(void **state)
{
    struct followed_row kept = waiting("batch_kept", 7), gone = waiting("batch_gone", 7);

    (void)state;
    put(&kept, NULL);
    put(&gone, NULL);
    turn = followed_claim(f);
    put(&kept, NULL);
    assert_true(knows(FOLLOWED_JOURNAL, "batch_gone"));
    followed_sweep(f, turn);
    assert_true(knows(FOLLOWED_JOURNAL, "batch_kept"));
    assert_false(knows(FOLLOWED_JOURNAL, "batch_gone"));
}

static void the_next_program_finds_what_this_one_knew(void **state)
{
    struct followed_row row = moved("batch_1", "batch_9"), found;
    struct followed *next;

    (void)state;
    put(&row, NULL);
    assert_int_equal(followed_adopt(dup(shm_fd(f)), ROWS, &next), 0);
    assert_true(followed_find(next, 1, "batch_1", &found));
    followed_free(next);
    assert_int_equal(followed_adopt(dup(shm_fd(f)), ROWS * 2, &next), ERR_INVALID);
    assert_int_equal(followed_adopt(-1, ROWS, &next), ERR_NOT_FOUND);
    assert_int_equal(followed_new(0, &next), ERR_INVALID);
    assert_int_equal(followed_new(FOLLOWED_MAX + 1, &next), ERR_INVALID);
}

static void the_largest_table_has_room_for_all_its_rows(void **state)
{
    struct followed_row row;
    struct followed *large;
    uint32_t its;

    (void)state;
    assert_int_equal(followed_new(4096, &large), 0);
    its = followed_claim(large);
    for (unsigned i = 0; i < 4096; i++) {
        row = moved("", "");
        snprintf(row.native, sizeof(row.native), "batch_%032x", i * 7919u);
        snprintf(row.at.native, sizeof(row.at.native), "batch_%032x", i * 104729u + 1);
        assert_int_equal(followed_put(large, its, &row, NULL, 0), 0);
    }
    for (unsigned i = 0; i < 4096; i++) {
        char native[FOLLOWED_NATIVE];

        snprintf(native, sizeof(native), "batch_%032x", i * 7919u);
        assert_true(followed_find(large, 1, native, &row));
        snprintf(native, sizeof(native), "batch_%032x", i * 104729u + 1);
        assert_true(followed_find_at(large, 2, native, &row));
    }
    followed_free(large);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_table_nothing_is_followed),
        TEST(a_moved_batch_is_found_by_its_id_and_by_where_it_is),
        TEST(a_batch_that_moves_again_is_no_longer_found_where_it_was),
        TEST(what_waits_has_its_object_until_it_goes),
        TEST(what_is_too_long_is_not_followed),
        TEST(an_owner_sees_his_own_rows_and_the_master_all),
        TEST(a_full_table_takes_nothing_until_one_has_ended),
        TEST(only_the_keeper_that_came_last_writes),
        TEST(what_the_database_no_longer_has_goes_when_all_was_read),
        TEST(the_next_program_finds_what_this_one_knew),
        TEST(the_largest_table_has_room_for_all_its_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
