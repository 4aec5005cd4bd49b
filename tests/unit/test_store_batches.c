/* The registry of batches: each is watched by one node, ends once, and is billed once; the same on
 * both engines. */
#include "batches_world.h"
#include "both_engines.h"

/* The tables have their prefix on one engine. */
static int64_t count(const struct world *w, const char *what, const char *where)
{
    char sql[512];
    const char *space = strrchr(what, ' ');

    snprintf(sql, sizeof(sql), "select %.*s from @%s where %s", (int)(space - what), what,
             space + 1, where);
    return number_of(w, sql);
}

/* ---- claims ---- */

static void a_batch_is_added_once_and_keeps_who_pays(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_batch again = batch_of(1);
    bool added = true;

    make_batch(&n, 1);
    again = batch_of(1);
    again.key_id = "another";
    OK(w, store_batches_add(w->store, &again, "b", 0, &added));
    assert_false(added);
    again.id = "another-id"; /* the same batch of the provider */
    OK(w, store_batches_add(w->store, &again, "b", 0, &added));
    assert_false(added);
    assert_int_equal(count(w, "count(*) batch", "key_id = 'key-1'"), 1);
    assert_int_equal(count(w, "count(*) batch", "1 = 1"), 1);
    assert_int_equal(count(w, "count(*) batch_story", "what = 'created'"), 1);
}

static void what_was_found_learns_from_its_create(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_batch found = batch_of(1), made = batch_of(1);
    bool added = false;

    found.rebuilt = true;
    found.key_id = found.reservation = NULL;
    OK(w, store_batches_add(w->store, &found, "a", 0, &added));
    assert_true(added);
    OK(w, store_batches_add(w->store, &made, "a", 0, &added));
    assert_true(added);
    OK(w, store_batches_add(w->store, &found, "a", 0, &added));
    assert_false(added);
    assert_int_equal(count(w, "count(*) batch", "key_id = 'key-1' and rebuilt = 0"), 1);
    assert_int_equal(claim(&n).num, 1);
}

static void one_node_watches_a_batch(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1), b = node_of(w->store, "b", 2);
    struct due_list list;

    for (unsigned i = 1; i <= STORE_CLAIMS + 3; i++)
        make_batch(&a, i);
    list = claim(&a);
    assert_int_equal(list.num, STORE_CLAIMS);
    assert_int_equal(list.due[0].account, BATCHES_ACCOUNT);
    assert_int_equal(list.due[0].open, STORE_RUNS);
    assert_int_equal(list.due[0].tokens, BATCHES_TOKENS);
    assert_int_equal(claim(&b).num, 3);
    assert_int_equal(claim(&a).num, 0);
    assert_int_equal(claim(&b).num, 0);
}

static void what_is_not_due_is_not_claimed(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_batch later = batch_of(1);
    bool added;

    OK(w, store_batches_add(w->store, &later, "a", 3600000, &added));
    assert_int_equal(claim(&a).num, 0);
    world_do(w, "update @batch_part set next_at = 5");
    assert_int_equal(claim(&a).num, 1);
}

static void a_claim_that_ran_out_is_anothers(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1), b = node_of(w->store, "b", 2);
    struct store_seen seen = end_of(1);
    struct store_native of = {BATCHES_ACCOUNT, "batch_1"};
    size_t kept = 9;

    make_batch(&a, 1);
    assert_int_equal(claim(&a).num, 1);
    world_do(w, "update @batch_part set claim_until = 2");
    assert_int_equal(claim(&b).num, 1);
    OK(w, store_batches_renew(w->store, &a.by, &of, 1, &kept));
    assert_int_equal(kept, 0);
    assert_int_equal(see(&a, &seen), STORE_SEEN_STALE);
    assert_int_equal(count(w, "count(*) usage", "1 = 1"), 0);
    assert_int_equal(count(w, "used allowance", "scope = 't:000000000000007e'"), BATCHES_TOKENS);
    assert_int_equal(see(&b, &seen), STORE_SEEN_ENDED);
    assert_int_equal(count(w, "count(*) batch_story", "what = 'claimed'"), 2);
}

