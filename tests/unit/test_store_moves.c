/* A batch that failed late goes to another deployment, in the database: once, under its id, billed at
 * its end alone, and whoever dies in between; the same on both engines. */
#include "batches_world.h"
#include "both_engines.h"

#include "store/store_moves.h"

#define ELSEWHERE   9
#define NONCE       "0123456789abcdef0123456789abcdef"
#define OTHER_NONCE "fedcba9876543210fedcba9876543210"

static int64_t count(const struct world *w, const char *from, const char *where)
{
    char sql[512];

    snprintf(sql, sizeof(sql), "select count(*) from @%s where %s", from, where);
    return number_of(w, sql);
}

static struct store_native at_first(unsigned i)
{
    return (struct store_native){BATCHES_ACCOUNT, text_of("batch_%u", i)};
}

/* As its provider shows it, and the keeper wants it moved. */
static struct store_seen late(unsigned i)
{
    static const struct store_usage none = {.model = "", .source = "none"};
    struct store_seen seen = seen_of(i, "failed");

    seen.code = "token_limit_exceeded";
    seen.move = seen.measured = seen.tell = true;
    seen.usage = &none;
    seen.num_usage = 1;
    return seen;
}

static void fail_late(const struct node *n, unsigned i)
{
    struct store_seen seen = late(i);

    make_batch(n, i);
    assert_int_equal(claim(n).num, 1);
    assert_int_equal(see(n, &seen), STORE_SEEN_MOVES);
}

static enum store_move_end begin_move(const struct node *n, unsigned i, const char *nonce)
{
    struct store_native of = at_first(i);
    enum store_move_end end;

    OK(n, store_move_begin(n->store, &n->by, &of, nonce, 0xd2, &end));
    return end;
}

/* What its create reserves, and is LIVE by, as the keeper does it. */
static void reserve_as(const struct node *n, const char *id, const char *nonce)
{
    struct fleet_answer answer;
    struct fleet_intent intent = {.id = id,
                                  .nonce = nonce,
                                  .account = ELSEWHERE,
                                  .deployment = 0xd2,
                                  .tokens = BATCHES_TOKENS,
                                  .busy_ms = 60000};
    uint64_t names[FLEET_SCOPES] = {0xd2, BATCHES_KEY, BATCHES_TEAM};

    for (size_t s = 0; s < FLEET_SCOPES; s++)
        intent.scopes[s] = (struct fleet_scope){
            .name = names[s], .tokens = 1000000, .batches = 1000000, .nano = INT64_MAX};
    OK(n, store_fleet_intents(n->store, &n->me, &intent, 1, &answer));
    assert_int_equal(answer.verdict, FLEET_GRANTED);
    fleet_answer_deinit(&answer);
}

static void reserve_move(const struct node *n, const char *nonce)
{
    reserve_as(n, "moved-1", nonce);
}

static void was_not_made(const struct node *n, const char *nonce)
{
    struct fleet_drop drop = {.of = {.nonce = nonce}, .end = FLEET_NOT_MADE};

    OK(n, store_fleet_drop(n->store, &n->me, &drop, 1));
}

static bool made(const struct node *n, const char *nonce, const char *native)
{
    struct store_moved moved = {.nonce = nonce,
                                .at = {ELSEWHERE, native},
                                .deployment = 0xd2,
                                .reservation = "moved-1",
                                .tokens = BATCHES_TOKENS};
    struct fleet_live live = {.of = {.id = "moved-1"}, .native = native, .deployment = 0xd2};
    bool taken = false;

    OK(n, store_batch_begin(n->store));
    OK(n, store_move_made(n->store, n->me.node, &moved, 0, &taken));
    if (taken)
        OK(n, store_fleet_live(n->store, &n->me, &live, 1, NULL));
    OK(n, store_batch_end(n->store));
    return taken;
}

