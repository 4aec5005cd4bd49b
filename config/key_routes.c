/* See key_routes.h. */
#include "key_routes.h"

#include <stdint.h>
#include <string.h>

#include "common/route_words.h"
#include "config/guess.h"

/* What a path below one of these is a part of. */
static const struct route_word parts[] = {
    {"/files", RIGHTS_FILES},    {"/batches", RIGHTS_BATCHES}, {"/models", RIGHTS_MODELS},
    {"/key", RIGHTS_MANAGEMENT}, {"/team", RIGHTS_MANAGEMENT}, {"/health", RIGHTS_OPERATOR}};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void refuse_word(const struct node *node, const struct route_words *list,
                        struct reporter *reporter)
{
    struct strbuf wanted = STRBUF_INIT;
    struct guess guess;

    guess_init(&guess, node_text(node) == NULL ? "" : node->text);
    for (size_t i = 0; i < list->num; i++)
        guess_offer(&guess, list->words[i].name);
    if (guess.best != NULL)
        strbuf_addf(&wanted, "\"%s\", perhaps", guess.best);
    for (size_t i = 0; guess.best == NULL && i < list->num && i < 4; i++)
        strbuf_addf(&wanted, "%s%s", i > 0 ? ", " : "", list->words[i].name);
    if (guess.best == NULL && list == &route_names)
        strbuf_adds(&wanted, ", or a path such as /v1/files");
    report_wanted(reporter, node, strbuf_str(&wanted));
    strbuf_deinit(&wanted);
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
    const struct route_word *word = route_word_find(&route_paths, path);
    struct allowed allowed = {.by_name = strchr(path, '*') == NULL};

    if (word != NULL)
        return (struct allowed){word->routes, 0, true};
    if (!allowed.by_name)
        allowed.routes = route_pattern(path);
    for (size_t i = 0; i < COUNT(parts); i++)
        if (is_below(path, parts[i].name))
            allowed.part |= parts[i].routes;
    return allowed;
}

static struct allowed take_route(const struct node *node, struct reporter *reporter)
{
    const char *text = node_text(node);
    const struct route_word *word;

    if (text == NULL || *text == '\0') {
        report_wanted(reporter, node, "the name of routes, or a path");
        return (struct allowed){0};
    }
    if (strcmp(text, "*") == 0)
        return (struct allowed){.routes = RIGHTS_EVERY_ROUTE};
    if (*text == '/')
        return allowed_by_path(route_without_version(text));
    word = route_word_find(&route_names, text);
    if (word == NULL) {
        refuse_word(node, &route_names, reporter);
        return (struct allowed){0};
    }
    return (struct allowed){.routes = word->routes, .by_name = true};
}

/* What is for admin keys alone and stands in the list of another. */
static void check_admin(const struct node *node, const struct allowed *allowed, bool admin,
                        struct reporter *reporter)
{
    if (!admin && allowed->by_name &&
        ((allowed->routes | allowed->part) & RIGHTS_ADMIN_ROUTES) != 0)
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
    const struct route_word *word = NULL;

    if (is_given(type)) {
        word = node_text(type) == NULL ? NULL : route_word_find(&route_types, type->text);
        if (word == NULL)
            refuse_word(type, &route_types, reporter);
        else if (strcmp(word->name, "management") == 0)
            *admin = true;
    }
    if (is_given(type) && is_given(list) && word != route_types.words)
        report_at(reporter, CONFIG_ERROR, list,
                  "given beside key_type, which stands for a list of its own; give one of them");
    *routes = *admin ? RIGHTS_EVERY_ROUTE : RIGHTS_ALL_ROUTES;
    if (is_given(list))
        *routes = key_routes_list(list, *admin, reporter);
    else if (word != NULL && word != route_types.words)
        *routes = word->routes;
    if (!*admin)
        *routes &= RIGHTS_ALL_ROUTES;
}
