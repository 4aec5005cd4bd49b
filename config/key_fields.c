/* See key_fields.h. */
#include "key_fields.h"

#include <stddef.h>
#include <string.h>

#include "common/iso8601.h"
#include "common/retention.h"
#include "config/guess.h"
#include "price/budget.h"
#include "scalar.h"

#define IN_KEYS  1
#define IN_TEAMS 2
#define IN_BOTH  (IN_KEYS | IN_TEAMS)

#define MIB       ((int64_t)1 << 20)
#define MAX_RATE  1000000000
#define MAX_BYTES ((int64_t)1 << 50)
#define DAY_S     86400

enum fate {
    TAKEN,   /* somebody reads it */
    BUDGET,  /* money, which the journal counts */
    UNSPENT, /* money in a way that is not counted here */
    LOST,    /* LiteLLM does something with it that is not done here */
    WITHOUT, /* nothing of it matters for files and batches, or a row of its tables has it */
    REFUSED  /* it would be a right that nobody narrows */
};

#define NO_ORGANIZATION "organizations and projects have no limits and no models of their own here"
#define NO_MINUTES                                                                                 \
    "tokens of batches are not counted by the minute; batch_enqueued_token_limit bounds them"
#define NO_MEMBERS  "members of a team are not told apart; its keys say who may what"
#define NO_ROTATION "no key is replaced by itself"

static const struct field {
    const char *name;
    unsigned places;
    enum fate fate;
    const char *why; /* of LOST and REFUSED */
} fields[] = {
    {"hash", IN_KEYS, TAKEN, NULL},
    {"key_alias", IN_KEYS, TAKEN, NULL},
    {"models", IN_BOTH, TAKEN, NULL},
    {"team_id", IN_BOTH, TAKEN, NULL},
    {"key_name", IN_KEYS, TAKEN, NULL},
    {"expires", IN_KEYS, TAKEN, NULL},
    {"metadata", IN_BOTH, TAKEN, NULL},
    {"batch_enqueued_token_limit", IN_BOTH, TAKEN, NULL},
    {"max_open_batches", IN_BOTH, TAKEN, NULL},
    {"rpm_limit", IN_BOTH, TAKEN, NULL},
    {"key", IN_KEYS, TAKEN, NULL},
    {"id", IN_KEYS, TAKEN, NULL},
    {"aliases", IN_KEYS, TAKEN, NULL},
    {"user_id", IN_KEYS, TAKEN, NULL},
    {"blocked", IN_BOTH, TAKEN, NULL},
    {"admin", IN_KEYS, TAKEN, NULL},
    {"allowed_routes", IN_KEYS, TAKEN, NULL},
    {"key_type", IN_KEYS, TAKEN, NULL},
    {"team_alias", IN_TEAMS, TAKEN, NULL},
    {"model_aliases", IN_TEAMS, TAKEN, NULL},
    {"max_requests_per_second", IN_BOTH, TAKEN, NULL},
    {"request_burst", IN_BOTH, TAKEN, NULL},
    {"max_parallel_requests", IN_BOTH, TAKEN, NULL},
    {"max_concurrent_uploads", IN_BOTH, TAKEN, NULL},
    {"max_spool_bytes", IN_BOTH, TAKEN, NULL},
    {"max_batch_file_size_mb", IN_BOTH, TAKEN, NULL},
    {"enforced_file_expires_after", IN_BOTH, TAKEN, NULL},
    {"enforced_batch_output_expires_after", IN_BOTH, TAKEN, NULL},
    {"delete_after", IN_BOTH, TAKEN, NULL},
    {"max_budget", IN_BOTH, BUDGET, NULL},
    {"soft_budget", IN_BOTH, UNSPENT, NULL},
    {"budget_duration", IN_BOTH, BUDGET, NULL},
    {"budget_limits", IN_BOTH, UNSPENT, NULL},
    {"budget_id", IN_BOTH, UNSPENT, NULL},
    {"model_max_budget", IN_BOTH, UNSPENT, NULL},
    {"temp_budget_increase", IN_KEYS, UNSPENT, NULL},
    {"temp_budget_expiry", IN_KEYS, UNSPENT, NULL},
    {"team_member_budget", IN_TEAMS, UNSPENT, NULL},
    {"team_member_budget_duration", IN_TEAMS, UNSPENT, NULL},
    {"duration", IN_KEYS, REFUSED, "a file has no moment from which it counts; give expires"},
    {"tpm_limit", IN_BOTH, LOST, NO_MINUTES},
    {"model_tpm_limit", IN_BOTH, LOST, NO_MINUTES},
    {"tpm_limit_type", IN_BOTH, LOST, NO_MINUTES},
    {"model_rpm_limit", IN_BOTH, LOST, "requests are counted for all models together: rpm_limit"},
    {"rpm_limit_type", IN_BOTH, LOST, "rpm_limit is a limit, and no reservation"},
    {"tags", IN_BOTH, LOST, "requests are not told apart by tags"},
    {"organization_id", IN_BOTH, LOST, NO_ORGANIZATION},
    {"project_id", IN_BOTH, LOST, NO_ORGANIZATION},
    {"access_group_ids", IN_BOTH, LOST, "give the names of the groups in models"},
    {"permissions", IN_KEYS, LOST, "nothing that LiteLLM permits by these is served"},
    {"auto_rotate", IN_KEYS, LOST, NO_ROTATION},
    {"rotation_interval", IN_KEYS, LOST, NO_ROTATION},
    {"members", IN_TEAMS, LOST, NO_MEMBERS},
    {"admins", IN_TEAMS, LOST, NO_MEMBERS},
    {"members_with_roles", IN_TEAMS, LOST, NO_MEMBERS},
    {"team_member_permissions", IN_TEAMS, LOST, NO_MEMBERS},
    {"team_member_rpm_limit", IN_TEAMS, LOST, NO_MEMBERS},
    {"team_member_tpm_limit", IN_TEAMS, LOST, NO_MEMBERS},
    {"team_member_key_duration", IN_TEAMS, LOST, NO_MEMBERS},
    {"agent_id", IN_KEYS, WITHOUT, NULL},
    {"allowed_cache_controls", IN_BOTH, WITHOUT, NULL},
    {"allowed_passthrough_routes", IN_BOTH, WITHOUT, NULL},
    {"allowed_vector_store_indexes", IN_BOTH, WITHOUT, NULL},
    {"budget_fallbacks", IN_BOTH, WITHOUT, NULL},
    {"config", IN_KEYS, WITHOUT, NULL},
    {"created_at", IN_BOTH, WITHOUT, NULL},
    {"created_by", IN_BOTH, WITHOUT, NULL},
    {"enforced_params", IN_BOTH, WITHOUT, NULL},
    {"guardrails", IN_BOTH, WITHOUT, NULL},
    {"disable_global_guardrails", IN_BOTH, WITHOUT, NULL},
    {"last_active", IN_KEYS, WITHOUT, NULL},
    {"logging", IN_BOTH, WITHOUT, NULL},
    {"object_permission", IN_BOTH, WITHOUT, NULL},
    {"object_permission_id", IN_BOTH, WITHOUT, NULL},
    {"policies", IN_BOTH, WITHOUT, NULL},
    {"prompts", IN_BOTH, WITHOUT, NULL},
    {"router_settings", IN_BOTH, WITHOUT, NULL},
    {"send_invite_email", IN_KEYS, WITHOUT, NULL},
    {"spend", IN_BOTH, WITHOUT, NULL},
    {"throttle_on_budget_exceeded", IN_BOTH, WITHOUT, NULL},
    {"updated_at", IN_BOTH, WITHOUT, NULL},
    {"updated_by", IN_BOTH, WITHOUT, NULL}};

