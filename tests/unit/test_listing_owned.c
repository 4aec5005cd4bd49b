/* What a tenant sees of objects: its own files in its list, of memory alone, and nothing of another
 * one's in any answer; what the master sees of them. */
#define ACCOUNTS 2
#include "handler_world.h"

#include "common/clock.h"
#include "objects/batch_view.h"
#include "objects/owned.h"
#include "read/fetch.h"
#include "read/listing.h"

#define ALICE  11u
#define BOB    22u
#define LISTED 1800000000

static int set_up(void **state)
{
    (void)state;
    world_begin();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    client_leaves();
    while (num_timers() > 0) /* of slices that had no more to do */
        run_timers();
    world_end();
    return 0;
}

static struct relay *asks(uint64_t owner, const char *method, const char *path)
{
    struct relay *relay;

    client_leaves();
    relay = client_asks(method, path);
    relay->owner = owner;
    return relay;
}

/* The last answer's body, when the loop has nothing more to do. */
static const char *list(uint64_t owner, const char *query)
{
    static char path[IDS_MAX + 64];

    snprintf(path, sizeof(path), "/v1/files%s%s", query[0] != '\0' ? "?" : "", query);
    listing_start(asks(owner, "GET", path));
    for (int i = 0; i < 100 && client.answers == 0 && num_timers() > 0; i++)
        run_timers();
    client.body[client.len] = '\0';
    return client.body;
}

static void keep(uint64_t owner, uint32_t account, const char *native, int64_t created_s)
{
    struct registry_row row = {.kind = ID_FILE,
                               .described = true,
                               .account = runtime_fingerprint(&rt, account),
                               .owner = owner,
                               .created_s = created_s,
                               .bytes = 7,
                               .purpose = "batch",
                               .filename = "a \"file\".jsonl"};

    snprintf(row.native, sizeof(row.native), "%s", native);
    assert_int_equal(registry_put(inherited.registry, &row, LISTED), 0);
}

static const char *id_of(uint64_t owner, uint32_t account, enum id_kind kind, const char *native)
{
    static char id[4][IDS_MAX + 1];
    static unsigned n;
    struct id_tag tag = {.deployment = runtime_fingerprint(&rt, account), .owner = owner};

    n = (n + 1) % 4;
    assert_true(ids_mint_text(&seals, kind, native, strlen(native), &tag, id[n]) > 0);
    return id[n];
}

/* The ids of a list, without their tags. */
static const char *natives(const char *body)
{
    static char out[512];

    out[0] = '\0';
    for (const char *at = strstr(body, "{\"id\":\""); at != NULL; at = strstr(at + 1, "{\"id\":\""))
        snprintf(out + strlen(out), sizeof(out) - strlen(out), "%.*s ", (int)strcspn(at + 7, "-"),
                 at + 7);
    return out;
}

static const char *header(const char *name)
{
    static char value[256];

    for (size_t i = 0; i < client.req.res.headers.size; i++) {
        const h2o_header_t *h = &client.req.res.headers.entries[i];

        if (h->name->len != strlen(name) || memcmp(h->name->base, name, h->name->len) != 0)
            continue;
        snprintf(value, sizeof(value), "%.*s", (int)h->value.len, h->value.base);
        return value;
    }
    return NULL;
}

/* --- lists --- */

static void a_tenant_lists_its_own_files_and_no_provider_is_asked(void **state)
{
    char part[IDS_MAX + 64];

    (void)state;
    keep(ALICE, 0, "one", LISTED);
    keep(ALICE, 1, "two", LISTED + 1);
    keep(BOB, 0, "bobs", LISTED + 2);
    assert_string_equal(natives(list(ALICE, "")), "two one ");
    assert_answered(200, "\"has_more\":false");
    snprintf(part, sizeof(part), "\"id\":\"%s\"", id_of(ALICE, 1, ID_FILE, "two"));
    assert_answered(200, part);
    assert_answered(200, "\"filename\":\"a \\\"file\\\".jsonl\"");
    assert_answered(200, "\"bytes\":7,\"created_at\":1800000001");
    assert_null(header("x-tranche-partial"));
    assert_string_equal(natives(list(BOB, "")), "bobs ");
    assert_string_equal(natives(list(33, "")), "");
    assert_answered(200, "\"data\":[],\"first_id\":null,\"last_id\":null,\"has_more\":false");
    assert_int_equal(num_calls, 0);
}

