/* Settings as operators write them, what they are told about them, and what is printed. */
#include "common/log.h"
#include "common/log_out.h"

#include "config_world.h"

static void wrong_values_say_file_line_field_got_and_wanted(void **state)
{
    struct loaded *l = *state;
    char start[128];

    load(l, "model_list:\n" AZURE_ROW(
                "d", ",\n    rpm: 600.5") "router_settings:\n"
                                          "  num_retries: 5abc\n"
                                          "litellm_settings:\n"
                                          "  enable_loadbalancing_on_batch_endpoints: nope\n");
    assert_int_equal(l->report.num_errors, 3);
    snprintf(start, sizeof(start), "%s/main.yaml:5: error: ", l->dir);
    assert_told(l, start);
    assert_told(l, "model_list[0].litellm_params.rpm: got \"600.5\", wanted an integer of 0 or "
                   "more\n");
    assert_told(l, "main.yaml:7: error: router_settings.num_retries: got \"5abc\"");
    assert_told(l, "main.yaml:9: error: "
                   "litellm_settings.enable_loadbalancing_on_batch_endpoints: got \"nope\", wanted "
                   "true or false");
}

static void notes_come_in_the_order_of_the_file(void **state)
{
    struct loaded *l = *state;
    unsigned line = 0;

    load(l, "tranche_settings: {port: x, hosst: y}\n"
            "model_list:\n" AZURE_ROW("d", ", rpm: x") "nonsense: 1\n"
                                                       "general_settings: {master_key: k}\n");
    assert_true(l->report.num_notes >= 5);
    for (size_t i = 0; i < l->report.num_notes; i++) {
        if (l->report.notes[i].file == NULL)
            continue;
        assert_true(l->report.notes[i].line >= line);
        line = l->report.notes[i].line;
    }
}

static void what_is_lost_with_a_setting_of_litellms_is_told(void **state)
{
    struct loaded *l = *state;

    load(l,
         "general_settings: {allowed_ips: [10.0.0.1], database_url: postgres, alerting: [slack]}\n"
         "router_settings: {enable_tag_filtering: true}\n"
         "litellm_settings: {ssl_verify: false}\n"
         "model_list:\n"
         "- {model_name: a, litellm_params: {model: azure/a, api_base: 'https://a.test', api_key: "
         "k,\n"
         "     client_secret: s-1234}}\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":1: warning: general_settings.allowed_ips: ignored: who may call is decided by "
                   "the master key and by keys of tranche_settings");
    assert_told(
        l, "general_settings.database_url: ignored: used only where tranche_settings.database");
    assert_told(l, "general_settings.alerting: ignored: of LiteLLM's settings this one has no "
                   "meaning for files and batches");
    assert_told(l, "router_settings.enable_tag_filtering: ignored: requests are not told apart");
    assert_told(l, "litellm_settings.ssl_verify: ignored: certificates are always verified");
    assert_told(l, "litellm_params.client_secret: ignored: the row has an api_key, which is used");
    assert_not_told(l, "s-1234");
}

static void misspelt_keys_get_a_guess(void **state)
{
    struct loaded *l = *state;

    load(l, "model_lits: []\n"
            "litellm_settings: {enable_loadbalancing_on_batch_endpoint: true}\n"
            "router_settings: {routing_stratgey: least-busy}\n"
            "general_settings: {drop_params: true, Master_key: x}\n"
            "tranche_settings: {limits: {max_line: {azure: 1}}, connect_ms: 5}\n"
            "zzz: 1\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":1: warning: model_lits: unknown key, did you mean \"model_list\"?");
    assert_told(l, "did you mean \"enable_loadbalancing_on_batch_endpoints\"?");
    assert_told(l, ":3: warning: router_settings.routing_stratgey: unknown key, did you mean "
                   "\"routing_strategy\"?");
    assert_told(l, "general_settings.Master_key: unknown key, did you mean \"master_key\"?");
    assert_told(l, "max_line: unknown key, did you mean \"max_lines\"?");
    assert_told(l, "tranche_settings.connect_ms: unknown key here, it belongs under \"timeouts\"");
    assert_told(l, ":6: warning: zzz: unknown key, ignored");
}

