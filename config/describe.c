/* What `tranche check` prints about a configuration that loads. */
#include "config/config.h"

#include <inttypes.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/log_out.h"
#include "common/retention.h"
#include "upstream/provider.h"
#include "webhook/hook_event.h"
#include "webhook/hook_url.h"
#include "scalar.h"

static void add_label(struct strbuf *out, const char *label)
{
    strbuf_addf(out, "  %-30s ", label);
}

static void add_ms(struct strbuf *out, const char *label, int64_t ms)
{
    add_label(out, label);
    scalar_print_ms(ms, out);
    strbuf_addc(out, '\n');
}

static void add_bytes(struct strbuf *out, const char *label, uint64_t bytes)
{
    add_label(out, label);
    scalar_print_bytes((int64_t)bytes, out);
    strbuf_addc(out, '\n');
}

static void add_number(struct strbuf *out, const char *label, uint64_t number)
{
    add_label(out, label);
    strbuf_addf(out, "%" PRIu64 "\n", number);
}

/* UINT32_MAX: not given, the balancer has its own default. */
static void add_optional(struct strbuf *out, const char *label, uint32_t number, bool is_ms)
{
    if (number == UINT32_MAX)
        return;
    if (is_ms)
        add_ms(out, label, number);
    else
        add_number(out, label, number);
}

static void add_text(struct strbuf *out, const char *label, const char *text)
{
    add_label(out, label);
    strbuf_addf(out, "%s\n", text);
}

static void add_list(struct strbuf *out, const char *label, char **texts, size_t num)
{
    add_label(out, label);
    for (size_t i = 0; i < num; i++)
        strbuf_addf(out, "%s%s", i > 0 ? ", " : "", texts[i]);
    strbuf_addc(out, '\n');
}

static void describe_jwt(const struct config_jwt *jwt, struct strbuf *out)
{
    if (!jwt->enabled)
        return;
    add_text(out, "jwt.issuer", jwt->issuer);
    add_list(out, "jwt.audience", jwt->audiences, jwt->num_audiences);
    if (jwt->file != NULL)
        add_text(out, "jwt.jwks_file", jwt->file);
    else
        add_list(out, "jwt.jwks_url", jwt->urls, jwt->num_urls);
}

static void describe_server(const struct config *config, struct strbuf *out)
{
    static const char *const levels[] = {[LOG_LEVEL_ERROR] = "error",
                                         [LOG_LEVEL_WARN] = "warn",
                                         [LOG_LEVEL_INFO] = "info",
                                         [LOG_LEVEL_DEBUG] = "debug"};
    static const char *const priorities[] = {[LOG_PRIORITY_AUTO] = "auto",
                                             [LOG_PRIORITY_ALWAYS] = "true",
                                             [LOG_PRIORITY_NEVER] = "false"};
    static const char *const seccomp[] = {
        [CONFIG_SECCOMP_OFF] = "off", [CONFIG_SECCOMP_LOG] = "log", [CONFIG_SECCOMP_KILL] = "kill"};
    bool v6 = strchr(config->host, ':') != NULL;

    strbuf_adds(out, "settings in force\n");
    add_label(out, "listen");
    strbuf_addf(out, v6 ? "[%s]:%d\n" : "%s:%d\n", config->host, config->port);
    if (config->health_port != 0)
        add_number(out, "health_port", (uint64_t)config->health_port);
    add_number(out, "num_workers", (uint64_t)config->num_workers);
    add_text(out, "master_key",
             secret_is_set(&config->master_key) ? SECRET_MASK : "none: no authentication");
    if (config->weak_master_key)
        add_text(out, "serves", config->permit_weak_master_key ? "everybody" : "this machine only");
    add_label(out, "seal_keys");
    if (config->num_seal_keys > 0)
        strbuf_addf(out, "%zu\n", config->num_seal_keys);
    else
        strbuf_addf(out, "%s\n",
                    secret_is_set(&config->master_key)
                        ? "from the master key (a new master key needs the old one here, or ids "
                          "end)"
                        : "none: ids end with the process");
    describe_jwt(&config->jwt, out);
    add_text(out, "tls.cert_file", config->tls_cert_file == NULL ? "none" : config->tls_cert_file);
    if (config->tls_key_file != NULL)
        add_text(out, "tls.key_file", config->tls_key_file);
    add_text(out, "spool_dir", config->spool_dir);
    add_text(out, "state_dir", config->state_dir);
    add_text(out, "upstream_ca_file",
             config->upstream_ca_file == NULL ? "the system's" : config->upstream_ca_file);
    add_text(out, "allow_insecure_upstream", config->allow_insecure_upstream ? "true" : "false");
    add_text(out, "core_dumps", config->core_dumps ? "true" : "false");
    add_text(out, "log_level", levels[config->log_level]);
    add_text(out, "log_priority", priorities[config->log_priority]);
    add_text(out, "access_log",
             config->access_log == NULL ? "standard output" : config->access_log);
    add_text(out, "error_log", config->error_log == NULL ? "standard error" : config->error_log);
    add_text(out, "seccomp", seccomp[config->seccomp]);
    add_text(out, "user",
             config->user == NULL ? "tranche, if it exists and root starts it" : config->user);
}

