/* What the record of a gateway's end says to the next one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/run_record.h"

#define BOOT   "11111111-2222-3333-4444-555555555555"
#define WINDOW 65000u
#define NOW    UINT64_C(1000000)

static struct run_past judged(const char *text, const char *boot)
{
    struct run_past past;
    char copy[RUN_RECORD_TEXT];

    snprintf(copy, sizeof(copy), "%s", text);
    run_record_judge(copy, boot, WINDOW, NOW, &past);
    return past;
}

static struct run_past line_judged(const char *state, const char *boot, uint64_t window_ms,
                                   uint64_t unsure_ms)
{
    char text[RUN_RECORD_TEXT];

    snprintf(text, sizeof(text),
             "tranche-run 1 %s name=0123456789abcdef boot=%s window_ms=%llu unsure_ms=%llu\n",
             state, boot, (unsigned long long)window_ms, (unsigned long long)unsure_ms);
    return judged(text, BOOT);
}

static void a_clean_end_leaves_nothing_under_way(void **state)
{
    struct run_past past = line_judged("ended", BOOT, WINDOW, 0);

    (void)state;
    assert_true(past.known);
    assert_int_equal(past.unsure_ms, 0);
    assert_int_equal(past.suspect_ms, 0);
    assert_string_equal(past.why, "");
    assert_int_equal(line_judged("ended", "another-boot", WINDOW, 0).unsure_ms, 0);
}

static void who_still_ran_may_have_something_under_way_from_now_on(void **state)
{
    (void)state;
    assert_int_equal(line_judged("running", BOOT, WINDOW, 0).unsure_ms, NOW + WINDOW);
    assert_int_equal(line_judged("running", "another-boot", WINDOW, 0).unsure_ms, NOW + WINDOW);
    assert_string_equal(line_judged("running", BOOT, WINDOW, 0).why, "it did not end cleanly");
}

static void its_own_creates_count_with_the_time_that_they_had(void **state)
{
    (void)state;
    assert_int_equal(line_judged("running", BOOT, 300000, 0).unsure_ms, NOW + 300000);
    assert_int_equal(line_judged("running", BOOT, 10, 0).unsure_ms, NOW + WINDOW);
}

static void creates_of_unknown_outcome_are_waited_for_as_long_as_is_left(void **state)
{
    (void)state;
    assert_int_equal(line_judged("ended", BOOT, WINDOW, NOW + 7).unsure_ms, NOW + 7);
    assert_int_equal(line_judged("ended", BOOT, WINDOW, NOW).unsure_ms, 0);
    assert_int_equal(line_judged("ended", BOOT, WINDOW, NOW - 1).unsure_ms, 0);
    /* a clock that is behind where it was */
    assert_int_equal(line_judged("ended", BOOT, WINDOW, NOW * 1000).unsure_ms, NOW + WINDOW);
}

static void after_a_reboot_nobody_knows_how_much_of_that_is_left(void **state)
{
    struct run_past past;

    (void)state;
    assert_int_equal(line_judged("ended", "another-boot", WINDOW, 7).unsure_ms, NOW + WINDOW);
    past =
        judged("tranche-run 1 ended name=0123456789abcdef boot=unknown window_ms=1 unsure_ms=7\n",
               "unknown");
    assert_int_equal(past.unsure_ms, NOW + WINDOW);
}

static void what_is_no_record_counts_as_a_crash(void **state)
{
    static const char good[] =
        "tranche-run 1 ended name=0123456789abcdef boot=" BOOT " window_ms=65000 unsure_ms=0\n";
    static const char *const texts[] = {
        "",
        "ended",
        "\n",
        "tranche-run 2 ended name=0123456789abcdef boot=x window_ms=1 unsure_ms=0\n",
        "tranche-run 1 ended name=0123456789abcdef boot=x window_ms=1 unsure_ms=0\nmore",
        "tranche-run 1 ended name=0123456789abcdef boot=x window_ms=99999999999 unsure_ms=0\n",
        "tranche-run 1 endedendedendedended name=0123456789abcdef boot=x window_ms=1 unsure_ms=0\n",
    };

    (void)state;
    assert_int_equal(judged(good, BOOT).unsure_ms, 0);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(judged(texts[i], BOOT).unsure_ms, NOW + WINDOW);
    for (size_t len = 0; len + 1 < sizeof(good); len++) { /* cut off anywhere */
        char text[sizeof(good)] = "";

        memcpy(text, good, len);
        assert_int_equal(judged(text, BOOT).unsure_ms, NOW + WINDOW);
    }
}

/* --- files --- */

static char dir[64];

static char *path_in_dir(const char *host, int port)
{
    return run_record_path(dir, host, port);
}

static void each_address_has_a_file_of_its_own(void **state)
{
    char *a = path_in_dir("127.0.0.1", 4000), *b = path_in_dir("127.0.0.1", 4001),
         *c = path_in_dir("::1", 4000), *d = path_in_dir("../x", 4000);

    (void)state;
    assert_string_not_equal(a, b);
    assert_string_not_equal(a, c);
    assert_null(strchr(d + strlen(dir) + 1, '/'));
    free(a);
    free(b);
    free(c);
    free(d);
}

