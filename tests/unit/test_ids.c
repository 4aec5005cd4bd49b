/* ids: what a tag proves, and that nothing else passes for one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dlfcn.h>
#define OPENSSL_SUPPRESS_DEPRECATED /* of SHA256_Final(), see sha256.h */
#include <openssl/sha.h>

#include <cmocka.h>

#include "crypto/ids.h"
#include "tests/unit/ids_mint.h"

#define BATCH    "batch_690a1b2c3d4e81908f7e6d5c4b3a2910"
#define FILE_ID  "file-7Qw2LmZp0aBcDeFgHiJkLm"
#define BASE32   "abcdefghijklmnopqrstuvwxyz234567"
#define WORD     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
#define TAG_SIZE (2 + IDS_TAG_CHARS)

static struct ids_seals seals;
static const struct id_tag place = {0xdeadbeef, 0x0123456789abcdef};
static uint64_t opener; /* who sends the ids */

static struct seal_cache *cache; /* NULL in the first of two runs: all is computed */

static int setup(void **state)
{
    (void)state;
    ids_seals_clear(&seals);
    seals.cache = cache;
    opener = place.owner;
    return ids_seals_add(&seals, "sk-master", 9, "tranche ids");
}

/* In front of the library's: how many hashes were made is what opening an id costs. */
static unsigned hashes;

int SHA256_Final(unsigned char *md, SHA256_CTX *ctx)
{
    static int (*real)(unsigned char *, SHA256_CTX *);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "SHA256_Final");
    hashes++;
    return real(md, ctx);
}

/* The tagged form; the caller frees it. */
static char *mint(enum id_kind kind, const char *native, const struct id_tag *tag)
{
    struct strbuf out = STRBUF_INIT;

    assert_int_equal(ids_mint(&seals, kind, native, tag, &out), 0);
    return strbuf_take(&out);
}

static int open_with(const struct ids_seals *with, enum id_kind kind, const char *id, size_t len)
{
    struct id_tag tag;
    size_t native_len;
    bool tagged;

    return ids_open(with, kind, opener, id, len, &native_len, &tagged, &tag);
}

static int open_id(enum id_kind kind, const char *id)
{
    return open_with(&seals, kind, id, strlen(id));
}

/* That `id` opens as somebody's native id, whole. */
static void assert_native(const char *id)
{
    struct id_tag tag;
    size_t native_len = 0;
    bool tagged = true;

    assert_int_equal(ids_open(&seals, ID_FILE, opener, id, strlen(id), &native_len, &tagged, &tag),
                     0);
    assert_false(tagged);
    assert_int_equal(native_len, strlen(id));
}

/* A small generator with a fixed start: the same ids in every run. */
static uint32_t next_random(void)
{
    static uint64_t x = 88172645463325252u;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (uint32_t)(x >> 32);
}

static void random_native(char *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = WORD[next_random() % (sizeof(WORD) - 1)];
    out[len] = '\0';
}

static void what_was_minted_opens_to_the_same_native_id_place_and_owner(void **state)
{
    char native[IDS_MAX + 1];

    (void)state;
    for (int i = 0; i < 2000; i++) {
        enum id_kind kind = i % 2 == 0 ? ID_FILE : ID_BATCH;
        struct id_tag in = {next_random(), (uint64_t)next_random() << 32 | next_random()}, out;
        size_t native_len;
        bool tagged;
        char *id;

        random_native(native, 1 + next_random() % (IDS_MAX - TAG_SIZE));
        id = mint(kind, native, &in);
        assert_int_equal(strlen(id), strlen(native) + TAG_SIZE);
        assert_int_equal(ids_open(&seals, kind, opener, id, strlen(id), &native_len, &tagged, &out),
                         0);
        assert_true(tagged);
        assert_int_equal(native_len, strlen(native));
        assert_memory_equal(id, native, native_len);
        assert_int_equal(out.deployment, in.deployment);
        assert_true(out.owner == in.owner);
        free(id);
    }
}

static void the_same_object_has_the_same_id_always(void **state)
{
    char *first = mint(ID_BATCH, BATCH, &place), *again = mint(ID_BATCH, BATCH, &place);

    (void)state;
    assert_string_equal(first, again);
    free(first);
    free(again);
}

/* Ids outlive versions of this program: this one was made by the first. */
static void an_id_of_the_first_version_is_minted_and_opened_unchanged(void **state)
{
    static const char known[] =
        "batch_690a1b2c3d4e81908f7e6d5c4b3a2910-t32w353ybencwpcnlzxxwg5eiiuhvtcpy";
    char *id = mint(ID_BATCH, BATCH, &place);

    (void)state;
    assert_string_equal(id, known);
    free(id);
}

