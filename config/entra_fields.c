/* See entra_fields.h. Sources of the names: LiteLLM's common_utils.py of Azure, azure-identity's
 * EnvironmentCredential and WorkloadIdentityCredential (entra statement 1). What LiteLLM has no name
 * for has the variable's in small letters. */
#include "entra_fields.h"

#include <stdlib.h>
#include <string.h>

#define MAX_VARIABLES 3

static const struct {
    const char *key;
    size_t at; /* of the text in struct raw_params */
    const char *const variables[MAX_VARIABLES];
} fields[ENTRA_FIELDS] = {
#define FIELD(name) #name, offsetof(struct raw_params, name)
    [ENTRA_FIELD_TENANT] = {FIELD(tenant_id), {"AZURE_TENANT_ID"}},
    [ENTRA_FIELD_CLIENT] = {FIELD(client_id), {"AZURE_CLIENT_ID"}},
    [ENTRA_FIELD_SECRET] = {FIELD(client_secret), {"AZURE_CLIENT_SECRET"}},
    [ENTRA_FIELD_SECRET_PATH] = {FIELD(client_secret_path), {NULL}},
    [ENTRA_FIELD_CERTIFICATE] = {FIELD(client_certificate_path),
                                 {"AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CERTIFICATE_PATH"}},
    [ENTRA_FIELD_CERTIFICATE_PASSWORD] = {FIELD(client_certificate_password),
                                          {"AZURE_CLIENT_CERTIFICATE_PASSWORD",
                                           "AZURE_CERTIFICATE_PASSWORD"}},
    [ENTRA_FIELD_SEND_CHAIN] = {FIELD(client_send_certificate_chain),
                                {"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"}},
    [ENTRA_FIELD_ASSERTION] = {FIELD(azure_federated_token_file), {"AZURE_FEDERATED_TOKEN_FILE"}},
    [ENTRA_FIELD_SCOPE] = {FIELD(azure_scope), {"AZURE_SCOPE"}},
    [ENTRA_FIELD_AUTHORITY] = {FIELD(azure_authority_host), {"AZURE_AUTHORITY_HOST"}},
    [ENTRA_FIELD_CLASS] = {FIELD(azure_credential), {"AZURE_CREDENTIAL"}},
    [ENTRA_FIELD_MANAGED_CLIENT] = {FIELD(managed_identity_client_id), {NULL}},
    [ENTRA_FIELD_MANAGED_OBJECT] = {FIELD(managed_identity_object_id), {NULL}},
    [ENTRA_FIELD_MANAGED_RESOURCE] = {FIELD(managed_identity_resource_id), {NULL}},
    [ENTRA_FIELD_USERNAME] = {FIELD(azure_username), {"AZURE_USERNAME"}},
    [ENTRA_FIELD_PASSWORD] = {FIELD(azure_password), {"AZURE_PASSWORD"}},
#undef FIELD
};

const char *entra_field_key(enum entra_field field)
{
    return fields[field].key;
}

const struct node *entra_field_own(const struct accounts_source *source, enum entra_field field)
{
    const struct node *node = node_get(source->node, fields[field].key);

    if (node == NULL || (node->kind == NODE_NULL && node->variable == NULL) ||
        (node->kind == NODE_SCALAR && *node->text == '\0'))
        return NULL;
    return node;
}

const struct node *entra_fields_first(const struct accounts_source *source)
{
    for (int i = 0; i < ENTRA_FIELDS; i++) {
        const struct node *node = entra_field_own(source, (enum entra_field)i);

        if (node != NULL)
            return node;
    }
    return NULL;
}

/* Cut off what a mounted file's last line end leaves. @return whether there was anything */
static bool trim(struct entra_value *value)
{
    static const char blanks[] = " \t\r\n";
    size_t start = strspn(value->text, blanks), len = strlen(value->text);

    value->text += start;
    value->len = len - start;
    while (value->len > 0 && strchr(blanks, value->text[value->len - 1]) != NULL)
        value->len--;
    if (value->len == 0)
        value->text = NULL;
    return value->len < len;
}

bool entra_fields_check(const struct entra_row *row)
{
    for (int i = 0; i < ENTRA_FIELDS; i++) {
        const struct node *node = entra_field_own(row->source, (enum entra_field)i);
        struct entra_value value = {.text = node_text(node)};

        if (node == NULL || (!node->skipped && value.text != NULL && !trim(&value)))
            continue;
        if (node->skipped)
            return false; /* schema_check() has told */
        if (value.text == NULL) {
            report_at(row->build->reporter, CONFIG_SKIPPED, node, "got blanks, wanted a text");
            return false;
        }
        report_at(row->build->reporter, CONFIG_WARNING, node,
                  "white space around the value is cut off");
    }
    return true;
}

struct entra_value entra_variable(const struct entra_row *row, const char *name)
{
    struct entra_value value = {.variable = name};

    value.text = row->source->compatible ? NULL : env_get(row->build->env, name);
    if (value.text != NULL && trim(&value))
        report_add(row->build->reporter, CONFIG_WARNING, NULL, 0, name,
                   "white space around its value is cut off");
    return value.text == NULL ? (struct entra_value){0} : value;
}

struct entra_value entra_field_value(const struct entra_row *row, enum entra_field field)
{
    const struct raw_params *params = row->source->params;
    struct entra_value value = {.node = entra_field_own(row->source, field)};

    if (value.node != NULL && params != NULL)
        value.text = *(char *const *)(const void *)((const char *)params + fields[field].at);
    if (value.text != NULL)
        (void)trim(&value);
    for (size_t i = 0; value.node == NULL && value.text == NULL && i < MAX_VARIABLES; i++)
        if (fields[field].variables[i] != NULL)
            value = entra_variable(row, fields[field].variables[i]);
    return value;
}

void entra_blame(const struct entra_row *row, const struct entra_value *value, const char *key,
                 enum config_severity severity, const char *text)
{
    struct reporter *reporter = row->build->reporter;
    struct strbuf got = STRBUF_INIT, copy = STRBUF_INIT;
    struct node shown = {.kind = NODE_SCALAR, .key = (char *)(uintptr_t)key};

    strbuf_add(&copy, value->text, value->len);
    shown.text = copy.data;
    if (copy.data != NULL)
        node_show(value->node != NULL ? value->node : &shown, &got);
    if (value->node != NULL)
        report_at(reporter, severity, value->node, "got %s, %s", strbuf_str(&got), text);
    else
        report_add(reporter, severity == CONFIG_SKIPPED ? CONFIG_ERROR : severity, NULL, 0,
                   value->variable, "got %s, %s", strbuf_str(&got), text);
    if (copy.data != NULL)
        secret_wipe(copy.data, copy.len);
    strbuf_deinit(&copy);
    strbuf_deinit(&got);
}

void entra_missing(const struct entra_row *row, enum entra_field field, const char *text)
{
    report_under(row->build->reporter, CONFIG_SKIPPED, row->source->node, fields[field].key, "%s",
                 text);
}

bool entra_value_is_visible(const struct entra_value *value)
{
    for (size_t i = 0; i < value->len; i++)
        if (value->text[i] <= ' ' || value->text[i] >= 0x7f)
            return false;
    return true;
}

char *entra_value_copy(const struct entra_value *value)
{
    return strndup(value->text, value->len);
}
