/* Webhooks are told here: events of batches become tries at endpoints, tries are claimed, made, and
 * reported (webhook statements D27 and D28; the drawing is in store_hooks.h). Nobody waits for any of
 * it. What is under way when the process is killed is claimed again by whoever comes next. */
#pragma once

#include <stdbool.h>

#include "common/err.h"
#include "common/loop.h"
#include "config/config.h"
#include "manage/manage.h"
#include "store/store.h"

struct hooks;

struct hooks_options {
    struct loop *loop;           /* borrowed, as all of it; outlives the process */
    const struct config *config; /* with a journal */
    struct store *store;
    const char *node; /* copied; one keeper's at a time, and the same after it was started again */
};

/** Begin; the first look is on a coming turn. Takes some 40 ms for each seal key.
 *  @return 0, ERR_NOMEM */
MUST_USE int hooks_new(const struct hooks_options *options, struct hooks **out);

/** Give up what is under way, whose claims end by themselves. Not from inside a callback of its own.
 * NULL is fine. */
void hooks_free(struct hooks *hooks);

/** What the management API judges endpoints by; as long as `hooks` lives. */
const struct manage_hooks *hooks_rules(const struct hooks *hooks);

/** Something may be due: look on a coming turn, and not only within the second. */
void hooks_look_soon(struct hooks *hooks);

/** Claim nothing any more; what is under way goes on. */
void hooks_drain(struct hooks *hooks);
/** Whether nothing is under way. */
bool hooks_are_idle(const struct hooks *hooks);
