/* See listing_places.h. An id takes one entry for each 32 bytes, and each of them carries a check
 * of the whole: entries come and go one by one. */
#include "listing_places.h"

#include <assert.h>
#include <string.h>

#define KIND_END    0x6c650000u /* 'le' */
#define KIND_PLACE  0x6c700000u /* 'lp'; the lower bits number the pieces */
#define WORD_BYTES  sizeof(uint64_t)
#define PIECE_BYTES ((MEMO_WORDS - 1) * WORD_BYTES)
#define MORE_FLAG   0x10000u
#define LENGTH_MASK 0xffffu
#define CHECK_SHIFT 32
#define NO_ACCOUNT  1 /* memo_key() wants a place that is not 0 */

static_assert(LISTING_PLACE_MAX % PIECE_BYTES == 0, "an id fills whole entries");
static_assert(LISTING_PLACE_MAX <= IDS_MAX, "places hold what ids may be");

void listing_places_key(struct strbuf *key, uint64_t owner, enum id_kind kind, bool ascending,
                        const char *purpose, const char *last_id)
{
    strbuf_reset(key);
    if (owner != 0)
        strbuf_addf(key, "%016llx:", (unsigned long long)owner);
    strbuf_addf(key, "%c%c:%s:%s", (char)kind, ascending ? 'a' : 'd', purpose, last_id);
}

void listing_places_put_end(struct memo *memo, const struct strbuf *key,
                            const struct listing_page_end *end, uint64_t now_ms)
{
    uint64_t value[MEMO_WORDS] = {(uint64_t)end->created_at, end->account};

    memo_put(memo, memo_key(KIND_END, NO_ACCOUNT, strbuf_str(key), key->len), value, now_ms);
}

bool listing_places_get_end(const struct memo *memo, const struct strbuf *key, uint64_t now_ms,
                            struct listing_page_end *end)
{
    uint64_t value[MEMO_WORDS];

    if (!memo_get(memo, memo_key(KIND_END, NO_ACCOUNT, strbuf_str(key), key->len), 0, now_ms,
                  value))
        return false;
    end->created_at = (int64_t)value[0];
    end->account = (uint32_t)value[1];
    return true;
}

static uint64_t piece_key(const struct strbuf *key, uint32_t account, size_t piece)
{
    return memo_key(KIND_PLACE | (uint32_t)piece, account, strbuf_str(key), key->len);
}

/* The same first word in all entries of one id; entries of two ids differ in it. */
static uint64_t head_of(const struct listing_place *place, size_t len)
{
    uint64_t check = memo_key(KIND_PLACE, NO_ACCOUNT, place->id, len);

    return check << CHECK_SHIFT | (place->more ? MORE_FLAG : 0) | len;
}

void listing_places_put(struct memo *memo, const struct strbuf *key, uint32_t account,
                        const struct listing_place *place, uint64_t now_ms)
{
    char id[LISTING_PLACE_MAX] = ""; /* whole pieces */
    size_t len = strlen(place->id);

    if (len == 0 || len > LISTING_PLACE_MAX)
        return;
    memcpy(id, place->id, len);
    for (size_t piece = 0; piece * PIECE_BYTES < len; piece++) {
        uint64_t value[MEMO_WORDS] = {head_of(place, len)};

        memcpy(value + 1, id + piece * PIECE_BYTES, PIECE_BYTES);
        memo_put(memo, piece_key(key, account, piece), value, now_ms);
    }
}

bool listing_places_get(const struct memo *memo, const struct strbuf *key, uint32_t account,
                        uint64_t now_ms, struct listing_place *place)
{
    uint64_t value[MEMO_WORDS], head = 0;
    size_t len = PIECE_BYTES;

    memset(place, 0, sizeof(*place));
    for (size_t piece = 0; piece * PIECE_BYTES < len; piece++) {
        if (!memo_get(memo, piece_key(key, account, piece), 0, now_ms, value))
            return false;
        if (piece == 0) {
            head = value[0];
            len = head & LENGTH_MASK;
            if (len == 0 || len > LISTING_PLACE_MAX)
                return false;
        }
        memcpy(place->id + piece * PIECE_BYTES, value + 1, PIECE_BYTES);
    }
    place->id[len] = '\0';
    place->more = (head & MORE_FLAG) != 0;
    return head == head_of(place, len);
}
