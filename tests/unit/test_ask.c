/* The socket to the keeper from both ends: a worker's questions (ask) and the keeper's answers
 * (calls), over a real loop and a real door. */
#include <setjmp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/clock.h"
#include "core/keeper_door.h"
#include "core/loop_h2o.h"
#include "keeper/calls.h"
#include "tenants/ask.h"

#define DEADLINE_MS 2000 /* of the worker's questions */

#define MAX_HELD 64

static struct keeper_door door;
static h2o_evloop_t *evloop;
static struct loop *loop;
static struct calls *calls;
static struct ask *ask;

/* What a question came to. */
struct outcome {
    bool done;
    enum ask_end end;
    unsigned status;
    size_t len;
    char bytes[64];
};

static struct outcome outcomes[ASK_MAX_CALLS + 1];
static struct ask_call *asked[ASK_MAX_CALLS + 1];
static struct call *held[MAX_HELD]; /* by the keeper: not answered yet */
static unsigned num_held, num_done;

static void on_answer(void *arg, const struct ask_answer *answer)
{
    struct outcome *o = arg;

    assert_false(o->done);
    *o = (struct outcome){true, answer->end, answer->status, answer->len, ""};
    memcpy(o->bytes, answer->bytes,
           answer->len < sizeof(o->bytes) - 1 ? answer->len : sizeof(o->bytes) - 1);
    num_done++;
}

static void hold(void *arg, struct call *call)
{
    (void)arg;
    assert_true(num_held < MAX_HELD);
    held[num_held++] = call;
}

static void open_keeper(void)
{
    assert_int_equal(calls_new(loop, &door, &calls), 0);
    calls_serve(calls, KEEPER_KEY_LOOKUP, hold, NULL);
    calls_serve(calls, KEEPER_ADMIN_CALL, hold, NULL);
}

static int setup(void **state)
{
    (void)state;
    memset(outcomes, 0, sizeof(outcomes));
    memset(asked, 0, sizeof(asked));
    num_held = num_done = 0;
    assert_int_equal(keeper_door_open(&door), 0);
    evloop = h2o_evloop_create();
    loop = loop_h2o_new(evloop);
    assert_non_null(loop);
    assert_int_equal(ask_new(loop, &door, DEADLINE_MS, &ask), 0);
    open_keeper();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    while (num_held > 0)
        call_answer(&held[--num_held], 0, NULL, 0);
    ask_free(ask);
    calls_free(calls);
    loop_h2o_free(loop);
    h2o_evloop_destroy(evloop);
    keeper_door_close(&door);
    return 0;
}

static void turn(void)
{
    assert_int_equal(h2o_evloop_run(evloop, 100), 0);
}

/* The deadline only fails. */
#define UNTIL(condition)                                                                           \
    for (uint64_t give_up_ms_ = clock_now_ms() + 120000; !(condition); turn())                     \
    assert_true(clock_now_ms() < give_up_ms_)

#define PATIENCE_MS 60000 /* of a question that is answered, however busy the machine is */

static void start_for(unsigned nth, enum keeper_kind kind, const char *text, uint32_t wait_ms)
{
    assert_int_equal(
        ask_start(ask, kind, text, strlen(text), wait_ms, on_answer, &outcomes[nth], &asked[nth]),
        0);
}

static void start(unsigned nth, enum keeper_kind kind, const char *text)
{
    start_for(nth, kind, text, PATIENCE_MS);
}

static void a_question_is_answered_on_the_loop(void **state)
{
    (void)state;
    start(0, KEEPER_ECHO, "hello");
    assert_false(outcomes[0].done);
    UNTIL(outcomes[0].done);
    assert_int_equal(outcomes[0].end, ASK_ANSWERED);
    assert_int_equal(outcomes[0].status, 0);
    assert_string_equal(outcomes[0].bytes, "hello");
}

static void answers_come_in_any_order_each_to_its_question(void **state)
{
    (void)state;
    start(0, KEEPER_ADMIN_CALL, "first");
    start(1, KEEPER_ADMIN_CALL, "second");
    UNTIL(num_held == 2);
    assert_memory_equal(held[0]->bytes, "first", 5);
    assert_true(call_is_wanted(held[0], clock_now_ms()));
    call_answer(&held[1], 201, "b", 1);
    UNTIL(outcomes[1].done);
    assert_false(outcomes[0].done);
    call_answer(&held[0], 200, "a", 1);
    UNTIL(outcomes[0].done);
    num_held = 0;
    assert_string_equal(outcomes[0].bytes, "a");
    assert_int_equal(outcomes[0].status, 200);
    assert_string_equal(outcomes[1].bytes, "b");
    assert_int_equal(outcomes[1].status, 201);
}

