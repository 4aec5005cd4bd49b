/* See issuer_fetch.h. An issuer may have several addresses, each with keys of its own: what is
 * published is all that they have, of each what it said last. */
#include "issuer_fetch.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "core/issuer.h"

#define KEPT_MS (60 * 60 * 1000) /* until the issuer is asked again without a cause */
#define LOOK_MS 100              /* between two looks whether the bell rang */
#define CALL_MS 10000            /* of a call to the issuer as a whole */

/* One address. */
struct place {
    struct fetch *fetch;
    const char *url; /* borrowed */
    struct jwks last;
    int64_t good_unix_s; /* of the answer that is `last`; 0: there was none */
    bool failing;        /* its last answer was none, and that was told */
};

struct fetch {
    struct loop *loop; /* borrowed, as what follows */
    struct upstream *up;
    struct issuer_keys *keys;
    struct loop_timer look;
    uint64_t due_ms;  /* monotonic; when the issuer is asked without a bell */
    uint64_t rung;    /* of the bell, when the calls that run were begun */
    size_t in_flight; /* of the places, how many are being asked */
    bool failed;      /* of them one has not answered well */
    struct jwks all;
    size_t num;
    struct place places[];
};

/* An address without what may be secret in it. */
static int shown(const char *url)
{
    return (int)strcspn(url, "?#");
}

/* --- one answer --- */

static void add_keys(struct jwks *all, const struct jwks *set)
{
    for (uint32_t i = 0; i < set->num && all->num < JWKS_MAX_KEYS; i++)
        all->keys[all->num++] = set->keys[i];
}

/* All that is not too old, in the order of the addresses. */
static void publish(struct fetch *f, int64_t now_unix_s)
{
    int64_t newest = 0;

    memset(&f->all, 0, sizeof(f->all));
    for (size_t i = 0; i < f->num; i++) {
        const struct place *place = &f->places[i];

        if (now_unix_s - place->good_unix_s >= ISSUER_OLD_S)
            continue;
        add_keys(&f->all, &place->last);
        newest = place->good_unix_s > newest ? place->good_unix_s : newest;
    }
    if (f->all.num > 0)
        issuer_keys_publish(f->keys, &f->all, newest);
}

static void fail(struct place *place, const char *why)
{
    place->fetch->failed = true;
    if (!place->failing)
        log_warn("jwt: no keys from %.*s: %s; %s", shown(place->url), place->url, why,
                 place->last.num > 0 ? "those of before are kept for a day"
                                     : "tokens that need them are answered 503");
    place->failing = true;
}

static bool is_same(const struct jwks *a, const struct jwks *b)
{
    return a->num == b->num && memcmp(a->keys, b->keys, a->num * sizeof(a->keys[0])) == 0;
}

static void take(struct place *place, const struct jwks *set)
{
    if (place->failing || !is_same(&place->last, set))
        log_info("jwt: %u keys from %.*s, %u passed over", set->num, shown(place->url), place->url,
                 set->num_passed);
    place->last = *set;
    place->good_unix_s = clock_unix_s();
    place->failing = false;
}

static void judge(struct place *place, const struct upstream_result *result)
{
    static struct jwks set; /* one at a time */
    struct jwks_error error = {""};
    char why[64];

    memset(&set, 0, sizeof(set));
    if (result->end != UPSTREAM_ANSWERED) {
        fail(place, result->error);
    } else if (result->head.status != 200) {
        snprintf(why, sizeof(why), "the answer has status %d", result->head.status);
        fail(place, why);
    } else if (jwks_read(result->body != NULL ? result->body : "", result->body_len, &set,
                         &error) != 0) {
        fail(place, error.message);
    } else {
        take(place, &set);
    }
}

static void end_round(struct fetch *f)
{
    publish(f, clock_unix_s());
    issuer_keys_hear(f->keys, f->rung);
    f->due_ms = loop_now_ms(f->loop) + (f->failed ? ISSUER_APART_MS : KEPT_MS);
}

static void on_answer(void *arg, const struct upstream_result *result)
{
    struct place *place = arg;
    struct fetch *f = place->fetch;

    judge(place, result);
    assert(f->in_flight > 0);
    if (--f->in_flight == 0)
        end_round(f);
}

/* --- rounds --- */

static void ask(struct place *place)
{
    const struct upstream_header accept = {"accept", "application/json"};
    const struct upstream_request request = {.method = "GET",
                                             .url = place->url,
                                             .headers = &accept,
                                             .num_headers = 1,
                                             .total_ms = CALL_MS,
                                             .max_body = JWKS_MAX_BYTES,
                                             .on_done = on_answer,
                                             .arg = place};

    if (upstream_start(place->fetch->up, &request) != NULL)
        place->fetch->in_flight++;
    else
        fail(place, "out of memory");
}

static void begin_round(struct fetch *f)
{
    assert(f->in_flight == 0); /* the round before has ended */
    f->rung = issuer_keys_rung(f->keys);
    f->failed = false;
    issuer_keys_begin(f->keys, loop_now_ms(f->loop));
    for (size_t i = 0; i < f->num; i++)
        ask(&f->places[i]);
    if (f->in_flight == 0)
        end_round(f);
}

/* Who rings soon after a round has had his answer: the set is new enough. */
static void on_look(struct loop_timer *timer)
{
    struct fetch *f = timer->arg;
    uint64_t now_ms = loop_now_ms(f->loop), rung = issuer_keys_rung(f->keys);
    bool rings = rung != issuer_keys_heard(f->keys);

    if (f->in_flight == 0) {
        if (now_ms >= f->due_ms || (rings && issuer_keys_may_ask(f->keys, now_ms, ISSUER_APART_MS)))
            begin_round(f);
        else if (rings)
            issuer_keys_hear(f->keys, rung);
    }
    if (loop_timer_start(f->loop, timer, LOOK_MS) != 0)
        log_error("out of memory: keys of the tokens' issuer are no longer fetched");
}

int issuer_fetch_start(struct loop *loop, struct upstream *up, const struct config_jwt *jwt,
                       struct issuer_keys *keys)
{
    struct fetch *f;

    if (!jwt->enabled || jwt->num_urls == 0)
        return 0;
    f = calloc(1, sizeof(*f) + jwt->num_urls * sizeof(f->places[0]));
    if (f == NULL)
        return ERR_NOMEM;
    f->loop = loop;
    f->up = up;
    f->keys = keys;
    f->num = jwt->num_urls;
    for (size_t i = 0; i < f->num; i++)
        f->places[i] = (struct place){.fetch = f, .url = jwt->urls[i]};
    f->look = (struct loop_timer){.cb = on_look, .arg = f};
    return loop_timer_start(loop, &f->look, 0);
}
