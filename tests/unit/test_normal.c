/* Answers of all providers in OpenAI's shapes: every oddity of providers 2.4 and 2.5. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "upstream/normal.h"

/* One document; `text` may use ' for ". */
static struct json *parse(struct json_doc *doc, const char *text)
{
    char *copy = strdup(text);
    struct json_error error;
    struct json *root;

    assert_non_null(copy);
    for (char *c = copy; *c != '\0'; c++)
        *c = *c == '\'' ? '"' : *c;
    root = json_parse(doc, copy, strlen(copy), &error);
    if (root == NULL)
        fail_msg("%s: %s", text, error.message);
    free(copy);
    return root;
}

static void assert_json(const struct json *v, const char *want)
{
    struct strbuf out = STRBUF_INIT;
    char *copy = strdup(want);

    assert_non_null(copy);
    for (char *c = copy; *c != '\0'; c++)
        *c = *c == '\'' ? '"' : *c;
    json_write(v, &out);
    assert_string_equal(strbuf_str(&out), copy);
    strbuf_deinit(&out);
    free(copy);
}

static void assert_file(const char *text, int64_t hint, const char *want)
{
    struct json_doc *doc = json_doc_new();
    struct json *file = parse(doc, text);

    normal_file(doc, file, hint);
    assert_json(file, want);
    normal_file(doc, file, hint); /* twice is once */
    assert_json(file, want);
    json_doc_free(doc);
}

/* The value of one member after normalising a batch, printed. */
static void assert_batch_member(const char *text, const char *endpoint, const char *key,
                                const char *want)
{
    struct json_doc *doc = json_doc_new();
    struct json *batch = parse(doc, text);

    normal_batch(doc, batch, endpoint);
    assert_non_null(json_get(batch, key));
    assert_json(json_get(batch, key), want);
    json_doc_free(doc);
}

static void a_file_of_openai_stays_as_it_is(void **state)
{
    const char *text = "{'id':'file-7','object':'file','bytes':48213,'created_at':1790000000,'"
                       "expires_at':1792592000,"
                       "'filename':'a.jsonl','purpose':'batch','status':'processed','status_"
                       "details':null,'new':{'x':1.50}}";

    (void)state;
    assert_file(text, 5, text);
}

static void a_pending_file_is_shown_as_uploaded_so_that_helpers_go_on_waiting(void **state)
{
    (void)state;
    assert_file("{'id':'f','status':'pending','bytes':null}", 77,
                "{'id':'f','status':'uploaded','bytes':77,'object':'file','status_details':null}");
    assert_file("{'object':'','status':'Running','bytes':1,'status_details':''}", -1,
                "{'object':'file','status':'uploaded','bytes':1,'status_details':null}");
    assert_file("{'object':'file','status':'Error','bytes':'12','status_details':'why'}", -1,
                "{'object':'file','status':'error','bytes':12,'status_details':'why'}");
    assert_file("{'object':'file','status':'deleted','bytes':0,'status_details':null}", 9,
                "{'object':'file','status':'deleted','bytes':0,'status_details':null}");
}

static void a_file_without_bytes_or_status_gets_both(void **state)
{
    (void)state;
    assert_file("{'id':'f'}", -1,
                "{'id':'f','object':'file','status':'processed','bytes':0,'status_details':null}");
    assert_file(
        "{'id':'f'}", 48213,
        "{'id':'f','object':'file','status':'processed','bytes':48213,'status_details':null}");
}

static void unknown_statuses_of_files_pass_through(void **state)
{
    (void)state;
    assert_file("{'object':'file','status':'quarantined','bytes':1,'status_details':null}", 0,
                "{'object':'file','status':'quarantined','bytes':1,'status_details':null}");
    assert_file("{'object':'file','status':7,'bytes':1,'status_details':null}", 0,
                "{'object':'file','status':7,'bytes':1,'status_details':null}");
}

