/* jsonl: a splice changes the model's name and no other byte. */
#include "jsonl_world.h"

struct source {
    const char *text;
    size_t len;
    size_t at_most; /* bytes a read gives; 0: fails */
};

static ssize_t read_source(void *arg, char *buf, size_t len, uint64_t offset)
{
    struct source *s = arg;
    size_t n = offset < s->len ? s->len - offset : 0;

    if (s->at_most == 0)
        return -1;
    n = n < len ? n : len;
    n = n < s->at_most ? n : s->at_most;
    memcpy(buf, s->text + offset, n);
    return (ssize_t)n;
}

/* With reads and writes of random sizes when `piece` is 0. */
static ssize_t splice(const struct jsonl *j, const char *name, struct source *source, size_t piece,
                      struct strbuf *out)
{
    struct jsonl_splice *s = jsonl_splice_new(j, name, read_source, source);
    char buf[700];
    ssize_t n;

    assert_non_null(s);
    for (;;) {
        n = jsonl_splice_read(s, buf, piece != 0 ? piece : 1 + draw(sizeof(buf)));
        if (n <= 0)
            break;
        strbuf_add(out, buf, (size_t)n);
    }
    if (n < 0)
        assert_int_equal(jsonl_splice_read(s, buf, 1), n);
    jsonl_splice_free(s);
    return n;
}

/* A pass that stopped somewhere and begins anew gives what a whole one gives. */
static void begin_anew(const struct jsonl *j, const char *name, struct source *source,
                       const struct strbuf *expected)
{
    struct jsonl_splice *s = jsonl_splice_new(j, name, read_source, source);
    struct strbuf out = STRBUF_INIT;
    char buf[700];
    ssize_t n;

    assert_non_null(s);
    for (size_t reads = draw(8); reads > 0; reads--)
        (void)jsonl_splice_read(s, buf, 1 + draw(sizeof(buf)));
    jsonl_splice_rewind(s);
    while ((n = jsonl_splice_read(s, buf, 1 + draw(sizeof(buf)))) > 0)
        strbuf_add(&out, buf, (size_t)n);
    assert_int_equal(out.len, expected->len);
    assert_memory_equal(out.data, expected->data, out.len);
    jsonl_splice_free(s);
    strbuf_deinit(&out);
}

static void add_random_text(struct strbuf *out)
{
    static const char *const bits[] = {"word ",
                                       "\\\"",
                                       "\\\\",
                                       "\\n",
                                       "\\u00e9",
                                       "\xc3\xbc",
                                       "\xf0\x9f\x98\x80",
                                       "\\ud83d\\ude00",
                                       "\\/",
                                       "{",
                                       "}",
                                       "model",
                                       ":",
                                       "0123456789abcdef0123456789",
                                       "\x7f"};

    for (size_t n = draw(12); n > 0; n--)
        strbuf_adds(out, bits[draw(sizeof(bits) / sizeof(bits[0]))]);
}

static void add_random_value(struct strbuf *out, int depth)
{
    size_t kind = draw(depth > 4 ? 4 : 6), n = draw(4);

    if (kind == 0) {
        strbuf_addf(out, "%d", (int)draw(100000) - 50000);
    } else if (kind == 1) {
        strbuf_adds(out, draw(2) != 0 ? "1.50E+10" : "null");
    } else if (kind <= 3) {
        strbuf_addc(out, '"');
        add_random_text(out);
        strbuf_addc(out, '"');
    } else {
        strbuf_addc(out, kind == 4 ? '[' : '{');
        for (size_t i = 0; i < n; i++) {
            strbuf_adds(out, i > 0 ? " , " : " ");
            if (kind == 5)
                strbuf_addf(out, "\"%s\" : ", draw(2) != 0 ? "model" : "content");
            add_random_value(out, depth + 1);
        }
        strbuf_addc(out, kind == 4 ? ']' : '}');
    }
}

/* One valid request; `out` gets it with a model, `expected` with another one's spelling in its
 * place. */
static void add_random_request(struct strbuf *out, struct strbuf *expected, const char *other,
                               int number)
{
    static const char *const spellings[] = {"\"mo/del\"", "\"mo\\/del\"", "\"\\u006do/del\"",
                                            "\"mo\\u002fde\\u006C\""};
    static const char *const keys[] = {"\"model\"", "\"mod\\u0065l\""};
    struct strbuf head = STRBUF_INIT, tail = STRBUF_INIT;

    strbuf_addf(&head, "{\"custom_id\":\"request-%d\" ,\"extra\": ", number);
    add_random_value(&head, 0);
    strbuf_adds(&head, ", \"method\":\"POST\",\"url\":\"" URL "\",\"body\":{\"messages\": ");
    add_random_value(&head, 0);
    strbuf_addf(&head, ",%s: ", keys[draw(10) == 0 ? 1 : 0]);
    strbuf_adds(&tail, " ,\"tools\":");
    add_random_value(&tail, 0);
    strbuf_adds(&tail, draw(2) != 0 ? "}}" : " } }\r");
    strbuf_addf(out, "%s%s%s", strbuf_str(&head), spellings[draw(4)], strbuf_str(&tail));
    strbuf_addf(expected, "%s%s%s", strbuf_str(&head), other, strbuf_str(&tail));
    strbuf_deinit(&head);
    strbuf_deinit(&tail);
}

