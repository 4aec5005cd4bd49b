/* Walking a provider's list: what follows a page, by the rules that hold for all providers. The
 * pages are given by hand; the reader asks for nothing itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "calls/list_reader.h"

static struct loop_timer *timer; /* the one that runs */

static int do_timer_start(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
    (void)loop;
    (void)delay_ms;
    timer = t;
    return 0;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *t)
{
    (void)loop;
    if (timer == t)
        timer = NULL;
}

static const struct loop_ops ops = {.timer_start = do_timer_start, .timer_stop = do_timer_stop};
static struct loop loop = {.ops = &ops};
static struct slices slices;
static struct list_reader reader;
static char shown[512];      /* ids of the objects, "-" for one without */
static int ended;            /* pages */
static enum list_page said;  /* of the last one */
static int slice_ends, stop; /* slices; and at which of them the caller has enough, 0: never */

static void on_object(void *arg, const struct list_object *object)
{
    assert_ptr_equal(arg, &reader);
    snprintf(shown + strlen(shown), sizeof(shown) - strlen(shown), "%s ",
             object->id[0] != '\0' ? object->id : "-");
}

static void on_slice(void *arg)
{
    assert_ptr_equal(arg, &reader);
    if (++slice_ends == stop)
        list_reader_end(&reader);
}

static void on_page(void *arg, enum list_page page)
{
    assert_ptr_equal(arg, &reader);
    assert_false(list_reader_is_reading(&reader));
    ended++;
    said = page;
}

static int set_up(void **state)
{
    (void)state;
    reader = (struct list_reader){.loop = &loop,
                                  .slices = &slices,
                                  .max_pages = 4,
                                  .on_object = on_object,
                                  .on_slice = on_slice,
                                  .on_page = on_page,
                                  .arg = &reader};
    list_reader_begin(&reader);
    shown[0] = '\0';
    ended = slice_ends = stop = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    list_reader_end(&reader);
    assert_null(timer);
    return 0;
}

static void run(void)
{
    while (timer != NULL) {
        struct loop_timer *t = timer;

        timer = NULL;
        t->cb(t);
    }
}

/* A page of objects with these ids, "-": without one. @param has_more  NULL: not told */
static enum list_page page(const char *ids, const char *has_more)
{
    struct strbuf body = STRBUF_INIT;
    int before = ended;

    strbuf_adds(&body, "{\"data\":[");
    for (const char *id = ids; *id != '\0'; id += strspn(id, " ")) {
        int len = (int)strcspn(id, " ");

        strbuf_adds(&body, id != ids ? "," : "");
        if (*id == '-')
            strbuf_adds(&body, "{}");
        else
            strbuf_addf(&body, "{\"id\":\"%.*s\"}", len, id);
        id += len;
    }
    strbuf_adds(&body, "]");
    if (has_more != NULL)
        strbuf_addf(&body, ",\"has_more\":%s", has_more);
    strbuf_adds(&body, "}");
    assert_int_equal(list_reader_page(&reader, strbuf_str(&body), body.len), 0);
    strbuf_deinit(&body);
    assert_int_equal(ended, before);
    run();
    assert_int_equal(ended, before + 1);
    return said;
}

static const char *query(void)
{
    static char text[64];
    struct strbuf out = STRBUF_INIT;

    list_reader_query(&reader, "limit=2", &out);
    snprintf(text, sizeof(text), "%s", strbuf_str(&out));
    strbuf_deinit(&out);
    return text;
}

static void a_page_begins_behind_the_last_object_of_the_one_before(void **state)
{
    (void)state;
    assert_string_equal(query(), "limit=2");
    assert_int_equal(page("a b", "true"), LIST_PAGE_MORE);
    assert_string_equal(query(), "limit=2&after=b");
    assert_int_equal(page("c", "false"), LIST_PAGE_LAST);
    assert_string_equal(shown, "a b c ");
    assert_int_equal(reader.pages, 2);
}

static void a_provider_that_ignores_after_gives_the_first_page_for_ever(void **state)
{
    (void)state;
    assert_int_equal(page("a b", "true"), LIST_PAGE_MORE);
    assert_int_equal(page("a b", "true"), LIST_PAGE_AGAIN);
    assert_true(reader.again);
    assert_true(reader.told);
}

static void a_list_that_does_not_say_has_more_ends_with_an_empty_page(void **state)
{
    (void)state;
    assert_int_equal(page("a b", NULL), LIST_PAGE_MORE);
    assert_false(reader.told);
    assert_int_equal(page("", NULL), LIST_PAGE_LAST);
}

static void a_list_that_does_not_say_has_more_and_ignores_after_comes_again(void **state)
{
    (void)state;
    assert_int_equal(page("a b", NULL), LIST_PAGE_MORE);
    assert_int_equal(page("a b", NULL), LIST_PAGE_AGAIN);
    assert_false(reader.told);
}

static void a_page_that_begins_with_its_cursor_is_read_on_behind_it(void **state)
{
    (void)state;
    assert_int_equal(page("a b", "true"), LIST_PAGE_MORE);
    assert_int_equal(page("b c", "true"), LIST_PAGE_MORE);
    assert_false(reader.again);
    assert_string_equal(query(), "limit=2&after=c");
    assert_int_equal(page("c d", "false"), LIST_PAGE_LAST);
    assert_string_equal(shown, "a b c d ");
}

