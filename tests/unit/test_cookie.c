/* A cookie among others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "request/cookie.h"

/* @param wanted  NULL: there is none */
static void check(const char *header, const char *wanted)
{
    const char *value;
    size_t len;
    bool found = cookie_find(header, strlen(header), "name", &value, &len);

    assert_int_equal(found, wanted != NULL);
    if (!found)
        return;
    assert_int_equal(len, strlen(wanted));
    assert_memory_equal(value, wanted, len);
}

static void it_is_found_wherever_it_stands(void **state)
{
    (void)state;
    check("name=x", "x");
    check("a=b; name=x; c=d", "x");
    check("a=b;name=x", "x");
    check("  name = x", NULL);
    check("name=\"x y\" ; b=c", "x y");
    check("name=v1.0a.b+/==", "v1.0a.b+/==");
    check("name=", "");
    check("name=first; name=second", "first");
}

static void a_name_is_a_whole_name(void **state)
{
    (void)state;
    check("", NULL);
    check(";;;", NULL);
    check("name", NULL);
    check("names=x", NULL);
    check("aname=x", NULL);
    check("Name=x", NULL);
    check("a=name=x", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_found_wherever_it_stands),
        cmocka_unit_test(a_name_is_a_whole_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
