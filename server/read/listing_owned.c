/* See listing_owned.h. The owner's rows are gathered and printed in slices: a table of 100,000 rows
 * takes 17 turns of the loop. No provider is asked, but for the file that `after` names when nobody
 * remembers when it was made, and, without waiting, for what a file is of which the id alone is
 * known. */
#include "listing_owned.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/iso8601.h"
#include "listing_impl.h"
#include "objects/owned.h"
#include "request/errors.h"
#include "request/long_answer.h"
#include "upstream/normal.h"

#define GATHER_ROWS 16384 /* in one slice: some 20 us, 1.5 ms when all are the owner's */
#define PRINT_ROWS  256   /* in one slice */

struct owned_list {
    struct operation op;
    struct listing_question question;
    /* Which accounts; all, unless models or a provider were named */
    uint32_t *deployments; /* owned [num_deployments]; of the groups that were named */
    uint32_t num_deployments;
    bool of_models, of_provider;
    enum provider provider;
    uint32_t *accounts;   /* owned [account_map.num]: for one look */
    struct target target; /* owned; of `after` */
    struct registry_page page;
    bool gathered;
    size_t at; /* place of the page that is printed next */
    struct slice slice;
    struct long_text text;
    struct strbuf first, last; /* ids */
    struct registry_row row;   /* the last one printed */
    size_t written;
    bool undescribed; /* a file was left out of which the id alone is known */
};

static struct owned_list *list_of(struct operation *op)
{
    return (struct owned_list *)op;
}

static void list_free(struct operation *op)
{
    struct owned_list *l = list_of(op);

    slices_remove(&op->rt->slices, &l->slice);
    registry_page_deinit(&l->page);
    target_deinit(&l->target);
    long_text_deinit(&l->text);
    strbuf_deinit(&l->first);
    strbuf_deinit(&l->last);
    free(l->deployments);
    free(l->accounts);
    free(l);
}

static const struct operation_ops list_ops = {.free = list_free};

/* --- what is missing --- */

static void add_reason(struct strbuf *out, const char *text)
{
    strbuf_addf(out, "%s%s", out->len > 0 ? ", " : "", text);
}

static const char *time_text(int64_t unix_s, char out[ISO8601_SIZE])
{
    iso8601_print(unix_s * 1000, out);
    return out;
}

/* Nothing: the list is complete. */
static void add_missing(const struct owned_list *l, struct strbuf *out)
{
    struct registry_gaps gaps = registry_gaps(l->op.rt->inherited->registry, l->question.owner);
    char from[ISO8601_SIZE], until[ISO8601_SIZE], text[96];

    if (gaps.since_unix_s != 0) {
        snprintf(text, sizeof(text), "files made before %s", time_text(gaps.since_unix_s, from));
        add_reason(out, text);
    }
    if (gaps.lost_until_unix_s > gaps.since_unix_s) {
        snprintf(text, sizeof(text), "files made between %s and %s",
                 time_text(gaps.lost_from_unix_s, from), time_text(gaps.lost_until_unix_s, until));
        add_reason(out, text);
    }
    if (gaps.behind_unix_s != 0) {
        snprintf(text, sizeof(text), "files that other gateways took since %s",
                 time_text(gaps.behind_unix_s, from));
        add_reason(out, text);
    }
    if (gaps.cut)
        add_reason(out, "old files beyond max_known_files");
    if (l->undescribed)
        add_reason(out, "files that were made a moment ago");
}

/* --- one file --- */

/* Whether an id of this account opens here, and the list covers it. */
static bool is_covered(struct owned_list *l, uint32_t account)
{
    const struct account_map *map = &l->op.rt->account_map;
    bool sure;

    if (account_map_candidates(map, account, l->accounts, &sure) == 0)
        return false;
    if (l->of_provider && map->models->accounts[l->accounts[0]].provider != l->provider)
        return false;
    for (uint32_t i = 0; l->of_models && i < l->num_deployments; i++)
        if (runtime_fingerprint(l->op.rt, l->deployments[i]) == account)
            return true;
    return !l->of_models;
}

/* Whether the row is shown. */
static bool is_shown(struct owned_list *l, const struct registry_row *row, int64_t now_s)
{
    if (row->expires_s != 0 && row->expires_s <= now_s) {
        owned_forget(l->op.rt->inherited, row->account, row->kind, row->native);
        return false;
    }
    if (!is_covered(l, row->account) || !ids_can_be_tagged(row->native))
        return false;
    if (!row->described)
        owned_look(l->op.rt, row->account, row->owner, row->native); /* for the lists to come */
    l->undescribed |= !row->described;
    return row->described;
}

static void add_text(struct strbuf *out, const char *name, const char *value)
{
    strbuf_addf(out, ",\"%s\":", name);
    json_write_string(out, value, strlen(value));
}

