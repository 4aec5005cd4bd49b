/* Hosts of addresses and clouds of Azure, by their texts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "config/entra_cloud.h"
#include "config/hosts.h"

static void the_host_stands_between_scheme_and_port(void **state)
{
    static const char *const cases[][2] = {
        {"https://a.test:443/x", "a.test"},    {"a.test", "a.test"},
        {"http://[fe80::1]:80/", "[fe80::1]"}, {"https://u:p@a.test/@b", "a.test"},
        {"https://a.test?x=@b", "a.test"},     {"https://", ""}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *host;
        size_t len = hosts_find(cases[i][0], &host);

        assert_int_equal(len, strlen(cases[i][1]));
        assert_memory_equal(host, cases[i][1], len);
    }
}

static void loopback_is_this_machine_and_nothing_that_begins_like_it(void **state)
{
    static const char *const yes[] = {"http://127.0.0.1", "http://127.9.9.9:1/x", "http://[::1]:8",
                                      "http://LocalHost/", "http://0.0.0.0:4"};
    static const char *const no[] = {"http://127.0.0.1.example.com", "http://localhost.example",
                                     "http://[::2]", "http://10.0.0.1", "http://127.evil"};

    (void)state;
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        assert_true(hosts_is_loopback(yes[i]));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        assert_false(hosts_is_loopback(no[i]));
}

static void test_entra_08_link_local_addresses_are_known_in_all_spellings(void **state)
{
    static const char *const yes[] = {
        "http://169.254.169.254",      "https://169.254.0.1:443/x",  "http://0xa9fea9fe/",
        "http://2852039166",           "http://0251.0376.0251.0376", "http://169.16689662/",
        "http://169.254.169.254./",    "http://[fe80::1]:8",         "http://[FEBF::1]",
        "http://[::ffff:169.254.1.2]", "http://[::ffff:a9fe:a9fe]",  "http://[::169.254.169.254]",
        "http://[fe80::1%25eth0]/"};
    static const char *const no[] = {"http://169.253.169.254",
                                     "http://1.169.254.1",
                                     "http://a.test",
                                     "http://169.254.169.254.example",
                                     "http://[fec0::1]",
                                     "http://[::ffff:127.0.0.1]",
                                     "http://"};

    (void)state;
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        if (!hosts_is_link_local(yes[i]))
            fail_msg("%s", yes[i]);
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        if (hosts_is_link_local(no[i]))
            fail_msg("%s", no[i]);
}

static void a_platforms_addresses_are_numbers_of_its_networks(void **state)
{
    static const char *const yes[] = {"http://169.254.169.254", "http://169.254.130.2:8081/x",
                                      "http://172.16.5.3:8081", "http://10.0.0.1",
                                      "http://192.168.1.1"};
    static const char *const no[] = {"http://172.32.0.1",    "http://172.15.0.1",
                                     "http://11.0.0.1",      "http://192.169.0.1",
                                     "http://10.0.0.1.test", "http://8.8.8.8",
                                     "http://[fe80::1]",     "http://0xa9fea9fe",
                                     "http://2852039166",    "http://"};

    (void)state;
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        assert_true(hosts_is_of_platform(yes[i]));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        assert_false(hosts_is_of_platform(no[i]));
}

static void test_entra_02_the_suffix_of_a_host_says_its_cloud(void **state)
{
    static const struct {
        const char *base, *cloud;
    } cases[] = {{"https://eu.openai.azure.com", "global"},
                 {"https://eu.services.ai.azure.com/x", "global"},
                 {"https://EU.CognitiveServices.Azure.Com:443", "global"},
                 {"https://eu.openai.azure.us/", "US Government"},
                 {"https://eu.openai.azure.cn.", "China"},
                 {"https://openai.azure.us.example", NULL},
                 {"https://azure.us", NULL},
                 {"http://127.0.0.1:8080", NULL}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct entra_cloud *cloud = entra_cloud_of_base(cases[i].base);

        if (cases[i].cloud == NULL)
            assert_null(cloud);
        else
            assert_string_equal(cloud->name, cases[i].cloud);
    }
    assert_string_equal(entra_cloud_of_authority("https://login.microsoftonline.us")->name,
                        "US Government");
    assert_string_equal(entra_cloud_of_authority("https://login.chinacloudapi.cn")->name, "China");
    assert_string_equal(entra_cloud_of_authority("https://login.microsoftonline.com")->name,
                        "global");
    assert_null(entra_cloud_of_authority("https://login.example"));
}

static void test_entra_03_an_authority_has_one_form(void **state)
{
    static const char *const cases[][2] = {
        {"login.microsoftonline.us", "https://login.microsoftonline.us"},
        {"https://login.microsoftonline.us/", "https://login.microsoftonline.us"},
        {"https://login.microsoftonline.us//", "https://login.microsoftonline.us"},
        {"login.microsoftonline.us/", "https://login.microsoftonline.us"},
        {"http://127.0.0.1:4444/", "http://127.0.0.1:4444"},
        {"http://[::1]:4444", "http://[::1]:4444"},
        {"https://login.example:8443", "https://login.example:8443"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *why;
        char *out;

        assert_int_equal(entra_cloud_authority(cases[i][0], strlen(cases[i][0]), &out, &why), 0);
        assert_string_equal(out, cases[i][1]);
        free(out);
    }
}

static void test_entra_03_other_authorities_are_refused(void **state)
{
    static const char *const cases[] = {"",
                                        "/",
                                        "https://",
                                        "http://login.microsoftonline.com",
                                        "http://127.0.0.1.example.com",
                                        "ftp://login.microsoftonline.com",
                                        "https://login.microsoftonline.com/tenant",
                                        "https://user@login.microsoftonline.com",
                                        "https://login.microsoftonline.com?x",
                                        "https://login.microsoftonline.com#x",
                                        "https://login microsoftonline.com",
                                        "https://login.example:port",
                                        "https://login.example:",
                                        "https://[::1",
                                        "http://169.254.169.254",
                                        "https://169.254.169.254"};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *why = NULL;
        char *out;

        if (entra_cloud_authority(cases[i], strlen(cases[i]), &out, &why) != ERR_INVALID)
            fail_msg("%s", cases[i]);
        assert_null(out);
        assert_non_null(why);
    }
}

static void test_entra_02_a_scope_is_one_resource(void **state)
{
    static const char *const yes[] = {"https://ai.azure.com/.default", "api://x/.default",
                                      "3f2a/.default"};
    static const char *const no[] = {"https://ai.azure.com",
                                     "/.default",
                                     "",
                                     "https://a/.default https://b/.default",
                                     "https://a/.default,https://b/.default",
                                     "https://ai.azure.com/.default/",
                                     "https://a/.default\x7f"};

    (void)state;
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
        assert_null(entra_cloud_scope_fault(yes[i], strlen(yes[i])));
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
        if (entra_cloud_scope_fault(no[i], strlen(no[i])) == NULL)
            fail_msg("%s", no[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_stands_between_scheme_and_port),
        cmocka_unit_test(loopback_is_this_machine_and_nothing_that_begins_like_it),
        cmocka_unit_test(test_entra_08_link_local_addresses_are_known_in_all_spellings),
        cmocka_unit_test(a_platforms_addresses_are_numbers_of_its_networks),
        cmocka_unit_test(test_entra_02_the_suffix_of_a_host_says_its_cloud),
        cmocka_unit_test(test_entra_03_an_authority_has_one_form),
        cmocka_unit_test(test_entra_03_other_authorities_are_refused),
        cmocka_unit_test(test_entra_02_a_scope_is_one_resource),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
