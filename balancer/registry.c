/* See registry.h. */
#include "balancer/registry.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rand.h>

#include "checksum.h"
#include "balancer/memo.h"
#include "common/shm_region.h"
#include "common/shm_words.h"

#define REGISTRY_MAGIC  0x47525154u /* "TQRG" */
#define REGISTRY_LAYOUT 2u
#define PAGE            4096
#ifndef REGISTRY_WAYS
#define REGISTRY_WAYS 8u /* rows of a bucket */
#endif
#ifndef REGISTRY_LOG
#define REGISTRY_LOG 16384u /* changes that a reader may be late by; a power of two */
#endif
#define OWNERS     4096u /* words that tell whose rows went */
#define LATE_LOG   64u   /* a change that is not written after that many more never will be */
#define PUT_ROUNDS 4
/* A row that is being written is whole a moment later, unless its writer was killed */
#ifndef READ_ROUNDS
#define READ_ROUNDS 64
#endif

/* What a row is made of: numbers, then texts. */
struct content {
    uint64_t key, owner;
    int64_t created_s, expires_s, bytes;
    uint32_t account;
    uint8_t kind, described, unused[2];
    char native[REGISTRY_NATIVE], purpose[REGISTRY_PURPOSE], filename[REGISTRY_FILENAME];
    char unused_text[24];
};

#define CONTENT_WORDS (sizeof(struct content) / sizeof(uint64_t))

struct row {
    _Atomic uint64_t words[CONTENT_WORDS];
    _Atomic uint64_t sum;
};

struct change {
    _Atomic uint64_t number; /* of the change, from 1, twice, and 1 where a row went; 0: none yet */
    _Atomic uint64_t key;
};

struct registry {
    struct shm_head region;
    uint64_t buckets;
    uint64_t keys, owners, marks, lost, log, rows; /* offsets */
    /* From here on it is not what the region begins with */
    _Atomic uint64_t since_unix_s;
    _Atomic uint64_t lost_from_unix_s, lost_until_unix_s, behind_unix_s;
    _Atomic uint64_t closed; /* checksum of the gaps that are none */
    _Atomic uint64_t run;
    _Atomic uint64_t claims;  /* the last one: its number, and whose it is */
    _Atomic uint64_t kept;    /* changes that are in a database */
    _Atomic uint64_t changes; /* so far */
};

static_assert(LATE_LOG < REGISTRY_LOG, "what is late is not overwritten yet");
static_assert(sizeof(struct row) == 384, "layout of the region");

#define HEAD_BYTES offsetof(struct registry, since_unix_s)

/* --- places in the region --- */

static _Atomic uint64_t *column(const struct registry *r, uint64_t offset)
{
    return (_Atomic uint64_t *)((char *)(uintptr_t)r + offset);
}

static _Atomic uint64_t *key_at(const struct registry *r, uint32_t row)
{
    return column(r, r->keys) + row;
}

static _Atomic uint64_t *owner_at(const struct registry *r, uint32_t row)
{
    return column(r, r->owners) + row;
}

static _Atomic uint64_t *mark_at(const struct registry *r, uint32_t row)
{
    return column(r, r->marks) + row;
}

static _Atomic uint64_t *lost_of(const struct registry *r, uint64_t owner)
{
    return column(r, r->lost) + owner % OWNERS;
}

static struct change *change_at(const struct registry *r, uint64_t number)
{
    return (struct change *)column(r, r->log) + number % REGISTRY_LOG;
}

static struct row *row_at(const struct registry *r, uint32_t row)
{
    return (struct row *)column(r, r->rows) + row;
}

uint32_t registry_num_rows(const struct registry *r)
{
    return (uint32_t)(r->buckets * REGISTRY_WAYS);
}

/* --- made and taken over --- */

/* Of two buckets of eight both are hardly ever full before three rows of four are taken. */
static uint64_t buckets_for(uint32_t max_rows)
{
    uint64_t rows = (uint64_t)max_rows + max_rows / 3 + 1;

    return (rows + REGISTRY_WAYS - 1) / REGISTRY_WAYS;
}

