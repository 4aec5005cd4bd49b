/* Creates before they are sent, as the keeper serves it: on SQLite, with calls and a loop of the
 * test's own, so that it says what waits at one turn, and when the database is away. */
#include "intents_world.h"

/* --- a database that is looked at --- */

static struct {
    struct engine_ops ops;
    const struct engine_ops *of;
    const char *refused; /* a statement with this text is never taken; NULL: none */
    row_cb on_row;
    void *arg;
    unsigned rows;       /* of the statement */
    bool changed;        /* this transaction has changed a reservation ... */
    unsigned late_locks; /* ... and locked scopes after that: so often */
} spied;

static int count_row(void *arg, const struct row *row)
{
    (void)arg;
    spied.rows++;
    return spied.on_row != NULL ? spied.on_row(spied.arg, row) : 0;
}

static void note_statement(const char *sql)
{
    if (strncmp(sql, "begin", 5) == 0 || strncmp(sql, "commit", 6) == 0)
        spied.changed = false;
    else if (strncmp(sql, "update", 6) == 0 && strstr(sql, "reservation set") != NULL)
        spied.changed = spied.changed || spied.rows > 0;
    else if (strncmp(sql, "select", 6) == 0 && strstr(sql, "allowance where scope in") != NULL)
        spied.late_locks += spied.changed;
}

static int run_spied(struct engine *engine, const char *sql, const struct value *values, size_t num,
                     uint64_t until_ms, row_cb on_row, void *arg)
{
    int rc;

    for (size_t i = 0; i < num && spied.refused != NULL; i++)
        if (values[i].type == VALUE_TEXT && values[i].text != NULL &&
            strcmp(values[i].text, spied.refused) == 0)
            return engine_fail(engine, ERR_INVALID, engine->state, "it is refused");
    spied.on_row = on_row;
    spied.arg = arg;
    spied.rows = 0;
    rc = spied.of->run(engine, sql, values, num, until_ms, count_row, NULL);
    note_statement(sql);
    return rc;
}

static void spy(void)
{
    struct engine *engine = w.store->engine;

    memset(&spied, 0, sizeof(spied));
    spied.of = engine->ops;
    spied.ops = *engine->ops;
    spied.ops.run = run_spied;
    engine->ops = &spied.ops;
}

/* --- tests --- */

static void what_waits_at_a_turn_is_answered_together(void **state)
{
    struct asked_call *c[40];
    char ids[40][16];

    (void)state;
    for (size_t i = 0; i < 40; i++) {
        struct wire_intent intent;

        snprintf(ids[i], sizeof(ids[i]), "r%zu", i);
        intent = limited(ids[i], 10);
        c[i] = ask(&intent);
    }
    run_turn_of_loop();
    for (size_t i = 0; i < 40; i++) {
        struct wire_verdict verdict = verdict_of(c[i]);

        assert_int_equal(verdict.end, i < 10 ? WIRE_GRANTED : WIRE_FULL);
        assert_int_equal(verdict.local, 0);
        if (i >= 10)
            assert_true(verdict.scope == WIRE_KEY && verdict.by == WIRE_BY_TOKENS &&
                        verdict.used == 100 && verdict.limit == 100);
        else
            assert_true(verdict.epoch > 0);
    }
    assert_int_equal(held().batches, 10);
    assert_int_equal(load_relaxed(&shared.database.reserve_us) > 0, 1);
}

static void what_is_dropped_makes_room_for_what_asks_at_the_same_turn(void **state)
{
    struct wire_intent first = limited("r1", 100), second = limited("r2", 100);
    struct asked_call *c, *dropped, *live;

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    c = ask(&second);
    dropped = tell_drop("r1", WIRE_NOT_MADE);
    run_turn_of_loop();
    assert_int_equal(dropped->status, WIRE_TAKEN);
    assert_int_equal(verdict_of(c).end, WIRE_GRANTED);
    live = tell_live("r2", "n2");
    run_turn_of_loop();
    assert_int_equal(live->status, WIRE_TAKEN);
    (void)tell_drop("r2", WIRE_NOT_MADE); /* too late: it runs */
    run_turn_of_loop();
    assert_int_equal(held().tokens, 100);
}

