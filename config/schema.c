/* See schema.h. The tree was read with its aliases and includes resolved, so it is written out once
 * more, known parts only, and that text is what libcyaml loads: it never sees an alias, an unknown
 * key or a wrong type.
 *
 * Why a text: libcyaml loads from nothing else, and it can know neither includes and variables, nor
 * the file and line of a note, nor what a wrong value should have been ("200M or a number from 1
 * to ..."); so types stay scalar.c's. To fill the structs from the tree by the tables' offsets
 * would be a hundred lines less, but all of them untyped writes of ours, with nothing left to the
 * library but its macros. The text costs 2 ms of a start with 300 rows, and a tenth of a second, of
 * one that loading takes in all, with 10,000. */
#include "schema.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <cyaml/cyaml.h>
#include <yaml.h>

#include "common/secret.h"
#include "known.h"

#define MAX_ROWS  20000
#define MAX_SEALS 8
#define MAX_HOSTS 64

/* A text that may be missing. */
#define TEXT(type, name)                                                                           \
    CYAML_FIELD_STRING_PTR(#name, CYAML_FLAG_OPTIONAL, type, name, 0, CYAML_UNLIMITED)

/* The same, where LiteLLM's name is none for a member. */
#define NAMED_TEXT(key, type, member)                                                              \
    CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_OPTIONAL, type, member, 0, CYAML_UNLIMITED)

/* What somebody else reads from the tree: known, but not looked into here. */
#define FREE_FORM(key) CYAML_FIELD_IGNORE(key, CYAML_FLAG_OPTIONAL)

/* What prices.c reads from the tree. */
#define PRICES(of)                                                                                 \
    FREE_FORM("input_cost_per_token" of), FREE_FORM("output_cost_per_token" of),                   \
        FREE_FORM("cache_read_input_token_cost" of)

/* A mapping that may be missing; its struct is then all NULL. */
#define MAPPING(type, key, member, fields)                                                         \
    CYAML_FIELD_MAPPING(key, CYAML_FLAG_OPTIONAL, type, member, fields)

/* A list that may be missing, with `member`_count beside it. */
#define LIST(type, key, member, entry, max)                                                        \
    CYAML_FIELD_SEQUENCE(key, CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER, type, member, entry, 0, max)

/* What a row may say of its credential of Entra ID. */
#define ENTRA_TEXTS                                                                                \
    TEXT(struct raw_params, tenant_id), TEXT(struct raw_params, client_id),                        \
        TEXT(struct raw_params, client_secret), TEXT(struct raw_params, client_secret_path),       \
        TEXT(struct raw_params, client_certificate_path),                                          \
        TEXT(struct raw_params, client_certificate_password),                                      \
        TEXT(struct raw_params, client_send_certificate_chain),                                    \
        TEXT(struct raw_params, azure_federated_token_file), TEXT(struct raw_params, azure_scope), \
        TEXT(struct raw_params, azure_authority_host), TEXT(struct raw_params, azure_credential),  \
        TEXT(struct raw_params, managed_identity_client_id),                                       \
        TEXT(struct raw_params, managed_identity_object_id),                                       \
        TEXT(struct raw_params, managed_identity_resource_id),                                     \
        TEXT(struct raw_params, azure_username), TEXT(struct raw_params, azure_password)

