/* The prober's whole life in a child process, over an upstream that answers from a script: account
 * 4n lists its batches, 4n+1 refuses the key, 4n+2 answers with a page, 4n+3 cannot be reached. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/shm.h"
#include "upstream/client.h"
#include "upkeep/prober.h"

#define ACCOUNTS 30
#define EACH     2 /* deployments of an account */
#define ROW      5
#define HELD_MS  10  /* between two looks whether a call may end */
#define FULL_MS  400 /* longer than one more account needs to come up */

/* --- the scripted upstream; its record is shared with the test --- */

struct record {
    unsigned calls[ACCOUNTS], in_flight, most_in_flight, ended;
    unsigned end_after; /* calls; then the prober gets SIGTERM */
    /* No call ends before so many were under way at once, and FULL_MS after that */
    unsigned full;
    uint64_t full_ms; /* when they were; 0: not yet */
    bool bad_request; /* something but GET, or no limit=1 */
    /* Wanted again in each call; NULL: none. Borrowed, shared */
    struct probe_word *wanted_meanwhile;
};

struct upstream {
    struct loop *loop;
};

struct upstream_call {
    struct loop *loop;
    struct loop_timer timer;
    struct upstream_request request;
    unsigned account;
};

static struct record *record;

int upstream_new(struct loop *loop, const struct upstream_options *options, struct upstream **out)
{
    (void)options;
    *out = calloc(1, sizeof(**out));
    (*out)->loop = loop;
    return 0;
}

static bool may_end(struct loop *loop)
{
    return record->full == 0 ||
           (record->full_ms != 0 && loop_now_ms(loop) >= record->full_ms + FULL_MS);
}

static void answer(struct loop_timer *timer)
{
    static const char *const bodies[] = {"{\"object\":\"list\",\"data\":[]}",
                                         "{\"error\":{\"message\":\"no\"}}", "<html></html>", NULL};
    static const int statuses[] = {200, 401, 200, 0};
    struct upstream_call *call = timer->arg;
    unsigned kind = call->account % 4;
    struct upstream_result result = {.end = kind == 3 ? UPSTREAM_CONNECT_FAILED : UPSTREAM_ANSWERED,
                                     .head.status = statuses[kind],
                                     .head.content_length = -1,
                                     .body = bodies[kind],
                                     .body_len = bodies[kind] != NULL ? strlen(bodies[kind]) : 0};

    if (!may_end(call->loop)) {
        (void)loop_timer_start(call->loop, timer, HELD_MS); /* its place was just freed */
        return;
    }
    record->in_flight--;
    call->request.on_done(call->request.arg, &result);
    free(call);
    __atomic_fetch_add(&record->ended, 1, __ATOMIC_SEQ_CST);
    if (record->ended == record->end_after)
        kill(getpid(), SIGTERM);
}

struct upstream_call *upstream_start(struct upstream *up, const struct upstream_request *request)
{
    struct upstream_call *call = calloc(1, sizeof(*call));
    const char *number = strstr(request->url, "//a");

    if (strcmp(request->method, "GET") != 0 || strstr(request->url, "limit=1") == NULL ||
        number == NULL)
        record->bad_request = true;
    else
        call->account = (unsigned)atoi(number + 3);
    call->loop = up->loop;
    call->request = *request;
    call->timer = (struct loop_timer){.cb = answer, .arg = call};
    record->calls[call->account]++;
    record->in_flight++;
    if (record->wanted_meanwhile != NULL)
        atomic_store(&record->wanted_meanwhile->wanted, 1);
    if (record->in_flight > record->most_in_flight)
        record->most_in_flight = record->in_flight;
    if (record->full_ms == 0 && record->in_flight == record->full)
        record->full_ms = loop_now_ms(up->loop);
    return loop_timer_start(up->loop, &call->timer, 0) == 0 ? call : NULL;
}

void upstream_free(struct upstream *up)
{
    free(up);
}

size_t upstream_active(const struct upstream *up)
{
    (void)up;
    return record->in_flight;
}

void upstream_cancel(struct upstream_call *call)
{
    (void)call;
}

void upstream_resume(struct upstream_call *call)
{
    (void)call;
}

const char *upstream_header_find(const struct upstream_head *head, const char *name)
{
    (void)head;
    (void)name;
    return NULL;
}