static int fill_head(struct registry *head, uint32_t max_rows)
{
    uint64_t rows, columns;

    if (max_rows == 0 || max_rows > REGISTRY_MAX)
        return ERR_INVALID;
    memset(head, 0, sizeof(*head));
    head->buckets = buckets_for(max_rows);
    rows = head->buckets * REGISTRY_WAYS;
    columns = shm_round_up(rows * sizeof(uint64_t), CACHE_LINE);
    head->keys = shm_round_up(sizeof(*head), CACHE_LINE);
    head->owners = head->keys + columns;
    head->marks = head->owners + columns;
    head->lost = head->marks + columns;
    head->log = head->lost + OWNERS * sizeof(uint64_t);
    head->rows = shm_round_up(head->log + REGISTRY_LOG * sizeof(struct change), PAGE);
    head->region = (struct shm_head){.magic = REGISTRY_MAGIC,
                                     .layout = REGISTRY_LAYOUT,
                                     .size = head->rows + rows * sizeof(struct row)};
    return 0;
}

static int make(uint32_t max_rows, int fd, struct registry **out)
{
    struct registry head;
    void *region;
    int ret = fill_head(&head, max_rows);

    static_assert(HEAD_BYTES <= 128, "shm_region_open()'s bound");
    if (ret == 0)
        ret = shm_region_open("tranche-registry", fd, &head, HEAD_BYTES, &region);
    if (ret == 0)
        *out = region;
    return ret;
}

int registry_new(uint32_t max_rows, int64_t now_unix_s, struct registry **out)
{
    uint64_t run;
    int ret = make(max_rows, SHM_NEW, out);

    if (ret != 0)
        return ret;
    if (RAND_bytes((unsigned char *)&run, sizeof(run)) != 1) {
        registry_free(*out);
        return ERR_NOMEM;
    }
    store_relaxed(&(*out)->run, run != 0 ? run : 1);
    store_relaxed(&(*out)->since_unix_s, (uint64_t)now_unix_s);
    return 0;
}

int registry_adopt(int fd, uint32_t max_rows, struct registry **out)
{
    return make(max_rows, fd, out);
}

void registry_free(struct registry *registry)
{
    shm_region_free(registry);
}

/* --- rows --- */

uint64_t registry_key(enum id_kind kind, uint32_t account, const char *native)
{
    return memo_key((uint32_t)kind, account, native, strlen(native));
}

/* What decides about a row in a list, in one word: time, a few bits of the purpose, kind. */
#define MARK_TIME_SHIFT    16
#define MARK_PURPOSE_SHIFT 8
#define MARK_BYTE          0xffu

static uint64_t purpose_bits(const char *purpose)
{
    return memo_key('p', 1, purpose, strnlen(purpose, REGISTRY_PURPOSE - 1)) & MARK_BYTE;
}

static uint64_t mark_of(const struct content *c)
{
    return (uint64_t)c->created_s << MARK_TIME_SHIFT |
           purpose_bits(c->purpose) << MARK_PURPOSE_SHIFT | c->kind;
}

static uint64_t sum_of(const uint64_t words[CONTENT_WORDS])
{
    uint64_t sum = REGISTRY_MAGIC;

    for (size_t i = 0; i < CONTENT_WORDS; i++)
        sum = checksum_add(sum, words[i]);
    return sum;
}

/* @return whether it came whole, and is of that key */
static bool read_once(const struct registry *r, uint32_t number, uint64_t key, struct content *out)
{
    const struct row *row = row_at(r, number);
    uint64_t words[CONTENT_WORDS], sum = load_acquire(&row->sum);

    for (size_t i = 0; i < CONTENT_WORDS; i++)
        words[i] = load_relaxed(&row->words[i]);
    memcpy(out, words, sizeof(*out));
    return out->key == key && sum == sum_of(words);
}

