/* What an operator wrote, checked whole: LiteLLM's config.yaml (unknown keys warn with their line),
 * environment, and our own `tranche_settings:`. Parsed once by the master (and by `tranche check`,
 * through the same code) before anything is forked. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/mask.h"
#include "common/model.h"
#include "common/rights.h"
#include "common/secret.h"
#include "common/strbuf.h"
#include "jwt/claims.h"
#include "jwt/jwks.h"
#include "price/price_book.h"
#include "webhook/hook_address.h"

/* Command-line values win over the file, which wins over the environment (HOST, PORT, NUM_WORKERS).
 */
struct config_overrides {
    const char *host; /* NULL: not given */
    int port;         /* -1: not given; 0: any free port (it is logged) */
    int num_workers;  /* -1: not given */
};

#define MAX_WORKERS    128 /* that one gateway may have */
#define CONFIG_QUARTER UINT32_MAX

struct config_limits {
    /* Of a purpose=batch upload; default 200,000,000 each */
    uint64_t max_file_bytes[PROVIDER_COUNT];
    uint64_t max_other_file_bytes;      /* other purposes; default 512,000,000 */
    uint64_t max_lines[PROVIDER_COUNT]; /* default 50,000 (OpenAI), 100,000 (Azure) */
    uint64_t max_line_bytes;            /* default 64 MiB: 50 MB of files in a request, as base64 */
    uint64_t max_depth;                 /* of a line; default 1,000 */
    /* of all lines for embeddings; 0: no limit; default 50,000 (OpenAI), none (Azure) */
    uint64_t max_embedding_inputs[PROVIDER_COUNT];
    uint64_t max_json_bytes; /* body of a JSON request; default 128 KiB, 4 KiB where no POST */
    /* Bodies of JSON requests and their trees; per worker; default 64 MiB; at least eight of the
     * largest bodies have room */
    uint64_t json_memory_bytes;
    /* What uploads hold in memory; per worker; default 256 MiB; at least one of the longest lines
     * has room */
    uint64_t upload_memory_bytes;
    uint64_t max_batch_file_bytes; /* LiteLLM's max_batch_file_size_mb, of all uploads; 0: none */
    uint64_t max_any_file_bytes;   /* LiteLLM's max_file_size_mb, of all uploads; 0: none */
    uint64_t spool_bytes;          /* all workers together; default 10 GiB */
    uint32_t max_connections;      /* per worker; default 1,000 */
    /* per worker; 0: no limit; CONFIG_QUARTER (default): a quarter of max_connections, but not for
     * loopback. Never for `proxies` */
    uint32_t max_connections_per_address;
    /* Owned by the configuration; tranche_settings.proxies: addresses of proxies in front of us;
     * IPv4 as mapped ones */
    struct sockaddr_in6 *proxies;
    size_t num_proxies;
    uint64_t min_body_rate; /* bytes/s after the grace; default 1,024 */
    uint32_t body_grace_ms; /* before that rate is asked for; default 20,000 */
    /* bytes/s that the reader of an answer takes after the grace; 0: one that takes nothing at all
     * in it is too slow; default 1,024 */
    uint64_t min_read_rate;
    uint32_t read_grace_ms;    /* default 60,000 */
    uint32_t max_open_uploads; /* that come in parts, of the node; default 100 */
    /* 503 above these; 0: no limit. Calls are those to providers, for requests of clients. */
    uint32_t max_upstream_calls;           /* per worker; default 1,000 */
    uint32_t max_calls_per_connection;     /* requests of it that may call; default 100 */
    uint32_t max_downloads;                /* per worker, of up to 350 KB each; default 100 */
    uint32_t max_downloads_per_connection; /* default 16 */
    /* Input files without expiry that an account holds; 0: no limit; default 500 for Azure
     * (providers 2.4) */
    uint64_t max_files[PROVIDER_COUNT];
    uint64_t max_expiring_files[PROVIDER_COUNT]; /* ... with expiry; default 10,000 for Azure */
};

struct config_timeouts {
    uint32_t connect_ms; /* DNS + TCP + TLS; default 10,000 */
    /* Sent all, waiting for the head; default 300,000 for uploads, capped to total elsewhere */
    uint32_t first_byte_ms;
    uint32_t json_total_ms; /* a small JSON call as a whole; default 60,000 */
    uint32_t low_speed_ms;  /* no byte moved in a file transfer for so long; default 60,000 */
    /* A download whose client does not read is dropped upstream after this, and resumed when it
     * reads again; 0: never; default 10,000 */
    uint32_t paused_ms;
    uint32_t list_ms;           /* per account of a merged list; default 3,000 */
    uint32_t shutdown_grace_ms; /* drain after SIGTERM; default 30,000 */
    uint32_t watch_ms;     /* between two questions about one unfinished batch; default 60,000 */
    uint32_t long_poll_ms; /* ... about one that clients wait for (`Prefer: wait`); default 2,000 */
    uint32_t count_files_ms; /* between two counts of an account's files; default 600,000 */
    /* A statement of a database, and who waits for its answer; four times as long, 20,000 at most,
     * for who is refused without it; 100 to 15,000; default 2,000 */
    uint32_t database_ms;
};

