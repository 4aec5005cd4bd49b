/* GET /usage as the keeper answers it: what a row looks like in both forms, who sees which, and that
 * an answer has an end. */
#include "store_world.h"

#include "json/json.h"
#include "manage/manage.h"

#define ADMIN                                                                                      \
    "{\"admin\":true,\"name\":\"master key\",\"hash\":\"\",\"owner\":\"0000000000000000\"}"
#define OWNER  "{\"admin\":false,\"name\":\"ann\",\"hash\":\"\",\"owner\":\"0000000000000005\"}"
#define NOBODY "{\"admin\":false,\"name\":\"ann\",\"hash\":\"\"}"

struct api {
    struct world world;
    struct manage manage;
    struct manage_answer answer;
    struct json_doc *doc;
    struct json *body; /* of the last answer; NULL: no JSON */
};

static const char *name_of(void *arg, uint32_t fingerprint)
{
    (void)arg;
    return fingerprint == 7 ? "eu" : NULL;
}

static int set_up(void **state)
{
    static struct api a;
    uint64_t gen;

    memset(&a, 0, sizeof(a));
    world_init(&a.world, NULL);
    a.manage = (struct manage){
        .store = a.world.store, .journal = true, .deployment_name = name_of, .now_unix_ms = 1};
    *state = &a;
    return store_generation(a.world.store, &gen);
}

static int tear_down(void **state)
{
    struct api *a = *state;

    strbuf_deinit(&a->answer.body);
    json_doc_free(a->doc);
    world_deinit(&a->world);
    return 0;
}

static int ask(struct api *a, const char *caller, const char *query)
{
    struct strbuf message = STRBUF_INIT;
    struct json_error error;

    strbuf_deinit(&a->answer.body);
    json_doc_free(a->doc);
    a->doc = json_doc_new();
    strbuf_addf(&message, "{\"method\":\"GET\",\"path\":\"/usage\",\"query\":%s,\"caller\":%s}\n",
                query, caller);
    assert_int_equal(manage_call(&a->manage, strbuf_str(&message), message.len, &a->answer), 0);
    strbuf_deinit(&message);
    a->body = json_parse(a->doc, strbuf_str(&a->answer.body), a->answer.body.len, &error);
    return a->answer.status;
}

static void add(const struct api *a, int seq, int owner, const char *alias, const char *tags)
{
    struct strbuf sql = STRBUF_INIT;

    strbuf_addf(&sql,
                "insert into @usage(batch_id, part, model, owner, key_alias, tags, deployment,"
                " model_group, ok, bad, tok_in, tok_cached, tok_out, tok_reason, nano, price,"
                " unpriced, source, created, finished, seq) values('batch_%d', 0, 'gpt-4o', %d,"
                " '%s', '%s', 7, 'g', 3, 1, 1000, 800, 200, 150, 340, 'deployment', 2, 'batch',"
                " 1793491200000, 1793491260000, %d)",
                seq, owner, alias, tags, seq);
    world_do(&a->world, strbuf_str(&sql));
    strbuf_deinit(&sql);
}

static const struct json *row(const struct api *a, size_t i)
{
    return json_at(json_get(a->body, "data"), i);
}

static int64_t number(const struct json *object, const char *name)
{
    int64_t value = -1;

    assert_true(json_int64(json_get(object, name), &value));
    return value;
}

static void a_row_says_who_what_and_how_much(void **state)
{
    struct api *a = *state;

    add(a, 1, 5, "ann", "[\"x\",\"y\"]");
    assert_int_equal(ask(a, ADMIN, "{}"), 200);
    assert_int_equal(json_size(json_get(a->body, "data")), 1);
    assert_string_equal(json_get_str(row(a, 0), "batch_id"), "batch_1");
    assert_string_equal(json_get_str(row(a, 0), "deployment"), "eu");
    assert_string_equal(json_get_str(row(a, 0), "price"), "deployment");
    assert_string_equal(json_get_str(row(a, 0), "cost_usd"), "0.000000340");
    assert_int_equal(number(row(a, 0), "cost_nano"), 340);
    assert_int_equal(number(row(a, 0), "cached_tokens"), 800);
    assert_int_equal(number(row(a, 0), "unpriced_requests"), 2);
    assert_int_equal(number(row(a, 0), "created_at"), 1793491200);
    assert_int_equal(json_size(json_get(row(a, 0), "tags")), 2);
    assert_int_equal(json_type(json_get(row(a, 0), "team_id")), JSON_NULL);
    assert_int_equal(number(a->body, "next_since_seq"), 1);
}