static bool read_row(const struct registry *r, uint32_t number, uint64_t key, struct content *out)
{
    for (int i = 0; i < READ_ROUNDS; i++) {
        if (load_relaxed(key_at(r, number)) != key)
            return false;
        if (read_once(r, number, key, out))
            return load_relaxed(key_at(r, number)) == key;
    }
    return false;
}

static void write_row(struct registry *r, uint32_t number, const struct content *c)
{
    struct row *row = row_at(r, number);
    uint64_t words[CONTENT_WORDS];

    memcpy(words, c, sizeof(words));
    store_release(&row->sum, 0);
    for (size_t i = 0; i < CONTENT_WORDS; i++)
        store_relaxed(&row->words[i], words[i]);
    store_release(&row->sum, sum_of(words));
    store_relaxed(mark_at(r, number), mark_of(c));
    store_release(owner_at(r, number), c->owner);
}

/* The row is nobody's any more. Its owner's word may stay: it is looked at only beside a key. */
static void clear_row(struct registry *r, uint32_t number, uint64_t key)
{
    (void)cas_acq_rel(key_at(r, number), &key, 0);
}

/* --- where a key may be --- */

/* The numbers of the rows of its two buckets. */
struct reach {
    uint32_t row[2 * REGISTRY_WAYS];
    unsigned num;
};

static struct reach reach_of(const struct registry *r, uint64_t key)
{
    uint64_t first = key % r->buckets,
             second = checksum_mix(key, UINT64_C(0x94d049bb133111eb)) % r->buckets;
    struct reach reach = {.num = 0};

    for (unsigned i = 0; i < REGISTRY_WAYS; i++)
        reach.row[reach.num++] = (uint32_t)(first * REGISTRY_WAYS + i);
    for (unsigned i = 0; i < REGISTRY_WAYS && second != first; i++)
        reach.row[reach.num++] = (uint32_t)(second * REGISTRY_WAYS + i);
    return reach;
}

#define NOWHERE UINT32_MAX

/* The whole row of a key. */
static uint32_t find_row(const struct registry *r, uint64_t key, struct content *out)
{
    struct reach reach = reach_of(r, key);

    for (unsigned i = 0; i < reach.num; i++)
        if (load_acquire(key_at(r, reach.row[i])) == key && read_row(r, reach.row[i], key, out))
            return reach.row[i];
    return NOWHERE;
}

/* A free row in the emptier one of the two buckets. */
static uint32_t find_free(const struct registry *r, const struct reach *reach)
{
    uint32_t free[2] = {NOWHERE, NOWHERE};
    unsigned num[2] = {0, 0};

    for (unsigned i = 0; i < reach->num; i++) {
        unsigned bucket = i / REGISTRY_WAYS;

        if (load_relaxed(key_at(r, reach->row[i])) != 0)
            continue;
        if (num[bucket]++ == 0)
            free[bucket] = reach->row[i];
    }
    return num[1] > num[0] ? free[1] : free[0] != NOWHERE ? free[0] : free[1];
}

static bool is_over(const struct content *c, int64_t now_unix_s)
{
    return c->expires_s != 0 && c->expires_s <= now_unix_s;
}

/* Who has to go. @param whole  false: nothing but what a killed writer left */
struct victim {
    uint32_t row;
    uint64_t key, owner;
    bool whole;
};

/* How many rows of the owner are among these. */
static unsigned count_of(const struct content *rows, const bool *whole, unsigned num,
                         uint64_t owner)
{
    unsigned n = 0;

    for (unsigned i = 0; i < num; i++)
        n += whole[i] && rows[i].owner == owner;
    return n;
}

/* Whoever has most rows here has, as likely as not, most of all: of him the oldest. */
static struct victim find_victim(const struct registry *r, const struct reach *reach,
                                 int64_t now_unix_s)
{
    struct content rows[2 * REGISTRY_WAYS];
    bool whole[2 * REGISTRY_WAYS];
    uint64_t keys[2 * REGISTRY_WAYS];
    unsigned best = 0, most = 0;

    for (unsigned i = 0; i < reach->num; i++) {
        keys[i] = load_relaxed(key_at(r, reach->row[i]));
        whole[i] = read_row(r, reach->row[i], keys[i], &rows[i]);
        if (!whole[i] || is_over(&rows[i], now_unix_s))
            return (struct victim){.row = reach->row[i], .key = keys[i]};
    }
    for (unsigned i = 0; i < reach->num; i++) {
        unsigned n = count_of(rows, whole, reach->num, rows[i].owner);

        if (n > most || (n == most && rows[i].created_s < rows[best].created_s)) {
            best = i;
            most = n;
        }
    }
    return (struct victim){reach->row[best], keys[best], rows[best].owner, true};
}

