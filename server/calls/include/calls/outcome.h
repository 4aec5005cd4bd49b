/* What an ended call to a provider means for its deployment. Pure: no call, no clock. */
#pragma once

#include <stdbool.h>

#include "balancer/state.h"
#include "upstream/client.h"
#include "upstream/failure.h"
#include "upstream/provider.h"

/** The operation class of a call: what its breaker and counters are kept under. */
enum op_class outcome_class_of(enum provider_call call);

/** How an ended call counts for its deployment.
 *  @param failure  of the answer; read only where it was no 2xx */
enum outcome outcome_of(const struct upstream_result *result, const struct failure *failure);

/** Whether an upload was refused because the account holds as many files as it may. */
bool outcome_is_file_quota(const struct failure *failure);

/** Whether the provider says that it has no object of that id. */
bool outcome_is_gone(const struct upstream_result *result);

/** The words for what went wrong, where the outcome's name stands beside them: without that name,
 * which they begin with when nothing was sent. @return within `error` */
const char *outcome_detail(enum outcome outcome, const char *error);
