/* Files of batches that go so long after their end: when, by whom, each once; the same on both
 * engines. */
#include "batches_world.h"
#include "both_engines.h"
#include "store/store_deletions.h"

#define HOUR_S 3600

/* The tables have their prefix on one engine. */
static int64_t count(const struct world *w, const char *table, const char *where)
{
    char sql[256];

    snprintf(sql, sizeof(sql), "select count(*) from @%s where %s", table, where);
    return number_of(w, sql);
}

/* One that is deleted an hour after its end. */
static struct store_batch leaving(unsigned i)
{
    struct store_batch batch = batch_of(i);

    batch.delete_after_s = HOUR_S;
    batch.input_native = batch.original = text_of("file-in-%u", i);
    batch.home = BATCHES_ACCOUNT;
    return batch;
}

static void add(const struct node *n, const struct store_batch *batch)
{
    bool added = false;

    OK(n, store_batches_add(n->store, batch, n->me.node, 0, &added));
    assert_true(added);
}

static void end_batch(const struct node *n, unsigned i)
{
    struct store_seen seen = end_of(i);

    seen.watched = false; /* a client's call shows all of it */
    seen.output_file = text_of("file-out-%u", i);
    assert_int_equal(see(n, &seen), STORE_SEEN_ENDED);
}

/* Its hour is over. */
static void time_passes(const struct world *w)
{
    world_do(w, "update @deletion set due = 5, next_at = 5 where done is null");
}

struct taken {
    char natives[STORE_CLAIMS][64];
    enum store_deletion_kind kinds[STORE_CLAIMS];
    struct store_deletion first; /* without its text */
    size_t num;
};

static int on_taken(void *arg, const struct store_deletion *deletion)
{
    struct taken *t = arg;

    if (t->num == 0)
        t->first = *deletion;
    snprintf(t->natives[t->num], sizeof(t->natives[0]), "%s", deletion->native);
    t->kinds[t->num++] = deletion->kind;
    return 0;
}

static struct taken take(const struct node *n)
{
    struct taken t = {.num = 0};

    OK(n, store_deletions_claim(n->store, &n->by, STORE_CLAIMS, on_taken, &t));
    return t;
}

static bool tell(const struct node *n, const char *native, enum store_deletion_end end)
{
    struct store_deletion_done done = {.account = BATCHES_ACCOUNT,
                                       .native = native,
                                       .end = end,
                                       .why = "its provider answered 500"};
    bool news = false;

    OK(n, store_deletions_done(n->store, &n->by, &done, &news));
    return news;
}

static bool tell_files(const struct node *n, const char *native, const char *input,
                       const char *output, const char *error)
{
    struct store_deletion_done done = {.account = BATCHES_ACCOUNT,
                                       .native = native,
                                       .end = STORE_LISTED,
                                       .input = input,
                                       .output = output,
                                       .error = error};
    bool news = false;

    OK(n, store_deletions_done(n->store, &n->by, &done, &news));
    return news;
}

static bool has(const struct taken *t, const char *native, enum store_deletion_kind kind)
{
    for (size_t i = 0; i < t->num; i++)
        if (strcmp(t->natives[i], native) == 0 && t->kinds[i] == kind)
            return true;
    return false;
}

/* ---- when ---- */

static void an_owner_who_says_nothing_keeps_all_files(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);

    make_batch(&n, 1);
    end_batch(&n, 1);
    assert_int_equal(count(w, "deletion", "1 = 1"), 0);
    assert_int_equal(take(&n).num, 0);
}

static void files_are_due_so_long_after_the_end(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_batch batch = leaving(1);
    struct store_deletion_counts counts;
    struct taken t;

    add(&n, &batch);
    assert_int_equal(count(w, "deletion", "1 = 1"), 0); /* it runs */
    end_batch(&n, 1);
    assert_int_equal(number_of(w, "select d.due - b.ended from @deletion d, @batch b"),
                     HOUR_S * 1000);
    assert_int_equal(take(&n).num, 0);
    OK(w, store_deletions_count(w->store, &counts));
    assert_int_equal(counts.waiting, 1);
    assert_int_equal(counts.late_ms, 0);
    time_passes(w);
    OK(w, store_deletions_count(w->store, &counts));
    assert_int_equal(counts.late_ms, 5);
    t = take(&n);
    assert_int_equal(t.num, 1);
    assert_int_equal(t.first.kind, STORE_FILES_OF);
    assert_int_equal(t.first.account, BATCHES_ACCOUNT);
    assert_true(t.first.owner == batch.owner);
    assert_string_equal(t.natives[0], "batch_1");
}

