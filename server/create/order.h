/* One client's order for a batch, from the request to its known end. Three files: batches.c takes
 * the request, order_place.c finds a deployment that has room and gets the file there, order.c
 * carries out the create, answers, and ends. */
#pragma once

#include "routing/candidates.h"
#include "create.h"
#include "objects/facts.h"
#include "objects/locate.h"
#include "move.h"
#include "request/relay.h"
#include "once/repeat.h"
#include "request/resolve.h"

#define ORDER_MAX_TRIES 8 /* deployments that one order goes through */

struct order {
    struct relay *relay; /* borrowed; NULL once the client is gone */
    struct runtime *rt;
    char request_id[37];
    uint64_t owner;
    uint64_t request;     /* fingerprint of what was asked */
    struct wanted wanted; /* the batch, by what it will be known: at the client's file */
    char endpoint[64];    /* as the client wrote it */
    char *file_id;        /* owned; of the input file, as the client wrote it */
    bool tagged;          /* answer with signed (tagged) ids */
    struct target target; /* owned; where the client's file may be */
    uint32_t at;          /* ... candidate in use */
    struct failure worst; /* the most telling failure so far; status 0: none */
    struct repeat repeat; /* this request among those that were made before */
    struct facts facts;   /* of the file */
    bool have_facts;
    const char *file_url;         /* constant; that the lines of the file have; NULL: not known */
    uint64_t tokens;              /* of the batch, as estimated; 0: not known */
    uint64_t least;               /* ... and for certain */
    uint64_t unsure_from;         /* choose_unsure_from() */
    uint64_t job;                 /* facts_job(); 0: not known */
    struct candidates places;     /* owned; where its work may go; none: only where the file is */
    bool *tried;                  /* owned; [places.num] */
    bool *barred;                 /* owned; the same, and what has no slot for a copy */
    uint32_t tier;                /* of the places in use */
    uint32_t tries, tries_here;   /* in all, and in this tier */
    int status;                   /* of the provider's answer; 0: not known */
    uint32_t deployment;          /* of the current try */
    bool entered;                 /* holds the half-open probe permit of `deployment` */
    char file[IDS_MAX + 1];       /* native id of the input file there */
    struct quota_claim claim;     /* its reservation; empty: none */
    char nonce[MARKER_NONCE + 1]; /* of the marker that the batch will carry; "": none */
    struct locate *locate;        /* owned, as the next three; one of them at most is under way */
    struct facts_look *look;
    struct create *create;
    struct move *move;
};

/* --- order.c --- */

/** The end of an order of which nothing is under way: what it held goes back. */
void order_free(struct order *o);

/** The relay's disposer tells that the client has left. A create that is under way goes on. */
void order_client_gone(void *order);

/** Take the relay away: it will be answered now, and the order freed. */
struct relay *order_detach(struct order *o);

/** Answer with an error and end. `failure` may be the order's own. */
void order_fail(struct order *o, const struct failure *failure);
void order_fail_memory(struct order *o);

/** Answer with a batch as its provider sent it, keep the answer for whoever repeats the request,
 * and end. Also when the client has left. */
void order_answer(struct order *o, uint32_t deployment, struct json_doc *doc, struct json *batch);

/** Whether the batch can carry a marker. */
bool order_takes_marker(const struct order *o);

/** The sealed marker for the batch at the current place. @return 0; else it can carry none */
MUST_USE int order_marker(const struct order *o, struct strbuf *text);

/** The current place is given up: its tokens, and the right to try there, go back. */
void order_leave_place(struct order *o);

/** Create the batch at `deployment` from `file`; ends the order, or goes on elsewhere. */
void order_send(struct order *o);

/* --- order_place.c --- */

/** Find out where the file is and what a batch of it takes, reserve that, and send. */
void order_place(struct order *o);

/** The next deployment that has room gets a copy of the file and the batch. */
void order_place_elsewhere(struct order *o);

/** What the current place refused it would refuse through all rows that are the same deployment.
 * Not for a refused key: another row may have another one. */
void order_rule_out(struct order *o);

/** There is none: say why, and when there will be. No room is promised at a deployment that has
 * refused this very job. */
void order_nowhere(struct order *o);