static void every_other_character_in_a_tag_is_refused_or_makes_it_a_native_id(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);
    size_t len = strlen(id);

    (void)state;
    for (size_t at = len - TAG_SIZE; at < len; at++) {
        char was = id[at];

        for (const char *c = WORD "._=:@+~"; *c != '\0'; c++) {
            if (*c == was)
                continue;
            id[at] = *c;
            if (at >= len - IDS_TAG_CHARS && strchr(BASE32, *c) != NULL)
                assert_int_equal(open_id(ID_FILE, id), ERR_FORGED);
            else
                assert_native(id);
        }
        id[at] = was;
    }
    assert_int_equal(open_id(ID_FILE, id), 0);
    free(id);
}

static void every_other_character_in_the_native_id_is_refused(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);

    (void)state;
    for (size_t at = 0; at < strlen(FILE_ID); at++) {
        char was = id[at];

        for (const char *c = WORD; *c != '\0'; c++) {
            id[at] = *c;
            assert_int_equal(open_id(ID_FILE, id), *c == was ? 0 : ERR_FORGED);
        }
        id[at] = was;
    }
    free(id);
}

static void a_file_is_not_a_batch(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);

    (void)state;
    assert_int_equal(open_id(ID_BATCH, id), ERR_FORGED);
    free(id);
}

static void a_cut_id_never_opens_as_tagged(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);
    size_t len = strlen(id);

    (void)state;
    for (size_t cut = 1; cut < len; cut++) {
        struct id_tag tag;
        size_t native_len;
        bool tagged;

        if (ids_open(&seals, ID_FILE, opener, id, cut, &native_len, &tagged, &tag) == 0) {
            assert_false(tagged);
            assert_int_equal(native_len, cut);
        }
        /* and from the front: a shorter native id under the same tag */
        assert_true(open_with(&seals, ID_FILE, id + cut, len - cut) != 0 || len - cut < TAG_SIZE);
    }
    free(id);
}

static void a_tag_taken_from_another_id_is_refused(void **state)
{
    const struct id_tag elsewhere = {place.deployment + 1, place.owner};
    char *id = mint(ID_FILE, FILE_ID, &place), *other = mint(ID_FILE, "file-other", &place);
    char *there = mint(ID_FILE, FILE_ID, &elsewhere);
    size_t native = strlen(FILE_ID),
           seal = strlen(id) - 13; /* the last 13 characters hold the seal */
    char spliced[IDS_MAX];

    (void)state;
    snprintf(spliced, sizeof(spliced), "%s%s", FILE_ID, other + strlen("file-other"));
    assert_int_equal(open_id(ID_FILE, spliced), ERR_FORGED);
    snprintf(spliced, sizeof(spliced), "%.*s%s", (int)seal, there, id + seal);
    assert_int_equal(open_id(ID_FILE, spliced), ERR_FORGED);
    snprintf(spliced, sizeof(spliced), "%.*s%s", (int)native, id, there + native);
    assert_int_equal(open_id(ID_FILE, spliced), 0); /* that one is `there` itself */
    free(id);
    free(other);
    free(there);
}

static void every_seal_opens_and_the_first_one_mints(void **state)
{
    char *old = mint(ID_FILE, FILE_ID, &place), *new;
    struct ids_seals old_seals = seals;

    (void)state;
    ids_seals_clear(&seals);
    seals.cache = cache; /* as a reload finds it, with what the old key made */
    assert_int_equal(ids_seals_add(&seals, "new", 3, "tranche ids"), 0);
    assert_int_equal(open_id(ID_FILE, old), ERR_FORGED);
    assert_int_equal(ids_seals_add(&seals, "sk-master", 9, "tranche ids"), 0);
    assert_int_equal(open_id(ID_FILE, old), 0);
    new = mint(ID_FILE, FILE_ID, &place);
    assert_string_not_equal(old, new);
    assert_int_equal(open_with(&old_seals, ID_FILE, new, strlen(new)), ERR_FORGED);
    free(old);
    free(new);
}

static unsigned hashes_to_open(const char *id)
{
    hashes = 0;
    (void)open_id(ID_FILE, id);
    return hashes;
}

#define TWO_SEALS 4 /* hashes: two for each HMAC, one HMAC for each seal */

