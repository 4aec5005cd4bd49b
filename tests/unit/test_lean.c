/* The transport of small calls that is not libcurl's: which calls it takes, what it keeps, and what
 * it makes of connections that break. What it has in common with libcurl is in test_upstream.c and
 * its like, which are built for both. */
#define WORLD_LEAN true
#include "upstream_servers.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "upstream/lean.h"

static struct lean *lean_of(const struct world *w)
{
    return w->up->lean;
}

static void stop(struct world *w)
{
    world_stop(w);
    world_free(w);
}

static void turn_until_idle(struct world *w, size_t num)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    while (lean_of(w)->num_idle != num) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(&w->loop);
    }
}

/* A socket of the lean lane is ready, and nobody has looked at it. */
static void wait_unseen(struct world *w, int num)
{
    struct epoll_event events[MAX_PEERS];
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    while (epoll_wait(w->up->lanes[LANE_LEAN].epoll_fd, events, MAX_PEERS, 10) < num)
        assert_true(clock_now_ms() < end_ms);
}

/* --- which calls --- */

static void small_calls_go_past_libcurl_and_share_their_connections(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    stop_clock(&w->loop);
    fetch(w, &(struct upstream_request){0});
    fetch(w, &(struct upstream_request){.method = "DELETE"});
    fetch(w, &(struct upstream_request){.method = "POST", .body = "{}", .body_len = 2});
    assert_int_equal(w->bytes_sent, 2);
    assert_int_equal(w->server.connections, 1);
    assert_int_equal(lean_of(w)->num_idle, 1);
    stop(w);
}

static void files_creates_secrets_and_odd_requests_stay_with_libcurl(void **state)
{
    static const struct upstream_header host = {"Host", "127.0.0.1"}, te = {"TE", "trailers"};
    struct world *w = world_new(serve_hello);
    static char large[65 * 1024];

    (void)state;
    memset(large, 'x', sizeof(large));
    fetch(w, &(struct upstream_request){.file = true});
    fetch(w, &(struct upstream_request){.method = "POST", .once = true});
    fetch(w, &(struct upstream_request){.secret = true});
    fetch(w, &(struct upstream_request){.method = "PATCH"});
    fetch(w, &(struct upstream_request){.headers = &host, .num_headers = 1});
    fetch(w, &(struct upstream_request){.headers = &te, .num_headers = 1});
    fetch(w,
          &(struct upstream_request){.method = "POST", .body = large, .body_len = sizeof(large)});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(lean_of(w)->num_idle, 0);
    assert_int_equal(lean_of(w)->num_origins, 0);
    stop(w);
}

/* Whoever reads an address differently than the one who connects opens a door: what is not plain is
 * left to libcurl's parser. */
static void an_origin_whose_spelling_is_not_plain_stays_with_libcurl(void **state)
{
    static const struct {
        const char *before, *behind; /* the port */
    } forms[] = {{"http://127.1:", "/"},         {"http://127.0.0.1:0", "/"},
                 {"HTTP://127.0.0.1:", "/"},     {"http://2130706433:", "/"},
                 {"http://127.0.0.1:", "/a#b"},  {"http://0x7f.0.0.1:", "/"},
                 {"http://0177.0.0.1:", "/"},    {"http://127.0.0.1:", ""},
                 {"http://127.0.0.1:", "?x=/y"}, {"http://localhost.:", "/"}};
    struct world *w = world_new(serve_hello);
    char url[64];

    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        snprintf(url, sizeof(url), "%s%d%s", forms[i].before, w->server.port, forms[i].behind);
        fetch(w, &(struct upstream_request){.url = url});
        assert_int_equal(lean_of(w)->num_idle, 0);
    }
    stop(w);
}

static void a_target_goes_out_as_it_stands_in_the_url(void **state)
{
    struct world *w = world_new(serve_hello);
    char url[96], want[96];

    (void)state;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/a/../b//c%%2f?after=x&y=%%20", w->server.port);
    fetch(w, &(struct upstream_request){.url = url});
    assert_int_equal(lean_of(w)->num_idle, 1);
    world_stop(w);
    snprintf(want, sizeof(want), "GET /a/../b//c%%2f?after=x&y=%%20 HTTP/1.1\r\nHost: ");
    assert_int_equal(strncmp(w->server.seen.text, want, strlen(want)), 0);
    world_free(w);
}

/* --- origins --- */

