/* What a store does when its database is full, damaged, locked, stopped, or gone. */
#include "both_engines.h"
#include "server/store/store_impl.h"

#include <sys/file.h>
#include <sys/resource.h>

static const char *path_of(const struct world *w)
{
    return w->url + strlen("sqlite://");
}

static void add_some(struct world *w, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        struct store_key key = key_of(i);

        OK(w, store_key_add(w->store, &key, &tester, NULL));
    }
}

/* Ask until the store is up again: it waits between two tries. */
static void await_up(struct store *store)
{
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS, gen;

    while (store_generation(store, &gen) != 0) {
        if (clock_now_ms() > until_ms)
            fail_msg("not up again: %s", store_why(store));
        world_pause();
    }
    assert_int_equal(store_state(store), STORE_UP);
    assert_string_equal(store_why(store), "");
}

/* ---- SQLite ---- */

static void the_file_is_its_owners_alone(void **state)
{
    WORLD(w);
    char other[96];
    struct stat st;

    add_some(w, 0, 1);
    assert_int_equal(stat(path_of(w), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    snprintf(other, sizeof(other), "%s-wal", path_of(w));
    assert_int_equal(stat(other, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* One that an operator made readable is made private again. */
    snprintf(other, sizeof(other), "%s/other.db", w->dir);
    assert_true(close(open(other, O_CREAT | O_WRONLY, 0644)) == 0);
    struct store *store = world_open(other);
    await_up(store);
    assert_int_equal(stat(other, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    store_free(store);
}

/* As the keeper of the next generation or program is, while the one before ends. */
static void a_second_server_reads_and_changes_nothing_until_the_first_ends(void **state)
{
    WORLD(w);
    struct store_options server = {.server = true};
    struct store_key key = key_of(1), other = key_of(2);
    struct store *first, *second;
    struct rights_list list;
    char why[STORE_WHY_BYTES];
    uint64_t gen;

    assert_int_equal(store_new(w->url, &server, &first, why), 0);
    assert_int_equal(store_new(w->url, &server, &second, why), 0);
    assert_int_equal(store_key_add(first, &key, &tester, NULL), 0);
    assert_int_equal(store_load(second, &list, &gen), 0);
    assert_int_equal(list.num_keys, 1);
    rights_list_deinit(&list);
    assert_int_equal(store_key_add(second, &other, &tester, NULL), ERR_FULL);
    assert_int_equal(store_state(second), STORE_LOCKED);
    assert_non_null(strstr(store_why(second), "another server"));
    assert_int_equal(store_generation(second, &gen), 0); /* it reads on */
    OK(w, store_generation(w->store, &gen));             /* a command shares it */
    store_free(first);
    assert_int_equal(store_key_add(second, &other, &tester, NULL), 0);
    store_free(second);
}

/* Nobody has made its tables yet: there is nothing to read. */
static void a_second_server_of_a_new_file_waits_for_its_tables(void **state)
{
    WORLD(w);
    struct store_options server = {.server = true};
    char path[96], lock[112], why[STORE_WHY_BYTES];
    struct store *second;
    uint64_t gen;
    int fd;

    snprintf(path, sizeof(path), "%s/new.db", w->dir);
    snprintf(lock, sizeof(lock), "%s.lock", path);
    fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(store_new(path, &server, &second, why), 0);
    assert_int_not_equal(store_generation(second, &gen), 0);
    assert_int_equal(store_state(second), STORE_LOCKED);
    close(fd);
    await_up(second);
    store_free(second);
}

static void a_full_disk_refuses_changes_and_lets_reads_through(void **state)
{
    WORLD(w);
    struct rlimit before, small = {.rlim_cur = 1024 * 1024}; /* room for the tables */
    struct rights_list list;
    uint64_t gen, last = 0;
    unsigned i = 0;
    int rc = 0;

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (; rc == 0 && i < 2000; i++) {
        struct store_key key = key_of(i);

        last = i;
        rc = store_key_add(w->store, &key, &tester, NULL);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0); /* reads need no room of their own */
    assert_int_equal(rc, ERR_FULL);
    assert_int_equal(store_state(w->store), STORE_FULL);
    assert_non_null(strstr(store_why(w->store), "no room"));
    OK(w, store_load(w->store, &list, &gen));
    assert_int_equal(list.num_keys, last); /* what was refused is not there */
    assert_int_equal(gen, last);
    rights_list_deinit(&list);
    add_some(w, 5000, 5001);
    assert_int_equal(store_state(w->store), STORE_UP);
}

static void overwrite(const char *path, off_t from, size_t len)
{
    int fd = open(path, O_WRONLY);
    char junk[4096];

    memset(junk, 0x5a, sizeof(junk));
    assert_true(fd != -1);
    for (size_t done = 0; done < len; done += sizeof(junk))
        assert_int_equal(pwrite(fd, junk, sizeof(junk), from + (off_t)done), sizeof(junk));
    close(fd);
}

static void a_damaged_file_is_told_of_and_left_alone(void **state)
{
    WORLD(w);
    struct store *store;
    struct stat st, after;
    uint64_t gen;

    add_some(w, 0, 300);
    store_free(w->store); /* which writes the log back into the file */
    w->store = NULL;
    assert_int_equal(stat(path_of(w), &st), 0);
    overwrite(path_of(w), 4096, (size_t)st.st_size - 4096 - st.st_size % 4096);
    store = world_open(w->url);
    assert_int_equal(store_generation(store, &gen), ERR_BAD_STATE);
    assert_int_equal(store_state(store), STORE_DAMAGED);
    assert_non_null(strstr(store_why(store), path_of(w)));
    assert_int_equal(stat(path_of(w), &after), 0);
    assert_int_equal(after.st_size, st.st_size);
    store_free(store);
}

static void what_is_no_database_is_told_of(void **state)
{
    WORLD(w);
    uint64_t gen;

    assert_true(close(open(path_of(w), O_CREAT | O_WRONLY, 0600)) == 0);
    overwrite(path_of(w), 0, 8192);
    assert_int_equal(store_generation(w->store, &gen), ERR_BAD_STATE);
    assert_int_equal(store_state(w->store), STORE_DAMAGED);
    /* Its copy is put in its place: it is served without a restart. */
    assert_int_equal(unlink(path_of(w)), 0);
    await_up(w->store);
}

static void a_file_that_another_process_holds_costs_a_deadline(void **state)
{
    WORLD(w);
    struct store_options options = {.deadline_ms = 100};
    struct store_key key = key_of(1);
    struct engine *other;
    struct store *store;
    char why[STORE_WHY_BYTES];
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS, gen;

    add_some(w, 0, 1);
    assert_int_equal(store_new(w->url, &options, &store, why), 0);
    assert_int_equal(store_generation(store, &gen), 0);
    assert_int_equal(sqlite_engine_new(path_of(w), false, &other), 0);
    assert_int_equal(other->ops->connect(other, until_ms), 0);
    assert_int_equal(engine_run(other, "begin immediate", NULL, 0, until_ms, NULL, NULL), 0);
    assert_int_equal(store_key_add(store, &key, &tester, NULL), ERR_IO);
    assert_int_equal(store_state(store), STORE_LOCKED);
    assert_int_equal(engine_run(other, "rollback", NULL, 0, until_ms, NULL, NULL), 0);
    await_up(store);
    assert_int_equal(store_key_add(store, &key, &tester, NULL), 0);
    other->ops->free(other);
    store_free(store);
}

static void a_folder_that_is_missing_is_told_of(void **state)
{
    WORLD(w);
    char path[96];
    struct store *store;
    uint64_t gen;

    snprintf(path, sizeof(path), "%s/none/a.db", w->dir);
    store = world_open(path);
    assert_int_equal(store_generation(store, &gen), ERR_IO);
    assert_non_null(strstr(store_why(store), "No such file"));
    store_free(store);
}

/* ---- PostgreSQL ---- */

/* All processes of the server: a stopped one answers nothing, and its sockets stay open. */
struct stopped {
    pid_t pids[64];
    size_t num;
};

static int on_pid(void *arg, const struct row *row)
{
    struct stopped *s = arg;

    if (s->num < 64)
        s->pids[s->num++] = (pid_t)row_int(row, 0);
    return 0;
}

static void stop_all(struct stopped *s)
{
    *s = (struct stopped){.pids = {cluster.postmaster}, .num = 1};
    cluster_do(&cluster, "select pid from pg_stat_activity where pid <> pg_backend_pid()", on_pid,
               s);
    for (size_t i = 0; i < s->num; i++)
        kill(s->pids[i], SIGSTOP);
}

static void continue_all(const struct stopped *s)
{
    for (size_t i = 0; i < s->num; i++)
        kill(s->pids[i], SIGCONT);
}

static void a_stopped_server_costs_a_deadline_and_then_nothing(void **state)
{
    WORLD(w);
    struct store_options options = {.deadline_ms = 1000};
    struct store_key key = key_of(1);
    struct stopped stopped;
    struct store *store;
    char why[STORE_WHY_BYTES];
    uint64_t gen;

    OK(w, store_generation(w->store, &gen)); /* its tables are there */
    assert_int_equal(store_new(cluster.url, &options, &store, why), 0);
    await_up(store);
    stop_all(&stopped);
    assert_int_equal(store_key_add(store, &key, &tester, NULL), ERR_IO); /* open connection */
    assert_int_equal(store_state(store), STORE_DOWN);
    assert_non_null(strstr(store_why(store), "no answer in time"));
    /* Until the back-off is over nothing is waited for: a thousand calls are over at once. */
    for (int i = 0; i < 1000; i++)
        assert_int_equal(store_generation(store, &gen), ERR_IO);
    while (strstr(store_why(store), "the server") == NULL) /* a new connection costs one, too */
        assert_int_equal(store_generation(store, &gen), ERR_IO);
    continue_all(&stopped);
    await_up(store);
    store_free(store);
}

static void a_server_that_restarts_is_found_again(void **state)
{
    WORLD(w);
    struct rights_list list;
    uint64_t gen;

    add_some(w, 0, 3);
    cluster_stop(&cluster, SIGINT);
    assert_int_equal(store_generation(w->store, &gen), ERR_IO);
    assert_int_equal(store_state(w->store), STORE_DOWN);
    cluster_start(&cluster);
    await_up(w->store);
    OK(w, store_load(w->store, &list, &gen));
    assert_int_equal(list.num_keys, 3);
    rights_list_deinit(&list);
}

static void a_server_that_is_gone_is_told_of(void **state)
{
    WORLD(w);
    char why[STORE_WHY_BYTES];
    struct store *store;
    uint64_t gen;

    (void)w;
    store = world_open("postgresql://u:geheim77@127.0.0.1:1/x?sslmode=disable");
    assert_int_equal(store_generation(store, &gen), ERR_IO);
    assert_int_equal(store_state(store), STORE_DOWN);
    assert_non_null(strstr(store_why(store), "refused"));
    assert_null(strstr(store_why(store), "geheim77"));
    assert_null(strstr(store_place(store), "geheim77"));
    store_free(store);
    assert_int_equal(store_new("postgresql://u:geheim77@no-such-host.invalid/x", NULL, &store, why),
                     0);
    assert_int_equal(store_generation(store, &gen), ERR_IO);
    assert_null(strstr(store_why(store), "geheim77"));
    store_free(store);
}

/* The list's first host is silent: it has its share of the time, not all of it. */
static void the_next_host_of_a_list_is_tried(void **state)
{
    WORLD(w);
    char url[256];
    struct store *store;

    (void)w;
    snprintf(url, sizeof(url), "postgresql:///postgres?host=/nowhere,%s&port=1,5432&user=postgres",
             cluster.dir);
    store = world_open(url);
    await_up(store);
    store_free(store);
}

static void a_role_without_rights_is_told_of(void **state)
{
    WORLD(w);
    char url[256];
    struct store *store;
    uint64_t gen;

    (void)w;
    cluster_do(&cluster, "drop role if exists nobody; create role nobody login", NULL, NULL);
    snprintf(url, sizeof(url), "postgresql://nobody@/postgres?host=%s", cluster.dir);
    store = world_open(url);
    assert_int_equal(store_generation(store, &gen), ERR_BAD_STATE);
    assert_int_equal(store_state(store), STORE_FOREIGN);
    assert_non_null(strstr(store_why(store), "permission denied"));
    store_free(store);
    cluster_do(&cluster, "drop role nobody", NULL, NULL);
}

/* A transaction whose client sleeps must not hold the others up for ever. */
static void the_server_ends_a_change_whose_program_stopped(void **state)
{
    WORLD(w);
    uint64_t until_ms = clock_now_ms() + PATIENCE_MS;
    struct store_key key = key_of(1);
    char why[STORE_WHY_BYTES];
    struct store *asleep;
    int rc;

    add_some(w, 5, 6);
    assert_int_equal(store_new(cluster.url, NULL, &asleep, why), 0);
    do {
        assert_true(clock_now_ms() < until_ms);
        await_up(asleep);
        rc = work_begin(asleep, WORK_WRITE);
        if (rc == 0)
            rc = work_run(asleep, "update @meta set value = value where name = 'gen'", NULL, 0,
                          NULL, NULL);
        if (rc != 0)
            (void)work_end(asleep, rc);
    } while (rc != 0);
    while ((rc = store_key_add(w->store, &key, &tester, NULL)) == ERR_IO) {
        assert_true(clock_now_ms() < until_ms);
        world_pause();
    }
    assert_int_equal(rc, 0);
    store_free(asleep);
}

static int on_text(void *arg, const struct row *row)
{
    struct strbuf *text = arg;

    strbuf_adds(text, row->texts[0]);
    strbuf_addc(text, ' ');
    return 0;
}

/* `timeouts.database_ms: 9s`: the server must not end after two seconds what is waited for. */
static void the_server_gives_a_statement_the_time_that_an_operator_gives_it(void **state)
{
    WORLD(w);
    const struct store_options options = {.deadline_ms = 9000};
    struct strbuf text = STRBUF_INIT;
    char why[STORE_WHY_BYTES];
    struct store *store;

    (void)w;
    assert_int_equal(store_new(cluster.url, &options, &store, why), 0);
    await_up(store);
    assert_int_equal(work_begin(store, WORK_READ), 0);
    assert_int_equal(work_run(store, "show statement_timeout", NULL, 0, on_text, &text), 0);
    assert_int_equal(
        work_run(store, "show idle_in_transaction_session_timeout", NULL, 0, on_text, &text), 0);
    assert_string_equal(strbuf_str(&text), "9s 12s ");
    assert_int_equal(work_end(store, 0), 0);
    strbuf_deinit(&text);
    store_free(store);
}

/* Ten programs that open an empty database at once make its tables once. */
static void many_programs_make_the_tables_once(void **state)
{
    WORLD(w);
    pid_t pids[10];
    uint64_t gen;
    int status;

    for (size_t i = 0; i < 10; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            struct store *store = NULL;
            char why[STORE_WHY_BYTES];
            uint64_t until_ms = clock_now_ms() + PATIENCE_MS;
            int rc = store_new(w->url, NULL, &store, why);

            while (rc == 0 && store_generation(store, &gen) != 0 && clock_now_ms() < until_ms)
                world_pause();
            _exit(rc == 0 && store_state(store) == STORE_UP ? 0 : 1);
        }
    }
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    OK(w, store_generation(w->store, &gen));
    assert_int_equal(gen, 0);
}

/* ---- places ---- */

static void a_place_is_taken_or_refused(void **state)
{
    static const char *const good[] = {"sqlite:///a/b.db",
                                       "sqlite:b.db",
                                       "/a/b.db",
                                       "b.db",
                                       "postgresql://h/n",
                                       "postgres://u:p@h:1,i:2/n?sslmode=require",
                                       "postgresql://h/n?schema=public&connection_limit=5"};
    static const char *const bad[] = {"",
                                      "mysql://h/n",
                                      "sqlite://b.db",
                                      "sqlite:",
                                      "postgresql://u:geheim77@[h/n",
                                      "postgresql://u:geheim77@h/n?sslmod=require"};
    struct store *store;
    char why[STORE_WHY_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(store_new(good[i], NULL, &store, why), 0);
        assert_int_equal(store_state(store), STORE_CLOSED);
        store_free(store);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(store_new(bad[i], NULL, &store, why), ERR_INVALID);
        assert_string_not_equal(why, "");
        assert_null(strstr(why, "geheim77"));
    }
}

#define S(test) cmocka_unit_test_setup_teardown(test, set_up_sqlite, tear_down)
static void file_systems_of_other_machines_are_known(void **state)
{
    static const uint32_t shared[] = {0x6969,     0xff534d42, 0xfe534d42, 0x517b,    0x00c36400,
                                      0x5346414f, 0x0bd00bd0, 0x01161970, 0x7461636f};
    static const uint32_t own[] = {0xef53 /* ext4 */,
                                   0x58465342 /* xfs */,
                                   0x9123683e /* btrfs */,
                                   0x01021994 /* tmpfs */,
                                   0x794c7630 /* overlayfs */,
                                   0x2fc12fc1 /* zfs */,
                                   0};

    (void)state;
    for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++)
        assert_true(sqlite_is_network(shared[i]));
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        assert_false(sqlite_is_network(own[i]));
}

#define P(test) cmocka_unit_test_setup_teardown(test, set_up_postgres, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_place_is_taken_or_refused),
        cmocka_unit_test(file_systems_of_other_machines_are_known),
        S(the_file_is_its_owners_alone),
        S(a_second_server_reads_and_changes_nothing_until_the_first_ends),
        S(a_second_server_of_a_new_file_waits_for_its_tables),
        S(a_full_disk_refuses_changes_and_lets_reads_through),
        S(a_damaged_file_is_told_of_and_left_alone),
        S(what_is_no_database_is_told_of),
        S(a_file_that_another_process_holds_costs_a_deadline),
        S(a_folder_that_is_missing_is_told_of),
        S(many_programs_make_the_tables_once),
        P(many_programs_make_the_tables_once),
        P(a_stopped_server_costs_a_deadline_and_then_nothing),
        P(a_server_that_restarts_is_found_again),
        P(a_server_that_is_gone_is_told_of),
        P(the_next_host_of_a_list_is_tried),
        P(a_role_without_rights_is_told_of),
        P(the_server_ends_a_change_whose_program_stopped),
        P(the_server_gives_a_statement_the_time_that_an_operator_gives_it),
    };
    int failed;

    cluster_init(&cluster);
    failed = cmocka_run_group_tests_name("store_faults", tests, NULL, NULL);
    cluster_deinit(&cluster);
    return failed;
}
