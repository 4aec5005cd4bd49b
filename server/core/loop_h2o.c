/* Timers of any duration for libh2o's loop. h2o_timeout_t is a list of one fixed duration each, all
 * scanned every turn, and spins when a callback changes its own; so we keep a binary heap and one
 * timerfd, which the loop sees as a readable descriptor.
 *
 * Timers that are due are first taken out of the heap as one batch and then called, in the order of
 * their times, those of one millisecond in the order of their start. A timer that a callback starts
 * with delay 0 is therefore never part of the running batch, and input and output have their turn
 * in between.
 *
 * What is due at once needs no system call: two lists of libh2o's own with a duration of 0, which
 * its loop runs at the end of a turn, `batch` before `behind`. `batch` calls the timers; linked
 * again while it runs, it would run again and again without a turn of the sockets, so that
 * `behind`, which comes next, does that. */
#include "core/loop_h2o.h"

#include <assert.h>
#include <errno.h>
#include <h2o/timeout.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/err.h"

#define FIRST_CAPACITY 64
/* Set in loop_timer.slot: a place in `due`, not in `heap` */
#define SLOT_DUE       (SIZE_MAX ^ SIZE_MAX >> 1)

struct entry {
    uint64_t due_ms;
    uint64_t seq; /* order of starts */
    struct loop_timer *timer;
};

struct watch {
    struct watch *next; /* owned */
    h2o_socket_t *sock; /* owned */
    loop_fd_cb on_readable;
    void *arg;
};

struct loop_h2o {
    struct loop super;
    h2o_evloop_t *evloop;     /* borrowed */
    h2o_socket_t *timer_sock; /* owned; over timer_fd */
    int timer_fd;
    uint64_t now_ms;
    /* evloop's own time (h2o_now) when now_ms was read: another value is another turn */
    uint64_t turn;
    uint64_t armed_ms; /* when timer_fd will fire; 0: it will not */
    h2o_timeout_t batch, behind;
    h2o_timeout_entry_t batch_entry, behind_entry;
    bool batch_runs; /* until `behind` has its turn */
    uint64_t seq;
    struct entry *heap; /* owned; [0] is due first */
    size_t num;
    struct loop_timer **due; /* owned; the batch that is running; NULL: stopped in the meantime */
    size_t num_due;
    size_t capacity;       /* of heap and due */
    struct watch *watches; /* owned */
};

static struct loop_h2o *self(struct loop *loop)
{
    return (struct loop_h2o *)loop;
}

static void read_clock(struct loop_h2o *l)
{
    l->turn = h2o_now(l->evloop);
    l->now_ms = clock_now_ms();
}

static uint64_t do_now_ms(struct loop *loop)
{
    struct loop_h2o *l = self(loop);

    if (h2o_now(l->evloop) != l->turn)
        read_clock(l);
    return l->now_ms;
}

static void arm(struct loop_h2o *l, uint64_t at_ms)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at_ms / 1000), .tv_nsec = (long)(at_ms % 1000) * 1000000}};

    timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    l->armed_ms = at_ms;
}

/* At the end of this turn, or of the next one. libh2o goes by the wall clock: a time long ago is
 * reached also when somebody sets that back. */
static void link_at_once(struct loop_h2o *l, h2o_timeout_t *list, h2o_timeout_entry_t *entry)
{
    h2o_timeout_link(l->evloop, list, entry);
    entry->registered_at = 0;
}

static void run_soon(struct loop_h2o *l)
{
    if (!l->batch_runs && !h2o_timeout_is_linked(&l->batch_entry))
        link_at_once(l, &l->batch, &l->batch_entry);
}

static void wake_for(struct loop_h2o *l, uint64_t due_ms)
{
    if (due_ms <= l->now_ms)
        run_soon(l);
    else if (l->armed_ms == 0 || due_ms < l->armed_ms)
        arm(l, due_ms);
}

