/* quota: sums of keys and teams (scopes), one step after the other. At the same time, and with
 * deaths: test_quota_scopes_orders.c. */
#include "quota_scopes_world.h"

static void a_batch_counts_at_its_deployment_its_key_and_its_team_until_its_end(void **state)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, TEAM_1, 100);
    struct quota_claim claim = must_take(0, &job);

    (void)state;
    assert_int_equal(reserved(0), 60);
    assert_int_equal(in_scope(KEY_1), 60);
    assert_int_equal(in_scope(TEAM_1), 60);
    assert_int_equal(batches_of(TEAM_1), 1);
    assert_true(quota_sent(q, &claim));
    commit(&claim, "batch_1");
    assert_int_equal(in_scope(KEY_1), 60);
    assert_true(release(0, "batch_1", QUOTA_FINISHED, NOW + HOUR));
    assert_int_equal(reserved(0) + in_scope(KEY_1) + in_scope(TEAM_1), 0);
    assert_int_equal(batches_of(KEY_1) + batches_of(TEAM_1), 0);
}

static void whoever_has_no_room_is_named_and_nobody_counts_it(void **state)
{
    struct quota_claim claim;
    struct quota_job job = job_of(41, 0, KEY_1, 100, TEAM_1, 70);

    (void)state;
    must_run(0, &(struct quota_job){.tokens = 30, .scopes = {{KEY_1, 100, NONE}}}, "batch_1");
    must_run(1,
             &(struct quota_job){.tokens = 30, .scopes = {{KEY_2, 100, NONE}, {TEAM_1, 70, NONE}}},
             "batch_2");
    assert_int_equal(try_job(1, 2, &job, &claim), ERR_LIMIT);
    assert_int_equal(claim.entry, 0);
    assert_true(refusal.by == QUOTA_BY_TOKENS && refusal.scope == QUOTA_TEAM);
    assert_true(refusal.used == 30 && refusal.limit == 70);
    job.scopes[QUOTA_KEY].tokens = 70;
    assert_int_equal(try_job(1, 2, &job, &claim), ERR_LIMIT);
    assert_true(refusal.by == QUOTA_BY_TOKENS && refusal.scope == QUOTA_KEY);
    job = job_of(71, 0, KEY_1, NONE, TEAM_1, NONE);
    assert_int_equal(try_job(1, 1, &job, &claim), ERR_LIMIT); /* the deployment takes 100 */
    assert_true(refusal.by == QUOTA_BY_DEPLOYMENT);
    assert_int_equal(reserved(0) + reserved(1) + reserved(2), 60);
    assert_int_equal(in_scope(KEY_1), 30);
    assert_int_equal(in_scope(TEAM_1), 30);
    assert_int_equal(num_in(QUOTA_RESERVED) + num_in(QUOTA_RESERVING), 0);
    check_scopes_add_up();
}

static void open_batches_are_counted_whatever_their_tokens(void **state)
{
    struct quota_job job = {.tokens = 1, .scopes = {{KEY_1, NONE, 2}, {TEAM_1, NONE, 3}}};
    struct quota_claim claim;

    (void)state;
    must_run(0, &job, "batch_1");
    must_run(1, &job, "batch_2");
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT);
    assert_true(refusal.by == QUOTA_BY_BATCHES && refusal.scope == QUOTA_KEY);
    assert_true(refusal.used == 2 && refusal.limit == 2);
    job.scopes[QUOTA_KEY].name = KEY_2;
    must_run(0, &job, "batch_3");
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT);
    assert_true(refusal.by == QUOTA_BY_BATCHES && refusal.scope == QUOTA_TEAM);
    assert_true(release(1, "batch_2", QUOTA_DROPPED, NOW));
    assert_int_equal(try_job(1, 0, &job, &claim), 0);
    job.scopes[QUOTA_TEAM].batches = 0;
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT);
}

static void a_limit_that_is_set_later_finds_counted_what_runs(void **state)
{
    struct quota_job job = job_of(60, 0, KEY_1, NONE, 0, NONE);
    struct quota_claim claim;

    (void)state;
    must_run(0, &job, "batch_1");
    job.scopes[QUOTA_KEY].tokens = 100;
    assert_int_equal(try_job(1, 1, &job, &claim), ERR_LIMIT);
    assert_true(refusal.used == 60);
}

