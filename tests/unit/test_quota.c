/* quota: what fits where, what a reservation goes through, what a death leaves behind. What a
 * ledger learns is in test_quota_learn.c, the choice by it in test_quota_verdict.c, what happens at
 * the same time in test_quota_orders.c. */
#include "quota_world.h"

/* --- one after the other: reservations --- */

static void a_job_is_counted_from_its_reservation_to_its_end(void **state)
{
    struct quota_claim claim = must_reserve(0, 60, NOW);

    (void)state;
    assert_int_equal(reserved(0), 60);
    assert_int_equal(reserved(1), 0);
    commit(&claim, "batch_1");
    assert_int_equal(reserved(0), 60);
    assert_true(release(0, "batch_1", QUOTA_FINISHED, NOW + HOUR));
    assert_int_equal(reserved(0), 0);
    assert_false(release(0, "batch_1", QUOTA_FINISHED, NOW + HOUR));
}

static void a_job_that_does_not_fit_now_is_not_counted(void **state)
{
    struct quota_claim claim;

    (void)state;
    must_reserve(0, 60, NOW);
    assert_int_equal(try_reserve(0, 40, NOW), 0);
    assert_int_equal(quota_reserve(q, 1, 0, 1, 0, NOW, &claim), ERR_LIMIT);
    assert_int_equal(claim.entry, 0);
    assert_int_equal(try_reserve(1, 101, NOW), ERR_LIMIT);
    assert_int_equal(try_reserve(1, UINT64_MAX, NOW), ERR_LIMIT);
    assert_int_equal(reserved(0), 100);
    assert_int_equal(num_in(QUOTA_RESERVED), 2);
}

static void without_a_limit_everything_fits_but_what_cannot_be_counted(void **state)
{
    (void)state;
    bind_column(3, 9, 0);
    assert_int_equal(try_reserve(3, 1000 * M, NOW), 0);
    assert_int_equal(try_reserve(3, UINT64_MAX, NOW), 0);
    assert_int_equal(try_reserve(3, UINT64_MAX, NOW), ERR_LIMIT);
    assert_true(reserved(3) == 1000 * M + QUOTA_MAX_TOKENS);
}

static void a_refused_create_gives_its_tokens_back_once(void **state)
{
    struct quota_claim claim = must_reserve(0, 60, NOW);

    (void)state;
    must_reserve(0, 40, NOW);
    quota_cancel(q, 1, &claim, NOW);
    assert_int_equal(reserved(0), 40);
    quota_cancel(q, 1, &claim, NOW);
    assert_int_equal(reserved(0), 40);
    assert_int_equal(quota_commit(q, &claim, "batch_1", 7), ERR_NOT_FOUND);
    memset(&claim, 0, sizeof(claim));
    quota_cancel(q, 1, &claim, NOW);
    assert_int_equal(quota_commit(q, &claim, "batch_1", 7), ERR_NOT_FOUND);
}

static void an_old_claim_does_not_touch_who_came_after_it(void **state)
{
    struct quota_claim old = must_reserve(0, 60, NOW), new;

    (void)state;
    quota_cancel(q, 1, &old, NOW);
    new = must_reserve(0, 30, NOW);
    assert_int_equal(new.entry, old.entry);
    quota_cancel(q, 1, &old, NOW);
    assert_int_equal(quota_commit(q, &old, "batch_1", 7), ERR_NOT_FOUND);
    assert_int_equal(reserved(0), 30);
    commit(&new, "batch_2");
    assert_true(release(0, "batch_2", QUOTA_DROPPED, NOW));
}

