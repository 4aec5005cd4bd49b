/* The front door with HTTP/2: uploads, flow control, what is refused, floods, draining. */
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

static void put_setting(struct frames *f, uint8_t id, uint32_t value)
{
    uint8_t p[6] = {0,
                    id,
                    (uint8_t)(value >> 24),
                    (uint8_t)(value >> 16),
                    (uint8_t)(value >> 8),
                    (uint8_t)value};

    put(f, FRAME_SETTINGS, 0, 0, p, 6);
}

static void put_reset(struct frames *f, uint32_t id)
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

static size_t connections(void)
{
    return front_connections(world.clear) + front_connections(world.tls);
}

#define BOTH(name)                                                                                 \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check_##name(false);                                                                       \
        check_##name(true);                                                                        \
    }

/* --- uploads --- */

static void check_a_handler_runs_before_its_body_arrives(bool tls)
{
    struct client c = open_h2(tls);

    put_request(&out, 1, "POST", "/a", false);
    flush(&c, &out);
    assert_int_equal(world.calls, 1);
    put(&out, FRAME_DATA, 0, 1, "hel", 3);
    flush(&c, &out);
    assert_int_equal(world.bytes, 3);
    put(&out, FRAME_DATA, FRAME_END_STREAM, 1, "lo", 2);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[1].status, 200);
    assert_int_equal(streams[1].bytes, 5);
    assert_true(streams[1].ended);
    assert_int_equal(streams[1].reset, 0);
    client_close(&c);
}
BOTH(a_handler_runs_before_its_body_arrives)

static void check_uploads_run_side_by_side(bool tls)
{
    static const char piece[1000] = "x";
    struct client c = open_h2(tls);

    for (uint32_t id = 1; id < 61; id += 2)
        put_request(&out, id, "POST", "/a", false);
    flush(&c, &out);
    assert_int_equal(world.calls, 30);
    for (int i = 0; i < 20; i++) {
        for (uint32_t id = 1; id < 61; id += 2)
            put(&out, FRAME_DATA, i == 19 ? FRAME_END_STREAM : 0, id, piece, sizeof(piece));
        flush(&c, &out);
        look(&c);
    }
    look(&c);
    assert_int_equal(world.answered, 30);
    assert_int_equal(world.bytes, 600000);
    assert_in_range(peer.window, 600000, 600000 + GUARD_WINDOW_H2_ALL);
    client_close(&c);
}
BOTH(uploads_run_side_by_side)

static void check_an_early_answer_ends_with_a_reset_without_error(bool tls)
{
    static const char piece[16000];
    struct client c = open_h2(tls);

    put_request(&out, 1, "POST", "/refuse", false);
    put(&out, FRAME_DATA, 0, 1, piece, sizeof(piece));
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[1].status, 401);
    assert_true(streams[1].ended);
    assert_int_equal(streams[1].reset, 1); /* NO_ERROR */
    for (int i = 0; i < 5; i++)            /* was on its way */
        put(&out, FRAME_DATA, 0, 1, piece, sizeof(piece));
    put_request(&out, 3, "GET", "/a", true);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[3].status, 200);
    assert_int_equal(peer.goaways, 0);
    assert_int_equal(world.bytes, 0);
    client_close(&c);
}
BOTH(an_early_answer_ends_with_a_reset_without_error)

/* All of them in one read, so that their resets wait together: more than there is room for at
 * first.
 */
static void check_many_uploads_that_are_answered_early_are_all_reset(bool tls)
{
    static const char piece[100];
    struct client c = open_h2(tls);

    for (uint32_t id = 1; id < 61; id += 2) {
        put_request(&out, id, "POST", "/refuse", false);
        put(&out, FRAME_DATA, 0, id, piece, sizeof(piece));
    }
    flush(&c, &out);
    look(&c);
    for (uint32_t id = 1; id < 61; id += 2) {
        assert_int_equal(streams[id].status, 401);
        assert_int_equal(streams[id].reset, 1); /* NO_ERROR */
    }
    assert_int_equal(peer.goaways, 0);
    client_close(&c);
}
BOTH(many_uploads_that_are_answered_early_are_all_reset)

static void check_a_reset_frees_the_request(bool tls)
{
    struct client c = open_h2(tls);

    put_request(&out, 1, "POST", "/a", false);
    put(&out, FRAME_DATA, 0, 1, "hel", 3);
    put_request(&out, 3, "GET", "/hang", true);
    flush(&c, &out);
    put_reset(&out, 1);
    put_reset(&out, 3);
    flush(&c, &out);
    assert_int_equal(world.failures[BODY_CLIENT_GONE], 1);
    assert_int_equal(world.gone, 2);
    put_request(&out, 5, "GET", "/a", true);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[5].status, 200);
    client_close(&c);
}
BOTH(a_reset_frees_the_request)

static void check_trailers_end_a_body_and_reach_nobody(bool tls)
{
    uint8_t block[256];
    struct client c = open_h2(tls);
    size_t len = put_field(block, "x-test", "smuggled");

    put_request(&out, 1, "POST", "/hang", false);
    put_request(&out, 3, "POST", "/a", false);
    put(&out, FRAME_DATA, 0, 3, "hello", 5);
    put(&out, FRAME_HEADERS, FRAME_END_STREAM, 3, block, 4);
    put(&out, FRAME_CONTINUATION, FRAME_END_HEADERS, 3, block + 4, len - 4);
    put(&out, FRAME_HEADERS, FRAME_END_STREAM | FRAME_END_HEADERS, 1, block, len);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[3].status, 200);
    assert_int_equal(streams[3].bytes, 5);
    assert_int_equal(h2o_find_header_by_str(&world.held->req->headers, H2O_STRLIT("x-test"), -1),
                     -1);
    answer(world.held, 200, "x", 1);
    look(&c);
    assert_int_equal(streams[1].status, 200);
    assert_int_equal(streams[1].reset, 0);
    assert_int_equal(peer.goaways, 0);
    client_close(&c);
}
BOTH(trailers_end_a_body_and_reach_nobody)

