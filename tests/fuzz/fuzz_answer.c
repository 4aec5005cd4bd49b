/* The reader of answers of the lean transport: however the bytes are cut it says the same; a head is
 * well-formed and within its cap; a body is as long as the head says; and no byte behind an end is
 * taken. Each piece lies in memory of exactly its size. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "upstream/answer.h"

#define MAX_HEAD 600

struct reading {
    struct head head;
    struct answer answer;
    struct strbuf body;
    enum answer_step end;
    const char *why;
    size_t used;
    int heads;
};

static void check_head(struct head *head)
{
    MUST(head->status >= 200 && head->status <= 999 && head->raw_bytes <= MAX_HEAD);
    MUST(!head->bad_length);
    MUST(head_finish(head) == 0);
    for (size_t i = 0; i < head->num; i++) {
        const char *name = head->list[i].name, *value = head->list[i].value;

        MUST(head_is_token(name, strlen(name)) && head_is_field_value(value, strlen(value)));
    }
}

/* @return false: there is an end */
static bool take(struct reading *r, enum answer_step step)
{
    switch (step) {
    case ANSWER_HEAD:
        MUST(r->heads++ == 0);
        check_head(&r->head);
        return true;
    case ANSWER_DATA:
        MUST(r->heads == 1 && r->answer.piece_len > 0);
        strbuf_add(&r->body, r->answer.piece, r->answer.piece_len);
        return true;
    case ANSWER_END:
        MUST(r->heads == 1);
        MUST(r->head.chunked || r->head.content_length == -1 || r->head.status == 204 ||
             r->head.status == 304 || r->body.len == (size_t)r->head.content_length);
        MUST(!r->head.chunked || r->head.content_length == -1 || r->answer.last);
        return false;
    case ANSWER_BROKEN:
    case ANSWER_TOO_LARGE:
        MUST(r->answer.why != NULL);
        return false;
    default:
        return false;
    }
}

static void read_all(struct reading *r, const uint8_t *data, size_t size, uint64_t *seed)
{
    memset(r, 0, sizeof(*r));
    head_reset(&r->head, 0);
    answer_init(&r->answer, &r->head, MAX_HEAD);
    r->end = ANSWER_MORE;
    while (r->used < size && r->end == ANSWER_MORE) {
        size_t n = seed != NULL ? fuzz_piece(seed, size - r->used) : size, left = n;
        char *piece = malloc(n);
        const char *at = piece;

        MUST(piece != NULL);
        memcpy(piece, data + r->used, n);
        while (take(r, r->end = answer_next(&r->answer, &at, &left)))
            MUST(at + left == piece + n);
        MUST(at + left == piece + n && (r->end != ANSWER_MORE || left == 0));
        r->used += n - left;
        free(piece);
    }
    r->why = r->answer.why;
    if (r->end == ANSWER_MORE)
        r->end = answer_closed(&r->answer);
    MUST(r->end != ANSWER_END || r->heads == 1);
}

static void done(struct reading *r)
{
    answer_deinit(&r->answer);
    head_deinit(&r->head);
    strbuf_deinit(&r->body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t seed = fuzz_seed(data, size);
    struct reading whole, cut;

    if (size == 0)
        return 0;
    read_all(&whole, data, size, NULL);
    read_all(&cut, data, size, &seed);
    MUST(whole.end == cut.end && whole.heads == cut.heads);
    MUST(whole.head.num == cut.head.num && whole.head.status == cut.head.status);
    MUST(whole.body.len == cut.body.len);
    MUST(whole.body.len == 0 || memcmp(whole.body.data, cut.body.data, whole.body.len) == 0);
    if (whole.end == ANSWER_END)
        MUST(whole.used == cut.used && whole.answer.last == cut.answer.last);
    done(&whole);
    done(&cut);
    return 0;
}
