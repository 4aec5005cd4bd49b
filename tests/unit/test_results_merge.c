/* A batch's results in the order of its input, out of files in any order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "results/results_merge.h"

#define TEST(name) cmocka_unit_test(name)

static ssize_t read_text(void *arg, char *buf, size_t len, uint64_t offset)
{
    const char *text = arg;
    size_t left = strlen(text) > offset ? strlen(text) - (size_t)offset : 0;

    if (len > left)
        len = left;
    if (len > 3)
        len = 3; /* reads may be short */
    memcpy(buf, text + offset, len);
    return (ssize_t)len;
}

static ssize_t read_nothing(void *arg, char *buf, size_t len, uint64_t offset)
{
    (void)arg;
    (void)buf;
    (void)len;
    (void)offset;
    return -1;
}

#define OUTPUT                                                                                     \
    "{\"custom_id\":\"c\",\"response\":{\"status_code\":200},\"error\":null}\n"                    \
    "{\"custom_id\":\"a\",\"response\":{\"status_code\":200},\"n\":[1, 2] }\n"
#define ERRORS                                                                                     \
    "{\"custom_id\":\"e\",\"response\":{\"status_code\":400}}\n"                                   \
    "{\"custom_id\":\"b\",\"error\":{\"code\":\"batch_expired\"}}"
#define INPUT                                                                                      \
    "{\"custom_id\":\"a\",\"n\":1}\n{\"custom_id\":\"b\"}\r\n\n{\"custom_id\":\"c\"}\n"            \
    "{\"custom_id\":\"\\u0064\\\"\"}\n {\"custom_id\":\"e\"}"

#define A "{\"custom_id\":\"a\",\"response\":{\"status_code\":200},\"n\":[1, 2] }\n"
#define B "{\"custom_id\":\"b\",\"error\":{\"code\":\"batch_expired\"}}\n"
#define C "{\"custom_id\":\"c\",\"response\":{\"status_code\":200},\"error\":null}\n"
#define D                                                                                          \
    "{\"id\":null,\"custom_id\":\"\\u0064\\\"\",\"response\":null,\"error\":{\"code\":"            \
    "\"not_run\",\"message\":\"The batch has no answer to this request.\"}}\n"
#define E "{\"custom_id\":\"e\",\"response\":{\"status_code\":400}}\n"

static struct results_index *index_of(const char *output, const char *errors)
{
    struct results_index *index = results_index_new();

    assert_non_null(index);
    assert_int_equal(results_index_feed(index, output, strlen(output)), 0);
    assert_int_equal(results_index_end_of_file(index), 0);
    assert_int_equal(results_index_feed(index, errors, strlen(errors)), 0);
    assert_int_equal(results_index_end_of_file(index), 0);
    return index;
}

static struct results_spec spec_of(const struct results_index *index, const char *answers,
                                   const char *input)
{
    struct results_spec spec = {.index = index,
                                .read = read_text,
                                .read_arg = (void *)(uintptr_t)answers,
                                .read_input = read_text,
                                .read_input_arg = (void *)(uintptr_t)input,
                                .input_end = strlen(input),
                                .kinds = RESULTS_ALL,
                                .limit = UINT64_MAX};

    results_missing(&spec, "completed");
    return spec;
}

/* All of it, with so much room a turn. */
static enum results_step run(const struct results_spec *spec, size_t room, struct strbuf *out)
{
    struct results_merge *merge = results_merge_new(spec);
    enum results_step step = RESULTS_MORE;

    assert_non_null(merge);
    strbuf_reset(out);
    while (step == RESULTS_MORE) {
        size_t before = out->len;

        step = results_merge_next(merge, out, room);
        assert_true(out->len - before <= room + 300);
    }
    results_merge_free(merge);
    return step;
}

static void assert_merged(const struct results_spec *spec, const char *expected)
{
    static const size_t rooms[] = {1, 2, 17, 65536};
    struct strbuf out = STRBUF_INIT;

    for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
        assert_int_equal(run(spec, rooms[i], &out), RESULTS_DONE);
        assert_string_equal(strbuf_str(&out), expected);
    }
    strbuf_deinit(&out);
}

