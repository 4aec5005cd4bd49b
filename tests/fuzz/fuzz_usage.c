/* Output files as a provider, or somebody who stands in its place, may write them: the pass must say
 * the same however the bytes are cut, and of lines that are JSON what a tree of them says. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "json/json.h"
#include "usage/pass.h"

static void pass_in_pieces(const uint8_t *data, size_t size, size_t piece, struct usage_counts *out)
{
    struct usage_pass pass;

    usage_pass_init(&pass);
    for (size_t at = 0; at < size; at += piece)
        usage_pass_feed(&pass, (const char *)data + at, size - at < piece ? size - at : piece);
    usage_pass_finish(&pass, out);
}

static const struct json *member(const struct json *object, const char *one, const char *other)
{
    const struct json *a = json_get(object, one), *b = json_get(object, other);

    return a != NULL ? a : b;
}

/* Numbers that the pass takes as they are, and nothing that it reads differently on purpose. */
static bool is_plain(const struct json *body, const struct json *usage)
{
    int64_t number;
    const char *const pairs[][2] = {{"prompt_tokens", "input_tokens"},
                                    {"completion_tokens", "output_tokens"}};

    for (size_t i = 0; i < 2; i++)
        if (json_get(usage, pairs[i][0]) != NULL && json_get(usage, pairs[i][1]) != NULL)
            return false; /* two names for one thing: the last one counts */
    return json_is(body, JSON_OBJECT) && json_is(usage, JSON_OBJECT) &&
           json_int64(member(usage, "prompt_tokens", "input_tokens"), &number) && number >= 0 &&
           number < 1000000000000000;
}

/* One line, by a tree. Lines with an escape may spell a name otherwise, which the pass passes over. */
static void check_line(const uint8_t *data, size_t size)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    const struct json *root, *response, *body, *usage;
    struct usage_counts counts;
    int64_t status = 0, in;

    MUST(doc != NULL);
    root = json_parse(doc, (const char *)data, size, &error);
    pass_in_pieces(data, size, size, &counts);
    response = json_get(root, "response");
    body = json_get(response, "body");
    usage = json_get(body, "usage");
    if (root != NULL && !json_doc_repeats(doc) && json_is(root, JSON_OBJECT)) {
        MUST(counts.num == 1 && counts.of[0].ok + counts.of[0].bad == 1);
        if (json_int64(json_get(response, "status_code"), &status) && status == 200 &&
            is_plain(body, usage)) {
            (void)json_int64(member(usage, "prompt_tokens", "input_tokens"), &in);
            MUST(counts.of[0].ok == 1 && counts.of[0].unmeasured == 0);
            MUST(counts.of[0].tokens.in == (uint64_t)in);
        }
    }
    json_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct usage_counts whole, cut;

    if (size > 65536)
        return 0;
    pass_in_pieces(data, size, size + 1, &whole);
    pass_in_pieces(data, size, 1, &cut);
    MUST(memcmp(&whole, &cut, sizeof(cut)) == 0);
    pass_in_pieces(data, size, 7, &cut);
    MUST(memcmp(&whole, &cut, sizeof(cut)) == 0);
    MUST(whole.num <= USAGE_MODELS && whole.source == USAGE_OF_OUTPUT);
    for (uint32_t i = 0; i < whole.num; i++) {
        MUST(strlen(whole.of[i].model) < USAGE_MODEL_BYTES);
        MUST(whole.of[i].unmeasured <= whole.of[i].ok);
        MUST(whole.of[i].tokens.long_in <= whole.of[i].tokens.in);
    }
    if (size > 0 && memchr(data, '\n', size) == NULL && memchr(data, '\\', size) == NULL)
        check_line(data, size);
    return 0;
}
