/* See http.h. A request passes head, (fault), body, (fault), execution, (fault), answer; a hold
 * suspends it between two of them. Edge-triggered: nothing is re-armed, conn_run() goes on until it
 * would block. */
#include "conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "journal.h"

#define HEAD_MAX   (256 * 1024)
#define READ_SIZE  (256 * 1024)
#define TURN_BYTES (4 * 1024 * 1024) /* a busy connection lets the others have their turn */
#define TURN_STEPS 64
#define LINGER_MS  2000
#define EVENTS     256

struct listener {
    struct account *acc;
    int fd;
};

struct server {
    struct sim *sim;
    int ep;
    struct listener **listeners; /* owned */
    size_t n_listeners;
    struct conn *conns; /* all */
    struct conn *again; /* have more to do without an event */
    struct conn *dead;  /* freed after the turn (linked by `again`) */
    struct conn **heap; /* by wake_ms */
    size_t n_heap, cap_heap;
    uint64_t n_conns;
    char *buf; /* owned; READ_SIZE */
};

/* Timers: a binary heap of connections. */

static void heap_put(struct server *srv, size_t i, struct conn *c)
{
    srv->heap[i] = c;
    c->heap_at = i;
}

static void heap_up(struct server *srv, size_t i)
{
    struct conn *c = srv->heap[i];

    while (i > 0 && srv->heap[(i - 1) / 2]->wake_ms > c->wake_ms) {
        heap_put(srv, i, srv->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(srv, i, c);
}

static void heap_down(struct server *srv, size_t i)
{
    struct conn *c = srv->heap[i];

    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= srv->n_heap)
            break;
        if (k + 1 < srv->n_heap && srv->heap[k + 1]->wake_ms < srv->heap[k]->wake_ms)
            k++;
        if (srv->heap[k]->wake_ms >= c->wake_ms)
            break;
        heap_put(srv, i, srv->heap[k]);
        i = k;
    }
    heap_put(srv, i, c);
}

static void timer_cancel(struct conn *c)
{
    struct server *srv = c->srv;

    if (c->wake_ms == -1)
        return;
    size_t i = c->heap_at;
    c->wake_ms = -1;
    struct conn *last = srv->heap[--srv->n_heap];
    if (last == c)
        return;
    heap_put(srv, i, last);
    heap_up(srv, i);
    heap_down(srv, last->heap_at);
}

static void timer_start(struct conn *c, int64_t delay_ms)
{
    struct server *srv = c->srv;

    timer_cancel(c);
    if (srv->n_heap == srv->cap_heap) {
        srv->cap_heap = srv->cap_heap == 0 ? 64 : srv->cap_heap * 2;
        srv->heap = sim_realloc(srv->heap, srv->cap_heap * sizeof(*srv->heap));
    }
    c->wake_ms = srv->sim->mono_ms + delay_ms;
    heap_put(srv, srv->n_heap++, c);
    heap_up(srv, c->heap_at);
}

/* Connections. */

static void run_again(struct conn *c)
{
    if (c->in_again || c->dead)
        return;
    c->in_again = true;
    c->again = c->srv->again;
    c->srv->again = c;
}

static void end_request(struct conn *c, int status)
{
    if (c->began && c->acc->journal != NULL) {
        journal_end(c->acc->journal, &c->req, status);
        c->began = false;
        control_notify(c->srv->sim);
    }
    c->began = false;
    fault_release(c->fault);
    c->fault = NULL;
    blob_free(&c->req.body);
    if (c->has_file)
        blob_free(&c->file);
    c->has_file = false;
}

/* Close now; `reset` sends RST instead of FIN. */
static void conn_close(struct conn *c, bool reset)
{
    if (c->dead)
        return;
    c->dead = true;
    timer_cancel(c);
    if (c->parked)
        control_gone(c);
    c->parked = false;
    if (reset) {
        struct linger lg = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg));
    } else if (c->ssl != NULL) {
        (void)SSL_shutdown(c->ssl);
    }
    close(c->fd);
    end_request(c, 0);
    if (!c->in_again) {
        c->again = c->srv->dead;
        c->srv->dead = c;
    }
}

static void conn_free(struct conn *c)
{
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        c->srv->conns = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    SSL_free(c->ssl);
    strbuf_deinit(&c->in);
    strbuf_deinit(&c->out);
    strbuf_deinit(&c->req.head);
    reply_reset(&c->rep);
    strbuf_deinit(&c->rep.headers);
    strbuf_deinit(&c->rep.body);
    free(c);
}

