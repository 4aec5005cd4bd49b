/* A session of the page: a text that only this program can make, which its browser keeps as a cookie.
 * It says until when, by which right, and has a random name; it never has a key in it. It is sealed
 * (AES-256-GCM, crypto/vault.h) with a key of its own, which follows from the gateway's seal key, its
 * master key and the start of this program: who changes the master key or starts the program anew
 * ends all sessions. Pure but for the clock and randomness of sealing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/rights.h"
#include "common/secret.h"
#include "common/strbuf.h"
#include "crypto/ids.h"
#include "crypto/vault.h"

#define SESSION_COOKIE "tranche_session"
#define SESSION_S      (12 * 3600)
#define SESSION_MAX    512 /* bytes of a sealed one, at most */
#define SESSION_CSRF   32  /* characters of a token against forged requests */

enum session_right {
    SESSION_ANYBODY = 'n', /* no key was asked for */
    SESSION_MASTER = 'm',
    SESSION_ADMIN = 'a' /* `hash` is the key's */
};

struct session {
    enum session_right right;
    int64_t expires_unix_s;
    uint64_t name; /* random; never 0 */
    unsigned char hash[RIGHTS_HASH_BYTES];
};

/* What sessions are sealed with; as secret as its keys. */
struct session_keys {
    struct vault vault;
    struct hmac_key csrf;
};

/** Derive them.
 *  @param seals   of the gateway
 *  @param master  its master key; an unset one is fine
 *  @param start   a number of this start of the program
 *  @return 0, ERR_INVALID: there is no seal */
MUST_USE int session_keys_init(struct session_keys *keys, const struct ids_seals *seals,
                               const struct secret *master, uint64_t start);

/** Give a session its name and its end. @return 0, ERR_IO: there is no randomness */
MUST_USE int session_begin(struct session *session, enum session_right right, int64_t now_unix_s);

/** Append the text of a session. @return 0, ERR_IO, ERR_NOMEM */
MUST_USE int session_seal(const struct session_keys *keys, const struct session *session,
                          struct strbuf *out);

/** Open one.
 *  @return 0; ERR_NOT_FOUND: it has ended; ERR_FORGED: it was not made with these keys */
MUST_USE int session_open(const struct session_keys *keys, const char *text, size_t len,
                          int64_t now_unix_s, struct session *out);

/** What a request has to show besides the cookie, when it changes something. */
void session_csrf(const struct session_keys *keys, const struct session *session,
                  char out[SESSION_CSRF + 1]);

/** Whether a text is that; constant time. */
bool session_csrf_is(const struct session_keys *keys, const struct session *session,
                     const char *text, size_t len);
