/* See listing.h. Long lists are read and printed in slices, so that other clients of the loop do
 * not wait for them. Each account is read page by page until it has given enough, said that it has
 * no more, or used its time. An account that fails makes the answer partial, and the answer says
 * so: header x-tranche-partial, or 502 with ?strict=true. */
#include "server/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/upstream/normal.h"
#include "server/attempt.h"
#include "server/batch_view.h"
#include "server/listing_page.h"
#include "server/listing_scan.h"
#include "server/resolve.h"

#define MAX_BATCH_LIMIT     100
#define DEFAULT_BATCH_LIMIT 20
#define MAX_FILE_LIMIT      10000
#define MAX_PAGES           200 /* of one account for one answer: bounds a provider that ignores `after` */
#define SLICE_BYTES         32768 /* of a provider's answer read in one turn of the loop: about 0.4 ms */
#define SLICE_OBJECTS       128 /* printed in one turn: about 0.3 ms */

struct page { /* one parsed answer of a provider; its objects are used until the end */
    struct json_doc *doc;
    struct page *next;
};

struct reader { /* one account being read */
    struct listing *list;
    uint32_t deployment;
    size_t index;
    struct attempt *attempt;
    char after[IDS_MAX + 1]; /* native cursor for the next page; "" from the top */
    char first[IDS_MAX + 1]; /* the page's first id */
    struct strbuf text;      /* the page being read */
    struct listing_scan scan;
    struct json_doc *doc; /* borrowed; of `pages` */
    struct loop_timer slice;
    bool repeated; /* the provider ignores `after`: this page was there already */
    bool more;     /* the account has more than was read */
    unsigned pages;
    bool done, failed;
    struct failure failure;
};

struct listing {
    struct relay *relay; /* borrowed; NULL: being freed */
    struct worker *worker;
    enum id_kind kind;
    size_t limit;
    bool ascending, strict;
    char purpose[64];
    struct reader *readers;         /* owned [num] */
    struct listing_source *sources; /* owned [num] */
    size_t num;
    struct target cursor_target; /* owned; where `after` may live */
    uint32_t cursor_at;
    struct attempt *cursor_attempt;
    struct listing_cursor cursor;
    char after[IDS_MAX + 1]; /* as the client wrote it; "" none */
    struct page *pages;      /* owned */
    uint64_t deadline_ms;
    struct strbuf text, first, last; /* the answer being printed, its first and newest id */
    struct json_doc *ids;            /* owned; what show() made for the slice being printed */
    size_t written;
    struct loop_timer slice;
};

static void read_page(struct reader *r);
static void locate_cursor(struct listing *l);

static void listing_free(struct listing *l)
{
    if (l->cursor_attempt != NULL)
        attempt_cancel(l->cursor_attempt);
    for (size_t i = 0; i < l->num; i++) {
        if (l->readers[i].attempt != NULL)
            attempt_cancel(l->readers[i].attempt);
        loop_timer_stop(l->worker->loop, &l->readers[i].slice);
        listing_scan_deinit(&l->readers[i].scan);
        strbuf_deinit(&l->readers[i].text);
        listing_source_deinit(&l->sources[i]);
    }
    loop_timer_stop(l->worker->loop, &l->slice);
    strbuf_deinit(&l->text);
    strbuf_deinit(&l->first);
    strbuf_deinit(&l->last);
    json_doc_free(l->ids);
    while (l->pages != NULL) {
        struct page *next = l->pages->next;

        json_doc_free(l->pages->doc);
        free(l->pages);
        l->pages = next;
    }
    target_deinit(&l->cursor_target);
    free(l->readers);
    free(l->sources);
    free(l);
}

static void on_client_gone(void *op)
{
    listing_free(op);
}

static struct relay *detach(struct listing *l)
{
    struct relay *relay = l->relay;

    l->relay = NULL;
    relay->op = NULL;
    if (l->num == 1)
        relay->deployment = l->readers[0].deployment;
    return relay;
}

static void fail(struct listing *l, const struct failure *failure)
{
    struct failure copy = *failure;
    struct relay *relay = detach(l);

    listing_free(l);
    relay_failure(relay, &copy);
}

