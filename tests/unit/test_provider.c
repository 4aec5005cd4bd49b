/* Dialects: addresses people paste, URLs, header lines, multipart framing, create bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "upstream/provider.h"

static struct model_account account_of(enum provider provider, const char *base,
                                       const char *version)
{
    struct model_account a = {0};

    a.provider = provider;
    a.base = (char *)base;
    a.api_version = (char *)version;
    assert_int_equal(secret_set(&a.key, "sk-test-key", 11), 0);
    return a;
}

static const char *header_of(const struct provider_headers *h, const char *name)
{
    for (size_t i = 0; i < h->num; i++)
        if (strcmp(h->list[i].name, name) == 0)
            return h->list[i].value;
    return NULL;
}

static void assert_azure(const char *text, const char *base, const char *version,
                         const char *deployment, bool v1)
{
    struct azure_endpoint ep;
    const char *why = NULL;
    int err = azure_endpoint_parse(text, &ep, &why);

    if (err != 0)
        fail_msg("%s: %s", text, why);
    assert_string_equal(ep.base, base);
    if (version == NULL)
        assert_null(ep.api_version);
    else
        assert_string_equal(ep.api_version, version);
    if (deployment == NULL)
        assert_null(ep.deployment);
    else
        assert_string_equal(ep.deployment, deployment);
    assert_int_equal(ep.v1, v1);
    azure_endpoint_free(&ep);
}

static void every_azure_address_that_people_paste_gives_the_same_base(void **state)
{
    const char *base = "https://res.openai.azure.com";

    (void)state;
    assert_azure("https://res.openai.azure.com", base, NULL, NULL, false);
    assert_azure("https://res.openai.azure.com/", base, NULL, NULL, false);
    assert_azure("  HTTPS://Res.OpenAI.Azure.com:443//\n", base, NULL, NULL, false);
    assert_azure("res.openai.azure.com", base, NULL, NULL, false);
    assert_azure("//res.openai.azure.com/openai", base, NULL, NULL, false);
    assert_azure("https://res.openai.azure.com/openai/", base, NULL, NULL, false);
    assert_azure("https://res.openai.azure.com/openai/v1", base, "", NULL, true);
    assert_azure("https://res.openai.azure.com/openai/v1/", base, "", NULL, true);
    assert_azure("https://res.openai.azure.com/openai/v1/batches?api-version=2024-10-21", base, "",
                 NULL, true);
    assert_azure("https://res.openai.azure.com/openai/v1?api-version=preview", base, "preview",
                 NULL, true);
    assert_azure("https://res.openai.azure.com/v1", base, "", NULL, true);
    assert_azure("https://res.openai.azure.com/openai/files?api-version=2024-10-21", base,
                 "2024-10-21", NULL, false);
    assert_azure("https://res.openai.azure.com/openai/deployments/gpt-4o/chat/"
                 "completions?api-version=2025-04-01-preview",
                 base, "2025-04-01-preview", "gpt-4o", false);
    assert_azure("https://res.openai.azure.com/openai/deployments/openai", base, NULL, "openai",
                 false);
    assert_azure("https://res.openai.azure.com/deployments/x?a=b&API-Version=v1", base, "v1", "x",
                 false);
    assert_azure("https://res.openai.azure.com/openai#top", base, NULL, NULL, false);
}

static void other_hosts_of_azure_and_gateways_before_it_are_understood(void **state)
{
    (void)state;
    assert_azure("https://r.cognitiveservices.azure.com/", "https://r.cognitiveservices.azure.com",
                 NULL, NULL, false);
    assert_azure("https://r.services.ai.azure.com/models", "https://r.services.ai.azure.com", NULL,
                 NULL, false);
    assert_azure("https://r.services.ai.azure.com/api/projects/p1",
                 "https://r.services.ai.azure.com", NULL, NULL, false);
    assert_azure("https://r.services.ai.azure.com/openai/v1/", "https://r.services.ai.azure.com",
                 "", NULL, true);
    assert_azure("https://eastus.api.cognitive.microsoft.com/",
                 "https://eastus.api.cognitive.microsoft.com", NULL, NULL, false);
    assert_azure("https://corp.azure-api.net/ai/openai/deployments/d",
                 "https://corp.azure-api.net/ai", NULL, "d", false);
    assert_azure("https://corp.azure-api.net/openai/openai/v1", "https://corp.azure-api.net/openai",
                 "", NULL, true);
    assert_azure("https://proxy.example/azure/", "https://proxy.example/azure", NULL, NULL, false);
    assert_azure("http://127.0.0.1:9000/a//b/", "http://127.0.0.1:9000/a/b", NULL, NULL, false);
    assert_azure("http://[::1]:80/openai", "http://[::1]", NULL, NULL, false);
    assert_azure("localhost:8443", "https://localhost:8443", NULL, NULL, false);
}

static void addresses_that_cannot_work_are_refused_with_a_reason(void **state)
{
    static const char *const bad[] = {
        "",
        "   ",
        "ftp://res.openai.azure.com",
        "https://",
        "https:///openai",
        "https://user:pw@res.openai.azure.com",
        "https://res.openai.azure.com:0",
        "https://res.openai.azure.com:99999",
        "https://res.openai.azure.com:8x",
        "https://res openai.azure.com",
        "https://res.openai.azure.com/a\r\nX: y",
        "https://h/../openai",
        "https://h/./a",
        "https://{resource}.openai.azure.com",
        "https://[::1",
        "https://[]/",
        "https://ho\xc3\xa9.example",
        "https://res.openai.azure.com/something/else",
        "https://res.openai.azure.com/openai?api-version=20%2024",
        "https://h/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q/r/s/t/u/v/w/x/y/z",
    };
    struct azure_endpoint ep;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *why = NULL;
        if (azure_endpoint_parse(bad[i], &ep, &why) != ERR_INVALID)
            fail_msg("accepted: %s", bad[i]);
        assert_non_null(why);
        assert_null(ep.base);
    }
}

static void assert_openai(const char *text, const char *want)
{
    const char *why = NULL;
    char *base;

    if (openai_base_parse(text, &base, &why) != 0)
        fail_msg("%s: %s", text, why);
    assert_string_equal(base, want);
    free(base);
}

static void an_openai_base_loses_its_slash_and_only_openai_itself_gets_v1(void **state)
{
    const char *why = NULL;
    char *base;

    (void)state;
    assert_openai("https://api.openai.com", "https://api.openai.com/v1");
    assert_openai("https://api.openai.com/", "https://api.openai.com/v1");
    assert_openai("api.openai.com/v1/", "https://api.openai.com/v1");
    assert_openai("https://eu.api.openai.com", "https://eu.api.openai.com/v1");
    assert_openai("https://api.openai.com/v1/batches", "https://api.openai.com/v1");
    assert_openai("http://127.0.0.1:8000", "http://127.0.0.1:8000");
    assert_openai("https://notapi.openai.com.example/v1/x/",
                  "https://notapi.openai.com.example/v1/x");
    assert_int_equal(openai_base_parse("https://api.openai.com/v1?x=1", &base, &why), ERR_INVALID);
    assert_null(base);
    assert_non_null(why);
}

static void assert_url(struct model_account *account, enum provider_call call, const char *id,
                       const char *query, const char *want)
{
    struct strbuf url = STRBUF_INIT;

    assert_int_equal(provider_url(account, call, id, query, &url), 0);
    assert_string_equal(strbuf_str(&url), want);
    strbuf_deinit(&url);
}

static void urls_follow_the_dialect_of_the_account(void **state)
{
    struct model_account openai = account_of(PROVIDER_OPENAI, "https://api.openai.com/v1", NULL);
    struct model_account dated =
        account_of(PROVIDER_AZURE, "https://r.openai.azure.com", "2024-10-21");
    struct model_account v1 = account_of(PROVIDER_AZURE, "https://r.openai.azure.com", NULL);
    struct model_account preview =
        account_of(PROVIDER_AZURE, "https://r.openai.azure.com", "preview");

    (void)state;
    assert_url(&openai, CALL_FILE_CREATE, NULL, NULL, "https://api.openai.com/v1/files");
    assert_url(&openai, CALL_FILE_LIST, NULL, "purpose=batch&limit=3",
               "https://api.openai.com/v1/files?purpose=batch&limit=3");
    assert_url(&openai, CALL_BATCH_CANCEL, "batch_1", "",
               "https://api.openai.com/v1/batches/batch_1/cancel");
    assert_url(&dated, CALL_FILE_CONTENT, "file-1", NULL,
               "https://r.openai.azure.com/openai/files/file-1/content?api-version=2024-10-21");
    assert_url(&dated, CALL_BATCH_LIST, NULL, "limit=2",
               "https://r.openai.azure.com/openai/batches?api-version=2024-10-21&limit=2");
    assert_url(&v1, CALL_BATCH_GET, "b", NULL, "https://r.openai.azure.com/openai/v1/batches/b");
    assert_url(&v1, CALL_BATCH_LIST, NULL, "limit=2",
               "https://r.openai.azure.com/openai/v1/batches?limit=2");
    assert_url(&preview, CALL_FILE_DELETE, "f", NULL,
               "https://r.openai.azure.com/openai/v1/files/f?api-version=preview");
    secret_clear(&openai.key);
    secret_clear(&dated.key);
    secret_clear(&v1.key);
    secret_clear(&preview.key);
}

static void an_id_cannot_leave_its_path_segment(void **state)
{
    struct model_account a = account_of(PROVIDER_OPENAI, "https://h/v1", NULL);
    struct strbuf url = STRBUF_INIT;

    (void)state;
    assert_url(&a, CALL_FILE_GET, "../a b?c#d%", NULL, "https://h/v1/files/..%2Fa%20b%3Fc%23d%25");
    assert_int_equal(provider_url(&a, CALL_FILE_GET, "..", NULL, &url), ERR_INVALID);
    assert_int_equal(provider_url(&a, CALL_FILE_GET, ".", NULL, &url), ERR_INVALID);
    assert_int_equal(provider_url(&a, CALL_FILE_GET, "", NULL, &url), ERR_INVALID);
    assert_int_equal(provider_url(&a, CALL_FILE_GET, NULL, NULL, &url), ERR_INVALID);
    assert_int_equal(provider_url(&a, CALL_FILE_LIST, NULL, "a=b c", &url), ERR_INVALID);
    assert_int_equal(provider_url(&a, CALL_FILE_LIST, NULL, "a=b\r\nX: y", &url), ERR_INVALID);
    assert_int_equal(url.len, 0);
    strbuf_deinit(&url);
    secret_clear(&a.key);
}

static void the_pattern_shows_people_where_calls_go(void **state)
{
    struct model_account a = account_of(PROVIDER_AZURE, "https://r.openai.azure.com", "2024-10-21");
    struct strbuf out = STRBUF_INIT;

    (void)state;
    provider_url_pattern(&a, &out);
    assert_string_equal(strbuf_str(&out),
                        "https://r.openai.azure.com/openai/files/{file_id}?api-version=2024-10-21");
    strbuf_deinit(&out);
    secret_clear(&a.key);
}

static void an_azure_key_travels_as_api_key_and_a_token_as_bearer(void **state)
{
    struct model_account a = account_of(PROVIDER_AZURE, "https://r", NULL);
    struct provider_headers h;

    (void)state;
    assert_int_equal(provider_headers(&a, NULL, CALL_FILE_LIST, NULL, &h), 0);
    assert_string_equal(header_of(&h, "api-key"), "sk-test-key");
    assert_null(header_of(&h, "Authorization"));
    assert_null(header_of(&h, "Content-Type"));
    provider_headers_wipe(&h);
    assert_null(h.storage.data);

    a.auth = ACCOUNT_AUTH_BEARER;
    a.organization = (char *)"org-x"; /* means nothing to Azure */
    assert_int_equal(provider_headers(&a, NULL, CALL_FILE_LIST, NULL, &h), 0);
    assert_string_equal(header_of(&h, "Authorization"), "Bearer sk-test-key");
    assert_null(header_of(&h, "api-key"));
    assert_null(header_of(&h, "OpenAI-Organization"));
    provider_headers_wipe(&h);
    secret_clear(&a.key);
}

