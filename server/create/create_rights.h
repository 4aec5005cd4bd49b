/* Whether the caller of a create may use the model that its input file is for: a key of the same
 * team, with other rights, may have stored it, and rights may have changed since. */
#pragma once

#include "create_job.h"

/** Whether it has to be told which model the file is for, although no room depends on it. */
bool create_wants_model(const struct create_job *job);

/** In RESERVE: by the name that the file was stored for, else by the deployment that its lines
 * name. What nobody can tell is not allowed to who may use only some models.
 *  @return false: `why` says what to answer */
bool create_is_allowed(const struct create_job *job, struct failure *why);