static const cyaml_schema_field_t params_fields[] = {TEXT(struct raw_params, model),
                                                     TEXT(struct raw_params, custom_llm_provider),
                                                     TEXT(struct raw_params, api_key),
                                                     TEXT(struct raw_params, api_base),
                                                     TEXT(struct raw_params, api_version),
                                                     TEXT(struct raw_params, azure_ad_token),
                                                     ENTRA_TEXTS,
                                                     TEXT(struct raw_params, organization),
                                                     TEXT(struct raw_params, project),
                                                     TEXT(struct raw_params, rpm),
                                                     TEXT(struct raw_params, tpm),
                                                     TEXT(struct raw_params, weight),
                                                     TEXT(struct raw_params, order),
                                                     TEXT(struct raw_params, max_retries),
                                                     TEXT(struct raw_params, num_retries),
                                                     TEXT(struct raw_params, cooldown_time),
                                                     TEXT(struct raw_params, timeout),
                                                     FREE_FORM("litellm_credential_name"),
                                                     FREE_FORM("extra_headers"),
                                                     FREE_FORM("headers"),
                                                     FREE_FORM("base_model"),
                                                     PRICES(""),
                                                     PRICES("_batches"),
                                                     PRICES("_above_272k_tokens"),
                                                     PRICES("_above_272k_tokens_batches"),
                                                     CYAML_FIELD_END};

static const cyaml_schema_field_t files_fields[] = {TEXT(struct raw_params, custom_llm_provider),
                                                    TEXT(struct raw_params, api_key),
                                                    TEXT(struct raw_params, api_base),
                                                    TEXT(struct raw_params, api_version),
                                                    TEXT(struct raw_params, azure_ad_token),
                                                    ENTRA_TEXTS,
                                                    TEXT(struct raw_params, organization),
                                                    TEXT(struct raw_params, project),
                                                    TEXT(struct raw_params, timeout),
                                                    CYAML_FIELD_END};

static const cyaml_schema_field_t info_fields[] = {TEXT(struct raw_info, id),
                                                   TEXT(struct raw_info, mode),
                                                   TEXT(struct raw_info, enqueued_token_limit),
                                                   TEXT(struct raw_info, rpm),
                                                   TEXT(struct raw_info, tpm),
                                                   CYAML_FIELD_END};

static const cyaml_schema_field_t row_fields[] = {
    TEXT(struct raw_row, model_name),
    TEXT(struct raw_row, rpm),
    TEXT(struct raw_row, tpm),
    MAPPING(struct raw_row, "litellm_params", params, params_fields),
    MAPPING(struct raw_row, "model_info", info, info_fields),
    CYAML_FIELD_END};

static const cyaml_schema_field_t allowed_fails_fields[] = {
    NAMED_TEXT("BadRequestErrorAllowedFails", struct raw_policy, bad_request),
    NAMED_TEXT("AuthenticationErrorAllowedFails", struct raw_policy, authentication),
    NAMED_TEXT("TimeoutErrorAllowedFails", struct raw_policy, timeout),
    NAMED_TEXT("RateLimitErrorAllowedFails", struct raw_policy, rate_limit),
    NAMED_TEXT("ContentPolicyViolationErrorAllowedFails", struct raw_policy, content_policy),
    NAMED_TEXT("InternalServerErrorAllowedFails", struct raw_policy, internal_server),
    CYAML_FIELD_END};

static const cyaml_schema_field_t retries_fields[] = {
    NAMED_TEXT("BadRequestErrorRetries", struct raw_policy, bad_request),
    NAMED_TEXT("AuthenticationErrorRetries", struct raw_policy, authentication),
    NAMED_TEXT("TimeoutErrorRetries", struct raw_policy, timeout),
    NAMED_TEXT("RateLimitErrorRetries", struct raw_policy, rate_limit),
    NAMED_TEXT("ContentPolicyViolationErrorRetries", struct raw_policy, content_policy),
    NAMED_TEXT("InternalServerErrorRetries", struct raw_policy, internal_server),
    CYAML_FIELD_END};

