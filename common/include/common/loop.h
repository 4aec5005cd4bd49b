/* Timers and descriptors as the rooms see them; server/core/loop_h2o.c implements it over libh2o's
 * evloop, tests over a fake clock. Everything runs on the thread of the loop, inside one of its
 * turns. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct loop_timer;

typedef void (*loop_timer_cb)(struct loop_timer *timer);
typedef void (*loop_fd_cb)(void *arg);

/* Embedded in the owner's struct; all zero but `cb` and `arg` before its first start. */
struct loop_timer {
    loop_timer_cb cb; /* runs once per start, never from inside loop_timer_start() */
    void *arg;        /* borrowed; the owner's */
    uint64_t due_ms;  /* monotonic; the loop's */
    size_t slot;      /* 1-based place in the loop's heap; 0: not running. The loop's */
};

struct loop_ops {
    uint64_t (*now_ms)(struct loop *loop);
    int (*timer_start)(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms);
    void (*timer_stop)(struct loop *loop, struct loop_timer *timer);
    int (*watch)(struct loop *loop, int fd, loop_fd_cb on_readable, void *arg);
};

/* An implementation embeds this as its first member. */
struct loop {
    const struct loop_ops *ops;
};

/** Monotonic ms, cached once per turn. */
static inline uint64_t loop_now_ms(struct loop *loop)
{
    return loop->ops->now_ms(loop);
}

/** (Re)arm: the callback runs on the loop `delay_ms` from now (0: on a coming turn, never before
 * this returns). Returns 0 or ERR_NOMEM. */
static inline int loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    return loop->ops->timer_start(loop, timer, delay_ms);
}

/** (Re)arm with a delay of 0, but leave one that is due already where it is: armed anew it would
 * wait for another turn, and one that somebody arms in each turn would never run. Returns 0 or
 * ERR_NOMEM. */
static inline int loop_timer_soon(struct loop *loop, struct loop_timer *timer)
{
    if (timer->slot != 0 && timer->due_ms <= loop_now_ms(loop))
        return 0;
    return loop_timer_start(loop, timer, 0);
}

/** Disarm; safe when it is not running. The owner calls it before its struct goes. */
static inline void loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    loop->ops->timer_stop(loop, timer);
}

/** Call `on_readable` each turn that `fd` is readable (level-triggered). The loop owns `fd` from
 * now on and watches it until the process ends. Returns 0 or ERR_NOMEM. */
static inline int loop_watch(struct loop *loop, int fd, loop_fd_cb on_readable, void *arg)
{
    return loop->ops->watch(loop, fd, on_readable, arg);
}
