/* See regions.h. */
#include "regions.h"

#include <stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/shm.h"

#define MEMO_ENTRIES  65536 /* 64 bytes each */
/* 64 bytes each: some 7,000 pages of four accounts, after which the oldest go */
#define PLACE_ENTRIES 65536
#define SEAL_ENTRIES  32768 /* 32 bytes each; five for a batch that has ended */
#define POLL_ENTRIES  16384 /* 4 KiB each once they are used */
#define METER_SCOPES  16384 /* keys and teams in use at a time */
#define IDEM_ENTRIES  16384 /* 4 KiB each once they are used */

int regions_open(struct generation_base *b, bool *known)
{
    int idem = handover_take(HANDOVER_IDEM), memo = handover_take(HANDOVER_MEMO),
        places = handover_take(HANDOVER_LIST_PLACES), polls = handover_take(HANDOVER_POLL_CACHE),
        seals = handover_take(HANDOVER_SEAL_CACHE), meters = handover_take(HANDOVER_METERS),
        ret = 0;

    *known = handover_took(HANDOVER_IDEM, idem_adopt(idem, IDEM_ENTRIES, &b->idem));
    if (!*known)
        ret |= idem_new(IDEM_ENTRIES, &b->idem);
    if (!handover_took(HANDOVER_MEMO, memo_adopt(memo, MEMO_ENTRIES, &b->memo)))
        ret |= memo_new(MEMO_ENTRIES, &b->memo);
    if (!handover_took(HANDOVER_LIST_PLACES, memo_adopt(places, PLACE_ENTRIES, &b->list_places)))
        ret |= memo_new(PLACE_ENTRIES, &b->list_places);
    if (!handover_took(HANDOVER_POLL_CACHE, poll_cache_adopt(polls, POLL_ENTRIES, &b->poll_cache)))
        ret |= poll_cache_new(POLL_ENTRIES, &b->poll_cache);
    if (!handover_took(HANDOVER_SEAL_CACHE, seal_cache_adopt(seals, SEAL_ENTRIES, &b->seal_cache)))
        ret |= seal_cache_new(SEAL_ENTRIES, &b->seal_cache);
    if (!handover_took(HANDOVER_METERS,
                       meters_adopt(meters, METER_SCOPES, WORKER_ROWS, &b->meters)))
        ret |= meters_new(METER_SCOPES, WORKER_ROWS, &b->meters);
    b->minutes = shm_new(WORKER_ROWS * sizeof(*b->minutes));
    ret |= b->minutes == NULL;
    return ret == 0 ? 0 : ERR_NOMEM;
}

int regions_open_registry(struct generation_base *b, const struct config *config)
{
    if (b->registry != NULL ||
        handover_took(HANDOVER_REGISTRY, registry_adopt(handover_take(HANDOVER_REGISTRY),
                                                        config->max_known_files, &b->registry)))
        return 0;
    return registry_new(config->max_known_files, clock_unix_s(), &b->registry);
}

int regions_open_followed(struct generation_base *b, const struct config *config)
{
    if (b->followed != NULL || !config->journal ||
        handover_took(HANDOVER_FOLLOWED,
                      followed_adopt(handover_take(HANDOVER_FOLLOWED), FOLLOWED_MAX, &b->followed)))
        return 0;
    return followed_new(FOLLOWED_MAX, &b->followed);
}

int regions_open_series(struct generation_base *b, const struct config *config)
{
    return b->series != NULL || !config->journal
               ? 0
               : series_new(config->metrics_max_series, &b->series);
}

int regions_bind_tokens(struct generation_base *b, const struct model_list *models)
{
    int ret = 0;

    if (models->num_credentials == 0)
        return 0;
    if (b->entra_tokens == NULL &&
        !handover_took(HANDOVER_ENTRA_TOKENS,
                       entra_tokens_adopt(handover_take(HANDOVER_ENTRA_TOKENS), &b->entra_tokens)))
        ret = entra_tokens_new(&b->entra_tokens);
    for (size_t i = 0; i < models->num_credentials && ret == 0; i++)
        ret =
            entra_tokens_bind(b->entra_tokens, models->credentials[i].fingerprint, handover_side());
    return ret;
}

