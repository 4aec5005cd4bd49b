/* Planted keys in every encoding, whole and in pieces; and what must stay as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>

#include "json/json.h"
#include "json/json_mask.h"
#include "common/mask.h"
#include "common/strbuf.h"
#include "upstream/failure.h"
#include "upstream/normal.h"

static const char openai_key[] = "sk-proj-Zq3vR8tY1uL6wE9xN2bM5cK7dJ4hG0fSpAoI+/~";
static const char azure_key[] = "8f3c1a9be27d40560b9d8e7f6a5c4b32";
static const char master_key[] = "my own master key: 42 \"quoted\" \xc3\xa4";
static const char short_key[] = "ab12cd34ef";
static const char tiny_key[] = "sk-1234";

static struct mask *of(const char *const *texts, size_t num)
{
    struct secret secrets[8] = {SECRET_NONE};
    const struct secret *list[8];
    struct mask *m;

    for (size_t i = 0; i < num; i++) {
        assert_int_equal(secret_set(&secrets[i], texts[i], strlen(texts[i])), 0);
        list[i] = &secrets[i];
    }
    m = mask_new(list, num);
    assert_non_null(m);
    for (size_t i = 0; i < num; i++)
        secret_clear(&secrets[i]);
    return m;
}

static struct mask *all_of_them(void)
{
    static const char *const texts[] = {openai_key, azure_key, master_key, short_key, tiny_key};

    return of(texts, 5);
}

/* The arrays are of the exact size: a byte too far is seen by the sanitizer. */
static char *hidden(const struct mask *m, const char *text, size_t len)
{
    char *copy = malloc(len + 1), *out;
    char *exact = malloc(len > 0 ? len : 1);
    size_t n;

    assert_non_null(copy);
    assert_non_null(exact);
    memcpy(exact, text, len);
    n = mask_hide(m, exact, len, len);
    assert_true(n <= len);
    memcpy(copy, exact, n);
    copy[n] = '\0';
    assert_false(mask_finds(m, copy, n));
    free(exact);
    out = copy;
    return out;
}

static void assert_hidden(const struct mask *m, const char *text, const char *want)
{
    char *got = hidden(m, text, strlen(text));

    assert_string_equal(got, want);
    free(got);
}

static void assert_untouched(const struct mask *m, const char *text)
{
    assert_false(mask_finds(m, text, strlen(text)));
    assert_hidden(m, text, text);
}

/* --- encodings --- */

typedef void (*encode_fn)(const char *text, size_t len, struct strbuf *out);

static void plain(const char *text, size_t len, struct strbuf *out)
{
    strbuf_add(out, text, len);
}

static void upper(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++)
        strbuf_addc(out, text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 32) : text[i]);
}

static void percent_some(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
            strbuf_addc(out, (char)c);
        else
            strbuf_addf(out, "%%%02X", c);
    }
}

static void percent_all(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++)
        strbuf_addf(out, "%%%02x", (unsigned char)text[i]);
}

static void percent_twice(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++)
        strbuf_addf(out, "%%25%02X", (unsigned char)text[i]);
}

static void json_string(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\' || text[i] == '/')
            strbuf_addc(out, '\\');
        strbuf_addc(out, text[i]);
    }
}

static void json_u(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++)
        strbuf_addf(out, "\\u%04x", (unsigned char)text[i]);
}

static void python_bytes(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++)
        strbuf_addf(out, "\\x%02x", (unsigned char)text[i]);
}

static void html(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++)
        strbuf_addf(out, i % 2 ? "&#%u;" : "&#x%X;", (unsigned char)text[i]);
}

static void hex(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++)
        strbuf_addf(out, "%02x", (unsigned char)text[i]);
}

static void hex_upper(const char *text, size_t len, struct strbuf *out)
{
    for (size_t i = 0; i < len; i++)
        strbuf_addf(out, "%02X", (unsigned char)text[i]);
}

static void base64_behind(const char *before, const char *text, size_t len, bool url,
                          struct strbuf *out)
{
    unsigned char raw[512], coded[1024];
    size_t n = strlen(before);

    memcpy(raw, before, n);
    memcpy(raw + n, text, len);
    EVP_EncodeBlock(coded, raw, (int)(n + len));
    for (size_t i = 0; coded[i] != '\0'; i++)
        strbuf_addc(out, url && coded[i] == '+'   ? '-'
                         : url && coded[i] == '/' ? '_'
                                                  : (char)coded[i]);
}

