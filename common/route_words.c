/* See route_words.h. */
#include "common/route_words.h"

#include <string.h>

#include "common/names.h"

#define INFO_ROUTES  (RIGHTS_MODEL_INFO | RIGHTS_OWN_KEY)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct route_word names[] = {
    {"llm_api_routes", RIGHTS_LLM_ROUTES | RIGHTS_OWN_KEY},
    {"openai_routes", RIGHTS_LLM_ROUTES | RIGHTS_OWN_KEY},
    {"info_routes", INFO_ROUTES},
    {"management_routes", RIGHTS_MANAGEMENT | RIGHTS_OWN_KEY},
    {"key_management_routes", RIGHTS_MANAGEMENT | RIGHTS_OWN_KEY},
    {"admin_only_routes", RIGHTS_ADMIN_ROUTES},
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

static const struct route_word types[] = {{"default", RIGHTS_ALL_ROUTES},
                                          {"llm_api", RIGHTS_LLM_ROUTES | RIGHTS_OWN_KEY},
                                          {"management", RIGHTS_ADMIN_ROUTES | RIGHTS_OWN_KEY},
                                          {"read_only", INFO_ROUTES}};

static const struct route_word paths[] = {{"/files", RIGHTS_FILES},
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

const struct route_words route_names = {names, COUNT(names)}, route_types = {types, COUNT(types)},
                         route_paths = {paths, COUNT(paths)};

const struct route_word *route_word_find(const struct route_words *list, const char *name)
{
    for (size_t i = 0; i < list->num; i++)
        if (strcmp(list->words[i].name, name) == 0)
            return &list->words[i];
    return NULL;
}

const char *route_without_version(const char *path)
{
    static const char *const beginnings[] = {"/openai/v1/", "/azure/v1/", "/openai/", "/azure/",
                                             "/v1/"};

    for (size_t i = 0; i < COUNT(beginnings); i++)
        if (strncmp(path, beginnings[i], strlen(beginnings[i])) == 0)
            return path + strlen(beginnings[i]) - 1;
    return path;
}

uint32_t route_pattern(const char *pattern)
{
    uint32_t routes = 0;

    for (size_t i = 0; i < COUNT(paths); i++)
        if (names_fit(pattern, paths[i].name, strlen(paths[i].name)))
            routes |= paths[i].routes;
    return routes;
}
