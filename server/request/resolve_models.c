/* The models that a request names: whether they are served and the caller may use them, and which
 * accounts or rows they mean, for a list and for an upload. */
#include "request/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request/errors.h"
#include "request/may_use.h"
#include "resolve_accounts.h"
#include "routing/candidates.h"

static enum answered refuse(struct relay *relay, const struct failure *why)
{
    relay_failure(relay, why);
    return ANSWERED;
}

/* Tenants hear no other names, and nothing of the configuration. */
static void not_here(const char *param, const char *model, size_t len, struct failure *why)
{
    char name[129];

    snprintf(name, sizeof(name), "%.*s", (int)(len < 128 ? len : 128), model);
    error_fill(why, MODEL_NOT_HERE, param, name);
}

/* With balancing on, a model that no group serves is a mistake the client should hear about now,
 * not hours later. */
static void unknown_model(const struct relay *relay, const char *param, const char *model,
                          size_t len, struct failure *why)
{
    const struct table *table = relay->rt->table;
    char known[512] = "";
    size_t at = 0;

    if (tenant_is_bound(relay->tenant)) {
        not_here(param, model, len, why);
        return;
    }
    for (uint32_t g = 0; g < table_num_groups(table) && at < sizeof(known) - 80; g++)
        if (table_is_served(table, g))
            at += (size_t)snprintf(known + at, sizeof(known) - at, "%s'%.64s'", at > 0 ? ", " : "",
                                   table_group_name(table, g));
    error_fill(why, MODEL_UNKNOWN, param,
               strcmp(param, "file") == 0 ? "The file's body.model" : "The model",
               len < 128 ? (int)len : 128, model, known);
}

/* The name is of rows that are not served: it is theirs all the same, and no pattern's. */
static void unserved_model(const struct relay *relay, const char *param, const char *model,
                           size_t len, struct failure *why)
{
    if (tenant_is_bound(relay->tenant))
        not_here(param, model, len, why);
    else
        error_fill(why, MODEL_UNSERVED, param,
                   strcmp(param, "file") == 0 ? "The file's body.model" : "The model",
                   len < 128 ? (int)len : 128, model);
}

/* Whether the caller may use what goes to an account by this very name. */
static bool name_is_allowed(const struct relay *relay, const char *param, const char *text,
                            size_t len, struct failure *why)
{
    enum rights_model verdict = may_use_name(relay, text, len);

    if (verdict == RIGHTS_MODEL_ALLOWED)
        return true;
    may_use_deny(why, verdict, strcmp(param, "file") == 0, text, len);
    return false;
}

/* Whether it may use what a name means. */
static bool found_is_allowed(const struct relay *relay, const char *param, const char *text,
                             size_t len, const struct table_name *name, struct failure *why)
{
    enum rights_model verdict = may_use_found(relay, name, text, len);

    if (verdict == RIGHTS_MODEL_ALLOWED)
        return true;
    may_use_deny(why, verdict, strcmp(param, "file") == 0, text, len);
    return false;
}

/* What a name means, if it is served and the caller may use it. Who may use only some hears the
 * same of a model that is not served and of one that is for others.
 * @return false: `why` says what is wrong with it */
static bool find_served(const struct relay *relay, const char *param, const char *text, size_t len,
                        struct table_name *name, struct failure *why)
{
    const struct table *table = relay->rt->table;

    if (!table_find_name(table, text, len, name)) {
        if (!name_is_allowed(relay, param, text, len, why))
            return false;
        unknown_model(relay, param, text, len, why);
        return false;
    }
    if (!found_is_allowed(relay, param, text, len, name, why))
        return false;
    if (name->row != MODEL_NO_INDEX || table_is_served(table, name->group))
        return true;
    unserved_model(relay, param, text, len, why);
    return false;
}

/* A model that a request names decides where it goes, so it has to be one. Without any group there
 * is nothing to choose among. Who names a provider may name models of its own for it. */
