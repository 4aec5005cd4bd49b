/* What tenants own between the registry and the database, on both engines: nothing that was written
 * is missing after a start, what may be is told, and other nodes' rows come over. */
#include "store_world.h"

#include "server/keeper/owned_rows.h"
#include "store/store_owned.h"

#define ROWS  2000
#define NOW_S INT64_C(1800000000)

static struct cluster cluster;
static struct world world;

/* A gateway: its table in shared memory, and its keeper. */
struct node {
    const char *name;
    struct store *store;
    struct registry *registry;
    struct owned_rows *owned;
};

static uint64_t now_ms;
static int64_t unix_ms;

static int set_up_sqlite(void **state)
{
    world_init(&world, NULL);
    now_ms = 100000;
    unix_ms = NOW_S * 1000;
    *state = &world;
    return 0;
}

static int set_up_postgres(void **state)
{
    *state = NULL;
    if (!cluster.there)
        return 0;
    (void)set_up_sqlite(state);
    world_deinit(&world);
    world_init(&world, &cluster);
    return 0;
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

static void pass(uint64_t ms)
{
    now_ms += ms;
    unix_ms += (int64_t)ms;
}

/* Steps until there is nothing to do at once. */
static void work(struct node *n)
{
    for (int i = 0; owned_rows_step(n->owned, now_ms, unix_ms) == 0; i++)
        assert_true(i < 1000);
}

static void keeper_start(struct node *n, const struct world *w)
{
    struct owned_rows_options options = {
        .registry = n->registry, .node = n->name, .born_s = unix_ms / 1000};

    n->store = world_open(w->url);
    options.store = n->store;
    assert_int_equal(owned_rows_new(&options, &n->owned), 0);
}

static void keeper_stop(struct node *n)
{
    owned_rows_free(n->owned);
    store_free(n->store);
    n->owned = NULL;
    n->store = NULL;
}

static struct node node_start(const char *name, const struct world *w)
{
    struct node n = {.name = name};

    assert_int_equal(registry_new(ROWS, unix_ms / 1000, &n.registry), 0);
    keeper_start(&n, w);
    work(&n);
    return n;
}

/* All of it at once: what was not written yet is nowhere. */
static void node_kill(struct node *n)
{
    keeper_stop(n);
    registry_free(n->registry);
}

static void node_end(struct node *n)
{
    work(n);
    assert_true(owned_rows_are_kept(n->owned));
    owned_rows_end(n->owned, unix_ms);
    node_kill(n);
}

static struct registry_row file_of(const char *native)
{
    struct registry_row row = {.kind = ID_FILE,
                               .described = true,
                               .account = 0xfedcba98,
                               .owner = UINT64_C(0xf123456789abcdef),
                               .created_s = NOW_S - 60,
                               .bytes = 4321};

    snprintf(row.native, sizeof(row.native), "%s", native);
    snprintf(row.purpose, sizeof(row.purpose), "batch");
    snprintf(row.filename, sizeof(row.filename), "caf\xc3\xa9 'x' $1 @y.jsonl");
    return row;
}

static void put(struct node *n, const char *native)
{
    struct registry_row row = file_of(native);

    assert_int_equal(registry_put(n->registry, &row, unix_ms / 1000), 0);
}

static void drop(struct node *n, const char *native)
{
    registry_remove(n->registry, ID_FILE, file_of(native).account, native);
}

static bool knows(const struct node *n, const char *native)
{
    struct registry_row row;

    return registry_find(n->registry, ID_FILE, file_of(native).account, native, &row);
}

static struct registry_gaps gaps_of(const struct node *n)
{
    return registry_gaps(n->registry, file_of("").owner);
}

static bool is_whole(const struct node *n)
{
    struct registry_gaps gaps = gaps_of(n);

    return gaps.since_unix_s == 0 && gaps.lost_until_unix_s == 0 && gaps.behind_unix_s == 0 &&
           !gaps.cut;
}

/* ---- a start ---- */

static void a_list_is_whole_after_a_restart(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);
    struct registry_row found, put_in = file_of("file-1");

    assert_true(is_whole(&n)); /* nobody was there before */
    put(&n, "file-1");
    put(&n, "file-2");
    put(&n, "file-3");
    drop(&n, "file-2");
    node_end(&n);
    pass(3600000);
    n = node_start("a", w);
    assert_true(is_whole(&n));
    assert_true(registry_find(n.registry, ID_FILE, put_in.account, "file-1", &found));
    assert_memory_equal(&found, &put_in, sizeof(found));
    assert_true(knows(&n, "file-3"));
    assert_false(knows(&n, "file-2"));
    node_kill(&n);
}

