/* What the nodes of a fleet share in the database: the same tests on both engines. */
#include "fleet_world.h"

/* ---- nodes ---- */

static void a_node_keeps_its_epoch_as_long_as_its_memory_lives(void **state)
{
    WORLD(w);
    struct fleet_me again = {.node = a.node};

    assert_true(a.epoch != b.epoch);
    OK(w, store_fleet_join(w->store, 1, "10.0.0.1:4000", "1.1", &again));
    assert_int_equal(again.epoch, a.epoch); /* the keeper alone was started again */
    OK(w, store_fleet_beat(w->store, &a, NULL));
    OK(w, store_fleet_join(w->store, 3, "10.0.0.1:4000", "1.1", &again));
    assert_true(again.epoch > b.epoch); /* one that no node ever had */
    assert_int_equal(store_fleet_beat(w->store, &a, NULL), ERR_NOT_FOUND);
    OK(w, store_fleet_beat(w->store, &again, NULL));
}

static void a_fenced_node_changes_nothing(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 10);
    struct fleet_me again = {.node = a.node};
    struct fleet_live found = {.of = {.id = "r1"}, .native = "n1"};
    struct fleet_drop gone = {.of = {.id = "r1"}, .end = FLEET_NOT_MADE};
    struct fleet_answer answer;
    struct fleet_lost lost;
    size_t num;

    ASK(w, &a, intent, FLEET_GRANTED);
    OK(w, store_fleet_join(w->store, 3, "", "", &again));
    intent.id = "r2";
    assert_int_equal(store_fleet_intents(w->store, &a, &intent, 1, &answer), ERR_NOT_FOUND);
    assert_int_equal(store_fleet_live(w->store, &a, &found, 1, NULL), ERR_NOT_FOUND);
    assert_int_equal(store_fleet_drop(w->store, &a, &gone, 1), ERR_NOT_FOUND);
    assert_int_equal(store_fleet_claim_lost(w->store, &a, &lost, 1, &num), ERR_NOT_FOUND);
    assert_held(w, 10, 1);
}

static void a_node_that_is_silent_is_dead(void **state)
{
    WORLD(w);
    struct fleet_node nodes[4];
    size_t num;
    int64_t now = 0;

    OK(w, store_fleet_beat(w->store, &a, &now));
    assert_true(now > 1600000000000);
    world_do(w, "update @node set seen = seen - 61000 where id = 'host-a:4000'");
    OK(w, store_fleet_nodes(w->store, nodes, 4, &num));
    assert_int_equal(num, 2);
    assert_string_equal(nodes[0].node, "host-a:4000");
    assert_string_equal(nodes[0].address, "10.0.0.1:4000");
    assert_int_equal(nodes[0].epoch, a.epoch);
    assert_false(nodes[0].live);
    assert_true(nodes[0].age_ms >= 61000);
    assert_true(nodes[1].live);
    OK(w, store_fleet_beat(w->store, &a, NULL)); /* nobody took its epoch: it was cut off */
    OK(w, store_fleet_nodes(w->store, nodes, 1, &num));
    assert_int_equal(num, 1);
    assert_true(nodes[0].live);
}

/* ---- reservations ---- */

static void all_scopes_of_a_create_are_counted_or_none(void **state)
{
    WORLD(w);
    struct fleet_intent first = create_of("r1", 600), second = create_of("r2", 500);
    struct fleet_answer answer;

    ASK(w, &a, first, FLEET_GRANTED);
    assert_held(w, 600, 1);
    second.scopes[FLEET_TEAM].name = 0xff; /* only there it would fit */
    answer = ask(w, &b, &second);
    assert_int_equal(answer.verdict, FLEET_REFUSED);
    assert_int_equal(answer.by, FLEET_BY_TOKENS);
    assert_int_equal(answer.scope, FLEET_KEY); /* who asks comes first */
    assert_int_equal(answer.used, 600);
    assert_int_equal(answer.limit, LIMIT);
    assert_int_equal(sum_of(w, FLEET_TEAM, 0xff).tokens, 0);
    assert_held(w, 600, 1);
    second.tokens = 400; /* to the last token */
    ASK(w, &b, second, FLEET_GRANTED);
    assert_int_equal(sum_of(w, FLEET_DEPLOYMENT, 0xd0).tokens, 1000);
    assert_int_equal(sum_of(w, FLEET_TEAM, 0xff).tokens, 400);
}

