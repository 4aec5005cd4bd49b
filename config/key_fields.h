/* The fields of an entry of `keys:` or `teams:` that stand by themselves: limits, expiry, and the
 * names that are known and refused, or told to be without effect (tenants statements A3, A11, A21). */
#pragma once

#include "common/rights.h"
#include "config/report.h"
#include "config/tree.h"

/** Look at the names of an entry's fields, whatever they say: a budget in money that is not enforced
 * is an error; one of LiteLLM's that does nothing here is told, or passed over where it cannot
 * matter for files and batches; any other name is an error, because it may be a right that was to
 * be narrower.
 *  @param team     an entry of `teams:`
 *  @param counted  there is a journal, which counts money */
void key_fields_check(const struct node *entry, bool team, bool counted, struct reporter *reporter);

/** Read all limits, those in `metadata` too. @param limits  rights_limits_init() has been called */
void key_fields_limits(const struct node *entry, struct reporter *reporter,
                       struct rights_limits *limits);

/** Read `{anchor: created_at, seconds: N}`. A missing node, and a wrong one, which is reported, leave
 * *seconds. */
void key_fields_expiry(const struct node *node, struct reporter *reporter, uint32_t *seconds);

/** Read a `delete_after`. A missing node, and a wrong one, which is reported, leave *seconds. */
void key_fields_retention(const struct node *node, struct reporter *reporter, uint32_t *seconds);

/** Read `expires`. @param unix_ms  0: never */
void key_fields_expires(const struct node *entry, struct reporter *reporter, int64_t *unix_ms);

/** A field that is true or false; a missing one is false. */
bool key_fields_truth(const struct node *entry, const char *name, struct reporter *reporter);

/** Whether a field is there and not null. A variable that is not set is there. */
bool key_fields_given(const struct node *node);
