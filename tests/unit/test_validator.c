/* Entity-tags: which bytes share one, and which fields of a client name one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "exact.h"
#include "request/validator.h"

#define ETAG "\"0123456789abcdef0123456789abcdef\""

static bool names(const char *field)
{
    size_t len = strlen(field);
    char *exact = exact_copy(field, len);
    bool named = validator_names(exact, len, ETAG);

    free(exact);
    return named;
}

static void a_tag_is_of_the_bytes_alone(void **state)
{
    char one[VALIDATOR_ETAG], other[VALIDATOR_ETAG];

    (void)state;
    validator_etag("{\"n\":1}", 7, one);
    validator_etag("{\"n\":1}", 7, other);
    assert_string_equal(one, other);
    assert_int_equal(strlen(one), VALIDATOR_ETAG - 1);
    assert_int_equal(one[0], '"');
    assert_int_equal(one[VALIDATOR_ETAG - 2], '"');
    validator_etag("{\"n\":2}", 7, other);
    assert_string_not_equal(one, other);
}

static void a_field_names_what_is_in_its_list(void **state)
{
    (void)state;
    assert_true(names(ETAG));
    assert_true(names("W/" ETAG)); /* the comparison is the weak one */
    assert_true(names("\"other\", " ETAG));
    assert_true(names("\"\",W/\"b,c\" ,\t" ETAG " , \"d\""));
    assert_true(names(", ," ETAG));
    assert_true(names("*"));
    assert_true(names(" * "));
}

static void other_fields_name_nothing(void **state)
{
    static const char *const fields[] = {
        "",
        " ",
        ",",
        "\"other\"",
        "W/",
        "W/\"",
        "\"",
        "*,",
        "**",
        "w/" ETAG,
        "* " ETAG,
        "0123456789abcdef0123456789abcdef",
        "\"0123456789abcdef0123456789abcdef",
        "\"x\"y, " ETAG,
        "\"0123456789abcdef0123456789abcde\"",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        if (names(fields[i]))
            fail_msg("%s names it", fields[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tag_is_of_the_bytes_alone),
        cmocka_unit_test(a_field_names_what_is_in_its_list),
        cmocka_unit_test(other_fields_name_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
