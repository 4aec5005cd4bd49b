/* See entra_certificate.h. PEM is read block by block, so that each thing that people put into such a
 * file has an answer of its own; what the blocks mean is OpenSSL's work. */
#include "entra/entra_certificate.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "common/hidden.h"
#include "common/strbuf.h"
#include "entra/entra_request.h"
#include "json/json.h"
#include "jwt/base64url.h"

#define HASH_BYTES 32
/* Of a password's derivation: half a second. Tools make 2,048 to 600,000. */
#define MAX_ROUNDS 1000000

struct entra_certificate {
    EVP_PKEY *key;                      /* owned */
    X509 *list[ENTRA_MAX_CERTIFICATES]; /* owned; as the file has them */
    size_t num;
    size_t leaf; /* of `list`: the key's */
};

static int refuse(struct entra_error *error, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(struct entra_error *error, int err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(error->message, sizeof(error->message), fmt, args);
    va_end(args);
    return err;
}

void entra_certificate_free(struct entra_certificate *certificate)
{
    if (certificate == NULL)
        return;
    EVP_PKEY_free(certificate->key);
    for (size_t i = 0; i < certificate->num; i++)
        X509_free(certificate->list[i]);
    free(certificate);
}

/* --- what stands in a file --- */

static int add_key(struct entra_certificate *c, EVP_PKEY *key, struct entra_error *error)
{
    if (key == NULL)
        return refuse(error, ERR_INVALID, "its private key cannot be read");
    if (c->key != NULL) {
        EVP_PKEY_free(key);
        return refuse(error, ERR_INVALID, "it has more than one private key");
    }
    c->key = key;
    return 0;
}

/* Takes the certificate. */
static int add_certificate(struct entra_certificate *c, X509 *x, struct entra_error *error)
{
    if (x == NULL)
        return refuse(error, ERR_INVALID, "one of its certificates cannot be read");
    if (c->num == ENTRA_MAX_CERTIFICATES) {
        X509_free(x);
        return refuse(error, ERR_INVALID, "it has more than %d certificates",
                      ENTRA_MAX_CERTIFICATES);
    }
    c->list[c->num++] = x;
    return 0;
}

/* How often a password is hashed for a key; 0: it is not, or not in a way that has a number. */
static int64_t rounds_of(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *object = NULL;
    const void *parameter = NULL;
    int64_t rounds = 0;
    int type = 0;

    X509_ALGOR_get0(&object, &type, &parameter, algorithm);
    if (type != V_ASN1_SEQUENCE)
        return 0;
    if (OBJ_obj2nid(object) == NID_pbes2) {
        PBE2PARAM *two = ASN1_item_unpack(parameter, ASN1_ITEM_rptr(PBE2PARAM));
        PBKDF2PARAM *of = NULL;

        if (two != NULL && OBJ_obj2nid(two->keyfunc->algorithm) == NID_id_pbkdf2)
            of = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), two->keyfunc->parameter);
        if (of != NULL)
            (void)ASN1_INTEGER_get_int64(&rounds, of->iter);
        PBKDF2PARAM_free(of);
        PBE2PARAM_free(two);
    } else {
        PBEPARAM *one = ASN1_item_unpack(parameter, ASN1_ITEM_rptr(PBEPARAM));

        if (one != NULL)
            (void)ASN1_INTEGER_get_int64(&rounds, one->iter);
        PBEPARAM_free(one);
    }
    return rounds;
}

static bool is_too_slow(const X509_ALGOR *algorithm)
{
    return rounds_of(algorithm) > MAX_ROUNDS;
}

static int refuse_slow(struct entra_error *error)
{
    return refuse(error, ERR_INVALID, "its password is hashed more than %d times", MAX_ROUNDS);
}

/* --- PEM --- */

struct block {
    char *name, *header; /* owned */
    unsigned char *data; /* owned */
    long len;
};

static void free_block(struct block *block)
{
    OPENSSL_secure_free(block->name);
    OPENSSL_secure_free(block->header);
    OPENSSL_secure_clear_free(block->data, block->len > 0 ? (size_t)block->len : 0);
    *block = (struct block){NULL};
}

static EVP_PKEY *open_pkcs8(const PKCS8_PRIV_KEY_INFO *info)
{
    return info != NULL ? EVP_PKCS82PKEY(info) : NULL;
}

