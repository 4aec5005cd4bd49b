/* Handshakes in memory against a certificate made here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "master/tls.h"

struct files {
    char dir[32];
    char cert[64], key[64], other_key[64], locked_key[64], text[64], absent[64];
};

static EVP_PKEY *write_key(const char *path, const char *passphrase)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    FILE *f = fopen(path, "w");

    assert_non_null(key);
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, passphrase != NULL ? EVP_aes_128_cbc() : NULL,
                                          NULL, 0, NULL, (void *)(uintptr_t)passphrase),
                     1);
    assert_int_equal(fchmod(fileno(f), 0600), 0);
    fclose(f);
    return key;
}

static void write_cert(const char *path, EVP_PKEY *key)
{
    X509 *cert = X509_new();
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_pubkey(cert, key);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    assert_int_equal(PEM_write_X509(f, cert), 1);
    fclose(f);
    X509_free(cert);
}

static int make_files(void **state)
{
    struct files *fs = calloc(1, sizeof(*fs));
    EVP_PKEY *key;
    FILE *f;

    strcpy(fs->dir, "/tmp/tls-test-XXXXXX");
    assert_non_null(mkdtemp(fs->dir));
    snprintf(fs->cert, sizeof(fs->cert), "%s/cert.pem", fs->dir);
    snprintf(fs->key, sizeof(fs->key), "%s/key.pem", fs->dir);
    snprintf(fs->other_key, sizeof(fs->other_key), "%s/other.pem", fs->dir);
    snprintf(fs->locked_key, sizeof(fs->locked_key), "%s/locked.pem", fs->dir);
    snprintf(fs->text, sizeof(fs->text), "%s/notes.txt", fs->dir);
    snprintf(fs->absent, sizeof(fs->absent), "%s/absent.pem", fs->dir);
    key = write_key(fs->key, NULL);
    write_cert(fs->cert, key);
    EVP_PKEY_free(key);
    EVP_PKEY_free(write_key(fs->other_key, NULL));
    EVP_PKEY_free(write_key(fs->locked_key, "secret"));
    f = fopen(fs->text, "w");
    assert_non_null(f);
    fputs("no PEM at all\n", f);
    fclose(f);
    *state = fs;
    return 0;
}

static int remove_files(void **state)
{
    struct files *fs = *state;

    unlink(fs->cert);
    unlink(fs->key);
    unlink(fs->other_key);
    unlink(fs->locked_key);
    unlink(fs->text);
    rmdir(fs->dir);
    free(fs);
    return 0;
}

static struct tickets *tickets; /* NULL: each context has keys of its own */

static SSL_CTX *server_of(const struct files *fs)
{
    char error[256];
    SSL_CTX *ctx;

    assert_int_equal(tls_new(fs->cert, fs->key, tickets, &ctx, error, sizeof(error)), 0);
    return ctx;
}

/* A client and a server end over memory; both are freed by talk_end(). */
struct talk {
    SSL *client, *server;
    int client_error; /* SSL_get_error() of the last step */
    int server_error;
};

static void talk_begin(struct talk *t, SSL_CTX *client_ctx, SSL_CTX *server_ctx)
{
    BIO *client_end, *server_end;

    assert_int_equal(BIO_new_bio_pair(&client_end, 0, &server_end, 0), 1);
    t->client = SSL_new(client_ctx);
    t->server = SSL_new(server_ctx);
    SSL_set_bio(t->client, client_end, client_end);
    SSL_set_bio(t->server, server_end, server_end);
    SSL_set_connect_state(t->client);
    SSL_set_accept_state(t->server);
}

/* Returns whether both ends are through, tickets included. */
static bool talk_handshake(struct talk *t)
{
    int client = 0, server = 0;
    char byte;

    for (int i = 0; i < 20 && (client != 1 || server != 1); i++) {
        client = SSL_do_handshake(t->client);
        t->client_error = SSL_get_error(t->client, client);
        server = SSL_do_handshake(t->server);
        t->server_error = SSL_get_error(t->server, server);
    }
    if (client == 1 && server == 1)
        (void)SSL_read(t->client, &byte, 1); /* TLS 1.3 tickets come after the handshake */
    return client == 1 && server == 1;
}

static void talk_end(struct talk *t)
{
    SSL_shutdown(t->client);
    SSL_free(t->client);
    SSL_free(t->server);
}

/* The protocol that a client with this ALPN list (wire form; NULL: none) gets; "-" when the
 * handshake fails. */
