/* TLS of the lean transport, by the rules that libcurl is told (handle.c): 1.2 at least, the server's
 * chain up to an authority of the one bundle, and its name. Sessions are resumed, each at the
 * origin that gave it. ALPN offers HTTP/1.1 alone. */
#include "lean.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static int on_session(SSL *tls, SSL_SESSION *session)
{
    struct lean_conn *conn = SSL_get_app_data(tls);

    if (conn == NULL)
        return 0;
    SSL_SESSION_free(conn->origin->session);
    conn->origin->session = session;
    return 1; /* it is ours now */
}

static SSL_CTX *new_context(X509_STORE *trusted)
{
    static const unsigned char http_1_1[] = "\x08http/1.1";
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (ctx == NULL)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1); /* a record's head and body in one system call */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, on_session);
    SSL_CTX_set1_cert_store(ctx, trusted);
    if (SSL_CTX_set_alpn_protos(ctx, http_1_1, sizeof(http_1_1) - 1) == 0)
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

/* What was verified with other authorities is verified again. */
static SSL_CTX *context(struct lean *lean)
{
    X509_STORE *trusted = trust_store(&lean->up->trust);

    if (trusted == NULL || (lean->tls != NULL && lean->trusted == trusted))
        return trusted == NULL ? NULL : lean->tls;
    SSL_CTX_free(lean->tls);
    pool_drop_sessions(lean);
    lean->tls = new_context(trusted);
    lean->trusted = trusted;
    return lean->tls;
}

/* Whom the certificate must be for; an address is never told as a name (RFC 6066 section 3). */
static bool set_name(SSL *tls, const struct lean_origin *origin)
{
    if (origin->is_address)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), origin->name) == 1;
    SSL_set_hostflags(tls, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(tls, origin->name) == 1 &&
           SSL_set_tlsext_host_name(tls, origin->name) == 1;
}

int lean_tls_start(struct lean_conn *conn)
{
    SSL_CTX *ctx = context(conn->lean);

    if (ctx == NULL)
        return ERR_INVALID;
    conn->tls = SSL_new(ctx);
    if (conn->tls == NULL || SSL_set_fd(conn->tls, conn->fd) != 1 ||
        !set_name(conn->tls, conn->origin))
        return ERR_NOMEM;
    SSL_set_app_data(conn->tls, conn);
    if (conn->origin->session != NULL)
        SSL_set_session(conn->tls, conn->origin->session);
    SSL_set_connect_state(conn->tls);
    return 0;
}

static void say_untrusted(const struct lean_conn *conn, long verdict, char *error, size_t size)
{
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
        snprintf(error, size,
                 "SSL: no alternative certificate subject name matches target host name '%s'",
                 conn->origin->name);
    else
        snprintf(error, size, "SSL certificate problem: %s",
                 X509_verify_cert_error_string(verdict));
}

static void say_broken(const struct lean_conn *conn, char *error, size_t size)
{
    long verdict = SSL_get_verify_result(conn->tls);
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    if (!conn->ready && verdict != X509_V_OK)
        say_untrusted(conn, verdict, error, size);
    else
        snprintf(error, size, "TLS: %s", reason != NULL ? reason : "the connection was lost");
}

int lean_tls_judge(struct lean_conn *conn, int rc, char *error, size_t error_size)
{
    switch (SSL_get_error(conn->tls, rc)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return CONN_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        say_broken(conn, error, error_size);
        return CONN_BROKEN;
    }
}

int lean_tls_handshake(struct lean_conn *conn, uint32_t *events, char *error, size_t error_size)
{
    int rc, end;

    ERR_clear_error();
    rc = SSL_do_handshake(conn->tls);
    if (rc == 1) {
        conn->ready = true;
        return 1;
    }
    *events = SSL_want_write(conn->tls) ? EPOLLOUT : EPOLLIN;
    end = lean_tls_judge(conn, rc, error, error_size);
    return end == CONN_AGAIN ? CONN_AGAIN : CONN_BROKEN;
}
