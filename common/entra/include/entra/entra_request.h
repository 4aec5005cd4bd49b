/* One token call, made from a credential, what its file holds, and the time (entra 2.1 to 2.3): all
 * that upstream_start() wants. Pure but for OpenSSL's random numbers (`jti`, the call's id) and for
 * the thread in which a certificate's key is opened (common/hidden.h).
 *
 *   the credential has a path    entra_file_read() -> `file`
 *   entra_request_build()        -> upstream_start(), with ENTRA_CALL_MS and ENTRA_MAX_ANSWER
 *   entra_answer_read()          ENTRA_CHALLENGE: entra_file_arc_key() -> `file`, build again
 *   entra_request_wipe()
 *
 * Not for a worker's loop: a signature takes a millisecond (RSA of 2,048 bits) to five (4,096), and
 * the password of a PFX file as long as whoever made it wanted, a second perhaps. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/entra_credential.h"
#include "common/err.h"
#include "common/secret.h"
#include "entra/entra_error.h"
#include "upstream/client.h"

#define ENTRA_CALL_MS       10000 /* of a token call as a whole (entra statement 23) */
#define ENTRA_MAX_ANSWER    65536 /* bytes of its body, and of its head */
#define ENTRA_MAX_ASSERTION 32768 /* bytes of an assertion, somebody else's or ours with a chain */
#define ENTRA_MAX_HEADERS   8
#define ENTRA_ID_SIZE       37 /* bytes of a GUID as text, with its NUL */

struct entra_request {
    const char *method; /* constant: "GET", "POST" */
    const char *url;    /* of `room`; no secret in it: logs may show it */
    struct upstream_header headers[ENTRA_MAX_HEADERS]; /* values of `room`, or constant */
    size_t num_headers;
    const char *body; /* of `room`; NULL: none */
    size_t body_len;
    char id[ENTRA_ID_SIZE]; /* the call's own, which Microsoft's support asks for; it is sent */
    /* What proves who we are, as it is before it is encoded, so that an answer that quotes it can be
     * masked; of `room`; len 0: nothing */
    const char *proof;
    size_t proof_len;
    struct secret room; /* owned: all texts above, out of cores */
};

/**
 * Make a token call.
 *
 * @param file        of a credential with a path: what entra_file_read() read, white space around it
 *                    is fine; of ENTRA_ARC the second time: entra_file_arc_key()'s; else NULL
 * @param now_unix_s  for the assertion of a certificate
 * @param out         entra_request_wipe() it, whatever is returned
 * @param error       filled on an error
 * @return 0; ERR_INVALID: credential or file cannot be used, the message says why; ERR_LIMIT: too
 *         long; ERR_NOMEM
 */
MUST_USE int entra_request_build(const struct entra_credential *credential,
                                 const struct secret *file, int64_t now_unix_s,
                                 struct entra_request *out, struct entra_error *error);

/** Wipe and free; safe on one that is zeroed. */
void entra_request_wipe(struct entra_request *request);
