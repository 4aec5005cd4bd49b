/* An answer of our own that may be too long for one turn of the loop: one row of the configuration
 * after the other is written into it in slices, and it goes out in parts as the client takes them.
 * Its length is known before its head goes out, as for any other answer. */
#pragma once

#include "request/long_text.h"
#include "request/relay.h"

enum long_answer_step {
    LONG_ANSWER_DONE,
    LONG_ANSWER_MORE,
    LONG_ANSWER_PAUSE /* more, in another turn: that was work for one */
};

/** Append what comes next: a row or so, some hundred bytes, or nothing yet. Must not answer, nor
 * free anything. */
typedef enum long_answer_step (*long_answer_cb)(void *arg, struct strbuf *out);

/** Write a 200 and send it. The first slice is written at once, so a short answer has been sent
 * when this returns. Out of memory gives a 500.
 *  @param content_type  constant
 *  @param begin         constant text: what it begins with
 *  @param arg           for `write`; NULL: the 500 is given
 *  @param free_arg      when all is written, or the client left */
void long_answer_write_as(struct relay *relay, const char *content_type, const char *begin,
                          long_answer_cb write, void *arg, void (*free_arg)(void *arg));

/** The same of application/json; `arg` is from malloc(). */
void long_answer_write(struct relay *relay, const char *begin, long_answer_cb write, void *arg);

/** Send a text that is there, and not empty: a 200 of application/json. One that failed gives a
 * 500.
 *  @param text  taken, and empty afterwards */
void long_answer_send(struct relay *relay, struct long_text *text);
