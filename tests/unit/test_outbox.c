/* What waits for the database on this node's disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/keeper/outbox.h"

static char dir[64], path[96];
static struct outbox *box;

static void open_again(void)
{
    outbox_free(box);
    assert_int_equal(outbox_new(path, &box), 0);
    assert_int_equal(outbox_open(box), 0);
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/tranche-outbox-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/outbox", dir);
    box = NULL;
    open_again();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    outbox_free(box);
    (void)unlink(path);
    (void)rmdir(dir);
    return 0;
}

static void put(const char *text)
{
    assert_int_equal(outbox_put(box, (uint32_t)strlen(text), text, strlen(text)), 0);
}

static void must_read(const char *text)
{
    struct strbuf out = STRBUF_INIT;
    uint32_t kind = 0;

    assert_int_equal(outbox_read(box, &kind, &out), 0);
    assert_string_equal(strbuf_str(&out), text);
    assert_int_equal(kind, strlen(text));
    strbuf_deinit(&out);
}

static void must_be_read(void)
{
    struct strbuf out = STRBUF_INIT;
    uint32_t kind;

    assert_int_equal(outbox_read(box, &kind, &out), ERR_NOT_FOUND);
    strbuf_deinit(&out);
}

static void what_was_put_is_read_by_the_next_process_in_its_order(void **state)
{
    struct stat st;

    (void)state;
    assert_int_equal(outbox_bytes(box), 0);
    assert_int_equal(access(path, F_OK), -1); /* where nothing waits there is no file */
    put("one");
    put("");
    put("three of them");
    assert_int_equal(outbox_sync(box), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    open_again();
    assert_true(outbox_bytes(box) > 0);
    must_read("one");
    must_read("");
    must_read("three of them");
    must_be_read();
}

static void what_is_in_the_database_is_not_read_again(void **state)
{
    (void)state;
    put("one");
    put("two");
    must_read("one");
    outbox_keep(box);
    must_read("two");
    outbox_rewind(box); /* the database went away again */
    must_read("two");
    put("three");
    outbox_keep(box);
    assert_true(outbox_bytes(box) > 0);
    must_read("three");
    outbox_keep(box);
    assert_int_equal(outbox_bytes(box), 0);
    must_be_read();
    open_again();
    assert_int_equal(outbox_bytes(box), 0);
    put("four");
    must_read("four");
}

static void a_message_that_was_cut_off_ends_the_file(void **state)
{
    struct stat st;

    (void)state;
    put("one");
    put("two, which a crash cuts");
    assert_int_equal(outbox_sync(box), 0);
    assert_int_equal(stat(path, &st), 0);
    for (off_t cut = 1; cut < 24 + 15; cut++) {
        assert_int_equal(truncate(path, st.st_size - cut), 0);
        open_again();
        must_read("one");
        must_be_read();
        put("two, which a crash cuts");
        assert_int_equal(outbox_sync(box), 0);
    }
}

static void a_message_that_is_not_what_was_written_is_none(void **state)
{
    (void)state;
    put("one");
    put("two");
    assert_int_equal(outbox_sync(box), 0);
    for (off_t at = 0; at < 19; at++) { /* each byte of the first one */
        int fd = open(path, O_RDWR);
        char byte;

        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
        open_again();
        must_be_read();
        put("one");
        put("two");
        assert_int_equal(outbox_sync(box), 0);
    }
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    assert_int_equal(mkdir(path, 0700), 0);
    outbox_free(box);
    assert_int_equal(outbox_new(path, &box), 0);
    assert_int_equal(outbox_open(box), ERR_IO);
    assert_int_equal(outbox_put(box, 1, "x", 1), ERR_IO);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("/etc/hostname", path), 0);
    assert_int_equal(outbox_open(box), ERR_IO); /* nobody's link is followed */
}

static void a_full_disk_is_told_and_adds_nothing(void **state)
{
    (void)state;
    outbox_free(box);
    assert_int_equal(symlink("/dev/full", path), 0);
    assert_int_equal(outbox_new(path, &box), 0);
    assert_true(outbox_put(box, 1, "x", 1) != 0);
    assert_int_equal(outbox_bytes(box), 0);
}

static const char *second_path(void)
{
    static char name[128];

    snprintf(name, sizeof(name), "%s.1", path);
    return name;
}

/* A reload while the database is away: keepers of two generations grant. */
static void nobody_writes_over_what_another_process_has(void **state)
{
    struct outbox *first = box, *second;

    (void)state;
    put("one");
    assert_int_equal(outbox_new(path, &second), 0);
    assert_int_equal(outbox_open(second), 0);
    assert_int_equal(outbox_bytes(second), 0); /* it is not its own */
    box = second;
    put("three");
    assert_int_equal(outbox_sync(second), 0);
    box = first;
    put("two");
    assert_int_equal(outbox_sync(first), 0);
    must_read("one");
    must_read("two");
    must_be_read();
    outbox_keep(first);
    assert_int_equal(outbox_bytes(first), 0);
    box = second;
    must_read("three");
    must_be_read();
    box = first;
    outbox_free(second); /* it was killed before it kept that */
    assert_int_equal(outbox_open(first), 0);
    must_read("three");
    outbox_keep(first);
    assert_int_equal(outbox_open(first), 0);
    assert_int_equal(outbox_bytes(first), 0);
    assert_int_equal(unlink(second_path()), 0);
}

static void what_others_left_comes_behind_what_is_our_own(void **state)
{
    struct outbox *first = box, *second;

    (void)state;
    put("one");
    assert_int_equal(outbox_new(path, &second), 0);
    box = second;
    put("three");
    outbox_free(first);
    assert_int_equal(outbox_open(second), 0);
    must_read("three");
    must_be_read();
    assert_int_equal(outbox_open(second), 0); /* it is not in the database yet */
    outbox_keep(second);
    assert_int_equal(outbox_open(second), 0);
    must_read("one");
    must_be_read();
    assert_int_equal(unlink(second_path()), 0);
}

static void a_process_too_many_is_refused(void **state)
{
    struct outbox *others[8];
    char name[128];

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(outbox_new(path, &others[i]), 0);
        assert_int_equal(outbox_put(others[i], 1, "x", 1), 0);
    }
    assert_int_equal(outbox_open(box), 0);
    assert_int_equal(outbox_put(box, 1, "x", 1), ERR_FULL);
    outbox_free(others[5]);
    assert_int_equal(outbox_open(box), 0);
    assert_true(outbox_bytes(box) > 0);
    for (size_t i = 0; i < 8; i++) {
        if (i != 5)
            outbox_free(others[i]);
        if (i == 0)
            snprintf(name, sizeof(name), "%s", path);
        else
            snprintf(name, sizeof(name), "%s.%zu", path, i);
        assert_int_equal(unlink(name), 0);
    }
}

int main(void)
{
#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {T(what_was_put_is_read_by_the_next_process_in_its_order),
                                       T(what_is_in_the_database_is_not_read_again),
                                       T(a_message_that_was_cut_off_ends_the_file),
                                       T(a_message_that_is_not_what_was_written_is_none),
                                       T(what_is_no_file_is_refused),
                                       T(a_full_disk_is_told_and_adds_nothing),
                                       T(nobody_writes_over_what_another_process_has),
                                       T(what_others_left_comes_behind_what_is_our_own),
                                       T(a_process_too_many_is_refused)};

    return cmocka_run_group_tests_name("outbox", tests, NULL, NULL);
}
