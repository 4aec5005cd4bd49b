/* The keys that seal TLS session tickets (RFC 5077, RFC 8446 section 4.6.1): what a client keeps of
 * its session is encrypted with one of them. Who gets hold of such a key decrypts the recorded
 * traffic of TLS 1.2 sessions that it sealed, so none lives longer than a ticket has to: a new one
 * every hour, and the two before it still open. They are in shared memory, out of cores, made
 * before the fork and rotated by the master alone: all workers of all its generations have the
 * same, so that a session resumes with any of them and after a reload. A new program (SIGUSR2)
 * makes its own; sessions begin anew then. */
#pragma once

#include <stdint.h>
#include <openssl/ssl.h>

#include "common/err.h"

#define TICKETS_PERIOD_MS  3600000
#define TICKETS_LIFETIME_S 7200 /* of a ticket: two periods, as long as its key opens at least */

struct tickets; /* in shared memory */

/** Make the first key. @return 0, ERR_NOMEM, ERR_IO (no random bytes) */
MUST_USE int tickets_new(uint64_t now_ms, struct tickets **out);
void tickets_free(struct tickets *tickets); /* NULL is fine */

/** The master, regularly: when the newest key is a period old, another one takes its place. Without
 * random bytes the old one goes on. */
void tickets_rotate(struct tickets *tickets, uint64_t now_ms);

/** Seal and open the tickets of this context with them. `tickets` has to outlive it.
 * @return 0, ERR_NOMEM */
MUST_USE int tickets_use(SSL_CTX *ctx, const struct tickets *tickets);
