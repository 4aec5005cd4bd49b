/* libcurl's multi interface on the worker's loop. Each lane (one multi handle) keeps curl's sockets
 * in an epoll of its own, and the loop watches only that: curl may close and reopen descriptors as
 * it likes. Measured in libh2o.md, section 3.
 *
 * Three rules hold everywhere below. Handles are never taken out of a multi while curl runs
 * (`in_curl`): such wishes wait in `work`. An owner is called only from the loop, and last, when
 * nothing of the call is left. What is known about the outcome is strict: `nothing_sent` means that
 * curl never reached the point just before the first byte (its pre-request callback). */
#include "common/upstream/client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>

#include <curl/curl.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/secret.h"
#include "common/strbuf.h"

#define DEFAULT_CONNECT_MS   10000
#define DEFAULT_HEADER_BYTES (64 * 1024)
#define DEFAULT_BODY_BYTES   (1024 * 1024)
#define MAX_HEADERS          256
#define MAX_IDLE_CONNECTIONS 256
#define MAX_IDLE_S           55   /* just below the minute after which common front ends close */
#define MAX_LIFETIME_S       1800 /* so that connections follow DNS */
#define FILE_BUFFER          (128 * 1024)
#define MAX_SPARE            32
#define EVENTS_PER_TURN      64
#define PRE_RESERVE          (256 * 1024)

/* JSON may share an HTTP/2 connection. Files, and all that must not be repeated silently, go over
 * HTTP/1.1. */
enum { LANE_JSON, LANE_H1, LANE_COUNT };

struct lane {
    struct upstream *up; /* borrowed; our owner */
    CURLM *multi;        /* owned */
    int epoll_fd;        /* the loop's */
    struct loop_timer timer;
};

TAILQ_HEAD(call_list, upstream_call);

struct upstream {
    struct loop *loop; /* borrowed */
    bool allow_insecure;
    char *ca_file; /* owned; NULL: what libcurl was built with */
    uint32_t connect_ms, low_speed_ms;
    size_t max_header_bytes;
    struct lane lanes[LANE_COUNT];
    CURLSH *share;          /* owned; TLS sessions, so that fresh connections resume */
    CURL *spare[MAX_SPARE]; /* owned; reset handles */
    size_t num_spare, active;
    bool in_curl; /* curl is on the stack below us */
    struct call_list work;
    size_t num_work;
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
    CURL *easy;                      /* owned; NULL when refused before there was one */
    bool added;                      /* to the lane's multi */
    struct curl_slist *headers;      /* owned; holds the credential */
    char *body;                      /* owned; NULL: none */
    upstream_source_cb source;
    uint64_t source_left;
    bool file, single; /* single: the request must go out once at most */
    uint32_t total_ms, first_byte_ms;
    size_t max_body;
    upstream_head_cb on_head;
    upstream_data_cb on_data;
    upstream_done_cb on_done;
    void *arg; /* borrowed */

    enum phase phase;
    bool began;   /* curl was about to send the request's first byte */
    bool dropped; /* cancelled from inside curl */
    bool streaming;
    bool paused;      /* the owner wants no bytes */
    bool curl_paused; /* curl knows */
    bool resumed;     /* upstream_resume() was called during on_data */
    bool failed;      /* we stopped it ourselves: `end` and `error` say why */
    enum upstream_end end;
    struct head head;
    struct strbuf collected;
    uint64_t started_ms, sent_ms, moved_ms; /* loop time */
    uint64_t started_us, first_byte_us;
    uint64_t received;
    struct loop_timer timer; /* the nearest limit */
    char error[160];
    char curl_error[CURL_ERROR_SIZE];
};

/* --- the head of an answer --- */

static void head_reset(struct head *head, int status)
{
    strbuf_reset(&head->text);
    head->num = 0;
    head->status = status;
    head->content_length = -1;
    head->bad_length = head->chunked = false;
}

static void head_deinit(struct head *head)
{
    strbuf_deinit(&head->text);
    free(head->list);
    memset(head, 0, sizeof(*head));
}

/* RFC 9110 5.6.2 */
static bool is_token(const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!(c < 0x80 && isalnum(c)) && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL))
            return false;
    }
    return len > 0;
}

