/* See headers.h. */
#include "headers.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Ours, or HTTP's own. */
static bool is_reserved(const char *name)
{
    static const char *const names[] = {"authorization",
                                        "api-key",
                                        "host",
                                        "content-length",
                                        "transfer-encoding",
                                        "content-type",
                                        "connection",
                                        "expect",
                                        "te",
                                        "upgrade",
                                        "trailer",
                                        "accept-encoding",
                                        "accept",
                                        "range",
                                        "if-range",
                                        "cookie",
                                        "user-agent",
                                        "proxy-authorization",
                                        "openai-organization",
                                        "openai-project",
                                        NULL};

    for (const char *const *n = names; *n != NULL; n++)
        if (strcasecmp(*n, name) == 0)
            return true;
    return false;
}

/* RFC 9110, section 5.5: visible ASCII, blanks inside. */
static bool is_value(const char *text)
{
    size_t len = strlen(text);

    for (const char *c = text; *c != '\0'; c++)
        if ((*c < ' ' && *c != '\t') || *c >= 0x7f)
            return false;
    return len > 0 && len <= 4096 && text[0] != ' ' && text[len - 1] != ' ';
}

static int take_one(struct models_build *build, const struct node *node,
                    struct model_account *account)
{
    struct model_header *header = &account->headers[account->num_headers];

    if (!headers_is_token(node->key) || is_reserved(node->key)) {
        report_at(
            build->reporter, CONFIG_SKIPPED, node,
            "no header that a row may set: it is no name, or one that calls have of their own");
        return ERR_INVALID;
    }
    if (node->kind != NODE_SCALAR || !is_value(node->text)) {
        report_at(build->reporter, CONFIG_SKIPPED, node,
                  "wanted a text of visible ASCII characters%s%s",
                  node->variable != NULL ? ", from the variable " : "",
                  node->variable != NULL ? node_variable_name(node) : "");
        return ERR_INVALID;
    }
    header->name = strdup(node->key);
    account->num_headers++;
    if (header->name == NULL)
        return ERR_NOMEM;
    return secret_set(&header->value, node->text, strlen(node->text));
}

bool headers_is_token(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("!#$%&'*+-.^_`|~", *c) == NULL)
            return false;
    return *text != '\0';
}

bool headers_is_visible(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= 0x20 || *text >= 0x7f)
            return false;
    }
    return true;
}

int headers_take(struct models_build *build, const struct node *params,
                 struct model_account *account)
{
    const struct node *map = node_get(params, "extra_headers");
    int rc = 0;

    if (map == NULL)
        map = node_get(params, "headers");
    if (map == NULL || (map->kind == NODE_NULL && map->variable == NULL))
        return 0;
    if (map->kind != NODE_MAP || map->num_items > MODEL_MAX_HEADERS) {
        report_at(build->reporter, CONFIG_SKIPPED, map,
                  "wanted a mapping of at most %d names to texts", MODEL_MAX_HEADERS);
        return ERR_INVALID;
    }
    account->headers = calloc(map->num_items + 1, sizeof(*account->headers));
    if (account->headers == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < map->num_items && rc == 0; i++)
        rc = take_one(build, map->items[i], account);
    return rc;
}

bool headers_equal(const struct model_account *a, const struct model_account *b)
{
    if (a->num_headers != b->num_headers)
        return false;
    for (size_t i = 0; i < a->num_headers; i++)
        if (strcasecmp(a->headers[i].name, b->headers[i].name) != 0 ||
            a->headers[i].value.len != b->headers[i].value.len ||
            memcmp(a->headers[i].value.data, b->headers[i].value.data, a->headers[i].value.len) !=
                0)
            return false;
    return true;
}

void headers_deinit(struct model_account *account)
{
    for (size_t i = 0; i < account->num_headers; i++) {
        free(account->headers[i].name);
        secret_clear(&account->headers[i].value);
    }
    free(account->headers);
}