static bool model_is_served(const struct relay *relay, const struct route_hints *hints,
                            struct failure *why)
{
    const struct table *table = relay->rt->table;
    struct table_name name;
    const char *model = hints->model, *path = hints->deployment;

    if (path[0] != '\0' && table_find_name(table, path, strlen(path), &name) &&
        !found_is_allowed(relay, "model", path, strlen(path), &name, why))
        return false;
    if (model[0] == '\0')
        return true;
    if (table_num_groups(table) == 0 ||
        (hints->has_provider && !table_find_name(table, model, strlen(model), &name)))
        return name_is_allowed(relay, "model", model, strlen(model), why);
    return find_served(relay, "model", model, strlen(model), &name, why);
}

enum answered resolve_check_head(struct relay *relay)
{
    struct route_hints hints = relay->hints;
    struct failure why;
    bool served;

    resolve_hints(relay);
    served = model_is_served(relay, &relay->hints, &why);
    relay->hints = hints; /* the form's own come in between */
    return served ? GO_ON : refuse(relay, &why);
}

enum answered resolve_check_model(struct relay *relay)
{
    struct failure why;

    return model_is_served(relay, &relay->hints, &why) ? GO_ON : refuse(relay, &why);
}

/* --- lists --- */

/* One of target_model_names after the caller's aliases. */
struct target_name {
    const char *name; /* borrowed, or `text` */
    size_t len;
    char text[RIGHTS_NAME_MAX + 1];
};

static void rename_target(const struct relay *relay, const char *name, size_t len,
                          struct target_name *out)
{
    bool is_alias = may_use_alias(relay, name, len, out->text);

    out->name = is_alias ? out->text : name;
    out->len = is_alias ? strlen(out->text) : len;
}

struct chosen {            /* accounts of the groups that a list was asked for */
    uint32_t *deployments; /* one of each */
    uint32_t num;
    uint32_t asked; /* names of target_model_names so far */
    bool named;     /* some group was */
};

/* A name is looked up in the caller's lists and its team's, of a thousand names each: so many are
 * one turn's work. */
#define MOST_TARGETS 32

static bool too_many(uint32_t asked, struct failure *why)
{
    if (asked < MOST_TARGETS)
        return false;
    error_fill(why, TARGETS_TOO_MANY, "target_model_names", MOST_TARGETS);
    return true;
}

/* Add the accounts of one group. A name that no group has would otherwise be a filter that lets
 * everything pass; without groups there is nothing to filter by.
 * @return false: `why` says what is wrong with it */
static bool choose_group(const struct relay *relay, const char *param, const char *name, size_t len,
                         struct chosen *chosen, struct failure *why)
{
    const struct runtime *rt = relay->rt;
    struct table_name found;
    uint32_t members;
    const uint32_t *list;

    if (table_num_groups(rt->table) == 0)
        return true;
    if (!find_served(relay, param, name, len, &found, why))
        return false;
    chosen->named = true;
    list = resolve_members(rt, &found, &members);
    for (uint32_t i = 0; i < members; i++)
        if (resolve_provider_matches(relay, list[i]))
            resolve_list_add(rt, list[i], chosen->deployments, &chosen->num);
    return true;
}

/* The groups of a text like "a, b". */
static bool choose_groups(const struct relay *relay, const char *text, struct chosen *chosen,
                          struct failure *why)
{
    while (*text != '\0') {
        size_t len = strcspn(text, ","), from = strspn(text, " ");
        size_t to = len;
        struct target_name asked;

        while (to > from && text[to - 1] == ' ')
            to--;
        rename_target(relay, text + from, to > from ? to - from : 0, &asked);
        if (to > from &&
            (too_many(chosen->asked++, why) ||
             !choose_group(relay, "target_model_names", asked.name, asked.len, chosen, why)))
            return false;
        text += len + (text[len] == ',');
    }
    return true;
}

