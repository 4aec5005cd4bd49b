/* See certificates.h. */
#include "master/certificates.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "upstream/client.h"
#include "tls.h"

static int replace(char **field, const char *text)
{
    char *copy = text != NULL ? strdup(text) : NULL;

    if (text == NULL)
        return 0;
    if (copy == NULL)
        return ERR_NOMEM;
    free(*field);
    *field = copy;
    return 0;
}

int certificates_override(const char *cert_file, const char *key_file, struct config *config)
{
    int ret = replace(&config->tls_cert_file, cert_file);

    return ret != 0 ? ret : replace(&config->tls_key_file, key_file);
}

static void check_dates(const SSL_CTX *ctx, const char *file, struct strbuf *warnings)
{
    const X509 *cert = SSL_CTX_get0_certificate(ctx);

    if (cert == NULL)
        return;
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) < 0)
        strbuf_addf(warnings, "TLS certificate %s has expired: clients will refuse it\n", file);
    if (X509_cmp_current_time(X509_get0_notBefore(cert)) > 0)
        strbuf_addf(warnings, "TLS certificate %s is not valid yet: clients will refuse it\n",
                    file);
}

static void check_own(const struct config *config, struct strbuf *errors, struct strbuf *warnings)
{
    char why[512];
    SSL_CTX *ctx;

    if (config->tls_cert_file == NULL || config->tls_key_file == NULL)
        return;
    if (tls_new(config->tls_cert_file, config->tls_key_file, NULL, &ctx, why, sizeof(why)) != 0) {
        strbuf_addf(errors, "%s\n", why);
        return;
    }
    check_dates(ctx, config->tls_cert_file, warnings);
    SSL_CTX_free(ctx);
}

/* The first authority is read, of the others the outside alone: to read all of them takes 25 ms, and
 * each process that asks does so. */
static bool holds_certificates(const char *file)
{
    BIO *bio = BIO_new_file(file, "r");
    X509 *first = bio != NULL ? PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL) : NULL;
    char *name = NULL, *header = NULL;
    unsigned char *data = NULL;
    bool whole = false;
    long len;

    while (first != NULL && PEM_read_bio(bio, &name, &header, &data, &len) == 1) {
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(data);
    }
    if (first != NULL)
        whole = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE; /* its end */
    X509_free(first);
    BIO_free(bio);
    ERR_clear_error();
    return whole;
}

/* Calls fail one by one without it, each with libcurl's words for it. */
static void check_bundle(const struct config *config, struct strbuf *errors,
                         struct strbuf *warnings)
{
    static const char no_calls[] = "so no https:// call to a provider can be made";
    char *bundle = upstream_find_ca_bundle(config->upstream_ca_file);

    if (config->upstream_ca_file != NULL && bundle != NULL && !holds_certificates(bundle))
        strbuf_addf(errors, "CA certificates %s: no certificate (PEM) is in that file, %s\n",
                    bundle, no_calls);
    else if (config->upstream_ca_file == NULL && config_asks_over_tls(config) &&
             (bundle == NULL || !holds_certificates(bundle)))
        strbuf_addf(warnings,
                    "this machine has no CA certificates%s%s, %s: install the package "
                    "ca-certificates, or name a file in tranche_settings.upstream_ca_file\n",
                    bundle != NULL ? " in " : "", bundle != NULL ? bundle : "", no_calls);
    free(bundle);
}

void certificates_check(const struct config *config, struct strbuf *errors, struct strbuf *warnings)
{
    check_own(config, errors, warnings);
    check_bundle(config, errors, warnings);
}
