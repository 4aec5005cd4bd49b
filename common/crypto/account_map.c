/* See account_map.h. */
#include "crypto/account_map.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/ids.h"
#include "common/strbuf.h"

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

/* --- identities --- */

static bool is_text(const char *text)
{
    return text != NULL && *text != '\0';
}

/* Of the model_info.ids of each account's rows the least: the same however the rows are arranged.
 * @param ids  [num], all NULL at first */
static void find_row_ids(const struct model_list *models, const char **ids)
{
    for (size_t i = 0; i < models->num_deployments; i++) {
        const struct model_deployment *d = &models->deployments[i];
        const char **id = &ids[d->account];

        if (d->own_id && (*id == NULL || strcmp(d->id, *id) < 0))
            *id = d->id;
    }
}

/* What the operator calls an OpenAI account; "": nothing. The letters keep one kind of name from
 * being taken for another. Appends nothing for Azure. */
static void name_account(const struct model_account *a, const char *row_id, struct strbuf *name)
{
    if (a->provider != PROVIDER_OPENAI)
        return;
    if (is_text(a->organization))
        strbuf_addf(name, "o:%s\n", a->organization);
    if (is_text(a->project))
        strbuf_addf(name, "p:%s\n", a->project);
    else if (is_text(a->credential)) /* a project's name says all */
        strbuf_addf(name, "c:%s\n", a->credential);
    if (name->len == 0 && row_id != NULL)
        strbuf_addf(name, "i:%s\n", row_id);
}

static int set_fingerprint(struct account_map *map, uint32_t account, const char *row_id)
{
    const struct model_account *a = &map->models->accounts[account];
    struct strbuf name = STRBUF_INIT;
    int rc = 0;

    name_account(a, row_id, &name);
    map->address[account] = ids_deployment_fingerprint(provider_name(a->provider), a->base, "");
    map->fingerprint[account] =
        name.len == 0
            ? map->address[account]
            : ids_deployment_fingerprint(provider_name(a->provider), a->base, strbuf_str(&name));
    if (strbuf_failed(&name))
        rc = ERR_NOMEM;
    strbuf_deinit(&name);
    return rc;
}

static bool same_text(const char *a, const char *b)
{
    return is_text(a) && is_text(b) ? strcmp(a, b) == 0 : is_text(a) == is_text(b);
}

/* Whether two accounts with one fingerprint have one set of objects: keys of one Azure resource, or
 * of one OpenAI project. */
static bool one_place(const struct model_account *a, const struct model_account *b)
{
    if (a->provider == PROVIDER_AZURE)
        return true;
    return is_text(a->project) && same_text(a->project, b->project) &&
           same_text(a->organization, b->organization);
}

/* A number for an account that shares its fingerprint: of its name, which config made unique. */
static uint32_t own_key(const struct account_map *map, uint32_t account)
{
    const struct model_account *a = &map->models->accounts[account];

    return ids_deployment_fingerprint(provider_name(a->provider), a->base, a->name);
}

/* Accounts with one fingerprint. */
static void split_shared(struct account_map *map, const struct account_map_place *shared,
                         uint32_t num)
{
    for (uint32_t i = 1; i < num; i++) {
        uint32_t account = shared[i].account;

        if (one_place(&map->models->accounts[shared[0].account], &map->models->accounts[account]))
            map->same_resource[account] = shared[0].account;
        else
            map->key[account] = own_key(map, account);
    }
}

static int set_fingerprints(struct account_map *map)
{
    const char **ids = calloc(map->num + 1u, sizeof(*ids));
    int rc = ids == NULL ? ERR_NOMEM : 0;

    if (ids != NULL)
        find_row_ids(map->models, ids);
    for (uint32_t i = 0; i < map->num && rc == 0; i++) {
        rc = set_fingerprint(map, i, ids[i]);
        map->key[i] = map->fingerprint[i];
        map->same_resource[i] = i;
    }
    free(ids);
    return rc;
}

static int index_places(struct account_map *map)
{
    const struct account_map_place *sorted = map->sorted;
    int rc = set_fingerprints(map);

    if (rc != 0)
        return rc;
    sort(map);
    if ((rc = check(map, map->models)) != 0)
        return rc;
    for (uint32_t at = 0, next; at < map->num; at = next) {
        for (next = at + 1; next < map->num && sorted[next].fingerprint == sorted[at].fingerprint;
             next++)
            ;
        split_shared(map, sorted + at, next - at);
    }
    return 0;
}

/* --- life --- */

int account_map_init(struct account_map *map, const struct model_list *models, bool balance_batches)
{
    size_t num = models->num_accounts;
    int rc;

    memset(map, 0, sizeof(*map));
    map->models = models;
    map->first = calloc(num + 1, sizeof(*map->first));
    map->address = calloc(num + 1, sizeof(*map->address));
    map->key = calloc(num + 1, sizeof(*map->key));
    map->fingerprint = calloc(num + 1, sizeof(*map->fingerprint));
    map->same_resource = calloc(num + 1, sizeof(*map->same_resource));
    map->grouped = calloc(num + 1, sizeof(*map->grouped));
    map->balanced = calloc(num + 1, sizeof(*map->balanced));
    map->sorted = calloc(num + 1, sizeof(*map->sorted));
    if (map->first == NULL || map->address == NULL || map->key == NULL ||
        map->fingerprint == NULL || map->same_resource == NULL || map->grouped == NULL ||
        map->balanced == NULL || map->sorted == NULL)
        return ERR_NOMEM;
    map->num = (uint32_t)num;
    for (size_t i = 0; i < num; i++)
        map->first[i] = MODEL_NO_INDEX;
    for (size_t i = 0; i < models->num_deployments; i++) {
        uint32_t account = models->deployments[i].account;

        if (map->first[account] == MODEL_NO_INDEX)
            map->first[account] = (uint32_t)i;
    }
    if ((rc = index_places(map)) != 0)
        return rc;
    for (size_t i = 0; i < models->num_deployments; i++) {
        const struct model_deployment *d = &models->deployments[i];

        if (d->group != NULL)
            map->grouped[d->account] = map->grouped[map->same_resource[d->account]] = true;
    }
    if (balance_batches)
        memcpy(map->balanced, map->grouped, num * sizeof(*map->balanced));
    return 0;
}

