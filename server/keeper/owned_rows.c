/* See owned_rows.h. */
#include "owned_rows.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "store/store_owned.h"

#define COLLECT_MOST 16384               /* changes of one step */
#define PENDING_MOST (UINT32_C(1) << 20) /* beyond that all rows are looked at instead */
#define SCAN_ROWS    65536               /* of the registry, looked at in one step */
#define GONE_LOOKS   4096  /* pending changes that a row from the database is held against */
#define BEAT_MS      10000 /* how old what the database knows of us may be */
#define TEND_MS      60000
#define BEHIND_MS    5000 /* without the database: lists say that other nodes' files are missing */

struct pending {
    uint64_t key;
    bool went;
};

struct owned_rows {
    struct registry *registry; /* borrowed */
    struct store *store;       /* borrowed */
    char *node;                /* owned */
    struct store_run run;
    uint64_t claim;
    uint64_t cursor;         /* of the registry's changes: those before are in `pending` */
    struct pending *pending; /* owned; in order */
    size_t num, room;
    bool scanning; /* changes were missed: all rows are written, from `scan_at` on */
    uint32_t scan_at;
    bool begun, loaded, told;
    int64_t behind; /* of the loading: the last key */
    uint64_t seq;   /* of the database: what is before is in the registry */
    uint64_t written_ms, tended_ms, read_ms;
    struct registry_gaps gaps; /* as they were set last */
    struct store_owned batch[STORE_OWNED_BATCH];
};

/* ---- life ---- */

int owned_rows_new(const struct owned_rows_options *options, struct owned_rows **out)
{
    struct owned_rows *o = calloc(1, sizeof(*o));

    if (o == NULL)
        return ERR_NOMEM;
    o->node = strdup(options->node);
    if (o->node == NULL) {
        free(o);
        return ERR_NOMEM;
    }
    o->registry = options->registry;
    o->store = options->store;
    o->run = (struct store_run){.run = registry_run(o->registry),
                                .node = o->node,
                                .born_s = options->born_s,
                                .seen_ms = options->born_s * 1000,
                                .tenants_else = options->tenants_else};
    o->claim = registry_claim(o->registry, (uint32_t)getpid());
    o->cursor = registry_kept(o->registry);
    o->behind = INT64_MIN;
    *out = o;
    return 0;
}

void owned_rows_free(struct owned_rows *o)
{
    if (o == NULL)
        return;
    free(o->pending);
    free(o->node);
    free(o);
}

bool owned_rows_have_gone(const struct owned_rows *o)
{
    return !registry_is_claimed(o->registry, o->claim);
}

bool owned_rows_are_kept(const struct owned_rows *o)
{
    return owned_rows_have_gone(o) || (o->begun && o->num == 0 && !o->scanning);
}

/* Whoever followed after us has ended, before us: it was dismissed. What it had not written yet is
 * still noted. @return false: somebody else follows */
static bool follow_again(struct owned_rows *o)
{
    if (kill((pid_t)registry_claimer(o->registry), 0) == 0 || errno != ESRCH)
        return false;
    o->claim = registry_claim(o->registry, (uint32_t)getpid());
    o->cursor = registry_kept(o->registry);
    o->num = 0;
    o->scanning = o->begun = o->loaded = false;
    o->behind = INT64_MIN;
    return true;
}

/* ---- changes ---- */

static bool add_pending(struct owned_rows *o, const struct registry_change *change)
{
    if (o->num == o->room) {
        size_t room = o->room != 0 ? 2 * o->room : 256;
        struct pending *more =
            room <= PENDING_MOST ? reallocarray(o->pending, room, sizeof(*more)) : NULL;

        if (more == NULL)
            return false;
        o->pending = more;
        o->room = room;
    }
    o->pending[o->num++] = (struct pending){change->key, change->went};
    return true;
}

static void start_scan(struct owned_rows *o)
{
    o->scanning = true;
    o->scan_at = 0;
}

static void collect(struct owned_rows *o)
{
    struct registry_change change;

    for (size_t i = 0; i < COLLECT_MOST; i++) {
        int rc = registry_follow(o->registry, &o->cursor, &change);

        if (rc == ERR_NOT_FOUND)
            return;
        if (rc == ERR_LIMIT || !add_pending(o, &change))
            start_scan(o);
    }
}

/* Whether it went here, and the database does not know yet. The last change of a key counts. */
static bool has_gone(const struct owned_rows *o, uint64_t key)
{
    for (size_t i = o->num <= GONE_LOOKS ? o->num : 0; i-- > 0;)
        if (o->pending[i].key == key)
            return o->pending[i].went;
    return false;
}