static void base64_0(const char *text, size_t len, struct strbuf *out)
{
    base64_behind("", text, len, false, out);
}

static void base64_1(const char *text, size_t len, struct strbuf *out)
{
    base64_behind("Bearer ", text, len, false, out);
}

static void base64_2(const char *text, size_t len, struct strbuf *out)
{
    base64_behind("user:", text, len, false, out);
}

static void base64_url(const char *text, size_t len, struct strbuf *out)
{
    base64_behind("x", text, len, true, out);
}

static void base64_in_percent(const char *text, size_t len, struct strbuf *out)
{
    struct strbuf coded = STRBUF_INIT;

    base64_behind("", text, len, false, &coded);
    percent_some(strbuf_str(&coded), coded.len, out);
    strbuf_deinit(&coded);
}

static const struct {
    const char *name;
    encode_fn encode;
    size_t rest; /* characters of the encoded secret that may be left at either side: bits that it
                    shares with its neighbours */
} encodings[] = {{"as it is", plain, 0},
                 {"upper case", upper, 0},
                 {"percent, what must be", percent_some, 0},
                 {"percent, all", percent_all, 0},
                 {"percent, twice", percent_twice, 0},
                 {"a JSON string", json_string, 0},
                 {"JSON \\u", json_u, 0},
                 {"\\x", python_bytes, 0},
                 {"HTML", html, 0},
                 {"hex", hex, 0},
                 {"HEX", hex_upper, 0},
                 {"base64 at 0", base64_0, 3},
                 {"base64 at 1", base64_1, 3},
                 {"base64 at 2", base64_2, 3},
                 {"base64url", base64_url, 3},
                 {"percent of base64", base64_in_percent, 7}};
#define NUM_ENCODINGS (sizeof(encodings) / sizeof(encodings[0]))

static void a_key_is_hidden_in_every_encoding(void **state)
{
    static const char *const keys[] = {openai_key, azure_key, master_key};
    struct mask *m = all_of_them();

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        for (size_t e = 0; e < NUM_ENCODINGS; e++) {
            struct strbuf text = STRBUF_INIT;
            size_t first = 0, prefix;
            char *got;

            strbuf_adds(&text, "It said <");
            prefix = text.len;
            encodings[e].encode(keys[k], strlen(keys[k]), &text);
            strbuf_adds(&text, "> to us.");
            got = hidden(m, strbuf_str(&text), text.len);
            /* of an encoded "Bearer " in front, what is its own stays */
            while (got[first] != '\0' && got[first] != '*')
                first++;
            if (strncmp(got, "It said <", prefix) != 0 || strstr(got, "***") == NULL ||
                strstr(got, "> to us.") == NULL ||
                strlen(got) > first + 3 + encodings[e].rest + strlen("> to us."))
                fail_msg("%s, key %zu: %s", encodings[e].name, k, got);
            free(got);
            strbuf_deinit(&text);
        }
    }
    mask_free(m);
}

static void any_twelve_bytes_of_a_key_are_hidden_in_every_encoding(void **state)
{
    static const char *const keys[] = {openai_key, azure_key, master_key};
    struct mask *m = all_of_them();

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        for (size_t at = 0; at + MASK_PIECE <= strlen(keys[k]); at++) {
            for (size_t e = 0; e < NUM_ENCODINGS; e++) {
                struct strbuf text = STRBUF_INIT;

                strbuf_adds(&text, "{");
                encodings[e].encode(keys[k] + at, MASK_PIECE, &text);
                strbuf_adds(&text, "}");
                if (!mask_finds(m, strbuf_str(&text), text.len))
                    fail_msg("%s, key %zu at %zu: %s", encodings[e].name, k, at, strbuf_str(&text));
                strbuf_deinit(&text);
            }
        }
    }
    mask_free(m);
}

/* So many that not all of their words are known. */
static struct mask *a_thousand_and(const char *key)
{
    static char texts[1000][48];
    static struct secret keys[1001];
    static const struct secret *list[1001];
    struct mask *m;

    for (size_t i = 0; i < 1000; i++) {
        snprintf(texts[i], sizeof(texts[i]), "sk-proj-%016llx%016llx",
                 (unsigned long long)(i * UINT64_C(0x9e3779b97f4a7c15)),
                 (unsigned long long)(i * UINT64_C(0xbf58476d1ce4e5b9)));
        keys[i] = (struct secret){texts[i], strlen(texts[i])};
        list[i] = &keys[i];
    }
    keys[1000] = (struct secret){(char *)(uintptr_t)key, strlen(key)};
    list[1000] = &keys[1000];
    m = mask_new(list, 1001);
    assert_non_null(m);
    return m;
}

