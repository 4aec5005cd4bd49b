/* See answer.h. A line that came in one piece is read where it lies; only the beginning of one that
 * did not is copied. */
#include "answer.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

/* Bytes of a line that begins a chunk: its size, and extensions, which mean nothing to us */
#define MAX_CHUNK_LINE 256
#define MAX_HEX_DIGITS 15
#define MOST_HEADS     1000 /* bytes that the lines of most heads have */

void answer_init(struct answer *answer, struct head *head, size_t max_head)
{
    *answer = (struct answer){.head = head, .max_head = max_head};
}

void answer_deinit(struct answer *answer)
{
    strbuf_deinit(&answer->line);
}

static enum answer_step fail(struct answer *a, enum answer_step step, const char *why)
{
    a->state = STATE_FAILED;
    a->why = why;
    return step;
}

static enum answer_step broken(struct answer *a, const char *why)
{
    return fail(a, ANSWER_BROKEN, why);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_of_head(const struct answer *a)
{
    return a->state <= STATE_TRAILERS;
}

/* --- lines --- */

enum line_end { LINE_COMES, LINE_WHOLE, LINE_TOO_LONG };

static enum line_end keep_beginning(struct answer *a, const char *bytes, size_t len, size_t most)
{
    if (a->line.len + len > most)
        return LINE_TOO_LONG;
    strbuf_add(&a->line, bytes, len);
    return LINE_COMES;
}

/* The next line with its end; it stays where it is until the next call. */
static enum line_end take_line(struct answer *a, const char **at, size_t *left, const char **line,
                               size_t *len)
{
    size_t used = a->head->raw_bytes, room = a->max_head > used ? a->max_head - used : 0,
           most = is_of_head(a) ? room : MAX_CHUNK_LINE;
    const char *bytes = *at, *end = memchr(bytes, '\n', *left);
    size_t n = end != NULL ? (size_t)(end - bytes) + 1 : *left;
    enum line_end got = LINE_WHOLE;

    *at += n;
    *left -= n;
    if (end == NULL || a->line.len > 0)
        got = keep_beginning(a, bytes, n, most);
    else if (n > most)
        got = LINE_TOO_LONG;
    if (got == LINE_TOO_LONG || end == NULL)
        return got;
    *line = a->line.len > 0 ? a->line.data : bytes;
    *len = a->line.len > 0 ? a->line.len : n;
    if (is_of_head(a))
        a->head->raw_bytes += *len;
    return LINE_WHOLE;
}

/* --- the head --- */

/* RFC 9112 section 4; a line without a reason may also lack the space before it. */
static enum answer_step take_status(struct answer *a, const char *line, size_t len)
{
    static const char version[] = "HTTP/1.";
    size_t n = sizeof(version) - 1;

    if (len < n + 5 || memcmp(line, version, n) != 0 || (line[n] != '0' && line[n] != '1') ||
        line[n + 1] != ' ' || (len > n + 5 && line[n + 5] != ' '))
        return broken(a, "not an HTTP answer to this request");
    head_reset(a->head, head_parse_status(line, len));
    (void)strbuf_reserve(&a->head->text,
                         MOST_HEADS); /* in one go; head_finish() tells of failures */
    if (a->head->status < 100)
        return broken(a, "not an HTTP answer to this request");
    a->is_1_0 = line[n] == '0';
    a->framing = a->has_length = a->has_coding = false;
    a->last = a->is_1_0;
    a->state = STATE_FIELDS;
    return ANSWER_MORE;
}

/* Whether the line is a field of this name, in whatever shape: what somebody else may take for one
 * must be one. */
static bool is_field(const char *line, size_t len, const char *name)
{
    size_t n = strlen(name);

    return len > n && strncasecmp(line, name, n) == 0 && (line[n] == ':' || is_blank(line[n]));
}

/* The value of a field whose name is so long. @return false: the line is not well-formed */
static bool field_value(const char *line, size_t len, size_t name_len, const char **value,
                        size_t *value_len)
{
    const char *at = line + name_len + 1, *end = line + len;

    if (line[name_len] != ':' || !head_is_field_value(line, len))
        return false;
    for (; at < end && is_blank(*at);)
        at++;
    while (end > at && is_blank(end[-1]))
        end--;
    *value = at;
    *value_len = (size_t)(end - at);
    return true;
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return len == strlen(word) && strncasecmp(text, word, len) == 0;
}

/* RFC 9110 section 7.6.1: whether a list has this word. */
static bool lists(const char *list, size_t len, const char *word)
{
    const char *end = list + len;

    while (list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list)), *stop;

