/* See resolve.h: hints, and where an object of some id may be. */
#include "request/resolve.h"

#include <assert.h>
#include <h2o.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/ids_litellm.h"
#include "objects/client_ids.h"
#include "objects/moved.h"
#include "request/errors.h"
#include "request/may_use.h"
#include "resolve_accounts.h"

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
        resolve_list_add(rt, list[i], out, num);
}

/* The accounts that LiteLLM's id names: of the deployment with that model_info.id, else of the
 * groups. None: it names nothing that is configured here. */
static uint32_t named_accounts(const struct runtime *rt, const struct litellm_id *name,
                               uint32_t *out)
{
    uint32_t num = 0;

    for (uint32_t i = 0; i < table_num_deployments(rt->table) && name->model[0] != '\0'; i++)
        if (strcmp(table_str(rt->table, table_deployment(rt->table, i)->id), name->model) == 0)
            resolve_list_add(rt, i, out, &num);
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
    if (!resolve_provider_is_usable(relay, why))
        return false;
    /* All that are configured, without balancing too: who named a model or a provider at the upload
     * has only an id from then on. */
    target->num = resolve_all_accounts(relay, NULL, target->deployments);
    if (target->num == 0)
        error_fill(why, NO_ACCOUNT, "");
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
        error_fill(&why, OUT_OF_MEMORY, "");
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
    target->deployments = resolve_list_new(relay->rt);
    if (target->deployments == NULL)
        error_fill(&why, OUT_OF_MEMORY, "");
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
    target->first_deployment = MODEL_NO_INDEX;
    target->is_over = false;
    if (!open_id(relay, kind, id, len, target, &tag))
        return not_found(relay, kind, id);
    return target->tagged ? resolve_tagged(relay, kind, id, target, &tag)
                          : resolve_untagged(relay, kind, id, target, &tag);
}

void resolve_follow(const struct relay *relay, struct target *target)
{
    const struct runtime *rt = relay->rt;
    struct followed_row row;

    for (uint32_t i = 0; rt->inherited->followed != NULL && i < target->num; i++) {
        uint32_t first = target->deployments[i],
                 at = moved_find(rt, runtime_fingerprint(rt, first), target->native, &row);

        if (at == MODEL_NO_INDEX && !(row.state == FOLLOWED_OVER && row.has_text))
            continue;
        target->is_over = row.state == FOLLOWED_OVER && row.has_text;
        memcpy(target->first, target->native, sizeof(target->first));
        target->first_deployment = first;
        target->created_s = row.created_s;
        target->moves = row.moves;
        target->deployments[0] = target->is_over ? first : at;
        target->num = 1;
        target->unsure = false;
        if (!target->is_over)
            snprintf(target->native, sizeof(target->native), "%s", row.at.native);
        return;
    }
}

bool resolve_follow_again(const struct relay *relay, struct target *target, uint32_t at)
{
    char native[IDS_MAX + 1];

    memcpy(native, target->native, sizeof(native));
    if (target->first_deployment != MODEL_NO_INDEX) {
        memcpy(target->native, target->first, sizeof(target->native));
        target->deployments[0] = target->first_deployment;
    }
    resolve_follow(relay, target);
    return target->first_deployment != MODEL_NO_INDEX &&
           (target->is_over || strcmp(native, target->native) != 0 ||
            runtime_fingerprint(relay->rt, at) !=
                runtime_fingerprint(relay->rt, target->deployments[0]));
}

void resolve_show_first(const struct relay *relay, const struct target *target,
                        const struct viewer *viewer, struct json_doc *doc, struct json *batch)
{
    struct strbuf id = STRBUF_INIT;

    if (target->first_deployment == MODEL_NO_INDEX || !json_is(batch, JSON_OBJECT))
        return;
    client_ids_text(viewer, target->first_deployment, ID_BATCH,
                    resolve_shows_tag(relay, target, target->first_deployment), target->first, &id);
    json_set_str(doc, batch, "id", strbuf_str(&id));
    if (target->created_s != 0)
        json_set_int(doc, batch, "created_at", target->created_s);
    strbuf_deinit(&id);
}

void target_deinit(struct target *target)
{
    free(target->deployments);
    target->deployments = NULL;
    target->num = 0;
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
