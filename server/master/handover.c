/* See handover.h. One variable carries it: words `name=number`, so that a program can pass over
 * names that it does not know. */
#include "handover.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"

#define ENV_HANDOVER "TRANCHE_HANDOVER"
#define MAX_SEAL     256 /* bytes; less than a pipe takes at once */

static const char *const region_names[HANDOVER_REGIONS] = {
    "idem",     "memo",     "list_places",  "poll_cache", "seal_cache", "meters",
    "registry", "followed", "entra_tokens", "state",      "quota",      "slots"};

/* What a region holds, for the log. */
static const char *const contents[HANDOVER_REGIONS] = {"the keys and answers of creates",
                                                       "what is known of ids",
                                                       "the places of lists",
                                                       "batches that were polled",
                                                       "seals that were checked",
                                                       "what keys have asked for",
                                                       "whose files are whose",
                                                       "where batches are that moved or wait",
                                                       "tokens of Entra ID",
                                                       "counters and health",
                                                       "reserved tokens",
                                                       "counts of files"};

static struct {
    bool given;
    uint32_t side, columns;
    int regions[HANDOVER_REGIONS]; /* -1: not offered, or taken */
    bool offered[HANDOVER_REGIONS];
    int seal;  /* read end of a pipe */
    int place; /* a file with a lock on it */
    int other; /* ... of the life of the program before */
    struct life own;
} got = {.seal = -1, .place = -1, .other = -1, .own = LIFE_NONE};

static void close_fd(int *fd)
{
    if (*fd != -1)
        close(*fd);
    *fd = -1;
}

int life_new(struct life *life)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) == -1)
        return ERR_IO;
    *life = (struct life){.held = ends[1], .watched = ends[0]};
    return 0;
}

void life_close(struct life *life)
{
    close_fd(&life->held);
    close_fd(&life->watched);
}

/* --- the program that goes --- */

/* Append `name=fd`, and let the descriptor pass. -1 is left out. @return the new length */
static size_t pass(char *text, size_t size, size_t len, const char *name, int fd)
{
    if (fd == -1 || len >= size || fcntl(fd, F_SETFD, 0) == -1)
        return len;
    return len + (size_t)snprintf(text + len, size - len, " %s=%d", name, fd);
}

/* The seal is in a pipe and nowhere else: who reads it is the only one. @return the read end, or -1
 */
static int pour_seal(const struct secret *seal)
{
    int ends[2], fd = -1;

    if (!secret_is_set(seal) || seal->len > MAX_SEAL || pipe2(ends, O_CLOEXEC) == -1)
        return -1;
    if (write(ends[1], seal->data, seal->len) == (ssize_t)seal->len)
        fd = ends[0];
    else
        close(ends[0]);
    close(ends[1]);
    return fd;
}

bool handover_export(const struct handover_offer *offer, pid_t from)
{
    char text[1024];
    size_t len = (size_t)snprintf(text, sizeof(text), "from=%d side=%u columns=%u", (int)from,
                                  offer->side, offer->columns);

    for (int i = 0; i < HANDOVER_REGIONS; i++)
        len = pass(text, sizeof(text), len, region_names[i], offer->regions[i]);
    len = pass(text, sizeof(text), len, "seal", pour_seal(offer->seal));
    len = pass(text, sizeof(text), len, "place", offer->place);
    len = pass(text, sizeof(text), len, "before", offer->own_life);
    len = pass(text, sizeof(text), len, "held", offer->life.held);
    len = pass(text, sizeof(text), len, "watched", offer->life.watched);
    if (len >= sizeof(text)) {
        errno = ENAMETOOLONG;
        return false;
    }
    return setenv(ENV_HANDOVER, text, 1) == 0;
}

/* --- the program that comes --- */

/* The number behind ` name=`; -1: not there, or no number. */
static long number_of(const char *text, const char *name)
{
    size_t len = strlen(name);
    char *end;
    long number;

    for (const char *at = strstr(text, name); at != NULL; at = strstr(at + 1, name)) {
        if ((at != text && at[-1] != ' ') || at[len] != '=' || at[len + 1] < '0' ||
            at[len + 1] > '9')
            continue;
        errno = 0;
        number = strtol(at + len + 1, &end, 10);
        return errno == 0 && (*end == ' ' || *end == '\0') ? number : -1;
    }
    return -1;
}

