/* The engine over libpq: a server that other nodes use too.
 *
 * libpq is driven through its asynchronous half and poll(2), so that a server that is stopped or
 * gone costs no more than the deadline: a connection that missed it is thrown away, unfinished.
 * PQcancel() is not used, it may wait for ever; the server ends a statement by its own timeout, and
 * a transaction whose client sleeps, too. Names are looked up by glibc's threads: one that does not
 * come back in time is left to end by itself, and none is begun meanwhile.
 *
 * Off this machine the server's certificate is verified (sslmode=verify-full), unless the URL says
 * otherwise. */
#include "store_engine.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "common/clock.h"
#include "common/secret.h"
#include "common/strbuf.h"

#define MAX_HOSTS       8
#define MAX_ADDRESSES   8 /* of one name */
#define MAX_SETTINGS    40
#define CA_CERTIFICATES "/etc/ssl/certs/ca-certificates.crt"

struct postgres_engine {
    struct engine engine;
    struct secret url; /* as libpq takes it */
    PGconn *conn;      /* owned; NULL: not open */
};

static struct postgres_engine *of(struct engine *engine)
{
    return (struct postgres_engine *)engine;
}

/* ---- waiting ---- */

static int left_ms(uint64_t until_ms)
{
    uint64_t now_ms = clock_now_ms();

    return now_ms < until_ms ? (int)(until_ms - now_ms) : 0;
}

/* @return what happened, 0 at the deadline */
static short wait_for(int fd, short events, uint64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    int n;

    do {
        n = poll(&p, 1, left_ms(until_ms));
    } while (n == -1 && errno == EINTR);
    return n > 0 ? p.revents : 0;
}

/* ---- what a failure means ---- */

/* libpq's first line, without its password. */
static int fail_text(struct postgres_engine *e, int rc, enum store_state state, const char *text)
{
    const char *password = e->conn != NULL ? PQpass(e->conn) : NULL;
    size_t len = password != NULL ? strlen(password) : 0;
    struct strbuf line = STRBUF_INIT;

    for (; *text != '\0' && *text != '\n'; text++) {
        if (len >= 4 && strncmp(text, password, len) == 0) {
            strbuf_adds(&line, SECRET_MASK);
            text += len - 1;
        } else {
            strbuf_addc(&line, *text);
        }
    }
    rc = engine_fail(&e->engine, rc, state, "%s", strbuf_str(&line));
    strbuf_deinit(&line);
    return rc;
}

static int fail_late(struct postgres_engine *e, const char *what)
{
    return engine_fail(&e->engine, ERR_IO, STORE_DOWN, "%s: no answer in time", what);
}

static const struct meaning {
    const char *code; /* SQLSTATE, or the class that it begins with */
    int rc;
    enum store_state state;
} meanings[] = {{"23505", ERR_DUPLICATE, STORE_UP},      {"23503", ERR_NOT_FOUND, STORE_UP},
                {"23", ERR_INVALID, STORE_UP},           {"22", ERR_INVALID, STORE_UP},
                {"53100", ERR_FULL, STORE_FULL},         {"25006", ERR_BAD_STATE, STORE_FOREIGN},
                {"42", ERR_BAD_STATE, STORE_FOREIGN},    {"28", ERR_BAD_STATE, STORE_FOREIGN},
                {"3D", ERR_BAD_STATE, STORE_FOREIGN},    {"3F", ERR_BAD_STATE, STORE_FOREIGN},
                {"XX001", ERR_BAD_STATE, STORE_DAMAGED}, {"XX002", ERR_BAD_STATE, STORE_DAMAGED}};

static int fail_result(struct postgres_engine *e, const PGresult *result)
{
    const char *code = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *constraint = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);

    snprintf(e->engine.constraint, sizeof(e->engine.constraint), "%s",
             constraint != NULL ? constraint : "");
    if (text == NULL)
        text = PQerrorMessage(e->conn);
    for (size_t i = 0; code != NULL && i < sizeof(meanings) / sizeof(meanings[0]); i++)
        if (strncmp(code, meanings[i].code, strlen(meanings[i].code)) == 0)
            return fail_text(e, meanings[i].rc, meanings[i].state, text);
    return fail_text(e, ERR_IO, STORE_DOWN, text);
}

/* ---- statements ---- */

