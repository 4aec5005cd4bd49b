/* Clients and identities of a token service, from sim.json and from the control port. See entra.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/bio.h>
#include <openssl/pem.h>

#include "entra.h"

static void free_values(struct entra_value **list, size_t *n)
{
    for (size_t i = 0; i < *n; i++) {
        free((*list)[i].text);
        free((*list)[i].state);
    }
    free(*list);
    *list = NULL;
    *n = 0;
}

static void free_certificates(struct entra_client *c)
{
    for (size_t i = 0; i < c->n_certificates; i++)
        X509_free(c->certificates[i]);
    free(c->certificates);
    c->certificates = NULL;
    c->n_certificates = 0;
}

static void free_client(struct entra_client *c)
{
    free_values(&c->secrets, &c->n_secrets);
    free_values(&c->assertions, &c->n_assertions);
    free_certificates(c);
    free(c->tenant);
    free(c->id);
    free(c->object_id);
    free(c->issuer);
    free(c->subject);
    free(c->audience);
}

static void free_identities(struct entra *e)
{
    for (size_t i = 0; i < e->n_identities; i++) {
        free(e->identities[i].client_id);
        free(e->identities[i].object_id);
        free(e->identities[i].resource_id);
        free(e->identities[i].sources);
    }
    free(e->identities);
    e->identities = NULL;
    e->n_identities = 0;
}

static void free_arc_keys(struct entra *e)
{
    for (size_t i = 0; i < e->n_arc_keys; i++) {
        (void)unlink(e->arc_keys[i].path);
        free(e->arc_keys[i].path);
        free(e->arc_keys[i].text);
    }
    free(e->arc_keys);
    e->arc_keys = NULL;
    e->n_arc_keys = 0;
}

void entra_free(struct account *acc)
{
    struct entra *e = acc->entra;

    if (e == NULL)
        return;
    for (size_t i = 0; i < e->n_clients; i++)
        free_client(&e->clients[i]);
    for (size_t i = 0; i < e->n_jtis; i++)
        free(e->jtis[i]);
    free_identities(e);
    free_arc_keys(e);
    tokens_forget(e);
    free(e->clients);
    free(e->jtis);
    free(e->app_service_header);
    free(e->ml_secret);
    free(e->fabric_secret);
    free(e->arc_directory);
    free(e);
    acc->entra = NULL;
}

/* A member that is there replaces what was. */
static void take_text(const struct json *v, const char *key, char **slot)
{
    const char *text = json_get_str(v, key);

    if (text == NULL)
        return;
    char *copy = sim_strdup(text);
    free(*slot);
    *slot = copy;
}

/* ["text", {"value": "text", "state": "expired"}] */
static int take_values(const struct json *v, const char *states, struct entra_value **list,
                       size_t *n, struct strbuf *why)
{
    free_values(list, n);
    *list = sim_alloc((json_size(v) + 1) * sizeof(**list));
    for (size_t i = 0; i < json_size(v); i++) {
        const struct json *item = json_at(v, i);
        const char *text = json_str(item, NULL);
        const char *state = json_get_str(item, "state");
        if (text == NULL)
            text = json_get_str(item, "value");
        state = state == NULL ? "valid" : state;
        if (text == NULL || !switches_has(states, state, strlen(state))) {
            strbuf_addf(why, "want a text, or {\"value\", \"state\"} with a state of %s", states);
            return -1;
        }
        (*list)[(*n)++] = (struct entra_value){sim_strdup(text), sim_strdup(state)};
    }
    return 0;
}

/* PEM text, or the name of a file with it. A private key in it is not looked at. */
static X509 *read_certificate(const char *text)
{
    bool inlined = strncmp(text, "-----", 5) == 0;
    BIO *bio = inlined ? BIO_new_mem_buf(text, -1) : BIO_new_file(text, "r");
    X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);

    BIO_free(bio);
    return cert;
}

static int take_certificates(struct entra_client *c, const struct json *v, struct strbuf *why)
{
    free_certificates(c);
    c->certificates = sim_alloc((json_size(v) + 1) * sizeof(X509 *));
    for (size_t i = 0; i < json_size(v); i++) {
        const char *text = json_str(json_at(v, i), NULL);
        X509 *cert = text == NULL ? NULL : read_certificate(text);
        if (cert == NULL) {
            strbuf_adds(why, "certificates: want PEM text or names of PEM files");
            return -1;
        }
        c->certificates[c->n_certificates++] = cert;
    }
    return 0;
}

static int take_client(struct entra_client *c, const struct json *v, struct strbuf *why)
{
    const struct json *secrets = json_get(v, "secrets");
    const struct json *assertions = json_get(v, "assertions");
    const struct json *certificates = json_get(v, "certificates");

    take_text(v, "object_id", &c->object_id);
    take_text(v, "issuer", &c->issuer);
    take_text(v, "subject", &c->subject);
    take_text(v, "audience", &c->audience);
    (void)json_bool(json_get(v, "disabled"), &c->disabled);
    (void)json_bool(json_get(v, "chain"), &c->chain);
    (void)json_int64(json_get(v, "expires_in"), &c->expires_in);
    if (secrets != NULL &&
        take_values(secrets, "valid,expired", &c->secrets, &c->n_secrets, why) != 0)
        return -1;
    if (assertions != NULL && take_values(assertions, "valid,expired,issuer,subject,audience",
                                          &c->assertions, &c->n_assertions, why) != 0)
        return -1;
    return certificates == NULL ? 0 : take_certificates(c, certificates, why);
}

