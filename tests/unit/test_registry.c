/* registry: an owner sees all of his rows in one order, page by page, and never another's; who
 * floods the table loses his own; what is half written is no row; a database can follow. The table
 * is compiled into this file, so that a row can be left as a killed writer leaves it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/hammer.h"

#define REGISTRY_LOG 128u
#include "balancer/registry.c"

#define ROWS  200u
#define NOW   1800000000
#define ALICE 11u
#define BOB   22u

static struct registry *r;

static int setup(void **state)
{
    (void)state;
    return registry_new(ROWS, NOW, &r);
}

static int teardown(void **state)
{
    (void)state;
    registry_free(r);
    return 0;
}

static struct registry_row file_of(uint64_t owner, const char *native, int64_t created_s)
{
    struct registry_row row = {.kind = ID_FILE,
                               .described = true,
                               .account = 7,
                               .owner = owner,
                               .created_s = created_s,
                               .bytes = 42,
                               .purpose = "batch",
                               .filename = "requests.jsonl"};

    snprintf(row.native, sizeof(row.native), "%s", native);
    return row;
}

static int put(uint64_t owner, const char *native, int64_t created_s)
{
    struct registry_row row = file_of(owner, native, created_s);

    return registry_put(r, &row, NOW);
}

static bool knows(uint64_t owner, const char *native)
{
    struct registry_row row;

    return registry_find(r, ID_FILE, 7, native, &row) && row.owner == owner;
}

/* All ids of a list, comma-separated, read in pages of that many rows. */
static const char *list(uint64_t owner, const char *purpose, bool ascending, size_t max,
                        uint32_t slice)
{
    static char ids[4096];
    struct registry_place cursor = {0};
    bool behind = false, more = true;
    int rc;

    ids[0] = '\0';
    while (more) {
        struct registry_page page = {.owner = owner,
                                     .kind = ID_FILE,
                                     .purpose = purpose,
                                     .ascending = ascending,
                                     .behind = behind,
                                     .cursor = cursor,
                                     .max = max};
        struct registry_row row;

        while ((rc = registry_gather(r, &page, slice)) == 1)
            ;
        assert_int_equal(rc, 0);
        assert_true(page.num <= max);
        for (size_t i = 0; i < page.num; i++) {
            assert_true(registry_at(r, &page, &page.places[i], &row));
            assert_true(row.owner == owner);
            snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), "%s,", row.native);
        }
        more = page.more;
        behind = page.num > 0;
        if (behind)
            cursor = page.places[page.num - 1];
        registry_page_deinit(&page);
    }
    return ids;
}

static void a_list_has_the_owners_files_newest_first_in_pages_of_any_size(void **state)
{
    (void)state;
    assert_string_equal(list(ALICE, "", false, 3, 1000), "");
    for (int i = 0; i < 9; i++) {
        char native[16];

        snprintf(native, sizeof(native), "file-%d", i);
        assert_int_equal(put(ALICE, native, NOW + (i * 7) % 9), 0);
        snprintf(native, sizeof(native), "other-%d", i);
        assert_int_equal(put(BOB, native, NOW + i), 0);
    }
    for (size_t max = 1; max < 12; max++) {
        assert_string_equal(list(ALICE, "", false, max, 13),
                            "file-5,file-1,file-6,file-2,file-7,file-3,file-8,file-4,file-0,");
        assert_string_equal(list(ALICE, "", true, max, 1000),
                            "file-0,file-4,file-8,file-3,file-7,file-2,file-6,file-1,file-5,");
    }
    assert_string_equal(list(33, "", false, 5, 7), "");
}

static void equal_times_have_one_order(void **state)
{
    char ids[4096];

    (void)state;
    for (int i = 0; i < 9; i++) {
        char native[16];

        snprintf(native, sizeof(native), "file-%d", i);
        assert_int_equal(put(ALICE, native, NOW), 0);
    }
    snprintf(ids, sizeof(ids), "%s", list(ALICE, "", false, 100, 1000));
    assert_int_equal(strlen(ids), 9 * strlen("file-0,"));
    for (size_t max = 1; max < 10; max++)
        assert_string_equal(list(ALICE, "", false, max, 50), ids);
}

