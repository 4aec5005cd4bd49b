/* Looking for a batch by its marker: which accounts are read, how many at once, how far back, and
 * when nothing found means that there is nothing. Over an upstream that only notes its calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "balancer/retry.h"
#include "common/clock.h"
#include "once/batch_reader.h"
#include "once/reconcile.h"

#define ACCOUNTS   6
#define OWNER      0x11u
#define REQUEST    0x22u
#define EMPTY      "{\"object\":\"list\",\"data\":[],\"has_more\":false}"
#define NONCE      "00000000000000010000000000000001"
#define OTHER      "00000000000000020000000000000002"
#define DAY_S      86400
#define MAX_TIMERS 64

#include "noted_calls.h"

/* --- the loop: its clock and its timers move when told --- */

static struct loop_timer *timers[MAX_TIMERS]; /* those that run, in no order */
static uint64_t now_ms;

static size_t slot_of(const struct loop_timer *t)
{
    size_t i = 0;

    while (i < MAX_TIMERS - 1 && timers[i] != t)
        i++;
    return i;
}

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return now_ms;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *t)
{
    (void)loop;
    if (timers[slot_of(t)] == t)
        timers[slot_of(t)] = NULL;
}

static int do_timer_start(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
    do_timer_stop(loop, t);
    t->due_ms = now_ms + delay_ms;
    timers[slot_of(NULL)] = t;
    return 0;
}

static struct loop_timer *next_timer(void)
{
    struct loop_timer *next = NULL;

    for (size_t i = 0; i < MAX_TIMERS; i++)
        if (timers[i] != NULL && (next == NULL || timers[i]->due_ms < next->due_ms))
            next = timers[i];
    return next;
}

