/* Which URL may be asked. Libcurl's own parser decides, so that nobody reads an address differently
 * than the one who connects; what it said of an origin is remembered, as there are few of them. */
#include "common/upstream/client_impl.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

static bool is_loopback(const char *host)
{
    struct in_addr v4;

    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

/* @return NULL when the URL may be asked, else why not */
static const char *ask_curl(const struct upstream *up, const char *url)
{
    char *scheme = NULL, *host = NULL, *user = NULL;
    const char *why = "start: the URL cannot be read";
    CURLU *parts = curl_url();

    if (parts == NULL)
        return OUT_OF_MEMORY;
    if (curl_url_set(parts, CURLUPART_URL, url, CURLU_PATH_AS_IS) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        goto done;
    why = "start: the URL holds credentials";
    if (curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_OK)
        goto done;
    why = NULL;
    if (strcmp(scheme, "https") == 0)
        goto done;
    if (strcmp(scheme, "http") != 0)
        why = "start: neither https nor http";
    else if (!up->allow_insecure && !is_loopback(host))
        why = "start: clear text is allowed to this machine only";
done:
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(parts);
    return why;
}

/* Length of "scheme://authority/"; 0 where that is not plain to see, or a byte of the URL is none
 * that a URL may have. */
static size_t origin_length(const char *url)
{
    const char *authority = strstr(url, "://"), *at;
    size_t len;

    if (authority == NULL)
        return 0;
    authority += 3;
    len = strcspn(authority, "/?#@\\");
    if (authority[len] != '/')
        return 0;
    for (at = url; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            return 0;
    return (size_t)(authority - url) + len + 1;
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
