/* quota: what fits where, what a reservation goes through, what a death leaves behind. The ledger
 * is compiled into this file with its atomic steps as interleave.h wants them. Processes are
 * coroutines there, threads where they are to collide, and processes where one is killed. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/model.h"
#include "tests/unit/interleave.h"

#define QUOTA_STEP() interleave_step()
#include "balancer/quota.c"
#include "balancer/quota_learn.c"

#define HOUR   3600000u
#define MINUTE 60000u
#define NOW    (1000u * (uint64_t)HOUR)
#define M      UINT64_C(1000000)
#define TOKEN  UINT64_C(0x123456789abcdef0)

/* --- a small ledger --- */

static struct quota *q;

static void bind_column(uint32_t column, uint32_t fingerprint, uint64_t limit)
{
    quota_bind(q, column, &(struct quota_terms){.fingerprint = fingerprint, .limit = limit});
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(quota_new(4, 64, &q), 0);
    for (uint32_t c = 0; c < 4; c++)
        bind_column(c, 100 + c, 100);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    quota_free(q);
    q = NULL;
    return 0;
}

static struct quota_sum sum_at(uint32_t column, uint64_t now_ms)
{
    struct quota_sum sum;

    quota_read(q, column, now_ms, &sum);
    return sum;
}

static uint64_t reserved(uint32_t column)
{
    return sum_at(column, NOW).reserved;
}

static struct quota_claim must_reserve(uint32_t column, uint64_t tokens, uint64_t now_ms)
{
    struct quota_claim claim;

    assert_int_equal(quota_reserve(q, 1, column, tokens, 0, now_ms, &claim), 0);
    return claim;
}

static int try_reserve(uint32_t column, uint64_t tokens, uint64_t now_ms)
{
    struct quota_claim claim;

    return quota_reserve(q, 1, column, tokens, 0, now_ms, &claim);
}

static struct quota_claim must_send(uint32_t holder, uint64_t tokens, uint64_t token)
{
    struct quota_claim claim;

    assert_int_equal(quota_reserve(q, holder, 0, tokens, token, NOW, &claim), 0);
    assert_true(quota_sent(q, &claim));
    return claim;
}

static void commit(const struct quota_claim *claim, const char *id)
{
    assert_int_equal(quota_commit(q, claim, id, strlen(id)), 0);
}

static void must_live(uint32_t column, uint64_t tokens, const char *id, uint64_t now_ms)
{
    struct quota_claim claim = must_reserve(column, tokens, now_ms);

    commit(&claim, id);
}

static bool release(uint32_t column, const char *id, enum quota_end how, uint64_t now_ms)
{
    return quota_release(q, 1, column, id, strlen(id), how, now_ms);
}

static bool progress(uint32_t column, const char *id, uint64_t done, uint64_t total,
                     uint64_t now_ms)
{
    return quota_progress(q, column, id, strlen(id), done, total, now_ms);
}

static int adopt(uint32_t column, uint64_t token, const char *id, uint64_t tokens, uint64_t now_ms)
{
    return quota_adopt(q, 2, column, token, id, strlen(id), tokens, 0, now_ms);
}

/* What is in the table for a column. */
static uint64_t table_sum(uint32_t column)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < peek(&q->shared.high); i++) {
        const struct reservation *r = place_at(q, i);

        if (is_counted(peek(&r->word)) && column_of(r) == column)
            sum += peek(&r->tokens);
    }
    return sum;
}

static unsigned num_in(enum quota_state state)
{
    unsigned n = 0;

    for (uint64_t i = 0; i < peek(&q->shared.high); i++)
        n += state_of(peek(&place_at(q, i)->word)) == state;
    return n;
}

/* The limit is never passed, and what is in the table is always in E. */
static void check_always(void)
{
    for (uint32_t c = 0; c < 2; c++) {
        uint64_t e = enqueued_of(peek(&quota_column_of(q, c)->shared.enqueued));

        assert_true(table_sum(c) <= e);
        assert_true(table_sum(c) <= 100);
    }
}

static int setup_orders(void **state)
{
    (void)setup(state);
    world = (struct world){.region = q, .size = q->size, .always = check_always};
    return 0;
}

/* The master comes by: whoever died is undone, and everything adds up. */
static void clean_up(int num)
{
    for (int i = 0; i < num; i++) {
        if (processes[i].kill_after >= 0)
            quota_undo_holder(q, holder_of_process(&processes[i]), NOW);
    }
    assert_true(quota_repair(q, NULL));
    assert_int_equal(num_in(QUOTA_RESERVING) + num_in(QUOTA_RELEASING), 0);
    for (uint32_t c = 0; c < 2; c++)
        assert_int_equal(reserved(c), table_sum(c));
}

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
    assert_int_equal(claim.place, 0);
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
    assert_int_equal(new.place, old.place);
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
    put(&quota_column_of(q, 0)->shared.enqueued, 95);
    put(&quota_column_of(q, 1)->shared.enqueued, 5);
    assert_true(quota_repair(q, &repaired));
    assert_int_equal(repaired, 2);
    assert_int_equal(reserved(0), 60);
    assert_int_equal(reserved(1), 0);
}

static void nothing_is_repaired_while_somebody_is_half_way(void **state)
{
    uint64_t place, word;

    (void)state;
    put(&quota_column_of(q, 0)->shared.enqueued, 95);
    assert_true(claim(q, 7, &place, &word));
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
    assert_false(quota_is_rebuilt(q, 1));
    quota_note_rebuilt(q, 1);
    terms.limit = 9;
    quota_bind(q, 1, &terms);
    assert_true(quota_is_rebuilt(q, 1));
    assert_false(quota_is_rebuilt(q, 0));
    terms.fingerprint++;
    quota_bind(q, 1, &terms);
    assert_false(quota_is_rebuilt(q, 1));
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
    must_live(0, 60, "batch_1", NOW); /* in the same place */
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
    assert_int_equal(quota_adopt(q, 2, 0, 0, "batch_1", 7, 10, 20 * HOUR, NOW), 0);
    assert_int_equal(quota_expire(q, 1, NOW + 6 * HOUR - 1).leases, 0);
    assert_int_equal(quota_expire(q, 1, NOW + 6 * HOUR).leases, 1);
}

/* --- counting --- */

