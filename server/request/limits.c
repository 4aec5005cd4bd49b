/* See limits.h. The key comes first and its team second, in every step; what the team refuses the
 * key gets back. */
#include "request/limits.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/retention.h"
#include "common/seeded_fault.h"
#include "core/spool.h"
#include "core/tenant.h"
#include "request/errors.h"

#define MIB           1048576.0
/* What a form may add to its file: boundaries, names, small fields. What is announced with more is
 * refused at its head, what is not, when its file has passed the limit. */
#define FORM_BYTES    65536
#define PARALLEL_MS   1000 /* until one in flight may have ended */
#define UNMEASURED_MS 60000

/* One of the two whose limits hold for a caller. */
struct scope {
    uint64_t id; /* 0: there is none */
    const struct rights_limits *limits;
    bool team;
};

#define SCOPES 2

static const struct tenant *tenant_of(const struct relay *relay)
{
    return relay->tenant != NULL ? relay->tenant : &tenant_anybody;
}

static void scopes_of(const struct relay *relay, struct scope scopes[SCOPES])
{
    const struct tenant *tenant = tenant_of(relay);
    bool known = tenant->kind == TENANT_KEY || tenant->kind == TENANT_ADMIN;

    scopes[0] = (struct scope){known ? tenant->rights.key : 0, &tenant->rights.key_limits, false};
    scopes[1] = (struct scope){known ? tenant->rights.team : 0, &tenant->rights.team_limits, true};
}

/* --- refusals --- */

