/* See webhooks.h. Of a URL only scheme, host and port are ever shown: its path is often a secret. */
#include "webhooks.h"

#include <stdlib.h>
#include <string.h>

#include "config/guess.h"
#include "crypto/ids.h"
#include "scalar.h"
#include "webhook/hook_event.h"
#include "webhook/hook_sign.h"
#include "webhook/hook_url.h"

#define MAX_WEBHOOKS 64
#define MAX_RANGES   64
#define MAX_OWNER    256 /* bytes */

static const char *const fields[] = {"url", "secret", "events", "owner"};
#define NUM_FIELDS (sizeof(fields) / sizeof(fields[0]))

static bool is_given(const struct node *node)
{
    return node != NULL && (node->kind != NODE_NULL || node->variable != NULL);
}

static int copy(const char *text, char **out)
{
    *out = strdup(text);
    return *out != NULL ? 0 : ERR_NOMEM;
}

/* ---- one endpoint ---- */

static void check_names(const struct node *map, struct reporter *reporter)
{
    for (size_t i = 0; i < map->num_items; i++) {
        const struct node *node = map->items[i];
        struct guess guess;
        size_t k = 0;

        while (k < NUM_FIELDS && strcmp(fields[k], node->key) != 0)
            k++;
        if (k < NUM_FIELDS)
            continue;
        guess_init(&guess, node->key);
        for (k = 0; k < NUM_FIELDS; k++)
            guess_offer(&guess, fields[k]);
        if (guess.best != NULL)
            report_at(reporter, CONFIG_WARNING, node, "unknown key, did you mean \"%s\"?",
                      guess.best);
        else
            report_at(reporter, CONFIG_WARNING, node, "unknown key");
    }
}

static int take_url(const struct node *map, const struct config *config, struct reporter *reporter,
                    struct config_webhook *out)
{
    const struct node *node = node_get(map, "url");
    const char *text = node_text(node), *fault;

    if (text == NULL) {
        if (node == NULL || !report_unset(reporter, CONFIG_ERROR, node))
            report_under(reporter, CONFIG_ERROR, map, "url", "missing: where events go");
        return 0;
    }
    fault = hook_url_fault(text, config->webhook_allow_http);
    if (fault != NULL) {
        report_at(reporter, CONFIG_ERROR, node, "this URL cannot be told of events: %s", fault);
        return 0;
    }
    return copy(text, &out->url);
}

static int take_secret(const struct node *map, struct reporter *reporter,
                       struct config_webhook *out)
{
    const struct node *node = node_get(map, "secret");
    const char *text = node_text(node), *fault;

    if (text == NULL) {
        if (node == NULL || !report_unset(reporter, CONFIG_ERROR, node))
            report_under(reporter, CONFIG_ERROR, map, "secret",
                         "missing: what events are signed with; give os.environ/NAME, of whsec_ "
                         "and base64 or any text of 16 characters or more");
        return 0;
    }
    fault = hook_secret_fault(text);
    if (fault != NULL) {
        report_at(reporter, CONFIG_ERROR, node, "this secret cannot sign: %s", fault);
        return 0;
    }
    return secret_set(&out->secret, text, strlen(text));
}

static void take_type(const struct node *node, struct reporter *reporter,
                      struct config_webhook *out)
{
    enum hook_type type;

    if (node_text(node) != NULL && hook_type_of(node_text(node), &type))
        out->types |= 1u << type;
    else
        report_wanted(reporter, node,
                      "batch.completed, batch.failed, batch.expired or batch.cancelled");
}

static void take_types(const struct node *map, struct reporter *reporter,
                       struct config_webhook *out)
{
    const struct node *node = node_get(map, "events");

    out->types = 0;
    if (!is_given(node))
        out->types = HOOK_ALL_TYPES;
    else if (node->kind == NODE_LIST && node->num_items > 0)
        for (size_t i = 0; i < node->num_items; i++)
            take_type(node->items[i], reporter, out);
    else
        report_wanted(reporter, node, "a list of types such as [batch.completed, batch.failed]");
}

static int take_owner(const struct node *map, struct reporter *reporter, struct config_webhook *out)
{
    const struct node *node = node_get(map, "owner");
    const char *text = node_text(node);

    out->all = !is_given(node);
    if (out->all)
        return 0;
    if (text == NULL || strlen(text) > MAX_OWNER ||
        (strcmp(text, "master") != 0 &&
         ((strncmp(text, "team:", 5) != 0 && strncmp(text, "key:", 4) != 0) ||
          strchr(text, ':')[1] == '\0'))) {
        report_wanted(reporter, node,
                      "team:<team_id>, key:<a key's id> or master; without it, all batches");
        return 0;
    }
    out->owner = strcmp(text, "master") == 0 ? 0 : ids_owner_fingerprint(text);
    return copy(text, &out->owner_name);
}

