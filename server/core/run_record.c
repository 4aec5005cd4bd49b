/* See run_record.h. Reading and writing is one step under flock(2), held for as long as that takes:
 * a record is not a lock, since it has to tell what happened when nobody was left. */
#include "run_record.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <openssl/rand.h>

#include "common/hex.h"
#include "common/strbuf.h"

#define BOOT_TEXT   40
#define LOCK_TRIES  100 /* two programs meet for a moment during an upgrade ... */
#define LOCK_GAP_NS 2000000L
#define MAX_WINDOW  (24 * UINT64_C(3600000)) /* more is no record of ours */

struct line {
    char state[16], name[17], boot[BOOT_TEXT];
    uint64_t window_ms, unsure_ms;
};

static void read_boot(char boot[BOOT_TEXT])
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (file == NULL || fscanf(file, "%39s", boot) != 1)
        snprintf(boot, BOOT_TEXT, "unknown"); /* equal to none */
    if (file != NULL)
        (void)fclose(file);
}

static bool parse(const char *text, struct line *line)
{
    int end = 0;

    return sscanf(text,
                  "tranche-run 1 %15s name=%16s boot=%39s window_ms=%" SCNu64 " unsure_ms=%" SCNu64
                  "\n%n",
                  line->state, line->name, line->boot, &line->window_ms, &line->unsure_ms,
                  &end) == 5 &&
           end > 0 && text[end] == '\0' && text[end - 1] == '\n' && line->window_ms <= MAX_WINDOW;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A time of this boot as far as it is still to come, and no longer away than it could be. */
static uint64_t still_to_come(uint64_t at_ms, uint64_t window_ms, uint64_t now_ms)
{
    if (at_ms <= now_ms)
        return 0;
    return at_ms < now_ms + window_ms ? at_ms : now_ms + window_ms;
}

/* As long as a create may take from now on: nobody knows when the gateway before ended. */
static void be_unsure(struct run_past *past, uint64_t until_ms, const char *why)
{
    past->unsure_ms = until_ms;
    snprintf(past->why, sizeof(past->why), "%s", why);
}

void run_record_judge(const char *text, const char *boot, uint64_t window_ms, uint64_t now_ms,
                      struct run_past *past)
{
    struct line line;
    bool same_boot;

    *past = (struct run_past){.known = true};
    if (!parse(text, &line)) {
        be_unsure(past, now_ms + window_ms, "its record cannot be read");
        return;
    }
    window_ms = larger(window_ms, line.window_ms);
    same_boot = strcmp(line.boot, boot) == 0 && strcmp(boot, "unknown") != 0;
    if (strcmp(line.state, "ended") != 0)
        be_unsure(past, now_ms + window_ms, "it did not end cleanly");
    else if (line.unsure_ms != 0 && !same_boot)
        be_unsure(past, now_ms + window_ms, "it ended with creates of unknown outcome");
    else if (still_to_come(line.unsure_ms, window_ms, now_ms) != 0)
        be_unsure(past, still_to_come(line.unsure_ms, window_ms, now_ms),
                  "it ended with creates of unknown outcome");
}

char *run_record_path(const char *dir, const char *host, int port)
{
    struct strbuf path = STRBUF_INIT;

    strbuf_addf(&path, "%s/tranche-%u-", dir, (unsigned)geteuid());
    for (const char *at = host; *at != '\0'; at++)
        strbuf_addc(&path, isalnum((unsigned char)*at) || strchr(".:-", *at) != NULL ? *at : '_');
    strbuf_addf(&path, "-%d.run", port);
    return strbuf_take(&path);
}

/* --- the file --- */

static int lock(int fd)
{
    struct timespec gap = {.tv_nsec = LOCK_GAP_NS};

    for (int i = 0; i < LOCK_TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -1;
        nanosleep(&gap, NULL);
    }
    return -1;
}

/* A regular file of ours and nobody else's name for it. @return -1 with errno */
static int open_locked(const char *path, int flags)
{
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, 0600), error;
    struct stat st;

    if (fd == -1)
        return -1;
    errno = EPERM;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink == 1 &&
        lock(fd) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static bool read_text(int fd, char *text, size_t size)
{
    ssize_t len = pread(fd, text, size - 1, 0);

    text[len > 0 ? len : 0] = '\0';
    return len >= 0;
}

/* The name of a new file is on the disk once its directory is. */
static int sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash != NULL && slash != path ? strndup(path, (size_t)(slash - path)) : NULL;
    int fd = open(dir != NULL ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int ret = fd != -1 ? fsync(fd) : -1;

    if (fd != -1)
        close(fd);
    free(dir);
    return ret;
}

static int write_line(int fd, const struct line *line)
{
    char text[RUN_RECORD_TEXT];
    int len =
        snprintf(text, sizeof(text),
                 "tranche-run 1 %s name=%s boot=%s window_ms=%" PRIu64 " unsure_ms=%" PRIu64 "\n",
                 line->state, line->name, line->boot, line->window_ms, line->unsure_ms);

    if (pwrite(fd, text, (size_t)len, 0) != len || ftruncate(fd, len) == -1 || fsync(fd) == -1)
        return ERR_IO;
    return 0;
}

static int new_name(char name[17])
{
    unsigned char bytes[8];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return ERR_IO;
    hex_write(bytes, sizeof(bytes), name);
    return 0;
}

static void fail(const struct run_record *record, uint64_t now_ms, struct run_past *past)
{
    const char *why = strerror(errno);

    *past = (struct run_past){.known = true, .unsure_ms = now_ms + record->window_ms};
    snprintf(past->why, sizeof(past->why), "%.150s cannot be kept: %.60s", record->path, why);
}

/* Read it, then write it. @return ERR_IO (errno) */
static int begin(struct run_record *record, uint64_t now_ms, struct run_past *past)
{
    struct line line = {.state = "running", .window_ms = record->window_ms};
    char text[RUN_RECORD_TEXT];
    int made = open_locked(record->path, O_CREAT | O_EXCL);
    int fd = made != -1 || errno != EEXIST ? made : open_locked(record->path, 0), ret, error;

    if (fd == -1)
        return ERR_IO;
    read_boot(line.boot);
    *past = (struct run_past){.suspect_ms = now_ms + record->window_ms};
    if (made == -1 && read_text(fd, text, sizeof(text)))
        run_record_judge(text, line.boot, record->window_ms, now_ms, past);
    ret = new_name(record->name);
    snprintf(line.name, sizeof(line.name), "%s", record->name);
    if (ret == 0)
        ret = write_line(fd, &line);
    error = errno;
    close(fd);
    errno = error;
    return ret == 0 && made != -1 && sync_directory(record->path) == -1 ? ERR_IO : ret;
}

struct run_record *run_record_begin(char *path, uint64_t window_ms, uint64_t now_ms,
                                    struct run_past *past)
{
    struct run_record *record = calloc(1, sizeof(*record));

    if (record == NULL) {
        *past = (struct run_past){
            .known = true, .unsure_ms = now_ms + window_ms, .why = "out of memory"};
        free(path);
        return NULL;
    }
    record->path = path;
    record->window_ms = window_ms;
    if (begin(record, now_ms, past) == 0)
        return record;
    fail(record, now_ms, past);
    run_record_free(record);
    return NULL;
}

static bool read_own(int fd, const struct run_record *record, struct line *line)
{
    char text[RUN_RECORD_TEXT];

    return read_text(fd, text, sizeof(text)) && parse(text, line) &&
           strcmp(line->name, record->name) == 0;
}

bool run_record_goes_on(const struct run_record *record)
{
    struct line line;
    int fd = open_locked(record->path, 0);
    bool goes_on;

    if (fd == -1)
        return false;
    goes_on = read_own(fd, record, &line) && strcmp(line.state, "running") == 0;
    close(fd);
    return goes_on;
}

int run_record_end(const struct run_record *record, uint64_t unsure_ms)
{
    struct line line;
    int fd = open_locked(record->path, 0), ret = 0;

    if (fd == -1)
        return ERR_IO;
    if (read_own(fd, record, &line)) {
        snprintf(line.state, sizeof(line.state), "ended");
        line.unsure_ms = unsure_ms;
        ret = write_line(fd, &line);
    }
    close(fd);
    return ret;
}

void run_record_free(struct run_record *record)
{
    if (record == NULL)
        return;
    free(record->path);
    free(record);
}
