/* What a tagged id says of where its object lives, per account of a model list: the fingerprint
 * that it carries, and which accounts are one place. Made once per configuration; never changed
 * afterwards. */
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
    uint32_t *first;       /* its first deployment, which stands for it; MODEL_NO_INDEX: none */
    uint32_t *fingerprint; /* what its tagged ids carry */
    uint32_t *twin;        /* the first one of the same Azure resource (two keys, one set of
                              objects), else itself */
    bool *grouped;         /* a row of a group is on it: clients reach it by the group's name */
    bool *balanced;        /* the balancer places work on it, so its ids are tagged */
    struct account_map_place *sorted; /* by fingerprint, then by account */
    uint32_t clash[2];                /* with ERR_DUPLICATE: the two accounts */
};

/** Make it; free with account_map_deinit(), also after a failure.
 *  @return 0; ERR_NOMEM; ERR_DUPLICATE: two places have one fingerprint by chance, so that no id
 * could tell them apart */
MUST_USE int account_map_init(struct account_map *map, const struct model_list *models,
                              bool balance_batches);
void account_map_deinit(struct account_map *map);

/** The account whose ids carry this fingerprint, of twins the first; MODEL_NO_INDEX: none. An id
 * from before model_list was rearranged may carry the fingerprint of a deployment instead: ask for
 * that next. */
uint32_t account_map_find(const struct account_map *map, uint32_t fingerprint);
