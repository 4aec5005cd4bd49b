/* Which candidates of an upload take its file: limits, models, urls and expiry belong to providers,
 * and a group may have rows of both. */
#pragma once

#include "upload_send.h"

/** @param unfit  [candidates->num]; written: whether it takes no such file
 *  @return whether any does; else `why` says what the first one would not take */
bool upload_fit(const struct upload *up, const struct candidates *candidates, bool *unfit,
                struct failure *why);
