/* Rows for people: as wide as they need, and harmless whatever is in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/cli/columns.h"

static const char *const heads[] = {"ID", "STATE"};

static void assert_printed(const struct columns *c, bool colours, const char *want)
{
    struct strbuf out = STRBUF_INIT;

    assert_int_equal(columns_print(c, colours, &out), 0);
    assert_string_equal(strbuf_str(&out), want);
    strbuf_deinit(&out);
}

static void a_column_is_as_wide_as_its_widest_cell(void **state)
{
    struct columns c;

    (void)state;
    columns_init(&c, heads, 2);
    assert_printed(&c, false, "ID  STATE\n");
    columns_add(&c, "batch_1", COLOUR_NONE);
    columns_add(&c, "completed", COLOUR_GOOD);
    columns_addf(&c, COLOUR_NONE, "b%d", 2);
    columns_add(&c, NULL, COLOUR_NONE);
    assert_printed(&c, false, "ID       STATE\nbatch_1  completed\nb2       -\n");
    columns_deinit(&c);
}

static void letters_of_several_bytes_are_one_wide(void **state)
{
    struct columns c;

    (void)state;
    columns_init(&c, heads, 2);
    columns_add(&c, "\xc3\xbc\xe2\x82\xac", COLOUR_NONE);
    columns_add(&c, "x", COLOUR_NONE);
    assert_printed(&c, false, "ID  STATE\n\xc3\xbc\xe2\x82\xac  x\n");
    columns_deinit(&c);
}

static void colours_are_there_where_they_are_wanted(void **state)
{
    struct columns c;

    (void)state;
    columns_init(&c, heads + 1, 1);
    columns_add(&c, "failed", COLOUR_BAD);
    columns_add(&c, "plain", COLOUR_NONE);
    assert_printed(&c, true, "\033[2mSTATE\033[0m\n\033[31mfailed\033[0m\nplain\n");
    assert_printed(&c, false, "STATE\nfailed\nplain\n");
    columns_deinit(&c);
}

/* Names and metadata are tenants' own: none of them moves an operator's cursor. */
static void no_text_controls_a_terminal(void **state)
{
    struct columns c;
    struct strbuf out = STRBUF_INIT;

    (void)state;
    columns_init(&c, heads + 1, 1);
    columns_add(&c,
                "\033[2Ja\nb\177\xc2\x9b"
                "c\xff",
                COLOUR_NONE);
    assert_printed(&c, false, "STATE\n [2Ja b  c?\n");
    columns_add_text(&out, "\033]0;x\007", COLOUR_GOOD, true);
    assert_string_equal(strbuf_str(&out), "\033[32m ]0;x \033[0m");
    strbuf_deinit(&out);
    columns_deinit(&c);
}

static void no_color_and_a_pipe_mean_none(void **state)
{
    (void)state;
    setenv("NO_COLOR", "1", 1);
    assert_false(columns_may_colour());
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    assert_false(columns_may_colour());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_column_is_as_wide_as_its_widest_cell),
        cmocka_unit_test(letters_of_several_bytes_are_one_wide),
        cmocka_unit_test(colours_are_there_where_they_are_wanted),
        cmocka_unit_test(no_text_controls_a_terminal),
        cmocka_unit_test(no_color_and_a_pipe_mean_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
