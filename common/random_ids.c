/* See random_ids.h. */
#include "common/random_ids.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "common/err.h"

#define STOCK_BYTES 1024

static unsigned char stock[STOCK_BYTES];
static size_t left; /* of the stock; its beginning */

/* What the parent drew is the parent's. */
static void forget_stock(void)
{
    OPENSSL_cleanse(stock, sizeof(stock));
    left = 0;
}

/* A stock that a child would share with its parent is none. */
static bool may_stock(void)
{
    static enum { UNKNOWN, YES, NO } may = UNKNOWN;

    if (may == UNKNOWN)
        may = pthread_atfork(NULL, NULL, forget_stock) == 0 ? YES : NO;
    return may == YES;
}

static int draw(unsigned char *out, size_t len)
{
    if (RAND_bytes(out, (int)len) == 1)
        return 0;
    memset(out, 0, len);
    return ERR_IO;
}

int random_ids(unsigned char *out, size_t len)
{
    int ret = 0;

    assert(len <= RANDOM_IDS_MOST);
    if (!may_stock())
        return draw(out, len);
    if (left < len) {
        ret = draw(stock, sizeof(stock));
        left = ret == 0 ? sizeof(stock) : 0;
    }
    if (ret != 0) {
        memset(out, 0, len);
        return ret;
    }
    left -= len;
    memcpy(out, stock + left, len);
    OPENSSL_cleanse(stock + left, len);
    return 0;
}
