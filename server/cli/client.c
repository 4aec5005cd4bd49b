/* See client.h. The transport is the one by which providers are asked (upstream/client.h), on a loop
 * of its own that ends with the answer. */
#include "client.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mask.h"
#include "core/loop_h2o.h"
#include "upstream/client.h"

#define DEFAULT_URL "http://127.0.0.1:4000"
#define IN_VARIABLE "os.environ/"
#define TOTAL_MS    30000
#define CREATE_MS   120000
#define CONNECT_MS  10000
#define STILL_MS    300000 /* a transfer in which nothing moves for so long ends */
#define TURN_MS     1000
#define MAX_ANSWER  ((size_t)64 << 20)
#define MAX_VALUES  1000000 /* of one answer */
#define MAX_TEXT    400     /* bytes of what the gateway says about a refusal */
#define MAX_WAIT_S  3600    /* that an answer may ask for */

struct client {
    struct strbuf base;        /* owned; without a slash and without "/v1" at its end */
    struct secret bearer;      /* owned; "Bearer ...", unset: no key */
    struct mask *mask;         /* owned; what no text may quote */
    struct loop *loop;         /* owned */
    h2o_evloop_t *evloop;      /* libh2o's; lives on */
    struct upstream *upstream; /* owned */
    char *ca_file;             /* owned */
    /* Of the call under way: */
    const struct client_request *request; /* borrowed */
    struct client_answer *answer;         /* borrowed */
    struct upstream_call *call;           /* the transport's; NULL: it has ended */
    enum client_exit code;                /* how */
};

/* --- options --- */

