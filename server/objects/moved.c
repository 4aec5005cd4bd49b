/* See moved.h. */
#include "objects/moved.h"

#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "common/seeded_fault.h"
#include "core/provider_clock.h"
#include "journal/moves.h"
#include "journal/seen.h"
#include "objects/ledger.h"
#include "objects/polls.h"

/* By the id that its client knows, or by where it is. */
static bool find_row(const struct inherited *inherited, uint32_t account, const char *native,
                     struct followed_row *row)
{
    return followed_find(inherited->followed, account, native, row) ||
           followed_find_at(inherited->followed, account, native, row);
}

/* As the keeper decides it: of one that it does not know yet. */
static bool will_move(const struct runtime *rt, uint32_t deployment, const struct marker *marker,
                      const struct json *batch, uint32_t moves)
{
    static struct wire_seen seen; /* one process, one call at a time */
    struct strbuf errors = STRBUF_INIT;
    bool will = rt->config->move_failed && moves < MOVES_MAX && marker != NULL &&
                seen_read(batch, &seen, &errors) && moves_is_refusal(&seen) &&
                moves_in_time(seen.finished_s,
                              (uint64_t)provider_clock_now_s(rt->inherited, deployment), false) &&
                moves_have_place(rt->table, marker->deployment);

    strbuf_deinit(&errors);
    return will;
}

static bool is_at(const struct followed_row *row, uint32_t account, const char *native)
{
    return row->at.account == account && strcmp(row->at.native, native) == 0;
}

/* @return NULL: it is not hidden */
static const char *status_to_show(const struct runtime *rt, uint32_t deployment,
                                  const struct marker *marker, const struct json *batch,
                                  struct followed_row *row)
{
    const char *native = json_get_str(batch, "id"), *status = json_get_str(batch, "status");

    if (rt->journal == NULL || rt->inherited->followed == NULL || native == NULL ||
        status == NULL || strcasecmp(status, "failed") != 0 || seeded_fault(SEEDED_SHOWN_FAILURE))
        return NULL;
    if (!find_row(rt->inherited, runtime_fingerprint(rt, deployment), native, row))
        return will_move(rt, deployment, marker, batch, 0) ? "validating" : NULL;
    switch (row->state) {
    case FOLLOWED_MOVES:
        return strcmp(row->status, "cancelling") == 0 ? row->status : "validating";
    case FOLLOWED_RUNS:
        if (!is_at(row, runtime_fingerprint(rt, deployment), native))
            return "validating"; /* this is old */
        return will_move(rt, deployment, marker, batch, row->moves) ? "validating" : NULL;
    case FOLLOWED_WAITS:
    case FOLLOWED_OVER:
        break;
    }
    return NULL;
}

bool moved_hide_failure(const struct runtime *rt, uint32_t deployment, const struct marker *marker,
                        struct json_doc *doc, struct json *batch)
{
    struct followed_row row;
    const char *status = status_to_show(rt, deployment, marker, batch, &row);

    if (status == NULL)
        return false;
    json_set_str(doc, batch, "status", status);
    json_set(doc, batch, "errors", json_new_null(doc));
    json_set(doc, batch, "failed_at", json_new_null(doc));
    if (strcmp(status, "cancelling") == 0 && row.cancelling_s > 0)
        json_set_int(doc, batch, "cancelling_at", row.cancelling_s);
    return true;
}

void moved_keep_cancelling(const struct runtime *rt, uint32_t deployment, struct json_doc *doc,
                           struct json *batch)
{
    const char *native = json_get_str(batch, "id");
    struct followed_row row;

    if (native == NULL || ledger_phase_of(batch) != LEDGER_RUNNING || ledger_is_cancelling(batch) ||
        !find_row(rt->inherited, runtime_fingerprint(rt, deployment), native, &row) ||
        row.state != FOLLOWED_RUNS || strcmp(row.status, "cancelling") != 0)
        return;
    json_set_str(doc, batch, "status", row.status);
    if (row.cancelling_s > 0)
        json_set_int(doc, batch, "cancelling_at", row.cancelling_s);
}

uint32_t moved_find(const struct runtime *rt, uint32_t fingerprint, const char *native,
                    struct followed_row *row)
{
    uint32_t account;

