/* All that a batch's results are made of, in one place: the batch is asked for, and its output, error
 * and input files are stored behind each other in an unlinked spool, with an index of the answers
 * (results/results_index.h). Nothing went to the client before that is done: whatever a provider does
 * not give is an error with its status, never half an answer.
 *
 *   ┌───────┐ a place ┌───────┐ its files are known ┌────────┐ ┌────────┐ ┌───────┐
 *   │ BEGIN ├────────►│ BATCH ├────────────────────►│ OUTPUT ├►│ ERRORS ├►│ INPUT ├► on_ready
 *   └───────┘         └───────┘                     └────────┘ └────────┘ └───────┘
 *
 * A read that breaks is asked for again from where it broke. What one client can make a worker hold:
 * server README 6. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/reading.h"
#include "core/spool.h"
#include "read/resume.h"
#include "request/admit.h"
#include "request/operation.h"
#include "request/resolve.h"
#include "results/results_merge.h"

#define GATHER_MAX 16 /* at a time, of a worker: each has an index of 8 MB at most */

enum gather_file { GATHER_OUTPUT, GATHER_ERRORS, GATHER_INPUT, GATHER_FILES };

struct gather;

/** Everything is there. Once, from the loop; the operation is not ended. */
typedef void (*gather_cb)(struct gather *gather);

/* A handler's struct begins with it, as it begins with its operation. */
struct gather {
    struct operation op;
    gather_cb on_ready;
    struct target target; /* owned; of the batch */
    struct admit_place place;
    bool partial; /* a batch that has not ended will do */
    bool counted; /* in runtime.gathers */
    bool ended;   /* the batch has */
    char status[16];
    char endpoint[64];                     /* as its client wrote it; "": not told */
    uint64_t done;                         /* requests that it says to have answers */
    uint32_t deployment, input_deployment; /* whose files they are */
    char files[GATHER_FILES][IDS_MAX + 1]; /* native ids; "": there is none */
    uint64_t ends[GATHER_FILES];           /* of each in the spool */
    struct results_index *index;           /* owned */
    struct spool spool;                    /* owned */
    enum gather_file at;                   /* the file that is being read ... */
    uint64_t begin, skip;                  /* ... where it begins; bytes that come again */
    bool streams;                          /* ... and its head has come */
    struct resume_mark mark;
    struct reading reading; /* nobody deletes it meanwhile */
};

/** Begin, for the batch that the route names. It answers all errors itself, and ends the operation,
 * which may be gone when this returns.
 *  @param gather   from operation_new()
 *  @param partial  a batch that has not ended will do, and one whose files its provider does not show */
void gather_start(struct gather *gather, bool partial, gather_cb on_ready);

/** What results_merge_new() needs of it; the caller says what is wanted. */
struct results_spec gather_spec(struct gather *gather);

/** Give everything back. For the operation's free(), also when it has not begun. */
void gather_deinit(struct gather *gather);
