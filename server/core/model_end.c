/* See model_end.h. */
#include "core/model_end.h"

#include <stdio.h>
#include <time.h>

/* Years of four digits, which no sane provider exceeds. */
static bool is_date(int year, int month, int day)
{
    return year >= 1971 && year <= 9999 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

uint64_t model_end_read(const struct json *value)
{
    const char *text = json_str(value, NULL);
    struct tm tm = {0};
    int64_t seconds;
    int year, month, day;

    if (text == NULL)
        return json_int64(value, &seconds) && seconds > 0 ? (uint64_t)seconds : 0;
    if (sscanf(text, "%4d-%2d-%2d", &year, &month, &day) != 3 || !is_date(year, month, day))
        return 0;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    return (uint64_t)timegm(&tm);
}

bool model_end_is_near(uint64_t ends_s, int64_t now_s)
{
    return ends_s != 0 && now_s + MODEL_END_NEAR_S > 0 &&
           ends_s <= (uint64_t)(now_s + MODEL_END_NEAR_S);
}

void model_end_text(const char *model, uint64_t ends_s, int64_t now_s, char *out, size_t size)
{
    time_t ends = (time_t)ends_s;
    struct tm tm = {0};
    char day[16] = "";

    if (gmtime_r(&ends, &tm) != NULL)
        (void)strftime(day, sizeof(day), "%Y-%m-%d", &tm);
    snprintf(out, size,
             "The provider %s the model '%.128s' on %s: expect that it refuses what is "
             "asked of it from then on.",
             (int64_t)ends_s <= now_s ? "ended" : "ends", model, day);
}
