/* See retention.h. */
#include "common/retention.h"

#include <strings.h>

#define HOUR_S 3600u
#define DAY_S  86400u

static uint32_t unit_of(const char *name)
{
    if (strcasecmp(name, "h") == 0)
        return HOUR_S;
    if (strcasecmp(name, "d") == 0)
        return DAY_S;
    return strcasecmp(name, "w") == 0 ? 7 * DAY_S : 0;
}

bool retention_read(const char *text, uint32_t *seconds)
{
    uint32_t number = 0, unit;
    const char *p = text;

    if (strcasecmp(text, "none") == 0) {
        *seconds = RETENTION_NONE;
        return true;
    }
    for (; *p >= '0' && *p <= '9'; p++) {
        number = number * 10 + (uint32_t)(*p - '0');
        if (number > RETENTION_MAX_S / HOUR_S)
            return false;
    }
    unit = unit_of(p);
    if (number == 0 || unit == 0 || number > RETENTION_MAX_S / unit)
        return false;
    *seconds = number * unit;
    return true;
}

uint32_t retention_of(uint32_t key_s, uint32_t team_s, uint32_t config_s)
{
    uint32_t said = key_s != RETENTION_UNSET    ? key_s
                    : team_s != RETENTION_UNSET ? team_s
                                                : config_s;

    return said == RETENTION_NONE ? 0 : said;
}
