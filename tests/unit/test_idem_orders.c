/* idem in every order of steps, with a death at every step: never two holders of a key, nothing
 * that was sent is ever taken for new, an answer is whole or not there, no entry is lost. The table
 * is compiled into this file with its atomic steps as interleave.h wants them, and with so few
 * entries that all orders can be run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/interleave.h"

static uint32_t ways; /* entries of a key, and of the table */
static int rounds;    /* of idem_begin() */

#define IDEM_WAYS   ways
#define IDEM_ROUNDS rounds
#define SHM_STEP()  interleave_step()
#include "balancer/idem.c"

#define NOW      1000000u
#define KEEP     5000u
#define LATE     (NOW + KEEP) /* what began at NOW is over */
#define BODY_LEN 40u
#define ALL      1000 /* preemptions: every order there is */
#define ANY      10000000

static struct idem *t;
static struct idem_answer answers[PROCESSES + 1];
static const struct idem_key key = {.hash = {10, 20}}, other_key = {.hash = {30, 40}};

/* --- what must hold --- */

static unsigned num_in(enum idem_state state)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < t->num_entries; i++)
        n += state_of(load_acquire_part(&head_at(t, i)->word)) == state;
    return n;
}

static bool is_settled(uint32_t entry)
{
    enum idem_state state = state_of(load_acquire_part(&head_at(t, entry)->word));

    return state != IDEM_STATE_FREE && state != IDEM_STATE_WRITING && state != IDEM_STATE_CLAIMED;
}

/* A key is settled at one entry at most: so it has one holder at most. */
static void check_always(void)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < t->num_entries; i++)
        n += is_settled(i) && load_acquire_part(&head_at(t, i)->key[0]) == key.hash[0];
    assert_true(n <= 1);
}

static void start(uint32_t entries)
{
    idem_free(t);
    ways = entries;
    rounds = 4;
    assert_int_equal(idem_new(entries, &t), 0);
    world = (struct world){.region = t, .size = t->region.size, .always = check_always};
}

static int teardown(void **state)
{
    (void)state;
    idem_free(t);
    t = NULL;
    return 0;
}

/* --- bodies --- */

static struct idem_answer *answer_of(const struct process *p)
{
    return &answers[p - processes];
}

static void make_answer(struct idem_answer *a, char mark)
{
    memset(a, 0, sizeof(*a));
    a->status = mark;
    a->len = BODY_LEN;
    memset(a->body, mark, BODY_LEN);
    memset(a->id, mark, 20);
}

/* All of an answer is of one writer. */
static void check_whole(const struct idem_answer *a)
{
    struct idem_answer expected;

    make_answer(&expected, (char)a->status);
    assert_in_range(a->status, 'a', 'z');
    assert_int_equal(a->len, BODY_LEN);
    assert_memory_equal(a->body, expected.body, BODY_LEN);
    assert_string_equal(a->id, expected.id);
    assert_string_equal(a->nonce, "nonce");
}

static void finish(struct idem_claim *claim, char mark)
{
    struct idem_answer a;

    make_answer(&a, mark);
    idem_answer(t, claim, &a);
}

static enum idem_found begin(struct process *self, const struct idem_key *k, uint64_t now_ms,
                             struct idem_claim *claim)
{
    enum idem_found found =
        idem_begin(t, holder_of_process(self), k, 1, "nonce", KEEP, now_ms, claim, answer_of(self));

    assert_true((found == IDEM_NEW) == (claim->entry != 0));
    if (found == IDEM_DONE)
        check_whole(answer_of(self));
    if (found == IDEM_LOST)
        assert_string_equal(answer_of(self)->nonce, "nonce");
    return found;
}

#define CREATED 99 /* it has gone upstream */

/* The flag: it had the key. */
static void do_begin(struct process *self)
{
    struct idem_claim claim;

    self->result = begin(self, &key, NOW, &claim);
    self->flag = self->result == IDEM_NEW;
}

