/* Where the lean transport's connections lead, and those that wait for a call. A key goes to the
 * origin of its URL and nowhere else: a connection belongs to one origin, spelled as it is in the
 * URL, and is never handed to another one. Which URL may be asked says origin_check(), as for curl. */
#include "lean.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/log.h"

#define MAX_IDLE           256 /* connections, as many as curl keeps */
#define MAX_IDLE_OF_ORIGIN 128
#define MAX_IDLE_MS        55000   /* just below the minute after which common front ends close */
#define SURE_IDLE_MS       1000    /* no server that is known closes as soon as that */
#define MAX_LIFETIME_MS    1800000 /* so that connections follow DNS */
#define MAX_KNOWN          256     /* origins */

/* --- origins --- */

static uint32_t hash_of(const char *text, size_t len)
{
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash;
}

/* A port as it must be written: 1 to 65535, no leading zero. @return 0: it is not */
static unsigned parse_port(const char *text, size_t len)
{
    unsigned port = 0;

    if (len == 0 || len > 5 || text[0] == '0')
        return 0;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return 0;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port <= 65535 ? port : 0;
}

/* A name that every reader takes for the same: no dot at its end, and where its last label begins
 * with a digit, an IPv4 address in four parts. */
static bool is_plain_host(const char *host, size_t len, bool *is_address)
{
    char copy[256], *last;
    struct in_addr v4;

    if (len == 0 || len >= sizeof(copy))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)host[i]) && strchr("-._", host[i]) == NULL)
            return false;
    memcpy(copy, host, len);
    copy[len] = '\0';
    last = strrchr(copy, '.');
    last = last != NULL ? last + 1 : copy;
    if (*last == '\0')
        return false;
    *is_address = isdigit((unsigned char)*last) != 0;
    return !*is_address || inet_pton(AF_INET, copy, &v4) == 1;
}

static bool is_plain_v6(const char *host, size_t len)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr v6;

    if (len >= sizeof(copy))
        return false;
    memcpy(copy, host, len);
    copy[len] = '\0';
    return inet_pton(AF_INET6, copy, &v6) == 1;
}

struct authority {
    const char *name;
    size_t name_len; /* without brackets */
    size_t host_len; /* with them, from the authority's begin */
    unsigned port;
    bool is_address;
};

static bool split_authority(const char *text, size_t len, unsigned default_port,
                            struct authority *out)
{
    const char *end;

    *out = (struct authority){.name = text, .port = default_port};
    if (len > 0 && text[0] == '[') {
        end = memchr(text, ']', len);
        if (end == NULL || !is_plain_v6(text + 1, (size_t)(end - text) - 1))
            return false;
        out->name++;
        out->name_len = (size_t)(end - text) - 1;
        out->host_len = out->name_len + 2;
        out->is_address = true;
    } else {
        end = memchr(text, ':', len);
        out->host_len = out->name_len = end != NULL ? (size_t)(end - text) : len;
        if (!is_plain_host(text, out->host_len, &out->is_address))
            return false;
    }
    if (out->host_len == len)
        return true;
    if (text[out->host_len] != ':')
        return false;
    out->port = parse_port(text + out->host_len + 1, len - out->host_len - 1);
    return out->port != 0;
}

static void free_origin(struct lean *lean, struct lean_origin *origin)
{
    assert(origin->users == 0 && origin->num_idle == 0);
    TAILQ_REMOVE(&lean->origins, origin, link);
    lean->num_origins--;
    SSL_SESSION_free(origin->session);
    free(origin->text);
    free(origin->connect_url);
    free(origin->host);
    free(origin->name);
    free(origin);
}

/* @return false: all are in use */
static bool make_room(struct lean *lean)
{
    struct lean_origin *origin;

    if (lean->num_origins < MAX_KNOWN)
        return true;
    TAILQ_FOREACH_REVERSE(origin, &lean->origins, origin_list, link)
    if (origin->users == 0)
        break;
    if (origin == NULL)
        return false;
    free_origin(lean, origin);
    return true;
}

static struct lean_origin *new_origin(struct lean *lean, const char *url, size_t len)
{
    bool tls = strncmp(url, "https://", 8) == 0;
    const char *authority = url + (tls ? 8 : 7);
    unsigned default_port = tls ? 443 : 80;
    size_t authority_len = len - (size_t)(authority - url) - 1;
    struct lean_origin *origin;
    struct authority parts;
    char port[8] = "";

    if ((!tls && strncmp(url, "http://", 7) != 0) ||
        !split_authority(authority, authority_len, default_port, &parts) || !make_room(lean))
        return NULL;
    origin = calloc(1, sizeof(*origin));
    if (origin == NULL)
        return NULL;
    TAILQ_INSERT_HEAD(&lean->origins, origin, link);
    lean->num_origins++;
    TAILQ_INIT(&origin->idle);
    origin->tls = tls;
    origin->is_address = parts.is_address;
    origin->len = len;
    origin->hash = hash_of(url, len);
    origin->text = strndup(url, len);
    origin->name = strndup(parts.name, parts.name_len);
    if (parts.port != default_port)
        snprintf(port, sizeof(port), ":%u", parts.port);
    if (asprintf(&origin->host, "%.*s%s", (int)parts.host_len, authority, port) == -1)
        origin->host = NULL;
    if (asprintf(&origin->connect_url, "http://%.*s:%u/", (int)parts.host_len, authority,
                 parts.port) == -1)
        origin->connect_url = NULL;
    if (origin->text != NULL && origin->name != NULL && origin->host != NULL &&
        origin->connect_url != NULL)
        return origin;
    free_origin(lean, origin);
    return NULL;
}

