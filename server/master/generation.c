/* See generation.h. */
#include "generation.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/rand.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mask.h"
#include "common/shm.h"
#include "handover.h"
#include "keys.h"
#include "listener.h"
#include "lost_accounts.h"
#include "place.h"
#include "posture.h"
#include "regions.h"
#include "core/host_names.h"
#include "core/keeper_door.h"
#include "core/seals.h"
#include "tls.h"
#include "upgrade.h"

/* Columns of a state region; a region that is full is followed by a larger one */
#define MIN_DEPLOYMENTS  256
/* Unfinished batches that the ledger knows; 160 bytes each once they exist */
#define MAX_RESERVATIONS 262144

#define DEFAULT_COOLDOWN_MS 5000 /* LiteLLM's DEFAULT_COOLDOWN_TIME_SECONDS */

struct state_region {
    struct state *state; /* owned */
    struct quota *quota; /* owned; the same columns */
    struct slots *slots; /* owned; the same columns */
    unsigned users;      /* generations */
};

static void region_release(struct state_region *region)
{
    assert(region == NULL || region->users > 0);
    if (region == NULL || --region->users > 0)
        return;
    state_free(region->state);
    quota_free(region->quota);
    slots_free(region->slots);
    free(region);
}

static int region_new(size_t num_deployments, struct state_region **out)
{
    struct state_region *region = calloc(1, sizeof(*region));
    size_t columns = num_deployments * 4 > MIN_DEPLOYMENTS ? num_deployments * 4 : MIN_DEPLOYMENTS;

    if (region == NULL)
        return ERR_NOMEM;
    region->users = 1;
    if (columns > UINT32_MAX || state_new(WORKER_ROWS, (uint32_t)columns, &region->state) != 0 ||
        quota_new((uint32_t)columns, MAX_RESERVATIONS, &region->quota) != 0 ||
        slots_new((uint32_t)columns, &region->slots) != 0)
        goto fail;
    *out = region;
    return 0;

fail:
    region_release(region);
    return ERR_NOMEM;
}

/* The three of the program before, or none: a column means one deployment in all of them. NULL
 * where they do not fit. */
static struct state_region *region_adopt(void)
{
    uint32_t columns = handover_columns();
    struct state_region *region = columns > 0 ? calloc(1, sizeof(*region)) : NULL;
    bool fit;

    if (region == NULL)
        return NULL;
    region->users = 1;
    fit = handover_took(HANDOVER_STATE, state_adopt(handover_take(HANDOVER_STATE), WORKER_ROWS,
                                                    columns, &region->state));
    fit &= handover_took(HANDOVER_QUOTA, quota_adopt_region(handover_take(HANDOVER_QUOTA), columns,
                                                            MAX_RESERVATIONS, &region->quota));
    fit &= handover_took(HANDOVER_SLOTS,
                         slots_adopt(handover_take(HANDOVER_SLOTS), columns, &region->slots));
    if (fit)
        return region;
    region_release(region);
    return NULL;
}

/* What the configuration says about each deployment's quota, and whose the columns are. */
static void bind_columns(struct generation *gen)
{
    for (uint32_t i = 0; i < table_num_deployments(gen->table); i++) {
        const struct table_deployment *d = table_deployment(gen->table, i);
        struct quota_terms terms = {.fingerprint = d->fingerprint,
                                    .limit =
                                        gen->config->models.deployments[i].enqueued_token_limit,
                                    .ask_first = d->provider == PROVIDER_AZURE,
                                    .many = d->many};
        uint32_t first = table_find_fingerprint(
            gen->table, d->real); /* bound before the others of its resource */

        assert(first < table_num_deployments(gen->table));
        if (first == i)
            quota_bind(gen->region->quota, gen->columns[i], &terms);
        else
            quota_alias(gen->region->quota, gen->columns[i], gen->columns[first], terms.limit);
        slots_bind(gen->region->slots, gen->columns[i], d->fingerprint);
    }
    if (!gen->config->journal) /* who had one told of others, and does so no more */
        quota_forget_totals(gen->region->quota);
}

