/* `tranche cancel ID`, `tranche files`, `tranche get FILE`: batches and files of a running gateway. */
#pragma once

/** Each: argv[0] is passed over. @return exit code: enum client_exit */
int cancel_main(int argc, char **argv);
int files_main(int argc, char **argv);
int get_main(int argc, char **argv);
