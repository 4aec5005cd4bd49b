/* Secrets at rest: texts that have to be read again by whoever has the gateway's seal keys, and by
 * nobody who has the database alone. AES-256-GCM (NIST SP 800-38D) with a random nonce for each
 * text; what the text is for is authenticated with it, so that one row's secret is nothing in
 * another row. The first key seals, all open:
 *
 *   v1.<8 hex digits: which key>.<base64 of nonce (12), ciphertext, tag (16)>
 *
 * A key that is compromised or replaced goes by vault_is_current() and sealing anew. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/strbuf.h"
#include "crypto/sha256.h"

#define VAULT_KEY_BYTES 32
#define VAULT_MAX_KEYS  8
#define VAULT_NAME      8 /* characters that name a key */

/* Memory is the caller's, zeroes at first; as secret as its keys: vault_clear() wipes. */
struct vault {
    size_t num;
    struct vault_key {
        unsigned char bytes[VAULT_KEY_BYTES];
        char name[VAULT_NAME + 1]; /* says nothing of the key */
    } keys[VAULT_MAX_KEYS];
};

/** Add a key: the first one seals. @return 0, ERR_LIMIT */
MUST_USE int vault_add(struct vault *vault, const unsigned char bytes[VAULT_KEY_BYTES]);
void vault_clear(struct vault *vault);

/** Append a sealed text.
 *  @param what  what it is for, and whose: the same has to be said when it is opened
 *  @return 0; ERR_INVALID: the vault has no key; ERR_IO (no randomness); ERR_NOMEM */
MUST_USE int vault_seal(const struct vault *vault, const char *what, const char *text, size_t len,
                        struct strbuf *out);

/** Open one, into a buffer that the caller wipes.
 *  @param out   NUL-terminated
 *  @param size  of it
 *  @return 0; ERR_SYNTAX: it is no sealed text; ERR_NOT_FOUND: it was sealed with a key that is not
 *          here; ERR_FORGED; ERR_LIMIT: it has no room */
MUST_USE int vault_open(const struct vault *vault, const char *what, const char *sealed, char *out,
                        size_t size);

/** Whether the first key sealed it, as its name says. */
bool vault_is_current(const struct vault *vault, const char *sealed);
