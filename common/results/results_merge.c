/* See results_merge.h. A line of the input is looked at until it ends; then what goes out for it is
 * a few pieces, each a text or a part of a file, which are copied as there is room. */
#include "results/results_merge.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/seeded_fault.h"

#define LINES_A_TURN 256

/* What goes out: a constant text, or a part of a file. */
struct piece {
    const char *text; /* NULL: of a file */
    bool of_input;    /* else of output and error files */
    uint64_t at, len;
};

struct results_merge {
    struct results_spec spec;
    struct result_lines lines;
    uint64_t read; /* in the input, behind what stands in `window` */
    uint64_t left_out, given;
    size_t window_at, window_len;
    struct piece pieces[10]; /* [next, num) have to go out */
    unsigned next, num;
    bool ended;      /* the input */
    bool unreadable; /* it has a line that may have an answer */
    char window[RESULT_LINES_SLICE];
};

/* --- kinds --- */

static bool may_be_another(unsigned status)
{
    return status == 408 || status == 409 || status == 429 || status >= 500;
}

enum results_kind results_kind_of(const struct results_answer *answer)
{
    if (answer == NULL)
        return RESULTS_MISSING;
    if (answer->status == 200 && answer->error == RESULT_NO_ERROR)
        return RESULTS_OK;
    if (answer->status != 0)
        return may_be_another(answer->status) ? RESULTS_REFUSED : RESULTS_FAILED;
    return answer->error == RESULT_EXPIRED || answer->error == RESULT_CANCELLED ? RESULTS_UNDONE
                                                                                : RESULTS_FAILED;
}

void results_missing(struct results_spec *spec, const char *status)
{
    spec->missing_code = "not_run";
    spec->missing_message = "The batch has no answer to this request.";
    if (status == NULL)
        return;
    if (strcmp(status, "expired") == 0) {
        spec->missing_code = "batch_expired";
        spec->missing_message = "This request was not run before the batch expired.";
    } else if (strcmp(status, "cancelled") == 0 || strcmp(status, "cancelling") == 0) {
        spec->missing_code = "batch_cancelled";
        spec->missing_message = "This request was not run before the batch was cancelled.";
    }
}

static int compare_hashes(const void *a, const void *b)
{
    return memcmp(a, b, 2 * sizeof(uint64_t));
}

void results_ids_sort(uint64_t (*hashes)[2], size_t num)
{
    if (num > 0)
        qsort(hashes, num, sizeof(*hashes), compare_hashes);
}

static bool is_asked_for(const struct results_ids *ids, const struct result_line *line)
{
    if (ids->hashes == NULL)
        return true;
    return line->has_id && ids->num > 0 &&
           bsearch(line->hash, ids->hashes, ids->num, sizeof(*ids->hashes), compare_hashes) != NULL;
}

/* --- pieces --- */

static void add_text(struct results_merge *m, const char *text)
{
    assert(m->num < sizeof(m->pieces) / sizeof(m->pieces[0]));
    m->pieces[m->num++] = (struct piece){.text = text, .len = strlen(text)};
}

static void add_part(struct results_merge *m, bool of_input, uint64_t at, uint64_t len)
{
    assert(m->num < sizeof(m->pieces) / sizeof(m->pieces[0]));
    m->pieces[m->num++] = (struct piece){.of_input = of_input, .at = at, .len = len};
}

static void add_missing(struct results_merge *m, const struct result_line *line)
{
    if (!line->has_id) {
        add_text(m, "{\"id\":null,\"custom_id\":null,\"response\":null,\"error\":{\"code\":"
                    "\"unreadable\",\"message\":\"The custom_id of this request cannot be read, so "
                    "its answer is not known.\"}");
        return;
    }
    add_text(m, "{\"id\":null,\"custom_id\":");
    add_part(m, true, line->id_begin, line->id_end - line->id_begin);
    add_text(m, ",\"response\":null,\"error\":{\"code\":\"");
    add_text(m, m->spec.missing_code);
    add_text(m, "\",\"message\":\"");
    add_text(m, m->spec.missing_message);
    add_text(m, "\"}");
}

/* Without its last brace. @param answer  NULL: there is none */
static void add_answer(struct results_merge *m, const struct result_line *line,
                       const struct results_answer *answer)
{
    if (answer != NULL)
        add_part(m, false, answer->offset, answer->len - 1);
    else
        add_missing(m, line);
}

/* @param good  the input's line is JSON */
static void add_request(struct results_merge *m, const struct result_line *line, bool good)
{
    add_text(m, ",\"request\":");
    if (good)
        add_part(m, true, line->begin, line->end - line->begin);
    else
        add_text(m, "null");
}

static void add_pieces(struct results_merge *m, const struct result_line *line, bool good,
                       const struct results_answer *answer)
{
    m->next = m->num = 0;
    if (m->spec.form == RESULTS_INPUT) {
        add_part(m, true, line->begin, line->end - line->begin);
        add_text(m, "\n");
        return;
    }
    add_answer(m, line, answer);
    if (m->spec.form == RESULTS_BOTH)
        add_request(m, line, good);
    add_text(m, "}\n");
}

/* Whether a line may be tried again at all, whatever is asked for: none whose answer is not known, and
 * none that was answered with 200, even if that has an error beside it. */
static bool may_be_sent(const struct result_line *line, const struct results_answer *answer)
{
    return line->has_id &&
           (answer == NULL || answer->status != 200 || seeded_fault(SEEDED_RETRIED_ANSWER));
}

