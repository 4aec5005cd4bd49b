/* Which URL may be asked. Libcurl's own parser decides, so that nobody reads an address differently
 * than the one who connects; what it said of an origin is remembered, as there are few of them. */
#include "client_impl.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static bool is_loopback(const char *host)
{
    struct in_addr v4;

    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 &&
           (v4.s_addr == INADDR_ANY || (ntohl(v4.s_addr) >> 24) == 127);
}

/* Where platforms hand out tokens to their machines: 169.254.169.254, and App Service's 169.254.x.y
 * or private ones. They are numbers, so that no name server has a say. */
static bool is_of_platform(const char *host)
{
    struct in_addr v4;
    uint32_t address;

    if (inet_pton(AF_INET, host, &v4) != 1)
        return false;
    address = ntohl(v4.s_addr);
    return address >> 16 == 0xa9fe || address >> 24 == 10 || address >> 20 == 0xac1 ||
           address >> 16 == 0xc0a8;
}

/* @return NULL when the URL may be asked, else why not */
static const char *judge(const struct upstream *up, const char *scheme, const char *host,
                         const char *user)
{
    if (user != NULL)
        return "start: the URL holds credentials";
    if (strcmp(scheme, "https") == 0)
        return NULL;
    if (strcmp(scheme, "http") != 0)
        return "start: neither https nor http";
    if (!up->allow_insecure && !is_loopback(host) && !(up->allow_metadata && is_of_platform(host)))
        return "start: clear text is allowed to this machine only";
    return NULL;
}

static const char *ask_curl(const struct upstream *up, const char *url)
{
    char *scheme = NULL, *host = NULL, *user = NULL;
    const char *why = "start: the URL cannot be read";
    CURLU *parts = curl_url();
    CURLUcode code = CURLUE_OUT_OF_MEMORY;

    if (parts != NULL)
        code = curl_url_set(parts, CURLUPART_URL, url, CURLU_PATH_AS_IS);
    if (code == CURLUE_OK)
        code = curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
    if (code == CURLUE_OK)
        code = curl_url_get(parts, CURLUPART_HOST, &host, 0);
    if (code == CURLUE_OK) {
        code = curl_url_get(parts, CURLUPART_USER, &user, 0);
        if (code == CURLUE_OK || code == CURLUE_NO_USER)
            why = judge(up, scheme, host, user);
    }
    if (code == CURLUE_OUT_OF_MEMORY)
        why = OUT_OF_MEMORY;
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(parts);
    return why;
}

size_t origin_length(const char *url)
{
    const char *authority = strstr(url, "://"), *at;
    size_t len;

    if (authority == NULL)
        return 0;
    authority += 3;
    len = strcspn(authority, "/?#@\\");
    if (len == 0 || authority[len] != '/')
        return 0;
    for (at = url; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            return 0;
    return (size_t)(authority - url) + len + 1;
}

/* Whether no host stands between "//" and the port, path or end. Libcurl would take the next thing
 * that looks like one ("http:///x"). */
static bool names_no_host(const char *url)
{
    const char *authority = strstr(url, "://");

    return authority != NULL && (authority[3] == '\0' || strchr("/?#:@\\", authority[3]) != NULL);
}

static bool is_known(const struct upstream *up, const char *url, size_t len)
{
    size_t i;

    for (i = 0; i < MAX_ORIGINS; i++)
        if (up->origins[i].len == len && memcmp(up->origins[i].text, url, len) == 0)
            return true;
    return false;
}

const char *origin_check(struct upstream *up, const char *url)
{
    size_t len = origin_length(url);
    struct origin *origin;
    const char *why;

    if (names_no_host(url))
        return "start: the URL names no host";
    if (len != 0 && is_known(up, url, len))
        return NULL;
    why = ask_curl(up, url);
    if (why == NULL && len != 0 && len <= sizeof(origin->text)) {
        origin = &up->origins[up->next_origin++ % MAX_ORIGINS];
        memcpy(origin->text, url, len);
        origin->len = len;
    }
    return why;
}
