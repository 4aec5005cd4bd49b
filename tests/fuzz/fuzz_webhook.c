/* URLs, ranges and secrets of webhooks from strangers. A URL that is taken is one that libcurl reads
 * alike: the same host, no user, no more. */
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "webhook/hook_address.h"
#include "webhook/hook_sign.h"
#include "webhook/hook_url.h"

static void check_parts(CURLU *parts, const char *url)
{
    const char *host_at = strstr(url, "://") + 3;
    char *host = NULL, *user = NULL, *fragment = NULL;
    size_t len;

    MUST(curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK);
    MUST(curl_url_get(parts, CURLUPART_USER, &user, 0) == CURLUE_NO_USER);
    MUST(curl_url_get(parts, CURLUPART_FRAGMENT, &fragment, 0) == CURLUE_NO_FRAGMENT);
    len = strlen(host);
    if (*host == '[') /* libcurl may write an address shorter */
        MUST(*host_at == '[');
    else
        MUST(strncasecmp(host_at, host, len) == 0 && strchr(":/?", host_at[len]) != NULL);
    MUST(hook_url_shown(url) <= (int)strlen(url) && strchr(url, '@') != host_at + len);
    curl_free(host);
    curl_free(user);
    curl_free(fragment);
}

static void check_url(const char *url)
{
    unsigned char address[HOOK_ADDRESS_BYTES];
    CURLU *parts;

    if (hook_url_fault(url, true) != NULL) {
        MUST(hook_url_fault(url, false) != NULL);
        return;
    }
    parts = curl_url();
    MUST(parts != NULL);
    MUST(strlen(url) <= HOOK_URL_MAX);
    MUST(curl_url_set(parts, CURLUPART_URL, url, CURLU_PATH_AS_IS) == CURLUE_OK);
    check_parts(parts, url);
    if (hook_url_address(url, address))
        MUST(hook_address_may(address, NULL, 0) == (hook_address_fault(address) == NULL));
    curl_url_cleanup(parts);
}

static void check_range(const char *text)
{
    struct hook_range range;

    if (hook_range_read(text, &range) != 0)
        return;
    MUST(range.bits <= 8 * HOOK_ADDRESS_BYTES);
    MUST(hook_address_may(range.bytes, &range, 1)); /* it has its own first address */
}

static void check_secret(const char *text)
{
    char signature[HOOK_SIGNATURE + 1];

    if (hook_secret_fault(text) != NULL)
        return;
    MUST(hook_sign(text, "evt_1", 1700000000, "{}", 2, signature) == 0);
    MUST(strlen(signature) == HOOK_SIGNATURE && strncmp(signature, "v1,", 3) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* of exactly this size: reading on is seen */

    MUST(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    check_url(text);
    check_range(text);
    check_secret(text);
    free(text);
    return 0;
}