static void a_connection_serves_the_origin_of_its_url_and_no_other(void **state)
{
    const struct upstream_header key = {"api-key", "of-the-first"};
    struct world *w = world_new(serve_hello), *other = world_new(serve_hello);
    char name[64];

    (void)state;
    snprintf(name, sizeof(name), "http://localhost:%d/v1", w->server.port);
    fetch(w, &(struct upstream_request){.headers = &key, .num_headers = 1});
    fetch(w, &(struct upstream_request){.url = name});
    assert_int_equal(w->server.connections, 2); /* the same address under another name */
    fetch(w, &(struct upstream_request){.url = other->url});
    assert_int_equal(other->server.connections, 1);
    assert_int_equal(lean_of(w)->num_idle, 3);
    assert_int_equal(lean_of(w)->num_origins, 3);
    for (int i = 0; i < 3; i++) {
        fetch(w, &(struct upstream_request){.url = i == 0 ? w->url : i == 1 ? name : other->url});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
    }
    assert_int_equal(w->server.connections, 2);
    assert_int_equal(other->server.connections, 1);
    stop(w);
    world_stop(other);
    assert_null(strstr(other->server.seen.text, "of-the-first"));
    world_free(other);
}

static void origins_that_are_remembered_are_few(void **state)
{
    struct world *w = world_new(NULL);
    const char *why;
    char url[64];

    (void)state;
    for (int i = 0; i < 600; i++) {
        struct lean_origin *origin;

        snprintf(url, sizeof(url), "https://a%d.provider.example/v1", i);
        origin = pool_origin(lean_of(w), url, &why);
        assert_non_null(origin);
        pool_release(origin);
        assert_true(lean_of(w)->num_origins <= 256);
    }
    stop(w);
}

static void origins_in_use_are_not_forgotten_for_others(void **state)
{
    struct world *w = world_new(NULL);
    struct lean_origin *held[256];
    const char *why;
    char url[64];

    (void)state;
    for (int i = 0; i < 256; i++) {
        snprintf(url, sizeof(url), "https://a%d.provider.example/v1", i);
        held[i] = pool_origin(lean_of(w), url, &why);
        assert_non_null(held[i]);
    }
    assert_null(pool_origin(lean_of(w), "https://one.more.example/", &why));
    assert_null(why);
    pool_release(held[7]);
    held[7] = pool_origin(lean_of(w), "https://one.more.example/", &why);
    assert_non_null(held[7]);
    for (int i = 0; i < 256; i++)
        pool_release(held[i]);
    stop(w);
}

/* --- what is kept --- */

static struct lean_conn *any_conn(struct world *w, struct lean_origin *origin)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct lean_conn *conn;

    assert_int_not_equal(fd, -1);
    conn = conn_new(lean_of(w), origin, fd);
    assert_non_null(conn);
    return conn;
}

static void idle_connections_are_bounded_in_all_and_for_each_origin(void **state)
{
    struct world *w = world_new(NULL);
    const char *why;
    char url[64];

    (void)state;
    for (int o = 0; o < 4; o++) {
        struct lean_origin *origin;

        snprintf(url, sizeof(url), "https://a%d.provider.example/v1", o);
        origin = pool_origin(lean_of(w), url, &why);
        for (int i = 0; i < 150; i++)
            pool_keep(any_conn(w, origin));
        assert_int_equal(origin->num_idle, 128);
        pool_release(origin);
        assert_int_equal(lean_of(w)->num_idle, o == 0 ? 128 : 256);
    }
    stop(w);
}

static void an_idle_connection_is_closed_before_a_front_end_would(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    w->loop.skew_ms += 50000;
    loop_turn(&w->loop);
    assert_int_equal(lean_of(w)->num_idle, 1);
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->server.connections, 1);
    w->loop.skew_ms += 50000;
    loop_turn(&w->loop);
    assert_int_equal(lean_of(w)->num_idle, 1);
    w->loop.skew_ms += 5000;
    turn_until_idle(w, 0);
    stop(w);
}

static void a_connection_is_made_anew_after_half_an_hour(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    for (int s = 0; s <= 1800; s += 50) {
        fetch(w, &(struct upstream_request){0});
        assert_int_equal(w->server.connections, s < 1800 ? 1 : 2);
        w->loop.skew_ms += 50000;
    }
    stop(w);
}

/* --- connections that break --- */