static void note_lost(struct registry *r, uint64_t owner)
{
    if (load_relaxed(lost_of(r, owner)) == 0)
        store_relaxed(lost_of(r, owner), 1);
}

/* Take a row for a key. @return NOWHERE: others were faster */
static uint32_t take_row(struct registry *r, uint64_t key, int64_t now_unix_s)
{
    struct reach reach = reach_of(r, key);
    uint32_t free = find_free(r, &reach);
    struct victim victim;
    uint64_t none = 0;

    if (free != NOWHERE)
        return cas_acq_rel(key_at(r, free), &none, key) ? free : NOWHERE;
    victim = find_victim(r, &reach, now_unix_s);
    if (!cas_acq_rel(key_at(r, victim.row), &victim.key, key))
        return NOWHERE;
    if (victim.whole)
        note_lost(r, victim.owner);
    return victim.row;
}

/* Two that did not see each other have both put the key: the first row of its reach stays.
 * @return whether it is this one */
static bool is_the_one(struct registry *r, uint32_t mine, uint64_t key)
{
    struct reach reach = reach_of(r, key);
    bool before = true;

    if (load_acquire(key_at(r, mine)) != key)
        return false; /* the other one was faster */
    for (unsigned i = 0; i < reach.num; i++) {
        struct content other;

        if (reach.row[i] == mine) {
            before = false;
            continue;
        }
        if (load_acquire(key_at(r, reach.row[i])) != key)
            continue;
        if (before && read_row(r, reach.row[i], key, &other)) {
            clear_row(r, mine, key);
            return false;
        }
        clear_row(r, reach.row[i], key);
    }
    return true;
}

static void note_change(struct registry *r, uint64_t key, bool went)
{
    uint64_t number = atomic_fetch_add_explicit(&r->changes, 1, memory_order_acq_rel) + 1;
    struct change *change = change_at(r, number);

    store_release(&change->number, 0);
    store_relaxed(&change->key, key);
    store_release(&change->number, number << 1 | went);
}

/* --- rows in and out --- */

/* As many bytes of a text as there is room for; none of a cut UTF-8 character. */
static void copy_cut(char *out, size_t size, const char *text)
{
    size_t len = strnlen(text, size);

    if (len == size)
        for (len = size - 1; len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80; len--)
            ;
    memcpy(out, text, len);
}

static struct content content_of(const struct registry_row *row)
{
    struct content c;

    memset(&c, 0, sizeof(c));
    c.key = registry_key(row->kind, row->account, row->native);
    c.owner = row->owner;
    c.created_s = row->created_s > 0 ? row->created_s : 0;
    c.expires_s = row->expires_s;
    c.bytes = row->bytes;
    c.account = row->account;
    c.kind = (uint8_t)row->kind;
    c.described = row->described;
    copy_cut(c.native, sizeof(c.native), row->native);
    copy_cut(c.purpose, sizeof(c.purpose), row->purpose);
    copy_cut(c.filename, sizeof(c.filename), row->filename);
    return c;
}

static void row_of(const struct content *c, struct registry_row *out)
{
    *out = (struct registry_row){.kind = (enum id_kind)c->kind,
                                 .described = c->described != 0,
                                 .account = c->account,
                                 .owner = c->owner,
                                 .created_s = c->created_s,
                                 .expires_s = c->expires_s,
                                 .bytes = c->bytes};
    memcpy(out->native, c->native, sizeof(out->native));
    memcpy(out->purpose, c->purpose, sizeof(out->purpose));
    memcpy(out->filename, c->filename, sizeof(out->filename));
}

