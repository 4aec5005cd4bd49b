/* Dialects: the longest addresses, the last segment of a path, the last header, and one more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "upstream/dialect.h"
#include "upstream/provider.h"
#include "exact.h"

/* From an exact copy, so that the sanitizer sees each byte read past the NUL. */
static int parse(const char *text, char **base)
{
    char *copy = exact_copy(text, strlen(text) + 1);
    struct azure_endpoint ep;
    const char *why = NULL;
    int err = azure_endpoint_parse(copy, &ep, &why);

    *base = NULL;
    if (err == 0) {
        *base = strdup(ep.base);
        azure_endpoint_free(&ep);
    } else {
        assert_non_null(why);
    }
    free(copy);
    return err;
}

static void assert_base(const char *text, const char *want)
{
    char *base;

    if (parse(text, &base) != 0)
        fail_msg("refused: %s", text);
    assert_string_equal(base, want);
    free(base);
}

static void assert_refused(const char *text)
{
    char *base;

    if (parse(text, &base) != ERR_INVALID)
        fail_msg("accepted: %s", text);
}

static void an_address_in_brackets_has_two_characters_at_least(void **state)
{
    (void)state;
    assert_base("http://[::]", "http://[::]");
    assert_base("http://[::1]:81/a", "http://[::1]:81/a");
    assert_refused("http://[:]");
    assert_refused("http://[]");
    assert_refused("http://[");
    assert_refused("http://[::1");
    assert_refused("http://[::1/");
    assert_refused("http://[::g]");
    assert_refused("http://[::1]x");
}

static void a_host_of_253_bytes_is_taken_and_one_of_254_is_not(void **state)
{
    char text[300], host[260];

    (void)state;
    memset(host, 'h', sizeof(host));
    host[253] = '\0';
    snprintf(text, sizeof(text), "https://%s", host);
    assert_base(text, text);
    host[253] = 'h';
    host[254] = '\0';
    snprintf(text, sizeof(text), "https://%s", host);
    assert_refused(text);
}

static void an_address_of_2048_bytes_is_taken_and_a_longer_one_is_not(void **state)
{
    char text[2050];

    (void)state;
    memset(text, 'p', sizeof(text));
    memcpy(text, "https://h/", 10);
    text[2048] = '\0';
    assert_base(text, text);
    text[2048] = 'p';
    text[2049] = '\0';
    assert_refused(text);
}

static void a_port_has_five_digits_and_is_no_more_than_65535(void **state)
{
    (void)state;
    assert_base("https://h:65535", "https://h:65535");
    assert_base("https://h:00081", "https://h:81");
    assert_refused("https://h:65536");
    assert_refused("https://h:000081");
    assert_refused("https://h:4294967377"); /* 81 and 2 to the 32nd */
    assert_refused("https://h:0");
    assert_refused("https://h:8a");
    assert_base("https://h:", "https://h"); /* RFC 3986, 3.2.3: it may be empty */
    assert_base("https://h:/a", "https://h/a");
}

static void only_whole_segments_are_dots(void **state)
{
    (void)state;
    assert_base("https://h/.a/..b/a./...", "https://h/.a/..b/a./...");
    assert_refused("https://h/a/.");
    assert_refused("https://h/a/..");
    assert_refused("https://h/a/../b");
}

static void what_stands_behind_the_address_is_none_of_it(void **state)
{
    (void)state;
    assert_base("h#://a", "https://h");
    assert_base("h #/b", "https://h");
    assert_base("h/a// ", "https://h/a");
    assert_base("h/a//#/b", "https://h/a");
    assert_base("h/a/?b=/c", "https://h/a");
    assert_refused("a://h");
}

static void assert_host_in(const char *host, const char *domain, bool want)
{
    char *copy = exact_copy(host, strlen(host) + 1);

    assert_int_equal(provider_host_in(copy, domain), want);
    free(copy);
}

