/* Looking for a batch by its marker: which accounts are read, how many at once, how far back, and
 * when nothing found means that there is nothing. Over an upstream that only notes its calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/retry.h"
#include "common/clock.h"
#include "server/reconcile.h"

#define ACCOUNTS 6
#define OWNER    0x11u
#define REQUEST  0x22u
#define EMPTY    "{\"object\":\"list\",\"data\":[],\"has_more\":false}"
#define NONCE    "00000000000000010000000000000001"
#define OTHER    "00000000000000020000000000000002"
#define DAY_S    86400

#include "noted_calls.h"

/* --- the loop: its clock and its timers move when told --- */

static struct loop_timer *timers[ACCOUNTS + 1]; /* that run, in the order of their starts */
static uint64_t delays_ms[ACCOUNTS + 1];
static unsigned num_timers;
static uint64_t now_ms;

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return now_ms;
}

static void drop_timer(unsigned at)
{
    num_timers--;
    memmove(timers + at, timers + at + 1, (num_timers - at) * sizeof(*timers));
    memmove(delays_ms + at, delays_ms + at + 1, (num_timers - at) * sizeof(*delays_ms));
}

static void do_timer_stop(struct loop *loop, struct loop_timer *t)
{
    (void)loop;
    for (unsigned i = 0; i < num_timers; i++)
        if (timers[i] == t)
            drop_timer(i--);
}

static int do_timer_start(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
    do_timer_stop(loop, t);
    assert_true(num_timers <= ACCOUNTS);
    timers[num_timers] = t;
    delays_ms[num_timers++] = delay_ms;
    return 0;
}

static void run_timer(void)
{
    struct loop_timer *t = timers[0];

    assert_int_equal(num_timers, 1);
    drop_timer(0);
    t->cb(t);
}

/* Answer a list; then the page is read, slice by slice. */
static void reply(unsigned account, int status, const char *body)
{
    answer(account, status, body);
    for (unsigned i = 0; i < num_timers; i++) {
        struct loop_timer *t = timers[i];

        if (delays_ms[i] != 0)
            continue;
        drop_timer(i);
        t->cb(t);
        i = (unsigned)-1;
    }
}

static const struct loop_ops ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};

/* --- a worker --- */

static struct loop loop = {.ops = &ops};
static struct model_account accounts[ACCOUNTS];
static struct model_deployment rows[ACCOUNTS];
static char bases[ACCOUNTS][32];
static struct config config;
static struct ids_seals seals;
static uint32_t columns[ACCOUNTS];
static const uint32_t all[ACCOUNTS] = {0, 1, 2, 3, 4, 5};
static struct inherit inherit;
static struct worker worker;

static struct reconcile *search;
static struct reconcile_result last;
static char found_id[64];
static unsigned ended;

static int set_up(void **state)
{
    struct table *table;

    (void)state;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        snprintf(bases[i], sizeof(bases[i]), "https://a%u.example", i);
        accounts[i] = (struct model_account){
            .provider = PROVIDER_AZURE, .base = bases[i], .name = bases[i] + 8};
        rows[i] = (struct model_deployment){.group = (char *)(uintptr_t) "g",
                                            .id = bases[i] + 8,
                                            .account = i,
                                            .max_retries = RETRY_NOT_GIVEN,
                                            .fingerprint = 100 + i};
    }
    config.models = (struct model_list){.accounts = accounts,
                                        .num_accounts = ACCOUNTS,
                                        .deployments = rows,
                                        .num_deployments = ACCOUNTS};
    config.timeouts.json_total_ms = 1000;
    inherit = (struct inherit){.config = &config, .columns = columns, .seals = &seals};
    inherit.breaker = breaker_policy(1000, 5);
    assert_int_equal(ids_seals_add(&seals, "a seal key", 10, "test"), 0);
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    assert_int_equal(state_new(2, ACCOUNTS, &inherit.state), 0);
    assert_int_equal(state_bind(inherit.state, table, columns), 0);
    worker = (struct worker){
        .inherit = &inherit, .config = &config, .table = table, .loop = &loop, .account_twin = all};
    ended = num_calls = 0;
    num_timers = 0;
    now_ms = 1000000;
    return 0;
}

static void free_calls(void)
{
    for (unsigned i = 0; i < num_calls; i++)
        free(calls[i]);
    num_calls = 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(num_timers, 0);
    assert_int_equal(in_flight(), 0);
    free_calls();
    for (uint32_t i = 0; worker.read_logs != NULL && i < ACCOUNTS; i++)
        read_log_deinit(&worker.read_logs[i]);
    free(worker.read_logs);
    state_free(inherit.state);
    table_free((struct table *)(uintptr_t)worker.table);
    ids_seals_clear(&seals);
    return 0;
}

static void on_reconciled(void *arg, const struct reconcile_result *result)
{
    assert_ptr_equal(arg, &last);
    last = *result;
    found_id[0] = '\0';
    if (result->batch != NULL)
        snprintf(found_id, sizeof(found_id), "%s", json_get_str(result->batch, "id"));
    ended++;
}