static bool is_same_object(const struct content *a, const struct content *b)
{
    return a->kind == b->kind && a->account == b->account && strcmp(a->native, b->native) == 0;
}

/* What is known of an object only grows. */
static bool adds_nothing(const struct content *next, const struct content *old)
{
    return !next->described || memcmp(next, old, sizeof(*next)) == 0;
}

/* One attempt. @param note  whether it is a change that a database has to hear of
 * @return 1: others were in the way */
static int try_put(struct registry *r, const struct content *c, int64_t now_unix_s, bool note)
{
    struct content old;
    uint32_t number = find_row(r, c->key, &old);

    if (number != NOWHERE && (!is_same_object(c, &old) || old.owner != c->owner))
        return ERR_BAD_STATE;
    if (number != NOWHERE && adds_nothing(c, &old))
        return 0;
    if (number == NOWHERE)
        number = take_row(r, c->key, now_unix_s);
    if (number == NOWHERE)
        return 1;
    write_row(r, number, c);
    if (!is_the_one(r, number, c->key) || !read_row(r, number, c->key, &old) ||
        memcmp(c, &old, sizeof(*c)) != 0)
        return 1;
    if (note)
        note_change(r, c->key, false);
    return 0;
}

static int put_row(struct registry *r, const struct registry_row *row, int64_t now_unix_s,
                   bool note)
{
    size_t len = strnlen(row->native, sizeof(row->native));
    struct content c;

    if (row->owner == 0)
        return ERR_INVALID;
    if (len == 0 || len == sizeof(row->native)) {
        note_lost(r, row->owner);
        return ERR_INVALID;
    }
    c = content_of(row);
    for (int i = 0; i < PUT_ROUNDS; i++) {
        int rc = try_put(r, &c, now_unix_s, note);

        if (rc != 1)
            return rc;
    }
    note_lost(r, row->owner);
    return 0;
}

int registry_put(struct registry *r, const struct registry_row *row, int64_t now_unix_s)
{
    return put_row(r, row, now_unix_s, true);
}

int registry_put_back(struct registry *r, const struct registry_row *row, int64_t now_unix_s)
{
    return put_row(r, row, now_unix_s, false);
}

bool registry_by_key(const struct registry *r, uint64_t key, struct registry_row *out)
{
    struct content c;

    if (key == 0 || find_row(r, key, &c) == NOWHERE)
        return false;
    row_of(&c, out);
    return true;
}

bool registry_find(const struct registry *r, enum id_kind kind, uint32_t account,
                   const char *native, struct registry_row *out)
{
    return registry_by_key(r, registry_key(kind, account, native), out) && out->kind == kind &&
           out->account == account && strcmp(out->native, native) == 0;
}

void registry_remove(struct registry *r, enum id_kind kind, uint32_t account, const char *native)
{
    uint64_t key = registry_key(kind, account, native);
    struct content c;
    uint32_t number;

    /* More than once where a killed writer left a second one. */
    for (int i = 0; i < PUT_ROUNDS && (number = find_row(r, key, &c)) != NOWHERE; i++) {
        if (c.kind != kind || c.account != account || strcmp(c.native, native) != 0)
            return;
        clear_row(r, number, key);
    }
    note_change(r, key, true); /* also of a row that a database has not put back yet */
}

void registry_take_back(struct registry *r, uint64_t key)
{
    struct content c;
    uint32_t number;

    for (int i = 0; i < PUT_ROUNDS && (number = find_row(r, key, &c)) != NOWHERE; i++)
        clear_row(r, number, key);
}

bool registry_row_at(const struct registry *r, uint32_t number, struct registry_row *out)
{
    uint64_t key;
    struct content c;

    assert(number < registry_num_rows(r));
    key = load_acquire(key_at(r, number));
    if (key == 0 || !read_row(r, number, key, &c))
        return false;
    row_of(&c, out);
    return true;
}

/* --- gaps --- */

