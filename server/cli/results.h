/* `tranche results ID -o PATH`: the results of a batch that has ended, in the order of its input, from
 * a gateway or any server of OpenAI's contract that gives input files back. */
#pragma once

/** @param argc, argv  argv[0] is passed over
 *  @return exit code: enum client_exit */
int results_main(int argc, char **argv);
