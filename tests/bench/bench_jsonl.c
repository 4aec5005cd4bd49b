/* How fast batch files are checked and spliced, and form data is cut: generated files, one core,
 * MB/s (10^6 bytes).
 *
 * Usage: bench_jsonl [MB of each file, default 64] */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "jsonl/jsonl.h"
#include "multipart/multipart.h"
#include "common/strbuf.h"

enum { PIECE_BYTES = 64 * 1024, ROUNDS = 5 };

typedef void (*fill_cb)(struct strbuf *out, size_t len);

struct kind {
    const char *name;
    size_t line_bytes;
    fill_cb fill; /* appends what goes into the line's messages, some `len` bytes */
};

static uint64_t seed = 88172645463325252u;

static unsigned draw(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % below;
}

/* Of this process: the machine may be busy with other things. */
static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add_one_of(struct strbuf *out, const char *const *words, size_t count, size_t len)
{
    size_t end = out->len + len;

    while (out->len < end)
        strbuf_adds(out, words[draw((unsigned)count)]);
}

static void fill_english(struct strbuf *out, size_t len)
{
    static const char *const words[] = {"the ",
                                        "request ",
                                        "of ",
                                        "a customer, ",
                                        "who said: \\\"now\\\". ",
                                        "and ",
                                        "translation ",
                                        "into English.\\n",
                                        "42 ",
                                        "is ",
                                        "summary ",
                                        "it's ",
                                        "please "};

    strbuf_adds(out, "{\"role\":\"user\",\"content\":\"");
    add_one_of(out, words, sizeof(words) / sizeof(words[0]), len);
    strbuf_adds(out, "\"}");
}

static void fill_unicode(struct strbuf *out, size_t len)
{
    static const char *const words[] = {"\xe4\xbd\xa0\xe5\xa5\xbd",
                                        "\xe4\xb8\x96\xe7\x95\x8c\xef\xbc\x8c",
                                        "caf\xc3\xa9 ",
                                        "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 ",
                                        "\xf0\x9f\x98\x80",
                                        "text ",
                                        "\\n"};

    strbuf_adds(out, "{\"role\":\"user\",\"content\":\"");
    add_one_of(out, words, sizeof(words) / sizeof(words[0]), len);
    strbuf_adds(out, "\"}");
}

static void fill_chinese(struct strbuf *out, size_t len)
{
    static const char *const words[] = {"\xe4\xbd\xa0\xe5\xa5\xbd",
                                        "\xe4\xb8\x96\xe7\x95\x8c\xef\xbc\x8c", "\xe6\x96\x87",
                                        "\xe8\xaf\xb7\xe7\xbf\xbb\xe8\xaf\x91", "\xe3\x80\x82"};

    strbuf_adds(out, "{\"role\":\"user\",\"content\":\"");
    add_one_of(out, words, sizeof(words) / sizeof(words[0]), len);
    strbuf_adds(out, "\"}");
}

static void fill_german(struct strbuf *out, size_t len)
{
    static const char *const words[] = {"Gr\xc3\xbc\xc3\x9f"
                                        "e aus ",
                                        "M\xc3\xbcnchen, ",
                                        "und viele ",
                                        "Anfragen ",
                                        "zur ",
                                        "\xc3\x9c"
                                        "bersetzung ",
                                        "ins Englische. ",
                                        "Bitte ",
                                        "zusammenfassen\\n"};

    strbuf_adds(out, "{\"role\":\"user\",\"content\":\"");
    add_one_of(out, words, sizeof(words) / sizeof(words[0]), len);
    strbuf_adds(out, "\"}");
}

static void fill_escapes(struct strbuf *out, size_t len)
{
    static const char *const words[] = {"\\u4f60\\u597d", "\\u4e16\\u754c", "\\u00e9",
                                        "\\ud83d\\ude00", "\\u043f\\u0440"};

    strbuf_adds(out, "{\"role\":\"user\",\"content\":\"");
    add_one_of(out, words, sizeof(words) / sizeof(words[0]), len);
    strbuf_adds(out, "\"}");
}

static void fill_tool_calls(struct strbuf *out, size_t len)
{
    size_t end = out->len + len;

    do {
        strbuf_addf(out,
                    "%s{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"id\": "
                    "\"call_%u\", \"type\": "
                    "\"function\", \"function\": {\"name\": \"get_weather\", \"arguments\": "
                    "\"{\\\"city\\\": "
                    "\\\"Paris\\\", \\\"days\\\": %u}\"}}]}, {\"role\": \"tool\", "
                    "\"tool_call_id\": \"call_%u\", "
                    "\"content\": \"[%u, 1.5, true]\", \"scores\": [0.1, 2, -3e4, false]}",
                    out->data[out->len - 1] == '}' ? ", " : "", draw(1000000), draw(9),
                    draw(1000000), draw(99));
    } while (out->len < end);
}

static void fill_image(struct strbuf *out, size_t len)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i;

    strbuf_adds(out, "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"What is "
                     "this?\"},{\"type\":\"image_url\","
                     "\"image_url\":{\"url\":\"data:image/jpeg;base64,");
    for (i = 0; i < len; i++)
        strbuf_addc(out, alphabet[draw(64)]);
    strbuf_adds(out, "\"}}]}");
}

static const struct kind kinds[] = {
    {"chat 0.5 KB", 500, fill_english},
    {"chat 2 KB", 2000, fill_english},
    {"chat 4 KB", 4000, fill_english},
    {"chat 16 KB", 16000, fill_english},
    {"chat 50 KB", 50000, fill_english},
    {"German 4 KB", 4000, fill_german},
    {"Chinese 4 KB", 4000, fill_chinese},
    {"mixed scripts 4 KB", 4000, fill_unicode},
    {"all \\u-escaped 4 KB", 4000, fill_escapes},
    {"tool calls 4 KB", 4000, fill_tool_calls},
    {"base64 images 50 KB", 50000, fill_image},
};

