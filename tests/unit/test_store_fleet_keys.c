/* An Idempotency-Key is one for all nodes of a fleet: the same tests on both engines. */
#include "fleet_world.h"

/* ---- keys ---- */

static void a_key_is_one_requests_at_a_time(void **state)
{
    WORLD(w);
    struct fleet_intent first = keyed("r1", "c1", "k1"), again = keyed("r2", "c2", "k1");
    struct fleet_intent other = keyed("r3", "c3", "k1"), elsewhere = keyed("r4", "c1", "k1");

    other.request = 8;
    ASK(w, &a, first, FLEET_GRANTED);
    ASK(w, &b, again, FLEET_RUNNING);
    ASK(w, &b, other, FLEET_OTHER);
    assert_held(w, 10, 1); /* whoever waits reserves nothing */
    drop(w, &a, "r1", "c1", FLEET_REFUSED_THERE);
    ASK(w, &b, again, FLEET_RUNNING); /* it goes on elsewhere ... */
    ASK(w, &a, elsewhere, FLEET_GRANTED);
    drop(w, &a, "r4", "c1", FLEET_NOT_MADE);
    ASK(w, &b, again, FLEET_GRANTED); /* ... until it has given up */
}

static void two_of_one_turn_with_one_key_are_one(void **state)
{
    WORLD(w);
    struct fleet_intent intents[3] = {keyed("r1", "c1", "k1"), keyed("r2", "c2", "k1"),
                                      keyed("r3", "c3", "k0")};
    struct fleet_answer answers[3];

    OK(w, store_fleet_intents(w->store, &a, intents, 3, answers));
    assert_int_equal(answers[0].verdict, FLEET_GRANTED);
    assert_int_equal(answers[1].verdict, FLEET_RUNNING);
    assert_int_equal(answers[2].verdict, FLEET_GRANTED);
    assert_held(w, 20, 2);
}

static void what_is_refused_leaves_its_key_free(void **state)
{
    WORLD(w);
    struct fleet_intent large = keyed("r1", "c1", "k1"), small = keyed("r2", "c2", "k1");

    large.tokens = LIMIT + 1;
    ASK(w, &a, large, FLEET_REFUSED);
    ASK(w, &b, small, FLEET_GRANTED);
}

static void an_answer_is_given_again_on_every_node(void **state)
{
    WORLD(w);
    struct fleet_intent first = keyed("r1", "c1", "k1"), again = keyed("r2", "c2", "k1");
    struct fleet_live made = {.of = {.id = "r1", .claim = "c1", .nonce = "r1"},
                              .batch = "batch-t1",
                              .native = "n1",
                              .deployment = 6,
                              .done = {.key = "k1",
                                       .request = first.request,
                                       .status = 200,
                                       .object = "batch-t1",
                                       .body = "{\"id\": \"caf\xc3\xa9\"}"}};
    struct fleet_answer answer;

    ASK(w, &a, first, FLEET_GRANTED);
    live(w, &a, &made, false);
    answer = ask(w, &b, &again);
    assert_int_equal(answer.verdict, FLEET_DONE);
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.object, "batch-t1");
    assert_string_equal(answer.body, "{\"id\": \"caf\xc3\xa9\"}");
    assert_int_equal(answer.deployment, 6);
    assert_string_equal(answer.nonce, "r1");
    fleet_answer_deinit(&answer);
    assert_held(w, 10, 1);
    drop(w, &b, "r2", "c1", FLEET_NOT_MADE); /* what is answered stays */
    ASK(w, &b, again, FLEET_OVER);
    again.id = "r3";
    ASK(w, &b, again, FLEET_DONE);
    world_do(w, "update @idempotency set until = 1"); /* a day later */
    ASK(w, &b, again, FLEET_GRANTED);
}

static void a_keyed_upload_reserves_nothing(void **state)
{
    WORLD(w);
    struct fleet_intent upload = keyed(NULL, "c1", "k1"), again = keyed(NULL, "c2", "k1");
    struct fleet_live made = {.of = {.claim = "c1"},
                              .done = {.key = "k1", .status = 200, .object = "file-t1"}};
    struct fleet_answer answer;

    ASK(w, &a, upload, FLEET_GRANTED);
    ASK(w, &b, again, FLEET_RUNNING);
    assert_held(w, 0, 0);
    live(w, &a, &made, true);
    answer = ask(w, &b, &again);
    assert_int_equal(answer.verdict, FLEET_DONE);
    assert_string_equal(answer.object, "file-t1");
    assert_null(answer.body); /* too long to be kept */
}

static void a_dead_nodes_key_goes_to_one_that_looks_first(void **state)
{
    WORLD(w);
    struct fleet_intent first = keyed("r1", "c1", "k1"), second = keyed("r2", "c2", "k1");
    struct fleet_intent third = keyed("r3", "c3", "k1"), anew = keyed("r4", "c2", "k1");
    struct fleet_live late = {.of = {.id = "r1", .claim = "c1"},
                              .done = {.key = "k1", .status = 200, .object = "batch-late"}};
    struct fleet_me again = {.node = a.node};
    struct fleet_answer answer;

    ASK(w, &a, first, FLEET_GRANTED);
    OK(w, store_fleet_join(w->store, 3, "", "", &again)); /* killed, and started again */
    answer = ask(w, &b, &second);
    assert_int_equal(answer.verdict, FLEET_LOST);
    assert_string_equal(answer.nonce, "r1");
    assert_int_equal(answer.deployment, 6);
    assert_true(answer.age_ms >= 0);
    assert_held(w, 10, 1); /* the lost one, which may run */
    ASK(w, &again, third, FLEET_RUNNING);
    live(w, &again, &late, false); /* its claim is another one's by now */
    ASK(w, &again, third, FLEET_RUNNING);
    ASK(w, &b, anew, FLEET_GRANTED); /* nothing was there: done again */
}