static void test_entra_22_an_account_by_entra_id_sends_the_token_of_now_of_any_length(void **state)
{
    struct model_account a = account_of(PROVIDER_AZURE, "https://r", NULL);
    char token[16384 + 1];
    struct provider_headers h;

    (void)state;
    memset(token, 't', sizeof(token) - 1);
    token[sizeof(token) - 1] = '\0';
    a.auth = ACCOUNT_AUTH_ENTRA;
    assert_int_equal(provider_headers(&a, token, CALL_BATCH_CREATE, "application/json", &h), 0);
    assert_memory_equal(header_of(&h, "Authorization"), "Bearer ttt", 10);
    assert_int_equal(strlen(header_of(&h, "Authorization")), 7 + 16384);
    assert_null(header_of(&h, "api-key"));
    assert_true(h.storage.len <= h.storage.cap);
    provider_headers_wipe(&h);

    /* Never without one, and never with a key that stands there. */
    assert_int_equal(provider_headers(&a, NULL, CALL_FILE_LIST, NULL, &h), ERR_INVALID);
    assert_int_equal(provider_headers(&a, "", CALL_FILE_LIST, NULL, &h), ERR_INVALID);
    assert_int_equal(provider_headers(&a, "a\r\nb", CALL_FILE_LIST, NULL, &h), ERR_INVALID);
    secret_clear(&a.key);
}

