/* Ids that carry their place: `<native id>-t<32 base32 characters>`, the tag being deployment
 * fingerprint (4 bytes), owner fingerprint (8) and a truncated HMAC-SHA256 (8) over kind, native
 * id, deployment and owner. Same object, same id, always (server README 5). No
 * database: the tag is the pin.
 *
 * A provider's own id could by chance end like a tag (a "-t" and 32 characters of [a-z2-7]; none of
 * the known forms does: hex and UUIDs have other lengths and 0, 1, 8, 9). Sent bare, it would be
 * refused as forged; tagged, it opens like any other, since only the last tag is read. Characters
 * outside the base32 alphabet make an ending no tag at all: such an id is somebody's native one,
 * and for all but the master key that is the same 404. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "crypto/seal_cache.h"
#include "crypto/sha256.h"
#include "common/strbuf.h"

#define IDS_MAX       512 /* bytes of any id we accept; LiteLLM's managed ids exceed 300 */
#define IDS_TAG_CHARS 32  /* base32 (RFC 4648, lower case, no padding) of 20 bytes */
#define IDS_MAX_SEALS 16  /* eight keys, and what older versions made of them */

enum id_kind { ID_FILE = 'f', ID_BATCH = 'b', ID_UPLOAD = 'u' };

/* Seal keys: the first one mints, all open. Memory is the caller's, zeroes at first; wipe with
 * ids_seals_clear(). */
struct ids_seals {
    size_t num;
    struct hmac_key key[IDS_MAX_SEALS];
    struct seal_namer namer;  /* of the first */
    struct seal_cache *cache; /* what the first made before; the caller's. NULL: all is computed */
};

struct id_tag {
    uint32_t deployment; /* ids_deployment_fingerprint() of where the object lives */
    /* ids_owner_fingerprint() of who made it; 0: the master key (or a keyless gateway) */
    uint64_t owner;
    /* ids_open() only: another seal than the first opened it; ids_mint_text() would now give
     * another text */
    bool aged;
};

/** Add a seal derived by HKDF-SHA256 (RFC 5869) from any text (a configured seal key, or the master
 * key).
 *  @param context  the HKDF info, so that one text gives different keys for different uses
 *  @return 0, ERR_INVALID (an empty text), ERR_LIMIT (more than IDS_MAX_SEALS) */
MUST_USE int ids_seals_add(struct ids_seals *seals, const char *text, size_t len,
                           const char *context);
void ids_seals_clear(struct ids_seals *seals);

/** Fingerprint of a deployment from names and addresses, never from secrets: rotating a key keeps
 * ids valid.
 *  @param provider        "openai" or "azure"
 *  @param base            normalised base address of the account
 *  @param upstream_model  deployment or model name; "" for an account used without a model list
 *  @return never 0, never IDS_JOURNAL */
uint32_t ids_deployment_fingerprint(const char *provider, const char *base,
                                    const char *upstream_model);

/* The deployment in the tag of an id that began without a provider: no deployment's fingerprint. */
#define IDS_JOURNAL       UINT32_MAX
#define IDS_JOURNAL_CHARS 26 /* of base32, behind "batch_" or "file-" */

/** A new id of that kind for what has no provider yet: 130 random bits. Its tag has the deployment
 * IDS_JOURNAL, and pins the owner as any other (journal statement D1).
 *  @param native  written: what stands before the tag
 *  @return 0, ERR_IO (no randomness) */
MUST_USE int ids_new_journal(enum id_kind kind, char native[IDS_JOURNAL_CHARS + 8]);

/** Fingerprint of an owner's name: "team:" and the team's id, where a key has no team "key:" and the
 * key's stable id (tenants statement A47). Never 0. Ids outlive versions, so what a name comes to
 * stays as it is. */
uint64_t ids_owner_fingerprint(const char *name);

/** Whether a provider's id can be named by later calls: what ids_open() takes. */
bool ids_is_usable(const char *native);

/** Whether a provider's id can carry a tag: what ids_mint_text() takes. Tenants know no other ids. */
bool ids_can_be_tagged(const char *native);

/** The tagged form of a native id of that length, into memory of the caller's. @return characters,
 * and a NUL behind them; 0: nothing is written (the id is empty, too long, or has bytes outside
 * [A-Za-z0-9_-], see providers 4.5; or there is no seal at all) */
size_t ids_mint_text(const struct ids_seals *seals, enum id_kind kind, const char *native,
                     size_t len, const struct id_tag *tag, char out[IDS_MAX + 1]);

/** Look at an id a client sent.
 *  @param owner       who sent it: of what he owns himself the cache may be asked; 0: the master,
 *         who sees all, so of everything
 *  @param native_len  on 0: how many leading bytes are the provider's own id (all of them when
 *         untagged)
 *  @param tagged      on 0: whether a valid tag was there; `tag` is only set then
 *  @return 0; ERR_INVALID (empty, longer than IDS_MAX, a byte outside [A-Za-z0-9._=:@+~-], or ".",
 *         ".."); ERR_FORGED (it has the form of a tag but does not verify with any seal for this
 *         kind). Time depends on what the sender knows only, the length of what is before a tag and
 *         the number of seals: not on which byte of it differs, not on whether somebody else's id
 *         is genuine or in the cache. Only of the owner's own genuine ids it tells whether they
 *         were seen before. */
MUST_USE int ids_open(const struct ids_seals *seals, enum id_kind kind, uint64_t owner,
                      const char *id, size_t len, size_t *native_len, bool *tagged,
                      struct id_tag *tag);

/** What an id's tag says of itself, proved or not: for explaining it to an operator, never for
 * acting on it. @return false: it has none */
bool ids_claim(const char *id, size_t len, struct id_tag *tag);

#define IDS_SEAL_HEX 16 /* characters of a text's seal */

/** Seal any text with the first key: the same HMAC, cut to 8 bytes, in hex, in a domain of its own
 * (no id's tag is ever a text's seal).
 *  @param out  gets IDS_SEAL_HEX characters and a NUL
 *  @return 0, ERR_INVALID (there is no seal key) */
MUST_USE int ids_seal_text(const struct ids_seals *seals, const char *text, size_t len,
                           char out[IDS_SEAL_HEX + 1]);

/** Whether one of the keys made the seal that the text ends with, over all that goes before it.
 * Constant time for what is not genuine and has the form of a seal. */
bool ids_text_verifies(const struct ids_seals *seals, const char *text, size_t len);
