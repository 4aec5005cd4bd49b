/* What `tranche run` decides and remembers: when something may be sent again, how long it waits, its
 * state as text and as a file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "json/json.h"
#include "server/cli/input.h"
#include "server/cli/run_rules.h"
#include "server/cli/run_state.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* --- rules --- */

static enum run_next after(enum client_exit code, int status, bool nothing_sent, bool no_retry)
{
    struct client_answer answer = {
        .status = status, .nothing_sent = nothing_sent, .no_retry = no_retry};

    return run_after_send(code, &answer, false);
}

static void what_has_not_gone_out_is_sent_again(void **state)
{
    (void)state;
    assert_int_equal(after(CLIENT_AWAY, 0, true, false), RUN_SEND);
}

static void what_may_have_happened_is_looked_for(void **state)
{
    (void)state;
    assert_int_equal(after(CLIENT_AWAY, 0, false, false), RUN_LOOK);
    assert_int_equal(after(CLIENT_AWAY, 500, false, false), RUN_LOOK);
    assert_int_equal(after(CLIENT_AWAY, 503, false, false), RUN_LOOK);
    assert_int_equal(after(CLIENT_AWAY, 502, false, true), RUN_LOOK);
    assert_int_equal(after(CLIENT_AWAY, 408, false, false), RUN_LOOK);
    assert_int_equal(after(CLIENT_AWAY, 429, false, false), RUN_LOOK);
    assert_int_equal(after(CLIENT_OK, 200, false, false), RUN_LOOK); /* without an id */
}

static void a_refusal_is_final(void **state)
{
    static const int statuses[] = {400, 401, 403, 404, 409, 413, 422, 302};
    struct client_answer answer = {.status = 404};

    (void)state;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        assert_int_equal(after(CLIENT_REFUSED, statuses[i], false, false), RUN_STOP);
    assert_int_equal(after(CLIENT_AWAY, 429, false, true), RUN_STOP);
    assert_int_equal(after(CLIENT_USAGE, 0, false, false), RUN_STOP);
    /* A file that was made a moment ago may not be known yet. */
    assert_int_equal(run_after_send(CLIENT_REFUSED, &answer, true), RUN_SEND);
}

static enum run_next after_look(int64_t first_s, int64_t last_s, bool gateway, int64_t now_s,
                                int64_t *wait_s)
{
    const struct run_send send = {.first_s = first_s, .last_s = last_s};

    return run_after_look(&send, gateway, now_s, 60, wait_s);
}

static void who_knows_the_key_is_asked_again_at_once_for_a_day(void **state)
{
    int64_t wait_s;

    (void)state;
    assert_int_equal(after_look(1000, 1000, true, 1001, &wait_s), RUN_SEND);
    assert_int_equal(after_look(1000, 1000, true, 1000 + RUN_KEY_S - 1, &wait_s), RUN_SEND);
    /* Later the key is forgotten: as at any other server. */
    assert_int_equal(after_look(1000, 1000 + RUN_KEY_S, true, 1010 + RUN_KEY_S, &wait_s), RUN_LOOK);
    assert_int_equal(wait_s, 50);
}

static void others_are_given_the_time_in_which_it_may_still_come_to_be(void **state)
{
    int64_t wait_s;

    (void)state;
    assert_int_equal(after_look(0, 0, false, 1000, &wait_s), RUN_SEND); /* never sent */
    assert_int_equal(after_look(900, 1000, false, 1001, &wait_s), RUN_LOOK);
    assert_int_equal(wait_s, 59);
    assert_int_equal(after_look(900, 1000, false, 1060, &wait_s), RUN_SEND);
    assert_int_equal(wait_s, 0);
    assert_int_equal(after_look(900, 1000, false, 500, &wait_s), RUN_LOOK); /* a clock set back */
    assert_int_equal(wait_s, 60);
    assert_int_equal(after_look(900, 1000, true, 500, &wait_s), RUN_LOOK);
}