static void a_list_is_not_called_whole_before_it_was_read(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);
    char native[32];

    for (int i = 0; i < 1500; i++) {
        snprintf(native, sizeof(native), "file-%d", i);
        put(&n, native);
    }
    node_end(&n);
    assert_int_equal(registry_new(ROWS, unix_ms / 1000, &n.registry), 0);
    keeper_start(&n, w);
    assert_false(is_whole(&n));
    assert_int_equal(owned_rows_step(n.owned, now_ms, unix_ms), 0); /* some of them */
    assert_false(is_whole(&n));
    work(&n);
    assert_true(is_whole(&n));
    for (int i = 0; i < 1500; i++) {
        snprintf(native, sizeof(native), "file-%d", i);
        assert_true(knows(&n, native));
    }
    node_kill(&n);
}

static void what_was_before_the_database_is_told(void **state)
{
    WORLD(w);
    struct store_key key = key_of(1);
    struct node n;

    OK(w, store_key_add(w->store, &key, &tester, NULL)); /* a tenant was there */
    n = node_start("a", w);
    assert_int_equal(gaps_of(&n).since_unix_s, NOW_S);
    node_end(&n);
    pass(3600000);
    n = node_start("a", w);
    assert_int_equal(gaps_of(&n).since_unix_s, NOW_S); /* what came since is known */
    node_kill(&n);
}

static void tenants_of_elsewhere_may_have_been_before(void **state)
{
    WORLD(w);
    struct node n = {.name = "a"};
    struct owned_rows_options options = {
        .store = w->store, .node = "a", .tenants_else = true, .born_s = NOW_S};

    assert_int_equal(registry_new(ROWS, NOW_S, &n.registry), 0);
    options.registry = n.registry;
    assert_int_equal(owned_rows_new(&options, &n.owned), 0);
    work(&n);
    assert_int_equal(gaps_of(&n).since_unix_s, NOW_S);
    owned_rows_free(n.owned);
    registry_free(n.registry);
}

/* ---- a death ---- */

static void a_kill_loses_what_was_not_written_and_the_list_tells_when(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);
    struct registry_gaps gaps;

    put(&n, "file-1");
    pass(1000);
    work(&n);
    put(&n, "file-2");
    pass(700);
    node_kill(&n);
    pass(5000);
    n = node_start("a", w);
    gaps = gaps_of(&n);
    assert_true(knows(&n, "file-1"));
    assert_false(knows(&n, "file-2"));
    assert_int_equal(gaps.since_unix_s, 0);
    assert_in_range(gaps.lost_from_unix_s, NOW_S - 3, NOW_S + 1);
    assert_in_range(gaps.lost_until_unix_s, NOW_S + 6, NOW_S + 10);
    node_end(&n);
    n = node_start("a", w);
    assert_int_equal(gaps_of(&n).lost_from_unix_s, gaps.lost_from_unix_s); /* for good */
    node_kill(&n);
}

static void a_gap_without_a_file_is_closed(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);
    struct registry_gaps gaps;

    node_kill(&n);
    pass(5000);
    n = node_start("a", w);
    gaps = gaps_of(&n);
    gaps.lost_until_unix_s++;
    registry_close_gaps(n.registry, &gaps); /* another one */
    work(&n);
    assert_false(is_whole(&n));
    gaps.lost_until_unix_s--;
    registry_close_gaps(n.registry, &gaps);
    work(&n);
    assert_true(is_whole(&n));
    node_end(&n);
    n = node_start("a", w);
    assert_true(is_whole(&n));
    node_kill(&n);
}