/* Look for a create of the last day; then its calls are under way. */
static void start(const char *nonce, uint32_t num, bool patient, uint64_t known_since_ms)
{
    struct reconcile_spec spec = {.deployments = all,
                                  .num = num,
                                  .nonce = nonce,
                                  .owner = OWNER,
                                  .request = REQUEST,
                                  .not_before_s = clock_unix_s() - DAY_S,
                                  .known_since_ms = known_since_ms,
                                  .patient = patient};

    free_calls();
    ended = 0;
    search = reconcile_start(&worker, &spec, on_reconciled, &last);
    assert_non_null(search);
    assert_int_equal(ended, 0);
    run_timer();
}

static void add_batch(struct strbuf *out, const char *id, const char *nonce, int64_t age_s)
{
    struct marker marker = {.owner = OWNER, .request = REQUEST};
    struct strbuf text = STRBUF_INIT;

    snprintf(marker.nonce, sizeof(marker.nonce), "%s", nonce);
    snprintf(marker.file, sizeof(marker.file), "file-1");
    assert_int_equal(marker_write(&seals, &marker, &text), 0);
    strbuf_addf(out,
                "{\"id\":\"%s\",\"status\":\"completed\",\"created_at\":%lld,"
                "\"metadata\":{\"tranche\":\"%s\",\"team\":\"%0512d\"}}",
                id, (long long)(clock_unix_s() - age_s), strbuf_str(&text), 0);
    strbuf_deinit(&text);
}

/* A page with one batch of ours. */
static const char *page(const char *id, const char *nonce, int64_t age_s, bool more)
{
    static struct strbuf out;

    strbuf_reset(&out);
    strbuf_adds(&out, "{\"object\":\"list\",\"data\":[");
    add_batch(&out, id, nonce, age_s);
    strbuf_addf(&out, "],\"has_more\":%s}", more ? "true" : "false");
    return strbuf_str(&out);
}

/* One of a hundred, the n-th with that nonce: three slices. */
static const char *long_page(unsigned nth, const char *nonce)
{
    static struct strbuf out;

    strbuf_reset(&out);
    strbuf_adds(&out, "{\"object\":\"list\",\"data\":[");
    for (unsigned i = 0; i < 100; i++) {
        char id[32];

        snprintf(id, sizeof(id), "batch_%u", i);
        strbuf_adds(&out, i > 0 ? "," : "");
        add_batch(&out, id, i == nth ? nonce : OTHER, 60 + i);
    }
    strbuf_adds(&out, "],\"has_more\":false}");
    return strbuf_str(&out);
}

/* --- the tests --- */

static void no_more_than_four_accounts_are_read_at_one_time(void **state)
{
    (void)state;
    start(NONCE, ACCOUNTS, false, 0);
    assert_int_equal(in_flight(), 4);
    assert_null(open_call(4));
    reply(2, 200, EMPTY);
    assert_int_equal(in_flight(), 4);
    assert_non_null(open_call(4));
    for (unsigned i = 0; i < ACCOUNTS; i++)
        if (i != 2)
            reply(i, 200, EMPTY);
    assert_int_equal(ended, 1);
    assert_null(last.batch);
    assert_true(last.complete);
}

static void the_account_that_has_the_batch_ends_the_search(void **state)
{
    (void)state;
    start(NONCE, ACCOUNTS, false, 0);
    reply(0, 200, EMPTY);
    reply(3, 200, page("batch_x", NONCE, 60, true));
    assert_int_equal(ended, 1);
    assert_string_equal(found_id, "batch_x");
    assert_int_equal(last.deployment, 3);
    assert_int_equal(in_flight(), 0);
    assert_int_equal(num_calls, 5);
}

static void of_several_equal_creates_the_newest_is_meant_wherever_it_is(void **state)
{
    (void)state;
    start(NULL, 3, false, 0);
    reply(1, 200, page("batch_old", NONCE, 120, false));
    reply(2, 200, page("batch_new", OTHER, 60, false));
    assert_int_equal(ended, 0);
    reply(0, 200, page("batch_older", NONCE, 180, false));
    assert_int_equal(ended, 1);
    assert_string_equal(found_id, "batch_new");
    assert_int_equal(last.deployment, 2);
}

static void a_long_page_is_read_in_slices(void **state)
{
    (void)state;
    start(NONCE, 1, false, 0);
    answer(0, 200, long_page(90, NONCE));
    for (unsigned turns = 0; turns < 2; turns++) {
        run_timer();
        assert_int_equal(ended, 0);
    }
    run_timer();
    assert_int_equal(ended, 1);
    assert_string_equal(found_id, "batch_90");
}

static void of_a_long_page_the_first_with_the_same_request_is_meant(void **state)
{
    (void)state;
    start(NULL, 2, false, 0);
    reply(0, 200, long_page(0, NONCE));
    reply(1, 200, page("batch_newer", NONCE, 10, false));
    assert_int_equal(ended, 1);
    assert_string_equal(found_id, "batch_newer");
}

