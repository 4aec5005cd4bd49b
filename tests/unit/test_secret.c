/* Keys in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/hidden.h"
#include "common/secret.h"

static void a_secret_equals_itself_and_nothing_else(void **state)
{
    struct secret s = SECRET_NONE;

    (void)state;
    assert_int_equal(secret_set(&s, "sk-1234", 7), 0);
    assert_true(secret_is_set(&s));
    assert_true(secret_equal(&s, "sk-1234", 7));
    assert_false(secret_equal(&s, "sk-1235", 7));
    assert_false(secret_equal(&s, "sk-123", 6));
    assert_false(secret_equal(&s, "sk-12345", 8));
    assert_false(secret_equal(&s, "", 0));
    secret_clear(&s);
    assert_false(secret_is_set(&s));
}

static void no_credential_opens_a_gate_whose_secret_is_unset(void **state)
{
    struct secret s = SECRET_NONE;

    (void)state;
    assert_false(secret_equal(&s, "", 0));
    assert_int_equal(secret_set(&s, "", 0), 0);
    assert_false(secret_is_set(&s));
    assert_false(secret_equal(&s, "", 0));
    secret_clear(&s);
}

/* What the kernel says of the mapping: dd is "do not include in core dump" (proc(5), VmFlags). */
static bool is_left_out_of_cores(const void *place)
{
    char line[512];
    unsigned long from, to;
    bool found = false, inside = false;
    FILE *maps = fopen("/proc/self/smaps", "r");

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (uintptr_t)place >= from && (uintptr_t)place < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    fclose(maps);
    return found;
}

static void a_core_dump_does_not_have_it(void **state)
{
    struct secret s = SECRET_NONE;

    (void)state;
    assert_int_equal(secret_set(&s, "a provider's key", 16), 0);
    assert_true(is_left_out_of_cores(s.data));
    secret_clear(&s);
}

static void remember(void *arg)
{
    char **place = arg;

    *place = malloc(100);
}

/* Whether malloc() is a sanitizer's, which keeps its memory elsewhere. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OTHER_MALLOC 1
#elif defined(__has_feature)
#define OTHER_MALLOC (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define OTHER_MALLOC 0
#endif

static void a_core_dump_does_not_have_what_hidden_work_leaves_behind(void **state)
{
    char *ours = malloc(100), *hidden = NULL;

    (void)state;
    for (int i = 0; i < 3; i++) {
        hidden_run(remember, &hidden);
        assert_non_null(hidden);
#if !OTHER_MALLOC
        assert_true(is_left_out_of_cores(hidden));
        assert_false(is_left_out_of_cores(ours));
#endif
        free(hidden);
    }
    free(ours);
}

static void a_pasted_key_looks_like_one_and_a_name_does_not(void **state)
{
    static const char *const keys[] = {"sk-x",
                                       "sk_live_x",
                                       "eyJhbGciOiJIUzI1NiJ9.e30.x",
                                       "Bearer x",
                                       "0123456789abcdef0123456789abcdef",
                                       "9zX8cV7bN6mQ5wL4eK3rJ2hT1yG0uF9iD8oS7pA6zX5cV4bN3mQ2wL=="};
    static const char *const names[] = {"",
                                        "gpt-4o-mini-2024-07-18",
                                        "https://r.openai.azure.com",
                                        "AZURE_OPENAI_API_KEY_OF_EUROPE_WEST_2",
                                        "2024-10-21",
                                        "averylongnamewithoutanydigitsinitatall",
                                        "600"};

    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_true(secret_looks_like_one(keys[i]));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_false(secret_looks_like_one(names[i]));
}

static bool is_weak(const char *text)
{
    struct secret s = SECRET_NONE;
    bool weak;

    assert_int_equal(secret_set(&s, text, strlen(text)), 0);
    weak = secret_is_weak(&s);
    secret_clear(&s);
    return weak;
}

static void short_and_well_known_keys_are_weak(void **state)
{
    static const char *const keys[] = {"sk-1234",
                                       "sk-master-1234",
                                       "123456789012345",
                                       "sk-1234567890123456",
                                       "sk-abcdefghijklmnop",
                                       "aaaaaaaaaaaaaaaaaaaaaaaa",
                                       "sk-ababababababababab",
                                       "----------------------",
                                       "sk-litellm-master-key",
                                       "SK-LITELLM_MASTER_KEY",
                                       "your-master-key-here",
                                       "change-me-please-now"};

    (void)state;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (!is_weak(keys[i]))
            fail_msg("%s", keys[i]);
}

static void random_keys_and_long_phrases_are_not(void **state)
{
    static const char *const keys[] = {"sk-5f1d0c7b9a3e4826", "0f23a567891bcdef0e23456d89abcdee",
                                       "kX3v9QmT2pLwZ8rB", "four words nobody guesses easily",
                                       "sk-litellm-9f8e7d6c5b4a39281706f5e4d3c2b1a0"};

    (void)state;
    assert_false(is_weak("")); /* none is not weak */
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (is_weak(keys[i]))
            fail_msg("%s", keys[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_equals_itself_and_nothing_else),
        cmocka_unit_test(no_credential_opens_a_gate_whose_secret_is_unset),
        cmocka_unit_test(a_core_dump_does_not_have_it),
        cmocka_unit_test(a_core_dump_does_not_have_what_hidden_work_leaves_behind),
        cmocka_unit_test(a_pasted_key_looks_like_one_and_a_name_does_not),
        cmocka_unit_test(short_and_well_known_keys_are_weak),
        cmocka_unit_test(random_keys_and_long_phrases_are_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
