/* Keys and tokens for tests, made by OpenSSL: the other side of what common/jwt verifies. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "jwt/jwt.h"

static inline void b64_write(const unsigned char *bytes, size_t len, char *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t i = 0;

    for (; i + 2 < len; i += 3) {
        *out++ = alphabet[bytes[i] >> 2];
        *out++ = alphabet[(bytes[i] & 3) << 4 | bytes[i + 1] >> 4];
        *out++ = alphabet[(bytes[i + 1] & 15) << 2 | bytes[i + 2] >> 6];
        *out++ = alphabet[bytes[i + 2] & 63];
    }
    if (len - i == 1) {
        *out++ = alphabet[bytes[i] >> 2];
        *out++ = alphabet[(bytes[i] & 3) << 4];
    } else if (len - i == 2) {
        *out++ = alphabet[bytes[i] >> 2];
        *out++ = alphabet[(bytes[i] & 3) << 4 | bytes[i + 1] >> 4];
        *out++ = alphabet[(bytes[i + 1] & 15) << 2];
    }
    *out = '\0';
}

static inline void b64_number(const EVP_PKEY *key, const char *name, size_t width, char *out)
{
    unsigned char bytes[1024];
    BIGNUM *n = NULL;

    if (EVP_PKEY_get_bn_param(key, name, &n) != 1)
        abort();
    if (width == 0)
        width = (size_t)BN_num_bytes(n);
    BN_bn2binpad(n, bytes, (int)width);
    BN_free(n);
    b64_write(bytes, width, out);
}

/* A JWK of an RSA key; `more` is "" or members with a comma before them. */
static inline void rsa_jwk(const EVP_PKEY *key, const char *kid, const char *more, char *out,
                           size_t room)
{
    char n[1400], e[16];

    b64_number(key, OSSL_PKEY_PARAM_RSA_N, 0, n);
    b64_number(key, OSSL_PKEY_PARAM_RSA_E, 0, e);
    snprintf(out, room, "{\"kty\":\"RSA\",\"kid\":\"%s\",\"n\":\"%s\",\"e\":\"%s\"%s}", kid, n, e,
             more);
}

static inline void ec_jwk(const EVP_PKEY *key, const char *curve, size_t width, const char *kid,
                          char *out, size_t room)
{
    char x[100], y[100];

    b64_number(key, OSSL_PKEY_PARAM_EC_PUB_X, width, x);
    b64_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, width, y);
    snprintf(out, room, "{\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"}",
             kid, curve, x, y);
}

/* r and s, as JOSE has them. */
static inline size_t raw_of_der(const unsigned char *der, size_t len, unsigned char *out)
{
    const unsigned char *at = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)len);

    BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32);
    ECDSA_SIG_free(sig);
    return 64;
}

/* @param salt  of PS256; 32 is right */
static inline size_t sign_bytes(EVP_PKEY *key, const char *alg, int salt, const char *text,
                                size_t len, unsigned char out[1024])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *params;
    unsigned char der[1024];
    size_t size = sizeof(der);

    if (EVP_DigestSignInit(ctx, &params, EVP_sha256(), NULL, key) != 1)
        abort();
    if (strcmp(alg, "PS256") == 0 &&
        (EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING) != 1 ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(params, salt) != 1))
        abort();
    if (EVP_DigestSign(ctx, der, &size, (const unsigned char *)text, len) != 1)
        abort();
    EVP_MD_CTX_free(ctx);
    if (strcmp(alg, "ES256") == 0)
        return raw_of_der(der, size, out);
    memcpy(out, der, size);
    return size;
}

/* header.claims, then the signature. The result is static. */
static inline const char *sign_token(EVP_PKEY *key, const char *alg, int salt, const char *header,
                                     const char *claims)
{
    static char token[32768];
    unsigned char signature[1024];
    char encoded[1400];
    size_t len;

    b64_write((const unsigned char *)header, strlen(header), token);
    strcat(token, ".");
    b64_write((const unsigned char *)claims, strlen(claims), token + strlen(token));
    len = sign_bytes(key, alg, salt, token, strlen(token), signature);
    b64_write(signature, len, encoded);
    strcat(token, ".");
    strcat(token, encoded);
    return token;
}