/* LiteLLM's classes of failures: `allowed_fails_policy` and `retry_policy` have a number for each.
 */
enum config_failure_class {
    CONFIG_BAD_REQUEST,
    CONFIG_AUTHENTICATION,
    CONFIG_TIMEOUT,
    CONFIG_RATE_LIMIT,
    CONFIG_CONTENT_POLICY,
    CONFIG_INTERNAL_SERVER
};
#define CONFIG_FAILURE_CLASSES 6

/* router_settings.fallbacks: where the work of a group goes when all its deployments refuse. */
struct config_fallback {
    char *group; /* owned; "*" for default_fallbacks */
    char **to;   /* owned, and each one; groups in the order they are tried */
    size_t num_to;
};

/* A policy of router_settings.model_group_retry_policy; it stands for retry_policy as a whole. */
struct config_group_retries {
    char *group;                                 /* owned */
    uint32_t retries_of[CONFIG_FAILURE_CLASSES]; /* UINT32_MAX: not given */
};

/* model_info.access_groups: a name that keys may give for several groups. */
struct config_access_group {
    char *name;    /* owned */
    char **groups; /* owned, and each one */
    size_t num_groups;
};

/* Tokens of an issuer, by which it is known who asks (tenants statement A56). */
#define CONFIG_JWT_MAX_URLS      8
#define CONFIG_JWT_MAX_AUDIENCES 16

struct config_jwt {
    bool enabled;     /* general_settings.enable_jwt_auth; the rest is set only with it */
    char *issuer;     /* owned; what `iss` must be */
    char **audiences; /* owned, and each one; one of them must be in `aud` */
    size_t num_audiences;
    char **urls; /* owned, and each one; of key sets; none: `file` */
    size_t num_urls;
    char *file;                         /* owned; with a key set; NULL: `urls` */
    struct jwks *keys;                  /* owned; what `file` has; NULL: `urls` */
    struct jwt_rules rules;             /* owned texts; whom a token speaks for */
    uint32_t team_routes, admin_routes; /* enum rights_route: what they may call */
};

/* An endpoint that is told when batches end. */
struct config_webhook {
    char *url;            /* owned; its path may be as secret as the secret */
    struct secret secret; /* what signs */
    unsigned types;       /* a bit for each enum hook_type */
    bool all;             /* all batches; else those of `owner` */
    uint64_t owner;       /* as in ids.h; 0: the master key's */
    char *owner_name;     /* owned; "team:alpha", "master"; NULL: all */
};

/* What becomes of a system call that workers and the prober are not known to need. */
enum config_seccomp {
    CONFIG_SECCOMP_OFF,
    CONFIG_SECCOMP_LOG, /* it is made, and the kernel tells it (the default) */
    CONFIG_SECCOMP_KILL /* the process ends by SIGSYS */
};

