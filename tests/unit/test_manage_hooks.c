/* /webhooks as tenants and administrators call it, over both engines. */
#include "store_world.h"

#include "crypto/vault.h"
#include "json/json.h"
#include "manage/manage.h"
#include "store/store_hooks.h"
#include "webhook/hook_sign.h"

#define NOW_MS INT64_C(1800000000000)
#define MASTER                                                                                     \
    "{\"admin\":true,\"name\":\"master key\",\"owner\":\"0000000000000000\",\"hash\":\"\"}"
#define TEAM  "{\"admin\":false,\"name\":\"a\",\"owner\":\"00000000000000aa\",\"hash\":\"\"}"
#define OTHER "{\"admin\":false,\"name\":\"b\",\"owner\":\"ffffffffffffffff\",\"hash\":\"\"}"

static struct cluster cluster;

struct api {
    struct world world;
    struct vault vault;
    struct manage_hooks hooks;
    struct manage manage;
    struct manage_answer answer;
    struct json_doc *doc;
    struct json *body; /* of the last answer */
};

static struct api *api_of(struct cluster *c)
{
    static const unsigned char key[VAULT_KEY_BYTES] = {7};
    static struct api a;

    memset(&a, 0, sizeof(a));
    world_init(&a.world, c);
    assert_int_equal(vault_add(&a.vault, key), 0);
    a.hooks = (struct manage_hooks){.vault = &a.vault};
    a.manage = (struct manage){.store = a.world.store, .hooks = &a.hooks, .now_unix_ms = NOW_MS};
    return &a;
}

static int set_up_sqlite(void **state)
{
    *state = api_of(NULL);
    return 0;
}

static int set_up_postgres(void **state)
{
    *state = cluster.there ? api_of(&cluster) : NULL;
    return 0;
}

static int tear_down(void **state)
{
    struct api *a = *state;

    if (a == NULL)
        return 0;
    strbuf_deinit(&a->answer.body);
    json_doc_free(a->doc);
    world_deinit(&a->world);
    return 0;
}

#define API(a)                                                                                     \
    struct api *a = *state;                                                                        \
    if ((a) == NULL)                                                                               \
    skip()

/* @return the status */
static int call(struct api *a, const char *caller, const char *method, const char *path,
                const char *query, const char *body)
{
    struct strbuf message = STRBUF_INIT;
    struct json_error error;

    strbuf_deinit(&a->answer.body);
    json_doc_free(a->doc);
    a->doc = json_doc_new();
    strbuf_addf(&message, "{\"method\":\"%s\",\"path\":\"%s\",\"query\":%s,\"caller\":%s}\n%s",
                method, path, query, caller, body);
    assert_int_equal(manage_call(&a->manage, strbuf_str(&message), message.len, &a->answer), 0);
    strbuf_deinit(&message);
    a->body = json_parse(a->doc, strbuf_str(&a->answer.body), a->answer.body.len, &error);
    assert_non_null(a->body);
    return a->answer.status;
}

