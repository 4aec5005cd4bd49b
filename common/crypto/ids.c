/* Minting and opening of tagged ids, and the fingerprints in them. Nothing is stored: what a tag
 * says is proved by its seal.
 *
 * The seal is HMAC-SHA256 (RFC 2104) cut to 8 bytes: a forger has to guess online, one request a
 * guess, and each wrong guess is an ordinary 404. */
#include "crypto/ids.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "common/hex.h"

#define DEPLOYMENT_BYTES 4
#define OWNER_BYTES      8
#define SEAL_BYTES       8
#define TAG_BYTES        (DEPLOYMENT_BYTES + OWNER_BYTES + SEAL_BYTES)

#define TAG_MARK       "-t"
#define TAG_MARK_CHARS 2

static_assert(TAG_BYTES * 8 == IDS_TAG_CHARS * 5,
              "a tag fills its base32 characters: no spare bits to vary");

/* The first byte of what a key is applied to keeps its uses apart; of an id it is the kind. */
enum { OF_TEXT = 't', OF_NAMER = 'n' };

static const char base32_alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

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
    unsigned char hash[SHA256_BYTES];
    struct sha256_piece pieces[4];
    uint64_t value;

    /* The NUL is hashed too: it ends each text, so that no two lists of texts hash alike. */
    for (size_t i = 0; i < num; i++)
        pieces[i] = (struct sha256_piece){texts[i], strlen(texts[i]) + 1};
    sha256_of(pieces, num, hash);
    for (size_t at = 0; at + bytes <= sizeof(hash); at += bytes) {
        value = get_be(hash + at, bytes);
        if (value != 0)
            return value;
    }
    return 1; /* a SHA-256 of all zeroes: not met in this universe */
}

/* What a character is good for. */
enum { WORD = 1, MARK = 2 }; /* in every id; in an id that a client sends, too */

static const unsigned char classes[256] = {
    ['a' ... 'z'] = WORD, ['A' ... 'Z'] = WORD, ['0' ... '9'] = WORD, ['_'] = WORD,
    ['-'] = WORD,         ['.'] = MARK,         ['='] = MARK,         [':'] = MARK,
    ['@'] = MARK,         ['+'] = MARK,         ['~'] = MARK,
};

/* Of a character of base32: its five bits, and one. 0: it is none. */
static const unsigned char base32_values[256] = {
    ['a'] = 1,  ['b'] = 2,  ['c'] = 3,  ['d'] = 4,  ['e'] = 5,  ['f'] = 6,  ['g'] = 7,  ['h'] = 8,
    ['i'] = 9,  ['j'] = 10, ['k'] = 11, ['l'] = 12, ['m'] = 13, ['n'] = 14, ['o'] = 15, ['p'] = 16,
    ['q'] = 17, ['r'] = 18, ['s'] = 19, ['t'] = 20, ['u'] = 21, ['v'] = 22, ['w'] = 23, ['x'] = 24,
    ['y'] = 25, ['z'] = 26, ['2'] = 27, ['3'] = 28, ['4'] = 29, ['5'] = 30, ['6'] = 31, ['7'] = 32,
};

static void base32_write(char *out, const unsigned char *tag)
{
    for (size_t group = 0; group < TAG_BYTES / 5; group++) {
        uint64_t bits = get_be(tag + group * 5, 5);

        for (size_t i = 0; i < 8; i++)
            out[group * 8 + i] = base32_alphabet[bits >> (35 - 5 * i) & 31];
    }
}

static bool base32_read(unsigned char *tag, const char *in)
{
    bool all = true;

    for (size_t group = 0; group < TAG_BYTES / 5; group++) {
        uint64_t bits = 0;

        for (size_t i = 0; i < 8; i++) {
            unsigned value = base32_values[(unsigned char)in[group * 8 + i]];

            all &= value != 0;
            bits = bits << 5 | ((value - 1) & 31);
        }
        put_be(tag + group * 5, bits, 5);
    }
    return all;
}

/* Whether each byte is of one of these classes. */
static bool all_are(const char *text, size_t len, unsigned wanted)
{
    bool all = true;

    for (size_t i = 0; i < len; i++)
        all &= (classes[(unsigned char)text[i]] & wanted) != 0;
    return all;
}

static bool is_mintable(const char *native, size_t len)
{
    return len > 0 && len + TAG_MARK_CHARS + IDS_TAG_CHARS <= IDS_MAX && all_are(native, len, WORD);
}

static bool is_acceptable(const char *id, size_t len)
{
    if (len == 0 || len > IDS_MAX)
        return false;
    if (id[0] == '.' && (len == 1 || (len == 2 && id[1] == '.')))
        return false;
    return all_are(id, len, WORD | MARK);
}

bool ids_is_usable(const char *native)
{
    return is_acceptable(native, strlen(native));
}

bool ids_can_be_tagged(const char *native)
{
    return is_mintable(native, strlen(native));
}

