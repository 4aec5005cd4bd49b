/* See resolve.h. */
#include "request/resolve.h"

#include <assert.h>
#include <h2o.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/ids_litellm.h"
#include "routing/candidates.h"
#include "objects/client_ids.h"
#include "request/errors.h"
#include "request/may_use.h"

static const char *const missing_key[PROVIDER_COUNT] = {
    [PROVIDER_OPENAI] = "set OPENAI_API_KEY, or list it in model_list or files_settings",
    [PROVIDER_AZURE] =
        "set AZURE_API_KEY and AZURE_API_BASE, or list it in model_list or files_settings",
};

/* --- hints --- */

static void header_hints(struct relay *relay)
{
    const h2o_headers_t *headers = &relay->req->headers;

    for (size_t i = 0; i < headers->size; i++) {
        const h2o_header_t *h = &headers->entries[i];

        if (h2o_memis(h->name->base, h->name->len, H2O_STRLIT("custom-llm-provider")))
            route_hint_provider(&relay->hints, h->value.base, h->value.len);
        else if (h2o_memis(h->name->base, h->name->len, H2O_STRLIT("x-litellm-model")))
            route_hint_model(&relay->hints, h->value.base, h->value.len);
    }
}

/* Azure's clients may send their key as `api-key`, which OpenAI's never do. */
static bool has_azure_key(const struct relay *relay)
{
    const char *value;
    size_t len;

    return relay_request_header(relay, "api-key", &value, &len) &&
           !relay_request_header(relay, "authorization", &value, &len);
}

/* Clients of Azure's v1 API send no api-version. A path below /openai is theirs where no OpenAI
 * account is served, where the key's header says so, or where the operator does. */
static void azure_path_hint(struct relay *relay)
{
    const struct config *config = relay->rt->config;
    const uint32_t *by_provider = config->models.default_deployment;

    if (!relay->hints.openai_path || by_provider[PROVIDER_AZURE] == MODEL_NO_INDEX ||
        (by_provider[PROVIDER_OPENAI] != MODEL_NO_INDEX && !config->openai_path_is_azure &&
         !has_azure_key(relay)))
        return;
    relay->hints.openai_path = relay->hints.has_provider = false;
    relay->hints.azure_shape = true;
}

/* What the caller's aliases make of a name (tenants statement A17). */
static void rename_hint(const struct relay *relay, char hint[ROUTE_NAME_MAX])
{
    char target[RIGHTS_NAME_MAX + 1];

    static_assert(sizeof(target) <= ROUTE_NAME_MAX, "an alias's target fits a hint");
    if (hint[0] != '\0' && may_use_alias(relay, hint, strlen(hint), target))
        snprintf(hint, ROUTE_NAME_MAX, "%s", target);
}

void resolve_hints(struct relay *relay)
{
    char text[ROUTE_NAME_MAX];
    const char *value;
    size_t len;
    int n;

    azure_path_hint(relay);
    if ((value = json_str(json_get(relay->request, "model"), &len)) != NULL && len > 0) {
        relay->hints.model[0] = '\0'; /* the body's model goes before the query's */
        route_hint_model(&relay->hints, value, len);
    }
    header_hints(relay);
    n = route_query(relay->query, relay->query_len, "custom_llm_provider", text, sizeof(text));
    if (n > 0)
        route_hint_provider(&relay->hints, text, (size_t)n);
    if ((value = json_str(json_get(relay->request, "custom_llm_provider"), &len)) != NULL)
        route_hint_provider(&relay->hints, value, len);
    rename_hint(relay, relay->hints.model);
    rename_hint(relay, relay->hints.deployment);
}

/* --- answers --- */

void resolve_describe_not_found(struct failure *failure, enum id_kind kind, const char *id)
{
    if (kind == ID_FILE)
        error_fill(failure, NO_FILE, "id", id);
    else
        error_fill(failure, NO_BATCH, "", id);
}