static void fail_memory(struct listing *l)
{
    struct failure failure = {.status = 500,
                              .type = "server_error",
                              .code = "out_of_memory",
                              .message = "The gateway is out of memory.",
                              .retry_after_ms = -1};

    fail(l, &failure);
}

/* --- the answer --- */

static void show(struct listing *l, size_t source, struct json_doc *doc, struct json *object)
{
    uint32_t deployment = l->readers[source].deployment;

    if (l->kind == ID_FILE)
        resolve_show_file(l->relay, deployment, resolve_mints(l->relay, deployment), doc, object);
}

static void add_id(struct strbuf *out, const char *field, const char *id)
{
    strbuf_addf(out, ",\"%s\":", field);
    if (id == NULL)
        strbuf_adds(out, "null");
    else
        json_write_string(out, id, strlen(id));
}

/* Print one object. */
static void write_object(struct listing *l, size_t source, struct json *object)
{
    show(l, source, l->ids, object);
    if (l->written++ > 0)
        strbuf_addc(&l->text, ',');
    json_write(object, &l->text);
    strbuf_reset(&l->last);
    strbuf_adds(&l->last, json_get_str(object, "id"));
    if (l->written == 1)
        strbuf_adds(&l->first, strbuf_str(&l->last));
}

/* Whether the accounts hold more than was printed. */
static bool has_more(struct listing *l)
{
    struct listing_item item;

    if (l->written == 0)
        return false;
    for (size_t i = 0; i < l->num; i++)
        if (l->readers[i].more)
            return true;
    return listing_take(l->sources, l->num, l->ascending, &item) < l->num;
}

static void end_answer(struct listing *l)
{
    struct strbuf text = l->text;
    struct relay *relay;
    bool failed;

    strbuf_addc(&text, ']');
    add_id(&text, "first_id", l->written > 0 ? strbuf_str(&l->first) : NULL);
    add_id(&text, "last_id", l->written > 0 ? strbuf_str(&l->last) : NULL);
    strbuf_addf(&text, ",\"has_more\":%s}", has_more(l) ? "true" : "false");
    failed = strbuf_failed(&text) || strbuf_failed(&l->first) || strbuf_failed(&l->last);
    strbuf_init(&l->text);
    relay = detach(l);
    listing_free(l);
    if (failed)
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
    else
        relay_bytes(relay, 200, "application/json", strbuf_str(&text), text.len);
    strbuf_deinit(&text);
}

static void write_slice(struct loop_timer *timer)
{
    struct listing *l = timer->arg;
    struct listing_item item = {0};
    size_t source;

    json_doc_free(l->ids);
    l->ids = json_doc_new();
    if (l->ids == NULL) {
        fail_memory(l);
        return;
    }
    while (l->written < l->limit &&
           (source = listing_take(l->sources, l->num, l->ascending, &item)) < l->num) {
        write_object(l, source, item.object);
        if (l->written % SLICE_OBJECTS == 0 && loop_timer_start(l->worker->loop, timer, 0) == 0)
            return;
    }
    end_answer(l);
}

/* Names of the accounts that did not answer, comma-separated. Returns how many. */
static size_t failed_accounts(const struct listing *l, struct strbuf *names)
{
    size_t n = 0;

    for (size_t i = 0; i < l->num; i++) {
        if (!l->readers[i].failed)
            continue;
        strbuf_addf(names, "%s%s", n++ > 0 ? "," : "",
                    worker_account(l->worker, l->readers[i].deployment)->name);
    }
    return n;
}

static void answer_page(struct listing *l)
{
    strbuf_adds(&l->text, "{\"object\":\"list\",\"data\":[");
    l->slice.cb = write_slice;
    l->slice.arg = l;
    write_slice(&l->slice);
}

static void finish(struct listing *l)
{
    struct strbuf names = STRBUF_INIT;
    size_t failed = failed_accounts(l, &names);
    struct failure failure = {
        .status = 502, .type = "server_error", .code = "partial_list", .retry_after_ms = -1};

    if (failed > 0)
        log_warn("request %s: list without %s", l->relay->request_id, strbuf_str(&names));
    if (failed == l->num) {
        fail(l, &l->readers[0].failure);
    } else if (failed > 0 && l->strict) {
        snprintf(failure.message, sizeof(failure.message), "These accounts did not answer: %.800s.",
                 strbuf_str(&names));
        fail(l, &failure);
    } else {
        if (failed > 0)
            relay_header(l->relay, "x-tranche-partial", strbuf_str(&names));
        answer_page(l);
    }
    strbuf_deinit(&names);
}

