/* Headers and signature of one try, as OpenAI's SDKs and Standard Webhooks verify them (webhook
 * statements D21 to D23). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define HOOK_SECRET_PREFIX "whsec_"
#define HOOK_SECRET_MIN    16  /* bytes of a key; the ones that we make have 32 */
#define HOOK_SECRET_MAX    256 /* bytes of a secret's text */
#define HOOK_NEW_SECRET    50  /* characters of one that we make */
#define HOOK_SIGNATURE     47  /* characters: "v1," and the base64 of 32 bytes */
#define HOOK_SIGNATURES    (2 * HOOK_SIGNATURE + 1)

/** Whether a text can be a secret: "whsec_" and base64 (RFC 4648 section 4, padded), else its bytes
 *  are the key.
 *  @return NULL: it can; else why not, a constant that does not quote it */
const char *hook_secret_fault(const char *secret);

/** Make a secret: "whsec_" and 32 random bytes as base64. The caller wipes it.
 *  @return 0, ERR_IO (no randomness) */
MUST_USE int hook_secret_new(char out[HOOK_NEW_SECRET + 1]);

/** The signature of one try: over "<id>.<timestamp>.<body>".
 *  @param secret  one that hook_secret_fault() has no word against
 *  @param at_s    Unix seconds of this try (D23)
 *  @return 0, ERR_INVALID: the secret is none; ERR_NOMEM */
MUST_USE int hook_sign(const char *secret, const char *id, int64_t at_s, const char *body,
                       size_t body_len, char out[HOOK_SIGNATURE + 1]);

/** The value of `webhook-signature`: of two secrets while one follows the other.
 *  @param old  the one before; NULL: there is none that still signs */
MUST_USE int hook_sign_both(const char *secret, const char *old, const char *id, int64_t at_s,
                            const char *body, size_t body_len, char out[HOOK_SIGNATURES + 1]);
