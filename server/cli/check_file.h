/* `tranche check-file FILE`: the gateway's checks of a batch file, offline. */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "jsonl/jsonl.h"

/* Who wants to see the file's bytes, too. */
struct check_file_hook {
    void (*on_bytes)(void *arg, const char *bytes, size_t len);
    void *arg; /* borrowed */
};

/** Check an open file as the command does without flags, with a progress bar.
 *  @param path   for what is told
 *  @param fd     read from where it stands; -1: it could not be opened (errno)
 *  @param hook   NULL: nobody
 *  @param out    where problems and the verdict are told; what cannot be read is told on standard error
 *  @param lines  written: the checker, jsonl_free() it; NULL: out of memory
 *  @return as check_file_main() */
int check_file_read(const char *path, int fd, const struct check_file_hook *hook, FILE *out,
                    struct jsonl **lines);

/** The command: `[--provider openai|azure] [--config FILE] FILE` ("-": standard input). Without a
 * provider it tells what each would say; the limits are the configuration's or the defaults. Prints
 * a line per problem and a verdict to standard output, a progress bar to standard error when that
 * is a terminal.
 *  @param argc, argv  argv[0] is passed over
 *  @return exit code: 0 valid (for one provider at least), 1 not valid, 2 wrong usage or the file
 *          could not be read */
int check_file_main(int argc, char **argv);
