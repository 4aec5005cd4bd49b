/* What must not stand twice among keys and teams: hashes, ids, aliases. A set of digests, so that
 * 100,000 keys are compared in no more time than they take to read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum key_mark { MARK_HASH, MARK_ID, MARK_ALIAS, MARK_TEAM, MARK_TEAM_ALIAS };

/* Where something stood first. */
struct key_place {
    unsigned line;
    bool in_file; /* of keys_file; false: of tranche_settings */
};

struct key_marks {
    struct key_marks_slot *slots; /* owned */
    size_t num, cap;              /* cap: a power of two */
};

void key_marks_deinit(struct key_marks *marks);

/**
 * Remember that a text stands at a place.
 *
 * @param first  written on ERR_DUPLICATE: where it stands already
 * @return 0; ERR_DUPLICATE; ERR_NOMEM
 */
MUST_USE int key_marks_put(struct key_marks *marks, enum key_mark kind, const void *text,
                           size_t len, struct key_place place, struct key_place *first);

/** Whether a text was put. */
bool key_marks_has(const struct key_marks *marks, enum key_mark kind, const void *text, size_t len);
