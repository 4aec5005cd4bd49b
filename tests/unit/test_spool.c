/* The spool: memory first, one unlinked file then, one limit over all workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/spool.h"

static char dir[] = "/tmp/tranche-spool-XXXXXX";
static struct config config;
static struct shared *shared;
static struct inherited inherited;

static int set_up(void **state)
{
    (void)state;
    if (strcmp(dir + strlen(dir) - strlen("XXXXXX"), "XXXXXX") == 0 && mkdtemp(dir) == NULL)
        return -1;
    shared = aligned_alloc(CACHE_LINE, sizeof(*shared));
    if (shared == NULL)
        return -1;
    memset((void *)shared, 0, sizeof(*shared));
    config.spool_dir = dir;
    config.limits.spool_bytes = 1u << 20;
    inherited.config = &config;
    inherited.shared = shared;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(shared);
    return 0;
}

static int files_in_dir(void)
{
    DIR *d = opendir(dir);
    int n = -2; /* . and .. */

    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void what_was_written_in_pieces_is_read_back_whole(void **state)
{
    struct spool spool;
    char piece[1000], back[200000];
    uint64_t at = 0;

    (void)state;
    spool_init(&spool, &inherited, 0, NULL);
    for (int i = 0; i < 150; i++) {
        memset(piece, 'a' + i % 26, sizeof(piece));
        assert_int_equal(spool_write(&spool, piece, sizeof(piece)), 0);
    }
    assert_int_equal(spool.size, 150000);
    while (at < spool.size) {
        ssize_t n = spool_read(&spool, back + at, 7777, at);

        assert_true(n > 0);
        at += (uint64_t)n;
    }
    assert_int_equal(at, 150000);
    for (int i = 0; i < 150000; i++)
        if (back[i] != 'a' + i / 1000 % 26)
            fail_msg("byte %d differs", i);
    assert_int_equal(spool_read(&spool, back, 10, spool.size), 0);
    spool_deinit(&spool);
}

static void a_small_upload_needs_no_file_and_a_large_one_leaves_no_name(void **state)
{
    struct spool spool;
    char piece[SPOOL_MEMORY] = {0};

    (void)state;
    spool_init(&spool, &inherited, 0, NULL);
    assert_int_equal(spool_write(&spool, piece, sizeof(piece)), 0);
    assert_int_equal(spool.fd, -1);
    assert_int_equal(spool_write(&spool, piece, 1), 0);
    assert_int_not_equal(spool.fd, -1);
    assert_int_equal(files_in_dir(), 0);
    spool_deinit(&spool);
}

/* Pieces of odd sizes against a block of 64 KiB: the borders lie everywhere. */
static void whatever_the_pieces_every_byte_comes_back_at_its_place(void **state)
{
    static const size_t sizes[] = {1,     65535, 65536, 65537, 131072, 3,         200000,
                                   65533, 4096,  1,     65536, 65535,  2 * 65536, 7};
    static char data[1000000], back[1000000];
    struct spool spool;
    uint64_t size = 0, at;

    (void)state;
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 2654435761u >> 13);
    for (size_t first = 0; first < sizeof(sizes) / sizeof(sizes[0]); first++) {
        spool_init(&spool, &inherited, 0, NULL);
        size = 0;
        for (size_t i = first; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            assert_int_equal(spool_write(&spool, data + size, sizes[i]), 0);
            size += sizes[i];
            assert_int_equal(spool.size, size);
            assert_int_equal(shared->slots[0].spool_bytes, size);
            assert_int_equal(spool.filed % SPOOL_MEMORY, 0);
        }
        for (at = 0; at < size;) {
            ssize_t n = spool_read(&spool, back + at, 50000, at);

            assert_true(n > 0);
            at += (uint64_t)n;
        }
        assert_memory_equal(back, data, size);
        spool_deinit(&spool);
        assert_int_equal(shared->slots[0].spool_bytes, 0);
    }
}

static void a_first_write_larger_than_memory_goes_straight_to_the_file(void **state)
{
    struct spool spool;
    static char piece[SPOOL_MEMORY + 5];

    (void)state;
    spool_init(&spool, &inherited, 0, NULL);
    assert_int_equal(spool_write(&spool, piece, sizeof(piece)), 0);
    assert_int_equal(spool.size, sizeof(piece));
    spool_deinit(&spool);
}

static void the_limit_counts_all_workers_and_space_comes_back(void **state)
{
    struct spool a, b;
    static char half[1u << 19];

    (void)state;
    spool_init(&a, &inherited, 0, NULL);
    spool_init(&b, &inherited, 1, NULL);
    assert_int_equal(spool_write(&a, half, sizeof(half)), 0);
    assert_int_equal(spool_write(&b, half, sizeof(half)), 0);
    assert_int_equal(spool_write(&b, half, 1), ERR_FULL);
    spool_deinit(&a);
    assert_int_equal(spool_write(&b, half, 1), 0);
    spool_deinit(&b);
    assert_int_equal(shared->slots[0].spool_bytes, 0);
    assert_int_equal(shared->slots[1].spool_bytes, 0);
}

