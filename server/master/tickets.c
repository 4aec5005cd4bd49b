/* See tickets.h. A ring of keys: the master fills the place behind the newest one, which nobody
 * looks at, and then says that it is the newest. */
#include "tickets.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "common/shm.h"

#define RING 4
#define OPEN 3 /* the newest, and two before it */

struct ticket_key {
    unsigned char name[16]; /* in the ticket, in the clear (RFC 5077 section 4) */
    unsigned char cipher[32], mac[32];
};

struct tickets {
    _Atomic uint32_t made; /* keys since the start; the newest is at (made - 1) % RING */
    uint64_t made_ms;      /* the newest; the master's */
    struct ticket_key keys[RING];
};

static int make_key(struct tickets *t, uint64_t now_ms)
{
    uint32_t made = atomic_load(&t->made);
    struct ticket_key *key = &t->keys[made % RING];

    if (RAND_bytes((unsigned char *)key, sizeof(*key)) != 1)
        return ERR_IO;
    t->made_ms = now_ms;
    atomic_store(&t->made, made + 1);
    return 0;
}

int tickets_new(uint64_t now_ms, struct tickets **out)
{
    struct tickets *t = shm_new(sizeof(*t));
    int ret;

    *out = NULL;
    if (t == NULL)
        return ERR_NOMEM;
    (void)mlock(t, sizeof(*t));
    ret = make_key(t, now_ms);
    if (ret != 0)
        tickets_free(t);
    else
        *out = t;
    return ret;
}

void tickets_free(struct tickets *tickets)
{
    if (tickets != NULL)
        OPENSSL_cleanse(tickets, sizeof(*tickets));
    shm_free(tickets, sizeof(*tickets));
}

void tickets_rotate(struct tickets *tickets, uint64_t now_ms)
{
    if (now_ms >= tickets->made_ms + TICKETS_PERIOD_MS)
        (void)make_key(tickets, now_ms);
}

static int index_in_contexts(void)
{
    static int index = -1;

    if (index == -1)
        index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    return index;
}

static const struct tickets *tickets_of(SSL *ssl)
{
    return SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), index_in_contexts());
}

/* @param age  gets how many are newer */
static const struct ticket_key *find(const struct tickets *t, const unsigned char *name,
                                     uint32_t *age)
{
    uint32_t made = atomic_load(&t->made);

    for (*age = 0; *age < OPEN && *age < made; ++*age) {
        const struct ticket_key *key = &t->keys[(made - 1 - *age) % RING];

        if (memcmp(key->name, name, sizeof(key->name)) == 0)
            return key;
    }
    return NULL;
}

static bool set_mac(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac,
                                          sizeof(key->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_end()};

    return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static int seal(const struct tickets *t, unsigned char *name, unsigned char *iv,
                EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    const struct ticket_key *key = &t->keys[(atomic_load(&t->made) - 1) % RING];

    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1 ||
        EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) != 1 ||
        !set_mac(mac, key))
        return -1;
    memcpy(name, key->name, sizeof(key->name));
    return 1;
}

/* What SSL_CTX_set_tlsext_ticket_key_evp_cb(3) wants: 0 is a full handshake, 2 a ticket that is
 * good and is replaced by one of the newest key. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int sealing)
{
    const struct tickets *t = tickets_of(ssl);
    const struct ticket_key *key;
    uint32_t age;

    if (sealing)
        return seal(t, name, iv, cipher, mac);
    key = find(t, name, &age);
    if (key == NULL)
        return 0;
    if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) != 1 ||
        !set_mac(mac, key))
        return -1;
    return age == 0 ? 1 : 2;
}

int tickets_use(SSL_CTX *ctx, const struct tickets *tickets)
{
    if (SSL_CTX_set_ex_data(ctx, index_in_contexts(), (void *)(uintptr_t)tickets) != 1 ||
        SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) != 1)
        return ERR_NOMEM;
    SSL_CTX_set_timeout(ctx, TICKETS_LIFETIME_S);
    return 0;
}