static void check_a_length_must_be_kept(bool tls)
{
    static const struct {
        const char *bytes;
        bool ends;
    } tries[] = {{"hell", true}, {"hello!", false}};

    for (size_t i = 0; i < 2; i++) {
        uint8_t block[256];
        struct client c = open_h2(tls);
        size_t len = block_of(block, "POST", "/a");

        len += put_field(block + len, "content-length", "5");
        put(&out, FRAME_HEADERS, FRAME_END_HEADERS, 1, block, len);
        put(&out, FRAME_DATA, tries[i].ends ? FRAME_END_STREAM : 0, 1, tries[i].bytes,
            strlen(tries[i].bytes));
        flush(&c, &out);
        look(&c);
        assert_int_equal(world.failures[BODY_MALFORMED], 1);
        assert_int_equal(streams[1].status, 400);
        assert_int_equal(streams[1].reset, 1 + FRAME_PROTOCOL_ERROR);
        client_close(&c);
    }
}
BOTH(a_length_must_be_kept)

/* Also when the answer did not wait for the body (RFC 9113, 8.1.1), before or after it has gone. */
static void check_a_length_that_is_not_kept_is_told_behind_an_early_answer(bool tls)
{
    for (int later = 0; later < 4; later++) {
        uint8_t block[256];
        struct client c = open_h2(tls);
        size_t len = block_of(block, "POST", "/refuse");

        len += put_field(block + len, "content-length", "5");
        put(&out, FRAME_HEADERS, FRAME_END_HEADERS, 1, block, len);
        put(&out, FRAME_DATA, 0, 1, "hel", 3);
        if (later != 0)
            flush(&c, &out);
        if (later < 2)
            put(&out, FRAME_DATA, FRAME_END_STREAM, 1, "l", 1);
        else
            put(&out, FRAME_DATA, 0, 1, "lo!", later == 2 ? 3 : 2);
        flush(&c, &out);
        look(&c);
        assert_int_equal(streams[1].status, 401);
        assert_int_equal(streams[1].reset, 1 + (later == 3 ? FRAME_OK : FRAME_PROTOCOL_ERROR));
        assert_int_equal(peer.goaways, 0);
        client_close(&c);
    }
}
BOTH(a_length_that_is_not_kept_is_told_behind_an_early_answer)

/* What libh2o refused by itself, or a handler answered early, has trailers all the same, as gRPC
 * clients send them: they ended the whole connection. */
static void check_trailers_of_a_refused_request_leave_the_other_streams_alone(bool tls)
{
    uint8_t block[256], trailers[64];
    size_t len = block_of(block, "POST", "/a"), trailers_len = put_field(trailers, "x-test", "y");
    struct client c = open_h2(tls);

    len += put_field(block + len, "x", "a\nb");
    put_request(&out, 1, "GET", "/hang", true);
    put(&out, FRAME_HEADERS, FRAME_END_HEADERS, 3, block, len);
    put_request(&out, 5, "POST", "/refuse", false);
    put(&out, FRAME_DATA, 0, 3, "hello", 5);
    for (uint32_t id = 3; id <= 5; id += 2)
        put(&out, FRAME_HEADERS, FRAME_END_STREAM | FRAME_END_HEADERS, id, trailers, trailers_len);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[3].status, 400);
    assert_int_equal(streams[5].status, 401);
    assert_int_equal(peer.goaways, 0);
    answer(world.held, 200, "x", 1);
    look(&c);
    assert_int_equal(streams[1].status, 200);
    client_close(&c);
}
BOTH(trailers_of_a_refused_request_leave_the_other_streams_alone)

/* The same a turn later, and only once. */
static void check_a_refused_request_has_one_end(bool tls)
{
    for (int second = 0; second < 3; second++) {
        uint8_t trailers[64];
        size_t len = put_field(trailers, "x-test", "y");
        struct client c = open_h2(tls);

        put_request(&out, 1, "POST", "/refuse", false);
        flush(&c, &out);
        look(&c);
        put(&out, FRAME_DATA, 0, 1, "hello", 5);
        put(&out, FRAME_HEADERS, FRAME_END_STREAM | FRAME_END_HEADERS, 1, trailers, len);
        flush(&c, &out);
        look(&c);
        assert_int_equal(peer.goaways, 0);
        if (second == 0)
            put(&out, FRAME_DATA, 0, 1, "hello", 5);
        else if (second == 1)
            put(&out, FRAME_HEADERS, FRAME_END_STREAM | FRAME_END_HEADERS, 1, trailers, len);
        else {
            put_request(&out, 3, "POST", "/refuse", false);
            put(&out, FRAME_HEADERS, FRAME_END_HEADERS, 3, trailers, len);
        }
        flush(&c, &out);
        look(&c);
        assert_int_equal(peer.error, second == 2 ? FRAME_PROTOCOL_ERROR : FRAME_STREAM_CLOSED);
        client_close(&c);
    }
}
BOTH(a_refused_request_has_one_end)

