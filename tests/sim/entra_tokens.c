/* Issuing, spelling the answer, accepting, revoking, the ledger. See entra.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "entra.h"

#define CALLS_MAX  100000
#define WINDOW_MS  10000  /* of the switch throttle_calls */
#define LOOP_MS    300000 /* of the switch loop_calls */
#define PLAIN_SIZE 1584   /* of a token, when no switch says another: what a usual one has */

static const char *const source_names[N_SOURCES] = {"secret",      "certificate", "assertion",
                                                    "imds",        "app_service", "ml",
                                                    "cloud_shell", "arc",         "fabric"};

const char *source_name(enum token_source source)
{
    return source_names[source];
}

int64_t entra_now_s(const struct account *acc)
{
    return acc->sim->now_ms / 1000 + acc->sw.clock_skew_s;
}

bool text_is(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

void note_text(char **slot, const char *text)
{
    char *copy = sim_strdup(text);

    free(*slot);
    *slot = copy;
}

/* Tokens. */

static char *token_text(struct account *acc)
{
    static const char head[] = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.";
    const char *inserted = acc->sw.token_inserted;
    size_t want = acc->sw.token_bytes > 0 ? (size_t)acc->sw.token_bytes : PLAIN_SIZE;
    struct strbuf out = STRBUF_INIT;
    char hex[24];

    want = want < 64 ? 64 : want;
    strbuf_adds(&out, head);
    while (out.len < want) {
        sim_hex(&acc->rng, hex, 16);
        strbuf_adds(&out, hex);
    }
    out.len = want;
    out.data[want] = '\0';
    out.data[want - 40] = '.'; /* the signature */
    if (inserted[0] != '\0' && strlen(inserted) < 20)
        memcpy(out.data + want / 2, inserted, strlen(inserted));
    return strbuf_take(&out);
}

static struct token *issue(struct token_ask *ask)
{
    struct account *acc = ask->acc;
    struct sim *sim = acc->sim;

    sim->tokens = sim_realloc(sim->tokens, (sim->n_tokens + 1) * sizeof(*sim->tokens));
    struct token *t = &sim->tokens[sim->n_tokens++];
    *t = (struct token){.text = token_text(acc),
                        .issuer = acc,
                        .audience = sim_strdup(ask->resource),
                        .tenant = sim_strdup(ask->note.tenant),
                        .client = sim_strdup(ask->note.client),
                        .object_id = sim_strdup(ask->note.object_id),
                        .number = sim->n_tokens,
                        .issued_ms = sim->now_ms,
                        .expires_ms = sim->now_ms + ask->expires_in * 1000};
    ask->note.token = t->number;
    return t;
}

void entra_forget_tokens(struct sim *sim)
{
    for (size_t i = 0; i < sim->n_tokens; i++) {
        struct token *t = &sim->tokens[i];
        free(t->text);
        free(t->audience);
        free(t->tenant);
        free(t->client);
        free(t->object_id);
    }
    sim->n_tokens = 0;
}

/* The answer. */

static void put_number_text(struct strbuf *out, const char *key, int64_t n)
{
    char digits[32];

    snprintf(digits, sizeof(digits), "%lld", (long long)n);
    put_str(out, key, digits);
}

/* How an expiry is spelt: `in` is the spelling of expires_in, `on` that of expires_on; blank: the
 * member is absent. */
struct spelling {
    const char *name;
    const char *in;
    const char *on;
};

static const struct spelling spellings[] = {
    {"number", "number", ""},
    {"string", "string", ""},
    {"on", "", "string"},
    {"on_number", "", "number"},
    {"strings", "string", "string"},
    {"numbers", "number", "number"},
    {"contradictory", "half", "string"},
    {"overstated", "double", "string"},
    {"date_us", "", "%m/%d/%Y %H:%M:%S"},
    {"date_us_zone", "", "%m/%d/%Y %H:%M:%S +00:00"},
    {"date_us_half_day", "", "%m/%d/%Y %I:%M:%S %p +00:00"},
    {"date_dash", "", "%Y-%m-%d %H:%M:%S"},
    {"date_iso", "", "%Y-%m-%dT%H:%M:%SZ"},
    {"date_iso_zone", "", "%Y-%m-%dT%H:%M:%S+00:00"},
    {"none", "", ""},
    {"zero", "zero", ""},
    {"negative", "negative", ""},
    {"huge", "huge", ""},
    {"fraction", "fraction", ""},
    {"words", "words", "soon"},
    {"null", "null", ""},
};

static const struct spelling *spelling_of(const struct token_ask *ask)
{
    static const char *const native[N_SOURCES] = {"number", "number",  "number",  "strings",  "on",
                                                  "on",     "strings", "strings", "on_number"};
    const char *name = ask->acc->sw.expiry;

    if (strcmp(name, "native") == 0)
        name = native[ask->source];
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        if (strcmp(spellings[i].name, name) == 0)
            return &spellings[i];
    }
    return &spellings[0];
}

