/* multipart: what browsers, curl and the SDKs send, what nobody should, and that the cut into
 * pieces does not matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "multipart/multipart.h"
#include "exact.h"
#include "common/strbuf.h"

#define TYPE       "multipart/form-data; boundary=abc"
#define HEAD(name) "Content-Disposition: form-data; name=\"" name "\"\r\n\r\n"
#define FILE_HEAD(rest)                                                                            \
    "--abc\r\nContent-Disposition: form-data; name=\"f\"; " rest "\r\n\r\nx\r\n--abc--"

/* Writes down all that the parser says, as `[name|filename|type]data;`. */
struct record {
    struct strbuf text;
    int stop_at; /* the callback of this number returns -77; 0: none does */
    int calls;
};

static int count(struct record *r)
{
    return ++r->calls == r->stop_at ? -77 : 0;
}

static int on_part(void *arg, const struct multipart_part *part)
{
    struct record *r = arg;

    strbuf_addf(&r->text, "[%s|%s|%s]", part->name, part->filename != NULL ? part->filename : "-",
                part->content_type != NULL ? part->content_type : "-");
    return count(r);
}

static int on_data(void *arg, const char *bytes, size_t len)
{
    struct record *r = arg;

    assert_true(len > 0);
    strbuf_add(&r->text, bytes, len);
    return count(r);
}

static int on_part_end(void *arg)
{
    struct record *r = arg;

    strbuf_addc(&r->text, ';');
    return count(r);
}

static const struct multipart_ops ops = {on_part, on_data, on_part_end};

static struct multipart *new_parser(const char *type, const struct multipart_limits *limits,
                                    struct record *r)
{
    struct multipart *mp = NULL;
    const char *why = NULL;

    char *copy = exact_copy(type, strlen(type));

    assert_int_equal(multipart_new(copy, strlen(type), limits, &ops, r, &mp, &why), 0);
    free(copy);
    assert_null(why);
    return mp;
}

/* Feed exact copies of `piece` bytes each, so that the sanitizer sees reads past an end. */
static int feed(struct multipart *mp, const char *body, size_t len, size_t piece)
{
    int err = 0;

    for (size_t at = 0; at < len && err == 0; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        char *copy = malloc(n);

        assert_non_null(copy);
        memcpy(copy, body + at, n);
        err = multipart_feed(mp, copy, n);
        free(copy);
    }
    return err != 0 ? err : multipart_finish(mp);
}

static int parse_piece(const char *body, size_t len, size_t piece, struct strbuf *out)
{
    struct record r = {0};
    struct multipart *mp = new_parser(TYPE, NULL, &r);
    int err = feed(mp, body, len, piece);

    assert_true((err != 0) == (multipart_error(mp, NULL)[0] != '\0'));
    multipart_free(mp);
    *out = r.text;
    return err;
}

static void assert_parses(const char *body, const char *expected)
{
    static const size_t pieces[] = {1, 2, 3, 5, 7, 16, 4000, 1 << 20};
    struct strbuf out;

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        assert_int_equal(parse_piece(body, strlen(body), pieces[i], &out), 0);
        assert_string_equal(strbuf_str(&out), expected);
        strbuf_deinit(&out);
    }
}

static void assert_refused(const char *body, int code, const char *word)
{
    for (size_t piece = 1; piece < 40; piece += 6) {
        struct record r = {0};
        struct multipart *mp = new_parser(TYPE, NULL, &r);
        int err = feed(mp, body, strlen(body), piece);

        if (err != code || strstr(multipart_error(mp, NULL), word) == NULL)
            fail_msg("%s: %d %s", body, err, multipart_error(mp, NULL));
        assert_int_equal(multipart_feed(mp, "x", 1), code);
        assert_int_equal(multipart_finish(mp), code);
        multipart_free(mp);
        strbuf_deinit(&r.text);
    }
}

