/* jsonl's two readers: the fast scanner and the exact referee say the same of every line, and
 * neither looks behind its end. */
#include "jsonl_world.h"

static void assert_same_facts(const char *line, const struct jsonl_facts *a,
                              const struct jsonl_facts *b)
{
    bool same = a->root == b->root && a->root_at == b->root_at &&
                memcmp(&a->prompt, &b->prompt, sizeof(a->prompt)) == 0 &&
                a->output_tokens == b->output_tokens && a->choices == b->choices;

    for (int i = 0; i < NUM_FIELDS; i++) {
        const struct jsonl_value *v = &a->fields[i], *w = &b->fields[i];

        same = same && v->present == w->present && v->repeated == w->repeated &&
               v->type == w->type && v->escaped == w->escaped && v->at == w->at &&
               v->len == w->len && v->repeat_at == w->repeat_at;
    }
    if (!same)
        fail_msg("the readers differ: %s", line);
}

static void whatever_the_scanner_is_sure_of_yajl_sees_the_same_way(void **state)
{
    static const char *const seeds[] = {
        GOOD,
        "{\"body\":{\"messages\":[{\"content\":\"caf\xc3\xa9 \\ud83d\\ude00 \\\"q\\\" "
        "\\\\\"},{\"x\":[1,2.5e3,-0]}],\"model\":\"m\\/x\","
        "\"max_tokens\":12},\"custom_id\":\"\\u0041\",\"url\":\"/"
        "v1\",\"method\":\"POST\",\"url\":null}",
        ("{\"custom_id\":[],\"body\":[{\"model\":1}],\"method\":true,\"url\":-1.5,\"body\":{"
         "\"model\":\"z\",\"input\":\"data:,x\"}}"),
        "{\"a\":[1,true,\"b\"],\"c\":{}} ",
    };
    static const char alphabet[] =
        "{}[]:,\"\\u0dc8e1-+.tfn \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\t\r\x01xyz";
    struct jsonl_refusal refusal;
    struct jsonl_facts fast, slow;
    size_t sure = 0, refused = 0;
    char line[400];

    (void)state;
    for (int round = 0; round < 300000; round++) {
        const char *text = seeds[draw(sizeof(seeds) / sizeof(seeds[0]))];
        size_t len = strlen(text);

        memcpy(line, text, len + 1);
        for (size_t n = draw(4); n > 0; n--) {
            size_t at = draw(len);

            if (draw(3) == 0) {
                memmove(line + at, line + at + 1, len - at);
                len--;
            } else {
                line[at] = alphabet[draw(sizeof(alphabet) - 1)];
            }
        }
        if (!jsonl_scan(line, len, 6, &fast)) {
            refused++;
            if (memchr(line, '\\', len) == NULL &&
                jsonl_referee(line, len, 6, &slow, &refusal) == 0 && slow.root == JSON_OBJECT)
                fail_msg("yajl alone accepts: %.*s", (int)len, line);
            continue;
        }
        sure++;
        if (jsonl_referee(line, len, 6, &slow, &refusal) != 0)
            fail_msg("yajl refuses: %s: %s", line, refusal.message);
        assert_same_facts(line, &fast, &slow);
    }
    assert_true(sure > 50000 && refused > 50000);
}

/* A string of some 200 bytes, most of them plain: rows of backslashes end anywhere in a block. */
static size_t print_long_string(char *line)
{
    static const char *const bits[] = {"\\\"",         "\\\\",     "\\n", "\\/",
                                       "\\b\\f\\r\\t", "\xc3\xa9", "\\",  "\\x",
                                       "\\u0041",      "\x7f",     "\t",  "\""};
    size_t len = (size_t)sprintf(line, "{\"body\":{\"input\":\"0123456789abcdef");

    for (int i = 0; i < 12; i++) {
        for (size_t n = draw(3) == 0 ? draw(70) : draw(8); n > 0; n--)
            line[len++] = (char)('a' + draw(26));
        for (size_t n = draw(4), bit = draw(draw(4) != 0 ? 6 : 12); n > 0 && bit < 12; n--)
            len += (size_t)sprintf(line + len, "%s", bits[bit]);
    }
    return len + (size_t)sprintf(line + len, "\"}}");
}

static void in_long_strings_too_the_scanner_sees_what_yajl_sees(void **state)
{
    struct jsonl_refusal refusal;
    struct jsonl_facts fast, slow;
    size_t sure = 0, refused = 0;
    char line[2000];

    (void)state;
    for (int round = 0; round < 100000; round++) {
        size_t len = print_long_string(line);
        int err = jsonl_referee(line, len, 6, &slow, &refusal);

        if (jsonl_scan(line, len, 6, &fast) != (err == 0))
            fail_msg("yajl says %d: %s", err, line);
        if (err == 0)
            assert_same_facts(line, &fast, &slow);
        sure += err == 0;
        refused += err != 0;
    }
    assert_true(sure > 10000 && refused > 10000);
}