static void who_has_no_key_of_his_own_counts_nowhere_else(void **state)
{
    (void)state;
    must_run(0, &(struct quota_job){.tokens = 60}, "batch_1");
    assert_int_equal(load_relaxed(&q->shared.named), 0);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
}

static void where_nothing_is_balanced_only_scopes_bound_a_job(void **state)
{
    struct quota_job job = job_of(160, 0, KEY_1, 200, 0, NONE);
    struct quota_claim claim;

    (void)state;
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT);
    assert_true(refusal.by == QUOTA_BY_DEPLOYMENT);
    job.anyway = true;
    must_run(0, &job, "batch_1");
    assert_int_equal(reserved(0), 160);
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT);
    assert_true(refusal.by == QUOTA_BY_TOKENS);
}

static void all_that_hold_something_are_marked_here_or_elsewhere(void **state)
{
    struct quota_marks marks = {{0}};
    uint32_t cursor = 0;

    (void)state;
    assert_false(quota_mark_scopes(q, &cursor, 1, &marks)); /* no scope ever had anything */
    must_run(
        0, &(struct quota_job){.tokens = 60, .scopes = {{KEY_1, NONE, NONE}, {TEAM_1, NONE, NONE}}},
        "batch_1");
    must_run(1, &(struct quota_job){.tokens = 60, .scopes = {{KEY_2, NONE, NONE}}}, "batch_2");
    assert_true(release(1, "batch_2", QUOTA_FINISHED, NOW + HOUR));
    quota_set_scope_total(q, 0, 7, 10, 1, 1); /* at another gateway */
    while (quota_mark_scopes(q, &cursor, 3, &marks))
        assert_true(cursor % 3 == 0);
    assert_true(quota_is_marked(&marks, KEY_1) && quota_is_marked(&marks, TEAM_1));
    assert_true(quota_is_marked(&marks, 7));
    assert_false(quota_is_marked(&marks, KEY_2));
    assert_false(quota_is_marked(&marks, 8));
}

static void whether_a_job_fits_is_told_without_counting_it(void **state)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, TEAM_1, 100);

    (void)state;
    assert_int_equal(quota_scopes_fit(q, &job, &refusal), 0);
    must_run(0, &job, "batch_1");
    assert_int_equal(quota_scopes_fit(q, &job, &refusal), ERR_LIMIT);
    assert_true(refusal.by == QUOTA_BY_TOKENS && refusal.scope == QUOTA_KEY);
    assert_int_equal(in_scope(KEY_1), 60);
}

/* --- every way out --- */

static void check_gone(void)
{
    assert_int_equal(reserved(0) + in_scope(KEY_1) + in_scope(TEAM_1), 0);
    assert_int_equal(batches_of(KEY_1) + batches_of(TEAM_1), 0);
    assert_int_equal(num_in(QUOTA_FREE), load_relaxed(&q->shared.high));
}

static void check_counted(void)
{
    assert_int_equal(reserved(0), 60);
    assert_int_equal(in_scope(KEY_1), 60);
    assert_int_equal(batches_of(TEAM_1), 1);
}

static void every_way_out_leaves_deployment_key_and_team_together(void **state)
{
    struct quota_job job = job_of(60, TOKEN, KEY_1, 100, TEAM_1, 100);
    struct quota_view view;
    struct quota_claim claim;
    uint32_t cursor = 0;

    (void)state;
    claim = must_take(0, &job);
    quota_cancel(q, 1, &claim, NOW);
    check_gone();
    claim = must_take(0, &job);
    assert_int_equal(quota_undo_holder(q, 1, NOW).freed, 1);
    check_gone();
    claim = must_take(0, &job);
    assert_true(quota_sent(q, &claim));
    quota_refused(q, &claim);
    check_counted();
    assert_true(quota_sent(q, &claim));
    quota_abandon(q, &claim, NOW);
    check_counted(); /* nobody knows whether it runs */
    assert_true(quota_release_token(q, 2, TOKEN, NOW));
    check_gone();
    claim = must_take(0, &job);
    assert_true(quota_sent(q, &claim));
    assert_int_equal(quota_undo_holder(q, 1, NOW).orphans, 1);
    check_counted();
    assert_int_equal(quota_expire(q, 1, NOW + QUOTA_ORPHAN_KEEP_MS).orphans, 1);
    check_gone();
    must_run(0, &job, "batch_1");
    assert_true(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_true(quota_release_view(q, 2, &view, NOW));
    check_gone();
    must_run(0, &job, "batch_2");
    bind_column(0, 555, 100); /* another deployment has its column now */
    check_gone();
    must_run(0, &job, "batch_3");
    quota_alias(q, 0, 1, 0); /* it was the same as another one all the time */
    check_gone();
}

static void what_counts_under_another_name_of_its_column_counts_in_its_scopes(void **state)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, TEAM_1, 100);

    (void)state;
    quota_alias(q, 1, 0, 0);
    must_run(1, &job, "batch_1");
    check_counted();
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    check_gone();
}