static const cyaml_schema_field_t litellm_fields[] = {
    TEXT(struct raw_litellm, enable_loadbalancing_on_batch_endpoints),
    TEXT(struct raw_litellm, enable_azure_ad_token_refresh),
    TEXT(struct raw_litellm, require_auth_for_metrics_endpoint),
    TEXT(struct raw_litellm, request_timeout),
    TEXT(struct raw_litellm, num_retries),
    TEXT(struct raw_litellm, allowed_fails),
    TEXT(struct raw_litellm, cooldown_time),
    TEXT(struct raw_litellm, retry_after),
    TEXT(struct raw_litellm, max_fallbacks),
    FREE_FORM("max_batch_file_size_mb"),
    FREE_FORM("enforced_file_expires_after"),
    FREE_FORM("enforced_batch_output_expires_after"),
    MAPPING(struct raw_litellm, "allowed_fails_policy", allowed_fails_policy, allowed_fails_fields),
    FREE_FORM("fallbacks"),
    FREE_FORM("default_fallbacks"),
    FREE_FORM("ssl_verify"),
    FREE_FORM("api_base"),
    FREE_FORM("api_key"),
    FREE_FORM("api_version"),
    FREE_FORM("azure_key"),
    FREE_FORM("openai_key"),
    FREE_FORM("organization"),
    CYAML_FIELD_END};

static const cyaml_schema_field_t strategy_args_fields[] = {
    TEXT(struct raw_strategy_args, lowest_latency_buffer), TEXT(struct raw_strategy_args, ttl),
    TEXT(struct raw_strategy_args, max_latency_list_size), CYAML_FIELD_END};

static const cyaml_schema_field_t router_fields[] = {
    TEXT(struct raw_router, routing_strategy),
    MAPPING(struct raw_router, "routing_strategy_args", routing_strategy_args,
            strategy_args_fields),
    TEXT(struct raw_router, timeout),
    TEXT(struct raw_router, num_retries),
    TEXT(struct raw_router, allowed_fails),
    TEXT(struct raw_router, cooldown_time),
    TEXT(struct raw_router, retry_after),
    TEXT(struct raw_router, max_fallbacks),
    TEXT(struct raw_router, disable_cooldowns),
    MAPPING(struct raw_router, "allowed_fails_policy", allowed_fails_policy, allowed_fails_fields),
    MAPPING(struct raw_router, "retry_policy", retry_policy, retries_fields),
    FREE_FORM("model_group_alias"),
    FREE_FORM("model_group_retry_policy"),
    FREE_FORM("fallbacks"),
    FREE_FORM("default_fallbacks"),
    CYAML_FIELD_END};

static const cyaml_schema_field_t general_fields[] = {
    TEXT(struct raw_general, master_key),
    TEXT(struct raw_general, health_check_interval),
    FREE_FORM("litellm_key_header_name"),
    FREE_FORM("max_batch_file_size_mb"),
    FREE_FORM("max_file_size_mb"),
    FREE_FORM("blocked_file_extensions"),
    FREE_FORM("enable_jwt_auth"),
    FREE_FORM("litellm_jwtauth"),
    CYAML_FIELD_END};

static const cyaml_schema_field_t tls_fields[] = {TEXT(struct raw_tls, cert_file),
                                                  TEXT(struct raw_tls, key_file), CYAML_FIELD_END};

static const cyaml_schema_field_t provider_fields[] = {
    TEXT(struct raw_per_provider, openai), TEXT(struct raw_per_provider, azure), CYAML_FIELD_END};

static const cyaml_schema_field_t limits_fields[] = {
    TEXT(struct raw_limits, max_other_file_bytes),
    TEXT(struct raw_limits, max_line_bytes),
    TEXT(struct raw_limits, max_depth),
    TEXT(struct raw_limits, max_json_bytes),
    TEXT(struct raw_limits, json_memory_bytes),
    TEXT(struct raw_limits, upload_memory_bytes),
    TEXT(struct raw_limits, spool_bytes),
    TEXT(struct raw_limits, max_connections),
    TEXT(struct raw_limits, max_connections_per_address),
    TEXT(struct raw_limits, min_body_rate),
    TEXT(struct raw_limits, body_grace_ms),
    TEXT(struct raw_limits, min_read_rate),
    TEXT(struct raw_limits, read_grace_ms),
    TEXT(struct raw_limits, max_upstream_calls),
    TEXT(struct raw_limits, max_calls_per_connection),
    TEXT(struct raw_limits, max_open_uploads),
    TEXT(struct raw_limits, max_downloads),
    TEXT(struct raw_limits, max_downloads_per_connection),
    MAPPING(struct raw_limits, "max_file_bytes", max_file_bytes, provider_fields),
    MAPPING(struct raw_limits, "max_lines", max_lines, provider_fields),
    MAPPING(struct raw_limits, "max_embedding_inputs", max_embedding_inputs, provider_fields),
    MAPPING(struct raw_limits, "max_files", max_files, provider_fields),
    MAPPING(struct raw_limits, "max_expiring_files", max_expiring_files, provider_fields),
    CYAML_FIELD_END};

