/* idem: one key, one holder; a repeat gets the first answer; a death is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/idem.c"

#define NOW  1000000u
#define KEEP 5000u

static struct idem *t;
static struct idem_answer answer;

static int setup(void **state)
{
    (void)state;
    assert_int_equal(idem_new(IDEM_WAYS, &t), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    idem_free(t);
    return 0;
}

static struct idem_key key_of(const char *text)
{
    return idem_key('c', 7, text, strlen(text));
}

static enum idem_found begin_at(const char *text, uint64_t request, uint64_t now_ms,
                                struct idem_claim *claim)
{
    struct idem_key key = key_of(text);

    return idem_begin(t, 1, &key, request, "nonce-1", KEEP, now_ms, claim, &answer);
}

static enum idem_found begin(const char *text, struct idem_claim *claim)
{
    return begin_at(text, 1, NOW, claim);
}

static enum idem_found look_at(const char *text, uint64_t now_ms)
{
    struct idem_key key = key_of(text);

    return idem_look(t, &key, 1, now_ms, &answer);
}

static bool take_lost(const char *text, uint32_t holder, struct idem_claim *claim)
{
    struct idem_key key = key_of(text);

    return idem_take_lost(t, holder, &key, claim);
}

static void make_answer(struct idem_answer *a, int status, size_t len)
{
    memset(a, 0, sizeof(*a));
    a->status = status;
    a->deployment = 77;
    strcpy(a->id, "batch_1-tag");
    a->len = len;
    for (size_t i = 0; i < len; i++)
        a->body[i] = (char)('a' + i % 23);
}

static void finish(struct idem_claim *claim, size_t len)
{
    struct idem_answer a;

    make_answer(&a, 200, len);
    idem_answer(t, claim, &a);
    assert_int_equal(claim->entry, 0);
}

static unsigned num_in(enum idem_state state)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < t->num_entries; i++)
        n += state_of(load_acquire_part(&head_at(t, i)->word)) == state;
    return n;
}

static void a_repeat_gets_the_answer_of_the_first(void **state)
{
    struct idem_answer expected;
    struct idem_claim claim, second;

    (void)state;
    assert_int_equal(look_at("a", NOW), IDEM_NEW);
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    assert_int_equal(begin("a", &second), IDEM_RUNNING);
    assert_int_equal(second.entry, 0);
    assert_int_equal(look_at("a", NOW), IDEM_RUNNING);
    assert_true(idem_sent(t, &claim, 77));
    assert_int_equal(begin("a", &second), IDEM_RUNNING);
    finish(&claim, 1001);
    assert_int_equal(begin("a", &second), IDEM_DONE);
    make_answer(&expected, 200, 1001);
    assert_int_equal(answer.status, 200);
    assert_int_equal(answer.deployment, 77);
    assert_string_equal(answer.id, "batch_1-tag");
    assert_string_equal(answer.nonce, "nonce-1");
    assert_int_equal(answer.len, 1001);
    assert_memory_equal(answer.body, expected.body, 1001);
    assert_int_equal(look_at("b", NOW), IDEM_NEW);
}

static void bodies_of_every_length_come_back_whole(void **state)
{
    static const size_t lens[] = {0, 1, 7, 8, 9, IDEM_ANSWER_MAX - 1, IDEM_ANSWER_MAX};
    struct idem_answer expected;
    struct idem_claim claim;

    (void)state;
    for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
        uint64_t now = NOW + i * KEEP;

        assert_int_equal(begin_at("a", 1, now, &claim), IDEM_NEW);
        finish(&claim, lens[i]);
        assert_int_equal(look_at("a", now), IDEM_DONE);
        make_answer(&expected, 200, lens[i]);
        assert_int_equal(answer.len, lens[i]);
        assert_memory_equal(answer.body, expected.body, lens[i]);
    }
}

static void an_id_and_a_nonce_of_full_length_come_back_whole(void **state)
{
    struct idem_key key = key_of("a");
    struct idem_answer a;
    struct idem_claim claim;
    char nonce[] = "0123456789abcdef0123456789ABCDEF+";

    (void)state;
    make_answer(&a, -1, 0);
    memset(a.id, 'i', IDEM_ID_MAX);
    assert_int_equal(idem_begin(t, 1, &key, 1, nonce, KEEP, NOW, &claim, &answer), IDEM_NEW);
    idem_answer(t, &claim, &a);
    assert_int_equal(look_at("a", NOW), IDEM_DONE);
    nonce[IDEM_NONCE_MAX] = '\0';
    assert_string_equal(answer.nonce, nonce);
    assert_string_equal(answer.id, a.id);
    assert_int_equal(answer.status, -1);
}

static void the_same_key_with_another_request_is_a_mismatch_at_any_time(void **state)
{
    struct idem_claim claim, second;

    (void)state;
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    assert_int_equal(begin_at("a", 2, NOW, &second), IDEM_MISMATCH);
    assert_true(idem_sent(t, &claim, 77));
    assert_int_equal(begin_at("a", 2, NOW, &second), IDEM_MISMATCH);
    idem_lose(t, &claim);
    assert_int_equal(begin_at("a", 2, NOW, &second), IDEM_MISMATCH);
    assert_true(take_lost("a", 2, &claim));
    finish(&claim, 5);
    assert_int_equal(begin_at("a", 2, NOW, &second), IDEM_MISMATCH);
    assert_int_equal(begin_at("a", 2, NOW + KEEP, &second), IDEM_NEW);
}

static void what_was_forgotten_is_as_if_it_had_never_been(void **state)
{
    struct idem_claim claim, old;

    (void)state;
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    old = claim;
    idem_forget(t, &claim);
    assert_int_equal(claim.entry, 0);
    assert_int_equal(look_at("a", NOW), IDEM_NEW);
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    idem_forget(t, &old); /* an old claim touches nobody who came after it */
    assert_false(idem_sent(t, &old, 1));
    assert_int_equal(look_at("a", NOW), IDEM_RUNNING);
    assert_true(idem_sent(t, &claim, 77)); /* it was refused there, which is known ... */
    assert_true(idem_sent(t, &claim, 78)); /* ... and everywhere else */
    idem_forget(t, &claim);
    assert_int_equal(look_at("a", NOW), IDEM_NEW);
    idem_forget(t, &claim);
    idem_lose(t, &claim);
    finish(&claim, 1);
    assert_false(idem_sent(t, &claim, 77));
    assert_int_equal(num_in(IDEM_STATE_FREE), IDEM_WAYS);
}

