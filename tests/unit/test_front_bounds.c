/* The front door with HTTP/1: bytes that arrive so that a bound is met to the byte. */
#include "front_h1_world.h"

static const char ok_head[] = "HTTP/1.1 200 ";

/* --- what is left behind a head --- */

static void check_a_single_byte_behind_a_body_begins_the_next_request(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello\r");
    client_say(&c, "\nGET /a HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(count_of(&c, ok_head), 2);
    client_close(&c);
}
BOTH(a_single_byte_behind_a_body_begins_the_next_request)

/* The body, and what of the next request is behind it, in one read. */
static void check_what_follows_a_body_is_not_taken_for_it(bool tls)
{
    static const char next[] = "GET /a HTTP/1.1\r\n" HOST "X-Test: next\r\n\r\n";

    for (size_t len = 0; len < sizeof(next); len++) {
        char text[256] = "hello";
        struct client c = open_h1(tls);

        memcpy(text + 5, next, len);
        client_say(&c, "POST /a HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n");
        client_send(&c, text, 5 + len);
        client_send(&c, next + len, sizeof(next) - 1 - len);
        assert_int_equal(count_of(&c, ok_head), 2);
        assert_int_equal(count_of(&c, "\r\n\r\nhello"), 1);
        assert_int_equal(world.bytes, 5);
        assert_string_equal(world.last_header, "next");
        client_close(&c);
    }
}
BOTH(what_follows_a_body_is_not_taken_for_it)

/* One byte less than a handler gets at a time, exactly as much, one more; in one read where that
 * much fits into one. */
static void check_a_body_of_about_one_slice_is_handed_on_as_it_came(bool tls)
{
    static char text[BODY_SLICE + 8];
    int large = 1 << 20;

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 23);
    for (size_t len = BODY_SLICE - 1; len <= BODY_SLICE + 1; len++) {
        struct client c = open_h1(tls);
        char head[128];

        setsockopt(c.fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
        snprintf(head, sizeof(head), "POST /pause HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
                 len + 5);
        client_say(&c, head);
        client_send(&c, text, len);
        world.held->pauses = false;
        body_resume(world.held->body);
        settle(&c);
        assert_int_equal(world.bytes, len);
        client_say(&c, "hello");
        for (int i = 0; i < 20; i++)
            settle(&c);
        assert_int_equal(count_of(&c, ok_head), 1);
        assert_memory_equal(c.bytes + c.len - 5, "hello", 5);
        assert_memory_equal(c.bytes + c.len - 5 - len, text, len);
        client_close(&c);
    }
}
BOTH(a_body_of_about_one_slice_is_handed_on_as_it_came)

/* --- a body that nobody wants --- */

static struct conn *conn_of(bool tls)
{
    struct front *front = tls ? world.tls : world.clear;

    assert_int_equal(front_connections(front), 1);
    return H2O_STRUCT_FROM_MEMBER(struct conn, link, front->conns.next);
}

static void check_a_linger_ends_with_the_first_byte_beyond_its_bound(bool tls)
{
    for (size_t more = 0; more < 2; more++) {
        struct client c = open_h1(tls);

        client_say(&c, "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: 3145728\r\n\r\n");
        conn_of(tls)->h1.lingered = GUARD_LINGER_BYTES - 10;
        client_push(&c, "0123456789x", 10 + more);
        settle(&c);
        assert_int_equal(front_connections(tls ? world.tls : world.clear), 1 - more);
        client_close(&c);
        pass_ms(GUARD_LINGER_MS * 2);
    }
}
BOTH(a_linger_ends_with_the_first_byte_beyond_its_bound)

static void check_a_body_of_the_bound_to_the_byte_does_not_cost_the_connection(bool tls)
{
    for (unsigned more = 0; more < 2; more++) {
        struct client c = open_h1(tls);
        char head[128];

        snprintf(head, sizeof(head), "POST /refuse HTTP/1.1\r\n" HOST "Content-Length: %u\r\n\r\n",
                 GUARD_REUSE_BYTES + more);
        client_say(&c, head);
        assert_int_equal(count_of(&c, "HTTP/1.1 401 "), 1);
        assert_int_equal(count_of(&c, "Connection: close"), more);
        client_close(&c);
        pass_ms(GUARD_LINGER_MS * 2);
    }
}
BOTH(a_body_of_the_bound_to_the_byte_does_not_cost_the_connection)

/* --- heads --- */

/* A head of so many bytes, in fields that are each fine. */
static void make_head(char *text, size_t len)
{
    size_t at = (size_t)sprintf(text, "GET /a HTTP/1.1\r\n" HOST);

    while (len - at > 2) {
        size_t field = len - at - 2 > 1000 ? 500 : len - at - 2;

        memcpy(text + at, "X: ", 3);
        memset(text + at + 3, 'y', field - 5);
        memcpy(text + at + field - 2, "\r\n", 2);
        at += field;
    }
    memcpy(text + at, "\r\n", 2);
}

/* Its last bytes come with one read, which ends as the head does. */
static void check_a_head_may_be_as_large_as_its_bound_and_no_byte_larger(bool tls)
{
    static char text[GUARD_H1_MAX_HEAD + 100];

    for (size_t more = 0; more < 3; more++) {
        size_t len = GUARD_H1_MAX_HEAD + (more < 2 ? more : 50);
        struct client c = open_h1(tls);

        make_head(text, len);
        client_send(&c, text, GUARD_H1_MAX_HEAD - 100);
        assert_int_equal(c.len, 0);
        client_push(&c, text + GUARD_H1_MAX_HEAD - 100, len - (GUARD_H1_MAX_HEAD - 100));
        settle(&c);
        assert_int_equal(strncmp(c.bytes, more == 0 ? "HTTP/1.1 200 " : "HTTP/1.1 431 ", 13), 0);
        client_close(&c);
    }
}
BOTH(a_head_may_be_as_large_as_its_bound_and_no_byte_larger)

/* The second request's arrives where the first one's was. */
static void check_an_empty_line_before_a_request_may_come_in_halves(bool tls)
{
    struct client c = open_h1(tls);

    client_say(&c, "\r\nGET /a HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(count_of(&c, ok_head), 1);
    client_say(&c, "\r");
    client_say(&c, "\n");
    client_say(&c, "GET /a HTTP/1.1\r\n" HOST "\r\n");
    assert_int_equal(count_of(&c, ok_head), 2);
    client_close(&c);
}
BOTH(an_empty_line_before_a_request_may_come_in_halves)

/* Only a line end may stand in front of a request, and only one. */
static void check_what_is_no_empty_line_is_refused_at_once(bool tls)
{
    static const char *const texts[] = {"\rG", "\r\r", "\r\n\r\n", "\r\n\rG", "\n"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct client c = open_h1(tls);

        client_push_text(&c, texts[i]);
        settle(&c);
        assert_int_equal(strncmp(c.bytes, "HTTP/1.1 400 ", 13), 0);
        client_close(&c);
    }
}
BOTH(what_is_no_empty_line_is_refused_at_once)

/* A client may close its sending side behind the last request (as nginx lets it): while its answer
 * is on the way, that does not say that it has left. */
static void who_closes_its_sending_side_gets_the_rest_of_an_answer(void **state)
{
    struct client c = open_h1(false);

    (void)state;
    client_push_text(&c, "GET /download=9000000 HTTP/1.1\r\n" HOST "\r\n");
    shutdown(c.fd, SHUT_WR);
    pass_ms(GUARD_HANGUP_MS + 4 * GUARD_TICK_MS);
    assert_int_equal(world.calls, 1);
    assert_int_equal(world.gone, 0);
    client_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_single_byte_behind_a_body_begins_the_next_request),
        TEST(what_follows_a_body_is_not_taken_for_it),
        TEST(a_body_of_about_one_slice_is_handed_on_as_it_came),
        TEST(a_linger_ends_with_the_first_byte_beyond_its_bound),
        TEST(a_body_of_the_bound_to_the_byte_does_not_cost_the_connection),
        TEST(a_head_may_be_as_large_as_its_bound_and_no_byte_larger),
        TEST(an_empty_line_before_a_request_may_come_in_halves),
        TEST(what_is_no_empty_line_is_refused_at_once),
        TEST(who_closes_its_sending_side_gets_the_rest_of_an_answer),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
