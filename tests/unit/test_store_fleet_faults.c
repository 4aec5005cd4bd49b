/* What is left of a fleet's rows when nodes are killed in the midst of them, and when the database
 * hangs, is held by others, or crashes: every sum is that of its reservations, and what was granted
 * is there. */
#include "both_engines.h"

#include "common/rights.h"
#include "server/store/store_fleet_impl.h"
#include "store/store_fleet.h"

static struct fleet_intent create_of(const char *id, unsigned seed)
{
    struct fleet_intent intent = {.id = id, .nonce = id, .tokens = 1 + seed % 7, .busy_ms = 1000};

    for (unsigned i = 0; i < FLEET_SCOPES; i++)
        intent.scopes[i] = (struct fleet_scope){1 + (seed + i) % 3, RIGHTS_UNLIMITED,
                                                RIGHTS_UNLIMITED, INT64_MAX, 0};
    return intent;
}

static struct fleet_me joined(struct store *store, const char *node, uint64_t run)
{
    struct fleet_me me = {.node = node};
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;

    while (store_fleet_join(store, run, "", "", &me) != 0) {
        if (clock_now_ms() > until_ms)
            fail_msg("not joined: %s", store_why(store));
        world_pause();
    }
    return me;
}

static void must_add_up(struct world *w)
{
    char behind[FLEET_ID] = "";
    uint64_t drift = 0, until_ms = clock_now_ms() + PATIENCE_MS;

    do {
        if (store_fleet_repair(w->store, behind, &drift) != 0) {
            assert_true(clock_now_ms() < until_ms); /* a killed one's session ends in a moment */
            world_pause();
            behind[0] = '\0';
            continue;
        }
    } while (behind[0] != '\0');
    assert_int_equal(drift, 0);
}

static int on_number(void *arg, const struct row *row)
{
    *(int64_t *)arg = row_int(row, 0);
    return 0;
}

static int64_t number_of(struct world *w, const char *sql)
{
    int64_t number = 0;

    OK(w, work_begin(w->store, WORK_READ));
    OK(w, work_end(w->store, work_run(w->store, sql, NULL, 0, on_number, &number)));
    return number;
}

#define LOST_OF_ONE 12 /* at most */

/* Grants, ends and drops until it is killed; each answer that it got is a byte in the pipe. One whose
 * killer comes late waits. */
static void live_until_killed(const struct world *w, unsigned number, int out)
{
    struct store *store = world_open(w->url);
    struct fleet_me me = joined(store, "victim", 1000 + number);
    struct fleet_answer answer;
    char id[32], native[32];

    for (unsigned i = 0, answers = 0;; i++) {
        struct fleet_intent intent;
        struct fleet_live made = {.of = {.id = id}, .native = native};
        struct fleet_drop drop = {.of = {.id = id}, .end = FLEET_NOT_MADE};

        snprintf(id, sizeof(id), "%u-%u", number, i);
        snprintf(native, sizeof(native), "n%u-%u", number, i);
        intent = create_of(id, i);
        if (store_fleet_intents(store, &me, &intent, 1, &answer) != 0)
            continue;
        if (i % 3 == 0 && store_fleet_drop(store, &me, &drop, 1) != 0)
            continue;
        if (i % 3 == 1 && store_fleet_live(store, &me, &made, 1, NULL) != 0)
            continue;
        if (write(out, i % 3 == 1 ? "l" : "o", 1) != 1)
            _exit(1);
        while (++answers == 3 * (LOST_OF_ONE - 2))
            pause();
    }
}

/* Whoever was killed may have said something that its server still carries out. */
static void await_killed_session(struct world *w)
{
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;

    while (w->cluster != NULL &&
           number_of(w, "select count(*) from pg_stat_activity where backend_type ="
                        " 'client backend' and pid <> pg_backend_pid()") != 0) {
        assert_true(clock_now_ms() < until_ms);
        world_pause();
    }
}

