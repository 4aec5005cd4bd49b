/* Lines to readers that stop, leave, or have no room. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log_out_impl.h"

static _Atomic uint64_t lost, untold;
static _Atomic uint32_t torn;
static char line[200];

static struct log_out out_of(int fd)
{
    atomic_store(&torn, 0);
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    return (struct log_out){fd, LOG_OUT_PLAIN, &lost, &untold, &torn};
}

/* Nobody reads: lines are taken until there is no room, and then refused at once. A write that
 * waited would end this program by the alarm of its timeout. */
static unsigned fill(struct log_out *out)
{
    unsigned num = 0;

    while (log_out_write(out, line, sizeof(line)))
        num++;
    for (int i = 0; i < 3; i++)
        assert_false(log_out_write(out, line, sizeof(line)));
    return num;
}

static void open_pipe(int ends[2])
{
    assert_int_equal(pipe(ends), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096); /* not the default: it is kept */
}

static void check_whole_lines(int fd, unsigned num)
{
    char got[sizeof(line)];

    for (unsigned i = 0; i < num; i++) {
        assert_int_equal(read(fd, got, sizeof(got)), sizeof(got));
        assert_memory_equal(got, line, sizeof(got));
    }
}

static void a_pipe_that_nobody_reads_takes_no_more_and_nobody_waits(void **state)
{
    int ends[2];
    struct log_out out;
    unsigned num;

    (void)state;
    open_pipe(ends);
    out = out_of(ends[1]);
    log_out_open(&out);
    assert_int_equal(out.kind, LOG_OUT_OWN);
    num = fill(&out);
    assert_true(num > 0);
    check_whole_lines(ends[0], num); /* and nothing in between */
    assert_true(log_out_write(&out, line, sizeof(line)));
    check_whole_lines(ends[0], 1);
    close(ends[0]);
    close(ends[1]);
}

static void what_others_hold_of_a_pipe_still_waits_as_they_want(void **state)
{
    int ends[2], theirs;
    struct log_out out;

    (void)state;
    open_pipe(ends);
    theirs = dup(ends[1]);
    out = out_of(ends[1]);
    log_out_open(&out);
    assert_true(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
    assert_false(fcntl(theirs, F_GETFL) & O_NONBLOCK);
    assert_false(fcntl(ends[1], F_GETFD) & FD_CLOEXEC); /* the next program's, too */
    close(theirs);
    close(ends[0]);
    close(ends[1]);
}

/* As where /proc is not there, or the pipe is another user's. */
static void a_pipe_that_cannot_be_opened_anew_holds_nobody_up_either(void **state)
{
    int ends[2];
    struct log_out out;
    unsigned num;

    (void)state;
    open_pipe(ends);
    out = out_of(ends[1]);
    out.kind = LOG_OUT_GUARDED;
    num = fill(&out);
    check_whole_lines(ends[0], num);
    assert_false(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
    close(ends[0]);
    close(ends[1]);
}

/* Between the look and the write another process may have taken the room: two parts of one line
 * are more than a page has left, so that poll(2) says yes and the write waits. */
static void a_guarded_write_that_waits_is_ended(void **state)
{
    static char big[65536];
    int ends[2];
    struct log_out out;

    (void)state;
    open_pipe(ends);
    assert_int_equal(log_out_init(), 0); /* what the alarm does */
    out = out_of(ends[1]);
    out.kind = LOG_OUT_GUARDED;
    memset(big, 'y', sizeof(big));
    assert_false(log_out_write(&out, big, sizeof(big)));
    assert_int_equal(atomic_load(&torn), 1);
    close(ends[0]);
    close(ends[1]);
}

static void a_reader_that_has_gone_costs_the_line_alone(void **state)
{
    static const enum log_out_kind kinds[] = {LOG_OUT_PLAIN, LOG_OUT_OWN, LOG_OUT_GUARDED};
    int ends[2];
    struct log_out out;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    open_pipe(ends);
    out = out_of(ends[1]);
    close(ends[0]);
    log_out_open(&out);
    assert_int_not_equal(out.kind, LOG_OUT_PLAIN); /* Linux lets nobody open it (ENXIO) */
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        out.kind = kinds[i];
        assert_false(log_out_write(&out, line, sizeof(line)));
        assert_int_equal(errno, EPIPE);
    }
    close(ends[1]);
}

static void a_socket_that_nobody_reads_holds_nobody_up(void **state)
{
    int ends[2];
    struct log_out out;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    out = out_of(ends[1]);
    log_out_open(&out);
    assert_int_equal(out.kind, LOG_OUT_SOCKET);
    check_whole_lines(ends[0], fill(&out) > 0);
    assert_false(fcntl(ends[1], F_GETFL) & O_NONBLOCK);
    close(ends[0]);
    close(ends[1]);
}

static void a_terminal_that_is_held_with_ctrl_s_holds_nobody_up(void **state)
{
    static const enum log_out_kind kinds[] = {LOG_OUT_OWN, LOG_OUT_GUARDED};
    int controller, terminal;
    struct log_out out;

    (void)state;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        assert_int_equal(openpty(&controller, &terminal, NULL, NULL, NULL), 0);
        out = out_of(terminal);
        log_out_open(&out);
        assert_int_equal(out.kind, LOG_OUT_OWN);
        out.kind = kinds[i];
        if (kinds[i] == LOG_OUT_GUARDED)
            assert_int_equal(fcntl(terminal, F_SETFL, O_RDWR), 0);
        while (log_out_write(&out, line, sizeof(line)))
            ; /* its buffers move to the other end in their own time */
        close(controller);
        close(terminal);
    }
}