static void put_in(struct strbuf *out, const char *how, int64_t life)
{
    static const struct {
        const char *name;
        const char *raw;
    } odd[] = {{"zero", "0"},
               {"negative", "-3599"},
               {"huge", "99999999999999999999"},
               {"words", "\"an hour\""},
               {"null", "null"}};

    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        if (strcmp(how, odd[i].name) == 0)
            put_raw(out, "expires_in", odd[i].raw);
    }
    if (strcmp(how, "number") == 0)
        put_int(out, "expires_in", life);
    else if (strcmp(how, "half") == 0)
        put_int(out, "expires_in", life / 2);
    else if (strcmp(how, "double") == 0)
        put_int(out, "expires_in", life * 2);
    else if (strcmp(how, "string") == 0)
        put_number_text(out, "expires_in", life);
    else if (strcmp(how, "fraction") == 0) {
        put_int(out, "expires_in", life);
        strbuf_adds(out, ".5");
    }
}

static void put_on(struct strbuf *out, const char *how, int64_t end_s)
{
    time_t end = (time_t)end_s;
    char text[64] = "";
    struct tm tm;

    if (how[0] == '\0')
        return;
    if (strcmp(how, "number") == 0) {
        put_int(out, "expires_on", end_s);
    } else if (strcmp(how, "string") == 0) {
        put_number_text(out, "expires_on", end_s);
    } else {
        gmtime_r(&end, &tm);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        strftime(text, sizeof(text), how, &tm);
#pragma GCC diagnostic pop
        put_str(out, "expires_on", text);
    }
}

static void put_more(struct token_ask *ask, struct strbuf *out)
{
    const struct switches *sw = &ask->acc->sw;
    bool metadata = ask->source >= SOURCE_IMDS;

    if (!metadata && sw->ext_expires_in)
        put_int(out, "ext_expires_in", ask->expires_in);
    if (sw->refresh_in_s != 0)
        put_int(out, "refresh_in", sw->refresh_in_s);
    if (metadata)
        put_number_text(out, "not_before", entra_now_s(ask->acc) + sw->not_before_s);
    else if (sw->not_before_s != 0)
        put_int(out, "not_before", entra_now_s(ask->acc) + sw->not_before_s);
    if (metadata) {
        put_str(out, "client_id", ask->note.client);
        if (ask->echo_name != NULL && strcmp(ask->echo_name, "client_id") != 0)
            put_str(out, ask->echo_name, ask->echo_value);
        put_str(out, "resource", ask->resource);
    }
    if (ask->source == SOURCE_IMDS || ask->source == SOURCE_CLOUD_SHELL)
        put_str(out, "refresh_token", "");
    if (sw->token_extra)
        put_raw(out, "x_extra", "{\"a\":[1,null,{\"access_token\":\"not this\"}]},\"foci\":\"1\"");
}

static void answer(struct token_ask *ask)
{
    struct strbuf *out = &ask->rep->body;
    const struct spelling *s = spelling_of(ask);
    const struct token *t = issue(ask);

    strbuf_addc(out, '{');
    put_str(out, "token_type", ask->acc->sw.token_type);
    put_in(out, s->in, ask->expires_in);
    put_on(out, s->on, entra_now_s(ask->acc) + ask->expires_in);
    put_more(ask, out);
    put_str(out, "access_token", t->text);
    strbuf_addc(out, '}');
}

/* Throttling. */

/* How many tokens the same client was given for the same scope within `ms`. */
static int64_t given_within(const struct token_ask *ask, int64_t ms)
{
    const struct entra *e = ask->entra;
    int64_t n = 0;

    for (size_t i = e->n_calls; i-- > 0;) {
        const struct token_call *c = &e->calls[i];
        if (c->at_ms + ms <= ask->acc->sim->now_ms)
            break;
        n += c->token != 0 && text_is(c->client, ask->note.client) &&
             text_is(c->scope, ask->note.scope) &&
             (c->tenant == ask->note.tenant || text_is(c->tenant, ask->note.tenant));
    }
    return n;
}

void entra_throttled(struct account *acc, struct reply *rep)
{
    const struct switches *sw = &acc->sw;
    char text[64] = "";

    rep->status = 429;
    rep->type = "text/plain";
    strbuf_reset(&rep->body);
    strbuf_adds(&rep->body, "Too Many Requests");
    if (strcmp(sw->throttle_retry, "seconds") == 0) {
        snprintf(text, sizeof(text), "%lld", (long long)sw->throttle_retry_s);
    } else if (strcmp(sw->throttle_retry, "date") == 0) {
        time_t then = (time_t)(entra_now_s(acc) + sw->throttle_retry_s);
        struct tm tm;
        gmtime_r(&then, &tm);
        strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
    }
    if (text[0] != '\0')
        reply_header(rep, "retry-after", text);
}

