/* `tranche journal rebuild`: a running gateway restores its registry of batches from what the
 * providers list. */
#pragma once

/** The command, of which argv[1] is the subcommand.
 *  @param argc, argv  argv[0] is passed over
 *  @return enum client_exit */
int journal_main(int argc, char **argv);
