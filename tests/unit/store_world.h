/* Databases for tests: a file, and a PostgreSQL cluster that the test starts and ends itself, in a
 * folder of its own, reached by a Unix socket. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "server/store/store_engine.h"
#include "store/store.h"

#define PATIENCE_MS 180000 /* of what has to happen; only a failure takes so long */

struct cluster {
    bool there;    /* false: no PostgreSQL on this machine */
    char dir[64];  /* the test's; below it "data", and the socket */
    char bin[128]; /* where initdb is */
    char url[160];
    pid_t postmaster; /* 0: not running */
};

struct world {
    struct cluster *cluster; /* NULL: SQLite */
    char dir[64];            /* of the file */
    char url[160];
    struct store *store;
};

static const struct store_actor tester = {.who = "tester"};

static inline void world_pause(void)
{
    const struct timespec moment = {.tv_nsec = 20 * 1000 * 1000};

    nanosleep(&moment, NULL);
}

/* The server refuses to run as root: then it runs as the package's own user. */
static inline void drop_root(void)
{
    const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;

    if (geteuid() == 0 &&
        (user == NULL || setgid(user->pw_gid) == -1 || setuid(user->pw_uid) == -1))
        _exit(126);
}

static inline pid_t cluster_spawn(char *const argv[], const char *log)
{
    pid_t parent = getpid(), pid = fork();

    assert_true(pid >= 0);
    if (pid != 0)
        return pid;
    drop_root();
    prctl(PR_SET_PDEATHSIG, SIGQUIT); /* after setuid(), which would clear it */
    if (getppid() != parent)
        _exit(0);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd != -1) {
        dup2(fd, 1);
        dup2(fd, 2);
    }
    if (chdir("/") == 0)
        execv(argv[0], argv);
    _exit(127);
}

static inline void cluster_start(struct cluster *c)
{
    char program[160], data[96], log[96];
    char *argv[] = {program,
                    "-D",
                    data,
                    "-k",
                    c->dir,
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "fsync=off",
                    "-c",
                    "max_connections=100", /* one that was closed ends in its own time */
                    NULL};

    snprintf(program, sizeof(program), "%s/postgres", c->bin);
    snprintf(data, sizeof(data), "%s/data", c->dir);
    snprintf(log, sizeof(log), "%s/log", c->dir);
    c->postmaster = cluster_spawn(argv, log);
}

/* @param how  SIGINT: as a restart does; SIGQUIT: at once */
static inline void cluster_stop(struct cluster *c, int how)
{
    if (c->postmaster == 0)
        return;
    kill(c->postmaster, how);
    waitpid(c->postmaster, NULL, 0);
    c->postmaster = 0;
}

static inline struct engine *cluster_engine(const struct cluster *c)
{
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;
    struct engine *engine;
    char place[128], why[STORE_WHY_BYTES];

    assert_int_equal(postgres_engine_new(c->url, &engine, place, sizeof(place), why), 0);
    while (engine->ops->connect(engine, until_ms) != 0) {
        if (clock_now_ms() > until_ms)
            fail_msg("PostgreSQL does not serve: %s", engine->why);
        world_pause();
    }
    return engine;
}

/* Run a statement past the store. */
static inline void cluster_do(const struct cluster *c, const char *sql, row_cb on_row, void *arg)
{
    struct engine *engine = cluster_engine(c);

    if (engine_run(engine, sql, NULL, 0, clock_now_ms() + PATIENCE_MS, on_row, arg) != 0)
        fail_msg("%s: %s", sql, engine->why);
    engine->ops->free(engine);
}