/* Of a worker that has died (core/unsent.h): it may be asked for before or after that is known. */
static void what_a_dead_worker_had_not_sent_is_free_whenever_its_question_comes(void **state)
{
    struct wire_intent first = limited("r1", 100), second = limited("r2", 100);
    struct wire_intent late = limited("r3", 100);

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    assert_int_equal(end_of(&second), WIRE_FULL);
    assert_int_equal(intents_were_not_sent(intents, UNSENT_CREATE, "r1"), 0);
    assert_int_equal(intents_were_not_sent(intents, UNSENT_CREATE, "r1"),
                     0); /* another keeper's word */
    assert_int_equal(held().batches, 0);
    assert_int_equal(intents_were_not_sent(intents, UNSENT_CREATE, "r3"), 0);
    assert_int_equal(end_of(&late), WIRE_DOWN);
    assert_int_equal(held().batches, 0);
    second.id = second.nonce = "r4";
    assert_int_equal(end_of(&second), WIRE_GRANTED);
    (void)tell_live("r4", "n4");
    run_turn_of_loop();
    assert_int_equal(intents_were_not_sent(intents, UNSENT_CREATE, "r4"), 0); /* it runs */
    assert_int_equal(held().batches, 1);
}

static struct wire_intent upload_of(const char *claim)
{
    struct wire_intent intent = create_of("", 0);

    intent.kind = WIRE_UPLOAD;
    intent.claim = claim;
    intent.name = "k1";
    intent.request = 5;
    return intent;
}

/* An hour it was held, as if the dead worker's upload were on its way. */
static void the_key_of_an_upload_that_a_dead_worker_had_not_sent_is_free(void **state)
{
    struct wire_intent first = upload_of("c1"), second = upload_of("c2"), third = upload_of("c3");

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    assert_int_equal(end_of(&second), WIRE_RUNNING);
    assert_int_equal(intents_were_not_sent(intents, UNSENT_KEY, "c2"),
                     0); /* it never had the key */
    assert_int_equal(end_of(&third), WIRE_RUNNING);
    assert_int_equal(intents_were_not_sent(intents, UNSENT_KEY, "c1"), 0);
    assert_int_equal(end_of(&third), WIRE_GRANTED);
    assert_int_equal(intents_were_not_sent(intents, UNSENT_KEY, "c1"),
                     0); /* another keeper's word */
    assert_int_equal(end_of(&second), WIRE_RUNNING);
}

static void what_was_not_sent_waits_for_a_database_that_is_away(void **state)
{
    struct wire_intent first = limited("r1", 40), alone = limited("r2", 40);

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    intents_step(intents, now_ms); /* shares are renewed */
    take_database_away();
    assert_int_equal(end_of(&alone), WIRE_GRANTED);
    assert_int_not_equal(intents_were_not_sent(intents, UNSENT_CREATE, "r1"), 0);
    assert_int_not_equal(intents_were_not_sent(intents, UNSENT_CREATE, "r2"), 0);
    bring_database_back();
    assert_int_equal(intents_were_not_sent(intents, UNSENT_CREATE, "r1"), 0);
    assert_int_equal(intents_were_not_sent(intents, UNSENT_CREATE, "r2"),
                     0); /* behind what granted it */
    assert_int_equal(held().batches, 0);
}

static void a_batch_that_was_sent_uncounted_counts_from_then_on(void **state)
{
    (void)state;
    (void)tell_live("", "n1");
    run_turn_of_loop();
    assert_int_equal(held().tokens, 30);
    (void)tell_live("", "n1");
    run_turn_of_loop();
    assert_int_equal(held().batches, 1);
}

static void nobody_waits_behind_a_deadline(void **state)
{
    struct wire_intent intent = limited("r1", 100);
    struct asked_call *c = ask(&intent);

    (void)state;
    now_ms += 3000;
    run_turn_of_loop();
    assert_true(c->answered);
    assert_int_equal(held().batches, 0);
}

static void what_is_no_message_is_refused_and_keeps_nobody_from_anything(void **state)
{
    struct wire_intent intent = limited("r1", 100);
    struct strbuf junk = STRBUF_INIT;
    struct asked_call *bad[3], *good;

    (void)state;
    strbuf_adds(&junk, "no message at all");
    bad[0] = say(KEEPER_INTENT, &junk);
    bad[1] = say(KEEPER_LIVE, &junk);
    bad[2] = say(KEEPER_DROP, &junk);
    good = ask(&intent);
    run_turn_of_loop();
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(bad[i]->status, WIRE_UNREADABLE);
    assert_int_equal(verdict_of(good).end, WIRE_GRANTED);
    strbuf_deinit(&junk);
}