static void write_row(struct owned_list *l, const struct registry_row *row)
{
    struct id_tag tag = {.deployment = row->account, .owner = row->owner};
    struct strbuf *out = long_text_out(&l->text);
    char id[IDS_MAX + 1];

    (void)ids_mint_text(l->op.rt->inherited->seals, ID_FILE, row->native, strlen(row->native), &tag,
                        id);
    strbuf_adds(out, l->written++ > 0 ? ",{\"id\":" : "{\"id\":");
    json_write_string(out, id, strlen(id));
    strbuf_addf(out, ",\"object\":\"file\",\"bytes\":%lld,\"created_at\":%lld",
                (long long)row->bytes, (long long)row->created_s);
    if (row->expires_s != 0)
        strbuf_addf(out, ",\"expires_at\":%lld", (long long)row->expires_s);
    else
        strbuf_adds(out, ",\"expires_at\":null");
    add_text(out, "filename", row->filename);
    add_text(out, "purpose", row->purpose);
    strbuf_adds(out, ",\"status\":\"processed\",\"status_details\":null}");
    strbuf_reset(&l->last);
    strbuf_adds(&l->last, id);
    if (l->written == 1)
        strbuf_adds(&l->first, id);
    l->row = *row;
}

/* --- the answer --- */

/* For the page behind this one, should its first file be deleted meanwhile. */
static void remember(const struct owned_list *l)
{
    const struct listing_question *q = &l->question;
    struct listing_page_end end = {l->row.created_s, l->row.account};
    struct strbuf key = STRBUF_INIT;

    listing_places_key(&key, q->owner, q->kind, q->ascending, q->purpose, strbuf_str(&l->last));
    if (!strbuf_failed(&key))
        listing_places_put_end(l->op.rt->inherited->list_places, &key, &end,
                               loop_now_ms(l->op.rt->loop));
    strbuf_deinit(&key);
}

static void add_id(struct strbuf *out, const char *field, const struct strbuf *id)
{
    strbuf_addf(out, ",\"%s\":", field);
    if (id->len == 0)
        strbuf_adds(out, "null");
    else
        json_write_string(out, id->data, id->len);
}

static void send_page(struct owned_list *l)
{
    bool more = l->written > 0 && (l->at < l->page.num || l->page.more);
    struct strbuf *out = long_text_out(&l->text);
    struct long_text text;

    assert(l->written <= l->question.limit);
    if (more)
        remember(l);
    strbuf_adds(out, "]");
    add_id(out, "first_id", &l->first);
    add_id(out, "last_id", &l->last);
    strbuf_addf(out, ",\"has_more\":%s}", more ? "true" : "false");
    if (strbuf_failed(&l->first) || strbuf_failed(&l->last)) {
        operation_fail_memory(&l->op);
        return;
    }
    text = l->text;
    l->text = (struct long_text){0};
    long_answer_send(operation_end(&l->op), &text);
}

static void finish(struct owned_list *l)
{
    struct strbuf missing = STRBUF_INIT;
    struct failure failure;

    add_missing(l, &missing);
    if (missing.len > 0 && l->question.strict) {
        error_fill(&failure, LIST_CUT, "", strbuf_str(&missing));
        failure.should_not_retry = true; /* asking again changes nothing */
        operation_fail(&l->op, &failure);
    } else {
        if (missing.len > 0)
            relay_header(l->op.relay, "x-tranche-partial", strbuf_str(&missing));
        send_page(l);
    }
    strbuf_deinit(&missing);
}

static void print_some(struct owned_list *l)
{
    const struct registry *registry = l->op.rt->inherited->registry;
    int64_t now_s = clock_unix_s();
    struct registry_row row;

    assert(l->gathered && l->at <= l->page.num);
    for (size_t i = 0; i < PRINT_ROWS && l->at < l->page.num; i++) {
        const struct registry_place *place = &l->page.places[l->at++];

        if (registry_at(registry, &l->page, place, &row) && is_shown(l, &row, now_s))
            write_row(l, &row);
    }
}

/* The page was not filled, since some rows are not shown: what is behind it is gathered next. */
static void gather_behind(struct owned_list *l)
{
    struct registry_page *page = &l->page;

    assert(page->more && page->num > 0 && l->at == page->num);
    page->cursor = page->places[page->num - 1];
    page->behind = true;
    page->max = l->question.limit - l->written;
    page->num = l->at = 0;
    page->next = 0;
    page->more = l->gathered = false;
}

/* @return whether there is more to do */
static bool work(struct owned_list *l)
{
    if (!l->gathered) {
        int rc = registry_gather(l->op.rt->inherited->registry, &l->page, GATHER_ROWS);

        if (rc == ERR_NOMEM) {
            operation_fail_memory(&l->op);
            return false;
        }
        l->gathered = rc == 0;
        return true;
    }
    print_some(l);
    if (l->at < l->page.num)
        return true;
    if (l->written < l->question.limit && l->page.more) {
        gather_behind(l);
        return true;
    }
    finish(l);
    return false;
}

