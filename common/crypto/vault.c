/* See vault.h. */
#include "crypto/vault.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "common/hex.h"

#define VERSION    "v1."
#define HEAD       (sizeof(VERSION) - 1 + VAULT_NAME + 1) /* with the dot behind the name */
#define NONCE      12
#define TAG        16
#define NAME_WORDS "tranche vault, name of a key"

int vault_add(struct vault *vault, const unsigned char bytes[VAULT_KEY_BYTES])
{
    const struct sha256_piece pieces[] = {{NAME_WORDS, strlen(NAME_WORDS)},
                                          {bytes, VAULT_KEY_BYTES}};
    unsigned char hash[SHA256_BYTES];
    struct vault_key *key;

    if (vault->num == VAULT_MAX_KEYS)
        return ERR_LIMIT;
    key = &vault->keys[vault->num++];
    memcpy(key->bytes, bytes, VAULT_KEY_BYTES);
    sha256_of(pieces, 2, hash);
    hex_write(hash, VAULT_NAME / 2, key->name);
    return 0;
}

void vault_clear(struct vault *vault)
{
    OPENSSL_cleanse(vault, sizeof(*vault));
}

/* ---- sealing ---- */

/* @param out  NONCE + len + TAG bytes; the nonce is there */
static bool encrypt(const struct vault_key *key, const char *what, const char *text, int len,
                    unsigned char *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int got = 0, rest = 0;
    bool ok =
        ctx != NULL && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->bytes, out) == 1 &&
        EVP_EncryptUpdate(ctx, NULL, &got, (const unsigned char *)what, (int)strlen(what)) == 1 &&
        EVP_EncryptUpdate(ctx, out + NONCE, &got, (const unsigned char *)text, len) == 1 &&
        EVP_EncryptFinal_ex(ctx, out + NONCE + got, &rest) == 1 &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, out + NONCE + len) == 1;

    assert(!ok || got + rest == len);
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

static void write_sealed(const struct vault_key *key, const unsigned char *bytes, size_t len,
                         struct strbuf *out)
{
    size_t before;

    strbuf_addf(out, VERSION "%s.", key->name);
    before = out->len;
    if (strbuf_reserve(out, (len + 2) / 3 * 4 + 1) != 0)
        return;
    out->len =
        before + (size_t)EVP_EncodeBlock((unsigned char *)out->data + before, bytes, (int)len);
}

int vault_seal(const struct vault *vault, const char *what, const char *text, size_t len,
               struct strbuf *out)
{
    size_t size = NONCE + len + TAG;
    unsigned char *bytes;
    int ret = ERR_NOMEM;

    assert(len <= 1 << 20);
    if (vault->num == 0)
        return ERR_INVALID;
    bytes = malloc(size);
    if (bytes == NULL)
        return ERR_NOMEM;
    if (RAND_bytes(bytes, NONCE) != 1)
        ret = ERR_IO;
    else if (encrypt(&vault->keys[0], what, text, (int)len, bytes))
        ret = 0;
    if (ret == 0)
        write_sealed(&vault->keys[0], bytes, size, out);
    free(bytes);
    return ret == 0 && strbuf_failed(out) ? ERR_NOMEM : ret;
}

/* ---- opening ---- */

static const struct vault_key *find_key(const struct vault *vault, const char *sealed)
{
    const char *name = sealed + strlen(VERSION);

    for (size_t i = 0; i < vault->num; i++)
        if (strncmp(vault->keys[i].name, name, VAULT_NAME) == 0)
            return &vault->keys[i];
    return NULL;
}

static bool has_form(const char *sealed)
{
    return strncmp(sealed, VERSION, strlen(VERSION)) == 0 && strlen(sealed) > HEAD &&
           sealed[HEAD - 1] == '.';
}

bool vault_is_current(const struct vault *vault, const char *sealed)
{
    return has_form(sealed) && vault->num > 0 && find_key(vault, sealed) == &vault->keys[0];
}

static int decrypt(const struct vault_key *key, const char *what, unsigned char *bytes, size_t len,
                   char *out)
{
    int text_len = (int)(len - NONCE - TAG), got = 0, rest = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok;

    if (ctx == NULL)
        return ERR_NOMEM;
    ok = EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->bytes, bytes) == 1 &&
         EVP_DecryptUpdate(ctx, NULL, &got, (const unsigned char *)what, (int)strlen(what)) == 1 &&
         EVP_DecryptUpdate(ctx, (unsigned char *)out, &got, bytes + NONCE, text_len) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, bytes + len - TAG) == 1 &&
         EVP_DecryptFinal_ex(ctx, (unsigned char *)out + got, &rest) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (!ok)
        OPENSSL_cleanse(out, (size_t)text_len);
    out[ok ? text_len : 0] = '\0';
    return ok ? 0 : ERR_FORGED;
}

/* @return bytes; 0: it is none */
static size_t decode(const char *base64, size_t len, unsigned char *out)
{
    size_t padding = len > 0 && base64[len - 1] == '=' ? 1 : 0;
    int got = len % 4 == 0 ? EVP_DecodeBlock(out, (const unsigned char *)base64, (int)len) : -1;

    if (padding == 1 && base64[len - 2] == '=')
        padding = 2;
    return got > 0 ? (size_t)got - padding : 0;
}

int vault_open(const struct vault *vault, const char *what, const char *sealed, char *out,
               size_t size)
{
    const struct vault_key *key;
    unsigned char *bytes;
    size_t len;
    int ret;

    assert(size > 0);
    out[0] = '\0';
    if (!has_form(sealed))
        return ERR_SYNTAX;
    key = find_key(vault, sealed);
    if (key == NULL)
        return ERR_NOT_FOUND;
    len = strlen(sealed + HEAD);
    bytes = malloc(len + 3);
    if (bytes == NULL)
        return ERR_NOMEM;
    len = decode(sealed + HEAD, len, bytes);
    if (len < NONCE + TAG)
        ret = ERR_SYNTAX;
    else if (len - NONCE - TAG >= size)
        ret = ERR_LIMIT;
    else
        ret = decrypt(key, what, bytes, len, out);
    free(bytes);
    return ret;
}
