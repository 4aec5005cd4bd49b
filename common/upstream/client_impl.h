/* One upstream client, seen from inside: what its files share. Nobody else includes this.
 *
 *   client.c    the client as a whole, its lanes, and curl on the loop
 *   call.c      one call: its states, its limits of time, its end
 *   handle.c    curl's easy handle: the options, the request's lines
 *   origin.c    which URL may be asked
 *   transfer.c  what curl calls while a transfer runs
 *   turn.c      what a turn of the loop does, and whose calls come first
 *   head.c      the head of an answer
 *   lean.h      small calls without curl: the lean transport
 *
 * Three rules hold everywhere below. Handles are never taken out of a multi while curl runs
 * (`in_curl`): such wishes wait in `work`. An owner is called only from the loop, and last, when
 * nothing of the call is left. What is known about the outcome is strict: `nothing_sent` means that
 * curl never reached the point just before the first byte (its pre-request callback). */
#pragma once

#include <sys/queue.h>

#include <curl/curl.h>
#include <sys/epoll.h>

#include "common/rounds.h"
#include "common/strbuf.h"
#include "trust.h"
#include "upstream/client.h"

#define MAX_ORIGINS 16

#define OUT_OF_MEMORY "start: out of memory"

/* JSON may share an HTTP/2 connection. Files, and all that must not be repeated silently, go over
 * HTTP/1.1. The lean lane's sockets are not curl's. */
enum { LANE_JSON, LANE_H1, LANE_CURLS, LANE_LEAN = LANE_CURLS, LANE_COUNT };

TAILQ_HEAD(call_list, upstream_call);

struct lane {
    struct upstream *up; /* borrowed; our owner */
    CURLM *multi;        /* owned; NULL: the lean lane's */
    int epoll_fd;        /* the loop's */
    struct loop_timer timer;
    struct call_list parked; /* see upstream_call.parked_fd */
    uint64_t *owners;        /* owned [num_owners]; by descriptor, of those that were watched */
    size_t num_owners;
};

enum handle_kind { HANDLE_JSON, HANDLE_ONCE, HANDLE_FILE };

/* Where calls may go: "scheme://authority/", not terminated. */
struct origin {
    char text[136];
    size_t len; /* 0: none */
};

struct upstream {
    struct loop *loop; /* borrowed */
    bool allow_insecure, allow_metadata;
    char *proxy;    /* owned; NULL: none; wiped */
    char *no_proxy; /* owned; what is reached without it */
    char *ca_file;  /* owned; NULL: what libcurl was built with */
    struct trust trust;
    uint32_t connect_ms, low_speed_ms;
    size_t max_header_bytes;
    upstream_address_cb may_connect; /* NULL: all may be connected to */
    void *may_connect_arg;           /* borrowed */
    bool certificates;
    bool mends_folds; /* libcurl is one that refuses a head whose first line is folded */
    struct lane lanes[LANE_COUNT];
    CURLSH *share;     /* owned; TLS sessions, so that fresh connections resume */
    struct lean *lean; /* owned; NULL: all calls are curl's */
    size_t active;
    struct origin origins[MAX_ORIGINS];
    size_t next_origin; /* to be replaced */
    bool in_curl;       /* curl is on the stack below us */
    uint64_t run;       /* counts how often curl was run */
    struct call_list work;
    size_t num_work;
    struct call_list ended; /* curl is done with them, their owners do not know yet */
    struct rounds rounds;   /* when each owner had its turn */
    struct loop_timer work_timer;
};

enum phase { PHASE_CONNECT, PHASE_SEND, PHASE_WAIT, PHASE_RECEIVE };

enum todo { TODO_ADD = 1, TODO_REFUSE = 2, TODO_RESUME = 4, TODO_DROP = 8 };

/* The head of an answer while it comes in. */
struct head {
    struct strbuf text; /* name NUL value NUL ... */
    size_t num, raw_bytes;
    int status;
    int64_t content_length;
    bool bad_length; /* two that differ, or no number */
    bool chunked;
    bool complete;
    struct upstream_header *list; /* owned; made when complete */
};

