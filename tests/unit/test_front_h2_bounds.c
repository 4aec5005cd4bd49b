/* The front door with HTTP/2: windows, queues, lists and frames that meet a bound to the byte. */
#include "front_h2_world.h"

#include <h2o/http2_internal.h>

#define BOTH(name)                                                                                 \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check_##name(false);                                                                       \
        check_##name(true);                                                                        \
    }

static const char zeros[16384];

static void put_data(uint32_t id, size_t len)
{
    for (; len > 0; len -= len < sizeof(zeros) ? len : sizeof(zeros))
        put(&out, FRAME_DATA, 0, id, zeros, len < sizeof(zeros) ? len : sizeof(zeros));
}

/* Send them in pieces that a socket takes. */
static void send_data(struct client *c, uint32_t id, size_t len)
{
    for (size_t n; len > 0; len -= n) {
        n = len < sizeof(zeros) ? len : sizeof(zeros);
        put_data(id, n);
        flush(c, &out);
    }
    look(c);
}

/* --- windows --- */

static void check_a_window_is_given_back_with_the_byte_that_makes_its_half(bool tls)
{
    struct client c = open_h2(tls);

    put_request(&out, 1, "POST", "/a", false);
    flush(&c, &out);
    send_data(&c, 1, GUARD_WINDOW_H2 / 2 - 1);
    assert_int_equal(streams[1].window, 0);
    send_data(&c, 1, 1);
    assert_int_equal(streams[1].window, GUARD_WINDOW_H2 / 2);
    client_close(&c);
}
BOTH(a_window_is_given_back_with_the_byte_that_makes_its_half)

static void check_the_window_of_all_is_given_back_with_the_byte_that_makes_its_half(bool tls)
{
    struct client c = open_h2(tls);
    uint64_t before = peer.window;

    put_request(&out, 1, "POST", "/a", false);
    put_request(&out, 3, "POST", "/a", false);
    flush(&c, &out);
    send_data(&c, 1, GUARD_WINDOW_H2_ALL / 4);
    send_data(&c, 3, GUARD_WINDOW_H2_ALL / 4 - 1);
    assert_int_equal(peer.window, before);
    send_data(&c, 3, 1);
    assert_int_equal(peer.window, before + GUARD_WINDOW_H2_ALL / 2);
    client_close(&c);
}
BOTH(the_window_of_all_is_given_back_with_the_byte_that_makes_its_half)

/* Whether the answer of a stream is with libh2o's writer, and not yet gone. */
static bool is_sent(uint32_t id)
{
    struct conn *conn = H2O_STRUCT_FROM_MEMBER(struct conn, link, world.clear->conns.next);
    h2o_http2_stream_t *stream = h2o_http2_conn_get_stream(conn->sock->data, id);

    return stream != NULL && stream->state == H2O_HTTP2_STREAM_STATE_END_STREAM;
}

/* @return 1 + the error that a stream is reset with whose answer waits for its write while its
 * window opens to this size, in one update or in two; 0: it was not reset */
static int reset_of_a_sent_stream(int64_t window, bool twice)
{
    struct client c = open_h2(false);
    uint32_t by = (uint32_t)(window - (65535 - 2)); /* it has sent "no" */
    int error;

    shrink_sockets();
    put_window(&out, 0, 1 << 24);
    put_request(&out, 1, "GET", "/download=900000", true); /* fills the socket */
    put_window(&out, 1, 1 << 20);
    client_push(&c, out.bytes, out.len);
    out.len = 0;
    put_request(&out, 3, "POST", "/refuse", false);
    client_push(&c, out.bytes, out.len);
    out.len = 0;
    for (int i = 0; i < 500 && !is_sent(3); i++) { /* a little room for a write */
        ssize_t n = recv(c.fd, c.bytes + c.len, 8192, MSG_DONTWAIT);

        c.len += n > 0 ? (size_t)n : 0;
        turn();
    }
    assert_true(is_sent(3));
    if (twice)
        put_window(&out, 3, 1);
    put_window(&out, 3, by - twice);
    client_push(&c, out.bytes, out.len);
    out.len = 0;
    for (int i = 0; i < 500 && streams[1].bytes < 900000; i++)
        look(&c);
    look(&c);
    assert_int_equal(streams[3].status, 401);
    assert_int_equal(peer.goaways, 0);
    error = streams[3].reset;
    client_close(&c);
    return error;
}

