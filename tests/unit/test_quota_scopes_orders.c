/* quota: keys and teams, by several processes at once, in every order of their steps and with a
 * death at each; and any mix of what can happen to a ledger, by chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>

#include <cmocka.h>

#include "tests/unit/interleave.h"

#define SHM_STEP() interleave_step()
#include "quota_scopes_world.h"

/* No limit is ever passed: 100 for each scope, 1000 for a column. */
static void check_always(void)
{
    assert_true(table_scope(KEY_1).tokens <= 100 && table_scope(KEY_2).tokens <= 100);
    assert_true(table_scope(TEAM_1).tokens <= 100);
    assert_true(table_column(0) <= 1000);
}

static int setup_orders(void **state)
{
    (void)setup(state);
    bind_column(0, 100, 1000);
    world = (struct world){.region = q, .size = q->region.size, .always = check_always};
    return 0;
}

/* The same with one bucket of rows, all of them named for scopes that have nothing now. */
static int setup_named(void **state)
{
    (void)setup_orders(state);
    q->num_scopes = SCOPE_BUCKET;
    store_relaxed(&q->shared.named, 1);
    for (uint32_t row = 0; row < SCOPE_BUCKET; row++)
        store_relaxed(name_at(q, row), 1000 + row);
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
    assert_int_equal(num_in(QUOTA_RESERVING) + num_in(QUOTA_RELEASING) + num_in(QUOTA_REFUNDING),
                     0);
    assert_int_equal(reserved(0), table_column(0));
    check_scopes_add_up();
}

/* --- what the processes of a schedule do --- */

static int reserve_for(struct process *self, const struct quota_job *job, struct quota_claim *claim)
{
    struct quota_refusal why;

    self->result = quota_reserve_job(q, holder_of_process(self), 0, job, NOW, claim, &why);
    return self->result;
}

static void do_reserve(struct process *self)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, TEAM_1, 100);
    struct quota_claim claim;

    (void)reserve_for(self, &job, &claim);
}

/* Another key of the team. */
static void do_reserve_beside(struct process *self)
{
    struct quota_job job = job_of(60, 0, KEY_2, 100, TEAM_1, 100);
    struct quota_claim claim;

    (void)reserve_for(self, &job, &claim);
}

/* A key of which nothing has been counted yet; each of them takes an idle row. */
static void do_reserve_key(struct process *self)
{
    struct quota_job job = job_of(60, 0, KEY_1, 100, 0, NONE);
    struct quota_claim claim;

    (void)reserve_for(self, &job, &claim);
}

static void do_reserve_other_key(struct process *self)
{
    struct quota_job job = job_of(60, 0, KEY_2, 100, 0, NONE);
    struct quota_claim claim;

    (void)reserve_for(self, &job, &claim);
}

/* A scope whose idle row another one may want. */
static void do_reserve_named(struct process *self)
{
    struct quota_job job = job_of(60, 0, 1000, 100, 0, NONE);
    struct quota_claim claim;

    (void)reserve_for(self, &job, &claim);
}

/* The keeper: other gateways have so much. */
static void do_tell_named(struct process *self)
{
    quota_set_scope_total(q, holder_of_process(self), 1000, 70, 2, 1);
}

static void do_tell_key(struct process *self)
{
    quota_set_scope_total(q, holder_of_process(self), KEY_1, 70, 2, 1);
}

static void do_create(struct process *self)
{
    struct quota_job job = job_of(40, TOKEN, KEY_1, 100, TEAM_1, 100);
    struct quota_claim claim;

    if (reserve_for(self, &job, &claim) != 0)
        return;
    self->flag = quota_sent(q, &claim);
    if (self->flag)
        self->result = quota_commit(q, &claim, "batch_1", 7);
}

static void do_reserve_and_cancel(struct process *self)
{
    struct quota_job job = job_of(40, 0, KEY_1, 100, TEAM_1, 100);
    struct quota_claim claim;

    if (reserve_for(self, &job, &claim) == 0)
        quota_cancel(q, holder_of_process(self), &claim, NOW);
}

