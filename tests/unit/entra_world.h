/* Keys, certificates and credentials for the tests of common/entra, made by OpenSSL. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "common/entra_credential.h"
#include "common/secret.h"

#define TOKEN_URL  "https://login.microsoftonline.com/contoso.example/oauth2/v2.0/token"
#define CLIENT_ID  "11111111-2222-4333-8444-555555555555"
#define BEGINS_UTC 1790000000 /* of certificates: Mon, 21 Sep 2026 14:13:20 GMT */
#define LIVES_S    86400

static inline void must(int good)
{
    if (!good)
        abort();
}

static inline EVP_PKEY *make_rsa(unsigned bits)
{
    EVP_PKEY *key = EVP_RSA_gen(bits);

    must(key != NULL);
    return key;
}

/* A certificate of `subject`'s key, signed by `by`. */
static inline X509 *make_certificate(EVP_PKEY *key, const char *subject, EVP_PKEY *by,
                                     const char *issuer)
{
    X509 *x = X509_new();
    X509_NAME *name = X509_NAME_new();

    must(x != NULL && name != NULL && X509_set_version(x, 2) == 1);
    must(ASN1_INTEGER_set(X509_get_serialNumber(x), 7) == 1);
    must(ASN1_TIME_set(X509_getm_notBefore(x), BEGINS_UTC) != NULL);
    must(ASN1_TIME_set(X509_getm_notAfter(x), BEGINS_UTC + LIVES_S) != NULL);
    must(X509_set_pubkey(x, key) == 1);
    must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)subject, -1,
                                    -1, 0) == 1);
    must(X509_set_subject_name(x, name) == 1);
    X509_NAME_free(name);
    name = X509_NAME_new();
    must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)issuer, -1, -1,
                                    0) == 1);
    must(X509_set_issuer_name(x, name) == 1);
    X509_NAME_free(name);
    must(X509_sign(x, by, EVP_sha256()) > 0);
    return x;
}

/* What a BIO holds; free() it. */
static inline char *taken_of(BIO *bio, size_t *len)
{
    char *at = NULL, *copy;
    long size = BIO_get_mem_data(bio, &at);

    must(size > 0);
    copy = malloc((size_t)size + 1);
    must(copy != NULL);
    memcpy(copy, at, (size_t)size);
    copy[size] = '\0';
    if (len != NULL)
        *len = (size_t)size;
    BIO_free(bio);
    return copy;
}

/* PKCS #8, encrypted where there is a password. */
static inline char *key_pem(EVP_PKEY *key, const char *password)
{
    BIO *bio = BIO_new(BIO_s_mem());

    must(PEM_write_bio_PKCS8PrivateKey(bio, key, password != NULL ? EVP_aes_256_cbc() : NULL,
                                       password, password != NULL ? (int)strlen(password) : 0, NULL,
                                       NULL) == 1);
    return taken_of(bio, NULL);
}

/* PKCS #8, encrypted by a password that is hashed so often. */
static inline char *slow_key_pem(EVP_PKEY *key, const char *password, int rounds)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    X509_SIG *sealed = PKCS8_encrypt(-1, EVP_aes_256_cbc(), password, (int)strlen(password), NULL,
                                     0, rounds, info);

    must(sealed != NULL && PEM_write_bio_PKCS8(bio, sealed) == 1);
    X509_SIG_free(sealed);
    PKCS8_PRIV_KEY_INFO_free(info);
    return taken_of(bio, NULL);
}

/* PKCS #1; encrypted in the old form where there is a password. */
static inline char *old_key_pem(EVP_PKEY *key, const char *password)
{
    BIO *bio = BIO_new(BIO_s_mem());

    must(PEM_write_bio_PrivateKey_traditional(
             bio, key, password != NULL ? EVP_aes_128_cbc() : NULL, (const unsigned char *)password,
             password != NULL ? (int)strlen(password) : 0, NULL, NULL) == 1);
    return taken_of(bio, NULL);
}

static inline char *certificate_pem(X509 *x)
{
    BIO *bio = BIO_new(BIO_s_mem());

    must(PEM_write_bio_X509(bio, x) == 1);
    return taken_of(bio, NULL);
}

/* @param rounds, mac_rounds  of the password, for what is encrypted and for the whole; 0: as usual */
static inline char *pfx_of(EVP_PKEY *key, X509 *leaf, X509 *other, const char *password, int rounds,
                           int mac_rounds, size_t *len)
{
    STACK_OF(X509) *others = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    PKCS12 *pfx;

    if (other != NULL) {
        others = sk_X509_new_null();
        sk_X509_push(others, other);
    }
    pfx = PKCS12_create(password, "tranche", key, leaf, others, 0, 0, rounds, mac_rounds, 0);
    must(pfx != NULL && i2d_PKCS12_bio(bio, pfx) == 1);
    PKCS12_free(pfx);
    sk_X509_free(others);
    return taken_of(bio, len);
}

/* Several texts in one; free() it. */
static inline char *joined(const char *a, const char *b, const char *c)
{
    size_t size = strlen(a) + strlen(b) + strlen(c) + 1;
    char *out = malloc(size);

    must(out != NULL);
    snprintf(out, size, "%s%s%s", a, b, c);
    return out;
}

/* A text in the place of a file. */
static inline struct secret file_of(const char *text)
{
    struct secret file = SECRET_NONE;

    must(secret_set(&file, text, strlen(text)) == 0);
    return file;
}

/* Of a client; its strings are constants, `secret` is the caller's. */
static inline struct entra_credential client_by(enum entra_kind kind)
{
    return (struct entra_credential){.kind = kind,
                                     .authority = (char *)"https://login.microsoftonline.com",
                                     .tenant = (char *)"contoso.example",
                                     .client_id = (char *)CLIENT_ID,
                                     .scope =
                                         (char *)"https://cognitiveservices.azure.com/.default"};
}

static inline struct entra_credential managed_by(enum entra_source source, const char *endpoint)
{
    return (struct entra_credential){.kind = ENTRA_MANAGED,
                                     .source = source,
                                     .endpoint = (char *)endpoint,
                                     .scope =
                                         (char *)"https://cognitiveservices.azure.com/.default"};
}
