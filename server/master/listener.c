/* See listener.h. */
#include "listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel cuts it to net.core.somaxconn. */
#define BACKLOG 4096

static int set_flag(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value));
}

/* Returns a listening descriptor or -1 (errno). */
static int listen_on(const struct addrinfo *address)
{
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int saved;

    if (fd == -1)
        return -1;
    if (set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1) == -1)
        goto fail;
    if (address->ai_family == AF_INET6 && set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0) == -1)
        goto fail;
    if (bind(fd, address->ai_addr, address->ai_addrlen) == -1 || listen(fd, BACKLOG) == -1)
        goto fail;
    return fd;

fail:
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

/* A name such as localhost may have several addresses: clients that know only IPv4 must find us. */
static int listen_on_first(const struct addrinfo *list)
{
    static const int families[] = {AF_INET, AF_INET6};
    int fd = -1;

    errno = EAFNOSUPPORT;
    for (size_t i = 0; i < 2; i++)
        for (const struct addrinfo *a = list; a != NULL; a = a->ai_next)
            if (a->ai_family == families[i] && (fd = listen_on(a)) != -1)
                return fd;
    return -1;
}

/* "[::1]" -> "::1"; "" -> "0.0.0.0". Returns false when it does not fit. */
static bool plain_host(const char *host, char *out, size_t size)
{
    size_t len = strlen(host);

    if (len == 0)
        return snprintf(out, size, "0.0.0.0") < (int)size;
    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len >= size)
        return false;
    memcpy(out, host, len);
    out[len] = '\0';
    return true;
}

static int resolve(const char *host, const char *port, struct addrinfo **list)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV};

    if (getaddrinfo(host, port, &hints, list) == 0)
        return 0;
    hints.ai_flags &= ~AI_NUMERICHOST;
    return getaddrinfo(host, port, &hints, list);
}

int listener_open(const char *host, int port, char *error, size_t error_size)
{
    char name[256], service[16];
    struct addrinfo *list;
    int failed, fd, saved;

    if (port < 0 || port > UINT16_MAX || !plain_host(host, name, sizeof(name))) {
        snprintf(error, error_size, "cannot listen on \"%.64s\" port %d: no such address", host,
                 port);
        return ERR_INVALID;
    }
    snprintf(service, sizeof(service), "%d", port);
    failed = resolve(name, service, &list);
    if (failed != 0) {
        snprintf(error, error_size, "cannot listen on \"%.64s\" port %d: %s", host, port,
                 gai_strerror(failed));
        return ERR_INVALID;
    }
    fd = listen_on_first(list);
    saved = errno;
    freeaddrinfo(list);
    if (fd != -1)
        return fd;
    snprintf(error, error_size, "cannot listen on \"%.64s\" port %d: %s", host, port,
             strerror(saved));
    errno = saved;
    return ERR_IO;
}

int listener_adopt(int fd)
{
    int listening = 0, type = 0, flags;
    socklen_t len = sizeof(listening);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == -1 || listening == 0)
        return ERR_INVALID;
    len = sizeof(type);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == -1 || type != SOCK_STREAM)
        return ERR_INVALID;
    flags = fcntl(fd, F_GETFL);
    if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) == -1)
        return ERR_INVALID;
    return fd;
}

int listener_name(int fd, char *text, size_t size)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof(address);
    char host[96], service[16];

    if (getsockname(fd, (struct sockaddr *)&address, &len) == -1)
        return ERR_IO;
    if (getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), service, sizeof(service),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return ERR_IO;
    snprintf(text, size, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, service);
    return 0;
}