static void answers_stand_in_the_order_of_the_input(void **state)
{
    struct results_index *index = index_of(OUTPUT, ERRORS);
    struct results_spec spec = spec_of(index, OUTPUT ERRORS, INPUT);

    (void)state;
    assert_merged(&spec, A B C D E);
    results_index_free(index);
}

static void filters_choose_kinds_and_places(void **state)
{
    struct results_index *index = index_of(OUTPUT, ERRORS);
    struct results_spec spec = spec_of(index, OUTPUT ERRORS, INPUT);

    (void)state;
    spec.kinds = RESULTS_OK;
    assert_merged(&spec, A C);
    spec.after = 1;
    assert_merged(&spec, C);
    spec.kinds = RESULTS_ERROR;
    spec.after = 0;
    assert_merged(&spec, B E);
    spec.kinds = RESULTS_MISSING;
    assert_merged(&spec, D);
    spec.kinds = RESULTS_ALL;
    spec.after = 1;
    spec.limit = 2;
    assert_merged(&spec, B C);
    spec.limit = 0;
    assert_merged(&spec, "");
    spec.limit = 1;
    spec.after = 9;
    assert_merged(&spec, "");
    results_index_free(index);
}

static void lines_are_chosen_by_their_ids(void **state)
{
    struct results_index *index = index_of(OUTPUT, ERRORS);
    struct results_spec spec = spec_of(index, OUTPUT ERRORS, INPUT);
    uint64_t hashes[3][2];

    (void)state;
    result_lines_hash(results_index_key(index), "e", 1, hashes[0]);
    result_lines_hash(results_index_key(index), "d\"", 2, hashes[1]);
    result_lines_hash(results_index_key(index), "none", 4, hashes[2]);
    results_ids_sort(hashes, 3);
    spec.ids = (struct results_ids){hashes, 3};
    assert_merged(&spec, D E);
    spec.kinds = RESULTS_RETRYABLE;
    assert_merged(&spec, D);
    spec.ids.num = 0;
    assert_merged(&spec, "");
    results_index_free(index);
}

static void a_request_stands_behind_its_answer(void **state)
{
    struct results_index *index = index_of(OUTPUT, "");
    struct results_spec spec =
        spec_of(index, OUTPUT, "{\"custom_id\":\"a\",\"n\":1}\n{\"custom_id\":\"x\"}\nno json\n");

    (void)state;
    spec.form = RESULTS_BOTH;
    results_missing(&spec, "cancelled");
    assert_merged(
        &spec,
        "{\"custom_id\":\"a\",\"response\":{\"status_code\":200},\"n\":[1, 2] ,\"request\":"
        "{\"custom_id\":\"a\",\"n\":1}}\n"
        "{\"id\":null,\"custom_id\":\"x\",\"response\":null,\"error\":{\"code\":\"batch_"
        "cancelled\","
        "\"message\":\"This request was not run before the batch was cancelled.\"},\"request\":"
        "{\"custom_id\":\"x\"}}\n"
        "{\"id\":null,\"custom_id\":null,\"response\":null,\"error\":{\"code\":\"unreadable\","
        "\"message\":\"The custom_id of this request cannot be read, so its answer is not "
        "known.\"},"
        "\"request\":null}\n");
    results_index_free(index);
}

static void what_can_be_tried_again_has_its_own_bytes(void **state)
{
    struct results_index *index = index_of(OUTPUT, ERRORS);
    struct results_spec spec = spec_of(index, OUTPUT ERRORS, INPUT);

    (void)state;
    spec.form = RESULTS_INPUT;
    spec.kinds = RESULTS_RETRYABLE;
    assert_merged(&spec, "{\"custom_id\":\"b\"}\n{\"custom_id\":\"\\u0064\\\"\"}\n");
    results_index_free(index);
}

