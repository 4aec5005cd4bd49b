/* Files leave the disk here: parts.h. The kernel takes 20 ms to drop 200 MB (measured, spool.h), so
 * a large file gets shorter by a slice in each turn of the loop, and each small one, and each look
 * at an upload, has a turn of its own. */
#include "parts/parts.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "parts_impl.h"

#define SLICE   (512u << 10) /* bytes that a file gets shorter in a turn */
#define YOUNG_S 10           /* a file without a lock that may just have been made */
#define SLOW_S  60           /* a create that takes so long is one whose process is gone */

/* A folder, and what of it goes. */
struct folder {
    struct folder *next;
    char *path; /* owned */
    enum broom_what what;
};

/* All of this process, one after the other. */
static struct {
    struct folder *first, **end; /* owned */
    struct loop_timer timer;     /* runs while there is any; its argument is the loop */
} broom;

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* --- what an upload has to lose --- */

/* Somebody completes it right now. */
static bool is_locked(const char *path)
{
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    int fd = dir != -1 ? openat(dir, "head", O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    struct flock lock = parts_whole_lock();
    bool locked = fd != -1 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;

    if (fd != -1)
        close(fd);
    if (dir != -1)
        close(dir);
    return locked;
}

static bool is_done(const char *path)
{
    struct strbuf done = STRBUF_INIT;
    bool is;

    strbuf_addf(&done, "%s/done", path);
    is = access(strbuf_str(&done), F_OK) == 0;
    strbuf_deinit(&done);
    return is;
}

static bool is_old(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && st.st_mtime + SLOW_S < clock_unix_s();
}

static enum broom_what judge(const char *path)
{
    const char *name = strrchr(path, '/') + 1;
    struct parts_id id;
    bool ended;

    if (!parts_read_folder(name, &id, &ended)) /* what a killed create has left */
        return is_old(path) ? BROOM_ALL : BROOM_NOTHING;
    if (is_locked(path))
        return BROOM_NOTHING;
    if (parts_is_expired(&id, clock_unix_s()))
        return BROOM_ALL;
    return ended || is_done(path) ? BROOM_PARTS : BROOM_HALVES;
}

static bool goes(enum broom_what what, const char *name)
{
    if (begins(name, "tmp-"))
        return what != BROOM_NOTHING;
    if (begins(name, "part_"))
        return what == BROOM_PARTS || what == BROOM_ALL;
    return what == BROOM_ALL && name[0] != '.';
}

/* --- removing --- */

/* Somebody writes it, or may be about to say so. */
static bool is_written(int fd, const struct stat *st)
{
    return st->st_mtime + YOUNG_S > clock_unix_s() || flock(fd, LOCK_EX | LOCK_NB) == -1;
}

/* @return whether something was done: there may be more of it */
static bool shorten(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    bool done;

    if (fd == -1 || fstat(fd, &st) == -1)
        done = unlinkat(dir, name, 0) == 0;
    else if (begins(name, "tmp-") && is_written(fd, &st))
        done = false;
    else
        done = (st.st_size > SLICE && ftruncate(fd, st.st_size - (off_t)SLICE) == 0) ||
               unlinkat(dir, name, 0) == 0;
    if (fd != -1)
        close(fd);
    return done;
}

/* One file of it, of those that go. @return false: there is none left that goes now */
static bool sweep_one(const struct folder *folder)
{
    DIR *dir = opendir(folder->path);
    const struct dirent *entry;
    bool done = false;

    while (dir != NULL && !done && (entry = readdir(dir)) != NULL)
        if (goes(folder->what, entry->d_name))
            done = shorten(dirfd(dir), entry->d_name);
    if (dir != NULL)
        closedir(dir);
    return done;
}

static void finish_first(void)
{
    struct folder *folder = broom.first;

    broom.first = folder->next;
    if (folder->what == BROOM_ALL)
        (void)rmdir(folder->path); /* not empty: somebody writes in it; the next time */
    free(folder->path);
    free(folder);
}

static void take_turn(void)
{
    struct folder *first = broom.first;

    assert(first != NULL);
    if (first->what == BROOM_JUDGE)
        first->what = judge(first->path);
    if (first->what == BROOM_NOTHING || !sweep_one(first))
        finish_first();
}

static void on_turn(struct loop_timer *timer)
{
    take_turn();
    if (broom.first != NULL)
        (void)loop_timer_start(timer->arg, timer, 0); /* cannot fail: its slot was just freed */
}

void broom_add(struct loop *loop, char *path, enum broom_what what)
{
    struct folder *folder = calloc(1, sizeof(*folder));

    assert(path != NULL);
    if (folder == NULL) { /* the sweeper's next look finds it */
        free(path);
        return;
    }
    folder->path = path;
    folder->what = what;
    if (broom.first == NULL)
        broom.end = &broom.first;
    *broom.end = folder;
    broom.end = &folder->next;
    broom.timer.cb = on_turn;
    broom.timer.arg = loop;
    if (loop == NULL || loop_timer_soon(loop, &broom.timer) != 0)
        while (broom.first != NULL)
            take_turn();
}

/* --- all uploads --- */

void parts_sweep(const struct inherited *inherited, struct loop *loop, int64_t now_s)
{
    struct parts_sum sum;
    DIR *dir;
    const struct dirent *entry;
    char *root;

    parts_look(inherited, 0, 0, now_s, &sum);
    if (broom.first != NULL)
        return; /* the last time is not over */
    dir = parts_open_root(inherited->config);
    root = parts_root(inherited->config);
    while (dir != NULL && root != NULL && (entry = readdir(dir)) != NULL) {
        struct strbuf path = STRBUF_INIT;

        if (entry->d_name[0] == '.')
            continue;
        strbuf_addf(&path, "%s/%s", root, entry->d_name);
        if (!strbuf_failed(&path))
            broom_add(loop, strbuf_take(&path), BROOM_JUDGE);
    }
    free(root);
    if (dir != NULL)
        closedir(dir);
}