static bool is_field_value(const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static int64_t parse_length(const char *text, size_t len)
{
    int64_t value = 0;
    size_t i;

    if (len == 0 || len > 18)
        return -1;
    for (i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return -1;
        value = value * 10 + (text[i] - '0');
    }
    return value;
}

/* RFC 9112 6.3: two lengths that differ are a broken message, whatever curl makes of them. */
static void note_framing(struct head *head, const char *line, size_t name_len, const char *value,
                         size_t len)
{
    int64_t length;

    if (name_len == 17 && strncasecmp(line, "transfer-encoding", 17) == 0)
        head->chunked = true;
    if (name_len != 14 || strncasecmp(line, "content-length", 14) != 0)
        return;
    length = parse_length(value, len);
    if (length < 0 || (head->content_length >= 0 && head->content_length != length))
        head->bad_length = true;
    head->content_length = length;
}

/* One header line, without its end. Lines that are none, folded ones and values with control bytes
 * are left out: they must not reach a client. */
static bool head_add(struct head *head, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len), *value, *end = line + len;
    size_t name_len, i;

    if (colon == NULL || !is_token(line, (size_t)(colon - line)))
        return true;
    name_len = (size_t)(colon - line);
    for (value = colon + 1; value < end && (*value == ' ' || *value == '\t');)
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (!is_field_value(value, (size_t)(end - value)))
        return true;
    if (head->num == MAX_HEADERS)
        return false;
    note_framing(head, line, name_len, value, (size_t)(end - value));
    for (i = 0; i < name_len; i++)
        strbuf_addc(&head->text, (char)tolower((unsigned char)line[i]));
    strbuf_addc(&head->text, '\0');
    strbuf_add(&head->text, value, (size_t)(end - value));
    strbuf_addc(&head->text, '\0');
    head->num++;
    return true;
}

/* The text stands still from now on: make the list that points into it. */
static int head_finish(struct head *head)
{
    const char *at = strbuf_str(&head->text);
    size_t i;

    if (strbuf_failed(&head->text))
        return ERR_NOMEM;
    head->list = calloc(head->num + 1, sizeof(*head->list));
    if (head->list == NULL)
        return ERR_NOMEM;
    for (i = 0; i < head->num; i++) {
        head->list[i].name = at;
        at += strlen(at) + 1;
        head->list[i].value = at;
        at += strlen(at) + 1;
    }
    head->complete = true;
    return 0;
}

static void head_view(const struct head *head, struct upstream_head *out)
{
    memset(out, 0, sizeof(*out));
    out->content_length = -1;
    if (!head->complete)
        return;
    out->status = head->status;
    out->content_length = head->chunked ? -1 : head->content_length;
    out->headers = head->list;
    out->num_headers = head->num;
}

const char *upstream_header_find(const struct upstream_head *head, const char *name)
{
    size_t i;

    for (i = 0; i < head->num_headers; i++)
        if (strcmp(head->headers[i].name, name) == 0)
            return head->headers[i].value;
    return NULL;
}

/* --- work that must wait until curl has returned --- */

static void work_add(struct upstream_call *call, unsigned bit)
{
    struct upstream *up = call->up;

    if (call->todo == 0) {
        TAILQ_INSERT_TAIL(&up->work, call, link);
        up->num_work++;
    }
    call->todo |= bit;
    /* Without memory for the timer the next turn of a lane finds it. */
    if (loop_timer_start(up->loop, &up->work_timer, 0) != 0)
        log_error("upstream: out of memory for a timer");
}

static void work_remove(struct upstream_call *call)
{
    if (call->todo == 0)
        return;
    TAILQ_REMOVE(&call->up->work, call, link);
    call->up->num_work--;
    call->todo = 0;
}

/* --- the end of a call --- */

static void wipe_headers(struct curl_slist *list)
{
    struct curl_slist *node;

    for (node = list; node != NULL; node = node->next)
        secret_wipe(node->data, strlen(node->data));
    curl_slist_free_all(list);
}

static void spare_put(struct upstream *up, CURL *easy)
{
    if (up->num_spare == MAX_SPARE) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    up->spare[up->num_spare++] = easy;
}

static void call_free(struct upstream_call *call)
{
    struct upstream *up = call->up;

    assert(!up->in_curl || !call->added);
    loop_timer_stop(up->loop, &call->timer);
    work_remove(call);
    if (call->added)
        curl_multi_remove_handle(call->lane->multi, call->easy);
    if (call->easy != NULL)
        spare_put(up, call->easy);
    wipe_headers(call->headers);
    free(call->body);
    head_deinit(&call->head);
    strbuf_deinit(&call->collected);
    free(call);
    up->active--;
}