static void a_window_that_overflows_before_an_answer_has_left_is_told_behind_it(void **state)
{
    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        assert_int_equal(reset_of_a_sent_stream(INT32_MAX - 1, twice), 1 + FRAME_OK);
        assert_int_equal(reset_of_a_sent_stream(INT32_MAX, twice), 1 + FRAME_OK);
        assert_int_equal(reset_of_a_sent_stream((int64_t)INT32_MAX + 1, twice),
                         1 + FRAME_FLOW_CONTROL_ERROR);
        assert_int_equal(reset_of_a_sent_stream((int64_t)INT32_MAX + 2, twice),
                         1 + FRAME_FLOW_CONTROL_ERROR);
    }
}

static void check_a_window_may_be_as_large_as_its_bound_and_no_byte_larger(bool tls)
{
    for (uint32_t more = 0; more < 2; more++) {
        struct client c = open_h2(tls);

        put_request(&out, 1, "POST", "/a", false);
        put_window(&out, 1, INT32_MAX - 65535 + more);
        flush(&c, &out);
        look(&c);
        assert_int_equal(streams[1].reset, more == 0 ? 0 : 1 + FRAME_FLOW_CONTROL_ERROR);
        assert_int_equal(world.failures[BODY_CLIENT_GONE], more);
        assert_int_equal(peer.goaways, 0);
        client_close(&c);
    }
}
BOTH(a_window_may_be_as_large_as_its_bound_and_no_byte_larger)

static void check_an_overflow_behind_an_early_answer_is_told_once(bool tls)
{
    struct client c = open_h2(tls);

    put_request(&out, 1, "POST", "/refuse", false);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[1].resets, 1);
    put_window(&out, 1, INT32_MAX - (65535 - 2)); /* it has sent "no" */
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[1].resets, 1);
    for (int i = 0; i < 3; i++) {
        put_window(&out, 1, 1);
        flush(&c, &out);
        look(&c);
        assert_int_equal(streams[1].resets, 2);
        assert_int_equal(streams[1].reset, 1 + FRAME_FLOW_CONTROL_ERROR);
    }
    client_close(&c);
}
BOTH(an_overflow_behind_an_early_answer_is_told_once)

/* 2 is the server's own, which it never opened; 3 is not open yet. */
static void check_a_window_for_a_stream_that_was_never_open_is_an_error(bool tls)
{
    for (uint32_t id = 1; id < 5; id++) {
        struct client c = open_h2(tls);

        put_request(&out, 1, "GET", "/a", true);
        put_window(&out, id, 1);
        flush(&c, &out);
        look(&c);
        assert_int_equal(peer.error, id == 1 ? FRAME_OK : FRAME_PROTOCOL_ERROR);
        client_close(&c);
    }
}
BOTH(a_window_for_a_stream_that_was_never_open_is_an_error)

/* --- bodies --- */

static void check_what_waited_for_a_handler_is_handed_on_to_the_last_byte(bool tls)
{
    for (size_t len = BODY_SLICE - 1; len <= BODY_SLICE + 1; len++) {
        struct client c = open_h2(tls);

        put_request(&out, 1, "POST", "/pause", false);
        put(&out, FRAME_DATA, 0, 1, "first", 5);
        flush(&c, &out);
        assert_int_equal(world.bytes, 5);
        send_data(&c, 1, len);
        assert_int_equal(world.bytes, 5);
        world.held->pauses = false;
        body_resume(world.held->body);
        settle(&c);
        assert_int_equal(world.bytes, 5 + len);
        client_close(&c);
    }
}
BOTH(what_waited_for_a_handler_is_handed_on_to_the_last_byte)

static void check_the_end_of_a_body_that_waited_is_told_behind_its_bytes(bool tls)
{
    struct client c = open_h2(tls);

    put_request(&out, 1, "POST", "/pause", false);
    put(&out, FRAME_DATA, 0, 1, "hello ", 6);
    put(&out, FRAME_DATA, FRAME_END_STREAM, 1, "world", 5);
    flush(&c, &out);
    look(&c);
    assert_int_equal(world.bytes, 6);
    assert_false(world.held->ended);
    world.held->pauses = false;
    body_resume(world.held->body);
    look(&c);
    assert_int_equal(streams[1].status, 200);
    assert_int_equal(streams[1].bytes, 11);
    assert_true(streams[1].ended);
    client_close(&c);
}
BOTH(the_end_of_a_body_that_waited_is_told_behind_its_bytes)

