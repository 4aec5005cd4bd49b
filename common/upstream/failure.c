/* The one error translator. Sources: providers 1.7, 2.8, 2.9 and providers statements 84 to 87,
 * 106, 110, 111.
 *
 * A provider may repeat a key in its text ("Incorrect API key provided: sk-..."), and that key
 * would be ours. The answers that mean to do so (401, 403, some 400) are replaced as a whole;
 * elsewhere our secrets are masked by value, and behind that everything that looks like a key
 * (common/mask.h). */
#include "upstream/failure.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "json/json.h"
#include "common/mask.h"
#include "upstream/date.h"

#define MAX_PARSED     (256 * 1024) /* bytes of a body that we look at */
#define MAX_CODE       999999       /* a larger number is none of an error's */
#define MAX_PLAIN      512          /* bytes of a text/plain body that is shown */
#define MAX_RETRY_MS   300000
#define MAX_SAID       (16 * 1024) /* bytes of one text that are looked at */
#define TOKEN_LIMIT    "token_limit_exceeded"
#define UPSTREAM_CODES "upstream_"

/* --- text --- */

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* Copy text for people: control bytes as spaces, invalid UTF-8 as U+FFFD, cut at a character. */
static void copy_text(char *out, size_t size, const char *text, size_t len)
{
    size_t at = 0, used = 0, bytes;

    while (at < len) {
        const char *piece = text + at;

        bytes = utf8_sequence(piece, len - at);
        at += bytes > 0 ? bytes : 1;
        if (bytes == 0) {
            piece = REPLACEMENT;
            bytes = strlen(REPLACEMENT);
        } else if ((unsigned char)*piece < ' ' || *piece == 0x7f) {
            piece = " ";
        }
        if (used + bytes >= size)
            break;
        memcpy(out + used, piece, bytes);
        used += bytes;
    }
    out[used] = '\0';
}

/* The same for a provider's text, which may quote a key: ours by value, and whatever looks like
 * one. It is cut far behind what is shown, so that no more than the rest of a key is at the cut. */
static void copy_said(char *out, size_t size, const char *text, size_t len)
{
    size_t most = len < MAX_SAID ? len : MAX_SAID;
    char *copy = malloc(most + 1);

    out[0] = '\0';
    if (copy == NULL)
        return;
    memcpy(copy, text, most);
    most = mask_hide(mask_installed(), copy, most, most);
    most = mask_guess(copy, most, most);
    copy_text(out, size, copy, most);
    free(copy);
}

static void set_text(char *out, size_t size, const char *text)
{
    copy_text(out, size, text, strlen(text));
}

/* A copy of the body that a strict parser accepts: no byte order mark, invalid UTF-8 as U+FFFD. */
static void clean_body(const char *body, size_t len, struct strbuf *out)
{
    size_t n;

    if (len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0) {
        body += 3;
        len -= 3;
    }
    for (; len > 0; body += n, len -= n) {
        n = utf8_valid_prefix(body, len);
        strbuf_add(out, body, n);
        if (n < len) {
            strbuf_adds(out, REPLACEMENT);
            n++;
        }
    }
}

/* --- what the body says --- */

/* A string that says something. */
static const struct json *said(const struct json *v)
{
    size_t len = 0;

    return json_str(v, &len) != NULL && len > 0 ? v : NULL;
}

static const struct json *first_said(const struct json *obj, const char *const *names)
{
    const struct json *v = NULL;

    for (; *names != NULL && v == NULL; names++)
        v = said(json_get(obj, *names));
    return v;
}

/* The object that describes the error, of whatever shape the answer is. */
static const struct json *find_error(const struct json *root)
{
    const struct json *error = json_get(root, "error"), *list;

    if (json_is(error, JSON_OBJECT))
        return error;
    list = json_get(root, "errors");
    if (json_is(list, JSON_OBJECT))
        list = json_get(list, "data");
    if (json_is(list, JSON_ARRAY) && json_is(json_at(list, 0), JSON_OBJECT))
        return json_at(list, 0);
    list = json_get(root, "detail"); /* FastAPI */
    if (json_is(list, JSON_ARRAY) && json_is(json_at(list, 0), JSON_OBJECT))
        return json_at(list, 0);
    if (json_is(list, JSON_OBJECT))
        return list;
    return root;
}

