/* /key/...: what each route does with the database. A key's text is in the answer of the call that
 * made it, and nowhere else. */
#include <assert.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/hex.h"
#include "common/secret.h"
#include "crypto/sha256.h"
#include "manage_impl.h"
#include "store/litellm.h"

#define KEY_RANDOM 32 /* bytes of a key that we make (tenants statement A6) */
#define KEY_MIN    16 /* characters of one that is given */
#define KEY_SIZE   (3 + (KEY_RANDOM + 2) / 3 * 4 + 1)

/* --- names --- */

static void hash_of(const char *key, char hash[STORE_HASH_DIGITS + 1])
{
    struct sha256_piece piece = {key, strlen(key)};
    unsigned char bytes[SHA256_BYTES];

    sha256_of(&piece, 1, bytes);
    hex_write(bytes, sizeof(bytes), hash);
}

bool manage_hash(const char *name, char hash[STORE_HASH_DIGITS + 1])
{
    if (strncmp(name, "sk-", 3) == 0) {
        hash_of(name, hash);
        return true;
    }
    if (strlen(name) != STORE_HASH_DIGITS || strspn(name, "0123456789abcdef") != STORE_HASH_DIGITS)
        return false;
    memcpy(hash, name, STORE_HASH_DIGITS + 1);
    return true;
}

static bool has_hash(const struct rights_key *key, const char *hash)
{
    char digits[2 * RIGHTS_HASH_BYTES + 1];

    hex_write(key->hash, RIGHTS_HASH_BYTES, digits);
    return memcmp(digits, hash, 2 * RIGHTS_HASH_BYTES) == 0;
}

const struct rights_key *manage_file_key(const struct manage_job *job, const char *hash,
                                         const char **name)
{
    for (size_t f = 0; f < 2; f++) {
        const struct rights_list *file = job->manage->files[f];

        for (size_t i = 0; file != NULL && i < file->num_keys; i++) {
            if (!has_hash(&file->keys[i], hash))
                continue;
            *name = job->manage->file_names[f];
            return &file->keys[i];
        }
    }
    return NULL;
}

static int not_found(struct manage_job *job)
{
    manage_fail(job, 404, "not_found_error", "key", "Key not found in database");
    return 0;
}

/* @return false: answered; the key may not be changed here */
static bool is_ours(struct manage_job *job, const char *hash)
{
    const char *name;

    if (manage_file_key(job, hash, &name) == NULL)
        return true;
    manage_fail(job, 409, "invalid_request_error", "key",
                "This key stands in %s, and is changed there.", name);
    return false;
}

/* The key that a body, or its path, names, by its hash. @return false: answered */
static bool named_key(struct manage_job *job, char hash[STORE_HASH_DIGITS + 1])
{
    const char *name = job->segment != NULL ? job->segment : manage_required(job, "key");

    if (manage_is_refused(job))
        return false;
    if (!manage_hash(name, hash)) {
        (void)not_found(job);
        return false;
    }
    return is_ours(job, hash) && manage_has_store(job, "keys");
}

/* --- making one --- */

/* "sk-" and 43 characters of base64url. @return false: no randomness */
static bool make_key(char key[KEY_SIZE])
{
    unsigned char bytes[KEY_RANDOM];
    bool made = RAND_bytes(bytes, sizeof(bytes)) == 1;

    if (made) {
        memcpy(key, "sk-", 3);
        (void)EVP_EncodeBlock((unsigned char *)key + 3, bytes, sizeof(bytes));
        for (char *c = key + 3; *c != '\0'; c++)
            *c = (char)(*c == '+' ? '-' : *c == '/' ? '_' : *c == '=' ? '\0' : *c);
        assert(strlen(key) == 3 + (KEY_RANDOM * 4 + 2) / 3);
    }
    secret_wipe(bytes, sizeof(bytes));
    return made;
}

/* The text of a new key: what the body's `field` gives, else ours.
 * @return NULL: answered or a noted problem */
