/* random_ids: the program is compiled into this file, so that its stock can be looked at. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/random_ids.c"

#define ID   16
#define MANY 5000

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, ID);
}

static bool is_wiped(const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static void no_two_ids_of_many_are_the_same(void **state)
{
    static unsigned char ids[MANY][ID];

    (void)state;
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(random_ids(ids[i], ID), 0);
    qsort(ids, MANY, ID, compare);
    for (size_t i = 1; i < MANY; i++)
        assert_int_not_equal(memcmp(ids[i - 1], ids[i], ID), 0);
}

static void draws_of_any_length_use_up_each_byte_once(void **state)
{
    unsigned char bytes[RANDOM_IDS_MOST];

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        size_t before = left, len = 1 + i % RANDOM_IDS_MOST;

        assert_int_equal(random_ids(bytes, len), 0);
        assert_int_equal(left, (before < len ? STOCK_BYTES : before) - len);
    }
}

static void what_was_handed_out_is_wiped(void **state)
{
    unsigned char id[ID];

    (void)state;
    forget_stock();
    for (size_t taken = ID; taken <= STOCK_BYTES; taken += ID) {
        assert_int_equal(random_ids(id, ID), 0);
        assert_int_equal(left, STOCK_BYTES - taken);
        assert_true(is_wiped(stock + left, taken));
    }
}

/* As a worker does that is forked after its master has logged something. */
static void a_child_has_other_ids_than_its_parent(void **state)
{
    unsigned char own[ID], childs[ID];
    int pipe_fds[2], status;
    pid_t child;

    (void)state;
    assert_int_equal(random_ids(own, ID), 0);
    assert_int_equal(pipe(pipe_fds), 0);
    child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        bool fresh = left == 0 && is_wiped(stock, sizeof(stock));
        bool told = random_ids(childs, ID) == 0 && write(pipe_fds[1], childs, ID) == ID;

        _exit(fresh && told ? 0 : 1);
    }
    assert_int_equal(random_ids(own, ID), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(read(pipe_fds[0], childs, ID), ID);
    assert_int_not_equal(memcmp(own, childs, ID), 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_two_ids_of_many_are_the_same),
        cmocka_unit_test(draws_of_any_length_use_up_each_byte_once),
        cmocka_unit_test(what_was_handed_out_is_wiped),
        cmocka_unit_test(a_child_has_other_ids_than_its_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
