/* state: rows with one writer each, what readers sum, what a death leaves behind. Workers are
 * threads here, and processes where one is killed. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "balancer/state.h"
#include "common/clock.h"

#define MINUTE 60000u
#define NOW    (1000u * MINUTE)

static struct model_account account;
static struct model_deployment rows[64];

/* A table of deployments with these fingerprints. */
static struct table *table_of(const uint32_t *fingerprints, size_t n)
{
    struct model_list list = {
        .accounts = &account, .num_accounts = 1, .deployments = rows, .num_deployments = n};
    struct table *table = NULL;

    for (size_t i = 0; i < n; i++)
        rows[i] = (struct model_deployment){.group = (char *)(uintptr_t) "g",
                                            .fingerprint = fingerprints[i]};
    assert_int_equal(table_build(&list, 1, &table), 0);
    return table;
}

static struct state *new_state(uint32_t workers, uint32_t columns)
{
    struct state *st = NULL;

    assert_int_equal(state_new(workers, columns, &st), 0);
    return st;
}

static int bind_all(struct state *st, const uint32_t *fingerprints, size_t n, uint32_t *columns)
{
    struct table *table = table_of(fingerprints, n);
    int err = state_bind(st, table, columns);

    table_free(table);
    return err;
}

/* A state with one bound deployment in column 0. */
static struct state *simple_state(uint32_t workers)
{
    struct state *st = new_state(workers, 4);
    uint32_t column;

    assert_int_equal(bind_all(st, (uint32_t[]){77}, 1, &column), 0);
    assert_int_equal(column, 0);
    return st;
}

static struct state_sum read_at(const struct state *st, uint32_t column, uint64_t now_ms)
{
    struct state_sum sum;

    state_read(st, column, now_ms, &sum);
    return sum;
}

static void try_at(struct state *st, uint32_t worker, enum outcome outcome, int status, uint64_t us,
                   uint64_t now_ms)
{
    state_begin_at(st, worker, 0, OP_UPLOAD, now_ms);
    state_end_at(st, worker, 0, OP_UPLOAD, outcome, status, us, 0, 0, now_ms);
}

static void nothing_is_known_at_first(void **state)
{
    struct state *st = simple_state(2);
    struct state_sum sum = read_at(st, 0, NOW), zero;

    (void)state;
    memset(&zero, 0, sizeof(zero));
    assert_memory_equal(&sum, &zero, sizeof(zero));
    assert_int_equal(*state_health(st, 0, OP_CREATE), 0);
    state_free(st);
}

static void a_try_is_in_flight_until_it_ends_and_then_counted_with_its_bytes(void **state)
{
    struct state *st = simple_state(2);
    struct state_sum sum;

    (void)state;
    state_begin_at(st, 1, 0, OP_UPLOAD, NOW);
    sum = read_at(st, 0, NOW);
    assert_int_equal(sum.in_flight[OP_UPLOAD], 1);
    assert_int_equal(sum.in_flight[OP_READ], 0);
    assert_int_equal(sum.requests[OP_UPLOAD], 1);
    state_end_at(st, 1, 0, OP_UPLOAD, OUTCOME_OK, 200, 1500, 1000, 20, NOW);
    sum = read_at(st, 0, NOW);
    assert_int_equal(sum.in_flight[OP_UPLOAD], 0);
    assert_int_equal(sum.outcomes[OP_UPLOAD][OUTCOME_OK], 1);
    assert_int_equal(sum.bytes_sent, 1000);
    assert_int_equal(sum.bytes_received, 20);
    assert_int_equal(sum.latency_us, 1500);
    state_free(st);
}