struct config {
    char *host;               /* owned; default "0.0.0.0" */
    int port;                 /* default 4000 */
    int health_port;          /* of health, metrics and the page; 0: none of their own */
    int num_workers;          /* default: CPUs this process may use */
    struct secret master_key; /* unset: no authentication, see weak_master_key */
    bool weak_master_key; /* it is unset, short or well known: only this machine is served ... */
    bool permit_weak_master_key; /* ... unless this says that everybody may be */
    bool master_key_in_file;     /* general_settings has it, which wins over the environment */
    /* Owned, and each one; further names of this gateway, without ports: they matter where no
     * master key is set */
    char **allowed_hosts;
    size_t num_allowed_hosts;
    struct model_list models;
    /* litellm_settings.enable_azure_ad_token_refresh: Azure rows that say nothing get tokens by what
     * the environment has */
    bool azure_token_refresh;
    bool balance_batches; /* litellm_settings.enable_loadbalancing_on_batch_endpoints */
    /* Of latency-based-routing: who is slower than the fastest by at most this share of it is as
     * good */
    double latency_buffer;
    /* Owned; LiteLLM's name; NULL: not given, then "quota-aware" for groups with a row of mode
     * batch and none with a weight, else "simple-shuffle" */
    char *routing_strategy;
    /* Owned; tranche_settings.seal_keys, may be empty (then derived from the master key) */
    struct secret *seal_keys;
    size_t num_seal_keys;
    char *tls_cert_file, *tls_key_file; /* owned; both or neither */
    char *spool_dir;                    /* owned; default $TMPDIR or /tmp */
    char *state_dir;                    /* owned; default $STATE_DIRECTORY, else spool_dir */
    char *upstream_ca_file;             /* owned; NULL: the system's */
    /* Address of the proxy that calls to providers go through; unset: none */
    struct secret upstream_proxy;
    struct secret proxy_credential; /* "user:password" of that address; unset: it has none */
    char *no_proxy;   /* owned; hosts that are reached without it, with commas; NULL: none */
    char *root_path;  /* owned; "/llm": routes are found below it, too; NULL: none */
    char *key_header; /* owned; lower case; where clients may send the key, too; NULL: none */
    struct config_jwt jwt;
    char **cors_origins; /* owned; whose pages may call; "*": anybody's */
    size_t num_cors_origins;
    /* Owned; endings of file names that no upload may have, ".exe", in lower case */
    char **blocked_extensions;
    size_t num_blocked_extensions;
    bool core_dumps;              /* processes may leave cores, and be debugged */
    bool state_dir_is_given;      /* by the file */
    bool allow_insecure_upstream; /* http:// to other than loopback */
    bool disable_cooldowns;       /* no deployment is ever in cooldown */
    bool openai_path_given;       /* tranche_settings.openai_path is set */
    bool openai_path_is_azure;    /* /openai/v1 is Azure's v1 API also where OpenAI is served */
    int log_level;                /* enum log_level */
    int log_priority;             /* enum log_priority */
    char *access_log, *error_log; /* owned; files; NULL: standard output, standard error */
    int seccomp;                  /* enum config_seccomp */
    char *user; /* owned; whom a start as root becomes; NULL: `tranche`, if it exists */
    /* router_settings, LiteLLM's meanings; UINT32_MAX: not given */
    uint32_t num_retries, allowed_fails, cooldown_ms;
    uint32_t retry_after_ms;                           /* least wait before another try; 0: none */
    uint32_t allowed_fails_of[CONFIG_FAILURE_CLASSES]; /* allowed_fails_policy */
    uint32_t retries_of[CONFIG_FAILURE_CLASSES];       /* retry_policy */
    struct config_group_retries *group_retries;        /* owned; in file order */
    size_t num_group_retries;
    struct config_fallback *fallbacks; /* owned; in file order, default_fallbacks last */
    size_t num_fallbacks;
    uint32_t max_fallbacks; /* groups that one request may go through; default 5 */
    /* tranche_settings of the balancer */
    /* Declared max_tokens count as enqueued; default false: both document prompt tokens */
    bool count_output_tokens[PROVIDER_COUNT];
    uint32_t azure_min_expiry_ms; /* least expires_after that Azure is asked for; 0: what it says */
    uint32_t enforced_file_expiry_s; /* expires_after of all files, whatever clients say; 0: none */
    uint32_t enforced_output_expiry_s; /* output_expires_after of all batches, the same */
    uint32_t azure_file_expiry_s;      /* expires_after of a batch file that names none; 0: none */
    bool refund_at_cancelling; /* key and team do not pay for a batch that is being cancelled */
    bool delete_moved_copies;  /* the copy that a moved batch ran on goes when it has ended */
    uint32_t delete_after_s;   /* of keys and teams that say nothing (common/retention.h) */
    /* A batch that failed late for want of room runs at another deployment; default true. Where there is
     * no journal nothing is moved */
    bool move_failed;
    bool metrics_need_key; /* /metrics wants the master key, as /health does; default true */
    bool ui;               /* there is the page for operators, /ui; default true */
    /* How long what a batch was seen as is answered again; 0: the provider is asked each time */
    uint32_t poll_cache_ms;
    /* Files of tenants that their lists can show, of all tenants together; default 100,000 */
    uint32_t max_known_files;
    uint32_t health_check_interval_ms; /* between two looks of the prober at an account, +-10 % */
    struct config_limits limits;
    struct config_timeouts timeouts;
    /* Tenants: config/keys.h. Where no key and no source of keys is named, callers are told apart by
     * the master key alone */
    bool has_tenants; /* `keys` is not empty, or a source is named, or `jwt`; a master key is set */
    struct rights_list keys;             /* owned; tranche_settings.keys and .teams */
    struct rights_list file_keys;        /* owned; what keys_file had at the start */
    char *keys_file;                     /* owned; NULL: none */
    struct secret database;              /* unset: none; sqlite:/path, postgresql://... */
    struct secret litellm_database;      /* unset: none; postgresql://... */
    struct secret database_passwords[2]; /* of these places, which no text may quote */
    uint32_t key_max_stale_ms;           /* of a database that is down; default 1 min */
    bool refuse_stale_keys;              /* keys_when_down: refuse; default serve */
    struct price_book prices;            /* owned; what tokens cost */
    char *price_map;                     /* owned; LiteLLM's file; NULL: none */
    /* Owned, and each one; of a batch's metadata: what its usage is told by, besides its key's tags */
    char **usage_tags;
    size_t num_usage_tags;
    uint32_t metrics_max_series; /* of batches, in /metrics; default 1,000 */
    int budget_exceeded_status;  /* HTTP; 400, 402, 422 or 429; default 422 */
    bool journal;                /* of batches; default: whether there is a `database` */
    /* So long this node's shares of limits are good while the database is away; default 10 min */
    uint32_t outage_window_ms;
    /* What other nodes may grant alone counts in each grant (leases: counted); default: while the
     * database answers it does not (leases: shares). Never where no other node can be */
    bool count_leases;
    /* While the database is away: creates of keys and teams with limits go through once this node's
     * share is spent (limits_when_down: open); default: they are refused */
    bool limits_open_when_down;
    /* ... and requests with a new Idempotency-Key are refused (idempotency_when_down: strict);
     * default: this node alone knows them */
    bool idempotency_strict;
    uint32_t max_keys;               /* of all sources together; default 200,000 */
    struct config_webhook *webhooks; /* owned; none without a journal */
    size_t num_webhooks;
    bool webhook_allow_http;           /* endpoints may be http:// */
    struct hook_range *webhook_ranges; /* owned; addresses that are allowed whatever they are */
    size_t num_webhook_ranges;
    char *webhook_ca_file;                     /* owned; NULL: the system's */
    struct config_access_group *access_groups; /* owned; by name */
    size_t num_access_groups;
};

