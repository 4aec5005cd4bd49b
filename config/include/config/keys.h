/* Keys of tenants that stand in files, as records of rights (common/rights.h): `keys:` and `teams:`
 * of tranche_settings, and of the file that tranche_settings.keys_file names (tenants statement
 * A57). */
#pragma once

#include "config/config.h"

/**
 * Read the keys file anew. A file with one fault is refused as a whole. Reads a file and may take
 * seconds where it has 100,000 keys: not for a loop that others wait for. Variables
 * (`os.environ/NAME`) are the process's own as environment_get() knows them: a child that calls this
 * must not have dropped them.
 *
 * @param config  for the file's name, what models there are, and the keys that stand in it; only
 *                read
 * @param out     on 0 what the file says, free with rights_list_deinit(); else empty. Without a
 *                keys_file it is empty too
 * @param report  always filled, also on errors; free with config_report_free()
 * @return 0; ERR_INVALID: the report says which line and field, or that the file cannot be read;
 *         ERR_NOMEM
 */
MUST_USE int config_keys_read(const struct config *config, struct rights_list *out,
                              struct config_report *report);

/** Whether a text may be a key: it begins with "sk-", and has 16 characters at least, visible ASCII
 * all of them, so that a header carries it (tenants statements A3, A6). */
bool keys_has_form(const char *text);