/* A descriptor of ours to be that was passed, closed for programs that we start. -1: none */
static int fd_of(const char *text, const char *name)
{
    long fd = number_of(text, name);

    if (fd < 3 || fd > INT_MAX || fcntl((int)fd, F_SETFD, FD_CLOEXEC) == -1)
        return -1;
    return (int)fd;
}

static int pipe_of(const char *text, const char *name, int mode)
{
    int fd = fd_of(text, name), flags = fd != -1 ? fcntl(fd, F_GETFL) : -1;
    struct stat st;

    if (flags != -1 && (flags & O_ACCMODE) == mode && fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
        return fd;
    return -1; /* whatever it is, it is not ours to close */
}

static void read_offer(const char *text)
{
    long columns = number_of(text, "columns");

    got.side = number_of(text, "side") == 1;
    got.columns = columns > 0 && columns <= INT_MAX ? (uint32_t)columns : 0;
    for (int i = 0; i < HANDOVER_REGIONS; i++) {
        got.regions[i] = fd_of(text, region_names[i]);
        got.offered[i] = got.regions[i] != -1;
    }
    got.seal = pipe_of(text, "seal", O_RDONLY);
    got.place = fd_of(text, "place");
    got.other = pipe_of(text, "before", O_RDONLY);
    got.own.held = pipe_of(text, "held", O_WRONLY);
    got.own.watched = pipe_of(text, "watched", O_RDONLY);
}

void handover_init(pid_t from)
{
    const char *text = getenv(ENV_HANDOVER);

    handover_end();
    got.given = text != NULL && from > 0 && number_of(text, "from") == (long)from;
    got.side = got.columns = 0;
    memset(got.offered, 0, sizeof(got.offered));
    for (int i = 0; i < HANDOVER_REGIONS; i++)
        got.regions[i] = -1;
    if (got.given)
        read_offer(text);
    /* Without the two lives nobody could tell when a side may be cleared: then nothing is shared,
     * and the rows of the first side are all there are. */
    if (got.given && (got.other == -1 || got.own.held == -1)) {
        handover_end();
        got.given = false;
        got.side = 0;
    }
    unsetenv(ENV_HANDOVER);
}

bool handover_is_given(void)
{
    return got.given;
}

uint32_t handover_side(void)
{
    return got.side;
}

uint32_t handover_columns(void)
{
    return got.columns;
}

int handover_take(enum handover_region region)
{
    int fd = got.given ? got.regions[region] : -1;

    got.regions[region] = -1;
    return fd;
}

bool handover_took(enum handover_region region, int ret)
{
    assert(!got.given || got.regions[region] == -1); /* handover_take() gave it away */
    if (ret != 0 && got.given && got.offered[region])
        log_warn("upgrade: cannot take over %s (%s) from the previous program: %s; starting empty",
                 contents[region], region_names[region], err_str(ret));
    return ret == 0;
}

void handover_take_seal(struct secret *seal)
{
    char bytes[MAX_SEAL];
    ssize_t len = got.seal != -1 ? read(got.seal, bytes, sizeof(bytes)) : 0;

    if (len > 0 && secret_set(seal, bytes, (size_t)len) != 0)
        log_error("upgrade: no memory for the seal of ids");
    secret_wipe(bytes, sizeof(bytes));
    close_fd(&got.seal);
}

int handover_take_place(void)
{
    int fd = got.place;

    got.place = -1;
    return fd;
}

void handover_take_lives(struct life *own, int *other)
{
    *own = got.own;
    *other = got.other;
    got.own = (struct life)LIFE_NONE;
    got.other = -1;
}

void handover_end(void)
{
    for (int i = 0; i < HANDOVER_REGIONS && got.given; i++)
        close_fd(&got.regions[i]);
    close_fd(&got.seal);
    close_fd(&got.place);
    close_fd(&got.other);
    life_close(&got.own);
}
