/* Azure OpenAI's dialect: the dated API under /openai with an api-version, and the v1 API under
 * /openai/v1. Source: providers 2. */
#include "upstream/provider.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "dialect.h"

#define MAX_SEGMENTS 32

struct segment {
    const char *text; /* borrowed, not terminated */
    size_t len;
};

/* "v1", "latest" and "preview" are no dates: they name the v1 API (providers 2.1). */
static bool is_v1(const char *api_version)
{
    return api_version == NULL || *api_version == '\0' || strcasecmp(api_version, "v1") == 0 ||
           strcasecmp(api_version, "latest") == 0 || strcasecmp(api_version, "preview") == 0;
}

static void do_root(const struct model_account *account, struct strbuf *url)
{
    strbuf_adds(url, account->base);
    strbuf_adds(url, is_v1(account->api_version) ? "/openai/v1" : "/openai");
}

static const char *do_api_version(const struct model_account *account)
{
    const char *v = account->api_version;

    if (!is_v1(v))
        return v;
    return v != NULL && strcasecmp(v, "preview") == 0 ? "preview" : NULL;
}

static const char *do_credential_header(const struct model_account *account, const char **prefix)
{
    if (account->auth != ACCOUNT_AUTH_API_KEY) {
        *prefix = "Bearer ";
        return "Authorization";
    }
    *prefix = "";
    return "api-key";
}

static const char *do_endpoint(const char *client_endpoint)
{
    return client_endpoint;
}

const struct dialect dialect_azure = {
    .root = do_root,
    .api_version = do_api_version,
    .credential_header = do_credential_header,
    .endpoint = do_endpoint,
    .min_expiry_s = 1209600,
    .max_expiry_s = 2592000,
};

static bool segment_is(const struct segment *s, const char *text)
{
    return s->len == strlen(text) && strncasecmp(s->text, text, s->len) == 0;
}

/* An empty segment stands behind the last one, where another would begin.
 *  @param segments  MAX_SEGMENTS + 2
 *  @return how many segments, or MAX_SEGMENTS + 1 when there are too many */
static size_t split_path(const char *path, struct segment *segments)
{
    size_t n = 0;

    while (*path == '/') {
        if (n == MAX_SEGMENTS)
            return MAX_SEGMENTS + 1;
        segments[n].text = ++path;
        segments[n].len = strcspn(path, "/");
        path += segments[n++].len;
    }
    segments[n] = (struct segment){path + 1, 0};
    return n;
}

/* Microsoft's own hosts have no prefix before /openai; an API gateway or a proxy may. */
static bool is_microsoft(const char *host)
{
    return provider_host_in(host, "azure.com") || provider_host_in(host, "azure.us") ||
           provider_host_in(host, "azure.cn") || provider_host_in(host, "microsoft.com");
}

/* The /openai that the API stands under: the first that is not a prefix of another one
 * ("/openai/openai/v1" behind an API gateway), and not a deployment's name. */
static size_t find_openai(const struct segment *segments, size_t num)
{
    size_t i;

    for (i = 0; i < num; i++)
        if (segment_is(&segments[i], "openai") && !segment_is(&segments[i + 1], "openai"))
            break;
    return i;
}

static size_t find_deployments(const struct segment *segments, size_t num)
{
    size_t i;

    for (i = 0; i < num; i++)
        if (segment_is(&segments[i], "deployments"))
            break;
    return i;
}

/* How many leading segments stay as the prefix when the address has no /openai. */
static int prefix_without_openai(const char *host, const struct segment *segments, size_t num,
                                 size_t *prefix, struct azure_endpoint *out, const char **why)
{
    size_t at = find_deployments(segments, num);

    if (!is_microsoft(host)) {
        *prefix = at;
        return 0;
    }
    *prefix = 0;
    if (num == 0 || at == 0 || segment_is(&segments[0], "models"))
        return 0;
    if (segment_is(&segments[0], "api") && segment_is(&segments[1], "projects"))
        return 0; /* a Foundry project: its resource serves /openai at the root */
    if (segment_is(&segments[0], "v1")) {
        out->v1 = true;
        return 0;
    }
    *why = "the path is none of Azure OpenAI's; give https://RESOURCE.openai.azure.com";
    return ERR_INVALID;
}

static int take_segment(const struct segment *s, char **out)
{
    *out = strndup(s->text, s->len);
    return *out != NULL ? 0 : ERR_NOMEM;
}

/* Find the prefix, the form and the deployment in the path. */
static int read_path(const struct provider_base *base, struct azure_endpoint *out,
                     size_t *prefix_len, const char **why)
{
    struct segment segments[MAX_SEGMENTS + 2];
    const char *path = strbuf_str(&base->path);
    size_t num = split_path(path, segments), prefix, at;
    int err;

    if (num > MAX_SEGMENTS) {
        *why = "the path has too many segments";
        return ERR_INVALID;
    }
    prefix = find_openai(segments, num);
    at = prefix + 1;
    if (prefix == num) {
        err = prefix_without_openai(base->host, segments, num, &prefix, out, why);
        if (err != 0)
            return err;
        at = find_deployments(segments, num);
    } else if (segment_is(&segments[at], "v1")) {
        out->v1 = true;
    }
    *prefix_len = (size_t)(segments[prefix].text - 1 - path);
    if (at + 1 < num && segment_is(&segments[at], "deployments"))
        return take_segment(&segments[at + 1], &out->deployment);
    return 0;
}

/* Up to the `&` or NUL behind it. */
static bool is_version(const char *text, size_t len)
{
    return len <= 64 &&
           strspn(text, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-") == len;
}

/* The v1 form wins over a dated version that somebody left in its query: that API has no dates. */
static int read_query(const char *query, struct azure_endpoint *out, const char **why)
{
    static const char name[] = "api-version=";
    const char *value = NULL;
    size_t len = 0;

    for (; *query != '\0'; query += strcspn(query, "&"), query += *query == '&') {
        if (strncasecmp(query, name, sizeof(name) - 1) != 0)
            continue;
        value = query + sizeof(name) - 1;
        len = strcspn(value, "&");
    }
    if (value != NULL && !is_version(value, len)) {
        *why = "the api-version in the query is none";
        return ERR_INVALID;
    }
    if (out->v1 && !(len == 7 && strncasecmp(value, "preview", len) == 0))
        out->api_version = strdup("");
    else if (len > 0)
        out->api_version = strndup(value, len);
    else
        return 0;
    return out->api_version != NULL ? 0 : ERR_NOMEM;
}

int azure_endpoint_parse(const char *api_base, struct azure_endpoint *out, const char **why)
{
    struct provider_base base;
    size_t prefix_len = 0;
    int err;

    memset(out, 0, sizeof(*out));
    err = provider_base_parse(api_base, &base, why);
    if (err == 0)
        err = read_path(&base, out, &prefix_len, why);
    if (err == 0)
        err = read_query(strbuf_str(&base.query), out, why);
    if (err == 0) {
        strbuf_add(&base.origin, strbuf_str(&base.path), prefix_len);
        out->base = strbuf_take(&base.origin);
        err = out->base != NULL ? 0 : ERR_NOMEM;
    }
    if (err == ERR_NOMEM)
        *why = "out of memory";
    if (err != 0)
        azure_endpoint_free(out);
    provider_base_deinit(&base);
    return err;
}

void azure_endpoint_free(struct azure_endpoint *endpoint)
{
    free(endpoint->base);
    free(endpoint->api_version);
    free(endpoint->deployment);
    memset(endpoint, 0, sizeof(*endpoint));
}