#define NUM_FIELDS (sizeof(fields) / sizeof(fields[0]))

/* max_batch_file_size_mb counts in what LiteLLM calls megabytes, which are of 2^20 bytes. */
static const struct limit {
    const char *name;
    size_t to; /* of the field in struct rights_limits */
    struct scalar_rule rule;
    int64_t unit;
} limits[] = {
#define LIMIT(name, member, kind, min, max, unit)                                                  \
    {                                                                                              \
        name, offsetof(struct rights_limits, member), {kind, min, max}, unit                       \
    }
    LIMIT("batch_enqueued_token_limit", enqueued_tokens, SCALAR_TOKENS, 1, INT64_MAX, 1),
    LIMIT("max_open_batches", open_batches, SCALAR_INT, 0, MAX_RATE, 1),
    LIMIT("rpm_limit", requests_per_minute, SCALAR_INT, 1, MAX_RATE, 1),
    LIMIT("max_requests_per_second", requests_per_second, SCALAR_INT, 1, MAX_RATE, 1),
    LIMIT("request_burst", request_burst, SCALAR_INT, 1, MAX_RATE, 1),
    LIMIT("max_parallel_requests", parallel_requests, SCALAR_INT, 1, MAX_RATE, 1),
    LIMIT("max_concurrent_uploads", uploads, SCALAR_INT, 1, MAX_RATE, 1),
    LIMIT("max_spool_bytes", spool_bytes, SCALAR_BYTES, 1, MAX_BYTES, 1),
    LIMIT("max_batch_file_size_mb", file_bytes, SCALAR_INT, 1, MAX_BYTES / MIB, MIB)};