static void a_list_goes_on_behind_a_file_that_was_deleted(void **state)
{
    struct registry_page page = {
        .owner = ALICE, .kind = ID_FILE, .purpose = "", .max = 10, .behind = true};

    (void)state;
    (void)put(ALICE, "file-1", NOW + 1);
    (void)put(ALICE, "file-2", NOW + 2);
    (void)put(ALICE, "file-3", NOW + 3);
    registry_remove(r, ID_FILE, 7, "file-2");
    assert_false(knows(ALICE, "file-2"));
    page.cursor = registry_place_of(ID_FILE, 7, "file-2", NOW + 2);
    assert_int_equal(registry_gather(r, &page, UINT32_MAX), 0);
    assert_int_equal(page.num, 1);
    assert_int_equal(page.places[0].created_s, NOW + 1);
    registry_page_deinit(&page);
}

static void a_list_may_be_of_one_purpose_and_is_of_one_kind(void **state)
{
    struct registry_row row = file_of(ALICE, "file-out", NOW + 5);

    (void)state;
    (void)put(ALICE, "file-in", NOW);
    snprintf(row.purpose, sizeof(row.purpose), "batch_output");
    assert_int_equal(registry_put(r, &row, NOW), 0);
    row = file_of(ALICE, "batch_1", NOW + 6);
    row.kind = ID_BATCH;
    assert_int_equal(registry_put(r, &row, NOW), 0);
    assert_string_equal(list(ALICE, "", false, 10, 10), "file-out,file-in,");
    assert_string_equal(list(ALICE, "batch_output", false, 1, 10), "file-out,");
    assert_string_equal(list(ALICE, "batch", false, 10, 10), "file-in,");
    assert_string_equal(list(ALICE, "vision", false, 10, 10), "");
    assert_true(registry_find(r, ID_BATCH, 7, "batch_1", &row));
    assert_false(registry_find(r, ID_FILE, 7, "batch_1", &row));
    assert_false(registry_find(r, ID_BATCH, 8, "batch_1", &row));
}

static void all_of_a_row_comes_back_and_texts_are_cut_between_characters(void **state)
{
    struct registry_row row = file_of(ALICE, "file-1", NOW), found;
    char native[REGISTRY_NATIVE + 1];

    (void)state;
    row.expires_s = NOW + 100;
    memset(row.filename, 'x', sizeof(row.filename));
    memcpy(row.filename + sizeof(row.filename) - 2, "\xc3\xa4", 2);
    assert_int_equal(registry_put(r, &row, NOW), 0);
    assert_true(registry_find(r, ID_FILE, 7, "file-1", &found));
    assert_true(found.described && found.kind == ID_FILE && found.account == 7);
    assert_true(found.owner == ALICE && found.created_s == NOW && found.bytes == 42);
    assert_true(found.expires_s == NOW + 100);
    assert_string_equal(found.purpose, "batch");
    assert_int_equal(strlen(found.filename), REGISTRY_FILENAME - 2);
    memset(native, 'n', sizeof(native));
    native[REGISTRY_NATIVE - 1] = '\0';
    assert_int_equal(put(ALICE, native, NOW), 0);
    assert_true(knows(ALICE, native));
}

static void what_cannot_be_kept_is_told(void **state)
{
    struct registry_row row = file_of(ALICE, "", NOW);

    (void)state;
    assert_false(registry_gaps(r, ALICE).cut);
    memset(row.native, 'n', sizeof(row.native));
    assert_int_equal(registry_put(r, &row, NOW), ERR_INVALID);
    assert_true(registry_gaps(r, ALICE).cut);
    assert_false(registry_gaps(r, BOB).cut);
    row = file_of(0, "file-1", NOW);
    assert_int_equal(registry_put(r, &row, NOW), ERR_INVALID);
    assert_true(registry_gaps(r, BOB).since_unix_s == NOW);
    registry_set_gaps(r, &(struct registry_gaps){0});
    assert_true(registry_gaps(r, BOB).since_unix_s == 0);
}

