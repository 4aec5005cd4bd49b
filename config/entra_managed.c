/* See entra_managed.h. Nobody is asked here, so a machine that is in no cloud is told by the first
 * token call. */
#include "entra_managed.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "hosts.h"

#define METADATA_HOST "http://169.254.169.254"
#define METADATA_PATH "/metadata/identity/oauth2/token"
#define ARC_AGENT     "/opt/azcmagent/bin/himds"
#define ARC_ENDPOINT  "http://127.0.0.1:40342" METADATA_PATH

static const enum entra_field selectors[] = {[ENTRA_BY_CLIENT_ID] = ENTRA_FIELD_MANAGED_CLIENT,
                                             [ENTRA_BY_OBJECT_ID] = ENTRA_FIELD_MANAGED_OBJECT,
                                             [ENTRA_BY_RESOURCE_ID] = ENTRA_FIELD_MANAGED_RESOURCE};

/* What the platform told this machine. */
struct place {
    struct entra_value endpoint, header, thumbprint, old_endpoint, old_secret, arc, metadata;
};

bool entra_managed_is_named(const struct accounts_source *source, enum entra_field *field)
{
    for (int i = ENTRA_BY_CLIENT_ID; i <= ENTRA_BY_RESOURCE_ID; i++)
        if (entra_field_own(source, selectors[i]) != NULL) {
            *field = selectors[i];
            return true;
        }
    return false;
}

static int refuse(const struct entra_row *row, const char *text)
{
    const struct node *node = entra_fields_first(row->source);

    if (node == NULL)
        node = row->source->node;
    if (node != NULL)
        report_at(row->build->reporter, CONFIG_SKIPPED, node, "%s", text);
    else
        report_add(row->build->reporter, CONFIG_ERROR, NULL, 0, NULL, "%s", text);
    return ERR_INVALID;
}

/* --- the place --- */

static void look_around(const struct entra_row *row, struct place *place)
{
    place->endpoint = entra_variable(row, "IDENTITY_ENDPOINT");
    place->header = entra_variable(row, "IDENTITY_HEADER");
    place->thumbprint = entra_variable(row, "IDENTITY_SERVER_THUMBPRINT");
    place->old_endpoint = entra_variable(row, "MSI_ENDPOINT");
    place->old_secret = entra_variable(row, "MSI_SECRET");
    place->arc = entra_variable(row, "IMDS_ENDPOINT");
    place->metadata = entra_variable(row, "AZURE_POD_IDENTITY_AUTHORITY_HOST");
}

static enum entra_source source_of(const struct place *place)
{
    if (place->endpoint.text != NULL && place->header.text != NULL)
        return place->thumbprint.text != NULL ? ENTRA_SERVICE_FABRIC : ENTRA_APP_SERVICE;
    if (place->old_endpoint.text != NULL)
        return place->old_secret.text != NULL ? ENTRA_ML : ENTRA_CLOUD_SHELL;
    if (place->endpoint.text != NULL && place->arc.text != NULL)
        return ENTRA_ARC;
    return access(ARC_AGENT, F_OK) == 0 ? ENTRA_ARC : ENTRA_IMDS;
}

/* What an address of the platform must be: nothing behind the path, where we write, and nothing that
 * another machine could read on the way. App Service on Linux has link-local and private ones. */
static const char *endpoint_fault(const struct models_build *build, const char *url)
{
    bool clear = strncasecmp(url, "http://", 7) == 0;
    const char *host;

    if (!clear && strncasecmp(url, "https://", 8) != 0)
        return "wanted an address that begins with http:// or https://";
    if (strpbrk(url, "?#@\\") != NULL || hosts_find(url, &host) == 0)
        return "wanted an address without a query and credentials";
    if (clear && !hosts_is_loopback(url) && !hosts_is_of_platform(url) &&
        !build->config->allow_insecure_upstream)
        return "wanted https://, or a loopback, link-local or private address";
    return NULL;
}

/* @param path  behind an address that has none; NULL: the address has it */
static int take_endpoint(const struct entra_row *row, const struct entra_value *value,
                         const char *path, struct entra_credential *out)
{
    struct strbuf url = STRBUF_INIT;
    const char *fault = "wanted visible ASCII characters";

    strbuf_add(&url, value->text, value->len);
    while (path != NULL && url.len > 0 && url.data[url.len - 1] == '/')
        url.data[--url.len] = '\0';
    strbuf_adds(&url, path == NULL ? "" : path);
    if (entra_value_is_visible(value) && !strbuf_failed(&url))
        fault = endpoint_fault(row->build, url.data);
    if (fault != NULL && !strbuf_failed(&url))
        entra_blame(row, value, value->variable, CONFIG_ERROR, fault);
    out->endpoint = fault == NULL ? strbuf_take(&url) : NULL;
    strbuf_deinit(&url);
    if (fault != NULL)
        return ERR_INVALID;
    return out->endpoint == NULL ? ERR_NOMEM : 0;
}

