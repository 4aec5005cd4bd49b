/* The environment that is moved away, read, and given to the next program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/environment.h"

/* In a process of its own: what is taken stays taken. */
static void in_child(void (*body)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static char key[] = "A_KEY=sk-0123456789", path[] = "PATH=/bin", own[] = "TRANCHE_LISTEN_FD=7";
static char odd[] = "no value at all", empty[] = "EMPTY=";
static char seal[] = "TRANCHE_SEAL_KEY=0123456789abcdef";
static char *given[] = {key, path, own, odd, empty, seal, NULL};

static void take(void)
{
    environ = given;
    CHECK(environment_take() == 0);
}

static void read_back(void)
{
    take();
    CHECK(strcmp(environment_get("A_KEY"), "sk-0123456789") == 0);
    CHECK(strcmp(environment_get("PATH"), "/bin") == 0);
    CHECK(strcmp(environment_get("TRANCHE_LISTEN_FD"), "7") == 0);
    CHECK(strcmp(environment_get("EMPTY"), "") == 0);
    CHECK(strcmp(environment_get("TRANCHE_SEAL_KEY"), "0123456789abcdef") == 0);
    CHECK(environment_get("A_KE") == NULL && environment_get("A_KEYS") == NULL);
    CHECK(environment_take() == 0); /* again: nothing */
    CHECK(strcmp(environment_get("A_KEY"), "sk-0123456789") == 0);
    environment_drop();
    CHECK(environment_get("A_KEY") == NULL);
}

static void a_value_that_was_taken_is_read_until_it_is_dropped(void **state)
{
    (void)state;
    in_child(read_back);
}

static void look_where_it_was(void)
{
    static const char wiped[sizeof(key)] = "A_KEY=", wiped_seal[sizeof(seal)] = "TRANCHE_SEAL_KEY=";

    take();
    CHECK(memcmp(key, wiped, sizeof(key)) == 0);
    CHECK(memcmp(seal, wiped_seal, sizeof(seal)) == 0 && getenv("TRANCHE_SEAL_KEY") == NULL);
    CHECK(strcmp(path, "PATH=/bin") == 0);
    CHECK(strcmp(own, "TRANCHE_LISTEN_FD=7") == 0);
    CHECK(odd[0] == '\0');
    CHECK(getenv("A_KEY") == NULL && getenv("PATH") != NULL && getenv("TRANCHE_LISTEN_FD") != NULL);
}

static void a_key_is_wiped_where_it_was_and_what_is_harmless_stays(void **state)
{
    (void)state;
    in_child(look_where_it_was);
}

static void give_to_the_next(void)
{
    take();
    setenv("TRANCHE_LISTEN_FD", "8", 1);
    setenv("TRANCHE_HANDOVER", "9", 1);
    CHECK(environment_restore() == 0);
    CHECK(strcmp(getenv("A_KEY"), "sk-0123456789") == 0);
    CHECK(strcmp(getenv("TRANCHE_SEAL_KEY"), "0123456789abcdef") == 0);
    CHECK(strcmp(getenv("PATH"), "/bin") == 0);
    CHECK(strcmp(getenv("TRANCHE_LISTEN_FD"), "8") == 0 &&
          strcmp(getenv("TRANCHE_HANDOVER"), "9") == 0);
    setenv("TRANCHE_UPGRADE_FROM", "1", 1);
    CHECK(strcmp(getenv("TRANCHE_UPGRADE_FROM"), "1") == 0);
    execl("/bin/sh", "sh", "-c",
          "test \"$A_KEY$TRANCHE_LISTEN_FD$TRANCHE_HANDOVER$TRANCHE_UPGRADE_FROM\" = "
          "sk-0123456789891 && test \"$PATH\" = /bin",
          NULL);
    _exit(2);
}

static void the_next_program_gets_all_of_it(void **state)
{
    (void)state;
    in_child(give_to_the_next);
}

static void none(void)
{
    static char *nothing[] = {NULL};

    environ = nothing;
    CHECK(environment_take() == 0 && environment_get("PATH") == NULL);
    CHECK(environment_restore() == 0 && environ[0] == NULL);
}

static void no_environment_at_all_is_one_too(void **state)
{
    (void)state;
    in_child(none);
}

static void without_taking_it_is_the_system_s(void **state)
{
    (void)state;
    setenv("A_NAME", "x", 1);
    assert_string_equal(environment_get("A_NAME"), "x");
    assert_int_equal(environment_restore(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_that_was_taken_is_read_until_it_is_dropped),
        cmocka_unit_test(a_key_is_wiped_where_it_was_and_what_is_harmless_stays),
        cmocka_unit_test(the_next_program_gets_all_of_it),
        cmocka_unit_test(no_environment_at_all_is_one_too),
        cmocka_unit_test(without_taking_it_is_the_system_s),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