static void each_operation_and_outcome_has_its_own_counter(void **state)
{
    struct state *st = simple_state(1);
    struct state_sum sum;

    (void)state;
    for (int op = 0; op < OP_CLASS_COUNT; op++) {
        for (int o = 0; o < OUTCOME_COUNT; o++) {
            for (int times = 0; times <= op * OUTCOME_COUNT + o; times++) {
                state_begin_at(st, 0, 0, (enum op_class)op, NOW);
                state_end_at(st, 0, 0, (enum op_class)op, (enum outcome)o, 0, 1, 0, 0, NOW);
            }
        }
    }
    sum = read_at(st, 0, NOW);
    for (int op = 0; op < OP_CLASS_COUNT; op++) {
        for (int o = 0; o < OUTCOME_COUNT; o++)
            assert_int_equal(sum.outcomes[op][o], op * OUTCOME_COUNT + o + 1);
    }
    state_free(st);
}

static void columns_and_workers_do_not_touch_each_other(void **state)
{
    struct state *st = new_state(3, 3);
    uint32_t columns[3];

    (void)state;
    assert_int_equal(bind_all(st, (uint32_t[]){5, 6, 7}, 3, columns), 0);
    state_begin_at(st, 0, columns[1], OP_READ, NOW);
    state_begin_at(st, 2, columns[1], OP_READ, NOW);
    assert_int_equal(read_at(st, columns[0], NOW).requests[OP_READ], 0);
    assert_int_equal(read_at(st, columns[1], NOW).requests[OP_READ], 2);
    assert_int_equal(read_at(st, columns[2], NOW).requests[OP_READ], 0);
    state_free(st);
}

static void requests_and_tokens_count_for_the_current_minute_only(void **state)
{
    struct state *st = simple_state(2);

    (void)state;
    state_begin_at(st, 0, 0, OP_CREATE, NOW);
    state_begin_at(st, 1, 0, OP_UPLOAD, NOW + MINUTE - 1);
    state_begin_at(st, 1, 0, OP_READ, NOW + MINUTE - 1); /* a poll uses nothing up */
    state_add_tokens(st, 0, 0, 500, NOW + 1);
    state_add_tokens(st, 0, 0, 70, NOW + 2);
    assert_int_equal(read_at(st, 0, NOW + MINUTE - 1).requests_minute, 2);
    assert_int_equal(read_at(st, 0, NOW + MINUTE - 1).tokens_minute, 570);
    assert_int_equal(read_at(st, 0, NOW + MINUTE).requests_minute, 0);
    assert_int_equal(read_at(st, 0, NOW + MINUTE).tokens_minute, 0);
    state_begin_at(st, 0, 0, OP_CREATE, NOW + MINUTE);
    assert_int_equal(read_at(st, 0, NOW + MINUTE).requests_minute, 1);
    assert_int_equal(read_at(st, 0, NOW + MINUTE).requests[OP_CREATE], 2);
    state_free(st);
}

static void tokens_of_a_minute_stop_at_the_greatest_number_instead_of_wrapping(void **state)
{
    struct state *st = simple_state(1);

    (void)state;
    state_add_tokens(st, 0, 0, UINT64_MAX, NOW);
    state_add_tokens(st, 0, 0, 5, NOW);
    assert_true(read_at(st, 0, NOW).tokens_minute == (UINT64_C(1) << 40) - 1);
    assert_int_equal(read_at(st, 0, NOW + MINUTE).tokens_minute, 0);
    state_free(st);
}

static void latency_starts_at_the_first_sample_and_moves_by_an_eighth(void **state)
{
    struct state *st = simple_state(1);

    (void)state;
    try_at(st, 0, OUTCOME_OK, 200, 8000, NOW);
    assert_int_equal(read_at(st, 0, NOW).latency_us, 8000);
    try_at(st, 0, OUTCOME_OK, 200, 16000, NOW);
    assert_int_equal(read_at(st, 0, NOW).latency_us, 9000);
    try_at(st, 0, OUTCOME_SERVER_ERROR, 500, 900000, NOW);
    assert_int_equal(read_at(st, 0, NOW).latency_us, 9000);
    state_free(st);
}