/* Its answer may have gone out before the reset came. */
static void check_nothing_follows_a_reset(bool tls)
{
    for (int answered = 0; answered < 2; answered++) {
        struct client c = open_h2(tls);

        put_request(&out, 1, "POST", answered ? "/refuse" : "/a", false);
        flush(&c, &out);
        put_reset(&out, 1);
        put(&out, FRAME_DATA, FRAME_END_STREAM, 1, "hello", 5);
        flush(&c, &out);
        look(&c);
        assert_int_equal(peer.error, FRAME_STREAM_CLOSED);
        client_close(&c);
    }
}
BOTH(nothing_follows_a_reset)

static void check_a_window_that_overflows_ends_its_stream_alone(bool tls)
{
    struct client c = open_h2(tls);

    put_request(&out, 1, "GET", "/hang", true);
    put_request(&out, 3, "POST", "/a", false);
    put_window(&out, 3, 0x7fffffff);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[3].reset, 1 + FRAME_FLOW_CONTROL_ERROR);
    assert_int_equal(world.failures[BODY_CLIENT_GONE], 1);
    put(&out, FRAME_DATA, FRAME_END_STREAM, 3, "hello", 5); /* was on its way */
    flush(&c, &out);
    answer(world.held, 200, "x", 1);
    look(&c);
    assert_int_equal(streams[1].status, 200);
    assert_int_equal(peer.goaways, 0);
    client_close(&c);
}
BOTH(a_window_that_overflows_ends_its_stream_alone)

/* Its answer went out with the first of two updates, or before both. */
static void check_a_window_that_overflows_is_told_behind_an_early_answer(bool tls)
{
    for (int before = 0; before < 2; before++) {
        struct client c = open_h2(tls);

        put_request(&out, 1, "POST", "/refuse", false);
        if (before)
            put_window(&out, 1, 0x7fffffff - 65535);
        flush(&c, &out);
        look(&c);
        assert_int_equal(streams[1].reset, 1 + FRAME_OK);
        put_window(&out, 1, 0x7fffffff - 65535);
        flush(&c, &out);
        look(&c);
        assert_int_equal(streams[1].reset, 1 + (before ? FRAME_FLOW_CONTROL_ERROR : FRAME_OK));
        put_window(&out, 1, 0x7fffffff);
        flush(&c, &out);
        look(&c);
        assert_int_equal(streams[1].reset, 1 + FRAME_FLOW_CONTROL_ERROR);
        assert_int_equal(peer.goaways, 0);
        client_close(&c);
    }
}
BOTH(a_window_that_overflows_is_told_behind_an_early_answer)

static void check_no_stream_depends_on_itself(bool tls)
{
    uint8_t block[256] = {0x80, 0, 0, 1, 7};
    size_t len = block_of(block + 5, "GET", "/a");
    struct client c = open_h2(tls);

    put(&out, FRAME_HEADERS, FRAME_END_HEADERS | FRAME_END_STREAM | FRAME_HAS_PRIORITY, 1, block,
        len + 5);
    flush(&c, &out);
    look(&c);
    assert_int_equal(peer.error, FRAME_PROTOCOL_ERROR);
    client_close(&c);
    c = open_h2(tls);
    put(&out, FRAME_PRIORITY, 0, 3, "\0\0\0\1\7", 5);
    put(&out, FRAME_PRIORITY, 0, 1, "\0\0\0\1\7", 5);
    flush(&c, &out);
    look(&c);
    assert_int_equal(peer.error, FRAME_PROTOCOL_ERROR);
    client_close(&c);
}
BOTH(no_stream_depends_on_itself)

static void check_a_pause_closes_the_window(bool tls)
{
    static const char piece[16384];
    struct client c = open_h2(tls);

    assert_int_equal(peer.window_setting, GUARD_WINDOW_H2);
    put_request(&out, 1, "POST", "/pause", false);
    flush(&c, &out);
    for (size_t sent = 0; sent < GUARD_WINDOW_H2; sent += sizeof(piece)) {
        put(&out, FRAME_DATA, 0, 1, piece, sizeof(piece));
        flush(&c, &out);
    }
    look(&c);
    assert_int_equal(world.bytes, sizeof(piece));
    assert_int_equal(streams[1].window, 0);
    put_request(&out, 3, "POST", "/a", false); /* another is not held up by it */
    put(&out, FRAME_DATA, FRAME_END_STREAM, 3, "hello", 5);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[3].status, 200);
    world.held->pauses = false;
    body_resume(world.held->body);
    look(&c);
    assert_int_equal(world.bytes, GUARD_WINDOW_H2 + 5);
    assert_int_equal(streams[1].window, GUARD_WINDOW_H2);
    client_close(&c);
}
BOTH(a_pause_closes_the_window)

static void check_a_client_must_keep_to_the_window(bool tls)
{
    static const char piece[16384];
    struct client c = open_h2(tls);

    put_request(&out, 1, "POST", "/pause", false);
    flush(&c, &out);
    for (size_t sent = 0; sent <= GUARD_WINDOW_H2; sent += sizeof(piece)) {
        put(&out, FRAME_DATA, 0, 1, piece, sizeof(piece));
        flush(&c, &out);
    }
    look(&c);
    assert_int_equal(peer.error, FRAME_FLOW_CONTROL_ERROR);
    assert_true(c.eof);
    client_close(&c);
}
BOTH(a_client_must_keep_to_the_window)

static void check_hundred_continue_waits_for_the_handler(bool tls)
{
    uint8_t block[256];
    struct client c = open_h2(tls);
    size_t len = block_of(block, "POST", "/a");

    len += put_field(block + len, "expect", "100-continue");
    put(&out, FRAME_HEADERS, FRAME_END_HEADERS, 1, block, len);
    len = block_of(block, "POST", "/refuse");
    len += put_field(block + len, "expect", "100-continue");
    put(&out, FRAME_HEADERS, FRAME_END_HEADERS, 3, block, len);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[1].hellos, 1);
    assert_int_equal(streams[3].hellos, 0);
    assert_int_equal(streams[3].status, 401);
    put(&out, FRAME_DATA, FRAME_END_STREAM, 1, "hello", 5);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[1].status, 200);
    client_close(&c);
}
BOTH(hundred_continue_waits_for_the_handler)

