/* The body of a create as it goes upstream: the client's, with the file of the deployment in use
 * and our marker, by which the batch is known again. */
#include "create_job.h"

#include <stdio.h>
#include <string.h>

#include "upstream/provider.h"

/* Write the sealed marker for the batch at the deployment in use. @return 0; else there can be
 * none */
static int marker_text(const struct create_job *job, struct strbuf *text)
{
    const struct table_deployment *d = table_deployment(job->op.rt->table, job->op.deployment);
    uint32_t home = table_deployment(job->op.rt->table, create_home(job))->account;
    struct marker marker = {.owner = job->owner,
                            .key = job->scopes.marker_key,
                            .request = job->request,
                            .tokens = job->claim.entry != 0 ? job->claim.tokens : job->tokens,
                            .bare_endpoint = provider_endpoint_v1(job->endpoint) != NULL,
                            .deployment = job->have_facts ? d->fingerprint : 0,
                            .origin =
                                create_has_copy(job) ? job->op.rt->account_fingerprint[home] : 0};

    snprintf(marker.nonce, sizeof(marker.nonce), "%s", job->nonce);
    snprintf(marker.file, sizeof(marker.file), "%s", job->target.native);
    return marker_write(job->op.rt->inherited->seals, &marker, text);
}

/* A blob takes no metadata (providers 2.5), 16 pairs of the client's leave no room, some ids no
 * marker can hold, and what is no object the provider refuses. */
bool create_takes_marker(const struct create_job *job)
{
    const struct json *metadata = json_get(job->op.relay->request, "metadata");

    return job->target.native[0] != '\0' &&
           marker_takes_file(job->target.native, job->scopes.marker_key != 0) &&
           json_size(metadata) < MARKER_PAIRS &&
           (metadata == NULL || json_is(metadata, JSON_NULL) || json_is(metadata, JSON_OBJECT));
}

bool create_can_be_marked(const struct create_job *job)
{
    struct strbuf text = STRBUF_INIT;
    bool can = job->nonce[0] != '\0' && marker_text(job, &text) == 0;

    strbuf_deinit(&text);
    return can;
}

static int add_marker(struct create_job *job)
{
    struct relay *relay = job->op.relay;
    struct json *metadata = json_get(relay->request, "metadata");
    struct strbuf text = STRBUF_INIT;
    int rc = marker_text(job, &text);

    if (rc == 0 && !json_is(metadata, JSON_OBJECT)) {
        metadata = json_new_object(relay->doc);
        json_set(relay->doc, relay->request, "metadata", metadata);
    }
    if (rc == 0)
        json_set_str(relay->doc, metadata, MARKER_KEY, strbuf_str(&text));
    strbuf_deinit(&text);
    return rc;
}

/* A create is never sent without its marker where a repeat will look for the batch by it. */
static int make_body(struct create_job *job)
{
    struct relay *relay = job->op.relay;
    int rc = job->nonce[0] != '\0' ? add_marker(job) : 0;

    if (rc != 0)
        return rc;
    rc = provider_batch_body(runtime_account(job->op.rt, job->op.deployment), relay->doc,
                             relay->request, job->file[0] != '\0' ? job->file : NULL, &job->body);
    return rc != 0 || strbuf_failed(&job->body) ? ERR_NOMEM : 0;
}

/* Forget what was learned of the create at the deployment before. */
static void forget_last(struct create_job *job)
{
    strbuf_deinit(&job->body);
    job->doubtful = job->file_known = false;
    job->pending_ms = 0;
}

enum create_step create_write(struct create_job *job)
{
    forget_last(job);
    snprintf(job->wanted.file, sizeof(job->wanted.file), "%s", job->file);
    if (make_body(job) != 0)
        return create_was_not_sent(job);
    if (!job->op.held)
        operation_hold(&job->op);
    job->tries++;
    job->tries_here++;
    job->begun_ms = loop_now_ms(job->op.rt->loop);
    return create_then(job);
}
