/* A create that somebody else has prepared: its input file was stored a moment ago for it alone, and
 * it is known that the request was not made before. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "once/repeat.h"
#include "request/relay.h"

struct create_prepared {
    struct repeat *repeat; /* that has called on_new; taken over, and empty afterwards */
    uint64_t request;      /* fingerprint of what was asked, as `repeat` has it */
    const char *nonce;     /* of the marker, the same */
};

/** Make the batch that relay->request describes, as create_start() does. Its file is deleted again
 * when it is known that no batch was made of it.
 *  @return false: it was answered with an error, `repeat` is the caller's, and so is the file */
MUST_USE bool create_start_prepared(struct relay *relay, const struct create_prepared *prepared);
