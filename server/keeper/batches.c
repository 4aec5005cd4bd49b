/* See batches.h. */
#include "batches.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "balancer/quota.h"
#include "common/clock.h"
#include "common/log.h"
#include "core/database_words.h"
#include "counts.h"
#include "deletions.h"
#include "found.h"
#include "moves.h"
#include "crypto/ids.h"
#include "journal/moves.h"
#include "json/json.h"
#include "store/store_batches.h"

#define MAX_TICK_MS 1000
#define TICKS       60 /* questions of the prober in the time between two looks at one batch */
#define LATER_MS    1000
#define DELETE_LOOKS                                                                               \
    12 /* for files that are to be deleted, in the time between two looks at a batch */

/* A report that waits for the database. */
struct kept {
    STAILQ_ENTRY(kept) link;
    size_t len;
    char bytes[];
};

struct batches {
    struct batches_options of;
    struct deletions deletions;
    STAILQ_HEAD(, kept) kept; /* owned */
    size_t num_kept, kept_bytes;
    uint64_t dropped;    /* reports for which there was no room, since none waited */
    unsigned told;       /* a bit for each error with which the log says that one was not taken */
    uint64_t find_ms;    /* when creates that nobody settles are asked for; monotonic */
    uint64_t delete_ms;  /* when files that are to be deleted are asked for; the same */
    uint64_t tend_ms;    /* when something old is dropped next */
    int64_t ended_since; /* store_batches_ended() */
};

static uint32_t watch_ms(const struct batches *b)
{
    uint32_t ms = b->of.inherited->config->timeouts.watch_ms;

    return ms != 0 ? ms : QUOTA_ASK_MS;
}

static uint32_t tick_ms(const struct batches *b)
{
    uint32_t ms = watch_ms(b) / TICKS;

    return ms < 10 ? 10 : ms > MAX_TICK_MS ? MAX_TICK_MS : ms;
}

static struct store_claimer claimer(const struct batches *b)
{
    return (struct store_claimer){.node = b->of.me->node, .epoch = b->of.me->epoch};
}

/* For a metric; "": it is not configured any more. */
static const char *provider_of(const struct batches *b, uint32_t fingerprint)
{
    const struct table *table = b->of.inherited->table;
    uint32_t row = table_find_fingerprint(table, fingerprint);

    if (row == MODEL_NO_INDEX)
        return "";
    return provider_name((enum provider)table_deployment(table, row)->provider);
}

/* ---- who made it ---- */

static const struct rights_key *find_in_files(const struct batches *b, const unsigned char *hash)
{
    for (size_t f = 0; f < sizeof(b->of.manage->files) / sizeof(b->of.manage->files[0]); f++) {
        const struct rights_list *list = b->of.manage->files[f];

        for (size_t i = 0; list != NULL && i < list->num_keys; i++)
            if (memcmp(list->keys[i].hash, hash, RIGHTS_HASH_BYTES) == 0)
                return &list->keys[i];
    }
    return NULL;
}

static bool read_hash(const char *hex, unsigned char out[RIGHTS_HASH_BYTES])
{
    if (strlen(hex) != 2 * RIGHTS_HASH_BYTES)
        return false;
    for (size_t i = 0; i < RIGHTS_HASH_BYTES; i++) {
        unsigned byte;

        if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
            return false;
        out[i] = (unsigned char)byte;
    }
    return true;
}

/* Append the texts of one array to another one. */
static void append_texts(struct json_doc *doc, struct json *to, const struct json *from)
{
    for (size_t i = 0; json_is(from, JSON_ARRAY) && i < json_size(from); i++)
        if (json_is(json_at(from, i), JSON_STRING))
            json_append(doc, to, json_at(from, i));
}

/* `tags` of a key's metadata, and those of the batch's own that the worker tells of.
 * @param out  empty before; @return its text; NULL: there are none */