/* A provider that encodes some of what it quotes, behind a sign of its own. */
static void twelve_bytes_of_which_one_is_encoded_are_hidden_behind_a_lone_percent_sign(void **state)
{
    static const char *const before[] = {"%", "100% ", "%25", "\\x", "\\u00", "\\\\x", "%%"};
    struct mask *sets[] = {all_of_them(), a_thousand_and(azure_key)};

    (void)state;
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        for (size_t n = 0; n < 2 * MASK_PIECE; n++) {
            struct strbuf text = STRBUF_INIT;
            size_t at = 7, coded = n / 2; /* two digits */
            char *got;

            strbuf_addf(&text, "%s%.*s", before[i], (int)coded, azure_key + at);
            strbuf_addf(&text, "%%%02x%.*s", (unsigned char)azure_key[at + coded],
                        (int)(MASK_PIECE - coded - 1), azure_key + at + coded + 1);
            got = hidden(sets[n % 2], strbuf_str(&text), text.len);
            if (strstr(got, "***") == NULL)
                fail_msg("%s: %s", strbuf_str(&text), got);
            free(got);
            strbuf_deinit(&text);
        }
    }
    mask_free(sets[0]);
    mask_free(sets[1]);
}

/* What begins like an escape eats digits of the key that stands behind it. */
static void twelve_bytes_behind_the_beginning_of_an_escape_are_hidden(void **state)
{
    static const char *const before[] = {"%",     "100% ", "%25", "%2525", "\\x", "\\u00",
                                         "\\\\x", "&#",    "&#x", "%\\",   "%%"};
    struct mask *m = all_of_them();

    (void)state;
    for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++) {
        for (size_t at = 0; at + MASK_PIECE <= strlen(azure_key); at++) {
            struct strbuf text = STRBUF_INIT;
            char *got;

            strbuf_addf(&text, "%s%.*s", before[i], MASK_PIECE, azure_key + at);
            got = hidden(m, strbuf_str(&text), text.len);
            if (!mask_finds(m, strbuf_str(&text), text.len) || strstr(got, "***") == NULL)
                fail_msg("behind %s at %zu: %s", before[i], at, got);
            free(got);
            strbuf_deinit(&text);
        }
    }
    mask_free(m);
}

static void fewer_bytes_are_no_piece(void **state)
{
    struct mask *m = all_of_them();
    char piece[MASK_PIECE];

    (void)state;
    for (size_t at = 0; at + MASK_PIECE - 1 <= strlen(azure_key); at++) {
        memcpy(piece, azure_key + at, MASK_PIECE - 1);
        piece[MASK_PIECE - 1] = '\0';
        assert_untouched(m, piece);
    }
    mask_free(m);
}

static void a_short_key_is_hidden_as_a_word_of_its_own(void **state)
{
    struct mask *m = all_of_them();

    (void)state;
    assert_hidden(m, "key 'ab12cd34ef'.", "key '***'.");
    assert_hidden(m, "ab12cd34ef", "***");
    assert_hidden(m, "YWIxMmNkMzRlZg== and 61623132636433346566", "***g== and ***");
    assert_hidden(m, "the key sk-1234, or SK-1234.", "the key ***, or ***.");
    assert_hidden(m, "sk%2D1234", "***");
    assert_hidden(m, "8f3c1a9be27d40560b9d8e7f6a5c4b32sk-1234", "******");
    assert_untouched(m, "file-ab12cd34ef00 xab12cd34ef batch_ab12cd34ef-1 sk-1234-x sk-12345");
    mask_free(m);
}

