/* See entra.h. LiteLLM takes a credential's parts one by one from the row or the environment, and so do
 * we; but a row's own proof goes before every one of the environment's, a certificate is found although
 * a client id is there, and a user's password opens nothing. */
#include "entra.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "entra/entra_certificate.h"
#include "entra/entra_file.h"
#include "entra_cloud.h"
#include "entra_managed.h"
#include "scalar.h"

#define REFERENCE "oidc/"
#define KINDS_REFERENCE                                                                            \
    "wanted oidc/azure/, oidc/file/PATH, oidc/env/NAME or oidc/env_path/NAME: other kinds are "    \
    "not "                                                                                         \
    "followed"
#define MAX_NAME 255 /* bytes of a tenant or a client's id */

/* What proves who we are, as bits. */
enum { BY_SECRET = 1, BY_ASSERTION = 2, BY_CERTIFICATE = 4, BY_MANAGED = 8 };
#define BY_ANY (BY_SECRET | BY_ASSERTION | BY_CERTIFICATE | BY_MANAGED)

/* A proof that was found. */
struct choice {
    int by;                   /* one of the bits; 0: none */
    enum entra_field field;   /* that has it */
    struct entra_value proof; /* unset for BY_MANAGED */
    const char *why;          /* constant */
};

static const struct {
    int by;
    enum entra_field field;
} proofs[] = {{BY_SECRET, ENTRA_FIELD_SECRET},
              {BY_SECRET, ENTRA_FIELD_SECRET_PATH},
              {BY_ASSERTION, ENTRA_FIELD_ASSERTION},
              {BY_CERTIFICATE, ENTRA_FIELD_CERTIFICATE}};
#define NUM_PROOFS (sizeof(proofs) / sizeof(proofs[0]))

/* --- notes --- */

static int refuse_at(const struct entra_row *row, const struct node *node, const char *text)
{
    if (node == NULL)
        node = row->source->node;
    if (node != NULL)
        report_at(row->build->reporter, CONFIG_SKIPPED, node, "%s", text);
    else
        report_add(row->build->reporter, CONFIG_ERROR, NULL, 0, NULL, "%s", text);
    return ERR_INVALID;
}

static int blame(const struct entra_row *row, const struct entra_value *value,
                 enum entra_field field, enum config_severity severity, const char *text)
{
    entra_blame(row, value, entra_field_key(field), severity, text);
    return ERR_INVALID;
}

void entra_ignored(const struct entra_row *row, const char *why)
{
    const struct node *node = entra_fields_first(row->source);

    if (node != NULL)
        report_at(row->build->reporter, CONFIG_WARNING, node, "ignored: %s", why);
}

/* --- the proof --- */

/* Which proofs a name of azure-identity's classes stands for; 0: none of ours. */
static int kinds_of_class(const struct entra_value *name)
{
    static const struct {
        const char *name;
        int kinds;
    } classes[] = {{"ClientSecretCredential", BY_SECRET},
                   {"WorkloadIdentityCredential", BY_ASSERTION},
                   {"CertificateCredential", BY_CERTIFICATE},
                   {"ClientCertificateCredential", BY_CERTIFICATE},
                   {"ManagedIdentityCredential", BY_MANAGED},
                   {"EnvironmentCredential", BY_SECRET | BY_CERTIFICATE},
                   {"DefaultAzureCredential", BY_ANY}};

    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
        if (strlen(classes[i].name) == name->len &&
            memcmp(classes[i].name, name->text, name->len) == 0)
            return classes[i].kinds;
    return 0;
}

/* @param class  set where a class was named
 *  @return the proofs that may be used; 0: reported */
static int allowed_kinds(const struct entra_row *row, enum entra_way way, struct entra_value *class)
{
    int kinds;

    *class = (struct entra_value){0};
    if (way == ENTRA_WAY_SECRET)
        return BY_SECRET;
    *class = entra_field_value(row, ENTRA_FIELD_CLASS);
    if (class->text == NULL)
        return way == ENTRA_WAY_REFRESH || row->build->config->azure_token_refresh
                   ? BY_ANY
                   : BY_ANY & ~BY_MANAGED;
    kinds = kinds_of_class(class);
    if (kinds == 0)
        (void)blame(row, class, ENTRA_FIELD_CLASS, CONFIG_SKIPPED,
                    "wanted ClientSecretCredential, WorkloadIdentityCredential, "
                    "CertificateCredential, ManagedIdentityCredential, EnvironmentCredential or "
                    "DefaultAzureCredential: a developer's tools and a user's password are not "
                    "used by a service");
    return kinds;
}