struct registry_gaps registry_gaps(const struct registry *r, uint64_t owner)
{
    return (struct registry_gaps){.since_unix_s = (int64_t)load_relaxed(&r->since_unix_s),
                                  .lost_from_unix_s = (int64_t)load_relaxed(&r->lost_from_unix_s),
                                  .lost_until_unix_s = (int64_t)load_relaxed(&r->lost_until_unix_s),
                                  .behind_unix_s = (int64_t)load_relaxed(&r->behind_unix_s),
                                  .cut = load_relaxed(lost_of(r, owner)) != 0};
}

/* Each word holds for itself: a reader in between sees one gap too many or as many as there are. */
void registry_set_gaps(struct registry *r, const struct registry_gaps *gaps)
{
    store_relaxed(&r->lost_from_unix_s, (uint64_t)gaps->lost_from_unix_s);
    store_relaxed(&r->lost_until_unix_s, (uint64_t)gaps->lost_until_unix_s);
    store_relaxed(&r->behind_unix_s, (uint64_t)gaps->behind_unix_s);
    store_release(&r->since_unix_s, (uint64_t)gaps->since_unix_s);
}

static uint64_t sum_of_gaps(const struct registry_gaps *gaps)
{
    uint64_t sum = checksum_add(REGISTRY_MAGIC, (uint64_t)gaps->since_unix_s);

    sum = checksum_add(sum, (uint64_t)gaps->lost_from_unix_s);
    return checksum_add(sum, (uint64_t)gaps->lost_until_unix_s);
}

void registry_close_gaps(struct registry *r, const struct registry_gaps *gaps)
{
    store_release(&r->closed, sum_of_gaps(gaps));
}

bool registry_gaps_are_closed(const struct registry *r, const struct registry_gaps *gaps)
{
    return load_acquire(&r->closed) == sum_of_gaps(gaps);
}

/* --- pages --- */

struct registry_place registry_place_of(enum id_kind kind, uint32_t account, const char *native,
                                        int64_t created_s)
{
    return (struct registry_place){.created_s = created_s > 0 ? created_s : 0,
                                   .key = registry_key(kind, account, native)};
}

/* Whether `a` stands before `b` in the list. */
static bool is_before(const struct registry_page *page, const struct registry_place *a,
                      const struct registry_place *b)
{
    if (a->created_s != b->created_s)
        return page->ascending ? a->created_s < b->created_s : a->created_s > b->created_s;
    return page->ascending ? a->key < b->key : a->key > b->key;
}

/* A heap with the page's last place on top. */
static void sink(struct registry_page *page, size_t at, size_t num)
{
    for (;;) {
        size_t last = at, child = 2 * at + 1;
        struct registry_place swap;

        for (size_t i = child; i < child + 2 && i < num; i++)
            if (is_before(page, &page->places[last], &page->places[i]))
                last = i;
        if (last == at)
            return;
        swap = page->places[at];
        page->places[at] = page->places[last];
        page->places[last] = swap;
        at = last;
    }
}

static void rise(struct registry_page *page, size_t at)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        struct registry_place swap = page->places[at];

        if (!is_before(page, &page->places[parent], &page->places[at]))
            return;
        page->places[at] = page->places[parent];
        page->places[parent] = swap;
        at = parent;
    }
}

static int make_room(struct registry_page *page)
{
    size_t room = page->room == 0 ? 32 : page->room * 2;
    struct registry_place *places;

    if (page->num < page->room)
        return 0;
    places = realloc(page->places, room * sizeof(*places));
    if (places == NULL)
        return ERR_NOMEM;
    page->places = places;
    page->room = room;
    return 0;
}

static int add_place(struct registry_page *page, const struct registry_place *place)
{
    if (page->behind && !is_before(page, &page->cursor, place))
        return 0;
    if (page->num < page->max) {
        if (make_room(page) != 0)
            return ERR_NOMEM;
        page->places[page->num] = *place;
        rise(page, page->num++);
        return 0;
    }
    page->more = true;
    if (is_before(page, place, &page->places[0])) {
        page->places[0] = *place;
        sink(page, 0, page->num);
    }
    return 0;
}