/* A probe or a poll is not what is placed. */
static void reads_are_no_measure_of_latency(void **state)
{
    struct state *st = simple_state(1);

    (void)state;
    state_begin_at(st, 0, 0, OP_READ, NOW);
    state_end_at(st, 0, 0, OP_READ, OUTCOME_TIMEOUT, 0, 5000, 0, 0, NOW);
    state_begin_at(st, 0, 0, OP_READ, NOW);
    state_end_at(st, 0, 0, OP_READ, OUTCOME_OK, 200, 5000, 0, 0, NOW);
    assert_int_equal(read_at(st, 0, NOW).latency_us, 0);
    state_free(st);
}

/* LiteLLM's penalty: else one that only ever times out stays the one that is to be measured. */
static void a_time_out_counts_as_a_thousand_seconds(void **state)
{
    struct state *st = simple_state(1);

    (void)state;
    state_begin_at(st, 0, 0, OP_UPLOAD, NOW);
    state_end_at(st, 0, 0, OP_UPLOAD, OUTCOME_TIMEOUT, 0, 5000, 0, 0, NOW);
    assert_int_equal(read_at(st, 0, NOW).latency_us, UINT64_C(1000000000));
    state_begin_at(st, 0, 0, OP_CREATE, NOW);
    state_end_at(st, 0, 0, OP_CREATE, OUTCOME_OK, 200, 8000000, 0, 0, NOW);
    assert_int_equal(read_at(st, 0, NOW).latency_us, UINT64_C(876000000));
    state_free(st);
}

static void a_latency_of_zero_or_of_days_is_still_a_measurement(void **state)
{
    struct state *st = simple_state(2);

    (void)state;
    try_at(st, 0, OUTCOME_OK, 200, 0, NOW);
    assert_int_equal(read_at(st, 0, NOW).latency_us, 1);
    try_at(st, 1, OUTCOME_OK, 200, UINT64_MAX, NOW + 10 * MINUTE);
    assert_true(read_at(st, 0, NOW).latency_us > UINT64_C(4) * 3600 * 1000000);
    state_free(st);
}

static void the_mean_latency_weighs_workers_by_their_samples(void **state)
{
    struct state *st = simple_state(2);

    (void)state;
    for (int i = 0; i < 3; i++)
        try_at(st, 0, OUTCOME_OK, 200, 1000, NOW);
    try_at(st, 1, OUTCOME_OK, 200, 5000, NOW);
    assert_int_equal(read_at(st, 0, NOW).latency_us, 2000);
    state_free(st);
}

/* After a reload the rows of the former workers remain: they must not outvote what is measured now,
 * whatever the row order. */
static void what_former_workers_measured_fades_when_there_is_something_newer(void **state)
{
    (void)state;
    for (uint32_t old = 0; old < 2; old++) {
        struct state *st = simple_state(2);

        for (int i = 0; i < 1000; i++)
            try_at(st, old, OUTCOME_OK, 200, 1000, NOW);
        assert_int_equal(read_at(st, 0, NOW + 60 * MINUTE).latency_us, 1000);
        try_at(st, 1 - old, OUTCOME_OK, 200, 9000, NOW + 6 * MINUTE);
        assert_int_equal(read_at(st, 0, NOW + 6 * MINUTE).latency_us,
                         5000); /* 64 samples, halved six times: 1 to 1 */
        try_at(st, 1 - old, OUTCOME_OK, 200, 9000, NOW + 60 * MINUTE);
        assert_int_equal(read_at(st, 0, NOW + 60 * MINUTE).latency_us, 9000);
        state_free(st);
    }
}

