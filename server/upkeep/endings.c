/* See endings.h. An account that has no such list, as many servers that are compatible with OpenAI,
 * has nothing to tell. */
#include "endings.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "core/model_end.h"
#include "upstream/normal.h"

#define PERIOD_MS (24u * 3600 * 1000)
#define JITTER    10 /* a tenth of the period */

/* A deployment, by the model that it is for. */
struct model_row {
    const char *model; /* borrowed; the table's */
    uint32_t account, deployment;
};

/* An account and when its list is read next. */
struct turn {
    struct upkeep_account *account; /* borrowed */
    struct loop_timer begin;
};

/* Lasts as long as the prober, whose table does not change: so the rows are sorted once. */
struct endings {
    struct model_row *rows; /* owned; by account, then by model */
    uint32_t num_rows;
    struct turn turns[]; /* one for each account */
};

static int compare(uint32_t account, const char *model, const struct model_row *row)
{
    if (account != row->account)
        return account < row->account ? -1 : 1;
    return strcmp(model, row->model);
}

static int compare_rows(const void *a, const void *b)
{
    const struct model_row *row = a;

    return compare(row->account, row->model, b);
}

/* The first row that is not before this account and model: a list of hundreds of models and a
 * configuration of ten thousand rows must not be held against each other one by one. */
static uint32_t first_row(const struct endings *endings, uint32_t account, const char *model)
{
    uint32_t low = 0, high = endings->num_rows;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (compare(account, model, &endings->rows[middle]) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* @return whether a deployment of the account is for that model */
static bool note(const struct upkeep_account *account, const char *model, uint64_t ends_s)
{
    const struct endings *endings = account->upkeep->endings;
    struct probe_word *probes = account->upkeep->rt.inherited->probes;
    uint32_t first = first_row(endings, account->account, model), i = first;

    for (; i < endings->num_rows && compare(account->account, model, &endings->rows[i]) == 0; i++)
        atomic_store(&probes[endings->rows[i].deployment].ends_unix_s, ends_s);
    return i > first;
}

unsigned endings_take(const struct upkeep_account *account, const struct json *list, int64_t now_s)
{
    unsigned soon = 0;

    for (size_t i = 0; i < json_size(list); i++) {
        const struct json *row = json_at(list, i);
        const char *model = json_get_str(row, "id");
        uint64_t ends_s = model_end_read(json_get(row, "shutdown_date"));
        char text[512];

        if (model == NULL || !note(account, model, ends_s) || !model_end_is_near(ends_s, now_s))
            continue;
        model_end_text(model, ends_s, now_s, text, sizeof(text));
        log_warn("account %s: %s", upkeep_account_name(account), text);
        soon++;
    }
    return soon;
}

static void schedule(struct turn *t, uint32_t delay_ms)
{
    if (loop_timer_start(t->account->upkeep->rt.loop, &t->begin,
                         delay_ms + upkeep_random_below(t->account->upkeep, delay_ms / JITTER)) !=
        0)
        log_error("account %s: looking for models that end stopped: %s",
                  upkeep_account_name(t->account), err_str(ERR_NOMEM));
}

static void on_models(void *arg, const struct attempt_result *result)
{
    struct turn *t = arg;
    struct json_doc *doc = result->ok ? json_doc_new() : NULL;
    struct json_error error;

    if (doc != NULL && result->upstream->body != NULL)
        (void)endings_take(t->account,
                           normal_list_data(json_parse(doc, result->upstream->body,
                                                       result->upstream->body_len, &error)),
                           clock_unix_s());
    json_doc_free(doc);
    schedule(t, PERIOD_MS);
}

static void on_begin(struct loop_timer *timer)
{
    struct turn *t = timer->arg;

    if (upkeep_call_start(t->account, CALL_MODEL_LIST, NULL, NULL, on_models, t) != 0)
        schedule(t, PERIOD_MS);
}

static int sort_rows(struct endings *endings, const struct table *table)
{
    endings->num_rows = table_num_deployments(table);
    endings->rows = calloc((size_t)endings->num_rows + 1, sizeof(*endings->rows));
    if (endings->rows == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < endings->num_rows; i++) {
        const struct table_deployment *d = table_deployment(table, i);

        endings->rows[i] = (struct model_row){
            .model = table_str(table, d->upstream_model), .account = d->account, .deployment = i};
    }
    qsort(endings->rows, endings->num_rows, sizeof(*endings->rows), compare_rows);
    return 0;
}

int endings_start(struct upkeep *upkeep)
{
    const struct inherited *inherited = upkeep->rt.inherited;
    struct endings *endings =
        calloc(1, sizeof(*endings) + upkeep->num_accounts * sizeof(endings->turns[0]));
    int ret = endings != NULL ? sort_rows(endings, inherited->table) : ERR_NOMEM;

    upkeep->endings = endings;
    for (size_t i = 0; i < upkeep->num_accounts && ret == 0; i++) {
        struct turn *t = &endings->turns[i];

        t->account = &upkeep->accounts[i];
        t->begin = (struct loop_timer){.cb = on_begin, .arg = t};
        if (inherited->config->models.accounts[i].provider == PROVIDER_OPENAI &&
            t->account->deployment != MODEL_NO_INDEX)
            ret = loop_timer_start(upkeep->rt.loop, &t->begin,
                                   upkeep_stagger_ms(i, upkeep->num_accounts));
    }
    return ret;
}
