/* Curl's easy handle: one for each call, freed with it. A handle that is used again brings along
 * what curl remembers of the transfer before: before 8.1.1 a pointer to its last header, which is
 * freed by then and written to when the next answer begins with a folded line (curl #11101; Debian
 * 12 has 7.88), besides method, body, range and authentication state. To make one costs some 3 us;
 * what is dear, connections, TLS sessions, names and parsed certificates, lives in the multi and in
 * the share. The request's lines are one piece of memory, so that the credential in them is wiped
 * in one go. */
#include "client_impl.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/secret.h"

#define MAX_IDLE_S     55   /* just below the minute after which common front ends close */
#define MAX_LIFETIME_S 1800 /* so that connections follow DNS */
#define JSON_BUFFER    (16 * 1024)
#define FILE_BUFFER    (128 * 1024)
#define SEND_BUFFER    (64 * 1024) /* of a file that is sent: what one run of curl takes */

/* What curl adds by itself unless a line without a value says otherwise. */
static const struct {
    const char *name;
    char *line;
} curls_lines[] = {{"Accept", (char[]){"Accept:"}},
                   {"Content-Type", (char[]){"Content-Type:"}},
                   {"Expect", (char[]){"Expect:"}}};

#define NUM_CURLS_LINES (sizeof(curls_lines) / sizeof(curls_lines[0]))

static bool has_header(const struct upstream_request *request, const char *name)
{
    size_t i;

    for (i = 0; i < request->num_headers; i++)
        if (strcasecmp(request->headers[i].name, name) == 0)
            return true;
    return false;
}

/* Bytes of all lines, each with its NUL. @return false when a line would hold what no header may */
static bool measure_lines(const struct upstream_request *request, size_t *size)
{
    size_t i;

    *size = 0;
    for (i = 0; i < request->num_headers; i++) {
        const struct upstream_header *header = &request->headers[i];
        size_t name_len = strlen(header->name), value_len = strlen(header->value);

        if (!head_is_token(header->name, name_len) ||
            !head_is_field_value(header->value, value_len))
            return false;
        *size += name_len + 2 + value_len + 1;
    }
    return true;
}

static char *print_line(char *at, const struct upstream_header *header)
{
    at = stpcpy(at, header->name);
    at = stpcpy(at, *header->value != '\0' ? ": " : ";"); /* curl's spelling of an empty value */
    return stpcpy(at, header->value) + 1;
}

/* The request's lines, and none of those that curl adds by itself. */
static const char *set_lines(struct upstream_call *call, const struct upstream_request *request)
{
    size_t max = request->num_headers + NUM_CURLS_LINES, text_size, n = 0, i;
    struct curl_slist *node;
    char *text;

    if (!measure_lines(request, &text_size))
        return "start: a header holds bytes that no header may have";
    call->lines_size = max * sizeof(*node) + text_size;
    call->lines = node = malloc(call->lines_size);
    if (node == NULL)
        return OUT_OF_MEMORY;
    text = (char *)(node + max);
    for (i = 0; i < request->num_headers; i++) {
        node[n++].data = text;
        text = print_line(text, &request->headers[i]);
    }
    for (i = 0; i < NUM_CURLS_LINES; i++)
        if (!has_header(request, curls_lines[i].name))
            node[n++].data = curls_lines[i].line;
    for (i = 0; i < n; i++)
        node[i].next = i + 1 < n ? &node[i + 1] : NULL;
    if (curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, n > 0 ? node : NULL) != CURLE_OK)
        return OUT_OF_MEMORY;
    return NULL;
}

#define SET(option, value) (err |= curl_easy_setopt(easy, option, value) != CURLE_OK)

/* What holds for each call of a kind. */
static bool set_common(CURL *easy, const struct upstream *up, enum handle_kind kind)
{
    long buffer_bytes = kind == HANDLE_FILE ? FILE_BUFFER : JSON_BUFFER;
    bool h1 = kind != HANDLE_JSON;
    int err = 0;

    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, up->proxy != NULL ? up->proxy : "");
    SET(CURLOPT_NOPROXY, up->proxy != NULL ? up->no_proxy : "*");
    if (up->proxy != NULL) {
        SET(CURLOPT_HTTPPROXYTUNNEL, 1L); /* it sees an address, never a request */
        SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
        SET(CURLOPT_PROXYHEADER, NULL);
        SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* the key is not for it */
        SET(CURLOPT_PROXY_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        if (up->ca_file != NULL)
            SET(CURLOPT_PROXY_CAINFO, up->ca_file);
    }
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* ending a call must not wait for its resolver thread */
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_CERTINFO, up->certificates ? 1L : 0L);
    if (up->may_connect != NULL) {
        SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
        SET(CURLOPT_FORBID_REUSE, 1L);
    }
    SET(CURLOPT_SHARE, up->share);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)up->connect_ms);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_MAXAGE_CONN, (long)MAX_IDLE_S);
    SET(CURLOPT_MAXLIFETIME_CONN, (long)MAX_LIFETIME_S);
    SET(CURLOPT_HTTP_VERSION, (long)(h1 ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS));
    SET(CURLOPT_BUFFERSIZE, buffer_bytes);
    SET(CURLOPT_UPLOAD_BUFFERSIZE, kind == HANDLE_FILE ? (long)SEND_BUFFER : buffer_bytes);
    return err == 0;
}