static bool is_changed_again(const struct owned_rows *o, size_t at, size_t end)
{
    for (size_t i = at + 1; i < end; i++)
        if (o->pending[i].key == o->pending[at].key)
            return true;
    return false;
}

/* ---- writing ---- */

static void note_written(struct owned_rows *o, uint64_t seq, uint64_t now_ms)
{
    if (seq == o->seq + 1) /* else others wrote in between, and are read next */
        o->seq = seq;
    o->written_ms = now_ms;
    if (o->num == 0 && !o->scanning)
        registry_set_kept(o->registry, o->cursor);
}

/* @param whole  nothing is left to be written: all is known that happened until now */
static int write_batch(struct owned_rows *o, size_t num, bool again, bool whole, int64_t unix_ms,
                       uint64_t *seq)
{
    struct store_run run = o->run;
    int rc;

    *seq = o->seq;
    if (whole)
        run.seen_ms = unix_ms;
    rc = store_owned_write(o->store, &run, o->batch, num, again, seq);
    if (rc == 0)
        o->run.seen_ms = run.seen_ms;
    return rc;
}

/* A row that only had to make room stays in the database. */
static size_t take_pending(struct owned_rows *o, size_t most)
{
    size_t num = 0;

    for (size_t i = 0; i < most; i++) {
        struct store_owned *row = &o->batch[num];
        const struct pending *p = &o->pending[i];

        if (is_changed_again(o, i, most))
            continue;
        *row = (struct store_owned){.key = p->key, .gone = p->went};
        if (p->went && !o->loaded) /* it may have been put back meanwhile */
            registry_take_back(o->registry, p->key);
        if (p->went || registry_by_key(o->registry, p->key, &row->row))
            num++;
    }
    return num;
}

static int write_pending(struct owned_rows *o, uint64_t now_ms, int64_t unix_ms)
{
    size_t most = o->num < STORE_OWNED_BATCH ? o->num : STORE_OWNED_BATCH;
    size_t num = take_pending(o, most), rest = o->num - most;
    uint64_t seq;
    int rc = write_batch(o, num, false, rest == 0 && !o->scanning, unix_ms, &seq);

    if (rc != 0)
        return rc;
    memmove(o->pending, o->pending + most, rest * sizeof(o->pending[0]));
    o->num = rest;
    note_written(o, seq, now_ms);
    return 0;
}

static size_t take_scanned(struct owned_rows *o, uint32_t *at)
{
    uint32_t end = registry_num_rows(o->registry);
    size_t num = 0;

    if (end - *at > SCAN_ROWS)
        end = *at + SCAN_ROWS;
    for (; *at < end && num < STORE_OWNED_BATCH; ++*at) {
        struct store_owned *row = &o->batch[num];

        row->gone = false;
        if (!registry_row_at(o->registry, *at, &row->row))
            continue;
        row->key = registry_key(row->row.kind, row->row.account, row->row.native);
        num++;
    }
    return num;
}

static int write_scan(struct owned_rows *o, uint64_t now_ms, int64_t unix_ms)
{
    uint32_t at = o->scan_at;
    size_t num = take_scanned(o, &at);
    bool last = at == registry_num_rows(o->registry);
    uint64_t seq = o->seq;
    int rc = num > 0 || last ? write_batch(o, num, true, last, unix_ms, &seq) : 0;

    if (rc != 0)
        return rc;
    o->scan_at = at;
    o->scanning = !last;
    note_written(o, seq, now_ms);
    return 0;
}

static int write_some(struct owned_rows *o, uint64_t now_ms, int64_t unix_ms)
{
    uint64_t seq;
    int rc = 0;

    if (o->num > 0)
        return write_pending(o, now_ms, unix_ms);
    if (o->scanning)
        return write_scan(o, now_ms, unix_ms);
    if (o->written_ms == 0 || now_ms >= o->written_ms + BEAT_MS) {
        rc = write_batch(o, 0, false, true, unix_ms, &seq);
        if (rc == 0)
            note_written(o, o->seq, now_ms);
    }
    return rc;
}

/* ---- reading ---- */

struct taker {
    struct owned_rows *o;
    int64_t now_s;
};

static int on_row(void *arg, const struct store_owned *row)
{
    struct taker *t = arg;
    struct registry *registry = t->o->registry;

    if (row->gone)
        registry_take_back(registry, row->key);
    else if (!has_gone(t->o, row->key))
        (void)registry_put_back(registry, &row->row, t->now_s);
    return 0;
}

static int set_gaps(struct owned_rows *o)
{
    int64_t behind_s = o->gaps.behind_unix_s;
    int rc = store_owned_gaps(o->store, &o->gaps);

    o->gaps.behind_unix_s = behind_s;
    if (rc == 0)
        registry_set_gaps(o->registry, &o->gaps);
    return rc;
}

