/* See key_entry.h. */
#include "key_entry.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "common/secret.h"
#include "config/keys.h"
#include "crypto/sha256.h"
#include "headers.h"
#include "key_fields.h"
#include "key_routes.h"

#define HASH_PREFIX "sha256:"
#define HASH_DIGITS (2 * RIGHTS_HASH_BYTES)
#define MAX_ERRORS  100 /* of a file; nobody reads more */

static_assert(RIGHTS_HASH_BYTES == SHA256_BYTES, "a key's hash is a SHA-256");

/* --- texts --- */

static bool is_name(const char *text)
{
    size_t len = text == NULL ? 0 : strlen(text);

    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return len > 0 && len <= RIGHTS_NAME_MAX;
}

/* A name of an entry; missing or null: *out stays NULL. @return 0, ERR_NOMEM */
static int take_name(const struct key_reading *r, const struct node *entry, const char *field,
                     char **out)
{
    const struct node *node = node_get(entry, field);

    if (!key_fields_given(node))
        return 0;
    if (!is_name(node_text(node))) {
        report_wanted(r->reporter, node, "a text of 1 to 255 bytes without control characters");
        return 0;
    }
    *out = strdup(node->text);
    return *out != NULL ? 0 : ERR_NOMEM;
}

/* --- the key itself --- */

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hash(const char *text, unsigned char out[RIGHTS_HASH_BYTES])
{
    const char *hex = text + strlen(HASH_PREFIX);

    if (strncmp(text, HASH_PREFIX, strlen(HASH_PREFIX)) != 0 || strlen(hex) != HASH_DIGITS)
        return false;
    for (size_t i = 0; i < RIGHTS_HASH_BYTES; i++) {
        int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i] = (unsigned char)(high * 16 + low);
    }
    return true;
}

static char *write_hash(const unsigned char hash[RIGHTS_HASH_BYTES])
{
    char *text = malloc(HASH_DIGITS + 1);

    if (text != NULL)
        hex_write(hash, RIGHTS_HASH_BYTES, text);
    return text;
}

static void keep_tail(const char *text, char tail[RIGHTS_TAIL + 1])
{
    memcpy(tail, text + strlen(text) - RIGHTS_TAIL, RIGHTS_TAIL + 1);
}

static bool is_weak(const char *text)
{
    struct secret key = SECRET_NONE;
    bool weak = secret_set(&key, text, strlen(text)) == 0 && secret_is_weak(&key);

    secret_clear(&key);
    return weak;
}

static void take_plain(const struct key_reading *r, const struct node *node, struct rights_key *key)
{
    const char *text = node_text(node);
    const struct sha256_piece piece = {text, text == NULL ? 0 : strlen(text)};

    if (report_unset(r->reporter, CONFIG_ERROR, node))
        return;
    if (text == NULL || !keys_has_form(text)) {
        report_at(r->reporter, CONFIG_ERROR, node,
                  "got " SECRET_MASK ", wanted a key that begins with sk- and has 16 visible ASCII "
                  "characters or more");
        return;
    }
    if (node->variable == NULL)
        report_at(r->reporter, CONFIG_WARNING, node,
                  "the key stands here as it is: whoever reads the file has it. tranche keys hash "
                  "makes the entry without it");
    if (is_weak(text))
        report_at(r->reporter, CONFIG_WARNING, node,
                  "weak (few different characters, or one that is well known): it can be guessed");
    sha256_of(&piece, 1, key->hash);
    keep_tail(text, key->tail);
}

/* "sk-...abcd", as LiteLLM names a key where it may be seen. */
static void take_tail(const struct key_reading *r, const struct node *entry, struct rights_key *key)
{
    static const char beginning[] = "sk-...";
    const struct node *node = node_get(entry, "key_name");

    if (!key_fields_given(node))
        return;
    if (node_text(node) == NULL || strncmp(node->text, beginning, strlen(beginning)) != 0 ||
        strlen(node->text) != strlen(beginning) + RIGHTS_TAIL || !headers_is_visible(node->text))
        report_at(r->reporter, CONFIG_ERROR, node,
                  "wanted sk-... and the last four characters of the key");
    else if (key->tail[0] == '\0')
        keep_tail(node->text, key->tail);
}

