/* See calls.h. All connections and the listener stand in one epoll set, which the loop watches. A
 * connection that ends is freed when its last call has been answered, and never while events of the
 * set are gone through. */
#include "keeper/calls.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>
#include <openssl/crypto.h>

#include "common/log.h"
#include "core/inherited.h"

#define MAX_CONNECTIONS (2 * CHILD_ROWS) /* twice as many as there can be children */
#define EVENTS          64               /* of a turn */
#define READS_A_TURN    8                /* questions of a connection */
#define ACCEPTS_A_TURN  32

struct answer {
    STAILQ_ENTRY(answer) link;
    struct keeper_head head;
    char bytes[]; /* head.len */
};

/* A worker. */
struct connection {
    LIST_ENTRY(connection) link;
    struct calls *calls;           /* borrowed; NULL: its keeper is at its end */
    STAILQ_HEAD(, answer) answers; /* owned; those for which the socket has no room yet */
    int fd;                        /* owned; -1: gone */
    uint32_t events;               /* what it is watched for */
    unsigned num_calls;            /* not answered yet, or their answers not sent */
    unsigned num_held;             /* `struct question`s that point here */
    bool known;                    /* it has said the token */
    bool bye;                      /* it asks nothing any more */
};

struct question {
    struct call call; /* first: what others see */
    struct connection *from;
    uint64_t id;
    char bytes[];
};

LIST_HEAD(connections, connection);

struct calls {
    struct loop *loop;              /* borrowed */
    const struct keeper_door *door; /* borrowed */
    int epoll_fd;                   /* the loop's: it closes it */
    struct connections live, gone;  /* owned; gone: freed when nothing points there */
    unsigned num_live, num_calls;
    bool draining;
    struct {
        calls_cb cb;
        void *arg;
    } serves[KEEPER_KINDS];
    char *message; /* owned; room for a head and KEEPER_MESSAGE */
};

/* --- connections --- */

/* The first one: a key that was made may be in it. */
static void drop_answer(struct connection *c)
{
    struct answer *a = STAILQ_FIRST(&c->answers);

    STAILQ_REMOVE_HEAD(&c->answers, link);
    OPENSSL_cleanse(a->bytes, a->head.len);
    free(a);
}

static void connection_free(struct connection *c)
{
    assert(c->fd == -1 && c->num_held == 0); /* nobody sends there, and no question points there */
    while (!STAILQ_EMPTY(&c->answers))
        drop_answer(c);
    free(c);
}

static void watch(struct connection *c, int op)
{
    struct calls *calls = c->calls;
    bool reads = c->num_calls < CALLS_EACH;
    uint32_t events = (reads ? EPOLLIN : 0) | (STAILQ_EMPTY(&c->answers) ? 0 : EPOLLOUT);
    struct epoll_event event = {.events = events, .data.ptr = c};

    if ((op == EPOLL_CTL_ADD || events != c->events) &&
        epoll_ctl(calls->epoll_fd, op, c->fd, &event) == 0)
        c->events = events;
}

/* It is freed by sweep(), or by the last of its questions. */
static void connection_end(struct connection *c)
{
    if (c->fd == -1)
        return;
    assert(c->calls->num_live > 0 && c->calls->num_calls >= c->num_calls);
    close(c->fd);
    c->fd = -1;
    c->calls->num_calls -= c->num_calls;
    c->num_calls = 0;
    LIST_REMOVE(c, link);
    LIST_INSERT_HEAD(&c->calls->gone, c, link);
    c->calls->num_live--;
}

static void sweep(struct calls *calls)
{
    for (struct connection *c = LIST_FIRST(&calls->gone), *next; c != NULL; c = next) {
        next = LIST_NEXT(c, link);
        if (c->num_held > 0)
            continue;
        LIST_REMOVE(c, link);
        connection_free(c);
    }
}

static void add_connection(struct calls *calls, int fd)
{
    struct connection *c = calls->num_live < MAX_CONNECTIONS ? calloc(1, sizeof(*c)) : NULL;

    if (c == NULL) {
        close(fd);
        return;
    }
    STAILQ_INIT(&c->answers);
    c->calls = calls;
    c->fd = fd;
    LIST_INSERT_HEAD(&calls->live, c, link);
    calls->num_live++;
    watch(c, EPOLL_CTL_ADD);
}

static void accept_all(struct calls *calls)
{
    int fd;

    for (int i = 0; i < ACCEPTS_A_TURN && keeper_door_accept(calls->door, &fd) == 0; i++)
        add_connection(calls, fd);
}

/* --- answers --- */

static void count_out(struct connection *c, const struct keeper_head *head)
{
    if (head->id == 0)
        return; /* a note */
    assert(c->num_calls > 0 && c->calls->num_calls >= c->num_calls);
    c->num_calls--;
    c->calls->num_calls--;
}