static int send_statement(struct postgres_engine *e, const char *sql, const struct value *values,
                          size_t num)
{
    const char *texts[ENGINE_MAX_VALUES];
    char numbers[ENGINE_MAX_VALUES][24];

    assert(num <= ENGINE_MAX_VALUES);
    if (num == 0) /* which may be several statements: a beginning with its settings */
        return PQsendQuery(e->conn, sql);
    for (size_t i = 0; i < num; i++) {
        texts[i] = values[i].type == VALUE_TEXT ? values[i].text : NULL;
        if (values[i].type == VALUE_INT) {
            snprintf(numbers[i], sizeof(numbers[i]), "%lld", (long long)values[i].number);
            texts[i] = numbers[i];
        }
    }
    return PQsendQueryParams(e->conn, sql, (int)num, NULL, texts, NULL, NULL, 0);
}

static int flush(struct postgres_engine *e, uint64_t until_ms)
{
    int left;

    while ((left = PQflush(e->conn)) == 1) {
        short events = wait_for(PQsocket(e->conn), POLLIN | POLLOUT, until_ms);

        if (events == 0)
            return fail_late(e, "a statement");
        if ((events & POLLIN) != 0 && PQconsumeInput(e->conn) == 0)
            left = -1;
        if (left == -1)
            break;
    }
    return left == 0 ? 0 : fail_text(e, ERR_IO, STORE_DOWN, PQerrorMessage(e->conn));
}

static int await(struct postgres_engine *e, uint64_t until_ms)
{
    while (PQisBusy(e->conn)) {
        if (wait_for(PQsocket(e->conn), POLLIN, until_ms) == 0)
            return fail_late(e, "a statement");
        if (PQconsumeInput(e->conn) == 0)
            return fail_text(e, ERR_IO, STORE_DOWN, PQerrorMessage(e->conn));
    }
    return 0;
}

static int give_rows(const PGresult *result, row_cb on_row, void *arg)
{
    int columns = PQnfields(result), rc = 0;
    struct row row = {.num = columns < ENGINE_MAX_COLUMNS ? (size_t)columns : ENGINE_MAX_COLUMNS};

    for (int at = 0; rc == 0 && on_row != NULL && at < PQntuples(result); at++) {
        for (size_t i = 0; i < row.num; i++)
            row.texts[i] = PQgetisnull(result, at, (int)i) ? NULL : PQgetvalue(result, at, (int)i);
        rc = on_row(arg, &row);
    }
    return rc;
}

/* All results are taken, also behind a failure: only then the connection is free again. */
static int take_results(struct postgres_engine *e, uint64_t until_ms, row_cb on_row, void *arg)
{
    PGresult *result;
    int rc = 0;

    for (;;) {
        int late = await(e, until_ms);

        if (late != 0)
            return late;
        result = PQgetResult(e->conn);
        if (result == NULL)
            return rc;
        if (rc == 0 && PQresultStatus(result) == PGRES_TUPLES_OK)
            rc = give_rows(result, on_row, arg);
        else if (rc == 0 && PQresultStatus(result) != PGRES_COMMAND_OK)
            rc = fail_result(e, result);
        PQclear(result);
    }
}

static int do_run(struct engine *engine, const char *sql, const struct value *values, size_t num,
                  uint64_t until_ms, row_cb on_row, void *arg)
{
    struct postgres_engine *e = of(engine);
    int rc;

    if (e->conn == NULL)
        return engine_fail(engine, ERR_IO, STORE_DOWN, "not connected");
    if (send_statement(e, sql, values, num) == 0)
        return fail_text(e, ERR_IO, STORE_DOWN, PQerrorMessage(e->conn));
    rc = flush(e, until_ms);
    return rc == 0 ? take_results(e, until_ms, on_row, arg) : rc;
}

/* ---- names of hosts ---- */

static bool is_local(const char *host)
{
    return host == NULL || *host == '\0' || *host == '/' || *host == '@' ||
           strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
           strcmp(host, "::1") == 0;
}

struct look_up {
    struct gaicb request;
    char name[256];
};

/* A look-up that missed its deadline: it may still write into its memory. */
static struct look_up *late_look_up;

static bool is_over(struct look_up *l)
{
    if (gai_error(&l->request) == EAI_INPROGRESS && gai_cancel(&l->request) != EAI_CANCELED)
        return gai_error(&l->request) != EAI_INPROGRESS;
    return true;
}

static void look_up_free(struct look_up *l)
{
    if (l->request.ar_result != NULL)
        freeaddrinfo(l->request.ar_result);
    free(l);
}

