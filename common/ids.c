/* Minting and opening of tagged ids, and the fingerprints in them. Nothing is stored: what a tag
 * says is proved by its seal.
 *
 * The seal is HMAC-SHA256 (RFC 2104) cut to 8 bytes: a forger has to guess online, one request a
 * guess, and each wrong guess is an ordinary 404. HMAC is written here over OpenSSL's EVP digest
 * with one context kept for the life of the process: OpenSSL 3's one-shot HMAC() looks the
 * algorithm up again on each call and takes five times as long, and every poll opens an id. Not for
 * threads: a process has one digest context. */
#include "common/ids.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGEST_BYTES 32
#define BLOCK_BYTES  64 /* SHA-256's, RFC 2104's B */

#define DEPLOYMENT_BYTES 4
#define OWNER_BYTES      8
#define SEAL_BYTES       8
#define TAG_BYTES        (DEPLOYMENT_BYTES + OWNER_BYTES + SEAL_BYTES)

#define TAG_MARK       "-t"
#define TAG_MARK_CHARS 2

static_assert(TAG_BYTES * 8 == IDS_TAG_CHARS * 5,
              "a tag fills its base32 characters: no spare bits to vary");

static const char base32_alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

struct piece {
    const void *bytes;
    size_t len;
};

/* The digest context, made at the first use and kept. There is no way to go on without SHA-256, and
 * the first use is at start, when fingerprints are computed: so it ends the process. */
static EVP_MD_CTX *digest_start(void)
{
    static EVP_MD_CTX *ctx;
    static EVP_MD *sha256;

    if (ctx == NULL) {
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
        ctx = EVP_MD_CTX_new();
        if (sha256 == NULL || ctx == NULL) {
            fputs("tranche: SHA-256 is not available, or out of memory\n", stderr);
            abort();
        }
    }
    if (EVP_DigestInit_ex2(ctx, sha256, NULL) != 1)
        abort();
    return ctx;
}

/* Hash `head` (may be NULL) and then the pieces. On a started context of a software digest neither
 * step can fail. */
static void digest(const unsigned char *head, const struct piece *pieces, size_t num,
                   unsigned char *out)
{
    EVP_MD_CTX *ctx = digest_start();
    bool ok = head == NULL || EVP_DigestUpdate(ctx, head, BLOCK_BYTES) == 1;

    for (size_t i = 0; i < num && ok; i++)
        ok = EVP_DigestUpdate(ctx, pieces[i].bytes, pieces[i].len) == 1;
    if (!ok || EVP_DigestFinal_ex(ctx, out, NULL) != 1)
        abort();
}

/* HMAC-SHA256 with a key of exactly 32 bytes (shorter than a block, so it is only padded). */
static void hmac(const unsigned char *key, const struct piece *pieces, size_t num,
                 unsigned char *out)
{
    unsigned char pad[BLOCK_BYTES], inner[DIGEST_BYTES];
    struct piece last = {inner, sizeof(inner)};

    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] = (i < DIGEST_BYTES ? key[i] : 0) ^ 0x36;
    digest(pad, pieces, num, inner);
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] ^= 0x36 ^ 0x5c;
    digest(pad, &last, 1, out);
    OPENSSL_cleanse(pad, sizeof(pad));
}

static void put_be(unsigned char *out, uint64_t value, size_t bytes)
{
    while (bytes-- > 0) {
        out[bytes] = (unsigned char)value;
        value >>= 8;
    }
}

