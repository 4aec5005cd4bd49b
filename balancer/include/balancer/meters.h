/* What keys and teams ask of this node, measured: how fast requests come, and how many requests,
 * uploads and bytes of uploads each has in flight. One table in shared memory, so that a limit
 * holds for all workers together. It knows no limits: who asks says what the limit is now.
 *
 *   directory   buckets of eight words, one cache line each: which scope, when it was last used
 *   rates       for each place of the directory two words: the time at which a bucket is full again
 *   rows        [holder][place]: what one process holds for that scope
 *
 * A scope is the 64-bit fingerprint of a key or a team (struct rights). It gets a place when it is
 * first asked about; a place that nobody asked about for a minute, whose buckets are full and where
 * nobody holds anything, goes to the next scope that needs one. When a bucket has eight scopes in
 * use there is no place: such a scope is not measured, and counted (meters_unmeasured()).
 *
 * A rate is one word, changed by compare-and-swap; a killed process leaves at worst one request
 * that was counted and not served. A gauge is a sum of rows with one writer each; the master clears
 * a dead process's row. Who takes shows its own row first and looks at the others then, so that no
 * order of steps passes a limit; two at the same moment may both be refused. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

struct meters; /* the region */

#define METERS_NO_PLACE UINT32_MAX
#define METERS_IDLE_MS  65536 /* a place keeps its scope for so long after it was last asked for */

enum meters_rate { METERS_PER_MINUTE, METERS_PER_SECOND };
#define METERS_RATES 2

enum meters_gauge { METERS_REQUESTS, METERS_UPLOADS, METERS_BYTES };
#define METERS_GAUGES 3

/** @param scopes   that can be in use at a time
 *  @param holders  processes that may hold something, by number
 *  @return 0, ERR_INVALID, ERR_NOMEM. Pages that nobody writes cost nothing. */
MUST_USE int meters_new(uint32_t scopes, uint32_t holders, struct meters **out);
void meters_free(struct meters *meters); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()).
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int meters_adopt(int fd, uint32_t scopes, uint32_t holders, struct meters **out);

/** The place of a scope, which is its own for METERS_IDLE_MS at least, and as long as anybody holds
 * something there.
 *  @param now_ms  monotonic, as everywhere here
 *  @return METERS_NO_PLACE: it is not measured now */
uint32_t meters_find(struct meters *meters, uint64_t scope, uint64_t now_ms);

/** How often there was no place, since the region was made. */
uint64_t meters_unmeasured(const struct meters *meters);

/**
 * Let one request pass, if the rate allows: a token bucket (GCRA) that starts full.
 *
 * @param limit    requests in the rate's period; 0: none may pass; UINT64_MAX: not limited
 * @param burst    requests that may come at once; UINT64_MAX: as many as `limit`
 * @param wait_ms  written when it is refused: until one may pass, at least 1
 * @return false: it may not, and nothing was counted
 */
bool meters_pass(struct meters *meters, uint32_t place, enum meters_rate rate, uint64_t limit,
                 uint64_t burst, uint64_t now_ms, uint64_t *wait_ms);

/** One that passed was not served after all (another limit refused it). Same limit as before. */
void meters_unpass(struct meters *meters, uint32_t place, enum meters_rate rate, uint64_t limit);

/** Hold `more` of something, if all processes together hold no more than `limit` then. Only the
 * process that is `holder` may.
 *  @return false: it would be too much, and nothing is held */
bool meters_hold(struct meters *meters, uint32_t holder, uint32_t place, enum meters_gauge gauge,
                 uint64_t more, uint64_t limit);

/** Give back what meters_hold() took, or a part of it. */
void meters_release(struct meters *meters, uint32_t holder, uint32_t place, enum meters_gauge gauge,
                    uint64_t less);

/** What all processes hold together. */
uint64_t meters_held(const struct meters *meters, uint32_t place, enum meters_gauge gauge);

/** The process is dead: it holds nothing any more. Master only, after it was reaped and before its
 * number is used again. */
void meters_clear_holder(struct meters *meters, uint32_t holder);
