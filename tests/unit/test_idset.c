/* idset: which strings were seen, in few bytes a string. */
#include "jsonl/idset.h"
#include "jsonl_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_tells_which_strings_it_has_seen),
        cmocka_unit_test(a_set_takes_less_than_twelve_bytes_a_string),
        cmocka_unit_test(a_mark_too_large_is_kept_as_the_largest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
