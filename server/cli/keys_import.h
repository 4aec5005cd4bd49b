/* `tranche keys import`: LiteLLM's keys, taken over for good. */
#pragma once

/** Read keys and teams, and put them into a database or print them as a keys file (tenants
 * statement A16). Counts go to standard error.
 *  @param from  a file of CSV or JSON, "-" for standard input, a PostgreSQL URL, or
 *               os.environ/NAME for a variable that has one
 *  @param to    "keys-file", a database as store_new() takes it, or os.environ/NAME
 *  @return exit code: 0; 1 some rows were refused; 2 nothing could be read or written */
int keys_import(const char *from, const char *to);
