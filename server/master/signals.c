/* See signals.h. */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>

#include "common/log.h"
#include "common/log_out.h"
#include "master/master.h"

/* Signals that we read from the descriptor, blocked for that; the mask of children is cleared after
 * the fork. An ignored SIGCHLD would reap for us, and nohup's SIGHUP is still the operator's. */
static int block_signals(sigset_t *set)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};

    sigemptyset(set);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaddset(set, numbers[i]);
    sigaddset(set, SIGRTMIN + 22);
    sigaddset(set, SIGRTMIN + 23);
    if (sigprocmask(SIG_SETMASK, set, NULL) == -1)
        return -1;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        signal(numbers[i], SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* memfds count against the system's file size limit */
    return 0;
}

void master_keep_signals(void)
{
    sigset_t set;

    (void)block_signals(&set);
}

int signals_open(void)
{
    sigset_t set;

    return block_signals(&set) == 0 ? signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC) : -1;
}

bool signals_take_level(uint32_t number)
{
    bool more = (int)number == SIGRTMIN + 22;

    if (!more && (int)number != SIGRTMIN + 23)
        return false;
    log_out_set_level(more ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
    log_info("log level: %s, until the next reload",
             more ? "debug (SIGRTMIN+22)" : "info (SIGRTMIN+23)");
    return true;
}

void signals_reopen_logs(void)
{
    log_out_reopen();
    if (log_out_look() != 0)
        log_error("SIGUSR1: a log cannot be opened again: %s; the one before goes on",
                  strerror(errno));
    log_info("SIGUSR1: logs are opened again");
}
