/* See series.h. */
#include "balancer/series.h"

#include <assert.h>
#include <stdalign.h>
#include <string.h>

#include "common/shm_region.h"
#include "common/shm_words.h"

#define SERIES_MAGIC  0x52535154u /* "TQSR" */
#define SERIES_LAYOUT 1u
#define MAX_SERIES    1000000
#define TEXT_WORDS    (SERIES_LABELS * SERIES_TEXT / sizeof(uint64_t))
#define OTHER         "other"

struct row {
    alignas(CACHE_LINE) _Atomic uint64_t key; /* of family and labels; 0: free */
    _Atomic uint64_t family;                  /* + 1; 0: its labels are not written yet */
    _Atomic uint64_t text[TEXT_WORDS];
    _Atomic uint64_t numbers[SERIES_SLOTS];
};

struct series {
    alignas(CACHE_LINE) struct shm_head region;
    uint64_t max_series;
    uint64_t num_rows; /* a power of two */
    alignas(CACHE_LINE) _Atomic uint64_t used;
    struct row rows[];
};

/* What the region begins with, and all its dimensions. */
#define HEAD_BYTES (offsetof(struct series, num_rows) + sizeof(uint64_t))

static_assert(sizeof(struct row) % CACHE_LINE == 0, "layout of the region");
static_assert(SERIES_LABELS * SERIES_TEXT % sizeof(uint64_t) == 0, "labels are whole words");

int series_new(uint32_t max_series, struct series **out)
{
    struct series head = {.region = {.magic = SERIES_MAGIC, .layout = SERIES_LAYOUT},
                          .max_series = max_series};
    void *region;
    int ret;

    if (max_series == 0 || max_series > MAX_SERIES)
        return ERR_INVALID;
    /* Half of them stay free, so that a search ends soon. */
    head.num_rows = shm_buckets((uint64_t)max_series + SERIES_FAMILIES, 1) * 2;
    head.region.size = sizeof(struct series) + head.num_rows * sizeof(struct row);
    ret = shm_region_open("tranche-series", SHM_NEW, &head, HEAD_BYTES, &region);
    if (ret == 0)
        *out = region;
    return ret;
}

void series_free(struct series *series)
{
    shm_region_free(series);
}

/* --- names --- */

static uint64_t mix(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211); /* FNV-1a */
    return (hash ^ 0xff) * UINT64_C(1099511628211);
}

/* The labels as they are kept, and what they hash to. */
static uint64_t spell(const struct series_name *name, char text[SERIES_LABELS][SERIES_TEXT])
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint64_t)name->family;

    memset(text, 0, SERIES_LABELS * SERIES_TEXT);
    for (unsigned i = 0; i < SERIES_LABELS; i++) {
        size_t len = name->labels[i] == NULL ? 0 : strlen(name->labels[i]);

        if (len >= SERIES_TEXT)
            len = SERIES_TEXT - 1;
        while (len > 0 && ((unsigned char)name->labels[i][len] & 0xc0) == 0x80)
            len--; /* no half of a character */
        if (len > 0)
            memcpy(text[i], name->labels[i], len);
        hash = mix(hash, text[i]);
    }
    return hash != 0 ? hash : 1;
}

/* Whoever finds a row without labels writes them: they are the same for all who look for it. */
static void write_labels(struct row *row, enum series_family family,
                         char text[SERIES_LABELS][SERIES_TEXT])
{
    uint64_t words[TEXT_WORDS];

    memcpy(words, text, sizeof(words));
    for (size_t i = 0; i < TEXT_WORDS; i++)
        store_relaxed(&row->text[i], words[i]);
    store_release(&row->family, (uint64_t)family + 1);
}

/* @param anyway  also beyond max_series
 * @return NULL: there is no room */
static struct row *take_row(struct series *s, uint64_t key, bool anyway)
{
    for (uint64_t n = 0; n < s->num_rows; n++) {
        struct row *row = &s->rows[(key + n) & (s->num_rows - 1)];
        uint64_t have = load_acquire(&row->key);

        if (have == key)
            return row;
        if (have != 0)
            continue;
        if (!anyway && load_relaxed(&s->used) >= s->max_series)
            return NULL;
        if (cas_acq_rel(&row->key, &have, key)) {
            add_relaxed(&s->used, 1);
            return row;
        }
        if (have == key)
            return row;
    }
    return NULL;
}

static struct row *find_row(struct series *s, const struct series_name *name)
{
    static const char *const others[SERIES_LABELS] = {OTHER, OTHER, OTHER, OTHER};
    struct series_name other = {.family = name->family};
    char text[SERIES_LABELS][SERIES_TEXT];
    struct row *row = take_row(s, spell(name, text), false);

    assert((unsigned)name->family < SERIES_FAMILIES);
    if (row == NULL) {
        memcpy(other.labels, others, sizeof(others));
        row = take_row(s, spell(&other, text), true);
    }
    if (row != NULL && load_acquire(&row->family) == 0)
        write_labels(row, name->family, text);
    return row;
}

/* --- numbers --- */

void series_add(struct series *series, const struct series_name *name, unsigned slot, uint64_t more)
{
    struct row *row = series != NULL ? find_row(series, name) : NULL;

    assert(slot < SERIES_SLOTS);
    if (row != NULL)
        add_relaxed(&row->numbers[slot], more);
}

void series_set(struct series *series, const struct series_name *name, unsigned slot,
                uint64_t value)
{
    struct row *row = series != NULL ? find_row(series, name) : NULL;

    assert(slot < SERIES_SLOTS);
    if (row != NULL)
        store_relaxed(&row->numbers[slot], value);
}

void series_observe(struct series *series, const struct series_name *name, uint64_t value,
                    const uint64_t *bounds, unsigned num_bounds)
{
    struct row *row = series != NULL ? find_row(series, name) : NULL;
    unsigned i = 0;

    assert(num_bounds <= SERIES_BOUNDS);
    if (row == NULL)
        return;
    add_relaxed(&row->numbers[0], 1);
    add_relaxed(&row->numbers[1], value);
    while (i < num_bounds && value > bounds[i])
        i++;
    if (i < num_bounds)
        add_relaxed(&row->numbers[2 + i], 1);
}

uint32_t series_room(const struct series *series)
{
    return (uint32_t)series->num_rows;
}

bool series_read(const struct series *series, uint32_t i, struct series_sample *out)
{
    const struct row *row = &series->rows[i];
    uint64_t family = load_acquire(&row->family), words[TEXT_WORDS];

    assert(i < series->num_rows && family <= SERIES_FAMILIES);
    if (family == 0)
        return false;
    for (size_t n = 0; n < TEXT_WORDS; n++)
        words[n] = load_relaxed(&row->text[n]);
    memcpy(out->labels, words, sizeof(words));
    for (unsigned n = 0; n < SERIES_LABELS; n++)
        out->labels[n][SERIES_TEXT - 1] = '\0';
    out->family = (enum series_family)(family - 1);
    for (unsigned n = 0; n < SERIES_SLOTS; n++)
        out->numbers[n] = load_relaxed(&row->numbers[n]);
    return true;
}
