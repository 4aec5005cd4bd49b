/* What came of a token call (entra 2.4, 2.5): a token and how long it lives, or what stands in the way
 * and whose turn it is. Pure. Texts of others are cut, made printable, and masked: what was sent as a
 * proof, what mask_installed() knows, and what merely looks like a key is not in them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/entra_credential.h"
#include "common/err.h"
#include "common/secret.h"
#include "common/strbuf.h"
#include "entra/entra_error.h"
#include "entra/entra_request.h"
#include "upstream/client.h"

#define ENTRA_MAX_TOKEN   16384 /* bytes (entra statement 22) */
#define ENTRA_GUESSED_S   600   /* life of a token whose end nobody can read (entra statement 12) */
#define ENTRA_MAX_LIFE_S  604800 /* a week; the longest known are 28 hours */
#define ENTRA_MAX_RETRY_S 3600   /* of a Retry-After that is obeyed */
#define ENTRA_MAX_PATH    256    /* of a challenge's file */

enum entra_outcome {
    ENTRA_OK,          /* a token came */
    ENTRA_CHALLENGE,   /* Azure Arc: once more, with the content of the file `challenge` */
    ENTRA_THROTTLED,   /* asked too often */
    ENTRA_PASSING,     /* down, slow, or nonsense: it may pass by itself */
    ENTRA_OUT_OF_TIME, /* the assertion's times are over or to come: its file may be new by now */
    ENTRA_FINAL        /* somebody has to act */
};
#define ENTRA_OUTCOMES 6

/** "ok", "challenge", "throttled", "passing", "out_of_time", "final": for labels of metrics. */
const char *entra_outcome_name(enum entra_outcome outcome);

struct entra_answer {
    enum entra_outcome outcome;
    int status; /* HTTP; 0: none came */

    struct secret token; /* owned; set with ENTRA_OK alone */
    uint32_t lives_s;    /* with ENTRA_OK: from now on; 1 to ENTRA_MAX_LIFE_S */
    uint32_t refresh_s;  /* after so many it is good to ask again; 0: not said */
    bool guessed;        /* `lives_s` is ENTRA_GUESSED_S, since it could not be read */

    char challenge[ENTRA_MAX_PATH]; /* with ENTRA_CHALLENGE: a path, for entra_file_arc_key() */

    int64_t retry_after_s; /* that was asked for, cut to ENTRA_MAX_RETRY_S; -1: none */
    /* How far the service's clock is ahead of ours, in seconds; 0 where `has_clock` is false */
    int64_t clock_ahead_s;
    bool has_clock;
    uint32_t number;      /* of "AADSTS..."; 0: none */
    char error[64];       /* `error`; "": none */
    char message[256];    /* for people: first line of the description, or our own words; one line
                           * without a full stop; "" only with ENTRA_OK */
    char correlation[48]; /* correlation_id; "": none */
    char trace[48];       /* trace_id; "": none */
    char warning[128];    /* with ENTRA_OK: what is odd with it; "": nothing */
};

/**
 * Read what came.
 *
 * @param request     what was sent
 * @param result      of the call; its body is wiped by its owner
 * @param now_unix_s  for `expires_on` and dates where the answer has no `Date`
 * @param out         entra_answer_deinit() it; out of memory is ENTRA_PASSING
 */
void entra_answer_read(const struct entra_credential *credential,
                       const struct entra_request *request, const struct upstream_result *result,
                       int64_t now_unix_s, struct entra_answer *out);

/** An answer for a call that was never made: a file is missing (ENTRA_PASSING), a certificate is no
 * good (ENTRA_FINAL). */
void entra_answer_fail(enum entra_outcome outcome, const struct entra_error *error,
                       struct entra_answer *out);

/** Append one line for people without its end: 'status 401, invalid_client, AADSTS7000215: Invalid
 * client secret provided (correlation id ...)'. Nothing of the token. */
void entra_answer_describe(const struct entra_answer *answer, struct strbuf *out);

/** Wipe the token, free; it is zeroed afterwards. */
void entra_answer_deinit(struct entra_answer *answer);