static void reservations_are_counted_per_deployment_with_the_age_of_the_oldest(void **state)
{
    struct quota_tally tallies[4] = {0};
    struct quota_claim claim;
    uint32_t place = 0, calls = 1;

    (void)state;
    must_live(0, 10, "batch_1", NOW + 5);
    must_live(0, 10, "batch_2", NOW + 3);
    must_live(0, 10, "batch_3", NOW + 4);
    must_live(1, 10, "batch_4", NOW);
    assert_int_equal(quota_reserve(q, 1, 0, 10, quota_token(q, 0, "nonce", 5), NOW + 9, &claim), 0);
    assert_true(quota_sent(q, &claim));
    quota_abandon(q, &claim, NOW + 10);
    assert_true(release(0, "batch_3", QUOTA_DROPPED, NOW + 11));
    for (; quota_count(q, &place, 2, tallies); calls++)
        ;
    assert_int_equal(calls, 3); /* five places were ever used */
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
    uint32_t cursor = 0, place = 0, repaired = 9;

    (void)state;
    quota_alias(q, 2, 0, 0);
    must_live(2, 60, "batch_1", NOW);
    assert_true(quota_repair(q, &repaired));
    assert_int_equal(repaired, 0);
    put(&quota_row_of(q, 0)->shared.enqueued, 5);
    assert_true(quota_repair(q, &repaired));
    assert_int_equal(repaired, 1);
    assert_int_equal(reserved(2), 60);
    assert_true(quota_watch(q, &cursor, NOW + MINUTE, &view));
    assert_int_equal(view.column, 0);
    assert_int_equal(quota_max_columns(q), 4);
    assert_false(quota_count(q, &place, 64, tallies));
    assert_int_equal(tallies[0].reservations, 1);
    assert_int_equal(tallies[1].reservations, 0);
    assert_int_equal(tallies[2].reservations, 0); /* shown by the column it is another name of */
    quota_note_rebuilt(q, 2);
    assert_true(quota_is_rebuilt(q, 0));
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
    quota_note_rebuilt(q, 2);
    quota_alias(q, 2, 0, 0); /* joined: a rebuild finds batch_2 again */
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
    assert_false(quota_is_rebuilt(q, 2));
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

/* --- limits, foreign work, refusals --- */

static void a_limit_that_a_refusal_named_is_forgotten_after_an_hour(void **state)
{
    (void)state;
    bind_column(0, 9, 0);
    quota_learn_refused(q, 0, 70, NOW);
    assert_int_equal(sum_at(0, NOW).limit, 70);
    assert_int_equal(sum_at(0, NOW + HOUR - 66000).limit, 70);
    assert_int_equal(try_reserve(0, 71, NOW + HOUR - 66000), ERR_LIMIT);
    assert_int_equal(sum_at(0, NOW + HOUR + 66000).limit, 0);
    assert_int_equal(try_reserve(0, 71, NOW + HOUR + 66000),
                     0);                               /* the provider is asked anew ... */
    quota_learn_refused(q, 0, 70, NOW + HOUR + 66000); /* ... and still refuses */
    assert_int_equal(try_reserve(0, 71, NOW + 2 * HOUR), ERR_LIMIT);
    assert_int_equal(sum_at(0, NOW + 5 * HOUR).limit, 0);
}

static void a_header_replaces_what_a_refusal_said_and_does_not_age(void **state)
{
    (void)state;
    bind_column(0, 9, 0);
    quota_learn_refused(q, 0, 70, NOW);
    quota_learn_limit(q, 0, 90);
    assert_int_equal(sum_at(0, NOW).limit, 90);
    assert_int_equal(sum_at(0, NOW + 1000 * (uint64_t)HOUR).limit, 90);
    bind_column(0, 9, 80); /* configured, and lower */
    assert_int_equal(sum_at(0, NOW).limit, 80);
    quota_learn_refused(q, 0, QUOTA_MAX_TOKENS + 5, NOW);
    bind_column(0, 9, 0);
    assert_int_equal(sum_at(0, NOW).limit, QUOTA_MAX_TOKENS);
}

static void the_lower_of_configured_and_learned_limit_counts(void **state)
{
    (void)state;
    quota_learn_limit(q, 0, 0);
    assert_int_equal(sum_at(0, NOW).limit, 100);
    quota_learn_limit(q, 0, 500);
    assert_int_equal(sum_at(0, NOW).limit, 100);
    quota_learn_limit(q, 0, 50);
    assert_int_equal(sum_at(0, NOW).limit, 50);
    assert_int_equal(try_reserve(0, 51, NOW), ERR_LIMIT);
    bind_column(3, 9, 0);
    assert_int_equal(sum_at(3, NOW).limit, 0);
    quota_learn_limit(q, 3, 70);
    assert_int_equal(sum_at(3, NOW).limit, 70);
}

static void what_others_enqueued_counts_and_drains(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 100); /* prior: 100 tokens/s */
    must_live(0, 1000, "batch_1", NOW);
    quota_learn_enqueued(q, 0, 28800 * 100 - 500, NOW);
    assert_int_equal(sum_at(0, NOW).foreign, 28800 * 100 - 1500);
    assert_int_equal(try_reserve(0, 600, NOW), ERR_LIMIT);
    assert_in_range(sum_at(0, NOW + MINUTE).foreign, 28800 * 100 - 1500 - 6500,
                    28800 * 100 - 1500 - 5500);
    assert_int_equal(try_reserve(0, 600, NOW + MINUTE), 0);
    assert_int_equal(sum_at(0, NOW + 9 * HOUR).foreign, 0);
    quota_learn_enqueued(q, 0, 5, NOW); /* less than ours: nothing of others */
    assert_int_equal(sum_at(0, NOW).foreign, 0);
}

static void a_header_tells_what_one_job_counts_when_nothing_else_moved(void **state)
{
    (void)state;
    must_live(0, 10, "batch_1", NOW);
    assert_int_equal(quota_learn_enqueued(q, 0, 12, NOW), 0); /* the first one tells nothing */
    must_live(0, 10, "batch_2", NOW);
    assert_int_equal(quota_learn_enqueued(q, 0, 27, NOW), 15);
    must_live(0, 10, "batch_3", NOW);
    must_live(0, 10, "batch_4", NOW);
    assert_int_equal(quota_learn_enqueued(q, 0, 60, NOW), 0);
    must_live(0, 10, "batch_5", NOW);
    assert_int_equal(quota_learn_enqueued(q, 0, 55, NOW), 0); /* others ended meanwhile */
}

static void a_deployment_that_says_it_is_full_is_full_for_jobs_of_that_size(void **state)
{
    struct quota_claim claim;

    (void)state;
    must_live(0, 20, "batch_1", NOW);
    claim = must_reserve(0, 40, NOW);
    quota_cancel(q, 1, &claim, NOW);
    assert_true(quota_full(q, 0, 40, NOW));
    assert_int_equal(sum_at(0, NOW).foreign, 41);
    assert_int_equal(try_reserve(0, 40, NOW), ERR_LIMIT);
    assert_int_equal(try_reserve(0, 39, NOW), 0);
    must_live(1, 90, "batch_2", NOW);
    assert_false(quota_full(q, 1, 101, NOW)); /* larger than the limit: that says nothing */
    assert_int_equal(sum_at(1, NOW).foreign, 0);
}

/* "200000 of 200000 free", and a batch of 5 tokens was refused: an estimate was too low, and it was
 * held against everybody. */
static void a_job_that_was_refused_where_nothing_is_enqueued_closes_it_to_nobody(void **state)
{
    (void)state;
    bind_column(0, 100, 200000);
    for (int i = 0; i < 10; i++)
        assert_false(quota_full(q, 0, 2, NOW + (uint64_t)i));
    assert_int_equal(sum_at(0, NOW).foreign, 0);
    assert_int_equal(sum_at(0, NOW).full_for_ms, 0);
    assert_int_equal(try_reserve(0, 5, NOW), 0);
    assert_int_equal(try_reserve(0, 190000, NOW), 0);
    bind_column(1, 101, 0); /* of no known limit */
    assert_false(quota_full(q, 1, 2, NOW));
    assert_int_equal(try_reserve(1, 5, NOW), 0);
}