/* --- a gateway's inheritance --- */

struct fixture {
    struct model_account accounts[ACCOUNTS];
    struct model_deployment deployments[ACCOUNTS * EACH];
    char texts[ACCOUNTS][48];
    struct config config;
    struct table *table;
    struct state *state;
    struct quota *quota;
    struct slots *slots;
    uint32_t columns[ACCOUNTS * EACH];
    struct inherited inherited;
    int alive_fd; /* the master's end */
};

static void fill_models(struct fixture *f)
{
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        snprintf(f->texts[i], sizeof(f->texts[i]), "https://a%02u.example", i);
        f->accounts[i] = (struct model_account){
            .provider = PROVIDER_AZURE, .base = f->texts[i], .name = f->texts[i] + 8};
    }
    for (uint32_t i = 0; i < ACCOUNTS * EACH; i++)
        f->deployments[i] = (struct model_deployment){.group = (char *)"g",
                                                      .id = (char *)"d",
                                                      .upstream_model = (char *)"m",
                                                      .litellm_model = (char *)"azure/m",
                                                      .mode = (char *)"batch",
                                                      .account = i % ACCOUNTS,
                                                      .fingerprint = 1000 + i};
    f->config.models = (struct model_list){.accounts = f->accounts,
                                           .num_accounts = ACCOUNTS,
                                           .deployments = f->deployments,
                                           .num_deployments = ACCOUNTS * EACH};
    f->config.timeouts.json_total_ms = 1000;
    f->config.health_check_interval_ms = 60000;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int ends[2];

    assert_non_null(f);
    fill_models(f);
    record = shm_new(sizeof(*record));
    assert_int_equal(pipe(ends), 0);
    f->alive_fd = ends[1];
    assert_int_equal(table_build(&f->config.models, 1, &f->table), 0);
    assert_int_equal(state_new(CHILD_ROWS, ACCOUNTS * EACH, &f->state), 0);
    assert_int_equal(state_bind(f->state, f->table, f->columns), 0);
    assert_int_equal(quota_new(ACCOUNTS * EACH, 100, &f->quota), 0);
    assert_int_equal(slots_new(ACCOUNTS * EACH, &f->slots), 0);
    f->inherited =
        (struct inherited){.config = &f->config,
                           .table = f->table,
                           .state = f->state,
                           .quota = f->quota,
                           .slots = f->slots,
                           .columns = f->columns,
                           .probes = shm_new(ACCOUNTS * EACH * sizeof(struct probe_word)),
                           .shared = shm_new(sizeof(struct shared)),
                           .generation = 1,
                           .master_fd = ends[0]};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    if (f->alive_fd != -1)
        close(f->alive_fd);
    close(f->inherited.master_fd);
    shm_free(f->inherited.shared, sizeof(struct shared));
    shm_free(f->inherited.probes, ACCOUNTS * EACH * sizeof(struct probe_word));
    shm_free(record, sizeof(*record));
    slots_free(f->slots);
    quota_free(f->quota);
    state_free(f->state);
    table_free(f->table);
    free(f);
    return 0;
}

static pid_t begin(struct fixture *f)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        close(f->alive_fd);
        alarm(150); /* only a failure lasts so long */
        _exit(prober_run(&f->inherited, ROW));
    }
    return pid;
}

static void finish(pid_t pid)
{
    int wait_status;

    assert_int_equal(waitpid(pid, &wait_status, 0), pid);
    assert_true(WIFEXITED(wait_status));
    assert_int_equal(WEXITSTATUS(wait_status), 0);
}

static void run_one_round(struct fixture *f)
{
    record->end_after = ACCOUNTS;
    finish(begin(f));
}

static void every_account_gets_one_call_whatever_the_number_of_its_deployments(void **state)
{
    run_one_round(*state);
    assert_false(record->bad_request);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        assert_int_equal(record->calls[i], 1);
}

static void slow_accounts_hold_eight_places_and_no_more(void **state)
{
    record->full = 8;
    run_one_round(*state);
    assert_int_equal(record->most_in_flight, 8);
    assert_int_equal(record->ended, ACCOUNTS);
}

