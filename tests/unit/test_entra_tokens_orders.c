/* entra_tokens in every order of steps, with a death at every step: a token is read whole or not
 * at all, a refusal hits the token that it was for and no other one, a credential never has two
 * cells, and whoever comes after a dead one can go on. The cells are compiled into this file with
 * their atomic steps as interleave.h wants them, and are so few and small that all orders can be
 * run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/interleave.h"

#define NUM_CELLS  2
#define TOKEN_ROOM 64
#define SHM_STEP() interleave_step()
#include "balancer/entra_tokens.c"

#define FP     UINT64_C(0x100)
#define OTHER  UINT64_C(0x200)
#define ENDS   1000000u
#define FOR_MS 100u
#define LEN    40u
#define ALL    1000 /* preemptions: every order there is */

static struct entra_tokens *t;
static struct entra_tokens_cell *c;

static unsigned cells_of(uint64_t fingerprint)
{
    unsigned n = 0;

    for (unsigned i = 0; i < NUM_CELLS; i++)
        n += is_of(load_acquire_part(&t->keys[i]), fingerprint);
    return n;
}

/* At every step of anybody. */
static void check_always(void)
{
    assert_true(cells_of(FP) <= 1);
}

static void start(void)
{
    entra_tokens_free(t);
    assert_int_equal(entra_tokens_new(&t), 0);
    assert_int_equal(entra_tokens_bind(t, FP, 0), 0);
    c = entra_tokens_find(t, FP);
    world = (struct world){.region = t, .size = sizeof(*t), .always = check_always};
}

static int teardown(void **state)
{
    (void)state;
    entra_tokens_free(t);
    t = NULL;
    return 0;
}

/* --- bodies --- */

static uint64_t publish(char letter, uint64_t obtained_ms)
{
    struct entra_state state = {.obtained_ms = obtained_ms, .ends_ms = ENDS};
    char text[LEN];

    memset(text, letter, sizeof(text));
    return entra_tokens_publish(c, text, sizeof(text), &state);
}

/* What is read is of one writer. @return its number; 0: none */
static uint64_t read_whole(void)
{
    struct entra_tokens_view view;
    char text[ENTRA_TOKENS_TEXT + 1];

    if (!entra_tokens_read(c, 1, text, &view))
        return 0;
    assert_int_equal(view.len, LEN);
    for (unsigned i = 0; i < LEN; i++)
        assert_int_equal(text[i], 'a' + (int)view.obtained_ms);
    return view.number;
}

/* As a prober does it: with the lease, or not at all. */
static void do_fetch(struct process *self)
{
    uint32_t holder = holder_of_process(self);

    if (!entra_tokens_lease(c, holder, 0, FOR_MS))
        return;
    self->flag = true;
    self->result = (int)publish((char)('a' + holder), holder);
    entra_tokens_release(c, holder);
}

/* One that was stopped so long that its lease is over: without it. */
static void do_late_publish(struct process *self)
{
    uint32_t holder = holder_of_process(self);

    self->result = (int)publish((char)('a' + holder), holder);
}

static void do_read(struct process *self)
{
    self->result = (int)read_whole();
}

static void do_refuse_first(struct process *self)
{
    (void)self;
    (void)entra_tokens_refuse(c, 1);
}

static void do_keep_nothing(struct process *self)
{
    (void)self;
    entra_tokens_keep(t, NULL, 0, 0);
}

static void do_bind_other_side(struct process *self)
{
    self->result = entra_tokens_bind(t, FP, 1);
    self->flag = true;
}

static void do_bind_other_credential(struct process *self)
{
    self->result = entra_tokens_bind(t, OTHER, 1);
    self->flag = true;
}

/* --- a token --- */

static void check_someone_fetched(int num)
{
    assert_true(num_flags(num) >= 1);
    assert_true(read_whole() >= 1);
}

static void two_probers_and_a_reader(void **state)
{
    (void)state;
    start();
    crew(0, do_fetch, -1);
    crew(1, do_fetch, -1);
    assert_true(in_every_order(2, ALL, check_someone_fetched) > 10);
    crew(2, do_read, -1);
    assert_true(in_every_order(3, 3, check_someone_fetched) > 100);
}