static void an_id_costs_the_same_whether_it_is_sealed_forged_cut_or_native(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place), *batch = mint(ID_BATCH, BATCH, &place);
    char *forged = strdup(id), *cut = strdup(id), *odd = strdup(id);
    const char *const ids[] = {id, forged, cut, odd, batch, FILE_ID, "a", "file-unknown"};

    (void)state;
    forged[strlen(forged) - 1] ^= 1;
    cut[strlen(cut) - 1] = '\0';
    odd[strlen(odd) - 3] = '9'; /* no base32: no tag at all */
    assert_int_equal(ids_seals_add(&seals, "another", 7, "tranche ids"), 0);
    opener = place.owner + 1;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        assert_int_equal(hashes_to_open(ids[i]), TWO_SEALS);
    opener = place.owner;
    for (size_t i = 1; i < sizeof(ids) / sizeof(ids[0]); i++)
        assert_int_equal(hashes_to_open(ids[i]), TWO_SEALS);
    free(id);
    free(batch);
    free(forged);
    free(cut);
    free(odd);
}

/* What is in the cache tells no other tenant that an id is genuine, not even by its time. */
static void only_to_its_owner_and_the_master_a_genuine_id_is_known_without_a_hash(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);

    (void)state;
    assert_int_equal(ids_seals_add(&seals, "another", 7, "tranche ids"), 0);
    (void)open_id(ID_FILE, id);
    assert_int_equal(hashes_to_open(id), cache != NULL ? 0 : TWO_SEALS);
    assert_int_equal(open_id(ID_FILE, id), 0);
    opener = place.owner + 1;
    assert_int_equal(hashes_to_open(id), TWO_SEALS);
    assert_int_equal(open_id(ID_FILE, id), 0);
    opener = 0; /* who sees all */
    assert_int_equal(hashes_to_open(id), cache != NULL ? 0 : TWO_SEALS);
    assert_int_equal(open_id(ID_FILE, id), 0);
    free(id);
}

static void what_was_minted_before_is_minted_again_without_a_hash(void **state)
{
    static const char native[] = "batch_minted_twice";
    char first[IDS_MAX + 1], again[IDS_MAX + 1];

    (void)state;
    assert_true(ids_mint_text(&seals, ID_BATCH, native, strlen(native), &place, first) > 0);
    hashes = 0;
    assert_true(ids_mint_text(&seals, ID_BATCH, native, strlen(native), &place, again) > 0);
    assert_int_equal(hashes, cache != NULL ? 0 : 2);
    assert_string_equal(first, again);
}

static void what_was_opened_before_makes_no_other_id_pass(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);
    size_t len = strlen(id);

    (void)state;
    assert_int_equal(open_id(ID_FILE, id), 0);
    assert_int_equal(open_id(ID_BATCH, id), ERR_FORGED);
    for (size_t i = len - IDS_TAG_CHARS; i < len; i++) {
        char was = id[i];

        id[i] = was == 'a' ? 'b' : 'a';
        assert_int_equal(open_id(ID_FILE, id), ERR_FORGED);
        id[i] = was;
    }
    free(id);
}

/* Another key may have made it; then the answer shows it with the first one's seal. */
static void an_id_of_an_older_seal_is_aged_each_time_it_is_opened(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);

    (void)state;
    ids_seals_clear(&seals);
    seals.cache = cache;
    assert_int_equal(ids_seals_add(&seals, "new", 3, "tranche ids"), 0);
    assert_int_equal(ids_seals_add(&seals, "sk-master", 9, "tranche ids"), 0);
    for (int i = 0; i < 3; i++) {
        struct id_tag tag;
        size_t native_len;
        bool tagged;

        assert_int_equal(
            ids_open(&seals, ID_FILE, opener, id, strlen(id), &native_len, &tagged, &tag), 0);
        assert_true(tag.aged);
    }
    free(id);
}

/* A key that is listed twice is no older one. */
static void an_id_of_the_first_seal_is_not_aged_whoever_else_made_it(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);
    struct id_tag tag;
    size_t native_len;
    bool tagged;

    (void)state;
    assert_int_equal(ids_seals_add(&seals, "sk-master", 9, "tranche ids"), 0);
    for (uint64_t i = 0; i < 2; i++) { /* by its owner, and computed */
        assert_int_equal(
            ids_open(&seals, ID_FILE, opener + i, id, strlen(id), &native_len, &tagged, &tag), 0);
        assert_false(tag.aged);
    }
    free(id);
}

#define GENERATIONS 3

/* Seals with keys in another order each, as of a reload while the old workers still drain. */
static void make_generation(unsigned nth, struct seal_cache *shared, struct ids_seals *out)
{
    static const char *const keys[GENERATIONS][2] = {{"one", "two"}, {"two", "one"}, {"two", ""}};

    ids_seals_clear(out);
    out->cache = shared;
    for (size_t i = 0; i < 2 && keys[nth][i][0] != '\0'; i++)
        assert_int_equal(ids_seals_add(out, keys[nth][i], 3, "tranche ids"), 0);
}