static void each_scope_refuses_in_its_own_words(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 10);
    struct fleet_answer answer;

    intent.scopes[FLEET_TEAM].batches = 1;
    intent.scopes[FLEET_KEY].nano = 100;
    intent.nano = 60;
    ASK(w, &a, intent, FLEET_GRANTED);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).held_nano, 60);
    intent.id = "r2";
    answer = ask(w, &a, &intent);
    assert_int_equal(answer.by, FLEET_BY_BUDGET);
    assert_int_equal(answer.scope, FLEET_KEY);
    assert_int_equal(answer.used, 60);
    assert_int_equal(answer.limit, 100);
    intent.nano = 40;
    answer = ask(w, &a, &intent);
    assert_int_equal(answer.verdict, FLEET_REFUSED);
    assert_int_equal(answer.by, FLEET_BY_BATCHES);
    assert_int_equal(answer.scope, FLEET_TEAM);
    assert_int_equal(answer.used, 1);
    intent.scopes[FLEET_TEAM].batches = intent.scopes[FLEET_TEAM].tokens = RIGHTS_UNLIMITED;
    intent.scopes[FLEET_DEPLOYMENT].tokens = 15;
    answer = ask(w, &a, &intent);
    assert_int_equal(answer.by, FLEET_BY_TOKENS);
    assert_int_equal(answer.scope, FLEET_DEPLOYMENT);
}

static void what_has_no_limit_is_counted_all_the_same(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 5000);

    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        intent.scopes[i].tokens = RIGHTS_UNLIMITED;
    intent.scopes[FLEET_KEY].name = intent.scopes[FLEET_TEAM].name = 0; /* the master key's */
    ASK(w, &a, intent, FLEET_GRANTED);
    assert_int_equal(sum_of(w, FLEET_DEPLOYMENT, 0xd0).tokens, 5000);
    intent.id = "r2";
    intent.scopes[FLEET_DEPLOYMENT].tokens = 5001; /* set later: it finds what runs */
    ASK(w, &a, intent, FLEET_REFUSED);
}

static void many_that_wait_together_get_what_is_there_and_no_more(void **state)
{
    WORLD(w);
    struct fleet_intent intents[FLEET_AT_ONCE];
    struct fleet_answer answers[FLEET_AT_ONCE];
    char ids[FLEET_AT_ONCE][16];

    for (size_t i = 0; i < FLEET_AT_ONCE; i++) {
        snprintf(ids[i], sizeof(ids[i]), "r%zu", i);
        intents[i] = create_of(ids[i], 30);
        intents[i].scopes[FLEET_TEAM].name = 0x100 + i; /* as many rows as there can be */
    }
    OK(w, store_fleet_intents(w->store, &a, intents, FLEET_AT_ONCE, answers));
    for (size_t i = 0; i < FLEET_AT_ONCE; i++)
        assert_int_equal(answers[i].verdict, i < LIMIT / 30 ? FLEET_GRANTED : FLEET_REFUSED);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).tokens, 990);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).batches, 33);
    assert_int_equal(sum_of(w, FLEET_TEAM, 0x100).tokens, 30);
    assert_int_equal(sum_of(w, FLEET_TEAM, 0x13f).tokens, 0);
}

/* A keeper that died may have carried it out: it is said to the next one again. */
static void the_same_intent_counts_once(void **state)
{
    WORLD(w);
    struct fleet_intent intents[2] = {create_of("r1", 600), create_of("r1", 600)};
    struct fleet_answer answers[2];

    OK(w, store_fleet_intents(w->store, &a, intents, 2, answers));
    assert_int_equal(answers[0].verdict, FLEET_GRANTED);
    assert_int_equal(answers[1].verdict, FLEET_GRANTED);
    ASK(w, &a, intents[0], FLEET_GRANTED);
    assert_held(w, 600, 1);
}

