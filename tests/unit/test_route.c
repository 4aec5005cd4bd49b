/* Request targets to routes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "request/route.h"
#include "exact.h"

static struct route route;
static struct route_hints hints;

static void parse(const char *target)
{
    const char *q = strchr(target, '?');
    size_t len = q != NULL ? (size_t)(q - target) : strlen(target);
    size_t query_len = q != NULL ? strlen(q + 1) : 0;
    char *path = exact_copy(target, len), *query = exact_copy(q != NULL ? q + 1 : "", query_len);

    route_parse(path, len, query, query_len, &route, &hints);
    free(path);
    free(query);
}

static void bare_v1_prefixed_and_trailing_slash_are_the_same_route(void **state)
{
    static const char *const forms[] = {"/files",           "/files/",
                                        "/v1/files",        "/v1/files/",
                                        "/openai/v1/files", "/azure/v1/files/",
                                        "/azure/files",     "/openai/files",
                                        "/OpenAI/v1/files", "/openai/deployments/gpt-4o/files"};

    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        parse(forms[i]);
        if (route.kind != ROUTE_FILES)
            fail_msg("%s is not ROUTE_FILES", forms[i]);
        assert_false(route.bad_id);
    }
}

static void each_resource_has_its_route_and_methods(void **state)
{
    static const struct {
        const char *target;
        enum route_kind kind;
        unsigned allowed;
    } cases[] = {
        {"/v1/files/file-1", ROUTE_FILE, METHOD_GET | METHOD_HEAD | METHOD_DELETE},
        {"/v1/files/file-1/content", ROUTE_FILE_CONTENT, METHOD_GET | METHOD_HEAD},
        {"/v1/files/validate", ROUTE_FILE_VALIDATE, METHOD_POST},
        {"/v1/uploads", ROUTE_UPLOADS, METHOD_POST},
        {"/v1/uploads/upload_1/parts", ROUTE_UPLOAD_PARTS, METHOD_POST},
        {"/v1/uploads/upload_1/complete", ROUTE_UPLOAD_COMPLETE, METHOD_POST},
        {"/openai/uploads/upload_1/cancel", ROUTE_UPLOAD_CANCEL, METHOD_POST},
        {"/v1/batches", ROUTE_BATCHES, METHOD_GET | METHOD_HEAD | METHOD_POST},
        {"/v1/batches/batch_1", ROUTE_BATCH, METHOD_GET | METHOD_HEAD},
        {"/v1/batches/batch_1/cancel", ROUTE_BATCH_CANCEL, METHOD_POST},
        {"/v1/batches/batch_1/results", ROUTE_BATCH_RESULTS, METHOD_GET},
        {"/v1/batches/batch_1/retry", ROUTE_BATCH_RETRY, METHOD_POST},
        {"/v1/batches/placement", ROUTE_PLACEMENT, METHOD_POST},
        {"/v1/models", ROUTE_MODELS, METHOD_GET | METHOD_HEAD},
        {"/v1/models/gpt-4o", ROUTE_MODEL, METHOD_GET | METHOD_HEAD},
        {"/v1/models/org/team/name", ROUTE_MODEL, METHOD_GET | METHOD_HEAD},
        {"/model/info", ROUTE_MODEL_INFO, METHOD_GET | METHOD_HEAD},
        {"/model_group/info", ROUTE_MODEL_GROUP_INFO, METHOD_GET | METHOD_HEAD},
        {"/health", ROUTE_HEALTH, METHOD_GET | METHOD_HEAD},
        {"/ui", ROUTE_UI, METHOD_GET | METHOD_HEAD},
        {"/ui/", ROUTE_UI, METHOD_GET | METHOD_HEAD},
        {"/ui/state", ROUTE_UI_STATE, METHOD_GET},
        {"/ui/login", ROUTE_UI_LOGIN, METHOD_POST},
        {"/ui/logout", ROUTE_UI_LOGOUT, METHOD_POST},
        {"/ui/deployments/eu/cool", ROUTE_UI_COOL, METHOD_POST},
        {"/ui/deployments/eu/restore", ROUTE_UI_RESTORE, METHOD_POST},
        {"/ui/workers/4711/drain", ROUTE_UI_DRAIN, METHOD_POST},
        {"/ui/batches/batch_1/cancel", ROUTE_UI_CANCEL, METHOD_POST},
        {"/health/liveliness", ROUTE_LIVENESS, METHOD_GET | METHOD_HEAD},
        {"/health/liveness/", ROUTE_LIVENESS, METHOD_GET | METHOD_HEAD},
        {"/health/readiness", ROUTE_READINESS, METHOD_GET | METHOD_HEAD},
        {"/metrics", ROUTE_METRICS, METHOD_GET | METHOD_HEAD},
        {"/metrics/", ROUTE_METRICS, METHOD_GET | METHOD_HEAD},
        {"/webhooks", ROUTE_WEBHOOKS, METHOD_GET | METHOD_POST | METHOD_PATCH | METHOD_DELETE},
        {"/webhooks/events/evt_1/replay", ROUTE_WEBHOOKS,
         METHOD_GET | METHOD_POST | METHOD_PATCH | METHOD_DELETE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        parse(cases[i].target);
        assert_int_equal(route.kind, cases[i].kind);
        assert_int_equal(route.allowed, cases[i].allowed);
    }
}

static void what_is_no_route_stays_unknown(void **state)
{
    static const char *const targets[] = {"/",
                                          "/v1",
                                          "/v2/files",
                                          "//files",
                                          "/v1//files",
                                          "/files//",
                                          "/v1/files//",
                                          "/v1/files/a//",
                                          "/azure",
                                          "/v1/files/a/b",
                                          "/v1/files/a/content/x",
                                          "/v1/batches/a/cancel/x",
                                          "/model",
                                          "/model/infos",
                                          "/model/info/x",
                                          "/metrics/x",
                                          "/webhooks/a/b/c/d",
                                          "/v1/webhooks",
                                          "/health/readiness/x",
                                          "/openai/deployments/files",
                                          "/file",
                                          "/filess",
                                          "/v1/batch",
                                          "files",
                                          "/v1/v1/files",
                                          "/azure/health",
                                          "/v1/ui",
                                          "/ui/x",
                                          "/ui/state/x",
                                          "/ui/batches/batch_1",
                                          "/ui/deployments/eu/cancel",
                                          "/bedrock/v1/files",
                                          "/v1/batches/x/content",
                                          "/a/b/c/d/e/f/g/h/i/j",
                                          "/health/x"};

    (void)state;
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        parse(targets[i]);
        if (route.kind != ROUTE_NONE)
            fail_msg("%s is a route", targets[i]);
    }
}

static void a_path_has_eight_segments_at_most(void **state)
{
    (void)state;
    parse("/v1/models/a/b/c/d/e/f");
    assert_int_equal(route.kind, ROUTE_MODEL);
    assert_string_equal(route.id, "a/b/c/d/e/f");
    parse("/v1/models/a/b/c/d/e/f/");
    assert_int_equal(route.kind, ROUTE_MODEL);
    parse("/v1/models/a/b/c/d/e/f/g");
    assert_int_equal(route.kind, ROUTE_NONE);
}

/* Into memory of the exact size. @return the length; the text behind it is in `buffer` */
static int decoded(const char *text, size_t size, char buffer[64])
{
    char *out = malloc(size), *in = exact_copy(text, strlen(text));
    int len = route_decode(in, strlen(text), false, out, size);

    if (len >= 0)
        memcpy(buffer, out, (size_t)len + 1);
    free(in);
    free(out);
    return len;
}