static void a_refusal_is_believed_as_far_as_four_times_the_ledger_makes_it_likely(void **state)
{
    (void)state;
    bind_column(0, 100, 1000);
    must_live(0, 200, "batch_1", NOW);
    assert_false(quota_full(q, 0, 200, NOW)); /* 800 + 200 would fit */
    assert_int_equal(sum_at(0, NOW).full_for_ms, 0);
    assert_true(quota_full(q, 0, 201, NOW));
    assert_int_equal(sum_at(0, NOW).full_tokens, 201);
    bind_column(1, 101, 0);
    must_live(1, 100, "batch_2", NOW);
    assert_false(quota_full(q, 1, 101, NOW)); /* of no known limit: it is not known to hold that */
    assert_true(quota_full(q, 1, 100, NOW));
}

/* What a refusal made us believe of others is no ground to believe the next one. */
static void refusals_do_not_vouch_for_each_other(void **state)
{
    (void)state;
    bind_column(0, 100, 1000);
    must_live(0, 100, "batch_1", NOW);
    assert_true(quota_full(q, 0, 700, NOW));
    for (uint64_t tokens = 600; tokens > 0; tokens -= 100)
        assert_false(quota_full(q, 0, tokens, NOW));
    assert_int_equal(sum_at(0, NOW).full_tokens, 700);
    assert_int_equal(try_reserve(0, 600, NOW), 0);
}

static void a_small_job_probes_at_once_whatever_was_refused(void **state)
{
    (void)state;
    bind_column(0, 100, 256000);
    must_live(0, 100000, "batch_1", NOW);
    assert_true(quota_full(q, 0, 2, NOW)); /* it was taken for next to nothing */
    assert_int_equal(sum_at(0, NOW).full_tokens, 1000);
    assert_int_equal(try_reserve(0, 999, NOW), 0);
    assert_int_equal(try_reserve(0, 1000, NOW), ERR_LIMIT);
}

static void a_refused_size_rests_a_minute_then_two_up_to_sixteen(void **state)
{
    static const uint64_t minutes[] = {1, 2, 4, 8, 16, 16};
    uint64_t now = NOW;

    (void)state;
    bind_column(0, 100, 0); /* no limit is known: only the refusal is */
    must_live(0, 50, "batch_1", NOW);
    for (size_t i = 0; i < sizeof(minutes) / sizeof(minutes[0]); i++) {
        quota_full(q, 0, 40, now);
        quota_full(q, 0, 50, now + 1); /* was under way at the same time */
        assert_int_equal(sum_at(0, now).full_for_ms, minutes[i] * MINUTE);
        assert_int_equal(sum_at(0, now).full_tokens, 40);
        now += minutes[i] * MINUTE;
        assert_int_equal(try_reserve(0, 40, now - 1), ERR_LIMIT);
        assert_int_equal(sum_at(0, now).full_for_ms, 0);
    }
    quota_full(q, 0, 40, now + HOUR); /* long after: the first of another row */
    assert_int_equal(sum_at(0, now + HOUR).full_for_ms, MINUTE);
    quota_full(q, 0, 30, now + HOUR + 1);
    assert_int_equal(try_reserve(0, 30, now + HOUR + 1), ERR_LIMIT);
    assert_int_equal(try_reserve(0, 29, now + HOUR + 1), 0);
}

static void an_accepted_job_of_that_size_ends_the_row_of_refusals(void **state)
{
    (void)state;
    bind_column(0, 100, 0);
    must_live(0, 39, "batch_0", NOW);
    must_live(0, 39, "batch_00", NOW);
    quota_full(q, 0, 40, NOW);
    must_live(0, 39, "batch_1", NOW + MINUTE);
    quota_full(q, 0, 40, NOW + MINUTE);
    assert_int_equal(sum_at(0, NOW + MINUTE).full_for_ms, 2 * MINUTE);
    must_live(0, 40, "batch_2", NOW + 3 * MINUTE);
    quota_full(q, 0, 40, NOW + 3 * MINUTE);
    assert_int_equal(sum_at(0, NOW + 3 * MINUTE).full_for_ms, MINUTE);
}

/* --- drain rates --- */

static void before_anything_finished_a_limit_drains_in_eight_hours(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    assert_true(sum_at(0, NOW).drain_rate == 50);
    bind_column(3, 9, 0);
    assert_true(sum_at(3, NOW).drain_rate == (double)PICK_PRIOR_LIMIT / 28800);
}

static void finished_jobs_move_the_drain_rate_to_what_makes_the_expectation_true(void **state)
{
    uint64_t now = NOW;

    (void)state;
    bind_column(0, 100, 28800 * 50);
    for (int i = 0; i < 60; i++) {
        must_live(0, 400000, "batch_1", now);
        must_live(0, 400000, "batch_2", now);
        release(0, "batch_1", QUOTA_FINISHED, now + 4000 * 1000u); /* 100 tokens/s */
        release(0, "batch_2", QUOTA_FINISHED, now + 8000 * 1000u);
        now += 10 * HOUR;
    }
    assert_true(fabs(sum_at(0, now).drain_rate - 100) < 0.1);
}

static void dropped_jobs_and_adopted_ones_say_nothing_about_it(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, M, "batch_1", NOW);
    release(0, "batch_1", QUOTA_DROPPED, NOW + 1000);
    assert_int_equal(adopt(0, 0, "batch_2", M, NOW), 0);
    release(0, "batch_2", QUOTA_FINISHED, NOW + 1000);
    assert_true(sum_at(0, NOW).drain_rate == 50);
}

static void a_tiny_job_that_waited_does_not_make_a_deployment_slow(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 500, "batch_1", NOW);
    release(0, "batch_1", QUOTA_FINISHED, NOW + HOUR);
    assert_true(sum_at(0, NOW).drain_rate > 49.9);
}

static void slow_progress_lowers_the_rate_and_good_progress_does_not_raise_it(void **state)
{
    double rate;

    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW); /* two hours at that rate */
    assert_true(progress(0, "batch_1", 0, 1000, NOW + 9 * MINUTE));
    assert_true(progress(0, "batch_1", 900, 1000, NOW + 30 * MINUTE));
    assert_true(sum_at(0, NOW).drain_rate == 50);
    assert_true(progress(0, "batch_1", 300, 1000, NOW + 2 * HOUR)); /* 15 tokens/s */
    rate = sum_at(0, NOW).drain_rate;
    assert_true(fabs(rate - (50 - 35 * 0.125)) < 0.01);
    assert_true(progress(0, "batch_1", 300, 1000, NOW + 2 * HOUR + 1)); /* again too early */
    assert_true(sum_at(0, NOW).drain_rate == rate);
}

static void a_job_that_is_late_without_any_line_done_lowers_it_too(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW);
    progress(0, "batch_1", 0, 1000, NOW + HOUR);
    assert_true(sum_at(0, NOW).drain_rate == 50);
    progress(0, "batch_1", 0, 1000, NOW + 4 * HOUR);
    assert_true(sum_at(0, NOW).drain_rate < 50);
    for (uint64_t t = 5; t < 2000; t++)
        progress(0, "batch_1", 1, UINT64_MAX, NOW + t * HOUR);
    assert_true(sum_at(0, NOW).drain_rate > 360000 / 172800.0 - 0.01);
}

