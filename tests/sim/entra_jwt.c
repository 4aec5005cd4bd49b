/* Client assertions: signed with a certificate that the client has registered (RFC 7523, Entra's
 * certificate credentials), or given by another issuer that it trusts. Written without the
 * gateway's own readers, so that they do not share a mistake. See entra.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "entra.h"

#define LIFE_MAX_S 600 /* exp - nbf */
#define SKEW_S     300

struct assertion {
    struct json_doc *doc; /* owned */
    const struct json *header;
    const struct json *claims;
    const char *text; /* borrowed */
    size_t signed_len;
    unsigned char signature[1024];
    size_t signature_len;
};

static int value_of(char c)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *hit = c == '\0' ? NULL : strchr(set, c == '+' ? '-' : c == '/' ? '_' : c);

    return hit == NULL ? -1 : (int)(hit - set);
}

/* Either alphabet, with or without padding. Returns bytes, or -1. */
static int decode64(const char *text, size_t len, unsigned char *out, size_t max)
{
    uint32_t bits = 0;
    size_t n = 0;
    int have = 0;

    while (len > 0 && text[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        int v = value_of(text[i]);
        if (v < 0 || n == max)
            return -1;
        bits = (bits << 6) | (uint32_t)v;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (unsigned char)(bits >> have);
        }
    }
    return (int)n;
}

static bool is_url_safe(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (strchr("+/=", text[i]) != NULL)
            return false;
    }
    return true;
}

static const struct json *part(struct assertion *a, const char *p, size_t len)
{
    struct json_error error;
    unsigned char *text = sim_alloc(len + 1);
    int n = is_url_safe(p, len) ? decode64(p, len, text, len + 1) : -1;
    const struct json *v =
        n < 0 ? NULL : json_parse_most(a->doc, (char *)text, (size_t)n, SIZE_MAX, &error);

    free(text);
    return json_is(v, JSON_OBJECT) ? v : NULL;
}

static bool assertion_open(struct assertion *a, const char *text)
{
    const char *dot = strchr(text, '.');
    const char *last = dot == NULL ? NULL : strchr(dot + 1, '.');

    *a = (struct assertion){.doc = json_doc_new(), .text = text};
    if (last == NULL || !is_url_safe(last + 1, strlen(last + 1)))
        return false;
    a->header = part(a, text, (size_t)(dot - text));
    a->claims = part(a, dot + 1, (size_t)(last - dot - 1));
    a->signed_len = (size_t)(last - text);
    int n = decode64(last + 1, strlen(last + 1), a->signature, sizeof(a->signature));
    a->signature_len = n < 0 ? 0 : (size_t)n;
    return a->header != NULL && a->claims != NULL && n > 0;
}

/* Whether a member of the header is the digest of the certificate. */
static bool names(const struct json *header, const char *key, const X509 *cert, const EVP_MD *md)
{
    const char *text = json_get_str(header, key);
    unsigned char want[EVP_MAX_MD_SIZE], got[EVP_MAX_MD_SIZE];
    unsigned int len = 0;

    return text != NULL && X509_digest(cert, md, want, &len) == 1 &&
           decode64(text, strlen(text), got, sizeof(got)) == (int)len &&
           memcmp(want, got, len) == 0;
}

static X509 *certificate_of(const struct entra_client *client, const struct json *header)
{
    for (size_t i = 0; i < client->n_certificates; i++) {
        X509 *cert = client->certificates[i];
        if (names(header, "x5t#S256", cert, EVP_sha256()) ||
            (json_get_str(header, "x5t#S256") == NULL && names(header, "x5t", cert, EVP_sha1())))
            return cert;
    }
    return NULL;
}