static void a_page_of_nothing_but_its_cursor_leads_nowhere(void **state)
{
    (void)state;
    assert_int_equal(page("a b", "true"), LIST_PAGE_MORE);
    assert_int_equal(page("b", "true"), LIST_PAGE_AGAIN);
    assert_string_equal(shown, "a b ");
}

static void a_list_that_goes_on_behind_nothing_is_left(void **state)
{
    (void)state;
    assert_int_equal(page("", "true"), LIST_PAGE_NOWHERE);
    assert_int_equal(reader.objects, 0);
    list_reader_begin(&reader);
    assert_int_equal(page("- -", "true"), LIST_PAGE_NOWHERE);
    assert_int_equal(reader.objects, 2);
    assert_string_equal(shown, "- - ");
}

static void an_object_without_an_id_is_shown_and_is_no_cursor(void **state)
{
    (void)state;
    assert_int_equal(page("- a b -", "true"), LIST_PAGE_MORE);
    assert_string_equal(query(), "limit=2&after=b");
    assert_int_equal(page("- a b -", "true"), LIST_PAGE_AGAIN);
}

static void a_list_without_end_is_left_after_so_many_pages(void **state)
{
    static const char *const pages[] = {"a b", "c d", "e f"};

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(page(pages[i], "true"), LIST_PAGE_MORE);
    assert_int_equal(page("g h", "true"), LIST_PAGE_BOUND);
}

static void the_last_page_that_may_be_read_may_be_the_last_one_that_there_is(void **state)
{
    static const char *const pages[] = {"a b", "c d", "e f"};

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(page(pages[i], "true"), LIST_PAGE_MORE);
    assert_int_equal(page("g h", "false"), LIST_PAGE_LAST);
}

static void what_is_no_list_is_unreadable(void **state)
{
    static const char *const bodies[] = {"", "<html></html>", "{\"data\":[{\"id\":\"a\"}", "[]"};

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        assert_int_equal(list_reader_page(&reader, bodies[i], strlen(bodies[i])), 0);
        run();
        assert_int_equal(ended, i + 1);
        assert_int_equal(said, LIST_PAGE_UNREADABLE);
    }
    assert_int_equal(list_reader_page(&reader, NULL, 0), 0);
    run();
    assert_int_equal(said, LIST_PAGE_UNREADABLE);
}

static void a_list_that_begins_anew_begins_at_the_top(void **state)
{
    (void)state;
    assert_int_equal(page("a b", "true"), LIST_PAGE_MORE);
    list_reader_begin(&reader);
    assert_string_equal(query(), "limit=2");
    assert_int_equal(page("a b", "true"), LIST_PAGE_MORE);
    assert_int_equal(reader.pages, 1);
}

/* @return a page of so many objects of about a kilobyte */
static char *long_page(int num)
{
    struct strbuf body = STRBUF_INIT;

    strbuf_adds(&body, "{\"data\":[");
    for (int i = 0; i < num; i++)
        strbuf_addf(&body, "%s{\"id\":\"%d\",\"pad\":\"%01000d\"}", i > 0 ? "," : "", i, i);
    strbuf_adds(&body, "]}");
    return strbuf_take(&body);
}

static void a_long_page_is_read_in_slices(void **state)
{
    char *body = long_page(100);

    (void)state;
    assert_int_equal(list_reader_page(&reader, body, strlen(body)), 0);
    run();
    free(body);
    assert_int_equal(said, LIST_PAGE_MORE);
    assert_int_equal(reader.objects, 100);
    assert_in_range(slice_ends, 3, 4);
}

static void who_has_enough_ends_a_page_between_two_slices(void **state)
{
    char *body = long_page(100);

    (void)state;
    stop = 1;
    assert_int_equal(list_reader_page(&reader, body, strlen(body)), 0);
    run();
    free(body);
    assert_int_equal(slice_ends, 1);
    assert_int_equal(ended, 0);
    assert_false(list_reader_is_reading(&reader));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_page_begins_behind_the_last_object_of_the_one_before),
        T(a_provider_that_ignores_after_gives_the_first_page_for_ever),
        T(a_list_that_does_not_say_has_more_ends_with_an_empty_page),
        T(a_list_that_does_not_say_has_more_and_ignores_after_comes_again),
        T(a_page_that_begins_with_its_cursor_is_read_on_behind_it),
        T(a_page_of_nothing_but_its_cursor_leads_nowhere),
        T(a_list_that_goes_on_behind_nothing_is_left),
        T(an_object_without_an_id_is_shown_and_is_no_cursor),
        T(a_list_without_end_is_left_after_so_many_pages),
        T(the_last_page_that_may_be_read_may_be_the_last_one_that_there_is),
        T(what_is_no_list_is_unreadable),
        T(a_list_that_begins_anew_begins_at_the_top),
        T(a_long_page_is_read_in_slices),
        T(who_has_enough_ends_a_page_between_two_slices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
