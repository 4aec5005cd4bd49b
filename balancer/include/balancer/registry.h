/* What tenants own, in shared memory: a row for each file of a tenant, and for each batch of one
 * that carries no marker. A tenant's list of files is answered from here alone: a File has no field
 * upstream that could say whose it is, so nothing of a provider's own list is ever shown to one
 * (tenants statement A46).
 *
 *   keys    │ 0, or whose row it is │   eight to a cache line: a look-up reads two lines
 *   owners  │ whom the row is of    │   all of them are read for a list: 8 bytes a row
 *   marks   │ when, and what        │   the order of a list, without its rows
 *   rows    │ the row, its checksum │   what is shown; the owner in here is the one that counts
 *
 * A row may be in one of two buckets of eight, whichever is emptier. Where both are full, whoever
 * has most rows there loses his oldest, and his lists say from then on that they are cut: a tenant
 * that floods the table loses his own rows first. No locks: a row is somebody's by one
 * compare-and-swap of its key, and what a killed writer left has no checksum and is no row.
 *
 * Every change is also noted in a ring of keys, so that a database can follow (registry_follow()),
 * and put back after a start what it kept. Lasting: shared by all generations and by the next
 * program. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "crypto/ids.h"

#define REGISTRY_NATIVE   112 /* bytes of an id, with its NUL: longer ones are not kept */
#define REGISTRY_PURPOSE  24  /* longer ones are cut, as the next ones */
#define REGISTRY_FILENAME 168
#define REGISTRY_MAX      (UINT32_C(1) << 22)

struct registry; /* the region */

struct registry_row {
    enum id_kind kind;
    bool described;   /* all below is known; false: only that it is the owner's, and created_s */
    uint32_t account; /* fingerprint, as in its tag */
    uint64_t owner;   /* ids_owner_fingerprint(); never 0 */
    int64_t created_s, expires_s; /* Unix time; 0: not known; never */
    int64_t bytes;
    char native[REGISTRY_NATIVE];
    char purpose[REGISTRY_PURPOSE], filename[REGISTRY_FILENAME];
};

/** Room for at least that many rows. Pages that nobody needed cost nothing.
 *  @param now_unix_s  since when it knows all that happens
 *  @return 0, ERR_INVALID (0, or more than REGISTRY_MAX), ERR_NOMEM */
MUST_USE int registry_new(uint32_t max_rows, int64_t now_unix_s, struct registry **out);
void registry_free(struct registry *registry); /* NULL is fine */

/** The same, of what the program before hands over (shm_adopt()): it has to be what registry_new()
 * would make.
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int registry_adopt(int fd, uint32_t max_rows, struct registry **out);

/** Keep a row. One that is there stays its owner's, whoever asks; what is known of it only grows.
 *  @return 0; ERR_INVALID: it has no owner, or its id is empty or too long, and then its owner's
 *          lists are cut; ERR_BAD_STATE: it is another one's */
int registry_put(struct registry *registry, const struct registry_row *row, int64_t now_unix_s);

/** @return false: it is not known. Whose it is says `out->owner` */
bool registry_find(const struct registry *registry, enum id_kind kind, uint32_t account,
                   const char *native, struct registry_row *out);

/** It is gone at its provider. */
void registry_remove(struct registry *registry, enum id_kind kind, uint32_t account,
                     const char *native);

/* What may be missing in an owner's list. */
struct registry_gaps {
    int64_t since_unix_s; /* what was made before is not known; 0: all of it is */
    /* What was made in between was lost with a gateway that was killed; 0: nothing was */
    int64_t lost_from_unix_s, lost_until_unix_s;
    int64_t behind_unix_s; /* what other gateways made since is not known; 0: all of it is */
    bool cut;              /* some of the owner's rows had to go */
};

/** What an owner's list lacks, as far as that is known. Counts nothing: some words are read. */
struct registry_gaps registry_gaps(const struct registry *registry, uint64_t owner);

/** What it lacks from now on, but for rows that had to go: a database has put back what it kept.
 *  @param gaps  `cut` says nothing here */
