/* Who is on this machine, which names are ours, and what follows from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>

#include "front/guard_peers.h"
#include "config/entrance.h"
#include "request/protect.h"

static char key[] = "sk-1234";

static void judgement_follows_key_permission_and_peer(void **state)
{
    /* key, weak, permitted, neighbour, foreign host, foreign origin, form -> verdict */
    static const struct {
        bool set, weak, permitted;
        struct protect_facts facts;
        enum protect_verdict verdict;
    } cases[] = {
        {false, true, false, {true, false, false, false}, PROTECT_SERVE},
        {false, true, false, {false, false, false, false}, PROTECT_STRANGER},
        {false, true, false, {false, true, true, true}, PROTECT_STRANGER},
        {false, true, false, {true, true, true, true}, PROTECT_FOREIGN_HOST},
        {false, true, false, {true, false, true, true}, PROTECT_FOREIGN_ORIGIN},
        {false, true, false, {true, false, false, true}, PROTECT_FORM},
        {false, true, true, {false, false, false, false}, PROTECT_SERVE},
        {false, true, true, {false, true, false, false}, PROTECT_FOREIGN_HOST},
        {false, true, true, {false, false, true, false}, PROTECT_FOREIGN_ORIGIN},
        {false, true, true, {false, false, false, true}, PROTECT_FORM},
        {true, true, false, {true, true, true, true}, PROTECT_SERVE},
        {true, true, false, {false, false, false, false}, PROTECT_STRANGER},
        {true, true, true, {false, true, true, true}, PROTECT_SERVE},
        {true, false, false, {false, true, true, true}, PROTECT_SERVE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct config config = {.weak_master_key = cases[i].weak,
                                .permit_weak_master_key = cases[i].permitted};

        if (cases[i].set)
            config.master_key = (struct secret){key, sizeof(key) - 1};
        if (protect_judge(&config, &cases[i].facts) != cases[i].verdict)
            fail_msg("case %zu", i);
    }
}

static bool loopback(const char *text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};

    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        return guard_peers_is_loopback((const struct sockaddr *)(void *)&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return guard_peers_is_loopback((const struct sockaddr *)(void *)&v6);
}

static void loopback_has_several_spellings(void **state)
{
    static const char *const here[] = {"127.0.0.1", "127.0.1.1", "127.255.255.254", "::1",
                                       "::ffff:127.0.0.1"};
    static const char *const there[] = {"0.0.0.0",
                                        "126.255.255.255",
                                        "128.0.0.1",
                                        "10.0.0.1",
                                        "::",
                                        "::2",
                                        "::127.0.0.1",
                                        "::ffff:10.0.0.1",
                                        "fe80::1",
                                        "::ffff:128.0.0.1",
                                        "64:ff9b::7f00:1"};
    struct sockaddr none = {.sa_family = AF_UNSPEC};

    (void)state;
    for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++)
        assert_true(loopback(here[i]));
    for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
        assert_false(loopback(there[i]));
    assert_false(guard_peers_is_loopback(&none));
}

static void what_proxies_add_is_known(void **state)
{
    static const char *const theirs[] = {"forwarded",        "x-forwarded-for",
                                         "x-forwarded-host", "x-forwarded-proto",
                                         "x-real-ip",        "via",
                                         "cf-connecting-ip", "x-original-forwarded-for"};
    static const char *const others[] = {"x-forwarde", "x-request-id", "host", "viable", "vi", ""};

    (void)state;
    for (size_t i = 0; i < sizeof(theirs) / sizeof(theirs[0]); i++)
        assert_true(protect_is_forwarding(theirs[i], strlen(theirs[i])));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(protect_is_forwarding(others[i], strlen(others[i])));
}

static char first_name[] = "Tranche.Example", bound[] = "10.1.2.3";
static char *names[] = {first_name};

static bool is_ours(const char *authority, bool permitted)
{
    struct config config = {.host = bound,
                            .allowed_hosts = names,
                            .num_allowed_hosts = 1,
                            .permit_weak_master_key = permitted};
    char *exact = malloc(strlen(authority) + 1);
    bool ours;

    assert_non_null(exact);
    memcpy(exact, authority, strlen(authority));
    ours = protect_is_our_host(&config, "box", exact, strlen(authority));
    free(exact);
    return ours;
}

