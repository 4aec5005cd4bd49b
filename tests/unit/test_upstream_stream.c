/* The HTTP client's uploads and downloads: what is sent, back-pressure, stalls. */
#include "upstream_servers.h"

static unsigned source_sum(size_t len)
{
    unsigned sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + (unsigned char)(i % 251);
    return sum;
}

static void serve_error(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope");
}

static void serve_early_413(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    if (!read_head(s, fd, &head))
        return;
    say(fd, "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    wait_for_close(fd);
}

/* Takes the head and one byte, then reads no more. */
static void serve_full_window(struct server *s, int fd, int nth)
{
    struct pollfd gone = {.fd = fd, .events = POLLRDHUP};
    struct seen_head head;
    char c;

    (void)nth;
    if (read_head(s, fd, &head) && read(fd, &c, 1) == 1)
        wake(s);
    poll(&gone, 1, -1);
}

static void a_stalled_download_ends_but_a_paused_one_waits(void **state)
{
    struct world *w = world_new(serve_stall);

    (void)state;
    start(w, &(struct upstream_request){.file = true, .on_head = on_head, .on_data = on_data});
    w->on_data = ON_DATA_HOLD;
    while (!w->paused)
        loop_turn(&w->loop);
    w->loop.skew_ms += 100000;
    loop_turn(&w->loop);
    assert_false(w->done);
    w->paused = false;
    upstream_resume(w->call);
    w->loop.skew_ms += LOW_SPEED_MS / 2;
    loop_turn(&w->loop);
    assert_false(w->done);
    w->loop.skew_ms += LOW_SPEED_MS / 2;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    world_stop(w);
    world_free(w);
}

static void a_download_of_a_byte_now_and_then_is_a_stalled_one(void **state)
{
    struct world *w = world_new(serve_stall);

    (void)state;
    start(w, &(struct upstream_request){.file = true, .on_head = on_head, .on_data = on_data});
    while (w->body.len < 10)
        loop_turn(&w->loop);
    for (size_t len = 10; !w->done && len < 60; len++) {
        while (!w->done && w->body.len < len)
            loop_turn(&w->loop);
        w->loop.skew_ms += LOW_SPEED_MS / 3;
        if (send(w->server.fds[0], "x", 1, MSG_NOSIGNAL) != 1)
            assert_true(w->done); /* hung up on while the loop turned */
    }
    assert_true(w->done);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    world_stop(w);
    world_free(w);
}

static void a_stalled_upload_ends(void **state)
{
    struct world *w = world_new(serve_full_window);

    (void)state;
    w->source_len = 64 * 1024 * 1024;
    start(w,
          &(struct upstream_request){
              .method = "POST", .file = true, .source = on_source, .source_length = w->source_len});
    run_until(w, &w->woken);
    for (size_t before = 0; before != w->source_at;) { /* until the window is full */
        before = w->source_at;
        for (int i = 0; i < 200; i++)
            if (epoll_wait(w->loop.epoll_fd, &(struct epoll_event){0}, 1, 0) > 0)
                loop_turn(&w->loop);
    }
    assert_false(w->done);
    w->loop.skew_ms += LOW_SPEED_MS;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    assert_true(w->source_at < w->source_len);
    world_stop(w);
    world_free(w);
}

static void an_upload_sends_exactly_its_source(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    w->source_len = 3 * 1024 * 1024 + 17;
    fetch(w, &(struct upstream_request){.method = "POST",
                                        .file = true,
                                        .once = true,
                                        .source = on_source,
                                        .source_length = w->source_len});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->bytes_sent, w->source_len);
    world_stop(w);
    assert_int_equal(w->server.body_bytes, w->source_len);
    assert_int_equal(w->server.body_sum, source_sum(w->source_len));
    assert_null(strstr(w->server.seen.text, "Expect"));
    assert_null(strstr(w->server.seen.text, "chunked"));
    world_free(w);
}