static void claims_of_an_earlier_life_are_nobodys(void **state)
{
    WORLD(w);
    struct node old = node_of(w->store, "a", 1), now, b = node_of(w->store, "b", 2);

    make_batch(&old, 1);
    make_batch(&b, 2);
    OK(w, store_batches_claim(w->store, &b.by, 1, on_due_list, &(struct due_list){.num = 0}));
    assert_int_equal(claim(&old).num, 1);
    now = node_of(w->store, "a", 3);
    assert_int_equal(claim(&b).num, 0);
    assert_int_equal(claim(&now).num, 1); /* its own; the other one's stays */
    assert_int_equal(claim(&now).num, 0);
    OK(w, store_batches_let_go(w->store, &now.by)); /* its prober was killed */
    assert_int_equal(claim(&now).num, 1);
}

static void a_claim_is_kept_by_who_has_it(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1), b = node_of(w->store, "b", 2);
    struct store_native of[] = {{BATCHES_ACCOUNT, "batch_1"}, {BATCHES_ACCOUNT, "batch_2"}};
    size_t kept = 0;

    make_batch(&a, 1);
    make_batch(&a, 2);
    assert_int_equal(claim(&a).num, 2);
    world_do(w, "update @batch_part set claim_until = 2");
    OK(w, store_batches_renew(w->store, &a.by, of, 2, &kept));
    assert_int_equal(kept, 2);
    assert_int_equal(claim(&b).num, 0);
}

/* A keeper that was stopped, and whose node has a new life since. */
static void an_old_epoch_writes_nothing(void **state)
{
    WORLD(w);
    struct node old = node_of(w->store, "a", 1), now;
    struct store_seen seen = end_of(1);

    make_batch(&old, 1);
    assert_int_equal(claim(&old).num, 1);
    now = node_of(w->store, "a", 2);
    world_do(w, "update @batch_part set claim_until = 2");
    assert_int_equal(claim(&now).num, 1);
    assert_int_equal(see(&old, &seen), STORE_SEEN_STALE);
    seen.watched = false; /* what its clients saw neither */
    assert_int_equal(see(&old, &seen), STORE_SEEN_STALE);
    assert_int_equal(count(w, "count(*) usage", "1 = 1"), 0);
    assert_int_equal(see(&now, &seen), STORE_SEEN_ENDED);
}

/* ---- what is seen ---- */

static void a_look_gives_its_claim_back(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen = seen_of(1, "in_progress");

    make_batch(&a, 1);
    assert_int_equal(claim(&a).num, 1);
    seen.completed = 3;
    assert_int_equal(see(&a, &seen), STORE_SEEN_CHANGED);
    assert_int_equal(see(&a, &seen), STORE_SEEN_STALE); /* it is nobody's now */
    assert_int_equal(claim(&a).num, 0);                 /* nor due before a minute has passed */
    world_do(w, "update @batch_part set next_at = 5");
    assert_int_equal(claim(&a).num, 1);
    assert_int_equal(see(&a, &seen), STORE_SEEN_SAME);
    assert_int_equal(count(w, "poll_ms batch_part", "1 = 1"), 60000);
    assert_int_equal(count(w, "count(*) batch_story", "what = 'status'"), 1);
}

static void nothing_goes_backwards(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen = seen_of(1, "finalizing");

    make_batch(&a, 1);
    seen.watched = false;
    seen.completed = 5;
    assert_int_equal(see(&a, &seen), STORE_SEEN_CHANGED);
    seen.status = "in_progress";
    seen.completed = 4;
    assert_int_equal(see(&a, &seen), STORE_SEEN_SAME);
    assert_int_equal(count(w, "completed batch", "status = 'finalizing'"), 5);
    assert_int_equal(count(w, "count(*) batch_part", "status = 'finalizing'"), 1);
    assert_int_equal(count(w, "count(*) batch_story", "what = 'status'"), 1);
    assert_int_equal(claim(&a).num, 1);
    seen = end_of(1);
    assert_int_equal(see(&a, &seen), STORE_SEEN_ENDED);
    seen.watched = false;
    seen.status = "cancelled";
    assert_int_equal(see(&a, &seen), STORE_SEEN_SAME);
    seen.status = "in_progress";
    assert_int_equal(see(&a, &seen), STORE_SEEN_SAME);
    assert_int_equal(count(w, "count(*) batch", "status = 'completed' and completed = 9"), 1);
}