static void nonsense_about_progress_changes_nothing(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW);
    assert_true(progress(0, "batch_1", 5, 0, NOW + 3 * HOUR));
    assert_true(progress(0, "batch_1", 5, 1, NOW + HOUR));
    assert_true(sum_at(0, NOW).drain_rate == 50);
    assert_false(progress(0, "batch_unknown", 5, 10, NOW + 3 * HOUR));
}

static uint64_t tokens_of(uint64_t model, enum feature feature, uint64_t units)
{
    struct features features = {{0}};

    features.units[feature] = units;
    return quota_tokens(q, model, &features);
}

static void learn(uint64_t model, enum feature feature, uint64_t units, uint64_t tokens)
{
    struct features features = {{0}};

    features.units[feature] = units;
    quota_learn_rate(q, model, &features, tokens);
}

static void tokens_per_byte_are_learned_for_each_model(void **state)
{
    (void)state;
    assert_int_equal(tokens_of(7, FEATURE_TEXT, 1000), 250);
    assert_int_equal(tokens_of(7, FEATURE_TEXT, 0), 1);
    for (int i = 0; i < 40; i++)
        learn(7, FEATURE_TEXT, 1000, 400);
    assert_in_range(tokens_of(7, FEATURE_TEXT, 1000), 399, 401);
    assert_int_equal(tokens_of(8, FEATURE_TEXT, 1000), 250);
    assert_true(tokens_of(7, FEATURE_TEXT, UINT64_MAX) == QUOTA_MAX_TOKENS);
    for (uint64_t model = 100; model < 1000; model++)
        learn(model, FEATURE_TEXT, 1000, 800); /* more models than rows: the prior for the rest */
    assert_in_range(tokens_of(7, FEATURE_TEXT, 1000), 399, 401);
}

static void one_odd_file_moves_nothing_beyond_the_fixed_bounds(void **state)
{
    (void)state;
    learn(7, FEATURE_TEXT, 1000, 0);
    learn(7, FEATURE_TEXT, 1000, 62); /* less than 1/16 */
    learn(7, FEATURE_TEXT, 1000, 1001);
    learn(7, FEATURE_TEXT, 0, 5);
    assert_int_equal(tokens_of(7, FEATURE_TEXT, 1000), 250);
    for (int i = 0; i < 100; i++)
        learn(7, FEATURE_TEXT, 1000, 1000);
    assert_in_range(tokens_of(7, FEATURE_TEXT, 1000), 999, 1000);
}

static void batches_of_images_teach_nothing_about_text(void **state)
{
    const struct features images = {{[FEATURE_TEXT] = 200 * 20, [FEATURE_IMAGES] = 200 * 9}};

    (void)state;
    for (int i = 0; i < 40; i++)
        quota_learn_rate(q, 7, &images, 200 * 1100 + 1000);
    assert_int_equal(tokens_of(7, FEATURE_TEXT, 4000000), 1000000);
    assert_in_range(tokens_of(7, FEATURE_IMAGES, 9), 1099, 1101);
    assert_int_equal(tokens_of(8, FEATURE_IMAGES, 9), 765);
}

static void a_file_of_several_kinds_teaches_nothing(void **state)
{
    const struct features mixed = {{[FEATURE_TEXT] = 2000, [FEATURE_IMAGES] = 9}};

    (void)state;
    quota_learn_rate(q, 7, &mixed, 5000);
    assert_int_equal(quota_tokens(q, 7, &mixed), 500 + 765);
    learn(7, FEATURE_IDS, 1000, 3000); /* a token is a token */
    assert_int_equal(tokens_of(7, FEATURE_IDS, 1000), 1000);
}

static void an_answer_to_the_watch_counts_as_progress(void **state)
{
    struct quota_view view;
    uint32_t cursor = 0;

    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW);
    assert_true(quota_watch(q, &cursor, NOW + 2 * HOUR, &view));
    assert_true(progress(0, view.id, 300, 1000, NOW + 2 * HOUR + 5));
    assert_true(sum_at(0, NOW).drain_rate < 50);
}

static void a_clock_that_is_behind_the_reservation_does_no_harm(void **state)
{
    (void)state;
    bind_column(0, 100, 28800 * 50);
    must_live(0, 360000, "batch_1", NOW);
    assert_true(progress(0, "batch_1", 1, 1000, NOW - HOUR));
    assert_true(release(0, "batch_1", QUOTA_FINISHED, NOW - HOUR));
    assert_true(sum_at(0, NOW).drain_rate == 50);
}

/* --- the choice --- */

static uint32_t choose(struct pick_candidate *c, uint32_t n, uint64_t tokens, double random)
{
    for (uint32_t i = 0; i < n; i++) {
        c[i].deployment = i;
        c[i].admitted = true;
    }
    return pick_next(pick_policy_find("quota-aware"), c, n, tokens, random);
}

static void the_least_expected_completion_is_chosen(void **state)
{
    struct pick_candidate c[3] = {{.limit = 1000, .enqueued = 500, .drain_rate = 10},   /* 60 s */
                                  {.limit = 1000, .enqueued = 100, .drain_rate = 2},    /* 100 s */
                                  {.limit = 9000, .enqueued = 5000, .drain_rate = 90}}; /* 56 s */

    (void)state;
    assert_int_equal(choose(c, 3, 100, 0.5), 2);
    c[2].enqueued = 6000;
    assert_int_equal(choose(c, 3, 100, 0.5), 0);
    assert_int_equal(choose(c, 3, 501, 0.5), 2); /* where it fits, however long */
    c[0].health = 0.25;
    assert_int_equal(choose(c, 3, 100, 0.5), 2);
    assert_int_equal(choose(c, 3, 9000, 0.5), MODEL_NO_INDEX);
}

static void a_rate_that_is_not_known_is_the_limit_in_eight_hours(void **state)
{
    struct pick_candidate c[2] = {{.limit = 20 * M, .enqueued = 3 * M},
                                  {.limit = 5 * M, .enqueued = M}};

    (void)state;
    assert_int_equal(choose(c, 2, 100000, 0.5), 0);
    c[1].enqueued = M / 2;
    assert_int_equal(choose(c, 2, 100000, 0.5), 1);
    c[1].limit = 0; /* unlimited: drains like the common limit */
    c[1].enqueued = 20 * M;
    assert_int_equal(choose(c, 2, 100000, 0.5), 1);
}

static void what_was_just_refused_is_not_tried_again_for_a_while(void **state)
{
    struct pick_candidate c[2] = {{.enqueued = 0, .full_tokens = 50, .full_for_ms = 1},
                                  {.enqueued = 1000}};

    (void)state;
    assert_int_equal(choose(c, 2, 50, 0.5), 1);
    assert_int_equal(choose(c, 2, 49, 0.5), 0);
}

