/* The name that a file was stored for comes back as it was, whatever its length, from its own
 * account alone. */
#define ACCOUNTS 2
#include "handler_world.h"

#include "objects/file_model.h"

static int begin(void **state)
{
    (void)state;
    (void)run_timers; /* nothing here waits, asks a provider or answers */
    (void)answer;
    (void)client_asks;
    (void)client_leaves;
    (void)assert_answered;
    (void)assert_not_answered;
    world_begin();
    return 0;
}

static int end(void **state)
{
    (void)state;
    world_end();
    return 0;
}

static void a_name_of_any_length_comes_back(void **state)
{
    char name[FILE_MODEL_SIZE], back[FILE_MODEL_SIZE];

    (void)state;
    for (size_t len = 1; len < FILE_MODEL_SIZE; len++) {
        memset(name, 'a' + (int)(len % 26), len);
        name[len] = '\0';
        file_model_remember(&rt, 0, "file-x", name);
        assert_true(file_model_recall(&rt, 0, "file-x", back));
        assert_string_equal(back, name);
    }
}

static void what_is_too_long_or_elsewhere_is_not_known(void **state)
{
    char name[FILE_MODEL_SIZE + 1], back[FILE_MODEL_SIZE];

    (void)state;
    assert_false(file_model_recall(&rt, 0, "file-x", back));
    memset(name, 'a', FILE_MODEL_SIZE);
    name[FILE_MODEL_SIZE] = '\0';
    file_model_remember(&rt, 0, "file-x", name);
    assert_false(file_model_recall(&rt, 0, "file-x", back));
    file_model_remember(&rt, 0, "file-x", "gpt-4o");
    assert_false(file_model_recall(&rt, 1, "file-x", back));
    assert_false(file_model_recall(&rt, 0, "file-y", back));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_name_of_any_length_comes_back, begin, end),
        cmocka_unit_test_setup_teardown(what_is_too_long_or_elsewhere_is_not_known, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