static const char *variable(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* Out of memory leaves it unset, which the gateway answers. */
static void take_key(struct client_options *options, char *text)
{
    const char *named = strncmp(text, IN_VARIABLE, strlen(IN_VARIABLE)) == 0
                            ? variable(text + strlen(IN_VARIABLE))
                            : text;

    secret_clear(&options->key);
    if (named != NULL)
        (void)secret_set(&options->key, named, strlen(named));
    if (named == text)
        secret_wipe(text, strlen(text));
}

bool client_take(struct client_options *options, int flag)
{
    switch (flag) {
    case CLIENT_BASE_URL:
        options->base_url = optarg;
        return true;
    case CLIENT_KEY:
        take_key(options, optarg);
        return true;
    case CLIENT_JSON:
        options->json = true;
        return true;
    default:
        return false;
    }
}

void client_options_deinit(struct client_options *options)
{
    secret_clear(&options->key);
}

/* --- where, and with which key --- */

/* The host of an URL. @return false: it is none of HTTP, or has a user in it */
static bool host_of(const char *url, const char **host, size_t *len)
{
    const char *at = strncmp(url, "http://", 7) == 0    ? url + 7
                     : strncmp(url, "https://", 8) == 0 ? url + 8
                                                        : NULL;
    size_t all = at == NULL ? 0 : strcspn(at, "/?#");

    if (all == 0 || memchr(at, '@', all) != NULL || strpbrk(at, "?# ") != NULL)
        return false;
    *host = at[0] == '[' ? at + 1 : at;
    *len = at[0] == '[' ? strcspn(at + 1, "]/") : strcspn(at, ":/");
    return *len > 0;
}

static bool host_is(const char *host, size_t len, const char *name)
{
    return strlen(name) == len && strncasecmp(host, name, len) == 0;
}

static bool is_here(const char *url)
{
    const char *host;
    size_t len;

    return host_of(url, &host, &len) &&
           (host_is(host, len, "127.0.0.1") || host_is(host, len, "localhost") ||
            host_is(host, len, "::1"));
}

/* OPENAI_BASE_URL may well name the provider itself, which must not see a gateway's key. A name of
 * DNS may end with a dot. */
static bool is_provider(const char *url)
{
    static const char *const ends[] = {"api.openai.com",
                                       ".openai.azure.com",
                                       ".cognitiveservices.azure.com",
                                       ".services.ai.azure.com",
                                       ".api.cognitive.microsoft.com",
                                       ".openai.azure.us",
                                       ".cognitiveservices.azure.us",
                                       ".openai.azure.cn",
                                       ".cognitiveservices.azure.cn"};
    const char *host;
    size_t len;

    if (!host_of(url, &host, &len))
        return false;
    len -= host[len - 1] == '.';
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (len >= strlen(ends[i]) &&
            host_is(host + len - strlen(ends[i]), strlen(ends[i]), ends[i]))
            return true;
    return false;
}

static const char *choose_url(const struct client_options *options)
{
    const char *url = options->base_url;

    url = url != NULL ? url : variable("TRANCHE_BASE_URL");
    url = url != NULL ? url : variable("OPENAI_BASE_URL");
    return url != NULL ? url : DEFAULT_URL;
}

/* The master key of this machine's gateway is for this machine's gateway, and OPENAI_API_KEY for
 * whom OPENAI_BASE_URL names: without that it is most often the provider's own. */
static const char *choose_key(const struct client_options *options, const char *url)
{
    const char *key = secret_is_set(&options->key) ? options->key.data : NULL;

    if (key == NULL && !is_provider(url))
        key = variable("TRANCHE_API_KEY");
    if (key == NULL && is_here(url))
        key = variable("LITELLM_MASTER_KEY");
    if (key == NULL && options->base_url == NULL && variable("TRANCHE_BASE_URL") == NULL &&
        variable("OPENAI_BASE_URL") != NULL)
        key = variable("OPENAI_API_KEY");
    return key;
}

/* "http://host/v1/" and "http://host" are one gateway. */
static void set_base(struct client *c, const char *url)
{
    size_t len = strlen(url);

    while (len > 0 && url[len - 1] == '/')
        len--;
    if (len > 3 && strncmp(url + len - 3, "/v1", 3) == 0)
        len -= 3;
    while (len > 0 && url[len - 1] == '/')
        len--;
    strbuf_add(&c->base, url, len);
}

static int set_key(struct client *c, const char *key)
{
    static const char scheme[] = "Bearer ";
    struct secret plain = SECRET_NONE;
    const struct secret *list = &plain;
    int err;

    if (key == NULL)
        return 0;
    err = secret_room(&c->bearer, sizeof(scheme) - 1 + strlen(key));
    if (err == 0)
        err = secret_set(&plain, key, strlen(key));
    if (err == 0) {
        memcpy(c->bearer.data, scheme, sizeof(scheme) - 1);
        memcpy(c->bearer.data + sizeof(scheme) - 1, key, strlen(key));
        c->mask = mask_new(&list, 1);
        err = c->mask == NULL ? ERR_NOMEM : 0;
    }
    secret_clear(&plain);
    return err;
}

static int open_way(struct client *c)
{
    static h2o_evloop_t *evloop; /* libh2o has no way to end one */
    bool by_tls = strncmp(strbuf_str(&c->base), "https://", 8) == 0;
    const char *proxy = variable("HTTPS_PROXY"), *no_proxy = variable("NO_PROXY");
    struct upstream_options options = {.allow_insecure = true, /* whose address this is typed it */
                                       .connect_ms = CONNECT_MS,
                                       .low_speed_ms = STILL_MS};

    proxy = proxy != NULL ? proxy : variable("https_proxy");
    no_proxy = no_proxy != NULL ? no_proxy : variable("no_proxy");
    options.proxy = by_tls ? proxy : NULL;
    options.no_proxy = no_proxy;
    options.ca_file = c->ca_file = upstream_find_ca_bundle(variable("SSL_CERT_FILE"));
    if (evloop == NULL)
        evloop = h2o_evloop_create();
    c->evloop = evloop;
    c->loop = loop_h2o_new(evloop);
    if (c->loop == NULL)
        return ERR_NOMEM;
    loop_h2o_turn(c->loop);
    return upstream_new(c->loop, &options, &c->upstream);
}

static enum client_exit fail_url(const char *url, const char *why)
{
    fprintf(stderr, "tranche: \"%s\" %s\nGive --base-url, or set TRANCHE_BASE_URL, as in %s.\n",
            flags_shown(url), why, DEFAULT_URL);
    return CLIENT_USAGE;
}

static enum client_exit fail_memory(void)
{
    fputs("tranche: out of memory\n", stderr);
    return CLIENT_USAGE;
}

enum client_exit client_open(const struct client_options *options, struct client **out)
{
    const char *url = choose_url(options), *host;
    struct client *c;
    size_t len;

    if (!host_of(url, &host, &len))
        return fail_url(url, "is no address of a gateway: wanted http://HOST[:PORT]");
    if (is_provider(url) && !options->any_server)
        return fail_url(url, "is a provider's address, not a gateway's");
    c = calloc(1, sizeof(*c));
    if (c == NULL)
        return fail_memory();
    signal(SIGPIPE, SIG_IGN); /* as upstream_new() wants it */
    set_base(c, url);
    if (set_key(c, choose_key(options, url)) != 0 || open_way(c) != 0 || strbuf_failed(&c->base)) {
        client_close(c);
        return fail_memory();
    }
    *out = c;
    return CLIENT_OK;
}

void client_close(struct client *c)
{
    if (c == NULL)
        return;
    upstream_free(c->upstream);
    loop_h2o_free(c->loop);
    mask_free(c->mask);
    secret_clear(&c->bearer);
    strbuf_deinit(&c->base);
    free(c->ca_file);
    free(c);
}

/* --- asking --- */

const char *client_base(const struct client *c)
{
    return strbuf_str(&c->base);
}

/* One line, whatever others put into it, and never the key. */
static void say(const struct client *c, const char *text, size_t len, struct client_answer *answer)
{
    char *line = answer->said;
    size_t at = strlen(line), room = sizeof(answer->said) - at;

    len = len >= room ? room - 1 : len;
    memcpy(line + at, text, len);
    len = mask_hide(c->mask, line + at, len, room - 1);
    line[at + len] = '\0';
    for (char *p = line + at; *p != '\0'; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
}

/* The server's own words, else what can be said of them. */
static void take_refusal(const struct client *c, const struct upstream_result *result,
                         struct client_answer *answer)
{
    static const char none[] = "no gateway's words; is something else there?";
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    struct json *root = doc != NULL && result->body != NULL
                            ? json_parse(doc, result->body, result->body_len, &error)
                            : NULL;
    const struct json *in = json_get(root, "error");
    size_t len = 0;
    const char *text = json_str(json_get(in, "message"), &len), *code = json_get_str(in, "code");

    snprintf(answer->said, sizeof(answer->said), "status %d: ", result->head.status);
    if (text != NULL)
        say(c, text, len > MAX_TEXT ? MAX_TEXT : len, answer);
    else
        say(c, none, sizeof(none) - 1, answer);
    snprintf(answer->code, sizeof(answer->code), "%s", code != NULL ? code : "");
    json_doc_free(doc);
}

static int64_t wait_of(const struct upstream_head *head)
{
    const char *text = upstream_header_find(head, "retry-after");
    long long s = text != NULL && text[0] >= '0' && text[0] <= '9' ? strtoll(text, NULL, 10) : -1;

    return s > MAX_WAIT_S ? MAX_WAIT_S : s;
}

static void take_head(const struct upstream_head *head, struct client_answer *answer)
{
    const char *retry = upstream_header_find(head, "x-should-retry");

    answer->status = head->status;
    answer->length = head->content_length;
    answer->wait_s = wait_of(head);
    answer->no_retry = retry != NULL && strcmp(retry, "false") == 0;
    answer->gateway = upstream_header_find(head, "x-tranche-version") != NULL;
}

/* No whole answer came. */
static enum client_exit take_loss(const struct client *c, const struct upstream_result *result,
                                  struct client_answer *answer)
{
    answer->nothing_sent = result->end == UPSTREAM_CONNECT_FAILED || result->nothing_sent;
    say(c, result->error, strlen(result->error), answer);
    if (result->end == UPSTREAM_TOO_LARGE)
        return CLIENT_REFUSED;
    return result->end == UPSTREAM_SOURCE_FAILED ? CLIENT_USAGE : CLIENT_AWAY;
}

static void on_done(void *arg, const struct upstream_result *result)
{
    struct client *c = arg;
    struct client_answer *answer = c->answer;
    int status = result->head.status;

    assert(c->call != NULL && answer != NULL);
    c->call = NULL;
    if (c->code != CLIENT_OK) /* on_data failed */
        return;
    if (result->end != UPSTREAM_ANSWERED) {
        c->code = take_loss(c, result, answer);
        return;
    }
    take_head(&result->head, answer);
    if (status < 200 || status > 299) {
        take_refusal(c, result, answer);
        c->code = status == 408 || status == 429 || status >= 500 ? CLIENT_AWAY : CLIENT_REFUSED;
        return;
    }
    if (result->body != NULL)
        strbuf_add(&answer->body, result->body, result->body_len);
    c->code = CLIENT_OK;
}

static bool on_head(void *arg, const struct upstream_head *head)
{
    struct client *c = arg;

    if (head->status < 200 || head->status > 299)
        return false;
    take_head(head, c->answer);
    return true;
}

/* The call is given up as soon as the transport is no longer inside of it. */
static bool on_data(void *arg, const char *bytes, size_t len)
{
    struct client *c = arg;

    if (c->code == CLIENT_OK && !c->request->on_data(c->request->arg, bytes, len))
        c->code = CLIENT_USAGE;
    return true;
}

static ssize_t on_source(void *arg, char *buf, size_t len)
{
    const struct client *c = arg;

    return c->request->source(c->request->arg, buf, len);
}

static size_t add_headers(const struct client *c, struct upstream_header *headers)
{
    const struct client_request *r = c->request;
    size_t n = 0;

    headers[n++] = (struct upstream_header){
        "accept", r->on_data != NULL ? "*/*" : "application/json, text/csv, text/plain"};
    headers[n++] = (struct upstream_header){"user-agent", "tranche/" TRANCHE_VERSION};
    if (secret_is_set(&c->bearer))
        headers[n++] = (struct upstream_header){"authorization", c->bearer.data};
    if (r->content_type != NULL)
        headers[n++] = (struct upstream_header){"content-type", r->content_type};
    if (r->idempotency_key != NULL)
        headers[n++] = (struct upstream_header){"idempotency-key", r->idempotency_key};
    if (r->repeat)
        headers[n++] = (struct upstream_header){"x-stainless-retry-count", "1"};
    return n;
}

static struct upstream_call *start(struct client *c, const char *url)
{
    const struct client_request *r = c->request;
    struct upstream_header headers[6];
    bool file = r->source != NULL || r->on_data != NULL;
    const struct upstream_request request = {.method = r->method,
                                             .url = url,
                                             .headers = headers,
                                             .num_headers = add_headers(c, headers),
                                             .body = r->body,
                                             .body_len = r->body != NULL ? strlen(r->body) : 0,
                                             .source = r->source != NULL ? on_source : NULL,
                                             .source_length = r->length,
                                             .file = file,
                                             .once = r->once,
                                             .total_ms = file      ? 0
                                                         : r->once ? CREATE_MS
                                                                   : TOTAL_MS,
                                             .max_body = MAX_ANSWER,
                                             .on_head = r->on_data != NULL ? on_head : NULL,
                                             .on_data = on_data,
                                             .on_done = on_done,
                                             .arg = c};

    return upstream_start(c->upstream, &request);
}

static bool is_given_up(const struct client *c)
{
    return c->code != CLIENT_OK || (c->request->stop != NULL && *c->request->stop != 0);
}

/* Turn after turn, until it has ended or is given up. */
static enum client_exit wait_for(struct client *c)
{
    while (c->call != NULL && !is_given_up(c))
        if (h2o_evloop_run(c->evloop, TURN_MS) != 0 && errno != EINTR) {
            snprintf(c->answer->said, sizeof(c->answer->said), "%s", strerror(errno));
            c->code = CLIENT_USAGE;
        }
    if (c->call == NULL)
        return c->code;
    upstream_cancel(c->call);
    c->call = NULL;
    c->answer->status = 0; /* what came is not whole */
    return c->code == CLIENT_OK ? CLIENT_STOPPED : c->code;
}

enum client_exit client_ask(struct client *c, const struct client_request *request,
                            struct client_answer *answer)
{
    struct strbuf url = STRBUF_INIT;
    enum client_exit code = CLIENT_USAGE;

    assert(request->path[0] == '/' && answer->body.len == 0);
    assert(request->source == NULL || request->once);
    answer->wait_s = answer->length = -1;
    strbuf_add(&url, c->base.data, c->base.len);
    strbuf_adds(&url, request->path);
    c->request = request;
    c->answer = answer;
    c->code = CLIENT_OK;
    c->call = strbuf_failed(&url) ? NULL : start(c, strbuf_str(&url));
    strbuf_deinit(&url);
    answer->nothing_sent = c->call == NULL;
    if (c->call != NULL)
        code = wait_for(c);
    if (strbuf_failed(&answer->body))
        code = CLIENT_USAGE;
    if (code == CLIENT_USAGE && answer->said[0] == '\0')
        snprintf(answer->said, sizeof(answer->said), "out of memory");
    c->request = NULL;
    c->answer = NULL;
    return code;
}

void client_answer_deinit(struct client_answer *answer)
{
    strbuf_deinit(&answer->body);
    *answer = (struct client_answer){.status = 0};
}

static const char *what_to_do(const struct client *c, const struct client_answer *answer,
                              enum client_exit code)
{
    int status = answer->status;

    if ((status == 401 || status == 403) && !secret_is_set(&c->bearer))
        return "No key was sent. Give --key, or set TRANCHE_API_KEY.\n";
    if (status == 401)
        return "Give another key with --key, or in TRANCHE_API_KEY.\n";
    if (status == 404 && strcmp(answer->code, "unknown_url") == 0)
        return "That gateway does not serve this: it needs a database (tranche_settings.database), "
               "or it is an older one.\n";
    if (status == 0 && code == CLIENT_REFUSED)
        return "Ask for less at a time (--limit).\n";
    if (status == 0 && code == CLIENT_AWAY && answer->nothing_sent)
        return "Is the gateway there? Give --base-url, or set TRANCHE_BASE_URL.\n";
    return code == CLIENT_AWAY ? "Try again later.\n" : "";
}

enum client_exit client_tell(const struct client *c, const struct client_answer *answer,
                             enum client_exit code)
{
    fprintf(stderr, "tranche: %s: %s\n%s", strbuf_str(&c->base), answer->said,
            what_to_do(c, answer, code));
    return code;
}

static enum client_exit call(struct client *c, const char *method, const char *path,
                             struct strbuf *answer)
{
    const struct client_request request = {.method = method, .path = path};
    struct client_answer got = {.status = 0};
    enum client_exit code;

    assert(answer->len == 0);
    code = client_ask(c, &request, &got);
    if (code == CLIENT_OK) {
        strbuf_deinit(answer);
        *answer = got.body;
        got.body = (struct strbuf)STRBUF_INIT;
    } else {
        (void)client_tell(c, &got, code);
    }
    client_answer_deinit(&got);
    return code;
}

enum client_exit client_get(struct client *c, const char *path, struct strbuf *answer)
{
    return call(c, "GET", path, answer);
}

static enum client_exit read_json(const struct client *c, struct json_doc *doc, struct json **root,
                                  const struct strbuf *text)
{
    struct json_error error;

    *root = json_parse_most(doc, strbuf_str(text), text->len, MAX_VALUES, &error);
    if (json_is(*root, JSON_OBJECT))
        return CLIENT_OK;
    fprintf(stderr,
            "tranche: %s: what came is no answer of a gateway of this version\n"
            "Is something else there? Give --base-url, or set TRANCHE_BASE_URL.\n",
            strbuf_str(&c->base));
    return CLIENT_REFUSED;
}

enum client_exit client_get_json(struct client *c, const char *path, struct json_doc *doc,
                                 struct json **root, struct strbuf *text)
{
    enum client_exit code = call(c, "GET", path, text);

    return code == CLIENT_OK ? read_json(c, doc, root, text) : code;
}

enum client_exit client_post_json(struct client *c, const char *path, struct json_doc *doc,
                                  struct json **root, struct strbuf *text)
{
    enum client_exit code = call(c, "POST", path, text);

    return code == CLIENT_OK ? read_json(c, doc, root, text) : code;
}

void client_add_segment(struct strbuf *path, const char *text)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

    for (; *text != '\0'; text++)
        if (strchr(plain, *text) != NULL)
            strbuf_addc(path, *text);
        else
            strbuf_addf(path, "%%%02X", (unsigned char)*text);
}

void client_add_parameter(struct strbuf *path, const char *name, const char *value)
{
    if (value == NULL)
        return;
    strbuf_addf(path, "%c%s=", strchr(strbuf_str(path), '?') == NULL ? '?' : '&', name);
    client_add_segment(path, value);
}

static enum client_exit print(const char *text, enum client_exit code)
{
    if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
        return code;
    fputs("tranche: cannot write to standard output\n", stderr);
    return CLIENT_USAGE;
}

enum client_exit client_print(const struct strbuf *text, enum client_exit code)
{
    return strbuf_failed(text) ? fail_memory() : print(strbuf_str(text), code);
}

enum client_exit client_help(const char *text)
{
    return print(text, CLIENT_OK);
}

bool client_take_number(const char *name, const char *text, int64_t min, int64_t max, int64_t *out)
{
    char wanted[64], *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && errno == 0 && *end == '\0' && value >= min &&
        value <= max) {
        *out = value;
        return true;
    }
    if (max == INT64_MAX)
        snprintf(wanted, sizeof(wanted), "a number");
    else
        snprintf(wanted, sizeof(wanted), "a number from %lld to %lld", (long long)min,
                 (long long)max);
    (void)flags_fail_value(name, text, wanted);
    return false;
}

enum client_exit client_fail_operand(const char *word, const char *help)
{
    fprintf(stderr, "tranche: unexpected argument \"%s\"\n%s", flags_shown(word), help);
    return CLIENT_USAGE;
}
