/* Secrets in a parsed answer: its strings and the names of its members. */
#pragma once

#include "json/json.h"
#include "common/mask.h"

/** Replace what the tree holds of a set, in place. A tree without anything of it costs a look at
 * each string and nothing else.
 *  @param mask   NULL: nothing is looked for
 *  @param guess  texts for people: what merely looks like a key goes too (mask_guess()) */
void json_mask(struct json_doc *doc, struct json *v, const struct mask *mask, bool guess);
