/* See flight.h. */
#include "calls/flight.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "balancer/poll_cache.h"
#include "common/clock.h"

/* Microseconds of a turn after which nobody else is told, as in common/upstream/turn.c */
#define TURN_US 60

/* What was said, while it is told to one after the other. */
struct told {
    struct attempt_result result;
    struct upstream_result upstream; /* without headers */
    char body[];
};

struct flight_user {
    struct flight *flight; /* borrowed */
    attempt_done_cb on_done;
    void *arg;
    TAILQ_ENTRY(flight_user) link;
};

struct flight {
    LIST_ENTRY(flight) link; /* in its bucket, until the call has ended */
    struct runtime *rt;      /* borrowed */
    struct attempt *attempt; /* owned; NULL: it has ended */
    struct told *told;       /* owned; NULL: nobody is to be told in a later turn */
    struct slice turn;
    uint64_t key, since; /* of what it asks for; the moment at which it began */
    uint32_t deployment, num_users;
    enum provider_call call;
    bool tells; /* from inside a user's callback nothing is freed */
    TAILQ_HEAD(, flight_user) users;
    char id[]; /* native */
};

/* --- who waits --- */

static void add_user(struct flight *f, struct flight_user *user)
{
    user->flight = f;
    TAILQ_INSERT_TAIL(&f->users, user, link);
    f->rt->calls_shared += f->num_users++ > 0;
}

static void remove_user(struct flight_user *user)
{
    struct flight *f = user->flight;

    TAILQ_REMOVE(&f->users, user, link);
    f->rt->calls_shared -= --f->num_users > 0;
    free(user);
}

static void end(struct flight *f)
{
    assert(f->num_users == 0 && f->attempt == NULL && !f->tells);
    slices_remove(&f->rt->slices, &f->turn);
    free(f->told);
    free(f);
}

/* --- the answer --- */

/* At least one user, and more for so long. One that is told may make others leave; who enters because
 * of it begins another flight. */
static void tell(struct flight *f, const struct attempt_result *result, uint64_t most_us)
{
    uint64_t began_us = clock_now_us();

    f->tells = true;
    do {
        struct flight_user *user = TAILQ_FIRST(&f->users);
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): remove_user() took the one before out */
        attempt_done_cb on_done = user->on_done;
        void *owner = user->arg;

        remove_user(user);
        on_done(owner, result);
    } while (f->num_users > 0 && clock_now_us() - began_us < most_us);
    f->tells = false;
}

static void on_turn(struct slice *slice)
{
    struct flight *f = slice->arg;

    tell(f, &f->told->result, TURN_US);
    if (f->num_users > 0 && slices_add(&f->rt->slices, f->rt->loop, slice) != 0)
        tell(f, &f->told->result, UINT64_MAX);
    if (f->num_users == 0)
        end(f);
}

/* @return 0, ERR_NOMEM: nobody is told later */
static int tell_later(struct flight *f, const struct attempt_result *result)
{
    const struct upstream_result *upstream = result->upstream;
    size_t len = upstream->body != NULL ? upstream->body_len : 0;
    struct told *told = malloc(sizeof(*told) + len + 1);

    if (told == NULL)
        return ERR_NOMEM;
    told->result = *result;
    told->upstream = *upstream;
    told->result.upstream = &told->upstream;
    told->upstream.head.headers = NULL;
    told->upstream.head.num_headers = 0;
    if (upstream->body != NULL) {
        memcpy(told->body, upstream->body, len);
        told->body[len] = '\0';
        told->upstream.body = told->body;
    }
    f->told = told;
    f->turn.cb = on_turn;
    f->turn.arg = f;
    return slices_add(&f->rt->slices, f->rt->loop, &f->turn);
}

static void on_done(void *arg, const struct attempt_result *result)
{
    struct flight *f = arg;

    f->attempt = NULL;
    LIST_REMOVE(f, link);
    tell(f, result, 0);
    if (f->num_users > 0 && tell_later(f, result) != 0)
        tell(f, result, UINT64_MAX);
    if (f->num_users == 0)
        end(f);
}

/* --- entering and leaving --- */

static struct flight_bucket *bucket_of(struct runtime *rt, uint64_t key)
{
    return &rt->flights[key % RUNTIME_FLIGHT_BUCKETS];
}

static bool is_for(const struct flight *f, uint64_t key, const struct attempt_spec *spec)
{
    return f->key == key && f->deployment == spec->deployment && f->call == spec->call &&
           strcmp(f->id, spec->id) == 0;
}

static struct flight *find(struct runtime *rt, uint64_t key, const struct attempt_spec *spec)
{
    struct flight *f;

    LIST_FOREACH(f, bucket_of(rt, key), link)
    {
        if (is_for(f, key, spec) && f->num_users < FLIGHT_MOST_USERS &&
            poll_cache_is_current(rt->inherited->poll_cache, key, f->since))
            return f;
    }
    return NULL;
}

static struct flight *begin(struct runtime *rt, uint64_t key, const struct attempt_spec *spec)
{
    size_t size = strlen(spec->id) + 1;
    struct flight *f = calloc(1, sizeof(*f) + size);
    struct attempt_spec own = *spec;

    if (f == NULL)
        return NULL;
    f->rt = rt;
    f->key = key;
    f->since = poll_cache_moment(rt->inherited->poll_cache);
    f->deployment = spec->deployment;
    f->call = spec->call;
    memcpy(f->id, spec->id, size);
    TAILQ_INIT(&f->users);
    own.on_done = on_done;
    own.arg = f;
    f->attempt = attempt_start(rt, &own);
    if (f->attempt == NULL) {
        free(f);
        return NULL;
    }
    LIST_INSERT_HEAD(bucket_of(rt, key), f, link);
    return f;
}

struct flight_user *flight_enter(struct runtime *rt, const struct attempt_spec *spec,
                                 struct flight_entered *entered)
{
    uint64_t key =
        poll_cache_key(runtime_fingerprint(rt, spec->deployment), spec->id, strlen(spec->id));
    struct flight_user *user = calloc(1, sizeof(*user));
    struct flight *f = user != NULL ? find(rt, key, spec) : NULL;

    entered->joined = f != NULL;
    if (user != NULL && f == NULL)
        f = begin(rt, key, spec);
    if (f == NULL) {
        free(user);
        return NULL;
    }
    entered->moment = f->since;
    user->on_done = spec->on_done;
    user->arg = spec->arg;
    add_user(f, user);
    return user;
}

void flight_leave(struct flight_user *user)
{
    struct flight *f;

    if (user == NULL)
        return;
    f = user->flight;
    remove_user(user);
    if (f->num_users > 0 || f->tells)
        return;
    if (f->attempt != NULL) {
        LIST_REMOVE(f, link);
        attempt_cancel(f->attempt);
        f->attempt = NULL;
    }
    end(f);
}
