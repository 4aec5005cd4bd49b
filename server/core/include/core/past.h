/* What a previous gateway may have in flight at the providers, unknown to this one: for as long as
 * that is possible, a repeated create that is not found upstream is not made (once/repeat.c).
 *
 * A record for each address says how the previous gateway ended (run_record.h). Without a record it
 * is a first start, or a container that lost its files: then a listed batch that a gateway made,
 * older than this process and younger than a day, shows that there was a previous one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/idem.h"
#include "json/json.h"
#include "config/config.h"
#include "core/inherited.h"

#define PAST_LISTED_MS 5000 /* between a create that is carried out and its place in a list */

struct run_record;

/* The master's. All zero: nothing yet. */
struct past {
    struct run_record *records; /* owned; of all addresses that were listened on */
};

/** Where the record of this configuration's address is. @return NULL: there is none, or no memory.
 * Caller frees */
char *past_record_path(const struct config *config);

/** Take an address: read its record, tell `idem` what may be under way, and say that we run. To be
 * called before anybody may send a create, again for each further configuration. An address whose
 * record is ours is passed over; where another gateway was since, it is taken anew. Port 0 has a
 * record only in a directory that the file names.
 * @param quiet  the program before handed its memory over: what its record says is known */
void past_take(struct past *past, const struct config *config, struct idem *idem, bool quiet,
               uint64_t now_ms);

/** The program before us is alive, and its memory is not ours: all that it begins until it has
 * drained is unknown here. */
void past_unshared(const struct config *config, struct idem *idem, uint64_t now_ms);

/** All children have ended: say so, with what `idem` knows to be open, and let the records go.
 * @param clean  false: some may still be alive; the next one takes it for a crash */
void past_end(struct past *past, const struct idem *idem, bool clean, uint64_t now_ms);

/** A batch that an account lists, as it came: whether it tells that there was a gateway before. */
void past_saw(const struct inherited *inherited, uint32_t deployment, const struct json *batch,
              uint64_t now_ms);