/* A context for a connection over TLS has been made. */
static CURLcode on_tls(CURL *easy, void *context, void *arg)
{
    X509_STORE *store = trust_store(arg);

    (void)easy;
    if (store == NULL)
        return CURLE_SSL_CACERT_BADFILE;
    SSL_CTX_set1_cert_store(context, store);
    return CURLE_OK;
}

/* Libcurl would read the bundle in one go, once for each multi handle and day. Where it cannot be
 * read, or libcurl has another TLS library, its own way is taken, with its own words. */
static bool set_trust(CURL *easy, struct upstream *up)
{
    bool ours = trust_store(&up->trust) != NULL &&
                curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_tls) == CURLE_OK;
    int err = 0;

    if (up->ca_file == NULL)
        return true;
    if (ours)
        SET(CURLOPT_SSL_CTX_DATA, &up->trust);
    SET(CURLOPT_CAINFO, ours ? NULL : up->ca_file);
    SET(CURLOPT_CAPATH, NULL); /* that file alone */
    return err == 0;
}

/* The method and the body. */
static bool set_body(struct upstream_call *call, const struct upstream_request *request)
{
    bool get = strcmp(request->method, "GET") == 0, post = strcmp(request->method, "POST") == 0;
    bool has_body = post || call->body != NULL || call->source != NULL;
    const char *fields = call->body != NULL ? call->body : "";
    uint64_t length = call->body != NULL ? request->body_len : 0;
    CURL *easy = call->easy;
    int err = 0;

    if (call->source != NULL) {
        fields = NULL; /* curl asks on_read() then */
        length = request->source_length;
    }
    if (has_body) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
        SET(CURLOPT_POSTFIELDS, fields);
        SET(CURLOPT_POST, 1L);
    }
    if (!get && !post)
        SET(CURLOPT_CUSTOMREQUEST, request->method);
    return err == 0;
}

static bool set_call(struct upstream_call *call, const struct upstream_request *request)
{
    CURL *easy = call->easy;
    bool over_tls = strncasecmp(request->url, "https:", 6) == 0;
    int err = 0;

    SET(CURLOPT_URL, request->url);
    SET(CURLOPT_ERRORBUFFER, call->curl_error);
    SET(CURLOPT_FRESH_CONNECT, call->single || call->up->may_connect != NULL ? 1L : 0L);
    /* Wait for a connection that may be shared. Over clear text curl knows that none is only when
     * the first answer comes: whoever waited there would wait for a call that hangs. */
    SET(CURLOPT_PIPEWAIT, call->kind == HANDLE_JSON && over_tls ? 1L : 0L);
    return err == 0 && set_common(easy, call->up, call->kind) &&
           (!over_tls || set_trust(easy, call->up)) && transfer_set_functions(easy, call) &&
           set_body(call, request);
}

static bool copy_body(struct upstream_call *call, const struct upstream_request *request)
{
    if (request->body == NULL || request->source != NULL)
        return true;
    call->body = malloc(request->body_len + 1);
    if (call->body == NULL)
        return false;
    memcpy(call->body, request->body, request->body_len);
    call->body_len = request->body_len;
    call->body[request->body_len] = '\0';
    return true;
}

const char *handle_prepare(struct upstream_call *call, const struct upstream_request *request)
{
    const char *why = origin_check(call->up, request->url);

    if (why != NULL)
        return why;
    if (!head_is_token(request->method, strlen(request->method)))
        return "start: the method is none";
    if (!copy_body(call, request))
        return OUT_OF_MEMORY;
    call->easy = curl_easy_init();
    if (call->easy == NULL || !set_call(call, request))
        return OUT_OF_MEMORY;
    return set_lines(call, request);
}

const char *handle_prepare_connection(struct upstream_call *call, const char *url)
{
    CURL *easy = call->easy = curl_easy_init();
    int err = 0;

    if (easy == NULL)
        return OUT_OF_MEMORY;
    SET(CURLOPT_URL, url);
    SET(CURLOPT_ERRORBUFFER, call->curl_error);
    SET(CURLOPT_PRIVATE, call);
    SET(CURLOPT_CONNECT_ONLY, 1L);
    SET(CURLOPT_FRESH_CONNECT, 1L);
    if (err != 0 || !set_common(easy, call->up, call->kind))
        return OUT_OF_MEMORY;
    return NULL;
}

#undef SET

void handle_release(struct upstream_call *call)
{
    curl_easy_cleanup(call->easy);
    call->easy = NULL;
    if (call->lines != NULL)
        secret_wipe(call->lines, call->lines_size);
    free(call->lines);
    call->lines = NULL;
}

/* One bundle and no directory: libcurl over OpenSSL then parses it once a day instead of once a
 * connection (7.87 on), and over GnuTLS it does not open hundreds of files each time.
 * `update-ca-certificates` maintains both. */
char *upstream_find_ca_bundle(const char *configured)
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
