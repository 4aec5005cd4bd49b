/* The metrics page, in Prometheus' text format 0.0.4 (prometheus.io/docs/instrumenting
 * /exposition_formats): from numbers to lines. Pure. LiteLLM's names where LiteLLM has a metric of
 * that meaning (docs.litellm.ai/docs/proxy/prometheus), so that dashboards go on; the rest is ours.
 *
 * All samples of a metric stand together, as the format wants it: for each metric its head, then
 * each row's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balancer/quota.h"
#include "balancer/slots.h"
#include "balancer/state.h"
#include "common/log_out.h"
#include "common/strbuf.h"

/* What one row of the configuration shows. */
struct metrics_row {
    const char *group; /* "": none */
    const char *model; /* as configured: "azure/..." */
    const char *id;
    const char *base;
    const char *provider;
    bool healthy, cooling_down[OP_CLASS_COUNT];
    int64_t checked_unix_s; /* 0: never */
    struct state_sum sum;
    bool own_ledger; /* false: another row is this very deployment and shows it */
    struct quota_sum quota;
    struct quota_tally tally;
    uint64_t oldest_age_s;
    bool own_files;              /* the same of its account's files */
    uint64_t files[SLOTS_KINDS]; /* UINT64_MAX: not known */
    bool own_clock;              /* the same of its account's clock */
    int64_t skew_s;              /* that it is ahead of ours */
};

/* What the node shows. */
struct metrics_node {
    uint32_t generation, workers;
    bool reload_failed;
    uint64_t restarts, connections, requests, spool_bytes, files, file_bytes, lines, evicted,
        unmeasured, result_duplicates, long_polls;
    uint64_t log_lost[LOG_STREAMS]; /* lines */
    struct quota_scope_totals scopes;
    int64_t started_unix_s;
};

/** The node's own metrics, whole. */
void metrics_write_node(const struct metrics_node *node, struct strbuf *out);

/** Metrics of rows. */
size_t metrics_count(void);

/** The head of the n-th, below metrics_count(). */
void metrics_write_head(size_t n, struct strbuf *out);

/** A row's samples of it: none where it has nothing to tell. */
void metrics_write_row(size_t n, const struct metrics_row *row, struct strbuf *out);

/* --- for pages that go on --- */

/** `# HELP` and `# TYPE`. @param help  without its full stop */
void metrics_add_head(const char *name, const char *type, const char *help, struct strbuf *out);

/** A label, its value escaped. @param before  '{' or ',' */
void metrics_add_label(struct strbuf *out, char before, const char *name, const char *value);