static bool fits(const struct entra_row *row, enum entra_field field)
{
    return entra_field_value(row, field).text != NULL;
}

/* The row's own proof. @return 0, with by 0 where it has none; ERR_INVALID: it has two */
static int find_own(const struct entra_row *row, struct choice *choice)
{
    const struct node *twice = NULL;
    enum entra_field field = ENTRA_FIELD_MANAGED_CLIENT;

    for (size_t i = 0; i < NUM_PROOFS; i++) {
        const struct node *node = entra_field_own(row->source, proofs[i].field);

        if (node == NULL)
            continue;
        twice = choice->by != 0 ? node : twice;
        *choice =
            (struct choice){proofs[i].by, proofs[i].field, entra_field_value(row, proofs[i].field),
                            entra_field_key(proofs[i].field)};
    }
    if (entra_managed_is_named(row->source, &field)) {
        twice = choice->by != 0 ? entra_field_own(row->source, field) : twice;
        *choice = (struct choice){.by = BY_MANAGED, .field = field, .why = entra_field_key(field)};
    }
    if (twice != NULL)
        return refuse_at(row, twice,
                         "the row names two credentials; give one of client_secret, "
                         "client_secret_path, client_certificate_path, "
                         "azure_federated_token_file and managed_identity_...");
    return 0;
}

/* The first proof of the environment that is complete (entra statement 4). */
static void find_elsewhere(const struct entra_row *row, int kinds, struct choice *choice)
{
    bool known = fits(row, ENTRA_FIELD_TENANT) && fits(row, ENTRA_FIELD_CLIENT);

    for (size_t i = 0; i < NUM_PROOFS && choice->by == 0; i++) {
        struct entra_value proof = {0};

        if ((kinds & proofs[i].by) != 0)
            proof = entra_field_value(row, proofs[i].field);
        if (proof.text == NULL || (!known && kinds != proofs[i].by))
            continue;
        *choice = (struct choice){proofs[i].by, proofs[i].field, proof, proof.variable};
    }
}

static const char *why_managed(const struct entra_value *class)
{
    return class->node != NULL       ? "azure_credential"
           : class->variable != NULL ? "AZURE_CREDENTIAL"
                                     : "enable_azure_ad_token_refresh, and the environment has no "
                                       "complete secret, assertion or certificate";
}

static int tell_none(const struct entra_row *row, int kinds, const struct entra_value *class)
{
    if (class->text != NULL)
        return blame(row, class, ENTRA_FIELD_CLASS, CONFIG_SKIPPED,
                     kinds == (BY_SECRET | BY_CERTIFICATE)
                         ? "and the environment has neither a complete secret nor a certificate"
                     : kinds == BY_ASSERTION
                         ? "and neither azure_federated_token_file nor the environment variable "
                           "AZURE_FEDERATED_TOKEN_FILE names the assertion"
                     : kinds == BY_SECRET
                         ? "and there is no client_secret, client_secret_path or environment "
                           "variable AZURE_CLIENT_SECRET"
                         : "and there is no client_certificate_path or environment variable "
                           "AZURE_CLIENT_CERTIFICATE_PATH");
    return refuse_at(row, entra_fields_first(row->source),
                     "the row is left out: no credential of Entra ID is complete, here and in the "
                     "environment together; give tenant_id, client_id and one of client_secret, "
                     "client_secret_path, client_certificate_path, azure_federated_token_file, or "
                     "managed_identity_client_id, or azure_credential: ManagedIdentityCredential");
}

/* A secret without its tenant is a mistake, and no reason to try the machine's identity in silence. */
static void tell_half(const struct entra_row *row)
{
    for (size_t i = 0; i < NUM_PROOFS; i++) {
        struct entra_value proof = entra_field_value(row, proofs[i].field);

        if (proof.variable != NULL)
            report_add(row->build->reporter, CONFIG_WARNING, NULL, 0, proof.variable,
                       "not used: AZURE_TENANT_ID and AZURE_CLIENT_ID are not both set");
    }
}

