/* One file of `tranche run` on its way, step by step:
 *
 *     run_job_open() ──► UPLOAD ──────► CREATE ──────► POLL ──► FETCH ──► END
 *                          │ ▲             │ ▲           ▲         │
 *              in doubt    ▼ │ not there   ▼ │ not there └─────────┘ lines that failed, once more
 *                       FIND_FILE      FIND_BATCH
 *
 * A batch that has ended stays in POLL until it shows the files with the answers that it counts. One
 * that found no room, as some providers say minutes after the create, is made again: CREATE, with a
 * number.
 *
 * Each step asks the server one thing and waits for it; what costs money is in the state file before it
 * is sent (run_state.h), and is sent again only by the rules of run_rules.h. A process that starts anew
 * begins at the step that the state names, with FIND_... where something was sent and no answer is
 * known. */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "answers.h"
#include "client.h"
#include "input.h"
#include "run_rules.h"
#include "run_state.h"

/* What all files of a command have in common. */
struct run_options {
    struct client *client;        /* borrowed */
    const char *model, *endpoint; /* borrowed; NULL: what the lines say */
    bool retry_failed;            /* lines that failed are sent once more */
    int64_t poll_s, settle_s;     /* run_rules.h */
    int64_t patience_s;           /* without an answer about a batch, or without its files */
    int64_t room_tries;           /* so often a batch that found no room is made again ... */
    int64_t room_wait_s;          /* ... after this time; run_room_ms() */
    const volatile sig_atomic_t *stop,
        *now; /* borrowed; Ctrl-C; a second one, which waits for nothing */
};

enum run_step {
    RUN_STEP_UPLOAD,
    RUN_STEP_FIND_FILE,
    RUN_STEP_CREATE,
    RUN_STEP_FIND_BATCH,
    RUN_STEP_POLL,
    RUN_STEP_FETCH,
    RUN_STEP_END
};

struct run_job {
    const struct run_options *options;                                 /* borrowed */
    const char *path;                                                  /* borrowed; of the input */
    char *output, *state_path, *lock_path, *retry_path, *answers_path; /* owned */
    int lock;                                                          /* -1: not held */
    struct input input;                                                /* all lines */
    struct input again; /* those of a later round, as long as they have to be uploaded */
    struct run_state state;
    enum run_step step;
    int64_t due_ms;        /* monotonic; when the step may be taken */
    unsigned tries, looks; /* of this step, without success; at the batch */
    int64_t lost_ms;       /* monotonic; since when polls have had no answer; -1: they have */
    int64_t ended_ms;      /* monotonic; since when it is seen to have ended; -1: it is not */
    int64_t completed;     /* run_completed_of() the batch */
    bool first_send;       /* what is under way was never sent before */
    bool reached;          /* the server has answered this process */
    bool tried_again;      /* lines that failed were sent once more already */
    /* What is shown: */
    char status[32], output_id[IDS_MAX + 1], error_id[IDS_MAX + 1]; /* of the batch */
    int64_t done, failed, total;                                    /* of its lines */
    struct run_pace pace;
    char note[1400]; /* why it waits, or how it ended; "" */
    struct answers_tally tally;
    bool merged; /* the output stands, and `tally` counts it */
    int code;    /* at the end: enum client_exit */
};

/** Check the file, read the state, find out where to go on: what is in the way of that is the job's
 * end. run_job_close() it in any case.
 *  @param path    borrowed
 *  @param output  copied; where the results go */
void run_job_open(struct run_job *job, const struct run_options *options, const char *path,
                  const char *output);
void run_job_close(struct run_job *job);

/** Take the next step, which must be due. Waits for the server's answer. */
void run_job_step(struct run_job *job, int64_t now_ms);

/* --- for the sources of run_job alone --- */

/** The steps up to a batch's id (run_send.c). */
void run_send_step(struct run_job *job, int64_t now_ms);

/** Go on to another step at once. */
void run_job_go(struct run_job *job, enum run_step step);
/** Take a step after a pause, and say why. */
void run_job_wait(struct run_job *job, enum run_step step, int64_t due_ms, const char *why);
/** The end. @param fmt  what is shown, NULL: nothing */
void run_job_end(struct run_job *job, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/** The end, where lines that failed may not be sent once more: why. @param why  not RUN_RETRY */
void run_job_refuse_retry(struct run_job *job, enum run_retry why);
/** Write the state. @return false: it cannot be written, the job has ended */
MUST_USE bool run_job_save(struct run_job *job);
