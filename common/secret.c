/* See secret.h. Each secret has an anonymous mapping of its own (a page is cheap, there are few
 * keys): MADV_DONTDUMP keeps it out of cores and it is inherited by fork. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "common/secret.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/err.h"

static size_t mapping_size(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    return (len + 1 + page - 1) / page * page;
}

int secret_room(struct secret *s, size_t len)
{
    size_t size = mapping_size(len);
    char *data;

    *s = (struct secret)SECRET_NONE;
    if (len == 0)
        return 0;
    data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return ERR_NOMEM;
    (void)madvise(data, size, MADV_DONTDUMP);
    (void)mlock(data, size);
    s->data = data;
    s->len = len;
    return 0;
}

int secret_set(struct secret *s, const char *text, size_t len)
{
    int ret = secret_room(s, len);

    if (ret == 0 && len > 0)
        memcpy(s->data, text, len);
    return ret;
}

void secret_clear(struct secret *s)
{
    if (s->data != NULL) {
        OPENSSL_cleanse(s->data, s->len);
        munmap(s->data, mapping_size(s->len));
    }
    s->data = NULL;
    s->len = 0;
}

bool secret_is_set(const struct secret *s)
{
    return s->len > 0;
}

/* Nobody outside can tell what two texts have in common from how their hashes differ: the key is a
 * random one. The plain interface of OpenSSL costs a tenth of what looks its algorithms up. */
static void hash_with(const unsigned char key[SHA256_DIGEST_LENGTH], const char *text, size_t len,
                      unsigned char out[SHA256_DIGEST_LENGTH])
{
    SHA256_CTX ctx;

    SHA256_Init(&ctx);
    SHA256_Update(&ctx, key, SHA256_DIGEST_LENGTH);
    SHA256_Update(&ctx, text, len);
    SHA256_Final(out, &ctx);
}

bool secret_equal(const struct secret *s, const char *text, size_t len)
{
    static unsigned char key[SHA256_DIGEST_LENGTH];
    static bool keyed;
    unsigned char a[SHA256_DIGEST_LENGTH], b[SHA256_DIGEST_LENGTH];

    if (!secret_is_set(s))
        return false;
    if (!keyed) {
        if (RAND_bytes(key, sizeof(key)) != 1)
            return false;
        keyed = true;
    }
    hash_with(key, s->data, s->len, a);
    hash_with(key, text, len, b);
    return CRYPTO_memcmp(a, b, sizeof(a)) == 0;
}

#define WORD_MIN 32 /* an Azure key has 32 hexadecimal digits or 84 letters and digits */

static bool is_long_word(const char *text)
{
    size_t letters = 0, digits = 0;

    for (; *text != '\0'; text++)
        if (*text >= '0' && *text <= '9')
            digits++;
        else if ((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z'))
            letters++;
        else if (*text != '+' && *text != '=')
            return false;
    return letters + digits >= WORD_MIN && digits > 0;
}

bool secret_looks_like_one(const char *text)
{
    static const char *const beginnings[] = {"sk-", "sk_", "eyJ", "Bearer ", "bearer "};

    for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
        if (strncmp(text, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return is_long_word(text);
}

/* Those of LiteLLM's pages, of ours, and what people write for a while. Compared without case, as
 * what the key contains. */
static bool is_well_known(const char *text)
{
    static const char *const parts[] = {"sk-1234",
                                        "changeme",
                                        "change-me",
                                        "change_me",
                                        "password",
                                        "your-key",
                                        "your-master-key",
                                        "secret-key",
                                        "example",
                                        "12345678",
                                        "abcdefgh",
                                        "placeholder",
                                        "litellm-master-key",
                                        "litellm_master_key",
                                        "my-master-key",
                                        "my-secret",
                                        "replace-me",
                                        "replaceme"};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (strcasestr(text, parts[i]) != NULL)
            return true;
    return false;
}

/* Hexadecimal digits at random miss more than half of them in one of a million keys */
#define FEW_CHARACTERS 8

static bool has_few_characters(const struct secret *s)
{
    bool seen[256] = {false};
    size_t num = 0;

    for (size_t i = 0; i < s->len; i++) {
        num += !seen[(unsigned char)s->data[i]];
        seen[(unsigned char)s->data[i]] = true;
    }
    return num < FEW_CHARACTERS;
}

bool secret_is_weak(const struct secret *s)
{
    return secret_is_set(s) &&
           (s->len < SECRET_STRONG_MIN || has_few_characters(s) || is_well_known(s->data));
}

void secret_wipe(void *bytes, size_t len)
{
    OPENSSL_cleanse(bytes, len);
}
