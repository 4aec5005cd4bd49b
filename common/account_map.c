/* See account_map.h. */
#include "common/account_map.h"

#include <stdlib.h>
#include <string.h>

#include "common/ids.h"

static int compare_places(const void *a, const void *b)
{
    const struct account_map_place *x = a, *y = b;

    if (x->fingerprint != y->fingerprint)
        return x->fingerprint < y->fingerprint ? -1 : 1;
    return x->account < y->account ? -1 : x->account > y->account;
}

static void sort(struct account_map *map)
{
    for (uint32_t i = 0; i < map->num; i++)
        map->sorted[i] = (struct account_map_place){map->fingerprint[i], i};
    qsort(map->sorted, map->num, sizeof(*map->sorted), compare_places);
}

/* Neighbours with one fingerprint must be at one address. */
static int check(struct account_map *map, const struct model_list *models)
{
    const struct account_map_place *sorted = map->sorted;

    for (uint32_t i = 1; i < map->num; i++) {
        const struct model_account *a = &models->accounts[sorted[i - 1].account];
        const struct model_account *b = &models->accounts[sorted[i].account];

        if (sorted[i - 1].fingerprint != sorted[i].fingerprint ||
            (a->provider == b->provider && strcmp(a->base, b->base) == 0))
            continue;
        map->clash[0] = sorted[i - 1].account;
        map->clash[1] = sorted[i].account;
        return ERR_DUPLICATE;
    }
    return 0;
}

/* Accounts of one address. At Azure they are one resource with several keys: one set of objects. At
 * OpenAI each key may be another project, so the address does not say whose an object is: their
 * tags carry the fingerprint of a row, which config made unique. */
static void split_address(struct account_map *map, const struct model_list *models,
                          const struct account_map_place *shared, uint32_t num)
{
    for (uint32_t i = 0; num > 1 && i < num; i++) {
        uint32_t account = shared[i].account;

        if (models->accounts[account].provider == PROVIDER_AZURE)
            map->twin[account] = shared[0].account;
        else if (map->first[account] != MODEL_NO_INDEX)
            map->fingerprint[account] = models->deployments[map->first[account]].fingerprint;
    }
}

static int index_addresses(struct account_map *map, const struct model_list *models)
{
    const struct account_map_place *sorted = map->sorted;
    int rc;

    for (uint32_t i = 0; i < map->num; i++) {
        const struct model_account *a = &models->accounts[i];

        map->fingerprint[i] = ids_deployment_fingerprint(provider_name(a->provider), a->base, "");
        map->twin[i] = i;
    }
    sort(map);
    if ((rc = check(map, models)) != 0)
        return rc;
    for (uint32_t at = 0, next; at < map->num; at = next) {
        for (next = at + 1; next < map->num && sorted[next].fingerprint == sorted[at].fingerprint;
             next++)
            ;
        split_address(map, models, sorted + at, next - at);
    }
    sort(map); /* rows may have taken the place of addresses */
    return check(map, models);
}

int account_map_init(struct account_map *map, const struct model_list *models, bool balance_batches)
{
    size_t num = models->num_accounts;
    int rc;

    memset(map, 0, sizeof(*map));
    map->first = calloc(num + 1, sizeof(*map->first));
    map->fingerprint = calloc(num + 1, sizeof(*map->fingerprint));
    map->twin = calloc(num + 1, sizeof(*map->twin));
    map->grouped = calloc(num + 1, sizeof(*map->grouped));
    map->balanced = calloc(num + 1, sizeof(*map->balanced));
    map->sorted = calloc(num + 1, sizeof(*map->sorted));
    if (map->first == NULL || map->fingerprint == NULL || map->twin == NULL ||
        map->grouped == NULL || map->balanced == NULL || map->sorted == NULL)
        return ERR_NOMEM;
    map->num = (uint32_t)num;
    for (size_t i = 0; i < num; i++)
        map->first[i] = MODEL_NO_INDEX;
    for (size_t i = 0; i < models->num_deployments; i++) {
        uint32_t account = models->deployments[i].account;

        if (map->first[account] == MODEL_NO_INDEX)
            map->first[account] = (uint32_t)i;
    }
    if ((rc = index_addresses(map, models)) != 0)
        return rc;
    for (size_t i = 0; i < models->num_deployments; i++) {
        const struct model_deployment *d = &models->deployments[i];

        if (d->group != NULL)
            map->grouped[d->account] = map->grouped[map->twin[d->account]] = true;
    }
    if (balance_batches)
        memcpy(map->balanced, map->grouped, num * sizeof(*map->balanced));
    return 0;
}

void account_map_deinit(struct account_map *map)
{
    free(map->first);
    free(map->fingerprint);
    free(map->twin);
    free(map->grouped);
    free(map->balanced);
    free(map->sorted);
    memset(map, 0, sizeof(*map));
}

uint32_t account_map_find(const struct account_map *map, uint32_t fingerprint)
{
    uint32_t low = 0, high = map->num;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (map->sorted[middle].fingerprint < fingerprint)
            low = middle + 1;
        else
            high = middle;
    }
    return low < map->num && map->sorted[low].fingerprint == fingerprint ? map->sorted[low].account
                                                                         : MODEL_NO_INDEX;
}
