/* A test that runs on both engines: its world is in SQLite, or in the cluster of the program.
 *
 *   cluster_start(&cluster) in main(), then each test once with set_up_sqlite and once with
 *   set_up_postgres; without PostgreSQL its half is skipped, as the first line of the run says. */
#pragma once

#include "store_world.h"

static struct cluster cluster;

static int set_up_sqlite(void **state)
{
    static struct world world;

    world_init(&world, NULL);
    *state = &world;
    return 0;
}

static int set_up_postgres(void **state)
{
    static struct world world;

    *state = NULL;
    if (!cluster.there)
        return 0;
    world_init(&world, &cluster);
    *state = &world;
    return 0;
}

static int tear_down(void **state)
{
    if (*state != NULL)
        world_deinit(*state);
    return 0;
}

#define WORLD(w)                                                                                   \
    struct world *w = *state;                                                                      \
    if ((w) == NULL)                                                                               \
    skip()