static void an_orphan_that_is_found_is_counted_once_in_its_scopes(void **state)
{
    struct quota_job job = job_of(60, TOKEN, KEY_1, 100, TEAM_1, 100);
    struct quota_claim claim = must_take(0, &job);

    (void)state;
    assert_true(quota_sent(q, &claim));
    quota_abandon(q, &claim, NOW);
    for (int i = 0; i < 2; i++)
        assert_int_equal(quota_adopt(q, 2, 0,
                                     &(struct quota_found){.id = "batch_1",
                                                           .len = 7,
                                                           .token = TOKEN,
                                                           .tokens = 60,
                                                           .scopes = {KEY_1, TEAM_1}},
                                     NOW),
                         0);
    check_counted();
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    check_gone();
}

static void after_a_restart_what_runs_counts_in_its_scopes_whatever_their_limits(void **state)
{
    struct quota_job job = job_of(1, 0, KEY_2, NONE, TEAM_1, 100);
    struct quota_claim claim;

    (void)state;
    for (int i = 0; i < 2; i++) {
        const char *id = i == 0 ? "batch_1" : "batch_2";

        assert_int_equal(
            quota_adopt(
                q, 2, (uint32_t)i,
                &(struct quota_found){.id = id, .len = 7, .tokens = 80, .scopes = {KEY_1, TEAM_1}},
                NOW),
            0);
    }
    assert_int_equal(in_scope(KEY_1), 160);
    assert_int_equal(try_job(1, 2, &job, &claim), ERR_LIMIT);
    assert_true(refusal.scope == QUOTA_TEAM && refusal.used == 160);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(try_job(1, 2, &job, &claim), 0);
}

static void a_refund_frees_the_scopes_and_not_the_deployment(void **state)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, TEAM_1, 100);

    (void)state;
    must_run(0, &job, "batch_1");
    assert_true(quota_refund(q, 1, 0, "batch_1", 7));
    assert_int_equal(reserved(0), 60);
    assert_int_equal(in_scope(KEY_1) + in_scope(TEAM_1), 0);
    assert_false(quota_refund(q, 1, 0, "batch_1", 7));
    assert_false(quota_refund(q, 1, 0, "batch_2", 7));
    must_run(1, &job, "batch_2");
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 0);
    assert_int_equal(in_scope(KEY_1), 60);
}

static void a_refund_that_somebody_died_in_is_finished(void **state)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, TEAM_1, 100);
    struct reservation *r = entry_at(q, 0);

    (void)state;
    must_run(0, &job, "batch_1");
    store_relaxed(&r->word, entry_word_in(load_relaxed(&r->word), QUOTA_REFUNDING, 9));
    assert_false(quota_repair(q, NULL));
    quota_undo_holder(q, 9, NOW);
    assert_true(quota_repair(q, NULL));
    assert_int_equal(in_scope(KEY_1) + in_scope(TEAM_1) + batches_of(TEAM_1), 0);
    assert_int_equal(reserved(0), 60);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
}

/* --- sums --- */

