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

struct endings {
    struct upkeep_account *account; /* borrowed */
    struct loop_timer begin;
};

/* @return whether a deployment of the account is for that model */
static bool note(const struct upkeep_account *account, const char *model, uint64_t ends_s)
{
    const struct inherited *inherited = account->upkeep->rt.inherited;
    bool found = false;

    for (uint32_t i = 0; i < table_num_deployments(inherited->table); i++) {
        const struct table_deployment *d = table_deployment(inherited->table, i);

        if (d->account != account->account ||
            strcmp(table_str(inherited->table, d->upstream_model), model) != 0)
            continue;
        atomic_store(&inherited->probes[i].ends_unix_s, ends_s);
        found = true;
    }
    return found;
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

static void schedule(struct endings *e, uint32_t delay_ms)
{
    if (loop_timer_start(e->account->upkeep->rt.loop, &e->begin,
                         delay_ms + upkeep_random_below(e->account->upkeep, delay_ms / JITTER)) !=
        0)
        log_error("account %s: looking for models that end stopped: %s",
                  upkeep_account_name(e->account), err_str(ERR_NOMEM));
}

static void on_models(void *arg, const struct attempt_result *result)
{
    struct endings *e = arg;
    struct json_doc *doc = result->ok ? json_doc_new() : NULL;
    struct json_error error;

    if (doc != NULL && result->upstream->body != NULL)
        (void)endings_take(e->account,
                           normal_list_data(json_parse(doc, result->upstream->body,
                                                       result->upstream->body_len, &error)),
                           clock_unix_s());
    json_doc_free(doc);
    schedule(e, PERIOD_MS);
}

static void on_begin(struct loop_timer *timer)
{
    struct endings *e = timer->arg;

    if (upkeep_call_start(e->account, CALL_MODEL_LIST, NULL, NULL, on_models, e) != 0)
        schedule(e, PERIOD_MS);
}

int endings_start(struct upkeep *upkeep)
{
    const struct model_list *models = &upkeep->rt.inherited->config->models;
    struct endings *all = calloc(upkeep->num_accounts + 1, sizeof(*all));
    int ret = all != NULL ? 0 : ERR_NOMEM;

    upkeep->endings = all;
    for (size_t i = 0; i < upkeep->num_accounts && ret == 0; i++) {
        struct endings *e = &all[i];

        e->account = &upkeep->accounts[i];
        e->begin = (struct loop_timer){.cb = on_begin, .arg = e};
        if (models->accounts[i].provider == PROVIDER_OPENAI &&
            e->account->deployment != MODEL_NO_INDEX)
            ret = loop_timer_start(upkeep->rt.loop, &e->begin,
                                   upkeep_stagger_ms(i, upkeep->num_accounts));
    }
    return ret;
}
