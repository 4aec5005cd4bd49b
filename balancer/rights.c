/* See rights.h: the table, and how it is read. rights_publish.c writes it. */
#include "balancer/rights.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "crypto/sha256.h"
#include "rights_region.h"

#define MAX_KEYS       (4u << 20)
#define NAMES_AT       4    /* words of a key's row */
#define LIST_WORDS     128  /* a key, on average: 1 KiB of names; equal lists are there once */
#define MIN_LIST_WORDS 8192 /* what a small table has */

/* What a table of that many keys begins with. */
static int fill_head(struct rights_table *head, uint32_t max_keys)
{
    uint64_t slots = shm_buckets(2 * RIGHTS_ROWS(max_keys), 1);

    if (max_keys == 0 || max_keys > MAX_KEYS)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->max_keys = max_keys;
    head->max_slots = slots;
    head->list_words = MIN_LIST_WORDS + UINT64_C(1) * LIST_WORDS * max_keys;
    head->keys = shm_round_up(sizeof(struct rights_copy) + slots * sizeof(uint64_t), CACHE_LINE);
    head->teams = head->keys + RIGHTS_ROWS(max_keys) * sizeof(struct key_row);
    head->lists = head->teams + max_keys * sizeof(struct team_row);
    head->copy_bytes = shm_round_up(head->lists + head->list_words * sizeof(uint64_t), CACHE_LINE);
    head->region = (struct shm_head){.magic = RIGHTS_MAGIC,
                                     .layout = RIGHTS_LAYOUT,
                                     .size = sizeof(*head) + 2 * head->copy_bytes};
    return 0;
}

int rights_table_new(uint32_t max_keys, struct rights_table **out)
{
    struct rights_table head;
    void *region;
    int ret = fill_head(&head, max_keys);

    if (ret == 0)
        ret = shm_region_open("tranche-rights", SHM_NEW, &head, sizeof(head), &region);
    if (ret != 0)
        return ret;
    if (shm_fd(region) == -1) { /* what rights_publish() locks */
        shm_region_free(region);
        return ERR_NOMEM;
    }
    *out = region;
    return 0;
}

void rights_table_free(struct rights_table *table)
{
    shm_region_free(table);
}

/* --- reading ---
 * Each question is asked of the copy that the word names, and again when the word has changed
 * meanwhile. Until then what was read may be of two states: no index in it is believed. */

static uint64_t begin(const struct rights_table *table)
{
    return load_acquire(&table->word);
}

static bool still(const struct rights_table *table, uint64_t state)
{
    return load_acquire(&table->word) == state;
}

static struct rights_facts facts_of(const struct rights_table *table, uint64_t state)
{
    struct rights_facts facts = {0};

    if (state != 0)
        rights_read(&facts, rights_copy_of(table, state)->facts, sizeof(facts));
    return facts;
}

static bool find_row(const struct rights_table *table, uint64_t state, const unsigned char *hash,
                     struct key_row *out)
{
    const struct rights_copy *copy = rights_copy_of(table, state);
    struct rights_facts facts = facts_of(table, state);
    uint64_t word;

    if (state == 0 || facts.mask >= table->max_slots)
        return false;
    memcpy(&word, hash, sizeof(word));
    for (uint64_t i = 0; i <= facts.mask; i++) {
        uint64_t slot = load_acquire_part(&copy->slots[(word + i) & facts.mask]);
        uint64_t row = (slot & UINT32_MAX) - 1;

        if (slot == 0)
            return false;
        if (rights_mark(slot) != rights_mark(word) || row >= RIGHTS_ROWS(table->max_keys))
            continue;
        SHM_STEP();
        rights_read(out, rights_key_row(table, copy, row), sizeof(*out));
        if (memcmp(out->hash, hash, RIGHTS_HASH_BYTES) == 0)
            return true;
    }
    return false;
}

/* @return false: it is of no team that is known */
static bool team_of(const struct rights_table *table, uint64_t state, const struct key_row *row,
                    struct team_row *out)
{
    SHM_STEP();
    if (row->team >= table->max_keys)
        return false;
    rights_read(out, rights_team_row(table, rights_copy_of(table, state), row->team), sizeof(*out));
    return true;
}

