/* Where an answer ends, and what is none: each text is read whole, and byte by byte, from memory of
 * exactly its size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "upstream/answer.h"
#include "exact.h"

#define MAX_HEAD 1000

struct reading {
    struct head head;
    struct answer answer;
    struct strbuf body;
    enum answer_step end; /* ANSWER_MORE: it has none yet */
    int heads;
    size_t left; /* bytes that were not taken */
};

static void reading_init(struct reading *r)
{
    memset(r, 0, sizeof(*r));
    head_reset(&r->head, 0);
    answer_init(&r->answer, &r->head, MAX_HEAD);
}

static void reading_deinit(struct reading *r)
{
    answer_deinit(&r->answer);
    head_deinit(&r->head);
    strbuf_deinit(&r->body);
}

/* @return false: there is an end */
static bool read_piece(struct reading *r, const char *bytes, size_t len)
{
    char *copy = exact_copy(bytes, len);
    const char *at = copy;
    enum answer_step step;

    while ((step = answer_next(&r->answer, &at, &len)) == ANSWER_HEAD || step == ANSWER_DATA) {
        r->heads += step == ANSWER_HEAD;
        if (step == ANSWER_DATA)
            strbuf_add(&r->body, r->answer.piece, r->answer.piece_len);
    }
    r->end = step;
    r->left = len;
    free(copy);
    return step == ANSWER_MORE;
}

static void read_text(struct reading *r, const char *text, size_t len, size_t most)
{
    bool goes_on = true;

    reading_init(r);
    for (size_t at = 0, n; goes_on && at < len; at += n) {
        n = len - at < most ? len - at : most;
        goes_on = read_piece(r, text + at, n);
        if (!goes_on)
            r->left += len - at - n;
    }
}

/* Cut in pieces of each of some sizes it says the same. */
static struct reading *read_any(const char *text)
{
    static const size_t sizes[] = {1, 2, 3, 7, 50};
    static struct reading whole;
    size_t len = strlen(text);

    reading_deinit(&whole);
    read_text(&whole, text, len, len);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct reading cut;

        read_text(&cut, text, len, sizes[i]);
        if (cut.end != whole.end || cut.left != whole.left || cut.heads != whole.heads ||
            strcmp(strbuf_str(&cut.body), strbuf_str(&whole.body)) != 0 ||
            cut.answer.last != whole.answer.last || cut.head.num != whole.head.num)
            fail_msg("in pieces of %zu bytes it says something else: %s", sizes[i], text);
        reading_deinit(&cut);
    }
    return &whole;
}

static void assert_answer(const char *text, int status, const char *body, bool last)
{
    struct reading *r = read_any(text);

    if (r->end != ANSWER_END || r->left != 0 || r->heads != 1)
        fail_msg("end %d (%s), %zu bytes left: %s", r->end, r->answer.why, r->left, text);
    assert_int_equal(r->head.status, status);
    assert_string_equal(strbuf_str(&r->body), body);
    assert_int_equal(r->answer.last, last);
}

static void assert_broken(const char *text, const char *why)
{
    struct reading *r = read_any(text);

    if (r->end != ANSWER_BROKEN || strcmp(r->answer.why, why) != 0)
        fail_msg("end %d (%s) instead of '%s': %s", r->end,
                 r->answer.why != NULL ? r->answer.why : "-", why, text);
}

/* --- answers --- */

static void an_answer_ends_where_its_length_says(void **state)
{
    (void)state;
    assert_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", false);
    assert_answer("HTTP/1.1 404 \r\ncontent-length:0\r\n\r\n", 404, "", false);
    assert_answer("HTTP/1.1 500\r\nContent-Length: \t 2 \t\r\n\r\nno", 500, "no", false);
    assert_answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok",
                  false);
    assert_answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, "ok",
                  true);
    assert_answer("HTTP/1.1 200 OK\r\nConnection: foo,\tCLOSE ,x\r\nContent-Length: 2\r\n\r\nok",
                  200, "ok", true);
    assert_answer("HTTP/1.1 200 OK\r\nConnection: closed, keep-alive\r\nContent-Length: 0\r\n\r\n",
                  200, "", false);
    assert_answer("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200,
                  "ok", true);
}

