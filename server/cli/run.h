/* `tranche run in.jsonl -o out.jsonl`: a batch from a file to its results, against a gateway or any
 * server of OpenAI's contract. */
#pragma once

/** @param argc, argv  argv[0] is passed over
 *  @return exit code: enum client_exit; of several files the one that a script has to know first */
int run_main(int argc, char **argv);