static void without_the_database_who_has_limits_lives_on_this_nodes_share(void **state)
{
    struct wire_intent known = limited("r1", 40), more = limited("r2", 60);
    struct wire_intent stranger = limited("r3", 1), free = create_of("r4", 500);

    (void)state;
    stranger.scopes[WIRE_KEY].name = 77; /* nobody asked for it before */
    assert_int_equal(end_of(&known), WIRE_GRANTED);
    intents_step(intents, now_ms); /* shares are renewed */
    take_database_away();
    assert_int_equal(end_of(&stranger), WIRE_DOWN);
    struct asked_call *c = ask(&more);
    run_turn_of_loop();
    assert_int_equal(verdict_of(c).end, WIRE_GRANTED);
    assert_int_equal(verdict_of(c).local, 1);
    more.id = more.nonce = "r5";
    more.tokens = 1;
    c = ask(&more);
    run_turn_of_loop();
    assert_int_equal(verdict_of(c).end, WIRE_DOWN);
    assert_int_equal(verdict_of(c).wait_ms, INTENTS_AWAY_MS);
    assert_int_equal(end_of(&free), WIRE_GRANTED); /* no limit, no share */
    assert_int_equal(load_relaxed(&shared.database.outage_grants), 2);
    assert_true(load_relaxed(&shared.database.spool_bytes) > 0);
    assert_int_equal(tell_live("r2", "n2")->answered, false);
    c = tell_drop("r4", WIRE_NOT_MADE);
    run_turn_of_loop();
    assert_int_equal(c->status, WIRE_TAKEN); /* it stands on the disk */
    bring_database_back();
    more.id = more.nonce = "r6";
    assert_int_equal(end_of(&more), WIRE_FULL); /* what was granted alone is counted before */
    assert_int_equal(held().tokens, 100);
    assert_int_equal(held().batches, 2);
    assert_int_equal(load_relaxed(&shared.database.spool_bytes), 0);
}

static void on_a_full_disk_nobody_with_limits_is_granted_anything_alone(void **state)
{
    struct wire_intent bound = limited("r1", 10), free = create_of("r2", 500);
    struct asked_call *told;

    (void)state;
    assert_int_equal(end_of(&bound), WIRE_GRANTED);
    intents_step(intents, now_ms);
    take_database_away();
    assert_int_equal(mkdir(outbox_path, 0700), 0); /* nothing can be written there */
    bound.id = bound.nonce = "r3";
    assert_int_equal(end_of(&bound), WIRE_DOWN);
    assert_int_equal(end_of(&free), WIRE_GRANTED); /* it has no limit that could be passed */
    told = tell_live("r2", "n2");
    run_turn_of_loop();
    assert_int_equal(told->status, WIRE_LATER); /* whoever told keeps it */
    bring_database_back();
    told = tell_live("r2", "n2");
    run_turn_of_loop();
    assert_int_equal(told->status, WIRE_TAKEN);
    assert_int_equal(held().tokens, 40); /* 30: as the batch itself says */
}

static void what_was_granted_alone_outlives_the_keeper(void **state)
{
    struct wire_intent free = create_of("r1", 500), later = create_of("r2", 1);

    (void)state;
    assert_int_equal(end_of(&later), WIRE_GRANTED);
    take_database_away();
    assert_int_equal(end_of(&free), WIRE_GRANTED);
    stop_keeper(); /* killed */
    start_keeper();
    intents->of.store = away;
    later.id = later.nonce = "r3";
    assert_int_equal(end_of(&later), WIRE_GRANTED);
    bring_database_back();
    now_ms += 1000;
    intents_step(intents, now_ms);
    assert_int_equal(held().tokens, 502);
    assert_int_equal(held().batches, 3);
}

/* --- the node --- */

