/* See hook_sign.h. The base64 is OpenSSL's, which takes padded groups alone: what others would read
 * otherwise is refused before. */
#include "webhook/hook_sign.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "common/secret.h"
#include "common/strbuf.h"

#define NEW_BYTES 32
#define ALPHABET  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

static_assert(sizeof(HOOK_SECRET_PREFIX) - 1 + (NEW_BYTES + 2) / 3 * 4 == HOOK_NEW_SECRET,
              "what hook_secret_new() writes");

struct key {
    unsigned char bytes[HOOK_SECRET_MAX + 3]; /* EVP_DecodeBlock() writes whole groups */
    size_t len;
};

/* @return false: it is no padded base64 */
static bool decode(const char *text, struct key *out)
{
    size_t len = strlen(text), plain = strspn(text, ALPHABET), padding = len - plain;
    int got;

    if (len == 0 || len % 4 != 0 || padding > 2 || strspn(text + plain, "=") != padding)
        return false;
    got = EVP_DecodeBlock(out->bytes, (const unsigned char *)text, (int)len);
    if (got < 0)
        return false;
    out->len = (size_t)got - padding;
    return true;
}

/* @return NULL, or why it is none */
static const char *read_key(const char *secret, struct key *out)
{
    size_t prefix = strlen(HOOK_SECRET_PREFIX), len = strlen(secret);

    if (len > HOOK_SECRET_MAX)
        return "it is longer than 256 bytes";
    if (strncmp(secret, HOOK_SECRET_PREFIX, prefix) == 0) {
        if (!decode(secret + prefix, out))
            return "what follows whsec_ is not padded base64";
    } else {
        memcpy(out->bytes, secret, len);
        out->len = len;
    }
    return out->len < HOOK_SECRET_MIN ? "its key has less than 16 bytes" : NULL;
}

const char *hook_secret_fault(const char *secret)
{
    struct key key;
    const char *why = read_key(secret, &key);

    secret_wipe(&key, sizeof(key));
    for (const char *p = secret; why == NULL && *p != '\0'; p++)
        if (*p <= ' ' || *p > '~')
            why = "it has other characters than printable ASCII";
    return why;
}

int hook_secret_new(char out[HOOK_NEW_SECRET + 1])
{
    unsigned char bytes[NEW_BYTES];
    char *at = stpcpy(out, HOOK_SECRET_PREFIX);
    int ret = RAND_bytes(bytes, sizeof(bytes)) == 1 ? 0 : ERR_IO;

    if (ret == 0)
        EVP_EncodeBlock((unsigned char *)at, bytes, sizeof(bytes));
    secret_wipe(bytes, sizeof(bytes));
    return ret;
}

int hook_sign(const char *secret, const char *id, int64_t at_s, const char *body, size_t body_len,
              char out[HOOK_SIGNATURE + 1])
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    struct strbuf text = STRBUF_INIT;
    unsigned mac_len = 0;
    struct key key;
    int ret = ERR_NOMEM;

    if (read_key(secret, &key) != NULL)
        return ERR_INVALID;
    strbuf_addf(&text, "%s.%" PRId64 ".", id, at_s);
    strbuf_add(&text, body, body_len);
    if (!strbuf_failed(&text) &&
        HMAC(EVP_sha256(), key.bytes, (int)key.len, (const unsigned char *)strbuf_str(&text),
             text.len, mac, &mac_len) != NULL) {
        assert(mac_len == 32);
        EVP_EncodeBlock((unsigned char *)stpcpy(out, "v1,"), mac, (int)mac_len);
        ret = 0;
    }
    secret_wipe(&key, sizeof(key));
    strbuf_deinit(&text);
    return ret;
}

int hook_sign_both(const char *secret, const char *old, const char *id, int64_t at_s,
                   const char *body, size_t body_len, char out[HOOK_SIGNATURES + 1])
{
    int ret = hook_sign(secret, id, at_s, body, body_len, out);

    if (ret != 0 || old == NULL)
        return ret;
    out[HOOK_SIGNATURE] = ' ';
    return hook_sign(old, id, at_s, body, body_len, out + HOOK_SIGNATURE + 1);
}