static void hold(struct conn *c, int64_t delay_ms, enum resume then)
{
    c->state = CONN_HOLD;
    c->resume = then;
    if (delay_ms >= 0)
        timer_start(c, delay_ms);
}

/* Whether a fault ended the connection or holds it here. */
static bool fault_at(struct conn *c, enum phase phase, enum resume then)
{
    struct fault *f = c->fault;

    if (f == NULL)
        return false;
    if (f->close == phase || f->reset == phase) {
        conn_close(c, f->reset == phase);
        return true;
    }
    if (f->hang == phase) {
        hold(c, f->hang_ms, then);
        return true;
    }
    return false;
}

static void start_writing(struct conn *c)
{
    wire_compose(c);
    c->state = CONN_WRITE;
}

static void answer(struct conn *c)
{
    int64_t delay_ms = c->rep.delay_ms;

    if (c->fault != NULL)
        delay_ms += c->fault->delay_ms;
    if (fault_at(c, PHASE_ANSWER, RESUME_WRITE))
        return;
    if (delay_ms > 0) {
        hold(c, delay_ms, RESUME_WRITE);
        return;
    }
    start_writing(c);
}

/* The scripted answer instead of an execution. */
static void answer_fault(struct conn *c)
{
    const struct fault *f = c->fault;
    struct reply *rep = &c->rep;

    reply_reset(rep);
    dispatch_headers(c->acc, rep);
    if (f->body == NULL) {
        dispatch_error(c->acc, &c->req, f->status, rep);
        if (f->has_retry) { /* the script decides about the wait, alone */
            strbuf_reset(&rep->headers);
            dispatch_headers(c->acc, rep);
        }
    }
    rep->status = f->status;
    if (f->body != NULL) {
        strbuf_reset(&rep->body);
        strbuf_adds(&rep->body, f->body);
        rep->type = f->body_type;
    }
    if (f->headers != NULL)
        strbuf_adds(&rep->headers, f->headers);
    if (f->has_type)
        rep->type = NULL;
    answer(c);
}

static void execute(struct conn *c)
{
    bool scripted = c->fault != NULL && c->fault->status != 0;

    if (!scripted || c->fault->late) {
        reply_reset(&c->rep);
        dispatch(c, c->acc, &c->req, &c->rep);
    }
    if (scripted) {
        answer_fault(c);
        return;
    }
    if (c->rep.park) {
        c->parked = true;
        hold(c, -1, RESUME_ANSWER);
        return;
    }
    answer(c);
}

void http_resume(struct conn *c, const struct reply *rep)
{
    c->parked = false;
    c->rep.park = false;
    c->rep.status = rep->status;
    strbuf_reset(&c->rep.body);
    strbuf_add(&c->rep.body, strbuf_str(&rep->body), rep->body.len);
    start_writing(c);
    run_again(c);
}

/* Refuse what cannot be parsed. */
static void refuse(struct conn *c, int status)
{
    end_request(c, status);
    c->close_after = true;
    reply_reset(&c->rep);
    dispatch_headers(c->acc, &c->rep);
    dispatch_error(c->acc, NULL, status, &c->rep);
    c->req.minor = 1;
    c->req.method_len = 0;
    c->req.n_headers = 0;
    start_writing(c);
}

static void send_continue(struct conn *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (c->ssl != NULL)
        (void)SSL_write(c->ssl, text, sizeof(text) - 1);
    else
        (void)!send(c->fd, text, sizeof(text) - 1, MSG_NOSIGNAL);
}

static void begin_body(struct conn *c)
{
    bool empty = !c->req.chunked && c->req.content_length <= 0;

    if (empty) {
        if (!fault_at(c, PHASE_BODY, RESUME_EXECUTE))
            execute(c);
        return;
    }
    c->body_left = c->req.content_length;
    c->chunk = CHUNK_SIZE;
    c->chunk_line_len = 0;
    c->state = CONN_BODY;
    if (c->req.expects_continue && c->in_off == c->in.len)
        send_continue(c);
}

