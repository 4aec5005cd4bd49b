/* See entra_cloud.h. Hosts and scopes: (entra 2.6), where it has them. */
#include "entra_cloud.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hosts.h"
#include "common/strbuf.h"

enum { CLOUD_GLOBAL, CLOUD_US, CLOUD_CHINA };

static const struct entra_cloud clouds[] = {
    [CLOUD_GLOBAL] = {"global", "https://login.microsoftonline.com",
                      "https://cognitiveservices.azure.com/.default"},
    [CLOUD_US] = {"US Government", "https://login.microsoftonline.us",
                  "https://cognitiveservices.azure.us/.default"},
    [CLOUD_CHINA] = {"China", "https://login.partner.microsoftonline.cn",
                     "https://cognitiveservices.azure.cn/.default"}};

struct suffix {
    const char *text;
    int cloud;
};

static const struct entra_cloud *find(const char *address, const struct suffix *suffixes)
{
    const char *host;
    size_t len = hosts_find(address, &host);

    len -= len > 0 && host[len - 1] == '.';
    for (; suffixes->text != NULL; suffixes++) {
        size_t end = strlen(suffixes->text);

        if (len > end && strncasecmp(host + len - end, suffixes->text, end) == 0)
            return &clouds[suffixes->cloud];
    }
    return NULL;
}

const struct entra_cloud *entra_cloud_of_base(const char *base)
{
    static const struct suffix suffixes[] = {{".azure.com", CLOUD_GLOBAL},
                                             {".azure-api.net", CLOUD_GLOBAL},
                                             {".azure.us", CLOUD_US},
                                             {".azure-api.us", CLOUD_US},
                                             {".azure.cn", CLOUD_CHINA},
                                             {".azure-api.cn", CLOUD_CHINA},
                                             {NULL, 0}};

    return find(base, suffixes);
}

const struct entra_cloud *entra_cloud_of_authority(const char *authority)
{
    static const struct suffix suffixes[] = {{".microsoftonline.com", CLOUD_GLOBAL},
                                             {".microsoft.com", CLOUD_GLOBAL},
                                             {".windows.net", CLOUD_GLOBAL},
                                             {".microsoftonline.us", CLOUD_US},
                                             {".microsoftonline.cn", CLOUD_CHINA},
                                             {".chinacloudapi.cn", CLOUD_CHINA},
                                             {NULL, 0}};

    return find(authority, suffixes);
}

const struct entra_cloud *entra_cloud_default(void)
{
    return &clouds[CLOUD_GLOBAL];
}

static bool is_visible(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return false;
    return true;
}

/* Host and port, nothing else: a secret is sent there. */
static bool is_host(const char *text)
{
    size_t host = *text == '[' ? strspn(text + 1, "0123456789abcdefABCDEF:.") + 2
                               : strspn(text, "0123456789abcdefghijklmnopqrstuvwxyz"
                                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ.-_");
    const char *port = text + host;

    if (host == 0 || (*text == '[' && text[host - 1] != ']'))
        return false;
    return *port == '\0' ||
           (*port == ':' && port[1] != '\0' && port[1 + strspn(port + 1, "0123456789")] == '\0');
}

int entra_cloud_authority(const char *text, size_t len, char **out, const char **why)
{
    struct strbuf address = STRBUF_INIT;
    int rc = ERR_INVALID;

    *out = NULL;
    *why = "wanted a host such as login.microsoftonline.com, with or without https://";
    while (len > 0 && text[len - 1] == '/')
        len--;
    if (!is_visible(text, len))
        return ERR_INVALID;
    if (memmem(text, len, "://", 3) == NULL)
        strbuf_adds(&address, "https://");
    strbuf_add(&address, text, len);
    if (strbuf_failed(&address)) {
        rc = ERR_NOMEM;
    } else if (strncasecmp(address.data, "https://", 8) == 0 && is_host(address.data + 8)) {
        rc = 0;
    } else if (strncasecmp(address.data, "http://", 7) == 0 && is_host(address.data + 7)) {
        *why = "wanted https:// (a secret would travel in the clear; http:// is for this machine)";
        rc = hosts_is_loopback(address.data) ? 0 : ERR_INVALID;
    }
    if (rc == 0 && hosts_is_link_local(address.data)) {
        *why = "which is a link-local address: no authority is there";
        rc = ERR_INVALID;
    }
    if (rc == 0 && (*out = strbuf_take(&address)) == NULL)
        rc = ERR_NOMEM;
    strbuf_deinit(&address);
    return rc;
}

const char *entra_cloud_scope_fault(const char *text, size_t len)
{
    static const char end[] = "/.default";
    size_t tail = sizeof(end) - 1;

    for (size_t i = 0; i < len; i++)
        if (text[i] == ' ' || text[i] == ',' || text[i] == '\t' || text[i] == '\n')
            return "wanted one resource: a token is for one";
    if (!is_visible(text, len))
        return "wanted visible ASCII characters";
    if (len <= tail || memcmp(text + len - tail, end, tail) != 0)
        return "wanted a resource that ends in /.default, such as "
               "https://cognitiveservices.azure.com/.default";
    return NULL;
}
