/* The front door with HTTP/1: each transition, over clear text and TLS. Heads that are refused
 * are in test_front_heads.c, HTTP/2 is in test_front_h2.c. */
#include "front_h1_world.h"

static const char ok_head[] = "HTTP/1.1 200 ";

static void check_a_handler_runs_before_its_body_arrives(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n");
    assert_int_equal(world.calls, 1);
    assert_int_equal(c.len, 0);
    client_say(&c, "hel");
    assert_int_equal(world.bytes, 3);
    client_say(&c, "lo");
    assert_non_null(strstr(c.bytes, "\r\n\r\nhello"));
    client_close(&c);
}
BOTH(a_handler_runs_before_its_body_arrives)

static void check_a_body_is_the_same_however_it_is_cut(bool tls)
{
    static const char whole[] = "POST /a HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\nhello world"
                                "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                                "5;x=y\r\nhello\r\n06\r\n world\r\n0\r\nX-Trailer: z\r\n\r\n"
                                "GET /a HTTP/1.1\r\n" HOST "X-Test: last\r\n\r\n";

    for (size_t step = 1; step < sizeof(whole); step += step < 9 ? 1 : 23) {
        struct client c = open_h1(tls);

        for (size_t at = 0; at < sizeof(whole) - 1; at += step)
            client_push(&c, whole + at,
                        step < sizeof(whole) - 1 - at ? step : sizeof(whole) - 1 - at);
        settle(&c);
        assert_int_equal(count_of(&c, ok_head), 3);
        assert_int_equal(count_of(&c, "\r\n\r\nhello world"), 2);
        assert_int_equal(world.bytes, 22);
        assert_string_equal(world.last_header, "last");
        client_close(&c);
    }
}
BOTH(a_body_is_the_same_however_it_is_cut)

static void check_pipelined_requests_are_answered_in_order(bool tls)
{
    char text[8192] = "", one[256];
    struct client c = open_h1(tls);
    const char *at;

    for (int i = 0; i < 20; i++) {
        if (i % 3 == 0)
            snprintf(one, sizeof(one), "GET /nothing HTTP/1.1\r\n" HOST "\r\n");
        else if (i % 3 == 1)
            snprintf(one, sizeof(one),
                     "POST /a HTTP/1.1\r\n" HOST "Content-Length: 6\r\n\r\nbody%02d", i);
        else
            snprintf(one, sizeof(one),
                     "POST /a HTTP/1.1\r\n" HOST
                     "Transfer-Encoding: chunked\r\n\r\n6\r\nbody%02d\r\n0\r\n\r\n",
                     i);
        strcat(text, one);
    }
    client_say(&c, text);
    for (int i = 0; i < 20; i++)
        settle(&c);
    assert_int_equal(world.calls, 20);
    assert_int_equal(count_of(&c, ok_head), 20);
    at = c.bytes;
    for (int i = 0; i < 20; i++) {
        snprintf(one, sizeof(one), "body%02d", i);
        if (i % 3 != 0)
            assert_non_null(at = strstr(at, one));
    }
    client_close(&c);
}
BOTH(pipelined_requests_are_answered_in_order)

