/* See key_routes.h. */
#include "key_routes.h"

#include <stdint.h>
#include <string.h>

#include "common/names.h"
#include "common/rights.h"
#include "config/guess.h"

#define ADMIN_ROUTES (RIGHTS_MANAGEMENT | RIGHTS_OPERATOR)
#define EVERY_ROUTE  (RIGHTS_ALL_ROUTES | ADMIN_ROUTES)
#define INFO_ROUTES  (RIGHTS_MODEL_INFO | RIGHTS_OWN_KEY)

/* LiteLLM's names for lists of routes; of those that serve nothing here all bits are clear. */
static const struct word {
    const char *name;
    uint32_t routes;
} words[] = {{"llm_api_routes", RIGHTS_LLM_ROUTES | RIGHTS_OWN_KEY},
             {"openai_routes", RIGHTS_LLM_ROUTES | RIGHTS_OWN_KEY},
             {"info_routes", INFO_ROUTES},
             {"management_routes", RIGHTS_MANAGEMENT | RIGHTS_OWN_KEY},
             {"key_management_routes", RIGHTS_MANAGEMENT | RIGHTS_OWN_KEY},
             {"admin_only_routes", ADMIN_ROUTES},
             {"agent_routes", 0},
             {"anthropic_routes", 0},
             {"global_spend_tracking_routes", 0},
             {"google_routes", 0},
             {"internal_user_routes", 0},
             {"litellm_native_routes", 0},
             {"mapped_pass_through_routes", 0},
             {"master_key_only_routes", 0},
             {"mcp_routes", 0},
             {"passthrough_routes_wildcard", 0},
             {"public_routes", 0},
             {"self_managed_routes", 0},
             {"spend_tracking_routes", 0},
             {"sso_only_routes", 0},
             {"ui_routes", 0}};

static const struct word types[] = {{"default", RIGHTS_ALL_ROUTES},
                                    {"llm_api", RIGHTS_LLM_ROUTES | RIGHTS_OWN_KEY},
                                    {"management", ADMIN_ROUTES | RIGHTS_OWN_KEY},
                                    {"read_only", INFO_ROUTES}};

/* Paths, below "/v1" or without it, and what each allows: its resource as a whole, since rights are
 * kept by resource. */
static const struct word paths[] = {{"/files", RIGHTS_FILES},
                                    {"/batches", RIGHTS_BATCHES | RIGHTS_PLACEMENT},
                                    {"/batches/placement", RIGHTS_PLACEMENT},
                                    {"/models", RIGHTS_MODELS},
                                    {"/model/info", RIGHTS_MODEL_INFO},
                                    {"/model_group/info", RIGHTS_MODEL_INFO},
                                    {"/key/info", RIGHTS_OWN_KEY},
                                    {"/key/*", RIGHTS_MANAGEMENT},
                                    {"/team/*", RIGHTS_MANAGEMENT},
                                    {"/health", RIGHTS_OPERATOR},
                                    {"/health/liveliness", 0},
                                    {"/health/liveness", 0},
                                    {"/health/readiness", 0},
                                    {"/metrics", RIGHTS_OPERATOR}};

