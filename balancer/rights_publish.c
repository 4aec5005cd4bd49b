/* The writer's side of rights.h: lists of keys become a copy that readers then turn to. Two
 * programs' generations may have a writer each for a moment: the copy that nobody reads is written
 * under a lock of the kernel's (fcntl(2)) on the region's file, which ends with its process. */
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "checksum.h"
#include "balancer/memo.h"
#include "crypto/ids.h"
#include "rights_region.h"

#define MAX_LIST_NAMES 0x3fffffff /* what a list's first word can say */

/* A list of models as it stands in the copy, so that equal ones are there once. */
struct known_list {
    uint64_t sum; /* 0: free */
    uint64_t at, words;
};

/* One rights_publish(). */
struct publisher {
    struct rights_table *table; /* borrowed */
    struct rights_copy *copy;   /* the one that is written */
    struct rights_facts facts;
    uint64_t num_teams;
    uint64_t num_rows;   /* of keys, and of teams as such */
    uint64_t lists_used; /* words */
    /* The rest is owned. Teams by id: number + 1 in `teams`, 0: free */
    uint32_t *team_slots;
    uint64_t team_mask;
    const struct rights_team **teams; /* by row; borrowed, each */
    uint64_t *team_owners;            /* by row */
    struct known_list *known;
    uint64_t known_mask;
    uint64_t *words; /* of the list that is made now */
    size_t num_words, room;
};

/* --- lists --- */

static int add_word(struct publisher *p, uint64_t word)
{
    if (p->num_words == p->room) {
        size_t room = p->room != 0 ? 2 * p->room : 64;
        uint64_t *more = realloc(p->words, room * sizeof(*more));

        if (more == NULL)
            return ERR_NOMEM;
        p->words = more;
        p->room = room;
    }
    p->words[p->num_words++] = word;
    return 0;
}

static int add_name(struct publisher *p, const char *name, bool may_be_pattern)
{
    size_t len = strlen(name);
    bool pattern = may_be_pattern && len > 0 && name[len - 1] == '*';
    int ret;

    if (len > RIGHTS_NAME_MAX)
        return ERR_LIMIT;
    len -= pattern;
    ret = add_word(p, len | (pattern ? NAME_PATTERN : 0));
    for (size_t i = 0; i < len && ret == 0; i += sizeof(uint64_t)) {
        uint64_t word = 0;

        memcpy(&word, name + i, len - i < sizeof(word) ? len - i : sizeof(word));
        ret = add_word(p, word);
    }
    return ret;
}

/* Put a list's words in p->words. */
static int make_list(struct publisher *p, const struct rights_models *models)
{
    uint64_t head = (models->all ? LIST_ALL : 0) | (models->of_team ? LIST_OF_TEAM : 0) |
                    (uint64_t)models->num_names << 2 | (uint64_t)models->num_aliases << 32;
    int ret;

    if (models->num_names > MAX_LIST_NAMES || models->num_aliases > UINT32_MAX)
        return ERR_LIMIT;
    p->num_words = 0;
    ret = add_word(p, head);
    for (size_t i = 0; i < models->num_names && ret == 0; i++)
        ret = add_name(p, models->names[i], true);
    for (size_t i = 0; i < models->num_aliases && ret == 0; i++) {
        ret = add_name(p, models->aliases[i].name, false);
        if (ret == 0)
            ret = add_name(p, models->aliases[i].target, false);
    }
    return ret;
}

static bool is_made(const struct publisher *p, const struct known_list *known, uint64_t sum)
{
    const _Atomic uint64_t *at = rights_lists(p->table, p->copy) + known->at;

    if (known->sum != sum || known->words != p->num_words)
        return false;
    for (size_t i = 0; i < p->num_words; i++)
        if (load_relaxed(&at[i]) != p->words[i])
            return false;
    return true;
}

