/* One call: the work that waits until curl has returned, the limits of time, and the one way out.
 */
#include "lean.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/secret.h"

#define DEFAULT_BODY_BYTES (1024 * 1024)
#define PRE_RESERVE        (256 * 1024)
/* Bytes; less is no movement, or a byte a minute would hold a call for ever */
#define LEAST_MOVE         1024

/* --- work that must wait until curl has returned --- */

void call_work_add(struct upstream_call *call, unsigned bit)
{
    struct upstream *up = call->up;

    if (call->todo == 0) {
        TAILQ_INSERT_TAIL(&up->work, call, link);
        up->num_work++;
    }
    call->todo |= bit;
    /* Without memory for the timer the next turn of a lane finds it. */
    if (loop_timer_soon(up->loop, &up->work_timer) != 0)
        log_error("upstream: out of memory for a timer");
}

void call_work_remove(struct upstream_call *call)
{
    if (call->todo == 0)
        return;
    TAILQ_REMOVE(&call->up->work, call, link);
    call->up->num_work--;
    call->todo = 0;
}

/* --- the end of a call --- */

/* What was collected, or its whole room: bytes behind a call that failed are secret too. */
static void drop_collected(struct strbuf *body, bool secret)
{
    if (secret && body->data != NULL)
        secret_wipe(body->data, body->cap);
    strbuf_deinit(body);
}

static void drop_body(struct upstream_call *call)
{
    if (call->secret && call->body != NULL)
        secret_wipe(call->body, call->body_len);
    free(call->body);
}

void call_free(struct upstream_call *call)
{
    struct upstream *up = call->up;

    assert(!up->in_curl || !call->added);
    loop_timer_stop(up->loop, &call->timer);
    call_work_remove(call);
    if (call->ended)
        TAILQ_REMOVE(&up->ended, call, ended_link);
    lane_unpark(call); /* while the descriptor is open for sure */
    if (call->added)
        curl_multi_remove_handle(call->lane->multi, call->easy);
    handle_release(call);
    lean_release(call);
    drop_body(call);
    head_deinit(&call->head);
    drop_collected(&call->collected, call->secret);
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

/* "Expire date:Nov 29 08:00:00 2027 GMT" of the first certificate, which is the server's own. */
static int64_t certificate_until_s(CURL *easy)
{
    static const char name[] = "Expire date:";
    const struct curl_certinfo *info = NULL;
    struct tm tm = {.tm_sec = 0};

    if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &info) != CURLE_OK || info == NULL ||
        info->num_of_certs < 1)
        return 0;
    for (const struct curl_slist *at = info->certinfo[0]; at != NULL; at = at->next)
        if (strncmp(at->data, name, sizeof(name) - 1) == 0 &&
            strptime(at->data + sizeof(name) - 1, "%b %d %H:%M:%S %Y", &tm) != NULL)
            return timegm(&tm);
    return 0;
}

