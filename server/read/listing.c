/* See listing.h. A list is read account by account (listing_reader.c), merged and printed here, the
 * latter in slices too. An account that fails makes the answer partial, and the answer says so:
 * header x-tranche-partial, or 502 with ?strict=true. */
#include "read/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "upstream/normal.h"
#include "objects/batch_view.h"
#include "objects/client_ids.h"
#include "objects/moved.h"
#include "objects/owned.h"
#include "listing_impl.h"
#include "listing_owned.h"
#include "request/errors.h"
#include "request/long_answer.h"

static struct listing *listing_of(struct operation *op)
{
    return (struct listing *)op;
}

static void free_texts(struct listing_text *text)
{
    while (text != NULL) {
        struct listing_text *next = text->next;

        strbuf_deinit(&text->bytes);
        free(text);
        text = next;
    }
}

static void listing_free(struct operation *op)
{
    struct listing *l = listing_of(op);

    for (size_t i = 0; i < l->num; i++) {
        listing_reader_deinit(&l->readers[i]);
        listing_source_deinit(&l->sources[i]);
    }
    loop_timer_stop(l->op.rt->loop, &l->open);
    slices_remove(&l->op.rt->slices, &l->slice);
    loop_timer_stop(l->op.rt->loop, &l->late);
    loop_timer_stop(l->op.rt->loop, &l->flow);
    long_text_deinit(&l->text);
    strbuf_deinit(&l->first);
    strbuf_deinit(&l->last);
    json_doc_free(l->scratch);
    free_texts(l->texts);
    target_deinit(&l->cursor_target);
    free(l->readers);
    free(l->sources);
    free(l);
}

static const struct operation_ops listing_ops = {.free = listing_free};

void listing_fail_cursor(struct listing *l)
{
    operation_fail_not_found(&l->op, l->question.kind, l->question.after);
}

struct json_doc *listing_scratch(struct listing *l)
{
    json_doc_free(l->scratch);
    l->scratch = json_doc_new();
    return l->scratch;
}

int64_t listing_created_at(const struct listing *l, struct json_doc *doc, struct json *object)
{
    int64_t t;

    if (json_int64(json_get(object, "created_at"), &t))
        return t;
    if (l->question.kind == ID_FILE)
        normal_file(doc, object, -1);
    else
        normal_batch(doc, object, NULL);
    return json_int64(json_get(object, "created_at"), &t) ? t : 0;
}

/* --- the answer --- */

static struct json *show(struct listing *l, size_t source, struct json_doc *doc,
                         struct json *object)
{
    uint32_t deployment = l->readers[source].deployment;
    const struct runtime *rt = l->op.rt;
    struct viewer viewer = relay_viewer(l->op.relay);

    if (l->question.kind == ID_BATCH) {
        char native[IDS_MAX + 1];

        snprintf(native, sizeof(native), "%s", json_get_str(object, "id"));
        object = batch_view(&viewer, deployment, client_ids_are_tagged(&viewer, deployment), doc,
                            object);
        moved_show_in_list(&viewer, deployment, native, doc, object);
        return object;
    }
    /* The master's list: a tenant's file has the id that the tenant knows. */
    viewer.owner = owned_by(rt->inherited, runtime_fingerprint(rt, deployment), ID_FILE,
                            json_get_str(object, "id"));
    normal_file(doc, object, -1);
    client_ids_show_file(&viewer, deployment, client_ids_are_tagged(&viewer, deployment), doc,
                         object);
    return object;
}

static void add_id(struct strbuf *out, const char *field, const char *id)
{
    strbuf_addf(out, ",\"%s\":", field);
    if (id == NULL)
        strbuf_adds(out, "null");
    else
        json_write_string(out, id, strlen(id));
}

/* Print one object. @return 0, ERR_NOMEM */
static int write_object(struct listing *l, size_t source, const struct listing_item *item)
{
    struct json_error error;
    struct json *object = json_parse(l->scratch, item->text, item->len, &error);
    struct strbuf *out = long_text_out(&l->text);

    if (object == NULL)
        return ERR_NOMEM; /* it was valid when it was read */
    object = show(l, source, l->scratch, object);
    if (l->written++ > 0)
        strbuf_addc(out, ',');
    json_write(object, out);
    strbuf_reset(&l->last);
    strbuf_adds(&l->last, json_get_str(object, "id"));
    if (l->written == 1)
        strbuf_adds(&l->first, strbuf_str(&l->last));
    l->last_source = source;
    l->last_created_at = item->created_at;
    return json_doc_failed(l->scratch) ? ERR_NOMEM : 0;
}