static const char *tags_of(const char *metadata, const char *of_batch, struct strbuf *out)
{
    struct json_doc *doc = json_doc_new();
    struct json *tags = doc != NULL ? json_new_array(doc) : NULL;
    struct json_error error;

    if (doc != NULL && metadata != NULL)
        append_texts(doc, tags,
                     json_get(json_parse(doc, metadata, strlen(metadata), &error), "tags"));
    if (doc != NULL && wire_known(of_batch) != NULL)
        append_texts(doc, tags, json_parse(doc, of_batch, strlen(of_batch), &error));
    if (json_size(tags) > 0)
        json_write(tags, out);
    json_doc_free(doc);
    return out->len > 0 && out->len <= WIRE_MAX_TAGS && !strbuf_failed(out) ? strbuf_str(out)
                                                                            : NULL;
}

/* What the worker cannot know of a key: the id that stays when it is made anew, its user, its tags.
 * It has told the rest.
 * @param stored, tags  the caller's to free */
static void set_key(const struct batches *b, const struct wire_who *who, struct store_key *stored,
                    struct strbuf *tags, struct store_batch *out)
{
    unsigned char hash[RIGHTS_HASH_BYTES];
    struct store_key_name name = {.hash = who->key_hash};
    const struct rights_key *key;

    if (!read_hash(who->key_hash, hash))
        return; /* the master key's, or a token's */
    key = find_in_files(b, hash);
    if (key != NULL) {
        out->key_id = key->id;
        out->user_id = out->user_id != NULL ? out->user_id : key->user_id;
    } else if (store_key_get(b->of.store, &name, stored) == 0) {
        out->key_id = stored->id;
        out->user_id = out->user_id != NULL ? out->user_id : stored->user_id;
        out->tags = tags_of(stored->metadata, who->tags, tags);
    } else {
        out->key_id = who->key_hash; /* a key's id is its first hash */
    }
}

/* A provider tells of seconds. Batches of one second are in the order in which they were told of. */
static int64_t created_ms_of(uint64_t created_s, int64_t now_ms)
{
    int64_t ms = (int64_t)created_s * 1000, behind = now_ms - ms;

    return created_s == 0 ? 0 : ms + (behind < 0 ? 0 : behind > 999 ? 999 : behind);
}

int batches_live(struct batches *b, const struct wire_live *live, bool *alone)
{
    const struct wire_who *who = &live->who;
    struct store_batch batch = {.id = live->answer.id,
                                .owner = live->owner,
                                .key_alias = wire_known(who->key_alias),
                                .team_id = wire_known(who->team_id),
                                .user_id = wire_known(who->user_id),
                                .tags = wire_known(who->tags),
                                .model_group = wire_known(who->group),
                                .endpoint = wire_known(who->endpoint),
                                .input_file = wire_known(who->file),
                                .reservation = wire_known(live->id),
                                .account = live->account,
                                .native = live->native,
                                .deployment = live->deployment,
                                .tokens = live->tokens,
                                .status = batches_status(live->status),
                                .input_native = wire_known(live->native_file),
                                .original = wire_known(who->original),
                                .home = who->home,
                                .delete_after_s = who->delete_after_s,
                                .created_ms = created_ms_of(live->created_s, clock_unix_ms()),
                                .expires_ms = (int64_t)live->expires_s * 1000};
    uint32_t first_ms = batches_first_ms(watch_ms(b));
    struct store_key stored = {0};
    struct strbuf tags = STRBUF_INIT;
    bool added;
    int rc;

    if (live->kind != WIRE_CREATE || wire_known(live->native) == NULL)
        return 0;
    if (wire_known(batch.id) == NULL)
        batch.id = live->native;
    set_key(b, who, &stored, &tags, &batch);
    rc = alone != NULL
             ? store_batches_add_among(b->of.store, &batch, b->of.me->node, first_ms, &added, alone)
             : store_batches_add(b->of.store, &batch, b->of.me->node, first_ms, &added);
    store_key_deinit(&stored);
    strbuf_deinit(&tags);
    if (rc == 0 && added)
        counts_made(b->of.inherited->series,
                    &(struct counts_labels){batch.model_group, provider_of(b, live->deployment),
                                            batch.key_alias, batch.team_id});
    return rc;
}

/* ---- what is due ---- */

/* An answer being made. Its texts are copied, for those of rows go with their rows. */
struct list {
    struct wire_due_list list;
    char *texts[4 * WIRE_MAX_DUE]; /* owned */
    size_t num_texts;
};