static void run_timer(void)
{
    struct loop_timer *t = next_timer();

    assert_non_null(t);
    if (t->due_ms > now_ms)
        now_ms = t->due_ms;
    do_timer_stop(NULL, t);
    t->cb(t);
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
static struct inherited inherited;
static struct runtime worker;

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
    inherited = (struct inherited){.config = &config, .columns = columns, .seals = &seals};
    inherited.breaker = breaker_policy(1000, 5);
    assert_int_equal(ids_seals_add(&seals, "a seal key", 10, "test"), 0);
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    inherited.table = table;
    assert_int_equal(state_new(2, ACCOUNTS, &inherited.state), 0);
    assert_int_equal(state_bind(inherited.state, table, columns), 0);
    worker = (struct runtime){.inherited = &inherited,
                              .config = &config,
                              .table = table,
                              .loop = &loop,
                              .account_same_resource = all};
    ended = num_calls = 0;
    date_header = NULL;
    memset(timers, 0, sizeof(timers));
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
    assert_null(next_timer());
    assert_int_equal(in_flight(), 0);
    free_calls();
    batch_readers_free(&worker);
    state_free(inherited.state);
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

static struct wanted wanted_of(const char *nonce)
{
    struct wanted wanted = {.owner = OWNER, .request = REQUEST, .file = "file-1"};

    if (nonce != NULL)
        snprintf(wanted.nonce, sizeof(wanted.nonce), "%s", nonce);
    return wanted;
}

static bool is_reading(void)
{
    return timers[slot_of(&worker.slices.turn)] == &worker.slices.turn;
}

/* The rounds that are due, and whoever is told at once. */
static void run_due(void)
{
    while (next_timer() != NULL && !is_reading() && next_timer()->due_ms <= now_ms)
        run_timer();
}

static void look_for(const struct wanted *wanted, uint32_t num, bool patient,
                     uint64_t known_since_ms)
{
    struct reconcile_spec spec = {.deployments = all,
                                  .num = num,
                                  .wanted = wanted,
                                  .age_s = DAY_S,
                                  .known_since_ms = known_since_ms,
                                  .patient = patient};

    assert_non_null(reconcile_start(&worker, &spec, on_reconciled, &last));
}

/* Look for a create of the last day; then its calls are under way. */
static void start(const char *nonce, uint32_t num, bool patient, uint64_t known_since_ms)
{
    struct wanted wanted = wanted_of(nonce);

    free_calls();
    ended = 0;
    look_for(&wanted, num, patient, known_since_ms);
    assert_int_equal(ended, 0);
    now_ms += patient ? 50 : 0;
    run_due();
    if (num_calls == 0 && ended == 0) { /* a round was begun a moment ago */
        now_ms += READER_GAP_MS;
        run_due();
    }
}

/* A page with one batch of ours. */
static const char *page(const char *id, const char *nonce, int64_t age_s, bool more)
{
    static char out[2048];
    struct marker marker = {.owner = OWNER, .request = REQUEST};
    struct strbuf text = STRBUF_INIT;

    snprintf(marker.nonce, sizeof(marker.nonce), "%s", nonce);
    snprintf(marker.file, sizeof(marker.file), "file-1");
    assert_int_equal(marker_write(&seals, &marker, &text), 0);
    snprintf(out, sizeof(out),
             "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"status\":\"completed\",\"created_"
             "at\":%lld,"
             "\"metadata\":{\"tranche\":\"%s\"}}],\"has_more\":%s}",
             id, (long long)(clock_unix_s() - age_s), strbuf_str(&text), more ? "true" : "false");
    strbuf_deinit(&text);
    return out;
}

/* A page of a hundred batches of almost a kilobyte each; the last one is ours, the others are not.
 */
static char *large_page(const char *id, const char *nonce, bool more)
{
    struct strbuf out = STRBUF_INIT;
    const char *single = page(id, nonce, 60, more), *list = strchr(single, '[') + 1;

    strbuf_add(&out, single, (size_t)(list - single));
    for (int i = 0; i < 99; i++)
        strbuf_addf(&out, "{\"id\":\"batch_%s_%d\",\"created_at\":%lld,\"errors\":\"%0800d\"},", id,
                    i, (long long)clock_unix_s(), i);
    strbuf_adds(&out, list);
    return strbuf_take(&out);
}

static void run_slice(void)
{
    struct loop_timer *t = &worker.slices.turn;

    do_timer_stop(NULL, t);
    t->cb(t);
}

/* @return the turns of the loop that reading what came has taken */
static unsigned read_pages(void)
{
    unsigned turns = 0;

    for (; is_reading(); turns++)
        run_slice();
    run_due();
    return turns;
}

static void answered(unsigned account, int status, const char *body)
{
    answer(account, status, body);
    read_pages();
}

/* The next look of a patient search, and the calls it makes. */
static void next_look(void)
{
    run_timer();
    now_ms += READER_GAP_MS;
    run_due();
}

/* --- the tests --- */

static void no_more_than_four_accounts_are_read_at_one_time(void **state)
{
    (void)state;
    start(NONCE, ACCOUNTS, false, 0);
    assert_int_equal(in_flight(), 4);
    assert_null(open_call(4));
    answered(2, 200, EMPTY);
    assert_int_equal(in_flight(), 4);
    assert_non_null(open_call(4));
    for (unsigned i = 0; i < ACCOUNTS; i++)
        if (i != 2)
            answered(i, 200, EMPTY);
    assert_int_equal(ended, 1);
    assert_null(last.batch);
    assert_int_equal(last.end, RECONCILE_NOTHING);
}

static void the_account_that_has_the_batch_ends_the_search(void **state)
{
    (void)state;
    start(NONCE, ACCOUNTS, false, 0);
    answered(0, 200, EMPTY);
    answered(3, 200, page("batch_x", NONCE, 60, true));
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
    answered(1, 200, page("batch_old", NONCE, 120, false));
    answered(2, 200, page("batch_new", OTHER, 60, false));
    assert_int_equal(ended, 0);
    answered(0, 200, page("batch_older", NONCE, 180, false));
    assert_int_equal(ended, 1);
    assert_string_equal(found_id, "batch_new");
    assert_int_equal(last.deployment, 2);
}

static void an_account_that_fails_leaves_it_open_whether_there_is_one(void **state)
{
    (void)state;
    start(NONCE, 2, false, 0);
    answered(0, 500, NULL);
    answered(1, 200, EMPTY);
    assert_int_equal(ended, 1);
    assert_null(last.batch);
    assert_int_equal(last.end, RECONCILE_UNREAD);
}

static void a_list_that_ends_nowhere_leaves_it_open_whether_there_is_one(void **state)
{
    (void)state;
    start(NONCE, 1, false, 0);
    answered(0, 200, page("batch_1", OTHER, 60, true));
    answered(0, 200, page("batch_1", OTHER, 60, true));
    assert_int_equal(ended, 1);
    assert_int_equal(last.end, RECONCILE_UNREAD);
}

static void a_patient_search_finds_what_is_listed_at_the_third_look(void **state)
{
    (void)state;
    start(NONCE, 1, true, 0);
    answered(0, 200, EMPTY);
    next_look();
    answered(0, 200, EMPTY);
    assert_int_equal(ended, 0);
    next_look();
    answered(0, 200, page("batch_x", NONCE, 0, false));
    assert_int_equal(ended, 1);
    assert_string_equal(found_id, "batch_x");
}

static void what_was_read_once_is_not_read_again(void **state)
{
    (void)state;
    start(NONCE, 1, false, 0);
    answered(0, 200, page("batch_1", OTHER, 3600, true));
    answered(0, 200, page("batch_2", OTHER, 7200, false));
    assert_int_equal(num_calls, 2);
    start(NONCE, 1, false, 0);
    answered(0, 200, page("batch_1", OTHER, 3600, true));
    assert_int_equal(num_calls, 1);
    assert_int_equal(ended, 1);
    assert_int_equal(last.end, RECONCILE_NOTHING);
}

static void a_nonce_that_was_seen_is_looked_for_in_all_that_counts(void **state)
{
    (void)state;
    start(NONCE, 1, false, now_ms);
    answered(0, 200, page("batch_1", OTHER, 3600, false));
    start(OTHER, 1, false, now_ms);
    answered(0, 200, page("batch_1", OTHER, 3600, false));
    assert_string_equal(found_id, "batch_1");
}

static void an_account_that_was_read_in_time_is_not_asked_and_may_fail(void **state)
{
    uint64_t known_since_ms = now_ms;

    (void)state;
    start(NONCE, 2, false, known_since_ms);
    answered(0, 200, EMPTY);
    answered(1, 500, NULL);
    assert_int_equal(last.end, RECONCILE_UNREAD);
    now_ms += 1000;
    start(NONCE, 2, false, known_since_ms);
    assert_null(open_call(0));
    answered(1, 200, EMPTY);
    assert_int_equal(last.end, RECONCILE_NOTHING);
    start(NONCE, 2, false, known_since_ms);
    assert_int_equal(num_calls, 0);
    assert_int_equal(ended, 1);
    assert_int_equal(last.end, RECONCILE_NOTHING);
}

static void an_account_that_was_read_too_early_is_asked_for_what_is_newer(void **state)
{
    (void)state;
    start(NONCE, 1, false, now_ms + 1);
    answered(0, 200, EMPTY);
    start(NONCE, 1, false, now_ms + 1);
    answered(0, 500, NULL);
    assert_int_equal(last.end, RECONCILE_UNREAD);
}

static void a_page_of_a_hundred_batches_is_read_in_several_turns_of_the_loop(void **state)
{
    char *text = large_page("batch_x", NONCE, false);

    (void)state;
    start(NONCE, 1, false, 0);
    answer(0, 200, text);
    assert_int_equal(ended, 0);
    assert_in_range(read_pages(), 3, 10);
    assert_int_equal(ended, 1);
    assert_string_equal(found_id, "batch_x");
    free(text);
}

static void accounts_that_answer_at_once_are_read_one_slice_in_a_turn(void **state)
{
    char *text = large_page("batch_1", OTHER, false);
    unsigned alone;

    (void)state;
    start(NONCE, 1, false, 0);
    answer(0, 200, text);
    alone = read_pages();
    assert_true(alone > 1);
    now_ms += READER_GAP_MS;
    start(NONCE, ACCOUNTS, false, 0);
    for (unsigned i = 0; i < 4; i++)
        answer(i, 200, text);
    assert_in_range(read_pages(), 4 * alone, 4 * alone);
    assert_int_equal(ended, 0);
    answered(4, 200, EMPTY);
    answered(5, 200, EMPTY);
    assert_int_equal(ended, 1);
    assert_int_equal(last.end, RECONCILE_NOTHING);
    free(text);
}

static void the_page_behind_a_long_one_is_asked_for_by_its_last_batch(void **state)
{
    char *text = large_page("batch_1", OTHER, true);

    (void)state;
    start(NONCE, 1, false, 0);
    answered(0, 200, text);
    assert_int_equal(num_calls, 2);
    assert_non_null(strstr(calls[1]->url, "&after=batch_1"));
    answered(0, 200, page("batch_x", NONCE, 120, false));
    assert_string_equal(found_id, "batch_x");
    free(text);
}

static void a_page_that_breaks_off_leaves_it_open_whether_there_is_one(void **state)
{
    char *text = large_page("batch_x", NONCE, false);

    (void)state;
    text[strlen(text) / 2] = '\0';
    start(NONCE, 1, false, 0);
    answered(0, 200, text);
    assert_int_equal(ended, 1);
    assert_null(last.batch);
    assert_int_equal(last.end, RECONCILE_UNREAD);
    free(text);
}

/* The provider's clock is so far ahead from now on; of the pages too. */
static void set_clock(int64_t ahead_s)
{
    static char text[40];
    time_t t = (time_t)(clock_unix_s() + ahead_s);
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    date_header = text;
}

static void a_batch_is_as_old_as_its_providers_own_clock_says(void **state)
{
    (void)state;
    set_clock(-2 * DAY_S);
    start(NONCE, 1, false, 0);
    answered(0, 200, page("batch_x", NONCE, 2 * DAY_S, false));
    assert_string_equal(found_id, "batch_x");
    start(NONCE, 1, false, 0);
    answered(0, 200, page("batch_x", NONCE, 3 * DAY_S + 60, false));
    assert_int_equal(ended, 1);
    assert_null(last.batch);
    assert_int_equal(last.end, RECONCILE_NOTHING);
}

static void a_batch_that_was_stamped_before_its_providers_clock_jumped_is_found(void **state)
{
    static const int64_t jumps[] = {900, -900, 93600, -93600};

    (void)state;
    for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
        set_clock(0);
        start(OTHER, 1, false, 0);
        answered(0, 200, EMPTY);
        set_clock(jumps[i]);
        start(NONCE, 1, false, 0);
        answered(0, 200, page("batch_x", NONCE, 1, false));
        assert_string_equal(found_id, "batch_x");
    }
}