static void pages_follow_one_another_also_behind_a_file_that_is_gone(void **state)
{
    char query[IDS_MAX + 64];

    (void)state;
    for (int i = 0; i < 5; i++) {
        char native[8];

        snprintf(native, sizeof(native), "f%d", i);
        keep(ALICE, (uint32_t)i % 2, native, LISTED + i);
    }
    assert_string_equal(natives(list(ALICE, "limit=2")), "f4 f3 ");
    assert_answered(200, "\"has_more\":true");
    registry_remove(inherited.registry, ID_FILE, runtime_fingerprint(&rt, 1), "f3");
    snprintf(query, sizeof(query), "limit=2&after=%s", id_of(ALICE, 1, ID_FILE, "f3"));
    assert_string_equal(natives(list(ALICE, query)), "f2 f1 ");
    snprintf(query, sizeof(query), "limit=2&after=%s", id_of(ALICE, 1, ID_FILE, "f1"));
    assert_string_equal(natives(list(ALICE, query)), "f0 ");
    assert_answered(200, "\"has_more\":false");
    snprintf(query, sizeof(query), "order=asc&after=%s", id_of(ALICE, 1, ID_FILE, "f1"));
    assert_string_equal(natives(list(ALICE, query)), "f2 f4 ");
    assert_int_equal(num_calls, 0);
}

static void a_cursor_that_nobody_remembers_is_asked_for_where_its_tag_says(void **state)
{
    char query[IDS_MAX + 64];

    (void)state;
    keep(ALICE, 0, "older", LISTED);
    keep(ALICE, 0, "newer", LISTED + 9);
    snprintf(query, sizeof(query), "after=%s", id_of(ALICE, 1, ID_FILE, "lost"));
    (void)list(ALICE, query);
    assert_not_answered();
    assert_int_equal(in_flight(), 1);
    answer(1, 200,
           "{\"id\":\"lost\",\"object\":\"file\",\"created_at\":1800000005,\"bytes\":3,"
           "\"purpose\":\"batch\",\"filename\":\"f\"}");
    for (int i = 0; i < 10 && client.answers == 0; i++)
        run_timers();
    assert_string_equal(natives(client.body), "older ");
    /* It is known from then on. */
    assert_string_equal(natives(list(ALICE, "")), "newer lost older ");
    snprintf(query, sizeof(query), "after=%s", id_of(ALICE, 1, ID_FILE, "gone"));
    (void)list(ALICE, query);
    answer(1, 404, "{}");
    assert_answered(404, "No such File object");
}

static void another_ones_cursor_is_the_404_of_an_unknown_id(void **state)
{
    const char *const ids[] = {id_of(BOB, 0, ID_FILE, "bobs"), id_of(0, 0, ID_FILE, "masters"),
                               "bobs", id_of(ALICE, 0, ID_BATCH, "one")};
    char query[IDS_MAX + 64];

    (void)state;
    keep(ALICE, 0, "one", LISTED);
    keep(BOB, 0, "bobs", LISTED);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        snprintf(query, sizeof(query), "after=%s", ids[i]);
        (void)list(ALICE, query);
        assert_answered(404, "No such File object");
    }
    assert_int_equal(num_calls, 0);
}

static void a_list_says_what_it_may_lack(void **state)
{
    struct registry_row row = {.kind = ID_FILE, .owner = ALICE, .native = "idonly"};

    (void)state;
    keep(ALICE, 0, "one", LISTED);
    row.account = runtime_fingerprint(&rt, 0);
    assert_int_equal(registry_put(inherited.registry, &row, LISTED), 0);
    assert_string_equal(natives(list(ALICE, "")), "one ");
    assert_string_equal(header("x-tranche-partial"), "files that were made a moment ago");
    (void)list(ALICE, "strict=true");
    assert_answered(502, "This list lacks files that were made a moment ago.");
    assert_int_equal(in_flight(), 1); /* the list's question what that file is, once */
    answer(0, 500, "{}");
    registry_free(inherited.registry);
    assert_int_equal(registry_new(100, LISTED, &inherited.registry), 0);
    assert_string_equal(natives(list(ALICE, "")), "");
    assert_string_equal(header("x-tranche-partial"), "files made before 2027-01-15T08:00:00Z");
}

