/* See page_scan.h. */
#include "server/page_scan.h"

#include <string.h>

#include "common/upstream/normal.h"

#define SLICE_BYTES 32768 /* read in one turn of the loop: about 0.4 ms */

void page_scan_cancel(struct page_scan *ps)
{
    if (ps->loop != NULL)
        loop_timer_stop(ps->loop, &ps->slice);
    json_doc_free(ps->doc);
    listing_scan_deinit(&ps->scan);
    strbuf_deinit(&ps->text);
    ps->doc = NULL;
    ps->loop = NULL;
}

void page_scan_take(struct page_scan *ps)
{
    ps->doc = NULL;
}

static void finish(struct page_scan *ps, enum page_scan_end end)
{
    page_scan_cancel(ps);
    ps->ops->on_end(ps->arg, end, ps);
}

/* What is left of the page without its objects. */
static enum page_scan_end read_rest(struct page_scan *ps)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *root;
    bool is_list;

    if (doc == NULL)
        return PAGE_SCAN_NO_MEMORY;
    root = json_parse(doc, strbuf_str(&ps->scan.rest), ps->scan.rest.len, &error);
    is_list = json_is(root, JSON_OBJECT) && normal_list_data(root) != NULL;
    ps->more = ps->num > 0;
    ps->told = json_bool(json_get(root, "has_more"), &ps->more);
    json_doc_free(doc);
    return is_list ? PAGE_SCAN_WHOLE : PAGE_SCAN_NO_LIST;
}

/* @return whether the slice is over and the page is not; otherwise *end says how it ended */
static bool read_some(struct page_scan *ps, enum page_scan_end *end)
{
    size_t from = ps->scan.at, len;
    const char *text;
    int rc;

    while ((rc = listing_scan_next(&ps->scan, &text, &len)) > 0) {
        struct json_error error;
        struct json *object = json_parse(ps->doc, text, len, &error);

        *end = object == NULL ? PAGE_SCAN_NO_LIST : PAGE_SCAN_STOPPED;
        ps->num++;
        if (object == NULL || !ps->ops->on_object(ps->arg, ps->doc, object))
            return false;
        if (ps->scan.at - from >= SLICE_BYTES)
            return true;
    }
    if (rc == 0)
        *end = read_rest(ps);
    else
        *end = rc == ERR_NOMEM ? PAGE_SCAN_NO_MEMORY : PAGE_SCAN_NO_LIST;
    return false;
}

static void on_slice(struct loop_timer *timer)
{
    struct page_scan *ps = timer->arg;
    enum page_scan_end end = PAGE_SCAN_NO_MEMORY;
    bool goes_on;

    ps->doc = json_doc_new();
    goes_on = ps->doc != NULL && read_some(ps, &end);
    json_doc_free(ps->doc);
    ps->doc = NULL;
    if (!goes_on)
        finish(ps, end);
    else if (loop_timer_start(ps->loop, timer, 0) != 0)
        finish(ps, PAGE_SCAN_NO_MEMORY);
}

int page_scan_start(struct page_scan *ps, struct loop *loop, const char *text, size_t len,
                    const struct page_scan_ops *ops, void *arg)
{
    ps->ops = ops;
    ps->arg = arg;
    ps->loop = loop;
    ps->doc = NULL;
    ps->num = 0;
    ps->more = ps->told = false;
    ps->slice.cb = on_slice;
    ps->slice.arg = ps;
    strbuf_reset(&ps->text);
    strbuf_add(&ps->text, text, len);
    listing_scan_init(&ps->scan, strbuf_str(&ps->text), ps->text.len);
    if (!strbuf_failed(&ps->text) && loop_timer_start(loop, &ps->slice, 0) == 0)
        return 0;
    page_scan_cancel(ps);
    return ERR_NOMEM;
}