static void a_batch_of_nobody_is_not_known(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen = end_of(77);

    assert_int_equal(see(&a, &seen), STORE_SEEN_UNKNOWN);
    assert_int_equal(count(w, "count(*) usage", "1 = 1"), 0);
}

/* ---- its end ---- */

static void check_ended(const struct world *w, unsigned batches)
{
    assert_int_equal(count(w, "count(*) batch", "status = 'completed' and finished is not null"),
                     batches);
    assert_int_equal(count(w, "count(*) batch_part", "open = 0"), batches);
    assert_int_equal(count(w, "count(*) reservation", "state = 2"), batches);
    assert_int_equal(count(w, "sum(used) allowance", "1 = 1"), 0);
    assert_int_equal(count(w, "count(*) usage", "1 = 1"), 2 * (int64_t)batches);
    assert_int_equal(count(w, "count(distinct seq) usage", "1 = 1"), 2 * (int64_t)batches);
    assert_int_equal(count(w, "count(*) hook_event", "type = 'batch.completed'"), batches);
}

static void an_end_is_written_at_once_and_once(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen;

    make_batch(&a, 1);
    make_batch(&a, 2);
    assert_int_equal(claim(&a).num, 2);
    for (unsigned i = 1; i <= 2; i++) {
        seen = end_of(i);
        assert_int_equal(see(&a, &seen), STORE_SEEN_ENDED);
        assert_int_equal(see(&a, &seen), STORE_SEEN_STALE);
        seen.watched = false;
        assert_int_equal(see(&a, &seen), STORE_SEEN_SAME);
    }
    check_ended(w, 2);
    assert_int_equal(count(w, "count(*) usage",
                           "model = 'gpt-4o' and tok_in = 1000 and tok_cached = 800 and tok_out ="
                           " 200 and tok_reason = 150 and nano = 42000 and key_alias = 'nightly'"
                           " and team_id = 'team-a' and user_id = 'u1' and model_group = 'gpt-4o'"
                           " and source = 'batch' and finished = 1800003600000"),
                     2);
    assert_int_equal(claim(&a).num, 0);
}

static void usage_may_come_later_than_the_end(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen = end_of(1);
    struct due_list list;

    make_batch(&a, 1);
    assert_int_equal(claim(&a).num, 1);
    seen.measured = seen.tell = false;
    seen.num_usage = 0;
    assert_int_equal(see(&a, &seen), STORE_SEEN_ENDED);
    assert_int_equal(count(w, "sum(used) allowance", "1 = 1"), 0); /* its tokens are free */
    world_do(w, "update @batch_part set next_at = 5");
    list = claim(&a);
    assert_int_equal(list.num, 1);
    assert_int_equal(list.due[0].open, STORE_UNMEASURED);
    seen = end_of(1);
    seen.tell = false;
    assert_int_equal(see(&a, &seen), STORE_SEEN_MEASURED);
    assert_int_equal(count(w, "count(*) hook_event", "1 = 1"), 0);
    world_do(w, "update @batch_part set next_at = 5");
    assert_int_equal(claim(&a).num, 1);
    seen.tell = true;
    assert_int_equal(see(&a, &seen), STORE_SEEN_TOLD);
    check_ended(w, 1);
}