void resolve_not_found(struct relay *relay, enum id_kind kind, const char *id)
{
    struct failure failure;

    resolve_describe_not_found(&failure, kind, id);
    relay_failure(relay, &failure);
}

/* For checks that go no further. */
static enum answered not_found(struct relay *relay, enum id_kind kind, const char *id)
{
    resolve_not_found(relay, kind, id);
    return ANSWERED;
}

static enum answered refuse(struct relay *relay, const struct failure *why)
{
    relay_failure(relay, why);
    return ANSWERED;
}

/* An unserved or unconfigured provider was asked for. */
static bool provider_is_usable(const struct relay *relay, struct failure *why)
{
    if (relay->hints.unknown_provider) {
        error_fill(why, UNKNOWN_PROVIDER, "custom_llm_provider", relay->hints.provider_text);
        return false;
    }
    if (relay->hints.has_provider &&
        relay->rt->config->models.default_deployment[relay->hints.provider] == MODEL_NO_INDEX) {
        error_fill(why, NO_CREDENTIALS, "custom_llm_provider", provider_name(relay->hints.provider),
                   missing_key[relay->hints.provider]);
        return false;
    }
    return true;
}

/* --- choosing among accounts --- */

static bool provider_matches(const struct relay *relay, uint32_t deployment)
{
    return !relay->hints.has_provider || table_deployment(relay->rt->table, deployment)->provider ==
                                             (uint32_t)relay->hints.provider;
}

/* For candidates.h. */
static int provider_asked(const struct relay *relay)
{
    return relay->hints.has_provider ? (int)relay->hints.provider : CANDIDATES_ANY;
}

/* The account as a whole that serves when nothing names a model. */
static uint32_t default_deployment(const struct relay *relay)
{
    const uint32_t *by_provider = relay->rt->config->models.default_deployment;

    if (relay->hints.has_provider)
        return by_provider[relay->hints.provider];
    if (relay->hints.azure_shape && by_provider[PROVIDER_AZURE] != MODEL_NO_INDEX)
        return by_provider[PROVIDER_AZURE];
    return by_provider[PROVIDER_OPENAI] != MODEL_NO_INDEX ? by_provider[PROVIDER_OPENAI]
                                                          : by_provider[PROVIDER_AZURE];
}

/* What a hint names: the model of the request, or (Azure SDKs) a deployment in the path. */
static bool hinted(const struct relay *relay, struct table_name *name)
{
    const struct table *table = relay->rt->table;
    const char *names[] = {relay->hints.model, relay->hints.deployment};

    for (int i = 0; i < 2; i++)
        if (names[i][0] != '\0' && table_find_name(table, names[i], strlen(names[i]), name))
            return true;
    return false;
}

/* Room for all deployments, and behind it a byte for each account: whether it is in the list. A
 * group may have an account of its own for each of its thousands of rows. */
static uint32_t *new_list(const struct runtime *rt)
{
    size_t room = (table_num_deployments(rt->table) + 1u) * sizeof(uint32_t);
    uint32_t *list = malloc(room + rt->config->models.num_accounts);

    if (list != NULL)
        memset((char *)list + room, 0, rt->config->models.num_accounts);
    return list;
}

static bool *listed_accounts(const struct runtime *rt, uint32_t *list)
{
    return (bool *)(list + table_num_deployments(rt->table) + 1u);
}

/* Add the account's representative once.
 * @param out  of new_list() */
static void add_account(const struct runtime *rt, uint32_t deployment, uint32_t *out, uint32_t *num)
{
    uint32_t account = rt->account_same_resource[table_deployment(rt->table, deployment)->account];
    bool *listed = listed_accounts(rt, out);

    if (listed[account])
        return;
    listed[account] = true;
    out[(*num)++] = rt->account_first[account];
}

/* The rows that a name means. */
static const uint32_t *members_of(const struct runtime *rt, const struct table_name *name,
                                  uint32_t *num)
{
    *num = 1;
    return name->row != MODEL_NO_INDEX ? &name->row
                                       : table_group_members(rt->table, name->group, num);
}