/* What was read before the jump was read; what came after it carries another time, and counts. */
static void a_log_that_was_read_before_a_jump_hides_nothing_behind_it(void **state)
{
    (void)state;
    set_clock(93600);
    start(NONCE, 1, false, 0);
    answered(0, 200, page("batch_1", OTHER, -93600 + 60, false));
    assert_int_equal(last.end, RECONCILE_NOTHING);
    set_clock(0);
    start(NONCE, 1, false, 0);
    answered(0, 200, page("batch_2", "00000000000000030000000000000003", 1, true));
    answered(0, 200, page("batch_x", NONCE, 2, false));
    assert_string_equal(found_id, "batch_x");
}

/* What it held a sanitizer would find. */
static void a_search_is_forgotten_while_a_page_is_read(void **state)
{
    char *text = large_page("batch_x", NONCE, false);
    struct wanted wanted = wanted_of(NONCE);
    struct reconcile_spec spec = {.deployments = all, .num = 2, .wanted = &wanted, .age_s = DAY_S};
    struct reconcile *search;

    (void)state;
    search = reconcile_start(&worker, &spec, on_reconciled, &last);
    assert_non_null(search);
    run_due();
    answer(0, 200, text);
    run_slice();
    assert_true(is_reading());
    reconcile_cancel(search);
    assert_false(is_reading());
    assert_int_equal(ended, 0);
    free(text);
}