    *row = (struct followed_row){0};
    if (!followed_find(rt->inherited->followed, fingerprint, native, row) ||
        (row->state != FOLLOWED_RUNS && row->state != FOLLOWED_OVER))
        return MODEL_NO_INDEX;
    if (is_at(row, fingerprint, native))
        return MODEL_NO_INDEX;
    account = runtime_find_account(rt, row->at.account);
    return account != MODEL_NO_INDEX ? rt->account_first[account] : MODEL_NO_INDEX;
}

/* One of a move that no row tells of: its create was not told of yet, or it was moved on from here. */
static bool is_move_between(const struct runtime *rt, uint32_t deployment,
                            const struct marker *marker, const struct json *batch)
{
    int64_t created_s;

    if (marker == NULL || marker->origin == 0 ||
        strncmp(marker->nonce, MOVED_NONCE, strlen(MOVED_NONCE)) != 0)
        return false;
    if (ledger_phase_of(batch) == LEDGER_DROPPED && ledger_was_full(batch))
        return true;
    return json_int64(json_get(batch, "created_at"), &created_s) &&
           provider_clock_now_s(rt->inherited, deployment) < created_s + MOVED_YOUNG_S;
}

bool moved_is_away(const struct runtime *rt, uint32_t deployment, const struct marker *marker,
                   const char *native)
{
    uint32_t fingerprint = runtime_fingerprint(rt, deployment);
    struct followed_row row;

    if (find_row(rt->inherited, fingerprint, native, &row))
        return row.state == FOLLOWED_RUNS && !is_at(&row, fingerprint, native);
    return marker != NULL && strncmp(marker->nonce, MOVED_NONCE, strlen(MOVED_NONCE)) == 0;
}

bool moved_is_here(const struct runtime *rt, uint32_t deployment, const struct marker *marker,
                   const struct json *batch)
{
    uint32_t fingerprint = runtime_fingerprint(rt, deployment);
    const char *native = json_get_str(batch, "id");
    struct followed_row row;

    if (rt->inherited->followed == NULL || native == NULL || seeded_fault(SEEDED_SHOWN_MOVE))
        return false;
    if (followed_find_at(rt->inherited->followed, fingerprint, native, &row))
        return row.account != fingerprint || strcmp(row.native, native) != 0;
    return is_move_between(rt, deployment, marker, batch);
}

bool moved_is_any(const struct runtime *rt)
{
    return rt->inherited->followed != NULL && followed_counts(rt->inherited->followed).rows > 0;
}

static void set_time(struct json_doc *doc, struct json *batch, const char *name, int64_t unix_s)
{
    if (unix_s > 0)
        json_set_int(doc, batch, name, unix_s);
}

/* @param native  of the account of `at`; "": there is none */
static void set_file(const struct viewer *viewer, uint32_t at, struct json_doc *doc,
                     struct json *batch, const char *name, const char *native)
{
    struct strbuf id = STRBUF_INIT;

    if (native[0] != '\0')
        client_ids_text(viewer, at, ID_FILE,
                        viewer->owner != 0 || client_ids_are_tagged(viewer, at), native, &id);
    if (id.len > 0)
        json_set_str(doc, batch, name, strbuf_str(&id));
    else
        json_set(doc, batch, name, json_new_null(doc));
    strbuf_deinit(&id);
}

static void set_end(struct json_doc *doc, struct json *batch, const struct followed_row *row)
{
    static const char *const ends[][2] = {{"completed", "completed_at"},
                                          {"failed", "failed_at"},
                                          {"expired", "expired_at"},
                                          {"cancelled", "cancelled_at"}};

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (strcmp(row->status, ends[i][0]) == 0)
            set_time(doc, batch, ends[i][1], row->finished_s);
}

static void set_counts(struct json_doc *doc, struct json *batch, const struct followed_row *row)
{
    struct json *counts = json_new_object(doc);

    json_set_int(doc, counts, "total", (int64_t)row->total);
    json_set_int(doc, counts, "completed", (int64_t)row->completed);
    json_set_int(doc, counts, "failed", (int64_t)row->failed);
    json_set(doc, batch, "request_counts", counts);
}

/* How far it is: what is shown never goes back (D4). @return -1: it cannot be told; of one that has
 * failed only the keeper can, since it may move once more */
