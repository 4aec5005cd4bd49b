/* One connection of the lean transport: a socket that curl connected, with TLS on it or not, in the
 * lean lane's epoll as long as it is watched. */
#include "lean.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Make room for a descriptor. */
static int reserve(struct lean *lean, int fd)
{
    size_t num = lean->num_conns, more = num * 2 > (size_t)fd ? num * 2 : (size_t)fd + 64;
    struct lean_conn **grown;

    if ((size_t)fd < num)
        return 0;
    grown = reallocarray(lean->conns, more, sizeof(struct lean_conn *));
    if (grown == NULL)
        return ERR_NOMEM;
    memset(grown + num, 0, (more - num) * sizeof(*grown));
    lean->conns = grown;
    lean->num_conns = more;
    return 0;
}

struct lean_conn *conn_new(struct lean *lean, struct lean_origin *origin, int fd)
{
    struct lean_conn *conn = reserve(lean, fd) == 0 ? calloc(1, sizeof(*conn)) : NULL;

    if (conn == NULL) {
        close(fd);
        return NULL;
    }
    conn->lean = lean;
    conn->origin = origin;
    conn->fd = fd;
    conn->made_ms = loop_now_ms(lean->up->loop);
    origin->users++;
    lean->conns[fd] = conn;
    return conn;
}

void conn_free(struct lean_conn *conn)
{
    struct lean *lean = conn->lean;

    lean->conns[conn->fd] = NULL;
    if (conn->tls != NULL && conn->ready)
        (void)SSL_shutdown(conn->tls); /* a courtesy: nobody waits for the answer */
    SSL_free(conn->tls);
    close(conn->fd); /* the epoll forgets it */
    pool_release(conn->origin);
    free(conn);
}

int conn_watch(struct lean_conn *conn, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = conn->fd};
    int epoll_fd = conn->lean->up->lanes[LANE_LEAN].epoll_fd, what = EPOLL_CTL_MOD;

    if (events == conn->watched)
        return 0;
    if (events == 0)
        what = EPOLL_CTL_DEL; /* what is watched for nothing still tells of an error, each turn */
    else if (conn->watched == 0)
        what = EPOLL_CTL_ADD;
    if (epoll_ctl(epoll_fd, what, conn->fd, &event) == -1)
        return ERR_NOMEM;
    conn->watched = events;
    return 0;
}

static int judge(char *error, size_t size)
{
    char text[64];

    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return CONN_AGAIN;
    snprintf(error, size, "%s", strerror_r(errno, text, sizeof(text)));
    return CONN_BROKEN;
}

ssize_t conn_read(struct lean_conn *conn, char *bytes, size_t size, char *error, size_t error_size)
{
    size_t got = 0;
    ssize_t n;

    if (conn->tls == NULL) {
        n = recv(conn->fd, bytes, size, 0);
        return n >= 0 ? n : judge(error, error_size);
    }
    ERR_clear_error();
    if (SSL_read_ex(conn->tls, bytes, size, &got) == 1)
        return (ssize_t)got;
    return lean_tls_judge(conn, 0, error, error_size);
}

ssize_t conn_write(struct lean_conn *conn, const char *bytes, size_t len, char *error,
                   size_t error_size)
{
    size_t written = 0;
    ssize_t n;

    if (conn->tls == NULL) {
        n = send(conn->fd, bytes, len, MSG_NOSIGNAL);
        return n >= 0 ? n : judge(error, error_size);
    }
    ERR_clear_error();
    if (SSL_write_ex(conn->tls, bytes, len, &written) == 1)
        return (ssize_t)written;
    n = lean_tls_judge(conn, 0, error, error_size);
    return n != 0 ? n : CONN_BROKEN;
}

bool conn_has_pending(const struct lean_conn *conn)
{
    return conn->tls != NULL && SSL_has_pending(conn->tls) == 1;
}
