/* The token services of one `entra` account: what is configured, what was issued, who asked.
 *   entra.c           which service a path means; the token endpoint of Entra ID
 *   entra_config.c    clients and identities, from sim.json and from the control port
 *   entra_jwt.c       signed and foreign client assertions
 *   entra_metadata.c  the six places where managed identities get their tokens
 *   entra_tokens.c    issuing, spelling the answer, accepting, revoking, the ledger */
#pragma once

#include <openssl/x509.h>

#include "call.h"

enum token_source {
    SOURCE_SECRET,
    SOURCE_CERTIFICATE,
    SOURCE_ASSERTION,
    SOURCE_IMDS,
    SOURCE_APP_SERVICE,
    SOURCE_ML,
    SOURCE_CLOUD_SHELL,
    SOURCE_ARC,
    SOURCE_FABRIC
};

#define N_SOURCES (SOURCE_FABRIC + 1)

/* A client secret, or the text of a foreign assertion. */
struct entra_value {
    char *text;  /* owned */
    char *state; /* owned; "valid", "expired"; of an assertion also "issuer", "subject", "audience":
                    what does not fit */
};

/* A service principal of one tenant. */
struct entra_client {
    char *tenant;    /* owned; NULL: any */
    char *id;        /* owned; NULL: any */
    char *object_id; /* owned */
    struct entra_value *secrets;
    size_t n_secrets;
    bool any_secret;
    struct entra_value *assertions;
    size_t n_assertions;
    bool any_assertion;
    X509 **certificates; /* owned */
    size_t n_certificates;
    char *issuer; /* owned; what a foreign JWT has to say; NULL: not compared */
    char *subject;
    char *audience;
    bool disabled;
    bool chain; /* a signed assertion must carry x5c */
    int64_t expires_in;
};

struct entra_identity {
    char *client_id; /* all owned */
    char *object_id;
    char *resource_id;
    char *sources; /* comma-separated; "": all */
    bool system;
    int64_t expires_in;
};

/* Arc: a key file that was offered and not yet used. */
struct arc_key {
    char *path; /* owned */
    char *text; /* owned */
};

/* One call of a token service, for the ledger. */
struct token_call {
    enum token_source source;
    char *tenant;     /* all owned; NULL: not known */
    char *client;     /* client id */
    char *object_id;  /* whose token it is, or would be */
    char *credential; /* which of several: "secret 2", "certificate <thumbprint>" */
    char *scope;      /* as asked */
    char *user_agent;
    int status;
    int number;      /* AADSTS; 0: none */
    char *error;     /* owned; NULL: none */
    uint64_t token;  /* number of the token issued; 0: none */
    uint64_t order;  /* over all accounts, from 1 */
    uint64_t conn;   /* connection */
    int64_t at_ms;   /* simulator's clock */
    int64_t mono_ms; /* real time */
};

struct entra {
    struct entra_client *clients; /* owned */
    size_t n_clients;
    struct entra_identity *identities; /* owned */
    size_t n_identities;
    char *app_service_header; /* owned; NULL: any */
    char *ml_secret;
    char *fabric_secret;
    char *arc_directory; /* owned; NULL: no Arc */
    char **jtis;         /* owned; ids of signed assertions that were seen */
    size_t n_jtis;
    struct arc_key *arc_keys; /* owned */
    size_t n_arc_keys;
    struct token_call *calls; /* owned; the ledger */
    size_t n_calls, cap_calls;
};

/* A call under way. */
struct token_ask {
    struct account *acc; /* all borrowed */
    struct entra *entra;
    struct request *req;
    struct reply *rep;
    enum token_source source;
    const char *resource; /* the audience; NULL: not known yet */
    int64_t expires_in;
    const char *echo_name; /* a selector that the answer repeats; NULL: none */
    const char *echo_value;
    struct token_call note; /* what the ledger will say; moved there at the end */
};

const char *source_name(enum token_source source);

/** Now, in seconds, by the account's own clock. */
int64_t entra_now_s(const struct account *acc);

/** Text equal; NULL equals nothing. */
bool text_is(const char *a, const char *b);

/** Remember a text in a field of the note: a copy, in place of what was there. */
void note_text(char **slot, const char *text);

/* entra_config.c */
int entra_config(struct account *acc, const struct json *v, struct strbuf *why);
void entra_free(struct account *acc);
/** Change the members of a client that `v` has (found by client_id and tenant), or add it. */
int entra_set_client(struct account *acc, const struct json *v, struct strbuf *why);
/** Take `identities` in place of those that there are. */
int entra_set_identities(struct account *acc, const struct json *v, struct strbuf *why);

/* entra.c */
/** Refuse as Entra ID does. */
void entra_refuse(struct token_ask *ask, int status, const char *error, int number,
                  const char *text);
/** Whether tokens for a resource are given; the error is answered. */
bool entra_resource_known(const struct account *acc, const char *resource);

/* entra_jwt.c */
/** Look at a client assertion. `source`, `credential` and what is wrong go into the ask.
 *  @return whether it is good; else the error is answered */
bool assertion_ok(struct token_ask *ask, const struct entra_client *client, const char *text,
                  const char *url);

/* entra_metadata.c */
/** Answer when the path is one of a managed identity's. */
bool metadata_call(struct token_ask *ask);

/* entra_tokens.c */
/** Answer with a token, unless the caller is throttled. */
void tokens_grant(struct token_ask *ask);
/** Put the note of a call that is answered into the ledger. */
void tokens_note(struct token_ask *ask);
void tokens_forget(struct entra *e);