/* For logs: printable, and nothing from a '?' on. */
static void clean_text(char *text)
{
    for (; *text != '\0' && *text != '?'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
    *text = '\0';
}

/* The one way out: take along what the owner needs, let go of everything, call back last. */
static void call_finish(struct upstream_call *call, enum upstream_end end)
{
    struct upstream_result result = {.end = end, .nothing_sent = !call->began};
    struct head head = call->head;
    struct strbuf body = call->collected;
    upstream_done_cb on_done = call->on_done;
    void *arg = call->arg;
    curl_off_t sent = 0;

    memset(&call->head, 0, sizeof(call->head));
    strbuf_init(&call->collected);
    if (call->easy != NULL)
        curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    head_view(&head, &result.head);
    if (end == UPSTREAM_ANSWERED && !call->streaming) {
        result.body = body.data;
        result.body_len = body.len;
    }
    result.total_us = clock_now_us() - call->started_us;
    result.first_byte_us = call->first_byte_us;
    result.bytes_sent = (uint64_t)sent;
    result.bytes_received = call->received;
    if (end != UPSTREAM_ANSWERED) {
        memcpy(result.error, call->error, sizeof(result.error));
        clean_text(result.error);
    }
    call_free(call);
    on_done(arg, &result);
    head_deinit(&head);
    strbuf_deinit(&body);
}

/* We stop the transfer ourselves: curl then reports some error, and this says what it means. */
static void call_fail(struct upstream_call *call, enum upstream_end end, const char *text)
{
    if (call->failed)
        return;
    call->failed = true;
    call->end = end;
    snprintf(call->error, sizeof(call->error), "%s", text);
}

static const char *phase_name(enum phase phase)
{
    static const char *const names[] = {"connect", "send", "wait", "receive"};

    return names[phase];
}

/* Curl has ended the transfer: what does it mean? */
static enum upstream_end classify(struct upstream_call *call, CURLcode code)
{
    const char *text;

    if (call->failed)
        return call->end;
    if (code == CURLE_OK && call->head.complete)
        return UPSTREAM_ANSWERED;
    text = call->curl_error[0] != '\0' ? call->curl_error
           : code == CURLE_OK          ? "no answer"
                                       : curl_easy_strerror(code);
    snprintf(call->error, sizeof(call->error), "%s: %.140s", phase_name(call->phase), text);
    if (!call->began)
        return code == CURLE_OUT_OF_MEMORY ? UPSTREAM_REFUSED : UPSTREAM_CONNECT_FAILED;
    return code == CURLE_OPERATION_TIMEDOUT ? UPSTREAM_TIMEOUT : UPSTREAM_BROKEN;
}

/* --- limits of time --- */

static void earlier(uint64_t *due, uint64_t since, uint32_t limit_ms)
{
    if (limit_ms != 0 && since + limit_ms < *due)
        *due = since + limit_ms;
}

/* The nearest limit; UINT64_MAX: none. */
static uint64_t call_due(const struct upstream_call *call)
{
    uint32_t low_speed_ms = call->file ? call->up->low_speed_ms : 0;
    uint64_t due = UINT64_MAX;

    earlier(&due, call->started_ms, call->total_ms);
    switch (call->phase) {
    case PHASE_CONNECT:
        earlier(&due, call->started_ms, call->up->connect_ms);
        break;
    case PHASE_SEND:
        earlier(&due, call->moved_ms, low_speed_ms);
        break;
    case PHASE_WAIT:
        earlier(&due, call->sent_ms, call->first_byte_ms != 0 ? call->first_byte_ms : low_speed_ms);
        break;
    case PHASE_RECEIVE:
        if (!call->paused)
            earlier(&due, call->moved_ms, low_speed_ms);
        break;
    }
    return due;
}

/* Movement only makes a limit later, which on_limit() notices; changes that may make it earlier
 * come here. */
static int arm_limit(struct upstream_call *call)
{
    uint64_t due = call_due(call), now = loop_now_ms(call->up->loop);

    if (due == UINT64_MAX) {
        loop_timer_stop(call->up->loop, &call->timer);
        return 0;
    }
    return loop_timer_start(call->up->loop, &call->timer, due > now ? due - now : 0);
}

static void rearm_limit(struct upstream_call *call)
{
    if (arm_limit(call) != 0)
        log_error("upstream: out of memory for a timer");
}

static void set_phase(struct upstream_call *call, enum phase phase)
{
    call->phase = phase;
    call->moved_ms = loop_now_ms(call->up->loop);
    if (phase == PHASE_WAIT)
        call->sent_ms = call->moved_ms;
    rearm_limit(call);
}

static void on_limit(struct loop_timer *timer)
{
    struct upstream_call *call = timer->arg;

    if (call->dropped) {
        call_free(call);
        return;
    }
    if (loop_now_ms(call->up->loop) < call_due(call)) {
        rearm_limit(call);
        return;
    }
    snprintf(call->error, sizeof(call->error), "%s: time limit passed after %llu ms",
             phase_name(call->phase),
             (unsigned long long)(loop_now_ms(call->up->loop) - call->started_ms));
    call_finish(call, call->began ? UPSTREAM_TIMEOUT : UPSTREAM_CONNECT_FAILED);
}

/* --- what curl calls --- */

/* The connection stands, the first byte of the request is about to go. Also the last gate against
 * sending twice: whatever made curl start again, a call that must not be repeated stops here. */
static int on_prereq(void *arg, char *peer, char *local, int peer_port, int local_port)
{
    struct upstream_call *call = arg;

    (void)peer;
    (void)local;
    (void)peer_port;
    (void)local_port;
    if (call->dropped)
        return CURL_PREREQFUNC_ABORT;
    if (call->began && call->single) {
        call_fail(call, UPSTREAM_BROKEN, "send: connection lost, not repeated");
        return CURL_PREREQFUNC_ABORT;
    }
    call->began = true;
    set_phase(call, call->source != NULL && call->source_left > 0 ? PHASE_SEND : PHASE_WAIT);
    return CURL_PREREQFUNC_OK;
}

static size_t on_read(char *buf, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    size_t room = size * count;
    ssize_t n;

    if (call->dropped)
        return CURL_READFUNC_ABORT;
    if (room > call->source_left)
        room = (size_t)call->source_left;
    if (room == 0)
        return 0;
    n = call->source(call->arg, buf, room);
    if (call->dropped)
        return CURL_READFUNC_ABORT;
    if (n <= 0 || (size_t)n > room) {
        call_fail(call, UPSTREAM_SOURCE_FAILED,
                  n == 0 ? "send: the body ended early" : "send: the body could not be read");
        return CURL_READFUNC_ABORT;
    }
    call->source_left -= (uint64_t)n;
    call->moved_ms = loop_now_ms(call->up->loop);
    if (call->source_left == 0 && call->phase == PHASE_SEND)
        set_phase(call, PHASE_WAIT);
    return (size_t)n;
}

/* Nothing is sent twice from a source: it cannot go back. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
    (void)arg;
    (void)offset;
    (void)origin;
    return CURL_SEEKFUNC_CANTSEEK;
}

/* The final head is complete. @return false to stop the transfer */
static bool on_head_end(struct upstream_call *call)
{
    struct upstream_head view;

    if (call->head.bad_length && !call->head.chunked) {
        call_fail(call, UPSTREAM_BROKEN, "receive: contradicting or invalid Content-Length");
        return false;
    }
    if (head_finish(&call->head) != 0) {
        call_fail(call, UPSTREAM_BROKEN, "receive: out of memory");
        return false;
    }
    set_phase(call, PHASE_RECEIVE);
    head_view(&call->head, &view);
    if (call->on_head != NULL && call->on_data != NULL)
        call->streaming = call->on_head(call->arg, &view);
    if (call->dropped)
        return false;
    if (call->streaming || view.content_length <= 0)
        return true;
    if ((uint64_t)view.content_length > call->max_body) {
        call_fail(call, UPSTREAM_TOO_LARGE, "receive: the body is over its limit");
        return false;
    }
    strbuf_reserve(&call->collected,
                   view.content_length < PRE_RESERVE ? (size_t)view.content_length : PRE_RESERVE);
    return true;
}

static int parse_status(const char *line, size_t len)
{
    const char *space = memchr(line, ' ', len);
    int status = 0, i;

    if (space == NULL || len - (size_t)(space - line) < 4)
        return 0;
    for (i = 1; i <= 3; i++) {
        if (!isdigit((unsigned char)space[i]))
            return 0;
        status = status * 10 + (space[i] - '0');
    }
    return status;
}

/* One line of a head, trailers included (those are ignored). @return false to stop the transfer */
static bool take_header_line(struct upstream_call *call, const char *line, size_t len)
{
    struct head *head = &call->head;

    head->raw_bytes += len; /* 1xx heads and trailers count too: a flood of them ends here */
    if (head->raw_bytes > call->up->max_header_bytes) {
        call_fail(call, UPSTREAM_TOO_LARGE, "receive: the head is over its limit");
        return false;
    }
    if (head->complete)
        return true;
    if (call->first_byte_us == 0)
        call->first_byte_us = clock_now_us() - call->started_us;
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    if (len >= 5 && strncasecmp(line, "HTTP/", 5) == 0) {
        head_reset(head, parse_status(line, len));
        return true;
    }
    if (len > 0) {
        if (head_add(head, line, len))
            return true;
        call_fail(call, UPSTREAM_TOO_LARGE, "receive: the head has too many lines");
        return false;
    }
    if (head->status >= 100 && head->status < 200 && head->status != 101)
        return true;
    if (head->status >= 200)
        return on_head_end(call);
    call_fail(call, UPSTREAM_BROKEN, "receive: not an HTTP answer to this request");
    return false;
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    size_t len = size * count;

    if (call->dropped || call->failed || !take_header_line(call, line, len))
        return 0;
    return len;
}

static bool collect_bytes(struct upstream_call *call, const char *bytes, size_t len)
{
    if (len > call->max_body - call->collected.len) {
        call_fail(call, UPSTREAM_TOO_LARGE, "receive: the body is over its limit");
        return false;
    }
    strbuf_add(&call->collected, bytes, len);
    if (strbuf_failed(&call->collected)) {
        call_fail(call, UPSTREAM_BROKEN, "receive: out of memory");
        return false;
    }
    return true;
}

static size_t on_write(char *bytes, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    size_t len = size * count;
    bool go_on;

    if (call->dropped || call->failed)
        return CURL_WRITEFUNC_ERROR;
    if (call->paused) { /* curl keeps these bytes and gives them again */
        call->curl_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    call->moved_ms = loop_now_ms(call->up->loop);
    call->received += len;
    if (!call->streaming)
        return collect_bytes(call, bytes, len) ? len : CURL_WRITEFUNC_ERROR;
    call->resumed = false;
    go_on = call->on_data(call->arg, bytes, len);
    if (call->dropped)
        return CURL_WRITEFUNC_ERROR;
    if (!go_on && !call->resumed) {
        call->paused = true;
        rearm_limit(call);
    }
    return len;
}

/* --- curl and the loop --- */

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct lane *lane = arg;
    struct epoll_event event = {.data.fd = fd};

    (void)easy;
    (void)known;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* fails when it is closed already */
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    /* Curl may have closed and reopened the number behind our back, so try both. */
    if (epoll_ctl(lane->epoll_fd, EPOLL_CTL_MOD, fd, &event) == -1 &&
        epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, fd, &event) == -1)
        log_error("upstream: a connection cannot be watched: %m"); /* the call's limit ends it */
    return 0;
}