static void an_openai_call_names_its_project_and_who_we_are(void **state)
{
    struct model_account a = account_of(PROVIDER_OPENAI, "https://r/v1", NULL);
    struct provider_headers h;

    (void)state;
    a.organization = (char *)"org-1";
    a.project = (char *)"proj-1";
    assert_int_equal(provider_headers(&a, NULL, CALL_BATCH_CREATE, "application/json", &h), 0);
    assert_string_equal(header_of(&h, "Authorization"), "Bearer sk-test-key");
    assert_string_equal(header_of(&h, "OpenAI-Organization"), "org-1");
    assert_string_equal(header_of(&h, "OpenAI-Project"), "proj-1");
    assert_string_equal(header_of(&h, "Content-Type"), "application/json");
    assert_string_equal(header_of(&h, "Accept"), "application/json");
    assert_string_equal(header_of(&h, "Accept-Encoding"), "identity");
    assert_string_equal(header_of(&h, "User-Agent"), "tranche/" TRANCHE_VERSION);
    assert_true(h.num <= PROVIDER_MAX_HEADERS);
    provider_headers_wipe(&h);
    secret_clear(&a.key);
}

static void a_key_with_a_line_end_never_becomes_a_header(void **state)
{
    struct model_account a = account_of(PROVIDER_OPENAI, "https://r/v1", NULL);
    struct provider_headers h;

    (void)state;
    secret_clear(&a.key);
    assert_int_equal(secret_set(&a.key, "sk\r\nX: y", 8), 0);
    assert_int_equal(provider_headers(&a, NULL, CALL_FILE_LIST, NULL, &h), ERR_INVALID);
    assert_null(h.storage.data);
    secret_clear(&a.key);
}

