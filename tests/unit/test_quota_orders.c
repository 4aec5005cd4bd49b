/* quota, by several processes at once. Processes are coroutines in every order of their
 * steps, threads where they are to collide, and processes where one is killed. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/interleave.h"

#define SHM_STEP() interleave_step()
#include "quota_world.h"

/* What is in the table for a column. */
static uint64_t table_sum(uint32_t column)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < load_relaxed(&q->shared.high); i++) {
        const struct reservation *r = entry_at(q, i);

        if (is_counted(load_relaxed(&r->word)) && column_of(r) == column)
            sum += load_relaxed(&r->tokens);
    }
    return sum;
}

/* The limit is never passed, and what is in the table is always in E. */
static void check_always(void)
{
    for (uint32_t c = 0; c < 2; c++) {
        uint64_t e = enqueued_of(load_relaxed(&quota_column_of(q, c)->shared.enqueued));

        assert_true(table_sum(c) <= e);
        assert_true(table_sum(c) <= 100);
    }
}

static int setup_orders(void **state)
{
    (void)setup(state);
    world = (struct world){.region = q, .size = q->region.size, .always = check_always};
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
    const struct quota_found found = {.id = "batch_1", .len = 7, .token = TOKEN, .tokens = 40};

    self->result = quota_adopt(q, holder_of_process(self), 0, &found, NOW);
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

/* Not only never two, but never none: nobody is refused for an entry that nobody gets. */
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
    assert_int_equal(num_in(QUOTA_FREE), load_relaxed(&q->shared.high));
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
        .entry = 1, .column = 0, .tokens = 40, .word = load_relaxed(&entry_at(q, 0)->word)};

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
    assert_int_equal(num_in(QUOTA_FREE), load_relaxed(&q->shared.high));
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
    assert_int_equal(num_in(QUOTA_FREE), load_relaxed(&q->shared.high));
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
        for (uint32_t entry = 0; quota_count(q, &entry, 10, tallies);)
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
    assert_int_equal(num_in(QUOTA_FREE), load_relaxed(&q->shared.high));
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
        uint64_t e = load_relaxed(&quota_column_of(q, 0)->shared.enqueued);

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
