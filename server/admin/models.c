/* See models.h. */
#include "admin/models.h"

#include <stdlib.h>
#include <string.h>

#include "json/json.h"
#include "request/errors.h"
#include "request/long_answer.h"
#include "request/may_use.h"

#define CREATED 1677610602 /* LiteLLM's constant: groups have no birthday */

/* An answer being written, row by row. */
struct rows {
    const struct relay *relay; /* borrowed; whose answer it is */
    const struct runtime *rt;  /* borrowed */
    bool bound;                /* for a tenant */
    uint32_t next;
    uint32_t written;
};

static struct rows *rows_new(const struct relay *relay)
{
    struct rows *r = calloc(1, sizeof(*r));

    if (r == NULL)
        return NULL;
    r->relay = relay;
    r->rt = relay->rt;
    r->bound = tenant_is_bound(relay->tenant);
    return r;
}

/* What a tenant may is looked up in its lists: with a thousand names in its own and its team's that
 * takes some 20 us a question, and a row has up to three. */
#define ROWS_A_TURN 16

static enum long_answer_step go_on(const struct rows *r)
{
    return r->bound && r->next % ROWS_A_TURN == 0 ? LONG_ANSWER_PAUSE : LONG_ANSWER_MORE;
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

/* Groups, then aliases; behind them the tenant's own names. */
static uint32_t num_models(const struct runtime *rt)
{
    return table_num_groups(rt->table) + (uint32_t)rt->config->models.num_names;
}

/* Whether a name of a tenant's list or an alias of its key's is one more model: it means a group that
 * it may use and that is called otherwise, as one that a pattern takes is. */
static bool is_own_name(const struct rows *r, const char *name)
{
    const struct model_list *models = &r->rt->config->models;
    const struct table *table = r->rt->table;
    char target[RIGHTS_NAME_MAX + 1];
    bool is_alias = may_use_alias(r->relay, name, strlen(name), target);
    const char *asked = is_alias ? target : name;
    struct table_name found;

    if (!table_find_name(table, asked, strlen(asked), &found) || found.row != MODEL_NO_INDEX ||
        !table_is_served(table, found.group) ||
        may_use_found(r->relay, &found, asked, strlen(asked)) != RIGHTS_MODEL_ALLOWED)
        return false;
    for (size_t i = 0; i < models->num_names; i++)
        if (strcmp(models->names[i].name, name) == 0)
            return false; /* listed, or hidden */
    return strcmp(table_group_name(table, found.group), name) != 0;
}

static enum long_answer_step end_list(struct strbuf *out)
{
    strbuf_adds(out, "]}");
    return LONG_ANSWER_DONE;
}

static enum long_answer_step write_own_name(struct rows *r, uint32_t i, struct strbuf *out)
{
    char name[RIGHTS_NAME_MAX + 1];

    if (!r->bound || !rights_name_at(r->rt->inherited->rights, &r->relay->tenant->rights, i, name))
        return end_list(out);
    if (name[0] != '\0' && is_own_name(r, name)) {
        begin_row(r, out);
        write_model(out, name);
    }
    return go_on(r);
}

static bool may_use(const struct rows *r, const char *name)
{
    return may_use_name(r->relay, name, strlen(name)) == RIGHTS_MODEL_ALLOWED;
}

static bool sees_group(const struct rows *r, uint32_t group)
{
    const struct table *table = r->rt->table;

    return table_is_served(table, group) && may_use(r, table_group_name(table, group));
}

/* NULL: nothing that the client may ask for, or should see. */
static const char *model_name(const struct rows *r, uint32_t i)
{
    const struct runtime *rt = r->rt;
    uint32_t groups = table_num_groups(rt->table);
    const struct model_name *name;

    if (i < groups)
        return sees_group(r, i) ? table_group_name(rt->table, i) : NULL;
    name = &rt->config->models.names[i - groups];
    return name->target != NULL && !name->hidden &&
                   (may_use(r, name->name) || may_use(r, name->target))
               ? name->name
               : NULL;
}

static enum long_answer_step write_group(void *arg, struct strbuf *out)
{
    struct rows *r = arg;
    const char *name;

    if (r->next >= num_models(r->rt))
        return write_own_name(r, r->next++ - num_models(r->rt), out);
    name = model_name(r, r->next++);
    if (name == NULL)
        return go_on(r);
    begin_row(r, out);
    write_model(out, name);
    return go_on(r);
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

/* Of a group, as far as tenants need it: which models there are, and by which provider's rules they
 * go. Addresses, accounts, names and numbers of deployments are the host's. */
static void write_for_tenant(const struct rows *r, uint32_t group, struct strbuf *out)
{
    const struct table *table = r->rt->table;
    const char *name = table_group_name(table, group);
    uint32_t num;
    const struct table_deployment *d =
        table_deployment(table, table_group_members(table, group, &num)[0]);

    json_write_member_string(out, "model_name", name);
    strbuf_adds(out, ",\"litellm_params\":{");
    json_write_member_string(out, "model", name);
    strbuf_adds(out, "},\"model_info\":{");
    json_write_member_string(out, "litellm_provider", provider_name((enum provider)d->provider));
    if (d->batch)
        json_write_member_string(out, "mode", "batch");
    strbuf_addc(out, '}');
}

static enum long_answer_step write_group_for_tenant(void *arg, struct strbuf *out)
{
    struct rows *r = arg;
    uint32_t group = r->next++;

    if (group == table_num_groups(r->rt->table))
        return end_list(out);
    if (!sees_group(r, group))
        return go_on(r);
    begin_row(r, out);
    write_for_tenant(r, group, out);
    strbuf_addc(out, '}');
    return go_on(r);
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
    long_answer_write(relay, "{\"data\":[",
                      tenant_is_bound(relay->tenant) ? write_group_for_tenant : write_deployment,
                      rows_new(relay));
}

void models_one(struct relay *relay)
{
    const struct table *table = relay->rt->table;
    const char *asked = relay->route.id;
    size_t len = relay->route.id_len;
    char target[RIGHTS_NAME_MAX + 1];
    struct strbuf text = STRBUF_INIT;
    struct table_name name;

    if (!relay->route.bad_id &&
        may_use_alias(relay, relay->route.id, relay->route.id_len, target)) {
        asked = target;
        len = strlen(target);
    }
    if (relay->route.bad_id || !table_find_name(table, asked, len, &name) ||
        (name.row == MODEL_NO_INDEX && !table_is_served(table, name.group)) ||
        may_use_found(relay, &name, asked, len) != RIGHTS_MODEL_ALLOWED) {
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
static void write_summary(const struct rows *r, uint32_t group, struct strbuf *out)
{
    const struct runtime *rt = r->rt;
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
    if (r->bound)
        return; /* what the host has */
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

    uint32_t group = r->next++;

    if (group == table_num_groups(table))
        return end_list(out);
    if (!sees_group(r, group))
        return go_on(r);
    begin_row(r, out);
    json_write_member_string(out, "model_group", table_group_name(table, group));
    write_summary(r, group, out);
    strbuf_addc(out, '}');
    return go_on(r);
}

void models_groups(struct relay *relay)
{
    long_answer_write(relay, "{\"data\":[", write_group_info, rows_new(relay));
}
