/* The successor's side of a binary upgrade: what it takes from its environment, and what it does
 * not believe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "master/listener.h"
#include "master/upgrade.h"

static char *no_arguments[] = {NULL};

/* As a predecessor would leave it. */
static int inherited_listener(const char *address, pid_t from)
{
    char error[256], text[300];
    int fd = listener_open("127.0.0.1", 0, error, sizeof(error));

    assert_true(fd >= 3);
    assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
    snprintf(text, sizeof(text), "%d %s", fd, address);
    setenv("TRANCHE_LISTEN_FD", text, 1);
    snprintf(text, sizeof(text), "%d", (int)from);
    setenv("TRANCHE_UPGRADE_FROM", text, 1);
    upgrade_init(no_arguments);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) != -1 || errno != EBADF;
}

static void the_socket_of_the_same_address_is_taken_over(void **state)
{
    int fd = inherited_listener("127.0.0.1 4000", getppid());

    (void)state;
    assert_int_equal(upgrade_take_listener(UPGRADE_CLIENTS, "127.0.0.1", 4000), fd);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

static void the_socket_of_another_address_is_closed(void **state)
{
    int fd = inherited_listener("127.0.0.1 4000", getppid());

    (void)state;
    assert_int_equal(upgrade_take_listener(UPGRADE_CLIENTS, "127.0.0.1", 4001), -1);
    assert_false(is_open(fd));
    fd = inherited_listener("127.0.0.1 4000", getppid());
    assert_int_equal(upgrade_take_listener(UPGRADE_CLIENTS, "0.0.0.0", 4000), -1);
    assert_false(is_open(fd));
}

static void each_socket_is_taken_by_its_own_name(void **state)
{
    int fd = inherited_listener("127.0.0.1 4000", getppid()), health = dup(fd);
    char text[64];

    (void)state;
    snprintf(text, sizeof(text), "%d 127.0.0.1 4001", health);
    setenv("TRANCHE_HEALTH_FD", text, 1);
    assert_int_equal(upgrade_take_listener(UPGRADE_HEALTH, "127.0.0.1", 4001), health);
    assert_int_equal(upgrade_take_listener(UPGRADE_CLIENTS, "127.0.0.1", 4000), fd);
    assert_null(getenv("TRANCHE_HEALTH_FD"));
    close(fd);
    close(health);
}

static void a_predecessor_that_is_not_the_parent_is_not_believed(void **state)
{
    int fd = inherited_listener("127.0.0.1 4000", getpid());

    (void)state;
    assert_int_equal(upgrade_take_listener(UPGRADE_CLIENTS, "127.0.0.1", 4000), -1);
    assert_true(is_open(fd));
    assert_false(upgrade_finish()); /* or this process would have got SIGTERM */
    close(fd);
}

static void a_descriptor_that_does_not_listen_is_left_alone(void **state)
{
    static const char *const texts[] = {"",
                                        "x 127.0.0.1 4000",
                                        "-1 127.0.0.1 4000",
                                        "0 127.0.0.1 4000",
                                        "99999999999999999999 127.0.0.1 4000",
                                        "1000000 127.0.0.1 4000"};
    char parent[32];

    (void)state;
    snprintf(parent, sizeof(parent), "%d", (int)getppid());
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        setenv("TRANCHE_LISTEN_FD", texts[i], 1);
        setenv("TRANCHE_UPGRADE_FROM", parent, 1);
        upgrade_init(no_arguments);
        assert_int_equal(upgrade_take_listener(UPGRADE_CLIENTS, "127.0.0.1", 4000), -1);
    }
}

static void nothing_of_it_stays_in_the_environment(void **state)
{
    int fd = inherited_listener("127.0.0.1 4000", getppid());

    (void)state;
    assert_int_equal(upgrade_take_listener(UPGRADE_CLIENTS, "127.0.0.1", 4000), fd);
    assert_null(getenv("TRANCHE_LISTEN_FD"));
    assert_null(getenv("TRANCHE_UPGRADE_FROM"));
    assert_int_equal(upgrade_take_listener(UPGRADE_CLIENTS, "127.0.0.1", 4000), -1);
    close(fd);
}

static void an_ordinary_start_takes_and_ends_nothing(void **state)
{
    (void)state;
    upgrade_init(no_arguments);
    assert_int_equal(upgrade_take_listener(UPGRADE_CLIENTS, "127.0.0.1", 4000), -1);
    assert_false(upgrade_finish());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_socket_of_the_same_address_is_taken_over),
        cmocka_unit_test(the_socket_of_another_address_is_closed),
        cmocka_unit_test(each_socket_is_taken_by_its_own_name),
        cmocka_unit_test(a_predecessor_that_is_not_the_parent_is_not_believed),
        cmocka_unit_test(a_descriptor_that_does_not_listen_is_left_alone),
        cmocka_unit_test(nothing_of_it_stays_in_the_environment),
        cmocka_unit_test(an_ordinary_start_takes_and_ends_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
