/* See list_reader.h. */
#include "calls/list_reader.h"

#include <assert.h>
#include <string.h>

void list_reader_end(struct list_reader *r)
{
    if (r->slices != NULL)
        slices_remove(r->slices, &r->slice);
    listing_scan_deinit(&r->scan);
    strbuf_deinit(&r->text);
}

void list_reader_begin(struct list_reader *r)
{
    assert(r->on_object != NULL && r->on_page != NULL && r->max_pages > 0);
    list_reader_end(r);
    r->pages = 0;
    r->after[0] = r->first[0] = '\0';
}

bool list_reader_is_reading(const struct list_reader *r)
{
    return r->slice.link != NULL;
}

void list_reader_query(const struct list_reader *r, const char *fixed, struct strbuf *query)
{
    strbuf_adds(query, fixed);
    /* The provider's own id; provider_url() refuses bytes that no URL has. */
    if (r->after[0] != '\0')
        strbuf_addf(query, "&after=%s", r->after);
}

static const char *id_of(const struct json *object)
{
    const char *id = json_get_str(object, "id");

    return id != NULL && strlen(id) <= IDS_MAX ? id : "";
}

/* The page begins with this object. */
static void begin_page(struct list_reader *r, const char *id)
{
    memcpy(r->begins, id, strlen(id) + 1);
    r->again = strcmp(id, r->first) == 0;
    r->at_cursor = !r->again && strcmp(id, r->after) == 0;
}

static int take_object(void *arg, struct json_doc *doc, struct json *json, const char *text,
                       size_t len)
{
    struct list_reader *r = arg;
    struct list_object object = {
        .doc = doc, .json = json, .id = id_of(json), .text = text, .len = len};

    if (object.id[0] != '\0') {
        if (r->begins[0] == '\0') {
            begin_page(r, object.id);
            if (r->at_cursor)
                return 0;
        }
        memcpy(r->after, object.id, strlen(object.id) + 1);
        r->shown++;
    }
    r->on_object(r->arg, &object);
    return 0;
}

/* What follows the page, all of whose objects were taken. */
static enum list_page judge(struct list_reader *r)
{
    bool more;

    if (listing_scan_rest(&r->scan, &more, &r->told) != 0)
        return LIST_PAGE_UNREADABLE;
    if (!more)
        return LIST_PAGE_LAST;
    if (r->again || (r->at_cursor && r->shown == 0))
        return LIST_PAGE_AGAIN;
    if (r->begins[0] == '\0')
        return LIST_PAGE_NOWHERE;
    return r->pages >= r->max_pages ? LIST_PAGE_BOUND : LIST_PAGE_MORE;
}

static void finish_page(struct list_reader *r, int rc)
{
    enum list_page page;

    assert(!list_reader_is_reading(r));
    r->pages++;
    r->objects = r->scan.num;
    page = rc == 0 ? judge(r) : LIST_PAGE_UNREADABLE;
    memcpy(r->first, r->begins, sizeof(r->first));
    list_reader_end(r);
    r->on_page(r->arg, page);
}

static void on_turn(struct slice *slice)
{
    struct list_reader *r = slice->arg;
    struct json_doc *doc = json_doc_new();
    int rc = listing_scan_slice(&r->scan, doc, take_object, r);

    json_doc_free(doc);
    if (rc == LISTING_SCAN_MORE)
        rc = slices_add(r->slices, r->loop, &r->slice) == 0 ? rc : ERR_NOMEM;
    if (rc == LISTING_SCAN_MORE && r->on_slice != NULL)
        r->on_slice(r->arg);
    else if (rc != LISTING_SCAN_MORE)
        finish_page(r, rc);
}

int list_reader_page(struct list_reader *r, const char *body, size_t len)
{
    assert(!list_reader_is_reading(r));
    r->again = r->told = r->at_cursor = false;
    r->begins[0] = '\0';
    r->shown = r->objects = 0;
    strbuf_reset(&r->text);
    strbuf_add(&r->text, body, len);
    r->slice.cb = on_turn;
    r->slice.arg = r;
    if (!strbuf_failed(&r->text)) {
        listing_scan_init(&r->scan, strbuf_str(&r->text), r->text.len);
        if (slices_add(r->slices, r->loop, &r->slice) == 0)
            return 0;
    }
    list_reader_end(r);
    return ERR_NOMEM;
}