/* Columns in the region of the generation before; once deployments have come and gone so often that
 * it is full, in a new one. Counters and health begin anew then. */
static int bind_state(struct generation *gen, const struct generation *previous)
{
    uint32_t num = table_num_deployments(gen->table);
    int ret = ERR_FULL;

    gen->columns = calloc((size_t)num + 1, sizeof(*gen->columns));
    if (gen->columns == NULL)
        return ERR_NOMEM;
    if (previous != NULL) {
        gen->region = previous->region;
        gen->region->users++;
    } else {
        gen->region = region_adopt();
    }
    if (gen->region != NULL)
        ret = state_bind(gen->region->state, gen->table, gen->columns);
    if (ret == ERR_FULL) {
        region_release(gen->region);
        gen->region = NULL;
        ret = region_new(num, &gen->region);
        if (ret == 0)
            ret = state_bind(gen->region->state, gen->table, gen->columns);
    }
    if (ret == 0)
        bind_columns(gen);
    return ret;
}

static int make_fallback_seal(struct secret *seal)
{
    unsigned char bytes[32];
    int ret;

    if (secret_is_set(seal))
        return 0;
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return ERR_IO;
    ret = secret_set(seal, (const char *)bytes, sizeof(bytes));
    secret_wipe(bytes, sizeof(bytes));
    log_warn("neither tranche_settings.seal_keys nor a master key is set: ids from this process "
             "cannot be read after a restart");
    return ret;
}

/* Where the file gives none, and there is no master key to make one of, one that lives as long as
 * the master. */
static int make_seals(struct generation *gen, struct generation_base *base)
{
    const struct config *config = gen->config;
    int ret = 0;

    gen->seals = shm_new(sizeof(*gen->seals)); /* kept out of cores */
    if (gen->seals == NULL)
        return ERR_NOMEM;
    gen->seals->cache = base->seal_cache;
    if (config->num_seal_keys == 0 && !secret_is_set(&config->master_key))
        ret = make_fallback_seal(&base->fallback_seal);
    return ret == 0 ? seals_derive(config, &base->fallback_seal, gen->seals) : ret;
}

/* What no text may quote. */
static int make_mask(struct generation *gen)
{
    gen->mask = config_mask(gen->config, NULL, 0);
    return gen->mask != NULL ? 0 : ERR_NOMEM;
}

static int make_host_names(struct generation *gen)
{
    gen->host_names = host_names_new(gen->config, gen->table);
    return gen->host_names != NULL ? 0 : ERR_NOMEM;
}

static int make_probes(struct generation *gen, const struct generation *previous)
{
    struct probe_word *probes;

    gen->num_probes = table_num_deployments(gen->table);
    probes = shm_new((gen->num_probes + 1) * sizeof(*probes));
    if (probes == NULL)
        return ERR_NOMEM;
    gen->inherited.probes = probes;
    for (uint32_t i = 0; previous != NULL && i < gen->num_probes; i++) {
        uint32_t was =
            table_find_fingerprint(previous->table, table_deployment(gen->table, i)->fingerprint);

        if (was == MODEL_NO_INDEX)
            continue;
        atomic_store(&probes[i].ends_unix_s,
                     atomic_load(&previous->inherited.probes[was].ends_unix_s));
        atomic_store(&probes[i].healthy, atomic_load(&previous->inherited.probes[was].healthy));
        atomic_store(&probes[i].status, atomic_load(&previous->inherited.probes[was].status));
        atomic_store(&probes[i].outcome, atomic_load(&previous->inherited.probes[was].outcome));
        atomic_store(&probes[i].checked_unix_s,
                     atomic_load(&previous->inherited.probes[was].checked_unix_s));
    }
    return 0;
}

static bool same_texts(char *const *a, size_t num_a, char *const *b, size_t num_b)
{
    bool same = num_a == num_b;

    for (size_t i = 0; i < num_a && same; i++)
        same = strcmp(a[i], b[i]) == 0;
    return same;
}

