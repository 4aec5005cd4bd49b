/* The lean transport over TLS: who is trusted, what is resumed, where an answer is cut off, and that
 * libcurl goes first. */
#define WORLD_LEAN true
#include "upstream_servers.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "upstream/lean.h"

/* --- certificates --- */

struct signer {
    EVP_PKEY *key;
    X509 *cert;
};

static void name_it(X509_NAME *name, const char *text)
{
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                (const unsigned char *)text, -1, -1, 0),
                     1);
}

static void add_extension(X509 *cert, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

/* @param by  NULL: it signs itself, and is an authority */
static struct signer sign(const char *name, const char *alternative, const struct signer *by)
{
    static long serial = 1;
    struct signer made = {EVP_EC_gen("P-256"), X509_new()};

    assert_non_null(made.key);
    assert_non_null(made.cert);
    X509_set_version(made.cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.cert), serial++);
    X509_gmtime_adj(X509_getm_notBefore(made.cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(made.cert), 86400);
    name_it(X509_get_subject_name(made.cert), name);
    X509_set_issuer_name(made.cert, X509_get_subject_name(by != NULL ? by->cert : made.cert));
    X509_set_pubkey(made.cert, made.key);
    if (by == NULL)
        add_extension(made.cert, NID_basic_constraints, "critical,CA:TRUE");
    else
        add_extension(made.cert, NID_subject_alt_name, alternative);
    assert_true(X509_sign(made.cert, by != NULL ? by->key : made.key, EVP_sha256()) > 0);
    return made;
}

static void signer_free(struct signer *s)
{
    EVP_PKEY_free(s->key);
    X509_free(s->cert);
}

/* --- a server --- */

#define LENGTH_5 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

static SSL_CTX *server_ctx;
static atomic_int resumed, alone; /* connections that were; to which HTTP/1.1 alone was offered */
static char told[64];             /* the name that the last one asked for; "": none */

static int on_alpn(SSL *tls, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char want[] = "\x08http/1.1";

    (void)tls;
    (void)arg;
    alone += in_len == sizeof(want) - 1 && memcmp(in, want, in_len) == 0;
    *out = want + 1;
    *out_len = 8;
    return SSL_TLSEXT_ERR_OK;
}

static int on_alpn_of_2_alone(SSL *tls, const unsigned char **out, unsigned char *out_len,
                              const unsigned char *in, unsigned in_len, void *arg)
{
    (void)tls;
    (void)out;
    (void)out_len;
    (void)in;
    (void)in_len;
    (void)arg;
    return SSL_TLSEXT_ERR_ALERT_FATAL; /* nobody here offers HTTP/2 alone */
}

static bool read_tls_head(struct server *s, SSL *tls)
{
    char text[4096];
    size_t len = 0;

    while (len < 4 || memcmp(text + len - 4, "\r\n\r\n", 4) != 0)
        if (len == sizeof(text) || SSL_read(tls, text + len++, 1) != 1)
            return false;
    s->requests++;
    wake(s);
    return true;
}

static void say_tls(SSL *tls, const char *text)
{
    (void)SSL_write(tls, text, (int)strlen(text));
}

typedef void (*serve_tls_cb)(struct server *server, SSL *tls, int nth);
static serve_tls_cb serve_tls;

static void serve_over_tls(struct server *s, int fd, int nth)
{
    SSL *tls = SSL_new(server_ctx);

    if (tls == NULL || SSL_set_fd(tls, fd) != 1)
        abort();
    if (SSL_accept(tls) == 1) {
        snprintf(told, sizeof(told), "%s",
                 SSL_get_servername(tls, TLSEXT_NAMETYPE_host_name) != NULL
                     ? SSL_get_servername(tls, TLSEXT_NAMETYPE_host_name)
                     : "");
        resumed += SSL_session_reused(tls);
        serve_tls(s, tls, nth);
    }
    SSL_free(tls);
}

static void serve_tls_hello(struct server *s, SSL *tls, int nth)
{
    (void)nth;
    while (read_tls_head(s, tls))
        say_tls(tls, LENGTH_5);
}

/* --- worlds --- */

struct tls_world {
    struct world *w;
    struct signer authority, other, leaf;
    char ca_file[64], url[64];
};

static void write_pem(const char *path, X509 *cert)
{
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, cert), 1);
    assert_int_equal(fclose(out), 0);
}

