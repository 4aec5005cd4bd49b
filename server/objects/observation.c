/* See observation.h. */
#include "objects/observation.h"

#include <stdio.h>
#include <string.h>

#include "common/seeded_fault.h"
#include "upstream/normal.h"
#include "objects/facts.h"
#include "core/provider_clock.h"

static uint64_t count_of(const struct json *counts, const char *key)
{
    int64_t n;

    return json_int64(json_get(counts, key), &n) && n > 0 ? (uint64_t)n : 0;
}

/* What the object alone tells, as far as its form is known before it is normalised: nothing of its
 * marker, which is left as it is. @return as observation_read() */
static bool note(const struct json *batch, struct observation *out)
{
    size_t len;
    const char *id = json_str(json_get(batch, "id"), &len);
    const struct json *counts = json_get(batch, "request_counts");

    out->marked = out->cancelling = out->refund = false;
    out->copy[0] = '\0';
    if (!json_is(batch, JSON_OBJECT) || id == NULL || len == 0 || len > IDS_MAX)
        return false;
    memcpy(out->id, id, len);
    out->id[len] = '\0';
    out->phase = ledger_phase_of(batch);
    out->cancelling = out->phase == LEDGER_RUNNING && ledger_is_cancelling(batch);
    out->too_large = out->phase == LEDGER_DROPPED && ledger_was_full(batch);
    if (!json_int64(json_get(batch, "created_at"), &out->created_s) || out->created_s < 0)
        out->created_s = 0;
    out->total = count_of(counts, "total");
    out->done = count_of(counts, "completed") + count_of(counts, "failed");
    return true;
}

bool observation_read(struct json_doc *doc, struct json *batch, const struct ids_seals *seals,
                      struct observation *out)
{
    const char *input = json_get_str(batch, "input_file_id");
    struct marker marker;
    bool marked = ledger_marker(seals, batch, &marker);

    normal_batch(doc, batch, NULL); /* takes the marker out */
    if (!note(batch, out))
        return false;
    out->marked = marked;
    if (marked)
        out->marker = marker;
    if (marked && marker.origin != 0 && input != NULL && strlen(input) <= IDS_MAX)
        snprintf(out->copy, sizeof(out->copy), "%s", input);
    return true;
}

void observation_refund(const struct config *config, struct observation *s)
{
    s->refund = s->cancelling && config->refund_at_cancelling;
}

uint64_t observation_age_ms(const struct observation *s, int64_t now_unix_s)
{
    return s->created_s > 0 && now_unix_s > s->created_s
               ? (uint64_t)(now_unix_s - s->created_s) * 1000
               : 0;
}

static enum observation_change record_end(struct quota *quota, uint32_t holder, uint32_t column,
                                          const struct observation *s, uint64_t token,
                                          uint64_t now_ms)
{
    enum quota_end end = s->phase == LEDGER_FINISHED ? QUOTA_FINISHED : QUOTA_DROPPED;

    /* One whose worker died before it had an id is known by its token only. */
    if (!quota_release(quota, holder, column, s->id, strlen(s->id), end, now_ms) &&
        !quota_release_token(quota, holder, token, now_ms))
        return OBSERVATION_NOTHING;
    return OBSERVATION_RELEASED;
}

enum observation_change observation_record(struct quota *quota, uint32_t holder, uint32_t column,
                                           const struct observation *s, uint64_t tokens,
                                           uint64_t age_ms, uint64_t now_ms)
{
    struct quota_found found = {
        .id = s->id, .len = strlen(s->id), .tokens = tokens, .age_ms = age_ms};
    bool running = s->phase == LEDGER_RUNNING && !seeded_fault(SEEDED_FREED_RESERVATION);

    if (running && s->refund)
        (void)quota_refund(quota, holder, column, s->id, found.len);
    if (running && quota_progress(quota, column, s->id, found.len, s->done, s->total, now_ms))
        return OBSERVATION_SEEN;
    if (s->marked)
        found.token = quota_token(quota, column, s->marker.nonce, strlen(s->marker.nonce));
    if (!running)
        return record_end(quota, holder, column, s, found.token, now_ms);
    if (!s->marked || tokens == 0)
        return OBSERVATION_NOTHING;
    if (!s->refund) {
        found.scopes[QUOTA_KEY] = marker_key(&s->marker);
        found.scopes[QUOTA_TEAM] = marker_team(&s->marker);
    }
    if (quota_adopt(quota, holder, column, &found, now_ms) != 0)
        return OBSERVATION_FULL;
    /* Not when its create is still in flight in a worker: then it is in the ledger by its token. */
    return quota_progress(quota, column, s->id, found.len, s->done, s->total, now_ms)
               ? OBSERVATION_ADOPTED
               : OBSERVATION_SEEN;
}

void observation_note_ended(const struct inherited *inherited, uint32_t column, uint32_t account,
                            const struct observation *s, uint64_t tokens, uint64_t now_ms)
{
    uint32_t deployment = s->marked ? ledger_deployment(inherited, &s->marker) : MODEL_NO_INDEX;
    uint32_t home = s->marked && s->marker.origin != 0 ? s->marker.origin : account;

    if (!s->too_large || tokens == 0)
        return;
    quota_forget_foreign(inherited->quota, column);
    if (deployment == MODEL_NO_INDEX)
        (void)quota_full(inherited->quota, column, tokens, now_ms);
    else
        ledger_note_refused(
            inherited, deployment,
            facts_job_of(inherited->memo, home, s->marker.file, s->marker.owner, now_ms), tokens,
            now_ms);
}

/* Prefetch the ledger's cache lines: the proof of the marker hides what they cost. */
static void expect(const struct inherited *inherited, uint32_t deployment,
                   const struct observation *s)
{
    bool ended = s->phase != LEDGER_RUNNING;

    quota_expect(inherited->quota, inherited->columns[deployment], s->id, strlen(s->id),
                 ended ? s->marker.nonce : "", ended ? MARKER_NONCE : 0);
}

bool observation_of_batch(const struct inherited *inherited, uint32_t slot, uint32_t account,
                          const struct json *batch, uint64_t now_ms, struct observation *out)
{
    const char *text = ledger_marker_text(batch);
    uint32_t deployment;
    bool counts;

    out->marked = false;
    out->phase = LEDGER_RUNNING;
    if (text == NULL || marker_parse(text, &out->marker) != 0)
        return false;
    deployment = ledger_deployment(inherited, &out->marker);
    counts = note(batch, out) && deployment != MODEL_NO_INDEX;
    if (counts)
        expect(inherited, deployment, out);
    if (!marker_is_ours(inherited->seals, text))
        return false;
    out->marked = true;
    observation_refund(inherited->config, out);
    if (counts &&
        observation_record(inherited->quota, slot, inherited->columns[deployment], out,
                           out->marker.tokens,
                           observation_age_ms(out, provider_clock_now_s(inherited, deployment)),
                           now_ms) == OBSERVATION_RELEASED)
        observation_note_ended(inherited, inherited->columns[deployment], account, out,
                               out->marker.tokens, now_ms);
    return true;
}