static void a_node_that_is_killed_anywhere_leaves_true_sums(void **state)
{
    WORLD(w);
    unsigned made = 0;
    struct fleet_lost lost[6 * LOST_OF_ONE];
    struct fleet_me me;
    size_t num;

    (void)joined(w->store, "other", 1);
    for (unsigned k = 0; k < 6; k++) {
        int ends[2], status;
        char byte;
        pid_t pid;

        assert_int_equal(pipe(ends), 0);
        pid = fork();
        if (pid == 0) {
            close(ends[0]);
            live_until_killed(w, k, ends[1]);
        }
        close(ends[1]);
        for (unsigned i = 0; i < 4 + k && read(ends[0], &byte, 1) == 1; i++)
            made += byte == 'l';
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        while (read(ends[0], &byte, 1) == 1)
            made += byte == 'l';
        close(ends[0]);
        await_killed_session(w);
        must_add_up(w);
    }
    /* What was said to be there is, and what was left in the midst is handed out. */
    assert_true(number_of(w, "select count(*) from @reservation where state = 1") >= made);
    me = joined(w->store, "victim", 2000);
    OK(w, store_fleet_claim_lost(w->store, &me, lost, 6 * LOST_OF_ONE, &num));
    assert_int_equal(num, number_of(w, "select count(*) from @reservation where state in (0, 3)"));
    assert_true(num > 0);
}

static void a_row_that_somebody_holds_costs_a_deadline_and_counts_nothing(void **state)
{
    WORLD(w);
    struct store_options quick = {.deadline_ms = 1000};
    struct store *holder = world_open(w->url), *store;
    struct fleet_intent intent = create_of("r1", 1);
    struct fleet_answer answer;
    struct fleet_me me = joined(w->store, "node", 1);
    char why[STORE_WHY_BYTES];
    uint64_t until_ms;

    OK(w, store_fleet_intents(w->store, &me, &intent, 1, &answer)); /* its scopes are there */
    assert_int_equal(store_new(w->url, &quick, &store, why), 0);
    OK(w, store_fleet_beat(w->store, &me, NULL));
    assert_int_equal(work_begin(holder, WORK_WRITE), 0);
    assert_int_equal(work_run(holder, "update @allowance set spent_nano = 1", NULL, 0, NULL, NULL),
                     0);
    intent.id = "r2";
    assert_int_equal(store_fleet_intents(store, &me, &intent, 1, &answer), ERR_IO);
    assert_null(answer.body);
    assert_int_equal(work_end(holder, 0), 0);
    until_ms = clock_now_ms() + PATIENCE_MS;
    while (store_fleet_intents(store, &me, &intent, 1, &answer) != 0) { /* said again */
        assert_true(clock_now_ms() < until_ms);
        world_pause();
    }
    assert_int_equal(answer.verdict, FLEET_GRANTED);
    must_add_up(w);
    assert_int_equal(number_of(w, "select count(*) from @reservation where state = 0"), 2);
    store_free(store);
    store_free(holder);
}

static void a_crash_of_the_server_loses_nothing_that_was_granted(void **state)
{
    WORLD(w);
    struct fleet_me me = joined(w->store, "node", 1);
    struct fleet_answer answer;
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;
    char ids[24][16];

    for (unsigned i = 0; i < 24; i++) {
        struct fleet_intent intent;

        snprintf(ids[i], sizeof(ids[i]), "r%u", i);
        intent = create_of(ids[i], i);
        if (i == 12) {
            cluster_stop(w->cluster, SIGQUIT);
            assert_int_equal(store_fleet_intents(w->store, &me, &intent, 1, &answer), ERR_IO);
            cluster_start(w->cluster);
        }
        while (store_fleet_intents(w->store, &me, &intent, 1, &answer) != 0) {
            assert_true(clock_now_ms() < until_ms);
            world_pause();
        }
        assert_int_equal(answer.verdict, FLEET_GRANTED);
    }
    assert_int_equal(number_of(w, "select count(*) from @reservation where state = 0"), 24);
    must_add_up(w);
}

#define T(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_node_that_is_killed_anywhere_leaves_true_sums, set_up_sqlite),
        T(a_node_that_is_killed_anywhere_leaves_true_sums, set_up_postgres),
        T(a_row_that_somebody_holds_costs_a_deadline_and_counts_nothing, set_up_sqlite),
        T(a_row_that_somebody_holds_costs_a_deadline_and_counts_nothing, set_up_postgres),
        T(a_crash_of_the_server_loses_nothing_that_was_granted, set_up_postgres)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store_fleet_faults", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
