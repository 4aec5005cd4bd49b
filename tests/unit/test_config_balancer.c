/* What the balancer is told: limits of tokens and files, failures that are forgiven, tries, and
 * where work goes when a group refuses. */
#include "config_world.h"

#define ROW(group, name, id, fields)                                                               \
    "- model_name: " group "\n"                                                                    \
    "  litellm_params: {model: azure/" name ", api_base: 'https://" id ".openai.azure.com',\n"     \
    "    api_key: azure-secret-1}\n"                                                               \
    "  model_info: {id: " id fields "}\n"

/* Lines 1 to 17. */
#define THREE_ROWS                                                                                 \
    "model_list:\n" ROW("g", "d", "eu", "") ROW("g", "d", "us", "")                                \
        ROW("h", "e", "asia", "") "- model_name: claude\n"                                         \
                                  "  litellm_params: {model: anthropic/claude-x}\n"                \
                                  "  model_info: {id: elsewhere}\n"                                \
                                  "# 17\n"

static uint64_t token_limit(const struct loaded *l, size_t i)
{
    return deployment(l, i)->enqueued_token_limit;
}

static void expect_warning(struct loaded *l, const char *yaml, const char *part)
{
    load(l, yaml);
    assert_int_equal(l->rc, 0);
    assert_told(l, part);
}

static void a_row_may_say_its_own_token_limit_and_rest(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- model_name: g\n"
            "  litellm_params: {model: openai/a, cooldown_time: 1.5}\n"
            "  model_info: {enqueued_token_limit: 200M}\n"
            "- model_name: g\n"
            "  litellm_params: {model: openai/b, cooldown_time: 2m}\n"
            "  model_info: {enqueued_token_limit: 30_500}\n"
            "- model_name: g\n"
            "  litellm_params: {model: openai/c}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(token_limit(l, 0), 200000000);
    assert_int_equal(token_limit(l, 1), 30500);
    assert_int_equal(token_limit(l, 2), 0);
    assert_int_equal(deployment(l, 0)->cooldown_ms, 1500);
    assert_int_equal(deployment(l, 1)->cooldown_ms, 120000);
    assert_int_equal(deployment(l, 2)->cooldown_ms, UINT32_MAX);
    assert_int_equal(deployment(l, 3)->cooldown_ms, UINT32_MAX); /* the account as a whole */
}

