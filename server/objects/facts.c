/* See facts.h. */
#include "objects/facts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/names.h"
#include "common/log.h"
#include "calls/attempt.h"
#include "objects/file_model.h"
#include "objects/file_url.h"
#include "calls/range.h"
#include "objects/refusals.h"

#define SAMPLE_BYTES 262144
#define SAMPLE_RANGE "bytes=0-262143"
/* Bytes; one turn of the loop reads a line, and a server that ignores Range sends the whole file */
#define MOST_LINE    (1u << 20)

/* The kind of the memo's keys. Each layout of the words has a kind of its own, so that a program
 * finds nothing where the one before it wrote another layout, instead of reading it wrong. Version
 * 0.1.0 had 'f'. */
#define MEMO_FACTS 'F'

/* Word 0 of a value: the deployment's fingerprint (32 bits), how the file was counted, images (28).
 * Word 1: text (40) and lines (24). Word 2: bytes of the file (40) and audio (24). Word 3: token
 * ids (40) and other base64 (24). Word 4: output tokens (44). */
#define COUNTED_FLAG  (UINT64_C(1) << 32)
#define EXPIRING_FLAG (UINT64_C(1) << 33)
#define GUESSED_FLAG  (UINT64_C(1) << 34)
#define EXPECTED_FLAG (UINT64_C(1) << 35)
#define IMAGES_SHIFT  36
#define IMAGES_BITS   28
#define LOW_BITS      24
#define HIGH_BITS     40
#define OUTPUT_BITS   44

uint64_t facts_model(const char *name, size_t len)
{
    return memo_key('m', 0, name, len);
}

/* All deployments of a group share the name that clients ask for, and count tokens alike. */
static uint64_t model_of(const struct runtime *rt, uint32_t deployment)
{
    const struct table_deployment *d = table_deployment(rt->table, deployment);
    const char *name = d->group != MODEL_NO_INDEX ? table_group_name(rt->table, d->group)
                                                  : table_str(rt->table, d->upstream_model);

    return facts_model(name, strlen(name));
}

void facts_fill(struct facts *facts, const struct runtime *rt, uint32_t deployment,
                const struct jsonl_report *report)
{
    assert(deployment < table_num_deployments(rt->table));
    *facts = (struct facts){.deployment = deployment,
                            .model = model_of(rt, deployment),
                            .prompt = report->prompt,
                            .output_tokens = report->output_tokens,
                            .lines = report->lines,
                            .bytes = report->bytes};
}

static uint64_t output_of(const struct runtime *rt, const struct facts *facts,
                          enum provider provider)
{
    return rt->config->count_output_tokens[provider] ? facts->output_tokens : 0;
}

uint64_t facts_tokens(const struct runtime *rt, const struct facts *facts, enum provider provider)
{
    return quota_tokens(rt->inherited->quota, facts->model, &facts->prompt) +
           output_of(rt, facts, provider);
}

uint64_t facts_least(const struct runtime *rt, const struct facts *facts, enum provider provider)
{
    return facts->guessed ? 0 : features_least(&facts->prompt) + output_of(rt, facts, provider);
}

static uint64_t key_of(const struct runtime *rt, uint32_t deployment, const char *native)
{
    uint32_t account = table_deployment(rt->table, deployment)->account;

    return memo_key(MEMO_FACTS, rt->account_fingerprint[account], native, strlen(native));
}

static uint64_t at_most(uint64_t value, unsigned bits)
{
    uint64_t most = (UINT64_C(1) << bits) - 1;

    return value < most ? value : most;
}

static uint64_t pair(uint64_t high, uint64_t low)
{
    return at_most(high, HIGH_BITS) << LOW_BITS | at_most(low, LOW_BITS);
}

static uint64_t low_of(uint64_t word)
{
    return word & ((UINT64_C(1) << LOW_BITS) - 1);
}

void facts_pack(const struct facts *facts, uint32_t fingerprint, uint64_t words[MEMO_WORDS])
{
    const uint64_t *units = facts->prompt.units;

    words[0] = fingerprint | (facts->counted ? COUNTED_FLAG : 0) |
               (facts->slot == SLOTS_EXPIRING ? EXPIRING_FLAG : 0) |
               (facts->guessed ? GUESSED_FLAG : 0) | (facts->expected ? EXPECTED_FLAG : 0) |
               at_most(units[FEATURE_IMAGES], IMAGES_BITS) << IMAGES_SHIFT;
    words[1] = pair(units[FEATURE_TEXT], facts->lines);
    words[2] = pair(facts->bytes, units[FEATURE_AUDIO]);
    words[3] = pair(units[FEATURE_IDS], units[FEATURE_FILES]);
    words[4] = at_most(facts->output_tokens, OUTPUT_BITS);
}