static const char *const target_names[] = {"target_model_names", "target_model_names[]"};

bool resolve_names_models(const struct relay *relay)
{
    return relay->hints.model[0] != '\0' ||
           route_query_has(relay->query, relay->query_len, target_names[0]) ||
           route_query_has(relay->query, relay->query_len, target_names[1]);
}

/* Each `target_model_names` of the query: LiteLLM's comma-separated text, or one name each time. */
static bool choose_targets(const struct relay *relay, struct chosen *chosen, struct failure *why)
{
    char text[4 * ROUTE_NAME_MAX];

    for (size_t at = 0; at < relay->query_len;) {
        const char *pair = relay->query + at;
        const char *amp = memchr(pair, '&', relay->query_len - at);
        size_t len = amp != NULL ? (size_t)(amp - pair) : relay->query_len - at;

        for (size_t i = 0; i < 2; i++) {
            if (!route_query_has(pair, len, target_names[i]))
                continue;
            if (route_query(pair, len, target_names[i], text, sizeof(text)) < 0) {
                error_fill(why, INVALID_VALUE, "target_model_names", "target_model_names");
                return false;
            }
            if (!choose_groups(relay, text, chosen, why))
                return false;
        }
        at += len + 1;
    }
    return true;
}

/* The accounts of the groups asked for, if some were; else all that may hold something.
 * @return false: `why` says what to answer */
static bool list_accounts(const struct relay *relay, uint32_t *out, uint32_t *num,
                          struct failure *why)
{
    struct chosen chosen = {.deployments = out};
    const char *model = relay->hints.model;

    if ((model[0] != '\0' && !choose_group(relay, "model", model, strlen(model), &chosen, why)) ||
        !choose_targets(relay, &chosen, why))
        return false;
    *num =
        chosen.named ? chosen.num : resolve_all_accounts(relay, relay->rt->account_balanced, out);
    if (*num > 0)
        return true;
    if (chosen.named)
        error_fill(why, MODELS_ELSEWHERE, "model", provider_name(relay->hints.provider));
    else
        error_fill(why, NO_ACCOUNT, "");
    return false;
}

enum answered resolve_list(struct relay *relay, uint32_t **out, uint32_t *num)
{
    struct failure why;

    if (resolve_provider_is_usable(relay, &why)) {
        *out = resolve_list_new(relay->rt);
        if (*out == NULL)
            error_fill(&why, OUT_OF_MEMORY, "");
        else if (list_accounts(relay, *out, num, &why))
            return GO_ON;
        free(*out);
        *out = NULL; /* its owner may free it, too */
    }
    return refuse(relay, &why);
}

/* --- candidates --- */

/* For candidates.h. */
static int provider_asked(const struct relay *relay)
{
    return relay->hints.has_provider ? (int)relay->hints.provider : CANDIDATES_ANY;
}

/* What a name means, and behind it what that falls back to. */
static void add_named(const struct runtime *rt, const struct relay *relay,
                      const struct table_name *name, struct candidates *out)
{
    if (name->row != MODEL_NO_INDEX) {
        candidates_add_row(rt, name->row, provider_asked(relay), out);
        return;
    }
    candidates_add_group(rt, name->group, 0, provider_asked(relay), out);
    candidates_add_fallbacks(rt, name->group, provider_asked(relay), out);
}

/* One name of target_model_names. */
static bool add_target(const struct relay *relay, const char *name, size_t len,
                       struct candidates *out, struct failure *why)
{
    const struct runtime *rt = relay->rt;
    struct table_name found;
    struct target_name asked;

    rename_target(relay, name, len, &asked);
    if (!find_served(relay, "target_model_names", asked.name, asked.len, &found, why))
        return false;
    if (found.row != MODEL_NO_INDEX)
        candidates_add_row(rt, found.row, provider_asked(relay), out);
    else
        candidates_add_group(rt, found.group, 0, provider_asked(relay), out);
    return true;
}