static void reader_done(struct reader *r)
{
    struct listing *l = r->list;

    r->done = true;
    for (size_t i = 0; i < l->num; i++)
        if (!l->readers[i].done)
            return;
    finish(l);
}

/* --- reading one account --- */

static bool account_is_paged(const struct reader *r)
{
    const struct model_account *account = worker_account(r->list->worker, r->deployment);

    /* Azure's dated files list knows no paging: it is always whole (reference 2.4). */
    return !(account->provider == PROVIDER_AZURE && account->api_version != NULL &&
             r->list->kind == ID_FILE);
}

static int64_t created_at(const struct json *object)
{
    int64_t t;

    return json_int64(json_get(object, "created_at"), &t) ? t : 0;
}

static int keep_page(struct listing *l, struct json_doc *doc)
{
    struct page *page = malloc(sizeof(*page));

    if (page == NULL) {
        json_doc_free(doc);
        return ERR_NOMEM;
    }
    page->doc = doc;
    page->next = l->pages;
    l->pages = page;
    return 0;
}

/* Batches get their final form here, where their markers are still there; files when they are
 * printed: there may be thousands that are not. */
static void normalise(struct listing *l, uint32_t deployment, struct json_doc *doc,
                      struct json *object)
{
    if (l->kind == ID_FILE)
        normal_file(doc, object, -1);
    else
        batch_view(l->relay, deployment, resolve_mints(l->relay, deployment), doc, object, NULL);
}

/* Of a whole list the cursor itself may be missing: deleted, or of another purpose. Then its time,
 * where it is known, says what is behind it. */
static bool is_behind(const struct reader *r, bool found, int64_t time)
{
    const struct listing *l = r->list;

    return listing_is_behind(&l->cursor, found ? r->index : r->index + 1, time, l->ascending);
}

/* A list that came whole: sort it, and begin behind the cursor. @return false: there is no such
 * object */
static bool trim_whole_list(struct reader *r)
{
    struct listing *l = r->list;
    struct listing_source *s = &l->sources[r->index];
    bool own = r->after[0] != '\0', found = !own;
    size_t from = 0, kept = 0;

    listing_sort(s->items, s->num, l->ascending);
    for (size_t i = 0; i < s->num && !found; i++)
        if (strcmp(json_get_str(s->items[i].object, "id"), r->after) == 0) {
            from = i + 1;
            found = true;
        }
    if (!found && !l->cursor.set)
        return false;
    for (size_t i = from; i < s->num; i++)
        if (is_behind(r, found, s->items[i].created_at))
            s->items[kept++] = s->items[i];
    s->num = kept;
    return true;
}

/* Take one object of a page. */
static int take_object(struct reader *r, const char *text, size_t len)
{
    struct listing *l = r->list;
    struct json_error error;
    struct json *object = json_parse(r->doc, text, len, &error);
    const char *id = json_get_str(object, "id");
    bool paged = account_is_paged(r);

    if (object == NULL)
        return ERR_SYNTAX;
    if (id == NULL || id[0] == '\0' || strlen(id) >= sizeof(r->after))
        return 0;
    normalise(l, r->deployment, r->doc, object);
    if (paged && r->scan.num == 1) {
        r->repeated = strcmp(id, r->after) == 0 || strcmp(id, r->first) == 0;
        snprintf(r->first, sizeof(r->first), "%s", id);
    }
    if (r->repeated)
        return 0;
    if (paged)
        snprintf(r->after, sizeof(r->after), "%s", id);
    if (paged && !listing_is_behind(&l->cursor, r->index, created_at(object), l->ascending))
        return 0;
    return listing_source_add(&l->sources[r->index], created_at(object), object);
}

static const struct failure unreadable = {.status = 502,
                                          .type = "server_error",
                                          .code = "bad_upstream_answer",
                                          .message = "The provider's list could not be read.",
                                          .retry_after_ms = -1};

static void reader_failed(struct reader *r, const struct failure *failure)
{
    r->failed = true;
    r->failure = *failure;
    reader_done(r);
}