/* What a path below one of these is a part of. */
static const struct word parts[] = {{"/files", RIGHTS_FILES},     {"/batches", RIGHTS_BATCHES},
                                    {"/models", RIGHTS_MODELS},   {"/key", RIGHTS_MANAGEMENT},
                                    {"/team", RIGHTS_MANAGEMENT}, {"/health", RIGHTS_OPERATOR}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* NULL: none of that name. */
static const struct word *find(const struct word *list, size_t num, const char *name)
{
    for (size_t i = 0; i < num; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

static void refuse_word(const struct node *node, const struct word *list, size_t num,
                        struct reporter *reporter)
{
    struct strbuf wanted = STRBUF_INIT;
    struct guess guess;

    guess_init(&guess, node_text(node) == NULL ? "" : node->text);
    for (size_t i = 0; i < num; i++)
        guess_offer(&guess, list[i].name);
    if (guess.best != NULL)
        strbuf_addf(&wanted, "\"%s\", perhaps", guess.best);
    for (size_t i = 0; guess.best == NULL && i < num && i < 4; i++)
        strbuf_addf(&wanted, "%s%s", i > 0 ? ", " : "", list[i].name);
    if (guess.best == NULL && list == words)
        strbuf_adds(&wanted, ", or a path such as /v1/files");
    report_wanted(reporter, node, strbuf_str(&wanted));
    strbuf_deinit(&wanted);
}

static const char *without_version(const char *path)
{
    static const char *const beginnings[] = {"/openai/v1/", "/azure/v1/", "/openai/", "/azure/",
                                             "/v1/"};

    for (size_t i = 0; i < COUNT(beginnings); i++)
        if (strncmp(path, beginnings[i], strlen(beginnings[i])) == 0)
            return path + strlen(beginnings[i]) - 1;
    return path;
}

static bool is_below(const char *path, const char *resource)
{
    size_t len = strlen(resource);

    return strncmp(path, resource, len) == 0 && path[len] == '/';
}

/* Of one item: what it allows, and what it would allow in part. */
struct allowed {
    uint32_t routes, part;
    bool by_name; /* no pattern, which may mean more than its writer thought of */
};

static struct allowed allowed_by_path(const char *path)
{
    const struct word *word = find(paths, COUNT(paths), path);
    struct allowed allowed = {.by_name = strchr(path, '*') == NULL};

    if (word != NULL)
        return (struct allowed){word->routes, 0, true};
    for (size_t i = 0; !allowed.by_name && i < COUNT(paths); i++)
        if (names_fit(path, paths[i].name, strlen(paths[i].name)))
            allowed.routes |= paths[i].routes;
    for (size_t i = 0; i < COUNT(parts); i++)
        if (is_below(path, parts[i].name))
            allowed.part |= parts[i].routes;
    return allowed;
}

static struct allowed take_route(const struct node *node, struct reporter *reporter)
{
    const char *text = node_text(node);
    const struct word *word;

    if (text == NULL || *text == '\0') {
        report_wanted(reporter, node, "the name of routes, or a path");
        return (struct allowed){0};
    }
    if (strcmp(text, "*") == 0)
        return (struct allowed){.routes = EVERY_ROUTE};
    if (*text == '/')
        return allowed_by_path(without_version(text));
    word = find(words, COUNT(words), text);
    if (word == NULL) {
        refuse_word(node, words, COUNT(words), reporter);
        return (struct allowed){0};
    }
    return (struct allowed){.routes = word->routes, .by_name = true};
}

/* What is for admin keys alone and stands in the list of another. */
static void check_admin(const struct node *node, const struct allowed *allowed, bool admin,
                        struct reporter *reporter)
{
    if (!admin && allowed->by_name && ((allowed->routes | allowed->part) & ADMIN_ROUTES) != 0)
        report_at(reporter, CONFIG_ERROR, node,
                  "keys, teams, health and metrics are for admin keys alone: give admin: true");
}

/* All must be said before a part can be judged. */
uint32_t key_routes_list(const struct node *list, bool admin, struct reporter *reporter)
{
    uint32_t routes = RIGHTS_OWN_KEY;
    size_t errors = reporter->num_errors;
    struct allowed allowed;

    if (list->kind != NODE_LIST) {
        report_wanted(reporter, list, "a list of routes");
        return routes;
    }
    for (size_t i = 0; i < list->num_items; i++) {
        allowed = take_route(list->items[i], reporter);
        check_admin(list->items[i], &allowed, admin, reporter);
        routes |= allowed.routes;
    }
    for (size_t i = 0; i < list->num_items && reporter->num_errors == errors; i++) {
        allowed = take_route(list->items[i], reporter);
        if ((allowed.part & ~routes) != 0)
            report_at(reporter, CONFIG_ERROR, list->items[i],
                      "a part of a resource cannot be allowed alone: allow it as a whole, as in "
                      "/v1/files");
    }
    if (routes == RIGHTS_OWN_KEY && reporter->num_errors == errors)
        report_at(reporter, CONFIG_WARNING, list, "nothing that is served here is allowed");
    return routes;
}

static bool is_given(const struct node *node)
{
    return node != NULL && (node->kind != NODE_NULL || node->variable != NULL) &&
           (node->kind != NODE_LIST || node->num_items > 0);
}

void key_routes_take(const struct node *entry, struct reporter *reporter, bool *admin,
                     uint32_t *routes)
{
    const struct node *list = node_get(entry, "allowed_routes"),
                      *type = node_get(entry, "key_type");
    const struct word *word = NULL;

    if (is_given(type)) {
        word = node_text(type) == NULL ? NULL : find(types, COUNT(types), type->text);
        if (word == NULL)
            refuse_word(type, types, COUNT(types), reporter);
        else if (strcmp(word->name, "management") == 0)
            *admin = true;
    }
    if (is_given(type) && is_given(list) && word != types)
        report_at(reporter, CONFIG_ERROR, list,
                  "given beside key_type, which stands for a list of its own; give one of them");
    *routes = *admin ? EVERY_ROUTE : RIGHTS_ALL_ROUTES;
    if (is_given(list))
        *routes = key_routes_list(list, *admin, reporter);
    else if (word != NULL && word != types)
        *routes = word->routes;
    if (!*admin)
        *routes &= RIGHTS_ALL_ROUTES;
}