static void other_nodes_tokens_are_put_into_the_ledger_each_second(void **state)
{
    struct wire_intent mine = limited("r1", 10);
    const struct quota_terms terms = {.fingerprint = 10, .limit = 1000};
    struct fleet_intent theirs = {.id = "x1", .tokens = 85};
    struct fleet_me other = {.node = "there:4000"};
    struct fleet_answer answer;
    struct quota_refusal refusal;
    struct quota_job job = {.tokens = 6, .scopes = {{11, 100, RIGHTS_UNLIMITED}}};
    struct quota_sum sum;

    (void)state;
    quota_bind(inherited.quota, 0, &terms);
    assert_int_equal(end_of(&mine), WIRE_GRANTED);
    OK(&w, store_fleet_join(w.store, 9, "", "", &other));
    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        theirs.scopes[i] =
            (struct fleet_scope){10 + i, RIGHTS_UNLIMITED, RIGHTS_UNLIMITED, INT64_MAX, 0};
    OK(&w, store_fleet_intents(w.store, &other, &theirs, 1, &answer));
    fleet_step(intents->of.fleet, now_ms);
    assert_int_equal(quota_scopes_fit(inherited.quota, &job, &refusal), ERR_LIMIT);
    assert_int_equal(refusal.used, 95); /* of all nodes: nothing is in this ledger */
    quota_read(inherited.quota, 0, now_ms, &sum);
    assert_int_equal(sum.elsewhere, 95);
    struct fleet_drop drop = {.of = {.id = "x1"}, .end = FLEET_NOT_MADE};
    OK(&w, store_fleet_drop(w.store, &other, &drop, 1));
    now_ms += 1000;
    fleet_step(intents->of.fleet, now_ms);
    assert_int_equal(quota_scopes_fit(inherited.quota, &job, &refusal), 0);
    quota_read(inherited.quota, 0, now_ms, &sum);
    assert_int_equal(sum.elsewhere, 10);
    world_do(&w, "update @allowance set used = used + 7");
    now_ms += FLEET_REPAIR_MS;
    fleet_step(intents->of.fleet, now_ms);
    assert_int_equal(load_relaxed(&shared.database.drift_tokens), 21); /* of three scopes */
}

/* A failover to a replica that had not heard of it. */
static void what_was_written_is_said_again_after_an_outage(void **state)
{
    struct wire_intent kept = create_of("r0", 7);
    struct wire_intent first = create_of("r1", 40), other = create_of("r2", 5);

    (void)state;
    assert_int_equal(end_of(&kept), WIRE_GRANTED);
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    (void)tell_live("r1", "n1");
    run_turn_of_loop();
    take_database_away();
    assert_int_equal(end_of(&other), WIRE_GRANTED);
    world_do(&w, "delete from @reservation where id <> 'r0'");
    world_do(&w, "update @allowance set used = 7, batches = 1");
    bring_database_back();
    now_ms += 1000;
    intents_step(intents, now_ms);
    intents_step(intents, now_ms);
    assert_int_equal(held().tokens, 52);
    assert_int_equal(held().batches, 3);
    assert_null(intents->again_from);
}

/* Others than creates met the outage: nothing that was asked here has failed. */
static void what_a_replica_lacks_is_said_again_though_no_create_met_the_outage(void **state)
{
    struct wire_intent kept = create_of("r0", 7), first = create_of("r1", 40);
    uint64_t gen;

    (void)state;
    assert_int_equal(end_of(&kept), WIRE_GRANTED);
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    (void)tell_live("r1", "n1");
    run_turn_of_loop();
    world_do(&w, "delete from @reservation where id <> 'r0'");
    world_do(&w, "update @allowance set used = 7, batches = 1");
    intents_step(intents, now_ms);
    assert_int_equal(held().tokens, 7); /* the same server: its rows are its own affair */
    w.store->engine->ops->disconnect(w.store->engine);
    w.store->open = false;
    assert_int_equal(store_generation(w.store, &gen), 0); /* who looks for keys connects again */
    now_ms += 1000;
    intents_step(intents, now_ms);
    intents_step(intents, now_ms);
    assert_int_equal(held().tokens, 47);
    assert_int_equal(held().batches, 2);
    assert_null(intents->again_from);
}