static void new_server_ctx(const struct signer *leaf, int newest)
{
    server_ctx = SSL_CTX_new(TLS_server_method());
    assert_non_null(server_ctx);
    SSL_CTX_set_security_level(server_ctx, newest < TLS1_2_VERSION ? 0 : 1);
    SSL_CTX_set_min_proto_version(server_ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(server_ctx, newest);
    SSL_CTX_set_alpn_select_cb(server_ctx, on_alpn, NULL);
    assert_int_equal(SSL_CTX_use_certificate(server_ctx, leaf->cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(server_ctx, leaf->key), 1);
}

/* @param trusted  whether the client knows who signed */
static struct tls_world *tls_world_new(serve_tls_cb serve, const char *alternative, bool trusted,
                                       int newest)
{
    struct tls_world *t = calloc(1, sizeof(*t));
    struct upstream_options options = {.connect_ms = CONNECT_MS, .lean = true};
    int fd;

    assert_non_null(t);
    t->authority = sign("authority", NULL, NULL);
    t->other = sign("stranger", NULL, NULL);
    t->leaf = sign("provider", alternative, &t->authority);
    snprintf(t->ca_file, sizeof(t->ca_file), "/tmp/test_lean_tls.XXXXXX");
    fd = mkstemp(t->ca_file);
    assert_int_not_equal(fd, -1);
    close(fd);
    write_pem(t->ca_file, trusted ? t->authority.cert : t->other.cert);
    new_server_ctx(&t->leaf, newest);
    serve_tls = serve;
    resumed = alone = 0;
    t->w = world_new(serve_over_tls);
    upstream_free(t->w->up);
    options.ca_file = t->ca_file;
    assert_int_equal(upstream_new(&t->w->loop.super, &options, &t->w->up), 0);
    snprintf(t->url, sizeof(t->url), "https://127.0.0.1:%d/v1", t->w->server.port);
    return t;
}

static void tls_world_free(struct tls_world *t)
{
    world_stop(t->w);
    world_free(t->w);
    SSL_CTX_free(server_ctx);
    signer_free(&t->authority);
    signer_free(&t->other);
    signer_free(&t->leaf);
    unlink(t->ca_file);
    free(t);
}

static void ask(struct tls_world *t)
{
    fetch(t->w, &(struct upstream_request){.url = t->url});
}

/* As if libcurl had found out. */
static void know_h1(struct tls_world *t)
{
    const char *why;
    struct lean_origin *origin = pool_origin(t->w->up->lean, t->url, &why);

    assert_non_null(origin);
    origin->speaks = SPEAKS_H1;
    origin->learned_ms = loop_now_ms(&t->w->loop.super);
    pool_release(origin);
}

static void turn_until_idle(struct tls_world *t, size_t num)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    while (t->w->up->lean->num_idle != num) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(&t->w->loop);
    }
}

/* --- tests --- */

static void libcurl_finds_out_what_an_origin_speaks(void **state)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, "IP:127.0.0.1", true, TLS1_3_VERSION);
    uint64_t learned_ms;

    (void)state;
    ask(t);
    assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
    assert_int_equal(t->w->up->lean->num_idle, 0);
    for (int i = 0; i < 3; i++) {
        ask(t);
        assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
        assert_string_equal(strbuf_str(&t->w->body), "hello");
        assert_int_equal(t->w->up->lean->num_idle, 1);
    }
    assert_int_equal(t->w->server.connections, 2);
    assert_int_equal(alone, 1);
    learned_ms = TAILQ_FIRST(&t->w->up->lean->origins)->learned_ms;
    t->w->loop.skew_ms += 3600000; /* an hour later it goes first again */
    ask(t);
    assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
    assert_true(TAILQ_FIRST(&t->w->up->lean->origins)->learned_ms >= learned_ms + 3600000);
    tls_world_free(t);
}

static void an_origin_that_speaks_http_2_stays_with_libcurl(void **state)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    know_h1(t);
    TAILQ_FIRST(&t->w->up->lean->origins)->speaks = SPEAKS_OTHER;
    ask(t);
    assert_int_equal(t->w->up->lean->num_idle, 0);
    ask(t); /* libcurl found out anew */
    assert_int_equal(t->w->up->lean->num_idle, 1);
    tls_world_free(t);
}

/* Whatever stands between an origin and our TLS, it is not for an hour. */
static void libcurl_is_asked_behind_a_handshake_that_failed(void **state)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    know_h1(t);
    SSL_CTX_set_alpn_select_cb(server_ctx, on_alpn_of_2_alone, NULL);
    ask(t);
    assert_int_equal(t->w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(t->w->nothing_sent);
    SSL_CTX_set_alpn_select_cb(server_ctx, on_alpn, NULL);
    ask(t);
    assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
    assert_int_equal(t->w->up->lean->num_idle, 0);
    ask(t); /* it has found out */
    assert_int_equal(t->w->up->lean->num_idle, 1);
    tls_world_free(t);
}