static int start_look_up(struct look_up *l, const char *host, uint64_t until_ms)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct gaicb *list[1] = {&l->request};
    int ms = left_ms(until_ms);
    struct timespec timeout = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    snprintf(l->name, sizeof(l->name), "%s", host);
    l->request.ar_name = l->name;
    l->request.ar_request = &hints;
    if (getaddrinfo_a(GAI_NOWAIT, list, 1, NULL) != 0)
        return EAI_MEMORY;
    while (gai_error(&l->request) == EAI_INPROGRESS && left_ms(until_ms) > 0)
        if (gai_suspend((const struct gaicb *const *)list, 1, &timeout) == EAI_AGAIN)
            break;
    return gai_error(&l->request);
}

/* The name's addresses, and as often the name, as lists for libpq. */
static void list_addresses(const struct addrinfo *found, const char *host, struct strbuf *hosts,
                           struct strbuf *addresses)
{
    char text[64];

    for (size_t i = 0; found != NULL && i < MAX_ADDRESSES; found = found->ai_next, i++) {
        if (getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof(text), NULL, 0,
                        NI_NUMERICHOST) != 0)
            continue;
        strbuf_addf(hosts, "%s%s", hosts->len != 0 ? "," : "", host);
        strbuf_addf(addresses, "%s%s", addresses->len != 0 ? "," : "", text);
    }
}

static int resolve(struct postgres_engine *e, const char *host, uint64_t until_ms,
                   struct strbuf *hosts, struct strbuf *addresses)
{
    struct look_up *l;
    int rc;

    if (late_look_up != NULL) {
        if (!is_over(late_look_up))
            return fail_late(e, "the look-up of its name");
        look_up_free(late_look_up);
        late_look_up = NULL;
    }
    l = calloc(1, sizeof(*l));
    if (l == NULL)
        return engine_fail(&e->engine, ERR_NOMEM, STORE_DOWN, "out of memory");
    rc = start_look_up(l, host, until_ms);
    if (rc == EAI_INPROGRESS && !is_over(l)) {
        late_look_up = l;
        return fail_late(e, "the look-up of its name");
    }
    if (rc == 0)
        list_addresses(l->request.ar_result, host, hosts, addresses);
    look_up_free(l);
    if (rc != 0)
        return engine_fail(&e->engine, ERR_IO, STORE_DOWN, "%s: %s", host, gai_strerror(rc));
    return 0;
}

/* ---- connecting ---- */

/* What is given to libpq: borrowed texts. */
struct settings {
    const char *names[MAX_SETTINGS + 1], *values[MAX_SETTINGS + 1];
    size_t num;
};

static const char *get(const struct settings *s, const char *name)
{
    for (size_t i = 0; i < s->num; i++)
        if (strcmp(s->names[i], name) == 0)
            return s->values[i];
    return NULL;
}

static void set(struct settings *s, const char *name, const char *value)
{
    for (size_t i = 0; i < s->num; i++)
        if (strcmp(s->names[i], name) == 0) {
            s->values[i] = value;
            return;
        }
    if (s->num < MAX_SETTINGS) {
        s->names[s->num] = name;
        s->values[s->num++] = value;
    }
}

static void set_unless(struct settings *s, const char *name, const char *variable,
                       const char *value)
{
    if (get(s, name) == NULL && (variable == NULL || getenv(variable) == NULL))
        set(s, name, value);
}

static void set_defaults(struct settings *s, const char *host)
{
    const char *mode;

    if (!is_local(host))
        set_unless(s, "sslmode", "PGSSLMODE", "verify-full");
    mode = get(s, "sslmode");
    if (mode != NULL && strncmp(mode, "verify", strlen("verify")) == 0)
        set_unless(s, "sslrootcert", "PGSSLROOTCERT", CA_CERTIFICATES);
    set_unless(s, "application_name", "PGAPPNAME", "tranche");
    set_unless(s, "target_session_attrs", "PGTARGETSESSIONATTRS", "primary");
    set_unless(s, "keepalives_idle", NULL, "20");
    set_unless(s, "keepalives_interval", NULL, "5");
    set_unless(s, "keepalives_count", NULL, "3");
    set_unless(s, "gssencmode", "PGGSSENCMODE", "disable");
    set(s, "client_encoding", "UTF8");
}

/* Notices go nowhere: libpq would write them to standard error, past the log. */
static void on_notice(void *arg, const PGresult *result)
{
    (void)arg;
    (void)result;
}

