/* /webhooks...: endpoints that are told when batches end (webhook statements D26 and D27). A tenant
 * sees and changes its own, administrators all. A secret is in the answer that makes it, and in no
 * other. */
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/ids.h"
#include "common/hex.h"
#include "crypto/vault.h"
#include "manage_impl.h"
#include "store/store_hooks.h"
#include "webhook/hook_sign.h"
#include "webhook/hook_url.h"

#define OLD_SECRET_MS ((int64_t)24 * 3600 * 1000)
#define LIST_PAGE     20
#define LIST_MOST     100
#define WHAT_BYTES    (STORE_HOOK_ID + 32)

/* ---- who asks ---- */

static bool is_admin(const struct manage_job *job)
{
    bool admin = false;

    return json_bool(json_get(job->caller, "admin"), &admin) && admin;
}

/* @return false: answered */
static bool may_begin(struct manage_job *job, struct store_hook_owner *whom)
{
    const char *owner = json_get_str(job->caller, "owner");

    *whom = (struct store_hook_owner){.all = is_admin(job)};
    if (owner != NULL)
        whom->owner = strtoull(owner, NULL, 16);
    if (job->manage->hooks == NULL || job->manage->store == NULL)
        manage_fail(job, 400, "no_db_connection", NULL,
                    "No journal is configured here (tranche_settings.database and journal), which "
                    "webhooks need to know when a batch ends.");
    else if (job->manage->hooks->vault->num == 0)
        manage_fail(job, 400, "invalid_request_error", NULL,
                    "Secrets of webhooks cannot be kept: set tranche_settings.seal_keys or a "
                    "master key.");
    else if (!whom->all && whom->owner == 0)
        manage_fail(job, 403, "auth_error", NULL, "This key has no webhooks of its own.");
    return !job->answered;
}

static int not_found(struct manage_job *job, const char *what, const char *id)
{
    manage_fail(job, 404, "not_found_error", NULL, "No such %s: %.64s.", what, id);
    return 0;
}

/* What the store said. @return 0: it is answered */
static int fail(struct manage_job *job, int err, const char *id)
{
    if (err == ERR_NOT_FOUND)
        return not_found(job, "webhook", id);
    if (err == ERR_LIMIT)
        manage_fail(job, 400, "bad_request_error", NULL,
                    "There are %d webhooks already, and no more can be made.", STORE_HOOKS_EACH);
    else
        manage_fail_store(job, err);
    return 0;
}

/* @return false: answered */
static bool read_hook(struct manage_job *job, struct store_hook_owner *whom, struct store_hook *out)
{
    int ret;

    memset(out, 0, sizeof(*out));
    if (!may_begin(job, whom))
        return false;
    ret = store_hook_get(job->manage->store, job->segment, whom, out);
    if (ret != 0)
        (void)fail(job, ret, job->segment);
    return ret == 0;
}

/* @return false: answered */
static bool is_of_api(struct manage_job *job, const struct store_hook *hook)
{
    if (!hook->from_config)
        return true;
    manage_fail(job, 409, "invalid_request_error", NULL,
                "This webhook stands in tranche_settings.webhooks, and is changed there.");
    return false;
}

/* ---- what is answered ---- */

static void add_time(struct manage_job *job, struct json *out, const char *name, int64_t unix_ms)
{
    json_set(job->doc, out, name,
             unix_ms != 0 ? json_new_int(job->doc, unix_ms / 1000) : json_new_null(job->doc));
}

static struct json *show_types(struct manage_job *job, unsigned types)
{
    struct json *list = json_new_array(job->doc);

    for (unsigned i = 0; i < HOOK_TYPES; i++)
        if ((types & (1u << i)) != 0)
            json_append(job->doc, list,
                        json_new_cstring(job->doc, hook_type_name((enum hook_type)i)));
    return list;
}

/* Of one of the configuration no more of the URL than where it leads: its path may be a secret that
 * is the operator's. */
static struct json *show(struct manage_job *job, const struct store_hook *hook)
{
    struct json *out = json_new_object(job->doc);
    size_t len = hook->from_config ? (size_t)hook_url_shown(hook->url) : strlen(hook->url);

