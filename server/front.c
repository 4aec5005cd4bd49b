/* The front door over libh2o's own accept and buffered request entities. */
#include "server/front.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"

#define ACCEPTS_PER_WAKE 4

/* A body that libh2o has collected already: handed out in slices, a turn each. */
struct entity_body {
    struct body body; /* first: a source is found from it */
    struct loop *loop;
    struct loop_timer timer;
    h2o_iovec_t entity; /* borrowed; the request's */
    size_t at;
};

struct front {
    struct loop *loop;
    h2o_context_t *ctx;
    const struct inherit *inherit;
    h2o_accept_ctx_t accept_ctx;
    h2o_socket_t *listener;
    bool draining;
};

static struct front *only; /* one per process: front_body() is given nothing but the request */

/* --- bodies --- */

static void schedule(struct entity_body *e)
{
    if (loop_timer_start(e->loop, &e->timer, 0) != 0)
        body_fail(&e->body, BODY_CLIENT_GONE);
}

static void on_turn(struct loop_timer *timer)
{
    struct entity_body *e = timer->arg;
    size_t len = e->entity.len - e->at;

    if (e->entity.len > e->body.max_bytes) {
        body_fail(&e->body, BODY_TOO_LARGE);
        return;
    }
    if (len == 0) {
        body_end(&e->body);
        return;
    }
    if (len > BODY_SLICE)
        len = BODY_SLICE;
    e->at += len;
    if (body_deliver(&e->body, e->entity.base + e->at - len, len))
        schedule(e);
}

static void entity_go(struct body *body)
{
    schedule((struct entity_body *)body);
}

static void entity_stop(struct body *body)
{
    struct entity_body *e = (struct entity_body *)body;

    loop_timer_stop(e->loop, &e->timer);
}

static const struct body_source entity_source = {entity_go, entity_stop, entity_go, entity_stop};

static void on_request_gone(void *p)
{
    struct entity_body *e = p;

    loop_timer_stop(e->loop, &e->timer);
    body_fail(&e->body, BODY_CLIENT_GONE);
}

bool front_has_body(h2o_req_t *req)
{
    return req->entity.base != NULL && req->entity.len > 0;
}

struct body *front_body(h2o_req_t *req)
{
    struct entity_body *e;

    if (!front_has_body(req))
        return NULL;
    e = h2o_mem_alloc_shared(&req->pool, sizeof(*e), on_request_gone);
    memset(e, 0, sizeof(*e));
    e->body.source = &entity_source;
    e->body.length = (int64_t)req->entity.len;
    e->loop = only->loop;
    e->entity = req->entity;
    e->timer.cb = on_turn;
    e->timer.arg = e;
    return &e->body;
}

/* --- connections --- */

static void on_accept(h2o_socket_t *listener, const char *err)
{
    struct front *front = listener->data;

    if (err != NULL || front->draining)
        return;
    for (int i = 0; i < ACCEPTS_PER_WAKE; i++) {
        h2o_socket_t *sock;

        if (front_connections(front) >= front->inherit->config->limits.max_connections)
            return;
        sock = h2o_evloop_socket_accept(listener);
        if (sock == NULL)
            return;
        h2o_accept(&front->accept_ctx, sock);
    }
}

int front_new(struct loop *loop, h2o_context_t *ctx, const struct inherit *inherit, uint32_t slot, struct front **out)
{
    struct front *front = calloc(1, sizeof(*front));

    (void)slot;
    if (front == NULL)
        return ERR_NOMEM;
    front->loop = loop;
    front->ctx = ctx;
    front->inherit = inherit;
    front->accept_ctx.ctx = ctx;
    front->accept_ctx.hosts = ctx->globalconf->hosts;
    front->accept_ctx.ssl_ctx = inherit->tls;
    ctx->globalconf->http1.upgrade_to_http2 = 1;
    only = front;
    *out = front;
    return 0;
}

void front_start(struct front *front)
{
    front->listener = h2o_evloop_socket_create(front->ctx->loop, front->inherit->listen_fd, H2O_SOCKET_FLAG_DONT_READ);
    front->listener->data = front;
    h2o_socket_read_start(front->listener, on_accept);
}

void front_drain(struct front *front)
{
    front->draining = true;
    h2o_socket_read_stop(front->listener);
    h2o_context_request_shutdown(front->ctx);
}

static int count_request(h2o_req_t *req, void *arg)
{
    if (req->version != 0) /* 0: an idle HTTP/1 connection, waiting for a request */
        ++*(size_t *)arg;
    return 0;
}

/* Idle keep-alive connections do not count: nothing is lost when they close. */
size_t front_connections(const struct front *front)
{
    h2o_globalconf_t *conf = front->ctx->globalconf;
    size_t n = 0;

    conf->http1.callbacks.foreach_request(front->ctx, count_request, &n);
    conf->http2.callbacks.foreach_request(front->ctx, count_request, &n);
    return n;
}