/* They may have been run and paid for. */
static void a_line_without_a_readable_id_is_never_tried_again(void **state)
{
    static const char *const odd[] = {"{\"custom_id\":7}\n", "{\"id\":\"b\"}\n", "no json\n",
                                      "{\"custom_id\":\"b\"}}\n", "[]"};
    struct results_index *index = index_of(OUTPUT, ERRORS);
    struct strbuf out = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        static const size_t rooms[] = {1, 17, 65536};
        char input[200];
        struct results_spec spec;

        snprintf(input, sizeof(input), "{\"custom_id\":\"b\"}\n{\"custom_id\":\"e\"}\n%s", odd[i]);
        spec = spec_of(index, OUTPUT ERRORS, input);
        spec.form = RESULTS_INPUT;
        spec.kinds = RESULTS_RETRYABLE;
        for (size_t r = 0; r < sizeof(rooms) / sizeof(rooms[0]); r++) {
            assert_int_equal(run(&spec, rooms[r], &out), RESULTS_UNREADABLE);
            assert_string_equal(strbuf_str(&out), "{\"custom_id\":\"b\"}\n");
        }
        spec.kinds = RESULTS_REFUSED | RESULTS_FAILED;
        assert_merged(&spec, "{\"custom_id\":\"e\"}\n");
    }
    strbuf_deinit(&out);
    results_index_free(index);
}

static void a_line_that_was_answered_with_200_is_never_tried_again(void **state)
{
    static const char output[] =
        "{\"custom_id\":\"a\",\"response\":{\"status_code\":200},\"error\":{\"code\":\"odd\"}}\n"
        "{\"custom_id\":\"b\",\"response\":{\"status_code\":200},"
        "\"error\":{\"code\":\"batch_expired\"}}\n";
    static const char input[] =
        "{\"custom\\u005fid\":\"a\"}\n{\"custom_id\":\"b\"}\n{\"\\u0063ustom_id\":\"c\"}\n";
    struct results_index *index = index_of(output, "");
    struct results_spec spec = spec_of(index, output, input);

    (void)state;
    spec.kinds = RESULTS_ERROR;
    assert_merged(&spec, output);
    spec.form = RESULTS_INPUT;
    assert_merged(&spec, "");
    spec.kinds = RESULTS_ALL;
    assert_merged(&spec, "{\"\\u0063ustom_id\":\"c\"}\n");
    results_index_free(index);
}

static void a_file_that_cannot_be_read_breaks_it(void **state)
{
    struct results_index *index = index_of(OUTPUT, ERRORS);
    struct results_spec spec = spec_of(index, OUTPUT ERRORS, INPUT);
    struct strbuf out = STRBUF_INIT;

    (void)state;
    spec.read = read_nothing;
    assert_int_equal(run(&spec, 65536, &out), RESULTS_BROKEN);
    spec.read = read_text;
    spec.read_input = read_nothing;
    assert_int_equal(run(&spec, 65536, &out), RESULTS_BROKEN);
    spec.read_input = read_text;
    spec.input_end++; /* shorter than it should be */
    assert_int_equal(run(&spec, 65536, &out), RESULTS_BROKEN);
    strbuf_deinit(&out);
    results_index_free(index);
}

/* --- 100,000 lines (D34) --- */

#define LINES 100000

static ssize_t read_file(void *arg, char *buf, size_t len, uint64_t offset)
{
    return pread(fileno(arg), buf, len, (off_t)offset);
}

static FILE *file(void)
{
    FILE *f = tmpfile();

    assert_non_null(f);
    return f;
}

/* The answer to line i: of odd lengths, so that nothing fits by chance. */
static void print_answer(FILE *to, unsigned i)
{
    fprintf(to,
            "{\"id\":\"r%u\",\"custom_id\":\"line-%u\",\"response\":{\"status_code\":%u,"
            "\"body\":{\"text\":\"%.*s\"}},\"error\":null}\n",
            i, i, i % 7 == 0 ? 500 : 200, (int)(i % 97),
            "..............................................................................."
            "..................");
}

