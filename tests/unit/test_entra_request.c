/* What goes over the wire, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "entra/entra_request.h"
#include "entra_world.h"
#include "jwt/base64url.h"
#include "jwt/jwt.h"

#define NOW 1790000000
#define FORM                                                                                       \
    "grant_type=client_credentials&client_id=" CLIENT_ID                                           \
    "&scope=https%3A%2F%2Fcognitiveservices.azure.com%2F.default"
#define ASSERTED                                                                                   \
    FORM "&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer" \
         "&client_assertion="
#define RESOURCE "resource=https%3A%2F%2Fcognitiveservices.azure.com"

static const char *header_of(const struct entra_request *request, const char *name)
{
    for (size_t i = 0; i < request->num_headers; i++)
        if (strcmp(request->headers[i].name, name) == 0)
            return request->headers[i].value;
    return NULL;
}

static struct entra_request built(const struct entra_credential *credential,
                                  const struct secret *file)
{
    struct entra_request request;
    struct entra_error error = {""};

    if (entra_request_build(credential, file, NOW, &request, &error) != 0)
        fail_msg("%s", error.message);
    return request;
}

static void assert_refused(const struct entra_credential *credential, const struct secret *file,
                           int code, const char *why)
{
    struct entra_request request;
    struct entra_error error = {""};

    assert_int_equal(entra_request_build(credential, file, NOW, &request, &error), code);
    assert_string_equal(error.message, why);
    entra_request_wipe(&request);
}

/* --- client credentials --- */

static void test_entra_1_a_secret_goes_as_a_form_and_loses_no_character(void **unused)
{
    static const char secret[] = "aB8~Q.x+y&z=1/%20 \"'-_";
    struct entra_credential c = client_by(ENTRA_SECRET);
    struct entra_request r;

    (void)unused;
    assert_int_equal(secret_set(&c.secret, secret, strlen(secret)), 0);
    r = built(&c, NULL);
    assert_string_equal(r.method, "POST");
    assert_string_equal(r.url, TOKEN_URL);
    assert_string_equal(r.body, FORM "&client_secret=aB8~Q.x%2By%26z%3D1%2F%2520%20%22%27-_");
    assert_int_equal(r.body_len, strlen(r.body));
    assert_string_equal(header_of(&r, "Content-Type"), "application/x-www-form-urlencoded");
    assert_string_equal(header_of(&r, "Accept"), "application/json");
    assert_string_equal(header_of(&r, "Accept-Encoding"), "identity");
    assert_string_equal(header_of(&r, "client-request-id"), r.id);
    assert_null(header_of(&r, "Authorization"));
    assert_memory_equal(r.proof, secret, strlen(secret));
    assert_int_equal(r.proof_len, strlen(secret));
    entra_request_wipe(&r);
    assert_null(r.room.data);
    secret_clear(&c.secret);
}

static void test_entra_25_a_secret_of_a_file_is_taken_without_its_line_end(void **unused)
{
    struct entra_credential c = client_by(ENTRA_SECRET);
    struct secret file = file_of("\n s3cret-of-a-file\r\n");
    struct entra_request r;

    (void)unused;
    c.path = (char *)"/run/secrets/azure";
    r = built(&c, &file);
    assert_string_equal(r.body, FORM "&client_secret=s3cret-of-a-file");
    entra_request_wipe(&r);
    secret_clear(&file);
}

static void test_each_call_has_an_id_of_its_own(void **unused)
{
    struct entra_credential c = client_by(ENTRA_SECRET);
    struct entra_request a, b;

    (void)unused;
    assert_int_equal(secret_set(&c.secret, "one", 3), 0);
    a = built(&c, NULL);
    b = built(&c, NULL);
    assert_int_equal(strlen(a.id), 36);
    assert_int_equal(a.id[14], '4'); /* RFC 9562 section 5.4 */
    assert_non_null(strchr("89ab", a.id[19]));
    assert_string_not_equal(a.id, b.id);
    entra_request_wipe(&a);
    entra_request_wipe(&b);
    secret_clear(&c.secret);
}

