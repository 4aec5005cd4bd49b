/* The model table: one shared mapping, written once by the master, sealed, then only read.
 *
 *   struct table                      header: magic, layout, size, counts, offsets of all below
 *   struct table_deployment [n]       in the order of the model list
 *   struct group [n + a]              in the order in which their names first appear; those of rows
 *                                     that are not served are empty
 *   uint32_t members [n]              deployment indexes, group after group, in file order
 *   uint32_t wildcards [n + a]        group indexes of names with a `*`, most specific first
 *   struct name [n + g + a]           what clients may say: groups, ids of rows, aliases
 *   uint32_t name_slots [2^k]         open addressing by name: name index + 1; 0: empty
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

#include "common/names.h"
#include "common/shm_region.h"

#define TABLE_MAGIC  0x4c425454u /* "TTBL" */
#define TABLE_LAYOUT 4u

struct table {
    struct shm_head region;
    uint32_t generation;
    uint32_t num_deployments;
    uint32_t num_groups;
    uint32_t num_wildcards;
    uint32_t num_names;
    uint32_t name_mask; /* number of slots - 1 */
    uint32_t print_mask;
    uint32_t deployments; /* offsets */
    uint32_t groups;
    uint32_t members;
    uint32_t wildcards;
    uint32_t names;
    uint32_t name_slots;
    uint32_t print_slots;
    uint32_t strings;
};

struct group {
    uint32_t name;  /* string offset */
    uint32_t first; /* of its members */
    uint32_t num;   /* members */
};

struct name {
    uint32_t text; /* string offset */
    uint32_t len;
    uint32_t hash;
    uint32_t group; /* index of the group that answers to it; MODEL_NO_INDEX: none does */
    uint32_t row;   /* deployment index: the name is its id; MODEL_NO_INDEX: it is not */
};

static_assert(sizeof(struct table) == 80, "layout of the table's region");
static_assert(sizeof(struct group) == 12, "layout of the table's region");
static_assert(sizeof(struct name) == 20, "layout of the table's region");
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

static struct name *names_of(const struct table *t)
{
    return at(t, t->names);
}

