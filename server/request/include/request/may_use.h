/* Which models the caller may use (tenants statements A17, A18, A28, A29). The master key, admin
 * keys, and whoever needs no key may use all: nothing here is asked for them, and no function
 * refuses them.
 *
 * A name becomes what the caller's aliases say, then it is looked up among groups as always, then it
 * is held against the rights: the name as it was asked for, or the group that it means, has to be
 * among them. The id of a row is no name of a model: of it the group counts alone, or "gpt-*" would
 * open every row whose id happens to begin so. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/rights.h"
#include "balancer/table.h"
#include "request/relay.h"

struct candidates; /* candidates.h */

/** Whether there may be a model that the caller may not use. */
bool may_use_is_limited(const struct relay *relay);

/** What a name stands for at the caller's key, else at its team.
 *  @param out  RIGHTS_NAME_MAX + 1 bytes; written when true is returned
 *  @return false: the name stands for itself */
bool may_use_alias(const struct relay *relay, const char *name, size_t len, char *out);

/** Whether the caller may use what goes upstream by this very name. */
enum rights_model may_use_name(const struct relay *relay, const char *name, size_t len);

/** Whether it may use what a name means. @param found  by table_find_name() of the name */
enum rights_model may_use_found(const struct relay *relay, const struct table_name *found,
                                const char *name, size_t len);

/** Whether it may use a name, whether that means something here or goes upstream as it is. */
enum rights_model may_use_either(const struct relay *relay, const char *name, size_t len);

/** Whether it may use a group, by its name or an alias of the configuration. */
enum rights_model may_use_group(const struct relay *relay, uint32_t group);

/** What falls back to a group that the caller may not use is dropped: it does as if that was not
 * configured. What was asked for, tier 0, stays: it was judged by its name. */
void may_use_drop_fallbacks(const struct relay *relay, struct candidates *candidates);

/** Say that a model may not be used; it may as well not exist. No other model is named.
 *  @param which   not RIGHTS_MODEL_ALLOWED
 *  @param in_file  the name stands in the lines of a file, the same in all of them; else in the
 *                  request */
void may_use_deny(struct failure *why, enum rights_model which, bool in_file, const char *name,
                  size_t len);
