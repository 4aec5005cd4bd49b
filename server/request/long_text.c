/* See long_text.h. */
#include "request/long_text.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ROOM (LONG_TEXT_PART + 4096) /* of a part: with its last addition, as a rule */

void long_text_drop(struct long_text *t)
{
    struct long_part *part = t->first;

    assert(part != NULL && (part == t->last || t->full >= part->bytes.len));
    t->first = part->next;
    if (t->first == NULL)
        t->last = NULL;
    else
        t->full -= part->bytes.len;
    strbuf_deinit(&part->bytes);
    free(part);
}

void long_text_deinit(struct long_text *t)
{
    while (t->first != NULL)
        long_text_drop(t);
    memset(t, 0, sizeof(*t));
}

static struct long_part *add_part(struct long_text *t)
{
    struct long_part *part = calloc(1, sizeof(*part));

    if (part == NULL)
        return NULL;
    if (t->last == NULL) {
        t->first = part; /* grows with what there is: most texts are short */
    } else {
        (void)strbuf_reserve(&part->bytes, ROOM);
        t->full += t->last->bytes.len;
        t->last->next = part;
    }
    return t->last = part;
}

struct strbuf *long_text_out(struct long_text *t)
{
    struct long_part *part = t->last;

    if (long_text_failed(t))
        return part != NULL && strbuf_failed(&part->bytes) ? &part->bytes : &t->nowhere;
    if (part == NULL || part->bytes.len >= LONG_TEXT_PART)
        part = add_part(t);
    if (part != NULL)
        return &part->bytes;
    t->nowhere.failed = true;
    return &t->nowhere;
}

size_t long_text_len(const struct long_text *t)
{
    return t->full + (t->last != NULL ? t->last->bytes.len : 0);
}

/* Nothing is added behind a part that failed. */
bool long_text_failed(const struct long_text *t)
{
    return strbuf_failed(&t->nowhere) || (t->last != NULL && strbuf_failed(&t->last->bytes));
}
