/* The HTTP client and a machine that lets it down: names that resolve slowly or not at all, a fork,
 * and memory that runs out at each allocation in turn. The C library's functions are overlaid here.
 */
#include "upstream_world.h"

#include <dlfcn.h>
#include <netdb.h>
#include <sys/wait.h>

/* --- the resolver --- */

static atomic_int lookups;
static int entered[2], released[2];
static bool looking_up; /* a byte came through `entered` */

/* provider.test is this machine, several.test is it too, behind an address where nobody listens,
 * slow.test is known to be nobody once a byte is in `released`,
 * other names below .test at once. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **res)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
        (int (*)(const char *, const char *, const struct addrinfo *, struct addrinfo **))dlsym(
            RTLD_NEXT, "getaddrinfo");
    char c;

    lookups++;
    if (strcmp(node, "provider.test") == 0)
        return real("127.0.0.1", service, hints, res);
    if (strcmp(node, "several.test") == 0) {
        int rc = real("127.0.0.9", service, hints, res);

        return rc != 0 ? rc : real("127.0.0.1", service, hints, &(*res)->ai_next);
    }
    if (strstr(node, ".test") == NULL)
        return real(node, service, hints, res);
    if (strcmp(node, "slow.test") == 0 &&
        (write(entered[1], "x", 1) != 1 || read(released[0], &c, 1) != 1))
        abort();
    return EAI_NONAME;
}

static void on_entered(void *arg)
{
    char c;

    (void)arg;
    assert_int_equal(read(entered[0], &c, 1), 1);
    looking_up = true;
}

static void release(void)
{
    assert_int_equal(write(released[1], "x", 1), 1);
}

/* A world in which a call to slow.test is under way, its resolver stuck. */
static struct world *stuck_world(serve_cb serve)
{
    struct world *w = world_new_at(serve, "slow.test");

    looking_up = false;
    assert_int_equal(pipe(entered), 0);
    assert_int_equal(pipe(released), 0);
    assert_int_equal(do_watch(&w->loop.super, entered[0], on_entered, NULL), 0);
    start(w, &(struct upstream_request){0});
    run_until(w, &looking_up);
    return w;
}

static void stuck_world_free(struct world *w)
{
    world_free(w);
    close(entered[1]);
}

static void a_name_that_resolves_slowly_stops_nobody_else(void **state)
{
    struct world *w = stuck_world(serve_hello);
    char url[64];

    (void)state;
    snprintf(url, sizeof(url), "http://127.0.0.1:%d/", w->server.port);
    for (int i = 0; i < 3; i++) {
        fetch(w, &(struct upstream_request){.url = url});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
    }
    assert_int_equal(upstream_active(w->up), 1);
    w->done = false;
    release();
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(w->nothing_sent);
    assert_string_equal(w->error, "connect: Could not resolve host: slow.test");
    world_stop(w);
    stuck_world_free(w);
}

static void a_resolver_that_hangs_meets_the_limit_for_connecting(void **state)
{
    struct world *w = stuck_world(NULL);

    (void)state;
    w->loop.skew_ms += CONNECT_MS;
    run_until(w, &w->done);
    assert_int_equal(w->end, UPSTREAM_CONNECT_FAILED);
    assert_true(w->nothing_sent);
    world_stop(w); /* the resolver's thread still hangs: nothing here waits for it */
    release();
    stuck_world_free(w);
}

static void a_call_whose_resolver_hangs_can_be_cancelled(void **state)
{
    struct world *w = stuck_world(NULL);

    (void)state;
    upstream_cancel(w->call);
    assert_int_equal(upstream_active(w->up), 0);
    world_stop(w);
    release();
    assert_int_equal(w->dones, 0);
    stuck_world_free(w);
}

static void a_name_is_looked_up_once_for_many_calls(void **state)
{
    struct world *w = world_new_at(serve_hello, "provider.test");

    (void)state;
    lookups = 0;
    for (int i = 0; i < 3; i++)
        fetch(w, &(struct upstream_request){.method = "POST", .once = true});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->server.connections, 3);
    assert_int_equal(lookups, 1);
    world_stop(w);
    world_free(w);
}

static void the_next_address_of_a_name_is_tried_where_the_first_one_refuses(void **state)
{
    struct world *w = world_new_at(serve_hello, "several.test");

    (void)state;
    for (int i = 0; i < 3; i++) {
        fetch(w, &(struct upstream_request){0});
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
        assert_string_equal(strbuf_str(&w->body), "hello");
    }
    assert_int_equal(w->server.connections, 1);
    world_stop(w);
    world_free(w);
}

static void localhost_is_this_machine_whatever_the_resolver_says(void **state)
{
    struct world *w = world_new_at(serve_hello, "localhost");

    (void)state;
    lookups = 0;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(lookups, 0);
    world_stop(w);
    world_free(w);
}

static void an_ipv6_address_in_brackets_is_an_address(void **state)
{
    struct world *w;
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

    (void)state;
    if (fd == -1 || bind(fd, (struct sockaddr *)&v6, sizeof(v6)) == -1)
        skip(); /* a machine without IPv6 */
    close(fd);
    w = world_new_at(serve_hello, "[::1]");
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    world_stop(w);
    assert_non_null(strstr(w->server.seen.text, "\r\nHost: [::1]:"));
    world_free(w);
}

