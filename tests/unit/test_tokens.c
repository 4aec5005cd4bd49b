/* A worker's tokens: who speaks, what is remembered, and when it is forgotten. */
#include "tenants/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/issuer.h"
#include "tests/unit/jwt_sign.h"
#include "tests/unit/rights_world.h"

#define NOW_S  1900000000
#define NOW_MS (NOW_S * INT64_C(1000))

static struct rights_table *rights;
static struct rights_list list;
static struct issuer_keys *keys;
static struct tokens *tokens;
static struct config_jwt jwt;
static struct jwks set;
static struct token_answer answer;
static EVP_PKEY *key, *other;
static char text[4096];

static char issuer[] = "https://issuer", audience[] = "tranche", team[] = "team",
            groups[] = "groups", alias[] = "name", scope[] = "admin", user[] = "sub",
            url[] = "https://issuer/keys";
static char *audiences[] = {audience}, *urls[] = {url};

static void publish_keys(EVP_PKEY *of, const char *kid, int64_t confirmed)
{
    struct jwks_error error;
    char jwk[512], whole[600];

    ec_jwk(of, "P-256", 32, kid, jwk, sizeof(jwk));
    snprintf(whole, sizeof(whole), "{\"keys\":[%s]}", jwk);
    memset(&set, 0, sizeof(set));
    assert_int_equal(jwks_read(whole, strlen(whole), &set, &error), 0);
    issuer_keys_publish(keys, &set, confirmed);
}

static void publish_rights(bool complete)
{
    const struct rights_list *lists[] = {&list};

    assert_int_equal(rights_publish(rights, 1, lists, 1, complete), 0);
}

static int setup(void **state)
{
    (void)state;
    if (key == NULL) {
        key = EVP_EC_gen("P-256");
        other = EVP_EC_gen("P-256");
    }
    jwt = (struct config_jwt){.enabled = true,
                              .issuer = issuer,
                              .audiences = audiences,
                              .num_audiences = 1,
                              .urls = urls,
                              .num_urls = 1,
                              .rules = {.admin_scope = scope,
                                        .team_id = team,
                                        .team_ids = groups,
                                        .team_alias = alias,
                                        .user_id = user},
                              .team_routes = RIGHTS_FILES,
                              .admin_routes = RIGHTS_BATCHES};
    assert_int_equal(rights_table_new(16, &rights), 0);
    add_team_of(&list, "t1")->alias = own("Team one");
    add_team_of(&list, "t2");
    publish_rights(true);
    assert_int_equal(issuer_keys_new(&keys), 0);
    publish_keys(key, "k", NOW_S);
    return tokens_new(&jwt, rights, keys, &tokens);
}

static int teardown(void **state)
{
    (void)state;
    tokens_free(tokens);
    issuer_keys_free(keys);
    rights_table_free(rights);
    rights_list_deinit(&list);
    return 0;
}

static void sign_with(EVP_PKEY *by, const char *kid, const char *claims)
{
    char header[128], whole[2048];

    snprintf(header, sizeof(header), "{\"alg\":\"ES256\",\"kid\":\"%s\"}", kid);
    snprintf(whole, sizeof(whole), "{\"iss\":\"https://issuer\",\"aud\":\"tranche\",\"exp\":%d,%s}",
             NOW_S + 600, claims);
    strcpy(text, sign_token(by, "ES256", 0, header, whole));
}

static struct token asked(const char *wanted)
{
    return (struct token){.text = text,
                          .len = strlen(text),
                          .team = wanted,
                          .team_len = wanted != NULL ? strlen(wanted) : 0};
}

static enum token_end verify_for(const char *wanted, int64_t now_ms)
{
    struct token token = asked(wanted);

    memset(&answer, 0, sizeof(answer));
    return tokens_verify(tokens, &token, now_ms, &answer);
}

static enum token_end recall_for(const char *wanted, int64_t now_ms)
{
    struct token token = asked(wanted);

    memset(&answer, 0, sizeof(answer));
    return tokens_recall(tokens, &token, now_ms, &answer);
}

static enum token_end look(const char *claims)
{
    sign_with(key, "k", claims);
    return verify_for(NULL, NOW_MS);
}

static void without_the_switch_there_are_no_tokens(void **state)
{
    struct config_jwt off = {.enabled = false};
    struct tokens *none;

    (void)state;
    assert_int_equal(tokens_new(&off, rights, NULL, &none), 0);
    assert_null(none);
    assert_false(tokens_take(none, "a.b.c", 5));
    assert_true(tokens_take(tokens, "a.b.c", 5));
    assert_false(tokens_take(tokens, "sk-1234", 7));
}