static void assert_filename(const char *rest, const char *expected)
{
    struct strbuf body = STRBUF_INIT, text = STRBUF_INIT;

    strbuf_addf(&body, FILE_HEAD("%s"), rest);
    strbuf_addf(&text, "[f|%s|-]x;", expected);
    assert_parses(strbuf_str(&body), strbuf_str(&text));
    strbuf_deinit(&body);
    strbuf_deinit(&text);
}

static void an_sdk_upload_is_read_field_by_field(void **state)
{
    (void)state;
    assert_parses(
        "--abc\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n"
        "--abc\r\nContent-Disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n"
        "Content-Type: application/octet-stream\r\n\r\n{}\n{}\n\r\n--abc--\r\n",
        "[purpose|-|-]batch;[file|in.jsonl|application/octet-stream]{}\n{}\n;");
}

static void preamble_epilogue_and_blanks_after_a_boundary_are_skipped(void **state)
{
    (void)state;
    assert_parses(
        "hello\r\nthere\r\n--abc \t \r\n" HEAD("a") "1\r\n--abc--\r\n--abc\r\nnoise\r\n--abc",
        "[a|-|-]1;");
    assert_parses("--abc\r\n" HEAD("a") "1\r\n--abc-- junk", "[a|-|-]1;");
    assert_parses("\r\n--abc\r\n" HEAD("a") "1\r\n--abc--", "[a|-|-]1;");
}

static void a_part_may_be_empty(void **state)
{
    (void)state;
    assert_parses("--abc\r\n" HEAD("a") "\r\n--abc\r\n" HEAD("b") "\r\n--abc--",
                  "[a|-|-];[b|-|-];");
    assert_parses("--abc\r\n" HEAD("a") "--abc\r\n" HEAD("b") "--abc--", "[a|-|-];[b|-|-];");
    assert_parses("--abc--", "");
}

static void what_only_resembles_a_boundary_is_data(void **state)
{
    static const char *const data[] = {"\r\n--ab",
                                       "\r\n--abd",
                                       "\r\n--abcd",
                                       "\r\n--abc-x",
                                       "\r\n--abc \t.",
                                       "\r\n--abc  \rx",
                                       "\r\n--abc\rx",
                                       "\n--abc\n",
                                       "\r\r\n--ab",
                                       "\r\n-\r\n--\r\n",
                                       "--abcx",
                                       "--ab\r\n",
                                       "\r",
                                       "\r\n",
                                       "-",
                                       "--",
                                       "\r\n--abc \r\r\n--ab",
                                       "\r\n\r\n--abc-\r\n--abc-\r"};
    struct strbuf body = STRBUF_INIT, text = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++) {
        strbuf_reset(&body);
        strbuf_reset(&text);
        strbuf_addf(&body, "--abc\r\n" HEAD("a") "%s\r\n--abc--", data[i]);
        strbuf_addf(&text, "[a|-|-]%s;", data[i]);
        assert_parses(strbuf_str(&body), strbuf_str(&text));
    }
    strbuf_deinit(&body);
    strbuf_deinit(&text);
}

static void names_are_decoded_as_browsers_and_curl_write_them(void **state)
{
    (void)state;
    assert_filename("filename=\"a\\\"b\\\\c.txt\"", "c.txt");
    assert_filename("filename=\"a\\\"b.txt\"", "a\"b.txt");
    assert_filename("filename=\"a%22b%0d%0A.txt\"", "a\"b.txt");
    assert_refused("--abc\r\n" HEAD("pur%0apose") "1\r\n--abc--", ERR_SYNTAX, "line end");
    assert_refused("--abc\r\n" HEAD("purpose%0D") "1\r\n--abc--", ERR_SYNTAX, "line end");
    assert_filename("filename=\"100%25 %zz.txt\"", "100%25 %zz.txt");
    assert_filename("filename=plain.jsonl", "plain.jsonl");
    assert_filename("filename=\"\"", "");
    assert_filename("filename = \"a;b=c.txt\" ;", "a;b=c.txt");
    assert_filename("FileName=\"\xc3\xa4.txt\"", "\xc3\xa4.txt");
    assert_parses("--abc\r\n" HEAD("expires_after[anchor]") "1\r\n--abc--",
                  "[expires_after[anchor]|-|-]1;");
}

