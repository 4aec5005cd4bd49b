/* What the page for operators shows of keys and teams, and how much of a worker's time it takes where
 * there are very many. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balancer/quota.h"
#include "balancer/rights.h"
#include "json/json.h"
#include "rights_world.h"
#include "server/ui/state_parts.h"

#define KEYS 10000

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return 5000000;
}

static const struct loop_ops ops = {.now_ms = do_now_ms};
static struct loop loop = {.ops = &ops};
static struct inherited inherited;
static struct runtime rt = {.loop = &loop, .inherited = &inherited};
static struct rights_list list;
static struct state_tenants tenants;
static struct json_doc *doc;

static int setup(void **state)
{
    char text[32];
    const struct rights_list *lists[] = {&list};

    (void)state;
    memset(&list, 0, sizeof(list));
    memset(&tenants, 0, sizeof(tenants));
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(text, sizeof(text), "sk-%u", i);
        add_key_of(&list, text, i == KEYS - 2 ? "team-x" : NULL);
    }
    assert_int_equal(rights_table_new(KEYS, &inherited.rights), 0);
    assert_int_equal(rights_publish(inherited.rights, 1, lists, 1, true), 0);
    assert_int_equal(quota_new(4, 4096, &inherited.quota), 0);
    doc = json_doc_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_doc_free(doc);
    quota_free(inherited.quota);
    rights_table_free(inherited.rights);
    rights_list_deinit(&list);
    return 0;
}

static void hold(unsigned nth, uint64_t tokens)
{
    struct quota_claim claim;
    struct quota_refusal refusal;
    struct rights key;
    struct quota_job job = {.tokens = tokens};

    assert_true(rights_at(inherited.rights, nth, &key));
    job.scopes[QUOTA_KEY] = (struct quota_scope){key.key, RIGHTS_UNLIMITED, RIGHTS_UNLIMITED};
    job.scopes[QUOTA_TEAM] = (struct quota_scope){key.team, RIGHTS_UNLIMITED, RIGHTS_UNLIMITED};
    job.anyway = true;
    assert_int_equal(quota_reserve_job(inherited.quota, 0, 0, &job, 5000000, &claim, &refusal), 0);
}

/* @param turns  of the loop that it took; written */
static struct json *shown(unsigned *turns)
{
    struct strbuf text = STRBUF_INIT;
    struct json_error error;
    struct json *all;

    strbuf_adds(&text, "{\"a\":1");
    for (*turns = 1; state_tenants_write(&tenants, &rt, &text); ++*turns)
        assert_in_range(*turns, 1, KEYS);
    strbuf_adds(&text, "}");
    all = json_parse(doc, text.data, text.len, &error);
    strbuf_deinit(&text);
    return json_get(all, "tenants");
}

static void of_ten_thousand_keys_those_with_batches_are_shown_most_tokens_first(void **state)
{
    int64_t keys = 0;
    struct json *all, *rows;
    unsigned turns;

    (void)state;
    hold(KEYS - 2, 30);
    hold(5, 50);
    all = shown(&turns);
    rows = json_get(all, "rows");
    assert_true(json_int64(json_get(all, "keys"), &keys) && keys == KEYS);
    assert_int_equal(json_size(rows), 3);
    assert_string_equal(json_get_str(json_at(rows, 0), "kind"), "key");
    assert_true(json_int64(json_get(json_at(rows, 0), "tokens"), &keys) && keys == 50);
    assert_true(json_int64(json_get(json_at(rows, 2), "tokens"), &keys) && keys == 30);
}

/* Some tens of microseconds each: only their names are read. */
static void keys_that_hold_nothing_cost_a_few_turns_of_the_loop(void **state)
{
    unsigned turns;

    (void)state;
    assert_int_equal(json_size(json_get(shown(&turns), "rows")), 0);
    assert_in_range(turns, 1, 6);
}

static void keys_that_all_hold_something_are_shared_among_many_turns(void **state)
{
    unsigned turns;

    (void)state;
    for (unsigned i = 0; i < 2000; i++)
        hold(i, 1 + i);
    assert_int_equal(json_size(json_get(shown(&turns), "rows")), STATE_TENANTS);
    assert_in_range(turns, 2000 / 128, KEYS);
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(of_ten_thousand_keys_those_with_batches_are_shown_most_tokens_first),
        T(keys_that_hold_nothing_cost_a_few_turns_of_the_loop),
        T(keys_that_all_hold_something_are_shared_among_many_turns)};

    return cmocka_run_group_tests_name("state_tenants", tests, NULL, NULL);
}
