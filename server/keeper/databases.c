/* See databases.h. */
#include "databases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "config/config.h"
#include "store/litellm.h"
#include "store/store.h"

#define MISS_BYTES 16 /* of a SHA-256: nobody finds two keys that share them */

/* A key that was none a moment ago. */
struct miss {
    unsigned char hash[MISS_BYTES];
    uint64_t until_ms; /* 0: free */
};

/* What one database is known to be; changes are logged once. */
struct watch {
    const char *what; /* for logs */
    bool read;        /* once at least */
    bool failing;
    uint64_t read_ms; /* of the last success */
};

struct databases {
    const struct config_access_group *groups; /* borrowed */
    size_t num_groups;
    struct store *store;     /* owned; NULL: none */
    struct litellm *litellm; /* owned; NULL: none */
    struct watch of_store, of_litellm;
    uint64_t gen;                           /* of `list` */
    struct rights_list list;                /* of the store */
    uint64_t loaded_ms;                     /* when all of it was read last */
    const struct rights_list *litellm_list; /* of litellm; NULL: not read yet */
    uint32_t max_stale_ms;
    bool refuse_when_stale;
    bool counts_money;
    uint64_t look_ms;    /* when the next look is due */
    bool stale[2];       /* what the last look found: of store, of litellm */
    struct miss *misses; /* [DATABASES_MISSES], owned */
    size_t budgets_told; /* of LiteLLM's keys: logged when there are more */
};

/* ---- access groups ---- */

static const struct config_access_group *group_of(const struct databases *d, const char *name)
{
    for (size_t i = 0; i < d->num_groups; i++)
        if (strcmp(d->groups[i].name, name) == 0)
            return &d->groups[i];
    return NULL;
}

/* The name of an access group goes, and its groups come behind all others. */
static int replace(struct rights_models *models, size_t at, const struct config_access_group *group)
{
    char **names =
        reallocarray(models->names, models->num_names + group->num_groups + 1, sizeof(names[0]));

    if (names == NULL)
        return ERR_NOMEM;
    models->names = names;
    free(names[at]);
    names[at] = names[--models->num_names];
    for (size_t i = 0; i < group->num_groups; i++) {
        names[models->num_names] = strdup(group->groups[i]);
        if (names[models->num_names] == NULL)
            return ERR_NOMEM;
        models->num_names++;
    }
    return 0;
}

static int on_models(void *arg, struct rights_models *models)
{
    const struct databases *d = arg;
    size_t at = models->num_names;
    int rc = 0;

    while (rc == 0 && at-- > 0) { /* backwards: what comes is behind, and no name of a group */
        const struct config_access_group *group = group_of(d, models->names[at]);

        if (group != NULL)
            rc = replace(models, at, group);
    }
    return rc;
}

/* ---- life ---- */

static int open_all(struct databases *d, const struct databases_options *options, char *error,
                    size_t error_size)
{
    struct store_options server = {.server = true, .deadline_ms = options->deadline_ms};
    char why[STORE_WHY_BYTES] = "";
    int rc = 0;

    if (options->database != NULL) {
        rc = store_new(options->database, &server, &d->store, why);
        snprintf(error, error_size, "tranche_settings.database: %s", why);
    }
    if (rc == 0 && options->litellm != NULL) {
        rc = litellm_new(options->litellm, options->deadline_ms, &d->litellm, why);
        snprintf(error, error_size, "tranche_settings.litellm_database: %s", why);
    }
    return rc;
}

int databases_new(const struct databases_options *options, struct databases **out, char *error,
                  size_t error_size)
{
    struct databases *d = calloc(1, sizeof(*d));
    int rc = ERR_NOMEM;

    error[0] = '\0';
    if (d != NULL)
        d->misses = calloc(DATABASES_MISSES, sizeof(d->misses[0]));
    if (d != NULL && d->misses != NULL)
        rc = open_all(d, options, error, error_size);
    if (rc != 0) {
        databases_free(d);
        return rc;
    }
    d->groups = options->access_groups;
    d->num_groups = options->num_access_groups;
    if (d->store != NULL)
        store_expand(d->store, on_models, d);
    if (d->litellm != NULL)
        litellm_expand(d->litellm, on_models, d);
    d->max_stale_ms = options->max_stale_ms;
    d->refuse_when_stale = options->refuse_when_stale;
    d->counts_money = options->counts_money;
    d->of_store.what = "the database of keys";
    d->of_litellm.what = "LiteLLM's database";
    *out = d;
    return 0;
}