static const char *keep_text(struct list *l, const char *text)
{
    char *copy = strdup(text != NULL ? text : "");

    assert(l->num_texts < sizeof(l->texts) / sizeof(l->texts[0]));
    if (copy == NULL)
        return NULL;
    l->texts[l->num_texts++] = copy;
    return copy;
}

static void list_free(struct list *l)
{
    for (size_t i = 0; i < l->num_texts; i++)
        free(l->texts[i]);
    free(l);
}

static enum wire_task task_of(const struct store_due *due)
{
    if (due->moves)
        return WIRE_MOVE;
    return due->open == STORE_UNMEASURED ? WIRE_MEASURE : WIRE_POLL;
}

static int on_due(void *arg, const struct store_due *due)
{
    struct list *l = arg;
    const char *native = keep_text(l, due->native), *status = keep_text(l, due->status);
    const char *nonce = due->doubt ? keep_text(l, due->nonce) : "";

    if (native == NULL || status == NULL || nonce == NULL)
        return ERR_NOMEM;
    l->list.due[l->list.num++] =
        (struct wire_due){.task = task_of(due),
                          .nonce = nonce,
                          .placed = due->move_to,
                          .cancels = due->cancels,
                          .deployment = due->deployment,
                          .account = due->account,
                          .tries = due->moves ? due->move_tries : due->missing,
                          .native = native,
                          .status = status,
                          .tokens = due->tokens,
                          .created_s = (uint64_t)due->created_ms / 1000,
                          .expires_s = (uint64_t)due->expires_ms / 1000,
                          .finished_s = (uint64_t)due->finished_ms / 1000,
                          .now_s = (uint64_t)due->now_ms / 1000};
    return 0;
}

/* Creates of nodes that died, and those of which nobody knows what came of them. */
static void find_lost(struct batches *b, struct list *l, uint32_t max, uint64_t now_ms)
{
    static struct fleet_lost lost[WIRE_MAX_DUE]; /* too much for a stack; one process, one call */
    size_t num = 0;

    if (l->list.num >= max || now_ms < b->find_ms)
        return;
    b->find_ms = now_ms + BATCHES_FIND_MS;
    if (store_fleet_claim_lost(b->of.store, b->of.me, lost, max - l->list.num, &num) != 0)
        return;
    for (size_t i = 0; i < num; i++)
        l->list.due[l->list.num++] =
            (struct wire_due){.task = WIRE_FIND,
                              .deployment = lost[i].deployment,
                              .account = lost[i].account,
                              .tries = lost[i].tries,
                              .id = lost[i].id,
                              .claim = lost[i].claim,
                              .nonce = lost[i].nonce,
                              .tokens = lost[i].tokens,
                              .created_s = (uint64_t)lost[i].created_ms / 1000,
                              .now_s = (uint64_t)lost[i].now_ms / 1000};
}

static int on_deletion(void *arg, const struct store_deletion *deletion)
{
    struct list *l = arg;
    struct wire_due *out = &l->list.due[l->list.num];

    deletions_to_wire(deletion, out);
    out->native = keep_text(l, deletion->native);
    l->list.num += out->native != NULL;
    return out->native != NULL ? 0 : ERR_NOMEM;
}

/* Without them the rest is handed out all the same. They have hours: where none is due, the next
 * question is not at once. */
static void find_deletions(struct batches *b, struct list *l, uint32_t max, uint64_t now_ms)
{
    struct store_claimer by = claimer(b);
    uint32_t before = l->list.num, most = deletions_share(max - before);

    if (most == 0 || now_ms < b->delete_ms)
        return;
    if (store_deletions_claim(b->of.store, &by, most, on_deletion, l) != 0)
        l->list.num = before;
    if (l->list.num == before)
        b->delete_ms = now_ms + watch_ms(b) / DELETE_LOOKS;
}

static int renew(struct batches *b, const struct wire_due_ask *ask)
{
    struct store_claimer by = claimer(b);
    struct store_native of[WIRE_MAX_DUE];
    size_t kept;

    static_assert(WIRE_MAX_DUE <= STORE_CLAIMS, "what one call renews");
    for (uint32_t i = 0; i < ask->num_held; i++)
        of[i] =
            (struct store_native){.account = ask->held[i].account, .native = ask->held[i].native};
    return store_batches_renew(b->of.store, &by, of, ask->num_held, &kept);
}

