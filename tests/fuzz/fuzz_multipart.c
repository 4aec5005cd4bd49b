/* What the parser says does not depend on the pieces, and its callbacks come in order. The boundary
 * is `abc`; an input that starts with `multipart/` gives its own content type in the first line. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "json/json.h"
#include "multipart/multipart.h"
#include "common/strbuf.h"

struct record {
    struct strbuf text;
    bool open;
};

static int on_part(void *arg, const struct multipart_part *part)
{
    struct record *r = arg;

    MUST(!r->open && part->name != NULL);
    MUST(utf8_is_valid(part->name, strlen(part->name)));
    r->open = true;
    strbuf_addf(&r->text, "\001%s\001", part->name);
    if (part->filename != NULL) {
        MUST(utf8_is_valid(part->filename, strlen(part->filename)));
        MUST(strpbrk(part->filename, "/\\\r\n\t") == NULL && strcmp(part->filename, "..") != 0);
        strbuf_addf(&r->text, "%s\001", part->filename);
    }
    if (part->content_type != NULL)
        strbuf_addf(&r->text, "%s\001", part->content_type);
    return 0;
}

static int on_data(void *arg, const char *bytes, size_t len)
{
    struct record *r = arg;

    MUST(r->open && len > 0);
    strbuf_add(&r->text, bytes, len);
    return 0;
}

static int on_part_end(void *arg)
{
    struct record *r = arg;

    MUST(r->open);
    r->open = false;
    strbuf_addc(&r->text, '\002');
    return 0;
}

static const struct multipart_ops ops = {on_part, on_data, on_part_end};
static const struct multipart_limits limits = {
    .max_parts = 6, .max_head_bytes = 300, .max_name_bytes = 40};

struct outcome {
    struct record record;
    int result;
    uint64_t error_at;
    char error[100];
};

/* Returns whether there was a parser at all. */
static bool run(const char *type, size_t type_len, const char *body, size_t len, uint64_t *seed,
                struct outcome *out)
{
    struct multipart *mp;
    const char *why;
    size_t at = 0, n;

    memset(out, 0, sizeof(*out));
    if (multipart_new(type, type_len, &limits, &ops, &out->record, &mp, &why) != 0) {
        MUST(mp == NULL && why != NULL);
        return false;
    }
    while (at < len && out->result == 0) {
        n = seed != NULL ? fuzz_piece(seed, len - at) : len;
        out->result = multipart_feed(mp, body + at, n);
        at += n;
    }
    if (out->result == 0)
        out->result = multipart_finish(mp);
    snprintf(out->error, sizeof(out->error), "%s", multipart_error(mp, &out->error_at));
    MUST((out->error[0] != '\0') == (out->result != 0));
    MUST(out->result != 0 || !out->record.open);
    multipart_free(mp);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *type = "multipart/form-data; boundary=abc", *body = (const char *)data, *newline;
    size_t type_len = strlen(type);
    uint64_t seed = fuzz_seed(data, size);
    struct outcome whole, pieces;

    if (size > 10 && memcmp(body, "multipart/", 10) == 0 &&
        (newline = memchr(body, '\n', size)) != NULL) {
        type = body;
        type_len = (size_t)(newline - body);
        body = newline + 1;
        size -= type_len + 1;
    }
    if (!run(type, type_len, body, size, NULL, &whole))
        return 0;
    MUST(run(type, type_len, body, size, &seed, &pieces));
    MUST(whole.result == pieces.result && whole.error_at == pieces.error_at);
    MUST(strcmp(whole.error, pieces.error) == 0);
    MUST(whole.record.text.len == pieces.record.text.len);
    MUST(whole.record.text.len == 0 ||
         memcmp(whole.record.text.data, pieces.record.text.data, whole.record.text.len) == 0);
    strbuf_deinit(&whole.record.text);
    strbuf_deinit(&pieces.record.text);
    return 0;
}