static void check_only_a_body_below_the_minimum_rate_is_too_slow(bool tls)
{
    static const char second[10000];
    struct client c = open_h2(tls);

    put_request(&out, 1, "POST", "/a", false);
    put_request(&out, 3, "POST", "/a", false);
    for (int i = 0; i < 60; i++) {
        put(&out, FRAME_DATA, 0, 1, second, sizeof(second));
        put(&out, FRAME_DATA, 0, 3, second, 100);
        flush(&c, &out);
        pass_ms(1000);
        look(&c);
    }
    assert_int_equal(world.failures[BODY_TOO_SLOW], 1);
    assert_int_equal(streams[3].status, 408);
    assert_int_equal(streams[1].status, 0);
    client_close(&c);
}
BOTH(only_a_body_below_the_minimum_rate_is_too_slow)

static void check_a_client_may_leave_at_any_byte(bool tls)
{
    struct frames all = {.len = 0};
    size_t whole;

    put(&all, FRAME_SETTINGS, 0, 0, NULL, 0);
    put_request(&all, 1, "POST", "/a", false);
    put(&all, FRAME_DATA, FRAME_END_STREAM, 1, "hello", 5);
    put_request(&all, 3, "POST", "/hang", false);
    put(&all, FRAME_DATA, 0, 3, "hello", 5);
    whole = all.len;
    for (size_t cut = 0; cut <= whole; cut++) {
        struct client c = client_open(tls, "\x02h2");

        world.calls = world.answered = world.gone = 0;
        client_push(&c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        client_push(&c, all.bytes, cut);
        client_close(&c);
        turn();
        assert_int_equal(connections(), 0);
        assert_int_equal(world.calls, world.answered + world.gone);
    }
}
BOTH(a_client_may_leave_at_any_byte)

/* --- what is refused --- */

static int status_for(const uint8_t *block, size_t len)
{
    struct client c = open_h2(false);
    int status;

    put(&out, FRAME_HEADERS, FRAME_END_HEADERS | FRAME_END_STREAM, 1, block, len);
    flush(&c, &out);
    look(&c);
    status = streams[1].status != 0 ? streams[1].status : peer.goaways != 0 ? -1 : 0;
    assert_true(status == 200 || world.calls == 0);
    client_close(&c);
    return status;
}

static int status_for_path(const char *method, const char *path)
{
    uint8_t block[20000];

    return status_for(block, block_of(block, method, path));
}

static void odd_requests_are_refused_before_any_handler(void **state)
{
    static char long_path[9000];
    uint8_t block[20000];
    size_t len;

    (void)state;
    assert_int_equal(status_for_path("GET", "/a"), 200);
    assert_int_equal(status_for_path("get", "/a"), 400);
    assert_int_equal(status_for_path("GE T", "/a"), 400);
    assert_int_equal(status_for_path("GET", ""), 400);
    assert_int_equal(streams[1].reset, 1 + FRAME_PROTOCOL_ERROR);
    assert_int_equal(status_for_path("GET", "a"), 400);
    assert_int_equal(status_for_path("GET", "http://x/a"), 400);
    assert_int_equal(status_for_path("GET", "/a b"), 400);
    assert_int_equal(status_for_path("GET", "/a HTTP/1.1\r\nX: y"), 400);
    assert_int_equal(status_for_path("GET", "/\xc3\xa9"), 400);
    memset(long_path, 'a', sizeof(long_path) - 1);
    long_path[0] = '/';
    assert_int_equal(status_for_path("GET", long_path), 414);
    len = block_of(block, "GET", "/a");
    assert_int_equal(status_for(block, len + put_field(block + len, "content-length", "5")), 400);
    assert_int_equal(status_for(block, len + put_field(block + len, "content-length", "0")), 200);
    assert_int_equal(status_for(block, len + put_field(block + len, "", "x")), 400);
    assert_int_equal(status_for(block, len + put_field(block + len, "x y", "x")), 400);
    assert_int_equal(status_for(block, len + put_field(block + len, "X-Upper", "x")), -1);
    assert_int_equal(status_for(block, len + put_field(block + len, "connection", "close")), -1);
    assert_int_equal(
        status_for(block, len + put_field(block + len, "transfer-encoding", "chunked")), -1);
    assert_int_equal(status_for(block, len + put_field(block + len, ":path", "/b")), -1);
    assert_int_equal(status_for(block, len + put_field(block + len, "x", "a\r\nb: c")), 400);
}

static void header_lists_are_limited(void **state)
{
    uint8_t block[20000];
    size_t len, one;
    struct client c;

    (void)state;
    len = block_of(block, "GET", "/a");
    for (int i = 0; i < 100; i++)
        len += put_field(block + len, "a", "b");
    assert_int_equal(status_for(block, len), 200);
    len += put_field(block + len, "a", "b");
    assert_int_equal(status_for(block, len), 431);
    /* the bomb: an entry of 3,000 bytes, named again and again */
    len = block_of(block, "GET", "/a");
    block[len++] = 0x40;
    len += put_text(block + len, "bomb");
    one = put_int(block + len, 0, 7, 3000);
    memset(block + len + one, 'x', 3000);
    len += one + 3000;
    for (int i = 0; i < 10000; i++)
        block[len++] = 0xbe;
    assert_int_equal(status_for(block, len), 431);

    c = open_h2(false); /* too many bytes in pieces */
    put(&out, FRAME_HEADERS, 0, 1, block, 16000);
    put(&out, FRAME_CONTINUATION, FRAME_END_HEADERS, 1, block, 1000);
    flush(&c, &out);
    look(&c);
    assert_int_equal(peer.error, FRAME_ENHANCE_YOUR_CALM);
    client_close(&c);

    c = open_h2(false); /* too many pieces */
    put(&out, FRAME_HEADERS, 0, 1, "", 0);
    for (int i = 0; i < 100; i++)
        put(&out, FRAME_CONTINUATION, 0, 1, "", 0);
    flush(&c, &out);
    look(&c);
    assert_int_equal(peer.error, FRAME_ENHANCE_YOUR_CALM);
    assert_int_equal(world.calls, 0);
    client_close(&c);

    c = open_h2(false); /* too slow */
    put(&out, FRAME_HEADERS, 0, 1, "", 0);
    flush(&c, &out);
    pass_ms(GUARD_HEAD_MS + 1000);
    assert_int_equal(connections(), 0);
    client_close(&c);
}

/* --- floods --- */

static void twenty_thousand_rapid_resets_are_stopped(void **state)
{
    struct client c = open_h2(false);

    (void)state;
    for (uint32_t id = 1; id < 40000 && !c.eof; id += 2) {
        put_request(&out, id, "GET", "/hang", true);
        put_reset(&out, id);
        if (id % 100 == 1)
            flush(&c, &out);
    }
    look(&c);
    assert_true(c.eof);
    assert_int_equal(peer.error, FRAME_ENHANCE_YOUR_CALM);
    assert_in_range(world.calls, 100, 400);
    client_close(&c);
}

/* Ways to make the server reset streams (CVE-2025-8671). */
static void made_you_reset(int way)
{
    struct client c = open_h2(false);

    for (uint32_t id = 1; id < 40000 && !c.eof; id += 2) {
        put_request(&out, id, "GET", "/hang", true);
        if (way == 0)
            put_window(&out, id, 0);
        else if (way == 1)
            put(&out, FRAME_DATA, 0, id, "x", 1);
        else if (way == 2)
            put_window(&out, id, 0x7fffffff);
        else if (way == 3)
            put(&out, FRAME_HEADERS, FRAME_END_HEADERS, id, "", 0);
        else if (way == 4)
            put(&out, FRAME_PRIORITY, 0, id, "\0\0\0\1\0", 4);
        else
            put(&out, FRAME_HEADERS, FRAME_END_HEADERS | FRAME_END_STREAM, id + 2, "\x82", 1),
                id += 2;
        if (id % 50 < 2)
            flush(&c, &out);
        if (out.len > sizeof(out.bytes) / 2)
            flush(&c, &out);
    }
    flush(&c, &out);
    look(&c);
    assert_true(c.eof);
    assert_in_range(world.calls, 1, 400);
    assert_int_not_equal(peer.error, 0);
    client_close(&c);
}

static void streams_that_the_server_has_to_reset_are_counted_too(void **state)
{
    (void)state;
    for (int way = 0; way < 6; way++)
        made_you_reset(way);
}

static void flood(uint8_t type, uint8_t flags, uint32_t id, size_t len, bool post)
{
    static const char zeros[64] = "\0\0\0\1";
    struct client c = open_h2(false);

    put_request(&out, 1, "POST", "/hang", !post);
    for (int i = 0; i < 20000 && !c.eof; i++) {
        put(&out, type, flags, id, zeros, len);
        if (i % 500 == 0)
            flush(&c, &out);
    }
    flush(&c, &out);
    look(&c);
    if (!c.eof || peer.error != FRAME_ENHANCE_YOUR_CALM)
        fail_msg("a flood of type %d was not stopped", type);
    client_close(&c);
}

static void floods_of_cheap_frames_are_stopped(void **state)
{
    (void)state;
    flood(FRAME_PING, 0, 0, 8, false);
    flood(FRAME_PING, FRAME_ACK, 0, 8, false);
    flood(FRAME_SETTINGS, 0, 0, 0, false);
    flood(FRAME_SETTINGS, FRAME_ACK, 0, 0, false);
    flood(FRAME_PRIORITY, 0, 7, 5, false);
    flood(FRAME_WINDOW_UPDATE, 0, 0, 4, false);
    flood(FRAME_WINDOW_UPDATE, 0, 1, 4, false);
    flood(FRAME_DATA, 0, 1, 0, true);
    flood(FRAME_GOAWAY, 0, 0, 8, false);
    flood(0x55, 0, 1, 10, false);
}

static void frames_out_of_place_end_the_connection(void **state)
{
    static const struct {
        uint8_t type, flags;
        uint32_t id;
        size_t len;
        int error;
    } frames[] = {
        {FRAME_DATA, 0, 1, 5, FRAME_PROTOCOL_ERROR},
        {FRAME_DATA, 0, 0, 5, FRAME_PROTOCOL_ERROR},
        {FRAME_HEADERS, 4, 2, 5, FRAME_PROTOCOL_ERROR},
        {FRAME_HEADERS, 4, 0, 5, FRAME_PROTOCOL_ERROR},
        {FRAME_CONTINUATION, 4, 1, 5, FRAME_PROTOCOL_ERROR},
        {FRAME_PUSH_PROMISE, 4, 1, 5, FRAME_PROTOCOL_ERROR},
        {FRAME_RST_STREAM, 0, 1, 4, FRAME_PROTOCOL_ERROR},
        {FRAME_RST_STREAM, 0, 1, 5, FRAME_SIZE_ERROR},
        {FRAME_SETTINGS, 0, 1, 6, FRAME_PROTOCOL_ERROR},
        {FRAME_SETTINGS, 0, 0, 5, FRAME_SIZE_ERROR},
        {FRAME_SETTINGS, 1, 0, 6, FRAME_SIZE_ERROR},
        {FRAME_PING, 0, 0, 7, FRAME_SIZE_ERROR},
        {FRAME_PING, 0, 1, 8, FRAME_PROTOCOL_ERROR},
        {FRAME_GOAWAY, 0, 0, 7, FRAME_SIZE_ERROR},
        {FRAME_WINDOW_UPDATE, 0, 0, 4, FRAME_PROTOCOL_ERROR},
        {FRAME_WINDOW_UPDATE, 0, 9, 4, FRAME_PROTOCOL_ERROR},
        {FRAME_PRIORITY, 0, 1, 4, FRAME_SIZE_ERROR},
        {FRAME_HEADERS, 4 | 8, 1, 1, FRAME_PROTOCOL_ERROR},
    };
    static const uint8_t payload[16] = {9};
    struct client c;

    (void)state;
    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
        const uint8_t *p =
            frames[i].type == FRAME_WINDOW_UPDATE && frames[i].id == 0 ? payload + 1 : payload;

        c = open_h2(false);
        put(&out, frames[i].type, frames[i].flags, frames[i].id, p, frames[i].len);
        flush(&c, &out);
        look(&c);
        if (peer.error != frames[i].error || !c.eof)
            fail_msg("frame %zu: %d instead of %d", i, peer.error, frames[i].error);
        client_close(&c);
    }
    c = open_h2(false);
    client_say(&c, "\xff\xff\xff\x09"); /* too large, told by its length alone */
    client_send(&c, "\0\0\0\0\1", 5);
    look(&c);
    assert_int_equal(peer.error, FRAME_SIZE_ERROR);
    client_close(&c);
}