static void pauses_grow_and_what_the_server_asks_for_goes_before(void **state)
{
    (void)state;
    assert_int_equal(run_pause_ms(1, -1), 1000);
    assert_int_equal(run_pause_ms(3, -1), 4000);
    assert_int_equal(run_pause_ms(50, -1), 60000);
    assert_int_equal(run_pause_ms(1, 7), 7000);
    assert_int_equal(run_pause_ms(1, 99999), 300000);
    assert_int_equal(run_poll_ms(0, 30), 1000);
    assert_int_equal(run_poll_ms(1, 30), 1500);
    assert_int_equal(run_poll_ms(100, 30), 30000);
    assert_int_equal(run_poll_ms(0, 1), 1000);
}

static void a_pace_counts_from_the_first_look(void **state)
{
    struct run_pace pace;

    (void)state;
    run_pace_init(&pace);
    run_pace_look(&pace, 100, 1000, 5000);
    assert_int_equal(pace.left_s, -1);
    run_pace_look(&pace, 200, 1000, 65000);
    assert_true(pace.per_minute > 99.9 && pace.per_minute < 100.1);
    assert_int_equal(pace.left_s, 480);
    run_pace_look(&pace, 200, 1000, 125000);
    assert_int_equal(pace.left_s, 960);
    run_pace_look(&pace, 1000, 1000, 125000);
    assert_int_equal(pace.left_s, 0);
    run_pace_look(&pace, 5, 1000, 130000); /* another count: from here on */
    assert_int_equal(pace.left_s, -1);
}

static void an_end_that_nobody_lives_to_see_is_not_known(void **state)
{
    struct run_pace pace;

    (void)state;
    run_pace_init(&pace);
    run_pace_look(&pace, 0, INT64_C(1) << 53, 0);
    run_pace_look(&pace, 1, INT64_C(1) << 53, INT64_C(86400000));
    assert_true(pace.per_minute > 0);
    assert_int_equal(pace.left_s, -1);
}

static void of_several_ends_a_script_hears_the_one_that_matters(void **state)
{
    (void)state;
    assert_int_equal(run_worst(CLIENT_OK, CLIENT_OK), 0);
    assert_int_equal(run_worst(CLIENT_OK, CLIENT_LINES_FAILED), 4);
    assert_int_equal(run_worst(CLIENT_LINES_FAILED, CLIENT_AWAY), 3);
    assert_int_equal(run_worst(CLIENT_REFUSED, CLIENT_AWAY), 1);
    assert_int_equal(run_worst(CLIENT_STOPPED, CLIENT_USAGE), 130);
}

static void while_answers_cannot_be_read_nothing_is_sent_once_more(void **state)
{
    struct run_state s = {.counted = true};

    (void)state;
    assert_int_equal(run_may_retry(&s), RUN_RETRY);
    s.round = 3;
    assert_int_equal(run_may_retry(&s), RUN_RETRY);
    s.unread[1].lines = 1;
    assert_int_equal(run_may_retry(&s), RUN_RETRY_UNREADABLE);
    s.counted = false;
    assert_int_equal(run_may_retry(&s), RUN_RETRY_UNREADABLE);
}

static void what_an_older_tranche_did_not_count_is_counted_where_all_is_there(void **state)
{
    struct run_state s = {.counted = false};

    (void)state;
    assert_int_equal(run_may_retry(&s), RUN_RETRY_COUNT);
    s.round = 1;
    assert_int_equal(run_may_retry(&s), RUN_RETRY_UNCOUNTED);
}

/* --- the files of a batch that has ended --- */

/* @param counts  "completed failed total"; NULL: it has none */
static enum run_files files(const char *status, const char *counts, const char *output,
                            const char *errors)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct strbuf text = STRBUF_INIT;
    struct json *batch;
    enum run_files got;
    int completed, failed, total;

    strbuf_addf(&text, "{\"status\":\"%s\",\"in_progress_at\":1700000000", status);
    json_write_member_string(&text, "output_file_id", output);
    json_write_member_string(&text, "error_file_id", errors);
    if (counts != NULL) {
        assert_int_equal(sscanf(counts, "%d %d %d", &completed, &failed, &total), 3);
        strbuf_addf(&text, ",\"request_counts\":{\"total\":%d,\"completed\":%d,\"failed\":%d}",
                    total, completed, failed);
    }
    strbuf_addc(&text, '}');
    batch = json_parse(doc, text.data, text.len, &error);
    assert_non_null(batch);
    got = run_files_of(batch);
    strbuf_deinit(&text);
    json_doc_free(doc);
    return got;
}

