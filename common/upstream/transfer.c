/* What curl calls while a transfer runs. An owner is asked from here for bytes and given bytes, and
 * may cancel the call from inside; after each such question `dropped` is looked at first. What both
 * transports do with what comes is in call.c. */
#include "client_impl.h"

#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "common/clock.h"

#define MAX_RUN (128 * 1024) /* bytes of a file; a turn of the loop runs curl once or twice */

/* Whatever made curl start again (a kept connection that died before an answer, a stream that HTTP/2
 * refused) comes by here. */
static int on_prereq(void *arg, char *peer, char *local, int peer_port, int local_port)
{
    (void)peer;
    (void)local;
    (void)peer_port;
    (void)local_port;
    return call_may_begin(arg) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* The address is what is connected to: nobody resolves the name once more behind our back. Libcurl
 * goes on with the next one of the name. */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct upstream_call *call = arg;
    struct upstream *up = call->up;

    if (purpose != CURLSOCKTYPE_IPCXN ||
        !up->may_connect(up->may_connect_arg, &address->addr, address->addrlen)) {
        call->forbidden = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
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
    call_moved(call, (size_t)n);
    if (call->source_left == 0 && call->phase == PHASE_SEND)
        call_set_phase(call, PHASE_WAIT);
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

/* Libcurl before 8.1.1 refuses an answer whose head begins with a folded line. It shows each line
 * to this function first, in the memory that it reads from then, and so the line can be given an
 * empty name: curl takes that, and head_add() leaves it out as it does with folded lines. */
static int on_debug(CURL *easy, curl_infotype type, char *text, size_t len, void *arg)
{
    const struct upstream_call *call = arg;

    (void)easy;
    if (type == CURLINFO_HEADER_IN && call->first_line && len > 0 &&
        (text[0] == ' ' || text[0] == '\t'))
        text[0] = ':';
    return 0;
}

/* Curl says much more to that function, and spends time on it, when it is told to: so only from a
 * status line to the line behind it. */
static void show_line(struct upstream_call *call, bool first)
{
    if (!call->up->mends_folds || call->first_line == first)
        return;
    call->first_line = first;
    curl_easy_setopt(call->easy, CURLOPT_VERBOSE, first ? 1L : 0L);
}

/* One line of a head, trailers included (those are ignored). @return false to stop the transfer */
static bool take_header_line(struct upstream_call *call, const char *line, size_t len)
{
    struct head *head = &call->head;

    show_line(call, false);
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
        head_reset(head, head_parse_status(line, len));
        show_line(call, true);
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
        return call_take_head(call);
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

/* Curl reads on as long as there is something to read, and what it may not hand on it copies. Told
 * from inside its callback it stops at once; but told to stop reading alone it looks at the
 * connection once more soon (7.88: cselect_bits), reads all the same, and copies that. */
static void pause_curl(struct upstream_call *call)
{
    call->curl_paused = true;
    call->pausing = true;
    if (curl_easy_pause(call->easy, CURLPAUSE_ALL) != CURLE_OK)
        call_fail(call, UPSTREAM_BROKEN, "receive: out of memory");
    call->pausing = false;
}

/* Curl reads a hundred times and more before it returns: who takes all that comes, and checks each
 * line of it, would hold up everybody else meanwhile. */
static void end_run(struct upstream_call *call, size_t len)
{
    if (call->run != call->up->run) {
        call->run = call->up->run;
        call->run_bytes = 0;
    }
    call->run_bytes += len;
    if (!call->file || call->curl_paused || call->run_bytes < MAX_RUN)
        return;
    pause_curl(call);
    call_work_add(call, TODO_RESUME);
}

static size_t on_write(char *bytes, size_t size, size_t count, void *arg)
{
    struct upstream_call *call = arg;
    size_t len = size * count;

    if (call->dropped || call->failed || !call_take_body(call, bytes, len))
        return CURL_WRITEFUNC_ERROR;
    if (!call->streaming)
        return len;
    if (call->paused && !call->curl_paused)
        pause_curl(call);
    end_run(call, len);
    return len;
}

#define SET(option, value) (err |= curl_easy_setopt(easy, option, value) != CURLE_OK)

bool transfer_set_functions(CURL *easy, struct upstream_call *call)
{
    int err = 0;

    SET(CURLOPT_PREREQFUNCTION, on_prereq);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_WRITEFUNCTION, on_write);
    SET(CURLOPT_READFUNCTION, on_read);
    SET(CURLOPT_SEEKFUNCTION, on_seek);
    SET(CURLOPT_DEBUGFUNCTION, on_debug);
    SET(CURLOPT_DEBUGDATA, call);
    SET(CURLOPT_PRIVATE, call);
    SET(CURLOPT_PREREQDATA, call);
    SET(CURLOPT_HEADERDATA, call);
    SET(CURLOPT_WRITEDATA, call);
    SET(CURLOPT_READDATA, call);
    if (call->up->may_connect != NULL) {
        SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
        SET(CURLOPT_OPENSOCKETDATA, call);
    }
    return err == 0;
}

#undef SET
