/* Where a page begins: at the top, behind what the page before left, behind the one account's own
 * object, or where an object is found. What comes before and behind is noted, not done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/memo.h"
#include "balancer/retry.h"
#include "read/listing_impl.h"

#define ACCOUNTS 4
#define NATIVE   "batch_native"

/* --- what a list calls --- */

static enum { NOTHING, READS, FAILS, FAILS_CURSOR, FAILS_MEMORY } ended;
static struct failure failure;
static unsigned ends;

static void end(int how)
{
    ended = how;
    ends++;
}

void listing_read(struct listing *l)
{
    (void)l;
    end(READS);
}

void operation_fail(struct operation *op, const struct failure *why)
{
    (void)op;
    failure = *why;
    end(FAILS);
}

void operation_fail_memory(struct operation *op)
{
    (void)op;
    end(FAILS_MEMORY);
}

void listing_fail_cursor(struct listing *l)
{
    (void)l;
    end(FAILS_CURSOR);
}

struct json_doc *listing_scratch(struct listing *l)
{
    json_doc_free(l->scratch);
    return l->scratch = json_doc_new();
}

int64_t listing_created_at(const struct listing *l, struct json_doc *doc, struct json *object)
{
    int64_t created_at = 0;

    (void)l;
    (void)doc;
    return json_int64(json_get(object, "created_at"), &created_at) ? created_at : 0;
}

static struct {
    bool refused; /* out of memory */
    unsigned started;
    uint32_t num, deployments[ACCOUNTS];
    char native[64];
    operation_located_cb on_located;
    struct operation *op;
} search;

void operation_locate(struct operation *op, enum id_kind kind, const char *native,
                      const uint32_t *deployments, uint32_t num, operation_located_cb on_located)
{
    assert_int_equal(kind, ID_BATCH);
    search.started++;
    search.num = num;
    assert_in_range(num, 1, ACCOUNTS);
    memcpy(search.deployments, deployments, num * sizeof(*deployments));
    snprintf(search.native, sizeof(search.native), "%s", native);
    search.on_located = on_located;
    search.op = op;
    if (search.refused)
        operation_fail_memory(op);
}

/* --- the loop: a timer that a test runs --- */

static struct loop_timer *running;
static int timer_result;

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return 1000000;
}

static int do_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)loop;
    assert_int_equal(delay_ms, 7000);
    running = timer_result == 0 ? timer : NULL;
    return timer_result;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    if (running == timer)
        running = NULL;
}

static const struct loop_ops ops = {
    .now_ms = do_now_ms, .timer_start = do_timer_start, .timer_stop = do_timer_stop};

/* --- a list over some accounts; deployment i is of account i, whose key is 200 + i --- */

static struct loop loop = {.ops = &ops};
static struct model_account accounts[ACCOUNTS];
static struct model_deployment rows[ACCOUNTS];
static char bases[ACCOUNTS][32];
static struct config config;
static uint32_t keys[ACCOUNTS], twins[ACCOUNTS];
static struct inherited inherited;
static struct runtime rt;
static struct listing list;

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
        keys[i] = 200 + i;
        twins[i] = i;
    }
    config.models = (struct model_list){.accounts = accounts,
                                        .num_accounts = ACCOUNTS,
                                        .deployments = rows,
                                        .num_deployments = ACCOUNTS};
    config.timeouts.list_ms = 7000;
    inherited = (struct inherited){.config = &config};
    assert_int_equal(table_build(&config.models, 1, &table), 0);
    assert_int_equal(memo_new(1024, &inherited.list_places), 0);
    rt = (struct runtime){.inherited = &inherited,
                          .config = &config,
                          .table = table,
                          .loop = &loop,
                          .account_same_resource = twins,
                          .account_map = {.num = ACCOUNTS, .key = keys}};
    memset(&list, 0, sizeof(list));
    memset(&search, 0, sizeof(search));
    list.op.rt = &rt;
    list.question.kind = ID_BATCH;
    strcpy(list.question.after, "batch_shown");
    strcpy(list.cursor_target.native, NATIVE);
    ended = NOTHING;
    ends = 0;
    running = NULL;
    timer_result = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(list.readers);
    free(list.cursor_target.deployments);
    json_doc_free(list.scratch);
    memo_free(inherited.list_places);
    table_free((struct table *)(uintptr_t)rt.table);
    return 0;
}