static void another_nodes_death_is_known_after_a_while(void **state)
{
    WORLD(w);
    struct node a = node_start("a", w), b = node_start("b", w);

    node_kill(&a);
    pass(30000);
    work(&b);
    assert_true(is_whole(&b));
    pass(STORE_OWNED_DEAD_MS);
    work(&b);
    assert_int_not_equal(gaps_of(&b).lost_until_unix_s, 0);
    node_kill(&b);
}

static void a_dead_keepers_successor_goes_on_where_it_was(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);

    put(&n, "file-1");
    work(&n);
    put(&n, "file-2");
    drop(&n, "file-1");
    keeper_stop(&n); /* before it wrote that */
    keeper_start(&n, w);
    work(&n);
    assert_true(owned_rows_are_kept(n.owned));
    assert_false(knows(&n, "file-1"));
    node_end(&n);
    n = node_start("a", w);
    assert_true(is_whole(&n) && knows(&n, "file-2"));
    assert_false(knows(&n, "file-1"));
    node_kill(&n);
}

static void of_two_keepers_the_later_one_follows(void **state)
{
    WORLD(w);
    struct node one = node_start("a", w), two = one;

    keeper_start(&two, w);
    put(&two, "file-1");
    work(&one);
    assert_true(owned_rows_have_gone(one.owned)); /* the other one lives: it is this process */
    assert_true(owned_rows_have_gone(one.owned));
    assert_false(owned_rows_have_gone(two.owned));
    work(&two);
    owned_rows_end(one.owned, unix_ms); /* says nothing */
    keeper_stop(&one);
    node_kill(&two);
    pass(1000);
    two = node_start("a", w);
    assert_false(is_whole(&two));
    node_kill(&two);
}

/* A generation was refused: the keeper of the one before has the word again. */
static void who_was_followed_follows_again_when_the_later_one_ends(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);
    pid_t later = fork();

    if (later == 0)
        _exit(0);
    assert_true(waitpid(later, NULL, 0) == later);
    (void)registry_claim(n.registry, (uint32_t)later);
    put(&n, "file-1");
    assert_true(owned_rows_have_gone(n.owned));
    work(&n);
    assert_false(owned_rows_have_gone(n.owned));
    node_end(&n);
    n = node_start("a", w);
    assert_true(is_whole(&n) && knows(&n, "file-1"));
    node_kill(&n);
}

/* ---- changes ---- */

static void a_change_of_thousands_is_missed_and_found_again(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);

    put(&n, "file-1");
    for (int i = 0; i < 20000; i++)
        drop(&n, "nothing");
    put(&n, "file-2");
    work(&n);
    assert_true(owned_rows_are_kept(n.owned));
    node_end(&n);
    n = node_start("a", w);
    assert_true(is_whole(&n) && knows(&n, "file-1") && knows(&n, "file-2"));
    node_kill(&n);
}

static int count_row(void *arg, const struct store_owned *row)
{
    (void)row;
    ++*(size_t *)arg;
    return 0;
}

static void what_expired_is_not_read_and_goes(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);
    struct registry_row row = file_of("file-short");
    int64_t behind = INT64_MIN;
    uint64_t seq = 0;
    size_t num = 0;
    bool more;

    row.expires_s = NOW_S + 100;
    assert_int_equal(registry_put(n.registry, &row, NOW_S), 0);
    put(&n, "file-long");
    work(&n);
    pass(200000);
    work(&n); /* which tends */
    node_end(&n);
    n = node_start("a", w);
    assert_true(knows(&n, "file-long"));
    assert_false(knows(&n, "file-short"));
    OK(w, store_owned_load(w->store, &behind, 0, &seq, &more, count_row, &num));
    assert_int_equal(num, 1);
    node_kill(&n);
}