static void do_adopt(struct process *self)
{
    const struct quota_found found = {
        .id = "batch_1", .len = 7, .token = TOKEN, .tokens = 40, .scopes = {KEY_1, TEAM_1}};

    self->result = quota_adopt(q, holder_of_process(self), 0, &found, NOW);
}

static void do_release(struct process *self)
{
    self->flag = quota_release(q, holder_of_process(self), 0, "batch_1", 7, QUOTA_DROPPED, NOW);
}

static void do_refund(struct process *self)
{
    self->flag = quota_refund(q, holder_of_process(self), 0, "batch_1", 7);
}

static void do_repair(struct process *self)
{
    self->flag = quota_repair(q, NULL);
}

static int num_ok(int num)
{
    int n = 0;

    for (int i = 0; i < num; i++)
        n += processes[i].result == 0;
    return n;
}

/* --- at the same time --- */

static void check_at_most_one(int num)
{
    assert_in_range(num_ok(num), 0, 1);
    clean_up(num);
    assert_int_equal(reserved(0), 60 * (unsigned)num_ok(num));
}

static void check_exactly_one(int num)
{
    assert_int_equal(num_ok(num), 1);
    check_at_most_one(num);
}

static void of_creates_that_a_key_has_room_for_one_of_exactly_one_gets_in(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_reserve_key, -1);
    assert_in_range(in_every_order(2, 3, check_exactly_one), 1000, 10000000);
    assert_in_range(in_every_order(3, 1, check_exactly_one), 50, 10000000);
}

/* Who finds the team full takes his key's tokens out again: nobody else needs those. */
static void of_creates_that_a_team_has_room_for_one_of_exactly_one_gets_in(void **state)
{
    (void)state;
    crew(0, do_reserve, -1);
    crew(1, do_reserve_beside, -1);
    assert_in_range(in_every_order(2, 2, check_exactly_one), 1000, 10000000);
    crew(2, do_reserve, -1);
    assert_in_range(in_every_order(3, 1, check_at_most_one), 50, 10000000);
}

static void of_creates_that_name_a_row_at_once_no_two_pass_the_limit(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_reserve_key, -1);
    assert_in_range(in_every_order(2, 3, check_at_most_one), 1000, 10000000);
    assert_in_range(in_every_order(3, 1, check_at_most_one), 50, 10000000);
}

/* Who still counts in a row while it gets its new name holds that one's room for a moment: refused,
 * not passed, and there is room at the next try. */
static void check_both(int num)
{
    assert_in_range(num_ok(num), num - 1, num);
    clean_up(num);
    for (int i = 0; i < num; i++) {
        if (processes[i].result != 0)
            processes[i].body(&processes[i]);
        assert_int_equal(processes[i].result, 0);
    }
    clean_up(num);
    assert_int_equal(in_scope(KEY_2), 60);
    assert_int_equal(reserved(0), 120);
}

static void who_counts_in_an_idle_row_is_not_counted_by_another_name(void **state)
{
    (void)state;
    crew(0, do_reserve_named, -1);
    crew(1, do_reserve_other_key, -1);
    assert_in_range(in_every_order(2, 3, check_both), 1000, 10000000);
    crew(0, do_reserve_key, -1);
    assert_in_range(in_every_order(2, 3, check_both), 1000, 10000000);
}

static void check_elsewhere(int num)
{
    clean_up(num);
    for (uint32_t row = 0; row < q->num_scopes; row++) {
        uint64_t name = load_relaxed(name_at(q, row));

        if (name != 1000 && name != KEY_1)
            assert_int_equal(tokens_elsewhere(row_at(q, row)) + batches_elsewhere(row_at(q, row)),
                             0);
    }
}

/* What a keeper that was killed left goes with the next one's first reading. */
static void check_elsewhere_read_again(int num)
{
    quota_drop_scope_totals(q, 2);
    check_elsewhere(num);
}

static void what_others_have_never_gets_into_another_scopes_row(void **state)
{
    (void)state;
    crew(0, do_tell_named, -1);
    crew(1, do_reserve_other_key, -1);
    assert_in_range(in_every_order(2, 4, check_elsewhere), 100, 10000000);
    crew(0, do_tell_key, -1);
    assert_in_range(in_every_order(2, 3, check_elsewhere), 100, 10000000);
    for (int kill_after = 0; kill_after < 30; kill_after++) {
        crew(0, do_tell_key, kill_after);
        crew(1, do_reserve_other_key, -1);
        in_every_order(2, 1, check_elsewhere_read_again);
    }
}

