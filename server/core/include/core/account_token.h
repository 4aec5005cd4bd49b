/* Where the token of an account by Entra ID is (balancer/entra_tokens.h), and whether a deployment
 * rests for want of one. */
#pragma once

#include "balancer/entra_tokens.h"
#include "core/runtime.h"

/* Of one credential of the configuration, as this process sees it. */
struct runtime_credential {
    struct entra_tokens_cell *cell; /* borrowed, of the region; NULL: it has none */
    uint64_t looked_ms;             /* when `rests` was found out; 0: never */
    bool rests;
};

/** Find the cells of all credentials of the configuration, which the master bound before the fork.
 * @return 0, ERR_NOMEM */
MUST_USE int account_token_prepare(struct runtime *rt);

/** Whether calls of this deployment carry a token by Entra ID. */
bool account_token_is_needed(const struct runtime *rt, uint32_t deployment);

/** The cell of such a deployment; NULL: there is none, and so no token will come. */
struct entra_tokens_cell *account_token_cell(const struct runtime *rt, uint32_t deployment);

/** Whether nothing can be sent there now: it needs a token, there is none, and the last call for one
 * failed. Such a row is passed over while others can serve (entra statement 13); the moment there is
 * a token it is one of them again. */
bool account_token_rests(struct runtime *rt, uint32_t deployment, uint64_t now_ms);