static void a_drop_gives_back_what_was_reserved_once(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 600), other = create_of("r2", 100);

    ASK(w, &a, intent, FLEET_GRANTED);
    ASK(w, &b, other, FLEET_GRANTED);
    drop(w, &a, "r1", NULL, FLEET_REFUSED_THERE);
    assert_held(w, 100, 1);
    drop(w, &a, "r1", NULL, FLEET_REFUSED_THERE);
    assert_held(w, 100, 1);
    ASK(w, &a, intent, FLEET_OVER); /* an id is good once */
    assert_held(w, 100, 1);
}

static void what_is_dropped_before_it_came_is_not_granted(void **state)
{
    WORLD(w);
    struct fleet_intent intent = keyed("r1", "c1", "k1");

    drop(w, &a, "r1", "c1", FLEET_NOT_MADE);
    ASK(w, &a, intent, FLEET_OVER);
    assert_held(w, 0, 0);
    intent = keyed("r2", "c2", "k1");
    ASK(w, &b, intent, FLEET_GRANTED); /* its key is nobody's */
}

static void a_batch_is_freed_by_its_end_and_by_nothing_else(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 600);
    struct fleet_live made = {.of = {.id = "r1"}, .batch = "batch-t", .native = "n1"};
    struct freed freed;

    intent.nano = 50;
    ASK(w, &a, intent, FLEET_GRANTED);
    live(w, &a, &made, false);
    drop(w, &a, "r1", NULL, FLEET_NOT_MADE); /* said too late */
    assert_held(w, 600, 1);
    freed = end_of(w, "n1", 45);
    assert_true(freed.there);
    assert_int_equal(freed.tokens, 600);
    assert_int_equal(freed.nano, 50);
    assert_int_equal(freed.key, 0xd1);
    assert_int_equal(freed.team, 0xd2);
    assert_held(w, 0, 0);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).held_nano, 0);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).spent_nano, 45);
    assert_int_equal(sum_of(w, FLEET_TEAM, 0xd2).spent_nano, 45);
    assert_false(end_of(w, "n1", 45).there); /* a second report changes nothing */
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).spent_nano, 45);
    live(w, &a, &made, false); /* and what has ended does not come back */
    assert_held(w, 0, 0);
}

static void a_refund_is_its_keys_and_its_teams_alone(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 600);
    struct fleet_live made = {.of = {.id = "r1"}, .native = "n1"};
    struct fleet_name name = {.native = "n1", .account = 5}, elsewhere = {.native = "n1"};
    uint64_t drift = 0;
    char behind[FLEET_ID] = "";

    intent.nano = 50;
    ASK(w, &a, intent, FLEET_GRANTED);
    live(w, &a, &made, false);
    OK(w, store_fleet_refund(w->store, &a, &elsewhere)); /* of another account: another batch */
    assert_held(w, 600, 1);
    OK(w, store_fleet_refund(w->store, &a, &name));
    OK(w, store_fleet_refund(w->store, &b, &name));
    assert_int_equal(sum_of(w, FLEET_DEPLOYMENT, 0xd0).tokens, 600);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).tokens, 0);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).batches, 0);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).held_nano, 50); /* what it costs shows at its end */
    OK(w, store_fleet_repair(w->store, behind, &drift));
    assert_int_equal(drift, 0);
    assert_true(end_of(w, "n1", 0).there);
    assert_held(w, 0, 0);
    assert_int_equal(sum_of(w, FLEET_TEAM, 0xd2).held_nano, 0);
}

static void a_budget_begins_anew_after_its_period(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 10);
    struct fleet_live made = {.of = {.id = "r1"}, .native = "n1"};

    intent.nano = 80;
    intent.scopes[FLEET_KEY].nano = 100;
    intent.scopes[FLEET_KEY].period_ms = 86400000;
    ASK(w, &a, intent, FLEET_GRANTED);
    live(w, &a, &made, false);
    assert_true(end_of(w, "n1", 90).there);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).spent_nano, 90);
    intent.id = "r2";
    ASK(w, &a, intent, FLEET_REFUSED);
    world_do(w, "update @allowance set reset = reset - 86400001 where scope like 'k:%'");
    ASK(w, &a, intent, FLEET_GRANTED);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).spent_nano, 0);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).held_nano, 80);
    made.of.id = "r2";
    made.native = "n2";
    live(w, &a, &made, false);
    world_do(w, "update @allowance set reset = reset - 86400001 where scope like 'k:%'");
    assert_true(end_of(w, "n2", 30).there); /* of the new period, although nobody created since */
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).spent_nano, 30);
    intent.id = "r3";
    ASK(w, &a, intent, FLEET_REFUSED);
}