void limits_reset_time(int64_t wait_ms, char *text, size_t size)
{
    time_t at = (time_t)((clock_unix_ms() + wait_ms + 999) / 1000);
    struct tm tm;

    if (gmtime_r(&at, &tm) == NULL || strftime(text, size, "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
        text[0] = '\0';
}

/* "api_key: production", as LiteLLM has it, but for the hash. */
static void name_scope(const struct relay *relay, bool team, char out[TENANT_NAME + 16])
{
    char name[TENANT_NAME];

    tenant_name(relay->tenant, name);
    if (team)
        snprintf(out, TENANT_NAME + 16, "team: %s", relay->tenant->rights.team_name);
    else
        snprintf(out, TENANT_NAME + 16, "api_key: %s", name);
}

static void refuse_rate(const struct relay *relay, const struct scope *scope, const char *type,
                        uint64_t limit, uint64_t remaining, uint64_t wait_ms, struct failure *why)
{
    char name[TENANT_NAME + 16], reset[48];

    name_scope(relay, scope->team, name);
    limits_reset_time((int64_t)wait_ms, reset, sizeof(reset));
    error_fill(why, RATE_OF_TENANT, "", name, type, (unsigned long long)limit,
               (unsigned long long)remaining, reset);
    snprintf(why->rate_limit, sizeof(why->rate_limit), "%s", type);
    why->retry_after_ms = (int64_t)wait_ms;
}

/* Nobody is refused because the table has no place. */
static void tell_unmeasured(uint64_t now_ms)
{
    static uint64_t told_ms;

    if (told_ms != 0 && now_ms - told_ms < UNMEASURED_MS)
        return;
    told_ms = now_ms;
    log_warn("limits: more keys and teams are in use than can be measured; some are not limited");
}

static uint32_t place_of(const struct runtime *rt, const struct scope *scope, uint64_t now_ms)
{
    uint32_t place;

    if (scope->id == 0 || rt->inherited->meters == NULL)
        return METERS_NO_PLACE;
    place = meters_find(rt->inherited->meters, scope->id, now_ms);
    if (place == METERS_NO_PLACE)
        tell_unmeasured(now_ms);
    return place;
}

/* --- rates --- */

static uint64_t limit_of(const struct rights_limits *limits, enum meters_rate rate)
{
    return rate == METERS_PER_MINUTE ? limits->requests_per_minute : limits->requests_per_second;
}

static uint64_t burst_of(const struct rights_limits *limits, enum meters_rate rate)
{
    return rate == METERS_PER_MINUTE ? UINT64_MAX : limits->request_burst;
}

/* Take back the first `num` of both scopes' rates. */
static void unpass(struct meters *meters, const struct scope scopes[SCOPES],
                   const uint32_t places[SCOPES], int num)
{
    for (int i = 0; i < num; i++) {
        int s = i / METERS_RATES;
        enum meters_rate rate = (enum meters_rate)(i % METERS_RATES);

        if (places[s] != METERS_NO_PLACE)
            meters_unpass(meters, places[s], rate, limit_of(scopes[s].limits, rate));
    }
}

static bool pass(const struct relay *relay, const struct scope scopes[SCOPES],
                 const uint32_t places[SCOPES], uint64_t now_ms, struct failure *why)
{
    struct meters *meters = relay->rt->inherited->meters;

    for (int i = 0; i < SCOPES * METERS_RATES; i++) {
        const struct scope *scope = &scopes[i / METERS_RATES];
        uint32_t place = places[i / METERS_RATES];
        enum meters_rate rate = (enum meters_rate)(i % METERS_RATES);
        uint64_t limit = limit_of(scope->limits, rate), wait_ms;

        if (place == METERS_NO_PLACE ||
            meters_pass(meters, place, rate, limit, burst_of(scope->limits, rate), now_ms,
                        &wait_ms))
            continue;
        assert(limit != RIGHTS_UNLIMITED); /* which refuses nobody */
        refuse_rate(relay, scope, "requests", limit, 0, wait_ms, why);
        unpass(meters, scopes, places, i);
        return false;
    }
    return true;
}

/* --- what is in flight --- */

static uint64_t gauge_limit(const struct rights_limits *limits, enum meters_gauge gauge)
{
    switch (gauge) {
    case METERS_REQUESTS:
        return limits->parallel_requests;
    case METERS_UPLOADS:
        return limits->uploads;
    case METERS_BYTES:
        break;
    }
    return limits->spool_bytes;
}

static const char *gauge_type(enum meters_gauge gauge)
{
    switch (gauge) {
    case METERS_REQUESTS:
        return "max_parallel_requests";
    case METERS_UPLOADS:
        return "max_concurrent_uploads";
    case METERS_BYTES:
        break;
    }
    return "max_spool_bytes";
}

static void release(const struct runtime *rt, const uint32_t places[SCOPES],
                    enum meters_gauge gauge, uint64_t less, int num)
{
    for (int s = 0; s < num; s++)
        if (places[s] != METERS_NO_PLACE)
            meters_release(rt->inherited->meters, rt->slot, places[s], gauge, less);
}

static bool hold(const struct relay *relay, const struct scope scopes[SCOPES],
                 const uint32_t places[SCOPES], enum meters_gauge gauge, uint64_t more,
                 struct failure *why)
{
    const struct runtime *rt = relay->rt;
    struct meters *meters = rt->inherited->meters;

    for (int s = 0; s < SCOPES; s++) {
        uint64_t limit = gauge_limit(scopes[s].limits, gauge), held;

        if (places[s] == METERS_NO_PLACE ||
            meters_hold(meters, rt->slot, places[s], gauge, more, limit))
            continue;
        held = meters_held(meters, places[s], gauge);
        refuse_rate(relay, &scopes[s], gauge_type(gauge), limit, held < limit ? limit - held : 0,
                    PARALLEL_MS, why);
        release(rt, places, gauge, more, s);
        return false;
    }
    return true;
}

enum answered limits_admit(struct relay *relay)
{
    const struct runtime *rt = relay->rt;
    uint64_t now_ms = loop_now_ms(rt->loop);
    struct scope scopes[SCOPES];
    struct limits_place place = {.held = true};
    struct failure why;

    assert(!relay->limits.held); /* a request counts once */
    scopes_of(relay, scopes);
    if (scopes[0].id == 0)
        return GO_ON;
    for (int s = 0; s < SCOPES; s++)
        place.places[s] = place_of(rt, &scopes[s], now_ms);
    if (!pass(relay, scopes, place.places, now_ms, &why)) {
        relay_failure(relay, &why);
        return ANSWERED;
    }
    if (!hold(relay, scopes, place.places, METERS_REQUESTS, 1, &why)) {
        unpass(rt->inherited->meters, scopes, place.places, SCOPES * METERS_RATES);
        relay_failure(relay, &why);
        return ANSWERED;
    }
    relay->limits = place;
    return GO_ON;
}

void limits_release(const struct runtime *rt, struct limits_place *place)
{
    if (!place->held)
        return;
    place->held = false;
    release(rt, place->places, METERS_REQUESTS, 1, SCOPES);
}

/* --- uploads --- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The least of the key's, the team's and everybody's. */
static uint64_t most_file_bytes(const struct relay *relay)
{
    struct scope scopes[SCOPES];
    uint64_t most = relay->rt->config->limits.max_batch_file_bytes;

    scopes_of(relay, scopes);
    most = most != 0 ? most : UINT64_MAX;
    for (int s = 0; s < SCOPES; s++)
        if (scopes[s].id != 0)
            most = least(most, scopes[s].limits->file_bytes);
    return most;
}

/* @param came  of its bytes, so far: LiteLLM tells it of files of any purpose */
static bool file_fits(const struct relay *relay, uint64_t bytes, uint64_t came, struct failure *why)
{
    uint64_t all = relay->rt->config->limits.max_any_file_bytes, most = most_file_bytes(relay);
    double shown = (double)bytes / MIB;

    if (all != 0 && bytes > all && all <= most) {
        error_fill(why, FILE_ABOVE_OF_ALL, "file", (unsigned long long)(all >> 20),
                   (double)came / MIB);
        return false;
    }
    if (bytes <= most)
        return true;
    if (shown < (double)most / MIB + 0.1) /* it is not told that 10.0 MB exceed 10 */
        shown = (double)most / MIB + 0.1;
    error_fill(why, FILE_ABOVE_OF_TENANT, "file", shown, (double)most / MIB);
    return false;
}

/* What is larger than all that may wait at a time will not fit later either. */
static bool spool_fits(const struct scope scopes[SCOPES], uint64_t bytes, struct failure *why)
{
    for (int s = 0; s < SCOPES; s++) {
        if (scopes[s].id == 0 || bytes <= scopes[s].limits->spool_bytes)
            continue;
        error_fill(why, SPOOL_ABOVE_OF_TENANT, "file",
                   (unsigned long long)scopes[s].limits->spool_bytes);
        return false;
    }
    return true;
}

bool limits_begin_upload(struct relay *relay, int64_t announced, struct limits_upload *upload,
                         struct failure *why)
{
    uint64_t bytes = announced > 0 ? (uint64_t)announced : 0, now_ms = loop_now_ms(relay->rt->loop);
    struct scope scopes[SCOPES];

    assert(upload->rt == NULL); /* what it holds would be held for ever */
    *upload = (struct limits_upload){.rt = NULL};
    if (bytes > FORM_BYTES && !file_fits(relay, bytes - FORM_BYTES, 0, why))
        return file_fits(relay, bytes, 0, why); /* the same, and as large as it was announced */
    scopes_of(relay, scopes);
    if (scopes[0].id == 0)
        return true;
    if (!spool_fits(scopes, bytes, why))
        return false;
    for (int s = 0; s < SCOPES; s++)
        upload->place.places[s] = place_of(relay->rt, &scopes[s], now_ms);
    if (!hold(relay, scopes, upload->place.places, METERS_UPLOADS, 1, why))
        return false;
    if (!hold(relay, scopes, upload->place.places, METERS_BYTES, bytes, why)) {
        release(relay->rt, upload->place.places, METERS_UPLOADS, 1, SCOPES);
        return false;
    }
    upload->rt = relay->rt;
    upload->bytes = bytes;
    return true;
}

bool limits_allow_name(const struct relay *relay, const char *filename, struct failure *why)
{
    const struct config *config = relay->rt->config;
    const char *dot = strrchr(filename, '.');

    if (dot == NULL || dot == filename) /* ".env" has no ending, as in LiteLLM */
        return true;
    for (size_t i = 0; i < config->num_blocked_extensions; i++) {
        if (strcasecmp(dot, config->blocked_extensions[i]) != 0)
            continue;
        error_fill(why, FILE_KIND_BLOCKED, "file", config->blocked_extensions[i]);
        return false;
    }
    return true;
}

bool limits_upload_grows(const struct relay *relay, struct limits_upload *upload, uint64_t file,
                         struct failure *why)
{
    struct scope scopes[SCOPES];

    if (!file_fits(relay, file, file, why))
        return false;
    if (upload->rt == NULL || file <= upload->bytes)
        return true;
    scopes_of(relay, scopes);
    if (!spool_fits(scopes, file, why) ||
        !hold(relay, scopes, upload->place.places, METERS_BYTES, file - upload->bytes, why))
        return false;
    upload->bytes = file;
    return true;
}

bool limits_upload_is_fair(const struct relay *relay, const struct limits_upload *upload,
                           uint64_t more, uint64_t reserved)
{
    const struct runtime *rt = relay->rt;
    uint64_t held, own = reserved > 0 ? reserved + FORM_BYTES : 0;
    uint32_t place;

    if (upload->rt == NULL || relay->share == NULL)
        return true;
    place = tenant_of(relay)->rights.team != 0 ? upload->place.places[1] : upload->place.places[0];
    if (place == METERS_NO_PLACE)
        return true;
    held = meters_held(rt->inherited->meters, place, METERS_BYTES);
    return share_rule(held > own ? held - own : 0, more, spool_total(rt->inherited),
                      rt->config->limits.spool_bytes);
}

bool limits_reserve(const struct relay *relay, uint64_t bytes, uint64_t own, uint64_t of_key,
                    struct failure *why)
{
    struct scope scopes[SCOPES];
    uint64_t limit, held[SCOPES] = {of_key, own};

    if (!file_fits(relay, bytes, 0, why))
        return false;
    scopes_of(relay, scopes);
    if (scopes[0].id == 0)
        return true;
    if (!spool_fits(scopes, bytes, why))
        return false;
    if (relay->owner == 0) /* an admin key: `own` is everybody's who has no owner, and no team's */
        held[1] = 0;
    else if (scopes[1].id == 0)
        held[0] = own;
    for (int s = 0; s < SCOPES; s++) {
        limit = scopes[s].id != 0 ? scopes[s].limits->spool_bytes : UINT64_MAX;
        if (held[s] <= limit && bytes <= limit - held[s])
            continue;
        refuse_rate(relay, &scopes[s], gauge_type(METERS_BYTES), limit,
                    held[s] < limit ? limit - held[s] : 0, PARALLEL_MS, why);
        return false;
    }
    return true;
}

void limits_end_upload(struct limits_upload *upload)
{
    if (upload->rt == NULL)
        return;
    release(upload->rt, upload->place.places, METERS_BYTES, upload->bytes, SCOPES);
    release(upload->rt, upload->place.places, METERS_UPLOADS, 1, SCOPES);
    upload->rt = NULL;
}

/* --- what is enforced --- */

uint32_t limits_file_expiry(const struct relay *relay)
{
    const struct rights *rights = &tenant_of(relay)->rights; /* all zero where there is none */

    if (rights->key_limits.file_expiry_s != 0)
        return rights->key_limits.file_expiry_s;
    return rights->team_limits.file_expiry_s != 0 ? rights->team_limits.file_expiry_s
                                                  : relay->rt->config->enforced_file_expiry_s;
}

uint32_t limits_delete_after(const struct relay *relay)
{
    const struct rights *rights = &tenant_of(relay)->rights;

    if (seeded_fault(SEEDED_SHARED_DELETION))
        return 3600;
    return retention_of(rights->key_limits.delete_after_s, rights->team_limits.delete_after_s,
                        relay->rt->config->delete_after_s);
}

uint32_t limits_output_expiry(const struct relay *relay)
{
    const struct rights *rights = &tenant_of(relay)->rights;

    if (rights->key_limits.output_expiry_s != 0)
        return rights->key_limits.output_expiry_s;
    return rights->team_limits.output_expiry_s != 0 ? rights->team_limits.output_expiry_s
                                                    : relay->rt->config->enforced_output_expiry_s;
}