/* A job is known by the measures of its file, not by its deployment or flags. Overwrites
 * words[0]. */
static uint64_t job_of(uint64_t words[MEMO_WORDS], uint64_t owner)
{
    words[0] >>= IMAGES_SHIFT;
    return refusals_job(words, owner);
}

uint64_t facts_job(const struct facts *facts, uint64_t owner)
{
    uint64_t words[MEMO_WORDS];

    facts_pack(facts, 0, words);
    return job_of(words, owner);
}

uint64_t facts_job_of(const struct memo *memo, uint32_t account, const char *native, uint64_t owner,
                      uint64_t now_ms)
{
    uint64_t words[MEMO_WORDS], key = memo_key(MEMO_FACTS, account, native, strlen(native));

    return memo_get(memo, key, 0, now_ms, words) ? job_of(words, owner) : 0;
}

static enum slots_kind slot_of(uint64_t word)
{
    return (word & EXPIRING_FLAG) != 0 ? SLOTS_EXPIRING : SLOTS_LASTING;
}

uint32_t facts_unpack(const uint64_t words[MEMO_WORDS], struct facts *facts)
{
    *facts = (struct facts){.deployment = MODEL_NO_INDEX,
                            .output_tokens = words[4],
                            .lines = low_of(words[1]),
                            .bytes = words[2] >> LOW_BITS,
                            .guessed = (words[0] & GUESSED_FLAG) != 0,
                            .counted = (words[0] & COUNTED_FLAG) != 0,
                            .expected = (words[0] & EXPECTED_FLAG) != 0,
                            .slot = slot_of(words[0])};
    facts->prompt.units[FEATURE_TEXT] = words[1] >> LOW_BITS;
    facts->prompt.units[FEATURE_IMAGES] = words[0] >> IMAGES_SHIFT;
    facts->prompt.units[FEATURE_AUDIO] = low_of(words[2]);
    facts->prompt.units[FEATURE_FILES] = low_of(words[3]);
    facts->prompt.units[FEATURE_IDS] = words[3] >> LOW_BITS;
    return (uint32_t)words[0];
}

void facts_remember(struct runtime *rt, uint32_t deployment, const char *native,
                    const struct facts *facts)
{
    uint64_t words[MEMO_WORDS];

    assert(facts->deployment < table_num_deployments(rt->table));
    facts_pack(facts, table_deployment(rt->table, facts->deployment)->fingerprint, words);
    memo_put(rt->inherited->memo, key_of(rt, deployment, native), words, loop_now_ms(rt->loop));
}

bool facts_recall(const struct runtime *rt, uint32_t deployment, const char *native,
                  struct facts *facts)
{
    uint64_t words[MEMO_WORDS];
    uint32_t fingerprint;

    if (!memo_get(rt->inherited->memo, key_of(rt, deployment, native), 0, loop_now_ms(rt->loop),
                  words))
        return false;
    fingerprint = facts_unpack(words, facts);
    facts->deployment = table_find_fingerprint(rt->table, fingerprint);
    if (facts->deployment == MODEL_NO_INDEX)
        return false;
    facts->model = model_of(rt, facts->deployment);
    return true;
}

static bool has_deployment(const struct table *table, uint32_t group, uint32_t deployment)
{
    uint32_t num;
    const uint32_t *members = table_group_members(table, group, &num);

    for (uint32_t i = 0; i < num; i++)
        if (table_same_deployment(table, members[i], deployment))
            return true;
    return false;
}

bool facts_may_go(const struct table *table, const struct facts *facts, uint32_t deployment)
{
    for (uint32_t i = 0; facts->guessed && i < table_num_deployments(table); i++) {
        uint32_t group = table_deployment(table, i)->group;

        if (group != MODEL_NO_INDEX && table_same_deployment(table, i, facts->deployment) &&
            group != table_deployment(table, facts->deployment)->group &&
            !has_deployment(table, group, deployment))
            return false;
    }
    return true;
}

void facts_forget(const struct runtime *rt, uint32_t deployment, const char *native)
{
    memo_drop(rt->inherited->memo, key_of(rt, deployment, native));
}

