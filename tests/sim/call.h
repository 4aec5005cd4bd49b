/* One data-plane call: who is asked for what, in which dialect. */
#pragma once

#include "faults.h"
#include "http.h"
#include "request.h"

enum collection { COLLECTION_NONE, COLLECTION_FILES, COLLECTION_BATCHES, COLLECTION_MODELS };

struct call {
    struct sim *sim;
    struct account *acc;
    struct request *req;
    struct reply *rep;
    bool azure;
    bool v1;          /* azure: below /openai/v1 */
    bool old_version; /* azure: a dated version from before batch */
    char version[48]; /* azure: api-version of a dated path */
    enum collection collection;
    char id[512]; /* "" on a collection */
    char sub[16]; /* "content", "cancel" or "" */
};

/** Answer with an error in the account's dialect. code or param NULL: null (or absent on Azure). */
void call_error(struct call *call, int status, const char *code, const char *param, const char *fmt,
                ...) __attribute__((format(printf, 5, 6)));

/** Throttled by a limit of the fake. */
void call_throttled(struct call *call);

/** Append `"key":"text"` with a comma before it unless it is first in its object. */
void put_str(struct strbuf *out, const char *key, const char *text); /* NULL: null */
void put_int(struct strbuf *out, const char *key, int64_t n);
void put_raw(struct strbuf *out, const char *key, const char *raw);

/** Parse the JSON body. On failure the error is answered and NULL returned. The caller frees *doc
 * in any case. */
struct json *call_json(struct call *call, struct json_doc **doc);

/** The smallest expires_after that this form of the API takes. */
int64_t call_expires_min(const struct call *call);

/* The page of a list. */
struct page {
    int64_t limit;
    bool ascending;
    char *after;   /* owned; NULL: from the start */
    bool past_end; /* the cursor is unknown and the switch says: empty */
};

/** Read limit, order and after; returns 0, or -1 when an error is answered. */
int call_page(struct call *call, struct page *page, int64_t max, int64_t dflt);

/* files.c */
void files_call(struct call *call);
struct file *files_find(struct account *acc, const char *id);
/** Add a file to an account; takes the blob over. */
struct file *files_add(struct account *acc, const char *purpose, const char *filename, bool output,
                       struct blob *blob);
void files_free(struct file *f);
bool files_is_gone(const struct file *f, int64_t now_ms);
const char *files_sha256(struct file *f);

/* batches.c */
void batches_call(struct call *call);
const char *status_name(enum status status);

/** What its lines that succeeded have produced so far. */
int64_t batch_output_tokens(const struct batch *b);
void batches_free(struct account *acc, struct batch *b);

/* entra.c */
void entra_call(struct account *acc, struct request *req, struct reply *rep);
/** The usual body for a status. */
void entra_error(struct account *acc, const struct request *req, int status, struct reply *rep);
/** Forget what was issued and asked; clients and identities are again as configured. */
void entra_reset(struct sim *sim);

/* entra_tokens.c */
/** Answer 429 as the switches say. */
void entra_throttled(struct account *acc, struct reply *rep);
/** Print calls and tokens of one account (NULL: of all). */
void entra_write_ledger(const struct sim *sim, const struct account *only, struct strbuf *out);
/** Make the tokens that `v` describes invalid. Returns how many, or -1 with `why`. */
int entra_revoke(struct sim *sim, const struct json *v, struct strbuf *why);
void entra_forget_tokens(struct sim *sim);

enum token_verdict {
    TOKEN_OK,
    TOKEN_DEAD,       /* unknown, expired, revoked, for another audience */
    TOKEN_DEAD_BARE,  /* revoked, to be told without `error` */
    TOKEN_CHALLENGED, /* revoked, to be told by a claims challenge */
    TOKEN_NO_ROLE
};

/** What an Azure account thinks of a bearer token. `which` is it, borrowed; NULL: not ours. */
enum token_verdict entra_token_verdict(struct account *acc, const char *token, size_t len,
                                       const struct token **which);

/* authorise.c */
/** Whether the request may go on; else the error is answered. */
bool openai_authorised(struct call *call);
bool azure_authorised(struct call *call);

/* entra_config.c */
/** {"client": {...}} or {"identities": [...]} of the control port. Returns 0, or -1 with `why`. */
int entra_change(struct account *acc, const struct json *v, struct strbuf *why);

/* control.c */
void control_call(struct conn *c, struct sim *sim, struct request *req, struct reply *rep);