        stop = comma != NULL ? comma : end;
        for (; list < stop && is_blank(*list);)
            list++;
        while (stop > list && is_blank(stop[-1]))
            stop--;
        if (is_word(list, (size_t)(stop - list), word))
            return true;
        list = comma != NULL ? comma + 1 : end;
    }
    return false;
}

/* What a line says about where the answer ends. RFC 9112 section 6. */
static enum answer_step note_framing(struct answer *a, const char *line, size_t len)
{
    static const char length[] = "content-length", coding[] = "transfer-encoding",
                      connection[] = "connection";
    bool is_length = is_field(line, len, length), is_coding = is_field(line, len, coding);
    const char *value;
    size_t n;

    a->framing = is_length || is_coding;
    if (is_field(line, len, connection)) {
        a->last |=
            !field_value(line, len, sizeof(connection) - 1, &value, &n) || lists(value, n, "close");
        return ANSWER_MORE;
    }
    if (!a->framing)
        return ANSWER_MORE;
    if (!field_value(line, len, (is_length ? sizeof(length) : sizeof(coding)) - 1, &value, &n))
        return broken(a, "a length or a transfer coding that cannot be read");
    if (is_coding && (a->has_coding || a->is_1_0 || !is_word(value, n, "chunked")))
        return broken(a, "a transfer coding other than chunked alone");
    a->has_coding |= is_coding;
    a->has_length |= is_length;
    return ANSWER_MORE;
}

static enum answer_step take_field(struct answer *a, const char *line, size_t len)
{
    enum answer_step step;

    if (is_blank(*line)) { /* it goes on with the line before: RFC 9112 section 5.2 */
        if (a->framing)
            return broken(a, "a folded length or transfer coding");
        return ANSWER_MORE;
    }
    step = note_framing(a, line, len);
    if (step != ANSWER_MORE)
        return step;
    if (!head_add(a->head, line, len))
        return fail(a, ANSWER_TOO_LARGE, "the head has too many lines");
    return ANSWER_MORE;
}

static void set_body(struct answer *a)
{
    const struct head *head = a->head;

    a->left = head->content_length > 0 ? (uint64_t)head->content_length : 0;
    if (head->status == 204 || head->status == 304) {
        a->last |= a->has_coding || a->left > 0; /* some would send one all the same */
        a->state = STATE_END;
    } else if (a->has_coding) {
        a->state = STATE_CHUNK_SIZE;
    } else if (a->has_length) {
        a->state = a->left > 0 ? STATE_LENGTH : STATE_END;
    } else {
        a->last = true;
        a->state = STATE_UNTIL_CLOSE;
    }
}

static enum answer_step end_head(struct answer *a)
{
    const struct head *head = a->head;

    if (head->status == 101)
        return broken(a, "not an HTTP answer to this request");
    if (head->bad_length)
        return broken(a, "contradicting or invalid Content-Length");
    if (a->has_length && a->has_coding)
        return broken(a, "a Content-Length beside a transfer coding");
    if (head->status < 200) {
        if (a->has_coding || head->content_length > 0)
            return broken(a, "an interim answer with a body");
        a->state = STATE_STATUS;
        return ANSWER_MORE;
    }
    set_body(a);
    return ANSWER_HEAD;
}