/* "retry_policy.rate_limit": those that are given. */
static void add_policy(struct strbuf *out, const char *label, const uint32_t *numbers)
{
    static const char *const names[CONFIG_FAILURE_CLASSES] = {
        [CONFIG_BAD_REQUEST] = "BadRequest",
        [CONFIG_AUTHENTICATION] = "Authentication",
        [CONFIG_TIMEOUT] = "Timeout",
        [CONFIG_RATE_LIMIT] = "RateLimit",
        [CONFIG_CONTENT_POLICY] = "ContentPolicyViolation",
        [CONFIG_INTERNAL_SERVER] = "InternalServer"};
    const char *separator = "";

    for (int i = 0; i < CONFIG_FAILURE_CLASSES; i++) {
        if (numbers[i] == UINT32_MAX)
            continue;
        if (*separator == '\0')
            add_label(out, label);
        strbuf_addf(out, "%s%s %" PRIu32, separator, names[i], numbers[i]);
        separator = ", ";
    }
    if (*separator != '\0')
        strbuf_addc(out, '\n');
}

static void describe_group_retries(const struct config *config, struct strbuf *out)
{
    struct strbuf label = STRBUF_INIT;

    for (size_t i = 0; i < config->num_group_retries; i++) {
        strbuf_reset(&label);
        strbuf_addf(&label, "retry_policy of %s", config->group_retries[i].group);
        add_policy(out, strbuf_str(&label), config->group_retries[i].retries_of);
    }
    strbuf_deinit(&label);
}

static void describe_fallbacks(const struct config *config, struct strbuf *out)
{
    for (size_t i = 0; i < config->num_fallbacks; i++) {
        const struct config_fallback *fallback = &config->fallbacks[i];

        add_label(out, "fallbacks");
        strbuf_addf(out, "%s ->", fallback->group);
        for (size_t k = 0; k < fallback->num_to; k++)
            strbuf_addf(out, "%s %s", k == 0 ? "" : ",", fallback->to[k]);
        strbuf_addc(out, '\n');
    }
    if (config->num_fallbacks > 0)
        add_number(out, "max_fallbacks", config->max_fallbacks);
}

static void describe_routing(const struct config *config, struct strbuf *out)
{
    add_text(out, "load balancing of batches", config->balance_batches ? "on" : "off");
    add_text(out, "routing_strategy",
             config->routing_strategy != NULL
                 ? config->routing_strategy
                 : "quota-aware for groups of mode batch without weights, else simple-shuffle");
    add_optional(out, "num_retries", config->num_retries, false);
    add_optional(out, "allowed_fails", config->allowed_fails, false);
    add_policy(out, "allowed_fails_policy", config->allowed_fails_of);
    add_optional(out, "cooldown_time", config->cooldown_ms, true);
    if (config->disable_cooldowns)
        add_text(out, "disable_cooldowns", "true: no deployment is ever in cooldown");
    add_policy(out, "retry_policy", config->retries_of);
    describe_group_retries(config, out);
    add_ms(out, "retry_after", config->retry_after_ms);
    describe_fallbacks(config, out);
}

