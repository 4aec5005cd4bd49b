/* See batch_view.h. */
#include "objects/batch_view.h"

#include <string.h>

#include "upstream/normal.h"
#include "upstream/provider.h"
#include "core/host_names.h"
#include "objects/discard.h"
#include "objects/ledger.h"
#include "objects/moved.h"
#include "objects/polls.h"
#include "objects/observation.h"
#include "objects/owned.h"
#include "objects/reported.h"

#define MAX_AT_WORK 32 /* operations of a worker; beyond, a copy is left to the next look */

/* The client's own file of a batch that runs on a copy; its account may be another one. */
static void show_origin(const struct viewer *viewer, const struct marker *marker,
                        struct json_doc *doc, struct json *batch)
{
    uint32_t account = runtime_find_account(viewer->rt, marker->origin);
    struct strbuf id = STRBUF_INIT;

    /* No longer configured: better the file's bare name than another file's. */
    if (account == MODEL_NO_INDEX)
        client_ids_text_of_lost(viewer, marker->origin, ID_FILE, marker->file, &id);
    else
        client_ids_text(viewer, viewer->rt->account_first[account], ID_FILE, true, marker->file,
                        &id);
    json_set_str(doc, batch, "input_file_id", strbuf_str(&id));
    strbuf_deinit(&id);
}

/* The copy that an ended batch ran on is of no more use. The first list after a start shows a
 * hundred such batches at once, whose copies went long ago. */
static void discard_copy(struct runtime *rt, uint32_t deployment, const struct json *batch)
{
    const char *copy = json_get_str(batch, "input_file_id");

    if (rt->operations < MAX_AT_WORK &&
        ledger_takes_copy(rt->inherited, runtime_fingerprint(rt, deployment), copy,
                          loop_now_ms(rt->loop)))
        discard_file(rt, deployment, copy);
}

static bool is_moved(const struct marker *marker)
{
    return marker->origin != 0 && marker->file[0] != '\0';
}

/* One batch shows one endpoint, wherever it is shown: as the client wrote it, which its marker
 * remembers; without one as OpenAI writes it. */
static const char *endpoint_of(const struct marker *marker, const struct json *batch)
{
    const char *endpoint = json_get_str(batch, "endpoint");
    const char *v1 = provider_endpoint_v1(endpoint);

    if (marker == NULL || !marker->bare_endpoint)
        return v1;
    return v1 == NULL && endpoint != NULL && strncmp(endpoint, "/v1/", 4) == 0 ? endpoint + 3
                                                                               : endpoint;
}

/* @param marker  ours; NULL: it has none */
static void shape(const struct viewer *viewer, uint32_t deployment, bool tagged,
                  const struct marker *marker, struct json_doc *doc, struct json *batch)
{
    normal_batch(doc, batch, endpoint_of(marker, batch));
    client_ids_show_batch(viewer, deployment, tagged, doc, batch);
    if (marker != NULL && is_moved(marker))
        show_origin(viewer, marker, doc, batch);
}

/* Whoever sees it, its ids are those of its owner: of a tenant that sees its own, of a tenant whose
 * batch the master looks at. */
static struct viewer owner_of(const struct viewer *viewer, uint32_t deployment,
                              const struct marker *marker, const struct json *batch)
{
    struct viewer owner = *viewer;

    if (viewer->owner == 0)
        owner.owner = marker != NULL ? marker->owner
                                     : owned_by(viewer->rt->inherited,
                                                runtime_fingerprint(viewer->rt, deployment),
                                                ID_BATCH, json_get_str(batch, "id"));
    return owner;
}

static bool shows_tag(const struct viewer *owner, bool tagged)
{
    return tagged || (owner->owner != 0 && !owner->echoes);
}

/* Why it failed, a provider says in its own words. */
static void hide_host(const struct viewer *viewer, struct json_doc *doc, struct json *batch)
{
    if (viewer->is_tenant)
        host_names_hide_json(viewer->rt->inherited->host_names, doc, json_get(batch, "errors"));
}

struct json *batch_view(const struct viewer *viewer, uint32_t deployment, bool tagged,
                        struct json_doc *doc, struct json *batch)
{
    struct runtime *rt = viewer->rt;
    const struct marker *marker;
    struct viewer owner;
    uint64_t now_ms = loop_now_ms(rt->loop);
    struct observation seen;
    bool marked;

    batch = polls_believe(rt->inherited, runtime_fingerprint(rt, deployment), doc, batch, now_ms,
                          viewer->moment);
    marked = observation_of_batch(rt->inherited, rt->slot, runtime_fingerprint(rt, deployment),
                                  batch, now_ms, &seen);
    marker = marked ? &seen.marker : NULL;
    if (marked && is_moved(marker) && ledger_phase_of(batch) != LEDGER_RUNNING &&
        !moved_needs_copy(rt->inherited, runtime_fingerprint(rt, deployment), &seen))
        discard_copy(rt, deployment, batch);
    owner = owner_of(viewer, deployment, marker, batch);
    owned_see_batch(rt, deployment, owner.owner, marker, batch);
    reported_batch(rt, deployment, marker, batch);
    (void)moved_hide_failure(rt, deployment, marker, doc, batch);
    moved_keep_cancelling(rt, deployment, doc, batch);
    shape(&owner, deployment, shows_tag(&owner, tagged), marker, doc, batch);
    hide_host(viewer, doc, batch);
    return batch;
}

void batch_view_again(const struct viewer *viewer, uint32_t deployment, bool tagged,
                      struct json_doc *doc, struct json *batch)
{
    struct marker marker;
    bool marked = ledger_marker(viewer->rt->inherited->seals, batch, &marker);
    struct viewer owner = owner_of(viewer, deployment, marked ? &marker : NULL, batch);

    (void)moved_hide_failure(viewer->rt, deployment, marked ? &marker : NULL, doc, batch);
    moved_keep_cancelling(viewer->rt, deployment, doc, batch);
    shape(&owner, deployment, shows_tag(&owner, tagged), marked ? &marker : NULL, doc, batch);
    hide_host(viewer, doc, batch);
}