/* It waited on the disk, and was written to a server that then lost it. */
static void what_waited_for_the_database_is_said_again_too(void **state)
{
    struct wire_intent first = create_of("r1", 40);
    uint64_t gen;

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    take_database_away();
    (void)tell_drop("r1", WIRE_NOT_MADE);
    run_turn_of_loop();
    bring_database_back();
    now_ms += 1000;
    intents_step(intents, now_ms);
    assert_int_equal(held().tokens, 0);
    world_do(&w, "update @reservation set state = 0");
    world_do(&w, "update @allowance set used = 40, batches = 1");
    w.store->engine->ops->disconnect(w.store->engine);
    w.store->open = false;
    assert_int_equal(store_generation(w.store, &gen), 0);
    now_ms += 1000;
    intents_step(intents, now_ms);
    assert_int_equal(held().tokens, 0);
}

static void what_the_database_has_is_not_said_again(void **state)
{
    struct wire_intent first = create_of("r1", 40);

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    take_database_away();
    (void)tell_drop("r1", WIRE_NOT_MADE);
    run_turn_of_loop();
    bring_database_back();
    world_do(&w, "update @reservation set tokens = 41"); /* to be seen again */
    assert_int_equal(find_lost(intents), 0);
    assert_null(intents->again_from);
    intents_step(intents, now_ms);
    assert_int_equal(held().batches, 0);
}

/* @return the other keeper's store, which has the right to write; the caller frees it */
static struct store *follow_another_keeper(void)
{
    struct store_options server = {.server = true};
    char why[STORE_WHY_BYTES];
    struct store *before, *mine;

    assert_int_equal(store_new(w.url, &server, &before, why), 0);
    assert_int_equal(store_batch_begin(before), 0);
    assert_int_equal(store_batch_end(before), 0);
    assert_int_equal(store_new(w.url, &server, &mine, why), 0);
    intents->of.store = mine;
    return before;
}

static void leave_that_store(void)
{
    store_free(intents->of.store);
    intents->of.store = w.store;
}

/* Of the generation before, which ends in a moment: SQLite has one server that writes. */
static void another_keeper_that_still_has_the_file_is_waited_for(void **state)
{
    struct wire_intent intent = limited("r1", 40);
    struct store *before;
    struct asked_call *c;

    (void)state;
    assert_int_equal(end_of(&intent), WIRE_GRANTED);
    before = follow_another_keeper();
    intent.id = intent.nonce = "r2";
    c = ask(&intent);
    armed->cb(armed);
    assert_false(c->answered);
    store_free(before);
    run_turn_of_loop();
    assert_int_equal(verdict_of(c).end, WIRE_GRANTED);
    assert_int_equal(verdict_of(c).local, 0);
    leave_that_store();
}

/* A reload of a busy machine answered 503 after 1.5 s to whoever has limits. */
static void each_waits_for_the_file_as_long_as_its_own_asker(void **state)
{
    struct wire_intent known = limited("r1", 4), bound = limited("r2", 4),
                       free = create_of("r3", 4);
    struct store *before;
    struct asked_call *patient, *hasty;

    (void)state;
    assert_int_equal(end_of(&known), WIRE_GRANTED);
    before = follow_another_keeper();
    patient = ask(&bound);
    patient->call.deadline_ms = now_ms + 8000;
    hasty = ask(&free);
    armed->cb(armed);
    assert_false(patient->answered || hasty->answered);
    assert_int_equal(armed->due_ms, now_ms + LOCKED_GAP_MS);
    now_ms += 1600;
    armed->cb(armed);
    assert_int_equal(verdict_of(hasty).local, 1); /* it needs nobody */
    assert_false(patient->answered);
    now_ms += 5000;
    armed->cb(armed);
    assert_false(patient->answered);
    store_free(before);
    run_turn_of_loop();
    assert_int_equal(verdict_of(patient).end, WIRE_GRANTED);
    assert_int_equal(verdict_of(patient).local, 0);
    leave_that_store();
}

/* Up to 63 others stayed reserved with it. */
static void a_drop_that_is_never_taken_keeps_no_other_one(void **state)
{
    static const char *const ids[] = {"r1", "r2", "r3"};
    struct asked_call *c[3];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct wire_intent intent = create_of(ids[i], 10);

        assert_int_equal(end_of(&intent), WIRE_GRANTED);
    }
    spy();
    spied.refused = "r2";
    for (size_t i = 0; i < 3; i++)
        c[i] = tell_drop(ids[i], WIRE_NOT_MADE);
    run_turn_of_loop();
    assert_int_equal(c[0]->status, WIRE_TAKEN);
    assert_int_equal(c[1]->status, WIRE_UNREADABLE);
    assert_int_equal(c[2]->status, WIRE_TAKEN);
    assert_int_equal(held().batches, 1);
    assert_false(intents->told); /* the database is there */
}

