/* A part of an upload: the form's `data` goes into a file of the upload's folder. Two parts with the
 * same bytes are one file: an SDK that has lost an answer sends its part again. */
#pragma once

#include "receiver.h"

/** NULL is fine. */
void incoming_free(struct incoming *incoming);

/** More of its bytes. @return 0; not 0: answered */
int incoming_data(struct receiver *rc, const char *bytes, size_t len);

/** All of the form was there: keep the part, and answer. */
void incoming_end(struct receiver *rc);