static int on_curl_timeout(CURLM *multi, long timeout_ms, void *arg)
{
    struct lane *lane = arg;

    (void)multi;
    if (timeout_ms < 0)
        loop_timer_stop(lane->up->loop, &lane->timer);
    else if (loop_timer_start(lane->up->loop, &lane->timer, (uint64_t)timeout_ms) != 0)
        log_error("upstream: out of memory for a timer"); /* -1 would end all calls for ever */
    return 0;
}

static void run_curl(struct lane *lane, curl_socket_t fd, int mask)
{
    int running;

    lane->up->in_curl = true;
    curl_multi_socket_action(lane->multi, fd, mask, &running);
    lane->up->in_curl = false;
}

/* Transfers that ended. Owners may start and cancel calls from inside. */
static void reap(struct lane *lane)
{
    struct upstream_call *call;
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(lane->multi, &left)) != NULL) {
        CURLcode code = msg->data.result;
        char *private = NULL;

        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private);
        call = (struct upstream_call *)(void *)private;
        if (call->dropped)
            call_free(call);
        else
            call_finish(call, classify(call, code));
    }
}

static void do_add(struct upstream_call *call)
{
    call->added = curl_multi_add_handle(call->lane->multi, call->easy) == CURLM_OK;
    if (call->added)
        return;
    call_fail(call, UPSTREAM_REFUSED, "start: out of memory");
    call_finish(call, UPSTREAM_REFUSED);
}