/* Between the end of a period and the create that begins the next one: it counts there. */
static void a_cost_that_comes_late_counts_in_the_period_that_is_then(void **state)
{
    WORLD(w);
    struct store_seen seen = end_of(1);
    struct fleet_answer answer;
    struct fleet_intent intent = {.id = "r-next",
                                  .account = BATCHES_ACCOUNT,
                                  .deployment = BATCHES_DEPLOYMENT,
                                  .busy_ms = 60000};
    struct node n = node_of(w->store, "a", 1);

    make_batch(&n, 1);
    (void)claim(&n);
    seen.measured = seen.tell = false;
    assert_int_equal(see(&n, &seen), STORE_SEEN_ENDED);
    world_do(w, "update @allowance set period = 3600000, reset = 5, spent_nano = 7");
    world_do(w, "update @batch_part set next_at = 5");
    (void)claim(&n);
    seen = end_of(1);
    assert_int_equal(see(&n, &seen), STORE_SEEN_MEASURED);
    assert_int_equal(count(w, "spent_nano allowance", "scope = 'k:000000000000004b'"), 43000);
    intent.scopes[FLEET_KEY] = (struct fleet_scope){.name = BATCHES_KEY,
                                                    .tokens = RIGHTS_UNLIMITED,
                                                    .batches = RIGHTS_UNLIMITED,
                                                    .nano = 1000000,
                                                    .period_ms = 3600000};
    OK(&n, store_fleet_intents(n.store, &n.me, &intent, 1, &answer));
    fleet_answer_deinit(&answer);
    assert_int_equal(count(w, "spent_nano allowance", "scope = 'k:000000000000004b'"), 43000);
}

/* Whether it is known with the end or a day later, key and team have spent it once. */
static void what_it_cost_is_spent_once(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen;

    make_batch(&a, 1);
    make_batch(&a, 2);
    assert_int_equal(claim(&a).num, 2);
    seen = end_of(1);
    assert_int_equal(see(&a, &seen), STORE_SEEN_ENDED);
    assert_int_equal(count(w, "spent_nano allowance", "scope = 't:000000000000007e'"), 43000);
    seen = end_of(2);
    seen.measured = false;
    assert_int_equal(see(&a, &seen), STORE_SEEN_ENDED);
    assert_int_equal(count(w, "spent_nano allowance", "scope = 't:000000000000007e'"), 43000);
    world_do(w, "update @batch_part set next_at = 5");
    assert_int_equal(claim(&a).num, 1);
    seen = end_of(2);
    assert_int_equal(see(&a, &seen), STORE_SEEN_MEASURED);
    assert_int_equal(count(w, "spent_nano allowance", "scope = 't:000000000000007e'"), 86000);
    assert_int_equal(count(w, "spent_nano allowance", "scope = 'k:000000000000004b'"), 86000);
    assert_int_equal(count(w, "spent_nano allowance", "scope = 'd:000000d1'"), 0);
    check_ended(w, 2);
}

/* What a client's call shows of an end whose usage is not known has the watch look at once. */
static void a_clients_news_is_looked_at(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen news = seen_of(1, "completed"), old = seen_of(1, "in_progress");

    make_batch(&a, 1);
    world_do(w, "update @batch_part set next_at = next_at + 1000000");
    news.watched = false;
    assert_int_equal(see(&a, &news), STORE_SEEN_CHANGED);
    assert_int_equal(count(w, "count(*) batch", "status = 'validating'"), 1);
    assert_int_equal(claim(&a).num, 1);
    assert_int_equal(see(&a, &news), STORE_SEEN_CHANGED); /* while somebody is looking already */
    assert_int_equal(see(&a, &old), STORE_SEEN_CHANGED);  /* and has seen less */
    assert_int_equal(claim(&a).num, 1);
    news = end_of(1);
    assert_int_equal(see(&a, &news), STORE_SEEN_ENDED);
    check_ended(w, 1);
}

static void a_client_may_see_the_whole_end(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1), b = node_of(w->store, "b", 2);
    struct store_seen seen = end_of(1);

    make_batch(&a, 1);
    assert_int_equal(claim(&a).num, 1);
    seen.watched = false;
    assert_int_equal(see(&b, &seen), STORE_SEEN_ENDED);
    seen.watched = true;
    assert_int_equal(see(&a, &seen), STORE_SEEN_STALE);
    check_ended(w, 1);
}