/* The top goes to the end, again and again: what is left behind is in order. */
static void sort_places(struct registry_page *page)
{
    for (size_t num = page->num; num > 1; num--) {
        struct registry_place last = page->places[0];

        page->places[0] = page->places[num - 1];
        page->places[num - 1] = last;
        sink(page, 0, num - 1);
    }
}

static bool is_asked_for(const struct registry_page *page, uint64_t mark)
{
    return (mark & MARK_BYTE) == (uint64_t)page->kind &&
           (page->purpose[0] == '\0' ||
            (mark >> MARK_PURPOSE_SHIFT & MARK_BYTE) == purpose_bits(page->purpose));
}

int registry_gather(const struct registry *r, struct registry_page *page, uint32_t rows)
{
    uint32_t num = registry_num_rows(r), end = rows < num - page->next ? page->next + rows : num;

    assert(page->max > 0 && page->owner != 0 && page->next <= num);
    for (; page->next < end; page->next++) {
        uint64_t mark;
        struct registry_place place = {.row = page->next};

        if (load_relaxed(owner_at(r, page->next)) != page->owner)
            continue;
        place.key = load_acquire(key_at(r, page->next));
        mark = load_relaxed(mark_at(r, page->next));
        if (place.key == 0 || !is_asked_for(page, mark))
            continue;
        place.created_s = (int64_t)(mark >> MARK_TIME_SHIFT);
        if (add_place(page, &place) != 0)
            return ERR_NOMEM;
    }
    if (page->next < num)
        return 1;
    sort_places(page);
    return 0;
}

void registry_page_deinit(struct registry_page *page)
{
    free(page->places);
    page->places = NULL;
    page->num = page->room = 0;
}

bool registry_at(const struct registry *r, const struct registry_page *page,
                 const struct registry_place *place, struct registry_row *out)
{
    struct content c;
    uint32_t number;

    assert(place->row < registry_num_rows(r));
    number = find_row(r, place->key, &c);
    /* Not the second one that a killed writer left of a key. */
    if (number == NOWHERE || number != place->row || c.owner != page->owner ||
        c.kind != page->kind || c.created_s != place->created_s ||
        (page->purpose[0] != '\0' && strcmp(c.purpose, page->purpose) != 0))
        return false;
    row_of(&c, out);
    return true;
}

/* --- changes --- */

uint64_t registry_run(const struct registry *r)
{
    return load_relaxed(&r->run);
}

/* A number in the upper half, whose it is in the lower one. */
uint64_t registry_claim(struct registry *r, uint32_t pid)
{
    uint64_t last = load_acquire(&r->claims), next;

    do {
        next = ((last >> 32) + 1) << 32 | pid;
    } while (!cas_acq_rel(&r->claims, &last, next));
    return next;
}

uint32_t registry_claimer(const struct registry *r)
{
    return (uint32_t)load_acquire(&r->claims);
}

bool registry_is_claimed(const struct registry *r, uint64_t claim)
{
    return load_acquire(&r->claims) == claim;
}

uint64_t registry_kept(const struct registry *r)
{
    return load_relaxed(&r->kept);
}

void registry_set_kept(struct registry *r, uint64_t cursor)
{
    store_relaxed(&r->kept, cursor);
}

int registry_follow(const struct registry *r, uint64_t *cursor, struct registry_change *out)
{
    uint64_t last = load_acquire(&r->changes), next = *cursor + 1, number;
    const struct change *change = change_at(r, next);

    if (*cursor >= last)
        return ERR_NOT_FOUND;
    number = load_acquire(&change->number);
    if (number >> 1 == next) {
        *out = (struct registry_change){load_relaxed(&change->key), (number & 1) != 0};
        if (load_acquire(&change->number) == number) {
            *cursor = next;
            return 0;
        }
    }
    if (last - *cursor <= LATE_LOG)
        return ERR_NOT_FOUND; /* its writer is about to */
    *cursor = last;
    return ERR_LIMIT;
}
