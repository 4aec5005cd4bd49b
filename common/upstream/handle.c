/* Curl's easy handle: which URL may be asked, the request's lines and no others, and all options.
 */
#include "common/upstream/client_impl.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/secret.h"

#define MAX_IDLE_S     55   /* just below the minute after which common front ends close */
#define MAX_LIFETIME_S 1800 /* so that connections follow DNS */
#define FILE_BUFFER    (128 * 1024)

static bool is_loopback(const char *host)
{
    struct in_addr v4;

    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && (ntohl(v4.s_addr) >> 24) == 127;
}

/* @return NULL when the URL may be asked, else why not */
static const char *check_url(const struct upstream *up, const char *url)
{
    char *scheme = NULL, *host = NULL, *user = NULL;
    const char *why = "start: the URL cannot be read";
    CURLU *parts = curl_url();

    if (parts == NULL)
        return "start: out of memory";
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

static int add_line(struct upstream_call *call, const char *line)
{
    struct curl_slist *list = curl_slist_append(call->headers, line);

    if (list == NULL)
        return ERR_NOMEM;
    call->headers = list;
    return 0;
}

static int add_header(struct upstream_call *call, const struct upstream_header *header)
{
    size_t name_len = strlen(header->name), value_len = strlen(header->value);
    struct strbuf line = STRBUF_INIT;
    int err;

    if (!head_is_token(header->name, name_len) || !head_is_field_value(header->value, value_len))
        return ERR_INVALID;
    if (strbuf_reserve(&line, name_len + value_len + 3) != 0) /* at once: it never moves */
        return ERR_NOMEM;
    strbuf_adds(&line, header->name);
    strbuf_adds(&line, value_len != 0 ? ": " : ";"); /* curl's spelling of an empty value */
    strbuf_adds(&line, header->value);
    err = add_line(call, line.data);
    secret_wipe(line.data, line.cap);
    strbuf_deinit(&line);
    return err;
}

static bool has_header(const struct upstream_request *request, const char *name)
{
    size_t i;

    for (i = 0; i < request->num_headers; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return true;
    return false;
}

/* The request's lines, and none of those that curl adds by itself. */
static int set_headers(struct upstream_call *call, const struct upstream_request *request)
{
    static const char *const curls[] = {"Accept", "Content-Type", "Expect"};
    char line[32];
    int err = 0;
    size_t i;

    for (i = 0; i < request->num_headers && err == 0; i++)
        err = add_header(call, &request->headers[i]);
    for (i = 0; i < sizeof(curls) / sizeof(curls[0]) && err == 0; i++) {
        snprintf(line, sizeof(line), "%s:", curls[i]);
        if (!has_header(request, curls[i]))
            err = add_line(call, line);
    }
    if (err == 0 && curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers) != CURLE_OK)
        err = ERR_NOMEM;
    return err;
}

#define SET(option, value) (err |= curl_easy_setopt(easy, option, value) != CURLE_OK)

static bool set_connection(struct upstream_call *call)
{
    const struct upstream *up = call->up;
    CURL *easy = call->easy;
    bool h1 = call->lane == &up->lanes[LANE_H1];
    int err = 0;

    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOPROXY, "*");
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* ending a call must not wait for its resolver thread */
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (up->ca_file != NULL) {
        SET(CURLOPT_CAINFO, up->ca_file);
        SET(CURLOPT_CAPATH, NULL); /* that file alone */
    }
    SET(CURLOPT_SHARE, up->share);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)up->connect_ms);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_MAXAGE_CONN, (long)MAX_IDLE_S);
    SET(CURLOPT_MAXLIFETIME_CONN, (long)MAX_LIFETIME_S);
    SET(CURLOPT_HTTP_VERSION, (long)(h1 ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
    SET(CURLOPT_PIPEWAIT, h1 ? 0L : 1L);
    SET(CURLOPT_FRESH_CONNECT, call->single ? 1L : 0L);
    if (h1) {
        SET(CURLOPT_BUFFERSIZE, (long)FILE_BUFFER);
        SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)FILE_BUFFER);
    }
    return err == 0;
}

static bool set_request(struct upstream_call *call, const struct upstream_request *request)
{
    CURL *easy = call->easy;
    bool post = strcmp(request->method, "POST") == 0;
    int err = 0;

    SET(CURLOPT_URL, request->url);
    if (post || call->body != NULL || call->source != NULL)
        SET(CURLOPT_POST, 1L);
    if (!post && strcmp(request->method, "GET") != 0)
        SET(CURLOPT_CUSTOMREQUEST, request->method);
    if (call->source != NULL) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->source_length);
    } else if (post || call->body != NULL) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(call->body != NULL ? request->body_len : 0));
        SET(CURLOPT_POSTFIELDS, call->body != NULL ? call->body : "");
    }
    return err == 0;
}

#undef SET

/* Make the handle ready. @return NULL, or why the call is refused */
const char *handle_prepare(struct upstream_call *call, const struct upstream_request *request)
{
    struct upstream *up = call->up;
    const char *why = check_url(up, request->url);
    int err;

    if (why != NULL)
        return why;
    if (!head_is_token(request->method, strlen(request->method)))
        return "start: the method is none";
    if (request->body != NULL && request->source == NULL) {
        call->body = malloc(request->body_len + 1);
        if (call->body == NULL)
            return "start: out of memory";
        memcpy(call->body, request->body, request->body_len);
        call->body[request->body_len] = '\0';
    }
    call->easy = up->num_spare > 0 ? up->spare[--up->num_spare] : curl_easy_init();
    if (call->easy == NULL || !set_connection(call) || !transfer_set_callbacks(call) ||
        !set_request(call, request))
        return "start: out of memory";
    err = set_headers(call, request);
    if (err != 0)
        return err == ERR_INVALID ? "start: a header holds bytes that no header may have"
                                  : "start: out of memory";
    return NULL;
}

void handle_release(struct upstream *up, CURL *easy)
{
    if (up->num_spare == MAX_SPARE) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    up->spare[up->num_spare++] = easy;
}

void handle_wipe_headers(struct curl_slist *list)
{
    struct curl_slist *node;

    for (node = list; node != NULL; node = node->next)
        secret_wipe(node->data, strlen(node->data));
    curl_slist_free_all(list);
}

/* One bundle and no directory: libcurl over OpenSSL then parses it once a day instead of once a
 * connection (7.87 on), and over GnuTLS it does not open hundreds of files each time.
 * `update-ca-certificates` maintains both.
 * @return to be freed; NULL: there is none, or out of memory */
char *handle_find_ca_bundle(const char *configured)
{
    static const char debian[] = "/etc/ssl/certs/ca-certificates.crt";
    CURL *easy = configured == NULL ? curl_easy_init() : NULL;
    const char *found = configured;
    char *built_in = NULL, *copy;

    if (easy != NULL && curl_easy_getinfo(easy, CURLINFO_CAINFO, &built_in) == CURLE_OK)
        found = built_in;
    if (found == NULL && access(debian, R_OK) == 0)
        found = debian;
    copy = found != NULL ? strdup(found) : NULL;
    curl_easy_cleanup(easy);
    return copy;
}