static void a_multipart_body_has_fields_first_and_a_typed_file_part(void **state)
{
    struct provider_upload up = {"batch", "a \"b\\\r\n.jsonl", "created_at", "1209600"};
    struct strbuf before = STRBUF_INIT, after = STRBUF_INIT;

    (void)state;
    assert_int_equal(provider_multipart(&up, "BB", &before, &after), 0);
    assert_string_equal(
        strbuf_str(&before),
        "--BB\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
        "--BB\r\nContent-Disposition: form-data; "
        "name=\"expires_after[anchor]\"\r\n\r\ncreated_at\r\n"
        "--BB\r\nContent-Disposition: form-data; name=\"expires_after[seconds]\"\r\n\r\n1209600\r\n"
        "--BB\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a "
        "%22b%5C%0D%0A.jsonl\"\r\n"
        "Content-Type: application/octet-stream\r\n\r\n");
    assert_string_equal(strbuf_str(&after), "\r\n--BB--\r\n");
    strbuf_deinit(&before);
    strbuf_deinit(&after);
}

static void file_names_stay_valid_text(void **state)
{
    struct provider_upload up = {"batch",
                                 "gr\xc3\xbc\xc3\x9f"
                                 "e.jsonl",
                                 NULL, NULL};
    struct strbuf before = STRBUF_INIT, after = STRBUF_INIT;

    (void)state;
    assert_int_equal(provider_multipart(&up, "BB", &before, &after), 0);
    assert_non_null(strstr(before.data, "filename=\"gr\xc3\xbc\xc3\x9f"
                                        "e.jsonl\""));
    assert_null(strstr(before.data, "expires_after"));
    strbuf_reset(&before);
    up.filename = "a\xff.jsonl";
    assert_int_equal(provider_multipart(&up, "BB", &before, &after), 0);
    assert_non_null(strstr(before.data, "filename=\"a_.jsonl\""));
    assert_int_equal(provider_multipart(&up, "", &before, &after), ERR_INVALID);
    assert_int_equal(provider_multipart(&up, "a\r\nb", &before, &after), ERR_INVALID);
    strbuf_deinit(&before);
    strbuf_deinit(&after);
}

