/* See parts.h. Ids, folders, and an upload's way from its create to its end. */
#include "parts/parts.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/rand.h>

#include "crypto/ids.h"
#include "parts_impl.h"

#define MAX_TEXT (1u << 20) /* bytes of a record */
#define KEY_NAME 21         /* "key-" and 16 hex, with the NUL */

static bool is_hex(const char *text, size_t len)
{
    return strspn(text, "0123456789abcdef") >= len;
}

static uint64_t hex_number(const char *text, size_t len)
{
    char copy[17] = "";

    assert(len < sizeof(copy));
    memcpy(copy, text, len);
    return strtoull(copy, NULL, 16);
}

/* --- ids --- */

bool parts_read_id(const char *text, struct parts_id *id)
{
    if (strlen(text) != PARTS_ID || !is_hex(text, PARTS_ID))
        return false;
    memcpy(id->text, text, PARTS_ID + 1);
    id->created_s = (int64_t)hex_number(text, 8);
    id->bytes = hex_number(text + 8, 10);
    return true;
}

bool parts_is_expired(const struct parts_id *id, int64_t now_s)
{
    return now_s >= id->created_s + PARTS_LIFE_S;
}

static int random_hex(char *out, size_t bytes)
{
    unsigned char r[16];

    assert(bytes <= sizeof(r));
    if (RAND_bytes(r, (int)bytes) != 1)
        return ERR_NOMEM;
    for (size_t i = 0; i < bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", r[i]);
    return 0;
}

int parts_new_id(struct parts_id *id)
{
    assert(id->created_s >= 0 && id->created_s <= UINT32_MAX && id->bytes <= PARTS_BYTES);
    snprintf(id->text, sizeof(id->text), "%08" PRIx32 "%010" PRIx64, (uint32_t)id->created_s,
             id->bytes);
    return random_hex(id->text + 18, 12);
}

uint32_t parts_node(const struct config *config)
{
    char name[256] = "", address[300];

    (void)gethostname(name, sizeof(name) - 1);
    snprintf(address, sizeof(address), "%s:%d", config->host, config->port);
    return ids_deployment_fingerprint("node", name, address);
}

/* --- folders --- */

char *parts_root(const struct config *config)
{
    struct strbuf path = STRBUF_INIT;

    if (config->spool_dir == NULL || config->host == NULL)
        return NULL; /* a test that has no folder */
    strbuf_addf(&path, "%s/tranche-%u-", config->spool_dir, (unsigned)geteuid());
    for (const char *at = config->host; *at != '\0'; at++)
        strbuf_addc(&path, isalnum((unsigned char)*at) || strchr(".:-", *at) != NULL ? *at : '_');
    strbuf_addf(&path, "-%d.uploads", config->port);
    return strbuf_take(&path);
}

char *parts_folder(const struct config *config, const struct parts_id *id, bool ended)
{
    struct strbuf path = STRBUF_INIT;
    char *root = parts_root(config);

    if (root == NULL)
        return NULL;
    strbuf_addf(&path, "%s/%s-%016" PRIx64 "%s", root, id->text, id->owner,
                ended ? PARTS_ENDED : "");
    free(root);
    return strbuf_take(&path);
}

bool parts_read_folder(const char *name, struct parts_id *id, bool *ended)
{
    char text[PARTS_ID + 1] = "";
    size_t len = strlen(name);

    *ended = len == PARTS_FOLDER + strlen(PARTS_ENDED);
    if ((len != PARTS_FOLDER && !*ended) || name[PARTS_ID] != '-' ||
        !is_hex(name + PARTS_ID + 1, 16) ||
        (*ended && strcmp(name + PARTS_FOLDER, PARTS_ENDED) != 0))
        return false;
    memcpy(text, name, PARTS_ID);
    id->owner = hex_number(name + PARTS_ID + 1, 16);
    return parts_read_id(text, id);
}

/* Somebody else's folder of that name would give him the files. */
static bool is_ours(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
        (st.st_mode & 077) == 0)
        return true;
    errno = EPERM;
    return false;
}

static int open_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd == -1 || is_ours(fd))
        return fd;
    close(fd);
    errno = EPERM;
    return -1;
}

DIR *parts_open_root(const struct config *config)
{
    char *path = parts_root(config);
    int fd = path != NULL ? open_folder(path) : -1;
    DIR *dir = fd != -1 ? fdopendir(fd) : NULL;

    if (fd != -1 && dir == NULL)
        close(fd);
    free(path);
    return dir;
}

/* --- all of them --- */

static void name_key(uint64_t key, char name[KEY_NAME])
{
    snprintf(name, KEY_NAME, "key-%016" PRIx64, key);
}

