/* Who may: keys and tokens, and how each dialect refuses them. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "call.h"

static const char *bearer_of(const struct request *req, size_t *len)
{
    const struct header *h = request_header(req, "authorization");

    if (h == NULL || h->value_len < 7 || strncasecmp(h->value, "bearer ", 7) != 0)
        return NULL;
    *len = h->value_len - 7;
    return h->value + 7;
}

static bool same(const char *text, const char *p, size_t len)
{
    return text != NULL && strlen(text) == len && memcmp(text, p, len) == 0;
}

bool openai_authorised(struct call *call)
{
    size_t len = 0;
    const char *bearer = bearer_of(call->req, &len);

    if (bearer != NULL && same(call->acc->key, bearer, len))
        return true;
    int shown = bearer == NULL ? 0 : len < 3 ? (int)len : 3;
    if (bearer == NULL)
        call_error(call, 401, NULL, NULL,
                   "You didn't provide an API key. You need to provide your API key in an "
                   "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).");
    else
        call_error(call, 401, "invalid_api_key", NULL,
                   "Incorrect API key provided: %.*s***. You can find your API key at "
                   "https://platform.openai.com/account/api-keys.",
                   shown, bearer);
    return false;
}

/* What the call would do, in the words of Azure's roles. */
static const char *data_action(const struct call *call)
{
    bool read = request_is(call->req, "GET") || request_is(call->req, "HEAD");

    if (call->collection == COLLECTION_FILES)
        return read ? "Microsoft.CognitiveServices/accounts/OpenAI/files/read"
               : request_is(call->req, "DELETE")
                   ? "Microsoft.CognitiveServices/accounts/OpenAI/files/delete"
                   : "Microsoft.CognitiveServices/accounts/OpenAI/files/import/action";
    if (call->collection == COLLECTION_BATCHES)
        return read ? "Microsoft.CognitiveServices/accounts/OpenAI/batch-jobs/read"
                    : "Microsoft.CognitiveServices/accounts/OpenAI/batch-jobs/write";
    return "Microsoft.CognitiveServices/accounts/OpenAI/models/read";
}

static void no_role(struct call *call, const struct token *token)
{
    const struct request *req = call->req;

    if (strcmp(call->acc->sw.role_text, "plain") == 0) {
        call_error(call, 401, "PermissionDenied", NULL,
                   "Principal does not have access to API/Operation.");
        return;
    }
    call_error(call, 401, "PermissionDenied", NULL,
               "The principal `%s` lacks the required data action `%s` to perform `%.*s %.*s` "
               "operation.",
               token->object_id, data_action(call), (int)req->method_len, req->method,
               (int)req->path_len, req->target);
}

static void dead_token(struct call *call, bool bare)
{
    static const char text[] =
        "Unauthorized. Access token is missing, invalid, audience is incorrect "
        "(https://cognitiveservices.azure.com), or have expired.";

    if (!bare) {
        call_error(call, 401, call->acc->sw.auth_code, NULL, "%s", text);
        return;
    }
    call->rep->status = 401;
    strbuf_addf(&call->rep->body, "{\"statusCode\":401,\"message\":\"%s\"}", text);
}

/* Continuous access evaluation: a token with these claims is wanted. */
static void challenge(struct call *call)
{
    dead_token(call, false);
    reply_header(call->rep, "www-authenticate",
                 "Bearer realm=\"\", "
                 "authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", "
                 "error=\"insufficient_claims\", "
                 "claims=\"eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIx"
                 "NzkwMDAwMDAwIn19fQ==\"");
}

static bool refuse_token(struct call *call, enum token_verdict verdict, const struct token *token)
{
    bool bare = strcmp(call->acc->sw.token_401, "bare") == 0 || verdict == TOKEN_DEAD_BARE;

    if (verdict == TOKEN_NO_ROLE)
        no_role(call, token);
    else if (verdict == TOKEN_CHALLENGED)
        challenge(call);
    else
        dead_token(call, bare);
    return false;
}

static bool token_authorised(struct call *call, const char *bearer, size_t len)
{
    const struct account *acc = call->acc;
    const struct token *token = NULL;

    for (size_t i = 0; i < acc->n_tokens; i++) {
        if (same(acc->tokens[i], bearer, len))
            return true;
    }
    enum token_verdict verdict = entra_token_verdict(call->acc, bearer, len, &token);
    return verdict == TOKEN_OK || refuse_token(call, verdict, token);
}

bool azure_authorised(struct call *call)
{
    const struct account *acc = call->acc;
    const struct header *key = request_header(call->req, "api-key");
    size_t len = 0;
    const char *bearer = bearer_of(call->req, &len);
    bool key_ok = key != NULL && same(acc->key, key->value, key->value_len);
    bool counts = bearer != NULL && (key == NULL || strcmp(acc->sw.both_auth, "either") == 0);
    bool bearer_is_key = counts && call->v1 && acc->sw.v1_key_bearer && same(acc->key, bearer, len);

    if (!acc->sw.local_auth && (bearer_is_key || (key != NULL && !counts))) {
        call_error(call, 403, "AuthenticationTypeDisabled", NULL,
                   "Key based authentication is disabled for this resource.");
        return false;
    }
    if ((key_ok || bearer_is_key) && acc->sw.local_auth)
        return true;
    if (counts)
        return token_authorised(call, bearer, len);
    dispatch_error(call->acc, call->req, 401, call->rep);
    return false;
}
