/* rounds: who comes next where several owners' work waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/rounds.h"

/* The owners of pieces that wait, by letter, served one after the other until none is left. */
static void expect(struct rounds *rounds, const char *waiting, const char *served)
{
    uint64_t owners[64];
    size_t num = strlen(waiting);
    char order[64] = "";

    for (size_t i = 0; i < num; i++)
        owners[i] = (uint64_t)(unsigned char)waiting[i];
    for (size_t n = 0; num > 0; n++) {
        size_t at = rounds_next(rounds, owners, num);

        order[n] = (char)owners[at];
        rounds_serve(rounds, owners[at]);
        num--;
        memmove(&owners[at], &owners[at + 1], (num - at) * sizeof(*owners));
    }
    assert_string_equal(order, served);
}

static void owners_take_turns_whatever_waits_before_them(void **state)
{
    struct rounds rounds = {0};

    (void)state;
    expect(&rounds, "aaaaaab", "abaaaaa");
    expect(&rounds, "aabbcc", "cbacba"); /* a had the last turn, c none yet */
}

static void who_was_served_in_a_turn_before_comes_after_who_was_not(void **state)
{
    struct rounds rounds = {0};

    (void)state;
    rounds_serve(&rounds, 'a');
    expect(&rounds, "ab", "ba");
    rounds_serve(&rounds, 'b');
    expect(&rounds, "ba", "ab");
}

static void an_owners_own_pieces_keep_their_order(void **state)
{
    struct rounds rounds = {0};
    const uint64_t owners[] = {'a', 'a', 'a'};

    (void)state;
    assert_int_equal(rounds_next(&rounds, owners, 3), 0);
    rounds_serve(&rounds, 'a');
    assert_int_equal(rounds_next(&rounds, owners, 3), 0);
}

static void owners_beyond_the_places_share_a_turn(void **state)
{
    struct rounds rounds = {0};

    (void)state;
    rounds_serve(&rounds, 3);
    assert_int_equal(rounds_last(&rounds, 3 + ROUNDS_PLACES), rounds_last(&rounds, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(owners_take_turns_whatever_waits_before_them),
        cmocka_unit_test(who_was_served_in_a_turn_before_comes_after_who_was_not),
        cmocka_unit_test(an_owners_own_pieces_keep_their_order),
        cmocka_unit_test(owners_beyond_the_places_share_a_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