static bool is_number(const char *text)
{
    return text[strspn(text, "0123456789")] == '\0';
}

static bool is_nothing(const char *text)
{
    return *text == '\0' || strcasecmp(text, "none") == 0 || strcasecmp(text, "null") == 0;
}

static void take(const struct json *v, char *out, size_t size)
{
    size_t len = 0;
    const char *text = json_str(v, &len);

    if (text == NULL || is_nothing(text))
        return;
    copy_said(out, size, text, len);
}

/* A text, or an integer: vLLM's and others'. */
static void take_code(const struct json *v, struct failure *out)
{
    int64_t number;

    take(v, out->code, sizeof(out->code));
    if (!json_int64(v, &number) || number < 0 || number > MAX_CODE)
        return;
    out->code_is_number = true;
    snprintf(out->code, sizeof(out->code), "%lld", (long long)number);
}

static void read_error(const struct json *root, struct failure *out)
{
    static const char *const messages[] = {"message", "Message", "msg",   "error_description",
                                           "detail",  "error",   "title", NULL};
    static const char *const params[] = {"param", "target", NULL};
    static const char *const inners[] = {"innererror", "inner_error", NULL};
    const struct json *error = find_error(root), *inner = NULL;
    size_t i;

    take(first_said(error, messages), out->message, sizeof(out->message));
    if (out->message[0] == '\0')
        take(first_said(json_at(json_get(error, "details"), 0), messages), out->message,
             sizeof(out->message));
    if (out->message[0] == '\0')
        take(first_said(root, messages), out->message, sizeof(out->message));
    if (out->message[0] == '\0')
        take(root, out->message, sizeof(out->message)); /* the answer is a mere string */
    take(json_get(error, "type"), out->type, sizeof(out->type));
    take_code(json_get(error, "code"), out);
    take(first_said(error, params), out->param, sizeof(out->param));
    for (i = 0; inners[i] != NULL && inner == NULL; i++)
        inner = json_get(error, inners[i]);
    if (is_number(out->code)) /* or empty */
        take(json_get(inner, "code"), out->code, sizeof(out->code));
    out->code_is_number &= is_number(out->code);
}

static bool is_plain_text(const struct upstream_result *result, const char *text, size_t len)
{
    const char *type = upstream_header_find(&result->head, "content-type");

    return type != NULL && strncasecmp(type, "text/plain", 10) == 0 && len <= MAX_PLAIN &&
           text[strspn(text, " \t\r\n")] != '\0' && memchr(text, '<', len) == NULL;
}

static void read_body(const struct upstream_result *result, struct failure *out)
{
    struct strbuf text = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json_error error;
    const struct json *root = NULL;

    if (doc == NULL || result->body == NULL || result->body_len > MAX_PARSED)
        goto done;
    clean_body(result->body, result->body_len, &text);
    if (strbuf_failed(&text) || text.len == 0)
        goto done;
    root = json_parse(doc, text.data, text.len, &error);
    if (json_is(root, JSON_ARRAY)) /* Google's OpenAI-compatible API */
        root = json_at(root, 0);
    if (root != NULL)
        read_error(root, out);
    else if (is_plain_text(result, text.data, text.len))
        copy_said(out->message, sizeof(out->message), text.data, text.len);
    /* The body of Azure's early refusal is not documented, only that its text holds this
     * (providers 2.6). */
    if ((out->status == 400 || out->status == 429) &&
        memmem(text.data, text.len, TOKEN_LIMIT, strlen(TOKEN_LIMIT)) != NULL)
        set_text(out->code, sizeof(out->code), TOKEN_LIMIT);
done:
    strbuf_deinit(&text);
    json_doc_free(doc);
}

/* --- when to come back --- */

