/* See settings.h. */
#include "settings.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/environment.h"
#include "common/log.h"
#include "enforced.h"
#include "headers.h"
#include "logging.h"
#include "neighbours.h"

#define DAY_MS        86400000
#define HOUR_MS       3600000
#define MAX_FALLBACKS 100
#define MIB           ((int64_t)1 << 20)
#define TIB           ((int64_t)1 << 40)
#define DEFAULT_HOST  "0.0.0.0"
#define DEFAULT_PORT  4000

/* The type of the field in struct config. */
enum target { TARGET_INT, TARGET_UINT32, TARGET_UINT64, TARGET_BOOL };

struct setting {
    const char *path; /* in the file */
    size_t from;      /* of the text in struct raw_config */
    size_t to;        /* of the field in struct config */
    enum target target;
    struct scalar_rule rule; /* bounds in the unit of the field */
    const char *idle;        /* why it changes nothing; NULL: it does */
};

#define FROM(member) offsetof(struct raw_config, member)
#define TO(member)   offsetof(struct config, member)
#define LIMIT(name, type, min, max)                                                                \
    {                                                                                              \
        "tranche_settings.limits." #name, FROM(tranche.limits.name), TO(limits.name), type,        \
        {                                                                                          \
            SCALAR_BYTES, min, max                                                                 \
        }                                                                                          \
    }
#define COUNT_LIMIT(name, type, min, max)                                                          \
    {                                                                                              \
        "tranche_settings.limits." #name, FROM(tranche.limits.name), TO(limits.name), type,        \
        {                                                                                          \
            SCALAR_INT, min, max                                                                   \
        }                                                                                          \
    }
#define PROVIDER_LIMIT(name, kind, min, max)                                                       \
    {"tranche_settings.limits." #name ".openai",                                                   \
     FROM(tranche.limits.name.openai),                                                             \
     TO(limits.name[PROVIDER_OPENAI]),                                                             \
     TARGET_UINT64,                                                                                \
     {kind, min, max},                                                                             \
     NULL},                                                                                        \
    {                                                                                              \
        "tranche_settings.limits." #name ".azure", FROM(tranche.limits.name.azure),                \
            TO(limits.name[PROVIDER_AZURE]), TARGET_UINT64,                                        \
        {                                                                                          \
            kind, min, max                                                                         \
        }                                                                                          \
    }
#define TIMEOUT(name, min, max)                                                                    \
    {                                                                                              \
        "tranche_settings.timeouts." #name, FROM(tranche.timeouts.name), TO(timeouts.name),        \
            TARGET_UINT32,                                                                         \
        {                                                                                          \
            SCALAR_MILLISECONDS, min, max                                                          \
        }                                                                                          \
    }

/* A number for each class of failures: `section` is LiteLLM's, `policy` its setting there. */
#define POLICY(section, policy, key, member, to, class, why_idle)                                  \
    {                                                                                              \
#section "_settings." #policy "." key, FROM(section.policy.member), TO(to[class]),         \
            TARGET_UINT32, {SCALAR_INT, 0, 1000000 }, why_idle                                     \
    }
#define POLICIES(section, policy, suffix, to)                                                      \
    POLICY(section, policy, "BadRequestError" suffix, bad_request, to, CONFIG_BAD_REQUEST, IDLE),  \
        POLICY(section, policy, "AuthenticationError" suffix, authentication, to,                  \
               CONFIG_AUTHENTICATION, NULL),                                                       \
        POLICY(section, policy, "TimeoutError" suffix, timeout, to, CONFIG_TIMEOUT, NULL),         \
        POLICY(section, policy, "RateLimitError" suffix, rate_limit, to, CONFIG_RATE_LIMIT, NULL), \
        POLICY(section, policy, "ContentPolicyViolationError" suffix, content_policy, to,          \
               CONFIG_CONTENT_POLICY, IDLE),                                                       \
        POLICY(section, policy, "InternalServerError" suffix, internal_server, to,                 \
               CONFIG_INTERNAL_SERVER, NULL)
#define IDLE SETTINGS_IDLE_FAILURE

