/* Leases that are counted: the same tests on both engines. */
#include "fleet_world.h"

#define MINUTES 600000

/* --- two keepers that count leases --- */

static void count_leases(void)
{
    a.holder = "host-a:4000/1.7";
    b.holder = "host-b:4000/1.8";
}

static struct fleet_lease lease_of_key(uint64_t held_tokens)
{
    struct fleet_lease lease = {.kind = FLEET_KEY, .name = 0xd1};

    lease.held.tokens = held_tokens;
    return lease;
}

static uint64_t renewed(struct world *w, const struct fleet_me *me, uint64_t held)
{
    struct fleet_lease lease = lease_of_key(held);

    OK(w, store_fleet_lease(w->store, me, MINUTES, &lease, 1));
    return lease.tokens;
}

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

/* @return false: a busy machine did not answer in time */
static bool read_number(struct world *w, const char *sql, int64_t *number)
{
    *number = -1;
    return work_begin(w->store, WORK_READ) == 0 &&
           work_end(w->store, work_run(w->store, sql, NULL, 0, on_number, number)) == 0;
}

static int64_t number_of(struct world *w, const char *sql)
{
    int64_t number;

    if (!read_number(w, sql, &number))
        fail_msg("%s", store_why(w->store));
    return number;
}

/* What the row of a keeper has; -1: there is none. */
static int64_t row_of(struct world *w, const struct fleet_me *me)
{
    char sql[256];

    snprintf(sql, sizeof(sql), "select tokens from @lease where node = '%s' and scope like 'k:%%'",
             me->holder);
    return number_of(w, sql);
}

/* The key alone is limited. */
static struct fleet_intent create_for_key(const char *id, uint64_t tokens)
{
    struct fleet_intent intent = create_of(id, tokens);

    intent.scopes[FLEET_TEAM].tokens = intent.scopes[FLEET_DEPLOYMENT].tokens = RIGHTS_UNLIMITED;
    return intent;
}

static void ask_for_key(struct world *w, const struct fleet_me *me, const char *id, uint64_t tokens,
                        enum fleet_verdict verdict)
{
    struct fleet_intent intent = create_for_key(id, tokens);

    assert_int_equal(verdict_on(w, me, &intent), verdict);
}

static void put_alone(struct world *w, const struct fleet_me *me, const char *id, uint64_t tokens)
{
    struct fleet_intent intent = create_for_key(id, tokens);

    intent.of_lease = true;
    OK(w, store_fleet_put(w->store, me, &intent, 1));
}

/* --- what they grant --- */

static void a_grant_finds_room_beside_what_others_may_grant_alone(void **state)
{
    WORLD(w);
    struct fleet_intent first = create_for_key("r1", 200), second = create_for_key("r2", 500);
    struct fleet_answer answer;

    count_leases();
    ASK(w, &a, first, FLEET_GRANTED);
    assert_int_equal(renewed(w, &b, 0), 400); /* 800 free, two nodes */
    answer = ask(w, &a, &second);
    assert_int_equal(answer.verdict, FLEET_REFUSED);
    assert_int_equal(answer.by, FLEET_BY_TOKENS);
    assert_int_equal(answer.scope, FLEET_KEY);
    assert_int_equal(answer.used, 600);
    second.tokens = 400; /* to the last token */
    ASK(w, &a, second, FLEET_GRANTED);
    put_alone(w, &b, "r3", 400);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).tokens, LIMIT);
}

static void who_has_a_lease_grants_out_of_it_first(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_for_key("r1", 300), more = create_for_key("r2", 500);

    count_leases();
    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    assert_int_equal(renewed(w, &a, 0), 450);
    ASK(w, &a, intent, FLEET_GRANTED);
    assert_int_equal(row_of(w, &a), 150);
    ASK(w, &b, more, FLEET_REFUSED); /* 400 used, 150 leased */
    ASK(w, &a, more, FLEET_GRANTED); /* which are its own */
    assert_int_equal(row_of(w, &a), 0);
    ASK(w, &a, more, FLEET_GRANTED); /* the same again: nothing is taken twice */
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).tokens, 900);
}