/* Of other gateways over one database, as its keeper tells once a second. */
static void what_a_scope_has_elsewhere_takes_room_here(void **state)
{
    struct quota_job job = job_of(30, 0, KEY_1, 100, TEAM_1, NONE);
    struct quota_claim claim;

    (void)state;
    must_run(0, &job, "batch_1");
    quota_set_scope_total(q, 5, KEY_1, 90, 3, 1); /* our 30 are among them */
    assert_int_equal(in_scope(KEY_1), 30);        /* which is ours alone */
    assert_int_equal(quota_scopes_fit(q, &job, &refusal), ERR_LIMIT);
    assert_int_equal(refusal.used, 90);
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT);
    job.tokens = 10;
    must_run(0, &job, "batch_2");
    job.tokens = 1;
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT);
    assert_int_equal(refusal.used, 100);
    quota_set_scope_total(q, 5, KEY_1, 100, 4, 1); /* the database has it as well by now */
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT);
    quota_set_scope_total(q, 5, KEY_1, 40, 2, 1); /* theirs have ended */
    must_run(0, &job, "batch_3");
    quota_set_scope_total(q, 5, KEY_1, 0, 0, 1); /* ours are not there yet */
    assert_int_equal(in_scope(KEY_1), 41);
    job.tokens = 59;
    must_run(0, &job, "batch_4");
}

static void batches_elsewhere_count_as_batches(void **state)
{
    struct quota_job job = job_of(1, 0, KEY_1, NONE, 0, NONE);
    struct quota_claim claim;

    (void)state;
    job.scopes[QUOTA_KEY].batches = 3;
    quota_set_scope_total(q, 5, KEY_1, 50, 2, 1); /* before anything of it was here */
    must_run(0, &job, "batch_1");
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT);
    assert_int_equal(refusal.by, QUOTA_BY_BATCHES);
    assert_int_equal(refusal.used, 3);
    assert_int_equal(batches_of(KEY_1), 1);
}

static void what_a_reading_did_not_have_is_nowhere_else(void **state)
{
    struct quota_job one = job_of(10, 0, KEY_1, 100, 0, NONE);
    struct quota_job two = job_of(10, 0, KEY_2, 100, 0, NONE);
    struct quota_claim claim;

    (void)state;
    quota_set_scope_total(q, 5, KEY_1, 95, 1, 1);
    quota_set_scope_total(q, 5, KEY_2, 95, 1, 1);
    quota_set_scope_total(q, 5, KEY_2, 95, 1, 2);
    quota_drop_scope_totals(q, 2);
    must_run(0, &one, "batch_1");
    assert_int_equal(try_job(1, 0, &two, &claim), ERR_LIMIT);
    quota_forget_totals(q); /* there is no database any more */
    must_run(0, &two, "batch_2");
}

static void a_row_that_another_scope_gets_has_nothing_elsewhere(void **state)
{
    struct quota_claim claim;
    uint64_t name = 1000;

    (void)state;
    for (uint32_t i = 0; i < q->num_scopes * 4; i++) /* of others alone: all rows are named */
        quota_set_scope_total(q, 5, name + i, 99, 1, 1);
    for (uint32_t i = 0; i < 64; i++) {
        struct quota_job job = job_of(50, 0, 900000 + i, 100, 0, NONE);

        if (try_job(1, 0, &job, &claim) == 0)
            quota_cancel(q, 1, &claim, NOW);
        else
            assert_int_equal(refusal.by, QUOTA_BY_TABLE); /* never for what another scope has */
    }
}

static void a_repair_makes_the_sums_of_scopes_those_of_the_table(void **state)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, TEAM_1, 100);

    (void)state;
    must_run(0, &job, "batch_1");
    for (uint32_t row = 0; row < q->num_scopes; row++) {
        if (load_relaxed(name_at(q, row)) == 0)
            continue;
        row_at(q, row)->tokens += 5;
        row_at(q, row)->batches += 2;
    }
    assert_int_equal(in_scope(KEY_1), 65);
    assert_true(quota_repair(q, NULL));
    check_counted();
    check_scopes_add_up();
}

