/* The keys file: watched, read when it has changed, and told of. What it said last, without a fault,
 * holds until it says something else. */
#pragma once

#include <stdbool.h>

#include "common/err.h"
#include "common/loop.h"
#include "core/inherited.h"
#include "settle.h"

/* After a file was read without a fault: its keys are in `list`. */
typedef void (*keys_file_cb)(void *arg);

/* Embedded in the keeper. */
struct keys_file {
    struct loop *loop;                 /* borrowed */
    const struct inherited *inherited; /* borrowed */
    keys_file_cb on_read;
    void *arg;               /* borrowed; the keeper's */
    struct rights_list list; /* owned; what it says */
    bool known;              /* it was read once without a fault: `list` is what it says */
    struct settle settle;
    struct loop_timer timer; /* the next look */
    char *directory;         /* owned; where the file is named */
    int inotify_fd;          /* the loop's; -1: the file system or the system tells nobody */
    char *told;              /* owned; the fault that was logged last; NULL: none since */
};

/** Begin to watch, and read once. The callback may run before this returns.
 *  @return 0, ERR_NOMEM */
MUST_USE int keys_file_start(struct keys_file *file, struct loop *loop,
                             const struct inherited *inherited, keys_file_cb on_read, void *arg);
