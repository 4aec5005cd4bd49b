/* What /health says of the database and the fleet (journal statement C36). */
#pragma once

#include <stdint.h>

#include "common/strbuf.h"
#include "core/database_words.h"

/** Append `,"database":{...}`; nothing where none is configured. @param now_ms  monotonic */
void health_database_write(const struct database_words *words, uint64_t now_ms, struct strbuf *out);
