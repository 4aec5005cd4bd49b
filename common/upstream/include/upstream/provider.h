/* The dialects behind one table of functions: URL, authentication, body quirks on the way out. On
 * the way back every answer passes one normaliser (normal.h) and one error translator (failure.h).
 * Sources: providers 1 and 2. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "json/json.h"
#include "common/model.h"
#include "common/strbuf.h"
#include "upstream/client.h"

enum provider_call {
    CALL_FILE_CREATE,
    CALL_FILE_LIST,
    CALL_FILE_GET,
    CALL_FILE_DELETE,
    CALL_FILE_CONTENT,
    CALL_BATCH_CREATE,
    CALL_BATCH_LIST,
    CALL_BATCH_GET,
    CALL_BATCH_CANCEL,
    CALL_MODEL_LIST
};

/* Fields of a multipart upload besides the file itself. */
struct provider_upload {
    const char *purpose;
    const char *filename;              /* the client's, sanitised */
    const char *expires_after_anchor;  /* NULL: not given */
    const char *expires_after_seconds; /* NULL: not given; digits */
};

/** Append the URL of a call: path, id percent-encoded, api-version where the dialect needs it. An
 * api_version of "v1", "latest" or "preview" means Azure's v1 API, as NULL does; "preview" is also
 * sent.
 *  @param id     native id; NULL for collection calls
 *  @param query  further query string without '?', already encoded; NULL or "" for none
 *  @return 0, ERR_NOMEM, ERR_INVALID (an item call without an id, "." or "..", a query with bytes
 * that no URL has) */
MUST_USE int provider_url(const struct model_account *account, enum provider_call call,
                          const char *id, const char *query, struct strbuf *url);

/** "https://host/openai/files/{file_id}?api-version=..." for people (tranche check). */
void provider_url_pattern(const struct model_account *account, struct strbuf *out);

/** "GET", "POST" or "DELETE": the method of a call, a constant. */
const char *provider_method(enum provider_call call);

/** What `expires_after` and `output_expires_after` may say, in seconds (providers statement 103;
 * providers 1.1, 2.4). */
void provider_expiry_range(enum provider provider, int64_t *min_s, int64_t *max_s);

/** Whose rules files and batches of an account follow: those of the host, where it is known to be
 * Azure's (a row may speak OpenAI's dialect to Azure's v1 API), else those of its provider. */
enum provider provider_rules(const struct model_account *account);

/** "/v1/chat/completions" for "/chat/completions", and so on for the endpoints known in
 * providers 1.3; NULL for anything else, also for what has its /v1 already. */
const char *provider_endpoint_v1(const char *endpoint);

/** Whether a file of that `status` is still processed, and no batch can be made of it yet (providers
 * statement 104). NULL is fine: it is not. */
bool provider_file_is_pending(const char *status);

/* Azure answers 431 above 10 custom ones (providers 2.9); of those here six are HTTP's own */
#define PROVIDER_MAX_HEADERS 14

/* Header lines for one call; the strings live in `storage`. */
struct provider_headers {
    struct upstream_header list[PROVIDER_MAX_HEADERS];
    size_t num;
    struct strbuf storage; /* holds the credential: provider_headers_wipe() */
};

/** Authentication (none when the account has no key and is none by Entra ID), Accept,
 * Accept-Encoding: identity, User-Agent, Content-Type (when not NULL), OpenAI's organization and
 * project, and the account's own. `out` is filled anew; wipe it when the call has started.
 *  @param token  of an account by Entra ID: the token of now, of any length; read for no other
 *  @return 0, ERR_NOMEM, ERR_LIMIT, ERR_INVALID (a control byte in a value, such as a line end
 * pasted with a key; or there is no token for an account by Entra ID, which is never called without
 * one) */
MUST_USE int provider_headers(const struct model_account *account, const char *token,
                              enum provider_call call, const char *content_type,
                              struct provider_headers *out);
void provider_headers_wipe(struct provider_headers *headers);

/** The bytes of the multipart body before and after the file's bytes: fields first, then the file
 * part with its own Content-Type and no part-level Content-Length; `expires_after[...]` in
 * brackets. Exact Content-Length = prologue + file + epilogue.
 *  @param boundary  caller's, must not occur in the file with negligible probability (128 random
 * bits)
 *  @return 0, ERR_NOMEM, ERR_INVALID (a boundary against RFC 2046) */
MUST_USE int provider_multipart(const struct provider_upload *upload, const char *boundary,
                                struct strbuf *prologue, struct strbuf *epilogue);

/** The body of a batch create for this provider from the client's own (already checked) object:
 * only fields the provider knows (input_file_id replaced by `native_file_id`, endpoint,
 * completion_window, metadata, output_expires_after, and unknown members as they came), without
 * gateway-only ones (model, custom_llm_provider, provider, litellm_*) and without what LiteLLM's
 * clients put there for a client of their own, credentials and addresses included (api_key,
 * api_base, base_url, extra_headers, ...). `endpoint` goes to Azure as
 * the client sent it; OpenAI gets the /v1 that Azure's older pages leave out. Appended to `out`;
 * `doc` and `request` are not changed.
 *  @param native_file_id  NULL: input_file_id stays as it is
 *  @return 0, ERR_NOMEM, ERR_INVALID (no object) */
MUST_USE int provider_batch_body(const struct model_account *account, struct json_doc *doc,
                                 const struct json *request, const char *native_file_id,
                                 struct strbuf *out);

/* What people paste as api_base, taken apart. */
struct azure_endpoint {
    char *base; /* owned; scheme://host[:port][/prefix] */
    /* Owned; from ?api-version= in the URL, NULL when absent; "" when the URL is of the v1 form
     * ("preview" when a v1 URL asks for that) */
    char *api_version;
    char *deployment; /* owned; from /deployments/x, NULL when absent */
    bool v1;          /* .../openai/v1 */
};

/** Normalise every form: bare host, trailing slash, /openai, /openai/v1, /openai/deployments/x/...,
 * cognitiveservices and services.ai hosts, a missing scheme (https is assumed). Host and scheme
 * become lower case, default ports go, a prefix before /openai (API gateways) stays. On error `out`
 * holds nothing. @param why constant text on error @return 0, ERR_INVALID, ERR_NOMEM */
MUST_USE int azure_endpoint_parse(const char *api_base, struct azure_endpoint *out,
                                  const char **why);
void azure_endpoint_free(struct azure_endpoint *endpoint);

/** The same for OpenAI: adds nothing but removes a trailing slash; a bare https://api.openai.com
 * gets /v1, and what follows /v1 there goes.
 *  @param out  owned by the caller (free()); NULL on error */
MUST_USE int openai_base_parse(const char *api_base, char **out, const char **why);
