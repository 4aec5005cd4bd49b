/* The engine over libsqlite3: a file of this machine, for one server.
 *
 * A second server may read, and is kept from changes by a lock beside the file (flock on
 * `<path>.lock`), for as long as the first one's engine lives: after a reload or an upgrade the keys
 * are served at once, while the keeper before still ends. Programs that a person starts share the
 * file: SQLite's own locks order them.
 * File systems that other machines share are refused: the write-ahead log needs shared memory. */
#include "store_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>
#include <sqlite3.h>

#include "common/clock.h"

#define CIFS_MAGIC        0xff534d42
#define GFS2_MAGIC_NUMBER 0x01161970
#define LUSTRE_MAGIC      0x0bd00bd0
#define GPFS_MAGIC        0x47504653
#define BEEGFS_MAGIC      0x19830326
#define BEGIN_WRITE       "begin immediate"
#define OPS_BETWEEN_LOOKS 20000 /* of SQLite's machine, between two looks at the clock: some ms */

struct sqlite_engine {
    struct engine engine;
    char *path; /* owned */
    bool server;
    int lock_fd;       /* -1: none; kept until the end */
    sqlite3 *db;       /* owned; NULL: not open */
    uint64_t until_ms; /* of the statement that runs */
};

static struct sqlite_engine *of(struct engine *engine)
{
    return (struct sqlite_engine *)engine;
}

static int on_progress(void *arg)
{
    struct sqlite_engine *e = arg;

    return clock_now_ms() >= e->until_ms;
}

/* ---- what a failure means ---- */

/* errno is what SQLite's own last system call left: sqlite3_system_errno() does not have it for a
 * write that failed. */
static bool is_out_of_room(int code, int why)
{
    return (code & 0xff) == SQLITE_FULL ||
           ((code & 0xff) == SQLITE_IOERR && (why == ENOSPC || why == EDQUOT || why == EFBIG));
}

static int constraint_failed(struct sqlite_engine *e)
{
    int code = sqlite3_extended_errcode(e->db);

    snprintf(e->engine.constraint, sizeof(e->engine.constraint), "%s", sqlite3_errmsg(e->db));
    if (code == SQLITE_CONSTRAINT_FOREIGNKEY)
        return engine_fail(&e->engine, ERR_NOT_FOUND, STORE_UP, "a row that is named is not there");
    if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY)
        return engine_fail(&e->engine, ERR_DUPLICATE, STORE_UP, "a row that must differ is there");
    return engine_fail(&e->engine, ERR_INVALID, STORE_UP, "a row breaks a rule of its table");
}

static int fail(struct sqlite_engine *e, int code)
{
    struct engine *engine = &e->engine;

    if (is_out_of_room(code, errno))
        return engine_fail(engine, ERR_FULL, STORE_FULL, "%s: no room on its disk", e->path);
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
        return constraint_failed(e);
    case SQLITE_NOMEM:
        return engine_fail(engine, ERR_NOMEM, STORE_DOWN, "out of memory");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return engine_fail(engine, ERR_IO, STORE_LOCKED, "%s: another process holds it", e->path);
    case SQLITE_INTERRUPT:
        return engine_fail(engine, ERR_IO, STORE_DOWN, "%s: no answer in time", e->path);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return engine_fail(engine, ERR_BAD_STATE, STORE_DAMAGED,
                           "%s: %s; put a copy of it in its place", e->path, sqlite3_errstr(code));
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return engine_fail(engine, ERR_BAD_STATE, STORE_FOREIGN, "%s: not writable", e->path);
    default:
        return engine_fail(engine, ERR_IO, STORE_DOWN, "%s: %s", e->path, sqlite3_errstr(code));
    }
}

static int fail_errno(struct sqlite_engine *e, const char *what)
{
    int why = errno;
    bool full = why == ENOSPC || why == EDQUOT;

    return engine_fail(&e->engine, full ? ERR_FULL : ERR_IO, full ? STORE_FULL : STORE_DOWN,
                       "%s: %s: %s", e->path, what, strerror(why));
}

/* ---- statements ---- */

static int bind_all(sqlite3_stmt *stmt, const struct value *values, size_t num)
{
    int rc = SQLITE_OK;

    for (size_t i = 0; i < num && rc == SQLITE_OK; i++) {
        char name[24];
        int at;

        snprintf(name, sizeof(name), "$%zu", i + 1);
        at = sqlite3_bind_parameter_index(stmt, name);
        if (at == 0)
            continue;
        if (values[i].type == VALUE_INT)
            rc = sqlite3_bind_int64(stmt, at, values[i].number);
        else if (values[i].type == VALUE_TEXT)
            rc = sqlite3_bind_text(stmt, at, values[i].text, -1, SQLITE_STATIC);
    }
    return rc;
}