static void take_hash(const struct key_reading *r, const struct node *entry, struct rights_key *key)
{
    const struct node *hash = node_get(entry, "hash"), *plain = node_get(entry, "key");

    if (key_fields_given(hash) == key_fields_given(plain)) {
        report_at(r->reporter, CONFIG_ERROR, entry,
                  "wanted either hash: sha256:... or key: os.environ/NAME");
        return;
    }
    if (key_fields_given(plain))
        take_plain(r, plain, key);
    else if (node_text(hash) == NULL || !read_hash(hash->text, key->hash))
        report_at(r->reporter, CONFIG_ERROR, hash,
                  "wanted sha256: and the 64 hexadecimal digits (lower case) of the key's SHA-256; "
                  "tranche keys hash makes them");
    take_tail(r, entry, key);
}

/* --- what the entry says of it --- */

static int take_models(const struct key_reading *r, const struct node *entry, bool team,
                       struct rights_models *out)
{
    const struct node *models = node_get(entry, "models");
    const struct node *aliases = node_get(entry, team ? "model_aliases" : "aliases");
    int rc = 0;

    if (key_fields_given(models))
        rc = key_names_take(&r->names, models, team, r->reporter, out);
    if (rc == 0 && key_fields_given(aliases))
        rc = key_names_take_aliases(&r->names, aliases, r->reporter, out);
    return rc;
}

/* An empty list is a mistake in a file: LiteLLM takes it for all models (tenants statement A17). */
static void check_models(const struct key_reading *r, const struct node *entry,
                         struct rights_key *key)
{
    const struct node *models = node_get(entry, "models");
    bool empty = !key_fields_given(models) || (models->kind == NODE_LIST && models->num_items == 0);

    if (key->admin && !key->models.all && !empty)
        report_at(r->reporter, CONFIG_ERROR, models,
                  "an admin key may use all models: leave it out");
    else if (!key->admin && empty)
        report_under(r->reporter, CONFIG_ERROR, entry, "models",
                     "missing: name the models that the key may use, or [\"*\"] for all");
    if (key->models.of_team && key->team_id == NULL)
        report_at(r->reporter, CONFIG_ERROR, models, "all-team-models, and the key has no team_id");
    key->models.all |= key->admin;
}

/* What an admin key makes is the operator's: nobody's share of anything at a provider. */
static void check_admin(const struct key_reading *r, const struct node *entry,
                        const struct rights_key *key)
{
    static const char *const names[] = {"batch_enqueued_token_limit", "max_open_batches",
                                        "max_budget"};
    const uint64_t given[] = {key->limits.enqueued_tokens, key->limits.open_batches,
                              key->limits.budget_nano};

    for (size_t i = 0; i < 3; i++)
        if (key->admin && given[i] != RIGHTS_UNLIMITED)
            report_under(
                r->reporter, CONFIG_ERROR, entry, names[i],
                "batches of an admin key are the operator's and not counted; leave it out");
    if (key->admin && key->team_id != NULL)
        report_under(r->reporter, CONFIG_WARNING, entry, "team_id",
                     "what an admin key makes is the operator's, not the team's");
}

static int read_key(const struct key_reading *r, const struct node *entry, struct rights_key *key)
{
    int rc = take_name(r, entry, "id", &key->id);

    key_fields_check(entry, false, r->config->journal, r->reporter);
    take_hash(r, entry, key);
    if (rc == 0)
        rc = take_name(r, entry, "key_alias", &key->alias);
    if (rc == 0)
        rc = take_name(r, entry, "team_id", &key->team_id);
    if (rc == 0)
        rc = take_name(r, entry, "user_id", &key->user_id);
    if (rc == 0)
        rc = take_models(r, entry, false, &key->models);
    if (rc != 0)
        return rc;
    key->admin = key_fields_truth(entry, "admin", r->reporter);
    key->blocked = key_fields_truth(entry, "blocked", r->reporter);
    key_routes_take(entry, r->reporter, &key->admin, &key->routes);
    check_models(r, entry, key);
    key_fields_limits(entry, r->reporter, &key->limits);
    check_admin(r, entry, key);
    key_fields_expires(entry, r->reporter, &key->expires_unix_ms);
    if (key->id == NULL)
        key->id = write_hash(key->hash);
    return key->id != NULL ? 0 : ERR_NOMEM;
}