static void the_longest_message_passes_both_ways_and_a_longer_one_does_not(void **state)
{
    char *bytes = malloc(KEEPER_MESSAGE + 1);

    (void)state;
    assert_non_null(bytes);
    memset(bytes, 'x', KEEPER_MESSAGE + 1);
    assert_int_equal(ask_start(ask, KEEPER_ECHO, bytes, KEEPER_MESSAGE + 1, PATIENCE_MS, on_answer,
                               outcomes, &asked[0]),
                     ERR_LIMIT);
    for (unsigned i = 0; i < 8; i++) /* more than a socket has room for */
        assert_int_equal(ask_start(ask, KEEPER_ECHO, bytes, KEEPER_MESSAGE, PATIENCE_MS, on_answer,
                                   &outcomes[i], &asked[i]),
                         0);
    UNTIL(num_done == 8);
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(outcomes[i].end, ASK_ANSWERED);
        assert_int_equal(outcomes[i].len, KEEPER_MESSAGE);
    }
    start(8, KEEPER_ADMIN_CALL, "x");
    UNTIL(num_held == 1);
    call_answer(&held[--num_held], 200, bytes, KEEPER_MESSAGE + 1);
    UNTIL(outcomes[8].done);
    assert_int_equal(outcomes[8].status, KEEPER_TOO_LONG);
    free(bytes);
}

static void a_kind_that_nobody_serves_is_answered_so(void **state)
{
    (void)state;
    calls_serve(calls, KEEPER_ADMIN_CALL, NULL, NULL);
    start(0, KEEPER_ADMIN_CALL, "");
    UNTIL(outcomes[0].done);
    assert_int_equal(outcomes[0].end, ASK_ANSWERED);
    assert_int_equal(outcomes[0].status, KEEPER_NO_SUCH_KIND);
}

static void who_cancels_is_not_called_back_and_the_others_are(void **state)
{
    (void)state;
    start(0, KEEPER_ADMIN_CALL, "a");
    start(1, KEEPER_ADMIN_CALL, "b");
    UNTIL(num_held == 2);
    ask_cancel(&asked[0]);
    assert_null(asked[0]);
    ask_cancel(&asked[0]);
    call_answer(&held[0], 200, "a", 1);
    call_answer(&held[1], 200, "b", 1);
    num_held = 0;
    UNTIL(outcomes[1].done);
    assert_false(outcomes[0].done);
}

static void a_worker_has_so_many_questions_at_the_keeper_and_the_others_wait(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CALLS_EACH + 8; i++)
        start(i, KEEPER_ADMIN_CALL, "x");
    UNTIL(num_held == CALLS_EACH);
    for (unsigned i = 0; i < 3; i++)
        turn();
    assert_int_equal(num_held, CALLS_EACH);
    call_answer(&held[--num_held], 200, NULL, 0);
    UNTIL(num_done == 1 && num_held == CALLS_EACH);
}

static void of_a_worker_there_are_so_many_questions_and_no_more(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ASK_MAX_CALLS; i++)
        start(i, KEEPER_ECHO, "x");
    assert_int_equal(ask_start(ask, KEEPER_ECHO, "x", 1, PATIENCE_MS, on_answer,
                               &outcomes[ASK_MAX_CALLS], &asked[ASK_MAX_CALLS]),
                     ERR_FULL);
    UNTIL(num_done == ASK_MAX_CALLS);
    start(0, KEEPER_KEY_LOOKUP, "y"); /* there is room again */
}

static void close_keeper(void)
{
    calls_free(calls);
    calls = NULL;
}

static void of_a_dead_keeper_a_question_goes_to_the_next_one_and_an_order_is_lost(void **state)
{
    (void)state;
    start(0, KEEPER_KEY_LOOKUP, "question");
    start(1, KEEPER_ADMIN_CALL, "order");
    UNTIL(num_held == 2);
    close_keeper();
    UNTIL(outcomes[1].done);
    assert_int_equal(outcomes[1].end, ASK_LOST);
    assert_false(call_is_wanted(held[0], clock_now_ms()));
    open_keeper();
    UNTIL(num_held == 3);
    assert_memory_equal(held[2]->bytes, "question", 8);
    call_answer(&held[2], KEEPER_KEY_UNKNOWN, NULL, 0);
    num_held = 2;
    UNTIL(outcomes[0].done);
    assert_int_equal(outcomes[0].status, KEEPER_KEY_UNKNOWN);
}