static int take_plain_key(struct entra_certificate *c, const struct block *block,
                          struct entra_error *error)
{
    const unsigned char *at = block->data;
    PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &at, block->len);
    EVP_PKEY *key = open_pkcs8(info);

    PKCS8_PRIV_KEY_INFO_free(info);
    return add_key(c, key, error);
}

static int take_encrypted_key(struct entra_certificate *c, const struct block *block,
                              const struct secret *password, struct entra_error *error)
{
    const unsigned char *at = block->data;
    X509_SIG *sealed = d2i_X509_SIG(NULL, &at, block->len);
    const X509_ALGOR *algorithm = NULL;
    PKCS8_PRIV_KEY_INFO *info = NULL;
    int err = 0;

    if (sealed != NULL)
        X509_SIG_get0(sealed, &algorithm, NULL);
    if (sealed == NULL)
        err = refuse(error, ERR_INVALID, "its private key cannot be read");
    else if (password == NULL || !secret_is_set(password))
        err = refuse(error, ERR_INVALID, "its private key is encrypted, and there is no password");
    else if (is_too_slow(algorithm))
        err = refuse_slow(error);
    else if ((info = PKCS8_decrypt(sealed, password->data, (int)password->len)) == NULL)
        err = refuse(error, ERR_INVALID, "its private key does not open with the password");
    if (err == 0)
        err = add_key(c, open_pkcs8(info), error);
    PKCS8_PRIV_KEY_INFO_free(info);
    X509_SIG_free(sealed);
    return err;
}

static int take_rsa_key(struct entra_certificate *c, const struct block *block,
                        struct entra_error *error)
{
    const unsigned char *at = block->data;

    return add_key(c, d2i_PrivateKey(EVP_PKEY_RSA, NULL, &at, block->len), error);
}

static int take_certificate(struct entra_certificate *c, const struct block *block,
                            struct entra_error *error)
{
    const unsigned char *at = block->data;

    return add_certificate(c, d2i_X509(NULL, &at, block->len), error);
}

static bool ends_in(const char *text, const char *tail)
{
    size_t len = strlen(text), part = strlen(tail);

    return len >= part && strcmp(text + len - part, tail) == 0;
}

static int take_block(struct entra_certificate *c, const struct block *block,
                      const struct secret *password, struct entra_error *error)
{
    if (block->header[0] != '\0' && ends_in(block->name, "PRIVATE KEY"))
        return refuse(
            error, ERR_INVALID,
            "its private key is encrypted in the old form (DEK-Info), which is not taken; "
            "openssl pkcs8 -topk8 -in OLD -out NEW makes the new one");
    if (strcmp(block->name, PEM_STRING_PKCS8INF) == 0)
        return take_plain_key(c, block, error);
    if (strcmp(block->name, PEM_STRING_PKCS8) == 0)
        return take_encrypted_key(c, block, password, error);
    if (strcmp(block->name, PEM_STRING_RSA) == 0)
        return take_rsa_key(c, block, error);
    if (strcmp(block->name, PEM_STRING_X509) == 0 || strcmp(block->name, PEM_STRING_X509_OLD) == 0)
        return take_certificate(c, block, error);
    if (ends_in(block->name, "PRIVATE KEY"))
        return refuse(error, ERR_INVALID,
                      "its private key is not RSA, the only kind that is taken");
    return 0; /* parameters, requests: of no use, and no harm */
}

static int read_pem(struct entra_certificate *c, BIO *bio, const struct secret *password,
                    struct entra_error *error)
{
    struct block block = {NULL};
    int err = 0;

