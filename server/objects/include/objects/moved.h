/* Batches that failed late and run elsewhere, or will, as clients see them (journal statements D2 to
 * D4, D14): under the id that they were made with, `validating` while they move, and then as they are
 * where they are. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/followed.h"
#include "crypto/marker.h"
#include "json/json.h"
#include "objects/client_ids.h"
#include "objects/observation.h"
#include "core/runtime.h"

/** Show a batch that has failed as one that does not know yet, where it is moved, or will be.
 *  @param deployment  one of the account that sent it
 *  @param marker      ours; NULL: it has none, and is not moved
 *  @param batch       as its provider sent it; changed in place
 *  @return whether it is one */
bool moved_hide_failure(const struct runtime *rt, uint32_t deployment, const struct marker *marker,
                        struct json_doc *doc, struct json *batch);

/** A moved batch whose client was told that it is being cancelled is, also before its provider knows.
 *  @param batch  as its provider sent it; changed in place */
void moved_keep_cancelling(const struct runtime *rt, uint32_t deployment, struct json_doc *doc,
                           struct json *batch);

/** Where the batch of a client's id is, if that is not where its id says.
 *  @param fingerprint  of the account in its id
 *  @param row          written
 *  @return the deployment that stands for its account; MODEL_NO_INDEX: it is where its id says */
uint32_t moved_find(const struct runtime *rt, uint32_t fingerprint, const char *native,
                    struct followed_row *row);

/* The nonce of a move's marker begins with it: so lists know such a batch before the keeper does. One
 * that nobody has told of for MOVED_YOUNG_S is shown by itself: its first id is lost with a database */
#define MOVED_NONCE   "6d6f7665"
#define MOVED_YOUNG_S 600

/** Whether a batch of this account is another one's by its client's id: no list shows it by itself.
 *  @param marker  ours; NULL: it has none */
bool moved_is_here(const struct runtime *rt, uint32_t deployment, const struct marker *marker,
                   const struct json *batch);

/** Whether a batch that this account has failed is elsewhere by now.
 *  @param marker  ours; NULL: it has none */
bool moved_is_away(const struct runtime *rt, uint32_t deployment, const struct marker *marker,
                   const char *native);

/** Whether there may be any, so that lists leave something out. */
bool moved_is_any(const struct runtime *rt);

/** A batch in the list of the provider that failed it, as it is now elsewhere; another one stays as it
 * is.
 *  @param deployment  one of the account whose list it is @param native  its id there
 *  @param batch       as batch_view() made it */
void moved_show_in_list(const struct viewer *viewer, uint32_t deployment, const char *native,
                        struct json_doc *doc, struct json *batch);

/** Whether the copy that a batch ran on may still be wanted for its move. */
bool moved_needs_copy(const struct inherited *inherited, uint32_t fingerprint,
                      const struct observation *seen);

/** Make a batch that failed one that its client has cancelled. @param now_s  Unix */
void moved_make_cancelled(struct json_doc *doc, struct json *batch, bool at_once, int64_t now_s);