static void leases_of_batches_and_of_money_are_counted_too(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_for_key("r1", 1);
    struct fleet_lease lease = lease_of_key(0);
    struct fleet_answer answer;

    count_leases();
    intent.nano = 10;
    intent.scopes[FLEET_KEY] = (struct fleet_scope){0xd1, RIGHTS_UNLIMITED, 5, 110, 0};
    ASK(w, &a, intent, FLEET_GRANTED);
    OK(w, store_fleet_lease(w->store, &b, MINUTES, &lease, 1));
    assert_true(lease.tokens == RIGHTS_UNLIMITED);
    assert_int_equal(lease.batches, 2);
    assert_int_equal(lease.nano, 50);
    intent.id = "r2";
    intent.nano = 51;
    answer = ask(w, &a, &intent);
    assert_int_equal(answer.by, FLEET_BY_BUDGET);
    assert_int_equal(answer.used, 60);
    intent.nano = 50;
    ASK(w, &a, intent, FLEET_GRANTED);
    intent.id = "r3";
    intent.nano = 0; /* what costs nothing is refused by no budget */
    ASK(w, &a, intent, FLEET_GRANTED);
    intent.id = "r4";
    answer = ask(w, &a, &intent);
    assert_int_equal(answer.by, FLEET_BY_BATCHES);
    assert_int_equal(answer.used, 5);
}

static void what_was_granted_alone_is_counted_once_when_it_arrives(void **state)
{
    WORLD(w);
    struct fleet_intent rest = create_for_key("r9", 100);
    struct fleet_intent unleased = create_for_key("r4", 50);

    count_leases();
    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    assert_int_equal(renewed(w, &b, 0), 450);
    put_alone(w, &b, "r1", 300);
    assert_int_equal(row_of(w, &b), 150);
    put_alone(w, &b, "r1", 300); /* said again */
    assert_int_equal(row_of(w, &b), 150);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).tokens, 400);
    /* 450 are free beside the lease, and no more */
    ask_for_key(w, &a, "r2", 350, FLEET_GRANTED);
    ASK(w, &a, rest, FLEET_GRANTED);
    ask_for_key(w, &a, "r3", 1, FLEET_REFUSED);
    /* What was sent without being taken out of it is not taken out of it afterwards */
    OK(w, store_fleet_put(w->store, &b, &unleased, 1));
    assert_int_equal(row_of(w, &b), 150);
}

/* --- renewals --- */

static void a_renewal_gives_back_what_it_had_and_takes_no_more_than_others_leave(void **state)
{
    WORLD(w);

    count_leases();
    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    assert_int_equal(renewed(w, &a, 0), 450);
    assert_int_equal(renewed(w, &b, 0), 450);
    assert_int_equal(renewed(w, &a, 450), 450);
    assert_int_equal(row_of(w, &a), 450);
    ask_for_key(w, &a, "r1", 400, FLEET_GRANTED);
    assert_int_equal(renewed(w, &a, 50), 50); /* b's 450 and 500 that are used leave no more */
    assert_int_equal(renewed(w, &b, 450), 250);
    assert_int_equal(row_of(w, &b), 450); /* until b says that it has heard */
    assert_int_equal(renewed(w, &b, 250), 250);
    assert_int_equal(row_of(w, &b), 250);
    assert_int_equal(renewed(w, &a, 50), 250);
}

static void an_answer_that_is_lost_leaves_a_row_as_large_as_what_its_holder_has(void **state)
{
    WORLD(w);

    count_leases();
    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    assert_int_equal(renewed(w, &b, 0), 450);
    ask_for_key(w, &a, "r1", 300, FLEET_GRANTED);
    (void)renewed(w, &b, 450); /* b does not hear that it has 300 */
    ask_for_key(w, &a, "r2", 151, FLEET_REFUSED);
    put_alone(w, &b, "r3", 450);
    assert_int_equal(row_of(w, &b), 0);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).tokens, 850);
}

