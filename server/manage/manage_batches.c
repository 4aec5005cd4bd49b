/* GET /journal/batches and /journal/batches/{id}: the registry of batches as people and scripts read
 * it. Administrators see all of it; a tenant sees its own batches, and nothing of where they run and
 * who watches them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manage_impl.h"
#include "store/store_batches.h"

#define MAX_LIMIT     100
#define DEFAULT_LIMIT 20
#define MAX_EVENTS    200 /* shown of one batch: the first ones, and the last */
#define FIRST_EVENTS  20
#define MAX_BYTES     (96 << 10) /* of an answer: a message to a worker has 128 KiB */
#define ROW_BYTES     1200       /* of a row besides its texts */

/* A list being made. */
struct listing {
    struct manage_job *job;
    struct json *rows;
    size_t bytes;   /* of them, about */
    bool full;      /* the rest would be too long for one answer */
    bool admin;     /* sees all */
    uint64_t owner; /* else: whose they are */
};

/* --- one row --- */

static void set_text(struct listing *l, struct json *out, const char *name, const char *text)
{
    l->bytes += text == NULL ? 0 : strlen(text);
    json_set(l->job->doc, out, name, json_new_cstring(l->job->doc, text));
}

/* Unix seconds, as in OpenAI's batch. */
static void set_time(const struct listing *l, struct json *out, const char *name, int64_t unix_ms)
{
    json_set(l->job->doc, out, name,
             unix_ms == 0 ? json_new_null(l->job->doc) : json_new_int(l->job->doc, unix_ms / 1000));
}

static void set_owner(struct listing *l, struct json *out, const struct store_batch *b)
{
    char text[320];

    if (b->team_id != NULL)
        snprintf(text, sizeof(text), "team:%s", b->team_id);
    else if (b->key_alias != NULL || b->key_id != NULL)
        snprintf(text, sizeof(text), "key:%s",
                 b->key_alias != NULL ? b->key_alias : "without an alias");
    else if (b->owner == 0)
        snprintf(text, sizeof(text), "master key");
    else
        snprintf(text, sizeof(text), "owner:%016" PRIx64, b->owner);
    set_text(l, out, "owner", text);
}

static void set_tags(struct listing *l, struct json *out, const char *tags)
{
    struct json_error error;
    struct json *v = tags == NULL ? NULL : json_parse(l->job->doc, tags, strlen(tags), &error);

    l->bytes += tags == NULL ? 0 : strlen(tags);
    json_set(l->job->doc, out, "tags", v != NULL ? v : json_new_array(l->job->doc));
}

static void set_counts(const struct listing *l, struct json *out, const struct store_batch_row *row)
{
    struct json *counts = json_new_object(l->job->doc);

    json_set_int(l->job->doc, counts, "total", (int64_t)row->total);
    json_set_int(l->job->doc, counts, "completed", (int64_t)row->completed);
    json_set_int(l->job->doc, counts, "failed", (int64_t)row->failed);
    json_set(l->job->doc, out, "request_counts", counts);
}

/** @param fingerprint  of a row; 0: none
 *  @return its id; NULL: none, or it is not configured any more */
static const char *name_of(const struct listing *l, uint32_t fingerprint)
{
    const struct manage *manage = l->job->manage;

    return manage->deployment_name != NULL && fingerprint != 0
               ? manage->deployment_name(manage->names_arg, fingerprint)
               : NULL;
}

/* Where it runs, where it was before, and who looks after it. */
static void set_place(struct listing *l, struct json *out, const struct store_batch_row *row)
{
    set_text(l, out, "deployment", name_of(l, row->batch.deployment));
    set_text(l, out, "moved_from", name_of(l, row->moved_from));
    json_set_int(l->job->doc, out, "moves", row->moves);
    json_set(l->job->doc, out, "moving", json_new_bool(l->job->doc, row->moving));
    set_text(l, out, "native_id", row->batch.native);
    set_text(l, out, "watched_by", row->watcher);
    set_time(l, out, "next_look_at", row->next_ms);
}

/* What is left at the rate so far; NULL of JSON: nobody can say. Never behind its provider's own
 * deadline, when it ends whatever is left. */
int64_t manage_expected_end_ms(const struct store_batch_row *row, int64_t now_ms)
{
    uint64_t done = row->completed + row->failed;
    int64_t since_ms = row->in_progress_ms, end_ms;
    double left;

    if (row->open != STORE_RUNS || done == 0 || row->total < done || since_ms == 0 ||
        now_ms <= since_ms)
        return 0;
    left = (double)(now_ms - since_ms) * (double)(row->total - done) / (double)done;
    end_ms = left < 1e15 ? now_ms + (int64_t)left : INT64_MAX;
    return row->batch.expires_ms != 0 && end_ms > row->batch.expires_ms ? row->batch.expires_ms
                                                                        : end_ms;
}

static struct json *show(struct listing *l, const struct store_batch_row *row)
{
    const struct store_batch *b = &row->batch;
    struct json_doc *doc = l->job->doc;
    struct json *out = json_new_object(doc);