static void the_extended_file_name_wins(void **state)
{
    (void)state;
    assert_filename("filename=\"x.txt\"; filename*=UTF-8''na%C3%AFve%20file.txt",
                    "na\xc3\xafve file.txt");
    assert_filename("filename*=utf-8'de'%E2%82%AC.txt; filename=\"x.txt\"", "\xe2\x82\xac.txt");
    assert_filename("filename*=iso-8859-1''%e9t%E9.txt", "\xc3\xa9t\xc3\xa9.txt");
    assert_filename("filename*=\"UTF-8''q.txt\"", "q.txt");
    assert_filename("filename*=UTF-8''..%2F..%5Cetc%2Fpasswd", "passwd");
    assert_refused(FILE_HEAD("filename*=UTF-8''%zz"), ERR_SYNTAX, "filename*");
    assert_refused(FILE_HEAD("filename*=koi8-r''a"), ERR_SYNTAX, "filename*");
    assert_refused(FILE_HEAD("filename*=a.txt"), ERR_SYNTAX, "filename*");
}

static void only_a_clean_base_name_is_left_of_a_path(void **state)
{
    (void)state;
    assert_filename("filename=\"C:\\dir\\in.jsonl\"", "in.jsonl");
    assert_filename("filename=\"/etc/../in.jsonl\"", "in.jsonl");
    assert_filename("filename=\"a/b\\c/\"", "");
    assert_filename("filename=\"..\"", "");
    assert_filename("filename=\"x/.\"", "");
    assert_filename("filename=\"..a\"", "..a");
    assert_filename("filename*=UTF-8''a%00b%1f%7F%C2%85c", "abc");
    assert_filename("filename=\"a\xff\xe2\x82z\"", "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
}

static void a_head_may_be_folded_and_in_any_letter_case(void **state)
{
    (void)state;
    assert_parses(
        "--abc\r\nX-Other: 1\r\ncontent-TYPE:text/plain \r\nCONTENT-disposition: Form-Data;\r\n"
        "\tname=\"a\"\r\nContent-Transfer-Encoding: Binary\r\n\r\n1\r\n--abc--",
        "[a|-|text/plain]1;");
}

/* A name that is the beginning of one that counts, and values of blanks only. */
static void other_lines_of_a_head_are_left_alone(void **state)
{
    (void)state;
    assert_parses("--abc\r\nContent: x\r\nContent-T: base64\r\nContent-Disposition: form-data; "
                  "name=\"a\"\r\nX: \t \r\nContent-Type:  \r\n\r\n1\r\n--abc--",
                  "[a|-|]1;");
}

static void a_part_may_have_an_empty_name(void **state)
{
    (void)state;
    assert_parses("--abc\r\n" HEAD("") "1\r\n--abc--", "[|-|-]1;");
}

/* A CR long before the end of a piece begins no delimiter. */
static void a_cr_in_long_data_is_data(void **state)
{
    enum { LEN = 5000 };
    static char body[LEN + 200], expected[LEN + 200], data[LEN + 1];

    (void)state;
    for (size_t at = 0; at < LEN; at += 457) {
        memset(data, 'x', LEN);
        data[at] = '\r';
        snprintf(body, sizeof(body), "--abc\r\n" HEAD("a") "%s\r\n--abc--", data);
        snprintf(expected, sizeof(expected), "[a|-|-]%s;", data);
        assert_parses(body, expected);
    }
    snprintf(body, sizeof(body), "\r%s\r\n--abc--", data); /* in front of the first part */
    assert_parses(body, "");
}

static void heads_that_break_the_rules_are_refused(void **state)
{
    static const char *const heads[] = {
        "\r\n",
        "Content-Type: text/plain\r\n\r\n",
        "Content-Disposition: attachment; name=\"a\"\r\n\r\n",
        "Content-Disposition: form-data\r\n\r\n",
        "Content-Disposition: form-data; filename=\"a\"\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\"; name=\"b\"\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\"; filename=\"b\"; FILENAME=\"c\"\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\" x\r\n\r\n",
        "Content-Disposition: form-data; name=\r\n\r\n",
        "Content-Disposition: form-data; =a\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Disposition: form-data; "
        "name=\"b\"\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Type: a/b\r\nContent-Type: "
        "a/b\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: "
        "quoted-printable\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\"\n\n",
        "Content-Disposition: form-data; name=\"a\"\r\n\n",
        "Content-Disposition: form-data; name=\"a\"\r\r\n\r\n",
        "Content-Disposition: form-data; na\rme=\"a\"\r\n\r\n",
        "Content-Disposition: form-data; name=\"a\001\"\r\n\r\n",
        "Content-Disposition : form-data; name=\"a\"\r\n\r\n",
        " Content-Disposition: form-data; name=\"a\"\r\n\r\n",
        "no colon here\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n",
        "a\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n",
    };
    struct strbuf body = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        strbuf_reset(&body);
        strbuf_addf(&body, "--abc\r\n%sx\r\n--abc--", heads[i]);
        assert_refused(strbuf_str(&body), ERR_SYNTAX, "");
    }
    strbuf_deinit(&body);
    assert_refused("--abc\r\n\r\nx\r\n--abc--", ERR_SYNTAX, "no Content-Disposition");
    assert_refused("--abc\n" HEAD("a") "1\r\n--abc--", ERR_SYNTAX, "LF");
}

