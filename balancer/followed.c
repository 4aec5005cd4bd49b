/* See followed.h.
 *
 * A row has two copies of its content. Its version says which one counts, and is the last word of
 * each change: a reader that finds the same version before and after has read one state, whole, and
 * a writer that is killed has changed nothing. Names (of the id, and of where the batch is) point to
 * rows and prove nothing: who comes by one looks whether the row has that name. So names are put
 * after their row and may outlive it; the next keeper mends both (followed_claim()).
 *
 * One keeper at a time changes anything, under a lock of the kernel's (fcntl(2)) on the region's
 * file, which ends with its process. */
#include "balancer/followed.h"

#include <assert.h>
#include <fcntl.h>
#include <stdalign.h>
#include <string.h>

#include "balancer/memo.h"
#include "common/shm_region.h"
#include "common/shm_words.h"

#define FOLLOWED_MAGIC  0x42465154u /* "TQFB" */
#define FOLLOWED_LAYOUT 1u
#define PAGE            4096
#define WAYS            8u
#ifndef TEXTS
#define TEXTS 8192u /* objects that are kept, at most */
#endif
#define READ_ROUNDS 64    /* a row changes once a second, not 64 times while it is read */
#define NEXT_PLACES 4096u /* of followed_next() */
#define NOWHERE     UINT32_MAX

/* What a row is made of. Bytes between its members are 0. */
struct content {
    struct followed_row row;
    uint64_t
        change; /* the number of the change that wrote it: what ended longest ago has the least */
    uint32_t text, text_len; /* place in `texts`; text_len 0: none */
    uint32_t turn;           /* whose keeper wrote it */
    uint32_t unused;
};

static_assert(sizeof(struct content) % sizeof(uint64_t) == 0, "whole words");

#define CONTENT_WORDS (sizeof(struct content) / sizeof(uint64_t))
#define TEXT_WORDS    (FOLLOWED_TEXT / sizeof(uint64_t))

struct row {
    /* Number of changes, twice, and 1 while the row is somebody's; the last bit of the number says
     * which copy counts */
    alignas(CACHE_LINE) _Atomic uint64_t version;
    _Atomic uint64_t copy[2][CONTENT_WORDS];
};

struct bucket {
    alignas(CACHE_LINE) _Atomic uint64_t name[WAYS]; /* hash << 16 | row; 0: free */
};

struct text {
    _Atomic uint64_t used; /* 1: a row's. The keeper's own note, mended with the rest */
    _Atomic uint64_t words[TEXT_WORDS];
    uint64_t unused;
};

struct followed {
    struct shm_head region;
    uint64_t max_rows, buckets;
    uint64_t owners, names, rows, texts; /* offsets */
    /* From here on it is not what the region begins with */
    alignas(CACHE_LINE) _Atomic uint64_t claims; /* the last turn */
    _Atomic uint64_t heard_ms;                   /* by that one; 0: not yet */
    _Atomic uint64_t changes, dropped;
    _Atomic uint64_t num, num_texts, states[FOLLOWED_OVER + 1];
};

static_assert(sizeof(struct bucket) == CACHE_LINE, "layout of the region");
static_assert(FOLLOWED_MAX <= UINT16_MAX + 1, "a name has 16 bits for its row");

#define HEAD_BYTES offsetof(struct followed, claims)

/* --- places in the region --- */

static void *at(const struct followed *f, uint64_t offset)
{
    return (char *)(uintptr_t)f + offset;
}

static struct row *row_at(const struct followed *f, uint32_t i)
{
    assert(i < f->max_rows);
    return (struct row *)at(f, f->rows) + i;
}

static _Atomic uint64_t *owner_at(const struct followed *f, uint32_t i)
{
    return (_Atomic uint64_t *)at(f, f->owners) + i;
}

static struct text *text_at(const struct followed *f, uint32_t i)
{
    assert(i < TEXTS);
    return (struct text *)at(f, f->texts) + i;
}

/* --- the region --- */