/* Output and error files, shuffled, the one behind the other; input and what is expected in order. */
static void write_files(FILE *answers, FILE *input, FILE *expected)
{
    unsigned *order = malloc(LINES * sizeof(*order)), seed = 7;

    assert_non_null(order);
    for (unsigned i = 0; i < LINES; i++) {
        order[i] = i;
        fprintf(input, "{\"custom_id\":\"line-%u\",\"method\":\"POST\"}\n", i);
        print_answer(expected, i);
    }
    for (unsigned i = LINES - 1; i > 0; i--) {
        unsigned j, swap = order[i];

        seed = seed * 1664525 + 1013904223;
        j = seed % (i + 1);
        order[i] = order[j];
        order[j] = swap;
    }
    for (unsigned error = 0; error < 2; error++)
        for (unsigned i = 0; i < LINES; i++)
            if ((order[i] % 7 == 0) == (error != 0))
                print_answer(answers, order[i]);
    free(order);
    assert_true(fflush(answers) == 0 && fflush(input) == 0 && fflush(expected) == 0);
}

static void feed_file(struct results_index *index, FILE *from)
{
    char piece[RESULT_LINES_SLICE];
    uint64_t at = 0;
    ssize_t n;

    while ((n = read_file(from, piece, sizeof(piece), at)) > 0) {
        assert_int_equal(results_index_feed(index, piece, (size_t)n), 0);
        at += (uint64_t)n;
    }
    assert_int_equal(results_index_end_of_file(index), 0);
}

static long resident_kib(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    char text[128] = "";
    char *end = text;

    assert_non_null(f);
    assert_non_null(fgets(text, sizeof(text), f));
    fclose(f);
    (void)strtol(text, &end, 10);
    return strtol(end, NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024);
}

/* @return the most memory that was there meanwhile, KiB */
static long merge_and_compare(const struct results_spec *spec, FILE *expected)
{
    struct results_merge *merge = results_merge_new(spec);
    struct strbuf out = STRBUF_INIT;
    enum results_step step = RESULTS_MORE;
    uint64_t at = 0;
    char right[70000];
    long most = 0;

    while (step == RESULTS_MORE) {
        strbuf_reset(&out);
        step = results_merge_next(merge, &out, 65536);
        assert_true(out.len < sizeof(right));
        assert_int_equal(read_file(expected, right, out.len, at), out.len);
        if (out.len > 0)
            assert_memory_equal(out.data, right, out.len);
        at += out.len;
        most = resident_kib() > most ? resident_kib() : most;
    }
    assert_int_equal(step, RESULTS_DONE);
    assert_int_equal(results_merge_given(merge), LINES);
    assert_int_equal(read_file(expected, right, 1, at), 0);
    strbuf_deinit(&out);
    results_merge_free(merge);
    return most;
}

/* A sanitizer keeps what is freed. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KEEPS_FREED true
#elif defined(__has_feature) /* clang's way to say it */
#define KEEPS_FREED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define KEEPS_FREED false
#endif

static void a_hundred_thousand_shuffled_lines(void **state)
{
    FILE *answers = file(), *input = file(), *expected = file();
    struct results_index *index;
    struct results_spec spec;
    long before, most;

    (void)state;
    write_files(answers, input, expected);
    before = resident_kib();
    index = results_index_new();
    assert_non_null(index);
    feed_file(index, answers);
    spec = spec_of(index, "", "");
    spec.read = spec.read_input = read_file;
    spec.read_arg = answers;
    spec.read_input_arg = input;
    fseek(input, 0, SEEK_END);
    spec.input_end = (uint64_t)ftell(input);
    most = merge_and_compare(&spec, expected);
    assert_true(results_index_bytes(index) <= (128u << 10) + 40 * LINES);
    print_message("memory: %ld KiB more, of which the index has %zu\n", most - before,
                  results_index_bytes(index) / 1024);
    if (!KEEPS_FREED)
        assert_true(most - before <= 16 * 1024);
    results_index_free(index);
    fclose(answers);
    fclose(input);
    fclose(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_stand_in_the_order_of_the_input),
        TEST(filters_choose_kinds_and_places),
        TEST(lines_are_chosen_by_their_ids),
        TEST(a_request_stands_behind_its_answer),
        TEST(what_can_be_tried_again_has_its_own_bytes),
        TEST(a_line_without_a_readable_id_is_never_tried_again),
        TEST(a_line_that_was_answered_with_200_is_never_tried_again),
        TEST(a_file_that_cannot_be_read_breaks_it),
        TEST(a_hundred_thousand_shuffled_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
