/* Merged pages: the total order, cursors, whole lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "read/listing_page.h"

static void add(struct listing_source *s, int64_t t, const char *name)
{
    assert_int_equal(listing_source_add(s, t, name, name, strlen(name)), 0);
}

/* The merged names, one letter each. */
static void take_all(struct listing_source *s, size_t num, bool ascending, char *out)
{
    struct listing_item item;

    while (listing_take(s, num, ascending, &item) < num)
        *out++ = item.text[0];
    *out = '\0';
}

static void newest_come_first_over_all_accounts(void **state)
{
    struct listing_source s[3] = {0};
    char out[16];

    (void)state;
    add(&s[0], 50, "b");
    add(&s[0], 10, "e");
    add(&s[1], 60, "a");
    add(&s[1], 20, "d");
    add(&s[2], 40, "c");
    take_all(s, 3, false, out);
    assert_string_equal(out, "abcde");
    for (int i = 0; i < 3; i++)
        listing_source_deinit(&s[i]);
}

static void equal_times_go_by_account_and_keep_the_accounts_own_order(void **state)
{
    struct listing_source s[2] = {0};
    char out[16];

    (void)state;
    add(&s[0], 7, "a");
    add(&s[0], 7, "b");
    add(&s[1], 7, "c");
    take_all(s, 2, false, out);
    assert_string_equal(out, "abc");
    for (int i = 0; i < 2; i++)
        listing_source_deinit(&s[i]);
}

static void equal_times_go_by_account_in_either_direction(void **state)
{
    struct listing_source s[2] = {0};
    char out[16];

    (void)state;
    add(&s[0], 7, "a");
    add(&s[1], 7, "b");
    add(&s[1], 8, "c");
    take_all(s, 2, true, out);
    assert_string_equal(out, "abc");
    for (int i = 0; i < 2; i++)
        listing_source_deinit(&s[i]);
}

/* 32 items are where room is made for the first time: memory of the exact size. */
static void a_list_of_as_many_items_as_there_is_room_for_is_sorted_and_trimmed(void **state)
{
    struct listing_source s = {0};

    (void)state;
    for (int64_t i = 0; i < 32; i++)
        add(&s, i * 7 % 32, "x");
    assert_int_equal(s.cap, 32);
    listing_sort(&s, false);
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(s.items[i].created_at, 31 - i);
    listing_trim(&s, 31, "x", false);
    assert_int_equal(s.num, 31);
    add(&s, 0, "x");
    assert_int_equal(s.cap, 32);
    add(&s, 0, "x");
    assert_int_equal(s.cap, 64);
    listing_source_deinit(&s);
}

static void lists_of_no_and_of_one_item_are_sorted_already(void **state)
{
    struct listing_source s = {0};

    (void)state;
    listing_sort(&s, false);
    assert_int_equal(s.num, 0);
    add(&s, 7, "a");
    listing_sort(&s, true);
    assert_int_equal(s.num, 1);
    assert_int_equal(s.items[0].created_at, 7);
    listing_source_deinit(&s);
}

static void what_has_more_than_four_gib_is_no_item(void **state)
{
    struct listing_source s = {0};

    (void)state;
    assert_int_equal(listing_source_add(&s, 7, "a", "", UINT32_MAX), 0);
    assert_int_equal(listing_source_add(&s, 7, "b", "", (size_t)UINT32_MAX + 1), ERR_LIMIT);
    assert_int_equal(listing_source_add(&s, 7, "b", "", SIZE_MAX), ERR_LIMIT);
    assert_int_equal(s.num, 1);
    listing_source_deinit(&s);
    for (size_t len = (size_t)UINT32_MAX + 1; len <= (size_t)UINT32_MAX + 2; len++) {
        s.ids.len = len; /* as many bytes of ids */
        assert_int_equal(listing_source_add(&s, 7, "a", "", 0), ERR_LIMIT);
        s.ids.len = 0;
        assert_int_equal(s.num, 0);
    }
}

static void oldest_come_first_when_asked(void **state)
{
    struct listing_source s[2] = {0};
    char out[16];

    (void)state;
    add(&s[0], 1, "a");
    add(&s[0], 3, "c");
    add(&s[1], 2, "b");
    take_all(s, 2, true, out);
    assert_string_equal(out, "abc");
    for (int i = 0; i < 2; i++)
        listing_source_deinit(&s[i]);
}

static void a_cursor_splits_equal_times_between_accounts(void **state)
{
    struct listing_cursor cursor = {.set = true, .created_at = 7, .source = 1};

    (void)state;
    assert_false(listing_is_behind(&cursor, 0, 7, false)); /* shown before the cursor */
    assert_true(listing_is_behind(&cursor, 1, 7,
                                  false)); /* its own account was asked for what follows it */
    assert_true(listing_is_behind(&cursor, 2, 7, false));
    assert_false(listing_is_behind(&cursor, 2, 8, false));
    assert_true(listing_is_behind(&cursor, 0, 6, false));
    assert_true(listing_is_behind(&cursor, 0, 8, true));
    cursor.set = false;
    assert_true(listing_is_behind(&cursor, 0, 99, false));
}

/* Walk random lists page by page with cursors: every object exactly once, in the order of the whole
 * list. */