static void on_turn(struct slice *slice)
{
    struct owned_list *l = slice->arg;

    if (work(l) && slices_add(&l->op.rt->slices, l->op.rt->loop, slice) != 0)
        operation_fail_memory(&l->op);
}

static void begin(struct owned_list *l)
{
    const struct listing_question *q = &l->question;

    assert(l->op.locate == NULL && l->page.owner == 0); /* the cursor is known, and we begin once */
    l->page.owner = q->owner;
    l->page.kind = q->kind;
    l->page.purpose = q->purpose;
    l->page.ascending = q->ascending;
    l->page.max = q->limit;
    strbuf_adds(long_text_out(&l->text), "{\"object\":\"list\",\"data\":[");
    l->slice = (struct slice){.cb = on_turn, .arg = l};
    on_turn(&l->slice);
}

/* --- the cursor --- */

static void begin_behind(struct owned_list *l, uint32_t account, int64_t created_s)
{
    l->page.behind = true;
    l->page.cursor = registry_place_of(ID_FILE, account, l->target.native, created_s);
    begin(l);
}

/* The page before left a note of the file, which is gone by now. */
static bool recall(const struct owned_list *l, struct listing_page_end *end)
{
    const struct listing_question *q = &l->question;
    struct strbuf key = STRBUF_INIT;
    bool found;

    listing_places_key(&key, q->owner, q->kind, q->ascending, q->purpose, q->after);
    found = !strbuf_failed(&key) && listing_places_get_end(l->op.rt->inherited->list_places, &key,
                                                           loop_now_ms(l->op.rt->loop), end);
    strbuf_deinit(&key);
    return found;
}

/* Nobody remembers it: the gateway was started anew since. Its tag proves whose it is. */
static void on_located(struct operation *op, const struct locate_result *result)
{
    struct owned_list *l = list_of(op);
    struct json_doc *doc = result->found ? json_doc_new() : NULL;
    struct json_error error;
    struct json *file =
        doc != NULL && result->answer->body_len > 0
            ? json_parse(doc, result->answer->body, result->answer->body_len, &error)
            : NULL;
    int64_t created_s = 0;
    bool told = false;

    op->deployment = MODEL_NO_INDEX; /* the list is nobody's */
    if (json_is(file, JSON_OBJECT)) {
        normal_file(doc, file, -1);
        told = json_int64(json_get(file, "created_at"), &created_s);
        owned_keep_file(op->rt->inherited, l->target.account, l->question.owner, file);
    }
    json_doc_free(doc);
    if (told)
        begin_behind(l, l->target.account, created_s);
    else if (!result->found && result->failure.status != 404)
        operation_fail(op, &result->failure);
    else
        operation_fail_not_found(op, ID_FILE, l->question.after);
}

static void find_cursor(struct owned_list *l)
{
    const struct inherited *inherited = l->op.rt->inherited;
    struct listing_page_end end;
    struct registry_row row;

    if (registry_find(inherited->registry, ID_FILE, l->target.account, l->target.native, &row) &&
        row.owner == l->question.owner)
        begin_behind(l, row.account, row.created_s);
    else if (recall(l, &end))
        begin_behind(l, end.account, end.created_at);
    else
        operation_locate(&l->op, ID_FILE, l->target.native, l->target.deployments, l->target.num,
                         on_located);
}

/* --- the question --- */

/* What cannot be listed for the master cannot for a tenant. */
static enum answered read_question(struct owned_list *l)
{
    struct relay *relay = l->op.relay;
    const char *after = l->question.after;

    l->question.kind = ID_FILE;
    if (listing_parse(relay, &l->question) == ANSWERED ||
        resolve_list(relay, &l->deployments, &l->num_deployments) == ANSWERED)
        return ANSWERED;
    l->of_models = resolve_names_models(relay);
    l->of_provider = relay->hints.has_provider;
    l->provider = relay->hints.provider;
    return after[0] == '\0' ? GO_ON : resolve_id(relay, ID_FILE, after, strlen(after), &l->target);
}

void listing_owned_start(struct relay *relay)
{
    struct owned_list *l;

    assert(relay->owner != 0);
    l = operation_new(sizeof(*l), relay, &list_ops);
    if (l == NULL)
        return; /* answered */
    if (read_question(l) == ANSWERED) {
        operation_answered(&l->op);
        return;
    }
    l->accounts = calloc(l->op.rt->account_map.num + 1u, sizeof(*l->accounts));
    if (l->accounts == NULL)
        operation_fail_memory(&l->op);
    else if (l->question.after[0] == '\0')
        begin(l);
    else
        find_cursor(l);
}