static void read_row(sqlite3_stmt *stmt, struct row *row)
{
    int num = sqlite3_column_count(stmt);

    row->num = num < ENGINE_MAX_COLUMNS ? (size_t)num : ENGINE_MAX_COLUMNS;
    for (size_t i = 0; i < row->num; i++)
        row->texts[i] = (const char *)sqlite3_column_text(stmt, (int)i);
}

static int step_all(struct sqlite_engine *e, sqlite3_stmt *stmt, row_cb on_row, void *arg)
{
    struct row row = {0};
    int code, rc = 0;

    errno = 0;
    while (rc == 0 && (code = sqlite3_step(stmt)) != SQLITE_DONE) {
        if (code != SQLITE_ROW)
            return fail(e, code);
        read_row(stmt, &row);
        if (on_row != NULL)
            rc = on_row(arg, &row);
    }
    return rc;
}

/* The right to change the file, which one server has: for good, once it got it. Others read what it
 * writes: the server of the next generation, or of the next program, does until the one before has
 * ended. @return ERR_FULL: another one has it; nothing else is wrong */
static int take_lock(struct sqlite_engine *e)
{
    char path[4096];
    int fd;

    if (!e->server || e->lock_fd != -1)
        return 0;
    snprintf(path, sizeof(path), "%s.lock", e->path);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1)
        return fail_errno(e, "its lock file");
    if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
        close(fd);
        return engine_fail(&e->engine, ERR_FULL, STORE_LOCKED, "%s: another server has it",
                           e->path);
    }
    e->lock_fd = fd;
    return 0;
}

static int do_run(struct engine *engine, const char *sql, const struct value *values, size_t num,
                  uint64_t until_ms, row_cb on_row, void *arg)
{
    struct sqlite_engine *e = of(engine);
    uint64_t now_ms = clock_now_ms();
    sqlite3_stmt *stmt = NULL;
    int code, rc = strcmp(sql, BEGIN_WRITE) == 0 ? take_lock(e) : 0;

    if (rc != 0)
        return rc;
    e->until_ms = until_ms;
    sqlite3_busy_timeout(e->db, until_ms > now_ms ? (int)(until_ms - now_ms) : 1);
    code = sqlite3_prepare_v2(e->db, sql, -1, &stmt, NULL);
    if (code == SQLITE_OK)
        code = bind_all(stmt, values, num);
    rc = code == SQLITE_OK ? step_all(e, stmt, on_row, arg) : fail(e, code);
    sqlite3_finalize(stmt);
    return rc;
}

/* ---- opening ---- */

bool sqlite_is_network(uint32_t file_system)
{
    static const uint32_t magics[] = {NFS_SUPER_MAGIC,  SMB_SUPER_MAGIC,   SMB2_SUPER_MAGIC,
                                      CIFS_MAGIC,       CEPH_SUPER_MAGIC,  AFS_SUPER_MAGIC,
                                      CODA_SUPER_MAGIC, OCFS2_SUPER_MAGIC, GFS2_MAGIC_NUMBER,
                                      LUSTRE_MAGIC,     GPFS_MAGIC,        BEEGFS_MAGIC};

    for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
        if (magics[i] == file_system)
            return true;
    return false;
}

/* The folder's file system; that of the folder's own folder is not ours to know. */
static int check_file_system(struct sqlite_engine *e)
{
    char *slash, *folder = strdup(e->path);
    struct statfs fs;
    int rc = 0;

    if (folder == NULL)
        return engine_fail(&e->engine, ERR_NOMEM, STORE_DOWN, "out of memory");
    slash = strrchr(folder, '/');
    if (slash != NULL)
        slash[slash == folder ? 1 : 0] = '\0';
    if (statfs(slash != NULL ? folder : ".", &fs) == -1)
        rc = fail_errno(e, "its folder");
    else if (sqlite_is_network((uint32_t)fs.f_type))
        rc = engine_fail(&e->engine, ERR_BAD_STATE, STORE_FOREIGN,
                         "%s: on a network file system, where SQLite loses data: use a disk of "
                         "this machine, or PostgreSQL",
                         e->path);
    free(folder);
    return rc;
}