static void check_repaired(int num)
{
    if (processes[num - 1].flag)
        check_scopes_add_up();
    clean_up(num);
}

static void wrong_sum(void)
{
    for (uint32_t row = 0; row < q->num_scopes; row++)
        if (load_relaxed(name_at(q, row)) == KEY_1)
            row_at(q, row)->tokens += 5;
}

static void repairing_scopes_while_others_come_and_go_is_exact(void **state)
{
    struct quota_job job = job_of(40, 0, KEY_1, 100, TEAM_1, 100);

    (void)state;
    must_run(0, &job, "batch_1");
    wrong_sum();
    q->max_entries = 2; /* fewer steps */
    crew(0, do_reserve_and_cancel, -1);
    crew(1, do_repair, -1);
    assert_in_range(in_every_order(2, 2, check_repaired), 1000, 10000000);
    crew(0, do_release, -1);
    assert_in_range(in_every_order(2, 2, check_repaired), 500, 10000000);
    crew(0, do_refund, -1);
    assert_in_range(in_every_order(2, 2, check_repaired), 500, 10000000);
}

/* Whoever comes first: who ends a batch while it is being refunded may not find it, and the watch
 * sees it again. */
static void check_refunded(int num)
{
    clean_up(num);
    assert_int_equal(in_scope(KEY_1) + batches_of(TEAM_1), 0);
    assert_int_equal(reserved(0), processes[1].flag ? 0 : 40);
}

static void a_refund_beside_an_end_gives_nothing_back_twice(void **state)
{
    struct quota_job job = job_of(40, 0, KEY_1, 100, TEAM_1, 100);

    (void)state;
    must_run(0, &job, "batch_1");
    for (int i = 0; i < PROCESSES; i++)
        crew(i, i == 1 ? do_release : do_refund, -1);
    assert_in_range(in_every_order(2, 4, check_refunded), 100, 10000000);
    assert_in_range(in_every_order(3, 2, check_refunded), 500, 10000000);
}

/* --- deaths at every step --- */

static void check_death_in_create(int num)
{
    clean_up(num);
    if (num_in(QUOTA_ORPHAN) + num_in(QUOTA_LIVE) == 0) {
        assert_false(processes[0].flag);
        assert_int_equal(reserved(0) + in_scope(KEY_1) + batches_of(TEAM_1), 0);
        return;
    }
    self_process = NULL;
    do_adopt(&processes[2]); /* wherever it died, the list finds the reservation, once */
    assert_int_equal(in_scope(KEY_1), 40);
    assert_int_equal(batches_of(TEAM_1), 1);
    assert_true(release(0, "batch_1", QUOTA_DROPPED, NOW));
    assert_int_equal(reserved(0) + in_scope(KEY_1) + batches_of(TEAM_1), 0);
}

static void a_create_that_dies_at_any_step_is_found_or_was_never_counted(void **state)
{
    (void)state;
    for (int kill_after = 0; kill_after < 70; kill_after++) {
        crew(0, do_create, kill_after);
        crew(1, do_reserve_and_cancel, -1);
        in_every_order(2, 1, check_death_in_create);
    }
    assert_in_range(processes[0].steps, 20, 69); /* it was killed at every step that it has */
}

static void check_death_in_way_out(int num)
{
    clean_up(num);
    assert_int_equal(reserved(0), 40 * num_in(QUOTA_LIVE));
    assert_true(in_scope(KEY_1) == in_scope(TEAM_1) && in_scope(KEY_1) <= reserved(0));
    (void)release(0, "batch_1", QUOTA_DROPPED, NOW);
    assert_int_equal(reserved(0) + in_scope(KEY_1) + batches_of(TEAM_1), 0);
    assert_int_equal(num_in(QUOTA_FREE), load_relaxed(&q->shared.high));
}

