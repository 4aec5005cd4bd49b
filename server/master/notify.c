/* See notify.h. */
#include "notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/environment.h"
#include "common/log.h"

static struct sockaddr_un address;
static socklen_t address_len; /* 0: nobody wants to know */
static bool watched;

void notify_init(bool successor)
{
    const char *name = environment_get("NOTIFY_SOCKET"), *usec = environment_get("WATCHDOG_USEC");
    const char *pid = environment_get("WATCHDOG_PID");
    size_t len = name != NULL ? strlen(name) : 0;

    if (len < 2 || (name[0] != '/' && name[0] != '@'))
        return;
    if (len >= sizeof(address.sun_path)) {
        log_warn("NOTIFY_SOCKET is too long: the service manager is not told");
        return;
    }
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, name, len + 1);
    if (name[0] == '@')
        address.sun_path[0] = '\0'; /* an abstract one (unix(7)) */
    address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    watched = usec != NULL && usec[0] != '\0' &&
              (pid == NULL || successor || strtol(pid, NULL, 10) == (long)getpid());
}

/* What is lost is lost: the manager's queue is full, or it has gone. */
static void tell(const char *text)
{
    int fd = address_len > 0 ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;

    if (fd == -1)
        return;
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                 address_len);
    close(fd);
}

void notify_ready(uint32_t generation)
{
    char text[128];

    snprintf(text, sizeof(text), "READY=1\nMAINPID=%d\nSTATUS=generation %u serves\n",
             (int)getpid(), generation);
    tell(text);
}

void notify_reloading(void)
{
    char text[64];

    snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%llu\n",
             (unsigned long long)clock_now_us());
    tell(text);
}

void notify_stopping(void)
{
    tell("STOPPING=1\nSTATUS=draining\n");
}

void notify_alive(void)
{
    if (watched)
        tell("WATCHDOG=1\n");
}
