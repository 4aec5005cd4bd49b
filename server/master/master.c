/* See master.h. One loop over a signalfd: signals and the ends of children wake it, times of its
 * rows bound its sleep.
 *
 * A generation is STARTING until each of its workers has been through a turn of its loop, and only
 * then does the one before it drain: workers that cannot live never replace ones that do. */
#include "master/master.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/log_out.h"
#include "common/log_recent.h"
#include "common/shm.h"
#include "master/child.h"
#include "generation.h"
#include "keys.h"
#include "listener.h"
#include "loading.h"
#include "notify.h"
#include "place.h"
#include "core/keeper_door.h"
#include "core/key_sources.h"
#include "core/past.h"
#include "posture.h"
#include "regions.h"
#include "signals.h"
#include "tickets.h"
#include "upgrade.h"

#define LOOK_MS        1000  /* between two looks at the heartbeats */
#define START_LOOK_MS  10    /* the same while a generation is starting */
#define START_LIMIT_MS 10000 /* a generation whose workers are not ready by then is refused */
/* Workers end by themselves at the end of the grace; SIGKILL comes after it. On a busy machine they
 * may wait for their turn on a processor for seconds */
#define EXTRA_GRACE_MS 5000
#define LAST_LINES_MS  5000 /* for workers to write the lines of requests that are cut off */
#define KILL_WAIT_MS   2000 /* for children to vanish after SIGKILL */
/* Signals to end that come so soon after the first one are that one: timeout(1) sends one to the
 * process and one to its group */
#define ONE_STOP_MS    1000

struct row {
    struct child child;
    struct generation *gen; /* borrowed; NULL: the row is free */
};

struct master {
    const struct master_options *options; /* borrowed */
    struct generation_base base;
    struct generation *generations; /* owned, all of them */
    struct generation *serving;     /* NULL: none, or stopping */
    struct generation *starting;    /* NULL: none */
    uint64_t start_limit_ms;
    uint32_t last_number;
    uint32_t side;               /* whose rows are ours: handover.h */
    struct row rows[CHILD_ROWS]; /* of the rows of our side */
    struct life life;            /* ours */
    struct past past;
    bool shared;  /* the program before handed over what it knows of creates */
    int other_fd; /* the life of the program before or after us; -1: nobody of one is alive */
    int signal_fd;
    int alive_fd;      /* write end of the pipe whose EOF tells children that we are gone */
    pid_t upgrade_pid; /* 0: none */
    bool reload_wanted, upgrade_wanted; /* SIGHUP, SIGUSR2: kept until they can be carried out */
    bool stopping;
    uint64_t stop_ms;    /* when the first signal to end was read */
    bool cut_off;        /* something was ended that had not finished */
    uint64_t give_up_ms; /* 0: not yet; then we leave, whoever is left */
    uint64_t next_look_ms;
};

/* --- rows --- */

/* Its number among the rows of both sides. */
static uint32_t number_of(const struct master *m, uint32_t row)
{
    assert(row < CHILD_ROWS && m->side < SIDES);
    return m->side * CHILD_ROWS + row;
}

static struct worker_slot *slot_of(struct master *m, uint32_t row)
{
    return &m->base.shared->slots[number_of(m, row)];
}

static void name_row(const struct master *m, uint32_t row, char *text, size_t size)
{
    const struct child *c = &m->rows[row].child;

    snprintf(text, size, "%s %u (pid %d, generation %u)", c->role->name, number_of(m, row),
             (int)c->pid, c->generation);
}

static void forget_generation(struct master *m, struct generation *gen)
{
    for (struct generation **link = &m->generations; *link != NULL; link = &(*link)->next)
        if (*link == gen) {
            *link = gen->next;
            break;
        }
    generation_free(gen);
}

static bool is_current(const struct master *m, const struct generation *gen)
{
    return gen == m->serving || gen == m->starting;
}

static void row_free(struct master *m, uint32_t row)
{
    struct row *p = &m->rows[row];
    struct generation *gen = p->gen;

    assert(gen != NULL && gen->num_rows > 0);
    p->gen = NULL;
    p->child = (struct child){0};
    if (--gen->num_rows == 0 && !is_current(m, gen))
        forget_generation(m, gen);
}