/* Put what is in p->words into the copy, once. @param at  on 0: the word where it is */
static int place_words(struct publisher *p, uint32_t *at)
{
    uint64_t sum = 1, slot;

    for (size_t i = 0; i < p->num_words; i++)
        sum = checksum_add(sum, p->words[i]);
    sum = sum != 0 ? sum : 1;
    for (slot = sum & p->known_mask; p->known[slot].sum != 0; slot = (slot + 1) & p->known_mask)
        if (is_made(p, &p->known[slot], sum)) {
            *at = (uint32_t)p->known[slot].at;
            return 0;
        }
    if (p->num_words > p->table->list_words - p->lists_used)
        return ERR_LIMIT;
    *at = (uint32_t)p->lists_used;
    rights_write(rights_lists(p->table, p->copy) + *at, p->words, p->num_words * sizeof(uint64_t));
    p->lists_used += p->num_words;
    p->known[slot] = (struct known_list){.sum = sum, .at = *at, .words = p->num_words};
    return 0;
}

static int place_list(struct publisher *p, const struct rights_models *models, uint32_t *at)
{
    int ret = make_list(p, models);

    return ret == 0 ? place_words(p, at) : ret;
}

/* @param bytes  a multiple of eight */
static int place_bytes(struct publisher *p, const void *from, size_t bytes, uint32_t *at)
{
    int ret = 0;

    p->num_words = 0;
    for (size_t i = 0; i < bytes && ret == 0; i += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, (const char *)from + i, sizeof(word));
        ret = add_word(p, word);
    }
    return ret == 0 ? place_words(p, at) : ret;
}

/* --- teams --- */

/* @return the slot that has the team, or where it belongs */
static uint64_t team_slot(const struct publisher *p, const char *id)
{
    uint64_t slot = memo_key('t', 0, id, strlen(id)) & p->team_mask;

    while (p->team_slots[slot] != 0 && strcmp(p->teams[p->team_slots[slot] - 1]->id, id) != 0)
        slot = (slot + 1) & p->team_mask;
    return slot;
}

/* Owners' names stand in ids for ever: see rights.h. */
static uint64_t owner_of(const char *kind, const char *id)
{
    char name[8 + RIGHTS_NAME_MAX + 1];

    strcpy(name, kind);
    strncat(name, id, RIGHTS_NAME_MAX);
    return ids_owner_fingerprint(name);
}

static int add_team(struct publisher *p, const struct rights_team *team)
{
    uint64_t slot = team_slot(p, team->id);
    struct team_row row;
    uint32_t list;
    int ret;

    if (p->team_slots[slot] != 0)
        return 0; /* the first one wins */
    if (p->num_teams == p->table->max_keys || strlen(team->id) > RIGHTS_NAME_MAX)
        return ERR_LIMIT;
    memset(&row, 0, sizeof(row));
    row.limits = team->limits;
    row.blocked = team->blocked;
    ret = place_list(p, &team->models, &list);
    if (ret != 0)
        return ret;
    row.list = list;
    rights_write(rights_team_row(p->table, p->copy, p->num_teams), &row, sizeof(row));
    p->teams[p->num_teams] = team;
    p->team_owners[p->num_teams] = owner_of("team:", team->id);
    p->team_slots[slot] = (uint32_t)++p->num_teams;
    return 0;
}

/* --- keys --- */

/* As much of a name as there is room for, and no half character of UTF-8. */
static void cut(char *to, size_t room, const char *name)
{
    size_t len = name != NULL ? strlen(name) : 0;

    if (len >= room)
        for (len = room - 1; len > 0 && ((unsigned char)name[len] & 0xc0) == 0x80; len--)
            ;
    if (len > 0)
        memcpy(to, name, len);
}

static int set_team(struct publisher *p, const char *id, struct key_row *row)
{
    char name[RIGHTS_NAME] = "";

    row->team = NO_TEAM;
    cut(name, sizeof(name), id);
    if (id == NULL)
        return place_bytes(p, name, sizeof(name), &row->team_name);
    row->team = p->team_slots[team_slot(p, id)] - 1; /* 0 - 1: NO_TEAM */
    row->team_owner = row->team != NO_TEAM ? p->team_owners[row->team] : owner_of("team:", id);
    return place_bytes(p, name, sizeof(name), &row->team_name);
}

