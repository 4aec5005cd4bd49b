/* A tenant's limits that protect this gateway, for its key and for its team (tenants statements
 * A30, A33, A43): how fast requests come, how many are in flight, how many uploads and bytes of
 * uploads, how large a file may be, and how long files are kept. They hold for all workers of this
 * node together (balancer/meters.h); what counts at the provider is in the ledger. The master key
 * has no limits but those of the configuration. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "request/relay.h"

/** When a wait is over, as LiteLLM's clients read it: "2026-11-29 13:45:00 UTC". */
void limits_reset_time(int64_t wait_ms, char *text, size_t size);

/** Take the request's place: its rate, and those in flight. Before anything of its body is read.
 * Answers 429 with LiteLLM's text and headers when there is none. The place is given back at the
 * relay's end, or at the end of an operation that goes on without it. */
MUST_USE enum answered limits_admit(struct relay *relay);

/** Give it back; once. */
void limits_release(const struct runtime *rt, struct limits_place *place);

/* What an upload holds, all zero before limits_begin_upload(). */
struct limits_upload {
    const struct runtime *rt; /* borrowed; NULL: nothing is held */
    struct limits_place place;
    uint64_t bytes; /* that are held: announced, or received by now */
};

/**
 * Take an upload's place, and hold what its head announces.
 *
 * @param announced  bytes of the whole body; -1: not told
 * @param why        written when it is refused: 413 for what is too large at any time, else 429
 * @return false: refused, and nothing is held
 */
MUST_USE bool limits_begin_upload(struct relay *relay, int64_t announced,
                                  struct limits_upload *upload, struct failure *why);

/** Whether a file may have this name: `blocked_file_extensions` (tenants statement A34).
 *  @param filename  without folders
 *  @return false: `why` says what to answer */
MUST_USE bool limits_allow_name(const struct relay *relay, const char *filename,
                                struct failure *why);

/** More of its file has come: `file` bytes by now.
 *  @return false: refused, as above */
MUST_USE bool limits_upload_grows(const struct relay *relay, struct limits_upload *upload,
                                  uint64_t file, struct failure *why);

/** Whether so many more bytes of the upload leave room in the spool for other tenants' uploads.
 *  @param reserved  bytes that have room in it already: they are taken from nobody */
bool limits_upload_is_fair(const struct relay *relay, const struct limits_upload *upload,
                           uint64_t more, uint64_t reserved);

/**
 * Whether an upload that comes in parts may be begun. An admin key's count for itself alone: they
 * have no owner, and are no team's.
 *
 * @param bytes   of the whole file
 * @param own     bytes that the open ones of its owner (its team, else its key) have reserved
 * @param of_key  ... and of these the ones that its key began
 * @param why     written when it is refused: 413 for what is too large at any time, else 429
 */
MUST_USE bool limits_reserve(const struct relay *relay, uint64_t bytes, uint64_t own,
                             uint64_t of_key, struct failure *why);

/** It holds nothing any more. Safe to call more than once, and when nothing was begun. */
void limits_end_upload(struct limits_upload *upload);

/** What expires_after has to be whatever the client says: of the key, else the team, else of all.
 *  @return seconds; 0: what the client says */
uint32_t limits_file_expiry(const struct relay *relay);

/** How long the files of the caller's batches stay after their end (common/retention.h).
 *  @return seconds; 0: they are not deleted */
uint32_t limits_delete_after(const struct relay *relay);

/** The same of a batch's output_expires_after. */
uint32_t limits_output_expiry(const struct relay *relay);