static void what_is_decoded_fills_its_room_to_the_last_byte(void **state)
{
    char text[64];

    (void)state;
    assert_int_equal(decoded("a%62c", 4, text), 3);
    assert_string_equal(text, "abc");
    assert_int_equal(decoded("a%62c", 3, text), -1);
    assert_int_equal(decoded("a%62c", 1, text), -1);
    assert_int_equal(decoded("", 1, text), 0);
    assert_int_equal(decoded("", 0, text), -1);
    assert_int_equal(decoded("%", 9, text), -1);
    assert_int_equal(decoded("%6", 9, text), -1);
    assert_int_equal(decoded("%6g", 9, text), -1);
    assert_int_equal(decoded("%61", 9, text), 1);
}

static bool knows(const char *name)
{
    char *copy = exact_copy(name, strlen(name));
    enum provider provider;
    bool known = route_provider(copy, strlen(name), &provider);

    free(copy);
    return known;
}

static void a_provider_is_known_by_its_whole_name(void **state)
{
    static const char *const others[] = {"", "a", "azur", "azurex", "azure_ai", "opena", "openaix"};

    (void)state;
    assert_true(knows("azure") && knows("AZURE") && knows("openai") && knows("OpenAI"));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(knows(others[i]));
}

static void hint(const char *text, size_t len,
                 void (*note)(struct route_hints *, const char *, size_t))
{
    char *copy = exact_copy(text, len);

    memset(&hints, 0, sizeof(hints));
    note(&hints, copy, len);
    free(copy);
}

