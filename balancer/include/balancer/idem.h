/* Which creates and uploads were asked for already, and what was answered: a bounded table in
 * shared memory, so that a repeat gets the same answer from any worker. Two kinds of repeats: the
 * same Idempotency-Key (for 24 h), and an SDK's retry of the same create by the same owner (for as
 * long as the SDK waits for an answer).
 *
 * The life of an entry is one word changed by compare-and-swap, as in quota.h:
 *
 *                 idem_begin()                   idem_sent()        idem_answer()
 *   FREE ──► WRITING ──► CLAIMED ──► RUNNING ──────────────► SENT ────────────────► DONE ──► FREE
 *               │           │           │                    │  ▲                (its time ends)
 *               │           │           │        holder died, │  │ idem_take_lost()
 *               │   holder died, beaten  │        idem_lose() ▼  │
 *               └───────────┴──────────►│                    LOST ──► FREE (its time ends)
 *                                       └─► FREE (holder died, idem_forget())
 *
 * RUNNING: nothing has gone upstream, or all of it was refused (idem_refused() leads back from
 * SENT); if its holder dies nothing has happened and it is as if it had never been. SENT: something
 * may have happened; if its holder dies nobody knows, and LOST says so until it is found out:
 * whoever meets LOST must look upstream (by the nonce) before anything else and may take the entry
 * over with idem_take_lost() to record what it found.
 *
 * One key has at most one holder. WRITING shows nothing; CLAIMED shows the key, and who has got
 * that far looks at all the entries where the key may be, once more: of two that see each other the
 * one at the lower entry goes on and puts the other out.
 *
 * A key has 32 entries where it may be. When none of them is free or past its time, the DONE entry
 * whose time ends first goes, never RUNNING, SENT or LOST, and that is counted (idem_evicted()): so
 * the table never makes a create happen twice that it knows to be under way or unknown. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define IDEM_KEY_MAX     255 /* bytes of an Idempotency-Key */
#define IDEM_KEEP_MS     (24u * 3600 * 1000)
/* Bytes of an answer that are kept; a longer one is kept by its id */
#define IDEM_ANSWER_MAX  3840
#define IDEM_ID_MAX      127
#define IDEM_NONCE_MAX   32
#define IDEM_MAX_HOLDERS 4094 /* holders are 0..4093 */

struct idem; /* the region */

/** Room for that many entries of 4 KiB (rounded up to a power of two, 16 at least); pages that
 * nobody needed cost nothing.
 *  @return 0, ERR_INVALID (0, or more than a million), ERR_NOMEM */
MUST_USE int idem_new(uint32_t entries, struct idem **out);

/** The same, of what the program before hands over (shm_adopt()): it has to be what idem _new()
 * would make.
 *  @param fd  taken over, also on failure; -1 is fine
 *  @return 0, ERR_NOT_FOUND (fd is -1), ERR_INVALID, ERR_NOMEM */
MUST_USE int idem_adopt(int fd, uint32_t entries, struct idem **out);
void idem_free(struct idem *idem); /* NULL is fine */

/* What names a request. */
struct idem_key {
    /* SHA-256 of kind, owner and key, cut to 16 bytes: what one owner chooses never meets what
     * another one has. Both 0: no key; nothing is found by it, and IDEM_FULL is the answer */
    uint64_t hash[2];
};

/** @param owner  fingerprint of who asks
 *  @param kind  'c' a create with an Idempotency-Key, 'u' an upload with one, 'r' a create as an
 *         SDK would repeat it (`text` is then its fingerprint) */
struct idem_key idem_key(char kind, uint64_t owner, const char *text, size_t len);

struct idem_claim {
    uint32_t entry; /* 0: holds nothing */
    uint64_t word;
};

enum idem_found {
    IDEM_NEW,      /* nobody asked before: `claim` is the caller's, RUNNING */
    IDEM_RUNNING,  /* somebody is at it: ask again a moment later */
    IDEM_DONE,     /* answered: `answer` is filled */
    IDEM_LOST,     /* somebody began and died or gave up not knowing: look upstream */
    IDEM_MISMATCH, /* the key is known with another request: 409 */
    IDEM_FULL      /* no entry, and nothing may be evicted */
};

/* An answer that is kept. */
struct idem_answer {
    int status;
    uint32_t deployment;      /* fingerprint; what served it */
    char id[IDEM_ID_MAX + 1]; /* the client's form of the object's id; "" when longer */
    /* Of the marker; what to look for when LOST; "" none. Filled here, not taken from here */
    char nonce[IDEM_NONCE_MAX + 1];
    size_t len; /* of the body; 0 with status != 0: too long, ask for the object */
    char body[IDEM_ANSWER_MAX];
};

