/* See ask.h. The connection is made when somebody asks, and made anew when the keeper goes. It
 * stands in an epoll set of its own, since the loop watches for reading alone and for ever. */
#include "tenants/ask.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/log.h"

#define MAX_SENT     32  /* questions that a connection has; the others wait here */
#define READS_A_TURN 16  /* answers */
#define RETRY_MS     100 /* between two attempts to connect */

TAILQ_HEAD(calls, ask_call);

struct ask_call {
    TAILQ_ENTRY(ask_call) link; /* in one of the three lists of `ask` */
    struct calls *in;
    struct ask *ask; /* borrowed */
    struct keeper_head head;
    struct loop_timer timer; /* its deadline */
    ask_cb cb;
    void *arg;    /* borrowed; the caller's */
    char bytes[]; /* head.len */
};

struct ask {
    struct loop *loop;              /* borrowed */
    const struct keeper_door *door; /* borrowed */
    uint32_t deadline_ms;
    int epoll_fd;    /* the loop's: it closes it */
    int fd;          /* owned; -1: not connected */
    bool wants_out;  /* told when there is room to send */
    bool going, bye; /* the keeper is about to leave; it was told that nothing comes */
    struct loop_timer retry;
    struct calls waiting, sent, ended; /* ended: their keeper died */
    unsigned num, num_sent;
    size_t bytes;
    uint64_t last_id;
    char *message; /* owned; room for a head and KEEPER_MESSAGE */
};

static void move(struct ask_call *call, struct calls *to)
{
    struct ask *ask = call->ask;

    assert(call->in != to);
    ask->num_sent -= call->in == &ask->sent;
    TAILQ_REMOVE(call->in, call, link);
    TAILQ_INSERT_TAIL(to, call, link);
    ask->num_sent += to == &ask->sent;
    call->in = to;
}

static void call_free(struct ask_call *call)
{
    struct ask *ask = call->ask;

    assert(ask->num > 0 && ask->bytes >= call->head.len); /* ask_start() counted it */
    assert(call->in != &ask->sent || ask->num_sent > 0);
    ask->num_sent -= call->in == &ask->sent;
    TAILQ_REMOVE(call->in, call, link);
    loop_timer_stop(ask->loop, &call->timer);
    ask->num--;
    ask->bytes -= call->head.len;
    free(call);
}

/* The one way out: free first, call back last. */
static void call_finish(struct ask_call *call, const struct ask_answer *answer)
{
    ask_cb cb = call->cb;
    void *arg = call->arg;

    call_free(call);
    cb(arg, answer);
}

static void call_end(struct ask_call *call, enum ask_end end)
{
    call_finish(call, &(struct ask_answer){.end = end, .bytes = ""});
}

/* --- the connection --- */

static void set_wanted(struct ask *ask, bool out, int op)
{
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.fd = ask->fd};

    if (epoll_ctl(ask->epoll_fd, op, ask->fd, &event) == 0)
        ask->wants_out = out;
}

/* A question that changes nothing may be asked of the next keeper; the others are lost. They are
 * told from a list of their own: a callback may ask, or cancel one of the others. */
static void on_gone(struct ask *ask)
{
    struct ask_call *call;

    assert(ask->fd != -1); /* a keeper goes once */
    close(ask->fd);
    ask->fd = -1;
    ask->going = ask->bye = false;
    while ((call = TAILQ_LAST(&ask->sent, calls)) != NULL) {
        if (call->head.kind == KEEPER_ADMIN_CALL) {
            move(call, &ask->ended);
            continue;
        }
        move(call, &ask->waiting);
        TAILQ_REMOVE(&ask->waiting, call, link); /* before those that were not sent */
        TAILQ_INSERT_HEAD(&ask->waiting, call, link);
    }
    assert(ask->num_sent == 0);
    while ((call = TAILQ_FIRST(&ask->ended)) != NULL)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): call_free() took the one before out */
        call_end(call, ASK_LOST);
}

