/* See guard_h2.h. */
#include "guard_h2.h"

#include <string.h>

#define UNIT             1000 /* thousandths */
/* Response bytes that earn a WINDOW_UPDATE: a client that returns every 4 KiB for stream and
 * connection uses a quarter of it */
#define BYTES_PER_WINDOW 512

static const struct {
    uint32_t burst; /* frames */
    uint32_t per_s; /* refill */
} limits[COST_KINDS] = {
    [COST_RESET] = {200, 20},    [COST_PING] = {100, 10},      [COST_SETTINGS] = {32, 1},
    [COST_PRIORITY] = {500, 50}, [COST_WINDOW] = {10000, 100}, [COST_EMPTY_DATA] = {100, 10},
    [COST_UNKNOWN] = {100, 10},
};

void frame_budget_init(struct frame_budget *b, uint64_t now_ms)
{
    memset(b, 0, sizeof(*b));
    b->refilled_ms = now_ms;
    for (int i = 0; i < COST_KINDS; i++)
        b->left[i] = (int64_t)limits[i].burst * UNIT;
}

struct frame frame_parse(const uint8_t *bytes)
{
    return (struct frame){
        .length = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2],
        .type = bytes[3],
        .flags = bytes[4],
        .stream_id = ((uint32_t)bytes[5] << 24 | (uint32_t)bytes[6] << 16 |
                      (uint32_t)bytes[7] << 8 | bytes[8]) &
                     0x7fffffff,
    };
}

static void add(struct frame_budget *b, int kind, int64_t thousandths)
{
    int64_t most = (int64_t)limits[kind].burst * UNIT;

    b->left[kind] = b->left[kind] > most - thousandths ? most : b->left[kind] + thousandths;
}

static void refill(struct frame_budget *b, uint64_t now_ms)
{
    uint64_t elapsed = now_ms > b->refilled_ms ? now_ms - b->refilled_ms : 0;

    if (elapsed == 0)
        return;
    if (elapsed > 3600000)
        elapsed = 3600000;
    for (int i = 0; i < COST_KINDS; i++)
        add(b, i, (int64_t)elapsed * limits[i].per_s);
    b->refilled_ms = now_ms;
}

bool frame_charge(struct frame_budget *b, enum frame_cost cost, uint64_t now_ms)
{
    refill(b, now_ms);
    if (b->left[cost] < UNIT)
        return false;
    b->left[cost] -= UNIT;
    return true;
}

void frame_earn(struct frame_budget *b, uint64_t response_bytes)
{
    uint64_t most = (uint64_t)limits[COST_WINDOW].burst * BYTES_PER_WINDOW;

    if (response_bytes > most)
        response_bytes = most;
    add(b, COST_WINDOW, (int64_t)(response_bytes * UNIT / BYTES_PER_WINDOW));
}

/* What RFC 9113, section 6, says of each type's length and stream, in the order of the types. */
static enum frame_error check_shape(const struct frame *f, const char **why)
{
    static const struct {
        bool on_stream, on_connection;
        uint32_t length, step; /* exact length, or 0; or a multiple */
    } shapes[] = {
        [FRAME_DATA] = {true, false, 0, 0},         [FRAME_HEADERS] = {true, false, 0, 0},
        [FRAME_PRIORITY] = {true, false, 5, 0},     [FRAME_RST_STREAM] = {true, false, 4, 0},
        [FRAME_SETTINGS] = {false, true, 0, 6},     [FRAME_PUSH_PROMISE] = {true, false, 0, 0},
        [FRAME_PING] = {false, true, 8, 0},         [FRAME_GOAWAY] = {false, true, 0, 0},
        [FRAME_WINDOW_UPDATE] = {true, true, 4, 0}, [FRAME_CONTINUATION] = {true, false, 0, 0},
    };

    if (f->stream_id == 0 ? !shapes[f->type].on_connection : !shapes[f->type].on_stream) {
        *why = "frame on a stream that it does not belong to";
        return FRAME_PROTOCOL_ERROR;
    }
    if ((shapes[f->type].length != 0 && f->length != shapes[f->type].length) ||
        (shapes[f->type].step != 0 && f->length % shapes[f->type].step != 0) ||
        (f->type == FRAME_SETTINGS && (f->flags & FRAME_ACK) != 0 && f->length != 0) ||
        (f->type == FRAME_GOAWAY && f->length < 8)) {
        *why = "frame of a wrong length";
        return FRAME_SIZE_ERROR;
    }
    return FRAME_OK;
}