static uint32_t find_free_row(const struct master *m)
{
    uint32_t row = 0;

    while (row < CHILD_ROWS && m->rows[row].gen != NULL)
        row++;
    return row;
}

static unsigned count_free_rows(const struct master *m)
{
    unsigned num = 0;

    for (uint32_t row = 0; row < CHILD_ROWS; row++)
        num += m->rows[row].gen == NULL;
    return num;
}

static bool any_child(const struct master *m)
{
    for (uint32_t row = 0; row < CHILD_ROWS; row++)
        if (m->rows[row].child.pid != 0)
            return true;
    return false;
}

/* --- starting children --- */

/* Descriptors that only the master needs: ours, the locks on places, and the sockets of other
 * generations. The prober needs none, and the keeper alone the door. */
static size_t list_closes(const struct master *m, const struct row *p, int *fds, size_t max)
{
    size_t num = 0;

    fds[num++] = m->signal_fd;
    fds[num++] = m->alive_fd;
    if (m->other_fd != -1)
        fds[num++] = m->other_fd;
    if (m->base.door != NULL && p->child.role != m->options->keeper)
        fds[num++] = m->base.door->listen_fd;
    for (const struct generation *g = m->generations; g != NULL && num + 1 < max; g = g->next) {
        if (g == p->gen && p->child.role->is_worker)
            continue;
        if (g->inherited.listen_fd != -1)
            fds[num++] = g->inherited.listen_fd;
        if (g->inherited.health_fd != -1)
            fds[num++] = g->inherited.health_fd;
    }
    return num + place_list(fds + num);
}

static void row_start(struct master *m, uint32_t row, uint64_t now_ms)
{
    struct row *p = &m->rows[row];
    int fds[4 + 2 * CHILD_ROWS + PLACES]; /* each generation but the newest holds a row */
    struct child_closes closes = {.fds = fds, .num = list_closes(m, p, fds, 4 + CHILD_ROWS)};
    uint32_t wait_ms;

    assert(p->gen != NULL && p->child.pid == 0);
    if (child_spawn(&p->child, number_of(m, row), &p->gen->inherited, &closes, now_ms) == 0) {
        log_debug("%s %u started, pid %d", p->child.role->name, number_of(m, row),
                  (int)p->child.pid);
        return;
    }
    wait_ms = child_wait_ms(&p->child.fast_ends, now_ms, now_ms);
    p->child.phase = CHILD_WAITING;
    p->child.restart_ms = now_ms + (wait_ms > CHILD_FIRST_WAIT_MS ? wait_ms : CHILD_FIRST_WAIT_MS);
    log_error("cannot fork %s %u: %s", p->child.role->name, number_of(m, row), strerror(errno));
}

static void add_child(struct master *m, struct generation *gen, const struct child_role *role,
                      uint64_t now_ms)
{
    uint32_t row = find_free_row(m);

    assert(row < CHILD_ROWS); /* they were counted before the generation began */
    m->rows[row].gen = gen;
    m->rows[row].child = (struct child){.role = role};
    gen->num_rows++;
    row_start(m, row, now_ms);
}

static unsigned num_workers_of(const struct generation *gen)
{
    return gen->config->num_workers > 0 ? (unsigned)gen->config->num_workers : 1;
}

static void start_children(struct master *m, struct generation *gen, uint64_t now_ms)
{
    unsigned workers = num_workers_of(gen);

    for (unsigned i = 0; i < workers; i++)
        add_child(m, gen, m->options->worker, now_ms);
    add_child(m, gen, m->options->prober, now_ms);
    if (key_sources_need_keeper(gen->config))
        add_child(m, gen, m->options->keeper, now_ms);
}

/* --- ending children --- */

static void row_kill(struct master *m, uint32_t row)
{
    struct child *c = &m->rows[row].child;

    if (c->pid == 0)
        return;
    kill(c->pid, SIGKILL);
    c->deadline_ms = 0;
    m->cut_off = m->cut_off || (m->stopping && c->role->is_worker);
}