static void make_file(const struct kind *kind, size_t bytes, struct strbuf *out)
{
    unsigned number = 0;

    while (out->len < bytes) {
        strbuf_addf(out,
                    "{\"custom_id\": \"request-%u-%u\", \"method\": \"POST\", \"url\": "
                    "\"/v1/chat/completions\", \"body\": "
                    "{\"model\": \"gpt-5-mini\", \"max_tokens\": %u, \"temperature\": 0.%u, "
                    "\"messages\": [",
                    number++, draw(1000000), 100 + draw(1000), draw(10));
        kind->fill(out, kind->line_bytes > 260 ? kind->line_bytes - 260 : 100);
        strbuf_adds(out, "], \"metadata\": {\"a\": [1, 2.5, true, null]}}}\n");
    }
}

static struct jsonl *check(const struct strbuf *file)
{
    const struct jsonl_rules rules = {.max_lines = 10 * 1000 * 1000, .model_required = true};
    struct jsonl *j = jsonl_new(&rules);
    struct jsonl_report report;
    size_t at, n;
    int err = 0;

    for (at = 0; j != NULL && at < file->len && err == 0; at += n) {
        n = file->len - at < PIECE_BYTES ? file->len - at : PIECE_BYTES;
        err = jsonl_feed(j, file->data + at, n);
    }
    if (j == NULL || err != 0 || jsonl_finish(j) != 0) {
        if (j != NULL) {
            jsonl_report(j, &report);
            fprintf(stderr, "refused: %s\n",
                    report.num_problems > 0 ? report.problems[0].message : "?");
        }
        exit(1);
    }
    return j;
}

static ssize_t read_file(void *arg, char *buf, size_t len, uint64_t offset)
{
    const struct strbuf *file = arg;
    size_t n = file->len - (size_t)offset;

    n = n < len ? n : len;
    memcpy(buf, file->data + offset, n);
    return (ssize_t)n;
}

static void splice(const struct jsonl *j, struct strbuf *file)
{
    static char buf[PIECE_BYTES];
    struct jsonl_splice *s = jsonl_splice_new(j, "deployment-of-another-length", read_file, file);
    uint64_t done = 0;
    ssize_t n;

    if (s == NULL)
        exit(1);
    while ((n = jsonl_splice_read(s, buf, sizeof(buf))) > 0)
        done += (uint64_t)n;
    if (n < 0 || done != jsonl_spliced_size(j, "deployment-of-another-length"))
        exit(1);
    jsonl_splice_free(s);
}

static int count_part(void *arg, const struct multipart_part *part)
{
    (void)arg;
    (void)part;
    return 0;
}

static int count_data(void *arg, const char *bytes, size_t len)
{
    (void)bytes;
    *(uint64_t *)arg += len;
    return 0;
}

static int count_end(void *arg)
{
    (void)arg;
    return 0;
}

static void cut(const struct strbuf *file)
{
    static const struct multipart_ops ops = {count_part, count_data, count_end};
    static const char type[] =
        "multipart/form-data; boundary=------------------------0123456789abcdef";
    static const char head[] = "--------------------------0123456789abcdef\r\nContent-Disposition: "
                               "form-data; name=\"file\"; "
                               "filename=\"a.jsonl\"\r\n\r\n";
    static const char tail[] = "\r\n--------------------------0123456789abcdef--\r\n";
    struct multipart *mp;
    const char *why;
    uint64_t bytes = 0;
    size_t at, n;
    int err;

    if (multipart_new(type, strlen(type), NULL, &ops, &bytes, &mp, &why) != 0)
        exit(1);
    err = multipart_feed(mp, head, strlen(head));
    for (at = 0; at < file->len && err == 0; at += n) {
        n = file->len - at < PIECE_BYTES ? file->len - at : PIECE_BYTES;
        err = multipart_feed(mp, file->data + at, n);
    }
    if (err != 0 || multipart_feed(mp, tail, strlen(tail)) != 0 || multipart_finish(mp) != 0 ||
        bytes != file->len)
        exit(1);
    multipart_free(mp);
}

/* The best of some rounds. */
static void measure(const struct kind *kind, size_t bytes)
{
    double best[3] = {1e9, 1e9, 1e9}, start, taken;
    struct strbuf file = STRBUF_INIT;
    struct jsonl *j = NULL;
    int round, what;

    make_file(kind, bytes, &file);
    if (strbuf_failed(&file))
        exit(1);
    for (round = 0; round < ROUNDS; round++) {
        for (what = 0; what < 3; what++) {
            start = now_s();
            if (what == 0) {
                jsonl_free(j);
                j = check(&file);
            } else if (what == 1) {
                splice(j, &file);
            } else {
                cut(&file);
            }
            taken = now_s() - start;
            if (taken < best[what])
                best[what] = taken;
        }
    }
    printf("%-22s %10.0f %10.0f %10.0f\n", kind->name, (double)file.len / best[0] / 1e6,
           (double)file.len / best[1] / 1e6, (double)file.len / best[2] / 1e6);
    jsonl_free(j);
    strbuf_deinit(&file);
}

int main(int argc, char **argv)
{
    size_t bytes = (argc > 1 ? strtoul(argv[1], NULL, 10) : 64) * 1000 * 1000;
    size_t i;

    printf("%-22s %10s %10s %10s   MB/s\n", "lines", "check", "splice", "multipart");
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        measure(&kinds[i], bytes);
    return 0;
}
