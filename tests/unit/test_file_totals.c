/* Two nodes of one database, which hold one account's files together. */
#include "store_world.h"

#include "balancer/table.h"
#include "server/keeper/file_totals.h"

#define NODES 2
#define ROWS  3 /* of two accounts: the first one has two */

static struct model_account accounts[2];
static struct model_deployment rows[ROWS];
static struct config config;

/* A node: its shared memory, and its keeper's connection. */
static struct node {
    struct table *table;
    struct slots *slots;
    uint32_t columns[ROWS];
    struct inherited inherited;
    struct file_totals *totals;
    uint64_t now_ms;
} nodes[NODES];

static char *text(const char *constant)
{
    return (char *)(uintptr_t)constant;
}

static void describe(void)
{
    for (uint32_t i = 0; i < 2; i++)
        accounts[i] =
            (struct model_account){.provider = PROVIDER_AZURE,
                                   .base = text(i == 0 ? "https://a.example" : "https://b.example"),
                                   .name = text(i == 0 ? "a" : "b")};
    for (uint32_t i = 0; i < ROWS; i++)
        rows[i] = (struct model_deployment){.group = text("g"),
                                            .id = text(i == 0   ? "r0"
                                                       : i == 1 ? "r1"
                                                                : "r2"),
                                            .upstream_model = text("m"),
                                            .account = i / 2,
                                            .fingerprint = 100 + i};
    config = (struct config){.models = {.accounts = accounts,
                                        .num_accounts = 2,
                                        .deployments = rows,
                                        .num_deployments = ROWS,
                                        .num_rows = ROWS},
                             .balance_batches = true};
}

/* One connection stands for both keepers': each call is a transaction of its own. */
static void begin_node(struct node *n, struct store *store)
{
    *n = (struct node){.now_ms = 1000};
    assert_int_equal(table_build(&config.models, 1, &n->table), 0);
    assert_int_equal(slots_new(ROWS, &n->slots), 0);
    for (uint32_t i = 0; i < ROWS; i++) {
        n->columns[i] = i;
        slots_bind(n->slots, i, 100 + i);
    }
    n->inherited = (struct inherited){
        .config = &config, .table = n->table, .slots = n->slots, .columns = n->columns};
    assert_int_equal(file_totals_new(&n->inherited, store, &n->totals), 0);
}

static void end_node(struct node *n)
{
    file_totals_free(n->totals);
    slots_free(n->slots);
    table_free(n->table);
}

/* Both keepers tell and hear, twice: what one tells the other hears. */
static void look(void)
{
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < NODES; i++) {
            nodes[i].now_ms += FILE_TOTALS_QUIET_MS;
            file_totals_look(nodes[i].totals, nodes[i].now_ms);
        }
}

static uint64_t held(int node, uint32_t column)
{
    return slots_held(nodes[node].slots, column, SLOTS_EXPIRING);
}

static void add(int node, uint32_t first, uint32_t last, int change)
{
    for (uint32_t i = first; i <= last; i++)
        slots_add(nodes[node].slots, i, SLOTS_EXPIRING, change);
}

static struct cluster cluster;

static int begin(struct world *w)
{
    describe();
    for (int i = 0; i < NODES; i++)
        begin_node(&nodes[i], w->store);
    return 0;
}

static int set_up_sqlite(void **state)
{
    static struct world world;

    world_init(&world, NULL);
    *state = &world;
    return begin(&world);
}

static int set_up_postgres(void **state)
{
    static struct world world;

    *state = NULL;
    if (!cluster.there)
        return 0;
    world_init(&world, &cluster);
    *state = &world;
    return begin(&world);
}

static int tear_down(void **state)
{
    if (*state == NULL)
        return 0;
    for (int i = 0; i < NODES; i++)
        end_node(&nodes[i]);
    world_deinit(*state);
    return 0;
}

static void files_of_all_nodes_are_held_by_each(void **state)
{
    if (*state == NULL)
        skip();
    look();
    assert_true(held(0, 0) == UINT64_MAX); /* nobody has counted */
    for (uint32_t i = 0; i < 2; i++)
        slots_set(nodes[0].slots, i, SLOTS_EXPIRING, 10); /* the first node's prober */
    look();
    assert_int_equal(held(0, 0), 10);
    assert_int_equal(held(1, 0), 10);
    assert_int_equal(held(1, 1), 10);
    assert_true(held(1, 2) == UINT64_MAX); /* another account */
    add(0, 0, 1, 2);
    add(1, 0, 1, 3);
    look();
    for (int i = 0; i < NODES; i++)
        for (uint32_t column = 0; column < 2; column++)
            assert_int_equal(held(i, column), 15);
    add(1, 0, 1, -1);
    look();
    assert_int_equal(held(0, 1), 14);
    for (uint32_t i = 0; i < 2; i++)
        slots_set(nodes[1].slots, i, SLOTS_EXPIRING, 12); /* the list says so */
    look();
    assert_int_equal(held(0, 0), 12);
}

/* Of two keepers of one node each piece of news is told once. */
static void news_are_told_once(void **state)
{
    struct file_totals *second;
    struct world *w = *state;

    if (w == NULL)
        skip();
    for (uint32_t i = 0; i < 2; i++)
        slots_set(nodes[0].slots, i, SLOTS_EXPIRING, 10);
    look();
    assert_int_equal(file_totals_new(&nodes[0].inherited, w->store, &second), 0);
    add(0, 0, 1, 1);
    file_totals_look(second, nodes[0].now_ms + FILE_TOTALS_EVERY_MS);
    look();
    assert_int_equal(held(0, 0), 11);
    assert_int_equal(held(1, 0), 11);
    file_totals_free(second);
}

static void what_could_not_be_told_is_told_later(void **state)
{
    struct world *w = *state;

    if (w == NULL || w->cluster == NULL)
        skip();
    for (uint32_t i = 0; i < 2; i++)
        slots_set(nodes[0].slots, i, SLOTS_EXPIRING, 10);
    look();
    add(0, 0, 1, 4);
    cluster_stop(w->cluster, SIGQUIT);
    look();
    assert_int_equal(held(0, 0), 14);
    assert_int_equal(held(1, 0), 10);
    cluster_start(w->cluster);
    for (uint64_t end = clock_now_ms() + PATIENCE_MS; held(1, 0) != 14;) {
        assert_true(clock_now_ms() < end);
        world_pause();
        look();
    }
    assert_int_equal(held(0, 0), 14);
}

#define BOTH(test)                                                                                 \
    cmocka_unit_test_setup_teardown(test, set_up_sqlite, tear_down),                               \
        cmocka_unit_test_setup_teardown(test, set_up_postgres, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(files_of_all_nodes_are_held_by_each),
                                       BOTH(news_are_told_once),
                                       BOTH(what_could_not_be_told_is_told_later)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("file_totals", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