/* ---- what nobody knows ---- */

static void an_unknown_create_counts_until_somebody_knows(void **state)
{
    WORLD(w);
    struct fleet_intent first = create_of("r1", 600), second = create_of("r2", 100);
    struct fleet_live found = {.of = {.nonce = "r1"}, .native = "n1"};
    struct fleet_drop absent = {.of = {.nonce = "r2"}, .end = FLEET_NOT_MADE};
    struct fleet_lost lost[2];
    size_t num;

    ASK(w, &a, first, FLEET_GRANTED);
    ASK(w, &a, second, FLEET_GRANTED);
    drop(w, &a, "r1", NULL, FLEET_NOT_KNOWN);
    drop(w, &a, "r2", NULL, FLEET_NOT_KNOWN);
    assert_held(w, 700, 2);
    OK(w, store_fleet_claim_lost(w->store, &b, lost, 2, &num));
    assert_int_equal(num, 0); /* whoever said so looks for them first */
    live(w, &b, &found, false);
    OK(w, store_fleet_drop(w->store, &b, &absent, 1));
    assert_held(w, 600, 1);
    assert_true(end_of(w, "n1", 0).there);
}

static void a_dead_nodes_creates_are_looked_for_by_one_other(void **state)
{
    WORLD(w);
    struct fleet_intent intent = keyed("r1", "c1", "k1");
    struct fleet_me again = {.node = a.node};
    struct fleet_lost lost[2];
    size_t num;

    ASK(w, &a, intent, FLEET_GRANTED);
    OK(w, store_fleet_claim_lost(w->store, &b, lost, 2, &num));
    assert_int_equal(num, 0); /* its node lives */
    OK(w, store_fleet_join(w->store, 3, "", "", &again));
    OK(w, store_fleet_claim_lost(w->store, &b, lost, 2, &num));
    assert_int_equal(num, 1);
    assert_string_equal(lost[0].id, "r1");
    assert_string_equal(lost[0].claim, "c1");
    assert_string_equal(lost[0].nonce, "r1");
    assert_int_equal(lost[0].account, 5);
    assert_int_equal(lost[0].deployment, 6);
    assert_int_equal(lost[0].key, 0xd1);
    assert_int_equal(lost[0].team, 0xd2);
    assert_int_equal(lost[0].tokens, 10);
    assert_int_equal(lost[0].tries, 0);
    assert_held(w, 10, 1); /* no reservation is freed by time */
    OK(w, store_fleet_claim_lost(w->store, &again, lost, 2, &num));
    assert_int_equal(num, 0); /* one looks at a time ... */
    world_do(w, "update @reservation set claim_until = claim_until - 61000");
    OK(w, store_fleet_claim_lost(w->store, &again, lost, 2, &num));
    assert_int_equal(num, 1); /* ... and when that one has died another one does */
    assert_int_equal(lost[0].tries, 1);
}

static void a_create_of_which_nobody_told_is_looked_for(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 10);
    struct fleet_lost lost;
    size_t num;

    ASK(w, &a, intent, FLEET_GRANTED);
    world_do(w, "update @reservation set created = created - 601000"); /* its worker was killed */
    OK(w, store_fleet_claim_lost(w->store, &b, &lost, 1, &num));
    assert_int_equal(num, 1);
}

static void a_batch_that_shows_itself_late_counts_again(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 600);
    struct fleet_live made = {.of = {.nonce = "r1"}, .native = "n1"};

    ASK(w, &a, intent, FLEET_GRANTED);
    drop(w, &a, "r1", NULL, FLEET_NOT_MADE); /* nobody saw it for a while */
    assert_held(w, 0, 0);
    live(w, &b, &made, false);
    assert_held(w, 600, 1);
    assert_true(end_of(w, "n1", 0).there);
    assert_held(w, 0, 0);
}