static void what_its_provider_does_not_know_has_failed(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen = seen_of(1, NULL);

    make_batch(&a, 1);
    seen.missing = true;
    for (int i = 1; i <= STORE_MISSING; i++) {
        world_do(w, "update @batch_part set next_at = 5");
        assert_int_equal(claim(&a).num, 1);
        assert_int_equal(see(&a, &seen), i < STORE_MISSING ? STORE_SEEN_SAME : STORE_SEEN_ENDED);
    }
    assert_int_equal(count(w, "count(*) batch", "status = 'failed' and code = 'not_found'"), 1);
    assert_int_equal(count(w, "count(*) usage", "source = 'none'"), 1);
    assert_int_equal(count(w, "sum(used) allowance", "1 = 1"), 0);
    assert_int_equal(count(w, "count(*) hook_event", "type = 'batch.failed'"), 1);
}

static void one_silence_is_no_end(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen gone = seen_of(1, NULL), here = seen_of(1, "in_progress");

    make_batch(&a, 1);
    gone.missing = true;
    for (int i = 0; i < 3 * STORE_MISSING; i++) {
        world_do(w, "update @batch_part set next_at = 5");
        assert_int_equal(claim(&a).num, 1);
        (void)see(&a, i % STORE_MISSING == STORE_MISSING - 1 ? &here : &gone);
    }
    assert_int_equal(count(w, "count(*) batch", "status = 'in_progress'"), 1);
}

static void one_that_ended_long_before_it_was_found_is_no_news(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_batch found = batch_of(1);
    struct store_seen seen = end_of(1);
    bool added;

    found.rebuilt = true;
    OK(w, store_batches_add(w->store, &found, "a", 0, &added));
    assert_int_equal(claim(&a).num, 1);
    seen.finished_ms = 1000000000000;
    assert_int_equal(see(&a, &seen), STORE_SEEN_ENDED);
    assert_int_equal(count(w, "count(*) usage", "1 = 1"), 2);
    assert_int_equal(count(w, "count(*) hook_event", "1 = 1"), 0);
    assert_int_equal(count(w, "count(*) batch_part", "open = 0"), 1);
}

/* ---- reading ---- */

struct shown {
    char ids[8][64];
    size_t num;
};

static int on_shown(void *arg, const struct store_batch_row *row)
{
    struct shown *shown = arg;

    assert_true(shown->num < 8);
    snprintf(shown->ids[shown->num++], sizeof(shown->ids[0]), "%s", row->batch.id);
    return 0;
}

static struct shown list(const struct world *w, struct store_batch_filter filter, bool *more)
{
    struct shown shown = {.num = 0};

    OK(w, store_batches_list(w->store, &filter, on_shown, &shown, more));
    return shown;
}

static void a_list_is_read_page_by_page(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct shown shown;
    bool more = false;

    for (unsigned i = 1; i <= 5; i++)
        make_batch(&a, i);
    world_do(w, "update @batch set created = 1800000000004 where id = 'batch_3-t'");
    shown = list(w, (struct store_batch_filter){.limit = 2}, &more);
    assert_true(more);
    assert_int_equal(shown.num, 2);
    assert_string_equal(shown.ids[0], "batch_5-t");
    assert_string_equal(shown.ids[1], "batch_4-t");
    shown = list(w,
                 (struct store_batch_filter){
                     .limit = 3, .behind_created_ms = 1800000000004, .behind_id = "batch_4-t"},
                 &more);
    assert_false(more);
    assert_int_equal(shown.num, 3);
    assert_string_equal(shown.ids[0], "batch_3-t");
    assert_string_equal(shown.ids[2], "batch_1-t");
}