static void who_lost_rows_is_told_so_and_nobody_else(void **state)
{
    char native[16];

    (void)state;
    registry_free(inherited.registry);
    assert_int_equal(registry_new(10, 0, &inherited.registry), 0);
    for (int i = 0; i < 60; i++) {
        snprintf(native, sizeof(native), "f%d", i);
        keep(ALICE, 0, native, LISTED + i);
    }
    keep(BOB, 0, "bobs", LISTED);
    assert_non_null(strstr(list(ALICE, "limit=1"), "\"has_more\":true"));
    assert_string_equal(natives(client.body), "f59 ");
    assert_string_equal(header("x-tranche-partial"), "old files beyond max_known_files");
    assert_string_equal(natives(list(BOB, "")), "bobs ");
    assert_null(header("x-tranche-partial"));
}

static void what_has_expired_is_not_listed_and_pages_are_filled_behind_it(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        struct registry_row row = {.kind = ID_FILE,
                                   .described = true,
                                   .account = runtime_fingerprint(&rt, 0),
                                   .owner = ALICE,
                                   .created_s = LISTED + i,
                                   .expires_s = i >= 2 && i < 5 ? 1000 : 0,
                                   .purpose = "batch"};

        snprintf(row.native, sizeof(row.native), "f%d", i);
        assert_int_equal(registry_put(inherited.registry, &row, 0), 0);
    }
    assert_string_equal(natives(list(ALICE, "limit=2")), "f5 f1 ");
    assert_answered(200, "\"has_more\":true");
}

static void a_list_may_be_of_a_provider_and_of_an_account_that_is_configured(void **state)
{
    (void)state;
    keep(ALICE, 0, "one", LISTED);
    assert_string_equal(natives(list(ALICE, "provider=azure")), "one ");
    (void)list(ALICE, "custom_llm_provider=nobody&provider=nobody");
    assert_string_equal(natives(list(ALICE, "purpose=vision")), "");
    assert_string_equal(natives(list(ALICE, "purpose=batch")), "one ");
    (void)list(ALICE, "limit=0");
    assert_answered(400, "limit");
}

/* --- objects --- */

static void get(uint64_t owner, const char *method, const char *kind, const char *id)
{
    static char path[IDS_MAX + 64];

    snprintf(path, sizeof(path), "/v1/%s/%s", kind, id);
    fetch_start(asks(owner, method, path));
}

static void an_object_of_another_one_is_the_404_of_an_unknown_id(void **state)
{
    const char *const ids[] = {id_of(BOB, 0, ID_FILE, "x"), id_of(0, 0, ID_FILE, "x"), "x",
                               "file-bGl0ZWxsbTpmaWxlLXg"};

    (void)state;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        char body[256];

        snprintf(body, sizeof(body), "\"message\":\"No such File object: %s\"", ids[i]);
        get(ALICE, "GET", "files", ids[i]);
        assert_answered(404, body);
        assert_int_equal(client.relay->deployment, MODEL_NO_INDEX);
        get(ALICE, "DELETE", "files", ids[i]);
        assert_answered(404, body);
    }
    assert_int_equal(num_calls, 0);
}

static void the_master_sees_all_under_the_ids_that_their_owners_know(void **state)
{
    const char *batch = id_of(ALICE, 1, ID_BATCH, "b1");

    (void)state;
    get(0, "GET", "batches", batch);
    answer(1, 200,
           "{\"id\":\"b1\",\"object\":\"batch\",\"status\":\"in_progress\",\"endpoint\":\"/v1/x\","
           "\"input_file_id\":\"in\",\"output_file_id\":null}");
    assert_answered(200, batch);
    assert_answered(200, id_of(ALICE, 1, ID_FILE, "in"));
    answer(1, 404, "{}"); /* what the input file is was asked for */
    get(0, "DELETE", "files", id_of(ALICE, 0, ID_FILE, "in"));
    answer(0, 200, "{\"id\":\"in\",\"deleted\":true}");
    assert_answered(200, id_of(ALICE, 0, ID_FILE, "in"));
}

static void a_deleted_file_is_not_listed_any_more(void **state)
{
    (void)state;
    keep(ALICE, 0, "one", LISTED);
    get(ALICE, "DELETE", "files", id_of(ALICE, 0, ID_FILE, "one"));
    answer(0, 200, "{\"id\":\"one\",\"deleted\":true}");
    assert_string_equal(natives(list(ALICE, "")), "");
}