static void note_rebuilt(struct batches *b, const struct wire_due_ask *ask)
{
    struct manage_rebuild *r = b->of.rebuild;

    if (ask->rebuilt == 0 || ask->rebuilt != r->number || !r->runs)
        return;
    r->runs = false;
    r->unread = ask->unread;
    log_info("journal: rebuilt from the providers' lists: %" PRIu64 " batches of ours, %" PRIu64
             " of them were not known; %u accounts could not be read",
             r->found, r->added, r->unread);
}

static int fill(struct batches *b, const struct wire_due_ask *ask, struct list *l)
{
    struct store_claimer by = claimer(b);
    uint32_t max = ask->max < WIRE_MAX_DUE ? ask->max : WIRE_MAX_DUE;
    int rc = 0;

    if (b->of.me->epoch == 0)
        return ERR_IO; /* the node is not known yet, so nothing can be its own */
    if (ask->fresh != 0)
        rc = store_batches_let_go(b->of.store, &by);
    if (rc == 0 && ask->num_held > 0)
        rc = renew(b, ask);
    if (rc == 0 && max > 0)
        rc = store_batches_claim(b->of.store, &by, max, on_due, l);
    if (rc != 0) {
        l->list.num = 0;
    } else {
        find_lost(b, l, max, clock_now_ms());
        find_deletions(b, l, max, clock_now_ms());
    }
    counts_polled(b->of.inherited->series, l->list.num, clock_unix_s());
    return rc;
}

static void answer_due(struct batches *b, struct call **call, const struct wire_due_ask *ask,
                       struct list *l)
{
    struct strbuf text = STRBUF_INIT;
    int rc = fill(b, ask, l);

    l->list.wait_ms = l->list.num > 0 ? 0 : tick_ms(b);
    if (b->of.rebuild->runs)
        l->list.rebuild = b->of.rebuild->number;
    if (rc == 0)
        rc = wire_due_list_write(&l->list, &text);
    call_answer(call, rc == 0 ? WIRE_TAKEN : WIRE_LATER, strbuf_str(&text), text.len);
    strbuf_deinit(&text);
}

static void on_due_call(void *arg, struct call *call)
{
    static struct wire_due_ask ask;
    struct batches *b = arg;
    struct list *l;

    if (!call_is_wanted(call, clock_now_ms()) || /* its claims would be nobody's for a minute */
        (l = calloc(1, sizeof(*l))) == NULL) {
        call_answer(&call, WIRE_LATER, NULL, 0);
        return;
    }
    if (wire_due_ask_read(call->bytes, call->len, &ask) != 0) {
        call_answer(&call, WIRE_UNREADABLE, NULL, 0);
    } else {
        note_rebuilt(b, &ask);
        answer_due(b, &call, &ask, l);
    }
    list_free(l);
}

/* ---- what was seen ---- */

/* What the registry has of a batch before a report of it. */
struct before {
    uint32_t deployment, poll_ms;
    int64_t created_ms, expires_ms;
    bool is_cancelling;
    uint32_t moves;
    char group[SERIES_TEXT], alias[SERIES_TEXT], team[SERIES_TEXT];
};

/* A label of a metric, cut to its size. */
static void set_label(char out[SERIES_TEXT], const char *text)
{
    snprintf(out, SERIES_TEXT, "%s", text != NULL ? text : "");
}

static int on_before(void *arg, const struct store_batch_row *row)
{
    struct before *before = arg;

    *before = (struct before){.deployment = row->batch.deployment,
                              .poll_ms = row->poll_ms,
                              .created_ms = row->batch.created_ms,
                              .expires_ms = row->batch.expires_ms,
                              .is_cancelling = strcmp(row->batch.status, "cancelling") == 0,
                              .moves = row->moves};
    set_label(before->group, row->batch.model_group);
    set_label(before->alias, row->batch.key_alias);
    set_label(before->team, row->batch.team_id);
    return 0;
}

