/* What a service manager is told (sd_notify(3)), without its library: datagrams to the socket that
 * NOTIFY_SOCKET names. Where there is none nothing happens; nothing waits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** Read the environment. @param successor  it was another process's before SIGUSR2: the watchdog is
 * for whoever serves, not for the one process that the environment names */
void notify_init(bool successor);

/** This process serves that generation (READY, MAINPID): at the start, and after each reload, also a
 * refused one. */
void notify_ready(uint32_t generation);

void notify_reloading(void);
void notify_stopping(void);

/** The loop turns: once a second. Told where the service manager wants to know. */
void notify_alive(void);