static void sums_and_refusals_are_told(void **state)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, TEAM_1, 100);
    struct quota_scope_totals totals;
    struct quota_claim claim;

    (void)state;
    quota_scope_totals(q, &totals);
    assert_int_equal(totals.scopes, 0);
    must_run(0, &job, "batch_1");
    assert_int_equal(try_job(1, 1, &job, &claim), ERR_LIMIT);
    job.scopes[QUOTA_KEY].name = 0;
    assert_int_equal(try_job(1, 1, &job, &claim), ERR_LIMIT);
    job.scopes[QUOTA_TEAM] = (struct quota_scope){TEAM_1, NONE, 1};
    assert_int_equal(try_job(1, 1, &job, &claim), ERR_LIMIT);
    job.scopes[QUOTA_TEAM].name = 0;
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_LIMIT); /* the deployment is nobody's limit */
    quota_scope_totals(q, &totals);
    assert_int_equal(totals.scopes, 2);
    assert_int_equal(totals.refused_tokens[QUOTA_KEY], 1);
    assert_int_equal(totals.refused_tokens[QUOTA_TEAM], 1);
    assert_int_equal(totals.refused_batches[QUOTA_TEAM], 1);
    assert_int_equal(totals.refused_batches[QUOTA_KEY], 0);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    quota_scope_totals(q, &totals);
    assert_int_equal(totals.scopes, 0);
}

/* --- room for scopes --- */

/* One bucket of eight rows. */
static void make_small(void)
{
    q->num_scopes = SCOPE_BUCKET;
}

static void a_scope_without_a_place_is_refused_when_it_has_a_limit(void **state)
{
    struct quota_scope_totals totals;
    struct quota_claim claim;
    struct quota_job job;
    char id[16];

    (void)state;
    make_small();
    for (uint64_t i = 1; i <= 8; i++) {
        snprintf(id, sizeof(id), "batch_%u", (unsigned)i);
        job = job_of(1, 0, i, 100, 0, NONE);
        must_run(0, &job, id);
    }
    job = job_of(1, 0, 9, 100, 0, NONE);
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_FULL);
    assert_true(refusal.by == QUOTA_BY_TABLE && refusal.scope == QUOTA_KEY);
    assert_int_equal(reserved(0), 8);
    job.scopes[QUOTA_KEY].tokens = NONE;
    must_run(0, &job, "batch_9");
    assert_int_equal(reserved(0), 9);
    quota_scope_totals(q, &totals);
    assert_int_equal(totals.unscoped, 1);
    assert_true(release(0, "batch_9", QUOTA_DROPPED, NOW));
    assert_true(release(0, "batch_3", QUOTA_DROPPED, NOW));
    job.scopes[QUOTA_KEY].tokens = 100; /* whose row is idle now */
    must_run(0, &job, "batch_10");
    assert_int_equal(in_scope(9), 1);
    assert_int_equal(in_scope(3), 0);
    check_scopes_add_up();
}

static void rows_of_scopes_with_nothing_enqueued_are_used_again(void **state)
{
    struct quota_job job;

    (void)state;
    make_small();
    for (uint64_t i = 1; i <= 1000; i++) {
        job = job_of(1, 0, i, 100, i + 5000, 100);
        must_run(0, &job, "batch_1");
        assert_int_equal(in_scope(i) + in_scope(i + 5000), 2);
        assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
        assert_true(quota_repair(q, NULL));
    }
    check_scopes_add_up();
}

static void a_row_that_a_dead_process_closed_is_opened(void **state)
{
    struct quota_job job = job_of(1, 0, KEY_1, 100, 0, NONE);
    struct quota_claim claim;

    (void)state;
    make_small();
    for (uint32_t row = 0; row < 8; row++) {
        store_relaxed(&q->shared.named, 1);
        store_relaxed(name_at(q, row), 77 + row);
        store_relaxed(&row_at(q, row)->batches, next_word(0, CLOSED, 30));
    }
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_FULL);
    quota_undo_holder(q, 29, NOW);
    assert_int_equal(try_job(1, 0, &job, &claim), ERR_FULL);
    quota_undo_holder(q, 30, NOW);
    assert_int_equal(try_job(1, 0, &job, &claim), 0);
    assert_true(quota_repair(q, NULL));
    check_scopes_add_up();
}

