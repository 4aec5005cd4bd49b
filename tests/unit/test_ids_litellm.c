/* LiteLLM's ids: every form it has handed out is read, and nothing else is taken for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/ids_litellm.h"
#include "exact.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static char id[1024];
static struct litellm_id read_id;

/* URL-safe base64 without padding behind `prefix`, into `id`. */
static const char *encode(const char *prefix, const char *text)
{
    size_t len = strlen(text), at = (size_t)snprintf(id, sizeof(id), "%s", prefix);

    for (size_t i = 0; i < len; i += 3) {
        uint32_t bits = (uint32_t)(unsigned char)text[i] << 16;

        if (i + 1 < len)
            bits |= (uint32_t)(unsigned char)text[i + 1] << 8;
        if (i + 2 < len)
            bits |= (unsigned char)text[i + 2];
        for (size_t n = 0; n < (len - i >= 3 ? 4 : len - i + 1); n++)
            id[at++] = alphabet[bits >> (18 - 6 * n) & 63];
    }
    id[at] = '\0';
    return id;
}

static int read_as(enum id_kind kind, const char *text)
{
    char *copy = exact_copy(text, strlen(text));
    int rc = ids_litellm_read(kind, copy, strlen(text), &read_id);

    free(copy);
    return rc;
}

#define FILE_TEXT                                                                                  \
    "litellm_proxy:application/octet-stream;unified_id,c4843482-b176-4901-8292-7523fd0f2c6e;"      \
    "target_model_names,gpt-4o-batch,gpt-4o-mini"
#define DIGEST "e26453f9e76e7993680d0068d98c1f4cc205bbad0967a33c664893568ca743c2"

/* As the comments of LiteLLM's encode_file_id_with_model show them. */
static void the_examples_of_litellms_documentation_are_read(void **state)
{
    (void)state;
    assert_int_equal(read_as(ID_FILE, "file-bGl0ZWxsbTpmaWxlLWFiYzEyMzttb2RlbCxncHQtNG8taWZvb2Q"),
                     0);
    assert_int_equal(read_id.form, LITELLM_ENCODED);
    assert_string_equal(read_id.native, "file-abc123");
    assert_string_equal(read_id.model, "gpt-4o-ifood");
    assert_int_equal(read_as(ID_BATCH, "batch_bGl0ZWxsbTpiYXRjaF9hYmMxMjM7bW9kZWwsZ3B0LTRvLXRlc3Q"),
                     0);
    assert_string_equal(read_id.native, "batch_abc123");
    assert_string_equal(read_id.model, "gpt-4o-test");
}

static void an_encoded_id_of_a_provider_with_other_ids_is_read_for_either_kind(void **state)
{
    (void)state;
    encode("file-", "litellm:assistant-9f;model,a");
    assert_int_equal(read_as(ID_FILE, id), 0);
    assert_string_equal(read_id.native, "assistant-9f");
    assert_int_equal(read_as(ID_BATCH, id), 0); /* first versions put file- before everything */
}

static void an_encoded_id_may_lack_its_prefix_or_have_padding(void **state)
{
    (void)state;
    assert_int_equal(read_as(ID_FILE, encode("", "litellm:file-a;model,m")), 0);
    strcat(id, "==");
    assert_int_equal(read_as(ID_FILE, id), 0);
    assert_string_equal(read_id.model, "m");
}

static void a_managed_file_names_its_native_id_its_deployment_and_its_groups(void **state)
{
    (void)state;
    encode("", FILE_TEXT ";llm_output_file_id,file-ECBPW7ML9g7XHdwGgUPZaM;"
                         "llm_output_file_model_id," DIGEST);
    assert_int_equal(read_as(ID_FILE, id), 0);
    assert_int_equal(read_id.form, LITELLM_MANAGED);
    assert_string_equal(read_id.native, "file-ECBPW7ML9g7XHdwGgUPZaM");
    assert_string_equal(read_id.model, DIGEST);
    assert_string_equal(read_id.targets, "gpt-4o-batch,gpt-4o-mini");
}

static void a_managed_file_whose_content_type_has_parameters_is_read(void **state)
{
    (void)state;
    encode("", "litellm_proxy:text/plain; charset=utf-8;unified_id,1;target_model_names,;"
               "llm_output_file_id,file-1;llm_output_file_model_id,None");
    assert_int_equal(read_as(ID_FILE, id), 0);
    assert_string_equal(read_id.native, "file-1");
    assert_string_equal(read_id.targets, "");
}

static void a_managed_file_of_the_first_versions_says_not_where_it_is(void **state)
{
    (void)state;
    encode("", "litellm_proxy:application/json;unified_id,c4843482-b176-4901-8292-7523fd0f2c6e");
    assert_int_equal(read_as(ID_FILE, id), ERR_NOT_FOUND);
    assert_int_equal(read_as(ID_FILE, encode("", FILE_TEXT)), ERR_NOT_FOUND);
}

static void managed_batches_of_all_versions_are_read(void **state)
{
    static const char *const texts[] = {
        "litellm_proxy;model_id:eu-1;llm_batch_id:batch_1",
        "litellm_proxy;model_id:eu-1;llm_batch_id:batch_1;llm_output_file_id:file-2",
        "litellm_proxy;model_id:eu-1;llm_batch_id:batch_1,llm_output_file_id:file-2"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(read_as(ID_BATCH, encode("", texts[i])), 0);
        assert_string_equal(read_id.native, "batch_1");
        assert_string_equal(read_id.model, "eu-1");
    }
}

