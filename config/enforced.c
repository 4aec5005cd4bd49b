/* See enforced.h. */
#include "enforced.h"

#include <strings.h>

#include "key_fields.h"

#define DAY_MS 86400000
#define MIB    (INT64_C(1) << 20) /* what LiteLLM calls a megabyte */

/* Of the two sections where people write it the later one wins. */
static void take_file_size(const struct node *root, struct reporter *reporter,
                           struct config *config)
{
    static const char *const paths[] = {"litellm_settings.max_batch_file_size_mb",
                                        "general_settings.max_batch_file_size_mb"};
    static const struct scalar_rule rule = {SCALAR_INT, 1, INT64_C(1) << 30};
    union scalar_value value;

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        const struct node *node = node_find(root, paths[i]);

        if (!key_fields_given(node))
            continue;
        if (node_text(node) == NULL) {
            report_wanted(reporter, node, "a number of megabytes");
        } else if (settings_parse(&rule, node->text, node, reporter, &value)) {
            config->limits.max_batch_file_bytes = (uint64_t)(value.integer * MIB);
            settings_honoured(&rule, &value, node, reporter);
        }
    }
}

static void take_expiry(const struct node *root, const char *path, struct reporter *reporter,
                        uint32_t *seconds)
{
    const struct node *node = node_find(root, path);

    if (!key_fields_given(node))
        return;
    key_fields_expiry(node, reporter, seconds);
    if (*seconds != 0)
        report_at(reporter, CONFIG_HONOURED, node, "= %lu s", (unsigned long)*seconds);
}

/* Azure's text says 14 to 30 days (providers 2.4), but real resources take less; without any, files
 * stay until somebody deletes them. */
static void take_file_expiry(const struct settings_input *in, struct config *config)
{
    static const struct scalar_rule rule = {SCALAR_SECONDS, 0, 30 * (int64_t)DAY_MS};
    const struct node *node = node_find(in->root, "tranche_settings.azure_file_expires_after");
    const char *text = in->raw->tranche.azure_file_expires_after;
    union scalar_value value = {0};

    if (text == NULL)
        return;
    if (strcasecmp(text, "none") != 0 &&
        (scalar_parse(&rule, text, &value) != 0 ||
         (value.integer != 0 && value.integer < (int64_t)DAY_MS / 24))) {
        report_wanted(in->reporter, node, "none, or a duration from 1h to 30d");
        return;
    }
    config->azure_file_expiry_s = (uint32_t)(value.integer / 1000);
    settings_honoured(&rule, &value, node, in->reporter);
}

void enforced_take(const struct settings_input *in, struct config *config)
{
    const struct node *root = in->root;
    struct reporter *reporter = in->reporter;

    take_file_expiry(in, config);
    take_file_size(root, reporter, config);
    take_expiry(root, "litellm_settings.enforced_file_expires_after", reporter,
                &config->enforced_file_expiry_s);
    take_expiry(root, "litellm_settings.enforced_batch_output_expires_after", reporter,
                &config->enforced_output_expiry_s);
}