static void a_moved_batch_ends_once_and_is_billed_once(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_seen seen;
    struct due_list list;

    fail_late(&n, 1);
    assert_int_equal(count(w, "hook_event", "1 = 1"), 0);
    assert_int_equal(count(w, "usage", "1 = 1"), 0);
    assert_int_equal(count(w, "reservation", "state = 2"), 1); /* nothing is held meanwhile */
    assert_int_equal(count(w, "batch", "status = 'validating' and mode = 1 and followed > 0"), 1);
    list = claim(&n);
    assert_int_equal(list.num, 1);
    assert_true(list.due[0].moves);
    assert_false(list.due[0].doubt);
    reserve_move(&n, NONCE);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_TAKEN);
    assert_true(made(&n, NONCE, "batch_there"));
    assert_false(made(&n, NONCE, "batch_there")); /* somebody has found it, too */
    list = claim(&n);
    assert_int_equal(list.num, 1);
    assert_string_equal(list.natives[0], "batch_there");
    assert_false(list.due[0].moves);
    seen = end_of(1);
    seen.account = ELSEWHERE;
    seen.native = "batch_there";
    assert_int_equal(see(&n, &seen), STORE_SEEN_ENDED);
    seen = late(1); /* a poll of the old one that was under way */
    assert_int_equal(see(&n, &seen), STORE_SEEN_UNKNOWN);
    assert_int_equal(count(w, "hook_event", "type = 'batch.completed'"), 1);
    assert_int_equal(count(w, "hook_event", "1 = 1"), 1);
    assert_int_equal(count(w, "usage", "batch_id = 'batch_1-t'"), 2);
    assert_int_equal(count(w, "batch", "id = 'batch_1-t' and moves = 1 and completed = 9"), 1);
    assert_int_equal(count(w, "reservation", "state <> 2"), 0);
    assert_int_equal(number_of(w, "select sum(used) from @allowance"), 0);
}

/* Zero retention: of the places in between nothing stays that the gateway has put there. */
static void the_copy_that_it_failed_on_goes_where_files_go(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_seen seen = late(1);

    make_batch(&n, 1);
    world_do(w, "update @batch set delete_after = 3600");
    world_do(w, "update @batch_part set original = 'file-1'");
    assert_int_equal(claim(&n).num, 1);
    seen.input_file = "file-1"; /* the client's own file stays until the end */
    assert_int_equal(see(&n, &seen), STORE_SEEN_MOVES);
    assert_int_equal(claim(&n).num, 1);
    reserve_move(&n, NONCE);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_TAKEN);
    assert_true(made(&n, NONCE, "batch_there"));
    assert_int_equal(count(w, "deletion", "1 = 1"), 0);
    assert_int_equal(claim(&n).num, 1);
    seen.account = ELSEWHERE;
    seen.native = "batch_there";
    seen.input_file = "copy-1";
    assert_int_equal(see(&n, &seen), STORE_SEEN_MOVES);
    assert_int_equal(count(w, "deletion", "1 = 1"), 0); /* it is copied from there yet */
    world_do(w, "update @batch_part set move_nonce = '" OTHER_NONCE "'");
    assert_true(made(&n, OTHER_NONCE, "batch_third"));
    assert_int_equal(count(w, "deletion", "account = 9 and object = 'copy-1' and kind = 4"), 1);
    assert_int_equal(count(w, "deletion", "done is null and due <= next_at"), 1);
}

static void a_copy_stays_where_files_stay(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_seen seen = late(1);

    make_batch(&n, 1);
    world_do(w, "update @batch_part set original = 'file-1'");
    assert_int_equal(claim(&n).num, 1);
    seen.input_file = "copy-1";
    assert_int_equal(see(&n, &seen), STORE_SEEN_MOVES);
    assert_int_equal(claim(&n).num, 1);
    reserve_move(&n, NONCE);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_TAKEN);
    assert_true(made(&n, NONCE, "batch_there"));
    assert_int_equal(count(w, "deletion", "1 = 1"), 0);
}

static void whoever_reports_it_twice_changes_nothing(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_seen seen = late(1);

    make_batch(&n, 1);
    seen.watched = false; /* a client's poll */
    assert_int_equal(see(&n, &seen), STORE_SEEN_MOVES);
    assert_int_equal(see(&n, &seen), STORE_SEEN_SAME);
    assert_int_equal(claim(&n).num, 1);
    seen.watched = true; /* a look that was under way: the claim is not its own */
    assert_int_equal(see(&n, &seen), STORE_SEEN_SAME);
    assert_int_equal(claim(&n).num, 0);
    assert_int_equal(count(w, "batch_story", "what = 'moving'"), 1);
    assert_int_equal(count(w, "hook_event", "1 = 1"), 0);
}

static void another_nodes_claim_moves_it_alone(void **state)
{
    WORLD(w);
    struct node a = node_of(w->store, "a", 1), b = node_of(w->store, "b", 2);

    fail_late(&a, 1);
    assert_int_equal(claim(&a).num, 1);
    world_do(w, "update @batch_part set claim_until = 2");
    assert_int_equal(claim(&b).num, 1);
    reserve_move(&b, NONCE);
    assert_int_equal(begin_move(&a, 1, NONCE), STORE_MOVE_STALE);
    assert_int_equal(begin_move(&b, 1, NONCE), STORE_MOVE_TAKEN);
}