static const cyaml_schema_field_t timeouts_fields[] = {
    TEXT(struct raw_timeouts, connect_ms),        TEXT(struct raw_timeouts, first_byte_ms),
    TEXT(struct raw_timeouts, json_total_ms),     TEXT(struct raw_timeouts, low_speed_ms),
    TEXT(struct raw_timeouts, paused_ms),         TEXT(struct raw_timeouts, list_ms),
    TEXT(struct raw_timeouts, shutdown_grace_ms), TEXT(struct raw_timeouts, watch_ms),
    TEXT(struct raw_timeouts, long_poll_ms),      TEXT(struct raw_timeouts, count_files_ms),
    TEXT(struct raw_timeouts, database_ms),       CYAML_FIELD_END};

static const cyaml_schema_field_t quota_fields[] = {
    TEXT(struct raw_quota, deployment), TEXT(struct raw_quota, model_name),
    TEXT(struct raw_quota, enqueued_tokens), CYAML_FIELD_END};

static const cyaml_schema_value_t quota_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_quota, quota_fields)};

static const cyaml_schema_value_t seal_entry = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED)};

static const cyaml_schema_field_t tranche_fields[] = {
    TEXT(struct raw_tranche, host),
    TEXT(struct raw_tranche, port),
    TEXT(struct raw_tranche, health_port),
    TEXT(struct raw_tranche, num_workers),
    TEXT(struct raw_tranche, spool_dir),
    TEXT(struct raw_tranche, spool_limit),
    TEXT(struct raw_tranche, state_dir),
    TEXT(struct raw_tranche, upstream_ca_file),
    TEXT(struct raw_tranche, allow_insecure_upstream),
    TEXT(struct raw_tranche, core_dumps),
    TEXT(struct raw_tranche, permit_weak_or_unset_master_key),
    TEXT(struct raw_tranche, log_level),
    TEXT(struct raw_tranche, log_priority),
    TEXT(struct raw_tranche, access_log),
    TEXT(struct raw_tranche, error_log),
    TEXT(struct raw_tranche, user),
    TEXT(struct raw_tranche, seccomp),
    TEXT(struct raw_tranche, openai_path),
    FREE_FORM("upstream_proxy"),
    FREE_FORM("no_proxy"),
    FREE_FORM("cors_origins"),
    FREE_FORM("jwt"),
    TEXT(struct raw_tranche, azure_min_expires_after),
    TEXT(struct raw_tranche, azure_file_expires_after),
    TEXT(struct raw_tranche, delete_moved_copies),
    TEXT(struct raw_tranche, move_failed),
    FREE_FORM("delete_after"),
    TEXT(struct raw_tranche, refund_at),
    TEXT(struct raw_tranche, poll_cache_ms),
    TEXT(struct raw_tranche, keys_file),
    TEXT(struct raw_tranche, max_keys),
    FREE_FORM("keys"),
    FREE_FORM("teams"),
    FREE_FORM("database"),
    FREE_FORM("litellm_database"),
    TEXT(struct raw_tranche, keys_when_down),
    TEXT(struct raw_tranche, key_max_stale),
    TEXT(struct raw_tranche, journal),
    TEXT(struct raw_tranche, ui),
    TEXT(struct raw_tranche, price_map),
    TEXT(struct raw_tranche, outage_window),
    TEXT(struct raw_tranche, leases),
    TEXT(struct raw_tranche, limits_when_down),
    TEXT(struct raw_tranche, idempotency_when_down),
    FREE_FORM("webhooks"),
    FREE_FORM("webhook_allow_http"),
    FREE_FORM("webhook_allow_addresses"),
    FREE_FORM("webhook_ca_file"),
    TEXT(struct raw_tranche, metrics_max_series),
    TEXT(struct raw_tranche, budget_exceeded_status),
    TEXT(struct raw_tranche, max_known_files),
    MAPPING(struct raw_tranche, "count_output_tokens", count_output_tokens, provider_fields),
    LIST(struct raw_tranche, "quotas", quotas, &quota_entry, MAX_ROWS),
    MAPPING(struct raw_tranche, "tls", tls, tls_fields),
    MAPPING(struct raw_tranche, "limits", limits, limits_fields),
    MAPPING(struct raw_tranche, "timeouts", timeouts, timeouts_fields),
    LIST(struct raw_tranche, "seal_keys", seal_keys, &seal_entry, MAX_SEALS),
    LIST(struct raw_tranche, "proxies", proxies, &seal_entry, MAX_ROWS),
    LIST(struct raw_tranche, "allowed_hosts", allowed_hosts, &seal_entry, MAX_HOSTS),
    LIST(struct raw_tranche, "usage_tags", usage_tags, &seal_entry, MAX_HOSTS),
    CYAML_FIELD_END};