static void check_a_length_that_is_kept_is_fine(bool tls)
{
    uint8_t block[256];
    struct client c = open_h2(tls);
    size_t len = block_of(block, "POST", "/a");

    len += put_field(block + len, "content-length", "5");
    put(&out, FRAME_HEADERS, FRAME_END_HEADERS, 1, block, len);
    put(&out, FRAME_DATA, 0, 1, "hel", 3);
    put(&out, FRAME_DATA, FRAME_END_STREAM, 1, "lo", 2);
    flush(&c, &out);
    look(&c);
    assert_int_equal(streams[1].status, 200);
    assert_int_equal(streams[1].reset, 0);
    assert_int_equal(world.failures[BODY_MALFORMED], 0);
    client_close(&c);
}
BOTH(a_length_that_is_kept_is_fine)

/* --- heads --- */

static int status_for(const uint8_t *block, size_t len)
{
    struct client c = open_h2(false);
    int status;

    put(&out, FRAME_HEADERS, FRAME_END_HEADERS | FRAME_END_STREAM, 1, block, len);
    flush(&c, &out);
    look(&c);
    status = streams[1].status;
    client_close(&c);
    return status;
}

static void a_target_may_be_as_long_as_its_bound_and_no_byte_longer(void **state)
{
    static char path[GUARD_H1_MAX_TARGET + 2];
    uint8_t block[10000];

    (void)state;
    memset(path, 'a', GUARD_H1_MAX_TARGET);
    path[0] = '/';
    assert_int_equal(status_for(block, block_of(block, "GET", path)), 200);
    path[GUARD_H1_MAX_TARGET] = 'a';
    assert_int_equal(status_for(block, block_of(block, "GET", path)), 414);
}

/* An entry of 3,000 bytes, named 21 times: 63,756 bytes as RFC 9113, 6.5.2 counts them. */
static void a_header_list_may_be_as_large_as_its_bound_and_no_byte_larger(void **state)
{
    static char value[2000];
    uint8_t block[16384];

    (void)state;
    for (size_t more = 0; more < 2; more++) {
        size_t len = block_of(block, "GET", "/a"), one;

        block[len++] = 0x40;
        len += put_text(block + len, "bomb");
        one = put_int(block + len, 0, 7, 3000);
        memset(block + len + one, 'x', 3000);
        len += one + 3000;
        for (int i = 1; i < 21; i++)
            block[len++] = 0xbe;
        memset(value, 'y', FRAME_MAX_LIST - 63756 - 33 + more);
        value[FRAME_MAX_LIST - 63756 - 33 + more] = '\0';
        len += put_field(block + len, "z", value);
        assert_int_equal(status_for(block, len), more == 0 ? 200 : 431);
    }
}

/* A request that comes too late is not taken, but what its head taught the compression counts. */
static void a_late_request_leaves_the_compression_of_the_others_right(void **state)
{
    uint8_t block[256];
    struct client c = open_h2(false);
    size_t len;

    (void)state;
    put_request(&out, 1, "POST", "/a", false);
    put(&out, FRAME_DATA, 0, 1, "hello", 5);
    flush(&c, &out);
    front_drain(world.clear);
    pass_ms(3000);
    look(&c);
    assert_int_equal(peer.goaways, 2);
    len = block_of(block, "GET", "/a");
    block[len++] = 0x40; /* entry 62 from now on */
    len += put_text(block + len, "x-late");
    len += put_text(block + len, "y");
    put(&out, FRAME_HEADERS, FRAME_END_HEADERS | FRAME_END_STREAM, 3, block, len);
    put(&out, FRAME_HEADERS, FRAME_END_HEADERS | FRAME_END_STREAM, 1, "\xbe", 1);
    flush(&c, &out);
    look(&c);
    assert_int_equal(world.calls, 1);
    assert_int_equal(streams[3].status, 0);
    assert_int_equal(streams[1].status, 200);
    assert_int_equal(peer.error, 0);
    client_close(&c);
}

