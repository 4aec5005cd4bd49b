/* One JSON line on standard output per request that ended. */
#pragma once

struct relay;

/** Write the line; called once, when the request's memory goes. */
void access_log_write(const struct relay *relay);
