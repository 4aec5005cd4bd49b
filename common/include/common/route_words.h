/* LiteLLM's words for what a key may call, `allowed_routes` and `key_type` (tenants statement A4), and
 * what each allows here: bits of enum rights_route. Rights are kept by resource: a part of one alone
 * cannot be allowed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/rights.h"

#define RIGHTS_ADMIN_ROUTES (RIGHTS_MANAGEMENT | RIGHTS_OPERATOR)
#define RIGHTS_EVERY_ROUTE  (RIGHTS_ALL_ROUTES | RIGHTS_ADMIN_ROUTES)

struct route_word {
    const char *name;
    uint32_t routes;
};

struct route_words {
    const struct route_word *words;
    size_t num;
};

/* Names of lists of routes (of those that serve nothing here all bits are clear); key types, the
 * default first; paths without their version, each its resource as a whole. */
extern const struct route_words route_names, route_types, route_paths;

/** @return NULL: none of that name */
const struct route_word *route_word_find(const struct route_words *list, const char *name);

/** A path without what stands before its resource: "/v1/files" is "/files". Borrowed. Pure. */
const char *route_without_version(const char *path);

/** What a pattern of paths ("/batches*", without a version) allows. Pure. */
uint32_t route_pattern(const char *pattern);
