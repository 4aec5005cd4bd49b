/* The pair that every batch we create carries in its metadata: who made it, for which request, from
 * which file, on which deployment, and how many tokens that is. The provider is the durable memory:
 * a create whose answer was lost is found again by it, the quota ledger is rebuilt from it, and a
 * batch that was moved still shows its client the file that the client knows. Sealed, so that
 * nobody can pass a batch off as another's; stripped from every answer (normal.h),
 * see server README 5. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "crypto/ids.h"
#include "common/strbuf.h"

#define MARKER_KEY   "tranche"
#define MARKER_MAX   512 /* characters of a metadata value (providers 1.3) */
#define MARKER_PAIRS 16  /* pairs of a metadata object */
#define MARKER_NONCE 32  /* hex characters */

struct marker {
    uint64_t owner;               /* as in a tag */
    uint64_t request;             /* marker_fingerprint() of what was asked */
    char nonce[MARKER_NONCE + 1]; /* names this one create */
    char file[IDS_MAX + 1];       /* native id of the client's input file; "" for a blob */
    uint64_t tokens;              /* reserved for it, 44 bits; 0: not known */
    /* Fingerprint of the deployment it was placed on; 0: not known, as in what version 0.1.0
     * wrote */
    uint32_t deployment;
    /* Fingerprint of the key inside a team that made it; 0: the owner is no team, or it is not known,
     * as in what older versions wrote */
    uint64_t key;
    bool bare_endpoint; /* the client wrote its endpoint without "/v1", and sees it so */
    /* Fingerprint of the account where `file` lives, when that is not the batch's own: the batch
     * runs on a copy. 0: it runs on `file` itself */
    uint32_t origin;
};

/** Fingerprint of a create's body as it goes upstream (without the marker). */
uint64_t marker_fingerprint(const char *body, size_t len);

/** Fill `nonce` with 128 random bits. @return 0, ERR_IO (no randomness) */
MUST_USE int marker_new_nonce(char nonce[MARKER_NONCE + 1]);

/** A nonce that follows from a text (an idempotency key), so that whoever knows the text finds the
 * batch. @param owner  two owners' equal texts name different creates */
void marker_nonce_of(uint64_t owner, const char *text, size_t len, char nonce[MARKER_NONCE + 1]);

/** Whether a marker can name this file: a provider's id may be too long, or have a dot in it.
 *  @param keyed  the marker names a key, too */
bool marker_takes_file(const char *file, bool keyed);

/** Append the sealed text. @return 0; ERR_LIMIT: longer than MARKER_MAX; ERR_INVALID: no seal key,
 * or a file id with bytes no id has; ERR_NOMEM */
MUST_USE int marker_write(const struct ids_seals *seals, const struct marker *marker,
                          struct strbuf *out);

/* Whom a batch counts against besides its deployment (struct rights); 0: nobody. */
static inline uint64_t marker_key(const struct marker *marker)
{
    return marker->key != 0 ? marker->key : marker->owner;
}

/* The team of that key: the owner, where the marker names a key apart; 0: it has none. */
static inline uint64_t marker_team(const struct marker *marker)
{
    return marker->key != 0 ? marker->owner : 0;
}

/** What a text says, proved or not; also one that version 0.1.0 wrote. @return 0; ERR_SYNTAX */
MUST_USE int marker_parse(const char *text, struct marker *out);

/** Whether one of our keys sealed it, whatever it says. */
bool marker_is_ours(const struct ids_seals *seals, const char *text);

/** Both: read a text back, also one that version 0.1.0 wrote. @return 0; ERR_SYNTAX; ERR_FORGED */
MUST_USE int marker_read(const struct ids_seals *seals, const char *text, struct marker *out);
