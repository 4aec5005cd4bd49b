/* The switches of one account: everything in the provider reference that is unverified ([M]) or
 * called a switch. The list itself is switches.def. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "json/json.h"
#include "common/strbuf.h"

#define SWITCH_FIELD_BOOL(name) bool name;
#define SWITCH_FIELD_INT(name)  int64_t name;
#define SWITCH_FIELD_STR(name)  char *name;
#define SWITCH_FIELD_LIST(name) char *name; /* comma-separated */

struct switches {
#define X(kind, name, ref, openai, azure, help) SWITCH_FIELD_##kind(name)
#include "switches.def"
#undef X
};

/** Defaults of an account kind. `sw` holds nothing before. */
void switches_init(struct switches *sw, bool azure);
void switches_deinit(struct switches *sw);
void switches_copy(struct switches *to, const struct switches *from);

/** Take the members of a JSON object over. On error nothing is promised and `why` says what is
 * wrong. Returns 0 or -1. */
int switches_apply(struct switches *sw, const struct json *obj, struct strbuf *why);

/** Whether a comma-separated list has an item. */
bool switches_has(const char *list, const char *item, size_t len);

/** Print the whole table as Markdown, for the README. */
void switches_print(void);
