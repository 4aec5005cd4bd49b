/* Metrics of the credentials of Entra ID (entra statement 24): from reports to lines. Pure. */
#pragma once

#include <stddef.h>

#include "common/strbuf.h"
#include "credentials.h"

/** Metrics there are. */
size_t metrics_credentials_count(void);

/** The head of the n-th. */
void metrics_credentials_head(size_t n, struct strbuf *out);

/** A credential's samples of it: none where it has nothing to tell. */
void metrics_credentials_write(size_t n, const struct credential_report *report,
                               struct strbuf *out);