static void a_preface_must_be_followed_by_settings(void **state)
{
    struct client c = client_open(false, NULL);

    (void)state;
    memset(&peer, 0, sizeof(peer));
    client_push(&c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    out.len = 0;
    put(&out, FRAME_PING, 0, 0, "12345678", 8);
    flush(&c, &out);
    look(&c);
    assert_int_equal(peer.error, FRAME_PROTOCOL_ERROR);
    client_close(&c);
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

/* The response is complete but waits for its write: a window that opens now made libh2o abort. */
static void open_window_while_sending(int pieces, bool by_settings)
{
    struct client c = open_h2(false);

    shrink_sockets();
    put_window(&out, 0, 1 << 24);
    put_setting(&out, 4, 1 << 20);
    put_request(&out, 1, "GET", "/download=900000", true); /* fills the socket */
    put_setting(&out, 4, 2);
    put_window(&out, 1, 1 << 20);
    client_push(&c, out.bytes, out.len);
    out.len = 0;
    put_request(&out, 3, "GET", "/refuse", true); /* 2 bytes: exactly its window */
    client_push(&c, out.bytes, out.len);
    out.len = 0;
    for (int i = 0; i < pieces; i++) {
        ssize_t n = recv(c.fd, c.bytes + c.len, 8192, MSG_DONTWAIT);

        c.len += n > 0 ? (size_t)n : 0;
        turn();
    }
    if (by_settings) {
        put_setting(&out, 4, 0);
        put_setting(&out, 4, 100000);
    } else {
        put_window(&out, 3, 1000);
        put_window(&out, 1, 1 << 20);
    }
    client_push(&c, out.bytes, out.len);
    for (int i = 0; i < 500 && streams[1].bytes < 900000; i++)
        look(&c);
    assert_int_equal(streams[3].status, 401);
    assert_int_equal(streams[3].bytes, 2);
    assert_true(streams[3].ended);
    client_close(&c);
}

static void windows_for_a_stream_that_has_sent_everything_do_no_harm(void **state)
{
    (void)state;
    for (int pieces = 0; pieces < 30; pieces++) {
        open_window_while_sending(pieces, false);
        open_window_while_sending(pieces, true);
    }
}

/* RFC 9113, section 6.8: what is under way goes on to its end. */
static void check_a_client_that_says_goodbye_gets_the_answer_to_its_upload(bool tls)
{
    static const char goodbye[8] = {0};
    struct client c = open_h2(tls);

    put_request(&out, 1, "POST", "/a", false);
    put(&out, FRAME_DATA, 0, 1, "hello", 5);
    put(&out, FRAME_GOAWAY, 0, 0, goodbye, sizeof(goodbye));
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[1].status, 0);
    put(&out, FRAME_DATA, FRAME_END_STREAM, 1, "world", 5);
    flush(&c, &out);
    look(&c);
    assert_int_equal(world.bytes, 10);
    assert_int_equal(streams[1].status, 200);
    assert_true(streams[1].ended);
    client_close(&c);
}
BOTH(a_client_that_says_goodbye_gets_the_answer_to_its_upload)

static void draining_finishes_uploads_and_takes_no_new_streams(void **state)
{
    struct client c = open_h2(false), idle = open_h2(false);

    (void)state;
    put_request(&out, 1, "POST", "/a", false);
    put(&out, FRAME_DATA, 0, 1, "hello", 5);
    flush(&c, &out);
    front_drain(world.clear);
    look(&c);
    assert_int_equal(peer.goaways, 1);
    assert_int_equal(peer.last_id, 0x7fffffff);
    put_request(&out, 3, "GET", "/a", true); /* was on its way */
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[3].status, 200);
    pass_ms(3000);
    look(&c);
    assert_int_equal(peer.goaways, 2);
    assert_int_equal(peer.last_id, 3);
    assert_int_equal(peer.error, 0);
    settle(&idle);
    assert_true(idle.eof);
    put_request(&out, 5, "GET", "/a", true);
    put(&out, FRAME_DATA, FRAME_END_STREAM, 1, "world", 5);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[5].status, 0);
    assert_int_equal(streams[1].status, 200);
    assert_int_equal(streams[1].bytes, 10);
    settle(&c);
    assert_true(c.eof);
    client_close(&c);
    client_close(&idle);
}