static void an_answer_ends_behind_its_last_chunk(void **state)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const struct {
        const char *chunks, *body;
    } cases[] = {{"5\r\nhello\r\n0\r\n\r\n", "hello"},
                 {"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"},
                 {"0000A\r\n0123456789\r\n000\r\n\r\n", "0123456789"},
                 {"0000a;x=\"y\"\r\n0123456789\r\n0;z\r\n\r\n", "0123456789"},
                 {"2 \t\r\nok\r\n0\r\n\r\n", "ok"},
                 {"2\r\n\r\n\r\n0\r\nContent-Length: 7\r\n x\r\nT: u\r\n\r\n", "\r\n"},
                 {"0\r\n\r\n", ""}};
    char text[300];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "%s%s", head, cases[i].chunks);
        assert_answer(text, 200, cases[i].body, false);
    }
}

static void an_answer_without_a_body_ends_with_its_head(void **state)
{
    (void)state;
    assert_answer("HTTP/1.1 204 No Content\r\n\r\n", 204, "", false);
    assert_answer("HTTP/1.1 304 Not Modified\r\n\r\n", 304, "", false);
    assert_answer("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", 204, "", false);
    assert_answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, "", true);
    assert_answer("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", 204, "", true);
}

static void interim_answers_are_no_answer(void **state)
{
    (void)state;
    assert_answer("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nConnection: close\r\n\r\n"
                  "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok",
                  201, "ok", false);
    assert_broken("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nraw",
                  "not an HTTP answer to this request");
    assert_broken("HTTP/1.1 103 Hints\r\nContent-Length: 2\r\n\r\nok",
                  "an interim answer with a body");
}

static void without_a_length_an_answer_ends_with_its_connection(void **state)
{
    struct reading *r = read_any("HTTP/1.1 200 OK\r\n\r\nhel");

    (void)state;
    assert_int_equal(r->end, ANSWER_MORE);
    assert_true(r->answer.last);
    assert_int_equal(answer_closed(&r->answer), ANSWER_END);
    assert_string_equal(strbuf_str(&r->body), "hel");
}

static void what_stands_behind_an_answer_is_not_taken(void **state)
{
    struct reading *r = read_any("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200");

    (void)state;
    assert_int_equal(r->end, ANSWER_END);
    assert_int_equal(r->left, 12);
    assert_string_equal(strbuf_str(&r->body), "ok");
    r = read_any("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\r\n");
    assert_int_equal(r->end, ANSWER_END);
    assert_int_equal(r->left, 2);
}

static void lines_that_say_nothing_of_the_end_may_be_malformed(void **state)
{
    struct reading *r =
        read_any("HTTP/1.1 200 OK\r\n folded: first\r\nX-Test: a\x01\r\nb@d: x\r\nnonsense\r\n"
                 "X-Good:  yes \r\n\tgoes on\r\nContent-Length: 0\r\n\r\n");

    (void)state;
    assert_int_equal(r->end, ANSWER_END);
    assert_int_equal(r->head.num, 2);
    assert_int_equal(head_finish(&r->head), 0);
    assert_string_equal(r->head.list[0].name, "x-good");
    assert_string_equal(r->head.list[0].value, "yes");
}

/* --- what is none --- */

static void a_status_line_is_of_http_1_alone(void **state)
{
    static const char *const lines[] = {"HTTP/1.2 200 OK", "HTTP/2 200 OK",
                                        "http/1.1 200 OK", "HTTP/1.1  200 OK",
                                        "HTTP/1.1\t200 O", "HTTP/1.1 2000 OK",
                                        "HTTP/1.1 20 OK",  "HTTP/1.1 2x0 OK",
                                        "HTTP/1.1 099 OK", "HTTP/1.1 200OK",
                                        "HTTP/1.",         "ICY 200 OK",
                                        "<html>",          ""};
    char text[100];

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        snprintf(text, sizeof(text), "%s\r\nContent-Length: 0\r\n\r\n", lines[i]);
        assert_broken(text, "not an HTTP answer to this request");
    }
}