static void serve_one_each(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    if (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
}

static void a_connection_that_has_closed_is_not_asked(void **state)
{
    struct world *w = world_new(serve_one_each);

    (void)state;
    for (int i = 1; i < 4; i++) {
        fetch(w, &(struct upstream_request){.method = "DELETE"});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
        assert_false(w->repeated);
        assert_int_equal(w->server.requests, i);
        if (lean_of(w)->num_idle != 0)
            wait_unseen(w, 1);
    }
    stop(w);
}

/* Answers, and is gone without a goodbye: the peer is told by a reset. */
static void serve_one_and_reset(struct server *s, int fd, int nth)
{
    static const struct sockaddr nobody = {.sa_family = AF_UNSPEC};

    serve_one_each(s, fd, nth);
    if (connect(fd, &nobody, sizeof(nobody)) == -1)
        abort();
}

static void a_connection_that_was_reset_is_not_asked(void **state)
{
    struct world *w = world_new(serve_one_and_reset);

    (void)state;
    stop_clock(&w->loop);
    for (int i = 1; i < 4; i++) {
        fetch(w, &(struct upstream_request){.method = "DELETE"});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
        assert_string_equal(strbuf_str(&w->body), "hello");
        assert_false(w->repeated);
        assert_int_equal(w->server.requests, i);
        if (lean_of(w)->num_idle != 0)
            wait_unseen(w, 1);
    }
    stop(w);
}

/* The first connection says something nobody asked for, just behind its answer or later. */
static void serve_unasked(struct server *s, int fd, int nth)
{
    struct seen_head head;

    while (read_request(s, fd, &head)) {
        say(fd, nth == 0 ? "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst"
                         : "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        if (nth > 0 || strstr(head.text, "/later") == NULL)
            continue;
        while (read_head(s, fd, &head))
            ;
    }
}

static void bytes_that_nobody_asked_for_are_the_answer_to_nothing(void **state)
{
    struct world *w = world_new(serve_unasked);
    char later[96];

    (void)state;
    snprintf(later, sizeof(later), "%s/later", w->url);
    fetch(w, &(struct upstream_request){.url = later});
    assert_string_equal(strbuf_str(&w->body), "first");
    assert_int_equal(lean_of(w)->num_idle, 1);
    say(w->server.fds[0], "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    wait_unseen(w, 1);
    fetch(w, &(struct upstream_request){0});
    assert_string_equal(strbuf_str(&w->body), "good");
    assert_false(w->repeated);
    assert_int_equal(w->server.connections, 2);
    say(w->server.fds[1], "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    turn_until_idle(w, 0); /* also where no call comes */
    stop(w);
}

static void serve_more_than_asked(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n"
                "Content-Length: 4\r\n\r\nevil");
}

static void what_stands_behind_an_answer_ends_its_connection(void **state)
{
    struct world *w = world_new(serve_more_than_asked);

    (void)state;
    for (int i = 1; i < 4; i++) {
        fetch(w, &(struct upstream_request){0});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
        assert_string_equal(strbuf_str(&w->body), "hello");
        assert_int_equal(lean_of(w)->num_idle, 0);
        assert_int_equal(w->server.connections, i);
    }
    stop(w);
}

/* The first request is answered, no other one is. */
static void serve_first_then_die(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head)) {
        if (s->requests > 1)
            return;
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    }
}

static void a_request_is_repeated_once_at_most(void **state)
{
    struct world *w = world_new(serve_first_then_die);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_BROKEN);
    assert_true(w->repeated);
    assert_false(w->nothing_sent);
    assert_int_equal(w->server.requests, 3);
    assert_int_equal(w->server.connections, 2);
    stop(w);
}

static void serve_half_a_head(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head)) {
        if (s->requests > 1) {
            say(fd, "H");
            return;
        }
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    }
}

static void what_has_begun_to_be_answered_is_not_asked_again(void **state)
{
    struct world *w = world_new(serve_half_a_head);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_BROKEN);
    assert_false(w->repeated);
    assert_int_equal(w->server.requests, 2);
    stop(w);
}

static void nothing_but_a_get_is_repeated(void **state)
{
    static const char *const methods[] = {"DELETE", "POST"};

    (void)state;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        struct world *w = world_new(serve_first_then_die);

        stop_clock(&w->loop);
        fetch(w, &(struct upstream_request){0});
        fetch(w, &(struct upstream_request){.method = methods[i]});
        assert_int_equal(w->end, UPSTREAM_BROKEN);
        assert_false(w->repeated);
        assert_false(w->nothing_sent);
        assert_int_equal(w->server.requests, 2);
        assert_int_equal(w->server.connections, 1);
        stop(w);
    }
}