static bool open_connection(struct ask *ask)
{
    int ret;

    assert(ask->fd == -1 && ask->num_sent == 0); /* nobody has what was asked of the one before */
    ret = keeper_door_connect(ask->door, &ask->fd);
    if (ret == 0) {
        set_wanted(ask, false, EPOLL_CTL_ADD);
        return true;
    }
    ask->fd = -1;
    log_debug("the keeper cannot be asked: %s", ret == ERR_IO ? strerror(errno) : err_str(ret));
    return false;
}

/* @return false: there is no room now, or nobody to send it to */
static bool send_one(struct ask *ask, struct ask_call *call)
{
    struct iovec parts[] = {{&call->head, sizeof(call->head)}, {call->bytes, call->head.len}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};

    if (sendmsg(ask->fd, &message, MSG_NOSIGNAL) != -1) {
        move(call, &ask->sent);
        return true;
    }
    if (errno != EAGAIN && errno != ENOBUFS) /* EOF is read next: on_gone() */
        log_debug("the keeper cannot be asked: %s", strerror(errno));
    return false;
}

/* Nothing is sent behind it: what waits is for the next keeper. */
static void say_bye(struct ask *ask)
{
    struct keeper_head bye = {.kind = KEEPER_BYE};

    if (!ask->bye)
        ask->bye = send(ask->fd, &bye, sizeof(bye), MSG_NOSIGNAL) != -1;
    if (ask->wants_out == ask->bye)
        set_wanted(ask, !ask->bye, EPOLL_CTL_MOD);
}

/* Send what waits. Calls nobody back. */
static void flush(struct ask *ask)
{
    struct ask_call *call;
    bool out = false;

    if (ask->fd != -1 && ask->going) {
        say_bye(ask);
        return;
    }
    if (TAILQ_EMPTY(&ask->waiting))
        return;
    if (ask->fd == -1 && !open_connection(ask)) {
        if (ask->retry.slot == 0)
            (void)loop_timer_start(ask->loop, &ask->retry, RETRY_MS);
        return;
    }
    while (!out && ask->num_sent < MAX_SENT && (call = TAILQ_FIRST(&ask->waiting)) != NULL)
        out = !send_one(ask, call);
    if (out != ask->wants_out)
        set_wanted(ask, out, EPOLL_CTL_MOD);
}

static void on_retry(struct loop_timer *timer)
{
    flush(timer->arg);
}

/* --- answers --- */

static struct ask_call *find_sent(struct ask *ask, uint64_t id)
{
    for (struct ask_call *call = TAILQ_FIRST(&ask->sent); call != NULL;
         call = TAILQ_NEXT(call, link))
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as in on_gone() */
        if (call->head.id == id)
            return call;
    return NULL; /* it was cancelled, or is late */
}

static void take_answer(struct ask *ask, size_t len)
{
    struct keeper_head head;
    struct ask_call *call;

    if (len < sizeof(head))
        return;
    memcpy(&head, ask->message, sizeof(head));
    ask->going = ask->going || (head.id == 0 && head.kind == KEEPER_GOING);
    call = find_sent(ask, head.id);
    if (call == NULL || head.len != len - sizeof(head))
        return;
    call_finish(call, &(struct ask_answer){.end = ASK_ANSWERED,
                                           .status = head.kind,
                                           .bytes = ask->message + sizeof(head),
                                           .len = head.len});
}

static void on_ready(void *arg)
{
    struct ask *ask = arg;
    ssize_t len = 1;

    for (int i = 0; i < READS_A_TURN && len > 0 && ask->fd != -1; i++) {
        len = recv(ask->fd, ask->message, sizeof(struct keeper_head) + KEEPER_MESSAGE, 0);
        if (len > 0)
            take_answer(ask, (size_t)len);
        else if (len == 0 || (errno != EAGAIN && errno != EINTR))
            on_gone(ask);
    }
    flush(ask);
}

static void on_deadline(struct loop_timer *timer)
{
    struct ask_call *call = timer->arg;

    call_end(call, call->in == &call->ask->waiting ? ASK_DOWN : ASK_LOST);
}

/* --- for all --- */

int ask_new(struct loop *loop, const struct keeper_door *door, uint32_t deadline_ms,
            struct ask **out)
{
    struct ask *ask = calloc(1, sizeof(*ask));

