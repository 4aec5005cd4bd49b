/* See group_retries.h. */
#include "group_retries.h"

#include <stdlib.h>
#include <string.h>

#include "models.h"
#include "schema.h"
#include "settings.h"

static const struct {
    const char *key;
    enum config_failure_class class;
    bool idle; /* a request that is at fault is answered: nobody asks again */
} kinds[] = {{"BadRequestErrorRetries", CONFIG_BAD_REQUEST, true},
             {"AuthenticationErrorRetries", CONFIG_AUTHENTICATION, false},
             {"TimeoutErrorRetries", CONFIG_TIMEOUT, false},
             {"RateLimitErrorRetries", CONFIG_RATE_LIMIT, false},
             {"ContentPolicyViolationErrorRetries", CONFIG_CONTENT_POLICY, true},
             {"InternalServerErrorRetries", CONFIG_INTERNAL_SERVER, false}};

static void take_number(const struct node *policy, size_t kind, struct reporter *reporter,
                        uint32_t *retries_of)
{
    static const struct scalar_rule rule = {SCALAR_INT, 0, 1000000};
    const struct node *node = node_get(policy, kinds[kind].key);
    union scalar_value value;

    if (node == NULL || node->skipped || node->kind != NODE_SCALAR ||
        !settings_parse(&rule, node->text, node, reporter, &value))
        return;
    retries_of[kinds[kind].class] = (uint32_t)value.integer;
    if (kinds[kind].idle)
        report_at(reporter, CONFIG_WARNING, node, SETTINGS_IDLE_FAILURE);
    else
        settings_honoured(&rule, &value, node, reporter);
}

static int take_policy(struct node *policy, struct reporter *reporter, struct config *config)
{
    struct config_group_retries *all;

    if (!models_has_group(&config->models, policy->key)) {
        report_at(reporter, CONFIG_WARNING, policy, "ignored: no row of that group is served here");
        return 0;
    }
    schema_check_retries(policy, reporter);
    if (policy->skipped)
        return 0;
    all = realloc(config->group_retries, (config->num_group_retries + 1) * sizeof(*all));
    if (all == NULL)
        return ERR_NOMEM;
    config->group_retries = all;
    all += config->num_group_retries;
    all->group = strdup(policy->key);
    if (all->group == NULL)
        return ERR_NOMEM;
    config->num_group_retries++;
    for (int i = 0; i < CONFIG_FAILURE_CLASSES; i++)
        all->retries_of[i] = UINT32_MAX;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        take_number(policy, i, reporter, all->retries_of);
    return 0;
}

int group_retries_take(struct node *root, struct reporter *reporter, struct config *config)
{
    struct node *policies = node_get(node_get(root, "router_settings"), "model_group_retry_policy");
    int rc = 0;

    if (policies == NULL || policies->skipped)
        return 0;
    if (policies->kind == NODE_NULL && policies->variable != NULL)
        report_at(reporter, CONFIG_ERROR, policies,
                  "the environment variable %s is not set or empty", node_variable_name(policies));
    else if (policies->kind == NODE_SCALAR || policies->kind == NODE_LIST)
        report_wanted(reporter, policies, "a mapping such as {group: {RateLimitErrorRetries: 3}}");
    if (policies->kind != NODE_MAP)
        return 0;
    for (size_t i = 0; i < policies->num_items && rc == 0; i++)
        rc = take_policy(policies->items[i], reporter, config);
    return rc;
}