static void a_create_in_doubt_is_handed_on(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct fleet_drop drop = {.of = {.nonce = NONCE}, .end = FLEET_NOT_KNOWN};
    struct due_list list;

    fail_late(&n, 1);
    assert_int_equal(claim(&n).num, 1);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_STALE); /* nothing is reserved */
    reserve_move(&n, NONCE);
    OK(w, store_batches_let_go(w->store, &n.by)); /* its prober died before it began */
    list = claim(&n);
    assert_int_equal(list.num, 1);
    assert_false(list.due[0].doubt);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_TAKEN);
    OK(w, store_batches_let_go(w->store, &n.by)); /* and after */
    list = claim(&n);
    assert_int_equal(list.num, 1);
    assert_true(list.due[0].moves && list.due[0].doubt);
    assert_int_equal(list.due[0].move_to, 0xd2);
    OK(w, store_fleet_drop(w->store, &n.me, &drop, 1));
    OK(w, store_batches_let_go(w->store, &n.by));
    assert_true(claim(&n).due[0].doubt);
    drop.end = FLEET_NOT_MADE; /* the search has proved it */
    OK(w, store_fleet_drop(w->store, &n.me, &drop, 1));
    OK(w, store_batches_let_go(w->store, &n.by));
    assert_false(claim(&n).due[0].doubt);
}

static void what_is_tried_in_vain_waits(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_native of = at_first(1);
    enum store_move_end end;

    fail_late(&n, 1);
    assert_int_equal(claim(&n).num, 1);
    reserve_move(&n, NONCE);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_TAKEN);
    OK(w, store_move_wait(w->store, &n.by, &of, NONCE, 3600000, true, &end));
    assert_int_equal(end, STORE_MOVE_TAKEN);
    assert_int_equal(claim(&n).num, 0);
    assert_int_equal(count(w, "batch_part", "move_nonce is null and move_tries = 1"), 1);
    OK(w, store_move_wait(w->store, &n.by, &of, NONCE, 0, true, &end));
    assert_int_equal(end, STORE_MOVE_STALE); /* it is nobody's to say so */
}

static void one_that_is_given_up_fails_as_it_failed(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_native of = at_first(1);
    struct store_seen seen = late(1);
    enum store_move_end end;

    fail_late(&n, 1);
    assert_int_equal(claim(&n).num, 1);
    OK(w, store_move_over(w->store, &n.by, &of, NULL, "its input file is gone", &end));
    assert_int_equal(end, STORE_MOVE_TAKEN);
    assert_int_equal(claim(&n).num, 1);
    assert_int_equal(see(&n, &seen), STORE_SEEN_ENDED); /* it does not move again */
    assert_int_equal(count(w, "batch", "status = 'failed' and code = 'token_limit_exceeded'"), 1);
    assert_int_equal(count(w, "hook_event", "type = 'batch.failed'"), 1);
    assert_int_equal(claim(&n).num, 0);
}

static void a_cancel_ends_it_at_once_and_nothing_is_created_after(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_native of = at_first(1);
    enum store_move_end end;

    fail_late(&n, 1);
    assert_int_equal(claim(&n).num, 1);
    reserve_move(&n, NONCE);
    OK(w, store_move_cancel(w->store, &n.by, &of, "{}", &end));
    assert_int_equal(end, STORE_MOVE_TAKEN);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_STALE);
    assert_int_equal(count(w, "batch", "status = 'cancelled' and shown = '{}'"), 1);
    assert_int_equal(count(w, "hook_event", "type = 'batch.cancelled'"), 1);
    assert_int_equal(count(w, "hook_event", "1 = 1"), 1);
    assert_int_equal(claim(&n).num, 0);
    OK(w, store_move_cancel(w->store, &n.by, &of, "{}", &end));
    assert_int_equal(end, STORE_MOVE_STALE); /* it has ended */
}

static void a_cancel_behind_the_create_reaches_the_new_one(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_native of = at_first(1);
    struct store_seen seen = seen_of(1, "cancelling");
    enum store_move_end end;
    struct due_list list;

    fail_late(&n, 1);
    assert_int_equal(claim(&n).num, 1);
    reserve_move(&n, NONCE);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_TAKEN);
    OK(w, store_move_cancel(w->store, &n.by, &of, "{}", &end));
    assert_int_equal(end, STORE_MOVE_SENT);
    assert_true(made(&n, NONCE, "batch_there"));
    list = claim(&n);
    assert_int_equal(list.num, 1);
    assert_true(list.due[0].cancels);
    seen.account = ELSEWHERE;
    seen.native = "batch_there";
    seen.next_ms = 0;
    assert_int_equal(see(&n, &seen), STORE_SEEN_CHANGED);
    assert_false(claim(&n).due[0].cancels);
    assert_int_equal(count(w, "batch", "status = 'cancelling'"), 1);
}