static int choose(const struct entra_row *row, enum entra_way way, struct choice *choice)
{
    struct entra_value class = {0};
    int rc = find_own(row, choice), kinds;

    if (rc != 0)
        return rc;
    kinds = choice->by != 0 && entra_field_own(row->source, ENTRA_FIELD_CLASS) == NULL
                ? choice->by
                : allowed_kinds(row, way, &class);
    if (kinds == 0)
        return ERR_INVALID;
    if (choice->by != 0)
        return (kinds & choice->by) != 0
                   ? 0
                   : refuse_at(row, entra_field_own(row->source, ENTRA_FIELD_CLASS),
                               "the row names another kind of credential beside it");
    find_elsewhere(row, kinds, choice);
    if (choice->by == 0 && (kinds & BY_MANAGED) == 0)
        return tell_none(row, kinds, &class);
    if (choice->by == 0) {
        *choice = (struct choice){.by = BY_MANAGED, .why = why_managed(&class)};
        if (kinds == BY_ANY)
            tell_half(row);
    }
    return 0;
}

/* --- its parts --- */

static int take_scope(const struct entra_row *row, const struct entra_cloud *cloud,
                      struct entra_credential *out)
{
    struct entra_value scope = entra_field_value(row, ENTRA_FIELD_SCOPE);
    struct strbuf text = STRBUF_INIT;
    const char *fault;

    if (scope.text == NULL) {
        out->scope = strdup(cloud->scope);
        return out->scope == NULL ? ERR_NOMEM : 0;
    }
    fault = entra_cloud_scope_fault(scope.text, scope.len);
    if (fault == NULL) {
        out->scope = entra_value_copy(&scope);
        return out->scope == NULL ? ERR_NOMEM : 0;
    }
    strbuf_adds(&text, fault);
    if (scope.node != NULL && scope.node->column > 0)
        strbuf_addf(&text, " (column %u)", scope.node->column);
    (void)blame(row, &scope, ENTRA_FIELD_SCOPE, CONFIG_ERROR, strbuf_str(&text));
    strbuf_deinit(&text);
    return ERR_INVALID;
}

/* Whoever moves the authority away from the resource's cloud may mean it. */
static void doubt_authority(const struct entra_row *row, const struct entra_value *value,
                            const char *authority, const struct entra_cloud *cloud)
{
    const struct entra_cloud *of = entra_cloud_of_authority(authority);
    struct strbuf text = STRBUF_INIT;

    if (of == NULL || entra_cloud_of_base(row->base) == NULL || of == cloud)
        return;
    strbuf_addf(&text, "which is of the %s cloud, and the resource of the %s one", of->name,
                cloud->name);
    (void)blame(row, value, ENTRA_FIELD_AUTHORITY, CONFIG_WARNING, strbuf_str(&text));
    strbuf_deinit(&text);
}

/* @param cloud  in: what the resource's host says, or NULL; out: what is used */
static int take_authority(const struct entra_row *row, const struct entra_cloud **cloud,
                          struct entra_credential *out)
{
    struct entra_value value = entra_field_value(row, ENTRA_FIELD_AUTHORITY);
    const char *why;
    int rc = 0;

    if (value.text != NULL) {
        rc = entra_cloud_authority(value.text, value.len, &out->authority, &why);
        if (rc == ERR_INVALID)
            return blame(row, &value, ENTRA_FIELD_AUTHORITY, CONFIG_ERROR, why);
        if (rc == 0 && *cloud == NULL)
            *cloud = entra_cloud_of_authority(out->authority);
    }
    if (*cloud == NULL)
        *cloud = entra_cloud_default();
    if (rc == 0 && value.text != NULL)
        doubt_authority(row, &value, out->authority, *cloud);
    if (rc == 0 && value.text == NULL)
        out->authority = strdup((*cloud)->authority);
    return rc == 0 && out->authority == NULL ? ERR_NOMEM : rc;
}

/* A tenant is a part of the URL. */
static const char *tenant_fault(const struct entra_value *tenant)
{
    static const char *const all[] = {"common", "organizations", "consumers"};

    for (size_t i = 0; i < tenant->len; i++)
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_",
                   tenant->text[i]) == NULL)
            return "wanted the id of a directory or its domain, such as contoso.onmicrosoft.com";
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strlen(all[i]) == tenant->len && strncasecmp(all[i], tenant->text, tenant->len) == 0)
            return "wanted one directory: an application has no token for all of them";
    if (tenant->text[0] == '.' || tenant->len > MAX_NAME)
        return "wanted the id of a directory or its domain";
    return NULL;
}