static const char *new_key(struct manage_job *job, const char *field, char made[KEY_SIZE])
{
    const char *given = manage_text(job, field);

    if (given != NULL && (strncmp(given, "sk-", 3) != 0 || strlen(given) < KEY_MIN)) {
        manage_problem(job, field, "value_error",
                       "a key starts with \"sk-\" and has %d characters or more", KEY_MIN);
        return NULL;
    }
    if (given != NULL)
        return given;
    if (make_key(made))
        return made;
    manage_fail(job, 500, "server_error", NULL, "The gateway has no random numbers.");
    return NULL;
}

/* "sk-...abcd": what may be shown of a key. Owned; NULL: out of memory. */
static char *shown_name(const char *key)
{
    struct strbuf text = STRBUF_INIT;

    assert(strlen(key) >= KEY_MIN); /* new_key() takes no shorter one */
    strbuf_addf(&text, "sk-...%s", key + strlen(key) - 4);
    return strbuf_take(&text);
}

static void fail_add(struct manage_job *job, int err, const struct store_key *key)
{
    if (err == ERR_DUPLICATE)
        manage_fail(job, 400, "bad_request_error", "key", "This key exists already.");
    else if (err == ERR_LIMIT)
        manage_fail(
            job, 400, "bad_request_error", "key_alias",
            "Key with alias '%.128s' already exists. Unique key aliases across all keys are "
            "required.",
            key->alias);
    else if (err == ERR_NOT_FOUND)
        manage_fail(job, 400, "bad_request_error", "team_id",
                    "Team '%.128s' does not exist in the database; make it with /team/new.",
                    key->team_id == NULL ? "" : key->team_id);
    else
        manage_fail_store(job, err);
}

/* A key as the database has it. @return false: answered */
static bool read_row(struct manage_job *job, const char *hash, struct store_key *key)
{
    int ret = store_key_get(job->manage->store, &(struct store_key_name){.hash = hash}, key);

    if (ret == ERR_NOT_FOUND)
        (void)not_found(job);
    else if (ret != 0)
        manage_fail_store(job, ret);
    return ret == 0;
}

/* Answer with a key as the database has it now, and its text. */
static int answer_made(struct manage_job *job, const char *hash, const char *text)
{
    struct store_key key;
    struct json *body;

    assert(!job->answered && strncmp(text, "sk-", 3) == 0);
    job->out->changed = true;
    if (!read_row(job, hash, &key))
        return 0;
    body = manage_show_key(job, &key, true);
    json_set_str(job->doc, body, "token_id", key.hash);
    json_set_str(job->doc, body, "key", text);
    manage_ok(job, body);
    store_key_deinit(&key);
    return 0;
}

/* @param key  filled but for its hash and name. Freed. */
static int add(struct manage_job *job, struct store_key *key)
{
    struct store_actor by = manage_actor(job);
    char made[KEY_SIZE] = "";
    const char *text = new_key(job, "key", made);
    int ret = 0;

    if (manage_is_refused(job) || text == NULL)
        goto done;
    hash_of(text, key->hash);
    key->name = shown_name(text);
    key->created_by = strdup(by.who);
    if (key->name == NULL || key->created_by == NULL)
        ret = ERR_NOMEM;
    else if (is_ours(job, key->hash) &&
             (ret = store_key_add(job->manage->store, key, &by, NULL)) == 0)
        ret = answer_made(job, key->hash, text);
    else if (ret != 0)
        fail_add(job, ret, key);
    if (ret != ERR_NOMEM)
        ret = 0;
done:
    secret_wipe(made, sizeof(made));
    store_key_deinit(key);
    return ret;
}

int manage_key_generate(struct manage_job *job)
{
    struct store_key key = {0};
    int ret;

    if (!manage_has_store(job, "keys"))
        return 0;
    ret = manage_take_key(job, &key);
    if (ret == 0 && !manage_is_refused(job))
        return add(job, &key);
    store_key_deinit(&key);
    return ret;
}

/* --- service accounts (tenants statement A20) --- */

