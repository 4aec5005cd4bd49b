/* See keeper_door.h. */
#include "core/keeper_door.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>
#include <openssl/rand.h>

#define BACKLOG    256
#define ROOM_BYTES (2 * KEEPER_MESSAGE) /* for a whole message in the kernel, and what it adds */

static void close_socket(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

static int new_socket(void)
{
    return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

/* An address without a path: the kernel chooses a free abstract name (unix(7), autobind). */
static int bind_anywhere(struct keeper_door *door, int fd)
{
    struct sockaddr_un any = {.sun_family = AF_UNIX};

    door->address_len = sizeof(door->address);
    if (bind(fd, (struct sockaddr *)&any, sizeof(any.sun_family)) == -1 ||
        getsockname(fd, (struct sockaddr *)&door->address, &door->address_len) == -1)
        return ERR_IO;
    return listen(fd, BACKLOG) == -1 ? ERR_IO : 0;
}

int keeper_door_open(struct keeper_door *door)
{
    int fd = new_socket();

    door->listen_fd = -1;
    door->pid = getpid();
    if (fd == -1)
        return ERR_IO;
    if (bind_anywhere(door, fd) != 0 || RAND_bytes(door->token, sizeof(door->token)) != 1) {
        close_socket(fd);
        return ERR_IO;
    }
    door->listen_fd = fd;
    return 0;
}

int keeper_door_renew(const struct keeper_door *door)
{
    assert(door->listen_fd != -1 && door->pid == getpid());
    return listen(door->listen_fd, BACKLOG) == -1 ? ERR_IO : 0;
}

void keeper_door_close(struct keeper_door *door)
{
    if (door->listen_fd != -1)
        close(door->listen_fd);
    door->listen_fd = -1;
}

/* A whole message has to have room, or it could never be sent; the administrator may bound it
 * (net.core.wmem_max), and his default has room for one. */
static void make_room(int fd)
{
    int bytes = ROOM_BYTES;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static bool is_of_us(int fd, struct ucred *peer)
{
    socklen_t len = sizeof(*peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &len) == 0 && peer->uid == geteuid();
}

/* The peer of who connects is who called listen(2). */
static int greet(const struct keeper_door *door, int fd)
{
    struct ucred peer;

    assert(door->address_len > sizeof(sa_family_t)); /* else the kernel would choose an address */
    if (connect(fd, (const struct sockaddr *)&door->address, door->address_len) == -1)
        return errno == EAGAIN ? ERR_FULL : ERR_IO;
    if (!is_of_us(fd, &peer) || peer.pid != door->pid)
        return ERR_FORGED;
    make_room(fd);
    return send(fd, door->token, sizeof(door->token), MSG_NOSIGNAL) == sizeof(door->token) ? 0
                                                                                           : ERR_IO;
}

int keeper_door_connect(const struct keeper_door *door, int *out)
{
    int fd = new_socket(), ret;

    if (fd == -1)
        return ERR_IO;
    ret = greet(door, fd);
    if (ret != 0)
        close_socket(fd);
    else
        *out = fd;
    return ret;
}

int keeper_door_accept(const struct keeper_door *door, int *out)
{
    struct ucred peer;
    int fd;

    assert(door->listen_fd != -1); /* the keeper keeps its copy */
    while ((fd = accept4(door->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) != -1) {
        if (is_of_us(fd, &peer)) {
            make_room(fd);
            *out = fd;
            return 0;
        }
        close(fd);
    }
    return errno == EAGAIN || errno == EWOULDBLOCK ? ERR_NOT_FOUND : ERR_IO;
}
