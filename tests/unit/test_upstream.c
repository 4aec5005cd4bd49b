/* The HTTP client against servers that answer well, badly or not at all. Bodies that stream are in
 * test_upstream_stream.c. */
#include "upstream_servers.h"

static void serve_nothing(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    if (read_request(s, fd, &head))
        wait_for_close(fd);
}

static void serve_silence(struct server *s, int fd, int nth)
{
    (void)nth;
    wake(s);
    wait_for_close(fd);
}

static void serve_close(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    read_request(s, fd, &head);
}

/* Answers the first request of a process's life, then closes on each further one. */
static void serve_first_only(struct server *s, int fd, int nth)
{
    struct seen_head head;

    if (nth == 0 && read_request(s, fd, &head))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    if (!read_request(s, fd, &head))
        return;
    if (nth == 1 && strncmp(head.text, "GET", 3) == 0)
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain");
}

static void serve_text(struct server *s, int fd, const char *text)
{
    struct seen_head head;

    if (read_request(s, fd, &head))
        say(fd, text);
}

static void serve_short(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntoo short");
}

static void serve_short_chunks(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
}

static void serve_two_lengths(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 3\r\n\r\nhello");
}

static void serve_interim(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd,
               "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Test: early\r\n\r\n"
               "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok");
}

static void serve_interim_for_ever(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    if (read_request(s, fd, &head))
        for (int i = 0; i < 1000; i++)
            say(fd, "HTTP/1.1 103 Early Hints\r\nX-Test: early\r\n\r\n");
}

static void serve_upgrade(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw");
}

static void serve_garbage(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd, "\x15\x03\x01\x02 this is no HTTP\r\n\r\n");
}

static void serve_redirect(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
}

static void serve_no_content(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 204 No Content\r\n\r\n");
}

static void serve_odd_headers(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd,
               "HTTP/1.1 200 OK\r\nX-Test: a\x01"
               "b\r\nb@d name: x\r\nContent-Length: 0\r\n\r\n");
}

static void serve_large_head(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    if (!read_request(s, fd, &head))
        return;
    say(fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 200; i++)
        say(fd, "X-Filler: 0123456789012345678901234567890123456789\r\n");
    say(fd, "Content-Length: 0\r\n\r\n");
}

static void serve_chunks(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    if (!read_request(s, fd, &head))
        return;
    say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 100; i++)
        say(fd, "a\r\n0123456789\r\n");
    say(fd, "0\r\nX-Trailer: t\r\n\r\n");
}

static void a_small_answer_is_collected_with_its_head(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 200);
    assert_int_equal(w->content_length, 5);
    assert_string_equal(w->header, "yes");
    assert_string_equal(strbuf_str(&w->body), "hello");
    assert_false(w->nothing_sent);
    assert_int_equal(w->bytes_received, 5);
    assert_true(w->first_byte_us > 0);
    assert_string_equal(w->error, "");
    world_stop(w);
    world_free(w);
}

static void a_request_holds_our_lines_and_no_others(void **state)
{
    const struct upstream_header headers[] = {{"api-key", "k1"}, {"X-Empty", ""}};
    struct world *w = world_new(serve_hello);
    char want[256];

    (void)state;
    fetch(w, &(struct upstream_request){.method = "POST", .headers = headers, .num_headers = 2});
    world_stop(w);
    snprintf(want, sizeof(want),
             "POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1:%d\r\napi-key: "
             "k1\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n",
             w->server.port);
    assert_string_equal(w->server.seen.text, want);
    world_free(w);
}

static void a_delete_has_its_method_and_a_body_its_length(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    fetch(w, &(struct upstream_request){.method = "DELETE"});
    fetch(w, &(struct upstream_request){.method = "POST", .body = "a\0b", .body_len = 3});
    assert_int_equal(w->bytes_sent, 3);
    fetch(w, &(struct upstream_request){.method = "DELETE"});
    world_stop(w);
    assert_int_equal(strncmp(w->server.seen.text, "DELETE /v1/files HTTP/1.1\r\n", 27), 0);
    assert_int_equal(w->server.connections, 1);
    world_free(w);
}