static void a_list_has_what_was_asked_for(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen = end_of(2);
    bool more;

    for (unsigned i = 1; i <= 3; i++)
        make_batch(&a, i);
    seen.watched = false;
    (void)see(&a, &seen);
    world_do(w, "update @batch set team_id = 'team-b', owner = 5 where id = 'batch_3-t'");
    assert_int_equal(list(w, (struct store_batch_filter){.limit = 8, .open = true}, &more).num, 2);
    assert_int_equal(
        list(w, (struct store_batch_filter){.limit = 8, .status = "completed"}, &more).num, 1);
    assert_int_equal(
        list(w, (struct store_batch_filter){.limit = 8, .team_id = "team-b"}, &more).num, 1);
    assert_int_equal(
        list(w, (struct store_batch_filter){.limit = 8, .of_owner = true, .owner = 5}, &more).num,
        1);
    assert_int_equal(
        list(w, (struct store_batch_filter){.limit = 8, .from_ms = 1800000000003}, &more).num, 1);
}

static int on_row_once(void *arg, const struct store_batch_row *row)
{
    assert_int_equal(row->batch.owner, UINT64_C(0xfedcba9876543210));
    assert_string_equal(row->batch.native, "batch_1");
    assert_string_equal(row->output_file, "file-out");
    assert_int_equal(row->completed, 9);
    assert_int_equal(row->next_ms, 0);
    ++*(int *)arg;
    return 0;
}

static void one_is_found_by_both_of_its_ids(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_native of = {BATCHES_ACCOUNT, "batch_1"}, other = {8, "batch_1"};
    struct store_seen seen = end_of(1);
    int shown = 0;

    make_batch(&a, 1);
    seen.watched = false;
    (void)see(&a, &seen);
    OK(w, store_batches_get(w->store, "batch_1-t", NULL, on_row_once, &shown));
    OK(w, store_batches_get(w->store, NULL, &of, on_row_once, &shown));
    assert_int_equal(shown, 2);
    assert_int_equal(store_batches_get(w->store, NULL, &other, on_row_once, &shown), ERR_NOT_FOUND);
}

static int on_story(void *arg, const struct store_story *line)
{
    char *out = arg;

    snprintf(out + strlen(out), 200 - strlen(out), "%llu %s;", (unsigned long long)line->number,
             line->what);
    return 0;
}

static void a_batch_has_its_story(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen = seen_of(1, "in_progress");
    char story[200] = "";

    make_batch(&a, 1);
    (void)claim(&a);
    (void)see(&a, &seen);
    world_do(w, "update @batch_part set next_at = 5");
    (void)claim(&a);
    seen = end_of(1);
    (void)see(&a, &seen);
    OK(w, store_batches_note(w->store, "batch_1-t", "told", "a", "https://example.com"));
    OK(w, store_batches_note(w->store, "unknown", "told", "a", NULL));
    OK(w, store_batches_story(w->store, "batch_1-t", 0, 20, on_story, story));
    assert_string_equal(story, "1 created;2 claimed;3 status;4 ended;5 usage;6 event;7 told;");
    story[0] = '\0';
    OK(w, store_batches_story(w->store, "batch_1-t", 5, 1, on_story, story));
    assert_string_equal(story, "6 event;");
}

static int on_ended(void *arg, const struct store_ended *ended)
{
    assert_string_equal(ended->native, "batch_1");
    assert_int_equal(ended->deployment, BATCHES_DEPLOYMENT);
    ++*(int *)arg;
    return 0;
}

static void other_nodes_hear_of_an_end(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen = end_of(1);
    int64_t since = 0;
    int ended = 0;

    make_batch(&a, 1);
    make_batch(&a, 2);
    OK(w, store_batches_ended(w->store, &since, on_ended, &ended));
    assert_true(since > 0);
    seen.watched = false;
    (void)see(&a, &seen);
    OK(w, store_batches_ended(w->store, &since, on_ended, &ended));
    assert_int_equal(ended, 1);
}

static void what_waits_is_counted(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_batch_counts counts;
    struct store_seen seen = seen_of(1, "completed");

    for (unsigned i = 1; i <= 3; i++)
        make_batch(&a, i);
    OK(w, store_batches_claim(w->store, &a.by, 1, on_due_list, &(struct due_list){.num = 0}));
    OK(w, store_batches_count(w->store, "a", &counts));
    assert_int_equal(counts.open, 3);
    assert_int_equal(counts.due, 2);
    assert_int_equal(counts.claimed, 1);
    assert_true(counts.late_ms > 0);
    seen.completed = 1;
    assert_int_equal(see(&a, &seen), STORE_SEEN_ENDED);
    OK(w, store_batches_count(w->store, "a", &counts));
    assert_int_equal(counts.open, 2);
    assert_int_equal(counts.unmeasured, 1);
    OK(w, store_batches_count(w->store, "b", &counts));
    assert_int_equal(counts.claimed, 0);
}