/* --- what stands twice --- */

static int mark(struct key_reading *r, const struct node *entry, enum key_mark kind,
                const char *field, const void *text, size_t len)
{
    const struct key_place place = {entry->line, r->in_file};
    struct key_place first;
    int rc = key_marks_put(&r->marks, kind, text, len, place, &first);

    if (rc != ERR_DUPLICATE)
        return rc;
    report_under(r->reporter, CONFIG_ERROR, entry, field, "the same as in line %u%s", first.line,
                 r->in_file && !first.in_file ? " of the configuration" : "");
    return 0;
}

static int mark_text(struct key_reading *r, const struct node *entry, enum key_mark kind,
                     const char *field, const char *text)
{
    return text == NULL ? 0 : mark(r, entry, kind, field, text, strlen(text));
}

static int mark_key(struct key_reading *r, const struct node *entry, const struct rights_key *key)
{
    const char *field = node_get(entry, "key") != NULL ? "key" : "hash";
    size_t errors = r->reporter->num_errors;
    int rc = mark(r, entry, MARK_HASH, field, key->hash, sizeof(key->hash));

    /* Who has one key twice has its id twice as well, which says nothing more. */
    if (rc == 0 && r->reporter->num_errors == errors)
        rc = mark_text(r, entry, MARK_ID, "id", key->id);
    if (rc == 0)
        rc = mark_text(r, entry, MARK_ALIAS, "key_alias", key->alias);
    return rc;
}

static int mark_team(struct key_reading *r, const struct node *entry,
                     const struct rights_team *team)
{
    int rc = mark_text(r, entry, MARK_TEAM, "team_id", team->id);

    return rc != 0 ? rc : mark_text(r, entry, MARK_TEAM_ALIAS, "team_alias", team->alias);
}

int key_entry_mark_list(struct key_reading *r, const struct rights_list *list)
{
    struct node at = {.kind = NODE_MAP};
    int rc = 0;

    for (size_t i = 0; i < list->num_keys && rc == 0; i++) {
        at.line = list->keys[i].line;
        rc = mark_key(r, &at, &list->keys[i]);
    }
    for (size_t i = 0; i < list->num_teams && rc == 0; i++) {
        at.line = 0;
        rc = mark_team(r, &at, &list->teams[i]);
    }
    return rc;
}

static bool is_master_key(const struct key_reading *r, const struct rights_key *key)
{
    const struct secret *master = &r->config->master_key;
    unsigned char hash[SHA256_BYTES];

    sha256_of(&(struct sha256_piece){master->data, master->len}, 1, hash);
    return secret_is_set(master) && memcmp(hash, key->hash, sizeof(hash)) == 0;
}

/* --- lists --- */

/* Room doubles, so that a long list is not copied for each entry. */
static int room(void **list, size_t num, size_t *cap, size_t size)
{
    size_t more = *cap == 0 ? 16 : 2 * *cap;
    void *grown;

    if (num < *cap)
        return 0;
    grown = realloc(*list, more * size);
    if (grown == NULL)
        return ERR_NOMEM;
    *list = grown;
    *cap = more;
    return 0;
}

static int check_count(const struct key_reading *r, const struct node *entry, size_t num)
{
    if (r->reporter->num_errors >= MAX_ERRORS) {
        report_at(r->reporter, CONFIG_ERROR, entry, "too many faults before it; not read further");
        return ERR_LIMIT;
    }
    if (num < r->config->max_keys)
        return 0;
    report_at(r->reporter, CONFIG_ERROR, entry,
              "more than the %u that tranche_settings.max_keys has room for", r->config->max_keys);
    return ERR_LIMIT;
}

