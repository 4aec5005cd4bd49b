/* The id that a client named, as it wrote it. */
#pragma once

#include <stdint.h>

#include "crypto/ids.h"

/* The tagged id that a request names, once it was opened: an answer that shows the same object
 * shows the same text, which need not be sealed again. */
struct named {
    enum id_kind kind;
    uint32_t deployment; /* fingerprint in its tag; the owner is the viewer's */
    size_t len;          /* 0: none, or minting would give another text now */
    size_t native_len;
    char id[IDS_MAX + 1];
};