/* No assertion may fail in here: it would go on as the parent. */
static bool child_asks(const char *url)
{
    struct upstream_options options = {.allow_insecure = true, .lean = WORLD_LEAN};
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;
    struct world w = {.loop = {.super = {&fake_ops}, .epoll_fd = epoll_create1(EPOLL_CLOEXEC)}};
    struct upstream_request request = {.method = "GET", .url = url, .on_done = on_done, .arg = &w};

    if (upstream_new(&w.loop.super, &options, &w.up) != 0 || upstream_start(w.up, &request) == NULL)
        return false;
    while (!w.done && clock_now_ms() < end_ms)
        loop_turn(&w.loop);
    return w.done && w.end == UPSTREAM_ANSWERED;
}

static void a_child_resolves_names_after_a_parent_that_did(void **state)
{
    struct world *w = world_new_at(serve_hello, "provider.test");
    int status;
    pid_t pid;

    (void)state;
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    pid = fork();
    assert_int_not_equal(pid, -1);
    if (pid == 0)
        _exit(child_asks(w->url) ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fetch(w, &(struct upstream_request){0});
    assert_int_equal(w->end, UPSTREAM_ANSWERED);
    assert_int_equal(w->server.connections, 2);
    world_stop(w);
    world_free(w);
}

/* --- memory --- */

#if defined(__has_feature) /* clang's way to say it */
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t count, size_t size);
void *REAL(realloc)(void *old, size_t size);

static _Thread_local unsigned fail_in; /* the allocation that fails, counted from here; 0: none */
static _Thread_local bool starting;

/* While a call runs only our own allocations fail: what libcurl 7.88 itself has after a failure is
 * in places beyond use (a hash of no slots, a division by zero in the next call). */
static bool fails(const void *caller)
{
    extern const char __executable_start, etext;

    if (fail_in == 0)
        return false;
    if (!starting && ((const char *)caller < &__executable_start || (const char *)caller >= &etext))
        return false;
    return --fail_in == 0;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(malloc)(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(calloc)(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : REAL(realloc)(old, size);
}

static void on_done_short_of_memory(void *arg, const struct upstream_result *result)
{
    struct world *w = arg;

    assert_true(w->loop.in_callback);
    w->done = true;
    w->dones++;
    w->end = result->end;
    w->nothing_sent = result->nothing_sent;
    w->call = NULL;
    if (result->end == UPSTREAM_ANSWERED && result->body_len != 5)
        fail_msg("an answer without its body");
}

/* @return whether the n-th allocation was one of this call's */
static bool call_with_failure(struct world *w, const struct upstream_request *request, unsigned n)
{
    bool failed;

    w->done = false;
    w->dones = 0;
    fail_in = n;
    starting = true;
    w->call = upstream_start(w->up, request);
    starting = false;
    if (w->call == NULL)
        w->done = true;
    run_until(w, &w->done);
    failed = fail_in == 0;
    fail_in = 0;
    assert_int_equal(upstream_active(w->up), 0);
    return failed;
}

static void assert_survives(const struct upstream_request *like, bool warm)
{
    const struct upstream_header headers[] = {{"api-key", "k1"}, {"Accept", "*/*"}};
    struct upstream_request request = *like;
    bool failed = true;
    unsigned n;

    for (n = 1; failed; n++) {
        struct world *w = world_new(serve_hello);

        request.url = w->url;
        request.headers = headers;
        request.num_headers = 2;
        request.on_done = on_done_short_of_memory;
        request.arg = w;
        if (warm)
            call_with_failure(w, &request, 0);
        failed = call_with_failure(w, &request, n);
        if (!failed)
            assert_int_equal(w->end, UPSTREAM_ANSWERED);
        else if (w->end == UPSTREAM_REFUSED || w->end == UPSTREAM_CONNECT_FAILED)
            assert_true(w->nothing_sent);
        call_with_failure(w, &request, 0); /* and the next one is as good as ever */
        assert_int_equal(w->end, UPSTREAM_ANSWERED);
        world_stop(w);
        world_free(w);
    }
    assert_true(n > 5);
}

static void memory_that_runs_out_ends_one_call_and_no_more(void **state)
{
    (void)state;
    assert_survives(&(struct upstream_request){.method = "GET"}, false);
    assert_survives(&(struct upstream_request){.method = "GET"}, true);
    assert_survives(
        &(struct upstream_request){.method = "POST", .once = true, .body = "{}", .body_len = 2},
        true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_that_resolves_slowly_stops_nobody_else),
        cmocka_unit_test(a_resolver_that_hangs_meets_the_limit_for_connecting),
        cmocka_unit_test(a_call_whose_resolver_hangs_can_be_cancelled),
        cmocka_unit_test(a_name_is_looked_up_once_for_many_calls),
        cmocka_unit_test(the_next_address_of_a_name_is_tried_where_the_first_one_refuses),
        cmocka_unit_test(localhost_is_this_machine_whatever_the_resolver_says),
        cmocka_unit_test(an_ipv6_address_in_brackets_is_an_address),
        cmocka_unit_test(a_child_resolves_names_after_a_parent_that_did),
        cmocka_unit_test(memory_that_runs_out_ends_one_call_and_no_more),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
