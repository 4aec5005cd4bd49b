/* What the quota ledger learns from batch objects: each one that passes, in an answer, a list or a
 * poll of the prober's process, says whether its reservation is still needed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "json/json.h"
#include "crypto/marker.h"
#include "core/inherited.h"

enum ledger_phase {
    LEDGER_RUNNING,  /* its tokens are enqueued */
    LEDGER_FINISHED, /* completed: they were worked off */
    LEDGER_DROPPED   /* failed, expired, cancelled */
};

/** Where a batch stands, from its `status` in any case; one that nobody knows is RUNNING. Pure. */
enum ledger_phase ledger_phase_of(const struct json *batch);

/** Whether a batch is being cancelled. Pure. */
bool ledger_is_cancelling(const struct json *batch);

/** Whether a failed batch failed because its deployment was full (the slow form of the refusal,
 * providers 2.6). Pure. */
bool ledger_was_full(const struct json *batch);

/** The limit that a refusal's text names: "Limit: 90000 enqueued tokens", "the configured limit of
 * 30K for the deployment" (providers 1.7 and 2.6); 0: none. Pure. */
uint64_t ledger_limit_in(const char *message);

/** How many tokens of a deployment all gateways may share: its limit, less what others than they have
 * enqueued there; UINT64_MAX: no limit is known. */
uint64_t ledger_shared_limit(const struct inherited *inherited, uint32_t deployment,
                             uint64_t now_ms);

/** The text of a batch's marker, ours or not; NULL: it has none. */
const char *ledger_marker_text(const struct json *batch);

/** The marker in a batch's metadata, as the provider sent it (before normal_batch() strips it).
 * @return false: none, or not ours */
bool ledger_marker(const struct ids_seals *seals, const struct json *batch, struct marker *out);

/** The deployment that a marker names; MODEL_NO_INDEX: none of this configuration. */
uint32_t ledger_deployment(const struct inherited *inherited, const struct marker *marker);

/** A moved batch has ended, and its copy may be deleted. Everybody who looks at the batch sees
 * that.
 *  @param fingerprint  of the account that holds the copy
 *  @param copy         native id; NULL or "": there is none
 *  @return whether the caller deletes it: the operator wants that (delete_moved_copies), and the
 *         caller is the first. The memo may forget: to delete it twice is harmless */
bool ledger_takes_copy(const struct inherited *inherited, uint32_t fingerprint, const char *copy,
                       uint64_t now_ms);

/** A job was refused as more than the room at a deployment (once it has given its tokens back):
 * what that says about the job, and about the deployment (quota_full()). Of a wildcard row neither
 * is kept: another model of it would be judged by it.
 *  @param job     facts_job(); 0: not known, then only the deployment is judged
 *  @param tokens  of its estimate, as counted there */
void ledger_note_refused(const struct inherited *inherited, uint32_t deployment, uint64_t job,
                         uint64_t tokens, uint64_t now_ms);