/* @param bytes  a multiple of eight; zeroes where the place is none */
static void read_words(const struct rights_table *table, uint64_t state, uint64_t at, void *to,
                       size_t bytes)
{
    if (at > table->list_words - bytes / sizeof(uint64_t))
        memset(to, 0, bytes);
    else
        rights_read(to, rights_lists(table, rights_copy_of(table, state)) + at, bytes);
}

/* All but what of it is the team's own. */
static void fill(const struct rights_table *table, uint64_t state, const struct key_row *row,
                 struct rights *out)
{
    memcpy(out->hash, row->hash, sizeof(out->hash));
    out->owner = row->team_owner != 0 ? row->team_owner : row->key;
    out->key = row->key;
    out->team = row->team_owner;
    read_words(table, state, row->limits, &out->key_limits, sizeof(out->key_limits));
    out->expires_unix_ms = row->expires_unix_ms;
    out->routes = row->routes;
    out->admin = row->admin != 0;
    out->key_blocked = row->blocked != 0;
    out->source = (enum rights_source)row->source;
    memcpy(out->tail, row->tail, sizeof(out->tail));
    memcpy(out->alias, row->alias, sizeof(row->alias));
    memset(out->alias + sizeof(row->alias), 0, sizeof(out->alias) - sizeof(row->alias));
    read_words(table, state, row->team_name, out->team_name, sizeof(out->team_name));
}

static void fill_team(const struct rights_table *table, uint64_t state, const struct key_row *row,
                      struct rights *out)
{
    struct team_row team;

    if (team_of(table, state, row, &team)) {
        out->team_limits = team.limits;
        out->team_blocked = team.blocked != 0;
    } else {
        rights_limits_init(&out->team_limits);
        out->team_blocked = false;
    }
}

bool rights_find(const struct rights_table *table, const unsigned char hash[RIGHTS_HASH_BYTES],
                 struct rights *out)
{
    for (;;) {
        uint64_t state = begin(table);
        struct key_row row;
        bool found = find_row(table, state, hash, &row);

        if (found) {
            fill(table, state, &row, out);
            fill_team(table, state, &row, out);
        }
        if (still(table, state))
            return found;
    }
}

void rights_hash_team(const char *name, size_t len, bool is_alias,
                      unsigned char out[RIGHTS_HASH_BYTES])
{
    const struct sha256_piece pieces[] = {{is_alias ? "alias" : "id", is_alias ? 6 : 3},
                                          {name, len}};

    static_assert(RIGHTS_HASH_BYTES == SHA256_BYTES, "a team is found as a key is");
    sha256_of(pieces, 2, out);
    for (size_t i = 0; i < RIGHTS_HASH_BYTES; i++)
        out[i] = (unsigned char)~out[i];
}

bool rights_find_team(const struct rights_table *table, const char *name, size_t len, bool is_alias,
                      struct rights *out)
{
    unsigned char hash[RIGHTS_HASH_BYTES];

    rights_hash_team(name, len, is_alias, hash);
    return rights_find(table, hash, out) && !out->key_blocked;
}

bool rights_is_complete(const struct rights_table *table)
{
    for (;;) {
        uint64_t state = begin(table);
        struct rights_facts facts = facts_of(table, state);

        if (still(table, state))
            return facts.complete != 0;
    }
}

uint64_t rights_generation(const struct rights_table *table)
{
    return load_acquire(&table->word);
}

uint32_t rights_num_keys(const struct rights_table *table)
{
    for (;;) {
        uint64_t state = begin(table);
        struct rights_facts facts = facts_of(table, state);

        if (still(table, state))
            return (uint32_t)facts.num_keys;
    }
}

bool rights_at(const struct rights_table *table, uint32_t i, struct rights *out)
{
    for (;;) {
        uint64_t state = begin(table);
        struct rights_facts facts = facts_of(table, state);
        bool found = state != 0 && i < facts.num_keys && i < table->max_keys;
        struct key_row row;

        if (found) {
            SHM_STEP();
            rights_read(&row, rights_key_row(table, rights_copy_of(table, state), i), sizeof(row));
            fill(table, state, &row, out);
            fill_team(table, state, &row, out);
        }
        if (still(table, state))
            return found;
    }
}

