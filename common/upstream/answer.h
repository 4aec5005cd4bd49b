/* An answer of HTTP/1.1 as its bytes come in (RFC 9112), for the lean transport (lean.c): where its
 * head, its body and itself end. Strict: whoever stands between a provider and us may read the same
 * bytes, so what two readers could take for different answers is no answer. Pure: no socket, no
 * clock, no callback.
 *
 * Broken are: a line that does not end in CR LF, another version than 1.0 and 1.1, a length that is
 * no number or that another one contradicts, a transfer coding other than "chunked" alone, a length
 * beside it, either of them in a line that is folded or malformed, a chunk without its end, and a
 * switch of protocols. A line of the head that says nothing about where the answer ends may be
 * malformed: it is left out (head_add()). */
#pragma once

#include "client_impl.h"

enum answer_step {
    ANSWER_MORE, /* all bytes were taken, and others must come */
    ANSWER_HEAD, /* the final head is complete in `head`, but for head_finish() */
    ANSWER_DATA, /* `piece` is the next part of the body */
    ANSWER_END,  /* complete; what stands behind it was not taken */
    ANSWER_BROKEN,
    ANSWER_TOO_LARGE /* the head is over its cap, or has too many lines */
};

enum answer_state {
    STATE_STATUS, /* the lines up to the body come first: is_of_head() */
    STATE_FIELDS,
    STATE_TRAILERS,
    STATE_CHUNK_SIZE,
    STATE_CHUNK_END,
    STATE_LENGTH,
    STATE_CHUNK,
    STATE_UNTIL_CLOSE,
    STATE_END,
    STATE_FAILED
};

struct answer {
    struct head *head; /* borrowed; what is in it is the caller's to free */
    size_t max_head;   /* bytes of all heads and trailers together */
    enum answer_state state;
    struct strbuf line; /* the beginning of a line whose end has not come */
    bool framing;       /* the line before says where the answer ends */
    bool is_1_0, has_length, has_coding;
    bool last;       /* behind this answer the connection is of no use */
    uint64_t left;   /* bytes of the body, or of the chunk, that have not come */
    const char *why; /* it is broken, or too large */
    const char *piece;
    size_t piece_len;
};

/** Begin. The head's count of bytes goes on where it is. */
void answer_init(struct answer *answer, struct head *head, size_t max_head);
void answer_deinit(struct answer *answer);

/** One step. Calls are repeated until it wants more, or until there is an end.
 *  @param at, left  the bytes that came; moved over those that were taken. A piece points into them */
enum answer_step answer_next(struct answer *answer, const char **at, size_t *left);

/** The peer has closed its side, and said all that it had to say before.
 *  @return ANSWER_END where that is the body's end, else ANSWER_BROKEN */
enum answer_step answer_closed(struct answer *answer);
