/* Webhooks in the database: one event for each batch and type, tries that are claimed once, and
 * endpoints that fail. Over both engines. */
#include "store_world.h"

#include "server/store/store_hooks_impl.h"
#include "webhook/hook_tries.h"

#define TEAM  77
#define OTHER 78

static struct cluster cluster;
static const struct store_hook_owner all = {.all = true}, team = {.owner = TEAM},
                                     other = {.owner = OTHER};
static const struct store_hook_claimer node_a = {"a", 1}, node_b = {"b", 1};

static int set_up(void **state, struct cluster *c)
{
    static struct world w;

    world_init(&w, c);
    *state = &w;
    return 0;
}

static int set_up_sqlite(void **state)
{
    return set_up(state, NULL);
}

static int set_up_postgres(void **state)
{
    *state = NULL;
    return cluster.there ? set_up(state, &cluster) : 0;
}

static int tear_down(void **state)
{
    if (*state != NULL)
        world_deinit(*state);
    return 0;
}

#define WORLD(w)                                                                                   \
    struct world *w = *state;                                                                      \
    if ((w) == NULL)                                                                               \
    skip()

static struct store_hook hook_of(const char *id, struct store_hook_owner of, unsigned types)
{
    return (struct store_hook){.id = (char *)(uintptr_t)id,
                               .of = of,
                               .url = (char *)(uintptr_t) "https://h.example/secret",
                               .secret = (char *)(uintptr_t) "sealed 1",
                               .types = types,
                               .enabled = true};
}

static void add(struct world *w, const char *id, struct store_hook_owner of, unsigned types)
{
    struct store_hook hook = hook_of(id, of, types);

    OK(w, store_hook_add(w->store, &hook, &tester));
}

/* What a terminal commit does. @param commit  false: it comes to nothing */
static void end_batch(struct world *w, const char *batch, uint64_t owner, enum hook_type type,
                      bool commit)
{
    struct store_hook_event event = {
        .batch_id = batch, .owner = owner, .type = type, .now_ms = 1700000000123};
    int rc;

    OK(w, work_begin(w->store, WORK_WRITE));
    rc = work_hook_event(w->store, &event);
    assert_int_equal(rc, 0);
    assert_int_equal(work_end(w->store, commit ? 0 : ERR_NOMEM), commit ? 0 : ERR_NOMEM);
}

static size_t spread(struct world *w)
{
    size_t num;

    OK(w, store_hooks_spread(w->store, &num));
    return num;
}

static size_t due(struct world *w, char ids[8][STORE_HOOK_ID + 1])
{
    size_t num;

    OK(w, store_hooks_due(w->store, ids, 8, &num));
    return num;
}

static size_t count_due(struct world *w)
{
    char ids[8][STORE_HOOK_ID + 1];

    return due(w, ids);
}

static void claim(struct world *w, const struct store_hook_claimer *who, const char *hook,
                  struct store_hook_tries *out)
{
    OK(w, store_hooks_claim(w->store, who, hook, 8, out));
}

static int report(struct world *w, const struct store_hook_claimer *who,
                  const struct store_hook_try *row, enum store_hook_state how, int status,
                  bool *off)
{
    struct store_hook_result result = {.event_id = row->event_id,
                                       .hook_id = row->hook_id,
                                       .state = how,
                                       .wait_ms = 3600000,
                                       .status = status,
                                       .error = status == 200 ? NULL : "no",
                                       .off_why = status == 410 ? "gone" : NULL};

    return store_hooks_report(w->store, who, &result, HOOK_GIVE_UP_MS, off);
}

static void an_endpoint_is_read_as_it_was_written(void **state)
{
    struct store_hook hook = hook_of("wh_1", team, 5), got;

    WORLD(w);
    hook.owner_name = (char *)(uintptr_t) "team:x";
    OK(w, store_hook_add(w->store, &hook, &tester));
    OK(w, store_hook_get(w->store, "wh_1", &team, &got));
    assert_string_equal(got.url, hook.url);
    assert_string_equal(got.secret, "sealed 1");
    assert_string_equal(got.owner_name, "team:x");
    assert_int_equal(got.types, 5);
    assert_false(got.of.all);
    assert_int_equal(got.of.owner, TEAM);
    assert_true(got.enabled && !got.from_config && got.old_secret == NULL);
    store_hook_deinit(&got);
    assert_int_equal(store_hook_get(w->store, "wh_1", &other, &got), ERR_NOT_FOUND);
    OK(w, store_hook_get(w->store, "wh_1", &all, &got));
    store_hook_deinit(&got);
    OK(w, store_hook_delete(w->store, "wh_1", &tester));
    assert_int_equal(store_hook_delete(w->store, "wh_1", &tester), ERR_NOT_FOUND);
}

