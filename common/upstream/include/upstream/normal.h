/* The one normaliser: whatever a provider answered becomes OpenAI's shape (server README 3;
 * providers statements 88-92, 97). Unknown fields and statuses pass through unchanged. Works in
 * place on a parsed answer. Secrets that a provider quotes are masked first (mask_installed()). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json/json.h"
#include "common/model.h"

/** A File: `object` filled, status lower-cased, `pending`/`running` shown as `uploaded` (wait
 * helpers poll until `processed`, `error` or `deleted`, which stay), a missing status ->
 * `processed`, null or missing bytes -> `bytes_hint` (0 when negative), ISO times -> Unix seconds,
 * missing status_details -> null. All functions here leave alone what is no object, and can be
 * applied twice. */
void normal_file(struct json_doc *doc, struct json *file, int64_t bytes_hint);

/** A Batch: all keys of providers 1.3 present, unset ones null, in their order (unknown ones after
 * them); "" ids -> null; statuses lower-case; ISO times -> integers; null request_counts -> 0, or
 * null when the batch has run; null members of it -> 0; errors.data[].line integer; our own
 * metadata pair (key "tranche") removed, metadata null when nothing else is in it.
 *  @param client_endpoint  what the client sent ("/v1/chat/completions") or NULL: then a bare
 *         "/chat/completions" gets its /v1 back */
void normal_batch(struct json_doc *doc, struct json *batch, const char *client_endpoint);

/** A deletion answer, also from an empty 204 (then `answer` is NULL):
 * {"id","object":"file","deleted":true}, unknown members behind.
 *  @param id  what the client called it  @return a new object; NULL: out of memory */
struct json *normal_deletion(struct json_doc *doc, struct json *answer, const char *id);

/** A list: the `data` array of either form (`data`, old `value`); NULL when there is none. Does not
 * touch the elements. */
struct json *normal_list_data(struct json *answer);

/** A time as any provider writes it: Unix seconds (also as a string) or ISO 8601. Pure.
 *  @return false: it is none */
bool normal_time(const struct json *value, int64_t *unix_s);
