/* See move.h. Reading is repeated when it breaks, as any read is; storing is not, unless it was
 * refused, and that is the caller's decision. */
#include "objects/move.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "balancer/retry.h"
#include "jsonl/jsonl.h"
#include "common/log.h"
#include "objects/file_slots.h"
#include "core/provider_clock.h"
#include "calls/send_file.h"
#include "core/spool.h"

#define MAX_READ_TRIES 3
#define MAX_NAME       512
#define ANY_NAME       "requests.jsonl"

struct move {
    struct runtime *rt; /* borrowed */
    uint32_t from, to;  /* to: MODEL_NO_INDEX: no copy is under way */
    uint64_t owner;     /* attempt_spec.owner */
    char native[IDS_MAX + 1];
    char filename[MAX_NAME];
    int64_t expires_at;   /* Unix seconds; 0: never, or not told */
    enum slots_kind slot; /* of the copy under way */
    enum { DESCRIBE, READ, STORE } step;
    bool fits; /* READ: the spool holds all that has come; false: it is full or broken */
    uint32_t tries;
    struct spool spool;
    struct jsonl *lines;     /* owned */
    struct attempt *attempt; /* owned */
    struct send_file *send;  /* owned */
    struct loop_timer timer;
    struct slice slice; /* a long line is read */
    move_done_cb on_done;
    void *arg; /* borrowed */
};

static void go_on(struct move *m);
static void on_slice(struct slice *slice);

static void drop_content(struct move *m)
{
    slices_remove(&m->rt->slices, &m->slice);
    jsonl_free(m->lines);
    m->lines = NULL;
    spool_deinit(&m->spool);
    spool_init(&m->spool, m->rt->inherited, m->rt->slot, m->rt->loop);
}

enum slots_kind move_slot_kind(const struct runtime *rt, const struct facts *facts, uint32_t to)
{
    /* As set_expiry(), before anybody has read when the file ends. */
    return file_slots_kind(rt, to, facts->counted && facts->slot == SLOTS_EXPIRING);
}

struct move *move_new(struct runtime *rt, struct share *share, uint32_t from, const char *native,
                      move_done_cb on_done, void *arg)
{
    struct move *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return NULL;
    m->rt = rt;
    m->from = from;
    m->to = MODEL_NO_INDEX;
    snprintf(m->native, sizeof(m->native), "%s", native);
    spool_init(&m->spool, rt->inherited, rt->slot, rt->loop);
    m->timer.arg = m;
    m->slice.cb = on_slice;
    m->slice.arg = m;
    m->slice.flow = share_flow(share);
    m->owner = share_owner(share);
    m->on_done = on_done;
    m->arg = arg;
    return m;
}

void move_free(struct move *m)
{
    if (m == NULL)
        return;
    if (m->attempt != NULL)
        attempt_cancel(m->attempt);
    if (m->send != NULL)
        send_file_cancel(m->send);
    loop_timer_stop(m->rt->loop, &m->timer);
    slices_remove(&m->rt->slices, &m->slice);
    jsonl_free(m->lines);
    spool_deinit(&m->spool);
    free(m);
}

static void tell(struct move *m, enum move_end end, const char *copy, const struct failure *why)
{
    m->to = MODEL_NO_INDEX;
    m->on_done(m->arg, end, copy, why);
}

static void tell_own(struct move *m, int status, const char *code, const char *text)
{
    struct failure failure = {.status = status, .type = "server_error", .retry_after_ms = -1};

    snprintf(failure.code, sizeof(failure.code), "%s", code);
    snprintf(failure.message, sizeof(failure.message), "%s", text);
    tell(m, MOVE_IMPOSSIBLE, NULL, &failure);
}

/* --- reading --- */

static void on_timer(struct loop_timer *timer)
{
    go_on(timer->arg);
}

/* A read failed: try it again after a pause, or end. */
static void read_failed(struct move *m, const struct attempt_result *result)
{
    struct retry_question question = attempt_question(OP_READ, result);
    struct retry_answer answer;

    question.pinned = question.idempotent = true;
    question.tries = m->tries;
    question.max_tries = MAX_READ_TRIES;
    answer = attempt_decide(m->rt, m->from, &question);
    m->timer.cb = on_timer;
    if (answer.action != RETRY_SAME ||
        loop_timer_start(m->rt->loop, &m->timer, answer.delay_ms) != 0)
        tell(m, MOVE_IMPOSSIBLE, NULL, &result->failure);
}