static void a_death_on_the_way_out_leaves_nothing_that_is_not_put_right(void **state)
{
    struct quota_job job = job_of(40, 0, KEY_1, 100, TEAM_1, 100);

    (void)state;
    must_run(0, &job, "batch_1");
    for (int kill_after = 0; kill_after < 40; kill_after++) {
        crew(0, do_release, kill_after);
        crew(1, do_refund, -1);
        in_every_order(2, 2, check_death_in_way_out);
    }
    assert_in_range(processes[0].steps, 10, 39);
    for (int kill_after = 0; kill_after < 40; kill_after++) {
        crew(0, do_refund, kill_after);
        crew(1, do_release, -1);
        in_every_order(2, 2, check_death_in_way_out);
    }
    assert_in_range(processes[0].steps, 10, 39);
}

static void check_death_in_take_over(int num)
{
    clean_up(num);
    assert_int_equal(reserved(0), 60 * num_in(QUOTA_RESERVED));
    assert_true(processes[1].result == 0 || num_in(QUOTA_RESERVED) == 1);
    for (uint32_t row = 0; row < q->num_scopes; row++)
        assert_false(is_closed(load_relaxed(&row_at(q, row)->batches)));
}

static void a_death_while_a_row_changes_its_name_leaves_it_open(void **state)
{
    (void)state;
    for (int kill_after = 0; kill_after < 60; kill_after++) {
        crew(0, do_reserve_key, kill_after);
        crew(1, do_reserve_other_key, -1);
        in_every_order(2, 1, check_death_in_take_over);
    }
    assert_in_range(processes[0].steps, 15, 59);
}

/* --- by chance --- */

#define JOBS 24

/* A job as its provider sees it. */
static struct job {
    struct quota_job job;
    struct quota_claim claim;
    uint32_t column, holder;
    char id[16];
    bool claimed;             /* by a process that lives */
    bool sent;                /* ... which has begun to send it */
    bool runs;                /* at its provider */
    bool ending;              /* it has ended there, and the ledger was not told to the end */
    bool refunding, refunded; /* its scopes may no longer pay; they do not */
} jobs[JOBS];

static uint64_t limits[3]; /* of KEY_1, KEY_2, TEAM_1 */
static uint64_t most[3];   /* ... or what providers were found to have accepted */
static uint32_t chance;
static bool rows_are_rare; /* a scope always takes the row of another one */
static const uint64_t names[3] = {KEY_1, KEY_2, TEAM_1};

static uint32_t draw(uint32_t below)
{
    chance = chance * 1664525u + 1013904223u;
    return (chance >> 8) % below;
}

/* Whatever the order, no create made a scope, or a deployment, have more than it may; what a list
 * showed or a lower limit found is the other half of `most`. */
static void check_limits(void)
{
    for (int i = 0; i < 3; i++)
        assert_true(table_scope(names[i]).tokens <= most[i]);
    assert_true(table_column(0) <= 150 && table_column(1) <= 100);
}

static void note_most(void)
{
    for (int i = 0; i < 3; i++) {
        uint64_t now = table_scope(names[i]).tokens;

        most[i] = now > limits[i] ? now : limits[i];
    }
}

/* What each process does in this round: a job, and one thing with it. */
static struct job *of_process[PROCESSES];

static struct job *mine(const struct process *self)
{
    return of_process[self - processes];
}

static void step_begin(struct process *self)
{
    struct job *job = mine(self);
    struct quota_refusal why;

    job->claimed = quota_reserve_job(q, holder_of_process(self), job->column, &job->job, NOW,
                                     &job->claim, &why) == 0;
}

static void step_send(struct process *self)
{
    struct job *job = mine(self);

    job->sent = quota_sent(q, &job->claim);
    job->runs = job->sent && (job->job.token & 3) != 0; /* some are refused */
}

static void step_answered(struct process *self)
{
    struct job *job = mine(self);

    if (!job->runs)
        quota_cancel(q, holder_of_process(self), &job->claim, NOW);
    else if (job->job.token & 4)
        self->result = quota_commit(q, &job->claim, job->id, strlen(job->id));
    else
        quota_abandon(q, &job->claim, NOW); /* the answer was lost */
    job->claimed = false;
}