static void a_passthrough_id_names_its_provider(void **state)
{
    (void)state;
    encode("", "litellm_proxy:passthrough;provider:azure;unified_id,1-2;raw_id,batch_9");
    assert_int_equal(read_as(ID_BATCH, id), 0);
    assert_int_equal(read_id.form, LITELLM_PASSTHROUGH);
    assert_string_equal(read_id.native, "batch_9");
    assert_string_equal(read_id.provider, "azure");
    assert_int_equal(read_as(ID_FILE, id), ERR_NOT_FOUND);
}

static void what_is_of_another_kind_is_not_found(void **state)
{
    static const char *const files[] = {"litellm:file-1;model,m",
                                        "litellm_proxy:a/b;unified_id,1;target_model_names,m;"
                                        "llm_output_file_id,file-1;llm_output_file_model_id,x"};
    static const char *const batches[] = {"litellm:batch_1;model,m",
                                          "litellm_proxy;model_id:x;llm_batch_id:batch_1"};
    static const char *const neither[] = {
        "litellm_proxy;model_id:x;generic_response_id:ftjob-1",
        "litellm:custom_llm_provider:openai;model_id:x;response_id:resp_1",
        "litellm:file-1",
        "litellm:;model,m",
        "litellm:file-1;model,",
        "litellm_proxy"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(read_as(ID_BATCH, encode("", files[i])), ERR_NOT_FOUND);
        assert_int_equal(read_as(ID_FILE, encode("", batches[i])), ERR_NOT_FOUND);
    }
    for (size_t i = 0; i < sizeof(neither) / sizeof(neither[0]); i++) {
        assert_int_equal(read_as(ID_FILE, encode("", neither[i])), ERR_NOT_FOUND);
        assert_int_equal(read_as(ID_BATCH, encode("", neither[i])), ERR_NOT_FOUND);
    }
}

static void ids_of_providers_are_nobody_elses(void **state)
{
    static const char *const ids[] = {"file-7Qw2LmZp0aBcDeFgHiJkLm",
                                      "batch_690a1b2c3d4e81908f7e6d5c4b3a2910",
                                      "file-11111111-2222-3333-4444-555555555555",
                                      "bGl0ZWxsb",
                                      "file-bGl0ZWxs",
                                      "file-",
                                      "batch_",
                                      "a",
                                      ""};

    (void)state;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        assert_int_equal(read_as(ID_FILE, ids[i]), ERR_INVALID);
        assert_int_equal(read_as(ID_BATCH, ids[i]), ERR_INVALID);
    }
}

static void base64_that_is_none_or_hides_control_characters_is_not_litellms(void **state)
{
    (void)state;
    assert_int_equal(read_as(ID_FILE, "file-bGl0ZWxsbTpmaWxlLW.FiYzEyMzttb2RlbCxn"), ERR_INVALID);
    assert_int_equal(read_as(ID_FILE, encode("", "litellm:file-1\n;model,m")), ERR_INVALID);
    encode("file-", "litellm:file-a;model,abc");
    strcat(id, "A"); /* six bits are no byte */
    assert_int_equal(read_as(ID_FILE, id), ERR_INVALID);
}

static void an_id_over_the_limit_is_not_read(void **state)
{
    static char text[512];

    (void)state;
    memset(text, 'm', sizeof(text) - 1);
    memcpy(text, "litellm:f;model,", 16);
    encode("", text);
    assert_true(strlen(id) > IDS_MAX);
    assert_int_equal(read_as(ID_FILE, id), ERR_INVALID);
    assert_int_equal(ids_litellm_read(ID_FILE, id, IDS_MAX, &read_id), 0);
}

static void an_id_of_512_bytes_is_read_and_one_of_513_is_not(void **state)
{
    (void)state;
    for (size_t len = IDS_MAX - 3; len <= IDS_MAX + 3; len++) {
        size_t used = strlen(encode("file-", "litellm:ff;model,m"));

        memset(id + used, 'b', len - used);
        id[len] = '\0';
        assert_int_equal(read_as(ID_FILE, id) == 0, len <= IDS_MAX && (len - 5) % 4 != 1);
    }
}

/* Of its prefix too. */
static void an_id_that_is_cut_off_is_read_as_far_as_it_goes(void **state)
{
    static const char *const prefixes[] = {"file-", "batch_"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char whole[64];
        size_t len;

        snprintf(whole, sizeof(whole), "%s", encode(prefixes[i], "litellm:f;model,m"));
        len = strlen(whole);
        for (size_t cut = 0; cut < len; cut++) {
            char *copy = exact_copy(whole, cut);
            int rc = ids_litellm_read(ID_FILE, copy, cut, &read_id);

            assert_true(rc == ERR_INVALID || rc == ERR_NOT_FOUND);
            free(copy);
        }
        assert_int_equal(read_as(ID_FILE, whole), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_litellms_documentation_are_read),
        cmocka_unit_test(an_encoded_id_of_a_provider_with_other_ids_is_read_for_either_kind),
        cmocka_unit_test(an_encoded_id_may_lack_its_prefix_or_have_padding),
        cmocka_unit_test(a_managed_file_names_its_native_id_its_deployment_and_its_groups),
        cmocka_unit_test(a_managed_file_whose_content_type_has_parameters_is_read),
        cmocka_unit_test(a_managed_file_of_the_first_versions_says_not_where_it_is),
        cmocka_unit_test(managed_batches_of_all_versions_are_read),
        cmocka_unit_test(a_passthrough_id_names_its_provider),
        cmocka_unit_test(what_is_of_another_kind_is_not_found),
        cmocka_unit_test(ids_of_providers_are_nobody_elses),
        cmocka_unit_test(base64_that_is_none_or_hides_control_characters_is_not_litellms),
        cmocka_unit_test(an_id_over_the_limit_is_not_read),
        cmocka_unit_test(an_id_of_512_bytes_is_read_and_one_of_513_is_not),
        cmocka_unit_test(an_id_that_is_cut_off_is_read_as_far_as_it_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