static void a_batch_that_two_nodes_told_of_leaves_nothing_behind(void **state)
{
    WORLD(w);
    struct fleet_intent first = create_of("r1", 600), second = create_of("r2", 300);
    struct fleet_live of_first = {.of = {.id = "r1"}, .native = "n1"};
    struct fleet_live of_second = {.of = {.id = "r2"}, .native = "n1"};
    struct fleet_name name = {.native = "n1", .account = first.account};

    ASK(w, &a, first, FLEET_GRANTED);
    ASK(w, &b, second, FLEET_GRANTED); /* seen by its marker before the other one was heard of */
    live(w, &b, &of_second, false);
    live(w, &a, &of_first, false);
    assert_held(w, 900, 2);
    OK(w, store_fleet_refund(w->store, &a, &name));
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).tokens, 0);
    assert_int_equal(sum_of(w, FLEET_DEPLOYMENT, 0xd0).tokens, 900);
    assert_true(end_of(w, "n1", 7).there);
    assert_held(w, 0, 0);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).spent_nano, 7); /* once */
}

static void a_reservation_is_found_by_its_token_on_its_own_node(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 600);
    struct fleet_drop gone = {.of = {.token = 77}, .end = FLEET_NOT_MADE};
    struct fleet_live nobodys = {.of = {.token = 78}, .native = "n1"};

    ASK(w, &a, intent, FLEET_GRANTED);
    OK(w, store_fleet_drop(w->store, &b, &gone, 1));
    assert_held(w, 600, 1);
    live(w, &a, &nobodys, true);
    OK(w, store_fleet_drop(w->store, &a, &gone, 1));
    assert_held(w, 0, 0);
}

/* ---- sums, and their repair ---- */

static void sums_that_changed_are_told(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 600);
    struct sums sums = {.num = 0};
    int64_t since = 0;

    ASK(w, &a, intent, FLEET_GRANTED);
    OK(w, store_fleet_sums(w->store, &since, on_sum, &sums));
    assert_int_equal(sums.num, 3);
    world_do(w, "update @allowance set changed = changed - 60000");
    sums.num = 0;
    OK(w, store_fleet_sums(w->store, &since, on_sum, &sums));
    assert_int_equal(sums.num, 0);
    drop(w, &a, "r1", NULL, FLEET_NOT_MADE);
    OK(w, store_fleet_sums(w->store, &since, on_sum, &sums));
    assert_int_equal(sums.num, 3); /* also what is nothing by now */
    assert_int_equal(sums.of[0].tokens, 0);
    world_do(w, "insert into @allowance(scope, used) values('z:1', 5)");
    sums.num = 0;
    since = 0;
    OK(w, store_fleet_sums(w->store, &since, on_sum, &sums));
    assert_int_equal(sums.num, 0); /* a newer program's kind */
}

static void sums_that_are_wrong_are_put_right_and_told_of(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 600);
    char behind[FLEET_ID] = "";
    uint64_t drift = 0;

    intent.nano = 7;
    ASK(w, &a, intent, FLEET_GRANTED);
    OK(w, store_fleet_repair(w->store, behind, &drift));
    assert_int_equal(drift, 0);
    assert_string_not_equal(behind, "");
    OK(w, store_fleet_repair(w->store, behind, &drift));
    assert_string_equal(behind, ""); /* all were looked at */
    world_do(w, "update @allowance set used = used + 5, batches = 9, held_nano = 1"
                " where scope like 'k:%'");
    world_do(w, "update @allowance set used = 500 where scope like 't:%'");
    OK(w, store_fleet_repair(w->store, behind, &drift));
    assert_int_equal(drift, 105);
    assert_held(w, 600, 1);
    assert_int_equal(sum_of(w, FLEET_KEY, 0xd1).held_nano, 7);
}

static void what_is_too_old_goes_in_slices(void **state)
{
    WORLD(w);
    struct fleet_intent kept = keyed("r1", "c1", "k1"), gone = keyed("r2", "c2", "k2");
    struct fleet_intent silent = create_of("r3", 50);
    bool more;

    ASK(w, &a, kept, FLEET_GRANTED);
    ASK(w, &a, gone, FLEET_GRANTED);
    ASK(w, &a, silent, FLEET_GRANTED);
    drop(w, &a, "r2", NULL, FLEET_NOT_MADE);
    world_do(w, "insert into @reservation(id, account, deployment, tokens, state, node, epoch,"
                " created, changed, expires) with recursive n(i) as (select 1 union all"
                " select i + 1 from n where i < 600) select 'old' || cast(i as text), 0, 0, 0, 2,"
                " 'n', 1, 0, 0, 0 from n");
    OK(w, store_fleet_tend(w->store, &more));
    assert_true(more);
    OK(w, store_fleet_tend(w->store, &more));
    assert_false(more);
    world_do(w, "update @reservation set expires = 1 where id = 'r3'");
    OK(w, store_fleet_tend(w->store, &more));
    assert_held(w, 10, 1); /* no batch of it can live any more: r1 alone is left */
    world_do(w, "update @node set seen = 1");
    OK(w, store_fleet_tend(w->store, &more));
    assert_int_equal(store_fleet_beat(w->store, &b, NULL), ERR_NOT_FOUND);
    OK(w, store_fleet_beat(w->store, &a, NULL)); /* of which something is still looked for */
}