static void a_nul_in_a_head_is_refused(void **state)
{
    static const char body[] =
        "--abc\r\nContent-Disposition: form-data; name=\"a\0b\"\r\n\r\nx\r\n--abc--";
    struct strbuf out;

    (void)state;
    assert_int_equal(parse_piece(body, sizeof(body) - 1, 9, &out), ERR_SYNTAX);
    strbuf_deinit(&out);
}

static void a_body_without_its_end_is_refused(void **state)
{
    (void)state;
    assert_refused("--abc\r\n" HEAD("a") "1\r\n--abc-", ERR_SYNTAX, "closing boundary");
    assert_refused("--abc\r\n" HEAD("a") "1\r\n--abc", ERR_SYNTAX, "closing boundary");
    assert_refused("--abc\r\n" HEAD("a") "1", ERR_SYNTAX, "closing boundary");
    assert_refused("--abc\r\nContent-", ERR_SYNTAX, "closing boundary");
    assert_refused("--xyz\r\n" HEAD("a") "1\r\n--xyz--", ERR_SYNTAX, "does not appear");
    assert_refused("x", ERR_SYNTAX, "does not appear");
}

static void limits_stop_heads_names_parts_and_padding(void **state)
{
    const struct multipart_limits limits = {
        .max_parts = 2, .max_head_bytes = 64, .max_name_bytes = 4};
    static const char *const bodies[] = {
        "--abc\r\n" HEAD("a") "\r\n--abc\r\n" HEAD("b") "\r\n--abc\r\n" HEAD("c") "\r\n--abc--",
        "--abc\r\n" HEAD("a2345678901234567890") "\r\n--abc--",
        "--abc\r\n" HEAD("a2345") "\r\n--abc--",
        "--abc\r\nContent-Disposition: form-data; name=a; filename=a2345\r\n\r\n\r\n--abc--",
        "--abc                                                                         \r\n" HEAD(
            "a"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        for (size_t piece = 1; piece < 200; piece += 11) {
            struct record r = {0};
            struct multipart *mp = new_parser(TYPE, &limits, &r);

            assert_int_equal(feed(mp, bodies[i], strlen(bodies[i]), piece), ERR_LIMIT);
            multipart_free(mp);
            strbuf_deinit(&r.text);
        }
    }
}

/* However it is cut, whole included: a head of exactly the limit passes, one byte more does not. */
static void a_head_over_its_limit_is_refused_in_one_piece_too(void **state)
{
    static const char head[] =
        "Content-Disposition: form-data; name=\"a\"\r\nX: 0123456789\r\n\r\n";
    char body[300];

    (void)state;
    snprintf(body, sizeof(body), "--abc\r\n%sdata\r\n--abc--", head);
    for (size_t limit = 1; limit <= sizeof(head) + 1; limit++) {
        const struct multipart_limits limits = {.max_head_bytes = limit};

        for (size_t piece = 1; piece < sizeof(body); piece = piece * 2 + 1) {
            struct record r = {0};
            struct multipart *mp = new_parser(TYPE, &limits, &r);
            int err = feed(mp, body, strlen(body), piece);

            if (err != (limit < sizeof(head) - 1 ? ERR_LIMIT : 0))
                fail_msg("limit %zu, pieces of %zu: %d", limit, piece, err);
            multipart_free(mp);
            strbuf_deinit(&r.text);
        }
    }
}

static void an_error_names_the_byte_whatever_the_pieces(void **state)
{
    static const char body[] = "--abc\r\n" HEAD("a") "1\r\n--abc\r\nbad\r\n\r\n";
    uint64_t offset = 0;

    (void)state;
    for (size_t piece = 1; piece < sizeof(body); piece++) {
        struct record r = {0};
        struct multipart *mp = new_parser(TYPE, NULL, &r);

        assert_int_equal(feed(mp, body, strlen(body), piece), ERR_SYNTAX);
        multipart_error(mp, &offset);
        assert_int_equal(offset, strstr(body, "bad") - body);
        multipart_free(mp);
        strbuf_deinit(&r.text);
    }
}

static void a_callback_that_fails_stops_the_parser_for_good(void **state)
{
    static const char body[] =
        "--abc\r\n" HEAD("a") "1\r\n--abx\r\n--abc\r\n" HEAD("b") "2\r\n--abc--";

    (void)state;
    for (int stop_at = 1; stop_at <= 6; stop_at++) {
        struct record r = {.stop_at = stop_at};
        struct multipart *mp = new_parser(TYPE, NULL, &r);

        assert_int_equal(feed(mp, body, strlen(body), 64), -77);
        assert_int_equal(multipart_feed(mp, "x", 1), -77);
        assert_int_equal(multipart_finish(mp), -77);
        assert_int_equal(r.calls, stop_at);
        multipart_free(mp);
        strbuf_deinit(&r.text);
    }
}

static void any_legal_boundary_is_taken_from_the_content_type(void **state)
{
    static const char *const types[][2] = {
        {"multipart/form-data; boundary=abc", "abc"},
        {"Multipart/Form-Data;charset=utf-8;BOUNDARY=\"a b:c\"", "a b:c"},
        {"multipart/form-data; boundary=----=_Part/1,2;", "----=_Part/1,2"},
        {"multipart/form-data; boundary=\"'()+_,-./:=?\"; x=\"\\\"\"", "'()+_,-./:=?"},
        {"multipart/form-data; "
         "boundary=0123456789012345678901234567890123456789012345678901234567890123456789",
         "0123456789012345678901234567890123456789012345678901234567890123456789"},
        {"multipart/form-data; boundary=-", "-"},
    };
    struct strbuf body = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct record r = {0};
        struct multipart *mp = new_parser(types[i][0], NULL, &r);

        strbuf_reset(&body);
        strbuf_addf(&body, "--%s\r\n" HEAD("a") "1\r\n--%s--\r\n", types[i][1], types[i][1]);
        assert_int_equal(feed(mp, body.data, body.len, 4), 0);
        assert_string_equal(strbuf_str(&r.text), "[a|-|-]1;");
        multipart_free(mp);
        strbuf_deinit(&r.text);
    }
    strbuf_deinit(&body);
}