/* Seconds or milliseconds, a fraction allowed. @return -1 when it is no such number */
static int64_t parse_amount(const char *text, int64_t unit_ms)
{
    double amount;
    char *end;

    while (*text == ' ' || *text == '\t')
        text++;
    if (!isdigit((unsigned char)*text) || strlen(text) > 32)
        return -1;
    if (text[strspn(text, "0123456789.")] != '\0')
        return -1;
    amount = strtod(text, &end);
    if (*end != '\0')
        return -1;
    return amount * (double)unit_ms >= MAX_RETRY_MS ? MAX_RETRY_MS
                                                    : (int64_t)(amount * (double)unit_ms);
}

/* RFC 9110 5.6.7, all three forms. */
static int64_t parse_date(const char *text, int64_t now_unix_s)
{
    int64_t when;

    if (!date_read(text, &when))
        return -1;
    if (when <= now_unix_s)
        return 0;
    if (when - now_unix_s >= MAX_RETRY_MS / 1000)
        return MAX_RETRY_MS;
    return (when - now_unix_s) * 1000;
}

/* "... Please retry after 26 seconds.": some of Azure's 429 say it in no header
 * (providers 2.8, 2.9). */
static int64_t parse_sentence(const char *message)
{
    static const char words[] = "retry after ";
    const char *at = strcasestr(message, words);
    int64_t seconds = 0;

    if (at == NULL || !isdigit((unsigned char)at[sizeof(words) - 1]))
        return -1;
    for (at += sizeof(words) - 1; isdigit((unsigned char)*at) && seconds <= MAX_RETRY_MS; at++)
        seconds = seconds * 10 + (*at - '0');
    if (strncasecmp(at, " second", 7) != 0)
        return -1;
    return seconds >= MAX_RETRY_MS / 1000 ? MAX_RETRY_MS : seconds * 1000;
}

static int64_t retry_after(const struct upstream_result *result, const char *message,
                           int64_t now_unix_s)
{
    const char *value = upstream_header_find(&result->head, "retry-after-ms");
    int64_t wait_ms = value != NULL ? parse_amount(value, 1) : -1;

    if (wait_ms >= 0)
        return wait_ms;
    value = upstream_header_find(&result->head, "retry-after");
    if (value != NULL)
        wait_ms = parse_amount(value, 1000);
    if (wait_ms < 0 && value != NULL) {
        /* By the clock of who wrote it, if he tells that. */
        (void)date_of(&result->head, &now_unix_s);
        wait_ms = parse_date(value, now_unix_s);
    }
    if (wait_ms < 0 && result->head.status == 429)
        wait_ms = parse_sentence(message);
    return wait_ms;
}

int64_t failure_retry_after(const struct upstream_result *result, int64_t now_unix_s)
{
    return retry_after(result, "", now_unix_s);
}

/* --- the envelope --- */

static void set_own(struct failure *out, int status, const char *code, const char *message)
{
    out->status = status;
    out->said = false;
    out->param[0] = '\0';
    set_text(out->type, sizeof(out->type), "server_error");
    set_text(out->code, sizeof(out->code), code);
    set_text(out->message, sizeof(out->message), message);
}

static const char *type_of(int status)
{
    if (status == 429)
        return "rate_limit_error";
    return status == 408 || status >= 500 ? "server_error" : "invalid_request_error";
}

/* The provider said nothing that can be shown. */
static void default_message(struct failure *out)
{
    const char *text = "The provider refused the request";

    if (out->status == 404)
        text = "The provider does not know this object";
    else if (out->status == 429)
        text = "The provider limits requests at the moment";
    else if (out->status >= 500)
        text = "The provider failed";
    snprintf(out->message, sizeof(out->message), "%s (HTTP status %d).", text, out->status);
}

/* Retrying the same cannot help. */
static bool is_final(const struct upstream_result *result, const struct failure *failure)
{
    const char *should = upstream_header_find(&result->head, "x-should-retry");

    if (should != NULL && strcasecmp(should, "false") == 0)
        return true;
    if (failure->status == 409 || failure->status == 501 || failure->status == 505)
        return true;
    return strcmp(failure->code, "insufficient_quota") == 0;
}