static int stage_of(const char *status)
{
    static const char *const stages[] = {"validating", "in_progress", "finalizing", "cancelling",
                                         "completed",  "expired",     "cancelled"};

    for (int n = 0; n < (int)(sizeof(stages) / sizeof(stages[0])); n++)
        if (strcmp(status, stages[n]) == 0)
            return n < 4 ? n : 4;
    return -1;
}

static bool is_further(const struct wire_seen *seen, const struct followed_row *row)
{
    int now = stage_of(seen->status), before = stage_of(row->status);

    if (now < 0 || before < 0)
        return false;
    return now != before ? now > before
                         : seen->completed + seen->failed > row->completed + row->failed;
}

static void take_file(char out[FOLLOWED_NATIVE], const char *native)
{
    if (strlen(native) < FOLLOWED_NATIVE)
        strcpy(out, native);
}

/* What its provider does not say stays what was told before. */
static void take_time(int64_t *out, uint64_t unix_s)
{
    if (unix_s != 0)
        *out = (int64_t)unix_s;
}

/* Clients may have been shown more than the keeper has told of yet. */
static void catch_up(const struct inherited *inherited, struct followed_row *row)
{
    static struct wire_seen seen; /* one process, one call at a time */
    struct strbuf errors = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json *batch =
        doc != NULL ? polls_last(inherited, row->at.account, row->at.native, doc, clock_now_ms())
                    : NULL;

    if (batch != NULL && seen_read(batch, &seen, &errors) &&
        strlen(seen.status) < FOLLOWED_STATUS && is_further(&seen, row)) {
        strcpy(row->status, seen.status);
        row->total = seen.total;
        row->completed = seen.completed;
        row->failed = seen.failed;
        take_time(&row->in_progress_s, seen.in_progress_s);
        take_time(&row->finalizing_s, seen.finalizing_s);
        take_time(&row->cancelling_s, seen.cancelling_s);
        take_time(&row->finished_s, seen.finished_s);
        take_file(row->output_file, seen.output);
        take_file(row->error_file, seen.error);
    }
    strbuf_deinit(&errors);
    json_doc_free(doc);
}

void moved_show_in_list(const struct viewer *viewer, uint32_t deployment, const char *native,
                        struct json_doc *doc, struct json *batch)
{
    struct viewer owner = *viewer;
    struct followed_row row;
    uint32_t at = moved_find(viewer->rt, runtime_fingerprint(viewer->rt, deployment), native, &row);
    bool cancelled = at == MODEL_NO_INDEX && row.state == FOLLOWED_OVER && row.has_text;

    if (at == MODEL_NO_INDEX && !cancelled)
        return;
    if (!cancelled)
        catch_up(viewer->rt->inherited, &row);
    owner.owner = owner.owner != 0 ? owner.owner : row.owner;
    json_set_str(doc, batch, "status", row.status);
    if (strcmp(row.status, "failed") != 0)
        json_set(doc, batch, "errors", json_new_null(doc));
    json_set(doc, batch, "failed_at", json_new_null(doc));
    set_time(doc, batch, "in_progress_at", row.in_progress_s);
    set_time(doc, batch, "finalizing_at", row.finalizing_s);
    set_time(doc, batch, "cancelling_at", row.cancelling_s);
    set_time(doc, batch, "expires_at", row.expires_s);
    set_end(doc, batch, &row);
    if (cancelled)
        return;
    set_counts(doc, batch, &row);
    set_file(&owner, at, doc, batch, "output_file_id", row.output_file);
    set_file(&owner, at, doc, batch, "error_file_id", row.error_file);
}

bool moved_needs_copy(const struct inherited *inherited, uint32_t fingerprint,
                      const struct observation *seen)
{
    struct followed_row row;

    if (inherited->followed == NULL || !inherited->config->move_failed || !seen->too_large)
        return false;
    return !find_row(inherited, fingerprint, seen->id, &row) || row.state != FOLLOWED_OVER;
}

void moved_make_cancelled(struct json_doc *doc, struct json *batch, bool at_once, int64_t now_s)
{
    json_set_str(doc, batch, "status", at_once ? "cancelled" : "cancelling");
    json_set(doc, batch, "errors", json_new_null(doc));
    json_set(doc, batch, "failed_at", json_new_null(doc));
    json_set_int(doc, batch, "cancelling_at", now_s);
    json_set(doc, batch, "cancelled_at", at_once ? json_new_int(doc, now_s) : json_new_null(doc));
}