static void a_first_start_has_nothing_before_it_that_is_known(void **state)
{
    struct run_past past;
    struct run_record *record = run_record_begin(path_in_dir("a", 1), WINDOW, NOW, &past);
    struct stat st;

    (void)state;
    assert_non_null(record);
    assert_false(past.known);
    assert_int_equal(past.unsure_ms, 0);
    assert_int_equal(past.suspect_ms, NOW + WINDOW);
    assert_int_equal(stat(record->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    run_record_free(record);
}

static void the_next_start_sees_how_the_one_before_ended(void **state)
{
    struct run_past past;
    struct run_record *record = run_record_begin(path_in_dir("b", 1), WINDOW, NOW, &past);

    (void)state;
    run_record_free(record); /* killed */
    record = run_record_begin(path_in_dir("b", 1), WINDOW, NOW, &past);
    assert_int_equal(past.unsure_ms, NOW + WINDOW);
    assert_int_equal(past.suspect_ms, 0);
    assert_int_equal(run_record_end(record, NOW + 5), 0);
    run_record_free(record);
    record = run_record_begin(path_in_dir("b", 1), WINDOW, NOW, &past);
    assert_int_equal(past.unsure_ms, NOW + 5);
    assert_int_equal(run_record_end(record, 0), 0);
    run_record_free(record);
    record = run_record_begin(path_in_dir("b", 1), WINDOW, NOW, &past);
    assert_int_equal(past.unsure_ms, 0);
    run_record_free(record);
}

static void who_ends_late_leaves_the_record_of_the_next_one_alone(void **state)
{
    struct run_past past;
    struct run_record *old = run_record_begin(path_in_dir("c", 1), WINDOW, NOW, &past);
    struct run_record *new = run_record_begin(path_in_dir("c", 1), WINDOW, NOW, &past);

    (void)state;
    assert_int_equal(run_record_end(old, 0), 0);
    run_record_free(old);
    run_record_free(new);
    new = run_record_begin(path_in_dir("c", 1), WINDOW, NOW, &past);
    assert_int_equal(past.unsure_ms, NOW + WINDOW);
    run_record_free(new);
}

static void a_run_goes_on_until_it_ends_or_another_one_begins_there(void **state)
{
    char *path = path_in_dir("e", 1);
    struct run_past past;
    struct run_record *old = run_record_begin(strdup(path), WINDOW, NOW, &past), *new;

    (void)state;
    assert_true(run_record_goes_on(old));
    new = run_record_begin(strdup(path), WINDOW, NOW, &past);
    assert_false(run_record_goes_on(old));
    assert_true(run_record_goes_on(new));
    assert_int_equal(run_record_end(new, 0), 0);
    assert_false(run_record_goes_on(new));
    run_record_free(new);
    new = run_record_begin(strdup(path), WINDOW, NOW, &past);
    assert_int_equal(unlink(path), 0);
    assert_false(run_record_goes_on(new));
    run_record_free(old);
    run_record_free(new);
    free(path);
}

static void what_is_not_our_own_plain_file_is_not_touched(void **state)
{
    char *path = path_in_dir("d", 1), target[128];
    struct run_past past;
    struct stat st;
    FILE *file;

    (void)state;
    snprintf(target, sizeof(target), "%s/target", dir);
    file = fopen(target, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(symlink(target, path), 0);
    assert_null(run_record_begin(strdup(path), WINDOW, NOW, &past));
    assert_int_equal(past.unsure_ms, NOW + WINDOW);
    assert_non_null(strstr(past.why, "cannot be kept"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(link(target, path), 0); /* a name that somebody else gave it */
    assert_null(run_record_begin(strdup(path), WINDOW, NOW, &past));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_null(run_record_begin(strdup(path), WINDOW, NOW, &past));
    assert_int_equal(unlink(path), 0);
    assert_null(run_record_begin(strdup("/nonexistent/x.run"), WINDOW, NOW, &past));
    assert_int_equal(stat(target, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(unlink(target), 0);
    free(path);
}

static int make_dir(void **state)
{
    const char *tmp = getenv("TMPDIR");

    (void)state;
    snprintf(dir, sizeof(dir), "%s/tranche-runs-XXXXXX",
             tmp != NULL && strlen(tmp) < 30 ? tmp : "/tmp");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int drop_dir(void **state)
{
    static const char *const hosts[] = {"a", "b", "c"};

    (void)state;
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        char *path = path_in_dir(hosts[i], 1);

        (void)unlink(path);
        free(path);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clean_end_leaves_nothing_under_way),
        cmocka_unit_test(who_still_ran_may_have_something_under_way_from_now_on),
        cmocka_unit_test(its_own_creates_count_with_the_time_that_they_had),
        cmocka_unit_test(creates_of_unknown_outcome_are_waited_for_as_long_as_is_left),
        cmocka_unit_test(after_a_reboot_nobody_knows_how_much_of_that_is_left),
        cmocka_unit_test(what_is_no_record_counts_as_a_crash),
        cmocka_unit_test(each_address_has_a_file_of_its_own),
        cmocka_unit_test(a_first_start_has_nothing_before_it_that_is_known),
        cmocka_unit_test(the_next_start_sees_how_the_one_before_ended),
        cmocka_unit_test(who_ends_late_leaves_the_record_of_the_next_one_alone),
        cmocka_unit_test(a_run_goes_on_until_it_ends_or_another_one_begins_there),
        cmocka_unit_test(what_is_not_our_own_plain_file_is_not_touched),
    };

    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
