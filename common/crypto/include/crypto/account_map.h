/* Per account of a model list: the fingerprint in signed ids, which accounts are the same resource,
 * and which fingerprints stand for several accounts. Made once per configuration; never changed
 * afterwards.
 *
 * An Azure account is its address. At OpenAI all accounts have one address, so the fingerprint is
 * made of what the operator calls the account: organization, project, credential_name, else the
 * model_info.id of a row. Never of its place in the file, and never of its key. Accounts without
 * any name share the fingerprint of their address; an id of theirs is looked for among them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/model.h"

struct account_map_place {
    uint32_t fingerprint, account;
};

/* Arrays of [num]; owned. */
struct account_map {
    uint32_t num;
    const struct model_list *models; /* borrowed */
    uint32_t *first;       /* its first deployment, which stands for it; MODEL_NO_INDEX: none */
    uint32_t *fingerprint; /* what its tagged ids carry; several may share one */
    uint32_t *address;     /* fingerprint of its address: what older ids may carry */
    /* The fingerprint where it is the only one that has it, else another number that no other
     * account of this list has: for telling accounts apart, not for ids. */
    uint32_t *key;
    /* The first one of the same place (two keys of an Azure resource or of an OpenAI project, one
     * set of objects), else itself. */
    uint32_t *same_resource;
    bool *grouped;  /* a row of a group is on it: clients reach it by the group's name */
    bool *balanced; /* the balancer places work on it, so its ids are tagged */
    struct account_map_place *sorted; /* by fingerprint, then by account */
    uint32_t clash[2];                /* with ERR_DUPLICATE: the two accounts */
};

/** Make it; free with account_map_deinit(), also after a failure.
 *  @param models  borrowed; has to outlive the map
 *  @return 0; ERR_NOMEM; ERR_DUPLICATE: two addresses have one fingerprint by chance, so that no id
 *          could tell them apart */
MUST_USE int account_map_init(struct account_map *map, const struct model_list *models,
                              bool balance_batches);
void account_map_deinit(struct account_map *map);

/** The account whose ids carry this fingerprint, of several the first; MODEL_NO_INDEX: none. */
uint32_t account_map_find(const struct account_map *map, uint32_t fingerprint);

/** Whether ids with this fingerprint can only be of that account (of those of one resource the
 * first).
 *  @return its index; MODEL_NO_INDEX: no account, or one of several: account_map_candidates() */
uint32_t account_map_pinned(const struct account_map *map, uint32_t fingerprint);

/** Whether an id with this fingerprint may be of that account, as account_map_candidates() says. */
bool account_map_may_mean(const struct account_map *map, uint32_t fingerprint, uint32_t account);

/** All accounts where the object of an id with this fingerprint may be, the likely ones first, one
 * of each place. More than one: the object has to be looked for among them before anything is
 * changed. An id from an older configuration may carry the fingerprint of a row or of an address
 * that several accounts have by now; one with a fingerprint that nothing has any more may be of any
 * OpenAI account, since rows that were renamed or removed gave their names to such ids.
 *  @param out   room for `map->num`
 *  @param sure  whether the fingerprint names them; false: it is unknown here
 *  @return how many; 0: none */
uint32_t account_map_candidates(const struct account_map *map, uint32_t fingerprint, uint32_t *out,
                                bool *sure);
