/* Rows of usage as who exports them reads them: the same tests on both engines. */
#include "both_engines.h"

#include "store/store_usage.h"

/* As the keeper writes one: its number comes from the one row that all writers go through. */
static void add_row(const struct world *w, const char *batch, int64_t owner, const char *group,
                    int64_t in, int64_t out, int64_t seq)
{
    char sql[700];

    snprintf(sql, sizeof(sql),
             "insert into @usage(batch_id, part, model, owner, key_id, key_alias, team_id, tags,"
             " deployment, model_group, ok, bad, tok_in, tok_cached, tok_out, tok_reason, nano,"
             " price, unpriced, source, created, finished, seq) values('%s', 0, 'gpt-4o', %lld,"
             " 'id', 'nightly', 'team-a', '[\"x\"]', 4294967295, '%s', 3, 1, %lld, 2, %lld, 4, 340,"
             " 'deployment', 0, 'batch', 1000, 2000, %lld)",
             batch, (long long)owner, group, (long long)in, (long long)out, (long long)seq);
    world_do(w, sql);
}

struct seen {
    int64_t seqs[16];
    size_t num;
    struct store_usage_row last; /* its numbers alone */
    char batch[32], alias[32], price[32];
};

static int on_row(void *arg, const struct store_usage_row *row)
{
    struct seen *seen = arg;

    assert_true(seen->num < 16);
    seen->seqs[seen->num++] = row->seq;
    seen->last = *row;
    snprintf(seen->batch, sizeof(seen->batch), "%s", row->batch_id);
    snprintf(seen->alias, sizeof(seen->alias), "%s", row->key_alias);
    snprintf(seen->price, sizeof(seen->price), "%s", row->price);
    return 0;
}

static struct seen read_usage(struct world *w, struct store_usage_query query, int64_t *last,
                              bool *more)
{
    struct seen seen = {{0}, 0, {0}, "", "", ""};

    OK(w, store_usage_read(w->store, &query, last, more, on_row, &seen));
    return seen;
}

static void ready(struct world *w)
{
    uint64_t gen;

    OK(w, store_generation(w->store, &gen)); /* its tables are there now */
}

static void a_row_is_read_as_it_was_written(void **state)
{
    WORLD(w);
    struct seen seen;
    int64_t last;
    bool more;

    ready(w);
    add_row(w, "batch_1", -5, "g", 1000, 200, 7);
    seen = read_usage(w, (struct store_usage_query){.limit = 10}, &last, &more);
    assert_int_equal(seen.num, 1);
    assert_string_equal(seen.batch, "batch_1");
    assert_string_equal(seen.alias, "nightly");
    assert_string_equal(seen.price, "deployment");
    assert_true(seen.last.owner == (uint64_t)-5);
    assert_true(seen.last.deployment == UINT32_MAX);
    assert_int_equal(seen.last.ok, 3);
    assert_int_equal(seen.last.bad, 1);
    assert_int_equal(seen.last.tok_in, 1000);
    assert_int_equal(seen.last.tok_cached, 2);
    assert_int_equal(seen.last.tok_out, 200);
    assert_int_equal(seen.last.tok_reason, 4);
    assert_int_equal(seen.last.nano, 340);
    assert_int_equal(seen.last.created_ms, 1000);
    assert_int_equal(seen.last.finished_ms, 2000);
    assert_int_equal(last, 7);
    assert_false(more);
}

static void who_follows_the_cursor_meets_each_row_once(void **state)
{
    WORLD(w);
    const int64_t wanted[] = {3, 4, 9, 10, 11};
    int64_t last = 0;
    size_t num = 0;
    bool more = true;

    ready(w);
    for (size_t i = 5; i > 0; i--) {
        char name[16];

        snprintf(name, sizeof(name), "batch_%zu", i);
        add_row(w, name, 1, "g", 1, 1, wanted[i - 1]);
    }
    while (more) {
        struct store_usage_query query = {.since_seq = last, .limit = 2};
        struct seen seen = read_usage(w, query, &last, &more);

        for (size_t i = 0; i < seen.num; i++)
            assert_int_equal(seen.seqs[i], wanted[num++]);
        assert_int_equal(seen.num, more ? 2 : 1);
    }
    assert_int_equal(num, 5);
    assert_int_equal(
        read_usage(w, (struct store_usage_query){.since_seq = last, .limit = 2}, &last, &more).num,
        0);
    assert_int_equal(last, 11);
}

static void an_owner_sees_its_own_rows(void **state)
{
    WORLD(w);
    struct store_usage_query query = {.of_owner = true, .owner = (uint64_t)-5, .limit = 10};
    struct seen seen;
    int64_t last;
    bool more;

    ready(w);
    add_row(w, "batch_1", -5, "g", 1, 1, 1);
    add_row(w, "batch_2", 6, "g", 1, 1, 2);
    add_row(w, "batch_3", -5, "g", 1, 1, 3);
    seen = read_usage(w, query, &last, &more);
    assert_int_equal(seen.num, 2);
    assert_int_equal(seen.seqs[1], 3);
    query.owner = 77;
    assert_int_equal(read_usage(w, query, &last, &more).num, 0);
}

static void a_groups_mean_is_of_its_newest_rows(void **state)
{
    WORLD(w);
    const uint64_t owner = 5, nobody = 6;
    struct store_usage_mean mean;

    ready(w);
    OK(w, store_usage_mean(w->store, "g", NULL, &mean));
    assert_int_equal(mean.tok_in, 0);
    add_row(w, "old", 5, "g", 1000000, 9, 1);
    for (int i = 0; i < 50; i++) {
        char name[16];

        snprintf(name, sizeof(name), "batch_%d", i);
        add_row(w, name, i < 10 ? 5 : 7, "g", 10, i < 10 ? 30 : 5, 2 + i);
    }
    add_row(w, "other", 5, "h", 1, 1, 99);
    OK(w, store_usage_mean(w->store, "g", NULL, &mean));
    assert_int_equal(mean.tok_in, 500);
    assert_int_equal(mean.tok_out, 10 * 30 + 40 * 5);
    OK(w, store_usage_mean(w->store, "g", &owner, &mean));
    assert_int_equal(mean.tok_in, 1000000 + 100);
    assert_int_equal(mean.tok_out, 9 + 300);
    OK(w, store_usage_mean(w->store, "g", &nobody, &mean));
    assert_int_equal(mean.tok_in, 0);
}

#define BOTH(group)     group(set_up_sqlite), group(set_up_postgres)
#define T(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TESTS(s)                                                                                   \
    T(a_row_is_read_as_it_was_written, s), T(who_follows_the_cursor_meets_each_row_once, s),       \
        T(an_owner_sees_its_own_rows, s), T(a_groups_mean_is_of_its_newest_rows, s)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store usage", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