/* x5c: plain base64 of DER, the leaf first. */
static bool chain_ok(const struct json *header, const X509 *cert, bool needed)
{
    const struct json *chain = json_get(header, "x5c");
    const char *leaf = json_str(json_at(chain, 0), NULL);
    unsigned char got[8192], *der = NULL;
    bool same = false;

    if (chain == NULL)
        return !needed;
    int len = i2d_X509(cert, &der);
    if (leaf != NULL && len > 0 && strpbrk(leaf, "-_") == NULL)
        same = decode64(leaf, strlen(leaf), got, sizeof(got)) == len &&
               memcmp(got, der, (size_t)len) == 0;
    OPENSSL_free(der);
    return same;
}

static bool signature_ok(const struct assertion *a, const X509 *cert, bool pss)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *key = NULL;
    bool ok = md != NULL &&
              EVP_DigestVerifyInit(md, &key, EVP_sha256(), NULL, X509_get0_pubkey(cert)) == 1;

    if (ok && pss)
        ok = EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING) == 1 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(key, RSA_PSS_SALTLEN_DIGEST) == 1;
    ok = ok && EVP_DigestVerify(md, a->signature, a->signature_len, (const unsigned char *)a->text,
                                a->signed_len) == 1;
    EVP_MD_CTX_free(md);
    return ok;
}

static bool seen_before(struct entra *e, const char *jti)
{
    for (size_t i = 0; i < e->n_jtis; i++) {
        if (strcmp(e->jtis[i], jti) == 0)
            return true;
    }
    e->jtis = sim_realloc(e->jtis, (e->n_jtis + 1) * sizeof(*e->jtis));
    e->jtis[e->n_jtis++] = sim_strdup(jti);
    return false;
}

static bool invalid(struct token_ask *ask, int number, const char *text)
{
    entra_refuse(ask, 401, "invalid_client", number, text);
    return false;
}

/* exp and nbf are needed; iat is not. */
static bool times_ok(struct token_ask *ask, const struct json *claims)
{
    int64_t now = entra_now_s(ask->acc), exp = 0, nbf = 0;

    if (!json_int64(json_get(claims, "exp"), &exp) || !json_int64(json_get(claims, "nbf"), &nbf))
        return invalid(ask, 50027, "JWT token is invalid or malformed: exp or nbf is missing.");
    if (exp - nbf > LIFE_MAX_S || exp <= nbf)
        return invalid(ask, 700024,
                       "Client assertion is not within its valid time range: more than 10 minutes "
                       "from nbf to exp.");
    if (exp <= now - SKEW_S || nbf > now + SKEW_S)
        return invalid(ask, 700024, "Client assertion is not within its valid time range.");
    return true;
}

static bool claims_ok(struct token_ask *ask, const struct json *claims, const char *url)
{
    const char *issuer = json_get_str(claims, "iss");
    const char *subject = json_get_str(claims, "sub");
    const char *jti = json_get_str(claims, "jti");

    if (!text_is(issuer, ask->note.client) || !text_is(subject, ask->note.client))
        return invalid(ask, 700021,
                       "Client assertion application identifier doesn't match 'client_id' "
                       "parameter.");
    if (!text_is(json_get_str(claims, "aud"), url))
        return invalid(ask, 700023, "Client assertion audience claim does not match Realm issuer.");
    if (!times_ok(ask, claims))
        return false;
    if (jti == NULL || jti[0] == '\0' || seen_before(ask->entra, jti))
        return invalid(ask, 50027,
                       "JWT token is invalid or malformed: jti is missing or was used "
                       "before.");
    return true;
}

