/* See pages.h. A provider that ignores `after` gives the first page for ever: a page that begins
 * like the one before, or with the cursor itself, is the end. */
#include "pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/ids.h"
#include "calls/listing_scan.h"

struct pages {
    struct pages_spec spec;
    unsigned num;            /* pages read */
    char after[IDS_MAX + 1]; /* the last id so far; "": none */
    char first[IDS_MAX + 1]; /* the first one of the page before */
    bool repeated;
    struct strbuf text; /* the page being read */
    struct listing_scan scan;
    struct slice slice;
};

static int ask(struct pages *p);

static void finish(struct pages *p, enum pages_end end, const char *why)
{
    pages_done_cb on_done = p->spec.on_done;
    void *arg = p->spec.arg;

    listing_scan_deinit(&p->scan);
    strbuf_deinit(&p->text);
    free(p);
    on_done(arg, end, why);
}

static void end_page(struct pages *p)
{
    bool more, told;

    if (listing_scan_rest(&p->scan, &more, &told) != 0) {
        finish(p, PAGES_FAILED, "the answer is no list");
        return;
    }
    p->num++;
    if (!p->spec.paged || !more /* not told: until a page is empty */ || p->repeated ||
        p->scan.num == 0)
        finish(p, PAGES_WHOLE, "");
    else if (p->num >= p->spec.max_pages || !p->spec.on_more(p->spec.arg))
        finish(p, PAGES_STOPPED, "");
    else if (ask(p) != 0)
        finish(p, PAGES_FAILED, "out of memory");
}

static int take_object(void *arg, struct json_doc *doc, struct json *object, const char *text,
                       size_t len)
{
    struct pages *p = arg;
    const char *id = json_get_str(object, "id");

    (void)text;
    (void)len;
    if (id == NULL || id[0] == '\0' || strlen(id) >= sizeof(p->after))
        return 0;
    if (p->scan.num == 1) {
        p->repeated = strcmp(id, p->after) == 0 || strcmp(id, p->first) == 0;
        snprintf(p->first, sizeof(p->first), "%s", id);
    }
    if (p->repeated)
        return 0;
    snprintf(p->after, sizeof(p->after), "%s", id);
    p->spec.on_object(p->spec.arg, doc, object);
    return 0;
}

static int wait_for_turn(struct pages *p)
{
    struct errands *errands = p->spec.account->errands;

    return slices_add(&errands->rt.slices, errands->rt.loop, &p->slice);
}

static void on_slice(struct slice *slice)
{
    struct pages *p = slice->arg;
    struct json_doc *doc = json_doc_new();
    int rc = listing_scan_slice(&p->scan, doc, take_object, p);

    json_doc_free(doc);
    if (rc == 0) {
        end_page(p);
        return;
    }
    if (rc == LISTING_SCAN_MORE)
        rc = wait_for_turn(p);
    if (rc != 0)
        finish(p, PAGES_FAILED, "the answer is no list");
}

static void on_answer(void *arg, const struct attempt_result *result)
{
    struct pages *p = arg;
    struct failure failure = result->failure;

    if (!result->ok) {
        finish(p, PAGES_FAILED, failure.message);
        return;
    }
    strbuf_reset(&p->text);
    strbuf_add(&p->text, result->upstream->body, result->upstream->body_len);
    listing_scan_init(&p->scan, strbuf_str(&p->text), p->text.len);
    if (strbuf_failed(&p->text) || wait_for_turn(p) != 0)
        finish(p, PAGES_FAILED, "out of memory");
}

static int ask(struct pages *p)
{
    struct strbuf query = STRBUF_INIT;
    int rc = ERR_NOMEM;

    strbuf_adds(&query, p->spec.query);
    /* The provider's own; provider_url() refuses bytes that no URL has. */
    if (p->after[0] != '\0')
        strbuf_addf(&query, "&after=%s", p->after);
    if (!strbuf_failed(&query))
        rc = errand_start(p->spec.account, p->spec.call, NULL, strbuf_str(&query), on_answer, p);
    strbuf_deinit(&query);
    return rc;
}

int pages_start(const struct pages_spec *spec)
{
    struct pages *p = calloc(1, sizeof(*p));
    int rc;

    if (p == NULL)
        return ERR_NOMEM;
    p->spec = *spec;
    p->slice = (struct slice){.cb = on_slice, .arg = p};
    rc = ask(p);
    if (rc != 0)
        free(p);
    return rc;
}
