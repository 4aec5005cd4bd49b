/* See past.h. */
#include "core/past.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "crypto/marker.h"
#include "upstream/normal.h"
#include "core/provider_clock.h"
#include "run_record.h"

#define ROUNDING_S 2           /* what whole seconds may hide of a moment: theirs, and ours */
#define FRESH_S    (24 * 3600) /* a batch that is older tells of nobody who was here of late */

/* How long a create may be under way once nobody waits for it: the limit that its sender had for
 * it, and some for the list. */
static uint64_t window_ms_of(const struct config *config)
{
    return (uint64_t)config->timeouts.json_total_ms + PAST_LISTED_MS;
}

/* Whether we have it still. We may have left its address for another one, and a gateway may have
 * been there meanwhile whose record tells of its own end: then ours is forgotten. */
static bool is_taken(struct past *past, const char *path)
{
    struct run_record **link = &past->records, *record;

    while (*link != NULL && strcmp((*link)->path, path) != 0)
        link = &(*link)->next;
    record = *link;
    if (record == NULL || run_record_goes_on(record))
        return record != NULL;
    *link = record->next;
    run_record_free(record);
    return false;
}

static void log_past(const struct config *config, const struct run_past *found, bool kept,
                     uint64_t now_ms)
{
    if (found->unsure_ms > now_ms)
        log_warn(
            "previous gateway on %s:%d: %s. For %llu s, a create with an Idempotency-Key, or that "
            "an "
            "SDK repeats, is answered 503 (repeat_unknown) when its batch is not found upstream",
            config->host, config->port, found->why,
            (unsigned long long)((found->unsure_ms - now_ms + 999) / 1000));
    if (!kept)
        log_warn(
            "cannot record how this gateway ends, so every start counts as one after a crash: set "
            "tranche_settings.state_dir to a writable directory");
}

/* Whoever follows on a free port listens on another one; a directory of its own makes up for it. */
static bool has_record(const struct config *config)
{
    return config->port != 0 || config->state_dir_is_given;
}

char *past_record_path(const struct config *config)
{
    return has_record(config) ? run_record_path(config->state_dir, config->host, config->port)
                              : NULL;
}

void past_take(struct past *past, const struct config *config, struct idem *idem, bool quiet,
               uint64_t now_ms)
{
    uint64_t window_ms = window_ms_of(config);
    char *path = past_record_path(config);
    struct run_past found = {.suspect_ms = now_ms + window_ms};
    struct run_record *record = NULL;

    if (path != NULL && is_taken(past, path)) {
        free(path);
        return;
    }
    if (path != NULL)
        record = run_record_begin(path, window_ms, now_ms, &found);
    if (record != NULL) {
        record->next = past->records;
        past->records = record;
    }
    if (!quiet) {
        idem_note_before(idem, found.unsure_ms, true);
        idem_note_before(idem, found.suspect_ms, false);
    } else {
        found.unsure_ms = 0;
    }
    log_past(config, &found, record != NULL || !has_record(config), now_ms);
}

void past_unshared(const struct config *config, struct idem *idem, uint64_t now_ms)
{
    idem_note_before(idem, now_ms + config->timeouts.shutdown_grace_ms + window_ms_of(config),
                     true);
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t if_to_come(uint64_t at_ms, uint64_t now_ms)
{
    return at_ms > now_ms ? at_ms : 0;
}

void past_end(struct past *past, const struct idem *idem, bool clean, uint64_t now_ms)
{
    while (past->records != NULL) {
        struct run_record *record = past->records;
        uint64_t lost_ms = idem_lost_ms(idem);
        uint64_t unsure_ms = lost_ms != 0 ? lost_ms + record->window_ms : 0;

        past->records = record->next;
        if (clean &&
            run_record_end(record,
                           if_to_come(larger(unsure_ms, idem_unsure_until_ms(idem)), now_ms)) != 0)
            log_warn("cannot write %s: the next start counts as one after a crash", record->path);
        run_record_free(record);
    }
}

/* The earliest time that the provider may have told at a moment of ours. A batch that we made a
 * moment after our start is not taken for one of before: what is left out is what a gateway before
 * made in its last seconds, and nothing in the day before. */
static int64_t told_at(const struct inherited *inherited, uint32_t deployment, uint64_t moment_ms,
                       uint64_t now_ms)
{
    return provider_clock_floor_s(inherited, deployment) - ROUNDING_S -
           (int64_t)((now_ms > moment_ms ? now_ms - moment_ms : 0) / 1000);
}

void past_saw(const struct inherited *inherited, uint32_t deployment, const struct json *batch,
              uint64_t now_ms)
{
    struct idem *idem = inherited->idem;
    int64_t made_s;

    if (idem == NULL || idem_suspect_until_ms(idem) <= now_ms ||
        idem_unsure_until_ms(idem) > now_ms ||
        json_get_str(json_get(batch, "metadata"), MARKER_KEY) == NULL ||
        !normal_time(json_get(batch, "created_at"), &made_s) ||
        made_s >= told_at(inherited, deployment, idem_since_ms(idem), now_ms) ||
        made_s < told_at(inherited, deployment, now_ms, now_ms) - FRESH_S)
        return;
    idem_note_evidence(idem);
    log_warn(
        "a previous gateway made batches, and how it ended is unknown: for %llu s, a create with "
        "an Idempotency-Key, or that an SDK repeats, is answered 503 (repeat_unknown) when its "
        "batch is not found upstream",
        (unsigned long long)((idem_suspect_until_ms(idem) - now_ms + 999) / 1000));
}