void databases_free(struct databases *d)
{
    if (d == NULL)
        return;
    store_free(d->store);
    litellm_free(d->litellm);
    rights_list_deinit(&d->list);
    free(d->misses);
    free(d);
}

uint64_t databases_generation(const struct databases *d)
{
    return d->of_store.read ? d->gen : 0;
}

struct store *databases_store(struct databases *d)
{
    return d->store;
}

struct litellm *databases_litellm(struct databases *d)
{
    return d->litellm;
}

/* ---- states ---- */

static void note(struct watch *w, int rc, const char *place, const char *why, uint64_t now_ms)
{
    if (rc == 0) {
        if (w->failing)
            log_info("keys: %s (%s) is up again", w->what, place);
        else if (!w->read)
            log_info("keys: %s (%s) is read", w->what, place);
        w->read = true;
        w->read_ms = now_ms;
        w->failing = false;
        return;
    }
    if (!w->failing)
        log_warn("keys: %s (%s) is down: %s; %s", w->what, place, why,
                 w->read ? "its keys are served as they were, new ones answer 503"
                         : "its keys answer 503");
    w->failing = true;
}

static bool is_stale(const struct databases *d, const struct watch *w, uint64_t now_ms)
{
    return d->refuse_when_stale && w->read && w->failing && now_ms - w->read_ms > d->max_stale_ms;
}

/* @return whether it changed */
static bool note_stale(struct databases *d, size_t which, const struct watch *w, uint64_t now_ms)
{
    bool stale = is_stale(d, w, now_ms);

    if (stale == d->stale[which])
        return false;
    d->stale[which] = stale;
    if (stale)
        log_warn("keys: %s is down for more than key_max_stale (%u s): its keys answer 503 "
                 "(keys_when_down)",
                 w->what, d->max_stale_ms / 1000);
    return true;
}

/* ---- looks ---- */

static void forget_misses(struct databases *d)
{
    memset(d->misses, 0, DATABASES_MISSES * sizeof(d->misses[0]));
}

static int load_store(struct databases *d, uint64_t now_ms)
{
    struct rights_list list;
    uint64_t gen;
    int rc = store_load(d->store, &list, &gen);

    if (rc != 0)
        return rc;
    rights_list_deinit(&d->list);
    d->list = list;
    d->gen = gen;
    d->loaded_ms = now_ms;
    return 0;
}

/* Hashes in their grace end without a change: now and then all are read, and so are too many. */
static int read_store(struct databases *d, uint64_t now_ms, bool *changed)
{
    uint64_t gen;
    int rc = store_generation(d->store, &gen);

    if (rc != 0 || (d->of_store.read && gen == d->gen))
        return rc;
    rc = d->of_store.read && now_ms < d->loaded_ms + DATABASES_WHOLE_MS
             ? store_refresh(d->store, &d->list, &d->gen)
             : ERR_LIMIT;
    if (rc == ERR_LIMIT)
        rc = load_store(d, now_ms);
    *changed = *changed || rc == 0;
    return rc;
}

static void tell_budgets(struct databases *d)
{
    size_t num = litellm_counts(d->litellm)->with_budget;

    if (num > d->budgets_told && !d->counts_money)
        log_warn("keys: %zu of LiteLLM's keys and teams have a budget in money, which is not "
                 "enforced here: that needs tranche_settings.database",
                 num);
    d->budgets_told = num;
}

static int read_litellm(struct databases *d, bool *changed)
{
    bool other = false;
    int rc = litellm_refresh(d->litellm, &d->litellm_list, &other);

    if (rc == 0)
        tell_budgets(d);
    *changed = *changed || other;
    return rc;
}

bool databases_look_now(struct databases *d, uint64_t now_ms)
{
    bool changed = false;
    int rc;

    if (d->store != NULL) {
        rc = read_store(d, now_ms, &changed);
        note(&d->of_store, rc, store_place(d->store), store_why(d->store), now_ms);
        changed = note_stale(d, 0, &d->of_store, now_ms) || changed;
    }
    if (d->litellm != NULL) {
        rc = read_litellm(d, &changed);
        note(&d->of_litellm, rc, litellm_place(d->litellm), litellm_why(d->litellm), now_ms);
        changed = note_stale(d, 1, &d->of_litellm, now_ms) || changed;
    }
    if (changed)
        forget_misses(d);
    d->look_ms = now_ms + DATABASES_LOOK_MS;
    return changed;
}

