/* See hook_url.h. */
#include "webhook/hook_url.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_MAX 253
#define LETTERS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS   "0123456789"

static size_t scheme_length(const char *url)
{
    if (strncasecmp(url, "https://", 8) == 0)
        return 8;
    return strncasecmp(url, "http://", 7) == 0 ? 7 : 0;
}

static bool is_port(const char *text, size_t len)
{
    char digits[6];

    if (len == 0 || len >= sizeof(digits) || strspn(text, DIGITS) < len)
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    return atoi(digits) >= 1 && atoi(digits) <= 65535;
}

static bool is_v6(const char *text, size_t len)
{
    char address[INET6_ADDRSTRLEN];
    struct in6_addr v6;

    if (len >= sizeof(address))
        return false;
    memcpy(address, text, len);
    address[len] = '\0';
    return inet_pton(AF_INET6, address, &v6) == 1;
}

/* Labels of a name, or an IPv4 address of four plain numbers: other spellings of one are names that
 * begin no label with a letter, and some resolvers take them for an address. */
static bool is_host(const char *text, size_t len)
{
    char host[HOST_MAX + 1];
    struct in_addr v4;
    const char *last;

    if (len == 0 || len > HOST_MAX || strspn(text, LETTERS DIGITS ".-") < len)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    if (host[0] == '.' || host[0] == '-' || strstr(host, "..") != NULL)
        return false;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return true;
    if (host[len - 1] == '.') /* a full name */
        host[len - 1] = '\0';
    last = strrchr(host, '.');
    last = last != NULL ? last + 1 : host;
    return *last != '\0' && strspn(last, DIGITS) == 0;
}

/* [start, end): "host", "host:port", "[v6]:port". */
static const char *authority_fault(const char *start, const char *end)
{
    const char *close, *colon;
    size_t len = (size_t)(end - start);

    if (len == 0)
        return "it names no host";
    if (memchr(start, '@', len) != NULL)
        return "it holds a user or a password";
    if (*start == '[') {
        close = memchr(start, ']', len);
        if (close == NULL || !is_v6(start + 1, (size_t)(close - start - 1)))
            return "its host is no address";
        colon = close + 1;
    } else {
        colon = memchr(start, ':', len);
        if (colon == NULL)
            colon = end;
        if (!is_host(start, (size_t)(colon - start)))
            return "its host is neither a name nor an address";
    }
    if (colon == end)
        return NULL;
    return *colon == ':' && is_port(colon + 1, (size_t)(end - colon - 1))
               ? NULL
               : "its port is none from 1 to 65535";
}

const char *hook_url_fault(const char *url, bool allow_http)
{
    size_t scheme = scheme_length(url);

    if (strlen(url) > HOOK_URL_MAX)
        return "it is longer than 2048 bytes";
    if (scheme == 0)
        return "it does not begin with https://";
    if (scheme == 7 && !allow_http)
        return "clear text is not allowed (tranche_settings.webhook_allow_http)";
    for (const char *p = url; *p != '\0'; p++)
        if (*p <= ' ' || *p > '~' || strchr("\"<>\\^`{|}", *p) != NULL)
            return "it has a character that no URL has";
    if (strchr(url, '#') != NULL)
        return "it has a fragment, which is sent to nobody";
    return authority_fault(url + scheme, url + scheme + strcspn(url + scheme, "/?"));
}

bool hook_url_address(const char *url, unsigned char out[HOOK_ADDRESS_BYTES])
{
    const char *host = url + scheme_length(url);
    bool bracket = *host == '[';
    size_t len = strcspn(host += bracket, bracket ? "]" : ":/?");
    struct hook_range range;
    char text[INET6_ADDRSTRLEN];

    if (len >= sizeof(text))
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    if (hook_range_read(text, &range) != 0)
        return false;
    memcpy(out, range.bytes, sizeof(range.bytes));
    return true;
}

int hook_url_shown(const char *url)
{
    size_t scheme = scheme_length(url);

    return (int)(scheme + strcspn(url + scheme, "/?#"));
}