static void do_resume(struct upstream_call *call)
{
    struct upstream *up = call->up;
    CURLcode code;

    if (call->paused || !call->curl_paused)
        return; /* paused again meanwhile */
    call->curl_paused = false;
    up->in_curl = true;
    code = curl_easy_pause(call->easy, CURLPAUSE_CONT); /* may call on_write() */
    up->in_curl = false;
    if (code != CURLE_OK && !call->dropped)
        call_finish(call, classify(call, code));
}

/* Only what waits already: an owner that resumes from inside on_data gets its next bytes on a
 * coming turn. */
static void run_work(struct upstream *up)
{
    struct upstream_call *call;
    size_t n;

    for (n = up->num_work; n > 0 && (call = TAILQ_FIRST(&up->work)) != NULL; n--) {
        unsigned todo = call->todo;

        work_remove(call);
        if (todo & TODO_DROP)
            call_free(call);
        else if (todo & TODO_REFUSE)
            call_finish(call, UPSTREAM_REFUSED);
        else if (todo & TODO_ADD)
            do_add(call);
        else if (todo & TODO_RESUME)
            do_resume(call);
    }
    if (up->num_work == 0)
        loop_timer_stop(up->loop, &up->work_timer);
    else if (loop_timer_start(up->loop, &up->work_timer, 0) != 0)
        log_error("upstream: out of memory for a timer");
}

static void settle(struct upstream *up)
{
    size_t i;

    run_work(up);
    for (i = 0; i < LANE_COUNT; i++)
        reap(&up->lanes[i]);
}

static void on_work(struct loop_timer *timer)
{
    settle(timer->arg);
}

static void on_lane_timer(struct loop_timer *timer)
{
    struct lane *lane = timer->arg;

    run_curl(lane, CURL_SOCKET_TIMEOUT, 0);
    settle(lane->up);
}