static void a_session_is_resumed(int newest)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, "IP:127.0.0.1", true, newest);

    know_h1(t);
    for (int i = 0; i < 3; i++) {
        ask(t);
        assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
        t->w->loop.skew_ms += 55000;
        turn_until_idle(t, 0);
        assert_int_equal(resumed, i);
    }
    assert_int_equal(t->w->server.connections, 3);
    tls_world_free(t);
}

static void sessions_are_resumed_on_new_connections(void **state)
{
    (void)state;
    a_session_is_resumed(TLS1_3_VERSION);
    a_session_is_resumed(TLS1_2_VERSION);
}

static void assert_refused(const char *alternative, bool trusted, int newest, const char *why)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, alternative, trusted, newest);

    for (int i = 0; i < 2; i++) { /* nothing of the first try helps the second one */
        know_h1(t);
        ask(t);
        if (t->w->end != UPSTREAM_CONNECT_FAILED || !t->w->nothing_sent ||
            strstr(t->w->error, why) == NULL)
            fail_msg("end %d, '%s' instead of '%s'", t->w->end, t->w->error, why);
    }
    assert_int_equal(t->w->server.requests, 0);
    tls_world_free(t);
}

static void who_cannot_be_verified_is_sent_nothing(void **state)
{
    (void)state;
    assert_refused("IP:127.0.0.1", false, TLS1_3_VERSION,
                   "connect: SSL certificate problem: unable to get local issuer certificate");
    assert_refused("IP:127.0.0.1", false, TLS1_2_VERSION,
                   "connect: SSL certificate problem: unable to get local issuer certificate");
    assert_refused("DNS:elsewhere.example", true, TLS1_3_VERSION,
                   "connect: SSL: no alternative certificate subject name matches target host name "
                   "'127.0.0.1'");
    assert_refused("DNS:127.0.0.1", true, TLS1_3_VERSION, "no alternative certificate");
    assert_refused("IP:127.0.0.1", true, TLS1_1_VERSION, "connect: TLS: ");
}

static void a_name_is_checked_and_told(void **state)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, "DNS:localhost", true, TLS1_3_VERSION);

    (void)state;
    snprintf(t->url, sizeof(t->url), "https://localhost:%d/v1", t->w->server.port);
    know_h1(t);
    ask(t);
    assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
    assert_int_equal(t->w->up->lean->num_idle, 1);
    assert_string_equal(told, "localhost");
    tls_world_free(t);
}

static void an_address_is_checked_and_not_told(void **state)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    know_h1(t);
    ask(t);
    assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
    assert_string_equal(told, "");
    tls_world_free(t);
}

/* A session that was verified for one name says nothing of another one. */
static void another_name_at_the_same_address_is_verified_anew(void **state)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    know_h1(t);
    ask(t);
    assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
    snprintf(t->url, sizeof(t->url), "https://localhost:%d/v1", t->w->server.port);
    for (int i = 0; i < 2; i++) {
        know_h1(t);
        ask(t);
        assert_int_equal(t->w->end, UPSTREAM_CONNECT_FAILED);
        assert_true(t->w->nothing_sent);
    }
    assert_int_equal(t->w->server.requests, 1);
    tls_world_free(t);
}

static void serve_until_close(struct server *s, SSL *tls, int nth)
{
    if (!read_tls_head(s, tls))
        return;
    say_tls(tls, "HTTP/1.1 200 OK\r\n\r\nhello");
    if (nth == 0)
        SSL_shutdown(tls);
}