static void settings_that_only_litellm_has_are_told_as_ignored(void **state)
{
    struct loaded *l = *state;

    load(l, "litellm_settings: {drop_params: true, callbacks: [prometheus]}\n"
            "general_settings: {database_url: 'postgresql://u:hunter2@h/d'}\n"
            "model_list:\n" AZURE_ROW("d", ", temperature: 0.5") "guardrails: []\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":1: warning: litellm_settings.drop_params: ignored");
    assert_told(l, ":1: warning: litellm_settings.callbacks: ignored");
    assert_told(l, ":2: warning: general_settings.database_url: ignored");
    assert_told(l, "model_list[0].litellm_params.temperature: ignored");
    assert_told(l, "warning: guardrails: ignored");
    assert_not_told(l, "hunter2");
}

static void router_settings_win_over_litellm_settings(void **state)
{
    struct loaded *l = *state;

    load(l, "router_settings: {num_retries: 1, timeout: 30, routing_strategy: least-busy}\n"
            "litellm_settings: {num_retries: 2, request_timeout: 60, allowed_fails: 4,\n"
            "  cooldown_time: 0.5}\n"
            "model_list:\n" AZURE_ROW("d", "") AZURE_ROW("e", ", timeout: 10s"));
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->num_retries, 1);
    assert_int_equal(l->config->allowed_fails, 4);
    assert_int_equal(l->config->cooldown_ms, 500);
    assert_string_equal(l->config->routing_strategy, "least-busy");
    assert_int_equal(deployment(l, 0)->timeout_ms, 30000);
    assert_int_equal(deployment(l, 1)->timeout_ms, 10000);
}

static void a_strategy_nobody_knows_is_an_error(void **state)
{
    struct loaded *l = *state;

    expect_error(l, "router_settings:\n  routing_strategy: simple-shufle\n",
                 ":2: error: router_settings.routing_strategy: got \"simple-shufle\", wanted one "
                 "of simple-shuffle, least-busy");
    load(l, "router_settings:\n  routing_strategy: cost-based-routing\n");
    assert_int_equal(l->rc, 0);
    assert_null(l->config->routing_strategy);
    assert_told(l, ":2: warning:");
}