static void unknown_cursor(struct reader *r)
{
    struct failure failure = {
        .status = 404, .type = "invalid_request_error", .param = "after", .retry_after_ms = -1};

    snprintf(failure.message, sizeof(failure.message), "No such object: '%.512s'.", r->list->after);
    reader_failed(r, &failure);
}

/* All objects of the page were taken: is it the last one? */
static void end_page(struct reader *r)
{
    const struct listing *l = r->list;
    size_t num = l->sources[r->index].num;
    bool more = r->scan.num > 0, told;
    struct json_error error;
    struct json *root = json_parse(r->doc, strbuf_str(&r->scan.rest), r->scan.rest.len, &error);

    if (!json_is(root, JSON_OBJECT) || normal_list_data(root) == NULL) {
        reader_failed(r, &unreadable);
        return;
    }
    told = json_bool(json_get(root, "has_more"), &more);
    listing_scan_deinit(&r->scan);
    strbuf_deinit(&r->text);
    if (!account_is_paged(r)) {
        if (trim_whole_list(r))
            reader_done(r);
        else
            unknown_cursor(r);
        return;
    }
    r->more = told && more && num >= l->limit;
    if (!more || r->repeated || r->more || num > l->limit || ++r->pages >= MAX_PAGES)
        reader_done(r);
    else
        read_page(r);
}

static void read_slice(struct loop_timer *timer)
{
    struct reader *r = timer->arg;
    size_t from = r->scan.at, len;
    const char *text;
    int rc;

    while ((rc = listing_scan_next(&r->scan, &text, &len)) > 0) {
        rc = take_object(r, text, len);
        if (rc != 0)
            break;
        if (r->scan.at - from >= SLICE_BYTES &&
            loop_timer_start(r->list->worker->loop, timer, 0) == 0)
            return;
    }
    if (rc == 0)
        end_page(r);
    else
        reader_failed(r, &unreadable);
}

static void on_page(void *arg, const struct attempt_result *result)
{
    struct reader *r = arg;
    struct json_doc *doc;

    r->attempt = NULL;
    if (!result->ok) {
        reader_failed(r, &result->failure);
        return;
    }
    doc = json_doc_new();
    strbuf_reset(&r->text);
    strbuf_add(&r->text, result->upstream->body, result->upstream->body_len);
    if (doc == NULL || keep_page(r->list, doc) != 0 || strbuf_failed(&r->text)) {
        reader_failed(r, &unreadable);
        return;
    }
    r->doc = doc;
    listing_scan_init(&r->scan, strbuf_str(&r->text), r->text.len);
    r->slice.cb = read_slice;
    r->slice.arg = r;
    read_slice(&r->slice);
}

/* What one page is asked for: one more than the page shows tells whether there is more. */
static size_t page_size(const struct listing *l)
{
    size_t max = l->kind == ID_FILE ? MAX_FILE_LIMIT : MAX_BATCH_LIMIT;

    return l->limit + 1 < max ? l->limit + 1 : max;
}

static void list_query(const struct reader *r, struct strbuf *query)
{
    const struct listing *l = r->list;

    if (account_is_paged(r)) {
        strbuf_addf(query, "limit=%zu", page_size(l));
        if (r->after[0] != '\0')
            strbuf_addf(query, "&after=%s",
                        r->after); /* ids are URL-safe: ids_open() checked, or the provider's own */
        if (l->kind == ID_FILE && l->ascending)
            strbuf_adds(query, "&order=asc");
    }
    if (l->purpose[0] != '\0')
        strbuf_addf(query, "%spurpose=%s", query->len > 0 ? "&" : "", l->purpose);
}

static void read_page(struct reader *r)
{
    struct listing *l = r->list;
    struct strbuf query = STRBUF_INIT;
    uint64_t now_ms = loop_now_ms(l->worker->loop);
    struct failure late = {.status = 504,
                           .type = "server_error",
                           .code = "upstream_timeout",
                           .message = "The account did not list its objects in time.",
                           .retry_after_ms = -1};
    struct attempt_spec spec = {.deployment = r->deployment,
                                .call = l->kind == ID_FILE ? CALL_FILE_LIST : CALL_BATCH_LIST,
                                .on_done = on_page,
                                .arg = r};

    if (now_ms >= l->deadline_ms) {
        reader_failed(r, &late);
        return;
    }
    list_query(r, &query);
    spec.query = strbuf_str(&query);
    spec.total_ms = (uint32_t)(l->deadline_ms - now_ms);
    r->attempt = strbuf_failed(&query) ? NULL : attempt_start(l->worker, &spec);
    strbuf_deinit(&query);
    if (r->attempt == NULL) {
        late.status = 500;
        reader_failed(r, &late);
    }
}

