/* Whom a token speaks for. */
#include "jwt/claims.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct json_doc *doc;
static struct jwt_identity who;

static struct json *claims_of(const char *text)
{
    struct json_error error;
    struct json *root;

    json_doc_free(doc);
    doc = json_doc_new();
    root = json_parse(doc, text, strlen(text), &error);
    assert_non_null(root);
    return root;
}

static enum jwt_person identify(struct jwt_rules rules, const char *wanted, const char *claims)
{
    return jwt_identify(claims_of(claims), &rules, wanted, wanted != NULL ? strlen(wanted) : 0,
                        &who);
}

static void claims_are_found_by_their_path(void **state)
{
    struct json *claims =
        claims_of("{\"a\":{\"b\":{\"c\":\"deep\"}},\"kubernetes.io\":{\"namespace\":\"ns\"},"
                  "\"a.b\":\"dotted\",\"back\\\\slash\":\"x\",\"list\":[{\"a\":1}]}");

    (void)state;
    assert_string_equal(json_str(jwt_claim(claims, "a.b.c"), NULL), "deep");
    assert_string_equal(json_str(jwt_claim(claims, "kubernetes\\.io.namespace"), NULL), "ns");
    assert_string_equal(json_str(jwt_claim(claims, "a\\.b"), NULL), "dotted");
    assert_string_equal(json_str(jwt_claim(claims, "back\\\\slash"), NULL), "x");
    assert_null(jwt_claim(claims, "a.b.c.d"));
    assert_null(jwt_claim(claims, "a..b"));
    assert_null(jwt_claim(claims, "list.a"));
    assert_null(jwt_claim(claims, ""));
    assert_null(jwt_claim(claims, NULL));
}

static void a_long_path_finds_nothing(void **state)
{
    char path[2000];

    (void)state;
    memset(path, 'a', sizeof(path));
    path[sizeof(path) - 1] = '\0';
    assert_null(jwt_claim(claims_of("{\"a\":1}"), path));
}

static void a_scope_makes_an_administrator(void **state)
{
    struct jwt_rules rules = {.admin_scope = "litellm_proxy_admin", .team_id = "team"};

    (void)state;
    assert_int_equal(identify(rules, NULL, "{\"scope\":\"openid litellm_proxy_admin\"}"),
                     JWT_PERSON_ADMIN);
    assert_int_equal(identify(rules, NULL, "{\"scope\":[\"openid\",\"litellm_proxy_admin\"]}"),
                     JWT_PERSON_ADMIN);
    assert_int_equal(identify(rules, NULL, "{\"scope\":\"litellm_proxy_admins litellm_proxy\"}"),
                     JWT_PERSON_NO_TEAM);
    assert_int_equal(identify(rules, NULL, "{\"scope\":[\"openid litellm_proxy_admin\"]}"),
                     JWT_PERSON_NO_TEAM);
    assert_int_equal(identify(rules, NULL, "{\"scope\":{\"litellm_proxy_admin\":true}}"),
                     JWT_PERSON_NO_TEAM);
    rules.admin_scope = NULL;
    assert_int_equal(identify(rules, NULL, "{\"scope\":\"litellm_proxy_admin\"}"),
                     JWT_PERSON_NO_TEAM);
}

static void a_role_makes_an_administrator(void **state)
{
    char *roles[] = {"boss"};
    struct jwt_rules rules = {.roles = "realm.roles", .admin_roles = roles, .num_admin_roles = 1};

    (void)state;
    assert_int_equal(identify(rules, NULL, "{\"realm\":{\"roles\":[\"x\",\"boss\"]}}"),
                     JWT_PERSON_ADMIN);
    assert_int_equal(identify(rules, NULL, "{\"realm\":{\"roles\":[\"bos\"]}}"),
                     JWT_PERSON_NO_TEAM);
    assert_int_equal(identify(rules, NULL, "{\"roles\":[\"boss\"]}"), JWT_PERSON_NO_TEAM);
}

