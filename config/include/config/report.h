/* Notes are gathered while loading, in any order, and handed over sorted by file and line. */
#pragma once

#include "config/config.h"
#include "config/tree.h"

struct reporter {
    struct report_entry *entries; /* owned */
    size_t num, cap;
    size_t num_errors, num_skipped;
    /* Warnings that are still told; beyond them they are counted only */
    size_t max_warnings, num_warnings; /* max_warnings 0: all are told */
    bool failed;                       /* ran out of memory: config_load() then says ERR_NOMEM */
};

/** Whether somebody has told that a variable is not set, and so has no value for this node: what
 * follows from that is not told as well. report_at() and report_under() leave it out themselves.
 * @param node  NULL: no */
bool report_was_unset(const struct node *node);

/** A note about a place of our own choosing. @param file, field  copied; NULL: none */
void report_add(struct reporter *reporter, enum config_severity severity, const char *file,
                unsigned line, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/** A note about a node. One of severity CONFIG_SKIPPED about a node of model_list or files_settings
 * leaves its row out as a whole, and marks it; about a node elsewhere it is an error. */
void report_at(struct reporter *reporter, enum config_severity severity, const struct node *node,
               const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/** A note about a field that a map has or lacks: its own line when it is there, else the map's.
 * @param map  NULL: the environment */
void report_under(struct reporter *reporter, enum config_severity severity, const struct node *map,
                  const char *key, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/** Tell that the variable of a node is not set, when that is so. @return whether it is */
bool report_unset(struct reporter *reporter, enum config_severity severity,
                  const struct node *node);

/** The error of a wrong value: "got ..., wanted ..."; of an unset variable that it is not set. */
void report_wanted(struct reporter *reporter, const struct node *node, const char *wanted);

/** Hand everything over, sorted; the reporter is empty afterwards.
 *  @param files  in the order to sort by; notes without a file come last
 *  @return 0, ERR_NOMEM */
MUST_USE int report_finish(struct reporter *reporter, const struct tree *tree,
                           struct config_report *out);
