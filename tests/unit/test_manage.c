/* The management API as LiteLLM's clients and scripts know it, over both engines. */
#include "store_world.h"

#include "json/json.h"
#include "manage/manage.h"

#define NOW_MS INT64_C(1800000000000)
#define MASTER "{\"admin\":true,\"name\":\"master key\",\"hash\":\"\"}"
#define A_HASH "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A_KEY  "sk-a-key-of-our-own-0001"

static struct cluster cluster;

struct api {
    struct world world;
    struct manage manage;
    struct rights_list file;
    struct rights_key file_key;
    struct manage_answer answer;
    struct json_doc *doc;
    struct json *body; /* of the last answer */
};

static struct api *api_of(struct cluster *c)
{
    static struct api a;

    memset(&a, 0, sizeof(a));
    world_init(&a.world, c);
    a.file_key = (struct rights_key){.alias = (char *)"of-file", .tail = "zzzz"};
    memset(a.file_key.hash, 0xaa, sizeof(a.file_key.hash));
    a.file = (struct rights_list){.keys = &a.file_key, .num_keys = 1};
    a.manage = (struct manage){.store = a.world.store,
                               .files = {NULL, &a.file},
                               .file_names = {"the configuration", "keys.yaml"},
                               .now_unix_ms = NOW_MS};
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
static int call_as(struct api *a, const char *caller, const char *method, const char *path,
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

static int post(struct api *a, const char *path, const char *body)
{
    return call_as(a, MASTER, "POST", path, "{}", body);
}

static int get(struct api *a, const char *path, const char *query)
{
    return call_as(a, MASTER, "GET", path, query, "");
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

static const struct json *error_of(const struct api *a)
{
    return json_get(a->body, "error");
}

static void expect_error(const struct api *a, const char *type, const char *param, const char *code,
                         const char *part)
{
    const char *message = json_get_str(error_of(a), "message");

    assert_string_equal(json_get_str(error_of(a), "type"), type);
    if (param == NULL)
        assert_int_equal(json_type(json_get(error_of(a), "param")), JSON_NULL);
    else
        assert_string_equal(json_get_str(error_of(a), "param"), param);
    assert_string_equal(json_get_str(error_of(a), "code"), code);
    assert_non_null(message);
    if (strstr(message, part) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", part, message);
}

/* A key's hash, kept while the answer goes. */
static void generate(struct api *a, const char *body, char hash[STORE_HASH_DIGITS + 1])
{
    EXPECT(a, 200, post(a, "/key/generate", body));
    assert_non_null(text(a, "token"));
    memcpy(hash, text(a, "token"), STORE_HASH_DIGITS + 1);
}

/* ---- making keys ---- */

static void a_generated_key_is_shown_once_with_all_that_was_asked_for(void **state)
{
    API(a);
    char hash[STORE_HASH_DIGITS + 1], query[128];

    generate(a,
             "{\"key_alias\":\"batch-host\",\"models\":[\"gpt-4o\"],\"duration\":\"30d\","
             "\"metadata\":{\"a\":1},\"rpm_limit\":\"60\",\"tags\":[\"x\"]}",
             hash);
    assert_true(a->answer.changed);
    assert_int_equal(strlen(text(a, "key")), 46);
    assert_int_equal(strncmp(text(a, "key"), "sk-", 3), 0);
    assert_string_equal(text(a, "token_id"), hash);
    assert_int_equal(strncmp(text(a, "key_name"), "sk-...", 6), 0);
    assert_string_equal(text(a, "key_name") + 6, text(a, "key") + 42);
    assert_string_equal(text(a, "expires"), "2027-02-14T08:00:00Z");
    assert_string_equal(text(a, "created_by"), "master key");
    assert_string_equal(json_number_text(json_get(a->body, "rpm_limit")), "60");
    assert_int_equal(json_size(json_get(a->body, "tags")), 1);
    snprintf(query, sizeof(query), "{\"key\":\"%s\"}", hash);
    EXPECT(a, 200, get(a, "/key/info", query));
    assert_string_equal(text(a, "key"), hash);
    assert_null(json_get(json_get(a->body, "info"), "key"));
    assert_null(json_get(json_get(a->body, "info"), "token"));
    assert_string_equal(json_get_str(json_get(a->body, "info"), "key_alias"), "batch-host");
}

static void a_key_may_be_given_and_is_found_by_its_text(void **state)
{
    API(a);

    EXPECT(a, 200, post(a, "/key/generate", "{\"key\":\"" A_KEY "\"}"));
    assert_string_equal(text(a, "key"), A_KEY);
    EXPECT(a, 200, get(a, "/key/info", "{\"key\":\"" A_KEY "\"}"));
    EXPECT(a, 400, post(a, "/key/generate", "{\"key\":\"" A_KEY "\"}"));
    expect_error(a, "bad_request_error", "key", "400", "exists already");
    EXPECT(a, 422, post(a, "/key/generate", "{\"key\":\"sk-short\"}"));
    expect_error(a, "invalid_request_error", "key", "422", "16 characters");
    assert_null(strstr(strbuf_str(&a->answer.body), "sk-short"));
}

static void a_query_that_says_something_twice_is_no_fault_of_the_body(void **state)
{
    API(a);

    EXPECT(a, 200, call_as(a, MASTER, "POST", "/key/generate", "{\"x\":\"1\",\"x\":\"2\"}", "{}"));
}

static void an_alias_is_one_keys(void **state)
{
    API(a);
    char hash[STORE_HASH_DIGITS + 1];

    generate(a, "{\"key_alias\":\"one\"}", hash);
    EXPECT(a, 400, post(a, "/key/generate", "{\"key_alias\":\"one\"}"));
    expect_error(a, "bad_request_error", "key_alias", "400",
                 "Key with alias 'one' already exists.");
}

static void a_key_of_a_team_that_is_not_there_is_refused(void **state)
{
    API(a);

    EXPECT(a, 400, post(a, "/key/generate", "{\"team_id\":\"nobody\"}"));
    expect_error(a, "bad_request_error", "team_id", "400", "Team 'nobody' does not exist");
    assert_false(a->answer.changed);
}

static void a_budget_is_refused_where_nobody_would_enforce_it(void **state)
{
    API(a);

    EXPECT(a, 422, post(a, "/key/generate", "{\"max_budget\":10.5}"));
    expect_error(a, "invalid_request_error", "max_budget", "422", "counted by the journal");
    EXPECT(a, 422, post(a, "/team/new", "{\"budget_duration\":\"30d\"}"));
    EXPECT(a, 200, post(a, "/key/generate", "{\"max_budget\":null}"));
    a->manage.journal = true;
    EXPECT(a, 422, post(a, "/key/generate", "{\"soft_budget\":5}"));
    expect_error(a, "invalid_request_error", "soft_budget", "422", "not enforced");
}

static void a_budget_is_kept_where_a_journal_counts_money(void **state)
{
    API(a);

    a->manage.journal = true;
    EXPECT(a, 200,
           post(a, "/key/generate",
                "{\"key_alias\":\"b\",\"max_budget\":10.5,\"budget_duration\":\"30d\"}"));
    EXPECT(a, 200, post(a, "/team/new", "{\"team_id\":\"t\",\"max_budget\":\"1e2\"}"));
    EXPECT(a, 422, post(a, "/key/generate", "{\"max_budget\":-1}"));
    EXPECT(a, 422, post(a, "/key/generate", "{\"max_budget\":\"much\"}"));
    EXPECT(a, 422, post(a, "/key/generate", "{\"budget_duration\":\"soon\"}"));
}

static void what_has_no_effect_is_kept_and_told(void **state)
{
    API(a);

    EXPECT(a, 200, post(a, "/key/generate", "{\"tpm_limit\":1000,\"guardrails\":[\"g\"]}"));
    assert_int_equal(json_size(json_get(a->body, "warnings")), 1);
    assert_string_equal(json_number_text(json_get(a->body, "tpm_limit")), "1000");
}

static void a_malformed_body_is_a_422_for_both_kinds_of_client(void **state)
{
    API(a);
    const struct json *detail;

    EXPECT(
        a, 422,
        post(a, "/key/generate",
             "{\"models\":\"gpt-4o\",\"rpm_limit\":-1,\"blocked\":\"yes\",\"duration\":\"soon\"}"));
    detail = json_get(a->body, "detail");
    assert_int_equal(json_size(detail), 4);
    assert_string_equal(json_str(json_at(json_get(json_at(detail, 0), "loc"), 0), NULL), "body");
    assert_string_equal(json_str(json_at(json_get(json_at(detail, 0), "loc"), 1), NULL), "models");
    assert_string_equal(json_get_str(json_at(detail, 0), "type"), "list_type");
    assert_string_equal(json_get_str(error_of(a), "code"), "422");
    EXPECT(a, 422, post(a, "/key/generate", "{\"models\":"));
    expect_error(a, "invalid_request_error", NULL, "422", "line 1");
    EXPECT(a, 422, post(a, "/key/generate", "[]"));
    EXPECT(a, 422, post(a, "/key/generate", ""));
    EXPECT(a, 422, post(a, "/key/generate", "{\"key_alias\":\"a\",\"key_alias\":\"b\"}"));
}

static void limits_in_the_metadata_are_checked(void **state)
{
    API(a);

    EXPECT(a, 200,
           post(a, "/key/generate", "{\"metadata\":{\"batch_enqueued_token_limit\":\"5000\"}}"));
    EXPECT(a, 422,
           post(a, "/key/generate", "{\"metadata\":{\"batch_enqueued_token_limit\":\"many\"}}"));
    EXPECT(a, 422,
           post(a, "/key/generate",
                "{\"metadata\":{\"enforced_file_expires_after\":{\"anchor\":\"created_at\"}}}"));
}

static void a_service_account_is_a_teams_and_nobodys(void **state)
{
    API(a);

    EXPECT(a, 422, post(a, "/key/service-account/generate", "{\"key_alias\":\"sa\"}"));
    expect_error(a, "invalid_request_error", "team_id", "422", "required");
    EXPECT(a, 200, post(a, "/team/new", "{\"team_id\":\"t1\"}"));
    EXPECT(a, 200,
           post(a, "/key/service-account/generate",
                "{\"key_alias\":\"sa\",\"team_id\":\"t1\",\"user_id\":\"somebody\"}"));
    assert_int_equal(json_type(json_get(a->body, "user_id")), JSON_NULL);
    assert_string_equal(json_get_str(json_get(a->body, "metadata"), "service_account_id"), "sa");
    char update[256];

    snprintf(update, sizeof(update),
             "{\"key\":\"%s\",\"metadata\":{\"service_account_id\":\"other\",\"b\":2}}",
             text(a, "key"));
    EXPECT(a, 200, post(a, "/key/update", update));
    assert_string_equal(json_get_str(json_get(a->body, "metadata"), "service_account_id"), "sa");
    assert_non_null(json_get(json_get(a->body, "metadata"), "b"));
}

/* ---- changing keys ---- */

static void an_update_changes_what_it_names_and_null_clears(void **state)
{
    API(a);

    EXPECT(a, 200,
           post(a, "/key/generate",
                "{\"key\":\"" A_KEY "\",\"key_alias\":\"one\",\"models\":[\"m\"],\"rpm_limit\":5,"
                "\"duration\":\"1h\"}"));
    EXPECT(a, 200, post(a, "/key/update", "{\"key\":\"" A_KEY "\",\"rpm_limit\":7}"));
    assert_string_equal(text(a, "key"), A_KEY);
    assert_string_equal(text(a, "key_alias"), "one");
    assert_string_equal(json_number_text(json_get(a->body, "rpm_limit")), "7");
    assert_int_equal(json_size(json_get(a->body, "models")), 1);
    assert_non_null(text(a, "expires"));
    EXPECT(a, 200,
           post(a, "/key/update",
                "{\"key\":\"" A_KEY "\",\"rpm_limit\":null,\"key_alias\":null,\"duration\":null,"
                "\"models\":null}"));
    assert_int_equal(json_type(json_get(a->body, "rpm_limit")), JSON_NULL);
    assert_int_equal(json_type(json_get(a->body, "key_alias")), JSON_NULL);
    assert_int_equal(json_type(json_get(a->body, "expires")), JSON_NULL);
    assert_int_equal(json_size(json_get(a->body, "models")), 0);
    EXPECT(a, 404, post(a, "/key/update", "{\"key\":\"sk-nobody-has-this-one\"}"));
    expect_error(a, "not_found_error", "key", "404", "Key not found");
    EXPECT(a, 422, post(a, "/key/update", "{\"rpm_limit\":7}"));
}

static void a_key_is_blocked_and_unblocked(void **state)
{
    API(a);
    bool blocked;

    EXPECT(a, 200, post(a, "/key/generate", "{\"key\":\"" A_KEY "\"}"));
    EXPECT(a, 200, post(a, "/key/block", "{\"key\":\"" A_KEY "\"}"));
    assert_true(a->answer.changed);
    assert_true(json_bool(json_get(a->body, "blocked"), &blocked) && blocked);
    EXPECT(a, 200, post(a, "/key/unblock", "{\"key\":\"" A_KEY "\"}"));
    assert_true(json_bool(json_get(a->body, "blocked"), &blocked) && !blocked);
}

static void a_regenerated_key_is_the_same_row_with_another_secret(void **state)
{
    API(a);
    char path[128], hash[STORE_HASH_DIGITS + 1];

    generate(a, "{\"key\":\"" A_KEY "\",\"key_alias\":\"one\"}", hash);
    snprintf(path, sizeof(path), "/key/%s/regenerate", hash);
    EXPECT(a, 200, post(a, path, "{\"grace_period\":\"24h\"}"));
    assert_string_equal(text(a, "key_alias"), "one");
    assert_string_not_equal(text(a, "token"), hash);
    assert_int_equal(strlen(text(a, "key")), 46);
    EXPECT(a, 200,
           post(a, "/key/regenerate",
                "{\"key\":\"" A_KEY "\",\"new_key\":\"sk-the-next-key-of-it\"}"));
    assert_string_equal(text(a, "key"), "sk-the-next-key-of-it");
    snprintf(path, sizeof(path), "/key/%s/regenerate", "sk-the-next-key-of-it");
    EXPECT(a, 200, post(a, path, ""));
    snprintf(path, sizeof(path), "/key/%s/regenerate", text(a, "key"));
    EXPECT(a, 422, post(a, path, "{\"grace_period\":\"long\"}"));
    EXPECT(a, 404, post(a, "/key/sk-nobody-has-this-one/regenerate", "{}"));
    EXPECT(a, 404, post(a, "/key/a/b/regenerate", "{}"));
    expect_error(a, "invalid_request_error", NULL, "404", "Invalid URL");
}

static void deleting_takes_all_that_were_named_or_none(void **state)
{
    API(a);
    char hash[STORE_HASH_DIGITS + 1];

    generate(a, "{\"key\":\"" A_KEY "\"}", hash);
    generate(a, "{\"key_alias\":\"two\"}", hash);
    EXPECT(a, 404, post(a, "/key/delete", "{\"keys\":[\"" A_KEY "\",\"sk-nobody-has-this-one\"]}"));
    EXPECT(a, 200, get(a, "/key/info", "{\"key\":\"" A_KEY "\"}"));
    EXPECT(a, 200, post(a, "/key/delete", "{\"keys\":[\"" A_KEY "\"]}"));
    assert_string_equal(json_str(json_at(json_get(a->body, "deleted_keys"), 0), NULL), A_KEY);
    EXPECT(a, 404, get(a, "/key/info", "{\"key\":\"" A_KEY "\"}"));
    EXPECT(a, 200, post(a, "/key/delete", "{\"key_aliases\":[\"two\"]}"));
    EXPECT(a, 422, post(a, "/key/delete", "{}"));
    EXPECT(a, 200, get(a, "/key/list", "{\"status\":\"deleted\"}"));
    assert_int_equal(json_size(json_get(a->body, "keys")), 2);
}

/* ---- reading keys ---- */

static void a_list_has_pages_of_hashes_or_of_rows(void **state)
{
    API(a);
    char hash[STORE_HASH_DIGITS + 1], body[64];

    for (int i = 0; i < 12; i++) {
        snprintf(body, sizeof(body), "{\"key_alias\":\"key-%02d\"}", i);
        generate(a, body, hash);
    }
    EXPECT(a, 200, get(a, "/key/list", "{}"));
    assert_int_equal(json_size(json_get(a->body, "keys")), 10);
    assert_string_equal(json_number_text(json_get(a->body, "total_count")), "12");
    assert_string_equal(json_number_text(json_get(a->body, "total_pages")), "2");
    assert_int_equal(strlen(json_str(json_at(json_get(a->body, "keys"), 0), NULL)), 64);
    EXPECT(a, 200,
           get(a, "/key/list",
               "{\"page\":\"2\",\"size\":\"5\",\"return_full_object\":\"true\","
               "\"sort_by\":\"key_alias\",\"sort_order\":\"asc\"}"));
    assert_int_equal(json_size(json_get(a->body, "keys")), 5);
    assert_string_equal(json_get_str(json_at(json_get(a->body, "keys"), 0), "key_alias"), "key-05");
    EXPECT(a, 200, get(a, "/key/list", "{\"key_alias\":\"key-03\"}"));
    assert_int_equal(json_size(json_get(a->body, "keys")), 1);
    EXPECT(a, 422, get(a, "/key/list", "{\"size\":\"101\"}"));
    EXPECT(a, 422, get(a, "/key/list", "{\"page\":\"first\"}"));
    EXPECT(a, 422, get(a, "/key/list", "{\"sort_by\":\"secret\"}"));
}

static void a_key_may_read_itself_and_no_other(void **state)
{
    API(a);
    char own[STORE_HASH_DIGITS + 1], other[STORE_HASH_DIGITS + 1], caller[128], query[128];

    generate(a, "{\"key_alias\":\"own\"}", own);
    generate(a, "{\"key_alias\":\"other\"}", other);
    snprintf(caller, sizeof(caller), "{\"admin\":false,\"name\":\"own\",\"hash\":\"%s\"}", own);
    EXPECT(a, 200, call_as(a, caller, "GET", "/key/info", "{}", ""));
    assert_string_equal(json_get_str(json_get(a->body, "info"), "key_alias"), "own");
    snprintf(query, sizeof(query), "{\"key\":\"%s\"}", other);
    EXPECT(a, 403, call_as(a, caller, "GET", "/key/info", query, ""));
    assert_null(strstr(strbuf_str(&a->answer.body), other));
    EXPECT(a, 403, call_as(a, caller, "GET", "/key/list", "{}", ""));
    EXPECT(a, 403, call_as(a, caller, "POST", "/key/generate", "{}", "{}"));
    EXPECT(a, 400, get(a, "/key/info", "{}")); /* the master key has no row */
}

static void a_key_of_the_file_is_read_and_not_changed(void **state)
{
    API(a);

    EXPECT(a, 200, get(a, "/key/info", "{\"key\":\"" A_HASH "\"}"));
    assert_string_equal(json_get_str(json_get(a->body, "info"), "key_alias"), "of-file");
    EXPECT(a, 409, post(a, "/key/update", "{\"key\":\"" A_HASH "\",\"rpm_limit\":1}"));
    expect_error(a, "invalid_request_error", "key", "409", "keys.yaml");
    EXPECT(a, 409, post(a, "/key/block", "{\"key\":\"" A_HASH "\"}"));
    EXPECT(a, 409, post(a, "/key/delete", "{\"keys\":[\"" A_HASH "\"]}"));
    EXPECT(a, 409, post(a, "/key/regenerate", "{\"key\":\"" A_HASH "\"}"));
}

/* ---- teams ---- */

static void a_team_is_made_changed_and_read(void **state)
{
    API(a);

    EXPECT(a, 200,
           post(a, "/team/new",
                "{\"team_id\":\"t1\",\"team_alias\":\"Team One\",\"models\":[\"m\"],"
                "\"model_aliases\":{\"x\":\"m\"},\"batch_enqueued_token_limit\":9}"));
    assert_string_equal(text(a, "team_alias"), "Team One");
    EXPECT(a, 400, post(a, "/team/new", "{\"team_id\":\"t1\"}"));
    EXPECT(a, 200, post(a, "/team/update", "{\"team_id\":\"t1\",\"models\":[\"m\",\"n\"]}"));
    assert_int_equal(json_size(json_get(json_get(a->body, "data"), "models")), 2);
    EXPECT(a, 200, post(a, "/key/generate", "{\"team_id\":\"t1\",\"key_alias\":\"k\"}"));
    EXPECT(a, 200, get(a, "/team/info", "{\"team_id\":\"t1\"}"));
    assert_string_equal(json_get_str(json_get(a->body, "team_info"), "team_alias"), "Team One");
    assert_int_equal(json_size(json_get(a->body, "keys")), 1);
    EXPECT(a, 200, get(a, "/team/list", "{}"));
    assert_int_equal(json_size(a->body), 1);
    EXPECT(a, 404, get(a, "/team/info", "{\"team_id\":\"t2\"}"));
    EXPECT(a, 422, get(a, "/team/info", "{}"));
    EXPECT(a, 200, post(a, "/team/new", "{}")); /* gets a UUID */
    assert_int_equal(strlen(text(a, "team_id")), 36);
}

static void a_team_is_blocked_and_deleted_with_its_keys(void **state)
{
    API(a);
    bool blocked;

    EXPECT(a, 200, post(a, "/team/new", "{\"team_id\":\"t1\"}"));
    EXPECT(a, 200, post(a, "/key/generate", "{\"key\":\"" A_KEY "\",\"team_id\":\"t1\"}"));
    EXPECT(a, 200, post(a, "/team/block", "{\"team_id\":\"t1\"}"));
    assert_true(json_bool(json_get(a->body, "blocked"), &blocked) && blocked);
    EXPECT(a, 200, post(a, "/team/unblock", "{\"team_id\":\"t1\"}"));
    EXPECT(a, 404, post(a, "/team/delete", "{\"team_ids\":[\"t1\",\"t2\"]}"));
    EXPECT(a, 200, post(a, "/team/delete", "{\"team_ids\":[\"t1\"]}"));
    EXPECT(a, 404, get(a, "/key/info", "{\"key\":\"" A_KEY "\"}"));
    EXPECT(a, 404, post(a, "/team/block", "{\"team_id\":\"t1\"}"));
}

/* ---- what is not there ---- */

static void without_a_database_only_the_file_can_be_read(void **state)
{
    API(a);

    a->manage.store = NULL;
    EXPECT(a, 200, get(a, "/key/info", "{\"key\":\"" A_HASH "\"}"));
    EXPECT(a, 400, post(a, "/key/generate", "{}"));
    expect_error(a, "no_db_connection", NULL, "400", "tranche_settings.database");
    EXPECT(a, 400, get(a, "/team/list", "{}"));
}

static void other_paths_and_methods_are_refused(void **state)
{
    API(a);

    EXPECT(a, 404, post(a, "/key/nothing", "{}"));
    EXPECT(a, 405, get(a, "/key/generate", "{}"));
    EXPECT(a, 405, post(a, "/key/info", "{}"));
}

static void what_no_worker_sends_is_an_error(void **state)
{
    API(a);
    static const char *const messages[] = {"", "{", "[]\n{}", "{\"method\":\"GET\"}\n",
                                           "{\"method\":\"GET\",\"path\":\"/key/info\"}\n"};

    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        strbuf_deinit(&a->answer.body);
        assert_int_equal(manage_call(&a->manage, messages[i], strlen(messages[i]), &a->answer),
                         ERR_SYNTAX);
        assert_int_equal(a->answer.status, 500);
    }
}

static void a_database_that_is_gone_is_a_503_with_a_wait(void **state)
{
    API(a);
    struct store *gone;
    char why[STORE_WHY_BYTES];

    assert_int_equal(store_new("/nowhere/at/all/keys.db", NULL, &gone, why), 0);
    a->manage.store = gone;
    EXPECT(a, 503, post(a, "/key/generate", "{}"));
    expect_error(a, "no_db_connection", NULL, "503", "temporarily unreachable");
    assert_int_equal(a->answer.retry_after_s, 5);
    store_free(gone);
}

#define BOTH(group)     group(set_up_sqlite), group(set_up_postgres)
#define T(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TESTS(s)                                                                                   \
    T(a_generated_key_is_shown_once_with_all_that_was_asked_for, s),                               \
        T(a_key_may_be_given_and_is_found_by_its_text, s), T(an_alias_is_one_keys, s),             \
        T(a_query_that_says_something_twice_is_no_fault_of_the_body, s),                           \
        T(a_key_of_a_team_that_is_not_there_is_refused, s),                                        \
        T(a_budget_is_refused_where_nobody_would_enforce_it, s),                                   \
        T(a_budget_is_kept_where_a_journal_counts_money, s),                                       \
        T(what_has_no_effect_is_kept_and_told, s),                                                 \
        T(a_malformed_body_is_a_422_for_both_kinds_of_client, s),                                  \
        T(limits_in_the_metadata_are_checked, s), T(a_service_account_is_a_teams_and_nobodys, s),  \
        T(an_update_changes_what_it_names_and_null_clears, s),                                     \
        T(a_key_is_blocked_and_unblocked, s),                                                      \
        T(a_regenerated_key_is_the_same_row_with_another_secret, s),                               \
        T(deleting_takes_all_that_were_named_or_none, s),                                          \
        T(a_list_has_pages_of_hashes_or_of_rows, s), T(a_key_may_read_itself_and_no_other, s),     \
        T(a_key_of_the_file_is_read_and_not_changed, s), T(a_team_is_made_changed_and_read, s),    \
        T(a_team_is_blocked_and_deleted_with_its_keys, s),                                         \
        T(without_a_database_only_the_file_can_be_read, s),                                        \
        T(other_paths_and_methods_are_refused, s), T(what_no_worker_sends_is_an_error, s),         \
        T(a_database_that_is_gone_is_a_503_with_a_wait, s)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("manage", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