static void assert_opened_alike(const struct ids_seals *a, const struct ids_seals *b,
                                const char *id, uint64_t owner)
{
    struct id_tag one = {0}, other = {0};
    size_t len = 0, other_len = 0;
    bool tagged = false, other_tagged = false;
    int ret = ids_open(a, ID_FILE, owner, id, strlen(id), &len, &tagged, &one);

    assert_int_equal(
        ret, ids_open(b, ID_FILE, owner, id, strlen(id), &other_len, &other_tagged, &other));
    assert_true(len == other_len && tagged == other_tagged && one.aged == other.aged);
    assert_true(one.deployment == other.deployment && one.owner == other.owner);
}

/* A few ids in a table with fewer places, minted and opened by all of them in turn. */
static void generations_that_share_a_cache_answer_as_if_they_had_none(void **state)
{
    struct ids_seals with[GENERATIONS], without[GENERATIONS];
    struct seal_cache *shared;

    (void)state;
    assert_int_equal(seal_cache_new(8, &shared), 0);
    for (unsigned g = 0; g < GENERATIONS; g++) {
        make_generation(g, shared, &with[g]);
        make_generation(g, NULL, &without[g]);
    }
    for (int round = 0; round < 4000; round++) {
        unsigned g = next_random() % GENERATIONS, by = next_random() % GENERATIONS;
        struct id_tag tag = {.deployment = next_random() % 2, .owner = next_random() % 2};
        char native[16], minted[IDS_MAX + 1], wanted[IDS_MAX + 1];

        snprintf(native, sizeof(native), "file-%u", (unsigned)next_random() % 3);
        assert_true(ids_mint_text(&with[by], ID_FILE, native, strlen(native), &tag, minted) > 0);
        assert_true(ids_mint_text(&without[by], ID_FILE, native, strlen(native), &tag, wanted) > 0);
        assert_string_equal(minted, wanted);
        if (next_random() % 4 == 0)
            minted[strlen(minted) - 1] ^= 1;
        assert_opened_alike(&with[g], &without[g], minted, next_random() % 2);
    }
    seal_cache_free(shared);
}

static void a_sealed_text_is_proved_again_and_again_and_no_other_one_by_it(void **state)
{
    char text[64] = "a text.", seal[IDS_SEAL_HEX + 1];
    size_t len = strlen(text);

    (void)state;
    assert_int_equal(ids_seal_text(&seals, text, len, seal), 0);
    strcat(text, seal);
    for (int i = 0; i < 2; i++) {
        assert_true(ids_text_verifies(&seals, text, len + IDS_SEAL_HEX));
        hashes = 0;
    }
    assert_true(ids_text_verifies(&seals, text, len + IDS_SEAL_HEX));
    assert_int_equal(hashes, cache != NULL ? 0 : 2);
    for (size_t i = 0; i < len + IDS_SEAL_HEX; i++) {
        text[i] ^= 1;
        assert_false(ids_text_verifies(&seals, text, len + IDS_SEAL_HEX));
        text[i] ^= 1;
    }
    for (size_t i = 0; i < len + IDS_SEAL_HEX; i++)
        assert_false(ids_text_verifies(&seals, text, i));
}

/* Batches that run while the seal keys are rotated. */
static void a_text_of_an_older_seal_is_proved_each_time(void **state)
{
    char text[64] = "a text.", seal[IDS_SEAL_HEX + 1];

    (void)state;
    assert_int_equal(ids_seal_text(&seals, text, strlen(text), seal), 0);
    strcat(text, seal);
    ids_seals_clear(&seals);
    seals.cache = cache;
    assert_int_equal(ids_seals_add(&seals, "new", 3, "tranche ids"), 0);
    assert_false(ids_text_verifies(&seals, text, strlen(text)));
    assert_int_equal(ids_seals_add(&seals, "sk-master", 9, "tranche ids"), 0);
    for (int i = 0; i < 3; i++)
        assert_true(ids_text_verifies(&seals, text, strlen(text)));
}

/* An upper-case digit has the same value, and would be a second text with one seal. */
static void a_seal_is_written_in_lower_case_only(void **state)
{
    char text[64] = "a text.", seal[IDS_SEAL_HEX + 1], *at;

    (void)state;
    assert_int_equal(ids_seal_text(&seals, text, strlen(text), seal), 0);
    at = strcat(text, seal) + strlen(text) - IDS_SEAL_HEX;
    at += strcspn(at, "abcdef");
    assert_true(*at != '\0');
    assert_true(ids_text_verifies(&seals, text, strlen(text)));
    *at = (char)(*at - 'a' + 'A');
    assert_false(ids_text_verifies(&seals, text, strlen(text)));
}

