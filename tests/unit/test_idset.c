/* The set of custom_ids: what it has seen, how it grows, and what happens at its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "jsonl/idset.h"
#include "exact.h"

enum { TAIL = 64, SLOT_BYTES = 10 };

/* Cheap and repeatable. */
static uint64_t seed = 88172645463325252u;

static size_t draw(size_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed >> 33) % below;
}

static void add_numbered(struct idset *set, uint32_t i, int expected)
{
    char id[32];
    int len = snprintf(id, sizeof(id), "request-%u", i);
    uint32_t first = 0;

    assert_int_equal(idset_add(set, id, (size_t)len, i, &first), expected);
    if (expected == ERR_DUPLICATE)
        assert_int_equal(first, i);
}

static void a_set_tells_which_strings_it_has_seen(void **state)
{
    struct idset set;
    uint32_t first = 0;

    (void)state;
    assert_int_equal(idset_init(&set, 20003), 0);
    for (uint32_t i = 1; i <= 20000; i++) {
        add_numbered(&set, i, 0);
        add_numbered(&set, 1 + (uint32_t)draw(i), ERR_DUPLICATE);
    }
    for (uint32_t i = 1; i <= 20000; i++)
        add_numbered(&set, i, ERR_DUPLICATE);
    assert_int_equal(idset_add(&set, "", 0, 20001, &first), 0);
    assert_int_equal(idset_add(&set, "\0", 1, 20002, &first), 0);
    assert_int_equal(idset_add(&set, "\0\0\0\0\0\0\0\0", 8, 20003, &first), 0);
    idset_deinit(&set);
}

/* However many there are, and not only at lucky sizes. */
static void a_set_takes_less_than_twelve_bytes_a_string(void **state)
{
    struct idset set;

    (void)state;
    assert_int_equal(idset_init(&set, 100000), 0);
    for (uint32_t i = 1; i <= 100000; i++) {
        add_numbered(&set, i, 0);
        if (i >= 30000)
            assert_true(set.room * 10 < 12ull * i);
    }
    for (uint32_t i = 1; i <= 100000; i++)
        add_numbered(&set, i, ERR_DUPLICATE);
    idset_deinit(&set);
}

static void a_mark_too_large_is_kept_as_the_largest(void **state)
{
    struct idset set;
    uint32_t first = 0;

    (void)state;
    assert_int_equal(idset_init(&set, UINT64_MAX), 0);
    assert_int_equal(idset_add(&set, "a", 1, (1u << 24) - 2, &first), 0);
    assert_int_equal(idset_add(&set, "b", 1, UINT32_MAX, &first), 0);
    assert_int_equal(idset_add(&set, "a", 1, 1, &first), ERR_DUPLICATE);
    assert_int_equal(first, (1u << 24) - 2);
    assert_int_equal(idset_add(&set, "b", 1, 1, &first), ERR_DUPLICATE);
    assert_int_equal(first, (1u << 24) - 1);
    idset_deinit(&set);
}

/* Nine tenths of its room are taken before it grows, by half and, from 33,211 on, by a sixteenth. */
static void a_set_grows_by_the_same_steps_each_time(void **state)
{
    static const size_t steps[] = {256,  384,  576,   864,   1296,  1944,  2916, 4374,
                                   6561, 9841, 14761, 22141, 33211, 35286, 37491};
    struct idset set;
    uint32_t i = 0;

    (void)state;
    assert_int_equal(idset_init(&set, 100000), 0);
    assert_int_equal(idset_bytes(&set), 0);
    for (size_t n = 0; n < sizeof(steps) / sizeof(steps[0]); n++) {
        while (i < steps[n] / 10 * 9) {
            add_numbered(&set, ++i, 0);
            assert_int_equal(set.room, steps[n]);
        }
        assert_int_equal(idset_bytes(&set), (steps[n] + TAIL) * SLOT_BYTES);
    }
    idset_deinit(&set);
}

/* Where a string stands in an empty set with this key; *high: the beginning of its hash. */
static size_t home_of(const struct idset *like, const char *text, uint64_t *high)
{
    struct idset alone;
    uint32_t first;
    size_t at;

    assert_int_equal(idset_init(&alone, 1000), 0);
    memcpy(alone.key, like->key, sizeof(alone.key));
    assert_int_equal(idset_add(&alone, text, strlen(text), 1, &first), 0);
    for (at = 0; alone.slots[at * SLOT_BYTES + SLOT_BYTES - 2] == 0; at++)
        assert_true(at < alone.room);
    memcpy(high, alone.slots + at * SLOT_BYTES, sizeof(*high));
    idset_deinit(&alone);
    return at;
}

/* Numbers whose names belong to the last place but those behind the end; the last one's is behind
 * all others. */
static void numbers_for_the_end(const struct idset *set, uint32_t *numbers, size_t num)
{
    uint64_t high, highest = 0;
    uint32_t number = 0;
    char id[32];

    for (size_t i = 0; i < num; i++) {
        do
            snprintf(id, sizeof(id), "request-%u", ++number);
        while (home_of(set, id, &high) != 255);
        numbers[i] = number;
        if (high < highest) {
            numbers[i] = numbers[i - 1];
            numbers[i - 1] = number;
        } else {
            highest = high;
        }
    }
}

/* Its last place and the 64 behind it: the next one finds none, and the set grows. */
static void a_set_that_is_full_at_its_end_loses_nothing(void **state)
{
    enum { FITTING = 1 + TAIL };
    uint32_t numbers[FITTING + 1];
    struct idset set;

    (void)state;
    assert_int_equal(idset_init(&set, (uint64_t)1 << 23), 0);
    numbers_for_the_end(&set, numbers, FITTING + 1);
    for (size_t i = 0; i <= FITTING; i++) {
        add_numbered(&set, numbers[i], 0);
        assert_int_equal(set.room == 256, i < FITTING);
        for (size_t k = 0; k <= i; k++)
            add_numbered(&set, numbers[k], ERR_DUPLICATE);
    }
    idset_deinit(&set);
}

/* Of any length: nothing behind it is looked at, and all of it is. */
static void a_string_is_hashed_to_its_last_byte_and_no_further(void **state)
{
    char text[40];

    (void)state;
    memset(text, 'a', sizeof(text));
    for (size_t len = 0; len <= sizeof(text); len++) {
        char *copy = exact_copy(text, len);
        struct idset set;
        uint32_t first;

        assert_int_equal(idset_init(&set, 1000), 0);
        assert_int_equal(idset_add(&set, copy, len, 7, &first), 0);
        assert_int_equal(idset_add(&set, text, len, 8, &first), ERR_DUPLICATE);
        assert_int_equal(first, 7);
        for (size_t i = 0; i < len; i++) {
            copy[i] ^= 1;
            assert_int_equal(idset_add(&set, copy, len, 9, &first), 0);
            copy[i] ^= 1;
        }
        idset_deinit(&set);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_tells_which_strings_it_has_seen),
        cmocka_unit_test(a_set_takes_less_than_twelve_bytes_a_string),
        cmocka_unit_test(a_mark_too_large_is_kept_as_the_largest),
        cmocka_unit_test(a_set_grows_by_the_same_steps_each_time),
        cmocka_unit_test(a_set_that_is_full_at_its_end_loses_nothing),
        cmocka_unit_test(a_string_is_hashed_to_its_last_byte_and_no_further),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
