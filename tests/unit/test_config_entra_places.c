/* Certificates, and the places of managed identities: what the machine has, and what rows say of it. */
#include "config_entra_world.h"

/* --- (entra statement 7) --- */

static void test_entra_07_key_and_certificate_have_to_fit(void **state)
{
    static const char row[] = ROW(PRINCIPAL "    client_certificate_path: proof\n");
    struct loaded *l = *state;
    EVP_PKEY *key = make_rsa(2048), *other = make_rsa(2048);
    X509 *x = make_certificate(key, "app", key, "app");

    write_proof(l, key, NULL, x);
    load(l, row);
    assert_int_equal(l->rc, 0);
    assert_int_equal(credential(l, 0)->kind, ENTRA_CERTIFICATE);
    assert_string_equal(credential(l, 0)->name, "client app-1 of tenant contoso, by certificate");
    assert_told(l, "client_certificate_path: got \"proof\", whose certificate ended on 2026-09-22");
    write_proof(l, other, NULL, x);
    expect_error(l, row, ":8: error: model_list[0].litellm_params.client_certificate_path: got");
    write_proof(l, key, NULL, NULL);
    expect_error(l, row, "client_certificate_path: got \"proof\"");
    write_proof(l, NULL, NULL, x);
    expect_error(l, row, "client_certificate_path: got \"proof\"");
    write_file(l, "proof", "");
    expect_error(l, row, "client_certificate_path: got \"proof\"");
    X509_free(x);
    EVP_PKEY_free(other);
    EVP_PKEY_free(key);
}

static void test_entra_07_a_certificate_that_is_not_there_is_an_error(void **state)
{
    struct loaded *l = *state;

    expect_error(l, ROW(PRINCIPAL "    client_certificate_path: proof\n"),
                 ":8: error: model_list[0].litellm_params.client_certificate_path: got \"proof\"");
    set_principal();
    setenv("AZURE_CLIENT_CERTIFICATE_PATH", "/not/there.pem", 1);
    expect_error(l, ROW("") REFRESH, "environment: error: AZURE_CLIENT_CERTIFICATE_PATH: got");
}

static void a_certificate_has_a_password_and_a_chain(void **state)
{
    struct loaded *l = *state;
    EVP_PKEY *key = make_rsa(2048);
    X509 *x = make_certificate(key, "app", key, "app");

    setenv("AZURE_CLIENT_CERTIFICATE_PASSWORD", "of-the-environments", 1);
    write_proof(l, key, NULL, x);
    load(l, ROW(PRINCIPAL "    client_certificate_path: proof\n"
                          "    client_send_certificate_chain: 'yes'\n"));
    assert_int_equal(l->rc, 0);
    assert_true(credential(l, 0)->send_chain);
    assert_false(secret_is_set(&credential(l, 0)->secret));
    expect_error(l,
                 ROW(PRINCIPAL "    client_certificate_path: proof\n"
                               "    client_send_certificate_chain: perhaps\n"),
                 "client_send_certificate_chain: got \"perhaps\", wanted true or false");
    write_proof(l, key, "hunter2-hunter2", x);
    load(l, ROW(PRINCIPAL "    client_certificate_path: proof\n"
                          "    client_certificate_password: hunter2-hunter2\n"));
    assert_int_equal(l->rc, 0);
    assert_string_equal(credential(l, 0)->secret.data, "hunter2-hunter2");
    assert_not_told(l, "hunter2");
    /* The environment's is not for the row's file. */
    expect_error(l, ROW(PRINCIPAL "    client_certificate_path: proof\n"),
                 "client_certificate_path: got");
    X509_free(x);
    EVP_PKEY_free(key);
}

/* --- (entra statement 8) and the places of managed identities --- */

