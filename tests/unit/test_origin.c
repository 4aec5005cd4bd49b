/* Which URL may be asked: what is remembered of an origin never says more than curl's parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "upstream/client_impl.h"

static bool may_ask(struct upstream *up, const char *url)
{
    return origin_check(up, url) == NULL;
}

/* curl would take "http:///127.0.0.1/" for 127.0.0.1, which may be asked in clear text. */
static void an_address_without_a_host_opens_no_other_address(void **state)
{
    struct upstream up = {0};

    (void)state;
    assert_false(may_ask(&up, "http:///127.0.0.1/v1"));
    assert_int_equal(up.next_origin, 0);
    assert_false(may_ask(&up, "http:///provider.example/v1"));
    assert_false(may_ask(&up, "https:////v1"));
}

static void an_origin_is_remembered_and_its_neighbours_are_not(void **state)
{
    struct upstream up = {0};

    (void)state;
    assert_true(may_ask(&up, "http://127.0.0.1:80/v1"));
    assert_true(may_ask(&up, "http://127.0.0.1:80/v2?x"));
    assert_false(may_ask(&up, "http://127.0.0.1:80.provider.example/v1"));
    assert_false(may_ask(&up, "http://127.0.0.1.provider.example/"));
    assert_false(may_ask(&up, "http://user@127.0.0.1:80/v1"));
    assert_false(may_ask(&up, "http://127.0.0.1:80/a b"));
}

/* Names of exactly the room and of one byte more. */
static void a_name_as_long_as_the_room_is_remembered_whole(void **state)
{
    static const size_t room = sizeof(((struct origin *)NULL)->text);

    (void)state;
    for (size_t len = room - 1; len <= room + 1; len++) {
        struct upstream up = {0};
        char url[200];

        memset(url, 0, sizeof(url));
        memcpy(url, "https://", 8);
        for (size_t i = 8; i < len - 1; i++)
            url[i] = i % 50 == 0 ? '.' : 'a';
        url[len - 1] = '/';
        assert_true(may_ask(&up, url));
        assert_int_equal(up.origins[0].len, len <= room ? len : 0);
        assert_int_equal(up.origins[1].len, 0);
        assert_true(may_ask(&up, url));
        assert_int_equal(up.origins[1].len, 0);
    }
}

static void more_origins_than_there_is_room_for_replace_the_oldest(void **state)
{
    struct upstream up = {0};
    char url[64];

    (void)state;
    for (int i = 0; i < MAX_ORIGINS + 3; i++) {
        snprintf(url, sizeof(url), "https://h%d.example/", i);
        assert_true(may_ask(&up, url));
    }
    assert_string_equal(up.origins[2].text, "https://h18.example/");
    assert_string_equal(up.origins[3].text, "https://h3.example/");
    assert_int_equal(up.next_origin, MAX_ORIGINS + 3);
}

static void every_address_of_this_machine_may_be_asked_in_clear_text(void **state)
{
    struct upstream up = {0};

    (void)state;
    assert_true(may_ask(&up, "http://0.0.0.0/"));
    assert_true(may_ask(&up, "http://127.255.0.1/"));
    assert_true(may_ask(&up, "http://[::1]:4000/"));
    assert_true(may_ask(&up, "http://LOCALHOST/"));
    assert_false(may_ask(&up, "http://128.0.0.1/"));
    assert_string_equal(origin_check(&up, "https://user@h.example/"),
                        "start: the URL holds credentials");
}

static void test_entra_8_the_metadata_address_may_be_asked_by_who_wants_tokens_of_it(void **state)
{
    struct upstream others = {0}, up = {.allow_metadata = true};

    (void)state;
    assert_true(may_ask(&up, "http://169.254.169.254/metadata/identity/oauth2/token"));
    assert_false(may_ask(&others, "http://169.254.169.254/metadata/identity/oauth2/token"));
    assert_true(may_ask(&up, "http://169.254.130.2:8081/msi/token"));
    assert_true(may_ask(&up, "http://172.16.5.3:8081/msi/token"));
    assert_false(may_ask(&others, "http://169.254.130.2:8081/msi/token"));
    assert_false(may_ask(&others, "http://172.16.5.3:8081/msi/token"));
    assert_false(may_ask(&up, "http://169.255.169.254/"));
    assert_false(may_ask(&up, "http://172.32.0.1/"));
    assert_false(may_ask(&up, "http://[fe80::1]/"));
    assert_false(may_ask(&up, "http://8.8.8.8/"));
    assert_false(may_ask(&up, "http://169.254.169.254.provider.example/"));
    assert_false(may_ask(&up, "http://provider.example/?169.254.169.254"));
}

/* Far longer than anything that is remembered: only what is there is looked at. */
static void a_very_long_name_is_compared_with_nothing(void **state)
{
    struct upstream *up = calloc(1, sizeof(*up));
    char *url = malloc(20001);

    (void)state;
    assert_true(up != NULL && url != NULL);
    memset(url, 'a', 20000);
    memcpy(url, "https://", 8);
    url[19999] = '/';
    url[20000] = '\0';
    (void)may_ask(up, url);
    assert_int_equal(up->next_origin, 0);
    free(url);
    free(up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_without_a_host_opens_no_other_address),
        cmocka_unit_test(an_origin_is_remembered_and_its_neighbours_are_not),
        cmocka_unit_test(a_name_as_long_as_the_room_is_remembered_whole),
        cmocka_unit_test(every_address_of_this_machine_may_be_asked_in_clear_text),
        cmocka_unit_test(test_entra_8_the_metadata_address_may_be_asked_by_who_wants_tokens_of_it),
        cmocka_unit_test(a_very_long_name_is_compared_with_nothing),
        cmocka_unit_test(more_origins_than_there_is_room_for_replace_the_oldest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