/* What a batch used may have to be counted from its output. */
static void nothing_goes_before_usage_and_event_are_written(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_batch batch = leaving(1);
    struct store_seen seen = end_of(1);

    add(&n, &batch);
    assert_int_equal(claim(&n).num, 1);
    seen.measured = false;
    seen.num_usage = 0;
    assert_int_equal(see(&n, &seen), STORE_SEEN_ENDED);
    assert_int_equal(count(w, "deletion", "1 = 1"), 0);
    world_do(w, "update @batch_part set next_at = 5");
    assert_int_equal(claim(&n).num, 1);
    seen = end_of(1);
    assert_int_equal(see(&n, &seen), STORE_SEEN_MEASURED);
    assert_int_equal(count(w, "usage", "1 = 1"), 2);
    assert_int_equal(count(w, "deletion", "1 = 1"), 1);
}

static void one_whose_create_was_told_of_late_goes_by_its_own_rule(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_batch found = batch_of(1), made = leaving(1);

    found.rebuilt = true;
    found.reservation = NULL;
    add(&n, &found);
    end_batch(&n, 1);
    assert_int_equal(count(w, "deletion", "1 = 1"), 0);
    add(&n, &made);
    assert_int_equal(number_of(w, "select d.due - b.ended from @deletion d, @batch b"),
                     HOUR_S * 1000);
    assert_int_equal(count(w, "batch_part", "original = 'file-in-1' and home = 7"), 1);
}

/* ---- what ---- */

static void each_file_of_a_batch_is_deleted_once_and_told_of(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_batch batch = leaving(1);
    struct taken t;

    add(&n, &batch);
    end_batch(&n, 1);
    time_passes(w);
    assert_int_equal(take(&n).num, 1);
    assert_true(tell_files(&n, "batch_1", "file-in-1", "file-out-1", "file-err-1"));
    t = take(&n);
    assert_int_equal(t.num, 3);
    assert_true(has(&t, "file-in-1", STORE_INPUT));
    assert_true(has(&t, "file-out-1", STORE_OUTPUT));
    assert_true(has(&t, "file-err-1", STORE_ERRORS));
    assert_true(tell(&n, "file-out-1", STORE_DELETED));
    assert_false(tell(&n, "file-out-1", STORE_GONE)); /* said twice */
    assert_true(tell(&n, "file-err-1", STORE_GONE));
    assert_true(tell(&n, "file-in-1", STORE_NOT_OURS));
    assert_int_equal(count(w, "batch_story", "what = 'deleted' and detail = 'output file'"), 1);
    assert_int_equal(
        count(w, "batch_story", "what = 'deleted' and detail = 'error file: it was gone already'"),
        1);
    assert_int_equal(count(w, "batch_story", "what = 'kept'"), 1);
    assert_int_equal(count(w, "deletion", "done is null"), 0);
    assert_int_equal(count(w, "deletion", "came_of = 'foreign'"), 1);
    assert_int_equal(take(&n).num, 0);
}

static void a_moved_batch_has_a_copy_and_the_clients_file_elsewhere(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_batch batch = leaving(1);
    struct taken t;

    batch.input_native = "file-copy";
    batch.home = BATCHES_ACCOUNT + 1;
    add(&n, &batch);
    end_batch(&n, 1);
    time_passes(w);
    assert_int_equal(take(&n).num, 1);
    assert_true(tell_files(&n, "batch_1", "file-copy", "file-out-1", NULL));
    t = take(&n);
    assert_int_equal(t.num, 3);
    assert_true(has(&t, "file-copy", STORE_COPY));
    assert_true(has(&t, "file-in-1", STORE_INPUT));
    assert_int_equal(
        count(w, "deletion", "object = 'file-in-1' and account = 8 and batch_id = 'batch_1-t'"), 1);
    assert_int_equal(count(w, "deletion", "object = 'file-copy' and account = 7"), 1);
}

