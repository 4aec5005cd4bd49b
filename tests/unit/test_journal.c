/* Who asks the keeper about batches, and who tells it what became of them, until it has heard. The
 * connection is a test's: it answers when told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/log.h"
#include "journal/journal.h"
#include "tenants/ask.h"

/* --- the loop: timers that run when told --- */

static uint64_t now_ms;
static struct loop_timer *armed; /* one is all that the journal has */

static uint64_t do_now_ms(struct loop *loop)
{
    (void)loop;
    return now_ms;
}

static int do_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
    (void)loop;
    timer->due_ms = now_ms + delay_ms;
    timer->slot = 1;
    armed = timer;
    return 0;
}

static void do_stop(struct loop *loop, struct loop_timer *timer)
{
    (void)loop;
    timer->slot = 0;
    if (armed == timer)
        armed = NULL;
}

static const struct loop_ops ops = {do_now_ms, do_start, do_stop, NULL};
static struct loop loop = {&ops};

/* @return how long it had to wait */
static uint64_t run_timer(void)
{
    struct loop_timer *timer = armed;
    uint64_t waited_ms;

    assert_non_null(timer);
    waited_ms = timer->due_ms - now_ms;
    now_ms = timer->due_ms;
    do_stop(&loop, timer);
    timer->cb(timer);
    return waited_ms;
}

/* --- the connection --- */

struct ask_call {
    enum keeper_kind kind;
    char *bytes;
    size_t len;
    ask_cb cb;
    void *arg;
    uint32_t wait_ms;
};

#define MAX_CALLS 64
static struct ask_call *calls[MAX_CALLS]; /* those that were not answered, oldest first */
static unsigned num_calls, num_asked;
static bool is_full;

uint32_t ask_deadline_ms(const struct ask *ask)
{
    (void)ask;
    return 2000;
}

uint32_t ask_patient_ms(const struct ask *ask)
{
    (void)ask;
    return 8000;
}

int ask_start(struct ask *ask, enum keeper_kind kind, const void *bytes, size_t len,
              uint32_t wait_ms, ask_cb cb, void *arg, struct ask_call **out)
{
    struct ask_call *call;

    (void)ask;
    if (is_full)
        return ERR_FULL;
    assert_true(num_calls < MAX_CALLS);
    call = calloc(1, sizeof(*call));
    *call = (struct ask_call){kind, malloc(len + 1), len, cb, arg, wait_ms};
    memcpy(call->bytes, bytes, len);
    calls[num_calls++] = call;
    num_asked++;
    *out = call;
    return 0;
}

static void take_out(struct ask_call *call)
{
    unsigned i = 0;

    while (calls[i] != call)
        i++;
    num_calls--;
    memmove(&calls[i], &calls[i + 1], (num_calls - i) * sizeof(calls[0]));
    free(call->bytes);
    free(call);
}

void ask_cancel(struct ask_call **call)
{
    if (*call != NULL)
        take_out(*call);
    *call = NULL;
}

static void answer_oldest(enum ask_end end, unsigned status, const char *bytes, size_t len)
{
    struct ask_call call;

    assert_true(num_calls > 0);
    call = *calls[0];
    take_out(calls[0]);
    call.cb(call.arg, &(struct ask_answer){end, status, bytes, len});
}

static void take(void)
{
    answer_oldest(ASK_ANSWERED, WIRE_TAKEN, "", 0);
}

static void stay_away(void)
{
    answer_oldest(ASK_DOWN, 0, "", 0);
}

/* --- a journal --- */

static struct journal *journal;

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    now_ms = 1000;
    num_calls = num_asked = 0;
    armed = NULL;
    is_full = false;
    assert_int_equal(journal_new(&loop, NULL, &journal), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    journal_free(journal);
    assert_int_equal(num_calls, 0);
    assert_null(armed);
    return 0;
}

static struct {
    unsigned num;
    uint32_t end;
    bool asked;
    uint64_t limit;
} heard;

static void on_verdict(void *arg, const struct wire_verdict *verdict, bool asked)
{
    assert_null(arg);
    heard.num++;
    heard.end = verdict->end;
    heard.asked = asked;
    heard.limit = verdict->limit;
    assert_string_equal(verdict->answer.id, "");
}

static struct journal_call *ask_intent(void)
{
    struct wire_intent intent = {.id = "i", .tokens = 5};
    struct journal_call *call;

    memset(&heard, 0, sizeof(heard));
    assert_int_equal(journal_intent(journal, &intent, false, on_verdict, NULL, &call), 0);
    assert_int_equal(heard.num, 0); /* never from inside */
    return call;
}