/* Both readers have memory of exactly the line's size. */
static void check_cut_line(const char *line, size_t len)
{
    struct jsonl_facts fast, slow;
    struct jsonl_refusal refusal;
    char *copy = exact_copy(line, len);
    bool sure = jsonl_scan(copy, len, 6, &fast);
    int err = jsonl_referee(copy, len, 6, &slow, &refusal);

    assert_true(!sure || err == 0);
    free(copy);
}

static void no_reader_looks_behind_a_line_that_is_cut_off(void **state)
{
    static const char *const lines[] = {
        "{\"a\":true,\"b\":false,\"c\":null,\"d\":[true,false,null]}",
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/x\",\"body\":{\"model\":\"m\"}}",
        "{\"body\":{\"input\":\"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \\ud83d\\ude00 "
        "\\u00e9\"}}",
        "{\"body\":{\"input\":\"data:image/"
        "png;base64,0123456789abcdef0123456789abcdef0123456789abcdef"
        "0123456789abcdef0123456789abcdef0123456789abcdef\",\"max_tokens\":12}}",
        "{\"a\":-1.5e+10,\"b\":0,\"c\":[[[[1]]]]} ",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        for (size_t len = 0; len <= strlen(lines[i]); len++)
            check_cut_line(lines[i], len);
}

static void the_scanner_gives_up_only_where_it_says(void **state)
{
    static const char *const sure[] = {GOOD,
                                       "{}",
                                       " { } ",
                                       "{\"a\":\"\\u0000\\ud83d\\ude00\x7f\"}",
                                       "{\"a\":[0,-0,1.5,1e5,1E-5,10]}",
                                       "{\"body\":{\"x\":{\"mod\\u0065l\":1}}}",
                                       "{\"a\":\"0123456789abcdef0123456789abcdef\xc3\xa4\"}"};
    struct jsonl_facts facts;

    (void)state;
    for (size_t i = 0; i < sizeof(sure) / sizeof(sure[0]); i++)
        assert_true(jsonl_scan(sure[i], strlen(sure[i]), 8, &facts));
    assert_false(jsonl_scan("{\"\\u0061\":1}", 12, 8, &facts));
    assert_false(jsonl_scan("{\"body\":{\"mod\\u0065l\":1}}", 26, 8, &facts));
}

/* A member of the same name in an object behind the body. */
static void what_stands_behind_the_body_is_none_of_it(void **state)
{
    struct jsonl_facts fast, slow;
    struct jsonl_refusal refusal;
    static const char line[] = "{\"body\":{\"model\":\"a\"},\"x\":{\"model\":\"bcd\",\"input\":"
                               "\"e\"},\"y\":[{\"model\":1}]}";

    (void)state;
    assert_true(jsonl_scan(line, strlen(line), 8, &fast));
    assert_int_equal(jsonl_referee(line, strlen(line), 8, &slow, &refusal), 0);
    assert_same_facts(line, &fast, &slow);
    assert_int_equal(fast.fields[FIELD_MODEL].len, 3);
    assert_int_equal(fast.prompt.units[FEATURE_TEXT], 0);
}

/* Longer than the blocks that are read at once, cut everywhere. */
static void no_reader_looks_behind_a_long_string_that_is_cut_off(void **state)
{
    char line[700];
    size_t len = (size_t)sprintf(line, "{\"body\":{\"input\":\"");

    (void)state;
    while (len < 400)
        line[len++] = 'a';
    while (len < 600)
        len += (size_t)sprintf(line + len, len % 3 == 0 ? "\\n" : "b");
    for (size_t cut = 0; cut < len; cut++)
        check_cut_line(line, cut);
}

static void the_referee_names_an_odd_byte_at_the_very_end(void **state)
{
    struct jsonl_facts facts;
    struct jsonl_refusal refusal;

    (void)state;
    assert_int_equal(jsonl_referee("{}\xff", 3, 8, &facts, &refusal), ERR_SYNTAX);
    assert_non_null(strstr(refusal.message, "UTF-8"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_scanner_is_sure_of_yajl_sees_the_same_way),
        cmocka_unit_test(in_long_strings_too_the_scanner_sees_what_yajl_sees),
        cmocka_unit_test(no_reader_looks_behind_a_line_that_is_cut_off),
        cmocka_unit_test(the_scanner_gives_up_only_where_it_says),
        cmocka_unit_test(what_stands_behind_the_body_is_none_of_it),
        cmocka_unit_test(no_reader_looks_behind_a_long_string_that_is_cut_off),
        cmocka_unit_test(the_referee_names_an_odd_byte_at_the_very_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