    while (err == 0 && PEM_read_bio_ex(bio, &block.name, &block.header, &block.data, &block.len,
                                       PEM_FLAG_SECURE | PEM_FLAG_EAY_COMPATIBLE) == 1) {
        err = take_block(c, &block, password, error);
        free_block(&block);
    }
    if (err == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        err = refuse(error, ERR_INVALID, "its PEM is damaged");
    return err;
}

/* --- PFX --- */

static bool bags_are_slow(const STACK_OF(PKCS12_SAFEBAG) * bags)
{
    for (int i = 0; bags != NULL && i < sk_PKCS12_SAFEBAG_num(bags); i++) {
        const X509_SIG *sealed = PKCS12_SAFEBAG_get0_pkcs8(sk_PKCS12_SAFEBAG_value(bags, i));
        const X509_ALGOR *algorithm = NULL;

        if (sealed != NULL)
            X509_SIG_get0(sealed, &algorithm, NULL);
        if (algorithm != NULL && is_too_slow(algorithm))
            return true;
    }
    return false;
}

static bool safe_is_slow(PKCS7 *safe)
{
    STACK_OF(PKCS12_SAFEBAG) * bags;
    bool slow;

    if (PKCS7_type_is_encrypted(safe))
        return safe->d.encrypted != NULL && is_too_slow(safe->d.encrypted->enc_data->algorithm);
    if (!PKCS7_type_is_data(safe) || safe->d.data == NULL)
        return false;
    bags = PKCS12_unpack_p7data(safe);
    slow = bags_are_slow(bags);
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
    return slow;
}

static bool pfx_is_slow(const PKCS12 *pfx)
{
    const ASN1_INTEGER *rounds = NULL;
    STACK_OF(PKCS7) * safes;
    int64_t num = 0;
    bool slow;

    PKCS12_get0_mac(NULL, NULL, NULL, &rounds, pfx);
    if (rounds != NULL && (ASN1_INTEGER_get_int64(&num, rounds) != 1 || num > MAX_ROUNDS))
        return true;
    slow = false;
    safes = PKCS12_unpack_authsafes(pfx);
    for (int i = 0; safes != NULL && !slow && i < sk_PKCS7_num(safes); i++)
        slow = safe_is_slow(sk_PKCS7_value(safes, i));
    sk_PKCS7_pop_free(safes, PKCS7_free);
    return slow;
}

static int refuse_pfx(struct entra_error *error)
{
    unsigned long code = ERR_peek_last_error();

    if (ERR_GET_LIB(code) == ERR_LIB_PKCS12 && ERR_GET_REASON(code) == PKCS12_R_MAC_VERIFY_FAILURE)
        return refuse(error, ERR_INVALID, "its password is another one");
    return refuse(error, ERR_INVALID,
                  "it does not open: it is damaged, or encrypted in a way that OpenSSL 3 has given "
                  "up (RC2); openssl pkcs12 -export makes a new one");
}

/* Takes the stack. */
static int add_others(struct entra_certificate *c, STACK_OF(X509) * others,
                      struct entra_error *error)
{
    X509 *x;
    int err = 0;

    while (err == 0 && others != NULL && (x = sk_X509_shift(others)) != NULL)
        err = add_certificate(c, x, error);
    sk_X509_pop_free(others, X509_free);
    return err;
}

static int read_pfx(struct entra_certificate *c, BIO *bio, const struct secret *password,
                    struct entra_error *error)
{
    const char *pass = password != NULL && secret_is_set(password) ? password->data : NULL;
    PKCS12 *pfx = d2i_PKCS12_bio(bio, NULL);
    STACK_OF(X509) *others = NULL;
    X509 *leaf = NULL;
    EVP_PKEY *key = NULL;
    int err = 0;

