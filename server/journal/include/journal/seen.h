/* A batch as its provider shows it, as the message that tells the keeper of it (KEEPER_SEEN). Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/strbuf.h"
#include "crypto/marker.h"
#include "journal/wire.h"
#include "json/json.h"
#include "price/usage_count.h"

/** Read a batch object, as it came or normalised.
 *  @param out     what the batch says; the rest is 0 and "". Its texts are the batch's and
 *                 `errors`'s
 *  @param errors  empty before; gets the batch's `errors` as JSON
 *  @return false: it has no id, or texts that no message takes: it cannot be told of */
bool seen_read(const struct json *batch, struct wire_seen *out, struct strbuf *errors);

/** Add what its marker says, which is ours. @param marker  borrowed as long as `out` */
void seen_mark(const struct marker *marker, struct wire_seen *out);

/** Add what it used. @param counts  borrowed as long as `out` */
void seen_use(const struct usage_counts *counts, struct wire_seen *out);

/** Whether the batch has ended, by the status that was read. */
bool seen_is_ended(const struct wire_seen *seen);

/** Whether an ended batch certainly used nothing: no request of it was answered. */
bool seen_used_nothing(const struct wire_seen *seen);
