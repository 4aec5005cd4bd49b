/* Provider's lists, cursors and pages. A list taken apart object by object is the list that the
 * parser sees; pages merged from accounts are the same as all objects sorted, wherever a page ends;
 * and the place that a page leaves behind is remembered as it was. A provider that gives the same page
 * for ever is never asked for a third one.
 *
 * The input is a provider's answer; its bytes also make the lists that are merged. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "upstream/normal.h"
#include "read/listing_page.h"
#include "read/listing_places.h"
#include "calls/list_reader.h"

/* --- scanning --- */

struct seen {
    struct json_doc *doc;
    struct strbuf text; /* each element, printed */
    size_t num;
};

static int on_object(void *arg, struct json_doc *doc, struct json *object, const char *text,
                     size_t len)
{
    struct seen *seen = arg;

    (void)doc;
    MUST(len > 0 && text != NULL);
    seen->num++;
    json_write(object, &seen->text);
    strbuf_addc(&seen->text, '\n');
    return 0;
}

/* @return whether the scan says that this is a list */
static bool scan_all(const char *text, size_t len, struct seen *seen, bool *more, bool *told)
{
    struct listing_scan scan = {0};
    int rc;

    listing_scan_init(&scan, text, len);
    do
        rc = listing_scan_slice(&scan, seen->doc, on_object, seen);
    while (rc == LISTING_SCAN_MORE);
    MUST(rc == 0 || rc == ERR_SYNTAX);
    if (rc == 0)
        rc = listing_scan_rest(&scan, more, told);
    listing_scan_deinit(&scan);
    return rc == 0;
}

static void check_scan(const char *text, size_t len)
{
    struct seen seen = {.doc = json_doc_new()};
    struct strbuf want = STRBUF_INIT;
    struct json_error error;
    bool more = false, told = false, has_more, is_list;
    struct json *root, *list;

    MUST(seen.doc != NULL);
    is_list = scan_all(text, len, &seen, &more, &told);
    root = json_parse(seen.doc, text, len, &error);
    list = json_is(root, JSON_OBJECT) ? normal_list_data(root) : NULL;
    if (is_list && root != NULL) {
        MUST(list != NULL && json_size(list) == seen.num);
        for (size_t i = 0; i < seen.num; i++) {
            json_write(json_at(list, i), &want);
            strbuf_addc(&want, '\n');
        }
        MUST(want.len == seen.text.len &&
             memcmp(strbuf_str(&want), strbuf_str(&seen.text), want.len) == 0);
        MUST(!told || (json_bool(json_get(root, "has_more"), &has_more) && has_more == more));
    }
    /* One list, and the parser accepts it: then the scan does. Two of them are none, also under one
     * name, of which the parser keeps the last. */
    if (list != NULL && (json_get(root, "data") == NULL || json_get(root, "value") == NULL))
        MUST(is_list || memchr(text, '\\', len) != NULL || json_size(root) > 1 ||
             json_doc_repeats(seen.doc));
    strbuf_deinit(&want);
    strbuf_deinit(&seen.text);
    json_doc_free(seen.doc);
}

/* --- walking --- */

struct walk {
    struct list_reader reader;
    size_t shown;
    bool ended;
    enum list_page said;
};

static struct loop_timer *timer; /* the one that runs */

static int do_timer_start(struct loop *loop, struct loop_timer *t, uint64_t delay_ms)
{
    (void)loop;
    (void)delay_ms;
    timer = t;
    return 0;
}

static void do_timer_stop(struct loop *loop, struct loop_timer *t)
{
    (void)loop;
    if (timer == t)
        timer = NULL;
}

static void on_walked(void *arg, const struct list_object *object)
{
    struct walk *walk = arg;

    MUST(strlen(object->id) <= IDS_MAX && object->len > 0);
    walk->shown++;
}

static void on_page(void *arg, enum list_page page)
{
    struct walk *walk = arg;

    MUST(!walk->ended && !list_reader_is_reading(&walk->reader));
    walk->ended = true;
    walk->said = page;
}

static void give_page(struct walk *walk, const char *text, size_t len)
{
    walk->shown = 0;
    walk->ended = false;
    MUST(list_reader_page(&walk->reader, text, len) == 0);
    while (timer != NULL) {
        struct loop_timer *t = timer;

        timer = NULL;
        t->cb(t);
    }
    MUST(walk->ended);
    MUST(walk->said == LIST_PAGE_UNREADABLE || walk->shown == walk->reader.objects);
    MUST(walk->said != LIST_PAGE_MORE || walk->reader.after[0] != '\0');
}

