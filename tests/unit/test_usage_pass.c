/* One pass over an output file: what its lines used, however they are cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/strbuf.h"
#include "usage/batch_usage.h"
#include "usage/pass.h"

#define TEST(name) cmocka_unit_test(name)

#define CHAT(model, usage)                                                                         \
    "{\"id\":\"b1\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"request_id\":\"r\","   \
    "\"body\":{\"id\":\"c\",\"object\":\"chat.completion\",\"model\":\"" model                     \
    "\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\"}}],"      \
    "\"usage\":" usage "}},\"error\":null}\n"
#define USAGE(in, out) "{\"prompt_tokens\":" #in ",\"completion_tokens\":" #out "}"

static struct usage_counts pass_in_pieces(const char *text, size_t piece)
{
    struct usage_pass pass;
    struct usage_counts out;
    size_t len = strlen(text);

    usage_pass_init(&pass);
    for (size_t at = 0; at < len; at += piece)
        usage_pass_feed(&pass, text + at, len - at < piece ? len - at : piece);
    usage_pass_finish(&pass, &out);
    return out;
}

static struct usage_counts passed(const char *text)
{
    struct usage_counts whole = pass_in_pieces(text, SIZE_MAX);

    for (size_t piece = 1; piece < 8; piece++) {
        struct usage_counts cut = pass_in_pieces(text, piece);

        assert_memory_equal(&cut, &whole, sizeof(cut));
    }
    return whole;
}

static void each_line_adds_what_its_usage_says(void **state)
{
    struct usage_counts c =
        passed(CHAT("gpt-4o-2024-08-06",
                    "{\"prompt_tokens\":1000,\"completion_tokens\":200,\"total_tokens\":1200,"
                    "\"prompt_tokens_details\":{\"cached_tokens\":800,\"audio_tokens\":0},"
                    "\"completion_tokens_details\":{\"reasoning_tokens\":150,\"audio_tokens\":7}}")
                   CHAT("gpt-4o-2024-08-06", USAGE(5, 6)));

    (void)state;
    assert_int_equal(c.source, USAGE_OF_OUTPUT);
    assert_int_equal(c.num, 1);
    assert_string_equal(c.of[0].model, "gpt-4o-2024-08-06");
    assert_int_equal(c.of[0].ok, 2);
    assert_int_equal(c.of[0].bad, 0);
    assert_int_equal(c.of[0].unmeasured, 0);
    assert_int_equal(c.of[0].tokens.in, 1005);
    assert_int_equal(c.of[0].tokens.cached, 800);
    assert_int_equal(c.of[0].tokens.out, 206);
    assert_int_equal(c.of[0].reasoning, 150);
    assert_int_equal(c.of[0].tokens.long_in, 0);
}

static void responses_and_embeddings_have_names_of_their_own(void **state)
{
    struct usage_counts c =
        passed(CHAT("o", "{\"input_tokens\":30,\"input_tokens_details\":{\"cached_tokens\":4},"
                         "\"output_tokens\":9,\"output_tokens_details\":{\"reasoning_tokens\":2}}")
                   CHAT("e", "{\"prompt_tokens\":8,\"total_tokens\":8}"));

    (void)state;
    assert_int_equal(c.num, 2);
    assert_int_equal(c.of[0].tokens.in, 30);
    assert_int_equal(c.of[0].tokens.cached, 4);
    assert_int_equal(c.of[0].tokens.out, 9);
    assert_int_equal(c.of[0].reasoning, 2);
    assert_int_equal(c.of[1].tokens.in, 8);
    assert_int_equal(c.of[1].tokens.out, 0);
    assert_int_equal(c.of[1].unmeasured, 0);
}

static void only_lines_with_status_200_use_anything(void **state)
{
    static const char lines[] = "{\"response\":{\"status_code\":400,\"body\":{\"model\":\"m\","
                                "\"usage\":{\"prompt_tokens\":7}}}}\n"
                                "{\"response\":null,\"error\":{\"code\":\"batch_expired\"}}\n"
                                "{\"response\":{\"body\":{\"usage\":{\"prompt_tokens\":7}}}}\n"
                                "{\"response\":{\"status_code\":200,\"body\":{\"model\":\"m\","
                                "\"usage\":{\"prompt_tokens\":1}}}}\n";
    struct usage_counts c = passed(lines);

    (void)state;
    assert_int_equal(c.num, 1);
    assert_int_equal(c.of[0].ok, 1);
    assert_int_equal(c.of[0].bad, 3);
    assert_int_equal(c.of[0].tokens.in, 1);
}

static void a_good_line_without_numbers_is_unmeasured(void **state)
{
    struct usage_counts c =
        passed(CHAT("m", "null") CHAT("m", "{}") CHAT("m", "{\"prompt_tokens\":\"9\"}")
                   CHAT("m", "{\"prompt_tokens\":-9}") CHAT("m", "{\"prompt_tokens\":1.5}")
                       CHAT("m", "{\"prompt_tokens\":1e3}") CHAT("m", "[{\"prompt_tokens\":3}]")
                           CHAT("m", "{\"prompt_tokens\":99999999999999999999}"));

    (void)state;
    assert_int_equal(c.of[0].ok, 8);
    assert_int_equal(c.of[0].unmeasured, 8);
    assert_int_equal(c.of[0].tokens.in, 0);
}

static void what_stands_elsewhere_is_not_looked_at(void **state)
{
    static const char line[] =
        "{\"usage\":{\"prompt_tokens\":9},\"model\":\"x\",\"response\":{"
        "\"usage\":{\"prompt_tokens\":9},\"status_code\":200,\"body\":{"
        "\"a\":{\"usage\":{\"prompt_tokens\":9},\"model\":\"y\"},"
        "\"list\":[{\"model\":\"z\",\"usage\":{\"prompt_tokens\":9}}],"
        "\"text\":\"\\\"usage\\\":{\\\"prompt_tokens\\\":9}\","
        "\"usage\":{\"x\":{\"prompt_tokens\":9},\"prompt_tokens\":1,\"completion_tokens\":2},"
        "\"model\":\"m\"}}}\n";
    struct usage_counts c = passed(line);

    (void)state;
    assert_int_equal(c.num, 1);
    assert_string_equal(c.of[0].model, "m");
    assert_int_equal(c.of[0].tokens.in, 1);
    assert_int_equal(c.of[0].tokens.out, 2);
}

static void of_a_member_that_stands_there_twice_the_last_one_counts(void **state)
{
    static const char line[] =
        "{\"response\":{\"status_code\":200,\"body\":{\"model\":\"a\","
        "\"usage\":{\"prompt_tokens\":9}}},"
        "\"response\":{\"status_code\":200,\"body\":{"
        "\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":8},"
        "\"usage\":{\"prompt_tokens\":1},\"model\":\"b\",\"model\":\"c\"}}}\n";
    struct usage_counts c = passed(line);

    (void)state;
    assert_int_equal(c.num, 1);
    assert_string_equal(c.of[0].model, "c");
    assert_int_equal(c.of[0].tokens.in, 1);
    assert_int_equal(c.of[0].tokens.out, 0);
}

static void lines_that_are_none_count_as_bad_and_hurt_no_other(void **state)
{
    struct usage_counts c = passed("\n\r\n  \n[1]\n{\"a\":\n{\"response\":{\"status_code\":200}]\n"
                                   "\"\\\n{\"a\":1}x\n{\"a\"}\n{,}\n{\"a\":1,}\n"
                                   "{\"a\":\"not closed\n" CHAT("m", USAGE(1, 2)) "{\"half\":");

    (void)state;
    assert_int_equal(c.num, 1);
    assert_int_equal(c.of[0].ok, 1);
    assert_int_equal(c.of[0].tokens.in, 1);
    assert_int_equal(c.of[0].bad, 10);
}

static void the_last_line_needs_no_end(void **state)
{
    struct usage_counts c =
        passed("{\"response\":{\"status_code\":200,\"body\":{\"usage\":" USAGE(3, 4) "}}}");

    (void)state;
    assert_int_equal(c.num, 1);
    assert_string_equal(c.of[0].model, "");
    assert_int_equal(c.of[0].tokens.in, 3);
}

static void an_empty_file_has_used_nothing(void **state)
{
    struct usage_counts c = passed("");

    (void)state;
    assert_int_equal(c.num, 0);
    assert_int_equal(c.source, USAGE_OF_OUTPUT);
}

static void models_have_rows_and_there_is_room_for_all_others_in_one(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct usage_counts c;
    uint64_t ok = 0;

    (void)state;
    for (int i = 0; i < 3 * USAGE_MODELS; i++)
        strbuf_addf(&text,
                    "{\"response\":{\"status_code\":200,\"body\":{\"model\":\"m%d\",\"usage\":"
                    "{\"prompt_tokens\":1}}}}\n",
                    i);
    c = passed(strbuf_str(&text));
    strbuf_deinit(&text);
    assert_int_equal(c.num, USAGE_MODELS);
    assert_string_equal(c.of[0].model, "m0");
    assert_string_equal(c.of[USAGE_MODELS - 1].model, "");
    for (uint32_t i = 0; i < c.num; i++)
        ok += c.of[i].ok;
    assert_int_equal(ok, 3 * USAGE_MODELS);
}

static void a_name_that_cannot_be_printed_or_is_too_long_is_none(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct usage_counts c;
    char name[USAGE_MODEL_BYTES + 1];

    (void)state;
    memset(name, 'n', sizeof(name));
    name[USAGE_MODEL_BYTES] = '\0';
    strbuf_addf(&text,
                "{\"response\":{\"status_code\":200,\"body\":{\"model\":\"%s\",\"usage\":"
                "{\"prompt_tokens\":1}}}}\n" CHAT("a\\u0062", "{\"prompt_tokens\":1}")
                    CHAT("a b", "{\"prompt_tokens\":1}") CHAT("\xc3\xa9", "{\"prompt_tokens\":1}"),
                name);
    name[USAGE_MODEL_BYTES - 1] = '\0';
    strbuf_addf(&text,
                "{\"response\":{\"status_code\":200,\"body\":{\"model\":\"%s\",\"usage\":"
                "{\"prompt_tokens\":1}}}}\n",
                name);
    c = passed(strbuf_str(&text));
    strbuf_deinit(&text);
    assert_int_equal(c.num, 2);
    assert_string_equal(c.of[0].model, "");
    assert_int_equal(c.of[0].ok, 4);
    assert_string_equal(c.of[1].model, name);
}

static void long_requests_are_counted_apart_as_well(void **state)
{
    struct usage_counts c = passed(CHAT("m", USAGE(272000, 10)) CHAT(
        "m", "{\"prompt_tokens\":272001,\"completion_tokens\":20,\"prompt_tokens_details\":"
             "{\"cached_tokens\":7}}"));

    (void)state;
    assert_int_equal(c.of[0].tokens.in, 544001);
    assert_int_equal(c.of[0].tokens.long_in, 272001);
    assert_int_equal(c.of[0].tokens.long_cached, 7);
    assert_int_equal(c.of[0].tokens.long_out, 20);
}

static void depth_without_measure_makes_a_line_a_bad_one(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct usage_counts c;

    (void)state;
    strbuf_adds(&text, "{\"a\":");
    for (int i = 0; i < 100000; i++)
        strbuf_addc(&text, '[');
    strbuf_adds(&text, "\n" CHAT("m", USAGE(1, 1)));
    c = pass_in_pieces(strbuf_str(&text), USAGE_PASS_SLICE);
    strbuf_deinit(&text);
    assert_int_equal(c.of[0].bad, 1);
    assert_int_equal(c.of[0].ok, 1);
}

/* ---- a batch's own words ---- */