static void what_an_account_answers_is_written_for_all_its_deployments(void **state)
{
    static const uint32_t outcomes[] = {OUTCOME_OK, OUTCOME_AUTH, OUTCOME_BAD_ANSWER,
                                        OUTCOME_CONNECT};
    static const int statuses[] = {200, 401, 200, 0};
    struct fixture *f = *state;

    run_one_round(f);
    for (uint32_t i = 0; i < ACCOUNTS * EACH; i++) {
        struct probe_word *word = &f->inherited.probes[i];
        unsigned kind = i % ACCOUNTS % 4;

        assert_true(atomic_load(&word->checked_unix_s) != 0);
        assert_int_equal(atomic_load(&word->healthy), kind == 0);
        assert_int_equal(atomic_load(&word->status), statuses[kind]);
        assert_int_equal(atomic_load(&word->outcome), outcomes[kind]);
    }
}

static void each_call_is_counted_once_in_the_probers_row(void **state)
{
    struct fixture *f = *state;
    uint64_t requests = 0, failures = 0;

    run_one_round(f);
    for (uint32_t i = 0; i < ACCOUNTS * EACH; i++) {
        struct state_sum sum;

        state_read(f->state, f->columns[i], 0, &sum);
        requests += sum.requests[OP_READ];
        failures += sum.requests[OP_READ] - sum.outcomes[OP_READ][OUTCOME_OK];
    }
    assert_int_equal(requests, ACCOUNTS);
    assert_int_equal(failures, ACCOUNTS - (ACCOUNTS + 3) / 4);
    assert_int_equal(state_clear_worker(f->state, ROW), 0); /* nothing is left in flight */
}

static void wait_until_ended(pid_t pid, unsigned calls)
{
    while (__atomic_load_n(&record->ended, __ATOMIC_SEQ_CST) < calls) {
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0); /* else it has died */
        usleep(1000);
    }
}

/* The second one wants it while the call of the first is under way. */
static void an_account_that_two_workers_want_asked_gets_one_more_call(void **state)
{
    struct fixture *f = *state;
    struct probe_word *word = &f->inherited.probes[3];
    pid_t pid;

    record->end_after = ACCOUNTS + 1;
    pid = begin(f);
    wait_until_ended(pid, ACCOUNTS);
    record->wanted_meanwhile = word;
    atomic_store(&word->wanted, 1);
    finish(pid);
    assert_int_equal(atomic_load(&word->wanted), 0);
    assert_int_equal(atomic_load(&word->rounds), 2);
    for (unsigned i = 0; i < ACCOUNTS; i++)
        assert_int_equal(record->calls[i], i == 3 ? 2 : 1);
}

/* With a minute between two calls this would take three. */
static void accounts_are_asked_again_after_the_configured_interval(void **state)
{
    struct fixture *f = *state;

    f->config.health_check_interval_ms = 10;
    record->end_after = 4 * ACCOUNTS;
    finish(begin(f));
    assert_true(record->calls[0] > 1);
}

static void no_breaker_learns_from_a_probe(void **state)
{
    struct fixture *f = *state;

    run_one_round(f);
    for (uint32_t i = 0; i < ACCOUNTS * EACH; i++)
        assert_int_equal(atomic_load(state_health(f->state, f->columns[i], OP_READ)), 0);
}

static void the_prober_shows_a_heartbeat(void **state)
{
    struct fixture *f = *state;

    run_one_round(f);
    assert_true(atomic_load(&f->inherited.shared->slots[ROW].beat_ms) != 0);
}

static void the_prober_ends_when_the_master_is_gone(void **state)
{
    struct fixture *f = *state;
    pid_t pid = begin(f);

    close(f->alive_fd);
    f->alive_fd = -1;
    finish(pid);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(every_account_gets_one_call_whatever_the_number_of_its_deployments),
        T(slow_accounts_hold_eight_places_and_no_more),
        T(what_an_account_answers_is_written_for_all_its_deployments),
        T(each_call_is_counted_once_in_the_probers_row),
        T(an_account_that_two_workers_want_asked_gets_one_more_call),
        T(accounts_are_asked_again_after_the_configured_interval),
        T(no_breaker_learns_from_a_probe),
        T(the_prober_shows_a_heartbeat),
        T(the_prober_ends_when_the_master_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