static uint64_t get_be(const unsigned char *in, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

/* The first `bytes`-wide number in a hash of NUL-terminated pieces that is not 0. */
static uint64_t fingerprint(const char *const *texts, size_t num, size_t bytes)
{
    unsigned char hash[DIGEST_BYTES];
    struct piece pieces[4];
    uint64_t value;

    /* The NUL is hashed too: it ends each text, so that no two lists of texts hash alike. */
    for (size_t i = 0; i < num; i++)
        pieces[i] = (struct piece){texts[i], strlen(texts[i]) + 1};
    digest(NULL, pieces, num, hash);
    for (size_t at = 0; at + bytes <= sizeof(hash); at += bytes) {
        value = get_be(hash + at, bytes);
        if (value != 0)
            return value;
    }
    return 1; /* a SHA-256 of all zeroes: not met in this universe */
}

static void base32_write(char *out, const unsigned char *tag)
{
    for (size_t group = 0; group < TAG_BYTES / 5; group++) {
        uint64_t bits = get_be(tag + group * 5, 5);

        for (size_t i = 0; i < 8; i++)
            out[group * 8 + i] = base32_alphabet[bits >> (35 - 5 * i) & 31];
    }
}

/* The five bits of a character, or -1. */
static int base32_value(char c)
{
    if (c >= 'a' && c <= 'z')
        return c - 'a';
    if (c >= '2' && c <= '7')
        return c - '2' + 26;
    return -1;
}

static bool base32_read(unsigned char *tag, const char *in)
{
    for (size_t group = 0; group < TAG_BYTES / 5; group++) {
        uint64_t bits = 0;

        for (size_t i = 0; i < 8; i++) {
            int value = base32_value(in[group * 8 + i]);

            if (value == -1)
                return false;
            bits = bits << 5 | (uint64_t)value;
        }
        put_be(tag + group * 5, bits, 5);
    }
    return true;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static bool is_mintable(const char *native, size_t len)
{
    if (len == 0 || len + TAG_MARK_CHARS + IDS_TAG_CHARS > IDS_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_word(native[i]))
            return false;
    }
    return true;
}

static bool is_acceptable(const char *id, size_t len)
{
    if (len == 0 || len > IDS_MAX)
        return false;
    if (id[0] == '.' && (len == 1 || (len == 2 && id[1] == '.')))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_word(id[i]) && (id[i] == '\0' || strchr(".=:@+~", id[i]) == NULL))
            return false;
    }
    return true;
}

/* The seal of a tag's first bytes (deployment and owner) and a native id. All but the native id,
 * which comes last, has a fixed width: no two questions give the same input. */
static void seal_of(const unsigned char *key, enum id_kind kind, const char *native,
                    size_t native_len, const unsigned char *tag, unsigned char *seal)
{
    unsigned char mac[DIGEST_BYTES], k = (unsigned char)kind;
    const struct piece pieces[] = {
        {&k, 1}, {tag, DEPLOYMENT_BYTES + OWNER_BYTES}, {native, native_len}};

    hmac(key, pieces, sizeof(pieces) / sizeof(pieces[0]), mac);
    memcpy(seal, mac, SEAL_BYTES);
}

/* Whether one of the seals made this tag. All are tried, and each is compared whole, so that the
 * time tells nothing. */
static bool verifies(const struct ids_seals *seals, enum id_kind kind, const char *native,
                     size_t native_len, const unsigned char *tag)
{
    unsigned char seal[SEAL_BYTES];
    unsigned int hits = 0;

    for (size_t i = 0; i < seals->num; i++) {
        seal_of(seals->key[i], kind, native, native_len, tag, seal);
        hits |= CRYPTO_memcmp(seal, tag + DEPLOYMENT_BYTES + OWNER_BYTES, SEAL_BYTES) == 0;
    }
    return hits != 0;
}

int ids_seals_add(struct ids_seals *seals, const char *text, size_t len, const char *context)
{
    /* HKDF without salt: extract with a key of zeroes, expand by one block. */
    static const unsigned char no_salt[DIGEST_BYTES];
    static const unsigned char counter = 1;
    const struct piece secret = {text, len};
    const struct piece info[] = {{context, strlen(context)}, {&counter, 1}};
    unsigned char prk[DIGEST_BYTES];

    static_assert(sizeof(seals->key[0]) == DIGEST_BYTES, "one block of HKDF output is one key");
    if (len == 0)
        return ERR_INVALID;
    if (seals->num >= IDS_MAX_SEALS)
        return ERR_LIMIT;
    hmac(no_salt, &secret, 1, prk);
    hmac(prk, info, 2, seals->key[seals->num]);
    seals->num++;
    OPENSSL_cleanse(prk, sizeof(prk));
    return 0;
}

void ids_seals_clear(struct ids_seals *seals)
{
    OPENSSL_cleanse(seals, sizeof(*seals));
}

uint32_t ids_deployment_fingerprint(const char *provider, const char *base,
                                    const char *upstream_model)
{
    const char *const texts[] = {"tranche deployment 1", provider, base, upstream_model};

    return (uint32_t)fingerprint(texts, 4, DEPLOYMENT_BYTES);
}

uint64_t ids_owner_fingerprint(const char *name)
{
    const char *const texts[] = {"tranche owner 1", name};

    return fingerprint(texts, 2, OWNER_BYTES);
}