static void iso_times_become_unix_seconds(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"'2026-09-21T14:13:20Z'", "1790000000"},
        {"'2026-09-21T14:13:20.1234567Z'", "1790000000"},
        {"'2026-09-21T16:13:20+02:00'", "1790000000"},
        {"'2026-09-21T09:43:20-0430'", "1790000000"},
        {"'2026-09-21 14:13:20'", "1790000000"},
        {"'1790000000'", "1790000000"},
        {"1790000000.75", "1790000000"},
        {"1.79e9", "1790000000"},
        {"1790000000", "1790000000"},
        {"'2024-02-29T00:00:00Z'", "1709164800"},
        {"''", "null"},
        {"null", "null"},
        /* what is no time stays */
        {"'2023-02-29T00:00:00Z'", "'2023-02-29T00:00:00Z'"},
        {"'2026-13-01T00:00:00Z'", "'2026-13-01T00:00:00Z'"},
        {"'2026-01-01T25:00:00Z'", "'2026-01-01T25:00:00Z'"},
        {"'2026-01-01T00:00:00X'", "'2026-01-01T00:00:00X'"},
        {"'2026-01-01'", "'2026-01-01'"},
        {"'soon'", "'soon'"},
        {"'99999999999999999999'", "'99999999999999999999'"},
        {"[1]", "[1]"},
        {"1e300", "1e300"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[128];
        snprintf(text, sizeof(text), "{'created_at':%s}", rows[i].in);
        assert_batch_member(text, NULL, "created_at", rows[i].out);
    }
}

#define EMPTY_COUNTS "'request_counts':{'total':0,'completed':0,'failed':0}"

static void an_empty_time_of_running_says_that_a_batch_has_not_run(void **state)
{
    (void)state;
    assert_batch_member("{'in_progress_at':''}", NULL, "request_counts",
                        "{'total':0,'completed':0,'failed':0}");
    assert_batch_member("{'in_progress_at':1790000000}", NULL, "request_counts", "null");
}

static void a_batch_has_all_keys_in_the_order_of_real_answers(void **state)
{
    struct json_doc *doc = json_doc_new();
    struct json *batch =
        parse(doc, "{'zeta':1,'status':'Validating','id':'batch_1','alpha':{'b':2}}");

    (void)state;
    normal_batch(doc, batch, "/v1/embeddings");
    assert_json(batch, "{'id':'batch_1','object':'batch','endpoint':'/v1/"
                       "embeddings','model':null,'errors':null,'input_file_id':null,"
                       "'completion_window':null,'status':'validating','output_file_id':null,'"
                       "error_file_id':null,'created_at':null,"
                       "'in_progress_at':null,'expires_at':null,'finalizing_at':null,'completed_at'"
                       ":null,'failed_at':null,"
                       "'expired_at':null,'cancelling_at':null,'cancelled_at':null," EMPTY_COUNTS
                       ",'usage':null,'metadata':null,'zeta':1,'alpha':{'b':2}}");
    json_doc_free(doc);
}

static void normalising_a_batch_twice_changes_nothing_more(void **state)
{
    struct json_doc *doc = json_doc_new();
    struct json *batch =
        parse(doc, "{'x':[],'request_counts':{'total':3,'completed':2,'failed':1,'queued':9},'"
                   "metadata':{'team':'a'},"
                   "'usage':{'total_tokens':5},'model':'m','errors':{'object':'list','data':[]}}");
    struct strbuf once = STRBUF_INIT, twice = STRBUF_INIT;

    (void)state;
    normal_batch(doc, batch, NULL);
    json_write(batch, &once);
    normal_batch(doc, batch, NULL);
    json_write(batch, &twice);
    assert_string_equal(strbuf_str(&once), strbuf_str(&twice));
    assert_non_null(strstr(strbuf_str(&once), "\"queued\":9"));
    strbuf_deinit(&once);
    strbuf_deinit(&twice);
    json_doc_free(doc);
}

static void empty_ids_become_null(void **state)
{
    const char *text = "{'output_file_id':'','error_file_id':'','input_file_id':'file-1','error_"
                       "blob':'','input_blob':'https://b'}";

    (void)state;
    assert_batch_member(text, NULL, "output_file_id", "null");
    assert_batch_member(text, NULL, "error_file_id", "null");
    assert_batch_member(text, NULL, "input_file_id", "'file-1'");
    assert_batch_member(text, NULL, "error_blob", "null");
    assert_batch_member(text, NULL, "input_blob", "'https://b'");
}

static void capitals_leave_a_status(void **state)
{
    (void)state;
    assert_batch_member("{'status':'Validating'}", NULL, "status", "'validating'");
    assert_batch_member("{'status':'InProgress'}", NULL, "status", "'in_progress'");
    assert_batch_member("{'status':'IN_PROGRESS'}", NULL, "status", "'in_progress'");
    assert_batch_member("{'status':'paused_by_vendor'}", NULL, "status", "'paused_by_vendor'");
}

static void missing_counts_are_zero(void **state)
{
    (void)state;
    assert_batch_member("{'request_counts':{'total':null,'completed':null,'failed':null}}", NULL,
                        "request_counts", "{'total':0,'completed':0,'failed':0}");
    assert_batch_member("{'request_counts':null}", NULL, "request_counts",
                        "{'total':0,'completed':0,'failed':0}");
    assert_batch_member("{'request_counts':{'total':'3','failed':1.0}}", NULL, "request_counts",
                        "{'total':3,'failed':1,'completed':0}");
}

