/* The metadata pair by which a batch is found again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/marker.h"

static struct ids_seals seals, others;
static const struct marker sample = {.owner = 0x0123456789abcdefu,
                                     .request = 0xfedcba9876543210u,
                                     .nonce = "00112233445566778899aabbccddeeff",
                                     .file = "file-abc_DEF-123"};

static int set_up(void **state)
{
    (void)state;
    return ids_seals_add(&seals, "one secret seal key", 19, "test") != 0 ||
           ids_seals_add(&others, "another", 7, "test") != 0;
}

static void what_was_written_is_read_back(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct marker back;

    (void)state;
    assert_int_equal(marker_write(&seals, &sample, &text), 0);
    assert_true(text.len <= MARKER_MAX);
    assert_int_equal(marker_read(&seals, strbuf_str(&text), &back), 0);
    assert_int_equal(back.owner, sample.owner);
    assert_int_equal(back.request, sample.request);
    assert_string_equal(back.nonce, sample.nonce);
    assert_string_equal(back.file, sample.file);
    assert_int_equal(marker_read(&others, strbuf_str(&text), &back), ERR_FORGED);
    strbuf_deinit(&text);
}

static void no_changed_character_goes_unnoticed(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct marker back;

    (void)state;
    assert_int_equal(marker_write(&seals, &sample, &text), 0);
    for (size_t i = 0; i < text.len; i++) {
        char was = text.data[i];

        text.data[i] = was == 'a' ? 'b' : 'a';
        assert_int_not_equal(marker_read(&seals, text.data, &back), 0);
        text.data[i] = was;
    }
    for (size_t cut = 0; cut < text.len; cut++) {
        char was = text.data[cut];

        text.data[cut] = '\0';
        assert_int_not_equal(marker_read(&seals, text.data, &back), 0);
        text.data[cut] = was;
    }
    assert_int_equal(marker_read(&seals, text.data, &back), 0);
    strbuf_deinit(&text);
}

static void a_blob_has_no_file_and_an_odd_file_id_no_marker(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct marker m = sample, back;

    (void)state;
    m.file[0] = '\0';
    assert_int_equal(marker_write(&seals, &m, &text), 0);
    assert_int_equal(marker_read(&seals, strbuf_str(&text), &back), 0);
    assert_string_equal(back.file, "");
    snprintf(m.file, sizeof(m.file), "a.b");
    assert_int_equal(marker_write(&seals, &m, &text), ERR_INVALID);
    memset(m.file, 'x', IDS_MAX);
    m.file[IDS_MAX] = '\0';
    assert_int_equal(marker_write(&seals, &m, &text), ERR_LIMIT);
    strbuf_deinit(&text);
}

static void fingerprints_and_nonces_differ(void **state)
{
    char a[MARKER_NONCE + 1], b[MARKER_NONCE + 1];

    (void)state;
    assert_int_equal(marker_fingerprint("x", 1), marker_fingerprint("x", 1));
    assert_int_not_equal(marker_fingerprint("x", 1), marker_fingerprint("y", 1));
    assert_int_equal(marker_new_nonce(a), 0);
    assert_int_equal(marker_new_nonce(b), 0);
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(no_changed_character_goes_unnoticed),
        cmocka_unit_test(a_blob_has_no_file_and_an_odd_file_id_no_marker),
        cmocka_unit_test(fingerprints_and_nonces_differ),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
