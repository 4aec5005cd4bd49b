/* The prober: one process that asks every account once a minute for its newest batch (`limit=1`),
 * which needs the address, the version and the credential to be right and costs nothing. What it
 * finds stands in the probe words of all deployments of the account; workers and /health only read.
 * It never touches a breaker: those learn from real work.
 *
 * The same process looks after what workers share: watch.c follows batches that nobody polls,
 * rebuild.c fills an empty ledger, file_count.c counts files, endings.c finds models that end.
 *
 * The first round begins at once, a few milliseconds between two accounts; later ones drift apart
 * by a random part of the period. An account that never answers takes one of the eight probes that
 * may be in flight for as long as its call may take, no longer. */
#include "upkeep/prober.h"

#include <assert.h>
#include <errno.h>
#include <h2o/socket.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/clock.h"
#include "json/json.h"
#include "common/log.h"
#include "upstream/client.h"
#include "upstream/normal.h"
#include "calls/attempt.h"
#include "file_count.h"
#include "endings.h"
#include "upkeep.h"
#include "core/loop_h2o.h"
#include "rebuild.h"
#include "watch.h"

#define PERIOD_MS     60000 /* between two calls to one account, +-10 % */
#define MAX_IN_FLIGHT 8
#define CALL_MS       15000 /* the longest that one call may take */
#define MAX_ANSWER    (1u << 20)
#define BEAT_MS       1000

struct prober;

struct account_probe {
    struct prober *prober;
    uint32_t account;           /* index in the model list */
    uint32_t deployment;        /* the first one of the account: calls are counted there */
    struct loop_timer timer;    /* until the next call */
    struct account_probe *next; /* in the queue of those that are due */
    bool known, healthy;        /* last finding, to log changes only */
};

struct prober {
    struct upkeep upkeep; /* the ground of all calls, and those beside the probes */
    /* Owned; as in the model list; `prober` is NULL where no deployment is */
    struct account_probe *accounts;
    size_t num_accounts;
    struct account_probe *due, **due_end; /* queue */
    unsigned in_flight;
    struct loop_timer beat;
    int signal_fd;
    bool stopping;
};

static const struct model_account *account_of(const struct account_probe *a)
{
    return &a->prober->upkeep.rt.inherited->config->models.accounts[a->account];
}

static void schedule(struct account_probe *a, uint64_t delay_ms)
{
    if (loop_timer_start(a->prober->upkeep.rt.loop, &a->timer, delay_ms) != 0)
        log_error("account %s: health checks stopped: %s", account_of(a)->name, err_str(ERR_NOMEM));
}

static void log_change(struct account_probe *a, bool healthy, int status, enum outcome outcome,
                       const char *why)
{
    const char *from = !a->known ? "unknown" : a->healthy ? "healthy" : "unhealthy";

    if (a->known && a->healthy == healthy)
        return;
    if (healthy)
        log_info("account %s: %s -> healthy", account_of(a)->name, from);
    else
        log_warn("account %s: %s -> unhealthy, status %d, %s: %s", account_of(a)->name, from,
                 status, outcome_name(outcome), outcome_detail(outcome, why));
    a->known = true;
    a->healthy = healthy;
}

/* One answer speaks for all deployments of the account. `checked_unix_s` is written last: a reader
 * that sees it sees the rest. */
static void publish(const struct account_probe *a, bool healthy, int status, enum outcome outcome)
{
    const struct inherited *inherited = a->prober->upkeep.rt.inherited;
    uint64_t now_s = (uint64_t)clock_unix_s();

    for (uint32_t i = 0; i < table_num_deployments(inherited->table); i++) {
        struct probe_word *word = &inherited->probes[i];

        if (table_deployment(inherited->table, i)->account != a->account)
            continue;
        atomic_store(&word->status, status);
        atomic_store(&word->outcome, outcome);
        atomic_store(&word->healthy, healthy);
        atomic_store(&word->checked_unix_s, now_s);
    }
}

static void record(struct account_probe *a, enum outcome outcome, bool healthy, int status,
                   const char *why)
{
    log_change(a, healthy, status, outcome, why);
    publish(a, healthy, status, outcome);
    schedule(a,
             PERIOD_MS - PERIOD_MS / 10 + upkeep_random_below(&a->prober->upkeep, PERIOD_MS / 5));
}

/* A page of some portal is no provider, whatever its status. */
static const char *judge(const struct upstream_result *result)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    bool found = doc != NULL && result->body != NULL &&
                 normal_list_data(json_parse(doc, result->body, result->body_len, &error)) != NULL;

    json_doc_free(doc);
    return found ? NULL : "the answer is no list of batches";
}

