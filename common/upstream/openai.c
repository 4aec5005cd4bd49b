/* OpenAI's dialect, and that of everything compatible with it. Source: providers 1. */
#include "upstream/provider.h"

#include <string.h>

#include "dialect.h"

static void do_root(const struct model_account *account, struct strbuf *url)
{
    strbuf_adds(url, account->base);
}

static const char *do_api_version(const struct model_account *account)
{
    (void)account;
    return NULL;
}

static const char *do_credential_header(const struct model_account *account, const char **prefix)
{
    (void)account;
    *prefix = "Bearer ";
    return "Authorization";
}

/* Azure's older pages teach the bare form, which OpenAI refuses. */
static const char *do_endpoint(const char *client_endpoint)
{
    const char *full = provider_endpoint_v1(client_endpoint);

    return full != NULL ? full : client_endpoint;
}

const struct dialect dialect_openai = {
    .root = do_root,
    .api_version = do_api_version,
    .credential_header = do_credential_header,
    .endpoint = do_endpoint,
    .min_expiry_s = 3600,
    .max_expiry_s = 2592000,
};

int openai_base_parse(const char *api_base, char **out, const char **why)
{
    struct provider_base base;
    int err;

    *out = NULL;
    err = provider_base_parse(api_base, &base, why);
    if (err != 0)
        goto done;
    err = ERR_INVALID;
    if (base.query.len != 0) {
        *why = "the address must not have a query";
        goto done;
    }
    /* A whole endpoint pasted from the manual is cut after /v1, but only where we know the paths.
     */
    if (provider_host_in(base.host, "api.openai.com") &&
        (base.path.len == 0 || strncmp(strbuf_str(&base.path), "/v1/", 4) == 0)) {
        strbuf_reset(&base.path);
        strbuf_adds(&base.path, "/v1");
    }
    strbuf_add(&base.origin, strbuf_str(&base.path), base.path.len);
    *out = strbuf_failed(&base.path) ? NULL : strbuf_take(&base.origin);
    err = *out != NULL ? 0 : ERR_NOMEM;
    if (err != 0)
        *why = "out of memory";
done:
    provider_base_deinit(&base);
    return err;
}
