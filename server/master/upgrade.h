/* Binary upgrade (SIGUSR2): the master starts the program anew from its file with the listening
 * sockets inherited. Both serve until the new master's workers are ready; then the new one asks the
 * old one to drain. What else goes over is said in handover.h. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"
#include "handover.h"

/** Remember how this program was started; before anything changes directory. @param argv borrowed,
 * NULL-terminated, kept to the end */
void upgrade_init(char **argv);

/* Which of the listening sockets. */
enum upgrade_listener { UPGRADE_CLIENTS, UPGRADE_HEALTH, UPGRADE_LISTENERS };

/** Start the successor. The descriptors of `fds` and `offer` stay the caller's.
 *  @param fds    listening sockets, by enum upgrade_listener; -1: there is none
 *  @param ports  that they stand for, as they were configured
 *  @return its pid, or ERR_IO (errno) */
MUST_USE pid_t upgrade_start(const int fds[UPGRADE_LISTENERS], const char *host,
                             const int ports[UPGRADE_LISTENERS],
                             const struct handover_offer *offer);

/** Whether a program started us to take its place, with or without handing memory over. */
bool upgrade_is_successor(void);

/** The successor's side: the inherited socket when it stands for this host and port, else -1 (one
 * for another address is closed). */
int upgrade_take_listener(enum upgrade_listener which, const char *host, int port);

/** The successor's side, once its workers are ready: SIGTERM to the program that started us for
 * this. @return whether there was one */
bool upgrade_finish(void);