static void chosen(const struct files *fs, const char *list, size_t len, char *out, size_t size)
{
    SSL_CTX *server_ctx = server_of(fs), *client_ctx = SSL_CTX_new(TLS_client_method());
    const unsigned char *protocol;
    unsigned int protocol_len;
    struct talk t;

    if (list != NULL)
        assert_int_equal(
            SSL_CTX_set_alpn_protos(client_ctx, (const unsigned char *)list, (unsigned)len), 0);
    talk_begin(&t, client_ctx, server_ctx);
    if (talk_handshake(&t)) {
        SSL_get0_alpn_selected(t.server, &protocol, &protocol_len);
        snprintf(out, size, "%.*s", (int)protocol_len,
                 protocol_len > 0 ? (const char *)protocol : "");
    } else {
        snprintf(out, size, "-");
    }
    talk_end(&t);
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(server_ctx);
}

#define CHOSEN(fs, list, expected)                                                                 \
    do {                                                                                           \
        char got[64];                                                                              \
        chosen(fs, list, sizeof(list) - 1, got, sizeof(got));                                      \
        assert_string_equal(got, expected);                                                        \
    } while (0)

static void http_2_is_chosen_when_the_client_offers_it_whatever_its_order(void **state)
{
    CHOSEN(*state, "\x02h2\x08http/1.1", "h2");
    CHOSEN(*state, "\x08http/1.1\x02h2", "h2");
}

static void http_1_1_is_chosen_when_the_client_knows_no_http_2(void **state)
{
    CHOSEN(*state, "\x08http/1.1", "http/1.1");
    CHOSEN(*state, "\x05h2-14\x05h2-16\x08http/1.1", "http/1.1");
}

static void a_client_that_offers_only_other_protocols_is_refused(void **state)
{
    CHOSEN(*state, "\x05h2-16\x03h2c\x01h", "-");
    CHOSEN(*state, "\x08http/1.0", "-");
}

static void a_client_without_alpn_is_served(void **state)
{
    char got[64];

    chosen(*state, NULL, 0, got, sizeof(got));
    assert_string_equal(got, "");
}

static bool handshake_with_version(const struct files *fs, int version)
{
    SSL_CTX *server_ctx = server_of(fs), *client_ctx = SSL_CTX_new(TLS_client_method());
    struct talk t;
    bool ok;

    SSL_CTX_set_security_level(client_ctx, 0);
    SSL_CTX_set_cipher_list(client_ctx, "ALL:@SECLEVEL=0");
    SSL_CTX_set_min_proto_version(client_ctx, version);
    SSL_CTX_set_max_proto_version(client_ctx, version);
    talk_begin(&t, client_ctx, server_ctx);
    ok = talk_handshake(&t);
    talk_end(&t);
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(server_ctx);
    return ok;
}

static void tls_1_2_and_1_3_are_spoken_and_nothing_older(void **state)
{
    assert_true(handshake_with_version(*state, TLS1_3_VERSION));
    assert_true(handshake_with_version(*state, TLS1_2_VERSION));
    assert_false(handshake_with_version(*state, TLS1_1_VERSION));
    assert_false(handshake_with_version(*state, TLS1_VERSION));
}

static SSL_SESSION *kept;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(kept);
    kept = session;
    return 1;
}

/* Workers inherited one context over fork(): a ticket of one connection must open the next with no
 * state in between. */
static void assert_resumes(const struct files *fs, int version)
{
    SSL_CTX *server_ctx = server_of(fs), *client_ctx = SSL_CTX_new(TLS_client_method());
    struct talk t;

    kept = NULL;
    SSL_CTX_set_max_proto_version(client_ctx, version);
    SSL_CTX_set_session_cache_mode(client_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(client_ctx, keep_session);
    talk_begin(&t, client_ctx, server_ctx);
    assert_true(talk_handshake(&t));
    assert_false(SSL_session_reused(t.server));
    assert_non_null(kept);
    talk_end(&t);
    assert_int_equal(SSL_CTX_sess_number(server_ctx), 0);
    talk_begin(&t, client_ctx, server_ctx);
    SSL_set_session(t.client, kept);
    assert_true(talk_handshake(&t));
    assert_true(SSL_session_reused(t.server));
    talk_end(&t);
    SSL_SESSION_free(kept);
    SSL_CTX_free(client_ctx);
    SSL_CTX_free(server_ctx);
}

static void sessions_resume_without_anything_kept_on_the_server(void **state)
{
    assert_resumes(*state, TLS1_2_VERSION);
    assert_resumes(*state, TLS1_3_VERSION);
}

/* One handshake with what was kept, and what comes of it is kept. */
static bool resumes(SSL_CTX *client_ctx, SSL_CTX *server_ctx)
{
    SSL_SESSION *with = kept;
    struct talk t;
    bool reused;

    kept = NULL;
    talk_begin(&t, client_ctx, server_ctx);
    if (with != NULL)
        SSL_set_session(t.client, with);
    assert_true(talk_handshake(&t));
    reused = SSL_session_reused(t.server) == 1;
    if (kept == NULL) /* TLS 1.2 tells nobody of the new ticket of a session that was resumed */
        kept = SSL_get1_session(t.client);
    talk_end(&t);
    SSL_SESSION_free(with);
    return reused;
}

static SSL_CTX *keeping_client(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    SSL_CTX_set_max_proto_version(ctx, version);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, keep_session);
    return ctx;
}