static void no_strategy_sends_a_job_where_it_does_not_fit(void **state)
{
    struct pick_candidate c[2] = {
        {.admitted = true, .limit = 100, .enqueued = 51},
        {.deployment = 1, .admitted = true, .limit = 100, .tokens_minute = 9}};

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(pick_next(pick_policy_find("simple-shuffle"), c, 2, 50, i / 10.0), 1);
    assert_int_equal(pick_next(pick_policy_find("usage-based-routing"), c, 2, 50, 0), 1);
    assert_int_equal(pick_next(pick_policy_find("usage-based-routing"), c, 2, 49, 0), 0);
}

/* Idle ones with rates in proportion would all go to the largest: those that are equal take turns.
 */
static void equals_take_turns_by_their_limits_without_clumps(void **state)
{
    struct pick_candidate c[3] = {{.limit = 400, .drain_rate = 1},
                                  {.limit = 200, .drain_rate = 1},
                                  {.limit = 100, .drain_rate = 1}};
    uint32_t first_seven[3] = {0}, last = 9;

    (void)state;
    for (int i = 0; i < 700; i++) {
        uint32_t d = choose(c, 3, 10, 0.5);

        assert_true(d < 3 && !(d == last && d != 0));
        last = d;
        c[d].placed++;
        if (i < 7)
            first_seven[d]++;
    }
    assert_int_equal(first_seven[0], 4);
    assert_int_equal(first_seven[1], 2);
    assert_int_equal(first_seven[2], 1);
    assert_in_range(c[0].placed, 399, 401);
    assert_in_range(c[1].placed, 199, 201);
}

static void equals_in_turn_too_are_drawn_by_lot(void **state)
{
    struct pick_candidate c[4] = {
        {.limit = 100}, {.limit = 100}, {.limit = 100, .enqueued = 1}, {.limit = 100}};

    (void)state;
    assert_int_equal(choose(c, 4, 10, 0), 0);
    assert_int_equal(choose(c, 4, 10, 0.5), 1);
    assert_int_equal(choose(c, 4, 10, 0.99), 3);
    assert_int_equal(choose(c, 4, 0, 0.99), 3); /* an upload of unknown size */
}

/* --- the verdict --- */

static const char *const names[] = {"east", "west"};

static void a_job_larger_than_every_limit_never_fits_and_all_limits_are_named(void **state)
{
    struct pick_candidate c[2] = {{.limit = 100}, {.limit = 2000}};
    char text[256];
    uint64_t wait_ms = 7;

    (void)state;
    assert_int_equal(quota_verdict(c, 2, 2001, &wait_ms), QUOTA_NEVER_FITS);
    assert_int_equal(wait_ms, 0);
    quota_explain(c, 2, names, 2, 2001, text, sizeof(text));
    assert_string_equal(text,
                        "This batch is about 2001 enqueued tokens, more than the limit of every "
                        "deployment of this model: east 100, west 2000. Split its input file.");
    quota_explain(c, 2, names, 2, 2001, text, 40);
    assert_int_equal(strlen(text), 39);
    assert_string_equal(text + 36, "...");
}

