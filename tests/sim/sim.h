/* tranche-sim: the words that all its files share. One process fakes several OpenAI and Azure
 * accounts, each on a port of its own, and one control port that scripts faults, moves the clock
 * and tells what was really created.
 *
 * One thread, one epoll loop. Batches have no timers: a batch is brought up to the simulator's
 * clock whenever somebody looks at it, so that a test moves the clock instead of sleeping. Contents
 * of files live on disk (blob.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json/json.h"
#include "common/strbuf.h"

#include "blob.h"
#include "map.h"
#include "switches.h"

enum kind { KIND_OPENAI, KIND_AZURE, KIND_ENTRA };

#define ID_MAX 64

/* How long the phases of a batch and of an Azure upload take, in ms of the simulator's clock. */
struct pace {
    int64_t validate_ms;
    int64_t run_ms;
    int64_t finalize_ms;
    int64_t cancel_ms;
    int64_t pending_ms; /* an uploaded file is `pending` for so long */
};

/* An Azure deployment, or a model of an OpenAI account. */
struct deployment {
    char *name;             /* owned; what body.model must say */
    char *model;            /* owned; the model behind it */
    char *sku;              /* owned; GlobalBatch, DataZoneBatch, or another that cannot do batch */
    int64_t enqueued_limit; /* tokens; 0: unlimited */
    bool fast_refusal;      /* an overflow is refused at create, else later */
    int64_t latency_ms;     /* of answers about batches of this deployment */
    char *shutdown_date;    /* owned; NULL: null, as most models have it */
};

struct file {
    char id[ID_MAX];
    char *filename; /* owned */
    char purpose[32];
    struct blob blob;   /* owned content; empty once deleted */
    int64_t bytes;      /* size of the content */
    int64_t created_ms; /* simulator's clock */
    int64_t skew_s;     /* of the account's clock then, which tells the times below */
    int64_t ready_ms;   /* `processed` from here on */
    int64_t expires_at; /* Unix seconds, simulator's clock; 0: never */
    bool expiry_asked;  /* the upload named an expiry */
    bool bad;           /* processing ends in `error` */
    bool output;        /* made by a batch */
    bool deleted;
    int64_t deleted_ms; /* simulator's clock */
    char sha256[65];    /* "" until somebody asks */
};

enum status {
    STATUS_VALIDATING,
    STATUS_FAILED,
    STATUS_IN_PROGRESS,
    STATUS_FINALIZING,
    STATUS_COMPLETED,
    STATUS_EXPIRED,
    STATUS_CANCELLING,
    STATUS_CANCELLED
};

/* One line of an input file, as far as the result files need it. */
struct line {
    uint32_t id_off; /* custom_id in batch.ids, spelled as in the file, with its quotes */
    uint32_t id_len;
    uint32_t tokens; /* estimate */
    uint16_t status; /* HTTP status of the model's answer: 200, or what the line asked for */
};

struct batch_error {
    const char *code;  /* borrowed, constant */
    char *message;     /* owned */
    const char *param; /* borrowed, constant; NULL: null */
    int64_t line;      /* 1-based; 0: null */
};

struct validation; /* lines.h */

struct batch {
    char id[ID_MAX];
    struct file *input; /* borrowed, files are never freed before a reset; NULL for a blob */
    char input_id[ID_MAX];
    char *endpoint;                /* owned; as asked */
    char *metadata;                /* owned JSON text; NULL: null */
    char *input_blob;              /* owned; NULL: none */
    char *output_folder;           /* owned; NULL: none */
    struct deployment *deployment; /* borrowed; NULL: unknown model */
    char model[128];               /* as the first line says */
    int64_t tokens;                /* estimate for the whole file */
    int64_t output_expires_s;      /* 0: the account's default */
    enum status status;
    bool terminal;
    bool unready;     /* created on a pending file, which the switch lets fail later */
    int64_t at_ms[8]; /* when a status was entered, by enum status; at_ms[VALIDATING] is creation;
                         0: never */
    struct validation *check;   /* owned while lines are being looked at */
    struct batch_error *errors; /* owned */
    size_t n_errors;
    struct line *lines; /* owned */
    size_t n_lines;
    uint32_t *order; /* owned; order of execution and of output */
    struct strbuf ids;
    int64_t skew_s; /* of the account's clock when it was made: its times are told with it */
    size_t done;    /* lines executed */
    size_t ok;
    size_t failed;
    int64_t in_tokens;      /* of executed lines that succeeded */
    char output_id[ID_MAX]; /* "": none yet */
    char error_id[ID_MAX];
};

