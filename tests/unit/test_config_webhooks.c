/* Endpoints of webhooks in the file, and whom these may reach. */
#include "common/environment.h"
#include "config_world.h"
#include "crypto/ids.h"
#include "webhook/hook_event.h"

#define MODELS                                                                                     \
    "model_list:\n"                                                                                \
    "- {model_name: g, litellm_params: {model: azure/a, api_base: 'https://a.test', api_key: "     \
    "k}}\n"                                                                                        \
    "general_settings: {master_key: sk-0123456789abcdef}\n"
#define SETTINGS MODELS "tranche_settings:\n  database: sqlite:///tmp/x.db\n"
#define SECRET   "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

static void an_endpoint_is_taken_and_its_path_and_secret_never_shown(void **state)
{
    struct loaded *l = *state;
    struct strbuf shown = STRBUF_INIT;

    setenv("A_WEBHOOK_SECRET", SECRET, 1);
    load(l, SETTINGS
         "  webhooks:\n"
         "  - {url: 'https://h.example/hidden-path', secret: os.environ/A_WEBHOOK_SECRET}\n"
         "  - {url: 'https://h.example/2', secret: a plain-one-of-22-bytes,\n"
         "     events: [batch.failed], owner: 'team:alpha'}\n"
         "  - {url: 'https://h.example/3', secret: " SECRET ", owner: master}\n");
    unsetenv("A_WEBHOOK_SECRET");
    assert_int_equal(l->rc, ERR_INVALID); /* a space in the second secret */
    assert_told(l, "tranche_settings.webhooks[1].secret: ");
    load(l, SETTINGS "  webhooks:\n"
                     "  - {url: 'https://h.example/hidden-path', secret: " SECRET "}\n"
                     "  - {url: 'https://h.example/2', secret: a-plain-one-of-22-bytes,\n"
                     "     events: [batch.failed], owner: 'team:alpha'}\n"
                     "  - {url: 'https://h.example/3', secret: " SECRET ", owner: master}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_webhooks, 3);
    assert_true(l->config->webhooks[0].all);
    assert_int_equal(l->config->webhooks[0].types, HOOK_ALL_TYPES);
    assert_string_equal(l->config->webhooks[0].secret.data, SECRET);
    assert_false(l->config->webhooks[1].all);
    assert_int_equal(l->config->webhooks[1].types, 1u << HOOK_FAILED);
    assert_int_equal(l->config->webhooks[1].owner, ids_owner_fingerprint("team:alpha"));
    assert_false(l->config->webhooks[2].all);
    assert_int_equal(l->config->webhooks[2].owner, 0);
    assert_not_told(l, "hidden-path");
    assert_not_told(l, "MfKQ9r8");
    config_describe(l->config, &shown);
    assert_non_null(strstr(strbuf_str(&shown), "https://h.example/... of team:alpha"));
    assert_null(strstr(strbuf_str(&shown), "hidden-path"));
    assert_null(strstr(strbuf_str(&shown), "MfKQ9r8"));
    strbuf_deinit(&shown);
}

static void what_is_wrong_with_an_endpoint_is_told_with_its_place(void **state)
{
    static const struct {
        const char *text, *field;
    } cases[] = {
        {"[{secret: " SECRET "}]", "webhooks[0].url"},
        {"[{url: 'https://h.example/'}]", "webhooks[0].secret"},
        {"[{url: 'http://h.example/', secret: " SECRET "}]", "webhooks[0].url"},
        {"[{url: 'https://u:p@h.example/', secret: " SECRET "}]", "webhooks[0].url"},
        {"[{url: 'https://h.example/', secret: short}]", "webhooks[0].secret"},
        {"[{url: 'https://h.example/', secret: os.environ/NOT_SET_AT_ALL}]", "webhooks[0].secret"},
        {"[{url: 'https://h.example/', secret: " SECRET ", events: []}]", "webhooks[0].events"},
        {"[{url: 'https://h.example/', secret: " SECRET ", events: [batch.started]}]",
         "webhooks[0].events[0]"},
        {"[{url: 'https://h.example/', secret: " SECRET ", owner: alpha}]", "webhooks[0].owner"},
        {"[{url: 'https://h.example/', secret: " SECRET ", owner: 'team:'}]", "webhooks[0].owner"},
        {"[https://h.example/]", "webhooks[0]"},
        {"yes", "webhooks"},
        {"[{url: 'https://h.example/', secret: " SECRET "}, {url: 'https://h.example/', secret: "
         "another-one-of-bytes}]",
         "webhooks[1].url"},
    };
    struct loaded *l = *state;
    char text[1024];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), SETTINGS "  webhooks: %s\n", cases[i].text);
        load(l, text);
        if (l->rc != ERR_INVALID)
            fail_msg("%s is taken", cases[i].text);
        snprintf(text, sizeof(text), "error: tranche_settings.%s: ", cases[i].field);
        assert_told(l, text);
        assert_not_told(l, "MfKQ9r8");
    }
}

static void webhooks_need_a_journal(void **state)
{
    struct loaded *l = *state;

    load(l, MODELS "tranche_settings: {webhooks: [{url: 'https://h.example/', secret: " SECRET
                   "}]}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "webhooks need the journal");
    load(l, SETTINGS "  journal: false\n  webhooks: [{url: 'https://h.example/', secret: " SECRET
                     "}]\n");
    assert_int_equal(l->rc, ERR_INVALID);
    load(l, MODELS "tranche_settings: {webhooks: []}\n");
    assert_int_equal(l->rc, 0);
}

static void an_unknown_member_is_warned_of(void **state)
{
    struct loaded *l = *state;

    load(l, SETTINGS "  webhooks: [{url: 'https://h.example/', secret: " SECRET
                     ", event: [batch.failed]}]\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, "webhooks[0].event: unknown key, did you mean \"events\"?");
}

static void ranges_and_clear_text_are_allowed_by_name(void **state)
{
    struct loaded *l = *state;

    load(l, SETTINGS "  webhook_allow_http: true\n"
                     "  webhook_allow_addresses: [10.1.0.0/16, '::1', 127.0.0.1]\n"
                     "  webhook_ca_file: ca.pem\n"
                     "  webhooks: [{url: 'http://127.0.0.1:1/', secret: " SECRET "}]\n");
    assert_int_equal(l->rc, 0);
    assert_true(l->config->webhook_allow_http);
    assert_int_equal(l->config->num_webhook_ranges, 3);
    assert_non_null(strstr(l->config->webhook_ca_file, "ca.pem"));
    load(l, SETTINGS "  webhook_allow_addresses: [10.1.0.1/16]\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "tranche_settings.webhook_allow_addresses[0]: ");
    load(l, SETTINGS "  webhook_allow_http: perhaps\n");
    assert_int_equal(l->rc, ERR_INVALID);
    load(l, SETTINGS "  webhook_allow_addresses: 10.1.0.0/16\n");
    assert_int_equal(l->rc, ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_endpoint_is_taken_and_its_path_and_secret_never_shown),
        TEST(what_is_wrong_with_an_endpoint_is_told_with_its_place),
        TEST(webhooks_need_a_journal),
        TEST(an_unknown_member_is_warned_of),
        TEST(ranges_and_clear_text_are_allowed_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
