/* What is sent, to whom, and when: the pure part of webhooks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <cmocka.h>

#include "webhook/hook_address.h"
#include "webhook/hook_event.h"
#include "webhook/hook_sign.h"
#include "webhook/hook_tries.h"
#include "webhook/hook_url.h"

#define MINUTE_MS INT64_C(60000)
#define HOUR_MS   (60 * MINUTE_MS)

/* ---- events and signatures ---- */

static void the_body_is_openais_byte_for_byte(void **state)
{
    struct strbuf body = STRBUF_INIT;

    (void)state;
    hook_event_body("evt_1", 1700000000, HOOK_EXPIRED, "batch_a-t1", &body);
    assert_string_equal(strbuf_str(&body),
                        "{\"id\":\"evt_1\",\"object\":\"event\",\"created_at\":1700000000,"
                        "\"type\":\"batch.expired\",\"data\":{\"id\":\"batch_a-t1\"}}");
    strbuf_deinit(&body);
}

static void there_are_four_types_and_each_tells_of_an_end(void **state)
{
    static const char *const statuses[] = {"completed", "failed", "expired", "cancelled"};
    enum hook_type type, again;

    (void)state;
    for (unsigned i = 0; i < HOOK_TYPES; i++) {
        assert_true(hook_type_of_status(statuses[i], &type));
        assert_int_equal(type, i);
        assert_true(hook_type_of(hook_type_name(type), &again));
        assert_int_equal(again, type);
    }
    assert_false(hook_type_of_status("in_progress", &type));
    assert_false(hook_type_of_status("", &type));
    assert_false(hook_type_of("batch.cancelling", &type));
    assert_false(hook_type_of("response.completed", &type));
}

static void an_events_id_is_new_each_time(void **state)
{
    char a[HOOK_EVENT_ID + 1], b[HOOK_EVENT_ID + 1];

    (void)state;
    assert_int_equal(hook_event_new_id(a), 0);
    assert_int_equal(hook_event_new_id(b), 0);
    assert_int_equal(strlen(a), HOOK_EVENT_ID);
    assert_memory_equal(a, "evt_", 4);
    assert_string_not_equal(a, b);
}