static int fill_head(struct followed *head, uint32_t max_rows)
{
    if (max_rows == 0 || max_rows > FOLLOWED_MAX)
        return ERR_INVALID;
    memset(head, 0, HEAD_BYTES);
    head->max_rows = max_rows;
    /* Two names a row, in buckets that are half full at most. */
    head->buckets = shm_buckets(max_rows * 4, WAYS);
    head->owners = shm_round_up(sizeof(*head), CACHE_LINE);
    head->names = shm_round_up(head->owners + max_rows * sizeof(uint64_t), PAGE);
    head->rows = shm_round_up(head->names + head->buckets * sizeof(struct bucket), PAGE);
    head->texts = shm_round_up(head->rows + max_rows * sizeof(struct row), PAGE);
    head->region = (struct shm_head){.magic = FOLLOWED_MAGIC,
                                     .layout = FOLLOWED_LAYOUT,
                                     .size = head->texts + TEXTS * sizeof(struct text)};
    return 0;
}

static int make(uint32_t max_rows, int fd, struct followed **out)
{
    struct followed head;
    void *region;
    int ret = fill_head(&head, max_rows);

    if (ret == 0)
        ret = shm_region_open("tranche-followed", fd, &head, HEAD_BYTES, &region);
    if (ret != 0)
        return ret;
    if (shm_fd(region) == -1) { /* what a keeper locks */
        shm_region_free(region);
        return ERR_NOMEM;
    }
    *out = region;
    return 0;
}

int followed_new(uint32_t max_rows, struct followed **out)
{
    return make(max_rows, SHM_NEW, out);
}

int followed_adopt(int fd, uint32_t max_rows, struct followed **out)
{
    return make(max_rows, fd, out);
}

void followed_free(struct followed *followed)
{
    shm_region_free(followed);
}

/* --- reading --- */

/* @return the version that was read; 0: the row is nobody's */
static uint64_t read_row(const struct followed *f, uint32_t i, struct content *out)
{
    const struct row *row = row_at(f, i);
    uint64_t words[CONTENT_WORDS];

    for (int round = 0; round < READ_ROUNDS; round++) {
        uint64_t version = load_acquire(&row->version);

        if ((version & 1) == 0)
            return 0;
        for (size_t w = 0; w < CONTENT_WORDS; w++)
            words[w] = load_acquire_part(&row->copy[version >> 1 & 1][w]);
        if (load_relaxed(&row->version) != version)
            continue;
        memcpy(out, words, sizeof(*out));
        return version;
    }
    return 0;
}

static uint64_t hash_of(uint32_t kind, uint32_t account, const char *native)
{
    return memo_key(kind, account, native, strlen(native));
}

#define OF_ID    'i'
#define OF_PLACE 'a'

static uint64_t name_of(uint64_t hash, uint32_t i)
{
    return ((hash | UINT64_C(1) << 63) & ~UINT64_C(0xffff)) | i;
}

static struct bucket *bucket_of(const struct followed *f, uint64_t hash, unsigned which)
{
    uint64_t at_bucket = which == 0 ? hash >> 16 : hash >> 40;

    return (struct bucket *)at(f, f->names) + (at_bucket & (f->buckets - 1));
}

static bool is_named(const struct content *c, uint32_t kind, uint32_t account, const char *native)
{
    return kind == OF_ID ? c->row.account == account && strcmp(c->row.native, native) == 0
                         : c->row.at.account == account && strcmp(c->row.at.native, native) == 0;
}

/* @return the row's place; NOWHERE: it is not there */
static uint32_t find(const struct followed *f, uint32_t kind, uint32_t account, const char *native,
                     struct content *out, uint64_t *version)
{
    uint64_t hash = hash_of(kind, account, native), wanted = name_of(hash, 0);

    for (unsigned b = 0; b < 2; b++)
        for (unsigned way = 0; way < WAYS; way++) {
            uint64_t name = load_acquire(&bucket_of(f, hash, b)->name[way]);
            uint32_t i = (uint32_t)(name & 0xffff);

            if ((name & ~UINT64_C(0xffff)) != wanted || i >= f->max_rows)
                continue;
            *version = read_row(f, i, out);
            if (*version != 0 && is_named(out, kind, account, native))
                return i;
        }
    return NOWHERE;
}

bool followed_find(const struct followed *followed, uint32_t account, const char *native,
                   struct followed_row *out)
{
    struct content c;
    uint64_t version;

    if (followed == NULL || load_relaxed(&followed->num) == 0 ||
        find(followed, OF_ID, account, native, &c, &version) == NOWHERE)
        return false;
    *out = c.row;
    return true;
}

bool followed_find_at(const struct followed *followed, uint32_t account, const char *native,
                      struct followed_row *out)
{
    struct content c;
    uint64_t version;

