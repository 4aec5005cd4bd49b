/* What /health and /metrics tell of credentials of Entra ID. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "common/clock.h"
#include "server/admin/metrics_credentials.h"

#define SECRET_TEXT "the-client-secret"
#define TOKEN_TEXT  "the-token-itself"

static struct entra_credential credentials[2];
static struct model_account account = {.auth = ACCOUNT_AUTH_ENTRA, .entra = 0};
static struct config config;
static struct entra_tokens *tokens;
static struct entra_tokens_cell *cell;
static struct inherited inherited;
static struct runtime rt;
static struct credential_report report;
static struct strbuf out;

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        credentials[i] = (struct entra_credential){.kind = ENTRA_SECRET,
                                                   .name = (char *)"client \"app\", by secret",
                                                   .scope = (char *)"https://r.example/.default",
                                                   .fingerprint = (i + 1) << 8};
        assert_int_equal(secret_set(&credentials[i].secret, SECRET_TEXT, strlen(SECRET_TEXT)), 0);
    }
    config.models = (struct model_list){
        .accounts = &account, .num_accounts = 1, .credentials = credentials, .num_credentials = 2};
    assert_int_equal(entra_tokens_new(&tokens), 0);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(entra_tokens_bind(tokens, credentials[i].fingerprint, 0), 0);
    cell = entra_tokens_find(tokens, credentials[0].fingerprint);
    inherited = (struct inherited){.config = &config, .entra_tokens = tokens};
    rt = (struct runtime){.inherited = &inherited, .config = &config};
    strbuf_init(&out);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_null(strstr(strbuf_str(&out), SECRET_TEXT));
    assert_null(strstr(strbuf_str(&out), TOKEN_TEXT));
    strbuf_deinit(&out);
    entra_tokens_free(tokens);
    for (size_t i = 0; i < 2; i++)
        secret_clear(&credentials[i].secret);
    return 0;
}

static void publish(uint64_t age_s, uint32_t lives_s)
{
    struct entra_state state = {.last = ENTRA_OK};

    entra_when_obtained(&state, lives_s, 0, clock_now_ms() - age_s * 1000, 0);
    assert_true(entra_tokens_publish(cell, TOKEN_TEXT, strlen(TOKEN_TEXT), &state) != 0);
}

static void fail_call(void)
{
    struct entra_tokens_error error = {.unix_s = 1800000000,
                                       .status = 401,
                                       .outcome = ENTRA_FINAL,
                                       .number = 7000215,
                                       .code = "invalid_client",
                                       .line = "Invalid client secret",
                                       .correlation = "an-id"};
    struct entra_state state;

    entra_tokens_state(cell, &state);
    entra_when_failed(&state, ENTRA_FINAL, -1, clock_now_ms(), 0);
    entra_tokens_fail(cell, &state, &error);
}

static void read_first(void)
{
    credentials_read(&rt, 0, &report);
}

static const char *metrics_of(const struct credential_report *of)
{
    strbuf_reset(&out);
    for (size_t n = 0; n < metrics_credentials_count(); n++)
        metrics_credentials_write(n, of, &out);
    return strbuf_str(&out);
}

static void test_entra_24_before_the_first_answer_there_is_nothing_to_tell(void **state)
{
    (void)state;
    read_first();
    assert_int_equal(report.state, CREDENTIAL_STARTING);
    assert_null(strstr(metrics_of(&report), "end_timestamp"));
    assert_non_null(strstr(strbuf_str(&out),
                           "tranche_entra_token_usable{credential=\"client \\\"app\\\", by "
                           "secret\",kind=\"secret\"} 0\n"));
}

static void test_entra_24_age_end_and_calls_of_a_token_are_told(void **state)
{
    int64_t now_s = clock_unix_s();
    const char *text;

    (void)state;
    publish(100, 3600);
    read_first();
    assert_int_equal(report.state, CREDENTIAL_OK);
    assert_in_range(report.age_s, 100, 160);
    assert_in_range(report.ends_unix_s, now_s + 3500 - 60, now_s + 3501);
    text = metrics_of(&report);
    assert_non_null(strstr(text, "tranche_entra_token_calls_total{"));
    assert_non_null(strstr(text, "outcome=\"ok\"} 1\n"));
    assert_non_null(strstr(text, "tranche_entra_token_age_seconds{"));
    assert_non_null(strstr(text, "tranche_entra_token_end_timestamp_seconds{"));
}

static void test_entra_15_a_refusal_is_told_with_number_line_and_correlation_id(void **state)
{
    char why[640];

    (void)state;
    fail_call();
    fail_call();
    read_first();
    assert_int_equal(report.state, CREDENTIAL_FAILED);
    credentials_write(&report, &out);
    assert_non_null(strstr(strbuf_str(&out), "\"state\":\"no_token\""));
    assert_non_null(strstr(strbuf_str(&out), "\"failures_in_a_row\":2"));
    assert_non_null(strstr(strbuf_str(&out), "\"number\":7000215"));
    assert_non_null(strstr(strbuf_str(&out), "\"correlation_id\":\"an-id\""));
    assert_non_null(strstr(metrics_of(&report), "tranche_entra_token_error_number{"));
    assert_non_null(strstr(strbuf_str(&out), "} 7000215\n"));
    assert_true(credentials_explain(&rt, 0, why, sizeof(why)));
    assert_string_equal(why, "no token of Entra ID, status 401, invalid_client, AADSTS7000215: "
                             "Invalid client secret, correlation id an-id");
}

static void a_renewal_that_fails_is_no_missing_token(void **state)
{
    char why[640];

    (void)state;
    publish(100, 3600);
    fail_call();
    read_first();
    assert_int_equal(report.state, CREDENTIAL_RENEWING);
    assert_false(credentials_explain(&rt, 0, why, sizeof(why)));
    publish(0, 3600);
    read_first();
    assert_int_equal(report.state, CREDENTIAL_OK);
    credentials_write(&report, &out); /* the last error can still be read */
    assert_non_null(strstr(strbuf_str(&out), "\"last_error\":{\"at\":1800000000"));
}

static void an_account_with_a_key_has_no_token_to_miss(void **state)
{
    char why[640];

    (void)state;
    fail_call();
    account.auth = ACCOUNT_AUTH_API_KEY;
    assert_false(credentials_explain(&rt, 0, why, sizeof(why)));
    account.auth = ACCOUNT_AUTH_ENTRA;
}

static void two_credentials_of_one_name_have_labels_of_their_own(void **state)
{
    (void)state;
    read_first();
    assert_string_equal(report.label, "client \"app\", by secret");
    credentials_read(&rt, 1, &report);
    assert_string_equal(report.label, "client \"app\", by secret #2");
}

static void a_credential_without_a_cell_is_no_fault(void **state)
{
    (void)state;
    inherited.entra_tokens = NULL;
    read_first();
    assert_int_equal(report.state, CREDENTIAL_STARTING);
}

static void states_have_names(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CREDENTIAL_STATES; i++)
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(credential_state_name((enum credential_state)i),
                                    credential_state_name((enum credential_state)k));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_entra_24_before_the_first_answer_there_is_nothing_to_tell),
        TEST(test_entra_24_age_end_and_calls_of_a_token_are_told),
        TEST(test_entra_15_a_refusal_is_told_with_number_line_and_correlation_id),
        TEST(a_renewal_that_fails_is_no_missing_token),
        TEST(an_account_with_a_key_has_no_token_to_miss),
        TEST(two_credentials_of_one_name_have_labels_of_their_own),
        TEST(a_credential_without_a_cell_is_no_fault),
        TEST(states_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