static void check_can_be_published(int num)
{
    uint64_t before;

    (void)num;
    (void)read_whole();
    assert_true(entra_tokens_lease(c, 1, FOR_MS, FOR_MS)); /* its time is over */
    before = load_acquire_part(&c->word);
    assert_int_equal(publish('a' + 1, 1), before + 1);
    assert_int_equal(read_whole(), before + 1);
}

static void a_prober_that_dies_at_any_step_leaves_a_token_or_none(void **state)
{
    (void)state;
    start();
    (void)publish('a', 0);
    for (int kill_after = 0; kill_after < 14; kill_after++) {
        crew(0, do_fetch, kill_after);
        crew(1, do_read, -1);
        in_every_order(2, ALL, check_can_be_published);
        crew(1, do_fetch, -1);
        in_every_order(2, 4, check_can_be_published);
    }
}

/* The parts of a token are no steps, so its text is one writer's here; that a mixture is no token
 * is shown in test_entra_tokens.c. */
static void one_whose_lease_is_over_does_not_break_what_is_read(void **state)
{
    (void)state;
    start();
    (void)publish('a', 0);
    crew(0, do_fetch, -1);
    crew(1, do_late_publish, -1);
    crew(2, do_read, -1);
    assert_true(in_every_order(3, 3, check_can_be_published) > 100);
}

static void check_only_the_first_is_refused(int num)
{
    struct entra_tokens_view view;

    (void)num;
    assert_true(entra_tokens_read(c, 1, NULL, &view));
    assert_int_equal(view.refused, view.number == 1);
    assert_true(entra_tokens_rung(c) > entra_tokens_heard(c));
}

static void a_refusal_hits_the_token_that_it_was_for(void **state)
{
    (void)state;
    start();
    (void)publish('a', 0);
    crew(0, do_refuse_first, -1);
    crew(1, do_fetch, -1);
    crew(2, do_refuse_first, -1);
    assert_true(in_every_order(3, 4, check_only_the_first_is_refused) > 100);
}

/* --- whose cells --- */

static void check_bound_by_the_other(int num)
{
    struct entra_tokens_cell *found = entra_tokens_find(t, FP);

    (void)num;
    assert_true(processes[1].flag);
    assert_int_equal(processes[1].result, 0);
    assert_non_null(found);
    assert_true(found != c || read_whole() == 1 || load_acquire_part(&c->word) == 0);
}

/* One program lets go of a credential while the next one takes it over: it is that one's, with its
 * token or without, and never wiped afterwards. */
static void who_binds_while_another_one_lets_go_has_a_cell(void **state)
{
    (void)state;
    start();
    (void)publish('a', 0);
    crew(0, do_keep_nothing, -1);
    crew(1, do_bind_other_side, -1);
    assert_true(in_every_order(2, ALL, check_bound_by_the_other) > 10);
}

static void check_after_death(int num)
{
    (void)num;
    entra_tokens_clear_side(t, 0);
    if (processes[1].flag && processes[1].result == 0)
        assert_true(cells_of(OTHER) == 1);
    assert_int_equal(cells_of(FP), 0);
    entra_tokens_clear_side(t, 1);
    for (unsigned i = 0; i < NUM_CELLS; i++)
        assert_int_equal(load_acquire_part(&t->keys[i]), 0);
}

static void a_master_that_dies_while_it_wipes_loses_no_cell(void **state)
{
    (void)state;
    start();
    (void)publish('a', 0);
    for (int kill_after = 0; kill_after < 12; kill_after++) {
        crew(0, do_keep_nothing, kill_after);
        crew(1, do_bind_other_credential, -1);
        in_every_order(2, ALL, check_after_death);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(two_probers_and_a_reader, teardown),
        cmocka_unit_test_teardown(a_prober_that_dies_at_any_step_leaves_a_token_or_none, teardown),
        cmocka_unit_test_teardown(one_whose_lease_is_over_does_not_break_what_is_read, teardown),
        cmocka_unit_test_teardown(a_refusal_hits_the_token_that_it_was_for, teardown),
        cmocka_unit_test_teardown(who_binds_while_another_one_lets_go_has_a_cell, teardown),
        cmocka_unit_test_teardown(a_master_that_dies_while_it_wipes_loses_no_cell, teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
