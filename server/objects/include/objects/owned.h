/* What tenants own, as far as this gateway has seen it (balancer/registry.h): filled by their
 * uploads and by whatever shows one of their objects, read by their lists. The master's objects are
 * not kept: with owner 0 nothing here does anything. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/ids.h"
#include "crypto/marker.h"
#include "json/json.h"
#include "core/runtime.h"

/** Whose an object is. @param account  fingerprint, as in its ids @return 0: the master's, or not
 * known */
uint64_t owned_by(const struct inherited *inherited, uint32_t account, enum id_kind kind,
                  const char *native);

/** Keep a file that its provider has described. @param file  with its native id */
void owned_keep_file(const struct inherited *inherited, uint32_t account, uint64_t owner,
                     const struct json *file);

/** A batch of a tenant was seen: its files are the tenant's, and what is not known of them is asked
 * for. One without a marker is kept itself, so that its owner's lists show it.
 *  @param marker  NULL: it has none
 *  @param batch   as the provider sent it */
void owned_see_batch(struct runtime *rt, uint32_t deployment, uint64_t owner,
                     const struct marker *marker, const struct json *batch);

/** The same where nobody may ask: the ids alone are noted. @param account  that sent it */
void owned_note_batch(const struct inherited *inherited, uint32_t account, uint64_t owner,
                      const struct marker *marker, const struct json *batch);

/** It is gone at its provider. */
void owned_forget(const struct inherited *inherited, uint32_t account, enum id_kind kind,
                  const char *native);

/** Its provider does not know it. A provider that is asked right after an upload may not know it
 * yet (providers 1.7); later on it is gone. */
void owned_missing(const struct inherited *inherited, uint32_t account, enum id_kind kind,
                   const char *native);

/** Ask the provider what a file is of which the id alone is known, once in a while; nobody waits
 * for it. Does nothing when enough else is under way, or the file was asked for a moment ago.
 *  @param account  fingerprint; of one that ids cannot tell from others nothing is asked */
void owned_look(struct runtime *rt, uint32_t account, uint64_t owner, const char *native);
