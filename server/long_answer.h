/* An answer of our own that may be too long for one turn of the loop: one row of the configuration
 * after the other is written into it in slices, and it goes out in parts as the client takes them.
 * Its length is known before its head goes out, as for any other answer. */
#pragma once

#include "server/long_text.h"
#include "server/relay.h"

/** Append what comes next: a row or so, some hundred bytes. Must not answer, nor free anything.
 *  @return whether there is more */
typedef bool (*long_answer_cb)(void *arg, struct strbuf *out);

/** Write a 200 of application/json and send it. The first slice is written at once, so a short
 * answer has been sent when this returns. Out of memory gives a 500.
 *  @param begin  constant text: what it begins with
 *  @param arg    for `write`; from malloc(), owned: freed when all is written, or the client left;
 * NULL: the 500 is given */
void long_answer_write(struct relay *relay, const char *begin, long_answer_cb write, void *arg);

/** Send a text that is there, and not empty: a 200 of application/json. One that failed gives a
 * 500.
 *  @param text  taken, and empty afterwards */
void long_answer_send(struct relay *relay, struct long_text *text);
