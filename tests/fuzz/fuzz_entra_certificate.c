/* Files of certificates, PEM and PFX, with a password that fits those of the corpus. What is read
 * signs an assertion that can be taken apart, or says why it does not. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "entra/entra_certificate.h"
#include "entra/entra_file.h"
#include "entra/entra_request.h"
#include "jwt/jwt.h"

static void check_signature(const struct entra_certificate *c, bool send_chain)
{
    struct entra_claims claims = {.audience = "https://a",
                                  .client_id = "c",
                                  .jti = "j",
                                  .now_unix_s = 1790000000,
                                  .send_chain = send_chain};
    struct secret token = SECRET_NONE;
    struct entra_error error = {""};

    if (entra_certificate_sign(c, &claims, &token, &error) != 0) {
        MUST(error.message[0] != '\0' && token.data == NULL);
        return;
    }
    MUST(token.len <= ENTRA_MAX_ASSERTION);
    if (!send_chain) { /* a header with a chain is longer than jwt_read() takes */
        struct jwt jwt;

        MUST(jwt_read(token.data, token.len, &jwt) == JWT_GOOD);
        MUST(jwt.alg == JWT_PS256);
        jwt_deinit(&jwt);
    }
    secret_clear(&token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct secret password = SECRET_NONE;
    struct entra_certificate *c;
    struct entra_error error = {""};

    if (size > ENTRA_MAX_FILE)
        return 0;
    MUST(secret_set(&password, "password", 8) == 0);
    if (entra_certificate_read((const char *)data, size, &password, &c, &error) != 0) {
        MUST(c == NULL && error.message[0] != '\0');
    } else {
        (void)entra_certificate_ends(c);
        check_signature(c, false);
        check_signature(c, true);
        entra_certificate_free(c);
    }
    secret_clear(&password);
    return 0;
}