static void a_handed_over_ledger_whose_scopes_lead_out_of_it_is_refused(void **state)
{
    struct quota_job job = job_of(1, 0, KEY_1, 100, 0, NONE);
    struct quota *next;

    (void)state;
    must_run(0, &job, "batch_1");
    assert_int_equal(quota_adopt_region(dup(shm_fd(q)), 4, 64, &next), 0);
    quota_free(next);
    store_relaxed(&entry_at(q, 0)->scopes, (q->num_scopes + 1) << 32);
    assert_int_equal(quota_adopt_region(dup(shm_fd(q)), 4, 64, &next), ERR_INVALID);
    store_relaxed(&entry_at(q, 0)->scopes, 0);
}

/* --- when there will be room --- */

static void the_wait_is_what_the_scopes_part_of_the_drain_takes(void **state)
{
    struct quota_scope_sum sum = {.tokens = 100, .batches = 4, .drain_rate = 10, .around = 100};
    struct quota_refusal full = {QUOTA_BY_TOKENS, QUOTA_KEY, 100, 100};

    (void)state;
    assert_int_equal(quota_scope_wait_ms(&sum, &full, 50), 5000);
    sum.around = 400; /* others work there too */
    assert_int_equal(quota_scope_wait_ms(&sum, &full, 50), 20000);
    full = (struct quota_refusal){QUOTA_BY_BATCHES, QUOTA_KEY, 4, 4};
    sum.around = 100;
    assert_int_equal(quota_scope_wait_ms(&sum, &full, 50), 2500); /* one of four */
    full.used = 9; /* more than it may, as after a lower limit: all of them */
    assert_int_equal(quota_scope_wait_ms(&sum, &full, 50), 10000);
    sum = (struct quota_scope_sum){0};
    assert_int_equal(quota_scope_wait_ms(&sum, &full, 50), 1000);
    full = (struct quota_refusal){QUOTA_BY_TOKENS, QUOTA_KEY, QUOTA_MAX_TOKENS, 1};
    assert_int_equal(quota_scope_wait_ms(&sum, &full, 50), 86400000);
}

static void a_scope_tells_how_fast_the_deployments_are_where_it_runs(void **state)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, TEAM_1, 100);
    struct quota_scope_sum sum;

    (void)state;
    must_run(1, &job, "batch_1");
    must_run(1, &(struct quota_job){.tokens = 30}, "batch_2");
    assert_true(quota_read_scope(q, TEAM_1, NOW, &sum));
    assert_int_equal(sum.tokens, 60);
    assert_int_equal(sum.around, 90);
    assert_true(sum.drain_rate == sum_at(1, NOW).drain_rate);
    assert_false(quota_read_scope(q, KEY_2, NOW, &sum));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_batch_counts_at_its_deployment_its_key_and_its_team_until_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(whoever_has_no_room_is_named_and_nobody_counts_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(open_batches_are_counted_whatever_their_tokens, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_limit_that_is_set_later_finds_counted_what_runs, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(who_has_no_key_of_his_own_counts_nowhere_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(where_nothing_is_balanced_only_scopes_bound_a_job, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(whether_a_job_fits_is_told_without_counting_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_way_out_leaves_deployment_key_and_team_together,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            what_counts_under_another_name_of_its_column_counts_in_its_scopes, setup, teardown),
        cmocka_unit_test_setup_teardown(an_orphan_that_is_found_is_counted_once_in_its_scopes,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            after_a_restart_what_runs_counts_in_its_scopes_whatever_their_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refund_frees_the_scopes_and_not_the_deployment, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_refund_that_somebody_died_in_is_finished, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_repair_makes_the_sums_of_scopes_those_of_the_table, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_a_scope_has_elsewhere_takes_room_here, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(batches_elsewhere_count_as_batches, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_reading_did_not_have_is_nowhere_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_row_that_another_scope_gets_has_nothing_elsewhere, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sums_and_refusals_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(all_that_hold_something_are_marked_here_or_elsewhere, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_scope_without_a_place_is_refused_when_it_has_a_limit,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(rows_of_scopes_with_nothing_enqueued_are_used_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_row_that_a_dead_process_closed_is_opened, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_handed_over_ledger_whose_scopes_lead_out_of_it_is_refused,
                                        setup, teardown),
        cmocka_unit_test(the_wait_is_what_the_scopes_part_of_the_drain_takes),
        cmocka_unit_test_setup_teardown(a_scope_tells_how_fast_the_deployments_are_where_it_runs,
                                        setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