void facts_take_expected(struct runtime *rt, uint32_t deployment, const char *native,
                         struct facts *facts)
{
    const struct inherited *inherited = rt->inherited;
    enum provider provider;

    if (!facts->expected)
        return;
    provider = (enum provider)table_deployment(rt->table, facts->deployment)->provider;
    facts->expected = false;
    facts_remember(rt, deployment, native, facts);
    quota_take_expected(inherited->quota, inherited->columns[facts->deployment],
                        facts_tokens(rt, facts, provider), loop_now_ms(rt->loop));
}

bool facts_take_slot(struct memo *memo, uint32_t account, const char *native, uint64_t now_ms,
                     enum slots_kind *kind)
{
    uint64_t value[MEMO_WORDS], key = memo_key(MEMO_FACTS, account, native, strlen(native));

    if (!memo_get(memo, key, 0, now_ms, value))
        return false;
    memo_drop(memo, key);
    *kind = slot_of(value[0]);
    return (value[0] & COUNTED_FLAG) != 0;
}

/* A provider may claim any size. scale() cuts its result to this, which a double can hold. */
#define MOST (UINT64_C(1) << 60)

static uint64_t scale(uint64_t part, uint64_t sample, uint64_t whole)
{
    double scaled = sample != 0 ? (double)part * ((double)whole / (double)sample) : (double)part;

    return scaled < (double)MOST ? (uint64_t)scaled : MOST;
}

void facts_extrapolate(struct facts *facts, const struct jsonl_report *sample, uint64_t file_bytes)
{
    uint64_t whole = file_bytes > sample->bytes ? file_bytes : sample->bytes;

    for (int f = 0; f < NUM_FEATURES; f++)
        facts->prompt.units[f] = scale(sample->prompt.units[f], sample->bytes, whole);
    facts->output_tokens = scale(sample->output_tokens, sample->bytes, whole);
    facts->lines = scale(sample->lines, sample->bytes, whole);
    facts->bytes = whole;
}

/* --- reading the beginning of a file --- */

struct facts_peek {
    struct runtime *rt; /* borrowed */
    uint32_t deployment;
    char native[IDS_MAX + 1];
    struct attempt *attempt; /* owned */
    struct jsonl *lines;     /* owned */
    uint64_t fed;            /* bytes given to `lines` */
    int64_t file_bytes;      /* of the whole file; -1: not told */
    bool enough;             /* `done` runs and ends the peek; what still comes is dropped */
    struct loop_timer done;
    facts_peek_cb on_done;
    void *arg; /* borrowed */
};

static void peek_free(struct facts_peek *peek)
{
    if (peek->attempt != NULL)
        attempt_cancel(peek->attempt);
    loop_timer_stop(peek->rt->loop, &peek->done);
    jsonl_free(peek->lines);
    free(peek);
}

void facts_peek_cancel(struct facts_peek *peek)
{
    peek_free(peek);
}

/* The row of the deployment's account that has this model name, else the first one whose `*` takes
 * it; MODEL_NO_INDEX: none. */
static uint32_t find_named(const struct runtime *rt, uint32_t deployment, const char *model)
{
    uint32_t account = rt->account_same_resource[table_deployment(rt->table, deployment)->account];
    uint32_t wild = MODEL_NO_INDEX;

    for (uint32_t i = 0; i < table_num_deployments(rt->table); i++) {
        const struct table_deployment *d = table_deployment(rt->table, i);
        const char *name = table_str(rt->table, d->upstream_model);

        if (d->group == MODEL_NO_INDEX || rt->account_same_resource[d->account] != account)
            continue;
        if (strcmp(name, model) == 0)
            return i;
        if (wild == MODEL_NO_INDEX && names_fit(name, model, strlen(model)))
            wild = i;
    }
    return wild;
}

/* Where no group's name tells the model, the lines' own does: where nothing is balanced as it
 * stands, and where a pattern took it as clients call it. */
static void remember_model(const struct facts_peek *peek, uint32_t row, const char *model)
{
    const struct table *table = peek->rt->table;
    const char *group, *upstream;
    char name[FILE_MODEL_SIZE];

    if (row == MODEL_NO_INDEX ||
        !peek->rt->account_balanced[table_deployment(table, peek->deployment)->account]) {
        file_model_remember(peek->rt, peek->deployment, peek->native, model);
        return;
    }
    group = table_group_name(table, table_deployment(table, row)->group);
    upstream = table_str(table, table_deployment(table, row)->upstream_model);
    if (names_fill(upstream, group, model, name, sizeof(name)))
        file_model_remember(peek->rt, peek->deployment, peek->native, name);
}

