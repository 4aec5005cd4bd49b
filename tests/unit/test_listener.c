/* Real sockets on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "master/listener.h"

static int port_of(const char *name)
{
    return atoi(strrchr(name, ':') + 1);
}

static void connect_v4(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    close(fd);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool works = fd != -1 && bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0;

    if (fd != -1)
        close(fd);
    return works;
}

static void port_0_is_any_free_port_and_its_number_is_told(void **state)
{
    char error[256], name[LISTENER_TEXT];
    int fd = listener_open("127.0.0.1", 0, error, sizeof(error));

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(listener_name(fd, name, sizeof(name)), 0);
    assert_memory_equal(name, "127.0.0.1:", 10);
    assert_true(port_of(name) > 0);
    connect_v4(port_of(name));
    close(fd);
}

static void the_socket_does_not_block_and_is_closed_on_exec(void **state)
{
    char error[256];
    int fd = listener_open("", 0, error, sizeof(error));

    (void)state;
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(accept(fd, NULL, NULL), -1);
    close(fd);
}

static void an_ipv6_address_may_stand_in_brackets(void **state)
{
    static const char *const hosts[] = {"::1", "[::1]"};
    char error[256], name[LISTENER_TEXT];

    (void)state;
    if (!has_ipv6())
        skip();
    for (size_t i = 0; i < 2; i++) {
        int fd = listener_open(hosts[i], 0, error, sizeof(error));

        assert_true(fd >= 0);
        assert_int_equal(listener_name(fd, name, sizeof(name)), 0);
        assert_memory_equal(name, "[::1]:", 6);
        close(fd);
    }
}

static void the_ipv6_wildcard_takes_ipv4_too(void **state)
{
    char error[256], name[LISTENER_TEXT];
    int fd;

    (void)state;
    if (!has_ipv6())
        skip();
    fd = listener_open("::", 0, error, sizeof(error));
    assert_true(fd >= 0);
    assert_int_equal(listener_name(fd, name, sizeof(name)), 0);
    connect_v4(port_of(name));
    close(fd);
}

static void a_name_that_has_an_ipv4_address_is_reached_by_ipv4(void **state)
{
    char error[256], name[LISTENER_TEXT];
    int fd = listener_open("localhost", 0, error, sizeof(error));

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(listener_name(fd, name, sizeof(name)), 0);
    connect_v4(port_of(name));
    close(fd);
}

static void a_port_in_use_is_an_error_that_names_it(void **state)
{
    char error[256], name[LISTENER_TEXT], port[16];
    int fd = listener_open("127.0.0.1", 0, error, sizeof(error));

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(listener_name(fd, name, sizeof(name)), 0);
    assert_int_equal(listener_open("127.0.0.1", port_of(name), error, sizeof(error)), ERR_IO);
    snprintf(port, sizeof(port), "%d", port_of(name));
    assert_non_null(strstr(error, port));
    assert_non_null(strstr(error, "127.0.0.1"));
    assert_non_null(strstr(error, "in use"));
    close(fd);
}

static void an_address_that_is_none_is_an_error_that_shows_it(void **state)
{
    char error[256], longest[400];

    (void)state;
    assert_int_equal(listener_open("1.2.3.4.5..", 0, error, sizeof(error)), ERR_INVALID);
    assert_non_null(strstr(error, "1.2.3.4.5.."));
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(listener_open(longest, 0, error, sizeof(error)), ERR_INVALID);
    assert_int_equal(listener_open("127.0.0.1", 65536, error, sizeof(error)), ERR_INVALID);
    assert_int_equal(listener_open("127.0.0.1", -1, error, sizeof(error)), ERR_INVALID);
}

static void only_a_listening_stream_socket_can_be_taken_over(void **state)
{
    char error[256];
    int fd = listener_open("127.0.0.1", 0, error, sizeof(error)),
        plain = socket(AF_INET, SOCK_STREAM, 0);
    int file = open("/dev/null", O_RDONLY);

    (void)state;
    assert_int_equal(fcntl(fd, F_SETFD, 0), 0);
    assert_int_equal(listener_adopt(fd), fd);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(listener_adopt(plain), ERR_INVALID);
    assert_int_equal(listener_adopt(file), ERR_INVALID);
    assert_int_equal(listener_adopt(-1), ERR_INVALID);
    close(fd);
    close(plain);
    close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(port_0_is_any_free_port_and_its_number_is_told),
        cmocka_unit_test(the_socket_does_not_block_and_is_closed_on_exec),
        cmocka_unit_test(an_ipv6_address_may_stand_in_brackets),
        cmocka_unit_test(the_ipv6_wildcard_takes_ipv4_too),
        cmocka_unit_test(a_name_that_has_an_ipv4_address_is_reached_by_ipv4),
        cmocka_unit_test(a_port_in_use_is_an_error_that_names_it),
        cmocka_unit_test(an_address_that_is_none_is_an_error_that_shows_it),
        cmocka_unit_test(only_a_listening_stream_socket_can_be_taken_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