static void names_are_kept_up_to_the_room_that_they_have(void **state)
{
    char text[ROUTE_NAME_MAX + 1];
    size_t most = sizeof(hints.provider_text) - 1;

    (void)state;
    memset(text, 'x', sizeof(text));
    hint("vertex_ai", 9, route_hint_provider);
    assert_string_equal(hints.provider_text, "vertex_ai");
    for (size_t len = most - 1; len <= most + 2;
         len++) { /* of an unknown one its beginning is told */
        hint(text, len, route_hint_provider);
        assert_true(hints.unknown_provider);
        assert_int_equal(strlen(hints.provider_text), len < most ? len : most);
    }
    hint("", 0, route_hint_provider);
    assert_false(hints.unknown_provider);
    hint(text, ROUTE_NAME_MAX - 1, route_hint_model);
    assert_int_equal(strlen(hints.model), ROUTE_NAME_MAX - 1);
    hint(text, ROUTE_NAME_MAX, route_hint_model);
    assert_string_equal(hints.model, "");
    assert_string_equal(hints.deployment, ""); /* the member behind it */
}

static enum route_method method(const char *text)
{
    char *copy = exact_copy(text, strlen(text));
    enum route_method found = route_method(copy, strlen(text));

    free(copy);
    return found;
}

static void a_method_is_known_by_its_whole_name(void **state)
{
    static const char *const others[] = {"",    "G",   "GE",    "GETS", "get",
                                         "PUT", "POS", "POSTS", "DELET"};

    (void)state;
    assert_int_equal(method("GET"), METHOD_GET);
    assert_int_equal(method("HEAD"), METHOD_HEAD);
    assert_int_equal(method("POST"), METHOD_POST);
    assert_int_equal(method("DELETE"), METHOD_DELETE);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(method(others[i]), METHOD_OTHER);
}

static void an_id_is_decoded_once_and_an_encoded_slash_stays_in_it(void **state)
{
    (void)state;
    parse("/v1/files/file%2Dabc");
    assert_string_equal(route.id, "file-abc");
    parse("/v1/files/a%252Fb");
    assert_string_equal(route.id, "a%2Fb");
    parse("/v1/files/a%2Fcontent");
    assert_int_equal(route.kind, ROUTE_FILE);
    assert_string_equal(route.id, "a/content");
}

static void a_broken_escape_a_nul_and_an_overlong_id_are_bad_ids(void **state)
{
    char target[2000] = "/v1/files/";

    (void)state;
    parse("/v1/files/a%zz");
    assert_true(route.bad_id);
    parse("/v1/files/a%2");
    assert_true(route.bad_id);
    parse("/v1/files/a%00b");
    assert_true(route.bad_id);
    memset(target + 10, 'a', IDS_MAX + 1);
    target[10 + IDS_MAX + 1] = '\0';
    parse(target);
    assert_true(route.bad_id);
    target[10 + IDS_MAX] = '\0';
    parse(target);
    assert_false(route.bad_id);
    assert_int_equal(route.id_len, IDS_MAX);
}

static void the_path_names_the_provider_before_the_query_does(void **state)
{
    (void)state;
    parse("/azure/v1/batches?provider=openai");
    assert_true(hints.has_provider);
    assert_int_equal(hints.provider, PROVIDER_AZURE);
    parse("/v1/batches?limit=2&provider=AZURE");
    assert_int_equal(hints.provider, PROVIDER_AZURE);
    parse("/v1/batches?provider=vertex_ai");
    assert_true(hints.unknown_provider);
    assert_string_equal(hints.provider_text, "vertex_ai");
}

static void an_azure_sdk_url_is_no_claim_for_the_provider_openai(void **state)
{
    (void)state;
    parse("/openai/files?api-version=2024-10-21");
    assert_int_equal(route.kind, ROUTE_FILES);
    assert_false(hints.has_provider);
    assert_true(hints.azure_shape);
    parse("/openai/deployments/gpt%2D4o/batches?api-version=x");
    assert_int_equal(route.kind, ROUTE_BATCHES);
    assert_true(hints.azure_shape);
    assert_string_equal(hints.deployment, "gpt-4o");
    parse("/openai/v1/files");
    assert_true(hints.has_provider);
    assert_int_equal(hints.provider, PROVIDER_OPENAI);
    assert_true(hints.openai_path); /* Azure's v1 API has the same path */
    parse("/v1/files?provider=openai");
    assert_true(hints.has_provider);
    assert_false(hints.openai_path);
}