static int fill_row(struct publisher *p, const struct rights_key *key, struct key_row *row)
{
    int ret;

    memset(row, 0, sizeof(*row));
    if (strlen(key->id) > RIGHTS_NAME_MAX ||
        (key->team_id != NULL && strlen(key->team_id) > RIGHTS_NAME_MAX))
        return ERR_LIMIT; /* two would have one owner */
    memcpy(row->hash, key->hash, sizeof(row->hash));
    row->key = owner_of("key:", key->id);
    row->expires_unix_ms = key->expires_unix_ms;
    row->routes = key->routes;
    row->admin = key->admin;
    row->blocked = key->blocked;
    row->source = (uint8_t)key->source;
    memcpy(row->tail, key->tail, sizeof(row->tail));
    row->tail[RIGHTS_TAIL] = '\0';
    cut(row->alias, sizeof(row->alias), key->alias);
    ret = set_team(p, key->team_id, row);
    if (ret == 0)
        ret = place_bytes(p, &key->limits, sizeof(key->limits), &row->limits);
    return ret == 0 ? place_list(p, &key->models, &row->list) : ret;
}

/* @return whether the key is there; else `slot` is where it belongs */
static bool has_key(const struct publisher *p, const unsigned char *hash, uint64_t *slot)
{
    uint64_t first, found;
    struct key_row row;

    memcpy(&first, hash, sizeof(first));
    for (*slot = first & p->facts.mask;; *slot = (*slot + 1) & p->facts.mask) {
        found = load_relaxed(&p->copy->slots[*slot]);
        if (found == 0)
            return false;
        if (rights_mark(found) != rights_mark(first))
            continue;
        rights_read(&row, rights_key_row(p->table, p->copy, (found & UINT32_MAX) - 1),
                    sizeof(row.hash));
        if (memcmp(row.hash, hash, sizeof(row.hash)) == 0)
            return true;
    }
}

/* Where there is room. */
static int add_row(struct publisher *p, const struct rights_key *key, uint64_t slot)
{
    struct key_row row;
    uint64_t first;
    int ret = fill_row(p, key, &row);

    if (ret != 0)
        return ret;
    rights_write(rights_key_row(p->table, p->copy, p->num_rows), &row, sizeof(row));
    memcpy(&first, key->hash, sizeof(first));
    store_release_part(&p->copy->slots[slot], rights_mark(first) | ++p->num_rows);
    return 0;
}

static int add_key(struct publisher *p, const struct rights_key *key)
{
    uint64_t slot;
    int ret;

    if (has_key(p, key->hash, &slot))
        return 0; /* the first one wins */
    if (p->facts.num_keys == p->table->max_keys)
        return ERR_LIMIT;
    ret = add_row(p, key, slot);
    p->facts.num_keys += ret == 0;
    return ret;
}

/* --- teams, as who speaks for them finds them --- */

/* Nobody can tell which of two teams an alias means: it means none. */
static void block_row(struct publisher *p, uint64_t slot)
{
    uint64_t at = (load_relaxed(&p->copy->slots[slot]) & UINT32_MAX) - 1;
    _Atomic uint64_t *where = rights_key_row(p->table, p->copy, at);
    struct key_row row;

    rights_read(&row, where, sizeof(row));
    row.blocked = 1;
    rights_write(where, &row, sizeof(row));
}

/* A row that stands for a team: rights_find_team(). */
static int add_door(struct publisher *p, const struct rights_team *team, bool is_alias)
{
    char *name = is_alias ? team->alias : team->id;
    char id[sizeof("team:") + RIGHTS_NAME_MAX] = "team:";
    struct rights_key key = {.id = id,
                             .team_id = team->id,
                             .models = {.of_team = true},
                             .routes = RIGHTS_ALL_ROUTES,
                             .source = team->source};
    uint64_t slot;

    /* A key's name may have all the room there is: what is cut here counts with no limit */
    strncat(id, team->id, RIGHTS_NAME_MAX - strlen(id));
    rights_hash_team(name, strlen(name), is_alias, key.hash);
    rights_limits_init(&key.limits);
    if (!has_key(p, key.hash, &slot))
        return add_row(p, &key, slot);
    block_row(p, slot);
    return 0;
}

static int add_doors(struct publisher *p)
{
    int ret = 0;

    for (uint64_t i = 0; i < p->num_teams && ret == 0; i++) {
        ret = add_door(p, p->teams[i], false);
        if (ret == 0 && p->teams[i]->alias != NULL)
            ret = add_door(p, p->teams[i], true);
    }
    return ret;
}

/* --- the whole --- */