/* Of two rows with one target the later one wins, as LiteLLM's router_settings do. */
static const struct setting settings[] = {
    {"litellm_settings.enable_loadbalancing_on_batch_endpoints",
     FROM(litellm.enable_loadbalancing_on_batch_endpoints),
     TO(balance_batches),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"litellm_settings.enable_azure_ad_token_refresh",
     FROM(litellm.enable_azure_ad_token_refresh),
     TO(azure_token_refresh),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"litellm_settings.require_auth_for_metrics_endpoint",
     FROM(litellm.require_auth_for_metrics_endpoint),
     TO(metrics_need_key),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"litellm_settings.num_retries",
     FROM(litellm.num_retries),
     TO(num_retries),
     TARGET_UINT32,
     {SCALAR_INT, 0, 1000}},
    {"router_settings.num_retries",
     FROM(router.num_retries),
     TO(num_retries),
     TARGET_UINT32,
     {SCALAR_INT, 0, 1000}},
    {"litellm_settings.allowed_fails",
     FROM(litellm.allowed_fails),
     TO(allowed_fails),
     TARGET_UINT32,
     {SCALAR_INT, 0, 1000000}},
    {"router_settings.allowed_fails",
     FROM(router.allowed_fails),
     TO(allowed_fails),
     TARGET_UINT32,
     {SCALAR_INT, 0, 1000000}},
    {"litellm_settings.cooldown_time",
     FROM(litellm.cooldown_time),
     TO(cooldown_ms),
     TARGET_UINT32,
     {SCALAR_SECONDS, 0, DAY_MS}},
    {"router_settings.cooldown_time",
     FROM(router.cooldown_time),
     TO(cooldown_ms),
     TARGET_UINT32,
     {SCALAR_SECONDS, 0, DAY_MS}},
    {"router_settings.disable_cooldowns",
     FROM(router.disable_cooldowns),
     TO(disable_cooldowns),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"litellm_settings.retry_after",
     FROM(litellm.retry_after),
     TO(retry_after_ms),
     TARGET_UINT32,
     {SCALAR_SECONDS, 0, HOUR_MS}},
    {"router_settings.retry_after",
     FROM(router.retry_after),
     TO(retry_after_ms),
     TARGET_UINT32,
     {SCALAR_SECONDS, 0, HOUR_MS}},
    {"litellm_settings.max_fallbacks",
     FROM(litellm.max_fallbacks),
     TO(max_fallbacks),
     TARGET_UINT32,
     {SCALAR_INT, 0, MAX_FALLBACKS}},
    {"router_settings.max_fallbacks",
     FROM(router.max_fallbacks),
     TO(max_fallbacks),
     TARGET_UINT32,
     {SCALAR_INT, 0, MAX_FALLBACKS}},
    POLICIES(litellm, allowed_fails_policy, "AllowedFails", allowed_fails_of),
    POLICIES(router, allowed_fails_policy, "AllowedFails", allowed_fails_of),
    POLICIES(router, retry_policy, "Retries", retries_of),
    {"general_settings.health_check_interval",
     FROM(general.health_check_interval),
     TO(health_check_interval_ms),
     TARGET_UINT32,
     {SCALAR_SECONDS, 1000, DAY_MS}},
    {"tranche_settings.port", FROM(tranche.port), TO(port), TARGET_INT, {SCALAR_INT, 0, 65535}},
    {"tranche_settings.health_port",
     FROM(tranche.health_port),
     TO(health_port),
     TARGET_INT,
     {SCALAR_INT, 0, 65535}},
    {"tranche_settings.num_workers",
     FROM(tranche.num_workers),
     TO(num_workers),
     TARGET_INT,
     {SCALAR_INT, 1, MAX_WORKERS}},
    {"tranche_settings.allow_insecure_upstream",
     FROM(tranche.allow_insecure_upstream),
     TO(allow_insecure_upstream),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"tranche_settings.permit_weak_or_unset_master_key",
     FROM(tranche.permit_weak_or_unset_master_key),
     TO(permit_weak_master_key),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"tranche_settings.core_dumps",
     FROM(tranche.core_dumps),
     TO(core_dumps),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"tranche_settings.count_output_tokens.openai",
     FROM(tranche.count_output_tokens.openai),
     TO(count_output_tokens[PROVIDER_OPENAI]),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"tranche_settings.count_output_tokens.azure",
     FROM(tranche.count_output_tokens.azure),
     TO(count_output_tokens[PROVIDER_AZURE]),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"tranche_settings.delete_moved_copies",
     FROM(tranche.delete_moved_copies),
     TO(delete_moved_copies),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"tranche_settings.move_failed",
     FROM(tranche.move_failed),
     TO(move_failed),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"tranche_settings.azure_min_expires_after",
     FROM(tranche.azure_min_expires_after),
     TO(azure_min_expiry_ms),
     TARGET_UINT32,
     {SCALAR_SECONDS, 0, 30 * (int64_t)DAY_MS}},
    {"tranche_settings.poll_cache_ms",
     FROM(tranche.poll_cache_ms),
     TO(poll_cache_ms),
     TARGET_UINT32,
     {SCALAR_MILLISECONDS, 0, 60 * 60 * 1000}},
    {"tranche_settings.key_max_stale",
     FROM(tranche.key_max_stale),
     TO(key_max_stale_ms),
     TARGET_UINT32,
     {SCALAR_SECONDS, 5000, DAY_MS}},
    {"tranche_settings.outage_window",
     FROM(tranche.outage_window),
     TO(outage_window_ms),
     TARGET_UINT32,
     {SCALAR_SECONDS, 60000, DAY_MS}},
    {"tranche_settings.journal",
     FROM(tranche.journal),
     TO(journal),
     TARGET_BOOL,
     {SCALAR_BOOL, 0, 0}},
    {"tranche_settings.ui", FROM(tranche.ui), TO(ui), TARGET_BOOL, {SCALAR_BOOL, 0, 0}},
    {"tranche_settings.metrics_max_series",
     FROM(tranche.metrics_max_series),
     TO(metrics_max_series),
     TARGET_UINT32,
     {SCALAR_INT, 1, 1000000}},
    {"tranche_settings.max_keys",
     FROM(tranche.max_keys),
     TO(max_keys),
     TARGET_UINT32,
     {SCALAR_INT, 1, 4000000}},
    {"tranche_settings.max_known_files",
     FROM(tranche.max_known_files),
     TO(max_known_files),
     TARGET_UINT32,
     {SCALAR_INT, 100, 4000000}},
    {"tranche_settings.spool_limit",
     FROM(tranche.spool_limit),
     TO(limits.spool_bytes),
     TARGET_UINT64,
     {SCALAR_BYTES, MIB, 1024 * TIB}},
    PROVIDER_LIMIT(max_file_bytes, SCALAR_BYTES, 1, TIB),
    PROVIDER_LIMIT(max_lines, SCALAR_INT, 1, 1000000000),
    LIMIT(max_other_file_bytes, TARGET_UINT64, 1, TIB),
    PROVIDER_LIMIT(max_embedding_inputs, SCALAR_INT, 0, 1000000000),
    COUNT_LIMIT(max_depth, TARGET_UINT64, 4, 100000),
    LIMIT(max_line_bytes, TARGET_UINT64, 1024, 1024 * MIB),
    LIMIT(max_json_bytes, TARGET_UINT64, 1024, 1024 * MIB),
    LIMIT(json_memory_bytes, TARGET_UINT64, MIB, TIB),
    LIMIT(upload_memory_bytes, TARGET_UINT64, MIB, TIB),
    LIMIT(spool_bytes, TARGET_UINT64, MIB, 1024 * TIB),
    COUNT_LIMIT(max_connections, TARGET_UINT32, 1, 1000000),
    COUNT_LIMIT(max_connections_per_address, TARGET_UINT32, 0, 1000000),
    LIMIT(min_body_rate, TARGET_UINT64, 0, 1024 * MIB),
    {"tranche_settings.limits.body_grace_ms",
     FROM(tranche.limits.body_grace_ms),
     TO(limits.body_grace_ms),
     TARGET_UINT32,
     {SCALAR_MILLISECONDS, 0, DAY_MS}},
    LIMIT(min_read_rate, TARGET_UINT64, 0, 1024 * MIB),
    {"tranche_settings.limits.read_grace_ms",
     FROM(tranche.limits.read_grace_ms),
     TO(limits.read_grace_ms),
     TARGET_UINT32,
     {SCALAR_MILLISECONDS, 1000, DAY_MS}},
    COUNT_LIMIT(max_upstream_calls, TARGET_UINT32, 0, 1000000),
    COUNT_LIMIT(max_calls_per_connection, TARGET_UINT32, 0, 1000000),
    COUNT_LIMIT(max_open_uploads, TARGET_UINT32, 1, 1000),
    COUNT_LIMIT(max_downloads, TARGET_UINT32, 0, 1000000),
    COUNT_LIMIT(max_downloads_per_connection, TARGET_UINT32, 0, 1000000),
    PROVIDER_LIMIT(max_files, SCALAR_INT, 0, 1000000000),
    PROVIDER_LIMIT(max_expiring_files, SCALAR_INT, 0, 1000000000),
    TIMEOUT(connect_ms, 1, DAY_MS),
    TIMEOUT(first_byte_ms, 1, DAY_MS),
    TIMEOUT(json_total_ms, 1, DAY_MS),
    TIMEOUT(low_speed_ms, 1, DAY_MS),
    TIMEOUT(paused_ms, 0, DAY_MS),
    TIMEOUT(list_ms, 1, DAY_MS),
    TIMEOUT(shutdown_grace_ms, 0, DAY_MS),
    TIMEOUT(watch_ms, 100, 60 * 60 * 1000),
    TIMEOUT(long_poll_ms, 100, 60 * 1000),
    TIMEOUT(count_files_ms, 100, DAY_MS),
    TIMEOUT(database_ms, 100, 15 * 1000),
};

