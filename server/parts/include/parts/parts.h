/* Open uploads, as files: they outlive a worker and the gateway, and any worker of the node finds
 * them. In `spool_dir`:
 *
 *     tranche-<uid>-<host>-<port>.uploads/     0700; made by the first upload
 *       <id>-<owner>/                          an open upload; the id tells its begin and its bytes
 *         head                                 what its create said, JSON; who ends it locks it
 *         key-<16 hex>                         empty: whose key began it, for that key's limits
 *         part_<32 hex>-<64 hex>               a whole part and its SHA-256; equal ones are one file
 *         tmp-<32 hex>                         a part that is coming; flock(2) while somebody writes
 *         done                                 how it ended, JSON: the answer, and of what
 *       <id>-<owner>.ended/                    completed or cancelled: the same without parts
 *       <id>-<owner>.ended.gone/               one that made room for another one's record
 *
 * A name appears when all behind it is there (written under another one, then renamed), so a process
 * that is killed at any point leaves nothing half done but a `tmp-` that nobody has locked. Locks
 * are the kernel's (`head`: F_OFD_SETLK, which can be looked at without taking it): they end with
 * their process.
 *
 * What open uploads have reserved of `spool_limit` is the sum of the names' bytes; each look at the
 * folder puts it into shared memory (`parts_bytes`), where spool_total() adds it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "common/strbuf.h"
#include "core/inherited.h"

#define PARTS_LIFE_S     3600 /* of an upload; of the file that comes of it nothing is said */
#define PARTS_PART_BYTES (64u << 20) /* of one part; openai-python sends just as much */
#define PARTS_MAX        500         /* of one upload; a look at all of them costs 0.5 ms */
#define PARTS_OVER       64  /* more of them where several workers have kept the last one at once */
#define PARTS_KEPT       256 /* ended uploads whose answer is known, of the node */
#define PARTS_BYTES      ((UINT64_C(1) << 40) - 1) /* of an upload; its id has room for no more */
#define PARTS_ID         42                        /* hex: begin (8), bytes (10), random (24) */
#define PARTS_PART_ID    37                        /* "part_" and 32 hex */
#define PARTS_DIGEST     64                        /* hex of SHA-256 */

struct parts_id {
    char text[PARTS_ID + 1];
    int64_t created_s; /* Unix time */
    uint64_t bytes;    /* that were announced */
    uint64_t owner;    /* as in relay.h */
    uint64_t key;      /* of parts_create() alone: whose limits count it; 0: nobody's */
};

/** Read what an id tells. @return false: it is none. Pure */
bool parts_read_id(const char *text, struct parts_id *id);

/** Whether its time is over. */
bool parts_is_expired(const struct parts_id *id, int64_t now_s);

/** Who this node is, in the tags of its uploads' ids: a number of its machine's name and the
 * configured address. Never 0. */
uint32_t parts_node(const struct config *config);

/* What the folder holds. */
struct parts_sum {
    uint32_t open, own_open;   /* own: of the owner that was asked for */
    uint64_t bytes, own_bytes; /* reserved */
    uint64_t key_bytes;        /* of the key that was asked for */
    uint32_t ended;
};

/** Look at all uploads of the node, and note what they have reserved.
 *  @param key  one of the owner's, whose uploads are summed besides; 0: of none */
void parts_look(const struct inherited *inherited, uint64_t owner, uint64_t key, int64_t now_s,
                struct parts_sum *sum);

/** Begin an upload. The oldest ended ones make room for its record.
 *  @param id    its begin, bytes, owner and key are set; gets its text by parts_new_id()
 *  @param head  what parts_read() gives back
 *  @param loop  on whose turns they go; NULL: at once
 *  @return 0; ERR_FULL (disk); ERR_IO: the folder cannot be made, or is not ours; ERR_NOMEM */
MUST_USE int parts_create(const struct inherited *inherited, const struct parts_id *id,
                          const struct strbuf *head, struct loop *loop);

/** @return 0, ERR_NOMEM (no randomness) */
MUST_USE int parts_new_id(struct parts_id *id);

/* An upload that somebody works on. */
struct parts {
    const struct inherited *inherited; /* borrowed; NULL: none is open */
    struct parts_id id;
    char *path; /* owned; of its folder */
    int dir;    /* owned */
    int lock;   /* owned; -1: not locked */
    bool ended; /* it is completed or cancelled: "done" says how */
};

/** Open one. @return 0, ERR_NOT_FOUND, ERR_NOMEM, ERR_IO */
MUST_USE int parts_open(const struct inherited *inherited, const struct parts_id *id,
                        struct parts *parts);
void parts_close(struct parts *parts); /* also its lock; safe on a zeroed one */

/** Take its lock: one process at a time ends an upload. Afterwards `ended` is looked at again.
 *  @return 0; ERR_BAD_STATE: somebody has it; ERR_NOT_FOUND, ERR_IO, ERR_NOMEM */
MUST_USE int parts_lock(struct parts *parts);

void parts_unlock(struct parts *parts); /* safe when it is not locked */

/** The text of its "head" or "done". @return 0, ERR_NOT_FOUND, ERR_IO, ERR_NOMEM */
MUST_USE int parts_read(const struct parts *parts, const char *name, struct strbuf *text);

/** How it ended: from now on it is, whatever kills us. It stays locked, and nothing is reserved for
 * it any more; its parts go on coming turns.
 *  @param done  what "done" shall say
 *  @param loop  NULL: somebody else's loop removes the parts
 *  @return 0, ERR_FULL, ERR_IO: it is as it was */
MUST_USE int parts_end(struct parts *parts, const struct strbuf *done, struct loop *loop,
                       int64_t now_s);

/* --- parts --- */

struct part {
    char id[PARTS_PART_ID + 1];
    char digest[PARTS_DIGEST + 1];
    uint64_t size;
    uint32_t names; /* parts that are this file */
};

struct parts_list {
    struct part *parts; /* owned; by id */
    size_t num;
    uint64_t bytes; /* on disk: equal ones once */
};

/** All whole parts. A file that the machine's end has left without bytes is none.
 *  @return 0, ERR_NOMEM, ERR_IO, ERR_LIMIT (more than PARTS_MAX and PARTS_OVER) */
MUST_USE int parts_list(const struct parts *parts, struct parts_list *list);
void parts_list_deinit(struct parts_list *list);

/** One of them; NULL: there is none. */
const struct part *parts_find(const struct parts_list *list, const char *id);

/** The name of its file in the folder. */
void parts_file(const struct part *part, char name[PARTS_PART_ID + PARTS_DIGEST + 2]);

/** Remove one whose file is not what its name says: the machine's end has cut it off. */
void parts_drop(const struct parts *parts, const struct part *part);

/** A new part's id, and where it is written until it is whole.
 *  @return the path, the caller's; NULL: no memory */
char *parts_new_part(const struct parts *parts, char id[PARTS_PART_ID + 1]);

/** Where it stands when it is whole. @return the path, the caller's; NULL: no memory */
char *parts_path(const struct parts *parts, const struct part *part);

/** A part with the bytes of another one: one file with two names.
 *  @return 0, ERR_NOT_FOUND, ERR_IO */
MUST_USE int parts_same(const struct parts *parts, const struct part *old, const struct part *part);

/* --- the sweeper --- */

/** Remove what is no longer needed: of expired uploads all, of ended ones the parts, and what parts
 * have left that were being written by a process that is gone. What is locked stays for the next
 * time. Files leave the disk in slices, and each look at an upload has a turn of its own.
 *  @param loop  NULL: all at once */
void parts_sweep(const struct inherited *inherited, struct loop *loop, int64_t now_s);