static void a_batch_that_is_gone_has_the_files_that_were_known(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_batch batch = leaving(1);
    struct taken t;

    add(&n, &batch);
    end_batch(&n, 1);
    time_passes(w);
    assert_int_equal(take(&n).num, 1);
    assert_true(tell(&n, "batch_1", STORE_GONE));
    t = take(&n);
    assert_int_equal(t.num, 2);
    assert_true(has(&t, "file-in-1", STORE_INPUT));
    assert_true(has(&t, "file-out-1", STORE_OUTPUT));
}

/* ---- what is used ---- */

/* Both had the input of the first. */
static void share_input(const struct node *n, uint32_t delete_after_s)
{
    struct store_batch first = leaving(1), second = leaving(2);

    second.original = "file-in-1";
    second.input_native = "file-copy"; /* it runs elsewhere */
    second.delete_after_s = delete_after_s;
    add(n, &first);
    add(n, &second);
    end_batch(n, 1);
}

static void list_first(const struct world *w, const struct node *n)
{
    world_do(w, "update @deletion set due = 5, next_at = 5 where object = 'batch_1'");
    assert_int_equal(take(n).num, 1);
    assert_true(tell_files(n, "batch_1", "file-in-1", "file-out-1", NULL));
}

static bool input_is_given_out(const struct world *w, const struct node *n)
{
    struct taken t;

    world_do(w, "update @deletion set next_at = 5 where object = 'file-in-1'");
    t = take(n);
    return has(&t, "file-in-1", STORE_INPUT);
}

static void an_input_that_another_batch_still_uses_stays(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);

    share_input(&n, 0);
    list_first(w, &n);
    assert_false(input_is_given_out(w, &n));
    assert_int_equal(count(w, "deletion", "object = 'file-out-1' and claim_until > 0"), 1);
    assert_int_equal(count(w, "deletion", "object = 'file-in-1' and due > 5 and next_at > 5"), 1);
    end_batch(&n, 2);
    assert_true(input_is_given_out(w, &n));
}

static void an_input_stays_until_the_time_of_all_its_batches_is_over(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);

    share_input(&n, 24 * HOUR_S);
    end_batch(&n, 2);
    list_first(w, &n);
    assert_false(input_is_given_out(w, &n));
    world_do(w, "update @deletion set next_at = 5 where object = 'batch_2'");
    assert_int_equal(take(&n).num, 1);
    assert_true(tell_files(&n, "batch_2", "file-copy", "file-out-2", NULL));
    assert_true(input_is_given_out(w, &n));
}

static void an_input_that_a_create_may_use_stays_until_that_is_known(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_batch batch = leaving(1);
    struct fleet_intent intent = {.id = "reservation-9",
                                  .account = BATCHES_ACCOUNT,
                                  .deployment = BATCHES_DEPLOYMENT,
                                  .file = "file-in-1",
                                  .busy_ms = 60000};
    struct fleet_drop lost = {.of = {.id = "reservation-9"}, .end = FLEET_NOT_KNOWN};
    struct fleet_drop none = {.of = {.id = "reservation-9"}, .end = FLEET_NOT_MADE};
    struct fleet_answer answer;

    add(&n, &batch);
    end_batch(&n, 1);
    list_first(w, &n);
    OK(w, store_fleet_intents(w->store, &n.me, &intent, 1, &answer));
    assert_int_equal(answer.verdict, FLEET_GRANTED);
    fleet_answer_deinit(&answer);
    assert_false(input_is_given_out(w, &n));
    OK(w, store_fleet_drop(w->store, &n.me, &lost, 1));
    assert_false(input_is_given_out(w, &n));
    OK(w, store_fleet_drop(w->store, &n.me, &none, 1));
    assert_true(input_is_given_out(w, &n));
}

/* ---- who ---- */

static void one_node_deletes_a_file(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1), b = node_of(w->store, "b", 2);
    struct store_batch batch = leaving(1);

    add(&a, &batch);
    end_batch(&a, 1);
    time_passes(w);
    assert_int_equal(take(&a).num, 1);
    assert_int_equal(take(&b).num, 0);
    world_do(w, "update @deletion set claim_until = 2"); /* a has died */
    assert_int_equal(take(&b).num, 1);
    assert_true(tell_files(&b, "batch_1", "file-in-1", "file-out-1", NULL));
    assert_false(tell_files(&a, "batch_1", "file-in-1", "file-out-1", NULL)); /* or was stopped */
    assert_int_equal(take(&b).num, 2);
    assert_int_equal(take(&a).num, 0);
    OK(w, store_batches_let_go(w->store, &b.by)); /* b's prober has died */
    assert_int_equal(take(&a).num, 2);
    assert_true(tell(&b, "file-out-1", STORE_DELETED)); /* it is a fact, whoever tells it */
    assert_false(tell(&a, "file-out-1", STORE_GONE));
}

