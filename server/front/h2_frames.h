/* What stream_h2.c writes to an HTTP/2 connection by itself, past libh2o's streams, and what it
 * remembers of streams that it ended. */
#pragma once

#include "guard.h"

/* Each queues a frame behind libh2o's own output; only while its connection is known to be alive.
 */
void h2_put_frame(struct st_h2o_http2_conn_t *lib, uint8_t type, uint8_t flags, uint32_t stream_id,
                  const uint8_t *payload, size_t len);
void h2_put_reset(struct st_h2o_http2_conn_t *lib, uint32_t stream_id, enum frame_error error);
void h2_put_window(struct st_h2o_http2_conn_t *lib, uint32_t stream_id, uint32_t bytes);
void h2_put_settings(struct st_h2o_http2_conn_t *lib);

/** The rest of a request may be on its way for a stream that we have ended: bytes and trailers.
 * Cuts the connection when out of memory. */
void h2_expect_orphan(struct conn *conn, const struct h2_orphan *orphan);

/** NULL: nothing more may come for that stream. To have it so, set its id to 0. */
struct h2_orphan *h2_find_orphan(const struct h2_conn *h2, uint32_t id);