static void test_entra_6_a_foreign_assertion_goes_as_it_is(void **unused)
{
    struct entra_credential c = client_by(ENTRA_ASSERTION_FILE);
    struct secret file = file_of("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln-_\n");
    struct entra_request r;

    (void)unused;
    c.path = (char *)"/var/run/secrets/azure/tokens/azure-identity-token";
    r = built(&c, &file);
    assert_string_equal(r.body, ASSERTED "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln-_");
    assert_int_equal(r.proof_len, file.len - 1);
    entra_request_wipe(&r);
    secret_clear(&file);
}

static void test_entra_5_an_assertion_of_a_variable_goes_the_same_way(void **unused)
{
    struct entra_credential c = client_by(ENTRA_ASSERTION_ENV);
    struct entra_request r;

    (void)unused;
    assert_int_equal(secret_set(&c.secret, "a.b.c", 5), 0);
    r = built(&c, NULL);
    assert_string_equal(r.body, ASSERTED "a.b.c");
    entra_request_wipe(&r);
    secret_clear(&c.secret);
}

static void test_an_assertion_that_is_none_is_refused_with_its_file(void **unused)
{
    struct entra_credential c = client_by(ENTRA_ASSERTION_FILE);
    struct secret empty = file_of(" \n"), lines = file_of("a.b\nc.d"),
                  high = file_of("a.b.\xc3\xa9"), longest = SECRET_NONE;

    (void)unused;
    c.path = (char *)"/token";
    assert_refused(&c, &empty, ERR_INVALID, "the client assertion is empty (/token)");
    assert_refused(&c, NULL, ERR_INVALID, "the client assertion is empty (/token)");
    assert_refused(&c, &lines, ERR_INVALID,
                   "the client assertion has a byte in it that none has (/token)");
    assert_refused(&c, &high, ERR_INVALID,
                   "the client assertion has a byte in it that none has (/token)");
    assert_int_equal(secret_room(&longest, ENTRA_MAX_ASSERTION + 1), 0);
    memset(longest.data, 'a', longest.len);
    assert_refused(&c, &longest, ERR_LIMIT,
                   "the client assertion has more than 32768 bytes (/token)");
    secret_clear(&empty);
    secret_clear(&lines);
    secret_clear(&high);
    secret_clear(&longest);
}

static void test_the_longest_proofs_fit(void **unused)
{
    struct entra_credential assertion = client_by(ENTRA_ASSERTION_FILE),
                            by_secret = client_by(ENTRA_SECRET);
    struct secret text = SECRET_NONE;
    struct entra_request r;

    (void)unused;
    assert_int_equal(secret_room(&text, ENTRA_MAX_ASSERTION), 0);
    memset(text.data, 'a', text.len);
    r = built(&assertion, &text);
    assert_int_equal(r.body_len, strlen(ASSERTED) + ENTRA_MAX_ASSERTION);
    entra_request_wipe(&r);
    memset(text.data, '+', text.len);
    r = built(&by_secret, &text);
    assert_int_equal(r.body_len, strlen(FORM "&client_secret=") + 3 * (size_t)ENTRA_MAX_ASSERTION);
    entra_request_wipe(&r);
    secret_clear(&text);
}

static void test_a_tenant_that_would_change_the_path_is_refused(void **unused)
{
    static const char *const tenants[] = {"", "a/b", "a?b", "a#b", "a b", "a%2fb"};
    struct entra_credential c = client_by(ENTRA_SECRET);

    (void)unused;
    assert_int_equal(secret_set(&c.secret, "one", 3), 0);
    for (size_t i = 0; i < sizeof(tenants) / sizeof(tenants[0]); i++) {
        c.tenant = (char *)tenants[i];
        assert_refused(&c, NULL, ERR_INVALID, "the tenant is no id and no domain");
    }
    secret_clear(&c.secret);
}

/* --- certificates --- */

/* A member of a token's claims or header. */
static char *part_of(const struct entra_request *r, int part, size_t *len)
{
    const char *at = r->proof;
    char *out;
    size_t size;

    for (; part > 0; part--)
        at = strchr(at, '.') + 1;
    size = strcspn(at, ".");
    out = malloc(base64url_size(size) + 1);
    assert_non_null(out);
    assert_int_equal(base64url_read(at, size, (unsigned char *)out), 0);
    out[base64url_size(size)] = '\0';
    *len = base64url_size(size);
    return out;
}