/* Write `metadata` with the account's id: what it has, else the key's alias. */
static int set_service_account(struct manage_job *job, struct store_key *key, const char *id)
{
    struct json_error error;
    struct json *metadata =
        key->metadata == NULL ? NULL
                              : json_parse(job->doc, key->metadata, strlen(key->metadata), &error);
    struct strbuf text = STRBUF_INIT;
    char *written;

    if (!json_is(metadata, JSON_OBJECT))
        metadata = json_new_object(job->doc);
    if (id != NULL)
        json_set_str(job->doc, metadata, "service_account_id", id);
    else if (json_get_str(metadata, "service_account_id") == NULL)
        json_set_str(job->doc, metadata, "service_account_id", key->alias);
    json_write(metadata, &text);
    written = strbuf_take(&text);
    if (written == NULL)
        return ERR_NOMEM;
    free(key->metadata);
    key->metadata = written;
    return 0;
}

int manage_service_account(struct manage_job *job)
{
    struct store_key key = {0};
    int ret;

    if (!manage_has_store(job, "keys"))
        return 0;
    (void)manage_required(job, "team_id");
    ret = manage_take_key(job, &key);
    free(key.user_id); /* it is nobody's */
    key.user_id = NULL;
    if (ret == 0)
        ret = set_service_account(job, &key, NULL);
    if (ret == 0 && !manage_is_refused(job))
        return add(job, &key);
    store_key_deinit(&key);
    return ret;
}

/* The id of the service account that a key is; owned, NULL: it is none. */
static char *service_account_of(struct manage_job *job, const struct store_key *key)
{
    struct json_error error;
    const struct json *metadata =
        key->metadata == NULL ? NULL
                              : json_parse(job->doc, key->metadata, strlen(key->metadata), &error);
    const char *id = json_get_str(metadata, "service_account_id");

    return id == NULL ? NULL : strdup(id);
}

/* --- changing one --- */

static int answer_row(struct manage_job *job, const char *hash, const char *asked)
{
    struct store_key key;
    struct json *body;

    assert(!job->answered && strlen(hash) == STORE_HASH_DIGITS);
    job->out->changed = true;
    if (!read_row(job, hash, &key))
        return 0;
    body = manage_show_key(job, &key, true);
    if (asked != NULL)
        json_set_str(job->doc, body, "key", asked);
    manage_ok(job, body);
    store_key_deinit(&key);
    return 0;
}

/* Take the body's fields into a key that was read, and write it.
 * @return 0: written, or answered; ERR_NOMEM */
static int change(struct manage_job *job, struct store_key *key)
{
    struct store_actor by = manage_actor(job);
    char *account = service_account_of(job, key);
    int ret = manage_take_key(job, key);

    if (ret == 0 && account != NULL) /* stays what it is */
        ret = set_service_account(job, key, account);
    free(account);
    if (ret != 0 || manage_is_refused(job))
        return ret;
    ret = store_key_update(job->manage->store, key, &by, NULL);
    if (ret == ERR_NOMEM)
        return ret;
    if (ret != 0)
        fail_add(job, ret, key);
    return 0;
}

int manage_key_update(struct manage_job *job)
{
    char hash[STORE_HASH_DIGITS + 1];
    struct store_key key;
    int ret;

    if (!named_key(job, hash) || !read_row(job, hash, &key))
        return 0;
    ret = change(job, &key);
    store_key_deinit(&key);
    if (ret != 0 || job->answered)
        return ret;
    return answer_row(job, hash, json_get_str(job->body, "key"));
}

static int set_blocked(struct manage_job *job, bool blocked)
{
    struct store_actor by = manage_actor(job);
    char hash[STORE_HASH_DIGITS + 1];
    int ret;

    if (!named_key(job, hash))
        return 0;
    ret = store_key_block(job->manage->store, &(struct store_key_name){.hash = hash}, blocked, &by,
                          NULL);
    if (ret == ERR_NOT_FOUND)
        return not_found(job);
    if (ret == 0)
        return answer_row(job, hash, NULL);
    manage_fail_store(job, ret);
    return 0;
}

int manage_key_block(struct manage_job *job)
{
    return set_blocked(job, true);
}

