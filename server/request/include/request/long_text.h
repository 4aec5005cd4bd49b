/* A text that may grow to megabytes, in parts of one size: nothing of it is ever copied to grow
 * (a block of 2 MB that doubles costs 2 ms), and a part can go as soon as it was sent. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/strbuf.h"

/* Bytes from which a part is full; its last addition may exceed it */
#define LONG_TEXT_PART 32768

struct long_part {
    struct long_part *next; /* owned */
    struct strbuf bytes;
};

/* All zero is an empty one. */
struct long_text {
    struct long_part *first, *last; /* owned */
    size_t full;                    /* bytes in the parts before the last one */
    struct strbuf nowhere;          /* where bytes go when there is no memory: it has failed */
};

/** Free all parts; the text is empty again. */
void long_text_deinit(struct long_text *text);

/** Where the next bytes go. Valid until the next call; a part of it that ran out of memory makes
 * the whole text fail. */
struct strbuf *long_text_out(struct long_text *text);

/** Bytes of all parts that were not dropped. */
size_t long_text_len(const struct long_text *text);
/** Whether some of it was lost for want of memory; it stays so. */
bool long_text_failed(const struct long_text *text);

/** Free the first part. */
void long_text_drop(struct long_text *text);
