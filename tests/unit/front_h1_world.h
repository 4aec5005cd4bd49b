/* A client of the front door that speaks HTTP/1, over clear text and TLS. */
#pragma once

#include "front_world.h"

#include <signal.h>

#define HOST "Host: x\r\n"

/* Run a test over both. */
#define BOTH(name)                                                                                 \
    static void name(void **state)                                                                 \
    {                                                                                              \
        (void)state;                                                                               \
        check_##name(false);                                                                       \
        check_##name(true);                                                                        \
    }

static struct client open_h1(bool tls)
{
    struct client c = client_open(tls, "\x08http/1.1");

    world.calls = world.answered = world.gone = 0;
    world.bytes = 0;
    memset(world.failures, 0, sizeof(world.failures));
    return c;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_begin, world_end)
