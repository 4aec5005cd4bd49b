/* See keys.h. */
#include "keys.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/shm.h"
#include "core/keeper_door.h"
#include "core/key_sources.h"

#define MIN_ROOM    1000000u /* keys: address space, so that max_keys may be raised by a reload */
#define TRIES       10
#define TRY_WAIT_MS 20

struct keys_region {
    struct rights_table *table; /* owned */
    uint32_t room;
    unsigned users; /* generations */
};

void keys_release(struct keys_region *region)
{
    assert(region == NULL || region->users > 0);
    if (region == NULL || --region->users > 0)
        return;
    rights_table_free(region->table);
    free(region);
}

static int region_new(uint32_t room, struct keys_region **out)
{
    struct keys_region *region = calloc(1, sizeof(*region));
    int ret;

    if (region == NULL)
        return ERR_NOMEM;
    region->users = 1;
    region->room = room;
    ret = rights_table_new(room, &region->table);
    if (ret != 0) {
        free(region);
        return ret;
    }
    *out = region;
    return 0;
}

/* In memory that gets into no core, for it has the token. */
static int open_door(struct generation_base *base)
{
    if (base->door != NULL)
        return 0;
    base->door = shm_new(sizeof(*base->door));
    if (base->door == NULL)
        return ERR_NOMEM;
    if (keeper_door_open(base->door) == 0)
        return 0;
    shm_free(base->door, sizeof(*base->door));
    base->door = NULL;
    return ERR_IO;
}

void keys_close_door(struct generation_base *base)
{
    if (base->door == NULL)
        return;
    keeper_door_close(base->door);
    shm_free(base->door, sizeof(*base->door));
    base->door = NULL;
}

int keys_open(struct generation *gen, struct generation_base *base,
              const struct generation *previous)
{
    uint32_t max = gen->config->max_keys;
    int ret;

    assert(gen->keys == NULL); /* one table of a generation, which counts once in its users */
    if (!gen->config->has_tenants)
        return 0;
    if (previous != NULL && previous->keys != NULL && previous->keys->room >= max) {
        gen->keys = previous->keys;
        gen->keys->users++;
    } else {
        ret = region_new(max > MIN_ROOM ? max : MIN_ROOM, &gen->keys);
        if (ret != 0)
            return ret;
    }
    gen->inherited.rights = gen->keys->table;
    if (!key_sources_need_keeper(gen->config))
        return 0;
    ret = open_door(base);
    gen->inherited.door = base->door;
    return ret;
}

static int publish(const struct generation *gen)
{
    return key_sources_publish(gen->keys->table, gen->inherited.generation, gen->config,
                               &gen->config->file_keys, NULL, 0);
}

/* The keeper of the generation before may be writing, which takes a fraction of a second. */
static int publish_in_time(const struct generation *gen)
{
    int ret = publish(gen);

    for (int i = 1; i < TRIES && ret == ERR_BAD_STATE; i++) {
        nanosleep(&(struct timespec){.tv_nsec = TRY_WAIT_MS * 1000000L}, NULL);
        ret = publish(gen);
    }
    return ret;
}

/* At a reload the keeper before has the keys of databases in the table, which the master does not
 * know: they stay until the new keeper has read them, and publishes all together. */
static bool is_the_keepers(const struct generation *gen)
{
    return key_sources_have_database(gen->config) && rights_generation(gen->keys->table) > 0;
}

int keys_publish(const struct generation *gen, char *error, size_t error_size)
{
    int ret = gen->keys != NULL && !is_the_keepers(gen) ? publish_in_time(gen) : 0;

    if (ret == ERR_LIMIT)
        snprintf(error, error_size,
                 "the keys have no room: more than tranche_settings.max_keys (%u), or their lists "
                 "of models are too long",
                 gen->config->max_keys);
    else if (ret != 0)
        snprintf(error, error_size, "cannot publish the keys: %s",
                 ret == ERR_BAD_STATE ? "the keeper is still writing, try again" : err_str(ret));
    return ret;
}

void keys_hand_back(const struct generation *serving)
{
    int ret = 0;

    if (serving->keys == NULL)
        return;
    ret = rights_hand_back(serving->keys->table, serving->inherited.generation);
    if (ret == 0 && !key_sources_need_keeper(serving->config))
        ret = publish_in_time(serving);
    if (ret != 0)
        log_error("the keys of generation %u cannot be published again: %s",
                  serving->inherited.generation, err_str(ret));
}
