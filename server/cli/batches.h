/* `tranche batches` and `tranche batch ID`: what a running gateway's journal knows of batches, for
 * people and scripts (GET /journal/batches). */
#pragma once

/** A table, the newest first: id, owner, state, where, progress, expected end. Pages are asked for
 *  one after the other until `--limit` rows are there.
 *  @param argc, argv  argv[0] is passed over
 *  @return exit code: enum client_exit */
int batches_main(int argc, char **argv);

/** One batch: what it is, and a line for each event of its life. */
int batch_main(int argc, char **argv);