/* Slots for so many, twice as many as there are: a search for what is not there ends soon. */
static uint64_t slots_for(uint64_t num)
{
    return shm_buckets(2 * num + 2, 1);
}

static int allocate(struct publisher *p, uint64_t num_keys, uint64_t num_teams)
{
    p->team_mask = slots_for(num_teams) - 1;
    /* Of each key its models, limits and team; of each team its models and two doors' */
    p->known_mask = slots_for(3 * num_keys + 7 * num_teams + 1) - 1;
    p->team_slots = calloc(p->team_mask + 1, sizeof(*p->team_slots));
    p->teams = calloc(num_teams + 1, sizeof(*p->teams));
    p->team_owners = calloc(num_teams + 1, sizeof(*p->team_owners));
    p->known = calloc(p->known_mask + 1, sizeof(*p->known));
    return p->team_slots != NULL && p->teams != NULL && p->team_owners != NULL && p->known != NULL
               ? 0
               : ERR_NOMEM;
}

static void release(struct publisher *p)
{
    free(p->team_slots);
    free(p->teams);
    free(p->team_owners);
    free(p->known);
    free(p->words);
}

/* @return 0; ERR_LIMIT; ERR_NOMEM: the copy is not what it should be */
static int write_copy(struct publisher *p, const struct rights_list *const *lists, size_t num)
{
    int ret = 0;

    for (uint64_t i = 0; i <= p->facts.mask; i++)
        store_release_part(&p->copy->slots[i], 0);
    SHM_STEP();
    for (size_t n = 0; n < num; n++)
        for (size_t i = 0; i < lists[n]->num_teams && ret == 0; i++)
            ret = add_team(p, &lists[n]->teams[i]);
    SHM_STEP();
    for (size_t n = 0; n < num; n++)
        for (size_t i = 0; i < lists[n]->num_keys && ret == 0; i++) {
            ret = add_key(p, &lists[n]->keys[i]);
            SHM_STEP();
        }
    if (ret == 0)
        ret = add_doors(p);
    if (ret == 0)
        rights_write(p->copy->facts, &p->facts, sizeof(p->facts));
    return ret;
}

/* The lock is held. */
static int publish(struct publisher *p, const struct rights_list *const *lists, size_t num)
{
    uint64_t state = load_acquire(&p->table->word);
    struct rights_facts last = {0};
    int ret;

    if (state != 0)
        rights_read(&last, rights_copy_of(p->table, state)->facts, sizeof(last));
    if (last.writer > p->facts.writer)
        return ERR_BAD_STATE;
    p->copy = rights_copy_of(p->table, state + 1);
    ret = write_copy(p, lists, num);
    if (ret == 0)
        store_release(&p->table->word, state + 1);
    return ret;
}

static int set_lock(const struct rights_table *table, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};

    return fcntl(shm_fd(table), F_SETLK, &lock) == -1 ? ERR_BAD_STATE : 0;
}

int rights_publish(struct rights_table *table, uint32_t writer,
                   const struct rights_list *const *lists, size_t num_lists, bool complete)
{
    struct publisher p = {.table = table, .facts = {.writer = writer, .complete = complete}};
    uint64_t keys = 0, teams = 0;
    int ret;

    for (size_t i = 0; i < num_lists; i++) {
        keys += lists[i]->num_keys;
        teams += lists[i]->num_teams;
    }
    p.facts.mask = slots_for(keys + 2 * teams) - 1;
    if (p.facts.mask >= table->max_slots)
        p.facts.mask = table->max_slots - 1;
    ret = set_lock(table, F_WRLCK);
    if (ret != 0)
        return ret;
    ret = allocate(&p, keys, teams);
    if (ret == 0)
        ret = publish(&p, lists, num_lists);
    release(&p);
    (void)set_lock(table, F_UNLCK);
    return ret;
}

int rights_hand_back(struct rights_table *table, uint32_t writer)
{
    uint64_t state;

    if (set_lock(table, F_WRLCK) != 0)
        return ERR_BAD_STATE;
    state = load_acquire(&table->word);
    if (state != 0)
        store_release_part(&rights_copy_of(table, state)
                                ->facts[offsetof(struct rights_facts, writer) / sizeof(uint64_t)],
                           writer);
    (void)set_lock(table, F_UNLCK);
    return state != 0 ? 0 : ERR_NOT_FOUND;
}