/* An error or a hang-up reads as "readable": what the peer said before it closed (an early 413)
 * must be seen first. */
static void on_lane_readable(void *arg)
{
    struct epoll_event events[EVENTS_PER_TURN];
    struct lane *lane = arg;
    int n = epoll_wait(lane->epoll_fd, events, EVENTS_PER_TURN, 0), i;

    for (i = 0; i < n; i++) {
        int mask = 0;

        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            mask |= CURL_CSELECT_IN;
        if (events[i].events & EPOLLOUT)
            mask |= CURL_CSELECT_OUT;
        run_curl(lane, events[i].data.fd, mask);
    }
    settle(lane->up);
}

/* --- a call's handle --- */

static bool is_loopback(const char *host)
{
    struct in_addr v4;

    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

/* @return NULL when the URL may be asked, else why not */
static const char *check_url(const struct upstream *up, const char *url)
{
    char *scheme = NULL, *host = NULL, *user = NULL;
    const char *why = "start: the URL cannot be read";
    CURLU *parts = curl_url();

    if (parts == NULL)
        return "start: out of memory";
    if (curl_url_set(parts, CURLUPART_URL, url, CURLU_PATH_AS_IS) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        goto done;
    why = "start: the URL holds credentials";
    if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK)
        goto done;
    why = NULL;
    if (strcmp(scheme, "https") == 0)
        goto done;
    if (strcmp(scheme, "http") != 0)
        why = "start: neither https nor http";
    else if (!up->allow_insecure && !is_loopback(host))
        why = "start: clear text is allowed to this machine only";
done:
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(parts);
    return why;
}

static int add_line(struct upstream_call *call, const char *line)
{
    struct curl_slist *list = curl_slist_append(call->headers, line);

    if (list == NULL)
        return ERR_NOMEM;
    call->headers = list;
    return 0;
}

static int add_header(struct upstream_call *call, const struct upstream_header *header)
{
    size_t name_len = strlen(header->name), value_len = strlen(header->value);
    struct strbuf line = STRBUF_INIT;
    int err;

    if (!is_token(header->name, name_len) || !is_field_value(header->value, value_len))
        return ERR_INVALID;
    if (strbuf_reserve(&line, name_len + value_len + 3) != 0) /* at once: it never moves */
        return ERR_NOMEM;
    strbuf_adds(&line, header->name);
    strbuf_adds(&line, value_len != 0 ? ": " : ";"); /* curl's spelling of an empty value */
    strbuf_adds(&line, header->value);
    err = add_line(call, line.data);
    secret_wipe(line.data, line.cap);
    strbuf_deinit(&line);
    return err;
}

static bool has_header(const struct upstream_request *request, const char *name)
{
    size_t i;

    for (i = 0; i < request->num_headers; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return true;
    return false;
}

/* The request's lines, and none of those that curl adds by itself. */
static int set_headers(struct upstream_call *call, const struct upstream_request *request)
{
    static const char *const curls[] = {"Accept", "Content-Type", "Expect"};
    char line[32];
    int err = 0;
    size_t i;

    for (i = 0; i < request->num_headers && err == 0; i++)
        err = add_header(call, &request->headers[i]);
    for (i = 0; i < sizeof(curls) / sizeof(curls[0]) && err == 0; i++) {
        snprintf(line, sizeof(line), "%s:", curls[i]);
        if (!has_header(request, curls[i]))
            err = add_line(call, line);
    }
    if (err == 0 && curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers) != CURLE_OK)
        err = ERR_NOMEM;
    return err;
}

#define SET(option, value) (err |= curl_easy_setopt(easy, option, value) != CURLE_OK)

static bool set_connection(struct upstream_call *call)
{
    const struct upstream *up = call->up;
    CURL *easy = call->easy;
    bool h1 = call->lane == &up->lanes[LANE_H1];
    int err = 0;

    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* ending a call must not wait for its resolver thread */
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (up->ca_file != NULL) {
        SET(CURLOPT_CAINFO, up->ca_file);
        SET(CURLOPT_CAPATH, NULL); /* that file alone */
    }
    SET(CURLOPT_SHARE, up->share);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)up->connect_ms);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_MAXAGE_CONN, (long)MAX_IDLE_S);
    SET(CURLOPT_MAXLIFETIME_CONN, (long)MAX_LIFETIME_S);
    SET(CURLOPT_HTTP_VERSION, (long)(h1 ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
    SET(CURLOPT_PIPEWAIT, h1 ? 0L : 1L);
    SET(CURLOPT_FRESH_CONNECT, call->single ? 1L : 0L);
    if (h1) {
        SET(CURLOPT_BUFFERSIZE, (long)FILE_BUFFER);
        SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)FILE_BUFFER);
    }
    return err == 0;
}