static bool read_batch(const char *text, bool tiered, struct usage_counts *out)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    bool good = batch_usage_read(json_parse(doc, text, strlen(text), &error), tiered, out);

    json_doc_free(doc);
    return good;
}

#define BATCH(usage)                                                                               \
    "{\"id\":\"batch_1\",\"model\":\"gpt-5\",\"request_counts\":{\"total\":3,\"completed\":2,"     \
    "\"failed\":1},\"usage\":" usage "}"

static void a_batch_says_itself_what_it_used(void **state)
{
    struct usage_counts c;

    (void)state;
    assert_true(read_batch(
        BATCH("{\"input_tokens\":1000,\"input_tokens_details\":{\"cached_tokens\":800},"
              "\"output_tokens\":200,\"output_tokens_details\":{\"reasoning_tokens\":150},"
              "\"total_tokens\":1200}"),
        true, &c));
    assert_int_equal(c.source, USAGE_OF_BATCH);
    assert_int_equal(c.num, 1);
    assert_string_equal(c.of[0].model, "gpt-5");
    assert_int_equal(c.of[0].ok, 2);
    assert_int_equal(c.of[0].bad, 1);
    assert_int_equal(c.of[0].tokens.in, 1000);
    assert_int_equal(c.of[0].tokens.cached, 800);
    assert_int_equal(c.of[0].tokens.out, 200);
    assert_int_equal(c.of[0].reasoning, 150);
}