static void begin_request(struct conn *c)
{
    struct sim *sim = c->srv->sim;

    c->req.conn_id = c->id;
    c->req.body = (struct blob)BLOB_INIT;
    c->req.body_bytes = 0;
    c->close_after = !c->req.keep_alive;
    c->body_fault_done = false;
    if (c->acc->journal != NULL) {
        journal_begin(c->acc->journal, &c->req, sim->n_requests++);
        c->began = true;
        c->fault = faults_take(sim, c->acc, &c->req);
        control_notify(sim);
    }
    if (fault_at(c, PHASE_HEAD, RESUME_BODY))
        return;
    if (c->fault != NULL && c->fault->status != 0 && c->fault->early) {
        c->close_after = true;
        answer_fault(c);
        return;
    }
    begin_body(c);
}

/* Returns whether a head was complete. */
static bool take_head(struct conn *c)
{
    while (c->in_off < c->in.len &&
           (c->in.data[c->in_off] == '\r' || c->in.data[c->in_off] == '\n'))
        c->in_off++; /* RFC 9112, section 2.2: empty lines before a request */
    const char *p = c->in.data + c->in_off;
    size_t left = c->in.len - c->in_off;
    const char *end = left == 0 ? NULL : memmem(p, left, "\r\n\r\n", 4);

    if (end == NULL) {
        if (left > HEAD_MAX)
            refuse(c, 431);
        return left > HEAD_MAX;
    }
    size_t len = (size_t)(end - p);
    strbuf_reset(&c->req.head);
    strbuf_add(&c->req.head, p, len);
    c->in_off += len + 4;
    int rc = request_parse(&c->req);
    if (rc != 0)
        refuse(c, rc);
    else
        begin_request(c);
    return true;
}

static bool middle_of_body(const struct conn *c)
{
    if (c->req.chunked)
        return c->req.body.len > 0;
    return c->req.body.len * 2 >= c->req.content_length;
}

/* Returns bytes used. */
static size_t take_body(struct conn *c, const char *p, size_t len)
{
    bool done = false;
    ssize_t n = wire_body(c, p, len, &done);

    if (n < 0) {
        refuse(c, n == -1 ? 400 : 500);
        return len;
    }
    if (c->fault != NULL && !c->body_fault_done && middle_of_body(c)) {
        c->body_fault_done = true;
        if (fault_at(c, PHASE_BODY, done ? RESUME_EXECUTE : RESUME_READ))
            return (size_t)n;
    }
    if (done)
        execute(c);
    return (size_t)n;
}

static void compact(struct conn *c)
{
    if (c->in_off == c->in.len) {
        strbuf_reset(&c->in);
        c->in_off = 0;
    } else if (c->in_off > 65536) {
        memmove(c->in.data, c->in.data + c->in_off, c->in.len - c->in_off);
        c->in.len -= c->in_off;
        c->in.data[c->in.len] = '\0';
        c->in_off = 0;
    }
}

/* Use what is buffered. Returns whether something changed. */
static bool consume(struct conn *c)
{
    if (c->in_off == c->in.len)
        return false;
    if (c->state == CONN_HEAD)
        return take_head(c);
    if (c->state == CONN_BODY) {
        c->in_off += take_body(c, c->in.data + c->in_off, c->in.len - c->in_off);
        return true;
    }
    return false;
}

/* Returns whether it is worth going on. */
static bool receive(struct conn *c)
{
    char *buf = c->srv->buf;
    ssize_t n = wire_read(c, buf, READ_SIZE);

    if (n == -1 || (n > 0 && n < READ_SIZE && c->ssl == NULL && !c->hangup))
        c->readable = false;
    if (n == -1)
        return false;
    if (n <= 0) {
        conn_close(c, false);
        return false;
    }
    if (c->state == CONN_LINGER)
        return true;
    size_t used = 0;
    if (c->state == CONN_BODY && c->in_off == c->in.len)
        used = take_body(c, buf, (size_t)n);
    if (!c->dead && used < (size_t)n)
        strbuf_add(&c->in, buf + used, (size_t)n - used);
    return !c->dead;
}

static void finish_answer(struct conn *c)
{
    end_request(c, c->rep.status);
    if (!c->close_after) {
        c->state = CONN_HEAD;
        return;
    }
    if (c->ssl != NULL)
        (void)SSL_shutdown(c->ssl);
    shutdown(c->fd, SHUT_WR);
    c->state = CONN_LINGER;
    timer_start(c, LINGER_MS);
}

