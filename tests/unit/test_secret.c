/* Keys in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/secret.h"

static void a_secret_equals_itself_and_nothing_else(void **state)
{
    struct secret s = SECRET_NONE;

    (void)state;
    assert_int_equal(secret_set(&s, "sk-1234", 7), 0);
    assert_true(secret_is_set(&s));
    assert_true(secret_equal(&s, "sk-1234", 7));
    assert_false(secret_equal(&s, "sk-1235", 7));
    assert_false(secret_equal(&s, "sk-123", 6));
    assert_false(secret_equal(&s, "sk-12345", 8));
    assert_false(secret_equal(&s, "", 0));
    secret_clear(&s);
    assert_false(secret_is_set(&s));
}

static void no_credential_opens_a_gate_whose_secret_is_unset(void **state)
{
    struct secret s = SECRET_NONE;

    (void)state;
    assert_false(secret_equal(&s, "", 0));
    assert_int_equal(secret_set(&s, "", 0), 0);
    assert_false(secret_is_set(&s));
    assert_false(secret_equal(&s, "", 0));
    secret_clear(&s);
}

/* What the kernel says of the mapping: dd is "do not include in core dump" (proc(5), VmFlags). */
static void a_core_dump_does_not_have_it(void **state)
{
    struct secret s = SECRET_NONE;
    char line[256];
    unsigned long from, to;
    int found = 0, inside = 0;
    FILE *maps = fopen("/proc/self/smaps", "r");

    (void)state;
    assert_non_null(maps);
    assert_int_equal(secret_set(&s, "a provider's key", 16), 0);
    while (fgets(line, sizeof(line), maps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (uintptr_t)s.data >= from && (uintptr_t)s.data < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    fclose(maps);
    assert_true(found);
    secret_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_equals_itself_and_nothing_else),
        cmocka_unit_test(no_credential_opens_a_gate_whose_secret_is_unset),
        cmocka_unit_test(a_core_dump_does_not_have_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