static void the_newest_failure_of_all_workers_is_the_last_error(void **state)
{
    struct state *st = simple_state(3);
    struct state_sum sum;

    (void)state;
    try_at(st, 2, OUTCOME_SERVER_ERROR, 503, 0, NOW);
    try_at(st, 0, OUTCOME_RATE_LIMIT, 429, 0, NOW + 5);
    try_at(st, 1, OUTCOME_CONNECT, 0, 0, NOW + 3);
    try_at(st, 1, OUTCOME_OK, 404, 0, NOW + 9);
    try_at(st, 1, OUTCOME_CANCELLED, 0, 0, NOW + 10);
    sum = read_at(st, 0, NOW + 20);
    assert_int_equal(sum.last_outcome, OUTCOME_RATE_LIMIT);
    assert_int_equal(sum.last_status, 429);
    assert_int_equal(sum.last_error_ms, NOW + 5);
    state_free(st);
}

static void the_plain_calls_use_the_real_clock(void **state)
{
    struct state *st = simple_state(1);
    uint64_t before = clock_now_ms(), after;
    struct state_sum sum;

    (void)state;
    state_begin(st, 0, 0, OP_READ);
    state_end(st, 0, 0, OP_READ, OUTCOME_BROKEN, 0, 0, 0, 0);
    after = clock_now_ms();
    sum = read_at(st, 0, after);
    assert_in_range(sum.last_error_ms, before, after);
    state_free(st);
}

static void a_dead_workers_gauges_are_cleared_and_its_counters_kept(void **state)
{
    struct state *st = simple_state(3);
    struct state_sum sum;

    (void)state;
    state_begin_at(st, 0, 0, OP_CREATE, NOW);
    state_begin_at(st, 1, 0, OP_CREATE, NOW);
    state_begin_at(st, 1, 0, OP_UPLOAD, NOW);
    try_at(st, 1, OUTCOME_OK, 200, 10, NOW);
    assert_int_equal(state_clear_worker(st, 1), 2);
    assert_int_equal(state_clear_worker(st, 1), 0);
    assert_int_equal(state_clear_worker(st, 2), 0);
    sum = read_at(st, 0, NOW);
    assert_int_equal(sum.in_flight[OP_CREATE], 1);
    assert_int_equal(sum.in_flight[OP_UPLOAD], 0);
    assert_int_equal(sum.requests[OP_CREATE], 2);
    assert_int_equal(sum.outcomes[OP_UPLOAD][OUTCOME_OK], 1);
    state_free(st);
}

static void a_known_deployment_keeps_its_column_over_reloads(void **state)
{
    struct state *st = new_state(2, 8);
    uint32_t first[3], second[3];

    (void)state;
    assert_int_equal(bind_all(st, (uint32_t[]){10, 20, 30}, 3, first), 0);
    state_begin_at(st, 0, first[1], OP_READ, NOW);
    atomic_store(state_health(st, first[1], OP_READ), 99);
    assert_int_equal(bind_all(st, (uint32_t[]){40, 30, 20}, 3, second), 0);
    assert_int_equal(second[1], first[2]);
    assert_int_equal(second[2], first[1]);
    assert_int_not_equal(second[0], first[0]);
    assert_int_equal(read_at(st, second[2], NOW).requests[OP_READ], 1);
    assert_int_equal(*state_health(st, second[2], OP_READ), 99);
    state_free(st);
}

static void a_deployment_that_comes_back_finds_its_own_column(void **state)
{
    struct state *st = new_state(1, 8);
    uint32_t first[2], other, again[2];

    (void)state;
    assert_int_equal(bind_all(st, (uint32_t[]){10, 20}, 2, first), 0);
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(bind_all(st, (uint32_t[]){30 + i}, 1, &other), 0);
    assert_int_equal(bind_all(st, (uint32_t[]){20, 10}, 2, again), 0);
    assert_int_equal(again[0], first[1]);
    assert_int_equal(again[1], first[0]);
    state_free(st);
}