/* The table's names are hard to hit as long as nobody knows these words, and no two are tied. */
static void each_word_that_names_are_made_with_is_a_secret_of_its_own(void **state)
{
    const size_t num = sizeof(seals.namer.word) / sizeof(seals.namer.word[0]);
    struct seal_namer other = seals.namer;
    char seal[IDS_SEAL_HEX + 1];

    (void)state;
    for (uint32_t i = 0; i < num; i++) {
        assert_int_equal(ids_seal_text(&seals, (const char *)&i, sizeof(i), seal), 0);
        assert_true(strtoull(seal, NULL, 16) != seals.namer.word[i]);
        for (uint32_t k = 0; k < i; k++)
            assert_true(seals.namer.word[i] != seals.namer.word[k]);
    }
    ids_seals_clear(&seals);
    assert_int_equal(ids_seals_add(&seals, "sk-master", 9, "tranche ids"), 0);
    assert_int_equal(ids_seals_add(&seals, "another", 7, "tranche ids"), 0);
    assert_memory_equal(&other, &seals.namer, sizeof(other));
    ids_seals_clear(&seals);
    assert_int_equal(ids_seals_add(&seals, "another", 7, "tranche ids"), 0);
    for (uint32_t i = 0; i < num; i++)
        assert_true(seals.namer.word[i] != other.word[i]);
}

static void nothing_is_left_of_keys_that_are_cleared(void **state)
{
    static const struct ids_seals nothing;

    (void)state;
    ids_seals_clear(&seals);
    assert_memory_equal(&seals, &nothing, sizeof(seals));
}

/* A namer under which the n-th pair of a text's words counts for nothing. */
static void make_blind(struct ids_seals *to, const char *text, size_t pair)
{
    uint64_t words[2];

    memcpy(words, text + pair * sizeof(words), sizeof(words));
    to->namer.word[2 * pair + 1] = 0 - words[1];
}

/* Whoever hits the name of one of many markers, by one chance in 2^64 for each, has still to hit
 * the seal of that one. */
static void a_text_with_the_name_of_a_genuine_one_needs_the_same_seal(void **state)
{
    char text[64] = "a text of two words, no more.  .", seal[IDS_SEAL_HEX + 1];
    size_t len = strlen(text);

    (void)state;
    assert_int_equal(len, 32);
    assert_int_equal(ids_seal_text(&seals, text, len, seal), 0);
    strcat(text, seal);
    for (size_t pair = 0; pair <= 2; pair++)
        make_blind(&seals, text, pair);
    assert_true(ids_text_verifies(&seals, text, len + IDS_SEAL_HEX));
    for (size_t i = len; i < len + IDS_SEAL_HEX; i++) {
        char was = text[i];

        text[i] = was == '0' ? '1' : '0';
        assert_false(ids_text_verifies(&seals, text, len + IDS_SEAL_HEX));
        text[0] = 'b';
        assert_false(ids_text_verifies(&seals, text, len + IDS_SEAL_HEX));
        text[0] = 'a';
        text[i] = was;
    }
}

static void what_a_tag_says_of_itself_can_be_told_without_proof(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);
    struct id_tag tag = {0};

    (void)state;
    id[0] = 'x'; /* no longer proved */
    assert_int_equal(open_id(ID_FILE, id), ERR_FORGED);
    assert_true(ids_claim(id, strlen(id), &tag));
    assert_int_equal(tag.deployment, place.deployment);
    assert_true(tag.owner == place.owner);
    assert_false(ids_claim(id, strlen(id) - 1, &tag));
    assert_false(ids_claim(FILE_ID, strlen(FILE_ID), &tag));
    id[0] = '/';
    assert_false(ids_claim(id, strlen(id), &tag));
    free(id);
}

static void nothing_opens_or_is_minted_without_a_seal(void **state)
{
    char *id = mint(ID_FILE, FILE_ID, &place);
    struct strbuf out = STRBUF_INIT;

    (void)state;
    ids_seals_clear(&seals);
    assert_int_equal(open_id(ID_FILE, id), ERR_FORGED);
    assert_int_equal(ids_mint(&seals, ID_FILE, FILE_ID, &place, &out), ERR_INVALID);
    assert_int_equal(out.len, 0);
    free(id);
}

/* Whatever the cache holds: a name without a key behind it is known to everybody. */
static void without_a_seal_no_cache_proves_anything(void **state)
{
    static const char text[] = "a text and a seal 0123456789abcdef";
    size_t len = strlen(text);
    struct ids_seals none = {0};
    struct seal_name name;

    (void)state;
    assert_int_equal(seal_cache_new(16, &none.cache), 0);
    assert_true(seal_cache_name(&none.namer, 't', text, len - IDS_SEAL_HEX, &name));
    seal_cache_put(none.cache, &name, UINT64_C(0x0123456789abcdef));
    assert_false(ids_text_verifies(&none, text, len));
    seal_cache_free(none.cache);
}