int manage_key_unblock(struct manage_job *job)
{
    return set_blocked(job, false);
}

/* The end of the old key's grace; 0: at once. @return false: a noted problem */
static bool grace_end(struct manage_job *job, int64_t *until)
{
    const char *text = manage_text(job, "grace_period");
    int64_t ms;

    *until = 0;
    if (text == NULL)
        return true;
    if (manage_duration(text, &ms)) {
        *until = job->manage->now_unix_ms + ms;
        return true;
    }
    manage_problem(job, "grace_period", "value_error", "Input should be a duration: 30min, 24h");
    return false;
}

/* @param hash  of the key that is replaced */
static int regenerate(struct manage_job *job, const char *hash, const char *text, int64_t until)
{
    struct store_actor by = manage_actor(job);
    char new_hash[STORE_HASH_DIGITS + 1];
    char *name = shown_name(text);
    int ret;

    if (name == NULL)
        return ERR_NOMEM;
    hash_of(text, new_hash);
    ret = store_key_regenerate(job->manage->store, &(struct store_key_name){.hash = hash}, new_hash,
                               name, until, &by, NULL);
    free(name);
    if (ret == 0)
        return answer_made(job, new_hash, text);
    if (ret == ERR_NOT_FOUND)
        return not_found(job);
    if (ret == ERR_DUPLICATE)
        manage_fail(job, 400, "bad_request_error", "new_key", "This key exists already.");
    else
        manage_fail_store(job, ret);
    return 0;
}

int manage_key_regenerate(struct manage_job *job)
{
    char hash[STORE_HASH_DIGITS + 1], made[KEY_SIZE] = "";
    const char *text;
    int64_t until;
    int ret = 0;

    if (!named_key(job, hash))
        return 0;
    text = new_key(job, "new_key", made);
    if (grace_end(job, &until) && text != NULL && !manage_is_refused(job))
        ret = regenerate(job, hash, text, until);
    else
        (void)manage_is_refused(job);
    secret_wipe(made, sizeof(made));
    return ret;
}

/* --- deleting --- */

/* One of a list: by hash, or by alias. @param hash  written
 * @return false: answered */
static bool find_one(struct manage_job *job, const char *text, bool by_alias,
                     char hash[STORE_HASH_DIGITS + 1])
{
    struct store_key_name name = {.alias = by_alias ? text : NULL};
    struct store_key key;
    int ret;

    if (!by_alias && !manage_hash(text, hash)) {
        (void)not_found(job);
        return false;
    }
    if (!by_alias)
        name.hash = hash;
    if (!by_alias && !is_ours(job, hash))
        return false;
    ret = store_key_get(job->manage->store, &name, &key);
    if (ret == ERR_NOT_FOUND)
        (void)not_found(job);
    else if (ret != 0)
        manage_fail_store(job, ret);
    if (ret != 0)
        return false;
    memcpy(hash, key.hash, sizeof(key.hash));
    store_key_deinit(&key);
    return true;
}

/* All are looked for before the first one is deleted: a name that is wrong deletes nothing. */
static bool find_all(struct manage_job *job, const struct json *names, bool by_alias)
{
    char hash[STORE_HASH_DIGITS + 1];

    for (size_t i = 0; i < json_size(names); i++) {
        const char *text = json_str(json_at(names, i), NULL);

        if (text == NULL) {
            manage_problem(job, by_alias ? "key_aliases" : "keys", "string_type",
                           "Input should be a valid string");
            return !manage_is_refused(job);
        }
        if (!find_one(job, text, by_alias, hash))
            return false;
    }
    return true;
}