static void an_owner_stays(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);
    struct registry_row found;
    struct store_owned other = {.row = file_of("file-1")};
    struct store_run run = {.run = 7, .node = "x", .seen_ms = unix_ms};
    uint64_t seq = 0;

    put(&n, "file-1");
    node_end(&n);
    other.key = registry_key(ID_FILE, other.row.account, "file-1");
    other.row.owner = 99;
    OK(w, store_owned_write(w->store, &run, &other, 1, false, &seq));
    OK(w, store_owned_end(w->store, &run));
    n = node_start("a", w);
    assert_true(registry_by_key(n.registry, other.key, &found));
    assert_true(found.owner == file_of("").owner);
    node_kill(&n);
}

/* ---- several nodes ---- */

static void what_one_node_writes_another_one_shows(void **state)
{
    WORLD(w);
    struct node a = node_start("a", w), b = node_start("b", w);
    char native[32];

    for (int i = 0; i < 700; i++) {
        snprintf(native, sizeof(native), "file-%d", i);
        put(&a, native);
    }
    put(&b, "of-b");
    work(&a);
    work(&b);
    work(&a);
    assert_true(knows(&a, "of-b"));
    for (int i = 0; i < 700; i++) {
        snprintf(native, sizeof(native), "file-%d", i);
        assert_true(knows(&b, native));
    }
    drop(&b, "file-5");
    work(&b);
    work(&a);
    assert_false(knows(&a, "file-5"));
    assert_true(knows(&a, "file-6"));
    node_kill(&a);
    node_kill(&b);
}

static void without_the_database_lists_say_that_others_are_missing(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);

    cluster_stop(&cluster, SIGQUIT);
    put(&n, "file-1");
    pass(1000);
    work(&n);
    assert_true(is_whole(&n));
    pass(6000);
    work(&n);
    assert_int_not_equal(gaps_of(&n).behind_unix_s, 0);
    cluster_start(&cluster);
    cluster_do(&cluster, "select 1", NULL, NULL);
    for (int i = 0; !owned_rows_are_kept(n.owned) && i < 1000; i++) {
        world_pause(); /* the store waits before it connects again */
        work(&n);
    }
    assert_true(is_whole(&n));
    node_end(&n);
    n = node_start("a", w);
    assert_true(knows(&n, "file-1"));
    node_kill(&n);
}

static void a_database_from_a_copy_is_written_again(void **state)
{
    WORLD(w);
    struct node n = node_start("a", w);

    put(&n, "file-1");
    work(&n);
    world_do(w, "delete from @owned");
    world_do(w, "update @meta set value = '0' where name = 'owned'");
    work(&n);
    node_end(&n);
    n = node_start("a", w);
    assert_true(knows(&n, "file-1"));
    node_kill(&n);
}

#define S(test)    cmocka_unit_test_setup_teardown(test, set_up_sqlite, tear_down)
#define P(test)    cmocka_unit_test_setup_teardown(test, set_up_postgres, tear_down)
#define BOTH(test) S(test), P(test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(a_list_is_whole_after_a_restart),
        BOTH(a_list_is_not_called_whole_before_it_was_read),
        BOTH(what_was_before_the_database_is_told),
        BOTH(tenants_of_elsewhere_may_have_been_before),
        BOTH(a_kill_loses_what_was_not_written_and_the_list_tells_when),
        BOTH(a_gap_without_a_file_is_closed),
        P(another_nodes_death_is_known_after_a_while),
        BOTH(a_dead_keepers_successor_goes_on_where_it_was),
        BOTH(of_two_keepers_the_later_one_follows),
        BOTH(who_was_followed_follows_again_when_the_later_one_ends),
        BOTH(a_change_of_thousands_is_missed_and_found_again),
        BOTH(what_expired_is_not_read_and_goes),
        BOTH(an_owner_stays),
        BOTH(what_one_node_writes_another_one_shows),
        P(without_the_database_lists_say_that_others_are_missing),
        BOTH(a_database_from_a_copy_is_written_again),
    };
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("owned rows", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