static void limits_of_the_minute_are_read_from_each_of_their_places(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- {model_name: g, rpm: 1, litellm_params: {model: openai/a, rpm: 2, tpm: 20},\n"
            "   model_info: {rpm: 3, tpm: 30}}\n"
            "- {model_name: g, litellm_params: {model: openai/b}, model_info: {rpm: 4, tpm: 40}}\n"
            "- {model_name: g, tpm: 50, litellm_params: {model: openai/c}}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(deployment(l, 0)->rpm, 1);
    assert_int_equal(deployment(l, 0)->tpm, 20);
    assert_int_equal(deployment(l, 1)->rpm, 4);
    assert_int_equal(deployment(l, 1)->tpm, 40);
    assert_int_equal(deployment(l, 2)->rpm, 0);
    assert_int_equal(deployment(l, 2)->tpm, 50);
    expect_error(l,
                 "model_list:\n"
                 "- {model_name: g, litellm_params: {model: openai/a}, model_info: {rpm: many}}\n",
                 "model_list[0].model_info.rpm: got \"many\"");
}

static void the_buffer_of_latency_based_routing_is_taken(void **state)
{
    struct loaded *l = *state;

    expect_warning(l,
                   "router_settings:\n"
                   "  routing_strategy: latency-based-routing\n"
                   "  routing_strategy_args: {lowest_latency_buffer: 0.5, ttl: 10}\n",
                   "router_settings.routing_strategy_args.ttl");
    assert_true(l->config->latency_buffer == 0.5);
    expect_error(l, "router_settings: {routing_strategy_args: {lowest_latency_buffer: -1}}\n",
                 "router_settings.routing_strategy_args.lowest_latency_buffer: got \"-1\"");
}

static void wrong_limits_of_a_row_are_errors(void **state)
{
    struct loaded *l = *state;

    expect_error(l,
                 "model_list:\n"
                 "- model_name: g\n"
                 "  litellm_params: {model: openai/a}\n"
                 "  model_info: {enqueued_token_limit: 1.5}\n",
                 ":4: error: model_list[0].model_info.enqueued_token_limit: got \"1.5\", wanted a "
                 "whole number of 1 or more, such as 200000000, \"200M\" or \"1B\"");
    expect_error(l,
                 "model_list:\n"
                 "- model_name: g\n"
                 "  litellm_params: {model: openai/a, cooldown_time: -1}\n",
                 ":3: error: model_list[0].litellm_params.cooldown_time: got \"-1\", wanted a "
                 "duration from 0s to 1d");
}

static void num_retries_of_a_row_is_another_name_of_max_retries_and_wins(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n"
            "- model_name: g\n"
            "  litellm_params: {model: openai/a, num_retries: 4}\n"
            "- model_name: g\n"
            "  litellm_params: {model: openai/b, num_retries: 0, max_retries: 5}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(deployment(l, 0)->max_retries, 4);
    assert_int_equal(deployment(l, 1)->max_retries, 0);
}

static void the_closest_quota_counts_wherever_it_stands(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list:\n" ROW("g", "d", "a", ", enqueued_token_limit: 1M") ROW("g", "d", "b", "")
                ROW("g", "d", "c", "") ROW("g", "e", "d1", "") ROW("h", "d", "x", "") ROW(
                    "h", "f", "y", "") "tranche_settings:\n"
                                       "  quotas:\n"
                                       "  - {deployment: b, enqueued_tokens: 2M}\n"
                                       "  - {model_name: g, enqueued_tokens: 4M}\n"
                                       "  - {deployment: d, enqueued_tokens: 3M}\n"
                                       "  - {deployment: d, model_name: h, enqueued_tokens: 1.5B}\n"
                                       "  - {deployment: a, enqueued_tokens: 9M}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(token_limit(l, 0), 1000000);    /* its own model_info */
    assert_int_equal(token_limit(l, 1), 2000000);    /* by id */
    assert_int_equal(token_limit(l, 2), 3000000);    /* by upstream name */
    assert_int_equal(token_limit(l, 3), 4000000);    /* by group */
    assert_int_equal(token_limit(l, 4), 1500000000); /* by upstream name within its group */
    assert_int_equal(token_limit(l, 5), 0);
    assert_told(l, "tranche_settings.quotas[0]: = 2M for 1 deployment\n");
    assert_told(l, "tranche_settings.quotas[2]: = 3M for 4 deployments\n");
}

static void a_quota_for_nobody_is_an_error_with_its_line(void **state)
{
    struct loaded *l = *state;

    expect_error(l,
                 THREE_ROWS "tranche_settings:\n  quotas:\n"
                            "  - {deployment: nobody, enqueued_tokens: 1M}\n",
                 ":20: error: tranche_settings.quotas[0].deployment: got \"nobody\", wanted a "
                 "model_info.id or the name of a deployment in model_list");
    expect_error(l,
                 THREE_ROWS "tranche_settings:\n  quotas:\n"
                            "  - {model_name: nobody, enqueued_tokens: 1M}\n",
                 ":20: error: tranche_settings.quotas[0].model_name: got \"nobody\", wanted a "
                 "model_name of model_list");
    expect_error(l,
                 THREE_ROWS "tranche_settings:\n  quotas:\n"
                            "  - {deployment: e, model_name: g, enqueued_tokens: 1M}\n",
                 "wanted a model_info.id or the name of a deployment in that group");
}

static void a_quota_of_a_row_that_is_not_served_is_ignored(void **state)
{
    struct loaded *l = *state;

    expect_warning(l,
                   THREE_ROWS "tranche_settings:\n  quotas:\n"
                              "  - {deployment: claude-x, enqueued_tokens: 1M}\n",
                   ":20: warning: tranche_settings.quotas[0].deployment: ignored");
    expect_warning(l,
                   THREE_ROWS "tranche_settings:\n  quotas:\n"
                              "  - {deployment: elsewhere, enqueued_tokens: 1M}\n",
                   "quotas[0].deployment: ignored");
    expect_warning(l,
                   THREE_ROWS "tranche_settings:\n  quotas:\n"
                              "  - {model_name: claude, enqueued_tokens: 1M}\n",
                   "quotas[0].model_name: ignored");
}

static void half_a_quota_and_two_for_one_deployment_are_errors(void **state)
{
    struct loaded *l = *state;

    expect_error(l, THREE_ROWS "tranche_settings:\n  quotas:\n  - {enqueued_tokens: 1M}\n",
                 ":20: error: tranche_settings.quotas[0].deployment: missing, as is model_name");
    expect_error(l, THREE_ROWS "tranche_settings:\n  quotas:\n  - {model_name: g}\n",
                 ":20: error: tranche_settings.quotas[0].enqueued_tokens: missing");
    expect_error(l,
                 THREE_ROWS "tranche_settings:\n  quotas:\n"
                            "  - {model_name: g, enqueued_tokens: 0}\n",
                 "enqueued_tokens: got \"0\", wanted a whole number of 1 or more");
    expect_error(l,
                 THREE_ROWS "tranche_settings:\n  quotas:\n"
                            "  - {model_name: g, enqueued_tokens: 1M}\n"
                            "  - {deployment: us, enqueued_tokens: 1M}\n"
                            "  - {model_name: g, enqueued_tokens: 2M}\n",
                 ":22: error: tranche_settings.quotas[2]: the limit of deployment eu is in line 20 "
                 "already");
}

static void limits_of_files_and_what_counts_are_taken_over(void **state)
{
    struct loaded *l = *state;

    load(l, "tranche_settings:\n"
            "  count_output_tokens: {openai: true, azure: yes}\n"
            "  delete_moved_copies: true\n"
            "  move_failed: off\n"
            "  refund_at: cancelling\n"
            "  azure_file_expires_after: 14d\n"
            "  limits:\n"
            "    body_grace_ms: 5s\n"
            "    max_files: {openai: 1, azure: 2}\n"
            "    max_expiring_files: {openai: 3, azure: 0}\n");
    assert_int_equal(l->rc, 0);
    assert_true(l->config->count_output_tokens[PROVIDER_OPENAI]);
    assert_true(l->config->count_output_tokens[PROVIDER_AZURE]);
    assert_true(l->config->delete_moved_copies);
    assert_false(l->config->move_failed);
    assert_true(l->config->refund_at_cancelling);
    assert_int_equal(l->config->azure_file_expiry_s, 1209600);
    assert_int_equal(l->config->limits.body_grace_ms, 5000);
    assert_int_equal(l->config->limits.max_files[PROVIDER_OPENAI], 1);
    assert_int_equal(l->config->limits.max_files[PROVIDER_AZURE], 2);
    assert_int_equal(l->config->limits.max_expiring_files[PROVIDER_OPENAI], 3);
    assert_int_equal(l->config->limits.max_expiring_files[PROVIDER_AZURE], 0);
    assert_not_told(l, "warning");
}

static void the_defaults_of_the_balancer_are_those_of_the_header(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list: []\n");
    assert_int_equal(l->rc, 0);
    assert_false(l->config->count_output_tokens[PROVIDER_OPENAI]);
    assert_false(l->config->count_output_tokens[PROVIDER_AZURE]);
    assert_false(l->config->delete_moved_copies);
    assert_true(l->config->move_failed);
    assert_false(l->config->refund_at_cancelling);
    assert_int_equal(l->config->azure_file_expiry_s, 0);
    assert_int_equal(l->config->limits.body_grace_ms, 20000);
    assert_int_equal(l->config->limits.max_files[PROVIDER_OPENAI], 0);
    assert_int_equal(l->config->limits.max_files[PROVIDER_AZURE], 500);
    assert_int_equal(l->config->limits.max_expiring_files[PROVIDER_AZURE], 10000);
    assert_int_equal(l->config->retry_after_ms, 0);
    assert_int_equal(l->config->max_fallbacks, 5);
    assert_int_equal(l->config->num_fallbacks, 0);
    for (int i = 0; i < CONFIG_FAILURE_CLASSES; i++) {
        assert_int_equal(l->config->allowed_fails_of[i], UINT32_MAX);
        assert_int_equal(l->config->retries_of[i], UINT32_MAX);
    }
}

static void azure_keeps_files_for_an_hour_to_30_days_or_for_ever(void **state)
{
    static const char *const wrong[] = {"59m", "31d", "soon", "-1", "''"};
    struct loaded *l = *state;
    char yaml[128];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(yaml, sizeof(yaml), "tranche_settings:\n  azure_file_expires_after: %s\n",
                 wrong[i]);
        expect_error(l, yaml, ":2: error: tranche_settings.azure_file_expires_after: got \"");
        assert_told(l, "wanted none, or a duration from 1h to 30d");
    }
    load(l, "tranche_settings: {azure_file_expires_after: 30d}\n");
    assert_int_equal(l->config->azure_file_expiry_s, 2592000);
    load(l, "tranche_settings: {azure_file_expires_after: 3d}\n"); /* real resources take it */
    assert_int_equal(l->config->azure_file_expiry_s, 259200);
    load(l, "tranche_settings: {azure_min_expires_after: 14d}\n");
    assert_int_equal(l->config->azure_min_expiry_ms, 1209600000);
    load(l, "tranche_settings: {azure_file_expires_after: none}\n");
    assert_int_equal(l->config->azure_min_expiry_ms, 0);
    assert_int_equal(l->config->azure_file_expiry_s, 0);
    load(l, "tranche_settings: {azure_file_expires_after: 0}\n");
    assert_int_equal(l->config->azure_file_expiry_s, 0);
}