/* What a token service gave out. */
struct token {
    char *text;                   /* owned */
    const struct account *issuer; /* borrowed */
    char *audience;               /* owned: the resource, without /.default */
    char *tenant;                 /* owned; NULL: a managed identity */
    char *client;                 /* owned; client id */
    char *object_id;              /* owned; the principal */
    uint64_t number;              /* from 1 */
    int64_t issued_ms;            /* simulator's clock */
    int64_t expires_ms;
    char revoked[16];  /* how it is refused before its end; "": it is not */
    uint64_t accepted; /* requests that it opened */
    uint64_t refused;
};

struct entra;   /* entra.h */
struct journal; /* journal.h */
struct sim;

struct account {
    struct sim *sim;           /* borrowed */
    const struct json *config; /* borrowed from sim->config */
    char *name;                /* owned */
    enum kind kind;
    int port;
    int fd;
    char *key;           /* owned; NULL: no authentication */
    char *organization;  /* owned */
    char *project;       /* owned */
    struct entra *entra; /* owned; NULL for the other kinds */
    int64_t expires_in;  /* entra: life of a token in seconds */
    char **tokens;       /* azure: owned bearer tokens that never expire */
    size_t n_tokens;
    void *tls;                       /* SSL_CTX, owned; NULL: clear text */
    struct deployment **deployments; /* owned */
    size_t n_deployments;
    struct switches sw;
    struct switches sw_start; /* as configured; a reset goes back to these */
    struct pace pace;
    struct pace pace_start;
    struct file **files; /* owned, oldest first */
    size_t n_files, cap_files;
    struct map file_ix;
    struct batch **batches; /* owned, oldest first */
    size_t n_batches, cap_batches;
    struct map batch_ix;
    size_t n_active;     /* batches[] entries that are not terminal */
    size_t first_active; /* all before it are terminal */
    size_t n_unread;     /* batches[] entries whose lines are not all looked at */
    uint64_t uploads;    /* really created */
    uint64_t creates;
    int64_t *recent_creates; /* owned ring of the last batch creations, for batches_per_hour */
    size_t n_recent;
    uint64_t connections;
    uint64_t rng;
    struct journal *journal; /* owned */
};

struct sim {
    struct account **accounts; /* owned */
    size_t n_accounts;
    struct account *control; /* owned; kind unused, serves the control port */
    char *data_dir;          /* owned */
    bool own_dir;            /* made by us, removed at the end */
    int64_t skew_ms;         /* how far the simulator's clock is ahead */
    int64_t now_ms;          /* simulator's clock: Unix ms + skew_ms */
    int64_t mono_ms;         /* monotonic, for delays that are really waited */
    struct token *tokens;    /* owned: issued by the entra fakes */
    size_t n_tokens;
    uint64_t n_token_calls;  /* ever made, of all entra fakes */
    struct json_doc *config; /* owned; sim.json, for resets */
    struct fault *faults;    /* owned list, faults.h */
    uint64_t n_faults;       /* ever made */
    uint64_t n_requests;     /* ever seen, on all accounts */
};

/** Read the clocks. */
void sim_tick(struct sim *sim);

/** A random number of an account's own sequence. */
uint64_t sim_random(struct account *acc);

/** Ids in the providers' spellings. `out` holds ID_MAX bytes. */
void sim_new_id(struct account *acc, char *out, const char *prefix, bool dashed);
void sim_hex(uint64_t *rng, char *out, int digits);
void sim_uuid(uint64_t *rng, char *out);

/** Forget all objects, tokens, faults and journals; clock, switches and paces go back to what they
 * were at the start. */
void sim_reset(struct sim *sim);

/** Exit with a message when memory ran out: the simulator is a test tool and does not go on half
 * working. */
void *sim_alloc(size_t size);
void *sim_realloc(void *old, size_t size);
void sim_reserve(struct strbuf *sb, size_t extra);
char *sim_strdup(const char *text); /* NULL stays NULL */
char *sim_strndup(const char *text, size_t len);

/** A shell-like pattern with * only. NULL and "*" match everything. */
bool sim_glob(const char *pattern, const char *text, size_t len);