    if (pfx == NULL)
        return refuse(error, ERR_INVALID, "it is neither PEM nor PFX");
    if (pfx_is_slow(pfx))
        err = refuse_slow(error);
    else if (PKCS12_parse(pfx, pass, &key, &leaf, &others) != 1)
        err = refuse_pfx(error);
    PKCS12_free(pfx);
    if (err == 0 && key != NULL)
        err = add_key(c, key, error);
    if (err == 0 && leaf != NULL)
        err = add_certificate(c, leaf, error);
    return err == 0 ? add_others(c, others, error) : err;
}

/* --- both --- */

static int judge_key(const struct entra_certificate *c, struct entra_error *error)
{
    int bits;

    if (c->key == NULL)
        return refuse(error, ERR_INVALID, "it has no private key");
    if (!EVP_PKEY_is_a(c->key, "RSA"))
        return refuse(error, ERR_INVALID,
                      "its private key is not RSA, the only kind that is taken");
    bits = EVP_PKEY_get_bits(c->key);
    if (bits < ENTRA_MIN_RSA || bits > ENTRA_MAX_RSA)
        return refuse(error, ERR_INVALID, "its private key has %d bits; %d to %d are taken", bits,
                      ENTRA_MIN_RSA, ENTRA_MAX_RSA);
    return 0;
}

static int find_leaf(struct entra_certificate *c, struct entra_error *error)
{
    if (c->num == 0)
        return refuse(error, ERR_INVALID, "it has a private key and no certificate");
    for (c->leaf = 0; c->leaf < c->num; c->leaf++) {
        const EVP_PKEY *its = X509_get0_pubkey(c->list[c->leaf]);

        if (its != NULL && EVP_PKEY_eq(its, c->key) == 1)
            return 0;
    }
    return refuse(error, ERR_INVALID, "none of its certificates (%zu) fits its private key",
                  c->num);
}

static bool is_pem(const char *bytes, size_t len)
{
    return memmem(bytes, len, "-----BEGIN ", 11) != NULL;
}

static int read_all(struct entra_certificate *c, const char *bytes, size_t len,
                    const struct secret *password, struct entra_error *error)
{
    BIO *bio = len <= INT_MAX ? BIO_new_mem_buf(bytes, (int)len) : NULL;
    int err;

    if (bio == NULL)
        return refuse(error, ERR_NOMEM, "out of memory");
    ERR_clear_error();
    err =
        is_pem(bytes, len) ? read_pem(c, bio, password, error) : read_pfx(c, bio, password, error);
    if (err == 0)
        err = judge_key(c, error);
    if (err == 0)
        err = find_leaf(c, error);
    BIO_free(bio);
    ERR_clear_error();
    return err;
}

int entra_certificate_read(const char *bytes, size_t len, const struct secret *password,
                           struct entra_certificate **out, struct entra_error *error)
{
    int err;

    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return refuse(error, ERR_NOMEM, "out of memory");
    err = read_all(*out, bytes, len, password, error);
    if (err != 0) {
        entra_certificate_free(*out);
        *out = NULL;
    }
    return err;
}

int64_t entra_certificate_ends(const struct entra_certificate *certificate)
{
    struct tm tm;

    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate->list[certificate->leaf]), &tm) != 1)
        return INT64_MAX;
    return (int64_t)timegm(&tm);
}

struct check {
    const char *bytes;
    size_t len;
    const struct secret *password;
    int64_t *ends_unix_s;
    struct entra_error *error;
    int err;
};

static void check(void *arg)
{
    struct check *k = arg;
    struct entra_certificate *certificate = NULL;

    k->err = entra_certificate_read(k->bytes, k->len, k->password, &certificate, k->error);
    if (k->err == 0 && k->ends_unix_s != NULL)
        *k->ends_unix_s = entra_certificate_ends(certificate);
    entra_certificate_free(certificate);
}

int entra_certificate_check(const char *bytes, size_t len, const struct secret *password,
                            int64_t *ends_unix_s, struct entra_error *error)
{
    struct check k = {bytes, len, password, ends_unix_s, error, ERR_NOMEM};

    hidden_run(check, &k);
    return k.err;
}

/* --- the assertion (entra 2.2) --- */

static void add_base64url(struct strbuf *out, const void *bytes, size_t len)
{
    size_t length = base64url_length(len);

    if (strbuf_reserve(out, length) != 0)
        return;
    base64url_write(bytes, len, out->data + out->len);
    out->len += length;
    out->data[out->len] = '\0';
}

static void add_der(struct strbuf *out, X509 *x)
{
    unsigned char *der = NULL;
    int len = i2d_X509(x, &der);

    if (len > 0 && strbuf_reserve(out, (size_t)len * 2) == 0)
        out->len += (size_t)EVP_EncodeBlock((unsigned char *)out->data + out->len, der, len);
    else
        out->failed = true;
    OPENSSL_free(der);
}

/* The one that signed another; itself when it is not there. */
static size_t issuer_of(const struct entra_certificate *c, size_t at)
{
    for (size_t i = 0; i < c->num; i++)
        if (i != at && X509_NAME_cmp(X509_get_subject_name(c->list[i]),
                                     X509_get_issuer_name(c->list[at])) == 0)
            return i;
    return at;
}

