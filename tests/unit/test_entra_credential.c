/* Which descriptors of Entra ID are one credential, and what becomes of their texts. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "common/entra_credential.h"

static void fill(struct entra_credential *c)
{
    *c = (struct entra_credential){.kind = ENTRA_SECRET, .why = "client_secret"};
    c->name = strdup("client app of tenant contoso, by secret");
    c->authority = strdup("https://login.microsoftonline.com");
    c->tenant = strdup("contoso");
    c->client_id = strdup("app");
    c->scope = strdup("https://cognitiveservices.azure.com/.default");
    assert_int_equal(secret_set(&c->secret, "s3cret~", 7), 0);
}

static void put(char **text, const char *value)
{
    free(*text);
    *text = value == NULL ? NULL : strdup(value);
}

/* Change one thing of a copy by `change` and compare. */
static bool differs(void (*change)(struct entra_credential *))
{
    struct entra_credential a, b;
    bool equal;

    fill(&a);
    fill(&b);
    change(&b);
    assert_int_equal(entra_credential_seal(&a), 0);
    assert_int_equal(entra_credential_seal(&b), 0);
    equal = entra_credential_equal(&a, &b);
    entra_credential_deinit(&a);
    entra_credential_deinit(&b);
    return !equal;
}

static void change_nothing(struct entra_credential *c)
{
    (void)c;
}

static void change_words(struct entra_credential *c)
{
    put(&c->name, "another name");
    c->why = "AZURE_CLIENT_SECRET";
}

static void change_kind(struct entra_credential *c)
{
    c->kind = ENTRA_CERTIFICATE;
}

static void change_source(struct entra_credential *c)
{
    c->source = ENTRA_ARC;
}

static void change_selector(struct entra_credential *c)
{
    c->selector = ENTRA_BY_OBJECT_ID;
}

static void change_chain(struct entra_credential *c)
{
    c->send_chain = true;
}

static void change_authority(struct entra_credential *c)
{
    put(&c->authority, "https://login.microsoftonline.us");
}

static void change_tenant(struct entra_credential *c)
{
    put(&c->tenant, "fabrikam");
}

static void change_client(struct entra_credential *c)
{
    put(&c->client_id, "app2");
}

static void change_scope(struct entra_credential *c)
{
    put(&c->scope, "https://ai.azure.com/.default");
}

static void change_path(struct entra_credential *c)
{
    put(&c->path, "/secret");
}

static void change_path_to_nothing(struct entra_credential *c)
{
    put(&c->path, "");
}

static void change_endpoint(struct entra_credential *c)
{
    put(&c->endpoint, "http://169.254.169.254/");
}

static void change_value(struct entra_credential *c)
{
    put(&c->selector_value, "app");
}

static void change_secret(struct entra_credential *c)
{
    secret_clear(&c->secret);
    assert_int_equal(secret_set(&c->secret, "s3cret-", 7), 0);
}

/* The same bytes, cut elsewhere. */
static void change_borders(struct entra_credential *c)
{
    put(&c->tenant, "contosoa");
    put(&c->client_id, "pp");
}

static void equal_descriptors_are_one_credential(void **state)
{
    (void)state;
    assert_false(differs(change_nothing));
    assert_false(differs(change_words));
}

static void whatever_a_token_depends_on_makes_another_credential(void **state)
{
    void (*const changes[])(struct entra_credential *) = {
        change_kind,     change_source, change_selector, change_chain,  change_authority,
        change_tenant,   change_client, change_scope,    change_path,   change_path_to_nothing,
        change_endpoint, change_value,  change_secret,   change_borders};

    (void)state;
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++)
        assert_true(differs(changes[i]));
}

/* An upgrade finds the cells of the program before by it. */
static void the_fingerprint_is_the_same_in_every_process(void **state)
{
    struct entra_credential c;

    (void)state;
    fill(&c);
    assert_int_equal(entra_credential_seal(&c), 0);
    assert_true(c.fingerprint == UINT64_C(0x08b70e83499f4ba8));
    entra_credential_deinit(&c);
    assert_null(c.name);
    assert_false(secret_is_set(&c.secret));
}

static void kinds_and_sources_have_names(void **state)
{
    (void)state;
    assert_string_equal(entra_kind_name(ENTRA_SECRET), "secret");
    assert_string_equal(entra_kind_name(ENTRA_MANAGED), "managed_identity");
    assert_string_equal(entra_source_name(ENTRA_SOURCE_NONE), "none");
    assert_string_equal(entra_source_name(ENTRA_SERVICE_FABRIC), "service_fabric");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_descriptors_are_one_credential),
        cmocka_unit_test(whatever_a_token_depends_on_makes_another_credential),
        cmocka_unit_test(the_fingerprint_is_the_same_in_every_process),
        cmocka_unit_test(kinds_and_sources_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
