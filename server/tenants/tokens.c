/* See tokens.h. */
#include "tenants/tokens.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "core/issuer.h"
#include "crypto/sha256.h"
#include "jwt/claims.h"

#define BUCKETS    1024 /* a power of two */
#define EACH       4
#define GOOD_MS    (5 * 60 * 1000)
#define BAD_MS     (60 * 1000)
#define ALL_ROUTES (RIGHTS_ALL_ROUTES | RIGHTS_MANAGEMENT | RIGHTS_OPERATOR)

static_assert((BUCKETS & (BUCKETS - 1)) == 0, "a hash is masked");

struct known {
    unsigned char hash[SHA256_BYTES]; /* of the token and the team that was asked for */
    uint64_t set;                     /* number of the issuer's keys; 0: free */
    int64_t until_unix_ms, expires_unix_ms;
    bool good, admin;
    unsigned char team[RIGHTS_HASH_BYTES]; /* rights_find() knows it */
    char user[sizeof(((struct rights *)NULL)->alias)];
};

struct tokens {
    const struct config_jwt *jwt; /* borrowed, as what follows */
    const struct rights_table *rights;
    struct issuer_keys *keys;
    uint64_t set_number; /* of `set`; 0: none yet */
    struct jwks set;
    EVP_PKEY *opened[JWKS_MAX_KEYS]; /* owned; NULL: not yet */
    struct jwt_identity who;         /* of the token that is looked at */
    struct known known[BUCKETS][EACH];
};

int tokens_new(const struct config_jwt *jwt, const struct rights_table *rights,
               struct issuer_keys *keys, struct tokens **out)
{
    *out = NULL;
    if (!jwt->enabled)
        return 0;
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return ERR_NOMEM;
    (*out)->jwt = jwt;
    (*out)->rights = rights;
    (*out)->keys = keys;
    return 0;
}

static void close_keys(struct tokens *t)
{
    for (size_t i = 0; i < JWKS_MAX_KEYS; i++) {
        EVP_PKEY_free(t->opened[i]);
        t->opened[i] = NULL;
    }
}

void tokens_free(struct tokens *tokens)
{
    if (tokens == NULL)
        return;
    close_keys(tokens);
    free(tokens);
}

bool tokens_take(const struct tokens *tokens, const char *text, size_t len)
{
    return tokens != NULL && jwt_looks_like_one(text, len);
}

/* --- memory --- */

static void hash_token(const struct token *token, unsigned char out[SHA256_BYTES])
{
    const struct sha256_piece pieces[] = {
        {token->text, token->len}, {"", token->team != NULL}, {token->team, token->team_len}};

    sha256_of(pieces, token->team != NULL ? 3 : 1, out);
}

static struct known *bucket_of(struct tokens *t, const unsigned char hash[SHA256_BYTES])
{
    uint64_t word;

    memcpy(&word, hash, sizeof(word));
    return t->known[word & (BUCKETS - 1)];
}

static bool is_live(const struct known *known, uint64_t set, int64_t now_unix_ms)
{
    return known->set == set && set != 0 && now_unix_ms < known->until_unix_ms;
}

/* @return its place: its own one of before, else the one that ends first */
static struct known *place_for(struct tokens *t, const unsigned char hash[SHA256_BYTES],
                               int64_t now_unix_ms)
{
    struct known *bucket = bucket_of(t, hash), *worst = bucket;

    for (size_t i = 0; i < EACH; i++) {
        if (memcmp(bucket[i].hash, hash, SHA256_BYTES) == 0)
            return &bucket[i];
        if (is_live(worst, t->set_number, now_unix_ms) &&
            (!is_live(&bucket[i], t->set_number, now_unix_ms) ||
             bucket[i].until_unix_ms < worst->until_unix_ms))
            worst = &bucket[i];
    }
    return worst;
}

/* --- who it is --- */