/* What a key is applied to: its use, and a text of the caller's. */
struct sealed {
    unsigned char kind; /* an id's, or OF_TEXT */
    const void *text;
    size_t len;
};

/* Of an id: its tag's first bytes (deployment and owner) and the native id. All but the native id,
 * which comes last, has a fixed width: no two questions give the same input. */
struct id_text {
    unsigned char bytes[DEPLOYMENT_BYTES + OWNER_BYTES + IDS_MAX];
};

static_assert(sizeof(struct id_text) <= SEAL_CACHE_TEXT_MAX, "each has a name");

static struct sealed sealed_of(enum id_kind kind, const char *native, size_t native_len,
                               const unsigned char *tag, struct id_text *text)
{
    memcpy(text->bytes, tag, DEPLOYMENT_BYTES + OWNER_BYTES);
    memcpy(text->bytes + DEPLOYMENT_BYTES + OWNER_BYTES, native, native_len);
    return (struct sealed){(unsigned char)kind, text->bytes,
                           DEPLOYMENT_BYTES + OWNER_BYTES + native_len};
}

static uint64_t seal_of(const struct hmac_key *key, const struct sealed *sealed)
{
    const struct sha256_piece pieces[] = {{&sealed->kind, 1}, {sealed->text, sealed->len}};
    unsigned char mac[SHA256_BYTES];

    hmac_sha256(key, pieces, sizeof(pieces) / sizeof(pieces[0]), mac);
    return get_be(mac, SEAL_BYTES);
}

/* Whether this has a name, by which the cache may know the first key's seal of it. */
static bool has_name(const struct ids_seals *seals, const struct sealed *sealed,
                     struct seal_name *name)
{
    return seals->cache != NULL && seals->num > 0 &&
           seal_cache_name(&seals->namer, sealed->kind, sealed->text, sealed->len, name);
}

/* The first key's, computed now or before. */
static uint64_t first_seal_of(const struct ids_seals *seals, const struct sealed *sealed)
{
    struct seal_name name;
    uint64_t seal;

    if (!has_name(seals, sealed, &name))
        return seal_of(&seals->key[0], sealed);
    if (!seal_cache_get(seals->cache, &name, &seal)) {
        seal = seal_of(&seals->key[0], sealed);
        seal_cache_put(seals->cache, &name, seal);
    }
    return seal;
}

/* Which of the seals made this one, a bit for each. All are tried, and each is compared whole, so
 * that the time tells nothing. */
static unsigned int made_by(const struct ids_seals *seals, const struct sealed *sealed,
                            uint64_t claimed)
{
    unsigned int hits = 0;

    for (size_t i = 0; i < seals->num; i++) {
        uint64_t seal = seal_of(&seals->key[i], sealed);

        hits |= (unsigned int)(CRYPTO_memcmp(&seal, &claimed, sizeof(seal)) == 0) << i;
    }
    return hits;
}

/* The same of what the cache may know. */
static unsigned int made_or_known_by(const struct ids_seals *seals, const struct sealed *sealed,
                                     uint64_t claimed)
{
    struct seal_name name;
    unsigned int hits;

    if (!has_name(seals, sealed, &name))
        return made_by(seals, sealed, claimed);
    if (seal_cache_proves(seals->cache, &name, claimed))
        return 1;
    hits = made_by(seals, sealed, claimed);
    if (hits & 1)
        seal_cache_put(seals->cache, &name, claimed);
    return hits;
}

/* Each word from the first key by its number: a KDF in counter mode, NIST SP 800-108r1 section 4.1.
 */
static void derive_namer(struct ids_seals *seals)
{
    const unsigned char kind = OF_NAMER;
    unsigned char mac[SHA256_BYTES];

    for (uint32_t i = 0; i < sizeof(seals->namer.word) / sizeof(seals->namer.word[0]); i++) {
        const struct sha256_piece pieces[] = {{&kind, 1}, {&i, sizeof(i)}};

        hmac_sha256(&seals->key[0], pieces, 2, mac);
        seals->namer.word[i] = get_be(mac, sizeof(seals->namer.word[i]));
    }
    OPENSSL_cleanse(mac, sizeof(mac));
}

int ids_seals_add(struct ids_seals *seals, const char *text, size_t len, const char *context)
{
    /* HKDF without salt: extract with a key of zeroes, expand by one block. */
    static const unsigned char no_salt[SHA256_BYTES];
    static const unsigned char counter = 1;
    const struct sha256_piece secret = {text, len};
    const struct sha256_piece info[] = {{context, strlen(context)}, {&counter, 1}};
    unsigned char bytes[SHA256_BYTES];
    struct hmac_key key;

    if (len == 0)
        return ERR_INVALID;
    if (seals->num >= IDS_MAX_SEALS)
        return ERR_LIMIT;
    hmac_key_init(&key, no_salt);
    hmac_sha256(&key, &secret, 1, bytes);
    hmac_key_init(&key, bytes);
    hmac_sha256(&key, info, 2, bytes);
    hmac_key_init(&seals->key[seals->num++], bytes);
    if (seals->num == 1)
        derive_namer(seals);
    OPENSSL_cleanse(bytes, sizeof(bytes));
    OPENSSL_cleanse(&key, sizeof(key));
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
    uint32_t found = (uint32_t)fingerprint(texts, 4, DEPLOYMENT_BYTES);

    return found != IDS_JOURNAL ? found : found - 1;
}