/* A server may be about to close it, and what it then loses is known to nobody. */
static void a_delete_goes_on_no_connection_that_was_idle_for_a_second(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    stop_clock(&w->loop);
    fetch(w, &(struct upstream_request){0});
    w->loop.skew_ms += 999;
    fetch(w, &(struct upstream_request){.method = "DELETE"});
    assert_int_equal(w->server.connections, 1);
    w->loop.skew_ms += 1000;
    fetch(w, &(struct upstream_request){.method = "DELETE"});
    assert_int_equal(w->server.connections, 2);
    w->loop.skew_ms += 1000;
    fetch(w, &(struct upstream_request){0}); /* a read takes either */
    assert_int_equal(w->server.connections, 2);
    assert_int_equal(lean_of(w)->num_idle, 2);
    stop(w);
}

/* The limit for connecting begins anew with the connection that a repeat needs. */
static void a_repeat_that_cannot_connect_says_that_something_was_sent(void **state)
{
    struct world *w = world_new(serve_first_then_die);

    (void)state;
    fetch(w, &(struct upstream_request){0});
    shutdown(w->server.listen_fd, SHUT_RDWR); /* no further connection */
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_BROKEN);
    assert_false(w->nothing_sent);
    stop(w);
}

/* --- streams --- */

static void a_small_stream_is_paused_and_goes_on(void **state)
{
    struct world *w = world_new(serve_big);

    (void)state;
    w->on_data = ON_DATA_PAUSE;
    fetch(w, &(struct upstream_request){.on_head = on_head, .on_data = on_data});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->body.len, BIG);
    stop(w);
}

static void a_pause_stops_the_reading_and_costs_no_turns(void **state)
{
    struct epoll_event event;
    struct world *w = world_new(serve_big);

    (void)state;
    w->on_data = ON_DATA_HOLD;
    start(w, &(struct upstream_request){.on_head = on_head, .on_data = on_data});
    while (!w->paused)
        loop_turn(&w->loop);
    loop_turn(&w->loop);
    assert_true(w->body.len <= LEAN_BUFFER);
    assert_int_equal(epoll_wait(w->up->lanes[LANE_LEAN].epoll_fd, &event, 1, 0), 0);
    upstream_cancel(w->call);
    assert_int_equal(upstream_active(w->up), 0);
    stop(w);
}

/* Lists pause in every 64 KiB: one that needed three turns for each was late on a busy worker. */
static void a_stream_that_is_resumed_reads_in_that_turn(void **state)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;
    struct world *w = world_new(serve_big);
    int waiting = 0;
    size_t before;

    (void)state;
    w->on_data = ON_DATA_HOLD;
    start(w, &(struct upstream_request){.on_head = on_head, .on_data = on_data});
    while (!w->paused)
        loop_turn(&w->loop);
    before = w->body.len;
    while (waiting == 0) {
        assert_true(clock_now_ms() < end_ms);
        assert_int_equal(ioctl(w->call->exchange->conn->fd, FIONREAD, &waiting), 0);
    }
    w->paused = false;
    upstream_resume(w->call);
    loop_turn(&w->loop);
    assert_true(w->body.len > before);
    upstream_cancel(w->call);
    stop(w);
}

static void a_stream_that_is_cancelled_from_inside_is_heard_of_no_more(void **state)
{
    struct upstream_request stream = {.on_head = on_head, .on_data = on_data};
    struct world *w = world_new(serve_big);
    size_t len;

    (void)state;
    w->cancel_in_head = true;
    fetch(w, &stream);
    w->cancel_in_head = false;
    w->on_data = ON_DATA_CANCEL;
    fetch(w, &stream);
    len = w->body.len;
    while (upstream_active(w->up) > 0)
        loop_turn(&w->loop);
    assert_int_equal(w->body.len, len);
    assert_int_equal(w->dones, 0);
    assert_int_equal(lean_of(w)->num_idle, 0);
    stop(w);
}

static size_t open_descriptors(void)
{
    size_t num = 0;

    for (int fd = 0; fd < 1024; fd++)
        num += fcntl(fd, F_GETFD) != -1;
    return num;
}

/* Curl connects and closes its own descriptor, ours is another one. */
static void connections_that_ended_leave_no_descriptor_behind(void **state)
{
    struct world *w = world_new(serve_one_each);
    size_t before = 0;

    (void)state;
    for (int i = 0; i < 40; i++) {
        fetch(w, &(struct upstream_request){0});
        turn_until_idle(w, 0);
        if (i == 0)
            before = open_descriptors() - 1; /* the server keeps its own until the end */
    }
    assert_int_equal(w->server.connections, 40);
    assert_int_equal(open_descriptors(), before + 40);
    stop(w);
}

