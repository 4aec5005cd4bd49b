/* GET /journal/batches over both engines: who sees what, pages, and what a batch's story says. */
#include "store_world.h"

#include "json/json.h"
#include "server/manage/manage_impl.h"
#include "store/store_batches.h"

#define NOW_MS  INT64_C(1800000000000)
#define OWNER_A UINT64_C(0xaaaaaaaaaaaaaaaa)
#define OWNER_B UINT64_C(0xbbbbbbbbbbbbbbbb)
#define MASTER                                                                                     \
    "{\"admin\":true,\"name\":\"master key\",\"owner\":\"0000000000000000\",\"hash\":\"\"}"
#define TENANT  "{\"admin\":false,\"name\":\"a\",\"owner\":\"aaaaaaaaaaaaaaaa\",\"hash\":\"\"}"
#define ACCOUNT 7

static struct cluster cluster;

struct api {
    struct world world;
    struct manage manage;
    struct manage_answer answer;
    struct json_doc *doc;
    struct json *body; /* of the last answer */
};

static const char *name_of(void *arg, uint32_t fingerprint)
{
    (void)arg;
    return fingerprint == 11 ? "eu-1" : NULL;
}

static void add(struct api *a, const char *id, const char *native, uint64_t owner, const char *team,
                int64_t created_ms)
{
    const struct store_batch batch = {.id = id,
                                      .owner = owner,
                                      .team_id = team,
                                      .key_alias = "nightly",
                                      .tags = "[\"x\"]",
                                      .model_group = "gpt",
                                      .endpoint = "/v1/chat/completions",
                                      .input_file = "file-1",
                                      .account = ACCOUNT,
                                      .native = native,
                                      .deployment = 11,
                                      .tokens = 500,
                                      .status = "validating",
                                      .created_ms = created_ms,
                                      .expires_ms = created_ms + 86400000};
    bool added = false;

    assert_int_equal(store_batches_add(a->world.store, &batch, "node-1", 30000, &added), 0);
    assert_true(added);
}