/* The accounts of the group that a hint names; without one the default account, and those `among`
 * (by account; NULL: all) that the provider asked for has.
 * @return how many; the likely ones first */
static uint32_t all_accounts(const struct relay *relay, const bool *among, uint32_t *out)
{
    const struct runtime *rt = relay->rt;
    uint32_t first = default_deployment(relay), num = 0, members;
    struct table_name name;
    const uint32_t *list;

    if (hinted(relay, &name)) {
        list = members_of(rt, &name, &members);
        for (uint32_t i = 0; i < members; i++)
            if (provider_matches(relay, list[i]))
                add_account(rt, list[i], out, &num);
        if (num > 0)
            return num;
    }
    if (first != MODEL_NO_INDEX)
        add_account(rt, first, out, &num);
    first = num > 0 ? out[0] : MODEL_NO_INDEX;
    for (size_t i = 0; i < rt->config->models.num_accounts; i++)
        if ((among == NULL || among[i]) && rt->account_same_resource[i] == i &&
            rt->account_first[i] != first && rt->account_first[i] != MODEL_NO_INDEX &&
            provider_matches(relay, rt->account_first[i]))
            out[num++] = rt->account_first[i];
    return num;
}

static void out_of_memory(struct failure *why)
{
    error_fill(why, OUT_OF_MEMORY, "");
}

static void nowhere(struct failure *why)
{
    error_fill(why, NO_ACCOUNT, "");
}

static void remember_named(struct relay *relay, enum id_kind kind, const char *id, size_t len,
                           size_t native_len, const struct id_tag *tag)
{
    struct named *n = &relay->named;

    n->kind = kind;
    n->deployment = tag->deployment;
    n->len = len;
    n->native_len = native_len;
    memcpy(n->id, id, len);
}

/* Open what a client sent: the native id and, when a tag says so, the account. Whatever cannot be
 * this caller's is false, and all of it takes the same way. */
static bool open_id(struct relay *relay, enum id_kind kind, const char *id, size_t len,
                    struct target *target, struct id_tag *tag)
{
    const struct runtime *rt = relay->rt;
    size_t native_len;

    memset(tag, 0, sizeof(*tag));

    relay->named.len = 0;
    if (ids_open(rt->inherited->seals, kind, relay->owner, id, len, &native_len, &target->tagged,
                 tag) != 0 ||
        native_len >= sizeof(target->native))
        return false;
    memcpy(target->native, id, native_len);
    target->native[native_len] = '\0';
    if (!target->tagged)
        return relay->owner == 0;
    /* The master sees all, under the ids that their owners know. */
    if (relay->owner != 0 && tag->owner != relay->owner)
        return false;
    target->owner = tag->owner;
    target->account = tag->deployment;
    if (!tag->aged)
        remember_named(relay, kind, id, len, native_len, tag);
    return true;
}

/* Whether a native id is one of LiteLLM's making; it then becomes what is in it. False: a 404. */
static bool open_litellm_id(struct relay *relay, enum id_kind kind, struct target *target,
                            struct id_tag *tag, struct litellm_id *name)
{
    int rc = target->tagged ? ERR_INVALID
                            : ids_litellm_read(kind, target->native, strlen(target->native), name);

    if (rc == ERR_INVALID)
        return true;
    target->litellm = true;
    return rc == 0 && open_id(relay, kind, name->native, strlen(name->native), target, tag);
}

/* Add the accounts of a group. */
static void add_named_group(const struct runtime *rt, const char *name, size_t len, uint32_t *out,
                            uint32_t *num)
{
    uint32_t group = table_find_group(rt->table, name, len), members = 0;
    const uint32_t *list;

    if (group == MODEL_NO_INDEX)
        return;
    list = table_group_members(rt->table, group, &members);
    for (uint32_t i = 0; i < members; i++)
        add_account(rt, list[i], out, num);
}

