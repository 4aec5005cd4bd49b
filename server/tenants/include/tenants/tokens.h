/* A worker's side of tokens: who speaks by one, and what was found of it last. A token that was good
 * is remembered for as long as it is, at most 5 minutes, and one with a wrong signature for a minute,
 * both no longer than the issuer's keys stay the same; what its team may is asked for each time.
 *
 *   tokens_recall()   what is remembered: at once
 *   tokens_verify()   20 to 60 us, most of it for the signature: in a slice of its own (slices.h) */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/issuer_keys.h"
#include "balancer/rights.h"
#include "common/err.h"
#include "config/config.h"
#include "jwt/jwt.h"

struct tokens; /* a worker's; NULL: tokens are not taken */

enum token_end {
    TOKEN_GOOD,
    TOKEN_BAD,        /* see `verdict` */
    TOKEN_NO_TEAM,    /* good, but of no team that is known here, and of no administrator */
    TOKEN_WRONG_TEAM, /* good, but the client asked for a team that it does not name */
    TOKEN_TEAMS_AWAY, /* good, but not all teams could be loaded yet, and none that it names was */
    TOKEN_NEW_KEY,    /* it names a key that the issuer may have by now */
    TOKEN_NO_KEYS,    /* there are no keys of the issuer, or they are too old */
    TOKEN_UNKNOWN     /* of tokens_recall(): tokens_verify() has to look */
};

/* A question: all borrowed. */
struct token {
    const char *text;
    size_t len;
    const char *team; /* that the client asks for (x-litellm-team-id); NULL: none */
    size_t team_len;
};

struct token_answer {
    enum jwt_verdict verdict; /* of TOKEN_BAD */
    struct rights rights;     /* of TOKEN_GOOD: an administrator's have `admin` and no hash */
};

/** After the fork. @param config, rights, keys  borrowed; outlive it
 *  @return 0 (NULL: tokens are not taken), ERR_NOMEM */
MUST_USE int tokens_new(const struct config_jwt *jwt, const struct rights_table *rights,
                        struct issuer_keys *keys, struct tokens **out);
void tokens_free(struct tokens *tokens); /* NULL is fine */

/** Whether a credential may be a token, and tokens are taken. */
bool tokens_take(const struct tokens *tokens, const char *text, size_t len);

/** What is remembered of a token; nothing is verified.
 *  @param out  written for TOKEN_GOOD and TOKEN_BAD
 *  @return TOKEN_UNKNOWN: nothing, verify it */
enum token_end tokens_recall(struct tokens *tokens, const struct token *token, int64_t now_unix_ms,
                             struct token_answer *out);

/** Verify it, and remember what came of it. */
enum token_end tokens_verify(struct tokens *tokens, const struct token *token, int64_t now_unix_ms,
                             struct token_answer *out);

/** TOKEN_NEW_KEY, TOKEN_NO_KEYS: ask the keeper for the issuer's keys of now.
 *  @param now_ms  monotonic
 *  @return a ticket for tokens_heard(); 0: that could change nothing */
uint64_t tokens_ring(struct tokens *tokens, uint64_t now_ms);
/** Whether the keeper has asked the issuer since the ticket was given. */
bool tokens_heard(const struct tokens *tokens, uint64_t ticket);