void tokens_grant(struct token_ask *ask)
{
    const struct switches *sw = &ask->acc->sw;

    if (sw->token_life_s > 0)
        ask->expires_in = sw->token_life_s;
    if (sw->throttle_calls > 0 && given_within(ask, WINDOW_MS) >= sw->throttle_calls) {
        entra_throttled(ask->acc, ask->rep);
        note_text(&ask->note.error, "throttled");
    } else if (sw->loop_calls > 0 && given_within(ask, LOOP_MS) >= sw->loop_calls) {
        entra_refuse(ask, 400, "invalid_grant", 50196,
                     "The server terminated an operation because it encountered a client request "
                     "loop. Please contact your app vendor.");
    } else {
        answer(ask);
    }
}

/* The ledger. */

static void free_note(struct token_call *c)
{
    free(c->tenant);
    free(c->client);
    free(c->object_id);
    free(c->credential);
    free(c->scope);
    free(c->user_agent);
    free(c->error);
}

void tokens_note(struct token_ask *ask)
{
    struct entra *e = ask->entra;
    const struct header *agent = request_header(ask->req, "user-agent");
    struct sim *sim = ask->acc->sim;

    if (e->n_calls == CALLS_MAX) {
        free_note(&ask->note);
        return;
    }
    if (agent != NULL)
        ask->note.user_agent = sim_strndup(agent->value, agent->value_len);
    ask->note.source = ask->source;
    ask->note.status = ask->rep->status;
    ask->note.order = ++sim->n_token_calls;
    ask->note.conn = ask->req->conn_id;
    ask->note.at_ms = sim->now_ms;
    ask->note.mono_ms = sim->mono_ms;
    if (e->n_calls == e->cap_calls) {
        e->cap_calls = e->cap_calls == 0 ? 64 : e->cap_calls * 2;
        e->calls = sim_realloc(e->calls, e->cap_calls * sizeof(*e->calls));
    }
    e->calls[e->n_calls++] = ask->note;
}

void tokens_forget(struct entra *e)
{
    for (size_t i = 0; i < e->n_calls; i++)
        free_note(&e->calls[i]);
    free(e->calls);
    e->calls = NULL;
    e->n_calls = e->cap_calls = 0;
}

static void write_call(const struct account *acc, const struct token_call *c, struct strbuf *out)
{
    strbuf_addc(out, '{');
    put_int(out, "order", (int64_t)c->order);
    put_str(out, "account", acc->name);
    put_str(out, "source", source_name(c->source));
    put_str(out, "tenant", c->tenant);
    put_str(out, "client_id", c->client);
    put_str(out, "object_id", c->object_id);
    put_str(out, "credential", c->credential);
    put_str(out, "scope", c->scope);
    put_int(out, "status", c->status);
    put_str(out, "error", c->error);
    put_int(out, "number", c->number);
    put_int(out, "token", (int64_t)c->token);
    put_int(out, "conn", (int64_t)c->conn);
    put_str(out, "user_agent", c->user_agent);
    put_int(out, "at_ms", c->at_ms);
    put_int(out, "mono_ms", c->mono_ms);
    strbuf_addc(out, '}');
}

static void write_token(const struct token *t, int64_t now_ms, struct strbuf *out)
{
    strbuf_addc(out, '{');
    put_int(out, "number", (int64_t)t->number);
    put_str(out, "account", t->issuer->name);
    put_str(out, "text", t->text);
    put_str(out, "audience", t->audience);
    put_str(out, "tenant", t->tenant);
    put_str(out, "client_id", t->client);
    put_str(out, "object_id", t->object_id);
    put_int(out, "issued_ms", t->issued_ms);
    put_int(out, "expires_ms", t->expires_ms);
    put_raw(out, "expired", t->expires_ms <= now_ms ? "true" : "false");
    put_raw(out, "revoked", t->revoked[0] != '\0' ? "true" : "false");
    put_int(out, "accepted", (int64_t)t->accepted);
    put_int(out, "refused", (int64_t)t->refused);
    strbuf_addc(out, '}');
}

