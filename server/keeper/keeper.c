/* See keeper.h. Here its process lives: loop, signals, heartbeat; and the keys are published.
 * Sources are in files of their own (keys_file.c), and so is the socket (calls.c). */
#include "keeper/keeper.h"

#include <assert.h>
#include <errno.h>
#include <h2o/socket.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin_calls.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/log_out.h"
#include "core/key_sources.h"
#include "core/loop_h2o.h"
#include "keeper/calls.h"
#include "database_state.h"
#include "databases.h"
#include "hooks.h"
#include "issuer_fetch.h"
#include "journaling.h"
#include "keys_file.h"
#include "owned_rows.h"
#include "stories.h"
#include "store/store.h"
#include "upstream/client.h"

#define BEAT_MS       1000
#define LAST_CALLS_MS 2000 /* for answers after SIGTERM */
#define LAST_TRIES_MS 5000 /* for webhooks that are being told */
#define LAST_ROWS_MS  50   /* between two looks whether all others have ended */

struct keeper {
    const struct inherited *inherited; /* borrowed */
    uint32_t slot;
    struct loop *loop;
    struct calls *calls;       /* owned */
    struct upstream *upstream; /* owned; NULL: nobody has to be asked over HTTP */
    struct keys_file file;
    struct manage manage;
    struct admin_calls admin;
    struct databases *databases;   /* owned; NULL: none are configured; until the process ends */
    struct database_state state;   /* what /health says of it */
    struct owned_rows *owned;      /* owned; NULL: no database has them; the same */
    struct journaling *journaling; /* owned; NULL: no journal is kept; the same */
    struct hooks *hooks;           /* owned; NULL: there is no journal; the same */
    struct loop_timer owned_timer;
    bool owned_are_kept; /* the last of them, when all others have ended */
    uint64_t born_ms;
    uint64_t published; /* state of the table after the last own rights_publish(); 0: none */
    struct loop_timer beat;
    int signal_fd;
    bool stopping, orphaned;
    uint64_t stop_ms;
};

/* --- keys --- */

/* After a reload the table has the keys that the keeper before had read: without a database of its
 * own yet a new one does not take them away, until they are too old. */
static bool must_wait(const struct keeper *k)
{
    return key_sources_have_database(k->inherited->config) && k->published == 0 &&
           rights_generation(k->inherited->rights) > 0 &&
           (k->databases == NULL || !databases_are_read(k->databases)) &&
           loop_now_ms(k->loop) < k->born_ms + k->inherited->config->key_max_stale_ms;
}

/* A newer generation's keeper has the word, or somebody writes right now: the next beat tries
 * again, for the newer one may be dismissed. */
static void publish(struct keeper *k)
{
    struct rights_table *table = k->inherited->rights;
    const struct rights_list *lists[KEY_SOURCES_DATABASES];
    size_t num = k->databases != NULL ? databases_lists(k->databases, lists) : 0;
    int ret;

    assert(num <= KEY_SOURCES_DATABASES);
    if (must_wait(k))
        return;
    ret = key_sources_publish(table, k->inherited->generation, k->inherited->config, &k->file.list,
                              lists, num);

    if (ret == 0) {
        k->published = rights_generation(table);
    } else if (ret == ERR_LIMIT) {
        problem_set(&k->inherited->shared->keys_problem,
                    "more keys than tranche_settings.max_keys, or their lists are too long");
        log_error("the keys stay as they were: more of them than tranche_settings.max_keys (%u), "
                  "or their lists are too long",
                  k->inherited->config->max_keys);
        k->published = rights_generation(table); /* not again before something changes */
    } else {
        log_debug("the keys are not published: %s", err_str(ret));
    }
}

static void on_admin_change(void *arg)
{
    struct keeper *k = arg;

    if (k->databases != NULL)
        (void)databases_look_now(k->databases, loop_now_ms(k->loop));
    publish(k);
}

static const char *name_of_deployment(void *arg, uint32_t fingerprint)
{
    const struct table *table = ((const struct keeper *)arg)->inherited->table;
    uint32_t i = table_find_fingerprint(table, fingerprint);

    return i == MODEL_NO_INDEX ? NULL : table_str(table, table_deployment(table, i)->id);
}

static void on_admin_call(void *arg)
{
    struct keeper *k = arg;

    if (k->hooks != NULL)
        hooks_look_soon(k->hooks);
}