static void answers_that_a_batch_counts_and_shows_no_file_of_are_late(void **state)
{
    static const char *const ends[] = {"completed", "Completed", "expired", "cancelled"};

    (void)state;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        assert_int_equal(files(ends[i], "3 0 3", NULL, NULL), RUN_FILES_LATE);
        assert_int_equal(files(ends[i], "3 0 3", "", ""), RUN_FILES_LATE);
        assert_int_equal(files(ends[i], "1 2 3", NULL, "e"), RUN_FILES_LATE);
        assert_int_equal(files(ends[i], "0 3 3", NULL, NULL), RUN_FILES_LATE);
        assert_int_equal(files(ends[i], "3 0 3", "o", NULL), RUN_FILES_SHOWN);
        assert_int_equal(files(ends[i], "2 1 3", "o", "e"), RUN_FILES_SHOWN);
        assert_int_equal(files(ends[i], "0 3 3", NULL, "e"), RUN_FILES_SHOWN); /* all failed */
        /* Some servers have lines that failed in the output file. */
        assert_int_equal(files(ends[i], "2 1 3", "o", NULL), RUN_FILES_UNSURE);
    }
    assert_int_equal(files("failed", NULL, NULL, NULL), RUN_FILES_SHOWN);
}

static void a_batch_that_is_complete_has_an_answer_to_each_line(void **state)
{
    (void)state;
    /* What it counts cannot be all. */
    assert_int_equal(files("completed", "0 0 3", NULL, NULL), RUN_FILES_LATE);
    assert_int_equal(files("completed", "0 2 3", NULL, "e"), RUN_FILES_LATE);
    assert_int_equal(files("completed", "0 0 0", NULL, NULL), RUN_FILES_LATE);
    /* One that was cut short may have none. */
    assert_int_equal(files("expired", "0 0 3", NULL, "e"), RUN_FILES_SHOWN);
    assert_int_equal(files("cancelled", "0 0 0", NULL, NULL), RUN_FILES_SHOWN);
    assert_int_equal(files("cancelled", "0 2 3", NULL, "e"), RUN_FILES_SHOWN);
}

static void a_batch_without_counts_has_run_nothing_only_if_it_never_began(void **state)
{
    static const char before[] = "{\"status\":\"cancelled\",\"in_progress_at\":null,"
                                 "\"request_counts\":{\"total\":null,\"completed\":null}}";
    struct json_doc *doc = json_doc_new();
    struct json_error error;

    (void)state;
    assert_int_equal(files("completed", NULL, NULL, NULL), RUN_FILES_LATE);
    assert_int_equal(files("completed", NULL, NULL, "e"), RUN_FILES_LATE);
    assert_int_equal(files("cancelled", NULL, NULL, NULL), RUN_FILES_LATE);
    assert_int_equal(files("expired", NULL, NULL, "e"), RUN_FILES_LATE);
    assert_int_equal(files("expired", "-1 0 3", NULL, NULL), RUN_FILES_LATE);
    assert_int_equal(files("completed", NULL, "o", NULL), RUN_FILES_SHOWN);
    assert_int_equal(run_files_of(json_parse(doc, before, sizeof(before) - 1, &error)),
                     RUN_FILES_SHOWN);
    json_doc_free(doc);
}

static void what_is_late_is_never_taken_for_all_there_is(void **state)
{
    (void)state;
    assert_int_equal(run_after_end(RUN_FILES_LATE, 0, 3600000), RUN_ENDED_WAIT);
    assert_int_equal(run_after_end(RUN_FILES_LATE, 3599999, 3600000), RUN_ENDED_WAIT);
    assert_int_equal(run_after_end(RUN_FILES_LATE, 3600000, 3600000), RUN_ENDED_LEAVE);
    assert_int_equal(run_after_end(RUN_FILES_LATE, 0, 0), RUN_ENDED_LEAVE);
    assert_int_equal(run_after_end(RUN_FILES_SHOWN, 0, 3600000), RUN_ENDED_READ);
    assert_int_equal(run_after_end(RUN_FILES_SHOWN, 3600000, 0), RUN_ENDED_READ);
    assert_int_equal(run_after_end(RUN_FILES_UNSURE, 59999, 3600000), RUN_ENDED_WAIT);
    assert_int_equal(run_after_end(RUN_FILES_UNSURE, 60000, 3600000), RUN_ENDED_READ);
    assert_int_equal(run_after_end(RUN_FILES_UNSURE, 0, 0), RUN_ENDED_READ);
}

