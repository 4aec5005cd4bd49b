/* See keeper.h. Here its process lives: loop, signals, heartbeat; and the keys are published.
 * Sources are in files of their own (keys_file.c), and so is the socket (calls.c). */
#include "keeper/keeper.h"

#include <errno.h>
#include <h2o/socket.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "admin_calls.h"
#include "common/log.h"
#include "core/key_sources.h"
#include "core/loop_h2o.h"
#include "keeper/calls.h"
#include "databases.h"
#include "issuer_fetch.h"
#include "keys_file.h"
#include "upstream/client.h"

#define BEAT_MS       1000
#define LAST_CALLS_MS 2000 /* for answers after SIGTERM */

struct keeper {
    const struct inherited *inherited; /* borrowed */
    uint32_t slot;
    struct loop *loop;
    struct calls *calls;       /* owned */
    struct upstream *upstream; /* owned; NULL: nobody has to be asked over HTTP */
    struct keys_file file;
    struct manage manage;
    struct admin_calls admin;
    struct databases *databases; /* owned; NULL: none are configured; until the process ends */
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

/* What the management API reads and may not change. */
static void serve_admin(struct keeper *k)
{
    const struct config *config = k->inherited->config;

    k->manage = (struct manage){.files = {&config->keys, &k->file.list},
                                .file_names = {"the gateway's configuration", config->keys_file}};
    k->admin = (struct admin_calls){.manage = &k->manage, .changed = on_admin_change, .arg = k};
    admin_calls_serve(&k->admin, k->calls);
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

/* --- its life --- */

static void on_beat(struct loop_timer *timer)
{
    struct keeper *k = timer->arg;

    atomic_store(&k->inherited->shared->slots[k->slot].beat_ms, loop_now_ms(k->loop));
    if (k->databases != NULL && databases_look(k->databases, loop_now_ms(k->loop)))
        publish(k);
    check_published(k);
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
                                        .max_stale_ms = config->key_max_stale_ms,
                                        .refuse_when_stale = config->refuse_stale_keys};
    char error[512];
    int ret;

    if (!key_sources_have_database(config))
        return 0;
    ret = databases_new(&options, &k->databases, error, sizeof(error));
    if (ret == ERR_INVALID) { /* what can be said of a place only by who opens it */
        log_error("keys: %s; its keys answer 503", error);
        ret = 0;
    }
    if (k->databases != NULL)
        k->manage.store = databases_store(k->databases);
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
        on_beat(&k->beat);
    return ret;
}

static bool is_over(const struct keeper *k)
{
    return k->orphaned || (k->stopping && (calls_are_done(k->calls) ||
                                           loop_now_ms(k->loop) >= k->stop_ms + LAST_CALLS_MS));
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