static void at_most_sixteen_seals_fit_and_none_comes_from_nothing(void **state)
{
    (void)state;
    assert_int_equal(ids_seals_add(&seals, "", 0, "x"), ERR_INVALID);
    for (int i = 1; i < IDS_MAX_SEALS; i++)
        assert_int_equal(ids_seals_add(&seals, "k", 1, "x"), 0);
    assert_int_equal(ids_seals_add(&seals, "k", 1, "x"), ERR_LIMIT);
    assert_int_equal(seals.num, IDS_MAX_SEALS);
}

/* RFC 5869, test case 3: no salt, no info. */
static void keys_are_derived_as_rfc_5869_says(void **state)
{
    static const unsigned char okm[32] = {0x8d, 0xa4, 0xe7, 0x75, 0xa5, 0x63, 0xc1, 0x8f,
                                          0x71, 0x5f, 0x80, 0x2a, 0x06, 0x3c, 0x5a, 0x31,
                                          0xb8, 0xa1, 0x1f, 0x5c, 0x5e, 0xe1, 0x87, 0x9e,
                                          0xc3, 0x45, 0x4e, 0x5f, 0x3c, 0x73, 0x8d, 0x2d};
    struct ids_seals s = {0};
    struct hmac_key key;
    char ikm[22];

    (void)state;
    memset(ikm, 0x0b, sizeof(ikm));
    assert_int_equal(ids_seals_add(&s, ikm, sizeof(ikm), ""), 0);
    hmac_key_init(&key, okm);
    assert_memory_equal(&s.key[0], &key, sizeof(key));
}

static void one_text_gives_different_keys_for_different_uses(void **state)
{
    (void)state;
    assert_int_equal(ids_seals_add(&seals, "sk-master", 9, "tranche metadata"), 0);
    assert_memory_not_equal(&seals.key[0], &seals.key[1], sizeof(seals.key[0]));
}

