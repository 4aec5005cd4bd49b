/* See live.h. Ids are random, so their first two digits are a hash. */
#include "core/live.h"

#include <assert.h>
#include <string.h>

static unsigned digit(char c)
{
    return c >= 'a' ? (unsigned)(c - 'a') + 10 : (unsigned)(c - '0');
}

static struct live_bucket *bucket_of(struct live *live, const char *id)
{
    assert(id[0] != '\0' && strlen(id) < LIVE_ID);
    return &live->buckets[(digit(id[0]) << 4 | digit(id[1])) % LIVE_BUCKETS];
}

void live_add(struct live *live, struct live_request *request)
{
    struct live_bucket *bucket = bucket_of(live, request->id);

    assert(request->calls.num == 0);
    LIST_INSERT_HEAD(bucket, request, link);
}

void live_remove(struct live_request *request)
{
    LIST_REMOVE(request, link);
}

static struct live_request *find(struct live *live, const char *id)
{
    struct live_request *request;

    if (id == NULL || id[0] == '\0')
        return NULL;
    LIST_FOREACH(request, bucket_of(live, id), link)
    if (strcmp(request->id, id) == 0)
        return request;
    return NULL;
}

void live_note_begin(struct live *live, const char *id, uint64_t now_us)
{
    struct live_request *request = find(live, id);

    if (request == NULL)
        return;
    if (request->calls.num++ == 0)
        request->calls.begun_us = now_us;
}

void live_note_end(struct live *live, const char *id, const struct live_calls *calls)
{
    struct live_request *request = find(live, id);
    struct live_calls *own;

    if (request == NULL)
        return;
    own = &request->calls;
    assert(own->num > 0); /* its begin was noted */
    own->status = calls->status;
    own->connect_us = calls->connect_us;
    own->first_byte_us = calls->first_byte_us;
    memcpy(own->id, calls->id, sizeof(own->id));
}

void live_each(struct live *live, void (*each)(struct live_request *request))
{
    struct live_request *request;

    for (size_t i = 0; i < LIVE_BUCKETS; i++)
        LIST_FOREACH(request, &live->buckets[i], link)
    each(request);
}