struct upstream_call {
    TAILQ_ENTRY(upstream_call) link; /* in upstream.work while todo != 0 */
    unsigned todo;                   /* bits of enum todo */
    struct upstream *up;             /* borrowed */
    struct lane *lane;               /* borrowed */
    /* owned; NULL: refused before there was one, or a connection of the lean transport stands */
    CURL *easy;
    struct exchange *exchange; /* owned; NULL: the call is curl's (lean.h) */
    bool added;                /* to the lane's multi */
    uint64_t owner;            /* upstream_request.owner */
    TAILQ_ENTRY(upstream_call) ended_link;
    bool ended;        /* in upstream.ended: curl is done with it, */
    CURLcode code;     /* and this is how it ended, */
    uint64_t ended_us; /* and when */
    TAILQ_ENTRY(upstream_call) parked_link;
    /* Paused, but still watched for reading: most owners want more in the same turn. -1: none */
    int parked_fd;
    int watched_fd; /* the last that curl wanted watched for this call, and what for */
    int watched_for;
    struct curl_slist *lines; /* owned; one piece with their text, which holds the credential */
    size_t lines_size;        /* bytes */
    char *body;               /* owned; NULL: none */
    size_t body_len;
    bool secret; /* body and collected are wiped */
    upstream_source_cb source;
    uint64_t source_left;
    enum handle_kind kind;
    bool file, single; /* single: the request must go out once at most */
    uint32_t total_ms, first_byte_ms;
    size_t max_body;
    upstream_begin_cb on_begin;
    upstream_head_cb on_head;
    upstream_data_cb on_data;
    upstream_done_cb on_done;
    void *arg; /* borrowed */

    enum phase phase;
    bool began;    /* curl was about to send the request's first byte */
    bool repeated; /* ... and once more, on another connection */
    bool dropped;  /* cancelled from inside curl */
    bool streaming;
    bool paused;      /* the owner wants no bytes */
    bool pausing;     /* curl is being told */
    bool curl_paused; /* curl, or the lean transport, knows */
    bool resumed;     /* upstream_resume() was called during on_data */
    bool forbidden;   /* an address of the name may not be connected to */
    bool failed;      /* we stopped it ourselves: `end` and `error` say why */
    enum upstream_end end;
    struct head head;
    bool first_line; /* of the head comes next, and curl is told to show it: on_debug() */
    struct strbuf collected;
    uint64_t started_ms, sent_ms, moved_ms; /* loop time */
    uint64_t trickle_bytes;                 /* moved since moved_ms */
    uint64_t started_us, first_byte_us;
    uint64_t received;
    uint64_t run, run_bytes; /* received while curl runs this time (upstream.run) */
    struct loop_timer timer; /* the nearest limit */
    char error[160];
    char curl_error[CURL_ERROR_SIZE];
};

/* --- head.c --- */

/** RFC 9110 5.6.2. */
bool head_is_token(const char *text, size_t len);
/** Neither control bytes nor line ends. */
bool head_is_field_value(const char *text, size_t len);
/** A status line came: forget the lines before it. The count of raw bytes goes on. */
void head_reset(struct head *head, int status);
void head_deinit(struct head *head);
/** @return the status of a status line; 0: it holds none */
int head_parse_status(const char *line, size_t len);
/** One header line, without its end. Lines that are none, folded ones and values with control bytes
 * are left out: they must not reach a client. @return false: too many */
bool head_add(struct head *head, const char *line, size_t len);
/** The text stands still from now on: make the list that points into it. @return 0, ERR_NOMEM */
MUST_USE int head_finish(struct head *head);
/** What an owner sees of it; status 0 until it is complete. */
void head_view(const struct head *head, struct upstream_head *out);

/* --- call.c --- */

struct upstream_call *call_new(struct upstream *up, const struct upstream_request *request);
/** Not while curl runs. */
void call_free(struct upstream_call *call);
/** The one way out: take along what the owner needs, let go of everything, call back last. */
void call_finish(struct upstream_call *call, enum upstream_end end);
/** The request's first byte is about to go. Also the last gate against sending twice: a call that
 * must not be repeated stops here, and of another one it is noted (upstream_result.repeated).
 *  @return false: it must not go; call_fail() was told why, or the call is `dropped` */
