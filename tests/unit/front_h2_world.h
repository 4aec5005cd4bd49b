/* A client of the front door that speaks HTTP/2 in frames: those to send, and a look at those
 * that came. */
#pragma once

#include "front_world.h"

#include <signal.h>
#include <h2o/http2.h>

#define MAX_STREAM 41000

/* --- frames to send --- */

struct frames {
    uint8_t bytes[1 << 17];
    size_t len;
};

static void put(struct frames *f, uint8_t type, uint8_t flags, uint32_t id, const void *payload,
                size_t len)
{
    uint8_t head[9] = {
        (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len,       type,       flags,
        (uint8_t)(id >> 24),  (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

    assert_true(f->len + 9 + len <= sizeof(f->bytes));
    memcpy(f->bytes + f->len, head, 9);
    if (len != 0)
        memcpy(f->bytes + f->len + 9, payload, len);
    f->len += 9 + len;
}

static size_t put_int(uint8_t *p, uint8_t first, unsigned bits, size_t value)
{
    size_t max = (1u << bits) - 1, n = 1;

    if (value < max) {
        p[0] = (uint8_t)(first | value);
        return 1;
    }
    p[0] = (uint8_t)(first | max);
    for (value -= max; value >= 128; value >>= 7)
        p[n++] = (uint8_t)(value | 128);
    p[n++] = (uint8_t)value;
    return n;
}

static size_t put_text(uint8_t *p, const char *text)
{
    size_t len = strlen(text), n = put_int(p, 0, 7, len);

    memcpy(p + n, text, len);
    return n + len;
}

/* A literal field without indexing. */
static size_t put_field(uint8_t *p, const char *name, const char *value)
{
    size_t n = 1;

    p[0] = 0;
    n += put_text(p + n, name);
    return n + put_text(p + n, value);
}

static size_t block_of(uint8_t *p, const char *method, const char *path)
{
    size_t n = put_field(p, ":method", method);

    p[n++] = 0x86; /* :scheme http */
    n += put_field(p + n, ":path", path);
    return n + put_field(p + n, ":authority", "x");
}

static void put_request(struct frames *f, uint32_t id, const char *method, const char *path,
                        bool ends)
{
    uint8_t block[16384];
    size_t len = block_of(block, method, path);

    put(f, FRAME_HEADERS, FRAME_END_HEADERS | (ends ? FRAME_END_STREAM : 0), id, block, len);
}

static void put_window(struct frames *f, uint32_t id, uint32_t bytes)
{
    uint8_t p[4] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16), (uint8_t)(bytes >> 8),
                    (uint8_t)bytes};

    put(f, FRAME_WINDOW_UPDATE, 0, id, p, 4);
}

static inline void put_setting(struct frames *f, uint8_t id, uint32_t value)
{
    uint8_t p[6] = {0,
                    id,
                    (uint8_t)(value >> 24),
                    (uint8_t)(value >> 16),
                    (uint8_t)(value >> 8),
                    (uint8_t)value};

    put(f, FRAME_SETTINGS, 0, 0, p, 6);
}

static inline void put_reset(struct frames *f, uint32_t id)
{
    put(f, FRAME_RST_STREAM, 0, id, "\0\0\0\x08", 4);
}

static void flush(struct client *c, struct frames *f)
{
    client_push(c, f->bytes, f->len);
    f->len = 0;
    settle(c);
}

/* --- frames that came --- */

struct stream {
    int status, hellos;
    size_t bytes;
    bool ended;
    int reset; /* error code + 1; 0: none */
    int resets;
    uint64_t window;
};

static struct stream streams[MAX_STREAM];
static struct {
    int goaways, error; /* of the last */
    uint32_t last_id, window_setting;
    uint64_t window;
    int pings, settings;
} peer;

static int status_of(const uint8_t *block)
{
    static const int known[] = {200, 204, 206, 304, 400, 404, 500};

    if (block[0] >= 0x88 && block[0] <= 0x8e)
        return known[block[0] - 0x88];
    if (block[0] == 0x08)
        return (block[2] - '0') * 100 + (block[3] - '0') * 10 + block[4] - '0';
    return -1;
}

static void on_received(const struct frame *f, const uint8_t *p)
{
    struct stream *s = f->stream_id < MAX_STREAM ? &streams[f->stream_id] : &streams[0];
    uint32_t number = f->length >= 4
                          ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]
                          : 0;

    switch (f->type) {
    case FRAME_HEADERS:
        if (status_of(p) == 100)
            s->hellos++;
        else
            s->status = status_of(p);
        s->ended = s->ended || (f->flags & FRAME_END_STREAM) != 0;
        break;
    case FRAME_DATA:
        s->bytes += f->length;
        s->ended = s->ended || (f->flags & FRAME_END_STREAM) != 0;
        break;
    case FRAME_RST_STREAM:
        s->reset = (int)number + 1;
        s->resets++;
        break;
    case FRAME_GOAWAY:
        peer.goaways++;
        peer.last_id = number;
        peer.error = p[7];
        break;
    case FRAME_WINDOW_UPDATE:
        if (f->stream_id == 0)
            peer.window += number;
        else
            s->window += number;
        break;
    case FRAME_PING:
        peer.pings++;
        break;
    case FRAME_SETTINGS:
        peer.settings++;
        for (uint32_t i = 0; i + 6 <= f->length; i += 6)
            if (p[i + 1] == 4)
                peer.window_setting = (uint32_t)p[i + 2] << 24 | (uint32_t)p[i + 3] << 16 |
                                      (uint32_t)p[i + 4] << 8 | p[i + 5];
    }
}

/* Look at what came since the last time. */
static void look(struct client *c)
{
    settle(c);
    while (c->len - c->seen >= 9) {
        struct frame f = frame_parse((uint8_t *)c->bytes + c->seen);

        if (c->len - c->seen < 9 + f.length)
            break;
        on_received(&f, (uint8_t *)c->bytes + c->seen + 9);
        c->seen += 9 + f.length;
    }
    if (c->seen == c->len)
        c->seen = c->len = 0;
}

static struct frames out;

static struct client open_h2(bool tls)
{
    struct client c = client_open(tls, "\x02h2");

    memset(streams, 0, sizeof(streams));
    memset(&peer, 0, sizeof(peer));
    peer.window = 65535;
    world.calls = world.answered = world.gone = 0;
    world.bytes = 0;
    memset(world.failures, 0, sizeof(world.failures));
    client_push(&c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    out.len = 0;
    put(&out, FRAME_SETTINGS, 0, 0, NULL, 0);
    flush(&c, &out);
    look(&c);
    return c;
}

static inline size_t connections(void)
{
    return front_connections(world.clear) + front_connections(world.tls);
}

/* --- libh2o's own weak spots --- */

/* Let the server's sockets take less than libh2o writes at once, so that writes wait. */
static void shrink_sockets(void)
{
    int small = 8192;

    for (h2o_linklist_t *at = world.clear->conns.next; at != &world.clear->conns; at = at->next)
        setsockopt(h2o_socket_get_fd(H2O_STRUCT_FROM_MEMBER(struct conn, link, at)->sock),
                   SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
}

/* --- noise --- */

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)
