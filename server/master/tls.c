/* See tls.h. libh2o's own ALPN list also offers h2 drafts and never selects http/1.1 (front README
 * 1.2), hence the callback of our own. */
#include "tls.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <openssl/err.h>
#include <openssl/x509err.h>

#include "common/log.h"

/* TLS 1.2: what RFC 9113, appendix A leaves. TLS 1.3 has its own list. */
#define CIPHERS_TLS12 "ECDHE+AESGCM:ECDHE+CHACHA20"

static const char session_context[] = "tranche";

static bool offers(const unsigned char *list, unsigned int len, const char *protocol)
{
    size_t wanted = strlen(protocol);

    for (unsigned int i = 0; i < len; i += 1u + list[i])
        if (list[i] == wanted && len - i > wanted && memcmp(list + i + 1, protocol, wanted) == 0)
            return true;
    return false;
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned int in_len, void *arg)
{
    static const char *const protocols[] = {"h2", "http/1.1"}; /* ours, best first */

    (void)ssl;
    (void)arg;
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
        if (offers(in, in_len, protocols[i])) {
            *out = (const unsigned char *)protocols[i];
            *out_len = (unsigned char)strlen(protocols[i]);
            return SSL_TLSEXT_ERR_OK;
        }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* A key with a passphrase must not make a daemon ask on the terminal. */
static int on_passphrase(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

/* The newest entry that says something; "PEM lib" only tells through whom it came. */
static unsigned long telling_error(void)
{
    unsigned long code, found = ERR_peek_last_error();

    while ((code = ERR_get_error()) != 0) {
        const char *reason = ERR_reason_error_string(code);
        size_t len = reason != NULL ? strlen(reason) : 0;

        if (len > 0 && (len < 4 || strcmp(reason + len - 4, " lib") != 0))
            found = code;
    }
    return found;
}

static int fail_with(const char *what, const char *file, char *error, size_t error_size)
{
    unsigned long code = telling_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    bool system_error = code != 0 && ERR_SYSTEM_ERROR(code);

    if (system_error)
        reason = strerror(ERR_GET_REASON(code));
    snprintf(error, error_size, "%s %s: %s", what, file, reason != NULL ? reason : "unusable");
    ERR_clear_error();
    return ERR_INVALID;
}

/* fopen(3)'s errno is the first entry of OpenSSL's queue, "BIO lib" the last: ask the system
 * itself. */
static int check_readable(const char *what, const char *file, char *error, size_t error_size)
{
    FILE *f = fopen(file, "re");

    if (f == NULL) {
        snprintf(error, error_size, "%s %s: %s", what, file, strerror(errno));
        return ERR_INVALID;
    }
    fclose(f);
    return 0;
}

static void warn_about_readers(const char *key_file)
{
    struct stat st;

    if (stat(key_file, &st) == 0 && (st.st_mode & S_IROTH) != 0)
        log_warn("TLS key %s can be read by every user of this machine", key_file);
}

/* The key was read, and is another certificate's. */
static bool is_mismatch(void)
{
    int reason = ERR_GET_REASON(ERR_peek_last_error());

    return reason == X509_R_KEY_VALUES_MISMATCH || reason == X509_R_KEY_TYPE_MISMATCH;
}

static int load_files(SSL_CTX *ctx, const char *cert_file, const char *key_file, char *error,
                      size_t error_size)
{
    static const char cert[] = "TLS certificate", key[] = "TLS key";

    if (check_readable(cert, cert_file, error, error_size) != 0 ||
        check_readable(key, key_file, error, error_size) != 0)
        return ERR_INVALID;
    SSL_CTX_set_default_passwd_cb(ctx, on_passphrase);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
        return fail_with(cert, cert_file, error, error_size);
    if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1 && !is_mismatch())
        return fail_with(key, key_file, error, error_size);
    if (is_mismatch() || SSL_CTX_check_private_key(ctx) != 1) {
        snprintf(error, error_size, "TLS key %s does not belong to certificate %s", key_file,
                 cert_file);
        ERR_clear_error();
        return ERR_INVALID;
    }
    warn_about_readers(key_file);
    return 0;
}

static bool set_policy(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets alone: nothing to share */
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
    return SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_cipher_list(ctx, CIPHERS_TLS12) == 1 &&
           SSL_CTX_set_session_id_context(ctx, (const unsigned char *)session_context,
                                          sizeof(session_context) - 1) == 1;
}

int tls_new(const char *cert_file, const char *key_file, const struct tickets *tickets,
            SSL_CTX **out, char *error, size_t error_size)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int ret;

    *out = NULL;
    if (ctx == NULL || !set_policy(ctx) || (tickets != NULL && tickets_use(ctx, tickets) != 0)) {
        snprintf(error, error_size, "TLS: out of memory");
        ERR_clear_error();
        SSL_CTX_free(ctx);
        return ERR_NOMEM;
    }
    ret = load_files(ctx, cert_file, key_file, error, error_size);
    if (ret != 0) {
        SSL_CTX_free(ctx);
        return ret;
    }
    *out = ctx;
    return 0;
}
