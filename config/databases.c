/* See databases.h. */
#include "databases.h"

#include <string.h>
#include <strings.h>

#include "common/retention.h"
#include "key_fields.h"

#define BY_NAME "database_url" /* the one that general_settings.database_url names */

static bool starts_with(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool is_postgres(const char *text)
{
    return starts_with(text, "postgresql://") || starts_with(text, "postgres://");
}

/* A relative path would be another file wherever it is started. */
static bool is_sqlite(const char *text)
{
    return starts_with(text, "sqlite:///") ||
           (starts_with(text, "sqlite:/") && !starts_with(text, "sqlite://"));
}

/* What a setting says, be it by another one's name.
 * @return NULL: nothing, or it was told */
static const char *text_of(const struct node *root, const struct node *node,
                           struct reporter *reporter)
{
    const char *text = node_text(node);

    if (node->kind == NODE_NULL && node->variable != NULL) {
        report_at(reporter, CONFIG_ERROR, node, "the environment variable %s is not set or empty",
                  node_variable_name(node));
        return NULL;
    }
    if (text == NULL || strcasecmp(text, "none") == 0)
        return NULL;
    if (strcmp(text, BY_NAME) != 0)
        return text;
    text = node_text(node_find(root, "general_settings.database_url"));
    if (text == NULL || *text == '\0')
        report_at(reporter, CONFIG_ERROR, node,
                  "general_settings.database_url is not set: set it, or give "
                  "os.environ/DATABASE_URL here");
    return text;
}

/* postgresql://user:password@host */
static int keep_password(const char *text, struct secret *out)
{
    const char *user = strstr(text, "://"), *at, *colon;

    if (user == NULL)
        return 0;
    user += strlen("://");
    at = memrchr(user, '@', strcspn(user, "/?"));
    colon = at != NULL ? memchr(user, ':', (size_t)(at - user)) : NULL;
    return colon != NULL ? secret_set(out, colon + 1, (size_t)(at - colon - 1)) : 0;
}

static int take(const struct node *root, const char *path, bool may_be_file,
                struct reporter *reporter, struct secret *out, struct secret *password)
{
    const struct node *node = node_find(root, path);
    const char *text = node != NULL ? text_of(root, node, reporter) : NULL;
    int rc;

    if (text == NULL)
        return 0;
    if (!is_postgres(text) && !(may_be_file && is_sqlite(text))) {
        report_at(reporter, CONFIG_ERROR, node,
                  "got ***, wanted none, os.environ/NAME, %spostgresql://...",
                  may_be_file ? "sqlite:///absolute/path or " : "");
        return 0;
    }
    report_at(reporter, CONFIG_HONOURED, node, "= ***");
    rc = secret_set(out, text, strlen(text));
    return rc == 0 ? keep_password(text, password) : rc;
}

/* Where it is not said, there is one wherever it has a database to stand in. */
static void take_journal(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.journal");

    if (node == NULL)
        config->journal = secret_is_set(&config->database);
    else if (config->journal && !secret_is_set(&config->database))
        report_at(
            reporter, CONFIG_ERROR, node,
            "a journal needs a database: set tranche_settings.database, or leave journal out");
}

/* Leases are between nodes. What they keep back is for the outage in which creates beyond it would go
 * through all the same. */
static void check_leases(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.leases");

    if (!config->count_leases)
        return;
    config->count_leases =
        config->journal && secret_is_set(&config->database) && is_postgres(config->database.data);
    if (!config->count_leases)
        report_at(reporter, CONFIG_WARNING, node,
                  "without effect: leases are counted between gateways that keep a journal in one "
                  "PostgreSQL (tranche_settings.database)");
    else if (config->limits_open_when_down)
        report_at(reporter, CONFIG_WARNING, node,
                  "limits_when_down is open: while the database is away creates go beyond what is "
                  "counted here");
}

/* Who says that files go would believe that they do. */
static void take_retention(const struct node *root, struct reporter *reporter,
                           struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.delete_after");

    if (!key_fields_given(node))
        return;
    key_fields_retention(node, reporter, &config->delete_after_s);
    if (!config->journal && config->delete_after_s != RETENTION_NONE)
        report_at(reporter, CONFIG_ERROR, node,
                  "files of batches are deleted by the journal, which knows when a batch ends: set "
                  "tranche_settings.database, and leave journal true");
    else if (config->delete_after_s != RETENTION_UNSET)
        report_at(reporter, CONFIG_HONOURED, node, "= %s", node->text);
}

int databases_take(const struct node *root, struct reporter *reporter, struct config *config)
{
    int rc = take(root, "tranche_settings.database", true, reporter, &config->database,
                  &config->database_passwords[0]);

    take_journal(root, reporter, config);
    check_leases(root, reporter, config);
    take_retention(root, reporter, config);
    return rc == 0 ? take(root, "tranche_settings.litellm_database", false, reporter,
                          &config->litellm_database, &config->database_passwords[1])
                   : rc;
}
