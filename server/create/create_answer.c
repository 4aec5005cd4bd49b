/* What the client of a create gets, and how the job ends with it: free first, answer last. */
#include "create_job.h"

#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "objects/batch_view.h"
#include "objects/client_ids.h"
#include "request/errors.h"

/* --- errors --- */

enum create_step create_fail(struct create_job *job, const struct failure *failure)
{
    operation_fail(&job->op, failure);
    return STEP_DONE;
}

enum create_step create_fail_memory(struct create_job *job)
{
    operation_fail_memory(&job->op);
    return STEP_DONE;
}

enum create_step create_fail_lost(struct create_job *job, const struct failure *cause)
{
    struct failure failure;

    error_fill(&failure, CREATE_ANSWER_LOST, "", cause->message,
               job->file_id != NULL ? job->file_id : "");
    failure.should_not_retry = true;
    failure.said = cause->said;
    return create_fail(job, &failure);
}

/* The batch was made, but no later call could name its id: neither this request nor a repeat is
 * answered as an ordinary success. */
static enum create_step fail_unusable(struct create_job *job, uint32_t deployment, const char *id)
{
    struct failure failure;

    log_warn("request %s: the batch that was made at %s has an id that no call can name: %.128s",
             job->request_id, runtime_account(job->op.rt, deployment)->name, id);
    create_tell_lost(job);
    repeat_lost(&job->repeat);
    if (job->op.relay == NULL) {
        operation_free(&job->op);
        return STEP_DONE;
    }
    error_fill(&failure, UNUSABLE_BATCH_ID, "", id);
    failure.should_not_retry = true;
    job->op.deployment = deployment;
    return create_fail(job, &failure);
}

/* --- a batch --- */

/* Turn the provider's batch into the client's answer. It is written although the client may have
 * left: whoever repeats the request gets it then. @return what was written */
static struct json *write_answer(struct create_job *job, uint32_t deployment, struct json_doc *doc,
                                 struct json *batch, struct strbuf *text)
{
    struct viewer viewer = {.rt = job->op.rt, .owner = job->owner, .is_tenant = job->owner != 0};

    if (job->op.relay != NULL)
        viewer = relay_viewer(job->op.relay);
    if (json_get_str(batch, "id") != NULL)
        locate_remember_new(job->op.rt, ID_BATCH, json_get_str(batch, "id"), deployment);
    batch = batch_view(&viewer, deployment,
                       job->tagged || client_ids_are_tagged(&viewer, deployment), doc, batch);
    json_write(batch, text);
    return batch;
}

/* The client has left; the log tells of its batch. */
static void log_answer(const struct create_job *job, uint32_t deployment, const char *id)
{
    log_info("request %s: the client left while its batch was created; batch %.128s at %s",
             job->request_id, id, runtime_account(job->op.rt, deployment)->name);
}

enum create_step create_answer(struct create_job *job, uint32_t deployment, int status,
                               struct json_doc *doc, struct json *batch)
{
    const char *id = json_get_str(batch, "id");
    struct strbuf text = STRBUF_INIT;
    char native[IDS_MAX + 1];

    if (id != NULL && (!ids_is_usable(id) || (job->owner != 0 && !ids_can_be_tagged(id))))
        return fail_unusable(job, deployment, id);
    snprintf(native, sizeof(native), "%s", id != NULL ? id : "");
    status = job->op.relay != NULL ? resolve_status(job->op.relay, deployment, status) : 200;
    batch = write_answer(job, deployment, doc, batch, &text);
    create_tell_made(job, deployment, status, native, batch, &text);
    repeat_answered(&job->repeat, table_deployment(job->op.rt->table, deployment)->fingerprint,
                    json_get_str(batch, "id"), status, strbuf_str(&text),
                    strbuf_failed(&text) ? 0 : text.len);
    if (job->op.relay == NULL) {
        log_answer(job, deployment, json_get_str(batch, "id"));
        operation_free(&job->op);
    } else if (strbuf_failed(&text)) {
        operation_fail_memory(&job->op);
    } else {
        job->op.deployment = deployment;
        relay_made(job->op.relay, json_get_str(batch, "id"));
        relay_bytes(operation_end(&job->op), status, "application/json", strbuf_str(&text),
                    text.len);
    }
    strbuf_deinit(&text);
    return STEP_DONE;
}
