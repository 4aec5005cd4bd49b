/* The requests of clients that a worker has in flight, by their ids: who makes a call to a provider
 * for one notes it here for its line in the access log, whether or not its client is still there; and
 * a worker that has to end now finds those whose lines are still to be written. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define LIVE_ID       37 /* bytes of a request's id, with the NUL */
#define LIVE_THEIR_ID 65 /* of a provider's */
#define LIVE_BUCKETS  256

/* What the calls to providers for one request came to. */
struct live_calls {
    uint32_t num;        /* begun; 0: the rest says nothing */
    int status;          /* that the last one was answered with; 0: with none, or not yet */
    uint64_t begun_us;   /* monotonic; when the first one began */
    uint64_t connect_us; /* that the last one took to connect; 0: the connection stood */
    uint64_t
        first_byte_us; /* from the begin of the last one to the first byte of its answer; 0: none */
    char id[LIVE_THEIR_ID]; /* that the provider gave the last one; "": none that a log may hold */
};

struct live_request {
    LIST_ENTRY(live_request) link;
    char id[LIVE_ID];
    struct live_calls calls;
};

LIST_HEAD(live_bucket, live_request);

/* All zero holds none. */
struct live {
    struct live_bucket buckets[LIVE_BUCKETS];
};

/** A request begins. @param request  the caller's, zeroed, with its id; it stays where it is */
void live_add(struct live *live, struct live_request *request);

/** It ends. */
void live_remove(struct live_request *request);

/** A call begins for the request of that id, if it is still there. @param id  NULL: for none */
void live_note_begin(struct live *live, const char *id, uint64_t now_us);

/** ... and ends, as the other members of `calls` say; its `num` and `begun_us` are not looked at. */
void live_note_end(struct live *live, const char *id, const struct live_calls *calls);

/** Each of them, in no order. @param each  must not add or remove */
void live_each(struct live *live, void (*each)(struct live_request *request));
