/* The master: reads the configuration, binds, forks, supervises. It never touches a client's byte.
 *
 * Signals: SIGTERM, SIGINT and SIGQUIT drain (another one, a second later or more, ends at once);
 * SIGHUP loads the configuration anew; SIGUSR2 starts the program's file anew with the same
 * listening socket. The last two are kept while they cannot be carried out. */
#pragma once

#include <stdbool.h>

#include "config/config.h"
#include "master/child.h"

struct master_options {
    const char *config_path; /* NULL: environment alone */
    struct config_overrides overrides;
    const char *tls_cert_file, *tls_key_file;          /* of the command line; NULL: the file's */
    bool debug;                                        /* log level debug, whatever the file says */
    char **argv;                                       /* for the binary upgrade */
    const struct child_role *worker, *prober, *keeper; /* the children that it starts */
};

/** From here on signals wait for master_run(). For the first lines of a program that serves: a
 * SIGHUP or SIGUSR2 that comes while it starts would end it otherwise. */
void master_keep_signals(void);

/** Serve until told to end. @return the exit code: 0 when all that was in flight was finished; 1
 * when it could not start or had to cut something off */
int master_run(const struct master_options *options);