/* What the transport knows of the call. */
static void measure(struct upstream_call *call, struct upstream_result *result)
{
    curl_off_t sent = 0, connect_us = 0, tls_us = 0;

    if (call->exchange != NULL) {
        result->bytes_sent = lean_sent_bytes(call);
        result->connect_us = lean_connect_us(call);
        return;
    }
    if (call->easy == NULL)
        return;
    curl_easy_getinfo(call->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
    curl_easy_getinfo(call->easy, CURLINFO_CONNECT_TIME_T, &connect_us);
    curl_easy_getinfo(call->easy, CURLINFO_APPCONNECT_TIME_T, &tls_us);
    result->bytes_sent = (uint64_t)sent;
    result->connect_us = (uint64_t)(tls_us > connect_us ? tls_us : connect_us);
    if (call->up->certificates)
        result->certificate_until_s = certificate_until_s(call->easy);
    if (result->end == UPSTREAM_ANSWERED && call->kind == HANDLE_JSON)
        lean_learn(call->up, call->easy);
}

/* The one way out: take along what the owner needs, let go of everything, call back last. */
void call_finish(struct upstream_call *call, enum upstream_end end)
{
    struct upstream_result result = {
        .end = end, .nothing_sent = !call->began, .repeated = call->repeated};
    struct head head = call->head;
    struct strbuf body = call->collected;
    upstream_done_cb on_done = call->on_done;
    void *arg = call->arg;
    bool secret = call->secret;

    memset(&call->head, 0, sizeof(call->head));
    strbuf_init(&call->collected);
    measure(call, &result);
    head_view(&head, &result.head);
    if (end == UPSTREAM_ANSWERED && !call->streaming) {
        result.body = body.data;
        result.body_len = body.len;
    }
    result.total_us = (call->ended ? call->ended_us : clock_now_us()) - call->started_us;
    result.first_byte_us = call->first_byte_us;
    result.bytes_received = call->received;
    if (end != UPSTREAM_ANSWERED) {
        memcpy(result.error, call->error, sizeof(result.error));
        clean_text(result.error);
    }
    call_free(call);
    on_done(arg, &result);
    head_deinit(&head);
    drop_collected(&body, secret);
}

/* We stop the transfer ourselves: curl then reports some error, and this says what it means. */
void call_fail(struct upstream_call *call, enum upstream_end end, const char *text)
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
enum upstream_end call_classify(struct upstream_call *call, CURLcode code)
{
    const char *text;

    if (call->failed)
        return call->end;
    if (code == CURLE_OK && call->head.complete)
        return UPSTREAM_ANSWERED;
    text = call->curl_error[0] != '\0' ? call->curl_error
           : code == CURLE_OK          ? "no answer"
                                       : curl_easy_strerror(code);
    if (call->forbidden && !call->began)
        text = "the name has no other address than forbidden ones";
    snprintf(call->error, sizeof(call->error), "%s: %.140s", phase_name(call->phase), text);
    if (!call->began)
        return code == CURLE_OUT_OF_MEMORY ? UPSTREAM_REFUSED : UPSTREAM_CONNECT_FAILED;
    return code == CURLE_OPERATION_TIMEDOUT ? UPSTREAM_TIMEOUT : UPSTREAM_BROKEN;
}

/* --- what a transport tells --- */

bool call_may_begin(struct upstream_call *call)
{
    if (call->dropped)
        return false;
    if (call->began && call->single) {
        call_fail(call, UPSTREAM_BROKEN, "send: connection lost, not repeated");
        return false;
    }
    if (!call->began && call->on_begin != NULL && !call->on_begin(call->arg)) {
        call_fail(call, UPSTREAM_REFUSED, "start: given up before the first byte");
        return false;
    }
    call->repeated = call->began;
    call->began = true;
    call_set_phase(call, call->source != NULL && call->source_left > 0 ? PHASE_SEND : PHASE_WAIT);
    return true;
}

bool call_take_head(struct upstream_call *call)
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
    call_set_phase(call, PHASE_RECEIVE);
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

bool call_take_body(struct upstream_call *call, const char *bytes, size_t len)
{
    bool go_on;

    call_moved(call, len);
    call->received += len;
    if (!call->streaming)
        return collect_bytes(call, bytes, len);
    call->resumed = false;
    go_on = call->on_data(call->arg, bytes, len);
    if (call->dropped)
        return false;
    if (!go_on && !call->resumed && !call->paused) {
        call->paused = true;
        call_rearm_limit(call);
    }
    return true;
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
    case PHASE_CONNECT: /* since the start, or since the connection before was lost */
        earlier(&due, call->moved_ms, call->up->connect_ms);
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
int call_arm_limit(struct upstream_call *call)
{
    uint64_t due = call_due(call), now = loop_now_ms(call->up->loop);

    if (due == UINT64_MAX || call->ended) {
        loop_timer_stop(call->up->loop, &call->timer);
        return 0;
    }
    if (call->timer.slot != 0 && call->timer.due_ms <= due)
        return 0; /* on_limit() looks again then */
    return loop_timer_start(call->up->loop, &call->timer, due > now ? due - now : 0);
}

void call_rearm_limit(struct upstream_call *call)
{
    if (call_arm_limit(call) != 0)
        log_error("upstream: out of memory for a timer");
}

void call_set_phase(struct upstream_call *call, enum phase phase)
{
    call->phase = phase;
    call->moved_ms = loop_now_ms(call->up->loop);
    call->trickle_bytes = 0;
    if (phase == PHASE_WAIT)
        call->sent_ms = call->moved_ms;
    call_rearm_limit(call);
}

void call_moved(struct upstream_call *call, size_t bytes)
{
    call->trickle_bytes += bytes;
    if (call->trickle_bytes < LEAST_MOVE)
        return;
    call->trickle_bytes = 0;
    call->moved_ms = loop_now_ms(call->up->loop);
}

static void on_limit(struct loop_timer *timer)
{
    struct upstream_call *call = timer->arg;

    if (call->dropped) {
        call_free(call);
        return;
    }
    if (loop_now_ms(call->up->loop) < call_due(call)) {
        call_rearm_limit(call);
        return;
    }
    snprintf(call->error, sizeof(call->error), "%s: time limit passed after %llu ms",
             phase_name(call->phase),
             (unsigned long long)(loop_now_ms(call->up->loop) - call->started_ms));
    call_finish(call, call->began ? UPSTREAM_TIMEOUT : UPSTREAM_CONNECT_FAILED);
}

/* --- the beginning --- */

struct upstream_call *call_new(struct upstream *up, const struct upstream_request *request)
{
    struct upstream_call *call = calloc(1, sizeof(*call));

    if (call == NULL)
        return NULL;
    call->up = up;
    call->owner = request->owner;
    call->source = request->source;
    call->source_left = request->source != NULL ? request->source_length : 0;
    call->file = request->file;
    /* A source cannot go back, so what hangs on one must not be repeated either. */
    call->single = request->once || request->source != NULL;
    call->kind = request->file ? HANDLE_FILE : call->single ? HANDLE_ONCE : HANDLE_JSON;
    call->lane = &up->lanes[call->kind == HANDLE_JSON ? LANE_JSON : LANE_H1];
    call->parked_fd = call->watched_fd = -1;
    call->total_ms = request->total_ms;
    call->first_byte_ms = request->first_byte_ms;
    call->max_body = request->max_body != 0 ? request->max_body : DEFAULT_BODY_BYTES;
    call->secret = request->secret;
    if (call->secret)
        strbuf_reserve(&call->collected, call->max_body);
    call->on_begin = request->on_begin;
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