static void a_scope_that_is_not_renewed_is_given_back(void **state)
{
    WORLD(w);
    struct fleet_lease lease = lease_of_key(0);

    count_leases();
    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    assert_int_equal(renewed(w, &a, 0), 450);
    assert_int_equal(renewed(w, &b, 0), 450);
    world_do(w, "update @lease set until = until - 1");
    OK(w, store_fleet_lease(w->store, &b, MINUTES, &lease, 1));
    OK(w, store_fleet_give_back(w->store, &b, lease.until_ms)); /* it is used */
    assert_int_equal(row_of(w, &b), 450);
    OK(w, store_fleet_give_back(w->store, &b, lease.until_ms + 1));
    assert_int_equal(row_of(w, &b), -1);
    assert_int_equal(row_of(w, &a), 450); /* another one's */
    ask_for_key(w, &a, "r1", 900, FLEET_GRANTED);
}

/* --- ends --- */

/* Its window is over just now. A busy machine may need longer than what it counts after that: then it
 * is tried again. */
static void await_refusal_after_the_window(struct world *w, struct fleet_intent *all)
{
    char sql[96], id[16];
    int64_t now, then;
    unsigned tries = 0;

    for (;;) {
        snprintf(id, sizeof(id), "t%u", tries++);
        all->id = id;
        OK(w, store_fleet_beat(w->store, &a, &now));
        snprintf(sql, sizeof(sql), "update @lease set until = %lld", (long long)now);
        world_do(w, sql);
        if (verdict_on(w, &a, all) == FLEET_REFUSED)
            break;
        OK(w, store_fleet_beat(w->store, &a, &then));
        assert_true(then - now >= FLEET_LEASE_SKEW_MS);
        drop(w, &a, id, NULL, FLEET_NOT_MADE);
    }
    all->id = "r1";
}

static void a_dead_nodes_lease_ends_after_its_window_and_a_little(void **state)
{
    WORLD(w);
    struct fleet_intent all = create_for_key("r1", 900);

    count_leases();
    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    assert_int_equal(renewed(w, &b, 0), 450);
    world_do(w, "update @node set seen = 0 where id = 'host-b:4000'"); /* it is dead */
    ASK(w, &a, all, FLEET_REFUSED);
    await_refusal_after_the_window(w, &all);
    world_do(w, "update @lease set until = until - 5000");
    ASK(w, &a, all, FLEET_GRANTED);
}

static void a_new_life_gives_back_what_the_one_before_had_and_no_other(void **state)
{
    WORLD(w);
    struct fleet_me again = {.node = b.node, .holder = "host-b:4000/1.9"};
    struct fleet_me third = {.node = "host-b:40001", .holder = "host-b:40001/1.9"};

    count_leases();
    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    OK(w, store_fleet_join(w->store, 5, "", "", &third));
    assert_int_equal(renewed(w, &b, 0), 300);
    assert_int_equal(renewed(w, &third, 0), 300);
    OK(w, store_fleet_join(w->store, 4, "", "", &again));
    assert_int_equal(store_fleet_give_back(w->store, &b, 0), ERR_NOT_FOUND); /* it is fenced */
    OK(w, store_fleet_give_back(w->store, &again, 0));
    assert_int_equal(row_of(w, &b), -1);
    assert_int_equal(row_of(w, &third), 300);
}

static void a_keeper_beside_another_one_of_its_node_has_a_lease_of_its_own(void **state)
{
    WORLD(w);
    struct fleet_me beside = b;

    count_leases();
    beside = b;
    beside.holder = "host-b:4000/2.8"; /* of the next generation */
    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    assert_int_equal(renewed(w, &b, 0), 450);
    assert_int_equal(renewed(w, &beside, 0), 450);
    assert_int_equal(renewed(w, &a, 0), 0);
    OK(w, store_fleet_give_back(w->store, &b, INT64_MAX));
    OK(w, store_fleet_give_back(w->store, &beside, 0)); /* of the same life: it may be in use */
    assert_int_equal(row_of(w, &beside), 450);
    assert_int_equal(renewed(w, &a, 0), 450);
}