/* SKIPPED: a row that cannot be used as it stands is left out, and what it names is refused; with
 * `tranche check --strict` it is an error. */
enum config_severity { CONFIG_ERROR, CONFIG_SKIPPED, CONFIG_WARNING, CONFIG_HONOURED };

struct config_note {
    enum config_severity severity;
    char *file;    /* owned; NULL: environment or command line */
    unsigned line; /* 1-based; 0: none */
    char *field;   /* owned; "model_list[2].litellm_params.rpm" */
    /* Owned; "got \"600.5\", wanted an integer of 0 or more", "unknown key, did you mean
     * \"weight\"?", ... */
    char *text;
};

struct config_report {
    struct config_note *notes; /* owned; in file order */
    size_t num_notes;
    size_t num_errors;
    size_t num_skipped; /* notes about rows that are left out */
};

/**
 * Load, resolve os.environ/NAME, apply overrides, check across fields, build the model list
 * (accounts deduplicated, api_base normalised, fingerprints unique).
 *
 * @param path    LiteLLM config file, or NULL: environment alone
 * @param out     on 0 the configuration, free with config_free(); NULL otherwise
 * @param report  always filled, also on errors; free with config_report_free()
 * @return 0; ERR_INVALID when the report has errors; ERR_NOMEM
 */
MUST_USE int config_load(const char *path, const struct config_overrides *overrides,
                         struct config **out, struct config_report *report);
/** The limits of a gateway that was told none; without `proxies`. @return 0, ERR_NOMEM */
MUST_USE int config_default_limits(struct config_limits *out);
void config_free(struct config *config); /* wipes secrets; NULL is fine */
/** @return whether a provider is asked over TLS */
bool config_asks_over_tls(const struct config *config);
void config_report_free(struct config_report *report);

/** One line per note: `file:line: severity: field: text`, severity being error, skipped, warning
 * or honoured. Notes without a file start with "environment: " or "command line: " (fields
 * "--port",
 * ...). */
void config_report_print(const struct config_report *report, struct strbuf *out);

/** One note without its severity and without a line end, for a log that has its own: what is not
 * known (file, line, field) is left out. */
void config_note_print(const struct config_note *note, struct strbuf *out);

/** Append how much is served, for people: "3 deployments in 2 accounts". Rows count, not what
 * stands for an account as a whole. */
void config_count(const struct model_list *models, struct strbuf *out);

/** The set of all secrets of a configuration, for mask_install().
 *  @param more  further ones, such as tokens; borrowed for the call, unset ones are fine
 *  @return mask_free() it; NULL: out of memory */
struct mask *config_mask(const struct config *config, const struct secret *more, size_t num_more);

/** What `tranche check` prints after the notes: settings in force and, per deployment, the final
 * URL pattern. No secrets. */
void config_describe(const struct config *config, struct strbuf *out);