/* Whether the accounts hold more than was printed. */
static bool has_more(const struct listing *l)
{
    if (l->written == 0)
        return false;
    for (size_t i = 0; i < l->num; i++)
        if (l->readers[i].more)
            return true;
    return listing_has_more(l->sources, l->num);
}

/* How far an account has been read: to the last object printed, or passed over on the way to them.
 * `id` stays empty when the next page may as well begin at the top. */
static void place_of(const struct listing *l, size_t i, struct listing_place *place)
{
    const struct listing_source *s = &l->sources[i];
    const struct reader *r = &l->readers[i];

    memset(place, 0, sizeof(*place));
    place->more = s->next < s->num || r->more;
    if (s->next > 0)
        snprintf(place->id, sizeof(place->id), "%s", listing_source_id(s, s->next - 1));
    else if (r->skipped[0] != '\0')
        memcpy(place->id, r->skipped, sizeof(place->id));
    else
        memcpy(place->id, r->begin, sizeof(place->id));
}

/* Leave the page behind this id a note of where it begins. */
static void remember(const struct listing *l, const char *id, int64_t created_at, size_t source)
{
    struct memo *memo = l->op.rt->inherited->list_places;
    const struct listing_question *q = &l->question;
    uint64_t now_ms = loop_now_ms(l->op.rt->loop);
    struct strbuf key = STRBUF_INIT;
    struct listing_page_end end = {created_at, l->readers[source].key};
    struct listing_place place;

    listing_places_key(&key, q->owner, q->kind, q->ascending, q->purpose, id);
    if (!strbuf_failed(&key)) {
        listing_places_put_end(memo, &key, &end, now_ms);
        for (size_t i = 0; i < l->num; i++) {
            place_of(l, i, &place);
            listing_places_put(memo, &key, l->readers[i].key, &place, now_ms);
        }
    }
    strbuf_deinit(&key);
}

/* Before anything is printed: an account that ran out of time on the way to the cursor goes on from
 * there when the client asks again. */
static void remember_way(const struct listing *l)
{
    for (size_t i = 0; i < l->num; i++) {
        if (!l->cursor.set || !l->readers[i].failed || l->readers[i].skipped[0] == '\0')
            continue;
        remember(l, l->question.after, l->cursor.created_at, l->cursor.source);
        return;
    }
}

static void end_answer(struct listing *l)
{
    bool more = has_more(l);
    struct strbuf *out = long_text_out(&l->text);
    struct long_text text;

    if (more && !strbuf_failed(&l->last))
        remember(l, strbuf_str(&l->last), l->last_created_at, l->last_source);
    strbuf_addc(out, ']');
    add_id(out, "first_id", l->written > 0 ? strbuf_str(&l->first) : NULL);
    add_id(out, "last_id", l->written > 0 ? strbuf_str(&l->last) : NULL);
    strbuf_addf(out, ",\"has_more\":%s}", more ? "true" : "false");
    if (strbuf_failed(&l->first) || strbuf_failed(&l->last)) {
        operation_fail_memory(&l->op);
        return;
    }
    text = l->text;
    l->text = (struct long_text){0};
    long_answer_send(operation_end(&l->op), &text);
}

static void write_slice(struct slice *slice)
{
    struct listing *l = slice->arg;
    size_t source, from = long_text_len(&l->text);
    struct listing_item item;

    if (listing_scratch(l) == NULL) {
        operation_fail_memory(&l->op);
        return;
    }
    while (l->written < l->question.limit &&
           (source = listing_take(l->sources, l->num, l->question.ascending, &item)) < l->num) {
        if (write_object(l, source, &item) != 0) {
            operation_fail_memory(&l->op);
            return;
        }
        if (long_text_len(&l->text) - from >= LISTING_SLICE_BYTES / 2 &&
            slices_add(&l->op.rt->slices, l->op.rt->loop, slice) == 0)
            return;
    }
    end_answer(l);
}

static void answer_page(struct listing *l)
{
    strbuf_adds(long_text_out(&l->text), "{\"object\":\"list\",\"data\":[");
    l->slice.cb = write_slice;
    l->slice.arg = l;
    l->slice.flow = share_flow(l->op.share);
    write_slice(&l->slice);
}