/* The text of the last request, whose head names the port. */
static void assert_request(struct world *w, const char *want)
{
    char host[32], text[4096];
    const char *at;

    snprintf(host, sizeof(host), "Host: 127.0.0.1:%d\r\n", w->server.port);
    pthread_mutex_lock(&w->server.lock);
    snprintf(text, sizeof(text), "%s", w->server.seen.text);
    pthread_mutex_unlock(&w->server.lock);
    at = strstr(text, host);
    assert_non_null(at);
    memmove(text + (at - text), at + strlen(host), strlen(at + strlen(host)) + 1);
    assert_string_equal(text, want);
}

static void a_handle_that_was_used_keeps_nothing_of_the_call_before(void **state)
{
    const struct upstream_header json = {"Content-Type", "application/json"},
                                 key = {"api-key", "k"};
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int once = 0; once < 2; once++) {
        fetch(w, &(struct upstream_request){.method = "POST",
                                            .once = once,
                                            .body = "{}",
                                            .body_len = 2,
                                            .headers = &json,
                                            .num_headers = 1});
        assert_request(w, "POST /v1/files HTTP/1.1\r\nContent-Type: application/json\r\n"
                          "Content-Length: 2\r\n\r\n");
        fetch(w, &(struct upstream_request){.once = once});
        assert_request(w, "GET /v1/files HTTP/1.1\r\n\r\n");
        fetch(w, &(struct upstream_request){
                     .method = "DELETE", .once = once, .headers = &key, .num_headers = 1});
        assert_request(w, "DELETE /v1/files HTTP/1.1\r\napi-key: k\r\n\r\n");
        fetch(w, &(struct upstream_request){.method = "POST", .once = once});
        assert_request(w, "POST /v1/files HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
        w->source_at = 0;
        w->source_len = 20000;
        fetch(w, &(struct upstream_request){
                     .method = "POST", .source = on_source, .source_length = 20000});
        assert_request(w, "POST /v1/files HTTP/1.1\r\nContent-Length: 20000\r\n\r\n");
        fetch(w, &(struct upstream_request){.once = once, .file = true});
        assert_request(w, "GET /v1/files HTTP/1.1\r\n\r\n");
    }
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    world_stop(w);
    world_free(w);
}

static void connections_are_kept_and_used_again(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int i = 0; i < 5; i++)
        fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->server.requests, 5);
    assert_int_equal(w->server.connections, 1);
    world_stop(w);
    world_free(w);
}

static void a_create_goes_out_on_a_connection_of_its_own(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int i = 0; i < 3; i++)
        fetch(w, &(struct upstream_request){
                     .method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->server.connections, 3);
    fetch(w, &(struct upstream_request){.file = true}); /* reads may use what creates left */
    assert_int_equal(w->server.connections, 3);
    world_stop(w);
    world_free(w);
}

static void connections_that_creates_leave_behind_are_few(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int i = 0; i < 40; i++)
        fetch(w, &(struct upstream_request){.method = "POST", .once = true});
    for (uint64_t end_ms = clock_now_ms() + DEADLINE_MS; w->server.ended < 40 - 32;)
        if (clock_now_ms() > end_ms)
            fail_msg("%d connections of %d are open", 40 - w->server.ended, 40);
    assert_int_equal(w->server.connections, 40);
    world_stop(w);
    world_free(w);
}

