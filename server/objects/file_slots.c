/* See file_slots.h. */
#include "objects/file_slots.h"

#include <assert.h>

#include "objects/facts.h"

/* The next deployment after `i` whose account is the same; MODEL_NO_INDEX: none. */
static uint32_t next_row(const struct runtime *rt, uint32_t account, uint32_t i)
{
    for (; i < table_num_deployments(rt->table); i++)
        if (rt->account_same_resource[table_deployment(rt->table, i)->account] == account)
            return i;
    return MODEL_NO_INDEX;
}

static uint32_t account_of(const struct runtime *rt, uint32_t deployment)
{
    assert(deployment < table_num_deployments(rt->table));
    return rt->account_same_resource[table_deployment(rt->table, deployment)->account];
}

void file_slots_add(const struct runtime *rt, uint32_t deployment, enum slots_kind kind, int change)
{
    uint32_t account = account_of(rt, deployment);

    for (uint32_t i = 0; (i = next_row(rt, account, i)) != MODEL_NO_INDEX; i++)
        slots_add(rt->inherited->slots, rt->inherited->columns[i], kind, change);
}

enum slots_kind file_slots_kind(const struct runtime *rt, uint32_t deployment, bool expires)
{
    bool azure = runtime_rules(rt, deployment) == PROVIDER_AZURE;

    return expires || (azure && rt->config->azure_file_expiry_s != 0) ? SLOTS_EXPIRING
                                                                      : SLOTS_LASTING;
}

bool file_slots_open(const struct runtime *rt, uint32_t deployment, enum slots_kind kind)
{
    const struct config_limits *limits = &rt->config->limits;
    enum provider provider = runtime_account(rt, deployment)->provider;
    uint64_t limit =
        kind == SLOTS_EXPIRING ? limits->max_expiring_files[provider] : limits->max_files[provider];

    return slots_open(rt->inherited->slots, rt->inherited->columns[deployment], kind, limit,
                      loop_now_ms(rt->loop));
}

void file_slots_deleted(struct runtime *rt, uint32_t deployment, const char *native)
{
    struct facts facts;

    if (!facts_recall(rt, deployment, native, &facts))
        return;
    facts_take_expected(rt, deployment, native, &facts);
    facts_forget(rt, deployment, native);
    if (facts.counted)
        file_slots_add(rt, deployment, facts.slot, -1);
}

void file_slots_refused(const struct runtime *rt, uint32_t deployment, enum slots_kind kind)
{
    uint32_t account = account_of(rt, deployment);

    for (uint32_t i = 0; (i = next_row(rt, account, i)) != MODEL_NO_INDEX; i++)
        slots_refused(rt->inherited->slots, rt->inherited->columns[i], kind, loop_now_ms(rt->loop));
}