/* An end of a batch locks scopes before rows: whoever does the opposite may wait for it for ever. */
static void scopes_are_not_locked_behind_the_row_of_another_live(void **state)
{
    struct wire_intent first = create_of("r1", 10), second = create_of("r2", 10);
    struct asked_call *c[4];

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    assert_int_equal(end_of(&second), WIRE_GRANTED);
    (void)tell_drop("r2", WIRE_NOT_MADE); /* that was wrong: it was made */
    run_turn_of_loop();
    assert_int_equal(held().batches, 1);
    spy();
    c[0] = tell_live("r1", "batch_1");
    c[1] = tell_live("r2", "batch_2");
    c[2] = tell_live("uncounted", "batch_3");
    c[3] = tell_live("r1", "batch_1");
    run_turn_of_loop();
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(c[i]->status, WIRE_TAKEN);
    assert_int_equal(held().batches, 3);
    assert_int_equal(spied.late_locks, 0);
}

/* The database goes away between those that were said together and the others. */
static void what_was_to_be_said_alone_waits_with_the_rest(void **state)
{
    struct wire_intent first = create_of("r1", 10);
    struct asked_call *c[2];

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    spy();
    c[0] = tell_live("uncounted", "batch_3");
    c[1] = tell_live("r1", "batch_1");
    w.store->engine->ops->disconnect(w.store->engine);
    w.store->open = false;
    w.store->retry_ms = UINT64_MAX; /* as if it could not be reached */
    run_turn_of_loop();
    assert_int_equal(c[0]->status, WIRE_TAKEN); /* both stand on the disk */
    assert_int_equal(c[1]->status, WIRE_TAKEN);
    assert_true(intents->told);
    w.store->retry_ms = 0;
    now_ms += 1000;
    intents_step(intents, now_ms);
    assert_int_equal(held().batches, 2);
}

static void a_node_whose_row_is_gone_joins_again(void **state)
{
    struct wire_intent first = create_of("r1", 40), second = create_of("r2", 5);

    (void)state;
    assert_int_equal(end_of(&first), WIRE_GRANTED);
    world_do(&w, "delete from @node");
    struct asked_call *c = ask(&second);
    run_turn_of_loop();
    assert_int_equal(verdict_of(c).end, WIRE_GRANTED);
    assert_int_equal(verdict_of(c).local, 0);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_waits_at_a_turn_is_answered_together),
        T(what_is_dropped_makes_room_for_what_asks_at_the_same_turn),
        T(what_a_dead_worker_had_not_sent_is_free_whenever_its_question_comes),
        T(the_key_of_an_upload_that_a_dead_worker_had_not_sent_is_free),
        T(what_was_not_sent_waits_for_a_database_that_is_away),
        T(a_batch_that_was_sent_uncounted_counts_from_then_on),
        T(nobody_waits_behind_a_deadline),
        T(what_is_no_message_is_refused_and_keeps_nobody_from_anything),
        T(without_the_database_who_has_limits_lives_on_this_nodes_share),
        T(on_a_full_disk_nobody_with_limits_is_granted_anything_alone),
        T(what_was_granted_alone_outlives_the_keeper),
        T(what_was_written_is_said_again_after_an_outage),
        T(what_a_replica_lacks_is_said_again_though_no_create_met_the_outage),
        T(what_waited_for_the_database_is_said_again_too),
        T(what_the_database_has_is_not_said_again),
        T(other_nodes_tokens_are_put_into_the_ledger_each_second),
        T(a_drop_that_is_never_taken_keeps_no_other_one),
        T(scopes_are_not_locked_behind_the_row_of_another_live),
        T(what_was_to_be_said_alone_waits_with_the_rest),
        T(another_keeper_that_still_has_the_file_is_waited_for),
        T(each_waits_for_the_file_as_long_as_its_own_asker),
        T(a_node_whose_row_is_gone_joins_again)};

    return cmocka_run_group_tests_name("intents", tests, NULL, NULL);
}