    if (followed == NULL || load_relaxed(&followed->num) == 0 ||
        find(followed, OF_PLACE, account, native, &c, &version) == NOWHERE)
        return false;
    *out = c.row;
    return true;
}

/* A text never changes. Its place is another row's only after this one's version is another. */
size_t followed_text(const struct followed *followed, uint32_t account, const char *native,
                     char *out)
{
    uint64_t words[TEXT_WORDS], version;
    struct content c;
    uint32_t i;

    if (followed == NULL)
        return 0;
    for (int round = 0; round < READ_ROUNDS; round++) {
        i = find(followed, OF_ID, account, native, &c, &version);
        if (i == NOWHERE || c.text_len == 0 || c.text_len > FOLLOWED_TEXT || c.text >= TEXTS)
            return 0;
        for (size_t w = 0; w < (c.text_len + sizeof(uint64_t) - 1) / sizeof(uint64_t); w++)
            words[w] = load_acquire_part(&text_at(followed, c.text)->words[w]);
        if (load_relaxed(&row_at(followed, i)->version) != version)
            continue;
        memcpy(out, words, c.text_len);
        return c.text_len;
    }
    return 0;
}

bool followed_next(const struct followed *followed, bool of_all, uint64_t owner, uint32_t *place,
                   struct followed_row *out)
{
    struct content c;
    uint32_t end;

    if (followed == NULL || *place >= followed->max_rows || load_relaxed(&followed->num) == 0) {
        *place = FOLLOWED_END;
        return false;
    }
    end = *place + NEXT_PLACES < followed->max_rows ? *place + NEXT_PLACES
                                                    : (uint32_t)followed->max_rows;
    while (*place < end) {
        uint32_t i = (*place)++;

        if (!of_all && load_relaxed(owner_at(followed, i)) != owner)
            continue;
        if (read_row(followed, i, &c) == 0 || (!of_all && c.row.owner != owner))
            continue;
        *out = c.row;
        return true;
    }
    if (end == followed->max_rows)
        *place = FOLLOWED_END;
    return false;
}

bool followed_is_fresh(const struct followed *followed, uint64_t now_ms)
{
    uint64_t heard_ms = followed != NULL ? load_acquire(&followed->heard_ms) : 0;

    return heard_ms != 0 && now_ms < heard_ms + FOLLOWED_FRESH_MS;
}

/* --- names --- */

static void add_name(struct followed *f, uint64_t hash, uint32_t i)
{
    _Atomic uint64_t *free[2] = {NULL, NULL};
    unsigned num[2] = {0, 0};

    for (unsigned b = 0; b < 2; b++)
        for (unsigned way = 0; way < WAYS; way++) {
            _Atomic uint64_t *name = &bucket_of(f, hash, b)->name[way];

            if (load_relaxed(name) == name_of(hash, i))
                return;
            if (load_relaxed(name) != 0)
                continue;
            num[b]++;
            free[b] = name;
        }
    if (num[0] + num[1] > 0)
        store_release(num[1] > num[0] ? free[1] : free[0], name_of(hash, i));
}

static bool has_room(const struct followed *f, uint64_t hash)
{
    for (unsigned b = 0; b < 2; b++)
        for (unsigned way = 0; way < WAYS; way++)
            if (load_relaxed(&bucket_of(f, hash, b)->name[way]) == 0)
                return true;
    return false;
}

static void drop_name(struct followed *f, uint64_t hash, uint32_t i)
{
    for (unsigned b = 0; b < 2; b++)
        for (unsigned way = 0; way < WAYS; way++) {
            _Atomic uint64_t *name = &bucket_of(f, hash, b)->name[way];

            if (load_relaxed(name) == name_of(hash, i))
                store_release(name, 0);
        }
}

static uint64_t id_hash(const struct followed_row *row)
{
    return hash_of(OF_ID, row->account, row->native);
}

static uint64_t place_hash(const struct followed_row *row)
{
    return hash_of(OF_PLACE, row->at.account, row->at.native);
}

static bool is_apart(const struct followed_row *row)
{
    return row->at.native[0] != '\0';
}

static void add_names(struct followed *f, const struct followed_row *row, uint32_t i)
{
    add_name(f, id_hash(row), i);
    if (is_apart(row))
        add_name(f, place_hash(row), i);
}

/* --- texts --- */