static void a_list_has_an_owners_own_in_pages(void **state)
{
    struct store_hook_list list;

    WORLD(w);
    add(w, "wh_1", team, 1);
    add(w, "wh_2", all, 1);
    add(w, "wh_3", team, 1);
    add(w, "wh_4", other, 1);
    OK(w, store_hook_list(w->store, &team, NULL, 10, &list));
    assert_int_equal(list.num, 2);
    assert_string_equal(list.hooks[1].id, "wh_3");
    store_hook_list_deinit(&list);
    OK(w, store_hook_list(w->store, &all, "wh_1", 2, &list));
    assert_int_equal(list.num, 2);
    assert_string_equal(list.hooks[0].id, "wh_2");
    assert_true(list.hooks[0].of.all);
    store_hook_list_deinit(&list);
}

static void an_owner_has_so_many_and_no_more(void **state)
{
    struct store_hook hook;
    char id[16];

    WORLD(w);
    for (unsigned i = 0; i < STORE_HOOKS_EACH; i++) {
        snprintf(id, sizeof(id), "wh_%u", i);
        add(w, id, team, 1);
    }
    hook = hook_of("wh_more", team, 1);
    assert_int_equal(store_hook_add(w->store, &hook, &tester), ERR_LIMIT);
    add(w, "wh_other", other, 1);
    add(w, "wh_all", all, 1);
}

static void a_change_needs_the_secret_that_was_read(void **state)
{
    struct store_hook got, next;

    WORLD(w);
    add(w, "wh_1", team, 1);
    OK(w, store_hook_get(w->store, "wh_1", &team, &got));
    next = got;
    next.secret = (char *)(uintptr_t) "sealed 2";
    next.old_secret = got.secret;
    next.old_until_ms = 123;
    OK(w, store_hook_update(w->store, &next, got.secret, "hook.rotate", &tester));
    assert_int_equal(store_hook_update(w->store, &next, got.secret, "hook.rotate", &tester),
                     ERR_NOT_FOUND);
    store_hook_deinit(&got);
    OK(w, store_hook_get(w->store, "wh_1", &team, &got));
    assert_string_equal(got.secret, "sealed 2");
    assert_string_equal(got.old_secret, "sealed 1");
    assert_int_equal(got.old_until_ms, 123);
    store_hook_deinit(&got);
}

static void the_audit_tells_of_changes_and_of_no_secret(void **state)
{
    struct store_audit rows[2];
    size_t num;

    WORLD(w);
    add(w, "wh_1", team, 1);
    OK(w, store_hook_delete(w->store, "wh_1", &tester));
    OK(w, store_audit_read(w->store, rows, 2, &num));
    assert_int_equal(num, 2);
    assert_string_equal(rows[0].what, "hook.delete");
    assert_string_equal(rows[1].what, "hook.add");
    assert_string_equal(rows[1].target, "wh_1");
    assert_non_null(strstr(rows[1].after, "https://h.example"));
    assert_null(strstr(rows[1].after, "secret"));
    assert_null(strstr(rows[1].after, "sealed"));
    store_audit_deinit(&rows[0]);
    store_audit_deinit(&rows[1]);
}

/* A change of an endpoint is none of keys: what was read of those is still all. */
static void a_list_of_keys_goes_on_past_changes_of_endpoints(void **state)
{
    struct store_key key = key_of(1);
    struct rights_list list;
    uint64_t gen;

    WORLD(w);
    OK(w, store_load(w->store, &list, &gen));
    add(w, "wh_1", team, 1);
    OK(w, store_key_add(w->store, &key, &tester, NULL));
    OK(w, store_refresh(w->store, &list, &gen));
    assert_int_equal(list.num_keys, 1);
    rights_list_deinit(&list);
}