static bool set_callbacks(struct upstream_call *call)
{
    CURL *easy = call->easy;
    int err = 0;

    SET(CURLOPT_PRIVATE, call);
    SET(CURLOPT_ERRORBUFFER, call->curl_error);
    SET(CURLOPT_PREREQFUNCTION, on_prereq);
    SET(CURLOPT_PREREQDATA, call);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, call);
    SET(CURLOPT_WRITEFUNCTION, on_write);
    SET(CURLOPT_WRITEDATA, call);
    if (call->source != NULL) {
        SET(CURLOPT_READFUNCTION, on_read);
        SET(CURLOPT_READDATA, call);
        SET(CURLOPT_SEEKFUNCTION, on_seek);
    }
    return err == 0;
}

static bool set_request(struct upstream_call *call, const struct upstream_request *request)
{
    CURL *easy = call->easy;
    bool post = strcmp(request->method, "POST") == 0;
    int err = 0;

    SET(CURLOPT_URL, request->url);
    if (post || call->body != NULL || call->source != NULL)
        SET(CURLOPT_POST, 1L);
    if (!post && strcmp(request->method, "GET") != 0)
        SET(CURLOPT_CUSTOMREQUEST, request->method);
    if (call->source != NULL) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->source_length);
    } else if (post || call->body != NULL) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(call->body != NULL ? request->body_len : 0));
        SET(CURLOPT_POSTFIELDS, call->body != NULL ? call->body : "");
    }
    return err == 0;
}

#undef SET

/* Make the handle ready. @return NULL, or why the call is refused */
static const char *prepare(struct upstream_call *call, const struct upstream_request *request)
{
    struct upstream *up = call->up;
    const char *why = check_url(up, request->url);
    int err;

    if (why != NULL)
        return why;
    if (!is_token(request->method, strlen(request->method)))
        return "start: the method is none";
    if (request->body != NULL && request->source == NULL) {
        call->body = malloc(request->body_len + 1);
        if (call->body == NULL)
            return "start: out of memory";
        memcpy(call->body, request->body, request->body_len);
        call->body[request->body_len] = '\0';
    }
    call->easy = up->num_spare > 0 ? up->spare[--up->num_spare] : curl_easy_init();
    if (call->easy == NULL || !set_connection(call) || !set_callbacks(call) ||
        !set_request(call, request))
        return "start: out of memory";
    err = set_headers(call, request);
    if (err != 0)
        return err == ERR_INVALID ? "start: a header holds bytes that no header may have"
                                  : "start: out of memory";
    return NULL;
}

static struct upstream_call *call_new(struct upstream *up, const struct upstream_request *request)
{
    struct upstream_call *call = calloc(1, sizeof(*call));

    if (call == NULL)
        return NULL;
    call->up = up;
    call->source = request->source;
    call->source_left = request->source_length;
    call->file = request->file;
    /* A source cannot go back, so what hangs on one must not be repeated either. */
    call->single = request->once || request->source != NULL;
    call->lane = &up->lanes[call->single || request->file ? LANE_H1 : LANE_JSON];
    call->total_ms = request->total_ms;
    call->first_byte_ms = request->first_byte_ms;
    call->max_body = request->max_body != 0 ? request->max_body : DEFAULT_BODY_BYTES;
    call->on_head = request->on_head;
    call->on_data = request->on_data;
    call->on_done = request->on_done;
    call->arg = request->arg;
    call->started_ms = call->moved_ms = loop_now_ms(up->loop);
    call->started_us = clock_now_us();
    call->timer.cb = on_limit;
    call->timer.arg = call;
    head_reset(&call->head, 0);
    up->active++;
    return call;
}

struct upstream_call *upstream_start(struct upstream *up, const struct upstream_request *request)
{
    struct upstream_call *call = call_new(up, request);
    const char *why;

    if (call == NULL)
        return NULL;
    why = prepare(call, request);
    if (why == NULL && arm_limit(call) != 0)
        why = "start: out of memory";
    if (why == NULL && !up->in_curl) {
        call->added = curl_multi_add_handle(call->lane->multi, call->easy) == CURLM_OK;
        if (call->added)
            return call;
        why = "start: out of memory";
    }
    if (why != NULL) {
        loop_timer_stop(up->loop, &call->timer);
        call_fail(call, UPSTREAM_REFUSED, why);
    }
    if (loop_timer_start(up->loop, &up->work_timer, 0) != 0) {
        call_free(call);
        return NULL;
    }
    work_add(call, why != NULL ? TODO_REFUSE : TODO_ADD);
    return call;
}

void upstream_cancel(struct upstream_call *call)
{
    if (call == NULL)
        return;
    if (!call->up->in_curl) {
        call_free(call);
        return;
    }
    call->dropped = true;
    work_add(call, TODO_DROP);
}