/* Keys of the same issuer at the same addresses are good until this generation's keeper has asked. */
static int make_issuer_keys(struct generation *gen, const struct generation *previous)
{
    const struct config_jwt *jwt = &gen->config->jwt, *was;
    int ret;

    if (!jwt->enabled)
        return 0;
    ret = issuer_keys_new(&gen->inherited.issuer_keys);
    if (ret != 0)
        return ret;
    if (jwt->keys != NULL)
        issuer_keys_publish(gen->inherited.issuer_keys, jwt->keys, clock_unix_s());
    was = previous == NULL ? NULL : &previous->config->jwt;
    if (was != NULL && was->enabled && jwt->num_urls > 0 && strcmp(was->issuer, jwt->issuer) == 0 &&
        same_texts(was->urls, was->num_urls, jwt->urls, jwt->num_urls))
        issuer_keys_copy(gen->inherited.issuer_keys, previous->inherited.issuer_keys);
    return 0;
}

/* LiteLLM's class of a failure; -1: OK and CANCELLED are none. Whatever goes wrong between the
 * provider's server and us is an InternalServerError there, a refused connection included. */
static int class_of(enum outcome outcome)
{
    static const int classes[OUTCOME_COUNT] = {
        [OUTCOME_OK] = -1,
        [OUTCOME_AUTH] = CONFIG_AUTHENTICATION,
        [OUTCOME_RATE_LIMIT] = CONFIG_RATE_LIMIT,
        [OUTCOME_TIMEOUT] = CONFIG_TIMEOUT,
        [OUTCOME_CONNECT] = CONFIG_INTERNAL_SERVER,
        [OUTCOME_BROKEN] = CONFIG_INTERNAL_SERVER,
        [OUTCOME_SERVER_ERROR] = CONFIG_INTERNAL_SERVER,
        [OUTCOME_BAD_ANSWER] = CONFIG_INTERNAL_SERVER,
        [OUTCOME_CANCELLED] = -1,
    };

    return classes[outcome];
}

static bool is_given(uint32_t number)
{
    return number != UINT32_MAX;
}

/* Whether the operator says what is forgiven: of every failure, or of one kind that we know. */
static bool is_forgiving_given(const struct config *config)
{
    bool given = is_given(config->allowed_fails);

    for (int i = 0; i < OUTCOME_COUNT; i++) {
        int class = class_of((enum outcome)i);

        given |= class >= 0 && is_given(config->allowed_fails_of[class]);
    }
    return given;
}

/* Numbers that are given hold for a minute, as in LiteLLM, and are all that counts then. */
static struct breaker_policy given_policy(const struct config *config, uint32_t cooldown_ms)
{
    struct breaker_policy policy = breaker_policy(
        is_given(config->allowed_fails) ? config->allowed_fails : DEFAULT_ALLOWED_FAILS,
        cooldown_ms);

    policy.per_minute = true;
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        int class = class_of((enum outcome)i);

        if (class >= 0 && is_given(config->allowed_fails_of[class]))
            policy.allowed[i] = config->allowed_fails_of[class];
    }
    return policy;
}

/* `disable_cooldowns` closes all open breakers. */
static void end_rests(struct generation *gen)
{
    for (uint32_t i = 0; i < table_num_deployments(gen->table); i++)
        for (int op = 0; op < OP_CLASS_COUNT; op++)
            atomic_store(state_health(gen->region->state, gen->columns[i], (enum op_class)op), 0);
}

static void set_breaker(struct generation *gen)
{
    const struct config *config = gen->config;
    uint32_t cooldown_ms =
        is_given(config->cooldown_ms) ? config->cooldown_ms : DEFAULT_COOLDOWN_MS;

    gen->inherited.breaker = is_forgiving_given(config) ? given_policy(config, cooldown_ms)
                                                        : breaker_policy_default(cooldown_ms);
    gen->inherited.breaker.never_rests = config->disable_cooldowns;
    if (config->disable_cooldowns)
        end_rests(gen);
}

