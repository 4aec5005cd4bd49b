/* The platform's own identity: which of its places this machine is, and how it is asked. */
#pragma once

#include "entra_fields.h"
#include "common/entra_credential.h"

/** Whether the row chooses an identity by a field of its own. @param field  which, else unchanged */
bool entra_managed_is_named(const struct accounts_source *source, enum entra_field *field);

/**
 * Fill in source, endpoint, selector and secret; the first place whose variables are set is it
 * (entra 2.3).
 *
 * @return 0; ERR_INVALID (reported); ERR_NOMEM
 */
MUST_USE int entra_managed_take(const struct entra_row *row, struct entra_credential *out);
