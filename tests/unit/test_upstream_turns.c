/* Whose calls come first where more waits than a turn of the loop does. */
#include "upstream_world.h"

#include "upstream/client_impl.h"

#define MANY 40

/* --- a server whose answers wait for the test --- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_moves = PTHREAD_COND_INITIALIZER;
static int gate; /* answers with at most this number are let out */

static void open_gate(int number)
{
    pthread_mutex_lock(&gate_lock);
    gate = number;
    pthread_cond_broadcast(&gate_moves);
    pthread_mutex_unlock(&gate_lock);
}

static void serve_behind_a_gate(struct server *s, int fd, int nth)
{
    struct seen_head head;

    (void)nth;
    while (read_request(s, fd, &head)) {
        int number = strstr(head.text, "/second") != NULL ? 2 : 1;

        pthread_mutex_lock(&gate_lock);
        while (gate < number)
            pthread_cond_wait(&gate_moves, &gate_lock);
        pthread_mutex_unlock(&gate_lock);
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    }
}

/* --- owners --- */

struct owned {
    struct world *w;
    uint64_t owner;
    bool began, done;
};

static uint64_t order[MANY + 1]; /* the owners of calls that ended */
static size_t ends;

static bool on_owned_begin(void *arg)
{
    struct owned *owned = arg;

    owned->began = true;
    return true;
}

static void on_owned_done(void *arg, const struct upstream_result *result)
{
    struct owned *owned = arg;

    assert_int_equal(result->end, UPSTREAM_ANSWERED);
    owned->done = true;
    order[ends++] = owned->owner;
}

static void start_owned(struct owned *owned, const char *url)
{
    struct upstream_request request = {.method = "GET",
                                       .url = url,
                                       .owner = owned->owner,
                                       .on_begin = on_owned_begin,
                                       .on_done = on_owned_done,
                                       .arg = owned};

    assert_non_null(upstream_start(owned->w->up, &request));
}

static void turns_until_ended(struct world *w, size_t num)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;

    while (ends < num) {
        assert_true(clock_now_ms() < end_ms);
        loop_turn(&w->loop);
    }
}

/* So many sockets of the JSON lane are ready. */
static void wait_ready(struct world *w, int num)
{
    uint64_t end_ms = clock_now_ms() + DEADLINE_MS;
    struct epoll_event events[MANY + 1];

    while (epoll_wait(w->up->lanes[LANE_JSON].epoll_fd, events, MANY + 1, 10) < num)
        assert_true(clock_now_ms() < end_ms);
}

/* Many calls of one owner and the last of another one: all are answered, and none has ended. */
static void begin_many_and_one(struct world *w, struct owned many[MANY], struct owned *one)
{
    char second[96];

    ends = 0;
    open_gate(0);
    snprintf(second, sizeof(second), "%s/second", w->url);
    for (int i = 0; i < MANY; i++) {
        many[i] = (struct owned){.w = w, .owner = 11};
        start_owned(&many[i], w->url);
        w->woken = false;
        run_until(w, &w->woken);
    }
    *one = (struct owned){.w = w, .owner = 22};
    start_owned(one, second);
    w->woken = false;
    run_until(w, &w->woken);
    open_gate(1);
    wait_ready(w, MANY);
    open_gate(2);
    wait_ready(w, MANY + 1); /* its answer is the last of all in the kernel's list */
}

static void an_answer_waits_for_one_of_each_other_owner_however_many_came_before(void **state)
{
    struct world *w = world_new(serve_behind_a_gate);
    struct owned many[MANY], one;

    (void)state;
    begin_many_and_one(w, many, &one);
    turns_until_ended(w, MANY + 1);
    assert_true(order[0] == 22 || order[1] == 22);
    world_stop(w);
    world_free(w);
}

/* As curl does where timers of theirs are due. */
static void calls_that_ended_in_one_run_keep_no_answer_of_another_owner_waiting(void **state)
{
    struct world *w = world_new(serve_behind_a_gate);
    struct lane *lane = &w->up->lanes[LANE_JSON];
    struct owned many[MANY], one;

    (void)state;
    begin_many_and_one(w, many, &one);
    for (size_t fd = 0; fd < lane->num_owners; fd++)
        if (lane->owners[fd] == 11)
            lane_run_curl(lane, (int)fd, CURL_CSELECT_IN);
    w->up->work_timer.cb(&w->up->work_timer); /* before a look at sockets */
    turns_until_ended(w, MANY + 1);
    assert_true(order[0] == 22 || order[1] == 22);
    world_stop(w);
    world_free(w);
}