static const cyaml_schema_value_t row_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_row, row_fields)};

static const cyaml_schema_value_t files_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_params, files_fields)};

static const cyaml_schema_field_t credential_fields[] = {
    FREE_FORM("credential_name"), FREE_FORM("credential_values"), FREE_FORM("credential_info"),
    CYAML_FIELD_END};

static const cyaml_schema_field_t config_fields[] = {
    LIST(struct raw_config, "model_list", rows, &row_entry, MAX_ROWS),
    LIST(struct raw_config, "files_settings", files, &files_entry, MAX_ROWS),
    MAPPING(struct raw_config, "litellm_settings", litellm, litellm_fields),
    MAPPING(struct raw_config, "router_settings", router, router_fields),
    MAPPING(struct raw_config, "general_settings", general, general_fields),
    MAPPING(struct raw_config, "tranche_settings", tranche, tranche_fields),
    FREE_FORM("credential_list"),
    CYAML_FIELD_END};

static const cyaml_schema_value_t config_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_config, config_fields)};

static const cyaml_schema_field_t *field_of(const cyaml_schema_field_t *fields, const char *key)
{
    for (; fields->key != NULL; fields++) {
        if (strcmp(fields->key, key) == 0)
            return fields;
    }
    return NULL;
}

/* Where a key would have a meaning: "tranche_settings.limits". Lists are not searched: which item
 * would it be? */
static bool find_home(const cyaml_schema_field_t *fields, const char *key, struct strbuf *path)
{
    size_t len = path->len;

    for (; fields->key != NULL; fields++) {
        if (fields->value.type != CYAML_MAPPING)
            continue;
        if (len > 0)
            strbuf_addc(path, '.');
        strbuf_adds(path, fields->key);
        if (field_of(fields->value.mapping.fields, key) != NULL ||
            find_home(fields->value.mapping.fields, key, path))
            return true;
        path->len = len;
        if (path->data != NULL)
            path->data[len] = '\0';
    }
    return false;
}

/* The name under which known.h lists what LiteLLM takes in this map. */
static const char *litellm_name(const struct node *map)
{
    if (map->parent == NULL)
        return "";
    if (map->parent->key != NULL && strcmp(map->parent->key, "model_group_retry_policy") == 0)
        return "retry_policy";
    if (map->key != NULL)
        return map->key;
    return map->parent->key != NULL && strcmp(map->parent->key, "files_settings") == 0
               ? "litellm_params"
               : "model_list";
}