static void a_read_on_a_dying_connection_is_repeated_but_a_create_is_not(void **state)
{
    struct world *w = world_new(serve_first_only);

    (void)state;
    fetch(w, &(struct upstream_request){.file = true});
    fetch(w, &(struct upstream_request){.file = true});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_string_equal(strbuf_str(&w->body), "again");
    assert_int_equal(w->server.requests, 3); /* libcurl did that by itself */
    fetch(w,
          &(struct upstream_request){.method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->end, UPSTREAM_BROKEN);
    assert_false(w->nothing_sent);
    assert_int_equal(w->server.requests, 4);
    world_stop(w);
    world_free(w);
}

static void a_create_goes_out_once_even_where_a_kept_connection_dies_of_it(void **state)
{
    struct world *w = world_new(serve_first_only);

    (void)state;
    fetch(w, &(struct upstream_request){.file = true});
    fetch(w,
          &(struct upstream_request){.method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->end, UPSTREAM_BROKEN);
    assert_int_equal(w->server.requests, 2);
    world_stop(w);
    world_free(w);
}

static void who_asks_is_told_just_before_the_first_byte(void **state)
{
    struct world *w = world_new(serve_hello), *deaf = world_new(NULL);
    struct upstream_request create = {
        .method = "POST", .once = true, .body = "{}", .body_len = 2, .on_begin = on_begin};
    struct upstream_request again = create;

    (void)state;
    fetch(w, &create);
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->begins, 1);
    assert_int_equal(w->requests_at_begin, 0);
    fetch(deaf, &again);
    assert_int_equal(deaf->end, UPSTREAM_CONNECT_FAILED);
    assert_int_equal(deaf->begins, 0);
    world_stop(w);
    world_free(w);
    world_stop(deaf);
    world_free(deaf);
}

static void who_asks_may_still_say_no_and_nothing_is_sent(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    w->refuses_to_begin = true;
    fetch(w,
          &(struct upstream_request){
              .method = "POST", .once = true, .body = "{}", .body_len = 2, .on_begin = on_begin});
    assert_int_equal(w->end, UPSTREAM_REFUSED);
    assert_true(w->nothing_sent);
    assert_int_equal(w->begins, 1);
    world_stop(w);
    assert_int_equal(w->server.requests, 0);
    world_free(w);
}

static void a_refused_connection_is_known_to_have_sent_nothing(void **state)
{
    struct world *w = world_new(NULL); /* bound, not listening */

    (void)state;
    fetch(w,
          &(struct upstream_request){.method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(w->nothing_sent);
    assert_int_equal(w->status, 0);
    assert_int_equal(strncmp(w->error, "connect: ", 9), 0);
    world_stop(w);
    world_free(w);
}

static void an_unknown_host_is_a_failed_connect(void **state)
{
    struct world *w = world_new(NULL);

    (void)state;
    fetch(w, &(struct upstream_request){.url = "https://no-such-host.invalid/"});
    assert_int_equal(w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(w->nothing_sent);
    world_stop(w);
    world_free(w);
}

static void a_failed_tls_handshake_has_sent_nothing(void **state)
{
    struct world *w = world_new(serve_garbage);
    char url[64];

    (void)state;
    /* The ClientHello has no blank line, so the server sits in its read until we give up. */
    snprintf(url, sizeof(url), "https://127.0.0.1:%d/", w->server.port);
    w->server.serve = serve_silence;
    start(w, &(struct upstream_request){.url = url});
    run_until(w, &w->woken);
    w->loop.skew_ms += CONNECT_MS;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(w->nothing_sent);
    assert_int_equal(w->server.requests, 0);
    world_stop(w);
    world_free(w);
}

static void a_call_that_may_not_start_says_so_on_a_coming_turn(void **state)
{
    static const char *const urls[] = {
        "http://192.0.2.1/",
        "http://localhost.example.com/",
        "ftp://127.0.0.1/",
        "https://u:p@127.0.0.1/",
        "http://127.0.0.1.evil.x/",
        "file:///etc/passwd",
        "not a url",
        "",
        "http://[::2]/",
        "http://128.0.0.1/",
        "http://127.0.0.1@192.0.2.1/",
        "http://127.0.0.1\\@192.0.2.1/",
        "http://192.0.2.1?://127.0.0.1/",
        "http://192.0.2.1#://127.0.0.1/",
        "https://:443",
        "https://:443/",
        "http:///127.0.0.1/",
        "http:////127.0.0.1/",
        "http://",
        "http://?x",
        "http://@127.0.0.1/",
    };
    const struct upstream_header bad = {"X-A", "b\r\nX-C: d"};
    struct world *w = world_new(NULL);

    (void)state;
    fetch(w, &(struct upstream_request){0}); /* an origin that is known must open no door */
    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
        fetch(w, &(struct upstream_request){.url = urls[i]});
        if (w->end != UPSTREAM_REFUSED || !w->nothing_sent)
            fail_msg("started: %s (%s)", urls[i], w->error);
    }
    fetch(w, &(struct upstream_request){.headers = &bad, .num_headers = 1});
    assert_int_equal(w->end, UPSTREAM_REFUSED);
    fetch(w, &(struct upstream_request){.method = "GE T"});
    assert_int_equal(w->end, UPSTREAM_REFUSED);
    start(w, &(struct upstream_request){.url = "gopher://x"});
    upstream_cancel(w->call); /* before it could say so */
    world_stop(w);
    world_free(w);
}

static void proxies_of_the_environment_mean_nothing(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    world_stop(w);
    world_free(w);
}

static void a_silent_provider_meets_the_limit_for_the_first_byte(void **state)
{
    struct world *w = world_new(serve_nothing);

    (void)state;
    start(
        w,
        &(struct upstream_request){
            .method = "POST", .once = true, .body = "{}", .body_len = 2, .first_byte_ms = 100000});
    run_until(w, &w->woken);
    w->loop.skew_ms += 40000;
    loop_turn(&w->loop);
    assert_false(w->done);
    w->loop.skew_ms += 60000;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    assert_false(w->nothing_sent);
    world_stop(w);
    world_free(w);
}

static void the_total_limit_ends_a_call_in_any_phase(void **state)
{
    struct world *w = world_new(serve_stall);

    (void)state;
    start(w, &(struct upstream_request){.total_ms = 90000, .on_head = on_head, .on_data = on_data});
    while (w->body.len < 10)
        loop_turn(&w->loop);
    w->loop.skew_ms += 90000;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_TIMEOUT);
    assert_int_equal(w->status, 200);
    world_stop(w);
    world_free(w);
}

static void assert_end(serve_cb serve, enum upstream_end end, int status)
{
    struct world *w = world_new(serve);

    fetch(w, &(struct upstream_request){0});
    if (w->end != end)
        fail_msg("end %d instead of %d: %s", w->end, end, w->error);
    assert_int_equal(w->status, status);
    assert_false(w->nothing_sent);
    if (end != UPSTREAM_ANSWERED) {
        assert_int_equal(w->body.len, 0);
        assert_string_not_equal(w->error, "");
    }
    world_stop(w);
    world_free(w);
}

static void answers_that_break_off_or_break_rules_are_broken(void **state)
{
    (void)state;
    assert_end(serve_close, UPSTREAM_BROKEN, 0);
    assert_end(serve_short, UPSTREAM_BROKEN, 200);
    assert_end(serve_short_chunks, UPSTREAM_BROKEN, 200);
    assert_end(serve_two_lengths, UPSTREAM_BROKEN, 0);
    assert_end(serve_garbage, UPSTREAM_BROKEN, 0);
    assert_end(serve_upgrade, UPSTREAM_BROKEN, 0);
    assert_end(serve_interim_for_ever, UPSTREAM_TOO_LARGE, 0);
}

static void interim_answers_are_passed_over(void **state)
{
    struct world *w = world_new(serve_interim);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 201);
    assert_string_equal(w->header, "-");
    assert_string_equal(strbuf_str(&w->body), "ok");
    world_stop(w);
    world_free(w);
}

static void redirects_are_not_followed(void **state)
{
    struct world *w = world_new(serve_redirect);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->status, 302);
    assert_int_equal(w->server.requests, 1);
    world_stop(w);
    world_free(w);
}