static void assert_body(enum provider provider, const char *native, const char *request,
                        const char *want)
{
    struct model_account a = account_of(provider, "https://r", NULL);
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *req = json_parse(doc, request, strlen(request), &error);
    struct strbuf out = STRBUF_INIT;

    assert_non_null(req);
    assert_int_equal(provider_batch_body(&a, doc, req, native, &out), 0);
    assert_string_equal(strbuf_str(&out), want);
    strbuf_deinit(&out);
    json_doc_free(doc);
    secret_clear(&a.key);
}

static void a_create_body_loses_what_only_the_gateway_knows(void **state)
{
    (void)state;
    assert_body(PROVIDER_OPENAI, "file-native",
                "{\"input_file_id\":\"file-x-tag\",\"endpoint\":\"/v1/chat/"
                "completions\",\"completion_window\":\"24h\","
                "\"model\":\"m\",\"custom_llm_provider\":\"azure\",\"provider\":\"azure\","
                "\"litellm_x\":{\"a\":1},"
                "\"metadata\":{\"k\":\"v\"},\"new_member\":1.50,\"output_expires_after\":{"
                "\"anchor\":\"created_at\",\"seconds\":3600}}",
                "{\"input_file_id\":\"file-native\",\"endpoint\":\"/v1/chat/"
                "completions\",\"completion_window\":\"24h\","
                "\"metadata\":{\"k\":\"v\"},\"new_member\":1.50,\"output_expires_after\":{"
                "\"anchor\":\"created_at\",\"seconds\":3600}}");
}

