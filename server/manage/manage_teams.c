/* /team/...: as manage_keys.c. A team is named by its id. */
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manage_impl.h"

#define LIST_PAGE 100 /* teams that one statement reads */

static int not_found(struct manage_job *job, const char *id)
{
    manage_fail(job, 404, "not_found_error", "team_id", "Team not found, passed team id: %.128s.",
                id);
    return 0;
}

const struct rights_team *manage_file_team(const struct manage_job *job, const char *id,
                                           const char **name)
{
    for (size_t f = 0; f < 2; f++) {
        const struct rights_list *file = job->manage->files[f];

        for (size_t i = 0; file != NULL && i < file->num_teams; i++) {
            if (strcmp(file->teams[i].id, id) != 0)
                continue;
            *name = job->manage->file_names[f];
            return &file->teams[i];
        }
    }
    return NULL;
}

/* @return false: answered; the team may not be changed here */
static bool is_ours(struct manage_job *job, const char *id)
{
    const char *name;

    if (manage_file_team(job, id, &name) == NULL)
        return true;
    manage_fail(job, 409, "invalid_request_error", "team_id",
                "This team stands in %s, and is changed there.", name);
    return false;
}

static void fail(struct manage_job *job, int err, const struct store_team *team)
{
    if (err == ERR_DUPLICATE)
        manage_fail(job, 400, "bad_request_error", "team_id",
                    "Team id = %.128s already exists. Please use a different team id.", team->id);
    else if (err == ERR_LIMIT)
        manage_fail(job, 400, "bad_request_error", "team_alias",
                    "Team alias %.128s already exists. Please use a different team alias.",
                    team->alias);
    else
        manage_fail_store(job, err);
}

