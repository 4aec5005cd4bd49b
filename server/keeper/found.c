/* See found.h. */
#include "found.h"

#include <stdio.h>
#include <string.h>

#include "balancer/table.h"
#include "crypto/ids.h"
#include "deletions.h"
#include "moves.h"
#include "store/store_batches.h"

/* The client's file, as its marker names it. Where a native id is, the batch alone can tell. */
static void set_original(const struct batches_options *of, const struct wire_seen *w,
                         char native[IDS_MAX + 1], struct store_batch *out)
{
    size_t len = strlen(w->file), native_len = 0;
    struct id_tag tag = {0};
    bool tagged = false;

    native[0] = '\0';
    if (len == 0 || ids_open(of->inherited->seals, ID_FILE, w->owner, w->file, len, &native_len,
                             &tagged, &tag) != 0)
        return;
    snprintf(native, IDS_MAX + 1, "%.*s", (int)native_len, w->file);
    out->original = native;
    out->home = tagged ? tag.deployment : strcmp(native, w->input) == 0 ? w->account : 0;
}

static struct store_batch batch_of_found(const struct batches_options *of,
                                         const struct wire_seen *w, char id[IDS_MAX + 1])
{
    struct id_tag tag = {.deployment = w->account, .owner = w->owner};
    const struct ids_seals *seals = of->inherited->seals;

    if (ids_mint_text(seals, ID_BATCH, w->native, strlen(w->native), &tag, id) == 0)
        snprintf(id, IDS_MAX + 1, "%s", w->native);
    return (struct store_batch){.id = id,
                                .owner = w->owner,
                                .endpoint = wire_known(w->endpoint),
                                .input_file = wire_known(w->file),
                                .account = w->account,
                                .native = w->native,
                                .deployment = w->placed != 0 ? w->placed : w->deployment,
                                .tokens = w->tokens,
                                .status = "validating",
                                .input_native = wire_known(w->input),
                                .delete_after_s = deletions_rule(of->inherited, w->owner, w->key),
                                .created_ms = batches_ms_of(w->created_s),
                                .expires_ms = batches_ms_of(w->expires_s),
                                .rebuilt = true};
}

/* The deployment as its scope is named: of two rows for one the first. */
static uint64_t scope_of(const struct batches_options *of, uint32_t fingerprint)
{
    const struct table *table = of->inherited->table;
    uint32_t deployment = table_find_fingerprint(table, fingerprint);

    return deployment != MODEL_NO_INDEX ? table_deployment(table, deployment)->real : fingerprint;
}

/* What it holds, as its marker tells; named by the marker's nonce, so that it is put there once. */
static struct fleet_intent reservation_of(const struct batches_options *of,
                                          const struct wire_seen *w)
{
    bool in_team = w->key != 0; /* marker_key(), marker_team() */

    return (struct fleet_intent){
        .id = w->nonce,
        .nonce = w->nonce,
        .account = w->account,
        .deployment = w->placed,
        .tokens = w->tokens,
        .scopes = {[FLEET_DEPLOYMENT] = {scope_of(of, w->placed), RIGHTS_UNLIMITED,
                                         RIGHTS_UNLIMITED, INT64_MAX},
                   [FLEET_KEY] = {in_team ? w->key : w->owner, RIGHTS_UNLIMITED, RIGHTS_UNLIMITED,
                                  INT64_MAX},
                   [FLEET_TEAM] = {in_team ? w->owner : 0, RIGHTS_UNLIMITED, RIGHTS_UNLIMITED,
                                   INT64_MAX}},
        .owner = w->owner};
}

/* A create of which nobody knew what came of it has a reservation; of a database that was put back
 * from a copy it may be missing. */
static int write_reservation(const struct batches_options *of, const struct wire_seen *w,
                             const char *id)
{
    struct fleet_live live = {.of = {.nonce = w->nonce},
                              .batch = id,
                              .native = w->native,
                              .deployment = w->placed,
                              .done = {.status = 200, .object = id}};
    struct fleet_intent intent = reservation_of(of, w);
    bool missing = false;
    int rc = store_fleet_live(of->store, of->me, &live, 1, &missing);

    if (rc != 0 || !missing || w->placed == 0 || batches_is_end(batches_status(w->status)))
        return rc;
    rc = store_fleet_put(of->store, of->me, &intent, 1);
    return rc == 0 ? store_fleet_live(of->store, of->me, &live, 1, NULL) : rc;
}

int found_write(const struct batches_options *of, uint32_t first_ms, const struct wire_seen *w)
{
    char id[IDS_MAX + 1], original[IDS_MAX + 1];
    struct store_batch batch = batch_of_found(of, w, id);
    struct manage_rebuild *r = of->rebuild;
    bool added = false, moved = false;
    int rc;

    if (*w->nonce == '\0')
        return 0;
    rc = moves_found(of->store, of->me, w, first_ms, &moved);
    if (rc != 0 || moved)
        return rc;
    set_original(of, w, original, &batch);
    rc = store_batches_add(of->store, &batch, of->me->node, 0, &added);
    if (rc == 0)
        rc = write_reservation(of, w, id);
    if (rc == 0) /* its end may have been seen before its create was found */
        rc = store_batches_free_ended(of->store, &batch);
    if (rc == 0 && r->runs) {
        r->found++;
        r->added += added;
    }
    return rc;
}