/* Names of the accounts that did not answer, comma-separated. Returns how many. */
static size_t failed_accounts(const struct listing *l, struct strbuf *names)
{
    size_t n = 0;

    for (size_t i = 0; i < l->num; i++) {
        if (!l->readers[i].failed)
            continue;
        strbuf_addf(names, "%s%s", n++ > 0 ? "," : "",
                    runtime_account(l->op.rt, l->readers[i].deployment)->name);
    }
    return n;
}

/* No account gave anything: the failure that tells most. */
static const struct failure *worst_failure(const struct listing *l)
{
    const struct failure *worst = &l->readers[0].failure;

    for (size_t i = 1; i < l->num; i++)
        if (locate_rank(&l->readers[i].failure) > locate_rank(worst))
            worst = &l->readers[i].failure;
    return worst;
}

static bool gave_something(const struct listing *l)
{
    for (size_t i = 0; i < l->num; i++)
        if (!l->readers[i].failed || l->sources[i].num > 0)
            return true;
    return false;
}

void listing_finish(struct listing *l)
{
    struct strbuf names = STRBUF_INIT;
    size_t failed = failed_accounts(l, &names);
    struct failure failure;

    remember_way(l);
    if (failed > 0)
        log_warn("request %s: list is partial, without %s", l->op.relay->request_id,
                 strbuf_str(&names));
    if (failed > 0 && tenant_is_bound(l->op.relay->tenant)) { /* names are the host's */
        strbuf_reset(&names);
        strbuf_addf(&names, "%zu accounts", failed);
    }
    if (!gave_something(l)) {
        operation_fail(&l->op, worst_failure(l));
    } else if (failed > 0 && l->question.strict) {
        error_fill(&failure, LIST_PARTIAL, "", strbuf_str(&names));
        operation_fail(&l->op, &failure);
    } else {
        if (failed > 0)
            relay_header(l->op.relay, "x-tranche-partial", strbuf_str(&names));
        answer_page(l);
    }
    strbuf_deinit(&names);
}

/* --- the question --- */

/* Equal times go by the accounts' keys: the same on every node, for every filter, and after
 * the model list was rearranged. */
static int compare_readers(const void *a, const void *b)
{
    const struct reader *x = a, *y = b;

    return x->key < y->key ? -1 : x->key > y->key;
}

static void prepare_readers(struct listing *l, const uint32_t *deployments)
{
    for (size_t i = 0; i < l->num; i++) {
        l->readers[i].list = l;
        l->readers[i].deployment = deployments[i];
        l->readers[i].key = runtime_account_key(l->op.rt, deployments[i]);
    }
    qsort(l->readers, l->num, sizeof(*l->readers), compare_readers);
    for (size_t i = 0; i < l->num; i++)
        l->readers[i].index = i;
    if (l->num == 1)
        l->op.deployment = deployments[0];
}

static enum answered open_readers(struct listing *l)
{
    struct relay *relay = l->op.relay;
    uint32_t *deployments, num;

    if (resolve_list(relay, &deployments, &num) == ANSWERED)
        return ANSWERED;
    l->readers = calloc(num, sizeof(*l->readers));
    l->sources = calloc(num, sizeof(*l->sources));
    if (l->readers == NULL || l->sources == NULL) {
        free(deployments);
        relay_error(relay, OUT_OF_MEMORY, "");
        return ANSWERED;
    }
    l->num = num;
    prepare_readers(l, deployments);
    free(deployments);
    return GO_ON;
}

static enum answered resolve_cursor(struct listing *l)
{
    const char *after = l->question.after;

    if (after[0] == '\0')
        return GO_ON;
    return resolve_id(l->op.relay, l->question.kind, after, strlen(after), &l->cursor_target);
}

void listing_start(struct relay *relay)
{
    struct listing *l;

    if (relay->owner != 0 && relay->route.kind == ROUTE_FILES) {
        listing_owned_start(relay);
        return;
    }
    l = operation_new(sizeof(*l), relay, &listing_ops);
    if (l == NULL)
        return; /* answered */
    l->question.kind = relay->route.kind == ROUTE_FILES ? ID_FILE : ID_BATCH;
    if (listing_parse(relay, &l->question) == ANSWERED || open_readers(l) == ANSWERED ||
        resolve_cursor(l) == ANSWERED) {
        operation_answered(&l->op);
        return;
    }
    if (l->question.limit == 0)
        answer_page(l);
    else
        listing_locate(l);
}
