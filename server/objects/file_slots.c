/* See file_slots.h. */
#include "objects/file_slots.h"

#include "objects/facts.h"

/* The next deployment after `i` whose account is the same; MODEL_NO_INDEX: none. */
static uint32_t next_row(const struct worker *w, uint32_t account, uint32_t i)
{
    for (; i < table_num_deployments(w->table); i++)
        if (w->account_twin[table_deployment(w->table, i)->account] == account)
            return i;
    return MODEL_NO_INDEX;
}

static uint32_t account_of(const struct worker *w, uint32_t deployment)
{
    return w->account_twin[table_deployment(w->table, deployment)->account];
}

void file_slots_add(const struct worker *w, uint32_t deployment, enum slots_kind kind, int change)
{
    uint32_t account = account_of(w, deployment);

    for (uint32_t i = 0; (i = next_row(w, account, i)) != MODEL_NO_INDEX; i++)
        slots_add(w->inherit->slots, w->inherit->columns[i], kind, change);
}

bool file_slots_open(const struct worker *w, uint32_t deployment, enum slots_kind kind)
{
    const struct config_limits *limits = &w->config->limits;
    enum provider provider = worker_account(w, deployment)->provider;
    uint64_t limit =
        kind == SLOTS_EXPIRING ? limits->max_expiring_files[provider] : limits->max_files[provider];

    return slots_open(w->inherit->slots, w->inherit->columns[deployment], kind, limit,
                      loop_now_ms(w->loop));
}

void file_slots_deleted(struct worker *w, uint32_t deployment, const char *native)
{
    struct facts facts;

    if (!facts_recall(w, deployment, native, &facts))
        return;
    facts_redeem(w, deployment, native, &facts);
    facts_forget(w, deployment, native);
    if (facts.counted)
        file_slots_add(w, deployment, facts.slot, -1);
}

void file_slots_refused(const struct worker *w, uint32_t deployment, enum slots_kind kind)
{
    uint32_t account = account_of(w, deployment);

    for (uint32_t i = 0; (i = next_row(w, account, i)) != MODEL_NO_INDEX; i++)
        slots_refused(w->inherit->slots, w->inherit->columns[i], kind, loop_now_ms(w->loop));
}
