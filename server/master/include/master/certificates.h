/* Whether the certificates that a configuration names can be used: its own, and those by which it
 * knows the providers. Looked at before anybody is served, and by `tranche check`. */
#pragma once

#include "common/strbuf.h"
#include "config/config.h"

/** The certificate and the key of the command line go over the file's.
 *  @param cert_file, key_file  NULL: the command line names none
 *  @return 0, ERR_NOMEM */
MUST_USE int certificates_override(const char *cert_file, const char *key_file,
                                   struct config *config);

/**
 * Read the files. What cannot work (a broken certificate, a key that does not fit, a bundle without
 * a certificate) is an error; what stops calls to providers alone, or is out of date, a warning.
 * Reads files of a megabyte: for the master and the command line, not for a worker.
 *
 * @param errors, warnings  one line for each is appended, ended by a newline
 */
void certificates_check(const struct config *config, struct strbuf *errors,
                        struct strbuf *warnings);