/* @return false: the socket has no room now, or the worker is gone */
static bool send_answer(struct connection *c, const struct keeper_head *head, const void *bytes)
{
    struct iovec parts[] = {{(void *)head, sizeof(*head)}, {(void *)bytes, head->len}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = head->len > 0 ? 2 : 1};

    if (sendmsg(c->fd, &message, MSG_NOSIGNAL) != -1) {
        count_out(c, head);
        return true;
    }
    if (errno != EAGAIN && errno != ENOBUFS)
        connection_end(c);
    return false;
}

static void send_waiting(struct connection *c)
{
    struct answer *a;

    while (c->fd != -1 && (a = STAILQ_FIRST(&c->answers)) != NULL) {
        if (!send_answer(c, &a->head, a->bytes))
            return;
        drop_answer(c);
    }
}

static void keep_answer(struct connection *c, const struct keeper_head *head, const void *bytes)
{
    struct answer *a = malloc(sizeof(*a) + head->len);

    if (a == NULL) { /* it would wait for ever: let it ask somebody else */
        connection_end(c);
        return;
    }
    a->head = *head;
    if (bytes != NULL)
        memcpy(a->bytes, bytes, head->len);
    STAILQ_INSERT_TAIL(&c->answers, a, link);
}

static void leave_if_done(struct connection *c)
{
    if (c->fd != -1 && c->bye && c->num_calls == 0 && STAILQ_EMPTY(&c->answers))
        connection_end(c);
}

static void answer(struct connection *c, uint64_t id, unsigned status, const void *bytes,
                   size_t len)
{
    struct keeper_head head = {.id = id, .kind = status, .len = (uint32_t)len};

    assert(len <= KEEPER_MESSAGE);
    if (c->fd == -1)
        return;
    if (!STAILQ_EMPTY(&c->answers) || !send_answer(c, &head, bytes)) {
        if (c->fd != -1)
            keep_answer(c, &head, bytes);
    }
    if (c->fd != -1)
        watch(c, EPOLL_CTL_MOD);
    leave_if_done(c);
}

void call_answer(struct call **call, unsigned status, const void *bytes, size_t len)
{
    struct question *q = (struct question *)*call;
    struct connection *c = q->from;

    assert(c->num_held > 0);
    *call = NULL;
    c->num_held--;
    if (len > KEEPER_MESSAGE)
        answer(c, q->id, KEEPER_TOO_LONG, NULL, 0);
    else
        answer(c, q->id, status, bytes, len);
    OPENSSL_cleanse(q->bytes, q->call.len); /* an admin's call may have a key in it */
    free(q);
    if (c->calls == NULL && c->num_held == 0)
        connection_free(c);
}

bool call_is_wanted(const struct call *call, uint64_t now_ms)
{
    return ((const struct question *)call)->from->fd != -1 && now_ms < call->deadline_ms;
}

/* --- questions --- */

static void serve(struct connection *c, const struct keeper_head *head, const char *bytes)
{
    struct calls *calls = c->calls;
    bool served = head->kind < KEEPER_KINDS && calls->serves[head->kind].cb != NULL;
    struct question *q = served ? malloc(sizeof(*q) + head->len) : NULL;

    assert(c->known && c->num_calls < CALLS_EACH);
    c->num_calls++;
    calls->num_calls++;
    if (q == NULL) {
        answer(c, head->id, served ? KEEPER_NO_MEMORY : KEEPER_NO_SUCH_KIND, NULL, 0);
        return;
    }
    memcpy(q->bytes, bytes, head->len);
    q->call = (struct call){.kind = (enum keeper_kind)head->kind,
                            .deadline_ms = head->deadline_ms,
                            .bytes = q->bytes,
                            .len = head->len};
    q->from = c;
    q->id = head->id;
    c->num_held++;
    calls->serves[head->kind].cb(calls->serves[head->kind].arg, &q->call);
}

static void take_token(struct connection *c, const char *bytes, size_t len)
{
    const unsigned char *token = c->calls->door->token;

    c->known = len == KEEPER_TOKEN && CRYPTO_memcmp(bytes, token, KEEPER_TOKEN) == 0;
    if (!c->known) {
        log_warn("somebody who is no worker connected to the keeper: sent away");
        connection_end(c);
    }
}

static void take_note(struct connection *c, const struct keeper_head *head)
{
    c->bye = c->bye || head->kind == KEEPER_BYE;
    leave_if_done(c);
}

static void take_message(struct connection *c, const char *message, size_t len)
{
    struct keeper_head head;

    if (!c->known) {
        take_token(c, message, len);
        return;
    }
    if (len < sizeof(head)) {
        connection_end(c);
        return;
    }
    memcpy(&head, message, sizeof(head));
    if (head.len != len - sizeof(head))
        connection_end(c);
    else if (head.id == 0)
        take_note(c, &head);
    else if (loop_now_ms(c->calls->loop) < head.deadline_ms)
        serve(c, &head, message + sizeof(head));
}