static void an_event_is_there_with_the_batchs_end_or_not_at_all(void **state)
{
    struct store_hook_tries tries;

    WORLD(w);
    add(w, "wh_1", all, 15);
    end_batch(w, "batch_1", TEAM, HOOK_COMPLETED, false);
    assert_int_equal(spread(w), 0);
    end_batch(w, "batch_1", TEAM, HOOK_COMPLETED, true);
    end_batch(w, "batch_1", TEAM, HOOK_COMPLETED, true); /* somebody else saw it, too */
    assert_int_equal(spread(w), 1);
    assert_int_equal(spread(w), 0);
    claim(w, &node_a, "wh_1", &tries);
    assert_int_equal(tries.num, 1);
    assert_non_null(strstr(tries.rows[0].body, "\"created_at\":1700000000,"));
    assert_non_null(strstr(tries.rows[0].body, "\"data\":{\"id\":\"batch_1\"}"));
    assert_non_null(strstr(tries.rows[0].body, tries.rows[0].event_id));
    assert_int_equal(tries.rows[0].tries, 1);
    store_hook_tries_deinit(&tries);
}

static void an_event_goes_to_whom_it_concerns(void **state)
{
    char ids[8][STORE_HOOK_ID + 1];
    struct store_hook of_batch = hook_of("wh_6", team, 15), off = hook_of("wh_7", all, 15);

    WORLD(w);
    of_batch.batch_id = (char *)(uintptr_t) "batch_2";
    off.enabled = false;
    add(w, "wh_1", all, 15);
    add(w, "wh_2", team, 15);
    add(w, "wh_3", other, 15);
    add(w, "wh_4", team, 1u << HOOK_FAILED);
    add(w, "wh_5", team, 1u << HOOK_COMPLETED);
    OK(w, store_hook_add(w->store, &of_batch, &tester));
    OK(w, store_hook_add(w->store, &off, &tester));
    end_batch(w, "batch_1", TEAM, HOOK_FAILED, true);
    assert_int_equal(spread(w), 1);
    assert_int_equal(due(w, ids), 3);
    world_do(w, "delete from @hook_try");
    end_batch(w, "batch_2", TEAM, HOOK_COMPLETED, true);
    assert_int_equal(spread(w), 1);
    assert_int_equal(due(w, ids), 4); /* 1, 2, 5, 6 */
}

static void a_batchs_own_endpoint_is_told_of_that_batch_alone(void **state)
{
    struct store_hook hook = hook_of("wh_1", team, 15);
    char ids[8][STORE_HOOK_ID + 1];
    struct store_hook_list list;

    WORLD(w);
    hook.batch_id = (char *)(uintptr_t)STORE_HOOK_INTENT "res_1";
    OK(w, store_hook_expect(w->store, &hook));
    OK(w, store_hook_expect(w->store, &hook));
    world_do(w, "insert into @batch(id, owner, status, created, reservation)"
                " values('batch_1', 77, 'completed', 1, 'res_1'),"
                " ('batch_2', 77, 'completed', 1, 'res_2')");
    OK(w, store_hook_list(w->store, &all, NULL, 10, &list));
    assert_int_equal(list.num, 0); /* it is nobody's to manage */
    store_hook_list_deinit(&list);
    end_batch(w, "batch_2", TEAM, HOOK_COMPLETED, true);
    spread(w);
    assert_int_equal(due(w, ids), 0);
    end_batch(w, "batch_1", TEAM, HOOK_COMPLETED, true);
    spread(w);
    assert_int_equal(due(w, ids), 1);
    assert_string_equal(ids[0], "wh_1");
}

