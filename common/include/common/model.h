/* Plain structs that say where work can go; config fills them, the balancer's table and the
 * upstream dialects read them.
 *
 * An account is one place with one credential: an Azure resource or an OpenAI project. A deployment
 * is one row of model_list (or, when `group` is NULL, an account used as a whole: env keys,
 * files_settings). Several deployments of one Azure resource share one account: one list call
 * covers them all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/entra_credential.h"
#include "common/secret.h"

enum provider { PROVIDER_OPENAI, PROVIDER_AZURE };
#define PROVIDER_COUNT 2

enum account_auth {
    ACCOUNT_AUTH_API_KEY,
    ACCOUNT_AUTH_BEARER, /* a token that somebody pasted, in `key` */
    ACCOUNT_AUTH_ENTRA   /* tokens that we fetch by the credential `entra`; `key` is unset */
};

#define MODEL_NO_INDEX UINT32_MAX

/* A header of the operator's own. */
struct model_header {
    char *name;          /* owned */
    struct secret value; /* perhaps a key of a gateway in the way */
};

#define MODEL_MAX_HEADERS 4 /* Azure takes ten with ours (providers 2.9) */

struct model_account {
    enum provider provider;
    /* Owned; scheme://host[:port][/prefix], no trailing slash, nothing of /openai or /v1 for Azure;
     * for OpenAI it includes /v1: "https://api.openai.com/v1" */
    char *base;
    char *api_version; /* owned; Azure: "2024-10-21", ... ; NULL: the v1 API (Azure) or OpenAI */
    /* Owned; for logs and headers: host[:port], made unique when two accounts share it */
    char *name;
    enum account_auth auth;
    struct secret key;            /* API key or pasted token; unset for ENTRA */
    uint32_t entra;               /* index into credentials; MODEL_NO_INDEX unless ENTRA */
    char *organization;           /* owned; OpenAI-Organization, or NULL */
    char *project;                /* owned; OpenAI-Project, or NULL */
    struct model_header *headers; /* owned; extra ones for each call, or NULL */
    size_t num_headers;
    char *credential; /* owned; its credential_name in credential_list, or NULL */
};

struct model_deployment {
    char *group; /* owned; model_list's model_name; NULL: the account as a whole */
    char *id;    /* owned; model_info.id, or a stable digest of names and addresses */
    bool own_id; /* the operator gave it */
    /* Owned; deployment name (Azure) or model id (OpenAI); "" for the account as a whole */
    char *upstream_model;
    char *litellm_model; /* owned; as written: "azure/gpt-4o-batch"; for health and model info */
    char *mode; /* owned; model_info.mode, "batch" for batch deployments; NULL when not given */
    uint32_t account;     /* index into accounts */
    uint32_t fingerprint; /* ids_deployment_fingerprint(); unique in a list */
    /* Fingerprint of the first row that is this very deployment at the provider, which is its own
     * where there is no other; 0: the same */
    uint32_t real;
    double weight; /* 0: not given; negative: given as 0, so nothing goes there while others can */
    int64_t rpm, tpm;              /* 0: not given */
    int32_t order;                 /* 0: not given */
    uint32_t timeout_ms;           /* 0: default */
    uint32_t max_retries;          /* UINT32_MAX: not given */
    uint32_t cooldown_ms;          /* litellm_params.cooldown_time; UINT32_MAX: the router's */
    uint64_t enqueued_token_limit; /* tokens of its unfinished batches; 0: not given */
};

/* A name that clients may use beside those of groups. */
struct model_name {
    char *name; /* owned */
    /* Owned; the group that an alias stands for; NULL: the name (perhaps a pattern) of a row that
     * is not served, so that nothing else may answer to it */
    char *target;
    bool hidden; /* not shown in lists of models */
};

struct model_list {
    struct model_account *accounts; /* owned */
    size_t num_accounts;
    struct entra_credential *credentials; /* owned; sealed, no two of them equal */
    size_t num_credentials;
    struct model_deployment *deployments; /* owned */
    size_t num_deployments;
    /* Of model_list that are served; the other deployments stand for whole accounts, or for names
     * that a pattern takes */
    size_t num_rows;
    struct model_name *names; /* owned */
    size_t num_names;
    /* Index of the account-as-a-whole row that serves a provider named without a model;
     * MODEL_NO_INDEX: none */
    uint32_t default_deployment[PROVIDER_COUNT];
};

/** "openai" or "azure". */
static inline const char *provider_name(enum provider p)
{
    return p == PROVIDER_AZURE ? "azure" : "openai";
}