/* --- somebody who starts a call in each turn --- */

#define ADDED 10

struct adder {
    struct loop_timer timer;
    struct owned owned[ADDED];
    size_t num;
};

static void on_add(struct loop_timer *timer)
{
    struct adder *adder = timer->arg;
    struct owned *owned = &adder->owned[adder->num++];

    if (adder->num < ADDED)
        assert_int_equal(loop_timer_start(&owned->w->loop.super, timer, 0), 0);
    start_owned(owned, owned->w->url);
}

static void calls_that_are_added_in_each_turn_keep_no_other_from_being_sent(void **state)
{
    struct world *w = world_new(serve_behind_a_gate);
    struct owned first = {.w = w, .owner = 22}, again = {.w = w, .owner = 22};
    struct adder adder = {.timer = {.cb = on_add, .arg = &adder}};

    (void)state;
    ends = 0;
    open_gate(2);
    start_owned(&first, w->url); /* leaves a connection for the other one */
    turns_until_ended(w, 1);
    for (int i = 0; i < ADDED; i++)
        adder.owned[i] = (struct owned){.w = w, .owner = 11};
    assert_int_equal(loop_timer_start(&w->loop.super, &adder.timer, 0), 0);
    start_owned(&again, w->url);
    while (!again.began && adder.num < ADDED)
        loop_turn(&w->loop);
    assert_true(adder.num <= 2);
    turns_until_ended(w, 2 + ADDED);
    world_stop(w);
    world_free(w);
}

/* --- calls that ended, and whose owners do not know yet --- */

struct pair {
    struct upstream_call *calls[2];
    struct owned owned[2];
    int dones;
};

static struct pair pair;

/* Whichever is told first forgets the other one. */
static void on_pair_done(void *arg, const struct upstream_result *result)
{
    struct owned *owned = arg;
    int other = owned == &pair.owned[0] ? 1 : 0;

    assert_int_equal(result->end, UPSTREAM_ANSWERED);
    pair.dones++;
    upstream_cancel(pair.calls[other]);
}

static void a_call_that_has_ended_may_be_cancelled_before_its_owner_is_told(void **state)
{
    struct world *w = world_new(serve_behind_a_gate);

    (void)state;
    pair = (struct pair){0};
    open_gate(0);
    for (int i = 0; i < 2; i++) {
        struct upstream_request request = {.method = "GET",
                                           .url = w->url,
                                           .owner = (uint64_t)i + 1,
                                           .on_done = on_pair_done,
                                           .arg = &pair.owned[i]};

        pair.calls[i] = upstream_start(w->up, &request);
        assert_non_null(pair.calls[i]);
        w->woken = false;
        run_until(w, &w->woken);
    }
    open_gate(1);
    wait_ready(w, 2);
    /* curl ends both in one run, as it does with the streams of one HTTP/2 connection */
    for (size_t fd = 0; fd < w->up->lanes[LANE_JSON].num_owners; fd++)
        if (w->up->lanes[LANE_JSON].owners[fd] != 0)
            lane_run_curl(&w->up->lanes[LANE_JSON], (int)fd, CURL_CSELECT_IN);
    assert_int_equal(loop_timer_soon(&w->loop.super, &w->up->work_timer), 0);
    while (pair.dones == 0)
        loop_turn(&w->loop);
    assert_int_equal(pair.dones, 1);
    assert_int_equal(upstream_active(w->up), 0);
    world_stop(w);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_waits_for_one_of_each_other_owner_however_many_came_before),
        cmocka_unit_test(calls_that_ended_in_one_run_keep_no_answer_of_another_owner_waiting),
        cmocka_unit_test(calls_that_are_added_in_each_turn_keep_no_other_from_being_sent),
        cmocka_unit_test(a_call_that_has_ended_may_be_cancelled_before_its_owner_is_told),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