static void a_try_is_claimed_once_and_reported_by_who_has_it(void **state)
{
    struct store_hook_tries mine, theirs;
    bool off;

    WORLD(w);
    add(w, "wh_1", all, 15);
    end_batch(w, "batch_1", 0, HOOK_COMPLETED, true);
    end_batch(w, "batch_2", 0, HOOK_COMPLETED, true);
    spread(w);
    OK(w, store_hooks_claim(w->store, &node_a, "wh_1", 1, &mine));
    assert_int_equal(mine.num, 1);
    claim(w, &node_b, "wh_1", &theirs);
    assert_int_equal(theirs.num, 1);
    assert_string_not_equal(mine.rows[0].event_id, theirs.rows[0].event_id);
    assert_int_equal(count_due(w), 0);
    assert_int_equal(report(w, &node_b, &mine.rows[0], STORE_HOOK_DELIVERED, 200, &off),
                     ERR_NOT_FOUND);
    OK(w, report(w, &node_a, &mine.rows[0], STORE_HOOK_DELIVERED, 200, &off));
    assert_int_equal(report(w, &node_a, &mine.rows[0], STORE_HOOK_DUE, 500, &off), ERR_NOT_FOUND);
    store_hook_tries_deinit(&mine);
    store_hook_tries_deinit(&theirs);
}

static void a_claim_that_nobody_reports_ends(void **state)
{
    const struct store_hook_claimer again = {"a", 2};
    struct store_hook_tries tries, second;
    bool off;

    WORLD(w);
    add(w, "wh_1", all, 15);
    end_batch(w, "batch_1", 0, HOOK_COMPLETED, true);
    spread(w);
    claim(w, &node_a, "wh_1", &tries);
    world_do(w, "update @hook_try set claim_until = claim_until - 60001");
    assert_int_equal(count_due(w), 1);
    claim(w, &node_b, "wh_1", &second);
    assert_int_equal(second.num, 1);
    assert_int_equal(second.rows[0].tries, 2);
    assert_int_equal(report(w, &node_a, &tries.rows[0], STORE_HOOK_DELIVERED, 200, &off),
                     ERR_NOT_FOUND);
    store_hook_tries_deinit(&tries);
    /* A keeper that was started again need not wait for what the one before it had. */
    OK(w, store_hooks_take_back(w->store, &again));
    assert_int_equal(count_due(w), 0); /* it is b's */
    OK(w, store_hooks_take_back(w->store, &(struct store_hook_claimer){"b", 2}));
    assert_int_equal(count_due(w), 1);
    store_hook_tries_deinit(&second);
}

static void a_failure_is_tried_again_and_72_hours_of_them_switch_off(void **state)
{
    struct store_hook_tries tries;
    struct store_hook hook;
    bool off;

    WORLD(w);
    add(w, "wh_1", all, 15);
    end_batch(w, "batch_1", 0, HOOK_COMPLETED, true);
    spread(w);
    claim(w, &node_a, "wh_1", &tries);
    OK(w, report(w, &node_a, &tries.rows[0], STORE_HOOK_DUE, 500, &off));
    assert_false(off);
    assert_int_equal(count_due(w), 0);
    store_hook_tries_deinit(&tries);
    world_do(w, "update @hook_try set next_at = 1");
    world_do(w, "update @hook set failing_since = failing_since - 259200000");
    claim(w, &node_a, "wh_1", &tries);
    assert_int_equal(tries.rows[0].tries, 2);
    OK(w, report(w, &node_a, &tries.rows[0], STORE_HOOK_DUE, 500, &off));
    assert_true(off);
    store_hook_tries_deinit(&tries);
    OK(w, store_hook_get(w->store, "wh_1", &all, &hook));
    assert_false(hook.enabled);
    assert_non_null(hook.off_why);
    world_do(w, "update @hook_try set next_at = 1");
    assert_int_equal(count_due(w), 0); /* it gets nothing */
    hook.enabled = true;
    OK(w, store_hook_update(w->store, &hook, hook.secret, "hook.update", &tester));
    assert_int_equal(count_due(w), 1);
    store_hook_deinit(&hook);
    OK(w, store_hook_get(w->store, "wh_1", &all, &hook));
    assert_true(hook.enabled && hook.off_why == NULL && hook.failing_since_ms == 0);
    store_hook_deinit(&hook);
}

static void a_success_forgets_the_failures_before(void **state)
{
    struct store_hook_tries tries;
    struct store_hook hook;
    bool off;

    WORLD(w);
    add(w, "wh_1", all, 15);
    end_batch(w, "batch_1", 0, HOOK_COMPLETED, true);
    spread(w);
    claim(w, &node_a, "wh_1", &tries);
    OK(w, report(w, &node_a, &tries.rows[0], STORE_HOOK_DUE, 500, &off));
    store_hook_tries_deinit(&tries);
    world_do(w, "update @hook_try set next_at = 1");
    claim(w, &node_a, "wh_1", &tries);
    OK(w, report(w, &node_a, &tries.rows[0], STORE_HOOK_DELIVERED, 204, &off));
    store_hook_tries_deinit(&tries);
    OK(w, store_hook_get(w->store, "wh_1", &all, &hook));
    assert_int_equal(hook.failing_since_ms, 0);
    assert_true(hook.last_ok_ms != 0);
    store_hook_deinit(&hook);
}

