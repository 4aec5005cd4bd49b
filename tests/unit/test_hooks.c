/* The keeper tells endpoints of events: how many at a time, and what becomes of a try. Over SQLite, a
 * loop of the test's, and a server that counts. */
#include "upstream_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "config/config.h"
#include "journal/wire.h"
#include "core/seals.h"
#include "keeper/hook_rows.h"
#include "keeper/hooks.h"
#include "store/store_hooks.h"

#define ENDPOINTS 10
#define SECRET    "a-secret-of-23-bytes-ok"

static atomic_int told[ENDPOINTS]; /* requests to each */
static atomic_int status; /* of the next answers; 0: none is given, -1: when it is another one */
static const struct store_actor tester = {.who = "tester"};

/* Paths are "/0", "/1", ... */
static void serve(struct server *s, int fd, int nth)
{
    struct seen_head head;
    char answer[96];

    (void)nth;
    while (read_head(s, fd, &head)) {
        const char *path = strstr(head.text, " /"), *length = strstr(head.text, "Content-Length: ");
        int code = status;

        if (length != NULL)
            read_body(s, fd, strtoul(length + 16, NULL, 10));
        told[path[2] - '0']++;
        wake(s);
        while (code == -1) {
            const struct timespec moment = {.tv_nsec = 1000000};

            nanosleep(&moment, NULL);
            code = status;
        }
        if (code == 0)
            continue; /* until the client leaves */
        snprintf(answer, sizeof(answer), "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", code);
        say(fd, answer);
    }
}

struct bench {
    struct world *w;
    char dir[64], url[96];
    struct config config;
    struct hook_range range;
    struct store *store;
    struct hooks *hooks;
    struct vault vault;
};

static struct store *open_store(const struct bench *b)
{
    const struct store_options options = {.deadline_ms = 100};
    struct store *store = NULL;
    char why[STORE_WHY_BYTES];

    assert_int_equal(store_new(b->url, &options, &store, why), 0);
    return store;
}

static struct bench *bench_new(void)
{
    struct bench *b = calloc(1, sizeof(*b));

    assert_non_null(b);
    for (int i = 0; i < ENDPOINTS; i++)
        told[i] = 0;
    status = 200;
    b->w = world_new(serve);
    snprintf(b->dir, sizeof(b->dir), "/tmp/tranche-hooks-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->url, sizeof(b->url), "sqlite://%s/x.db", b->dir);
    assert_int_equal(secret_set(&b->config.master_key, "sk-0123456789abcdef", 19), 0);
    assert_int_equal(hook_range_read("127.0.0.1", &b->range), 0);
    b->config.webhook_allow_http = true;
    b->config.webhook_ranges = &b->range;
    b->config.num_webhook_ranges = 1;
    b->store = open_store(b);
    assert_int_equal(seals_vault(&b->config, &b->vault), 0);
    return b;
}

static void begin(struct bench *b)
{
    const struct hooks_options options = {
        .loop = &b->w->loop.super, .config = &b->config, .store = b->store, .node = "a/1"};

    assert_int_equal(hooks_new(&options, &b->hooks), 0);
}

static void bench_free(struct bench *b)
{
    char command[128];

    hooks_free(b->hooks);
    world_stop(b->w);
    world_free(b->w);
    store_free(b->store);
    vault_clear(&b->vault);
    secret_clear(&b->config.master_key);
    snprintf(command, sizeof(command), "rm -rf '%s'", b->dir);
    assert_int_equal(system(command), 0);
    free(b);
}

static void add_endpoint(struct bench *b, unsigned number)
{
    char id[16], url[64], what[64];
    struct strbuf sealed = STRBUF_INIT;
    struct store_hook hook = {
        .id = id, .of = {.all = true}, .url = url, .types = 15, .enabled = true};

    snprintf(id, sizeof(id), "wh_%u", number);
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/%u", b->w->server.port, number);
    snprintf(what, sizeof(what), "webhook secret of %s", id);
    assert_int_equal(vault_seal(&b->vault, what, SECRET, strlen(SECRET), &sealed), 0);
    hook.secret = sealed.data;
    assert_int_equal(store_hook_add(b->store, &hook, &tester), 0);
    strbuf_deinit(&sealed);
}

static void add_events(struct bench *b, unsigned number, unsigned count)
{
    const struct store_hook_owner all = {.all = true};
    char id[16], event[HOOK_EVENT_ID + 1];
    struct store_hook hook;

    snprintf(id, sizeof(id), "wh_%u", number);
    assert_int_equal(store_hook_get(b->store, id, &all, &hook), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(store_hooks_test(b->store, &hook, event), 0);
    store_hook_deinit(&hook);
}

static int64_t num_due(struct bench *b)
{
    struct store_hook_counts counts;

    assert_int_equal(store_hooks_count(b->store, &counts), 0);
    return counts.due;
}

static int all_told(void)
{
    int sum = 0;

    for (int i = 0; i < ENDPOINTS; i++)
        sum += told[i];
    return sum;
}

static void run_until_told(struct bench *b, int count)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    while (all_told() < count) {
        if (clock_now_ms() > end_ms)
            fail_msg("%d of %d were told", all_told(), count);
        loop_turn(&b->w->loop);
    }
}

static void run_until_idle(struct bench *b)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    while (!hooks_are_idle(b->hooks)) {
        if (clock_now_ms() > end_ms)
            fail_msg("something is under way for ever");
        loop_turn(&b->w->loop);
    }
}

