/* The issuer's keys as workers read them while the keeper writes. */
#include "balancer/issuer_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <pthread.h>

static struct issuer_keys *keys;
static struct jwks set, found;

static int setup(void **state)
{
    (void)state;
    memset(&set, 0, sizeof(set));
    return issuer_keys_new(&keys);
}

static int teardown(void **state)
{
    (void)state;
    issuer_keys_free(keys);
    return 0;
}

/* A set whose bytes all say the same number. */
static void fill(struct jwks *to, unsigned char number)
{
    memset(to, number, sizeof(*to));
    to->num = JWKS_MAX_KEYS;
}

static void before_the_first_answer_there_is_no_set(void **state)
{
    (void)state;
    assert_int_equal(issuer_keys_number(keys), 0);
    assert_int_equal(issuer_keys_read(keys, &found), 0);
    assert_int_equal(issuer_keys_confirmed(keys), 0);
}

static void the_last_set_is_read_whole(void **state)
{
    (void)state;
    fill(&set, 1);
    issuer_keys_publish(keys, &set, 100);
    assert_int_equal(issuer_keys_read(keys, &found), 1);
    assert_memory_equal(&found, &set, sizeof(set));
    fill(&set, 2);
    issuer_keys_publish(keys, &set, 200);
    assert_int_equal(issuer_keys_read(keys, &found), 2);
    assert_memory_equal(&found, &set, sizeof(set));
    assert_int_equal(issuer_keys_confirmed(keys), 200);
}

static void the_same_set_again_is_confirmed_and_has_its_number(void **state)
{
    (void)state;
    fill(&set, 1);
    issuer_keys_publish(keys, &set, 100);
    issuer_keys_publish(keys, &set, 300);
    assert_int_equal(issuer_keys_number(keys), 1);
    assert_int_equal(issuer_keys_confirmed(keys), 300);
}

static void the_next_generation_takes_over_what_there_is(void **state)
{
    struct issuer_keys *next;

    (void)state;
    assert_int_equal(issuer_keys_new(&next), 0);
    issuer_keys_copy(next, keys);
    assert_int_equal(issuer_keys_number(next), 0);
    fill(&set, 3);
    issuer_keys_publish(keys, &set, 100);
    issuer_keys_copy(next, keys);
    assert_int_equal(issuer_keys_read(next, &found), 1);
    assert_memory_equal(&found, &set, sizeof(set));
    assert_int_equal(issuer_keys_confirmed(next), 100);
    issuer_keys_free(next);
}

static void who_rings_is_heard(void **state)
{
    uint64_t first = issuer_keys_ring(keys), second = issuer_keys_ring(keys);

    (void)state;
    assert_true(second > first);
    assert_int_equal(issuer_keys_rung(keys), second);
    assert_true(issuer_keys_heard(keys) < first);
    issuer_keys_hear(keys, first);
    assert_true(issuer_keys_heard(keys) >= first && issuer_keys_heard(keys) < second);
}

static void the_issuer_is_not_asked_too_often(void **state)
{
    (void)state;
    assert_true(issuer_keys_may_ask(keys, 5, 30000));
    issuer_keys_begin(keys, 1000);
    assert_false(issuer_keys_may_ask(keys, 30999, 30000));
    assert_true(issuer_keys_may_ask(keys, 31000, 30000));
}

static void *write_sets(void *arg)
{
    static struct jwks next;

    (void)arg;
    for (unsigned i = 1; i <= 2000; i++) {
        fill(&next, (unsigned char)i);
        issuer_keys_publish(keys, &next, i);
    }
    return NULL;
}

static void who_reads_meanwhile_sees_one_whole_set(void **state)
{
    pthread_t writer;

    (void)state;
    assert_int_equal(pthread_create(&writer, NULL, write_sets, NULL), 0);
    do {
        if (issuer_keys_read(keys, &found) == 0)
            continue;
        fill(&set, found.keys[0].der[0]);
        assert_memory_equal(&found, &set, sizeof(set));
    } while (issuer_keys_confirmed(keys) < 2000);
    pthread_join(writer, NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(before_the_first_answer_there_is_no_set),
        TEST(the_last_set_is_read_whole),
        TEST(the_same_set_again_is_confirmed_and_has_its_number),
        TEST(the_next_generation_takes_over_what_there_is),
        TEST(who_rings_is_heard),
        TEST(the_issuer_is_not_asked_too_often),
        TEST(who_reads_meanwhile_sees_one_whole_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
