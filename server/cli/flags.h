/* A command line by getopt_long(3), as LiteLLM writes it: dashes and underscores in a name are the
 * same, a name is written out in full, and one that is unknown is told with the one that was meant.
 * One command line a process. */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#include "config/known_flags.h"

#define FLAGS_MAX     (16 + KNOWN_FLAGS_MAX)
#define FLAGS_END     (-1)
#define FLAGS_OPERAND 1    /* what is no flag, in `optarg` */
#define FLAGS_WRONG   '?'  /* it was told what is wrong */
#define FLAGS_LONG    1000 /* vals of flags without a letter begin here; those of others are it */

struct flags {
    int argc;
    char **argv; /* borrowed */
    bool rest;   /* "--" came: what follows is no flag */
    size_t num_own, num;
    struct option all[FLAGS_MAX]; /* ours, LiteLLM's, an empty one */
    char letters[3 + 2 * FLAGS_MAX];
};

/**
 * @param argc, argv  argv[0] is passed over
 * @param own         borrowed; names with underscores; an empty one is the last
 * @param litellm     whether those of LiteLLM's flags that mean nothing here are taken: each is
 *                    warned of, and its value, which may be a key, is wiped where it stands
 */
void flags_init(struct flags *flags, int argc, char **argv, const struct option *own, bool litellm);

/** The next one. @return its val, with its value in `optarg`; or FLAGS_END, _OPERAND, _WRONG */
int flags_next(struct flags *flags);

/** Tell that a flag's value will not do. @return FLAGS_WRONG */
int flags_fail_value(const char *name, const char *value, const char *wanted);

/** A word of a command line as it may be shown: never a key. */
const char *flags_shown(const char *word);