/* A UUID of version 4 (RFC 9562 section 5.4). Owned; NULL: out of memory or randomness. */
static char *new_id(void)
{
    unsigned char b[16];
    struct strbuf text = STRBUF_INIT;

    if (RAND_bytes(b, sizeof(b)) != 1)
        return NULL;
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    for (size_t i = 0; i < sizeof(b); i++)
        strbuf_addf(&text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
    return strbuf_take(&text);
}

/* The team as the database has it now, as `member` of an answer, or as the answer. */
static int answer(struct manage_job *job, const char *id, const char *member)
{
    struct store_team team;
    int ret = store_team_get(job->manage->store, id, &team);
    struct json *body, *shown;

    if (ret == ERR_NOT_FOUND)
        return not_found(job, id);
    if (ret != 0) {
        manage_fail_store(job, ret);
        return 0;
    }
    shown = manage_show_team(job, &team);
    body = member == NULL ? shown : json_new_object(job->doc);
    if (member != NULL) {
        json_set_str(job->doc, body, "team_id", id);
        json_set(job->doc, body, member, shown);
    }
    manage_ok(job, body);
    store_team_deinit(&team);
    return 0;
}

int manage_team_new(struct manage_job *job)
{
    struct store_actor by = manage_actor(job);
    struct store_team team = {0};
    const char *id = manage_text(job, "team_id");
    int ret = 0;

    if (!manage_has_store(job, "teams"))
        return 0;
    ret = manage_take_team(job, &team);
    team.id = id == NULL ? new_id() : strdup(id);
    team.created_by = strdup(by.who);
    if (team.id == NULL || team.created_by == NULL)
        ret = ERR_NOMEM;
    if (ret == 0 && !manage_is_refused(job) && is_ours(job, team.id)) {
        ret = store_team_add(job->manage->store, &team, &by, NULL);
        job->out->changed = ret == 0;
        if (ret == 0)
            ret = answer(job, team.id, NULL);
        else if (ret != ERR_NOMEM) {
            fail(job, ret, &team);
            ret = 0;
        }
    }
    store_team_deinit(&team);
    return ret;
}

/* The team that a body names. @return NULL: answered */
static const char *named_team(struct manage_job *job)
{
    const char *id = manage_required(job, "team_id");

    if (manage_is_refused(job) || id == NULL)
        return NULL;
    return is_ours(job, id) && manage_has_store(job, "teams") ? id : NULL;
}

int manage_team_update(struct manage_job *job)
{
    struct store_actor by = manage_actor(job);
    const char *id = named_team(job);
    struct store_team team;
    int ret;

    if (id == NULL)
        return 0;
    ret = store_team_get(job->manage->store, id, &team);
    if (ret == ERR_NOT_FOUND)
        return not_found(job, id);
    if (ret != 0) {
        manage_fail_store(job, ret);
        return 0;
    }
    ret = manage_take_team(job, &team);
    if (ret == 0 && !manage_is_refused(job)) {
        ret = store_team_update(job->manage->store, &team, &by, NULL);
        job->out->changed = ret == 0;
        if (ret == 0)
            ret = answer(job, id, "data");
        else if (ret != ERR_NOMEM) {
            fail(job, ret, &team);
            ret = 0;
        }
    }
    store_team_deinit(&team);
    return ret;
}

static int set_blocked(struct manage_job *job, bool blocked)
{
    struct store_actor by = manage_actor(job);
    const char *id = named_team(job);
    int ret;

    if (id == NULL)
        return 0;
    ret = store_team_block(job->manage->store, id, blocked, &by, NULL);
    job->out->changed = ret == 0;
    if (ret == 0)
        return answer(job, id, NULL);
    if (ret == ERR_NOT_FOUND)
        return not_found(job, id);
    manage_fail_store(job, ret);
    return 0;
}

int manage_team_block(struct manage_job *job)
{
    return set_blocked(job, true);
}

int manage_team_unblock(struct manage_job *job)
{
    return set_blocked(job, false);
}

/* @return 0: it is there and may be deleted */
static bool may_delete(struct manage_job *job, const struct json *ids)
{
    for (size_t i = 0; i < json_size(ids); i++) {
        const char *id = json_str(json_at(ids, i), NULL);
        struct store_team team;
        int ret;

        if (id == NULL)
            manage_problem(job, "team_ids", "string_type", "Input should be a valid string");
        if (manage_is_refused(job) || id == NULL || !is_ours(job, id))
            return false;
        ret = store_team_get(job->manage->store, id, &team);
        if (ret == ERR_NOT_FOUND)
            (void)not_found(job, id);
        else if (ret != 0)
            manage_fail_store(job, ret);
        if (ret != 0)
            return false;
        store_team_deinit(&team);
    }
    return true;
}

int manage_team_delete(struct manage_job *job)
{
    const struct json *ids = json_get(job->body, "team_ids");
    struct store_actor by = manage_actor(job);
    struct json *body;

    if (!json_is(ids, JSON_ARRAY) || json_size(ids) == 0)
        manage_problem(job, "team_ids", "missing", "Field required");
    if (manage_is_refused(job) || !manage_has_store(job, "teams") || !may_delete(job, ids))
        return 0;
    for (size_t i = 0; i < json_size(ids); i++) {
        const char *id = json_str(json_at(ids, i), NULL);
        int ret = store_team_delete(job->manage->store, id, &by, NULL);

        if (ret != 0 && ret != ERR_NOT_FOUND) { /* twice in the list: it is gone */
            manage_fail_store(job, ret);
            return 0;
        }
        job->out->changed = true;
    }
    body = json_new_object(job->doc);
    json_set(job->doc, body, "deleted_teams", (struct json *)ids);
    manage_ok(job, body);
    return 0;
}

/* --- reading --- */

/* The keys of a team, without secrets; at most a page. */
static struct json *keys_of(struct manage_job *job, const char *id, int *ret)
{
    struct store_key_filter filter = {.team_id = id, .page = 1, .size = LIST_PAGE};
    struct store_key_page page;
    struct json *keys = json_new_array(job->doc);

    *ret = store_key_list(job->manage->store, &filter, &page);
    if (*ret != 0)
        return keys;
    for (size_t i = 0; i < page.num_keys; i++)
        json_append(job->doc, keys, manage_show_key(job, &page.keys[i], true));
    if (page.total > page.num_keys)
        manage_warn(job, "these are %zu of %llu keys; /key/list has all", page.num_keys,
                    (unsigned long long)page.total);
    store_key_page_deinit(&page);
    return keys;
}

int manage_team_info(struct manage_job *job)
{
    const char *id = manage_query(job, "team_id");
    struct store_team team;
    struct json *body, *keys;
    int ret;

    if (id == NULL)
        manage_problem(job, "team_id", "missing", "Field required");
    if (manage_is_refused(job) || !manage_has_store(job, "teams"))
        return 0;
    ret = store_team_get(job->manage->store, id, &team);
    if (ret == ERR_NOT_FOUND)
        return not_found(job, id);
    keys = ret == 0 ? keys_of(job, id, &ret) : NULL;
    if (ret == 0) {
        body = json_new_object(job->doc);
        json_set_str(job->doc, body, "team_id", id);
        json_set(job->doc, body, "team_info", manage_show_team(job, &team));
        json_set(job->doc, body, "keys", keys);
        json_set(job->doc, body, "team_memberships", json_new_array(job->doc));
        manage_ok(job, body);
    } else {
        manage_fail_store(job, ret);
    }
    store_team_deinit(&team);
    return 0;
}

/* LiteLLM answers with a plain array, all of them at once. */
int manage_team_list(struct manage_job *job)
{
    struct store_team_filter filter = {.alias = manage_query(job, "team_alias"),
                                       .organization_id = manage_query(job, "organization_id"),
                                       .page = 1,
                                       .size = LIST_PAGE};
    struct json *body = json_new_array(job->doc);
    struct store_team_page page;
    uint64_t told = 0;

    if (!manage_has_store(job, "teams"))
        return 0;
    do {
        int ret = store_team_list(job->manage->store, &filter, &page);

        if (ret != 0) {
            manage_fail_store(job, ret);
            return 0;
        }
        for (size_t i = 0; i < page.num_teams; i++)
            json_append(job->doc, body, manage_show_team(job, &page.teams[i]));
        told += page.num_teams;
        filter.page = page.num_teams == 0 || told >= page.total ? 0 : filter.page + 1;
        store_team_page_deinit(&page);
    } while (filter.page != 0);
    manage_ok(job, body);
    return 0;
}