bool rights_names_at(const struct rights_table *table, uint32_t i, uint64_t *key, uint64_t *team)
{
    static_assert(offsetof(struct key_row, key) == NAMES_AT * sizeof(uint64_t) &&
                      offsetof(struct key_row, team_owner) == (NAMES_AT + 1) * sizeof(uint64_t),
                  "where the names are");
    for (;;) {
        uint64_t state = begin(table), names[2] = {0, 0};
        struct rights_facts facts = facts_of(table, state);
        bool found = state != 0 && i < facts.num_keys && i < table->max_keys;

        if (found)
            rights_read(names, rights_key_row(table, rights_copy_of(table, state), i) + NAMES_AT,
                        sizeof(names));
        if (!still(table, state))
            continue;
        *key = names[0];
        *team = names[1];
        return found;
    }
}

enum rights_verdict rights_judge(const struct rights *rights, int64_t now_unix_ms)
{
    if (rights->key_blocked)
        return RIGHTS_KEY_BLOCKED;
    if (rights->expires_unix_ms != 0 && now_unix_ms >= rights->expires_unix_ms)
        return RIGHTS_EXPIRED;
    return rights->team_blocked ? RIGHTS_TEAM_BLOCKED : RIGHTS_GOOD;
}

/* --- lists --- */

/* Where in the lists somebody reads; past their end: nothing but zeroes. */
struct cursor {
    const _Atomic uint64_t *words;
    uint64_t at, end;
};

static struct cursor cursor_at(const struct rights_table *table, uint64_t state, uint64_t list)
{
    return (struct cursor){.words = rights_lists(table, rights_copy_of(table, state)),
                           .at = list,
                           .end = table->list_words};
}

static bool at_end(const struct cursor *c)
{
    return c->at >= c->end;
}

static uint64_t next_word(struct cursor *c)
{
    return at_end(c) ? 0 : load_acquire_part(&c->words[c->at++]);
}

/* @return the name's first word; `text` has room for RIGHTS_NAME_MAX and the rest of a word */
static uint64_t next_name(struct cursor *c, char text[RIGHTS_NAME_MAX + 1])
{
    uint64_t head = next_word(c), len = NAME_LEN(head);

    if (len > RIGHTS_NAME_MAX) {
        c->at = c->end; /* torn */
        return 0;
    }
    for (uint64_t i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t word = next_word(c);

        memcpy(text + i, &word, sizeof(word));
    }
    text[len] = '\0';
    return head;
}

static void skip_name(struct cursor *c)
{
    char text[RIGHTS_NAME_MAX + 1];

    (void)next_name(c, text);
}

static bool is_meant(uint64_t head, const char *text, const char *model, size_t len)
{
    size_t have = NAME_LEN(head);

    return ((head & NAME_PATTERN) != 0 ? len >= have : len == have) &&
           memcmp(text, model, have) == 0;
}

/* Whether a list has a model. `of_team`: what a list is worth that sends to the team's. */
static bool allows(struct cursor c, const char *model, size_t len, bool of_team)
{
    uint64_t head = next_word(&c);
    char text[RIGHTS_NAME_MAX + 1];

    SHM_STEP();
    if ((head & LIST_ALL) != 0 || ((head & LIST_OF_TEAM) != 0 && of_team))
        return true;
    for (uint32_t i = 0; i < LIST_NAMES(head) && !at_end(&c); i++) {
        uint64_t name = next_name(&c, text);

        if (is_meant(name, text, model, len))
            return true;
    }
    return false;
}

static enum rights_model may_use(const struct rights_table *table, uint64_t state,
                                 const struct key_row *row, const char *model, size_t len)
{
    struct team_row team;
    bool has_team = team_of(table, state, row, &team);

    if (row->admin)
        return RIGHTS_MODEL_ALLOWED;
    if (!allows(cursor_at(table, state, row->list), model, len, has_team))
        return RIGHTS_MODEL_NOT_OF_KEY;
    if (has_team && !allows(cursor_at(table, state, team.list), model, len, false))
        return RIGHTS_MODEL_NOT_OF_TEAM;
    return RIGHTS_MODEL_ALLOWED;
}