/* The vector is the one that Standard Webhooks publishes. */
static void a_signature_is_the_published_one(void **state)
{
    static const char body[] = "{\"test\": 2432232314}";
    char out[HOOK_SIGNATURE + 1];

    (void)state;
    assert_int_equal(hook_sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                               "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, strlen(body), out),
                     0);
    assert_string_equal(out, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void a_secret_without_the_prefix_is_its_own_bytes(void **state)
{
    char plain[HOOK_SIGNATURE + 1], coded[HOOK_SIGNATURE + 1];

    (void)state;
    assert_int_equal(hook_sign("0123456789abcdef", "evt_1", 1, "{}", 2, plain), 0);
    assert_int_equal(hook_sign("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "evt_1", 1, "{}", 2, coded), 0);
    assert_string_equal(plain, coded);
}

static void both_secrets_sign_while_one_follows_the_other(void **state)
{
    char both[HOOK_SIGNATURES + 1], new[HOOK_SIGNATURE + 1], old[HOOK_SIGNATURE + 1];

    (void)state;
    assert_int_equal(hook_sign("a new secret of ours", "evt_1", 7, "{}", 2, new), 0);
    assert_int_equal(hook_sign("the secret of before", "evt_1", 7, "{}", 2, old), 0);
    assert_int_equal(
        hook_sign_both("a new secret of ours", "the secret of before", "evt_1", 7, "{}", 2, both),
        0);
    assert_int_equal(strlen(both), HOOK_SIGNATURES);
    assert_memory_equal(both, new, HOOK_SIGNATURE);
    assert_string_equal(both + HOOK_SIGNATURE + 1, old);
    assert_int_equal(hook_sign_both("a new secret of ours", NULL, "evt_1", 7, "{}", 2, both), 0);
    assert_string_equal(both, new);
}

static void a_secret_that_cannot_sign_is_told(void **state)
{
    static const char *const wrong[] = {"",
                                        "short",
                                        "whsec_",
                                        "whsec_MDEyMzQ1Njc4OWFiY2RlZg",   /* no padding */
                                        "whsec_MDEyMzQ1Njc4OWFiY2RlZg=",  /* half of it */
                                        "whsec_MDEyMzQ1Njc4OWFiY2RlZ-_=", /* URL-safe */
                                        "whsec_MDEyMzQ1",                 /* too short a key */
                                        "whsec_====",
                                        "0123456789 abcdef",
                                        "0123456789abcdef\n"};
    char made[HOOK_NEW_SECRET + 1], other[HOOK_NEW_SECRET + 1], longest[HOOK_SECRET_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (hook_secret_fault(wrong[i]) == NULL)
            fail_msg("\"%s\" is taken", wrong[i]);
    memset(longest, 'x', sizeof(longest) - 1);
    longest[HOOK_SECRET_MAX + 1] = '\0';
    assert_non_null(hook_secret_fault(longest));
    longest[HOOK_SECRET_MAX] = '\0';
    assert_null(hook_secret_fault(longest));
    assert_int_equal(hook_secret_new(made), 0);
    assert_int_equal(hook_secret_new(other), 0);
    assert_null(hook_secret_fault(made));
    assert_int_equal(strlen(made), HOOK_NEW_SECRET);
    assert_string_not_equal(made, other);
}

/* ---- tries ---- */

static void only_2xx_is_delivered_and_410_is_the_end(void **state)
{
    static const int again[] = {0, 301, 302, 307, 400, 401, 404, 409, 429, 500, 503};

    (void)state;
    assert_int_equal(hook_verdict(200), HOOK_DELIVERED);
    assert_int_equal(hook_verdict(299), HOOK_DELIVERED);
    assert_int_equal(hook_verdict(410), HOOK_GONE);
    for (size_t i = 0; i < sizeof(again) / sizeof(again[0]); i++)
        assert_int_equal(hook_verdict(again[i]), HOOK_AGAIN);
}

static void waits_grow_and_vary_by_a_tenth(void **state)
{
    static const int64_t waits[] = {5000,        5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS,
                                    5 * HOUR_MS, 10 * HOUR_MS,  14 * HOUR_MS,   20 * HOUR_MS};

    (void)state;
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(hook_tries_wait(i + 1, 0, -1, 0), waits[i]);
        assert_in_range(hook_tries_wait(i + 1, 0, -1, UINT32_MAX), waits[i] + waits[i] / 10 - 1,
                        waits[i] + waits[i] / 10);
    }
    assert_int_equal(hook_tries_wait(1000, 0, -1, 0), 20 * HOUR_MS);
}

static void a_receiver_that_asks_for_more_time_gets_it(void **state)
{
    (void)state;
    assert_int_equal(hook_tries_wait(1, 0, 60000, 0), 60000);
    assert_int_equal(hook_tries_wait(2, 0, 1000, 0), 5 * MINUTE_MS);
    assert_int_equal(hook_tries_wait(1, 0, INT64_MAX, 0), 24 * HOUR_MS);
    assert_int_equal(hook_tries_rest(429, 2000), 2000);
    assert_int_equal(hook_tries_rest(429, -1), 30000);
    assert_int_equal(hook_tries_rest(503, INT64_MAX), HOUR_MS);
    assert_int_equal(hook_tries_rest(500, 2000), 0);
    assert_int_equal(hook_tries_rest(0, -1), 0);
}

static void after_72_hours_it_is_over(void **state)
{
    (void)state;
    assert_int_equal(hook_tries_wait(1, HOOK_GIVE_UP_MS - 5000, -1, 0), 5000);
    assert_int_equal(hook_tries_wait(1, HOOK_GIVE_UP_MS - 4999, -1, 0), -1);
    assert_int_equal(hook_tries_wait(9, 60 * HOUR_MS, -1, 0), -1);
    assert_false(hook_tries_is_dead(0, HOOK_GIVE_UP_MS * 2));
    assert_false(hook_tries_is_dead(1, HOOK_GIVE_UP_MS));
    assert_true(hook_tries_is_dead(1, HOOK_GIVE_UP_MS + 1));
}

/* ---- addresses ---- */

static void address_of(const char *text, unsigned char out[HOOK_ADDRESS_BYTES])
{
    struct hook_range range;

    assert_int_equal(hook_range_read(text, &range), 0);
    memcpy(out, range.bytes, HOOK_ADDRESS_BYTES);
}

static void addresses_that_are_not_public_are_refused_in_every_spelling(void **state)
{
    static const char *const refused[] = {
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "3fff::1",
        "2001::1",
        "2001:10::1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "2002:0a00:0001::",
        "2002:7f00:1::1",
        "100::1",
        "5f00::1",
        "4000::1",
    };
    unsigned char address[HOOK_ADDRESS_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        address_of(refused[i], address);
        if (hook_address_fault(address) == NULL || hook_address_may(address, NULL, 0))
            fail_msg("%s may be connected to", refused[i]);
    }
}

static void addresses_of_the_public_internet_are_fine(void **state)
{
    static const char *const fine[] = {
        "1.1.1.1",         "9.255.255.255",     "11.0.0.0",         "100.63.255.255",
        "100.128.0.0",     "126.255.255.255",   "128.0.0.1",        "169.253.255.255",
        "172.15.255.255",  "172.32.0.0",        "192.0.1.1",        "192.167.255.255",
        "192.169.0.0",     "198.17.255.255",    "198.20.0.0",       "223.255.255.255",
        "168.63.129.15",   "::ffff:8.8.8.8",    "64:ff9b::808:808", "2606:4700::1",
        "2002:0808:808::", "2a00:1450:4001::5",
    };
    unsigned char address[HOOK_ADDRESS_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        address_of(fine[i], address);
        if (hook_address_fault(address) != NULL || !hook_address_may(address, NULL, 0))
            fail_msg("%s: %s", fine[i], hook_address_fault(address));
    }
}

static void a_range_allows_its_own_and_no_other(void **state)
{
    static const struct {
        const char *range, *address;
        bool may;
    } cases[] = {
        {"10.1.0.0/16", "10.1.255.255", true},
        {"10.1.0.0/16", "10.2.0.0", false},
        {"10.1.0.0/16", "::ffff:10.1.0.1", true},
        {"10.1.0.0/16", "64:ff9b::a01:1", true},
        {"127.0.0.1", "127.0.0.1", true},
        {"127.0.0.1", "127.0.0.2", false},
        {"fd00:1::/32", "fd00:1::5", true},
        {"fd00:1::/32", "fd00:2::5", false},
        {"0.0.0.0/0", "192.168.0.1", true},
        {"0.0.0.0/0", "fd00::1", false},
        {"::/0", "fd00::1", true},
        {"::1/128", "::1", true},
        {"172.16.0.0/12", "172.31.9.9", true},
        {"172.16.0.0/13", "172.31.9.9", false},
    };
    unsigned char address[HOOK_ADDRESS_BYTES];
    struct hook_range range;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(hook_range_read(cases[i].range, &range), 0);
        address_of(cases[i].address, address);
        if (hook_address_may(address, &range, 1) != cases[i].may)
            fail_msg("%s in %s", cases[i].address, cases[i].range);
    }
}

static void what_is_no_range_is_refused(void **state)
{
    static const char *const wrong[] = {"",
                                        "10.0.0.0/",
                                        "10.0.0.0/33",
                                        "10.0.0.1/8",
                                        "10.0.0/8",
                                        "10.0.0.0/-1",
                                        "10.0.0.0/8x",
                                        "fd00::/129",
                                        "fd00::1/16",
                                        "host",
                                        "/8",
                                        "10.0.0.0/ 8",
                                        "10.0.0.0/99999999999999999999"};
    struct hook_range range;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (hook_range_read(wrong[i], &range) != ERR_INVALID)
            fail_msg("\"%s\" is a range", wrong[i]);
}

static void a_sockets_address_is_read_as_it_is(void **state)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    struct sockaddr other = {.sa_family = AF_UNIX};
    unsigned char got[HOOK_ADDRESS_BYTES], wanted[HOOK_ADDRESS_BYTES];

    (void)state;
    inet_pton(AF_INET, "10.9.8.7", &v4.sin_addr);
    inet_pton(AF_INET6, "fd00::7", &v6.sin6_addr);
    assert_true(hook_address_of((const struct sockaddr *)&v4, sizeof(v4), got));
    address_of("10.9.8.7", wanted);
    assert_memory_equal(got, wanted, sizeof(got));
    assert_true(hook_address_of((const struct sockaddr *)&v6, sizeof(v6), got));
    address_of("fd00::7", wanted);
    assert_memory_equal(got, wanted, sizeof(got));
    assert_false(hook_address_of(&other, sizeof(other), got));
    assert_false(hook_address_of((const struct sockaddr *)&v6, sizeof(v4) - 1, got));
}

/* ---- URLs ---- */

static void urls_that_another_reader_might_read_otherwise_are_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        "https://",
        "https:///x",
        "http://h.example/",
        "ftp://h.example/",
        "//h.example/",
        "javascript:alert(1)",
        "https://u:p@h.example/",
        "https://u@h.example/",
        "https://h.example@evil.example/",
        "https://h.example\\@evil.example/",
        "https://h.example/#x",
        "https://h.example/a b",
        "https://h.example/\x7f",
        "https://h.example/\xc3\xa9",
        "https://h.example:0/",
        "https://h.example:65536/",
        "https://h.example:/",
        "https://h.example:80:80/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[fe80::1%25eth0]/",
        "https://.h.example/",
        "https://-h.example/",
        "https://h..example/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://1.2.3/",
        "https://h_x.example/",
        "https://h.example\r\nx: y/",
        "https:/h.example/",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (hook_url_fault(wrong[i], false) == NULL)
            fail_msg("\"%s\" is taken", wrong[i]);
}

static void ordinary_urls_are_fine(void **state)
{
    static const char *const fine[] = {
        "https://h.example",
        "https://h.example/hook?x=1&y=%20",
        "HTTPS://H.Example:8443/a/b",
        "https://localhost/x",
        "https://10.0.0.1/",
        "https://[2606:4700::1]:443/x",
        "https://xn--bcher-kva.example/",
        "https://h.example./",
    };
    char longest[HOOK_URL_MAX + 2];

    (void)state;
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
        if (hook_url_fault(fine[i], false) != NULL)
            fail_msg("%s: %s", fine[i], hook_url_fault(fine[i], false));
    assert_null(hook_url_fault("http://h.example/", true));
    memset(longest, 'a', sizeof(longest));
    memcpy(longest, "https://h.example/", strlen("https://h.example/"));
    longest[HOOK_URL_MAX + 1] = '\0';
    assert_non_null(hook_url_fault(longest, false));
    longest[HOOK_URL_MAX] = '\0';
    assert_null(hook_url_fault(longest, false));
}

static void of_a_url_no_more_is_shown_than_where_it_leads(void **state)
{
    unsigned char address[HOOK_ADDRESS_BYTES], wanted[HOOK_ADDRESS_BYTES];

    (void)state;
    assert_int_equal(hook_url_shown("https://h.example:1/secret?x"), strlen("https://h.example:1"));
    assert_int_equal(hook_url_shown("https://h.example"), strlen("https://h.example"));
    assert_false(hook_url_address("https://h.example/", address));
    assert_true(hook_url_address("https://10.0.0.1:8/x", address));
    address_of("10.0.0.1", wanted);
    assert_memory_equal(address, wanted, sizeof(address));
    assert_true(hook_url_address("https://[::1]:8/x", address));
    address_of("::1", wanted);
    assert_memory_equal(address, wanted, sizeof(address));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_body_is_openais_byte_for_byte),
        cmocka_unit_test(there_are_four_types_and_each_tells_of_an_end),
        cmocka_unit_test(an_events_id_is_new_each_time),
        cmocka_unit_test(a_signature_is_the_published_one),
        cmocka_unit_test(a_secret_without_the_prefix_is_its_own_bytes),
        cmocka_unit_test(both_secrets_sign_while_one_follows_the_other),
        cmocka_unit_test(a_secret_that_cannot_sign_is_told),
        cmocka_unit_test(only_2xx_is_delivered_and_410_is_the_end),
        cmocka_unit_test(waits_grow_and_vary_by_a_tenth),
        cmocka_unit_test(a_receiver_that_asks_for_more_time_gets_it),
        cmocka_unit_test(after_72_hours_it_is_over),
        cmocka_unit_test(addresses_that_are_not_public_are_refused_in_every_spelling),
        cmocka_unit_test(addresses_of_the_public_internet_are_fine),
        cmocka_unit_test(a_range_allows_its_own_and_no_other),
        cmocka_unit_test(what_is_no_range_is_refused),
        cmocka_unit_test(a_sockets_address_is_read_as_it_is),
        cmocka_unit_test(urls_that_another_reader_might_read_otherwise_are_refused),
        cmocka_unit_test(ordinary_urls_are_fine),
        cmocka_unit_test(of_a_url_no_more_is_shown_than_where_it_leads),
    };

    return cmocka_run_group_tests_name("webhook", tests, NULL, NULL);
}
