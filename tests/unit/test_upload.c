/* An upload from its first byte to its answer: what is refused before anything is sent, where the
 * file goes and with which name in its lines, when another deployment gets it, and what is left
 * when the client leaves or memory is short. */
#define ACCOUNTS 2
#include "handler_world.h"

#include "front/body.h"
#include "front/front.h"
#include "upload/upload.h"

#define LINE                                                                                       \
    "{\"custom_id\":\"1\",\"method\":\"POST\",\"url\":\"/v1/chat/completions\","                   \
    "\"body\":{\"model\":\"g\",\"messages\":[]}}\n"
#define PART(name, more, value)                                                                    \
    "--b\r\nContent-Disposition: form-data; name=\"" name "\"" more "\r\n\r\n" value "\r\n"
#define FORM(lines)                                                                                \
    PART("purpose", "", "batch") PART("file", "; filename=\"in.jsonl\"", lines) "--b--\r\n"
#define STORED "{\"id\":\"file-new\",\"object\":\"file\",\"bytes\":9,\"purpose\":\"batch\"}"

/* --- the front: a body that comes when the test says --- */

static struct front_load load;
static struct probe_word probes[ACCOUNTS];
static bool taken, abandoned;

static void do_start(struct body *body)
{
    (void)body;
    taken = true;
}

static void do_nothing(struct body *body)
{
    (void)body;
}

static void do_abandon(struct body *body)
{
    (void)body;
    abandoned = true;
}

static const struct body_source source = {do_start, do_nothing, do_nothing, do_abandon};
static struct body body;

struct body *front_body(h2o_req_t *req)
{
    (void)req;
    return body.source != NULL ? &body : NULL;
}

bool front_has_body(h2o_req_t *req)
{
    return front_body(req) != NULL;
}

struct front_load *front_load(h2o_req_t *req)
{
    (void)req;
    return &load;
}

/* --- the world --- */

static int set_up(void **state)
{
    (void)state;
    world_begin();
    config.limits.max_line_bytes = 1 << 20;
    config.limits.max_lines[0] = config.limits.max_lines[1] = 1000;
    config.limits.max_depth = 64;
    config.limits.max_file_bytes[0] = config.limits.max_file_bytes[1] = 1 << 20;
    config.limits.max_other_file_bytes = 1 << 20;
    config.limits.upload_memory_bytes = 1 << 22;
    config.limits.spool_bytes = 1 << 22;
    assert_int_equal(idem_new(64, &inherited.idem), 0);
    inherited.probes = probes;
    body = (struct body){.source = &source, .length = -1};
    taken = abandoned = false;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    client_leaves();
    assert_int_equal(rt.upload_bytes, 0);
    assert_int_equal(rt.receiving, 0);
    assert_int_equal(atomic_load(&shared.slots[rt.slot].spool_bytes), 0);
    idem_free(inherited.idem);
    world_end();
    return 0;
}

/* The head has come, and the body may. */
static void begin(const char *path)
{
    struct relay *relay = client_asks("POST", path);

    h2o_add_header_by_str(&client.req.pool, &client.req.headers, H2O_STRLIT("content-type"), 0,
                          NULL, H2O_STRLIT("multipart/form-data; boundary=b"));
    upload_start(relay);
}

static void send_body(const char *bytes)
{
    body_deliver(&body, bytes, strlen(bytes));
    body_end(&body);
}

static void upload(const char *form)
{
    begin("/v1/files");
    send_body(form);
}

/* What goes to the provider. */
static const char *sent(unsigned account)
{
    static char text[8192];
    const struct upstream_call *call = open_call(account);
    size_t len = 0;
    ssize_t n;

    assert_non_null(call);
    assert_string_equal(call->method, "POST");
    assert_in_range(call->request.source_length, 1, sizeof(text) - 1);
    while (len < call->request.source_length) {
        n = call->request.source(call->request.arg, text + len,
                                 (size_t)call->request.source_length - len);
        assert_in_range(n, 1, call->request.source_length - len);
        len += (size_t)n;
    }
    text[len] = '\0';
    return text;
}

static unsigned account_in_flight(void)
{
    assert_int_equal(in_flight(), 1);
    return open_call(0) != NULL ? 0 : 1;
}

/* --- refused before anything is sent --- */

static void a_request_without_a_body_is_told_what_is_missing(void **state)
{
    (void)state;
    body.source = NULL;
    begin("/v1/files");
    assert_answered(400, "The request has no body");
}

static void a_bad_line_is_told_and_nothing_is_sent(void **state)
{
    (void)state;
    upload(FORM(LINE "{\"custom_id\":\"2\"}\n"));
    assert_answered(400, "Line 2");
    assert_int_equal(num_calls, 0);
}

static void a_form_without_a_file_is_told(void **state)
{
    (void)state;
    upload(PART("purpose", "", "batch") "--b--\r\n");
    assert_answered(400, "Missing required parameter: 'file'.");
    assert_int_equal(num_calls, 0);
}

static void a_body_that_is_no_form_is_told_where(void **state)
{
    (void)state;
    upload("nothing of the kind");
    assert_answered(400, "\"invalid_multipart\"");
}