void entra_write_ledger(const struct sim *sim, const struct account *only, struct strbuf *out)
{
    strbuf_adds(out, "{\"calls\":[");
    for (size_t i = 0; i < sim->n_accounts; i++) {
        const struct account *acc = sim->accounts[i];
        for (size_t k = 0; acc->entra != NULL && k < acc->entra->n_calls; k++) {
            if (only != NULL && only != acc)
                break;
            if (out->data[out->len - 1] != '[')
                strbuf_addc(out, ',');
            write_call(acc, &acc->entra->calls[k], out);
        }
    }
    strbuf_adds(out, "],\"tokens\":[");
    for (size_t i = 0; i < sim->n_tokens; i++) {
        if (only != NULL && only != sim->tokens[i].issuer)
            continue;
        if (out->data[out->len - 1] != '[')
            strbuf_addc(out, ',');
        write_token(&sim->tokens[i], sim->now_ms, out);
    }
    strbuf_adds(out, "]}");
}

/* Revoking. */

static bool named(const struct json *v, const char *key, const char *text)
{
    const char *want = json_get_str(v, key);

    return want == NULL || text_is(want, text);
}

int entra_revoke(struct sim *sim, const struct json *v, struct strbuf *why)
{
    const char *how = json_get_str(v, "answer");
    int64_t number = 0;
    int n = 0;

    if (how == NULL)
        how = "edge";
    if (strcmp(how, "edge") != 0 && strcmp(how, "bare") != 0 && strcmp(how, "challenge") != 0) {
        strbuf_adds(why, "answer: want \"edge\", \"bare\" or \"challenge\"");
        return -1;
    }
    (void)json_int64(json_get(v, "number"), &number);
    for (size_t i = 0; i < sim->n_tokens; i++) {
        struct token *t = &sim->tokens[i];
        if (t->revoked[0] != '\0' || (number != 0 && number != (int64_t)t->number) ||
            !named(v, "account", t->issuer->name) || !named(v, "tenant", t->tenant) ||
            !named(v, "client_id", t->client) || !named(v, "object_id", t->object_id) ||
            !named(v, "audience", t->audience))
            continue;
        snprintf(t->revoked, sizeof(t->revoked), "%s", how);
        n++;
    }
    return n;
}

/* Accepting. */

static const char *const audiences[][2] = {
    {"cognitiveservices", "https://cognitiveservices.azure.com"},
    {"ai", "https://ai.azure.com"},
    {"global", "https://cognitiveservices.azure.com"},
    {"global", "https://ai.azure.com"},
    {"us", "https://cognitiveservices.azure.us"},
    {"us", "https://ai.azure.us"},
    {"cn", "https://cognitiveservices.azure.cn"},
};

bool entra_resource_known(const struct account *acc, const char *resource)
{
    for (size_t i = 0; i < sizeof(audiences) / sizeof(audiences[0]); i++) {
        if (strcmp(audiences[i][1], resource) == 0 &&
            (strcmp(acc->sw.cloud, "any") == 0 || strcmp(acc->sw.cloud, audiences[i][0]) == 0))
            return true;
    }
    return switches_has(acc->sw.more_resources, resource, strlen(resource));
}

static bool audience_fits(const struct account *acc, const char *audience)
{
    const char *want = acc->sw.token_scope;

    if (strcmp(want, "any") == 0)
        return true;
    for (size_t i = 0; i < sizeof(audiences) / sizeof(audiences[0]); i++) {
        if (strcmp(audiences[i][0], want) == 0 && strcmp(audiences[i][1], audience) == 0)
            return true;
    }
    return false;
}

static bool in_list(const char *list, const char *item)
{
    return item != NULL && switches_has(list, item, strlen(item));
}

static enum token_verdict judge(const struct account *acc, const struct token *t)
{
    const char *without = acc->sw.role_missing;

    if (t->expires_ms <= acc->sim->now_ms)
        return TOKEN_DEAD;
    if (t->revoked[0] != '\0')
        return strcmp(t->revoked, "challenge") == 0 ? TOKEN_CHALLENGED
               : strcmp(t->revoked, "bare") == 0    ? TOKEN_DEAD_BARE
                                                    : TOKEN_DEAD;
    if (!audience_fits(acc, t->audience))
        return TOKEN_DEAD;
    if (strcmp(without, "*") == 0 || in_list(without, t->object_id) || in_list(without, t->client))
        return TOKEN_NO_ROLE;
    return TOKEN_OK;
}

enum token_verdict entra_token_verdict(struct account *acc, const char *token, size_t len,
                                       const struct token **which)
{
    struct sim *sim = acc->sim;

    *which = NULL;
    for (size_t i = sim->n_tokens; i-- > 0;) {
        struct token *t = &sim->tokens[i];
        if (strlen(t->text) != len || memcmp(t->text, token, len) != 0)
            continue;
        enum token_verdict verdict = judge(acc, t);
        *which = t;
        if (verdict == TOKEN_OK)
            t->accepted++;
        else
            t->refused++;
        return verdict;
    }
    return TOKEN_DEAD;
}
