/* See jsonl_reader.h. */
#include "jsonl/jsonl_reader.h"

#include <stddef.h>

enum { WORK = 16384 }; /* members, or pieces of strings between escapes */

void jsonl_reader_begin(struct jsonl_reader *r, const char *text, size_t len, unsigned max_depth)
{
    r->text = text;
    r->len = len;
    r->referee = NULL;
    jsonl_scan_begin(&r->scan, text, len, max_depth, &r->facts);
}

int jsonl_reader_some(struct jsonl_reader *r)
{
    enum jsonl_scan_state state;

    if (r->referee != NULL)
        return jsonl_referee_some(r->referee);
    state = jsonl_scan_some(&r->scan, WORK);
    if (state == JSONL_SCAN_GOOD)
        return 0;
    if (state == JSONL_SCAN_MORE)
        return JSONL_READER_MORE;
    r->referee = jsonl_referee_new(r->text, r->len, r->scan.max_depth, &r->facts, &r->refusal);
    return r->referee != NULL ? JSONL_READER_MORE : ERR_NOMEM;
}

void jsonl_reader_end(struct jsonl_reader *r)
{
    jsonl_referee_free(r->referee);
    r->referee = NULL;
    r->text = NULL;
}