static void an_answer_is_kept_for_its_time_and_no_longer(void **state)
{
    struct idem_claim claim;

    (void)state;
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    finish(&claim, 10);
    assert_int_equal(look_at("a", NOW + KEEP - 1), IDEM_DONE);
    assert_int_equal(look_at("a", NOW + KEEP), IDEM_NEW);
    assert_int_equal(begin_at("a", 1, NOW + KEEP, &claim), IDEM_NEW);
    assert_int_equal(begin_at("b", 1, NOW, &claim), IDEM_NEW);
    assert_int_equal(begin_at("b", 1, NOW + 100 * KEEP, &claim), IDEM_RUNNING); /* it is alive */
}

static void a_death_before_anything_was_sent_frees_the_key(void **state)
{
    struct idem_claim claim;

    (void)state;
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    assert_int_equal(idem_undo_holder(t, 2), 0);
    assert_int_equal(look_at("a", NOW), IDEM_RUNNING);
    assert_int_equal(idem_undo_holder(t, 1), 0);
    assert_int_equal(look_at("a", NOW), IDEM_NEW);
    assert_int_equal(begin("a", &claim), IDEM_NEW);
}

static void a_death_after_all_was_refused_frees_the_key(void **state)
{
    struct idem_claim claim, nothing = {0};

    (void)state;
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    assert_true(idem_sent(t, &claim, 77));
    idem_refused(t, &claim);
    assert_int_equal(look_at("a", NOW), IDEM_RUNNING);
    assert_int_equal(idem_undo_holder(t, 1), 0);
    assert_int_equal(look_at("a", NOW), IDEM_NEW);
    idem_refused(t, &claim); /* too late: it is nobody's any more */
    idem_refused(t, &nothing);
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    assert_true(idem_sent(t, &claim, 77));
    idem_refused(t, &claim);
    assert_true(idem_sent(t, &claim, 78));
    assert_int_equal(idem_undo_holder(t, 1), 1);
    assert_int_equal(begin("a", &claim), IDEM_LOST);
    assert_int_equal(answer.deployment, 78);
}

