/* See enforced.h. */
#include "enforced.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/strbuf.h"

#include "key_fields.h"

#define DAY_MS 86400000
#define MIB    (INT64_C(1) << 20) /* what LiteLLM calls a megabyte */

#define MAX_EXTENSIONS 256
#define MAX_EXTENSION  64 /* bytes of one */

static void take_megabytes(const struct node *root, const char *path, int64_t least,
                           struct reporter *reporter, uint64_t *bytes)
{
    const struct scalar_rule rule = {SCALAR_INT, least, INT64_C(1) << 30};
    const struct node *node = node_find(root, path);
    union scalar_value value;

    if (!key_fields_given(node))
        return;
    if (node_text(node) == NULL) {
        report_wanted(reporter, node, "a number of megabytes");
    } else if (settings_parse(&rule, node->text, node, reporter, &value)) {
        *bytes = (uint64_t)(value.integer * MIB);
        settings_honoured(&rule, &value, node, reporter);
    }
}

/* Of the two sections where people write the one of batches the later one wins. Of the other one
 * LiteLLM takes 0 for none. */
static void take_file_sizes(const struct node *root, struct reporter *reporter,
                            struct config *config)
{
    struct config_limits *limits = &config->limits;

    take_megabytes(root, "litellm_settings.max_batch_file_size_mb", 1, reporter,
                   &limits->max_batch_file_bytes);
    take_megabytes(root, "general_settings.max_batch_file_size_mb", 1, reporter,
                   &limits->max_batch_file_bytes);
    take_megabytes(root, "general_settings.max_file_size_mb", 0, reporter,
                   &limits->max_any_file_bytes);
}

/* ".exe" of ".exe", "EXE" or "exe"; owned. NULL: out of memory, and *rc says so, or no ending, which
 * is reported. Only what is behind the last dot of a name is its ending. */
static char *extension_of(const struct node *node, struct reporter *reporter, int *rc)
{
    const char *text = node_text(node);
    struct strbuf out = STRBUF_INIT;
    char *taken;

    if (text != NULL)
        text += *text == '.';
    if (text == NULL || *text == '\0' || strlen(text) > MAX_EXTENSION ||
        strpbrk(text, "./\\* ") != NULL) {
        report_wanted(reporter, node, "the ending of a file's name, such as .exe");
        return NULL;
    }
    strbuf_addc(&out, '.');
    for (; *text != '\0'; text++)
        strbuf_addc(&out, (char)tolower((unsigned char)*text));
    taken = strbuf_take(&out);
    *rc = taken == NULL ? ERR_NOMEM : 0;
    return taken;
}

static int take_extensions(const struct node *root, struct reporter *reporter,
                           struct config *config)
{
    const struct node *node = node_find(root, "general_settings.blocked_file_extensions");
    int rc = 0;

    if (!key_fields_given(node))
        return 0;
    if (node->kind != NODE_LIST || node->num_items > MAX_EXTENSIONS) {
        report_wanted(reporter, node, "a list of at most 256 endings of file names");
        return 0;
    }
    config->blocked_extensions = calloc(node->num_items + 1, sizeof(char *));
    if (config->blocked_extensions == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < node->num_items && rc == 0; i++) {
        char *extension = extension_of(node->items[i], reporter, &rc);

        if (extension != NULL)
            config->blocked_extensions[config->num_blocked_extensions++] = extension;
    }
    report_at(reporter, CONFIG_HONOURED, node, "= %zu endings", config->num_blocked_extensions);
    return rc;
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

int enforced_take(const struct settings_input *in, struct config *config)
{
    const struct node *root = in->root;
    struct reporter *reporter = in->reporter;

    take_file_expiry(in, config);
    take_file_sizes(root, reporter, config);
    take_expiry(root, "litellm_settings.enforced_file_expires_after", reporter,
                &config->enforced_file_expiry_s);
    take_expiry(root, "litellm_settings.enforced_batch_output_expires_after", reporter,
                &config->enforced_output_expiry_s);
    return take_extensions(root, reporter, config);
}
