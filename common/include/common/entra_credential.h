/* A credential of Entra ID: by what an Azure account gets its tokens. config fills it, common/entra
 * makes token calls of it, and its fingerprint names the cell in which its token lies.
 *
 * It says where things are, not what they are at the moment: the files of assertions, certificates and
 * secrets are read for each token call, so that whoever rotates them need not tell us. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/secret.h"

enum entra_kind {
    ENTRA_SECRET,         /* client secret: `secret`, or what the file `path` holds */
    ENTRA_CERTIFICATE,    /* `path`: PEM or PFX with key and certificate; `secret`: its password */
    ENTRA_ASSERTION_FILE, /* workload identity: `path` holds somebody else's signed statement */
    ENTRA_ASSERTION_ENV,  /* `secret`: that statement, as a variable held it at the start */
    ENTRA_MANAGED         /* the platform's own identity: `source`, `endpoint`, `selector` */
};
#define ENTRA_KINDS 5

#define ENTRA_MAX_CREDENTIALS 1024 /* of one configuration */

/* Who hands out the tokens of a managed identity, which decides the wire form. */
enum entra_source {
    ENTRA_SOURCE_NONE, /* not ENTRA_MANAGED */
    ENTRA_IMDS,        /* virtual machines, nodes of a cluster */
    ENTRA_APP_SERVICE, /* also Functions and Container Apps; `secret`: IDENTITY_HEADER */
    ENTRA_ML,          /* `secret`: MSI_SECRET */
    ENTRA_CLOUD_SHELL,
    ENTRA_ARC,
    ENTRA_SERVICE_FABRIC /* never in a list: config refuses it with a text */
};

/* By what one of several user-assigned identities is chosen. */
enum entra_selector {
    ENTRA_SELECT_NONE,
    ENTRA_BY_CLIENT_ID,
    ENTRA_BY_OBJECT_ID,
    ENTRA_BY_RESOURCE_ID
};

struct entra_credential {
    enum entra_kind kind;
    enum entra_source source;
    enum entra_selector selector;
    bool send_chain; /* CERTIFICATE: the assertion carries the certificates (x5c) */
    /* Owned; for people: "client 3f2a... of tenant contoso, by secret"; never a secret */
    char *name;
    char *authority;      /* owned; "https://login.microsoftonline.com"; NULL for MANAGED */
    char *tenant;         /* owned; id or domain; NULL for MANAGED */
    char *client_id;      /* owned; NULL for MANAGED, where `selector_value` may have one */
    char *scope;          /* owned; "https://cognitiveservices.azure.com/.default" */
    char *path;           /* owned; see the kinds; NULL: no file */
    char *endpoint;       /* owned; MANAGED: the URL that is asked, without a query; else NULL */
    char *selector_value; /* owned; NULL for ENTRA_SELECT_NONE */
    struct secret secret; /* see kinds and sources; unset: none */
    const char *why;      /* constant: which setting or variable chose it */
    /* entra_credential_seal()'s; the same in every process and after an upgrade; 0: not sealed */
    uint64_t fingerprint;
};

/** Set the fingerprint: a digest of all that a token depends on, the secret included. `name` and
 * `why` do not count. It is no secret, but it is made of one: for tables, not for logs.
 * @return 0, ERR_NOMEM */
MUST_USE int entra_credential_seal(struct entra_credential *credential);

/** Whether two sealed ones are one credential, which is asked for one token. */
bool entra_credential_equal(const struct entra_credential *a, const struct entra_credential *b);

/** "secret", "certificate", "assertion_file", "assertion_env", "managed_identity". */
const char *entra_kind_name(enum entra_kind kind);

/** "imds", "app_service", ...; "none". */
const char *entra_source_name(enum entra_source source);

/** Free what it owns, wipe the secret; it is empty afterwards. */
void entra_credential_deinit(struct entra_credential *credential);
