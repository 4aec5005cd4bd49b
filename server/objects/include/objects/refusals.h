/* Which job was refused where, as larger than the room there. An estimate may be wrong, so that a
 * refusal speaks about the refused job first: that one keeps away from the deployment for a while,
 * under whatever name its file comes again, and nobody else does. In the memo that all workers
 * share, and as lossy: what it forgets is asked once more, which costs nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "balancer/memo.h"

#define REFUSALS_FIRST_MS 60000u        /* first backoff; doubles ... */
#define REFUSALS_MAX_MS   (16u * 60000) /* ... up to this */

struct refusal {
    uint64_t for_ms; /* it keeps away for so long; 0: it may ask again */
    /* Next to nothing was enqueued there, as far as we know: there is no room to wait for */
    bool hopeless;
};

/** What a job is known by: who asks, and its file's measures. So a second upload of the file, which
 * has another id, is the same job, and what one tenant's file met keeps nobody else's away.
 *  @param words  of facts_pack()
 *  @param owner  fingerprint of who asks; 0: the master key
 *  @return never 0 */
uint64_t refusals_job(const uint64_t words[MEMO_WORDS], uint64_t owner);

/** `place` refused the job. During a backoff it does not prolong it: those were in flight together.
 *  @param place  any number that names the deployment
 *  @return whether it is the first refusal of this job lately, by anybody */
bool refusals_note(struct memo *memo, uint64_t job, uint64_t place, bool hopeless, uint64_t now_ms);

/** What is known of the job there. @return false: it was not refused lately, and `out` is zero */
bool refusals_find(const struct memo *memo, uint64_t job, uint64_t place, uint64_t now_ms,
                   struct refusal *out);

/** Whether it was refused anywhere lately: else there is nothing to find. */
bool refusals_any(const struct memo *memo, uint64_t job, uint64_t now_ms);

/** The job was accepted there. */
void refusals_forget(struct memo *memo, uint64_t job, uint64_t place);
