/* See upgrade.h. Variables carry it: each descriptor with the address it stands for, and the pid
 * of the old master, which is believed as long as it is our parent; should it have died since, what
 * it handed over tells that it was. Both are gone from the environment before a child is forked. */
#include "upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/environment.h"
#include "common/log.h"
#include "listener.h"

#define ENV_PARENT "TRANCHE_UPGRADE_FROM"

/* "7 127.0.0.1 4000" */
static const char *const listener_names[] = {
    [UPGRADE_CLIENTS] = "TRANCHE_LISTEN_FD", [UPGRADE_HEALTH] = "TRANCHE_HEALTH_FD"};

static char program[PATH_MAX];
static char **arguments;
static pid_t predecessor;
static bool successor;

static pid_t parse_pid(const char *text)
{
    char *end;
    long pid = text != NULL ? strtol(text, &end, 10) : 0;

    return pid > 1 && pid <= INT_MAX && *end == '\0' ? (pid_t)pid : 0;
}

void upgrade_init(char **argv)
{
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);

    program[len > 0 ? len : 0] =
        '\0'; /* now: once the file is replaced, the link says "(deleted)" */
    arguments = argv;
    predecessor = parse_pid(getenv(ENV_PARENT));
    handover_init(predecessor);
    if (predecessor != getppid())
        predecessor = 0;
    successor = predecessor != 0 || handover_is_given();
    unsetenv(ENV_PARENT);
}

static bool export_listener(const char *name, int listen_fd, const char *host, int port)
{
    char text[512];
    int fd;

    if (listen_fd == -1)
        return unsetenv(name) == 0;
    fd = dup(listen_fd); /* without close-on-exec */
    if (fd == -1)
        return false;
    snprintf(text, sizeof(text), "%d %s %d", fd, host, port);
    return setenv(name, text, 1) == 0;
}

static bool export_all(const int *fds, const char *host, const int *ports, pid_t parent)
{
    char text[32];

    for (int i = 0; i < UPGRADE_LISTENERS; i++)
        if (!export_listener(listener_names[i], fds[i], host, ports[i]))
            return false;
    snprintf(text, sizeof(text), "%d", (int)parent);
    return setenv(ENV_PARENT, text, 1) == 0;
}

pid_t upgrade_start(const int fds[UPGRADE_LISTENERS], const char *host,
                    const int ports[UPGRADE_LISTENERS], const struct handover_offer *offer)
{
    pid_t parent = getpid(), pid;

    if (program[0] == '\0') {
        errno = ENOENT;
        return ERR_IO;
    }
    pid = fork();
    if (pid == -1)
        return ERR_IO;
    if (pid == 0) {
        /* The signals that we block stay blocked: none of them gets lost, or ends the new program,
         * before it reads them. */
        if (environment_restore() == 0 && export_all(fds, host, ports, parent) &&
            handover_export(offer, parent))
            execv(program, arguments);
        log_error("upgrade: cannot start %s: %s", program, strerror(errno));
        _exit(127);
    }
    return pid;
}

bool upgrade_is_successor(void)
{
    return successor;
}

int upgrade_take_listener(enum upgrade_listener which, const char *host, int port)
{
    const char *text = getenv(listener_names[which]);
    char expected[512], *end;
    long fd;

    if (text == NULL)
        return -1;
    fd = strtol(text, &end, 10);
    snprintf(expected, sizeof(expected), " %s %d", host, port);
    if (!successor || fd < 3 || fd > INT_MAX || listener_adopt((int)fd) < 0)
        fd = -1; /* not ours to close */
    else if (strcmp(end, expected) != 0) {
        close((int)fd);
        fd = -1;
    }
    unsetenv(listener_names[which]);
    return (int)fd;
}

bool upgrade_finish(void)
{
    pid_t old = predecessor;

    predecessor = 0;
    if (old == 0 || getppid() != old)
        return false;
    return kill(old, SIGTERM) == 0;
}