static void read_all(struct listing *l)
{
    size_t num = l->num;

    if (l->limit == 0) {
        answer_page(l);
        return;
    }
    l->deadline_ms = loop_now_ms(l->worker->loop) + l->worker->config->timeouts.list_ms;
    for (size_t i = 0; i + 1 < num;
         i++) /* only the last one to end finishes the list, so `l` lives through this loop */
        read_page(&l->readers[i]);
    read_page(&l->readers[num - 1]);
}

/* --- the cursor --- */

/* The same answer as to an id that was never one. */
static void bad_cursor(struct listing *l)
{
    enum id_kind kind = l->kind;
    char after[IDS_MAX + 1];
    struct relay *relay;

    memcpy(after, l->after, sizeof(after));
    relay = detach(l);
    listing_free(l);
    resolve_not_found(relay, kind, after);
}

static void on_cursor(void *arg, const struct attempt_result *result)
{
    struct listing *l = arg;
    struct json_doc *doc;
    struct json_error error;
    struct json *object;

    l->cursor_attempt = NULL;
    if (!result->ok) {
        if (result->upstream->head.status != 404)
            fail(l, &result->failure);
        else if (++l->cursor_at < l->cursor_target.num)
            locate_cursor(l);
        else
            bad_cursor(l);
        return;
    }
    doc = json_doc_new();
    object = doc != NULL
                 ? json_parse(doc, result->upstream->body, result->upstream->body_len, &error)
                 : NULL;
    if (!json_is(object, JSON_OBJECT)) {
        json_doc_free(doc);
        bad_cursor(l);
        return;
    }
    normalise(l, l->cursor_target.deployments[l->cursor_at], doc, object);
    l->cursor.created_at = created_at(object);
    json_doc_free(doc);
    for (size_t i = 0; i < l->num; i++) {
        if (worker_account(l->worker, l->readers[i].deployment) !=
            worker_account(l->worker, l->cursor_target.deployments[l->cursor_at]))
            continue;
        l->cursor.set = true;
        l->cursor.source = i;
        memcpy(l->readers[i].after, l->cursor_target.native, sizeof(l->readers[i].after));
    }
    if (l->cursor.set)
        read_all(l);
    else
        bad_cursor(l);
}

/* When several accounts are merged, the cursor's own time says where the others begin. */
static void locate_cursor(struct listing *l)
{
    struct attempt_spec spec = {.deployment = l->cursor_target.deployments[l->cursor_at],
                                .call = l->kind == ID_FILE ? CALL_FILE_GET : CALL_BATCH_GET,
                                .id = l->cursor_target.native,
                                .on_done = on_cursor,
                                .arg = l};

    l->cursor_attempt = attempt_start(l->worker, &spec);
    if (l->cursor_attempt == NULL)
        fail_memory(l);
}

/* --- the question --- */

static bool parse_limit(struct relay *relay, enum id_kind kind, size_t *out)
{
    size_t max = kind == ID_FILE ? MAX_FILE_LIMIT : MAX_BATCH_LIMIT, min = kind == ID_FILE ? 1 : 0;
    char text[32], *end;
    long value;
    int len = route_query(relay->query, relay->query_len, "limit", text, sizeof(text));

    *out = kind == ID_FILE ? MAX_FILE_LIMIT : DEFAULT_BATCH_LIMIT;
    if (!route_query_has(relay->query, relay->query_len, "limit"))
        return true;
    if (len < 0)
        text[0] = '\0';
    value = strtol(text, &end, 10);
    if (len <= 0 || strspn(text, "-0123456789") != (size_t)len || *end != '\0') {
        relay_problem(relay, 400, "invalid_request_error", "invalid_type", "limit",
                      "Invalid type for 'limit': expected an integer, but got '%s' instead.", text);
    } else if (value > (long)max) {
        relay_problem(relay, 400, "invalid_request_error", "integer_above_max_value", "limit",
                      "Invalid 'limit': integer above maximum value. Expected a value <= %zu, but "
                      "got %s instead.",
                      max, text);
    } else if (value < (long)min) {
        relay_problem(relay, 400, "invalid_request_error", "integer_below_min_value", "limit",
                      "Invalid 'limit': integer below minimum value. Expected a value >= %zu, but "
                      "got %s instead.",
                      min, text);
    } else {
        *out = (size_t)value;
        return true;
    }
    return false;
}