static void test_entra_7_a_certificate_signs_what_entra_wants_to_see(void **unused)
{
    struct entra_credential c = client_by(ENTRA_CERTIFICATE);
    EVP_PKEY *key = make_rsa(2048);
    X509 *x = make_certificate(key, "app", key, "app");
    char *k = key_pem(key, NULL), *p = certificate_pem(x), *pem = joined(k, p, ""), *text;
    struct secret file = file_of(pem);
    struct entra_request r = built(&c, &file), again = built(&c, &file);
    unsigned char hash[32];
    char thumbprint[64] = "", wanted[256];
    const char *audience = TOKEN_URL;
    struct jwt_policy policy = {.issuer = CLIENT_ID, .audiences = &audience, .num_audiences = 1};
    struct jwt jwt;
    unsigned num;
    size_t len;

    (void)unused;
    assert_string_equal(r.url, TOKEN_URL);
    assert_memory_equal(r.body, ASSERTED, strlen(ASSERTED));
    assert_string_equal(r.body + strlen(ASSERTED), r.proof);

    /* Signed with PS256 and a salt of 32 bytes: jwt_is_signed() takes nothing else. */
    assert_int_equal(jwt_read(r.proof, r.proof_len, &jwt), JWT_GOOD);
    assert_int_equal(jwt.alg, JWT_PS256);
    assert_int_equal(jwt_judge(&jwt, &policy, NOW), JWT_GOOD);
    assert_int_equal(jwt_is_signed(&jwt, X509_get0_pubkey(x)), JWT_GOOD);
    jwt_deinit(&jwt);

    assert_int_equal(X509_digest(x, EVP_sha256(), hash, &num), 1);
    base64url_write(hash, 32, thumbprint);
    text = part_of(&r, 0, &len);
    snprintf(wanted, sizeof(wanted), "{\"alg\":\"PS256\",\"typ\":\"JWT\",\"x5t#S256\":\"%s\"}",
             thumbprint);
    assert_string_equal(text, wanted);
    free(text);

    text = part_of(&r, 1, &len);
    snprintf(wanted, sizeof(wanted), "{\"aud\":\"%s\",\"iss\":\"%s\",\"sub\":\"%s\",\"jti\":\"",
             TOKEN_URL, CLIENT_ID, CLIENT_ID);
    assert_memory_equal(text, wanted, strlen(wanted));
    assert_string_equal(text + strlen(wanted) + 36, "\",\"nbf\":1790000000,\"exp\":1790000600}");
    assert_memory_not_equal(text + strlen(wanted), r.id, 36);
    free(text);

    /* No two have the same jti, nor one signature. */
    text = part_of(&again, 1, &len);
    assert_memory_not_equal(r.proof, again.proof, r.proof_len);
    free(text);
    entra_request_wipe(&r);
    entra_request_wipe(&again);
    secret_clear(&file);
    free(pem);
    free(k);
    free(p);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void test_entra_7_the_chain_goes_along_only_where_it_is_asked_for(void **unused)
{
    struct entra_credential c = client_by(ENTRA_CERTIFICATE);
    EVP_PKEY *root_key = make_rsa(2048), *key = make_rsa(2048);
    X509 *root = make_certificate(root_key, "root", root_key, "root"),
         *leaf = make_certificate(key, "app", root_key, "root"),
         *stranger = make_certificate(root_key, "stranger", root_key, "elsewhere");
    char *parts[] = {certificate_pem(stranger), certificate_pem(root), certificate_pem(leaf),
                     key_pem(key, NULL)};
    char *others = joined(parts[0], parts[1], parts[2]), *pem = joined(others, parts[3], ""), *text,
         wanted[8192], encoded[2][2048];
    unsigned char *der;
    struct secret file = file_of(pem);
    struct entra_request r;
    size_t len;

    (void)unused;
    c.send_chain = true;
    r = built(&c, &file);
    for (int i = 0; i < 2; i++) {
        int size;

        der = NULL;
        size = i2d_X509(i == 0 ? leaf : root, &der);
        EVP_EncodeBlock((unsigned char *)encoded[i], der, size);
        OPENSSL_free(der);
    }
    snprintf(wanted, sizeof(wanted), "\",\"x5c\":[\"%s\",\"%s\"]}", encoded[0], encoded[1]);
    text = part_of(&r, 0, &len);
    assert_true(len > strlen(wanted));
    assert_string_equal(text + len - strlen(wanted), wanted);
    free(text);
    entra_request_wipe(&r);
    secret_clear(&file);
    for (size_t i = 0; i < 4; i++)
        free(parts[i]);
    free(others);
    free(pem);
    X509_free(root);
    X509_free(leaf);
    X509_free(stranger);
    EVP_PKEY_free(root_key);
    EVP_PKEY_free(key);
}

static void test_a_certificate_that_cannot_be_used_is_told(void **unused)
{
    struct entra_credential c = client_by(ENTRA_CERTIFICATE);
    struct secret file = file_of("no certificate");

    (void)unused;
    c.path = (char *)"/app.pem";
    assert_refused(&c, &file, ERR_INVALID, "/app.pem: it is neither PEM nor PFX");
    assert_refused(&c, NULL, ERR_INVALID, "there is no certificate");
    secret_clear(&file);
}

/* --- managed identities --- */

#define IMDS "http://169.254.169.254/metadata/identity/oauth2/token"

static void test_entra_8_imds_is_asked_with_its_query_and_its_header(void **unused)
{
    struct entra_credential c = managed_by(ENTRA_IMDS, IMDS);
    struct entra_request r = built(&c, NULL);

    (void)unused;
    assert_string_equal(r.method, "GET");
    assert_string_equal(r.url, IMDS "?api-version=2018-02-01&" RESOURCE);
    assert_null(r.body);
    assert_string_equal(header_of(&r, "Metadata"), "true");
    assert_string_equal(header_of(&r, "x-ms-client-request-id"), r.id);
    assert_null(header_of(&r, "Content-Type"));
    assert_int_equal(r.proof_len, 0);
    entra_request_wipe(&r);
}

static void assert_url(enum entra_source source, enum entra_selector selector, const char *secret,
                       const char *wanted)
{
    static const char *const values[] = {NULL, CLIENT_ID, "0b-ject",
                                         "/subscriptions/s/userAssignedIdentities/a b"};
    struct entra_credential c = managed_by(source, "http://127.0.0.1:41741/msi/token/");
    struct entra_request r;

    c.selector = selector;
    c.selector_value = (char *)values[selector];
    if (secret != NULL)
        assert_int_equal(secret_set(&c.secret, secret, strlen(secret)), 0);
    r = built(&c, NULL);
    assert_string_equal(r.url, wanted);
    entra_request_wipe(&r);
    secret_clear(&c.secret);
}

#define AT          "http://127.0.0.1:41741/msi/token/"
#define RESOURCE_ID "%2Fsubscriptions%2Fs%2FuserAssignedIdentities%2Fa%20b"

static void test_entra_8_each_selector_has_its_name_at_imds(void **unused)
{
    (void)unused;
    assert_url(ENTRA_IMDS, ENTRA_BY_CLIENT_ID, NULL,
               AT "?api-version=2018-02-01&" RESOURCE "&client_id=" CLIENT_ID);
    assert_url(ENTRA_IMDS, ENTRA_BY_OBJECT_ID, NULL,
               AT "?api-version=2018-02-01&" RESOURCE "&object_id=0b-ject");
    assert_url(ENTRA_IMDS, ENTRA_BY_RESOURCE_ID, NULL,
               AT "?api-version=2018-02-01&" RESOURCE "&msi_res_id=" RESOURCE_ID);
}

static void test_entra_9_app_service_has_a_header_and_another_name(void **unused)
{
    struct entra_credential c = managed_by(ENTRA_APP_SERVICE, AT);
    struct entra_request r;

    (void)unused;
    assert_url(ENTRA_APP_SERVICE, ENTRA_BY_CLIENT_ID, "hdr",
               AT "?api-version=2019-08-01&" RESOURCE "&client_id=" CLIENT_ID);
    assert_url(ENTRA_APP_SERVICE, ENTRA_BY_OBJECT_ID, "hdr",
               AT "?api-version=2019-08-01&" RESOURCE "&object_id=0b-ject");
    assert_url(ENTRA_APP_SERVICE, ENTRA_BY_RESOURCE_ID, "hdr",
               AT "?api-version=2019-08-01&" RESOURCE "&mi_res_id=" RESOURCE_ID);
    assert_refused(&c, NULL, ERR_INVALID,
                   "the secret of the managed identity (app_service) is empty");
    assert_int_equal(secret_set(&c.secret, "853b9a84-5bfa", 13), 0);
    r = built(&c, NULL);
    assert_string_equal(r.method, "GET");
    assert_string_equal(header_of(&r, "X-IDENTITY-HEADER"), "853b9a84-5bfa");
    assert_null(header_of(&r, "Metadata"));
    assert_int_equal(r.proof_len, 13);
    entra_request_wipe(&r);
    secret_clear(&c.secret);
}

static void test_azure_ml_has_its_own_header_and_name(void **unused)
{
    struct entra_credential c = managed_by(ENTRA_ML, AT);
    struct entra_request r;

    (void)unused;
    assert_url(ENTRA_ML, ENTRA_BY_CLIENT_ID, "s",
               AT "?api-version=2017-09-01&" RESOURCE "&clientid=" CLIENT_ID);
    assert_int_equal(secret_set(&c.secret, "mls", 3), 0);
    r = built(&c, NULL);
    assert_string_equal(header_of(&r, "secret"), "mls");
    entra_request_wipe(&r);
    c.selector = ENTRA_BY_OBJECT_ID;
    c.selector_value = (char *)"x";
    assert_refused(&c, NULL, ERR_INVALID,
                   "the managed identity of azure_ml cannot be chosen by object id");
    secret_clear(&c.secret);
}

static void test_cloud_shell_takes_a_form_and_has_one_identity(void **unused)
{
    struct entra_credential c =
        managed_by(ENTRA_CLOUD_SHELL, "http://localhost:50342/oauth2/token");
    struct entra_request r = built(&c, NULL);

    (void)unused;
    assert_string_equal(r.method, "POST");
    assert_string_equal(r.url, "http://localhost:50342/oauth2/token");
    assert_string_equal(r.body, RESOURCE);
    assert_string_equal(header_of(&r, "Metadata"), "true");
    assert_string_equal(header_of(&r, "Content-Type"), "application/x-www-form-urlencoded");
    entra_request_wipe(&r);
    c.selector = ENTRA_BY_CLIENT_ID;
    c.selector_value = (char *)CLIENT_ID;
    assert_refused(&c, NULL, ERR_INVALID,
                   "the managed identity of cloud_shell cannot be chosen by client id");
}

static void test_entra_9_arc_is_asked_twice_the_second_time_with_its_file(void **unused)
{
    struct entra_credential c = managed_by(ENTRA_ARC, "http://127.0.0.1:40342/metadata/t");
    struct secret key = file_of("c29tZSBrZXk=\n"), bad = file_of("a\r\nX: y");
    struct entra_request r = built(&c, NULL);

    (void)unused;
    assert_string_equal(r.url,
                        "http://127.0.0.1:40342/metadata/t?api-version=2020-06-01&" RESOURCE);
    assert_string_equal(header_of(&r, "Metadata"), "true");
    assert_null(header_of(&r, "Authorization"));
    assert_int_equal(r.proof_len, 0);
    entra_request_wipe(&r);
    r = built(&c, &key);
    assert_string_equal(header_of(&r, "Authorization"), "Basic c29tZSBrZXk=");
    assert_int_equal(r.proof_len, 12);
    entra_request_wipe(&r);
    assert_refused(&c, &bad, ERR_INVALID,
                   "the secret of the managed identity (arc) has a byte in it that no header "
                   "carries, or is too long");
    secret_clear(&key);
    secret_clear(&bad);
}

static void test_a_place_whose_url_has_a_query_keeps_it(void **unused)
{
    struct entra_credential c = managed_by(ENTRA_IMDS, "http://127.0.0.1:1/t?a=b");
    struct entra_request r = built(&c, NULL);

    (void)unused;
    assert_string_equal(r.url, "http://127.0.0.1:1/t?a=b&api-version=2018-02-01&" RESOURCE);
    entra_request_wipe(&r);
}

static void test_entra_2_a_resource_is_the_scope_without_its_end(void **unused)
{
    static const struct {
        const char *scope, *resource;
    } cases[] = {{"https://ai.azure.us/.default", "resource=https%3A%2F%2Fai.azure.us"},
                 {"https://a.example//.default", "resource=https%3A%2F%2Fa.example%2F"},
                 {"api://x", "resource=api%3A%2F%2Fx"}};
    struct entra_credential c = managed_by(ENTRA_CLOUD_SHELL, "http://127.0.0.1:1/t");

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct entra_request r;

        c.scope = (char *)cases[i].scope;
        r = built(&c, NULL);
        assert_string_equal(r.body, cases[i].resource);
        entra_request_wipe(&r);
    }
}

