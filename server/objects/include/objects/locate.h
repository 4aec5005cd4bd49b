/* Finds the account of an object whose id has no tag (the master key may send such ids). The
 * account where it was seen before is asked first and alone, without balancing else the default
 * account; then all others, a few at a time. The first that has it wins, and the memo stores that
 * for all workers. Only GET is sent; a change of the object is sent afterwards, to that account
 * alone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/ids.h"
#include "upstream/failure.h"
#include "core/runtime.h"

#define LOCATE_PARALLEL 4 /* accounts asked at one time */

struct locate;

struct locate_result {
    bool found;
    /* One of the candidates: of the account that has it; not found: of the one whose failure this
     * is, MODEL_NO_INDEX when all said 404 */
    uint32_t deployment;
    /* Found: the object as the GET showed it, valid during the callback; else NULL */
    const struct upstream_result *answer;
    /* Not found: what to answer. Status 404: no account has it; answer resolve_not_found() */
    struct failure failure;
};

typedef void (*locate_done_cb)(void *arg, const struct locate_result *result);

/** Start.
 *  @param native       copied
 *  @param deployments  candidates, likely first, each for another account; copied; not empty
 *  @param on_done      once unless cancelled; never from inside locate_start()
 *  @return valid until on_done begins or locate_cancel(); NULL: out of memory, on_done will not run
 */
struct locate *locate_start(struct runtime *rt, enum id_kind kind, const char *native,
                            const uint32_t *deployments, uint32_t num, locate_done_cb on_done,
                            void *arg);

/** Forget it: no callback any more. NULL is fine. */
void locate_cancel(struct locate *locate);

/** Tell the memo where an object without a tag was seen. */
void locate_remember(const struct runtime *rt, enum id_kind kind, const char *native,
                     uint32_t deployment);

/** The same of an object that was just made, where its tagged id will not say enough: its account
 * shares what ids carry with others. */
void locate_remember_new(const struct runtime *rt, enum id_kind kind, const char *native,
                         uint32_t deployment);

/** How much a failure tells of an object that may be at that account. Of several accounts the
 * failure of the highest rank is answered, of equals that of the earlier candidate. Pure.
 *  4  it could not say: 5xx, time-outs, unreachable, broken or unreadable answers; asking again may
 *     help
 *  3  it would not say now: 429
 *  2  it does not let us in (upstream_auth): only the operator can help
 *  1  it objects to the question: other 4xx
 *  0  it has no such object: 404 */
int locate_rank(const struct failure *failure);