static void answers_that_are_counted_and_not_there_are_missing(void **state)
{
    (void)state;
    assert_int_equal(run_missing(3, 3), 0);
    assert_int_equal(run_missing(3, 1), 2);
    assert_int_equal(run_missing(3, 5), 0); /* lines that failed stand there, too */
    assert_int_equal(run_missing(-1, 0), 0);
    assert_int_equal(run_missing(0, 0), 0);
}

/* --- no room --- */

static bool no_room(const char *text)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *batch = json_parse(doc, text, strlen(text), &error);
    bool got;

    assert_non_null(batch);
    got = run_found_no_room(batch);
    json_doc_free(doc);
    return got;
}

#define FULL  "\"errors\":{\"data\":[{\"code\":\"token_limit_exceeded\",\"line\":null}]}"
#define ZEROS ",\"request_counts\":{\"total\":0,\"completed\":0,\"failed\":0}"

static void a_batch_that_failed_for_want_of_room_before_it_ran_may_be_made_again(void **state)
{
    (void)state;
    assert_true(no_room("{\"status\":\"failed\"," FULL ZEROS "}"));
    assert_true(no_room("{\"status\":\"Failed\"," FULL ZEROS ",\"output_file_id\":\"\"}"));
    assert_true(no_room("{\"status\":\"failed\"," FULL ",\"in_progress_at\":null,"
                        "\"request_counts\":{\"completed\":null,\"failed\":null}}"));
    assert_true(no_room("{\"status\":\"failed\",\"errors\":{\"data\":["
                        "{\"code\":\"token_limit_exceeded\"},{\"code\":\"token_limit_exceeded\"}"
                        "]}" ZEROS "}"));
}

static void what_has_run_or_would_fail_anywhere_is_not_made_again(void **state)
{
    static const char *const codes[] = {"invalid_json_line", "duplicate_custom_id",
                                        "model_mismatch",    "model_not_found",
                                        "input_modified",    ""};
    char text[256];

    (void)state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        snprintf(text, sizeof(text),
                 "{\"status\":\"failed\",\"errors\":{\"data\":["
                 "{\"code\":\"token_limit_exceeded\"},{\"code\":\"%s\"}]}" ZEROS "}",
                 codes[i]);
        assert_false(no_room(text));
    }
    assert_false(no_room("{\"status\":\"failed\"" ZEROS "}"));
    assert_false(no_room("{\"status\":\"failed\",\"errors\":{\"data\":[]}" ZEROS "}"));
    assert_false(no_room("{\"status\":\"failed\",\"errors\":{\"data\":[{}]}" ZEROS "}"));
    assert_false(no_room("{\"status\":\"expired\"," FULL ZEROS "}"));
    assert_false(no_room("{\"status\":\"in_progress\"," FULL ZEROS "}"));
    assert_false(no_room("{\"status\":\"failed\"," FULL ZEROS ",\"output_file_id\":\"o\"}"));
    assert_false(no_room("{\"status\":\"failed\"," FULL ZEROS ",\"error_file_id\":\"e\"}"));
    assert_false(no_room("{\"status\":\"failed\"," FULL ",\"request_counts\":"
                         "{\"total\":3,\"completed\":1,\"failed\":0}}"));
    assert_false(no_room("{\"status\":\"failed\"," FULL ",\"request_counts\":"
                         "{\"total\":3,\"completed\":0,\"failed\":1}}"));
    assert_false(no_room("{\"status\":\"failed\"," FULL ",\"in_progress_at\":1700000000}"));
}

static void a_full_provider_is_given_time_and_a_gateway_is_asked_at_once(void **state)
{
    (void)state;
    assert_int_equal(run_room_ms(0, false, 60), 60000);
    assert_int_equal(run_room_ms(1, false, 60), 240000);
    assert_int_equal(run_room_ms(2, false, 60), 900000);
    assert_int_equal(run_room_ms(99, false, 60), 900000);
    assert_int_equal(run_room_ms(0, true, 60), 0);
    assert_int_equal(run_room_ms(1, true, 60), 60000);
    assert_int_equal(run_room_ms(2, true, 60), 240000);
    assert_int_equal(run_room_ms(0, false, 3600), 3600000);
    assert_int_equal(run_room_ms(5, false, 3600), 3600000);
    assert_int_equal(run_room_ms(99, false, 0), 0);
}