static void an_empty_answer_has_no_body(void **state)
{
    (void)state;
    assert_end(serve_no_content, UPSTREAM_ANSWERED, 204);
}

static void header_lines_with_control_bytes_are_left_out(void **state)
{
    struct world *w = world_new(serve_odd_headers);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_string_equal(w->header, "-");
    world_stop(w);
    world_free(w);
}

/* Nobody asked for it, and nobody takes it apart: what it is says its head. */
static void serve_gzip(struct server *s, int fd, int nth)
{
    (void)nth;
    serve_text(s, fd,
               "HTTP/1.1 200 OK\r\nX-Test: gzip\r\nContent-Encoding: gzip\r\n"
               "Content-Length: 6\r\n\r\n\x1f\x8b\x08\x01\x02\x03");
}

static void a_compressed_answer_comes_as_it_is(void **state)
{
    struct world *w = world_new(serve_gzip);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_string_equal(w->header, "gzip");
    assert_int_equal(w->body.len, 6);
    assert_memory_equal(w->body.data, "\x1f\x8b\x08\x01\x02\x03", 6);
    world_stop(w);
    world_free(w);
}

static void too_much_of_an_answer_is_cut_off(void **state)
{
    struct world *w;

    (void)state;
    assert_end(serve_large_head, UPSTREAM_TOO_LARGE, 0);
    assert_end(serve_big, UPSTREAM_TOO_LARGE, 200); /* known from its length */
    w = world_new(serve_chunks);
    fetch(w, &(struct upstream_request){.max_body = 999});
    assert_int_equal(w->end, UPSTREAM_TOO_LARGE);
    world_stop(w);
    world_free(w);
    w = world_new(serve_chunks);
    fetch(w, &(struct upstream_request){.max_body = 1000});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->content_length, -1);
    assert_int_equal(w->body.len, 1000);
    world_stop(w);
    world_free(w);
}