static uint32_t find_name_slot(const struct table *t, const char *text, size_t len, uint32_t hash)
{
    const uint32_t *slots = at(t, t->name_slots);
    const struct name *names = names_of(t);
    uint32_t i = hash & t->name_mask;

    for (; slots[i] != 0; i = (i + 1) & t->name_mask) {
        const struct name *n = &names[slots[i] - 1];

        if (n->hash == hash && n->len == len && memcmp(table_str(t, n->text), text, len) == 0)
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

/* The entry of a name, a new one where there was none.
 * @param string  its offset when it is stored already; 0: it is not */
static struct name *add_name(struct builder *b, const char *text, uint32_t string)
{
    struct table *t = b->table;
    size_t len = strlen(text);
    uint32_t hash = hash_name(text, len);
    uint32_t *slot = (uint32_t *)at(t, t->name_slots) + find_name_slot(t, text, len, hash);

    if (*slot == 0) {
        names_of(t)[t->num_names] =
            (struct name){.text = string != 0 ? string : add_string(b, text),
                          .len = (uint32_t)len,
                          .hash = hash,
                          .group = MODEL_NO_INDEX,
                          .row = MODEL_NO_INDEX};
        *slot = ++t->num_names;
    }
    return &names_of(t)[*slot - 1];
}

static uint32_t add_group(struct builder *b, const char *text)
{
    struct name *name = add_name(b, text, 0);

    if (name->group == MODEL_NO_INDEX) {
        groups_of(b->table)[b->table->num_groups].name = name->text;
        name->group = b->table->num_groups++;
    }
    return name->group;
}

/* Ids behind groups, whose names win; then what rows that are not served are called; then aliases,
 * which go before all others in LiteLLM, too. */
static void add_names(struct builder *b, const struct model_list *list)
{
    for (size_t i = 0; i < list->num_deployments; i++) {
        const struct model_deployment *d = &list->deployments[i];
        struct name *name;

        if (d->id == NULL || *d->id == '\0')
            continue;
        name = add_name(b, d->id, deployments_of(b->table)[i].id);
        if (name->row == MODEL_NO_INDEX && d->group != NULL)
            name->row = (uint32_t)i;
    }
    for (size_t i = 0; i < list->num_names; i++)
        if (list->names[i].target == NULL)
            (void)add_group(b, list->names[i].name);
    for (size_t i = 0; i < list->num_names; i++)
        if (list->names[i].target != NULL) {
            struct name *target = add_name(b, list->names[i].target, 0);
            uint32_t group = target->group;

            add_name(b, list->names[i].name, 0)->group = group;
        }
}

static int add_deployment(struct builder *b, const struct model_list *list, uint32_t i)
{
    const struct model_deployment *from = &list->deployments[i];
    struct table_deployment *to = &deployments_of(b->table)[i];
    uint32_t *slot;

    to->fingerprint = from->fingerprint;
    to->group = from->group != NULL ? add_group(b, from->group) : MODEL_NO_INDEX;
    if (to->group != MODEL_NO_INDEX)
        groups_of(b->table)[to->group].num++;
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
    for (size_t i = 0; i < list->num_names; i++)
        bytes += string_bytes(list->names[i].name) + string_bytes(list->names[i].target);
    return bytes;
}

static uint32_t place(uint64_t *end, uint64_t bytes)
{
    uint64_t offset = *end;

    *end = (offset + bytes + 7) / 8 * 8;
    return (uint32_t)offset; /* checked as a whole by plan() */
}

/* Fill in the header for `n` deployments and `more` names. Groups are counted as if each deployment
 * had its own, and each of the names, too. */
static int plan(struct table *t, uint64_t n, uint64_t more, uint64_t strings)
{
    uint64_t end = 0, slots, names = 2 * n + 2 * more;

    if (n > UINT32_MAX / 1024 || more > UINT32_MAX / 1024)
        return ERR_NOMEM;
    slots = num_slots(n);
    place(&end, sizeof(*t));
    t->num_deployments = (uint32_t)n;
    t->print_mask = (uint32_t)slots - 1;
    t->name_mask = (uint32_t)num_slots(names) - 1;
    t->deployments = place(&end, n * sizeof(struct table_deployment));
    t->groups = place(&end, (n + more) * sizeof(struct group));
    t->members = place(&end, n * sizeof(uint32_t));
    t->wildcards = place(&end, (n + more) * sizeof(uint32_t));
    t->names = place(&end, names * sizeof(struct name));
    t->name_slots = place(&end, (t->name_mask + 1ull) * sizeof(uint32_t));
    t->print_slots = place(&end, slots * sizeof(uint32_t));
    t->strings = place(&end, strings);
    t->region = (struct shm_head){.magic = TABLE_MAGIC, .layout = TABLE_LAYOUT, .size = end};
    return end > UINT32_MAX ? ERR_NOMEM : 0;
}

int table_build(const struct model_list *list, uint32_t generation, struct table **out)
{
    struct table header = {.generation = generation};
    struct builder b = {.strings_used = 1};
    int err = plan(&header, list->num_deployments, list->num_names, all_string_bytes(list));

    if (err != 0)
        return err;
    b.table = shm_new(header.region.size);
    if (b.table == NULL)
        return ERR_NOMEM;
    *b.table = header;
    for (uint32_t i = 0; i < header.num_deployments; i++) {
        err = add_deployment(&b, list, i);
        if (err != 0)
            goto fail;
    }
    add_names(&b, list);
    fill_members(b.table);
    fill_wildcards(b.table);
    err = find_first_of_accounts(b.table);
    if (err != 0)
        goto fail;
    err = shm_seal(b.table, header.region.size);
    if (err != 0)
        goto fail;
    *out = b.table;
    return 0;

fail:
    shm_free(b.table, header.region.size);
    return err;
}

void table_free(struct table *table)
{
    shm_region_free(table);
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

bool table_find_name(const struct table *table, const char *text, size_t len,
                     struct table_name *out)
{
    const uint32_t *slots = at(table, table->name_slots);
    const uint32_t *wildcards = at(table, table->wildcards);
    uint32_t exact = slots[find_name_slot(table, text, len, hash_name(text, len))];
    const struct name *name = exact != 0 ? &names_of(table)[exact - 1] : NULL;

    *out = (struct table_name){MODEL_NO_INDEX, MODEL_NO_INDEX};
    if (name != NULL && name->group != MODEL_NO_INDEX) {
        out->group = name->group;
        return true;
    }
    if (name != NULL && name->row != MODEL_NO_INDEX) {
        out->row = name->row;
        out->group = table_deployment(table, name->row)->group;
        return true;
    }
    for (uint32_t i = 0; i < table->num_wildcards; i++) {
        if (!names_fit(table_group_name(table, wildcards[i]), text, len))
            continue;
        out->group = wildcards[i];
        return true;
    }
    return false;
}

uint32_t table_find_group(const struct table *table, const char *model, size_t len)
{
    struct table_name name;

    return table_find_name(table, model, len, &name) && table_is_served(table, name.group)
               ? name.group
               : MODEL_NO_INDEX;
}

bool table_is_served(const struct table *table, uint32_t group)
{
    assert(group < table->num_groups);
    return groups_of(table)[group].num > 0;
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