static void gone_switches_off_at_once_and_a_rest_is_kept(void **state)
{
    struct store_hook_result busy = {.state = STORE_HOOK_DUE, .status = 429, .rest_ms = 3600000};
    struct store_hook_tries tries;
    bool off;

    WORLD(w);
    add(w, "wh_1", all, 15);
    add(w, "wh_2", all, 15);
    end_batch(w, "batch_1", 0, HOOK_COMPLETED, true);
    spread(w);
    claim(w, &node_a, "wh_1", &tries);
    OK(w, report(w, &node_a, &tries.rows[0], STORE_HOOK_GIVEN_UP, 410, &off));
    assert_true(off);
    store_hook_tries_deinit(&tries);
    claim(w, &node_a, "wh_2", &tries);
    busy.event_id = tries.rows[0].event_id;
    busy.hook_id = tries.rows[0].hook_id;
    OK(w, store_hooks_report(w->store, &node_a, &busy, HOOK_GIVE_UP_MS, &off));
    assert_false(off);
    store_hook_tries_deinit(&tries);
    end_batch(w, "batch_2", 0, HOOK_COMPLETED, true);
    spread(w);
    assert_int_equal(count_due(w), 0); /* the other event waits as well */
    world_do(w, "update @hook set rest_until = 0");
    assert_int_equal(count_due(w), 1);
}

static void the_secret_before_signs_until_its_end(void **state)
{
    struct store_hook_tries tries;

    WORLD(w);
    add(w, "wh_1", all, 15);
    world_do(w, "update @hook set old_secret = 'sealed 0', old_until = 9000000000000");
    end_batch(w, "batch_1", 0, HOOK_COMPLETED, true);
    end_batch(w, "batch_2", 0, HOOK_COMPLETED, true);
    spread(w);
    OK(w, store_hooks_claim(w->store, &node_a, "wh_1", 1, &tries));
    assert_string_equal(tries.rows[0].secret, "sealed 1");
    assert_string_equal(tries.rows[0].old_secret, "sealed 0");
    store_hook_tries_deinit(&tries);
    world_do(w, "update @hook set old_until = 1");
    claim(w, &node_a, "wh_1", &tries);
    assert_int_equal(tries.num, 1);
    assert_null(tries.rows[0].old_secret);
    store_hook_tries_deinit(&tries);
}

static void a_test_is_for_its_endpoint_alone(void **state)
{
    char id[HOOK_EVENT_ID + 1], ids[8][STORE_HOOK_ID + 1];
    struct store_hook hook = hook_of("wh_1", team, 15);
    struct store_hook_tries tries;
    size_t num;
    bool off;

    WORLD(w);
    add(w, "wh_1", team, 15);
    add(w, "wh_2", all, 15);
    OK(w, store_hooks_test(w->store, &hook, id));
    assert_int_equal(spread(w), 0);
    assert_int_equal(due(w, ids), 1);
    assert_string_equal(ids[0], "wh_1");
    claim(w, &node_a, "wh_1", &tries);
    assert_string_equal(tries.rows[0].event_id, id);
    assert_non_null(strstr(tries.rows[0].body, "\"id\":\"batch_test_"));
    OK(w, report(w, &node_a, &tries.rows[0], STORE_HOOK_DELIVERED, 200, &off));
    store_hook_tries_deinit(&tries);
    OK(w, store_hooks_replay(w->store, id, &all, &num));
    assert_int_equal(num, 1);
}