static void check_hundred_continue_waits_for_the_handler(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c,
               "POST /hang HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_int_equal(world.calls, 1);
    assert_int_equal(c.len, 0);
    world.held->body = NULL;
    answer(world.held, 401, "no", 2);
    settle(&c);
    assert_int_equal(strncmp(c.bytes, "HTTP/1.1 401 ", 13), 0);
    assert_int_equal(count_of(&c, "100 Continue"), 0);
    assert_int_equal(count_of(&c, "Connection: close"), 1);
    client_close(&c);

    c = open_h1(tls);
    client_say(&c, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
    assert_string_equal(c.bytes, "HTTP/1.1 100 Continue\r\n\r\n");
    client_say(&c, "hello");
    assert_int_equal(count_of(&c, ok_head), 1);
    client_say(&c, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(count_of(&c, ok_head), 2);
    client_close(&c);
}
BOTH(hundred_continue_waits_for_the_handler)

static void check_no_100_continue_for_a_body_that_came_already(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "POST /a HTTP/1.1\r\n" HOST
                   "Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello");
    assert_int_equal(count_of(&c, "100 Continue"), 0);
    assert_int_equal(count_of(&c, ok_head), 1);
    client_close(&c);
}
BOTH(no_100_continue_for_a_body_that_came_already)

static void check_an_early_answer_reaches_a_client_that_still_sends(bool tls)
{
    static char megabyte[1 << 20];
    struct client c = open_h1(tls);

    client_say(&c, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 3145728\r\n\r\n");
    for (int i = 0; i < 3; i++)
        assert_int_equal(client_push(&c, megabyte, sizeof(megabyte)), sizeof(megabyte));
    settle(&c);
    assert_int_equal(strncmp(c.bytes, "HTTP/1.1 401 ", 13), 0);
    assert_int_equal(count_of(&c, "Connection: close"), 1);
    assert_true(c.eof); /* the body's end was reached, so nobody has to wait */
    assert_int_equal(world.bytes, 0);
    client_close(&c);
}
BOTH(an_early_answer_reaches_a_client_that_still_sends)

static void check_the_end_of_an_early_answer_is_told_at_once_and_the_rest_is_still_taken(bool tls)
{
    static char megabyte[1 << 20];
    struct client c = open_h1(tls);

    client_say(&c, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 3145728\r\n\r\n");
    settle(&c);
    assert_int_equal(strncmp(c.bytes, "HTTP/1.1 401 ", 13), 0);
    assert_true(c.eof);
    if (tls) /* said, not cut off */
        assert_int_equal(SSL_get_shutdown(c.ssl), SSL_RECEIVED_SHUTDOWN);
    assert_int_equal(front_connections(tls ? world.tls : world.clear), 1);
    for (int i = 0; i < 3; i++)
        assert_int_equal(client_push(&c, megabyte, sizeof(megabyte)), sizeof(megabyte));
    settle(&c);
    assert_int_equal(front_connections(tls ? world.tls : world.clear), 0);
    client_close(&c);
}
BOTH(the_end_of_an_early_answer_is_told_at_once_and_the_rest_is_still_taken)

static void check_lingering_is_bounded_in_time(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 3145728\r\n\r\n");
    pass_ms(GUARD_LINGER_MS - 1000);
    assert_int_equal(front_connections(tls ? world.tls : world.clear), 1);
    pass_ms(2000);
    assert_int_equal(front_connections(tls ? world.tls : world.clear), 0);
    client_close(&c);
}
BOTH(lingering_is_bounded_in_time)

static void check_lingering_is_bounded_in_bytes(bool tls)
{
    static char megabyte[1 << 20];
    struct client c = open_h1(tls);
    size_t sent = 0, n = 1;

    client_say(&c,
               "POST /refuse HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n");
    for (int i = 0; i < 100 && n != 0; i++)
        sent += n = client_push(&c, megabyte, sizeof(megabyte));
    assert_true(sent >= GUARD_LINGER_BYTES && sent < GUARD_LINGER_BYTES + (2 << 20));
    client_close(&c);
}
BOTH(lingering_is_bounded_in_bytes)

static void check_a_small_body_left_unread_does_not_cost_the_connection(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"
                   "GET /a HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(count_of(&c, "HTTP/1.1 401 "), 1);
    assert_int_equal(count_of(&c, ok_head), 1);
    /* head and body apart, as Python sends them */
    client_say(&c, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n");
    client_say(&c, "helloGET /a HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(count_of(&c, "HTTP/1.1 401 "), 2);
    assert_int_equal(count_of(&c, ok_head), 2);
    assert_int_equal(count_of(&c, "Connection: close"), 0);
    client_close(&c);
}
BOTH(a_small_body_left_unread_does_not_cost_the_connection)

static void check_a_handler_may_answer_in_the_middle_of_the_body(bool tls)
{
    static char chunk[100000];
    struct client c = open_h1(tls);

    client_say(&c, "POST /stop=1000 HTTP/1.1\r\n" HOST "Content-Length: 900000\r\n\r\n");
    for (int i = 0; i < 9; i++)
        client_push(&c, chunk, sizeof(chunk));
    settle(&c);
    assert_int_equal(strncmp(c.bytes, "HTTP/1.1 413 ", 13), 0);
    assert_true(c.eof);
    assert_true(world.bytes < 200000);
    client_close(&c);
}
BOTH(a_handler_may_answer_in_the_middle_of_the_body)

/* Its first half comes with the head, and the handler answers as soon as it sees it: each byte of
 * it counts once. Counted twice, the body would end in its middle, and the rest be a request. */
static void check_the_rest_of_a_body_that_was_answered_is_never_a_request(bool tls)
{
    static const char *const framings[] = {"Content-Length: 200\r\n\r\n",
                                           "Transfer-Encoding: chunked\r\n\r\nc8\r\n"};
    static const char smuggled[] = "GET /smuggled HTTP/1.1\r\n" HOST "\r\n";
    static const char next[] = "GET /next HTTP/1.1\r\n" HOST "\r\n";
    char first[400], rest[101];

    for (int chunked = 0; chunked < 2; chunked++) {
        struct client c = open_h1(tls);

        snprintf(first, sizeof(first), "POST /stop=10 HTTP/1.1\r\n" HOST "%s%0100d",
                 framings[chunked], 0);
        client_say(&c, first);
        settle(&c);
        assert_int_equal(strncmp(c.bytes, "HTTP/1.1 413 ", 13), 0);
        snprintf(rest, sizeof(rest), "%-100s", smuggled);
        memset(rest + strlen(smuggled), 'x', 100 - strlen(smuggled));
        client_say(&c, rest);
        if (chunked)
            client_say(&c, "\r\n0\r\n\r\n");
        client_push_text(&c, next); /* it may be closed */
        settle(&c);
        assert_int_equal(count_of(&c, "HTTP/1.1 "), c.eof ? 1 : 2);
        assert_int_equal(count_of(&c, "HTTP/1.1 400"), 0);
        assert_int_equal(world.calls, c.eof ? 1 : 2);
        client_close(&c);
    }
}
BOTH(the_rest_of_a_body_that_was_answered_is_never_a_request)

static void check_too_large_a_body_is_refused_with_or_without_a_length(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "POST /limit=4 HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
    client_say(&c, "POST /limit=4 HTTP/1.1\r\n" HOST
                   "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_int_equal(count_of(&c, "HTTP/1.1 413 "), 2);
    assert_int_equal(world.failures[BODY_TOO_LARGE], 2);
    client_close(&c);
}
BOTH(too_large_a_body_is_refused_with_or_without_a_length)

static void check_broken_chunks_are_malformed(bool tls)
{
    static const char *const bodies[] = {"0x3\r\nabc\r\n0\r\n\r\n",
                                         "3\nabc\n0\n\n",
                                         "3\r\nabcd\r\n0\r\n\r\n",
                                         "-3\r\n",
                                         " 3\r\nabc",
                                         "\r\n",
                                         "3 \r\nabc\r\n",
                                         "1000000000000000\r\n",
                                         "0\r\nbad trailer\r\n\r\n",
                                         "0\r\nX: a\nY: b\r\n\r\n",
                                         "3\r\nabc0\r\n\r\n"};

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct client c = open_h1(tls);

        client_say(&c, "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
        client_say(&c, bodies[i]);
        client_push_text(&c, "GET /smuggled HTTP/1.1\r\n" HOST "\r\n");
        settle(&c);
        assert_int_equal(strncmp(c.bytes, "HTTP/1.1 400 ", 13), 0);
        assert_int_equal(count_of(&c, "Connection: close"), 1);
        assert_int_equal(world.calls, 1);
        assert_int_equal(world.failures[BODY_MALFORMED], 1);
        client_close(&c);
    }
}
BOTH(broken_chunks_are_malformed)

static void check_a_pause_stops_the_client(bool tls)
{
    static char megabyte[1 << 20];
    struct client c = open_h1(tls);
    size_t pushed, total = 0;

    client_say(&c, "POST /pause HTTP/1.1\r\n" HOST "Content-Length: 4194304\r\n\r\n");
    pushed = client_push(&c, megabyte, sizeof(megabyte));
    total += pushed;
    assert_true(pushed < 900000); /* socket buffers, not ours */
    assert_true(world.bytes <= BODY_SLICE);
    for (int i = 0; i < 3; i++) {
        uint64_t before = world.bytes;

        body_resume(world.held->body);
        turn();
        assert_in_range(world.bytes - before, 1, BODY_SLICE);
        total += client_push(&c, megabyte, sizeof(megabyte)); /* into the room that this made */
    }
    pass_ms(world.limits.body_grace_ms * 3); /* its client is not slow: we are */
    assert_int_equal(world.failures[BODY_TOO_SLOW], 0);
    world.held->pauses = false;
    body_resume(world.held->body);
    turn();
    for (int i = 0; i < 1000 && total < 4194304; i++)
        total += client_push(
            &c, megabyte, sizeof(megabyte) < 4194304 - total ? sizeof(megabyte) : 4194304 - total);
    settle(&c);
    assert_int_equal(world.bytes, 4194304);
    assert_int_equal(count_of(&c, ok_head), 1);
    client_close(&c);
}
BOTH(a_pause_stops_the_client)

static void check_an_end_is_not_told_to_a_handler_that_pauses(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "POST /pause HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
    assert_int_equal(world.bytes, 5);
    assert_false(world.held->ended);
    body_resume(world.held->body);
    settle(&c);
    assert_int_equal(count_of(&c, ok_head), 1);
    client_close(&c);
}
BOTH(an_end_is_not_told_to_a_handler_that_pauses)

static void check_only_a_body_below_the_minimum_rate_is_too_slow(bool tls)
{
    static char second[20000];
    struct client c = open_h1(tls);

    client_say(&c, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 9000000\r\n\r\n");
    for (int i = 0; i < 100; i++) {
        client_push(&c, second, sizeof(second));
        pass_ms(1000);
    }
    assert_int_equal(world.failures[BODY_TOO_SLOW], 0);
    for (int i = 0; i < 50; i++) { /* half the rate: the grace lasts twice as long */
        client_push(&c, second, 512);
        pass_ms(1000);
        if (i < 35)
            assert_int_equal(world.failures[BODY_TOO_SLOW], 0);
    }
    settle(&c);
    assert_int_equal(world.failures[BODY_TOO_SLOW], 1);
    assert_int_equal(strncmp(c.bytes, "HTTP/1.1 408 ", 13), 0);
    client_close(&c);
}
BOTH(only_a_body_below_the_minimum_rate_is_too_slow)

static void check_the_grace_of_a_slow_body_is_the_configured_one(bool tls)
{
    struct client c;

    (tls ? world.tls : world.clear)->body_grace_ms = 3000;
    c = open_h1(tls);
    client_say(&c, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\n");
    pass_ms(2900);
    assert_int_equal(world.failures[BODY_TOO_SLOW], 0);
    pass_ms(500);
    assert_int_equal(world.failures[BODY_TOO_SLOW], 1);
    client_close(&c);
}
BOTH(the_grace_of_a_slow_body_is_the_configured_one)

static void check_a_client_may_leave_at_any_byte(bool tls)
{
    static const char whole[] =
        "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        "POST /hang HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello";

    for (size_t cut = 0; cut < sizeof(whole); cut++) {
        struct client c = open_h1(tls);

        client_push(&c, whole, cut);
        client_close(&c);
        pass_ms(1000);
        assert_int_equal(front_connections(tls ? world.tls : world.clear), 0);
        assert_int_equal(world.calls, world.answered + world.gone);
    }
}
BOTH(a_client_may_leave_at_any_byte)

static void check_a_client_that_leaves_frees_the_request_that_runs(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "GET /hang HTTP/1.1\r\n" HOST "\r\n");
    pass_ms(3000);
    assert_int_equal(world.gone, 0);
    client_close(&c);
    pass_ms(500);
    assert_int_equal(world.gone, 1);
    assert_int_equal(front_connections(tls ? world.tls : world.clear), 0);
}
BOTH(a_client_that_leaves_frees_the_request_that_runs)

static void check_a_client_that_leaves_while_its_body_is_paused_is_noticed(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "POST /pause HTTP/1.1\r\n" HOST "Content-Length: 50\r\n\r\nhello");
    client_close(&c);
    pass_ms(500);
    assert_int_equal(world.gone, 1);
}
BOTH(a_client_that_leaves_while_its_body_is_paused_is_noticed)

static void check_an_empty_last_send_ends_a_response(bool tls)
{
    struct client c = open_h1(tls);

    for (unsigned i = 1; i <= 3; i++) {
        client_say(&c, "GET /final HTTP/1.1\r\n" HOST "\r\n");
        assert_int_equal(count_of(&c, ok_head), i);
        assert_false(c.eof);
    }
    client_say(&c, "POST /final HTTP/1.1\r\n" HOST "Content-Length: 900000\r\n\r\n");
    pass_ms(GUARD_LINGER_MS + 1000);
    settle(&c);
    assert_true(c.eof);
    client_close(&c);
}
BOTH(an_empty_last_send_ends_a_response)

static void check_a_response_that_breaks_off_is_visibly_broken(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "GET /break HTTP/1.1\r\n" HOST "\r\n");
    settle(&c);
    assert_non_null(strstr(c.bytes, "Content-Length: 1000"));
    assert_true(c.eof);
    assert_true(c.len < 700);
    client_close(&c);
}
BOTH(a_response_that_breaks_off_is_visibly_broken)

static void check_a_download_has_its_length(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "GET /download=1000000 HTTP/1.1\r\n" HOST "\r\n");
    for (int i = 0; i < 200 && c.len < 1000000; i++)
        settle(&c);
    assert_in_range(c.len, 1000000 + 50, 1000000 + 400);
    client_close(&c);
}
BOTH(a_download_has_its_length)

static void check_a_client_that_takes_nothing_is_cut_off(bool tls)
{
    struct client c = open_h1(tls);

    client_push_text(&c, "GET /download=9000000 HTTP/1.1\r\n" HOST "\r\n");
    pass_ms(GUARD_STALL_MS - 5000);
    assert_int_equal(world.gone, 0);
    pass_ms(10000);
    assert_int_equal(world.gone, 1);
    client_close(&c);
    pass_ms(GUARD_CLOSE_MS * 2);
}
BOTH(a_client_that_takes_nothing_is_cut_off)

/* @return the seconds that a reader lives that takes so much in each quarter of one */
static unsigned lives_s(uint64_t rate, uint64_t bytes)
{
    struct front front = {.min_read_rate = rate, .read_grace_ms = 60000};
    struct guard_reader reader = {0};

    for (uint64_t n = 0; n < 4000; n++)
        if (guard_reads_slowly(&reader, &front, 77 + n * bytes, 5000 + n * 250))
            return (unsigned)(n / 4);
    return 1000;
}

static void a_reader_that_takes_less_than_the_least_is_too_slow(void **state)
{
    (void)state;
    assert_int_equal(lives_s(1024, 0), 60);
    assert_in_range(lives_s(1024, 1), 60, 61);
    assert_in_range(lives_s(1024, 128), 119, 121); /* half of it: twice the grace */
    assert_int_equal(lives_s(1024, 256), 1000);
    assert_int_equal(lives_s(1024, UINT64_C(1) << 50), 1000);
    assert_int_equal(lives_s(0, 0), 60); /* no rate is asked for: any movement will do */
    assert_int_equal(lives_s(0, 1), 1000);
}

static void what_was_read_fast_gives_no_more_than_the_grace(void **state)
{
    struct front front = {.min_read_rate = 1024, .read_grace_ms = 60000};
    struct guard_reader reader = {0};

    (void)state;
    assert_false(guard_reads_slowly(&reader, &front, 0, 1000));
    assert_false(guard_reads_slowly(&reader, &front, 1 << 30, 2000));
    assert_false(guard_reads_slowly(&reader, &front, 1 << 30, 62000));
    assert_true(guard_reads_slowly(&reader, &front, 1 << 30, 62250));
}

static void check_a_head_must_come_in_time_and_an_idle_connection_ends(bool tls)
{
    struct front *front = tls ? world.tls : world.clear;
    struct client slow = open_h1(tls), idle = open_h1(tls);

    client_say(&slow, "GET /a HTTP/1.1\r\n");
    client_say(&idle, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    pass_ms(GUARD_HEAD_MS / 2);
    client_say(&slow, "X-A: b\r\n");
    assert_int_equal(front_connections(front), 2);
    pass_ms(GUARD_HEAD_MS / 2 + 1000);
    assert_int_equal(front_connections(front), 1);
    pass_ms(GUARD_IDLE_MS);
    assert_int_equal(front_connections(front), 0);
    client_close(&slow);
    client_close(&idle);
}
BOTH(a_head_must_come_in_time_and_an_idle_connection_ends)

static void check_a_connection_ends_when_it_is_old(bool tls)
{
    struct client c = open_h1(tls);

    for (int i = 0; i < 61; i++) {
        client_say(&c, "GET /a HTTP/1.1\r\n" HOST "\r\n");
        assert_false(c.eof);
        pass_ms(60000);
    }
    client_say(&c, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    settle(&c);
    assert_int_equal(count_of(&c, "Connection: close"), 1);
    assert_true(c.eof);
    client_close(&c);
}
BOTH(a_connection_ends_when_it_is_old)

/* Who does nothing makes room for others. */
static void check_times_are_shorter_where_nearly_all_places_are_taken(bool tls)
{
    struct front *front = tls ? world.tls : world.clear;
    size_t max = front->max_conns;
    struct client many[8];

    front->max_conns = 8;
    for (int i = 0; i < 8; i++)
        many[i] = open_h1(tls);
    client_push_text(&many[0], "GET /a HTTP/1.1\r\n");
    pass_ms(GUARD_TIGHT_HEAD_MS + 1000);
    assert_int_equal(front_connections(front), 7);
    pass_ms(GUARD_TIGHT_HEAD_MS); /* there is room again: who is left has the usual time */
    assert_int_equal(front_connections(front), 7);
    for (int i = 0; i < 8; i++)
        client_close(&many[i]);
    front->max_conns = max;
}
BOTH(times_are_shorter_where_nearly_all_places_are_taken)

static void check_draining_ends_what_is_idle_and_finishes_what_runs(bool tls)
{
    struct front *front = tls ? world.tls : world.clear;
    struct client idle = open_h1(tls), running = open_h1(tls), upload = open_h1(tls);

    client_say(&idle, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    client_say(&upload, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nhello");
    client_say(&running, "GET /hang HTTP/1.1\r\n" HOST "\r\n");
    front_drain(front);
    settle(&idle);
    assert_true(idle.eof);
    assert_int_equal(front_connections(front), 2);
    answer(world.held, 200, "late", 4);
    settle(&running);
    assert_int_equal(count_of(&running, "Connection: close"), 1);
    assert_true(running.eof);
    pass_ms(5000);
    client_say(&upload, "world");
    assert_int_equal(count_of(&upload, "helloworld"), 1);
    assert_int_equal(count_of(&upload, "Connection: close"), 1);
    settle(&upload);
    assert_int_equal(front_connections(front), 0);
    client_close(&idle);
    client_close(&running);
    client_close(&upload);
    front->draining = false; /* for the next round */
    world.ctx.shutdown_requested = 0;
}
BOTH(draining_ends_what_is_idle_and_finishes_what_runs)

/* A client that has just connected when a reload begins: its request is on the way. */
static void check_a_drain_leaves_a_new_connection_the_time_for_its_first_request(bool tls)
{
    struct front *front = tls ? world.tls : world.clear;
    struct client fresh = open_h1(tls), silent = open_h1(tls);

    settle(&fresh);
    front_drain(front);
    settle(&silent);
    assert_false(silent.eof);
    client_say(&fresh, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    settle(&fresh);
    assert_int_equal(count_of(&fresh, "HTTP/1.1 200"), 1);
    assert_int_equal(count_of(&fresh, "Connection: close"), 1);
    pass_ms(2 * GUARD_FRESH_MS);
    settle(&silent);
    assert_true(silent.eof);
    assert_int_equal(front_connections(front), 0);
    client_close(&fresh);
    client_close(&silent);
    front->draining = false; /* for the next round */
    world.ctx.shutdown_requested = 0;
}
BOTH(a_drain_leaves_a_new_connection_the_time_for_its_first_request)

static void a_tls_handshake_has_a_deadline(void **state)
{
    const struct sockaddr none = {.sa_family = AF_UNIX};
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(guard_adopt(world.tls, fds[1], &none), 0);
    turn();
    assert_int_equal(write(fds[0], "\x16\x03\x01", 3), 3);
    pass_ms(GUARD_HANDSHAKE_MS - 1000);
    assert_int_equal(front_connections(world.tls), 1);
    pass_ms(2000);
    assert_int_equal(front_connections(world.tls), 0);
    close(fds[0]);
}

static void a_silent_connection_has_a_deadline(void **state)
{
    struct client c = client_open(false, NULL);

    (void)state;
    pass_ms(GUARD_HANDSHAKE_MS + 1000);
    assert_int_equal(front_connections(world.clear), 0);
    client_close(&c);
}

static void the_self_test_passes_and_leaves_nothing(void **state)
{
    (void)state;
    assert_int_equal(guard_selftest(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_self_test_passes_and_leaves_nothing),
        TEST(a_handler_runs_before_its_body_arrives),
        TEST(a_body_is_the_same_however_it_is_cut),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(hundred_continue_waits_for_the_handler),
        TEST(no_100_continue_for_a_body_that_came_already),
        TEST(an_early_answer_reaches_a_client_that_still_sends),
        TEST(the_end_of_an_early_answer_is_told_at_once_and_the_rest_is_still_taken),
        TEST(lingering_is_bounded_in_time),
        TEST(lingering_is_bounded_in_bytes),
        TEST(a_small_body_left_unread_does_not_cost_the_connection),
        TEST(a_handler_may_answer_in_the_middle_of_the_body),
        TEST(the_rest_of_a_body_that_was_answered_is_never_a_request),
        TEST(too_large_a_body_is_refused_with_or_without_a_length),
        TEST(broken_chunks_are_malformed),
        TEST(a_pause_stops_the_client),
        TEST(an_end_is_not_told_to_a_handler_that_pauses),
        TEST(only_a_body_below_the_minimum_rate_is_too_slow),
        TEST(the_grace_of_a_slow_body_is_the_configured_one),
        TEST(a_client_may_leave_at_any_byte),
        TEST(a_client_that_leaves_frees_the_request_that_runs),
        TEST(a_client_that_leaves_while_its_body_is_paused_is_noticed),
        TEST(an_empty_last_send_ends_a_response),
        TEST(a_response_that_breaks_off_is_visibly_broken),
        TEST(a_download_has_its_length),
        TEST(a_client_that_takes_nothing_is_cut_off),
        TEST(a_reader_that_takes_less_than_the_least_is_too_slow),
        TEST(what_was_read_fast_gives_no_more_than_the_grace),
        TEST(a_head_must_come_in_time_and_an_idle_connection_ends),
        TEST(a_connection_ends_when_it_is_old),
        TEST(times_are_shorter_where_nearly_all_places_are_taken),
        TEST(draining_ends_what_is_idle_and_finishes_what_runs),
        TEST(a_drain_leaves_a_new_connection_the_time_for_its_first_request),
        TEST(a_tls_handshake_has_a_deadline),
        TEST(a_silent_connection_has_a_deadline),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
