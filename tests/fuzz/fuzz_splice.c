/* Another model's name into a checked file: each line is the same JSON as when the name is set in
 * its tree, and every byte outside of the model's value is the original's. Several passes at once,
 * in pieces of any size, over a source that gives as little as it likes, or fails. The first line
 * of the input is the name, up to a NUL; the rest is the file. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "json/json.h"
#include "jsonl/jsonl.h"

struct source {
    const char *text;
    size_t len, fails_at; /* SIZE_MAX: never */
    uint64_t seed;
};

static ssize_t read_source(void *arg, char *buf, size_t len, uint64_t offset)
{
    struct source *s = arg;
    size_t n;

    MUST(offset <= s->len && len > 0);
    if (offset == s->len)
        return 0;
    if (offset >= s->fails_at)
        return -1;
    n = fuzz_piece(&s->seed, s->len - (size_t)offset);
    n = n < len ? n : len;
    memcpy(buf, s->text + offset, n);
    return (ssize_t)n;
}

/* In buffers of exactly the size asked for. @return how the pass ended: 0 or below */
static ssize_t read_all(struct jsonl_splice *splice, uint64_t *seed, struct strbuf *out)
{
    for (;;) {
        size_t room = fuzz_piece(seed, 64);
        char *piece = malloc(room);
        ssize_t n;

        MUST(piece != NULL);
        n = jsonl_splice_read(splice, piece, room);
        MUST(n <= (ssize_t)room);
        if (n > 0)
            strbuf_add(out, piece, (size_t)n);
        free(piece);
        if (n <= 0)
            return n;
    }
}

static void print(struct json_doc *doc, const char *line, size_t len, const char *name,
                  struct strbuf *out)
{
    struct json_error error;
    struct json *root = json_parse(doc, line, len, &error), *body;

    MUST(json_is(root, JSON_OBJECT));
    body = json_get(root, "body");
    if (name != NULL && json_get(body, "model") != NULL)
        json_set_str(doc, body, "model", name);
    json_write(root, out);
}

/* What stands before and behind a difference: one stretch, the model's value. */
static bool differ_in_one_value(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t begin = 0, end = 0;

    while (begin < a_len && begin < b_len && a[begin] == b[begin])
        begin++;
    while (end < a_len - begin && end < b_len - begin && a[a_len - 1 - end] == b[b_len - 1 - end])
        end++;
    return begin + end == a_len || (memchr(a, '"', begin) != NULL && end > 0);
}

static bool is_blank(const char *line, size_t len)
{
    while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t' || line[len - 1] == '\r'))
        len--;
    return len == 0;
}

static void compare_lines(const char *a, size_t a_len, const char *b, size_t b_len,
                          const char *name)
{
    struct json_doc *doc = json_doc_new();
    struct strbuf want = STRBUF_INIT, got = STRBUF_INIT;

    MUST(doc != NULL);
    if (is_blank(a, a_len)) {
        MUST(a_len == b_len && memcmp(a, b, a_len) == 0);
    } else {
        print(doc, a, a_len, name, &want);
        print(doc, b, b_len, NULL, &got);
        MUST(want.len == got.len && memcmp(want.data, got.data, want.len) == 0);
        MUST(differ_in_one_value(a, a_len, b, b_len));
    }
    strbuf_deinit(&want);
    strbuf_deinit(&got);
    json_doc_free(doc);
}

static size_t line_length(const char *text, size_t len)
{
    const char *end = memchr(text, '\n', len);

    return end != NULL ? (size_t)(end - text) : len;
}

static void compare(const char *a, size_t a_len, const char *b, size_t b_len, const char *name)
{
    while (a_len > 0 && b_len > 0) {
        size_t x = line_length(a, a_len), y = line_length(b, b_len);

        compare_lines(a, x, b, y, name);
        MUST((x < a_len) == (y < b_len));
        x += x < a_len;
        y += y < b_len;
        a += x;
        a_len -= x;
        b += y;
        b_len -= y;
    }
    MUST(a_len == 0 && b_len == 0);
}

static void check_passes(const struct jsonl *j, const char *text, size_t len, const char *name,
                         uint64_t seed)
{
    struct source source = {text, len, SIZE_MAX, seed},
                  broken = {text, len, seed % (len + 1), seed};
    struct jsonl_splice *whole = jsonl_splice_new(j, name, read_source, &source);
    struct jsonl_splice *copy = jsonl_splice_new(j, NULL, read_source, &source);
    struct jsonl_splice *fails = jsonl_splice_new(j, name, read_source, &broken);
    struct strbuf out = STRBUF_INIT, same = STRBUF_INIT, part = STRBUF_INIT;

    MUST(whole != NULL && copy != NULL && fails != NULL);
    MUST(read_all(whole, &seed, &out) == 0 && out.len == jsonl_spliced_size(j, name));
    MUST(read_all(copy, &seed, &same) == 0 && same.len == len);
    MUST(memcmp(same.data, text, len) == 0);
    MUST(read_all(fails, &seed, &part) <= 0 && part.len <= out.len);
    MUST(part.len == 0 || memcmp(part.data, out.data, part.len) == 0);
    compare(text, len, out.data, out.len, name);
    jsonl_splice_free(whole);
    jsonl_splice_free(copy);
    jsonl_splice_free(fails);
    strbuf_deinit(&out);
    strbuf_deinit(&same);
    strbuf_deinit(&part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct jsonl_rules rules = {.max_depth = 20};
    const uint8_t *end = memchr(data, '\n', size);
    size_t name_len = end != NULL ? (size_t)(end - data) : 0, len = size - name_len - 1;
    struct jsonl *j;
    char *name;

    if (name_len == 0 || len == 0 || !utf8_is_valid((const char *)data, name_len))
        return 0;
    name = strndup((const char *)data, name_len);
    j = jsonl_new(&rules);
    MUST(name != NULL && j != NULL);
    if (*name != '\0' && jsonl_feed(j, (const char *)end + 1, len) == 0 && jsonl_finish(j) == 0)
        check_passes(j, (const char *)end + 1, len, name, fuzz_seed(data, size));
    jsonl_free(j);
    free(name);
    return 0;
}
