/* See models.h. */
#include "admin/models.h"

#include <stdlib.h>

#include "json/json.h"
#include "request/errors.h"
#include "request/long_answer.h"

#define CREATED 1677610602 /* LiteLLM's constant: groups have no birthday */

/* An answer being written, row by row. */
struct rows {
    const struct runtime *rt; /* borrowed */
    uint32_t next;
    uint32_t written;
};

static struct rows *rows_new(const struct relay *relay)
{
    struct rows *r = calloc(1, sizeof(*r));

    if (r != NULL)
        r->rt = relay->rt;
    return r;
}

static void begin_row(struct rows *r, struct strbuf *out)
{
    strbuf_adds(out, r->written++ > 0 ? ",{" : "{");
}

/* The members of one and the brace behind them. */
static void write_model(struct strbuf *out, const char *name)
{
    json_write_member_string(out, "id", name);
    json_write_member_string(out, "object", "model");
    json_write_member_int(out, "created", CREATED);
    json_write_member_string(out, "owned_by", "openai");
    strbuf_addc(out, '}');
}

/* Groups, then aliases. */
static uint32_t num_models(const struct runtime *rt)
{
    return table_num_groups(rt->table) + (uint32_t)rt->config->models.num_names;
}

/* NULL: nothing that clients may ask for, or should see. */
static const char *model_name(const struct runtime *rt, uint32_t i)
{
    uint32_t groups = table_num_groups(rt->table);
    const struct model_name *name;

    if (i < groups)
        return table_is_served(rt->table, i) ? table_group_name(rt->table, i) : NULL;
    name = &rt->config->models.names[i - groups];
    return name->target != NULL && !name->hidden ? name->name : NULL;
}

static enum long_answer_step write_group(void *arg, struct strbuf *out)
{
    struct rows *r = arg;
    const char *name;

    do {
        if (r->next == num_models(r->rt)) {
            strbuf_adds(out, "]}");
            return LONG_ANSWER_DONE;
        }
        name = model_name(r->rt, r->next++);
    } while (name == NULL);
    begin_row(r, out);
    write_model(out, name);
    return LONG_ANSWER_MORE;
}

void models_list(struct relay *relay)
{
    long_answer_write(relay, "{\"object\":\"list\",\"data\":[", write_group, rows_new(relay));
}

static void write_params(const struct runtime *rt, const struct table_deployment *d,
                         struct strbuf *out)
{
    const struct model_account *account = &rt->config->models.accounts[d->account];

    strbuf_adds(out, ",\"litellm_params\":{");
    json_write_member_string(out, "model", table_str(rt->table, d->litellm_model));
    json_write_member_string(out, "api_base", account->base);
    if (account->api_version != NULL)
        json_write_member_string(out, "api_version", account->api_version);
    strbuf_addc(out, '}');
}

static void write_info(const struct runtime *rt, const struct table_deployment *d,
                       struct strbuf *out)
{
    strbuf_adds(out, ",\"model_info\":{");
    json_write_member_string(out, "id", table_str(rt->table, d->id));
    if (d->batch)
        json_write_member_string(out, "mode", "batch");
    json_write_member_string(out, "litellm_provider", provider_name((enum provider)d->provider));
    strbuf_addc(out, '}');
}

static enum long_answer_step write_deployment(void *arg, struct strbuf *out)
{
    struct rows *r = arg;
    const struct table *table = r->rt->table;
    const struct table_deployment *d;

    if (r->next == table_num_deployments(table)) {
        strbuf_adds(out, "]}");
        return LONG_ANSWER_DONE;
    }
    d = table_deployment(table, r->next++);
    if (d->group == MODEL_NO_INDEX)
        return LONG_ANSWER_MORE;
    begin_row(r, out);
    json_write_member_string(out, "model_name", table_group_name(table, d->group));
    write_params(r->rt, d, out);
    write_info(r->rt, d, out);
    strbuf_addc(out, '}');
    return LONG_ANSWER_MORE;
}

void models_info(struct relay *relay)
{
    long_answer_write(relay, "{\"data\":[", write_deployment, rows_new(relay));
}

void models_one(struct relay *relay)
{
    const struct table *table = relay->rt->table;
    struct strbuf text = STRBUF_INIT;
    struct table_name name;

    if (relay->route.bad_id ||
        !table_find_name(table, relay->route.id, relay->route.id_len, &name) ||
        (name.row == MODEL_NO_INDEX && !table_is_served(table, name.group))) {
        relay_error(relay, NO_MODEL, "model", relay->route.id);
        return;
    }
    strbuf_addc(&text, '{');
    write_model(&text, relay->route.id);
    if (strbuf_failed(&text))
        relay_error(relay, OUT_OF_MEMORY, "");
    else
        relay_bytes(relay, 200, "application/json", strbuf_str(&text), text.len);
    strbuf_deinit(&text);
}

/* What the rows of a group have together: minute limits add up, as LiteLLM adds them. */
static void write_summary(const struct runtime *rt, uint32_t group, struct strbuf *out)
{
    uint32_t num;
    const uint32_t *rows = table_group_members(rt->table, group, &num);
    bool has[PROVIDER_COUNT] = {false}, batch = false;
    int64_t rpm = 0, tpm = 0;
    const char *comma = "";

    for (uint32_t i = 0; i < num; i++) {
        const struct table_deployment *d = table_deployment(rt->table, rows[i]);

        has[d->provider] = true;
        batch |= d->batch != 0;
        rpm += d->rpm;
        tpm += d->tpm;
    }
    strbuf_adds(out, ",\"providers\":[");
    for (int p = 0; p < PROVIDER_COUNT; p++)
        if (has[p]) {
            strbuf_addf(out, "%s\"%s\"", comma, provider_name((enum provider)p));
            comma = ",";
        }
    strbuf_adds(out, "]");
    if (batch)
        json_write_member_string(out, "mode", "batch");
    if (rpm > 0)
        json_write_member_int(out, "rpm", rpm);
    if (tpm > 0)
        json_write_member_int(out, "tpm", tpm);
    json_write_member_int(out, "num_deployments", num);
}

static enum long_answer_step write_group_info(void *arg, struct strbuf *out)
{
    struct rows *r = arg;
    const struct table *table = r->rt->table;

    while (r->next < table_num_groups(table) && !table_is_served(table, r->next))
        r->next++;
    if (r->next == table_num_groups(table)) {
        strbuf_adds(out, "]}");
        return LONG_ANSWER_DONE;
    }
    begin_row(r, out);
    json_write_member_string(out, "model_group", table_group_name(table, r->next));
    write_summary(r->rt, r->next++, out);
    strbuf_addc(out, '}');
    return LONG_ANSWER_MORE;
}

void models_groups(struct relay *relay)
{
    long_answer_write(relay, "{\"data\":[", write_group_info, rows_new(relay));
}