/* SIGTERM once: a worker takes a second one for "now". */
static void row_tell_to_leave(struct master *m, uint32_t row, uint64_t now_ms)
{
    struct row *p = &m->rows[row];
    uint64_t deadline_ms = now_ms + p->gen->config->timeouts.shutdown_grace_ms + EXTRA_GRACE_MS;

    if (p->child.phase == CHILD_WAITING) {
        row_free(m, row);
        return;
    }
    if (p->child.phase == CHILD_LEAVING)
        return;
    p->child.phase = CHILD_LEAVING;
    p->child.deadline_ms = deadline_ms;
    kill(p->child.pid, SIGTERM);
}

/* The master's own copy of the socket goes at once, so that the port is free when the last worker
 * has closed its own. */
static void generation_leave(struct master *m, struct generation *gen, uint64_t now_ms)
{
    generation_close_listener(gen);
    for (uint32_t row = 0; row < CHILD_ROWS; row++)
        if (m->rows[row].gen == gen)
            row_tell_to_leave(m, row, now_ms);
}

static void stop(struct master *m, const char *why, uint64_t now_ms)
{
    m->stopping = true;
    m->stop_ms = now_ms;
    place_keep_all();
    m->serving = NULL;
    m->starting = NULL;
    for (struct generation *gen = m->generations, *next; gen != NULL; gen = next) {
        next = gen->next; /* a generation whose rows all wait goes with the last one */
        generation_leave(m, gen, now_ms);
    }
    if (m->upgrade_pid == 0) /* else the new program is the service */
        notify_stopping();
    log_info("%s: draining", why);
}

/* Workers write the lines of what they cut off, which takes them a turn; all others go at once. */
static void row_end_now(struct master *m, uint32_t row, uint64_t now_ms)
{
    struct child *c = &m->rows[row].child;

    if (c->pid == 0 || !c->role->is_worker) {
        row_kill(m, row);
        return;
    }
    kill(c->pid, SIGTERM);
    c->deadline_ms = now_ms + LAST_LINES_MS;
    m->cut_off = true;
}

static void stop_now(struct master *m, const char *why, uint64_t now_ms)
{
    atomic_store(&m->base.shared->ends_now, 1);
    for (uint32_t row = 0; row < CHILD_ROWS; row++)
        row_end_now(m, row, now_ms);
    if (m->give_up_ms == 0)
        m->give_up_ms = now_ms + LAST_LINES_MS + KILL_WAIT_MS;
    log_warn("%s again: ending now", why);
}

/* --- generations --- */

/* The program before keeps its record until we serve. */
static void begin_past(struct master *m, const struct generation *gen, bool first, uint64_t now_ms)
{
    if (!first || !upgrade_is_successor())
        past_take(&m->past, gen->config, m->base.idem, false, now_ms);
    else if (!m->shared)
        past_unshared(gen->config, m->base.idem, now_ms);
}

/* Before the program before is told to end: one of the two records says that somebody runs. */
static void take_past_over(struct master *m, uint64_t now_ms)
{
    if (m->serving != NULL || !upgrade_is_successor())
        return;
    past_take(&m->past, m->starting->config, m->base.idem, true, now_ms);
    if (!m->shared)
        past_unshared(m->starting->config, m->base.idem, now_ms);
}

static int refuse_start(struct loading_fault *fault, const char *error, int ret)
{
    log_error("%s", error);
    snprintf(fault->text, sizeof(fault->text), "%.*s", PROBLEM_BYTES - 1, error);
    return ret;
}