static void check_walk(const char *text, size_t len)
{
    static const struct loop_ops ops = {.timer_start = do_timer_start, .timer_stop = do_timer_stop};
    static struct loop loop = {.ops = &ops};
    static struct slices slices;
    struct walk walk = {.reader = {.loop = &loop,
                                   .slices = &slices,
                                   .max_pages = 3,
                                   .on_object = on_walked,
                                   .on_page = on_page,
                                   .arg = &walk}};
    enum list_page first;

    list_reader_begin(&walk.reader);
    give_page(&walk, text, len);
    first = walk.said;
    give_page(&walk, text, len);
    MUST(walk.said != LIST_PAGE_MORE);
    MUST(first != LIST_PAGE_MORE || walk.said == LIST_PAGE_AGAIN);
    list_reader_end(&walk.reader);
}

/* --- pages --- */

#define SOURCES 3
#define MAX     64

static bool comes_first(const struct listing_item *a, const struct listing_item *b, bool ascending)
{
    return ascending ? a->created_at < b->created_at : a->created_at > b->created_at;
}

static void fill(struct listing_source *sources, const uint8_t *data, size_t size, bool ascending)
{
    char id[32];

    for (size_t i = 0; i < size; i++) {
        struct listing_source *s = &sources[data[i] % SOURCES];

        snprintf(id, sizeof(id), "file-%u-%zu", data[i] % 7u, i % 5);
        MUST(listing_source_add(s, data[i] / 16, id, (const char *)data + i, 1) == 0);
        MUST(strcmp(listing_source_id(s, s->num - 1), id) == 0);
    }
    for (size_t i = 0; i < SOURCES; i++)
        listing_sort(&sources[i], ascending);
}

/* Sorted by time, equal times by account; and all of them. */
static void check_merge(const uint8_t *data, size_t size, bool ascending)
{
    struct listing_source sources[SOURCES] = {0};
    struct listing_cursor cursor = {.set = size > 0};
    struct listing_item item, last = {0};
    size_t from, last_from = 0, num = 0;

    size = size < MAX ? size : MAX;
    fill(sources, data, size, ascending);
    while ((from = listing_take(sources, SOURCES, ascending, &item)) < SOURCES) {
        MUST(num == 0 || !comes_first(&item, &last, ascending));
        MUST(num == 0 || item.created_at != last.created_at || from >= last_from);
        cursor.created_at = last.created_at;
        cursor.source = last_from;
        MUST(num == 0 || listing_is_behind(&cursor, from, item.created_at, ascending));
        MUST(num == 0 || listing_may_be_behind(&cursor, item.created_at, ascending));
        num++;
        MUST(listing_has_more(sources, SOURCES) == (num < size));
        last = item;
        last_from = from;
    }
    MUST(num == size);
    for (size_t i = 0; i < SOURCES; i++)
        listing_source_deinit(&sources[i]);
}

/* Trimmed at one of its own objects, a list goes on behind it. */
static void check_trim(const uint8_t *data, size_t size, bool ascending)
{
    struct listing_source sources[SOURCES] = {0}, *s = &sources[0];
    size_t at, num, equal = 0;
    char id[32];
    int64_t created_at;

    fill(sources, data, size < MAX ? size : MAX, ascending);
    num = s->num;
    if (num > 0) {
        at = data[0] % num;
        created_at = s->items[at].created_at;
        snprintf(id, sizeof(id), "%s", listing_source_id(s, at));
        for (size_t i = at + 1; i < num; i++)
            equal +=
                s->items[i].created_at == created_at && strcmp(listing_source_id(s, i), id) == 0;
        listing_trim(s, created_at, id, ascending);
        MUST(s->num == num - at - 1 - equal);
    }
    for (size_t i = 0; i < SOURCES; i++)
        listing_source_deinit(&sources[i]);
}

/* --- cursors --- */

static void check_places(const char *text, size_t len)
{
    struct memo *memo;
    struct strbuf key = STRBUF_INIT;
    struct listing_place place = {.more = len % 2 != 0}, again;
    struct listing_page_end end = {(int64_t)len - 5, 7}, end_again;
    size_t id_len = strnlen(text, len);

    MUST(memo_new(64, &memo) == 0);
    id_len = id_len < IDS_MAX ? id_len : IDS_MAX;
    memcpy(place.id, text, id_len);
    listing_places_key(&key, 0, ID_FILE, false, "batch", place.id);
    listing_places_put(memo, &key, 9, &place, 1000);
    if (listing_places_get(memo, &key, 9, 1000, &again)) {
        MUST(id_len <= LISTING_PLACE_MAX);
        MUST(strcmp(again.id, place.id) == 0 && again.more == place.more);
    }
    listing_places_put_end(memo, &key, &end, 1000);
    if (listing_places_get_end(memo, &key, 1000, &end_again))
        MUST(end_again.created_at == end.created_at && end_again.account == end.account);
    strbuf_deinit(&key);
    memo_free(memo);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_scan((const char *)data, size);
    check_walk((const char *)data, size);
    check_merge(data, size, size % 2 != 0);
    check_trim(data, size, size % 2 != 0);
    check_places((const char *)data, size);
    return 0;
}