#define NUM_SETTINGS (sizeof(settings) / sizeof(settings[0]))

/* Those of LiteLLM, and quota-aware. The two that need prices and budgets cannot be followed. */
static const char *const strategies[] = {"simple-shuffle",
                                         "least-busy",
                                         "usage-based-routing",
                                         "usage-based-routing-v2",
                                         "latency-based-routing",
                                         "quota-aware",
                                         NULL};
static const char *const other_strategies[] = {"cost-based-routing", "provider-budget-routing",
                                               NULL};

static int available_cpus(void)
{
    cpu_set_t set;
    long online;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        online = CPU_COUNT(&set);
    else
        online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : online > MAX_WORKERS ? MAX_WORKERS : (int)online;
}

static const struct config_limits default_limits = {
    .max_file_bytes = {200000000, 200000000},
    .max_other_file_bytes = 512000000,
    .max_lines = {[PROVIDER_OPENAI] = 50000, [PROVIDER_AZURE] = 100000},
    .max_line_bytes = (uint64_t)(64 * MIB),
    .max_depth = 1000,
    .max_embedding_inputs = {[PROVIDER_OPENAI] = 50000},
    .max_json_bytes = (uint64_t)128 * 1024,
    .json_memory_bytes = (uint64_t)(64 * MIB),
    .upload_memory_bytes = (uint64_t)(256 * MIB),
    .spool_bytes = (uint64_t)(10 * 1024 * MIB),
    .max_connections = 1000,
    .max_connections_per_address = CONFIG_QUARTER,
    .min_body_rate = 1024,
    .body_grace_ms = 20000,
    .min_read_rate = 1024,
    .read_grace_ms = 60000,
    .max_upstream_calls = 1000,
    .max_calls_per_connection = 100,
    .max_open_uploads = 100,
    .max_downloads = 100,
    .max_downloads_per_connection = 16,
    .max_files = {[PROVIDER_AZURE] = 500},
    .max_expiring_files = {[PROVIDER_AZURE] = 10000},
};

