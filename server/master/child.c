/* See child.h. */
#include "master/child.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/environment.h"
#include "common/log.h"
#include "common/mask.h"
#include "posture.h"
#include "seccomp_filter.h"

uint32_t child_wait_ms(uint32_t *fast_ends, uint64_t started_ms, uint64_t ended_ms)
{
    uint32_t wait_ms = CHILD_FIRST_WAIT_MS;

    if (ended_ms >= started_ms + CHILD_FAST_MS) {
        *fast_ends = 0;
        return 0;
    }
    if (*fast_ends < UINT32_MAX)
        ++*fast_ends;
    if (*fast_ends == 1)
        return 0;
    for (uint32_t i = 2; i < *fast_ends && wait_ms < CHILD_MAX_WAIT_MS; i++)
        wait_ms *= 2;
    return wait_ms < CHILD_MAX_WAIT_MS ? wait_ms : CHILD_MAX_WAIT_MS;
}

void child_pulse_start(struct child_pulse *pulse, uint64_t now_ms)
{
    pulse->beat_ms = 0;
    pulse->changed_ms = now_ms;
    pulse->looked_ms = now_ms;
}

bool child_pulse_is_still(struct child_pulse *pulse, uint64_t beat_ms, uint64_t now_ms)
{
    bool lost = now_ms > pulse->looked_ms + CHILD_LOST_MS;

    pulse->looked_ms = now_ms;
    if (lost || beat_ms != pulse->beat_ms) {
        pulse->beat_ms = beat_ms;
        pulse->changed_ms = now_ms;
        return false;
    }
    return now_ms > pulse->changed_ms + CHILD_STILL_MS;
}

/* SIGINT comes from a terminal to every process of its group; the master passes on what it means.
 */
static void reset_signals(void)
{
    static const int ignored[] = {SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2};
    static const int ordinary[] = {SIGTERM, SIGQUIT, SIGCHLD};
    sigset_t none;

    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    for (int i = 22; i <= 23;
         i++) /* a service manager may send them to all processes (signals.h) */
        signal(SIGRTMIN + i, SIG_IGN);
    for (size_t i = 0; i < sizeof(ordinary) / sizeof(ordinary[0]); i++)
        signal(ordinary[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Where cores are allowed, keys at rest are not in them (they live in mappings of their own), but
 * what passes through can be: a request's header, an answer, what was freed and not yet used again.
 * So there are none unless the operator wants them. */
static void set_posture(const struct child_role *role, const struct config *config)
{
    if (!role->keeps_environment)
        environment_drop();
    posture_set_cores(config->core_dumps);
    posture_forbid_new_privileges();
    posture_drop_capabilities();
}

__attribute__((noreturn)) static void become(const struct child_role *role, uint32_t row,
                                             pid_t parent, const struct inherited *inherited,
                                             const struct child_closes *closes)
{
    char name[32];

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != parent)
        _exit(1); /* the parent died before the call */
    for (size_t i = 0; i < closes->num; i++)
        close(closes->fds[i]);
    reset_signals();
    set_posture(role, inherited->config);
    if (role->is_worker)
        snprintf(name, sizeof(name), "%s %u", role->name, row);
    else
        snprintf(name, sizeof(name), "%s", role->name);
    log_set_process(name);
    snprintf(name, sizeof(name), "tranche-%s", role->name);
    (void)prctl(PR_SET_NAME, name);
    log_set_level((enum log_level)inherited->config->log_level);
    mask_install(inherited->mask);
    if (role->is_filtered && !seccomp_filter_install(inherited->config->seccomp))
        log_warn("tranche_settings.seccomp: this system has no filters of system calls, and the "
                 "process goes on without: %s",
                 strerror(errno));
    _exit(role->run(inherited, row));
}

static void fill_slot(struct worker_slot *slot, const struct child_role *role, uint32_t generation)
{
    char name[sizeof(uint64_t)] = "";
    uint64_t word;

    memccpy(name, role->name, '\0', sizeof(name) - 1);
    memcpy(&word, name, sizeof(word));
    atomic_store(&slot->role, word);
    atomic_store(&slot->beat_ms, 0);
    atomic_store(&slot->spool_bytes, 0);
    atomic_store(&slot->connections, 0);
    atomic_store(&slot->generation, generation);
    atomic_store(&slot->draining, 0);
    atomic_store(&slot->long_polls, 0);
    atomic_store(&slot->relieve, 0);
    atomic_store(&slot->is_worker, role->is_worker);
    atomic_store(&slot->started_unix_s, clock_unix_s());
}

int child_spawn(struct child *child, uint32_t row, const struct inherited *inherited,
                const struct child_closes *closes, uint64_t now_ms)
{
    struct worker_slot *slot = &inherited->shared->slots[row];
    pid_t parent = getpid(), pid;

    fill_slot(slot, child->role, inherited->generation);
    pid = fork();
    if (pid == -1)
        return ERR_NOMEM;
    if (pid == 0)
        become(child->role, row, parent, inherited, closes);
    atomic_store(&slot->pid, pid);
    child->phase = CHILD_RUNNING;
    child->pid = pid;
    child->generation = inherited->generation;
    child->started_ms = now_ms;
    child->restart_ms = 0;
    child->deadline_ms = 0;
    child_pulse_start(&child->pulse, now_ms);
    return 0;
}

void child_describe_end(int wait_status, char *text, size_t size)
{
    if (WIFSIGNALED(wait_status))
        snprintf(text, size, "signal %d (%s%s)%s", WTERMSIG(wait_status),
                 strsignal(WTERMSIG(wait_status)), WCOREDUMP(wait_status) ? ", core dumped" : "",
                 WTERMSIG(wait_status) == SIGSYS
                     ? ": a call that is not on the list of tranche_settings.seccomp"
                     : "");
    else
        snprintf(text, size, "exit code %d", WEXITSTATUS(wait_status));
}