static void a_table_that_does_not_fit_is_refused_without_a_trace(void **state)
{
    struct state *st = new_state(1, 2);
    uint32_t columns[3], again[2];

    (void)state;
    assert_int_equal(bind_all(st, (uint32_t[]){1, 2}, 2, columns), 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(bind_all(st, (uint32_t[]){3}, 1, columns), ERR_FULL);
    assert_int_equal(bind_all(st, (uint32_t[]){1, 2, 3}, 3, columns), ERR_FULL);
    assert_int_equal(bind_all(st, (uint32_t[]){1, 2}, 2, again), 0);
    assert_int_equal(again[0], 0);
    assert_int_equal(again[1], 1);
    state_free(st);
}

static void a_column_that_two_tables_no_longer_named_is_given_away_empty(void **state)
{
    struct state *st = new_state(2, 2);
    uint32_t columns[2], column;

    (void)state;
    assert_int_equal(bind_all(st, (uint32_t[]){1, 2}, 2, columns), 0);
    state_begin_at(st, 1, 0, OP_READ, NOW);
    state_end_at(st, 1, 0, OP_READ, OUTCOME_BROKEN, 0, 5, 5, 5, NOW);
    atomic_store(state_health(st, 0, OP_UPLOAD), 7);
    assert_int_equal(bind_all(st, (uint32_t[]){2}, 1, &column), 0);
    assert_int_equal(bind_all(st, (uint32_t[]){2, 3}, 2, columns), ERR_FULL);
    assert_int_equal(bind_all(st, (uint32_t[]){2}, 1, &column), 0);
    assert_int_equal(bind_all(st, (uint32_t[]){2, 3}, 2, columns), 0);
    assert_int_equal(columns[0], 1);
    assert_int_equal(columns[1], 0);
    assert_int_equal(read_at(st, 0, NOW).requests[OP_READ], 0);
    assert_int_equal(read_at(st, 0, NOW).last_error_ms, 0);
    assert_int_equal(read_at(st, 0, NOW).bytes_sent, 0);
    assert_int_equal(*state_health(st, 0, OP_UPLOAD), 0);
    state_free(st);
}

static void a_column_to_which_something_is_in_flight_is_never_given_away(void **state)
{
    struct state *st = new_state(1, 2);
    uint32_t columns[2], column;

    (void)state;
    assert_int_equal(bind_all(st, (uint32_t[]){1, 2}, 2, columns), 0);
    state_begin_at(st, 0, 0, OP_UPLOAD, NOW);
    for (int i = 0; i < 3; i++)
        assert_int_equal(bind_all(st, (uint32_t[]){2}, 1, &column), 0);
    assert_int_equal(bind_all(st, (uint32_t[]){3}, 1, &column), ERR_FULL);
    state_end_at(st, 0, 0, OP_UPLOAD, OUTCOME_OK, 200, 1, 0, 0, NOW);
    assert_int_equal(bind_all(st, (uint32_t[]){3}, 1, &column), 0);
    assert_int_equal(column, 0);
    state_free(st);
}

static void health_words_of_columns_and_operations_are_apart(void **state)
{
    struct state *st = new_state(1, 4);

    (void)state;
    for (uint32_t c = 0; c < 4; c++) {
        for (int op = 0; op < OP_CLASS_COUNT; op++)
            atomic_store(state_health(st, c, (enum op_class)op), c * 10 + (uint32_t)op);
    }
    for (uint32_t c = 0; c < 4; c++) {
        for (int op = 0; op < OP_CLASS_COUNT; op++)
            assert_int_equal(*state_health(st, c, (enum op_class)op), c * 10 + (uint32_t)op);
    }
    state_free(st);
}

static void a_size_beyond_all_memory_is_an_error(void **state)
{
    struct state *st = NULL;

    (void)state;
    assert_int_equal(state_new(UINT32_MAX, UINT32_MAX, &st), ERR_NOMEM);
    assert_null(st);
    state_free(NULL);
}

/* Resident bytes of a mapping of 128 workers: a reader must not fault in the rows of workers that
 * never ran. */
static void reading_costs_no_memory_for_workers_that_never_ran(void **state)
{
    struct state *st = new_state(128, 1000);
    size_t before = 0, after = 0;
    FILE *f;

    (void)state;
    for (int pass = 0; pass < 2; pass++) {
        char line[256];
        size_t kb, *sum = pass == 0 ? &before : &after;

        f = fopen("/proc/self/smaps_rollup", "r");
        assert_non_null(f);
        while (fgets(line, sizeof(line), f) != NULL) {
            if (sscanf(line, "Rss: %zu kB", &kb) == 1)
                *sum = kb;
        }
        fclose(f);
        for (uint32_t c = 0; c < 1000; c++)
            read_at(st, c, NOW);
    }
    assert_true(after - before < 4096); /* all rows together: 40 MB */
    state_free(st);
}

/* --- many at once --- */

#define WRITERS 4
#define ROUNDS  20000u

struct crew {
    struct state *st;
    uint32_t worker;
    _Atomic bool *stop;
};

static void *run_writer(void *arg)
{
    struct crew *crew = arg;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        state_begin_at(crew->st, crew->worker, 0, OP_CREATE, NOW);
        state_add_tokens(crew->st, crew->worker, 0, 3, NOW);
        state_end_at(crew->st, crew->worker, 0, OP_CREATE,
                     i % 2 == 0 ? OUTCOME_OK : OUTCOME_RATE_LIMIT, 429, 250, 10, 20, NOW);
    }
    return NULL;
}