static void azure_gets_the_endpoint_as_sent_and_openai_with_its_v1(void **state)
{
    (void)state;
    assert_body(PROVIDER_AZURE, "f", "{\"endpoint\":\"/chat/completions\"}",
                "{\"input_file_id\":\"f\",\"endpoint\":\"/chat/completions\"}");
    assert_body(PROVIDER_OPENAI, "f", "{\"endpoint\":\"/chat/completions\"}",
                "{\"input_file_id\":\"f\",\"endpoint\":\"/v1/chat/completions\"}");
    assert_body(PROVIDER_OPENAI, "f", "{\"endpoint\":\"/v9/odd\"}",
                "{\"input_file_id\":\"f\",\"endpoint\":\"/v9/odd\"}");
    assert_body(PROVIDER_AZURE, NULL, "{\"input_blob\":\"https://b\",\"endpoint\":7}",
                "{\"input_blob\":\"https://b\",\"endpoint\":7}");
}

static void expiry_ranges_differ_by_provider(void **state)
{
    int64_t low, high;

    (void)state;
    provider_expiry_range(PROVIDER_OPENAI, &low, &high);
    assert_int_equal(low, 3600);
    assert_int_equal(high, 2592000);
    provider_expiry_range(PROVIDER_AZURE, &low, &high);
    assert_int_equal(low, 1209600);
    assert_int_equal(high, 2592000);
}

static void an_openai_row_on_an_azure_host_has_azures_rules(void **state)
{
    static const struct {
        const char *base;
        enum provider rules;
    } cases[] = {{"https://res.openai.azure.com/openai/v1", PROVIDER_AZURE},
                 {"https://RES.Services.AI.azure.com:8443/openai/v1", PROVIDER_AZURE},
                 {"https://res.cognitiveservices.azure.com", PROVIDER_AZURE},
                 {"https://swedencentral.api.cognitive.microsoft.com", PROVIDER_AZURE},
                 {"https://res.openai.azure.us/openai/v1", PROVIDER_AZURE},
                 {"https://api.openai.com/v1", PROVIDER_OPENAI},
                 {"https://openai.azure.com.example/v1", PROVIDER_OPENAI},
                 {"https://notopenai.azure.com/v1", PROVIDER_OPENAI},
                 {"https://gate.example/openai.azure.com", PROVIDER_OPENAI}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct model_account a = account_of(PROVIDER_OPENAI, cases[i].base, NULL);

        if (provider_rules(&a) != cases[i].rules)
            fail_msg("%s", cases[i].base);
        a.provider = PROVIDER_AZURE;
        assert_int_equal(provider_rules(&a), PROVIDER_AZURE);
        secret_clear(&a.key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_azure_address_that_people_paste_gives_the_same_base),
        cmocka_unit_test(other_hosts_of_azure_and_gateways_before_it_are_understood),
        cmocka_unit_test(addresses_that_cannot_work_are_refused_with_a_reason),
        cmocka_unit_test(an_openai_base_loses_its_slash_and_only_openai_itself_gets_v1),
        cmocka_unit_test(urls_follow_the_dialect_of_the_account),
        cmocka_unit_test(an_id_cannot_leave_its_path_segment),
        cmocka_unit_test(the_pattern_shows_people_where_calls_go),
        cmocka_unit_test(an_azure_key_travels_as_api_key_and_a_token_as_bearer),
        cmocka_unit_test(test_entra_22_an_account_by_entra_id_sends_the_token_of_now_of_any_length),
        cmocka_unit_test(an_openai_call_names_its_project_and_who_we_are),
        cmocka_unit_test(a_key_with_a_line_end_never_becomes_a_header),
        cmocka_unit_test(a_multipart_body_has_fields_first_and_a_typed_file_part),
        cmocka_unit_test(file_names_stay_valid_text),
        cmocka_unit_test(a_create_body_loses_what_only_the_gateway_knows),
        cmocka_unit_test(azure_gets_the_endpoint_as_sent_and_openai_with_its_v1),
        cmocka_unit_test(expiry_ranges_differ_by_provider),
        cmocka_unit_test(an_openai_row_on_an_azure_host_has_azures_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