static void read_description(struct move *m, const struct upstream_result *res)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *file =
        doc != NULL && res->body_len > 0 ? json_parse(doc, res->body, res->body_len, &error) : NULL;
    const char *name = json_get_str(file, "filename");

    snprintf(m->filename, sizeof(m->filename), "%s",
             name != NULL && name[0] != '\0' && strlen(name) < sizeof(m->filename) ? name
                                                                                   : ANY_NAME);
    if (!json_int64(json_get(file, "expires_at"), &m->expires_at))
        m->expires_at = 0;
    json_doc_free(doc);
}

static void on_described(void *arg, const struct attempt_result *result)
{
    struct move *m = arg;

    m->attempt = NULL;
    if (!result->ok) {
        read_failed(m, result);
        return;
    }
    read_description(m, result->upstream);
    m->step = READ;
    m->tries = 0;
    go_on(m);
}

static bool on_head(void *arg, const struct upstream_head *head)
{
    (void)arg;
    return head->status == 200;
}

/* A long line is read in slices, and no more content meanwhile. @return whether one is */
static bool wait_for_line(struct move *m)
{
    return jsonl_pending(m->lines) && slices_add(&m->rt->slices, m->rt->loop, &m->slice) == 0;
}

/* The content has come to its end. */
static void end_reading(struct move *m)
{
    jsonl_end_of_file(m->lines);
    if (m->fits && wait_for_line(m))
        return;
    if (!m->fits || jsonl_finish(m->lines) != 0) {
        drop_content(m);
        tell_own(m, 503, "file_not_movable",
                 "The deployment of this file has no room for its batch, and the file could not be "
                 "copied to another one: it is no batch file, or the gateway's spool is full.");
        return;
    }
    m->step = STORE;
    go_on(m);
}

/* What could not be kept is read to its end all the same: the call must not be cancelled from
 * inside its own callback, and the end is near. */
static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct move *m = arg;

    if (m->fits)
        m->fits = jsonl_feed(m->lines, bytes, len) == 0 && spool_write(&m->spool, bytes, len) == 0;
    return !m->fits || !wait_for_line(m);
}

static void on_slice(struct slice *slice)
{
    struct move *m = slice->arg;

    if (jsonl_continue(m->lines) != 0)
        m->fits = false;
    if (m->fits && wait_for_line(m))
        return;
    if (m->attempt != NULL)
        attempt_resume(m->attempt);
    else
        end_reading(m);
}

static void on_read(void *arg, const struct attempt_result *result)
{
    struct move *m = arg;

    m->attempt = NULL;
    if (!result->ok || result->upstream->end != UPSTREAM_ANSWERED) {
        drop_content(m);
        read_failed(m, result);
    } else {
        end_reading(m);
    }
}

static int start_describing(struct move *m)
{
    struct attempt_spec spec = {.deployment = m->from,
                                .call = CALL_FILE_GET,
                                .id = m->native,
                                .owner = m->owner,
                                .on_done = on_described,
                                .arg = m};

    m->tries++;
    m->attempt = attempt_start(m->rt, &spec);
    return m->attempt != NULL ? 0 : ERR_NOMEM;
}

static int start_reading(struct move *m)
{
    struct jsonl_rules rules = {.max_line_bytes = m->rt->config->limits.max_line_bytes,
                                .max_depth = (unsigned)m->rt->config->limits.max_depth,
                                .model_required = true,
                                .in_slices = true};
    struct attempt_spec spec = {.deployment = m->from,
                                .call = CALL_FILE_CONTENT,
                                .id = m->native,
                                .owner = m->owner,
                                .on_head = on_head,
                                .on_data = on_data,
                                .on_done = on_read,
                                .arg = m};

    assert(m->lines == NULL);
    m->fits = true;
    m->lines = jsonl_new(&rules);
    if (m->lines == NULL)
        return ERR_NOMEM;
    m->tries++;
    m->attempt = attempt_start(m->rt, &spec);
    return m->attempt != NULL ? 0 : ERR_NOMEM;
}

/* --- storing --- */