/* An open header block while the connection goes away sent libh2o into an endless loop. */
static void a_continuation_while_draining_does_not_spin(void **state)
{
    uint8_t block[256];
    struct client c = open_h2(false);
    size_t len = block_of(block, "GET", "/a");

    (void)state;
    put_request(&out, 1, "GET", "/hang", true);
    put(&out, FRAME_HEADERS, FRAME_END_STREAM, 3, block, 5);
    flush(&c, &out);
    front_drain(world.clear);
    pass_ms(2000);
    put(&out, FRAME_CONTINUATION, FRAME_END_HEADERS, 3, block + 5, len - 5);
    put(&out, FRAME_PING, 0, 0, "12345678", 8);
    flush(&c, &out);
    look(&c);
    assert_int_equal(peer.pings, 1);
    answer(world.held, 200, "x", 1);
    look(&c);
    assert_int_equal(streams[1].status, 200);
    settle(&c);
    assert_true(c.eof);
    client_close(&c);
}

static void check_idle_and_old_connections_retire(bool tls)
{
    struct client idle = open_h2(tls);

    pass_ms(GUARD_IDLE_MS + 3000);
    look(&idle);
    assert_int_equal(peer.goaways, 2);
    assert_true(idle.eof);
    client_close(&idle);

    idle = open_h2(tls);
    for (uint32_t id = 1; id < 600 && !idle.eof; id += 2) {
        put_request(&out, id, "GET", "/a", true);
        flush(&idle, &out);
        pass_ms(20000);
        look(&idle);
    }
    assert_true(idle.eof);
    assert_in_range(world.calls, 170, 190);
    client_close(&idle);
}
BOTH(idle_and_old_connections_retire)