static void pump(struct prober *p);

static void on_answer(void *arg, const struct attempt_result *result)
{
    struct account_probe *a = arg;
    const char *error = result->upstream->error;

    assert(a->prober->in_flight > 0 && a->prober->in_flight <= MAX_IN_FLIGHT);
    a->prober->in_flight--;
    record(a, result->outcome, result->ok, result->upstream->head.status,
           error[0] != '\0' ? error : result->failure.message);
    pump(a->prober);
}

static void probe(struct account_probe *a)
{
    struct runtime *rt = &a->prober->upkeep.rt;
    struct attempt_spec spec = {.deployment = a->deployment,
                                .call = CALL_BATCH_LIST,
                                .query = "limit=1",
                                .total_ms = upkeep_total_ms(rt->config, CALL_MS),
                                .max_body = MAX_ANSWER,
                                .background = true,
                                .judge = judge,
                                .on_done = on_answer,
                                .arg = a};

    if (attempt_start(rt, &spec) != NULL)
        a->prober->in_flight++;
    else
        record(a, OUTCOME_CANCELLED, false, 0, "the call could not be built");
}

static void pump(struct prober *p)
{
    while (p->due != NULL && p->in_flight < MAX_IN_FLIGHT) {
        struct account_probe *a = p->due;

        p->due = a->next;
        if (p->due == NULL)
            p->due_end = &p->due;
        probe(a);
    }
}

static void on_due(struct loop_timer *timer)
{
    struct account_probe *a = timer->arg;
    struct prober *p = a->prober;

    a->next = NULL;
    *p->due_end = a;
    p->due_end = &a->next;
    pump(p);
}

static void on_beat(struct loop_timer *timer)
{
    struct prober *p = timer->arg;

    atomic_store(&p->upkeep.rt.inherited->shared->slots[p->upkeep.rt.slot].beat_ms,
                 loop_now_ms(p->upkeep.rt.loop));
    (void)loop_timer_start(p->upkeep.rt.loop, timer,
                           BEAT_MS); /* cannot fail: its slot was just freed */
}

static void on_signal(void *arg)
{
    struct prober *p = arg;
    struct signalfd_siginfo info;

    if (read(p->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        p->stopping = true; /* nobody waits for a probe: no need to drain */
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

/* Accounts that some deployment uses, each with the first one that does; what an earlier prober
 * found is not news. */
static int collect_accounts(struct prober *p)
{
    const struct inherited *inherited = p->upkeep.rt.inherited;

    p->num_accounts = inherited->config->models.num_accounts;
    p->accounts = calloc(p->num_accounts + 1, sizeof(*p->accounts));
    if (p->accounts == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < table_num_deployments(inherited->table); i++) {
        uint32_t account = table_deployment(inherited->table, i)->account;
        struct account_probe *a = &p->accounts[account];

        if (a->prober != NULL)
            continue;
        *a = (struct account_probe){.prober = p, .account = account, .deployment = i};
        a->timer = (struct loop_timer){.cb = on_due, .arg = a};
        a->known = atomic_load(&inherited->probes[i].checked_unix_s) != 0;
        a->healthy = atomic_load(&inherited->probes[i].healthy) != 0;
    }
    return 0;
}

static void begin_first_round(struct prober *p)
{
    for (size_t i = 0; i < p->num_accounts; i++)
        if (p->accounts[i].prober != NULL)
            schedule(&p->accounts[i], upkeep_stagger_ms(i, p->num_accounts));
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
        .low_speed_ms = config->timeouts.low_speed_ms};

    return upstream_new(p->upkeep.rt.loop, &options, &p->upkeep.rt.upstream);
}

static int begin_upkeep(struct prober *p)
{
    int ret;

    if ((ret = rebuild_start(&p->upkeep)) != 0 || (ret = file_count_start(&p->upkeep)) != 0 ||
        (ret = endings_start(&p->upkeep)) != 0)
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
        (ret = open_upstream(p)) != 0 || (ret = upkeep_init(&p->upkeep)) != 0 ||
        (ret = collect_accounts(p)) != 0)
        return ret;
    loop_h2o_turn(p->upkeep.rt.loop);
    on_beat(&p->beat);
    begin_first_round(p);
    return begin_upkeep(p);
}

int prober_run(const struct inherited *inherited, uint32_t slot)
{
    struct prober p = {.upkeep.rt = {.inherited = inherited, .slot = slot}, .due_end = &p.due};
    h2o_evloop_t *evloop = h2o_evloop_create();
    int ret;

    p.beat = (struct loop_timer){.cb = on_beat, .arg = &p};
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