static void note_unknown(const struct node *node, const cyaml_schema_field_t *fields,
                         struct reporter *reporter)
{
    const char *place = litellm_name(node->parent);
    bool free_form = strcmp(place, "model_info") == 0;
    struct strbuf home = STRBUF_INIT;
    struct guess guess;
    const char *loss;

    guess_init(&guess, node->key);
    for (const cyaml_schema_field_t *f = fields; f->key != NULL; f++)
        guess_offer(&guess, f->key);
    if (known_litellm(place, node->key)) {
        loss = known_loss(place, node->key);
        if (!free_form)
            report_at(reporter, CONFIG_WARNING, node, "ignored: %s",
                      loss != NULL
                          ? loss
                          : "of LiteLLM's settings this one has no meaning for files and batches");
        return;
    }
    if (!free_form)
        known_guess_litellm(&guess, place);
    if (node->parent->parent == NULL) { /* read before the tables are */
        guess_offer(&guess, "environment_variables");
        guess_offer(&guess, "include");
    }
    if (guess.best != NULL)
        report_at(reporter, CONFIG_WARNING, node, "unknown key, did you mean \"%s\"?", guess.best);
    else if (!free_form &&
             (find_home(fields, node->key, &home) || find_home(config_fields, node->key, &home)))
        report_at(reporter, CONFIG_WARNING, node, "unknown key here, it belongs under \"%s\"",
                  strbuf_str(&home));
    else if (!free_form)
        report_at(reporter, CONFIG_WARNING, node, "unknown key, ignored");
    strbuf_deinit(&home);
}

/* One text where a list of texts is wanted becomes a list of one. */
static void wrap_in_list(struct node *node, struct reporter *reporter)
{
    struct node *item = node_new(NODE_SCALAR, node->file, node->line);

    if (item == NULL || node_append(node, item) != 0) {
        free(item);
        reporter->failed = true;
        node->skipped = true;
        return;
    }
    item->text = node->text;
    item->variable = node->variable;
    node->text = NULL;
    node->variable = NULL;
    node->kind = NODE_LIST;
}

static void check_value(struct node *node, const cyaml_schema_value_t *value,
                        struct reporter *reporter);

static void check_map(struct node *map, const cyaml_schema_field_t *fields,
                      struct reporter *reporter)
{
    for (size_t i = 0; i < map->num_items; i++) {
        struct node *node = map->items[i];
        const cyaml_schema_field_t *field = field_of(fields, node->key);

        if (field != NULL) {
            check_value(node, &field->value, reporter);
            continue;
        }
        /* Its values went to env.c. */
        if (map->parent != NULL || strcmp(node->key, "environment_variables") != 0)
            note_unknown(node, fields, reporter);
        node->skipped = true;
    }
}

static void check_list(struct node *list, const cyaml_schema_value_t *value,
                       struct reporter *reporter)
{
    struct strbuf wanted = STRBUF_INIT;

    if (list->num_items > value->sequence.max) {
        strbuf_addf(&wanted, "at most %u items", (unsigned)value->sequence.max);
        report_wanted(reporter, list, strbuf_str(&wanted));
        strbuf_deinit(&wanted);
        list->skipped = true;
        return;
    }
    for (size_t i = 0; i < list->num_items; i++) {
        if (list->items[i]->kind == NODE_NULL && !list->items[i]->skipped &&
            list->items[i]->variable == NULL)
            report_wanted(reporter, list->items[i], "an item after the dash");
        check_value(list->items[i], value->sequence.entry, reporter);
    }
}

static void check_value(struct node *node, const cyaml_schema_value_t *value,
                        struct reporter *reporter)
{
    static const struct {
        enum node_kind kind;
        const char *wanted;
    } wants[] = {[CYAML_STRING] = {NODE_SCALAR, "a single value"},
                 [CYAML_MAPPING] = {NODE_MAP, "a mapping"},
                 [CYAML_SEQUENCE] = {NODE_LIST, "a list"}};