static void a_team_is_looked_for_under_each_name(void **state)
{
    struct jwt_rules rules = {
        .team_id = "team", .team_ids = "groups", .team_alias = "name", .user_id = "sub"};

    (void)state;
    assert_int_equal(
        identify(rules, NULL,
                 "{\"team\":\"a\",\"groups\":[\"b\",\"c\"],\"name\":\"D\",\"sub\":\"me\"}"),
        JWT_PERSON_TEAM);
    assert_int_equal(who.num_teams, 4);
    assert_string_equal(who.teams[0].name, "a");
    assert_string_equal(who.teams[2].name, "c");
    assert_false(who.teams[2].is_alias);
    assert_string_equal(who.teams[3].name, "D");
    assert_true(who.teams[3].is_alias);
    assert_string_equal(who.user, "me");
    assert_int_equal(identify(rules, NULL, "{\"groups\":\"b\"}"), JWT_PERSON_TEAM);
    assert_null(who.user);
}

static void the_default_is_for_who_names_no_team(void **state)
{
    struct jwt_rules rules = {.team_id = "team", .team_id_default = "all"};

    (void)state;
    assert_int_equal(identify(rules, NULL, "{}"), JWT_PERSON_TEAM);
    assert_string_equal(who.teams[0].name, "all");
    assert_int_equal(identify(rules, NULL, "{\"team\":null}"), JWT_PERSON_TEAM);
    assert_int_equal(identify(rules, NULL, "{\"team\":\"a\"}"), JWT_PERSON_TEAM);
    assert_int_equal(who.num_teams, 1);
    assert_string_equal(who.teams[0].name, "a");
}

static void a_client_may_ask_for_a_team_of_its_token(void **state)
{
    struct jwt_rules rules = {.team_ids = "groups", .team_id_default = "all"};

    (void)state;
    assert_int_equal(identify(rules, "c", "{\"groups\":[\"b\",\"c\"]}"), JWT_PERSON_TEAM);
    assert_int_equal(who.num_teams, 1);
    assert_string_equal(who.teams[0].name, "c");
    assert_int_equal(identify(rules, "d", "{\"groups\":[\"b\",\"c\"]}"), JWT_PERSON_WRONG_TEAM);
    assert_int_equal(who.num_teams, 0);
    assert_int_equal(identify(rules, "", "{\"groups\":[\"b\"]}"), JWT_PERSON_WRONG_TEAM);
    assert_int_equal(identify(rules, "all", "{}"), JWT_PERSON_TEAM);
}

static void claims_of_another_type_are_refused(void **state)
{
    static const char *const wrong[] = {"{\"team\":7}",           "{\"team\":[\"a\"]}",
                                        "{\"team\":\"\"}",        "{\"team\":\"a\\u0000\"}",
                                        "{\"groups\":[\"a\",7]}", "{\"groups\":{\"a\":\"b\"}}",
                                        "{\"groups\":[\"\"]}"};
    struct jwt_rules rules = {.team_id = "team", .team_ids = "groups", .team_id_default = "all"};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(identify(rules, NULL, wrong[i]), JWT_PERSON_MALFORMED);
}

static void more_teams_than_there_is_room_for_are_refused(void **state)
{
    struct jwt_rules rules = {.team_ids = "groups"};
    char text[4096], *at = text + sprintf(text, "{\"groups\":[");

    (void)state;
    for (int i = 0; i < JWT_MAX_TEAMS; i++)
        at += sprintf(at, "%s\"g%d\"", i > 0 ? "," : "", i);
    strcpy(at, "]}");
    assert_int_equal(identify(rules, NULL, text), JWT_PERSON_TEAM);
    assert_int_equal(who.num_teams, JWT_MAX_TEAMS);
    strcpy(at, ",\"one\"]}");
    assert_int_equal(identify(rules, NULL, text), JWT_PERSON_MALFORMED);
}

static int free_doc(void **state)
{
    (void)state;
    json_doc_free(doc);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(claims_are_found_by_their_path),
        cmocka_unit_test(a_long_path_finds_nothing),
        cmocka_unit_test(a_scope_makes_an_administrator),
        cmocka_unit_test(a_role_makes_an_administrator),
        cmocka_unit_test(a_team_is_looked_for_under_each_name),
        cmocka_unit_test(the_default_is_for_who_names_no_team),
        cmocka_unit_test(a_client_may_ask_for_a_team_of_its_token),
        cmocka_unit_test(claims_of_another_type_are_refused),
        cmocka_unit_test(more_teams_than_there_is_room_for_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, free_doc);
}
