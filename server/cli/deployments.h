/* `tranche deployments`: what each deployment of a running gateway has room for, and whether it is well
 * (GET /metrics, whose names never change once released). */
#pragma once

#include <stdint.h>

#include "common/err.h"
#include "common/strbuf.h"

#define DEPLOYMENTS_MAX  10000
#define DEPLOYMENTS_NAME 256

/* One row of model_list, and of the table. Numbers that the page lacks are -1: a deployment that
 * shares the ledger of another row has none of its own. */
struct deployment_row {
    char group[DEPLOYMENTS_NAME], id[DEPLOYMENTS_NAME];         /* model_name, model_info.id */
    int64_t enqueued, elsewhere, others, expected, free, limit; /* tokens */
    int64_t batches;                                            /* unfinished, by the ledger */
    int64_t healthy;
    char resting[64]; /* kinds of calls that are not sent there, with commas; "" */
    double drain;     /* tokens a second */
};

struct deployment_rows {
    struct deployment_row *rows; /* owned */
    size_t num;
};

/** Read the page. Lines of other metrics, and what is no line of Prometheus' text format, are passed
 * over; names are cut where they are too long. Pure.
 *  @param out  written on 0; free(out->rows)
 *  @return 0, ERR_NOMEM */
MUST_USE int deployments_read(const char *page, struct deployment_rows *out);

/** @param argc, argv  argv[0] is passed over
 *  @return exit code: enum client_exit */
int deployments_main(int argc, char **argv);