static void a_usage_that_is_not_whole_does_not_suffice(void **state)
{
    static const char *const lacking[] = {
        "{}",
        BATCH("null"),
        BATCH("{}"),
        BATCH("{\"input_tokens\":5,\"output_tokens\":5}"),
        BATCH("{\"input_tokens\":5,\"input_tokens_details\":{\"cached_tokens\":0}}"),
        BATCH("{\"input_tokens\":0,\"input_tokens_details\":{\"cached_tokens\":0},"
              "\"output_tokens\":0}"),
        BATCH("{\"input_tokens\":-1,\"input_tokens_details\":{\"cached_tokens\":0},"
              "\"output_tokens\":5}")};
    struct usage_counts c;

    (void)state;
    for (size_t i = 0; i < sizeof(lacking) / sizeof(lacking[0]); i++)
        if (read_batch(lacking[i], false, &c))
            fail_msg("%s suffices", lacking[i]);
}

static void a_sum_does_not_tell_of_long_requests(void **state)
{
    static const char large[] =
        BATCH("{\"input_tokens\":272001,\"input_tokens_details\":{\"cached_tokens\":0},"
              "\"output_tokens\":5}");
    struct usage_counts c;

    (void)state;
    assert_true(read_batch(large, false, &c));
    assert_false(read_batch(large, true, &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_line_adds_what_its_usage_says),
        TEST(responses_and_embeddings_have_names_of_their_own),
        TEST(only_lines_with_status_200_use_anything),
        TEST(a_good_line_without_numbers_is_unmeasured),
        TEST(what_stands_elsewhere_is_not_looked_at),
        TEST(of_a_member_that_stands_there_twice_the_last_one_counts),
        TEST(lines_that_are_none_count_as_bad_and_hurt_no_other),
        TEST(the_last_line_needs_no_end),
        TEST(an_empty_file_has_used_nothing),
        TEST(models_have_rows_and_there_is_room_for_all_others_in_one),
        TEST(a_name_that_cannot_be_printed_or_is_too_long_is_none),
        TEST(long_requests_are_counted_apart_as_well),
        TEST(depth_without_measure_makes_a_line_a_bad_one),
        TEST(a_batch_says_itself_what_it_used),
        TEST(a_usage_that_is_not_whole_does_not_suffice),
        TEST(a_sum_does_not_tell_of_long_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