/* `{"data": [{"code": ...}]}`: the first one's. @return `out`; NULL: none */
static const char *code_of(const char *errors, char *out, size_t size)
{
    struct json_doc *doc = *errors != '\0' ? json_doc_new() : NULL;
    struct json_error error;
    const char *code = NULL;

    if (doc != NULL)
        code = json_get_str(
            json_at(json_get(json_parse(doc, errors, strlen(errors), &error), "data"), 0), "code");
    if (code != NULL)
        snprintf(out, size, "%s", code);
    json_doc_free(doc);
    return code != NULL ? out : NULL;
}

static uint32_t pace(const struct batches *b, const struct wire_seen *s,
                     const struct before *before, bool ended, int64_t unix_ms)
{
    int64_t expires_ms = s->expires_s != 0 ? batches_ms_of(s->expires_s) : before->expires_ms;
    struct batches_pace of = {.poll_ms = before->poll_ms,
                              .left_ms = expires_ms == 0        ? -1
                                         : expires_ms > unix_ms ? expires_ms - unix_ms
                                                                : 0,
                              .ended = ended};

    return batches_next_ms(&of, watch_ms(b));
}

/* One report on its way into the database. */
struct report {
    struct wire_seen *wire;
    struct before before;
    struct store_seen seen;
    struct priced *priced;
    char code[64];
};

static const struct store_usage unknown_usage = {.model = "", .source = "none"};

/* What has ended without usage has a row all the same: that nothing is known of it (B8). */
static void set_usage(struct batches *b, struct report *r)
{
    r->wire->deployment = r->before.deployment;
    pricing_usage(b->of.pricing, r->wire, r->priced);
    r->seen.measured = r->wire->source != WIRE_USAGE_UNKNOWN;
    r->seen.usage = r->priced->num > 0 ? r->priced->rows : &unknown_usage;
    r->seen.num_usage = r->priced->num > 0 ? r->priced->num : 1;
}

/* Whether it runs elsewhere instead (journal statement D13). Where its client cancels it, it has just
 * failed. */
static bool is_to_move(const struct batches *b, const struct report *r, int64_t unix_ms)
{
    const struct inherited *inherited = b->of.inherited;

    return inherited->config->move_failed && inherited->followed != NULL &&
           strlen(r->wire->native) < FOLLOWED_NATIVE && r->before.moves < MOVES_MAX &&
           !r->before.is_cancelling && moves_is_refusal(r->wire) && *r->wire->nonce != '\0' &&
           moves_in_time(r->wire->finished_s, (uint64_t)unix_ms / 1000, true) &&
           moves_have_place(inherited->table, r->before.deployment);
}

static void fill_seen(struct batches *b, struct report *r, int64_t unix_ms)
{
    const struct wire_seen *w = r->wire;
    const char *status = *w->status != '\0' ? batches_status(w->status) : NULL;
    bool ended = status != NULL && batches_is_end(status);

    r->seen = (struct store_seen){.account = w->account,
                                  .native = w->native,
                                  .watched = w->by == WIRE_BY_WATCH,
                                  .status = status,
                                  .missing = w->gone != 0,
                                  .code = code_of(w->errors, r->code, sizeof(r->code)),
                                  .total = w->total,
                                  .completed = w->completed,
                                  .failed = w->failed,
                                  .expires_ms = batches_ms_of(w->expires_s),
                                  .in_progress_ms = batches_ms_of(w->in_progress_s),
                                  .finalizing_ms = batches_ms_of(w->finalizing_s),
                                  .cancelling_ms = batches_ms_of(w->cancelling_s),
                                  .finished_ms = ended ? batches_ms_of(w->finished_s) : 0,
                                  .input_file = wire_known(w->input),
                                  .output_file = wire_known(w->output),
                                  .error_file = wire_known(w->error),
                                  .tell = ended && batches_may_tell(w, unix_ms)};
    r->seen.next_ms =
        status == NULL && !w->gone ? r->before.poll_ms : pace(b, w, &r->before, ended, unix_ms);
    if (ended)
        set_usage(b, r);
    r->seen.move = ended && is_to_move(b, r, unix_ms);
}

