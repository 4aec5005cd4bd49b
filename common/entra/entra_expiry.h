/* How long a token lives: nine spellings of two members (entra 2.4), and clocks that differ (entra
 * statement 12). Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "json/json.h"

struct entra_life {
    uint32_t lives_s;   /* 1 to ENTRA_MAX_LIFE_S */
    uint32_t refresh_s; /* less than `lives_s`; 0: not said */
    bool guessed;
};

/** Read `expires_on`: Unix seconds, or a moment in one of the forms of App Service; UTC where it names
 * no zone.
 *  @return false: it is none of them */
bool entra_expiry_moment(const char *text, int64_t *unix_s);

/** @param answer      an object
 *  @param now_unix_s  when it was made, by the clock of who made it where that is known */
struct entra_life entra_expiry_of(const struct json *answer, int64_t now_unix_s);
