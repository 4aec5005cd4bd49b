/* A client's key and certificate, and the assertion that they sign (entra 2.2). What is opened here is
 * the private key of an Azure application: call it where its heap is left out of cores (common/hidden.h;
 * entra_request_build() does). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/secret.h"
#include "entra/entra_error.h"

struct entra_certificate; /* the key, its certificate, and the others of the file */

#define ENTRA_ASSERTION_LIFE_S 600
#define ENTRA_MAX_CERTIFICATES 16 /* of one file */
#define ENTRA_MIN_RSA          2048
#define ENTRA_MAX_RSA          8192

/**
 * Read one file: PEM with an RSA key (PKCS #8, perhaps encrypted, or PKCS #1) and certificates in any
 * order, or PFX (PKCS #12).
 *
 * @param password  NULL or unset: none
 * @param out       owned by the caller: entra_certificate_free()
 * @param error     filled on an error: what is missing, and what would help
 * @return 0, ERR_INVALID, ERR_NOMEM
 */
MUST_USE int entra_certificate_read(const char *bytes, size_t len, const struct secret *password,
                                    struct entra_certificate **out, struct entra_error *error);
void entra_certificate_free(struct entra_certificate *certificate); /* NULL is fine */

/** When its certificate ends, in Unix seconds; INT64_MAX: never. For warnings. */
int64_t entra_certificate_ends(const struct entra_certificate *certificate);

/**
 * Whether the file of a credential would do, for the check of a configuration: entra_certificate_read()
 * in a thread whose memory no core has.
 *
 * @param ends_unix_s  entra_certificate_ends(); may be NULL
 * @return as entra_certificate_read()
 */
MUST_USE int entra_certificate_check(const char *bytes, size_t len, const struct secret *password,
                                     int64_t *ends_unix_s, struct entra_error *error);

/** What an assertion says. */
struct entra_claims {
    const char *audience;  /* the URL that is asked */
    const char *client_id; /* issuer and subject */
    const char *jti;       /* of this assertion alone */
    int64_t now_unix_s;    /* it is good from now on, for ENTRA_ASSERTION_LIFE_S */
    bool send_chain;       /* x5c */
};

/** Sign one. @param out  empty; the compact form; secret_clear() it
 *  @return 0, ERR_LIMIT (the chain is too long), ERR_INVALID (a damaged key), ERR_NOMEM */
MUST_USE int entra_certificate_sign(const struct entra_certificate *certificate,
                                    const struct entra_claims *claims, struct secret *out,
                                    struct entra_error *error);
