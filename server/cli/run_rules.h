/* What `tranche run` does next: when an upload or create may be sent, when a batch's answers are there
 * to be read, and how long it waits. Money rule: it is sent again only when it is known that nothing
 * happened. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "json/json.h"
#include "run_state.h"

#define RUN_KEY_S 82800 /* so long a gateway surely remembers an Idempotency-Key (24 h) */

/* What is done about an upload or create that has not come to its end. */
enum run_next {
    RUN_SEND, /* nothing of it has happened, or the server knows it by its Idempotency-Key */
    RUN_LOOK, /* it may have happened: look for it in the server's list */
    RUN_STOP  /* it was refused, and another try would be */
};

/** After it was sent, and no id came back.
 *  @param code, answer  of client_ask()
 *  @param fresh         it needs what was made a moment ago, which a server may not show at once */
enum run_next run_after_send(enum client_exit code, const struct client_answer *answer, bool fresh);

/** After the list was read, and it is not there; or before it is sent at all.
 *  @param settle_s  so long after it was sent it may still come to be, where no key is known
 *  @param wait_s    written: how long to wait before that; 0: now */
enum run_next run_after_look(const struct run_send *send, bool gateway, int64_t now_s,
                             int64_t settle_s, int64_t *wait_s);

/* Whether a batch that has ended names the files in which its answers are. Providers show them some
 * time after the end, or never. */
enum run_files {
    RUN_FILES_SHOWN,
    RUN_FILES_LATE, /* answers that it counts, or has to have, are in a file that it does not name */
    RUN_FILES_UNSURE /* it counts lines that failed and names no error file: some servers put them into
                        the output file, others name it later */
};

/** @param batch  as a server tells it; of any status that is an end */
enum run_files run_files_of(const struct json *batch);
/** The lines of a batch that have a good answer, as it counts them; -1: it does not say. */
int64_t run_completed_of(const struct json *batch);

/* What is done about it. */
enum run_ended {
    RUN_ENDED_READ, /* the files */
    RUN_ENDED_WAIT, /* and look at the batch again */
    RUN_ENDED_LEAVE /* what there is must not be taken for all: another command goes on later */
};

/** @param waited_ms    since the batch was first seen to have ended
 *  @param patience_ms  how long it may be late */
enum run_ended run_after_end(enum run_files files, int64_t waited_ms, int64_t patience_ms);

/** How many answers that a batch counts do not stand in its output file.
 *  @param completed  run_completed_of()
 *  @param lines      of that file, whether they can be read or not */
uint64_t run_missing(int64_t completed, uint64_t lines);

/* Whether lines that failed may be sent once more: none while a line of the answers cannot be read
 * or is missing, since it may be the answer, which was paid for, to a line that seems to have none. */
enum run_retry {
    RUN_RETRY,           /* all answers could be read */
    RUN_RETRY_COUNT,     /* an older tranche did not look: read the answers again, all are there */
    RUN_RETRY_UNCOUNTED, /* ... and those of the rounds before the last one are not */
    RUN_RETRY_UNREADABLE
};

/** @param state  after a round was merged */
enum run_retry run_may_retry(const struct run_state *state);

/** Whether a batch failed because its provider had no room for its tokens, and nothing of it has run:
 * some say so only minutes after the create (providers 2.6). What would fail anywhere is not that,
 * nor is a batch of which anything was done. @param batch  as a server tells it */
bool run_found_no_room(const struct json *batch);

/** How long until a batch that found no room is made again, in ms. A gateway knows at once where there
 * is room; others are given time: four times as long after each one, up to a quarter of an hour.
 *  @param remade  how often it was made again before
 *  @param wait_s  of the first of these times */
int64_t run_room_ms(unsigned remade, bool gateway, int64_t wait_s);

/** Before try number `tries` (1, 2, ...), in ms: 1 s, 2 s, 4 s ... 60 s, or what the server asked for,
 * up to five minutes.
 *  @param asked_s  Retry-After; -1: nothing */
int64_t run_pause_ms(unsigned tries, int64_t asked_s);

/** Between two looks at a batch, in ms: it grows by half each time, from one second to `most_s`. */
int64_t run_poll_ms(unsigned looks, int64_t most_s);

/* How fast a batch goes. */
struct run_pace {
    int64_t from_ms, from_done; /* monotonic; the first look that had counts; -1: none yet */
    double per_minute;          /* lines; 0: not known yet */
    int64_t left_s;             /* until it ends as it goes; -1: not known */
};

void run_pace_init(struct run_pace *pace);
/** A look: so many lines have ended, of so many (shown_counts()). */
void run_pace_look(struct run_pace *pace, int64_t done, int64_t total, int64_t now_ms);

/** The exit code of several files: what a script has to know first. */
int run_worst(int a, int b);