    l->bytes += ROW_BYTES;
    set_text(l, out, "id", b->id);
    json_set_str(doc, out, "object", "journal.batch");
    set_text(l, out, "status", b->status);
    set_owner(l, out, b);
    set_text(l, out, "team_id", b->team_id);
    set_text(l, out, "key_alias", b->key_alias);
    set_text(l, out, "user_id", b->user_id);
    set_tags(l, out, b->tags);
    set_text(l, out, "model", b->model_group);
    set_text(l, out, "endpoint", b->endpoint);
    set_text(l, out, "input_file_id", b->input_file);
    set_counts(l, out, row);
    set_text(l, out, "error_code", row->code);
    json_set_int(doc, out, "enqueued_tokens", (int64_t)b->tokens);
    if (l->admin)
        set_place(l, out, row);
    json_set(doc, out, "usage_is_known", json_new_bool(doc, row->open == STORE_DONE));
    set_time(l, out, "created_at", b->created_ms);
    set_time(l, out, "in_progress_at", row->in_progress_ms);
    set_time(l, out, "finalizing_at", row->finalizing_ms);
    set_time(l, out, "cancelling_at", row->cancelling_ms);
    set_time(l, out, "finished_at", row->finished_ms);
    set_time(l, out, "expires_at", b->expires_ms);
    set_time(l, out, "expected_at", manage_expected_end_ms(row, l->job->manage->now_unix_ms));
    return out;
}

/* --- the list --- */

static int on_row(void *arg, const struct store_batch_row *row)
{
    struct listing *l = arg;

    if (l->full || l->bytes > MAX_BYTES) {
        l->full = true;
        return 0;
    }
    json_append(l->job->doc, l->rows, show(l, row));
    return 0;
}

/* Where the page before ended. */
struct mark {
    int64_t created_ms;
    bool visible; /* to who asks */
    const struct listing *of;
};

static int on_mark(void *arg, const struct store_batch_row *row)
{
    struct mark *mark = arg;

    mark->created_ms = row->batch.created_ms;
    mark->visible = mark->of->admin || row->batch.owner == mark->of->owner;
    return 0;
}

/* @return 0; ERR_NOT_FOUND: there is no such batch, or it is another one's */
static int find_mark(const struct listing *l, const char *id, struct store_batch_filter *filter)
{
    struct mark mark = {.of = l};
    int ret = store_batches_get(l->job->manage->store, id, NULL, on_mark, &mark);

    filter->behind_id = id;
    filter->behind_created_ms = mark.created_ms;
    return ret == 0 && !mark.visible ? ERR_NOT_FOUND : ret;
}

static bool read_filter(const struct listing *l, struct store_batch_filter *filter)
{
    struct manage_job *job = l->job;
    int64_t limit = manage_query_int(job, "limit", DEFAULT_LIMIT);
    int64_t from_s = manage_query_int(job, "created_after", 0);
    int64_t to_s = manage_query_int(job, "created_before", 0);
    const char *open = manage_query(job, "open");

    if (limit == 0 || limit > MAX_LIMIT)
        manage_problem(job, "limit", "less_than_equal", "Input should be from 1 to %d", MAX_LIMIT);
    if (from_s > INT64_MAX / 1000 || to_s > INT64_MAX / 1000)
        manage_problem(job, "created_after", "less_than_equal", "Input should be Unix seconds");
    if (manage_is_refused(job))
        return false;
    *filter = (struct store_batch_filter){.of_owner = !l->admin,
                                          .owner = l->owner,
                                          .key_id = l->admin ? manage_query(job, "key_id") : NULL,
                                          .team_id = manage_query(job, "team_id"),
                                          .model_group = manage_query(job, "model"),
                                          .status = manage_query(job, "status"),
                                          .open = open != NULL && strcmp(open, "true") == 0,
                                          .from_ms = from_s * 1000,
                                          .to_ms = to_s * 1000,
                                          .limit = (size_t)limit};
    return true;
}

static int fail_unknown(struct manage_job *job, const char *id)
{
    manage_fail(job, 404, "invalid_request_error", "id", "No batch found with id '%.128s'.", id);
    return 0;
}

static int answer_list(struct listing *l, bool more)
{
    struct json_doc *doc = l->job->doc;
    struct json *body = json_new_object(doc);
    size_t num = json_size(l->rows);

    json_set_str(doc, body, "object", "list");
    json_set(doc, body, "data", l->rows);
    json_set(doc, body, "first_id", json_new_cstring(doc, json_get_str(json_at(l->rows, 0), "id")));
    json_set(doc, body, "last_id",
             json_new_cstring(doc, num > 0 ? json_get_str(json_at(l->rows, num - 1), "id") : NULL));
    json_set(doc, body, "has_more", json_new_bool(doc, more || l->full));
    manage_ok(l->job, body);
    return 0;
}