static void a_death_after_something_was_sent_is_remembered_until_it_is_found_out(void **state)
{
    struct idem_claim claim, second, third;

    (void)state;
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    assert_true(idem_sent(t, &claim, 77));
    assert_int_equal(idem_undo_holder(t, 1), 1);
    assert_int_equal(begin("a", &claim), IDEM_LOST);
    assert_string_equal(answer.nonce, "nonce-1");
    assert_int_equal(answer.deployment, 77);
    assert_int_equal(answer.len, 0);
    assert_true(take_lost("a", 2, &second));
    assert_false(take_lost("a", 3, &third));
    assert_int_equal(third.entry, 0);
    assert_int_equal(begin("a", &claim), IDEM_RUNNING);
    idem_lose(t, &second); /* could not be seen */
    assert_int_equal(look_at("a", NOW), IDEM_LOST);
    assert_true(take_lost("a", 3, &third));
    assert_int_equal(idem_undo_holder(t, 3), 1); /* it died while it looked */
    assert_int_equal(look_at("a", NOW), IDEM_LOST);
    assert_true(take_lost("a", 3, &third));
    finish(&third, 9);
    assert_int_equal(look_at("a", NOW), IDEM_DONE);
    assert_false(take_lost("a", 3, &third));
}

static void what_was_lost_ends_with_its_time(void **state)
{
    struct idem_claim claim;

    (void)state;
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    assert_true(idem_sent(t, &claim, 77));
    idem_lose(t, &claim);
    assert_int_equal(look_at("a", NOW + KEEP - 1), IDEM_LOST);
    assert_int_equal(begin_at("a", 1, NOW + KEEP, &claim), IDEM_NEW);
    assert_false(take_lost("a", 2, &claim));
}

static void giving_up_before_anything_was_sent_loses_nothing(void **state)
{
    struct idem_claim claim;

    (void)state;
    assert_int_equal(begin("a", &claim), IDEM_NEW);
    idem_lose(t, &claim);
    assert_int_equal(look_at("a", NOW), IDEM_NEW);
}

static void a_full_table_gives_up_the_answer_whose_time_ends_first_and_nothing_else(void **state)
{
    struct idem_claim claims[IDEM_WAYS], claim;
    char text[16];

    (void)state;
    for (unsigned i = 0; i < IDEM_WAYS; i++) {
        snprintf(text, sizeof(text), "k%u", i);
        assert_int_equal(begin_at(text, 1, NOW + (i == 5 ? 0 : 10 + i), &claims[i]), IDEM_NEW);
    }
    assert_int_equal(begin("x", &claim), IDEM_FULL);
    assert_int_equal(look_at("x", NOW), IDEM_NEW);
    assert_true(idem_sent(t, &claims[0], 1));
    assert_true(idem_sent(t, &claims[7], 1));
    idem_lose(t, &claims[7]);
    assert_int_equal(begin("x", &claim), IDEM_FULL);
    finish(&claims[4], 3);
    finish(&claims[5], 3);
    finish(&claims[6], 3);
    assert_int_equal(idem_evicted(t), 2); /* both that found no entry: nobody knows them */
    assert_int_equal(idem_blind_until_ms(t), NOW + KEEP);
    assert_int_equal(begin_at("x", 1, NOW + 100, &claim), IDEM_NEW);
    assert_int_equal(idem_evicted(t), 3);
    assert_int_equal(look_at("k5", NOW), IDEM_NEW);
    assert_int_equal(look_at("k4", NOW), IDEM_DONE);
    assert_int_equal(look_at("k6", NOW), IDEM_DONE);
    idem_forget(t, &claims[9]);
    assert_int_equal(begin_at("y", 1, NOW + 100, &claim), IDEM_NEW);
    assert_int_equal(idem_evicted(t), 3);
    assert_int_equal(begin_at("z", 1, NOW + 14 + KEEP, &claim), IDEM_NEW); /* k4's time is over */
    assert_int_equal(idem_evicted(t), 3);
    assert_int_equal(look_at("k7", NOW), IDEM_LOST);
    assert_int_equal(look_at("k0", NOW), IDEM_RUNNING);
}