static void a_search_that_is_given_up_while_a_page_is_read_leaves_nothing(void **state)
{
    (void)state;
    start(NONCE, 3, false, 0);
    answer(0, 200, long_page(99, NONCE));
    run_timer();
    answer(1, 200, long_page(99, NONCE));
    reconcile_cancel(search);
    assert_int_equal(ended, 0);
    assert_int_equal(num_timers, 0);
}

static void a_page_that_breaks_off_leaves_it_open_whether_there_is_one(void **state)
{
    char *cut = strdup(long_page(99, OTHER));

    (void)state;
    cut[strlen(cut) * 2 / 3] = '\0';
    start(NONCE, 1, false, 0);
    reply(0, 200, cut);
    assert_int_equal(ended, 1);
    assert_null(last.batch);
    assert_false(last.complete);
    free(cut);
}

static void an_account_that_fails_leaves_it_open_whether_there_is_one(void **state)
{
    (void)state;
    start(NONCE, 2, false, 0);
    reply(0, 500, NULL);
    reply(1, 200, EMPTY);
    assert_int_equal(ended, 1);
    assert_null(last.batch);
    assert_false(last.complete);
}

static void a_list_that_ends_nowhere_leaves_it_open_whether_there_is_one(void **state)
{
    (void)state;
    start(NONCE, 1, false, 0);
    reply(0, 200, page("batch_1", OTHER, 60, true));
    reply(0, 200, page("batch_1", OTHER, 60, true));
    assert_int_equal(ended, 1);
    assert_false(last.complete);
}

static void a_patient_search_finds_what_is_listed_at_the_third_look(void **state)
{
    (void)state;
    start(NONCE, 1, true, 0);
    reply(0, 200, EMPTY);
    run_timer();
    reply(0, 200, EMPTY);
    assert_int_equal(ended, 0);
    run_timer();
    reply(0, 200, page("batch_x", NONCE, 0, false));
    assert_int_equal(ended, 1);
    assert_string_equal(found_id, "batch_x");
}

static void what_was_read_once_is_not_read_again(void **state)
{
    (void)state;
    start(NONCE, 1, false, 0);
    reply(0, 200, page("batch_1", OTHER, 3600, true));
    reply(0, 200, page("batch_2", OTHER, 7200, false));
    assert_int_equal(num_calls, 2);
    start(NONCE, 1, false, 0);
    reply(0, 200, page("batch_1", OTHER, 3600, true));
    assert_int_equal(num_calls, 1);
    assert_int_equal(ended, 1);
    assert_true(last.complete);
}

static void a_nonce_that_was_seen_is_looked_for_in_all_that_counts(void **state)
{
    (void)state;
    start(NONCE, 1, false, now_ms);
    reply(0, 200, page("batch_1", OTHER, 3600, false));
    start(OTHER, 1, false, now_ms);
    reply(0, 200, page("batch_1", OTHER, 3600, false));
    assert_string_equal(found_id, "batch_1");
}

static void an_account_that_was_read_in_time_is_not_asked_and_may_fail(void **state)
{
    uint64_t known_since_ms = now_ms;

    (void)state;
    start(NONCE, 2, false, known_since_ms);
    reply(0, 200, EMPTY);
    reply(1, 500, NULL);
    assert_false(last.complete);
    now_ms += 1000;
    start(NONCE, 2, false, known_since_ms);
    assert_null(open_call(0));
    reply(1, 200, EMPTY);
    assert_true(last.complete);
    start(NONCE, 2, false, known_since_ms);
    assert_int_equal(num_calls, 0);
    assert_int_equal(ended, 1);
    assert_true(last.complete);
}

static void an_account_that_was_read_too_early_is_asked_for_what_is_newer(void **state)
{
    (void)state;
    start(NONCE, 1, false, now_ms + 1);
    reply(0, 200, EMPTY);
    start(NONCE, 1, false, now_ms + 1);
    reply(0, 500, NULL);
    assert_false(last.complete);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_more_than_four_accounts_are_read_at_one_time, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_account_that_has_the_batch_ends_the_search, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(of_several_equal_creates_the_newest_is_meant_wherever_it_is,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_page_is_read_in_slices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_a_long_page_the_first_with_the_same_request_is_meant,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_search_that_is_given_up_while_a_page_is_read_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_page_that_breaks_off_leaves_it_open_whether_there_is_one,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_account_that_fails_leaves_it_open_whether_there_is_one,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_list_that_ends_nowhere_leaves_it_open_whether_there_is_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_patient_search_finds_what_is_listed_at_the_third_look,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_read_once_is_not_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_nonce_that_was_seen_is_looked_for_in_all_that_counts,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_account_that_was_read_in_time_is_not_asked_and_may_fail,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            an_account_that_was_read_too_early_is_asked_for_what_is_newer, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