/* @return false: answered */
static bool begin(struct listing *l, struct manage_job *job)
{
    *l = (struct listing){.job = job, .admin = manage_is_admin(job)};
    if (!manage_has_journal(job))
        return false;
    if (l->admin || manage_owner(job, &l->owner))
        return true;
    manage_fail(job, 403, "auth_error", NULL, "This key owns no batches.");
    return false;
}

int manage_batches_list(struct manage_job *job)
{
    struct store_batch_filter filter;
    struct listing l;
    const char *after;
    bool more = false;
    int ret = 0;

    if (!begin(&l, job) || !read_filter(&l, &filter))
        return 0;
    after = manage_query(job, "after");
    if (after != NULL)
        ret = find_mark(&l, after, &filter);
    if (ret == ERR_NOT_FOUND)
        return fail_unknown(job, after);
    l.rows = json_new_array(job->doc);
    if (ret == 0)
        ret = store_batches_list(job->manage->store, &filter, on_row, &l, &more);
    if (ret != 0) {
        manage_fail_store(job, ret);
        return 0;
    }
    return answer_list(&l, more);
}

/* --- its story --- */

/* What a tenant may hear of an event besides that it was: not which machine does what. */
static bool is_for_tenants(const char *what)
{
    static const char *const kinds[] = {"created", "status", "moving", "moved",
                                        "ended",   "usage",  "event",  "deleted"};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i], what) == 0)
            return true;
    return false;
}

static int on_event(void *arg, const struct store_story *line)
{
    struct listing *l = arg;
    struct json_doc *doc = l->job->doc;
    struct json *event;

    if (!l->admin && !is_for_tenants(line->what))
        return 0;
    event = json_new_object(doc);
    json_set_int(doc, event, "number", (int64_t)line->number);
    set_time(l, event, "created_at", line->at_ms);
    set_text(l, event, "type", line->what);
    set_text(l, event, "message", line->detail);
    if (l->admin)
        set_text(l, event, "node", line->node);
    json_append(doc, l->rows, event);
    return 0;
}

/* Of a batch that was watched long: how it began and how it is, without what is in between. */
static void cut_middle(struct listing *l, struct json *batch)
{
    struct json_doc *doc = l->job->doc;
    size_t num = json_size(l->rows), behind = num - (MAX_EVENTS - FIRST_EVENTS);
    struct json *events = json_new_array(doc);

    if (num <= MAX_EVENTS)
        return;
    for (size_t i = 0; i < num; i++)
        if (i < FIRST_EVENTS || i >= behind)
            json_append(doc, events, json_at(l->rows, i));
    json_set_int(doc, batch, "events_left_out", (int64_t)(num - MAX_EVENTS));
    l->rows = events;
}

/* What store_batches_get() shows of one. */
struct one {
    struct listing *listing;
    struct json *batch; /* NULL: it is another one's */
    char *id;           /* owned */
};

static int on_one(void *arg, const struct store_batch_row *row)
{
    struct one *one = arg;

    if (!one->listing->admin && row->batch.owner != one->listing->owner)
        return 0;
    one->batch = show(one->listing, row);
    one->id = strdup(row->batch.id);
    return one->id == NULL ? ERR_NOMEM : 0;
}

/* The batch, its events in it. @return 0; ERR_NOT_FOUND, or of the store */
static int read_one(struct one *one, const char *id, const struct store_native *native)
{
    struct listing *l = one->listing;
    struct store *store = l->job->manage->store;
    int ret = store_batches_get(store, id, native, on_one, one);

    if (ret == 0 && one->batch == NULL)
        ret = ERR_NOT_FOUND;
    l->rows = json_new_array(l->job->doc);
    if (ret == 0)
        ret = store_batches_story(store, one->id, 0, STORE_BATCHES_MAX, on_event, l);
    if (ret == 0) {
        cut_middle(l, one->batch);
        json_set(l->job->doc, one->batch, "events", l->rows);
    }
    free(one->id);
    return ret;
}

int manage_batch_get(struct manage_job *job)
{
    struct listing l;
    struct one one = {.listing = &l};
    int ret;

    if (!begin(&l, job))
        return 0;
    ret = read_one(&one, job->segment, NULL);
    if (ret == ERR_NOT_FOUND)
        return fail_unknown(job, job->segment);
    if (ret != 0)
        manage_fail_store(job, ret);
    else
        manage_ok(job, one.batch);
    return 0;
}

int manage_batch_story(const struct manage *manage, const struct manage_story *story,
                       struct strbuf *out)
{
    struct manage_job job = {.manage = manage, .doc = json_doc_new()};
    struct listing l = {.job = &job, .admin = story->all, .owner = story->owner};
    struct one one = {.listing = &l};
    const struct store_native native = {.account = story->account, .native = story->native};
    int ret = job.doc == NULL ? ERR_NOMEM : 0;

    if (ret == 0)
        ret = read_one(&one, NULL, &native);
    if (ret == 0)
        json_write(json_get(one.batch, "events"), out);
    if (ret == 0 && (json_doc_failed(job.doc) || strbuf_failed(out)))
        ret = ERR_NOMEM;
    json_doc_free(job.doc);
    return ret;
}