static void without_a_keeper_nothing_was_done_by_the_deadline(void **state)
{
    (void)state;
    close_keeper();
    keeper_door_close(&door); /* the master is gone, too: nobody can connect */
    start_for(0, KEEPER_ADMIN_CALL, "order", DEADLINE_MS);
    UNTIL(outcomes[0].done);
    assert_int_equal(outcomes[0].end, ASK_DOWN);
    assert_int_equal(keeper_door_open(&door), 0);
    open_keeper();
    start(1, KEEPER_ECHO, "here again");
    UNTIL(outcomes[1].done);
    assert_int_equal(outcomes[1].end, ASK_ANSWERED);
}

static void a_keeper_that_does_not_answer_in_time_has_lost_the_question(void **state)
{
    (void)state;
    start(1, KEEPER_ECHO, "all connections are open");
    UNTIL(outcomes[1].done);
    memset(&outcomes[1], 0, sizeof(outcomes[1]));
    start_for(0, KEEPER_ADMIN_CALL, "order", DEADLINE_MS);
    UNTIL(outcomes[0].done);
    assert_int_equal(outcomes[0].end, ASK_LOST);
    assert_int_equal(num_held, 1);
    assert_false(call_is_wanted(held[0], clock_now_ms()));
    call_answer(&held[--num_held], 200, "too late", 8);
    start(1, KEEPER_ECHO, "x"); /* the late answer is nobody's */
    UNTIL(outcomes[1].done);
    assert_string_equal(outcomes[1].bytes, "x");
}

static void what_an_answer_about_a_key_comes_to(void **state)
{
    struct ask_answer answer = {.end = ASK_ANSWERED, .status = KEEPER_KEY_PUBLISHED, .bytes = ""};

    (void)state;
    assert_int_equal(ask_key_result(&answer), KEEPER_KEY_PUBLISHED);
    answer.status = KEEPER_KEY_UNKNOWN;
    assert_int_equal(ask_key_result(&answer), KEEPER_KEY_UNKNOWN);
    answer.status = KEEPER_NO_SUCH_KIND;
    assert_int_equal(ask_key_result(&answer), KEEPER_KEY_CANNOT_TELL);
    answer.status = KEEPER_KEY_UNKNOWN;
    answer.end = ASK_LOST;
    assert_int_equal(ask_key_result(&answer), KEEPER_KEY_CANNOT_TELL);
}

/* --- strangers --- */

static int connect_silently(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd != -1);
    assert_int_equal(connect(fd, (struct sockaddr *)&door.address, door.address_len), 0);
    return fd;
}

static bool is_cut(int fd)
{
    char byte;
    ssize_t len = recv(fd, &byte, 1, 0);

    return len == 0 || (len == -1 && errno != EAGAIN);
}

static void who_does_not_know_the_token_is_sent_away(void **state)
{
    struct keeper_head head = {.id = 1, .deadline_ms = UINT64_MAX, .kind = KEEPER_ECHO};
    int fd = connect_silently();

    (void)state;
    assert_int_equal(send(fd, &head, sizeof(head), 0), sizeof(head));
    UNTIL(is_cut(fd));
    close(fd);
    fd = connect_silently();
    assert_int_equal(send(fd, door.address.sun_path, KEEPER_TOKEN, 0), KEEPER_TOKEN);
    UNTIL(is_cut(fd));
    close(fd);
    start(0, KEEPER_ECHO, "still here");
    UNTIL(outcomes[0].done);
    assert_int_equal(outcomes[0].end, ASK_ANSWERED);
}

static int connect_as_a_worker(void)
{
    int fd = -1;

    assert_int_equal(keeper_door_connect(&door, &fd), 0);
    return fd;
}