static int generation_start(struct master *m, bool first, struct loading_fault *fault)
{
    struct config *config = NULL;
    struct generation *gen;
    char error[512];
    int ret = loading_config(m->options, first, &config, fault);

    if (ret != 0)
        return ret;
    ret = generation_new(&m->base, &config, m->serving, m->last_number + 1, &gen, error,
                         sizeof(error));
    if (ret != 0)
        return refuse_start(fault, error, ret);
    if (count_free_rows(m) < num_workers_of(gen) + 2) {
        generation_free(gen);
        return refuse_start(fault, "too many workers of earlier generations are still draining",
                            ERR_FULL);
    }
    ret = keys_publish(gen, error, sizeof(error));
    if (ret != 0) {
        generation_free(gen);
        return refuse_start(fault, error, ret);
    }
    if (first && (ret = generation_become_user(gen, error, sizeof(error))) != 0) {
        generation_free(gen);
        return refuse_start(fault, error, ret);
    }
    loading_warn(gen->config, m->options->config_path);
    m->next_look_ms = clock_now_ms(); /* all that was before may have taken long */
    begin_past(m, gen, first, m->next_look_ms);
    m->last_number++;
    gen->next = m->generations;
    m->generations = gen;
    m->starting = gen;
    start_children(m, gen, m->next_look_ms);
    m->start_limit_ms = clock_now_ms() + START_LIMIT_MS;
    return 0;
}

static void reload(struct master *m)
{
    struct loading_fault fault = {0};

    m->reload_wanted = false;
    notify_reloading();
    log_info("SIGHUP: loading the configuration");
    if (generation_start(m, false, &fault) != 0) {
        loading_publish(m->base.shared, &fault);
        notify_ready(m->serving->inherited.generation);
        log_error("the new configuration is refused, generation %u keeps serving",
                  m->serving->inherited.generation);
        return;
    }
    generation_tell_listening(m->starting, m->serving);
}

/* The first generation has nothing to fall back on: then the program ends. */
static void generation_refuse(struct master *m, const char *why, uint64_t now_ms)
{
    struct generation *gen = m->starting;
    struct loading_fault fault = {0};
    uint32_t number;

    assert(gen != NULL && gen != m->serving);
    m->starting = NULL;
    if (m->serving == NULL) {
        m->cut_off = true;
        stop(m, "no worker", now_ms);
        log_error("cannot start: %s", why);
        return;
    }
    snprintf(fault.text, sizeof(fault.text), "%s", why);
    loading_publish(m->base.shared, &fault);
    number = gen->inherited.generation;
    generation_leave(m, gen, now_ms);
    keys_hand_back(m->serving);
    notify_ready(m->serving->inherited.generation);
    log_error("generation %u is refused, %s; generation %u keeps serving", number, why,
              m->serving->inherited.generation);
}

static void generation_promote(struct master *m, uint64_t now_ms)
{
    struct generation *old = m->serving, *gen = m->starting;
    struct strbuf served = STRBUF_INIT;
    bool took_over;

    assert(gen != NULL && gen != old);
    take_past_over(m, now_ms);
    m->starting = NULL;
    m->serving = gen;
    log_set_level((enum log_level)gen->config->log_level);
    log_out_set_level(-1); /* what a signal said held until now */
    atomic_store(&m->base.shared->reload_failed, 0);
    if (old != NULL)
        atomic_store(&m->base.shared->reload.at_unix_s, clock_unix_s());
    if (!key_sources_need_keeper(gen->config))
        problem_clear(&m->base.shared->keys_problem);
    if (old != NULL)
        generation_leave(m, old, now_ms);
    place_sign(gen->place);
    took_over = upgrade_finish();
    config_count(&gen->config->models, &served);
    log_info("generation %u serves: %u workers, %s", gen->inherited.generation, num_workers_of(gen),
             strbuf_str(&served));
    strbuf_deinit(&served);
    notify_ready(gen->inherited.generation);
    if (took_over)
        log_info("upgrade: took over from the previous program");
}

static bool workers_are_ready(struct master *m, const struct generation *gen)
{
    for (uint32_t row = 0; row < CHILD_ROWS; row++)
        if (m->rows[row].gen == gen && m->rows[row].child.role->is_worker &&
            (m->rows[row].child.phase != CHILD_RUNNING ||
             atomic_load(&slot_of(m, row)->beat_ms) == 0))
            return false;
    return true;
}