static const char *client_fault(const struct entra_value *client)
{
    return entra_value_is_visible(client) && client->len <= MAX_NAME
               ? NULL
               : "wanted the id of an application, without spaces";
}

static int take_name(const struct entra_row *row, enum entra_field field,
                     const char *(*find_fault)(const struct entra_value *), const char *missing,
                     char **out)
{
    struct entra_value value = entra_field_value(row, field);
    const char *fault = value.text == NULL ? NULL : find_fault(&value);

    if (value.text == NULL) {
        if (row->source->node != NULL)
            entra_missing(row, field, missing);
        else
            (void)refuse_at(row, NULL, missing);
        return ERR_INVALID;
    }
    if (fault != NULL)
        return blame(row, &value, field, CONFIG_SKIPPED, fault);
    *out = entra_value_copy(&value);
    return *out == NULL ? ERR_NOMEM : 0;
}

static int take_principal(const struct entra_row *row, struct entra_credential *out)
{
    int rc = take_name(row, ENTRA_FIELD_TENANT, tenant_fault,
                       "missing: give the directory's id here or in the environment variable "
                       "AZURE_TENANT_ID",
                       &out->tenant);

    if (rc != 0)
        return rc;
    return take_name(row, ENTRA_FIELD_CLIENT, client_fault,
                     "missing: give the application's id here or in the environment variable "
                     "AZURE_CLIENT_ID",
                     &out->client_id);
}

static int take_secret(const struct entra_row *row, const struct choice *choice,
                       struct entra_credential *out)
{
    if (!entra_value_is_visible(&choice->proof))
        return blame(row, &choice->proof, ENTRA_FIELD_SECRET, CONFIG_ERROR,
                     "wanted visible ASCII characters without spaces");
    if (choice->proof.text[0] == '/' && choice->proof.node != NULL)
        (void)blame(row, &choice->proof, ENTRA_FIELD_SECRET, CONFIG_WARNING,
                    "which looks like a path: client_secret_path names a file");
    return secret_set(&out->secret, choice->proof.text, choice->proof.len);
}

/* @param choice  whose place is shown */
static void warn_of_path(const struct entra_row *row, const struct choice *choice, const char *path,
                         int error)
{
    static const char text[] = "the file %s cannot be read now: %s; there is no token until it can";
    const struct entra_value *proof = &choice->proof;

    if (proof->node != NULL)
        report_at(row->build->reporter, CONFIG_WARNING, proof->node, text, path, strerror(error));
    else
        report_add(row->build->reporter, CONFIG_WARNING, NULL, 0, proof->variable, text, path,
                   strerror(error));
}

/* It is read for each token call, so that it need not be there yet (entra statement 6). */
static int take_path(const struct entra_row *row, const struct choice *choice,
                     struct entra_credential *out)
{
    char *text = entra_value_copy(&choice->proof);

    if (text != NULL)
        out->path =
            choice->proof.node != NULL ? node_beside(choice->proof.node, text) : strdup(text);
    free(text);
    if (out->path == NULL)
        return ERR_NOMEM;
    if (out->kind != ENTRA_CERTIFICATE && access(out->path, R_OK) == -1)
        warn_of_path(row, choice, out->path, errno);
    return 0;
}

/* What has ended may be replaced while we run: the file is read for each token call. */
static void warn_of_end(const struct entra_row *row, const struct choice *choice,
                        int64_t ends_unix_s)
{
    char day[sizeof("2026-11-29")];
    time_t ends = (time_t)ends_unix_s;
    struct strbuf text = STRBUF_INIT;
    struct tm tm;

    if (ends_unix_s * 1000 > clock_unix_ms() || gmtime_r(&ends, &tm) == NULL ||
        strftime(day, sizeof(day), "%Y-%m-%d", &tm) == 0)
        return;
    strbuf_addf(&text, "whose certificate ended on %s; Entra ID refuses it", day);
    (void)blame(row, &choice->proof, choice->field, CONFIG_WARNING, strbuf_str(&text));
    strbuf_deinit(&text);
}

