/* The model table: one shared mapping, written once by the master, sealed, then only read.
 *
 *   struct table                      header: magic, layout, size, counts, offsets of all below
 *   struct table_deployment [n]       in the order of the model list
 *   struct group [n]                  in the order in which their names first appear
 *   uint32_t members [n]              deployment indexes, group after group, in file order
 *   uint32_t wildcards [n]            group indexes of names with a `*`, most specific first
 *   uint32_t group_slots [2^k]        open addressing by name: group index + 1; 0: empty
 *   uint32_t print_slots [2^k]        the same by fingerprint: deployment index + 1; 0: empty
 *   char strings []                   NUL-terminated; offset 0 is ""
 *
 * Offsets count from the start of the region. Both hash tables are at most half full, so a lookup
 * looks at one or two slots whatever the number of deployments. Names are the operator's, so nobody
 * can choose them to collide. */
#include "balancer/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/shm.h"

#define TABLE_MAGIC  0x4c425454u /* "TTBL" */
#define TABLE_LAYOUT 4u

struct table {
    uint32_t magic;
    uint32_t layout; /* raise it with any change of the region */
    uint64_t size;   /* bytes, the whole region */
    uint32_t generation;
    uint32_t num_deployments;
    uint32_t num_groups;
    uint32_t num_wildcards;
    uint32_t group_mask; /* number of slots - 1 */
    uint32_t print_mask;
    uint32_t deployments; /* offsets */
    uint32_t groups;
    uint32_t members;
    uint32_t wildcards;
    uint32_t group_slots;
    uint32_t print_slots;
    uint32_t strings;
    uint32_t reserved;
};

struct group {
    uint32_t name; /* string offset */
    uint32_t name_len;
    uint32_t hash;
    uint32_t first; /* of its members */
    uint32_t num;   /* members */
};

static_assert(sizeof(struct table) == 72, "layout of the table's region");
static_assert(sizeof(struct group) == 20, "layout of the table's region");
static_assert(sizeof(struct table_deployment) == 88, "layout of the table's region");
static_assert(offsetof(struct table_deployment, weight) == 32, "layout of the table's region");

/* While it is being built: where the next string goes. */
struct builder {
    struct table *table;
    uint32_t strings_used;
};

static void *at(const struct table *t, uint32_t offset)
{
    return (char *)t + offset;
}

static struct table_deployment *deployments_of(const struct table *t)
{
    return at(t, t->deployments);
}

static struct group *groups_of(const struct table *t)
{
    return at(t, t->groups);
}

/* FNV-1a, 32 bits. */
static uint32_t hash_name(const char *name, size_t len)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)name[i]) * 16777619u;
    return hash;
}

/* Fingerprints are cut from SHA-256: their low bits are as good as any hash. */
static uint32_t hash_fingerprint(uint32_t fingerprint)
{
    return fingerprint;
}