static const struct config_timeouts default_timeouts = {
    .connect_ms = 10000,
    .first_byte_ms = 300000,
    .json_total_ms = 60000,
    .low_speed_ms = 60000,
    .paused_ms = 10000,
    .list_ms = 3000,
    .shutdown_grace_ms = 30000,
    .watch_ms = 60000,
    .long_poll_ms = 2000,
    .count_files_ms = 600000,
    .database_ms = 2000,
};

int settings_defaults(struct config *config)
{
    const char *tmp = environment_get("TMPDIR");

    config->port = DEFAULT_PORT;
    config->num_workers = available_cpus();
    config->log_level = LOG_LEVEL_INFO;
    config->seccomp = CONFIG_SECCOMP_LOG;
    config->num_retries = config->allowed_fails = config->cooldown_ms = UINT32_MAX;
    for (int i = 0; i < CONFIG_FAILURE_CLASSES; i++)
        config->allowed_fails_of[i] = config->retries_of[i] = UINT32_MAX;
    config->max_fallbacks = 5;
    config->max_keys = 200000;
    config->key_max_stale_ms = config->health_check_interval_ms = 60000;
    config->poll_cache_ms = 100;
    config->outage_window_ms = 10 * 60 * 1000;
    config->limits = default_limits;
    config->timeouts = default_timeouts;
    config->metrics_need_key = config->move_failed = config->ui = true;
    config->metrics_max_series = 1000;
    config->budget_exceeded_status = 422;
    config->max_known_files = 100000;
    config->host = strdup(DEFAULT_HOST);
    config->spool_dir = strdup(tmp == NULL || *tmp == '\0' ? "/tmp" : tmp);
    if (config->host == NULL || config->spool_dir == NULL)
        return ERR_NOMEM;
    return 0;
}

bool settings_parse(const struct scalar_rule *rule, const char *text, const struct node *node,
                    struct reporter *reporter, union scalar_value *out)
{
    struct strbuf wanted = STRBUF_INIT;

    if (scalar_parse(rule, text, out) == 0)
        return true;
    scalar_wanted(rule, &wanted);
    report_wanted(reporter, node, strbuf_str(&wanted));
    strbuf_deinit(&wanted);
    return false;
}

