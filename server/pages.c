/* See pages.h. A provider that ignores `after` gives the first page for ever: a page that begins
 * like the one before, or with the cursor itself, is the end. */
#include "server/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ids.h"
#include "common/upstream/normal.h"
#include "server/listing_scan.h"

#define SLICE_BYTES 32768 /* read in one turn of the loop: about 0.4 ms */

struct pages {
    struct pages_spec spec;
    unsigned num;            /* pages read */
    char after[IDS_MAX + 1]; /* the last id so far; "": none */
    char first[IDS_MAX + 1]; /* the first one of the page before */
    bool repeated;
    struct strbuf text; /* the page being read */
    struct listing_scan scan;
    struct loop_timer slice;
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

/* The rest of the list without its elements. @return whether it is a list at all */
static bool read_rest(const struct pages *p, bool *more)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *root =
        doc != NULL ? json_parse(doc, strbuf_str(&p->scan.rest), p->scan.rest.len, &error) : NULL;
    bool ok = json_is(root, JSON_OBJECT) && normal_list_data(root) != NULL;

    *more = p->scan.num > 0;
    (void)json_bool(json_get(root, "has_more"), more); /* not told: until a page is empty */
    json_doc_free(doc);
    return ok;
}

static void end_page(struct pages *p)
{
    bool more;

    if (!read_rest(p, &more)) {
        finish(p, PAGES_FAILED, "the answer is no list");
        return;
    }
    p->num++;
    if (!p->spec.paged || !more || p->repeated || p->scan.num == 0)
        finish(p, PAGES_WHOLE, "");
    else if (p->num >= p->spec.max_pages || !p->spec.on_more(p->spec.arg))
        finish(p, PAGES_STOPPED, "");
    else if (ask(p) != 0)
        finish(p, PAGES_FAILED, "out of memory");
}

static void take_object(struct pages *p, struct json_doc *doc, struct json *object)
{
    const char *id = json_get_str(object, "id");

    if (id == NULL || id[0] == '\0' || strlen(id) >= sizeof(p->after))
        return;
    if (p->scan.num == 1) {
        p->repeated = strcmp(id, p->after) == 0 || strcmp(id, p->first) == 0;
        snprintf(p->first, sizeof(p->first), "%s", id);
    }
    if (p->repeated)
        return;
    snprintf(p->after, sizeof(p->after), "%s", id);
    p->spec.on_object(p->spec.arg, doc, object);
}

/* @return as listing_scan_next(), for the last one; 1: the slice is over */
static int read_some(struct pages *p, struct json_doc *doc)
{
    size_t from = p->scan.at, len;
    const char *text;
    int rc;

    while ((rc = listing_scan_next(&p->scan, &text, &len)) > 0) {
        struct json_error error;
        struct json *object = json_parse(doc, text, len, &error);

        if (object == NULL)
            return ERR_SYNTAX;
        take_object(p, doc, object);
        if (p->scan.at - from >= SLICE_BYTES)
            return 1;
    }
    return rc;
}

static void on_slice(struct loop_timer *timer)
{
    struct pages *p = timer->arg;
    struct json_doc *doc = json_doc_new();
    int rc = doc != NULL ? read_some(p, doc) : ERR_NOMEM;

    json_doc_free(doc);
    if (rc > 0)
        rc = loop_timer_start(p->spec.account->errands->loop, timer, 0);
    else if (rc == 0) {
        end_page(p);
        return;
    }
    if (rc != 0)
        finish(p, PAGES_FAILED, "the answer is no list");
}

static void on_answer(void *arg, const struct errand_result *result)
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
    if (strbuf_failed(&p->text) ||
        loop_timer_start(p->spec.account->errands->loop, &p->slice, 0) != 0)
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
    p->slice = (struct loop_timer){.cb = on_slice, .arg = p};
    rc = ask(p);
    if (rc != 0)
        free(p);
    return rc;
}