    json_set_str(job->doc, out, "id", hook->id);
    json_set_str(job->doc, out, "object", "webhook_endpoint");
    json_set(job->doc, out, "url", json_new_string(job->doc, hook->url, len));
    json_set(job->doc, out, "events", show_types(job, hook->types));
    json_set(job->doc, out, "owner", json_new_cstring(job->doc, hook->owner_name));
    json_set_str(job->doc, out, "source", hook->from_config ? "config" : "api");
    json_set(job->doc, out, "enabled", json_new_bool(job->doc, hook->enabled));
    json_set(job->doc, out, "disabled_reason", json_new_cstring(job->doc, hook->off_why));
    add_time(job, out, "created_at", hook->created_ms);
    add_time(job, out, "last_success_at", hook->last_ok_ms);
    add_time(job, out, "failing_since", hook->failing_since_ms);
    add_time(job, out, "old_secret_until",
             hook->old_until_ms > job->manage->now_unix_ms ? hook->old_until_ms : 0);
    return out;
}

/* Answer with the row as it is now, and the secret when it was made just now. */
static int answer(struct manage_job *job, const char *id, const char *secret)
{
    static const struct store_hook_owner everybody = {.all = true};
    struct store_hook hook;
    struct json *out;
    int ret = store_hook_get(job->manage->store, id, &everybody, &hook);

    if (ret != 0)
        return fail(job, ret, id);
    out = show(job, &hook);
    if (secret != NULL)
        json_set_str(job->doc, out, "secret", secret);
    manage_ok(job, out);
    store_hook_deinit(&hook);
    return 0;
}

/* ---- the body ---- */

static void check_fields(struct manage_job *job, const char *const *known)
{
    for (size_t i = 0; i < json_size(job->body); i++) {
        const char *name = json_key_at(job->body, i, NULL);
        size_t k = 0;

        while (known[k] != NULL && strcmp(known[k], name) != 0)
            k++;
        if (known[k] == NULL)
            manage_problem(job, name, "extra_forbidden", "Extra inputs are not permitted");
    }
}

static void check_url(struct manage_job *job, const char *url)
{
    const struct manage_hooks *hooks = job->manage->hooks;
    unsigned char address[HOOK_ADDRESS_BYTES];
    const char *fault = hook_url_fault(url, hooks->allow_http);

    if (fault != NULL)
        manage_problem(job, "url", "value_error", "This URL cannot be told of events: %s", fault);
    else if (hook_url_address(url, address) &&
             !hook_address_may(address, hooks->ranges, hooks->num_ranges))
        manage_problem(job, "url", "value_error",
                       "Its address is not of the public internet (%s), and no range of "
                       "tranche_settings.webhook_allow_addresses has it",
                       hook_address_fault(address));
}

/* @return types; 0: a problem was noted */
static unsigned read_types(struct manage_job *job, unsigned otherwise)
{
    const struct json *list = json_get(job->body, "events");
    unsigned types = 0;
    enum hook_type type;

    if (list == NULL || json_type(list) == JSON_NULL)
        return otherwise;
    for (size_t i = 0; i < json_size(list); i++) {
        const char *name = json_is(list, JSON_ARRAY) ? json_str(json_at(list, i), NULL) : NULL;

        if (name == NULL || !hook_type_of(name, &type)) {
            types = 0;
            break;
        }
        types |= 1u << type;
    }
    if (types == 0)
        manage_problem(job, "events", "value_error",
                       "Input should be a list of batch.completed, batch.failed, batch.expired, "
                       "batch.cancelled");
    return types;
}

/* The secret of the body, else one that is made here. @return false: answered, or noted */
static bool read_secret(struct manage_job *job, char made[HOOK_NEW_SECRET + 1], const char **out)
{
    const char *given = manage_text(job, "secret"), *fault;

    *out = given;
    if (given == NULL) {
        *out = made;
        if (hook_secret_new(made) == 0)
            return true;
        manage_fail(job, 500, "server_error", NULL, "There is no randomness to make a secret of.");
        return false;
    }
    fault = hook_secret_fault(given);
    if (fault != NULL)
        manage_problem(job, "secret", "value_error", "This secret cannot sign: %s", fault);
    return fault == NULL;
}