/* recv(2) without room for descriptors: what somebody passes along is closed by the kernel. */
static void read_messages(struct connection *c)
{
    struct calls *calls = c->calls;

    for (int i = 0; i < READS_A_TURN && c->fd != -1 && c->num_calls < CALLS_EACH; i++) {
        ssize_t len =
            recv(c->fd, calls->message, sizeof(struct keeper_head) + KEEPER_MESSAGE, MSG_TRUNC);

        if (len == -1 && (errno == EAGAIN || errno == EINTR))
            break;
        if (len <= 0 || (size_t)len > sizeof(struct keeper_head) + KEEPER_MESSAGE)
            connection_end(c);
        else
            take_message(c, calls->message, (size_t)len);
        if (len > 0 && (size_t)len <= sizeof(struct keeper_head) + KEEPER_MESSAGE)
            OPENSSL_cleanse(calls->message, (size_t)len); /* an admin's call, as above */
    }
    if (c->fd != -1)
        watch(c, EPOLL_CTL_MOD);
}

static void on_event(struct calls *calls, const struct epoll_event *event)
{
    struct connection *c = event->data.ptr;

    if (c == NULL) {
        accept_all(calls);
        return;
    }
    if (c->fd != -1 && (event->events & EPOLLOUT) != 0) {
        send_waiting(c);
        if (c->fd != -1)
            watch(c, EPOLL_CTL_MOD);
        leave_if_done(c);
    }
    if (c->fd != -1 && (event->events & EPOLLIN) != 0)
        read_messages(c);
    else if (c->fd != -1 && (event->events & (EPOLLHUP | EPOLLERR)) != 0)
        connection_end(c);
}

static void on_ready(void *arg)
{
    struct epoll_event events[EVENTS];
    struct calls *calls = arg;
    int num = epoll_wait(calls->epoll_fd, events, EVENTS, 0);

    for (int i = 0; i < num; i++)
        on_event(calls, &events[i]);
    sweep(calls);
}

/* --- for all --- */

static void serve_echo(void *arg, struct call *call)
{
    (void)arg;
    call_answer(&call, 0, call->bytes, call->len);
}

void calls_serve(struct calls *calls, enum keeper_kind kind, calls_cb cb, void *arg)
{
    assert((unsigned)kind < KEEPER_KINDS);
    calls->serves[kind].cb = cb;
    calls->serves[kind].arg = arg;
}

static int open_set(struct calls *calls)
{
    struct epoll_event event = {.events = EPOLLIN};

    calls->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (calls->epoll_fd == -1)
        return ERR_IO;
    if (epoll_ctl(calls->epoll_fd, EPOLL_CTL_ADD, calls->door->listen_fd, &event) == -1) {
        close(calls->epoll_fd);
        return ERR_IO;
    }
    if (loop_watch(calls->loop, calls->epoll_fd, on_ready, calls) != 0) {
        close(calls->epoll_fd);
        return ERR_NOMEM;
    }
    return 0;
}

int calls_new(struct loop *loop, const struct keeper_door *door, struct calls **out)
{
    struct calls *calls = calloc(1, sizeof(*calls));
    int ret;

    if (calls == NULL)
        return ERR_NOMEM;
    calls->loop = loop;
    calls->door = door;
    LIST_INIT(&calls->live);
    LIST_INIT(&calls->gone);
    calls->message = malloc(sizeof(struct keeper_head) + KEEPER_MESSAGE);
    ret = calls->message != NULL ? open_set(calls) : ERR_NOMEM;
    if (ret != 0) {
        free(calls->message);
        free(calls);
        return ret;
    }
    calls_serve(calls, KEEPER_ECHO, serve_echo, NULL);
    *out = calls;
    return 0;
}

static void close_door(struct calls *calls)
{
    if (!calls->draining)
        (void)epoll_ctl(calls->epoll_fd, EPOLL_CTL_DEL, calls->door->listen_fd, NULL);
    calls->draining = true;
}

/* The loop goes on watching the set, in which there is nothing any more. */
void calls_free(struct calls *calls)
{
    if (calls == NULL)
        return;
    close_door(calls);
    while (!LIST_EMPTY(&calls->live))
        connection_end(LIST_FIRST(&calls->live));
    sweep(calls);
    for (struct connection *c; (c = LIST_FIRST(&calls->gone)) != NULL;) {
        LIST_REMOVE(c, link);
        c->calls = NULL;
    }
    assert(calls->num_live == 0 && calls->num_calls == 0);
    free(calls->message);
    free(calls);
}

void calls_drain(struct calls *calls)
{
    struct connection *c = LIST_FIRST(&calls->live);

    if (calls->draining)
        return;
    close_door(calls);
    for (struct connection *next; c != NULL; c = next) {
        next = LIST_NEXT(c, link);
        answer(c, 0, KEEPER_GOING, NULL, 0);
    }
}

bool calls_are_done(const struct calls *calls)
{
    return calls->num_live == 0;
}
