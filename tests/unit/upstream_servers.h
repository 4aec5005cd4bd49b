/* Servers that answer well or badly, and an owner of a call that streams, for the tests of
 * upstream. */
#pragma once

#include "upstream_world.h"

#include <malloc.h>

/* --- an owner that streams --- */

static bool on_head(void *arg, const struct upstream_head *head)
{
    struct world *w = arg;

    w->heads++;
    if (w->cancel_in_head) {
        upstream_cancel(w->call);
        w->call = NULL;
        w->done = true;
    }
    return w->streaming = head->status == 200;
}

static void on_resume_time(struct loop_timer *timer)
{
    struct world *w = timer->arg;
    size_t before = w->body.len;

    w->paused = false;
    w->while_paused = 0;
    upstream_resume(w->call);
    assert_int_equal(w->body.len, before); /* not from inside */
}

static size_t memory_in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct world *w = arg;

    if (w->paused) /* the rest of what was read */
        w->while_paused += len;
    assert_true(w->while_paused < 128 * 1024);
    assert_true(len > 0 && len <= 16 * 1024);
    strbuf_add(&w->body, bytes, len);
    if (w->start_in_data) {
        w->start_in_data = false;
        w->in_start = true;
        start_get(w, "/second");
        w->in_start = false;
    }
    switch (w->on_data) {
    case ON_DATA_GO_ON:
        return true;
    case ON_DATA_PAUSE:
        w->paused = true;
        w->resume.cb = on_resume_time;
        w->resume.arg = w;
        loop_timer_start(&w->loop.super, &w->resume, 0);
        return false;
    case ON_DATA_HOLD:
        if (!w->paused)
            w->memory = memory_in_use();
        w->paused = true;
        return false;
    case ON_DATA_RESUME_INSIDE:
        upstream_resume(w->call);
        return false;
    case ON_DATA_CANCEL:
        upstream_cancel(w->call);
        w->call = NULL;
        w->done = true;
        return true;
    }
    return true;
}

static inline ssize_t on_source(void *arg, char *buf, size_t len)
{
    struct world *w = arg;

    if (w->source_fails_at != 0 && w->source_at >= w->source_fails_at)
        return ERR_IO;
    if (len > 5000)
        len = 5000;
    assert_true(w->source_at + len <= w->source_len);
    for (size_t i = 0; i < len; i++)
        buf[i] = (char)((w->source_at + i) % 251);
    w->source_at += len;
    return (ssize_t)len;
}

/* --- servers --- */

static void wait_for_close(int fd)
{
    char buf[4096];

    while (read(fd, buf, sizeof(buf)) > 0)
        ;
}

#define BIG (4 * 1024 * 1024)

static inline void serve_big(struct server *s, int fd, int nth)
{
    char *bytes = calloc(1, BIG + 1);
    struct seen_head head;

    (void)nth;
    if (bytes == NULL)
        abort();
    for (size_t i = 0; i < BIG; i++)
        bytes[i] = (char)('a' + i % 23);
    if (read_request(s, fd, &head)) {
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n");
        say(fd, bytes);
        wait_for_close(fd);
    }
    free(bytes);
}

static inline void serve_stall(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    if (!read_request(s, fd, &head))
        return;
    say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789");
    wait_for_close(fd);
}