static void what_fails_is_tried_again_later_each_time_and_told_of_once(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1), b = node_of(w->store, "b", 2);
    struct store_batch batch = leaving(1);
    struct taken t;

    add(&a, &batch);
    end_batch(&a, 1);
    time_passes(w);
    assert_int_equal(take(&a).num, 1);
    assert_true(tell(&a, "batch_1", STORE_NOT_NOW));
    assert_int_equal(take(&a).num, 0);
    world_do(w, "update @deletion set next_at = 5");
    t = take(&a);
    assert_int_equal(t.num, 1);
    assert_int_equal(t.first.tries, 1);
    assert_true(tell(&a, "batch_1", STORE_NOT_NOW));
    assert_false(tell(&b, "batch_1", STORE_NOT_NOW)); /* not its claim */
    assert_int_equal(count(w, "deletion", "tries = 2 and due = 5"), 1);
    assert_int_equal(
        count(w, "batch_story",
              "what = 'not_deleted' and detail = 'its files: its provider answered 500'"),
        1);
}

static void the_rest_between_two_tries_grows_to_an_hour(void **state)
{
    (void)state;
    assert_int_equal(store_deletions_rest_ms(1), 60000);
    assert_int_equal(store_deletions_rest_ms(2), 120000);
    assert_int_equal(store_deletions_rest_ms(6), 1920000);
    assert_int_equal(store_deletions_rest_ms(7), 3600000);
    assert_int_equal(store_deletions_rest_ms(UINT64_MAX), 3600000);
}

static void what_came_of_it_is_whole_wherever_it_is_cut(void **state)
{
    WORLD(w);
    struct store *store = world_open(w->url);
    struct node a = node_of(store, "a", 1);
    struct store_batch batch = leaving(1);
    struct store_deletion_done done = {.account = BATCHES_ACCOUNT,
                                       .native = "batch_1",
                                       .end = STORE_LISTED,
                                       .input = "file-in-1",
                                       .output = "file-out-1",
                                       .error = "file-err-1"};
    bool news;
    int cuts = 0, rc;

    add(&a, &batch);
    end_batch(&a, 1);
    time_passes(w);
    do {
        break_at(store, cuts);
        store->retry_ms = 0;
        rc = store_deletions_done(store, &a.by, &done, &news);
        assert_true(rc == 0 || rc == ERR_IO);
        assert_int_equal(count(w, "deletion", "kind <> 0"), rc == 0 ? 3 : 0);
        assert_int_equal(count(w, "deletion", "kind = 0 and done is not null"), rc == 0);
        assert_int_equal(news, rc == 0);
        cuts++;
    } while (rc != 0 && cuts < 100);
    assert_true(cuts > 7);
    break_at(store, -1);
    store_free(store);
}

#define BOTH(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, set_up_sqlite, tear_down),                               \
        cmocka_unit_test_setup_teardown(test, set_up_postgres, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(an_owner_who_says_nothing_keeps_all_files),
        BOTH(files_are_due_so_long_after_the_end),
        BOTH(nothing_goes_before_usage_and_event_are_written),
        BOTH(one_whose_create_was_told_of_late_goes_by_its_own_rule),
        BOTH(each_file_of_a_batch_is_deleted_once_and_told_of),
        BOTH(a_moved_batch_has_a_copy_and_the_clients_file_elsewhere),
        BOTH(a_batch_that_is_gone_has_the_files_that_were_known),
        BOTH(an_input_that_another_batch_still_uses_stays),
        BOTH(an_input_stays_until_the_time_of_all_its_batches_is_over),
        BOTH(an_input_that_a_create_may_use_stays_until_that_is_known),
        BOTH(one_node_deletes_a_file),
        BOTH(what_fails_is_tried_again_later_each_time_and_told_of_once),
        cmocka_unit_test(the_rest_between_two_tries_grows_to_an_hour),
        BOTH(what_came_of_it_is_whole_wherever_it_is_cut),
    };
    int ret;

    cluster_init(&cluster);
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_deinit(&cluster);
    return ret;
}
