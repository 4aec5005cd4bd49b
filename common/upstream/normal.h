/* The one normaliser: whatever a provider answered becomes OpenAI's shape (architecture section 3; statements 88-92, 97). Unknown fields and statuses
 * pass through unchanged. Works in place on a parsed answer. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/json.h"
#include "common/model.h"

/** A File: `object` filled, status lower-cased, `pending`/`running` shown as `uploaded` (wait helpers poll until `processed`, `error` or `deleted`, which
 *  stay), null or missing bytes -> `bytes_hint` (or 0), ISO times -> Unix seconds, missing status_details -> null. */
void normal_file(struct json_doc *doc, struct json *file, int64_t bytes_hint);

/** A Batch: all keys of reference 1.3 present, unset ones null, in their order (unknown ones after them); "" ids -> null; statuses lower-case;
 *  ISO times -> integers; null request_counts members -> 0; errors.data[].line integer; our own metadata pair (key "tranche") removed.
 *  @param client_endpoint  what the client sent ("/v1/chat/completions") or NULL: then a bare "/chat/completions" gets its /v1 back */
void normal_batch(struct json_doc *doc, struct json *batch, const char *client_endpoint);

/** A deletion answer, also from an empty 204: {"id","object":"file","deleted":true}. */
struct json *normal_deletion(struct json_doc *doc, struct json *answer, const char *id);

/** A list: the `data` array of either form (`data`, old `value`); NULL when there is none. Does not touch the elements. */
struct json *normal_list_data(struct json *answer);
