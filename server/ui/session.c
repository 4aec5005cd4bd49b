/* See session.h. What is sealed: "<right> <end> <name, 16 hex digits> <hash, 64, or ->". */
#include "session.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#define WHAT "session of the page"

static_assert(RIGHTS_HASH_BYTES == 32, "a hash is 64 digits");

/* Each use has a key of its own. */
static void derive(const struct ids_seals *seals, const char *use, const unsigned char *master,
                   uint64_t start, unsigned char out[SHA256_BYTES])
{
    const struct sha256_piece pieces[] = {
        {use, strlen(use) + 1}, {master, SHA256_BYTES}, {&start, sizeof(start)}};

    hmac_sha256(&seals->key[0], pieces, 3, out);
}

int session_keys_init(struct session_keys *keys, const struct ids_seals *seals,
                      const struct secret *master, uint64_t start)
{
    const struct sha256_piece text = {master->data, master->len};
    unsigned char hash[SHA256_BYTES], key[SHA256_BYTES];
    int ret;

    memset(keys, 0, sizeof(*keys));
    if (seals->num == 0)
        return ERR_INVALID;
    sha256_of(&text, secret_is_set(master) ? 1 : 0, hash);
    derive(seals, "tranche page: sessions", hash, start, key);
    ret = vault_add(&keys->vault, key);
    assert(ret == 0); /* the first of many */
    derive(seals, "tranche page: forged requests", hash, start, key);
    hmac_key_init(&keys->csrf, key);
    secret_wipe(hash, sizeof(hash));
    secret_wipe(key, sizeof(key));
    return ret;
}

int session_begin(struct session *session, enum session_right right, int64_t now_unix_s)
{
    *session = (struct session){.right = right, .expires_unix_s = now_unix_s + SESSION_S};
    do {
        if (RAND_bytes((unsigned char *)&session->name, sizeof(session->name)) != 1)
            return ERR_IO;
    } while (session->name == 0);
    return 0;
}

int session_seal(const struct session_keys *keys, const struct session *session, struct strbuf *out)
{
    char text[160];
    int len = snprintf(text, sizeof(text), "%c %" PRId64 " %016" PRIx64 " ", (char)session->right,
                       session->expires_unix_s, session->name);

    assert(len > 0 && (size_t)len < sizeof(text) - 2 * RIGHTS_HASH_BYTES);
    for (size_t i = 0; session->right == SESSION_ADMIN && i < RIGHTS_HASH_BYTES; i++)
        len += snprintf(text + len, sizeof(text) - (size_t)len, "%02x", session->hash[i]);
    return vault_seal(&keys->vault, WHAT, text, (size_t)len, out);
}

static bool read_hash(const char *text, unsigned char out[RIGHTS_HASH_BYTES])
{
    for (size_t i = 0; i < RIGHTS_HASH_BYTES; i++) {
        unsigned byte;

        if (sscanf(text + 2 * i, "%2x", &byte) != 1)
            return false;
        out[i] = (unsigned char)byte;
    }
    return text[(size_t)2 * RIGHTS_HASH_BYTES] == '\0';
}

/* What session_seal() wrote, since it is genuine; another version may have written it. */
static bool read_text(const char *text, struct session *out)
{
    char right;
    int at = 0;

    if (sscanf(text, "%c %" SCNd64 " %" SCNx64 " %n", &right, &out->expires_unix_s, &out->name,
               &at) != 3 ||
        at == 0)
        return false;
    out->right = (enum session_right)right;
    if (right == SESSION_ADMIN)
        return read_hash(text + at, out->hash);
    return right == SESSION_MASTER || right == SESSION_ANYBODY;
}

int session_open(const struct session_keys *keys, const char *text, size_t len, int64_t now_unix_s,
                 struct session *out)
{
    char sealed[SESSION_MAX + 1], plain[SESSION_MAX + 1];
    bool good;

    *out = (struct session){0};
    if (len > SESSION_MAX || memchr(text, '\0', len) != NULL)
        return ERR_FORGED;
    memcpy(sealed, text, len);
    sealed[len] = '\0';
    if (vault_open(&keys->vault, WHAT, sealed, plain, sizeof(plain)) != 0)
        return ERR_FORGED;
    good = read_text(plain, out);
    secret_wipe(plain, sizeof(plain));
    if (!good)
        return ERR_FORGED;
    return now_unix_s < out->expires_unix_s ? 0 : ERR_NOT_FOUND;
}

void session_csrf(const struct session_keys *keys, const struct session *session,
                  char out[SESSION_CSRF + 1])
{
    const struct sha256_piece piece = {&session->name, sizeof(session->name)};
    unsigned char mac[SHA256_BYTES];

    hmac_sha256(&keys->csrf, &piece, 1, mac);
    for (size_t i = 0; i < SESSION_CSRF / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", mac[i]);
}

bool session_csrf_is(const struct session_keys *keys, const struct session *session,
                     const char *text, size_t len)
{
    char wanted[SESSION_CSRF + 1];

    session_csrf(keys, session, wanted);
    return len == SESSION_CSRF && CRYPTO_memcmp(text, wanted, SESSION_CSRF) == 0;
}
