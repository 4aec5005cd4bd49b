/* Creates that were asked for and not sent: whose they are, and what is known after a death. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/unsent.h"

static struct unsent_row row;
static char id[UNSENT_ID + 1];
static enum unsent_kind kind;

static int setup(void **state)
{
    (void)state;
    memset(&row, 0, sizeof(row));
    return 0;
}

static const char *nth(unsigned n)
{
    static char text[UNSENT_ID + 1];

    snprintf(text, sizeof(text), "%032u", n);
    return text;
}

static void a_dead_workers_unsent_creates_are_known_by_their_ids(void **state)
{
    struct unsent_entry *sent = unsent_note(&row, UNSENT_CREATE, nth(1));

    (void)state;
    assert_non_null(unsent_note(&row, UNSENT_CREATE, nth(2)));
    unsent_clear(&sent);
    assert_null(sent);
    assert_null(unsent_first_dead(&row, &kind, id)); /* it lives */
    assert_int_equal(unsent_bury(&row), 1);
    assert_non_null(unsent_first_dead(&row, &kind, id));
    assert_string_equal(id, nth(2));
}

static void what_is_given_back_is_forgotten_once(void **state)
{
    struct unsent_entry *entry, *of_the_next_worker;

    (void)state;
    (void)unsent_note(&row, UNSENT_CREATE, nth(1));
    assert_int_equal(unsent_bury(&row), 1);
    entry = unsent_first_dead(&row, &kind, id);
    unsent_forget(entry);
    assert_null(unsent_first_dead(&row, &kind, id));
    of_the_next_worker = unsent_note(&row, UNSENT_CREATE, nth(2)); /* in the same place */
    assert_ptr_equal(of_the_next_worker, entry);
    unsent_forget(entry); /* the other keeper, a moment later */
    assert_int_equal(unsent_bury(&row), 1);
}

static void the_next_worker_of_a_row_leaves_the_dead_ones_creates_alone(void **state)
{
    struct unsent_entry *own;

    (void)state;
    (void)unsent_note(&row, UNSENT_CREATE, nth(1));
    assert_int_equal(unsent_bury(&row), 1);
    own = unsent_note(&row, UNSENT_CREATE, nth(2));
    assert_non_null(own);
    unsent_clear(&own);
    assert_int_equal(unsent_bury(&row), 0);
    assert_non_null(unsent_first_dead(&row, &kind, id));
    assert_string_equal(id, nth(1));
}

static void keys_are_told_from_creates(void **state)
{
    struct unsent_entry *create = unsent_note(&row, UNSENT_CREATE, nth(1));

    (void)state;
    (void)unsent_note(&row, UNSENT_KEY, nth(2));
    assert_int_equal(unsent_bury(&row), 2);
    assert_ptr_equal(unsent_first_dead(&row, &kind, id), create);
    assert_int_equal(kind, UNSENT_CREATE);
    unsent_forget(create);
    assert_non_null(unsent_first_dead(&row, &kind, id));
    assert_int_equal(kind, UNSENT_KEY);
    assert_string_equal(id, nth(2));
}

static void what_finds_no_place_is_not_noted(void **state)
{
    struct unsent_entry *none, *first = unsent_note(&row, UNSENT_CREATE, nth(0));

    (void)state;
    for (unsigned i = 1; i < UNSENT_A_ROW; i++)
        assert_non_null(unsent_note(&row, UNSENT_CREATE, nth(i)));
    none = unsent_note(&row, UNSENT_CREATE, nth(UNSENT_A_ROW));
    assert_null(none);
    unsent_clear(&none); /* is fine */
    unsent_clear(&first);
    assert_non_null(unsent_note(&row, UNSENT_CREATE, nth(UNSENT_A_ROW)));
    assert_int_equal(unsent_bury(&row), UNSENT_A_ROW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_dead_workers_unsent_creates_are_known_by_their_ids, setup),
        cmocka_unit_test_setup(what_is_given_back_is_forgotten_once, setup),
        cmocka_unit_test_setup(the_next_worker_of_a_row_leaves_the_dead_ones_creates_alone, setup),
        cmocka_unit_test_setup(keys_are_told_from_creates, setup),
        cmocka_unit_test_setup(what_finds_no_place_is_not_noted, setup)};

    return cmocka_run_group_tests_name("unsent", tests, NULL, NULL);
}
