/* rights, by a writer and readers at once: coroutines in every order of their steps, and the
 * writer's death at each of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "interleave.h"

#define SHM_STEP() interleave_step()
#include "balancer/rights.c"
#include "balancer/rights_publish.c"
#include "rights_world.h"

/* State n has key "sk-0" and, where n is odd, "sk-1"; each key's uploads are n, in both limits that
 * the tests look at. Key "sk-0" may use "even" or "odd". */
#define STATES 4

static struct rights_table *table;
static struct rights_list lists[STATES];

static void fill_list(struct rights_list *list, uint64_t n)
{
    add_model(&add_key_of(list, "sk-0", "t")->models, n % 2 == 0 ? "even" : "odd");
    if (n % 2 != 0)
        (void)add_key_of(list, "sk-1", NULL);
    for (size_t i = 0; i < list->num_keys; i++)
        list->keys[i].limits.uploads = n;
    add_team_of(list, "t")->limits.uploads = n;
    list->teams[0].models.all = true;
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(rights_table_new(2, &table), 0);
    memset(lists, 0, sizeof(lists));
    for (uint64_t n = 0; n < STATES; n++)
        fill_list(&lists[n], n);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (unsigned n = 0; n < STATES; n++)
        rights_list_deinit(&lists[n]);
    rights_table_free(table);
    return 0;
}

static int publish_state(uint64_t n)
{
    const struct rights_list *one[] = {&lists[n]};

    return rights_publish(table, 1, one, 1, true);
}

static bool find(const char *text, struct rights *out)
{
    unsigned char hash[RIGHTS_HASH_BYTES];

    hash_of(text, hash);
    return rights_find(table, hash, out);
}

/* Whoever comes by now, and is not overtaken, finds one of the states whole. */
static void check_always(void)
{
    struct rights first, second;
    uint64_t n;

    assert_true(find("sk-0", &first));
    n = first.key_limits.uploads;
    assert_int_equal(n, rights_generation(table) - 1);
    assert_int_equal(first.team_limits.uploads, n);
    assert_true(find("sk-1", &second) == (n % 2 != 0));
    assert_int_equal(rights_num_keys(table), 1 + n % 2);
    assert_int_equal(rights_may_use(table, &first, "even", 4),
                     n % 2 == 0 ? RIGHTS_MODEL_ALLOWED : RIGHTS_MODEL_NOT_OF_KEY);
}

static void do_publish(struct process *self)
{
    for (uint64_t n = 1; n < STATES && self->result == 0; n++)
        self->result = publish_state(n);
}

/* `result`: how often something was wrong. */
static void do_find(struct process *self)
{
    struct rights rights;

    self->flag = find("sk-0", &rights);
    self->result += !self->flag || rights.key_limits.uploads != rights.team_limits.uploads;
    if (find("sk-1", &rights))
        self->result += rights.key_limits.uploads % 2 == 0;
}

static void do_ask_for_models(struct process *self)
{
    struct rights rights;
    uint64_t before = rights_generation(table);
    enum rights_model even, odd;

    self->flag = find("sk-0", &rights);
    even = rights_may_use(table, &rights, "even", 4);
    odd = rights_may_use(table, &rights, "odd", 3);
    if (before == rights_generation(table))
        self->result += even == odd;
    self->result += even == RIGHTS_MODEL_NOT_OF_TEAM || odd == RIGHTS_MODEL_NOT_OF_TEAM;
}

static void check_all_right(int num)
{
    for (int i = 0; i < num; i++)
        assert_int_equal(processes[i].result, 0);
    assert_int_equal(rights_generation(table), STATES);
}

static void start_with_a_state(void)
{
    assert_int_equal(publish_state(0), 0);
    world = (struct world){.region = table, .size = table->region.size, .always = check_always};
}

static void a_reader_that_writers_overtake_sees_one_whole_state(void **state)
{
    (void)state;
    start_with_a_state();
    crew(0, do_publish, -1);
    crew(1, do_find, -1);
    assert_true(in_every_order(2, 4, check_all_right) > 100);
    crew(1, do_ask_for_models, -1);
    assert_true(in_every_order(2, 4, check_all_right) > 100);
}

/* The reader was right all along, and the next writer finds nothing in its way. */
static void check_after_a_death(int num)
{
    (void)num;
    assert_int_equal(processes[1].result, 0);
    check_always();
    assert_int_equal(publish_state(rights_generation(table)), 0);
    check_always();
}

static void a_writer_that_dies_at_any_step_leaves_the_state_before_or_the_next_one(void **state)
{
    (void)state;
    start_with_a_state();
    for (int step = 0; step < 8; step++) {
        crew(0, do_publish, step);
        crew(1, do_find, -1);
        assert_true(in_every_order(2, 3, check_after_a_death) > 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reader_that_writers_overtake_sees_one_whole_state),
        TEST(a_writer_that_dies_at_any_step_leaves_the_state_before_or_the_next_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