    if (node->skipped || value->type == CYAML_IGNORE)
        return;
    if (node->kind == NODE_SCALAR && value->type == CYAML_SEQUENCE &&
        value->sequence.entry->type == CYAML_STRING)
        wrap_in_list(node, reporter);
    if (report_unset(reporter, CONFIG_SKIPPED, node))
        ; /* told */
    else if (node->kind != NODE_NULL && node->kind != wants[value->type].kind)
        report_wanted(reporter, node, wants[value->type].wanted);
    else if (node->kind == NODE_MAP)
        check_map(node, value->mapping.fields, reporter);
    else if (node->kind == NODE_LIST)
        check_list(node, value, reporter);
    if (node->kind != wants[value->type].kind)
        node->skipped = true;
}

/* Their values are looked at in the rows that take them. */
static void check_credentials(struct node *root, struct reporter *reporter)
{
    const struct node *list = node_get(root, "credential_list");

    for (size_t i = 0; list != NULL && i < list->num_items; i++)
        if (list->items[i]->kind == NODE_MAP)
            check_map(list->items[i], credential_fields, reporter);
}

void schema_check(struct node *root, struct reporter *reporter)
{
    check_map(root, config_fields, reporter);
    check_credentials(root, reporter);
}

void schema_check_row(struct node *row, struct reporter *reporter)
{
    check_map(row, row_fields, reporter);
}

void schema_check_retries(struct node *policy, struct reporter *reporter)
{
    static const cyaml_schema_value_t value = {
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_policy, retries_fields)};

    check_value(policy, &value, reporter);
}

/* libyaml writes into a strbuf, which the caller wipes. */
static int on_yaml_bytes(void *out, unsigned char *bytes, size_t len)
{
    strbuf_add(out, bytes, len);
    return !strbuf_failed(out);
}

static bool emit_text(yaml_emitter_t *emitter, const char *text)
{
    yaml_event_t event;

    return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, -1, 1, 1,
                                        YAML_DOUBLE_QUOTED_SCALAR_STYLE) &&
           yaml_emitter_emit(emitter, &event);
}

static bool emit_map_start(yaml_emitter_t *emitter)
{
    yaml_event_t event;

    return yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_MAPPING_STYLE) &&
           yaml_emitter_emit(emitter, &event);
}

static bool emit_map_end(yaml_emitter_t *emitter)
{
    yaml_event_t event;

    return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit_value(yaml_emitter_t *emitter, const struct node *node,
                       const cyaml_schema_value_t *value);

static bool emit_map(yaml_emitter_t *emitter, const struct node *map,
                     const cyaml_schema_field_t *fields)
{
    if (!emit_map_start(emitter))
        return false;
    for (size_t i = 0; i < map->num_items; i++) {
        const struct node *node = map->items[i];
        const cyaml_schema_field_t *field = field_of(fields, node->key);

        if (node->skipped || field == NULL || field->value.type == CYAML_IGNORE)
            continue;
        if (!emit_text(emitter, node->key) || !emit_value(emitter, node, &field->value))
            return false;
    }
    return emit_map_end(emitter);
}

/* A skipped item leaves an empty one, so that the arrays of struct raw_config keep the indexes of
 * the tree. */
static bool emit_list(yaml_emitter_t *emitter, const struct node *list,
                      const cyaml_schema_value_t *entry)
{
    yaml_event_t event;

    if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_SEQUENCE_STYLE) ||
        !yaml_emitter_emit(emitter, &event))
        return false;
    for (size_t i = 0; i < list->num_items; i++) {
        if (!list->items[i]->skipped) {
            if (!emit_value(emitter, list->items[i], entry))
                return false;
        } else if (entry->type == CYAML_MAPPING) {
            if (!emit_map_start(emitter) || !emit_map_end(emitter))
                return false;
        } else if (!emit_text(emitter, "")) {
            return false;
        }
    }
    return yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit_value(yaml_emitter_t *emitter, const struct node *node,
                       const cyaml_schema_value_t *value)
{
    if (value->type == CYAML_MAPPING)
        return emit_map(emitter, node, value->mapping.fields);
    if (value->type == CYAML_SEQUENCE)
        return emit_list(emitter, node, value->sequence.entry);
    return emit_text(emitter, node->text);
}