static void an_empty_source_is_an_empty_body(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    fetch(w, &(struct upstream_request){.method = "POST", .source = on_source, .source_length = 0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    world_stop(w);
    assert_non_null(strstr(w->server.seen.text, "\r\nContent-Length: 0\r\n"));
    world_free(w);
}

static void a_source_that_fails_ends_the_upload(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    w->source_len = 1024 * 1024;
    w->source_fails_at = 500000;
    fetch(w, &(struct upstream_request){.method = "POST",
                                        .file = true,
                                        .once = true,
                                        .source = on_source,
                                        .source_length = w->source_len});
    assert_int_equal(w->end, UPSTREAM_SOURCE_FAILED);
    assert_false(w->nothing_sent);
    world_stop(w);
    world_free(w);
}

static void a_refusal_before_the_end_of_an_upload_is_an_answer(void **state)
{
    struct world *w = world_new(serve_early_413);

    (void)state;
    w->source_len = 64 * 1024 * 1024;
    fetch(w, &(struct upstream_request){.method = "POST",
                                        .file = true,
                                        .once = true,
                                        .source = on_source,
                                        .source_length = w->source_len});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 413);
    assert_string_equal(strbuf_str(&w->body), "big");
    assert_true(w->source_at < w->source_len);
    world_stop(w);
    world_free(w);
}

static void assert_big(struct world *w)
{
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->dones, 1);
    assert_int_equal(w->heads, 1);
    assert_int_equal(w->body.len, BIG);
    for (size_t i = 0; i < BIG; i++)
        if (w->body.data[i] != (char)('a' + i % 23))
            fail_msg("byte %zu differs", i);
}

static void a_download_streams_with_back_pressure(void **state)
{
    static const int modes[] = {ON_DATA_GO_ON, ON_DATA_PAUSE, ON_DATA_RESUME_INSIDE};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct world *w = world_new(serve_big);
        w->on_data = modes[i];
        fetch(w, &(struct upstream_request){.file = true, .on_head = on_head, .on_data = on_data});
        assert_big(w);
        loop_timer_stop(&w->loop.super, &w->resume);
        world_stop(w);
        world_free(w);
    }
}

static void a_paused_download_lets_the_loop_sleep_and_reads_nothing(void **state)
{
    struct world *w = world_new(serve_big);
    struct epoll_event event;
    size_t before;

    (void)state;
    w->on_data = ON_DATA_HOLD;
    assert_int_equal(strbuf_reserve(&w->body, BIG), 0);
    start(w, &(struct upstream_request){.file = true, .on_head = on_head, .on_data = on_data});
    while (!w->paused)
        loop_turn(&w->loop);
    before = w->body.len;
    for (int i = 0; i < 3; i++)
        loop_turn(&w->loop);
    assert_true(memory_in_use() < w->memory + 8 * 1024); /* curl keeps what it reads meanwhile */
    assert_int_equal(epoll_wait(w->loop.epoll_fd, &event, 1, 0), 0);
    assert_int_equal(w->body.len, before);
    w->on_data = ON_DATA_GO_ON;
    w->paused = false;
    upstream_resume(w->call);
    run_until(w, &w->done);
    assert_big(w);
    world_stop(w);
    world_free(w);
}

static void a_turn_brings_no_more_of_a_file_than_its_share(void **state)
{
    struct world *w = world_new(serve_big);
    size_t before = 0;

    (void)state;
    start(w, &(struct upstream_request){.file = true, .on_head = on_head, .on_data = on_data});
    while (!w->done) {
        loop_turn(&w->loop);
        assert_true(w->done || w->body.len - before < 512 * 1024);
        before = w->body.len;
    }
    assert_big(w);
    world_stop(w);
    world_free(w);
}

static void an_error_in_place_of_a_download_is_collected(void **state)
{
    struct world *w = world_new(serve_error);

    (void)state;
    fetch(w, &(struct upstream_request){.file = true, .on_head = on_head, .on_data = on_data});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 404);
    assert_string_equal(strbuf_str(&w->body), "nope");
    world_stop(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stalled_download_ends_but_a_paused_one_waits),
        cmocka_unit_test(a_download_of_a_byte_now_and_then_is_a_stalled_one),
        cmocka_unit_test(a_stalled_upload_ends),
        cmocka_unit_test(an_upload_sends_exactly_its_source),
        cmocka_unit_test(an_empty_source_is_an_empty_body),
        cmocka_unit_test(a_source_that_fails_ends_the_upload),
        cmocka_unit_test(a_refusal_before_the_end_of_an_upload_is_an_answer),
        cmocka_unit_test(a_download_streams_with_back_pressure),
        cmocka_unit_test(a_paused_download_lets_the_loop_sleep_and_reads_nothing),
        cmocka_unit_test(a_turn_brings_no_more_of_a_file_than_its_share),
        cmocka_unit_test(an_error_in_place_of_a_download_is_collected),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
