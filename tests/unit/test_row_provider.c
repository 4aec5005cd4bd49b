/* Whose a model name is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "config/row_provider.h"

static enum provider provider;
static const char *rest;

static enum row_kind kind_of(const char *custom, const char *model, bool has_base)
{
    return row_provider(custom, model, has_base, &provider, &rest);
}

static void a_prefix_names_the_provider(void **state)
{
    (void)state;
    assert_int_equal(kind_of(NULL, "azure/gpt-4o", false), ROW_OWN);
    assert_int_equal(provider, PROVIDER_AZURE);
    assert_string_equal(rest, "gpt-4o");
    assert_int_equal(kind_of("", "openai/org/name", false), ROW_OWN);
    assert_int_equal(provider, PROVIDER_OPENAI);
    assert_string_equal(rest, "org/name");
    assert_int_equal(kind_of(NULL, "azure/o_series/mine", false), ROW_OWN);
    assert_string_equal(rest, "mine");
    assert_int_equal(kind_of(NULL, "anthropic/claude", false), ROW_FOREIGN);
    assert_int_equal(kind_of(NULL, "bedrock/openai.gpt", true), ROW_FOREIGN);
}

static void custom_llm_provider_goes_before_the_name(void **state)
{
    (void)state;
    assert_int_equal(kind_of("openai", "claude-compatible", false), ROW_OWN);
    assert_string_equal(rest, "claude-compatible");
    assert_int_equal(kind_of("azure", "azure/x", false), ROW_OWN);
    assert_int_equal(provider, PROVIDER_AZURE);
    assert_string_equal(rest, "x");
    assert_int_equal(kind_of("openai", "meta/llama", false), ROW_OWN);
    assert_string_equal(rest, "meta/llama");
    assert_int_equal(kind_of("vertex_ai", "gpt-4o", false), ROW_FOREIGN);
}

static void a_bare_name_is_openais_only_when_it_is_one_of_its_names(void **state)
{
    static const char *const own[] = {"gpt-4o-mini",
                                      "gpt-5",
                                      "o1",
                                      "o3-mini",
                                      "o4-mini",
                                      "ft:gpt-4o:x",
                                      "text-embedding-3-small",
                                      "omni-moderation-latest",
                                      "dall-e-3",
                                      "chatgpt-4o-latest",
                                      "*"};
    static const char *const foreign[] = {
        "claude-3-5-sonnet-20240620", "command-r-plus", "deepseek-chat", "gemini-pro",
        "mistral-large-latest",       "llama-3",        "grok-2",        "qwen-max"};
    static const char *const nobodys[] = {"gtp-4o", "my-model", "omega", "default"};

    (void)state;
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        assert_int_equal(kind_of(NULL, own[i], false), ROW_OWN);
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        assert_int_equal(kind_of(NULL, foreign[i], false), ROW_FOREIGN);
        assert_int_equal(kind_of(NULL, foreign[i], true), ROW_FOREIGN); /* its own address, too */
    }
    for (size_t i = 0; i < sizeof(nobodys) / sizeof(nobodys[0]); i++) {
        assert_int_equal(kind_of(NULL, nobodys[i], false), ROW_UNKNOWN);
        assert_int_equal(kind_of(NULL, nobodys[i], true), ROW_OWN);
    }
}

static void a_server_with_openais_api_has_credentials_of_its_own(void **state)
{
    static const char *const names[] = {"hosted_vllm/x", "litellm_proxy/x", "azure_ai/x"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(kind_of(NULL, names[i], true), ROW_COMPATIBLE);
        assert_int_equal(provider, PROVIDER_OPENAI);
        assert_string_equal(rest, "x");
    }
}

static void keys_of_other_providers_are_known_by_their_beginnings(void **state)
{
    (void)state;
    assert_string_equal(row_foreign_key("sk-ant-api03-x"), "Anthropic");
    assert_string_equal(row_foreign_key("gsk_x"), "Groq");
    assert_null(row_foreign_key("sk-proj-abc"));
    assert_null(row_foreign_key("0123456789abcdef0123456789abcdef"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_names_the_provider),
        cmocka_unit_test(custom_llm_provider_goes_before_the_name),
        cmocka_unit_test(a_bare_name_is_openais_only_when_it_is_one_of_its_names),
        cmocka_unit_test(a_server_with_openais_api_has_credentials_of_its_own),
        cmocka_unit_test(keys_of_other_providers_are_known_by_their_beginnings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