/* What LiteLLM keeps in the metadata of keys and teams (tenants statements A39, A43). */
static const char *const in_metadata[] = {"batch_enqueued_token_limit",
                                          "enforced_file_expires_after",
                                          "enforced_batch_output_expires_after", "delete_after"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

bool key_fields_given(const struct node *node)
{
    return node != NULL && (node->kind != NODE_NULL || node->variable != NULL);
}

static const struct field *field_of(const char *name, unsigned place)
{
    for (size_t i = 0; i < NUM_FIELDS; i++)
        if ((fields[i].places & place) != 0 && strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

static void refuse_unknown(const struct node *node, unsigned place, struct reporter *reporter)
{
    struct guess guess;

    guess_init(&guess, node->key);
    for (size_t i = 0; i < NUM_FIELDS; i++)
        if ((fields[i].places & place) != 0)
            guess_offer(&guess, fields[i].name);
    if (guess.best != NULL)
        report_at(reporter, CONFIG_ERROR, node, "unknown key, did you mean \"%s\"?", guess.best);
    else
        report_at(reporter, CONFIG_ERROR, node,
                  "unknown key: what it was to limit would be allowed; remove it");
}

static bool says_none(const struct node *node)
{
    uint32_t seconds;

    return node_text(node) != NULL && retention_read(node->text, &seconds) &&
           seconds == RETENTION_NONE;
}

/* Who says that files go would believe that they do. */
static void check_retention(const struct node *entry, bool counted, struct reporter *reporter)
{
    const struct node *places[] = {node_get(entry, "delete_after"),
                                   node_get(node_get(entry, "metadata"), "delete_after")};

    for (size_t i = 0; i < COUNT(places) && !counted; i++)
        if (key_fields_given(places[i]) && !says_none(places[i]))
            report_at(reporter, CONFIG_ERROR, places[i],
                      "files of batches are deleted by the journal, which needs "
                      "tranche_settings.database: without it they would stay; set it, or remove "
                      "this");
}

void key_fields_check(const struct node *entry, bool team, bool counted, struct reporter *reporter)
{
    unsigned place = team ? IN_TEAMS : IN_KEYS;

    check_retention(entry, counted, reporter);
    for (size_t i = 0; i < entry->num_items; i++) {
        const struct node *node = entry->items[i];
        const struct field *field = field_of(node->key, place);

        if (field == NULL)
            refuse_unknown(node, place, reporter);
        else if (field->fate == BUDGET && !counted && key_fields_given(node))
            report_at(reporter, CONFIG_ERROR, node,
                      "budgets are counted by the journal, which needs tranche_settings.database: "
                      "a key with one would spend without a bound; remove it");
        else if (field->fate == UNSPENT && key_fields_given(node))
            report_at(reporter, CONFIG_ERROR, node,
                      "not enforced here: a key with one would spend without a bound; max_budget "
                      "and budget_duration are");
        else if (field->fate == LOST && key_fields_given(node))
            report_at(reporter, CONFIG_WARNING, node, "ignored: %s", field->why);
        else if (field->fate == REFUSED && key_fields_given(node))
            report_at(reporter, CONFIG_ERROR, node, "%s", field->why);
    }
}

/* The field itself, or of metadata; NULL: not given. */
static const struct node *find(const struct node *entry, const char *name,
                               struct reporter *reporter)
{
    const struct node *node = node_get(entry, name), *meta = NULL;

    for (size_t i = 0; i < COUNT(in_metadata); i++)
        if (strcmp(in_metadata[i], name) == 0)
            meta = node_get(node_get(entry, "metadata"), name);
    if (!key_fields_given(node))
        return key_fields_given(meta) ? meta : NULL;
    if (key_fields_given(meta))
        report_at(reporter, CONFIG_ERROR, meta, "given beside metadata, too; give one of them");
    return node;
}

/* A scalar under a rule; a wrong one is reported. */
static bool parse(const struct scalar_rule *rule, const struct node *node,
                  struct reporter *reporter, union scalar_value *out)
{
    struct strbuf wanted = STRBUF_INIT;

    if (node_text(node) != NULL && scalar_parse(rule, node->text, out) == 0)
        return true;
    scalar_wanted(rule, &wanted);
    report_wanted(reporter, node, strbuf_str(&wanted));
    strbuf_deinit(&wanted);
    return false;
}

static void take_limit(const struct limit *limit, const struct node *node,
                       struct reporter *reporter, struct rights_limits *out)
{
    uint64_t *field = (uint64_t *)(void *)((char *)out + limit->to);
    union scalar_value value;

    if (node != NULL && parse(&limit->rule, node, reporter, &value))
        *field = (uint64_t)(value.integer * limit->unit);
}

/* OpenAI's own bounds of expires_after (providers 2.4): an hour to thirty days. */
void key_fields_expiry(const struct node *node, struct reporter *reporter, uint32_t *seconds)
{
    static const struct scalar_rule rule = {SCALAR_INT, 3600, 30 * (int64_t)DAY_S};
    const struct node *anchor = node_get(node, "anchor");
    union scalar_value value;

    if (node == NULL)
        return;
    if (node->kind != NODE_MAP || node_get(node, "seconds") == NULL) {
        report_wanted(reporter, node, "a mapping such as {anchor: created_at, seconds: 2592000}");
        return;
    }
    if (key_fields_given(anchor) &&
        (node_text(anchor) == NULL || strcmp(anchor->text, "created_at") != 0))
        report_wanted(reporter, anchor, "created_at");
    for (size_t i = 0; i < node->num_items; i++)
        if (strcmp(node->items[i]->key, "anchor") != 0 &&
            strcmp(node->items[i]->key, "seconds") != 0)
            report_at(reporter, CONFIG_ERROR, node->items[i],
                      "unknown key, wanted anchor and seconds");
    if (parse(&rule, node_get(node, "seconds"), reporter, &value))
        *seconds = (uint32_t)value.integer;
}

void key_fields_retention(const struct node *node, struct reporter *reporter, uint32_t *seconds)
{
    if (node == NULL)
        return;
    if (node_text(node) == NULL || !retention_read(node->text, seconds))
        report_wanted(reporter, node, RETENTION_WANTED);
}

/* max_budget in dollars, budget_duration (tenants statement A3). */
static void take_budget(const struct node *entry, struct reporter *reporter,
                        struct rights_limits *out)
{
    const struct node *most = node_get(entry, "max_budget");
    const struct node *period = node_get(entry, "budget_duration");
    int64_t nano;

    if (key_fields_given(most)) {
        if (node_text(most) == NULL ||
            price_parse_dollars(most->text, strlen(most->text), &nano) != 0)
            report_wanted(reporter, most, "dollars, such as 250 or 0.5");
        else
            out->budget_nano = (uint64_t)nano;
    }
    if (!key_fields_given(period))
        return;
    if (node_text(period) == NULL || !budget_period_read(period->text, &out->budget_period_s))
        report_wanted(reporter, period, "a duration: 30s, 30min, 1h, 30d, 2w, 1mo");
    else if (!key_fields_given(most))
        report_at(reporter, CONFIG_WARNING, period, "without effect: give max_budget");
}

void key_fields_limits(const struct node *entry, struct reporter *reporter,
                       struct rights_limits *out)
{
    const struct node *metadata = node_get(entry, "metadata");

    if (key_fields_given(metadata) && metadata->kind != NODE_MAP)
        report_wanted(reporter, metadata, "a mapping");
    for (size_t i = 0; i < COUNT(limits); i++)
        take_limit(&limits[i], find(entry, limits[i].name, reporter), reporter, out);
    key_fields_expiry(find(entry, "enforced_file_expires_after", reporter), reporter,
                      &out->file_expiry_s);
    key_fields_expiry(find(entry, "enforced_batch_output_expires_after", reporter), reporter,
                      &out->output_expiry_s);
    key_fields_retention(find(entry, "delete_after", reporter), reporter, &out->delete_after_s);
    take_budget(entry, reporter, out);
    if (out->request_burst != RIGHTS_UNLIMITED && out->requests_per_second == RIGHTS_UNLIMITED)
        report_under(reporter, CONFIG_ERROR, entry, "request_burst",
                     "without effect: give max_requests_per_second, beyond which it goes");
}

void key_fields_expires(const struct node *entry, struct reporter *reporter, int64_t *unix_ms)
{
    const struct node *node = node_get(entry, "expires");

    *unix_ms = 0;
    if (!key_fields_given(node))
        return;
    if (node_text(node) == NULL || !iso8601_read(node->text, unix_ms))
        report_wanted(reporter, node,
                      "a moment with its zone, such as 2026-12-31T23:59:59Z, or a date, at the "
                      "beginning of which in UTC it ends");
    else if (*unix_ms == 0)
        *unix_ms = 1; /* 1970 has ended as well, and 0 is never */
}

bool key_fields_truth(const struct node *entry, const char *name, struct reporter *reporter)
{
    static const struct scalar_rule rule = {SCALAR_BOOL, 0, 0};
    const struct node *node = node_get(entry, name);
    union scalar_value value;

    return key_fields_given(node) && parse(&rule, node, reporter, &value) && value.truth;
}