static void set_retries_of(struct retry_policy *policy,
                           const uint32_t retries_of[CONFIG_FAILURE_CLASSES])
{
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        int class = class_of((enum outcome)i);

        policy->retries_of[i] = class < 0 ? RETRY_NOT_GIVEN : retries_of[class];
    }
}

/* A group's own policy takes the place of the one for all as a whole: what it does not name is as
 * if no policy named it. Source: resolve_retry_policy in LiteLLM's
 * litellm_core_utils/get_retry_from_policy.py. */
static int set_retry(struct generation *gen)
{
    const struct config *config = gen->config;
    uint32_t num = table_num_groups(gen->table);

    gen->inherited.retry = (struct retry_policy){.num_retries = config->num_retries,
                                                 .least_delay_ms = config->retry_after_ms};
    set_retries_of(&gen->inherited.retry, config->retries_of);
    if (config->num_group_retries == 0)
        return 0;
    gen->group_retry = calloc((size_t)num + 1, sizeof(*gen->group_retry));
    if (gen->group_retry == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < num; i++)
        gen->group_retry[i] = gen->inherited.retry;
    for (size_t i = 0; i < config->num_group_retries; i++) {
        const struct config_group_retries *of = &config->group_retries[i];
        uint32_t group = table_find_group(gen->table, of->group, strlen(of->group));

        if (group != MODEL_NO_INDEX)
            set_retries_of(&gen->group_retry[group], of->retries_of);
    }
    gen->inherited.group_retry = gen->group_retry;
    return 0;
}

static bool same_address(const struct generation *gen, const struct generation *previous)
{
    return strcmp(gen->config->host, previous->config->host) == 0 &&
           gen->config->port == previous->config->port;
}

static bool same_health_address(const struct generation *gen, const struct generation *previous)
{
    return previous != NULL && strcmp(gen->config->host, previous->config->host) == 0 &&
           gen->config->health_port == previous->config->health_port;
}

/* Another address is bound before the old one is left, the same one is kept: no connection is
 * refused in between.
 *  @param kept  the previous generation's socket for the same address, or -1
 *  @return as listener_open() */
