/* Sessions of the page: who can make one, how long it lives, what ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ui/session.h"

#define NOW INT64_C(1800000000)

static struct ids_seals seals;
static struct secret master;
static struct session_keys keys;

static int setup(void **state)
{
    (void)state;
    memset(&seals, 0, sizeof(seals));
    secret_clear(&master);
    assert_int_equal(ids_seals_add(&seals, "a seal key", 10, "test"), 0);
    assert_int_equal(secret_set(&master, "sk-master-of-tests", 18), 0);
    return session_keys_init(&keys, &seals, &master, 7);
}

static int teardown(void **state)
{
    (void)state;
    secret_clear(&master);
    return 0;
}

static struct strbuf sealed(enum session_right right, struct session *session)
{
    struct strbuf text = STRBUF_INIT;

    assert_int_equal(session_begin(session, right, NOW), 0);
    for (unsigned i = 0; i < RIGHTS_HASH_BYTES; i++)
        session->hash[i] = right == SESSION_ADMIN ? (unsigned char)(i * 9) : 0;
    assert_int_equal(session_seal(&keys, session, &text), 0);
    assert_true(text.len <= SESSION_MAX);
    return text;
}

static void what_was_sealed_is_opened(void **state)
{
    static const enum session_right rights[] = {SESSION_ANYBODY, SESSION_MASTER, SESSION_ADMIN};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct session made, opened;
        struct strbuf text = sealed(rights[i], &made);

        assert_int_equal(session_open(&keys, text.data, text.len, NOW + SESSION_S - 1, &opened), 0);
        assert_int_equal(opened.right, rights[i]);
        assert_int_equal(opened.name, made.name);
        assert_int_equal(opened.expires_unix_s, NOW + SESSION_S);
        assert_memory_equal(opened.hash, made.hash, sizeof(made.hash));
        strbuf_deinit(&text);
    }
}

static void nothing_of_a_key_can_be_read_in_it(void **state)
{
    struct session made;
    struct strbuf text = sealed(SESSION_ADMIN, &made);

    (void)state;
    assert_null(strstr(text.data, "sk-"));
    assert_null(strstr(text.data, "0009121b")); /* its hash, in hex */
    strbuf_deinit(&text);
}

static void a_session_ends_when_its_time_is_over(void **state)
{
    struct session made, opened;
    struct strbuf text = sealed(SESSION_MASTER, &made);

    (void)state;
    assert_int_equal(session_open(&keys, text.data, text.len, NOW + SESSION_S, &opened),
                     ERR_NOT_FOUND);
    strbuf_deinit(&text);
}

static void whatever_byte_is_changed_it_is_forged(void **state)
{
    struct session made, opened;
    struct strbuf text = sealed(SESSION_MASTER, &made);

    (void)state;
    for (size_t i = 0; i < text.len; i++) {
        text.data[i] ^= 1;
        assert_int_equal(session_open(&keys, text.data, text.len, NOW, &opened), ERR_FORGED);
        text.data[i] ^= 1;
        assert_int_equal(session_open(&keys, text.data, i, NOW, &opened), ERR_FORGED);
    }
    assert_int_equal(session_open(&keys, "", 0, NOW, &opened), ERR_FORGED);
    strbuf_deinit(&text);
}

static void what_is_longer_than_any_session_is_forged(void **state)
{
    char text[SESSION_MAX + 2];
    struct session opened;

    (void)state;
    memset(text, 'a', sizeof(text));
    assert_int_equal(session_open(&keys, text, SESSION_MAX + 1, NOW, &opened), ERR_FORGED);
    assert_int_equal(session_open(&keys, text, SESSION_MAX, NOW, &opened), ERR_FORGED);
}

/* @return whether a session is still good with other keys */
static bool survives(const struct ids_seals *other_seals, const char *other_master, uint64_t start)
{
    struct secret secret = SECRET_NONE;
    struct session made, opened;
    struct session_keys other;
    struct strbuf text = sealed(SESSION_MASTER, &made);
    bool good;

    assert_int_equal(secret_set(&secret, other_master, strlen(other_master)), 0);
    assert_int_equal(session_keys_init(&other, other_seals, &secret, start), 0);
    good = session_open(&other, text.data, text.len, NOW, &opened) == 0;
    secret_clear(&secret);
    strbuf_deinit(&text);
    return good;
}

static void another_master_key_or_start_or_seal_ends_all_sessions(void **state)
{
    struct ids_seals other = {0};

    (void)state;
    assert_int_equal(ids_seals_add(&other, "another one", 11, "test"), 0);
    assert_true(survives(&seals, "sk-master-of-tests", 7));
    assert_false(survives(&seals, "sk-another-master", 7));
    assert_false(survives(&seals, "sk-master-of-tests", 8));
    assert_false(survives(&other, "sk-master-of-tests", 7));
}

static void a_request_shows_the_token_of_its_own_session(void **state)
{
    struct session a, b;
    char text[SESSION_CSRF + 1];

    (void)state;
    assert_int_equal(session_begin(&a, SESSION_MASTER, NOW), 0);
    assert_int_equal(session_begin(&b, SESSION_MASTER, NOW), 0);
    session_csrf(&keys, &a, text);
    assert_int_equal(strlen(text), SESSION_CSRF);
    assert_true(session_csrf_is(&keys, &a, text, SESSION_CSRF));
    assert_false(session_csrf_is(&keys, &b, text, SESSION_CSRF));
    assert_false(session_csrf_is(&keys, &a, text, SESSION_CSRF - 1));
    assert_false(session_csrf_is(&keys, &a, "", 0));
    text[5] ^= 1;
    assert_false(session_csrf_is(&keys, &a, text, SESSION_CSRF));
}

static void without_a_seal_there_are_no_sessions(void **state)
{
    const struct ids_seals none = {0};
    struct session_keys other;

    (void)state;
    assert_int_equal(session_keys_init(&other, &none, &master, 7), ERR_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_sealed_is_opened),
        TEST(nothing_of_a_key_can_be_read_in_it),
        TEST(a_session_ends_when_its_time_is_over),
        TEST(whatever_byte_is_changed_it_is_forged),
        TEST(what_is_longer_than_any_session_is_forged),
        TEST(another_master_key_or_start_or_seal_ends_all_sessions),
        TEST(a_request_shows_the_token_of_its_own_session),
        TEST(without_a_seal_there_are_no_sessions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
