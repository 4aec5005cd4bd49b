/* The chunked coding, byte by byte: in place, in memory of the exact size, up to each of its bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "front/chunked.h"
#include "exact.h"

/* Decode in pieces of `step` bytes. @return how it ended; the payload is put behind `out` */
static enum chunked_result decode(const char *text, size_t len, size_t step, char *out,
                                  size_t *out_len, size_t *left)
{
    struct chunked c = {0};
    enum chunked_result result = CHUNKED_MORE;
    size_t at = 0;

    *out_len = 0;
    while (at < len && result == CHUNKED_MORE) {
        size_t size = step < len - at ? step : len - at, used, n;
        char *piece = exact_copy(text + at, size);

        result = chunked_decode(&c, piece, size, &used, &n);
        assert_true(used <= size && n <= used);
        memcpy(out + *out_len, piece, n);
        *out_len += n;
        at += used;
        free(piece);
    }
    *left = len - at;
    return result;
}

static enum chunked_result result_of(const char *text)
{
    char out[256];
    size_t len, left;

    return decode(text, strlen(text), strlen(text), out, &len, &left);
}

static void a_body_is_the_same_in_pieces_of_any_size(void **state)
{
    static const char text[] =
        "5\r\nhello\r\n1;x=y\r\n \r\n0a\r\nworld 1234\r\n00\r\nA: b\r\nC:\r\n\r\nGET /";
    char out[256];
    size_t len, left;

    (void)state;
    for (size_t step = 1; step < sizeof(text); step++) {
        assert_int_equal(decode(text, sizeof(text) - 1, step, out, &len, &left), CHUNKED_END);
        assert_int_equal(len, 16);
        assert_memory_equal(out, "hello world 1234", 16);
        assert_int_equal(left, 5); /* of the next request */
    }
}

/* The piece may end before the chunk, with it, or behind it. */
static void no_byte_behind_a_piece_is_taken_for_the_chunk(void **state)
{
    static const char text[] = "10\r\n0123456789abcdef";
    char out[64];
    size_t len, left;

    (void)state;
    for (size_t n = 4; n <= 4 + 16; n++) {
        assert_int_equal(decode(text, n, n, out, &len, &left), CHUNKED_MORE);
        assert_int_equal(len, n - 4);
        assert_memory_equal(out, text + 4, n - 4);
    }
}

static void a_size_has_fifteen_digits_at_most(void **state)
{
    (void)state;
    assert_int_equal(result_of("000000000000001\r\na\r\n0\r\n\r\n"), CHUNKED_END);
    assert_int_equal(result_of("fffffffffffffff\r\na"), CHUNKED_MORE);
    assert_int_equal(result_of("0000000000000001\r\na\r\n0\r\n\r\n"), CHUNKED_BAD);
}

/* `n` times the letter between the two texts. */
static enum chunked_result result_with(const char *before, size_t n, const char *behind)
{
    size_t size = strlen(before) + n + strlen(behind), len, left;
    char *text = malloc(size + 1), *out = malloc(size);
    enum chunked_result result;

    assert_true(text != NULL && out != NULL);
    memcpy(text, before, strlen(before));
    memset(text + strlen(before), 'x', n);
    strcpy(text + strlen(before) + n, behind);
    result = decode(text, size, size, out, &len, &left);
    free(text);
    free(out);
    return result;
}

static void extensions_and_trailers_are_bounded_to_the_byte(void **state)
{
    (void)state;
    assert_int_equal(result_with("1;", CHUNKED_MAX_EXTENSION, "\r\na\r\n0\r\n\r\n"), CHUNKED_END);
    assert_int_equal(result_with("1;", CHUNKED_MAX_EXTENSION + 1, "\r\na\r\n0\r\n\r\n"),
                     CHUNKED_BAD);
    /* of each chunk anew */
    assert_int_equal(result_with("1;abc\r\na\r\n1;", CHUNKED_MAX_EXTENSION, "\r\nb\r\n0\r\n\r\n"),
                     CHUNKED_END);
    assert_int_equal(result_with("0\r\nA:", CHUNKED_MAX_TRAILERS - 5, "\r\n\r\n"), CHUNKED_END);
    assert_int_equal(result_with("0\r\nA:", CHUNKED_MAX_TRAILERS - 4, "\r\n\r\n"), CHUNKED_BAD);
}

static void what_is_no_chunk_is_told_at_its_first_byte(void **state)
{
    static const char *const texts[] = {"\r\n",          "g\r\n",     ";\r\n",      " 1\r\n",
                                        "1 \r\n",        "1\n",       "1\rx",       "1;\n",
                                        "1;\x7f",        "1\r\naX",   "1\r\na\rX",  "0\r\n:x\r\n",
                                        "0\r\nA b:\r\n", "0\r\nA:\n", "0\r\nA:\rx", "0\r\n\rx"};
    char out[64];
    size_t len, left;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (size_t step = 1; step <= strlen(texts[i]); step++)
            if (decode(texts[i], strlen(texts[i]), step, out, &len, &left) != CHUNKED_BAD)
                fail_msg("%s", texts[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_is_the_same_in_pieces_of_any_size),
        cmocka_unit_test(no_byte_behind_a_piece_is_taken_for_the_chunk),
        cmocka_unit_test(a_size_has_fifteen_digits_at_most),
        cmocka_unit_test(extensions_and_trailers_are_bounded_to_the_byte),
        cmocka_unit_test(what_is_no_chunk_is_told_at_its_first_byte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