/* --- the state --- */

static struct run_state some_state(void)
{
    struct run_state s = {.base_url = "http://127.0.0.1:4000",
                          .digest = DIGEST,
                          .bytes = 12345678901,
                          .model = "a \"model\"",
                          .endpoint = "/v1/chat/completions",
                          .gateway = true};

    assert_int_equal(run_state_begin(&s, 2, DIGEST), 0);
    s.upload = (struct run_send){100, 200, "file-abc"};
    s.create = (struct run_send){300, 0, ""};
    s.phase = RUN_FAILED;
    return s;
}

static void a_state_is_read_as_it_was_written(void **state)
{
    char path[] = "/tmp/test_run_XXXXXX";
    struct run_state s = some_state(), got;
    int fd = mkstemp(path), error;

    (void)state;
    assert_true(fd != -1);
    close(fd);
    assert_int_equal(run_state_save(path, &s, &error), 0);
    assert_int_equal(run_state_load(path, &got, &error), 0);
    assert_string_equal(got.base_url, s.base_url);
    assert_string_equal(got.digest, DIGEST);
    assert_true(got.bytes == s.bytes);
    assert_string_equal(got.model, s.model);
    assert_string_equal(got.endpoint, s.endpoint);
    assert_true(got.gateway);
    assert_int_equal(got.round, 2);
    assert_string_equal(got.nonce, s.nonce);
    assert_string_equal(got.upload.id, "file-abc");
    assert_int_equal(got.upload.first_s, 100);
    assert_int_equal(got.upload.last_s, 200);
    assert_string_equal(got.create.id, "");
    assert_int_equal(got.create.first_s, 300);
    assert_int_equal(got.phase, RUN_FAILED);
    unlink(path);
    assert_int_equal(run_state_load(path, &got, &error), ERR_NOT_FOUND);
    assert_int_equal(run_state_load("/", &got, &error), ERR_IO);
    assert_int_equal(run_state_save("/nowhere/state", &s, &error), ERR_IO);
}

static void what_could_not_be_read_is_remembered(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct run_state s = some_state(), got;

    (void)state;
    run_state_print(&s, &text);
    assert_null(strstr(strbuf_str(&text), "unreadable")); /* as an older tranche wrote it */
    assert_int_equal(run_state_parse(text.data, text.len, &got), 0);
    assert_false(got.counted);
    s.counted = true;
    strbuf_reset(&text);
    run_state_print(&s, &text);
    assert_int_equal(run_state_parse(text.data, text.len, &got), 0);
    assert_true(got.counted);
    assert_int_equal(run_state_unread(&got), 0);
    s.unread[0] = (struct run_unread){2, "file-\"out\""};
    s.unread[1] = (struct run_unread){3, "file-errors"};
    strbuf_reset(&text);
    run_state_print(&s, &text);
    assert_int_equal(run_state_parse(text.data, text.len, &got), 0);
    assert_int_equal(run_state_unread(&got), 5);
    assert_string_equal(got.unread[0].file, "file-\"out\"");
    assert_int_equal(got.unread[1].lines, 3);
    strbuf_deinit(&text);
}

static void how_often_a_batch_was_made_again_is_remembered_for_its_round(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct run_state s = some_state(), got;

    (void)state;
    run_state_print(&s, &text);
    assert_null(strstr(text.data, "remade")); /* as of an older state */
    assert_int_equal(run_state_parse(text.data, text.len, &got), 0);
    assert_int_equal(got.remade, 0);
    s.remade = 2;
    strbuf_reset(&text);
    run_state_print(&s, &text);
    assert_int_equal(run_state_parse(text.data, text.len, &got), 0);
    assert_int_equal(got.remade, 2);
    s.remade = 2000;
    strbuf_reset(&text);
    run_state_print(&s, &text);
    assert_int_equal(run_state_parse(text.data, text.len, &got), ERR_SYNTAX);
    assert_int_equal(run_state_begin(&s, 3, DIGEST), 0);
    assert_int_equal(s.remade, 0);
    strbuf_deinit(&text);
}