static void check_a_client_that_takes_nothing_is_cut_off(bool tls)
{
    struct client zero = open_h2(tls), deaf;

    put_setting(&out, 4, 0);
    put_request(&out, 1, "GET", "/download=1000", true);
    flush(&zero, &out);
    pass_ms(GUARD_STALL_MS + 2000);
    assert_int_equal(world.gone, 1);
    client_close(&zero);
    deaf = open_h2(tls);
    put_window(&out, 0, 1 << 30);
    put_setting(&out, 4, 1 << 30);
    put_request(&out, 1, "GET", "/download=90000000", true);
    client_push(&deaf, out.bytes, out.len);
    pass_ms(GUARD_STALL_MS + 2000);
    assert_int_equal(world.gone, 1);
    pass_ms(GUARD_STALL_MS + 2000); /* TLS may want to say goodbye */
    assert_int_equal(connections(), 0);
    client_close(&deaf);
}
BOTH(a_client_that_takes_nothing_is_cut_off)

/* One stream is read well, a byte of the other now and then. */
static void check_a_stream_that_is_read_a_byte_at_a_time_is_reset_alone(bool tls)
{
    struct client c = open_h2(tls);

    put_setting(&out, 4, 0);
    put_request(&out, 1, "GET", "/download=90000000", true);
    put_request(&out, 3, "GET", "/download=90000000", true);
    flush(&c, &out);
    for (int i = 0; i < 40 && streams[1].reset == 0; i++) {
        put_window(&out, 0, 20001);
        put_window(&out, 1, 1);
        put_window(&out, 3, 20000);
        flush(&c, &out);
        pass_ms(5000);
        look(&c);
    }
    assert_int_equal(streams[1].reset, FRAME_ENHANCE_YOUR_CALM + 1);
    assert_in_range(streams[1].bytes, 5, 15);
    assert_int_equal(world.gone, 1);
    put_window(&out, 0, 20000);
    put_window(&out, 3, 20000);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[3].reset, 0);
    assert_true(streams[3].bytes >= 200000 && streams[3].bytes % 20000 == 0);
    assert_false(c.eof);
    client_close(&c);
}
BOTH(a_stream_that_is_read_a_byte_at_a_time_is_reset_alone)

/* The window of the whole connection stays closed: nobody is read. */
static void check_streams_that_nobody_reads_are_reset(bool tls)
{
    struct client c = open_h2(tls);

    put_setting(&out, 4, 1 << 20);
    for (uint32_t id = 1; id < 2 * 30; id += 2)
        put_request(&out, id, "GET", "/download=900000", true);
    flush(&c, &out);
    pass_ms(GUARD_STALL_MS - 5000);
    assert_int_equal(world.gone, 0);
    pass_ms(10000);
    assert_int_equal(world.gone, 30);
    look(&c);
    assert_false(c.eof);
    put_request(&out, 91, "GET", "/a", true);
    put_window(&out, 0, 100);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[91].status, 200);
    client_close(&c);
}
BOTH(streams_that_nobody_reads_are_reset)

/* --- noise --- */

static uint32_t seed = 1;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % sides;
}

static const char *random_path(void)
{
    static const char *const paths[] = {"/a",        "/refuse", "/hang",           "/stop=100",
                                        "/limit=50", "/pause",  "/download=70000", "/final",
                                        "/break",    "a b"};

    return paths[dice(sizeof(paths) / sizeof(paths[0]))];
}