/* Where one host of a list ends. */
static size_t item_len(const char *list)
{
    return list != NULL ? strcspn(list, ",") : 0;
}

static int drive(struct postgres_engine *e, uint64_t until_ms)
{
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;

    PQsetNoticeReceiver(e->conn, on_notice, NULL);
    if (PQstatus(e->conn) == CONNECTION_BAD)
        return fail_text(e, ERR_IO, STORE_DOWN, PQerrorMessage(e->conn));
    while (next != PGRES_POLLING_OK && next != PGRES_POLLING_FAILED) {
        short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;

        if (wait_for(PQsocket(e->conn), events, until_ms) == 0)
            return fail_late(e, "the server");
        next = PQconnectPoll(e->conn);
    }
    if (next == PGRES_POLLING_FAILED)
        return fail_text(e, ERR_IO, STORE_DOWN, PQerrorMessage(e->conn));
    return PQsetnonblocking(e->conn, 1) == 0
               ? 0
               : fail_text(e, ERR_IO, STORE_DOWN, PQerrorMessage(e->conn));
}

static int connect_to(struct postgres_engine *e, const struct settings *all, const char *host,
                      const char *port, uint64_t until_ms)
{
    struct strbuf hosts = STRBUF_INIT, addresses = STRBUF_INIT;
    struct settings s = *all;
    int rc = 0;

    set_defaults(&s, host);
    if (host != NULL && *host != '\0' && *host != '/' && *host != '@' &&
        get(all, "hostaddr") == NULL) {
        rc = resolve(e, host, until_ms, &hosts, &addresses);
        set(&s, "host", strbuf_str(&hosts));
        set(&s, "hostaddr", strbuf_str(&addresses));
    } else if (host != NULL && *host != '\0') {
        set(&s, "host", host);
    }
    if (port != NULL && *port != '\0')
        set(&s, "port", port);
    if (rc == 0 && (strbuf_failed(&hosts) || strbuf_failed(&addresses)))
        rc = engine_fail(&e->engine, ERR_NOMEM, STORE_DOWN, "out of memory");
    if (rc == 0) {
        e->conn = PQconnectStartParams(s.names, s.values, 0);
        rc = e->conn != NULL ? drive(e, until_ms)
                             : engine_fail(&e->engine, ERR_NOMEM, STORE_DOWN, "out of memory");
    }
    strbuf_deinit(&hosts);
    strbuf_deinit(&addresses);
    return rc;
}

static void do_disconnect(struct engine *engine)
{
    struct postgres_engine *e = of(engine);

    PQfinish(e->conn);
    e->conn = NULL;
}

/* Each host of the list has its share of the time: one that is silent must not hide the next. */
static int connect_to_any(struct postgres_engine *e, const struct settings *s, uint64_t until_ms)
{
    const char *hosts = get(s, "host"), *ports = get(s, "port");
    size_t num = 1;
    int rc;

    for (const char *p = hosts; p != NULL && *p != '\0' && num < MAX_HOSTS; p++)
        num += *p == ',';
    do {
        char host[256], port[16];

        snprintf(host, sizeof(host), "%.*s", (int)item_len(hosts), hosts != NULL ? hosts : "");
        snprintf(port, sizeof(port), "%.*s", (int)item_len(ports), ports != NULL ? ports : "");
        do_disconnect(&e->engine);
        rc = connect_to(e, s, host, port, clock_now_ms() + (uint64_t)left_ms(until_ms) / num);
        if (hosts != NULL)
            hosts += item_len(hosts) + (hosts[item_len(hosts)] == ',');
        if (ports != NULL && ports[item_len(ports)] == ',') /* one port is for all */
            ports += item_len(ports) + 1;
    } while (rc != 0 && --num > 0);
    return rc;
}

static void wipe_options(PQconninfoOption *options)
{
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
        if (o->val != NULL && strstr(o->keyword, "password") != NULL)
            secret_wipe(o->val, strlen(o->val));
    PQconninfoFree(options);
}

static int do_connect(struct engine *engine, uint64_t until_ms)
{
    struct postgres_engine *e = of(engine);
    PQconninfoOption *options = PQconninfoParse(e->url.data, NULL);
    struct settings settings = {0};
    int rc;

    if (options == NULL)
        return engine_fail(engine, ERR_NOMEM, STORE_DOWN, "out of memory");
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
        if (o->val != NULL)
            set(&settings, o->keyword, o->val);
    rc = connect_to_any(e, &settings, until_ms);
    if (rc != 0)
        do_disconnect(engine);
    wipe_options(options);
    return rc;
}