/* What the management API reads and may not change. */
static void serve_admin(struct keeper *k)
{
    const struct config *config = k->inherited->config;

    k->manage = (struct manage){.files = {&config->keys, &k->file.list},
                                .file_names = {"the gateway's configuration", config->keys_file},
                                .journal = config->journal,
                                .deployment_name = name_of_deployment,
                                .names_arg = k};
    k->admin = (struct admin_calls){
        .manage = &k->manage, .changed = on_admin_change, .answered = on_admin_call, .arg = k};
    admin_calls_serve(&k->admin, k->calls);
    stories_serve(&k->manage, k->calls);
}

static void on_file_read(void *arg)
{
    publish(arg);
}

/* Somebody else published last: the master, for a generation that it then refused. */
static void check_published(struct keeper *k)
{
    if (k->file.known && rights_generation(k->inherited->rights) != k->published)
        publish(k);
}

static bool is_published(const struct keeper *k, const unsigned char *hash)
{
    struct rights rights;

    return rights_find(k->inherited->rights, hash, &rights);
}

static enum keeper_lookup look_up(struct keeper *k, const unsigned char *hash)
{
    enum keeper_lookup found;

    if (is_published(k, hash))
        return KEEPER_KEY_PUBLISHED;
    if (rights_is_complete(k->inherited->rights))
        return KEEPER_KEY_UNKNOWN;
    if (k->databases == NULL)
        return KEEPER_KEY_CANNOT_TELL;
    found = databases_find(k->databases, hash, loop_now_ms(k->loop));
    if (found != KEEPER_KEY_PUBLISHED)
        return found;
    publish(k);
    return is_published(k, hash) ? KEEPER_KEY_PUBLISHED : KEEPER_KEY_CANNOT_TELL;
}

static void on_lookup(void *arg, struct call *call)
{
    enum keeper_lookup found = KEEPER_KEY_CANNOT_TELL;

    if (call->len == RIGHTS_HASH_BYTES)
        found = look_up(arg, (const unsigned char *)call->bytes);
    call_answer(&call, found, NULL, 0);
}

/* --- what tenants own --- */

/* Whether anybody of this generation or an earlier one may still change it. */
static bool others_live(const struct keeper *k)
{
    const struct worker_slot *slots = k->inherited->shared->slots;

    for (uint32_t i = 0; i < WORKER_ROWS; i++)
        if (i != k->slot && atomic_load(&slots[i].pid) != 0 &&
            atomic_load(&slots[i].generation) <= k->inherited->generation)
            return true;
    return false;
}

/* A newer generation that was refused ends, while the one before it goes on and follows again. */
static bool is_dismissed(const struct keeper *k)
{
    const struct worker_slot *slots = k->inherited->shared->slots;

    if (!k->stopping || loop_now_ms(k->loop) < k->stop_ms + LAST_CALLS_MS)
        return false;
    for (uint32_t i = 0; i < WORKER_ROWS; i++)
        if (atomic_load(&slots[i].pid) != 0 && atomic_load(&slots[i].is_worker) != 0 &&
            atomic_load(&slots[i].generation) < k->inherited->generation &&
            atomic_load(&slots[i].draining) == 0)
            return true;
    return false;
}

static void on_owned(struct loop_timer *timer)
{
    struct keeper *k = timer->arg;
    bool last = k->stopping && !others_live(k);
    uint32_t wait_ms = owned_rows_step(k->owned, loop_now_ms(k->loop), clock_unix_ms());

    if (last && wait_ms != 0) {
        owned_rows_end(k->owned, clock_unix_ms());
        k->owned_are_kept = true;
        return;
    }
    if (k->stopping && wait_ms > LAST_ROWS_MS)
        wait_ms = LAST_ROWS_MS;
    (void)loop_timer_start(k->loop, timer, wait_ms); /* cannot fail: its slot was just freed */
}

/* A file is one gateway's; what several share tells them apart by where they listen. Whoever follows
 * on a free port listens on another one. */
static void name_node(const struct keeper *k, char *out, size_t size)
{
    char host[128] = "";
    int port = k->inherited->config->port;

    out[0] = '\0';
    if (!store_is_shared(databases_store(k->databases)))
        return;
    (void)gethostname(host, sizeof(host) - 1);
    if (port != 0)
        snprintf(out, size, "%s:%d", host, port);
    else
        snprintf(out, size, "%s:%llx", host,
                 (unsigned long long)registry_run(k->inherited->registry));
}