static size_t read_some(struct client *c, size_t most)
{
    ssize_t n = recv(c->fd, c->bytes + c->len, most, MSG_DONTWAIT);

    c->eof = n == 0;
    return n > 0 ? (size_t)n : 0;
}

/* One frame that may well come from a client, or not. */
static void put_noise(struct frames *f, uint32_t *next_id)
{
    static uint8_t junk[3000];
    uint32_t id = dice(20) == 0 ? dice(60) : *next_id - 2 * dice(8);
    uint8_t flags = dice(6) == 0 ? (uint8_t)dice(256) : (uint8_t)(dice(2) * FRAME_END_STREAM);
    size_t len = dice(10) == 0 ? dice(3000) : dice(40);

    for (size_t i = 0; i < len; i++)
        junk[i] = (uint8_t)dice(256);
    switch (dice(14)) {
    case 0:
    case 1:
    case 2:
    case 3:
        put_request(f, *next_id, dice(2) ? "POST" : "GET", random_path(), dice(2));
        *next_id += 2;
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        put(f, FRAME_DATA, flags, id, junk, len);
        break;
    case 8:
        put_reset(f, id);
        break;
    case 9:
        put_window(f, dice(2) ? id : 0, dice(8) == 0 ? dice(0x7fffffff) : 1 + dice(100000));
        break;
    case 10:
        put_setting(f, (uint8_t)(1 + dice(6)), dice(3) == 0 ? dice(0x7fffffff) : dice(70000));
        break;
    case 11: {
        uint8_t block[512];
        size_t size = block_of(block, "POST", random_path()), cut = dice((uint32_t)size);

        put(f, FRAME_HEADERS, flags & FRAME_END_STREAM, *next_id, block, cut);
        put(f, FRAME_CONTINUATION, FRAME_END_HEADERS, *next_id, block + cut, size - cut);
        *next_id += 2;
        break;
    }
    case 12:
        put(f, (uint8_t)dice(12), (uint8_t)dice(256), id, junk, len);
        break;
    default: {
        uint8_t block[8];

        put(f, FRAME_HEADERS, FRAME_END_HEADERS | FRAME_END_STREAM, id, block,
            put_field(block, "x", "y"));
    }
    }
}

static void a_hundred_thousand_random_frames_do_no_harm(void **state)
{
    unsigned survived = 0;

    (void)state;
    for (int frames = 0; frames < 100000;) {
        struct client c = open_h2(dice(16) == 0);
        uint32_t next_id = 1;
        bool deaf = dice(4) == 0, half_deaf = !deaf && dice(2) == 0;

        if (dice(2) == 0)
            shrink_sockets();

        for (int n = 0; n < 400 && !c.eof; n++, frames++) {
            put_noise(&out, &next_id);
            if (dice(3) == 0) {
                client_push(&c, out.bytes, out.len);
                out.len = 0;
                survived++;
            }
            if (world.held != NULL && dice(8) == 0 && world.held->body != NULL)
                body_resume(world.held->body);
            if (dice(40) == 0)
                pass_ms(300);
            if (half_deaf && c.ssl == NULL)
                c.len += read_some(&c, 1 + dice(9000));
            else if (!deaf)
                client_read(&c);
            if (c.len > RECEIVED_MAX / 2)
                c.len = 0;
        }
        client_close(&c);
        turn();
    }
    pass_ms(GUARD_STALL_MS + 5000);
    assert_int_equal(connections(), 0);
    assert_true(survived > 1000);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_handler_runs_before_its_body_arrives),
        TEST(uploads_run_side_by_side),
        TEST(an_early_answer_ends_with_a_reset_without_error),
        TEST(many_uploads_that_are_answered_early_are_all_reset),
        TEST(a_reset_frees_the_request),
        TEST(trailers_end_a_body_and_reach_nobody),
        TEST(a_length_must_be_kept),
        TEST(a_length_that_is_not_kept_is_told_behind_an_early_answer),
        TEST(trailers_of_a_refused_request_leave_the_other_streams_alone),
        TEST(a_refused_request_has_one_end),
        TEST(nothing_follows_a_reset),
        TEST(a_window_that_overflows_ends_its_stream_alone),
        TEST(a_window_that_overflows_is_told_behind_an_early_answer),
        TEST(no_stream_depends_on_itself),
        TEST(a_pause_closes_the_window),
        TEST(a_client_must_keep_to_the_window),
        TEST(hundred_continue_waits_for_the_handler),
        TEST(only_a_body_below_the_minimum_rate_is_too_slow),
        TEST(a_client_may_leave_at_any_byte),
        TEST(odd_requests_are_refused_before_any_handler),
        TEST(header_lists_are_limited),
        TEST(twenty_thousand_rapid_resets_are_stopped),
        TEST(streams_that_the_server_has_to_reset_are_counted_too),
        TEST(floods_of_cheap_frames_are_stopped),
        TEST(frames_out_of_place_end_the_connection),
        TEST(a_preface_must_be_followed_by_settings),
        TEST(windows_for_a_stream_that_has_sent_everything_do_no_harm),
        TEST(a_client_that_says_goodbye_gets_the_answer_to_its_upload),
        TEST(draining_finishes_uploads_and_takes_no_new_streams),
        TEST(a_continuation_while_draining_does_not_spin),
        TEST(idle_and_old_connections_retire),
        TEST(a_client_that_takes_nothing_is_cut_off),
        TEST(a_stream_that_is_read_a_byte_at_a_time_is_reset_alone),
        TEST(streams_that_nobody_reads_are_reset),
        TEST(a_hundred_thousand_random_frames_do_no_harm),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