static void a_token_has_its_teams_rights(void **state)
{
    (void)state;
    assert_int_equal(look("\"team\":\"t1\",\"sub\":\"me\""), TOKEN_GOOD);
    assert_false(answer.rights.admin);
    assert_string_equal(answer.rights.team_name, "t1");
    assert_string_equal(answer.rights.alias, "me");
    assert_int_equal(answer.rights.routes, RIGHTS_FILES);
    assert_int_equal(answer.rights.expires_unix_ms, (NOW_S + 660) * INT64_C(1000));
    assert_int_equal(look("\"name\":\"Team one\",\"sub\":\"a b\\n\""), TOKEN_GOOD);
    assert_string_equal(answer.rights.team_name, "t1");
    assert_string_equal(answer.rights.alias, "a?b?");
}

static void of_several_teams_the_first_that_is_known_is_meant(void **state)
{
    (void)state;
    assert_int_equal(look("\"groups\":[\"unknown\",\"t2\",\"t1\"]"), TOKEN_GOOD);
    assert_string_equal(answer.rights.team_name, "t2");
    assert_int_equal(verify_for("t1", NOW_MS), TOKEN_GOOD);
    assert_string_equal(answer.rights.team_name, "t1");
    assert_int_equal(recall_for(NULL, NOW_MS), TOKEN_GOOD);
    assert_string_equal(answer.rights.team_name, "t2");
    assert_int_equal(verify_for("t3", NOW_MS), TOKEN_WRONG_TEAM);
    assert_int_equal(verify_for("unknown", NOW_MS), TOKEN_NO_TEAM);
}

static void an_administrator_may_all_in_the_routes_of_administrators(void **state)
{
    (void)state;
    assert_int_equal(look("\"scope\":\"openid admin\",\"sub\":\"boss\""), TOKEN_GOOD);
    assert_true(answer.rights.admin);
    assert_int_equal(answer.rights.owner, 0);
    assert_int_equal(answer.rights.routes, RIGHTS_BATCHES);
    assert_int_equal(answer.rights.key_limits.open_batches, RIGHTS_UNLIMITED);
    assert_int_equal(recall_for(NULL, NOW_MS), TOKEN_GOOD);
    assert_true(answer.rights.admin);
    assert_string_equal(answer.rights.alias, "boss");
}

static void a_token_of_no_known_team_is_refused(void **state)
{
    (void)state;
    assert_int_equal(look("\"team\":\"unknown\""), TOKEN_NO_TEAM);
    assert_int_equal(recall_for(NULL, NOW_MS), TOKEN_UNKNOWN);
    assert_int_equal(look("\"sub\":\"me\""), TOKEN_NO_TEAM);
    publish_rights(false);
    assert_int_equal(look("\"team\":\"unknown\""), TOKEN_TEAMS_AWAY);
    assert_int_equal(look("\"team\":7"), TOKEN_BAD);
    assert_int_equal(answer.verdict, JWT_MALFORMED);
}

static void what_is_wrong_with_a_token_is_told(void **state)
{
    (void)state;
    sign_with(key, "k", "\"iss\":\"x\"");
    assert_int_equal(verify_for(NULL, NOW_MS), TOKEN_BAD);
    assert_int_equal(answer.verdict, JWT_MALFORMED); /* twice */
    sign_with(key, "k", "\"team\":\"t1\"");
    assert_int_equal(verify_for(NULL, NOW_MS + 660 * 1000), TOKEN_BAD);
    assert_int_equal(answer.verdict, JWT_EXPIRED);
}

static void a_good_token_is_remembered_for_five_minutes_and_not_beyond_its_end(void **state)
{
    (void)state;
    assert_int_equal(look("\"team\":\"t1\""), TOKEN_GOOD);
    assert_int_equal(recall_for(NULL, NOW_MS + 299999), TOKEN_GOOD);
    assert_int_equal(recall_for(NULL, NOW_MS + 300000), TOKEN_UNKNOWN);
    assert_int_equal(verify_for(NULL, NOW_MS + 500000), TOKEN_GOOD);
    assert_int_equal(recall_for(NULL, NOW_MS + 659999), TOKEN_GOOD);
    assert_int_equal(recall_for(NULL, NOW_MS + 660000), TOKEN_UNKNOWN);
}

