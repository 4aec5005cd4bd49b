/* What a process behind the filter can do, and what it cannot: each try in a child of its own. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "config/config.h"
#include "master/seccomp_filter.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#endif

/* A sanitizer's build has no filter, nor has a kernel in some sandboxes: a filter that is nowhere is
 * a bad address where there are filters. */
static bool has_filters(void)
{
#ifdef SANITIZED
    return false;
#endif
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) == -1 && errno == EFAULT;
}

/* @return exit code of a try behind the filter, or minus the signal that ended it */
static int tried(int mode, int (*attempt)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !seccomp_filter_install(mode))
            _exit(99);
        _exit(attempt());
    }
    assert_true(pid > 0);
    while (waitpid(pid, &status, 0) == -1)
        assert_int_equal(errno, EINTR);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static int run_a_program(void)
{
    execl("/bin/true", "true", (char *)NULL);
    return 1;
}

static int run_a_file(void)
{
    (void)syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0);
    return 1;
}

static int look_into_another(void)
{
    char byte;
    struct iovec iov = {&byte, 1};

    (void)process_vm_readv(getppid(), &iov, 1, &iov, 1, 0);
    return 1;
}

static int trace_another(void)
{
    (void)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
    return 1;
}

static int listen_to_the_wire(void)
{
    (void)socket(AF_PACKET, SOCK_RAW, 0);
    return 1;
}

static int make_a_namespace(void)
{
    (void)syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, 0);
    return 1;
}

static int leave_for_a_namespace(void)
{
    (void)unshare(CLONE_NEWUSER);
    return 1;
}

static int map_memory_to_write_and_run(void)
{
    (void)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return 1;
}

static int make_memory_run_that_is_written(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)mprotect(p, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    return 1;
}

static int become_another_user(void)
{
    (void)setuid(65534);
    return 1;
}

static int type_into_a_terminal(void)
{
    char key = 'x';

    (void)syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, &key);
    return 1;
}

static int give_files_away(void)
{
    (void)chown("/nonexistent", 0, 0);
    return 1;
}

static int end_another(void)
{
    (void)kill(getppid(), 0);
    return 1;
}

static int signal_a_thread_of_another(void)
{
    (void)syscall(SYS_tgkill, getppid(), getppid(), 0);
    return 1;
}

static int limit_another(void)
{
    (void)syscall(SYS_prlimit64, getppid(), 0, NULL, NULL);
    return 1;
}

static int (*const forbidden[])(void) = {run_a_program,         run_a_file,
                                         look_into_another,     trace_another,
                                         listen_to_the_wire,    make_a_namespace,
                                         leave_for_a_namespace, map_memory_to_write_and_run,
                                         become_another_user,   make_memory_run_that_is_written,
                                         type_into_a_terminal,  give_files_away,
                                         end_another,           signal_a_thread_of_another,
                                         limit_another};

static void what_no_worker_needs_ends_it(void **state)
{
    (void)state;
    if (!has_filters())
        skip();
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
        if (tried(CONFIG_SECCOMP_KILL, forbidden[i]) != -SIGSYS)
            fail_msg("attempt %zu was allowed", i);
    }
}

static void in_the_first_weeks_it_is_told_and_not_ended(void **state)
{
    (void)state;
    if (!has_filters())
        skip();
    assert_int_equal(tried(CONFIG_SECCOMP_LOG, look_into_another), 1);
    assert_int_equal(tried(CONFIG_SECCOMP_LOG, leave_for_a_namespace), 1);
}

static int give_up(void)
{
    abort();
}

static void a_failed_assertion_is_seen_as_one(void **state)
{
    (void)state;
    assert_int_equal(tried(CONFIG_SECCOMP_KILL, give_up), -SIGABRT);
}

static int look_at_the_mode(void)
{
    return prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
}

static void without_it_nothing_is_filtered(void **state)
{
    (void)state;
    assert_int_equal(tried(CONFIG_SECCOMP_OFF, look_at_the_mode), 0);
}

static void *thread(void *arg)
{
    return arg;
}

/* As the C library and libcurl do them, whatever release they are of. */
static int work(void)
{
    struct addrinfo hints = {.ai_flags = AI_ADDRCONFIG, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char path[] = "/tmp/tranche-seccomp-XXXXXX";
    int fd = mkstemp(path), status, socks[2];
    pthread_t id;
    FILE *file;
    pid_t pid;

    if (fd == -1 || unlink(path) != 0 || write(fd, "x", 1) != 1 || ftruncate(fd, 4096) != 0 ||
        fsync(fd) != 0 || close(fd) != 0)
        return 1;
    if (pthread_create(&id, NULL, thread, NULL) != 0 || pthread_join(id, NULL) != 0)
        return 2;
    (void)getaddrinfo("localhost", "80", &hints, &found); /* whatever it finds */
    if (found != NULL)
        freeaddrinfo(found);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, socks) != 0 || write(socks[0], "x", 1) != 1)
        return 3;
    file = fopen("/etc/hosts", "r");
    if (file == NULL || fclose(file) != 0)
        return 4;
    pid = fork();
    if (pid == 0)
        _exit(7);
    if (pid == -1 || waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7)
        return 5;
    return isatty(socks[0]) ? 6 : 42;
}

static void what_libraries_do_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(tried(CONFIG_SECCOMP_KILL, work), 42);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_worker_needs_ends_it),
        cmocka_unit_test(in_the_first_weeks_it_is_told_and_not_ended),
        cmocka_unit_test(a_failed_assertion_is_seen_as_one),
        cmocka_unit_test(without_it_nothing_is_filtered),
        cmocka_unit_test(what_libraries_do_is_allowed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
