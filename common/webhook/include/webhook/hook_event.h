/* What is told of a batch: OpenAI's own events, of four types and no other (webhook statements D20
 * and D22). Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

enum hook_type { HOOK_COMPLETED, HOOK_FAILED, HOOK_EXPIRED, HOOK_CANCELLED };
#define HOOK_TYPES     4
#define HOOK_ALL_TYPES ((1u << HOOK_TYPES) - 1)

#define HOOK_EVENT_ID 36 /* characters of an event's id: "evt_" and 32 hex digits */

/** "batch.completed", ... */
const char *hook_type_name(enum hook_type type);

/** @return false: it is none of the four names */
bool hook_type_of(const char *name, enum hook_type *out);

/** The type that tells of a batch's status.
 *  @return false: a batch with this status has not ended */
bool hook_type_of_status(const char *status, enum hook_type *out);

/** Make an event's id, of 128 random bits. @return 0, ERR_IO (no randomness) */
MUST_USE int hook_event_new_id(char out[HOOK_EVENT_ID + 1]);

/** Append the body of an event, whose bytes stay as they are for all of its tries (D23).
 *  @param id          the event's
 *  @param created_s   Unix seconds of its birth
 *  @param batch_id    as its client knows the batch */
void hook_event_body(const char *id, int64_t created_s, enum hook_type type, const char *batch_id,
                     struct strbuf *out);

/** Append a set of types as JSON: ["batch.completed","batch.failed"]. @param types  a bit each */
void hook_types_write(unsigned types, struct strbuf *out);
