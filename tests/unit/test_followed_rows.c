/* Followed batches between the database and shared memory, on both engines: a node has all of them
 * after a start, hears what changes, and gives up what an older database does not have. */
#include "both_engines.h"

#include "server/keeper/followed_rows.h"
#include "server/store/store_followed_impl.h"
#include "store/store_followed.h"

static struct followed *table;
static struct followed_rows *rows;

static void begin(struct world *w)
{
    uint64_t gen;

    OK(w, store_generation(w->store, &gen)); /* its tables are there now */
    assert_int_equal(followed_new(64, &table), 0);
    assert_int_equal(followed_rows_new(table, w->store, &rows), 0);
}

static void end(void)
{
    followed_rows_free(rows);
    followed_free(table);
}

static void add(const struct world *w, const char *id, const char *more, int seq)
{
    char sql[600];

    snprintf(sql, sizeof(sql),
             "insert into @batch(id, owner, status, mode, created, id_account, id_native, position,"
             " shown, total, followed) values('%s', 7, 'validating', 2, 5000, 4294967295, '%s', 4,"
             " '{\"id\":\"%s\"}', 20, %d)",
             id, id, id, seq);
    world_do(w, sql);
    if (more != NULL) {
        snprintf(sql, sizeof(sql),
                 "insert into @batch_part(batch_id, account, native, deployment, tokens, status,"
                 " open, poll_ms, next_at) values('%s', 2, '%s', 22, 5, 'in_progress', 1, 1, 1)",
                 id, more);
        world_do(w, sql);
    }
    snprintf(sql, sizeof(sql), "update @meta set value = '%d' where name = 'followed'", seq);
    world_do(w, sql);
}

static void a_node_that_starts_has_all_that_wait_or_were_moved(void **state)
{
    WORLD(w);
    char text[FOLLOWED_TEXT];
    struct followed_row row;

    begin(w);
    add(w, "batch_waits", NULL, 1);
    add(w, "batch_runs", "batch_there", 2);
    world_do(w, "insert into @batch(id, owner, status, created) values('b', 7, 'x', 1)");
    assert_false(followed_is_fresh(table, 1000));
    followed_rows_step(rows, false, 1000);
    assert_true(followed_is_fresh(table, 1000));
    assert_int_equal(followed_counts(table).rows, 2);
    assert_true(followed_find(table, FOLLOWED_JOURNAL, "batch_waits", &row));
    assert_int_equal(row.state, FOLLOWED_WAITS);
    assert_int_equal(row.owner, 7);
    assert_int_equal(row.created_s, 5);
    assert_int_equal(row.position, 4);
    assert_int_equal(row.total, 20);
    assert_string_equal(row.status, "validating");
    assert_int_equal(followed_text(table, FOLLOWED_JOURNAL, "batch_waits", text), 20);
    assert_memory_equal(text, "{\"id\":\"batch_waits\"}", 20);
    assert_true(followed_find_at(table, 2, "batch_there", &row));
    assert_int_equal(row.state, FOLLOWED_RUNS);
    assert_int_equal(row.at.deployment, 22);
    assert_string_equal(row.native, "batch_runs");
    end();
}

static void a_change_is_heard_at_the_next_step(void **state)
{
    WORLD(w);
    struct followed_row row;

    begin(w);
    add(w, "batch_waits", NULL, 1);
    followed_rows_step(rows, false, 1000);
    world_do(w, "update @batch set position = 1, followed = 2 where id = 'batch_waits'");
    followed_rows_step(rows, false, 2000);
    assert_true(followed_find(table, FOLLOWED_JOURNAL, "batch_waits", &row));
    assert_int_equal(row.position, 4); /* the number says that nothing changed */
    world_do(w, "update @meta set value = '2' where name = 'followed'");
    followed_rows_step(rows, false, 3000);
    assert_true(followed_find(table, FOLLOWED_JOURNAL, "batch_waits", &row));
    assert_int_equal(row.position, 1);
    end();
}

static void a_keeper_that_is_started_again_drops_what_is_gone(void **state)
{
    WORLD(w);
    struct followed_row row;

    begin(w);
    add(w, "batch_one", NULL, 1);
    add(w, "batch_two", NULL, 2);
    followed_rows_step(rows, false, 1000);
    world_do(w, "delete from @batch where id = 'batch_one'");
    followed_rows_free(rows);
    assert_int_equal(followed_rows_new(table, w->store, &rows), 0);
    assert_true(followed_find(table, FOLLOWED_JOURNAL, "batch_one", &row));
    followed_rows_step(rows, false, 2000);
    assert_false(followed_find(table, FOLLOWED_JOURNAL, "batch_one", &row));
    assert_true(followed_find(table, FOLLOWED_JOURNAL, "batch_two", &row));
    end();
}

static void an_older_database_is_read_anew(void **state)
{
    WORLD(w);
    struct followed_row row;

    begin(w);
    add(w, "batch_one", NULL, 1);
    add(w, "batch_two", NULL, 2);
    followed_rows_step(rows, false, 1000);
    world_do(w, "delete from @batch where id = 'batch_two'");
    world_do(w, "update @meta set value = '1' where name = 'followed'");
    followed_rows_step(rows, false, 2000);
    followed_rows_step(rows, false, 3000);
    assert_true(followed_find(table, FOLLOWED_JOURNAL, "batch_one", &row));
    assert_false(followed_find(table, FOLLOWED_JOURNAL, "batch_two", &row));
    end();
}

static void an_older_keeper_leaves_the_table_to_the_newer_one(void **state)
{
    WORLD(w);
    struct followed_rows *newer;
    struct followed_row row;

    begin(w);
    add(w, "batch_one", NULL, 1);
    followed_rows_step(rows, false, 1000);
    assert_int_equal(followed_rows_new(table, w->store, &newer), 0);
    followed_rows_step(newer, false, 2000);
    add(w, "batch_two", NULL, 2);
    followed_rows_step(rows, false, 3000);
    assert_false(followed_find(table, FOLLOWED_JOURNAL, "batch_two", &row));
    followed_rows_step(newer, false, 4000);
    assert_true(followed_find(table, FOLLOWED_JOURNAL, "batch_two", &row));
    followed_rows_free(newer);
    end();
}

static void more_than_a_page_is_read(void **state)
{
    WORLD(w);
    struct followed *large;

    begin(w);
    for (int i = 0; i < STORE_FOLLOWED_PAGE + 10; i++) {
        char id[32];

        snprintf(id, sizeof(id), "batch_%d", i);
        add(w, id, NULL, i + 1);
    }
    followed_rows_free(rows);
    assert_int_equal(followed_new(1024, &large), 0);
    assert_int_equal(followed_rows_new(large, w->store, &rows), 0);
    followed_rows_step(rows, false, 1000);
    assert_int_equal(followed_counts(large).rows, STORE_FOLLOWED_PAGE + 10);
    assert_true(followed_is_fresh(large, 1000));
    end();
    followed_free(large);
}

#define BOTH(group)     group(set_up_sqlite), group(set_up_postgres)
#define T(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TESTS(s)                                                                                   \
    T(a_node_that_starts_has_all_that_wait_or_were_moved, s),                                      \
        T(a_change_is_heard_at_the_next_step, s),                                                  \
        T(a_keeper_that_is_started_again_drops_what_is_gone, s),                                   \
        T(an_older_database_is_read_anew, s),                                                      \
        T(an_older_keeper_leaves_the_table_to_the_newer_one, s), T(more_than_a_page_is_read, s)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("followed rows", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
