/* A provider's answer without the network: its head line by line, its failure in the envelope, its
 * objects in OpenAI's shapes. The first byte says how the call ended; lines follow, an empty one,
 * and the body. */
#include "tests/fuzz/fuzz.h"

#include "upstream/client_impl.h"
#include "tests/fuzz/answer.h"

static void check_head(const struct upstream_head *head)
{
    for (size_t i = 0; i < head->num_headers; i++) {
        const char *name = head->headers[i].name, *value = head->headers[i].value;

        MUST(head_is_token(name, strlen(name)) && head_is_field_value(value, strlen(value)));
        for (const char *c = name; *c != '\0'; c++)
            MUST(!(*c >= 'A' && *c <= 'Z'));
        MUST(value[0] != ' ' && value[0] != '\t');
        MUST(upstream_header_find(head, name) != NULL);
    }
    MUST(head->content_length >= -1);
}

static char *exact(const char *bytes, size_t len)
{
    char *copy = malloc(len != 0 ? len : 1);

    MUST(copy != NULL);
    memcpy(copy, bytes, len);
    return copy;
}

/* @return the bytes that the head took */
static size_t read_head(struct head *head, const char *text, size_t len)
{
    size_t at = 0;

    head_reset(head, 200);
    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = end != NULL ? (size_t)(end - text) - at : len - at, rest = line_len;
        char *line;
        int status;

        if (rest > 0 && text[at + rest - 1] == '\r')
            rest--;
        line = exact(text + at, rest);
        at += line_len + (end != NULL);
        status = rest > 5 && memcmp(line, "HTTP/", 5) == 0 ? head_parse_status(line, rest) : 0;
        if (status != 0)
            head_reset(head, status);
        else if (rest != 0)
            (void)head_add(head, line, rest);
        free(line);
        if (rest == 0)
            break;
    }
    MUST(head_finish(head) == 0);
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct upstream_result result = {0};
    struct strbuf text = STRBUF_INIT;
    struct head head = {0};
    char *body;
    size_t at;

    if (size == 0)
        return 0;
    answer_plant(data + 1, size - 1, &text);
    at = read_head(&head, strbuf_str(&text), text.len);
    head_view(&head, &result.head);
    check_head(&result.head);
    result.body_len = text.len - at;
    body = malloc(result.body_len + 1); /* NUL-terminated, as the client gives it */
    MUST(body != NULL);
    memcpy(body, strbuf_str(&text) + at, result.body_len);
    body[result.body_len] = '\0';
    result.body = data[0] % 16 == 15 ? NULL : body;
    result.end = data[0] % 8 < 6 ? UPSTREAM_ANSWERED : (enum upstream_end)(data[0] / 16 % 7);
    answer_check_failure(&result);
    for (int shape = 0; shape < ANSWER_SHAPES; shape++)
        answer_check_normal(body, result.body_len, (enum answer_shape)shape);
    free(body);
    strbuf_deinit(&text);
    head_deinit(&head);
    return 0;
}