/* ---- outages ---- */

static void shares_of_an_outage_are_what_is_free(void **state)
{
    WORLD(w);
    struct fleet_intent intent = create_of("r1", 600);
    struct fleet_lease leases[] = {{.kind = FLEET_KEY, .name = 0xd1},
                                   {.kind = FLEET_TEAM, .name = 0xd2},
                                   {.kind = FLEET_KEY, .name = 0x77}};

    intent.scopes[FLEET_TEAM].tokens = RIGHTS_UNLIMITED;
    intent.scopes[FLEET_TEAM].batches = 7;
    intent.scopes[FLEET_KEY].nano = 1000;
    intent.nano = 200;
    ASK(w, &a, intent, FLEET_GRANTED);
    OK(w, store_fleet_lease(w->store, &b, 600000, leases, 3));
    assert_int_equal(leases[0].tokens, 200); /* 400 free, two nodes */
    assert_true(leases[0].batches == RIGHTS_UNLIMITED);
    assert_int_equal(leases[0].nano, 400);
    assert_true(leases[1].tokens == RIGHTS_UNLIMITED);
    assert_int_equal(leases[1].batches, 3);
    assert_true(leases[2].tokens == RIGHTS_UNLIMITED); /* nobody has told a limit */
    world_do(w, "update @node set seen = 0 where id = 'host-a:4000'");
    OK(w, store_fleet_lease(w->store, &b, 600000, leases, 1));
    assert_int_equal(leases[0].tokens, 400);
}

static void what_was_granted_alone_is_put_down_once(void **state)
{
    WORLD(w);
    struct fleet_intent intents[2] = {create_of("r1", 900), create_of("r2", 900)};

    intents[1].claim = "c1";
    intents[1].key = "k1";
    OK(w, store_fleet_put(w->store, &a, intents, 2));
    assert_held(w, 1800, 2); /* it has happened, whatever the limit */
    OK(w, store_fleet_put(w->store, &a, intents, 2));
    assert_held(w, 1800, 2);
}

static void files_of_accounts_are_told_by_all_and_counted_by_one(void **state)
{
    WORLD(w);
    struct fleet_held held[2] = {{.account = 4000000000, .kind = 1, .files = 3},
                                 {.account = 7, .kind = 0, .counted = true, .files = 100}};

    OK(w, store_fleet_files(w->store, held, 2));
    assert_int_equal(held[0].account, 7);
    assert_int_equal(held[0].files, 100);
    assert_int_equal(held[1].files, -1); /* nobody has counted */
    held[0].counted = false;
    held[0].files = -3; /* another node's deletes */
    held[1] = (struct fleet_held){.account = 4000000000, .kind = 1, .counted = true, .files = 2};
    OK(w, store_fleet_files(w->store, held, 2));
    assert_int_equal(held[0].files, 97);
    assert_int_equal(held[1].files, 2);
    held[1].counted = false;
    held[1].files = -5;
    OK(w, store_fleet_files(w->store, &held[1], 1));
    assert_int_equal(held[1].files, 0);
}

/* ---- many at once ---- */

/* A node of its own: it reserves, ends, drops, always several at once, over two deployments and
 * teams in every order. Its last three rounds drop nothing, and would fill the key alone: whoever
 * drops last leaves it full. */