enum rights_model rights_may_use(const struct rights_table *table, const struct rights *rights,
                                 const char *model, size_t len)
{
    for (;;) {
        uint64_t state = begin(table);
        enum rights_model verdict = RIGHTS_MODEL_NOT_OF_KEY;
        struct key_row row;

        if (find_row(table, state, rights->hash, &row))
            verdict = may_use(table, state, &row, model, len);
        if (still(table, state))
            return verdict;
    }
}

static bool find_alias(struct cursor c, const char *name, size_t len, char *out)
{
    uint64_t head = next_word(&c);
    char text[RIGHTS_NAME_MAX + 1];

    for (uint32_t i = 0; i < LIST_NAMES(head) && !at_end(&c); i++)
        skip_name(&c);
    for (uint32_t i = 0; i < LIST_ALIASES(head) && !at_end(&c); i++) {
        uint64_t alias = next_name(&c, text);

        if (NAME_LEN(alias) == len && memcmp(text, name, len) == 0) {
            (void)next_name(&c, out);
            return true;
        }
        skip_name(&c);
    }
    return false;
}

bool rights_resolve_alias(const struct rights_table *table, const struct rights *rights,
                          const char *name, size_t len, char *out)
{
    for (;;) {
        uint64_t state = begin(table);
        char target[RIGHTS_NAME_MAX + 1];
        struct team_row team;
        struct key_row row;
        bool found = false;

        if (find_row(table, state, rights->hash, &row))
            found = find_alias(cursor_at(table, state, row.list), name, len, target) ||
                    (team_of(table, state, &row, &team) &&
                     find_alias(cursor_at(table, state, team.list), name, len, target));
        if (!still(table, state))
            continue;
        if (found)
            strcpy(out, target);
        return found;
    }
}

/* Whether a key's list leaves its team's to say which. */
static bool sends_to_team(struct cursor c)
{
    return (next_word(&c) & (LIST_ALL | LIST_OF_TEAM)) != 0;
}

static bool lists_name(struct cursor c, const char *name, size_t len)
{
    uint64_t head = next_word(&c);
    char text[RIGHTS_NAME_MAX + 1];

    for (uint32_t i = 0; i < LIST_NAMES(head) && !at_end(&c); i++) {
        uint64_t one = next_name(&c, text);

        if ((one & NAME_PATTERN) == 0 && is_meant(one, text, name, len))
            return true;
    }
    return false;
}

/* The i-th name of a list, then of its aliases that are none of its names.
 * @param i  counted down by what is passed over */
static bool name_at(const struct cursor list, bool names_count, uint32_t *i, char *out)
{
    struct cursor c = list;
    uint64_t head = next_word(&c);
    uint32_t names = LIST_NAMES(head), all = names + LIST_ALIASES(head);

    for (uint32_t n = 0; n < all && !at_end(&c); n++) {
        uint64_t name = next_name(&c, out);

        if (n >= names)
            skip_name(&c); /* what the alias stands for */
        if (n < names ? !names_count : lists_name(list, out, NAME_LEN(name)))
            continue;
        if ((*i)-- > 0)
            continue;
        if ((name & NAME_PATTERN) != 0)
            out[0] = '\0';
        return true;
    }
    return false;
}

bool rights_name_at(const struct rights_table *table, const struct rights *rights, uint32_t i,
                    char *out)
{
    for (;;) {
        uint64_t state = begin(table);
        char name[RIGHTS_NAME_MAX + 1];
        struct team_row team;
        struct key_row row;
        struct cursor own;
        uint32_t at = i;
        bool found = false;

        if (find_row(table, state, rights->hash, &row)) {
            own = cursor_at(table, state, row.list);
            found = name_at(own, true, &at, name) ||
                    (team_of(table, state, &row, &team) &&
                     name_at(cursor_at(table, state, team.list), sends_to_team(own), &at, name));
        }
        if (!still(table, state))
            continue;
        if (found)
            strcpy(out, name);
        return found;
    }
}