static uint32_t free_text(const struct followed *f)
{
    if (load_relaxed(&f->num_texts) >= TEXTS)
        return NOWHERE;
    for (uint32_t i = 0; i < TEXTS; i++)
        if (load_relaxed(&text_at(f, i)->used) == 0)
            return i;
    return NOWHERE;
}

/* @return ERR_FULL: there is no place */
static int write_text(struct followed *f, const char *bytes, size_t len, struct content *c)
{
    uint64_t words[TEXT_WORDS];
    struct text *text;

    c->text = free_text(f);
    if (c->text == NOWHERE)
        return ERR_FULL;
    c->text_len = (uint32_t)len;
    text = text_at(f, c->text);
    memset(words, 0, sizeof(words));
    memcpy(words, bytes, len);
    for (size_t w = 0; w < (len + sizeof(uint64_t) - 1) / sizeof(uint64_t); w++)
        store_release_part(&text->words[w], words[w]);
    store_relaxed(&text->used, 1);
    add_relaxed(&f->num_texts, 1);
    return 0;
}

static void free_text_of(struct followed *f, const struct content *c)
{
    if (c->text_len == 0)
        return;
    store_relaxed(&text_at(f, c->text)->used, 0);
    add_relaxed(&f->num_texts, UINT64_MAX);
}

/* --- writing --- */

static int set_lock(const struct followed *f, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_len = 1};

    return fcntl(shm_fd(f), F_SETLK, &lock) == -1 ? ERR_BAD_STATE : 0;
}

/* @return 0: nobody else writes until unlock() */
static int lock_for(const struct followed *f, uint32_t turn)
{
    if (set_lock(f, F_WRLCK) != 0)
        return ERR_BAD_STATE;
    if (load_acquire(&f->claims) == turn)
        return 0;
    (void)set_lock(f, F_UNLCK);
    return ERR_BAD_STATE;
}

static void unlock(const struct followed *f)
{
    (void)set_lock(f, F_UNLCK);
}

static void publish(struct followed *f, uint32_t i, const struct content *c)
{
    struct row *row = row_at(f, i);
    uint64_t next = (load_relaxed(&row->version) >> 1) + 1, words[CONTENT_WORDS];

    memcpy(words, c, sizeof(words));
    for (size_t w = 0; w < CONTENT_WORDS; w++)
        store_release_part(&row->copy[next & 1][w], words[w]);
    store_relaxed(owner_at(f, i), c->row.owner);
    store_release(&row->version, next << 1 | 1);
}

static void count(struct followed *f, enum followed_state state, uint64_t more)
{
    add_relaxed(&f->num, more);
    add_relaxed(&f->states[state], more);
}

/* Names first: who comes by one of them afterwards finds a row that is nobody's, or another one's. */
static void drop(struct followed *f, uint32_t i, const struct content *c)
{
    struct row *row = row_at(f, i);

    drop_name(f, id_hash(&c->row), i);
    if (is_apart(&c->row))
        drop_name(f, place_hash(&c->row), i);
    store_release(&row->version, ((load_relaxed(&row->version) >> 1) + 1) << 1);
    free_text_of(f, c);
    count(f, c->row.state, UINT64_MAX);
}

/* --- room --- */

static bool has_ended(const struct followed_row *row)
{
    return row->state == FOLLOWED_OVER || row->finished_s != 0;
}

static uint32_t free_row(const struct followed *f)
{
    for (uint32_t i = 0; i < f->max_rows; i++)
        if ((load_relaxed(&row_at(f, i)->version) & 1) == 0)
            return i;
    return NOWHERE;
}

/* What ended longest ago goes. @return its place; NOWHERE: all of them run or wait */
static uint32_t make_room(struct followed *f)
{
    static struct content c, oldest; /* large; one process, one call at a time */
    uint32_t found = NOWHERE;

    for (uint32_t i = 0; i < f->max_rows; i++)
        if (read_row(f, i, &c) != 0 && has_ended(&c.row) &&
            (found == NOWHERE || c.change < oldest.change)) {
            found = i;
            oldest = c;
        }
    if (found == NOWHERE)
        return NOWHERE;
    drop(f, found, &oldest);
    add_relaxed(&f->dropped, 1);
    return found;
}