static void an_upload_beyond_the_workers_memory_may_come_again(void **state)
{
    (void)state;
    rt.upload_bytes = 1 << 22;
    begin("/v1/files");
    assert_answered(503, "\"upload_memory_full\"");
    assert_false(taken);
    rt.upload_bytes = 0;
}

static void a_body_that_comes_too_slowly_is_a_408(void **state)
{
    (void)state;
    begin("/v1/files");
    assert_true(taken);
    body_fail(&body, BODY_TOO_SLOW);
    assert_answered(408, "The upload came too slowly.");
}

/* --- where it goes --- */

static void the_file_goes_to_one_deployment_with_its_name_in_the_lines(void **state)
{
    char name[64];
    unsigned at;

    (void)state;
    upload(FORM(LINE));
    at = account_in_flight();
    snprintf(name, sizeof(name), "\"model\":\"a%u.example\"", at);
    assert_non_null(strstr(sent(at), name));
    assert_non_null(strstr(open_call(at)->url, "/files"));
    assert_not_answered();
    answer(at, 200, STORED);
    assert_answered(200, "\"id\":\"file-new-t");
    assert_int_equal(client.relay->deployment, at);
}

static void a_deployment_that_is_throttled_passes_the_file_on(void **state)
{
    unsigned first;

    (void)state;
    upload(FORM(LINE));
    first = account_in_flight();
    answer(first, 429, "{}");
    run_timers();
    assert_int_equal(account_in_flight(), 1 - first);
    (void)sent(1 - first);
    answer(1 - first, 200, STORED);
    assert_answered(200, "\"id\":\"file-new-t");
}

static void what_a_provider_says_of_the_file_is_told_as_it_is(void **state)
{
    (void)state;
    upload(FORM(LINE));
    answer(account_in_flight(), 400, "{\"error\":{\"message\":\"not this file\"}}");
    assert_answered(400, "not this file");
    assert_int_equal(num_calls, 1);
}

static void an_answer_that_cannot_be_read_is_not_sent_again(void **state)
{
    (void)state;
    upload(FORM(LINE));
    answer(account_in_flight(), 200, "<html>");
    assert_answered(502, "the file may exist there");
    assert_int_equal(num_calls, 1);
}

static void an_id_that_no_call_could_name_is_an_error_that_sdks_do_not_repeat(void **state)
{
    (void)state;
    upload(FORM(LINE));
    answer(account_in_flight(), 200, "{\"id\":\"../x\",\"object\":\"file\"}");
    assert_answered(502, "\"unusable_id\"");
}

static void validation_sends_nothing(void **state)
{
    (void)state;
    begin("/v1/files/validate");
    send_body(FORM(LINE));
    assert_answered(200, "\"valid\":true");
    assert_int_equal(num_calls, 0);
}

/* --- the client leaves --- */

static void a_client_that_leaves_while_it_sends_leaves_nothing(void **state)
{
    (void)state;
    begin("/v1/files");
    body_deliver(&body, FORM(LINE), 100);
    client_leaves();
    assert_true(abandoned);
    assert_int_equal(rt.upload_bytes, 0);
}

static void a_client_that_leaves_during_the_transfer_ends_it(void **state)
{
    (void)state;
    upload(FORM(LINE));
    assert_int_equal(in_flight(), 1);
    client_leaves();
    assert_int_equal(in_flight(), 0);
}

static void a_client_that_leaves_before_another_try_ends_it(void **state)
{
    (void)state;
    upload(FORM(LINE));
    answer(account_in_flight(), 429, "{}");
    assert_int_equal(num_timers(), 1);
    client_leaves();
    assert_int_equal(num_timers(), 0);
}

/* --- out of memory --- */

static void a_transfer_that_cannot_begin_is_a_500(void **state)
{
    (void)state;
    calls_are_refused = true;
    upload(FORM(LINE));
    assert_answered(500, "\"out_of_memory\"");
}

static void without_memory_for_the_pause_the_refusal_is_told_at_once(void **state)
{
    (void)state;
    upload(FORM(LINE));
    timers_are_refused = true;
    answer(account_in_flight(), 429, "{\"error\":{\"message\":\"slow down\"}}");
    assert_answered(429, "slow down");
    assert_int_equal(num_calls, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_without_a_body_is_told_what_is_missing),
        TEST(a_bad_line_is_told_and_nothing_is_sent),
        TEST(a_form_without_a_file_is_told),
        TEST(a_body_that_is_no_form_is_told_where),
        TEST(an_upload_beyond_the_workers_memory_may_come_again),
        TEST(a_body_that_comes_too_slowly_is_a_408),
        TEST(the_file_goes_to_one_deployment_with_its_name_in_the_lines),
        TEST(a_deployment_that_is_throttled_passes_the_file_on),
        TEST(what_a_provider_says_of_the_file_is_told_as_it_is),
        TEST(an_answer_that_cannot_be_read_is_not_sent_again),
        TEST(an_id_that_no_call_could_name_is_an_error_that_sdks_do_not_repeat),
        TEST(validation_sends_nothing),
        TEST(a_client_that_leaves_while_it_sends_leaves_nothing),
        TEST(a_client_that_leaves_during_the_transfer_ends_it),
        TEST(a_client_that_leaves_before_another_try_ends_it),
        TEST(a_transfer_that_cannot_begin_is_a_500),
        TEST(without_memory_for_the_pause_the_refusal_is_told_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