/* RFC 9110, 15.5.6: a 405 says what is allowed. */
static void take_allow(const struct upstream_result *result, struct failure *out)
{
    const char *text = upstream_header_find(&result->head, "allow");

    if (result->head.status == 405 && text != NULL && strlen(text) < sizeof(out->allow) &&
        text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ, ")] == '\0')
        set_text(out->allow, sizeof(out->allow), text);
}

static void from_error(const struct upstream_result *result, int64_t now_unix_s,
                       struct failure *out)
{
    out->status = result->head.status;
    out->said = true;
    read_body(result, out);
    take_allow(result, out);
    /* Azure's edge repeats the status as a text; providers statement 84 */
    if (is_number(out->code) && !out->code_is_number)
        set_text(out->code, sizeof(out->code), out->status == 429 ? "rate_limit_exceeded" : "");
    if (out->type[0] == '\0' || strcmp(out->type, "error") == 0)
        set_text(out->type, sizeof(out->type), type_of(out->status));
    if (out->message[strspn(out->message, " ")] == '\0')
        default_message(out);
    out->retry_after_ms = retry_after(result, out->message, now_unix_s);
    out->should_not_retry = is_final(result, out);
}

static void set_refused_key(struct failure *out, int status)
{
    char text[160];

    snprintf(text, sizeof(text),
             "The provider refused the gateway's own credential or its rights (HTTP status %d). "
             "The operator of the gateway has to act.",
             status);
    set_own(out, 502, UPSTREAM_CODES "auth", text);
    out->retry_after_ms = -1;
    out->should_not_retry = true;
}

/* Some servers say with a 400 or 422 that the key is wrong: ours, since the client's never reaches
 * them. Told by the code or type, or, where no parameter is blamed, by the words that OpenAI,
 * Azure, Google, vLLM and LiteLLM use. */
static bool refuses_key(const struct failure *f)
{
    static const char *const codes[] = {"invalid_api_key",
                                        "api_key_invalid",
                                        "invalid_api_token",
                                        "incorrect_api_key",
                                        "invalid_subscription_key",
                                        "authentication_error",
                                        "invalid_authentication",
                                        "auth_error",
                                        "unauthorized",
                                        "unauthenticated",
                                        "invalidauthenticationtoken",
                                        "expired_api_key"};
    static const char *const words[] = {"incorrect api key",  "invalid api key",
                                        "invalid api-key",    "invalid api_key",
                                        "api key not valid",  "api key expired",
                                        "api key is invalid", "invalid subscription key",
                                        "api key not found",  "invalid proxy server token"};

    if (f->status != 400 && f->status != 422)
        return false;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcasecmp(f->code, codes[i]) == 0 || strcasecmp(f->type, codes[i]) == 0)
            return true;
    for (size_t i = 0; f->param[0] == '\0' && i < sizeof(words) / sizeof(words[0]); i++)
        if (strcasestr(f->message, words[i]) != NULL)
            return true;
    return false;
}

bool failure_is_refused_key(const struct failure *failure)
{
    return strcmp(failure->code, UPSTREAM_CODES "auth") == 0;
}

bool failure_is_permission_denied(const struct upstream_result *result, struct failure *said)
{
    static const char *const words[] = {"PermissionDenied", "lacks the required data action",
                                        "not have access to API/Operation"};
    int status = result->head.status;
    bool denied;

    *said = (struct failure){.status = status, .retry_after_ms = -1};
    if (result->end != UPSTREAM_ANSWERED || (status != 401 && status != 403))
        return false;
    read_body(result, said);
    denied = strcasecmp(said->code, "PermissionDenied") == 0;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]) && !denied; i++)
        denied = strcasestr(said->message, words[i]) != NULL;
    return denied;
}

void failure_no_token(int64_t retry_after_ms, struct failure *out)
{
    memset(out, 0, sizeof(*out));
    set_own(out, 503, UPSTREAM_CODES "auth_unavailable",
            "The gateway gets no token for the provider's account at the moment. Nothing was done; "
            "try again.");
    out->retry_after_ms = retry_after_ms;
}

/* A complete answer. */
static void from_answer(const struct upstream_result *result, int64_t now_unix_s,
                        struct failure *out)
{
    int status = result->head.status;
    char text[160];