/* Both in memory of the exact size. */
static void over(size_t num, const uint32_t *listed, uint32_t num_held, const uint32_t *held)
{
    list.num = num;
    list.readers = calloc(num, sizeof(*list.readers));
    list.cursor_target.num = num_held;
    list.cursor_target.deployments = calloc(num_held, sizeof(*held));
    assert_true(list.readers != NULL && list.cursor_target.deployments != NULL);
    memcpy(list.cursor_target.deployments, held, num_held * sizeof(*held));
    for (size_t i = 0; i < num; i++)
        list.readers[i].key = keys[listed[i]];
}

#define OVER(listed, held)                                                                         \
    over(sizeof((uint32_t[])listed) / 4, (const uint32_t[])listed, sizeof((uint32_t[])held) / 4,   \
         (const uint32_t[])held)
#define LIST(...)                                                                                  \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static void remember_end(uint32_t key, int64_t created_at)
{
    struct strbuf name = STRBUF_INIT;

    listing_places_key(&name, 0, ID_BATCH, false, "", "batch_shown");
    listing_places_put_end(inherited.list_places, &name,
                           &(struct listing_page_end){created_at, key}, 1000000);
    strbuf_deinit(&name);
}

static void remember_place(uint32_t key, const char *id, bool more)
{
    struct strbuf name = STRBUF_INIT;
    struct listing_place place = {.more = more};

    strcpy(place.id, id);
    listing_places_key(&name, 0, ID_BATCH, false, "", "batch_shown");
    listing_places_put(inherited.list_places, &name, key, &place, 1000000);
    strbuf_deinit(&name);
}

static void found(uint32_t deployment, const char *body)
{
    struct upstream_result answer = {.body = body, .body_len = strlen(body)};
    struct locate_result result = {.found = true, .deployment = deployment, .answer = &answer};

    search.on_located(search.op, &result);
}

/* --- the tests --- */

static void a_list_without_a_cursor_begins_at_the_top(void **state)
{
    (void)state;
    OVER(LIST(0, 1), LIST(0));
    list.question.after[0] = '\0';
    listing_locate(&list);
    assert_int_equal(ended, READS);
    assert_false(list.cursor.set);
    assert_string_equal(list.readers[0].after, "");
    assert_int_equal(search.started, 0);
}

static void the_page_before_says_where_each_account_goes_on(void **state)
{
    (void)state;
    OVER(LIST(0, 1, 2, 3), LIST(0));
    remember_end(keys[1], 77);
    remember_place(keys[0], "batch_a", true);
    remember_place(keys[1], "batch_b", false);
    remember_place(keys[3], "batch_d", false);
    list.readers[1].expects = true;
    listing_locate(&list);
    assert_int_equal(ended, READS);
    assert_int_equal(search.started, 0);
    assert_true(list.cursor.set);
    assert_int_equal(list.cursor.source, 1);
    assert_int_equal(list.cursor.created_at, 77);
    assert_string_equal(list.readers[0].after, "batch_a");
    assert_string_equal(list.readers[1].after, NATIVE); /* the object itself */
    assert_string_equal(list.readers[2].after, "");     /* forgotten: from the top */
    assert_string_equal(list.readers[3].after, "batch_d");
    assert_true(list.readers[0].expects);
    assert_false(list.readers[1].expects);
    assert_false(list.readers[3].expects);
}

/* A list of all accounts was walked, and then one of some. */
static void what_was_remembered_of_an_account_that_is_not_listed_is_no_cursor(void **state)
{
    (void)state;
    OVER(LIST(0, 1), LIST(1, 3));
    remember_end(keys[2], 77);
    remember_place(keys[0], "batch_a", true);
    listing_locate(&list);
    assert_int_equal(ended, NOTHING);
    assert_int_equal(search.started, 1);
    assert_string_equal(list.readers[0].after, "");
    assert_false(list.cursor.set);
    found(1, "{\"created_at\":5}");
    assert_int_equal(ended, READS);
}

static void one_account_goes_on_behind_its_own_object(void **state)
{
    (void)state;
    OVER(LIST(2), LIST(0, 3, 2));
    listing_locate(&list);
    assert_int_equal(ended, READS);
    assert_string_equal(list.readers[0].after, NATIVE);
    assert_int_equal(search.started, 0);
}