static void do_begin_late(struct process *self)
{
    struct idem_claim claim;

    self->result = begin(self, &key, LATE, &claim);
    self->flag = self->result == IDEM_NEW;
}

static void do_begin_anew(struct process *self)
{
    struct idem_claim claim;

    self->result =
        (int)idem_begin_anew(t, holder_of_process(self), &key, 1, "nonce", KEEP, NOW, &claim);
    assert_true((self->result == IDEM_NEW) == (claim.entry != 0));
}

static void do_begin_other(struct process *self)
{
    struct idem_claim claim;

    self->result = begin(self, &other_key, NOW, &claim);
}

static void do_life_of_other(struct process *self)
{
    struct idem_claim claim;

    self->result = begin(self, &other_key, NOW, &claim);
    finish(&claim, 'o');
}

static void do_life(struct process *self)
{
    struct idem_claim claim;

    self->result = begin(self, &key, NOW, &claim);
    if (self->result != IDEM_NEW)
        return;
    self->flag = true;
    assert_true(idem_sent(t, &claim, 7));
    self->result = CREATED;
    finish(&claim, (char)('a' + (self - processes)));
}

static void do_begin_and_forget(struct process *self)
{
    struct idem_claim claim;

    self->result = begin(self, &key, NOW, &claim);
    idem_forget(t, &claim);
}

static void do_begin_and_lose(struct process *self)
{
    struct idem_claim claim;

    self->result = begin(self, &key, NOW, &claim);
    if (self->result != IDEM_NEW)
        return;
    self->flag = true;
    assert_true(idem_sent(t, &claim, 7));
    idem_lose(t, &claim);
}

static void do_take_lost(struct process *self)
{
    struct idem_claim claim;

    self->flag = idem_take_lost(t, holder_of_process(self), &key, &claim);
}

static void do_resolve(struct process *self)
{
    struct idem_claim claim;

    self->flag = idem_take_lost(t, holder_of_process(self), &key, &claim);
    if (self->flag)
        finish(&claim, (char)('a' + (self - processes)));
}

static void do_look(struct process *self)
{
    self->result = (int)idem_look(t, &key, 1, NOW, answer_of(self));
    if (self->result == IDEM_DONE)
        check_whole(answer_of(self));
}

/* The master buries holder 7. */
static void do_bury(struct process *self)
{
    self->result = (int)idem_undo_holder(t, 7);
}

/* --- what is there at first --- */

static struct idem_claim given(const struct idem_key *k, uint32_t holder, uint64_t keep_ms)
{
    struct idem_claim claim;

    assert_int_equal(
        idem_begin(t, holder, k, 1, "nonce", keep_ms, NOW, &claim, &answers[PROCESSES]), IDEM_NEW);
    return claim;
}

static void given_done(const struct idem_key *k)
{
    struct idem_claim claim = given(k, 7, KEEP);

    finish(&claim, 'x');
}

static void given_sent(void)
{
    struct idem_claim claim = given(&key, 7, KEEP);

    assert_true(idem_sent(t, &claim, 7));
}

static void given_lost(void)
{
    given_sent();
    assert_int_equal(idem_undo_holder(t, 7), 1);
}

/* Who begins anew takes the free entry, and the old entry is still where it was. */
static void given_lost_beside_a_free_place(void)
{
    struct idem_claim claim = given(&other_key, 8, KEEP);

    given_lost();
    idem_forget(t, &claim);
    assert_true(is_settled(1));
}

static enum idem_found now_it_is(void)
{
    enum idem_found found = idem_look(t, &key, 1, NOW, &answers[PROCESSES]);

    if (found == IDEM_DONE)
        check_whole(&answers[PROCESSES]);
    return found;
}

/* The master comes by: of those who died nothing is left that has a holder. */
static uint32_t bury_the_dead(int num)
{
    uint32_t lost = 0;

    for (int i = 0; i < num; i++) {
        if (processes[i].kill_after >= 0)
            lost += idem_undo_holder(t, holder_of_process(&processes[i]));
    }
    assert_int_equal(num_in(IDEM_STATE_WRITING) + num_in(IDEM_STATE_CLAIMED), 0);
    return lost;
}