static void the_policies_have_litellms_names(void **state)
{
    struct loaded *l = *state;

    load(l, "router_settings:\n"
            "  retry_after: 2\n"
            "  max_fallbacks: 7\n"
            "  allowed_fails_policy:\n"
            "    AuthenticationErrorAllowedFails: 10\n"
            "    TimeoutErrorAllowedFails: 11\n"
            "    RateLimitErrorAllowedFails: 12\n"
            "    InternalServerErrorAllowedFails: 0\n"
            "  retry_policy:\n"
            "    AuthenticationErrorRetries: 0\n"
            "    TimeoutErrorRetries: 21\n"
            "    RateLimitErrorRetries: 22\n"
            "    InternalServerErrorRetries: 23\n");
    assert_int_equal(l->rc, 0);
    assert_not_told(l, "warning");
    assert_int_equal(l->config->retry_after_ms, 2000);
    assert_int_equal(l->config->max_fallbacks, 7);
    assert_int_equal(l->config->allowed_fails_of[CONFIG_AUTHENTICATION], 10);
    assert_int_equal(l->config->allowed_fails_of[CONFIG_TIMEOUT], 11);
    assert_int_equal(l->config->allowed_fails_of[CONFIG_RATE_LIMIT], 12);
    assert_int_equal(l->config->allowed_fails_of[CONFIG_INTERNAL_SERVER], 0);
    assert_int_equal(l->config->allowed_fails_of[CONFIG_BAD_REQUEST], UINT32_MAX);
    assert_int_equal(l->config->retries_of[CONFIG_AUTHENTICATION], 0);
    assert_int_equal(l->config->retries_of[CONFIG_TIMEOUT], 21);
    assert_int_equal(l->config->retries_of[CONFIG_RATE_LIMIT], 22);
    assert_int_equal(l->config->retries_of[CONFIG_INTERNAL_SERVER], 23);
    assert_told(l, ":6: honoured: router_settings.allowed_fails_policy.TimeoutErrorAllowedFails: "
                   "= 11");
}

