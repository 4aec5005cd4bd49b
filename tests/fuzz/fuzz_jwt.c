/* Tokens from strangers and key sets from issuers. The first byte says which: "{" begins a set, all
 * else a token, for which the keys of RFC 7515 appendix A are there: no other text than those of the
 * appendix is signed by them. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "jwt/claims.h"
#include "jwt/jwt.h"

#define KEYS                                                                                       \
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"                                          \
    "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","                                             \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},{\"kty\":\"RSA\",\"e\":\"AQAB\","      \
    "\"n\":\""                                                                                     \
    "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4" \
    "d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5re" \
    "xMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxX" \
    "FvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}]}"
#define CLAIMS                                                                                     \
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV" \
    "lfQ"

static const struct jwks *keys(void)
{
    static struct jwks set;
    struct jwks_error error;

    if (set.num == 0)
        MUST(jwks_read(KEYS, strlen(KEYS), &set, &error) == 0 && set.num == 2);
    return &set;
}

static bool is_published(const struct jwt *jwt)
{
    static const char *const texts[] = {"eyJhbGciOiJSUzI1NiJ9" CLAIMS,
                                        "eyJhbGciOiJFUzI1NiJ9" CLAIMS};

    for (size_t i = 0; i < 2; i++)
        if (jwt->signed_len == strlen(texts[i]) &&
            memcmp(jwt->token, texts[i], jwt->signed_len) == 0)
            return true;
    return false;
}

static void check_signature(const struct jwt *jwt)
{
    int found = jwt_find_key(jwt, keys());
    EVP_PKEY *key;

    if (found < 0)
        return;
    key = jwt_open_key(&keys()->keys[found]);
    MUST(key != NULL);
    MUST(jwt_is_signed(jwt, key) != JWT_GOOD || is_published(jwt));
    EVP_PKEY_free(key);
}

static void check_claims(const struct jwt *jwt)
{
    static char user[] = "sub", team[] = "t", teams[] = "a\\.b.groups", scope[] = "admin",
                all[] = "all";
    struct jwt_rules rules = {.admin_scope = scope,
                              .user_id = user,
                              .team_id = team,
                              .team_ids = teams,
                              .team_id_default = all};
    static struct jwt_identity who;

    switch (jwt_identify(jwt->claims, &rules, NULL, 0, &who)) {
    case JWT_PERSON_TEAM:
        MUST(who.num_teams > 0 && who.num_teams <= JWT_MAX_TEAMS);
        for (size_t i = 0; i < who.num_teams; i++)
            MUST(who.teams[i].name[0] != '\0');
        break;
    case JWT_PERSON_NO_TEAM:
        MUST(false); /* there is a default */
        break;
    default:
        break;
    }
}

static void check_token(const char *text, size_t size)
{
    static const char *const audiences[] = {"us"};
    struct jwt_policy policy = {.issuer = "joe", .audiences = audiences, .num_audiences = 1};
    struct jwt jwt;

    if (jwt_read(text, size, &jwt) == JWT_GOOD) {
        MUST(jwt_looks_like_one(text, size));
        if (jwt_judge(&jwt, &policy, 1300819380) == JWT_GOOD)
            MUST(jwt.expires_unix_s >= 1300819320);
        check_signature(&jwt);
        check_claims(&jwt);
    }
    jwt_deinit(&jwt);
}

static void check_set(const char *text, size_t size)
{
    static struct jwks set;
    struct jwks_error error = {""};

    memset(&set, 0, sizeof(set));
    if (jwks_read(text, size, &set, &error) != 0) {
        MUST(set.num == 0 && error.message[0] != '\0');
        return;
    }
    MUST(set.num > 0 && set.num <= JWKS_MAX_KEYS);
    for (uint32_t i = 0; i < set.num; i++) {
        EVP_PKEY *key = jwt_open_key(&set.keys[i]);

        MUST(key != NULL && set.keys[i].algs != 0);
        EVP_PKEY_free(key);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == '{')
        check_set((const char *)data, size);
    else
        check_token((const char *)data, size);
    return 0;
}