/** Look a request up, and claim it when it is new.
 *  @param request  fingerprint of all that was asked
 *  @param nonce  of the marker that the create will carry; "" none. Kept from the start, cut to
 *         IDEM_NONCE_MAX
 *  @param keep_ms  from now on; the answer goes at the end of that time, however late it came
 *  @param claim    all zero unless NEW
 *  @param answer   filled for DONE and LOST (nonce, deployment); not to be looked at otherwise */
enum idem_found idem_begin(struct idem *idem, uint32_t holder, const struct idem_key *key,
                           uint64_t request, const char *nonce, uint64_t keep_ms, uint64_t now_ms,
                           struct idem_claim *claim, struct idem_answer *answer);

/** As idem_begin(), for one that is meant as new whatever was asked before: an answer that is kept
 * (DONE) gives way to it. @return NEW, RUNNING or LOST (somebody else's; nothing was claimed), FULL
 */
enum idem_found idem_begin_anew(struct idem *idem, uint32_t holder, const struct idem_key *key,
                                uint64_t request, const char *nonce, uint64_t keep_ms,
                                uint64_t now_ms, struct idem_claim *claim);

/** Only look: as above, but NEW claims nothing. */
enum idem_found idem_look(const struct idem *idem, const struct idem_key *key, uint64_t request,
                          uint64_t now_ms, struct idem_answer *answer);

/** Take a LOST entry over: of several callers one gets it, SENT and its own. Then it looks
 * upstream, and ends with idem_answer(), idem_forget() (nothing is there) or idem_lose() (could not
 * be seen).
 *  @return whether this one did; `claim` is all zero otherwise */
bool idem_take_lost(struct idem *idem, uint32_t holder, const struct idem_key *key,
                    struct idem_claim *claim);

/** From now on something may have happened upstream; call it before the first byte can go out.
 * Again, when a deployment is known to have done nothing and the next one is about to be asked.
 *  @param deployment  fingerprint of where it goes
 *  @return false: the claim is not held any more (never between idem_begin() and what ends it, as
 *         long as the holder is alive); then send nothing */
MUST_USE bool idem_sent(struct idem *idem, struct idem_claim *claim, uint32_t deployment);

/** It is known that nothing has happened upstream so far, and something else is tried next, which
 * may take long (a file is copied): RUNNING again, so that the holder's death on the way loses
 * nothing. idem_sent() again before the next one is asked. Does nothing to an empty claim. */
void idem_refused(struct idem *idem, struct idem_claim *claim);

/** It was answered for good: keep the answer and give the claim up. Does nothing to an empty claim.
 */
void idem_answer(struct idem *idem, struct idem_claim *claim, const struct idem_answer *answer);

/** Nothing has happened and nothing will, also of what is SENT (it was refused): as if it had never
 * been asked. Does nothing to an empty claim. */
void idem_forget(struct idem *idem, struct idem_claim *claim);

/** Nobody knows what has happened: LOST; what is RUNNING yet is forgotten. Does nothing to an empty
 * claim. */
void idem_lose(struct idem *idem, struct idem_claim *claim);

/** That holder's process is dead: RUNNING is freed, SENT becomes LOST, what was half written is put
 * right. Master only, before the row is used again. @return how many became LOST */
uint32_t idem_undo_holder(struct idem *idem, uint32_t holder);

/** The same of `num` holders from `first` on, all dead. */
uint32_t idem_undo_holders(struct idem *idem, uint32_t first, uint32_t num);

/** Until when (monotonic ms) the table may not know what it was asked: the latest end of what went
 * before its time, or found no entry. 0: never. */
uint64_t idem_blind_until_ms(const struct idem *idem);

/** DONE entries that went before their time, and requests that found no entry, since the start:
 * once there was one, what is not here may have been asked before all the same. */
uint64_t idem_evicted(const struct idem *idem);

/** Monotonic ms of idem_new(): what was asked before it is not known here. */
uint64_t idem_since_ms(const struct idem *idem);

/** When the outcome of something sent became unknown the last time (a LOST entry was made);
 * monotonic ms. 0: never. */
uint64_t idem_lost_ms(const struct idem *idem);

/* --- what a gateway before this table had under way --- */

/** Its creates, of which nothing is known here, may be carried out until then (monotonic ms).
 *  @param certain  false: only if there was such a gateway, which idem_note_evidence() tells */
void idem_note_before(struct idem *idem, uint64_t until_ms, bool certain);

/** There was one: a batch of its making was seen. */
void idem_note_evidence(struct idem *idem);

/** Until when what is not found, neither here nor upstream, may have been sent all the same. 0, or
 * a time that has passed: it has not. */
uint64_t idem_unsure_until_ms(const struct idem *idem);

/** Until when evidence is of interest. */
uint64_t idem_suspect_until_ms(const struct idem *idem);