static void splicing_changes_the_model_and_no_other_byte(void **state)
{
    (void)state;
    for (int round = 0; round < 400; round++) {
        struct strbuf text = STRBUF_INIT, expected = STRBUF_INIT, out = STRBUF_INIT,
                      twice = STRBUF_INIT;
        struct source source;
        struct jsonl *j;
        int lines = 1 + (int)draw(8), result;

        for (int i = 0; i < lines; i++) {
            add_random_request(&text, &expected, "\"dep \\\"x\\\" \xc3\xa4\"", i);
            if (i + 1 < lines || draw(2) != 0) {
                strbuf_addc(&text, '\n');
                strbuf_addc(&expected, '\n');
            }
        }
        j = check_all_ways(&balanced, text.data, text.len, &result);
        assert_int_equal(result, 0);
        source = (struct source){text.data, text.len, 1 + draw(500)};
        assert_int_equal(jsonl_spliced_size(j, "dep \"x\" \xc3\xa4"), expected.len);
        assert_int_equal(splice(j, "dep \"x\" \xc3\xa4", &source, 0, &out), 0);
        assert_int_equal(out.len, expected.len);
        assert_memory_equal(out.data, expected.data, out.len);
        begin_anew(j, "dep \"x\" \xc3\xa4", &source, &expected);
        jsonl_free(j);

        j = check_all_ways(&balanced, out.data, out.len,
                           &result); /* the same name again: nothing changes */
        assert_int_equal(result, 0);
        source = (struct source){out.data, out.len, SIZE_MAX};
        assert_int_equal(splice(j, "dep \"x\" \xc3\xa4", &source, 0, &twice), 0);
        assert_int_equal(twice.len, out.len);
        assert_memory_equal(twice.data, out.data, out.len);
        jsonl_free(j);
        strbuf_deinit(&text);
        strbuf_deinit(&expected);
        strbuf_deinit(&out);
        strbuf_deinit(&twice);
    }
}

static void without_a_name_or_without_models_a_splice_copies(void **state)
{
    static const char text[] =
        "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"" URL "\",\"body\":{}}\r\n\n";
    struct strbuf out = STRBUF_INIT;
    struct source source = {text, strlen(text), 9};
    struct jsonl *j = assert_accepted_bytes(&plain, text, strlen(text));

    (void)state;
    assert_int_equal(splice(j, "name", &source, 3, &out), 0);
    assert_string_equal(strbuf_str(&out), text);
    jsonl_free(j);
    strbuf_reset(&out);
    j = assert_accepted_bytes(&plain, GOOD, strlen(GOOD));
    source = (struct source){GOOD, strlen(GOOD), 9};
    assert_int_equal(jsonl_spliced_size(j, NULL), strlen(GOOD));
    assert_int_equal(splice(j, NULL, &source, 1, &out), 0);
    assert_string_equal(strbuf_str(&out), GOOD);
    jsonl_free(j);
    strbuf_deinit(&out);
}

static void several_splices_run_over_one_checker(void **state)
{
    static const char text[] = GOOD "\n" LINE("b", "m") "\n";
    struct source source = {text, strlen(text), 7};
    struct jsonl *j = assert_accepted_bytes(&plain, text, strlen(text));
    struct jsonl_splice *a = jsonl_splice_new(j, "one", read_source, &source);
    struct jsonl_splice *b = jsonl_splice_new(j, "two", read_source, &source);
    char from_a[400] = "", from_b[400] = "";
    ssize_t n = 0, m = 0;

    (void)state;
    for (ssize_t got = 1, more = 1; got > 0 || more > 0; n += got, m += more) {
        got = jsonl_splice_read(a, from_a + n, 5);
        more = jsonl_splice_read(b, from_b + m, 11);
        assert_true(got >= 0 && more >= 0);
    }
    assert_string_equal(from_a, LINE("a", "one") "\n" LINE("b", "one") "\n");
    assert_string_equal(from_b, LINE("a", "two") "\n" LINE("b", "two") "\n");
    jsonl_splice_free(a);
    jsonl_splice_free(b);
    jsonl_free(j);
}

static void an_original_that_fails_or_became_shorter_is_an_error(void **state)
{
    struct jsonl *j = assert_accepted_bytes(&plain, GOOD, strlen(GOOD));
    struct source broken = {GOOD, strlen(GOOD), 0}, shorter = {GOOD, strlen(GOOD) - 1, 1000};
    struct strbuf out = STRBUF_INIT;

    (void)state;
    assert_int_equal(splice(j, "x", &broken, 100, &out), ERR_IO);
    assert_int_equal(splice(j, "x", &shorter, 100, &out), ERR_IO);
    strbuf_deinit(&out);
    jsonl_free(j);
}

static ssize_t read_too_much(void *arg, char *buf, size_t len, uint64_t offset)
{
    (void)arg;
    (void)buf;
    (void)offset;
    return (ssize_t)len + 1;
}

static void an_original_that_gives_more_than_was_asked_for_is_not_believed(void **state)
{
    const struct jsonl_rules rules = {0};
    struct jsonl *j;
    struct jsonl_splice *s;
    char buf[100];
    int result;

    (void)state;
    j = check(&rules, GOOD, strlen(GOOD), 0, &result);
    assert_int_equal(result, 0);
    s = jsonl_splice_new(j, "name", read_too_much, NULL);
    assert_int_equal(jsonl_splice_read(s, buf, sizeof(buf)), ERR_IO);
    jsonl_splice_free(s);
    jsonl_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splicing_changes_the_model_and_no_other_byte),
        cmocka_unit_test(without_a_name_or_without_models_a_splice_copies),
        cmocka_unit_test(several_splices_run_over_one_checker),
        cmocka_unit_test(an_original_that_fails_or_became_shorter_is_an_error),
        cmocka_unit_test(an_original_that_gives_more_than_was_asked_for_is_not_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