int manage_key_delete(struct manage_job *job)
{
    const struct json *keys = json_get(job->body, "keys"),
                      *aliases = json_get(job->body, "key_aliases");
    const struct json *names = json_is(keys, JSON_ARRAY) ? keys : aliases;
    struct store_actor by = manage_actor(job);
    struct json *deleted, *body;

    if (!json_is(names, JSON_ARRAY) || json_size(names) == 0)
        manage_problem(job, "keys", "missing", "give a list: `keys` or `key_aliases`");
    if (manage_is_refused(job) || !manage_has_store(job, "keys") ||
        !find_all(job, names, names == aliases))
        return 0;
    deleted = json_new_array(job->doc);
    for (size_t i = 0; i < json_size(names); i++) {
        char hash[STORE_HASH_DIGITS + 1];
        const char *text = json_str(json_at(names, i), NULL);
        int ret;

        if (!find_one(job, text, names == aliases, hash))
            return 0; /* twice in the list, or deleted meanwhile */
        ret =
            store_key_delete(job->manage->store, &(struct store_key_name){.hash = hash}, &by, NULL);
        if (ret != 0) {
            manage_fail_store(job, ret);
            return 0;
        }
        job->out->changed = true;
        json_append(job->doc, deleted, json_new_cstring(job->doc, text));
    }
    body = json_new_object(job->doc);
    json_set(job->doc, body, "deleted_keys", deleted);
    manage_ok(job, body);
    return 0;
}

/* --- reading --- */

static void answer_info(struct manage_job *job, const char *asked, struct json *info)
{
    struct json *body = json_new_object(job->doc);

    json_set_str(job->doc, body, "key", asked);
    json_set(job->doc, body, "info", info);
    manage_ok(job, body);
}

/* @return false: it is not there, or that is answered */
static bool row_is_read(struct manage_job *job, int rc)
{
    if (rc != 0 && rc != ERR_NOT_FOUND)
        manage_fail_store(job, rc);
    return rc == 0;
}

static bool read_own_row(struct manage_job *job, const char *hash, struct store_key *key)
{
    struct store_key_name name = {.hash = hash};

    return job->manage->store != NULL &&
           row_is_read(job, store_key_get(job->manage->store, &name, key));
}

static bool read_litellm_row(struct manage_job *job, const char *hash, struct store_key *key)
{
    return !job->answered && job->manage->litellm != NULL &&
           row_is_read(job, litellm_get(job->manage->litellm, hash, key));
}

int manage_key_info(struct manage_job *job)
{
    const char *asked = manage_query(job, "key"), *own = json_get_str(job->caller, "hash");
    const struct rights_key *of_file;
    const char *source;
    char hash[STORE_HASH_DIGITS + 1];
    struct store_key key;
    bool admin = false;

    (void)json_bool(json_get(job->caller, "admin"), &admin);
    if (asked == NULL)
        asked = own;
    if (asked == NULL || *asked == '\0') {
        manage_fail(job, 400, "bad_request_error", "key",
                    "Name the key: ?key=... The master key has no row.");
        return 0;
    }
    if (!manage_hash(asked, hash))
        return not_found(job);
    if (!admin && (own == NULL || strcmp(hash, own) != 0)) {
        manage_fail(job, 403, "auth_error", "key",
                    "You are not allowed to access this key's info.");
        return 0;
    }
    of_file = manage_file_key(job, hash, &source);
    if (of_file != NULL) {
        answer_info(job, asked, manage_show_file_key(job, of_file, source));
        return 0;
    }
    if (read_own_row(job, hash, &key) || read_litellm_row(job, hash, &key)) {
        answer_info(job, asked, manage_show_key(job, &key, false));
        store_key_deinit(&key);
        return 0;
    }
    return job->answered ? 0 : not_found(job);
}

static const struct {
    const char *name;
    enum store_order order;
} orders[] = {{"created_at", STORE_BY_CREATED}, {"updated_at", STORE_BY_UPDATED},
              {"expires", STORE_BY_EXPIRY},     {"key_alias", STORE_BY_ALIAS},
              {"team_id", STORE_BY_TEAM},       {"user_id", STORE_BY_USER},
              {"token", STORE_BY_HASH}};

static bool is_true(const char *text)
{
    return text != NULL &&
           (strcmp(text, "true") == 0 || strcmp(text, "True") == 0 || strcmp(text, "1") == 0);
}