static void test_service_fabric_is_refused(void **unused)
{
    struct entra_credential c = managed_by(ENTRA_SERVICE_FABRIC, "https://127.0.0.1:1/t");

    (void)unused;
    assert_refused(&c, NULL, ERR_INVALID, "managed identities of service_fabric are not supported");
}

static void test_an_address_that_is_too_long_is_refused(void **unused)
{
    static char endpoint[20000];
    struct entra_credential c = managed_by(ENTRA_IMDS, endpoint);

    (void)unused;
    memset(endpoint, 'a', sizeof(endpoint) - 1);
    assert_refused(&c, NULL, ERR_LIMIT,
                   "the texts of the credential are too long for a token call");
}

static void test_base64url_is_written_as_the_rfcs_say(void **unused)
{
    /* RFC 4648 section 10 without padding, RFC 7515 appendix C */
    static const struct {
        const char *bytes, *text;
    } cases[] = {{"", ""},
                 {"f", "Zg"},
                 {"fo", "Zm8"},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg"},
                 {"fooba", "Zm9vYmE"},
                 {"foobar", "Zm9vYmFy"},
                 {"\x03\xec\xff\xe0\xc1", "A-z_4ME"}};

    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char out[16] = "";

        base64url_write((const unsigned char *)cases[i].bytes, strlen(cases[i].bytes), out);
        assert_string_equal(out, cases[i].text);
        assert_int_equal(base64url_length(strlen(cases[i].bytes)), strlen(cases[i].text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entra_1_a_secret_goes_as_a_form_and_loses_no_character),
        cmocka_unit_test(test_entra_25_a_secret_of_a_file_is_taken_without_its_line_end),
        cmocka_unit_test(test_each_call_has_an_id_of_its_own),
        cmocka_unit_test(test_entra_6_a_foreign_assertion_goes_as_it_is),
        cmocka_unit_test(test_entra_5_an_assertion_of_a_variable_goes_the_same_way),
        cmocka_unit_test(test_an_assertion_that_is_none_is_refused_with_its_file),
        cmocka_unit_test(test_the_longest_proofs_fit),
        cmocka_unit_test(test_a_tenant_that_would_change_the_path_is_refused),
        cmocka_unit_test(test_entra_7_a_certificate_signs_what_entra_wants_to_see),
        cmocka_unit_test(test_entra_7_the_chain_goes_along_only_where_it_is_asked_for),
        cmocka_unit_test(test_a_certificate_that_cannot_be_used_is_told),
        cmocka_unit_test(test_entra_8_imds_is_asked_with_its_query_and_its_header),
        cmocka_unit_test(test_entra_8_each_selector_has_its_name_at_imds),
        cmocka_unit_test(test_entra_9_app_service_has_a_header_and_another_name),
        cmocka_unit_test(test_azure_ml_has_its_own_header_and_name),
        cmocka_unit_test(test_cloud_shell_takes_a_form_and_has_one_identity),
        cmocka_unit_test(test_entra_9_arc_is_asked_twice_the_second_time_with_its_file),
        cmocka_unit_test(test_a_place_whose_url_has_a_query_keeps_it),
        cmocka_unit_test(test_entra_2_a_resource_is_the_scope_without_its_end),
        cmocka_unit_test(test_service_fabric_is_refused),
        cmocka_unit_test(test_an_address_that_is_too_long_is_refused),
        cmocka_unit_test(test_base64url_is_written_as_the_rfcs_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