/* Once all have let go, or are dead, and the time of the rest is over, every entry is to be had. */
static void check_no_place_is_lost(void)
{
    for (uint32_t holder = 0; holder < 20; holder++)
        idem_undo_holder(t, holder);
    for (uint32_t i = 0; i < t->num_entries; i++) {
        struct idem_key k = {.hash = {100 + i, 0}};
        struct idem_claim claim;

        assert_int_equal(idem_begin(t, 1, &k, 1, "", KEEP, LATE, &claim, &answers[PROCESSES]),
                         IDEM_NEW);
    }
    assert_int_equal(num_in(IDEM_STATE_RUNNING), t->num_entries);
}

/* --- one holder --- */

static unsigned num_found(int num, enum idem_found found)
{
    unsigned n = 0;

    for (int i = 0; i < num; i++)
        n += processes[i].result == (int)found;
    return n;
}

/* Not only never two, but never none: who is told that somebody is at it can rely on it. */
static void check_one_is_new(int num)
{
    assert_int_equal(num_found(num, IDEM_NEW), 1);
    assert_int_equal(num_found(num, IDEM_RUNNING), num - 1);
    assert_int_equal(num_in(IDEM_STATE_RUNNING), 1);
    assert_int_equal(num_in(IDEM_STATE_FREE), t->num_entries - 1);
    check_no_place_is_lost();
}

static void of_many_that_ask_at_once_exactly_one_is_the_first(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_begin, -1);
    start(2);
    assert_in_range(in_every_order(2, 6, check_one_is_new), 5000, ANY);
    start(3);
    assert_in_range(in_every_order(3, 3, check_one_is_new), 5000, ANY);
}

/* The rule of who goes on decides it at the first try, whoever is overtaken when. */
static void nobody_needs_a_second_try(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_begin, -1);
    start(2);
    rounds = 1;
    assert_in_range(in_every_order(2, 6, check_one_is_new), 5000, ANY);
    start(3);
    rounds = 1;
    assert_in_range(in_every_order(3, 3, check_one_is_new), 5000, ANY);
}

static void check_one_is_new_late(int num)
{
    assert_int_equal(num_found(num, IDEM_NEW), 1);
    assert_int_equal(num_in(IDEM_STATE_RUNNING), 1);
    check_no_place_is_lost();
}

/* The old entry is in nobody's way, and nobody can take it over any more once one has begun anew.
 */
static void after_its_time_a_key_has_one_holder_again_be_it_done_or_lost(void **state)
{
    (void)state;
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_begin_late, -1);
    start(2);
    given_done(&key);
    assert_in_range(in_every_order(2, 5, check_one_is_new_late), 5000, ANY);
    start(3);
    given_done(&key);
    assert_in_range(in_every_order(3, 3, check_one_is_new_late), 5000, ANY);
}

static void check_one_is_anew(int num)
{
    assert_int_equal(num_found(num, IDEM_NEW), 1);
    assert_int_equal(num_in(IDEM_STATE_RUNNING), 1);
    assert_int_equal(num_in(IDEM_STATE_DONE), 0);
    check_no_place_is_lost();
}

static void of_many_that_begin_anew_exactly_one_does(void **state)
{
    (void)state;
    start(2);
    given_done(&key);
    crew(0, do_begin_anew, -1);
    crew(1, do_begin_anew, -1);
    crew(2, do_begin, -1);
    assert_in_range(in_every_order(2, 5, check_one_is_anew), 5000, ANY);
    start(3);
    given_done(&key);
    assert_in_range(in_every_order(3, 2, check_one_is_anew), 1000, ANY);
}

static void check_taken_or_new(int num)
{
    assert_int_equal(num_flags(num), 1);
    assert_int_equal(num_in(IDEM_STATE_RUNNING) + num_in(IDEM_STATE_SENT), 1);
    check_no_place_is_lost();
}

