/* How many input files an account holds. Azure bounds them (500 without expiry, 10,000 with one,
 * providers 2.4) and refuses an upload to a full account only after all its bytes were sent. The
 * prober counts the account's list of files; our own uploads and deletes change the count in
 * between. In shared memory that outlives generations, per column of state_bind(); the caller keeps
 * the columns of one account equal.
 *
 * Each number is one word: a killed process leaves it off by one until the next count.
 *
 * Where gateways share a database each keeps account of its news, which its keeper takes, tells the
 * others, and hears theirs:
 *
 *   slots_add(), slots_set() ──► news ── slots_take_news() ──► database ── slots_share() ──► held */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"

enum slots_kind { SLOTS_LASTING, SLOTS_EXPIRING };
#define SLOTS_KINDS 2

#define SLOTS_REFUSED_MS 60000u /* how long a refusal (quotaExceeded) keeps new files away */

struct slots; /* the region */

/** @return 0, ERR_INVALID (no columns), ERR_NOMEM */
MUST_USE int slots_new(uint32_t max_columns, struct slots **out);
void slots_free(struct slots *slots); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()): it has to be what slots _new()
 * would make.
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int slots_adopt(int fd, uint32_t max_columns, struct slots **out);

/** This deployment has the column; if it is another one than before, nothing is known of it. Master
 * only, before the fork, for each deployment of a new table. */
void slots_bind(struct slots *slots, uint32_t column, uint32_t fingerprint);

/** The account was counted: `num` input files of that kind. */
void slots_set(struct slots *slots, uint32_t column, enum slots_kind kind, uint64_t num);

/** That many more, or less; unknown stays unknown, and nothing goes below 0. Less also ends a
 * refusal: there is room again. */
void slots_add(struct slots *slots, uint32_t column, enum slots_kind kind, int change);

/** An upload was refused for the number of files. */
void slots_refused(struct slots *slots, uint32_t column, enum slots_kind kind, uint64_t now_ms);

/* What has happened since it was taken last. */
struct slots_news {
    bool counted;   /* the account was counted a moment ago: `held` is what it has */
    int32_t change; /* so many more came than went */
    uint64_t held;  /* now; UINT64_MAX: not known */
};

/** Take the news of a kind. Of several who take at once one gets each.
 *  @return whether there are any; `news->held` is written in any case */
bool slots_take_news(struct slots *slots, uint32_t column, enum slots_kind kind,
                     struct slots_news *news);

/** They could not be told: the change is news again. A count is not: when it is told at last others
 * may have changed what it says. */
void slots_return_news(struct slots *slots, uint32_t column, enum slots_kind kind,
                       const struct slots_news *news);

/** All nodes together know of `num`, with what was `news->held` here. No news. */
void slots_share(struct slots *slots, uint32_t column, enum slots_kind kind,
                 const struct slots_news *news, uint64_t num);

/** Files held; UINT64_MAX: not known. */
uint64_t slots_held(const struct slots *slots, uint32_t column, enum slots_kind kind);

/** Whether one more file of that kind may go there: what is not known is no obstacle, a refusal
 * within SLOTS_REFUSED_MS is one, whatever the limit. @param limit  0: none */
bool slots_open(const struct slots *slots, uint32_t column, enum slots_kind kind, uint64_t limit,
                uint64_t now_ms);