static void *api_of(struct cluster *c)
{
    static struct api a;

    memset(&a, 0, sizeof(a));
    world_init(&a.world, c);
    a.manage = (struct manage){
        .store = a.world.store, .journal = true, .deployment_name = name_of, .now_unix_ms = NOW_MS};
    add(&a, "batch_1", "n1", OWNER_A, "team-a", NOW_MS - 3000000);
    add(&a, "batch_2", "n2", OWNER_B, "team-b", NOW_MS - 2000000);
    add(&a, "batch_3", "n3", OWNER_A, "team-a", NOW_MS - 1000000);
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
static int call(struct api *a, const char *method, const char *caller, const char *path,
                const char *query)
{
    struct strbuf message = STRBUF_INIT;
    struct json_error error;

    strbuf_deinit(&a->answer.body);
    json_doc_free(a->doc);
    a->doc = json_doc_new();
    strbuf_addf(&message, "{\"method\":\"%s\",\"path\":\"%s\",\"query\":%s,\"caller\":%s}\n",
                method, path, query, caller);
    assert_int_equal(manage_call(&a->manage, strbuf_str(&message), message.len, &a->answer), 0);
    strbuf_deinit(&message);
    a->body = json_parse(a->doc, strbuf_str(&a->answer.body), a->answer.body.len, &error);
    assert_non_null(a->body);
    return a->answer.status;
}

static int get(struct api *a, const char *caller, const char *path, const char *query)
{
    return call(a, "GET", caller, path, query);
}

static int list(struct api *a, const char *caller, const char *query)
{
    return get(a, caller, "/journal/batches", query);
}

/* The ids of a list, in its order. */
static void assert_ids(const struct api *a, const char *wanted)
{
    const struct json *data = json_get(a->body, "data");
    struct strbuf ids = STRBUF_INIT;

    for (size_t i = 0; i < json_size(data); i++)
        strbuf_addf(&ids, "%s%s", i > 0 ? " " : "", json_get_str(json_at(data, i), "id"));
    assert_string_equal(strbuf_str(&ids), wanted);
    strbuf_deinit(&ids);
}

static bool has_more(const struct api *a)
{
    bool more = false;

    assert_true(json_bool(json_get(a->body, "has_more"), &more));
    return more;
}

static void an_administrator_sees_all_the_newest_first(void **state)
{
    const struct json *row;

    API(a);
    assert_int_equal(list(a, MASTER, "{}"), 200);
    assert_ids(a, "batch_3 batch_2 batch_1");
    assert_false(has_more(a));
    row = json_at(json_get(a->body, "data"), 1);
    assert_string_equal(json_get_str(row, "owner"), "team:team-b");
    assert_string_equal(json_get_str(row, "deployment"), "eu-1");
    assert_string_equal(json_get_str(row, "native_id"), "n2");
    assert_string_equal(json_get_str(row, "status"), "validating");
}

/* batch_1 failed late at eu-1 and runs at a row that is not configured; batch_3 is about to leave. */
static void an_administrator_sees_where_a_moved_one_was(void **state)
{
    const struct json *first, *third;
    int64_t moves = 0;
    bool moving = true;

    API(a);
    world_do(&a->world,
             "insert into @batch_attempt(batch_id, number, account, native, deployment,"
             " code, ended) values('batch_1', 1, 1, 'n1', 11, 'token_limit_exceeded', 1)");
    world_do(&a->world, "update @batch set moves = 1 where id = 'batch_1'");
    world_do(&a->world, "update @batch_part set deployment = 12 where batch_id = 'batch_1'");
    world_do(&a->world,
             "insert into @batch_attempt(batch_id, number, account, native, deployment,"
             " code, ended) values('batch_3', 1, 1, 'n3', 11, 'token_limit_exceeded', 1)");
    world_do(&a->world, "update @batch_part set moving = 1 where batch_id = 'batch_3'");
    assert_int_equal(list(a, MASTER, "{}"), 200);
    first = json_at(json_get(a->body, "data"), 2);
    assert_string_equal(json_get_str(first, "moved_from"), "eu-1");
    assert_true(json_int64(json_get(first, "moves"), &moves));
    assert_int_equal(moves, 1);
    assert_true(json_bool(json_get(first, "moving"), &moving));
    assert_false(moving);
    assert_int_equal(json_type(json_get(first, "deployment")), JSON_NULL);
    third = json_at(json_get(a->body, "data"), 0);
    assert_int_equal(json_type(json_get(third, "moved_from")), JSON_NULL);
    assert_true(json_bool(json_get(third, "moving"), &moving));
    assert_true(moving);
    assert_int_equal(list(a, TENANT, "{}"), 200);
    assert_null(json_get(json_at(json_get(a->body, "data"), 1), "moved_from"));
    assert_null(json_get(json_at(json_get(a->body, "data"), 1), "moves"));
}

static void a_tenant_sees_its_own_and_not_where_they_run(void **state)
{
    const struct json *row;

    API(a);
    assert_int_equal(list(a, TENANT, "{}"), 200);
    assert_ids(a, "batch_3 batch_1");
    row = json_at(json_get(a->body, "data"), 0);
    assert_null(json_get(row, "deployment"));
    assert_null(json_get(row, "native_id"));
    assert_null(json_get(row, "watched_by"));
    assert_int_equal(get(a, TENANT, "/journal/batches/batch_2", "{}"), 404);
    assert_int_equal(list(a, TENANT, "{\"after\":\"batch_2\"}"), 404);
    assert_int_equal(get(a, TENANT, "/journal/batches/batch_1", "{}"), 200);
}

static void who_is_nobody_sees_nothing(void **state)
{
    API(a);
    assert_int_equal(
        list(a, "{\"admin\":false,\"name\":\"x\",\"owner\":\"0000000000000000\"}", "{}"), 403);
    assert_int_equal(list(a, "{\"admin\":false,\"name\":\"x\"}", "{}"), 403);
}

static void pages_follow_each_other(void **state)
{
    API(a);
    assert_int_equal(list(a, MASTER, "{\"limit\":\"2\"}"), 200);
    assert_ids(a, "batch_3 batch_2");
    assert_true(has_more(a));
    assert_string_equal(json_get_str(a->body, "last_id"), "batch_2");
    assert_int_equal(list(a, MASTER, "{\"limit\":\"2\",\"after\":\"batch_2\"}"), 200);
    assert_ids(a, "batch_1");
    assert_false(has_more(a));
    assert_int_equal(list(a, MASTER, "{\"after\":\"batch_9\"}"), 404);
}

static void filters_narrow_the_list(void **state)
{
    API(a);
    assert_int_equal(list(a, MASTER, "{\"team_id\":\"team-a\"}"), 200);
    assert_ids(a, "batch_3 batch_1");
    assert_int_equal(list(a, MASTER, "{\"status\":\"completed\"}"), 200);
    assert_ids(a, "");
    assert_int_equal(list(a, MASTER, "{\"created_after\":\"1799998500\"}"), 200);
    assert_ids(a, "batch_3");
    assert_int_equal(list(a, MASTER, "{\"model\":\"other\"}"), 200);
    assert_ids(a, "");
    assert_int_equal(list(a, MASTER, "{\"open\":\"true\"}"), 200);
    assert_ids(a, "batch_3 batch_2 batch_1");
}

static void what_cannot_be_read_is_told_with_its_place(void **state)
{
    API(a);
    assert_int_equal(list(a, MASTER, "{\"limit\":\"0\"}"), 422);
    assert_int_equal(list(a, MASTER, "{\"limit\":\"101\"}"), 422);
    assert_string_equal(json_get_str(json_get(a->body, "error"), "param"), "limit");
    assert_int_equal(list(a, MASTER, "{\"created_after\":\"yesterday\"}"), 422);
}

static void the_story_of_a_batch_is_its_events_in_order(void **state)
{
    const struct manage_story own = {.native = "n1", .account = ACCOUNT, .owner = OWNER_A},
                              other = {.native = "n1", .account = ACCOUNT, .owner = OWNER_B},
                              all = {.native = "n1", .account = ACCOUNT, .all = true};
    struct strbuf text = STRBUF_INIT;
    const struct json *events;

    API(a);
    assert_int_equal(
        store_batches_note(a->world.store, "batch_1", "claimed", "node-2", "for a minute"), 0);
    assert_int_equal(get(a, MASTER, "/journal/batches/batch_1", "{}"), 200);
    events = json_get(a->body, "events");
    assert_int_equal(json_size(events), 2);
    assert_string_equal(json_get_str(json_at(events, 0), "type"), "created");
    assert_string_equal(json_get_str(json_at(events, 1), "type"), "claimed");
    assert_string_equal(json_get_str(json_at(events, 1), "node"), "node-2");
    assert_string_equal(json_get_str(json_at(events, 1), "message"), "for a minute");
    assert_int_equal(get(a, TENANT, "/journal/batches/batch_1", "{}"), 200);
    events = json_get(a->body, "events");
    assert_int_equal(json_size(events), 1);
    assert_null(json_get(json_at(events, 0), "node"));
    assert_int_equal(manage_batch_story(&a->manage, &all, &text), 0);
    assert_non_null(strstr(strbuf_str(&text), "\"claimed\""));
    strbuf_reset(&text);
    assert_int_equal(manage_batch_story(&a->manage, &own, &text), 0);
    assert_null(strstr(strbuf_str(&text), "\"claimed\""));
    assert_int_equal(manage_batch_story(&a->manage, &other, &text), ERR_NOT_FOUND);
    strbuf_deinit(&text);
}

static void of_a_long_story_the_middle_is_left_out(void **state)
{
    const struct json *events;
    int64_t left_out = 0;

    API(a);
    assert_int_equal(store_batch_begin(a->world.store), 0);
    for (int i = 0; i < 250; i++)
        assert_int_equal(store_batches_note(a->world.store, "batch_1", "claimed", "n", NULL), 0);
    assert_int_equal(store_batches_note(a->world.store, "batch_1", "ended", "n", "completed"), 0);
    assert_int_equal(store_batch_end(a->world.store), 0);
    assert_int_equal(get(a, MASTER, "/journal/batches/batch_1", "{}"), 200);
    events = json_get(a->body, "events");
    assert_int_equal(json_size(events), 200);
    assert_string_equal(json_get_str(json_at(events, 0), "type"), "created");
    assert_string_equal(json_get_str(json_at(events, 199), "type"), "ended");
    assert_true(json_int64(json_get(a->body, "events_left_out"), &left_out));
    assert_int_equal(left_out, 52);
}

static void a_rebuild_is_begun_by_administrators_once_at_a_time(void **state)
{
    static struct manage_rebuild rebuild;
    API(a);

    rebuild = (struct manage_rebuild){.number = 0};
    a->manage.rebuild = &rebuild;
    assert_int_equal(call(a, "POST", TENANT, "/journal/rebuild", "{}"), 403);
    assert_int_equal(get(a, MASTER, "/journal/rebuild/status", "{}"), 404);
    assert_int_equal(call(a, "POST", MASTER, "/journal/rebuild", "{}"), 200);
    assert_string_equal(json_get_str(a->body, "status"), "running");
    assert_true(rebuild.runs);
    rebuild.found = 3;
    assert_int_equal(call(a, "POST", MASTER, "/journal/rebuild", "{}"), 200);
    assert_int_equal(rebuild.number, 1);
    assert_int_equal(rebuild.found, 3); /* it is the one that runs */
    rebuild.runs = false;
    assert_int_equal(get(a, MASTER, "/journal/rebuild/status", "{}"), 200);
    assert_string_equal(json_get_str(a->body, "status"), "completed");
    assert_int_equal(call(a, "POST", MASTER, "/journal/rebuild", "{}"), 200);
    assert_int_equal(rebuild.number, 2);
    assert_int_equal(rebuild.found, 0);
    a->manage.rebuild = NULL;
    assert_int_equal(call(a, "POST", MASTER, "/journal/rebuild", "{}"), 404);
}

static void without_a_journal_the_setting_is_named(void **state)
{
    API(a);
    a->manage.journal = false;
    assert_int_equal(list(a, MASTER, "{}"), 404);
    assert_non_null(strstr(strbuf_str(&a->answer.body), "tranche_settings.journal"));
}

static void a_batch_ends_when_the_rest_is_done_at_the_rate_so_far(void **state)
{
    struct store_batch_row row = {.open = STORE_RUNS,
                                  .total = 100,
                                  .completed = 20,
                                  .failed = 5,
                                  .in_progress_ms = NOW_MS - 100000};

    (void)state;
    assert_int_equal(manage_expected_end_ms(&row, NOW_MS), NOW_MS + 300000);
    row.batch.expires_ms = NOW_MS + 200000;
    assert_int_equal(manage_expected_end_ms(&row, NOW_MS), NOW_MS + 200000);
    row.completed = row.failed = 0;
    assert_int_equal(manage_expected_end_ms(&row, NOW_MS), 0);
    row.completed = 101;
    assert_int_equal(manage_expected_end_ms(&row, NOW_MS), 0);
    row.completed = 50;
    row.open = STORE_DONE;
    assert_int_equal(manage_expected_end_ms(&row, NOW_MS), 0);
}

#define BOTH(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, set_up_sqlite, tear_down),                               \
        cmocka_unit_test_setup_teardown(test, set_up_postgres, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(an_administrator_sees_all_the_newest_first),
        BOTH(an_administrator_sees_where_a_moved_one_was),
        BOTH(a_tenant_sees_its_own_and_not_where_they_run),
        BOTH(who_is_nobody_sees_nothing),
        BOTH(pages_follow_each_other),
        BOTH(filters_narrow_the_list),
        BOTH(what_cannot_be_read_is_told_with_its_place),
        BOTH(the_story_of_a_batch_is_its_events_in_order),
        BOTH(of_a_long_story_the_middle_is_left_out),
        BOTH(a_rebuild_is_begun_by_administrators_once_at_a_time),
        BOTH(without_a_journal_the_setting_is_named),
        cmocka_unit_test(a_batch_ends_when_the_rest_is_done_at_the_rate_so_far),
    };

    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("manage_batches", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
