/* The prober: one process of each generation beside its workers. It probes the accounts (probes.c),
 * follows batches that nobody polls (watch.c), fills an empty ledger (recovery.c), counts files
 * (file_count.c), looks at batches that are due in the fleet (due.c), finds models that end (endings.c), fetches tokens (token_fetch.c) and sweeps uploads in parts that have expired
 * (parts/parts.h). Here its process lives: loop, signals,
 * heartbeat. */
#include "upkeep/prober.h"

#include <errno.h>
#include <h2o/socket.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/log_out.h"
#include "journal/journal.h"
#include "tenants/ask.h"
#include "upstream/client.h"
#include "due.h"
#include "file_count.h"
#include "gaps.h"
#include "endings.h"
#include "upkeep.h"
#include "core/loop_h2o.h"
#include "parts/parts.h"
#include "probes.h"
#include "recovery.h"
#include "token_fetch.h"
#include "watch.h"

#define BEAT_MS  1000
#define SWEEP_MS 10000 /* between two looks for uploads in parts that have expired */

struct prober {
    struct upkeep upkeep; /* the ground of all that it does */
    struct loop_timer beat, sweep;
    int signal_fd;
    bool stopping;
};

static void on_beat(struct loop_timer *timer)
{
    struct prober *p = timer->arg;

    atomic_store(&p->upkeep.rt.inherited->shared->slots[p->upkeep.rt.slot].beat_ms,
                 loop_now_ms(p->upkeep.rt.loop));
    (void)log_out_look();
    (void)loop_timer_start(p->upkeep.rt.loop, timer,
                           BEAT_MS); /* cannot fail: its slot was just freed */
}

static void on_sweep(struct loop_timer *timer)
{
    struct prober *p = timer->arg;

    parts_sweep(p->upkeep.rt.inherited, p->upkeep.rt.loop, clock_unix_s());
    (void)loop_timer_start(p->upkeep.rt.loop, timer, SWEEP_MS); /* its slot was just freed */
}

static void on_signal(void *arg)
{
    struct prober *p = arg;
    struct signalfd_siginfo info;

    if (read(p->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        p->stopping = true; /* nobody waits for its calls: no need to drain */
}

static void on_master_gone(void *arg)
{
    ((struct prober *)arg)->stopping = true;
}

static int watch_signals(struct prober *p)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    p->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (p->signal_fd == -1)
        return ERR_IO;
    return loop_watch(p->upkeep.rt.loop, p->signal_fd, on_signal, p);
}

static int open_upstream(struct prober *p)
{
    const struct config *config = p->upkeep.rt.inherited->config;
    struct upstream_options options = {
        .allow_insecure = config->allow_insecure_upstream,
        .ca_file = config->upstream_ca_file,
        .proxy = secret_is_set(&config->upstream_proxy) ? config->upstream_proxy.data : NULL,
        .no_proxy = config->no_proxy,
        .connect_ms = config->timeouts.connect_ms,
        .low_speed_ms = config->timeouts.low_speed_ms,
        .lean = true};

    return upstream_new(p->upkeep.rt.loop, &options, &p->upkeep.rt.upstream);
}

/* The keeper hands out the batches that shall be watched. */
static int open_journal(struct runtime *rt)
{
    int ret;

    if (!rt->inherited->config->journal || rt->inherited->door == NULL)
        return 0;
    ret = ask_new(rt->loop, rt->inherited->door, rt->inherited->config->timeouts.database_ms,
                  &rt->ask);
    return ret == 0 ? journal_new(rt->loop, rt->ask, &rt->journal) : ret;
}

static int begin_upkeep(struct prober *p)
{
    int ret;

    if ((ret = token_fetch_start(&p->upkeep)) != 0 || (ret = probes_start(&p->upkeep)) != 0 ||
        (ret = due_start(&p->upkeep)) != 0 || (ret = recovery_start(&p->upkeep)) != 0 ||
        (ret = file_count_start(&p->upkeep)) != 0 || (ret = endings_start(&p->upkeep)) != 0 ||
        (ret = gaps_start(&p->upkeep)) != 0)
        return ret;
    return watch_start(&p->upkeep);
}

static int set_up(struct prober *p, h2o_evloop_t *evloop)
{
    int ret;

    p->upkeep.rt.loop = loop_h2o_new(evloop);
    if (p->upkeep.rt.loop == NULL)
        return ERR_NOMEM;
    if ((ret = watch_signals(p)) != 0 ||
        (ret = loop_watch(p->upkeep.rt.loop, p->upkeep.rt.inherited->master_fd, on_master_gone,
                          p)) != 0 ||
        (ret = open_upstream(p)) != 0 || (ret = open_journal(&p->upkeep.rt)) != 0 ||
        (ret = upkeep_init(&p->upkeep)) != 0)
        return ret;
    loop_h2o_turn(p->upkeep.rt.loop);
    on_beat(&p->beat);
    on_sweep(&p->sweep);
    return begin_upkeep(p);
}

int prober_run(const struct inherited *inherited, uint32_t slot)
{
    struct prober p = {.upkeep.rt = {.inherited = inherited, .slot = slot}};
    h2o_evloop_t *evloop = h2o_evloop_create();
    int ret;

    p.beat = (struct loop_timer){.cb = on_beat, .arg = &p};
    p.sweep = (struct loop_timer){.cb = on_sweep, .arg = &p};
    ret = set_up(&p, evloop);
    if (ret != 0) {
        log_error("cannot start: %s", err_str(ret));
        return 1;
    }
    while (!p.stopping)
        if (h2o_evloop_run(evloop, BEAT_MS) != 0 &&
            errno != EINTR) { /* a signal is no failure: front README 1.2 */
            log_error("event loop: %s", strerror(errno));
            return 1;
        }
    return 0; /* the caller leaves with _exit(): calls in flight end with the process */
}