static void a_tenant_sees_its_own_rows_and_not_where_they_ran(void **state)
{
    struct api *a = *state;

    add(a, 1, 5, "ann", "[]");
    add(a, 2, 6, "ben", "[]");
    assert_int_equal(ask(a, OWNER, "{}"), 200);
    assert_int_equal(json_size(json_get(a->body, "data")), 1);
    assert_int_equal(json_type(json_get(row(a, 0), "deployment")), JSON_NULL);
    assert_int_equal(json_type(json_get(row(a, 0), "price")), JSON_NULL);
    assert_int_equal(ask(a, NOBODY, "{}"), 403);
}

static void csv_is_quoted_and_never_a_formula(void **state)
{
    struct api *a = *state;
    const char *text;

    add(a, 1, 5, "=cmd()", "[\"x\",\"a\\\"b\"]");
    assert_int_equal(ask(a, ADMIN, "{\"format\":\"csv\"}"), 200);
    assert_null(a->body);
    text = strbuf_str(&a->answer.body);
    assert_true(strncmp(text, "seq,batch_id,part,model,", 24) == 0);
    assert_non_null(strstr(
        text, "\r\n1,batch_1,0,gpt-4o,g,eu,,\"'=cmd()\",,,\"[\"\"x\"\",\"\"a\\\"\"b\"\"]\",3,1,"
              "1000,800,200,150,340,0.000000340,2,deployment,batch,"
              "2026-11-01T00:00:00Z,2026-11-01T00:01:00Z\r\n"));
    assert_int_equal(ask(a, OWNER, "{\"format\":\"csv\",\"since_seq\":\"1\"}"), 200);
    assert_null(strstr(strbuf_str(&a->answer.body), "batch_1"));
}

/* A message to a worker has 128 KiB. */
static void an_answer_has_an_end_and_says_that_there_is_more(void **state)
{
    struct api *a = *state;
    char tags[5000];
    int64_t since = 0, rows = 0;
    bool more = true;
    char query[64];

    memset(tags, 'x', sizeof(tags));
    memcpy(tags, "[\"", 2);
    memcpy(tags + sizeof(tags) - 3, "\"]", 3);
    for (int i = 1; i <= 60; i++)
        add(a, i, 5, "ann", tags);
    for (int page = 0; more; page++) {
        snprintf(query, sizeof(query), "{\"limit\":\"1000\",\"since_seq\":\"%lld\"}",
                 (long long)since);
        assert_int_equal(ask(a, ADMIN, query), 200);
        assert_true(a->answer.body.len < 110 * 1024 && page < 20);
        for (size_t i = 0; i < json_size(json_get(a->body, "data")); i++)
            assert_int_equal(number(row(a, i), "seq"), ++rows);
        since = number(a->body, "next_since_seq");
        assert_int_equal(since, rows);
        assert_true(json_bool(json_get(a->body, "has_more"), &more));
    }
    assert_int_equal(rows, 60);
}

static void what_cannot_be_asked_is_told(void **state)
{
    struct api *a = *state;
    static const char *const wrong[] = {"{\"limit\":\"0\"}", "{\"limit\":\"1001\"}",
                                        "{\"limit\":\"-1\"}", "{\"since_seq\":\"x\"}",
                                        "{\"format\":\"xml\"}"};

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (ask(a, ADMIN, wrong[i]) != 422)
            fail_msg("%s: %d", wrong[i], a->answer.status);
    a->manage.journal = false;
    assert_int_equal(ask(a, ADMIN, "{}"), 404);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_row_says_who_what_and_how_much),  T(a_tenant_sees_its_own_rows_and_not_where_they_ran),
        T(csv_is_quoted_and_never_a_formula), T(an_answer_has_an_end_and_says_that_there_is_more),
        T(what_cannot_be_asked_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