static void a_spool_dir_that_is_gone_is_an_error_not_a_crash(void **state)
{
    struct spool spool;
    static char piece[SPOOL_MEMORY + 1];
    char gone[] = "/tmp/tranche-no-such-dir/x";

    (void)state;
    config.spool_dir = gone;
    spool_init(&spool, &inherited, 0, NULL);
    assert_int_equal(spool_write(&spool, piece, sizeof(piece)), ERR_IO);
    spool_deinit(&spool);
    config.spool_dir = dir;
    assert_int_equal(shared->slots[0].spool_bytes, 0);
}

/* A loop that holds one timer until it is told to turn. */
static struct loop_timer *waiting;

static int fake_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)loop;
    (void)delay_ms;
    waiting = timer;
    return 0;
}

static void fake_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    assert_true(waiting == NULL || waiting == timer);
    waiting = NULL;
}

static struct loop fake = {
    &(const struct loop_ops){.timer_start = fake_start, .timer_stop = fake_stop}};

static void turn(void)
{
    struct loop_timer *timer = waiting;

    waiting = NULL;
    timer->cb(timer);
}

/* Blocks of all files of this process that have no name any more. */
static uint64_t on_disk(void)
{
    uint64_t sum = 0;
    struct stat st;

    for (int fd = 3; fd < 64; fd++)
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0 && st.st_size > 0)
            sum += (uint64_t)st.st_size;
    return sum;
}

static void fill(struct spool *spool, unsigned megabytes)
{
    static char piece[1u << 20];

    spool_init(spool, &inherited, 0, &fake);
    for (unsigned n = 0; n < megabytes; n++)
        assert_int_equal(spool_write(spool, piece, sizeof(piece)), 0);
}

static void a_large_file_is_given_back_in_slices_and_its_room_is_there_at_once(void **state)
{
    struct spool spool;
    uint64_t before = on_disk(), last = (9u << 20) + before;
    int turns = 0;

    (void)state;
    config.limits.spool_bytes = 9u << 20;
    fill(&spool, 9);
    spool_deinit(&spool);
    assert_int_equal(shared->slots[0].spool_bytes, 0);
    assert_int_equal(on_disk(), last);
    for (; waiting != NULL; turns++) {
        turn();
        assert_true(on_disk() < last);
        last = on_disk();
    }
    assert_int_equal(last, before);
    assert_true(turns > 1);
}

static void of_many_large_files_one_slice_is_given_back_in_a_turn(void **state)
{
    struct spool spools[5];
    uint64_t before = on_disk(), last = (45u << 20) + before;

    (void)state;
    config.limits.spool_bytes = 64u << 20;
    for (int i = 0; i < 5; i++)
        fill(&spools[i], 9);
    for (int i = 0; i < 5; i++)
        spool_deinit(&spools[i]);
    assert_int_equal(on_disk(), last);
    while (waiting != NULL) {
        turn();
        assert_true(on_disk() < last);
        assert_true(last - on_disk() <= 4u << 20);
        last = on_disk();
    }
    assert_int_equal(last, before);
}

/* The size limit of a process stands for a disk: a write beyond it fails with EFBIG. */
static void a_full_disk_gets_what_is_given_back_at_once(void **state)
{
    struct spool gone[2], late;
    struct rlimit limit, small;
    static char piece[1u << 20];
    uint64_t before = on_disk();
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);

    (void)state;
    config.limits.spool_bytes = 64u << 20;
    fill(&gone[0], 9);
    fill(&gone[1], 9);
    spool_deinit(&gone[0]);
    spool_deinit(&gone[1]);
    assert_int_equal(on_disk(), (18u << 20) + before);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small = limit;
    small.rlim_cur = 1u << 19;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    spool_init(&late, &inherited, 0, &fake);
    assert_int_equal(spool_write(&late, piece, sizeof(piece)), ERR_FULL);
    assert_true(on_disk() <= (1u << 19) + before);
    assert_null(waiting);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    spool_deinit(&late);
    fill(&late, 9); /* the next one is given back slowly again */
    spool_deinit(&late);
    assert_non_null(waiting);
    while (waiting != NULL)
        turn();
    assert_int_equal(on_disk(), before);
    signal(SIGXFSZ, old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_in_pieces_is_read_back_whole, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_small_upload_needs_no_file_and_a_large_one_leaves_no_name,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(whatever_the_pieces_every_byte_comes_back_at_its_place,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_first_write_larger_than_memory_goes_straight_to_the_file,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_limit_counts_all_workers_and_space_comes_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_large_file_is_given_back_in_slices_and_its_room_is_there_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_many_large_files_one_slice_is_given_back_in_a_turn,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_disk_gets_what_is_given_back_at_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_spool_dir_that_is_gone_is_an_error_not_a_crash, set_up,
                                        tear_down),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    rmdir(dir);
    return failed;
}