/* Power of two, at least twice `n`. */
static uint64_t num_slots(uint64_t n)
{
    uint64_t slots = 4;

    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

static bool is_wildcard(const char *name)
{
    return strchr(name, '*') != NULL;
}

/* Whether `text` fits `pattern`, where `*` stands for any characters, or none. The last star takes
 * more when the rest does not fit, so that no input takes longer than the product of both lengths.
 */
bool table_name_fits(const char *pattern, const char *text, size_t len)
{
    const char *star = NULL;
    size_t i = 0, retry = 0;

    while (i < len) {
        if (*pattern == '*') {
            star = pattern++;
            retry = i;
        } else if (*pattern != '\0' && *pattern == text[i]) {
            pattern++;
            i++;
        } else if (star != NULL) {
            pattern = star + 1;
            i = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static uint32_t find_group_slot(const struct table *t, const char *name, size_t len, uint32_t hash)
{
    const uint32_t *slots = at(t, t->group_slots);
    const struct group *groups = groups_of(t);
    uint32_t i = hash & t->group_mask;

    for (; slots[i] != 0; i = (i + 1) & t->group_mask) {
        const struct group *g = &groups[slots[i] - 1];

        if (g->hash == hash && g->name_len == len && memcmp(table_str(t, g->name), name, len) == 0)
            break;
    }
    return i;
}

static uint32_t find_print_slot(const struct table *t, uint32_t fingerprint)
{
    const uint32_t *slots = at(t, t->print_slots);
    const struct table_deployment *deployments = deployments_of(t);
    uint32_t i = hash_fingerprint(fingerprint) & t->print_mask;

    while (slots[i] != 0 && deployments[slots[i] - 1].fingerprint != fingerprint)
        i = (i + 1) & t->print_mask;
    return i;
}

static uint32_t add_string(struct builder *b, const char *text)
{
    uint32_t offset = b->strings_used;
    size_t bytes;

    if (text == NULL || *text == '\0')
        return 0;
    bytes = strlen(text) + 1;
    memcpy((char *)at(b->table, b->table->strings) + offset, text, bytes);
    b->strings_used += (uint32_t)bytes;
    return offset;
}

static uint32_t add_group(struct builder *b, const char *name)
{
    struct table *t = b->table;
    size_t len = strlen(name);
    uint32_t hash = hash_name(name, len);
    uint32_t *slot = (uint32_t *)at(t, t->group_slots) + find_group_slot(t, name, len, hash);

    if (*slot == 0) {
        struct group *g = &groups_of(t)[t->num_groups];

        g->name = add_string(b, name);
        g->name_len = (uint32_t)len;
        g->hash = hash;
        *slot = ++t->num_groups;
    }
    groups_of(t)[*slot - 1].num++;
    return *slot - 1;
}

static int add_deployment(struct builder *b, const struct model_list *list, uint32_t i)
{
    const struct model_deployment *from = &list->deployments[i];
    struct table_deployment *to = &deployments_of(b->table)[i];
    uint32_t *slot;

    to->fingerprint = from->fingerprint;
    to->group = from->group != NULL ? add_group(b, from->group) : MODEL_NO_INDEX;
    to->account = from->account;
    to->provider = list->accounts[from->account].provider;
    to->id = add_string(b, from->id);
    to->upstream_model = add_string(b, from->upstream_model);
    to->litellm_model = add_string(b, from->litellm_model);
    to->batch = from->mode != NULL && strcmp(from->mode, "batch") == 0;
    to->weight = from->weight;
    to->rpm = from->rpm;
    to->tpm = from->tpm;
    to->order = from->order;
    to->timeout_ms = from->timeout_ms;
    to->cooldown_ms = from->cooldown_ms;
    to->max_retries = from->max_retries;
    to->real = from->real != 0 ? from->real : from->fingerprint;
    to->many = from->upstream_model != NULL && strchr(from->upstream_model, '*') != NULL;
    slot = (uint32_t *)at(b->table, b->table->print_slots) +
           find_print_slot(b->table, from->fingerprint);
    if (*slot != 0)
        return ERR_DUPLICATE;
    *slot = i + 1;
    return 0;
}

/* @param first_of  [accounts], MODEL_NO_INDEX where none was seen yet */
static void name_first(struct table_deployment *d, uint32_t i, uint32_t *first_of)
{
    if (first_of[d->account] == MODEL_NO_INDEX)
        first_of[d->account] = i;
    d->first = first_of[d->account];
}

static int find_first_of_accounts(struct table *t)
{
    struct table_deployment *deployments = deployments_of(t);
    size_t num = 0;
    uint32_t *first_of;

    for (uint32_t i = 0; i < t->num_deployments; i++)
        if (deployments[i].account >= num)
            num = (size_t)deployments[i].account + 1;
    first_of = malloc((num + 1) * sizeof(*first_of));
    if (first_of == NULL)
        return ERR_NOMEM;
    memset(first_of, 0xff, num * sizeof(*first_of)); /* MODEL_NO_INDEX */
    for (uint32_t i = 0; i < t->num_deployments; i++)
        name_first(&deployments[i], i, first_of);
    free(first_of);
    return 0;
}

/* A counting sort by group: stable, so members stay in file order. */
static void fill_members(struct table *t)
{
    const struct table_deployment *deployments = deployments_of(t);
    struct group *groups = groups_of(t);
    uint32_t *members = at(t, t->members);
    uint32_t first = 0;

    for (uint32_t i = 0; i < t->num_groups; i++) {
        groups[i].first = first;
        first += groups[i].num;
        groups[i].num = 0;
    }
    for (uint32_t i = 0; i < t->num_deployments; i++) {
        if (deployments[i].group != MODEL_NO_INDEX) {
            struct group *g = &groups[deployments[i].group];

            members[g->first + g->num++] = i;
        }
    }
}

static uint32_t literal_chars(const char *pattern)
{
    uint32_t n = 0;

    for (; *pattern != '\0'; pattern++)
        n += *pattern != '*';
    return n;
}

/* More literal characters win, as in LiteLLM's pattern router; equals stay in file order (an
 * insertion sort is stable). */
static void fill_wildcards(struct table *t)
{
    uint32_t *wildcards = at(t, t->wildcards);

    for (uint32_t g = 0; g < t->num_groups; g++) {
        const char *name = table_group_name(t, g);
        uint32_t i;

        if (!is_wildcard(name))
            continue;
        for (i = t->num_wildcards++; i > 0; i--) {
            if (literal_chars(table_group_name(t, wildcards[i - 1])) >= literal_chars(name))
                break;
            wildcards[i] = wildcards[i - 1];
        }
        wildcards[i] = g;
    }
}

static uint64_t string_bytes(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

static uint64_t all_string_bytes(const struct model_list *list)
{
    uint64_t bytes = 1; /* the "" at offset 0 */

    for (size_t i = 0; i < list->num_deployments; i++) {
        const struct model_deployment *d = &list->deployments[i];

        bytes += string_bytes(d->group) + string_bytes(d->id) + string_bytes(d->upstream_model) +
                 string_bytes(d->litellm_model);
    }
    return bytes;
}

static uint32_t place(uint64_t *end, uint64_t bytes)
{
    uint64_t offset = *end;

    *end = (offset + bytes + 7) / 8 * 8;
    return (uint32_t)offset; /* checked as a whole by plan() */
}

/* Fill in the header for `n` deployments. Groups are counted as if each deployment had its own. */
static int plan(struct table *t, uint64_t n, uint64_t strings)
{
    uint64_t end = 0, slots;

    if (n > UINT32_MAX / 1024)
        return ERR_NOMEM;
    slots = num_slots(n);
    place(&end, sizeof(*t));
    t->magic = TABLE_MAGIC;
    t->layout = TABLE_LAYOUT;
    t->num_deployments = (uint32_t)n;
    t->group_mask = t->print_mask = (uint32_t)slots - 1;
    t->deployments = place(&end, n * sizeof(struct table_deployment));
    t->groups = place(&end, n * sizeof(struct group));
    t->members = place(&end, n * sizeof(uint32_t));
    t->wildcards = place(&end, n * sizeof(uint32_t));
    t->group_slots = place(&end, slots * sizeof(uint32_t));
    t->print_slots = place(&end, slots * sizeof(uint32_t));
    t->strings = place(&end, strings);
    t->size = end;
    return end > UINT32_MAX ? ERR_NOMEM : 0;
}

int table_build(const struct model_list *list, uint32_t generation, struct table **out)
{
    struct table header = {.generation = generation};
    struct builder b = {.strings_used = 1};
    int err = plan(&header, list->num_deployments, all_string_bytes(list));

    if (err != 0)
        return err;
    b.table = shm_new(header.size);
    if (b.table == NULL)
        return ERR_NOMEM;
    *b.table = header;
    for (uint32_t i = 0; i < header.num_deployments; i++) {
        err = add_deployment(&b, list, i);
        if (err != 0)
            goto fail;
    }
    fill_members(b.table);
    fill_wildcards(b.table);
    err = find_first_of_accounts(b.table);
    if (err != 0)
        goto fail;
    err = shm_seal(b.table, header.size);
    if (err != 0)
        goto fail;
    *out = b.table;
    return 0;

fail:
    shm_free(b.table, header.size);
    return err;
}

void table_free(struct table *table)
{
    if (table != NULL)
        shm_free(table, table->size);
}

uint32_t table_generation(const struct table *table)
{
    return table->generation;
}

uint32_t table_num_deployments(const struct table *table)
{
    return table->num_deployments;
}

const struct table_deployment *table_deployment(const struct table *table, uint32_t i)
{
    assert(i < table->num_deployments);
    return &deployments_of(table)[i];
}

const char *table_str(const struct table *table, uint32_t offset)
{
    return (const char *)at(table, table->strings) + offset;
}

uint32_t table_num_groups(const struct table *table)
{
    return table->num_groups;
}

const char *table_group_name(const struct table *table, uint32_t group)
{
    assert(group < table->num_groups);
    return table_str(table, groups_of(table)[group].name);
}

uint32_t table_find_group(const struct table *table, const char *model, size_t len)
{
    const uint32_t *slots = at(table, table->group_slots);
    const uint32_t *wildcards = at(table, table->wildcards);
    uint32_t exact = slots[find_group_slot(table, model, len, hash_name(model, len))];

    if (exact != 0)
        return exact - 1;
    for (uint32_t i = 0; i < table->num_wildcards; i++) {
        if (table_name_fits(table_group_name(table, wildcards[i]), model, len))
            return wildcards[i];
    }
    return MODEL_NO_INDEX;
}

const uint32_t *table_group_members(const struct table *table, uint32_t group, uint32_t *num)
{
    const struct group *g = &groups_of(table)[group];

    assert(group < table->num_groups);
    *num = g->num;
    return (const uint32_t *)at(table, table->members) + g->first;
}

bool table_same_deployment(const struct table *table, uint32_t a, uint32_t b)
{
    return table_deployment(table, a)->real == table_deployment(table, b)->real;
}

uint32_t table_find_fingerprint(const struct table *table, uint32_t fingerprint)
{
    const uint32_t *slots = at(table, table->print_slots);
    uint32_t found = slots[find_print_slot(table, fingerprint)];

    return found != 0 ? found - 1 : MODEL_NO_INDEX;
}