/* Another process looked at the providers, and found nothing that is not known. */
static int close_gaps(struct owned_rows *o)
{
    int rc;

    if (!o->loaded || (o->gaps.since_unix_s == 0 && o->gaps.lost_until_unix_s == 0) ||
        !registry_gaps_are_closed(o->registry, &o->gaps))
        return 0;
    rc = store_owned_close(o->store, &o->gaps);
    if (rc == 0)
        log_info("files of tenants: the lists of the providers have none that is not known");
    return rc == 0 ? set_gaps(o) : rc;
}

static int load_some(struct owned_rows *o, int64_t unix_ms)
{
    struct taker taker = {o, unix_ms / 1000};
    bool first = o->behind == INT64_MIN, more;
    uint64_t seq;
    int rc = store_owned_load(o->store, &o->behind, unix_ms, &seq, &more, on_row, &taker);

    if (rc == 0 && first)
        o->seq = seq;
    if (rc != 0 || more)
        return rc;
    rc = set_gaps(o);
    if (rc == 0 && !o->told)
        log_info("files of tenants: those that the database has are known");
    if (rc == 0)
        o->loaded = o->told = true;
    return rc;
}

/* The database was put back from a copy: what it has is read again, and what we have written. */
static void start_again(struct owned_rows *o)
{
    log_warn("files of tenants: the database is an older one; what is known here is written again");
    o->begun = o->loaded = false;
    o->behind = INT64_MIN;
    start_scan(o);
}

static int follow_some(struct owned_rows *o, int64_t unix_ms, bool *more)
{
    struct taker taker = {o, unix_ms / 1000};
    int rc = store_owned_follow(o->store, &o->seq, more, on_row, &taker);

    if (rc == ERR_NOT_FOUND) {
        start_again(o);
        rc = 0;
        *more = true;
    }
    return rc;
}

static void set_behind(struct owned_rows *o, int64_t behind_s)
{
    if ((o->gaps.behind_unix_s != 0) == (behind_s != 0))
        return;
    o->gaps.behind_unix_s = behind_s;
    registry_set_gaps(o->registry, &o->gaps);
}

/* Without the database nobody knows what other nodes are told. */
static void note_read(struct owned_rows *o, int rc, uint64_t now_ms, int64_t unix_ms)
{
    if (rc == 0) {
        o->read_ms = now_ms;
        set_behind(o, 0);
    } else if (o->told && store_is_shared(o->store) && now_ms > o->read_ms + BEHIND_MS) {
        set_behind(o, (unix_ms - (int64_t)(now_ms - o->read_ms)) / 1000);
    }
}

/* ---- steps ---- */

static int begin(struct owned_rows *o)
{
    int rc;

    if (o->begun)
        return 0;
    rc = store_owned_begin(o->store, &o->run);
    o->begun = rc == 0;
    return rc;
}

static int tend(struct owned_rows *o, uint64_t now_ms, int64_t unix_ms)
{
    int rc;

    if (!o->loaded || now_ms < o->tended_ms + TEND_MS)
        return 0;
    o->tended_ms = now_ms;
    rc = store_owned_tend(o->store, &o->run, unix_ms);
    return rc == 0 ? set_gaps(o) : rc;
}

uint32_t owned_rows_step(struct owned_rows *o, uint64_t now_ms, int64_t unix_ms)
{
    bool more = false;
    int rc;

    if (owned_rows_have_gone(o) && !follow_again(o))
        return OWNED_ROWS_EVERY_MS;
    collect(o); /* also while the database is down: the registry keeps some thousands only */
    rc = begin(o);
    if (rc == 0)
        rc = o->loaded ? follow_some(o, unix_ms, &more) : load_some(o, unix_ms);
    note_read(o, rc, now_ms, unix_ms);
    if (rc == 0)
        rc = write_some(o, now_ms, unix_ms);
    if (rc == 0)
        rc = close_gaps(o);
    if (rc == 0)
        rc = tend(o, now_ms, unix_ms);
    more = more || !o->loaded || o->num > 0 || o->scanning;
    return rc == 0 && more ? 0 : OWNED_ROWS_EVERY_MS;
}

void owned_rows_end(struct owned_rows *o, int64_t unix_ms)
{
    if (owned_rows_have_gone(o) || !owned_rows_are_kept(o))
        return;
    o->run.seen_ms = unix_ms;
    if (store_owned_end(o->store, &o->run) != 0)
        log_warn("files of tenants: the database does not know that this gateway has ended well");
}