static int open_listener(const struct generation *previous, enum upgrade_listener which, int kept,
                         const char *host, int port, char *error, size_t error_size)
{
    int fd = -1;

    if (previous == NULL)
        fd = upgrade_take_listener(which, host, port);
    else if (kept != -1)
        fd = fcntl(kept, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? listener_open(host, port, error, error_size) : fd;
}

static int open_health(struct generation *gen, const struct generation *previous, char *error,
                       size_t error_size)
{
    const struct config *config = gen->config;
    int kept = same_health_address(gen, previous) ? previous->inherited.health_fd : -1, fd;

    if (config->health_port == 0) {
        if (previous == NULL) /* closes what the program before had */
            (void)upgrade_take_listener(UPGRADE_HEALTH, "", -1);
        return 0;
    }
    fd = open_listener(previous, UPGRADE_HEALTH, kept, config->host, config->health_port, error,
                       error_size);
    if (fd < 0)
        return fd;
    gen->inherited.health_fd = fd;
    return 0;
}

static int open_listeners(struct generation *gen, const struct generation *previous, char *error,
                          size_t error_size)
{
    const struct config *config = gen->config;
    bool same = previous != NULL && same_address(gen, previous);
    int fd = open_listener(previous, UPGRADE_CLIENTS, same ? previous->inherited.listen_fd : -1,
                           config->host, config->port, error, error_size);

    if (fd < 0)
        return fd;
    gen->inherited.listen_fd = fd;
    return open_health(gen, previous, error, error_size);
}

static int open_tls(struct generation *gen, const struct tickets *tickets, char *error,
                    size_t error_size)
{
    const struct config *config = gen->config;

    if (config->tls_cert_file == NULL)
        return 0;
    return tls_new(config->tls_cert_file, config->tls_key_file, tickets, &gen->inherited.tls, error,
                   error_size);
}

/* Passes `ret` on and, unless somebody did already, says what it was about. */
static int tell(const char *what, int ret, char *error, size_t error_size)
{
    if (ret != 0 && error[0] == '\0')
        snprintf(error, error_size, "cannot make %s: %s", what, err_str(ret));
    return ret;
}

/* What children see of it, once all is made. */
static void inherit(struct generation *gen, const struct generation_base *base, uint32_t number)
{
    gen->inherited.config = gen->config;
    gen->inherited.table = gen->table;
    gen->inherited.state = gen->region->state;
    gen->inherited.quota = gen->region->quota;
    gen->inherited.slots = gen->region->slots;
    gen->inherited.memo = base->memo;
    gen->inherited.list_places = base->list_places;
    gen->inherited.idem = base->idem;
    gen->inherited.poll_cache = base->poll_cache;
    gen->inherited.meters = base->meters;
    gen->inherited.registry = base->registry;
    gen->inherited.followed = gen->config->journal ? base->followed : NULL;
    gen->inherited.series = gen->config->journal ? base->series : NULL;
    gen->inherited.entra_tokens =
        gen->config->models.num_credentials > 0 ? base->entra_tokens : NULL;
    gen->inherited.columns = gen->columns;
    gen->inherited.seals = gen->seals;
    gen->inherited.mask = gen->mask;
    gen->inherited.host_names = gen->host_names;
    gen->inherited.shared = base->shared;
    gen->inherited.minutes = base->minutes;
    gen->inherited.generation = number;
    gen->inherited.started_ms = base->started_ms;
    gen->inherited.master_fd = base->master_fd;
}

/* A program that is going to be another user takes its place as that one, before it serves. */
static int take_place(struct generation *gen, const struct generation *previous, char *error,
                      size_t error_size)
{
    if (previous == NULL && posture_will_change(gen->config->user))
        return 0;
    return place_take(gen->config, &gen->place, error, error_size);
}

static int build(struct generation *gen, struct generation_base *base,
                 const struct generation *previous, uint32_t number, char *error, size_t error_size)
{
    const struct model_list *models = &gen->config->models;
    int ret;

    if ((ret = tell("the mask of secrets", make_mask(gen), error, error_size)) != 0 ||
        (ret = tell("the seals of ids", make_seals(gen, base), error, error_size)) != 0 ||
        (ret = tell("the model table", table_build(models, number, &gen->table), error,
                    error_size)) != 0 ||
        (ret = tell("the names of the host", make_host_names(gen), error, error_size)) != 0 ||
        (ret = tell("the shared state", bind_state(gen, previous), error, error_size)) != 0 ||
        (ret = tell("the probe words", make_probes(gen, previous), error, error_size)) != 0 ||
        (ret = tell("the registry of files", regions_open_registry(base, gen->config), error,
                    error_size)) != 0 ||
        (ret = tell("the table of followed batches", regions_open_followed(base, gen->config),
                    error, error_size)) != 0 ||
        (ret = tell("the counters of batches", regions_open_series(base, gen->config), error,
                    error_size)) != 0 ||
        (ret = tell("the tokens of Entra ID (of 1024 credentials at most)",
                    regions_bind_tokens(base, &gen->config->models), error, error_size)) != 0 ||
        (ret = tell("the table of keys", keys_open(gen, base, previous), error, error_size)) != 0 ||
        (ret = tell("the issuer's keys", make_issuer_keys(gen, previous), error, error_size)) !=
            0 ||
        (ret = tell("the place", take_place(gen, previous, error, error_size), error,
                    error_size)) != 0 ||
        (ret = open_tls(gen, base->tickets, error, error_size)) != 0 ||
        (ret = open_listeners(gen, previous, error, error_size)) != 0)
        return ret;
    if ((ret = tell("the retry policies", set_retry(gen), error, error_size)) != 0)
        return ret;
    set_breaker(gen);
    inherit(gen, base, number);
    return 0;
}

int generation_new(struct generation_base *base, struct config **config,
                   const struct generation *previous, uint32_t number, struct generation **out,
                   char *error, size_t error_size)
{
    struct generation *gen = calloc(1, sizeof(*gen));
    int ret;

    *out = NULL;
    error[0] = '\0';
    if (gen == NULL) {
        config_free(*config);
        *config = NULL;
        snprintf(error, error_size, "%s", err_str(ERR_NOMEM));
        return ERR_NOMEM;
    }
    gen->inherited.listen_fd = gen->inherited.health_fd = -1;
    gen->config = *config;
    *config = NULL;
    ret = build(gen, base, previous, number, error, error_size);
    if (ret != 0) {
        generation_free(gen);
        return ret;
    }
    if (previous != NULL)
        lost_accounts_tell(previous, gen);
    mask_install(gen->mask);
    *out = gen;
    return 0;
}

int generation_become_user(struct generation *gen, char *error, size_t error_size)
{
    const struct config *config = gen->config;
    uid_t before = geteuid();
    int ret = posture_become(config->user, config->core_dumps, error, error_size);

    if (ret != 0 || geteuid() == before)
        return ret;
    if (gen->inherited.door != NULL && keeper_door_renew(gen->inherited.door) != 0) {
        snprintf(error, error_size, "the keeper's door: %s", strerror(errno));
        return ERR_IO;
    }
    if (access(config->spool_dir, W_OK | X_OK) == -1) { /* it was looked at as root */
        snprintf(error, error_size,
                 "tranche_settings.spool_dir: the user cannot write to \"%.256s\"",
                 config->spool_dir);
        return ERR_INVALID;
    }
    error[0] = '\0';
    return tell("the place", place_take(config, &gen->place, error, error_size), error, error_size);
}

void generation_offer(const struct generation *gen, struct handover_offer *offer)
{
    assert(gen->region->users > 0);
    offer->regions[HANDOVER_STATE] = shm_fd(gen->region->state);
    offer->regions[HANDOVER_QUOTA] = shm_fd(gen->region->quota);
    offer->regions[HANDOVER_SLOTS] = shm_fd(gen->region->slots);
    offer->columns = quota_max_columns(gen->region->quota);
    place_offer(gen->place, offer);
}

void generation_rebind(struct generation *gen)
{
    if (state_bind(gen->region->state, gen->table, gen->columns) == 0)
        bind_columns(gen);
}

void generation_close_listener(struct generation *gen)
{
    if (gen->inherited.listen_fd != -1)
        close(gen->inherited.listen_fd);
    if (gen->inherited.health_fd != -1)
        close(gen->inherited.health_fd);
    gen->inherited.listen_fd = gen->inherited.health_fd = -1;
}

void generation_tell_listening(const struct generation *gen, const struct generation *serving)
{
    const struct config *config = gen->config;
    char name[LISTENER_TEXT];

    if (listener_name(gen->inherited.listen_fd, name, sizeof(name)) != 0)
        snprintf(name, sizeof(name), "%s:%d", config->host, config->port);
    if (serving == NULL || strcmp(serving->config->host, config->host) != 0 ||
        serving->config->port != config->port ||
        (serving->inherited.tls == NULL) != (gen->inherited.tls == NULL))
        log_info("listening on %s (%s)", name, gen->inherited.tls != NULL ? "https" : "http");
    if (gen->inherited.health_fd != -1 && !same_health_address(gen, serving) &&
        listener_name(gen->inherited.health_fd, name, sizeof(name)) == 0)
        log_info("health, metrics and the page are at %s, too", name);
}

void generation_free(struct generation *gen)
{
    if (gen == NULL)
        return;
    generation_close_listener(gen);
    SSL_CTX_free(gen->inherited.tls);
    issuer_keys_free(gen->inherited.issuer_keys);
    shm_free(gen->inherited.probes, (gen->num_probes + 1) * sizeof(*gen->inherited.probes));
    region_release(gen->region);
    keys_release(gen->keys);
    place_release(gen->place);
    free(gen->columns);
    free(gen->group_retry);
    table_free(gen->table);
    if (gen->seals != NULL)
        ids_seals_clear(gen->seals);
    shm_free(gen->seals, sizeof(*gen->seals));
    mask_free(gen->mask);
    mask_free(gen->host_names);
    config_free(gen->config);
    free(gen);
}
