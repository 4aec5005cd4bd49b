/* `GET /v1/batches/{id}?expand=events`: the batch with its story out of the journal. The one poll that
 * waits for the keeper, at most as long as every question to it may (tenants/ask.h); without the
 * parameter a poll is what it was. Where the story cannot be had the batch is answered all the same,
 * with `"events": null` and the reason in `x-tranche-partial`, as lists do it: who polls for a status
 * gets it, and no SDK repeats a request that cannot become better. `?strict=true` makes it a 503. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "journal/wire.h"
#include "request/relay.h"

/** Whether a request for one batch names "events" in `expand` or `expand[]`, alone or with commas.
 *  Other names mean nothing. */
bool expand_wants_events(const struct relay *relay);

/** What is asked about it.
 *  @param native   borrowed by what is returned
 *  @param account  fingerprint of where it is */
struct wire_story expand_question(const struct relay *relay, const char *native, uint32_t account);

/** Why there is no story, for people. @param asked  false: there is no journal */
const char *expand_reason(bool asked, enum wire_story_end end);

/** Put a story into a batch. @param text  of WIRE_STORY. @return false: it cannot be read */
bool expand_set(struct json_doc *doc, struct json *batch, const char *text, size_t len);

/** Say what the batch lacks: null, and the header. @param reason  of expand_reason() */
void expand_lack(struct relay *relay, struct json_doc *doc, struct json *batch, const char *reason);

/** Whether a story that is missing is an error. */
bool expand_is_strict(const struct relay *relay);
