/* A child process in its row: spawned, watched, reaped, and started again at a bearable rate. The
 * decisions are pure functions of times, the rest is fork(2) and what a child must do before
 * anything else. One row is one place for a worker or the prober, whoever lives there. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "core/inherited.h"

#define CHILD_FAST_MS       10000 /* an end sooner than this after the start counts against the child */
#define CHILD_FIRST_WAIT_MS 200
#define CHILD_MAX_WAIT_MS   5000
#define CHILD_STILL_MS      30000 /* a heartbeat that stands still for longer gets SIGKILL */
#define CHILD_LOST_MS       5000 /* a watcher that was away for longer judges nobody by that time */

/* What a child is for. The program lists them (main.c): the master knows none by name. */
struct child_role {
    const char *name; /* of the process, "tranche-NAME", and in logs */
    bool is_worker;   /* serves clients: there are several, and they are drained */
    /* Its whole life; returns its exit code. Called in the child right after the fork. */
    int (*run)(const struct inherited *inherited, uint32_t row);
    bool keeps_environment; /* environment_get() finds variables in it: who reads the keys file */
    bool is_filtered;       /* reads what strangers send: it has few system calls (seccomp) */
};

enum child_phase {
    CHILD_NONE, /* the row is free */
    CHILD_RUNNING,
    CHILD_WAITING, /* ended; started again at restart_ms */
    CHILD_LEAVING  /* told to end, and not to come back */
};

/* A heartbeat as the watcher sees it. */
struct child_pulse {
    uint64_t beat_ms;    /* last value seen; 0: none since the start */
    uint64_t changed_ms; /* when it was first seen */
    uint64_t looked_ms;  /* last time the watcher looked */
};

struct child {
    enum child_phase phase;
    const struct child_role *role; /* borrowed; NULL: the row was never used */
    pid_t pid;                     /* 0: not running */
    uint32_t generation;           /* number of the generation that it serves */
    uint64_t started_ms;
    uint64_t restart_ms;  /* CHILD_WAITING */
    uint64_t deadline_ms; /* CHILD_LEAVING: then it gets SIGKILL; 0: it got it */
    uint32_t fast_ends;   /* in a row, sooner than CHILD_FAST_MS after the start */
    struct child_pulse pulse;
};

/* What only the master may hold: closed in a child before anything else. */
struct child_closes {
    const int *fds;
    size_t num;
};

/**
 * How long a place stays empty after its child ended. The first fast end costs nothing, the next
 * ones 200 ms, 400 ms and so on up to 5 s; a child that lived for CHILD_FAST_MS clears the count.
 * Pure.
 *
 * @param fast_ends  the count of the place, updated
 */
uint32_t child_wait_ms(uint32_t *fast_ends, uint64_t started_ms, uint64_t ended_ms);

/** A new child lives here. */
void child_pulse_start(struct child_pulse *pulse, uint64_t now_ms);

/**
 * Look at the heartbeat; to be called about once a second. Pure over its arguments.
 *
 * A watcher that was itself away for more than CHILD_LOST_MS (stopped, suspended, starved) begins
 * to count anew: its children had no chance either.
 *
 * @param beat_ms  what the child's slot says
 * @return true: it stands still for more than CHILD_STILL_MS
 */
bool child_pulse_is_still(struct child_pulse *pulse, uint64_t beat_ms, uint64_t now_ms);

/**
 * Fork. The child gets SIGKILL when its parent dies, ignores SIGINT, SIGHUP, SIGPIPE, SIGUSR1 and
 * SIGUSR2, has the default action for all others and blocks none, closes `closes`, runs
 * child->role->run() and leaves with _exit(2): nothing of the parent's is freed or flushed twice.
 *
 * Does not return in the child. The slot of `row` is cleared and filled before the fork.
 *
 * @return 0, or ERR_NOMEM when fork(2) failed (errno); then `child` is as before
 */
MUST_USE int child_spawn(struct child *child, uint32_t row, const struct inherited *inherited,
                         const struct child_closes *closes, uint64_t now_ms);

#define CHILD_END_SIZE 128 /* for any text of child_describe_end() */

/** "exit code 3", "signal 11 (Segmentation fault, core dumped)": a wait status for people. */
void child_describe_end(int wait_status, char *text, size_t size);