int ids_new_journal(enum id_kind kind, char native[IDS_JOURNAL_CHARS + 8])
{
    unsigned char random[IDS_JOURNAL_CHARS];
    char *out = native + snprintf(native, 8, "%s", kind == ID_BATCH ? "batch_" : "file-");

    if (RAND_bytes(random, sizeof(random)) != 1)
        return ERR_IO;
    for (size_t i = 0; i < IDS_JOURNAL_CHARS; i++)
        out[i] = base32_alphabet[random[i] & 31];
    out[IDS_JOURNAL_CHARS] = '\0';
    return 0;
}

uint64_t ids_owner_fingerprint(const char *name)
{
    const char *const texts[] = {"tranche owner 1", name};

    return fingerprint(texts, 2, OWNER_BYTES);
}

size_t ids_mint_text(const struct ids_seals *seals, enum id_kind kind, const char *native,
                     size_t len, const struct id_tag *tag, char out[IDS_MAX + 1])
{
    unsigned char bytes[TAG_BYTES];
    struct id_text text;
    struct sealed sealed;

    if (!is_mintable(native, len) || seals->num == 0)
        return 0;
    put_be(bytes, tag->deployment, DEPLOYMENT_BYTES);
    put_be(bytes + DEPLOYMENT_BYTES, tag->owner, OWNER_BYTES);
    sealed = sealed_of(kind, native, len, bytes, &text);
    put_be(bytes + DEPLOYMENT_BYTES + OWNER_BYTES, first_seal_of(seals, &sealed), SEAL_BYTES);
    memcpy(out, native, len);
    memcpy(out + len, TAG_MARK, TAG_MARK_CHARS);
    base32_write(out + len + TAG_MARK_CHARS, bytes);
    len += TAG_MARK_CHARS + IDS_TAG_CHARS;
    out[len] = '\0';
    return len;
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

int ids_open(const struct ids_seals *seals, enum id_kind kind, uint64_t owner, const char *id,
             size_t len, size_t *native_len, bool *tagged, struct id_tag *tag)
{
    unsigned char bytes[TAG_BYTES] = {0};
    size_t before = len;
    struct id_text text;
    struct sealed sealed;
    struct id_tag claim;
    unsigned int hits;
    uint64_t seal;
    bool has_tag;

    if (!is_acceptable(id, len))
        return ERR_INVALID;
    has_tag = read_tag(id, len, bytes, &before);
    if (!has_tag)
        before = len;
    claim = tag_of(bytes);
    seal = get_be(bytes + DEPLOYMENT_BYTES + OWNER_BYTES, SEAL_BYTES);
    sealed = sealed_of(kind, id, before, bytes, &text);
    /* Also where there is nothing to prove: the time is that of a tag. */
    hits = has_tag && (owner == 0 || claim.owner == owner) ? made_or_known_by(seals, &sealed, seal)
                                                           : made_by(seals, &sealed, seal);
    if (has_tag && hits == 0)
        return ERR_FORGED;
    *native_len = before;
    *tagged = has_tag;
    if (has_tag) {
        *tag = claim;
        tag->aged = (hits & 1) == 0;
    }
    return 0;
}

static bool read_seal(const char *text, uint64_t *out)
{
    uint64_t high, low;

    static_assert(IDS_SEAL_HEX == 16, "twice eight digits");
    if (!hex_read_eight(text, &high) || !hex_read_eight(text + 8, &low))
        return false;
    *out = high << 32 | low;
    return true;
}

int ids_seal_text(const struct ids_seals *seals, const char *text, size_t len,
                  char out[IDS_SEAL_HEX + 1])
{
    static const char digits[] = "0123456789abcdef";
    uint64_t seal;

    if (seals->num == 0)
        return ERR_INVALID;
    seal = seal_of(&seals->key[0], &(struct sealed){OF_TEXT, text, len});
    for (size_t i = 0; i < IDS_SEAL_HEX; i++)
        out[i] = digits[seal >> (60 - 4 * i) & 15];
    out[IDS_SEAL_HEX] = '\0';
    return 0;
}

bool ids_text_verifies(const struct ids_seals *seals, const char *text, size_t len)
{
    uint64_t claimed;

    if (len < IDS_SEAL_HEX || !read_seal(text + len - IDS_SEAL_HEX, &claimed))
        return false;
    return made_or_known_by(seals, &(struct sealed){OF_TEXT, text, len - IDS_SEAL_HEX}, claimed) !=
           0;
}