static void a_host_is_in_its_domain_and_in_those_above(void **state)
{
    (void)state;
    assert_host_in("azure.com", "azure.com", true);
    assert_host_in("Azure.Com:443", "azure.com", true);
    assert_host_in("a.azure.com", "azure.com", true);
    assert_host_in("aazure.com", "azure.com", false);
    assert_host_in("zure.com", "azure.com", false);
    assert_host_in("com", "azure.com", false);
    assert_host_in("", "azure.com", false);
}

/* A path of `num` segments in a name of one's own; the last one is `last`. */
static void path_of(char *text, size_t num, const char *last)
{
    strcpy(text, "https://h.example");
    for (size_t i = 1; i < num; i++)
        strcat(text, "/a");
    strcat(text, "/");
    strcat(text, last);
}

static void a_path_of_32_segments_is_read_to_its_last_one(void **state)
{
    static const char *const last[] = {"b", "openai", "deployments", "v1", "api"};
    char text[200], want[200];

    (void)state;
    for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++) {
        bool kept = strcmp(last[i], "openai") != 0 && strcmp(last[i], "deployments") != 0;

        path_of(text, 32, last[i]);
        strcpy(want, text);
        if (!kept)
            *strrchr(want, '/') = '\0';
        assert_base(text, want);
        path_of(text, 33, last[i]);
        assert_refused(text);
    }
}

static void assert_azure(const char *text, const char *version, const char *deployment, bool v1)
{
    char *copy = exact_copy(text, strlen(text) + 1);
    struct azure_endpoint ep;
    const char *why = NULL;

    if (azure_endpoint_parse(copy, &ep, &why) != 0)
        fail_msg("%s: %s", text, why);
    assert_string_equal(ep.base, "https://r.openai.azure.com");
    assert_string_equal(ep.api_version != NULL ? ep.api_version : "none", version);
    assert_string_equal(ep.deployment != NULL ? ep.deployment : "none", deployment);
    assert_int_equal(ep.v1, v1);
    azure_endpoint_free(&ep);
    free(copy);
}

static void a_path_that_ends_early_names_nothing(void **state)
{
    (void)state;
    assert_azure("r.openai.azure.com/openai/deployments", "none", "none", false);
    assert_azure("r.openai.azure.com/openai/deployments/d", "none", "d", false);
    assert_azure("r.openai.azure.com/deployments", "none", "none", false);
    assert_azure("r.openai.azure.com/deployments/d", "none", "d", false);
    assert_azure("r.openai.azure.com/openai/v1", "", "none", true);
    assert_azure("r.openai.azure.com/openai/v", "none", "none", false);
    assert_azure("r.openai.azure.com/openai/v11", "none", "none", false);
    assert_azure("r.openai.azure.com/api/projects", "none", "none", false);
    assert_refused("r.openai.azure.com/api");
    assert_refused("r.openai.azure.com/api/project");
    assert_refused("r.openai.azure.com/api/projectss");
}

static void a_version_of_64_bytes_is_taken_and_a_longer_one_is_not(void **state)
{
    char text[200], version[66];

    (void)state;
    memset(version, '1', sizeof(version));
    version[64] = '\0';
    snprintf(text, sizeof(text), "r.openai.azure.com/openai?api-version=%s", version);
    assert_azure(text, version, "none", false);
    snprintf(text, sizeof(text), "r.openai.azure.com/openai?api-version=%s&a=b", version);
    assert_azure(text, version, "none", false);
    version[64] = '1';
    version[65] = '\0';
    snprintf(text, sizeof(text), "r.openai.azure.com/openai?api-version=%s", version);
    assert_refused(text);
}

static void a_version_is_empty_or_of_letters_and_digits_all_through(void **state)
{
    (void)state;
    assert_azure("r.openai.azure.com/openai?api-version=", "none", "none", false);
    assert_azure("r.openai.azure.com/openai?api-version=&x=1", "none", "none", false);
    assert_azure("r.openai.azure.com/openai/v1?api-version=", "", "none", true);
    assert_azure("r.openai.azure.com/openai/v1?api-version=previe", "", "none", true);
    assert_azure("r.openai.azure.com/openai/v1?api-version=previews", "", "none", true);
    assert_azure("r.openai.azure.com/openai/v1?api-version=preview", "preview", "none", true);
    assert_refused("r.openai.azure.com/openai?api-version=2024_10");
    assert_refused("r.openai.azure.com/openai?api-version=2024-10-21~");
}

