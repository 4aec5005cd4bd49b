/* See check_online.h. Two rounds: tokens, then lists, since an account by Entra ID is asked with the
 * token that its credential got. */
#include "check_online.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "balancer/skew.h"
#include "common/clock.h"
#include "common/mask.h"
#include "core/loop_h2o.h"
#include "entra/entra_answer.h"
#include "entra/entra_file.h"
#include "json/json.h"
#include "shown.h"
#include "upstream/date.h"
#include "upstream/failure.h"
#include "upstream/normal.h"
#include "upstream/provider.h"

#define AT_ONCE            8
#define TURN_MS            1000 /* the longest that one turn of the loop waits */
#define LIST_MS            15000
#define MAX_LIST           (1u << 20)
#define CERTIFICATE_SOON_S (14 * 86400) /* it ends so soon that it is worth a word */
#define REQUEST_ID         64           /* characters of an id that are shown */

struct online;

/* One credential. */
struct token_ask {
    struct online *of;
    const struct entra_credential *credential; /* borrowed */
    struct entra_request request;              /* of the call in flight */
    bool challenged;                           /* Azure Arc: this is the second call */
    struct entra_answer answer;                /* once it is there; owned */
};

/* One account. */
struct list_ask {
    struct online *of;
    const struct model_account *account; /* borrowed */
    bool good, heard;                    /* heard: an answer came, of whatever kind */
    int64_t ahead_s;                     /* its clock, where `dated` */
    bool dated;
    int64_t certificate_until_s; /* 0: not known */
    struct strbuf said;          /* owned; for people */
};

struct online {
    const struct config *config; /* borrowed */
    h2o_evloop_t *evloop;        /* libh2o's; lives on */
    struct loop *loop;           /* owned */
    struct upstream *upstream;   /* owned */
    struct upstream *direct;     /* owned; for managed identities: without a proxy */
    struct token_ask *tokens;    /* owned; by credential */
    struct list_ask *lists;      /* owned; by account */
    struct mask *mask;           /* owned; what no text may quote */
    size_t next, num;            /* of the round: who is asked next, how many there are */
    unsigned in_flight;
};

/* --- tokens --- */

static void on_token(void *arg, const struct upstream_result *result);

/* @return whether it is in flight; else its answer says why not */
static bool send_token_call(struct token_ask *ask)
{
    static const struct entra_error no_memory = {"out of memory"};
    struct upstream *by =
        ask->credential->kind == ENTRA_MANAGED ? ask->of->direct : ask->of->upstream;
    const struct upstream_request request = {.method = ask->request.method,
                                             .url = ask->request.url,
                                             .headers = ask->request.headers,
                                             .num_headers = ask->request.num_headers,
                                             .body = ask->request.body,
                                             .body_len = ask->request.body_len,
                                             .secret = true,
                                             .total_ms = ENTRA_CALL_MS,
                                             .max_body = ENTRA_MAX_ANSWER,
                                             .on_done = on_token,
                                             .arg = ask};

    if (upstream_start(by, &request) != NULL)
        return true;
    entra_answer_fail(ENTRA_PASSING, &no_memory, &ask->answer);
    return false;
}

/* @param challenge  the path that Azure Arc names; NULL: none */
static int build_token_call(struct token_ask *ask, const char *challenge, struct entra_error *error)
{
    const struct entra_credential *c = ask->credential;
    struct secret file = SECRET_NONE;
    int err = 0;

    if (challenge != NULL)
        err = entra_file_arc_key(challenge, ENTRA_ARC_KEYS, &file, error);
    else if (c->path != NULL)
        err = entra_file_read(c->path, &file, error);
    if (err == 0)
        err = entra_request_build(c, secret_is_set(&file) ? &file : NULL, clock_unix_s(),
                                  &ask->request, error);
    secret_clear(&file);
    return err;
}

/* @return whether it is in flight */
static bool ask_for_token(struct token_ask *ask, const char *challenge)
{
    struct entra_error error = {""};

    if (build_token_call(ask, challenge, &error) == 0 && send_token_call(ask))
        return true;
    if (error.message[0] != '\0')
        entra_answer_fail(ENTRA_FINAL, &error, &ask->answer);
    entra_request_wipe(&ask->request);
    return false;
}

static bool begin_token(struct online *online, size_t i)
{
    return ask_for_token(&online->tokens[i], NULL);
}

