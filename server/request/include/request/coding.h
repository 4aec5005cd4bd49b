/* Request bodies that are not the bytes they stand for (Content-Encoding). */
#pragma once

#include "request/relay.h"

/** Whether the body, if there is one, is as it is. Bytes of a gzip stream would otherwise be taken
 * for the form or the JSON that they hold.
 *  @return false: a 415 was answered that names what is taken
 * Source: RFC 9110, sections 8.4, 12.5.3 and 15.5.16. */
bool coding_is_fine(struct relay *relay);
