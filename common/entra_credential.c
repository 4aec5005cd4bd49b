/* See entra_credential.h. */
#include "common/entra_credential.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define FINGERPRINT_LABEL "tranche entra credential 1"

/* A piece with its length before it, so that no two lists of pieces read alike. */
static bool add(EVP_MD_CTX *ctx, const void *bytes, size_t len)
{
    uint64_t size = len;

    return EVP_DigestUpdate(ctx, &size, sizeof(size)) == 1 &&
           (len == 0 || EVP_DigestUpdate(ctx, bytes, len) == 1);
}

/* None and "" are two things. */
static bool add_text(EVP_MD_CTX *ctx, const char *text)
{
    return text == NULL ? add(ctx, NULL, 0) : add(ctx, text, strlen(text) + 1);
}

static bool add_all(EVP_MD_CTX *ctx, const struct entra_credential *c)
{
    const unsigned char kinds[] = {(unsigned char)c->kind, (unsigned char)c->source,
                                   (unsigned char)c->selector, c->send_chain};
    const char *const texts[] = {c->authority, c->tenant,   c->client_id,     c->scope,
                                 c->path,      c->endpoint, c->selector_value};
    bool ok = add_text(ctx, FINGERPRINT_LABEL) && add(ctx, kinds, sizeof(kinds));

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        ok = ok && add_text(ctx, texts[i]);
    return ok && add(ctx, c->secret.data, c->secret.len);
}

int entra_credential_seal(struct entra_credential *credential)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char digest[EVP_MAX_MD_SIZE];
    bool ok = ctx != NULL && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1 &&
              add_all(ctx, credential) && EVP_DigestFinal_ex(ctx, digest, NULL) == 1;

    EVP_MD_CTX_free(ctx);
    if (!ok)
        return ERR_NOMEM;
    memcpy(&credential->fingerprint, digest, sizeof(credential->fingerprint));
    if (credential->fingerprint == 0)
        credential->fingerprint = 1;
    return 0;
}

bool entra_credential_equal(const struct entra_credential *a, const struct entra_credential *b)
{
    return a->fingerprint == b->fingerprint;
}

const char *entra_kind_name(enum entra_kind kind)
{
    static const char *const names[ENTRA_KINDS] = {"secret", "certificate", "assertion_file",
                                                   "assertion_env", "managed_identity"};

    return names[kind];
}

const char *entra_source_name(enum entra_source source)
{
    static const char *const names[] = {"none",        "imds", "app_service",   "azure_ml",
                                        "cloud_shell", "arc",  "service_fabric"};

    return names[source];
}

void entra_credential_deinit(struct entra_credential *credential)
{
    free(credential->name);
    free(credential->authority);
    free(credential->tenant);
    free(credential->client_id);
    free(credential->scope);
    free(credential->path);
    free(credential->endpoint);
    free(credential->selector_value);
    secret_clear(&credential->secret);
    *credential = (struct entra_credential){0};
}