static void with_tickets(void **state, void (*body)(SSL_CTX *client, const struct files *fs))
{
    static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        SSL_CTX *client = keeping_client(versions[i]);

        assert_int_equal(tickets_new(0, &tickets), 0);
        kept = NULL;
        body(client, *state);
        SSL_SESSION_free(kept);
        SSL_CTX_free(client);
        tickets_free(tickets);
        tickets = NULL;
    }
}

static void over_a_reload(SSL_CTX *client, const struct files *fs)
{
    SSL_CTX *before = server_of(fs), *after = server_of(fs);

    assert_false(resumes(client, before));
    assert_true(resumes(client, after));
    SSL_CTX_free(before);
    SSL_CTX_free(after);
}

static void a_session_resumes_after_a_reload(void **state)
{
    with_tickets(state, over_a_reload);
}

/* The client comes once a period: its ticket is replaced by one of the newest key each time. */
static void over_many_periods(SSL_CTX *client, const struct files *fs)
{
    SSL_CTX *server = server_of(fs);

    assert_false(resumes(client, server));
    for (uint64_t period = 1; period < 10; period++) {
        tickets_rotate(tickets, period * TICKETS_PERIOD_MS);
        assert_true(resumes(client, server));
    }
    SSL_CTX_free(server);
}

static void who_comes_again_in_time_resumes_for_ever(void **state)
{
    with_tickets(state, over_many_periods);
}

static void after_three_periods(SSL_CTX *client, const struct files *fs)
{
    SSL_CTX *server = server_of(fs);

    assert_false(resumes(client, server));
    tickets_rotate(tickets, TICKETS_PERIOD_MS - 1); /* not yet: nothing changes */
    for (uint64_t period = 1; period <= 3; period++)
        tickets_rotate(tickets, period * TICKETS_PERIOD_MS);
    assert_false(resumes(client, server));
    assert_true(resumes(client, server));
    SSL_CTX_free(server);
}

static void a_ticket_key_does_not_open_for_ever(void **state)
{
    with_tickets(state, after_three_periods);
}

static void assert_refused(const char *cert, const char *key, const char *named)
{
    char error[256] = "";
    SSL_CTX *ctx;

    assert_int_equal(tls_new(cert, key, NULL, &ctx, error, sizeof(error)), ERR_INVALID);
    assert_null(ctx);
    assert_non_null(strstr(error, named));
}

static void an_unusable_file_is_named_in_the_error(void **state)
{
    const struct files *fs = *state;

    assert_refused(fs->absent, fs->key, fs->absent);
    assert_refused(fs->absent, fs->key, "No such file");
    assert_refused(fs->cert, fs->absent, fs->absent);
    assert_refused(fs->text, fs->key, fs->text);
    assert_refused(fs->cert, fs->text, fs->text);
    assert_refused(fs->cert, fs->other_key, fs->other_key);
    assert_refused(fs->cert, fs->dir, fs->dir);
}

static void a_key_with_a_passphrase_is_refused_and_nobody_is_asked(void **state)
{
    const struct files *fs = *state;

    assert_refused(fs->cert, fs->locked_key, fs->locked_key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(http_2_is_chosen_when_the_client_offers_it_whatever_its_order),
        cmocka_unit_test(http_1_1_is_chosen_when_the_client_knows_no_http_2),
        cmocka_unit_test(a_client_that_offers_only_other_protocols_is_refused),
        cmocka_unit_test(a_client_without_alpn_is_served),
        cmocka_unit_test(tls_1_2_and_1_3_are_spoken_and_nothing_older),
        cmocka_unit_test(sessions_resume_without_anything_kept_on_the_server),
        cmocka_unit_test(a_session_resumes_after_a_reload),
        cmocka_unit_test(who_comes_again_in_time_resumes_for_ever),
        cmocka_unit_test(a_ticket_key_does_not_open_for_ever),
        cmocka_unit_test(an_unusable_file_is_named_in_the_error),
        cmocka_unit_test(a_key_with_a_passphrase_is_refused_and_nobody_is_asked),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