/* An account with `num` headers of its own, in an array of exactly that size; owned. */
static struct model_account account_with(size_t num)
{
    struct model_account a = {.provider = PROVIDER_OPENAI, .num_headers = num};
    char value[100];

    a.base = (char *)"https://h/v1";
    a.organization = (char *)"org-1";
    a.project = (char *)"proj-1";
    a.headers = calloc(num != 0 ? num : 1, sizeof(*a.headers));
    assert_non_null(a.headers);
    for (size_t i = 0; i < num; i++) {
        memset(value, 'a' + (int)i, sizeof(value));
        a.headers[i].name = (char *)"X-Own";
        assert_int_equal(secret_set(&a.headers[i].value, value, sizeof(value)), 0);
    }
    assert_int_equal(secret_set(&a.key, "sk-test-key", 11), 0);
    return a;
}

static void drop(struct model_account *a)
{
    for (size_t i = 0; i < a->num_headers; i++)
        secret_clear(&a->headers[i].value);
    free(a->headers);
    secret_clear(&a->key);
}

/* Seven are ours. */
static void an_accounts_own_headers_are_sent_up_to_the_fourteenth_of_all(void **state)
{
    enum { OURS = 7 };

    (void)state;
    for (size_t num = 0; num <= PROVIDER_MAX_HEADERS - OURS + 2; num++) {
        struct model_account a = account_with(num);
        struct provider_headers h;
        int err = provider_headers(&a, NULL, CALL_BATCH_CREATE, "application/json", &h);

        if (num <= PROVIDER_MAX_HEADERS - OURS) {
            assert_int_equal(err, 0);
            assert_int_equal(h.num, OURS + num);
            for (size_t i = 0; i < num; i++)
                assert_string_equal(h.list[OURS + i].value, a.headers[i].value.data);
            provider_headers_wipe(&h);
        } else {
            assert_int_equal(err, ERR_LIMIT);
            assert_null(h.storage.data);
        }
        drop(&a);
    }
}

static void assert_boundary(size_t len, int want)
{
    struct provider_upload up = {"batch", "a", NULL, NULL};
    struct strbuf before = STRBUF_INIT, after = STRBUF_INIT;
    char *boundary = malloc(len + 1);

    assert_non_null(boundary);
    memset(boundary, 'b', len);
    boundary[len] = '\0';
    assert_int_equal(provider_multipart(&up, boundary, &before, &after), want);
    strbuf_deinit(&before);
    strbuf_deinit(&after);
    free(boundary);
}

/* RFC 2046, 5.1.1. */
static void a_boundary_has_one_to_seventy_characters(void **state)
{
    (void)state;
    assert_boundary(0, ERR_INVALID);
    assert_boundary(1, 0);
    assert_boundary(70, 0);
    assert_boundary(71, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_in_brackets_has_two_characters_at_least),
        cmocka_unit_test(a_host_of_253_bytes_is_taken_and_one_of_254_is_not),
        cmocka_unit_test(an_address_of_2048_bytes_is_taken_and_a_longer_one_is_not),
        cmocka_unit_test(a_port_has_five_digits_and_is_no_more_than_65535),
        cmocka_unit_test(only_whole_segments_are_dots),
        cmocka_unit_test(what_stands_behind_the_address_is_none_of_it),
        cmocka_unit_test(a_host_is_in_its_domain_and_in_those_above),
        cmocka_unit_test(a_path_of_32_segments_is_read_to_its_last_one),
        cmocka_unit_test(a_path_that_ends_early_names_nothing),
        cmocka_unit_test(a_version_of_64_bytes_is_taken_and_a_longer_one_is_not),
        cmocka_unit_test(a_version_is_empty_or_of_letters_and_digits_all_through),
        cmocka_unit_test(an_accounts_own_headers_are_sent_up_to_the_fourteenth_of_all),
        cmocka_unit_test(a_boundary_has_one_to_seventy_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