static bool emit_document(yaml_emitter_t *emitter, const struct node *root)
{
    yaml_event_t event;

    return yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
           yaml_emitter_emit(emitter, &event) &&
           yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) &&
           yaml_emitter_emit(emitter, &event) && emit_map(emitter, root, config_fields) &&
           yaml_document_end_event_initialize(&event, 1) && yaml_emitter_emit(emitter, &event) &&
           yaml_stream_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static int write_out(const struct node *root, struct strbuf *out)
{
    yaml_emitter_t emitter;
    bool done;

    if (!yaml_emitter_initialize(&emitter))
        return ERR_NOMEM;
    yaml_emitter_set_output(&emitter, on_yaml_bytes, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    done = emit_document(&emitter, root);
    yaml_emitter_delete(&emitter);
    return done ? 0 : ERR_NOMEM;
}

/* libcyaml's allocator: what it lets go of was a key, perhaps. It lets a list grow by one item at a
 * time, so each block that grows gets room to do so: else ten thousand rows are copied and wiped
 * ten thousand times. */
static void *on_memory(void *ctx, void *old, size_t size)
{
    size_t old_size = old == NULL ? 0 : malloc_usable_size(old);
    void *fresh = NULL;

    (void)ctx;
    if (old != NULL && size > 0 && size <= old_size)
        return old;
    if (size > 0) {
        fresh = malloc(size > 2 * old_size ? size : 2 * old_size);
        if (fresh == NULL)
            return NULL;
        if (old != NULL)
            memcpy(fresh, old, old_size < size ? old_size : size);
    }
    if (old != NULL)
        secret_wipe(old, old_size);
    free(old);
    return fresh;
}

/* The return code alone is vague; the first line of the log says what was wrong. */
static void __attribute__((format(printf, 3, 0)))
on_log(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
    struct strbuf *log = ctx;

    (void)level;
    if (log->len == 0)
        strbuf_addv(log, fmt, args);
}

static cyaml_config_t loader(struct strbuf *log)
{
    return (cyaml_config_t){.log_fn = log == NULL ? NULL : on_log,
                            .log_ctx = log,
                            .mem_fn = on_memory,
                            .log_level = CYAML_LOG_ERROR,
                            .flags = CYAML_CFG_NO_ALIAS};
}

int schema_load(const struct node *root, struct reporter *reporter, struct raw_config **out)
{
    struct strbuf text = STRBUF_INIT, log = STRBUF_INIT;
    cyaml_config_t config = loader(&log);
    cyaml_data_t *data = NULL;
    cyaml_err_t err;
    int rc = write_out(root, &text);

    *out = NULL;
    if (rc == 0) {
        err = cyaml_load_data((const uint8_t *)strbuf_str(&text), text.len, &config, &config_schema,
                              &data, NULL);
        if (err == CYAML_ERR_OOM) {
            rc = ERR_NOMEM;
        } else if (err != CYAML_OK || data == NULL) {
            log.len -= log.len > 0 && log.data[log.len - 1] == '\n';
            report_add(reporter, CONFIG_ERROR, root->file, 0, NULL, "cannot be loaded: %s, %.*s",
                       cyaml_strerror(err), (int)log.len, strbuf_str(&log));
            rc = ERR_SYNTAX;
        }
        *out = data;
    }
    if (text.data != NULL)
        secret_wipe(text.data, text.cap);
    strbuf_deinit(&text);
    strbuf_deinit(&log);
    return rc;
}

void schema_free(struct raw_config *raw)
{
    cyaml_config_t config = loader(NULL);

    if (raw != NULL)
        (void)cyaml_free(&config, &config_schema, raw, 0);
}