static void add_extensions(const struct config *config, struct strbuf *out)
{
    struct strbuf list = STRBUF_INIT;

    for (size_t i = 0; i < config->num_blocked_extensions; i++)
        strbuf_addf(&list, "%s%s", i > 0 ? ", " : "", config->blocked_extensions[i]);
    if (list.len > 0)
        add_text(out, "blocked_file_extensions", strbuf_str(&list));
    strbuf_deinit(&list);
}

/* LiteLLM's of all files: nothing where they say nothing. */
static void add_enforced(const struct config *config, struct strbuf *out)
{
    if (config->limits.max_batch_file_bytes != 0)
        add_number(out, "max_batch_file_size_mb", config->limits.max_batch_file_bytes >> 20);
    if (config->limits.max_any_file_bytes != 0)
        add_number(out, "max_file_size_mb", config->limits.max_any_file_bytes >> 20);
    add_extensions(config, out);
    if (config->enforced_file_expiry_s != 0)
        add_ms(out, "enforced_file_expires_after", (int64_t)config->enforced_file_expiry_s * 1000);
    if (config->enforced_output_expiry_s != 0)
        add_ms(out, "enforced_batch_output_expires_after",
               (int64_t)config->enforced_output_expiry_s * 1000);
}

static void describe_balancer(const struct config *config, struct strbuf *out)
{
    add_text(out, "count_output_tokens.openai",
             config->count_output_tokens[PROVIDER_OPENAI] ? "true" : "false");
    add_text(out, "count_output_tokens.azure",
             config->count_output_tokens[PROVIDER_AZURE] ? "true" : "false");
    if (config->azure_min_expiry_ms == 0)
        add_text(out, "azure_min_expires_after", "what Azure says");
    else
        add_ms(out, "azure_min_expires_after", config->azure_min_expiry_ms);
    if (config->azure_file_expiry_s == 0)
        add_text(out, "azure_file_expires_after", "none");
    else
        add_ms(out, "azure_file_expires_after", (int64_t)config->azure_file_expiry_s * 1000);
    add_text(out, "refund_at", config->refund_at_cancelling ? "cancelling" : "terminal");
    add_enforced(config, out);
    add_text(out, "delete_moved_copies", config->delete_moved_copies ? "true" : "false");
    add_text(out, "move_failed",
             !config->journal      ? "no journal, no moves"
             : config->move_failed ? "true"
                                   : "false");
    add_text(out, "enable_azure_ad_token_refresh", config->azure_token_refresh ? "true" : "false");
    add_text(out, "require_auth_for_metrics_endpoint", config->metrics_need_key ? "true" : "false");
    add_text(out, "ui", config->ui ? "at /ui" : "off");
    if (config->poll_cache_ms == 0)
        add_text(out, "poll_cache_ms", "none");
    else
        add_ms(out, "poll_cache_ms", config->poll_cache_ms);
    add_number(out, "max_known_files", config->max_known_files);
    add_ms(out, "health_check_interval", config->health_check_interval_ms);
}

/* 0: no limit. */
static void add_bound(struct strbuf *out, const char *label, uint64_t number)
{
    if (number == 0)
        add_text(out, label, "no limit");
    else
        add_number(out, label, number);
}

