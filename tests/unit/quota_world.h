/* A small ledger, for the tests of quota. Its sources are compiled into the test, which looks at
 * what is in its table, and which may define SHM_STEP() before. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/model.h"

#include <unistd.h>

#include "balancer/quota.c"
#include "balancer/quota_learn.c"
#include "balancer/quota_repair.c"
#include "balancer/quota_scopes.c"
#include "balancer/quota_table.c"

#define HOUR   3600000u
#define MINUTE 60000u
#define NOW    (1000u * (uint64_t)HOUR)
#define M      UINT64_C(1000000)
#define TOKEN  UINT64_C(0x123456789abcdef0)

static struct quota *q;

static void bind_column(uint32_t column, uint32_t fingerprint, uint64_t limit)
{
    quota_bind(q, column, &(struct quota_terms){.fingerprint = fingerprint, .limit = limit});
}

static int setup(void **state)
{
    (void)state;
    assert_int_equal(quota_new(4, 64, &q), 0);
    for (uint32_t c = 0; c < 4; c++)
        bind_column(c, 100 + c, 100);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    quota_free(q);
    q = NULL;
    return 0;
}

static inline struct quota_sum sum_at(uint32_t column, uint64_t now_ms)
{
    struct quota_sum sum;

    quota_read(q, column, now_ms, &sum);
    return sum;
}

static inline uint64_t reserved(uint32_t column)
{
    return sum_at(column, NOW).reserved;
}

static inline struct quota_claim must_reserve(uint32_t column, uint64_t tokens, uint64_t now_ms)
{
    struct quota_claim claim;

    assert_int_equal(quota_reserve(q, 1, column, tokens, 0, now_ms, &claim), 0);
    return claim;
}

static inline int try_reserve(uint32_t column, uint64_t tokens, uint64_t now_ms)
{
    struct quota_claim claim;

    return quota_reserve(q, 1, column, tokens, 0, now_ms, &claim);
}

static inline struct quota_claim must_send(uint32_t holder, uint64_t tokens, uint64_t token)
{
    struct quota_claim claim;

    assert_int_equal(quota_reserve(q, holder, 0, tokens, token, NOW, &claim), 0);
    assert_true(quota_sent(q, &claim));
    return claim;
}

static void commit(const struct quota_claim *claim, const char *id)
{
    assert_int_equal(quota_commit(q, claim, id, strlen(id)), 0);
}

static inline void must_live(uint32_t column, uint64_t tokens, const char *id, uint64_t now_ms)
{
    struct quota_claim claim = must_reserve(column, tokens, now_ms);

    commit(&claim, id);
}

static inline bool release(uint32_t column, const char *id, enum quota_end how, uint64_t now_ms)
{
    return quota_release(q, 1, column, id, strlen(id), how, now_ms);
}

static inline bool progress(uint32_t column, const char *id, uint64_t done, uint64_t total,
                            uint64_t now_ms)
{
    return quota_progress(q, column, id, strlen(id), done, total, now_ms);
}

static inline int adopt(uint32_t column, uint64_t token, const char *id, uint64_t tokens,
                        uint64_t now_ms)
{
    const struct quota_found found = {
        .id = id, .len = strlen(id), .token = token, .tokens = tokens};

    return quota_adopt(q, 2, column, &found, now_ms);
}

static inline unsigned num_in(enum quota_state state)
{
    unsigned n = 0;

    for (uint64_t i = 0; i < load_relaxed(&q->shared.high); i++)
        n += state_of(load_relaxed(&entry_at(q, i)->word)) == state;
    return n;
}
