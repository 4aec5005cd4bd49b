/* Which worker takes a new connection (front/accept_share). */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "front/accept_share.h"

#define NOW_MS 100000

static struct worker_slot slots[WORKER_ROWS];

static struct worker_slot *worker(size_t i, uint32_t connections)
{
    struct worker_slot *slot = &slots[i];

    *slot = (struct worker_slot){
        .pid = (int32_t)i + 100, .is_worker = 1, .generation = 3, .beat_ms = NOW_MS};
    slot->connections = connections;
    return slot;
}

static struct accept_share share_of(size_t own)
{
    return (struct accept_share){.slots = slots, .num_slots = WORKER_ROWS, .own = &slots[own]};
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < WORKER_ROWS; i++)
        slots[i] = (struct worker_slot){0};
    return 0;
}

/* Of 64 that come one after the other no worker has over 1.2 times as many as another, however quick it is. */
static void the_quickest_has_little_more_than_others(void **state)
{
    (void)state;
    for (size_t num = 2; num <= 8; num++) {
        struct accept_share quick;
        uint32_t most = 0, least = UINT32_MAX;

        set_up(NULL);
        for (size_t i = 0; i < num; i++)
            worker(i, 0);
        quick = share_of(0);
        for (unsigned n = 0; n < 64; n++) {
            size_t to = 0;

            if (accept_share_is_others(&quick, slots[0].connections, NOW_MS))
                for (size_t i = 1; i < num; i++) /* the next one that would take it */
                    to = to == 0 || slots[i].connections < slots[to].connections ? i : to;
            slots[to].connections++;
        }
        for (size_t i = 0; i < num; i++) {
            most = slots[i].connections > most ? slots[i].connections : most;
            least = slots[i].connections < least ? slots[i].connections : least;
        }
        assert_true(num > 4 ? most <= least + 2 : most * 10 <= least * 12);
    }
}

static void one_alone_leaves_nothing(void **state)
{
    struct accept_share none = {.slots = NULL}, alone = share_of(0);

    (void)state;
    worker(0, 500);
    assert_false(accept_share_is_others(&none, 500, NOW_MS));
    assert_false(accept_share_is_others(&alone, 500, NOW_MS));
}

static void nothing_is_left_to_those_that_do_not_accept(void **state)
{
    struct accept_share share;

    (void)state;
    worker(0, 500);
    worker(1, 0)->draining = 1;
    worker(2, 0)->generation = 2;
    worker(3, 0)->is_worker = 0;
    worker(4, 0)->pid = 0;
    worker(5, 0)->beat_ms = NOW_MS - ACCEPT_SILENT_MS;
    share = share_of(0);
    assert_false(accept_share_is_others(&share, 500, NOW_MS));
}

static void who_the_others_are_is_looked_up_again(void **state)
{
    struct accept_share share;

    (void)state;
    worker(0, 500);
    share = share_of(0);
    assert_false(accept_share_is_others(&share, 500, NOW_MS));
    worker(1, 3);
    assert_false(accept_share_is_others(&share, 500, NOW_MS + ACCEPT_LOOK_MS - 1));
    assert_true(accept_share_is_others(&share, 500, NOW_MS + ACCEPT_LOOK_MS));
    slots[1].connections = 499;
    assert_false(accept_share_is_others(&share, 500, NOW_MS + ACCEPT_LOOK_MS));
    slots[1].connections = UINT32_MAX; /* nothing overflows */
    assert_false(accept_share_is_others(&share, 500, NOW_MS + ACCEPT_LOOK_MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_quickest_has_little_more_than_others, set_up),
        cmocka_unit_test_setup(one_alone_leaves_nothing, set_up),
        cmocka_unit_test_setup(nothing_is_left_to_those_that_do_not_accept, set_up),
        cmocka_unit_test_setup(who_the_others_are_is_looked_up_again, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