/* The keeper was killed, or its connection broke, between the commit and the answer: the worker asks
 * again, and nobody has looked for the first create yet. It went out a second time. */
static void a_lost_key_whose_answer_was_not_heard_is_looked_for_when_it_is_asked_again(void **state)
{
    WORLD(w);
    struct fleet_intent first = keyed("r1", "c1", "k1"), asks = keyed(NULL, "c2", "k1");
    struct fleet_intent goes = keyed("r2", "c2", "k1"), late = keyed("r3", "c3", "k1");
    struct fleet_intent last = keyed("r4", "c3", "k1");
    struct fleet_me again = {.node = a.node};
    struct fleet_answer answer;

    ASK(w, &a, first, FLEET_GRANTED);
    OK(w, store_fleet_join(w->store, 3, "", "", &again));
    for (int i = 0; i < 3; i++) {
        answer = ask(w, &b, &asks);
        assert_int_equal(answer.verdict, FLEET_LOST);
        assert_string_equal(answer.nonce, "r1");
        assert_int_equal(answer.deployment, 6);
    }
    ASK(w, &b, goes, FLEET_GRANTED); /* nothing was there */
    ASK(w, &b, goes, FLEET_GRANTED);
    world_do(w, "update @idempotency set busy_until = 1");
    ASK(w, &again, late, FLEET_LOST); /* a create that another one has overtaken */
    ASK(w, &again, late, FLEET_LOST);
    ASK(w, &again, last, FLEET_GRANTED);
}

static void a_key_whose_create_nobody_knows_goes_to_the_next_one(void **state)
{
    WORLD(w);
    struct fleet_intent first = keyed("r1", "c1", "k1"), second = keyed("r2", "c2", "k1");
    struct fleet_drop lost = {
        .of = {.id = "r1", .claim = "c1"}, .end = FLEET_NOT_KNOWN, .deployment = 9};
    struct fleet_answer answer;

    ASK(w, &a, first, FLEET_GRANTED);
    OK(w, store_fleet_drop(w->store, &a, &lost, 1));
    answer = ask(w, &b, &second);
    assert_int_equal(answer.verdict, FLEET_LOST);
    assert_int_equal(answer.deployment, 9);
    assert_string_equal(answer.nonce, "r1");
}

static void a_silent_nodes_key_waits_until_its_create_has_ended(void **state)
{
    WORLD(w);
    struct fleet_intent first = keyed("r1", "c1", "k1"), second = keyed("r2", "c2", "k1");

    ASK(w, &a, first, FLEET_GRANTED);
    world_do(w, "update @node set seen = 0 where id = 'host-a:4000'");
    ASK(w, &b, second, FLEET_RUNNING); /* it may be sending still */
    world_do(w, "update @idempotency set busy_until = 1");
    ASK(w, &b, second, FLEET_LOST);
}

/* ---- many at once ---- */

/* Keys of all nodes at once: each of them is granted once. */
static void rush(const struct world *w, unsigned node, int out)
{
    struct store *store = world_open(w->url);
    char name[16], id[24], claim[24];
    struct fleet_me me = {.node = name};
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;

    snprintf(name, sizeof(name), "node-%u", node);
    while (store_fleet_join(store, 100 + node, "", "", &me) != 0)
        if (clock_now_ms() > until_ms)
            _exit(2);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct fleet_intent intent;
        struct fleet_answer answer;
        char key[16];

        snprintf(id, sizeof(id), "%u-%u", node, i);
        snprintf(claim, sizeof(claim), "c%u-%u", node, i);
        snprintf(key, sizeof(key), "k%u", i);
        intent = keyed(id, claim, key);
        while (store_fleet_intents(store, &me, &intent, 1, &answer) != 0)
            if (clock_now_ms() > until_ms)
                _exit(3);
        if (answer.verdict == FLEET_GRANTED && write(out, "g", 1) != 1)
            _exit(4);
    }
    store_free(store);
    _exit(0);
}

static void a_key_is_granted_to_one_of_many_nodes(void **state)
{
    WORLD(w);
    char granted[HAMMERS * ROUNDS + 1];
    pid_t pids[HAMMERS];
    int ends[2], status;
    ssize_t num = 0, got;

    assert_int_equal(pipe(ends), 0);
    for (unsigned i = 0; i < HAMMERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            rush(w, i, ends[1]);
    }
    close(ends[1]);
    while ((got = read(ends[0], granted + num, sizeof(granted) - (size_t)num)) > 0)
        num += got;
    close(ends[0]);
    for (unsigned i = 0; i < HAMMERS; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(num, ROUNDS);
    assert_held(w, 10 * ROUNDS, ROUNDS);
}

#define TESTS(s)                                                                                   \
    T(a_key_is_one_requests_at_a_time, s), T(two_of_one_turn_with_one_key_are_one, s),             \
        T(what_is_refused_leaves_its_key_free, s), T(an_answer_is_given_again_on_every_node, s),   \
        T(a_keyed_upload_reserves_nothing, s),                                                     \
        T(a_dead_nodes_key_goes_to_one_that_looks_first, s),                                       \
        T(a_lost_key_whose_answer_was_not_heard_is_looked_for_when_it_is_asked_again, s),          \
        T(a_key_whose_create_nobody_knows_goes_to_the_next_one, s),                                \
        T(a_silent_nodes_key_waits_until_its_create_has_ended, s),                                 \
        T(a_key_is_granted_to_one_of_many_nodes, s)

int main(void)
{
    const struct CMUnitTest tests[] = {BOTH(TESTS)};
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store_fleet_keys", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
