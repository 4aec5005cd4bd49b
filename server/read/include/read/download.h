/* GET files/{id}/content: streamed from the provider to the client with back-pressure end to end.
 */
#pragma once

#include "request/relay.h"

/** Take over a content request (GET or HEAD). */
void download_start(struct relay *relay);