/* Some looks: each could claim more. */
static void look(struct bench *b)
{
    for (int i = 0; i < 20; i++) {
        hooks_look_soon(b->hooks);
        loop_turn(&b->w->loop);
    }
}

static void so_many_tries_are_under_way_and_no_more(void **state)
{
    struct bench *b = bench_new();

    (void)state;
    status = 0;
    for (unsigned i = 0; i < ENDPOINTS; i++) {
        add_endpoint(b, i);
        add_events(b, i, 9);
    }
    begin(b);
    run_until_told(b, 64);
    look(b);
    assert_int_equal(all_told(), 64);
    for (int i = 0; i < ENDPOINTS; i++)
        assert_true(told[i] <= 8);
    bench_free(b);
}

static void all_are_told_when_places_become_free(void **state)
{
    struct bench *b = bench_new();

    (void)state;
    add_endpoint(b, 0);
    add_events(b, 0, 20);
    begin(b);
    run_until_told(b, 20);
    run_until_idle(b);
    assert_int_equal(num_due(b), 0);
    assert_int_equal(told[0], 20);
    bench_free(b);
}

static void one_that_failed_gets_a_single_place(void **state)
{
    struct bench *b = bench_new();

    (void)state;
    status = 500;
    add_endpoint(b, 0);
    add_events(b, 0, 1);
    begin(b);
    run_until_told(b, 1);
    run_until_idle(b);
    status = 0;
    add_events(b, 0, 9);
    hooks_look_soon(b->hooks);
    run_until_told(b, 2);
    look(b);
    assert_int_equal(told[0], 2);
    bench_free(b);
}

static void what_the_database_did_not_take_is_reported_again(void **state)
{
    struct bench *b = bench_new();
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;
    struct store *other;

    (void)state;
    add_endpoint(b, 0);
    add_events(b, 0, 1);
    other = open_store(b);
    status = -1;
    begin(b);
    run_until_told(b, 1);
    assert_int_equal(store_batch_begin(other), 0); /* nobody else writes meanwhile */
    status = 200;
    while (store_state(b->store) == STORE_UP && clock_now_ms() < end_ms)
        loop_turn(&b->w->loop);
    assert_int_not_equal(store_state(b->store), STORE_UP);
    assert_false(hooks_are_idle(b->hooks));
    assert_int_equal(store_batch_end(other), 0);
    run_until_idle(b);
    assert_int_equal(told[0], 1);
    assert_int_equal(num_due(b), 0);
    bench_free(b);
    store_free(other);
}

static void who_drains_claims_nothing_any_more(void **state)
{
    struct bench *b = bench_new();

    (void)state;
    add_endpoint(b, 0);
    begin(b);
    look(b);
    hooks_drain(b->hooks);
    add_events(b, 0, 3);
    look(b);
    assert_true(hooks_are_idle(b->hooks));
    assert_int_equal(num_due(b), 3);
    assert_int_equal(all_told(), 0);
    bench_free(b);
}