static void what_is_too_old_goes(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    struct store_seen seen = end_of(1);
    size_t dropped = 0;

    make_batch(&a, 1);
    make_batch(&a, 2);
    seen.watched = false;
    (void)see(&a, &seen);
    OK(w, store_batches_tend(w->store, &dropped));
    assert_int_equal(dropped, 0);
    world_do(w, "update @batch set created = 5");
    world_do(w, "update @usage set finished = 5");
    OK(w, store_batches_tend(w->store, &dropped));
    assert_int_equal(dropped, 3);
    assert_int_equal(count(w, "count(*) batch", "1 = 1"), 1); /* the one that runs stays */
    assert_int_equal(count(w, "count(*) batch_story", "batch_id = 'batch_1-t'"), 0);
}

/* ---- who is killed anywhere ---- */

static int64_t all_or_nothing(const struct world *w)
{
    int64_t ended = count(w, "count(*) batch", "status = 'completed'");

    assert_int_equal(count(w, "count(*) batch_part", "open = 0"), ended);
    assert_int_equal(count(w, "count(*) reservation", "state = 2"), ended);
    assert_int_equal(count(w, "count(*) usage", "1 = 1"), 2 * ended);
    assert_int_equal(count(w, "count(*) hook_event", "1 = 1"), ended);
    assert_int_equal(count(w, "sum(used) allowance", "1 = 1"), 3 * BATCHES_TOKENS * (1 - ended));
    return ended;
}

/* The connection breaks between every two statements of the end, and before its commit: then nothing
 * of it is there, and the next one writes all of it. */
static void an_end_is_whole_wherever_it_is_cut(void **state)
{
    WORLD(w);
    struct store *store = world_open(w->url);
    struct node a = node_of(store, "a", 1);
    struct store_seen seen;
    enum store_seen_end end;
    int cuts = 0, rc;

    make_batch(&a, 1);
    assert_int_equal(claim(&a).num, 1);
    do {
        seen = end_of(1);
        break_at(store, cuts);
        store->retry_ms = 0;
        rc = store_batches_seen(store, &a.by, &seen, &end);
        assert_true(rc == 0 || rc == ERR_IO);
        assert_int_equal(all_or_nothing(w), rc == 0);
        cuts++;
    } while (rc != 0 && cuts < 100);
    assert_true(cuts > 15); /* it has many statements */
    break_at(store, -1);
    check_ended(w, 1);
    store_free(store);
}

static void a_beginning_is_whole_wherever_it_is_cut(void **state)
{
    WORLD(w);
    struct store *store = world_open(w->url);
    struct node a = node_of(store, "a", 1);
    struct store_batch batch;
    bool added;
    int cuts = 0, rc;

    do {
        batch = batch_of(1);
        break_at(store, cuts++);
        store->retry_ms = 0;
        rc = store_batches_add(store, &batch, "a", 0, &added);
        assert_int_equal(count(w, "count(*) batch", "1 = 1"), rc == 0);
        assert_int_equal(count(w, "count(*) batch_part", "1 = 1"), rc == 0);
        assert_int_equal(count(w, "count(*) batch_story", "1 = 1"), rc == 0);
    } while (rc != 0 && cuts < 100);
    break_at(store, -1);
    assert_int_equal(claim(&a).num, 1);
    store_free(store);
}

/* ---- several nodes at once ---- */

#define RACERS  4
#define RACE_OF 60