/* What an administrator may: all, in the routes that tokens of his kind may call. */
static void fill_admin(const struct tokens *t, struct rights *out)
{
    memset(out, 0, sizeof(*out));
    rights_limits_init(&out->key_limits);
    rights_limits_init(&out->team_limits);
    out->admin = true;
    out->routes = t->jwt->admin_routes;
}

/* The rights of what is remembered, as they are now. @return false: the team has gone */
static bool fill(const struct tokens *t, const struct known *known, struct rights *out)
{
    assert(known->good); /* of a wrong signature no word counts */
    if (known->admin)
        fill_admin(t, out);
    else if (!rights_find(t->rights, known->team, out) || out->key_blocked)
        return false;
    else
        out->routes = t->jwt->team_routes;
    out->expires_unix_ms = known->expires_unix_ms;
    memcpy(out->alias, known->user, sizeof(out->alias));
    return true;
}

enum token_end tokens_recall(struct tokens *tokens, const struct token *token, int64_t now_unix_ms,
                             struct token_answer *out)
{
    uint64_t set = issuer_keys_number(tokens->keys);
    unsigned char hash[SHA256_BYTES];
    const struct known *bucket;

    hash_token(token, hash);
    bucket = bucket_of(tokens, hash);
    for (size_t i = 0; i < EACH; i++) {
        if (!is_live(&bucket[i], set, now_unix_ms) ||
            memcmp(bucket[i].hash, hash, sizeof(hash)) != 0)
            continue;
        if (bucket[i].good)
            return fill(tokens, &bucket[i], &out->rights) ? TOKEN_GOOD : TOKEN_UNKNOWN;
        out->verdict = JWT_BAD_SIGNATURE;
        return TOKEN_BAD;
    }
    return TOKEN_UNKNOWN;
}

/* A user's name as logs have it: printable, cut to size. */
static void copy_user(struct known *known, const char *user)
{
    size_t len = 0;

    for (; user != NULL && user[len] != '\0' && len < sizeof(known->user) - 1; len++)
        known->user[len] = user[len] > ' ' && user[len] < 0x7f ? user[len] : '?';
    known->user[len] = '\0';
}

static enum token_end find_team(struct tokens *t, struct known *known, struct token_answer *out)
{
    for (size_t i = 0; i < t->who.num_teams; i++) {
        const struct jwt_team *team = &t->who.teams[i];

        if (!rights_find_team(t->rights, team->name, strlen(team->name), team->is_alias,
                              &out->rights))
            continue;
        memcpy(known->team, out->rights.hash, sizeof(known->team));
        return TOKEN_GOOD;
    }
    return rights_is_complete(t->rights) ? TOKEN_NO_TEAM : TOKEN_TEAMS_AWAY;
}

static enum token_end identify(struct tokens *t, const struct token *token,
                               const struct json *claims, struct known *known,
                               struct token_answer *out)
{
    switch (jwt_identify(claims, &t->jwt->rules, token->team, token->team_len, &t->who)) {
    case JWT_PERSON_ADMIN:
        known->admin = true;
        return TOKEN_GOOD;
    case JWT_PERSON_TEAM:
        return find_team(t, known, out);
    case JWT_PERSON_NO_TEAM:
        return TOKEN_NO_TEAM;
    case JWT_PERSON_WRONG_TEAM:
        return TOKEN_WRONG_TEAM;
    case JWT_PERSON_MALFORMED:
        break;
    }
    out->verdict = JWT_MALFORMED;
    return TOKEN_BAD;
}

/* --- verification --- */

/* @return whether there are keys that the issuer still stands to */
static bool take_keys(struct tokens *t, int64_t now_unix_s)
{
    if (issuer_keys_number(t->keys) != t->set_number) {
        close_keys(t);
        t->set_number = issuer_keys_read(t->keys, &t->set);
    }
    return t->set_number != 0 &&
           (t->jwt->num_urls == 0 || now_unix_s - issuer_keys_confirmed(t->keys) < ISSUER_OLD_S);
}