static void the_same_id_on_two_deployments_is_two_batches(void **state)
{
    (void)state;
    must_live(0, 10, "batch_1", NOW);
    must_live(1, 20, "batch_1", NOW);
    assert_false(release(2, "batch_1", QUOTA_DROPPED, NOW));
    assert_true(release(1, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 10);
    assert_int_equal(reserved(1), 0);
}

static void a_marker_that_reads_like_an_id_is_none(void **state)
{
    (void)state;
    must_send(1, 60, quota_token(q, 0, "batch_1", 7));
    assert_int_equal(quota_undo_holder(q, 1, NOW).orphans, 1);
    assert_false(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 60);
    assert_true(quota_release_token(q, 1, quota_token(q, 0, "batch_1", 7), NOW));
}

static void a_full_table_says_so_and_a_freed_place_is_used_again(void **state)
{
    char id[16];

    (void)state;
    bind_column(0, 100, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++) {
            snprintf(id, sizeof(id), "batch_%d", i);
            must_live(0, 1, id, NOW);
        }
        assert_int_equal(try_reserve(0, 1, NOW), ERR_FULL);
        assert_int_equal(adopt(0, 0, "batch_other", 5, NOW), ERR_FULL);
        assert_int_equal(reserved(0), 64);
        for (int i = 63; i >= 0; i--) {
            snprintf(id, sizeof(id), "batch_%d", i);
            assert_true(release(0, id, QUOTA_DROPPED, NOW));
        }
        assert_int_equal(reserved(0), 0);
    }
}

/* Buckets overflow long before the table is full when all keys go to one. */
static void a_reservation_whose_bucket_is_full_is_found_all_the_same(void **state)
{
    uint64_t mask = q->bucket_mask;
    char id[16];

    (void)state;
    bind_column(0, 100, 0);
    q->bucket_mask = 0;
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof(id), "batch_%d", i);
        must_live(0, 1, id, NOW);
    }
    assert_true(q->shared.overflowed > 0);
    for (int i = 0; i < 20; i += 2) {
        snprintf(id, sizeof(id), "batch_%d", i);
        assert_true(release(0, id, QUOTA_DROPPED, NOW));
    }
    assert_true(quota_repair(q, NULL));
    assert_true(q->shared.overflowed > 0);
    for (int i = 1; i < 7; i += 2) {
        snprintf(id, sizeof(id), "batch_%d", i);
        assert_true(release(0, id, QUOTA_DROPPED, NOW));
    }
    assert_true(quota_repair(q, NULL));
    assert_true(q->shared.overflowed == 0);
    for (int i = 7; i < 20; i += 2) {
        snprintf(id, sizeof(id), "batch_%d", i);
        assert_true(release(0, id, QUOTA_DROPPED, NOW));
    }
    assert_int_equal(reserved(0), 0);
    q->bucket_mask = mask;
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
    struct quota *none = NULL;

    (void)state;
    assert_int_equal(quota_new(0, 1, &none), ERR_INVALID);
    assert_int_equal(quota_new(1, 0, &none), ERR_INVALID);
    assert_int_equal(quota_new(1, UINT32_MAX, &none), ERR_INVALID);
    assert_null(none);
    quota_free(NULL);
}

static void
a_known_deployment_keeps_its_ledger_over_reloads_and_another_one_starts_empty(void **state)
{
    (void)state;
    must_live(0, 60, "batch_1", NOW);
    must_live(1, 10, "batch_2", NOW);
    quota_learn_limit(q, 0, 80);
    bind_column(0, 100, 90);
    assert_int_equal(sum_at(0, NOW).limit, 80);
    assert_int_equal(reserved(0), 60);
    bind_column(0, 555, 90);
    assert_int_equal(sum_at(0, NOW).limit, 90);
    assert_int_equal(reserved(0), 0);
    assert_int_equal(reserved(1), 10);
    assert_false(release(0, "batch_1", QUOTA_DROPPED, NOW));
}

/* --- adopting --- */

static void after_a_restart_the_ledger_is_rebuilt_from_what_runs(void **state)
{
    (void)state;
    assert_int_equal(adopt(0, 0, "batch_1", 70, NOW), 0);
    assert_int_equal(adopt(0, 0, "batch_2", 70, NOW), 0); /* the provider took it: no limit */
    assert_int_equal(adopt(0, 0, "batch_1", 70, NOW), 0);
    assert_int_equal(reserved(0), 140);
    assert_int_equal(try_reserve(0, 1, NOW), ERR_LIMIT);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 70);
}

static void what_was_foreign_is_ours_once_it_is_adopted(void **state)
{
    (void)state;
    quota_learn_enqueued(q, 0, 90, NOW);
    assert_int_equal(sum_at(0, NOW).foreign, 90);
    assert_int_equal(adopt(0, 0, "batch_1", 70, NOW), 0);
    assert_int_equal(sum_at(0, NOW).foreign, 20);
    assert_int_equal(reserved(0), 70);
}