/* (entra statement 7) */
static int check_certificate(const struct entra_row *row, const struct choice *choice,
                             const struct entra_credential *out)
{
    struct secret bytes = SECRET_NONE;
    struct entra_error error;
    int64_t ends_unix_s = INT64_MAX;
    int rc = entra_file_read(out->path, &bytes, &error);

    if (rc == 0)
        rc = entra_certificate_check(bytes.data, bytes.len, &out->secret, &ends_unix_s, &error);
    secret_clear(&bytes);
    if (rc == ERR_NOMEM)
        return rc;
    if (rc != 0)
        return blame(row, &choice->proof, choice->field, CONFIG_ERROR, error.message);
    if (ends_unix_s != INT64_MAX)
        warn_of_end(row, choice, ends_unix_s);
    return 0;
}

/* The environment's password is of the environment's certificate. */
static int take_certificate(const struct entra_row *row, const struct choice *choice,
                            struct entra_credential *out)
{
    static const struct scalar_rule rule = {SCALAR_BOOL, 0, 0};
    struct entra_value password = entra_field_value(row, ENTRA_FIELD_CERTIFICATE_PASSWORD);
    struct entra_value chain = entra_field_value(row, ENTRA_FIELD_SEND_CHAIN);
    char *text = chain.text == NULL ? strdup("false") : entra_value_copy(&chain);
    union scalar_value value = {0};
    int rc = text == NULL ? ERR_NOMEM : scalar_parse(&rule, text, &value);

    free(text);
    if (rc == ERR_NOMEM)
        return rc;
    if (rc != 0)
        return blame(row, &chain, ENTRA_FIELD_SEND_CHAIN, CONFIG_ERROR, "wanted true or false");
    out->send_chain = value.truth;
    if (password.text != NULL && (choice->proof.node == NULL || password.node != NULL))
        rc = secret_set(&out->secret, password.text, password.len);
    return rc != 0 ? rc : check_certificate(row, choice, out);
}

static int take_proof(const struct entra_row *row, const struct choice *choice,
                      struct entra_credential *out)
{
    int rc;

    switch (choice->by) {
    case BY_ASSERTION:
        out->kind = ENTRA_ASSERTION_FILE;
        return take_path(row, choice, out);
    case BY_CERTIFICATE:
        out->kind = ENTRA_CERTIFICATE;
        rc = take_path(row, choice, out);
        if (rc == 0)
            rc = take_certificate(row, choice, out);
        return rc;
    default:
        out->kind = ENTRA_SECRET;
        return choice->field == ENTRA_FIELD_SECRET ? take_secret(row, choice, out)
                                                   : take_path(row, choice, out);
    }
}

/* --- references --- */

bool entra_is_reference(const char *text)
{
    return strncmp(text, REFERENCE, sizeof(REFERENCE) - 1) == 0;
}

/* A variable that a reference names, which may be any. */
static int take_named(const struct entra_row *row, const struct entra_value *token,
                      const char *name, struct entra_value *out)
{
    struct entra_value value = *token;

    value.text = *name == '\0' || row->source->compatible ? NULL : env_get(row->build->env, name);
    if (value.text == NULL)
        return blame(row, token, ENTRA_FIELD_SECRET, CONFIG_SKIPPED,
                     "and the environment variable that it names is not set or empty");
    value.len = strlen(value.text);
    while (value.len > 0 && strchr(" \t\r\n", value.text[value.len - 1]) != NULL)
        value.len--;
    *out = value;
    return 0;
}

static int take_assertion_text(const struct entra_row *row, const struct entra_value *token,
                               const char *name, struct entra_credential *out)
{
    struct entra_value value;
    int rc = take_named(row, token, name, &value);

    if (rc != 0)
        return rc;
    if (value.len == 0 || !entra_value_is_visible(&value))
        return blame(row, token, ENTRA_FIELD_SECRET, CONFIG_SKIPPED,
                     "and the environment variable that it names holds no assertion");
    out->kind = ENTRA_ASSERTION_ENV;
    out->why = "azure_ad_token: oidc/env";
    return secret_set(&out->secret, value.text, value.len);
}