static void step_seen(struct process *self)
{
    struct job *job = mine(self);
    struct quota_found found = {
        .id = job->id, .len = strlen(job->id), .token = job->job.token, .tokens = job->job.tokens};

    for (int i = 0; i < QUOTA_SCOPES; i++)
        found.scopes[i] = job->job.scopes[i].name;
    assert_int_equal(quota_adopt(q, holder_of_process(self), job->column, &found, NOW), 0);
}

static void step_ends(struct process *self)
{
    struct job *job = mine(self);

    job->runs = false;
    job->ending = true;
    if (!quota_release(q, holder_of_process(self), job->column, job->id, strlen(job->id),
                       QUOTA_FINISHED, NOW))
        (void)quota_release_token(q, holder_of_process(self), job->job.token, NOW);
    job->ending = false;
}

static void step_cancelling(struct process *self)
{
    struct job *job = mine(self);

    job->refunding = true;
    job->refunded |=
        quota_refund(q, holder_of_process(self), job->column, job->id, strlen(job->id));
}

/* One at a time: what it adds up in is its process's own, and all of these are one process. */
static bool repairing;

static void step_repair(struct process *self)
{
    (void)self;
    if (repairing)
        return;
    repairing = true;
    (void)quota_repair(q, NULL);
    repairing = false;
}

static void fill_job(struct job *job)
{
    static unsigned serial;
    unsigned who = draw(4); /* the master key; a key; a key of a team; another one of that team */

    *job = (struct job){.column = draw(2)};
    job->job.tokens = 1 + draw(60);
    job->job.token = quota_mix(++serial);
    snprintf(job->id, sizeof(job->id), "batch_%u", serial);
    if (who != 0)
        job->job.scopes[QUOTA_KEY] =
            (struct quota_scope){who == 3 ? KEY_2 : KEY_1, limits[who == 3], NONE};
    if (who >= 2)
        job->job.scopes[QUOTA_TEAM] = (struct quota_scope){TEAM_1, limits[2], NONE};
}

/* What may happen next to a job that no other process of this round has. */
static void (*next_step(struct job *job, uint32_t holder))(struct process *)
{
    if (job->claimed && job->holder != holder)
        return step_repair; /* its own process has it */
    job->holder = holder;
    if (job->claimed)
        return !job->sent ? step_send : step_answered;
    if (job->ending)
        return step_ends;
    if (job->runs)
        return (void (*[])(struct process *)){step_seen, step_ends, step_ends,
                                              step_cancelling}[draw(4)];
    fill_job(job);
    job->holder = holder;
    return step_begin;
}

static bool is_free_in_round(const struct job *job, int num)
{
    for (int i = 0; i < num; i++)
        if (of_process[i] == job)
            return false;
    return true;
}

/* Whoever dies takes with it the claims of its process. */
static void bury(int nth)
{
    quota_undo_holder(q, holder_of_process(&processes[nth]), NOW);
    for (unsigned i = 0; i < JOBS; i++)
        if (jobs[i].holder == holder_of_process(&processes[nth]))
            jobs[i].claimed = jobs[i].sent = false;
}

/* One thing each at the same time, in an order drawn by lot, with a death now and then.
 * @return whether there was none */
static bool round_of_three(void)
{
    bool all_live = true;
    int alive = 0;

    repairing = false;

    for (int i = 0; i < PROCESSES; i++) {
        unsigned nth;

        do {
            nth = draw(JOBS);
        } while (!is_free_in_round(&jobs[nth], i));
        of_process[i] = &jobs[nth];
        crew(i, next_step(&jobs[nth], 10 + (uint32_t)i), draw(5) == 0 ? (int)draw(25) : -1);
        begin_process(&processes[i]);
        alive++;
    }
    while (alive > 0) {
        struct process *p = &processes[draw(PROCESSES)];

        if (p->done)
            continue;
        go_on(p);
        alive -= p->done;
        check_limits();
    }
    for (int i = 0; i < PROCESSES; i++) {
        if (processes[i].kill_after < 0 || processes[i].steps < processes[i].kill_after)
            continue;
        bury(i);
        all_live = false;
    }
    return all_live;
}

static void check_adds_up(void)
{
    check_scopes_add_up();
    for (uint32_t c = 0; c < 2; c++)
        assert_int_equal(reserved(c), table_column(c));
}

