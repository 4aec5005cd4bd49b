/* front.h over the guard. */
#include "front/front.h"

#include <assert.h>
#include <h2o.h>

#include "common/log.h"
#include "guard.h"

int front_new(struct loop *loop, h2o_context_t *ctx, const struct inherited *inherited,
              uint32_t slot, enum front_door door, struct front **out)
{
    static bool tested;
    struct config_limits limits = inherited->config->limits;
    struct worker_slot *own = inherited->shared != NULL ? &inherited->shared->slots[slot] : NULL;
    int err;

    *out = NULL;
    if (!tested && (err = guard_selftest()) != 0) {
        if (err == ERR_BAD_STATE)
            log_error("front door: this libh2o does not fit; the program was built for %s of 2.2.5",
                      "libh2o-evloop0.13");
        return err;
    }
    tested = true;
    if (door == FRONT_CLIENTS) {
        err = guard_new(loop, ctx, &limits, inherited->tls, own, inherited->listen_fd, out);
        if (err == 0 && own != NULL)
            (*out)->share = (struct accept_share){
                .slots = inherited->shared->slots, .num_slots = WORKER_ROWS, .own = own};
        return err;
    }
    limits.max_connections = FRONT_HEALTH_PLACES;
    err = guard_new(loop, ctx, &limits, inherited->tls, NULL, inherited->health_fd, out);
    if (err == 0)
        (*out)->is_health = true;
    return err;
}

bool front_is_health(h2o_req_t *req)
{
    return guard_conn_of(req)->front->is_health;
}

bool front_is_spare(h2o_req_t *req)
{
    const struct conn *conn = guard_conn_of(req);

    return conn->spare && conn->front->num_conns > conn->front->max_conns;
}

void front_trust(h2o_req_t *req)
{
    if (!front_is_spare(req))
        guard_conn_of(req)->trusted = true;
}

static void count_share(struct front_load *load, struct share *share)
{
    assert(!load->mixed || share == NULL); /* one that shows several keys is nobody's */
    if (load->share != NULL)
        share_sub(load->share, SHARE_CONNECTIONS, 1);
    share_put(load->share);
    load->share = share_use(share);
    share_add(share, SHARE_CONNECTIONS, 1);
}

bool front_share(h2o_req_t *req, struct share *share)
{
    struct conn *conn = guard_conn_of(req);
    struct front_load *load = &conn->load;

    if (load->mixed || load->share == share)
        return true;
    if (load->share != NULL) {
        load->mixed = true;
        count_share(load, NULL);
        return true;
    }
    if (!share_may(share, SHARE_CONNECTIONS, 1, conn->front->num_conns - 1, conn->front->max_conns))
        return false;
    count_share(load, share);
    return true;
}

struct body *front_body(h2o_req_t *req)
{
    struct conn *conn = guard_conn_of(req);

    return conn->phase == CONN_H2 ? h2_body(conn, req) : h1_body(conn);
}

struct front_load *front_load(h2o_req_t *req)
{
    return &guard_conn_of(req)->load;
}

const char *front_address(h2o_req_t *req)
{
    return guard_conn_of(req)->address;
}

bool front_is_loopback(h2o_req_t *req)
{
    return guard_conn_of(req)->loopback;
}

bool front_has_body(h2o_req_t *req)
{
    return front_body(req) != NULL;
}
