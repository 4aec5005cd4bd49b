/* What a key may, copied and compared: for keys that are read from a database again and again. */
#pragma once

#include <stdbool.h>

#include "common/err.h"
#include "common/rights.h"

/** Copy all of a key. @param out  rights_key_deinit() it, also after an error
 *  @return 0, ERR_NOMEM */
MUST_USE int key_copy(struct rights_key *out, const struct rights_key *key);

/** Whether two keys of one hash may the same, and are called the same. */
bool key_is_same(const struct rights_key *a, const struct rights_key *b);