/* Returns whether it is worth going on. */
static bool transmit(struct conn *c)
{
    const struct fault *f = c->fault;
    bool trickle = f != NULL && f->trickle_bytes > 0;
    int64_t budget = TURN_BYTES;

    if (trickle) {
        budget = f->trickle_bytes;
        if (!f->trickle_head && c->out_off < c->head_len)
            budget = (int64_t)(c->head_len - c->out_off);
    }
    enum wire rc = wire_write(c, budget);
    if (rc == WIRE_BLOCKED) {
        c->writable = false;
        return false;
    }
    if (rc == WIRE_BROKEN) {
        conn_close(c, false);
        return false;
    }
    if (rc == WIRE_DONE) {
        finish_answer(c);
        return true;
    }
    if (trickle)
        hold(c, f->trickle_ms, RESUME_NONE);
    else
        run_again(c);
    return false;
}

/* A connection that is held for ever is over when its peer has gone; one with a deadline may only
 * be half closed. */
static void watch_peer(struct conn *c)
{
    if (c->hangup && c->wake_ms == -1)
        conn_close(c, false);
}

static void conn_run(struct conn *c)
{
    for (int step = 0; !c->dead; step++) {
        if (step == TURN_STEPS) {
            run_again(c);
            return;
        }
        if (c->state == CONN_HOLD) {
            watch_peer(c);
            return;
        }
        if (c->state == CONN_WRITE) {
            if (!c->writable || !transmit(c))
                return;
            continue;
        }
        if (consume(c)) {
            if (!c->dead)
                compact(c);
            continue;
        }
        if (!c->readable || !receive(c))
            return;
    }
}

static void forget_accept_fault(struct conn *c)
{
    fault_release(c->fault);
    c->fault = NULL;
    c->state = CONN_HEAD;
}

static void wake(struct conn *c)
{
    timer_cancel(c);
    if (c->state == CONN_LINGER) {
        conn_close(c, false);
        return;
    }
    enum resume then = c->resume;
    c->resume = RESUME_NONE;
    if (then == RESUME_BODY)
        begin_body(c);
    else if (then == RESUME_EXECUTE)
        execute(c);
    else if (then == RESUME_WRITE)
        start_writing(c);
    else if (then == RESUME_READ)
        c->state = CONN_BODY;
    else if (then == RESUME_ACCEPT)
        forget_accept_fault(c);
    else
        c->state = CONN_WRITE;
    run_again(c);
}

static void conn_new(struct server *srv, struct account *acc, int fd)
{
    struct conn *c = sim_alloc(sizeof(*c));
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    int one = 1;

    c->srv = srv;
    c->acc = acc;
    c->fd = fd;
    c->id = ++srv->n_conns;
    c->wake_ms = -1;
    c->req.body = (struct blob)BLOB_INIT;
    c->file = (struct blob)BLOB_INIT;
    c->rep.file = (struct blob)BLOB_INIT;
    c->writable = true;
    acc->connections++;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->next = srv->conns;
    if (srv->conns != NULL)
        srv->conns->prev = c;
    srv->conns = c;
    if (acc->tls != NULL) {
        c->ssl = SSL_new(acc->tls);
        if (c->ssl == NULL || SSL_set_fd(c->ssl, fd) != 1) {
            conn_close(c, true);
            return;
        }
        SSL_set_accept_state(c->ssl);
    }
    if (epoll_ctl(srv->ep, EPOLL_CTL_ADD, fd, &ev) == -1) {
        conn_close(c, true);
        return;
    }
    c->fault = acc->journal == NULL ? NULL : faults_take(srv->sim, acc, NULL);
    if (c->fault != NULL && !fault_at(c, PHASE_ACCEPT, RESUME_ACCEPT))
        forget_accept_fault(c);
}

static void on_accept(struct server *srv, struct listener *l)
{
    for (int i = 0; i < EVENTS; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd == -1)
            return;
        conn_new(srv, l->acc, fd);
    }
}

int http_listen(struct server *srv, struct account *acc)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)acc->port)};
    socklen_t len = sizeof(sa);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd == -1)
        return -1;
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == -1 || listen(fd, 4096) == -1 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) == -1)
        goto fail;
    struct listener *l = sim_alloc(sizeof(*l));
    l->acc = acc;
    l->fd = fd;
    srv->listeners = sim_realloc(srv->listeners, (srv->n_listeners + 1) * sizeof(*srv->listeners));
    srv->listeners[srv->n_listeners++] = l;
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (uint64_t)(uintptr_t)l | 1};
    if (epoll_ctl(srv->ep, EPOLL_CTL_ADD, fd, &ev) == -1)
        return -1;
    acc->fd = fd;
    acc->port = ntohs(sa.sin_port);
    return 0;
fail:
    close(fd);
    return -1;
}

