/* What a provider says of the host is hidden from tenants, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config_world.h"
#include "core/host_names.h"

static const char yaml[] =
    "model_list:\n"
    "- model_name: gold\n"
    "  litellm_params: {model: azure/gpt-4o-eu, api_base: \"https://acme-eu.openai.azure.com\","
    " api_key: key-of-azure-1234}\n"
    "- model_name: plain\n"
    "  litellm_params: {model: azure/batch, api_base: \"https://acme-eu.openai.azure.com\","
    " api_key: key-of-azure-1234}\n"
    "- model_name: gpt-4o-mini\n"
    "  litellm_params: {model: openai/gpt-4o-mini, api_key: key-of-openai-1234,"
    " organization: acme_ltd}\n"
    "- model_name: own\n"
    "  litellm_params: {model: openai/llama-3, api_base: \"http://10.1.2.3:8000/v1\","
    " api_key: key-of-own-1234}\n"
    "tranche_settings: {allow_insecure_upstream: true}\n";

struct world {
    struct loaded *l;
    struct table *table;
    struct mask *names;
};

static int make_world(void **state)
{
    static struct world w;

    if (set_up((void **)&w.l) != 0)
        return -1;
    load(w.l, yaml);
    assert_int_equal(w.l->rc, 0);
    assert_int_equal(table_build(&w.l->config->models, 1, &w.table), 0);
    w.names = host_names_new(w.l->config, w.table);
    assert_non_null(w.names);
    *state = &w;
    return 0;
}

static int end_world(void **state)
{
    struct world *w = *state;

    mask_free(w->names);
    table_free(w->table);
    return tear_down((void **)&w->l);
}

/* The array is of the exact size: a byte too far is seen by the sanitizer. */
static void expect(const struct world *w, const char *said, const char *shown)
{
    size_t len = strlen(said);
    char *text = malloc(len + 1);

    assert_non_null(text);
    memcpy(text, said, len + 1);
    assert_int_equal(host_names_hide(w->names, text, len, len + 1), strlen(shown));
    assert_string_equal(text, shown);
    free(text);
}

static void addresses_resources_and_deployments_are_hidden(void **state)
{
    expect(*state, "The API deployment gpt-4o-eu does not exist at acme-eu.openai.azure.com.",
           "The API deployment *** does not exist at ***.");
    expect(*state, "Resource 'ACME-EU': no quota", "Resource '***': no quota");
    expect(*state, "http://10.1.2.3:8000/v1/files: llama-3 is loading",
           "http://***:8000/v1/files: *** is loading");
}

static void accounts_of_openai_are_hidden(void **state)
{
    expect(*state,
           "Enqueued token limit reached for gpt-4o-mini in organization org-AbCdEf0123456789abcd. "
           "Limit: 2,000,000 enqueued tokens.",
           "Enqueued token limit reached for gpt-4o-mini in organization ***. "
           "Limit: 2,000,000 enqueued tokens.");
    expect(*state, "project proj_0123456789 of acme_ltd", "project *** of ***");
}

static void other_words_stay(void **state)
{
    expect(*state, "The batch has an endpoint that gpt-4o-mini does not serve.",
           "The batch has an endpoint that gpt-4o-mini does not serve.");
    expect(*state, "xgpt-4o-eu gpt-4o-eu2 acme-europe my-org-AbCdEf0123 org-short reorg-12345678",
           "xgpt-4o-eu gpt-4o-eu2 acme-europe my-org-AbCdEf0123 org-short reorg-12345678");
    expect(*state, "see https://api.openai.com/v1/models", "see https://api.openai.com/v1/models");
    expect(*state, "", "");
}

static void all_texts_of_a_value_are_searched(void **state)
{
    static const char text[] =
        "{\"data\":[{\"code\":\"x\",\"line\":3,\"message\":\"no gpt-4o-eu\"}],"
        "\"object\":\"list\"}";
    const struct world *w = *state;
    struct json_doc *doc = json_doc_new();
    struct strbuf out = STRBUF_INIT;
    struct json_error error;
    struct json *v = json_parse(doc, text, strlen(text), &error);

    assert_non_null(v);
    host_names_hide_json(w->names, doc, v);
    json_write(v, &out);
    assert_string_equal(strbuf_str(&out),
                        "{\"data\":[{\"code\":\"x\",\"line\":3,\"message\":\"no ***\"}],"
                        "\"object\":\"list\"}");
    host_names_hide_json(w->names, doc, NULL);
    strbuf_deinit(&out);
    json_doc_free(doc);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make_world, end_world)
    const struct CMUnitTest tests[] = {
        T(addresses_resources_and_deployments_are_hidden),
        T(accounts_of_openai_are_hidden),
        T(other_words_stay),
        T(all_texts_of_a_value_are_searched),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