/* Of an administrator: whose batches it is told of; without it, all. A tenant's is its own. */
static void read_owner(struct manage_job *job, struct store_hook *out)
{
    const char *name = manage_text(job, "owner");

    if (name == NULL)
        return;
    if (!is_admin(job))
        manage_problem(job, "owner", "value_error", "Only an administrator's key may give it");
    else if (strcmp(name, "master") != 0 && strncmp(name, "team:", 5) != 0 &&
             strncmp(name, "key:", 4) != 0)
        manage_problem(job, "owner", "value_error",
                       "Input should be team:<team_id>, key:<a key's id> or master");
    else
        out->of = (struct store_hook_owner){
            .owner = strcmp(name, "master") == 0 ? 0 : ids_owner_fingerprint(name)};
    out->owner_name = (char *)(uintptr_t)name;
}

/* Seal a secret for a row. @return the sealed text, to be freed; NULL: answered */
static char *seal(struct manage_job *job, const char *id, const char *secret)
{
    struct strbuf out = STRBUF_INIT;
    char what[WHAT_BYTES];

    snprintf(what, sizeof(what), "webhook secret of %s", id);
    if (vault_seal(job->manage->hooks->vault, what, secret, strlen(secret), &out) == 0)
        return strbuf_take(&out);
    strbuf_deinit(&out);
    manage_fail(job, 500, "server_error", NULL, "The secret could not be encrypted.");
    return NULL;
}

static int new_id(char out[STORE_HOOK_ID + 1])
{
    unsigned char bytes[(STORE_HOOK_ID - 3) / 2];
    char *at = stpcpy(out, "wh_");

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return ERR_IO;
    hex_write(bytes, sizeof(bytes), at);
    return 0;
}

/* ---- the routes ---- */

static int add(struct manage_job *job, const struct store_hook *hook, const char *secret)
{
    struct store_actor by = manage_actor(job);
    struct store_hook row = *hook; /* borrows all of it */
    char id[STORE_HOOK_ID + 1];
    int ret;

    if (new_id(id) != 0) {
        manage_fail(job, 500, "server_error", NULL, "There is no randomness to make an id of.");
        return 0;
    }
    row.id = id;
    row.created_by = (char *)(uintptr_t)by.who;
    row.secret = seal(job, id, secret);
    if (row.secret == NULL)
        return 0;
    ret = store_hook_add(job->manage->store, &row, &by);
    free(row.secret);
    return ret != 0 ? fail(job, ret, id) : answer(job, id, secret);
}

int manage_hook_create(struct manage_job *job)
{
    static const char *const known[] = {"url", "events", "secret", "owner", NULL};
    struct store_hook hook = {.enabled = true};
    char made[HOOK_NEW_SECRET + 1];
    const char *secret = NULL, *url;
    int ret = 0;

    if (!may_begin(job, &hook.of))
        return 0;
    check_fields(job, known);
    url = manage_required(job, "url");
    if (url != NULL)
        check_url(job, url);
    hook.url = (char *)(uintptr_t)url;
    hook.types = read_types(job, HOOK_ALL_TYPES);
    read_owner(job, &hook);
    if (read_secret(job, made, &secret) && !manage_is_refused(job))
        ret = add(job, &hook, secret);
    else if (!job->answered)
        (void)manage_is_refused(job);
    OPENSSL_cleanse(made, sizeof(made));
    return ret;
}

/* @return the size of a page; 0: a problem was noted */
static size_t page_size(struct manage_job *job)
{
    int64_t limit = manage_query_int(job, "limit", LIST_PAGE);

    if (limit >= 1 && limit <= LIST_MOST)
        return (size_t)limit;
    if (limit != -1)
        manage_problem(job, "limit", "value_error", "Input should be from 1 to %d", LIST_MOST);
    return 0;
}

static void answer_list(struct manage_job *job, struct json *data, bool more)
{
    struct json *out = json_new_object(job->doc);

    json_set_str(job->doc, out, "object", "list");
    json_set(job->doc, out, "data", data);
    json_set(job->doc, out, "has_more", json_new_bool(job->doc, more));
    manage_ok(job, out);
}

