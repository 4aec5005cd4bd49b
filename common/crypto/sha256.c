/* See sha256.h. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "crypto/sha256.h"

#include <assert.h>
#include <string.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#define BLOCK_BYTES 64 /* RFC 2104's B */
#define INNER_PAD   0x36
#define OUTER_PAD   0x5c

static_assert(sizeof(((struct hmac_key *)0)->inner) == sizeof(((SHA256_CTX *)0)->h),
              "a key holds a whole state");

static void add(SHA256_CTX *ctx, const struct sha256_piece *pieces, size_t num)
{
    for (size_t i = 0; i < num; i++)
        SHA256_Update(ctx, pieces[i].bytes, pieces[i].len);
}

void sha256_of(const struct sha256_piece *pieces, size_t num, unsigned char out[SHA256_BYTES])
{
    SHA256_CTX ctx;

    SHA256_Init(&ctx);
    add(&ctx, pieces, num);
    SHA256_Final(out, &ctx);
}

static void start_with(uint32_t state[8], const unsigned char bytes[SHA256_BYTES],
                       unsigned char pad)
{
    unsigned char block[BLOCK_BYTES];
    SHA256_CTX ctx;

    for (size_t i = 0; i < BLOCK_BYTES; i++)
        block[i] = (i < SHA256_BYTES ? bytes[i] : 0) ^ pad;
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, block, sizeof(block));
    memcpy(state, ctx.h, sizeof(ctx.h));
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(&ctx, sizeof(ctx));
}

void hmac_key_init(struct hmac_key *key, const unsigned char bytes[SHA256_BYTES])
{
    start_with(key->inner, bytes, INNER_PAD);
    start_with(key->outer, bytes, OUTER_PAD);
}

/* A hash that has just taken in one block. */
static void resume(SHA256_CTX *ctx, const uint32_t state[8])
{
    memcpy(ctx->h, state, sizeof(ctx->h));
    ctx->Nl = BLOCK_BYTES * 8;
    ctx->Nh = 0;
    ctx->num = 0; /* so `data` holds nothing yet */
    ctx->md_len = SHA256_DIGEST_LENGTH;
}

void hmac_sha256(const struct hmac_key *key, const struct sha256_piece *pieces, size_t num,
                 unsigned char out[SHA256_BYTES])
{
    unsigned char inner[SHA256_BYTES];
    SHA256_CTX ctx;

    resume(&ctx, key->inner);
    add(&ctx, pieces, num);
    SHA256_Final(inner, &ctx);
    resume(&ctx, key->outer);
    SHA256_Update(&ctx, inner, sizeof(inner));
    SHA256_Final(out, &ctx);
    OPENSSL_cleanse(&ctx, sizeof(ctx));
}