int ids_mint(const struct ids_seals *seals, enum id_kind kind, const char *native,
             const struct id_tag *tag, struct strbuf *out)
{
    size_t len = strnlen(native, IDS_MAX + 1);
    unsigned char bytes[TAG_BYTES];
    char text[TAG_MARK_CHARS + IDS_TAG_CHARS];

    if (!is_mintable(native, len) || seals->num == 0)
        return ERR_INVALID;
    put_be(bytes, tag->deployment, DEPLOYMENT_BYTES);
    put_be(bytes + DEPLOYMENT_BYTES, tag->owner, OWNER_BYTES);
    seal_of(seals->key[0], kind, native, len, bytes, bytes + DEPLOYMENT_BYTES + OWNER_BYTES);
    memcpy(text, TAG_MARK, TAG_MARK_CHARS);
    base32_write(text + TAG_MARK_CHARS, bytes);
    strbuf_add(out, native, len);
    strbuf_add(out, text, sizeof(text));
    return strbuf_failed(out) ? ERR_NOMEM : 0;
}

/* The bytes of the tag at the end of an id, and where it begins; false when there is none. */
static bool read_tag(const char *id, size_t len, unsigned char *bytes, size_t *before)
{
    if (len < TAG_MARK_CHARS + IDS_TAG_CHARS)
        return false;
    *before = len - TAG_MARK_CHARS - IDS_TAG_CHARS;
    return memcmp(id + *before, TAG_MARK, TAG_MARK_CHARS) == 0 &&
           base32_read(bytes, id + *before + TAG_MARK_CHARS);
}

static struct id_tag tag_of(const unsigned char *bytes)
{
    return (struct id_tag){.deployment = (uint32_t)get_be(bytes, DEPLOYMENT_BYTES),
                           .owner = get_be(bytes + DEPLOYMENT_BYTES, OWNER_BYTES)};
}

bool ids_claim(const char *id, size_t len, struct id_tag *tag)
{
    unsigned char bytes[TAG_BYTES];
    size_t before;

    if (!is_acceptable(id, len) || !read_tag(id, len, bytes, &before))
        return false;
    *tag = tag_of(bytes);
    return true;
}

int ids_open(const struct ids_seals *seals, enum id_kind kind, const char *id, size_t len,
             size_t *native_len, bool *tagged, struct id_tag *tag)
{
    unsigned char bytes[TAG_BYTES] = {0};
    size_t before = len;
    bool has_tag, proved;

    if (!is_acceptable(id, len))
        return ERR_INVALID;
    has_tag = read_tag(id, len, bytes, &before);
    if (!has_tag)
        before = len;
    proved = verifies(seals, kind, id, before, bytes); /* also where there is nothing to prove: the
                                                          time is that of a tag */
    if (has_tag && !proved)
        return ERR_FORGED;
    *native_len = before;
    *tagged = has_tag;
    if (has_tag)
        *tag = tag_of(bytes);
    return 0;
}

static void text_seal(const unsigned char *key, const char *text, size_t len,
                      char out[IDS_SEAL_HEX + 1])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char mac[DIGEST_BYTES], k = 't'; /* no id_kind */
    const struct piece pieces[] = {{&k, 1}, {text, len}};

    hmac(key, pieces, sizeof(pieces) / sizeof(pieces[0]), mac);
    for (size_t i = 0; i < IDS_SEAL_HEX / 2; i++) {
        out[2 * i] = digits[mac[i] >> 4];
        out[2 * i + 1] = digits[mac[i] & 15];
    }
    out[IDS_SEAL_HEX] = '\0';
}

int ids_seal_text(const struct ids_seals *seals, const char *text, size_t len,
                  char out[IDS_SEAL_HEX + 1])
{
    if (seals->num == 0)
        return ERR_INVALID;
    text_seal(seals->key[0], text, len, out);
    return 0;
}

bool ids_text_verifies(const struct ids_seals *seals, const char *text, size_t len,
                       const char *seal)
{
    char mine[IDS_SEAL_HEX + 1];
    unsigned int hits = 0;

    if (strlen(seal) != IDS_SEAL_HEX)
        return false;
    for (size_t i = 0; i < seals->num; i++) {
        text_seal(seals->key[i], text, len, mine);
        hits |= CRYPTO_memcmp(mine, seal, IDS_SEAL_HEX) == 0;
    }
    return hits != 0;
}