/* A batch that runs is counted, wherever its create or its worker has died; the ledger was told. */
static void check_all_counted(void)
{
    uint64_t runs = 0;

    assert_true(quota_repair(q, NULL));
    check_adds_up();
    for (unsigned i = 0; i < JOBS; i++)
        runs += jobs[i].runs;
    assert_true(num_in(QUOTA_LIVE) + num_in(QUOTA_ORPHAN) + num_in(QUOTA_SENT) >= runs);
}

static void see_all(void)
{
    for (unsigned i = 0; i < JOBS; i++) {
        of_process[0] = &jobs[i];
        if (jobs[i].runs && !jobs[i].claimed)
            step_seen(&processes[0]);
    }
}

/* The ledger begins empty, and the providers' lists tell what runs. */
static void restart(void)
{
    quota_free(q);
    (void)(rows_are_rare ? setup_named(NULL) : setup_orders(NULL));
    bind_column(0, 100, 150);
    for (unsigned i = 0; i < JOBS; i++)
        jobs[i].claimed = jobs[i].sent = jobs[i].ending = jobs[i].refunding = jobs[i].refunded =
            false;
    see_all();
    note_most();
}

/* A scope's sum is what runs. */
static void check_sums_of_runs(void)
{
    for (int n = 0; n < 3; n++) {
        uint64_t least = 0, at_most = 0;

        for (unsigned i = 0; i < JOBS; i++)
            for (int s = 0; s < QUOTA_SCOPES; s++) {
                if (jobs[i].job.scopes[s].name != names[n] || !jobs[i].runs)
                    continue;
                least += jobs[i].refunding ? 0 : jobs[i].job.tokens;
                at_most += jobs[i].refunded ? 0 : jobs[i].job.tokens;
            }
        assert_true(in_scope(names[n]) >= least && in_scope(names[n]) <= at_most);
    }
}

static void tell_of_others(void)
{
    uint64_t name = names[draw(3)];

    quota_set_scope_total(q, 9, name, in_scope(name) + draw(80), draw(4), 1);
    if (draw(3) == 0)
        quota_drop_scope_totals(q, 2);
}

