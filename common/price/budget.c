/* See budget.h. */
#include "price/budget.h"

#include <string.h>

#define DAY_S UINT64_C(86400)

bool budget_period_read(const char *text, uint32_t *seconds)
{
    static const struct {
        const char *unit;
        uint64_t seconds;
    } units[] = {{"s", 1},     {"m", 60},        {"min", 60},       {"h", 3600},
                 {"d", DAY_S}, {"w", 7 * DAY_S}, {"mo", 30 * DAY_S}};
    uint64_t number = 0;
    const char *p = text;

    for (; *p >= '0' && *p <= '9'; p++) {
        number = number * 10 + (uint64_t)(*p - '0');
        if (number > BUDGET_MAX_PERIOD_S)
            return false;
    }
    if (p == text || number == 0)
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(p, units[i].unit) != 0)
            continue;
        *seconds = (uint32_t)(number * units[i].seconds);
        return number * units[i].seconds <= BUDGET_MAX_PERIOD_S;
    }
    return false;
}

/* `input` times out / in, in 128 bits, rounded up. */
static uint64_t expected_output(const struct budget_job *job)
{
    __extension__ unsigned __int128 product;

    if (job->output > 0)
        return job->output;
    if (job->seen_in == 0)
        return job->input;
    product = job->input;
    product = (product * job->seen_out + job->seen_in - 1) / job->seen_in;
    return product > UINT64_MAX ? UINT64_MAX : (uint64_t)product;
}

int64_t budget_estimate(const struct price *price, const struct budget_job *job)
{
    struct price_tokens tokens = {.in = job->input};
    int64_t nano;

    if (price->base.out != PRICE_NONE)
        tokens.out = expected_output(job);
    (void)price_cost(price, &tokens, &nano);
    return nano;
}