static void names_and_addresses_of_this_gateway_are_its_own(void **state)
{
    static const char *const ours[] = {"",
                                       "localhost",
                                       "LocalHost:4000",
                                       "localhost.",
                                       "localhost.:4000",
                                       "api.localhost:1",
                                       "127.0.0.1",
                                       "127.0.0.1:4000",
                                       "127.1.2.3",
                                       "[::1]",
                                       "[::1]:4000",
                                       "[::ffff:127.0.0.1]:4000",
                                       "0.0.0.0:4000",
                                       "[::]:4000",
                                       "box",
                                       "BOX:4000",
                                       "10.1.2.3:4000",
                                       "tranche.example",
                                       "TRANCHE.EXAMPLE:80"};
    static const char *const foreign[] = {"evil.example",
                                          "evil.example:4000",
                                          "localhost.evil.example",
                                          "127.0.0.1.evil.example",
                                          "notlocalhost",
                                          "127.0.0.1@evil.example",
                                          "xtranche.example",
                                          "tranche.example.evil",
                                          "box.evil.example",
                                          "[::1",
                                          ".",
                                          ":4000",
                                          "2130706433",
                                          "0x7f.1"};

    (void)state;
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (!is_ours(ours[i], false) || !is_ours(ours[i], true))
            fail_msg("%s", ours[i]);
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
        if (is_ours(foreign[i], false) || is_ours(foreign[i], true))
            fail_msg("%s", foreign[i]);
    /* an address cannot be rebound, and others are let in */
    assert_false(is_ours("203.0.113.9:4000", false));
    assert_true(is_ours("203.0.113.9:4000", true));
    assert_true(is_ours("[2001:db8::1]:4000", true));
}

static bool is_our_origin(const char *origin, const char *authority)
{
    struct config config = {.host = bound};

    return protect_is_our_origin(&config, "box", origin, strlen(origin), authority,
                                 strlen(authority));
}

static void pages_of_this_machine_are_ours_and_others_are_not(void **state)
{
    (void)state;
    assert_true(is_our_origin("http://localhost:4000", "localhost:4000"));
    assert_true(is_our_origin("http://localhost:3000", "localhost:4000"));
    assert_true(is_our_origin("HTTP://127.0.0.1", "localhost:4000"));
    assert_true(is_our_origin("https://gate.example:8443", "Gate.Example:8443"));
    assert_false(is_our_origin("https://evil.example", "localhost:4000"));
    assert_false(is_our_origin("https://evil.example:4000", "localhost:4000"));
    assert_false(is_our_origin("http://localhost.evil.example", "localhost:4000"));
    assert_false(is_our_origin("null", "localhost:4000"));
    assert_false(is_our_origin("file://", "localhost:4000"));
    assert_false(is_our_origin("chrome-extension://abcdef", "localhost:4000"));
    assert_false(is_our_origin("http://", "localhost:4000"));
    assert_false(is_our_origin("", "localhost:4000"));
}

static bool form(const char *type)
{
    return protect_is_form(type, strlen(type));
}

static void types_that_any_page_may_send_are_known(void **state)
{
    (void)state;
    assert_true(form("text/plain"));
    assert_true(form("Text/Plain; charset=UTF-8"));
    assert_true(form(" application/x-www-form-urlencoded "));
    assert_true(form("multipart/form-data;boundary=x"));
    assert_false(form("application/json"));
    assert_false(form("application/json; text/plain"));
    assert_false(form("text/plainer"));
    assert_false(form(""));
    assert_false(form(";text/plain"));
}

static void operators_are_told_which_of_four_it_is(void **state)
{
    struct config config = {.weak_master_key = true};

    (void)state;
    assert_non_null(strstr(entrance_warning(&config), "PROTECTED MODE: no master key"));
    config.permit_weak_master_key = true;
    assert_non_null(strstr(entrance_warning(&config), "NO MASTER KEY"));
    config.master_key = (struct secret){key, sizeof(key) - 1};
    assert_non_null(strstr(entrance_warning(&config), "WEAK MASTER KEY"));
    config.permit_weak_master_key = false;
    assert_non_null(strstr(entrance_warning(&config), "the master key is weak"));
    config.weak_master_key = false;
    assert_string_equal(entrance_warning(&config), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(judgement_follows_key_permission_and_peer),
        cmocka_unit_test(loopback_has_several_spellings),
        cmocka_unit_test(what_proxies_add_is_known),
        cmocka_unit_test(names_and_addresses_of_this_gateway_are_its_own),
        cmocka_unit_test(pages_of_this_machine_are_ours_and_others_are_not),
        cmocka_unit_test(types_that_any_page_may_send_are_known),
        cmocka_unit_test(operators_are_told_which_of_four_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