static void a_lost_one_is_taken_over_or_begun_anew_at_the_end_of_its_time_but_not_both(void **state)
{
    (void)state;
    crew(0, do_take_lost, -1);
    crew(1, do_begin_late, -1);
    crew(2, do_begin_late, -1);
    start(2);
    given_lost();
    assert_in_range(in_every_order(2, ALL, check_taken_or_new), 50, ANY);
    start(2);
    given_lost_beside_a_free_place();
    assert_in_range(in_every_order(2, ALL, check_taken_or_new), 50, ANY);
    start(3);
    given_lost();
    assert_in_range(in_every_order(3, 2, check_taken_or_new), 500, ANY);
}

static void check_one_taken(int num)
{
    assert_int_equal(num_flags(num), 1);
    assert_int_equal(num_in(IDEM_STATE_SENT), 1);
    check_no_place_is_lost();
}

static void of_many_that_meet_a_lost_one_exactly_one_takes_it_over(void **state)
{
    (void)state;
    start(2);
    given_lost();
    for (int i = 0; i < PROCESSES; i++)
        crew(i, do_take_lost, -1);
    assert_in_range(in_every_order(2, ALL, check_one_taken), 50, ANY);
    assert_in_range(in_every_order(3, 5, check_one_taken), 500, ANY);
}

static void check_lives(int num)
{
    assert_int_equal(num_flags(num), 1);
    assert_int_equal(now_it_is(), IDEM_DONE);
    for (int i = 0; i < num; i++)
        assert_true(processes[i].result == CREATED || processes[i].result == IDEM_RUNNING ||
                    processes[i].result == IDEM_DONE);
    check_no_place_is_lost();
}

static void lives_that_cross_have_one_holder_and_one_answer(void **state)
{
    (void)state;
    crew(0, do_life, -1);
    crew(1, do_life, -1);
    crew(2, do_look, -1);
    start(2);
    assert_in_range(in_every_order(2, 5, check_lives), 5000, ANY);
}

static void check_look(int num)
{
    (void)num;
    assert_true(processes[1].result != IDEM_LOST && processes[1].result != IDEM_MISMATCH);
    assert_int_equal(now_it_is(), IDEM_DONE);
}

static void check_whole_or_gone(int num)
{
    (void)num;
    assert_int_equal(processes[0].result, IDEM_NEW);
    assert_true(processes[1].result == IDEM_DONE || processes[1].result == IDEM_NEW);
    if (processes[1].result == IDEM_DONE)
        assert_int_equal(answers[1].status, 'x');
}

/* A reader is overtaken by a writer of the same entry at each of its steps: the answer that comes,
 * and the one that goes to make room for another key's. */
static void an_answer_is_read_whole_or_not_at_all(void **state)
{
    (void)state;
    start(2);
    crew(0, do_life, -1);
    crew(1, do_look, -1);
    assert_in_range(in_every_order(2, ALL, check_look), 100, ANY);
    start(1);
    given_done(&key);
    crew(0, do_life_of_other, -1);
    assert_in_range(in_every_order(2, ALL, check_whole_or_gone), 50, ANY);
}

static void check_evicted_once(int num)
{
    assert_int_equal(num_found(num, IDEM_NEW), 1);
    assert_int_equal(num_found(num, IDEM_RUNNING) + num_found(num, IDEM_FULL), num - 1);
    assert_int_equal(idem_evicted(t),
                     1 + num_found(num, IDEM_FULL)); /* who found no entry counts */
    assert_int_equal(num_in(IDEM_STATE_RUNNING), 2);
}

/* One entry of two holds what may not go. */
static void of_two_that_need_the_last_place_one_gets_it(void **state)
{
    (void)state;
    start(2);
    (void)given(&(struct idem_key){.hash = {50, 60}}, 7, KEEP);
    given_done(&other_key);
    crew(0, do_begin, -1);
    crew(1, do_begin, -1);
    assert_in_range(in_every_order(2, ALL, check_evicted_once), 500, ANY);
}

