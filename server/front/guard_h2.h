/* The counting part of the HTTP/2 frame filter: which frame may come now, and how many of the
 * cheap-to-send kinds one connection may send. Pure: frame headers and times in, verdict out.
 *
 * Budgets are buckets that refill with time, so that a client which keeps within the rates for ever
 * is never disturbed and a flood is over after some hundred frames, whatever its kind:
 * CVE-2023-44487 (rapid reset), CVE-2025-8671 (streams that the server is made to reset),
 * CVE-2019-9511 to 9518 (floods of control, empty and priority frames), CVE-2024-27316 and its kin
 * (CONTINUATION). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_SIZE 9
#define FRAME_MAX_PAYLOAD 16384 /* SETTINGS_MAX_FRAME_SIZE that libh2o keeps to */
#define FRAME_MAX_BLOCK   (FRAME_MAX_PAYLOAD - FRAME_HEADER_SIZE) /* bytes of one header block */
#define FRAME_MAX_PIECES  64                                      /* frames of one header block */
#define FRAME_MAX_FIELDS  100                                     /* of a decoded header list */
/* Its bytes, as RFC 9113, 6.5.2 counts them (32 more for each field) */
#define FRAME_MAX_LIST    65536

enum frame_type {
    FRAME_DATA,
    FRAME_HEADERS,
    FRAME_PRIORITY,
    FRAME_RST_STREAM,
    FRAME_SETTINGS,
    FRAME_PUSH_PROMISE,
    FRAME_PING,
    FRAME_GOAWAY,
    FRAME_WINDOW_UPDATE,
    FRAME_CONTINUATION
};

#define FRAME_END_STREAM   0x1
#define FRAME_ACK          0x1
#define FRAME_END_HEADERS  0x4
#define FRAME_PADDED       0x8
#define FRAME_HAS_PRIORITY 0x20

/* RFC 9113, 7 */
enum frame_error {
    FRAME_OK = 0,
    FRAME_PROTOCOL_ERROR = 1,
    FRAME_FLOW_CONTROL_ERROR = 3,
    FRAME_STREAM_CLOSED = 5,
    FRAME_SIZE_ERROR = 6,
    FRAME_REFUSED_STREAM = 7,
    FRAME_ENHANCE_YOUR_CALM = 11
};

struct frame {
    uint32_t length;
    uint8_t type, flags;
    uint32_t stream_id;
};

enum frame_cost {
    COST_RESET, /* a client's RST_STREAM, and a stream that it made the server reset */
    COST_PING,
    COST_SETTINGS,
    COST_PRIORITY,
    COST_WINDOW,     /* WINDOW_UPDATE; response bytes earn more of it */
    COST_EMPTY_DATA, /* DATA without payload and without END_STREAM */
    COST_UNKNOWN,
    COST_KINDS
};

struct frame_budget {
    int64_t left[COST_KINDS]; /* thousandths of a frame */
    uint64_t refilled_ms;
    bool greeted;          /* the client's first SETTINGS came */
    uint32_t block_stream; /* of the header block that is open; 0: none */
    uint32_t block_pieces, block_bytes;
};

void frame_budget_init(struct frame_budget *b, uint64_t now_ms);

/** Read the nine bytes of a frame header. */
struct frame frame_parse(const uint8_t *bytes);

/** Judge and count one frame; to be called once for each. @param why  set to a constant text unless
 * FRAME_OK */
enum frame_error frame_check(struct frame_budget *b, const struct frame *f, uint64_t now_ms,
                             const char **why);

/** Take one out of a bucket. @return false: it is empty, the connection has to end */
bool frame_charge(struct frame_budget *b, enum frame_cost cost, uint64_t now_ms);

/** Response bytes went out: the client will return windows for them. */
void frame_earn(struct frame_budget *b, uint64_t response_bytes);

/**
 * Find the payload of DATA, or the fragment of HEADERS between padding and priority fields.
 *
 * @param at   set to its offset in the payload
 * @return its length; -1: the padding does not fit (PROTOCOL_ERROR)
 */
int frame_content(const struct frame *f, const uint8_t *payload, size_t *at);

/** Whether HEADERS or PRIORITY names its own stream as the one that it depends on (RFC 7540, 5.3.1;
 * that is all that we still know of priorities: RFC 9113, 5.3.2). False for HEADERS without
 * priority fields, or with too few bytes for them. */
bool frame_depends_on_itself(const struct frame *f, const uint8_t *payload);
