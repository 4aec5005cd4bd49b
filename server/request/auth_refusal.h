/* What a credential that is not taken is answered, where tenants' keys are configured: LiteLLM's
 * statuses, types and texts, which its clients go by (tenants statements A23 to A26, A35). None of
 * them has more of a key than its last characters, or anything of its hash. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "balancer/rights.h"
#include "upstream/failure.h"

/** No credential was sent. */
void auth_refusal_none(struct failure *out);

/** One that no key is known by: it begins as none does, or it is unknown. `token` is borrowed.
 *  @param complete  whether all keys there are were looked at; else the key may be good, and its
 *                   client shall come again */
void auth_refusal_unknown(struct failure *out, const char *token, size_t len, bool complete);

/** A known key that may not be used. @param verdict  not RIGHTS_GOOD */
void auth_refusal_judged(struct failure *out, enum rights_verdict verdict,
                         const struct rights *rights, int64_t now_unix_ms);