static void a_wrong_signature_is_remembered_too(void **state)
{
    (void)state;
    sign_with(other, "k", "\"team\":\"t1\"");
    assert_int_equal(recall_for(NULL, NOW_MS), TOKEN_UNKNOWN);
    assert_int_equal(verify_for(NULL, NOW_MS), TOKEN_BAD);
    assert_int_equal(answer.verdict, JWT_BAD_SIGNATURE);
    assert_int_equal(recall_for(NULL, NOW_MS + 59999), TOKEN_BAD);
    assert_int_equal(answer.verdict, JWT_BAD_SIGNATURE);
    assert_int_equal(recall_for(NULL, NOW_MS + 60000), TOKEN_UNKNOWN);
}

static void new_keys_of_the_issuer_end_all_memory(void **state)
{
    (void)state;
    assert_int_equal(look("\"team\":\"t1\""), TOKEN_GOOD);
    publish_keys(other, "k2", NOW_S);
    assert_int_equal(recall_for(NULL, NOW_MS), TOKEN_UNKNOWN);
    assert_int_equal(verify_for(NULL, NOW_MS), TOKEN_NEW_KEY);
    sign_with(other, "k2", "\"team\":\"t1\"");
    assert_int_equal(verify_for(NULL, NOW_MS), TOKEN_GOOD);
}

static void a_change_of_a_team_counts_at_once(void **state)
{
    (void)state;
    assert_int_equal(look("\"team\":\"t1\""), TOKEN_GOOD);
    list.teams[0].blocked = true;
    publish_rights(true);
    assert_int_equal(recall_for(NULL, NOW_MS), TOKEN_GOOD);
    assert_int_equal(rights_judge(&answer.rights, NOW_MS), RIGHTS_TEAM_BLOCKED);
    rights_list_deinit(&list);
    publish_rights(true);
    assert_int_equal(recall_for(NULL, NOW_MS), TOKEN_UNKNOWN);
    assert_int_equal(verify_for(NULL, NOW_MS), TOKEN_NO_TEAM);
}

static void keys_that_the_issuer_does_not_confirm_for_a_day_are_none(void **state)
{
    (void)state;
    sign_with(key, "k", "\"team\":\"t1\"");
    publish_keys(key, "k", NOW_S - ISSUER_OLD_S + 1);
    assert_int_equal(verify_for(NULL, NOW_MS), TOKEN_GOOD);
    publish_keys(key, "k", NOW_S - ISSUER_OLD_S);
    assert_int_equal(verify_for(NULL, NOW_MS), TOKEN_NO_KEYS);
    jwt.num_urls = 0; /* of a file: nobody has to confirm it */
    assert_int_equal(verify_for(NULL, NOW_MS), TOKEN_GOOD);
    assert_int_equal(tokens_ring(tokens, 1), 0);
}

static void the_bell_rings_when_that_can_change_something(void **state)
{
    uint64_t ticket = tokens_ring(tokens, 50000);

    (void)state;
    assert_int_not_equal(ticket, 0);
    assert_false(tokens_heard(tokens, ticket));
    issuer_keys_begin(keys, 50000);
    assert_int_not_equal(tokens_ring(tokens, 50001), 0); /* the answer is on its way */
    issuer_keys_hear(keys, issuer_keys_rung(keys));
    assert_true(tokens_heard(tokens, ticket));
    assert_int_equal(tokens_ring(tokens, 50000 + ISSUER_APART_MS - 1), 0);
    assert_int_not_equal(tokens_ring(tokens, 50000 + ISSUER_APART_MS), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_the_switch_there_are_no_tokens),
        TEST(a_token_has_its_teams_rights),
        TEST(of_several_teams_the_first_that_is_known_is_meant),
        TEST(an_administrator_may_all_in_the_routes_of_administrators),
        TEST(a_token_of_no_known_team_is_refused),
        TEST(what_is_wrong_with_a_token_is_told),
        TEST(a_good_token_is_remembered_for_five_minutes_and_not_beyond_its_end),
        TEST(a_wrong_signature_is_remembered_too),
        TEST(new_keys_of_the_issuer_end_all_memory),
        TEST(a_change_of_a_team_counts_at_once),
        TEST(keys_that_the_issuer_does_not_confirm_for_a_day_are_none),
        TEST(the_bell_rings_when_that_can_change_something),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