static void an_object_of_an_account_that_is_not_listed_is_no_cursor(void **state)
{
    (void)state;
    OVER(LIST(2), LIST(0, 3));
    listing_locate(&list);
    assert_int_equal(ended, FAILS_CURSOR);
    assert_int_equal(search.started, 0);
    assert_string_equal(list.readers[0].after, "");
}

static void of_several_accounts_those_that_are_listed_are_asked_for_the_object(void **state)
{
    (void)state;
    OVER(LIST(1, 3), LIST(0, 1, 2, 3));
    listing_locate(&list);
    assert_int_equal(ended, NOTHING);
    assert_int_equal(search.num, 2);
    assert_int_equal(search.deployments[0], 1);
    assert_int_equal(search.deployments[1], 3);
    assert_string_equal(search.native, NATIVE);
    found(3, "{\"id\":\"batch_native\",\"created_at\":99}");
    assert_int_equal(ended, READS);
    assert_int_equal(list.cursor.source, 1);
    assert_int_equal(list.cursor.created_at, 99);
    assert_string_equal(list.readers[0].after, "");
    assert_string_equal(list.readers[1].after, NATIVE);
    assert_null(running);
}

static void several_accounts_are_asked_although_one_of_them_holds_it_for_sure(void **state)
{
    (void)state;
    OVER(LIST(1, 3), LIST(3));
    listing_locate(&list);
    assert_int_equal(ended, NOTHING); /* the other begins where it was made */
    assert_int_equal(search.num, 1);
    found(3, "{\"created_at\":99}");
    assert_int_equal(ended, READS);
}

static void what_was_not_found_or_is_no_object_is_no_cursor(void **state)
{
    struct locate_result gone = {.failure.status = 404};
    static const char *const bodies[] = {"", "[]", "{\"id\":", "7"};

    (void)state;
    OVER(LIST(1, 3), LIST(1, 3));
    listing_locate(&list);
    search.on_located(search.op, &gone);
    assert_int_equal(ended, FAILS_CURSOR);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        ended = NOTHING;
        listing_locate(&list);
        found(1, bodies[i]);
        assert_int_equal(ended, FAILS_CURSOR);
    }
    ended = NOTHING;
    listing_locate(&list);
    found(0, "{\"created_at\":99}"); /* an account that was not asked */
    assert_int_equal(ended, FAILS_CURSOR);
}

static void an_account_that_could_not_say_is_the_answer(void **state)
{
    struct locate_result result = {.failure.status = 502};

    (void)state;
    OVER(LIST(1, 3), LIST(1, 3));
    listing_locate(&list);
    search.on_located(search.op, &result);
    assert_int_equal(ended, FAILS);
    assert_int_equal(failure.status, 502);
    assert_null(running);
}

static void a_search_has_the_time_of_a_list(void **state)
{
    (void)state;
    OVER(LIST(1, 3), LIST(1, 3));
    listing_locate(&list);
    assert_non_null(running);
    running->cb(running);
    assert_int_equal(ended, FAILS);
    assert_int_equal(failure.status, 504);
    assert_string_equal(failure.param, "after");
}

static void without_memory_for_the_search_there_is_no_list(void **state)
{
    (void)state;
    OVER(LIST(1, 3), LIST(1, 3));
    search.refused = true;
    listing_locate(&list);
    assert_int_equal(ended, FAILS_MEMORY);
    search.refused = false;
    timer_result = ERR_NOMEM;
    listing_locate(&list);
    assert_int_equal(ended, FAILS_MEMORY);
    assert_int_equal(ends, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_list_without_a_cursor_begins_at_the_top),
        TEST(the_page_before_says_where_each_account_goes_on),
        TEST(what_was_remembered_of_an_account_that_is_not_listed_is_no_cursor),
        TEST(one_account_goes_on_behind_its_own_object),
        TEST(an_object_of_an_account_that_is_not_listed_is_no_cursor),
        TEST(of_several_accounts_those_that_are_listed_are_asked_for_the_object),
        TEST(several_accounts_are_asked_although_one_of_them_holds_it_for_sure),
        TEST(what_was_not_found_or_is_no_object_is_no_cursor),
        TEST(an_account_that_could_not_say_is_the_answer),
        TEST(a_search_has_the_time_of_a_list),
        TEST(without_memory_for_the_search_there_is_no_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