/* From the leaf up to where the file ends; what belongs to no chain of it stays away. */
static void add_chain(struct strbuf *out, const struct entra_certificate *c)
{
    size_t at = c->leaf;

    for (size_t i = 0; i < c->num; i++) {
        size_t next = issuer_of(c, at);

        strbuf_adds(out, i == 0 ? ",\"x5c\":[\"" : ",\"");
        add_der(out, c->list[at]);
        strbuf_addc(out, '"');
        if (next == at)
            break;
        at = next;
    }
    strbuf_addc(out, ']');
}

static void write_header(const struct entra_certificate *c, bool send_chain, struct strbuf *out)
{
    unsigned char hash[HASH_BYTES];
    unsigned len = 0;

    if (X509_digest(c->list[c->leaf], EVP_sha256(), hash, &len) != 1)
        out->failed = true;
    strbuf_adds(out, "{\"alg\":\"PS256\",\"typ\":\"JWT\",\"x5t#S256\":\"");
    add_base64url(out, hash, sizeof(hash));
    strbuf_addc(out, '"');
    if (send_chain)
        add_chain(out, c);
    strbuf_addc(out, '}');
}

static void write_claims(const struct entra_claims *claims, struct strbuf *out)
{
    strbuf_addc(out, '{');
    json_write_member_string(out, "aud", claims->audience);
    json_write_member_string(out, "iss", claims->client_id);
    json_write_member_string(out, "sub", claims->client_id);
    json_write_member_string(out, "jti", claims->jti);
    json_write_member_int(out, "nbf", claims->now_unix_s);
    json_write_member_int(out, "exp", claims->now_unix_s + ENTRA_ASSERTION_LIFE_S);
    strbuf_addc(out, '}');
}

/* PSS with SHA-256 in both places and a salt of its length (RFC 7518 section 3.5).
 * @return bytes; 0: the key is no good after all, or out of memory */
static size_t make_signature(EVP_PKEY *key, const struct strbuf *text, unsigned char *out,
                             size_t room)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *params = NULL;
    bool good = ctx != NULL && EVP_DigestSignInit(ctx, &params, EVP_sha256(), NULL, key) == 1 &&
                EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING) == 1 &&
                EVP_PKEY_CTX_set_rsa_mgf1_md(params, EVP_sha256()) == 1 &&
                EVP_PKEY_CTX_set_rsa_pss_saltlen(params, RSA_PSS_SALTLEN_DIGEST) == 1 &&
                EVP_DigestSign(ctx, out, &room, (const unsigned char *)text->data, text->len) == 1;

    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return good ? room : 0;
}

/* Header and claims are no secret: what the signature makes of them is. */
static void write_signed_part(const struct entra_certificate *c, const struct entra_claims *claims,
                              struct strbuf *out)
{
    struct strbuf part = STRBUF_INIT;

    write_header(c, claims->send_chain, &part);
    add_base64url(out, strbuf_str(&part), part.len);
    out->failed |= strbuf_failed(&part);
    strbuf_reset(&part);
    write_claims(claims, &part);
    strbuf_addc(out, '.');
    add_base64url(out, strbuf_str(&part), part.len);
    out->failed |= strbuf_failed(&part);
    strbuf_deinit(&part);
}

int entra_certificate_sign(const struct entra_certificate *certificate,
                           const struct entra_claims *claims, struct secret *out,
                           struct entra_error *error)
{
    unsigned char signature[ENTRA_MAX_RSA / 8];
    struct strbuf text = STRBUF_INIT;
    size_t len = 0, size;
    int err = 0;

    write_signed_part(certificate, claims, &text);
    if (!strbuf_failed(&text))
        len = make_signature(certificate->key, &text, signature, sizeof(signature));
    size = text.len + 1 + base64url_length(len);
    if (len == 0 && !strbuf_failed(&text))
        err = refuse(error, ERR_INVALID, "its private key does not sign");
    else if (size > ENTRA_MAX_ASSERTION)
        err = refuse(error, ERR_LIMIT, "its certificates are too many for an assertion");
    else if (strbuf_failed(&text) || secret_room(out, size) != 0)
        err = refuse(error, ERR_NOMEM, "out of memory");
    if (err == 0) {
        memcpy(out->data, text.data, text.len);
        out->data[text.len] = '.';
        base64url_write(signature, len, out->data + text.len + 1);
    }
    secret_wipe(signature, sizeof(signature));
    strbuf_deinit(&text);
    return err;
}