static void describe_limits(const struct config_limits *limits, struct strbuf *out)
{
    add_bytes(out, "limits.max_file_bytes.openai", limits->max_file_bytes[PROVIDER_OPENAI]);
    add_bytes(out, "limits.max_file_bytes.azure", limits->max_file_bytes[PROVIDER_AZURE]);
    add_bytes(out, "limits.max_other_file_bytes", limits->max_other_file_bytes);
    add_number(out, "limits.max_lines.openai", limits->max_lines[PROVIDER_OPENAI]);
    add_number(out, "limits.max_lines.azure", limits->max_lines[PROVIDER_AZURE]);
    add_bytes(out, "limits.max_line_bytes", limits->max_line_bytes);
    add_number(out, "limits.max_depth", limits->max_depth);
    add_bound(out, "limits.max_embedding_inputs.openai",
              limits->max_embedding_inputs[PROVIDER_OPENAI]);
    add_bound(out, "limits.max_embedding_inputs.azure",
              limits->max_embedding_inputs[PROVIDER_AZURE]);
    add_bytes(out, "limits.max_json_bytes", limits->max_json_bytes);
    add_bytes(out, "limits.json_memory_bytes", limits->json_memory_bytes);
    add_bytes(out, "limits.upload_memory_bytes", limits->upload_memory_bytes);
    add_bytes(out, "limits.spool_bytes", limits->spool_bytes);
    add_number(out, "limits.max_connections", limits->max_connections);
    if (limits->max_connections_per_address == CONFIG_QUARTER)
        add_text(out, "limits.max_connections_per_address",
                 "a quarter of max_connections, loopback excepted");
    else
        add_number(out, "limits.max_connections_per_address", limits->max_connections_per_address);
    add_number(out, "proxies", limits->num_proxies);
    add_bytes(out, "limits.min_body_rate", limits->min_body_rate);
    add_ms(out, "limits.body_grace_ms", limits->body_grace_ms);
    add_bytes(out, "limits.min_read_rate", limits->min_read_rate);
    add_ms(out, "limits.read_grace_ms", limits->read_grace_ms);
    add_bound(out, "limits.max_upstream_calls", limits->max_upstream_calls);
    add_bound(out, "limits.max_calls_per_connection", limits->max_calls_per_connection);
    add_number(out, "limits.max_open_uploads", limits->max_open_uploads);
    add_bound(out, "limits.max_downloads", limits->max_downloads);
    add_bound(out, "limits.max_downloads_per_connection", limits->max_downloads_per_connection);
    add_bound(out, "limits.max_files.openai", limits->max_files[PROVIDER_OPENAI]);
    add_bound(out, "limits.max_files.azure", limits->max_files[PROVIDER_AZURE]);
    add_bound(out, "limits.max_expiring_files.openai", limits->max_expiring_files[PROVIDER_OPENAI]);
    add_bound(out, "limits.max_expiring_files.azure", limits->max_expiring_files[PROVIDER_AZURE]);
}

static void describe_timeouts(const struct config_timeouts *timeouts, struct strbuf *out)
{
    add_ms(out, "timeouts.connect_ms", timeouts->connect_ms);
    add_ms(out, "timeouts.first_byte_ms", timeouts->first_byte_ms);
    add_ms(out, "timeouts.json_total_ms", timeouts->json_total_ms);
    add_ms(out, "timeouts.low_speed_ms", timeouts->low_speed_ms);
    add_ms(out, "timeouts.paused_ms", timeouts->paused_ms);
    add_ms(out, "timeouts.list_ms", timeouts->list_ms);
    add_ms(out, "timeouts.shutdown_grace_ms", timeouts->shutdown_grace_ms);
    add_ms(out, "timeouts.watch_ms", timeouts->watch_ms);
    add_ms(out, "timeouts.long_poll_ms", timeouts->long_poll_ms);
    add_ms(out, "timeouts.count_files_ms", timeouts->count_files_ms);
    add_ms(out, "timeouts.database_ms", timeouts->database_ms);
}

static void add_count(struct strbuf *out, size_t num, const char *what)
{
    strbuf_addf(out, "%zu %s%s", num, what, num == 1 ? "" : "s");
}

/* Of one source: how many, and which of them may not call, or may all. */
static void add_keys(struct strbuf *out, const struct rights_list *list, int64_t now_unix_ms)
{
    size_t admin = 0, blocked = 0, expired = 0;

    for (size_t i = 0; i < list->num_keys; i++) {
        const struct rights_key *key = &list->keys[i];

        admin += key->admin;
        blocked += key->blocked;
        expired += key->expires_unix_ms != 0 && key->expires_unix_ms <= now_unix_ms;
    }
    add_count(out, list->num_keys, "key");
    strbuf_adds(out, " in ");
    add_count(out, list->num_teams, "team");
    if (admin > 0)
        strbuf_addf(out, ", %zu admin", admin);
    if (blocked > 0)
        strbuf_addf(out, ", %zu blocked", blocked);
    if (expired > 0)
        strbuf_addf(out, ", %zu expired", expired);
    strbuf_addc(out, '\n');
}

