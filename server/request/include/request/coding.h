/* Request bodies that are not the bytes they stand for (Content-Encoding). */
#pragma once

#include "common/err.h"
#include "request/relay.h"

/** Whether the body, if there is one, is as it is. Bytes of a gzip stream would otherwise be taken
 * for the form or the JSON that they hold.
 * Answers 415, with what is taken.
 * Source: RFC 9110, sections 8.4, 12.5.3 and 15.5.16. */
MUST_USE enum answered coding_check(struct relay *relay);