static void what_a_keeper_had_is_its_successors_at_once(void **state)
{
    struct bench *b = bench_new();

    (void)state;
    status = 0;
    add_endpoint(b, 0);
    add_events(b, 0, 1);
    begin(b);
    run_until_told(b, 1);
    hooks_free(b->hooks); /* as a kill does: nothing is reported */
    b->hooks = NULL;
    assert_int_equal(num_due(b), 1);
    status = 200;
    for (uint64_t now = (uint64_t)clock_unix_ms(); (uint64_t)clock_unix_ms() == now;)
        ; /* its epoch is the time of its start */
    begin(b);
    run_until_told(b, 2);
    run_until_idle(b);
    assert_int_equal(num_due(b), 0);
    bench_free(b);
}

static void a_secret_that_no_key_opens_sends_nothing(void **state)
{
    struct bench *b = bench_new();
    struct store_hook_stories stories;

    (void)state;
    add_endpoint(b, 0);
    add_events(b, 0, 1);
    secret_clear(&b->config.master_key);
    assert_int_equal(secret_set(&b->config.master_key, "sk-another-0123456", 18), 0);
    begin(b);
    look(b);
    run_until_idle(b);
    assert_int_equal(all_told(), 0);
    assert_int_equal(store_hooks_stories(b->store, "wh_0", NULL, 1, &stories), 0);
    assert_int_equal(stories.num, 1);
    assert_int_equal(stories.rows[0].state, STORE_HOOK_DUE);
    assert_non_null(strstr(stories.rows[0].last_error, "seal key"));
    store_hook_stories_deinit(&stories);
    bench_free(b);
}

static void a_batchs_own_endpoint_is_kept_sealed_and_once(void **state)
{
    struct wire_intent intent = {.id = "0123456789abcdef0123456789abcdef",
                                 .hook_url = "https://h.example/own",
                                 .hook_secret = SECRET,
                                 .hook_types = 5,
                                 .who = {.owner = 7}};
    struct wire_intent without = {.id = "x", .hook_url = "", .hook_secret = ""};
    struct bench *b = bench_new();
    char *sealed, opened[HOOK_SECRET_MAX + 1];
    struct store_hook_list list;

    (void)state;
    assert_int_equal(hook_rows_seal(&b->vault, &without, &sealed), 0);
    assert_null(sealed);
    assert_int_equal(hook_rows_expect(b->store, &without), 0);
    assert_int_equal(hook_rows_seal(&b->vault, &intent, &sealed), 0);
    assert_ptr_equal(intent.hook_secret, sealed);
    assert_null(strstr(sealed, SECRET));
    assert_int_equal(hook_rows_expect(b->store, &intent), 0);
    assert_int_equal(hook_rows_expect(b->store, &intent), 0);
    assert_int_equal(store_hooks_sealed(b->store, "", 10, &list), 0);
    assert_int_equal(list.num, 1);
    assert_string_equal(list.hooks[0].url, "https://h.example/own");
    assert_int_equal(list.hooks[0].types, 5);
    assert_int_equal(list.hooks[0].of.owner, 7);
    assert_string_equal(list.hooks[0].batch_id,
                        STORE_HOOK_INTENT "0123456789abcdef0123456789abcdef");
    assert_int_equal(hook_rows_open(&b->vault, list.hooks[0].id, list.hooks[0].secret, opened), 0);
    assert_string_equal(opened, SECRET);
    store_hook_list_deinit(&list);
    free(sealed);
    bench_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_tries_are_under_way_and_no_more),
        cmocka_unit_test(all_are_told_when_places_become_free),
        cmocka_unit_test(one_that_failed_gets_a_single_place),
        cmocka_unit_test(what_the_database_did_not_take_is_reported_again),
        cmocka_unit_test(who_drains_claims_nothing_any_more),
        cmocka_unit_test(what_a_keeper_had_is_its_successors_at_once),
        cmocka_unit_test(a_secret_that_no_key_opens_sends_nothing),
        cmocka_unit_test(a_batchs_own_endpoint_is_kept_sealed_and_once),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests_name("hooks", tests, NULL, NULL);
}
