/* See models.h. */
#include "server/models.h"

static void answer(struct relay *relay, struct json_doc *doc, const struct json *root)
{
    if (doc == NULL || json_doc_failed(doc))
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
    else
        relay_json(relay, 200, root);
    json_doc_free(doc);
}

void models_list(struct relay *relay)
{
    const struct worker *w = relay->worker;
    struct json_doc *doc = json_doc_new();
    struct json *root = doc != NULL ? json_new_object(doc) : NULL, *data;

    if (root != NULL) {
        data = json_new_array(doc);
        for (uint32_t g = 0; g < table_num_groups(w->table); g++) {
            struct json *model = json_new_object(doc);

            json_set_str(doc, model, "id", table_group_name(w->table, g));
            json_set_str(doc, model, "object", "model");
            json_set_int(doc, model, "created",
                         1677610602); /* LiteLLM's constant: groups have no birthday */
            json_set_str(doc, model, "owned_by", "openai");
            json_append(doc, data, model);
        }
        json_set_str(doc, root, "object", "list");
        json_set(doc, root, "data", data);
    }
    answer(relay, doc, root);
}

static struct json *row(const struct worker *w, struct json_doc *doc,
                        const struct table_deployment *d)
{
    const struct model_account *account = &w->config->models.accounts[d->account];
    struct json *entry = json_new_object(doc), *params = json_new_object(doc),
                *info = json_new_object(doc);

    json_set_str(doc, entry, "model_name", table_group_name(w->table, d->group));
    json_set_str(doc, params, "model", table_str(w->table, d->litellm_model));
    json_set_str(doc, params, "api_base", account->base);
    if (account->api_version != NULL)
        json_set_str(doc, params, "api_version", account->api_version);
    json_set(doc, entry, "litellm_params", params);
    json_set_str(doc, info, "id", table_str(w->table, d->id));
    if (d->batch)
        json_set_str(doc, info, "mode", "batch");
    json_set_str(doc, info, "litellm_provider", provider_name((enum provider)d->provider));
    json_set(doc, entry, "model_info", info);
    return entry;
}

void models_info(struct relay *relay)
{
    const struct worker *w = relay->worker;
    struct json_doc *doc = json_doc_new();
    struct json *root = doc != NULL ? json_new_object(doc) : NULL, *data;

    if (root != NULL) {
        data = json_new_array(doc);
        for (uint32_t i = 0; i < table_num_deployments(w->table); i++)
            if (table_deployment(w->table, i)->group != MODEL_NO_INDEX)
                json_append(doc, data, row(w, doc, table_deployment(w->table, i)));
        json_set(doc, root, "data", data);
    }
    answer(relay, doc, root);
}