static void ids_of_all_known_providers_are_native(void **state)
{
    static const char *const ids[] = {
        "file-7Qw2LmZp0aBcDeFgHiJkLm",
        "file-0c9d1e2f3a4b5c6d7e8f901234567890",
        "file-11111111-2222-3333-4444-555555555555",
        "batch_690a1b2c3d4e81908f7e6d5c4b3a2910",
        "batch_5b1f0e2d-7c3a-4f6b-9a8e-0d1c2b3a4f5e",
        "bGl0ZWxsbV9wcm94eTphcHBsaWNhdGlvbi9qc29uO3VuaWZpZWRfaWQsMTIz=",
        "arn:aws:bedrock:x",
        "a",
        "-t",
        "...",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        assert_native(ids[i]);
}

static void an_ending_of_a_tags_length_with_other_characters_is_native(void **state)
{
    static const char digits[] = "0189ABXYZ_.=";

    (void)state;
    for (const char *c = digits; *c != '\0'; c++) {
        for (int at = 0; at < IDS_TAG_CHARS; at++) {
            char id[] = "file-x-taaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

            id[8 + at] = *c;
            assert_native(id);
        }
    }
    assert_native("file-x_taaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_native("file-x-Taaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_native("file-x-taaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    assert_native("file-x-taaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
}

/* Documented in ids.h: bare it is refused, tagged it works. */
static void a_native_id_that_ends_like_a_tag_is_reached_in_its_tagged_form_only(void **state)
{
    static const char odd[] = "file-x-taaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct id_tag tag;
    size_t native_len;
    bool tagged;
    char *id = mint(ID_FILE, odd, &place);

    (void)state;
    assert_int_equal(open_id(ID_FILE, odd), ERR_FORGED);
    assert_int_equal(ids_open(&seals, ID_FILE, opener, id, strlen(id), &native_len, &tagged, &tag),
                     0);
    assert_true(tagged);
    assert_int_equal(native_len, strlen(odd));
    free(id);
}

static void a_tag_without_a_native_id_is_refused(void **state)
{
    (void)state;
    assert_int_equal(open_id(ID_FILE, "-taaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), ERR_FORGED);
}

static void only_letters_that_need_no_escape_are_accepted_in_ids(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char id[] = {'a', (char)c, 'b'};
        bool ok = c != 0 && strchr(WORD ".=:@+~", c) != NULL;

        assert_int_equal(open_with(&seals, ID_FILE, id, sizeof(id)), ok ? 0 : ERR_INVALID);
    }
    assert_int_equal(open_with(&seals, ID_FILE, "", 0), ERR_INVALID);
    assert_int_equal(open_id(ID_FILE, "."), ERR_INVALID);
    assert_int_equal(open_id(ID_FILE, ".."), ERR_INVALID);
}

static void an_id_of_512_bytes_is_accepted_and_one_of_513_is_not(void **state)
{
    char id[IDS_MAX + 2];

    (void)state;
    memset(id, 'z', sizeof(id));
    assert_int_equal(open_with(&seals, ID_FILE, id, IDS_MAX), 0);
    assert_int_equal(open_with(&seals, ID_FILE, id, IDS_MAX + 1), ERR_INVALID);
}

static void nothing_is_minted_that_would_not_open_again(void **state)
{
    struct strbuf out = STRBUF_INIT;
    char native[IDS_MAX + 2];

    (void)state;
    assert_int_equal(ids_mint(&seals, ID_FILE, "", &place, &out), ERR_INVALID);
    for (int c = 1; c < 256; c++) {
        char id[] = {'a', (char)c, 'b', '\0'};

        if (strchr(WORD, c) == NULL)
            assert_int_equal(ids_mint(&seals, ID_FILE, id, &place, &out), ERR_INVALID);
    }
    random_native(native, IDS_MAX - TAG_SIZE + 1);
    assert_int_equal(ids_mint(&seals, ID_FILE, native, &place, &out), ERR_INVALID);
    assert_int_equal(out.len, 0);
    native[IDS_MAX - TAG_SIZE] = '\0';
    assert_int_equal(ids_mint(&seals, ID_FILE, native, &place, &out), 0);
    assert_int_equal(out.len, IDS_MAX);
    strbuf_deinit(&out);
}

static void a_minted_id_is_appended(void **state)
{
    struct strbuf out = STRBUF_INIT;
    char *id = mint(ID_FILE, FILE_ID, &place);

    (void)state;
    strbuf_adds(&out, "{\"id\":\"");
    assert_int_equal(ids_mint(&seals, ID_FILE, FILE_ID, &place, &out), 0);
    assert_memory_equal(out.data, "{\"id\":\"", 7);
    assert_string_equal(out.data + 7, id);
    strbuf_deinit(&out);
    free(id);
}

static void fingerprints_tell_all_their_parts_apart(void **state)
{
    uint32_t base = ids_deployment_fingerprint("azure", "https://a.openai.azure.com", "gpt-4o");

    (void)state;
    assert_int_equal(base,
                     ids_deployment_fingerprint("azure", "https://a.openai.azure.com", "gpt-4o"));
    assert_int_not_equal(
        base, ids_deployment_fingerprint("openai", "https://a.openai.azure.com", "gpt-4o"));
    assert_int_not_equal(
        base, ids_deployment_fingerprint("azure", "https://b.openai.azure.com", "gpt-4o"));
    assert_int_not_equal(base,
                         ids_deployment_fingerprint("azure", "https://a.openai.azure.com", ""));
    assert_int_not_equal(ids_deployment_fingerprint("azure", "ab", "c"),
                         ids_deployment_fingerprint("azure", "a", "bc"));
    assert_int_not_equal(base, 0);
    assert_true(ids_owner_fingerprint("team-a") != ids_owner_fingerprint("team-b"));
    assert_true(ids_owner_fingerprint("") != 0);
}

/* They are in ids that live as long as batches do. */
static void fingerprints_stay_what_they_were_in_the_first_version(void **state)
{
    (void)state;
    assert_int_equal(ids_deployment_fingerprint("azure", "https://a.openai.azure.com", "gpt-4o"),
                     0x15817617);
    assert_true(ids_owner_fingerprint("team-a") == UINT64_C(0xd5f5818cc51660d1));
}

static void a_journal_id_opens_for_its_owner_and_names_no_deployment(void **state)
{
    struct id_tag tag = {.deployment = IDS_JOURNAL, .owner = place.owner}, found;
    char native[IDS_JOURNAL_CHARS + 8], other[IDS_JOURNAL_CHARS + 8];
    size_t native_len;
    bool tagged;
    char *id;

    (void)state;
    assert_int_equal(ids_new_journal(ID_BATCH, native), 0);
    assert_int_equal(ids_new_journal(ID_BATCH, other), 0);
    assert_string_not_equal(native, other);
    assert_int_equal(strlen(native), strlen("batch_") + IDS_JOURNAL_CHARS);
    assert_int_equal(strspn(native + strlen("batch_"), BASE32), IDS_JOURNAL_CHARS);
    id = mint(ID_BATCH, native, &tag);
    assert_int_equal(
        ids_open(&seals, ID_BATCH, place.owner, id, strlen(id), &native_len, &tagged, &found), 0);
    assert_true(tagged);
    assert_int_equal(native_len, strlen(native));
    assert_int_equal(found.deployment, IDS_JOURNAL);
    assert_true(found.owner == place.owner);
    free(id);
    assert_int_equal(ids_new_journal(ID_FILE, native), 0);
    assert_memory_equal(native, "file-", 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_was_minted_opens_to_the_same_native_id_place_and_owner, setup),
        cmocka_unit_test_setup(the_same_object_has_the_same_id_always, setup),
        cmocka_unit_test_setup(an_id_of_the_first_version_is_minted_and_opened_unchanged, setup),
        cmocka_unit_test_setup(every_other_character_in_a_tag_is_refused_or_makes_it_a_native_id,
                               setup),
        cmocka_unit_test_setup(every_other_character_in_the_native_id_is_refused, setup),
        cmocka_unit_test_setup(a_file_is_not_a_batch, setup),
        cmocka_unit_test_setup(a_cut_id_never_opens_as_tagged, setup),
        cmocka_unit_test_setup(a_tag_taken_from_another_id_is_refused, setup),
        cmocka_unit_test_setup(every_seal_opens_and_the_first_one_mints, setup),
        cmocka_unit_test_setup(an_id_costs_the_same_whether_it_is_sealed_forged_cut_or_native,
                               setup),
        cmocka_unit_test_setup(
            only_to_its_owner_and_the_master_a_genuine_id_is_known_without_a_hash, setup),
        cmocka_unit_test_setup(what_was_opened_before_makes_no_other_id_pass, setup),
        cmocka_unit_test_setup(an_id_of_an_older_seal_is_aged_each_time_it_is_opened, setup),
        cmocka_unit_test_setup(a_sealed_text_is_proved_again_and_again_and_no_other_one_by_it,
                               setup),
        cmocka_unit_test_setup(generations_that_share_a_cache_answer_as_if_they_had_none, setup),
        cmocka_unit_test_setup(an_id_of_the_first_seal_is_not_aged_whoever_else_made_it, setup),
        cmocka_unit_test_setup(what_was_minted_before_is_minted_again_without_a_hash, setup),
        cmocka_unit_test_setup(a_text_of_an_older_seal_is_proved_each_time, setup),
        cmocka_unit_test_setup(a_seal_is_written_in_lower_case_only, setup),
        cmocka_unit_test_setup(each_word_that_names_are_made_with_is_a_secret_of_its_own, setup),
        cmocka_unit_test_setup(nothing_is_left_of_keys_that_are_cleared, setup),
        cmocka_unit_test_setup(a_text_with_the_name_of_a_genuine_one_needs_the_same_seal, setup),
        cmocka_unit_test_setup(what_a_tag_says_of_itself_can_be_told_without_proof, setup),
        cmocka_unit_test_setup(nothing_opens_or_is_minted_without_a_seal, setup),
        cmocka_unit_test_setup(without_a_seal_no_cache_proves_anything, setup),
        cmocka_unit_test_setup(at_most_sixteen_seals_fit_and_none_comes_from_nothing, setup),
        cmocka_unit_test_setup(keys_are_derived_as_rfc_5869_says, setup),
        cmocka_unit_test_setup(one_text_gives_different_keys_for_different_uses, setup),
        cmocka_unit_test_setup(ids_of_all_known_providers_are_native, setup),
        cmocka_unit_test_setup(an_ending_of_a_tags_length_with_other_characters_is_native, setup),
        cmocka_unit_test_setup(a_native_id_that_ends_like_a_tag_is_reached_in_its_tagged_form_only,
                               setup),
        cmocka_unit_test_setup(a_tag_without_a_native_id_is_refused, setup),
        cmocka_unit_test_setup(only_letters_that_need_no_escape_are_accepted_in_ids, setup),
        cmocka_unit_test_setup(an_id_of_512_bytes_is_accepted_and_one_of_513_is_not, setup),
        cmocka_unit_test_setup(nothing_is_minted_that_would_not_open_again, setup),
        cmocka_unit_test_setup(a_journal_id_opens_for_its_owner_and_names_no_deployment, setup),
        cmocka_unit_test_setup(a_minted_id_is_appended, setup),
        cmocka_unit_test_setup(fingerprints_tell_all_their_parts_apart, setup),
        cmocka_unit_test_setup(fingerprints_stay_what_they_were_in_the_first_version, setup),
    };

    int failed = cmocka_run_group_tests_name("computed", tests, NULL, NULL);

    if (seal_cache_new(1024, &cache) != 0)
        return 1;
    failed += cmocka_run_group_tests_name("with a cache", tests, NULL, NULL);
    seal_cache_free(cache);
    return failed;
}