static int start_owned(struct keeper *k)
{
    const struct config *config = k->inherited->config;
    struct store *store = k->databases != NULL ? databases_store(k->databases) : NULL;
    struct registry *registry = k->inherited->registry;
    char node[160];
    struct owned_rows_options options = {.registry = registry, .store = store, .node = node};
    int ret;

    if (store == NULL || registry == NULL)
        return 0;
    name_node(k, node, sizeof(node));
    options.born_s = registry_gaps(registry, 0).since_unix_s;
    if (options.born_s == 0)
        options.born_s = clock_unix_s();
    options.tenants_else = config->keys.num_keys > 0 || config->keys_file != NULL ||
                           config->jwt.num_urls > 0 || config->jwt.keys != NULL ||
                           secret_is_set(&config->litellm_database);
    ret = owned_rows_new(&options, &k->owned);
    k->owned_timer = (struct loop_timer){.cb = on_owned, .arg = k};
    return ret == 0 ? loop_timer_start(k->loop, &k->owned_timer, 0) : ret;
}

/* --- webhooks --- */

/* A keeper that is started again has its name again, one of another generation does not: it may be
 * there beside it. */
static int start_hooks(struct keeper *k)
{
    struct store *store = k->databases != NULL ? databases_store(k->databases) : NULL;
    char name[160], node[200];
    struct hooks_options options = {
        .loop = k->loop, .config = k->inherited->config, .store = store, .node = node};
    int ret;

    if (store == NULL || !k->inherited->config->journal)
        return 0;
    name_node(k, name, sizeof(name));
    snprintf(node, sizeof(node), "%s/%u", name, k->inherited->generation);
    ret = hooks_new(&options, &k->hooks);
    if (ret == 0)
        k->manage.hooks = hooks_rules(k->hooks);
    return ret;
}

/* --- the journal of batches --- */

static int start_journaling(struct keeper *k)
{
    struct store *store = k->databases != NULL ? databases_store(k->databases) : NULL;
    char node[160];
    struct journaling_options options = {.inherited = k->inherited,
                                         .slot = k->slot,
                                         .loop = k->loop,
                                         .store = store,
                                         .calls = k->calls,
                                         .manage = &k->manage,
                                         .vault =
                                             k->hooks != NULL ? hooks_rules(k->hooks)->vault : NULL,
                                         .node = node};
    int ret;

    if (store == NULL || !k->inherited->config->journal)
        return 0;
    name_node(k, node, sizeof(node));
    ret = journaling_new(&options, &k->journaling);
    if (ret == 0)
        k->state.node = journaling_node(k->journaling);
    return ret;
}

/* --- its life --- */

static void on_beat(struct loop_timer *timer)
{
    struct keeper *k = timer->arg;

    atomic_store(&k->inherited->shared->slots[k->slot].beat_ms, loop_now_ms(k->loop));
    (void)log_out_look();
    if (k->databases != NULL && databases_look(k->databases, loop_now_ms(k->loop)))
        publish(k);
    check_published(k);
    if (k->journaling != NULL)
        journaling_step(k->journaling, k->stopping, loop_now_ms(k->loop));
    database_state_step(&k->state, k->databases != NULL ? databases_generation(k->databases) : 0,
                        loop_now_ms(k->loop));
    (void)loop_timer_start(k->loop, timer, BEAT_MS); /* cannot fail: its slot was just freed */
}

static void on_signal(void *arg)
{
    struct keeper *k = arg;
    struct signalfd_siginfo info;

    if (read(k->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info) || k->stopping)
        return;
    k->stopping = true;
    k->stop_ms = loop_now_ms(k->loop);
    calls_drain(k->calls);
    if (k->journaling != NULL)
        journaling_end(k->journaling, k->stop_ms);
    if (k->hooks != NULL)
        hooks_drain(k->hooks);
    if (k->owned != NULL)
        (void)loop_timer_start(k->loop, &k->owned_timer, 0); /* it has a slot */
}

static void on_master_gone(void *arg)
{
    ((struct keeper *)arg)->orphaned = true;
}

static int watch_signals(struct keeper *k)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    k->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (k->signal_fd == -1)
        return ERR_IO;
    return loop_watch(k->loop, k->signal_fd, on_signal, k);
}

/* Where there is no file there is nothing to wait for: its list stays empty. */
static int start_file(struct keeper *k)
{
    k->file.known = k->inherited->config->keys_file == NULL;
    return k->file.known ? 0 : keys_file_start(&k->file, k->loop, k->inherited, on_file_read, k);
}

/* Calls to the tokens' issuer go where those to providers do: by the same proxy, with the same
 * authorities. */
