/* Keys and teams in a small ledger, for the tests of its scopes. */
#pragma once

#include "quota_world.h"

#define KEY_1  UINT64_C(0x1111111111111111)
#define KEY_2  UINT64_C(0x2222222222222222)
#define TEAM_1 UINT64_C(0xaaaaaaaaaaaaaaaa)
#define NONE   RIGHTS_UNLIMITED

/* Of a key, and of its team; 0: none of that kind. */
static inline struct quota_job job_of(uint64_t tokens, uint64_t token, uint64_t key,
                                      uint64_t key_limit, uint64_t team, uint64_t team_limit)
{
    return (struct quota_job){
        .tokens = tokens,
        .token = token,
        .scopes = {{key, key_limit, NONE}, {team, team_limit, NONE}},
    };
}

static struct quota_refusal refusal;

static inline int try_job(uint32_t holder, uint32_t column, const struct quota_job *job,
                          struct quota_claim *claim)
{
    return quota_reserve_job(q, holder, column, job, NOW, claim, &refusal);
}

static inline struct quota_claim must_take(uint32_t column, const struct quota_job *job)
{
    struct quota_claim claim;

    assert_int_equal(try_job(1, column, job, &claim), 0);
    return claim;
}

static inline void must_run(uint32_t column, const struct quota_job *job, const char *id)
{
    struct quota_claim claim = must_take(column, job);

    commit(&claim, id);
}

static inline struct quota_scope_sum scope_sum(uint64_t name)
{
    struct quota_scope_sum sum;

    (void)quota_read_scope(q, name, NOW, &sum);
    return sum;
}

static inline uint64_t in_scope(uint64_t name)
{
    return scope_sum(name).tokens;
}

static inline uint64_t batches_of(uint64_t name)
{
    return scope_sum(name).batches;
}

/* What the table has of a scope, whatever its row says. */
static inline struct quota_scope_sum table_scope(uint64_t name)
{
    struct quota_scope_sum sum = {0};

    for (uint64_t i = 0; i < load_relaxed(&q->shared.high); i++) {
        const struct reservation *r = entry_at(q, i);

        for (unsigned s = 0; s < QUOTA_SCOPES && is_counted(load_relaxed(&r->word)); s++) {
            uint32_t row = scope_row(load_relaxed(&r->scopes), s);

            if (row == 0 || load_relaxed(name_at(q, row - 1)) != name)
                continue;
            sum.tokens += load_relaxed(&r->tokens);
            sum.batches++;
        }
    }
    return sum;
}

static inline uint64_t table_column(uint32_t column)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < load_relaxed(&q->shared.high); i++) {
        const struct reservation *r = entry_at(q, i);

        if (is_counted(load_relaxed(&r->word)) && column_of(r) == column)
            sum += load_relaxed(&r->tokens);
    }
    return sum;
}

/* All rows' words are the table's sums. */
static inline void check_scopes_add_up(void)
{
    for (uint32_t row = 0; row < q->num_scopes; row++) {
        uint64_t name = load_relaxed(name_at(q, row));

        if (name == 0)
            continue;
        assert_true(in_scope(name) == table_scope(name).tokens);
        assert_true(batches_of(name) == table_scope(name).batches);
    }
}
