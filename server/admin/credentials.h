/* What /health and /metrics tell of the credentials of Entra ID: the token of each, and the calls
 * that were made for it (entra statements 15 and 24). Nothing of a secret, an assertion or a token
 * is in it. */
#pragma once

#include "balancer/entra_tokens.h"
#include "common/entra_credential.h"
#include "common/strbuf.h"
#include "core/runtime.h"

enum credential_state {
    CREDENTIAL_OK,       /* a token, and the last call brought it */
    CREDENTIAL_RENEWING, /* a token, and calls for the next one fail */
    CREDENTIAL_STARTING, /* none yet, and no call has ended */
    CREDENTIAL_FAILED    /* none, and the last call failed */
};
#define CREDENTIAL_STATES 4

/** "ok", "renewal_fails", "starting", "no_token". */
const char *credential_state_name(enum credential_state state);

struct credential_report {
    const struct entra_credential *credential; /* borrowed from the configuration */
    char label[160]; /* its name, told from others of that name by a number */
    enum credential_state state;
    uint64_t age_s;      /* of the token; 0 where there is none */
    int64_t ends_unix_s; /* when it ends; 0: there is none */
    uint64_t wait_s;     /* until the next call may be made */
    struct entra_tokens_report calls;
};

/** @param i  index into the configuration's credentials */
void credentials_read(const struct runtime *rt, size_t i, struct credential_report *out);

/** For /health: one object. */
void credentials_write(const struct credential_report *report, struct strbuf *out);

/** Why an account that needs a token has none, for people: 'no token: status 401, ...'.
 *  @return false: it has one, or needs none, or no call has failed */
bool credentials_explain(const struct runtime *rt, uint32_t account, char *text, size_t size);
