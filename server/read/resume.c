/* See resume.h. */
#include "read/resume.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "calls/range.h"

static void copy_validator(char *out, const struct upstream_head *head, const char *name)
{
    const char *text = upstream_header_find(head, name);

    out[0] = '\0';
    if (text != NULL && strlen(text) < RESUME_VALIDATOR)
        memcpy(out, text, strlen(text) + 1);
}

void resume_note(struct resume_mark *mark, const struct upstream_head *head)
{
    struct content_range part;

    mark->total = -1;
    if (head->status == 206 &&
        content_range_parse(upstream_header_find(head, "content-range"), &part))
        mark->total = part.total;
    else if (head->status == 200)
        mark->total = head->content_length;
    copy_validator(mark->etag, head, "etag");
    copy_validator(mark->modified, head, "last-modified");
    mark->encoded = upstream_header_find(head, "content-encoding") != NULL;
}

const char *resume_validator(const struct resume_mark *mark)
{
    return mark->etag[0] == '"' ? mark->etag : NULL;
}

bool resume_is_possible(const struct resume_mark *mark)
{
    return !mark->encoded && (mark->total >= 0 || resume_validator(mark) != NULL);
}

void resume_range(uint64_t next, uint64_t end, char *out, size_t size)
{
    if (end == UINT64_MAX)
        snprintf(out, size, "bytes=%" PRIu64 "-", next);
    else
        snprintf(out, size, "bytes=%" PRIu64 "-%" PRIu64, next, end - 1);
}

/* What is told twice must be the same, and one thing that tells files apart must be. */
static bool is_same(const struct resume_mark *a, const struct resume_mark *b)
{
    bool size = a->total >= 0 && b->total >= 0, etag = a->etag[0] != '\0' && b->etag[0] != '\0';

    if ((size && a->total != b->total) || (etag && strcmp(a->etag, b->etag) != 0) || b->encoded)
        return false;
    if (a->modified[0] != '\0' && b->modified[0] != '\0' && strcmp(a->modified, b->modified) != 0)
        return false;
    return size || (etag && a->etag[0] == '"');
}

enum resume_verdict resume_judge(const struct resume_mark *mark, const struct upstream_head *head,
                                 uint64_t next)
{
    struct resume_mark now;
    struct content_range part;

    resume_note(&now, head);
    if (!is_same(mark, &now))
        return RESUME_OTHER;
    if (head->status == 200)
        return RESUME_WHOLE;
    if (head->status == 206 &&
        content_range_parse(upstream_header_find(head, "content-range"), &part) &&
        part.first == next)
        return RESUME_REST;
    return RESUME_OTHER;
}