/* The rules of header blocks: nothing in between, few pieces, few bytes. */
static enum frame_error check_block(struct frame_budget *b, const struct frame *f, const char **why)
{
    if (f->type == FRAME_HEADERS) {
        if (f->stream_id % 2 == 0) {
            *why = "HEADERS on an even stream";
            return FRAME_PROTOCOL_ERROR;
        }
        b->block_pieces = b->block_bytes = 0;
    }
    b->block_stream = (f->flags & FRAME_END_HEADERS) != 0 ? 0 : f->stream_id;
    b->block_bytes += f->length;
    if (++b->block_pieces > FRAME_MAX_PIECES || b->block_bytes > FRAME_MAX_BLOCK) {
        *why = "header block too large";
        return FRAME_ENHANCE_YOUR_CALM;
    }
    return FRAME_OK;
}

/* The bucket that a frame is taken from; COST_KINDS: none. */
static enum frame_cost cost_of(const struct frame *f)
{
    switch (f->type) {
    case FRAME_DATA:
        return f->length == 0 && (f->flags & FRAME_END_STREAM) == 0 ? COST_EMPTY_DATA : COST_KINDS;
    case FRAME_PRIORITY:
        return COST_PRIORITY;
    case FRAME_RST_STREAM:
        return COST_RESET;
    case FRAME_SETTINGS:
        return COST_SETTINGS;
    case FRAME_PING:
    case FRAME_GOAWAY:
        return COST_PING;
    case FRAME_WINDOW_UPDATE:
        return COST_WINDOW;
    case FRAME_HEADERS:
    case FRAME_PUSH_PROMISE:
    case FRAME_CONTINUATION:
        return COST_KINDS;
    default:
        return COST_UNKNOWN;
    }
}

enum frame_error frame_check(struct frame_budget *b, const struct frame *f, uint64_t now_ms,
                             const char **why)
{
    enum frame_cost cost = cost_of(f);
    enum frame_error error;

    if (f->length > FRAME_MAX_PAYLOAD) {
        *why = "frame too large";
        return FRAME_SIZE_ERROR;
    }
    if (!b->greeted && (f->type != FRAME_SETTINGS || (f->flags & FRAME_ACK) != 0)) {
        *why = "SETTINGS must come first";
        return FRAME_PROTOCOL_ERROR;
    }
    b->greeted = true;
    if (b->block_stream != 0 &&
        (f->type != FRAME_CONTINUATION || f->stream_id != b->block_stream)) {
        *why = "CONTINUATION expected";
        return FRAME_PROTOCOL_ERROR;
    }
    if (f->type == FRAME_PUSH_PROMISE || (f->type == FRAME_CONTINUATION && b->block_stream == 0)) {
        *why = "unexpected frame";
        return FRAME_PROTOCOL_ERROR;
    }
    if (f->type <= FRAME_CONTINUATION && (error = check_shape(f, why)) != FRAME_OK)
        return error;
    if (cost != COST_KINDS && !frame_charge(b, cost, now_ms)) {
        *why = "too many frames of this kind";
        return FRAME_ENHANCE_YOUR_CALM;
    }
    if (f->type == FRAME_HEADERS || f->type == FRAME_CONTINUATION)
        return check_block(b, f, why);
    return FRAME_OK;
}

int frame_content(const struct frame *f, const uint8_t *payload, size_t *at)
{
    size_t begin = 0, padding = 0;

    if ((f->flags & FRAME_PADDED) != 0) {
        if (f->length < 1)
            return -1;
        padding = payload[0];
        begin = 1;
    }
    if (f->type == FRAME_HEADERS && (f->flags & FRAME_HAS_PRIORITY) != 0)
        begin += 5;
    if (begin + padding > f->length)
        return -1;
    *at = begin;
    return (int)(f->length - begin - padding);
}

bool frame_depends_on_itself(const struct frame *f, const uint8_t *payload)
{
    size_t at = f->type == FRAME_HEADERS && (f->flags & FRAME_PADDED) != 0 ? 1 : 0;
    const uint8_t *p = payload + at;

    if (f->length < at + 5 || (f->type == FRAME_HEADERS && (f->flags & FRAME_HAS_PRIORITY) == 0))
        return false;
    return (((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]) &
            0x7fffffff) == f->stream_id;
}