static void an_event_is_told_again_to_all_that_want_it_now(void **state)
{
    struct store_hook_stories stories;
    struct store_hook_tries tries;
    size_t num;
    bool off;

    WORLD(w);
    add(w, "wh_1", team, 15);
    end_batch(w, "batch_1", TEAM, HOOK_COMPLETED, true);
    spread(w);
    claim(w, &node_a, "wh_1", &tries);
    OK(w, report(w, &node_a, &tries.rows[0], STORE_HOOK_GIVEN_UP, 500, &off));
    add(w, "wh_2", all, 15);
    assert_int_equal(store_hooks_replay(w->store, tries.rows[0].event_id, &other, &num),
                     ERR_NOT_FOUND);
    OK(w, store_hooks_replay(w->store, tries.rows[0].event_id, &team, &num));
    assert_int_equal(num, 1); /* its own, not the operator's */
    OK(w, store_hooks_replay(w->store, tries.rows[0].event_id, &all, &num));
    assert_int_equal(num, 2);
    assert_int_equal(count_due(w), 2);
    store_hook_tries_deinit(&tries);
    OK(w, store_hooks_stories(w->store, "wh_1", NULL, 10, &stories));
    assert_int_equal(stories.num, 1);
    assert_int_equal(stories.rows[0].state, STORE_HOOK_DUE);
    assert_int_equal(stories.rows[0].tries, 0);
    assert_int_equal(stories.rows[0].last_status, 500);
    assert_string_equal(stories.rows[0].batch_id, "batch_1");
    store_hook_stories_deinit(&stories);
}

static void stories_come_in_pages_the_newest_first(void **state)
{
    struct store_hook_stories page;
    char batch[16], last[HOOK_EVENT_ID + 1];
    size_t told = 0;

    WORLD(w);
    add(w, "wh_1", all, 15);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(batch, sizeof(batch), "batch_%u", i);
        end_batch(w, batch, 0, HOOK_COMPLETED, true);
    }
    spread(w);
    OK(w, store_hooks_stories(w->store, "wh_1", NULL, 3, &page));
    assert_int_equal(page.num, 3);
    told = page.num;
    snprintf(last, sizeof(last), "%s", page.rows[2].event_id);
    store_hook_stories_deinit(&page);
    OK(w, store_hooks_stories(w->store, "wh_1", last, 3, &page));
    told += page.num;
    store_hook_stories_deinit(&page);
    assert_int_equal(told, 5);
}

static bool is_same_text(void *arg, const char *id, const char *a, const char *b)
{
    (void)arg;
    (void)id;
    return strcmp(a, b) == 0;
}

static void configure(struct world *w, const struct store_hook *hooks, size_t num)
{
    OK(w, store_hooks_configure(w->store, hooks, num, is_same_text, NULL, 9000000000000));
}

static void endpoints_of_the_configuration_are_those_that_it_says(void **state)
{
    struct store_hook hooks[2] = {hook_of("wh_c1", all, 15), hook_of("wh_c2", team, 1)};
    struct store_hook_list list;

    WORLD(w);
    hooks[0].from_config = hooks[1].from_config = true;
    add(w, "wh_api", team, 1);
    configure(w, hooks, 2);
    configure(w, hooks, 2);
    OK(w, store_hook_list(w->store, &all, NULL, 10, &list));
    assert_int_equal(list.num, 3);
    store_hook_list_deinit(&list);
    hooks[0].secret = (char *)(uintptr_t) "sealed 2";
    configure(w, hooks, 1);
    OK(w, store_hook_list(w->store, &all, NULL, 10, &list));
    assert_int_equal(list.num, 2);
    assert_string_equal(list.hooks[1].id, "wh_c1");
    assert_string_equal(list.hooks[1].secret, "sealed 2");
    assert_string_equal(list.hooks[1].old_secret, "sealed 1");
    assert_int_equal(list.hooks[1].old_until_ms, 9000000000000);
    store_hook_list_deinit(&list);
}

static void one_that_was_switched_off_stays_so_until_its_secret_changes(void **state)
{
    struct store_hook hook = hook_of("wh_c1", all, 15), got;

    WORLD(w);
    hook.from_config = true;
    configure(w, &hook, 1);
    world_do(w, "update @hook set enabled = 0, off_why = 'gone'");
    configure(w, &hook, 1);
    OK(w, store_hook_get(w->store, "wh_c1", &all, &got));
    assert_false(got.enabled);
    store_hook_deinit(&got);
    hook.secret = (char *)(uintptr_t) "sealed 2";
    configure(w, &hook, 1);
    OK(w, store_hook_get(w->store, "wh_c1", &all, &got));
    assert_true(got.enabled);
    assert_null(got.off_why);
    store_hook_deinit(&got);
}