static void on_token(void *arg, const struct upstream_result *result)
{
    struct token_ask *ask = arg;
    struct entra_answer answer;

    entra_answer_read(ask->credential, &ask->request, result, clock_unix_s(), &answer);
    entra_request_wipe(&ask->request);
    if (answer.outcome == ENTRA_CHALLENGE && !ask->challenged) {
        ask->challenged = true;
        if (ask_for_token(ask, answer.challenge))
            return;
    } else {
        ask->answer = answer;
    }
    assert(ask->of->in_flight > 0);
    ask->of->in_flight--;
}

/* --- lists --- */

static bool is_list(const struct upstream_result *result)
{
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    bool found = doc != NULL && result->body != NULL &&
                 normal_list_data(json_parse(doc, result->body, result->body_len, &error)) != NULL;

    json_doc_free(doc);
    return found;
}

/* What support asks for. Others choose the text, so it has to look like an id. */
static void add_request_id(const struct upstream_head *head, struct strbuf *out)
{
    static const char *const names[] = {"apim-request-id", "x-ms-request-id", "x-request-id"};
    static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *id = upstream_header_find(head, names[i]);

        if (id == NULL || id[0] == '\0' || strlen(id) > REQUEST_ID ||
            strspn(id, good) != strlen(id) || mask_finds(mask_installed(), id, strlen(id)))
            continue;
        strbuf_addf(out, " (request id %s)", id);
        return;
    }
}

