/* See results_index.h. 256 tables by the first bits of the hash, each with linear probing: it is
 * between 0.72 and 0.9 full, of entries of 28 bytes, and a step of its growth moves a 256th of all
 * entries, so that no turn of a loop sees more than that. Entries that stand near their place are
 * near it in a larger table, too: the place is a fraction of the room. */
#include "results/results_index.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <sys/random.h>

#define TABLES     256
#define FIRST_ROOM 16
#define FULL(room) ((room)*9 / 10) /* so many entries, and then it grows by a quarter */

/* 28 bytes. An entry that is free has no bytes. */
struct entry {
    uint32_t hash[4];
    uint32_t offset, len;
    uint16_t offset_high; /* bits 32 and up of the offset */
    uint16_t what;        /* status, and above STATUS_BITS the error */
};

#define STATUS_BITS 10

_Static_assert(sizeof(struct entry) == 28, "40 bytes a line with what is free in a table");

struct table {
    struct entry *entries; /* owned */
    uint32_t room, num;
};

struct results_index {
    uint64_t key[2];
    struct results_counts counts;
    struct result_lines lines;
    struct table tables[TABLES];
};

struct results_index *results_index_new(void)
{
    struct results_index *index = calloc(1, sizeof(*index));

    if (index == NULL)
        return NULL;
    if (getrandom(index->key, sizeof(index->key), 0) != sizeof(index->key)) {
        free(index);
        return NULL;
    }
    result_lines_init(&index->lines, index->key, 0);
    return index;
}

void results_index_free(struct results_index *index)
{
    if (index == NULL)
        return;
    for (size_t i = 0; i < TABLES; i++)
        free(index->tables[i].entries);
    free(index);
}

const uint64_t *results_index_key(const struct results_index *index)
{
    return index->key;
}

struct results_counts results_index_counts(const struct results_index *index)
{
    return index->counts;
}

size_t results_index_bytes(const struct results_index *index)
{
    size_t sum = sizeof(*index);

    for (size_t i = 0; i < TABLES; i++)
        sum += index->tables[i].room * sizeof(struct entry);
    return sum;
}

/* --- one table --- */

static bool is_free(const struct entry *e)
{
    return e->len == 0;
}

static unsigned table_of(const uint64_t hash[2])
{
    return (unsigned)(hash[0] >> 56);
}

/* The place of an entry: a fraction of the room, by bits that do not name the table. */
static uint32_t place_of(const struct table *t, const uint32_t hash[4])
{
    return (uint32_t)((uint64_t)hash[0] * t->room >> 32);
}

/* The entry of this hash, or the free one where it would stand. */
static struct entry *look(const struct table *t, const uint32_t hash[4])
{
    uint32_t i = place_of(t, hash);

    assert(t->num < t->room);
    while (!is_free(&t->entries[i]) &&
           memcmp(t->entries[i].hash, hash, sizeof(t->entries[i].hash)) != 0)
        i = i + 1 < t->room ? i + 1 : 0;
    return &t->entries[i];
}

static int grow(struct table *t)
{
    uint32_t room = t->room == 0 ? FIRST_ROOM : t->room + t->room / 4;
    struct table larger = {.entries = calloc(room, sizeof(*larger.entries)), .room = room};

    if (larger.entries == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < t->room; i++)
        if (!is_free(&t->entries[i]))
            *look(&larger, t->entries[i].hash) = t->entries[i];
    larger.num = t->num;
    free(t->entries);
    *t = larger;
    return 0;
}

/* --- entries --- */

static void split_hash(const uint64_t hash[2], uint32_t out[4])
{
    memcpy(out, hash, 4 * sizeof(*out));
}

static struct results_answer answer_of(const struct entry *e)
{
    struct results_answer answer = {.offset = (uint64_t)e->offset_high << 32 | e->offset,
                                    .len = e->len,
                                    .status = e->what & ((1u << STATUS_BITS) - 1),
                                    .error = (uint8_t)(e->what >> STATUS_BITS)};

    return answer;
}

static void fill(struct entry *e, const struct result_line *line)
{
    split_hash(line->hash, e->hash);
    e->offset = (uint32_t)line->begin;
    e->offset_high = (uint16_t)(line->begin >> 32);
    e->len = (uint32_t)(line->end - line->begin);
    e->what = (uint16_t)(line->error << STATUS_BITS | line->status);
    assert(!is_free(e) && line->status < 1u << STATUS_BITS);
}

/* The first answer of status 200 stays, else the first one (D34). */
static bool is_better(const struct result_line *line, const struct entry *than)
{
    return line->status == 200 && answer_of(than).status != 200;
}

static int add(struct results_index *index, const struct result_line *line)
{
    struct table *t = &index->tables[table_of(line->hash)];
    uint32_t hash[4];
    struct entry *e;

    if (line->end - line->begin > UINT32_MAX || line->begin >> 48 != 0 ||
        index->counts.lines + index->counts.duplicates >= RESULTS_MAX_LINES)
        return ERR_LIMIT;
    if (t->num >= FULL(t->room) && grow(t) != 0)
        return ERR_NOMEM;
    split_hash(line->hash, hash);
    e = look(t, hash);
    if (!is_free(e)) {
        index->counts.duplicates++;
        if (is_better(line, e))
            fill(e, line);
        return 0;
    }
    fill(e, line);
    t->num++;
    index->counts.lines++;
    return 0;
}

static int take(struct results_index *index, enum result_end end)
{
    if (end == RESULT_NOT_YET)
        return 0;
    if (end == RESULT_LINE && index->lines.line.has_id)
        return add(index, &index->lines.line);
    index->counts.bad++;
    return 0;
}

int results_index_feed(struct results_index *index, const char *bytes, size_t len)
{
    enum result_end end;

    for (size_t at = 0; at < len;) {
        int rc;

        at += result_lines_take(&index->lines, bytes + at, len - at, &end);
        rc = take(index, end);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int results_index_end_of_file(struct results_index *index)
{
    return take(index, result_lines_finish(&index->lines));
}

bool results_index_find(const struct results_index *index, const uint64_t hash[2],
                        struct results_answer *out)
{
    const struct table *t = &index->tables[table_of(hash)];
    uint32_t split[4];
    const struct entry *e;

    if (t->num == 0)
        return false;
    split_hash(hash, split);
    e = look(t, split);
    if (is_free(e))
        return false;
    *out = answer_of(e);
    return true;
}