static void secrets_are_sealed_anew_unless_they_changed(void **state)
{
    struct store_hook_list list;
    struct store_hook got;

    WORLD(w);
    add(w, "wh_1", all, 15);
    OK(w, store_hooks_sealed(w->store, "", 10, &list));
    assert_int_equal(list.num, 1);
    OK(w, store_hook_reseal(w->store, &list.hooks[0], "sealed anew", NULL));
    OK(w, store_hook_reseal(w->store, &list.hooks[0], "sealed late", NULL));
    store_hook_list_deinit(&list);
    OK(w, store_hook_get(w->store, "wh_1", &all, &got));
    assert_string_equal(got.secret, "sealed anew");
    store_hook_deinit(&got);
}

static void old_events_go_with_their_tries(void **state)
{
    struct store_hook_counts counts;
    bool more = true;

    WORLD(w);
    add(w, "wh_1", all, 15);
    end_batch(w, "batch_1", 0, HOOK_COMPLETED, true);
    spread(w);
    OK(w, store_hooks_count(w->store, &counts));
    assert_int_equal(counts.due, 1);
    assert_int_equal(counts.endpoints, 1);
    assert_int_equal(counts.off, 0);
    OK(w, store_hooks_tend(w->store, &more)); /* it was born long ago */
    assert_false(more);
    OK(w, store_hooks_count(w->store, &counts));
    assert_int_equal(counts.due, 0);
    assert_int_equal(counts.endpoints, 1);
}

static void more_events_than_a_spread_are_all_spread(void **state)
{
    struct store_hook_counts counts;
    char batch[16];

    WORLD(w);
    add(w, "wh_1", all, 15);
    for (unsigned i = 0; i < STORE_HOOKS_SPREAD + 3; i++) {
        snprintf(batch, sizeof(batch), "batch_%u", i);
        end_batch(w, batch, 0, HOOK_COMPLETED, true);
    }
    assert_int_equal(spread(w), STORE_HOOKS_SPREAD);
    assert_int_equal(spread(w), 3);
    assert_int_equal(spread(w), 0);
    OK(w, store_hooks_count(w->store, &counts));
    assert_int_equal(counts.due, STORE_HOOKS_SPREAD + 3);
}

#define BOTH(group)     group(set_up_sqlite), group(set_up_postgres)
#define T(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TESTS(s)                                                                                   \
    T(an_endpoint_is_read_as_it_was_written, s), T(a_list_has_an_owners_own_in_pages, s),          \
        T(an_owner_has_so_many_and_no_more, s), T(a_change_needs_the_secret_that_was_read, s),     \
        T(the_audit_tells_of_changes_and_of_no_secret, s),                                         \
        T(a_list_of_keys_goes_on_past_changes_of_endpoints, s),                                    \
        T(an_event_is_there_with_the_batchs_end_or_not_at_all, s),                                 \
        T(an_event_goes_to_whom_it_concerns, s),                                                   \
        T(a_batchs_own_endpoint_is_told_of_that_batch_alone, s),                                   \
        T(a_try_is_claimed_once_and_reported_by_who_has_it, s),                                    \
        T(a_claim_that_nobody_reports_ends, s),                                                    \
        T(a_failure_is_tried_again_and_72_hours_of_them_switch_off, s),                            \
        T(a_success_forgets_the_failures_before, s),                                               \
        T(gone_switches_off_at_once_and_a_rest_is_kept, s),                                        \
        T(the_secret_before_signs_until_its_end, s), T(a_test_is_for_its_endpoint_alone, s),       \
        T(an_event_is_told_again_to_all_that_want_it_now, s),                                      \
        T(stories_come_in_pages_the_newest_first, s),                                              \
        T(endpoints_of_the_configuration_are_those_that_it_says, s),                               \
        T(one_that_was_switched_off_stays_so_until_its_secret_changes, s),                         \
        T(secrets_are_sealed_anew_unless_they_changed, s), T(old_events_go_with_their_tries, s),   \
        T(more_events_than_a_spread_are_all_spread, s)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store_hooks", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