static uint32_t place_for(struct followed *f, const struct followed_row *row)
{
    uint32_t i = NOWHERE;

    if (load_relaxed(&f->num) < f->max_rows)
        i = free_row(f);
    if (i == NOWHERE)
        i = make_room(f);
    if (i != NOWHERE &&
        (!has_room(f, id_hash(row)) || (is_apart(row) && !has_room(f, place_hash(row)))))
        return NOWHERE;
    return i;
}

/* --- the keeper's --- */

static bool is_text(const char *text, bool may_be_empty)
{
    size_t len = strnlen(text, FOLLOWED_NATIVE);

    return len < FOLLOWED_NATIVE && (may_be_empty || len > 0);
}

static bool can_be_kept(const struct followed_row *row, size_t len)
{
    return is_text(row->native, false) && is_text(row->at.native, true) &&
           is_text(row->output_file, true) && is_text(row->error_file, true) &&
           strnlen(row->status, FOLLOWED_STATUS) < FOLLOWED_STATUS && len <= FOLLOWED_TEXT &&
           row->state >= FOLLOWED_WAITS && row->state <= FOLLOWED_OVER;
}

/* Bytes behind the texts' ends, and between members, are 0: what is compared is what is said. */
static void fill_row(struct followed_row *out, const struct followed_row *row)
{
    memset(out, 0, sizeof(*out));
    out->account = row->account;
    strcpy(out->native, row->native);
    out->owner = row->owner;
    out->state = row->state;
    out->at.account = row->at.account;
    out->at.deployment = row->at.deployment;
    strcpy(out->at.native, row->at.native);
    out->created_s = row->created_s;
    out->expires_s = row->expires_s;
    out->position = row->position;
    out->moves = row->moves;
    strcpy(out->status, row->status);
    out->total = row->total;
    out->completed = row->completed;
    out->failed = row->failed;
    out->in_progress_s = row->in_progress_s;
    out->finalizing_s = row->finalizing_s;
    out->cancelling_s = row->cancelling_s;
    out->finished_s = row->finished_s;
    strcpy(out->output_file, row->output_file);
    strcpy(out->error_file, row->error_file);
}

/* @param was  the row of that id as it is; NULL: it is new */
static void write_row(struct followed *f, uint32_t i, const struct content *was, struct content *c)
{
    add_relaxed(&f->changes, 1);
    c->change = load_relaxed(&f->changes);
    c->row.has_text = c->text_len > 0;
    publish(f, i, c);
    add_names(f, &c->row, i);
    if (was != NULL && is_apart(&was->row) && place_hash(&was->row) != place_hash(&c->row))
        drop_name(f, place_hash(&was->row), i);
    if (was != NULL && was->text_len > 0 && was->text != c->text)
        free_text_of(f, was);
    if (was != NULL)
        count(f, was->row.state, UINT64_MAX);
    count(f, c->row.state, 1);
}

/* Whether it says what it said before: what is compared are words without gaps. */
static bool is_same(const struct content *was, const struct content *c)
{
    uint64_t before[CONTENT_WORDS], now[CONTENT_WORDS];
    struct content old = *was;

    old.row.has_text = c->row.has_text;
    old.change = c->change;
    memcpy(before, &old, sizeof(before));
    memcpy(now, c, sizeof(now));
    return memcmp(before, now, sizeof(before)) == 0;
}

static void keep_text(const struct content *was, struct content *c)
{
    c->text = was->text;
    c->text_len = was->text_len;
}

static int put(struct followed *f, uint32_t turn, const struct followed_row *row, const char *text,
               size_t len)
{
    static struct content was, c; /* large; one process, one call at a time */
    uint64_t version;
    uint32_t i = find(f, OF_ID, row->account, row->native, &was, &version);
    bool is_new = i == NOWHERE;
    int ret = 0;

    memset(&c, 0, sizeof(c));
    fill_row(&c.row, row);
    c.turn = turn;
    if (is_new)
        i = place_for(f, row);
    if (i == NOWHERE)
        return ERR_FULL;
    if (text != NULL && len > 0)
        ret = write_text(f, text, len, &c);
    else if (!is_new)
        keep_text(&was, &c);
    if (ret != 0)
        return ret;
    if (!is_new && text == NULL && was.turn == turn && is_same(&was, &c))
        return 0;
    write_row(f, i, is_new ? NULL : &was, &c);
    return 0;
}