static void a_message_that_is_none_ends_its_connection(void **state)
{
    static char bytes[sizeof(struct keeper_head) + KEEPER_MESSAGE + 1];
    struct keeper_head head = {.id = 1, .deadline_ms = UINT64_MAX, .kind = KEEPER_ECHO, .len = 5};
    int fd;

    (void)state;
    for (size_t len = 0; len <= sizeof(head) + 4; len++) {
        memcpy(bytes, &head, sizeof(head));
        fd = connect_as_a_worker();
        assert_int_equal(send(fd, bytes, len, 0), len);
        UNTIL(is_cut(fd));
        close(fd);
    }
    head.len = KEEPER_MESSAGE + 1;
    memcpy(bytes, &head, sizeof(head));
    fd = connect_as_a_worker();
    assert_int_equal(send(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    UNTIL(is_cut(fd));
    close(fd);
}

static unsigned open_descriptors(void)
{
    unsigned num = 0;

    for (int fd = 0; fd < 256; fd++)
        num += fcntl(fd, F_GETFD) != -1;
    return num;
}

static void a_descriptor_that_is_passed_is_not_taken(void **state)
{
    struct keeper_head head = {
        .id = 1, .deadline_ms = UINT64_MAX, .kind = KEEPER_ADMIN_CALL, .len = 0};
    struct iovec part = {&head, sizeof(head)};
    char room[CMSG_SPACE(sizeof(int))] = {0};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
    struct cmsghdr *control = CMSG_FIRSTHDR(&message);
    int fd = connect_as_a_worker();
    unsigned before;

    (void)state;
    start(0, KEEPER_ECHO, "x"); /* all connections are open */
    UNTIL(outcomes[0].done);
    before = open_descriptors();
    *control = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(control), &fd, sizeof(fd));
    assert_true(sendmsg(fd, &message, 0) != -1);
    UNTIL(num_held == 1);
    assert_int_equal(open_descriptors(), before);
    close(fd);
}

static void a_worker_believes_nobody_but_its_own_masters_door(void **state)
{
    int fd = -1;

    (void)state;
    door.pid++; /* somebody else listens there */
    assert_int_equal(keeper_door_connect(&door, &fd), ERR_FORGED);
    assert_int_equal(fd, -1);
}

static void a_keeper_at_its_end_answers_what_it_has_and_takes_nothing_new(void **state)
{
    (void)state;
    start(0, KEEPER_ADMIN_CALL, "a");
    UNTIL(num_held == 1);
    start(1, KEEPER_ADMIN_CALL, "sent before it is known");
    calls_drain(calls);
    assert_false(calls_are_done(calls));
    UNTIL(num_held == 2);
    call_answer(&held[--num_held], 201, NULL, 0);
    UNTIL(outcomes[1].done);
    assert_int_equal(outcomes[1].status, 201);
    start(2, KEEPER_ADMIN_CALL, "c");
    for (int i = 0; i < 3; i++)
        turn();
    assert_int_equal(num_held, 1);
    call_answer(&held[--num_held], 200, "done", 4);
    UNTIL(outcomes[0].done);
    assert_string_equal(outcomes[0].bytes, "done");
    UNTIL(calls_are_done(calls));
    close_keeper();
    open_keeper();
    UNTIL(num_held == 1); /* the next one is asked */
    assert_memory_equal(held[0]->bytes, "c", 1);
}

static void the_patient_wait_no_longer_than_their_grant_leaves_them(void **state)
{
    struct ask *slow;

    (void)state;
    assert_int_equal(ask_deadline_ms(ask), DEADLINE_MS);
    assert_int_equal(ask_patient_ms(ask), 4 * DEADLINE_MS);
    assert_int_equal(ask_new(loop, &door, 15000, &slow), 0);
    assert_int_equal(ask_deadline_ms(slow), 15000);
    assert_int_equal(ask_patient_ms(slow), 20000);
    ask_free(slow);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_question_is_answered_on_the_loop),
        TEST(answers_come_in_any_order_each_to_its_question),
        TEST(the_longest_message_passes_both_ways_and_a_longer_one_does_not),
        TEST(a_kind_that_nobody_serves_is_answered_so),
        TEST(who_cancels_is_not_called_back_and_the_others_are),
        TEST(a_worker_has_so_many_questions_at_the_keeper_and_the_others_wait),
        TEST(of_a_worker_there_are_so_many_questions_and_no_more),
        TEST(of_a_dead_keeper_a_question_goes_to_the_next_one_and_an_order_is_lost),
        TEST(without_a_keeper_nothing_was_done_by_the_deadline),
        TEST(a_keeper_that_does_not_answer_in_time_has_lost_the_question),
        TEST(what_an_answer_about_a_key_comes_to),
        TEST(who_does_not_know_the_token_is_sent_away),
        TEST(a_message_that_is_none_ends_its_connection),
        TEST(a_descriptor_that_is_passed_is_not_taken),
        TEST(a_worker_believes_nobody_but_its_own_masters_door),
        TEST(a_keeper_at_its_end_answers_what_it_has_and_takes_nothing_new),
        TEST(the_patient_wait_no_longer_than_their_grant_leaves_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
