/* The signals of the master: which it reads from a descriptor, and those that are about the logs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** Block the signals that are read. @return their signalfd; -1: errno */
int signals_open(void);

/** SIGRTMIN+22 and SIGRTMIN+23, which mean to systemd's own programs what they mean here: from now on
 * all processes log what is for debugging, or no longer, until the next reload.
 *  @return false: it is another signal */
bool signals_take_level(uint32_t number);

/** SIGUSR1: all processes open the files of their logs again. */
void signals_reopen_logs(void);