static enum jwt_verdict check_signature(struct tokens *t, const struct jwt *jwt, int key)
{
    if (t->opened[key] == NULL)
        t->opened[key] = jwt_open_key(&t->set.keys[key]);
    return t->opened[key] != NULL ? jwt_is_signed(jwt, t->opened[key]) : JWT_NO_MEMORY;
}

static enum token_end bad(struct token_answer *out, enum jwt_verdict verdict)
{
    out->verdict = verdict;
    return TOKEN_BAD;
}

static void remember(struct tokens *t, const struct token *token, int64_t now_unix_ms,
                     struct known *known)
{
    assert(t->set_number != 0); /* or it would count as free */
    known->set = t->set_number;
    known->until_unix_ms = now_unix_ms + (known->good ? GOOD_MS : BAD_MS);
    if (known->good && known->expires_unix_ms < known->until_unix_ms)
        known->until_unix_ms = known->expires_unix_ms;
    hash_token(token, known->hash);
    *place_for(t, known->hash, now_unix_ms) = *known;
}

/* Of a token whose claims are good: signature, then whom it speaks for. */
static enum token_end look(struct tokens *t, const struct token *token, const struct jwt *jwt,
                           int64_t now_unix_ms, struct token_answer *out)
{
    struct known known = {.expires_unix_ms = (jwt->expires_unix_s + JWT_LEEWAY_S) * 1000};
    int key = jwt_find_key(jwt, &t->set);
    enum jwt_verdict verdict;
    enum token_end end;

    if (key < 0)
        return TOKEN_NEW_KEY;
    assert((uint32_t)key < t->set.num);
    verdict = check_signature(t, jwt, key);
    if (verdict == JWT_BAD_SIGNATURE)
        remember(t, token, now_unix_ms, &known);
    if (verdict != JWT_GOOD)
        return bad(out, verdict);
    end = identify(t, token, jwt->claims, &known, out);
    if (end != TOKEN_GOOD)
        return end;
    known.good = true;
    copy_user(&known, t->who.user);
    remember(t, token, now_unix_ms, &known);
    return fill(t, &known, &out->rights) ? TOKEN_GOOD : TOKEN_NO_TEAM;
}

enum token_end tokens_verify(struct tokens *tokens, const struct token *token, int64_t now_unix_ms,
                             struct token_answer *out)
{
    const struct jwt_policy policy = {.issuer = tokens->jwt->issuer,
                                      .audiences = (const char *const *)tokens->jwt->audiences,
                                      .num_audiences = tokens->jwt->num_audiences};
    int64_t now_unix_s = now_unix_ms / 1000;
    enum token_end end;
    struct jwt jwt;

    out->verdict = jwt_read(token->text, token->len, &jwt);
    if (out->verdict == JWT_GOOD)
        out->verdict = jwt_judge(&jwt, &policy, now_unix_s);
    if (out->verdict != JWT_GOOD)
        end = TOKEN_BAD;
    else if (!take_keys(tokens, now_unix_s))
        end = TOKEN_NO_KEYS;
    else
        end = look(tokens, token, &jwt, now_unix_ms, out);
    jwt_deinit(&jwt);
    return end;
}

/* --- the bell --- */

uint64_t tokens_ring(struct tokens *tokens, uint64_t now_ms)
{
    struct issuer_keys *keys = tokens->keys;

    bool asked_lately = issuer_keys_number(keys) != 0 &&
                        !issuer_keys_may_ask(keys, now_ms, ISSUER_APART_MS) &&
                        issuer_keys_heard(keys) == issuer_keys_rung(keys);

    if (tokens->jwt->num_urls == 0 || asked_lately)
        return 0;
    return issuer_keys_ring(keys);
}

bool tokens_heard(const struct tokens *tokens, uint64_t ticket)
{
    assert(ticket != 0); /* the bell was rung */
    return issuer_keys_heard(tokens->keys) >= ticket;
}
