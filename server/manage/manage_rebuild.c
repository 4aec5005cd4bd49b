/* POST /journal/rebuild, GET /journal/rebuild/status: the registry of batches is restored from what the providers list,
 * by the markers that batches carry. Who reads the lists is the prober; here it is asked for, and how
 * far it is. */
#include "manage_impl.h"

static struct json *show(struct manage_job *job, const struct manage_rebuild *r)
{
    struct json *out = json_new_object(job->doc);

    json_set_str(job->doc, out, "object", "journal.rebuild");
    json_set_int(job->doc, out, "number", r->number);
    json_set_str(job->doc, out, "status", r->runs ? "running" : "completed");
    json_set_int(job->doc, out, "batches_found", (int64_t)r->found);
    json_set_int(job->doc, out, "batches_added", (int64_t)r->added);
    json_set_int(job->doc, out, "accounts_unread", r->unread);
    json_set_int(job->doc, out, "created_at", r->begun_unix_ms / 1000);
    return out;
}

/* @return NULL: answered */
static struct manage_rebuild *rebuild_of(struct manage_job *job)
{
    if (job->manage->store != NULL && job->manage->rebuild != NULL)
        return job->manage->rebuild;
    manage_fail(job, 404, "invalid_request_error", NULL,
                "There is no journal of batches here: it needs tranche_settings.database, and "
                "tranche_settings.journal not switched off.");
    return NULL;
}

/* One that runs already is the answer: it reads the same lists. */
int manage_rebuild_start(struct manage_job *job)
{
    struct manage_rebuild *r = rebuild_of(job);

    if (r == NULL)
        return 0;
    if (!r->runs)
        *r = (struct manage_rebuild){
            .number = r->number + 1, .runs = true, .begun_unix_ms = job->manage->now_unix_ms};
    manage_ok(job, show(job, r));
    return 0;
}

int manage_rebuild_get(struct manage_job *job)
{
    struct manage_rebuild *r = rebuild_of(job);

    if (r == NULL)
        return 0;
    if (r->number == 0)
        manage_fail(job, 404, "invalid_request_error", NULL,
                    "No rebuild was begun since the keeper's start: POST /journal/rebuild.");
    else
        manage_ok(job, show(job, r));
    return 0;
}
