/* A configuration on its way into a generation: loaded, checked with its certificates, and what is
 * to be said of it. */
#pragma once

#include <stdbool.h>

#include "common/err.h"
#include "core/problem.h"
#include "master/master.h"

/* The first thing that is wrong with a configuration, as /health shows it; without secrets. */
struct loading_fault {
    char file[PROBLEM_BYTES]; /* "": none is to blame */
    unsigned line;            /* 0: none */
    char text[PROBLEM_BYTES];
};

/**
 * Load the configuration that the command line names, with what the command line says over it. All
 * that is wrong or left out is told. Reads files: for the master alone.
 *
 * @param first  of this process: a failure goes to the terminal as `tranche check` prints it, and
 *               the log has the configuration's level from here on
 * @param out    on 0 the caller's, config_free()
 * @param fault  filled when it is not 0
 * @return 0; ERR_INVALID, ERR_NOMEM: it was told why
 */
MUST_USE int loading_config(const struct master_options *options, bool first, struct config **out,
                            struct loading_fault *fault);

/** Show why a configuration was refused, until one is taken. */
void loading_publish(struct shared *shared, const struct loading_fault *fault);

/** Warn of what a configuration that is about to be served leaves open: who may call, and whom.
 *  @param path  of its file, for a line to copy; NULL: it came from the environment alone */
void loading_warn(const struct config *config, const char *path);