int manage_hook_list(struct manage_job *job)
{
    size_t max = page_size(job);
    struct store_hook_owner whom;
    struct store_hook_list list;
    struct json *data;
    int ret;

    if (manage_is_refused(job) || !may_begin(job, &whom))
        return 0;
    ret = store_hook_list(job->manage->store, &whom, manage_query(job, "after"), max + 1, &list);
    if (ret != 0)
        return fail(job, ret, "");
    data = json_new_array(job->doc);
    for (size_t i = 0; i < list.num && i < max; i++)
        json_append(job->doc, data, show(job, &list.hooks[i]));
    answer_list(job, data, list.num > max);
    store_hook_list_deinit(&list);
    return 0;
}

int manage_hook_get(struct manage_job *job)
{
    struct store_hook_owner whom;
    struct store_hook hook;

    if (!read_hook(job, &whom, &hook))
        return 0;
    manage_ok(job, show(job, &hook));
    store_hook_deinit(&hook);
    return 0;
}

/* @return whether something may be written; else it is answered */
static bool take_changes(struct manage_job *job, struct store_hook *next)
{
    static const char *const known[] = {"url", "events", "enabled", NULL};
    const struct json *enabled = json_get(job->body, "enabled");
    const char *url;

    check_fields(job, known);
    url = manage_text(job, "url");
    if (enabled != NULL && !json_bool(enabled, &next->enabled))
        manage_problem(job, "enabled", "bool_type", "Input should be a valid boolean");
    if (url != NULL) {
        check_url(job, url);
        next->url = (char *)(uintptr_t)url;
    }
    next->types = read_types(job, next->types);
    if (manage_is_refused(job))
        return false;
    return (url == NULL && json_get(job->body, "events") == NULL) || is_of_api(job, next);
}

int manage_hook_update(struct manage_job *job)
{
    struct store_actor by = manage_actor(job);
    struct store_hook_owner whom;
    struct store_hook hook, next;
    int ret;

    if (!read_hook(job, &whom, &hook))
        return 0;
    next = hook; /* borrows all of it */
    if (take_changes(job, &next)) {
        ret = store_hook_update(job->manage->store, &next, hook.secret, "hook.update", &by);
        (void)(ret != 0 ? fail(job, ret, hook.id) : answer(job, hook.id, NULL));
    }
    store_hook_deinit(&hook);
    return 0;
}

int manage_hook_delete(struct manage_job *job)
{
    struct store_actor by = manage_actor(job);
    struct store_hook_owner whom;
    struct store_hook hook;
    struct json *out;
    int ret = 0;

    if (!read_hook(job, &whom, &hook))
        return 0;
    if (is_of_api(job, &hook))
        ret = store_hook_delete(job->manage->store, hook.id, &by);
    if (ret != 0) {
        (void)fail(job, ret, hook.id);
    } else if (!job->answered) {
        out = json_new_object(job->doc);
        json_set_str(job->doc, out, "id", hook.id);
        json_set_str(job->doc, out, "object", "webhook_endpoint");
        json_set(job->doc, out, "deleted", json_new_bool(job->doc, true));
        manage_ok(job, out);
    }
    store_hook_deinit(&hook);
    return 0;
}

static void rotate(struct manage_job *job, const struct store_hook *hook, const char *secret)
{
    struct store_actor by = manage_actor(job);
    struct store_hook next = *hook; /* borrows all of it */
    int ret;

    next.secret = seal(job, hook->id, secret);
    if (next.secret == NULL)
        return;
    next.old_secret = hook->secret;
    next.old_until_ms = job->manage->now_unix_ms + OLD_SECRET_MS;
    ret = store_hook_update(job->manage->store, &next, hook->secret, "hook.rotate", &by);
    free(next.secret);
    (void)(ret != 0 ? fail(job, ret, hook->id) : answer(job, hook->id, secret));
}

