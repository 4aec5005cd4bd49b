/* One entry of `keys:` or `teams:` as a record. */
#pragma once

#include "common/rights.h"
#include "config/report.h"
#include "config/tree.h"
#include "key_marks.h"
#include "key_names.h"

/* What entries are read into, and looked at with. */
struct key_reading {
    const struct config *config; /* borrowed */
    struct key_names names;
    struct key_marks marks;
    struct reporter *reporter;  /* borrowed */
    struct rights_list *list;   /* borrowed; filled */
    size_t cap_keys, cap_teams; /* room in it */
    /* Keys, and teams, that stand elsewhere and count for max_keys, too */
    size_t num_other_keys, num_other_teams;
    bool in_file; /* of keys_file */
};

/** Read an entry and append it. A fault is reported, and the entry left out.
 *  @return 0; ERR_LIMIT: there is no sense in reading on, told; ERR_NOMEM */
MUST_USE int key_entry_take_key(struct key_reading *r, const struct node *entry);
MUST_USE int key_entry_take_team(struct key_reading *r, const struct node *entry);

/** Remember what stands in a list already, so that it does not stand in this one as well.
 *  @return 0, ERR_NOMEM */
MUST_USE int key_entry_mark_list(struct key_reading *r, const struct rights_list *list);

/** Warn of keys that may use what their team may, where no team is told of. @param file  theirs */
void key_entry_check_teams(const struct key_reading *r, const char *file);