/* --- frames --- */

static void check_frames_are_the_same_byte_by_byte(bool tls)
{
    struct client c = open_h2(tls);
    struct frames all = {.len = 0};

    put_request(&all, 1, "POST", "/a", false);
    put(&all, FRAME_DATA, 0, 1, "hello", 5);
    put(&all, FRAME_DATA, 0, 1, "", 0);
    put_window(&all, 0, 5);
    put(&all, FRAME_DATA, FRAME_END_STREAM, 1, "", 0);
    put(&all, FRAME_PING, 0, 0, "12345678", 8);
    for (size_t i = 0; i < all.len; i++)
        client_push(&c, all.bytes + i, 1);
    look(&c);
    assert_int_equal(streams[1].status, 200);
    assert_int_equal(streams[1].bytes, 5);
    assert_int_equal(peer.pings, 1);
    assert_int_equal(peer.goaways, 0);
    client_close(&c);
}
BOTH(frames_are_the_same_byte_by_byte)

/* Its nine bytes say so; nobody waits for the rest. */
static void check_a_frame_of_one_byte_too_many_is_told_by_its_head(bool tls)
{
    for (uint8_t more = 0; more < 2; more++) {
        uint8_t head[9] = {0, 0x40, more, FRAME_DATA, 0, 0, 0, 0, 1};
        struct client c = open_h2(tls);

        put_request(&out, 1, "POST", "/a", false);
        flush(&c, &out);
        client_push(&c, head, sizeof(head));
        look(&c);
        assert_int_equal(peer.error, more == 0 ? FRAME_OK : FRAME_SIZE_ERROR);
        client_close(&c);
    }
}
BOTH(a_frame_of_one_byte_too_many_is_told_by_its_head)

/* Its writes wait, so that libh2o cannot close it at once. */
static void nothing_more_is_said_on_a_connection_that_is_being_closed(void **state)
{
    uint8_t block[256];
    size_t len = block_of(block, "POST", "/a");
    struct client c = open_h2(false);

    (void)state;
    len += put_field(block + len, "expect", "100-continue");
    shrink_sockets();
    put_window(&out, 0, 1 << 24);
    put_request(&out, 1, "GET", "/download=900000", true); /* fills the socket */
    put_window(&out, 1, 1 << 20);
    client_push(&c, out.bytes, out.len);
    out.len = 0;
    put(&out, FRAME_HEADERS, FRAME_END_HEADERS, 3, block, len);
    put(&out, FRAME_PING, 0, 7, "12345678", 8); /* on a stream, where none belongs */
    assert_int_equal(send(c.fd, out.bytes, out.len, MSG_NOSIGNAL), out.len); /* one read */
    out.len = 0;
    turn();
    for (int i = 0; i < 500 && !c.eof; i++)
        look(&c);
    assert_int_equal(world.calls, 2);
    assert_int_equal(peer.error, FRAME_PROTOCOL_ERROR);
    assert_int_equal(streams[3].hellos, 0);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_window_is_given_back_with_the_byte_that_makes_its_half),
        TEST(the_window_of_all_is_given_back_with_the_byte_that_makes_its_half),
        TEST(a_window_that_overflows_before_an_answer_has_left_is_told_behind_it),
        TEST(a_window_may_be_as_large_as_its_bound_and_no_byte_larger),
        TEST(an_overflow_behind_an_early_answer_is_told_once),
        TEST(a_window_for_a_stream_that_was_never_open_is_an_error),
        TEST(what_waited_for_a_handler_is_handed_on_to_the_last_byte),
        TEST(the_end_of_a_body_that_waited_is_told_behind_its_bytes),
        TEST(a_length_that_is_kept_is_fine),
        TEST(a_target_may_be_as_long_as_its_bound_and_no_byte_longer),
        TEST(a_header_list_may_be_as_large_as_its_bound_and_no_byte_larger),
        TEST(a_late_request_leaves_the_compression_of_the_others_right),
        TEST(frames_are_the_same_byte_by_byte),
        TEST(a_frame_of_one_byte_too_many_is_told_by_its_head),
        TEST(nothing_more_is_said_on_a_connection_that_is_being_closed),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