/* --- nodes with different settings --- */

static void shares_that_are_not_counted_keep_nothing_back_and_count_nothing(void **state)
{
    WORLD(w);
    struct fleet_intent all = create_for_key("r1", 450);

    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    assert_int_equal(renewed(w, &b, 0), 450); /* as ever */
    a.holder = "host-a:4000/1.7";
    assert_int_equal(renewed(w, &a, 0), 450);
    ASK(w, &b, all, FLEET_GRANTED); /* without a look at a's */
    all.id = "r2";
    ASK(w, &b, all, FLEET_GRANTED);
    assert_int_equal(row_of(w, &a), 450);
    all.id = "r3";
    all.tokens = 1;
    ASK(w, &a, all, FLEET_REFUSED);
    assert_int_equal(renewed(w, &a, 450), 0);
}

/* --- repair --- */

static void a_repair_leaves_leases_that_live_and_takes_those_that_have_ended(void **state)
{
    WORLD(w);
    char behind[FLEET_ID] = "";
    uint64_t drift = 0;

    count_leases();
    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED);
    assert_int_equal(renewed(w, &a, 0), 450);
    assert_int_equal(renewed(w, &b, 0), 450);
    world_do(w, "update @lease set until = until - 605001 where node like 'host-b%'");
    world_do(w, "update @allowance set used = used + 5 where scope like 'k:%'");
    do
        OK(w, store_fleet_repair(w->store, behind, &drift));
    while (behind[0] != '\0');
    assert_int_equal(drift, 5); /* what is leased is none */
    assert_int_equal(row_of(w, &a), 450);
    assert_int_equal(row_of(w, &b), -1);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).tokens, 100);
    ask_for_key(w, &b, "r1", 451, FLEET_REFUSED);
    ask_for_key(w, &b, "r1", 450, FLEET_GRANTED);
}

/* --- a default of the database's --- */

/* What was leased while a grant waited for its scope has to be seen by it. */
static void a_transaction_sees_what_was_written_while_it_waited_whatever_the_default(void **state)
{
    WORLD(w);
    int64_t other = -1;

    if (w->cluster == NULL)
        skip(); /* one writes at a time */
    world_do(w, "alter database postgres set default_transaction_isolation = 'repeatable read'");
    store_free(w->store);
    w->store = world_open(w->url);
    OK(w, work_begin(w->store, WORK_WRITE));
    OK(w, work_end(w->store, work_run(w->store,
                                      "select case current_setting('transaction_isolation')"
                                      " when 'read committed' then 0 else 1 end",
                                      NULL, 0, on_number, &other)));
    world_do(w, "alter database postgres reset default_transaction_isolation");
    assert_int_equal(other, 0);
}

/* --- many at once --- */

/* A node of its own, as a keeper is: it renews, grants, is cut off for a while and grants alone, comes
 * back, ends some. Of what it grants alone it tells later, as of an outbox. */
