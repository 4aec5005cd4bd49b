/* The answers of a batch on this machine's disk: its output and error file, read from a server into
 * one file, with an index of what became of each line; and their merge into the order of the input
 * (results/results_merge.h). */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "bar.h"
#include "client.h"
#include "results/results_index.h"
#include "results/results_merge.h"

struct answers {
    char *path;                  /* owned; of the file, which answers_close() removes */
    int fd;                      /* -1: closed */
    uint64_t len;                /* bytes in it */
    int before;                  /* borrowed; results that were merged earlier; -1: none */
    struct results_index *index; /* owned */
    struct bar bar;
    const struct client_answer *answer; /* borrowed, while a file is read: its length is there */
    int error; /* errno of what failed on this machine, ERR_LIMIT of what is too much; 0 */
};

/* What became of the lines of an input. */
struct answers_tally {
    uint64_t lines, ok, failed; /* failed: all that are not ok */
    uint64_t retryable;         /* of those that failed */
};

/** Begin, over a file that an earlier try left. @return 0, ERR_NOMEM, ERR_IO (`error`);
 * answers_close() it in any case */
MUST_USE int answers_open(struct answers *a, const char *path);
/** Let go of it, and remove its file. */
void answers_close(struct answers *a);

/** Read one file of the server's behind what is there. After a fault all begins anew with
 * answers_open().
 *  @param answer  as of client_ask(), whose result this returns */
MUST_USE enum client_exit answers_fetch(struct answers *a, struct client *client, const char *id,
                                        const volatile sig_atomic_t *stop,
                                        struct client_answer *answer);

/** Results of the same input that were merged before: what has a good answer there needs none here.
 * Lines that say that there was no answer are passed over. Behind the last answers_fetch().
 *  @param fd  borrowed until answers_close(); read from its begin
 *  @return 0, ERR_NOMEM, ERR_IO (`error`), ERR_LIMIT */
MUST_USE int answers_add_before(struct answers *a, int fd);

/** Write a line for each line of the input, or, as RESULTS_INPUT, those lines whose answers are of
 * some kinds.
 *  @param input   a file that is read by pread(2), of so many bytes
 *  @param status  of the batch, which says why lines have no answer; NULL: not known
 *  @return 0, ERR_NOMEM, ERR_IO (`error`), ERR_SYNTAX (`error`): RESULTS_UNREADABLE */
MUST_USE int answers_write(struct answers *a, int input, uint64_t bytes, enum results_form form,
                           unsigned kinds, const char *status, const char *path);

/** Count. @return 0, ERR_IO (`error`) */
MUST_USE int answers_count(struct answers *a, int input, uint64_t bytes,
                           struct answers_tally *tally);