static void an_intent_is_answered_with_the_keepers_verdict(void **state)
{
    struct wire_verdict verdict = {.end = WIRE_FULL, .limit = 77};
    struct wire_intent seen;
    struct strbuf text = STRBUF_INIT;

    (void)state;
    (void)ask_intent();
    assert_int_equal(calls[0]->wait_ms, 2000);
    assert_int_equal(calls[0]->kind, KEEPER_INTENT);
    assert_int_equal(wire_intent_read(calls[0]->bytes, calls[0]->len, &seen), 0);
    assert_int_equal(seen.tokens, 5);
    assert_int_equal(wire_verdict_write(&verdict, &text), 0);
    answer_oldest(ASK_ANSWERED, WIRE_TAKEN, text.data, text.len);
    strbuf_deinit(&text);
    assert_int_equal(heard.num, 1);
    assert_int_equal(heard.end, WIRE_FULL);
    assert_int_equal(heard.limit, 77);
    assert_true(heard.asked);
}

static void a_keeper_that_does_not_answer_is_a_database_that_is_away(void **state)
{
    (void)state;
    (void)ask_intent();
    answer_oldest(ASK_DOWN, 0, "", 0);
    assert_int_equal(heard.end, WIRE_DOWN);
    assert_false(heard.asked); /* nobody has seen it */
    (void)ask_intent();
    answer_oldest(ASK_LOST, 0, "", 0);
    assert_int_equal(heard.end, WIRE_DOWN);
    assert_true(heard.asked); /* perhaps it was written */
    (void)ask_intent();
    answer_oldest(ASK_ANSWERED, KEEPER_NO_SUCH_KIND, "", 0);
    assert_int_equal(heard.end, WIRE_DOWN);
    (void)ask_intent();
    answer_oldest(ASK_ANSWERED, WIRE_TAKEN, "nonsense", 8);
    assert_int_equal(heard.end, WIRE_DOWN);
}

static void who_cancels_is_not_called_back(void **state)
{
    struct journal_call *call;

    (void)state;
    call = ask_intent();
    journal_cancel(&call);
    assert_null(call);
    assert_int_equal(num_calls, 0);
    assert_int_equal(heard.num, 0);
    journal_cancel(&call); /* NULL is fine */
}

static void what_cannot_be_asked_is_not_asked(void **state)
{
    char long_id[WIRE_ID + 2];
    struct wire_intent intent = {.id = long_id};
    struct journal_call *call = NULL;

    (void)state;
    memset(long_id, 'a', sizeof(long_id) - 1);
    long_id[sizeof(long_id) - 1] = '\0';
    assert_int_equal(journal_intent(journal, &intent, false, on_verdict, NULL, &call), ERR_LIMIT);
    intent.id = "i";
    is_full = true;
    assert_int_equal(journal_intent(journal, &intent, false, on_verdict, NULL, &call), ERR_FULL);
    assert_null(call);
}

/* --- told --- */

static int drop(const char *id)
{
    return journal_drop(journal, &(struct wire_drop){.why = WIRE_NOT_MADE, .id = id});
}

static void what_is_told_is_told_once_when_it_is_taken(void **state)
{
    (void)state;
    assert_true(journal_is_idle(journal));
    assert_int_equal(drop("a"), 0);
    assert_false(journal_is_idle(journal));
    assert_int_equal(calls[0]->kind, KEEPER_DROP);
    take();
    assert_true(journal_is_idle(journal));
    assert_int_equal(num_asked, 1);
}

static void it_is_said_again_until_a_keeper_has_it_ever_more_seldom(void **state)
{
    uint64_t last_ms = 0;

    (void)state;
    assert_int_equal(journal_live(journal, &(struct wire_live){.native = "b"}), 0);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t waited_ms;

        if (i % 2 == 0)
            stay_away();
        else
            answer_oldest(ASK_ANSWERED, WIRE_LATER, "", 0);
        assert_int_equal(num_calls, 0);
        waited_ms = run_timer();
        assert_true(waited_ms >= last_ms && waited_ms <= JOURNAL_LAST_MS);
        last_ms = waited_ms;
        assert_int_equal(num_calls, 1);
    }
    assert_int_equal(last_ms, JOURNAL_LAST_MS);
    take();
    assert_true(journal_is_idle(journal));
    assert_int_equal(drop("a"), 0); /* the keeper is back: at once, and after a short pause again */
    stay_away();
    assert_int_equal(run_timer(), JOURNAL_FIRST_MS);
    take();
}

static void while_the_keeper_is_away_what_is_told_waits_behind_it(void **state)
{
    (void)state;
    assert_int_equal(drop("a"), 0);
    stay_away();
    assert_int_equal(drop("b"), 0);
    assert_int_equal(num_calls, 0);
    (void)run_timer();
    assert_int_equal(num_calls, 2);
    take();
    take();
    assert_true(journal_is_idle(journal));
}

static void what_the_keeper_cannot_read_is_not_said_again(void **state)
{
    (void)state;
    assert_int_equal(drop("a"), 0);
    answer_oldest(ASK_ANSWERED, WIRE_UNREADABLE, "", 0);
    assert_true(journal_is_idle(journal));
    assert_null(armed);
}