/* The accounts that LiteLLM's id names: of the deployment with that model_info.id, else of the
 * groups. None: it names nothing that is configured here. */
static uint32_t named_accounts(const struct runtime *rt, const struct litellm_id *name,
                               uint32_t *out)
{
    uint32_t num = 0;

    for (uint32_t i = 0; i < table_num_deployments(rt->table) && name->model[0] != '\0'; i++)
        if (strcmp(table_str(rt->table, table_deployment(rt->table, i)->id), name->model) == 0)
            add_account(rt, i, out, &num);
    if (num == 0 && name->model[0] != '\0')
        add_named_group(rt, name->model, strlen(name->model), out, &num);
    if (num > 0)
        return num;
    for (const char *at = name->targets; *at != '\0'; at += strspn(at, ", ")) {
        size_t len = strcspn(at, ",");

        add_named_group(rt, at, len, out, &num);
        at += len;
    }
    return num;
}

/* Where an object without a tag may be. */
static bool find_untagged(struct relay *relay, const struct litellm_id *name, struct target *target,
                          struct failure *why)
{
    if (target->litellm && (target->num = named_accounts(relay->rt, name, target->deployments)) > 0)
        return true;
    if (name->provider[0] != '\0')
        route_hint_provider(&relay->hints, name->provider, strlen(name->provider));
    if (!provider_is_usable(relay, why))
        return false;
    /* All that are configured, without balancing too: who named a model or a provider at the upload
     * has only an id from then on. */
    target->num = all_accounts(relay, NULL, target->deployments);
    if (target->num == 0)
        nowhere(why);
    return target->num > 0;
}

/* The accounts that a tag may mean, each by the deployment that stands for it. */
static int list_candidates(const struct runtime *rt, uint32_t fingerprint, struct target *target)
{
    uint32_t *accounts = malloc((rt->account_map.num + 1u) * sizeof(*accounts)), num = 0;
    bool sure;

    if (accounts == NULL)
        return ERR_NOMEM;
    num = account_map_candidates(&rt->account_map, fingerprint, accounts, &sure);
    for (uint32_t i = 0; i < num; i++)
        if (rt->account_first[accounts[i]] != MODEL_NO_INDEX)
            accounts[target->num++] = rt->account_first[accounts[i]];
    target->deployments = accounts;
    target->unsure = !sure || target->num > 1;
    return 0;
}

/* Most requests are polls with a tag that names one account. */
static int pin(const struct runtime *rt, uint32_t fingerprint, struct target *target)
{
    uint32_t account = account_map_pinned(&rt->account_map, fingerprint);

    target->num = 0;
    target->unsure = false;
    if (account == MODEL_NO_INDEX || rt->account_first[account] == MODEL_NO_INDEX)
        return list_candidates(rt, fingerprint, target);
    target->deployments = malloc(sizeof(*target->deployments));
    if (target->deployments == NULL)
        return ERR_NOMEM;
    target->deployments[0] = rt->account_first[account];
    target->num = 1;
    return 0;
}

/* Where the object of a genuine tag is. */
static enum answered resolve_tagged(struct relay *relay, enum id_kind kind, const char *id,
                                    struct target *target, const struct id_tag *tag)
{
    struct failure why;

    if (pin(relay->rt, tag->deployment, target) != 0) {
        out_of_memory(&why);
        return refuse(relay, &why);
    }
    if (target->num > 0)
        return GO_ON;
    target_deinit(target);
    return not_found(relay, kind, id);
}

/* Where an object of an id without a tag may be, which may be one of LiteLLM's making. */
static enum answered resolve_untagged(struct relay *relay, enum id_kind kind, const char *id,
                                      struct target *target, struct id_tag *tag)
{
    struct litellm_id name = {0};
    struct failure why;

