/* One deployment's word and what is read of it, for the tests of breaker. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "balancer/breaker.h"

static _Atomic uint64_t health;

#define NOW 1000000u

static struct breaker_policy policy; /* 3 in a row, 5 s */

static struct breaker_view view_of(uint64_t w)
{
    struct breaker_view v;

    breaker_unpack(w, &v);
    return v;
}

static uint64_t next(uint64_t w, enum outcome outcome, uint64_t now_ms)
{
    return breaker_next(w, &policy, outcome, -1, 7, now_ms);
}

/* The word of a deployment that has begun its first rest at NOW. */
static uint64_t cooling_word(void)
{
    uint64_t w = 0;

    for (int i = 0; i < 4; i++)
        w = next(w, OUTCOME_SERVER_ERROR, NOW);
    assert_int_equal(view_of(w).state, BREAKER_OPEN);
    return w;
}