static void paging_shows_each_object_exactly_once(void **state)
{
    enum { SOURCES = 4, OBJECTS = 200 };
    static char names[OBJECTS];
    int64_t times[OBJECTS];
    size_t owner[OBJECTS], seen = 0, pages = 0;
    bool shown[OBJECTS] = {false};
    struct listing_cursor cursor = {0};
    size_t cursor_object = 0;

    (void)state;
    srand(7);
    for (size_t i = 0; i < OBJECTS; i++) { /* newest first by construction, many ties */
        times[i] = (int64_t)(OBJECTS - i) / 5;
        owner[i] = (size_t)rand() % SOURCES;
    }
    while (seen < OBJECTS && pages++ < OBJECTS) {
        struct listing_source s[SOURCES] = {0};
        struct listing_item item;

        for (size_t i = 0; i < OBJECTS; i++) {
            if (cursor.set && owner[i] == cursor.source && i <= cursor_object)
                continue; /* what `after` does at the cursor's own account */
            if (listing_is_behind(&cursor, owner[i], times[i], false))
                assert_int_equal(listing_source_add(&s[owner[i]], times[i], "id", &names[i], 1), 0);
        }
        for (int k = 0; k < 7 && listing_take(s, SOURCES, false, &item) < SOURCES; k++) {
            cursor_object = (size_t)(item.text - names);
            assert_false(shown[cursor_object]);
            shown[cursor_object] = true;
            seen++;
        }
        cursor = (struct listing_cursor){true, times[cursor_object], owner[cursor_object]};
        for (int i = 0; i < SOURCES; i++)
            listing_source_deinit(&s[i]);
    }
    assert_int_equal(seen, OBJECTS);
}

static void assert_items(struct listing_source *s, const char *wanted)
{
    char out[16] = "";

    take_all(s, 1, false, out);
    assert_string_equal(out, wanted);
    s->next = 0;
}

static void a_whole_list_is_sorted_and_equal_times_go_by_id(void **state)
{
    static const char *const orders[] = {"dabce", "ecbad", "cdeab"};

    (void)state;
    for (size_t k = 0; k < sizeof(orders) / sizeof(orders[0]); k++) {
        struct listing_source s = {0};

        for (const char *c = orders[k]; *c != '\0'; c++) {
            char name[2] = {*c, '\0'};
            const char *const all = "abcde";

            assert_int_equal(listing_source_add(&s, (int64_t[]){9, 5, 5, 5, 1}[*c - 'a'], name,
                                                all + (*c - 'a'), 1),
                             0);
        }
        listing_sort(&s, false);
        assert_items(&s, "adcbe");
        listing_sort(&s, true);
        assert_items(&s, "ebcda");
        listing_source_deinit(&s);
    }
}

static void a_whole_list_goes_on_behind_an_object_that_is_not_in_it_any_more(void **state)
{
    struct listing_source s = {0};

    (void)state;
    add(&s, 9, "a");
    add(&s, 5, "d");
    add(&s, 5, "b");
    add(&s, 1, "e");
    listing_trim(&s, 5, "c", false);
    assert_items(&s, "be");
    listing_trim(&s, 1, "e", false);
    assert_items(&s, "");
    listing_source_deinit(&s);
}

static void a_list_ends_where_an_account_broke_off(void **state)
{
    struct listing_source s[2] = {0};
    char out[16];

    (void)state;
    add(&s[0], 9, "a");
    add(&s[0], 7, "c");
    add(&s[1], 8, "b");
    add(&s[1], 6, "d");
    s[0].broken = true;
    take_all(s, 2, false, out);
    assert_string_equal(out, "abc");
    assert_true(listing_has_more(s, 2));
    s[0].num = s[0].next = 0; /* it gave nothing: the others are shown */
    s[1].next = 0;
    take_all(s, 2, false, out);
    assert_string_equal(out, "bd");
    assert_false(listing_has_more(s, 2));
    for (int i = 0; i < 2; i++)
        listing_source_deinit(&s[i]);
}

static void behind_a_deleted_cursor_its_equals_are_shown_again_rather_than_lost(void **state)
{
    struct listing_cursor cursor = {.set = true, .created_at = 7, .source = 1};

    (void)state;
    assert_false(listing_may_be_behind(&cursor, 8, false));
    assert_true(listing_may_be_behind(&cursor, 7, false));
    assert_true(listing_may_be_behind(&cursor, 6, false));
    assert_false(listing_may_be_behind(&cursor, 6, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_come_first_over_all_accounts),
        cmocka_unit_test(equal_times_go_by_account_and_keep_the_accounts_own_order),
        cmocka_unit_test(equal_times_go_by_account_in_either_direction),
        cmocka_unit_test(a_list_of_as_many_items_as_there_is_room_for_is_sorted_and_trimmed),
        cmocka_unit_test(lists_of_no_and_of_one_item_are_sorted_already),
        cmocka_unit_test(what_has_more_than_four_gib_is_no_item),
        cmocka_unit_test(oldest_come_first_when_asked),
        cmocka_unit_test(a_cursor_splits_equal_times_between_accounts),
        cmocka_unit_test(paging_shows_each_object_exactly_once),
        cmocka_unit_test(a_whole_list_is_sorted_and_equal_times_go_by_id),
        cmocka_unit_test(a_whole_list_goes_on_behind_an_object_that_is_not_in_it_any_more),
        cmocka_unit_test(a_list_ends_where_an_account_broke_off),
        cmocka_unit_test(behind_a_deleted_cursor_its_equals_are_shown_again_rather_than_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
