/* Output files as a provider, or somebody who stands in its place, may write them, and inputs as a
 * stranger may: what comes out is the same however the bytes are cut, and each line of it is one of
 * the answers, or says that there is none. The data: answers, a NUL, the input. */
#include "tests/fuzz/fuzz.h"

#include <stdbool.h>
#include <string.h>

#include "results/results_merge.h"

struct bytes {
    const char *data;
    size_t len;
};

static ssize_t read_bytes(void *arg, char *buf, size_t len, uint64_t offset)
{
    const struct bytes *b = arg;

    if (offset >= b->len)
        return 0;
    if (len > b->len - offset)
        len = b->len - (size_t)offset;
    memcpy(buf, b->data + offset, len);
    return (ssize_t)len;
}

/* @param room  bytes of answers at a time, and of results a turn */
static void merge(struct bytes *answers, struct bytes *input, enum results_form form, size_t room,
                  struct strbuf *out)
{
    struct results_index *index = results_index_new();
    struct results_spec spec = {.index = index,
                                .read = read_bytes,
                                .read_arg = answers,
                                .read_input = read_bytes,
                                .read_input_arg = input,
                                .input_end = input->len,
                                .form = form,
                                .kinds = RESULTS_ALL,
                                .limit = UINT64_MAX};
    struct results_merge *m;
    enum results_step step = RESULTS_MORE;
    uint64_t given;
    size_t ends = 0;

    MUST(index != NULL);
    for (size_t at = 0; at < answers->len; at += room)
        MUST(results_index_feed(index, answers->data + at,
                                answers->len - at < room ? answers->len - at : room) == 0);
    MUST(results_index_end_of_file(index) == 0);
    results_missing(&spec, "expired");
    m = results_merge_new(&spec);
    MUST(m != NULL);
    while (step == RESULTS_MORE)
        step = results_merge_next(m, out, room);
    MUST(step == RESULTS_DONE || (step == RESULTS_UNREADABLE && form == RESULTS_INPUT));
    MUST(!strbuf_failed(out));
    given = results_merge_given(m);
    for (size_t i = 0; i < out->len; i++)
        ends += out->data[i] == '\n';
    MUST(ends == given);
    results_merge_free(m);
    results_index_free(index);
}

static void check_lines(const struct bytes *answers, const struct strbuf *out)
{
    static const char missing[] = "{\"id\":null,\"custom_id\":";

    for (size_t at = 0; at < out->len;) {
        const char *line = out->data + at, *end = memchr(line, '\n', out->len - at);
        size_t len;

        MUST(end != NULL && end[-1] == '}');
        len = (size_t)(end - line);
        MUST((len > sizeof(missing) && memcmp(line, missing, sizeof(missing) - 1) == 0) ||
             memmem(answers->data, answers->len, line, len) != NULL);
        at += len + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = size > 0 ? memchr(data, 0, size) : NULL;
    struct bytes answers = {(const char *)data, cut != NULL ? (size_t)(cut - data) : size};
    struct bytes input = {(const char *)data + answers.len, size - answers.len};
    struct strbuf whole = STRBUF_INIT, pieces = STRBUF_INIT;

    if (size > 65536)
        return 0;
    if (cut != NULL) {
        input.data++;
        input.len--;
    }
    for (int form = RESULTS_ANSWERS; form <= RESULTS_INPUT; form++) {
        merge(&answers, &input, (enum results_form)form, 1 << 20, &whole);
        for (size_t room = 1; room <= 7; room += 6) {
            merge(&answers, &input, (enum results_form)form, room, &pieces);
            MUST(whole.len == pieces.len);
            MUST(whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0);
            strbuf_reset(&pieces);
        }
        if (form == RESULTS_ANSWERS)
            check_lines(&answers, &whole);
        strbuf_reset(&whole);
    }
    strbuf_deinit(&whole);
    strbuf_deinit(&pieces);
    return 0;
}
