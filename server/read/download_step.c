/* See download_step.h. */
#include "download_step.h"

const char *download_step_name(enum download_step step)
{
    static const char *const names[DOWNLOAD_STEPS] = {
        [DOWNLOAD_FIND] = "find",   [DOWNLOAD_ASK] = "ask",     [DOWNLOAD_STREAM] = "stream",
        [DOWNLOAD_PAUSE] = "pause", [DOWNLOAD_LEFT] = "left",   [DOWNLOAD_RESUME] = "resume",
        [DOWNLOAD_WHOLE] = "whole", [DOWNLOAD_SHORT] = "short",
    };

    return names[step];
}

bool download_step_may(enum download_step from, enum download_step to)
{
    static const bool may[DOWNLOAD_STEPS][DOWNLOAD_STEPS] = {
        [DOWNLOAD_FIND] = {[DOWNLOAD_ASK] = true},
        [DOWNLOAD_ASK] = {[DOWNLOAD_STREAM] = true},
        [DOWNLOAD_STREAM] =
            {[DOWNLOAD_PAUSE] = true, [DOWNLOAD_WHOLE] = true, [DOWNLOAD_SHORT] = true},
        [DOWNLOAD_PAUSE] = {[DOWNLOAD_STREAM] = true,
                            [DOWNLOAD_LEFT] = true,
                            [DOWNLOAD_WHOLE] = true,
                            [DOWNLOAD_SHORT] = true},
        [DOWNLOAD_LEFT] =
            {[DOWNLOAD_RESUME] = true, [DOWNLOAD_WHOLE] = true, [DOWNLOAD_SHORT] = true},
        [DOWNLOAD_RESUME] = {[DOWNLOAD_STREAM] = true, [DOWNLOAD_SHORT] = true},
    };

    return may[from][to];
}