/* What was forgotten early is only missed until its time would have been over anyway. */
static void a_table_says_until_when_it_may_not_know(void **state)
{
    struct idem_claim claim;
    unsigned n = 0;
    char text[16];

    (void)state;
    assert_int_equal(idem_blind_until_ms(t), 0);
    while (idem_evicted(t) == 0) {
        snprintf(text, sizeof(text), "k%u", n);
        assert_int_equal(begin_at(text, 1, NOW + n++, &claim), IDEM_NEW);
        finish(&claim, 1);
    }
    assert_in_range(idem_blind_until_ms(t), NOW + KEEP, NOW + KEEP + n);
}

/* Two buckets a key: it is nearly full before the first answer goes. */
static void a_table_is_nearly_full_before_anything_goes_before_its_time(void **state)
{
    struct idem_claim claim;
    unsigned n = 0;
    char text[16];

    (void)state;
    idem_free(t);
    assert_int_equal(idem_new(1024, &t), 0);
    while (idem_evicted(t) == 0) {
        snprintf(text, sizeof(text), "k%u", n++);
        assert_int_equal(begin(text, &claim), IDEM_NEW);
        finish(&claim, 1);
    }
    assert_in_range(n, 1024 * 9 / 10, 1025);
}

static void keys_differ_by_kind_owner_and_text(void **state)
{
    struct idem_key a = idem_key('c', 1, "x", 1), same = idem_key('c', 1, "x", 1);
    struct idem_key others[] = {idem_key('u', 1, "x", 1), idem_key('c', 2, "x", 1),
                                idem_key('c', 1, "y", 1), idem_key('c', 1, "x\0", 2),
                                idem_key('c', 1, "", 0)};

    (void)state;
    assert_memory_equal(&a, &same, sizeof(a));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_memory_not_equal(&a, &others[i], sizeof(a));
}

static void a_key_that_could_not_be_made_finds_and_keeps_nothing(void **state)
{
    struct idem_key none = {0};
    struct idem_claim claim;

    (void)state;
    assert_int_equal(idem_begin(t, 1, &none, 1, "", KEEP, NOW, &claim, &answer), IDEM_FULL);
    assert_int_equal(idem_look(t, &none, 1, NOW, &answer), IDEM_NEW);
    assert_false(idem_take_lost(t, 1, &none, &claim));
    assert_int_equal(num_in(IDEM_STATE_FREE), IDEM_WAYS);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    struct idem *none = NULL;

    (void)state;
    assert_int_equal(idem_new(0, &none), ERR_INVALID);
    assert_int_equal(idem_new((1u << 20) + 1, &none), ERR_INVALID);
    assert_null(none);
    idem_free(NULL);
    assert_true(idem_since_ms(t) <= clock_now_ms() && idem_since_ms(t) + 60000 > clock_now_ms());
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_repeat_gets_the_answer_of_the_first, setup, teardown),
        cmocka_unit_test_setup_teardown(bodies_of_every_length_come_back_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(an_id_and_a_nonce_of_full_length_come_back_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_same_key_with_another_request_is_a_mismatch_at_any_time,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_forgotten_is_as_if_it_had_never_been, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_answer_is_kept_for_its_time_and_no_longer, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_death_before_anything_was_sent_frees_the_key, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_death_after_something_was_sent_is_remembered_until_it_is_found_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_death_after_all_was_refused_frees_the_key, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_lost_ends_with_its_time, setup, teardown),
        cmocka_unit_test_setup_teardown(giving_up_before_anything_was_sent_loses_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_full_table_gives_up_the_answer_whose_time_ends_first_and_nothing_else, setup,
            teardown),
        cmocka_unit_test_setup_teardown(a_table_says_until_when_it_may_not_know, setup, teardown),
        cmocka_unit_test_setup_teardown(a_table_is_nearly_full_before_anything_goes_before_its_time,
                                        setup, teardown),
        cmocka_unit_test(keys_differ_by_kind_owner_and_text),
        cmocka_unit_test_setup_teardown(a_key_that_could_not_be_made_finds_and_keeps_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sizes_that_make_no_sense_are_refused, setup, teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
