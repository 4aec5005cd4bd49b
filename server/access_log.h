/* One JSON line on standard output per request that ended. */
#pragma once

#include <stddef.h>

#define ACCESS_LOG_ID 37 /* bytes of a request's id, with the NUL */

struct relay;

/** A new id of a request: what its x-request-id header and its line have in common. */
void access_log_new_id(char out[ACCESS_LOG_ID]);

/** Write the line; called once, when the request's memory goes. */
void access_log_write(const struct relay *relay);

/** The line of a request that was refused by its head alone, before any route saw it.
 *  @param version    0x101, 0x200: as libh2o counts
 *  @param bytes_out  of the answer's body */
void access_log_refusal(const char *request_id, int status, int version, size_t bytes_out);
