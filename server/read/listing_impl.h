/* What the files of a list share: listing.c begins, answers and ends it, listing_question.c reads
 * what was asked, listing_cursor.c finds where the page begins, listing_reader.c reads one account.
 */
#pragma once

#include "calls/attempt.h"
#include "listing_page.h"
#include "listing_places.h"
#include "calls/listing_scan.h"
#include "objects/locate.h"
#include "request/long_text.h"
#include "request/operation.h"
#include "request/relay.h"
#include "request/resolve.h"

#define LISTING_MAX_FILES   10000
#define LISTING_MAX_BATCHES 100

struct listing_text { /* one answer of a provider; its objects are used until the end */
    struct listing_text *next;
    struct strbuf bytes; /* owned */
};

struct listing_question {
    enum id_kind kind;
    uint64_t owner; /* who asks, as in relay.h */
    size_t limit;
    bool ascending, strict;
    char purpose[64];
    char after[IDS_MAX + 1]; /* as the client wrote it; "" none */
};

struct reader { /* one account being read */
    struct listing *list;
    uint32_t deployment;
    uint32_t key; /* of the account: its place among equals */
    size_t index;
    struct attempt *attempt;
    char after[IDS_MAX + 1]; /* native cursor of the page being asked for; "" from the top */
    char begin[IDS_MAX + 1]; /* the first of them */
    bool expects;            /* something is known to be behind `after` */
    /* Its pages are in no order that we can use: all of it is read, then sorted */
    bool whole;
    bool from_top;             /* `after` is unknown to the account: read all, go by times */
    size_t ask;                /* objects asked for in one page */
    struct listing_text *page; /* borrowed; the page being received or read; NULL: none */
    size_t burst;              /* bytes of it in this turn of the loop */
    bool paused;               /* no more of them in this turn */
    bool complete;             /* it may be read */
    struct listing_scan scan;
    size_t page_from;          /* items that were there before this page */
    char last[IDS_MAX + 1];    /* last object of the page */
    char skipped[IDS_MAX + 1]; /* last object that belongs in front of this page; "" none */
    bool more;                 /* the account has more than was read */
    unsigned pages;
    uint32_t tries;          /* at this page */
    struct loop_timer retry; /* before the next one */
    bool done, failed;
    struct failure failure;
};

struct listing {
    struct operation op; /* its deployment: the one account that is listed, if it is one */
    struct listing_question question;
    struct reader *readers;         /* owned [num]; by key: the order of equal times */
    struct listing_source *sources; /* owned [num] */
    size_t num;
    size_t opened;               /* readers that have begun */
    size_t turn;                 /* whose text was looked at last */
    struct target cursor_target; /* owned; where `after` may live */
    struct listing_cursor cursor;
    struct listing_text *texts; /* owned */
    uint64_t deadline_ms;       /* of the accounts being read */
    struct long_text text;      /* the answer being printed ... */
    struct strbuf first, last;  /* ... its first and newest id */
    struct json_doc *scratch;   /* owned; what is read or printed in this slice; NULL: nothing */
    size_t written;
    size_t last_source; /* of the last object printed */
    int64_t last_created_at;
    struct loop_timer late; /* the end of the search for the cursor */
    struct loop_timer open; /* of beginning to read */
    struct slice slice;     /* of reading; of printing */
    struct loop_timer flow; /* readers that paused go on */
};

/** Take the question apart. */
MUST_USE enum answered listing_parse(struct relay *relay, struct listing_question *question);

/** Find where the page begins, then read the accounts. May end the list. */
void listing_locate(struct listing *l);

/** Read all accounts; listing_finish() follows. May end the list. */
void listing_read(struct listing *l);
/** Free what a reader holds, calls included. */
void listing_reader_deinit(struct reader *r);

/** All accounts were read: answer. Ends the list. */
void listing_finish(struct listing *l);
/** The same answer as to an id that was never one. Ends the list. */
void listing_fail_cursor(struct listing *l);

/** An empty document for one slice of work; NULL: out of memory. */
struct json_doc *listing_scratch(struct listing *l);

/** When an object was made; 0: it does not say. Brings it into OpenAI's form where that is needed
 * to know. */
int64_t listing_created_at(const struct listing *l, struct json_doc *doc, struct json *object);