static void live_by_chance(uint32_t seed)
{
    chance = seed;
    rows_are_rare = seed & 1;
    memset(jobs, 0, sizeof(jobs));
    for (int i = 0; i < 3; i++)
        limits[i] = most[i] = 60 + draw(100);
    restart();
    for (int round = 0; round < 400; round++) {
        if (draw(30) == 0) {
            limits[draw(3)] = 60 + draw(100); /* of creates from now on */
            note_most();
        }
        if (draw(8) == 0) /* the keeper: other gateways come and go */
            tell_of_others();
        if (round_of_three())
            check_adds_up(); /* without a repair */
        check_all_counted();
        if (draw(60) == 0)
            restart();
        note_most(); /* what was adopted, or taken by an older and higher limit */
    }
    /* All processes end, and what runs is seen. */
    for (int i = 0; i < PROCESSES; i++)
        quota_undo_holder(q, 10 + (uint32_t)i, NOW);
    for (unsigned i = 0; i < JOBS; i++)
        jobs[i].claimed = false;
    see_all();
    for (unsigned i = 0; i < JOBS; i++) {
        of_process[0] = &jobs[i];
        if (jobs[i].ending)
            step_ends(&processes[0]);
    }
    (void)quota_expire(q, 1, NOW + QUOTA_ORPHAN_KEEP_MS); /* creates that made nothing */
    assert_true(quota_repair(q, NULL));
    check_sums_of_runs();
    for (unsigned i = 0; i < JOBS; i++) {
        of_process[0] = &jobs[i];
        if (jobs[i].runs)
            step_ends(&processes[0]);
    }
    assert_int_equal(reserved(0) + reserved(1), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(in_scope(names[i]) + batches_of(names[i]), 0);
    assert_int_equal(num_in(QUOTA_FREE), load_relaxed(&q->shared.high));
}

static void
any_mix_of_creates_ends_deaths_and_restarts_keeps_the_limits_and_ends_at_zero(void **state)
{
    const char *seeds = getenv("TRANCHE_SEEDS");
    uint32_t num = seeds != NULL ? (uint32_t)strtoul(seeds, NULL, 10) : 60;

    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* it does not follow coroutines */
#endif
    for (uint32_t seed = 1; seed <= num; seed++) {
        print_message("seed %u\n", seed);
        live_by_chance(seed);
    }
}

/* --- threads that really collide --- */

#define LIVES 3000

static _Atomic uint64_t accepted;

static void *run_worker(void *arg)
{
    uint32_t holder = (uint32_t)(uintptr_t)arg, x = holder;
    struct quota_refusal why;
    struct quota_claim claim;
    char id[24];

    for (unsigned i = 0; i < LIVES; i++) {
        struct quota_job job;

        x = x * 1664525u + 1013904223u;
        job =
            job_of(x >> 16 & 63, 0, x & 0x800000 ? KEY_1 : 3000 + (x >> 12 & 63), 100, TEAM_1, 150);
        snprintf(id, sizeof(id), "batch_%u_%u", holder, i);
        if (quota_reserve_job(q, holder, x >> 31, &job, NOW, &claim, &why) != 0)
            continue;
        atomic_fetch_add(&accepted, 1);
        assert_int_equal(quota_commit(q, &claim, id, strlen(id)), 0);
        assert_true(table_scope(TEAM_1).batches <= 64);
        if (x & 0x4000)
            (void)quota_refund(q, holder, x >> 31, id, strlen(id));
        assert_true(quota_release(q, holder, x >> 31, id, strlen(id), QUOTA_DROPPED, NOW));
    }
    return NULL;
}

static void workers_at_full_speed_lose_no_token_of_a_scope(void **state)
{
    pthread_t workers[3];

    (void)state;
    bind_column(0, 100, 1000);
    bind_column(1, 101, 1000);
    q->num_scopes = SCOPE_BUCKET; /* rows change their names all the time */
    atomic_store(&accepted, 0);
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&workers[i], NULL, run_worker, (void *)(10 + i)), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(workers[i], NULL);
    assert_true(accepted > LIVES / 4);
    assert_int_equal(reserved(0) + reserved(1), 0);
    for (uint32_t row = 0; row < q->num_scopes; row++)
        assert_int_equal(count_of(load_relaxed(&row_at(q, row)->batches)) +
                             enqueued_of(load_relaxed(&row_at(q, row)->tokens)),
                         0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            of_creates_that_a_key_has_room_for_one_of_exactly_one_gets_in, setup_orders, teardown),
        cmocka_unit_test_setup_teardown(
            of_creates_that_a_team_has_room_for_one_of_exactly_one_gets_in, setup_orders, teardown),
        cmocka_unit_test_setup_teardown(of_creates_that_name_a_row_at_once_no_two_pass_the_limit,
                                        setup_named, teardown),
        cmocka_unit_test_setup_teardown(who_counts_in_an_idle_row_is_not_counted_by_another_name,
                                        setup_named, teardown),
        cmocka_unit_test_setup_teardown(what_others_have_never_gets_into_another_scopes_row,
                                        setup_named, teardown),
        cmocka_unit_test_setup_teardown(repairing_scopes_while_others_come_and_go_is_exact,
                                        setup_orders, teardown),
        cmocka_unit_test_setup_teardown(a_refund_beside_an_end_gives_nothing_back_twice,
                                        setup_orders, teardown),
        cmocka_unit_test_setup_teardown(
            a_create_that_dies_at_any_step_is_found_or_was_never_counted, setup_orders, teardown),
        cmocka_unit_test_setup_teardown(a_death_on_the_way_out_leaves_nothing_that_is_not_put_right,
                                        setup_orders, teardown),
        cmocka_unit_test_setup_teardown(a_death_while_a_row_changes_its_name_leaves_it_open,
                                        setup_named, teardown),
        cmocka_unit_test_setup_teardown(
            any_mix_of_creates_ends_deaths_and_restarts_keeps_the_limits_and_ends_at_zero,
            setup_orders, teardown),
        cmocka_unit_test_setup_teardown(workers_at_full_speed_lose_no_token_of_a_scope, setup,
                                        teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