static void *run_reader(void *arg)
{
    struct crew *crew = arg;
    uint64_t last = 0;

    while (!atomic_load(crew->stop)) {
        struct state_sum sum = read_at(crew->st, 0, NOW);

        /* Counters never go back, no more can be in flight than there are writers, and a failure is
         * seen whole. */
        if (sum.requests[OP_CREATE] < last || sum.in_flight[OP_CREATE] > WRITERS ||
            (sum.last_error_ms != 0 && (sum.last_error_ms != NOW || sum.last_status != 429)) ||
            (sum.latency_us != 0 && sum.latency_us != 250))
            return crew;
        last = sum.requests[OP_CREATE];
    }
    return NULL;
}

static void nothing_is_lost_when_all_workers_write_and_somebody_reads(void **state)
{
    struct state *st = simple_state(WRITERS);
    struct crew crews[WRITERS + 1];
    pthread_t threads[WRITERS + 1];
    _Atomic bool stop = false;
    struct state_sum sum;
    void *complaint;

    (void)state;
    for (uint32_t i = 0; i <= WRITERS; i++) {
        crews[i] = (struct crew){st, i, &stop};
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < WRITERS ? run_writer : run_reader, &crews[i]), 0);
    }
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&stop, true);
    pthread_join(threads[WRITERS], &complaint);
    assert_null(complaint);
    sum = read_at(st, 0, NOW);
    assert_int_equal(sum.requests[OP_CREATE], WRITERS * ROUNDS);
    assert_int_equal(sum.outcomes[OP_CREATE][OUTCOME_OK], WRITERS * ROUNDS / 2);
    assert_int_equal(sum.outcomes[OP_CREATE][OUTCOME_RATE_LIMIT], WRITERS * ROUNDS / 2);
    assert_int_equal(sum.in_flight[OP_CREATE], 0);
    assert_int_equal(sum.requests_minute, WRITERS * ROUNDS);
    assert_int_equal(sum.tokens_minute, 3 * WRITERS * ROUNDS);
    assert_int_equal(sum.bytes_sent, 10 * WRITERS * ROUNDS);
    state_free(st);
}

/* A worker that works without pause is killed at whatever instruction it has come to; `*turns` says
 * that it has begun. */
static void work_forever(struct state *st, _Atomic uint32_t *turns)
{
    for (;;) {
        state_begin(st, 0, 0, OP_CREATE);
        state_begin(st, 0, 0, OP_UPLOAD);
        state_end(st, 0, 0, OP_UPLOAD, OUTCOME_OK, 200, 1, 1, 1);
        state_end(st, 0, 0, OP_CREATE, OUTCOME_OK, 200, 1, 1, 1);
        atomic_fetch_add(turns, 1);
    }
}