static struct entra_client *new_client(struct account *acc, const char *tenant, const char *id)
{
    struct entra *e = acc->entra;
    uint64_t seed = id == NULL ? 1 : map_hash(id, strlen(id));
    char uuid[40];

    e->clients = sim_realloc(e->clients, (e->n_clients + 1) * sizeof(*e->clients));
    struct entra_client *c = &e->clients[e->n_clients++];
    sim_uuid(&seed, uuid); /* the same after a reset */
    *c = (struct entra_client){.tenant = sim_strdup(tenant),
                               .id = sim_strdup(id),
                               .object_id = sim_strdup(uuid),
                               .expires_in = acc->expires_in};
    return c;
}

int entra_set_client(struct account *acc, const struct json *v, struct strbuf *why)
{
    const char *tenant = json_get_str(v, "tenant");
    const char *id = json_get_str(v, "client_id");
    struct entra *e = acc->entra;

    if (id == NULL) {
        strbuf_adds(why, "a client needs a client_id");
        return -1;
    }
    for (size_t i = 0; i < e->n_clients; i++) {
        struct entra_client *c = &e->clients[i];
        if (text_is(c->id, id) &&
            (tenant == NULL || c->tenant == NULL || text_is(c->tenant, tenant)))
            return take_client(c, v, why);
    }
    return take_client(new_client(acc, tenant, id), v, why);
}

/* {"tenant", "client_id", "client_secret"} beside the account's name: one client, which may give
 * any assertion; what is not named is not compared. */
static void take_plain_client(struct account *acc, const struct json *v)
{
    const char *secret = json_get_str(v, "client_secret");
    struct entra_client *c =
        new_client(acc, json_get_str(v, "tenant"), json_get_str(v, "client_id"));

    c->any_secret = secret == NULL;
    c->any_assertion = true;
    if (secret == NULL)
        return;
    c->secrets = sim_alloc(sizeof(*c->secrets));
    c->secrets[c->n_secrets++] = (struct entra_value){sim_strdup(secret), sim_strdup("valid")};
}

static char *joined(const struct json *v)
{
    struct strbuf out = STRBUF_INIT;

    for (size_t i = 0; i < json_size(v); i++) {
        const char *text = json_str(json_at(v, i), NULL);
        strbuf_addf(&out, "%s%s", i > 0 ? "," : "", text != NULL ? text : "");
    }
    char *text = sim_strdup(strbuf_str(&out));
    strbuf_deinit(&out);
    return text;
}

static void add_identity(struct account *acc, const struct json *v)
{
    struct entra *e = acc->entra;
    uint64_t seed = e->n_identities + 1;
    char uuid[40];

    e->identities = sim_realloc(e->identities, (e->n_identities + 1) * sizeof(*e->identities));
    struct entra_identity *id = &e->identities[e->n_identities++];
    *id = (struct entra_identity){.expires_in = acc->expires_in,
                                  .sources = joined(json_get(v, "sources"))};
    sim_uuid(&seed, uuid);
    id->client_id = sim_strdup(uuid);
    sim_uuid(&seed, uuid);
    id->object_id = sim_strdup(uuid);
    take_text(v, "client_id", &id->client_id);
    take_text(v, "object_id", &id->object_id);
    take_text(v, "resource_id", &id->resource_id);
    (void)json_bool(json_get(v, "system"), &id->system);
    (void)json_int64(json_get(v, "expires_in"), &id->expires_in);
}

int entra_set_identities(struct account *acc, const struct json *v, struct strbuf *why)
{
    const struct json *list = json_get(v, "identities");

    if (!json_is(list, JSON_ARRAY)) {
        strbuf_adds(why, "identities: want an array");
        return -1;
    }
    free_identities(acc->entra);
    for (size_t i = 0; i < json_size(list); i++)
        add_identity(acc, json_at(list, i));
    return 0;
}

int entra_config(struct account *acc, const struct json *v, struct strbuf *why)
{
    const struct json *clients = json_get(v, "clients");
    const struct json *identities = json_get(v, "identities");
    struct entra *e = sim_alloc(sizeof(*e));

    entra_free(acc);
    acc->entra = e;
    take_text(v, "app_service_header", &e->app_service_header);
    take_text(v, "ml_secret", &e->ml_secret);
    take_text(v, "fabric_secret", &e->fabric_secret);
    take_text(v, "arc_directory", &e->arc_directory);
    for (size_t i = 0; i < json_size(clients); i++) {
        if (entra_set_client(acc, json_at(clients, i), why) != 0)
            return -1;
    }
    if (clients == NULL)
        take_plain_client(acc, v);
    if (identities != NULL)
        return entra_set_identities(acc, v, why);
    add_identity(acc, NULL);
    e->identities[0].system = true;
    return 0;
}

void entra_reset(struct sim *sim)
{
    struct strbuf why = STRBUF_INIT;

    entra_forget_tokens(sim);
    sim->n_token_calls = 0;
    for (size_t i = 0; i < sim->n_accounts; i++) {
        struct account *acc = sim->accounts[i];
        if (acc->entra != NULL)
            (void)entra_config(acc, acc->config, &why); /* it was good at the start */
    }
    strbuf_deinit(&why);
}

int entra_change(struct account *acc, const struct json *v, struct strbuf *why)
{
    const struct json *client = json_get(v, "client");

    if (acc == NULL || acc->entra == NULL) {
        strbuf_adds(why, "account: want one of kind entra");
        return -1;
    }
    return client != NULL ? entra_set_client(acc, client, why) : entra_set_identities(acc, v, why);
}
