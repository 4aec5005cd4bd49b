/* When a file that changes is to be read: a second after its last change, so that nobody reads what
 * an editor has written half, and once for each change. Pure; keys_file.c looks. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#define SETTLE_MS 1000

/* A file from outside. All zero: there is none. */
struct settle_look {
    uint64_t device, inode, size;
    int64_t modified_ns, changed_ns;
};

struct settle {
    struct settle_look read; /* as it was read last */
    struct settle_look seen; /* as it was seen last */
    uint64_t since_ms;       /* it has looked like `seen` */
};

/** @param st  of the file behind all links; NULL: there is none */
struct settle_look settle_look_of(const struct stat *st);

/** It was read, and looked like this before. */
void settle_read(struct settle *settle, const struct settle_look *look);

/** Look. @return whether to read it now: it is another one than was read, and has been for
 * SETTLE_MS */
bool settle_is_due(struct settle *settle, const struct settle_look *look, uint64_t now_ms);

/** Whether it has changed and is not due yet: look again soon. */
bool settle_is_restless(const struct settle *settle);
