/* What tests of rows by Entra ID stand on: one Azure row in a file, and what became of it. */
#pragma once

#include "config_world.h"
#include "entra_world.h"

#define BASE "https://eu.openai.azure.com"
/* A file of one Azure row; what is given stands among its litellm_params. */
#define ROW(params)                                                                                \
    "model_list:\n"                                                                                \
    "- model_name: g\n"                                                                            \
    "  litellm_params:\n"                                                                          \
    "    model: azure/d\n"                                                                         \
    "    api_base: " BASE "\n" params
#define PRINCIPAL "    tenant_id: contoso\n    client_id: app-1\n"
#define REFRESH   "litellm_settings: {enable_azure_ad_token_refresh: true}\n"
#define SECRET    "s3cret~of.the_principal"

static inline int begin(void **state)
{
    return set_up(state);
}

static inline int end(void **state)
{
    struct loaded *l = *state;
    char path[128];

    snprintf(path, sizeof(path), "%s/proof", l->dir);
    unlink(path);
    return tear_down(state);
}

static inline const struct model_account *account(const struct loaded *l, size_t row)
{
    return &l->config->models.accounts[deployment(l, row)->account];
}

static inline const struct entra_credential *credential(const struct loaded *l, size_t row)
{
    const struct model_account *a = account(l, row);

    assert_int_equal(a->auth, ACCOUNT_AUTH_ENTRA);
    assert_false(secret_is_set(&a->key));
    assert_true(a->entra < l->config->models.num_credentials);
    return &l->config->models.credentials[a->entra];
}

static inline void set_principal(void)
{
    setenv("AZURE_TENANT_ID", "contoso", 1);
    setenv("AZURE_CLIENT_ID", "app-1", 1);
}

/* Left out is what is alone in its file, too. */
static inline void expect_left_out(struct loaded *l, const char *yaml, const char *part)
{
    load(l, yaml);
    assert_told(l, part);
    assert_told(l, "no row can be served");
    assert_not_told(l, SECRET);
}

/* Put key and certificate into the file, either may be missing. */
static inline void write_proof(const struct loaded *l, EVP_PKEY *key, const char *password, X509 *x)
{
    struct strbuf text = STRBUF_INIT;
    char *pem = x == NULL ? NULL : certificate_pem(x);

    if (pem != NULL)
        strbuf_adds(&text, pem);
    free(pem);
    pem = key == NULL ? NULL : key_pem(key, password);
    if (pem != NULL)
        strbuf_adds(&text, pem);
    free(pem);
    write_file(l, "proof", strbuf_str(&text));
    strbuf_deinit(&text);
}

#define ENTRA_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