static void check_starting(struct master *m, uint64_t now_ms)
{
    if (m->starting == NULL)
        return;
    if (workers_are_ready(m, m->starting))
        generation_promote(m, now_ms);
    else if (m->serving != NULL &&
             now_ms >= m->start_limit_ms) /* the first one has time: nobody waits behind it */
        generation_refuse(m, "its workers are not ready in time", now_ms);
}

/* --- what happens to children --- */

static void row_replace(struct master *m, uint32_t row, const char *name, const char *how,
                        uint64_t in_flight, uint64_t now_ms)
{
    struct child *c = &m->rows[row].child;
    uint32_t wait_ms = child_wait_ms(&c->fast_ends, c->started_ms, now_ms);

    assert(c->phase == CHILD_RUNNING);
    atomic_fetch_add(&m->base.shared->restarts, 1);
    c->pid = 0;
    c->phase = CHILD_WAITING;
    c->restart_ms = now_ms + wait_ms;
    if (wait_ms == 0)
        row_start(m, row, now_ms);
    log_error("%s ended: %s; %llu calls in flight returned; next one in %u ms", name, how,
              (unsigned long long)in_flight, wait_ms);
}

/* A worker that leaves by itself before its first turn says that it cannot live; one that is killed
 * was only unlucky. */
static bool failed_to_start(const struct master *m, const struct row *p, uint64_t beat_ms,
                            int wait_status)
{
    return p->gen == m->starting && p->child.role->is_worker && beat_ms == 0 &&
           WIFEXITED(wait_status);
}

static void on_child_end(struct master *m, uint32_t row, int wait_status, uint64_t now_ms)
{
    struct row *p = &m->rows[row];
    uint64_t in_flight = state_clear_worker(p->gen->inherited.state, number_of(m, row));
    struct quota_undone undone =
        quota_undo_holder(p->gen->inherited.quota, number_of(m, row), now_ms);
    uint32_t lost = idem_undo_holder(m->base.idem, number_of(m, row));
    uint64_t beat_ms = atomic_load(&slot_of(m, row)->beat_ms);
    char name[96], how[CHILD_END_SIZE];

    name_row(m, row, name, sizeof(name));
    child_describe_end(wait_status, how, sizeof(how));
    (void)unsent_bury(&m->base.shared->unsent[number_of(m, row)]); /* the keeper tells of them */
    reading_clear(&m->base.shared->reading[number_of(m, row)]);
    meters_clear_holder(m->base.meters, number_of(m, row));
    entra_tokens_clear_holder(m->base.entra_tokens, number_of(m, row));
    (void)quota_repair(p->gen->inherited.quota, NULL); /* again at each look, if it was not all */
    if (undone.orphans > 0)
        log_warn("%s died with %u batch creates in flight, outcome unknown (orphaned reservations)",
                 name, undone.orphans);
    if (lost > 0)
        log_warn("%s died with %u idempotent requests unanswered: a repeat of one is looked for "
                 "upstream first",
                 name, lost);
    atomic_store(&slot_of(m, row)->pid, 0);
    atomic_store(&slot_of(m, row)->connections, 0);
    atomic_store(&slot_of(m, row)->spool_bytes, 0);
    if (p->child.phase == CHILD_LEAVING) {
        log_debug("%s has left: %s", name, how);
        row_free(m, row);
    } else if (failed_to_start(m, p, beat_ms, wait_status)) {
        log_error("%s ended before it was ready: %s", name, how);
        row_free(m, row);
        generation_refuse(m, "a worker cannot start", now_ms);
    } else {
        row_replace(m, row, name, how, in_flight, now_ms);
    }
}

static void on_upgrade_end(struct master *m, int wait_status)
{
    char how[CHILD_END_SIZE];

    child_describe_end(wait_status, how, sizeof(how));
    log_error("upgrade: the new program ended: %s; this one keeps serving", how);
    m->upgrade_pid = 0;
}

static void reap(struct master *m, uint64_t now_ms)
{
    int wait_status;
    pid_t pid;

    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        if (pid == m->upgrade_pid)
            on_upgrade_end(m, wait_status);
        for (uint32_t row = 0; row < CHILD_ROWS; row++)
            if (m->rows[row].child.pid == pid) {
                on_child_end(m, row, wait_status, now_ms);
                break;
            }
    }
}