static void how_a_batch_stands_is_said_once_taken_or_not(void **state)
{
    static const struct wire_seen seen = {.native = "b", .status = "completed"};

    (void)state;
    assert_int_equal(journal_seen(journal, &seen), 0);
    assert_int_equal(calls[0]->kind, KEEPER_SEEN);
    stay_away();
    assert_true(journal_is_idle(journal));
    is_full = true;
    assert_int_equal(journal_seen(journal, &seen), 0);
    assert_true(journal_is_idle(journal));
}

static void what_waits_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(drop("a"), 0);
    stay_away();
    for (unsigned i = 1; i < JOURNAL_KEPT; i++)
        assert_int_equal(drop("a"), 0);
    assert_int_equal(journal_lost(journal), 0);
    assert_int_equal(drop("a"), ERR_FULL);
    assert_int_equal(journal_lost(journal), 1);
    (void)run_timer();
    while (num_calls > 0)
        take();
    assert_true(journal_is_idle(journal));
    assert_int_equal(num_asked, JOURNAL_KEPT + 1);
}

static void an_end_forgets_what_is_under_way(void **state)
{
    (void)state;
    (void)ask_intent();
    assert_int_equal(drop("a"), 0);
    assert_int_equal(num_calls, 2);
    journal_free(journal);
    assert_int_equal(num_calls, 0);
    assert_int_equal(heard.num, 0);
    assert_int_equal(journal_new(&loop, NULL, &journal), 0);
}

static void ids_are_digits_and_differ(void **state)
{
    char a[WIRE_ID + 1], b[WIRE_ID + 1];

    (void)state;
    assert_int_equal(journal_new_id(a), 0);
    assert_int_equal(journal_new_id(b), 0);
    assert_int_equal(strlen(a), WIRE_ID);
    assert_int_equal(strspn(a, "0123456789abcdef"), WIRE_ID);
    assert_string_not_equal(a, b);
}

/* --- what is due, and a batch's story --- */

static unsigned lists, due;

static void on_due(void *arg, const struct wire_due_list *list)
{
    assert_null(arg);
    lists++;
    due = list != NULL ? list->num : UINT32_MAX;
}

static void what_is_due_is_handed_on(void **state)
{
    static struct wire_due_list list;
    static struct wire_due_ask question;
    struct strbuf text = STRBUF_INIT;
    struct journal_call *call;

    (void)state;
    list = (struct wire_due_list){.num = 2};
    question = (struct wire_due_ask){.max = 2};
    assert_int_equal(wire_due_list_write(&list, &text), 0);
    assert_int_equal(journal_due(journal, &question, on_due, NULL, &call), 0);
    answer_oldest(ASK_ANSWERED, WIRE_TAKEN, text.data, text.len);
    strbuf_deinit(&text);
    assert_int_equal(due, 2);
    assert_int_equal(journal_due(journal, &question, on_due, NULL, &call), 0);
    stay_away();
    assert_true(due == UINT32_MAX);
}

static enum wire_story_end story_end;
static char story[16];

static void on_story(void *arg, enum wire_story_end end, const char *json, size_t len)
{
    assert_null(arg);
    story_end = end;
    assert_true(len < sizeof(story));
    memcpy(story, json, len);
    story[len] = '\0';
}

static void a_story_is_told_or_there_is_none(void **state)
{
    struct wire_story question = {.native = "b"};
    struct journal_call *call;

    (void)state;
    assert_int_equal(journal_story(journal, &question, on_story, NULL, &call), 0);
    answer_oldest(ASK_ANSWERED, WIRE_STORY, "[]", 2);
    assert_int_equal(story_end, WIRE_STORY);
    assert_string_equal(story, "[]");
    assert_int_equal(journal_story(journal, &question, on_story, NULL, &call), 0);
    answer_oldest(ASK_ANSWERED, WIRE_NO_STORY, "", 0);
    assert_int_equal(story_end, WIRE_NO_STORY);
    assert_int_equal(journal_story(journal, &question, on_story, NULL, &call), 0);
    answer_oldest(ASK_LOST, 0, "", 0);
    assert_int_equal(story_end, WIRE_STORY_LATER);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_intent_is_answered_with_the_keepers_verdict),
        TEST(a_keeper_that_does_not_answer_is_a_database_that_is_away),
        TEST(who_cancels_is_not_called_back),
        TEST(what_cannot_be_asked_is_not_asked),
        TEST(what_is_told_is_told_once_when_it_is_taken),
        TEST(it_is_said_again_until_a_keeper_has_it_ever_more_seldom),
        TEST(while_the_keeper_is_away_what_is_told_waits_behind_it),
        TEST(what_the_keeper_cannot_read_is_not_said_again),
        TEST(how_a_batch_stands_is_said_once_taken_or_not),
        TEST(what_waits_is_bounded),
        TEST(an_end_forgets_what_is_under_way),
        TEST(ids_are_digits_and_differ),
        TEST(what_is_due_is_handed_on),
        TEST(a_story_is_told_or_there_is_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