static void a_line_ends_in_cr_lf(void **state)
{
    static const char why[] = "a line that does not end in CR LF";

    (void)state;
    assert_broken("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", why);
    assert_broken("HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", why);
    assert_broken("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n", why);
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", why);
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\n0\r\n\r\n", why);
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", why);
    assert_broken("\n", why);
}

static void a_length_is_one_number(void **state)
{
    static const char bad[] = "contradicting or invalid Content-Length",
                      odd[] = "a length or a transfer coding that cannot be read";
    static const struct {
        const char *lines, *why;
    } cases[] = {
        {"Content-Length: 5\r\nContent-Length: 3", bad},
        {"Content-Length: 5\r\ncontent-length: 05x", bad},
        {"Content-Length: 5, 5", bad},
        {"Content-Length: +5", bad},
        {"Content-Length: -5", bad},
        {"Content-Length: 0x5", bad},
        {"Content-Length:", bad},
        {"Content-Length: 9999999999999999999", bad},
        {"Content-Length : 5", odd},
        {"Content-Length\t: 5", odd},
        {"Content-Length 5", odd},
        {"Content-Length: 5\x01", odd},
        {"Content-Length: 5\r7", odd},
        {"Content-Length: 5\r\n 7", "a folded length or transfer coding"},
        {"Content-Length:\r\n 5", "a folded length or transfer coding"},
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n%s\r\n\r\nhello", cases[i].lines);
        assert_broken(text, cases[i].why);
    }
}

static void a_transfer_coding_is_chunked_alone(void **state)
{
    static const char other[] = "a transfer coding other than chunked alone";

    (void)state;
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", other);
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", other);
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", other);
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"
                  "\r\n\r\n0\r\n\r\n",
                  other);
    assert_broken("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", other);
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
                  "a length or a transfer coding that cannot be read");
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", other);
    assert_broken("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n",
                  "a Content-Length beside a transfer coding");
    assert_broken("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
                  "a Content-Length beside a transfer coding");
}

static void a_chunk_is_as_long_as_its_size(void **state)
{
    static const struct {
        const char *chunks, *why;
    } cases[] = {
        {"2\r\nokk\r\n0\r\n\r\n", "a chunk that is longer than its size"},
        {"2\r\nok\rx\r\n0\r\n\r\n", "a chunk that is longer than its size"},
        {"2\r\nok00\r\n", "a chunk that is longer than its size"},
        {"\r\nok\r\n", "a chunk without a size"},
        {"-2\r\nok\r\n", "a chunk without a size"},
        {" 2\r\nok\r\n", "a chunk without a size"},
        {"0x2\r\nok\r\n", "a chunk's size that cannot be read"},
        {"2g\r\nok\r\n", "a chunk's size that cannot be read"},
        {"2;\x01\r\nok\r\n", "a chunk's size that cannot be read"},
        {"1000000000000000\r\nok\r\n", "a chunk of no size that can be"},
        {"0000000000000002\r\nok\r\n", "a chunk of no size that can be"},
    };
    char text[200];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%s",
                 cases[i].chunks);
        assert_broken(text, cases[i].why);
    }
}

static void a_connection_that_closes_early_leaves_no_answer(void **state)
{
    static const char *const texts[] = {
        "H",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct reading *r = read_any(texts[i]);

        assert_int_equal(r->end, ANSWER_MORE);
        assert_int_equal(answer_closed(&r->answer), ANSWER_BROKEN);
        assert_string_equal(r->answer.why, "closed before the answer was complete");
    }
}

/* --- caps --- */

static void fill(struct strbuf *text, size_t len)
{
    while (text->len < len)
        strbuf_addc(text, 'x');
}

