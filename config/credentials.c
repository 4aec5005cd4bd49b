/* See credentials.h. LiteLLM's form: `[{credential_name: a, credential_values: {api_key: ...}}]`.
 */
#include "credentials.h"

#include <stdint.h>
#include <string.h>

/* The values under that name, NULL: there are none. */
static const struct node *find(const struct node *root, const char *name)
{
    const struct node *list = node_get(root, "credential_list");

    for (size_t i = 0; list != NULL && list->kind == NODE_LIST && i < list->num_items; i++) {
        const struct node *have = node_get(list->items[i], "credential_name");

        if (have != NULL && have->kind == NODE_SCALAR && strcmp(have->text, name) == 0)
            return node_get(list->items[i], "credential_values");
    }
    return NULL;
}

void credentials_take(const struct node *root, struct node *params, struct reporter *reporter)
{
    const struct node *name = node_get(params, "litellm_credential_name"), *values;
    size_t budget = SIZE_MAX;

    if (name == NULL || (name->kind == NODE_NULL && name->variable == NULL) ||
        report_unset(reporter, CONFIG_SKIPPED, name))
        return;
    values = name->kind == NODE_SCALAR ? find(root, name->text) : NULL;
    if (values == NULL) {
        struct strbuf got = STRBUF_INIT;

        node_show(name, &got);
        report_at(reporter, CONFIG_SKIPPED, name,
                  "got %s, wanted a credential_name of credential_list with its credential_values",
                  strbuf_str(&got));
        strbuf_deinit(&got);
        return;
    }
    for (size_t i = 0; values->kind == NODE_MAP && i < values->num_items; i++) {
        struct node *copy;

        if (node_get(params, values->items[i]->key) != NULL)
            continue;
        copy = node_copy(values->items[i], &budget);
        if (copy == NULL || node_append(params, copy) != 0) {
            node_free(copy);
            reporter->failed = true;
            return;
        }
    }
}