static void a_job_that_does_not_fit_now_waits_until_the_first_has_drained_enough(void **state)
{
    struct pick_candidate c[2] = {{.limit = 1000, .enqueued = 900, .drain_rate = 2},
                                  {.limit = 2000, .enqueued = 1900, .drain_rate = 10}};
    char text[256];
    uint64_t wait_ms;

    (void)state;
    assert_int_equal(quota_verdict(c, 2, 600, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 50000);
    assert_int_equal(quota_verdict(c, 2, 1500, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 140000);
    assert_int_equal(quota_verdict(c, 2, 101, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 1000);
    assert_int_equal(quota_verdict(c, 2, 100, &wait_ms), QUOTA_FITS);
    assert_int_equal(wait_ms, 0);
    quota_explain(c, 2, names, 2, 600, text, sizeof(text));
    assert_string_equal(
        text,
        "This batch is about 600 enqueued tokens, which no deployment of this model has room for "
        "now: east 100 of 1000 free, west 100 of 2000 free. Room is expected in 50 s.");
}

static void a_size_that_was_just_refused_waits_for_the_end_of_that_rest(void **state)
{
    struct pick_candidate c = {.full_tokens = 50, .full_for_ms = 30000};
    uint64_t wait_ms;

    (void)state;
    assert_int_equal(quota_verdict(&c, 1, 50, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 30000);
    assert_int_equal(quota_verdict(&c, 1, 49, NULL), QUOTA_FITS);
}

/* An estimate is a guess: only what is certain is a final 400. */
static void a_job_that_may_be_smaller_than_it_looks_takes_all_of_the_largest(void **state)
{
    struct pick_candidate c[2] = {{.limit = 100}, {.limit = 1000, .unsure = true}};
    uint64_t wait_ms;

    (void)state;
    assert_int_equal(pick_tokens(&c[1], 4000), 1000);
    assert_int_equal(pick_tokens(&c[1], 999), 999);
    assert_int_equal(pick_tokens(&c[0], 4000), 4000);
    assert_false(pick_fits(&c[0], 4000));
    assert_true(pick_fits(&c[1], 4000));
    assert_int_equal(quota_verdict(c, 2, 4000, &wait_ms), QUOTA_FITS);
    c[1].enqueued = 1;
    c[1].drain_rate = 0.01;
    assert_false(pick_fits(&c[1], 4000));
    assert_int_equal(quota_verdict(c, 2, 4000, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 100000);
    c[1].unsure = false;
    assert_int_equal(quota_verdict(c, 2, 4000, &wait_ms), QUOTA_NEVER_FITS);
}

/* Of a group of thousands the first ones are named: they alone were too small, and a batch that was
 * to wait was told to be split. */
static void the_verdict_is_about_all_though_only_the_first_are_named(void **state)
{
    struct pick_candidate c[2] = {{.limit = 100}, {.limit = 2000, .enqueued = 1900}};
    char text[256];

    (void)state;
    quota_explain(c, 2, names, 1, 600, text, sizeof(text));
    assert_null(strstr(text, "Split"));
    assert_non_null(strstr(text, "has room for now: east 100 of 100 free, and others. Room is"));
}

static void a_rest_is_not_told_as_room_that_is_free(void **state)
{
    struct pick_candidate c = {.limit = 200000, .full_tokens = 50, .full_for_ms = 30000};
    char text[256];

    (void)state;
    quota_explain(&c, 1, names, 1, 50, text, sizeof(text));
    assert_non_null(strstr(text, "east refused 50 just now, limit 200000"));
    assert_null(strstr(text, "200000 of 200000 free"));
}

static void
a_wait_is_at_most_a_day_and_nothing_to_choose_from_is_not_a_matter_of_tokens(void **state)
{
    struct pick_candidate c = {.limit = 1000, .enqueued = UINT64_MAX, .drain_rate = 1e-9};
    uint64_t wait_ms;

    (void)state;
    assert_int_equal(quota_verdict(&c, 1, 1000, &wait_ms), QUOTA_NOT_NOW);
    assert_int_equal(wait_ms, 24 * HOUR);
    assert_int_equal(quota_verdict(NULL, 0, 1000, &wait_ms), QUOTA_FITS);
}

static void the_ledger_describes_a_candidate_for_the_choice(void **state)
{
    struct pick_candidate c = {.deployment = 5, .admitted = true};

    (void)state;
    must_live(0, 30, "batch_1", NOW);
    quota_learn_enqueued(q, 0, 50, NOW);
    quota_describe(q, 0, NOW, &c);
    assert_int_equal(c.enqueued, 50);
    assert_int_equal(c.limit, 100);
    assert_int_equal(c.placed, 1);
    assert_true(c.drain_rate == 100 / PICK_PRIOR_DRAIN_S);
    assert_int_equal(c.full_for_ms, 0);
    quota_full(q, 0, 60, NOW);
    quota_describe(q, 0, NOW + HOUR, &c);
    assert_int_equal(c.placed, 0);
    quota_describe(q, 0, NOW, &c);
    assert_int_equal(c.full_tokens, 60);
    assert_true(c.deployment == 5 && c.admitted);
}

/* Whatever happens in whatever order, E is the sum of what lives, and nothing is lost. */
static void random_lives_of_many_jobs_add_up(void **state)
{
    static struct {
        struct quota_claim claim;
        char id[16];
        uint64_t tokens;
        int tier; /* 0 none, 1 reserved, 2 live */
    } jobs[48];
    uint64_t expected = 0, now = NOW;
    uint32_t x = 1;

    (void)state;
    bind_column(0, 100, 5000);
    for (int i = 0; i < 200000; i++) {
        uint32_t n;

        x = x * 1664525u + 1013904223u;
        n = (x >> 16) % 48;
        now += x >> 20 & 0xff;
        if (jobs[n].tier == 0) {
            jobs[n].tokens = x >> 24;
            if (quota_reserve(q, 1, 0, jobs[n].tokens, i % 3 ? 0 : (uint64_t)i, now,
                              &jobs[n].claim) == 0) {
                expected += jobs[n].tokens;
                jobs[n].tier = 1;
            } else {
                assert_true(expected + jobs[n].tokens > 5000);
            }
        } else if (jobs[n].tier == 1 && x >> 31) {
            snprintf(jobs[n].id, sizeof(jobs[n].id), "batch_%d", i);
            commit(&jobs[n].claim, jobs[n].id);
            jobs[n].tier = 2;
        } else {
            if (jobs[n].tier == 1)
                quota_cancel(q, 1, &jobs[n].claim, now);
            else
                assert_true(release(0, jobs[n].id, QUOTA_FINISHED, now));
            expected -= jobs[n].tokens;
            jobs[n].tier = 0;
        }
        assert_int_equal(reserved(0), expected);
        if (i % 1000 == 0)
            assert_int_equal(table_sum(0), expected);
    }
}

/* --- at the same time --- */

/* What the processes of a schedule do. Their numbers differ by `self - processes`. */

static void do_reserve(struct process *self)
{
    struct quota_claim claim;

    self->result = quota_reserve(q, holder_of_process(self), 0, 60, 0, NOW, &claim);
}

static void do_whole_life(struct process *self)
{
    uint32_t holder = holder_of_process(self);
    char id[] = "batch_0";
    struct quota_claim claim;

    id[6] = (char)('0' + holder);
    self->result = quota_reserve(q, holder, 0, 40, 0, NOW, &claim);
    if (self->result != 0)
        return;
    self->result = quota_commit(q, &claim, id, 7);
    if (self->result == 0)
        self->flag = quota_release(q, holder, 0, id, 7, QUOTA_DROPPED, NOW);
}

static void do_reserve_and_cancel(struct process *self)
{
    struct quota_claim claim;

    self->result = quota_reserve(q, holder_of_process(self), 0, 40, 0, NOW, &claim);
    if (self->result == 0)
        quota_cancel(q, holder_of_process(self), &claim, NOW);
}

static void do_create(struct process *self)
{
    struct quota_claim claim;

    self->result = quota_reserve(q, holder_of_process(self), 0, 40, TOKEN, NOW, &claim);
    if (self->result != 0)
        return;
    self->flag = quota_sent(q, &claim); /* the batch may exist from here on */
    if (self->flag)
        self->result = quota_commit(q, &claim, "batch_1", 7);
}

static void do_adopt(struct process *self)
{
    self->result = quota_adopt(q, holder_of_process(self), 0, TOKEN, "batch_1", 7, 40, 0, NOW);
}

static void do_release(struct process *self)
{
    self->flag = quota_release(q, holder_of_process(self), 0, "batch_1", 7, QUOTA_DROPPED, NOW);
}

static void do_expire(struct process *self)
{
    self->flag = quota_expire(q, holder_of_process(self), NOW + QUOTA_LEASE_MS).leases == 1;
}

static void do_watch(struct process *self)
{
    struct quota_view view;
    uint32_t cursor = 0;

    self->flag = quota_watch(q, &cursor, NOW + MINUTE, &view);
    if (self->flag)
        assert_string_equal(view.id, "batch_1");
}

/* One round as the master does it; whether it could see all. */
static void do_repair(struct process *self)
{
    uint32_t repaired;

    self->flag = quota_repair(q, &repaired);
}

static int num_ok(int num)
{
    int n = 0;

    for (int i = 0; i < num; i++)
        n += processes[i].result == 0;
    return n;
}

static void check_one_reserved(int num)
{
    assert_int_equal(num_ok(num), 1);
    assert_int_equal(reserved(0), 60);
    assert_int_equal(num_in(QUOTA_RESERVED), 1);
    clean_up(num);
}

/* Not only never two, but never none: nobody is refused for a place that nobody gets. */
static void of_those_that_do_not_fit_together_exactly_one_gets_in(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_reserve, -1);
    assert_in_range(in_every_order(2, 3, check_one_reserved), 1000, 10000000);
    assert_in_range(in_every_order(3, 2, check_one_reserved), 1000, 10000000);
}

static void check_all_ended(int num)
{
    assert_int_equal(num_ok(num), num);
    assert_int_equal(num_flags(num), num);
    assert_int_equal(reserved(0), 0);
    assert_int_equal(num_in(QUOTA_FREE), peek(&q->shared.high));
    clean_up(num);
}

static void lives_that_cross_leave_nothing_behind(void **state)
{
    (void)state;
    crew(0, do_whole_life, -1);
    crew(1, do_whole_life, -1);
    assert_in_range(in_every_order(2, 3, check_all_ended), 1000, 10000000);
}

static void check_ended_once(int num)
{
    assert_int_equal(num_flags(num), 1);
    assert_int_equal(reserved(0), 10);
    clean_up(num);
}

static void of_many_that_see_an_end_exactly_one_ends_it(void **state)
{
    (void)state;
    must_live(0, 40, "batch_1", NOW);
    must_reserve(0, 10, NOW);
    crew(0, do_release, -1);
    crew(1, do_release, -1);
    crew(2, do_expire, -1);
    assert_in_range(in_every_order(2, 4, check_ended_once), 20, 10000000);
    assert_in_range(in_every_order(3, 2, check_ended_once), 1000, 10000000);
}

static void check_asked_once(int num)
{
    assert_int_equal(num_flags(num), 1);
}

static void of_many_watchers_one_asks(void **state)
{
    (void)state;
    must_live(0, 40, "batch_1", NOW);
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_watch, -1);
    in_every_order(3, 3, check_asked_once);
}

static void check_created_once(int num)
{
    assert_int_equal(num_ok(num), num);
    assert_int_equal(reserved(0), 40);
    clean_up(num);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 0);
}

/* The batch exists from the moment that the create has gone out: so adopting begins after that. */
static void do_commit_claimed(struct process *self)
{
    struct quota_claim claim = {
        .place = 1, .column = 0, .tokens = 40, .word = peek(&place_at(q, 0)->word)};

    self->result = quota_commit(q, &claim, "batch_1", 7);
}

static void a_batch_seen_in_a_list_while_its_create_is_answered_counts_once(void **state)
{
    (void)state;
    must_send(10, 40, TOKEN);
    crew(0, do_commit_claimed, -1);
    crew(1, do_adopt, -1);
    crew(2, do_adopt, -1);
    assert_in_range(in_every_order(2, 4, check_created_once), 50, 10000000);
    assert_in_range(in_every_order(3, 2, check_created_once), 50, 10000000);
}

static void check_repaired(int num)
{
    (void)num;
    if (processes[num - 1].flag)
        assert_int_equal(reserved(0), table_sum(0));
    clean_up(num);
}

/* The sum is wrong by 5 at first, as after a death; others go on meanwhile. When the master says
 * that it saw everything, the sum is right. */
static void repairing_while_others_reserve_and_release_is_exact(void **state)
{
    (void)state;
    must_live(0, 40, "batch_1", NOW);
    quota_column_of(q, 0)->shared.enqueued += 5;
    crew(0, do_reserve_and_cancel, -1);
    crew(1, do_repair, -1);
    assert_in_range(in_every_order(2, 3, check_repaired), 1000, 10000000);
    crew(0, do_release, -1);
    assert_in_range(in_every_order(2, 3, check_repaired), 1000, 10000000);
    crew(0, do_release, -1);
    crew(1, do_reserve, -1);
    crew(2, do_repair, -1);
    assert_in_range(in_every_order(3, 2, check_repaired), 1000, 10000000);
}

/* --- deaths at every step --- */

static void check_death_in_life(int num)
{
    assert_int_equal(processes[1].result, 0);
    assert_true(processes[1].flag);
    clean_up(num);
    /* Gone, or in flight and found at the end of its lease at the latest. */
    assert_int_equal(reserved(0), 40 * (num_in(QUOTA_ORPHAN) + num_in(QUOTA_LIVE)));
    (void)quota_expire(q, 1, NOW + QUOTA_LEASE_MS);
    assert_int_equal(reserved(0), 0);
    assert_int_equal(num_in(QUOTA_FREE), peek(&q->shared.high));
}

static void
a_worker_that_dies_at_any_step_of_a_life_leaves_nothing_that_is_not_put_right(void **state)
{
    (void)state;
    for (int kill_after = 0; kill_after < 45; kill_after++) {
        crew(0, do_whole_life, kill_after);
        crew(1, do_whole_life, -1);
        in_every_order(2, 1, check_death_in_life);
    }
    assert_true(processes[0].steps < 44); /* it was killed at every step that it has */
}

static void check_death_in_create(int num)
{
    clean_up(num);
    if (num_in(QUOTA_ORPHAN) + num_in(QUOTA_LIVE) == 0) {
        assert_false(processes[0].flag);
        assert_int_equal(reserved(0), 0);
        return;
    }
    /* Wherever it died, the list finds the reservation, once. */
    assert_int_equal(adopt(0, TOKEN, "batch_1", 40, NOW), 0);
    assert_int_equal(reserved(0), 40);
    assert_int_equal(num_in(QUOTA_LIVE), 1);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 0);
}

static void a_create_whose_worker_dies_at_any_step_is_adopted_or_was_never_counted(void **state)
{
    (void)state;
    for (int kill_after = 0; kill_after < 35; kill_after++) {
        crew(0, do_create, kill_after);
        crew(1, do_reserve_and_cancel, -1);
        in_every_order(2, 1, check_death_in_create);
    }
    assert_true(processes[0].steps < 34); /* it was killed at every step that it has */
}

static void check_death_in_release(int num)
{
    clean_up(num);
    assert_int_equal(reserved(0), 40 * num_in(QUOTA_LIVE));
    release(0, "batch_1", QUOTA_DROPPED, NOW);
    assert_int_equal(reserved(0), 0);
    assert_int_equal(num_in(QUOTA_FREE), peek(&q->shared.high));
}

static void a_death_while_releasing_neither_loses_tokens_nor_gives_them_back_twice(void **state)
{
    (void)state;
    must_live(0, 40, "batch_1", NOW);
    for (int kill_after = 0; kill_after < 20; kill_after++) {
        crew(0, do_release, kill_after);
        crew(1, do_release, -1);
        crew(2, do_expire, -1);
        in_every_order(3, 2, check_death_in_release);
    }
    assert_true(processes[0].steps < 19); /* it was killed at every step that it has */
}

static void check_death_in_adopt(int num)
{
    clean_up(num);
    assert_int_equal(reserved(0), 40);
    assert_int_equal(adopt(0, TOKEN, "batch_1", 40, NOW), 0);
    assert_int_equal(reserved(0), 40);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0), 0);
}

