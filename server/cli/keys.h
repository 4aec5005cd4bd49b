/* `tranche keys ...`: what operators do with keys of tenants without a running gateway. */
#pragma once

/** The command, of which argv[1] is the subcommand:
 *
 *  hash   reads a key from standard input (a line; without echo where that is a terminal) and prints
 *         the entry for `keys:` that knows it by its hash (tenants statement A57)
 *  import takes over LiteLLM's keys and teams (keys_import.h)
 *
 *  A key is never taken from the command line, which every user of the machine may read.
 *  @param argc, argv  argv[0] is passed over
 *  @return exit code: 0; 1 the key is not fit; 2 wrong usage, or nothing could be read */
int keys_main(int argc, char **argv);