static void a_row_stays_its_owners_and_what_is_known_of_it_grows(void **state)
{
    struct registry_row row = file_of(ALICE, "file-1", NOW), found;

    (void)state;
    row.described = false;
    row.bytes = 0;
    assert_int_equal(registry_put(r, &row, NOW), 0);
    assert_int_equal(put(BOB, "file-1", NOW), ERR_BAD_STATE);
    assert_true(registry_find(r, ID_FILE, 7, "file-1", &found) && !found.described);
    assert_int_equal(put(ALICE, "file-1", NOW + 3), 0);
    assert_int_equal(registry_put(r, &row, NOW), 0); /* less is known: nothing changes */
    assert_true(registry_find(r, ID_FILE, 7, "file-1", &found) && found.described);
    assert_true(found.created_s == NOW + 3 && found.owner == ALICE);
    assert_string_equal(list(ALICE, "", false, 10, 10), "file-1,");
    assert_string_equal(list(BOB, "", false, 10, 10), "");
}

static void who_floods_the_table_loses_his_own_oldest(void **state)
{
    char native[32];
    unsigned of_bob = 0, of_alice = 0;

    (void)state;
    for (int i = 0; i < 12; i++) {
        snprintf(native, sizeof(native), "file-bob-%d", i);
        assert_int_equal(put(BOB, native, NOW), 0); /* older than all of hers */
    }
    for (int i = 0; i < 2000; i++) {
        snprintf(native, sizeof(native), "file-alice-%d", i);
        assert_int_equal(put(ALICE, native, NOW + 1 + i), 0);
        assert_true(knows(ALICE, native));
    }
    for (int i = 0; i < 12; i++) {
        snprintf(native, sizeof(native), "file-bob-%d", i);
        of_bob += knows(BOB, native);
    }
    for (int i = 2000 - 50; i < 2000; i++) {
        snprintf(native, sizeof(native), "file-alice-%d", i);
        of_alice += knows(ALICE, native);
    }
    assert_int_equal(of_bob, 12);
    assert_true(of_alice >= 45);
    assert_true(registry_gaps(r, ALICE).cut);
    assert_false(registry_gaps(r, BOB).cut);
}

/* Nothing goes before the setting's number of rows is there. */
static void as_many_rows_as_were_asked_for_find_room(void **state)
{
    struct registry *large;
    char native[32];

    (void)state;
    assert_int_equal(registry_new(20000, NOW, &large), 0);
    for (int i = 0; i < 20000; i++) {
        struct registry_row row;

        snprintf(native, sizeof(native), "file-%d", i);
        row = file_of((uint64_t)i % 50 + 1, native, NOW);
        assert_int_equal(registry_put(large, &row, NOW), 0);
    }
    for (uint64_t owner = 1; owner <= 50; owner++)
        assert_false(registry_gaps(large, owner).cut);
    registry_free(large);
}

static void what_has_expired_makes_room_first_and_nobody_lost_anything(void **state)
{
    char native[32];

    (void)state;
    for (int i = 0; i < 1000; i++) {
        struct registry_row row;

        snprintf(native, sizeof(native), "file-%d", i);
        row = file_of(ALICE, native, NOW + i);
        row.expires_s = NOW + 10;
        assert_int_equal(registry_put(r, &row, NOW + 20), 0);
    }
    assert_false(registry_gaps(r, ALICE).cut);
}

/* As a writer leaves it that was killed between two words. */
static void tear(const char *native)
{
    struct content c;
    uint32_t number = find_row(r, registry_key(ID_FILE, 7, native), &c);

    assert_true(number != NOWHERE);
    store_relaxed(&row_at(r, number)->words[5], load_relaxed(&row_at(r, number)->words[5]) + 1);
}

static void a_row_that_was_half_written_is_none_and_can_be_written_again(void **state)
{
    struct registry_page page = {.owner = ALICE, .kind = ID_FILE, .purpose = "", .max = 10};
    struct registry_row row;

    (void)state;
    (void)put(ALICE, "file-1", NOW);
    tear("file-1");
    assert_false(knows(ALICE, "file-1"));
    assert_int_equal(registry_gather(r, &page, UINT32_MAX), 0);
    assert_int_equal(page.num, 1);
    assert_false(registry_at(r, &page, &page.places[0], &row));
    registry_page_deinit(&page);
    assert_int_equal(put(ALICE, "file-1", NOW), 0);
    assert_string_equal(list(ALICE, "", false, 10, 10), "file-1,");
}