static void other_content_types_and_broken_boundaries_are_refused(void **state)
{
    static const char *const types[] = {
        "",
        "multipart/form-data",
        "multipart/form-data;",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=\"a ",
        "multipart/form-data; boundary=\"a \"",
        "multipart/form-data; boundary=a; boundary=b",
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary=\"a\\\"b\"",
        "multipart/form-data; boundary=a\r\nb",
        "multipart/form-data; boundary=\xc3\xa4",
        ("multipart/form-data; "
         "boundary=01234567890123456789012345678901234567890123456789012345678901234567890"),
        "multipart/mixed; boundary=a",
        "multipart/form-dataX; boundary=a",
        "application/json",
        "multipart/form-data ",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary ",
        "multipart/form-data; boundary= ",
        "multipart/form-data; boundary=\"abc",
        "multipart/form-data; boundary=\"abc\\",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        struct multipart *mp = (struct multipart *)&mp;
        const char *why = NULL;
        char *type = exact_copy(types[i], strlen(types[i]));

        assert_int_equal(multipart_new(type, strlen(types[i]), NULL, &ops, NULL, &mp, &why),
                         ERR_INVALID);
        free(type);
        assert_null(mp);
        assert_non_null(why);
    }
}

/* Cheap and repeatable. */
static uint64_t seed = 88172645463325252u;

