/* What auth.c, token_check.c and key_wait.c share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/rights.h"
#include "request/relay.h"

/** The next credential of a request. @param at  0 for the first one
 *  @param text  borrowed from the request
 *  @return false: there is none any more */
bool auth_next_credential(const struct relay *relay, size_t *at, const char **text, size_t *len);

/* A credential that may be a key, and is in no list that was loaded. */
struct unknown_key {
    unsigned char hash[RIGHTS_HASH_BYTES];
    const char *token; /* borrowed from the request */
    size_t len;
};

enum auth_end {
    AUTH_ANSWERED,
    AUTH_GO_ON,
    AUTH_ASK /* it shows nothing but a key that nobody here knows, and the keeper may */
};

/** auth_check(), which leaves to its caller what the keeper may know: while the table does not have
 * all keys there are, and there is a keeper.
 *  @param key  written with AUTH_ASK; NULL: that is answered as well */
MUST_USE enum auth_end auth_try(struct relay *relay, struct unknown_key *key);

/** Ask the keeper for it; then go on as auth_begin() does. One address may do so some times a second
 * (core/misses.h): beyond, the answer is that of a key that cannot be looked up now. */
void key_wait_begin(struct relay *relay, const struct unknown_key *key,
                    void (*go_on)(struct relay *relay));