static int start_issuer(struct keeper *k)
{
    const struct config *config = k->inherited->config;
    struct upstream_options options = {
        .allow_insecure = config->allow_insecure_upstream,
        .ca_file = config->upstream_ca_file,
        .proxy = secret_is_set(&config->upstream_proxy) ? config->upstream_proxy.data : NULL,
        .no_proxy = config->no_proxy,
        .connect_ms = config->timeouts.connect_ms};
    int ret;

    if (config->jwt.num_urls == 0)
        return 0;
    ret = upstream_new(k->loop, &options, &k->upstream);
    return ret != 0
               ? ret
               : issuer_fetch_start(k->loop, k->upstream, &config->jwt, k->inherited->issuer_keys);
}

static int open_databases(struct keeper *k)
{
    const struct config *config = k->inherited->config;
    struct databases_options options = {.access_groups = config->access_groups,
                                        .num_access_groups = config->num_access_groups,
                                        .database = config->database.data,
                                        .litellm = config->litellm_database.data,
                                        .deadline_ms = config->timeouts.database_ms,
                                        .max_stale_ms = config->key_max_stale_ms,
                                        .refuse_when_stale = config->refuse_stale_keys,
                                        .counts_money = config->journal};
    char error[512];
    int ret;

    if (!key_sources_have_database(config))
        return 0;
    ret = databases_new(&options, &k->databases, error, sizeof(error));
    if (ret == ERR_INVALID) { /* what can be said of a place only by who opens it */
        log_error("keys: %s; its keys answer 503", error);
        ret = 0;
    }
    if (k->databases != NULL) {
        k->manage.store = databases_store(k->databases);
        k->manage.litellm = databases_litellm(k->databases);
        k->state.store = k->manage.store;
    }
    return ret;
}

static int set_up(struct keeper *k, h2o_evloop_t *evloop)
{
    int ret;

    k->loop = loop_h2o_new(evloop);
    if (k->loop == NULL)
        return ERR_NOMEM;
    if ((ret = watch_signals(k)) != 0 ||
        (ret = loop_watch(k->loop, k->inherited->master_fd, on_master_gone, k)) != 0 ||
        (ret = calls_new(k->loop, k->inherited->door, &k->calls)) != 0)
        return ret;
    calls_serve(k->calls, KEEPER_KEY_LOOKUP, on_lookup, k);
    serve_admin(k);
    loop_h2o_turn(k->loop);
    k->born_ms = loop_now_ms(k->loop);
    ret = open_databases(k);
    if (ret == 0)
        ret = start_file(k);
    if (ret == 0)
        ret = start_issuer(k);
    if (ret == 0)
        ret = start_hooks(k);
    if (ret == 0)
        ret = start_journaling(k);
    if (ret == 0)
        on_beat(&k->beat);
    return ret == 0 ? start_owned(k) : ret;
}

static bool has_told(const struct keeper *k)
{
    return k->hooks == NULL || hooks_are_idle(k->hooks) ||
           loop_now_ms(k->loop) >= k->stop_ms + LAST_TRIES_MS;
}

static bool has_answered(const struct keeper *k)
{
    return (calls_are_done(k->calls) &&
            (k->journaling == NULL || journaling_is_done(k->journaling))) ||
           loop_now_ms(k->loop) >= k->stop_ms + LAST_CALLS_MS;
}

static bool has_kept(const struct keeper *k)
{
    return k->owned == NULL || k->owned_are_kept || owned_rows_have_gone(k->owned) ||
           is_dismissed(k);
}

static bool is_over(const struct keeper *k)
{
    return k->orphaned || (k->stopping && has_answered(k) && has_told(k) && has_kept(k));
}

int keeper_run(const struct inherited *inherited, uint32_t slot)
{
    static struct keeper keeper; /* one per process */
    struct keeper *k = &keeper;
    h2o_evloop_t *evloop = h2o_evloop_create();
    int ret;

    k->inherited = inherited;
    k->slot = slot;
    k->beat = (struct loop_timer){.cb = on_beat, .arg = k};
    k->state = (struct database_state){.words = &inherited->shared->database,
                                       .journal = inherited->config->journal};
    ret = set_up(k, evloop);
    if (ret != 0) {
        log_error("keeper cannot start: %s", err_str(ret));
        return 1;
    }
    while (!is_over(k))
        if (h2o_evloop_run(evloop, BEAT_MS) != 0 &&
            errno != EINTR) { /* a signal is no failure: front README 1.2 */
            log_error("event loop: %s", strerror(errno));
            return 1;
        }
    return 0; /* the caller leaves with _exit() */
}
