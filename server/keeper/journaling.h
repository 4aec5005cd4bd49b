/* The journal of batches in the keeper: this node among others (fleet.h), creates before they are
 * sent (intents.h), the registry and watch of batches (batches.h), and accounts' files (file_totals.h). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "core/inherited.h"
#include "keeper/calls.h"
#include "manage/manage.h"

struct journaling;

struct journaling_options {
    const struct inherited *inherited; /* borrowed, as all that follows */
    uint32_t slot;
    struct loop *loop;
    struct store *store;
    struct calls *calls;
    struct manage *manage;     /* its `rebuild` is set */
    const struct vault *vault; /* of secrets in the database */
    const char *node;          /* this node's name; copied; "": there is no other one */
};

/** Serve all kinds of the journal. @return 0, ERR_NOMEM, or an error */
MUST_USE int journaling_new(const struct journaling_options *options, struct journaling **out);

/** This node's name, as the database has it; lives as long as `journaling`. */
const char *journaling_node(const struct journaling *journaling);

/** Once a second. @param now_ms  monotonic @param stopping  another keeper has the word by now */
void journaling_step(struct journaling *journaling, bool stopping, uint64_t now_ms);

/** This keeper ends: what other nodes count of it is given back at once. @param now_ms  monotonic */
void journaling_end(struct journaling *journaling, uint64_t now_ms);

/** Whether all that was told is in the database or on the disk. */
bool journaling_is_done(const struct journaling *journaling);
