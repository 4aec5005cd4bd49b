/* The growing buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/err.h"
#include "common/strbuf.h"

static void pieces_of_all_sizes_add_up(void **state)
{
    struct strbuf sb = STRBUF_INIT;
    size_t want = 0;

    (void)state;
    assert_string_equal(strbuf_str(&sb), "");
    for (size_t n = 0; n < 300; n++) {
        char piece[300];

        memset(piece, 'a' + (int)(n % 26), n);
        strbuf_add(&sb, piece, n);
        want += n;
        assert_int_equal(sb.len, want);
        assert_int_equal(strbuf_str(&sb)[sb.len], '\0');
    }
    assert_int_equal(sb.data[want - 1], 'a' + 299 % 26);
    strbuf_reset(&sb);
    assert_string_equal(strbuf_str(&sb), "");
    strbuf_deinit(&sb);
}

static void text_is_formatted_behind_what_is_there(void **state)
{
    struct strbuf sb = STRBUF_INIT;
    char *text;

    (void)state;
    strbuf_adds(&sb, "a=");
    strbuf_addf(&sb, "%d,%s", 42,
                "a string that is longer than the first sixty-four bytes of the buffer are");
    strbuf_addc(&sb, '!');
    text = strbuf_take(&sb);
    assert_string_equal(
        text, "a=42,a string that is longer than the first sixty-four bytes of the buffer are!");
    assert_int_equal(sb.len, 0);
    free(text);
    text = strbuf_take(&sb);
    assert_string_equal(text, "");
    free(text);
}

static void a_size_that_cannot_be_is_remembered_as_a_failure(void **state)
{
    struct strbuf sb = STRBUF_INIT;

    (void)state;
    strbuf_adds(&sb, "x");
    assert_int_equal(strbuf_reserve(&sb, SIZE_MAX), ERR_NOMEM);
    assert_true(strbuf_failed(&sb));
    strbuf_adds(&sb, "y");
    assert_int_equal(sb.len, 1);
    assert_null(strbuf_take(&sb));
    assert_false(strbuf_failed(&sb));
    assert_int_equal(strbuf_reserve(&sb, SIZE_MAX / 2), ERR_NOMEM);
    strbuf_deinit(&sb);
}

/* A NUL behind it included. */
static void a_buffer_doubles_up_to_a_mebibyte_and_grows_by_quarters_then(void **state)
{
    static const size_t caps[] = {64, 128, 256, 512, 1024};
    struct strbuf sb = STRBUF_INIT;
    size_t before = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(caps) / sizeof(caps[0]); i++) {
        assert_int_equal(strbuf_reserve(&sb, caps[i] - 1), 0);
        assert_int_equal(sb.cap, caps[i]);
    }
    for (size_t need = 1024; need < (size_t)5 << 20; need += 1024) {
        assert_int_equal(strbuf_reserve(&sb, need), 0);
        assert_in_range(sb.cap, need + 1, 8 << 20);
        if (sb.cap != before && before >= (size_t)1 << 20)
            assert_int_equal(sb.cap, before + before / 4);
        else if (sb.cap != before && before != 0)
            assert_int_equal(sb.cap, 2 * before);
        before = sb.cap;
    }
    strbuf_deinit(&sb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_all_sizes_add_up),
        cmocka_unit_test(text_is_formatted_behind_what_is_there),
        cmocka_unit_test(a_size_that_cannot_be_is_remembered_as_a_failure),
        cmocka_unit_test(a_buffer_doubles_up_to_a_mebibyte_and_grows_by_quarters_then),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