#define EXPECT(a, status, call)                                                                    \
    do {                                                                                           \
        int got_ = (call);                                                                         \
        if (got_ != (status))                                                                      \
            fail_msg("%s: %d: %s", #call, got_, strbuf_str(&(a)->answer.body));                    \
    } while (0)

static const char *text(const struct api *a, const char *name)
{
    return json_get_str(a->body, name);
}

static void expect_fault(const struct api *a, const char *param, const char *part)
{
    const struct json *error = json_get(a->body, "error");

    assert_string_equal(json_get_str(error, "param"), param);
    if (strstr(json_get_str(error, "message"), part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, json_get_str(error, "message"));
}

static size_t num_data(const struct api *a)
{
    return json_size(json_get(a->body, "data"));
}

/* @return its path, "/webhooks/wh_..." and what follows */
static const char *make(struct api *a, const char *caller, char out[STORE_HOOK_ID + 32])
{
    EXPECT(a, 200, call(a, caller, "POST", "/webhooks", "{}", "{\"url\":\"https://h.example/x\"}"));
    snprintf(out, STORE_HOOK_ID + 32, "/webhooks/%s", text(a, "id"));
    return out;
}

static void a_secret_is_shown_once_and_kept_sealed(void **state)
{
    char path[STORE_HOOK_ID + 32], secret[HOOK_SECRET_MAX + 1], what[80], opened[80];
    const struct store_hook_owner all = {.all = true};
    struct store_hook hook;

    API(a);
    make(a, TEAM, path);
    assert_non_null(text(a, "secret"));
    snprintf(secret, sizeof(secret), "%s", text(a, "secret"));
    assert_null(hook_secret_fault(secret));
    EXPECT(a, 200, call(a, TEAM, "GET", path, "{}", ""));
    assert_null(text(a, "secret"));
    assert_string_equal(text(a, "url"), "https://h.example/x");
    assert_int_equal(json_size(json_get(a->body, "events")), 4);
    EXPECT(a, 200, call(a, TEAM, "GET", "/webhooks", "{}", ""));
    assert_null(strstr(strbuf_str(&a->answer.body), "whsec_"));
    OK(&a->world, store_hook_get(a->world.store, path + strlen("/webhooks/"), &all, &hook));
    assert_null(strstr(hook.secret, secret));
    snprintf(what, sizeof(what), "webhook secret of %s", hook.id);
    assert_int_equal(vault_open(&a->vault, what, hook.secret, opened, sizeof(opened)), 0);
    assert_string_equal(opened, secret);
    assert_false(hook.of.all);
    assert_int_equal(hook.of.owner, 0xaa);
    store_hook_deinit(&hook);
}

static void a_tenant_has_its_own_and_the_administrator_all(void **state)
{
    char path[STORE_HOOK_ID + 32], deeper[STORE_HOOK_ID + 48];

    API(a);
    make(a, TEAM, path);
    EXPECT(a, 200, call(a, OTHER, "GET", "/webhooks", "{}", ""));
    assert_int_equal(num_data(a), 0);
    EXPECT(a, 404, call(a, OTHER, "GET", path, "{}", ""));
    EXPECT(a, 404, call(a, OTHER, "PATCH", path, "{}", "{\"enabled\":false}"));
    EXPECT(a, 404, call(a, OTHER, "DELETE", path, "{}", ""));
    snprintf(deeper, sizeof(deeper), "%s/rotate", path);
    EXPECT(a, 404, call(a, OTHER, "POST", deeper, "{}", ""));
    snprintf(deeper, sizeof(deeper), "%s/test", path);
    EXPECT(a, 404, call(a, OTHER, "POST", deeper, "{}", ""));
    snprintf(deeper, sizeof(deeper), "%s/events", path);
    EXPECT(a, 404, call(a, OTHER, "GET", deeper, "{}", ""));
    EXPECT(a, 200, call(a, MASTER, "GET", path, "{}", ""));
    EXPECT(a, 200, call(a, MASTER, "GET", "/webhooks", "{}", ""));
    assert_int_equal(num_data(a), 1);
    EXPECT(a, 422,
           call(a, TEAM, "POST", "/webhooks", "{}",
                "{\"url\":\"https://h.example/\",\"owner\":\"team:b\"}"));
    expect_fault(a, "owner", "administrator");
    EXPECT(
        a, 200,
        call(
            a, MASTER, "POST", "/webhooks", "{}",
            "{\"url\":\"https://h.example/\",\"owner\":\"team:b\",\"events\":[\"batch.failed\"]}"));
    assert_string_equal(text(a, "owner"), "team:b");
    assert_int_equal(json_size(json_get(a->body, "events")), 1);
}

static void what_is_wrong_is_told_by_its_member(void **state)
{
    static const struct {
        const char *body, *param, *part;
    } cases[] = {
        {"{}", "url", "required"},
        {"{\"url\":7}", "url", "string"},
        {"{\"url\":\"http://h.example/\"}", "url", "webhook_allow_http"},
        {"{\"url\":\"https://10.0.0.1/\"}", "url", "private"},
        {"{\"url\":\"https://169.254.169.254/\"}", "url", "metadata"},
        {"{\"url\":\"https://[::ffff:127.0.0.1]/\"}", "url", "loopback"},
        {"{\"url\":\"https://u:p@h.example/\"}", "url", "password"},
        {"{\"url\":\"https://h.example/\",\"secret\":\"short\"}", "secret", "16 bytes"},
        {"{\"url\":\"https://h.example/\",\"events\":[\"batch.started\"]}", "events", "list of"},
        {"{\"url\":\"https://h.example/\",\"events\":[]}", "events", "list of"},
        {"{\"url\":\"https://h.example/\",\"event\":[]}", "event", "not permitted"},
    };

    API(a);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        EXPECT(a, 422, call(a, TEAM, "POST", "/webhooks", "{}", cases[i].body));
        expect_fault(a, cases[i].param, cases[i].part);
    }
    EXPECT(a, 200, call(a, TEAM, "GET", "/webhooks", "{}", ""));
    assert_int_equal(num_data(a), 0);
    EXPECT(a, 405, call(a, TEAM, "PATCH", "/webhooks", "{}", "{}"));
    EXPECT(a, 422, call(a, TEAM, "GET", "/webhooks", "{\"limit\":\"101\"}", ""));
}

static void a_secret_of_ones_own_is_taken(void **state)
{
    API(a);
    EXPECT(a, 200,
           call(a, TEAM, "POST", "/webhooks", "{}",
                "{\"url\":\"https://h.example/\",\"secret\":\"my-own-secret-of-24-bytes\"}"));
    assert_string_equal(text(a, "secret"), "my-own-secret-of-24-bytes");
}

static void a_rotation_leaves_the_old_one_signing_for_a_day(void **state)
{
    const struct store_hook_owner all = {.all = true};
    char path[STORE_HOOK_ID + 32], rotate[STORE_HOOK_ID + 48], first[HOOK_NEW_SECRET + 1];
    struct store_hook hook;
    int64_t until = 0;

    API(a);
    make(a, TEAM, path);
    snprintf(first, sizeof(first), "%s", text(a, "secret"));
    snprintf(rotate, sizeof(rotate), "%s/rotate", path);
    EXPECT(a, 200, call(a, TEAM, "POST", rotate, "{}", ""));
    assert_string_not_equal(text(a, "secret"), first);
    assert_true(json_int64(json_get(a->body, "old_secret_until"), &until));
    assert_int_equal(until, NOW_MS / 1000 + 24 * 3600);
    OK(&a->world, store_hook_get(a->world.store, path + strlen("/webhooks/"), &all, &hook));
    assert_non_null(hook.old_secret);
    assert_int_equal(hook.old_until_ms, NOW_MS + INT64_C(24) * 3600 * 1000);
    store_hook_deinit(&hook);
    EXPECT(a, 422, call(a, TEAM, "POST", rotate, "{}", "{\"secret\":\"short\"}"));
}

static void one_is_changed_and_deleted(void **state)
{
    char path[STORE_HOOK_ID + 32];
    bool enabled = true;

    API(a);
    make(a, TEAM, path);
    EXPECT(
        a, 200,
        call(a, TEAM, "PATCH", path, "{}",
             "{\"url\":\"https://i.example/\",\"events\":[\"batch.expired\"],\"enabled\":false}"));
    assert_string_equal(text(a, "url"), "https://i.example/");
    assert_true(json_bool(json_get(a->body, "enabled"), &enabled));
    assert_false(enabled);
    EXPECT(a, 422, call(a, TEAM, "PATCH", path, "{}", "{\"enabled\":\"no\"}"));
    EXPECT(a, 422,
           call(a, TEAM, "PATCH", path, "{}", "{\"secret\":\"my-own-secret-of-24-bytes\"}"));
    EXPECT(a, 200, call(a, TEAM, "DELETE", path, "{}", ""));
    EXPECT(a, 404, call(a, TEAM, "GET", path, "{}", ""));
}

static void one_of_the_configuration_is_changed_there(void **state)
{
    struct store_hook hook = {.id = (char *)(uintptr_t) "wh_c",
                              .of = {.all = true},
                              .url = (char *)(uintptr_t) "https://h.example/path",
                              .secret = (char *)(uintptr_t) "sealed",
                              .types = 15,
                              .from_config = true,
                              .enabled = true};

    API(a);
    OK(&a->world, store_hook_add(a->world.store, &hook, &tester));
    EXPECT(a, 200, call(a, MASTER, "GET", "/webhooks/wh_c", "{}", ""));
    assert_string_equal(text(a, "source"), "config");
    assert_string_equal(text(a, "url"), "https://h.example"); /* its path may be a secret */
    EXPECT(a, 409, call(a, MASTER, "DELETE", "/webhooks/wh_c", "{}", ""));
    EXPECT(a, 409, call(a, MASTER, "POST", "/webhooks/wh_c/rotate", "{}", ""));
    EXPECT(a, 409,
           call(a, MASTER, "PATCH", "/webhooks/wh_c", "{}", "{\"url\":\"https://i.example/\"}"));
    EXPECT(a, 200, call(a, MASTER, "PATCH", "/webhooks/wh_c", "{}", "{\"enabled\":false}"));
}

static void a_test_makes_an_event_that_is_seen_and_told_again(void **state)
{
    char path[STORE_HOOK_ID + 32], deeper[STORE_HOOK_ID + 48], replay[96];
    const struct json *row;
    int64_t endpoints = 0;

    API(a);
    make(a, TEAM, path);
    snprintf(deeper, sizeof(deeper), "%s/test", path);
    EXPECT(a, 200, call(a, TEAM, "POST", deeper, "{}", ""));
    assert_memory_equal(text(a, "id"), "evt_", 4);
    snprintf(replay, sizeof(replay), "/webhooks/events/%s/replay", text(a, "id"));
    snprintf(deeper, sizeof(deeper), "%s/events", path);
    EXPECT(a, 200, call(a, TEAM, "GET", deeper, "{}", ""));
    assert_int_equal(num_data(a), 1);
    row = json_at(json_get(a->body, "data"), 0);
    assert_string_equal(json_get_str(row, "state"), "pending");
    assert_string_equal(json_get_str(row, "type"), "batch.completed");
    EXPECT(a, 200, call(a, TEAM, "POST", replay, "{}", ""));
    assert_true(json_int64(json_get(a->body, "endpoints"), &endpoints));
    assert_int_equal(endpoints, 1);
    EXPECT(a, 404, call(a, OTHER, "POST", replay, "{}", ""));
    EXPECT(a, 404, call(a, TEAM, "POST", "/webhooks/events/evt_none/replay", "{}", ""));
    EXPECT(a, 200, call(a, TEAM, "PATCH", path, "{}", "{\"enabled\":false}"));
    snprintf(deeper, sizeof(deeper), "%s/test", path);
    EXPECT(a, 409, call(a, TEAM, "POST", deeper, "{}", ""));
}

static void without_a_journal_or_a_key_there_are_none(void **state)
{
    struct vault empty = {0};
    struct manage_hooks hooks = {.vault = &empty};

    API(a);
    a->manage.hooks = NULL;
    EXPECT(a, 400, call(a, TEAM, "GET", "/webhooks", "{}", ""));
    a->manage.hooks = &hooks;
    EXPECT(a, 400, call(a, TEAM, "POST", "/webhooks", "{}", "{\"url\":\"https://h.example/\"}"));
}

#define BOTH(group)     group(set_up_sqlite), group(set_up_postgres)
#define T(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TESTS(s)                                                                                   \
    T(a_secret_is_shown_once_and_kept_sealed, s),                                                  \
        T(a_tenant_has_its_own_and_the_administrator_all, s),                                      \
        T(what_is_wrong_is_told_by_its_member, s), T(a_secret_of_ones_own_is_taken, s),            \
        T(a_rotation_leaves_the_old_one_signing_for_a_day, s), T(one_is_changed_and_deleted, s),   \
        T(one_of_the_configuration_is_changed_there, s),                                           \
        T(a_test_makes_an_event_that_is_seen_and_told_again, s),                                   \
        T(without_a_journal_or_a_key_there_are_none, s)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("manage_hooks", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