static void nothing_is_heard_of_a_cancelled_call(void **state)
{
    struct upstream_request stream = {.file = true, .on_head = on_head, .on_data = on_data};
    struct world *w = world_new(serve_big);

    (void)state;
    w->cancel_in_head = true;
    fetch(w, &stream);
    w->cancel_in_head = false;
    w->on_data = ON_DATA_CANCEL;
    fetch(w, &stream);
    start(w, &stream);
    upstream_cancel(w->call); /* before anything happened */
    w->on_data = ON_DATA_HOLD;
    w->done = false;
    start(w, &stream);
    while (!w->paused)
        loop_turn(&w->loop);
    upstream_cancel(w->call); /* while paused */
    upstream_cancel(NULL);
    assert_int_equal(upstream_active(w->up), 0);
    assert_int_equal(w->dones, 0);
    world_stop(w);
    world_free(w);
}

static void the_next_call_may_start_from_inside_any_callback(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    w->start_in_done = true;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->dones, 2);
    w->start_in_data = true;
    w->dones = 0;
    w->done = false;
    start(w, &(struct upstream_request){.on_head = on_head, .on_data = on_data});
    while (w->dones < 2)
        loop_turn(&w->loop);
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->server.requests, 4);
    world_stop(w);
    world_free(w);
}

static void many_calls_at_once_all_end(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int i = 0; i < 12; i++)
        start_get(w, "");
    assert_int_equal(upstream_active(w->up), 12);
    while (w->dones < 12)
        loop_turn(&w->loop);
    assert_int_equal(w->server.requests, 12);
    world_stop(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_answer_is_collected_with_its_head),
        cmocka_unit_test(a_request_holds_our_lines_and_no_others),
        cmocka_unit_test(a_delete_has_its_method_and_a_body_its_length),
        cmocka_unit_test(a_handle_that_was_used_keeps_nothing_of_the_call_before),
        cmocka_unit_test(connections_are_kept_and_used_again),
        cmocka_unit_test(a_create_goes_out_on_a_connection_of_its_own),
        cmocka_unit_test(connections_that_creates_leave_behind_are_few),
        cmocka_unit_test(a_read_on_a_dying_connection_is_repeated_but_a_create_is_not),
        cmocka_unit_test(a_create_goes_out_once_even_where_a_kept_connection_dies_of_it),
        cmocka_unit_test(who_asks_is_told_just_before_the_first_byte),
        cmocka_unit_test(who_asks_may_still_say_no_and_nothing_is_sent),
        cmocka_unit_test(a_refused_connection_is_known_to_have_sent_nothing),
        cmocka_unit_test(an_unknown_host_is_a_failed_connect),
        cmocka_unit_test(a_failed_tls_handshake_has_sent_nothing),
        cmocka_unit_test(a_call_that_may_not_start_says_so_on_a_coming_turn),
        cmocka_unit_test(proxies_of_the_environment_mean_nothing),
        cmocka_unit_test(a_silent_provider_meets_the_limit_for_the_first_byte),
        cmocka_unit_test(the_total_limit_ends_a_call_in_any_phase),
        cmocka_unit_test(answers_that_break_off_or_break_rules_are_broken),
        cmocka_unit_test(interim_answers_are_passed_over),
        cmocka_unit_test(redirects_are_not_followed),
        cmocka_unit_test(an_empty_answer_has_no_body),
        cmocka_unit_test(header_lines_with_control_bytes_are_left_out),
        cmocka_unit_test(a_compressed_answer_comes_as_it_is),
        cmocka_unit_test(too_much_of_an_answer_is_cut_off),
        cmocka_unit_test(nothing_is_heard_of_a_cancelled_call),
        cmocka_unit_test(the_next_call_may_start_from_inside_any_callback),
        cmocka_unit_test(many_calls_at_once_all_end),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