static void note_end(const struct batches *b, const struct wire_seen *w, enum store_seen_end end)
{
    if (end == STORE_SEEN_ENDED)
        log_debug("batch %s is %s: written by %s", w->native, w->status, b->of.me->node);
    if (end != STORE_SEEN_STALE)
        return;
    if (w->by == WIRE_BY_WATCH)
        add_relaxed(&b->of.inherited->shared->database.claims_expired, 1);
    log_debug("batch %s: what was seen of it came too late, others have it by now", w->native);
}

static void count_end(const struct batches *b, const struct report *r, enum store_seen_end end)
{
    struct counts_labels of = {.group = r->before.group,
                               .provider = provider_of(b, r->before.deployment),
                               .alias = r->before.alias,
                               .team = r->before.team};

    if (end == STORE_SEEN_ENDED)
        counts_ended(b->of.inherited->series, &of, r->seen.status,
                     (r->seen.finished_ms - r->before.created_ms) / 1000);
    if (end == STORE_SEEN_MOVES)
        counts_moves(b->of.inherited->series, &of, r->seen.code);
    if (end == STORE_SEEN_MEASURED || (end == STORE_SEEN_ENDED && r->seen.measured))
        counts_used(b->of.inherited->series, &of, r->seen.usage, r->seen.num_usage);
}

/* Key and team pay no longer for one that is being cancelled, where the operator wants that. The
 * status that says so comes after it: what fails here is done with the next report, and what was done
 * is not done again. */
static int refund(const struct batches *b, const struct report *r)
{
    struct fleet_name name = {.native = r->wire->native, .account = r->wire->account};

    if (!b->of.inherited->config->refund_at_cancelling || r->before.is_cancelling ||
        r->seen.status == NULL || strcmp(r->seen.status, "cancelling") != 0)
        return 0;
    return store_fleet_refund(b->of.store, b->of.me, &name);
}

/* @return 0: written, or nothing to write; else it is to be said again */
static int write_report(struct batches *b, struct wire_seen *w)
{
    struct store_native of = {.account = w->account, .native = w->native};
    struct store_claimer by = claimer(b);
    struct report r = {.wire = w};
    enum store_seen_end end;
    int rc = store_batches_get(b->of.store, NULL, &of, on_before, &r.before);

    if (rc == ERR_NOT_FOUND)
        return 0; /* nobody made it here */
    if (rc != 0)
        return rc;
    r.priced = malloc(sizeof(*r.priced));
    if (r.priced == NULL)
        return ERR_NOMEM;
    fill_seen(b, &r, clock_unix_ms());
    rc = refund(b, &r);
    if (rc == 0)
        rc = store_batches_seen(b->of.store, &by, &r.seen, &end);
    if (rc == 0) {
        note_end(b, w, end);
        count_end(b, &r, end);
    }
    free(r.priced);
    return rc;
}

static int write_seen(struct batches *b, const char *bytes, size_t len)
{
    static struct wire_seen seen; /* large; one process, one call at a time */

    if (wire_seen_read(bytes, len, &seen) != 0)
        return 0; /* it was read before it was kept */
    if (b->of.me->epoch == 0)
        return ERR_IO;
    return seen.by == WIRE_BY_REBUILD ? found_write(&b->of, batches_first_ms(watch_ms(b)), &seen)
                                      : write_report(b, &seen);
}

/* ---- reports that wait ---- */

static void drop_first(struct batches *b)
{
    struct kept *k = STAILQ_FIRST(&b->kept);

    assert(b->num_kept > 0 && b->kept_bytes >= k->len);
    STAILQ_REMOVE_HEAD(&b->kept, link);
    b->num_kept--;
    b->kept_bytes -= k->len;
    free(k);
}

static void note_dropped(struct batches *b)
{
    if (b->dropped++ == 0)
        log_warn("journal: more reports of batches wait for the database than there is room for: "
                 "the oldest are dropped, and seen again by later looks");
}

/* The oldest ones make room: what they said is older. */
static void keep(struct batches *b, const char *bytes, size_t len)
{
    struct kept *k = malloc(sizeof(*k) + len);

    if (k == NULL) {
        note_dropped(b);
        return;
    }
    k->len = len;
    memcpy(k->bytes, bytes, len);
    STAILQ_INSERT_TAIL(&b->kept, k, link);
    b->num_kept++;
    b->kept_bytes += len;
    while (b->num_kept > BATCHES_KEPT || b->kept_bytes > BATCHES_KEPT_BYTES) {
        drop_first(b);
        note_dropped(b);
    }
}

