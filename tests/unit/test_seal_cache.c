/* seal_cache: what it says was put there, whole. The table is compiled into this file, so that an
 * entry can be left as a killed writer leaves it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/hammer.h"

#include "common/crypto/seal_cache.c"

#define ENTRIES 64u

static struct seal_cache *c;
static struct seal_namer namer;

static int setup(void **state)
{
    uint64_t x = 88172645463325252u;

    (void)state;
    for (size_t i = 0; i < sizeof(namer.word) / sizeof(namer.word[0]); i++) {
        x ^= x << 13; /* xorshift64: any words will do */
        x ^= x >> 7;
        x ^= x << 17;
        namer.word[i] = x;
    }
    return seal_cache_new(ENTRIES, &c);
}

static int teardown(void **state)
{
    (void)state;
    seal_cache_free(c);
    return 0;
}

static struct seal_name name_of(const char *text, size_t len)
{
    struct seal_name name;

    assert_true(seal_cache_name(&namer, 7, text, len, &name));
    return name;
}

static bool same(const struct seal_name *a, const struct seal_name *b)
{
    return a->lo == b->lo && a->hi == b->hi;
}

/* The n-th name of one bucket. */
static struct seal_name rival(uint64_t n)
{
    return (struct seal_name){.lo = n * ENTRIES + 1000, .hi = 0x0123456789abcdefu};
}

static bool has(const struct seal_name *name, uint64_t seal)
{
    uint64_t found = ~seal;
    bool there = seal_cache_get(c, name, &found);

    assert_int_equal(there && found == seal, seal_cache_proves(c, name, seal));
    return there && found == seal;
}

static void a_seal_that_was_put_is_there_and_no_other_is_proved_by_it(void **state)
{
    struct seal_name name = rival(0), other = rival(1);
    uint64_t seal = 0xfedcba9876543210u, none = 5;

    (void)state;
    assert_false(seal_cache_get(c, &name, &none));
    assert_int_equal(none, 5);
    seal_cache_put(c, &name, seal);
    assert_true(has(&name, seal));
    assert_false(seal_cache_get(c, &other, &none));
    for (unsigned i = 0; i < 64; i++) {
        struct seal_name lo = name, hi = name;

        lo.lo ^= UINT64_C(1) << i;
        hi.hi ^= UINT64_C(1) << i;
        assert_false(seal_cache_proves(c, &name, seal ^ UINT64_C(1) << i));
        assert_false(seal_cache_proves(c, &lo, seal));
        assert_false(seal_cache_proves(c, &hi, seal));
    }
}

static void a_third_one_in_a_bucket_takes_the_place_of_the_first(void **state)
{
    struct seal_name names[] = {rival(0), rival(1), rival(2)};

    (void)state;
    for (uint64_t i = 0; i < 3; i++)
        seal_cache_put(c, &names[i], 100 + i);
    assert_false(has(&names[0], 100));
    assert_true(has(&names[1], 101));
    assert_true(has(&names[2], 102));
}

/* A writer is killed after any of its words, over another entry; half of a name is easy to meet for
 * who may choose the texts. */
static void words_of_two_entries_are_no_entry(void **state)
{
    struct seal_name names[] = {{1000, ENTRIES}, {2 * ENTRIES + 1000, 3 * ENTRIES}};
    struct seal_name mixed[] = {{names[0].lo, names[1].hi}, {names[1].lo, names[0].hi}};
    _Atomic uint64_t *words = (_Atomic uint64_t *)&bucket_of(c, &names[0])->entry[0];
    uint64_t parts[2][3];

    (void)state;
    for (unsigned n = 0; n < 2; n++) {
        seal_cache_put(c, &names[n], 0x1111 << n);
        for (unsigned i = 0; i < 3; i++)
            parts[n][i] = words[i];
        assert_ptr_equal(bucket_of(c, &names[n]), bucket_of(c, &mixed[n]));
    }
    memset(bucket_of(c, &names[0]), 0, sizeof(struct bucket));
    for (unsigned mask = 1; mask < 7; mask++) {
        for (unsigned i = 0; i < 3; i++)
            words[i] = parts[mask >> i & 1][i];
        for (unsigned n = 0; n < 2; n++)
            for (unsigned s = 0; s < 2; s++) {
                assert_false(has(&names[n], 0x1111 << s));
                assert_false(has(&mixed[n], 0x1111 << s));
            }
    }
}

/* RFC 4418 section 5.2.2, with a product of halves: no word of 128 bits. */
static struct seal_name referee(const unsigned char *text, size_t len)
{
    uint64_t words[sizeof(namer.word) / sizeof(namer.word[0])] = {0};
    struct seal_name sum = {.lo = (uint64_t)len << 8 | 7};