/* A line of the input has ended: what goes out for it. @param end  LINE or BAD_LINE */
static void judge(struct results_merge *m, enum result_end end)
{
    struct result_line line = m->lines.line;
    struct results_answer answer;
    bool has;

    if (end == RESULT_BAD_LINE)
        line.has_id = false;
    has = line.has_id && results_index_find(m->spec.index, line.hash, &answer);
    if (m->spec.form == RESULTS_INPUT && !may_be_sent(&line, has ? &answer : NULL)) {
        m->unreadable = !line.has_id && (m->spec.kinds & RESULTS_MISSING) != 0;
        return;
    }
    if ((m->spec.kinds & results_kind_of(has ? &answer : NULL)) == 0 ||
        !is_asked_for(&m->spec.ids, &line))
        return;
    if (m->left_out < m->spec.after) {
        m->left_out++;
        return;
    }
    m->given++;
    add_pieces(m, &line, end == RESULT_LINE, has ? &answer : NULL);
}

/* --- towards the caller --- */

/* @return bytes of the piece that were copied; -1: they cannot be read */
static ssize_t copy_part(struct results_merge *m, const struct piece *p, struct strbuf *out,
                         size_t most)
{
    const struct results_spec *spec = &m->spec;
    size_t len = p->len < most ? (size_t)p->len : most;
    ssize_t n;

    if (strbuf_reserve(out, len) != 0)
        return (ssize_t)len; /* the caller sees that it failed */
    n = p->of_input ? spec->read_input(spec->read_input_arg, out->data + out->len, len, p->at)
                    : spec->read(spec->read_arg, out->data + out->len, len, p->at);
    if (n <= 0)
        return -1;
    assert((size_t)n <= len);
    out->len += (size_t)n;
    out->data[out->len] = '\0';
    return n;
}

/* Copies what there is room for. @return false: a file cannot be read */
static bool copy_pieces(struct results_merge *m, struct strbuf *out, size_t end)
{
    while (m->next < m->num && out->len < end && !strbuf_failed(out)) {
        struct piece *p = &m->pieces[m->next];
        ssize_t n;

        if (p->text != NULL) {
            strbuf_add(out, p->text, (size_t)p->len);
            p->len = 0;
        } else {
            n = copy_part(m, p, out, end - out->len);
            if (n < 0)
                return false;
            p->at += (uint64_t)n;
            p->len -= (uint64_t)n;
        }
        if (p->len == 0)
            m->next++;
    }
    return true;
}

/* @return false: the input cannot be read */
static bool read_window(struct results_merge *m)
{
    uint64_t left = m->spec.input_end - m->read;
    size_t len = left < sizeof(m->window) ? (size_t)left : sizeof(m->window);
    ssize_t n = m->spec.read_input(m->spec.read_input_arg, m->window, len, m->read);

    if (n <= 0)
        return false;
    assert((size_t)n <= len);
    m->read += (uint64_t)n;
    m->window_at = 0;
    m->window_len = (size_t)n;
    return true;
}

/* The input's next line, as far as it stands in the window, or its last one without an end. */
static enum result_end next_line(struct results_merge *m)
{
    enum result_end end;

    if (m->window_at == m->window_len && m->read == m->spec.input_end) {
        m->ended = true;
        return result_lines_finish(&m->lines);
    }
    m->window_at +=
        result_lines_take(&m->lines, m->window + m->window_at, m->window_len - m->window_at, &end);
    return end;
}

static void judge_next(struct results_merge *m)
{
    enum result_end end = next_line(m);

    if (end != RESULT_NOT_YET)
        judge(m, end);
}

static bool needs_window(const struct results_merge *m)
{
    return m->window_at == m->window_len && m->read < m->spec.input_end;
}

static bool is_done(const struct results_merge *m)
{
    return m->next == m->num && (m->ended || m->given >= m->spec.limit);
}

enum results_step results_merge_next(struct results_merge *merge, struct strbuf *out, size_t room)
{
    size_t end = out->len + room;
    bool may_read = true; /* once a turn */

    for (unsigned i = 0; i < LINES_A_TURN && out->len < end; i++) {
        if (!copy_pieces(merge, out, end))
            return RESULTS_BROKEN;
        if (merge->next < merge->num || merge->unreadable || is_done(merge))
            break;
        if (needs_window(merge)) {
            if (!may_read)
                break;
            if (!read_window(merge))
                return RESULTS_BROKEN;
            may_read = false;
        }
        judge_next(merge);
    }
    if (merge->unreadable)
        return RESULTS_UNREADABLE;
    return is_done(merge) ? RESULTS_DONE : RESULTS_MORE;
}

struct results_merge *results_merge_new(const struct results_spec *spec)
{
    struct results_merge *m = malloc(sizeof(*m));

    assert(spec->input_begin <= spec->input_end && spec->missing_code != NULL);
    if (m == NULL)
        return NULL;
    memset(m, 0, offsetof(struct results_merge, window));
    m->spec = *spec;
    m->read = spec->input_begin;
    result_lines_init(&m->lines, results_index_key(spec->index), spec->input_begin);
    return m;
}

void results_merge_free(struct results_merge *merge)
{
    free(merge);
}

uint64_t results_merge_given(const struct results_merge *merge)
{
    return merge->given;
}
