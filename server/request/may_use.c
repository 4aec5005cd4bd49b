/* See may_use.h. */
#include "request/may_use.h"

#include <assert.h>
#include <string.h>

#include "request/errors.h"
#include "routing/candidates.h"

/* Only who may use all may use what nobody can have called so. */
static const char no_model[] = "\x7f";

static enum rights_model ask(const struct relay *relay, const char *name, size_t len)
{
    if (!tenant_is_bound(relay->tenant))
        return RIGHTS_MODEL_ALLOWED;
    return rights_may_use(relay->rt->inherited->rights, &relay->tenant->rights, name, len);
}

bool may_use_is_limited(const struct relay *relay)
{
    return ask(relay, no_model, strlen(no_model)) != RIGHTS_MODEL_ALLOWED;
}

bool may_use_alias(const struct relay *relay, const char *name, size_t len, char *out)
{
    return tenant_is_bound(relay->tenant) && len <= RIGHTS_NAME_MAX &&
           rights_resolve_alias(relay->rt->inherited->rights, &relay->tenant->rights, name, len,
                                out);
}

enum rights_model may_use_name(const struct relay *relay, const char *name, size_t len)
{
    return ask(relay, name, len);
}

static enum rights_model ask_text(const struct relay *relay, const char *name)
{
    return ask(relay, name, strlen(name));
}

enum rights_model may_use_found(const struct relay *relay, const struct table_name *found,
                                const char *name, size_t len)
{
    const struct table *table = relay->rt->table;

    if (found->row == MODEL_NO_INDEX && ask(relay, name, len) == RIGHTS_MODEL_ALLOWED)
        return RIGHTS_MODEL_ALLOWED;
    if (found->group == MODEL_NO_INDEX) /* a row that stands for a whole account */
        return may_use_is_limited(relay) ? RIGHTS_MODEL_NOT_OF_KEY : RIGHTS_MODEL_ALLOWED;
    return ask_text(relay, table_group_name(table, found->group));
}

enum rights_model may_use_either(const struct relay *relay, const char *name, size_t len)
{
    struct table_name found;

    return table_find_name(relay->rt->table, name, len, &found)
               ? may_use_found(relay, &found, name, len)
               : may_use_name(relay, name, len);
}

enum rights_model may_use_group(const struct relay *relay, uint32_t group)
{
    const struct model_list *models = &relay->rt->config->models;
    const char *name = table_group_name(relay->rt->table, group);
    enum rights_model verdict = ask_text(relay, name);

    for (size_t i = 0; i < models->num_names && verdict != RIGHTS_MODEL_ALLOWED; i++)
        if (models->names[i].target != NULL && strcmp(models->names[i].target, name) == 0 &&
            ask_text(relay, models->names[i].name) == RIGHTS_MODEL_ALLOWED)
            verdict = RIGHTS_MODEL_ALLOWED;
    return verdict;
}

/* Whether a row may stay. Groups come in a row: each is asked about once. */
static bool stays(const struct relay *relay, const struct candidates *c, uint32_t i,
                  uint32_t *group, bool *allowed)
{
    uint32_t its = table_deployment(relay->rt->table, c->deployments[i])->group;

    if (c->tiers[i] == 0)
        return true;
    if (its != *group)
        *allowed = its != MODEL_NO_INDEX &&
                   ask_text(relay, table_group_name(relay->rt->table, its)) == RIGHTS_MODEL_ALLOWED;
    *group = its;
    return *allowed;
}

void may_use_drop_fallbacks(const struct relay *relay, struct candidates *candidates)
{
    uint32_t num = candidates->num, group = MODEL_NO_INDEX;
    bool allowed = false;

    if (!may_use_is_limited(relay))
        return;
    candidates->num = 0;
    for (uint32_t i = 0; i < num; i++) {
        if (!stays(relay, candidates, i, &group, &allowed))
            continue;
        candidates->deployments[candidates->num] = candidates->deployments[i];
        candidates->tiers[candidates->num++] = candidates->tiers[i];
    }
}

#define SHOWN 128 /* bytes of a name */

void may_use_deny(struct failure *why, enum rights_model which, bool in_file, const char *name,
                  size_t len)
{
    int shown = len < SHOWN ? (int)len : SHOWN;

    assert(which != RIGHTS_MODEL_ALLOWED);
    if (in_file && which == RIGHTS_MODEL_NOT_OF_TEAM)
        error_fill(why, FILE_MODEL_NOT_OF_TEAM, "file", shown, name);
    else if (in_file)
        error_fill(why, FILE_MODEL_NOT_OF_KEY, "file", shown, name);
    else if (which == RIGHTS_MODEL_NOT_OF_TEAM)
        error_fill(why, MODEL_NOT_OF_TEAM, "model", shown, name);
    else
        error_fill(why, MODEL_NOT_OF_KEY, "model", shown, name);
}
