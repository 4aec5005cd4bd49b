/* The HTTP client and what outlives a call: connections that are kept, and nothing else. A provider
 * that answers oddly, or lets a kept connection die, meets the call after it. */
#include "upstream_world.h"

/* --- folded heads --- */

static const char *const folds[] = {" c: d\r\n", "\tfolded: zzzzzzzzzzzzzzzzzzzzzzzzzzzz\r\n",
                                    " x:\r\n", " a: b\r\n  c: d\r\n\te: f\r\n",
                                    " Content-Length: 7\r\n"};

#define NUM_FOLDS (sizeof(folds) / sizeof(folds[0]))

/* Every second answer begins with a line that continues another one, and none was there. */
static void serve_folded_first(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    for (unsigned n = 0; read_request(s, fd, &head); n++) {
        say(fd, "HTTP/1.1 200 OK\r\n");
        if (n % 2 == 1)
            say(fd, folds[n / 2 % NUM_FOLDS]);
        say(fd, "X-Test: yes\r\nRequest-Id: abc\r\nContent-Length: 5\r\n\r\nhello");
    }
}

static void a_folded_first_line_of_an_answer_kills_no_worker(void **state)
{
    struct world *w = world_new(serve_folded_first);

    (void)state;
    for (int i = 0; i < 40; i++) {
        fetch(w, &(struct upstream_request){0});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
        assert_int_equal(w->status, 200);
        assert_string_equal(w->header, "yes");
        assert_string_equal(strbuf_str(&w->body), "hello");
    }
    assert_int_equal(w->server.connections, 1);
    world_stop(w);
    world_free(w);
}

/* The same with files, whose answers are streamed, and with calls that go out once. */
static void serve_folded_always(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n"
                "HTTP/1.1 200 OK\r\n c: d\r\nX-Test: yes\r\nX-Other: o\r\n folded: on\r\n"
                "Transfer-Encoding: chunked\r\n\r\n"
                "5\r\nhello\r\n0\r\nT: u\r\n v: w\r\n\r\n");
}

static void folded_lines_stay_out_of_every_kind_of_call(void **state)
{
    struct world *w = world_new(serve_folded_always);

    (void)state;
    for (int i = 0; i < 12; i++) {
        fetch(w, &(struct upstream_request){.file = i % 3 == 0,
                                            .once = i % 3 == 1,
                                            .method = i % 3 == 1 ? "POST" : "GET",
                                            .body = i % 3 == 1 ? "{}" : NULL,
                                            .body_len = i % 3 == 1 ? 2 : 0});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
        assert_string_equal(w->header, "yes");
        assert_string_equal(strbuf_str(&w->body), "hello");
    }
    world_stop(w);
    world_free(w);
}

/* A line that is none at all is the provider's fault, and this one call's end at most. */
static void serve_nonsense(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, s->requests % 2 == 0
                    ? "HTTP/1.1 200 OK\r\n nonsense\r\nContent-Length: 5\r\n\r\nhello"
                    : "HTTP/1.1 200 OK\r\nnonsense\r\n folded\r\nContent-Length: 5\r\n\r\nhello");
}

static void a_line_without_a_name_ends_its_own_call_at_most(void **state)
{
    struct world *w = world_new(serve_nonsense);

    (void)state;
    for (int i = 0; i < 20; i++) {
        fetch(w, &(struct upstream_request){0});
        if (w->end != UPSTREAM_ANSWERED)
            assert_int_equal(w->end, UPSTREAM_BROKEN);
        else
            assert_string_equal(strbuf_str(&w->body), "hello");
    }
    world_stop(w);
    world_free(w);
}

/* --- repeats that nobody asked for --- */

/* A small GET may go out twice whoever sends it. Libcurl repeats other methods too, and says so; the
 * lean transport leaves them to their owner.
 *
 * The first connection answers once, takes the second request and dies of it. */
static void serve_dying(struct server *s, int fd, int nth)
{
    struct seen_head head;

    while (read_request(s, fd, &head)) {
        if (nth == 0 && s->requests == 2)
            return;
        say(fd, s->requests == 1 ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
                                 : "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}");
    }
}

static void a_request_that_was_repeated_by_itself_says_so(void **state)
{
    const char *method = WORLD_LEAN ? "GET" : "DELETE";
    struct world *w = world_new(serve_dying);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_false(w->repeated);
    fetch(w, &(struct upstream_request){.method = method});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 404);
    assert_true(w->repeated);
    assert_int_equal(w->server.requests, 3);
    fetch(w, &(struct upstream_request){.method = method});
    assert_false(w->repeated);
    world_stop(w);
    world_free(w);
}

static void a_request_on_a_fresh_connection_that_dies_is_not_repeated(void **state)
{
    struct world *w = world_new(serve_dying);

    (void)state;
    w->server.requests = 1; /* the first one is the one that is lost */
    fetch(w, &(struct upstream_request){.method = "DELETE"});
    assert_int_equal(w->end, UPSTREAM_BROKEN);
    assert_false(w->repeated);
    assert_false(w->nothing_sent);
    world_stop(w);
    world_free(w);
}

/* --- calls that hang --- */

static void serve_all_but_the_first(struct server *s, int fd, int nth)
{
    struct seen_head head;

    while (read_request(s, fd, &head))
        if (nth > 0)
            say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

static void a_first_call_that_hangs_stops_no_other_to_that_provider(void **state)
{
    struct world *w = world_new(serve_all_but_the_first);
    struct upstream_call *first;

    (void)state;
    first = start(w, &(struct upstream_request){0});
    run_until(w, &w->woken);
    for (int i = 0; i < 3; i++) {
        fetch(w, &(struct upstream_request){0});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
    }
    assert_int_equal(w->server.connections, 2);
    upstream_cancel(first);
    world_stop(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folded_first_line_of_an_answer_kills_no_worker),
        cmocka_unit_test(folded_lines_stay_out_of_every_kind_of_call),
        cmocka_unit_test(a_line_without_a_name_ends_its_own_call_at_most),
        cmocka_unit_test(a_request_that_was_repeated_by_itself_says_so),
        cmocka_unit_test(a_request_on_a_fresh_connection_that_dies_is_not_repeated),
        cmocka_unit_test(a_first_call_that_hangs_stops_no_other_to_that_provider),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