static int take_assertion_path(const struct entra_row *row, const struct entra_value *token,
                               const char *kind, const char *rest, struct entra_credential *out)
{
    struct choice choice = {.by = BY_ASSERTION, .field = ENTRA_FIELD_ASSERTION};
    int rc = 0;

    out->kind = ENTRA_ASSERTION_FILE;
    if (strcmp(kind, "azure") == 0) {
        out->why = "azure_ad_token: oidc/azure";
        choice.proof = entra_field_value(row, ENTRA_FIELD_ASSERTION);
        if (choice.proof.text == NULL)
            return blame(row, token, ENTRA_FIELD_SECRET, CONFIG_SKIPPED,
                         "and the environment variable AZURE_FEDERATED_TOKEN_FILE is not set");
    } else if (strcmp(kind, "file") == 0) {
        out->why = "azure_ad_token: oidc/file";
        choice.proof = *token;
        choice.proof.text = rest;
        choice.proof.len = strlen(rest);
        if (*rest != '/')
            return blame(row, token, ENTRA_FIELD_SECRET, CONFIG_SKIPPED,
                         "wanted a path from the root behind oidc/file/, as in "
                         "oidc/file//var/run/token");
    } else {
        out->why = "azure_ad_token: oidc/env_path";
        rc = take_named(row, token, rest, &choice.proof);
    }
    return rc != 0 ? rc : take_path(row, &choice, out);
}

/* `oidc/KIND/REST` */
static int take_reference(const struct entra_row *row, const struct entra_value *token,
                          struct entra_credential *out)
{
    static const char *const kinds[] = {"azure", "file", "env_path", NULL};
    char *text = strndup(token->text + sizeof(REFERENCE) - 1, token->len - sizeof(REFERENCE) + 1);
    char *rest = text == NULL ? NULL : strchr(text, '/');
    int rc = ERR_INVALID;

    if (text == NULL)
        return ERR_NOMEM;
    if (rest != NULL)
        *rest++ = '\0';
    else
        rest = text + strlen(text);
    if (strcmp(text, "env") == 0) {
        rc = take_assertion_text(row, token, rest, out);
    } else {
        const char *const *kind = kinds;

        while (*kind != NULL && strcmp(*kind, text) != 0)
            kind++;
        rc = *kind == NULL ? blame(row, token, ENTRA_FIELD_SECRET, CONFIG_SKIPPED, KINDS_REFERENCE)
                           : take_assertion_path(row, token, text, rest, out);
    }
    free(text);
    return rc;
}

/* --- the whole --- */

/* Of a resource's path the name alone, which stands at its end. */
static const char *shown(const char *id)
{
    const char *slash = strrchr(id, '/');

    id = slash != NULL && slash[1] != '\0' ? slash + 1 : id;
    return secret_looks_like_one(id) ? SECRET_MASK : id;
}

/* For people, and for labels. */
static int take_title(struct entra_credential *out)
{
    static const char *const ways[] = {[ENTRA_SECRET] = "secret",
                                       [ENTRA_CERTIFICATE] = "certificate",
                                       [ENTRA_ASSERTION_FILE] = "assertion",
                                       [ENTRA_ASSERTION_ENV] = "assertion"};
    static const char *const selectors[] = {[ENTRA_BY_CLIENT_ID] = "client",
                                            [ENTRA_BY_OBJECT_ID] = "object",
                                            [ENTRA_BY_RESOURCE_ID] = "resource"};
    struct strbuf name = STRBUF_INIT;

    if (out->kind != ENTRA_MANAGED)
        strbuf_addf(&name, "client %.48s of tenant %.48s, by %s", shown(out->client_id),
                    shown(out->tenant), ways[out->kind]);
    else if (out->selector == ENTRA_SELECT_NONE)
        strbuf_addf(&name, "the machine's managed identity, by %s", entra_source_name(out->source));
    else
        strbuf_addf(&name, "managed identity of %s %.64s, by %s", selectors[out->selector],
                    shown(out->selector_value), entra_source_name(out->source));
    out->name = strbuf_take(&name);
    return out->name == NULL ? ERR_NOMEM : 0;
}

/* (entra statement 26) */
static int refuse_user(const struct entra_row *row)
{
    const struct node *node = entra_field_own(row->source, ENTRA_FIELD_USERNAME);

    if (node == NULL)
        node = entra_field_own(row->source, ENTRA_FIELD_PASSWORD);
    if (node == NULL)
        return 0;
    return refuse_at(row, node,
                     "the row is left out: a user's name and password get no token here (a second "
                     "factor blocks them, and Microsoft's libraries have given them up); give "
                     "client_secret, client_certificate_path, azure_federated_token_file or a "
                     "managed identity");
}

bool entra_user_in_environment(const struct env *env)
{
    return env_get(env, "AZURE_USERNAME") != NULL || env_get(env, "AZURE_PASSWORD") != NULL;
}

