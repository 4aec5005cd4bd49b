/* See egress.h. The proxy's address may hold a password, so it is kept as a secret and never shown.
 * HTTP_PROXY is not looked at: keys travel over https only, and CGI programs set that variable from
 * a client's header (httpoxy). */
#include "egress.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const proxy_variables[] = {"HTTPS_PROXY", "https_proxy", NULL};
static const char *const no_proxy_variables[] = {"NO_PROXY", "no_proxy", NULL};

static bool is_proxy(const char *text)
{
    static const char *const schemes[] = {"http://", "https://", NULL};
    const char *host = strstr(text, "://");

    if (host == NULL)
        host = text;
    else
        host += 3;
    for (const char *c = text; *c != '\0'; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return false;
    if (*host == '\0' || *host == '/' || *host == ':')
        return false;
    for (const char *const *scheme = schemes; *scheme != NULL; scheme++)
        if (strncasecmp(text, *scheme, strlen(*scheme)) == 0)
            return true;
    return host == text;
}

/* What stands in the file; NULL: nothing. */
static const char *text_at(const struct node *root, const char *path, const struct node **node)
{
    *node = node_find(root, path);
    return *node != NULL && (*node)->kind == NODE_SCALAR && *(*node)->text != '\0' ? (*node)->text
                                                                                   : NULL;
}

/* The address, and what of it no text may quote. */
static int keep_proxy(const char *text, struct config *config)
{
    const char *host = strstr(text, "://"), *at;
    int rc = secret_set(&config->upstream_proxy, text, strlen(text));

    host = host == NULL ? text : host + 3;
    at = strchr(host, '@');
    if (rc == 0 && at != NULL)
        rc = secret_set(&config->proxy_credential, host, (size_t)(at - host));
    return rc;
}

static int take_proxy(const struct node *root, const struct env *env, struct reporter *reporter,
                      struct config *config)
{
    const char *variable = NULL;
    const struct node *node;
    const char *text = text_at(root, "tranche_settings.upstream_proxy", &node);

    if (node != NULL && node->kind == NODE_NULL && node->variable != NULL) {
        report_at(reporter, CONFIG_ERROR, node, "the environment variable %s is not set or empty",
                  node_variable_name(node));
        return 0;
    }
    if (text != NULL && strcasecmp(text, "none") == 0) {
        report_at(reporter, CONFIG_HONOURED, node, "= none");
        return 0;
    }
    if (text == NULL)
        text = env_first(env, proxy_variables, &variable);
    if (text == NULL)
        return 0;
    if (!is_proxy(text)) {
        if (variable == NULL)
            report_at(reporter, CONFIG_ERROR, node,
                      "got ***, wanted none or an address such as "
                      "http://proxy.example:3128");
        else
            report_add(reporter, CONFIG_ERROR, NULL, 0, variable,
                       "got ***, wanted an address such as http://proxy.example:3128");
        return 0;
    }
    if (variable == NULL)
        report_at(reporter, CONFIG_HONOURED, node, "= *** (calls to providers go through it)");
    else
        report_add(reporter, CONFIG_HONOURED, NULL, 0, variable,
                   "calls to providers go through this proxy");
    return keep_proxy(text, config);
}

/* A text with commas, or a list. */
static int append_hosts(const struct node *node, struct strbuf *out)
{
    if (node->kind == NODE_SCALAR)
        strbuf_addf(out, "%s%s", out->len > 0 ? "," : "", node->text);
    for (size_t i = 0; i < node->num_items; i++)
        if (node->items[i]->kind == NODE_SCALAR)
            strbuf_addf(out, "%s%s", out->len > 0 ? "," : "", node->items[i]->text);
    return strbuf_failed(out) ? ERR_NOMEM : 0;
}

static int take_no_proxy(const struct node *root, const struct env *env, struct reporter *reporter,
                         struct config *config)
{
    const struct node *node = node_find(root, "tranche_settings.no_proxy");
    struct strbuf hosts = STRBUF_INIT;
    const char *variable = NULL, *text;
    int rc = 0;

    if (node != NULL && node->kind != NODE_NULL) {
        rc = append_hosts(node, &hosts);
        report_at(reporter, CONFIG_HONOURED, node, "= %s", strbuf_str(&hosts));
    } else if ((text = env_first(env, no_proxy_variables, &variable)) != NULL) {
        strbuf_adds(&hosts, text);
    }
    if (rc == 0 && hosts.len > 0 && (config->no_proxy = strdup(strbuf_str(&hosts))) == NULL)
        rc = ERR_NOMEM;
    strbuf_deinit(&hosts);
    return rc;
}

/* litellm_settings.ssl_verify is true, false, or the path of a bundle. */
static int take_bundle(const struct node *root, const struct env *env, struct reporter *reporter,
                       struct config *config)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", NULL};
    static const char *const variables[] = {"SSL_CERT_FILE", NULL};
    const struct node *node;
    const char *text = text_at(root, "litellm_settings.ssl_verify", &node), *variable = NULL;

    for (const char *const *word = words; text != NULL && *word != NULL; word++)
        if (strcasecmp(text, *word) == 0)
            text = NULL;
    if (node != NULL && text == NULL && node->kind == NODE_SCALAR &&
        strncasecmp(node->text, "f", 1) == 0)
        report_at(reporter, CONFIG_WARNING, node,
                  "ignored: certificates are always verified; give the path of a bundle, or "
                  "upstream_ca_file of tranche_settings");
    if (config->upstream_ca_file != NULL)
        return 0;
    if (text != NULL)
        report_at(reporter, CONFIG_HONOURED, node, "= %s", text);
    else if ((text = env_first(env, variables, &variable)) != NULL)
        report_add(reporter, CONFIG_HONOURED, NULL, 0, variable, "= %s", text);
    else
        return 0;
    config->upstream_ca_file = strdup(text);
    return config->upstream_ca_file == NULL ? ERR_NOMEM : 0;
}

int egress_take(const struct node *root, const struct env *env, struct reporter *reporter,
                struct config *config)
{
    int rc = take_proxy(root, env, reporter, config);

    if (rc == 0)
        rc = take_no_proxy(root, env, reporter, config);
    if (rc == 0)
        rc = take_bundle(root, env, reporter, config);
    return rc;
}
