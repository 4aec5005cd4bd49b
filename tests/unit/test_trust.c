/* Trusted authorities: read a few a turn, once a day, and all at once for who cannot wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "upstream/trust.h"

#define DAY_MS UINT64_C(86400000)
#define MANY   7

/* A loop of one timer. */
struct world {
    struct loop loop;
    uint64_t now_ms;
    struct loop_timer *timer; /* NULL: none runs */
    struct trust trust;
    char file[64];
};

static uint64_t do_now_ms(struct loop *loop)
{
    return ((struct world *)loop)->now_ms;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    ((struct world *)loop)->timer = NULL;
    timer->slot = 0;
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    struct world *w = (struct world *)loop;

    assert_int_equal(delay_ms, 0);
    w->timer = timer;
    timer->slot = 1;
    return 0;
}

static const struct loop_ops ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};

static void write_authority(FILE *out, int number)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    char name[32];

    assert_non_null(key);
    assert_non_null(cert);
    snprintf(name, sizeof(name), "authority %d", number);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), number);
    X509_gmtime_adj(X509_getm_notBefore(cert), 0);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509(out, cert), 1);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* @param behind  text behind the authorities */
static void write_bundle(const struct world *w, int num, const char *behind)
{
    FILE *out = fopen(w->file, "w");

    assert_non_null(out);
    fputs("# what stands before the first one is no part of it\n", out);
    for (int i = 0; i < num; i++)
        write_authority(out, i + 1);
    fputs(behind, out);
    assert_int_equal(fclose(out), 0);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->loop.ops = &ops;
    w->now_ms = 1000;
    snprintf(w->file, sizeof(w->file), "/tmp/tranche-trust-%d.pem", (int)getpid());
    write_bundle(w, MANY, "");
    trust_init(&w->trust, &w->loop, w->file);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    trust_deinit(&w->trust);
    assert_null(w->timer);
    unlink(w->file);
    free(w);
    return 0;
}

static int count(X509_STORE *store)
{
    return store != NULL ? sk_X509_OBJECT_num(X509_STORE_get0_objects(store)) : -1;
}

static void turn(struct world *w)
{
    struct loop_timer *timer = w->timer;

    assert_non_null(timer);
    do_timer_stop(&w->loop, timer);
    timer->cb(timer);
}

/* @return turns until nothing is left to do */
static int run_all(struct world *w)
{
    int turns = 0;

    for (; w->timer != NULL; turns++)
        turn(w);
    return turns;
}

static void no_turn_reads_more_than_a_slice(void **state)
{
    struct world *w = *state;

    trust_warm(&w->trust);
    assert_null(w->trust.store);
    for (int turns = 1; turns <= MANY / TRUST_SLICE; turns++) {
        turn(w);
        assert_int_equal(count(w->trust.next), turns * TRUST_SLICE);
    }
    assert_int_equal(run_all(w), 1);
    assert_int_equal(count(w->trust.store), MANY);
    assert_int_equal(count(trust_store(&w->trust)), MANY);
}

static void who_cannot_wait_has_the_rest_read(void **state)
{
    struct world *w = *state;

    trust_warm(&w->trust);
    turn(w);
    assert_int_equal(count(trust_store(&w->trust)), MANY);
    assert_null(w->timer);
}

static void a_day_later_it_is_read_anew_while_the_old_one_is_good(void **state)
{
    struct world *w = *state;
    X509_STORE *first = trust_store(&w->trust);

    write_bundle(w, MANY + 4, "");
    w->now_ms += DAY_MS - 1;
    assert_ptr_equal(trust_store(&w->trust), first);
    assert_null(w->timer);
    w->now_ms += 1;
    assert_ptr_equal(trust_store(&w->trust), first);
    turn(w);
    assert_ptr_equal(trust_store(&w->trust), first);
    assert_int_equal(run_all(w), (MANY + 4) / TRUST_SLICE);
    assert_int_equal(count(trust_store(&w->trust)), MANY + 4);
}

static void a_bundle_that_was_damaged_meanwhile_leaves_the_old_one(void **state)
{
    static const char *const damages[] = {
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n!!!!\n", "-----BEGIN CERTIFICATE-----\nMIIB"};
    struct world *w = *state;
    X509_STORE *first = trust_store(&w->trust);

    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        write_bundle(w, 1, damages[i]);
        w->now_ms += DAY_MS;
        assert_ptr_equal(trust_store(&w->trust), first);
        run_all(w);
        assert_ptr_equal(trust_store(&w->trust), first);
        assert_null(w->timer); /* not again in this hour */
    }
    write_bundle(w, 2, "");
    w->now_ms += DAY_MS;
    (void)trust_store(&w->trust);
    run_all(w);
    assert_int_equal(count(trust_store(&w->trust)), 2);
}

static void what_is_no_bundle_is_trusted_by_nobody(void **state)
{
    struct world *w = *state;

    write_bundle(w, 0, "");
    assert_null(trust_store(&w->trust));
    write_bundle(w, 1, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    assert_null(trust_store(&w->trust));
    unlink(w->file);
    assert_null(trust_store(&w->trust));
    trust_warm(&w->trust);
    assert_null(w->timer);
    write_bundle(w, 1, ""); /* and when it is mended it is read at once */
    assert_int_equal(count(trust_store(&w->trust)), 1);
}

static void who_ends_while_it_is_read_leaves_nothing(void **state)
{
    struct world *w = *state;

    trust_warm(&w->trust);
    turn(w);
    trust_deinit(&w->trust); /* tear_down() and the sanitizer look */
    trust_init(&w->trust, &w->loop, NULL);
    assert_null(trust_store(&w->trust));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_turn_reads_more_than_a_slice),
        TEST(who_cannot_wait_has_the_rest_read),
        TEST(a_day_later_it_is_read_anew_while_the_old_one_is_good),
        TEST(a_bundle_that_was_damaged_meanwhile_leaves_the_old_one),
        TEST(what_is_no_bundle_is_trusted_by_nobody),
        TEST(who_ends_while_it_is_read_leaves_nothing),
    };

    return cmocka_run_group_tests_name("trust", tests, NULL, NULL);
}