/* Before SQLite opens it: closing a file would let go of the locks that it has there. */
static int make_private(struct sqlite_engine *e)
{
    struct stat st;
    int rc = 0, fd = open(e->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    if (fd == -1)
        return fail_errno(e, "cannot be opened");
    if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode))
        rc = engine_fail(&e->engine, ERR_BAD_STATE, STORE_FOREIGN, "%s: no file", e->path);
    else if ((st.st_mode & 077) != 0 && fchmod(fd, 0600) == -1)
        rc = fail_errno(e, "readable by others, and its mode cannot be changed");
    close(fd);
    return rc;
}

static int on_check(void *arg, const struct row *row)
{
    struct sqlite_engine *e = arg;

    if (row->texts[0] != NULL && strcmp(row->texts[0], "ok") == 0)
        return 0;
    return engine_fail(&e->engine, ERR_BAD_STATE, STORE_DAMAGED,
                       "%s: damaged; put a copy of it in its place", e->path);
}

static int on_journal(void *arg, const struct row *row)
{
    struct sqlite_engine *e = arg;

    if (row->texts[0] != NULL && strcmp(row->texts[0], "wal") == 0)
        return 0;
    return engine_fail(&e->engine, ERR_BAD_STATE, STORE_FOREIGN,
                       "%s: its file system takes no write-ahead log", e->path);
}

static int set_up(struct sqlite_engine *e, uint64_t until_ms)
{
    static const char *const settings[] = {"pragma synchronous=full", "pragma foreign_keys=on",
                                           "pragma trusted_schema=off", "pragma secure_delete=on"};
    int rc = do_run(&e->engine, "pragma quick_check(1)", NULL, 0, until_ms, on_check, e);

    if (rc == 0)
        rc = do_run(&e->engine, "pragma journal_mode=wal", NULL, 0, until_ms, on_journal, e);
    for (size_t i = 0; rc == 0 && i < sizeof(settings) / sizeof(settings[0]); i++)
        rc = do_run(&e->engine, settings[i], NULL, 0, until_ms, NULL, NULL);
    return rc;
}

static void do_disconnect(struct engine *engine)
{
    struct sqlite_engine *e = of(engine);

    sqlite3_close_v2(e->db);
    e->db = NULL;
}

static int do_connect(struct engine *engine, uint64_t until_ms)
{
    struct sqlite_engine *e = of(engine);
    int code, rc = check_file_system(e);

    if (rc == 0 && (rc = take_lock(e)) == ERR_FULL && e->engine.state == STORE_LOCKED)
        rc = 0; /* to read it is enough */
    if (rc == 0)
        rc = make_private(e);
    if (rc != 0)
        return rc;
    code = sqlite3_open_v2(e->path, &e->db,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE |
                               SQLITE_OPEN_EXRESCODE,
                           NULL);
    if (code == SQLITE_OK) {
        sqlite3_progress_handler(e->db, OPS_BETWEEN_LOOKS, on_progress, e);
        sqlite3_db_config(e->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        rc = set_up(e, until_ms);
    } else {
        rc = fail(e, code);
    }
    if (rc != 0)
        do_disconnect(engine);
    return rc;
}

static void do_free(struct engine *engine)
{
    struct sqlite_engine *e = of(engine);

    do_disconnect(engine);
    if (e->lock_fd != -1)
        close(e->lock_fd);
    free(e->path);
    free(e);
}

static const struct engine_ops sqlite_ops = {
    .table_prefix = "",
    .begin_read = "begin",
    .begin_write = BEGIN_WRITE,
    .has_table = "select 1 from sqlite_master where type = 'table' and name = $1",
    .now_ms = "select cast(round((julianday('now') - 2440587.5) * 86400000.0) as integer)",
    .skip_locked = "",
    .for_update = "",
    .connect = do_connect,
    .run = do_run,
    .disconnect = do_disconnect,
    .free = do_free,
};

int sqlite_engine_new(const char *path, bool server, struct engine **out)
{
    struct sqlite_engine *e = calloc(1, sizeof(*e));

    if (e == NULL)
        return ERR_NOMEM;
    e->engine.ops = &sqlite_ops;
    e->server = server;
    e->lock_fd = -1;
    e->path = strdup(path);
    if (e->path == NULL) {
        free(e);
        return ERR_NOMEM;
    }
    *out = &e->engine;
    return 0;
}
