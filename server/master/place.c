/* See place.h. The file stays when its lock ends: whoever unlinks a locked file makes room for two
 * holders. */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/strbuf.h"
#include "core/past.h"

#define LOCK_TRIES  100 /* a child that was just forked has our descriptors for a moment ... */
#define LOCK_GAP_NS 2000000L
#define PLACE_TEXT  128
#define NODE_TEXT   65

struct place {
    struct place *next;
    char *path; /* owned */
    int fd;
    unsigned users; /* generations */
};

static struct place *places; /* of this program */
static bool kept;            /* until place_end_all() */

/* Its name leads to it still: nobody has removed the file, and made another one. */
static bool is_named(int fd, const char *path)
{
    struct stat named, opened;

    return fstat(fd, &opened) == 0 && lstat(path, &named) == 0 && named.st_dev == opened.st_dev &&
           named.st_ino == opened.st_ino;
}

/* A regular file, and nobody has given it that name who has no right to write into it. */
static bool is_ours(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink == 1;
}

/* @return -1 with errno; EWOULDBLOCK: another one has the lock */
static int open_locked(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600), error;

    if (fd == -1)
        return -1;
    errno = EPERM;
    error = is_ours(fd) && flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    if (error == 0 && is_named(fd, path))
        return fd;
    error = error == 0 ? EWOULDBLOCK : error; /* somebody removed it meanwhile: once more */
    close(fd);
    errno = error;
    return -1;
}

static int open_patiently(const char *path)
{
    struct timespec gap = {.tv_nsec = LOCK_GAP_NS};
    int fd = open_locked(path);

    for (int i = 1; i < LOCK_TRIES && fd == -1 && errno == EWOULDBLOCK; i++) {
        nanosleep(&gap, NULL);
        fd = open_locked(path);
    }
    return fd;
}

/* What the program before hands over, if it is this place. The lock goes with the descriptor: to
 * ask for it again changes nothing, and fails for one that is no lock's. */
static int take_over(const char *path)
{
    int fd = handover_take_place();

    if (fd == -1 || (is_ours(fd) && is_named(fd, path) && flock(fd, LOCK_EX | LOCK_NB) == 0))
        return fd;
    close(fd);
    return -1;
}

/* The holder wrote it, and holds the place still. */
static void describe_holder(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    char line[PLACE_TEXT], node[NODE_TEXT];
    ssize_t len = fd != -1 ? read(fd, line, sizeof(line) - 1) : -1;
    long pid;

    if (fd != -1)
        close(fd);
    line[len > 0 ? len : 0] = '\0';
    if (sscanf(line, "tranche-place 1 pid=%ld node=%64s", &pid, node) == 2)
        snprintf(text, size, "pid %ld on %s", pid, node);
    else
        snprintf(text, size, "pid unknown");
}

static int refuse(const char *path, char *error, size_t error_size)
{
    char holder[NODE_TEXT + 40];

    describe_holder(path, holder, sizeof(holder));
    snprintf(error, error_size,
             "another gateway (%s) has this address in this state directory: it holds \"%.256s\". "
             "End it, or set another tranche_settings.state_dir or port",
             holder, path);
    return ERR_DUPLICATE;
}

static char *path_of(const struct config *config)
{
    struct strbuf path = STRBUF_INIT;
    char *record = past_record_path(config);

    if (record == NULL)
        return NULL;
    strbuf_addf(&path, "%s.lock", record);
    free(record);
    return strbuf_take(&path);
}

static struct place *find(const char *path)
{
    struct place *place = places;

    while (place != NULL && strcmp(place->path, path) != 0)
        place = place->next;
    return place;
}

static size_t count(void)
{
    size_t num = 0;

    for (const struct place *place = places; place != NULL; place = place->next)
        num++;
    return num;
}

/* @param path  taken over */
static int add(char *path, int fd, bool is_new, struct place **out)
{
    struct place *place = calloc(1, sizeof(*place));

    if (place == NULL) {
        close(fd);
        free(path);
        return ERR_NOMEM;
    }
    *place = (struct place){.next = places, .path = path, .fd = fd, .users = 1};
    places = place;
    *out = place;
    if (is_new)
        place_sign(place);
    return 0;
}

int place_take(const struct config *config, struct place **out, char *error, size_t error_size)
{
    char *path = path_of(config);
    struct place *held = path != NULL ? find(path) : NULL;
    int fd, taken, ret = 0;

    *out = held;
    if (held != NULL)
        held->users++;
    if (held != NULL || path == NULL || count() == PLACES) {
        free(path);
        return 0;
    }
    taken = take_over(path);
    fd = taken != -1 ? taken : open_patiently(path);
    if (fd != -1)
        return add(path, fd, taken == -1, out);
    if (errno == EWOULDBLOCK)
        ret = refuse(path, error, error_size);
    else
        log_warn("cannot lock \"%s\": %s; a second gateway there will not be refused", path,
                 strerror(errno));
    free(path);
    return ret;
}

void place_sign(const struct place *place)
{
    char text[PLACE_TEXT], node[NODE_TEXT] = "";
    int len;

    if (place == NULL)
        return;
    if (gethostname(node, sizeof(node) - 1) == -1 || node[0] == '\0')
        snprintf(node, sizeof(node), "unknown");
    len = snprintf(text, sizeof(text), "tranche-place 1 pid=%d node=%s\n", (int)getpid(), node);
    if (pwrite(place->fd, text, (size_t)len, 0) != len || ftruncate(place->fd, len) == -1)
        log_warn("cannot write \"%s\": %s", place->path, strerror(errno));
}

void place_offer(const struct place *place, struct handover_offer *offer)
{
    offer->place = place != NULL ? place->fd : -1;
}

size_t place_list(int fds[PLACES])
{
    size_t num = 0;

    for (const struct place *place = places; place != NULL; place = place->next)
        fds[num++] = place->fd;
    return num;
}

static void end(struct place *place)
{
    for (struct place **link = &places; *link != NULL; link = &(*link)->next)
        if (*link == place) {
            *link = place->next;
            break;
        }
    close(place->fd);
    free(place->path);
    free(place);
}

void place_release(struct place *place)
{
    if (place != NULL && --place->users == 0 && !kept)
        end(place);
}

void place_keep_all(void)
{
    kept = true;
}

void place_end_all(void)
{
    while (places != NULL)
        end(places);
}