/* @param folder  of an upload, in `root` */
static bool is_of_key(int root, const char *folder, uint64_t key)
{
    char path[PARTS_FOLDER + 1 + KEY_NAME], name[KEY_NAME];

    name_key(key, name);
    snprintf(path, sizeof(path), "%.*s/%s", PARTS_FOLDER, folder, name);
    return faccessat(root, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void count(const struct parts_id *id, uint64_t owner, struct parts_sum *sum)
{
    sum->open++;
    sum->bytes += id->bytes;
    sum->own_open += id->owner == owner;
    sum->own_bytes += id->owner == owner ? id->bytes : 0;
}

void parts_look(const struct inherited *inherited, uint64_t owner, uint64_t key, int64_t now_s,
                struct parts_sum *sum)
{
    DIR *dir = parts_open_root(inherited->config);
    const struct dirent *entry;
    struct parts_id id;
    bool ended;

    *sum = (struct parts_sum){0};
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (!parts_read_folder(entry->d_name, &id, &ended))
            continue;
        if (ended)
            sum->ended++;
        if (ended || parts_is_expired(&id, now_s))
            continue;
        count(&id, owner, sum);
        if (key != 0 && id.owner == owner && is_of_key(dirfd(dir), entry->d_name, key))
            sum->key_bytes += id.bytes;
    }
    if (dir != NULL)
        closedir(dir);
    atomic_store_explicit(&inherited->shared->parts_bytes, sum->bytes, memory_order_relaxed);
}

/* --- records --- */

static int err_of_errno(void)
{
    if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
        return ERR_FULL;
    return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
}

static int write_all(int fd, const struct strbuf *text)
{
    for (size_t at = 0; at < text->len;) {
        ssize_t n = write(fd, text->data + at, text->len - at);

        if (n == -1 && errno != EINTR)
            return err_of_errno();
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

/* Whole, or not at all. */
static int write_file(int dir, const char *name, const struct strbuf *text)
{
    char other[64];
    int fd, ret;

    snprintf(other, sizeof(other), "new-%s", name);
    fd = openat(dir, other, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1)
        return err_of_errno();
    ret = write_all(fd, text);
    close(fd);
    if (ret == 0 && renameat(dir, other, dir, name) == -1)
        ret = err_of_errno();
    return ret;
}

int parts_read(const struct parts *parts, const char *name, struct strbuf *text)
{
    int fd = openat(parts->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char piece[4096];
    ssize_t n;

    if (fd == -1)
        return err_of_errno();
    while ((n = read(fd, piece, sizeof(piece))) > 0 && text->len < MAX_TEXT)
        strbuf_add(text, piece, (size_t)n);
    close(fd);
    if (n != 0)
        return ERR_IO;
    return strbuf_failed(text) ? ERR_NOMEM : 0;
}

/* --- create --- */

/* Under a name that is no upload's, so that nobody finds and removes it again; the sweeper knows what
 * to do with it when we are killed. Taken over: path. */
static void forget(struct loop *loop, char *path)
{
    struct strbuf gone = STRBUF_INIT;

    strbuf_addf(&gone, "%s%s", path, PARTS_GONE);
    if (!strbuf_failed(&gone) && rename(path, strbuf_str(&gone)) == 0)
        broom_add(loop, strbuf_take(&gone), BROOM_ALL);
    strbuf_deinit(&gone);
    free(path);
}

/* The answers of the uploads that ended longest ago are forgotten. */
static void make_room(const struct config *config, struct loop *loop)
{
    DIR *dir = parts_open_root(config);
    const struct dirent *entry;
    struct parts_id id, oldest = {.created_s = INT64_MAX};
    char *path;
    bool ended;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (parts_read_folder(entry->d_name, &id, &ended) && ended &&
            id.created_s < oldest.created_s)
            oldest = id;
    if (dir != NULL)
        closedir(dir);
    if (oldest.created_s == INT64_MAX)
        return;
    path = parts_folder(config, &oldest, true);
    if (path != NULL)
        forget(loop, path);
}

/* What of a new folder may be there. @param key  its name */
static void forget_files(int dir, const char *key)
{
    char other[sizeof("new-") + KEY_NAME];

    snprintf(other, sizeof(other), "new-%s", key);
    (void)(unlinkat(dir, "head", 0) + unlinkat(dir, "new-head", 0) + unlinkat(dir, key, 0) +
           unlinkat(dir, other, 0));
}

/* @return 0; an error: nothing is left of it */
static int make_folder(const char *hidden, const char *path, uint64_t key,
                       const struct strbuf *head)
{
    static const struct strbuf nothing = STRBUF_INIT;
    char name[KEY_NAME];
    int dir, ret;

    if (mkdir(hidden, 0700) == -1)
        return err_of_errno();
    dir = open_folder(hidden);
    ret = dir != -1 ? write_file(dir, "head", head) : ERR_IO;
    name_key(key, name);
    if (ret == 0 && key != 0)
        ret = write_file(dir, name, &nothing);
    if (ret == 0 && rename(hidden, path) == -1)
        ret = err_of_errno();
    if (ret != 0 && dir != -1)
        forget_files(dir, name);
    if (dir != -1)
        close(dir);
    if (ret != 0)
        (void)rmdir(hidden);
    return ret;
}

static int make_root(const struct config *config)
{
    char *path = parts_root(config);
    int ret, fd;

    if (path == NULL)
        return ERR_NOMEM;
    ret = mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : err_of_errno();
    if (ret == 0 && (fd = open_folder(path)) == -1)
        ret = ERR_IO;
    else if (ret == 0)
        close(fd);
    free(path);
    return ret == ERR_NOT_FOUND ? ERR_IO : ret;
}

int parts_create(const struct inherited *inherited, const struct parts_id *id,
                 const struct strbuf *head, struct loop *loop)
{
    const struct config *config = inherited->config;
    struct strbuf hidden = STRBUF_INIT;
    struct parts_sum sum;
    char *path;
    int ret = make_root(config);

    assert(strlen(id->text) == PARTS_ID);
    if (ret != 0)
        return ret;
    parts_look(inherited, id->owner, 0, id->created_s, &sum);
    if (sum.ended >= PARTS_KEPT)
        make_room(config, loop);
    path = parts_folder(config, id, false);
    if (path != NULL)
        strbuf_addf(&hidden, "%s.new", path);
    ret = path == NULL || strbuf_failed(&hidden)
              ? ERR_NOMEM
              : make_folder(strbuf_str(&hidden), path, id->key, head);
    strbuf_deinit(&hidden);
    free(path);
    if (ret == 0)
        parts_look(inherited, id->owner, 0, id->created_s, &sum);
    return ret;
}

/* --- one of them --- */

static bool is_done(const struct parts *parts)
{
    return faccessat(parts->dir, "done", F_OK, 0) == 0;
}

int parts_open(const struct inherited *inherited, const struct parts_id *id, struct parts *parts)
{
    *parts = (struct parts){.inherited = inherited, .id = *id, .dir = -1, .lock = -1};
    for (int i = 0; i < 2 && parts->dir == -1; i++) {
        free(parts->path);
        parts->path = parts_folder(inherited->config, id, i == 1);
        if (parts->path == NULL) {
            parts_close(parts);
            return ERR_NOMEM;
        }
        parts->dir = open_folder(parts->path);
        parts->ended = i == 1;
        if (parts->dir == -1 && errno != ENOENT) {
            parts_close(parts);
            return ERR_IO;
        }
    }
    if (parts->dir == -1) {
        parts_close(parts);
        return ERR_NOT_FOUND;
    }
    parts->ended = parts->ended || is_done(parts);
    return 0;
}

void parts_close(struct parts *parts)
{
    if (parts->inherited == NULL)
        return;
    parts_unlock(parts);
    if (parts->dir != -1)
        close(parts->dir);
    free(parts->path);
    *parts = (struct parts){.inherited = NULL};
}

void parts_unlock(struct parts *parts)
{
    if (parts->inherited == NULL || parts->lock == -1)
        return;
    close(parts->lock);
    parts->lock = -1;
}

struct flock parts_whole_lock(void)
{
    return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

int parts_lock(struct parts *parts)
{
    int fd = openat(parts->dir, "head", O_RDWR | O_CLOEXEC | O_NOFOLLOW), ret;
    struct flock lock = parts_whole_lock();

    assert(parts->lock == -1);
    if (fd == -1)
        return err_of_errno();
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
        parts->lock = fd;
        parts->ended = parts->ended || is_done(parts);
        return 0;
    }
    ret = errno == EAGAIN || errno == EACCES || errno == EINTR ? ERR_BAD_STATE : ERR_IO;
    close(fd);
    return ret;
}

int parts_end(struct parts *parts, const struct strbuf *done, struct loop *loop, int64_t now_s)
{
    const struct inherited *inherited = parts->inherited;
    struct parts_sum sum;
    char *path = parts_folder(inherited->config, &parts->id, true);
    int ret;

    assert(parts->lock != -1);
    if (path == NULL)
        return ERR_NOMEM;
    ret = write_file(parts->dir, "done", done);
    if (ret == 0)
        (void)rename(parts->path, path); /* else the sweeper's next look does it */
    else
        free(path);
    if (ret != 0)
        return ret;
    parts->ended = true;
    parts_look(inherited, parts->id.owner, 0, now_s, &sum);
    broom_add(loop, path, BROOM_PARTS);
    return 0;
}