void registry_set_gaps(struct registry *registry, const struct registry_gaps *gaps);

/** Somebody found that nothing is missing there; whoever set them takes them back.
 *  @param gaps  as registry_gaps() told of them */
void registry_close_gaps(struct registry *registry, const struct registry_gaps *gaps);
/** Whether that was said of these. */
bool registry_gaps_are_closed(const struct registry *registry, const struct registry_gaps *gaps);

/* --- a page of an owner's rows --- */

/* The place of a row in lists: by time, then by key. */
struct registry_place {
    int64_t created_s;
    uint64_t key;
    uint32_t row;
};

/* A page being gathered; set the first part, zero the rest. Not in shared memory. */
struct registry_page {
    uint64_t owner;
    enum id_kind kind;
    const char *purpose; /* borrowed; "": any */
    bool ascending;      /* else newest first */
    bool behind;         /* only what is behind `cursor` */
    struct registry_place cursor;
    size_t max; /* rows of it; at least 1 */

    struct registry_place *places; /* owned; in the list's order when it is complete */
    size_t num, room;
    uint32_t next; /* row to be looked at next */
    bool more;     /* more rows are behind these */
};

/** Look at the next `rows` rows of the table. About 1 ns a row of others, 100 ns one of the owner.
 *  @return 0: all were looked at, the page is complete; 1: not yet; ERR_NOMEM */
MUST_USE int registry_gather(const struct registry *registry, struct registry_page *page,
                             uint32_t rows);
void registry_page_deinit(struct registry_page *page);

/** The row at a place of a page.
 *  @return false: it is gone, or is another one's by now */
bool registry_at(const struct registry *registry, const struct registry_page *page,
                 const struct registry_place *place, struct registry_row *out);

/** What the place of an object in lists is. */
struct registry_place registry_place_of(enum id_kind kind, uint32_t account, const char *native,
                                        int64_t created_s);

/* --- for a database --- */

/** What a row is known by: of kind, account and id alone. It stands in databases. */
uint64_t registry_key(enum id_kind kind, uint32_t account, const char *native);

/** A number of this table's own: of one that a new start made it is another one. Never 0. */
uint64_t registry_run(const struct registry *registry);

/** Become the one who follows, in the place of whoever did. @param pid  the caller's
 *  @return never 0 */
uint64_t registry_claim(struct registry *registry, uint32_t pid);
/** Whether nobody has claimed it since. */
bool registry_is_claimed(const struct registry *registry, uint64_t claim);
/** Who claimed it last; 0: nobody did. */
uint32_t registry_claimer(const struct registry *registry);

/** Where whoever follows next begins: what was noted before is in the database. 0 at first. */
uint64_t registry_kept(const struct registry *registry);
void registry_set_kept(struct registry *registry, uint64_t cursor);

/** registry_put(), registry_remove() of what the database has: no change to be followed. */
int registry_put_back(struct registry *registry, const struct registry_row *row,
                      int64_t now_unix_s);
void registry_take_back(struct registry *registry, uint64_t key);

struct registry_change {
    uint64_t key; /* of the row: registry_by_key() */
    bool went;    /* at its provider. A row that only had to make room here is no change */
};

/**
 * What changed next.
 *
 * @param cursor  of the reader: 0 at first; moved on unless nothing has changed
 * @return 0; ERR_NOT_FOUND: nothing so far; ERR_LIMIT: the reader came too late, or a writer was
 *         killed, and changes were missed: it has to look at all rows (registry_row_at()), and
 *         goes on behind what has changed by now
 */
MUST_USE int registry_follow(const struct registry *registry, uint64_t *cursor,
                             struct registry_change *out);

/** @return false: no such row is there */
bool registry_by_key(const struct registry *registry, uint64_t key, struct registry_row *out);

/** The row with a number below registry_num_rows(). @return false: there is none */
bool registry_row_at(const struct registry *registry, uint32_t number, struct registry_row *out);
uint32_t registry_num_rows(const struct registry *registry);