bool databases_look(struct databases *d, uint64_t now_ms)
{
    return now_ms >= d->look_ms && databases_look_now(d, now_ms);
}

size_t databases_lists(const struct databases *d, const struct rights_list *lists[2])
{
    size_t num = 0;

    if (d->store != NULL && d->of_store.read && !d->stale[0])
        lists[num++] = &d->list;
    if (d->litellm != NULL && d->of_litellm.read && !d->stale[1])
        lists[num++] = d->litellm_list;
    return num;
}

bool databases_are_read(const struct databases *d)
{
    return (d->store == NULL || d->of_store.read) && (d->litellm == NULL || d->of_litellm.read);
}

/* ---- one key ---- */

static struct miss *miss_of(struct databases *d, const unsigned char hash[RIGHTS_HASH_BYTES])
{
    uint32_t at;

    memcpy(&at, hash + MISS_BYTES, sizeof(at));
    return &d->misses[at % DATABASES_MISSES];
}

static bool is_missed(struct databases *d, const unsigned char hash[RIGHTS_HASH_BYTES],
                      uint64_t now_ms)
{
    const struct miss *miss = miss_of(d, hash);

    return now_ms < miss->until_ms && memcmp(miss->hash, hash, MISS_BYTES) == 0;
}

static void remember_miss(struct databases *d, const unsigned char hash[RIGHTS_HASH_BYTES],
                          uint64_t now_ms)
{
    struct miss *miss = miss_of(d, hash);

    memcpy(miss->hash, hash, MISS_BYTES);
    miss->until_ms = now_ms + DATABASES_MISS_MS;
}

static int find_in_store(struct databases *d, const unsigned char hash[RIGHTS_HASH_BYTES])
{
    struct rights_list one;
    uint64_t gen;
    int rc = store_find(d->store, hash, &one, &gen);

    if (rc == 0)
        rights_list_deinit(&one);
    return rc;
}

static int find_in_litellm(struct databases *d, const unsigned char hash[RIGHTS_HASH_BYTES])
{
    struct rights_list one;
    int rc = litellm_find(d->litellm, hash, &one);

    if (rc == 0)
        rights_list_deinit(&one);
    return rc;
}

static bool has(const struct rights_list *list, const unsigned char hash[RIGHTS_HASH_BYTES])
{
    for (size_t i = 0; i < list->num_keys; i++)
        if (memcmp(list->keys[i].hash, hash, RIGHTS_HASH_BYTES) == 0)
            return true;
    return false;
}

/* The row was there a moment ago: all that changed is read, so that its team is as new as it. */
static enum keeper_lookup take_up(struct databases *d, const unsigned char hash[RIGHTS_HASH_BYTES],
                                  uint64_t now_ms)
{
    const struct rights_list *lists[2];
    size_t num;

    (void)databases_look_now(d, now_ms);
    num = databases_lists(d, lists);
    for (size_t i = 0; i < num; i++)
        if (has(lists[i], hash))
            return KEEPER_KEY_PUBLISHED;
    return KEEPER_KEY_CANNOT_TELL; /* stale, gone again, or the database went down in between */
}

enum keeper_lookup databases_find(struct databases *d, const unsigned char hash[RIGHTS_HASH_BYTES],
                                  uint64_t now_ms)
{
    bool all = true;
    int rc;

    if (is_missed(d, hash, now_ms))
        return KEEPER_KEY_UNKNOWN;
    if (d->store != NULL) {
        rc = find_in_store(d, hash);
        if (rc == 0)
            return take_up(d, hash, now_ms);
        all = rc == ERR_NOT_FOUND;
    }
    if (d->litellm != NULL) {
        rc = find_in_litellm(d, hash);
        if (rc == 0)
            return take_up(d, hash, now_ms);
        all = all && rc == ERR_NOT_FOUND;
    }
    if (!all)
        return KEEPER_KEY_CANNOT_TELL;
    remember_miss(d, hash, now_ms);
    return KEEPER_KEY_UNKNOWN;
}