static void torn_rows_are_the_first_to_go(void **state)
{
    char native[32];
    unsigned n = 0;

    (void)state;
    for (int i = 0; i < 5000; i++) {
        snprintf(native, sizeof(native), "file-%d", i);
        (void)put(ALICE, native, NOW + i);
        tear(native);
    }
    assert_false(registry_gaps(r, ALICE).cut); /* they were no rows */
    for (int i = 0; i < 100; i++) {
        snprintf(native, sizeof(native), "good-%d", i);
        assert_int_equal(put(BOB, native, NOW + i), 0);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(native, sizeof(native), "good-%d", i);
        n += knows(BOB, native);
    }
    assert_int_equal(n, 100);
}

/* The words of one row beside the row of another owner: what is shown is what the row says. */
static void the_owner_in_the_row_is_the_one_that_counts(void **state)
{
    struct registry_page page = {.owner = ALICE, .kind = ID_FILE, .purpose = "", .max = 10};
    struct registry_row row;
    struct content c;

    (void)state;
    (void)put(BOB, "file-1", NOW);
    store_relaxed(owner_at(r, find_row(r, registry_key(ID_FILE, 7, "file-1"), &c)), ALICE);
    assert_int_equal(registry_gather(r, &page, UINT32_MAX), 0);
    assert_int_equal(page.num, 1);
    assert_false(registry_at(r, &page, &page.places[0], &row));
    registry_page_deinit(&page);
}

/* --- a database --- */

static void a_reader_of_changes_sees_each_one(void **state)
{
    struct registry_change change;
    struct registry_row row;
    uint64_t cursor = 0;

    (void)state;
    assert_int_equal(registry_follow(r, &cursor, &change), ERR_NOT_FOUND);
    (void)put(ALICE, "file-1", NOW);
    (void)put(ALICE, "file-1", NOW); /* nothing new */
    (void)put(BOB, "file-2", NOW);
    registry_remove(r, ID_FILE, 7, "file-1");
    registry_remove(r, ID_FILE, 7, "file-1");
    assert_int_equal(registry_follow(r, &cursor, &change), 0);
    assert_false(change.went || registry_by_key(r, change.key, &row)); /* it went since */
    assert_int_equal(registry_follow(r, &cursor, &change), 0);
    assert_true(!change.went && registry_by_key(r, change.key, &row));
    assert_string_equal(row.native, "file-2");
    assert_int_equal(registry_follow(r, &cursor, &change), 0);
    assert_true(change.went);
    assert_int_equal(registry_follow(r, &cursor, &change), 0);
    assert_true(change.went); /* a database may have it all the same */
    assert_int_equal(registry_follow(r, &cursor, &change), ERR_NOT_FOUND);
}

static void what_a_database_puts_back_is_no_change(void **state)
{
    struct registry_row row = file_of(ALICE, "file-1", NOW);
    struct registry_change change;
    uint64_t cursor = 0;

    (void)state;
    assert_int_equal(registry_put_back(r, &row, NOW), 0);
    assert_true(knows(ALICE, "file-1"));
    registry_take_back(r, registry_key(ID_FILE, 7, "file-1"));
    assert_false(knows(ALICE, "file-1"));
    assert_int_equal(registry_follow(r, &cursor, &change), ERR_NOT_FOUND);
}

static void the_last_one_that_claimed_follows(void **state)
{
    uint64_t one = registry_claim(r, 7), two;

    (void)state;
    assert_true(registry_is_claimed(r, one));
    assert_int_equal(registry_claimer(r), 7);
    two = registry_claim(r, 7);
    assert_false(registry_is_claimed(r, one));
    assert_true(registry_is_claimed(r, two));
    assert_int_equal(registry_kept(r), 0);
    registry_set_kept(r, 17);
    assert_int_equal(registry_kept(r), 17);
}

static void a_reader_that_is_late_is_told_to_look_at_all(void **state)
{
    struct registry_change change;
    struct registry_row row;
    uint64_t cursor = 0;
    unsigned rows = 0;

    (void)state;
    for (int i = 0; i < 150; i++) {
        char native[32];

        snprintf(native, sizeof(native), "file-%d", i);
        (void)put(ALICE, native, NOW);
    }
    assert_int_equal(registry_follow(r, &cursor, &change), ERR_LIMIT);
    for (uint32_t i = 0; i < registry_num_rows(r); i++)
        rows += registry_row_at(r, i, &row);
    assert_int_equal(rows, 150);
    assert_int_equal(registry_follow(r, &cursor, &change), ERR_NOT_FOUND);
    (void)put(ALICE, "file-new", NOW);
    assert_int_equal(registry_follow(r, &cursor, &change), 0);
}