static void query_values_are_decoded_and_the_first_one_counts(void **state)
{
    const char *text = "a=1&after=x%2by+z&after=second&empty=&flag";
    char out[16], *q = exact_copy(text, strlen(text));

    (void)state;
    assert_int_equal(route_query(q, strlen(text), "after", out, sizeof(out)), 5);
    assert_string_equal(out, "x+y z");
    assert_int_equal(route_query(q, strlen(text), "empty", out, sizeof(out)), 0);
    assert_int_equal(route_query(q, strlen(text), "flag", out, sizeof(out)), 0);
    assert_int_equal(route_query(q, strlen(text), "none", out, sizeof(out)), -1);
    assert_int_equal(route_query("a=123456789", 11, "a", out, 4), -1);
    assert_int_equal(route_query("a=123&", 6, "a", out, 4), 3);
    free(q);
}

static void a_value_that_cannot_be_read_is_still_there(void **state)
{
    const char *text = "a=%zz&b=%00&lim%69t=1&flag";
    char out[16], *q = exact_copy(text, strlen(text));

    (void)state;
    assert_int_equal(route_query(q, strlen(text), "a", out, sizeof(out)), -1);
    assert_true(route_query_has(q, strlen(text), "a"));
    assert_true(route_query_has(q, strlen(text), "b"));
    assert_true(route_query_has(q, strlen(text), "limit"));
    assert_true(route_query_has(q, strlen(text), "flag"));
    assert_false(route_query_has(q, strlen(text), "fla"));
    assert_false(route_query_has("", 0, "a"));
    assert_true(route_query_has("a=1&", 4, "a"));
    free(q);
}

static void allow_lists_methods_in_one_order(void **state)
{
    char out[64];

    (void)state;
    route_allow(METHOD_DELETE | METHOD_GET | METHOD_HEAD, out, sizeof(out));
    assert_string_equal(out, "GET, HEAD, DELETE");
    route_allow(METHOD_POST, out, sizeof(out));
    assert_string_equal(out, "POST");
    route_allow(0, out, sizeof(out));
    assert_string_equal(out, "");
    route_allow(METHOD_OTHER | METHOD_HEAD, out, sizeof(out));
    assert_string_equal(out, "HEAD");
}

static void allow_lists_what_there_is_room_for(void **state)
{
    static const struct {
        size_t size;
        const char *text;
    } cases[] = {{5, ""},           {6, "GET"},        {9, "GET"},
                 {10, "GET, HEAD"}, {15, "GET, HEAD"}, {16, "GET, HEAD, POST"}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *out = malloc(cases[i].size);

        route_allow(METHOD_GET | METHOD_HEAD | METHOD_POST, out, cases[i].size);
        assert_string_equal(out, cases[i].text);
        free(out);
    }
}

static void later_hints_do_not_replace_earlier_ones(void **state)
{
    (void)state;
    parse("/v1/files?model=a");
    route_hint_model(&hints, "b", 1);
    assert_string_equal(hints.model, "a");
    route_hint_provider(&hints, "azure", 5);
    route_hint_provider(&hints, "openai", 6);
    assert_int_equal(hints.provider, PROVIDER_AZURE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bare_v1_prefixed_and_trailing_slash_are_the_same_route),
        cmocka_unit_test(each_resource_has_its_route_and_methods),
        cmocka_unit_test(what_is_no_route_stays_unknown),
        cmocka_unit_test(a_path_has_eight_segments_at_most),
        cmocka_unit_test(what_is_decoded_fills_its_room_to_the_last_byte),
        cmocka_unit_test(a_provider_is_known_by_its_whole_name),
        cmocka_unit_test(names_are_kept_up_to_the_room_that_they_have),
        cmocka_unit_test(a_method_is_known_by_its_whole_name),
        cmocka_unit_test(an_id_is_decoded_once_and_an_encoded_slash_stays_in_it),
        cmocka_unit_test(a_broken_escape_a_nul_and_an_overlong_id_are_bad_ids),
        cmocka_unit_test(the_path_names_the_provider_before_the_query_does),
        cmocka_unit_test(an_azure_sdk_url_is_no_claim_for_the_provider_openai),
        cmocka_unit_test(query_values_are_decoded_and_the_first_one_counts),
        cmocka_unit_test(a_value_that_cannot_be_read_is_still_there),
        cmocka_unit_test(allow_lists_methods_in_one_order),
        cmocka_unit_test(allow_lists_what_there_is_room_for),
        cmocka_unit_test(later_hints_do_not_replace_earlier_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