/* Each of the comma-separated names is a group's. */
static bool add_targets(const struct relay *relay, const char *target, struct candidates *out,
                        struct failure *why)
{
    uint32_t asked = 0;

    for (const char *at = target; *at != '\0';) {
        size_t len = strcspn(at, ","), lead = strspn(at, " \t");
        const char *name = at + (lead < len ? lead : len);
        size_t name_len = len - (size_t)(name - at);

        while (name_len > 0 && (name[name_len - 1] == ' ' || name[name_len - 1] == '\t'))
            name_len--;
        if (name_len > 0 &&
            (too_many(asked++, why) || !add_target(relay, name, name_len, out, why)))
            return false;
        at += len;
        at += *at == ',';
    }
    return true;
}

/* By the model of the request, else by that of the lines. @return false: `why` says what is wrong
 */
static bool add_modelled(const struct relay *relay, const char *model, struct candidates *out,
                         struct failure *why)
{
    const struct runtime *rt = relay->rt;
    struct table_name name;
    bool by_lines = rt->config->balance_batches && model != NULL;

    if (!model_is_served(relay, &relay->hints, why))
        return false;
    if (resolve_hinted(relay, &name)) {
        add_named(rt, relay, &name, out);
        return true;
    }
    if (!by_lines)
        return true;
    if (!table_find_name(rt->table, model, strlen(model), &name)) {
        if (relay->hints.has_provider)
            return true;
        unknown_model(relay, "file", model, strlen(model), why);
        return false;
    }
    if (!find_served(relay, "file", model, strlen(model), &name, why))
        return false;
    add_named(rt, relay, &name, out);
    return true;
}

bool resolve_lines_are_allowed(const struct relay *relay, const char *model, struct failure *why)
{
    enum rights_model verdict = may_use_either(relay, model, strlen(model));

    if (verdict != RIGHTS_MODEL_ALLOWED)
        may_use_deny(why, verdict, true, model, strlen(model));
    return verdict == RIGHTS_MODEL_ALLOWED;
}

/* One account as a whole takes the file as it is. */
static bool add_whole(const struct relay *relay, const char *model, struct candidates *out,
                      struct failure *why)
{
    uint32_t whole = resolve_default(relay);

    if (model != NULL && !name_is_allowed(relay, "file", model, strlen(model), why))
        return false;
    if (whole == MODEL_NO_INDEX) {
        error_fill(why, NO_ACCOUNT, "");
        return false;
    }
    out->deployments[0] = whole;
    out->tiers[0] = 0;
    out->num = out->num_tiers = 1;
    out->grouped = false;
    return true;
}

static bool find_candidates(const struct relay *relay, const char *model, const char *target,
                            struct candidates *out, struct failure *why)
{
    const struct runtime *rt = relay->rt;

    if (model != NULL && !resolve_lines_are_allowed(relay, model, why))
        return false;
    if (target != NULL && *target != '\0' && !add_targets(relay, target, out, why))
        return false;
    if (out->num > 0) {
        candidates_add_fallbacks(rt, table_deployment(rt->table, out->deployments[0])->group,
                                 provider_asked(relay), out);
        return true;
    }
    if (!add_modelled(relay, model, out, why))
        return false;
    return out->num > 0 || add_whole(relay, model, out, why);
}

bool resolve_upload(const struct relay *relay, const char *model, const char *target,
                    struct candidates *out, struct failure *why)
{
    if (!resolve_provider_is_usable(relay, why))
        return false;
    if (candidates_init(relay->rt, out) != 0) {
        error_fill(why, OUT_OF_MEMORY, "");
        return false;
    }
    if (find_candidates(relay, model, target, out, why)) {
        may_use_drop_fallbacks(relay, out);
        return true;
    }
    candidates_deinit(out);
    return false;
}