static void two_streams_of_one_file_do_not_overwrite_each_other(void **state)
{
    FILE *file = tmpfile();
    struct log_out out = out_of(fileno(file)), err = out_of(dup(fileno(file)));
    char got[3 * sizeof(line)];

    (void)state;
    log_out_open(&out);
    log_out_open(&err);
    assert_int_equal(out.kind, LOG_OUT_PLAIN);
    assert_true(log_out_write(&out, line, sizeof(line)));
    assert_true(log_out_write(&err, line, sizeof(line)));
    assert_int_equal(pread(out.fd, got, sizeof(got), 0), 2 * sizeof(line));
    close(err.fd);
    fclose(file);
}

/* A file that may not grow stands for a disk that is full. */
static void a_line_that_a_full_disk_cut_is_followed_by_a_line_of_its_own(void **state)
{
    FILE *file = tmpfile();
    struct log_out out = out_of(fileno(file));
    struct rlimit before, limit;
    char got[sizeof(line) + 20];

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){10, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_false(log_out_write(&out, line, sizeof(line)));
    assert_false(log_out_write(&out, line, sizeof(line)));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(log_out_write(&out, line, sizeof(line)));
    assert_int_equal(pread(out.fd, got, sizeof(got), 0), 10 + 1 + sizeof(line));
    assert_memory_equal(got, "xxxxxxxxxx\n", 11);
    assert_memory_equal(got + 11, line, sizeof(line));
    fclose(file);
}

static void losses_are_told_once_and_counted_for_ever(void **state)
{
    uint64_t before = log_out_lost(LOG_STREAM_ACCESS);

    (void)state;
    (void)log_out_take_untold(LOG_STREAM_ACCESS);
    log_out_lose(LOG_STREAM_ACCESS);
    log_out_lose(LOG_STREAM_ACCESS);
    assert_int_equal(log_out_take_untold(LOG_STREAM_ACCESS), 2);
    assert_int_equal(log_out_take_untold(LOG_STREAM_ACCESS), 0);
    log_out_give_back(LOG_STREAM_ACCESS, 2);
    log_out_lose(LOG_STREAM_ACCESS);
    assert_int_equal(log_out_take_untold(LOG_STREAM_ACCESS), 3);
    assert_int_equal(log_out_take_untold(LOG_STREAM_ERROR), 0);
    assert_int_equal(log_out_lost(LOG_STREAM_ACCESS), before + 3);
}

static void a_line_longer_than_a_pipe_takes_whole_is_refused(void **state)
{
    static char big[LOG_OUT_LINE_MAX + 1];

    (void)state;
    assert_false(log_out_put(LOG_STREAM_ERROR, big, sizeof(big)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_that_nobody_reads_takes_no_more_and_nobody_waits),
        cmocka_unit_test(what_others_hold_of_a_pipe_still_waits_as_they_want),
        cmocka_unit_test(a_pipe_that_cannot_be_opened_anew_holds_nobody_up_either),
        cmocka_unit_test(a_guarded_write_that_waits_is_ended),
        cmocka_unit_test(a_reader_that_has_gone_costs_the_line_alone),
        cmocka_unit_test(a_socket_that_nobody_reads_holds_nobody_up),
        cmocka_unit_test(a_terminal_that_is_held_with_ctrl_s_holds_nobody_up),
        cmocka_unit_test(two_streams_of_one_file_do_not_overwrite_each_other),
        cmocka_unit_test(a_line_that_a_full_disk_cut_is_followed_by_a_line_of_its_own),
        cmocka_unit_test(losses_are_told_once_and_counted_for_ever),
        cmocka_unit_test(a_line_longer_than_a_pipe_takes_whole_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