static bool parse_order(struct relay *relay, bool *ascending)
{
    char text[16];
    int len = route_query(relay->query, relay->query_len, "order", text, sizeof(text));

    *ascending = len > 0 && strcmp(text, "asc") == 0;
    if (len == 0 || *ascending || (len > 0 && strcmp(text, "desc") == 0) ||
        !route_query_has(relay->query, relay->query_len, "order"))
        return true;
    relay_problem(relay, 400, "invalid_request_error", "invalid_value", "order",
                  "Invalid value for 'order': expected 'asc' or 'desc'.");
    return false;
}

static bool parse_purpose(struct relay *relay, char *out, size_t size)
{
    int len = route_query(relay->query, relay->query_len, "purpose", out, size);

    if (len >= 0 && strspn(out, "abcdefghijklmnopqrstuvwxyz_-") == (size_t)len)
        return true;
    out[0] = '\0';
    if (!route_query_has(relay->query, relay->query_len, "purpose"))
        return true;
    relay_problem(relay, 400, "invalid_request_error", "invalid_value", "purpose",
                  "Invalid value for 'purpose'.");
    return false;
}

static bool parse_after(struct relay *relay, char *out, size_t size)
{
    int len = route_query(relay->query, relay->query_len, "after", out, size);

    if (len >= 0)
        return true;
    out[0] = '\0';
    if (!route_query_has(relay->query, relay->query_len, "after"))
        return true;
    relay_problem(relay, 400, "invalid_request_error", "invalid_value", "after",
                  "Invalid value for 'after'.");
    return false;
}

static bool parse_question(struct listing *l, struct relay *relay)
{
    char text[8];

    l->strict = route_query(relay->query, relay->query_len, "strict", text, sizeof(text)) > 0 &&
                strcmp(text, "true") == 0;
    if (!parse_limit(relay, l->kind, &l->limit) || !parse_after(relay, l->after, sizeof(l->after)))
        return false;
    if (l->kind == ID_FILE && (!parse_order(relay, &l->ascending) ||
                               !parse_purpose(relay, l->purpose, sizeof(l->purpose))))
        return false;
    return true;
}

static bool open_readers(struct listing *l, struct relay *relay)
{
    uint32_t *deployments, num;

    if (!resolve_list(relay, &deployments, &num))
        return false;
    l->readers = calloc(num, sizeof(*l->readers));
    l->sources = calloc(num, sizeof(*l->sources));
    if (l->readers == NULL || l->sources == NULL) {
        free(deployments);
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
        return false;
    }
    l->num = num;
    for (uint32_t i = 0; i < num; i++) {
        l->readers[i].list = l;
        l->readers[i].index = i;
        l->readers[i].deployment = deployments[i];
    }
    free(deployments);
    return true;
}

void listing_start(struct relay *relay)
{
    struct listing *l = calloc(1, sizeof(*l));

    if (l == NULL) {
        relay_problem(relay, 500, "server_error", "out_of_memory", "",
                      "The gateway is out of memory.");
        return;
    }
    l->relay = relay;
    l->worker = relay->worker;
    l->kind = relay->route.kind == ROUTE_FILES ? ID_FILE : ID_BATCH;
    if (!parse_question(l, relay) || !open_readers(l, relay) ||
        (l->after[0] != '\0' &&
         !resolve_id(relay, l->kind, l->after, strlen(l->after), &l->cursor_target))) {
        listing_free(l);
        return;
    }
    relay_attach(relay, l, on_client_gone);
    if (l->after[0] == '\0') {
        read_all(l);
    } else if (l->num == 1) {
        memcpy(l->readers[0].after, l->cursor_target.native, sizeof(l->readers[0].after));
        read_all(l);
    } else {
        locate_cursor(l);
    }
}