    memcpy(words, text, len);
    for (size_t i = 0; i < (len + 15) / 16 * 2; i += 2) {
        uint64_t a = words[i] + namer.word[i], b = words[i + 1] + namer.word[i + 1];
        uint64_t a0 = a & 0xffffffffu, a1 = a >> 32, b0 = b & 0xffffffffu, b1 = b >> 32;
        uint64_t low = a0 * b0, middle = a1 * b0 + (low >> 32), other = a0 * b1;
        uint64_t carried = (middle & 0xffffffffu) + other;
        uint64_t lo = carried << 32 | (low & 0xffffffffu);

        sum.lo += lo;
        sum.hi += a1 * b1 + (middle >> 32) + (carried >> 32) + (sum.lo < lo);
    }
    return sum;
}

static void a_name_is_a_sum_of_products_at_every_length(void **state)
{
    unsigned char text[SEAL_CACHE_TEXT_MAX + 1];
    struct seal_name name;

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (unsigned char)(i * 151 + 3);
    for (size_t len = 0; len <= SEAL_CACHE_TEXT_MAX; len++) {
        struct seal_name wanted = referee(text, len);

        name = name_of((const char *)text, len);
        assert_true(same(&name, &wanted));
    }
    assert_false(seal_cache_name(&namer, 7, text, SEAL_CACHE_TEXT_MAX + 1, &name));
}

static void every_bit_the_length_and_the_kind_are_in_a_name(void **state)
{
    char text[80] = "";
    struct seal_name seen[sizeof(text) * 8 + sizeof(text) + 1];
    size_t n = 0;

    (void)state;
    for (size_t len = 0; len <= sizeof(text); len++) /* of zeroes, as the padding is */
        seen[n++] = name_of(text, len);
    for (size_t bit = 0; bit < sizeof(text) * 8 - 1; bit++) {
        text[bit / 8] = (char)(1u << bit % 8);
        seen[n++] = name_of(text, sizeof(text));
        text[bit / 8] = 0;
    }
    assert_true(seal_cache_name(&namer, 8, text, sizeof(text), &seen[n]));
    n++;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            assert_false(same(&seen[i], &seen[k]));
}

/* As many as there are places, by names as short as they can be and as long as ids are. */
static void names_are_spread_over_all_buckets(void **state)
{
    static const char *const heads[] = {"", "batch_690a1b2c3d4e81908f7e6d5c"};
    struct seal_cache *large = NULL;

    (void)state;
    assert_int_equal(seal_cache_new(4096, &large), 0);
    for (unsigned head = 0; head < 2; head++) {
        unsigned kept = 0;
        char text[64];

        for (unsigned pass = 0; pass < 2; pass++)
            for (unsigned i = 0; i < 4096; i++) {
                size_t len = (size_t)snprintf(text, sizeof(text), "%s%x", heads[head], i);
                struct seal_name name = name_of(text, len);

                if (pass == 0)
                    seal_cache_put(large, &name, i);
                else
                    kept += seal_cache_proves(large, &name, i);
            }
        assert_in_range(kept, 2000, 4096); /* two of a bucket stay: by chance 2,987 */
    }
    seal_cache_free(large);
}

#define ROUNDS 20000

/* Names of two buckets, whose seals follow from them. */
static void *put_and_get(void *arg)
{
    uint64_t wrong = 0;

    for (uint64_t i = 0; i < ROUNDS; i++) {
        uint64_t n = (i * 7 + (uintptr_t)arg) % 12, seal = 0;
        struct seal_name name = {.lo = n / 2 * ENTRIES + n % 2, .hi = 1000};

        if (seal_cache_get(c, &name, &seal))
            wrong += seal != n * UINT64_C(0x9e3779b97f4a7c15);
        wrong += seal_cache_proves(c, &name, n * UINT64_C(0x9e3779b97f4a7c15) + 1);
        seal_cache_put(c, &name, n * UINT64_C(0x9e3779b97f4a7c15));
    }
    return (void *)(uintptr_t)wrong;
}

static void of_many_that_write_at_once_nobody_reads_what_was_not_put(void **state)
{
    (void)state;
    hammer(put_and_get);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    struct seal_cache *none = NULL;

    (void)state;
    assert_int_equal(seal_cache_new(0, &none), ERR_INVALID);
    assert_int_equal(seal_cache_new((1u << 24) + 1, &none), ERR_INVALID);
    assert_null(none);
    seal_cache_free(NULL);
    assert_int_equal(seal_cache_new(1, &none), 0);
    seal_cache_free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_seal_that_was_put_is_there_and_no_other_is_proved_by_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_third_one_in_a_bucket_takes_the_place_of_the_first, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(words_of_two_entries_are_no_entry, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_is_a_sum_of_products_at_every_length, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_bit_the_length_and_the_kind_are_in_a_name, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(names_are_spread_over_all_buckets, setup, teardown),
        cmocka_unit_test_setup_teardown(of_many_that_write_at_once_nobody_reads_what_was_not_put,
                                        setup, teardown),
        cmocka_unit_test(sizes_that_make_no_sense_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
