/* What waits for the database on this node's disk while it is away: creates that were granted alone,
 * and what came of them (journal statements C28 and C30). A file to which messages are only added,
 * each with its length and a checksum, and which is emptied when all of them are in the database. A
 * message that was cut off by a crash ends it.
 *
 * A process has a file that no other one has: during a reload two keepers live, and both may put. What
 * one leaves behind when it ends is read by another, once that one's own is empty. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

#define OUTBOX_MOST (UINT64_C(1) << 30) /* bytes; beyond that nothing is taken any more */

struct outbox;

/** Nothing is opened yet. @param path  copied @return 0, ERR_NOMEM */
MUST_USE int outbox_new(const char *path, struct outbox **out);
void outbox_free(struct outbox *outbox); /* NULL is fine */

/** Open what a process that has ended left behind, if nothing of our own waits; made with mode 0600
 * when something is put. Again and again: another one may end meanwhile.
 *  @return 0, also when there is none; ERR_IO (errno); ERR_NOMEM */
MUST_USE int outbox_open(struct outbox *outbox);

/** Add a message; it is on the disk only when outbox_sync() says so.
 *  @param kind  the caller's
 *  @return 0, ERR_FULL (the file, the disk, or others have all the files), ERR_IO (errno),
 *          ERR_NOMEM; on an error nothing was added */
MUST_USE int outbox_put(struct outbox *outbox, uint32_t kind, const void *bytes, size_t len);

/** Have the disk keep what was put. @return 0; ERR_IO: what was put since the last one may be lost,
 * and is taken back */
MUST_USE int outbox_sync(struct outbox *outbox);

/** Bytes that wait; 0: none do. */
uint64_t outbox_bytes(const struct outbox *outbox);

/** Read the next message behind those that were read before.
 *  @param out  emptied and filled
 *  @return 0; ERR_NOT_FOUND: that was the last one; ERR_IO (errno); ERR_NOMEM */
MUST_USE int outbox_read(struct outbox *outbox, uint32_t *kind, struct strbuf *out);

/** Read again from the last outbox_keep() on: what was read since is not in the database. */
void outbox_rewind(struct outbox *outbox);
/** All that was read is in the database. When that was all the file is emptied. */
void outbox_keep(struct outbox *outbox);