/* One line, whatever others put into it. */
static void add_line(struct strbuf *out, const char *text)
{
    for (; *text != '\0' && *text != '\n' && *text != '\r'; text++)
        strbuf_addc(out, (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void describe_refusal(const struct upstream_result *result, struct strbuf *out)
{
    struct failure failure;

    if (result->end != UPSTREAM_ANSWERED) {
        add_line(out, result->error);
        return;
    }
    strbuf_addf(out, "status %d", result->head.status);
    /* Of a 401 a client hears no more than that the gateway's credential is wrong; here its owner
     * asks. */
    (void)failure_is_permission_denied(result, &failure);
    if (failure.message[0] == '\0')
        failure_from_result(result, clock_unix_s(), &failure);
    if (failure.code[0] != '\0' && atoi(failure.code) != result->head.status) {
        strbuf_adds(out, ", ");
        add_line(out, failure.code);
    }
    strbuf_adds(out, ": ");
    add_line(out, failure.message);
    add_request_id(&result->head, out);
}

static void note_server(struct list_ask *ask, const struct upstream_result *result)
{
    int64_t theirs_s;

    ask->heard = result->end == UPSTREAM_ANSWERED;
    ask->certificate_until_s = result->certificate_until_s;
    ask->dated = ask->heard && date_of(&result->head, &theirs_s);
    if (ask->dated)
        ask->ahead_s = theirs_s - clock_unix_s();
}

static void on_list(void *arg, const struct upstream_result *result)
{
    struct list_ask *ask = arg;
    bool answered = result->end == UPSTREAM_ANSWERED && result->head.status == 200;

    note_server(ask, result);
    ask->good = answered && is_list(result);
    if (ask->good)
        strbuf_adds(&ask->said, "status 200, a list of batches");
    else if (answered)
        strbuf_adds(&ask->said, "status 200, and what came is no list of batches");
    else
        describe_refusal(result, &ask->said);
    assert(ask->of->in_flight > 0);
    ask->of->in_flight--;
}

static bool send_list_call(struct list_ask *ask, const char *url, const char *token)
{
    struct provider_headers headers = {.num = 0};
    struct upstream_request request = {.method = provider_method(CALL_BATCH_LIST),
                                       .url = url,
                                       .total_ms = LIST_MS,
                                       .max_body = MAX_LIST,
                                       .on_done = on_list,
                                       .arg = ask};
    bool started = false;

    if (provider_headers(ask->account, token, CALL_BATCH_LIST, NULL, &headers) == 0) {
        request.headers = headers.list;
        request.num_headers = headers.num;
        started = upstream_start(ask->of->upstream, &request) != NULL;
        provider_headers_wipe(&headers);
    }
    if (!started)
        strbuf_adds(&ask->said, "the call could not be built: its key has a byte that no header "
                                "carries, or there is no memory");
    return started;
}

static const struct token_ask *token_of(const struct list_ask *ask)
{
    return ask->account->auth == ACCOUNT_AUTH_ENTRA ? &ask->of->tokens[ask->account->entra] : NULL;
}

/* @return whether it is in flight */
static bool begin_list(struct online *online, size_t i)
{
    struct list_ask *ask = &online->lists[i];
    const struct token_ask *token = token_of(ask);
    struct strbuf url = STRBUF_INIT;
    bool started = false;

    if (token != NULL && token->answer.outcome != ENTRA_OK)
        strbuf_adds(&ask->said, "not asked, since there is no token");
    else if (provider_url(ask->account, CALL_BATCH_LIST, NULL, "limit=1", &url) != 0)
        strbuf_adds(&ask->said, "its address cannot be built");
    else
        started =
            send_list_call(ask, strbuf_str(&url), token != NULL ? token->answer.token.data : NULL);
    strbuf_deinit(&url);
    return started;
}

/* --- rounds --- */

static void pump(struct online *online, bool (*begin)(struct online *, size_t))
{
    while (online->next < online->num && online->in_flight < AT_ONCE)
        online->in_flight += begin(online, online->next++);
}

static int run_round(struct online *online, size_t num, bool (*begin)(struct online *, size_t))
{
    online->next = 0;
    online->num = num;
    pump(online, begin);
    while (online->in_flight > 0) {
        if (h2o_evloop_run(online->evloop, TURN_MS) != 0 && errno != EINTR)
            return ERR_IO;
        pump(online, begin);
    }
    return 0;
}

/* Tokens are secrets of ours by now, which an answer to them must not bring into a text. */
static int hide_tokens(struct online *online)
{
    size_t num = online->config->models.num_credentials;
    struct secret *tokens = calloc(num + 1, sizeof(*tokens));

    if (tokens == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < num; i++)
        tokens[i] = online->tokens[i].answer.token; /* borrowed */
    mask_free(online->mask);
    online->mask = config_mask(online->config, tokens, num);
    free(tokens);
    if (online->mask == NULL)
        return ERR_NOMEM;
    mask_install(online->mask);
    return 0;
}

static int open_ways(struct online *online)
{
    const struct config *config = online->config;
    struct upstream_options options = {
        .allow_insecure = config->allow_insecure_upstream,
        .ca_file = config->upstream_ca_file,
        .proxy = secret_is_set(&config->upstream_proxy) ? config->upstream_proxy.data : NULL,
        .no_proxy = config->no_proxy,
        .connect_ms = config->timeouts.connect_ms,
        .certificates = true};
    int err = upstream_new(online->loop, &options, &online->upstream);

    options.proxy = options.no_proxy = NULL;
    options.allow_metadata = true;
    return err == 0 ? upstream_new(online->loop, &options, &online->direct) : err;
}

static int open_all(struct online *online)
{
    static h2o_evloop_t *evloop; /* libh2o has no way to end one */
    const struct model_list *models = &online->config->models;

    online->tokens = calloc(models->num_credentials + 1, sizeof(*online->tokens));
    online->lists = calloc(models->num_accounts + 1, sizeof(*online->lists));
    if (evloop == NULL)
        evloop = h2o_evloop_create();
    online->evloop = evloop;
    online->loop = loop_h2o_new(evloop);
    online->mask = config_mask(online->config, NULL, 0);
    if (online->tokens == NULL || online->lists == NULL || online->loop == NULL ||
        online->mask == NULL)
        return ERR_NOMEM;
    mask_install(online->mask);
    for (size_t i = 0; i < models->num_credentials; i++)
        online->tokens[i] = (struct token_ask){.of = online, .credential = &models->credentials[i]};
    for (size_t i = 0; i < models->num_accounts; i++)
        online->lists[i] = (struct list_ask){.of = online, .account = &models->accounts[i]};
    loop_h2o_turn(online->loop);
    return open_ways(online);
}

static void close_all(struct online *online)
{
    const struct model_list *models = &online->config->models;

    for (size_t i = 0; online->tokens != NULL && i < models->num_credentials; i++)
        entra_answer_deinit(&online->tokens[i].answer);
    for (size_t i = 0; online->lists != NULL && i < models->num_accounts; i++)
        strbuf_deinit(&online->lists[i].said);
    free(online->tokens);
    free(online->lists);
    upstream_free(online->upstream);
    upstream_free(online->direct);
    loop_h2o_free(online->loop);
    mask_free(online->mask);
}

/* --- what is printed --- */

static bool print_token(const struct token_ask *ask, struct strbuf *out)
{
    const struct entra_answer *answer = &ask->answer;
    bool good = answer->outcome == ENTRA_OK;

    strbuf_addf(out, "  %s: %s: ", ask->credential->name, good ? "good" : "failed");
    if (good)
        strbuf_addf(out, "a token for %" PRIu32 " s%s%s", answer->lives_s,
                    answer->warning[0] != '\0' ? "; " : "", answer->warning);
    else
        entra_answer_describe(answer, out);
    strbuf_addc(out, '\n');
    return good;
}

static bool print_list(const struct list_ask *ask, struct strbuf *out)
{
    const struct token_ask *token = token_of(ask);

    strbuf_addf(out, "  account %s, by %s: %s: %s\n", ask->account->name,
                token != NULL                       ? token->credential->name
                : secret_is_set(&ask->account->key) ? "key"
                                                    : "nothing",
                ask->good ? "good" : "failed", strbuf_str(&ask->said));
    return ask->good;
}

/* "contoso-eu (gpt-4o-batch), ..." @return how many */
static size_t add_deployments(const struct model_list *models, const struct model_account *account,
                              struct strbuf *out)
{
    size_t n = 0;

    for (size_t i = 0; i < models->num_rows; i++) {
        const struct model_deployment *d = &models->deployments[i];

        if (&models->accounts[d->account] == account)
            strbuf_addf(out, "%s%s (%s)", n++ > 0 ? ", " : "", d->upstream_model, d->group);
    }
    return n;
}

static void print_deployments(const struct list_ask *ask, struct strbuf *out)
{
    struct strbuf names = STRBUF_INIT;

    if (add_deployments(&ask->of->config->models, ask->account, &names) > 0)
        strbuf_addf(out, "    %s: %s\n",
                    ask->good ? "deployments that can be asked" : "deployments without an answer",
                    strbuf_str(&names));
    out->failed |= strbuf_failed(&names);
    strbuf_deinit(&names);
}

static void print_clock(const struct list_ask *ask, struct strbuf *out)
{
    int64_t off_s = ask->ahead_s < 0 ? -ask->ahead_s : ask->ahead_s;

    if (!ask->dated)
        strbuf_adds(out, "    clock: the answer has no date\n");
    else if (off_s > SKEW_WARN_S)
        strbuf_addf(out,
                    "    clock: %" PRId64 " s %s this machine's: set the wrong one of them (NTP)\n",
                    off_s, ask->ahead_s > 0 ? "ahead of" : "behind");
    else
        strbuf_addf(out, "    clock: as this machine's, within %d s\n", SKEW_WARN_S);
}

static void print_tls(const struct list_ask *ask, struct strbuf *out)
{
    int64_t left_s = ask->certificate_until_s - clock_unix_s();
    char until[ISO8601_SIZE], span[SHOWN_SPAN];

    if (strncmp(ask->account->base, "https://", 8) != 0) {
        strbuf_adds(out, "    TLS: none (http://)\n");
    } else if (ask->certificate_until_s == 0) {
        strbuf_adds(out, "    TLS: verified\n");
    } else {
        shown_time(ask->certificate_until_s, until);
        shown_span(left_s, span, sizeof(span));
        strbuf_addf(out, "    TLS: verified, its certificate is good for %s (%s)%s\n", span, until,
                    left_s < CERTIFICATE_SOON_S ? ": have it renewed" : "");
    }
}

/* What is to be known of an account besides. */
static void print_details(const struct list_ask *ask, struct strbuf *out)
{
    print_deployments(ask, out);
    if (ask->heard) {
        print_clock(ask, out);
        print_tls(ask, out);
    } else if (strstr(strbuf_str(&ask->said), "ertificate") != NULL) {
        strbuf_adds(
            out, "    TLS: not verified; name who signs it in tranche_settings.upstream_ca_file\n");
    }
}

static bool print_all(const struct online *online, struct strbuf *out)
{
    const struct model_list *models = &online->config->models;
    size_t failed = 0;

    strbuf_adds(out, "online\n");
    for (size_t i = 0; i < models->num_credentials; i++)
        failed += !print_token(&online->tokens[i], out);
    for (size_t i = 0; i < models->num_accounts; i++) {
        failed += !print_list(&online->lists[i], out);
        print_details(&online->lists[i], out);
    }
    if (failed > 0)
        strbuf_addf(out, "  %zu of %zu failed\n", failed,
                    models->num_credentials + models->num_accounts);
    return failed == 0;
}

static void forbid_cores(void)
{
    const struct rlimit none = {0, 0};

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
}

int check_online(const struct config *config, struct strbuf *out, bool *good)
{
    struct online online = {.config = config};
    const struct mask *before = mask_installed();
    int err;

    *good = false;
    forbid_cores();
    signal(SIGPIPE, SIG_IGN); /* as upstream_new() wants it */
    err = open_all(&online);
    if (err == 0)
        err = run_round(&online, config->models.num_credentials, begin_token);
    if (err == 0)
        err = hide_tokens(&online);
    if (err == 0)
        err = run_round(&online, config->models.num_accounts, begin_list);
    if (err == 0)
        *good = print_all(&online, out);
    mask_install(before);
    if (online.in_flight == 0) /* else the loop broke, and the program ends */
        close_all(&online);
    return err;
}