static void policies_for_requests_at_fault_are_told_to_have_no_effect(void **state)
{
    struct loaded *l = *state;

    load(l, "router_settings:\n"
            "  allowed_fails_policy: {BadRequestErrorAllowedFails: 1}\n"
            "  retry_policy:\n"
            "    ContentPolicyViolationErrorRetries: 2\n"
            "    NotFoundErrorRetries: 3\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->allowed_fails_of[CONFIG_BAD_REQUEST], 1);
    assert_int_equal(l->config->retries_of[CONFIG_CONTENT_POLICY], 2);
    assert_told(l, ":2: warning: router_settings.allowed_fails_policy."
                   "BadRequestErrorAllowedFails: without effect");
    assert_told(l, ":4: warning: router_settings.retry_policy."
                   "ContentPolicyViolationErrorRetries: without effect");
    assert_told(l, ":5: warning: router_settings.retry_policy.NotFoundErrorRetries: ignored");
}

static void misspelt_policies_get_a_guess_and_wrong_ones_an_error(void **state)
{
    struct loaded *l = *state;

    expect_warning(l,
                   "router_settings:\n"
                   "  allowed_fails_policy: {RateLimitErrorAlowedFails: 1}\n"
                   "  fallback: []\n",
                   ":2: warning: router_settings.allowed_fails_policy.RateLimitErrorAlowedFails: "
                   "unknown key, did you mean \"RateLimitErrorAllowedFails\"?");
    assert_told(l, ":3: warning: router_settings.fallback: unknown key, did you mean "
                   "\"fallbacks\"?");
    expect_error(l, "router_settings:\n  retry_policy: {TimeoutErrorRetries: -1}\n",
                 ":2: error: router_settings.retry_policy.TimeoutErrorRetries: got \"-1\"");
    expect_error(l, "router_settings:\n  retry_policy: 5\n",
                 ":2: error: router_settings.retry_"
                 "policy: got \"5\", wanted a mapping");
}

static void the_routers_policies_win_over_litellms_own(void **state)
{
    struct loaded *l = *state;

    load(l, "litellm_settings:\n"
            "  retry_after: 9\n"
            "  max_fallbacks: 9\n"
            "  allowed_fails_policy: {TimeoutErrorAllowedFails: 9, RateLimitErrorAllowedFails: 8}\n"
            "router_settings:\n"
            "  retry_after: 1\n"
            "  max_fallbacks: 2\n"
            "  allowed_fails_policy: {TimeoutErrorAllowedFails: 3}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->retry_after_ms, 1000);
    assert_int_equal(l->config->max_fallbacks, 2);
    assert_int_equal(l->config->allowed_fails_of[CONFIG_TIMEOUT], 3);
    assert_int_equal(l->config->allowed_fails_of[CONFIG_RATE_LIMIT], 8);
}

static void a_group_may_have_a_retry_policy_of_its_own(void **state)
{
    struct loaded *l = *state;
    struct strbuf text = STRBUF_INIT;

    load(l, THREE_ROWS "router_settings:\n"
                       "  retry_policy: {TimeoutErrorRetries: 1}\n"
                       "  model_group_retry_policy:\n"
                       "    h: {RateLimitErrorRetries: 4, TimeoutErrorRetries: null}\n"
                       "    g: {InternalServerErrorRetries: 0, BadRequestErrorRetries: 2}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_group_retries, 2);
    assert_string_equal(l->config->group_retries[0].group, "h");
    assert_int_equal(l->config->group_retries[0].retries_of[CONFIG_RATE_LIMIT], 4);
    assert_int_equal(l->config->group_retries[0].retries_of[CONFIG_TIMEOUT], UINT32_MAX);
    assert_string_equal(l->config->group_retries[1].group, "g");
    assert_int_equal(l->config->group_retries[1].retries_of[CONFIG_INTERNAL_SERVER], 0);
    assert_told(l, ":21: honoured: router_settings.model_group_retry_policy.h."
                   "RateLimitErrorRetries: = 4");
    assert_told(l, ":22: warning: router_settings.model_group_retry_policy.g."
                   "BadRequestErrorRetries: without effect");
    config_describe(l->config, &text);
    assert_non_null(strstr(strbuf_str(&text), "retry_policy of h"));
    strbuf_deinit(&text);
}

static void wrong_retry_policies_of_groups_are_told_with_their_line(void **state)
{
    struct loaded *l = *state;

#define POLICY "router_settings:\n  model_group_retry_policy:"
    expect_error(l, THREE_ROWS POLICY " [g]\n",
                 ":19: error: router_settings.model_group_retry_policy: got a list, wanted a "
                 "mapping such as {group: {RateLimitErrorRetries: 3}}");
    expect_error(l, THREE_ROWS POLICY "\n    g: 3\n",
                 ":20: error: router_settings.model_group_retry_policy.g: got \"3\", wanted a "
                 "mapping");
    expect_error(l, THREE_ROWS POLICY "\n    g:\n      RateLimitErrorRetries: many\n",
                 ":21: error: router_settings.model_group_retry_policy.g.RateLimitErrorRetries: "
                 "got \"many\", wanted");
    expect_error(l, THREE_ROWS POLICY "\n    g: {RateLimitErrorRetries: [3]}\n",
                 ":20: error: router_settings.model_group_retry_policy.g.RateLimitErrorRetries: "
                 "got a list, wanted a single value");
    expect_error(l, THREE_ROWS POLICY " os.environ/TRANCHE_TEST_UNSET\n",
                 ":19: error: router_settings.model_group_retry_policy: the environment variable "
                 "TRANCHE_TEST_UNSET is not set");
    expect_error(l, THREE_ROWS POLICY "\n    g: os.environ/TRANCHE_TEST_UNSET\n",
                 ":20: error: router_settings.model_group_retry_policy.g: the environment variable "
                 "TRANCHE_TEST_UNSET is not set");
    expect_warning(l, THREE_ROWS POLICY "\n    g: {RateLimitErorRetries: 3}\n",
                   ":20: warning: router_settings.model_group_retry_policy.g.RateLimitErorRetries: "
                   "unknown key, did you mean \"RateLimitErrorRetries\"?");
    expect_warning(l, THREE_ROWS POLICY "\n    g: {NotFoundErrorRetries: 3}\n",
                   ":20: warning: router_settings.model_group_retry_policy.g.NotFoundErrorRetries: "
                   "ignored: of LiteLLM's settings");
    expect_warning(l, THREE_ROWS POLICY "\n    nobody: {RateLimitErrorRetries: 3}\n",
                   ":20: warning: router_settings.model_group_retry_policy.nobody: ignored: no row "
                   "of that group is served here");
    assert_int_equal(l->config->num_group_retries, 0);
    load(l, THREE_ROWS POLICY "\n");
    assert_int_equal(l->rc, 0);
#undef POLICY
}

static void rests_can_be_disabled(void **state)
{
    struct loaded *l = *state;

    load(l, "router_settings: {disable_cooldowns: true}\n");
    assert_int_equal(l->rc, 0);
    assert_true(l->config->disable_cooldowns);
    assert_told(l, ":1: honoured: router_settings.disable_cooldowns: = true");
    load(l, "router_settings: {}\n");
    assert_false(l->config->disable_cooldowns);
    expect_error(l, "router_settings: {disable_cooldowns: sometimes}\n",
                 ":1: error: router_settings.disable_cooldowns: got \"sometimes\", wanted ");
}

static void assert_fallback(const struct loaded *l, size_t i, const char *group, const char *first,
                            const char *second)
{
    const struct config_fallback *fallback;

    assert_non_null(l->config);
    assert_true(i < l->config->num_fallbacks);
    fallback = &l->config->fallbacks[i];
    assert_string_equal(fallback->group, group);
    assert_int_equal(fallback->num_to, second == NULL ? 1 : 2);
    assert_string_equal(fallback->to[0], first);
    if (second != NULL)
        assert_string_equal(fallback->to[1], second);
}

static void fallbacks_come_in_the_order_of_the_file_and_those_for_all_last(void **state)
{
    struct loaded *l = *state;

    load(l, THREE_ROWS "router_settings:\n"
                       "  default_fallbacks: [h]\n"
                       "  fallbacks:\n"
                       "  - '*': [g]\n"
                       "  - h: [g]\n"
                       "  - {g: [h, g]}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_fallbacks, 4);
    assert_fallback(l, 0, "h", "g", NULL);
    assert_fallback(l, 1, "g", "h", "g");
    assert_fallback(l, 2, "*", "g", NULL);
    assert_fallback(l, 3, "*", "h", NULL);
    assert_told(l, ":23: honoured: router_settings.fallbacks[2].g: = h, g");
    assert_told(l, ":19: honoured: router_settings.default_fallbacks: = h");
}

static void fallbacks_of_litellm_settings_count_where_the_router_has_none(void **state)
{
    struct loaded *l = *state;

    load(l, THREE_ROWS "litellm_settings:\n"
                       "  fallbacks: [{g: [h]}]\n"
                       "  default_fallbacks: h\n"
                       "router_settings:\n"
                       "  fallbacks: [{h: g}]\n"
                       "  default_fallbacks:\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_fallbacks, 2);
    assert_fallback(l, 0, "h", "g", NULL);
    assert_fallback(l, 1, "*", "h", NULL);
}

static void names_that_nobody_serves_drop_out_of_fallbacks_with_a_warning(void **state)
{
    struct loaded *l = *state;

    expect_warning(l, THREE_ROWS "router_settings:\n  fallbacks:\n  - g: [h, nobody]\n",
                   ":20: warning: router_settings.fallbacks[0].g[1]: ignored: \"nobody\" is no "
                   "model_name of model_list, no alias and no model_info.id");
    assert_fallback(l, 0, "g", "h", NULL);
    expect_warning(l, THREE_ROWS "router_settings:\n  fallbacks:\n  - nobody: [h]\n",
                   ":20: warning: router_settings.fallbacks[0].nobody: ignored: \"nobody\"");
    expect_warning(l, THREE_ROWS "router_settings:\n  default_fallbacks:\n  - nobody\n",
                   ":20: warning: router_settings.default_fallbacks[0]: ignored: \"nobody\"");
}

static void groups_that_are_not_served_drop_out_of_fallbacks(void **state)
{
    struct loaded *l = *state;

    expect_warning(l,
                   THREE_ROWS "router_settings:\n  fallbacks:\n"
                              "  - g: [claude, h]\n"
                              "  - h: [claude]\n"
                              "  - claude: [h]\n",
                   ":20: warning: router_settings.fallbacks[0].g[0]: ignored: no row of that "
                   "group is served here");
    assert_told(l, ":22: warning: router_settings.fallbacks[2].claude: ignored");
    assert_int_equal(l->config->num_fallbacks, 1);
    assert_fallback(l, 0, "g", "h", NULL);
}

static void the_first_of_two_fallbacks_of_a_group_counts(void **state)
{
    struct loaded *l = *state;

    expect_warning(l, THREE_ROWS "router_settings:\n  fallbacks:\n  - g: [h]\n  - g: [g]\n",
                   ":21: warning: router_settings.fallbacks[1].g: ignored: an earlier entry");
    assert_int_equal(l->config->num_fallbacks, 1);
    assert_fallback(l, 0, "g", "h", NULL);
}

static void fallbacks_of_another_shape_are_errors(void **state)
{
    struct loaded *l = *state;

    expect_error(l, THREE_ROWS "router_settings:\n  fallbacks: {g: [h]}\n",
                 ":19: error: router_settings.fallbacks: got a mapping, wanted a list such as");
    expect_error(l, THREE_ROWS "router_settings:\n  fallbacks: [g]\n",
                 "router_settings.fallbacks[0]: got \"g\", wanted a mapping such as");
    expect_error(l, THREE_ROWS "router_settings:\n  fallbacks: [{g: [{h: x}]}]\n",
                 "router_settings.fallbacks[0].g[0]: got a mapping, wanted a model_name");
    expect_error(l, THREE_ROWS "router_settings:\n  default_fallbacks: {g: h}\n",
                 "router_settings.default_fallbacks: got a mapping, wanted a list of groups");
    expect_error(l, THREE_ROWS "router_settings:\n  default_fallbacks: os.environ/TEST_BASE\n",
                 "router_settings.default_fallbacks: the environment variable TEST_BASE is not "
                 "set or empty");
}

static void a_description_tells_what_the_balancer_goes_by(void **state)
{
    static const char *const parts[] = {
        "allowed_fails_policy           Timeout 11, RateLimit 0\n",
        "retry_policy                   InternalServer 4\n",
        "retry_after                    2s\n",
        "fallbacks                      g -> h\n",
        "fallbacks                      * -> h, g\n",
        "max_fallbacks                  5\n",
        "count_output_tokens.openai     true\n",
        "count_output_tokens.azure      false\n",
        "azure_file_expires_after       20d\n",
        "delete_moved_copies            false\n",
        "move_failed                    no journal, no moves\n",
        "refund_at                      terminal\n",
        "limits.body_grace_ms           20s\n",
        "limits.max_files.openai        no limit\n",
        "limits.max_files.azure         500\n",
        "limits.max_expiring_files.azure 10000\n",
        "upstream name d, cooldown_time 7s, at most 200M tokens enqueued\n"};
    struct loaded *l = *state;
    struct strbuf text = STRBUF_INIT;

    load(l, "model_list:\n" AZURE_ROW(
                "d", ", cooldown_time: 7") "- {model_name: h, litellm_params: {model: openai/a}}\n"
                                           "router_settings:\n"
                                           "  allowed_fails_policy: {TimeoutErrorAllowedFails: 11, "
                                           "RateLimitErrorAllowedFails: 0}\n"
                                           "  retry_policy: {InternalServerErrorRetries: 4}\n"
                                           "  retry_after: 2\n"
                                           "  fallbacks: [{g: [h]}]\n"
                                           "  default_fallbacks: [h, g]\n"
                                           "tranche_settings:\n"
                                           "  quotas: [{model_name: g, enqueued_tokens: 200M}]\n"
                                           "  azure_file_expires_after: 20d\n"
                                           "  count_output_tokens: {openai: true}\n");
    assert_int_equal(l->rc, 0);
    config_describe(l->config, &text);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strstr(strbuf_str(&text), parts[i]) == NULL)
            fail_msg("\"%s\" is not in:\n%s", parts[i], strbuf_str(&text));
    }
    strbuf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_row_may_say_its_own_token_limit_and_rest),
        TEST(limits_of_the_minute_are_read_from_each_of_their_places),
        TEST(the_buffer_of_latency_based_routing_is_taken),
        TEST(wrong_limits_of_a_row_are_errors),
        TEST(num_retries_of_a_row_is_another_name_of_max_retries_and_wins),
        TEST(the_closest_quota_counts_wherever_it_stands),
        TEST(a_quota_for_nobody_is_an_error_with_its_line),
        TEST(a_quota_of_a_row_that_is_not_served_is_ignored),
        TEST(half_a_quota_and_two_for_one_deployment_are_errors),
        TEST(limits_of_files_and_what_counts_are_taken_over),
        TEST(the_defaults_of_the_balancer_are_those_of_the_header),
        TEST(azure_keeps_files_for_an_hour_to_30_days_or_for_ever),
        TEST(the_policies_have_litellms_names),
        TEST(policies_for_requests_at_fault_are_told_to_have_no_effect),
        TEST(misspelt_policies_get_a_guess_and_wrong_ones_an_error),
        TEST(the_routers_policies_win_over_litellms_own),
        TEST(a_group_may_have_a_retry_policy_of_its_own),
        TEST(wrong_retry_policies_of_groups_are_told_with_their_line),
        TEST(rests_can_be_disabled),
        TEST(fallbacks_come_in_the_order_of_the_file_and_those_for_all_last),
        TEST(fallbacks_of_litellm_settings_count_where_the_router_has_none),
        TEST(names_that_nobody_serves_drop_out_of_fallbacks_with_a_warning),
        TEST(groups_that_are_not_served_drop_out_of_fallbacks),
        TEST(the_first_of_two_fallbacks_of_a_group_counts),
        TEST(fallbacks_of_another_shape_are_errors),
        TEST(a_description_tells_what_the_balancer_goes_by),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
