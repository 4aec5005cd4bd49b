/* Open uploads as files: what a name tells, what survives whom, and what the sweeper takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "core/spool.h"
#include "core/spool_list.h"
#include "parts/parts.h"

static char dir[] = "/tmp/tranche-parts-XXXXXX";
static struct config config;
static struct shared *shared;
static struct inherited inherited;
static int ports;

/* Each test has a folder of its own. */
static int set_up(void **state)
{
    static char host[] = "127.0.0.1";

    (void)state;
    if (strcmp(dir + strlen(dir) - strlen("XXXXXX"), "XXXXXX") == 0 && mkdtemp(dir) == NULL)
        return -1;
    shared = aligned_alloc(CACHE_LINE, sizeof(*shared));
    if (shared == NULL)
        return -1;
    memset((void *)shared, 0, sizeof(*shared));
    config.spool_dir = dir;
    config.host = host;
    config.port = ++ports;
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

static struct parts_id begin_by(uint64_t key, uint64_t owner, uint64_t bytes, int64_t created_s)
{
    struct parts_id id = {.created_s = created_s, .bytes = bytes, .owner = owner, .key = key};
    struct strbuf head = STRBUF_INIT;

    assert_int_equal(parts_new_id(&id), 0);
    strbuf_adds(&head, "{\"a\":1}");
    assert_int_equal(parts_create(&inherited, &id, &head, NULL), 0);
    strbuf_deinit(&head);
    return id;
}

static struct parts_id begin(uint64_t owner, uint64_t bytes, int64_t created_s)
{
    return begin_by(0, owner, bytes, created_s);
}

static struct parts opened(const struct parts_id *id)
{
    struct parts parts;

    assert_int_equal(parts_open(&inherited, id, &parts), 0);
    return parts;
}

/* A part of so many equal bytes. */
static struct part put(const struct parts *parts, char byte, size_t size)
{
    struct part part = {.size = size};
    struct spool spool;
    char *path = parts_new_part(parts, part.id), *bytes = malloc(size);

    assert_non_null(path);
    assert_non_null(bytes);
    memset(bytes, byte, size);
    memset(part.digest, byte, PARTS_DIGEST);
    assert_int_equal(spool_init_named(&spool, &inherited, 0, NULL, path, size), 0);
    assert_int_equal(spool_write(&spool, bytes, size), 0);
    free(path);
    free(bytes);
    path = parts_path(parts, &part);
    assert_non_null(path);
    assert_int_equal(spool_keep(&spool, path), 0);
    assert_int_equal(spool_total(&inherited), atomic_load(&shared->parts_bytes));
    free(path);
    return part;
}

static void end(struct parts *parts, const char *text)
{
    struct strbuf done = STRBUF_INIT;

    strbuf_adds(&done, text);
    assert_int_equal(parts_lock(parts), 0);
    assert_int_equal(parts_end(parts, &done, NULL, clock_unix_s()), 0);
    strbuf_deinit(&done);
}

static void an_id_tells_its_begin_and_its_bytes(void **state)
{
    struct parts_id id = {.created_s = 1764400000, .bytes = UINT64_C(8) << 30}, read;
    char odd[PARTS_ID + 2];

    (void)state;
    assert_int_equal(parts_new_id(&id), 0);
    assert_true(parts_read_id(id.text, &read));
    assert_int_equal(read.created_s, id.created_s);
    assert_int_equal(read.bytes, id.bytes);
    assert_false(parts_is_expired(&id, id.created_s + PARTS_LIFE_S - 1));
    assert_true(parts_is_expired(&id, id.created_s + PARTS_LIFE_S));
    snprintf(odd, sizeof(odd), "%s0", id.text);
    assert_false(parts_read_id(odd, &read));
    odd[PARTS_ID] = '\0';
    odd[20] = '/';
    assert_false(parts_read_id(odd, &read));
    assert_false(parts_read_id("", &read));
    id.bytes = PARTS_BYTES; /* what fits into it */
    assert_int_equal(parts_new_id(&id), 0);
    assert_true(parts_read_id(id.text, &read));
    assert_int_equal(read.bytes, PARTS_BYTES);
    assert_int_equal(read.created_s, id.created_s);
}

static void the_node_is_told_by_its_address(void **state)
{
    uint32_t node = parts_node(&config);

    (void)state;
    assert_int_not_equal(node, 0);
    assert_int_equal(parts_node(&config), node);
    config.port++;
    assert_int_not_equal(parts_node(&config), node);
    config.port--;
}

static void what_is_open_is_reserved_until_it_ends(void **state)
{
    int64_t now_s = clock_unix_s();
    struct parts_id a = begin(1, 1000, now_s), b = begin(2, 500, now_s);
    struct parts parts = opened(&a);
    struct parts_sum sum;

    (void)state;
    parts_look(&inherited, 1, 0, now_s, &sum);
    assert_int_equal(sum.open, 2);
    assert_int_equal(sum.bytes, 1500);
    assert_int_equal(sum.own_open, 1);
    assert_int_equal(sum.own_bytes, 1000);
    assert_int_equal(spool_total(&inherited), 1500);
    end(&parts, "{}");
    parts_close(&parts);
    assert_int_equal(spool_total(&inherited), 500);
    parts_look(&inherited, 2, 0, now_s, &sum);
    assert_int_equal(sum.ended, 1);
    assert_int_equal(sum.own_bytes, b.bytes);
    parts_look(&inherited, 2, 0, now_s + PARTS_LIFE_S, &sum);
    assert_int_equal(sum.open, 0); /* the sweeper has not come yet */
}

static void what_is_open_counts_for_the_key_that_began_it(void **state)
{
    int64_t now_s = clock_unix_s();
    struct parts_id a = begin_by(11, 1, 1000, now_s), same;
    struct parts parts = opened(&a);
    struct parts_sum sum;

    (void)state;
    same = begin_by(11, 1, 200, now_s);
    (void)begin_by(12, 1, 30, now_s); /* a team mate */
    (void)begin_by(11, 2, 4, now_s);  /* the key, before it came into this team */
    (void)begin(1, 5000, now_s);      /* of a gateway that did not note the key */
    parts_look(&inherited, 1, 11, now_s, &sum);
    assert_int_equal(sum.key_bytes, 1200);
    assert_int_equal(sum.own_bytes, 6230);
    parts_look(&inherited, 1, 12, now_s, &sum);
    assert_int_equal(sum.key_bytes, 30);
    parts_look(&inherited, 1, 13, now_s, &sum);
    assert_int_equal(sum.key_bytes, 0);
    end(&parts, "{}");
    parts_close(&parts);
    parts_look(&inherited, 1, 11, now_s, &sum);
    assert_int_equal(sum.key_bytes, same.bytes);
    parts_sweep(&inherited, NULL, now_s + PARTS_LIFE_S);
    parts_look(&inherited, 1, 11, now_s + PARTS_LIFE_S, &sum);
    assert_int_equal(sum.key_bytes, 0);
}

static void the_record_is_read_back_and_the_end_too(void **state)
{
    struct parts_id id = begin(7, 10, clock_unix_s()), other = id;
    struct parts parts = opened(&id);
    struct strbuf text = STRBUF_INIT;

    (void)state;
    assert_false(parts.ended);
    assert_int_equal(parts_read(&parts, "head", &text), 0);
    assert_string_equal(strbuf_str(&text), "{\"a\":1}");
    assert_int_equal(parts_read(&parts, "done", &text), ERR_NOT_FOUND);
    end(&parts, "{\"b\":2}");
    parts_close(&parts);
    parts = opened(&id);
    assert_true(parts.ended);
    strbuf_reset(&text);
    assert_int_equal(parts_read(&parts, "done", &text), 0);
    assert_string_equal(strbuf_str(&text), "{\"b\":2}");
    parts_close(&parts);
    other.owner = 8;
    assert_int_equal(parts_open(&inherited, &other, &parts), ERR_NOT_FOUND);
    parts_close(&parts);
    strbuf_deinit(&text);
}

static void one_at_a_time_ends_an_upload(void **state)
{
    struct parts_id id = begin(0, 10, clock_unix_s());
    struct parts first = opened(&id), second = opened(&id);

    (void)state;
    assert_int_equal(parts_lock(&first), 0);
    assert_int_equal(parts_lock(&second), ERR_BAD_STATE);
    parts_close(&first); /* as when its process dies */
    assert_int_equal(parts_lock(&second), 0);
    assert_false(second.ended);
    parts_close(&second);
}

static void who_waited_for_the_lock_sees_the_end(void **state)
{
    struct parts_id id = begin(0, 10, clock_unix_s());
    struct parts first = opened(&id), second = opened(&id);

    (void)state;
    end(&first, "{}");
    parts_close(&first);
    assert_false(second.ended);
    assert_int_equal(parts_lock(&second), 0);
    assert_true(second.ended);
    parts_close(&second);
}

static void equal_parts_are_one_file(void **state)
{
    struct parts_id id = begin(0, 1000, clock_unix_s());
    struct parts parts = opened(&id);
    struct part a = put(&parts, 'a', 600), b = put(&parts, 'b', 400), again = a;
    struct parts_list list;

    (void)state;
    memset(again.id + 5, '0', 32);
    assert_int_equal(parts_same(&parts, &a, &again), 0);
    assert_int_equal(parts_list(&parts, &list), 0);
    assert_int_equal(list.num, 3);
    assert_int_equal(list.bytes, 1000);
    assert_int_equal(parts_find(&list, again.id)->size, 600);
    assert_string_equal(parts_find(&list, b.id)->digest, b.digest);
    assert_null(parts_find(&list, "part_"));
    assert_null(parts_find(&list, "part_ffffffffffffffffffffffffffffffff"));
    parts_list_deinit(&list);
    parts_close(&parts);
}

static void parts_are_read_in_the_order_of_the_list(void **state)
{
    struct parts_id id = begin(0, 300000, clock_unix_s());
    struct parts parts = opened(&id);
    struct part a = put(&parts, 'a', 100000), b = put(&parts, 'b', 200000);
    struct spool_list *list = spool_list_new(parts.dir);
    char name[PARTS_PART_ID + PARTS_DIGEST + 2], piece[4096];
    struct spool spool;
    uint64_t at = 0;
    ssize_t n;

    (void)state;
    assert_non_null(list);
    parts_file(&b, name);
    assert_int_equal(spool_list_add(list, name, b.size), 0);
    parts_file(&a, name);
    assert_int_equal(spool_list_add(list, name, a.size), 0);
    spool_of_list(&spool, &inherited, list);
    assert_int_equal(spool.size, 300000);
    for (; (n = spool_read(&spool, piece, sizeof(piece), at)) > 0; at += (uint64_t)n)
        assert_int_equal(piece[n - 1], at < 200000 ? 'b' : 'a');
    assert_int_equal(n, 0);
    assert_int_equal(at, 300000);
    assert_int_equal(spool_read(&spool, piece, 10, 199995), 5);
    assert_int_equal(spool_read(&spool, piece, 10, 200000), 10);
    assert_int_equal(unlinkat(parts.dir, name, 0), 0);
    assert_int_equal(spool_read(&spool, piece, 10, 5), 10);
    assert_int_equal(spool_read(&spool, piece, 10, 250000), -1); /* it is gone */
    spool_deinit(&spool);
    assert_int_equal(spool_total(&inherited), 300000); /* reserved; the spool counts nothing more */
    parts_close(&parts);
}

static void a_part_that_is_not_kept_leaves_nothing(void **state)
{
    struct parts_id id = begin(0, 100000, clock_unix_s());
    struct parts parts = opened(&id);
    struct part part;
    struct spool spool;
    char *path = parts_new_part(&parts, part.id);
    static char bytes[100000];

    (void)state;
    assert_int_equal(spool_init_named(&spool, &inherited, 0, NULL, path, 0), 0);
    assert_int_equal(spool_write(&spool, bytes, sizeof(bytes)), 0);
    assert_int_equal(access(path, F_OK), 0);
    spool_deinit(&spool);
    assert_int_equal(access(path, F_OK), -1);
    free(path);
    parts_close(&parts);
}

static void a_part_may_use_what_is_reserved_for_it(void **state)
{
    struct parts_id id = begin(0, 1u << 20, clock_unix_s()); /* all there is */
    struct parts parts = opened(&id);
    struct part part;
    struct spool spool;
    char *path = parts_new_part(&parts, part.id);
    static char bytes[200000];

    (void)state;
    assert_int_equal(spool_init_named(&spool, &inherited, 0, NULL, path, 0), 0);
    assert_int_equal(spool_write(&spool, bytes, sizeof(bytes)), ERR_FULL);
    spool_deinit(&spool);
    assert_int_equal(spool_init_named(&spool, &inherited, 0, NULL, path, 1u << 20), 0);
    assert_int_equal(spool_write(&spool, bytes, sizeof(bytes)), 0);
    spool_deinit(&spool);
    free(path);
    parts_close(&parts);
}

static bool is_there(const struct parts_id *id)
{
    struct parts parts;
    bool there = parts_open(&inherited, id, &parts) == 0;

    parts_close(&parts);
    return there;
}

static size_t parts_of(const struct parts *parts)
{
    struct parts_list list;
    size_t num;

    assert_int_equal(parts_list(parts, &list), 0);
    num = list.num;
    parts_list_deinit(&list);
    return num;
}

static void the_sweeper_takes_what_is_over_and_nothing_else(void **state)
{
    int64_t now_s = clock_unix_s();
    struct parts_id old = begin(0, 10, now_s - PARTS_LIFE_S), locked = begin(0, 10, old.created_s),
                    young = begin(0, 1000000, now_s), ended = begin(0, 10, now_s);
    struct parts parts = opened(&locked), open = opened(&young), done = opened(&ended);

    (void)state;
    assert_int_equal(parts_lock(&parts), 0); /* somebody completes it in its last second */
    (void)put(&open, 'a', 1000000);
    end(&done, "{}");
    parts_close(&done);
    done = opened(&ended);
    (void)put(&done, 'b', 10); /* as a part that became whole in the same moment */
    parts_sweep(&inherited, NULL, now_s);
    assert_false(is_there(&old));
    assert_true(is_there(&locked));
    assert_true(is_there(&young));
    assert_true(is_there(&ended));
    assert_int_equal(parts_of(&open), 1);
    assert_int_equal(parts_of(&done), 0);
    parts_close(&parts);
    parts_sweep(&inherited, NULL, now_s);
    assert_false(is_there(&locked));
    parts_close(&open);
    parts_close(&done);
}

static void halves_of_parts_go_when_nobody_writes_them(void **state)
{
    struct parts_id id = begin(0, 1000, clock_unix_s());
    struct parts parts = opened(&id);
    struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    int writer = openat(parts.dir, "tmp-1", O_CREAT | O_RDWR | O_CLOEXEC, 0600),
        dead = openat(parts.dir, "tmp-2", O_CREAT | O_RDWR | O_CLOEXEC, 0600),
        young = openat(parts.dir, "tmp-3", O_CREAT | O_RDWR | O_CLOEXEC, 0600);

    (void)state;
    assert_true(writer != -1 && dead != -1 && young != -1);
    assert_int_equal(flock(writer, LOCK_EX), 0);
    assert_int_equal(futimens(writer, old), 0);
    assert_int_equal(futimens(dead, old), 0);
    close(dead);
    parts_sweep(&inherited, NULL, clock_unix_s());
    assert_int_equal(faccessat(parts.dir, "tmp-1", F_OK, 0), 0);
    assert_int_equal(faccessat(parts.dir, "tmp-2", F_OK, 0), -1);
    assert_int_equal(faccessat(parts.dir, "tmp-3", F_OK, 0), 0);
    close(writer);
    close(young);
    parts_close(&parts);
}

static void the_answers_of_few_ended_uploads_are_kept(void **state)
{
    int64_t now_s = clock_unix_s();
    struct parts_id first = begin(0, 1, now_s - 10);
    struct parts_sum sum;

    (void)state;
    for (int i = 0; i <= PARTS_KEPT; i++) {
        struct parts_id id = i == 0 ? first : begin(0, 1, now_s);
        struct parts parts = opened(&id);

        end(&parts, "{}");
        parts_close(&parts);
    }
    parts_look(&inherited, 0, 0, now_s, &sum);
    assert_int_equal(sum.ended, PARTS_KEPT);
    assert_false(is_there(&first));
}

/* A loop that never comes to it. */
static struct loop_timer *waiting;

static int do_timer_start(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
    (void)loop;
    (void)delay_ms;
    waiting = t;
    return 0;
}

static bool anything_is_gone(void)
{
    struct strbuf path = STRBUF_INIT;
    const struct dirent *entry;
    bool gone = false;
    DIR *all;

    strbuf_addf(&path, "%s/tranche-%u-%s-%d.uploads", dir, (unsigned)geteuid(), config.host,
                config.port);
    all = opendir(strbuf_str(&path));
    assert_non_null(all);
    while ((entry = readdir(all)) != NULL)
        gone = gone || strstr(entry->d_name, ".ended.gone") != NULL;
    closedir(all);
    strbuf_deinit(&path);
    return gone;
}

static void each_create_forgets_another_answer_before_the_files_go(void **state)
{
    static const struct loop_ops ops = {.timer_start = do_timer_start};
    struct loop loop = {.ops = &ops};
    int64_t now_s = clock_unix_s();
    struct strbuf head = STRBUF_INIT;
    struct parts_id ids[PARTS_KEPT + 4], more = {.created_s = now_s, .bytes = 1};
    const int num = (int)(sizeof(ids) / sizeof(ids[0]));
    struct parts_sum sum;

    (void)state;
    for (int i = 0; i < num; i++)
        ids[i] = begin(0, 1, now_s - num + i);
    for (int i = 0; i < num; i++) {
        struct parts parts = opened(&ids[i]);

        end(&parts, "{}");
        parts_close(&parts);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(parts_new_id(&more), 0);
        assert_int_equal(parts_create(&inherited, &more, &head, &loop), 0);
    }
    parts_look(&inherited, 0, 0, now_s, &sum);
    assert_int_equal(sum.ended, num - 3);
    assert_false(is_there(&ids[2]));
    assert_true(is_there(&ids[3]));
    assert_true(anything_is_gone());
    while (waiting != NULL) {
        struct loop_timer *timer = waiting;

        waiting = NULL;
        timer->cb(timer);
    }
    assert_false(anything_is_gone());
    strbuf_deinit(&head);
}

/* An empty file, or one of so many bytes, with a part's name. */
static void leave(const struct parts *parts, unsigned number, off_t size)
{
    char name[PARTS_PART_ID + PARTS_DIGEST + 2];
    int fd;

    snprintf(name, sizeof(name), "part_%032x-%064x", number, number);
    fd = openat(parts->dir, name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_not_equal(fd, -1);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static void other_files_are_listed_with_as_many_parts_as_there_may_be(void **state)
{
    struct parts_id id = begin(0, 1000, clock_unix_s());
    struct parts parts = opened(&id);
    struct parts_list list;
    unsigned i = 0;
    int half = -1;

    (void)state;
    while (i < PARTS_MAX + PARTS_OVER) /* two workers have kept the last one at once */
        leave(&parts, i++, 1);
    half = openat(parts.dir, "tmp-1", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_not_equal(half, -1);
    close(half);
    assert_int_equal(parts_list(&parts, &list), 0);
    assert_int_equal(list.num, PARTS_MAX + PARTS_OVER);
    parts_list_deinit(&list);
    leave(&parts, i, 1);
    assert_int_equal(parts_list(&parts, &list), ERR_LIMIT);
    parts_close(&parts);
}

static void what_lost_its_bytes_is_no_part_and_can_be_dropped(void **state)
{
    struct parts_id id = begin(0, 1000, clock_unix_s());
    struct parts parts = opened(&id);
    struct part part = put(&parts, 'a', 600);
    struct parts_list list;

    (void)state;
    leave(&parts, 1, 0);
    assert_int_equal(parts_list(&parts, &list), 0);
    assert_int_equal(list.num, 1);
    assert_int_equal(list.bytes, 600);
    parts_list_deinit(&list);
    parts_drop(&parts, &part);
    assert_int_equal(parts_of(&parts), 0);
    parts_close(&parts);
}

static void somebody_elses_folder_is_not_used(void **state)
{
    struct parts_id id = begin(0, 10, clock_unix_s());
    struct strbuf path = STRBUF_INIT, head = STRBUF_INIT;

    (void)state;
    strbuf_addf(&path, "%s/tranche-%u-%s-%d.uploads", dir, (unsigned)geteuid(), config.host,
                config.port);
    assert_int_equal(chmod(strbuf_str(&path), 0777), 0);
    assert_int_equal(parts_create(&inherited, &id, &head, NULL), ERR_IO);
    assert_int_equal(chmod(strbuf_str(&path), 0700), 0);
    strbuf_deinit(&path);
    strbuf_deinit(&head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_tells_its_begin_and_its_bytes),
        cmocka_unit_test_setup_teardown(the_node_is_told_by_its_address, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_open_counts_for_the_key_that_began_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_open_is_reserved_until_it_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_record_is_read_back_and_the_end_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_at_a_time_ends_an_upload, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_waited_for_the_lock_sees_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(equal_parts_are_one_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_are_read_in_the_order_of_the_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_part_that_is_not_kept_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_part_may_use_what_is_reserved_for_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_sweeper_takes_what_is_over_and_nothing_else, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(halves_of_parts_go_when_nobody_writes_them, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_answers_of_few_ended_uploads_are_kept, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(each_create_forgets_another_answer_before_the_files_go,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_files_are_listed_with_as_many_parts_as_there_may_be,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_lost_its_bytes_is_no_part_and_can_be_dropped, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(somebody_elses_folder_is_not_used, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
