/* Which cloud of Azure a resource is in, and the two texts that follow from it: who hands out tokens,
 * and for which audience (entra statements 2, 3). Pure. */
#pragma once

#include <stddef.h>

#include "common/err.h"

struct entra_cloud {
    const char *name;      /* "global", "US Government", "China" */
    const char *authority; /* without a slash behind it */
    const char *scope;
};

/** The cloud that the host of an api_base says; NULL: it says none (a private name). */
const struct entra_cloud *entra_cloud_of_base(const char *base);

/** The cloud of an authority; NULL: it is of no cloud that we know. */
const struct entra_cloud *entra_cloud_of_authority(const char *authority);

/** The one that is meant where nothing is said: global. */
const struct entra_cloud *entra_cloud_default(void);

/**
 * Read the address of an authority: a host with or without scheme, with or without slashes behind it.
 *
 * @param out  on 0 owned by the caller: "https://login.microsoftonline.com"
 * @param why  on ERR_INVALID what was wanted, constant
 * @return 0, ERR_INVALID, ERR_NOMEM
 */
MUST_USE int entra_cloud_authority(const char *text, size_t len, char **out, const char **why);

/** What is wrong with a scope, constant; NULL: it is one resource that ends in "/.default". */
const char *entra_cloud_scope_fault(const char *text, size_t len);