static void store(const struct setting *s, const union scalar_value *value, struct config *config)
{
    char *field = (char *)config + s->to;

    switch (s->target) {
    case TARGET_INT:
        *(int *)(void *)field = (int)value->integer;
        break;
    case TARGET_UINT32:
        *(uint32_t *)(void *)field = (uint32_t)value->integer;
        break;
    case TARGET_UINT64:
        *(uint64_t *)(void *)field = (uint64_t)value->integer;
        break;
    case TARGET_BOOL:
        *(bool *)(void *)field = value->truth;
        break;
    }
}

void settings_honoured(const struct scalar_rule *rule, const union scalar_value *value,
                       const struct node *node, struct reporter *reporter)
{
    struct strbuf text = STRBUF_INIT;

    if (rule->kind == SCALAR_BOOL)
        strbuf_adds(&text, value->truth ? "true" : "false");
    else if (rule->kind == SCALAR_BYTES)
        scalar_print_bytes(value->integer, &text);
    else if (rule->kind == SCALAR_TOKENS)
        scalar_print_tokens(value->integer, &text);
    else if (rule->kind == SCALAR_SECONDS || rule->kind == SCALAR_MILLISECONDS)
        scalar_print_ms(value->integer, &text);
    else
        strbuf_addf(&text, "%lld", (long long)value->integer);
    report_at(reporter, CONFIG_HONOURED, node, "= %s", strbuf_str(&text));
    strbuf_deinit(&text);
}

static void apply_table(const struct settings_input *in, struct config *config)
{
    for (size_t i = 0; i < NUM_SETTINGS; i++) {
        const struct setting *s = &settings[i];
        const char *text = *(char *const *)(const void *)((const char *)in->raw + s->from);
        const struct node *node;
        union scalar_value value;

        if (text == NULL)
            continue;
        node = node_find(in->root, s->path);
        if (!settings_parse(&s->rule, text, node, in->reporter, &value))
            continue;
        store(s, &value, config);
        if (s->idle != NULL)
            report_at(in->reporter, CONFIG_WARNING, node, "%s", s->idle);
        else
            settings_honoured(&s->rule, &value, node, in->reporter);
    }
    if (in->raw->tranche.spool_limit != NULL && in->raw->tranche.limits.spool_bytes != NULL)
        report_at(in->reporter, CONFIG_ERROR,
                  node_find(in->root, "tranche_settings.limits.spool_bytes"),
                  "the same as tranche_settings.spool_limit; give one of them");
}

static int replace(char **field, const char *text)
{
    char *copy = strdup(text);

    if (copy == NULL)
        return ERR_NOMEM;
    free(*field);
    *field = copy;
    return 0;
}

/* A text that may not be empty. */
static int take_text(const struct settings_input *in, const char *path, const char *text,
                     char **field)
{
    struct strbuf shown = STRBUF_INIT;
    const struct node *node;

    if (text == NULL)
        return 0;
    node = node_find(in->root, path);
    if (*text == '\0') {
        report_wanted(in->reporter, node, "a text that is not empty");
        return 0;
    }
    node_show(node, &shown);
    report_at(in->reporter, CONFIG_HONOURED, node, "= %s", strbuf_str(&shown));
    strbuf_deinit(&shown);
    return replace(field, text);
}

/* A file or directory, relative to the file that names it. */
static int take_path(const struct settings_input *in, const char *path, const char *text,
                     char **field)
{
    char *full;
    int rc;

    if (text == NULL || *text == '\0')
        return take_text(in, path, text, field);
    full = node_beside(node_find(in->root, path), text);
    rc = full == NULL ? ERR_NOMEM : take_text(in, path, full, field);
    free(full);
    return rc;
}

/* What systemd makes for a unit with StateDirectory= is named first of a list with colons. */
static int default_state_dir(struct config *config)
{
    const char *given = getenv("STATE_DIRECTORY");

    config->state_dir_is_given = config->state_dir != NULL && config->state_dir[0] != '\0';
    if (config->state_dir_is_given)
        return 0;
    free(config->state_dir);
    config->state_dir = given != NULL && given[0] == '/' ? strndup(given, strcspn(given, ":"))
                                                         : strdup(config->spool_dir);
    return config->state_dir != NULL ? 0 : ERR_NOMEM;
}