static void searches_of_one_account_share_what_is_read(void **state)
{
    struct wanted other = wanted_of(OTHER);

    (void)state;
    start(NONCE, 2, false, 0);
    for (int i = 0; i < 30; i++)
        look_for(&other, 2, false, 0);
    run_due();
    assert_int_equal(num_calls, 2); /* who comes now waits for the next one */
    answered(0, 200, EMPTY);
    answered(1, 200, EMPTY);
    assert_int_equal(ended, 1);
    assert_int_equal(num_calls, 2);
    now_ms += READER_GAP_MS;
    run_due();
    assert_int_equal(num_calls, 4);
    answered(0, 200, EMPTY);
    answered(1, 200, page("batch_x", OTHER, 60, false));
    assert_int_equal(ended, 31);
    assert_string_equal(found_id, "batch_x");
    assert_int_equal(num_calls, 4);
}

static void a_search_that_waits_may_leave(void **state)
{
    struct wanted other = wanted_of(OTHER);
    struct reconcile_spec spec = {.deployments = all, .num = 1, .wanted = &other, .age_s = DAY_S};
    struct reconcile *search;

    (void)state;
    start(NONCE, 1, false, 0);
    search = reconcile_start(&worker, &spec, on_reconciled, &last);
    run_due();
    reconcile_cancel(search);
    answered(0, 200, EMPTY);
    assert_int_equal(ended, 1);
    now_ms += READER_GAP_MS;
    run_due();
    assert_int_equal(num_calls, 1);
}