static bool check_map(const struct key_reading *r, const struct node *entry)
{
    if (entry->kind == NODE_MAP)
        return true;
    report_at(r->reporter, CONFIG_ERROR, entry, "wanted a mapping, with hash and models for a key");
    return false;
}

int key_entry_take_key(struct key_reading *r, const struct node *entry)
{
    struct rights_list *list = r->list;
    struct rights_key key = {.line = entry->line,
                             .source = r->in_file ? RIGHTS_OF_FILE : RIGHTS_OF_CONFIG};
    size_t errors = r->reporter->num_errors;
    void *keys = list->keys;
    int rc = check_count(r, entry, r->num_other_keys + list->num_keys);

    if (rc != 0 || !check_map(r, entry))
        return rc;
    rights_limits_init(&key.limits);
    rc = read_key(r, entry, &key);
    if (rc == 0 && r->reporter->num_errors == errors && is_master_key(r, &key))
        report_at(r->reporter, CONFIG_ERROR, entry, "this is the master key, which may do all");
    if (rc == 0 && r->reporter->num_errors == errors)
        rc = mark_key(r, entry, &key);
    if (rc == 0)
        rc = room(&keys, list->num_keys, &r->cap_keys, sizeof(key));
    list->keys = keys;
    if (rc == 0 && r->reporter->num_errors == errors)
        list->keys[list->num_keys++] = key;
    else
        rights_key_deinit(&key);
    return rc;
}

static int read_team(const struct key_reading *r, const struct node *entry,
                     struct rights_team *team)
{
    const struct node *models = node_get(entry, "models");
    int rc = take_name(r, entry, "team_id", &team->id);

    key_fields_check(entry, true, r->config->journal, r->reporter);
    if (!key_fields_given(node_get(entry, "team_id")))
        report_under(r->reporter, CONFIG_ERROR, entry, "team_id", "missing");
    if (rc == 0)
        rc = take_name(r, entry, "team_alias", &team->alias);
    if (rc == 0)
        rc = take_models(r, entry, true, &team->models);
    if (rc != 0)
        return rc;
    /* No list is all models, as in LiteLLM: what a key may is said at the key. */
    if (!key_fields_given(models) || (models->kind == NODE_LIST && models->num_items == 0))
        team->models.all = true;
    team->blocked = key_fields_truth(entry, "blocked", r->reporter);
    key_fields_limits(entry, r->reporter, &team->limits);
    return 0;
}

int key_entry_take_team(struct key_reading *r, const struct node *entry)
{
    struct rights_list *list = r->list;
    struct rights_team team = {.source = r->in_file ? RIGHTS_OF_FILE : RIGHTS_OF_CONFIG};
    size_t errors = r->reporter->num_errors;
    void *teams = list->teams;
    int rc = check_count(r, entry, r->num_other_teams + list->num_teams);

    if (rc != 0 || !check_map(r, entry))
        return rc;
    rights_limits_init(&team.limits);
    rc = read_team(r, entry, &team);
    if (rc == 0 && r->reporter->num_errors == errors)
        rc = mark_team(r, entry, &team);
    if (rc == 0)
        rc = room(&teams, list->num_teams, &r->cap_teams, sizeof(team));
    list->teams = teams;
    if (rc == 0 && r->reporter->num_errors == errors)
        list->teams[list->num_teams++] = team;
    else
        rights_team_deinit(&team);
    return rc;
}

void key_entry_check_teams(const struct key_reading *r, const char *file)
{
    for (size_t i = 0; i < r->list->num_keys; i++) {
        const struct rights_key *key = &r->list->keys[i];

        if (key->models.of_team &&
            !key_marks_has(&r->marks, MARK_TEAM, key->team_id, strlen(key->team_id)))
            report_add(r->reporter, CONFIG_WARNING, file, key->line, NULL,
                       "all-team-models, and no entry of teams has that team_id: until one does, "
                       "the key may use no model by it");
    }
}