/* Cut or changed anywhere: an error, or the same as before, never a crash. */
static void what_is_no_state_is_refused(void **state)
{
    struct strbuf text = STRBUF_INIT;
    struct run_state s = some_state(), got;

    (void)state;
    run_state_print(&s, &text);
    for (size_t len = 0; len + 2 < text.len; len++)
        assert_int_equal(run_state_parse(text.data, len, &got), ERR_SYNTAX);
    for (size_t at = 0; at < text.len; at++) {
        char was = text.data[at];

        text.data[at] = '!';
        (void)!run_state_parse(text.data, text.len, &got);
        text.data[at] = was;
    }
    assert_int_equal(run_state_parse("{\"tranche_run\":2}", 17, &got), ERR_SYNTAX);
    strbuf_deinit(&text);
}

static void each_round_has_a_nonce_of_its_own(void **state)
{
    struct run_state a = some_state(), b = a;

    (void)state;
    assert_int_equal(run_state_begin(&b, 3, DIGEST), 0);
    assert_string_not_equal(a.nonce, b.nonce);
    assert_int_equal(b.create.first_s, 0);
    assert_string_equal(b.upload.id, "");
    assert_int_equal(b.phase, RUN_BEGUN);
}

static void a_name_has_no_letter_that_a_head_could_misread(void **state)
{
    char out[INPUT_NAME];

    (void)state;
    input_name("/some/where/in.jsonl", "0123", out);
    assert_string_equal(out, "in-0123.jsonl");
    input_name("a\"b\r\nc\xc3\xa4.jsonl", "0123", out);
    assert_string_equal(out, "a_b__c__-0123.jsonl");
    input_name("0123456789012345678901234567890123456789xyz", "0123456789abcdef0123456789abcdef",
               out);
    assert_string_equal(out, "0123456789012345678901234567890123456789-"
                             "0123456789abcdef0123456789abcdef.jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_not_gone_out_is_sent_again),
        cmocka_unit_test(what_may_have_happened_is_looked_for),
        cmocka_unit_test(a_refusal_is_final),
        cmocka_unit_test(who_knows_the_key_is_asked_again_at_once_for_a_day),
        cmocka_unit_test(others_are_given_the_time_in_which_it_may_still_come_to_be),
        cmocka_unit_test(pauses_grow_and_what_the_server_asks_for_goes_before),
        cmocka_unit_test(a_pace_counts_from_the_first_look),
        cmocka_unit_test(an_end_that_nobody_lives_to_see_is_not_known),
        cmocka_unit_test(of_several_ends_a_script_hears_the_one_that_matters),
        cmocka_unit_test(while_answers_cannot_be_read_nothing_is_sent_once_more),
        cmocka_unit_test(what_an_older_tranche_did_not_count_is_counted_where_all_is_there),
        cmocka_unit_test(answers_that_a_batch_counts_and_shows_no_file_of_are_late),
        cmocka_unit_test(a_batch_that_is_complete_has_an_answer_to_each_line),
        cmocka_unit_test(a_batch_without_counts_has_run_nothing_only_if_it_never_began),
        cmocka_unit_test(what_is_late_is_never_taken_for_all_there_is),
        cmocka_unit_test(answers_that_are_counted_and_not_there_are_missing),
        cmocka_unit_test(a_batch_that_failed_for_want_of_room_before_it_ran_may_be_made_again),
        cmocka_unit_test(what_has_run_or_would_fail_anywhere_is_not_made_again),
        cmocka_unit_test(a_full_provider_is_given_time_and_a_gateway_is_asked_at_once),
        cmocka_unit_test(a_state_is_read_as_it_was_written),
        cmocka_unit_test(how_often_a_batch_was_made_again_is_remembered_for_its_round),
        cmocka_unit_test(what_could_not_be_read_is_remembered),
        cmocka_unit_test(what_is_no_state_is_refused),
        cmocka_unit_test(each_round_has_a_nonce_of_its_own),
        cmocka_unit_test(a_name_has_no_letter_that_a_head_could_misread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
