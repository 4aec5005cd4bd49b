/* See pages.h. What the rules of lists are, calls/list_reader.h tells. */
#include "pages.h"

#include <assert.h>
#include <stdlib.h>

#include "calls/list_reader.h"

struct pages {
    struct pages_spec spec;
    struct list_reader reader;
};

static int ask(struct pages *p);

static void finish(struct pages *p, enum pages_end end, const char *why)
{
    pages_done_cb on_done = p->spec.on_done;
    void *arg = p->spec.arg;

    list_reader_end(&p->reader);
    free(p);
    on_done(arg, end, why);
}

/* What was on the page before is not counted again. */
static void on_object(void *arg, const struct list_object *object)
{
    const struct pages *p = arg;

    if (object->id[0] != '\0' && !p->reader.again)
        p->spec.on_object(p->spec.arg, object->doc, object->json);
}

static void read_on(struct pages *p)
{
    if (!p->spec.on_more(p->spec.arg))
        finish(p, PAGES_STOPPED, "");
    else if (ask(p) != 0)
        finish(p, PAGES_FAILED, "out of memory");
}

static void on_page(void *arg, enum list_page page)
{
    struct pages *p = arg;

    if (page == LIST_PAGE_UNREADABLE)
        finish(p, PAGES_FAILED, "the answer is no list");
    else if (!p->spec.paged || page == LIST_PAGE_LAST || page == LIST_PAGE_AGAIN ||
             p->reader.objects == 0)
        finish(p, PAGES_WHOLE, "");
    else if (page == LIST_PAGE_MORE)
        read_on(p);
    else
        finish(p, PAGES_STOPPED, "");
}

static void on_answer(void *arg, const struct attempt_result *result)
{
    struct pages *p = arg;
    struct failure failure = result->failure;

    if (!result->ok)
        finish(p, PAGES_FAILED, failure.message);
    else if (list_reader_page(&p->reader, result->upstream->body, result->upstream->body_len) != 0)
        finish(p, PAGES_FAILED, "out of memory");
}

static int ask(struct pages *p)
{
    struct strbuf query = STRBUF_INIT;
    int rc = ERR_NOMEM;

    list_reader_query(&p->reader, p->spec.query, &query);
    if (!strbuf_failed(&query))
        rc = upkeep_call_start(p->spec.account, p->spec.call, NULL, strbuf_str(&query), on_answer,
                               p);
    strbuf_deinit(&query);
    return rc;
}

int pages_start(const struct pages_spec *spec)
{
    struct pages *p = calloc(1, sizeof(*p));
    struct runtime *rt = &spec->account->upkeep->rt;
    int rc;

    assert(spec->on_object != NULL && spec->on_more != NULL && spec->on_done != NULL);
    if (p == NULL)
        return ERR_NOMEM;
    p->spec = *spec;
    p->reader = (struct list_reader){.loop = rt->loop,
                                     .slices = &rt->slices,
                                     .max_pages = spec->max_pages,
                                     .on_object = on_object,
                                     .on_page = on_page,
                                     .arg = p};
    list_reader_begin(&p->reader);
    rc = ask(p);
    if (rc != 0)
        free(p);
    return rc;
}