int followed_put(struct followed *followed, uint32_t turn, const struct followed_row *row,
                 const char *text, size_t len)
{
    int ret;

    if (!can_be_kept(row, text != NULL ? len : 0))
        return ERR_INVALID;
    ret = lock_for(followed, turn);
    if (ret != 0)
        return ret;
    ret = put(followed, turn, row, text, len);
    unlock(followed);
    return ret;
}

void followed_remove(struct followed *followed, uint32_t turn, uint32_t account, const char *native)
{
    static struct content c; /* large; one process, one call at a time */
    uint64_t version;
    uint32_t i;

    if (lock_for(followed, turn) != 0)
        return;
    i = find(followed, OF_ID, account, native, &c, &version);
    if (i != NOWHERE)
        drop(followed, i, &c);
    unlock(followed);
}

void followed_sweep(struct followed *followed, uint32_t turn)
{
    static struct content c; /* large; one process, one call at a time */

    if (lock_for(followed, turn) != 0)
        return;
    for (uint32_t i = 0; i < followed->max_rows; i++)
        if (read_row(followed, i, &c) != 0 && c.turn != turn)
            drop(followed, i, &c);
    unlock(followed);
}

/* --- who writes --- */

/* Of what a killed keeper left: names that point to nobody's row, rows that lack a name, texts that
 * no row has, and the sums. */
static void mend_names(struct followed *f)
{
    static struct content c; /* large; one process, one call at a time */
    struct bucket *buckets = at(f, f->names);

    for (uint64_t b = 0; b < f->buckets; b++)
        for (unsigned way = 0; way < WAYS; way++) {
            uint64_t name = load_relaxed(&buckets[b].name[way]);
            uint32_t i = (uint32_t)(name & 0xffff);

            if (name != 0 && (i >= f->max_rows || read_row(f, i, &c) == 0 ||
                              (name != name_of(id_hash(&c.row), i) &&
                               (!is_apart(&c.row) || name != name_of(place_hash(&c.row), i)))))
                store_release(&buckets[b].name[way], 0);
        }
}

static void mend_rows(struct followed *f)
{
    static struct content c; /* large; one process, one call at a time */
    uint64_t num = 0;

    for (uint32_t i = 0; i < f->max_rows; i++) {
        if (read_row(f, i, &c) == 0)
            continue;
        num++;
        add_names(f, &c.row, i);
        add_relaxed(&f->states[c.row.state], 1);
        if (c.text_len == 0)
            continue;
        store_relaxed(&text_at(f, c.text)->used, 1);
        add_relaxed(&f->num_texts, 1);
    }
    store_relaxed(&f->num, num);
}

static void mend(struct followed *f)
{
    if (load_relaxed(&f->changes) == 0)
        return; /* nothing was ever written: its pages stay untouched */
    mend_names(f);
    store_relaxed(&f->num_texts, 0);
    for (size_t state = 0; state <= FOLLOWED_OVER; state++)
        store_relaxed(&f->states[state], 0);
    for (uint32_t i = 0; i < TEXTS; i++)
        store_relaxed(&text_at(f, i)->used, 0);
    mend_rows(f);
}

uint32_t followed_claim(struct followed *followed)
{
    uint32_t turn;

    if (set_lock(followed, F_WRLCK) != 0)
        return 0;
    add_acq_rel(&followed->claims, 1);
    turn = (uint32_t)load_relaxed(&followed->claims);
    mend(followed);
    unlock(followed);
    return turn;
}

bool followed_is_mine(const struct followed *followed, uint32_t turn)
{
    return turn != 0 && load_acquire(&followed->claims) == turn;
}

void followed_heard(struct followed *followed, uint32_t turn, uint64_t now_ms)
{
    if (lock_for(followed, turn) != 0)
        return;
    store_release(&followed->heard_ms, now_ms != 0 ? now_ms : 1);
    unlock(followed);
}

struct followed_counts followed_counts(const struct followed *followed)
{
    if (followed == NULL)
        return (struct followed_counts){0};
    return (struct followed_counts){
        .rows = (uint32_t)load_relaxed(&followed->num),
        .waiting = (uint32_t)load_relaxed(&followed->states[FOLLOWED_WAITS]),
        .moving = (uint32_t)load_relaxed(&followed->states[FOLLOWED_MOVES]),
        .texts = (uint32_t)load_relaxed(&followed->num_texts),
        .dropped = load_relaxed(&followed->dropped)};
}