static void check_row(struct master *m, uint32_t row, bool look, uint64_t now_ms)
{
    struct child *c = &m->rows[row].child;
    char name[96];

    if (c->phase == CHILD_WAITING && now_ms >= c->restart_ms) {
        row_start(m, row, now_ms);
        return;
    }
    if (c->pid == 0)
        return;
    /* Another one first, and room for a reload stays: until then the wish stands. */
    if (m->serving != NULL && count_free_rows(m) > num_workers_of(m->serving) + 2 &&
        atomic_exchange(&slot_of(m, row)->relieve, 0) != 0 && c->phase == CHILD_RUNNING &&
        m->rows[row].gen == m->serving) {
        add_child(m, m->serving, m->options->worker, now_ms);
        row_tell_to_leave(m, row, now_ms);
    }
    name_row(m, row, name, sizeof(name));
    if (c->phase == CHILD_LEAVING && c->deadline_ms != 0 && now_ms >= c->deadline_ms) {
        row_kill(m, row);
        log_warn("%s did not end within its grace period: killed", name);
    } else if (look &&
               child_pulse_is_still(&c->pulse, atomic_load(&slot_of(m, row)->beat_ms), now_ms)) {
        child_pulse_start(&c->pulse, now_ms);
        row_kill(m, row);
        log_error("%s: no heartbeat for %d s: killed", name, CHILD_STILL_MS / 1000);
    }
}

/* Leases end, and what a killed process left half done is put right. Generations that share their
 * regions are looked after once. */
static void keep_ledgers(struct master *m, uint64_t now_ms)
{
    const struct quota *last = NULL;

    for (struct generation *g = m->generations; g != NULL; g = g->next) {
        uint32_t repaired = 0;
        struct quota_expired ended;

        if (g->inherited.quota == last)
            continue;
        last = g->inherited.quota;
        ended = quota_expire(g->inherited.quota, MASTER_ROW(m->side), now_ms);
        (void)quota_repair(g->inherited.quota, &repaired);
        if (ended.leases > 0)
            log_info("quota: %u reservations expired: their batches were not seen to end",
                     ended.leases);
        if (ended.orphans > 0)
            log_info("quota: %u creates of unknown outcome were not found in %u minutes: their "
                     "tokens are released",
                     ended.orphans, QUOTA_ORPHAN_KEEP_MS / 60000);
        if (repaired > 0)
            log_info("quota: corrected the token sums of %u deployments", repaired);
    }
}

static void check_rows(struct master *m, uint64_t now_ms)
{
    bool look = now_ms >= m->next_look_ms;

    for (uint32_t row = 0; row < CHILD_ROWS; row++)
        if (m->rows[row].gen != NULL)
            check_row(m, row, look, now_ms);
    if (look) {
        m->next_look_ms = now_ms + LOOK_MS;
        keep_ledgers(m, now_ms);
        regions_keep_tokens(&m->base, m->generations, m->side);
        log_tell_lost();
        if (!m->stopping)
            notify_alive();
        tickets_rotate(m->base.tickets, now_ms);
    }
}

/* --- the loop --- */

/* The write end of its life is the new program's alone from here on. */
static int start_successor(struct master *m)
{
    const struct config *config = m->serving->config;
    struct handover_offer offer = {.side = 1 - m->side, .own_life = m->life.watched};
    const int fds[] = {[UPGRADE_CLIENTS] = m->serving->inherited.listen_fd,
                       [UPGRADE_HEALTH] = m->serving->inherited.health_fd};
    const int ports[] = {[UPGRADE_CLIENTS] = config->port, [UPGRADE_HEALTH] = config->health_port};
    pid_t pid;

    if (life_new(&offer.life) != 0)
        return ERR_IO;
    regions_offer(&m->base, &offer);
    generation_offer(m->serving, &offer);
    pid = upgrade_start(fds, config->host, ports, &offer);
    if (pid < 0) {
        life_close(&offer.life);
        return ERR_IO;
    }
    close(offer.life.held);
    m->other_fd = offer.life.watched;
    m->upgrade_pid = pid;
    return 0;
}