static size_t add_fingerprints(const struct generation *generations, uint64_t *out)
{
    size_t num = 0;

    for (const struct generation *g = generations; g != NULL; g = g->next)
        for (size_t i = 0; i < g->config->models.num_credentials; i++, num++)
            if (out != NULL)
                out[num] = g->config->models.credentials[i].fingerprint;
    return num;
}

void regions_keep_tokens(const struct generation_base *b, const struct generation *generations,
                         uint32_t side)
{
    size_t num = add_fingerprints(generations, NULL);
    uint64_t *used = b->entra_tokens != NULL ? calloc(num + 1, sizeof(*used)) : NULL;

    if (used == NULL)
        return;
    (void)add_fingerprints(generations, used);
    entra_tokens_keep(b->entra_tokens, used, num, side);
    free(used);
}

void regions_close(struct generation_base *b)
{
    shm_free(b->minutes, WORKER_ROWS * sizeof(*b->minutes));
    entra_tokens_free(b->entra_tokens);
    series_free(b->series);
    meters_free(b->meters);
    followed_free(b->followed);
    registry_free(b->registry);
    seal_cache_free(b->seal_cache);
    poll_cache_free(b->poll_cache);
    idem_free(b->idem);
    memo_free(b->list_places);
    memo_free(b->memo);
}

void regions_offer(const struct generation_base *b, struct handover_offer *offer)
{
    offer->regions[HANDOVER_IDEM] = shm_fd(b->idem);
    offer->regions[HANDOVER_MEMO] = shm_fd(b->memo);
    offer->regions[HANDOVER_LIST_PLACES] = shm_fd(b->list_places);
    offer->regions[HANDOVER_POLL_CACHE] = shm_fd(b->poll_cache);
    offer->regions[HANDOVER_SEAL_CACHE] = shm_fd(b->seal_cache);
    offer->regions[HANDOVER_METERS] = shm_fd(b->meters);
    offer->regions[HANDOVER_REGISTRY] = shm_fd(b->registry);
    offer->regions[HANDOVER_FOLLOWED] = shm_fd(b->followed);
    offer->regions[HANDOVER_ENTRA_TOKENS] = shm_fd(b->entra_tokens);
    offer->seal = &b->fallback_seal;
}

static uint32_t clear_generation(const struct generation *gen, uint32_t side, uint64_t now_ms)
{
    struct quota *quota = gen->inherited.quota;
    uint32_t first = side * CHILD_ROWS;
    struct quota_undone undone = quota_undo_holders(quota, first, CHILD_ROWS, now_ms);

    for (uint32_t row = first; row < first + CHILD_ROWS; row++)
        (void)state_clear_worker(gen->inherited.state, row);
    (void)quota_undo_holders(quota, MASTER_ROW(side), 1, now_ms);
    (void)quota_undo_holders(quota, QUOTA_MAX_HOLDERS, 1, now_ms); /* it bound columns */
    (void)quota_repair(quota, NULL);
    return undone.orphans;
}

void regions_clear_side(const struct generation_base *base, const struct generation *generations,
                        uint32_t side, uint64_t now_ms)
{
    uint32_t lost = idem_undo_holders(base->idem, side * CHILD_ROWS, CHILD_ROWS), orphans = 0;

    for (uint32_t row = side * CHILD_ROWS; row < (side + 1) * CHILD_ROWS; row++) {
        meters_clear_holder(base->meters, row);
        entra_tokens_clear_holder(base->entra_tokens, row);
    }
    entra_tokens_clear_side(base->entra_tokens, side);
    for (const struct generation *g = generations; g != NULL; g = g->next)
        orphans += clear_generation(g, side, now_ms);
    log_info("upgrade: all processes of the previous program have ended");
    if (lost + orphans > 0)
        log_warn(
            "upgrade: it left %u batch creates with unknown outcome; a repeat of %u of them is "
            "looked for upstream first",
            orphans, lost);
}