/* --- deaths at every step --- */

#define LIFE_STEPS 24

/* What somebody died with is free if nothing was sent, lost if something was: and then nobody has
 * got in as if it were new. */
static void check_death_in_life(int num)
{
    uint32_t lost = bury_the_dead(num);
    enum idem_found found = now_it_is();
    unsigned created = num_found(num, (enum idem_found)CREATED);

    assert_true(created <= 1);
    assert_int_equal(found == IDEM_LOST, lost == 1);
    if (created == 1)
        assert_true(found == IDEM_LOST || found == IDEM_DONE);
    else
        assert_int_equal(found, IDEM_NEW);
    if (processes[1].kill_after < 0 && processes[1].flag)
        assert_int_equal(found, IDEM_DONE);
    check_no_place_is_lost();
}

static void who_dies_at_any_step_of_a_life_leaves_it_free_lost_or_done(void **state)
{
    (void)state;
    start(2);
    for (int kill_after = 0; kill_after < LIFE_STEPS; kill_after++) {
        crew(0, do_life, kill_after);
        crew(1, do_life, -1);
        in_every_order(2, 3, check_death_in_life);
    }
    assert_true(processes[0].steps < LIFE_STEPS - 1); /* it was killed at every step that it has */
}

static void both_may_die_at_any_step_and_the_third_gets_on(void **state)
{
    (void)state;
    start(2);
    for (int kill_after = 0; kill_after < LIFE_STEPS * LIFE_STEPS; kill_after++) {
        crew(0, do_life, kill_after % LIFE_STEPS);
        crew(1, do_life, kill_after / LIFE_STEPS);
        in_every_order(2, 1, check_death_in_life);
    }
}

static void check_buried_while_asked(int num)
{
    (void)num;
    assert_int_equal(processes[0].result, 0);
    assert_true(processes[1].result == IDEM_NEW || processes[1].result == IDEM_RUNNING);
    assert_int_equal(now_it_is(), processes[1].flag ? IDEM_RUNNING : IDEM_NEW);
    check_no_place_is_lost();
}

static void check_lost_while_asked(int num)
{
    (void)num;
    assert_int_equal(processes[0].result, 1);
    assert_true(processes[1].result == IDEM_LOST || processes[1].result == IDEM_RUNNING);
    assert_int_equal(now_it_is(), IDEM_LOST);
}

/* The master undoes a dead holder while others ask for its key. */
static void a_repeat_during_the_burial_is_new_or_waits_or_is_lost_as_it_should(void **state)
{
    (void)state;
    crew(0, do_bury, -1);
    crew(1, do_begin, -1);
    start(2);
    (void)given(&key, 7, KEEP);
    assert_in_range(in_every_order(2, ALL, check_buried_while_asked), 50, ANY);
    start(2);
    given_sent();
    assert_in_range(in_every_order(2, ALL, check_lost_while_asked), 20, ANY);
}

static void check_death_in_claim(int num)
{
    bury_the_dead(num);
    assert_int_equal(now_it_is(), processes[1].flag || processes[2].flag ? IDEM_RUNNING : IDEM_NEW);
    check_no_place_is_lost();
}

static void who_dies_while_it_finds_out_whose_a_key_is_leaves_it_to_the_others(void **state)
{
    (void)state;
    start(3);
    for (int kill_after = 0; kill_after < 16; kill_after++) {
        crew(0, do_begin, kill_after);
        crew(1, do_begin, -1);
        crew(2, do_begin, -1);
        in_every_order(3, 2, check_death_in_claim);
    }
}

static void check_death_in_resolve(int num)
{
    uint32_t lost = bury_the_dead(num);
    enum idem_found found = now_it_is();

    assert_true(found == IDEM_LOST || found == IDEM_DONE);
    if (lost == 1)
        assert_int_equal(found, IDEM_LOST);
    if (processes[1].flag)
        assert_int_equal(found, IDEM_DONE);
    check_no_place_is_lost();
}