/* Two of one URL and owner would be one row, and one of them be told nothing. */
static void check_twice(const struct config *config, const struct node *map,
                        struct reporter *reporter)
{
    const struct config_webhook *last = &config->webhooks[config->num_webhooks - 1];

    for (const struct config_webhook *w = config->webhooks; last->url != NULL && w < last; w++)
        if (w->url != NULL && strcmp(w->url, last->url) == 0 && w->all == last->all &&
            w->owner == last->owner)
            report_under(reporter, CONFIG_ERROR, map, "url",
                         "an endpoint before has the same URL and owner");
}

static int take_one(const struct node *map, struct reporter *reporter, struct config *config)
{
    struct config_webhook *out = &config->webhooks[config->num_webhooks];
    int rc;

    if (map->kind != NODE_MAP) {
        report_wanted(reporter, map, "url, secret, and perhaps events and owner");
        return 0;
    }
    config->num_webhooks++;
    check_names(map, reporter);
    take_types(map, reporter, out);
    rc = take_url(map, config, reporter, out);
    if (rc == 0)
        rc = take_secret(map, reporter, out);
    if (rc == 0)
        rc = take_owner(map, reporter, out);
    if (rc == 0)
        check_twice(config, map, reporter);
    if (rc == 0 && out->url != NULL)
        report_under(reporter, CONFIG_HONOURED, map, "url", "= %.*s/...", hook_url_shown(out->url),
                     out->url);
    return rc;
}

static int take_list(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.webhooks");
    int rc = 0;

    if (!is_given(node))
        return 0;
    if (node->kind != NODE_LIST || node->num_items > MAX_WEBHOOKS) {
        report_wanted(reporter, node, "a list of at most 64 endpoints");
        return 0;
    }
    if (node->num_items > 0 && !config->journal)
        report_at(reporter, CONFIG_ERROR, node,
                  "webhooks need the journal, which knows when a batch ends: set "
                  "tranche_settings.database, and leave journal true");
    config->webhooks = calloc(node->num_items + 1, sizeof(*config->webhooks));
    if (config->webhooks == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; rc == 0 && i < node->num_items; i++)
        rc = take_one(node->items[i], reporter, config);
    return rc;
}

/* ---- whom they may reach ---- */

static void take_http(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.webhook_allow_http");
    const struct scalar_rule rule = {SCALAR_BOOL, 0, 0};
    union scalar_value value;

    if (!is_given(node))
        return;
    if (node_text(node) == NULL || scalar_parse(&rule, node_text(node), &value) != 0) {
        report_wanted(reporter, node, "true or false");
        return;
    }
    config->webhook_allow_http = value.truth;
    report_at(reporter, CONFIG_HONOURED, node, "= %s", value.truth ? "true" : "false");
}

static int take_ranges(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.webhook_allow_addresses");

    if (!is_given(node))
        return 0;
    if (node->kind != NODE_LIST || node->num_items > MAX_RANGES) {
        report_wanted(reporter, node, "a list of at most 64 addresses or ranges");
        return 0;
    }
    config->webhook_ranges = calloc(node->num_items + 1, sizeof(*config->webhook_ranges));
    if (config->webhook_ranges == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < node->num_items; i++) {
        const char *text = node_text(node->items[i]);

        if (text != NULL &&
            hook_range_read(text, &config->webhook_ranges[config->num_webhook_ranges]) == 0)
            config->num_webhook_ranges++;
        else
            report_wanted(reporter, node->items[i],
                          "an address or a range such as 10.1.0.0/16 or fd00:1::/32, without bits "
                          "behind those that count");
    }
    report_at(reporter, CONFIG_HONOURED, node, "= %zu ranges", config->num_webhook_ranges);
    return 0;
}

static int take_ca_file(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.webhook_ca_file");

    if (!is_given(node))
        return 0;
    if (node_text(node) == NULL || *node_text(node) == '\0') {
        report_wanted(reporter, node, "a file with certificates (PEM)");
        return 0;
    }
    config->webhook_ca_file = node_beside(node, node_text(node));
    if (config->webhook_ca_file == NULL)
        return ERR_NOMEM;
    report_at(reporter, CONFIG_HONOURED, node, "= %s", config->webhook_ca_file);
    return 0;
}

int webhooks_take(const struct node *root, struct reporter *reporter, struct config *config)
{
    int rc;

    take_http(root, reporter, config);
    rc = take_ranges(root, reporter, config);
    if (rc == 0)
        rc = take_ca_file(root, reporter, config);
    return rc == 0 ? take_list(root, reporter, config) : rc;
}

void webhooks_deinit(struct config *config)
{
    for (size_t i = 0; i < config->num_webhooks; i++) {
        free(config->webhooks[i].url);
        secret_clear(&config->webhooks[i].secret);
        free(config->webhooks[i].owner_name);
    }
    free(config->webhooks);
    free(config->webhook_ranges);
    free(config->webhook_ca_file);
}