static struct lean_origin *find_origin(struct lean *lean, const char *url, size_t len)
{
    uint32_t hash = hash_of(url, len);
    struct lean_origin *origin;

    TAILQ_FOREACH(origin, &lean->origins, link)
    if (origin->hash == hash && origin->len == len && memcmp(origin->text, url, len) == 0)
        break;
    if (origin != NULL && origin != TAILQ_FIRST(&lean->origins)) {
        TAILQ_REMOVE(&lean->origins, origin, link);
        TAILQ_INSERT_HEAD(&lean->origins, origin, link);
    }
    return origin;
}

struct lean_origin *pool_origin(struct lean *lean, const char *url, const char **why)
{
    size_t len = origin_length(url);
    struct lean_origin *origin;

    *why = NULL;
    if (len == 0 || strchr(url, '#') != NULL)
        return NULL;
    origin = find_origin(lean, url, len);
    if (origin == NULL && (*why = origin_check(lean->up, url)) == NULL)
        origin = new_origin(lean, url, len);
    if (origin != NULL)
        origin->users++;
    return origin;
}

void pool_release(struct lean_origin *origin)
{
    assert(origin->users > 0);
    origin->users--;
}

void pool_drop_sessions(struct lean *lean)
{
    struct lean_origin *origin;

    TAILQ_FOREACH(origin, &lean->origins, link)
    {
        SSL_SESSION_free(origin->session);
        origin->session = NULL;
    }
}

/* --- idle connections --- */

static void leave(struct lean_conn *conn)
{
    TAILQ_REMOVE(&conn->lean->idle, conn, link);
    TAILQ_REMOVE(&conn->origin->idle, conn, origin_link);
    conn->lean->num_idle--;
    conn->origin->num_idle--;
}

static void drop(struct lean_conn *conn)
{
    leave(conn);
    conn_free(conn);
}

static bool is_too_old(const struct lean_conn *conn, uint64_t now_ms)
{
    return now_ms - conn->made_ms >= MAX_LIFETIME_MS;
}

/* It stands, and nothing waits to be read: bytes that come where nothing was asked are no answer to
 * what is asked next, and an end or an error is one. Over TLS they may be a ticket. */
static bool is_quiet(struct lean_conn *conn)
{
    char byte, error[1];

    if (recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -1)
        return errno == EAGAIN || errno == EWOULDBLOCK;
    return conn->tls != NULL && conn_read(conn, &byte, 1, error, sizeof(error)) == CONN_AGAIN &&
           !conn_has_pending(conn);
}

void pool_readable(struct lean_conn *conn)
{
    if (!is_quiet(conn))
        drop(conn);
}

struct lean_conn *pool_take(struct lean *lean, struct lean_origin *origin, bool sure)
{
    uint64_t now_ms = loop_now_ms(lean->up->loop);
    struct lean_conn *conn;

    while ((conn = TAILQ_FIRST(&origin->idle)) != NULL) {
        uint64_t idle_ms = now_ms - conn->idle_ms;

        if (sure && idle_ms >= SURE_IDLE_MS && idle_ms < MAX_IDLE_MS)
            return NULL; /* the others are idle for longer; they are good for reads */
        if (!is_too_old(conn, now_ms) && idle_ms < MAX_IDLE_MS && is_quiet(conn)) {
            leave(conn);
            return conn;
        }
        drop(conn);
    }
    return NULL;
}

/* The oldest idle one may go at this time. */
static void arm(struct lean *lean)
{
    uint64_t now_ms = loop_now_ms(lean->up->loop), due_ms;
    struct lean_conn *oldest = TAILQ_LAST(&lean->idle, conn_list);

    if (oldest == NULL || lean->timer.slot != 0)
        return;
    due_ms = oldest->idle_ms + MAX_IDLE_MS;
    if (loop_timer_start(lean->up->loop, &lean->timer, due_ms > now_ms ? due_ms - now_ms : 0) != 0)
        log_error("upstream: out of memory for a timer");
}

void pool_on_timer(struct loop_timer *timer)
{
    struct lean *lean = timer->arg;
    uint64_t now_ms = loop_now_ms(lean->up->loop);
    struct lean_conn *oldest;

    while ((oldest = TAILQ_LAST(&lean->idle, conn_list)) != NULL &&
           now_ms - oldest->idle_ms >= MAX_IDLE_MS)
        drop(oldest);
    arm(lean);
}

void pool_keep(struct lean_conn *conn)
{
    struct lean *lean = conn->lean;

    conn->call = NULL;
    conn->idle_ms = loop_now_ms(lean->up->loop);
    if (is_too_old(conn, conn->idle_ms) || conn_watch(conn, EPOLLIN | EPOLLRDHUP) != 0) {
        conn_free(conn);
        return;
    }
    if (conn->origin->num_idle >= MAX_IDLE_OF_ORIGIN)
        drop(TAILQ_LAST(&conn->origin->idle, conn_list));
    else if (lean->num_idle >= MAX_IDLE)
        drop(TAILQ_LAST(&lean->idle, conn_list));
    TAILQ_INSERT_HEAD(&lean->idle, conn, link);
    TAILQ_INSERT_HEAD(&conn->origin->idle, conn, origin_link);
    lean->num_idle++;
    conn->origin->num_idle++;
    arm(lean);
}

void pool_deinit(struct lean *lean)
{
    struct lean_conn *conn;
    struct lean_origin *origin, *next;

    loop_timer_stop(lean->up->loop, &lean->timer);
    while ((conn = TAILQ_FIRST(&lean->idle)) != NULL)
        drop(conn);
    for (origin = TAILQ_FIRST(&lean->origins); origin != NULL; origin = next) {
        next = TAILQ_NEXT(origin, link);
        free_origin(lean, origin);
    }
}
