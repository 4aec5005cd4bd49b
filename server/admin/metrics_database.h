/* What the metrics page says of the database and the fleet (journal statement C36). Pure: from the
 * keeper's words to lines. */
#pragma once

#include <stdint.h>

#include "common/strbuf.h"
#include "core/database_words.h"

/** All of it; nothing where no database is configured, so that such a page stays what it was.
 *  @param now_ms  monotonic */
void metrics_database_write(const struct database_words *words, uint64_t now_ms,
                            struct strbuf *out);