/* Whoever sits between could cut an answer short otherwise. */
static void an_answer_until_the_end_must_be_ended_by_its_server(void **state)
{
    struct tls_world *t = tls_world_new(serve_until_close, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    know_h1(t);
    ask(t);
    assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
    assert_string_equal(strbuf_str(&t->w->body), "hello");
    ask(t);
    assert_int_equal(t->w->end, UPSTREAM_BROKEN);
    assert_int_equal(t->w->status, 200);
    tls_world_free(t);
}

static void serve_and_end(struct server *s, SSL *tls, int nth)
{
    (void)nth;
    if (!read_tls_head(s, tls))
        return;
    say_tls(tls, LENGTH_5);
    SSL_shutdown(tls);
}

static void a_connection_that_its_server_ended_is_not_asked(void **state)
{
    struct tls_world *t = tls_world_new(serve_and_end, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    know_h1(t);
    for (int i = 1; i < 4; i++) {
        ask(t);
        assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
        assert_false(t->w->repeated);
        assert_int_equal(t->w->server.requests, i);
        turn_until_idle(t, 0);
    }
    tls_world_free(t);
}

static void serve_tls_big(struct server *s, SSL *tls, int nth)
{
    char piece[10 * 1024];

    (void)nth;
    if (!read_tls_head(s, tls))
        return;
    say_tls(tls, "HTTP/1.1 200 OK\r\nContent-Length: 4096000\r\n\r\n");
    memset(piece, 'x', sizeof(piece));
    for (int i = 0; i < 400; i++)
        if (SSL_write(tls, piece, sizeof(piece)) <= 0)
            return;
}

static void a_large_answer_comes_whole_with_and_without_pauses(void **state)
{
    struct tls_world *t = tls_world_new(serve_tls_big, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    know_h1(t);
    for (int i = 0; i < 3; i++) {
        t->w->on_data = i == 0 ? ON_DATA_GO_ON : i == 1 ? ON_DATA_PAUSE : ON_DATA_RESUME_INSIDE;
        strbuf_reset(&t->w->body);
        fetch(t->w,
              &(struct upstream_request){.url = t->url, .on_head = on_head, .on_data = on_data});
        assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
        assert_int_equal(t->w->body.len, 4096000);
    }
    tls_world_free(t);
}

static void serve_nothing_at_all(struct server *s, int fd, int nth)
{
    (void)nth;
    wake(s);
    wait_for_close(fd);
}

static void a_handshake_that_hangs_meets_the_limit_for_connecting(void **state)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    t->w->server.serve = serve_nothing_at_all;
    know_h1(t);
    start(t->w, &(struct upstream_request){.url = t->url});
    run_until(t->w, &t->w->woken);
    t->w->loop.skew_ms += CONNECT_MS;
    run_until(t->w, &t->w->done);
    assert_int_equal(t->w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(t->w->nothing_sent);
    tls_world_free(t);
}

static void a_call_is_left_while_it_shakes_hands(void **state)
{
    struct tls_world *t = tls_world_new(serve_tls_hello, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    t->w->server.serve = serve_nothing_at_all;
    know_h1(t);
    start(t->w, &(struct upstream_request){.url = t->url});
    run_until(t->w, &t->w->woken);
    upstream_cancel(t->w->call);
    assert_int_equal(upstream_active(t->w->up), 0);
    assert_int_equal(t->w->dones, 0);
    tls_world_free(t);
}

/* A server that ends its side without a word is gone, whatever is asked next. */
static void serve_and_vanish(struct server *s, SSL *tls, int nth)
{
    (void)nth;
    if (read_tls_head(s, tls))
        say_tls(tls, LENGTH_5);
}

static void a_delete_is_not_sent_where_its_server_has_vanished(void **state)
{
    struct tls_world *t = tls_world_new(serve_and_vanish, "IP:127.0.0.1", true, TLS1_3_VERSION);

    (void)state;
    know_h1(t);
    stop_clock(&t->w->loop);
    for (int i = 1; i < 4; i++) {
        fetch(t->w, &(struct upstream_request){.url = t->url, .method = "DELETE"});
        assert_int_equal(t->w->end, UPSTREAM_ANSWERED);
        assert_false(t->w->repeated);
        assert_int_equal(t->w->server.requests, i);
        turn_until_idle(t, 0);
    }
    tls_world_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libcurl_finds_out_what_an_origin_speaks),
        cmocka_unit_test(an_origin_that_speaks_http_2_stays_with_libcurl),
        cmocka_unit_test(libcurl_is_asked_behind_a_handshake_that_failed),
        cmocka_unit_test(sessions_are_resumed_on_new_connections),
        cmocka_unit_test(who_cannot_be_verified_is_sent_nothing),
        cmocka_unit_test(a_name_is_checked_and_told),
        cmocka_unit_test(an_address_is_checked_and_not_told),
        cmocka_unit_test(another_name_at_the_same_address_is_verified_anew),
        cmocka_unit_test(an_answer_until_the_end_must_be_ended_by_its_server),
        cmocka_unit_test(a_connection_that_its_server_ended_is_not_asked),
        cmocka_unit_test(a_large_answer_comes_whole_with_and_without_pauses),
        cmocka_unit_test(a_handshake_that_hangs_meets_the_limit_for_connecting),
        cmocka_unit_test(a_call_is_left_while_it_shakes_hands),
        cmocka_unit_test(a_delete_is_not_sent_where_its_server_has_vanished),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
