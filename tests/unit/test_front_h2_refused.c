/* The front door with HTTP/2: odd requests, frames out of place, floods and noise. */
#include "front_h2_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(odd_requests_are_refused_before_any_handler),
        TEST(header_lists_are_limited),
        TEST(twenty_thousand_rapid_resets_are_stopped),
        TEST(streams_that_the_server_has_to_reset_are_counted_too),
        TEST(floods_of_cheap_frames_are_stopped),
        TEST(frames_out_of_place_end_the_connection),
        TEST(a_preface_must_be_followed_by_settings),
        TEST(a_hundred_thousand_random_frames_do_no_harm),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