/* By a name that may be seen. */
static void add_admins(struct strbuf *out, const struct rights_list *list)
{
    for (size_t i = 0; i < list->num_keys; i++) {
        const struct rights_key *key = &list->keys[i];

        if (!key->admin)
            continue;
        add_label(out, "admin key");
        if (key->alias != NULL)
            strbuf_adds(out, key->alias);
        else if (key->tail[0] != '\0')
            strbuf_addf(out, "sk-...%s", key->tail);
        else
            strbuf_adds(out, "without key_alias");
        strbuf_addf(out, " (%s, line %u)\n",
                    key->source == RIGHTS_OF_FILE ? "keys_file" : "tranche_settings.keys",
                    key->line);
    }
}

/* Of a URL no more than where it leads: its path may be a secret. */
static void describe_webhooks(const struct config *config, struct strbuf *out)
{
    for (size_t i = 0; i < config->num_webhooks; i++) {
        const struct config_webhook *w = &config->webhooks[i];

        if (w->url == NULL)
            continue;
        add_label(out, "webhook");
        strbuf_addf(out, "%.*s/... of %s for ", hook_url_shown(w->url), w->url,
                    w->all ? "all batches" : w->owner_name);
        hook_types_write(w->types, out);
        strbuf_addc(out, '\n');
    }
    if (!config->journal)
        return;
    add_text(out, "webhook_allow_http", config->webhook_allow_http ? "true" : "false");
    add_number(out, "webhook_allow_addresses", config->num_webhook_ranges);
    if (config->webhook_ca_file != NULL)
        add_text(out, "webhook_ca_file", config->webhook_ca_file);
}

static void describe_tenants(const struct config *config, struct strbuf *out)
{
    int64_t now_unix_ms = clock_unix_ms();

    if (!config->has_tenants)
        return;
    if (config->keys.num_keys > 0 || config->keys.num_teams > 0) {
        add_label(out, "keys");
        add_keys(out, &config->keys, now_unix_ms);
    }
    if (config->keys_file != NULL) {
        add_text(out, "keys_file", config->keys_file);
        add_label(out, "keys of keys_file");
        add_keys(out, &config->file_keys, now_unix_ms);
    }
    if (secret_is_set(&config->database))
        add_text(out, "database", SECRET_MASK);
    if (secret_is_set(&config->litellm_database))
        add_text(out, "litellm_database", SECRET_MASK);
    if (secret_is_set(&config->database) || secret_is_set(&config->litellm_database)) {
        add_text(out, "keys_when_down", config->refuse_stale_keys ? "refuse" : "serve");
        add_ms(out, "key_max_stale", config->key_max_stale_ms);
    }
    if (secret_is_set(&config->database))
        add_text(out, "journal", config->journal ? "true" : "false");
    if (config->journal) {
        if (config->delete_after_s == RETENTION_UNSET || config->delete_after_s == RETENTION_NONE)
            add_text(out, "delete_after", "none");
        else
            add_ms(out, "delete_after", (int64_t)config->delete_after_s * 1000);
        add_ms(out, "outage_window", config->outage_window_ms);
        add_text(out, "leases", config->count_leases ? "counted" : "shares");
        add_text(out, "limits_when_down", config->limits_open_when_down ? "open" : "refuse");
        add_text(out, "idempotency_when_down", config->idempotency_strict ? "strict" : "local");
    }
    if (config->journal && config->price_map != NULL)
        add_text(out, "price_map", config->price_map);
    describe_webhooks(config, out);
    for (size_t i = 0; config->journal && i < config->num_usage_tags; i++)
        add_text(out, "usage_tags", config->usage_tags[i]);
    if (config->journal) {
        add_number(out, "metrics_max_series", config->metrics_max_series);
        add_number(out, "budget_exceeded_status", (uint64_t)config->budget_exceeded_status);
    }
    add_admins(out, &config->keys);
    add_admins(out, &config->file_keys);
    add_number(out, "max_keys", config->max_keys);
}

/* What its tokens are asked for with. */
static void describe_credential(const struct model_list *models,
                                const struct model_account *account, struct strbuf *out)
{
    const struct entra_credential *c;

    if (account->auth != ACCOUNT_AUTH_ENTRA)
        return;
    c = &models->credentials[account->entra];
    strbuf_addf(out, "    tokens of Entra ID: %s, because of %s\n", c->name, c->why);
    strbuf_addf(out, "      from %s for %s", c->kind == ENTRA_MANAGED ? c->endpoint : c->authority,
                c->scope);
    if (c->path != NULL)
        strbuf_addf(out, ", with %s", c->path);
    strbuf_addc(out, '\n');
}