static bool before(const struct entry *a, const struct entry *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->seq < b->seq;
}

static void place(struct loop_h2o *l, size_t i, struct entry e)
{
    assert(i < l->num);
    l->heap[i] = e;
    e.timer->slot = i + 1;
}

static void sift_up(struct loop_h2o *l, size_t i, struct entry e)
{
    while (i > 0 && before(&e, &l->heap[(i - 1) / 2])) {
        place(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(l, i, e);
}

static void sift_down(struct loop_h2o *l, size_t i, struct entry e)
{
    for (size_t child; (child = 2 * i + 1) < l->num; i = child) {
        if (child + 1 < l->num && before(&l->heap[child + 1], &l->heap[child]))
            child++;
        if (!before(&l->heap[child], &e))
            break;
        place(l, i, l->heap[child]);
    }
    place(l, i, e);
}

static void heap_remove(struct loop_h2o *l, size_t i)
{
    struct entry last = l->heap[l->num - 1];

    assert(i < l->num && l->heap[i].timer->slot == i + 1);
    l->num--;
    l->heap[i].timer->slot = 0;
    if (i == l->num)
        return;
    if (i > 0 && before(&last, &l->heap[(i - 1) / 2]))
        sift_up(l, i, last);
    else
        sift_down(l, i, last);
}

/* Both arrays grow here, so that a batch never needs memory. */
static int reserve(struct loop_h2o *l)
{
    size_t capacity = l->capacity != 0 ? l->capacity * 2 : FIRST_CAPACITY;
    struct entry *heap;
    struct loop_timer **due;

    if (l->num < l->capacity)
        return 0;
    heap = reallocarray(l->heap, capacity, sizeof(*heap));
    if (heap == NULL)
        return ERR_NOMEM;
    l->heap = heap;
    due = reallocarray(l->due, capacity, sizeof(struct loop_timer *));
    if (due == NULL)
        return ERR_NOMEM;
    l->due = due;
    l->capacity = capacity;
    return 0;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    struct loop_h2o *l = self(loop);

    if (timer->slot == 0)
        return;
    if ((timer->slot & SLOT_DUE) == 0) {
        heap_remove(
            l, timer->slot -
                   1); /* timer_fd may fire for nothing: cheaper than a system call for each stop */
        return;
    }
    assert(l->due[(timer->slot & ~SLOT_DUE) - 1] == timer);
    l->due[(timer->slot & ~SLOT_DUE) - 1] = NULL;
    timer->slot = 0;
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    struct loop_h2o *l = self(loop);
    uint64_t now_ms = do_now_ms(loop);
    struct entry e = {.timer = timer};

    assert(timer->cb != NULL);
    do_timer_stop(loop, timer);
    if (reserve(l) != 0)
        return ERR_NOMEM;
    e.due_ms = delay_ms < (uint64_t)INT32_MAX * 1000 ? now_ms + delay_ms
                                                     : now_ms + (uint64_t)INT32_MAX * 1000;
    e.seq = ++l->seq;
    timer->due_ms = e.due_ms;
    sift_up(l, l->num++, e);
    if (l->num_due == 0)
        wake_for(l, e.due_ms);
    return 0;
}

static void take_due(struct loop_h2o *l)
{
    l->num_due = 0;
    while (l->num > 0 && l->heap[0].due_ms <= l->now_ms) {
        struct loop_timer *timer = l->heap[0].timer;

        heap_remove(l, 0);
        assert(l->num_due < l->capacity);
        l->due[l->num_due] = timer;
        timer->slot = SLOT_DUE | ++l->num_due;
    }
}

static void run_due(struct loop_h2o *l)
{
    read_clock(l);
    take_due(l);
    for (size_t i = 0; i < l->num_due; i++) {
        struct loop_timer *timer = l->due[i];

        if (timer == NULL)
            continue;
        timer->slot = 0;
        timer->cb(timer);
    }
    l->num_due = 0;
    if (l->num > 0)
        wake_for(l, l->heap[0].due_ms);
}

static void on_batch(h2o_timeout_entry_t *entry)
{
    struct loop_h2o *l = H2O_STRUCT_FROM_MEMBER(struct loop_h2o, batch_entry, entry);

    l->batch_runs = true;
    link_at_once(l, &l->behind, &l->behind_entry);
    run_due(l);
}

static void on_behind(h2o_timeout_entry_t *entry)
{
    struct loop_h2o *l = H2O_STRUCT_FROM_MEMBER(struct loop_h2o, behind_entry, entry);

    l->batch_runs = false;
    if (l->num > 0)
        wake_for(l, l->heap[0].due_ms);
}

static void on_timer_fd(h2o_socket_t *sock, const char *err)
{
    struct loop_h2o *l = sock->data;
    uint64_t expirations;

    (void)err; /* only reads report one, and libh2o does not read here */
    if (read(l->timer_fd, &expirations, sizeof(expirations)) == -1)
        return; /* EAGAIN: set anew after epoll saw it */
    l->armed_ms = 0;
    run_due(l);
}

static void on_watch(h2o_socket_t *sock, const char *err)
{
    struct watch *w = sock->data;

    (void)err;
    w->on_readable(w->arg);
}

static h2o_socket_t *socket_over(struct loop_h2o *l, int fd, h2o_socket_cb cb, void *data)
{
    h2o_socket_t *sock = h2o_evloop_socket_create(l->evloop, fd, H2O_SOCKET_FLAG_DONT_READ);

    sock->data = data;
    h2o_socket_read_start(sock, cb);
    return sock;
}

static int do_watch(struct loop *loop, int fd, loop_fd_cb on_readable, void *arg)
{
    struct loop_h2o *l = self(loop);
    struct watch *w = calloc(1, sizeof(*w));

    if (w == NULL)
        return ERR_NOMEM;
    w->on_readable = on_readable;
    w->arg = arg;
    w->sock = socket_over(l, fd, on_watch, w);
    w->next = l->watches;
    l->watches = w;
    return 0;
}

struct loop *loop_h2o_new(h2o_evloop_t *evloop)
{
    static const struct loop_ops ops = {do_now_ms, do_timer_start, do_timer_stop, do_watch};
    struct loop_h2o *l = calloc(1, sizeof(*l));

    if (l == NULL)
        return NULL;
    l->super.ops = &ops;
    l->evloop = evloop;
    if (reserve(l) != 0)
        goto fail;
    l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->timer_fd == -1)
        goto fail;
    h2o_timeout_init(evloop, &l->batch, 0);
    h2o_timeout_init(evloop, &l->behind, 0);
    l->batch_entry.cb = on_batch;
    l->behind_entry.cb = on_behind;
    l->timer_sock = socket_over(l, l->timer_fd, on_timer_fd, l);
    read_clock(l);
    return &l->super;

fail:
    free(l->heap);
    free(l->due);
    free(l);
    return NULL;
}

void loop_h2o_turn(struct loop *loop)
{
    read_clock(self(loop));
}

void loop_h2o_free(struct loop *loop)
{
    struct loop_h2o *l = self(loop);

    if (l == NULL)
        return;
    for (size_t i = 0; i < l->num; i++)
        l->heap[i].timer->slot = 0;
    for (struct watch *w = l->watches, *next; w != NULL; w = next) {
        next = w->next;
        h2o_socket_close(w->sock);
        free(w);
    }
    h2o_timeout_unlink(&l->batch_entry);
    h2o_timeout_unlink(&l->behind_entry);
    h2o_timeout_dispose(l->evloop, &l->batch);
    h2o_timeout_dispose(l->evloop, &l->behind);
    h2o_socket_close(l->timer_sock);
    free(l->heap);
    free(l->due);
    free(l);
}