/* The words of a list's query. Notes problems. */
static void read_words(struct manage_job *job, struct store_key_filter *filter)
{
    const char *expiry = manage_query(job, "expires"), *status = manage_query(job, "status"),
               *sort = manage_query(job, "sort_by"), *order = manage_query(job, "sort_order");
    bool known = sort == NULL;

    if (expiry != NULL && strcmp(expiry, "expired") == 0)
        filter->expiry = STORE_EXPIRED;
    else if (expiry != NULL && strcmp(expiry, "active") == 0)
        filter->expiry = STORE_NOT_EXPIRED;
    else if (expiry != NULL)
        manage_problem(job, "expires", "enum", "Input should be 'expired' or 'active'");
    filter->deleted = status != NULL && strcmp(status, "deleted") == 0;
    if (status != NULL && !filter->deleted)
        manage_problem(job, "status", "enum", "Input should be 'deleted'");
    for (size_t i = 0; sort != NULL && i < sizeof(orders) / sizeof(orders[0]); i++) {
        if (strcmp(sort, orders[i].name) != 0)
            continue;
        filter->order = orders[i].order;
        known = true;
    }
    if (!known)
        manage_problem(job, "sort_by", "enum",
                       "Input should be 'created_at', 'updated_at', 'expires', 'key_alias', "
                       "'team_id', 'user_id' or 'token'");
    filter->descending = order == NULL || strcmp(order, "asc") != 0;
    if (order != NULL && filter->descending && strcmp(order, "desc") != 0)
        manage_problem(job, "sort_order", "enum", "Input should be 'asc' or 'desc'");
}

/* @return false: answered */
static bool read_filter(struct manage_job *job, char hash[STORE_HASH_DIGITS + 1],
                        struct store_key_filter *filter)
{
    const char *name = manage_query(job, "key_hash");
    int64_t page = manage_query_int(job, "page", 1), size = manage_query_int(job, "size", 10);

    *filter =
        (struct store_key_filter){.alias = manage_query(job, "key_alias"),
                                  .team_id = manage_query(job, "team_id"),
                                  .user_id = manage_query(job, "user_id"),
                                  .organization_id = manage_query(job, "organization_id"),
                                  .substring = is_true(manage_query(job, "substring_matching")),
                                  .now_unix_ms = job->manage->now_unix_ms};
    read_words(job, filter);
    if (page == 0 || page > INT32_MAX)
        manage_problem(job, "page", "greater_than_equal", "Input should be 1 or more");
    if (size == 0 || size > 100)
        manage_problem(job, "size", "less_than_equal", "Input should be 1 to 100");
    filter->page = (uint32_t)page;
    filter->size = (uint32_t)size;
    if (name != NULL && manage_hash(name, hash))
        filter->hash = hash;
    else if (name != NULL)
        manage_problem(job, "key_hash", "value_error", "Input should be a key's hash");
    return !manage_is_refused(job);
}

int manage_key_list(struct manage_job *job)
{
    bool full = is_true(manage_query(job, "return_full_object"));
    char hash[STORE_HASH_DIGITS + 1];
    struct store_key_filter filter;
    struct store_key_page page;
    struct json *body, *keys;
    int ret;

    if (!manage_has_store(job, "keys") || !read_filter(job, hash, &filter))
        return 0;
    ret = store_key_list(job->manage->store, &filter, &page);
    if (ret != 0) {
        manage_fail_store(job, ret);
        return 0;
    }
    body = json_new_object(job->doc);
    keys = json_new_array(job->doc);
    for (size_t i = 0; i < page.num_keys; i++)
        json_append(job->doc, keys,
                    full ? manage_show_key(job, &page.keys[i], true)
                         : json_new_cstring(job->doc, page.keys[i].hash));
    json_set(job->doc, body, "keys", keys);
    json_set_int(job->doc, body, "total_count", (int64_t)page.total);
    json_set_int(job->doc, body, "current_page", filter.page);
    json_set_int(job->doc, body, "total_pages",
                 (int64_t)((page.total + filter.size - 1) / filter.size));
    manage_ok(job, body);
    store_key_page_deinit(&page);
    return 0;
}