static void counts_that_a_batch_that_ran_does_not_tell_are_null(void **state)
{
    static const char *const ran[] = {"'in_progress'", "'Finalizing'", "'completed'",
                                      "'expired'",     "'cancelling'", "'cancelled'"};

    (void)state;
    for (size_t i = 0; i < sizeof(ran) / sizeof(ran[0]); i++) {
        char text[128];

        snprintf(text, sizeof(text), "{'status':%s}", ran[i]);
        assert_batch_member(text, NULL, "request_counts", "null");
        snprintf(text, sizeof(text), "{'status':%s,'request_counts':null}", ran[i]);
        assert_batch_member(text, NULL, "request_counts", "null");
        snprintf(text, sizeof(text), "{'status':%s,'request_counts':{'total':2}}", ran[i]);
        assert_batch_member(text, NULL, "request_counts", "{'total':2,'completed':0,'failed':0}");
    }
    assert_batch_member("{'status':'failed','in_progress_at':5}", NULL, "request_counts", "null");
    assert_batch_member("{'status':'failed'}", NULL, "request_counts",
                        "{'total':0,'completed':0,'failed':0}");
    assert_batch_member("{'status':'validating'}", NULL, "request_counts",
                        "{'total':0,'completed':0,'failed':0}");
}

static void empty_metadata_of_a_provider_stays_empty(void **state)
{
    (void)state;
    assert_batch_member("{'metadata':{}}", NULL, "metadata", "{}");
    assert_batch_member("{'metadata':null}", NULL, "metadata", "null");
}

static void the_lines_of_errors_are_integers(void **state)
{
    (void)state;
    assert_batch_member("{'errors':{'data':[{'code':'c','message':'m','line':'7'},{'code':'d','"
                        "line':''},{'line':3,'param':'p'},"
                        "{'line':'x'},5]}}",
                        NULL, "errors",
                        "{'data':[{'code':'c','message':'m','line':7,'param':null},{'code':'d','"
                        "line':null,'param':null},"
                        "{'line':3,'param':'p'},{'line':'x','param':null},5],'object':'list'}");
    assert_batch_member("{'errors':[{'code':'c','line':1,'param':null}]}", NULL, "errors",
                        "{'object':'list','data':[{'code':'c','line':1,'param':null}]}");
    assert_batch_member("{'errors':{}}", NULL, "errors", "{'object':'list','data':[]}");
    assert_batch_member("{'errors':''}", NULL, "errors", "null");
}

static void clients_see_the_endpoint_that_they_sent(void **state)
{
    (void)state;
    assert_batch_member("{'endpoint':'/chat/completions'}", "/v1/chat/completions", "endpoint",
                        "'/v1/chat/completions'");
    assert_batch_member("{'endpoint':'/v1/chat/completions'}", "/chat/completions", "endpoint",
                        "'/chat/completions'");
    assert_batch_member("{'endpoint':'/chat/completions'}", NULL, "endpoint",
                        "'/v1/chat/completions'");
    assert_batch_member("{'endpoint':'/v1/responses'}", NULL, "endpoint", "'/v1/responses'");
    assert_batch_member("{'endpoint':'/something/new'}", NULL, "endpoint", "'/something/new'");
    assert_batch_member("{'endpoint':null}", NULL, "endpoint", "null");
}

static void our_own_metadata_is_never_shown(void **state)
{
    (void)state;
    assert_batch_member("{'metadata':{'tranche':'v1.x','team':'a'}}", NULL, "metadata",
                        "{'team':'a'}");
    assert_batch_member("{'metadata':{'tranche':'v1.x'}}", NULL, "metadata", "null");
    assert_batch_member("{'metadata':{'Tranche':'mine'}}", NULL, "metadata", "{'Tranche':'mine'}");
    assert_batch_member("{'metadata':{}}", NULL, "metadata", "{}");
}

static void a_batch_with_very_many_members_is_bounded_work(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json *batch;

    (void)state;
    strbuf_adds(&text, "{'status':'Completed'");
    for (int i = 0; i < 3000; i++)
        strbuf_addf(&text, ",'k%d':%d", i, i);
    strbuf_adds(&text, "}");
    batch = parse(doc, text.data);
    normal_batch(doc, batch, NULL);
    assert_string_equal(json_get_str(batch, "status"), "completed");
    assert_int_equal(json_size(batch), 3000 + 22);
    strbuf_deinit(&text);
    json_doc_free(doc);
}