/* A day is read page by page, and who wants a quarter of an hour does not wait for all of it. */
static void a_short_search_does_not_wait_for_a_long_one(void **state)
{
    struct wanted recent = wanted_of(NULL);
    struct reconcile_spec spec = {.deployments = all, .num = 1, .wanted = &recent, .age_s = 900};

    (void)state;
    start(NONCE, 1, false, 0);
    assert_non_null(reconcile_start(&worker, &spec, on_reconciled, &last));
    now_ms += READER_GAP_MS;
    run_due();
    assert_int_equal(in_flight(), 1);
    answered(0, 200, page("batch_1", OTHER, 1000, true));
    assert_int_equal(in_flight(), 1);
    assert_null(strstr(calls[1]->url, "after="));
    recent.request++;
    answered(0, 200, page("batch_1", OTHER, 1000, true));
    assert_int_equal(ended, 1); /* the short one: what follows is older */
    assert_non_null(strstr(calls[2]->url, "after=batch_1"));
    answered(0, 200, page("batch_2", NONCE, 1100, true));
    assert_int_equal(ended, 2);
    assert_string_equal(found_id, "batch_2");
}

static void a_list_that_begins_with_the_oldest_is_read_to_its_end(void **state)
{
    struct strbuf list = STRBUF_INIT;

    (void)state;
    strbuf_addf(&list,
                "{\"object\":\"list\",\"data\":[{\"id\":\"batch_1\",\"created_at\":%lld},"
                "{\"id\":\"batch_2\",\"created_at\":%lld}],\"has_more\":true}",
                (long long)(clock_unix_s() - 9 * DAY_S), (long long)(clock_unix_s() - 8 * DAY_S));
    start(NONCE, 1, false, 0);
    answered(0, 200, strbuf_str(&list));
    assert_int_equal(ended, 0);
    assert_non_null(strstr(calls[1]->url, "after=batch_2"));
    answered(0, 200, page("batch_x", NONCE, 60, false));
    assert_int_equal(ended, 1);
    assert_string_equal(found_id, "batch_x");
    strbuf_deinit(&list);
}

/* One key, two requests. */
static void a_nonce_of_another_request_is_a_conflict(void **state)
{
    struct wanted wanted = wanted_of(NONCE);

    (void)state;
    wanted.request = REQUEST + 1;
    free_calls();
    ended = 0;
    look_for(&wanted, 2, true, 0);
    now_ms += 50;
    run_due();
    answered(1, 200, page("batch_x", NONCE, 60, false));
    assert_int_equal(ended, 1);
    assert_int_equal(last.end, RECONCILE_CONFLICT);
    assert_null(last.batch);
}

static void a_batch_that_may_be_the_one_leaves_it_open_whether_it_is(void **state)
{
    struct wanted wanted = {.owner = OWNER, .request = REQUEST, .unmarked = true, .file = "file-1"};
    const char *list = "{\"object\":\"list\",\"data\":[{\"id\":\"batch_1\",\"input_file_id\":"
                       "\"file-1\",\"endpoint\":\"/v1/x\",\"metadata\":{\"a\":\"b\"}}],"
                       "\"has_more\":false}";

    (void)state;
    free_calls();
    ended = 0;
    look_for(&wanted, 1, false, 0);
    run_due();
    answered(0, 200, list);
    assert_int_equal(last.end, RECONCILE_UNSURE);
    look_for(&wanted, 1, false, 1); /* what was read once is not taken for nothing */
    now_ms += READER_GAP_MS;
    run_due();
    answered(0, 200, list);
    assert_int_equal(last.end, RECONCILE_UNSURE);
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
        cmocka_unit_test_setup_teardown(
            a_page_of_a_hundred_batches_is_read_in_several_turns_of_the_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(accounts_that_answer_at_once_are_read_one_slice_in_a_turn,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_page_behind_a_long_one_is_asked_for_by_its_last_batch,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_page_that_breaks_off_leaves_it_open_whether_there_is_one,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_search_is_forgotten_while_a_page_is_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(searches_of_one_account_share_what_is_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_search_that_waits_may_leave, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_short_search_does_not_wait_for_a_long_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_list_that_begins_with_the_oldest_is_read_to_its_end,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_nonce_of_another_request_is_a_conflict, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_batch_that_may_be_the_one_leaves_it_open_whether_it_is,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_batch_is_as_old_as_its_providers_own_clock_says, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_batch_that_was_stamped_before_its_providers_clock_jumped_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_that_was_read_before_a_jump_hides_nothing_behind_it,
                                        set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