/* It stands in a header. */
static int take_secret(const struct entra_row *row, const struct entra_value *value,
                       struct entra_credential *out)
{
    if (entra_value_is_visible(value))
        return secret_set(&out->secret, value->text, value->len);
    entra_blame(row, value, "secret", CONFIG_ERROR,
                "wanted visible ASCII characters without spaces, as a header can carry them");
    return ERR_INVALID;
}

static int take_place(const struct entra_row *row, const struct place *place,
                      struct entra_credential *out)
{
    static const struct entra_value metadata = {METADATA_HOST, sizeof(METADATA_HOST) - 1, NULL,
                                                NULL},
                                    arc = {ARC_ENDPOINT, sizeof(ARC_ENDPOINT) - 1, NULL, NULL};
    int rc;

    switch (out->source) {
    case ENTRA_APP_SERVICE:
        rc = take_endpoint(row, &place->endpoint, NULL, out);
        return rc != 0 ? rc : take_secret(row, &place->header, out);
    case ENTRA_ML:
        rc = take_endpoint(row, &place->old_endpoint, NULL, out);
        return rc != 0 ? rc : take_secret(row, &place->old_secret, out);
    case ENTRA_CLOUD_SHELL:
        return take_endpoint(row, &place->old_endpoint, NULL, out);
    case ENTRA_ARC:
        return take_endpoint(row, place->endpoint.text != NULL ? &place->endpoint : &arc, NULL,
                             out);
    case ENTRA_SOURCE_NONE:
    case ENTRA_SERVICE_FABRIC:
    case ENTRA_IMDS:
        break;
    }
    return take_endpoint(row, place->metadata.text != NULL ? &place->metadata : &metadata,
                         METADATA_PATH, out);
}

/* --- which of its identities --- */

/* What a place has no word for would be overlooked, and another identity be used. */
static const char *selector_fault(const struct entra_credential *out)
{
    if (out->selector == ENTRA_SELECT_NONE)
        return NULL;
    if (out->source == ENTRA_CLOUD_SHELL)
        return "Cloud Shell has its own identity alone";
    if (out->source == ENTRA_ML && out->selector != ENTRA_BY_CLIENT_ID)
        return "Azure ML knows its identities by client id alone; give managed_identity_client_id";
    return NULL;
}

/* @return the one that is named; `twice` is the second one, NULL where there is none */
static enum entra_selector find_selector(const struct entra_row *row, struct entra_value *value,
                                         const struct node **twice)
{
    enum entra_selector found = ENTRA_SELECT_NONE;

    *twice = NULL;
    for (int i = ENTRA_BY_CLIENT_ID; i <= ENTRA_BY_RESOURCE_ID; i++) {
        struct entra_value one = entra_field_value(row, selectors[i]);

        if (one.text == NULL)
            continue;
        if (found != ENTRA_SELECT_NONE)
            *twice = one.node;
        else
            *value = one;
        found = found == ENTRA_SELECT_NONE ? (enum entra_selector)i : found;
    }
    if (found != ENTRA_SELECT_NONE)
        return found;
    *value = entra_field_value(row, ENTRA_FIELD_CLIENT);
    return value->text == NULL ? ENTRA_SELECT_NONE : ENTRA_BY_CLIENT_ID;
}

static int take_selector(const struct entra_row *row, struct entra_credential *out)
{
    struct entra_value value = {0};
    const struct node *twice;
    const char *fault;

    out->selector = find_selector(row, &value, &twice);
    if (twice != NULL) {
        report_at(row->build->reporter, CONFIG_SKIPPED, twice,
                  "the row names one identity in two ways; give one of "
                  "managed_identity_client_id, _object_id and _resource_id");
        return ERR_INVALID;
    }
    if (out->selector == ENTRA_SELECT_NONE)
        return 0;
    fault = entra_value_is_visible(&value) ? selector_fault(out) : "wanted an id without spaces";
    if (fault != NULL) {
        entra_blame(row, &value, "client_id", CONFIG_SKIPPED, fault);
        return ERR_INVALID;
    }
    out->selector_value = entra_value_copy(&value);
    return out->selector_value == NULL ? ERR_NOMEM : 0;
}

int entra_managed_take(const struct entra_row *row, struct entra_credential *out)
{
    struct place place;
    int rc;

    look_around(row, &place);
    out->kind = ENTRA_MANAGED;
    out->source = source_of(&place);
    if (out->source == ENTRA_SERVICE_FABRIC)
        return refuse(row,
                      "the managed identity of Service Fabric (IDENTITY_SERVER_THUMBPRINT is "
                      "set) is not supported: its service has a certificate of its own making; "
                      "give client_secret or client_certificate_path");
    rc = take_selector(row, out);
    return rc != 0 ? rc : take_place(row, &place, out);
}
