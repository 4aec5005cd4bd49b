/* The front door with HTTP/2: uploads, flow control, draining, readers that are too slow. What
 * is refused is in test_front_h2_refused.c. */
#include "front_h2_world.h"

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

/* --- libh2o's own weak spots --- */

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
        TEST(windows_for_a_stream_that_has_sent_everything_do_no_harm),
        TEST(a_client_that_says_goodbye_gets_the_answer_to_its_upload),
        TEST(draining_finishes_uploads_and_takes_no_new_streams),
        TEST(a_continuation_while_draining_does_not_spin),
        TEST(idle_and_old_connections_retire),
        TEST(a_client_that_takes_nothing_is_cut_off),
        TEST(a_stream_that_is_read_a_byte_at_a_time_is_reset_alone),
        TEST(streams_that_nobody_reads_are_reset),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
