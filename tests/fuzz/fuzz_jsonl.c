/* The report does not depend on the pieces; what the scanner is sure of, yajl sees the same way; a
 * spliced file has the size that was promised, is accepted, and splicing it again changes nothing.
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "jsonl/jsonl.h"
#include "jsonl/jsonl_scan.h"

static const struct jsonl_rules rule_sets[] = {
    {.max_line_bytes = 2000, .max_lines = 20, .max_bytes = 20000, .max_depth = 8, .max_errors = 50},
    {.model_required = true},
};

struct source {
    const char *text;
    size_t len;
};

static ssize_t read_source(void *arg, char *buf, size_t len, uint64_t offset)
{
    const struct source *s = arg;
    size_t n = s->len - (size_t)offset;

    n = n < len ? n : len;
    memcpy(buf, s->text + offset, n);
    return (ssize_t)n;
}

static struct jsonl *check(const struct jsonl_rules *rules, const char *text, size_t len,
                           uint64_t *seed, int *result)
{
    struct jsonl *j = jsonl_new(rules);
    size_t at = 0, n;
    int err = 0;

    MUST(j != NULL);
    while (at < len) {
        n = seed != NULL ? fuzz_piece(seed, len - at) : len;
        err = jsonl_feed(j, text + at, n);
        at += n;
    }
    *result = jsonl_finish(j);
    MUST(err == 0 || err == *result);
    return j;
}

static void compare(const struct jsonl *a, const struct jsonl *b)
{
    struct jsonl_report x, y;
    size_t i;

    jsonl_report(a, &x);
    jsonl_report(b, &y);
    MUST(x.lines == y.lines && x.bytes == y.bytes && x.num_problems == y.num_problems);
    MUST(memcmp(&x.prompt, &y.prompt, sizeof(x.prompt)) == 0 && x.output_tokens == y.output_tokens);
    MUST((x.model == NULL) == (y.model == NULL) && (x.url == NULL) == (y.url == NULL));
    MUST(x.model == NULL || strcmp(x.model, y.model) == 0);
    MUST(x.url == NULL || strcmp(x.url, y.url) == 0);
    for (i = 0; i < x.num_problems; i++) {
        const struct jsonl_problem *p = &x.problems[i], *q = &y.problems[i];

        MUST(p->line == q->line && p->column == q->column && p->line > 0 && p->column > 0);
        MUST(strcmp(p->code, q->code) == 0 && strcmp(p->field, q->field) == 0);
        MUST(strcmp(p->message, q->message) == 0 && p->message[0] != '\0');
        MUST(utf8_is_valid(p->message, strlen(p->message)) ||
             strlen(p->message) == sizeof(p->message) - 1);
    }
}

static char *spliced(const struct jsonl *j, const char *name, struct source *source, uint64_t *seed,
                     size_t *len)
{
    size_t size = (size_t)jsonl_spliced_size(j, name), done = 0;
    struct jsonl_splice *s = jsonl_splice_new(j, name, read_source, source);
    char *out = malloc(size + 64);
    ssize_t n;

    MUST(s != NULL && out != NULL);
    while ((n = jsonl_splice_read(s, out + done, fuzz_piece(seed, 64))) > 0) {
        done += (size_t)n;
        MUST(done <= size);
    }
    MUST(n == 0 && done == size);
    jsonl_splice_free(s);
    *len = size;
    return out;
}

static void check_splice(const struct jsonl_rules *rules, const struct jsonl *j, const char *text,
                         size_t len, uint64_t *seed)
{
    static const char name[] = "d\"e\\p\xc3\xa4";
    struct jsonl_rules wide = *rules;
    struct source source = {text, len};
    size_t once_len, twice_len;
    char *once = spliced(j, name, &source, seed, &once_len), *twice;
    struct jsonl *again;
    int result;

    wide.max_line_bytes = 1 << 20; /* the name may make a line longer than it was */
    wide.max_bytes = 0;
    again = check(&wide, once, once_len, seed, &result);
    MUST(result == 0);
    source = (struct source){once, once_len};
    twice = spliced(again, name, &source, seed, &twice_len);
    MUST(twice_len == once_len && memcmp(once, twice, once_len) == 0);
    jsonl_free(again);
    free(once);
    free(twice);
}

/* The scanner, stopped at every member or escape. */
static bool scan_in_slices(const char *line, size_t len, struct jsonl_facts *facts)
{
    struct jsonl_scan scan;
    enum jsonl_scan_state state;

    jsonl_scan_begin(&scan, line, len, 8, facts);
    while ((state = jsonl_scan_some(&scan, 2)) == JSONL_SCAN_MORE)
        ;
    return state == JSONL_SCAN_GOOD;
}

static void compare_readers(const char *line, size_t len)
{
    struct jsonl_facts fast, slow;
    struct jsonl_refusal refusal;
    bool sure = scan_in_slices(line, len, &slow);
    int i;

    MUST(jsonl_scan(line, len, 8, &fast) == sure);
    MUST(!sure || memcmp(&fast.prompt, &slow.prompt, sizeof(fast.prompt)) == 0);
    if (!sure) {
        /* without escaped keys there is no doubt: what the scanner refuses is wrong */
        if (memchr(line, '\\', len) == NULL && jsonl_referee(line, len, 8, &slow, &refusal) == 0)
            MUST(slow.root != JSON_OBJECT);
        return;
    }
    MUST(jsonl_referee(line, len, 8, &slow, &refusal) == 0);
    MUST(fast.root == slow.root && fast.root_at == slow.root_at);
    MUST(memcmp(&fast.prompt, &slow.prompt, sizeof(fast.prompt)) == 0 &&
         fast.output_tokens == slow.output_tokens);
    for (i = 0; i < NUM_FIELDS; i++) {
        const struct jsonl_value *v = &fast.fields[i], *w = &slow.fields[i];

        MUST(v->present == w->present && v->repeated == w->repeated && v->type == w->type);
        MUST(v->escaped == w->escaped && v->at == w->at && v->len == w->len &&
             v->repeat_at == w->repeat_at);
    }
}

static void compare_lines(const char *text, size_t len)
{
    const char *end = text + len, *newline;

    while (text < end) {
        newline = memchr(text, '\n', (size_t)(end - text));
        if (newline == NULL)
            newline = end;
        compare_readers(text, (size_t)(newline - text));
        text = newline + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    uint64_t seed = fuzz_seed(data, size);
    size_t i;

    compare_lines(text, size);
    for (i = 0; i < sizeof(rule_sets) / sizeof(rule_sets[0]); i++) {
        int whole_result, pieces_result;
        struct jsonl *whole = check(&rule_sets[i], text, size, NULL, &whole_result);
        struct jsonl *pieces = check(&rule_sets[i], text, size, &seed, &pieces_result);

        MUST(whole_result == pieces_result);
        compare(whole, pieces);
        if (whole_result == 0)
            check_splice(&rule_sets[i], whole, text, size, &seed);
        jsonl_free(whole);
        jsonl_free(pieces);
    }
    return 0;
}