static bool is_one_of(const char *const *names, const char *name)
{
    for (; *names != NULL; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

static int take_strategy(const struct settings_input *in, struct config *config)
{
    const char *path = "router_settings.routing_strategy", *text = in->raw->router.routing_strategy;
    const struct node *node = node_find(in->root, path);
    struct strbuf wanted = STRBUF_INIT;

    if (text == NULL || is_one_of(strategies, text))
        return take_text(in, path, text, &config->routing_strategy);
    if (is_one_of(other_strategies, text)) {
        report_at(in->reporter, CONFIG_WARNING, node,
                  "%s is not followed here; the default is used", text);
        return 0;
    }
    strbuf_adds(&wanted, "one of");
    for (const char *const *name = strategies; *name != NULL; name++)
        strbuf_addf(&wanted, "%s %s", name == strategies ? "" : ",", *name);
    report_wanted(in->reporter, node, strbuf_str(&wanted));
    strbuf_deinit(&wanted);
    return 0;
}

/* Of LiteLLM's latency-based-routing. Ours keeps a moving average instead of a list of samples. */
static void take_strategy_args(const struct settings_input *in, struct config *config)
{
    static const struct scalar_rule buffer = {SCALAR_FLOAT, 0, 1000};
    const struct raw_strategy_args *raw = &in->raw->router.routing_strategy_args;
    const struct node *args = node_find(in->root, "router_settings.routing_strategy_args");
    static const char not_followed[] =
        "not followed here: a latency is a moving average, as new as the last uploads and creates";
    union scalar_value value;

    if (raw->lowest_latency_buffer != NULL &&
        settings_parse(&buffer, raw->lowest_latency_buffer, node_get(args, "lowest_latency_buffer"),
                       in->reporter, &value))
        config->latency_buffer = value.number;
    if (raw->ttl != NULL)
        report_at(in->reporter, CONFIG_WARNING, node_get(args, "ttl"), not_followed);
    if (raw->max_latency_list_size != NULL)
        report_at(in->reporter, CONFIG_WARNING, node_get(args, "max_latency_list_size"),
                  not_followed);
}

static void take_refund_at(const struct settings_input *in, struct config *config)
{
    const struct node *node = node_find(in->root, "tranche_settings.refund_at");
    const char *text = in->raw->tranche.refund_at;
    bool cancelling = text != NULL && strcmp(text, "cancelling") == 0;

    if (text == NULL)
        return;
    if (!cancelling && strcmp(text, "terminal") != 0) {
        report_wanted(in->reporter, node, "terminal or cancelling");
        return;
    }
    config->refund_at_cancelling = cancelling;
    report_at(in->reporter, CONFIG_HONOURED, node, "= %s", text);
}

/* Whose /openai/v1 is, for clients that send a bearer token: OpenAI's path below LiteLLM, and
 * Azure's own v1 API. */
static void take_openai_path(const struct settings_input *in, struct config *config)
{
    const struct node *node = node_find(in->root, "tranche_settings.openai_path");
    const char *text = in->raw->tranche.openai_path;

    if (text == NULL)
        return;
    if (strcasecmp(text, "azure") != 0 && strcasecmp(text, "openai") != 0) {
        report_wanted(in->reporter, node, "openai or azure");
        return;
    }
    config->openai_path_given = true;
    config->openai_path_is_azure = strcasecmp(text, "azure") == 0;
    report_at(in->reporter, CONFIG_HONOURED, node, "= %s",
              config->openai_path_is_azure ? "azure" : "openai");
}

/* What LiteLLM answered in one release or another (tenants statement A27). */
static void take_budget_status(const struct settings_input *in, struct config *config)
{
    static const char *const statuses[] = {"400", "402", "422", "429"};
    const struct node *node = node_find(in->root, "tranche_settings.budget_exceeded_status");
    const char *text = in->raw->tranche.budget_exceeded_status;

    for (size_t i = 0; text != NULL && i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (strcmp(text, statuses[i]) == 0) {
            config->budget_exceeded_status =
                100 * (text[0] - '0') + 10 * (text[1] - '0') + (text[2] - '0');
            report_at(in->reporter, CONFIG_HONOURED, node, "= %s", text);
            return;
        }
    if (text != NULL)
        report_wanted(in->reporter, node, "400, 402, 422 or 429");
}

/* A setting of two words, the first of which is the default. */
static void take_choice(const struct settings_input *in, const char *path, const char *text,
                        const char *const words[2], bool *second)
{
    const struct node *node = node_find(in->root, path);
    char wanted[64];

    if (text == NULL)
        return;
    if (strcasecmp(text, words[0]) != 0 && strcasecmp(text, words[1]) != 0) {
        snprintf(wanted, sizeof(wanted), "%s or %s", words[0], words[1]);
        report_wanted(in->reporter, node, wanted);
        return;
    }
    *second = strcasecmp(text, words[1]) == 0;
    report_at(in->reporter, CONFIG_HONOURED, node, "= %s", words[*second]);
}

static void take_when_down(const struct settings_input *in, struct config *config)
{
    const struct raw_tranche *raw = &in->raw->tranche;

    take_choice(in, "tranche_settings.keys_when_down", raw->keys_when_down,
                (const char *const[]){"serve", "refuse"}, &config->refuse_stale_keys);
    take_choice(in, "tranche_settings.leases", raw->leases,
                (const char *const[]){"shares", "counted"}, &config->count_leases);
    take_choice(in, "tranche_settings.limits_when_down", raw->limits_when_down,
                (const char *const[]){"refuse", "open"}, &config->limits_open_when_down);
    take_choice(in, "tranche_settings.idempotency_when_down", raw->idempotency_when_down,
                (const char *const[]){"local", "strict"}, &config->idempotency_strict);
}

/* Seconds for a whole call; LiteLLM's two places for it, the router's first. */
static void take_default_timeout(const struct settings_input *in, uint32_t *timeout_ms)
{
    static const struct scalar_rule rule = {SCALAR_SECONDS, 1, 7 * (int64_t)DAY_MS};
    const struct {
        const char *path, *text;
    } places[] = {{"litellm_settings.request_timeout", in->raw->litellm.request_timeout},
                  {"router_settings.timeout", in->raw->router.timeout}};
    union scalar_value value;

    for (size_t i = 0; i < 2; i++) {
        const struct node *node = node_find(in->root, places[i].path);

        if (places[i].text == NULL ||
            !settings_parse(&rule, places[i].text, node, in->reporter, &value))
            continue;
        *timeout_ms = (uint32_t)value.integer;
        settings_honoured(&rule, &value, node, in->reporter);
    }
}

/* LiteLLM's way to say it; it starts with no key, or a weak one, only then. */
static void take_permission(const struct settings_input *in, struct config *config)
{
    static const struct scalar_rule rule = {SCALAR_BOOL, 0, 0};
    static const char name[] = "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY";
    const char *text = env_get(in->env, name);
    union scalar_value value;

    if (text == NULL ||
        (in->raw != NULL && in->raw->tranche.permit_weak_or_unset_master_key != NULL))
        return;
    if (scalar_parse(&rule, text, &value) == 0)
        config->permit_weak_master_key = value.truth;
    else
        report_add(in->reporter, CONFIG_WARNING, NULL, 0, name,
                   "not \"true\", so it permits nothing");
}

static int take_master_key(const struct settings_input *in, struct config *config)
{
    const char *key = in->raw == NULL ? NULL : in->raw->general.master_key;
    const struct node *node = node_find(in->root, "general_settings.master_key");
    int rc;

    if (key == NULL) {
        key = env_get(in->env, "LITELLM_MASTER_KEY");
        node = NULL;
    }
    config->weak_master_key = true; /* until there is one that is not */
    config->master_key_in_file = node != NULL;
    take_permission(in, config);
    if (key == NULL)
        return 0;
    if (*key == '\0' || !headers_is_visible(key)) {
        report_add(in->reporter, CONFIG_ERROR, node == NULL ? NULL : node->file,
                   node == NULL ? 0 : node->line,
                   node == NULL ? "LITELLM_MASTER_KEY" : "general_settings.master_key",
                   "got " SECRET_MASK ", wanted visible ASCII characters without spaces, as a "
                   "header can carry them");
        return 0;
    }
    if (node != NULL)
        report_at(in->reporter, CONFIG_HONOURED, node, "= " SECRET_MASK);
    rc = secret_set(&config->master_key, key, strlen(key));
    config->weak_master_key = rc != 0 || secret_is_weak(&config->master_key);
    return rc;
}

static int take_seal_keys(const struct settings_input *in, struct config *config)
{
    const struct node *list = node_find(in->root, "tranche_settings.seal_keys");
    uint32_t n = in->raw->tranche.seal_keys_count;

    if (n == 0)
        return 0;
    config->seal_keys = calloc(n, sizeof(*config->seal_keys));
    if (config->seal_keys == NULL)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        const char *key = in->raw->tranche.seal_keys[i];

        if (list->items[i]->skipped)
            continue;
        if (*key == '\0') {
            report_wanted(in->reporter, list->items[i], "a random text of 16 bytes or more");
            continue;
        }
        if (secret_set(&config->seal_keys[config->num_seal_keys], key, strlen(key)) != 0)
            return ERR_NOMEM;
        if (secret_is_weak(&config->seal_keys[config->num_seal_keys]))
            report_at(in->reporter, CONFIG_WARNING, list->items[i],
                      "weak (under 16 bytes, few different ones, or one that is well known): who "
                      "guesses it can forge ids");
        config->num_seal_keys++;
    }
    report_at(in->reporter, CONFIG_HONOURED, list, "= %zu keys", config->num_seal_keys);
    return 0;
}

static int apply_file(const struct settings_input *in, struct config *config,
                      uint32_t *default_timeout_ms)
{
    const struct raw_tranche *t = &in->raw->tranche;
    int rc;

    apply_table(in, config);
    take_refund_at(in, config);
    take_openai_path(in, config);
    take_when_down(in, config);
    take_budget_status(in, config);
    take_default_timeout(in, default_timeout_ms);
    take_strategy_args(in, config);
    rc = enforced_take(in, config);
    if (rc == 0)
        rc = logging_take(in, config);
    if (rc == 0)
        rc = take_strategy(in, config);
    if (rc == 0)
        rc = take_text(in, "tranche_settings.host", t->host, &config->host);
    if (rc == 0)
        rc = take_text(in, "tranche_settings.user", t->user, &config->user);
    if (rc == 0)
        rc = take_path(in, "tranche_settings.spool_dir", t->spool_dir, &config->spool_dir);
    if (rc == 0)
        rc = take_path(in, "tranche_settings.state_dir", t->state_dir, &config->state_dir);
    if (rc == 0)
        rc = take_path(in, "tranche_settings.keys_file", t->keys_file, &config->keys_file);
    if (rc == 0)
        rc = take_path(in, "tranche_settings.price_map", t->price_map, &config->price_map);
    if (rc == 0)
        rc = take_path(in, "tranche_settings.upstream_ca_file", t->upstream_ca_file,
                       &config->upstream_ca_file);
    if (rc == 0)
        rc = take_path(in, "tranche_settings.tls.cert_file", t->tls.cert_file,
                       &config->tls_cert_file);
    if (rc == 0)
        rc = take_path(in, "tranche_settings.tls.key_file", t->tls.key_file, &config->tls_key_file);
    if (rc == 0)
        rc = take_seal_keys(in, config);
    if (rc == 0)
        rc = neighbours_take_proxies(in, config);
    if (rc == 0)
        rc = neighbours_take_hosts(in, config);
    return rc;
}

static void env_number(const struct settings_input *in, const char *name, int64_t min, int64_t max,
                       int *field)
{
    const struct scalar_rule rule = {SCALAR_INT, min, max};
    const char *text = env_get(in->env, name);
    struct strbuf wanted = STRBUF_INIT, got = STRBUF_INIT;
    union scalar_value value;

    if (text == NULL)
        return;
    if (scalar_parse(&rule, text, &value) == 0) {
        *field = (int)value.integer;
        return;
    }
    node_show(&(struct node){.kind = NODE_SCALAR, .text = (char *)(uintptr_t)text}, &got);
    scalar_wanted(&rule, &wanted);
    report_add(in->reporter, CONFIG_ERROR, NULL, 0, name, "got %s, wanted %s", strbuf_str(&got),
               strbuf_str(&wanted));
    strbuf_deinit(&got);
    strbuf_deinit(&wanted);
}

static int apply_env(const struct settings_input *in, struct config *config)
{
    const char *host = env_get(in->env, "HOST");

    env_number(in, "PORT", 0, 65535, &config->port);
    env_number(in, "NUM_WORKERS", 1, MAX_WORKERS, &config->num_workers);
    return host == NULL ? 0 : replace(&config->host, host);
}

static void check_override(const struct settings_input *in, const char *name, int value, int min,
                           int max, int *field)
{
    if (value == -1)
        return;
    if (value < min || value > max) {
        report_add(in->reporter, CONFIG_ERROR, NULL, 0, name,
                   "got %d, wanted an integer from %d to %d", value, min, max);
        return;
    }
    *field = value;
}

static int apply_overrides(const struct settings_input *in, struct config *config)
{
    const struct config_overrides *o = in->overrides;

    if (o == NULL)
        return 0;
    check_override(in, "--port", o->port, 0, 65535, &config->port);
    check_override(in, "--num_workers", o->num_workers, 1, MAX_WORKERS, &config->num_workers);
    if (o->host != NULL && *o->host == '\0')
        report_add(in->reporter, CONFIG_ERROR, NULL, 0, "--host",
                   "got nothing, wanted a name or an address");
    else if (o->host != NULL)
        return replace(&config->host, o->host);
    return 0;
}

int settings_apply(const struct settings_input *in, struct config *config,
                   uint32_t *default_timeout_ms)
{
    int rc = apply_env(in, config);

    *default_timeout_ms = 0;
    if (rc == 0 && in->raw != NULL)
        rc = apply_file(in, config, default_timeout_ms);
    if (rc == 0)
        rc = default_state_dir(config);
    if (rc == 0)
        rc = take_master_key(in, config);
    if (rc == 0)
        rc = apply_overrides(in, config);
    return rc;
}
