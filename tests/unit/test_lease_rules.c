/* What a lease is worth, and what it may be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "server/store/lease_rules.h"

#define NONE INT64_MAX

static void a_share_is_what_is_free_divided(void **state)
{
    (void)state;
    assert_int_equal(lease_share(1000, 600, 2), 200);
    assert_int_equal(lease_share(2, 0, 3), 0); /* a batch is not divided */
    assert_int_equal(lease_share(1000, 1200, 2), 0);
    assert_int_equal(lease_share(NONE, 1200, 2), NONE);
    assert_int_equal(lease_share(1000, -5, 1), 1000);
}

static void what_others_hold_is_not_given_again(void **state)
{
    (void)state;
    assert_int_equal(lease_counted_share(1000, 400, 0, 3), 200);
    assert_int_equal(lease_counted_share(1000, 400, 400, 3), 200);
    assert_int_equal(lease_counted_share(1000, 400, 500, 3), 100);
    assert_int_equal(lease_counted_share(1000, 400, 600, 3), 0);
    assert_int_equal(lease_counted_share(1000, 400, 900, 3), 0);
    assert_int_equal(lease_counted_share(1000, 400, INT64_MAX, 3), 0);
    assert_int_equal(lease_counted_share(1000, 1200, 0, 3), 0);
    assert_int_equal(lease_counted_share(NONE, 400, 900, 3), NONE);
}

static void leases_of_several_add_up_and_end_at_the_largest_number(void **state)
{
    struct lease_worth sum = {0};

    (void)state;
    lease_add(&sum, &(struct lease_worth){10, 2, NONE});
    lease_add(&sum, &(struct lease_worth){5, NONE, 7});
    assert_int_equal(sum.tokens, 15);
    assert_int_equal(sum.batches, 2);
    assert_int_equal(sum.nano, 7);
    lease_add(&sum, &(struct lease_worth){INT64_MAX - 1, 0, -3});
    assert_int_equal(sum.tokens, INT64_MAX);
    assert_int_equal(sum.nano, 7);
    lease_add(&sum, &(struct lease_worth){1, 0, 0});
    assert_int_equal(sum.tokens, INT64_MAX);
}

static void a_grant_takes_what_is_there(void **state)
{
    struct lease_worth lease = {100, 2, NONE};

    (void)state;
    lease_spend(&lease, 60, 5);
    assert_int_equal(lease.tokens, 40);
    assert_int_equal(lease.batches, 1);
    assert_int_equal(lease.nano, NONE);
    lease_spend(&lease, 60, 5);
    lease_spend(&lease, 0, 0);
    assert_int_equal(lease.tokens, 0);
    assert_int_equal(lease.batches, 0);
}

static void a_row_is_never_less_than_what_its_holder_may_believe(void **state)
{
    (void)state;
    assert_int_equal(lease_row(200, 50), 200);
    assert_int_equal(lease_row(50, 200), 200);
    assert_int_equal(lease_row(50, NONE), 50); /* of a limit that is new nobody grants alone */
    assert_int_equal(lease_row(NONE, 50), NONE);
}

/* --- all of it together: nodes that are cut off and come back in any order --- */

#define NODES 4
#define STEPS 200000

struct node {
    int64_t memory, row, waiting; /* `waiting`: granted alone, and not told yet */
};

struct fleet {
    struct node nodes[NODES];
    int64_t limit, used;
};

static int64_t others(const struct fleet *f, int n)
{
    struct lease_worth sum = {0};

    for (int i = 0; i < NODES; i++)
        if (i != n)
            lease_add(&sum, &(struct lease_worth){f->nodes[i].row, 0, 0});
    return sum.tokens;
}

static int64_t spent(int64_t from, int64_t tokens)
{
    struct lease_worth lease = {from, 0, 0};

    lease_spend(&lease, tokens, 0);
    return lease.tokens;
}

/* @param lost  the answer does not arrive */
static void renew(struct fleet *f, int n, int lost)
{
    struct node *node = &f->nodes[n];
    int64_t share = lease_counted_share(f->limit, f->used, others(f, n), NODES);

    if (node->waiting > 0)
        return; /* what was granted alone is told first */
    node->row = lease_row(share, node->memory);
    if (!lost)
        node->memory = share;
}

static void grant(struct fleet *f, int n, int64_t tokens)
{
    struct node *node = &f->nodes[n];

    if (node->waiting > 0 || f->used + others(f, n) + tokens > f->limit)
        return;
    f->used += tokens;
    node->row = spent(node->row, tokens);
    /* Also where the answer is lost: the create is granted alone then, or spends as if it were */
    node->memory = spent(node->memory, tokens);
}

static void grant_alone(struct fleet *f, int n, int64_t tokens)
{
    struct node *node = &f->nodes[n];

    if (tokens > node->memory)
        return;
    node->memory -= tokens;
    node->waiting += tokens;
}

static void tell(struct fleet *f, int n, int64_t tokens)
{
    struct node *node = &f->nodes[n];

    tokens = tokens < node->waiting ? tokens : node->waiting;
    node->waiting -= tokens;
    f->used += tokens;
    node->row = spent(node->row, tokens);
}

static void check(const struct fleet *f)
{
    int64_t real = f->used, counted = f->used;

    for (int i = 0; i < NODES; i++) {
        const struct node *node = &f->nodes[i];

        assert_true(node->memory + node->waiting <= node->row);
        real += node->waiting;
        counted += node->row;
    }
    assert_true(counted <= f->limit);
    assert_true(real <= f->limit);
}

static void no_order_of_renewals_grants_and_cuts_passes_the_limit(void **state)
{
    struct fleet fleet = {.limit = 1000};
    unsigned seed = 7;

    (void)state;
    for (int i = 0; i < STEPS; i++) {
        int n = rand_r(&seed) % NODES, lost = rand_r(&seed) % 2;
        int64_t tokens = 1 + rand_r(&seed) % 120;

        switch (rand_r(&seed) % 5) {
        case 0:
            renew(&fleet, n, lost);
            break;
        case 1:
            grant(&fleet, n, tokens);
            break;
        case 2:
            grant_alone(&fleet, n, tokens);
            break;
        case 3:
            tell(&fleet, n, tokens);
            break;
        default: /* a batch ends */
            fleet.used -= tokens < fleet.used ? tokens : fleet.used;
        }
        check(&fleet);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_share_is_what_is_free_divided),
        cmocka_unit_test(what_others_hold_is_not_given_again),
        cmocka_unit_test(leases_of_several_add_up_and_end_at_the_largest_number),
        cmocka_unit_test(a_grant_takes_what_is_there),
        cmocka_unit_test(a_row_is_never_less_than_what_its_holder_may_believe),
        cmocka_unit_test(no_order_of_renewals_grants_and_cuts_passes_the_limit)};

    return cmocka_run_group_tests_name("lease_rules", tests, NULL, NULL);
}
