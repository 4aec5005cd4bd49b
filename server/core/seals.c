/* See seals.h. */
#include "core/seals.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <openssl/evp.h>

#define SEAL_CONTEXT "tranche id seal"

/* scrypt (RFC 7914) with what its section 2 calls interactive use: 16 MiB and some 40 ms a guess.
 * The salt is a constant: nodes that share a key must come to the same seals, and nothing is
 * stored. */
#define STRETCH_SALT   "tranche id seal, stretched 1"
#define VAULT_SALT     "tranche vault, stretched 1"
#define STRETCH_N      16384
#define STRETCH_R      8
#define STRETCH_P      1
#define STRETCH_MEMORY (64u << 20) /* more than it needs */

static_assert(VAULT_KEY_BYTES == SHA256_BYTES, "a stretched text is a key of either");

static bool stretch(const struct secret *text, const char *salt, unsigned char out[SHA256_BYTES])
{
    return EVP_PBE_scrypt(text->data, text->len, (const unsigned char *)salt, strlen(salt),
                          STRETCH_N, STRETCH_R, STRETCH_P, STRETCH_MEMORY, out, SHA256_BYTES) == 1;
}

static int add_stretched(struct ids_seals *out, const struct secret *text)
{
    unsigned char bytes[SHA256_BYTES];
    int ret = ERR_NOMEM;

    if (stretch(text, STRETCH_SALT, bytes))
        ret = ids_seals_add(out, (const char *)bytes, sizeof(bytes), SEAL_CONTEXT);
    secret_wipe(bytes, sizeof(bytes));
    return ret;
}

static int add_as_it_is(struct ids_seals *out, const struct secret *text)
{
    return ids_seals_add(out, text->data, text->len, SEAL_CONTEXT);
}

/* All stretched ones come before all others: the first mints. */
int seals_derive(const struct config *config, const struct secret *fallback, struct ids_seals *out)
{
    const struct secret *keys = config->num_seal_keys > 0 ? config->seal_keys : &config->master_key;
    size_t num = seals_num_keys(config);
    int ret = 0;

    for (size_t i = 0; i < num && ret == 0; i++)
        ret = add_stretched(out, &keys[i]);
    for (size_t i = 0; i < num && ret == 0; i++)
        ret = add_as_it_is(out, &keys[i]);
    if (num == 0 && secret_is_set(fallback))
        ret = add_as_it_is(out, fallback); /* random: nobody guesses it */
    return ret;
}

int seals_vault(const struct config *config, struct vault *out)
{
    const struct secret *keys = config->num_seal_keys > 0 ? config->seal_keys : &config->master_key;
    size_t num = seals_num_keys(config);
    unsigned char bytes[VAULT_KEY_BYTES];
    int ret = 0;

    for (size_t i = 0; i < num && ret == 0; i++)
        ret = stretch(&keys[i], VAULT_SALT, bytes) ? vault_add(out, bytes) : ERR_NOMEM;
    secret_wipe(bytes, sizeof(bytes));
    return ret;
}

size_t seals_num_keys(const struct config *config)
{
    if (config->num_seal_keys > 0)
        return config->num_seal_keys;
    return secret_is_set(&config->master_key) ? 1 : 0;
}