static void hammer(const struct world *w, unsigned node)
{
    struct world own = {.store = world_open(w->url)};
    char name[16], ids[4][24];
    struct fleet_me me = {.node = name};
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;

    snprintf(name, sizeof(name), "node-%u", node);
    while (store_fleet_join(own.store, 100 + node, "", "", &me) != 0)
        if (clock_now_ms() > until_ms)
            _exit(2);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct fleet_intent intents[4];
        struct fleet_answer answers[4];
        struct fleet_drop drops[4];

        for (unsigned i = 0; i < 4; i++) {
            snprintf(ids[i], sizeof(ids[i]), "%u-%u-%u", node, round, i);
            intents[i] = create_of(ids[i], 90);
            intents[i].scopes[FLEET_DEPLOYMENT].name = 0x10 + (node + i) % 2;
            intents[i].scopes[FLEET_TEAM].name = 0x20 + (node + round + i) % 3;
            drops[i] = (struct fleet_drop){.of = {.id = ids[i]}, .end = FLEET_NOT_MADE};
        }
        while (store_fleet_intents(own.store, &me, intents, 4, answers) != 0)
            if (clock_now_ms() > until_ms)
                _exit(3);
        while (store_fleet_drop(own.store, &me, drops, round < ROUNDS - 3 ? round % 3 : 0) != 0)
            if (clock_now_ms() > until_ms)
                _exit(4);
    }
    store_free(own.store);
    _exit(0);
}

static int on_two(void *arg, const struct row *row)
{
    int64_t *out = arg;

    out[0] = row_int(row, 0);
    out[1] = row_int(row, 1);
    return 0;
}

static void many_nodes_never_pass_a_limit_and_their_sums_are_true(void **state)
{
    WORLD(w);
    pid_t pids[HAMMERS];
    int64_t worst[2] = {0};
    char behind[FLEET_ID] = "";
    uint64_t drift = 0;

    for (unsigned i = 0; i < HAMMERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0)
            hammer(w, i);
    }
    for (unsigned i = 0; i < HAMMERS; i++) {
        int status;

        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    OK(w, work_begin(w->store, WORK_READ));
    OK(w, work_end(w->store, work_run(w->store, "select max(used), count(*) from @allowance", NULL,
                                      0, on_two, worst)));
    assert_true(worst[0] <= LIMIT && worst[0] > LIMIT - 90); /* full to the last one that fits */
    do
        OK(w, store_fleet_repair(w->store, behind, &drift));
    while (behind[0] != '\0');
    assert_int_equal(drift, 0);
}

#define TESTS(s)                                                                                   \
    T(a_node_keeps_its_epoch_as_long_as_its_memory_lives, s), T(a_fenced_node_changes_nothing, s), \
        T(a_node_that_is_silent_is_dead, s), T(all_scopes_of_a_create_are_counted_or_none, s),     \
        T(each_scope_refuses_in_its_own_words, s),                                                 \
        T(what_has_no_limit_is_counted_all_the_same, s),                                           \
        T(many_that_wait_together_get_what_is_there_and_no_more, s),                               \
        T(the_same_intent_counts_once, s), T(a_drop_gives_back_what_was_reserved_once, s),         \
        T(what_is_dropped_before_it_came_is_not_granted, s),                                       \
        T(a_batch_is_freed_by_its_end_and_by_nothing_else, s),                                     \
        T(a_refund_is_its_keys_and_its_teams_alone, s),                                            \
        T(a_budget_begins_anew_after_its_period, s),                                               \
        T(an_unknown_create_counts_until_somebody_knows, s),                                       \
        T(a_dead_nodes_creates_are_looked_for_by_one_other, s),                                    \
        T(a_create_of_which_nobody_told_is_looked_for, s),                                         \
        T(a_batch_that_two_nodes_told_of_leaves_nothing_behind, s),                                \
        T(a_batch_that_shows_itself_late_counts_again, s),                                         \
        T(a_reservation_is_found_by_its_token_on_its_own_node, s),                                 \
        T(sums_that_changed_are_told, s), T(sums_that_are_wrong_are_put_right_and_told_of, s),     \
        T(what_is_too_old_goes_in_slices, s), T(shares_of_an_outage_are_what_is_free, s),          \
        T(what_was_granted_alone_is_put_down_once, s),                                             \
        T(files_of_accounts_are_told_by_all_and_counted_by_one, s),                                \
        T(many_nodes_never_pass_a_limit_and_their_sums_are_true, s)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store_fleet", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