/* What the lines tell is remembered and told; the peek ends here alone unless it is cancelled. */
static void finish(struct facts_peek *peek)
{
    struct facts facts = {.deployment = MODEL_NO_INDEX};
    struct runtime *rt = peek->rt;
    facts_peek_cb on_done = peek->on_done;
    void *arg = peek->arg;
    struct jsonl_report report;
    bool known;

    jsonl_report(peek->lines, &report);
    if (report.lines > 0 && report.model != NULL)
        facts.deployment = find_named(rt, peek->deployment, report.model);
    if (report.lines > 0 && report.model != NULL)
        remember_model(peek, facts.deployment, report.model);
    file_url_remember(rt, peek->deployment, peek->native, report.url);
    known = facts.deployment != MODEL_NO_INDEX;
    if (known) {
        facts.guessed = true; /* two groups may have a row for that model */
        facts.model = model_of(rt, facts.deployment);
        facts_extrapolate(&facts, &report,
                          peek->file_bytes > 0 ? (uint64_t)peek->file_bytes : peek->fed);
        facts_remember(rt, peek->deployment, peek->native, &facts);
    }
    peek_free(peek);
    on_done(arg, known ? &facts : NULL);
}

/* The size of the whole file: a 206 tells it in "bytes 0-262143/12345678". -1: not told. */
static int64_t whole_of(const struct upstream_head *head)
{
    struct content_range part;

    if (head->status != 206)
        return head->content_length;
    return content_range_parse(upstream_header_find(head, "content-range"), &part) ? part.total
                                                                                   : -1;
}

static bool on_head(void *arg, const struct upstream_head *head)
{
    struct facts_peek *peek = arg;

    if (head->status != 200 && head->status != 206)
        return false;
    peek->file_bytes = whole_of(head);
    return true;
}

static void on_enough(struct loop_timer *timer)
{
    finish(timer->arg);
}

static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct facts_peek *peek = arg;
    struct jsonl_report report;

    if (peek->enough)
        return false;
    peek->fed += len;
    peek->enough = jsonl_feed(peek->lines, bytes, len) != 0;
    jsonl_report(peek->lines, &report);
    peek->enough |= peek->fed >= SAMPLE_BYTES && report.lines > 0;
    if (!peek->enough)
        return true;
    /* finish() cancels the call, which its own callback must not do: a coming turn does. */
    if (loop_timer_start(peek->rt->loop, &peek->done, 0) != 0)
        peek->enough = false;
    return !peek->enough;
}

static void on_read(void *arg, const struct attempt_result *result)
{
    struct facts_peek *peek = arg;

    assert(peek->attempt != NULL);
    peek->attempt = NULL;
    /* The last line may lack its line end. */
    if (result->ok && !peek->enough && jsonl_finish(peek->lines) != 0)
        log_debug("file %.128s: its lines are not what a batch needs", peek->native);
    finish(peek);
}

struct facts_peek *facts_peek_start(struct runtime *rt, uint64_t owner, uint32_t deployment,
                                    const char *native, facts_peek_cb on_done, void *arg)
{
    struct facts_peek *peek = calloc(1, sizeof(*peek));
    struct jsonl_rules rules = {.max_line_bytes = MOST_LINE};
    struct attempt_spec spec = {.deployment = deployment,
                                .call = CALL_FILE_CONTENT,
                                .id = native,
                                .range = SAMPLE_RANGE,
                                .owner = owner,
                                .on_head = on_head,
                                .on_data = on_data,
                                .on_done = on_read,
                                .arg = peek};

    if (peek == NULL)
        return NULL;
    peek->rt = rt;
    peek->deployment = deployment;
    snprintf(peek->native, sizeof(peek->native), "%s", native);
    peek->file_bytes = -1;
    peek->done.cb = on_enough;
    peek->done.arg = peek;
    peek->on_done = on_done;
    peek->arg = arg;
    peek->lines = jsonl_new(&rules);
    peek->attempt = peek->lines != NULL ? attempt_start(rt, &spec) : NULL;
    if (peek->attempt != NULL)
        return peek;
    peek_free(peek);
    return NULL;
}