bool call_may_begin(struct upstream_call *call);
/** The final head is complete. @return false to stop the transfer */
bool call_take_head(struct upstream_call *call);
/** Bytes of the body, at most 16 KiB: collect them, or hand them to the owner. @return false to stop
 * the transfer */
bool call_take_body(struct upstream_call *call, const char *bytes, size_t len);
/** We stop the transfer ourselves: curl then reports some error, and this says what it means. The
 * first one counts. */
void call_fail(struct upstream_call *call, enum upstream_end end, const char *text);
/** Curl has ended the transfer: what does it mean? Writes call->error. */
enum upstream_end call_classify(struct upstream_call *call, CURLcode code);
/** Wait for the nearest limit. Movement only makes a limit later, which its timer notices; changes
 * that may make it earlier come here.
 *  @return 0, ERR_NOMEM */
MUST_USE int call_arm_limit(struct upstream_call *call);
/** The same where nobody can act on a failure. */
void call_rearm_limit(struct upstream_call *call);
void call_set_phase(struct upstream_call *call, enum phase phase);
/** Bytes of a body went or came. */
void call_moved(struct upstream_call *call, size_t bytes);
/** Work that must wait until curl has returned: bits of enum todo. */
void call_work_add(struct upstream_call *call, unsigned bit);
void call_work_remove(struct upstream_call *call);

/* --- client.c --- */

/** Curl does not read for this call any more, so the loop must not look either. */
void lane_unpark(struct upstream_call *call);
/** NULL: curl's own. */
struct upstream_call *lane_call_of(CURL *easy);
/** Whose call this descriptor is watched for. Of a connection that calls share the owner of whichever
 * curl names. Without memory it is nobody's. */
void lane_set_owner(struct lane *lane, int fd, uint64_t owner);
/** The same, asked; 0: nobody's. */
uint64_t lane_owner_of(const struct lane *lane, int fd);
void lane_run_curl(struct lane *lane, curl_socket_t fd, int mask);

/* --- turn.c --- */

#define READY_MOST                                                                                 \
    256 /* sockets that are looked at in a turn; the kernel shows others in the next */

/* Sockets of a lane that are ready. */
struct ready {
    size_t num;
    int fds[READY_MOST];
    uint32_t events[READY_MOST];
    uint64_t owners[READY_MOST];
};

/** The call's transfer is over: its owner is told when its turn comes. `code` is curl's, CURLE_OK
 * where call_fail() was told why or the answer is complete. */
void turn_end(struct upstream_call *call, CURLcode code);
/** Ask the kernel. */
void ready_look(struct ready *ready, const struct lane *lane);
/** Do what waited for curl to return, as much as a turn may. */
void turn_work(struct upstream *up);
/** Serve ready sockets and calls that have ended, as much as a turn may, and come again for what is
 * left. Owners may start and cancel calls from inside.
 *  @param lane, ready  NULL: only calls that have ended */
void turn_run(struct upstream *up, struct lane *lane, struct ready *ready);

/* --- transfer.c --- */

/** Have curl call us about this call. @return false: out of memory */
bool transfer_set_functions(CURL *easy, struct upstream_call *call);

/* --- origin.c --- */

/** @return NULL when the URL may be asked, else why not */
const char *origin_check(struct upstream *up, const char *url);
/** Length of "scheme://authority/"; 0 where that is not plain to see, or a byte of the URL is none
 * that a URL may have. */
size_t origin_length(const char *url);

/* --- handle.c --- */

/** Make the call's handle ready. @return NULL, or why the call is refused */
const char *handle_prepare(struct upstream_call *call, const struct upstream_request *request);
/** Make the call's handle one that makes a TCP connection and asks nothing.
 *  @param url  "http://authority/" @return as above */
const char *handle_prepare_connection(struct upstream_call *call, const char *url);
/** Free the handle, outside of curl and of its multi, and wipe the request's lines. */
void handle_release(struct upstream_call *call);