void upstream_resume(struct upstream_call *call)
{
    if (call == NULL)
        return;
    call->resumed = true;
    if (!call->paused)
        return;
    call->paused = false;
    call->moved_ms = loop_now_ms(call->up->loop);
    rearm_limit(call);
    if (call->curl_paused)
        work_add(call, TODO_RESUME);
}

/* --- the client as a whole --- */

/* One bundle and no directory: libcurl over OpenSSL then parses it once a day instead of once a
 * connection (7.87 on), and over GnuTLS it does not open hundreds of files each time.
 * `update-ca-certificates` maintains both.
 * @return to be freed; NULL: there is none, or out of memory */
static char *find_ca_bundle(const char *configured)
{
    static const char debian[] = "/etc/ssl/certs/ca-certificates.crt";
    CURL *easy = configured == NULL ? curl_easy_init() : NULL;
    const char *found = configured;
    char *built_in = NULL, *copy;

    if (easy != NULL && curl_easy_getinfo(easy, CURLINFO_CAINFO, &built_in) == CURLE_OK)
        found = built_in;
    if (found == NULL && access(debian, R_OK) == 0)
        found = debian;
    copy = found != NULL ? strdup(found) : NULL;
    curl_easy_cleanup(easy);
    return copy;
}

static int lane_init(struct upstream *up, struct lane *lane)
{
    lane->up = up;
    lane->timer.cb = on_lane_timer;
    lane->timer.arg = lane;
    lane->multi = curl_multi_init();
    if (lane->multi == NULL)
        return ERR_NOMEM;
    lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (lane->epoll_fd == -1)
        return ERR_NOMEM;
    if (loop_watch(up->loop, lane->epoll_fd, on_lane_readable, lane) != 0) {
        close(lane->epoll_fd);
        return ERR_NOMEM;
    }
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETDATA, lane);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERFUNCTION, on_curl_timeout);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERDATA, lane);
    curl_multi_setopt(lane->multi, CURLMOPT_MAXCONNECTS, (long)MAX_IDLE_CONNECTIONS);
    return 0;
}

/* The epoll descriptor stays with the loop: it is empty from now on and never becomes readable. */
static void lane_deinit(struct lane *lane)
{
    if (lane->multi == NULL)
        return;
    loop_timer_stop(lane->up->loop, &lane->timer);
    curl_multi_setopt(lane->multi, CURLMOPT_SOCKETFUNCTION, NULL);
    curl_multi_setopt(lane->multi, CURLMOPT_TIMERFUNCTION, NULL);
    curl_multi_cleanup(lane->multi);
}

int upstream_new(struct loop *loop, const struct upstream_options *options, struct upstream **out)
{
    struct upstream *up;
    size_t i;

    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ERR_NOMEM;
    up = calloc(1, sizeof(*up));
    if (up == NULL) {
        curl_global_cleanup();
        return ERR_NOMEM;
    }
    up->loop = loop;
    up->allow_insecure = options->allow_insecure;
    up->connect_ms = options->connect_ms != 0 ? options->connect_ms : DEFAULT_CONNECT_MS;
    up->low_speed_ms = options->low_speed_ms;
    up->max_header_bytes =
        options->max_header_bytes != 0 ? options->max_header_bytes : DEFAULT_HEADER_BYTES;
    up->work_timer.cb = on_work;
    up->work_timer.arg = up;
    TAILQ_INIT(&up->work);
    up->share = curl_share_init();
    if (up->share == NULL)
        goto fail;
    curl_share_setopt(up->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    up->ca_file = find_ca_bundle(options->ca_file);
    if (options->ca_file != NULL && up->ca_file == NULL)
        goto fail;
    for (i = 0; i < LANE_COUNT; i++)
        if (lane_init(up, &up->lanes[i]) != 0)
            goto fail;
    if ((curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS) == 0)
        log_warn("upstream: this libcurl resolves names synchronously; a slow DNS server stops the "
                 "worker");
    *out = up;
    return 0;
fail:
    upstream_free(up);
    return ERR_NOMEM;
}

void upstream_free(struct upstream *up)
{
    size_t i;

    if (up == NULL)
        return;
    assert(up->active == 0);
    loop_timer_stop(up->loop, &up->work_timer);
    for (i = 0; i < LANE_COUNT; i++)
        lane_deinit(&up->lanes[i]);
    while (up->num_spare > 0)
        curl_easy_cleanup(up->spare[--up->num_spare]);
    if (up->share != NULL)
        curl_share_cleanup(up->share);
    free(up->ca_file);
    free(up);
    curl_global_cleanup();
}

size_t upstream_active(const struct upstream *up)
{
    return up->active;
}