static void do_free(struct engine *engine)
{
    struct postgres_engine *e = of(engine);

    do_disconnect(engine);
    secret_clear(&e->url);
    free(e);
}

static const struct engine_ops postgres_ops = {
    .table_prefix = "tranche.",
    .shared = true,
    .begin_read = "begin isolation level repeatable read read only",
    /* Whoever has locked rows reads what others have written until then: whatever isolation the
     * database or the role has by default. */
    .begin_write = "begin isolation level read committed",
    .limit_statement = "; set local statement_timeout = ",
    .limit_silence = "; set local idle_in_transaction_session_timeout = ",
    .has_table =
        "select 1 from pg_catalog.pg_tables where schemaname = 'tranche' and tablename = $1",
    .lock_schema = "select pg_advisory_xact_lock(8390323731049312)",
    .make_room = "create schema if not exists tranche",
    .now_ms = "select cast(extract(epoch from statement_timestamp()) * 1000 as bigint)",
    .skip_locked = " for update skip locked",
    .for_update = " for update",
    .connect = do_connect,
    .run = do_run,
    .disconnect = do_disconnect,
    .free = do_free,
};

/* ---- a URL ---- */

/* Parameters that only Prisma knows, whose URLs LiteLLM's operators have. */
static bool is_prismas(const char *name, size_t len)
{
    static const char *const names[] = {
        "schema",    "connection_limit", "pool_timeout",
        "pgbouncer", "socket_timeout",   "statement_cache_size",
        "sslaccept", "sslidentity",      "max_idle_connection_lifetime",
        "pool_size"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && strncmp(names[i], name, len) == 0)
            return true;
    return false;
}

static void copy_url(const char *url, struct strbuf *out)
{
    const char *p = strchr(url, '?');
    char before = '?';

    if (p == NULL) {
        strbuf_adds(out, url);
        return;
    }
    strbuf_add(out, url, (size_t)(p - url));
    for (p++; *p != '\0';) {
        size_t len = strcspn(p, "&");

        if (len > 0 && !is_prismas(p, strcspn(p, "=&"))) {
            strbuf_addc(out, before);
            strbuf_add(out, p, len);
            before = '&';
        }
        p += len + (p[len] == '&');
    }
}

static void tell_place(const PQconninfoOption *options, char *place, size_t size)
{
    const char *host = NULL, *port = NULL, *name = NULL;

    for (; options->keyword != NULL; options++) {
        if (strcmp(options->keyword, "host") == 0)
            host = options->val;
        else if (strcmp(options->keyword, "port") == 0)
            port = options->val;
        else if (strcmp(options->keyword, "dbname") == 0)
            name = options->val;
    }
    snprintf(place, size, "postgresql://%s%s%s/%s", host != NULL ? host : "",
             port != NULL ? ":" : "", port != NULL ? port : "", name != NULL ? name : "");
}

int postgres_engine_new(const char *url, struct engine **out, char *place, size_t place_size,
                        char why[STORE_WHY_BYTES])
{
    struct postgres_engine *e = calloc(1, sizeof(*e));
    struct strbuf text = STRBUF_INIT;
    PQconninfoOption *options = NULL;
    int rc = ERR_NOMEM;

    if (e == NULL)
        return ERR_NOMEM;
    e->engine.ops = &postgres_ops;
    copy_url(url, &text);
    if (!strbuf_failed(&text) && secret_set(&e->url, strbuf_str(&text), text.len) == 0)
        options = PQconninfoParse(e->url.data, NULL);
    if (options != NULL) {
        tell_place(options, place, place_size);
        rc = 0;
    } else if (e->url.data != NULL) {
        /* libpq's own words quote the URL. */
        snprintf(why, STORE_WHY_BYTES,
                 "not a PostgreSQL URL: postgresql://user:password@host:5432/name, with %%XX for "
                 "special characters of user and password, and libpq's parameters behind ?");
        rc = ERR_INVALID;
    }
    if (text.data != NULL)
        secret_wipe(text.data, text.len);
    strbuf_deinit(&text);
    wipe_options(options);
    if (rc != 0) {
        secret_clear(&e->url);
        free(e);
        return rc;
    }
    *out = &e->engine;
    return 0;
}
