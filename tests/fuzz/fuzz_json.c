/* What is accepted prints, reads back and prints the same; what is refused says where. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "json/json.h"
#include "jsonl/jsonl_facts.h"

static void edit(struct json_doc *doc, struct json *v)
{
    struct json *first = json_at(v, 0);

    json_set_str(doc, v, "id", "file-1");
    json_set(doc, v, "copy", first);
    json_remove(v, "id");
    if (first != v)
        json_append(doc, v, json_new_int(doc, 1));
}

static void print_twice(struct json_doc *doc, const struct json *v, struct strbuf *once)
{
    struct strbuf twice = STRBUF_INIT;
    struct json_error error = {0};
    struct json *again;

    json_write(v, once);
    again = json_parse(doc, once->data, once->len, &error);
    MUST(again != NULL);
    json_write(again, &twice);
    MUST(once->len == twice.len && memcmp(once->data, twice.data, once->len) == 0);
    strbuf_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_doc *doc = json_doc_new();
    struct strbuf out = STRBUF_INIT;
    struct json_error error = {0};
    struct jsonl_facts facts;
    struct json *v;

    if (doc == NULL)
        return 0;
    v = json_parse(doc, (const char *)data, size, &error);
    if (v == NULL) {
        MUST(error.line > 0 && error.column > 0 && error.message[0] != '\0');
        MUST(strchr(error.message, '\n') == NULL);
    } else {
        MUST(utf8_is_valid((const char *)data, size));
        if (json_is(v, JSON_OBJECT) && memchr(data, '\\', size) == NULL &&
            memchr(data, '\n', size) == NULL)
            MUST(jsonl_scan((const char *)data, size, 128,
                            &facts)); /* an independent reader agrees */
        print_twice(doc, v, &out);
        edit(doc, v);
        strbuf_reset(&out);
        if (json_size(v) < 128)
            json_write(v, &out);
    }
    strbuf_deinit(&out);
    json_doc_free(doc);
    return 0;
}
