/* Who is trusted: the authorities of one bundle, for all TLS calls of a client. A system's bundle of
 * 140 takes some 25 ms to read, which no turn of a loop has: so it is read a few authorities a turn,
 * once a day, and what was read before is good until then. */
#pragma once

#include <openssl/x509.h>

#include "common/loop.h"

#define TRUST_SLICE 2 /* authorities that are read in a turn: 0.3 ms at most, each */

struct trust {
    struct loop *loop; /* borrowed */
    const char *file;  /* borrowed; PEM; NULL: none is known */
    X509_STORE *store; /* owned; NULL: not read yet */
    uint64_t due_ms;   /* loop time: when it is read again */
    X509_STORE *next;  /* owned; being read; NULL: nothing is */
    BIO *bio;          /* owned; where it is read from */
    unsigned num;      /* authorities in `next` */
    struct loop_timer timer;
};

/** @param file  borrowed until trust_deinit(); NULL: there is none, and trust_store() has none */
void trust_init(struct trust *trust, struct loop *loop, const char *file);
void trust_deinit(struct trust *trust);
/** Have it read in coming turns, unless it is read already. Calls nobody back. */
void trust_warm(struct trust *trust);
/** All authorities, as of the last day: what is not read yet is read now, in this turn.
 *  @return borrowed until the next turn; NULL: the file is none, or holds none (curl says so, then) */
X509_STORE *trust_store(struct trust *trust);