static void ids_and_words_stay_beside_placeholder_keys(void **state)
{
    static const char *const keys[] = {"test",
                                       "EMPTY",
                                       "1234",
                                       "password",
                                       "0000000000000000000000",
                                       "aaaaaaaaaaaaaaaaaaaaaaaa",
                                       "your-api-key-here",
                                       "---------------------------"};
    struct mask *m = of(keys, 8);

    (void)state;
    assert_untouched(m, "The test of line 1234 is empty: no password, test.");
    assert_untouched(m, "batch_690000000000000000000000000000 file-aaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_untouched(m, "---------------------------------------------------");
    assert_untouched(m, "MDAwMDAwMDAwMDAwMDAwMDAw YWFhYWFhYWFhYWFhYWFhYWFh");
    assert_untouched(m, "set your-api-key-hereafter");
    assert_hidden(m, "Incorrect key your-api-key-here.", "Incorrect key ***.");
    mask_free(m);
}

static void texts_without_a_secret_stay_as_they_are(void **state)
{
    struct mask *m = all_of_them();

    (void)state;
    assert_untouched(m, "");
    assert_untouched(m, "a");
    assert_untouched(m, "No such File object: file-0c9d1e2f3a4b5c6d7e8f901234567890");
    assert_untouched(m, "100%, %zz %4 \\ \\u12 \\u00e \\x4 &# &#; &#x; &#1234567; 50% \\");
    assert_untouched(m, "sk-proj- is how keys begin");
    assert_int_equal(mask_hide(NULL, (char[]){"abcd"}, 4, 4), 4);
    mask_free(m);
}

static void several_in_one_text_are_all_hidden(void **state)
{
    struct mask *m = all_of_them();
    struct strbuf text = STRBUF_INIT;

    (void)state;
    strbuf_addf(&text, "%s%s, %s and ab12cd34ef; ", azure_key, azure_key, openai_key);
    hex(openai_key, strlen(openai_key), &text);
    strbuf_adds(&text, ".");
    assert_hidden(m, strbuf_str(&text), "******, *** and ***; ***.");
    strbuf_deinit(&text);
    mask_free(m);
}

static void the_same_key_of_ten_thousand_rows_costs_as_much_as_one(void **state)
{
    static struct secret keys[10000];
    static const struct secret *list[10000];
    struct strbuf text = STRBUF_INIT;
    struct mask *m;

    (void)state;
    for (size_t i = 0; i < 10000; i++) {
        keys[i] = (struct secret){(char *)azure_key, strlen(azure_key)};
        list[i] = &keys[i];
    }
    m = mask_new(list, 10000);
    assert_non_null(m);
    for (int i = 0; i < 1000; i++)
        strbuf_addf(&text, "%.11s|", azure_key + i % 21);
    assert_false(mask_finds(m, strbuf_str(&text), text.len));
    strbuf_deinit(&text);
    mask_free(m);
}

static void ten_thousand_different_keys_are_all_found(void **state)
{
    static char texts[10000][64];
    static struct secret keys[10000];
    static const struct secret *list[10000];
    struct mask *m;

    (void)state;
    for (size_t i = 0; i < 10000; i++) {
        uint64_t x = i * UINT64_C(0x9e3779b97f4a7c15) + 1;

        snprintf(texts[i], sizeof(texts[i]), "sk-proj-%016llx%016llx",
                 (unsigned long long)(x ^ x >> 29), (unsigned long long)(x * x));
        keys[i] = (struct secret){texts[i], strlen(texts[i])};
        list[i] = &keys[i];
    }
    m = mask_new(list, 10000);
    assert_non_null(m);
    for (size_t i = 0; i < 10000; i += 7)
        assert_hidden(m, texts[i], "***");
    mask_free(m);
}

static void an_installed_set_that_is_freed_is_gone(void **state)
{
    struct mask *m = all_of_them();

    (void)state;
    mask_install(m);
    assert_ptr_equal(mask_installed(), m);
    mask_free(m);
    assert_null(mask_installed());
    mask_free(NULL);
}

/* --- where it is used --- */

static struct json *parse(struct json_doc *doc, const char *text)
{
    struct json_error error;
    struct json *v = json_parse(doc, text, strlen(text), &error);

    assert_non_null(v);
    return v;
}

static void a_batch_whose_errors_quote_the_key_is_shown_without_it(void **state)
{
    struct mask *m = all_of_them();
    struct json_doc *doc = json_doc_new();
    struct strbuf text = STRBUF_INIT, out = STRBUF_INIT;
    struct json *batch;

    (void)state;
    mask_install(m);
    strbuf_addf(
        &text,
        "{\"id\":\"batch_1\",\"status\":\"failed\",\"metadata\":{\"k\":\"v\",\"%s\":\"x\"},"
        "\"errors\":{\"data\":[{\"code\":\"%s\",\"message\":\"bad key %s\",\"param\":\"%s\","
        "\"line\":3},{\"message\":\"not yours: sk-other-1234567\"}]},"
        "\"note\":[[\"",
        azure_key, azure_key, openai_key, azure_key);
    base64_1(azure_key, strlen(azure_key), &text);
    strbuf_adds(&text, "\"]]}");
    batch = parse(doc, strbuf_str(&text));
    normal_batch(doc, batch, NULL);
    json_write(batch, &out);
    assert_false(mask_finds(m, strbuf_str(&out), out.len));
    assert_non_null(
        strstr(strbuf_str(&out), "\"message\":\"bad key ***\",\"param\":\"***\",\"line\":3"));
    assert_non_null(strstr(strbuf_str(&out), "\"message\":\"not yours: ***\""));
    assert_non_null(strstr(strbuf_str(&out), "\"metadata\":{\"k\":\"v\",\"***\":\"x\"}"));
    assert_string_equal(json_get_str(batch, "id"), "batch_1");
    strbuf_deinit(&text);
    strbuf_deinit(&out);
    json_doc_free(doc);
    mask_free(m);
}

static void a_file_whose_status_details_quote_the_key_is_shown_without_it(void **state)
{
    struct mask *m = all_of_them();
    struct json_doc *doc = json_doc_new();
    struct json *file = parse(doc, "{\"id\":\"file-1\",\"status\":\"error\",\"status_details\":"
                                   "\"8f3c1a9be27d40560b9d8e7f6a5c4b32 is no key\"}");
    struct json *gone = parse(doc, "{\"deleted\":true,\"note\":\"8F3C1A9BE27D40560B9D8E7F\"}");

    (void)state;
    mask_install(m);
    normal_file(doc, file, 0);
    assert_string_equal(json_get_str(file, "status_details"), "*** is no key");
    gone = normal_deletion(doc, gone, "file-1");
    assert_string_equal(json_get_str(gone, "note"), "***");
    json_doc_free(doc);
    mask_free(m);
}

static void an_error_that_quotes_the_key_is_told_without_it(void **state)
{
    struct mask *m = all_of_them();
    struct strbuf body = STRBUF_INIT;
    struct upstream_result result = {.end = UPSTREAM_ANSWERED};
    struct failure f;

    (void)state;
    mask_install(m);
    for (size_t e = 0; e < NUM_ENCODINGS; e++) {
        strbuf_reset(&body);
        strbuf_adds(&body, "{\"error\":{");
        for (int i = 0; i < 4; i++) {
            static const char *const names[] = {"message", "type", "code", "param"};
            struct strbuf coded = STRBUF_INIT;

            encodings[e].encode(azure_key, strlen(azure_key), &coded);
            strbuf_addf(&body, "%s\"%s\":", i ? "," : "", names[i]);
            json_write_string(&body, strbuf_str(&coded), coded.len);
            strbuf_deinit(&coded);
        }
        strbuf_adds(&body, "}}");
        result.head.status = 400;
        result.body = strbuf_str(&body);
        result.body_len = body.len;
        failure_from_result(&result, 0, &f);
        assert_non_null(strstr(f.message, "***"));
        assert_false(mask_finds(m, f.message, strlen(f.message)));
        assert_false(mask_finds(m, f.type, strlen(f.type)));
        assert_false(mask_finds(m, f.code, strlen(f.code)));
        assert_false(mask_finds(m, f.param, strlen(f.param)));
    }
    strbuf_deinit(&body);
    mask_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_hidden_in_every_encoding),
        cmocka_unit_test(any_twelve_bytes_of_a_key_are_hidden_in_every_encoding),
        cmocka_unit_test(
            twelve_bytes_of_which_one_is_encoded_are_hidden_behind_a_lone_percent_sign),
        cmocka_unit_test(twelve_bytes_behind_the_beginning_of_an_escape_are_hidden),
        cmocka_unit_test(fewer_bytes_are_no_piece),
        cmocka_unit_test(a_short_key_is_hidden_as_a_word_of_its_own),
        cmocka_unit_test(ids_and_words_stay_beside_placeholder_keys),
        cmocka_unit_test(texts_without_a_secret_stay_as_they_are),
        cmocka_unit_test(several_in_one_text_are_all_hidden),
        cmocka_unit_test(the_same_key_of_ten_thousand_rows_costs_as_much_as_one),
        cmocka_unit_test(ten_thousand_different_keys_are_all_found),
        cmocka_unit_test(an_installed_set_that_is_freed_is_gone),
        cmocka_unit_test(a_batch_whose_errors_quote_the_key_is_shown_without_it),
        cmocka_unit_test(a_file_whose_status_details_quote_the_key_is_shown_without_it),
        cmocka_unit_test(an_error_that_quotes_the_key_is_told_without_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
