/* The watch finds out what became of batches that no client asks about. The prober asks for each
 * batch that the ledger holds and that nobody has seen for a minute (timeouts.watch_ms), so that
 * the tokens of a batch that has ended are free again soon. One list answers for many reservations
 * of an account; the prober asks one by one for a few, and for those that the list did not show.
 *
 * The decisions are pure functions, for the tests. */
#pragma once

#include "upkeep.h"
#include "objects/observation.h"

#define WATCH_LIST_FROM     4    /* that many due reservations are worth a list call */
#define WATCH_MAX_PAGES     10   /* of a hundred batches */
#define WATCH_MAX_DUE       4096 /* of one account and round; the others are due the next time */
#define WATCH_MAX_SINGLES   100  /* calls for one batch each, of one account and round */
/* How far our idea of the provider's clock may be off, or its order of batches */
#define WATCH_SLACK_MS      (2u * 60 * 1000)
/* How long a create of unknown outcome may stay unseen: at most this, at least the next ... */
#define WATCH_ORPHAN_MS     30000u
#define WATCH_ORPHAN_MIN_MS 2000u /* ... and else half of the time between two questions */
/* Batches of which a provider said once that they are not there */
#define WATCH_REMEMBER_GONE 256
/* With a journal, whose due list has a watcher for each batch of the fleet (due.h), one of so many
 * questions is asked here all the same */
#define WATCH_SELDOM        10

/* A reservation that is due. */
struct watch_item {
    struct quota_view view;
    bool found;   /* the list showed it */
    bool missing; /* the list was read to its end and did not */
};

/** Whether to ask for the list rather than for each. An orphan can only be found in a list. */
bool watch_wants_list(const struct watch_item *items, size_t num);

/** Whether the next page is worth its call: enough are still missing (or an orphan is), and some of
 * them could be on it.
 *  @param page_age_ms  of the oldest batch that was shown, by its provider's clock */
bool watch_reads_on(const struct watch_item *items, size_t num, uint64_t page_age_ms,
                    uint64_t now_ms);

/**
 * Whether the ledger may release an orphan that the list did not show. If its batch shows up later
 * it is adopted again; the only cost is that its tokens counted as free meanwhile. So half a
 * minute, with some five looks, is enough.
 *
 * @param patience_ms  watch_patience_ms()
 * @param whole        the list was read to its end
 * @param page_age_ms  of the oldest batch that was shown, by its provider's clock
 */
bool watch_gives_up(const struct watch_item *item, uint32_t patience_ms, bool whole,
                    uint64_t page_age_ms, uint64_t now_ms);

/** How long an orphan is looked for. @param ask_ms  between two questions */
uint32_t watch_patience_ms(uint32_t ask_ms);

/* Batches that were not there when asked for: the first 404 may be the moment's (a replica behind,
 * a gateway in front). Forgotten when the prober starts anew, which only costs another call. */
struct watch_gone {
    struct {
        uint32_t column; /* + 1; 0: free */
        char id[QUOTA_ID_SIZE];
    } seen[WATCH_REMEMBER_GONE];
    size_t next; /* which one gives way when all are in use */
};

/** The provider says that there is no such batch. @return whether it said so before: believe it */
bool watch_gone_again(struct watch_gone *gone, uint32_t column, const char *id);

/** It is there after all. */
void watch_gone_not(struct watch_gone *gone, uint32_t column, const char *id);

/** Begin, for as long as the prober lives. @return 0, ERR_NOMEM */
MUST_USE int watch_start(struct upkeep *upkeep);
