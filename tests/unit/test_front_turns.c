/* Requests of one tenant that come at once, on many connections: few are looked at in a turn of the
 * loop, and all of them in the end. */
#include "front_h1_world.h"

#define MANY 20

static const char ask[] = "GET / HTTP/1.1\r\n" HOST "\r\n";

static struct shares shares;
static struct slices slices;

static int begin(void **state)
{
    int rc = world_begin(state);

    memset(&slices, 0, sizeof(slices));
    shares = (struct shares){.slices = &slices};
    world.tenant = share_get(&shares, 11);
    return rc;
}

static int end(void **state)
{
    int rc = world_end(state);

    share_put(world.tenant);
    shares_deinit(&shares);
    return rc;
}

/* One slice, and what the loop makes of it. */
static void run_slice(void)
{
    struct loop_timer *timer = world.turns;

    assert_non_null(timer);
    world.turns = NULL;
    timer->slot = 0;
    timer->cb(timer);
    turn();
}

static void put(struct client *c, const char *text)
{
    size_t len = strlen(text);

    if (c->ssl != NULL)
        assert_int_equal(SSL_write(c->ssl, text, (int)len), len);
    else
        assert_int_equal(send(c->fd, text, len, MSG_NOSIGNAL), len);
}

/* Connections that have shown the tenant's key, each in a millisecond of its own. */
static void open_many(struct client *clients, bool tls)
{
    for (int i = 0; i < MANY; i++) {
        clients[i] = open_h1(tls);
        world.now_ms++;
        put(&clients[i], ask);
        settle(&clients[i]);
        assert_int_equal(world.answered, 1);
        clients[i].len = 0;
    }
    world.now_ms++;
    world.calls = world.answered = world.gone = 0;
}

static void close_many(struct client *clients)
{
    for (int i = 0; i < MANY; i++)
        client_close(&clients[i]);
}

static void check_few_heads_are_looked_at_in_a_turn_and_then_one_after_the_other(bool tls)
{
    struct client clients[MANY], other;

    open_many(clients, tls);
    for (int i = 0; i < MANY; i++)
        put(&clients[i], ask);
    turn();
    assert_int_equal(world.calls, SHARE_AT_ONCE);
    other = client_open(tls, "\x08http/1.1"); /* of nobody yet: at once */
    put(&other, ask);
    turn();
    assert_int_equal(world.calls, SHARE_AT_ONCE + 1);
    for (unsigned n = world.calls; n < MANY + 1; n++) {
        run_slice();
        assert_int_equal(world.calls, n + 1);
    }
    assert_null(world.turns);
    for (int i = 0; i < MANY; i++) {
        client_read(&clients[i]);
        assert_non_null(strstr(clients[i].bytes, "200"));
    }
    close_many(clients);
    client_close(&other);
}

BOTH(few_heads_are_looked_at_in_a_turn_and_then_one_after_the_other)

static void check_requests_behind_one_another_take_turns_too(bool tls)
{
    struct client clients[MANY];
    char text[MANY * sizeof(ask)] = "";

    open_many(clients, tls);
    for (int i = 0; i < MANY; i++)
        strcat(text, ask);
    put(&clients[0], text);
    turn();
    assert_int_equal(world.calls, SHARE_AT_ONCE);
    while (world.turns != NULL)
        run_slice();
    assert_int_equal(world.calls, MANY);
    close_many(clients);
}

BOTH(requests_behind_one_another_take_turns_too)

static void check_who_leaves_the_queue_harms_nobody(bool tls)
{
    struct client clients[MANY];

    open_many(clients, tls);
    for (int i = 0; i < MANY; i++)
        put(&clients[i], ask);
    turn();
    close_many(clients);
    while (world.turns != NULL)
        run_slice();
    assert_int_equal(world.calls, MANY); /* they were there; the answers find nobody */
}

BOTH(who_leaves_the_queue_harms_nobody)

/* No time limit of its client's runs, and a drain sees that it carries a request. */
static void a_head_that_waits_keeps_its_connection(void **state)
{
    struct client clients[MANY];

    (void)state;
    open_many(clients, false);
    for (int i = 0; i < MANY; i++)
        put(&clients[i], ask);
    turn();
    pass_ms(GUARD_HEAD_MS + 2 * GUARD_TICK_MS);
    front_drain(world.clear);
    pass_ms(2 * GUARD_TICK_MS);
    while (world.turns != NULL)
        run_slice();
    assert_int_equal(world.answered, MANY);
    for (int i = 0; i < MANY; i++) {
        client_read(&clients[i]);
        assert_non_null(strstr(clients[i].bytes, "200"));
    }
    close_many(clients);
}

static void check_a_connection_that_ends_in_the_queue_is_forgotten(bool tls)
{
    struct client clients[MANY];
    struct front *front = tls ? world.tls : world.clear;

    open_many(clients, tls);
    for (int i = 0; i < MANY; i++)
        put(&clients[i], ask);
    turn();
    while (!h2o_linklist_is_empty(&front->conns)) {
        h1_hang_up(H2O_STRUCT_FROM_MEMBER(struct conn, link, front->conns.next));
        turn();
        if (tls) /* its goodbye */
            for (int i = 0; i < MANY; i++)
                settle(&clients[i]);
    }
    assert_null(world.turns);
    assert_int_equal(world.calls, SHARE_AT_ONCE);
    close_many(clients);
}

BOTH(a_connection_that_ends_in_the_queue_is_forgotten)

#define TURNS(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TURNS(few_heads_are_looked_at_in_a_turn_and_then_one_after_the_other),
        TURNS(requests_behind_one_another_take_turns_too),
        TURNS(who_leaves_the_queue_harms_nobody),
        TURNS(a_head_that_waits_keeps_its_connection),
        TURNS(a_connection_that_ends_in_the_queue_is_forgotten),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
