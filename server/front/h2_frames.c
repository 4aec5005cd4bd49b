/* See h2_frames.h. */
#include "h2_frames.h"

#include <stdlib.h>
#include <string.h>
#include <h2o/http2.h>
#include <h2o/http2_internal.h>

void h2_put_frame(h2o_http2_conn_t *lib, uint8_t type, uint8_t flags, uint32_t stream_id,
                  const uint8_t *payload, size_t len)
{
    h2o_iovec_t room = h2o_buffer_reserve(&lib->_write.buf, FRAME_HEADER_SIZE + len);

    h2o_http2_encode_frame_header((uint8_t *)room.base, len, type, flags, (int32_t)stream_id);
    memcpy(room.base + FRAME_HEADER_SIZE, payload, len);
    lib->_write.buf->size += FRAME_HEADER_SIZE + len;
    h2o_http2_conn_request_write(lib);
}

void h2_put_reset(h2o_http2_conn_t *lib, uint32_t stream_id, enum frame_error error)
{
    const uint8_t payload[4] = {0, 0, 0, (uint8_t)error};

    h2_put_frame(lib, FRAME_RST_STREAM, 0, stream_id, payload, sizeof(payload));
}

void h2_put_window(h2o_http2_conn_t *lib, uint32_t stream_id, uint32_t bytes)
{
    const uint8_t payload[4] = {(uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16),
                                (uint8_t)(bytes >> 8), (uint8_t)bytes};

    h2_put_frame(lib, FRAME_WINDOW_UPDATE, 0, stream_id, payload, sizeof(payload));
}

/* Behind libh2o's own SETTINGS, which offer 16 MiB for each stream: what we really have room for.
 */
void h2_put_settings(h2o_http2_conn_t *lib)
{
    static const struct {
        uint8_t id;
        uint32_t value;
    } ours[] = {{H2O_HTTP2_SETTINGS_INITIAL_WINDOW_SIZE, GUARD_WINDOW_H2},
                {H2O_HTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, FRAME_MAX_LIST}};
    uint8_t payload[sizeof(ours) / sizeof(ours[0]) * 6], *p = payload;

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        *p++ = 0;
        *p++ = ours[i].id;
        for (int shift = 24; shift >= 0; shift -= 8)
            *p++ = (uint8_t)(ours[i].value >> shift);
    }
    h2_put_frame(lib, FRAME_SETTINGS, 0, 0, payload, sizeof(payload));
    h2_put_window(lib, 0, GUARD_WINDOW_H2_ALL - 65535); /* RFC 9113, 6.9.2: it begins with 65,535 */
}

void h2_expect_orphan(struct conn *conn, const struct h2_orphan *orphan)
{
    struct h2_conn *h2 = &conn->h2;

    if (h2->orphans == NULL && (h2->orphans = calloc(H2_ORPHANS, sizeof(*h2->orphans))) == NULL) {
        guard_cut(conn);
        return;
    }
    h2->orphans[h2->next_orphan] = *orphan;
    h2->next_orphan = (h2->next_orphan + 1) % H2_ORPHANS;
}

struct h2_orphan *h2_find_orphan(const struct h2_conn *h2, uint32_t id)
{
    for (size_t i = 0; h2->orphans != NULL && i < H2_ORPHANS; i++)
        if (h2->orphans[i].id == id)
            return &h2->orphans[i];
    return NULL;
}