/* One node: it claims and reports until nothing is left. */
static int race(const char *url, unsigned number)
{
    /* Of an answer that comes behind its deadline nobody could say whose end it was. */
    const struct store_options options = {.deadline_ms = PATIENCE_MS};
    char name[8];
    struct store *store = NULL;
    char why[STORE_WHY_BYTES];
    struct fleet_me me = {.node = name};
    struct store_claimer by = {.node = name};
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;
    enum store_seen_end end;
    int ended = 0, idle = 0;

    snprintf(name, sizeof(name), "n%u", number);
    if (store_new(url, &options, &store, why) != 0)
        return -1;
    while (store_fleet_join(store, number, "", "", &me) != 0 && clock_now_ms() < until_ms)
        world_pause();
    by.epoch = me.epoch;
    while (idle < 20 && clock_now_ms() < until_ms) {
        struct due_list due = {.num = 0};

        if (store_batches_claim(store, &by, 5, on_due_list, &due) != 0)
            due.num = 0;
        idle = due.num == 0 ? idle + 1 : 0;
        for (size_t i = 0; i < due.num; i++) {
            struct store_seen seen = end_of(0);

            seen.native = due.natives[i];
            while (store_batches_seen(store, &by, &seen, &end) != 0 && clock_now_ms() < until_ms)
                world_pause();
            ended += end == STORE_SEEN_ENDED;
            seen.watched = false; /* and a client of this node saw it, too */
            if (store_batches_seen(store, &by, &seen, &end) != 0)
                continue;
            ended += end == STORE_SEEN_ENDED;
        }
        if (due.num == 0)
            world_pause();
    }
    store_free(store);
    return ended;
}

static void nodes_share_what_is_due(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1);
    pid_t racers[RACERS];
    int status, ended = 0;

    for (unsigned i = 1; i <= RACE_OF; i++)
        make_batch(&a, i);
    store_free(w->store); /* no connection crosses the fork */
    w->store = NULL;
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = fork();
        if (racers[i] == 0)
            _exit(race(w->url, i));
    }
    for (unsigned i = 0; i < RACERS; i++) {
        assert_int_equal(waitpid(racers[i], &status, 0), racers[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= RACE_OF);
        ended += WEXITSTATUS(status);
    }
    assert_int_equal(ended, RACE_OF);
    check_ended(w, RACE_OF);
}

#define BOTH(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, set_up_sqlite, tear_down),                               \
        cmocka_unit_test_setup_teardown(test, set_up_postgres, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_batch_is_added_once_and_keeps_who_pays),
        BOTH(what_was_found_learns_from_its_create),
        BOTH(one_node_watches_a_batch),
        BOTH(what_is_not_due_is_not_claimed),
        BOTH(a_claim_that_ran_out_is_anothers),
        BOTH(claims_of_an_earlier_life_are_nobodys),
        BOTH(a_claim_is_kept_by_who_has_it),
        BOTH(an_old_epoch_writes_nothing),
        BOTH(a_look_gives_its_claim_back),
        BOTH(nothing_goes_backwards),
        BOTH(a_batch_of_nobody_is_not_known),
        BOTH(an_end_is_written_at_once_and_once),
        BOTH(usage_may_come_later_than_the_end),
        BOTH(a_cost_that_comes_late_counts_in_the_period_that_is_then),
        BOTH(what_it_cost_is_spent_once),
        BOTH(a_clients_news_is_looked_at),
        BOTH(a_client_may_see_the_whole_end),
        BOTH(what_its_provider_does_not_know_has_failed),
        BOTH(one_silence_is_no_end),
        BOTH(one_that_ended_long_before_it_was_found_is_no_news),
        BOTH(a_list_is_read_page_by_page),
        BOTH(a_list_has_what_was_asked_for),
        BOTH(one_is_found_by_both_of_its_ids),
        BOTH(a_batch_has_its_story),
        BOTH(other_nodes_hear_of_an_end),
        BOTH(what_waits_is_counted),
        BOTH(what_is_too_old_goes),
        BOTH(an_end_is_whole_wherever_it_is_cut),
        BOTH(a_beginning_is_whole_wherever_it_is_cut),
        BOTH(nodes_share_what_is_due),
    };
    int ret;

    cluster_init(&cluster);
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_deinit(&cluster);
    return ret;
}