static void a_death_while_adopting_an_orphan_leaves_it_to_the_next(void **state)
{
    (void)state;
    must_send(7, 40, TOKEN);
    quota_undo_holder(q, 7, NOW);
    for (int kill_after = 0; kill_after < 25; kill_after++) {
        crew(0, do_adopt, kill_after);
        crew(1, do_adopt, -1);
        in_every_order(2, 2, check_death_in_adopt);
    }
    assert_true(processes[0].steps < 24); /* it was killed at every step that it has */
}

/* --- threads and processes that really collide --- */

#define LIVES 4000

static _Atomic uint64_t accepted;
static _Atomic bool over;

static void live_many(uint32_t holder, unsigned lives)
{
    uint32_t x = holder;
    char id[24];

    for (unsigned i = 0; i < lives; i++) {
        struct quota_claim claim;
        uint32_t column;

        x = x * 1664525u + 1013904223u;
        column = x >> 31;
        snprintf(id, sizeof(id), "batch_%u_%u", holder, i);
        if (quota_reserve(q, holder, column, x >> 16 & 31, i + 1, NOW + i, &claim) != 0)
            continue;
        atomic_fetch_add(&accepted, 1);
        if (x & 0x1000) {
            quota_cancel(q, holder, &claim, NOW + i);
            continue;
        }
        assert_int_equal(quota_commit(q, &claim, id, strlen(id)), 0);
        quota_learn_enqueued(q, column, 0, NOW + i);
        quota_progress(q, column, id, strlen(id), 1, 2, NOW + HOUR);
        assert_true(quota_release(q, holder, column, id, strlen(id), QUOTA_FINISHED, NOW + HOUR));
    }
}

static void *run_worker(void *arg)
{
    live_many((uint32_t)(uintptr_t)arg, LIVES);
    return NULL;
}

static void *run_master(void *arg)
{
    struct quota_view view;
    struct quota_tally tallies[4] = {0};
    uint32_t cursor = 0;

    (void)arg;
    while (!atomic_load(&over)) {
        quota_repair(q, NULL);
        quota_watch(q, &cursor, NOW + HOUR, &view);
        quota_expire(q, 5, NOW);
        for (uint32_t place = 0; quota_count(q, &place, 10, tallies);)
            ;
        for (uint32_t c = 0; c < 2; c++)
            assert_true(reserved(c) <= 100);
    }
    return NULL;
}