/* Over one database, as its keeper tells once a second. */
static void tokens_of_other_gateways_take_room_here(void **state)
{
    struct pick_candidate candidate = {0};
    struct quota_claim claim;

    (void)state;
    assert_int_equal(quota_reserve(q, 1, 0, 30, 0, NOW, &claim), 0);
    quota_set_total(q, 0, 80); /* our 30 are among them */
    assert_int_equal(sum_at(0, NOW).reserved, 30);
    assert_int_equal(sum_at(0, NOW).elsewhere, 50);
    quota_describe(q, 0, NOW, &candidate);
    assert_int_equal(candidate.enqueued, 80);
    commit(&claim, "batch_1");
    assert_int_equal(quota_reserve(q, 1, 0, 21, 0, NOW, &claim), ERR_LIMIT);
    assert_int_equal(quota_reserve(q, 1, 0, 20, 0, NOW, &claim), 0);
    quota_learn_enqueued(q, 0, 100, NOW); /* what the provider has is all gateways': no others */
    assert_int_equal(sum_at(0, NOW).foreign, 0);
    quota_learn_enqueued(q, 0, 110, NOW);
    assert_int_equal(sum_at(0, NOW).foreign, 10);
    quota_cancel(q, 1, &claim, NOW);
    quota_set_total(q, 0, 10); /* we know more than the database */
    assert_int_equal(sum_at(0, NOW).elsewhere, 0);
    quota_set_total(q, 0, UINT64_MAX);
    assert_int_equal(quota_reserve(q, 1, 0, 1, 0, NOW, &claim), ERR_LIMIT);
    quota_forget_totals(q);
    assert_int_equal(sum_at(0, NOW).elsewhere, 0);
}

static void a_create_in_flight_is_not_adopted_a_second_time(void **state)
{
    uint64_t token = quota_token(q, 0, "marker", 6);
    struct quota_claim claim;

    (void)state;
    assert_int_equal(quota_reserve(q, 1, 0, 60, token, NOW, &claim), 0);
    assert_int_equal(adopt(0, token, "batch_1", 60, NOW), 0);
    assert_int_equal(reserved(0), 60);
    commit(&claim, "batch_1");
    assert_int_equal(adopt(0, token, "batch_1", 60, NOW), 0);
    assert_int_equal(reserved(0), 60);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 0);
}

/* --- deaths --- */

