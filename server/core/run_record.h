/* A small file that says whether the gateway on an address ended with nothing under way. The next
 * one reads it: after a crash, a kill or a reboot a create of before may still be on its way at the
 * provider, listed nowhere yet.
 *
 * One line, for one listening address (the port is what no two gateways have at once):
 *
 *   tranche-run 1 running name=<16 hex> boot=<uuid> window_ms=65000 unsure_ms=0
 *
 * "ended" for "running" at a clean end. Times are monotonic, of that boot. The name is new with
 * each start, so that a program that ends late leaves the record of the one that follows it alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define RUN_RECORD_TEXT 256

struct run_record {
    struct run_record *next; /* the owner's list */
    char *path;              /* owned */
    char name[17];           /* of this run */
    uint64_t window_ms;
};

/** What is known of the gateway before. */
struct run_past {
    bool known;         /* there was a record, or there should have been: see `why` */
    uint64_t unsure_ms; /* until then (monotonic) a create of it may be under way; 0: none is */
    /* The same, should there have been a gateway at all, which no record tells */
    uint64_t suspect_ms;
    char why[RUN_RECORD_TEXT]; /* why it is unsure, for the log; "": it is not */
};

/** What a line says. Pure, but for the boot.
 *
 * @param text       as it was read; NUL-terminated
 * @param window_ms  how long a create of this gateway may be under way
 */
void run_record_judge(const char *text, const char *boot, uint64_t window_ms, uint64_t now_ms,
                      struct run_past *past);

/** Its path: a file of this user, address and port in `dir`. @return NULL: out of memory. Caller
 * frees */
char *run_record_path(const char *dir, const char *host, int port);

/**
 * Read what is there, and say that we are running; on the disk before it returns. No symbolic link
 * is followed, and nobody else's file is read.
 *
 * @param path  taken over
 * @param past  always filled: what cannot be read or written counts as an unclean end
 * @return NULL: no record is kept (`past->why`)
 */
struct run_record *run_record_begin(char *path, uint64_t window_ms, uint64_t now_ms,
                                    struct run_past *past);

/** Whether the file says still that this run goes on: nobody has begun another one since, and nobody
 * has removed it. */
bool run_record_goes_on(const struct run_record *record);

/** All has ended, but for creates that may be under way until `unsure_ms` (monotonic; 0: none).
 * Does nothing when another program has the record by now.
 * @return 0; ERR_IO (errno): the next one takes it for a crash */
MUST_USE int run_record_end(const struct run_record *record, uint64_t unsure_ms);

/** Keep the file as it is. NULL is fine. */
void run_record_free(struct run_record *record);