static void what_is_no_object_is_left_alone(void **state)
{
    struct json_doc *doc = json_doc_new();
    struct json *v = parse(doc, "[1]");

    (void)state;
    normal_file(doc, v, 1);
    normal_batch(doc, v, NULL);
    normal_file(doc, NULL, 1);
    normal_batch(doc, NULL, NULL);
    assert_json(v, "[1]");
    json_doc_free(doc);
}

static void a_deletion_answers_alike_everywhere(void **state)
{
    struct json_doc *doc = json_doc_new();

    (void)state;
    assert_json(normal_deletion(doc, NULL, "file-x-t1"),
                "{'id':'file-x-t1','object':'file','deleted':true}");
    assert_json(
        normal_deletion(doc, parse(doc, "{'object':'file','deleted':true,'id':'file-x','more':1}"),
                        "file-x-t1"),
        "{'id':'file-x-t1','object':'file','deleted':true,'more':1}");
    assert_json(normal_deletion(doc, parse(doc, "{'deleted':false}"), "f"),
                "{'id':'f','object':'file','deleted':false}");
    assert_json(normal_deletion(doc, parse(doc, "'ok'"), "f"),
                "{'id':'f','object':'file','deleted':true}");
    json_doc_free(doc);
}

static void a_list_of_either_form_is_found(void **state)
{
    struct json_doc *doc = json_doc_new();

    (void)state;
    assert_json(normal_list_data(parse(doc, "{'object':'list','data':[1,2]}")), "[1,2]");
    assert_json(normal_list_data(parse(doc, "{'value':[3]}")), "[3]");
    assert_json(normal_list_data(parse(doc, "{'data':null,'value':[]}")), "[]");
    assert_null(normal_list_data(parse(doc, "{'data':{}}")));
    assert_null(normal_list_data(parse(doc, "[1]")));
    assert_null(normal_list_data(NULL));
    json_doc_free(doc);
}

/* As long as a status can be once each capital letter has got its underscore, and longer. */
static void a_status_of_any_length_is_shown(void **state)
{
    (void)state;
    for (size_t len = 1; len < 400; len += len < 140 ? 1 : 51) {
        struct json_doc *doc = json_doc_new();
        struct json *file = json_new_object(doc);
        char status[400], want[801];
        size_t n = 0;

        for (size_t i = 0; i < len; i++) {
            status[i] = i % 2 != 0 ? 'X' : 'y';
            if (i % 2 != 0)
                want[n++] = '_';
            want[n++] = i % 2 != 0 ? 'x' : 'y';
        }
        status[len] = want[n] = '\0';
        json_set(doc, file, "status", json_new_string(doc, status, len));
        normal_file(doc, file, -1);
        assert_string_equal(json_get_str(file, "status"), len <= 64 ? want : status);
        json_doc_free(doc);
    }
}

/* "zz\0x" and "zz" are two names. */
static void a_name_with_a_nul_in_it_is_no_other_name(void **state)
{
    static const char text[] = "{\"zz\\u0000x\":1,\"id\":\"a\"}";
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *batch = json_parse(doc, text, strlen(text), &error), *gone;

    (void)state;
    gone = normal_deletion(doc, batch, "file-1");
    assert_null(json_get(gone, "zz"));
    normal_batch(doc, batch, NULL);
    assert_null(json_get(batch, "zz"));
    json_doc_free(doc);
}

static bool time_of(const char *text, int64_t *out)
{
    struct json_doc *doc = json_doc_new();
    bool is_time = normal_time(json_new_string(doc, text, strlen(text)), out);

    json_doc_free(doc);
    return is_time;
}