/* --- chunks --- */

/* RFC 9112 section 7.1; blanks behind the size are what some servers fill it up with. */
static enum answer_step take_chunk_size(struct answer *a, const char *line, size_t len)
{
    uint64_t size = 0;
    size_t i = 0;

    for (; i < len && isxdigit((unsigned char)line[i]); i++) {
        unsigned char c = (unsigned char)line[i];
        size = size << 4 | (uint64_t)(isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
        if (i == MAX_HEX_DIGITS)
            return broken(a, "a chunk of no size that can be");
    }
    if (i == 0)
        return broken(a, "a chunk without a size");
    for (; i < len && is_blank(line[i]);)
        i++;
    if (i < len && (line[i] != ';' || !head_is_field_value(line + i, len - i)))
        return broken(a, "a chunk's size that cannot be read");
    a->left = size;
    a->state = size > 0 ? STATE_CHUNK : STATE_TRAILERS;
    return ANSWER_MORE;
}

static enum answer_step on_line(struct answer *a, const char *line, size_t len)
{
    switch (a->state) {
    case STATE_STATUS:
        return take_status(a, line, len);
    case STATE_FIELDS:
        return len > 0 ? take_field(a, line, len) : end_head(a);
    case STATE_CHUNK_SIZE:
        return take_chunk_size(a, line, len);
    case STATE_CHUNK_END:
        if (len > 0)
            return broken(a, "a chunk that is longer than its size");
        a->state = STATE_CHUNK_SIZE;
        return ANSWER_MORE;
    default: /* a trailer; nobody asked for it */
        if (len == 0)
            a->state = STATE_END;
        return ANSWER_MORE;
    }
}

static enum answer_step step_line(struct answer *a, const char **at, size_t *left)
{
    bool of_head = is_of_head(a);
    const char *line = NULL;
    enum answer_step step;
    size_t len = 0;

    switch (take_line(a, at, left, &line, &len)) {
    case LINE_COMES:
        return ANSWER_MORE;
    case LINE_TOO_LONG:
        if (of_head)
            return fail(a, ANSWER_TOO_LARGE, "the head is over its limit");
        return broken(a, "a chunk's size that cannot be read");
    case LINE_WHOLE:
        break;
    }
    if (strbuf_failed(&a->line))
        return broken(a, "out of memory");
    if (len < 2 || line[len - 2] != '\r')
        return broken(a, "a line that does not end in CR LF");
    step = on_line(a, line, len - 2);
    strbuf_reset(&a->line);
    return step;
}

static enum answer_step step_body(struct answer *a, const char **at, size_t *left)
{
    size_t n = *left;

    if (a->state != STATE_UNTIL_CLOSE && n > a->left)
        n = (size_t)a->left;
    a->piece = *at;
    a->piece_len = n;
    *at += n;
    *left -= n;
    if (a->state == STATE_UNTIL_CLOSE)
        return ANSWER_DATA;
    a->left -= n;
    if (a->left == 0)
        a->state = a->state == STATE_CHUNK ? STATE_CHUNK_END : STATE_END;
    return ANSWER_DATA;
}

enum answer_step answer_next(struct answer *answer, const char **at, size_t *left)
{
    enum answer_step step = ANSWER_MORE;

    while (step == ANSWER_MORE) {
        if (answer->state == STATE_END)
            return ANSWER_END;
        if (answer->state == STATE_FAILED)
            return ANSWER_BROKEN;
        if (*left == 0)
            return ANSWER_MORE;
        step = answer->state <= STATE_CHUNK_END ? step_line(answer, at, left)
                                                : step_body(answer, at, left);
    }
    return step;
}

enum answer_step answer_closed(struct answer *answer)
{
    if (answer->state == STATE_UNTIL_CLOSE)
        answer->state = STATE_END;
    if (answer->state == STATE_END)
        return ANSWER_END;
    return broken(answer, "closed before the answer was complete");
}
