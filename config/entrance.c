/* See entrance.h. */
#include "config/entrance.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "headers.h"

#define MAX_ORIGINS 64

static int take_root_path(const struct env *env, struct reporter *reporter, struct config *config)
{
    static const char *const variables[] = {"SERVER_ROOT_PATH", NULL};
    const char *variable = NULL, *text = env_first(env, variables, &variable);
    size_t len;

    if (text == NULL)
        return 0;
    len = strlen(text);
    while (len > 0 && text[len - 1] == '/')
        len--;
    if (len == 0)
        return 0;
    if (text[0] != '/' || len > 200 ||
        strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-._~") <
            strlen(text)) {
        report_add(reporter, CONFIG_ERROR, NULL, 0, variable,
                   "wanted a path such as /llm, of letters, digits, '/', '-', '.', '_' and '~'");
        return 0;
    }
    report_add(reporter, CONFIG_HONOURED, NULL, 0, variable,
               "= %.*s: routes are found below it, too", (int)len, text);
    config->root_path = strndup(text, len);
    return config->root_path == NULL ? ERR_NOMEM : 0;
}

static int take_key_header(const struct node *root, struct reporter *reporter,
                           struct config *config)
{
    const struct node *node = node_find(root, "general_settings.litellm_key_header_name");

    if (node == NULL || (node->kind == NODE_NULL && node->variable == NULL))
        return 0;
    if (node->kind != NODE_SCALAR || !headers_is_token(node->text)) {
        report_wanted(reporter, node, "the name of a header");
        return 0;
    }
    config->key_header = strdup(node->text);
    if (config->key_header == NULL)
        return ERR_NOMEM;
    for (char *c = config->key_header; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    report_at(reporter, CONFIG_HONOURED, node, "= %s", config->key_header);
    return 0;
}

/* "https://host[:port]" as browsers send it (RFC 6454, section 6.2), or "*". */
static bool is_origin(const char *text)
{
    const char *host = strstr(text, "://");

    if (strcmp(text, "*") == 0)
        return true;
    return host != NULL && host > text && host[3] != '\0' && strchr(host + 3, '/') == NULL &&
           strpbrk(text, " ,?#@") == NULL;
}

static int add_origin(const struct node *node, struct reporter *reporter, struct config *config)
{
    char *copy;

    if (node->kind != NODE_SCALAR || !is_origin(node->text)) {
        report_wanted(reporter, node, "an origin such as https://app.example, without a path");
        return 0;
    }
    copy = strdup(node->text);
    if (copy == NULL)
        return ERR_NOMEM;
    config->cors_origins[config->num_cors_origins++] = copy;
    return 0;
}

static int take_origins(const struct node *root, struct reporter *reporter, struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.cors_origins");
    size_t num = node == NULL ? 0 : node->kind == NODE_LIST ? node->num_items : 1;
    int rc = 0;

    if (node == NULL || (node->kind == NODE_NULL && node->variable == NULL))
        return 0;
    if (num > MAX_ORIGINS || node->kind == NODE_MAP) {
        report_wanted(reporter, node, "a list of at most 64 origins");
        return 0;
    }
    config->cors_origins = calloc(num + 1, sizeof(*config->cors_origins));
    if (config->cors_origins == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < num && rc == 0; i++)
        rc = add_origin(node->kind == NODE_LIST ? node->items[i] : node, reporter, config);
    report_at(reporter, CONFIG_HONOURED, node, "= %zu origins", config->num_cors_origins);
    return rc;
}

static void check_health_port(const struct node *root, struct reporter *reporter,
                              const struct config *config)
{
    if (config->health_port != 0 && config->health_port == config->port)
        report_at(reporter, CONFIG_ERROR, node_find(root, "tranche_settings.health_port"),
                  "%d is the port of all routes already; take another one, or leave it out",
                  config->health_port);
}

int entrance_take(const struct node *root, const struct env *env, struct reporter *reporter,
                  struct config *config)
{
    int rc = take_root_path(env, reporter, config);

    if (rc == 0)
        rc = take_key_header(root, reporter, config);
    if (rc == 0)
        rc = take_origins(root, reporter, config);
    check_health_port(root, reporter, config);
    return rc;
}

const char *entrance_warning(const struct config *config)
{
    bool unset = !secret_is_set(&config->master_key);

    if (!config->weak_master_key)
        return "";
    if (config->permit_weak_master_key)
        return unset
                   ? "NO MASTER KEY: everybody who reaches this port may use the providers' keys, "
                     "as LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY or "
                     "tranche_settings.permit_weak_or_unset_master_key says"
                   : "WEAK MASTER KEY: everybody who guesses it may use the providers' keys, as "
                     "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY or "
                     "tranche_settings.permit_weak_or_unset_master_key says";
    return unset ? "PROTECTED MODE: no master key is set, so only this machine is served, and what "
                   "comes through a proxy is not"
                 : "PROTECTED MODE: the master key is weak (shorter than 16 characters, or well "
                   "known), so only this machine is served, and what comes through a proxy is not";
}