static void every_setting_of_ours_is_taken_over(void **state)
{
    struct loaded *l = *state;
    char wanted[128];

    write_file(l, "cert.pem", "c");
    write_file(l, "key.pem", "k");
    load(l, "general_settings: {health_check_interval: 5m}\n"
            "tranche_settings:\n"
            "  host: 127.0.0.9\n"
            "  port: 4001\n"
            "  health_port: 4002\n"
            "  num_workers: 3\n"
            "  spool_dir: .\n"
            "  spool_limit: 1GiB\n"
            "  state_dir: .\n"
            "  upstream_ca_file: cert.pem\n"
            "  allow_insecure_upstream: yes\n"
            "  log_level: debug\n"
            "  log_priority: true\n"
            "  seccomp: kill\n"
            "  access_log: a.log\n"
            "  error_log: /e.log\n"
            "  user: somebody\n"
            "  max_known_files: 555\n"
            "  ui: false\n"
            "  seal_keys: [0123456789abcdef, fedcba9876543210]\n"
            "  permit_weak_or_unset_master_key: true\n"
            "  allowed_hosts: [gate.example, tranche.default.svc]\n"
            "  tls: {cert_file: cert.pem, key_file: key.pem}\n"
            "  limits:\n"
            "    max_file_bytes: {openai: 1MB, azure: 2MB}\n"
            "    max_lines: {openai: 3, azure: 4}\n"
            "    max_other_file_bytes: 5MB\n"
            "    max_line_bytes: 6MiB\n"
            "    max_depth: 66\n"
            "    max_embedding_inputs: {openai: 67, azure: 68}\n"
            "    max_json_bytes: 7MiB\n"
            "    json_memory_bytes: 77MiB\n"
            "    upload_memory_bytes: 78MiB\n"
            "    max_connections: 8\n"
            "    max_connections_per_address: 9\n"
            "    min_body_rate: 10\n"
            "    min_read_rate: 21\n"
            "    read_grace_ms: 22s\n"
            "    max_upstream_calls: 23\n"
            "    max_calls_per_connection: 24\n"
            "    max_downloads: 25\n"
            "    max_downloads_per_connection: 26\n"
            "    max_open_uploads: 27\n"
            "  timeouts:\n"
            "    connect_ms: 11\n"
            "    first_byte_ms: 12s\n"
            "    json_total_ms: 13\n"
            "    low_speed_ms: 14\n"
            "    paused_ms: 27\n"
            "    list_ms: 15\n"
            "    shutdown_grace_ms: 0\n"
            "    watch_ms: 116\n"
            "    count_files_ms: 2m\n"
            "    database_ms: 9s\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(l->config->host, "127.0.0.9");
    assert_int_equal(l->config->port, 4001);
    assert_int_equal(l->config->num_workers, 3);
    snprintf(wanted, sizeof(wanted), "%s/.", l->dir);
    assert_string_equal(l->config->spool_dir, wanted);
    assert_string_equal(l->config->state_dir, wanted);
    assert_true(l->config->state_dir_is_given);
    snprintf(wanted, sizeof(wanted), "%s/cert.pem", l->dir);
    assert_string_equal(l->config->upstream_ca_file, wanted);
    assert_string_equal(l->config->tls_cert_file, wanted);
    snprintf(wanted, sizeof(wanted), "%s/key.pem", l->dir);
    assert_string_equal(l->config->tls_key_file, wanted);
    assert_int_equal(l->config->limits.spool_bytes, 1 << 30);
    assert_true(l->config->allow_insecure_upstream);
    assert_int_equal(l->config->log_level, LOG_LEVEL_DEBUG);
    assert_int_equal(l->config->log_priority, LOG_PRIORITY_ALWAYS);
    assert_int_equal(l->config->health_port, 4002);
    assert_int_equal(l->config->seccomp, CONFIG_SECCOMP_KILL);
    snprintf(wanted, sizeof(wanted), "%s/a.log", l->dir);
    assert_string_equal(l->config->access_log, wanted);
    assert_string_equal(l->config->error_log, "/e.log");
    assert_string_equal(l->config->user, "somebody");
    assert_true(l->config->permit_weak_master_key);
    assert_int_equal(l->config->num_allowed_hosts, 2);
    assert_string_equal(l->config->allowed_hosts[1], "tranche.default.svc");
    assert_int_equal(l->config->num_seal_keys, 2);
    assert_string_equal(l->config->seal_keys[1].data, "fedcba9876543210");
    assert_int_equal(l->config->limits.max_file_bytes[PROVIDER_OPENAI], 1000000);
    assert_int_equal(l->config->limits.max_file_bytes[PROVIDER_AZURE], 2000000);
    assert_int_equal(l->config->limits.max_lines[PROVIDER_OPENAI], 3);
    assert_int_equal(l->config->limits.max_lines[PROVIDER_AZURE], 4);
    assert_int_equal(l->config->limits.max_other_file_bytes, 5000000);
    assert_int_equal(l->config->limits.max_line_bytes, 6 << 20);
    assert_int_equal(l->config->limits.max_depth, 66);
    assert_int_equal(l->config->limits.max_embedding_inputs[PROVIDER_OPENAI], 67);
    assert_int_equal(l->config->limits.max_embedding_inputs[PROVIDER_AZURE], 68);
    assert_int_equal(l->config->limits.max_json_bytes, 7 << 20);
    assert_int_equal(l->config->limits.json_memory_bytes, 77 << 20);
    assert_int_equal(l->config->limits.upload_memory_bytes, 78 << 20);
    assert_int_equal(l->config->limits.max_connections, 8);
    assert_int_equal(l->config->limits.max_connections_per_address, 9);
    assert_int_equal(l->config->limits.min_body_rate, 10);
    assert_int_equal(l->config->limits.min_read_rate, 21);
    assert_int_equal(l->config->limits.read_grace_ms, 22000);
    assert_int_equal(l->config->limits.max_upstream_calls, 23);
    assert_int_equal(l->config->max_known_files, 555);
    assert_int_equal(l->config->health_check_interval_ms, 300000);
    assert_false(l->config->ui);
    assert_int_equal(l->config->limits.max_calls_per_connection, 24);
    assert_int_equal(l->config->limits.max_downloads, 25);
    assert_int_equal(l->config->limits.max_downloads_per_connection, 26);
    assert_int_equal(l->config->limits.max_open_uploads, 27);
    assert_int_equal(l->config->timeouts.connect_ms, 11);
    assert_int_equal(l->config->timeouts.first_byte_ms, 12000);
    assert_int_equal(l->config->timeouts.json_total_ms, 13);
    assert_int_equal(l->config->timeouts.low_speed_ms, 14);
    assert_int_equal(l->config->timeouts.paused_ms, 27);
    assert_int_equal(l->config->timeouts.list_ms, 15);
    assert_int_equal(l->config->timeouts.shutdown_grace_ms, 0);
    assert_int_equal(l->config->timeouts.watch_ms, 116);
    assert_int_equal(l->config->timeouts.count_files_ms, 120000);
    assert_int_equal(l->config->timeouts.database_ms, 9000);
}

static void the_defaults_are_those_of_the_header(void **state)
{
    struct loaded *l = *state;

    load(l, "model_list: []\n");
    assert_int_equal(l->rc, 0);
    assert_string_equal(l->config->host, "0.0.0.0");
    assert_int_equal(l->config->port, 4000);
    assert_int_equal(l->config->limits.max_file_bytes[PROVIDER_AZURE], 200000000);
    assert_int_equal(l->config->limits.max_lines[PROVIDER_OPENAI], 50000);
    assert_int_equal(l->config->limits.max_lines[PROVIDER_AZURE], 100000);
    assert_int_equal(l->config->limits.max_line_bytes, 64 << 20);
    assert_int_equal(l->config->limits.max_depth, 1000);
    assert_int_equal(l->config->limits.max_embedding_inputs[PROVIDER_OPENAI], 50000);
    assert_int_equal(l->config->limits.max_embedding_inputs[PROVIDER_AZURE], 0);
    assert_true(l->config->limits.spool_bytes == (uint64_t)10 << 30);
    assert_int_equal(l->config->limits.min_read_rate, 1024);
    assert_int_equal(l->config->limits.read_grace_ms, 60000);
    assert_int_equal(l->config->limits.max_upstream_calls, 1000);
    assert_int_equal(l->config->max_known_files, 100000);
    assert_int_equal(l->config->health_check_interval_ms, 60000);
    assert_true(l->config->ui);
    assert_int_equal(l->config->limits.max_calls_per_connection, 100);
    assert_int_equal(l->config->limits.max_downloads, 100);
    assert_int_equal(l->config->limits.max_downloads_per_connection, 16);
    assert_int_equal(l->config->limits.max_open_uploads, 100);
    assert_int_equal(l->config->timeouts.paused_ms, 10000);
    assert_int_equal(l->config->timeouts.list_ms, 3000);
    assert_int_equal(l->config->timeouts.watch_ms, 60000);
    assert_int_equal(l->config->timeouts.count_files_ms, 600000);
    assert_int_equal(l->config->timeouts.database_ms, 2000);
    assert_int_equal(l->config->poll_cache_ms, 100);
    assert_null(l->config->routing_strategy);
    assert_string_equal(l->config->spool_dir, "/tmp");
    assert_string_equal(l->config->state_dir, "/tmp");
    assert_false(l->config->state_dir_is_given);
    assert_false(l->config->balance_batches);
    assert_null(l->config->tls_cert_file);
}

static void the_state_is_where_systemd_says_unless_the_file_names_a_place(void **state)
{
    struct loaded *l = *state;

    setenv("STATE_DIRECTORY", "/var/lib/tranche:/var/lib/other", 1);
    load(l, "tranche_settings:\n  spool_dir: .\n");
    assert_string_equal(l->config->state_dir, "/var/lib/tranche");
    assert_false(l->config->state_dir_is_given);
    load(l, "tranche_settings:\n  state_dir: /srv/tranche\n");
    assert_string_equal(l->config->state_dir, "/srv/tranche");
    setenv("STATE_DIRECTORY", "relative", 1);
    load(l, "tranche_settings:\n  port: 4001\n");
    assert_string_equal(l->config->state_dir, "/tmp");
    unsetenv("STATE_DIRECTORY");
}

static void the_command_line_wins_over_the_file_over_the_environment(void **state)
{
    const struct config_overrides overrides = {"127.0.0.3", 0, 7};
    const struct config_overrides wrong = {"", 65536, 0};
    struct loaded *l = *state;

    setenv("PORT", "1", 1);
    setenv("HOST", "127.0.0.1", 1);
    setenv("NUM_WORKERS", "1", 1);
    load(l, "tranche_settings: {port: 2, host: 127.0.0.2}\n");
    assert_string_equal(l->config->host, "127.0.0.2");
    assert_int_equal(l->config->port, 2);
    assert_int_equal(l->config->num_workers, 1);
    load_with(l, &overrides);
    assert_string_equal(l->config->host, "127.0.0.3");
    assert_int_equal(l->config->port, 0);
    assert_int_equal(l->config->num_workers, 7);
    load_with(l, &wrong);
    assert_int_equal(l->report.num_errors, 3);
    assert_told(l, "command line: error: --port: got 65536, wanted an integer from 0 to 65535");
}

static void half_a_tls_pair_is_an_error(void **state)
{
    struct loaded *l = *state;

    write_file(l, "cert.pem", "c");
    expect_error(l, "tranche_settings:\n  tls:\n    cert_file: cert.pem\n",
                 "tranche_settings.tls.key_file: missing");
    expect_error(l, "tranche_settings:\n  upstream_ca_file: nowhere.pem\n",
                 ":2: error: tranche_settings.upstream_ca_file: got \"");
}

static void a_spool_that_cannot_be_written_is_an_error(void **state)
{
    struct loaded *l = *state;

    expect_error(l, "tranche_settings:\n  spool_dir: /nonexistent\n",
                 ":2: error: tranche_settings.spool_dir: got \"/nonexistent\", wanted a directory");
}

static void an_allowed_host_is_a_name_and_nothing_more(void **state)
{
    struct loaded *l = *state;

    expect_error(l, "tranche_settings:\n  allowed_hosts: ['https://gate.example']\n",
                 "allowed_hosts[0]: got \"https://gate.example\", wanted a host name");
    expect_error(l, "tranche_settings:\n  allowed_hosts: ['gate.example:4000']\n",
                 "wanted a host name");
    expect_error(l, "tranche_settings:\n  allowed_hosts: ['*.example']\n", "wanted a host name");
    expect_error(l, "tranche_settings:\n  allowed_hosts: ['']\n", "wanted a host name");
}

static void weak_seal_keys_are_warned_about_unseen(void **state)
{
    struct loaded *l = *state;

    load(l, "tranche_settings:\n  seal_keys:\n  - short-secret\n");
    assert_int_equal(l->rc, 0);
    assert_told(l, ":3: warning: tranche_settings.seal_keys[0]: weak (under 16 bytes");
    assert_not_told(l, "short-secret");
    expect_error(l, "tranche_settings:\n  seal_keys: ['']\n",
                 "seal_keys[0]: got ***, wanted a random text");
}

static void what_holds_for_the_files_of_all_callers_is_litellms(void **state)
{
    struct loaded *l = *state;
    struct strbuf text = STRBUF_INIT;

    load(l, "litellm_settings:\n"
            "  max_batch_file_size_mb: 10\n"
            "  enforced_file_expires_after: {anchor: created_at, seconds: 1209600}\n"
            "  enforced_batch_output_expires_after: {seconds: 7200}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->limits.max_batch_file_bytes, 10 << 20);
    assert_int_equal(l->config->enforced_file_expiry_s, 1209600);
    assert_int_equal(l->config->enforced_output_expiry_s, 7200);
    config_describe(l->config, &text);
    assert_non_null(strstr(strbuf_str(&text), "max_batch_file_size_mb"));
    assert_non_null(strstr(strbuf_str(&text), "enforced_batch_output_expires_after"));
    strbuf_deinit(&text);
    load(l, "litellm_settings: {max_batch_file_size_mb: 10}\n"
            "general_settings: {max_batch_file_size_mb: 20}\n");
    assert_int_equal(l->config->limits.max_batch_file_bytes, 20 << 20);
    load(l, "{}\n");
    assert_int_equal(l->config->limits.max_batch_file_bytes, 0);
    assert_int_equal(l->config->enforced_file_expiry_s, 0);
    load(l, "general_settings:\n"
            "  max_file_size_mb: 5\n"
            "  blocked_file_extensions: [.exe, DLL]\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->limits.max_any_file_bytes, 5 << 20);
    assert_int_equal(l->config->num_blocked_extensions, 2);
    assert_string_equal(l->config->blocked_extensions[1], ".dll");
    config_describe(l->config, &text);
    assert_non_null(strstr(strbuf_str(&text), "max_file_size_mb"));
    assert_non_null(strstr(strbuf_str(&text), ".exe, .dll"));
    strbuf_deinit(&text);
    load(l, "general_settings: {max_file_size_mb: 0, blocked_file_extensions: null}\n");
    assert_int_equal(l->rc, 0);
    assert_int_equal(l->config->limits.max_any_file_bytes, 0);
    expect_error(l, "general_settings:\n  max_file_size_mb: true\n", "got \"true\", wanted");
    expect_error(l, "general_settings:\n  blocked_file_extensions: .exe\n",
                 "got \".exe\", wanted a list of at most 256 endings");
    expect_error(l, "general_settings:\n  blocked_file_extensions: [.exe, .tar.gz]\n",
                 "blocked_file_extensions[1]: got \".tar.gz\", wanted the ending of a file's name");
    expect_error(l, "general_settings:\n  max_batch_file_size_mb: 10MB\n",
                 ":2: error: general_settings.max_batch_file_size_mb: got \"10MB\", wanted");
    expect_error(l, "general_settings:\n  max_batch_file_size_mb: [10]\n",
                 "general_settings.max_batch_file_size_mb: got a list, wanted a number");
    expect_error(l, "litellm_settings:\n  enforced_file_expires_after: {seconds: 60}\n",
                 "wanted an integer from 3600 to 2592000");
}

static void secrets_are_nowhere_in_what_is_printed(void **state)
{
    static const char yaml[] =
        "environment_variables: {AZURE_API_KEY: env-hunter2, X: hunter2}\n"
        "model_list:\n"
        "- model_name: g\n"
        "  litellm_params: {model: azure/d, api_key: key-hunter2, rpm: sk-hunter2,\n"
        "    api_base: 'https://user:hunter2@eu.openai.azure.com', client_secret: hunter2}\n"
        "- model_name: h\n"
        "  litellm_params: {model: azure/e, api_key: 'hunter2 ', azure_ad_token: hunter2,\n"
        "    api_base: 'http://eu.example/?code=hunter2'}\n"
        "- model_name: g\n"
        "  litellm_params: {model: azure/d, api_key: [hunter2], api_base: eu.openai.azure.com}\n"
        "general_settings: {master_key: 'hunter2 hunter2'}\n"
        "tranche_settings: {seal_keys: [hunter2]}\n"
        "router_settings: {redis_password: hunter2}\n";
    static const char good[] =
        "model_list:\n"
        "- model_name: g\n"
        "  litellm_params: {model: azure/d, api_key: key-hunter2, api_base: eu.openai.azure.com}\n"
        "general_settings: {master_key: sk-hunter2}\n"
        "tranche_settings: {seal_keys: [hunter2hunter2hunter2]}\n";
    struct loaded *l = *state;
    struct strbuf description = STRBUF_INIT;

    load(l, yaml);
    assert_true(l->report.num_errors + l->report.num_skipped >= 4);
    assert_not_told(l, "hunter2");
    load(l, good);
    assert_int_equal(l->rc, 0);
    config_describe(l->config, &description);
    assert_null(strstr(strbuf_str(&description), "hunter2"));
    assert_not_told(l, "hunter2");
    assert_non_null(strstr(strbuf_str(&description), "***"));
    strbuf_deinit(&description);
}

static void a_description_shows_each_deployments_address(void **state)
{
    struct loaded *l = *state;
    struct strbuf text = STRBUF_INIT;

    load(l, "model_list:\n" AZURE_ROW("d", ", rpm: 5"));
    assert_int_equal(l->rc, 0);
    config_describe(l->config, &text);
    assert_non_null(strstr(strbuf_str(&text), "listen                         0.0.0.0:4000\n"));
    assert_non_null(
        strstr(strbuf_str(&text), "azure, account eu.openai.azure.com, upstream name d"));
    assert_non_null(strstr(strbuf_str(&text), "https://eu.openai.azure.com/openai/files/"));
    assert_non_null(strstr(strbuf_str(&text), "https://api.openai.com/v1/files/"));
    strbuf_deinit(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wrong_values_say_file_line_field_got_and_wanted),
        TEST(notes_come_in_the_order_of_the_file),
        TEST(what_is_lost_with_a_setting_of_litellms_is_told),
        TEST(misspelt_keys_get_a_guess),
        TEST(settings_that_only_litellm_has_are_told_as_ignored),
        TEST(router_settings_win_over_litellm_settings),
        TEST(a_strategy_nobody_knows_is_an_error),
        TEST(every_setting_of_ours_is_taken_over),
        TEST(the_state_is_where_systemd_says_unless_the_file_names_a_place),
        TEST(the_defaults_are_those_of_the_header),
        TEST(the_command_line_wins_over_the_file_over_the_environment),
        TEST(half_a_tls_pair_is_an_error),
        TEST(a_spool_that_cannot_be_written_is_an_error),
        TEST(an_allowed_host_is_a_name_and_nothing_more),
        TEST(weak_seal_keys_are_warned_about_unseen),
        TEST(what_holds_for_the_files_of_all_callers_is_litellms),
        TEST(secrets_are_nowhere_in_what_is_printed),
        TEST(a_description_shows_each_deployments_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