static void a_worker_killed_anywhere_leaves_only_gauges_that_the_master_clears(void **state)
{
    struct state *st = simple_state(1);
    _Atomic uint32_t *turns =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    (void)state;
    assert_true(turns != MAP_FAILED);
    for (uint32_t i = 0; i < 100; i++) {
        struct state_sum sum;
        uint64_t ended;
        pid_t pid;

        atomic_store(turns, 0);
        pid = fork();
        assert_int_not_equal(pid, -1);
        if (pid == 0)
            work_forever(st, turns);
        while (atomic_load(turns) < 10 + i)
            ;
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_true(state_clear_worker(st, 0) <= 2);
        sum = read_at(st, 0, clock_now_ms());
        assert_int_equal(sum.in_flight[OP_CREATE] + sum.in_flight[OP_UPLOAD], 0);
        /* Each death loses at most the begin and the end that it cut. */
        ended = sum.outcomes[OP_CREATE][OUTCOME_OK];
        assert_true(sum.requests[OP_CREATE] + i + 1 >= ended &&
                    sum.requests[OP_CREATE] <= ended + i + 1);
    }
    munmap(turns, 4096);
    state_free(st);
}

static void every_operation_and_outcome_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(op_class_name(OP_CREATE), "create");
    assert_string_equal(outcome_name(OUTCOME_CANCELLED), "cancelled");
    for (int i = 0; i < OP_CLASS_COUNT; i++)
        assert_string_not_equal(op_class_name((enum op_class)i), "unknown");
    for (int i = 0; i < OUTCOME_COUNT; i++)
        assert_string_not_equal(outcome_name((enum outcome)i), "unknown");
    assert_string_equal(outcome_name((enum outcome)OUTCOME_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(a_try_is_in_flight_until_it_ends_and_then_counted_with_its_bytes),
        cmocka_unit_test(each_operation_and_outcome_has_its_own_counter),
        cmocka_unit_test(columns_and_workers_do_not_touch_each_other),
        cmocka_unit_test(requests_and_tokens_count_for_the_current_minute_only),
        cmocka_unit_test(tokens_of_a_minute_stop_at_the_greatest_number_instead_of_wrapping),
        cmocka_unit_test(latency_starts_at_the_first_sample_and_moves_by_an_eighth),
        cmocka_unit_test(reads_are_no_measure_of_latency),
        cmocka_unit_test(a_time_out_counts_as_a_thousand_seconds),
        cmocka_unit_test(a_latency_of_zero_or_of_days_is_still_a_measurement),
        cmocka_unit_test(the_mean_latency_weighs_workers_by_their_samples),
        cmocka_unit_test(what_former_workers_measured_fades_when_there_is_something_newer),
        cmocka_unit_test(the_newest_failure_of_all_workers_is_the_last_error),
        cmocka_unit_test(the_plain_calls_use_the_real_clock),
        cmocka_unit_test(a_dead_workers_gauges_are_cleared_and_its_counters_kept),
        cmocka_unit_test(a_known_deployment_keeps_its_column_over_reloads),
        cmocka_unit_test(a_deployment_that_comes_back_finds_its_own_column),
        cmocka_unit_test(a_table_that_does_not_fit_is_refused_without_a_trace),
        cmocka_unit_test(a_column_that_two_tables_no_longer_named_is_given_away_empty),
        cmocka_unit_test(a_column_to_which_something_is_in_flight_is_never_given_away),
        cmocka_unit_test(health_words_of_columns_and_operations_are_apart),
        cmocka_unit_test(a_size_beyond_all_memory_is_an_error),
        cmocka_unit_test(reading_costs_no_memory_for_workers_that_never_ran),
        cmocka_unit_test(nothing_is_lost_when_all_workers_write_and_somebody_reads),
        cmocka_unit_test(a_worker_killed_anywhere_leaves_only_gauges_that_the_master_clears),
        cmocka_unit_test(every_operation_and_outcome_has_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