static void upgrade(struct master *m)
{
    m->upgrade_wanted = false;
    if (getpid() == 1) {
        log_warn("SIGUSR2: the first process of a container cannot be replaced, its end is the "
                 "container's");
        return;
    }
    if (start_successor(m) != 0)
        log_error("upgrade: cannot start: %s", strerror(errno));
    else
        log_info("SIGUSR2: new program started, pid %d", (int)m->upgrade_pid);
}

/* What was asked for while it could not be done: while a generation is starting, or a new program,
 * or while the program before this one still drains, since two programs have rows and no third.
 * Nothing is asked for in vain, and nothing is done by halves. */
static void carry_out(struct master *m)
{
    if (m->stopping || m->starting != NULL || m->upgrade_pid != 0)
        return;
    if (m->reload_wanted)
        reload(m);
    else if (m->upgrade_wanted && m->other_fd == -1)
        upgrade(m);
}

/* The new program serves. What was kept here is for it. */
static void pass_on_signals(const struct master *m)
{
    if (m->reload_wanted)
        kill(m->upgrade_pid, SIGHUP);
    if (m->upgrade_wanted)
        kill(m->upgrade_pid, SIGUSR2);
}

static void on_end_signal(struct master *m, const struct signalfd_siginfo *info, uint64_t now_ms)
{
    char name[32];

    if (m->upgrade_pid != 0 && info->ssi_pid == (uint32_t)m->upgrade_pid)
        pass_on_signals(m);
    snprintf(name, sizeof(name), "SIG%s", sigabbrev_np((int)info->ssi_signo));
    if (!m->stopping)
        stop(m, name, now_ms);
    else if (now_ms >= m->stop_ms + ONE_STOP_MS)
        stop_now(m, name, now_ms);
}

static void on_signal(struct master *m, const struct signalfd_siginfo *info, uint64_t now_ms)
{
    switch (info->ssi_signo) {
    case SIGTERM:
    case SIGINT:
    case SIGQUIT:
        on_end_signal(m, info, now_ms);
        break;
    case SIGHUP:
        m->reload_wanted = true;
        break;
    case SIGUSR1:
        signals_reopen_logs();
        break;
    case SIGUSR2:
        m->upgrade_wanted = true;
        break;
    default: /* SIGCHLD: reap() looks for itself, as signals of one kind merge */
        break;
    }
}