struct server *http_new(struct sim *sim)
{
    struct server *srv = sim_alloc(sizeof(*srv));

    srv->sim = sim;
    srv->buf = sim_alloc(READ_SIZE);
    srv->ep = epoll_create1(EPOLL_CLOEXEC);
    return srv;
}

void http_close_idle(struct conn *c, const struct account *acc)
{
    for (struct conn *o = c->srv->conns; o != NULL; o = o->next) {
        bool ours = o->acc->journal != NULL && (acc == NULL || o->acc == acc);
        if (ours && o->state == CONN_HEAD && o->in_off == o->in.len)
            conn_close(o, false);
    }
}

static bool held_by_fault(const struct conn *c)
{
    return c->state == CONN_HOLD && c->fault != NULL && !c->dead;
}

unsigned http_release(struct conn *c, int64_t after_ms)
{
    unsigned released = 0;

    for (struct conn *o = c->srv->conns; o != NULL; o = o->next) {
        if (!held_by_fault(o) || o->wake_ms == -1)
            continue;
        timer_start(o, after_ms);
        released++;
    }
    return released;
}

void http_drop_held(struct conn *c)
{
    for (struct conn *o = c->srv->conns; o != NULL; o = o->next) {
        if (held_by_fault(o))
            conn_close(o, false);
    }
}

struct sim *http_sim(struct conn *c)
{
    return c->srv->sim;
}

static void on_event(struct server *srv, const struct epoll_event *ev)
{
    if ((ev->data.u64 & 1) != 0) { /* pointers are even: the mark of a listener */
        on_accept(srv, (struct listener *)(uintptr_t)(ev->data.u64 & ~(uint64_t)1));
        return;
    }
    struct conn *c = ev->data.ptr;
    if (c->dead)
        return;
    if ((ev->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        c->hangup = true;
        c->readable = true;
    }
    if ((ev->events & EPOLLIN) != 0)
        c->readable = true;
    if ((ev->events & EPOLLOUT) != 0)
        c->writable = true;
    if (c->ssl != NULL)
        c->readable = c->writable = true;
    if ((ev->events & (EPOLLHUP | EPOLLERR)) != 0 && c->state != CONN_HEAD) {
        conn_close(c, false);
        return;
    }
    conn_run(c);
}

static void run_ready(struct server *srv)
{
    struct conn *list = srv->again;

    srv->again = NULL;
    while (list != NULL) {
        struct conn *c = list;
        list = c->again;
        c->in_again = false;
        if (c->dead) {
            c->again = srv->dead;
            srv->dead = c;
        } else {
            conn_run(c);
        }
    }
}

static void run_timers(struct server *srv)
{
    while (srv->n_heap > 0 && srv->heap[0]->wake_ms <= srv->sim->mono_ms)
        wake(srv->heap[0]);
}

static void bury(struct server *srv)
{
    while (srv->dead != NULL) {
        struct conn *c = srv->dead;
        srv->dead = c->again;
        conn_free(c);
    }
}

static int next_timeout(struct server *srv, bool busy)
{
    int64_t timeout = control_deadline(srv->sim);

    if (busy || srv->again != NULL)
        return 0;
    if (srv->n_heap > 0) {
        int64_t left = srv->heap[0]->wake_ms - srv->sim->mono_ms;
        left = left < 0 ? 0 : left;
        timeout = timeout == -1 || left < timeout ? left : timeout;
    }
    return timeout == -1 || timeout > 1000 ? 1000 : (int)timeout;
}

void http_run(struct server *srv, volatile int *stop)
{
    struct epoll_event events[EVENTS];
    bool busy = false;
    sigset_t none;

    sigemptyset(&none);
    while (!*stop) {
        int n = epoll_pwait(srv->ep, events, EVENTS, next_timeout(srv, busy), &none);
        sim_tick(srv->sim);
        for (int i = 0; i < n; i++)
            on_event(srv, &events[i]);
        run_timers(srv);
        run_ready(srv);
        busy = engine_idle(srv->sim);
        bury(srv);
    }
}

void http_free(struct server *srv)
{
    while (srv->conns != NULL) {
        struct conn *c = srv->conns;
        conn_close(c, false);
        conn_free(c);
    }
    for (size_t i = 0; i < srv->n_listeners; i++) {
        close(srv->listeners[i]->fd);
        free(srv->listeners[i]);
    }
    free(srv->listeners);
    free(srv->heap);
    free(srv->buf);
    close(srv->ep);
    free(srv);
}
