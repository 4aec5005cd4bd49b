/* The metadata pair by which a batch is found again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/hex.h"
#include "crypto/marker.h"

static struct ids_seals seals, others;
static const struct marker sample = {.owner = 0x0123456789abcdefu,
                                     .request = 0xfedcba9876543210u,
                                     .nonce = "00112233445566778899aabbccddeeff",
                                     .file = "file-abc_DEF-123",
                                     .tokens = 123456789012345,
                                     .deployment = 0xdeadbeef,
                                     .origin = 0x00c0ffee};

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
    assert_int_equal(back.tokens, sample.tokens);
    assert_int_equal(back.deployment, sample.deployment);
    assert_int_equal(back.origin, sample.origin);
    assert_int_equal(marker_read(&others, strbuf_str(&text), &back), ERR_FORGED);
    strbuf_deinit(&text);
}

static void the_clients_spelling_of_its_endpoint_is_kept(void **state)
{
    struct marker bare = sample, back;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    assert_int_equal(marker_write(&seals, &sample, &text), 0);
    assert_int_equal(text.data[0], '2'); /* what older programs read, too */
    assert_int_equal(marker_read(&seals, strbuf_str(&text), &back), 0);
    assert_false(back.bare_endpoint);
    strbuf_reset(&text);
    bare.bare_endpoint = true;
    assert_int_equal(marker_write(&seals, &bare, &text), 0);
    assert_int_equal(marker_read(&seals, strbuf_str(&text), &back), 0);
    assert_true(back.bare_endpoint);
    assert_int_equal(back.tokens, sample.tokens);
    assert_string_equal(back.file, sample.file);
    text.data[0] = '2'; /* the seal covers it */
    assert_int_equal(marker_read(&seals, strbuf_str(&text), &back), ERR_FORGED);
    strbuf_deinit(&text);
}

static void the_key_inside_a_team_is_told_and_of_others_nothing_changes(void **state)
{
    struct marker keyed = sample, back;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    keyed.key = UINT64_C(0x00c0ffee00c0ffee);
    for (int bare = 0; bare < 2; bare++) {
        strbuf_reset(&text);
        keyed.bare_endpoint = bare != 0;
        assert_int_equal(marker_write(&seals, &keyed, &text), 0);
        assert_int_equal(text.data[0], '4' + bare); /* programs of before read 1 to 3 */
        assert_int_equal(marker_read(&seals, strbuf_str(&text), &back), 0);
        assert_int_equal(back.key, keyed.key);
        assert_true(back.owner == sample.owner && back.bare_endpoint == keyed.bare_endpoint);
        assert_true(back.tokens == sample.tokens && back.origin == sample.origin);
        assert_string_equal(back.file, sample.file);
        assert_true(marker_key(&back) == keyed.key && marker_team(&back) == sample.owner);
        text.data[0] -= 2;
        assert_int_equal(marker_read(&seals, strbuf_str(&text), &back), ERR_SYNTAX);
    }
    assert_true(marker_key(&sample) == sample.owner && marker_team(&sample) == 0);
    strbuf_deinit(&text);
}

