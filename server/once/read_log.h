/* What a worker has read of one account's batches: the time span that was read completely, and the
 * keys under which batches may be searched: nonces of markers, and for batches without a marker
 * their input files. So the search for one create reads a day of batches once, and later ones only
 * what is newer. A key that is in the log proves nothing; only its absence does. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "crypto/marker.h"

#define READ_LOG_MAX     131072 /* names of one account: some days of the most that it takes */
#define READ_LOG_SLACK_S 300    /* the provider's clock against ours, and how late it lists */

/* What a name is of; the same text of two kinds is two names. */
enum read_log_kind {
    READ_LOG_NONCE = 'n', /* of a marker */
    READ_LOG_FILE = 'f',  /* native id of an unmarked batch's input file */
    READ_LOG_OTHER = 'o'  /* "": there is an unmarked batch that shows no input file */
};

/* All zero: nothing is known. Times are monotonic ms; before the start of the system negative. */
struct read_log {
    bool known;
    int64_t from_ms, to_ms; /* all batches of this time were seen */
    uint32_t forgotten;     /* times that all of it was: see read_log_note() */
    uint64_t *names;        /* owned; hashes, open addressing, 0: empty */
    uint32_t size, num;
};

void read_log_deinit(struct read_log *log);

/** A batch with this name was seen. When there is no room for it, everything is forgotten. */
void read_log_add(struct read_log *log, enum read_log_kind kind, const char *name);

/** A read that began at `to_ms` has seen all batches since `from_ms`.
 *  @param forgotten  log->forgotten when it began; when that has changed, the names it saw may be
 *         gone, and nothing is noted */
void read_log_note(struct read_log *log, uint32_t forgotten, int64_t from_ms, int64_t to_ms);

/** Whether no batch between `from_ms` and log->to_ms has this name; those of the last
 * READ_LOG_SLACK_S of that time may not have been listed yet. */
bool read_log_excludes(const struct read_log *log, enum read_log_kind kind, const char *name,
                       int64_t from_ms);