static void a_create_in_flight_of_a_dead_worker_stays_counted_until_its_batch_is_found(void **state)
{
    uint64_t token = quota_token(q, 0, "marker", 6);
    struct quota_undone undone;
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    must_send(7, 60, token);
    must_reserve(0, 10, NOW);
    undone = quota_undo_holder(q, 7, NOW);
    assert_int_equal(undone.orphans, 1);
    assert_int_equal(undone.freed, 0);
    assert_int_equal(reserved(0), 70);
    assert_true(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_true(view.orphan);
    assert_true(view.token == token);
    assert_string_equal(view.id, "");
    assert_int_equal(view.tokens, 60);
    assert_false(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_true(
        quota_look(q, &cursor, 64, NOW + MINUTE, &view)); /* who only looks finds it all the same */
    assert_true(view.orphan);
    assert_int_equal(view.tokens, 60);
    assert_false(quota_look(q, &cursor, 64, NOW + MINUTE, &view));
    assert_int_equal(cursor, 0);
    assert_int_equal(adopt(0, token, "batch_1", 999, NOW), 0);
    assert_int_equal(reserved(0), 70);
    assert_int_equal(num_in(QUOTA_ORPHAN), 0);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 10);
}

static void an_orphan_that_never_became_a_batch_is_released_by_its_token(void **state)
{
    uint64_t token = quota_token(q, 0, "marker", 6);

    (void)state;
    must_send(7, 60, token);
    assert_false(quota_release_token(q, 1, token, NOW)); /* its holder is about to decide that */
    quota_undo_holder(q, 7, NOW);
    assert_false(quota_release_token(q, 1, 0, NOW));
    assert_true(quota_release_token(q, 1, token, NOW));
    assert_int_equal(reserved(0), 0);
}

static void a_create_that_was_never_sent_goes_with_its_worker(void **state)
{
    struct quota_undone undone;
    struct quota_view view;
    struct quota_claim claim;
    uint32_t cursor = 0;

    (void)state;
    assert_int_equal(quota_reserve(q, 7, 0, 60, TOKEN, NOW, &claim), 0);
    undone = quota_undo_holder(q, 7, NOW);
    assert_int_equal(undone.freed, 1);
    assert_int_equal(undone.orphans, 0);
    assert_int_equal(reserved(0), 0);
    assert_false(quota_watch(q, &cursor, NOW + HOUR, &view));
    assert_false(quota_sent(q, &claim));
}

static void a_create_that_was_refused_and_waits_goes_with_its_worker_too(void **state)
{
    struct quota_claim claim = must_send(7, 60, TOKEN);

    (void)state;
    quota_refused(q, &claim);
    assert_int_equal(reserved(0), 60);
    assert_int_equal(quota_undo_holder(q, 7, NOW).freed, 1);
    assert_int_equal(reserved(0), 0);
    claim = must_send(7, 60, TOKEN);
    quota_refused(q, &claim);
    assert_true(quota_sent(q, &claim));
    commit(&claim, "batch_1");
    assert_int_equal(quota_undo_holder(q, 7, NOW).freed, 0);
    assert_int_equal(reserved(0), 60);
}

static void an_orphan_is_asked_about_at_once_and_then_ever_more_seldom(void **state)
{
    static const unsigned after_s[] = {0, 1, 3, 7, 15, 31, 63, 123, 183};
    uint64_t died_ms = NOW / 1000 * 1000 + HOUR;
    struct quota_claim claim = must_send(7, 60, TOKEN);
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    quota_abandon(q, &claim, died_ms);
    for (size_t i = 0; i < sizeof(after_s) / sizeof(after_s[0]); i++) {
        uint64_t due_ms = died_ms + after_s[i] * UINT64_C(1000);

        assert_true(i == 0 || !quota_watch(q, &cursor, due_ms - 1, &view));
        assert_true(quota_watch(q, &cursor, due_ms, &view));
        assert_true(view.orphan_ms == died_ms);
        cursor = 0;
    }
}

static void a_live_batch_does_not_die_with_the_worker_that_created_it(void **state)
{
    struct quota_undone undone;

    (void)state;
    must_live(0, 60, "batch_1", NOW);
    undone = quota_undo_holder(q, 1, NOW);
    assert_int_equal(undone.freed + undone.orphans, 0);
    assert_int_equal(reserved(0), 60);
    assert_true(progress(0, "batch_1", 0, 0, NOW));
}

static void a_wrong_sum_is_found_and_put_right(void **state)
{
    uint32_t repaired = 9;

    (void)state;
    must_live(0, 60, "batch_1", NOW);
    assert_true(quota_repair(q, &repaired));
    assert_int_equal(repaired, 0);
    store_relaxed(&quota_column_of(q, 0)->shared.enqueued, 95);
    store_relaxed(&quota_column_of(q, 1)->shared.enqueued, 5);
    assert_true(quota_repair(q, &repaired));
    assert_int_equal(repaired, 2);
    assert_int_equal(reserved(0), 60);
    assert_int_equal(reserved(1), 0);
}

static void nothing_is_repaired_while_somebody_is_half_way(void **state)
{
    uint64_t entry, word;

    (void)state;
    store_relaxed(&quota_column_of(q, 0)->shared.enqueued, 95);
    assert_true(quota_table_claim(q, 7, &entry, &word));
    assert_false(quota_repair(q, NULL));
    assert_int_equal(reserved(0), 95);
    assert_int_equal(quota_undo_holder(q, 7, NOW).freed, 1);
    assert_true(quota_repair(q, NULL));
    assert_int_equal(reserved(0), 0);
}

/* --- watching and leases --- */

static void the_time_between_two_questions_can_be_set(void **state)
{
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    must_live(0, 60, "batch_1", NOW);
    quota_ask_every(q, 100);
    assert_false(quota_watch(q, &cursor, NOW + 99, &view));
    assert_true(quota_watch(q, &cursor, NOW + 100, &view));
    assert_false(quota_watch(q, &cursor, NOW + 199, &view));
    assert_true(quota_watch(q, &cursor, NOW + 200, &view));
}

static void a_rebuilt_column_stays_so_until_another_deployment_has_it(void **state)
{
    struct quota_terms terms = {.fingerprint = 4711};

    (void)state;
    quota_bind(q, 1, &terms);
    assert_false(quota_is_recovered(q, 1));
    quota_note_recovered(q, 1);
    terms.limit = 9;
    quota_bind(q, 1, &terms);
    assert_true(quota_is_recovered(q, 1));
    assert_false(quota_is_recovered(q, 0));
    terms.fingerprint++;
    quota_bind(q, 1, &terms);
    assert_false(quota_is_recovered(q, 1));
}

static void a_reservation_is_due_a_minute_after_anybody_looked(void **state)
{
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    must_live(0, 60, "batch_1", NOW);
    must_reserve(0, 10, NOW); /* in flight: nothing to ask about yet */
    assert_false(quota_watch(q, &cursor, NOW + MINUTE - 1, &view));
    assert_true(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_string_equal(view.id, "batch_1");
    assert_int_equal(view.column, 0);
    assert_int_equal(view.tokens, 60);
    assert_false(view.orphan || view.last_call);
    assert_false(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_int_equal(cursor, 0);
    assert_false(quota_watch(q, &cursor, NOW + 2 * MINUTE - 1, &view));
    assert_true(progress(0, "batch_1", 0, 0, NOW + 2 * MINUTE));
    assert_false(quota_watch(q, &cursor, NOW + 3 * MINUTE - 1, &view));
    assert_true(quota_watch(q, &cursor, NOW + 3 * MINUTE, &view));
}

static void all_that_are_due_are_named_once(void **state)
{
    struct quota_view view;
    uint32_t cursor = 0, seen = 0;
    char id[16];

    (void)state;
    for (int i = 0; i < 30; i++) {
        snprintf(id, sizeof(id), "batch_%d", i);
        must_live(0, 1, id, NOW);
    }
    while (quota_watch(q, &cursor, NOW + MINUTE, &view))
        seen |= 1u << atoi(view.id + 6);
    assert_int_equal(seen, (1u << 30) - 1);
}

static void an_id_too_long_to_keep_still_finds_its_reservation(void **state)
{
    char id[QUOTA_ID_SIZE + 1];
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    memset(id, 'x', sizeof(id));
    id[QUOTA_ID_SIZE] = '\0';
    must_live(0, 10, id, NOW);
    assert_true(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_string_equal(view.id, "");
    assert_true(release(0, id, QUOTA_DROPPED, NOW));
    id[QUOTA_ID_SIZE - 1] = '\0';
    must_live(0, 10, id, NOW);
    cursor = 0;
    assert_true(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_string_equal(view.id, id);
}

static void a_lease_ends_after_26_hours(void **state)
{
    (void)state;
    must_live(0, 60, "batch_1", NOW);
    must_live(0, 10, "batch_2", NOW + 1);
    assert_int_equal(quota_expire(q, 1, NOW + QUOTA_LEASE_MS - 1).leases, 0);
    assert_int_equal(quota_expire(q, 1, NOW + QUOTA_LEASE_MS).leases, 1);
    assert_int_equal(reserved(0), 10);
    assert_false(progress(0, "batch_1", 0, 0, NOW));
}

static void an_orphan_ends_after_minutes_and_a_create_in_flight_does_not(void **state)
{
    (void)state;
    must_send(1, 10, 0);
    must_send(7, 60, 0);
    quota_undo_holder(q, 7, NOW);
    assert_int_equal(quota_expire(q, 1, NOW + QUOTA_ORPHAN_KEEP_MS - 1000).orphans, 0);
    assert_int_equal(quota_expire(q, 1, NOW + QUOTA_ORPHAN_KEEP_MS).orphans, 1);
    assert_int_equal(reserved(0), 10);
    assert_int_equal(quota_expire(q, 1, NOW + QUOTA_LEASE_MS).orphans, 0);
}

static void what_was_viewed_is_released_only_as_it_was(void **state)
{
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    must_send(7, 60, 0);
    quota_undo_holder(q, 7, NOW);
    assert_true(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_true(quota_release_view(q, 1, &view, NOW));
    assert_int_equal(reserved(0), 0);
    assert_false(quota_release_view(q, 1, &view, NOW));
    must_live(0, 60, "batch_1", NOW); /* in the same entry */
    assert_false(quota_release_view(q, 1, &view, NOW));
    assert_int_equal(reserved(0), 60);
}

static void where_jobs_never_expire_one_is_asked_about_before_it_is_released(void **state)
{
    uint64_t end_ms = NOW + QUOTA_LEASE_MS;
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    quota_bind(q, 0, &(struct quota_terms){.fingerprint = 100, .limit = 100, .ask_first = true});
    must_live(0, 60, "batch_1", NOW);
    assert_int_equal(quota_expire(q, 1, end_ms).leases, 0);
    assert_true(quota_watch(q, &cursor, end_ms, &view));
    assert_true(view.last_call);
    assert_true(progress(0, "batch_1", 1, 10, end_ms + 1)); /* it runs: an hour more */
    assert_int_equal(quota_expire(q, 1, end_ms + QUOTA_GRACE_MS).leases, 0);
    end_ms += 1 + QUOTA_EXTEND_MS;
    assert_int_equal(quota_expire(q, 1, end_ms + QUOTA_GRACE_MS - 1).leases, 0);
    assert_int_equal(quota_expire(q, 1, end_ms + QUOTA_GRACE_MS).leases, 1); /* nobody answered */
    assert_int_equal(reserved(0), 0);
}

static void an_adopted_batch_has_the_lease_that_is_left_of_it(void **state)
{
    (void)state;
    assert_int_equal(quota_adopt(q, 2, 0,
                                 &(struct quota_found){
                                     .id = "batch_1", .len = 7, .tokens = 10, .age_ms = 20 * HOUR},
                                 NOW),
                     0);
    assert_int_equal(quota_expire(q, 1, NOW + 6 * HOUR - 1).leases, 0);
    assert_int_equal(quota_expire(q, 1, NOW + 6 * HOUR).leases, 1);
}

/* --- counting --- */

static void reservations_are_counted_per_deployment_with_the_age_of_the_oldest(void **state)
{
    struct quota_tally tallies[4] = {0};
    struct quota_claim claim;
    uint32_t entry = 0, calls = 1;

    (void)state;
    must_live(0, 10, "batch_1", NOW + 5);
    must_live(0, 10, "batch_2", NOW + 3);
    must_live(0, 10, "batch_3", NOW + 4);
    must_live(1, 10, "batch_4", NOW);
    assert_int_equal(quota_reserve(q, 1, 0, 10, quota_token(q, 0, "nonce", 5), NOW + 9, &claim), 0);
    assert_true(quota_sent(q, &claim));
    quota_abandon(q, &claim, NOW + 10);
    assert_true(release(0, "batch_3", QUOTA_DROPPED, NOW + 11));
    for (; quota_count(q, &entry, 2, tallies); calls++)
        ;
    assert_int_equal(calls, 3); /* five entries were ever used */
    assert_int_equal(tallies[0].reservations, 3);
    assert_int_equal(tallies[0].orphans, 1);
    assert_int_equal(tallies[0].oldest_ms, NOW + 3);
    assert_int_equal(tallies[1].reservations, 1);
    assert_int_equal(tallies[1].oldest_ms, NOW);
    assert_int_equal(tallies[2].reservations, 0);
    assert_int_equal(tallies[2].oldest_ms, 0);
}

/* --- rows of one deployment --- */

static void through_a_second_row_of_a_full_deployment_nothing_is_free(void **state)
{
    struct quota_claim claim;
    uint64_t token;

    (void)state;
    quota_alias(q, 2, 0, 0);
    must_live(0, 60, "batch_1", NOW);
    assert_int_equal(reserved(2), 60);
    assert_int_equal(sum_at(2, NOW).limit, 100);
    assert_int_equal(try_reserve(2, 41, NOW), ERR_LIMIT);
    token = quota_token(q, 2, "nonce", 5);
    assert_int_equal(token, quota_token(q, 0, "nonce", 5));
    assert_int_equal(quota_reserve(q, 1, 2, 30, token, NOW, &claim), 0);
    assert_int_equal(reserved(0), 90);
    commit(&claim, "batch_2");
    assert_true(release(0, "batch_2", QUOTA_FINISHED, NOW + HOUR)); /* seen by the other name */
    assert_true(release(2, "batch_1", QUOTA_FINISHED, NOW + HOUR));
    assert_int_equal(reserved(0), 0);
    assert_int_equal(sum_at(0, NOW).drain_rate, sum_at(2, NOW).drain_rate);
    quota_add_expected(q, 2, 7, NOW);
    assert_int_equal(sum_at(0, NOW).expected, 7);
    must_live(0, 50, "batch_3", NOW + HOUR);
    assert_true(quota_full(q, 2, 50, NOW + HOUR));
    assert_int_equal(sum_at(0, NOW + HOUR).full_tokens, 50);
}

static void rows_of_one_deployment_are_repaired_watched_and_counted_as_one(void **state)
{
    struct quota_view view;
    struct quota_tally tallies[4] = {0};
    uint32_t cursor = 0, entry = 0, repaired = 9;

    (void)state;
    quota_alias(q, 2, 0, 0);
    must_live(2, 60, "batch_1", NOW);
    assert_true(quota_repair(q, &repaired));
    assert_int_equal(repaired, 0);
    store_relaxed(&quota_row_of(q, 0)->shared.enqueued, 5);
    assert_true(quota_repair(q, &repaired));
    assert_int_equal(repaired, 1);
    assert_int_equal(reserved(2), 60);
    assert_true(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_int_equal(view.column, 0);
    assert_int_equal(quota_max_columns(q), 4);
    assert_false(quota_count(q, &entry, 64, tallies));
    assert_int_equal(tallies[0].reservations, 1);
    assert_int_equal(tallies[1].reservations, 0);
    assert_int_equal(tallies[2].reservations, 0); /* shown by the column it is another name of */
    quota_note_recovered(q, 2);
    assert_true(quota_is_recovered(q, 0));
}

static void of_two_limits_for_one_deployment_the_lower_one_counts(void **state)
{
    (void)state;
    quota_alias(q, 2, 0, 0);
    assert_int_equal(sum_at(2, NOW).limit, 100);
    quota_alias(q, 2, 0, 40);
    assert_int_equal(sum_at(0, NOW).limit, 40);
    quota_alias(q, 3, 0, 70);
    assert_int_equal(sum_at(0, NOW).limit, 40);
    bind_column(0, 100, 0); /* the next load of the file says otherwise */
    assert_int_equal(sum_at(2, NOW).limit, 0);
    quota_alias(q, 3, 0, 70);
    assert_int_equal(sum_at(2, NOW).limit, 70);
}

static void a_reload_that_parts_or_joins_rows_keeps_the_first_ones_ledger(void **state)
{
    struct quota_claim flying;
    uint32_t repaired;

    (void)state;
    must_live(0, 20, "batch_0", NOW);
    must_live(2, 60, "batch_2", NOW);
    flying = must_reserve(2, 10, NOW);
    quota_note_recovered(q, 2);
    quota_alias(q, 2, 0, 0); /* joined: the recovery finds batch_2 again */
    assert_true(quota_repair(q, &repaired));
    assert_int_equal(reserved(2), 30);
    commit(&flying, "batch_3");
    assert_true(release(0, "batch_3", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 20);
    quota_alias(q, 2, 0, 0); /* said again: nothing is lost */
    assert_int_equal(reserved(2), 20);
    bind_column(2, 102, 100); /* parted */
    assert_int_equal(reserved(2), 0);
    assert_int_equal(reserved(0), 20);
    assert_false(quota_is_recovered(q, 2));
    assert_false(release(2, "batch_0", QUOTA_DROPPED, NOW));
    assert_true(release(0, "batch_0", QUOTA_DROPPED, NOW));
}

static void a_wildcard_row_learns_nothing_that_would_refuse_another_of_its_deployments(void **state)
{
    static const struct quota_terms wild = {.fingerprint = 9, .many = true};
    static const struct quota_terms capped = {.fingerprint = 9, .many = true, .limit = 80};

    (void)state;
    quota_bind(q, 0, &wild);
    quota_learn_limit(q, 0, 10);
    quota_learn_refused(q, 0, 10, NOW);
    must_live(0, 50, "batch_1", NOW);
    assert_false(quota_full(q, 0, 5, NOW));
    assert_int_equal(quota_learn_enqueued(q, 0, 50, NOW), 0);
    assert_int_equal(quota_learn_enqueued(q, 0, 60, NOW), 0);
    assert_int_equal(sum_at(0, NOW).limit, 0);
    assert_int_equal(sum_at(0, NOW).foreign, 0);
    assert_int_equal(sum_at(0, NOW).full_for_ms, 0);
    assert_int_equal(try_reserve(0, 1000, NOW), 0);
    quota_bind(q, 1, &capped); /* what the operator says holds */
    assert_int_equal(try_reserve(1, 81, NOW), ERR_LIMIT);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_job_is_counted_from_its_reservation_to_its_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_job_that_does_not_fit_now_is_not_counted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(without_a_limit_everything_fits_but_what_cannot_be_counted,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_create_gives_its_tokens_back_once, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_old_claim_does_not_touch_who_came_after_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_same_id_on_two_deployments_is_two_batches, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(through_a_second_row_of_a_full_deployment_nothing_is_free,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            rows_of_one_deployment_are_repaired_watched_and_counted_as_one, setup, teardown),
        cmocka_unit_test_setup_teardown(
            reservations_are_counted_per_deployment_with_the_age_of_the_oldest, setup, teardown),
        cmocka_unit_test_setup_teardown(of_two_limits_for_one_deployment_the_lower_one_counts,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_reload_that_parts_or_joins_rows_keeps_the_first_ones_ledger, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_wildcard_row_learns_nothing_that_would_refuse_another_of_its_deployments, setup,
            teardown),
        cmocka_unit_test_setup_teardown(a_marker_that_reads_like_an_id_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_table_says_so_and_a_freed_place_is_used_again, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_reservation_whose_bucket_is_full_is_found_all_the_same,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_that_make_no_sense_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_known_deployment_keeps_its_ledger_over_reloads_and_another_one_starts_empty, setup,
            teardown),
        cmocka_unit_test_setup_teardown(after_a_restart_the_ledger_is_rebuilt_from_what_runs, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(tokens_of_other_gateways_take_room_here, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_foreign_is_ours_once_it_is_adopted, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_create_in_flight_is_not_adopted_a_second_time, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_create_in_flight_of_a_dead_worker_stays_counted_until_its_batch_is_found, setup,
            teardown),
        cmocka_unit_test_setup_teardown(a_create_that_was_never_sent_goes_with_its_worker, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_create_that_was_refused_and_waits_goes_with_its_worker_too, setup, teardown),
        cmocka_unit_test_setup_teardown(an_orphan_is_asked_about_at_once_and_then_ever_more_seldom,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            an_orphan_that_never_became_a_batch_is_released_by_its_token, setup, teardown),
        cmocka_unit_test_setup_teardown(a_live_batch_does_not_die_with_the_worker_that_created_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_sum_is_found_and_put_right, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_repaired_while_somebody_is_half_way, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_reservation_is_due_a_minute_after_anybody_looked, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_time_between_two_questions_can_be_set, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rebuilt_column_stays_so_until_another_deployment_has_it,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(all_that_are_due_are_named_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_id_too_long_to_keep_still_finds_its_reservation, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lease_ends_after_26_hours, setup, teardown),
        cmocka_unit_test_setup_teardown(
            an_orphan_ends_after_minutes_and_a_create_in_flight_does_not, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_viewed_is_released_only_as_it_was, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            where_jobs_never_expire_one_is_asked_about_before_it_is_released, setup, teardown),
        cmocka_unit_test_setup_teardown(an_adopted_batch_has_the_lease_that_is_left_of_it, setup,
                                        teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