/* The head has exactly so many bytes, all of its lines together. */
static enum answer_step end_of_head(size_t len, bool cut)
{
    struct strbuf text = STRBUF_INIT;
    struct reading r;
    enum answer_step end;

    strbuf_adds(&text, "HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ");
    fill(&text, len - 4);
    strbuf_adds(&text, "\r\n\r\n");
    read_text(&r, text.data, text.len, cut ? 1 : text.len);
    end = r.end;
    reading_deinit(&r);
    strbuf_deinit(&text);
    return end;
}

static void heads_have_a_cap_together(void **state)
{
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        assert_int_equal(end_of_head(MAX_HEAD, cut), ANSWER_END);
        assert_int_equal(end_of_head(MAX_HEAD + 1, cut), ANSWER_TOO_LARGE);
    }
}

static void a_line_without_an_end_meets_the_cap(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct reading r;

    (void)state;
    fill(&text, MAX_HEAD + 1);
    for (size_t most = 1; most <= text.len; most = most * 7) {
        read_text(&r, text.data, text.len, most);
        assert_int_equal(r.end, ANSWER_TOO_LARGE);
        reading_deinit(&r);
    }
    strbuf_deinit(&text);
}

static void trailers_and_chunk_lines_have_caps_too(void **state)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct strbuf text = STRBUF_INIT;
    struct reading r;

    (void)state;
    strbuf_addf(&text, "%s2;", head);
    fill(&text, text.len + 300);
    strbuf_adds(&text, "\r\nok\r\n0\r\n\r\n");
    read_text(&r, text.data, text.len, text.len);
    assert_int_equal(r.end, ANSWER_BROKEN);
    reading_deinit(&r);
    strbuf_reset(&text);
    strbuf_addf(&text, "%s0\r\n", head);
    for (int i = 0; i < 100; i++)
        strbuf_adds(&text, "X-Trailer: t\r\n");
    strbuf_adds(&text, "\r\n");
    read_text(&r, text.data, text.len, 13);
    assert_int_equal(r.end, ANSWER_TOO_LARGE);
    reading_deinit(&r);
    strbuf_deinit(&text);
}

static void a_head_of_too_many_lines_is_too_large(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct head head = {0};
    struct answer answer;
    const char *at;
    size_t left;

    (void)state;
    strbuf_adds(&text, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 257; i++)
        strbuf_adds(&text, "a: b\r\n");
    answer_init(&answer, &head, 1 << 20);
    at = text.data;
    left = text.len;
    assert_int_equal(answer_next(&answer, &at, &left), ANSWER_TOO_LARGE);
    assert_string_equal(answer.why, "the head has too many lines");
    answer_deinit(&answer);
    head_deinit(&head);
    strbuf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_ends_where_its_length_says),
        cmocka_unit_test(an_answer_ends_behind_its_last_chunk),
        cmocka_unit_test(an_answer_without_a_body_ends_with_its_head),
        cmocka_unit_test(interim_answers_are_no_answer),
        cmocka_unit_test(without_a_length_an_answer_ends_with_its_connection),
        cmocka_unit_test(what_stands_behind_an_answer_is_not_taken),
        cmocka_unit_test(lines_that_say_nothing_of_the_end_may_be_malformed),
        cmocka_unit_test(a_status_line_is_of_http_1_alone),
        cmocka_unit_test(a_line_ends_in_cr_lf),
        cmocka_unit_test(a_length_is_one_number),
        cmocka_unit_test(a_transfer_coding_is_chunked_alone),
        cmocka_unit_test(a_chunk_is_as_long_as_its_size),
        cmocka_unit_test(a_connection_that_closes_early_leaves_no_answer),
        cmocka_unit_test(heads_have_a_cap_together),
        cmocka_unit_test(a_line_without_an_end_meets_the_cap),
        cmocka_unit_test(trailers_and_chunk_lines_have_caps_too),
        cmocka_unit_test(a_head_of_too_many_lines_is_too_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
