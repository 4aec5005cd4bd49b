/* Which batch a search is for, and whether one batch of a provider's list is that batch. A batch
 * with a marker is recognised by it, sealed or not: the list is of our own account, and no one else
 * writes our nonce and request there. A batch without one (16 metadata pairs of the client's own, a
 * blob, a file id that no marker can hold) is recognised by its input file, its endpoint and its
 * metadata. "Not found" is concluded only from lists in which it could have been found; a batch
 * that may be the one, but cannot be told apart from another, is WANTED_MAYBE. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/ids.h"
#include "json/json.h"
#include "crypto/marker.h"

#define WANTED_ENDPOINT_MAX 63 /* bytes; what is longer equals nothing */

/* The metadata pairs of a batch, in whatever order. */
struct wanted_pairs {
    size_t num;
    uint64_t hash[2]; /* sums of the pairs' SHA-256 */
};

/* Zeroed, with owner and request, it is the newest batch with a marker that has both. */
struct wanted {
    char nonce[MARKER_NONCE + 1]; /* of the marker; "": by owner and request */
    uint64_t owner, request;
    bool unmarked;          /* it carries no marker; the nonce is "" then */
    char file[IDS_MAX + 1]; /* native id of its input file; "": a blob, or not known */
    uint64_t blob;          /* fingerprint of its input blob's address; 0: none */
    char endpoint[WANTED_ENDPOINT_MAX + 1]; /* without /v1 */
    struct wanted_pairs pairs;
};

enum wanted_match {
    WANTED_NO,
    WANTED_YES,
    WANTED_MAYBE,   /* it may be, and nothing tells */
    WANTED_CONFLICT /* it has the nonce, and was made for another request */
};

/** What is known of a create: its file (native; "" for a blob), and what its body says.
 *  @param body  as the client sent it */
void wanted_describe(struct wanted *wanted, const char *file, const struct json *body);

/** Read a batch's marker, whoever sealed it. @return false: it carries none that can be read */
bool wanted_marker(const struct json *batch, struct marker *out);

/** Whether a batch, as its provider lists it, is the wanted one. Pure.
 *  @param marker  wanted_marker()'s; NULL: it has none */
enum wanted_match wanted_match(const struct wanted *wanted, const struct json *batch,
                               const struct marker *marker);