    if (status == 401 || status == 403) {
        set_refused_key(out, status);
    } else if (status >= 400 && status <= 599 && status != 407) {
        from_error(result, now_unix_s, out);
        if (refuses_key(out))
            set_refused_key(out, status);
    } else if (status >= 200 && status <= 299) {
        set_own(out, 502, UPSTREAM_CODES "invalid_answer",
                "The provider's answer could not be understood.");
    } else {
        snprintf(text, sizeof(text), "The provider answered with the unexpected HTTP status %d.",
                 status);
        set_own(out, 502, UPSTREAM_CODES "unexpected_status", text);
    }
}

void failure_from_result(const struct upstream_result *result, int64_t now_unix_s,
                         struct failure *out)
{
    memset(out, 0, sizeof(*out));
    out->retry_after_ms = -1;
    switch (result->end) {
    case UPSTREAM_ANSWERED:
        from_answer(result, now_unix_s, out);
        return;
    case UPSTREAM_CONNECT_FAILED:
        set_own(out, 502, UPSTREAM_CODES "unreachable", "The provider could not be reached.");
        return;
    case UPSTREAM_TIMEOUT:
        set_own(out, 504, UPSTREAM_CODES "timeout", "The provider did not answer in time.");
        return;
    case UPSTREAM_BROKEN:
        set_own(out, 502, UPSTREAM_CODES "broken",
                "The connection to the provider broke before its answer was complete.");
        return;
    case UPSTREAM_TOO_LARGE:
        set_own(out, 502, UPSTREAM_CODES "too_large",
                "The provider's answer is over the gateway's limit.");
        return;
    case UPSTREAM_SOURCE_FAILED:
        set_own(out, 500, "upload_unreadable",
                "The gateway could not read the upload that it had stored.");
        return;
    case UPSTREAM_REFUSED:
        break;
    }
    set_own(out, 502, UPSTREAM_CODES "refused",
            "The gateway could not start the request to the provider.");
    out->should_not_retry = true; /* nearly always its configuration */
}

static bool has_text(const struct json *value)
{
    const char *text = json_str(value, NULL);

    return (text != NULL && text[0] != '\0') || json_is(value, JSON_NUMBER);
}

bool failure_is_from_provider(const struct upstream_result *result)
{
    struct strbuf text = STRBUF_INIT;
    struct json_doc *doc = json_doc_new();
    struct json_error problem;
    const struct json *error = NULL;
    bool full = false;

    if (doc != NULL && result->body != NULL && result->body_len <= MAX_PARSED)
        clean_body(result->body, result->body_len, &text);
    if (!strbuf_failed(&text) && text.len > 0) {
        error = json_get(json_parse(doc, text.data, text.len, &problem), "error");
        full = memmem(text.data, text.len, TOKEN_LIMIT, strlen(TOKEN_LIMIT)) != NULL;
    }
    full = full || has_text(json_get(error, "code")) || has_text(json_get(error, "message"));
    strbuf_deinit(&text);
    json_doc_free(doc);
    return full;
}

bool failure_is_token_limit(const struct failure *failure)
{
    if (failure->status != 400 && failure->status != 429)
        return false;
    return strcmp(failure->code, TOKEN_LIMIT) == 0 ||
           strcasestr(failure->message, TOKEN_LIMIT) != NULL ||
           strcasestr(failure->message, "enqueued token limit reached") != NULL ||
           strcasestr(failure->message, "number of enqueued tokens has surpassed") != NULL;
}

static void write_member(struct strbuf *out, const char *name, const char *text)
{
    strbuf_addf(out, ",\"%s\":", name);
    if (*text == '\0')
        strbuf_adds(out, "null");
    else
        json_write_string(out, text, strlen(text));
}

void failure_write(const struct failure *failure, struct strbuf *out)
{
    strbuf_adds(out, "{\"error\":{\"message\":");
    json_write_string(out, failure->message, strlen(failure->message));
    write_member(out, "type", failure->type);
    write_member(out, "param", failure->param);
    if (failure->code_is_number && failure->code[0] != '\0' && is_number(failure->code))
        strbuf_addf(out, ",\"code\":%s", failure->code);
    else
        write_member(out, "code", failure->code);
    strbuf_adds(out, "}}");
}