/* The log says it once for each kind of fault: there may be one for each look at each batch. */
static void tell_hopeless(struct batches *b, int rc)
{
    unsigned bit = 1u << -rc;
    const char *why = store_why(b->of.store);

    assert(rc < 0 && rc > -32);
    if ((b->told & bit) == 0)
        log_error("journal: a report of a batch is not taken by the database (%s): %s", err_str(rc),
                  *why != '\0' ? why : "it is left out");
    b->told |= bit;
}

/* @return whether that is done with, whatever came of it; else it is to be said again */
static bool settle(struct batches *b, const char *bytes, size_t len)
{
    int rc = write_seen(b, bytes, len);

    if (batches_goes_again(rc))
        return false;
    if (rc != 0)
        tell_hopeless(b, rc);
    return true;
}

static void write_kept(struct batches *b)
{
    while (b->num_kept > 0) {
        const struct kept *k = STAILQ_FIRST(&b->kept);

        if (!settle(b, k->bytes, k->len))
            return;
        drop_first(b);
    }
    if (b->dropped > 0)
        log_warn("journal: the database has what waited; %" PRIu64 " reports of batches had been "
                 "dropped",
                 b->dropped);
    b->dropped = 0;
}

static void on_seen_call(void *arg, struct call *call)
{
    static struct wire_seen seen;
    struct batches *b = arg;

    if (wire_seen_read(call->bytes, call->len, &seen) != 0 || *seen.native == '\0') {
        call_answer(&call, WIRE_UNREADABLE, NULL, 0);
        return;
    }
    if (b->num_kept > 0 || !settle(b, call->bytes, call->len))
        keep(b, call->bytes, call->len); /* behind those that were said before */
    call_answer(&call, WIRE_TAKEN, NULL, 0);
}

bool batches_are_written(const struct batches *b)
{
    return b->num_kept == 0;
}

/* ---- its life ---- */

/* What has ended is no burden of its deployment any more, whoever saw it. */
static int on_ended(void *arg, const struct store_ended *ended)
{
    const struct batches *b = arg;
    const struct inherited *inherited = b->of.inherited;
    uint32_t deployment = table_find_fingerprint(inherited->table, ended->deployment);
    enum quota_end end = strcmp(ended->status, "completed") == 0 ? QUOTA_FINISHED : QUOTA_DROPPED;

    if (deployment != MODEL_NO_INDEX)
        (void)quota_release(inherited->quota, b->of.slot, inherited->columns[deployment],
                            ended->native, strlen(ended->native), end, clock_now_ms());
    return 0;
}

static void tend(struct batches *b, uint64_t now_ms)
{
    size_t dropped = 0;

    if (now_ms < b->tend_ms)
        return;
    if (store_batches_tend(b->of.store, &dropped) == 0 && dropped > 0)
        return; /* there may be more: at the next step */
    b->tend_ms = now_ms + BATCHES_TEND_MS;
}

void batches_step(struct batches *b, uint64_t now_ms)
{
    if (store_state(b->of.store) != STORE_UP || b->of.me->epoch == 0)
        return;
    write_kept(b);
    if (store_batches_ended(b->of.store, &b->ended_since, on_ended, b) != 0)
        return;
    tend(b, now_ms);
}

void batches_serve(struct batches *b, struct calls *calls)
{
    calls_serve(calls, KEEPER_DUE, on_due_call, b);
    calls_serve(calls, KEEPER_SEEN, on_seen_call, b);
    deletions_serve(&b->deletions, calls);
}

int batches_new(const struct batches_options *options, struct batches **out)
{
    struct batches *b = calloc(1, sizeof(*b));

    assert(options->store != NULL && options->me != NULL);
    if (b == NULL)
        return ERR_NOMEM;
    b->of = *options;
    b->deletions = (struct deletions){options->inherited, options->store, options->me};
    STAILQ_INIT(&b->kept);
    *out = b;
    return 0;
}

void batches_free(struct batches *b)
{
    if (b == NULL)
        return;
    while (b->num_kept > 0)
        drop_first(b);
    free(b);
}
