/* What provider.c, openai.c and azure.c share; nobody else includes this. A dialect is a table of
 * functions: a third provider is one more file and one more row in provider.c. */
#pragma once

#include <stdint.h>

#include "common/err.h"
#include "common/model.h"
#include "common/strbuf.h"

struct dialect {
    /* Append all of the URL before "/files" or "/batches". */
    void (*root)(const struct model_account *account, struct strbuf *url);
    /* The api-version of the query; NULL: none. */
    const char *(*api_version)(const struct model_account *account);
    /* Name of the header that carries the credential; `*prefix` goes before it. */
    const char *(*credential_header)(const struct model_account *account, const char **prefix);
    /* What to send as `endpoint` for what the client sent. */
    const char *(*endpoint)(const char *client_endpoint);
    int64_t min_expiry_s, max_expiry_s; /* of expires_after and output_expires_after */
};

extern const struct dialect dialect_openai, dialect_azure;

/* A base address taken apart and cleaned. */
struct provider_base {
    struct strbuf origin; /* scheme://host[:port]; lower case, default port removed */
    struct strbuf path;   /* "/a/b" or ""; no empty segments, no trailing slash */
    struct strbuf query;  /* without '?'; "" when absent */
    const char *host;     /* into `origin`: host[:port] */
};

/** Check and take apart `text`; a missing scheme means https. Refuses other schemes, credentials,
 * dot segments and whatever cannot stand in a URL. @param why constant text on error @return 0,
 * ERR_INVALID, ERR_NOMEM; `out` is to be released with provider_base_deinit() in all cases */
MUST_USE int provider_base_parse(const char *text, struct provider_base *out, const char **why);
void provider_base_deinit(struct provider_base *base);

/** Whether `host[:port]` is `domain` or lies below it. */
bool provider_host_in(const char *host, const char *domain);