    if (!open_litellm_id(relay, kind, target, tag, &name))
        return not_found(relay, kind, id);
    if (target->tagged)
        return resolve_tagged(relay, kind, id, target, tag);
    target->deployments = new_list(relay->rt);
    if (target->deployments == NULL)
        out_of_memory(&why);
    else if (find_untagged(relay, &name, target, &why)) {
        target->unsure = target->num > 1;
        return GO_ON;
    }
    target_deinit(target);
    return refuse(relay, &why);
}

enum answered resolve_id(struct relay *relay, enum id_kind kind, const char *id, size_t len,
                         struct target *target)
{
    struct id_tag tag;

    target->deployments = NULL;
    target->num = 0;
    target->unsure = target->litellm = false;
    target->owner = 0;
    target->account = 0;
    target->native[0] = '\0';
    if (!open_id(relay, kind, id, len, target, &tag))
        return not_found(relay, kind, id);
    return target->tagged ? resolve_tagged(relay, kind, id, target, &tag)
                          : resolve_untagged(relay, kind, id, target, &tag);
}

void target_deinit(struct target *target)
{
    free(target->deployments);
    target->deployments = NULL;
    target->num = 0;
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
    bool named; /* some group was */
};

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
    list = members_of(rt, &found, &members);
    for (uint32_t i = 0; i < members; i++)
        if (provider_matches(relay, list[i]))
            add_account(rt, list[i], chosen->deployments, &chosen->num);
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
            !choose_group(relay, "target_model_names", asked.name, asked.len, chosen, why))
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
    *num = chosen.named ? chosen.num : all_accounts(relay, relay->rt->account_balanced, out);
    if (*num > 0)
        return true;
    if (chosen.named)
        error_fill(why, MODELS_ELSEWHERE, "model", provider_name(relay->hints.provider));
    else
        nowhere(why);
    return false;
}

enum answered resolve_list(struct relay *relay, uint32_t **out, uint32_t *num)
{
    struct failure why;

    if (provider_is_usable(relay, &why)) {
        *out = new_list(relay->rt);
        if (*out == NULL)
            out_of_memory(&why);
        else if (list_accounts(relay, *out, num, &why))
            return GO_ON;
        free(*out);
    }
    return refuse(relay, &why);
}

/* --- candidates --- */

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

    for (const char *at = target; *at != '\0';) {
        size_t len = strcspn(at, ","), lead = strspn(at, " \t");
        const char *name = at + (lead < len ? lead : len);
        size_t name_len = len - (size_t)(name - at);

        while (name_len > 0 && (name[name_len - 1] == ' ' || name[name_len - 1] == '\t'))
            name_len--;
        if (name_len > 0 && !add_target(relay, name, name_len, out, why))
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
    if (hinted(relay, &name)) {
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
    uint32_t whole = default_deployment(relay);

    if (model != NULL && !name_is_allowed(relay, "file", model, strlen(model), why))
        return false;
    if (whole == MODEL_NO_INDEX) {
        nowhere(why);
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
    if (!provider_is_usable(relay, why))
        return false;
    if (candidates_init(relay->rt, out) != 0) {
        out_of_memory(why);
        return false;
    }
    if (find_candidates(relay, model, target, out, why)) {
        may_use_drop_fallbacks(relay, out);
        return true;
    }
    candidates_deinit(out);
    return false;
}

/* --- answers that depend on the account --- */

int resolve_status(const struct relay *relay, uint32_t deployment, int status)
{
    const struct model_account *account = runtime_account(relay->rt, deployment);

    if (!relay->hints.azure_shape || account->provider != PROVIDER_AZURE)
        return 200;
    if (status >= 200 && status <= 299 && status != 204)
        return status;
    return account->api_version != NULL && strcmp(account->api_version, "2024-10-21") > 0 &&
                   account->api_version[0] == '2'
               ? 201
               : 200;
}

bool resolve_shows_tag(const struct relay *relay, const struct target *target, uint32_t deployment)
{
    struct viewer viewer = relay_viewer(relay);

    return target->tagged || (target->litellm && client_ids_are_tagged(&viewer, deployment));
}
