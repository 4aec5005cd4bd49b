/* See pages.h. A provider that ignores `after` gives the first page for ever: a page that begins
 * like the one before, or with the cursor itself, is the end. */
#include "server/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "server/page_scan.h"

struct pages {
    struct pages_spec spec;
    unsigned num;            /* pages read */
    char after[IDS_MAX + 1]; /* the last id so far; "": none */
    char first[IDS_MAX + 1]; /* the first one of the page before */
    bool repeated;
    struct page_scan scan; /* of the page being read */
};

static int ask(struct pages *p);

static void finish(struct pages *p, enum pages_end end, const char *why)
{
    pages_done_cb on_done = p->spec.on_done;
    void *arg = p->spec.arg;

    page_scan_cancel(&p->scan);
    free(p);
    on_done(arg, end, why);
}

static bool on_object(void *arg, struct json_doc *doc, struct json *object)
{
    struct pages *p = arg;
    const char *id = json_get_str(object, "id");

    if (id == NULL || id[0] == '\0' || strlen(id) >= sizeof(p->after))
        return true;
    if (p->scan.num == 1) {
        p->repeated = strcmp(id, p->after) == 0 || strcmp(id, p->first) == 0;
        snprintf(p->first, sizeof(p->first), "%s", id);
    }
    if (p->repeated)
        return true;
    snprintf(p->after, sizeof(p->after), "%s", id);
    p->spec.on_object(p->spec.arg, doc, object);
    return true;
}

/* A provider that does not tell whether there is more is asked until a page is empty. */
static void on_page_end(void *arg, enum page_scan_end end, const struct page_scan *scan)
{
    struct pages *p = arg;

    if (end != PAGE_SCAN_WHOLE) {
        finish(p, PAGES_FAILED,
               end == PAGE_SCAN_NO_MEMORY ? "out of memory" : "the answer is no list");
        return;
    }
    p->num++;
    if (!p->spec.paged || !scan->more || p->repeated || scan->num == 0)
        finish(p, PAGES_WHOLE, "");
    else if (p->num >= p->spec.max_pages || !p->spec.on_more(p->spec.arg))
        finish(p, PAGES_STOPPED, "");
    else if (ask(p) != 0)
        finish(p, PAGES_FAILED, "out of memory");
}

static const struct page_scan_ops page_ops = {.on_object = on_object, .on_end = on_page_end};

static void on_answer(void *arg, const struct errand_result *result)
{
    struct pages *p = arg;
    struct failure failure = result->failure;

    if (!result->ok)
        finish(p, PAGES_FAILED, failure.message);
    else if (page_scan_start(&p->scan, p->spec.account->errands->loop, result->upstream->body,
                             result->upstream->body_len, &page_ops, p) != 0)
        finish(p, PAGES_FAILED, "out of memory");
}

static int ask(struct pages *p)
{
    struct strbuf query = STRBUF_INIT;
    int rc = ERR_NOMEM;

    strbuf_adds(&query, p->spec.query);
    if (p->after[0] != '\0')
        strbuf_addf(&query, "&after=%s", p->after); /* the provider's own; provider_url() refuses
                                                       bytes that no URL has */
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
    rc = ask(p);
    if (rc != 0)
        free(p);
    return rc;
}
