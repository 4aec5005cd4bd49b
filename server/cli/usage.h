/* `tranche usage`: what batches used and cost, from a running gateway, for people and for scripts
 * that export it (GET /usage). */
#pragma once

/** Rows behind `--since-seq`, the oldest first; with `--csv` and `--json` as they come, page by page
 *  until there is none behind them or `--limit` is reached.
 *  @param argc, argv  argv[0] is passed over
 *  @return exit code: enum client_exit */
int usage_main(int argc, char **argv);
