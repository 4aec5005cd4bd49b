/* Which of the places that an upload may go to take its file: limits, models, urls and expiry belong
 * to providers, and a group may have rows of both. */
#pragma once

#include "upload_send.h"

/** @param unfit  [places->num]; written: whether it takes no such file
 *  @return whether any does; else `why` says what the first one would not take */
bool upload_fit(const struct upload *up, const struct candidates *places, bool *unfit,
                struct failure *why);
