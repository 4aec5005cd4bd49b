/* What the journal says of batches, for the page: asked of the keeper while somebody looks, and never
 * waited for. What is shown is its last answer, with its age. */
#pragma once

#include "common/strbuf.h"
#include "core/runtime.h"
#include "tenants/ask.h"

#define JOURNAL_LOOK_MS 4000  /* from one question to the next */
#define JOURNAL_WAIT_MS 10000 /* for an answer: nobody waits with it */

enum journal_question { JOURNAL_OPEN, JOURNAL_LATEST, JOURNAL_QUESTIONS };

struct journal_look {
    struct runtime *rt; /* borrowed */
    struct journal_part {
        struct journal_look *look; /* its own */
        struct ask_call *call;     /* NULL: nothing is under way */
        struct strbuf answer;      /* owned; the last good one; "": there was none */
        uint64_t asked_ms, came_ms;
        bool failed; /* the last one was not good */
    } parts[JOURNAL_QUESTIONS];
};

/** All zeroes before. */
void journal_look_init(struct journal_look *look, struct runtime *rt);

/** Ask again, where there is a journal and the last question was some time ago. */
void journal_look_ask(struct journal_look *look);

/** Write what is known. */
void journal_look_write(const struct journal_look *look, struct strbuf *out);