static void who_dies_while_it_looks_upstream_leaves_it_lost(void **state)
{
    (void)state;
    start(2);
    given_lost();
    for (int kill_after = 0; kill_after < 14; kill_after++) {
        crew(0, do_resolve, kill_after);
        crew(1, do_resolve, -1);
        crew(2, do_begin, -1);
        in_every_order(3, 2, check_death_in_resolve);
    }
    assert_true(processes[0].steps < 13);
}

static void check_forgotten(int num)
{
    bury_the_dead(num);
    if (!processes[1].flag)
        assert_int_equal(now_it_is(), IDEM_NEW);
    else
        assert_int_equal(now_it_is(), IDEM_LOST);
    check_no_place_is_lost();
}

static void what_is_forgotten_or_died_with_is_free_for_the_one_who_asks_meanwhile(void **state)
{
    (void)state;
    start(2);
    for (int kill_after = -1; kill_after < 16; kill_after++) {
        crew(0, do_begin_and_forget, kill_after);
        crew(1, do_begin_and_lose, -1);
        in_every_order(2, 4, check_forgotten);
    }
}

static void check_death_in_eviction(int num)
{
    bury_the_dead(num);
    assert_int_equal(num_in(IDEM_STATE_FREE) + num_in(IDEM_STATE_RUNNING) + num_in(IDEM_STATE_DONE),
                     t->num_entries);
    check_no_place_is_lost();
}

static void who_dies_while_it_makes_room_leaves_a_place_that_can_be_used(void **state)
{
    (void)state;
    start(2);
    given_done(&key);
    given_done(&(struct idem_key){.hash = {50, 60}});
    for (int kill_after = 0; kill_after < 14; kill_after++) {
        crew(0, do_begin_other, kill_after);
        crew(1, do_begin_late, -1);
        crew(2, do_look, -1);
        in_every_order(3, 2, check_death_in_eviction);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(of_many_that_ask_at_once_exactly_one_is_the_first, teardown),
        cmocka_unit_test_teardown(nobody_needs_a_second_try, teardown),
        cmocka_unit_test_teardown(after_its_time_a_key_has_one_holder_again_be_it_done_or_lost,
                                  teardown),
        cmocka_unit_test_teardown(
            a_lost_one_is_taken_over_or_begun_anew_at_the_end_of_its_time_but_not_both, teardown),
        cmocka_unit_test_teardown(of_many_that_begin_anew_exactly_one_does, teardown),
        cmocka_unit_test_teardown(of_many_that_meet_a_lost_one_exactly_one_takes_it_over, teardown),
        cmocka_unit_test_teardown(lives_that_cross_have_one_holder_and_one_answer, teardown),
        cmocka_unit_test_teardown(an_answer_is_read_whole_or_not_at_all, teardown),
        cmocka_unit_test_teardown(of_two_that_need_the_last_place_one_gets_it, teardown),
        cmocka_unit_test_teardown(who_dies_at_any_step_of_a_life_leaves_it_free_lost_or_done,
                                  teardown),
        cmocka_unit_test_teardown(both_may_die_at_any_step_and_the_third_gets_on, teardown),
        cmocka_unit_test_teardown(
            a_repeat_during_the_burial_is_new_or_waits_or_is_lost_as_it_should, teardown),
        cmocka_unit_test_teardown(
            who_dies_while_it_finds_out_whose_a_key_is_leaves_it_to_the_others, teardown),
        cmocka_unit_test_teardown(who_dies_while_it_looks_upstream_leaves_it_lost, teardown),
        cmocka_unit_test_teardown(
            what_is_forgotten_or_died_with_is_free_for_the_one_who_asks_meanwhile, teardown),
        cmocka_unit_test_teardown(who_dies_while_it_makes_room_leaves_a_place_that_can_be_used,
                                  teardown),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