static void read_signals(struct master *m, uint64_t now_ms)
{
    struct signalfd_siginfo info;

    while (read(m->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (!signals_take_level(info.ssi_signo))
            on_signal(m, &info, now_ms);
}

static uint64_t next_wake_ms(const struct master *m)
{
    uint64_t at_ms = m->next_look_ms;

    for (uint32_t row = 0; row < CHILD_ROWS; row++) {
        const struct child *c = &m->rows[row].child;

        if (c->phase == CHILD_WAITING && c->restart_ms < at_ms)
            at_ms = c->restart_ms;
        if (c->phase == CHILD_LEAVING && c->deadline_ms != 0 && c->deadline_ms < at_ms)
            at_ms = c->deadline_ms;
    }
    return at_ms;
}

static int poll_timeout_ms(const struct master *m, uint64_t now_ms)
{
    uint64_t at_ms = next_wake_ms(m);
    uint64_t wait_ms = at_ms > now_ms ? at_ms - now_ms : 0;

    if (m->starting != NULL && wait_ms > START_LOOK_MS)
        wait_ms = START_LOOK_MS;
    return wait_ms < LOOK_MS ? (int)wait_ms : LOOK_MS;
}

static bool is_finished(const struct master *m, uint64_t now_ms)
{
    if (!m->stopping)
        return false;
    return !any_child(m) || (m->give_up_ms != 0 && now_ms >= m->give_up_ms);
}

/* Its rows are free from here on, and columns that it bound are ours again. */
static void on_other_gone(struct master *m, uint64_t now_ms)
{
    close(m->other_fd);
    m->other_fd = -1;
    regions_clear_side(&m->base, m->generations, 1 - m->side, now_ms);
    if (!m->stopping && m->serving != NULL)
        generation_rebind(m->serving);
}

static void wait_for_news(struct master *m, uint64_t now_ms)
{
    struct pollfd wait[] = {{.fd = m->signal_fd, .events = POLLIN},
                            {.fd = m->other_fd, .events = POLLIN}}; /* -1 is passed over */

    if (poll(wait, 2, poll_timeout_ms(m, now_ms)) == -1) {
        if (errno != EINTR)
            log_error("poll: %s", strerror(errno));
        return;
    }
    if (wait[1].revents != 0)
        on_other_gone(m, clock_now_ms());
}

static void run(struct master *m)
{
    uint64_t now_ms = clock_now_ms();

    while (!is_finished(m, now_ms)) {
        wait_for_news(m, now_ms);
        now_ms = clock_now_ms();
        read_signals(m, now_ms);
        reap(m, now_ms);
        check_starting(m, now_ms);
        carry_out(m);
        check_rows(m, now_ms);
    }
}

/* Which rows are ours, and who else lives. */
static int take_side(struct master *m)
{
    m->side = handover_side();
    handover_take_lives(&m->life, &m->other_fd);
    handover_take_seal(&m->base.fallback_seal);
    return m->life.held == -1 ? life_new(&m->life) : 0;
}

static int open_all(struct master *m)
{
    int ends[2];

    m->base.started_ms = clock_now_ms();
    m->base.shared = shm_new(sizeof(*m->base.shared));
    m->signal_fd = signals_open();
    if (m->base.shared == NULL || m->signal_fd == -1 || take_side(m) != 0 ||
        regions_open(&m->base, &m->shared) != 0 ||
        tickets_new(m->base.started_ms, &m->base.tickets) != 0 ||
        pipe2(ends, O_CLOEXEC | O_NONBLOCK) == -1) {
        log_error("cannot start: %s", strerror(errno));
        return ERR_IO;
    }
    m->base.shared->creates_known_unix_s =
        clock_unix_s() - (int64_t)((clock_now_ms() - idem_since_ms(m->base.idem)) / 1000);
    m->base.master_fd = ends[0];
    m->alive_fd = ends[1];
    return 0;
}

static void close_fd(int fd)
{
    if (fd != -1)
        close(fd);
}

static void close_all(struct master *m)
{
    while (m->generations != NULL)
        forget_generation(m, m->generations);
    place_end_all();
    secret_clear(&m->base.fallback_seal);
    keys_close_door(&m->base);
    close_fd(m->signal_fd);
    close_fd(m->alive_fd);
    close_fd(m->other_fd);
    life_close(&m->life);
    handover_end();
    close_fd(m->base.master_fd);
    tickets_free(m->base.tickets);
    regions_close(&m->base);
    shm_free(m->base.shared, sizeof(*m->base.shared));
}

int master_run(const struct master_options *options)
{
    struct master *m = calloc(1, sizeof(*m));
    struct loading_fault fault = {0};
    int code = 1;

    if (m == NULL)
        return 1;
    m->options = options;
    m->signal_fd = m->alive_fd = m->base.master_fd = m->other_fd = -1;
    m->life = (struct life)LIFE_NONE;
    log_set_process("master");
    if (log_out_init() != 0 || log_recent_init() != 0)
        log_warn("the log may wait for its reader: %s", strerror(errno));
    posture_init();
    upgrade_init(options->argv);
    notify_init(upgrade_is_successor());
    posture_raise_descriptors();
    if (open_all(m) == 0 && generation_start(m, true, &fault) == 0) {
        /* Of another layout, or not needed: gone before anybody is upgraded again */
        handover_end();
        generation_tell_listening(m->starting, NULL);
        run(m);
        past_end(&m->past, m->base.idem, !any_child(m), clock_now_ms());
        code = m->cut_off ? 1 : 0;
        log_info("stopped");
    }
    close_all(m);
    free(m);
    return code;
}
