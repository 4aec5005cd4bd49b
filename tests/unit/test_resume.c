/* Going on with a file: what is asked for, and what is taken for the rest of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "read/resume.h"

struct answer {
    int status;
    int64_t length;
    const char *etag, *modified, *range, *coding; /* NULL: none */
};

static struct upstream_head head_of(const struct answer *a, struct upstream_header *list)
{
    struct upstream_head head = {.status = a->status, .content_length = a->length, .headers = list};

    if (a->etag != NULL)
        list[head.num_headers++] = (struct upstream_header){"etag", a->etag};
    if (a->modified != NULL)
        list[head.num_headers++] = (struct upstream_header){"last-modified", a->modified};
    if (a->range != NULL)
        list[head.num_headers++] = (struct upstream_header){"content-range", a->range};
    if (a->coding != NULL)
        list[head.num_headers++] = (struct upstream_header){"content-encoding", a->coding};
    return head;
}

static struct resume_mark mark_of(const struct answer *a)
{
    struct upstream_header list[4];
    struct upstream_head head = head_of(a, list);
    struct resume_mark mark;

    resume_note(&mark, &head);
    return mark;
}

static enum resume_verdict judge(const struct answer *first, const struct answer *later)
{
    struct resume_mark mark = mark_of(first);
    struct upstream_header list[4];
    struct upstream_head head = head_of(later, list);

    return resume_judge(&mark, &head, 100);
}

static void the_rest_of_the_same_file_is_taken(void **state)
{
    const struct answer plain = {200, 1000}, tagged = {200, 1000, "\"a\""},
                        chunked = {200, -1, "\"a\""},
                        part = {206, 500, NULL, NULL, "bytes 50-549/1000"};

    (void)state;
    assert_int_equal(judge(&plain, &(struct answer){206, 900, .range = "bytes 100-999/1000"}),
                     RESUME_REST);
    assert_int_equal(judge(&part, &(struct answer){206, 450, .range = "bytes 100-549/1000"}),
                     RESUME_REST);
    assert_int_equal(
        judge(&tagged, &(struct answer){206, 900, "\"a\"", .range = "bytes 100-999/1000"}),
        RESUME_REST);
    assert_int_equal(
        judge(&chunked, &(struct answer){206, -1, "\"a\"", .range = "bytes 100-999/1000"}),
        RESUME_REST);
    assert_int_equal(judge(&plain, &(struct answer){200, 1000}), RESUME_WHOLE);
    assert_int_equal(judge(&chunked, &(struct answer){200, -1, "\"a\""}), RESUME_WHOLE);
}

static void what_is_not_known_to_be_the_same_is_not(void **state)
{
    const struct answer plain = {200, 1000}, weak = {200, -1, "W/\"a\""},
                        tagged = {200, 1000, "\"a\"", "Sun"}, nothing = {200, -1};

    (void)state;
    assert_int_equal(judge(&plain, &(struct answer){206, 900, .range = "bytes 100-999/1001"}),
                     RESUME_OTHER);
    assert_int_equal(judge(&plain, &(struct answer){206, 900, .range = "bytes 101-999/1000"}),
                     RESUME_OTHER);
    assert_int_equal(judge(&plain, &(struct answer){206, 900, .range = "bytes 100-999/*"}),
                     RESUME_OTHER);
    assert_int_equal(judge(&plain, &(struct answer){206, 900}), RESUME_OTHER);
    assert_int_equal(judge(&plain, &(struct answer){200, 999}), RESUME_OTHER);
    assert_int_equal(judge(&plain, &(struct answer){200, -1}), RESUME_OTHER);
    assert_int_equal(judge(&plain, &(struct answer){200, 1000, .coding = "gzip"}), RESUME_OTHER);
    assert_int_equal(judge(&tagged, &(struct answer){200, 1000, "\"b\""}), RESUME_OTHER);
    assert_int_equal(judge(&tagged, &(struct answer){200, 1000, "\"a\"", "Mon"}), RESUME_OTHER);
    assert_int_equal(judge(&weak, &(struct answer){200, -1, "W/\"a\""}), RESUME_OTHER);
    assert_int_equal(judge(&nothing, &(struct answer){200, -1}), RESUME_OTHER);
}

static void a_file_is_left_only_when_it_could_be_known_again(void **state)
{
    struct resume_mark mark = mark_of(&(struct answer){200, 1000, "W/\"a\""});
    char long_tag[2 * RESUME_VALIDATOR];

    (void)state;
    assert_true(resume_is_possible(&mark));
    assert_null(resume_validator(&mark));
    mark = mark_of(&(struct answer){200, -1, "\"a\""});
    assert_true(resume_is_possible(&mark));
    assert_string_equal(resume_validator(&mark), "\"a\"");
    mark = mark_of(&(struct answer){200, -1, "W/\"a\""});
    assert_false(resume_is_possible(&mark));
    mark = mark_of(&(struct answer){206, 10, .range = "bytes 0-9/*"});
    assert_false(resume_is_possible(&mark));
    mark = mark_of(&(struct answer){206, 10, .range = "bytes 0-9/18446744073709551615"});
    assert_false(resume_is_possible(&mark));
    mark = mark_of(&(struct answer){200, 1000, .coding = "gzip"});
    assert_false(resume_is_possible(&mark));
    memset(long_tag, 'x', sizeof(long_tag));
    long_tag[0] = '"';
    long_tag[RESUME_VALIDATOR] = '\0';
    mark = mark_of(&(struct answer){200, -1, long_tag});
    assert_false(resume_is_possible(&mark));
    long_tag[RESUME_VALIDATOR - 1] = '\0';
    mark = mark_of(&(struct answer){200, -1, long_tag});
    assert_true(resume_is_possible(&mark));
}

static void the_range_names_what_is_missing(void **state)
{
    char text[64];

    (void)state;
    resume_range(100, 1000, text, sizeof(text));
    assert_string_equal(text, "bytes=100-999");
    resume_range(UINT64_MAX - 2, UINT64_MAX - 1, text, sizeof(text));
    assert_string_equal(text, "bytes=18446744073709551613-18446744073709551613");
    resume_range(7, UINT64_MAX, text, sizeof(text));
    assert_string_equal(text, "bytes=7-");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rest_of_the_same_file_is_taken),
        cmocka_unit_test(what_is_not_known_to_be_the_same_is_not),
        cmocka_unit_test(a_file_is_left_only_when_it_could_be_known_again),
        cmocka_unit_test(the_range_names_what_is_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
