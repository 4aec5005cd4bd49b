/* See seccomp_filter.h. */
#include "seccomp_filter.h"

#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "config/config.h"

/* By name, so that each architecture has its own numbers; one that an architecture or a libseccomp
 * does not know is left out. Names beside each other do the same: which of them the C library takes
 * differs between its releases. What stands here and is seen in no test is called when memory is
 * short, a signal comes or a disk is full. */
static const char *const allowed[] = {
    /* memory */
    "brk", "madvise", "mincore", "mlock", "mremap", "munlock", "munmap",
    /* descriptors, sockets */
    "accept", "accept4", "bind", "close", "close_range", "connect", "dup", "dup2", "dup3", "fcntl",
    "getpeername", "getsockname", "getsockopt", "listen", "pipe", "pipe2", "read", "readv",
    "recvfrom", "recvmmsg", "recvmsg", "sendfile", "sendmmsg", "sendmsg", "sendto", "setsockopt",
    "shutdown", "socketpair", "splice", "write", "writev",
    /* waiting */
    "clock_nanosleep", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2",
    "epoll_wait", "eventfd", "eventfd2", "nanosleep", "poll", "ppoll", "pselect6",
    "restart_syscall", "select", "timerfd_create", "timerfd_gettime", "timerfd_settime",
    /* files: spooled uploads, certificates, names of hosts, the state's directory */
    "access", "copy_file_range", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchmod",
    "fchmodat", "fdatasync", "flock", "fstat", "fstatfs", "fsync", "ftruncate", "getcwd",
    "getdents", "getdents64", "link", "linkat", "lseek", "lstat", "memfd_create", "mkdir",
    "mkdirat", "newfstatat", "open", "openat", "pread64", "preadv", "pwrite64", "pwritev",
    "readahead", "readlink", "readlinkat", "rename", "renameat", "renameat2", "rmdir", "stat",
    "statfs", "statx", "sync_file_range", "umask", "unlink", "unlinkat", "utimensat",
    /* threads and processes of one's own: names of hosts are looked up, tokens are fetched */
    "exit", "exit_group", "fork", "futex", "futex_waitv", "get_robust_list", "rseq",
    "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_yield", "set_robust_list",
    "set_tid_address", "vfork", "wait4", "waitid",
    /* signals */
    "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend",
    "rt_sigtimedwait", "sigaltstack", "signalfd", "signalfd4",
    /* what time it is, and who and where one is */
    "arch_prctl", "clock_getres", "clock_gettime", "getcpu", "getegid", "geteuid", "getgid",
    "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom", "getresgid",
    "getresuid", "getrlimit", "getrusage", "getsid", "gettid", "gettimeofday", "getuid",
    "membarrier", "setrlimit", "sysinfo", "time", "times", "uname"};

/* Families of sockets: the internet's, files', and netlink, by which the C library asks for this
 * machine's addresses. */
static const unsigned families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};

/* Of a descriptor: not to wait, how much there is, whether it is a terminal. */
static const unsigned long requests[] = {FIONBIO, FIONREAD, FIOCLEX, TCGETS, TIOCGWINSZ};

static const int controls[] = {PR_SET_NAME,         PR_GET_NAME,      PR_SET_DUMPABLE,
                               PR_GET_DUMPABLE,     PR_SET_PDEATHSIG, PR_SET_VMA,
                               PR_SET_NO_NEW_PRIVS, PR_CAPBSET_READ,  PR_GET_SECCOMP};

#define NAMESPACES                                                                                 \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

static int allow(scmp_filter_ctx ctx, const char *name, const struct scmp_arg_cmp *arg)
{
    int nr = seccomp_syscall_resolve_name(name);

    if (nr == __NR_SCMP_ERROR)
        return 0;
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, nr, arg == NULL ? 0 : 1, arg);
}

/* Memory is written or run, never both. */
static int allow_protection(scmp_filter_ctx ctx, const char *name)
{
    static const unsigned either[] = {0, PROT_WRITE, PROT_EXEC};
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < sizeof(either) / sizeof(either[0]); i++)
        ret = allow(ctx, name, &SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE | PROT_EXEC, either[i]));
    return ret;
}

static int allow_by_argument(scmp_filter_ctx ctx)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < sizeof(families) / sizeof(families[0]); i++)
        ret = allow(ctx, "socket", &SCMP_A0(SCMP_CMP_EQ, families[i]));
    for (size_t i = 0; ret == 0 && i < sizeof(requests) / sizeof(requests[0]); i++)
        ret = allow(ctx, "ioctl", &SCMP_A1(SCMP_CMP_EQ, requests[i]));
    for (size_t i = 0; ret == 0 && i < sizeof(controls) / sizeof(controls[0]); i++)
        ret = allow(ctx, "prctl", &SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)controls[i]));
    if (ret == 0) /* abort(3) */
        ret = allow(ctx, "tgkill", &SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    if (ret == 0) /* getrlimit(3) */
        ret = allow(ctx, "prlimit64", &SCMP_A0(SCMP_CMP_EQ, 0));
    if (ret == 0)
        ret = allow_protection(ctx, "mmap");
    if (ret == 0)
        ret = allow_protection(ctx, "mprotect");
    if (ret == 0)
        ret = allow(ctx, "clone", &SCMP_A0(SCMP_CMP_MASKED_EQ, NAMESPACES, 0));
    /* Its flags stand in memory, where a filter cannot look: the C library takes clone() then */
    if (ret == 0)
        ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return ret;
}

static int fill(scmp_filter_ctx ctx)
{
    int ret = 0;

    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree by number */
    /* Old kernels turn the processor's speculation off with a filter, which this does not ask for */
    (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_SSB, 1);
    for (size_t i = 0; ret == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++)
        ret = allow(ctx, allowed[i], NULL);
    return ret == 0 ? allow_by_argument(ctx) : ret;
}

static int load(scmp_filter_ctx ctx)
{
    int ret = fill(ctx);

    return ret == 0 ? seccomp_load(ctx) : ret;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

bool seccomp_filter_install(int mode)
{
    scmp_filter_ctx ctx;
    int ret;

    if (mode == CONFIG_SECCOMP_OFF || IS_SANITIZED)
        return true;
    ctx = seccomp_init(mode == CONFIG_SECCOMP_KILL ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_LOG);
    if (ctx == NULL) {
        errno = ENOMEM;
        return false;
    }
    ret = load(ctx);
    seccomp_release(ctx);
    errno = -ret;
    return ret == 0;
}