static void a_call_whose_answer_is_complete_ends_when_its_pause_does(void **state)
{
    struct world *w = world_new(serve_hello);

    (void)state;
    w->on_data = ON_DATA_HOLD;
    start(w, &(struct upstream_request){.on_head = on_head, .on_data = on_data});
    while (!w->paused)
        loop_turn(&w->loop);
    turn_until_idle(w, 1); /* the connection is free for others */
    assert_false(w->done);
    w->paused = false;
    upstream_resume(w->call);
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_string_equal(strbuf_str(&w->body), "hello");
    stop(w);
}

/* --- turns --- */

#define MANY 40

struct owned {
    uint64_t owner;
};

static uint64_t order[MANY + 1]; /* the owners of calls that ended */
static size_t ends;

static void on_owned_done(void *arg, const struct upstream_result *result)
{
    struct owned *owned = arg;

    assert_int_equal(result->end, UPSTREAM_ANSWERED);
    order[ends++] = owned->owner;
}

static void start_owned(struct world *w, struct owned *owned)
{
    struct upstream_request request = {.method = "GET",
                                       .url = w->url,
                                       .owner = owned->owner,
                                       .on_done = on_owned_done,
                                       .arg = owned};

    assert_non_null(upstream_start(w->up, &request));
}

static void ask_only(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head))
        ;
}

static void wait_woken(struct world *w)
{
    w->woken = false;
    run_until(w, &w->woken);
}

static void an_answer_waits_for_one_of_each_other_owner_here_too(void **state)
{
    struct world *w = world_new(ask_only);
    struct owned many = {.owner = 11}, one = {.owner = 22};
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    (void)state;
    ends = 0;
    for (int i = 0; i < MANY; i++) {
        start_owned(w, &many);
        wait_woken(w);
    }
    start_owned(w, &one);
    wait_woken(w);
    for (int i = 0; i <= MANY; i++) {
        say(w->server.fds[i], "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        wait_unseen(w, i + 1);
    }
    while (ends < MANY + 1) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(&w->loop);
    }
    assert_true(order[0] == 22 || order[1] == 22);
    assert_int_equal(lean_of(w)->num_idle, MANY + 1);
    stop(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_calls_go_past_libcurl_and_share_their_connections),
        cmocka_unit_test(files_creates_secrets_and_odd_requests_stay_with_libcurl),
        cmocka_unit_test(an_origin_whose_spelling_is_not_plain_stays_with_libcurl),
        cmocka_unit_test(a_target_goes_out_as_it_stands_in_the_url),
        cmocka_unit_test(a_connection_serves_the_origin_of_its_url_and_no_other),
        cmocka_unit_test(origins_that_are_remembered_are_few),
        cmocka_unit_test(origins_in_use_are_not_forgotten_for_others),
        cmocka_unit_test(idle_connections_are_bounded_in_all_and_for_each_origin),
        cmocka_unit_test(an_idle_connection_is_closed_before_a_front_end_would),
        cmocka_unit_test(a_connection_is_made_anew_after_half_an_hour),
        cmocka_unit_test(a_connection_that_has_closed_is_not_asked),
        cmocka_unit_test(a_connection_that_was_reset_is_not_asked),
        cmocka_unit_test(bytes_that_nobody_asked_for_are_the_answer_to_nothing),
        cmocka_unit_test(what_stands_behind_an_answer_ends_its_connection),
        cmocka_unit_test(a_request_is_repeated_once_at_most),
        cmocka_unit_test(what_has_begun_to_be_answered_is_not_asked_again),
        cmocka_unit_test(nothing_but_a_get_is_repeated),
        cmocka_unit_test(a_delete_goes_on_no_connection_that_was_idle_for_a_second),
        cmocka_unit_test(a_repeat_that_cannot_connect_says_that_something_was_sent),
        cmocka_unit_test(a_small_stream_is_paused_and_goes_on),
        cmocka_unit_test(a_pause_stops_the_reading_and_costs_no_turns),
        cmocka_unit_test(a_stream_that_is_resumed_reads_in_that_turn),
        cmocka_unit_test(a_stream_that_is_cancelled_from_inside_is_heard_of_no_more),
        cmocka_unit_test(connections_that_ended_leave_no_descriptor_behind),
        cmocka_unit_test(a_call_whose_answer_is_complete_ends_when_its_pause_does),
        cmocka_unit_test(an_answer_waits_for_one_of_each_other_owner_here_too),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