/* LiteLLM would sign that user in; here the machine signs in instead. */
static void warn_of_user(const struct entra_row *row)
{
    if (entra_user_in_environment(row->build->env))
        report_add(row->build->reporter, CONFIG_WARNING, NULL, 0, "AZURE_USERNAME",
                   "ignored, as AZURE_PASSWORD is: a user's name and password get no token here; a "
                   "managed identity is used");
}

/* AKS can put a service of its own between us and the authority. */
static void warn_of_proxy(const struct entra_row *row)
{
    if (env_get(row->build->env, "AZURE_KUBERNETES_TOKEN_PROXY") != NULL)
        report_add(row->build->reporter, CONFIG_WARNING, NULL, 0, "AZURE_KUBERNETES_TOKEN_PROXY",
                   "ignored: identity bindings of AKS are not followed, the authority is asked "
                   "itself");
}

static int take_by_choice(const struct entra_row *row, enum entra_way way,
                          const struct entra_value *token, struct entra_credential *out)
{
    const struct entra_cloud *cloud = entra_cloud_of_base(row->base);
    struct choice choice = {0};
    int rc = way == ENTRA_WAY_TOKEN ? 0 : choose(row, way, &choice);

    if (rc != 0)
        return rc;
    out->why = choice.why;
    if (choice.by == BY_MANAGED) {
        if (way == ENTRA_WAY_REFRESH)
            warn_of_user(row);
        rc = take_scope(row, cloud != NULL ? cloud : entra_cloud_default(), out);
        return rc != 0 ? rc : entra_managed_take(row, out);
    }
    rc = take_authority(row, &cloud, out);
    if (rc == 0)
        rc = take_scope(row, cloud, out);
    if (rc == 0)
        rc = take_principal(row, out);
    if (rc == 0)
        rc = way == ENTRA_WAY_TOKEN ? take_reference(row, token, out)
                                    : take_proof(row, &choice, out);
    if (rc == 0 && out->kind == ENTRA_ASSERTION_FILE)
        warn_of_proxy(row);
    return rc;
}

bool entra_in_environment(const struct entra_row *row)
{
    return fits(row, ENTRA_FIELD_TENANT) && fits(row, ENTRA_FIELD_CLIENT) &&
           fits(row, ENTRA_FIELD_SECRET);
}

int entra_take(const struct entra_row *row, enum entra_way way, const struct entra_value *token,
               struct entra_credential *out)
{
    int rc = entra_fields_check(row) ? refuse_user(row) : ERR_INVALID;

    if (rc == 0)
        rc = take_by_choice(row, way, token, out);
    if (rc == 0)
        rc = take_title(out);
    if (rc == 0)
        rc = entra_credential_seal(out);
    if (rc != 0)
        entra_credential_deinit(out);
    return rc;
}

/* Another scope, authority or secret of one client: labels tell them apart. */
static int make_unique(const struct model_list *models, struct entra_credential *credential)
{
    struct strbuf name = STRBUF_INIT;
    size_t twins = 1, len = strlen(credential->name);

    for (size_t i = 0; i < models->num_credentials; i++) {
        const char *other = models->credentials[i].name;

        twins += strncmp(other, credential->name, len) == 0 &&
                 (other[len] == '\0' || strncmp(other + len, " #", 2) == 0);
    }
    if (twins == 1)
        return 0;
    strbuf_addf(&name, "%s #%zu", credential->name, twins);
    if (strbuf_failed(&name)) {
        strbuf_deinit(&name);
        return ERR_NOMEM;
    }
    free(credential->name);
    credential->name = strbuf_take(&name);
    return 0;
}

int entra_put(struct models_build *build, struct entra_credential *credential, uint32_t *index)
{
    struct model_list *models = &build->config->models;
    struct entra_credential *list;

    for (size_t i = 0; i < models->num_credentials; i++)
        if (entra_credential_equal(&models->credentials[i], credential)) {
            entra_credential_deinit(credential);
            *index = (uint32_t)i;
            return 0;
        }
    if (make_unique(models, credential) != 0)
        return ERR_NOMEM;
    list = realloc(models->credentials, (models->num_credentials + 1) * sizeof(*list));
    if (list == NULL)
        return ERR_NOMEM;
    models->credentials = list;
    *index = (uint32_t)models->num_credentials;
    list[models->num_credentials++] = *credential;
    *credential = (struct entra_credential){0};
    return 0;
}
