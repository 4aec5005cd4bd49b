/* `tranche check-file FILE`: the gateway's checks of a batch file, offline. */
#pragma once

/** The command behind its name: `[--provider openai|azure] FILE` ("-": standard input). Prints a
 * line per problem and a verdict to standard output, a progress bar to standard error when that is
 * a terminal.
 *  @return exit code: 0 valid, 1 not valid, 2 wrong usage or the file could not be read */
int check_file_main(int argc, char **argv);