static inline void cluster_init(struct cluster *c)
{
    const struct passwd *user = getpwnam("postgres");
    char program[160], data[96], log[96];
    char *argv[] = {program,
                    "-D",
                    data,
                    "-A",
                    "trust",
                    "-U",
                    "postgres",
                    "--no-sync",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    NULL};
    glob_t found = {0};
    int status;

    memset(c, 0, sizeof(*c));
    if (glob("/usr/lib/postgresql/*/bin/initdb", 0, NULL, &found) != 0 ||
        (geteuid() == 0 && user == NULL)) {
        globfree(&found);
        fprintf(stderr, "SKIPPED: PostgreSQL is not installed (Debian: postgresql)\n");
        return;
    }
    snprintf(c->bin, sizeof(c->bin), "%s", found.gl_pathv[found.gl_pathc - 1]);
    *strrchr(c->bin, '/') = '\0';
    globfree(&found);
    snprintf(c->dir, sizeof(c->dir), "/tmp/tranche-pg-XXXXXX");
    assert_non_null(mkdtemp(c->dir));
    if (geteuid() == 0)
        assert_int_equal(chown(c->dir, user->pw_uid, user->pw_gid), 0);
    snprintf(program, sizeof(program), "%s/initdb", c->bin);
    snprintf(data, sizeof(data), "%s/data", c->dir);
    snprintf(log, sizeof(log), "%s/log", c->dir);
    snprintf(c->url, sizeof(c->url), "postgresql:///postgres?host=%s&user=postgres", c->dir);
    assert_true(waitpid(cluster_spawn(argv, log), &status, 0) > 0);
    assert_int_equal(status, 0);
    c->there = true;
    cluster_start(c);
    cluster_do(c, "select 1", NULL, NULL);
}

static inline void remove_folder(const char *dir)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    if (*dir != '\0' && system(command) != 0)
        fprintf(stderr, "%s stays behind\n", dir);
}

static inline void cluster_deinit(struct cluster *c)
{
    cluster_stop(c, SIGQUIT);
    remove_folder(c->dir);
}

/* ---- a world of one test ---- */

/* A busy machine may keep it waiting longer than a server's own deadline lets it. */
static inline struct store *world_open(const char *url)
{
    const struct store_options options = {.deadline_ms = PATIENCE_MS};
    struct store *store = NULL;
    char why[STORE_WHY_BYTES];

    if (store_new(url, &options, &store, why) != 0)
        fail_msg("%s: %s", url, why);
    return store;
}

static inline void world_init(struct world *w, struct cluster *c)
{
    memset(w, 0, sizeof(*w));
    w->cluster = c;
    if (c != NULL) {
        cluster_do(c, "drop schema if exists tranche cascade", NULL, NULL);
        snprintf(w->url, sizeof(w->url), "%s", c->url);
    } else {
        snprintf(w->dir, sizeof(w->dir), "/tmp/tranche-store-XXXXXX");
        assert_non_null(mkdtemp(w->dir));
        snprintf(w->url, sizeof(w->url), "sqlite://%s/tranche.db", w->dir);
    }
    w->store = world_open(w->url);
}

static inline void world_deinit(struct world *w)
{
    store_free(w->store);
    remove_folder(w->dir);
}

/* Run a statement past the store, on either engine. */
static inline void world_do(const struct world *w, const char *sql)
{
    struct engine *engine;

    if (w->cluster != NULL) {
        cluster_do(w->cluster, sql, NULL, NULL);
        return;
    }
    assert_int_equal(sqlite_engine_new(w->url + strlen("sqlite://"), false, &engine), 0);
    assert_int_equal(engine->ops->connect(engine, clock_now_ms() + PATIENCE_MS), 0);
    if (engine_run(engine, sql, NULL, 0, clock_now_ms() + PATIENCE_MS, NULL, NULL) != 0)
        fail_msg("%s: %s", sql, engine->why);
    engine->ops->free(engine);
}

/* A call that has to succeed says why it did not. */
#define OK(w, call)                                                                                \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        if (rc_ != 0)                                                                              \
            fail_msg("%s: %s: %s", #call, err_str(rc_), store_why((w)->store));                    \
    } while (0)

/* A hash of its own for each number. */
static inline void hash_of(unsigned number, char out[STORE_HASH_DIGITS + 1])
{
    snprintf(out, STORE_HASH_DIGITS + 1, "%08x%056d", number, 7);
}

static inline struct store_key key_of(unsigned number)
{
    struct store_key key = {.name = "sk-...abcd"};

    hash_of(number, key.hash);
    return key;
}

static inline void hash_bytes(const char *hex, unsigned char out[RIGHTS_HASH_BYTES])
{
    for (size_t i = 0; i < RIGHTS_HASH_BYTES; i++) {
        unsigned byte;

        assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
        out[i] = (unsigned char)byte;
    }
}