static void test_entra_08_no_api_base_is_link_local(void **state)
{
    static const char *const bases[] = {"http://169.254.169.254/", "https://169.254.169.254",
                                        "http://2852039166", "https://[fe80::1]",
                                        "https://169.254.1.1:8443"};
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(bases) / sizeof(bases[0]); i++) {
        char yaml[512];

        snprintf(yaml, sizeof(yaml),
                 "tranche_settings: {allow_insecure_upstream: true}\n"
                 "model_list:\n- {model_name: g, litellm_params: {model: %s, api_base: '%s', "
                 "api_key: k}}\n",
                 i % 2 == 0 ? "azure/d" : "openai/gpt-4o", bases[i]);
        load(l, yaml);
        assert_int_equal(l->rc, ERR_INVALID);
        assert_told(l, "api_base: got");
        assert_told(l, "which is a link-local address");
    }
    setenv("AZURE_API_BASE", "http://169.254.169.254", 1);
    setenv("AZURE_API_KEY", "k", 1);
    load(l, "tranche_settings: {allow_insecure_upstream: true}\n");
    assert_int_equal(l->rc, ERR_INVALID);
    assert_told(l, "AZURE_API_BASE: got");
}

static void test_entra_08_the_metadata_service_needs_no_permission(void **state)
{
    static const struct {
        const char *row;
        enum entra_selector selector;
        const char *value;
    } cases[] = {
        {ROW("    managed_identity_client_id: mi-1\n"), ENTRA_BY_CLIENT_ID, "mi-1"},
        {ROW("    managed_identity_object_id: ob-1\n"), ENTRA_BY_OBJECT_ID, "ob-1"},
        {ROW("    managed_identity_resource_id: /subscriptions/s/x\n"), ENTRA_BY_RESOURCE_ID,
         "/subscriptions/s/x"},
        {ROW("    azure_credential: ManagedIdentityCredential\n"), ENTRA_SELECT_NONE, NULL},
    };
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        load(l, cases[i].row);
        assert_int_equal(l->rc, 0);
        assert_int_equal(credential(l, 0)->source, ENTRA_IMDS);
        assert_string_equal(credential(l, 0)->endpoint,
                            "http://169.254.169.254/metadata/identity/oauth2/token");
        assert_int_equal(credential(l, 0)->selector, cases[i].selector);
        if (cases[i].value == NULL)
            assert_null(credential(l, 0)->selector_value);
        else
            assert_string_equal(credential(l, 0)->selector_value, cases[i].value);
        if (cases[i].selector == ENTRA_BY_RESOURCE_ID)
            assert_string_equal(credential(l, 0)->name, "managed identity of resource x, by imds");
        assert_null(credential(l, 0)->authority);
        assert_false(l->config->allow_insecure_upstream);
    }
    expect_left_out(l,
                    ROW("    managed_identity_client_id: a\n    managed_identity_object_id: b\n"),
                    "managed_identity_object_id: the row names one identity in two ways");
}

struct place {
    const char *variables[8]; /* names and values */
    enum entra_source source;
    const char *endpoint, *secret;
};

static void load_at(struct loaded *l, const struct place *place)
{
    for (size_t i = 0; i < 8 && place->variables[i] != NULL; i += 2)
        setenv(place->variables[i], place->variables[i + 1], 1);
    load(l, ROW("    azure_credential: ManagedIdentityCredential\n"));
    for (size_t i = 0; i < 8 && place->variables[i] != NULL; i += 2)
        unsetenv(place->variables[i]);
}

