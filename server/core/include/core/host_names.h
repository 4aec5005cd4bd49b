/* A provider's own words may name what tenants do not hear of the host (server/tenants/README.md 6):
 * the address of an account, its organisation and project, a deployment. Compiled once for a
 * configuration, and hidden in errors and in `errors` of batches before a tenant sees them. What we
 * say ourselves names none of that, and is left alone: a name that a tenant guessed and we repeat
 * must not tell that it was right. */
#pragma once

#include "balancer/table.h"
#include "common/mask.h"
#include "config/config.h"
#include "json/json.h"

/** The names of a configuration. A deployment whose name clients may ask for is not hidden, nor is a
 * name that is an ordinary word ("batch"), which would hide too much.
 *  @param table  of the configuration
 *  @return mask_free() it; NULL: out of memory */
struct mask *host_names_new(const struct config *config, const struct table *table);

/** Replace them in place, and what looks like an account of OpenAI's ("org-...", "proj_..."). It never
 * becomes longer.
 *  @param names  NULL: of a configuration nothing is known
 *  @param size   bytes of the array, at least `len`; a NUL is written behind the text when it has room
 *  @return the new length */
size_t host_names_hide(const struct mask *names, char *text, size_t len, size_t size);

/** The same in all strings of a value. */
void host_names_hide_json(const struct mask *names, struct json_doc *doc, struct json *v);