int manage_hook_rotate(struct manage_job *job)
{
    static const char *const known[] = {"secret", NULL};
    char made[HOOK_NEW_SECRET + 1];
    struct store_hook_owner whom;
    const char *secret = NULL;
    struct store_hook hook;

    if (!read_hook(job, &whom, &hook))
        return 0;
    check_fields(job, known);
    if (is_of_api(job, &hook) && read_secret(job, made, &secret) && !manage_is_refused(job))
        rotate(job, &hook, secret);
    else if (!job->answered)
        (void)manage_is_refused(job);
    OPENSSL_cleanse(made, sizeof(made));
    store_hook_deinit(&hook);
    return 0;
}

static void answer_event(struct manage_job *job, const char *id, const char *name,
                         struct json *value)
{
    struct json *out = json_new_object(job->doc);

    json_set_str(job->doc, out, "id", id);
    json_set_str(job->doc, out, "object", "event");
    json_set(job->doc, out, name, value);
    manage_ok(job, out);
}

int manage_hook_test(struct manage_job *job)
{
    struct store_hook_owner whom;
    char id[HOOK_EVENT_ID + 1];
    struct store_hook hook;
    int ret;

    if (!read_hook(job, &whom, &hook))
        return 0;
    if (!hook.enabled) {
        manage_fail(job, 409, "invalid_request_error", NULL,
                    "This webhook is switched off: PATCH it with {\"enabled\": true} first.");
    } else {
        ret = store_hooks_test(job->manage->store, &hook, id);
        if (ret != 0)
            (void)fail(job, ret, hook.id);
        else
            answer_event(job, id, "webhook_id", json_new_cstring(job->doc, hook.id));
    }
    store_hook_deinit(&hook);
    return 0;
}

static struct json *show_story(struct manage_job *job, const struct store_hook_story *story)
{
    static const char *const states[] = {"pending", "delivered", "given_up"};
    struct json *out = json_new_object(job->doc);

    json_set_str(job->doc, out, "id", story->event_id);
    json_set_str(job->doc, out, "object", "event");
    json_set_str(job->doc, out, "type", story->type);
    json_set_str(job->doc, out, "batch_id", story->batch_id);
    add_time(job, out, "created_at", story->created_ms);
    json_set_str(job->doc, out, "state",
                 (unsigned)story->state < 3 ? states[story->state] : "unknown");
    json_set_int(job->doc, out, "tries", story->tries);
    add_time(job, out, "next_try_at", story->state == STORE_HOOK_DUE ? story->next_ms : 0);
    add_time(job, out, "last_try_at", story->last_ms);
    json_set(job->doc, out, "last_status",
             story->last_status != 0 ? json_new_int(job->doc, story->last_status)
                                     : json_new_null(job->doc));
    json_set(job->doc, out, "last_error", json_new_cstring(job->doc, story->last_error));
    return out;
}

int manage_hook_events(struct manage_job *job)
{
    size_t max = page_size(job);
    struct store_hook_stories stories;
    struct store_hook_owner whom;
    struct store_hook hook;
    struct json *data;
    int ret;

    if (manage_is_refused(job) || !read_hook(job, &whom, &hook))
        return 0;
    ret = store_hooks_stories(job->manage->store, hook.id, manage_query(job, "after"), max + 1,
                              &stories);
    if (ret != 0) {
        (void)fail(job, ret, hook.id);
    } else {
        data = json_new_array(job->doc);
        for (size_t i = 0; i < stories.num && i < max; i++)
            json_append(job->doc, data, show_story(job, &stories.rows[i]));
        answer_list(job, data, stories.num > max);
        store_hook_stories_deinit(&stories);
    }
    store_hook_deinit(&hook);
    return 0;
}

int manage_hook_replay(struct manage_job *job)
{
    struct store_hook_owner whom;
    size_t num = 0;
    int ret;

    if (!may_begin(job, &whom))
        return 0;
    ret = store_hooks_replay(job->manage->store, job->segment, &whom, &num);
    if (ret == ERR_NOT_FOUND)
        return not_found(job, "event", job->segment);
    if (ret != 0)
        return fail(job, ret, job->segment);
    answer_event(job, job->segment, "endpoints", json_new_int(job->doc, (int64_t)num));
    return 0;
}