static void hammer(const struct world *w, unsigned node)
{
    struct world own = {.store = world_open(w->url)};
    char name[16], holder[32], id[32];
    struct fleet_me me = {.node = name, .holder = holder};
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS, share = 0, granted = 0;
    unsigned seed = node + 1;

    snprintf(name, sizeof(name), "node-%u", node);
    snprintf(holder, sizeof(holder), "%s/1.1", name);
#define INSIST(call)                                                                               \
    while ((call) != 0)                                                                            \
        if (clock_now_ms() > until_ms)                                                             \
    _exit(2)
    INSIST(store_fleet_join(own.store, 100 + node, "", "", &me));
    for (unsigned round = 0; round < 3 * ROUNDS; round++) {
        struct fleet_intent intent = create_for_key(id, 10 + (uint64_t)rand_r(&seed) % 90);
        struct fleet_lease lease = lease_of_key(share);
        struct fleet_answer answer;
        struct fleet_drop drop = {.of = {.id = id}, .end = FLEET_NOT_MADE};

        snprintf(id, sizeof(id), "%u-%u", node, round);
        switch (rand_r(&seed) % 3) {
        case 0:
            INSIST(store_fleet_lease(own.store, &me, MINUTES, &lease, 1));
            share = lease.tokens;
            break;
        case 1:
            INSIST(store_fleet_intents(own.store, &me, &intent, 1, &answer));
            if (answer.verdict == FLEET_GRANTED)
                share = share > intent.tokens ? share - intent.tokens : 0;
            break;
        default:
            if (intent.tokens > share)
                break;
            share -= intent.tokens;
            granted += intent.tokens;
            intent.of_lease = true;
            INSIST(store_fleet_put(own.store, &me, &intent, 1));
        }
        if (granted > 0 && rand_r(&seed) % 4 == 0)
            INSIST(store_fleet_drop(own.store, &me, &drop, 1));
    }
    store_free(own.store);
    _exit(0);
}

static void many_nodes_that_grant_alone_never_pass_a_limit(void **state)
{
    WORLD(w);
    pid_t pids[HAMMERS];
    char behind[FLEET_ID] = "";
    uint64_t drift = 0;
    bool over = false, live = true;
    int64_t sum;

    ask_for_key(w, &a, "r0", 100, FLEET_GRANTED); /* the limit is known */
    for (unsigned i = 0; i < HAMMERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            hammer(w, i);
    }
    while (live) {
        live = false;
        for (unsigned i = 0; i < HAMMERS; i++) {
            int status = 0;
            pid_t pid = pids[i] > 0 ? waitpid(pids[i], &status, WNOHANG) : 0;

            live = live || (pids[i] > 0 && pid == 0);
            if (pid > 0)
                pids[i] = 0;
            assert_int_equal(status, 0);
        }
        if (read_number(w,
                        "select used + coalesce((select sum(tokens) from @lease"
                        " where scope like 'k:%'), 0) from @allowance where scope like 'k:%'",
                        &sum))
            over = over || sum > LIMIT;
        world_pause();
    }
    assert_false(over);
    do
        OK(w, store_fleet_repair(w->store, behind, &drift));
    while (behind[0] != '\0');
    assert_int_equal(drift, 0);
}

#define TESTS(s)                                                                                   \
    T(a_grant_finds_room_beside_what_others_may_grant_alone, s),                                   \
        T(who_has_a_lease_grants_out_of_it_first, s),                                              \
        T(leases_of_batches_and_of_money_are_counted_too, s),                                      \
        T(what_was_granted_alone_is_counted_once_when_it_arrives, s),                              \
        T(a_renewal_gives_back_what_it_had_and_takes_no_more_than_others_leave, s),                \
        T(an_answer_that_is_lost_leaves_a_row_as_large_as_what_its_holder_has, s),                 \
        T(a_scope_that_is_not_renewed_is_given_back, s),                                           \
        T(a_dead_nodes_lease_ends_after_its_window_and_a_little, s),                               \
        T(a_new_life_gives_back_what_the_one_before_had_and_no_other, s),                          \
        T(a_keeper_beside_another_one_of_its_node_has_a_lease_of_its_own, s),                      \
        T(shares_that_are_not_counted_keep_nothing_back_and_count_nothing, s),                     \
        T(a_repair_leaves_leases_that_live_and_takes_those_that_have_ended, s),                    \
        T(a_transaction_sees_what_was_written_while_it_waited_whatever_the_default, s),            \
        T(many_nodes_that_grant_alone_never_pass_a_limit, s)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store_fleet_leases", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