static void no_key_is_written_as_no_key(void **state)
{
    char text[300] = "4.0123456789abcdef.fedcba9876543210.00112233445566778899aabbccddeeff."
                     "0000000000000001.deadbeef.00000000.0000000000000000.file-a.0123456789abcdef";
    struct marker back;

    (void)state;
    assert_int_equal(marker_parse(text, &back), ERR_SYNTAX);
    text[104] = '1';
    assert_int_equal(marker_parse(text, &back), 0);
    assert_string_equal(back.file, "file-a");
    text[0] = '6';
    assert_int_equal(marker_parse(text, &back), ERR_SYNTAX);
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

/* Each byte at each place of a number: 0-9 and a-f are digits, nothing else is. */
static void bytes_are_written_as_two_digits_each(void **state)
{
    static const unsigned char bytes[] = {0x00, 0x0f, 0xa5, 0xff};
    char out[2 * sizeof(bytes) + 1];

    (void)state;
    hex_write(bytes, sizeof(bytes), out);
    assert_string_equal(out, "000fa5ff");
    hex_write(bytes, 0, out);
    assert_string_equal(out, "");
}

static void only_lower_case_hex_digits_are_read(void **state)
{
    struct marker marker = {.owner = UINT64_C(0x0123456789abcdef),
                            .request = UINT64_C(0xfedcba9876543210),
                            .tokens = 1,
                            .file = "file-1"},
                  out;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    memset(marker.nonce, 'c', MARKER_NONCE);
    assert_int_equal(marker_write(&seals, &marker, &text), 0);
    for (char *at = text.data + 2; at < text.data + 104; at++) {
        char was = *at;

        for (int byte = 1; byte < 256 && was != '.'; byte++) {
            bool digit = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f');

            *at = (char)byte;
            if (*at != was)
                assert_int_equal(marker_read(&seals, text.data, &out),
                                 digit ? ERR_FORGED : ERR_SYNTAX);
        }
        *at = was;
    }
    assert_int_equal(marker_read(&seals, text.data, &out), 0);
    assert_true(out.owner == marker.owner && out.request == marker.request);
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

/* Batches that run while the gateway is upgraded. */
static void what_version_0_1_0_wrote_is_still_read(void **state)
{
    const char *head =
        "1.0123456789abcdef.fedcba9876543210.00112233445566778899aabbccddeeff.file-a.";
    char text[256], seal[IDS_SEAL_HEX + 1];
    struct marker back;

    (void)state;
    assert_int_equal(ids_seal_text(&seals, head, strlen(head), seal), 0);
    snprintf(text, sizeof(text), "%s%s", head, seal);
    assert_int_equal(marker_read(&seals, text, &back), 0);
    assert_int_equal(back.owner, sample.owner);
    assert_string_equal(back.nonce, sample.nonce);
    assert_string_equal(back.file, "file-a");
    assert_int_equal(back.tokens, 0);
    assert_int_equal(back.deployment, 0);
    assert_int_equal(back.origin, 0);
}

static void a_nonce_of_a_text_is_the_owners_own_and_always_the_same(void **state)
{
    char a[MARKER_NONCE + 1], b[MARKER_NONCE + 1];

    (void)state;
    marker_nonce_of(1, "key", 3, a);
    marker_nonce_of(1, "key", 3, b);
    assert_string_equal(a, b);
    assert_int_equal(strlen(a), MARKER_NONCE);
    marker_nonce_of(2, "key", 3, b);
    assert_string_not_equal(a, b);
    marker_nonce_of(1, "kez", 3, b);
    assert_string_not_equal(a, b);
}

static void a_file_that_a_marker_takes_can_be_written(void **state)
{
    static const char *const ids[] = {"", "file-1", "file.1", "file 1"};
    char id[IDS_MAX + 1];

    (void)state;
    for (size_t i = 0; i < 2 * (sizeof(ids) / sizeof(ids[0]) + IDS_MAX); i++) {
        struct marker marker = {.nonce = "0123456789abcdef0123456789abcdef", .key = i & 1};
        struct strbuf out = STRBUF_INIT;

        memset(id, 'x', sizeof(id));
        id[i < 8 ? 0 : i / 2 - 4] = '\0';
        snprintf(marker.file, sizeof(marker.file), "%s", i < 8 ? ids[i / 2] : id);
        assert_int_equal(marker_takes_file(marker.file, marker.key != 0),
                         marker_write(&seals, &marker, &out) == 0);
        strbuf_deinit(&out);
    }
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

/* What a create was asked is told by eight bytes of the digest, in every version that wrote it. */
static void a_fingerprint_stays_what_it_was(void **state)
{
    (void)state;
    assert_int_equal(marker_fingerprint("", 0), 0xe3b0c44298fc1c14u);
    assert_int_equal(marker_fingerprint("abc", 3), 0xba7816bf8f01cfeau);
}

/* Of exactly the largest size, and of one byte more. */
static void a_marker_longer_than_metadata_may_be_is_none(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct marker back;

    (void)state;
    for (size_t len = MARKER_MAX; len <= MARKER_MAX + 1; len++) {
        strbuf_reset(&text);
        strbuf_adds(&text, "1.0000000000000001.0000000000000002.00112233445566778899aabbccddeeff.");
        while (text.len < len - 17)
            strbuf_addc(&text, 'f');
        strbuf_adds(&text, ".0123456789abcdef");
        assert_int_equal(text.len, len);
        assert_int_equal(marker_parse(strbuf_str(&text), &back),
                         len == MARKER_MAX ? 0 : ERR_SYNTAX);
    }
    strbuf_deinit(&text);
}

static void a_marker_without_a_whole_nonce_is_not_written(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct marker marker = sample;

    (void)state;
    marker.nonce[MARKER_NONCE - 1] = '\0';
    assert_int_equal(marker_write(&seals, &marker, &text), ERR_INVALID);
    assert_int_equal(text.len, 0);
    strbuf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fingerprint_stays_what_it_was),
        cmocka_unit_test(a_marker_longer_than_metadata_may_be_is_none),
        cmocka_unit_test(a_marker_without_a_whole_nonce_is_not_written),
        cmocka_unit_test(what_was_written_is_read_back),
        cmocka_unit_test(the_clients_spelling_of_its_endpoint_is_kept),
        cmocka_unit_test(the_key_inside_a_team_is_told_and_of_others_nothing_changes),
        cmocka_unit_test(no_key_is_written_as_no_key),
        cmocka_unit_test(no_changed_character_goes_unnoticed),
        cmocka_unit_test(only_lower_case_hex_digits_are_read),
        cmocka_unit_test(bytes_are_written_as_two_digits_each),
        cmocka_unit_test(a_blob_has_no_file_and_an_odd_file_id_no_marker),
        cmocka_unit_test(what_version_0_1_0_wrote_is_still_read),
        cmocka_unit_test(a_nonce_of_a_text_is_the_owners_own_and_always_the_same),
        cmocka_unit_test(a_file_that_a_marker_takes_can_be_written),
        cmocka_unit_test(fingerprints_and_nonces_differ),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
