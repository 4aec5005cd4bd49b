/* The HTTP client where each address is asked for before it is connected to. */
#include "upstream_world.h"

struct gate {
    int asked, allowed; /* questions; how many of the next ones are allowed, -1: all */
    bool was_loopback;
};

static bool may_connect(void *arg, const struct sockaddr *address, socklen_t len)
{
    struct gate *gate = arg;
    struct sockaddr_in v4;

    gate->asked++;
    if (address->sa_family == AF_INET && len >= (socklen_t)sizeof(v4)) {
        memcpy(&v4, address, sizeof(v4));
        gate->was_loopback = ntohl(v4.sin_addr.s_addr) == INADDR_LOOPBACK;
    }
    if (gate->allowed > 0)
        gate->allowed--;
    else
        return gate->allowed < 0;
    return true;
}

static struct world *gated_world(struct gate *gate, const char *host)
{
    struct world *w = world_new(serve_hello);
    const struct upstream_options options = {
        .connect_ms = CONNECT_MS, .may_connect = may_connect, .may_connect_arg = gate};

    upstream_free(w->up);
    assert_int_equal(upstream_new(&w->loop.super, &options, &w->up), 0);
    snprintf(w->url, sizeof(w->url), "http://%s:%d/v1/files", host, w->server.port);
    return w;
}

static void each_call_asks_for_the_address_that_it_connects_to(void **state)
{
    struct gate gate = {.allowed = -1};
    struct world *w = gated_world(&gate, "127.0.0.1");

    (void)state;
    for (int i = 0; i < 3; i++) {
        fetch(w, &(struct upstream_request){0});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
        assert_int_equal(gate.asked, i + 1);
    }
    assert_true(gate.was_loopback);
    assert_int_equal(w->server.connections, 3); /* none is kept */
    world_stop(w);
    world_free(w);
}

static void a_name_that_was_fine_before_is_refused_when_its_address_is_not_any_more(void **state)
{
    struct gate gate = {.allowed = -1};
    struct world *w = gated_world(&gate, "localhost");

    (void)state;
    fetch(w,
          &(struct upstream_request){.method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    gate.allowed = 0;
    fetch(w,
          &(struct upstream_request){.method = "POST", .once = true, .body = "{}", .body_len = 2});
    assert_int_equal(w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(w->nothing_sent);
    assert_non_null(strstr(w->error, "forbidden"));
    assert_int_equal(w->server.connections, 1);
    world_stop(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_asks_for_the_address_that_it_connects_to),
        cmocka_unit_test(a_name_that_was_fine_before_is_refused_when_its_address_is_not_any_more),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