static void a_file_that_is_shown_to_its_owner_is_listed_from_then_on(void **state)
{
    (void)state;
    get(ALICE, "GET", "files", id_of(ALICE, 0, ID_FILE, "one"));
    answer(0, 200, "{\"id\":\"one\",\"object\":\"file\",\"bytes\":5,\"created_at\":1800000000}");
    assert_string_equal(natives(list(ALICE, "")), "one ");
    get(0, "GET", "files", id_of(0, 0, ID_FILE, "masters"));
    answer(0, 200,
           "{\"id\":\"masters\",\"object\":\"file\",\"bytes\":5,\"created_at\":1800000000}");
    assert_string_equal(natives(list(ALICE, "")), "one ");
}

/* The batch tells ids alone: what the files are is asked for once, and nobody waits. */
static void the_results_of_a_batch_are_listed(void **state)
{
    (void)state;
    keep(ALICE, 1, "in", LISTED);
    get(ALICE, "GET", "batches", id_of(ALICE, 1, ID_BATCH, "b1"));
    answer(1, 200,
           "{\"id\":\"b1\",\"object\":\"batch\",\"status\":\"completed\",\"endpoint\":\"/v1/x\","
           "\"input_file_id\":\"in\",\"output_file_id\":\"out\",\"completed_at\":1800000007}");
    assert_answered(200, id_of(ALICE, 1, ID_FILE, "out"));
    assert_int_equal(in_flight(), 1);
    assert_non_null(strstr(open_call(1)->url, "/files/out"));
    assert_string_equal(natives(list(ALICE, "")), "in ");
    assert_non_null(header("x-tranche-partial"));
    answer(1, 200,
           "{\"id\":\"out\",\"object\":\"file\",\"bytes\":9,\"created_at\":1800000007,"
           "\"purpose\":\"batch_output\",\"filename\":\"out.jsonl\"}");
    assert_string_equal(natives(list(ALICE, "")), "out in ");
    assert_null(header("x-tranche-partial"));
    assert_int_equal(rt.operations, 0);
}

static void what_could_not_be_told_is_asked_for_again_but_not_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        get(ALICE, "GET", "batches", id_of(ALICE, 1, ID_BATCH, "b1"));
        answer(
            1, 200,
            "{\"id\":\"b1\",\"object\":\"batch\",\"status\":\"completed\",\"endpoint\":\"/v1/x\","
            "\"output_file_id\":\"out\",\"completed_at\":1800000007}");
        assert_int_equal(in_flight(), i == 0); /* the clock stands */
        if (i == 0)
            answer(1, 500, "{}");
        assert_int_equal(rt.operations, 0);
    }
}

static void no_native_id_is_shown_to_a_tenant(void **state)
{
    (void)state;
    config.balance_batches = false;
    account_map_deinit(&rt.account_map);
    free(rt.fallbacks);
    rt.fallbacks = NULL;
    assert_int_equal(runtime_prepare(&rt), 0);
    get(ALICE, "GET", "batches", id_of(ALICE, 1, ID_BATCH, "b1"));
    answer(1, 200,
           "{\"id\":\"b1\",\"object\":\"batch\",\"status\":\"in_progress\",\"endpoint\":\"/v1/x\","
           "\"input_file_id\":\"odd.id\",\"error_file_id\":\"err\"}");
    assert_answered(200, "\"input_file_id\":null"); /* it cannot carry a tag */
    assert_answered(200, id_of(ALICE, 1, ID_FILE, "err"));
    assert_null(strstr(client.body, "\"b1\""));
    answer(1, 404, "{}"); /* what the files are was asked for */
    answer(1, 404, "{}");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_tenant_lists_its_own_files_and_no_provider_is_asked),
        TEST(pages_follow_one_another_also_behind_a_file_that_is_gone),
        TEST(a_cursor_that_nobody_remembers_is_asked_for_where_its_tag_says),
        TEST(another_ones_cursor_is_the_404_of_an_unknown_id),
        TEST(a_list_says_what_it_may_lack),
        TEST(who_lost_rows_is_told_so_and_nobody_else),
        TEST(what_has_expired_is_not_listed_and_pages_are_filled_behind_it),
        TEST(a_list_may_be_of_a_provider_and_of_an_account_that_is_configured),
        TEST(an_object_of_another_one_is_the_404_of_an_unknown_id),
        TEST(the_master_sees_all_under_the_ids_that_their_owners_know),
        TEST(a_deleted_file_is_not_listed_any_more),
        TEST(a_file_that_is_shown_to_its_owner_is_listed_from_then_on),
        TEST(the_results_of_a_batch_are_listed),
        TEST(what_could_not_be_told_is_asked_for_again_but_not_at_once),
        TEST(no_native_id_is_shown_to_a_tenant),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