static void a_writer_that_was_killed_stops_no_reader_of_changes(void **state)
{
    struct registry_change change;
    uint64_t cursor = 0;
    int rc = ERR_NOT_FOUND;

    (void)state;
    add_acq_rel(&r->changes, 1); /* it took a number and wrote nothing */
    for (int i = 0; i < 100 && rc == ERR_NOT_FOUND; i++) {
        char native[32];

        snprintf(native, sizeof(native), "file-%d", i);
        (void)put(ALICE, native, NOW);
        rc = registry_follow(r, &cursor, &change);
    }
    assert_int_equal(rc, ERR_LIMIT);
    assert_int_equal(registry_follow(r, &cursor, &change), ERR_NOT_FOUND);
}

/* --- several at once --- */

static void *put_and_remove(void *arg)
{
    uintptr_t thread = (uintptr_t)arg, wrong = 0;

    for (unsigned i = 0; i < 20000; i++) {
        uint64_t owner = 1 + (thread + i) % 3;
        struct registry_row row = file_of(owner, "", NOW + i % 50), found;

        snprintf(row.native, sizeof(row.native), "file-%u-%u", (unsigned)owner, i % 97);
        row.bytes = (int64_t)owner;
        row.created_s = NOW + i % 97;
        if (i % 5 == 0)
            registry_remove(r, ID_FILE, 7, row.native);
        else
            (void)registry_put(r, &row, NOW);
        if (registry_find(r, ID_FILE, 7, row.native, &found))
            wrong += found.owner != owner || found.bytes != (int64_t)owner ||
                     found.created_s != row.created_s;
    }
    return (void *)wrong;
}

static void rows_of_several_writers_are_whole(void **state)
{
    (void)state;
    hammer(put_and_remove);
    for (uint64_t owner = 1; owner <= 3; owner++)
        (void)list(owner, "", false, 7, 50);
}

static void a_region_is_taken_over_as_it_is_or_not_at_all(void **state)
{
    struct registry *next = NULL;

    (void)state;
    (void)put(ALICE, "file-1", NOW);
    assert_int_equal(registry_adopt(-1, ROWS, &next), ERR_NOT_FOUND);
    assert_int_equal(registry_adopt(dup(shm_fd(r)), ROWS + 100, &next), ERR_INVALID);
    assert_int_equal(registry_adopt(dup(shm_fd(r)), ROWS, &next), 0);
    registry_free(r);
    r = next;
    assert_true(knows(ALICE, "file-1"));
    assert_true(registry_gaps(r, ALICE).since_unix_s == NOW);
    assert_int_equal(registry_new(0, NOW, &next), ERR_INVALID);
    assert_int_equal(registry_new(REGISTRY_MAX + 1, NOW, &next), ERR_INVALID);
    registry_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_list_has_the_owners_files_newest_first_in_pages_of_any_size),
        TEST(equal_times_have_one_order),
        TEST(a_list_goes_on_behind_a_file_that_was_deleted),
        TEST(a_list_may_be_of_one_purpose_and_is_of_one_kind),
        TEST(all_of_a_row_comes_back_and_texts_are_cut_between_characters),
        TEST(what_cannot_be_kept_is_told),
        TEST(a_row_stays_its_owners_and_what_is_known_of_it_grows),
        TEST(who_floods_the_table_loses_his_own_oldest),
        TEST(as_many_rows_as_were_asked_for_find_room),
        TEST(what_has_expired_makes_room_first_and_nobody_lost_anything),
        TEST(a_row_that_was_half_written_is_none_and_can_be_written_again),
        TEST(torn_rows_are_the_first_to_go),
        TEST(the_owner_in_the_row_is_the_one_that_counts),
        TEST(a_reader_of_changes_sees_each_one),
        TEST(what_a_database_puts_back_is_no_change),
        TEST(the_last_one_that_claimed_follows),
        TEST(a_reader_that_is_late_is_told_to_look_at_all),
        TEST(a_writer_that_was_killed_stops_no_reader_of_changes),
        TEST(rows_of_several_writers_are_whole),
        TEST(a_region_is_taken_over_as_it_is_or_not_at_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