static void workers_and_the_master_at_full_speed_lose_no_token(void **state)
{
    pthread_t workers[3], master;

    (void)state;
    atomic_store(&over, false);
    atomic_store(&accepted, 0);
    assert_int_equal(pthread_create(&master, NULL, run_master, NULL), 0);
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&workers[i], NULL, run_worker, (void *)(10 + i)), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(workers[i], NULL);
    atomic_store(&over, true);
    pthread_join(master, NULL);
    assert_true(accepted > LIVES);
    assert_int_equal(reserved(0) + reserved(1), 0);
    assert_int_equal(num_in(QUOTA_FREE), peek(&q->shared.high));
}

/* A child that lives many lives, until it is killed. */
static pid_t start_child(uint32_t holder)
{
    pid_t pid = fork();

    assert_true(pid != -1);
    if (pid == 0) {
        for (;;)
            live_many(holder, 1000000);
    }
    return pid;
}

static void kill_child(pid_t pid)
{
    int status;

    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
}

/* Let them run on until E has changed that often. */
static void wait_for_changes(unsigned changes)
{
    uint64_t last = 0;

    while (changes > 0) {
        uint64_t e = peek(&quota_column_of(q, 0)->shared.enqueued);

        changes -= e != last;
        last = e;
        sched_yield();
    }
}

static void killed_processes_leave_a_ledger_that_adds_up_within_a_repair(void **state)
{
    pid_t children[2] = {start_child(20), start_child(21)};

    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        unsigned victim = round & 1;

        wait_for_changes(5 + round % 7);
        kill_child(children[victim]);
        quota_undo_holder(q, 20 + victim, NOW);
        while (!quota_repair(q, NULL))
            sched_yield(); /* the other one is in the middle of something */
        children[victim] = start_child(20 + victim);
    }
    for (unsigned i = 0; i < 2; i++) {
        kill_child(children[i]);
        quota_undo_holder(q, 20 + i, NOW);
    }
    assert_true(quota_repair(q, NULL));
    assert_int_equal(num_in(QUOTA_RESERVING) + num_in(QUOTA_RELEASING) + num_in(QUOTA_RESERVED), 0);
    assert_int_equal(reserved(0), table_sum(0));
    assert_int_equal(reserved(1), table_sum(1));
    quota_expire(q, 1, NOW + 100 * QUOTA_LEASE_MS);
    assert_int_equal(reserved(0) + reserved(1), 0);
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
        cmocka_unit_test_setup_teardown(a_limit_that_a_refusal_named_is_forgotten_after_an_hour,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_replaces_what_a_refusal_said_and_does_not_age,
                                        setup, teardown),
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
        cmocka_unit_test_setup_teardown(the_lower_of_configured_and_learned_limit_counts, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_others_enqueued_counts_and_drains, setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_tells_what_one_job_counts_when_nothing_else_moved,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_deployment_that_says_it_is_full_is_full_for_jobs_of_that_size, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_size_rests_a_minute_then_two_up_to_sixteen, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_accepted_job_of_that_size_ends_the_row_of_refusals,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(before_anything_finished_a_limit_drains_in_eight_hours,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            finished_jobs_move_the_drain_rate_to_what_makes_the_expectation_true, setup, teardown),
        cmocka_unit_test_setup_teardown(dropped_jobs_and_adopted_ones_say_nothing_about_it, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_tiny_job_that_waited_does_not_make_a_deployment_slow,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            slow_progress_lowers_the_rate_and_good_progress_does_not_raise_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_job_that_is_late_without_any_line_done_lowers_it_too,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_about_progress_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_to_the_watch_counts_as_progress, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_is_behind_the_reservation_does_no_harm, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_least_expected_completion_is_chosen, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rate_that_is_not_known_is_the_limit_in_eight_hours, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_just_refused_is_not_tried_again_for_a_while, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(no_strategy_sends_a_job_where_it_does_not_fit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(equals_take_turns_by_their_limits_without_clumps, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(equals_in_turn_too_are_drawn_by_lot, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_job_that_was_refused_where_nothing_is_enqueued_closes_it_to_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_refusal_is_believed_as_far_as_four_times_the_ledger_makes_it_likely, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_do_not_vouch_for_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_small_job_probes_at_once_whatever_was_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            a_job_that_may_be_smaller_than_it_looks_takes_all_of_the_largest, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rest_is_not_told_as_room_that_is_free, setup, teardown),
        cmocka_unit_test_setup_teardown(the_verdict_is_about_all_though_only_the_first_are_named,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(tokens_per_byte_are_learned_for_each_model, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(one_odd_file_moves_nothing_beyond_the_fixed_bounds, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(batches_of_images_teach_nothing_about_text, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_file_of_several_kinds_teaches_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_job_larger_than_every_limit_never_fits_and_all_limits_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_job_that_does_not_fit_now_waits_until_the_first_has_drained_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(a_size_that_was_just_refused_waits_for_the_end_of_that_rest,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(
            a_wait_is_at_most_a_day_and_nothing_to_choose_from_is_not_a_matter_of_tokens, setup,
            teardown),
        cmocka_unit_test_setup_teardown(the_ledger_describes_a_candidate_for_the_choice, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(random_lives_of_many_jobs_add_up, setup, teardown),
        cmocka_unit_test_setup_teardown(of_those_that_do_not_fit_together_exactly_one_gets_in,
                                        setup_orders, teardown),
        cmocka_unit_test_setup_teardown(lives_that_cross_leave_nothing_behind, setup_orders,
                                        teardown),
        cmocka_unit_test_setup_teardown(of_many_that_see_an_end_exactly_one_ends_it, setup_orders,
                                        teardown),
        cmocka_unit_test_setup_teardown(of_many_watchers_one_asks, setup_orders, teardown),
        cmocka_unit_test_setup_teardown(
            a_batch_seen_in_a_list_while_its_create_is_answered_counts_once, setup_orders,
            teardown),
        cmocka_unit_test_setup_teardown(repairing_while_others_reserve_and_release_is_exact,
                                        setup_orders, teardown),
        cmocka_unit_test_setup_teardown(
            a_worker_that_dies_at_any_step_of_a_life_leaves_nothing_that_is_not_put_right,
            setup_orders, teardown),
        cmocka_unit_test_setup_teardown(
            a_create_whose_worker_dies_at_any_step_is_adopted_or_was_never_counted, setup_orders,
            teardown),
        cmocka_unit_test_setup_teardown(
            a_death_while_releasing_neither_loses_tokens_nor_gives_them_back_twice, setup_orders,
            teardown),
        cmocka_unit_test_setup_teardown(a_death_while_adopting_an_orphan_leaves_it_to_the_next,
                                        setup_orders, teardown),
        cmocka_unit_test_setup_teardown(
            killed_processes_leave_a_ledger_that_adds_up_within_a_repair, setup, teardown),
        cmocka_unit_test_setup_teardown(workers_and_the_master_at_full_speed_lose_no_token, setup,
                                        teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