static size_t draw(size_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (size_t)(seed >> 33) % below;
}

static void random_data_arrives_unchanged_in_random_pieces(void **state)
{
    static const char *const bits[] = {"\r", "\n",  "\r\n",   "-",        "--", "a",
                                       "ab", "abd", "\r\n--", "\r\n--ab", " ",  "\t"};

    (void)state;
    for (int round = 0; round < 3000; round++) {
        struct strbuf body = STRBUF_INIT, expected = STRBUF_INIT;
        struct record r = {0};
        struct multipart *mp = new_parser(TYPE, NULL, &r);
        size_t data_at, at = 0;
        int err = 0;

        strbuf_adds(&body, "--abc\r\n" HEAD("a") "!");
        data_at = body.len - 1;
        for (size_t n = draw(60); n > 0; n--)
            strbuf_adds(&body, bits[draw(sizeof(bits) / sizeof(bits[0]))]);
        strbuf_adds(&expected, "[a|-|-]");
        strbuf_add(&expected, body.data + data_at, body.len - data_at);
        strbuf_addc(&expected, ';');
        strbuf_adds(&body, "\r\n--abc--");
        while (at < body.len && err == 0) {
            size_t n = 1 + draw(20);

            n = n < body.len - at ? n : body.len - at;
            err = multipart_feed(mp, body.data + at, n);
            at += n;
        }
        assert_int_equal(err, 0);
        assert_int_equal(multipart_finish(mp), 0);
        assert_int_equal(r.text.len, expected.len);
        assert_memory_equal(r.text.data, expected.data, expected.len);
        multipart_free(mp);
        strbuf_deinit(&r.text);
        strbuf_deinit(&body);
        strbuf_deinit(&expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_sdk_upload_is_read_field_by_field),
        cmocka_unit_test(preamble_epilogue_and_blanks_after_a_boundary_are_skipped),
        cmocka_unit_test(a_part_may_be_empty),
        cmocka_unit_test(what_only_resembles_a_boundary_is_data),
        cmocka_unit_test(names_are_decoded_as_browsers_and_curl_write_them),
        cmocka_unit_test(the_extended_file_name_wins),
        cmocka_unit_test(only_a_clean_base_name_is_left_of_a_path),
        cmocka_unit_test(a_head_may_be_folded_and_in_any_letter_case),
        cmocka_unit_test(other_lines_of_a_head_are_left_alone),
        cmocka_unit_test(a_part_may_have_an_empty_name),
        cmocka_unit_test(a_cr_in_long_data_is_data),
        cmocka_unit_test(heads_that_break_the_rules_are_refused),
        cmocka_unit_test(a_nul_in_a_head_is_refused),
        cmocka_unit_test(a_body_without_its_end_is_refused),
        cmocka_unit_test(limits_stop_heads_names_parts_and_padding),
        cmocka_unit_test(a_head_over_its_limit_is_refused_in_one_piece_too),
        cmocka_unit_test(an_error_names_the_byte_whatever_the_pieces),
        cmocka_unit_test(a_callback_that_fails_stops_the_parser_for_good),
        cmocka_unit_test(any_legal_boundary_is_taken_from_the_content_type),
        cmocka_unit_test(other_content_types_and_broken_boundaries_are_refused),
        cmocka_unit_test(random_data_arrives_unchanged_in_random_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