static bool certificate_ok(struct token_ask *ask, const struct entra_client *client,
                           const struct assertion *a, const char *url)
{
    const char *alg = json_get_str(a->header, "alg");
    const char *only = ask->acc->sw.assertion_alg;
    X509 *cert = certificate_of(client, a->header);
    const char *typ = json_get_str(a->header, "typ");
    bool pss = text_is(alg, "PS256");
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    char which[64];

    ask->source = SOURCE_CERTIFICATE;
    if (cert == NULL)
        return invalid(ask, 700027,
                       "The certificate with identifier used to sign the client assertion is not "
                       "registered on application.");
    (void)X509_digest(cert, EVP_sha256(), digest, NULL);
    snprintf(which, sizeof(which), "certificate %02x%02x%02x%02x%02x%02x", digest[0], digest[1],
             digest[2], digest[3], digest[4], digest[5]);
    note_text(&ask->note.credential, which);
    if ((!pss && !text_is(alg, "RS256")) || (strcmp(only, "any") != 0 && !text_is(alg, only)) ||
        (typ != NULL && strcmp(typ, "JWT") != 0))
        return invalid(ask, 5002738, "Invalid JWT token: unsupported algorithm or type.");
    if (!chain_ok(a->header, cert, client->chain))
        return invalid(ask, 700027, "Client assertion contains an invalid x5c, or lacks it.");
    if (!signature_ok(a, cert, pss))
        return invalid(ask, 700027, "Client assertion failed signature validation.");
    return claims_ok(ask, a->claims, url);
}

/* Federated assertions. */

static bool misfit(struct token_ask *ask, const char *what)
{
    if (strcmp(what, "issuer") == 0)
        return invalid(ask, 700211,
                       "No matching federated identity record found for presented "
                       "assertion issuer.");
    if (strcmp(what, "audience") == 0)
        return invalid(ask, 700212,
                       "No matching federated identity record found for presented "
                       "assertion audience.");
    if (strcmp(what, "expired") == 0)
        return invalid(ask, 700024, "Client assertion is not within its valid time range.");
    return invalid(ask, 700213,
                   "No matching federated identity record found for presented "
                   "assertion subject.");
}

/* The claims of a foreign JWT; its signature is its issuer's affair. */
static bool foreign_ok(struct token_ask *ask, const struct entra_client *client,
                       const struct assertion *a)
{
    int64_t exp = 0;

    if (client->issuer != NULL && !text_is(client->issuer, json_get_str(a->claims, "iss")))
        return misfit(ask, "issuer");
    if (client->subject != NULL && !text_is(client->subject, json_get_str(a->claims, "sub")))
        return misfit(ask, "subject");
    if (client->audience != NULL && !text_is(client->audience, json_get_str(a->claims, "aud")))
        return misfit(ask, "audience");
    if (!json_int64(json_get(a->claims, "exp"), &exp) || exp <= entra_now_s(ask->acc))
        return misfit(ask, "expired");
    return true;
}

static bool federated_ok(struct token_ask *ask, const struct entra_client *client, const char *text,
                         const struct assertion *a)
{
    bool compared = client->issuer != NULL || client->subject != NULL || client->audience != NULL;
    char which[40];

    ask->source = SOURCE_ASSERTION;
    for (size_t i = 0; i < client->n_assertions; i++) {
        const struct entra_value *v = &client->assertions[i];
        if (strcmp(v->text, text) != 0)
            continue;
        snprintf(which, sizeof(which), "assertion %zu", i + 1);
        note_text(&ask->note.credential, which);
        return strcmp(v->state, "valid") == 0 || misfit(ask, v->state);
    }
    if (client->any_assertion)
        return true;
    if (a == NULL && client->n_assertions == 0)
        return invalid(ask, 50027, "JWT token is invalid or malformed.");
    if (a != NULL && compared)
        return foreign_ok(ask, client, a);
    return misfit(ask, "subject");
}

bool assertion_ok(struct token_ask *ask, const struct entra_client *client, const char *text,
                  const char *url)
{
    struct assertion a;
    bool readable = assertion_open(&a, text);
    bool ok = false;

    if (readable && (json_get(a.header, "x5t#S256") != NULL || json_get(a.header, "x5t") != NULL))
        ok = certificate_ok(ask, client, &a, url);
    else
        ok = federated_ok(ask, client, text, readable ? &a : NULL);
    json_doc_free(a.doc);
    return ok;
}