/* Each part of a time at its first and last value, and one beyond. */
static void times_that_no_clock_shows_are_no_times(void **state)
{
    static const char *const good[] = {"1970-01-01T00:00:00Z",      "2024-02-29T23:59:60Z",
                                       "2024-12-31T00:00:00+23:59", "2024-04-30T00:00:00-00:00",
                                       "2023-02-28T00:00:00.1234Z", "999999999999999999"};
    static const char *const bad[] = {"1969-12-31T00:00:00Z",
                                      "2024-00-01T00:00:00Z",
                                      "2024-13-01T00:00:00Z",
                                      "2024-01-00T00:00:00Z",
                                      "2024-01-32T00:00:00Z",
                                      "2024-04-31T00:00:00Z",
                                      "2023-02-29T00:00:00Z",
                                      "2024-01-01T24:00:00Z",
                                      "2024-01-01T00:60:00Z",
                                      "2024-01-01T00:00:61Z",
                                      "2024-01-01T00:00:00+24:00",
                                      "2024-01-01T00:00:00+00:60",
                                      "2024-01-01T00:00:00+0:00",
                                      "2024-01-01T00:00:00+00:00x",
                                      "1000000000000000000",
                                      "9999999999999999999",
                                      "12x"};
    int64_t when;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        if (!time_of(good[i], &when))
            fail_msg("%s is a time", good[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (time_of(bad[i], &when))
            fail_msg("%s is no time", bad[i]);
}

/* A number that a double holds exactly, up to 9e15. */
static void numbers_beyond_all_counts_are_none(void **state)
{
    (void)state;
    assert_file(
        "{'bytes':8999999999999999.0,'status':'processed'}", -1,
        "{'bytes':8999999999999999,'status':'processed','object':'file','status_details':null}");
    assert_file("{'bytes':9e15,'status':'processed'}", -1,
                "{'bytes':9e15,'status':'processed','object':'file','status_details':null}");
    assert_file(
        "{'bytes':-8999999999999999.0,'status':'processed'}", -1,
        "{'bytes':-8999999999999999,'status':'processed','object':'file','status_details':null}");
    assert_file("{'bytes':-9e15,'status':'processed'}", -1,
                "{'bytes':-9e15,'status':'processed','object':'file','status_details':null}");
}

/* Objects of 256 members are put in order, and of one more they are not; with a key that has a NUL
 * in it. */
static void an_object_of_any_number_of_members_is_bounded_work(void **state)
{
    (void)state;
    for (int members = 230; members < 300; members++) {
        struct json_doc *doc = json_doc_new();
        struct json *batch = json_new_object(doc), *gone;
        char key[16];

        for (int i = 0; i < members; i++) {
            snprintf(key, sizeof(key), "k%d", i);
            json_set_int(doc, batch, key, i);
        }
        gone = normal_deletion(doc, batch, "file-1");
        assert_int_equal(json_size(gone), members <= 256 ? 3 + members : 3);
        normal_batch(doc, batch, NULL);
        assert_true(json_size(batch) >= (size_t)members + 22);
        json_doc_free(doc);
    }
    for (int place = 254; place < 259; place++) { /* behind the 256th nothing is looked at */
        struct json_doc *doc = json_doc_new();
        struct json *batch = json_new_object(doc);
        char key[16];

        json_set_str(doc, batch, "object", "batch");
        for (int i = 1; i < place; i++) {
            snprintf(key, sizeof(key), "k%d", i);
            json_set_int(doc, batch, key, i);
        }
        json_set_str(doc, batch, "x_file_id", "");
        normal_batch(doc, batch, NULL);
        assert_int_equal(json_is(json_get(batch, "x_file_id"), JSON_NULL), place < 256);
        json_doc_free(doc);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_openai_stays_as_it_is),
        cmocka_unit_test(a_pending_file_is_shown_as_uploaded_so_that_helpers_go_on_waiting),
        cmocka_unit_test(a_file_without_bytes_or_status_gets_both),
        cmocka_unit_test(unknown_statuses_of_files_pass_through),
        cmocka_unit_test(iso_times_become_unix_seconds),
        cmocka_unit_test(an_empty_time_of_running_says_that_a_batch_has_not_run),
        cmocka_unit_test(a_batch_has_all_keys_in_the_order_of_real_answers),
        cmocka_unit_test(normalising_a_batch_twice_changes_nothing_more),
        cmocka_unit_test(empty_ids_become_null),
        cmocka_unit_test(capitals_leave_a_status),
        cmocka_unit_test(missing_counts_are_zero),
        cmocka_unit_test(counts_that_a_batch_that_ran_does_not_tell_are_null),
        cmocka_unit_test(empty_metadata_of_a_provider_stays_empty),
        cmocka_unit_test(the_lines_of_errors_are_integers),
        cmocka_unit_test(clients_see_the_endpoint_that_they_sent),
        cmocka_unit_test(our_own_metadata_is_never_shown),
        cmocka_unit_test(a_batch_with_very_many_members_is_bounded_work),
        cmocka_unit_test(a_status_of_any_length_is_shown),
        cmocka_unit_test(a_name_with_a_nul_in_it_is_no_other_name),
        cmocka_unit_test(times_that_no_clock_shows_are_no_times),
        cmocka_unit_test(numbers_beyond_all_counts_are_none),
        cmocka_unit_test(an_object_of_any_number_of_members_is_bounded_work),
        cmocka_unit_test(what_is_no_object_is_left_alone),
        cmocka_unit_test(a_deletion_answers_alike_everywhere),
        cmocka_unit_test(a_list_of_either_form_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