    if (ask == NULL)
        return ERR_NOMEM;
    ask->loop = loop;
    ask->door = door;
    ask->deadline_ms = deadline_ms;
    ask->fd = -1;
    ask->retry = (struct loop_timer){.cb = on_retry, .arg = ask};
    TAILQ_INIT(&ask->waiting);
    TAILQ_INIT(&ask->sent);
    TAILQ_INIT(&ask->ended);
    ask->message = malloc(sizeof(struct keeper_head) + KEEPER_MESSAGE);
    ask->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (ask->message == NULL || ask->epoll_fd == -1 ||
        loop_watch(loop, ask->epoll_fd, on_ready, ask) != 0) {
        int ret = ask->epoll_fd == -1 ? ERR_IO : ERR_NOMEM;

        if (ask->epoll_fd != -1)
            close(ask->epoll_fd);
        free(ask->message);
        free(ask);
        return ret;
    }
    *out = ask;
    return 0;
}

static void free_all(struct calls *calls)
{
    for (struct ask_call *call; (call = TAILQ_FIRST(calls)) != NULL;)
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as in on_gone() */
        call_free(call);
}

/* The loop goes on watching the set, in which there is nothing any more. */
void ask_free(struct ask *ask)
{
    if (ask == NULL)
        return;
    free_all(&ask->waiting);
    free_all(&ask->sent);
    free_all(&ask->ended);
    assert(ask->num == 0 && ask->num_sent == 0 && ask->bytes == 0);
    loop_timer_stop(ask->loop, &ask->retry);
    if (ask->fd != -1)
        close(ask->fd);
    free(ask->message);
    free(ask);
}

uint32_t ask_deadline_ms(const struct ask *ask)
{
    return ask->deadline_ms;
}

uint32_t ask_patient_ms(const struct ask *ask)
{
    return 4 * ask->deadline_ms < ASK_PATIENT_MOST_MS ? 4 * ask->deadline_ms : ASK_PATIENT_MOST_MS;
}

int ask_start(struct ask *ask, enum keeper_kind kind, const void *bytes, size_t len,
              uint32_t wait_ms, ask_cb cb, void *arg, struct ask_call **out)
{
    struct ask_call *call;

    assert(wait_ms > 0);
    if (len > KEEPER_MESSAGE)
        return ERR_LIMIT;
    if (ask->num >= ASK_MAX_CALLS || len > ASK_MAX_BYTES - ask->bytes)
        return ERR_FULL;
    call = calloc(1, sizeof(*call) + len);
    if (call == NULL)
        return ERR_NOMEM;
    call->ask = ask;
    call->cb = cb;
    call->arg = arg;
    call->timer = (struct loop_timer){.cb = on_deadline, .arg = call};
    call->head = (struct keeper_head){.id = ++ask->last_id,
                                      .deadline_ms = loop_now_ms(ask->loop) + wait_ms,
                                      .kind = kind,
                                      .len = (uint32_t)len};
    if (len > 0)
        memcpy(call->bytes, bytes, len);
    if (loop_timer_start(ask->loop, &call->timer, wait_ms) != 0) {
        free(call);
        return ERR_NOMEM;
    }
    call->in = &ask->waiting;
    TAILQ_INSERT_TAIL(&ask->waiting, call, link);
    ask->num++;
    ask->bytes += len;
    *out = call;
    flush(ask);
    return 0;
}

void ask_cancel(struct ask_call **call)
{
    if (*call != NULL)
        call_free(*call);
    *call = NULL;
}

int ask_key(struct ask *ask, const unsigned char hash[RIGHTS_HASH_BYTES], ask_cb cb, void *arg,
            struct ask_call **call)
{
    return ask_start(ask, KEEPER_KEY_LOOKUP, hash, RIGHTS_HASH_BYTES, ask->deadline_ms, cb, arg,
                     call);
}

enum keeper_lookup ask_key_result(const struct ask_answer *answer)
{
    if (answer->end == ASK_ANSWERED &&
        (answer->status == KEEPER_KEY_PUBLISHED || answer->status == KEEPER_KEY_UNKNOWN))
        return (enum keeper_lookup)answer->status;
    return KEEPER_KEY_CANNOT_TELL;
}