void account_map_deinit(struct account_map *map)
{
    free(map->first);
    free(map->fingerprint);
    free(map->address);
    free(map->key);
    free(map->same_resource);
    free(map->grouped);
    free(map->balanced);
    free(map->sorted);
    memset(map, 0, sizeof(*map));
}

/* --- looking up --- */

/* Place of the first account with this fingerprint, or of where it would be. */
static uint32_t lower_bound(const struct account_map *map, uint32_t fingerprint)
{
    uint32_t low = 0, high = map->num;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (map->sorted[middle].fingerprint < fingerprint)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t account_map_find(const struct account_map *map, uint32_t fingerprint)
{
    uint32_t at = lower_bound(map, fingerprint);

    return at < map->num && map->sorted[at].fingerprint == fingerprint ? map->sorted[at].account
                                                                       : MODEL_NO_INDEX;
}

/* Whether ids of the account say no more than its address, so that they may be of others there. */
static bool is_unnamed(const struct account_map *map, uint32_t account)
{
    return map->models->accounts[account].provider == PROVIDER_OPENAI &&
           map->fingerprint[account] == map->address[account];
}

static bool has_neighbours(const struct account_map *map, uint32_t account)
{
    for (uint32_t i = 0; i < map->num; i++)
        if (i != account && map->address[i] == map->address[account])
            return true;
    return false;
}

uint32_t account_map_pinned(const struct account_map *map, uint32_t fingerprint)
{
    uint32_t at = lower_bound(map, fingerprint), account;

    if (at == map->num || map->sorted[at].fingerprint != fingerprint)
        return MODEL_NO_INDEX;
    account = map->sorted[at].account;
    for (uint32_t i = at + 1; i < map->num && map->sorted[i].fingerprint == fingerprint; i++)
        if (map->same_resource[map->sorted[i].account] != account)
            return MODEL_NO_INDEX;
    return is_unnamed(map, account) && has_neighbours(map, account) ? MODEL_NO_INDEX : account;
}

/* The account of the row with this fingerprint; MODEL_NO_INDEX: no row has it. */
static uint32_t account_of_row(const struct account_map *map, uint32_t fingerprint)
{
    for (size_t i = 0; i < map->models->num_deployments; i++)
        if (map->models->deployments[i].fingerprint == fingerprint)
            return map->models->deployments[i].account;
    return MODEL_NO_INDEX;
}

static bool is_address(const struct account_map *map, uint32_t fingerprint)
{
    for (uint32_t i = 0; i < map->num; i++)
        if (map->address[i] == fingerprint)
            return true;
    return false;
}

/* What a fingerprint says. */
struct meaning {
    uint32_t pinned;  /* the only account; MODEL_NO_INDEX: not one alone */
    uint32_t likely;  /* the first to be asked; MODEL_NO_INDEX: none */
    uint32_t address; /* accounts of OpenAI with this address may be meant, too; 0: any address */
};

static struct meaning read_fingerprint(const struct account_map *map, uint32_t fingerprint)
{
    struct meaning m = {account_map_pinned(map, fingerprint), account_map_find(map, fingerprint),
                        0};

    if (m.pinned != MODEL_NO_INDEX)
        return m;
    if (m.likely == MODEL_NO_INDEX)
        m.likely = account_of_row(map, fingerprint);
    if (m.likely != MODEL_NO_INDEX)
        m.address = map->address[m.likely];
    else if (is_address(map, fingerprint))
        m.address = fingerprint;
    return m;
}

static bool may_be(const struct account_map *map, const struct meaning *m, uint32_t account)
{
    if (m->pinned != MODEL_NO_INDEX)
        return map->same_resource[account] == m->pinned;
    if (m->likely != MODEL_NO_INDEX && map->same_resource[account] == map->same_resource[m->likely])
        return true;
    return map->models->accounts[account].provider == PROVIDER_OPENAI &&
           (m->address == 0 || m->address == map->address[account]);
}

bool account_map_may_mean(const struct account_map *map, uint32_t fingerprint, uint32_t account)
{
    struct meaning m;

    if (map->fingerprint[account] == fingerprint)
        return true;
    m = read_fingerprint(map, fingerprint);
    return may_be(map, &m, account);
}

uint32_t account_map_candidates(const struct account_map *map, uint32_t fingerprint, uint32_t *out,
                                bool *sure)
{
    struct meaning m = read_fingerprint(map, fingerprint);
    uint32_t num = 0, first = m.pinned != MODEL_NO_INDEX ? m.pinned : m.likely;

    *sure = first != MODEL_NO_INDEX || m.address != 0;
    if (first != MODEL_NO_INDEX)
        out[num++] = first = map->same_resource[first];
    for (uint32_t i = 0; i < map->num; i++)
        if (i != first && map->same_resource[i] == i && may_be(map, &m, i))
            out[num++] = i;
    return num;
}