/* Nano-dollars for a million tokens as dollars, without zeros at the end. */
static void add_dollars(struct strbuf *out, const char *before, int64_t nano, const char *what)
{
    char text[PRICE_DOLLARS_BYTES];
    size_t len = strlen(price_dollars(nano, text));

    while (len > 0 && text[len - 1] == '0')
        len--;
    len -= len > 0 && text[len - 1] == '.';
    strbuf_addf(out, "%s$%.*s %s", before, (int)len, text, what);
}

/* What a million tokens cost there, when the answers name no other model. */
static void describe_price(const struct config *config, const struct model_deployment *d,
                           struct strbuf *out)
{
    const struct price_rate *rate;
    struct price_found found;

    if (!config->journal || d->group == NULL)
        return;
    if (!price_book_find(&config->prices, d->fingerprint, "", &found)) {
        strbuf_adds(out,
                    "    no price: what its batches cost is known only where price_map has the "
                    "model that answers\n");
        return;
    }
    rate = &found.price.base;
    add_dollars(out, "    in batches a million tokens: ", rate->in, "input");
    add_dollars(out, ", ", rate->cached, "cached");
    if (rate->out != PRICE_NONE)
        add_dollars(out, ", ", rate->out, "output");
    strbuf_addf(out, " (%s)\n", found.from);
}

static void describe_deployment(const struct config *config, const struct model_deployment *d,
                                struct strbuf *out)
{
    const struct model_account *account = &config->models.accounts[d->account];

    strbuf_addf(out, "  %s\n", d->group == NULL ? "(calls that name no model)" : d->group);
    strbuf_addf(out, "    id %s, %s, account %s", d->id, provider_name(account->provider),
                account->name);
    if (*d->upstream_model != '\0')
        strbuf_addf(out, ", upstream name %s", d->upstream_model);
    if (d->mode != NULL)
        strbuf_addf(out, ", mode %s", d->mode);
    if (d->weight > 0)
        strbuf_addf(out, ", weight %g", d->weight);
    if (d->rpm > 0)
        strbuf_addf(out, ", rpm %" PRId64, d->rpm);
    if (d->tpm > 0)
        strbuf_addf(out, ", tpm %" PRId64, d->tpm);
    if (d->order > 0)
        strbuf_addf(out, ", order %" PRId32, d->order);
    if (d->timeout_ms > 0) {
        strbuf_adds(out, ", timeout ");
        scalar_print_ms(d->timeout_ms, out);
    }
    if (d->max_retries != UINT32_MAX)
        strbuf_addf(out, ", max_retries %" PRIu32, d->max_retries);
    if (d->cooldown_ms != UINT32_MAX) {
        strbuf_adds(out, ", cooldown_time ");
        scalar_print_ms(d->cooldown_ms, out);
    }
    if (d->enqueued_token_limit > 0) {
        strbuf_adds(out, ", at most ");
        scalar_print_tokens((int64_t)d->enqueued_token_limit, out);
        strbuf_adds(out, " tokens enqueued");
    }
    strbuf_adds(out, "\n    ");
    provider_url_pattern(account, out);
    strbuf_addc(out, '\n');
    describe_credential(&config->models, account, out);
    describe_price(config, d, out);
}

void config_count(const struct model_list *models, struct strbuf *out)
{
    if (models->num_rows > 0) {
        add_count(out, models->num_rows, "deployment");
        strbuf_adds(out, " in ");
    }
    add_count(out, models->num_accounts, "account");
}

void config_describe(const struct config *config, struct strbuf *out)
{
    describe_server(config, out);
    describe_routing(config, out);
    describe_balancer(config, out);
    describe_limits(&config->limits, out);
    describe_timeouts(&config->timeouts, out);
    describe_tenants(config, out);
    config_count(&config->models, out);
    strbuf_addc(out, '\n');
    for (size_t i = 0; i < config->models.num_deployments; i++)
        describe_deployment(config, &config->models.deployments[i], out);
}