static void a_managed_identity_is_asked_where_the_platform_says(void **state)
{
    static const struct place places[] = {
        {{"IDENTITY_ENDPOINT", "http://169.254.130.2:8081/msi/token", "IDENTITY_HEADER", "h-1"},
         ENTRA_APP_SERVICE,
         "http://169.254.130.2:8081/msi/token",
         "h-1"},
        {{"MSI_ENDPOINT", "http://127.0.0.1:46808/MSI/auth", "MSI_SECRET", "m-1"},
         ENTRA_ML,
         "http://127.0.0.1:46808/MSI/auth",
         "m-1"},
        {{"IDENTITY_ENDPOINT", "http://172.16.5.3:8081/msi/token", "IDENTITY_HEADER", "h-1"},
         ENTRA_APP_SERVICE,
         "http://172.16.5.3:8081/msi/token",
         "h-1"},
        {{"MSI_ENDPOINT", "http://localhost:50342/oauth2/token"},
         ENTRA_CLOUD_SHELL,
         "http://localhost:50342/oauth2/token",
         NULL},
        {{"IDENTITY_ENDPOINT", "http://localhost:40342/metadata/identity/oauth2/token",
          "IMDS_ENDPOINT", "http://localhost:40342"},
         ENTRA_ARC,
         "http://localhost:40342/metadata/identity/oauth2/token",
         NULL},
        {{"AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9/"},
         ENTRA_IMDS,
         "http://127.0.0.1:9/metadata/identity/oauth2/token",
         NULL},
    };
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        load_at(l, &places[i]);
        assert_int_equal(l->rc, 0);
        assert_int_equal(credential(l, 0)->source, places[i].source);
        assert_string_equal(credential(l, 0)->endpoint, places[i].endpoint);
        if (places[i].secret == NULL)
            assert_false(secret_is_set(&credential(l, 0)->secret));
        else
            assert_string_equal(credential(l, 0)->secret.data, places[i].secret);
    }
}

static void places_that_cannot_be_asked_are_told(void **state)
{
    static const struct {
        struct place place;
        const char *told;
    } cases[] = {
        {{{"IDENTITY_ENDPOINT", "https://127.0.0.1:2377", "IDENTITY_HEADER", "h",
           "IDENTITY_SERVER_THUMBPRINT", "ab"},
          0,
          NULL,
          NULL},
         "the managed identity of Service Fabric"},
        {{{"IDENTITY_ENDPOINT", "http://a.test/msi", "IDENTITY_HEADER", "h"}, 0, NULL, NULL},
         "IDENTITY_ENDPOINT: got \"http://a.test/msi\", wanted https://, or a loopback, link-local "
         "or private address"},
        {{{"IDENTITY_ENDPOINT", "http://127.0.0.1/msi?x=1", "IDENTITY_HEADER", "h"}, 0, NULL, NULL},
         "IDENTITY_ENDPOINT: got ***, wanted an address without a query"},
        {{{"IDENTITY_ENDPOINT", "127.0.0.1/msi", "IDENTITY_HEADER", "h"}, 0, NULL, NULL},
         "wanted an address that begins with http:// or https://"},
        {{{"MSI_ENDPOINT", "http://127.0.0.1/msi", "MSI_SECRET", "two words"}, 0, NULL, NULL},
         "MSI_SECRET: got ***, wanted visible ASCII"},
    };
    struct loaded *l = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        load_at(l, &cases[i].place);
        assert_int_equal(l->rc, ERR_INVALID);
        assert_told(l, cases[i].told);
    }
    setenv("MSI_ENDPOINT", "http://127.0.0.1/msi", 1);
    expect_left_out(l, ROW("    managed_identity_client_id: a\n"), "Cloud Shell has its own");
    setenv("MSI_SECRET", "m", 1);
    expect_left_out(l, ROW("    managed_identity_object_id: a\n"), "by client id alone");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ENTRA_TEST(test_entra_07_key_and_certificate_have_to_fit),
        ENTRA_TEST(test_entra_07_a_certificate_that_is_not_there_is_an_error),
        ENTRA_TEST(a_certificate_has_a_password_and_a_chain),
        ENTRA_TEST(test_entra_08_no_api_base_is_link_local),
        ENTRA_TEST(test_entra_08_the_metadata_service_needs_no_permission),
        ENTRA_TEST(a_managed_identity_is_asked_where_the_platform_says),
        ENTRA_TEST(places_that_cannot_be_asked_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
