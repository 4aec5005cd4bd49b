/* `tranche check-file FILE`: the gateway's checks of a batch file, offline. */
#pragma once

/** The command: `[--provider openai|azure] [--config FILE] FILE` ("-": standard input). Without a
 * provider it tells what each would say; the limits are the configuration's or the defaults. Prints
 * a line per problem and a verdict to standard output, a progress bar to standard error when that
 * is a terminal.
 *  @param argc, argv  argv[0] is passed over
 *  @return exit code: 0 valid (for one provider at least), 1 not valid, 2 wrong usage or the file
 *          could not be read */
int check_file_main(int argc, char **argv);