/* The copy holds a slot of the account's like any other file, until it is deleted. */
static void note_copy(const struct move *m, const struct attempt_result *result, const char *id)
{
    struct jsonl_report report;
    struct facts facts;

    if (outcome_is_file_quota(&result->failure))
        file_slots_refused(m->rt, m->to, m->slot);
    if (!result->ok)
        return;
    file_slots_add(m->rt, m->to, m->slot, 1);
    if (id == NULL || strlen(id) > IDS_MAX)
        return;
    jsonl_report(m->lines, &report);
    facts_fill(&facts, m->rt, m->to, &report);
    facts.counted = true;
    facts.slot = m->slot;
    facts_remember(m->rt, m->to, id, &facts);
}

static void on_sent(void *arg, const struct attempt_result *result, uint64_t file_bytes)
{
    struct move *m = arg;
    struct json_doc *doc = result->ok ? json_doc_new() : NULL;
    struct json_error error;
    struct json *file =
        doc != NULL ? json_parse(doc, result->upstream->body, result->upstream->body_len, &error)
                    : NULL;
    const char *id = json_get_str(file, "id");
    struct failure failure = result->failure;

    m->send = NULL;
    note_copy(m, result, id);
    if (result->ok && id == NULL) /* the caller has words for it */
        failure = (struct failure){.retry_after_ms = -1};
    if (id != NULL)
        log_info("file %.128s copied from %s to %s, %llu bytes", m->native,
                 runtime_account(m->rt, m->from)->name, runtime_account(m->rt, m->to)->name,
                 (unsigned long long)file_bytes);
    tell(m, id != NULL ? MOVE_DONE : MOVE_NOT_THERE, id, &failure);
    json_doc_free(doc);
}

static int64_t clamp(int64_t value, int64_t min, int64_t max)
{
    return value < min ? min : value > max ? max : value;
}

/* OpenAI takes no batch file that is called otherwise (providers 1.1); nobody but the provider sees
 * what a copy is called. */
static const char *name_at(const struct move *m, enum provider provider)
{
    size_t len = strlen(m->filename);

    if (provider == PROVIDER_OPENAI &&
        (len < strlen(".jsonl") || strcmp(m->filename + len - strlen(".jsonl"), ".jsonl") != 0))
        return ANY_NAME;
    return m->filename;
}

/* The copy lives about as long as the file it stands for. */
static void set_expiry(const struct move *m, struct provider_upload *form, char seconds[24])
{
    enum provider provider = runtime_rules(m->rt, m->to);
    int64_t min_s, max_s, left_s = m->expires_at - provider_clock_now_s(m->rt->inherited, m->from);

    if (m->expires_at == 0)
        left_s = provider == PROVIDER_AZURE ? m->rt->config->azure_file_expiry_s : 0;
    if (left_s == 0)
        return;
    provider_expiry_range(provider, &min_s, &max_s);
    snprintf(seconds, 24, "%lld", (long long)clamp(left_s, min_s, max_s));
    form->expires_after_anchor = "created_at";
    form->expires_after_seconds = seconds;
}

static int start_sending(struct move *m)
{
    const struct table *table = m->rt->table;
    struct jsonl_report report;
    char filled[MAX_NAME], seconds[24];
    struct send_file_spec spec = {.deployment = m->to,
                                  .spool = &m->spool,
                                  .lines = m->lines,
                                  .owner = m->owner,
                                  .form = {.purpose = "batch"}};

    jsonl_report(m->lines, &report);
    spec.model = send_file_name(m->rt, m->to,
                                table_str(table, table_deployment(table, m->from)->upstream_model),
                                report.model, filled, sizeof(filled));
    spec.form.filename = name_at(m, runtime_rules(m->rt, m->to));
    set_expiry(m, &spec.form, seconds);
    m->slot = spec.form.expires_after_seconds != NULL ? SLOTS_EXPIRING : SLOTS_LASTING;
    m->send = send_file_start(m->rt, &spec, on_sent, m);
    return m->send != NULL ? 0 : ERR_NOMEM;
}

static void go_on(struct move *m)
{
    static int (*const start[])(struct move * m) = {
        [DESCRIBE] = start_describing, [READ] = start_reading, [STORE] = start_sending};

    assert(m->attempt == NULL && m->send == NULL);
    if (start[m->step](m) != 0)
        tell_own(m, 500, "out_of_memory", "The gateway is out of memory.");
}

static void on_start(struct loop_timer *timer)
{
    go_on(timer->arg);
}

int move_to(struct move *m, uint32_t to)
{
    assert(m->to == MODEL_NO_INDEX);
    m->to = to;
    m->timer.cb = on_start;
    return loop_timer_start(m->rt->loop, &m->timer, 0);
}