/* One prober may have it twice, and two of one node may be at it during a reload. */
static void two_who_move_one_batch_begin_one_create(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    struct store_native of = at_first(1);
    enum store_move_end end;

    fail_late(&n, 1);
    assert_int_equal(claim(&n).num, 1);
    OK(w, store_batches_let_go(w->store, &n.by));
    assert_int_equal(claim(&n).num, 1);
    reserve_move(&n, NONCE);
    reserve_as(&n, "moved-2", OTHER_NONCE);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_TAKEN);
    assert_int_equal(begin_move(&n, 1, OTHER_NONCE), STORE_MOVE_STALE);
    OK(w, store_move_over(w->store, &n.by, &of, OTHER_NONCE, "its input file is gone", &end));
    assert_int_equal(end, STORE_MOVE_STALE);
    OK(w, store_move_over(w->store, &n.by, &of, NULL, "its input file is gone", &end));
    assert_int_equal(end, STORE_MOVE_STALE);
    OK(w, store_move_wait(w->store, &n.by, &of, OTHER_NONCE, 0, true, &end));
    assert_int_equal(end, STORE_MOVE_TAKEN); /* the claim alone */
    assert_true(claim(&n).due[0].doubt);
    assert_true(made(&n, NONCE, "batch_there"));
    assert_int_equal(count(w, "batch", "moves = 1"), 1);
}

static void what_was_not_made_may_be_made_again(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);

    fail_late(&n, 1);
    assert_int_equal(claim(&n).num, 1);
    reserve_move(&n, NONCE);
    assert_int_equal(begin_move(&n, 1, NONCE), STORE_MOVE_TAKEN);
    was_not_made(&n, NONCE);
    reserve_as(&n, "moved-2", OTHER_NONCE);
    assert_int_equal(begin_move(&n, 1, OTHER_NONCE), STORE_MOVE_TAKEN);
    assert_false(made(&n, NONCE, "batch_there"));
}

/* The keeper hears of the cancel while the create is under way, and nothing comes of that. */
static void a_cancel_behind_a_create_that_was_refused_ends_it(void **state)
{
    WORLD(w);
    struct node n = node_of(w->store, "a", 1);
    enum store_move_end end;

    for (unsigned i = 0; i < 3; i++) {
        struct store_native of = at_first(i + 1);
        const char *id = text_of("moved-%u", i), *nonce = text_of("nonce-%u", i);

        fail_late(&n, i + 1);
        assert_int_equal(claim(&n).num, 1);
        reserve_as(&n, id, nonce);
        assert_int_equal(begin_move(&n, i + 1, nonce), STORE_MOVE_TAKEN);
        OK(w, store_move_cancel(w->store, &n.by, &of, "{}", &end));
        assert_int_equal(end, STORE_MOVE_SENT);
        was_not_made(&n, nonce);
        if (i == 0) /* its prober says so, */
            OK(w, store_move_wait(w->store, &n.by, &of, nonce, 0, true, &end));
        else if (i == 1) /* gives it up */
            OK(w, store_move_over(w->store, &n.by, &of, nonce, "gone", &end));
        else /* or another one comes upon it */
            assert_int_equal(begin_move(&n, i + 1, OTHER_NONCE), STORE_MOVE_STALE);
        assert_int_equal(count(w, "batch", "status = 'cancelled' and shown = '{}'"), i + 1);
        assert_int_equal(count(w, "hook_event", "type = 'batch.cancelled'"), i + 1);
        assert_int_equal(count(w, "hook_event", "1 = 1"), i + 1);
        assert_int_equal(claim(&n).num, 0);
    }
}

#define BOTH(group)     group(set_up_sqlite), group(set_up_postgres)
#define T(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TESTS(s)                                                                                   \
    T(a_moved_batch_ends_once_and_is_billed_once, s),                                              \
        T(the_copy_that_it_failed_on_goes_where_files_go, s), T(a_copy_stays_where_files_stay, s), \
        T(whoever_reports_it_twice_changes_nothing, s), T(another_nodes_claim_moves_it_alone, s),  \
        T(a_create_in_doubt_is_handed_on, s), T(what_is_tried_in_vain_waits, s),                   \
        T(one_that_is_given_up_fails_as_it_failed, s),                                             \
        T(a_cancel_ends_it_at_once_and_nothing_is_created_after, s),                               \
        T(a_cancel_behind_the_create_reaches_the_new_one, s),                                      \
        T(two_who_move_one_batch_begin_one_create, s), T(what_was_not_made_may_be_made_again, s),  \
        T(a_cancel_behind_a_create_that_was_refused_ends_it, s)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store moves", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
